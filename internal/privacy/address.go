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
	// goLow and goHigh bound where Go's heap begins.
	goLow, goHigh = 0xc0_0000_0000, 0xc0_ffff_ffff
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
		return isPrefixedAddress(len(digits), v)
	case len(digits) == 16:
		return IsAddress(v)
	case len(digits) == 12:
		return isLibrary(v)
	}
	return false
}

// isErrorCode reports whether v is the unsigned form of a small negative number: nothing is mapped there.
func isErrorCode(v uint64) bool { return v > 1<<64-1-4096 }

// isMask reports whether v is a single flag, or all of the first ones: no mapping begins or ends there.
func isMask(v uint64) bool { return v&(v-1) == 0 || v&(v+1) == 0 }

// isPrefixedAddress is for numbers after 0x. Only addresses are written with zeros up to 16 digits and are beyond 4 GiB.
func isPrefixedAddress(digits int, v uint64) bool {
	u := untagged(v)
	return digits >= 8 && !isErrorCode(v) && !isMask(v) && (IsAddress(v) || u >= narrowLow && u <= narrowHigh || u >= goLow && u <= goHigh ||
		digits == 16 && v >= 1<<32 && v <= userHigh)
}

// isBareAddress is for 16 digits that stand alone. Among these are hashes and span ids, so that of the tags only the
// one that is in use counts, Android's, which has addresses of 39 bits too.
func isBareAddress(v uint64) bool {
	u := untagged(v)
	return !isMask(v) && (v >= kernelHalf && !isErrorCode(v) || v >= userLow && v <= userHigh || v>>56 == 0xb4 && (IsAddress(v) || u >= narrowLow && u <= narrowHigh))
}

// isLibrary reports whether v is where libraries and stacks of x86-64 are.
func isLibrary(v uint64) bool { return v >= userLow && v>>40 <= 0x7f }

// addresses replaces addresses in text:
//
//   - 0x and 8 to 16 hex digits, with the value of an address; digits may be grouped by _, ' and `
//   - exactly 16 hex digits that stand alone, with the value of an address, grouped or not
//   - 12 hex digits that stand alone where the words around say that they are one
//   - the two ends of a /proc/<pid>/maps range
//   - decimal numbers that stand alone, with the value of an address, with a fraction or an exponent or without
//   - what follows a slash in the name of a hidden class of the JVM
//
// Longer hex is a digest or a build-id, shorter bare hex an abbreviated one: both stay.
func addresses(s string) string {
	var out []byte
	done := 0
	for i := 0; i < len(s); {
		if !isHex(s[i]) {
			i++
			continue
		}
		from, to, next := addressAt(s, i)
		if to > 0 {
			out = append(append(out, s[done:from]...), Addr...)
			done = to
		}
		i = next
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

// addressAt looks for an address at the hex digit s[i]: it is s[from:to] when to is not 0. The search goes on at next.
func addressAt(s string, i int) (from, to, next int) {
	if digits := prefixed(s, i); digits > 0 {
		if prefixed(s, digits) > 0 {
			return 0, 0, digits
		}
		accepted, end := hexRun(s, digits, isPrefixedAddress)
		if accepted == 0 && end-digits > 8 && (isSpoken(s, i) || strings.HasSuffix(s[:i], " at ")) {
			if v, err := strconv.ParseUint(s[digits:end], 16, 64); err == nil && v > MaxOffset && !isMask(v) && !isErrorCode(v) {
				accepted = end
			}
		}
		if accepted == 0 && isHiddenClass(s, i, end-digits) {
			accepted = end
		}
		return i, accepted, end
	}
	accepted, end := hexRun(s, i, func(digits int, v uint64) bool { return digits == 16 && isBareAddress(v) })
	if i > 0 && isWord(s[i-1]) {
		return 0, 0, end
	}
	if accepted > 0 && (accepted == len(s) || !isWord(s[accepted])) {
		return i, accepted, accepted
	}
	if to := decimalAddress(s, i); to > 0 {
		if i > 0 && s[i-1] == '-' {
			i--
		}
		return i, to, to
	}
	if end < len(s) && isWord(s[end]) {
		return 0, 0, end
	}
	if to := mapsRange(s, i, end); to > 0 {
		return i, to, to
	}
	if end-i == 12 && isSpokenAddress(s, i, end) || isHiddenClass(s, i, end-i) {
		return i, end, end
	}
	return 0, 0, end
}

// prefixed is where the digits after 0x at i begin, 0 when there are none.
func prefixed(s string, i int) int {
	if i+2 >= len(s) || s[i] != '0' || s[i+1]|0x20 != 'x' {
		return 0
	}
	i += 2
	if isGroup(s[i]) && i+1 < len(s) {
		i++
	}
	if !isHex(s[i]) {
		return 0
	}
	return i
}

// hexRun reads hex digits from i on. Where they are grouped, accept is asked at the end of each group for all digits up
// to there, and accepted is the end of the last group that it took, 0 without. end is that of the run; without anything
// accepted it is that of the first group, so that the search goes on with the second. A run ends before 0x.
func hexRun(s string, i int, accept func(digits int, v uint64) bool) (accepted, end int) {
	digits, first := 0, 0
	var value uint64
	for {
		start := i
		for i < len(s) && isHex(s[i]) && (i == start || prefixed(s, i) == 0) {
			c := s[i]
			if c <= '9' {
				c -= '0'
			} else {
				c = c | 0x20 - 'a' + 10
			}
			if digits == 16 && value>>60 == 0 {
				digits-- // a zero before the number
			}
			value = value<<4 | uint64(c)
			digits++
			i++
		}
		if first == 0 {
			first = i
		}
		if digits <= 16 && accept(digits, value) {
			accepted = i
		}
		if digits > 16 || i+1 >= len(s) || !isGroup(s[i]) || !isHex(s[i+1]) {
			break
		}
		i++
	}
	if accepted > 0 {
		return accepted, accepted
	}
	return 0, first
}

// mapsRange is the end of a range of addresses of which s[from:to] is the first: permissions follow, or both are those of
// pages. 0 when it is none.
func mapsRange(s string, from, to int) int {
	if to-from < 8 || to-from > 16 || to >= len(s) || s[to] != '-' {
		return 0
	}
	end := to + 1
	for end < len(s) && isHex(s[end]) {
		end++
	}
	if n := end - to - 1; n < 8 || n > 16 || end < len(s) && isWord(s[end]) {
		return 0
	}
	low, _ := strconv.ParseUint(s[from:to], 16, 64)
	high, _ := strconv.ParseUint(s[to+1:end], 16, 64)
	if low < high && low&0xfff == 0 && high&0xfff == 0 && IsAddress(low) && IsAddress(high) {
		return end
	}
	if len(s) < end+5 || s[end] != ' ' {
		return 0
	}
	p := s[end+1:]
	if (p[0] == 'r' || p[0] == '-') && (p[1] == 'w' || p[1] == '-') && (p[2] == 'x' || p[2] == '-') && (p[3] == 'p' || p[3] == 's') {
		return end
	}
	return 0
}

// spoken are words before an address: of a kernel's log, a debugger, a profiler, an interpreter.
var spoken = []string{"segfault at", "ip", "sp", "pc", "lr", "bp", "rip", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "fp", "heap]", "vaddr", "addr", "address", "ptr", "pointer", "base", "stack"}

// isSpokenAddress reports whether the 12 digits s[from:to] are an address because of what is around them: perf writes the
// symbol behind it, the kernel's log [base+size], others say it.
func isSpokenAddress(s string, from, to int) bool {
	if v, err := strconv.ParseUint(s[from:to], 16, 64); err != nil || !isLibrary(v) {
		return false
	}
	if rest := s[to:]; rest != "" && rest[0] == ' ' {
		word, _, _ := strings.Cut(rest[1:min(len(rest), 512)], " ")
		if strings.Contains(word, "+0x") {
			return true
		}
	} else if from > 0 && s[from-1] == '[' && rest != "" && rest[0] == '+' {
		return true
	}
	return isSpoken(s, from)
}

// isSpoken reports whether what goes before s[from] says that an address follows.
func isSpoken(s string, from int) bool {
	around := s[max(0, from-16):from]
	before := strings.ToLower(strings.TrimRight(around, " =:"))
	if len(before) == len(around) {
		return false
	}
	for _, word := range spoken {
		if left, ok := strings.CutSuffix(before, word); ok && (left == "" || !isWord(left[len(left)-1])) {
			return true
		}
	}
	return false
}

// isHiddenClass reports whether what begins at i is what the JVM appends to the name of a hidden class: an address, or in
// older ones the hash of an object.
func isHiddenClass(s string, i, digits int) bool {
	if digits < 6 || i < 2 || s[i-1] != '/' {
		return false
	}
	class := s[max(0, i-256) : i-1]
	if space := strings.LastIndexAny(class, " \t\n(\"'"); space >= 0 {
		class = class[space+1:]
	}
	return strings.Contains(class, "$$Lambda") || strings.Contains(class, "LambdaForm$") || prefixed(s, i) > 0 && strings.Contains(class, "$")
}

// decimalAddress is the end of a decimal number at i that has the value of an address, 0 when there is none. A number
// after a minus sign has it when it can be the signed form of a kernel address.
func decimalAddress(s string, i int) int {
	if !isDigit(s[i]) || i > 0 && s[i-1] == '.' {
		return 0
	}
	var buffer [24]byte
	number := buffer[:0]
	end, comma := i, false
	for ; end < len(s) && len(number) < len(buffer); end++ {
		c := s[end]
		switch {
		case isDigit(c):
			number = append(number, c)
			continue
		case c == '_' && end+1 < len(s) && isDigit(s[end+1]):
			continue
		case c == ',' && thousands(s, i, end):
			comma = true
			continue
		}
		break
	}
	point := end
	for end < len(s) && (isDigit(s[end]) || end == point && s[end] == '.' && end+1 < len(s) && isDigit(s[end+1])) {
		end++
	}
	exponent := 0
	if end+1 < len(s) && s[end]|0x20 == 'e' && point-i == 1 && end-point > 8 {
		e := end + 1
		if s[e] == '+' {
			e++
		}
		for e < len(s) && isDigit(s[e]) && exponent < 100 {
			exponent = exponent*10 + int(s[e]-'0')
			e++
		}
		if exponent < 9 || exponent > 19 {
			return 0
		}
		number = append(number, s[point+1:min(end, point+1+exponent)]...)
		for len(number) < exponent+1 {
			number = append(number, '0')
		}
		end = e
	}
	if len(number) < 10 || len(number) > 20 || end < len(s) && (isWord(s[end]) || s[end] == '.' && end+1 < len(s) && isDigit(s[end+1])) {
		return 0
	}
	v, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil || comma && v < userLow {
		return 0
	}
	if i > 0 && s[i-1] == '-' && (i == 1 || strings.IndexByte(" \t\n=:(,[{\"'", s[i-2]) >= 0) {
		if v >= 1<<30 && v <= 1<<56 {
			return end
		}
		return 0
	}
	if IsAddress(v) && !isErrorCode(v) {
		return end
	}
	return 0
}

// thousands reports whether the comma at i, in a number that begins at from, is followed by three digits, and preceded by
// at most three or by another comma and three.
func thousands(s string, from, i int) bool {
	before := i - from
	if last := strings.LastIndexByte(s[from:i], ','); last >= 0 {
		before = i - from - last - 1
	}
	return before >= 1 && before <= 3 && i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]) && (i+4 == len(s) || !isDigit(s[i+4]))
}

func isHex(c byte) bool   { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isGroup(c byte) bool { return c == '_' || c == '`' || c == '\'' }
func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
