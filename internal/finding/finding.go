// Package finding reads findings and matches them against what ran.
//
// A finding is a question: advisory x component (witness.Finding). Parse reads findings from documents, Selectors says
// what to look up in storage, and Of decides, for one frame of evidence, whether it answers the question and how closely.
// Everything here is pure: no I/O, no clock, no state.
package finding

import (
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
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

// symbolBareName discounts Symbol for a name without package or namespace, in a module of unknown component.
const symbolBareName = 0.8

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
			s := symbolOf(frame)
			ran, thunk := s.What(frame.Inlined)
			m.function(symbol.Match{Name: 1, Ran: ran, Thunk: thunk}, "the evidence names the finding")
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
		m.Confidence *= symbol.ConfidenceInlined
	case LevelClosure:
		m.Confidence *= symbol.ConfidenceClosure
	}
	return m, true
}

// ofFrame sets the level, symbol confidence and reason of the closest match of a function's frame; false if there is none.
func (m *Match) ofFrame(f *witness.Finding, c *component, frame *witness.Frame) bool {
	var best symbol.Match
	why := ""
	inPackage, namesPackage := false, false
	s := symbolOf(frame)
	// The standard library is in every program. In Rust each crate of it is a package.
	rust := c.finding.kind == "cargo" && slices.Contains(symbol.RustStandard, c.finding.path)
	golang := c.isGoStandard()
	for i := range f.Symbols {
		ref := refOf(c, &f.Symbols[i])
		namesPackage = namesPackage || ref.Package != ""
		if !ref.Speaks(frame.Language) {
			continue
		}
		inPackage = inPackage || ref.InPackage(&s)
		match, ok := ref.Match(&s, frame.Inlined)
		if !ok || match.Goroot && !golang {
			continue
		}
		reason := "the finding names this function"
		if ref.Bare() && !c.same {
			match.Name *= symbolBareName
			reason = "the finding names a function of this name; which component the one that ran belongs to is not known"
			if f.Component == "" {
				reason = "the finding names a function of this name, in whatever component"
			}
		}
		if match.Name > best.Name {
			best, why = match, reason
		}
	}
	if best.Name > 0 {
		m.function(best, why)
		return true
	}
	switch shared := rust || golang; {
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

// symbolOf is the function of a frame. The confidence of its name is not in it.
func symbolOf(frame *witness.Frame) symbol.Symbol {
	return symbol.OfFrame(frame.Language, frame.Package, frame.Member, frame.Flags)
}

// function sets the level of a frame that is the function, by what its name folded away.
func (m *Match) function(match symbol.Match, why string) {
	m.Level, m.Symbol, m.Why, m.Direct = LevelFunction, match.Name, why, true
	if match.Thunk {
		m.Why += ", by way of a wrapper that the compiler made"
	}
	switch match.Ran {
	case symbol.RanClosure:
		m.Level, m.Direct = LevelClosure, false
		m.Why += ", of which a closure ran"
	case symbol.RanInlined:
		m.Level = LevelInlined
		m.Why += ", inlined into its caller"
	}
}

// isGoStandard reports whether the finding is of what is in every Go program.
func (c *component) isGoStandard() bool {
	return c.finding.kind == "golang" && (c.finding.path == "stdlib" || c.finding.path == "toolchain")
}

func namesFunction(f *witness.Finding) bool {
	return slices.ContainsFunc(f.Symbols, func(ref witness.SymbolRef) bool { return ref.Member != "" })
}

// refOf makes canonical what people write.
func refOf(c *component, s *witness.SymbolRef) symbol.Ref {
	language := s.Language
	if language == "" {
		if language = languages[c.finding.kind]; language == "" && (strings.Contains(s.Package, "::") || strings.Contains(s.Member, "::")) {
			language = symbol.Cxx
		}
	}
	return symbol.NewRef(language, s.Package, s.Member)
}

// languages of the components of a purl type, where there is but one.
var languages = map[string]string{
	"golang": "go", "cargo": "rust", "pypi": "python", "npm": "js", "maven": "jvm", "nuget": "dotnet", "swift": "swift",
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
		more, in := r.Selectors()
		members, packages = append(members, more...), append(packages, in...)
		if c.isGoStandard() {
			packages = append(packages, r.GorootSelectors()...)
		}
	}
	return sorted(members), sorted(packages), sorted(components)
}

func sorted(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}
