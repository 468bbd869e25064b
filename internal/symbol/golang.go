package symbol

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
)

// goPackages are the packages of the standard library with one path element, by which a Go symbol without a slash is told.
var goPackages = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq("bufio bytes cmp context crypto embed encoding errors expvar flag fmt hash html " +
		"image io iter log main maps math mime net os path plugin reflect regexp runtime slices sort strconv strings " +
		"structs sync syscall testing time unicode unique unsafe weak") {
		set[name] = true
	}
	return set
}()

// compilerData are the names of what the compiler makes; since Go 1.20 they have a colon. go. alone would be go.uber.org.
var compilerData = []string{
	"type:", "go:", "gclocals", "runtime.gcbits.", "type..",
	"go.buildid", "go.builtin.", "go.cuinfo.", "go.func.", "go.importpath.", "go.info.", "go.itab.", "go.link.", "go.shape.", "go.string.", "go.typelink", "go.weak.",
}

// golang reads a Go symbol as the linker, the line table or the vulnerability database writes it.
func (b *builder) golang(raw string) bool {
	for _, prefix := range compilerData {
		if strings.HasPrefix(raw, prefix) {
			return false
		}
	}
	text := cutOffset(raw)
	if text[len(text)-1] == ')' {
		text = cutGoArguments(text)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(text, ".abi0"), ".abiinternal"), "·f")
	text, ok := b.dropTypeArguments(text)
	if !ok {
		return false
	}
	slash := strings.LastIndexByte(text, '/')
	if slash > 0 {
		if whole := b.promoted(text, slash); len(whole) < len(text) {
			text, slash = whole, strings.LastIndexByte(whole, '/')
		}
	}
	dot := strings.IndexByte(text[slash+1:], '.')
	if dot < 0 {
		// Assembly and C in a Go program.
		b.language = C
		return slash < 0 && b.c(text)
	}
	dot += slash + 1
	// gopkg.in/yaml.v3 has its version in the last element, which people write without the linker's %2e.
	if rest := text[dot+1:]; strings.HasPrefix(text, "gopkg.in/") && len(rest) > 1 && rest[0] == 'v' {
		if version, _, ok := strings.Cut(rest[1:], "."); ok && isNumber(version) {
			dot += len("v.") + len(version)
		}
	}
	pkg, ok := decodePackage(text[:dot])
	if !ok || !isImportPath(pkg) {
		return false
	}
	b.pkg = pkg
	return b.golangMember(text[dot+1:])
}

// cutGoArguments cuts what a stack trace of the Go runtime writes behind a function: (...), (0x1, {0xc000012345, 0x2, ...}).
func cutGoArguments(text string) string {
	at := strings.LastIndexByte(text, '(')
	if at <= 0 || strings.Trim(text[at+1:len(text)-1], "0123456789abcdefx{}, .?_") != "" {
		return text
	}
	return text[:at]
}

// dropTypeArguments leaves [] of type arguments, wherever they are balanced.
func (b *builder) dropTypeArguments(text string) (string, bool) {
	if strings.IndexByte(text, '[') < 0 {
		return text, strings.IndexByte(text, ']') < 0
	}
	var out strings.Builder
	depth := 0
	for i := range len(text) {
		switch c := text[i]; c {
		case '[':
			if depth++; depth == 1 {
				out.WriteString("[]")
			}
		case ']':
			if depth--; depth < 0 {
				return "", false
			}
		default:
			if depth == 0 {
				out.WriteByte(c)
			}
		}
	}
	b.flag(FlagGeneric)
	return out.String(), depth == 0
}

// promoted cuts the package from a method without a capital that is promoted from a type of that package, embedded in T:
// a/b.(*T).c/d.m, a/b.T.c/d.m. What bears such a name calls it.
func (b *builder) promoted(text string, slash int) string {
	dot := strings.IndexByte(text[slash:], '.')
	if dot < 0 {
		return text
	}
	method := text[slash+dot+1:]
	if at := strings.Index(text[:slash], ".(*"); at > 0 {
		if end := strings.Index(text[at:slash], ")."); end > 0 {
			b.flag(FlagThunk)
			return text[:at+end+2] + method
		}
		return text
	}
	// A directory may have dots too, but seldom two with words behind them.
	from := strings.IndexByte(text, '/') + 1
	for from > 0 && from < slash {
		end := from + strings.IndexByte(text[from:], '/')
		if pkg := strings.IndexByte(text[from:end], '.'); pkg > 0 {
			if name, root, ok := strings.Cut(text[from+pkg+1:end], "."); ok && isGoIdentifier(name) && isGoIdentifier(root[:min(1, len(root))]) {
				b.flag(FlagThunk)
				return text[:from+pkg+1] + name + "." + method
			}
		}
		from = end + 1
	}
	return text
}

// decodePackage undoes the linker's %xx in a package path.
func decodePackage(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		out.WriteByte(byte(c))
		i += 2
	}
	return out.String(), true
}

// golangMember reads what is behind the package: Func, Type.Method or (*Type).Method, with what the compiler appends for
// closures, loop bodies and wrappers, and with the names of functions that were inlined around a closure.
func (b *builder) golangMember(text string) bool {
	if name, ok := strings.CutSuffix(text, "-fm"); ok {
		text = name
		b.flag(FlagThunk)
	}
	parts := strings.Split(localTypes(b.cgo(text)), ".")
	if len(parts) > maxSegments {
		return false
	}
	// Initialization of the package's variables and of its maps.
	switch {
	case len(parts) > 2 && parts[0] == "glob" && parts[1] == "":
		parts = append([]string{"init"}, parts[2:]...)
	case len(parts) > 1 && parts[0] == "map" && parts[1] == "init":
		parts = parts[1:]
	}
	if name, number, ok := strings.Cut(parts[0], "#"); ok && name == "init" && isNumber(number) {
		parts[0] = "init"
	}
	if parts[0] == "init" {
		b.flag(FlagInit)
	}
	names, generic := parts[:0], false
	inner, closed := 0, false // where the names behind the last closure begin
	var pointers uint64       // the names that are (*T), a bit each
	// A function, not a type, when it has closures of its own. A function, not a method, when it has type arguments.
	var firstIsFunction, secondIsFunction bool
	for i, part := range parts {
		for name, ok := b.loopBody(part); ok; name, ok = b.loopBody(part) {
			part = name
		}
		if name, number, ok := strings.Cut(part, "·dwrap·"); ok && isNumber(number) {
			part = name // what Go 1.17 called gowrap and deferwrap
			b.flag(FlagThunk)
		}
		if i == 1 && isNumber(part) && len(parts) > 2 && parts[0] != "init" && isGoIdentifier(parts[2]) && closureFlag(parts[2]) == "" {
			continue // a local type: T.1.M
		}
		if i > 0 {
			if flag := closureFlag(part); flag != "" {
				b.flag(flag)
				closed = true
				firstIsFunction = firstIsFunction || len(names) == 1
				secondIsFunction = secondIsFunction || len(names) == 2 && generic
				continue
			}
		}
		name, pointer := part, false
		if len(part) > 3 && strings.HasPrefix(part, "(*") && part[len(part)-1] == ')' {
			name, pointer = part[2:len(part)-1], true
		}
		name, generic = strings.CutSuffix(name, "[]")
		// A local type has a number: T·1.
		if base, number, ok := strings.Cut(name, "·"); ok && isNumber(number) {
			name = base
		}
		if !isGoIdentifier(name) {
			return false
		}
		if closed {
			inner, closed = len(names), false
		}
		if pointer {
			pointers |= 1 << len(names)
		}
		names = append(names, name)
	}
	firstIsPointer, secondIsPointer := pointers&1 != 0, pointers&2 != 0
	size := min(len(names), 2)
	switch {
	case names[0] == "init" && !firstIsPointer, firstIsFunction && !firstIsPointer, secondIsFunction, secondIsPointer:
		size = 1 // what follows is of an inlined function
	case size == 1 && firstIsPointer:
		return false
	}
	b.member = strings.Join(names[:size], ".")
	if len(names) > size {
		// It is code of the innermost. What stands before that may be its type, or the method of a (*T).
		from := len(names) - 1
		if from > max(size, inner) && !generic && (from-2 < max(size, inner) || pointers>>(from-2)&1 == 0) {
			from--
		}
		b.aliases = append(b.aliases, "?."+strings.Join(names[from:], "."))
		b.flag(FlagInlinedClone)
		b.doubt = 0.5
	}
	return true
}

// localTypes cuts the numbers of pointers to types that are local to a function: (*T.1).
func localTypes(text string) string {
	end := strings.IndexByte(text, ')')
	if end < 0 || !strings.ContainsAny(text[end-min(end, 1):end], "0123456789") && strings.Count(text, ")") == 1 {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		if text[i] == ')' {
			if name := bytes.TrimRight(out, "0123456789"); len(name) < len(out) && len(name) > 0 && name[len(name)-1] == '.' {
				out = name[:len(name)-1]
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}

// loopBody cuts -rangeN, the body of a range-over-func loop.
func (b *builder) loopBody(part string) (string, bool) {
	at := strings.LastIndex(part, "-range")
	if at <= 0 || !isNumber(part[at+len("-range"):]) {
		return "", false
	}
	b.flag(FlagClosure)
	return part[:at], true
}

// closureFlag is the flag of a component that names no function of its own, else empty.
func closureFlag(part string) string {
	switch {
	case isNumber(part):
		return FlagClosure
	case isNumber(strings.TrimPrefix(part, "func")) && strings.HasPrefix(part, "func"):
		return FlagClosure
	case isNumber(strings.TrimPrefix(part, "gowrap")) && strings.HasPrefix(part, "gowrap"),
		isNumber(strings.TrimPrefix(part, "deferwrap")) && strings.HasPrefix(part, "deferwrap"):
		return FlagThunk
	}
	return ""
}

const http2Package = "golang.org/x/net/http2"

// golangAliases adds the names of code that was copied into another package: vendored, or bundled into net/http.
func (b *builder) golangAliases() {
	if original, ok := strings.CutPrefix(b.pkg, "vendor/"); ok {
		b.flag(FlagGorootVendored)
		b.aliases = append(b.aliases, original+"."+b.member)
	} else if at := strings.LastIndex(b.pkg, "/vendor/"); at > 0 {
		b.flag(FlagVendored)
		b.aliases = append(b.aliases, b.pkg[at+len("/vendor/"):]+"."+b.member)
	}
	if original, ok := strings.CutPrefix(b.member, "http2"); ok && b.pkg == "net/http" && original != "" && original[0] != '.' {
		b.aliases = append(b.aliases, http2Package+"."+original)
	}
}

// isImportPath reports whether s is what the go command takes as an import path. That of a package outside of modules and
// GOPATH is _ and its directory, which is nobody's business.
func isImportPath(s string) bool {
	if s == "" || len(s) > 512 || strings.HasPrefix(s, "_/") || s[0] == '~' || s[0] == '-' {
		return false
	}
	if host, _, _ := strings.Cut(s, "/"); isIP(host) {
		return false
	}
	for element := range strings.SplitSeq(s, "/") {
		if element == "" || element[len(element)-1] == '.' {
			return false
		}
		for i := range len(element) {
			if c := element[i]; !isAlphanumeric(c) && c != '.' && c != '-' && c != '_' && c != '~' && c != '+' {
				return false
			}
		}
	}
	return true
}

// isGoMember reports whether s is a canonical Func or Type.Method.
func isGoMember(s string) bool {
	first, second, both := strings.Cut(s, ".")
	if !isGoIdentifier(first) {
		return false
	}
	return !both || first != "init" && isGoIdentifier(second) && closureFlag(second) == ""
}

func isGoIdentifier(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i, r := range s {
		if r != '_' && !isLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return true
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || r == '·' }
