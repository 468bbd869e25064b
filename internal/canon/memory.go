package canon

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// memorySlots is how many values a memory holds, of 8 bytes each.
const memorySlots = 1 << 15

// memory remembers which values a rule leaves as they are: most come again and again. It holds hashes under a random seed,
// and forgets one for another. The zero memory has to be made by newMemory; it is safe for concurrent use.
type memory struct {
	seed  maphash.Seed
	slots [memorySlots]atomic.Uint64
}

func newMemory() *memory { return &memory{seed: maphash.MakeSeed()} }

// rule is what a value is checked with.
type rule uint64

const (
	ruleName rule = iota
	ruleText
	rulePath
	ruleBuildID
	ruleSHA256
	ruleDigest
	ruleRevision
	rulePURL
	ruleIdentified // a name, purl or digest
	ruleSymbol
)

// keeps reports whether a rule leaves text as it is.
func (m *memory) keeps(r rule, text string) bool {
	slot, h := m.slot(r, maphash.String(m.seed, text))
	if slot.Load() == h {
		return true
	}
	if !r.keeps(text) {
		return false
	}
	slot.Store(h)
	return true
}

// name is privacy.Name: of most texts it is known that nothing changes.
func (m *memory) name(text string) string { return m.apply(ruleName, text, privacy.Name) }

// text is privacy.Text.
func (m *memory) text(text string) string { return m.apply(ruleText, text, privacy.Text) }

func (m *memory) apply(r rule, text string, scrub func(string) string) string {
	slot, h := m.slot(r, maphash.String(m.seed, text))
	if slot.Load() == h {
		return text
	}
	scrubbed := scrub(text)
	if scrubbed == text {
		slot.Store(h)
	}
	return scrubbed
}

// path is privacy.CanonicalPath.
func (m *memory) path(text string) privacy.Path {
	same := privacy.Path{Canonical: text}
	slot, h := m.slot(rulePath, maphash.String(m.seed, text))
	if slot.Load() == h {
		return same
	}
	p := privacy.CanonicalPath(text)
	if p == same {
		slot.Store(h)
	}
	return p
}

// slot is where a hash is remembered, and as what: never as 0, that of an empty slot.
func (m *memory) slot(r rule, hash uint64) (*atomic.Uint64, uint64) {
	hash = hash ^ uint64(r)*0x9e3779b97f4a7c15 | 1
	return &m.slots[hash>>1%memorySlots], hash
}

func (r rule) keeps(text string) bool {
	switch r {
	case ruleName:
		return privacy.Name(text) == text
	case ruleText:
		return privacy.Text(text) == text
	case rulePath:
		return privacy.CanonicalPath(text) == privacy.Path{Canonical: text}
	case ruleBuildID:
		return isBuildID(text)
	case ruleSHA256:
		return isHex(text, 64)
	case ruleDigest:
		return isDigest(text)
	case ruleRevision:
		return isRevision(text)
	case rulePURL:
		return isPURL(text)
	case ruleIdentified:
		return isPURL(text) || isDigest(text) || privacy.Name(text) == text
	}
	return false
}
