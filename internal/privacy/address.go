package privacy

import (
	"strconv"
	"strings"
)

// Addr stands where an address was.
const Addr = "<addr>"

const (
	// kernelHalf is where kernel addresses begin, 5-level paging included.
	kernelHalf = 0xff00_0000_0000_0000
	// userLow and userHigh bound what randomized user mappings get: PIE binaries, libraries, stacks; x86-64 and arm64.
	userLow, userHigh = 0x5500_0000_0000, 0xffff_ffff_ffff
	// narrowLow and narrowHigh bound the same on arm64 with 39-bit addresses.
	narrowLow, narrowHigh = 0x55_0000_0000, 0x7f_ffff_ffff
	// MaxOffset is the largest offset that a file of unknown size is believed to have.
	MaxOffset = 1 << 32
)

// IsAddress reports whether v lies where kernels randomize user mappings, or in the kernel half. A tag in the top byte,
// which arm64 ignores, does not hide a user address.
func IsAddress(v uint64) bool {
	if v >= kernelHalf {
		return true
	}
	v = untagged(v)
	return v >= userLow && v <= userHigh
}

// untagged is v without a tag in the top byte.
func untagged(v uint64) uint64 {
	if v>>48&0xff == 0 {
		v &= 1<<48 - 1
	}
	return v
}

// IsAddressInt reports whether v, read as a signed or unsigned 64-bit number, is an address. Small negative numbers are
// error codes.
func IsAddressInt(v int64) bool {
	return v < -4096 && IsAddress(uint64(v)) || v >= 0 && IsAddress(uint64(v)) //nolint:gosec // the bits are meant
}

// IsOffset reports whether v can be an offset in a file of unknown size.
func IsOffset(v uint64) bool { return v <= MaxOffset }

// IsAddressToken reports whether a hex token of a name is an address: 0x and 8 to 16 digits, 16 digits, or 12 that lie
// where libraries and stacks of x86-64 are.
func IsAddressToken(token string) bool {
	if len(token) < 10 || len(token) > 18 {
		return false
	}
	digits, prefixed := strings.CutPrefix(strings.ToLower(token), "0x")
	v, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return false
	}
	switch {
	case prefixed:
		return len(digits) >= 8 && isPrefixedAddress(v)
	case len(digits) == 16:
		return IsAddress(v)
	case len(digits) == 12:
		return v >= userLow && v>>40 <= 0x7f
	}
	return false
}

func isPrefixedAddress(v uint64) bool {
	return IsAddress(v) || untagged(v) >= narrowLow && untagged(v) <= narrowHigh
}

// addresses replaces addresses in text:
//
//   - 0x and 8 to 16 hex digits, with the value of an address; digits may be grouped by _ and `
//   - exactly 16 hex digits that stand alone, with the value of an address, grouped or not
//   - the two ends of a /proc/<pid>/maps range
//   - decimal numbers that stand alone, with the value of an address
//
// Longer hex is a digest or a build-id, shorter bare hex an abbreviated one: both stay.
func addresses(s string) string {
	var out []byte
	done := 0
	redact := func(from, to int) {
		out = append(out, s[done:from]...)
		out = append(out, Addr...)
		done = to
	}
	for i := 0; i < len(s); {
		if !isHex(s[i]) {
			i++
			continue
		}
		if s[i] == '0' && i+2 < len(s) && s[i+1]|0x20 == 'x' && isHex(s[i+2]) {
			end, digits, value := hexRun(s, i+2)
			if digits >= 8 && digits <= 16 && isPrefixedAddress(value) {
				redact(i, end)
			}
			i = end
			continue
		}
		end, digits, value := hexRun(s, i)
		alone := (i == 0 || !isWord(s[i-1])) && (end == len(s) || !isWord(s[end]))
		switch {
		case !alone:
		case digits >= 8 && digits <= 16 && end < len(s) && s[end] == '-' && mapsRange(s[end+1:]) > 0:
			to := end + 1 + mapsRange(s[end+1:])
			redact(i, to)
			end = to
		case digits == 16 && IsAddress(value):
			redact(i, end)
		case isDecimalAddress(s, i, end):
			from := i
			if i > 0 && s[i-1] == '-' {
				from--
			}
			redact(from, end)
		}
		i = end
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

// hexRun reads hex digits from i on, grouped by single _ or `. The value is that of at most 16 digits.
func hexRun(s string, i int) (end, digits int, value uint64) {
	for i < len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			value = value<<4 | uint64(c-'0')
		case isHex(c):
			value = value<<4 | uint64(c|0x20-'a'+10)
		case (c == '_' || c == '`') && i+1 < len(s) && isHex(s[i+1]):
			i++
			continue
		default:
			return i, digits, value
		}
		digits++
		i++
	}
	return i, digits, value
}

// mapsRange is the length of the second end of a maps range when its permissions follow, else 0.
func mapsRange(s string) int {
	end, digits, _ := hexRun(s, 0)
	if digits < 8 || digits > 16 || len(s) < end+5 || s[end] != ' ' {
		return 0
	}
	p := s[end+1:]
	if (p[0] == 'r' || p[0] == '-') && (p[1] == 'w' || p[1] == '-') && (p[2] == 'x' || p[2] == '-') && (p[3] == 'p' || p[3] == 's') {
		return end
	}
	return 0
}

// isDecimalAddress reports whether s[from:to], which stands alone, is an address in decimal. A number after a minus
// sign is one when it can be the signed form of a kernel address.
func isDecimalAddress(s string, from, to int) bool {
	if to-from < 10 || to-from > 20 || from > 0 && s[from-1] == '.' || to+1 < len(s) && s[to] == '.' && isDigit(s[to+1]) {
		return false
	}
	v, err := strconv.ParseUint(s[from:to], 10, 64)
	if err != nil {
		return false
	}
	if from > 0 && s[from-1] == '-' && (from == 1 || strings.IndexByte(" \t=:(,[{\"'", s[from-2]) >= 0) {
		return v >= 1<<30 && v <= 1<<56
	}
	return IsAddress(v)
}

func isHex(c byte) bool   { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
