package privacy

import (
	"bytes"
	"strings"
)

// pairSet is a set of pairs of bytes that follow each other, in lower case: a superset, as pairs share places.
type pairSet [16]uint64

// pairAt is the place of a pair.
func pairAt(a, b byte) uint16 { return (uint16(lowers[a])<<5 ^ uint16(lowers[b])) & 1023 }

// lowers are bytes, ASCII letters in lower case.
var lowers = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			table[i] |= 0x20
		}
	}
	return table
}()

func pairsOf(s string) (set pairSet) {
	for i := 1; i < len(s); i++ {
		at := pairAt(s[i-1], s[i])
		set[at>>6] |= 1 << (at & 63)
	}
	return set
}

// hints are texts one of which is in everything that a rule matches.
type hints []hint

type hint struct {
	text  string
	raw   []byte
	pairs []uint16
}

func hintsOf(texts ...string) hints {
	h := make(hints, len(texts))
	for i, text := range texts {
		h[i] = hint{text: text, raw: []byte(text)}
		for j := 1; j < len(text); j++ {
			h[i].pairs = append(h[i].pairs, pairAt(text[j-1], text[j]))
		}
	}
	return h
}

// possible reports whether all pairs of the hint are present.
func (h *hint) possible(present *pairSet) bool {
	for _, at := range h.pairs {
		if present[at>>6]&(1<<(at&63)) == 0 {
			return false
		}
	}
	return true
}

// possible reports whether all pairs of one of the hints are present.
func (h hints) possible(present *pairSet) bool {
	for i := range h {
		if h[i].possible(present) {
			return true
		}
	}
	return false
}

// in reports whether one of the hints is in s, whose pairs are present.
func (h hints) in(s string, present *pairSet) bool {
	for i := range h {
		if h[i].possible(present) && strings.Contains(s, h[i].text) {
			return true
		}
	}
	return false
}

// inBytes is in, of bytes.
func (h hints) inBytes(s []byte, present *pairSet) bool {
	for i := range h {
		if h[i].possible(present) && h[i].index(s) >= 0 {
			return true
		}
	}
	return false
}

func (h *hint) index(s []byte) int { return bytes.Index(s, h.raw) }
