package score

import (
	"flag"
	"math"
	"math/rand"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "5000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// weights are those of the reference.
var weights = func() *Weights { w := DefaultWeights(); return &w }()

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// input is measured evidence of the function in an affected version, just now, once, on one host.
func input(change func(*Input)) Input {
	in := Input{
		Level: finding.LevelFunction, Version: finding.VersionAffected, Source: 1, Identity: 1, Symbol: 1,
		Assurance: witness.Measured, LastSeen: now, Hits: 1, Hosts: 1, Artifact: "a", Subject: "s",
	}
	change(&in)
	return in
}

func days(n int) time.Time { return now.AddDate(0, 0, -n) }

func TestScore(t *testing.T) {
	for _, test := range []struct {
		name   string
		inputs []Input
		score  float64
		band   string
	}{
		{"one call, one host", []Input{input(func(*Input) {})}, 0.8275, "witnessed"},
		{"own symbolizer, 10k hits, 20 hosts", []Input{input(func(in *Input) { in.Source, in.Hits, in.Hosts = 0.95, 10000, 20 })}, 0.9385, "witnessed"},
		{"the same, 60 days old", []Input{input(func(in *Input) {
			in.Source, in.Hits, in.Hosts, in.LastSeen = 0.95, 10000, 20, days(60)
		})}, 0.6714, "likely"},
		{"inlined, 10 hits, 1 day", []Input{input(func(in *Input) {
			in.Level, in.Source, in.Hits, in.Hosts, in.LastSeen = finding.LevelInlined, 0.95, 10, 2, days(1)
		})}, 0.7629, "likely"},
		{"closure with doubt about whose", []Input{input(func(in *Input) {
			in.Level, in.Source, in.Symbol, in.Hits, in.Hosts, in.LastSeen = finding.LevelClosure, 0.95, 0.5, 10, 2, days(1)
		})}, 0.3413, "loaded"},
		{"name from the agent, identity by path", []Input{input(func(in *Input) {
			in.Source, in.Identity, in.Hits, in.Hosts, in.LastSeen = 0.6, 0.5, 100, 2, days(1)
		})}, 0.2607, "loaded"},
		{"package only, 1k hits", []Input{input(func(in *Input) {
			in.Level, in.Source, in.Hits, in.Hosts, in.LastSeen = finding.LevelPackage, 0.95, 1000, 5, days(1)
		})}, 0.4772, "loaded"},
		{"library loaded only", []Input{input(func(in *Input) {
			in.Level, in.Source, in.Hits, in.Hosts, in.LastSeen = finding.LevelLibrary, 0.8, 1000, 5, days(1)
		})}, 0.2557, "loaded"},
		{"loaded, version unknown, by path", []Input{input(func(in *Input) {
			in.Level, in.Version, in.Source, in.Identity, in.Hosts, in.LastSeen = finding.LevelLibrary, finding.VersionUnknown, 0.8, 0.5, 2, days(14)
		})}, 0.0599, "weak"},
		{"fixed version", []Input{input(func(in *Input) { in.Version = finding.VersionUnaffected })}, 0, "none"},
		{"source without worth", []Input{input(func(in *Input) { in.Source = 0 })}, 0, "none"},
		{"nothing", nil, 0, "none"},
		{"function, package and library", []Input{
			input(func(in *Input) { in.Source, in.Identity, in.Hits = 0.9, 0.9, 3 }),
			input(func(in *Input) { in.Level, in.Source, in.Identity, in.Hits = finding.LevelPackage, 0.95, 0.9, 3 }),
			input(func(in *Input) { in.Level, in.Source, in.Identity, in.Hits = finding.LevelLibrary, 0.8, 0.9, 3 }),
		}, 0.7235, "likely"},
		{"one for each artifact and level", []Input{
			input(func(in *Input) { in.Subject = "1" }), input(func(in *Input) { in.Subject = "2" }),
		}, 0.8275, "witnessed"},
		{"asserted", []Input{input(func(in *Input) { in.Assurance = witness.Asserted })}, 0.4138, "loaded"},
		{"in the future", []Input{input(func(in *Input) { in.LastSeen = now.Add(time.Hour) })}, 0.8275, "witnessed"},
		{"without a time", []Input{input(func(in *Input) { in.LastSeen = time.Time{} })}, 0.5793, "likely"},
		{"not a number", []Input{input(func(in *Input) { in.Symbol = math.NaN() })}, 0, "none"},
		{"more than sure", []Input{input(func(in *Input) { in.Symbol = 7 })}, 0.8275, "witnessed"},
		{"unknown level", []Input{input(func(in *Input) { in.Level = "other" })}, 0, "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := weights.Score(now, test.inputs)
			assert.Equal(t, test.score, result.Score)
			assert.Equal(t, test.band, result.Band)
			assert.NotNil(t, result.Factors)
		})
	}
}

func TestBandWhy(t *testing.T) {
	for _, test := range []struct {
		name   string
		inputs []Input
		want   string
	}{
		{"a call by path alone is no load", []Input{input(func(in *Input) { in.Identity = 0.5 })},
			"loaded is the band of scores from 0.2 to 0.5, whatever the kind of evidence; the strongest here: a function that the finding names ran"},
		{"strong", []Input{input(func(*Input) {})},
			"witnessed is the band of scores from 0.8, whatever the kind of evidence; the strongest here: a function that the finding names ran"},
		{"weak", []Input{input(func(in *Input) { in.Level = finding.LevelProcess })},
			"weak is the band of scores above 0 and below 0.2, whatever the kind of evidence; the strongest here: a binary of the component was started"},
		{"nothing", nil, "none is the band of the score 0: there is no evidence that counts, which says nothing of what was not seen"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, weights.Score(now, test.inputs).BandWhy)
		})
	}
}

func TestFactors(t *testing.T) {
	result := weights.Score(now, []Input{
		input(func(in *Input) { in.Level, in.Source = finding.LevelPackage, 0.95 }),
		input(func(in *Input) { in.Source, in.Hits, in.Hosts, in.LastSeen = 0.95, 12, 3, days(14) }),
	})
	names := make([]string, 0, len(result.Factors))
	values := map[string]float64{}
	for _, f := range result.Factors {
		names, values[f.Name] = append(names, f.Name), f.Value
		assert.NotEmpty(t, f.Why, f.Name)
	}
	require.Equal(t, []string{"proximity", "version", "source", "identity", "symbol", "recency", "hits", "breadth", "evidence", "corroboration"}, names)
	assert.Equal(t, 1.0, values["proximity"])
	assert.Equal(t, 0.5, values["recency"])
	assert.Equal(t, 0.4, values["breadth"])
	assert.Equal(t, 0.95, values["source"])
	assert.InDelta(t, result.Score, values["evidence"]+values["corroboration"], 1e-9)
	assert.Positive(t, values["corroboration"])
	assert.Contains(t, result.Factors[5].Why, "14 days ago")
	result = weights.Score(now, []Input{input(func(in *Input) { in.Identity, in.Symbol, in.LastSeen = 0.5, 0.8, now.Add(-163*time.Minute) })})
	assert.Equal(t, "a function with a name that the finding has ran", result.Factors[0].Why)
	assert.Equal(t, "the artifact is not identified, or only by a path or a claim", result.Factors[3].Why)
	assert.Contains(t, result.Factors[4].Why, "could be another function's")
	assert.Contains(t, result.Factors[5].Why, "last seen 2h43m ago")
}

func draw(t *rapid.T, label string) Input {
	unit := rapid.Float64Range(0, 1)
	return Input{
		Level: rapid.SampledFrom([]finding.Level{
			finding.LevelFunction, finding.LevelInlined, finding.LevelClosure, finding.LevelPackage, finding.LevelLibrary, finding.LevelProcess, "",
		}).Draw(t, label+".level"),
		Version:   rapid.SampledFrom([]finding.VersionState{finding.VersionAffected, finding.VersionUnknown, finding.VersionUnaffected}).Draw(t, label+".version"),
		Source:    unit.Draw(t, label+".source"),
		Identity:  unit.Draw(t, label+".identity"),
		Symbol:    unit.Draw(t, label+".symbol"),
		Assurance: rapid.SampledFrom([]witness.Assurance{witness.Measured, witness.Asserted}).Draw(t, label+".assurance"),
		LastSeen:  now.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(400*24*time.Hour)).Draw(t, label+".age"))),
		Hits:      rapid.Uint64().Draw(t, label+".hits"),
		Hosts:     rapid.IntRange(0, 100).Draw(t, label+".hosts"),
		Images:    rapid.IntRange(0, 100).Draw(t, label+".images"),
		Artifact:  rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, label+".artifact"),
		Subject:   rapid.SampledFrom([]string{"x", "y"}).Draw(t, label+".subject"),
	}
}

func drawAll(t *rapid.T) []Input {
	inputs := make([]Input, rapid.IntRange(0, 8).Draw(t, "n"))
	for i := range inputs {
		inputs[i] = draw(t, "input")
	}
	return inputs
}

func TestScoreProperties(t *testing.T) {
	t.Run("default weights", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { checkProperties(t, weights) })
	})
	t.Run("any valid weights", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { checkProperties(t, drawWeights(t)) })
	})
}

func checkProperties(t *rapid.T, weights *Weights) {
	inputs := drawAll(t)
	before := weights.Score(now, inputs)
	prepared := weights.Prepare(inputs)
	value, band := prepared.Value(now)
	assert.Equal(t, before.Score, value)
	assert.Equal(t, before.Band, band)
	if before.Score < 0 || before.Score > 1 || math.IsNaN(before.Score) {
		t.Fatalf("%v is not in 0..1", before.Score)
	}
	for _, f := range before.Factors {
		if f.Value < 0 || f.Value > 1 {
			t.Fatalf("factor %s is %v", f.Name, f.Value)
		}
	}

	shuffled := slices.Clone(inputs)
	rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed"))).Shuffle(len(shuffled), func(i, j int) {
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	})
	assert.Equal(t, before, weights.Score(now, shuffled), "depends on the order")
	assert.Equal(t, before, weights.Score(now, append(slices.Clone(inputs), inputs...)), "the same evidence twice counts twice")

	if more := weights.Score(now, append(slices.Clone(inputs), draw(t, "added"))); more.Score < before.Score {
		t.Fatalf("added evidence lowers %v to %v", before.Score, more.Score)
	}
	if later := weights.Score(now.Add(time.Duration(rapid.Int64Range(0, int64(1000*24*time.Hour)).Draw(t, "later"))), inputs); later.Score > before.Score {
		t.Fatalf("older evidence raises %v to %v", before.Score, later.Score)
	}
	if len(inputs) == 0 {
		return
	}
	raised := slices.Clone(inputs)
	in := &raised[rapid.IntRange(0, len(raised)-1).Draw(t, "which")]
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		in.Hits = max(in.Hits, in.Hits+rapid.Uint64Range(0, 1<<40).Draw(t, "hits"))
	case 1:
		in.Hosts += 3
	case 2:
		in.Images += 3
	case 3:
		in.Source = 1
	case 4:
		in.Assurance = witness.Measured
	case 5:
		in.Version = finding.VersionAffected
	}
	if more := weights.Score(now, raised); more.Score < before.Score {
		t.Fatalf("stronger evidence lowers %v to %v", before.Score, more.Score)
	}
	for i := range raised {
		raised[i].Version = finding.VersionUnaffected
	}
	if none := weights.Score(now, raised); none.Score != 0 || none.Band != "none" {
		t.Fatalf("unaffected versions have the score %v", none.Score)
	}
}

func TestSourceConfidence(t *testing.T) {
	for _, test := range []struct {
		name      string
		source    string
		kind      witness.Kind
		assurance witness.Assurance
		want      float64
	}{
		{"probe", "probe", witness.KindCall, witness.Measured, 1},
		{"asserted probe", "probe", witness.KindCall, witness.Asserted, 0.5},
		{"no assurance", "probe", witness.KindCall, "", 0.5},
		{"line table", "pclntab", witness.KindSample, witness.Measured, 0.95},
		{"symbol table", "symtab", witness.KindSample, witness.Measured, 0.9},
		{"agent", "agent", witness.KindSample, witness.Measured, 0.6},
		{"posted", "posted", witness.KindCall, witness.Measured, 0.5},
		{"unknown", "", witness.KindSample, witness.Measured, 0.5},
		{"load", "", witness.KindLoad, witness.Measured, 0.8},
		{"exec", "", witness.KindExec, witness.Measured, 0.8},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, weights.SourceConfidence(&witness.Frame{SymbolSource: test.source}, test.kind, test.assurance))
		})
	}
	assert.Equal(t, 0.5, weights.SourceConfidence(nil, witness.KindCall, witness.Measured))
}

// TestIdentityConfidence holds the order of the methods, strongest first.
func TestIdentityConfidence(t *testing.T) {
	last := 1.0
	for _, method := range []string{"signed-sbom", "provenance", "buildinfo", "cargo-auditable", "note-package", "package-db-checksum", "sbom", "package-db", "path"} {
		confidence := weights.IdentityConfidence(method)
		assert.LessOrEqual(t, confidence, last, method)
		last = confidence
	}
	assert.Equal(t, 0.5, weights.IdentityConfidence(""))
	assert.Equal(t, 0.5, weights.IdentityConfidence("asserted"))
}
