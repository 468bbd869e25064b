package symbol

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSegments bounds the parts of a name.
const maxSegments = 64

// isWord reports whether s is letters, digits and _, and does not begin with a digit.
func isWord(s string) bool { return isGoIdentifier(s) && !strings.Contains(s, "·") }

// isDotted reports whether s is words with dots between them.
func isDotted(s string) bool {
	if strings.Count(s, ".") >= maxSegments {
		return false
	}
	for segment := range strings.SplitSeq(s, ".") {
		if !isWord(segment) {
			return false
		}
	}
	return true
}

// isUpper reports whether a name begins with a capital letter, as types do.
func isUpper(s string) bool {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, "_"))
	return unicode.IsUpper(first)
}

// splitAtType splits a dotted name where its first type begins, and before its last word if it has none.
func splitAtType(segments []string) (pkg, member string) {
	at := len(segments) - 1
	for i, segment := range segments {
		if isUpper(segment) {
			at = i
			break
		}
	}
	return strings.Join(segments[:at], "."), strings.Join(segments[at:], ".")
}

// cutLast cuts around the last separator; before is empty when there is none.
func cutLast(s, separator string) (before, after string) {
	if at := strings.LastIndex(s, separator); at >= 0 {
		return s[:at], s[at+len(separator):]
	}
	return "", s
}

// trimNumber cuts the digits at the end.
func trimNumber(s string) string { return strings.TrimRight(s, "0123456789") }

// cutBracketed cuts what is between balanced brackets, of whatever nesting, from all of s; false when they are not balanced.
func cutBracketed(s string, open, end byte) (rest string, found, ok bool) {
	if strings.IndexByte(s, open) < 0 {
		return s, false, strings.IndexByte(s, end) < 0
	}
	var out strings.Builder
	depth := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == open:
			depth++
		case c == end:
			if depth--; depth < 0 {
				return "", true, false
			}
		case depth == 0:
			out.WriteByte(c)
		}
	}
	return out.String(), true, depth == 0
}
