// Package finding reads findings and matches them against what ran.
//
// A finding is a question: advisory x component (witness.Finding). Parse reads findings from documents, Selectors says
// what to look up in storage, and Of decides, for one frame of evidence, whether it answers the question and how closely.
// Everything here is pure: no I/O, no clock, no state.
package finding

import (
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Level says how close evidence is to what a finding names, closest first.
type Level string

// The levels.
const (
	LevelFunction Level = "function" // a function that the finding names ran
	LevelInlined  Level = "inlined"  // the same, inlined into its caller
	LevelClosure  Level = "closure"  // a closure of that function ran: the function itself ran at some time before
	LevelPackage  Level = "package"  // another function of the package ran, or the finding names no function
	LevelLibrary  Level = "library"  // the component was mapped executable, or code in another package of it ran
	LevelProcess  Level = "process"  // a binary that is the component was started
)

// VersionState says what is known of the version that ran.
type VersionState string

// The states.
const (
	VersionAffected   VersionState = "affected"
	VersionUnknown    VersionState = "unknown"
	VersionUnaffected VersionState = "unaffected"
)

// Match is how evidence answers a finding.
type Match struct {
	Level   Level
	Version VersionState // affected or unknown: what is unaffected is no match
	// Confidence that this frame is what the finding names, 0..1, for people and filters: Symbol and the discount of the
	// level together.
	Confidence float64
	// Symbol is the part of Confidence that is about the name alone, 0..1. It is what score.Input.Symbol takes: the
	// discount of the level is a factor of its own there.
	Symbol float64
	// Direct says that it is the function itself, inlined or not, and neither a closure of it nor its package.
	Direct bool
	// Why is one sentence for people. It repeats no value of the evidence.
	Why string
}

// Discounts of Confidence, by level, and of Symbol, by how a name was matched.
const (
	discountInlined = 0.95
	discountClosure = 0.85 // the function made the closure at some time, not necessarily now

	symbolThunk    = 0.95 // a wrapper that the compiler made of the function
	symbolTail     = 0.8  // Rust: same crate and Type::fn, but another module: advisories name the public path
	symbolBareName = 0.8  // a name without package or namespace, in a module of unknown component
)

// Flags of a canonical symbol that matter here.
const (
	flagInlined  = "inlined"
	flagMinified = "minified"
)

// closures are the flags of code inside of the function, thunks those of what calls the function and does nothing else.
var (
	closures = []string{"closure", "lambda", "local-function"}
	thunks   = []string{"thunk", "virtual-thunk", "non-virtual-thunk", "shim", "proxy"}
)

// Of decides whether a frame of evidence answers a finding. artifact is what is known of the frame's module; named says
// that the evidence names the finding outright. Nil frame and artifact are read as unknown. The rules:
//
//   - A version that is known to be unaffected is no match, and neither is a frame of another component, unless the
//     evidence names the finding.
//   - A function matches by package and member, never by member alone where there are packages. A frame of the same package, or of the component
//     if the finding names no package, is LevelPackage; one elsewhere in the component is LevelLibrary, but not in the
//     standard library, which is in every program.
//   - Vendored code (example.com/app/vendor/<path>) is the code of <path>. What the Go distribution vendors
//     (vendor/<path>) belongs to the standard library only.
//   - Evidence that names the finding is the function, if the finding names none, and else at least its package.
//   - load is LevelLibrary and exec LevelProcess, of the component.
//   - A finding without component is matched by its functions only.
func Of(f *witness.Finding, kind witness.Kind, frame *witness.Frame, artifact *witness.Artifact, named bool) (Match, bool) {
	if frame == nil {
		frame = &witness.Frame{}
	}
	if artifact == nil {
		artifact = &witness.Artifact{}
	}
	c := componentOf(f, frame, artifact)
	version := versionState(f, &c)
	if version == VersionUnaffected || c.other && !named {
		return Match{}, false
	}
	m := Match{Symbol: 1}
	switch {
	case kind == witness.KindLoad:
		m.Level, m.Why = LevelLibrary, "the component was mapped executable"
	case kind == witness.KindExec:
		m.Level, m.Why = LevelProcess, "a binary of the component was started"
	case !kind.NamesSymbol():
		return Match{}, false
	case c.other || !m.ofFrame(f, &c, frame):
		m.Level, m.Symbol = "", 1
	}
	switch {
	case !kind.NamesSymbol() && c.same:
	case !kind.NamesSymbol() && named:
		m.Why = "the evidence names the finding"
	case !kind.NamesSymbol():
		return Match{}, false
	case named && (m.Level == "" || m.Level == LevelPackage || m.Level == LevelLibrary):
		if namesFunction(f) {
			m.Level, m.Why = LevelPackage, "the evidence names the finding, but a function that the finding does not"
		} else {
			m.function(frame, 1, "the evidence names the finding")
		}
	case m.Level == "":
		return Match{}, false
	}
	m.Version = version
	if kind.NamesSymbol() && frame.Confidence > 0 && frame.Confidence < 1 {
		m.Symbol *= frame.Confidence
	}
	m.Confidence = m.Symbol
	switch m.Level {
	case LevelInlined:
		m.Confidence *= discountInlined
	case LevelClosure:
		m.Confidence *= discountClosure
	}
	return m, true
}

// ofFrame sets the level, symbol confidence and reason of the closest match of a function's frame; false if there is none.
func (m *Match) ofFrame(f *witness.Finding, c *component, frame *witness.Frame) bool {
	best, why := 0.0, ""
	inPackage, namesPackage := false, false
	for i := range f.Symbols {
		ref := refOf(c, &f.Symbols[i])
		namesPackage = namesPackage || ref.pkg != ""
		if !speaks(ref.language, frame.Language) {
			continue
		}
		inPackage = inPackage || ref.pkg != "" && ref.pkg == frame.Package
		pkg := frame.Package
		if ref.language == "go" {
			pkg = vendored(pkg)
		}
		if confidence := ref.names(pkg, frame); confidence > 0 {
			reason := "the finding names this function"
			if ref.bare() && !c.same {
				confidence *= symbolBareName
				reason = "the finding names a function of this name; which component the one that ran belongs to is not known"
				if f.Component == "" {
					reason = "the finding names a function of this name, in whatever component"
				}
			}
			if confidence > best {
				best, why = confidence, reason
			}
		}
	}
	if best > 0 && !slices.Contains(frame.Flags, flagMinified) {
		m.function(frame, best, why)
		return true
	}
	// The standard library is in every program. In Rust each crate of it is a package.
	rust := c.finding.kind == "cargo" && slices.Contains(rustStandard, c.finding.path)
	shared := rust || c.finding.kind == "golang" && (c.finding.path == "stdlib" || c.finding.path == "toolchain")
	switch {
	case inPackage && !rust:
		m.Level, m.Why = LevelPackage, "a function of the package that the finding names"
		if !namesFunction(f) {
			m.Why = "whole-package: the finding names the package and no function"
		}
	case c.same && len(f.Symbols) == 0:
		m.Level, m.Why = LevelPackage, "whole-package: the finding names the component and no function"
	case c.same && !namesPackage && !shared:
		m.Level, m.Why = LevelPackage, "another function of the component"
	case c.same && !shared:
		m.Level, m.Why = LevelLibrary, "code of the component, in a package that the finding does not name"
	default:
		return false
	}
	return true
}

// function sets the level of a frame that is the function, by what its name folded away.
func (m *Match) function(frame *witness.Frame, symbol float64, why string) {
	m.Level, m.Symbol, m.Why, m.Direct = LevelFunction, symbol, why, true
	has := func(flags []string) bool {
		return slices.ContainsFunc(frame.Flags, func(flag string) bool { return slices.Contains(flags, flag) })
	}
	if has(thunks) {
		m.Symbol *= symbolThunk
		m.Why += ", by way of a wrapper"
	}
	switch {
	case has(closures):
		m.Level, m.Direct = LevelClosure, false
		m.Why += ", of which a closure ran"
	case frame.Inlined || slices.Contains(frame.Flags, flagInlined):
		m.Level = LevelInlined
		m.Why += ", inlined into its caller"
	}
}

func namesFunction(f *witness.Finding) bool {
	return slices.ContainsFunc(f.Symbols, func(ref witness.SymbolRef) bool { return ref.Member != "" })
}

// vendored is the import path of a package that a program vendors in the way from before modules, and that of others as
// it is. So is what the Go distribution vendors: it belongs to the standard library and the go command.
func vendored(pkg string) string {
	if at := strings.LastIndex(pkg, vendorMark); at > 0 && !strings.HasPrefix(pkg, "vendor/") && !strings.HasPrefix(pkg, "cmd/") {
		return pkg[at+len(vendorMark):]
	}
	return pkg
}

const vendorMark = "/vendor/"

// ref is a symbol of a finding in canonical form.
type ref struct{ language, pkg, member string }

// refOf makes canonical what people write: Go methods with a pointer, Rust functions with generics.
func refOf(c *component, s *witness.SymbolRef) ref {
	r := ref{s.Language, s.Package, s.Member}
	if r.language == "" {
		if r.language = languages[c.finding.kind]; r.language == "" && strings.Contains(r.pkg+r.member, "::") {
			r.language = "cxx"
		}
	}
	switch r.language {
	case "go":
		r.member = goMember(r.member)
	case "rust":
		r.pkg, r.member = rustName(r.pkg, r.member)
	}
	return r
}

// languages of the components of a purl type, where there is but one.
var languages = map[string]string{
	"golang": "go", "cargo": "rust", "pypi": "python", "npm": "js", "maven": "jvm", "nuget": "dotnet", "swift": "swift",
}

// speaks says whether a symbol of one language can be of the other. C and C++ link with each other; a kernel function is
// named only by those who say kernel.
func speaks(ref, frame string) bool {
	native := func(language string) bool { return language == "c" || language == "cxx" }
	switch {
	case ref == frame:
		return true
	case frame == "kernel":
		return false
	default:
		return ref == "" || frame == "" || native(ref) && native(frame)
	}
}

// names says how sure it is, 0..1, that the function of the frame, whose package is pkg, is what r names.
func (r *ref) names(pkg string, frame *witness.Frame) float64 {
	if r.member == "" || frame.Member == "" {
		return 0
	}
	switch r.language {
	case "rust":
		return rustNames(r, pkg, frame.Member)
	case "cxx":
		// Where a namespace ends and a class begins is not in the name.
		if join(r.pkg, r.member) == join(pkg, frame.Member) {
			return 1
		}
		return 0
	case "kernel":
		// The package is the kernel module, which advisories seldom name.
		if (r.pkg == "" || r.pkg == pkg) && r.member == frame.Member {
			return 1
		}
		return 0
	default:
		if r.pkg == pkg && r.member == frame.Member {
			return 1
		}
		return 0
	}
}

// bare says that other functions may well have the same name.
func (r *ref) bare() bool {
	return r.pkg == "" && r.language != "kernel" && !strings.Contains(r.member, "::")
}

func join(pkg, member string) string {
	if pkg == "" {
		return member
	}
	return pkg + "::" + member
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

// rustStandard are the crates of the Rust distribution. Advisories name std where code is in core or alloc.
var rustStandard = []string{"std", "core", "alloc"}

// rustName strips generics and splits the crate from the rest.
func rustName(pkg, member string) (crate, rest string) {
	name := pkg
	if member != "" {
		name = join(pkg, member)
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

func rustNames(r *ref, crate, name string) float64 {
	standard := slices.Contains(rustStandard, crate) && slices.Contains(rustStandard, r.pkg)
	switch {
	case crate != r.pkg && !standard:
		return 0
	case crate == r.pkg && name == r.member:
		return 1
	}
	if want, ok := lastTwo(r.member); ok {
		if have, ok := lastTwo(name); ok && have == want {
			return symbolTail
		}
	}
	return 0
}

// lastTwo is Type::fn of a path.
func lastTwo(name string) (string, bool) {
	last := strings.LastIndex(name, "::")
	if last < 0 {
		return "", false
	}
	if before := strings.LastIndex(name[:last], "::"); before >= 0 {
		return name[before+2:], true
	}
	return name, true
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

// Selectors returns what selects, in storage, everything that Of could match: members of symbols, packages (after
// /vendor/: those that end so), and component purls without version and qualifiers. Each is sorted and without repetition. Evidence that names the finding
// outright is selected by its id.
func Selectors(f *witness.Finding) (members, packages, components []string) {
	c := component{}
	if p, err := parsePURL(f.Component); err == nil {
		c.finding = p
		components = append(components, encodePURL(p.kind, p.path, ""))
		if bare, _, _ := strings.Cut(f.Component, "?"); bare != components[0] {
			components = append(components, bare)
		}
		if p.kind == "golang" { // purl has module paths in lower case; not everyone writes them so
			components = append(components, encodePURL(p.kind, strings.ToLower(p.path), ""))
		}
	}
	for i := range f.Symbols {
		r := refOf(&c, &f.Symbols[i])
		if r.pkg != "" {
			packages = append(packages, r.pkg)
		}
		switch {
		case r.member == "":
		case r.language == "rust":
			if slices.Contains(rustStandard, r.pkg) {
				packages = append(packages, rustStandard...)
			}
		case r.language == "cxx": // however namespace and class were told apart
			name := join(r.pkg, r.member)
			members = append(members, name)
			for at := strings.Index(name, "::"); at >= 0; at = strings.Index(name, "::") {
				name = name[at+2:]
				members = append(members, name)
			}
		case r.pkg == "" || r.language == "kernel":
			members = append(members, r.member)
		case r.language == "go" || r.language == "": // also of packages that a program vendors under its own path
			packages = append(packages, vendorMark+r.pkg)
		}
	}
	return sorted(members), sorted(packages), sorted(components)
}

func sorted(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}
