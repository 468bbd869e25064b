// Package score turns what matched a finding into one number between 0 and 1, the witness score.
//
// The model witness-score/v1 is a judgement, written down so that anyone can compute it again. Of one piece of evidence
//
//	s = P * V * C * (0.7 + 0.3*R) * (0.80 + 0.10*N + 0.10*B)
//
//	P  proximity: function 1, inlined 0.95, closure 0.85, package 0.55, library 0.35, process 0.15
//	V  version: affected 1, unknown 0.6, unaffected 0
//	C  confidence: source * identity * symbol; the source of asserted evidence is worth at most 0.5
//	R  recency: 2^(-age/14d), 1 for what lies in the future; with its floor of 0.7 an old sighting stays a sighting
//	N  hits: min(1, log10(1+hits)/4)
//	B  breadth: min(1, log2(1+max(hosts, images))/5)
//
// and of all of them, of which each artifact has one, the best, for each level,
//
//	score = 1 - (1-best) * product over the others of (1 - 0.25*s)
//
// rounded to four decimals. A single true call of the function is worth 0.83: one hit is proof, and hits, hosts and
// further evidence only add to it. What was lost never lowers a score, and neither does evidence that is added: how much
// silence is worth is coverage, which is another number.
package score

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Model names the formula. A change of any number in it is another model.
const Model = "witness-score/v1"

const (
	halfLife      = 14 * 24 * time.Hour
	recencyFloor  = 0.7
	hitsWeight    = 0.10
	breadthWeight = 0.10
	othersWeight  = 0.25

	maxAsserted  = 0.5 // source confidence of asserted evidence
	unidentified = 0.5 // identity confidence of what is known by a path, a claim or nothing
)

// Input is one piece of evidence for a finding: a subject with its match and its hits.
type Input struct {
	Level   finding.Level
	Version finding.VersionState
	// Source, Identity and Symbol are confidences, 0..1: SourceConfidence, IdentityConfidence and finding.Match.Symbol.
	Source, Identity, Symbol float64
	Assurance                witness.Assurance
	LastSeen                 time.Time
	Hits                     uint64
	Hosts, Images            int
	// Artifact identifies the artifact (digest, else purl, else module): of each artifact only the strongest evidence
	// of a level counts.
	Artifact string
	// Subject is the id of the subject, for a stable choice between equals.
	Subject string
}

// Factor is one part of a score.
type Factor struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"` // 0..1, four decimals
	Why   string  `json:"why"`
}

// Result is a score with its band and what it is made of.
type Result struct {
	Score float64 `json:"score"` // 0..1, four decimals
	// Band is witnessed from 0.8, likely from 0.5, loaded from 0.2, weak above 0, or none.
	Band string `json:"band"`
	// Factors are proximity, version, source, identity, symbol, recency, hits and breadth of the best evidence, then
	// evidence, which is the score of that alone, and corroboration, which is what the others add. None without
	// evidence. Never nil.
	Factors []Factor `json:"factors"`
}

// Score is the score of a finding at the time now. It is pure, deterministic and does not depend on the order of inputs.
// Confidences outside 0..1 are clamped.
func Score(now time.Time, inputs []Input) Result {
	type group struct {
		artifact string
		level    finding.Level
	}
	strongest := map[group]evidence{}
	for i := range inputs {
		e := weigh(now, &inputs[i])
		at := group{inputs[i].Artifact, inputs[i].Level}
		if have, ok := strongest[at]; !ok || compare(&e, &have) < 0 {
			strongest[at] = e
		}
	}
	all := make([]evidence, 0, len(strongest))
	for _, e := range strongest {
		if e.s > 0 {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return Result{Band: band(0), Factors: []Factor{}}
	}
	slices.SortFunc(all, func(a, b evidence) int { return compare(&a, &b) })
	best := &all[0]
	rest := 1 - best.s
	for i := range all[1:] { // in a fixed order: floating point products depend on it
		rest *= 1 - othersWeight*all[1+i].s
	}
	total := round(1 - rest)
	return Result{
		Score: total,
		Band:  band(total),
		Factors: append(best.factors(),
			Factor{"evidence", round(best.s), "the score of the best evidence alone"},
			Factor{"corroboration", round(max(0, total-round(best.s))), fmt.Sprintf("added by %s of other levels or artifacts", count(len(all)-1, "piece", "pieces"))}),
	}
}

// evidence is an input with its weights.
type evidence struct {
	input                      *Input
	age                        time.Duration
	p, v, source, r, n, b, c   float64
	identity, symbol, strength float64
	s                          float64
}

func weigh(now time.Time, in *Input) evidence {
	e := evidence{
		input: in, age: now.Sub(in.LastSeen),
		p: proximity[in.Level], v: versions[in.Version],
		source: clamp(in.Source), identity: clamp(in.Identity), symbol: clamp(in.Symbol),
	}
	if in.Assurance != witness.Measured {
		e.source = min(e.source, maxAsserted)
	}
	e.r = clamp(math.Exp2(-float64(e.age) / float64(halfLife)))
	e.n = clamp(math.Log10(1+float64(in.Hits)) / 4)
	e.b = clamp(math.Log2(1+float64(max(in.Hosts, in.Images, 0))) / 5)
	e.c = e.source * e.identity * e.symbol
	e.strength = 1 - hitsWeight - breadthWeight + hitsWeight*e.n + breadthWeight*e.b
	e.s = e.p * e.v * e.c * (recencyFloor + (1-recencyFloor)*e.r) * e.strength
	return e
}

// compare orders by strength, strongest first, and then by everything that the factors show, so that the order of
// inputs is nowhere to be seen.
func compare(a, b *evidence) int {
	return cmp.Or(
		cmp.Compare(b.s, a.s),
		cmp.Compare(b.p, a.p),
		cmp.Compare(a.input.Level, b.input.Level),
		cmp.Compare(a.input.Artifact, b.input.Artifact),
		cmp.Compare(a.input.Subject, b.input.Subject),
		cmp.Compare(b.v, a.v),
		cmp.Compare(b.source, a.source),
		cmp.Compare(b.identity, a.identity),
		cmp.Compare(b.symbol, a.symbol),
		cmp.Compare(a.age, b.age),
		cmp.Compare(b.input.Hits, a.input.Hits),
		cmp.Compare(b.input.Hosts, a.input.Hosts),
		cmp.Compare(b.input.Images, a.input.Images),
		cmp.Compare(a.input.Assurance, b.input.Assurance),
	)
}

var proximity = map[finding.Level]float64{
	finding.LevelFunction: 1,
	finding.LevelInlined:  0.95,
	finding.LevelClosure:  0.85,
	finding.LevelPackage:  0.55,
	finding.LevelLibrary:  0.35,
	finding.LevelProcess:  0.15,
}

var versions = map[finding.VersionState]float64{
	finding.VersionAffected:   1,
	finding.VersionUnknown:    0.6,
	finding.VersionUnaffected: 0,
}

func (e *evidence) factors() []Factor {
	in := e.input
	why := map[finding.Level]string{
		finding.LevelFunction: "a function that the finding names ran",
		finding.LevelInlined:  "a function that the finding names ran, inlined into its caller",
		finding.LevelClosure:  "a closure of a function that the finding names ran",
		finding.LevelPackage:  "code of the package ran",
		finding.LevelLibrary:  "the component was loaded",
		finding.LevelProcess:  "a binary of the component was started",
	}[in.Level]
	if in.Symbol < 1 && in.Level == finding.LevelFunction {
		why = "a function with a name that the finding has ran"
	}
	version := "what ran is affected: its version is, or all versions are"
	if in.Version == finding.VersionUnknown {
		version = "whether the version that ran is affected is not known"
	}
	source := "how the evidence was made: 1 by a probe on the function, less for a name that others looked up"
	if in.Assurance != witness.Measured {
		source = fmt.Sprintf("the evidence is asserted, which is worth at most %v", maxAsserted)
	}
	identity := "how the artifact was identified: 1 by what is in the file itself"
	if in.Identity <= unidentified {
		identity = "the artifact is not identified, or only by a path or a claim"
	}
	symbol := "the name is that of the function"
	if in.Symbol < 1 {
		symbol = "the name could be another function's: it has no package, or was not told with certainty"
	}
	recency := "seen just now"
	if e.age > 0 {
		recency = fmt.Sprintf("last seen %s ago; it halves every 14 days", ago(e.age))
	}
	return []Factor{
		{"proximity", e.p, why},
		{"version", e.v, version},
		{"source", round(e.source), source},
		{"identity", round(e.identity), identity},
		{"symbol", round(e.symbol), symbol},
		{"recency", round(e.r), recency},
		{"hits", round(e.n), count(in.Hits, "hit", "hits") + ", on a logarithmic scale up to 10,000"},
		{"breadth", round(e.b), fmt.Sprintf("%s, %s, on a logarithmic scale up to 31",
			count(max(in.Hosts, 0), "host", "hosts"), count(max(in.Images, 0), "image", "images"))},
	}
}

func count[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func ago(age time.Duration) string {
	const day = 24 * time.Hour
	if age >= 2*day {
		return fmt.Sprintf("%d days", age/day)
	}
	return strings.Replace(age.Round(time.Minute).String(), "m0s", "m", 1)
}

func band(score float64) string {
	switch {
	case score >= 0.8:
		return "witnessed"
	case score >= 0.5:
		return "likely"
	case score >= 0.2:
		return "loaded"
	case score > 0:
		return "weak"
	default:
		return "none"
	}
}

func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// clamp is x in 0..1; what is not a number is 0.
func clamp(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(max(x, 0), 1)
}

// SourceConfidence is how far the source of evidence can be trusted, 0..1: a probe placed on the function 1, a stack
// named from the Go line table 0.95 or a symbol table 0.9, the kernel's report of an exec or a load 0.8, a name that the
// agent gave 0.6, and what was posted, or is of unknown source, 0.5. Asserted evidence is at most 0.5.
func SourceConfidence(frame *witness.Frame, kind witness.Kind, a witness.Assurance) float64 {
	confidence := 0.5
	switch {
	case kind == witness.KindExec || kind == witness.KindLoad:
		confidence = 0.8
	case frame == nil:
	case frame.SymbolSource == "probe":
		confidence = 1
	case frame.SymbolSource == "pclntab":
		confidence = 0.95
	case frame.SymbolSource == "symtab":
		confidence = 0.9
	case frame.SymbolSource == "agent":
		confidence = 0.6
	}
	if a != witness.Measured {
		confidence = min(confidence, maxAsserted)
	}
	return confidence
}

// IdentityConfidence is how sure the identity of an artifact is, 0..1, by witness.artifact.identity.method: what was
// signed, or is in the very file, 1; a package database with matching checksum 0.9; an SBOM by path 0.8; a package
// database by path 0.7; and 0.5 for a path, a claim or nothing.
func IdentityConfidence(method string) float64 {
	switch method {
	case "signed-sbom", "provenance", "buildinfo", "cargo-auditable", "note-package":
		return 1
	case "package-db-checksum":
		return 0.9
	case "sbom":
		return 0.8
	case "package-db":
		return 0.7
	default:
		return unidentified
	}
}
