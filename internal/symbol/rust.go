package symbol

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// isMangledRust reports whether s begins as a name of the v0 scheme, with the _ that Mach-O puts before it too.
func isMangledRust(s string) bool { return strings.HasPrefix(s, "_R") || strings.HasPrefix(s, "__R") }

// rustMangled reads a mangled Rust name without suffixes, of either scheme.
func (b *builder) rustMangled(mangled string) bool {
	text, ok := legacyRust(mangled)
	if isMangledRust(mangled) {
		if mangled[1] == '_' {
			mangled = mangled[1:]
		}
		var err error
		if text, err = demangle.ToString(mangled, demangle.NoTemplateParams, demangle.MaxLength(12)); err != nil {
			text, err = separated(wideConstant.ReplaceAllStringFunc(mangled, func(m string) string { return strings.ReplaceAll(m, "0", "1") }))
		}
		text = strings.TrimSuffix(text, "::") // a constructor has no name of its own
		ok = err == nil
	}
	if !ok || len(text) >= 1<<12 {
		return false
	}
	b.language = Rust
	return b.rustPath(text)
}

// crateRoot is in every name of the v0 scheme: a path, and in it a crate with the length of its name.
var crateRoot = regexp.MustCompile(`^_?_R[NIXYM][0-9A-Za-z_]*C(?:s[0-9A-Za-z]*_)?[0-9]`)

// wideConstant is a generic argument of more than 64 bits, which the name does not keep. The demangler takes zeros behind the
// bits that it has room for for leading ones.
var wideConstant = regexp.MustCompile(`K[no]n?[0-9a-f]{17,32}_`)

// legacyRust demangles a name of the older scheme, for which isLegacyRust holds. Of a general demangler it would come
// without the first _ of identifiers.
func legacyRust(mangled string) (string, bool) {
	if !isLegacyRust(mangled) {
		return "", false
	}
	rest := mangled[len("_ZN") : len(mangled)-len("17h0123456789abcdefE")]
	text := make([]byte, 0, len(rest))
	for rest != "" {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		size, err := strconv.Atoi(rest[:digits])
		if err != nil || size == 0 || size > len(rest)-digits {
			return "", false
		}
		if len(text) > 0 {
			text = append(text, "::"...)
		}
		part := rest[digits : digits+size]
		rest = rest[digits+size:]
		if strings.HasPrefix(part, "_$") {
			part = part[1:] // an identifier cannot begin with $
		}
		var ok bool
		if text, ok = legacyRustPart(text, part); !ok {
			return "", false
		}
	}
	return string(text), true
}

// legacyRustPart appends an identifier with its escapes undone.
func legacyRustPart(text []byte, part string) ([]byte, bool) {
	for len(part) > 0 {
		switch {
		case strings.HasPrefix(part, ".."):
			text, part = append(text, "::"...), part[2:]
		case part[0] == '$':
			name, rest, ok := strings.Cut(part[1:], "$")
			if !ok {
				return nil, false
			}
			plain, ok := legacyRustEscapes[name]
			if !ok {
				digits, isCharacter := strings.CutPrefix(name, "u")
				c, err := strconv.ParseUint(digits, 16, 21)
				if err != nil || !isCharacter || c < ' ' {
					return nil, false
				}
				plain = string(rune(c))
			}
			text, part = append(text, plain...), rest
		default:
			text, part = append(text, part[0]), part[1:]
		}
	}
	return text, true
}

var legacyRustEscapes = map[string]string{
	"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ",",
}

// maxSeparators bounds how many places separated tries, maxSeparated the bytes that it demangles for that.
const (
	maxSeparators = 8
	maxSeparated  = 256 << 10
)

// separated demangles names with an empty identifier before one that begins with its length: in "03MIN" the demangler
// takes 03 for a length. The _ that the grammar allows behind a length keeps the two apart.
func separated(mangled string) (string, error) {
	var places []int
	for i := 2; i+1 < len(mangled) && len(places) < maxSeparators; i++ {
		if mangled[i] == '0' && mangled[i+1] >= '0' && mangled[i+1] <= '9' && (mangled[i-1] < '0' || mangled[i-1] > '9' || len(places) > 0 && places[len(places)-1] == i) {
			places = append(places, i+1)
		}
	}
	err := demangle.ErrNotMangledName
	for subset := 0; subset < 1<<len(places) && subset*len(mangled) <= maxSeparated; subset++ {
		var candidate strings.Builder
		done := 0
		for n, place := range places {
			if subset&(1<<n) != 0 {
				candidate.WriteString(mangled[done:place])
				candidate.WriteByte('_')
				done = place
			}
		}
		candidate.WriteString(mangled[done:])
		var text string
		if text, err = demangle.ToString(candidate.String(), demangle.NoTemplateParams, demangle.MaxLength(12)); err == nil {
			return text, nil
		}
	}
	return "", err
}

// rustPath reads a demangled Rust path: a::b, <T>::m, <T as Trait>::m, a::<impl Trait for T>::m, with generic arguments,
// closures and shims wherever they may be.
func (b *builder) rustPath(text string) bool {
	text, ok := cutRustHash(text)
	if !ok {
		return false
	}
	segments, trait, ok := b.rustSegments(text, 0)
	if !ok || len(segments) == 0 {
		return false
	}
	b.setRust(segments)
	if len(trait) > 0 {
		b.aliases = append(b.aliases, strings.Join(trait, "::"))
	}
	return isRustPath(b.pkg, b.member)
}

// hasRustHash reports whether a demangled name still has the hash of the older scheme.
func hasRustHash(text string) bool {
	at := len(text) - len("::h0123456789abcdef")
	return at > 0 && strings.HasPrefix(text[at:], "::h") && isLowerHex(text[at+len("::h"):])
}

// cutRustHash cuts the hash of the older scheme, std::rt::main::h0123456789abcdef, and undoes the escapes that demanglers of C++ leave.
func cutRustHash(text string) (string, bool) {
	if hasRustHash(text) {
		text = text[:len(text)-len("::h0123456789abcdef")]
	}
	if strings.IndexByte(text, '$') < 0 {
		return text, true
	}
	var out []byte
	for part := range strings.SplitSeq(text, "::") {
		if out != nil {
			out = append(out, "::"...)
		}
		if strings.HasPrefix(part, "_$") {
			part = part[1:]
		}
		var ok bool
		if out, ok = legacyRustPart(out, part); !ok {
			return "", false
		}
	}
	return string(out), true
}

func (b *builder) setRust(segments []string) {
	if len(segments) == 1 {
		b.pkg, b.member = "", segments[0]
		return
	}
	b.pkg, b.member = segments[0], strings.Join(segments[1:], "::")
}

// rustSegments are the path's identifiers, and those of the trait's function when it implements one.
func (b *builder) rustSegments(text string, depth int) (segments, trait []string, ok bool) {
	if depth > 16 {
		return nil, nil, false
	}
	inTrait, calls := false, false
	for text != "" {
		part, rest, ok := nextSegment(text)
		if !ok {
			return nil, nil, false
		}
		text = rest
		switch part[0] {
		case '{':
			b.rustScope(part)
		case '<':
			inner := part[1 : len(part)-1]
			self, of := inner, ""
			if rest, isImpl := strings.CutPrefix(inner, "impl "); isImpl && text != "" {
				if of, self, isImpl = cutTop(rest, " for "); !isImpl {
					self, of = rest, ""
				}
				// The path before it is where the impl was written; the type's takes its place.
			} else if len(segments) > 0 {
				b.flag(FlagGeneric) // turbofish
				continue
			} else if a, as, isAs := cutTop(inner, " as "); isAs {
				self, of = a, as
			}
			if of != "" {
				path, _, ok := b.rustType(of, depth)
				if !ok {
					return nil, nil, false
				}
				trait, inTrait = path, true
			}
			before := len(b.flags)
			path, named, ok := b.rustType(self, depth)
			// What calls a closure is the closure.
			calls = inTrait && b.flaggedSince(before, FlagClosure) && len(trait) == 4 && trait[1] == "ops" && trait[2] == "function"
			switch {
			case ok && named:
				segments = path
			case inTrait:
				// An implementation for a type without a path is known by its trait.
				segments, trait, inTrait = trait, nil, false
				b.doubt = 0.3
			case ok && (isRustPrimitive(path[0]) || len(segments) == 0):
				segments = path
			case ok:
				// A type parameter: known by where the implementation was written.
			default:
				return nil, nil, false
			}
		default:
			name, ok := b.rustName(part)
			if !ok {
				return nil, nil, false
			}
			if !calls {
				segments = append(segments, name)
			}
			if inTrait {
				trait = append(trait, name)
			}
		}
		if len(segments) > 64 {
			return nil, nil, false
		}
	}
	return segments, trait, true
}

// rustScope flags a part of a path that has no name of its own.
func (b *builder) rustScope(part string) {
	switch {
	case hasPrefix(part, "{closure", "{{closure}}"):
		b.flag(FlagClosure)
	case hasPrefix(part, "{shim", "{{vtable.shim", "{{shim}}"):
		b.flag(FlagShim)
	case strings.HasPrefix(part, "{async_fn"):
		b.flag(FlagAsync) // its body
	case hasPrefix(part, "{async_block", "{async_closure", "{coroutine", "{gen_", "{async_gen_"):
		b.flag(FlagAsync, FlagClosure)
	case strings.HasPrefix(part, "{impl#"):
		b.doubt = 0.5 // of which type is not known
	}
	// {constant#1} and the like are not told apart.
}

// rustName is an identifier without its generic arguments.
func (b *builder) rustName(part string) (string, bool) {
	// The older scheme appends {{vtable.shim}} to the name itself.
	if at := strings.Index(part, "{{"); at > 0 && strings.HasSuffix(part, "shim}}") {
		part = part[:at]
		b.flag(FlagShim)
	}
	if at := strings.IndexByte(part, '<'); at > 0 && part[len(part)-1] == '>' {
		part = part[:at]
		b.flag(FlagGeneric)
	}
	// That of a crate: std[0123456789abcdef].
	if at := len(part) - 1; at < 0 || part[at] != ']' {
		return part, isRustIdentifier(part)
	}
	if at := strings.IndexByte(part, '['); at > 0 && len(part)-at <= 18 && isLowerHex(part[at+1:len(part)-1]) {
		part = part[:at]
	}
	return part, isRustIdentifier(part)
}

// rustType is the path of a type; named is false for types that have none, as slices, which get the name of the module
// that documents them.
func (b *builder) rustType(text string, depth int) (path []string, named, ok bool) {
	for {
		text = strings.TrimSpace(text)
		if at := strings.IndexByte(text, '&'); at == 0 {
			text = text[1:]
			if strings.HasPrefix(text, "'") {
				_, text, _ = strings.Cut(text, " ")
			}
			continue
		}
		if strings.HasPrefix(text, "*const ") || strings.HasPrefix(text, "*mut ") {
			return []string{"pointer"}, false, true
		}
		cut := false
		for _, prefix := range []string{"mut ", "dyn "} {
			if rest, is := strings.CutPrefix(text, prefix); is {
				text, cut = rest, true
			}
		}
		if !cut {
			break
		}
	}
	switch {
	case text == "":
		return nil, false, false
	case text[0] == '[':
		if _, _, array := cutTop(text[1:], "; "); array {
			return []string{"array"}, false, true
		}
		return []string{"slice"}, false, true
	case text[0] == '(':
		return []string{"tuple"}, false, true
	case text == "!":
		return []string{"never"}, false, true
	case strings.HasPrefix(text, "fn(") || strings.HasPrefix(text, "unsafe ") || strings.HasPrefix(text, "extern ") || strings.HasPrefix(text, "for<"):
		return []string{"fn"}, false, true
	}
	text, _, _ = cutTop(text, " + ")
	path, _, ok = b.rustSegments(text, depth+1)
	// One without a crate is a primitive or a type parameter.
	return path, len(path) > 1 || ok && len(path) == 1 && isRustPrimitive(path[0]), ok && len(path) > 0
}

// rustPrimitives are the first parts of the canonical names of what is implemented for types without a crate: that is
// the standard library's.
var rustPrimitives = strings.Fields("bool char str slice array tuple fn never pointer i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f16 f32 f64 f128")

func isRustPrimitive(name string) bool { return slices.Contains(rustPrimitives, name) }

// nextSegment cuts a path behind its first segment, at a :: outside all brackets. A segment that begins with < or { ends
// with its bracket.
func nextSegment(text string) (segment, rest string, ok bool) {
	level := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '<', '(', '[', '{':
			level++
		case '>':
			if i > 0 && text[i-1] == '-' {
				continue // ->
			}
			level--
		case ')', ']', '}':
			level--
		case ':':
			if level == 0 && i > 0 && i+2 < len(text) && text[i+1] == ':' {
				return text[:i], text[i+2:], bracketed(text[:i])
			}
		}
		if level < 0 || level > 64 {
			return "", "", false
		}
	}
	return text, "", level == 0 && bracketed(text)
}

// bracketed reports whether a segment that begins with a bracket ends with one.
func bracketed(segment string) bool {
	switch segment[0] {
	case '<':
		return len(segment) > 2 && segment[len(segment)-1] == '>' || segment == "<>"
	case '{':
		return len(segment) > 2 && segment[len(segment)-1] == '}'
	}
	return true
}

// cutTop cuts text around the first separator outside all brackets.
func cutTop(text, separator string) (before, after string, found bool) {
	level := 0
	for i := range len(text) {
		switch text[i] {
		case '<', '(', '[', '{':
			level++
		case '>':
			if i == 0 || text[i-1] != '-' {
				level--
			}
		case ')', ']', '}':
			level--
		case separator[0]:
			if level == 0 && strings.HasPrefix(text[i:], separator) {
				return text[:i], text[i+len(separator):], true
			}
		}
	}
	return text, "", false
}

// isRustPath reports whether pkg and member are the parts of a canonical Rust name.
func isRustPath(pkg, member string) bool {
	if pkg != "" && !isRustIdentifier(pkg) {
		return false
	}
	segments := strings.Split(member, "::")
	for _, segment := range segments {
		if !isRustIdentifier(segment) {
			return false
		}
	}
	return len(segments) <= 64 && (pkg != "" || len(segments) == 1)
}

func isRustIdentifier(s string) bool {
	return isGoIdentifier(strings.TrimPrefix(s, "r#")) && !strings.Contains(s, "·")
}
