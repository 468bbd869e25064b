// Package symbol brings the names of functions into one canonical form, canon/v1: that of the Go vulnerability database
// for Go, crate::path::Type::fn for Rust, ns::Class::method for C++, the bare name for C and the kernel,
// package.Class$Inner.method for the JVM, Namespace.Type+Nested.Method for .NET, package.module.Class.function for Python,
// npm-package#function for JavaScript, Module.Type.method for Swift, package.module.Type.function for D.
//
// It is pure and total. A text that is no symbol of its language is refused, so that nothing else travels as a symbol.
package symbol

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// The languages that have rules.
const (
	Go     = "go"
	Rust   = "rust"
	Cxx    = "cxx"
	C      = "c"
	Kernel = "kernel"
	JVM    = "jvm"
	DotNet = "dotnet"
	Python = "python"
	JS     = "js"
	Swift  = "swift"
	D      = "d"
)

// Flags say what the canonical name folded away.
const (
	FlagABITag           = "abi-tag"           // a C++ ABI tag
	FlagAnonymous        = "anonymous"         // an anonymous C++ namespace, or a function without a name
	FlagAsync            = "async"             // the state machine of an async or iterator function
	FlagClosure          = "closure"           // a function literal, lambda or loop body inside the function
	FlagCold             = "cold"              // the unlikely part of the function
	FlagCompilerClone    = "compiler-clone"    // a copy or part that the compiler made
	FlagGeneric          = "generic"           // an instance of a generic function
	FlagGorootVendored   = "goroot-vendored"   // vendored into the Go standard library
	FlagVendored         = "vendored"          // vendored into the program
	FlagInit             = "init"              // package, module or class initialization
	FlagInlinedClone     = "inlined-clone"     // a closure of another function, copied when that was inlined
	FlagLambda           = "lambda"            // a lambda inside the function
	FlagLambdaProxy      = "lambda-proxy"      // the class that the JVM makes of a lambda: it is no code of the class that it is named after
	FlagLocalFunction    = "local-function"    // a named function inside the function
	FlagMinified         = "minified"          // the name says nothing
	FlagNonVirtualThunk  = "non-virtual-thunk" // adjusts this and jumps to the function
	FlagVirtualThunk     = "virtual-thunk"
	FlagPadding          = "padding"    // the kernel's bytes before the function
	FlagProxy            = "proxy"      // a subclass or stand-in made at run time
	FlagReflection       = "reflection" // calls a function that its name does not tell
	FlagShim             = "shim"       // made by rustc to call the function
	FlagThunk            = "thunk"      // calls the function and nothing else
	FlagTransactionClone = "transaction-clone"
	FlagVersioned        = "versioned" // had an ELF symbol version
)

// MaxRaw is the longest raw symbol that is read, MaxName the longest canonical name, in bytes.
const (
	MaxRaw  = 8 << 10
	MaxName = 1 << 10
)

// Symbol is a function in canonical form.
type Symbol struct {
	Language string
	// Package and Member are the two parts of Name: import path and Func or Type.Method in Go, crate and path in Rust,
	// namespaces and classes, and function in C++, empty and function in C. In the kernel the package is the kernel
	// module, and not part of Name. In the other languages the package is that of the JVM, the namespace, module or npm
	// package, where it is known, and the member is the function with the types around it.
	Package, Member string
	Name            string
	// Aliases are other names of the function, sorted. One that begins with ?. has an unknown package.
	Aliases []string
	// Flags are sorted and without repetition.
	Flags []string
	// Confidence in the name, 0..1.
	Confidence float64
}

// Canonical reads a symbol as compilers, linkers and agents write it. The language is detected when empty; a C++ or Rust
// mangled name is told by its form, whatever the language. It is false when raw is not a symbol of its language, or has
// an address or a token in it. It must not be applied to canonical names: CanonicalFrame is for those.
func Canonical(raw, language string) (s Symbol, ok bool) {
	if at := strings.IndexByte(raw, '\t'); at > 0 && (language == Kernel || language == "") {
		raw = raw[:at] + " " + raw[at+1:] // before the module in /proc/kallsyms
	}
	if raw == "" || len(raw) > MaxRaw || !plain(raw) {
		return Symbol{}, false
	}
	defer func() {
		// The demangler has internal checks that panic.
		if recover() != nil {
			s, ok = Symbol{}, false
		}
	}()
	var b builder
	switch language {
	case "", C, Cxx, Rust, Kernel, Go:
	case JVM, DotNet, Python, JS, Swift, D:
		b.language = language
		return b.finish(b.managed(raw))
	default:
		return Symbol{}, false
	}
	text := raw
	if language != Go {
		text = b.affixes(raw, language == Kernel || language == "")
	}
	if language != Go || raw[0] == '_' {
		text = b.clones(b.initializer(text))
	}
	if isMangledCxx(text) {
		return b.finish(b.mangled(text))
	}
	if isMangledRust(text) {
		if b.rustMangled(text) {
			return b.finish(true)
		}
		if crateRoot.MatchString(text) {
			return Symbol{}, false // no function of C is called like that
		}
	}
	if read, is := b.otherMangled(text); is {
		return b.finish(read)
	}
	if language == "" {
		if !isIdentifier(text) && b.language == "" {
			b.language = form(raw)
		}
		b.language = b.detect(raw, text)
	} else {
		b.language = language
	}
	if (language == C || language == Cxx) && hasRustHash(text) {
		b.language = Rust
	}
	switch b.language {
	case Go:
		b.flags = nil
		ok = b.golang(raw)
	case Rust:
		ok = b.rustPath(text)
	case Cxx:
		ok = b.cxxText(text)
	case C, Kernel:
		ok = b.c(text)
	default:
		b.flags = nil
		ok = b.managed(raw)
	}
	return b.finish(ok)
}

// managed reads a symbol of a language whose names linkers and ELF files do not decorate.
func (b *builder) managed(raw string) bool {
	ok := false
	switch b.language {
	case JVM:
		ok = b.jvm(raw)
	case DotNet:
		ok = b.dotnet(raw)
	case Python:
		ok = b.python(raw)
	case JS:
		ok = b.javascript(raw)
	case Swift:
		ok = b.swift(raw)
	case D:
		ok = b.dlang(raw)
	}
	// What one rule folded away can lay bare what the next one folds.
	for range 4 {
		pkg, member := b.pkg, b.member
		if !ok || !b.parts(pkg, member) {
			return false
		}
		if b.pkg == pkg && b.member == member {
			return true
		}
	}
	return false
}

// parts folds away what compilers and run times put into a package and a member. It is false when they are none of the
// language; canonical ones stay as they are.
func (b *builder) parts(pkg, member string) bool {
	b.pkg, b.member = pkg, member
	switch b.language {
	case JVM:
		return b.jvmParts()
	case DotNet:
		return b.dotnetParts()
	case Python:
		return b.pythonParts()
	case JS:
		return b.javascriptParts()
	case Swift:
		return b.swiftParts()
	case D:
		return b.dlangParts()
	}
	return false
}

// otherMangled reads the mangled names that are neither of Rust nor of C++; is reports whether it is one.
func (b *builder) otherMangled(text string) (read, is bool) {
	switch {
	case isMangledSwift(text):
		b.language = Swift
	case isMangledD(text):
		b.language = D
	default:
		return false, false
	}
	return b.managed(text), true
}

// CanonicalFrame reads a symbol that is canonical already, by its two parts: pkg and member come back as they are. It is
// false when they are not canonical. Flags are not repeated, but that a name of JavaScript says nothing; aliases are those
// that follow from the name.
func CanonicalFrame(language, pkg, member string) (Symbol, bool) {
	if len(pkg)+len(member) > MaxName || !plain(pkg) || !plain(member) {
		return Symbol{}, false
	}
	b := builder{language: language, pkg: pkg, member: member}
	ok := false
	switch language {
	case Go:
		ok = isImportPath(pkg) && isGoMember(member)
	case Rust:
		ok = isRustPath(pkg, member)
	case Cxx:
		ok = isCxxPath(pkg, member)
	case C:
		ok = pkg == "" && isIdentifier(member)
	case Kernel:
		ok = (pkg == "" || isIdentifier(pkg)) && isIdentifier(member)
	case JVM, DotNet, Python, JS, Swift, D:
		ok = b.parts(pkg, member) && b.pkg == pkg && b.member == member
		b.aliases, b.doubt = nil, 0
	}
	s, ok := b.finish(ok)
	if language != JS {
		s.Flags = nil
	}
	return s, ok
}

// builder collects a symbol.
type builder struct {
	language, pkg, member string
	aliases, flags        []string
	// doubt is what is missing to full confidence.
	doubt float64
}

func (b *builder) flag(flags ...string) { b.flags = append(b.flags, flags...) }

// finish derives the rest and checks what holds for all languages.
func (b *builder) finish(ok bool) (Symbol, bool) {
	if !ok || b.member == "" {
		return Symbol{}, false
	}
	b.derivedAliases()
	if b.language == JS {
		b.javascriptDoubt()
	}
	s := Symbol{Language: b.language, Package: b.pkg, Member: b.member, Name: Join(b.language, b.pkg, b.member), Confidence: math.Round((1-b.doubt)*100) / 100}
	if isPrivate(s.Name) || b.language == Kernel && isPrivate(b.pkg) || slices.ContainsFunc(b.aliases, isPrivate) {
		return Symbol{}, false
	}
	s.Aliases, s.Flags = sorted(b.aliases), sorted(b.flags)
	return s, true
}

// Join is the name that a package and a member make.
func Join(language, pkg, member string) string {
	if pkg == "" || language == C || language == Kernel {
		return member
	}
	return pkg + separator(language) + member
}

// separator stands between package and member in the names of a language.
func separator(language string) string {
	switch language {
	case Cxx, Rust:
		return "::"
	case JS:
		return "#"
	default:
		return "."
	}
}

// derivedAliases adds the aliases that follow from the canonical name.
func (b *builder) derivedAliases() {
	switch b.language {
	case Go:
		b.golangAliases()
	case Kernel:
		b.kernelAliases()
	}
}

func sorted(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}

// detect tells the language of a symbol that is not mangled; text is raw without affixes and clone suffixes. Empty when it cannot be told.
func (b *builder) detect(raw, text string) string {
	switch {
	case b.language != "":
		return b.language
	case isIdentifier(text):
		return C
	}
	first, _, _ := strings.Cut(raw, ".")
	if slash := strings.IndexByte(raw, '/'); slash > 0 && strings.Contains(raw[slash:], ".") || strings.Contains(raw, ".(*") || goPackages[first] {
		return Go
	}
	return pathLanguage(text)
}

// pathLanguage tells Rust from C++ in a demangled name; a::b may be either.
func pathLanguage(text string) string {
	switch {
	case hasAny(text, "{closure", "{shim", "{impl#", "{async_", "<impl ", " as ", "$LT$") || hasRustHash(text):
		return Rust
	case hasAny(text, "(anonymous namespace)::", "{lambda(", "'lambda"), strings.HasPrefix(text, "operator "), strings.Contains(text, "::operator"),
		strings.Contains(text, "::") && strings.HasSuffix(cutQualifiers(text), ")"):
		return Cxx
	case hasAny(text, "::<", "<dyn ", "[u8"):
		return Rust
	}
	return ""
}

// plain reports whether s is printable ASCII or other letters: no control characters, no invalid UTF-8.
func plain(s string) bool {
	for _, r := range s {
		if r < ' ' || r >= 0x7f && !isLetter(r) {
			return false
		}
	}
	return true
}

// hasAddress reports whether one of the alphanumeric runs of a name is an address.
func hasAddress(name string) bool {
	for i := 0; i < len(name); {
		start := i
		digits := 0
		for i < len(name) && isAlphanumeric(name[i]) {
			if name[i] <= '9' {
				digits++
			}
			i++
		}
		if digits > 0 && i-start >= 10 && (privacy.IsAddressToken(name[start:i]) || digits == i-start && privacy.Name(name[start:i]) != name[start:i]) {
			return true
		}
		// 0x7f... right behind other letters.
		if run := name[start:i]; digits > 0 && len(run) >= 10 {
			if at := strings.LastIndex(run, "0x"); at > 0 && privacy.IsAddressToken(run[at:]) {
				return true
			}
		}
		i = max(i, start+1)
	}
	return false
}

// isPrivate reports whether a name is too long, or has an address or a token in it.
func isPrivate(name string) bool {
	return len(name) > MaxName || privacy.HasToken(name) || hasAddress(name) || hasLongRun(name)
}

// Runs of letters and digits from these lengths on are no part of a name: a token or digest in hex, JSON in base64.
const (
	minHexToken = 32
	minJSON     = 16
)

// hasLongRun reports whether a name has a run of hex digits, or one that begins as JSON in base64 does, of the length of a token.
func hasLongRun(name string) bool {
	for hex, run, i := 0, 0, 0; i < len(name); i++ {
		c := name[i]
		if hex++; (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			hex = 0
		}
		if run++; !isAlphanumeric(c) {
			run = 0
		}
		if hex >= minHexToken || run == minJSON && strings.HasPrefix(name[i+1-run:], "eyJ") {
			return true
		}
	}
	return false
}

// isIP reports whether s is an IPv4 address.
func isIP(s string) bool {
	if s == "" || s[0] > '9' {
		return false
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isIdentifier reports whether s is an identifier of C: bounded, and with the $ that GCC allows.
func isIdentifier(s string) bool {
	if strings.Trim(s, "$") == "" || len(s) > 256 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '_' && s[i] != '$' {
			return false
		}
	}
	return true
}
