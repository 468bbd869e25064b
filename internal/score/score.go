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
// rounded to four decimals. These numbers are DefaultWeights; an operator may configure others, within what Validate demands,
// and the digest of the weights goes with every score. A single true call of the function is worth 0.83: one hit is proof, and hits, hosts and
// further evidence only add to it. What was lost never lowers a score, and neither does evidence that is added: how much
// silence is worth is coverage, which is another number.
package score

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Model names the formula. Another formula, or other default weights, is another model.
const Model = "witness-score/v1"

// Input is one piece of evidence for a finding: a subject with its match and its hits.
type Input struct {
	Level   finding.Level
	Version finding.VersionState
	// Source, Identity and Symbol are confidences, 0..1: Weights.SourceConfidence, Weights.IdentityConfidence and
	// finding.Match.Symbol.
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
	// Band is witnessed, likely, loaded, weak or none (Bands). It names a range of scores and no kind of evidence.
	Band string `json:"band"`
	// BandWhy says for people what the band is, and of what the strongest evidence is.
	BandWhy string `json:"bandWhy"`
	// Factors are proximity, version, source, identity, symbol, recency, hits and breadth of the best evidence, then
	// evidence, which is the score of that alone, and corroboration, which is what the others add. None without
	// evidence. Never nil.
	Factors []Factor `json:"factors"`
}

// Score is the score of a finding at the time now. It is pure, deterministic and does not depend on the order of inputs.
// Confidences outside 0..1 are clamped.
func (w *Weights) Score(now time.Time, inputs []Input) Result {
	all := w.strongest(now, inputs)
	if len(all) == 0 {
		return Result{Band: BandNone, BandWhy: w.bandWhy(BandNone, ""), Factors: []Factor{}}
	}
	values := make([]float64, len(all))
	for i := range all {
		values[i] = all[i].s
	}
	best, total := &all[0], w.combine(values)
	band := w.band(total)
	return Result{
		Score: total, Band: band, BandWhy: w.bandWhy(band, best.input.Level),
		Factors: append(best.factors(w),
			Factor{"evidence", round(best.s), "the score of the best evidence alone"},
			Factor{"corroboration", round(max(0, total-round(best.s))), fmt.Sprintf("added by %s of other levels or artifacts", count(len(all)-1, "piece", "pieces"))}),
	}
}

// strongest is the strongest evidence of each artifact and level, in order. What is worth nothing is left out.
func (w *Weights) strongest(now time.Time, inputs []Input) []evidence {
	type group struct {
		artifact string
		level    finding.Level
	}
	strongest := map[group]evidence{}
	for i := range inputs {
		e := w.weigh(now, &inputs[i])
		at := group{inputs[i].Artifact, inputs[i].Level}
		if have, ok := strongest[at]; e.s > 0 && (!ok || compare(&e, &have) < 0) {
			strongest[at] = e
		}
	}
	all := make([]evidence, 0, len(strongest))
	for _, e := range strongest {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b evidence) int { return compare(&a, &b) })
	return all
}

// combine is the score of strongest evidence, highest first, of which there is one piece at least.
func (w *Weights) combine(all []float64) float64 {
	rest := 1 - all[0]
	for _, s := range all[1:] { // in a fixed order: floating point products depend on it
		rest *= 1 - w.Others*s
	}
	return round(1 - rest)
}

// evidence is an input with its weights.
type evidence struct {
	input                      *Input
	age                        time.Duration
	p, v, source, r, n, b, c   float64
	identity, symbol, strength float64
	s                          float64
}

func (w *Weights) weigh(now time.Time, in *Input) evidence {
	e := w.timeless(in)
	e.age = now.Sub(in.LastSeen)
	e.r = w.recency(e.age)
	e.s = w.strength(e.p*e.v*e.c, e.r, e.strength)
	return e
}

func (w *Weights) recency(age time.Duration) float64 {
	return clamp(math.Exp2(-float64(age) / float64(w.Recency.HalfLife)))
}

func (w *Weights) strength(pvc, r, strength float64) float64 {
	return clamp(pvc * (w.Recency.Floor + (1-w.Recency.Floor)*r) * strength)
}

// timeless is all of weigh that does not depend on the time.
func (w *Weights) timeless(in *Input) evidence {
	e := evidence{
		input: in, p: w.Proximity.of(in.Level), v: w.Version.of(in.Version),
		source: clamp(in.Source), identity: clamp(in.Identity), symbol: clamp(in.Symbol),
	}
	if in.Assurance != witness.Measured {
		e.source = min(e.source, w.Source.AssertedCap)
	}
	e.n, e.b = w.breadth(in.Hits, in.Hosts, in.Images)
	e.c = e.source * e.identity * e.symbol
	e.strength = w.strengthOf(e.n, e.b)
	return e
}

// breadth is N and B.
func (w *Weights) breadth(hits uint64, hosts, images int) (n, b float64) {
	return clamp(math.Log10(1+float64(hits)) / w.Hits.Decades), clamp(math.Log2(1+float64(max(hosts, images, 0))) / w.Breadth.Doublings)
}

func (w *Weights) strengthOf(n, b float64) float64 {
	return 1 - w.Hits.Weight - w.Breadth.Weight + w.Hits.Weight*n + w.Breadth.Weight*b
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

func (e *evidence) factors(w *Weights) []Factor {
	in := e.input
	why := whyLevel[in.Level]
	if in.Symbol < 1 && in.Level == finding.LevelFunction {
		why = "a function with a name that the finding has ran"
	}
	version := "what ran is affected: its version is, or all versions are"
	if in.Version == finding.VersionUnknown {
		version = "whether the version that ran is affected is not known"
	}
	source := "how the evidence was made: 1 by a probe on the function, less for a name that others looked up"
	if in.Assurance != witness.Measured {
		source = fmt.Sprintf("the evidence is asserted, which is worth at most %v", w.Source.AssertedCap)
	}
	identity := "how the artifact was identified: 1 by what is in the file itself"
	if in.Identity <= w.Identity.Other {
		identity = "the artifact is not identified, or only by a path or a claim"
	}
	symbol := "the name is that of the function"
	if in.Symbol < 1 {
		symbol = "the name could be another function's: it has no package, or was not told with certainty"
	}
	recency := "seen just now"
	if e.age > 0 {
		recency = fmt.Sprintf("last seen %s ago; it halves every %s", ago(e.age), ago(w.Recency.HalfLife))
	}
	return []Factor{
		{"proximity", e.p, why},
		{"version", e.v, version},
		{"source", round(e.source), source},
		{"identity", round(e.identity), identity},
		{"symbol", round(e.symbol), symbol},
		{"recency", round(e.r), recency},
		{"hits", round(e.n), count(in.Hits, "hit", "hits") + fmt.Sprintf(", on a logarithmic scale up to %s", number(math.Pow(10, w.Hits.Decades)))},
		{"breadth", round(e.b), fmt.Sprintf("%s, %s, on a logarithmic scale up to %s",
			count(max(in.Hosts, 0), "host", "hosts"), count(max(in.Images, 0), "image", "images"),
			number(math.Exp2(w.Breadth.Doublings)-1))},
	}
}

// whyLevel says what ran, by level.
var whyLevel = map[finding.Level]string{
	finding.LevelFunction: "a function that the finding names ran",
	finding.LevelInlined:  "a function that the finding names ran, inlined into its caller",
	finding.LevelClosure:  "a closure of a function that the finding names ran",
	finding.LevelPackage:  "code of the package ran",
	finding.LevelLibrary:  "the component was loaded",
	finding.LevelProcess:  "a binary of the component was started",
}

// number writes a large number for people: 10,000.
func number(x float64) string {
	digits := strconv.FormatFloat(math.Round(x), 'f', -1, 64)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
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

func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// clamp is x in 0..1; what is not a number is 0.
func clamp(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(max(x, 0), 1)
}
