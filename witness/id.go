package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// IDVersion is the member v of the identity document.
const IDVersion = 1

// ID is a witness id: the sha256 of the identity document.
type ID [sha256.Size]byte

// String is the id as 64 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether there is no id.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads 64 lower-case hex digits.
func ParseID(text string) (ID, error) {
	var id ID
	if len(text) != 2*len(id) || strings.ToLower(text) != text {
		return ID{}, fmt.Errorf("a witness id has %d lower-case hex digits", 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return ID{}, fmt.Errorf("a witness id has %d lower-case hex digits", 2*len(id))
	}
	return id, nil
}

// ID is the identity of w: sha256 over Document.
func (w *Witness) ID() ID {
	return sha256.Sum256(w.AppendDocument(make([]byte, 0, 1024)))
}

// AppendDocument appends the identity document of w, which is RFC 8785 (JCS) canonical JSON:
//
//	{"flags":[...],"kind":"call","module":"build-id:...","path":[{"flags":[],"module":"...","symbol":"..."}],
//	 "symbol":"...","v":1,"workload":{"container":"","controller":"","image":"","namespace":""}}
//
// offset, a hex string, is there instead of symbol when a frame has no symbol; a frame without either has symbol "".
// Flags are sorted and without repetition. Nothing that may be learnt later, and no place, is in it.
func (w *Witness) AppendDocument(b []byte) []byte {
	b = append(b, '{')
	b = appendFlags(b, w.Frame.Flags)
	b = appendMember(b, `,"kind":`, string(w.Kind))
	b = appendMember(b, `,"module":`, w.Frame.Module.Key(w.Workload.Image))
	b = appendOffset(b, &w.Frame)
	b = append(b, `,"path":[`...)
	for i := range w.Path {
		if i > 0 {
			b = append(b, ',')
		}
		frame := &w.Path[i]
		b = append(b, '{')
		b = appendFlags(b, frame.Flags)
		b = appendMember(b, `,"module":`, frame.Module.Key(w.Workload.Image))
		b = appendOffset(b, frame)
		b = appendSymbol(b, frame)
		b = append(b, '}')
	}
	b = append(b, ']')
	b = appendSymbol(b, &w.Frame)
	b = append(b, `,"v":`...)
	b = strconv.AppendInt(b, IDVersion, 10)
	b = appendMember(b, `,"workload":{"container":`, w.Workload.Container)
	b = appendMember(b, `,"controller":`, w.Workload.Controller)
	b = appendMember(b, `,"image":`, w.Workload.Image)
	b = appendMember(b, `,"namespace":`, w.Workload.Namespace)
	return append(b, "}}"...)
}

func appendFlags(b []byte, flags []string) []byte {
	if !slices.IsSorted(flags) {
		flags = slices.Sorted(slices.Values(flags))
	}
	b = append(b, `"flags":[`...)
	for i, flag := range flags {
		if i > 0 {
			if flag == flags[i-1] {
				continue
			}
			b = append(b, ',')
		}
		b = appendString(b, flag)
	}
	return append(b, ']')
}

func appendOffset(b []byte, f *Frame) []byte {
	if f.Symbol != "" || !f.HasOffset {
		return b
	}
	b = append(b, `,"offset":"0x`...)
	b = strconv.AppendUint(b, f.Offset, 16)
	return append(b, '"')
}

func appendSymbol(b []byte, f *Frame) []byte {
	if f.Symbol == "" && f.HasOffset {
		return b
	}
	return appendMember(b, `,"symbol":`, f.Symbol)
}

func appendMember(b []byte, name, value string) []byte {
	return appendString(append(b, name...), value)
}

// appendString writes a JSON string as RFC 8785 section 3.2.2.2 has it. Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), "\uFFFD"...)
				i++
				start = i
			} else {
				i += size
			}
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
