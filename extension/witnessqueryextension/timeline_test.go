package witnessqueryextension

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// TestTimelineIsTheSumOfObservations compares timelines of every bucket size with the observations themselves.
func TestTimelineIsTheSumOfObservations(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db"), Now: func() time.Time { return now }})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s := newServer(t, store)
	s.api.now = func() time.Time { return now }
	history := 0
	few(t, 25)
	rapid.Check(t, func(r *rapid.T) {
		history++
		pkg := fmt.Sprintf("example.com/h%d", history)
		id := fmt.Sprint("H-", history)
		s.put(id, fmt.Sprintf(`{"symbols":[{"language":"go","package":%q,"member":"F"},{"language":"go","package":%q,"member":"G"}]}`, pkg, pkg))
		lengths := []time.Duration{time.Minute}
		if rapid.Bool().Draw(r, "rolled up") {
			lengths = append(lengths, 5*time.Minute, time.Hour, day)
		}
		var stored []witness.Observation
		for i := range rapid.IntRange(0, 15).Draw(r, "observations") {
			at := now.Add(-time.Duration(rapid.IntRange(1, 3*24*3600).Draw(r, "seconds")) * time.Second)
			o := measured("golang.org/x/net/html.F", rapid.Uint64Range(1, 9).Draw(r, "hits"), at)
			o.Witness.Kind = rapid.SampledFrom([]witness.Kind{witness.KindCall, witness.KindSample}).Draw(r, "kind")
			o.Witness.Frame.Package, o.Witness.Frame.Member = pkg, rapid.SampledFrom([]string{"F", "G"}).Draw(r, "function")
			o.Witness.Frame.Symbol, o.Witness.Frame.Component = pkg+"."+o.Witness.Frame.Member, ""
			o.Artifact.Revision = fmt.Sprintf("%040d", rapid.IntRange(1, 2).Draw(r, "revision"))
			o.Witness.Workload.Namespace = rapid.SampledFrom([]string{"a", "b"}).Draw(r, "namespace")
			o.Source, o.Flush = fmt.Sprintf("post/%d/http", i), uint64(i)
			length := rapid.SampledFrom(lengths).Draw(r, "window")
			o.WindowStart = witness.AlignWindow(at, length)
			o.WindowEnd = o.WindowStart.Add(length)
			stored = append(stored, o)
		}
		s.observe(stored...)
		for _, bucket := range []string{"1m", "7m", "1h", "90m", "6h", "1d"} {
			asked, err := (&query{url.Values{"bucket": {bucket}}}).bucket()
			require.NoError(r, err)
			span := min(4*day, asked*1500)
			from := now.Add(-time.Duration(rapid.Int64Range(int64(time.Hour), int64(4*day)).Draw(r, "from")))
			to := from.Add(time.Duration(rapid.Int64Range(int64(time.Minute), int64(span)).Draw(r, "span")))
			line := get[timeline](s, path(id, "runtime/timeline?bucket="+bucket+"&from="+from.Format(time.RFC3339Nano)+"&to="+to.Format(time.RFC3339Nano)))
			resolution, err := (&query{url.Values{"bucket": {line.Resolution}}}).bucket()
			require.NoError(r, err)
			assert.Equal(r, resolution > asked, line.Coarsened)
			assert.False(r, line.From.After(from))
			assert.False(r, line.To.Before(to))
			assert.Less(r, from.Sub(line.From), resolution, "no wider than whole buckets")
			assert.Less(r, line.To.Sub(to), resolution)
			longest := asked
			for i := range stored {
				if o := &stored[i]; !o.WindowStart.Before(line.From) && o.WindowStart.Before(line.To) {
					longest = max(longest, o.WindowEnd.Sub(o.WindowStart))
				}
			}
			assert.GreaterOrEqual(r, resolution, longest, "nothing is told finer than it is known")
			assert.Contains(r, append([]time.Duration{asked}, lengths...), resolution)

			start := line.From
			for _, b := range line.Buckets {
				require.Equal(r, start, b.Start, "chronological, none left out")
				start = b.Start.Add(resolution)
				require.Equal(r, start, b.End)
				require.Equal(r, b.Start, witness.AlignWindow(b.Start, resolution))
				var want, items kindHits
				for i := range stored {
					o := &stored[i]
					if o.WindowStart.Before(b.Start) || !o.WindowStart.Before(b.End) {
						continue
					}
					if o.Witness.Kind == witness.KindCall {
						want.Call += o.Hits
					} else {
						want.Sample += o.Hits
					}
				}
				for _, item := range b.Items {
					items.Call, items.Sample = items.Call+item.Hits.Call, items.Sample+item.Hits.Sample
				}
				require.Equal(r, want, b.Hits, "bucket %s of %s", b.Start, bucket)
				require.Equal(r, want, items, "items of %s", b.Start)
			}
			assert.Equal(r, line.To, start)
		}
	})
}

func TestTimelineHasAtMost2000Buckets(t *testing.T) {
	s := newStored(t)
	s.put("x", htmlFinding)
	for span, status := range map[string]int{
		"from=2026-11-01T00:00:00Z&to=2026-11-02T09:20:00Z&bucket=1m": http.StatusOK,
		"from=2026-11-01T00:00:00Z&to=2026-11-02T09:21:00Z&bucket=1m": http.StatusBadRequest,
		"from=2026-11-01T00:00:30Z&to=2026-11-02T09:20:30Z&bucket=1m": http.StatusBadRequest, // widened, they are 2,001
		"from=2021-11-01T00:00:00Z&to=2026-11-02T00:00:00Z&bucket=1d": http.StatusOK,
		"from=1970-11-01T00:00:00Z&to=2026-11-02T00:00:00Z&bucket=1d": http.StatusBadRequest,
	} {
		w := s.call(http.MethodGet, path("x", "runtime/timeline?"+span), "")
		assert.Equal(t, status, w.Code, span)
		if status != http.StatusOK {
			assert.Contains(t, detail(t, w), "bucket: from and to are more than 2000 of it apart")
		}
	}
}

// TestTracesAreFiltered holds each filter alone, and the summary to what is selected.
func TestTracesAreFiltered(t *testing.T) {
	s := newStored(t)
	s.put("f", htmlFinding)
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	at := func(kind witness.Kind, minutes int, change func(*witness.Observation)) witness.Observation {
		o := measured("golang.org/x/net/html.Render", 1, noon.Add(time.Duration(minutes)*time.Minute))
		o.Witness.Kind = kind
		change(&o)
		return o
	}
	same := func(*witness.Observation) {}
	s.observe(
		at(witness.KindCall, 0, same),
		at(witness.KindSample, 1, same),
		at(witness.KindSample, 2, func(o *witness.Observation) { o.Witness.Frame.Flags = []string{"closure"} }),
		at(witness.KindLoad, 3, func(o *witness.Observation) {
			o.Witness.Frame = witness.Frame{Module: witness.Module{Path: "/lib/x"}, Component: o.Witness.Frame.Component}
			o.Witness.Path = nil
		}),
		at(witness.KindCall, 4, func(o *witness.Observation) {
			o.Assurance, o.Witness.Workload.Namespace = witness.Asserted, "other"
		}),
	)
	for _, test := range []struct {
		query string
		want  []string // kind and minute
	}{
		{"", []string{"call 0", "sample 1", "sample 2", "load 3", "call 4"}},
		{"from=2026-11-20T12:01:00Z", []string{"sample 1", "sample 2", "load 3", "call 4"}},
		{"to=2026-11-20T12:01:00Z", []string{"call 0"}},
		{"from=2026-11-20T12:01:00Z&to=2026-11-20T12:03:00Z", []string{"sample 1", "sample 2"}},
		{"kind=call", []string{"call 0", "call 4"}},
		{"kind=call&kind=load", []string{"call 0", "load 3", "call 4"}},
		{"kind=exec", []string{}},
		{"assurance=asserted", []string{"call 4"}},
		{"assurance=measured", []string{"call 0", "sample 1", "sample 2", "load 3"}},
		{"minConfidence=0.9", []string{"call 0", "sample 1", "load 3", "call 4"}},
		{"minConfidence=0.9&kind=sample&assurance=measured&from=2026-11-20T12:00:00Z", []string{"sample 1"}},
	} {
		answer := get[traces](s, path("f", "runtime/traces?"+test.query))
		found := []string{}
		for _, trace := range answer.Traces {
			found = append(found, fmt.Sprint(trace.Kind, " ", trace.LastSeen.Sub(noon).Minutes()))
		}
		assert.ElementsMatch(t, test.want, found, test.query)
		assert.Equal(t, uint64(len(test.want)), answer.Summary.TotalHits, test.query)
		assert.Equal(t, len(test.want), answer.Summary.UniquePaths, test.query)
		assert.Equal(t, len(test.want) > 0, answer.Summary.Observed, test.query)
	}
	for sort, want := range map[string]string{"recent": "call 4", "hits": ""} {
		first := get[traces](s, path("f", "runtime/traces?limit=1&sort="+sort)).Traces[0]
		if want != "" {
			assert.Equal(t, want, fmt.Sprint(first.Kind, " ", first.LastSeen.Sub(noon).Minutes()))
		}
	}
}

// TestHitsOfLaterAreInLaterPages: as of the first page, witnesses that are stored later are left out; hits are those of now.
func TestHitsOfLaterAreInLaterPages(t *testing.T) {
	s := newStored(t)
	s.put("f", htmlFinding)
	at := time.Now().Add(-time.Hour)
	var all []witness.Observation
	for i := range 3 {
		o := measured("golang.org/x/net/html.Render", 1, at)
		o.Witness.Path = []witness.Frame{{Symbol: fmt.Sprintf("main.f%d", i), Package: "main", Member: fmt.Sprintf("f%d", i), Language: "go"}}
		all = append(all, o)
	}
	s.observe(all...)
	page := get[traces](s, path("f", "runtime/traces?limit=1&sort=id"))
	require.NotNil(t, page.NextCursor)
	for i := range all {
		all[i].Flush = 1
	}
	s.observe(all...)
	later := get[traces](s, path("f", "runtime/traces?limit=5&sort=id&cursor="+*page.NextCursor))
	require.Len(t, later.Traces, 2)
	assert.Equal(t, page.AsOf, later.AsOf)
	for _, trace := range later.Traces {
		assert.Equal(t, uint64(2), trace.Hits)
	}
	assert.Equal(t, uint64(6), later.Summary.TotalHits)
}
