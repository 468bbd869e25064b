package score

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Weights are all numbers of the formula. The zero Weights are not valid: start from DefaultWeights.
type Weights struct {
	Proximity Proximity `mapstructure:"proximity"`
	Version   Version   `mapstructure:"version"`
	Source    Source    `mapstructure:"source"`
	Identity  Identity  `mapstructure:"identity"`
	Recency   Recency   `mapstructure:"recency"`
	Hits      Hits      `mapstructure:"hits"`
	Breadth   Breadth   `mapstructure:"breadth"`
	// Others is what each piece of evidence but the best adds of its own score, 0..1.
	Others float64 `mapstructure:"others"`
	Bands  Bands   `mapstructure:"bands"`
}

// Proximity is P by level, 0..1, closest first: none is more than the one before it.
type Proximity struct {
	Function float64 `mapstructure:"function"`
	Inlined  float64 `mapstructure:"inlined"`
	Closure  float64 `mapstructure:"closure"`
	Package  float64 `mapstructure:"package"`
	Library  float64 `mapstructure:"library"`
	Process  float64 `mapstructure:"process"`
}

func (p *Proximity) of(level finding.Level) float64 {
	switch level {
	case finding.LevelFunction:
		return p.Function
	case finding.LevelInlined:
		return p.Inlined
	case finding.LevelClosure:
		return p.Closure
	case finding.LevelPackage:
		return p.Package
	case finding.LevelLibrary:
		return p.Library
	case finding.LevelProcess:
		return p.Process
	default:
		return 0
	}
}

// Version is V, 0..1. That of an unaffected version is always 0.
type Version struct {
	Affected float64 `mapstructure:"affected"`
	Unknown  float64 `mapstructure:"unknown"`
}

func (v *Version) of(state finding.VersionState) float64 {
	switch state {
	case finding.VersionAffected:
		return v.Affected
	case finding.VersionUnknown:
		return v.Unknown
	default:
		return 0
	}
}

// Source is the confidence in how evidence was made, 0..1.
type Source struct {
	Probe       float64 `mapstructure:"probe"`        // a probe placed on the function
	LineTable   float64 `mapstructure:"line_table"`   // a stack named from the Go line table
	SymbolTable float64 `mapstructure:"symbol_table"` // a stack named from a symbol table
	Event       float64 `mapstructure:"event"`        // the kernel's report of an exec or a load
	Agent       float64 `mapstructure:"agent"`        // a name that another agent gave
	Other       float64 `mapstructure:"other"`        // what was posted, or is of unknown source
	// AssertedCap is the most that asserted evidence is worth, at most MaxAssertedCap.
	AssertedCap float64 `mapstructure:"asserted_cap"`
}

// MaxAssertedCap bounds what asserted evidence may be worth, whoever configures it.
const MaxAssertedCap = 0.5

// Identity is the confidence in the identity of an artifact, 0..1, by how it was found, strongest first: none is more
// than the one before it.
type Identity struct {
	File              float64 `mapstructure:"file"`                // signed, or in the very file
	PackageDBChecksum float64 `mapstructure:"package_db_checksum"` // package database with matching checksum
	SBOM              float64 `mapstructure:"sbom"`                // SBOM by path
	PackageDB         float64 `mapstructure:"package_db"`          // package database by path
	Other             float64 `mapstructure:"other"`               // a path, a claim or nothing
}

// Recency is R and its floor: of evidence that is older than any number of half-lives the share Floor stays.
type Recency struct {
	HalfLife time.Duration `mapstructure:"half_life"`
	Floor    float64       `mapstructure:"floor"`
}

// Hits is N: it is 1 from Decades decimal orders of magnitude of hits, and moves the score by Weight at most.
type Hits struct {
	Weight  float64 `mapstructure:"weight"`
	Decades float64 `mapstructure:"decades"`
}

// Breadth is B: it is 1 from Doublings binary orders of magnitude of hosts or images, and moves the score by Weight at most.
type Breadth struct {
	Weight    float64 `mapstructure:"weight"`
	Doublings float64 `mapstructure:"doublings"`
}

// Bands are the least scores of the bands. Below Loaded, and above 0, a score is weak.
type Bands struct {
	Witnessed float64 `mapstructure:"witnessed"`
	Likely    float64 `mapstructure:"likely"`
	Loaded    float64 `mapstructure:"loaded"`
}

// The bands, strongest first.
const (
	BandWitnessed = "witnessed"
	BandLikely    = "likely"
	BandLoaded    = "loaded"
	BandWeak      = "weak"
	BandNone      = "none"
)

// BandNames are the bands, strongest first.
var BandNames = []string{BandWitnessed, BandLikely, BandLoaded, BandWeak, BandNone}

// DefaultWeights are those of witness-score/v1.
func DefaultWeights() Weights {
	return Weights{
		Proximity: Proximity{Function: 1, Inlined: 0.95, Closure: 0.85, Package: 0.55, Library: 0.35, Process: 0.15},
		Version:   Version{Affected: 1, Unknown: 0.6},
		Source:    Source{Probe: 1, LineTable: 0.95, SymbolTable: 0.9, Event: 0.8, Agent: 0.6, Other: 0.5, AssertedCap: MaxAssertedCap},
		Identity:  Identity{File: 1, PackageDBChecksum: 0.9, SBOM: 0.8, PackageDB: 0.7, Other: 0.5},
		Recency:   Recency{HalfLife: 14 * 24 * time.Hour, Floor: 0.7},
		Hits:      Hits{Weight: 0.1, Decades: 4},
		Breadth:   Breadth{Weight: 0.1, Doublings: 5},
		Others:    0.25,
		Bands:     Bands{Witnessed: 0.8, Likely: 0.5, Loaded: 0.2},
	}
}

// weight is a number of the formula by the name it has in configurations.
type weight struct {
	name  string
	value float64
}

func (w *Weights) shares() []weight {
	return []weight{
		{"proximity::function", w.Proximity.Function},
		{"proximity::inlined", w.Proximity.Inlined},
		{"proximity::closure", w.Proximity.Closure},
		{"proximity::package", w.Proximity.Package},
		{"proximity::library", w.Proximity.Library},
		{"proximity::process", w.Proximity.Process},
		{"version::affected", w.Version.Affected},
		{"version::unknown", w.Version.Unknown},
		{"source::probe", w.Source.Probe},
		{"source::line_table", w.Source.LineTable},
		{"source::symbol_table", w.Source.SymbolTable},
		{"source::event", w.Source.Event},
		{"source::agent", w.Source.Agent},
		{"source::other", w.Source.Other},
		{"source::asserted_cap", w.Source.AssertedCap},
		{"identity::file", w.Identity.File},
		{"identity::package_db_checksum", w.Identity.PackageDBChecksum},
		{"identity::sbom", w.Identity.SBOM},
		{"identity::package_db", w.Identity.PackageDB},
		{"identity::other", w.Identity.Other},
		{"recency::floor", w.Recency.Floor},
		{"hits::weight", w.Hits.Weight},
		{"breadth::weight", w.Breadth.Weight},
		{"others", w.Others},
		{"bands::witnessed", w.Bands.Witnessed},
		{"bands::likely", w.Bands.Likely},
		{"bands::loaded", w.Bands.Loaded},
	}
}

// Validate demands what every score must keep whatever the weights: it stays in 0..1, more and closer evidence never
// lowers it, older evidence never raises it, and what is only asserted is worth at most half. The errors name the field.
func (w *Weights) Validate() error {
	var errs []error
	refuse := func(name, reason string) { errs = append(errs, fmt.Errorf("%s: %s", name, reason)) }
	for _, share := range w.shares() {
		if !(share.value >= 0 && share.value <= 1) { // NaN is neither
			refuse(share.name, "is not a number from 0 to 1")
		}
	}
	// An order that is broken breaks a promise: that of the levels, that more is known, that a band is a range.
	for _, order := range [][]weight{
		w.shares()[0:6],
		w.shares()[6:8],
		w.shares()[15:20],
	} {
		for i := range order[1:] {
			if order[i+1].value > order[i].value {
				refuse(order[i+1].name, "is more than "+order[i].name)
			}
		}
	}
	if w.Source.AssertedCap > MaxAssertedCap {
		refuse("source::asserted_cap", fmt.Sprintf("is more than %v", MaxAssertedCap))
	}
	if w.Recency.HalfLife <= 0 {
		refuse("recency::half_life", "is not longer than zero")
	}
	if w.Hits.Weight+w.Breadth.Weight > 1 {
		refuse("breadth::weight", "is more than 1 together with hits::weight")
	}
	for _, scale := range []weight{{"hits::decades", w.Hits.Decades}, {"breadth::doublings", w.Breadth.Doublings}} {
		if !(scale.value > 0 && scale.value <= 64) {
			refuse(scale.name, "is not a number above 0 and up to 64")
		}
	}
	if !(w.Bands.Loaded > 0) {
		refuse("bands::loaded", "is not above 0")
	}
	if !(w.Bands.Likely > w.Bands.Loaded) {
		refuse("bands::likely", "is not above bands::loaded")
	}
	if !(w.Bands.Witnessed > w.Bands.Likely) {
		refuse("bands::witnessed", "is not above bands::likely")
	}
	return errors.Join(errs...)
}

// AppendDocument appends the weights as RFC 8785 canonical JSON: one object from the names that the weights have in
// configurations, with "::" between the parts, to numbers as shortest decimal texts, and "model". The half-life is in
// seconds.
func (w *Weights) AppendDocument(b []byte) []byte {
	document := map[string]string{"model": Model}
	add := func(name string, value float64) { document[name] = strconv.FormatFloat(value, 'f', -1, 64) }
	for _, share := range w.shares() {
		add(share.name, share.value)
	}
	add("hits::decades", w.Hits.Decades)
	add("breadth::doublings", w.Breadth.Doublings)
	add("recency::half_life", w.Recency.HalfLife.Seconds())
	// Plain ASCII in names and values: sorted keys and no spaces are all that is canonical about it.
	encoded, err := json.Marshal(document)
	if err != nil {
		return b // texts only
	}
	return append(b, encoded...)
}

// Digest identifies the weights: "sha256:" and the hex digest of AppendDocument.
func (w *Weights) Digest() string {
	digest := sha256.Sum256(w.AppendDocument(nil))
	return "sha256:" + hex.EncodeToString(digest[:])
}

func (w *Weights) band(score float64) string {
	switch {
	case score >= w.Bands.Witnessed:
		return BandWitnessed
	case score >= w.Bands.Likely:
		return BandLikely
	case score >= w.Bands.Loaded:
		return BandLoaded
	case score > 0:
		return BandWeak
	default:
		return BandNone
	}
}

// bandWhy says what a band is: the name of one is also that of a kind's event, and is no claim about it.
func (w *Weights) bandWhy(band string, level finding.Level) string {
	text := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	of := map[string]string{
		BandWitnessed: "scores from " + text(w.Bands.Witnessed),
		BandLikely:    "scores from " + text(w.Bands.Likely) + " to " + text(w.Bands.Witnessed),
		BandLoaded:    "scores from " + text(w.Bands.Loaded) + " to " + text(w.Bands.Likely),
		BandWeak:      "scores above 0 and below " + text(w.Bands.Loaded),
		BandNone:      "the score 0",
	}[band]
	if level == "" {
		return band + " is the band of " + of + ": there is no evidence that counts, which says nothing of what was not seen"
	}
	return band + " is the band of " + of + ", whatever the kind of evidence; the strongest here: " + whyLevel[level]
}

// SourceConfidence is how far the source of evidence can be trusted, 0..1 (Source). Asserted evidence is capped.
func (w *Weights) SourceConfidence(frame *witness.Frame, kind witness.Kind, a witness.Assurance) float64 {
	confidence := w.Source.Other
	switch {
	case kind == witness.KindExec || kind == witness.KindLoad:
		confidence = w.Source.Event
	case frame == nil:
	case frame.SymbolSource == "probe":
		confidence = w.Source.Probe
	case frame.SymbolSource == "pclntab":
		confidence = w.Source.LineTable
	case frame.SymbolSource == "symtab":
		confidence = w.Source.SymbolTable
	case frame.SymbolSource == "agent":
		confidence = w.Source.Agent
	}
	if a != witness.Measured {
		confidence = min(confidence, w.Source.AssertedCap)
	}
	return confidence
}

// IdentityConfidence is how sure the identity of an artifact is, 0..1 (Identity), by witness.artifact.identity.method.
func (w *Weights) IdentityConfidence(method string) float64 {
	switch method {
	case "signed-sbom", "provenance", "buildinfo", "cargo-auditable", "note-package":
		return w.Identity.File
	case "package-db-checksum":
		return w.Identity.PackageDBChecksum
	case "sbom":
		return w.Identity.SBOM
	case "package-db":
		return w.Identity.PackageDB
	default:
		return w.Identity.Other
	}
}
