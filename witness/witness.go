// Package witness is the model of otelcol-witness: what a witness, an observation, a coverage interval and a finding
// are, how a witness gets its identity, and how they travel in OTLP log records.
//
// A witness is the identity of a piece of evidence: this function of this module ran in this workload, called along
// this path. An observation is new hits of one witness. Both are made once, at the edge, and only added up behind it.
package witness

import (
	"slices"
	"time"
)

// Kind says how strong evidence is. Kinds are never conflated.
type Kind string

// The kinds, weakest first.
const (
	KindExec   Kind = "exec"   // a binary was started
	KindLoad   Kind = "load"   // a module was mapped executable
	KindSample Kind = "sample" // a frame was seen on a stack
	KindCall   Kind = "call"   // a function was entered; counted exactly
)

// Kinds lists all kinds, weakest first.
var Kinds = []Kind{KindExec, KindLoad, KindSample, KindCall}

// Valid reports whether k is one of Kinds.
func (k Kind) Valid() bool { return slices.Contains(Kinds, k) }

// NamesSymbol reports whether a witness of this kind is about a function, and not about a whole module.
func (k Kind) NamesSymbol() bool { return k == KindSample || k == KindCall }

// Assurance says who vouches for evidence.
type Assurance string

const (
	// Measured evidence comes from a collector's own receiver.
	Measured Assurance = "measured"
	// Asserted evidence was posted, or came from an unauthenticated sender.
	Asserted Assurance = "asserted"
)

// Valid reports whether a is one of the two.
func (a Assurance) Valid() bool { return a == Measured || a == Asserted }

// Origin says whose process the evidence is about.
type Origin string

// The origins.
const (
	OriginWorkload Origin = "workload" // the workload itself
	OriginInjected Origin = "injected" // exec into a container
	OriginSelf     Origin = "self"     // the collector or Tetragon
	OriginUnknown  Origin = "unknown"
)

// Valid reports whether o is one of the origins.
func (o Origin) Valid() bool {
	return o == OriginWorkload || o == OriginInjected || o == OriginSelf || o == OriginUnknown
}

// KernelModule is the path of the module that kernel frames belong to.
const KernelModule = "[kernel]"

// Module is a file mapped executable.
type Module struct {
	BuildID string // GNU build-id, lower-case hex
	SHA256  string // of the file, lower-case hex
	Path    string // canonical, in the mount namespace of the process
}

// Key is the identity of the module within an image (its digest, or empty): by build-id, else sha256, else image and
// path, else path. An empty module has the empty key.
func (m Module) Key(image string) string {
	switch {
	case m.BuildID != "":
		return "build-id:" + m.BuildID
	case m.SHA256 != "":
		return "sha256:" + m.SHA256
	case m.Path == "":
		return ""
	case image != "" && m.Path != KernelModule:
		return "image:" + image + "!" + m.Path
	default:
		return "path:" + m.Path
	}
}

// Frame is one entry of a stack.
type Frame struct {
	// Package and Member are the two parts of the canonical name: import path and Func or Type.Method in Go, crate and
	// path in Rust, namespace and function in C++, empty and function in C.
	Package, Member string
	// Symbol is the canonical name. Empty when the symbol is unknown; then Offset identifies the frame.
	Symbol   string
	Language string
	// Flags say what the canonical name folded away, sorted.
	Flags  []string
	Module Module
	// Offset in the file; in the function for the kernel. HasOffset tells 0 from unknown.
	Offset    uint64
	HasOffset bool
	File      string
	Line      int
	Inlined   bool
	// Component is the purl of the component that the frame belongs to, empty when unknown. A join, not part of an identity.
	Component    string
	SymbolSource string
	// Confidence in the name, 0..1. A join, not part of an identity.
	Confidence float64
}

// Workload is what runs, as its operator names it: never a pod or container id. Evidence of the host itself has an
// empty workload; a container of which nothing is known has UnknownWorkload.
type Workload struct {
	Namespace  string `json:"namespace"`
	Controller string `json:"controller"` // kind/name, as deployment/web
	Container  string `json:"container"`
	Image      string `json:"image"` // digest, sha256:<hex>
}

// UnknownWorkload is the workload of a container of which only the id is known. It is not the host.
var UnknownWorkload = Workload{Container: "unknown"}

// Instance is where a witness was seen. A dimension of observations, never part of a witness.
type Instance struct {
	Host      string `json:"host"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
}

// Witness is the identity of a piece of evidence.
type Witness struct {
	Kind Kind
	// Frame is the function, or for exec and load the module, that ran.
	Frame    Frame
	Workload Workload
	// Path are the canonical callers, outermost last.
	Path []Frame
}

// Artifact is what was built and shipped, as far as is known. A join on the module: it never changes an identity.
type Artifact struct {
	PURL       string
	Digest     string // sha256:<hex>
	Revision   string
	Repository string
	// Method is how the artifact was identified: a value of witness.artifact.identity.method.
	Method string
	// Conflicts are identities that disagree.
	Conflicts []string
}

// IsZero reports whether nothing is known.
func (a Artifact) IsZero() bool {
	return a.PURL == "" && a.Digest == "" && a.Revision == "" && a.Repository == "" && a.Method == "" && len(a.Conflicts) == 0
}

// Observation is a delta: new hits of one witness. Its key is (witness, source, instance, window start, flush): the
// same key twice counts once.
type Observation struct {
	// ID is the witness id that the sender claims; ID(&Witness) must equal it.
	ID       ID
	Witness  Witness
	Source   string
	Instance Instance
	// WindowStart and WindowEnd bound the window, the end not included. UTC.
	WindowStart, WindowEnd time.Time
	Flush                  uint64
	Hits                   uint64
	// HitsError is by how much Hits can be too high.
	HitsError           uint64
	FirstSeen, LastSeen time.Time
	Assurance           Assurance
	Origin              Origin
	Artifact            Artifact
	// FindingIDs are findings that a posted trace names outright.
	FindingIDs []string
}

// Coverage is what a source says of its own watching in [Start, End): that it watched, what it lost, or what became of
// one of its hooks. The same record twice counts once: all members but the counts are its key. A Storage joins heartbeats
// and losses of unknown size that continue each other, so what it returns can be longer than what was written.
type Coverage struct {
	Source   string
	Instance Instance
	// Workload, if not empty, is the only one that the record is about.
	Workload Workload
	// About, if not empty, is the only file or function that the record is about.
	About About
	// Assurance says who vouches for it; none is taken for Asserted.
	Assurance Assurance
	// Signal is what watches: tetragon, ebpf. Empty for a loss or status.
	Signal string
	// Kinds are the kinds of evidence that can be seen; none when the record is about a loss or a hook.
	Kinds      []Kind
	Start, End time.Time
	// Interval between heartbeats; zero when the record is about a loss or a hook.
	Interval time.Duration
	// ProcessesWatched of ProcessesSeen, both 0 if nobody knows; of joined heartbeats, those of the one that ends last.
	ProcessesWatched, ProcessesSeen uint64
	// LeastWatched of LeastSeen is the smallest share among joined heartbeats, where it is another. Only a Storage sets them.
	LeastWatched, LeastSeen uint64
	// Received is when the record was stored; of joined ones, that which ends last. Only a Storage sets it, for who asks.
	Received time.Time
	// Lost events at LossStage. Zero with a stage: loss of unknown size.
	Lost      uint64
	LossStage string
	// StatusTarget is a policy, hook or probe, StatusState one of the states from Start on, StatusReason why.
	StatusTarget, StatusState, StatusReason string
}

// About is a file, or a function in it. The zero About is everything.
type About struct {
	Module                            Module
	Language, Package, Member, Symbol string
}

// States of a hook. Whatever else a record says is read as StateUnavailable.
const (
	StateAttached    = "attached"    // it works from then on
	StateRefused     = "refused"     // it was not attached, and why
	StateSuspended   = "suspended"   // a gap of what it is about, until it is attached again
	StateDetached    = "detached"    // it was taken away
	StateUnavailable = "unavailable" // nobody knows whether it works
)

// Reasons why a probe is refused, where the receiver knows. Agents give others, in their own words.
const (
	ReasonNotFound          = "not_found"          // no such function in the file
	ReasonInlinedEverywhere = "inlined_everywhere" // no code of its own is left of the function
	ReasonStripped          = "stripped"           // the file names no functions
	ReasonUnsupportedArch   = "unsupported_arch"   // the file is for a processor that cannot be probed
	ReasonOverBudget        = "over_budget"        // there are more probes, or hits, than are allowed
	ReasonSingleStep        = "single_step"        // only a probe that is too slow would work
	ReasonThrottled         = "throttled"          // of StateSuspended: too many events
)

// SymbolRef names a function the way an advisory does.
type SymbolRef struct {
	Language string `json:"language,omitempty"`
	Package  string `json:"package"`
	// Member is Func or Type.Method; empty means every function of the package.
	Member string `json:"member,omitempty"`
	// Source is who named it: osv, rustsec, user, post.
	Source string `json:"source,omitempty"`
}

// VersionRange is an interval of affected versions, [Introduced, Fixed) or [Introduced, LastAffected]. Empty
// Introduced or "0" is the beginning; without Fixed and LastAffected it has no end.
type VersionRange struct {
	Introduced   string `json:"introduced,omitempty"`
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"lastAffected,omitempty"`
}

// Occurrence is one place where a scanner saw a finding.
type Occurrence struct {
	Scanner     string `json:"scanner,omitempty"`
	ImageDigest string `json:"imageDigest,omitempty"`
	Version     string `json:"version,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Controller  string `json:"controller,omitempty"`
	Container   string `json:"container,omitempty"`
}

// Finding is a question: advisory x component.
type Finding struct {
	ID string `json:"id"`
	// Aliases are the other ids of the advisory: CVE, GHSA, GO-, RUSTSEC-.
	Aliases []string `json:"aliases,omitempty"`
	Title   string   `json:"title,omitempty"`
	// Component is the purl of the component without version, as pkg:golang/golang.org/x/net. Empty when only its
	// symbols, and traces that name it, can witness it.
	Component string `json:"component,omitempty"`
	// Affected versions. Neither ranges nor versions means that all versions are affected.
	Affected    []VersionRange `json:"affected,omitempty"`
	Versions    []string       `json:"versions,omitempty"`
	Symbols     []SymbolRef    `json:"symbols,omitempty"`
	Severity    string         `json:"severity,omitempty"`
	Occurrences []Occurrence   `json:"occurrences,omitempty"`
	// Scope groups findings that are replaced together: a file, an import. Set by the server.
	Scope string `json:"scope,omitempty"`
}
