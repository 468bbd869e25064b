package evidence

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func ago(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }

var question = Question{Finding: witness.Finding{
	ID: "F", Component: "pkg:golang/a.b/c", Symbols: []witness.SymbolRef{{Language: "go", Package: "a.b/c", Member: "F"}},
}}

func subject(id, member string, kind witness.Kind, named bool) storage.Subject {
	return storage.Subject{
		ID: id, Kind: kind, Named: named,
		Frame: witness.Frame{
			Symbol: "a.b/c." + member, Package: "a.b/c", Member: member, Language: "go", Component: "pkg:golang/a.b/c@v1.0.0",
			Confidence: 1, Module: witness.Module{BuildID: "ab"},
		},
	}
}

func TestMatch(t *testing.T) {
	elsewhere := storage.Subject{ID: "4", Kind: witness.KindCall, Named: true, Frame: witness.Frame{Symbol: "main.main", Package: "main", Member: "main", Language: "go"}}
	subjects := []storage.Subject{
		subject("1", "F", witness.KindCall, false), subject("2", "G", witness.KindSample, false), subject("3", "F", witness.KindSample, true), elsewhere,
		{ID: "5", Kind: witness.KindCall, Frame: witness.Frame{Symbol: "x.y/z.F", Package: "x.y/z", Member: "F", Language: "go"}},
	}
	t.Run("all", func(t *testing.T) {
		m := match(&question, subjects)
		assert.NotContains(t, m.filter.Subjects, "4", "a claim holds for the traces that make it")
		assert.NotContains(t, m.filter.Subjects, "5", "another package")
		assert.Contains(t, m.filter.Subjects, "1")
		assert.Contains(t, m.filter.Subjects, "3")
		assert.Equal(t, "F", m.filter.Finding)
		s, ok := m.Subject("1")
		require.True(t, ok)
		found := s.Match(false)
		assert.Equal(t, finding.LevelFunction, found.Level)
		assert.True(t, s.Function(&found))
		_, ok = m.Subject("5")
		assert.False(t, ok)
	})
	t.Run("kinds", func(t *testing.T) {
		q := question
		q.Kinds = []witness.Kind{witness.KindSample}
		m := match(&q, subjects)
		_, ok := m.Subject("1")
		assert.False(t, ok)
		assert.Contains(t, m.filter.Subjects, "3")
	})
	t.Run("confidence", func(t *testing.T) {
		q := question
		q.MinConfidence = 1
		unsure := subject("1", "F", witness.KindCall, false)
		unsure.Frame.Confidence = 0.5
		assert.True(t, match(&q, []storage.Subject{unsure}).Empty())
		assert.False(t, match(&question, []storage.Subject{unsure}).Empty())
	})
}

func TestNothingIsAskedOfNothing(t *testing.T) {
	m := match(&question, nil)
	failing := failing{}
	_, err := m.Summary(t.Context(), failing)
	require.NoError(t, err)
	_, err = m.Witnesses(t.Context(), failing, storage.WitnessQuery{})
	require.NoError(t, err)
	line, err := m.Timeline(t.Context(), failing, ago(60), now, time.Minute)
	require.NoError(t, err)
	assert.Len(t, line.Buckets, 60)
}

// failing is a reader that must not be asked.
type failing struct{ none.Storage }

func (failing) Summary(context.Context, string, storage.Filter) (storage.Summary, error) {
	return storage.Summary{}, errors.New("asked")
}

func (failing) Witnesses(context.Context, string, storage.WitnessQuery) (storage.WitnessPage, error) {
	return storage.WitnessPage{}, errors.New("asked")
}

func (failing) Timeline(context.Context, string, storage.TimelineQuery) (storage.Timeline, error) {
	return storage.Timeline{}, errors.New("asked")
}

func TestInputs(t *testing.T) {
	m := match(&question, []storage.Subject{subject("1", "F", witness.KindCall, false), {
		ID: "2", Kind: witness.KindCall, Named: true, Frame: witness.Frame{Symbol: "main.main", Package: "main", Member: "main", Language: "go"},
	}})
	weights := score.DefaultWeights()
	inputs := m.inputs(&weights, &storage.Summary{BySubject: map[string]storage.SubjectTotal{
		"1": {Hits: 10, Measured: 4, LastSeen: now, LastMeasured: ago(5)},
		"2": {Hits: 7, Measured: 7, LastSeen: now, LastMeasured: now},
		"3": {Hits: 1},
	}})
	byKey := map[string]uint64{}
	for _, input := range inputs {
		byKey[input.Subject+" "+string(input.Assurance)] = input.Hits
		if input.Assurance == witness.Asserted {
			assert.LessOrEqual(t, input.Source, 0.5)
		}
	}
	assert.Equal(t, map[string]uint64{"1 measured": 4, "1 asserted": 6, "2 asserted": 7}, byKey, "a claim borrows no measure")
}

func beat(host string, start, end time.Time) witness.Coverage {
	return witness.Coverage{
		Source: "a/0/tetragon", Signal: "tetragon", Instance: witness.Instance{Host: host}, Kinds: []witness.Kind{witness.KindCall},
		Start: start, End: end, Interval: end.Sub(start), ProcessesWatched: 1, ProcessesSeen: 2, Assurance: witness.Measured,
	}
}

// claim is a heartbeat that nobody vouches for.
func claim(host string, start, end time.Time) witness.Coverage {
	c := beat(host, start, end)
	c.Source, c.Assurance, c.ProcessesWatched = "b/0/tetragon", witness.Asserted, 2
	return c
}

func loss(host string, start, end time.Time, lost uint64) witness.Coverage {
	return witness.Coverage{Source: "a/0/tetragon", Instance: witness.Instance{Host: host}, Start: start, End: end, LossStage: "queue", Lost: lost}
}

func TestWatched(t *testing.T) {
	for _, test := range []struct {
		name     string
		records  []witness.Coverage
		from, to time.Time
		want     Watched
	}{
		{"nobody", nil, ago(10), ago(5), WatchedNo},
		{"all of it", []witness.Coverage{beat("a", ago(11), ago(8)), beat("a", ago(8), ago(4))}, ago(10), ago(5), WatchedYes},
		{"by two receivers", []witness.Coverage{beat("a", ago(11), ago(7)), beat("a", ago(8), ago(5))}, ago(10), ago(5), WatchedYes},
		{"a gap", []witness.Coverage{beat("a", ago(11), ago(8)), beat("a", ago(7), ago(4))}, ago(10), ago(5), WatchedPartial},
		{"one host of two", []witness.Coverage{beat("a", ago(11), ago(4)), beat("b", ago(30), ago(20))}, ago(10), ago(5), WatchedPartial},
		{"another time", []witness.Coverage{beat("a", ago(30), ago(20))}, ago(10), ago(5), WatchedNo},
		{"a loss", []witness.Coverage{beat("a", ago(11), ago(4)), loss("a", ago(7), ago(6), 1)}, ago(10), ago(5), WatchedPartial},
		{"a loss at a moment", []witness.Coverage{beat("a", ago(11), ago(4)), loss("a", ago(7), ago(7), 0)}, ago(10), ago(5), WatchedPartial},
		{"a loss before", []witness.Coverage{beat("a", ago(11), ago(4)), loss("a", ago(12), ago(10), 1)}, ago(10), ago(5), WatchedYes},
		{"only asserted", []witness.Coverage{claim("a", ago(11), ago(4))}, ago(10), ago(5), WatchedPartial},
		{"asserted and measured", []witness.Coverage{claim("a", ago(11), ago(4)), beat("a", ago(11), ago(4))}, ago(10), ago(5), WatchedYes},
		{"asserted where the measured one stopped", []witness.Coverage{claim("a", ago(11), ago(4)), beat("a", ago(11), ago(7))}, ago(10), ago(5), WatchedPartial},
		{"only asserted on one host of two", []witness.Coverage{claim("a", ago(11), ago(4)), beat("b", ago(11), ago(4))}, ago(10), ago(5), WatchedPartial},
		{"until now", []witness.Coverage{beat("a", ago(11), now)}, ago(10), now.Add(time.Hour), WatchedYes},
		{"the future", []witness.Coverage{beat("a", ago(11), now)}, now, now.Add(time.Hour), WatchedNo},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, cover(test.records, nil, ago(60), now, now).Watched(test.from, test.to))
		})
	}
}

func TestCollection(t *testing.T) {
	beats := func(last int) (all []witness.Coverage) {
		for m := 60; m > last; m-- {
			all = append(all, beat("a", ago(m), ago(m-1)))
		}
		return all
	}
	since := func(m int) *time.Time { t := ago(m); return &t }
	assurance := func(a witness.Assurance) *witness.Assurance { return &a }
	gap := slices.Delete(beats(0), 20, 24)
	for _, test := range []struct {
		name    string
		records []witness.Coverage
		want    Collection
	}{
		{"none", nil, Collection{Posture: PostureNone}},
		{"watching", beats(0), Collection{true, since(60), PostureWatching, assurance(witness.Measured)}},
		{"two heartbeats missing", beats(3), Collection{true, since(60), PostureWatching, assurance(witness.Measured)}},
		{"somebody says so", []witness.Coverage{claim("a", ago(1), now)}, Collection{true, since(1), PostureWatching, assurance(witness.Asserted)}},
		{"somebody says so too", append(beats(0), claim("b", ago(1), now)), Collection{true, since(60), PostureWatching, assurance(witness.Measured)}},
		{"stopped", beats(4), Collection{Posture: PostureStopped}},
		{"after a gap", gap, Collection{true, since(36), PostureWatching, assurance(witness.Measured)}},
		{"lossy", append(beats(0), loss("a", ago(30), ago(29), 5)), Collection{true, since(60), PostureLossy, assurance(witness.Measured)}},
		{"an old loss", append(beats(0), loss("a", ago(90), ago(80), 5)), Collection{true, since(60), PostureWatching, assurance(witness.Measured)}},
		{"a hook alone is no heartbeat", []witness.Coverage{{Source: "a/0/b", StatusTarget: "x", StatusState: "attached", Start: ago(1), End: ago(1)}}, Collection{Posture: PostureNone}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := cover(test.records, nil, ago(24*60), now, now).collection()
			assert.Equal(t, test.want, got)
		})
	}
}

// past is a reader whose records are all older than a day.
type past struct {
	none.Storage
	records []witness.Coverage
}

func (p past) Coverage(_ context.Context, _ string, q storage.CoverageQuery) ([]witness.Coverage, error) {
	if q.From.IsZero() {
		return p.records, nil
	}
	return nil, nil
}

func TestCollectionRemembers(t *testing.T) {
	old := now.Add(-72 * time.Hour)
	for _, test := range []struct {
		name    string
		records []witness.Coverage
		want    Posture
	}{
		{"nothing", nil, PostureNone},
		{"a loss", []witness.Coverage{loss("a", old, old, 1)}, PostureNone},
		{"a heartbeat", []witness.Coverage{beat("a", old, old.Add(time.Minute)), loss("a", old, old, 1)}, PostureStopped},
	} {
		t.Run(test.name, func(t *testing.T) {
			collection, coverage, err := (&Coverages{}).Collect(t.Context(), past{records: test.records}, "", nil, now, false)
			require.NoError(t, err)
			assert.Equal(t, Collection{Posture: test.want}, collection)
			assert.Equal(t, WatchedNo, coverage.Watched(ago(60), now))
		})
	}
}

func TestCoverageNumber(t *testing.T) {
	week := func(records ...witness.Coverage) (float64, map[string]float64) {
		number, factors := cover(records, nil, now.Add(-ScoreSpan), now, now).Number()
		values := map[string]float64{}
		for _, f := range factors {
			values[f.Name] = f.Value
		}
		return number, values
	}
	number, values := week()
	assert.Zero(t, number)
	assert.Equal(t, map[string]float64{"processes": 0, "loss": 1, "duration": 0, "assurance": 1}, values)
	whole := beat("a", now.Add(-ScoreSpan), now)
	number, _ = week(whole)
	assert.Equal(t, 0.5, number, "half of the processes, all of the time")
	number, values = week(beat("a", now.Add(-ScoreSpan), now.Add(-ScoreSpan/2)), beat("a", now.Add(-ScoreSpan/2), now), loss("a", ago(1), ago(1), 0))
	assert.Equal(t, 0.5, values["loss"], "one of two heartbeats")
	assert.Equal(t, 0.25, number)

	asserted := claim("a", now.Add(-ScoreSpan), now)
	number, values = week(asserted)
	assert.Equal(t, map[string]float64{"processes": 1, "loss": 1, "duration": 1, "assurance": 0.5}, values)
	assert.Equal(t, 0.5, number, "as much as evidence that is only asserted")
	number, values = week(asserted, beat("a", now.Add(-ScoreSpan/2), now))
	assert.Equal(t, map[string]float64{"processes": 0.5, "loss": 1, "duration": 1, "assurance": 0.75}, values)
	assert.Equal(t, 0.375, number, "the processes are those that are measured, the first half of the time is a claim")
}

func TestNewestHookStands(t *testing.T) {
	hook := func(state string, at time.Time) witness.Coverage {
		return witness.Coverage{Source: "a/0/t", StatusTarget: "p", StatusState: state, Start: at, End: at}
	}
	c := cover([]witness.Coverage{hook("refused", ago(9)), hook("attached", ago(5)), hook("suspended", ago(7))}, nil, ago(60), now, now)
	require.Len(t, c.Hooks, 1)
	assert.Equal(t, "attached", c.Hooks[0].State)
}

func TestReleases(t *testing.T) {
	v := func(purl, revision, digest string) witness.Artifact {
		return witness.Artifact{PURL: purl, Revision: revision, Digest: digest}
	}
	bucket := func(minute int, artifacts ...witness.Artifact) storage.Bucket {
		b := storage.Bucket{Start: ago(minute)}
		for _, a := range artifacts {
			b.Items = append(b.Items, storage.BucketItem{Artifact: a})
		}
		return b
	}
	one, two := v("pkg:golang/a/b@v1", "r1", ""), v("pkg:golang/a/b@v2", "r2", "")
	for _, test := range []struct {
		name    string
		buckets []storage.Bucket
		want    []time.Time
	}{
		{"the same", []storage.Bucket{bucket(9, one), bucket(8, one)}, nil},
		{"a change", []storage.Bucket{bucket(9, one), bucket(8, two), bucket(7, two)}, []time.Time{ago(8)}},
		{"a canary", []storage.Bucket{bucket(9, one), bucket(8, one, two), bucket(7, one), bucket(6, two)}, []time.Time{ago(8)}},
		{"more is learnt", []storage.Bucket{bucket(9, v("pkg:golang/a/b@v1", "", "")), bucket(8, v("pkg:golang/a/b@v1", "r1", "sha256:1"))}, nil},
		{"another revision", []storage.Bucket{bucket(9, one), bucket(8, v("pkg:golang/a/b@v1", "r2", ""))}, []time.Time{ago(8)}},
		{"another artifact", []storage.Bucket{bucket(9, one), bucket(8, v("pkg:golang/c/d@v2", "r2", ""))}, nil},
		{"nothing but digests", []storage.Bucket{bucket(9, v("", "", "sha256:1")), bucket(8, v("", "", "sha256:2"))}, nil},
		{"a scope is no version", []storage.Bucket{bucket(9, v("pkg:npm/@a/b@1", "", "")), bucket(8, v("pkg:npm/@a/c@1", "", ""))}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var at []time.Time
			for _, release := range releases(test.buckets) {
				at = append(at, release.At)
			}
			assert.Equal(t, test.want, at)
		})
	}
}

// coarse is a reader with longer windows than asked for, the longer the further back.
type coarse struct{ none.Storage }

func (coarse) Timeline(_ context.Context, _ string, q storage.TimelineQuery) (storage.Timeline, error) {
	resolution := time.Hour
	if q.From.Before(now.Add(-6 * time.Hour)) {
		resolution = 24 * time.Hour
	}
	return storage.Timeline{Resolution: resolution, Buckets: []storage.Bucket{{Start: witness.AlignWindow(q.From, q.Bucket), Hits: map[witness.Kind]uint64{witness.KindCall: 1}}}}, nil
}

func TestTimelineCoarsensUntilItFits(t *testing.T) {
	m := match(&question, []storage.Subject{subject("1", "F", witness.KindCall, false)})
	line, err := m.Timeline(t.Context(), coarse{}, now.Add(-3*time.Hour), now.Add(-90*time.Minute), time.Minute)
	require.NoError(t, err)
	assert.Equal(t, time.Hour, line.Bucket)
	assert.True(t, line.Coarsened)
	assert.Equal(t, now.Add(-3*time.Hour), line.From)
	assert.Equal(t, now.Add(-time.Hour), line.To)
	line, err = m.Timeline(t.Context(), coarse{}, now.Add(-7*time.Hour), now, time.Minute)
	require.NoError(t, err)
	assert.Equal(t, 24*time.Hour, line.Bucket)
	require.NotEmpty(t, line.Buckets)
	assert.Equal(t, uint64(1), line.Buckets[0].Hits[witness.KindCall])
}

// What merge joins covers what was there, no more, and each moment once.
func TestMergeKeepsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const length = 60
		covered := [length]bool{}
		var intervals []Interval
		for range rapid.IntRange(0, 10).Draw(t, "n") {
			start := rapid.IntRange(0, length-1).Draw(t, "start")
			end := rapid.IntRange(start, length-1).Draw(t, "end")
			intervals = append(intervals, Interval{now.Add(time.Duration(start) * time.Second), now.Add(time.Duration(end) * time.Second)})
			for i := start; i < end; i++ {
				covered[i] = true
			}
		}
		from := rapid.IntRange(0, length).Draw(t, "from")
		to := rapid.IntRange(from, length).Draw(t, "to")
		var want time.Duration
		for i := from; i < to; i++ {
			if covered[i] {
				want += time.Second
			}
		}
		got := within(merge(intervals), now.Add(time.Duration(from)*time.Second), now.Add(time.Duration(to)*time.Second))
		if got != want {
			t.Fatalf("%s is covered, not %s", want, got)
		}
	})
}
