package privacy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// pseudonymPrefix marks what Pseudonym returns.
const pseudonymPrefix = "h:"

// Pseudonym is what an identity leaves as: h: and 16 hex digits of its HMAC-SHA256 under key. A pseudonym, and the empty
// identity, stay what they are. What Pseudonym makes up never looks like an address.
func Pseudonym(key []byte, identity string) string {
	if identity == "" || IsPseudonym(identity) {
		return identity
	}
	return pseudonymPrefix + digest(key, 8, "identity", identity)
}

// IsPseudonym reports whether s has the form of what Pseudonym returns.
func IsPseudonym(s string) bool {
	digits, ok := strings.CutPrefix(s, pseudonymPrefix)
	return ok && len(digits) == 16 && isLowerHex(digits) && !IsAddressToken(digits)
}

// digest is the first size bytes, at most 8, of a keyed digest of parts as hex, skipping values that could be addresses.
func digest(key []byte, size int, parts ...string) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	sum := mac.Sum(nil)
	for len(sum) > 8 && IsAddress(binary.BigEndian.Uint64(sum)) {
		sum = sum[8:]
	}
	if IsAddress(binary.BigEndian.Uint64(sum)) {
		sum[0] = 0x10
	}
	return hex.EncodeToString(sum[:size])
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// User classes.
const (
	ClassRoot    = "root"
	ClassNonroot = "nonroot"
	ClassUnknown = "unknown"
)

// UserClass is the class of a user id; 4294967295 and negative numbers are no user.
func UserClass(id int64) string {
	switch {
	case id == 0:
		return ClassRoot
	case id < 0 || id >= 1<<32-1:
		return ClassUnknown
	default:
		return ClassNonroot
	}
}
