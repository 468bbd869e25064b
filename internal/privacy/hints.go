package privacy

import (
	"bytes"
	"strings"
)

// byteSet is a set of bytes.
type byteSet [4]uint64

func bytesOf(s string) byteSet {
	var set byteSet
	for i := range len(s) {
		set[s[i]>>6] |= 1 << (s[i] & 63)
	}
	return set
}

// fold adds the lower case of upper-case ASCII letters.
func (b byteSet) fold() byteSet {
	const upper = uint64(1<<27 - 2) // A to Z, in the second word as a to z
	b[1] |= b[1] & upper << 32
	return b
}

// hints are texts one of which is in everything that a rule matches.
type hints []hint

type hint struct {
	text  string
	raw   []byte
	bytes byteSet
}

func hintsOf(texts ...string) hints {
	h := make(hints, len(texts))
	for i, text := range texts {
		h[i] = hint{text, []byte(text), bytesOf(text)}
	}
	return h
}

func (h *hint) possible(present byteSet) bool {
	return h.bytes[0]&^present[0] == 0 && h.bytes[1]&^present[1] == 0 && h.bytes[2]&^present[2] == 0 && h.bytes[3]&^present[3] == 0
}

// possible reports whether all bytes of one of the hints are present.
func (h hints) possible(present byteSet) bool {
	for i := range h {
		if h[i].possible(present) {
			return true
		}
	}
	return false
}

// in reports whether one of the hints is in s, whose bytes are present.
func (h hints) in(s string, present byteSet) bool {
	for i := range h {
		if h[i].possible(present) && strings.Contains(s, h[i].text) {
			return true
		}
	}
	return false
}

// inBytes is in, of bytes.
func (h hints) inBytes(s []byte, present byteSet) bool {
	for i := range h {
		if h[i].possible(present) && h[i].index(s) >= 0 {
			return true
		}
	}
	return false
}

func (h *hint) index(s []byte) int { return bytes.Index(s, h.raw) }
