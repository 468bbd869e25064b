package snapshot

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var update = flag.Bool("update", false, "write testdata/golden anew")

var (
	asOf   = time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	config = Config{Canonicalizer: "canon/v1", Redaction: Digest([]byte("rules")), Engine: "v0.1.0"}
	// large is more than a JSON number holds exactly.
	large = uint64(math.MaxUint64)
)

func defaultWeights() []byte {
	w := score.DefaultWeights()
	return w.AppendDocument(nil)
}

// full is a state with something of everything.
func full() *State {
	module := witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", SHA256: strings.Repeat("ab", 32), Path: "/usr/bin/app"}
	return &State{
		AsOf: asOf,
		Finding: witness.Finding{
			ID: "GO-2023-1988 <&> \"é\"", Aliases: []string{"CVE-2023-3978"}, Component: "pkg:golang/golang.org/x/net",
			Affected:    []witness.VersionRange{{Introduced: "0", Fixed: "0.13.0"}},
			Symbols:     []witness.SymbolRef{{Language: "go", Package: "golang.org/x/net/html", Member: "Render", Source: "osv"}},
			Occurrences: []witness.Occurrence{{Scanner: "trivy", Namespace: "shop"}},
		},
		Candidates: 9,
		Subjects: []Subject{
			{
				ID: "0000000000000002", Kind: witness.KindSample, Named: true,
				Frame:    witness.Frame{Package: "main", Member: "main", Symbol: "main.main", Language: "go", Module: module, SymbolSource: "agent", Confidence: 0.9},
				Artifact: witness.Artifact{PURL: "pkg:golang/example.com/app@v1.0.0", Method: "asserted", Conflicts: []string{"x"}},
				Total:    Total{Hits: 7, Hosts: 1, FirstSeen: asOf.Add(-time.Hour), LastSeen: asOf.Add(-time.Minute)},
			},
			{
				ID: "0000000000000001", Kind: witness.KindCall,
				Frame: witness.Frame{
					Package: "golang.org/x/net/html", Member: "Render", Symbol: "golang.org/x/net/html.Render", Language: "go", Module: module,
					Offset: 0xffffffffffffff00, HasOffset: true, Component: "pkg:golang/golang.org/x/net@v0.12.0", SymbolSource: "probe", Confidence: 1,
				},
				Artifact: witness.Artifact{PURL: "pkg:golang/example.com/app@v1.0.0", Digest: "sha256:" + strings.Repeat("cd", 32), Method: "buildinfo"},
				Total: Total{
					Hits: 9007199254740993, Measured: 9007199254740990, Hosts: 12, Images: 2,
					FirstSeen: asOf.Add(-48 * time.Hour), LastSeen: asOf.Add(-time.Second), LastMeasured: asOf.Add(-time.Second - 1),
				},
			},
			{
				ID: "0000000000000003", Kind: witness.KindLoad, Frame: witness.Frame{Module: module, Component: "pkg:golang/golang.org/x/net@v0.12.0"},
				Total: Total{Hits: 1, Measured: 1, Hosts: 1, FirstSeen: asOf.Add(-time.Hour), LastSeen: asOf, LastMeasured: asOf},
			},
		},
		Coverage: Coverage{
			From: asOf.Add(-7 * 24 * time.Hour), To: asOf, Sources: 3, Hosts: 2,
			Parts:  []Part{{"processes", 0.9813}, {"loss", 1}, {"duration", 0.7238}},
			Losses: []Loss{{"ring", 5, 2, 1}, {"queue", large, 1, 0}},
		},
		Weights: defaultWeights(),
		Containment: &Containment{Weights: containmentDefaults(), Processes: [][]witness.Signal{
			{
				{Name: witness.SignalSeccomp, Values: []string{"disabled"}, Source: witness.SourceProc, Assurance: witness.Measured, ObservedAt: asOf.Add(-time.Minute)},
				{Name: witness.SignalCapabilities, Values: []string{}, Source: witness.SourceTetragon, Assurance: witness.Measured, ObservedAt: asOf.Add(-time.Hour)},
			},
			{},
		}},
	}
}

func containmentDefaults() []byte {
	w := containment.DefaultWeights()
	return w.AppendDocument(nil)
}

func inputsOf(built *Built) Load {
	return func(digest string) ([]byte, error) {
		if data, ok := built.Inputs[digest]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("%w: %s", ErrMissing, digest)
	}
}

func build(t testing.TB, s *State, prev string) *Built {
	t.Helper()
	built, err := Build(s, config, prev)
	require.NoError(t, err)
	return built
}

func TestBuild(t *testing.T) {
	built := build(t, full(), "")
	d, err := Parse(built.Document)
	require.NoError(t, err)
	assert.Equal(t, built.ID, d.SnapshotID)
	assert.Equal(t, "2026-11-22T01:00:00.000000000Z", d.AsOf)
	assert.Equal(t, Window{"2026-11-20T01:00:00.000000000Z", d.AsOf}, d.Window)
	assert.Equal(t, "9007199254741001", d.Counters["hits"], "above 2^53, exactly")
	assert.Equal(t, "9007199254740991", d.Counters["measured"])
	assert.Equal(t, "18446744073709551615", d.Counters["lost.queue"])
	assert.Equal(t, "18446744073709551615", d.Counters["lost"], "it never begins anew")
	assert.Equal(t, "3", d.Counters["matched"])
	assert.Equal(t, "0.7103", d.Result.Coverage)
	assert.Equal(t, "witnessed", d.Result.Band)
	assert.Equal(t, []string{UnknownIdentity, UnknownContainment, UnknownCoverage, UnknownLoss, UnknownVersion}, d.Result.Unknowns)
	assert.Equal(t, &Contained{
		BlastRadius: "0.2857", UnknownShare: "0.79", Missing: []string{"seccomp"},
		Unknown: []string{"host_namespaces", "root", "no_new_privs", "root_fs", "lsm", "sensitive_mounts"},
	}, d.Result.Containment)
	assert.Equal(t, []string{"sha256:" + strings.Repeat("cd", 32)}, built.Artifacts)
	for _, document := range append(slices.Collect(maps.Values(built.Inputs)), built.Document) {
		noNumbers(t, document)
	}
	weights := slices.IndexFunc(d.Inputs, func(in Input) bool { return in.Kind == KindWeights })
	assert.Equal(t, d.Config.ScoreConfig, d.Inputs[weights].SHA256)

	shuffled := full()
	slices.Reverse(shuffled.Subjects)
	slices.Reverse(shuffled.Coverage.Losses)
	slices.Reverse(shuffled.Containment.Processes)
	slices.Reverse(shuffled.Containment.Processes[1])
	shuffled.AsOf = shuffled.AsOf.In(time.FixedZone("", 3600))
	assert.Equal(t, built, build(t, shuffled, ""), "the order of what is given, and zones, do not matter")
	assert.NotEqual(t, built.ID, build(t, full(), built.ID).ID)
}

func noNumbers(t *testing.T, document []byte) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return
		}
		_, is := token.(json.Number)
		assert.False(t, is, token)
	}
}

func TestNothingSeenIsUnknown(t *testing.T) {
	built := build(t, &State{AsOf: asOf, Finding: witness.Finding{ID: "f"}, Weights: defaultWeights()}, "")
	d, err := Parse(built.Document)
	require.NoError(t, err)
	assert.Equal(t, Result{
		Score: "0", Band: "none", Coverage: "0", Factors: []Factor{},
		Unknowns: []string{UnknownFixedVersions, UnknownContainment, UnknownNotObserved, UnknownNotWatched, UnknownSymbols},
	}, d.Result)
}

func TestTooMuchEvidence(t *testing.T) {
	s := full()
	s.Subjects[0].Frame.Symbol = strings.Repeat("x", MaxInput)
	_, err := Build(s, config, "")
	assert.ErrorIs(t, err, ErrTooLarge)
}

func TestParseRefuses(t *testing.T) {
	whole := string(build(t, full(), Digest(nil)).Document)
	for _, test := range []struct{ name, old, new, want string }{
		{"nothing", whole, "", "it is no JSON of this form"},
		{"another member", `"findingId"`, `"also":"1","findingId"`, "it is no JSON of this form"},
		{"a number", `"lost":"`, `"lost":1,"x":"`, "it is no JSON of this form"},
		{"white space", `"findingId":`, `"findingId": `, "it is not canonical JSON"},
		{"twice", `"findingId":`, `"findingId":"x","findingId":`, "it is not canonical JSON"},
		{"something behind", `"to":"2026-11-22T01:00:00.000000000Z"}}`, `"to":"2026-11-22T01:00:00.000000000Z"}} `, "it is no JSON of this form"},
		{"another result", `"band":"witnessed"`, `"band":"none"`, "snapshotId: is not that of the content"},
		{"another schema", `signal-snapshot/v1"`, `signal-snapshot/v2"`, "schema"},
		{"a time without decimals", `"asOf":"2026-11-22T01:00:00.000000000Z"`, `"asOf":"2026-11-22T01:00:00Z"`, "asOf"},
		{"a digest in capitals", `"prev":"sha256:e`, `"prev":"sha256:E`, "prev"},
		{"a score above 1", `"coverage":"0.7103"`, `"coverage":"1.7103"`, "result/coverage"},
		{"a score with zeros", `"coverage":"0.7103"`, `"coverage":"0.71030"`, "result/coverage"},
		{"a count below 0", `"matched":"3"`, `"matched":"-3"`, "counters"},
		{"another kind", `"kind":"coverage"`, `"kind":"cover"`, "inputs/2"},
		{"inputs out of order", `"kind":"evidence","mediaType":"application/vnd.otelcol-witness.signal-snapshot.evidence.v1+json"`, `"kind":"a","mediaType":"application/vnd.otelcol-witness.signal-snapshot.a.v1+json"`, "inputs/3"},
		{"no unknowns", `"unknowns":["artifact-identity","containment","coverage-partial","loss-uncounted","version"]`, `"unknowns":null`, "result/unknowns"},
		{"too long", whole, strings.Repeat(" ", MaxDocument+1), "longer than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := strings.Replace(whole, test.old, test.new, 1)
			require.NotEqual(t, whole, changed)
			_, err := Parse([]byte(changed))
			require.ErrorIs(t, err, ErrDocument)
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestReplay(t *testing.T) {
	built := build(t, full(), "")
	report, err := Replay(built.Document, inputsOf(built))
	require.NoError(t, err)
	assert.Equal(t, &Report{Match: true, Outcome: ReplayMatch, Missing: []Input{}, Damaged: []Input{}}, report)

	d, err := Parse(built.Document)
	require.NoError(t, err)
	for _, input := range d.Inputs {
		t.Run("without "+string(input.Kind), func(t *testing.T) {
			report, err := Replay(built.Document, func(digest string) ([]byte, error) {
				if digest == input.SHA256 {
					return nil, ErrMissing
				}
				return built.Inputs[digest], nil
			})
			require.NoError(t, err)
			assert.Equal(t, &Report{Outcome: ReplayMissing, Missing: []Input{input}, Damaged: []Input{}}, report)
		})
		t.Run("damaged "+string(input.Kind), func(t *testing.T) {
			report, err := Replay(built.Document, func(digest string) ([]byte, error) {
				if digest == input.SHA256 {
					return bytes.Replace(built.Inputs[digest], []byte("e"), []byte("E"), 1), nil
				}
				return built.Inputs[digest], nil
			})
			require.NoError(t, err)
			assert.Equal(t, &Report{Outcome: ReplayDamaged, Missing: []Input{}, Damaged: []Input{input}}, report)
		})
	}
	_, err = Replay(built.Document, func(string) ([]byte, error) { return nil, os.ErrPermission })
	assert.ErrorIs(t, err, os.ErrPermission)
	_, err = Replay(built.Document[1:], inputsOf(built))
	assert.ErrorIs(t, err, ErrDocument)
}

// forged is a document with a changed member and the snapshotId that fits it.
func forged(t *testing.T, built *Built, change func(*Document)) []byte {
	t.Helper()
	d, err := Parse(built.Document)
	require.NoError(t, err)
	change(d)
	d.SnapshotID, err = d.id()
	require.NoError(t, err)
	document, err := d.encode()
	require.NoError(t, err)
	return document
}

func TestReplayNamesTheFirstDifference(t *testing.T) {
	built := build(t, full(), "")
	d, err := Parse(built.Document)
	require.NoError(t, err)
	for _, test := range []struct {
		name                          string
		change                        func(*Document)
		pointer, recorded, recomputed string
	}{
		{"the score", func(d *Document) { d.Result.Score = "0.1" }, "/result/score", `"0.1"`, `"` + d.Result.Score + `"`},
		{"the first of two", func(d *Document) { d.Result.Score, d.Result.Band = "0.1", "weak" }, "/result/band", `"weak"`, `"witnessed"`},
		{"a counter that is not", func(d *Document) { d.Counters["a/b~"] = "1" }, "/counters/a~1b~0", `"1"`, `null`},
		{"a counter that is missing", func(d *Document) { delete(d.Counters, "hits") }, "/counters/hits", `null`, `"9007199254741001"`},
		{"a factor", func(d *Document) { d.Result.Factors[2].Value = "0.5" }, "/result/factors/2/value", `"0.5"`, `"` + d.Result.Factors[2].Value + `"`},
		{"too many unknowns", func(d *Document) { d.Result.Unknowns = append(d.Result.Unknowns, "zzz") }, "/result/unknowns/5", `"zzz"`, `null`},
		{"too few unknowns", func(d *Document) { d.Result.Unknowns = d.Result.Unknowns[:4] }, "/result/unknowns/4", `null`, `"version"`},
		{"the finding", func(d *Document) { d.FindingID = "other" }, "/findingId", `"other"`, `"GO-2023-1988 <&> \"é\""`},
		{"the weights", func(d *Document) { d.Config.ScoreConfig = Digest(nil) }, "/config/scoreConfig", `"` + Digest(nil) + `"`, `"` + d.Config.ScoreConfig + `"`},
		{"the time", func(d *Document) { d.AsOf = "2027-11-22T01:00:00.000000000Z" }, "/result/band", `"witnessed"`, `"likely"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			report, err := Replay(forged(t, built, test.change), inputsOf(built))
			require.NoError(t, err)
			assert.False(t, report.Match)
			assert.Equal(t, ReplayDifferent, report.Outcome)
			require.NotNil(t, report.Difference)
			assert.Equal(t, test.pointer, report.Difference.Pointer)
			assert.Equal(t, test.recorded, string(report.Difference.Recorded))
			assert.Equal(t, test.recomputed, string(report.Difference.Recomputed))
		})
	}
}

func TestReplayOfWhatCannotBeRead(t *testing.T) {
	built := build(t, full(), "")
	for _, test := range []struct {
		kind     Kind
		old, new string
	}{
		{KindEvidence, `"hits":"7"`, `"hits":"seven"`},
		{KindEvidence, `"hits":"7"`, `"hits":"07"`},
		{KindEvidence, `"hosts":"1"`, `"hosts":"99999999999999999999"`},
		{KindEvidence, `"named":true`, `"named":true,"new":"1"`},
		{KindEvidence, `0xffffffffffffff00`, `ffff`},
		{KindCoverage, `"value":"1"`, `"value":"one"`},
		{KindCoverage, `"from":"2026`, `"from":"26`},
		{KindFinding, `"id"`, `"id":"x","new"`},
		{KindWeights, `"others":"0.25"`, `"others":"2"`},
		{KindContainment, `"observedAt":"2026`, `"observedAt":"26`},
		{KindContainment, `"truncated":false`, `"truncated":false,"zzz":"1"`},
		{KindContainmentWeights, `"lsm":"0.05"`, `"lsm":"5"`},
		{KindContainmentWeights, `"model":"witness-containment/v1"`, `"model":"witness-containment/v2"`},
		{KindContainmentWeights, `"lsm":"0.05"`, `"lsm":"0.050"`},
	} {
		t.Run(string(test.kind)+" "+test.new, func(t *testing.T) {
			inputs := maps.Clone(built.Inputs)
			document := forged(t, built, func(d *Document) {
				i := slices.IndexFunc(d.Inputs, func(in Input) bool { return in.Kind == test.kind })
				data := strings.Replace(string(inputs[d.Inputs[i].SHA256]), test.old, test.new, 1)
				require.NotEqual(t, string(inputs[d.Inputs[i].SHA256]), data)
				d.Inputs[i].SHA256, d.Inputs[i].Size = Digest([]byte(data)), formatCount(len(data))
				inputs[d.Inputs[i].SHA256] = []byte(data)
			})
			report, err := Replay(document, inputsOf(&Built{Inputs: inputs}))
			require.NoError(t, err)
			assert.Equal(t, ReplayUnreadable, report.Outcome)
			assert.False(t, report.Match)
		})
	}
}

// next is a later engine: it matches as before and makes another number.
var next = Engine{Matching: "witness-match/v1", ScoreModel: "test-score/v2", Compute: func(s *State) (Outcome, error) {
	outcome, err := v1(s)
	outcome.Result.Score, outcome.Result.Band = "1", "other"
	return outcome, err
}}

func TestModelsLiveSideBySide(t *testing.T) {
	before := build(t, full(), "")
	later := append(slices.Clone(Known), next)
	after, err := later.Build(full(), config, before.ID)
	require.NoError(t, err)
	d, err := Parse(after.Document)
	require.NoError(t, err)
	assert.Equal(t, "test-score/v2", d.Config.ScoreModel, "the newest makes new ones")
	for _, built := range []*Built{before, after} {
		report, err := later.Replay(built.Document, inputsOf(built))
		require.NoError(t, err)
		assert.True(t, report.Match)
	}
	report, err := Replay(after.Document, inputsOf(after))
	require.NoError(t, err)
	assert.Equal(t, &Report{Outcome: ReplayModel, Missing: []Input{}, Damaged: []Input{}}, report)
	ids, err := Chain(after.Document, func(id string) ([]byte, error) { return before.Document, nil })
	require.NoError(t, err)
	assert.Equal(t, []string{after.ID, before.ID}, ids, "a chain goes over models")
}

func TestChain(t *testing.T) {
	documents := map[string][]byte{}
	var ids []string
	prev := ""
	for i := range 4 {
		s := full()
		s.AsOf = asOf.Add(time.Duration(i) * time.Hour)
		built := build(t, s, prev)
		documents[built.ID], prev = built.Document, built.ID
		ids = append([]string{built.ID}, ids...)
	}
	load := func(id string) ([]byte, error) {
		if document, ok := documents[id]; ok {
			return document, nil
		}
		return nil, ErrMissing
	}
	newest := documents[ids[0]]
	got, err := Chain(newest, load)
	require.NoError(t, err)
	assert.Equal(t, ids, got)

	other := full()
	other.Finding.ID = "other"
	foreign := build(t, other, "")
	documents[foreign.ID] = foreign.Document
	for _, test := range []struct {
		name string
		give []byte
		want error
		text string
	}{
		{"missing", nil, ErrMissing, ids[2]},
		{"changed", bytes.Replace(documents[ids[2]], []byte("witnessed"), []byte("unlikely!"), 1), ErrDocument, "snapshotId: is not that of the content"},
		{"another", documents[ids[3]], ErrDocument, "it is another one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Chain(newest, func(id string) ([]byte, error) {
				if id != ids[2] {
					return load(id)
				} else if test.give == nil {
					return nil, ErrMissing
				}
				return test.give, nil
			})
			require.ErrorIs(t, err, test.want)
			assert.ErrorContains(t, err, test.text)
			assert.Equal(t, ids[:2], got)
		})
	}
	_, err = Chain(build(t, full(), foreign.ID).Document, load)
	assert.ErrorContains(t, err, "of another finding")
}

// Any state replays, to the byte.
func TestAnyStateReplays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := full()
		s.AsOf = time.Unix(rapid.Int64Range(0, 9e9).Draw(t, "asOf"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns"))
		text := rapid.SampledFrom([]string{"", "x", "é\u2028<", "golang.org/x/net/html", "Render", "\xff", "go", "main"})
		count := rapid.Uint64()
		s.Subjects = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Subject {
			return Subject{
				ID: text.Draw(t, "id"), Kind: rapid.SampledFrom(witness.Kinds).Draw(t, "kind"), Named: rapid.Bool().Draw(t, "named"),
				Frame: witness.Frame{
					Package: text.Draw(t, "package"), Member: text.Draw(t, "member"), Symbol: text.Draw(t, "symbol"), Language: text.Draw(t, "language"),
					Flags: rapid.SliceOfN(text, 0, 2).Draw(t, "flags"), Confidence: rapid.Float64().Draw(t, "confidence"), SymbolSource: text.Draw(t, "source"),
					Offset: count.Draw(t, "offset"), HasOffset: rapid.Bool().Draw(t, "has"), Inlined: rapid.Bool().Draw(t, "inlined"),
					Component: rapid.SampledFrom([]string{"", "pkg:golang/golang.org/x/net@v0.12.0", "pkg:golang/golang.org/x/net@v0.99.0", "?"}).Draw(t, "component"),
				},
				Artifact: witness.Artifact{PURL: text.Draw(t, "purl"), Digest: text.Draw(t, "digest"), Method: "buildinfo"},
				Total: Total{
					Hits: count.Draw(t, "hits"), Measured: count.Draw(t, "measured"), Hosts: rapid.IntRange(0, 99).Draw(t, "hosts"),
					FirstSeen: time.Unix(rapid.Int64Range(0, 9e9).Draw(t, "first"), 0), LastSeen: time.Unix(rapid.Int64Range(0, 9e9).Draw(t, "last"), 0),
				},
			}
		}), 0, 8).Draw(t, "subjects")
		if rapid.Bool().Draw(t, "nan") && len(s.Subjects) > 0 {
			s.Subjects[0].Frame.Confidence = math.NaN()
		}
		built, err := Build(s, config, "")
		require.NoError(t, err)
		again, err := Build(s, config, "")
		require.NoError(t, err)
		require.Equal(t, built, again)
		report, err := Replay(built.Document, inputsOf(built))
		require.NoError(t, err)
		require.True(t, report.Match, "%+v", report.Difference)
	})
}

// golden are states whose snapshots are in the repository, as every version since must replay them.
func golden() map[string]*State {
	nothing := &State{AsOf: asOf, Finding: witness.Finding{ID: "CVE-2026-0001"}, Weights: defaultWeights()}
	nothing.Coverage = Coverage{From: asOf.Add(-time.Hour), To: asOf}
	asserted := full()
	asserted.Subjects, asserted.Containment = asserted.Subjects[:1], nil
	strict := full()
	weights := score.DefaultWeights()
	weights.Source.AssertedCap, weights.Recency.HalfLife, weights.Bands.Witnessed = 0.125, 24*time.Hour, 0.95
	strict.Weights = weights.AppendDocument(nil)
	rust := full()
	rust.Finding = witness.Finding{
		ID: "RUSTSEC-2021-0003", Component: "pkg:cargo/smallvec", Affected: []witness.VersionRange{{Introduced: "1.0.0", Fixed: "1.6.1"}},
		Symbols: []witness.SymbolRef{{Language: "rust", Package: "smallvec", Member: "SmallVec::insert_many", Source: "rustsec"}},
	}
	rust.Subjects = []Subject{{
		ID: "1", Kind: witness.KindSample,
		Frame: witness.Frame{
			Package: "smallvec", Member: "SmallVec::insert_many", Symbol: "smallvec::SmallVec::insert_many", Language: "rust", Inlined: true,
			Flags: []string{"generic", "inlined"}, Module: witness.Module{Path: "/srv/api"}, SymbolSource: "symtab", Confidence: 0.95,
		},
		Total: Total{Hits: 120, Measured: 120, Hosts: 3, FirstSeen: asOf.Add(-90 * 24 * time.Hour), LastSeen: asOf.Add(-60 * 24 * time.Hour), LastMeasured: asOf.Add(-60 * 24 * time.Hour)},
	}}
	return map[string]*State{"nothing": nothing, "full": full(), "asserted": asserted, "strict": strict, "rust": rust}
}

func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "golden")
	if *update {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "inputs"), 0o750))
		for name, state := range golden() {
			built := build(t, state, Digest([]byte("before")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), built.Document, 0o600))
			for digest, data := range built.Inputs {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs", strings.TrimPrefix(digest, "sha256:")+".json"), data, 0o600))
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			document, err := os.ReadFile(file)
			require.NoError(t, err)
			report, err := Replay(document, func(digest string) ([]byte, error) {
				return os.ReadFile(filepath.Join(dir, "inputs", strings.TrimPrefix(digest, "sha256:")+".json"))
			})
			require.NoError(t, err)
			if difference := report.Difference; difference != nil {
				t.Errorf("%s: recorded %s, recomputed %s: another model needs an engine of its own, beside the old one",
					difference.Pointer, difference.Recorded, difference.Recomputed)
			}
			assert.True(t, report.Match, report.Outcome)
		})
	}
}
