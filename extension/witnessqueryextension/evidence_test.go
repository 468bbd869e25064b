package witnessqueryextension

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// newStored is a server on a real database.
func newStored(t testing.TB) *server {
	store, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(t.TempDir(), "witness.db"), Backup: sqlite.BackupOptions{Directory: filepath.Join(t.TempDir(), "backups")},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	return newServer(t, store)
}

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// measured is an observation of a Go function as the pipeline stores it.
func measured(function string, hits uint64, at time.Time) witness.Observation {
	pkg, member, _ := strings.Cut(strings.TrimPrefix(function, "golang.org/x/net/"), ".")
	o := witness.Observation{
		Witness: witness.Witness{
			Kind: witness.KindCall,
			Frame: witness.Frame{
				Symbol: function, Package: "golang.org/x/net/" + pkg, Member: member, Language: "go",
				Module:    witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"},
				Component: "pkg:golang/golang.org/x/net@v0.12.0", SymbolSource: "probe", Confidence: 1,
			},
			Workload: witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "web", Image: digest},
			Path:     []witness.Frame{{Symbol: "main.main", Package: "main", Member: "main", Language: "go", Confidence: 1}},
		},
		Source: "agent/0/tetragon", Instance: witness.Instance{Host: "node-1", Container: "c1"},
		Hits: hits, FirstSeen: at, LastSeen: at, Assurance: witness.Measured, Origin: witness.OriginWorkload,
		Artifact: witness.Artifact{PURL: "pkg:golang/example.com/app@v1.0.0", Revision: "1111111111111111111111111111111111111111", Method: "buildinfo"},
	}
	o.WindowStart = witness.AlignWindow(at, time.Minute)
	o.WindowEnd = o.WindowStart.Add(time.Minute)
	o.ID = o.Witness.ID()
	return o
}

func (s *server) observe(observations ...witness.Observation) {
	s.Helper()
	for i := range observations {
		observations[i].ID = observations[i].Witness.ID()
	}
	written, err := s.api.store.WriteObservations(s.Context(), storage.Batch{Observations: observations})
	require.NoError(s, err)
	require.Empty(s, written.Refused)
	require.Equal(s, len(observations), written.Stored)
}

func (s *server) put(id, body string) {
	s.Helper()
	w := s.call(http.MethodPut, "/api/v1/findings/"+url.PathEscape(id), body)
	require.Contains(s, []int{http.StatusOK, http.StatusCreated}, w.Code, w.Body)
}

const htmlFinding = `{"aliases":["CVE-2023-3978"],"component":"pkg:golang/golang.org/x/net",
 "affected":[{"introduced":"0","fixed":"0.13.0"}],
 "symbols":[{"language":"go","package":"golang.org/x/net/html","member":"Render","source":"osv"}]}`

func TestPostedTraceIsAnswered(t *testing.T) {
	s := newStored(t)
	id := "GHSA-1/pkg:golang/x y?é+%2F"
	for _, rest := range []string{"runtime/traces", "runtime/score", "runtime/timeline", "runtime/coverage"} {
		assert.Equal(t, http.StatusNotFound, s.call(http.MethodGet, path(id, rest), "").Code, "unknown before")
	}
	assert.Equal(t, ingested{1, 1, []ingest.Rejection{}}, s.post(id, oneCall))

	seen := get[traces](s, path(id, "runtime/traces"))
	assert.Equal(t, id, seen.FindingID)
	first, last := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), time.Date(2026, 11, 22, 10, 0, 59, 0, time.UTC)
	assert.Equal(t, summary{
		Observed: true, TotalHits: 3, ByAssurance: assuranceHits{Asserted: 3}, ByKind: kindHits{Call: 3}, UniquePaths: 1,
		DirectPathObserved: true, Containers: 1, Hosts: 1, FirstSeen: &first, LastSeen: &last,
		OtherVersions: evidence.OtherVersions{Versions: []evidence.OtherVersion{}},
	}, seen.Summary)
	require.Len(t, seen.Traces, 1)
	trace := seen.Traces[0]
	assert.Len(t, trace.ID, 64)
	assert.Equal(t, "golang.org/x/net/html.Tokenizer.Next", *trace.VulnerableFunction)
	assert.True(t, trace.DirectPath)
	assert.Equal(t, witness.Asserted, trace.Assurance)
	assert.Equal(t, uint64(3), trace.Hits)
	assert.Equal(t, artifact{
		PURL: "pkg:golang/example.com/app@v1.2.3", Revision: "0123456789abcdef0123456789abcdef01234567", IdentityMethod: "asserted",
	}, trace.Artifact)
	assert.Equal(t, container{"abc", "web", digest}, trace.Container)
	assert.Equal(t, "node-1", trace.Host)
	require.Len(t, trace.Frames, 1)
	frame := trace.Frames[0]
	assert.True(t, frame.EntryPoint)
	assert.True(t, frame.VulnerableFunction)
	assert.Equal(t, "0x1234", frame.Offset)
	assert.Equal(t, 12, frame.Line)
	assert.NotContains(t, frame.File, "alice")
	assert.False(t, seen.Collection.Active, "posting is not watching")

	score := get[scored](s, path(id, "runtime/score"))
	assert.True(t, score.Observed)
	assert.Positive(t, score.Score)
	assert.LessOrEqual(t, score.Score, 0.5, "asserted evidence alone")
	assert.Zero(t, score.Coverage)

	line := get[timeline](s, path(id, "runtime/timeline?from=2026-11-22T09:30:00Z&to=2026-11-22T11:30:00Z"))
	require.Len(t, line.Buckets, 3)
	assert.Equal(t, kindHits{Call: 3}, line.Buckets[1].Hits)
	require.Len(t, line.Buckets[1].Items, 1)
	assert.Equal(t, "asserted", *line.Buckets[1].Items[0].IdentityMethod)
	assert.Equal(t, kindHits{}, line.Buckets[0].Hits)
	assert.Equal(t, evidence.WatchedNo, line.Buckets[0].Watched)
}

func TestRejectedTracesAreNamed(t *testing.T) {
	s := newStored(t)
	body := strings.Replace(oneCall, `{"traces":[`, `{"traces":[{"kind":"call","hits":0},`, 1)
	got := s.post("x", body)
	assert.Equal(t, 1, got.Accepted)
	assert.Equal(t, 1, got.Stored)
	require.Len(t, got.Rejected, 1)
	assert.Equal(t, 0, got.Rejected[0].Index)
}

func TestIdempotency(t *testing.T) {
	s := newStored(t)
	untimed := `{"traces":[{"kind":"exec","module":"/usr/bin/untimed"}]}`

	assert.Equal(t, 1, s.post("a", oneCall).Stored)
	again := s.post("a", strings.ReplaceAll(oneCall, "\n", "\n\n"))
	assert.Equal(t, ingested{1, 0, []ingest.Rejection{}}, again, "the same content")
	assert.Equal(t, 1, s.post("b", oneCall).Stored, "another finding")

	assert.Equal(t, 1, s.post("c", untimed).Stored)
	assert.Equal(t, 1, s.post("c", untimed).Stored, "nothing says that it is the same")

	assert.Equal(t, 1, s.post("d", untimed, "Idempotency-Key", "k 1").Stored)
	assert.Equal(t, ingested{1, 0, []ingest.Rejection{}}, s.post("d", untimed, "Idempotency-Key", "k 1"))
	assert.Equal(t, 1, s.post("d", untimed, "Idempotency-Key", "k 2").Stored)
	w := s.call(http.MethodPost, path("d", "runtime/traces"), oneCall, "Idempotency-Key", "k 1")
	assert.Equal(t, http.StatusUnprocessableEntity, w.Code)
	assert.Contains(t, detail(t, w), "another body")
	assert.Equal(t, uint64(4), get[traces](s, path("d", "runtime/traces")).Summary.TotalHits, "of the witness, whoever named it")

	r := httptest.NewRequest(http.MethodPost, path("d", "runtime/traces"), strings.NewReader(oneCall))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "k 1")
	assert.Equal(t, http.StatusAccepted, s.send(as(r, "", "somebody else")).Code, "keys are each caller's own")
}

// Whatever is stored for one tenant, another one is answered as if nothing were: to the byte, on every route, by ids and
// cursors that the one was given too. And what the other does changes nothing for the one.
func TestTenantsAreApart(t *testing.T) {
	s, empty := newScene(t, 1), newStage(t)
	ask := func(s *server, tenant, method, target, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		return s.send(as(r, tenant, "ann"))
	}
	const scenes, other = "", "blue"
	answers := func() map[string]string {
		all := map[string]string{}
		for i := range routes {
			if routes[i].method != http.MethodGet {
				continue
			}
			for _, target := range s.variants(&routes[i]) {
				all[target] = ask(s, scenes, http.MethodGet, target, "").Body.String()
			}
		}
		return all
	}
	before := answers()
	cursors := 0
	for target, answered := range before {
		theirs, nothing := ask(s, other, http.MethodGet, target, ""), ask(empty, other, http.MethodGet, target, "")
		assert.Equal(t, nothing.Code, theirs.Code, target)
		assert.Equal(t, nothing.Body.String(), theirs.Body.String(), target)
		var page struct{ NextCursor string }
		if json.Unmarshal([]byte(answered), &page) == nil && page.NextCursor != "" {
			cursors++
			next := target + "&cursor=" + page.NextCursor
			assert.Equal(t, http.StatusOK, ask(s, scenes, http.MethodGet, next, "").Code, next)
			assert.Equal(t, http.StatusBadRequest, ask(s, other, http.MethodGet, next, "").Code, next)
		}
	}
	assert.Greater(t, cursors, 5)

	// In an order in which nothing is theirs before the first PUT.
	bodies := map[string]string{
		"POST /api/v1/findings/{findingId}/runtime/traces": oneCall, "PUT /api/v1/findings/{findingId}": `{"title":"theirs"}`,
		"POST /api/v1/signals/runtime": specOfWeb, "POST /api/v1/findings:import": `{"findings":[{"id":"imported"},{"id":"silent"}]}`,
	}
	writes := slices.DeleteFunc(slices.Clone(routes), func(r route) bool { return r.method == http.MethodGet || r.role == roleAdmin })
	slices.SortFunc(writes, func(a, b route) int {
		return cmp.Or(cmp.Compare(len(bodies[a.method+" "+a.template]), len(bodies[b.method+" "+b.template])), cmp.Compare(a.template, b.template))
	})
	for i := range writes {
		route := &writes[i]
		route.parameters = nil
		for _, target := range s.variants(route) {
			target, _, _ = strings.Cut(target, "?")
			if strings.HasSuffix(route.template, ":import") {
				target += "?scope=scan"
			}
			body := bodies[route.method+" "+route.template]
			theirs, nothing := ask(s, other, route.method, target, body), ask(empty, other, route.method, target, body)
			assert.Equal(t, nothing.Code, theirs.Code, "%s %s", route.method, target)
			if body == "" {
				assert.Equal(t, http.StatusNotFound, theirs.Code, "%s %s", route.method, target)
			} else {
				assert.Contains(t, []int{http.StatusCreated, http.StatusAccepted}, theirs.Code, "%s %s", route.method, target)
			}
		}
	}
	s.api.imports.ended.Wait()
	empty.api.imports.ended.Wait()
	assert.Equal(t, before, answers())
	assert.Contains(t, ask(s, other, http.MethodGet, "/api/v1/findings", "").Body.String(), `"theirs"`)
}

func TestFindingIsAnsweredFromEarlierEvidence(t *testing.T) {
	s := newStored(t)
	at := time.Now().UTC().Add(-time.Hour)
	other := measured("golang.org/x/net/html.Parse", 5, at)
	s.observe(measured("golang.org/x/net/html.Render", 7, at), other)
	s.put("GO-2023-1988", htmlFinding)

	seen := get[traces](s, path("GO-2023-1988", "runtime/traces"))
	require.NotEmpty(t, seen.Traces)
	trace := seen.Traces[0]
	assert.Equal(t, "golang.org/x/net/html.Render", *trace.VulnerableFunction)
	assert.True(t, trace.DirectPath)
	assert.Equal(t, "function", trace.Match.Level)
	assert.Equal(t, "affected", trace.Match.Version)
	assert.Equal(t, witness.Measured, trace.Assurance)
	assert.Equal(t, "pkg:golang/golang.org/x/net@v0.12.0", *trace.Component)
	assert.Equal(t, workload{"shop", "deployment/web"}, trace.Workload)
	require.Len(t, trace.Frames, 2)
	assert.True(t, trace.Frames[1].EntryPoint)
	assert.False(t, trace.Frames[1].VulnerableFunction)
	assert.Equal(t, uint64(7), seen.Summary.ByAssurance.Measured-5*uint64(len(seen.Traces)-1))

	score := get[scored](s, path("GO-2023-1988", "runtime/score"))
	assert.GreaterOrEqual(t, score.Score, 0.8)
	assert.Equal(t, "witnessed", score.Band)
	assert.NotEmpty(t, score.Factors)

	direct := get[traces](s, path("GO-2023-1988", "runtime/traces?minConfidence=0.9&kind=call&assurance=measured"))
	assert.NotEmpty(t, direct.Traces)
	assert.Empty(t, get[traces](s, path("GO-2023-1988", "runtime/traces?assurance=asserted")).Traces)
	none := get[traces](s, path("GO-2023-1988", "runtime/traces?kind=exec,load,sample"))
	assert.Empty(t, none.Traces)
	assert.False(t, none.Summary.Observed)

	fixed := strings.Replace(htmlFinding, `"0.13.0"`, `"0.12.0"`, 1)
	s.put("fixed", fixed)
	assert.Empty(t, get[traces](s, path("fixed", "runtime/traces")).Traces, "that version is not affected")

	require.Equal(t, http.StatusNoContent, s.call(http.MethodDelete, "/api/v1/findings/GO-2023-1988", "").Code)
	assert.Equal(t, http.StatusNotFound, s.call(http.MethodDelete, "/api/v1/findings/GO-2023-1988", "").Code)
	assert.Equal(t, http.StatusNotFound, s.call(http.MethodGet, path("GO-2023-1988", "runtime/traces"), "").Code)
	s.put("GO-2023-1988", htmlFinding)
	assert.Equal(t, seen.Summary, get[traces](s, path("GO-2023-1988", "runtime/traces")).Summary, "evidence outlives findings")
}

func TestClaimsLendNothing(t *testing.T) {
	s := newStored(t)
	at := time.Now().UTC().Add(-time.Hour)
	s.observe(measured("golang.org/x/net/html.Parse", 100, at))
	// Somebody claims that this very function is what the finding is about.
	s.post("claimed", fmt.Sprintf(`{"traces":[{"kind":"call","lastSeen":%q,
	  "frames":[{"symbol":"golang.org/x/net/html.Parse","language":"go","module":"/usr/bin/app","buildId":"c0b9959017cf64b03131964573944fc729553ea7"}]}]}`,
		at.Format(time.RFC3339)))
	seen := get[traces](s, path("claimed", "runtime/traces"))
	assert.Equal(t, assuranceHits{Asserted: 1}, seen.Summary.ByAssurance, "measured hits of others are not the claim's")
	assert.LessOrEqual(t, get[scored](s, path("claimed", "runtime/score")).Score, 0.5)
}

func TestPages(t *testing.T) {
	s := newStored(t)
	at := time.Now().UTC().Add(-time.Hour)
	var all []witness.Observation
	for i := range 25 {
		o := measured("golang.org/x/net/html.Render", uint64(1+i%5), at.Add(time.Duration(i)*time.Second))
		o.Witness.Path = []witness.Frame{{Symbol: fmt.Sprintf("main.f%d", i), Package: "main", Member: fmt.Sprintf("f%d", i), Language: "go"}}
		all = append(all, o)
	}
	s.observe(all...)
	s.put("p/q", htmlFinding)
	for _, sort := range []string{"hits", "recent", "id"} {
		t.Run(sort, func(t *testing.T) {
			seen := map[string]bool{}
			var hits uint64
			var before *trace
			target := path("p/q", "runtime/traces?limit=10&sort="+sort)
			cursor := ""
			pages := 0
			for {
				page := get[traces](s, target+cursor)
				pages++
				if pages == 1 {
					late := measured("golang.org/x/net/html.Render", 1000, at)
					late.Witness.Path = []witness.Frame{{Symbol: "main.late" + sort, Package: "main", Member: "late" + sort, Language: "go"}}
					time.Sleep(2 * time.Millisecond) // behind asOf, whatever the resolution of a stored time
					s.observe(late)
				}
				for i := range page.Traces {
					trace := &page.Traces[i]
					if strings.HasPrefix(trace.Frames[1].Symbol, "main.late") && trace.Frames[1].Symbol != "main.late"+sort {
						continue // of the runs before
					}
					assert.NotEqual(t, "main.late"+sort, trace.Frames[1].Symbol, "stored behind asOf")
					assert.False(t, seen[trace.ID], "twice")
					seen[trace.ID] = true
					hits += trace.Hits
					if before != nil {
						switch sort {
						case "hits":
							assert.GreaterOrEqual(t, before.Hits, trace.Hits)
						case "recent":
							assert.False(t, trace.LastSeen.After(before.LastSeen))
						case "id":
							assert.Less(t, before.ID, trace.ID)
						}
					}
					before = trace
				}
				if page.NextCursor == nil {
					break
				}
				require.Len(t, page.Traces, 10)
				cursor = "&cursor=" + *page.NextCursor
				for _, other := range []string{
					path("p/q", "runtime/traces?limit=10&sort="+sort+"&kind=call"+cursor),
					path("p/q", "runtime/traces?limit=10&sort="+map[string]string{"hits": "id", "recent": "hits", "id": "recent"}[sort]+cursor),
				} {
					assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, other, "").Code, "a cursor of other parameters")
				}
				assert.Equal(t, http.StatusOK, s.call(http.MethodGet, strings.Replace(target, "limit=10", "limit=3", 1)+cursor, "").Code)
			}
			assert.Len(t, seen, 25)
			assert.Equal(t, uint64(75), hits)
		})
	}
}

func TestFindings(t *testing.T) {
	s := newStored(t)
	at := time.Now().UTC().Add(-time.Hour)
	s.observe(measured("golang.org/x/net/html.Render", 7, at))
	s.put("a/1", htmlFinding)
	s.put("b", `{"component":"pkg:golang/example.com/other","title":"Ö"}`)
	s.put("c", htmlFinding)

	one := get[findingEvidence](s, "/api/v1/findings/a%2F1")
	assert.Equal(t, "a/1", one.ID)
	assert.Equal(t, "api", one.Scope)
	assert.Equal(t, []string{"CVE-2023-3978"}, one.Aliases)
	assert.Equal(t, uint64(7), one.Evidence.Hits)
	assert.Equal(t, kindHits{Call: 7}, one.Evidence.ByKind)
	assert.Equal(t, "witnessed", one.Evidence.Band)
	assert.WithinDuration(t, at, *one.Evidence.LastSeen, time.Second)
	back, err := json.Marshal(one)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, s.call(http.MethodPut, "/api/v1/findings/a%2F1", string(back)).Code, "what was got can be put")

	type list struct {
		Findings   []findingEvidence
		NextCursor *string
	}
	all := get[list](s, "/api/v1/findings")
	require.Len(t, all.Findings, 3)
	assert.Nil(t, all.NextCursor)
	assert.Equal(t, []string{"a/1", "b", "c"}, []string{all.Findings[0].ID, all.Findings[1].ID, all.Findings[2].ID})
	assert.Equal(t, one, all.Findings[0])
	assert.Equal(t, findingSummary{Band: "none"}, all.Findings[1].Evidence)

	first := get[list](s, "/api/v1/findings?component=pkg:golang/golang.org/x/net&limit=1")
	require.Len(t, first.Findings, 1)
	require.NotNil(t, first.NextCursor)
	second := get[list](s, "/api/v1/findings?component=pkg:golang/golang.org/x/net&limit=1&cursor="+*first.NextCursor)
	require.Len(t, second.Findings, 1)
	assert.Equal(t, "c", second.Findings[0].ID)
	assert.Nil(t, second.NextCursor)
	assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, "/api/v1/findings?limit=1&cursor="+*first.NextCursor, "").Code)
}

func TestHotSymbols(t *testing.T) {
	s := newStored(t)
	at := time.Now().UTC().Add(-time.Hour)
	s.observe(measured("golang.org/x/net/html.Render", 7, at), measured("golang.org/x/net/html.Parse", 9, at))
	type hot struct{ Symbols []hotSymbol }
	all := get[hot](s, "/api/v1/symbols/hot?component="+url.QueryEscape("pkg:golang/golang.org/x/net"))
	require.Len(t, all.Symbols, 2)
	assert.Equal(t, "golang.org/x/net/html.Parse", all.Symbols[0].Frame.Symbol)
	assert.Equal(t, uint64(9), all.Symbols[0].Hits)
	assert.Len(t, get[hot](s, "/api/v1/symbols/hot?limit=1").Symbols, 1)
	assert.Empty(t, get[hot](s, "/api/v1/symbols/hot?component=pkg:golang/x").Symbols)
	assert.Empty(t, get[hot](s, "/api/v1/symbols/hot?kind=exec").Symbols)
	assert.Empty(t, get[hot](s, "/api/v1/symbols/hot?to="+at.Add(-time.Hour).Format(time.RFC3339)).Symbols)
}

func TestTimelineTellsReleasesAndGaps(t *testing.T) {
	s := newStored(t)
	start := time.Now().UTC().Truncate(time.Hour).Add(-5 * time.Hour)
	s.api.now = func() time.Time { return start.Add(6 * time.Hour) } // whatever the minute: the heartbeat after the last is due
	before, after := measured("golang.org/x/net/html.Render", 7, start.Add(10*time.Minute)), measured("golang.org/x/net/html.Render", 2, start.Add(130*time.Minute))
	after.Witness.Workload.Image = "sha256:" + strings.Repeat("b", 64)
	after.Artifact.PURL, after.Artifact.Revision = "pkg:golang/example.com/app@v1.1.0", "2222222222222222222222222222222222222222"
	after.Witness.Frame.Module.BuildID = "d0b9959017cf64b03131964573944fc729553ea7"
	s.observe(before, after)
	s.put("x", htmlFinding)
	beat := func(from, to time.Time) witness.Coverage {
		return witness.Coverage{
			Source: "agent/0/tetragon", Instance: witness.Instance{Host: "node-1"}, Signal: "tetragon",
			Kinds: []witness.Kind{witness.KindCall, witness.KindExec}, Start: from, End: to, Interval: 2 * time.Hour,
			ProcessesWatched: 3, ProcessesSeen: 4, Assurance: witness.Measured,
		}
	}
	loss := witness.Coverage{
		Source: "agent/0/tetragon", Instance: witness.Instance{Host: "node-1"}, LossStage: "ringbuf", Lost: 11,
		Start: start.Add(70 * time.Minute), End: start.Add(75 * time.Minute),
	}
	hook := witness.Coverage{
		Source: "agent/0/tetragon", Instance: witness.Instance{Host: "node-1"}, StatusTarget: "probe-1", StatusState: "refused",
		StatusReason: "no such symbol", Start: start, End: start,
	}
	require.NoError(t, s.api.store.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{
		beat(start, start.Add(time.Hour)), beat(start.Add(time.Hour), start.Add(2*time.Hour)), loss, hook,
		beat(start.Add(2*time.Hour), start.Add(150*time.Minute)),
	}))

	span := "?from=" + start.Format(time.RFC3339) + "&to=" + start.Add(4*time.Hour).Format(time.RFC3339)
	line := get[timeline](s, path("x", "runtime/timeline"+span))
	require.Len(t, line.Buckets, 4)
	assert.Equal(t, "1h", line.Resolution)
	assert.False(t, line.Coarsened)
	want := []struct {
		hits    uint64
		watched evidence.Watched
		lost    uint64
	}{{7, evidence.WatchedYes, 0}, {0, evidence.WatchedPartial, 11}, {2, evidence.WatchedPartial, 0}, {0, evidence.WatchedNo, 0}}
	for i := range line.Buckets {
		b := &line.Buckets[i]
		assert.Equal(t, want[i].hits, b.Hits.Call, i)
		assert.Equal(t, want[i].watched, b.Watched, i)
		assert.Equal(t, want[i].lost, b.Lost, i)
		assert.True(t, b.Start.Equal(start.Add(time.Duration(i)*time.Hour)))
		assert.True(t, b.End.Equal(b.Start.Add(time.Hour)))
	}
	require.Len(t, line.Releases, 1)
	assert.True(t, line.Releases[0].At.Equal(start.Add(2*time.Hour)))
	assert.Equal(t, "pkg:golang/example.com/app@v1.0.0", line.Releases[0].Previous.PURL)
	assert.Equal(t, "pkg:golang/example.com/app@v1.1.0", line.Releases[0].Artifact.PURL)

	type covered struct {
		Coverage     coverageSummary
		Sources      []evidence.Source
		Losses       []evidence.Loss
		NotProbeable []evidence.Hook
	}
	coverage := get[covered](s, path("x", "runtime/coverage"+span))
	assert.Equal(t, evidence.WatchedPartial, coverage.Coverage.Watched)
	assert.InDelta(t, 150*60, coverage.Coverage.WatchedSeconds, 0.001)
	assert.Equal(t, uint64(11), coverage.Coverage.Lost)
	assert.Equal(t, []witness.Kind{witness.KindExec, witness.KindCall}, coverage.Coverage.Kinds)
	require.Len(t, coverage.Sources, 1)
	assert.Len(t, coverage.Sources[0].Runs, 1)
	require.Len(t, coverage.NotProbeable, 1)
	assert.Equal(t, "no such symbol", coverage.NotProbeable[0].Reason)

	seen := get[traces](s, path("x", "runtime/traces"))
	assert.True(t, seen.Collection.Active, "the last heartbeat ended less than 6 hours ago")
	assert.Equal(t, evidence.PostureWatching, seen.Collection.Posture)
	assert.True(t, seen.Collection.Since.Equal(start))
	score := get[scored](s, path("x", "runtime/score"))
	assert.Positive(t, score.Coverage)
	assert.Less(t, score.Coverage, 0.1)
}

func TestTimelineIsCoarsened(t *testing.T) {
	s := newStored(t)
	at := time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour)
	o := measured("golang.org/x/net/html.Render", 7, at)
	o.WindowStart, o.WindowEnd = at, at.Add(time.Hour)
	s.observe(o)
	s.put("x", htmlFinding)
	line := get[timeline](s, path("x", "runtime/timeline?bucket=5m&from="+at.Add(5*time.Minute).Format(time.RFC3339)+"&to="+at.Add(90*time.Minute).Format(time.RFC3339)))
	assert.False(t, line.Coarsened, "the window starts before from")
	assert.Equal(t, "5m", line.Resolution)
	assert.Len(t, line.Buckets, 17)
	line = get[timeline](s, path("x", "runtime/timeline?bucket=5m&from="+at.Format(time.RFC3339)+"&to="+at.Add(90*time.Minute).Format(time.RFC3339)))
	assert.True(t, line.Coarsened)
	assert.Equal(t, "1h", line.Resolution)
	require.Len(t, line.Buckets, 2)
	assert.Equal(t, uint64(7), line.Buckets[0].Hits.Call)
}
