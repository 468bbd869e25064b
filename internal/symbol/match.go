package symbol

import (
	"cmp"
	"slices"
	"strings"
)

// writesDots reports whether a language separates all names by dots, so that where the package ends is not in the name.
func writesDots(language string) bool {
	return language == JVM || language == DotNet || language == Python || language == Swift || language == D
}

// Ref names a function as a finding does, or a whole package if Member is empty. NewRef makes it canonical.
type Ref struct{ Language, Package, Member string }

// By says by which name a function is what a Ref names.
type By uint8

// The ways in which names agree.
const (
	ByName  By = iota + 1 // package and member
	ByAlias               // another name of the same code: Symbol.Aliases
	ByTail                // Rust: the crate and Type::fn. Advisories have the public path, symbols that of the definition
	ByTrait               // Rust: the function of the trait that it implements
)

// Ran says what of a function code is.
type Ran uint8

// The kinds of code.
const (
	RanFunction Ran = iota // the function
	RanInlined             // the same, inlined into its caller
	RanClosure             // a closure of it: the function ran at some time before, not necessarily now
)

// Confidence, 0..1, that what a Ref names ran: by the names, by way of a wrapper, and by what ran.
const (
	confidenceTail    = 0.8
	confidenceTrait   = 0.7
	confidenceThunk   = 0.95
	ConfidenceInlined = 0.95
	ConfidenceClosure = 0.85
)

// flagInlined is what other sources of frames flag.
const flagInlined = "inlined"

var (
	// thunks are the flags of what calls the function and does nothing else.
	thunks = []string{FlagThunk, FlagVirtualThunk, FlagNonVirtualThunk, FlagShim, FlagProxy}
	// closures are those of code that is written inside the function.
	closures = []string{FlagClosure, FlagLambda, FlagLocalFunction}
)

// Match says how a function answers a Ref.
type Match struct {
	By  By
	Ran Ran
	// Thunk is code that the compiler made to call the function.
	Thunk bool
	// Goroot is a copy in the Go distribution: it has the distribution's version, so it answers for the standard library only.
	Goroot bool
	// Name is the confidence in the name, 0..1, that of the symbol included.
	Name float64
}

// Confidence that what the Ref names ran, 0..1.
func (m Match) Confidence() float64 {
	switch m.Ran {
	case RanInlined:
		return m.Name * ConfidenceInlined
	case RanClosure:
		return m.Name * ConfidenceClosure
	}
	return m.Name
}

// OfFrame is the symbol with these canonical parts, which are not checked, with the aliases that follow from them.
func OfFrame(language, pkg, member string, flags []string) Symbol {
	b := builder{language: language, pkg: pkg, member: member}
	b.derivedAliases()
	return Symbol{Language: language, Package: pkg, Member: member, Aliases: b.aliases, Flags: flags, Confidence: 1}
}

// What says what of the function the symbol is; inlined, that its frame was inlined.
func (s *Symbol) What(inlined bool) (ran Ran, thunk bool) {
	has := func(flags []string) bool {
		return slices.ContainsFunc(s.Flags, func(flag string) bool { return slices.Contains(flags, flag) })
	}
	switch {
	case has(closures):
		ran = RanClosure
	case inlined || slices.Contains(s.Flags, flagInlined):
		ran = RanInlined
	}
	return ran, has(thunks)
}

// Match decides whether a function is what r names; inlined, that its frame was inlined. The same member of another
// package is none, nor is anything by a minified name. Whether the version is affected is not asked here.
func (r *Ref) Match(s *Symbol, inlined bool) (Match, bool) {
	if r.Member == "" || s.Member == "" || s.Confidence <= 0 || !r.Speaks(s.Language) {
		return Match{}, false
	}
	m := Match{Name: s.Confidence}
	language := cmp.Or(r.Language, s.Language)
	switch {
	case r.is(language, s):
		m.By = ByName
	case r.Language == Rust && r.tail(s.Package, s.Member):
		m.By = ByTail
		m.Name *= confidenceTail
	default:
		alias := r.alias(language, s)
		if alias == "" {
			return Match{}, false
		}
		m.By = ByAlias
		if language == Rust {
			m.By = ByTrait
			m.Name *= confidenceTrait
		}
		m.Goroot = language == Go && (strings.HasPrefix(s.Package, "vendor/") || strings.HasPrefix(s.Package, "cmd/") || s.Package == "net/http")
	}
	if slices.Contains(s.Flags, FlagMinified) {
		return Match{}, false
	}
	if m.Ran, m.Thunk = s.What(inlined); m.Thunk {
		m.Name *= confidenceThunk
	}
	return m, true
}

// is compares the names.
func (r *Ref) is(language string, s *Symbol) bool {
	switch {
	case r.Language == Kernel && r.Package == "":
		return r.Member == s.Member // the package is the kernel module, which advisories seldom name
	case r.Language == Cxx, writesDots(language):
		// Where a namespace or package ends and a class begins is not in the name.
		return sameJoined(r.Package, r.Member, s.Package, s.Member, separator(language))
	}
	return r.Package == s.Package && r.Member == s.Member
}

// alias is the other name of the function by which r names it, else empty. One with an unknown package, as ?.T.M, is a hint
// for those who can find out the package, and no name.
func (r *Ref) alias(language string, s *Symbol) string {
	for _, alias := range s.Aliases {
		pkg, member, same := "", alias, false
		if language == Rust {
			pkg, member, _ = strings.Cut(alias, "::")
			same = r.tail(pkg, member)
		}
		if same || sameJoined(r.Package, r.Member, pkg, member, separator(language)) {
			return alias
		}
	}
	return ""
}

// InPackage reports whether a function is of the package of r, also of one that a program vendors.
func (r *Ref) InPackage(s *Symbol) bool {
	return r.Package != "" && (r.Package == s.Package || cmp.Or(r.Language, s.Language) == Go && r.Package == Vendored(s.Package))
}

// Selectors returns members and packages of which each function that r matches or has in its package has one; a package
// that begins with VendorMark stands for all that end so. Of aliases these are the ones of OfFrame, without those of GorootSelectors.
func (r *Ref) Selectors() (members, packages []string) {
	if r.Package != "" {
		packages = append(packages, r.Package)
	}
	switch r.Language {
	case Rust:
		if r.Member != "" && slices.Contains(RustStandard, r.Package) {
			packages = append(packages, RustStandard...)
			if primitive := r.rustPrimitive(); primitive != "" {
				packages = append(packages, primitive)
			}
		}
	case Cxx: // however namespace and class were told apart
		if r.Member != "" {
			members = append(members, suffixes(joined(r.Package, r.Member, "::"), "::")...)
		}
	case Kernel:
		if r.Member != "" {
			members = append(members, r.Member)
			if isSyscall(r.Member) {
				for _, prefix := range syscallPrefixes {
					members = append(members, prefix+r.Member)
				}
			}
		}
	case Go:
		if r.Package == "" {
			break
		}
		packages = append(packages, VendorMark+r.Package)
	default:
		if r.Package != "" && r.Language == "" {
			packages = append(packages, VendorMark+r.Package)
		}
		if r.Member != "" && (r.Package == "" || writesDots(r.Language)) {
			members = append(members, joined(r.Package, r.Member, "."))
		}
		if r.Member != "" && !strings.Contains(r.Package, "/") && r.Language != C {
			name := joined(r.Package, r.Member, ".")
			for i := range len(name) {
				if name[i] == '.' {
					packages = append(packages, name[:i])
				}
			}
		}
	}
	return members, packages
}

// GorootSelectors are the packages of the Go distribution that may have a copy of what r names: see Match.Goroot.
func (r *Ref) GorootSelectors() []string {
	if first, _, _ := strings.Cut(r.Package, "/"); r.Language != Go || r.Member == "" || !strings.Contains(first, ".") {
		return nil
	}
	if r.Package == http2Package {
		return []string{"vendor/" + r.Package, "net/http"}
	}
	return []string{"vendor/" + r.Package}
}

// suffixes are a name and what stands behind each separator.
func suffixes(name, separator string) []string {
	list := []string{name}
	for at := strings.Index(name, separator); at >= 0; at = strings.Index(name, separator) {
		name = name[at+len(separator):]
		list = append(list, name)
	}
	return list
}

// Speaks says whether r can name a function of a language. C and C++ link with each other; a kernel function is named
// only by those who say kernel.
func (r *Ref) Speaks(language string) bool {
	native := func(language string) bool { return language == C || language == Cxx }
	switch {
	case r.Language == language:
		return true
	case language == Kernel:
		return false
	}
	return r.Language == "" || language == "" || native(r.Language) && native(language)
}

// Bare says that other functions may well have the same name.
func (r *Ref) Bare() bool {
	return r.Package == "" && r.Language != Kernel && !strings.Contains(r.Member, "::")
}

// RustStandard are the crates of the Rust distribution. Advisories name std where code is in core or alloc.
var RustStandard = []string{"std", "core", "alloc"}

// rustPrimitive is the primitive type whose function r may name by a path in the standard library, else empty.
func (r *Ref) rustPrimitive() string {
	if !slices.Contains(RustStandard, r.Package) {
		return ""
	}
	name, _, _ := strings.Cut(lastTwo(r.Member), "::")
	if !isRustPrimitive(name) {
		return ""
	}
	return name
}

// tail reports whether a Rust function has the crate of r, or both are the standard library's, and the same Type::fn.
func (r *Ref) tail(crate, path string) bool {
	want := lastTwo(r.Member)
	switch {
	case want == "":
		return false
	case r.Package == crate, slices.Contains(RustStandard, r.Package) && slices.Contains(RustStandard, crate):
		return lastTwo(path) == want
	}
	primitive := r.rustPrimitive()
	return primitive != "" && primitive == crate && sameJoined("", want, crate, path, "::")
}

// lastTwo is Type::fn of a path, empty if it has but one part.
func lastTwo(name string) string {
	last := strings.LastIndex(name, "::")
	if last < 0 {
		return ""
	}
	if before := strings.LastIndex(name[:last], "::"); before >= 0 {
		return name[before+2:]
	}
	return name
}

// Vendored is the import path of a package that a program vendors under its own, and that of others as it is. So is what
// the Go distribution vendors: it belongs to the standard library and the go command.
func Vendored(pkg string) string {
	if at := strings.LastIndex(pkg, VendorMark); at > 0 && !strings.HasPrefix(pkg, "vendor/") && !strings.HasPrefix(pkg, "cmd/") {
		return pkg[at+len(VendorMark):]
	}
	return pkg
}

// VendorMark stands before the import path of a package that a program vendors.
const VendorMark = "/vendor/"

// sameJoined compares two names in two parts each, wherever they are split.
func sameJoined(pkg, member, otherPkg, otherMember, separator string) bool {
	if len(pkg) < len(otherPkg) {
		pkg, member, otherPkg, otherMember = otherPkg, otherMember, pkg, member
	}
	if pkg == otherPkg {
		return member == otherMember
	}
	// The longer package is the shorter one and the beginning of its member.
	rest := pkg
	if otherPkg != "" {
		var ok bool
		if rest, ok = strings.CutPrefix(pkg, otherPkg); !ok {
			return false
		}
		if rest, ok = strings.CutPrefix(rest, separator); !ok {
			return false
		}
	}
	begin, ok := strings.CutSuffix(otherMember, member)
	if !ok {
		return false
	}
	begin, ok = strings.CutSuffix(begin, separator)
	return ok && begin == rest
}

// NewRef makes canonical what people write: Go methods with a pointer, Rust functions with generics or as <T as Trait>::m,
// C++ functions with parameters, mangled names, methods as Javadoc or stack traces have them, and the package once more in
// the member. What cannot be read stays.
func NewRef(language, pkg, member string) Ref {
	r := Ref{language, pkg, member}
	switch language {
	case Go:
		r.Member = goMember(member)
	case Rust:
		r.Package, r.Member = rustRef(pkg, member)
	case C:
		if name, arguments, ok := strings.Cut(member, "("); ok && strings.HasSuffix(arguments, ")") {
			r.Member = name
		}
		if member != "" {
			r.Package = "" // that of a library: functions have none
		}
	case JVM, DotNet, Python, JS, Swift, D:
		r.Package, r.Member = managedRef(language, pkg, member)
	case Cxx:
		if name := joined(pkg, member, "::"); member != "" && (strings.ContainsAny(name, "<( ") || strings.HasPrefix(name, "_Z")) {
			if s, ok := Canonical(name, Cxx); ok && s.Language == Cxx {
				r.Package, r.Member = s.Package, s.Member
			}
		}
	}
	return r
}

// managedRef keeps the package, unless it is the coordinate of a Maven artifact.
func managedRef(language, pkg, member string) (string, string) {
	if language == JVM && strings.Contains(pkg, ":") {
		pkg = ""
	}
	if pkg != "" {
		member = strings.TrimPrefix(strings.TrimPrefix(member, pkg+separator(language)), pkg+".")
	}
	if !strings.ContainsAny(member, "#:/(<[`") && !strings.Contains(member, ".prototype.") {
		return pkg, member
	}
	name := joined(pkg, strings.ReplaceAll(member, ".prototype.", "."), separator(language))
	if language == JVM {
		name = strings.Replace(name, "#", ".", 1) // as Javadoc writes it
	}
	s, ok := Canonical(name, language)
	switch rest, inside := strings.CutPrefix(s.Name, pkg+separator(language)); {
	case !ok || s.Confidence < 1:
		return pkg, member
	case language == JS:
		return s.Package, s.Member
	case pkg != "" && inside:
		return pkg, rest
	case pkg == "":
		return "", s.Name
	}
	return s.Package, s.Member
}

func joined(pkg, member, separator string) string {
	if pkg == "" {
		return member
	}
	return pkg + separator + member
}

// goMember is the form of the Go vulnerability database: T.M for (*T).M, without type arguments, init for init#1.
func goMember(member string) string {
	if rest, ok := strings.CutPrefix(member, "("); ok {
		if receiver, method, ok := strings.Cut(rest, ")."); ok {
			member = strings.TrimPrefix(receiver, "*") + "." + method
		}
	}
	member = stripBalanced(member, '[', ']')
	if strings.HasPrefix(member, "init#") {
		return "init"
	}
	return member
}

// rustRef strips generics and splits the crate from the rest.
func rustRef(pkg, member string) (crate, rest string) {
	name := pkg
	if member != "" {
		if pkg != "" { // RustSec writes the crate before the path
			member = strings.TrimPrefix(member, strings.ReplaceAll(pkg, "-", "_")+"::")
		}
		name = joined(pkg, member, "::")
	}
	if strings.Contains(name, "<impl ") || strings.Contains(name, " as ") || strings.HasPrefix(name, "_R") {
		if s, ok := Canonical(name, Rust); ok && s.Language == Rust && s.Package != "" {
			return s.Package, s.Member
		}
	}
	segments := strings.Split(stripBalanced(name, '<', '>'), "::")
	segments = slices.DeleteFunc(segments, func(s string) bool { return s == "" })
	if len(segments) == 0 {
		return "", ""
	}
	crate = strings.ReplaceAll(segments[0], "-", "_")
	if member == "" {
		return crate, ""
	}
	return crate, strings.Join(segments[1:], "::")
}

// stripBalanced drops what is between brackets, brackets included.
func stripBalanced(s string, left, right byte) string {
	if strings.IndexByte(s, left) < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	depth := 0
	for i := range len(s) {
		switch {
		case s[i] == left:
			depth++
		case s[i] == right && depth > 0:
			depth--
		case depth == 0:
			b = append(b, s[i])
		}
	}
	return string(b)
}
