package witnessqueryextension

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// coverageBody is the answer about coverage.
type coverageBody struct {
	Observed     bool
	Coverage     coverageSummary
	Sources      []evidence.Source
	Losses       []evidence.Loss
	Gaps         []evidence.Gap
	Hooks        []evidence.Hook
	NotProbeable []evidence.Hook
}

// Every kind of gap, as it is told of a finding without hits: never as proof of anything.
func TestCoverageOfAFindingWithoutHits(t *testing.T) {
	start := time.Now().UTC().Truncate(time.Hour).Add(-4 * time.Hour)
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	record := func(from, to int) witness.Coverage {
		return witness.Coverage{Source: "agent/0/ebpf", Assurance: witness.Measured, Instance: witness.Instance{Host: "node-1"}, Start: at(from), End: at(to)}
	}
	beat := func(from, to int) witness.Coverage {
		c := record(from, to)
		c.Signal, c.Kinds, c.Interval, c.ProcessesWatched, c.ProcessesSeen = "ebpf", []witness.Kind{witness.KindCall}, time.Minute, 3, 4
		return c
	}
	loss := func(from, to int, stage string, lost uint64) witness.Coverage {
		c := record(from, to)
		c.LossStage, c.Lost = stage, lost
		return c
	}
	render := witness.About{
		Module: witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"}, Language: "go",
		Package: "golang.org/x/net/html", Member: "Render", Symbol: "golang.org/x/net/html.Render",
	}
	hook := func(minute int, about witness.About, state, reason string) witness.Coverage {
		c := record(minute, minute)
		c.About, c.StatusTarget, c.StatusState, c.StatusReason = about, "uprobe", state, reason
		return c
	}
	for _, test := range []struct {
		name      string
		records   []witness.Coverage
		gap       evidence.GapReason
		from, to  int
		lost      uint64
		unknown   bool
		ofFinding bool
	}{
		{"stopped", []witness.Coverage{beat(0, 100), beat(110, 240)}, evidence.GapStopped, 100, 110, 0, false, false},
		{"lost", []witness.Coverage{beat(0, 240), loss(100, 110, "ring", 7)}, evidence.GapLost, 100, 110, 7, false, false},
		{"lost, nobody knows how much", []witness.Coverage{beat(0, 240), loss(100, 110, "ring", 0)}, evidence.GapLost, 100, 110, 0, true, false},
		{"throttled", []witness.Coverage{beat(0, 240), loss(100, 110, "tetragon.throttled", 0)}, evidence.GapThrottled, 100, 110, 0, true, false},
		{"suspended", []witness.Coverage{beat(0, 240), hook(100, witness.About{}, "suspended", "over_budget"), hook(110, witness.About{}, "attached", "")},
			evidence.GapSuspended, 100, 110, 0, false, false},
		{"suspended, the finding's function", []witness.Coverage{beat(0, 240), hook(100, render, "suspended", "over_budget"), hook(110, render, "attached", "")},
			evidence.GapSuspended, 100, 110, 0, false, true},
		{"refused, the finding's function", []witness.Coverage{beat(0, 240), hook(60, render, "refused", "inlined_everywhere")},
			evidence.GapNotProbeable, 60, 240, 0, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStored(t)
			s.put("x", htmlFinding)
			require.NoError(t, s.api.store.WriteCoverage(t.Context(), storage.Principal{}, test.records))
			span := "?from=" + start.Format(time.RFC3339) + "&to=" + at(240).Format(time.RFC3339)
			body := get[coverageBody](s, path("x", "runtime/coverage"+span))
			assert.False(t, body.Observed)
			assert.Equal(t, evidence.WatchedPartial, body.Coverage.Watched)
			assert.Equal(t, []uint64{3, 4}, []uint64{body.Sources[0].ProcessesWatched, body.Sources[0].ProcessesSeen})
			require.NotEmpty(t, body.Gaps)
			gap := body.Gaps[0]
			assert.Equal(t, test.gap, gap.Reason)
			assert.Equal(t, []time.Time{at(test.from), at(test.to)}, []time.Time{gap.Start, gap.End})
			assert.Equal(t, test.ofFinding, gap.OfFinding)
			assert.Equal(t, "node-1", gap.Host)
			assert.Equal(t, []any{test.lost, test.unknown}, []any{body.Coverage.Lost, body.Coverage.LostUnknown})
			line := get[timeline](s, path("x", "runtime/timeline"+span+"&bucket=30m"))
			for _, b := range line.Buckets {
				want := evidence.WatchedYes
				if b.Start.Before(at(test.to)) && b.End.After(at(test.from)) {
					want = evidence.WatchedPartial
				}
				assert.Equal(t, want, b.Watched, b.Start)
			}
			score := get[scored](s, path("x", "runtime/score"))
			assert.False(t, score.Observed)
			seen := get[traces](s, path("x", "runtime/traces"+span))
			assert.False(t, seen.Summary.Observed)
			if test.gap == evidence.GapNotProbeable {
				assert.Equal(t, body.NotProbeable, seen.Coverage.FindingNotProbeable)
				require.Len(t, score.NotProbeable, 1)
				assert.Equal(t, "inlined_everywhere", score.NotProbeable[0].Reason)
				assert.Equal(t, "Render", score.NotProbeable[0].Symbol.Member)
			}
			for _, answer := range []any{body, line, score, seen} {
				text, err := json.Marshal(answer)
				require.NoError(t, err)
				assert.NotContains(t, strings.ToLower(string(text)), "not affected")
				assert.NotContains(t, string(text), "not_affected")
			}
		})
	}
}

func TestCoverageTellsTheFindingsHooksFirst(t *testing.T) {
	s := newStored(t)
	start := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	s.observe(measured("golang.org/x/net/html.Render", 7, start))
	s.put("x", htmlFinding)
	var records []witness.Coverage
	for _, about := range []witness.About{
		{},
		{Module: witness.Module{BuildID: "ffff"}},
		{Module: witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7"}}, // where the evidence was seen
		{Language: "go", Package: "golang.org/x/net/html", Member: "Render", Symbol: "golang.org/x/net/html.Render"},
		{Language: "go", Package: "golang.org/x/net/html", Member: "Parse", Symbol: "golang.org/x/net/html.Parse"},
	} {
		records = append(records, witness.Coverage{
			Source: "agent/0/ebpf", Assurance: witness.Measured, Instance: witness.Instance{Host: "node-1"}, Start: start, End: start, About: about,
			StatusTarget: "uprobe", StatusState: witness.StateRefused, StatusReason: witness.ReasonStripped,
		})
	}
	require.NoError(t, s.api.store.WriteCoverage(t.Context(), storage.Principal{}, records))
	body := get[coverageBody](s, path("x", "runtime/coverage"))
	assert.True(t, body.Observed)
	require.Len(t, body.NotProbeable, 5)
	var own []bool
	for _, h := range body.NotProbeable {
		own = append(own, h.OfFinding)
	}
	assert.Equal(t, []bool{true, true, false, false, false}, own)
	assert.Equal(t, 5, body.Coverage.NotProbeable)
	assert.Len(t, body.Coverage.FindingNotProbeable, 2)
}

// TestSkewOfASource has heartbeats arrive late, twice and out of order: the skew is that of the one that ends last, when it
// first arrived.
func TestSkewOfASource(t *testing.T) {
	clock, at := time.Time{}, time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)
	options := sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db"), Now: func() time.Time { return clock }}
	clock = at
	store, err := sqlite.Open(t.Context(), options)
	require.NoError(t, err)
	s := newServer(t, store)
	s.api.deterministic = true
	s.api.now = func() time.Time { return clock }
	s.put("x", htmlFinding)
	beat := func(minute int, received time.Duration) {
		end := at.Add(time.Duration(minute) * time.Minute)
		clock = end.Add(received)
		require.NoError(t, s.api.store.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{{
			Source: "agent/0/tetragon", Signal: "tetragon", Kinds: []witness.Kind{witness.KindExec}, Interval: time.Minute,
			Start: end.Add(-time.Minute), End: end, Assurance: witness.Measured,
		}}))
	}
	skew := func(query string) *float64 {
		t.Helper()
		type covered struct{ Sources []evidence.Source }
		sources := get[covered](s, path("x", "runtime/coverage"+query)).Sources
		require.Len(t, sources, 1)
		return sources[0].Skew
	}
	for _, test := range []struct {
		name     string
		minute   int
		received time.Duration
		want     float64
	}{
		{"first", 1, 1500 * time.Millisecond, 1.5},
		{"again", 1, 40 * time.Second, 1.5},
		{"next", 2, 2 * time.Second, 2},
		{"one before, later", 0, 10 * time.Minute, 2},
		{"clock of the source is ahead", 4, -3 * time.Second, -3},
		{"not joined with those before", 9, 5 * time.Second, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			beat(test.minute, test.received)
			require.NotNil(t, skew(""))
			assert.InDelta(t, test.want, *skew(""), 0.0001)
		})
	}
	assert.Nil(t, skew("?now="+at.Add(10*time.Minute).Format(time.RFC3339)), "the same data give the same bytes, whenever they were stored")
	require.NoError(t, store.Close())
	store, err = sqlite.Open(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s.api.store, s.api.coverages = store, evidence.Coverages{}
	assert.InDelta(t, 5, *skew(""), 0.0001, "from the file")
}
