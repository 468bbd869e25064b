package canon

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// memorySlots is how many values a memory holds, of 16 bytes each.
const memorySlots = 1 << 15

// memory remembers which values a rule leaves as they are: most come again and again. It holds two hashes of each, under
// random seeds: maphash is fast and not made against somebody who chooses texts, and a text that hashes like a clean one
// would not be looked at. It forgets one value for another. The zero memory has to be made by newMemory; it is safe for
// concurrent use.
type memory struct {
	first, second maphash.Seed
	slots         [memorySlots]slot
}

// slot has the hashes of a value; 0 is none. Two that were stored at once may leave one hash of each: that is neither.
type slot struct{ first, second atomic.Uint64 }

func newMemory() *memory { return &memory{first: maphash.MakeSeed(), second: maphash.MakeSeed()} }

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

// entry is a place in a memory, and what is there when the value is remembered.
type entry struct {
	slot          *slot
	first, second uint64
}

func (e entry) known() bool {
	return e.slot.first.Load() == e.first && e.slot.second.Load() == e.second
}

func (e entry) remember() {
	e.slot.first.Store(e.first)
	e.slot.second.Store(e.second)
}

// of is the entry of a text under a rule.
func (m *memory) of(r rule, text string) entry {
	return m.entry(r, maphash.String(m.first, text), maphash.String(m.second, text))
}

func (m *memory) entry(r rule, first, second uint64) entry {
	first = first ^ uint64(r)*0x9e3779b97f4a7c15 | 1
	return entry{&m.slots[first>>1%memorySlots], first, second}
}

// keeps reports whether a rule leaves text as it is.
func (m *memory) keeps(r rule, text string) bool {
	e := m.of(r, text)
	if e.known() {
		return true
	}
	if !r.keeps(text) {
		return false
	}
	e.remember()
	return true
}

// name is privacy.Name: of most texts it is known that nothing changes.
func (m *memory) name(text string) string { return m.apply(ruleName, text, privacy.Name) }

// text is privacy.Text.
func (m *memory) text(text string) string { return m.apply(ruleText, text, privacy.Text) }

func (m *memory) apply(r rule, text string, scrub func(string) string) string {
	e := m.of(r, text)
	if e.known() {
		return text
	}
	scrubbed := scrub(text)
	if scrubbed == text {
		e.remember()
	}
	return scrubbed
}

// path is privacy.CanonicalPath.
func (m *memory) path(text string) privacy.Path {
	same := privacy.Path{Canonical: text}
	e := m.of(rulePath, text)
	if e.known() {
		return same
	}
	p := privacy.CanonicalPath(text)
	if p == same {
		e.remember()
	}
	return p
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
