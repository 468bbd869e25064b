package witnessqueryextension

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// listed walks all pages of findings.
func listed(s *server, query string, limit int) []findingEvidence {
	s.Helper()
	var all []findingEvidence
	target := "/api/v1/findings?" + query + "&limit=" + strconv.Itoa(limit)
	for next := ""; ; {
		page := get[findingList](s, target+next)
		all = append(all, page.Findings...)
		if page.NextCursor == nil {
			return all
		}
		require.LessOrEqual(s, len(page.Findings), limit)
		next = "&cursor=" + *page.NextCursor
	}
}

func idsOf(findings []findingEvidence) []string {
	ids := []string{}
	for _, f := range findings {
		ids = append(ids, f.ID)
	}
	return ids
}

// TestListAgreesWithEachFinding compares over random histories: the list by id, the lists in other orders, each finding
// alone, its score, its traces, its timeline and its assets, after every write.
func TestListAgreesWithEachFinding(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db"), Now: func() time.Time { return now }})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s := newServer(t, store)
	s.api.now = func() time.Time { return now.Add(time.Minute) } // behind the times of all transactions
	history, window := 0, 0
	few(t, 25)
	rapid.Check(t, func(r *rapid.T) {
		history++
		id := func() string { return fmt.Sprintf("F-%d-%d", history, rapid.IntRange(1, 4).Draw(r, "finding")) }
		// Findings and evidence of other histories are of another component.
		purl := fmt.Sprintf("pkg:golang/example.com/lib%d", history)
		pkg := fmt.Sprintf("example.com/lib%d", history)
		members := rapid.SampledFrom([]string{"Parse", "T.Next", "Other", ""})
		put := func() {
			symbols := []map[string]string{}
			for range rapid.IntRange(0, 2).Draw(r, "symbols") {
				symbols = append(symbols, map[string]string{"language": "go", "package": pkg + rapid.SampledFrom([]string{"", "/sub"}).Draw(r, "package"), "member": members.Draw(r, "member")})
			}
			f := map[string]any{"symbols": symbols}
			if len(symbols) == 0 || rapid.Bool().Draw(r, "with component") {
				f["component"] = purl
			}
			if rapid.Bool().Draw(r, "with versions") {
				f["affected"] = []map[string]string{{"introduced": "0", "fixed": "1.5.0"}}
			}
			body, err := json.Marshal(f)
			require.NoError(r, err)
			s.put(id(), string(body))
		}
		observe := func() {
			window++
			at := now.Add(-time.Duration(rapid.IntRange(0, 60*24*60).Draw(r, "age")) * time.Minute)
			o := measured("golang.org/x/net/html.Parse", rapid.Uint64Range(1, 50).Draw(r, "hits"), at)
			member := rapid.SampledFrom([]string{"Parse", "T.Next", "Helper"}).Draw(r, "ran")
			o.Witness.Frame.Package = pkg + rapid.SampledFrom([]string{"", "/sub", "/far"}).Draw(r, "in")
			o.Witness.Frame.Member, o.Witness.Frame.Symbol = member, o.Witness.Frame.Package+"."+member
			o.Witness.Frame.Component = rapid.SampledFrom([]string{"", purl + "@v1.0.0", purl + "@v1.6.0", "pkg:golang/elsewhere.example/x@v1"}).Draw(r, "component")
			o.Witness.Frame.Module.BuildID = fmt.Sprintf("%d-%d", history, rapid.IntRange(1, 2).Draw(r, "module"))
			o.Witness.Kind = rapid.SampledFrom(witness.Kinds).Draw(r, "kind")
			if !o.Witness.Kind.NamesSymbol() {
				o.Witness.Frame = witness.Frame{Module: o.Witness.Frame.Module, Component: o.Witness.Frame.Component}
				o.Witness.Path = nil
			}
			o.Instance.Host = rapid.SampledFrom([]string{"a", "b"}).Draw(r, "host")
			o.Source = fmt.Sprintf("%s/%d/x", o.Instance.Host, window)
			o.Witness.Workload.Namespace = fmt.Sprintf("%d-%s", history, rapid.SampledFrom([]string{"n1", "n2"}).Draw(r, "namespace"))
			if rapid.Bool().Draw(r, "asserted") {
				o.Assurance = witness.Asserted
			}
			if rapid.Bool().Draw(r, "naming") {
				o.FindingIDs = []string{id()}
			}
			s.observe(o)
		}
		check := func() {
			prefix := fmt.Sprintf("F-%d-", history)
			limit := rapid.IntRange(1, 4).Draw(r, "limit")
			byID := slices.DeleteFunc(listed(s, "sort=id", 1000), func(f findingEvidence) bool { return !strings.HasPrefix(f.ID, prefix) })
			for _, f := range byID {
				assert.Equal(r, f, get[findingEvidence](s, "/api/v1/findings/"+url.PathEscape(f.ID)))
				scored := get[scored](s, path(f.ID, "runtime/score"))
				assert.Equal(r, f.Evidence.Score, scored.Score, f.ID)
				assert.Equal(r, f.Evidence.Band, scored.Band, f.ID)
				assert.Equal(r, f.Evidence.Observed, scored.Observed, f.ID)
				seen := get[traces](s, path(f.ID, "runtime/traces?limit=1000"))
				assert.Equal(r, f.Evidence.Hits, seen.Summary.TotalHits, f.ID)
				assert.Equal(r, f.Evidence.ByKind, seen.Summary.ByKind, f.ID)
				assert.Equal(r, f.Evidence.FirstSeen, seen.Summary.FirstSeen, f.ID)
				assert.Equal(r, f.Evidence.LastSeen, seen.Summary.LastSeen, f.ID)
				line := get[timeline](s, path(f.ID, "runtime/timeline?bucket=1d&from=2026-09-01T00:00:00Z&to=2026-11-23T00:00:00Z"))
				assert.Equal(r, f.Evidence.Hits, hitsOf(line), f.ID)
				assert.Equal(r, f.Evidence.Hits, hitsOfAssets(get[assets](s, path(f.ID, "assets?limit=1000"))), f.ID)
			}
			for order, compare := range map[string]func(a, b *findingEvidence) int{
				"hits":   func(a, b *findingEvidence) int { return cmp.Compare(b.Evidence.Hits, a.Evidence.Hits) },
				"score":  func(a, b *findingEvidence) int { return cmp.Compare(b.Evidence.Score, a.Evidence.Score) },
				"recent": func(a, b *findingEvidence) int { return compareTimes(b.Evidence.LastSeen, a.Evidence.LastSeen) },
			} {
				want := slices.Clone(byID)
				slices.SortStableFunc(want, func(a, b findingEvidence) int { return compare(&a, &b) })
				ordered := slices.DeleteFunc(listed(s, "sort="+order, 1000), func(f findingEvidence) bool { return !strings.HasPrefix(f.ID, prefix) })
				assert.Equal(r, want, ordered, order)
			}
			for query, wanted := range map[string]func(*findingEvidence) bool{
				"observed=true":         func(f *findingEvidence) bool { return f.Evidence.Observed },
				"observed=false":        func(f *findingEvidence) bool { return !f.Evidence.Observed },
				"kind=load,exec":        func(f *findingEvidence) bool { return f.Evidence.ByKind.Load+f.Evidence.ByKind.Exec > 0 },
				"band=weak,none":        func(f *findingEvidence) bool { return f.Evidence.Band == "weak" || f.Evidence.Band == "none" },
				"kind=call&band=loaded": func(f *findingEvidence) bool { return f.Evidence.ByKind.Call > 0 && f.Evidence.Band == "loaded" },
			} {
				query += "&component=" + url.QueryEscape(purl)
				want := slices.DeleteFunc(slices.Clone(byID), func(f findingEvidence) bool { return f.Component != purl || !wanted(&f) })
				assert.Equal(r, idsOf(want), idsOf(listed(s, query, limit)), query)
			}
			for _, name := range []string{"n1", "n2"} {
				namespace := fmt.Sprintf("%d-%s", history, name)
				var want []string
				for _, f := range byID {
					if s.seenIn(r, f.ID, namespace) {
						want = append(want, f.ID)
					}
				}
				assert.ElementsMatch(r, want, idsOf(listed(s, "sort=hits&namespace="+url.QueryEscape(namespace), limit)), "in %s", namespace)
			}
		}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			switch rapid.IntRange(0, 5).Draw(r, "step") {
			case 0, 1:
				put()
			case 2:
				s.call(http.MethodDelete, "/api/v1/findings/"+id(), "")
			default:
				observe()
			}
			if rapid.Bool().Draw(r, "ask") {
				check()
			}
		}
		check()
	})
}

// few has rapid check less often than usual: what is checked here takes its time.
func few(t *testing.T, checks int) {
	before := flag.Lookup("rapid.checks").Value.String()
	require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(checks)))
	t.Cleanup(func() { require.NoError(t, flag.Set("rapid.checks", before)) })
}

func compareTimes(a, b *time.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	default:
		return a.Compare(*b)
	}
}

// seenIn asks the traces of a finding whether there is one in a namespace.
func (s *server) seenIn(r *rapid.T, id, namespace string) bool {
	seen := get[traces](s, path(id, "runtime/traces?limit=1000"))
	require.Nil(r, seen.NextCursor)
	return slices.ContainsFunc(seen.Traces, func(t trace) bool { return t.Workload.Namespace == namespace })
}

func TestFindingsAreSelectedByOccurrencesAndTime(t *testing.T) {
	s := newStored(t)
	start := time.Now()
	s.put("scanned", `{"component":"pkg:golang/example.com/a","occurrences":[{"scanner":"x","imageDigest":"`+digest+`","namespace":"shop"}]}`)
	s.put("seen", htmlFinding)
	s.put("silent", `{"component":"pkg:golang/example.com/b"}`)
	o := measured("golang.org/x/net/html.Render", 2, time.Now().Add(-48*time.Hour))
	o.Artifact.Digest = "sha256:" + strings.Repeat("b", 64)
	s.observe(o)
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"digest=" + digest, []string{"scanned", "seen"}},
		{"digest=" + o.Artifact.Digest, []string{"seen"}},
		{"digest=sha256:" + strings.Repeat("c", 64), []string{}},
		{"namespace=shop", []string{"scanned", "seen"}},
		{"namespace=other", []string{}},
		{"changedSince=" + url.QueryEscape(start.Add(-time.Hour).Format(time.RFC3339)), []string{"scanned", "seen", "silent"}},
		{"changedSince=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339)), []string{}},
		{"sort=recent&limit=1", []string{"seen"}},
		{"sort=score&limit=1", []string{"seen"}},
		{"band=witnessed", []string{"seen"}},
	} {
		assert.Equal(t, test.want, idsOf(get[findingList](s, "/api/v1/findings?"+test.query).Findings), test.query)
	}
	s.observe(measured("golang.org/x/net/html.Render", 1, time.Now().Add(2*time.Minute)))
	assert.Equal(t, []string{"seen"}, idsOf(get[findingList](s, "/api/v1/findings?changedSince="+
		url.QueryEscape(time.Now().Add(time.Minute).Format(time.RFC3339))).Findings), "evidence is a change")
}

func TestFindingsParameters(t *testing.T) {
	s := newStored(t)
	for i := range 3 {
		s.put(fmt.Sprint(i), `{"component":"pkg:golang/example.com/a"}`)
	}
	for query, want := range map[string]string{
		"band=high":            "band: is not one of witnessed, likely, loaded, weak, none",
		"observed=maybe":       "observed: is not one of true, false",
		"sort=newest":          "sort: is not one of id, score, hits, recent",
		"changedSince=monday":  "changedSince: ",
		"kind=jump":            "kind: is not one of exec, load, sample, call",
		"band=none&band=weak":  "band: is given more than once",
		"sort=hits&cursor=bad": "cursor: was not made by this call with these parameters",
	} {
		w := s.call(http.MethodGet, "/api/v1/findings?"+query, "")
		assert.Equal(t, http.StatusBadRequest, w.Code, query)
		assert.Contains(t, detail(t, w), want, query)
	}
	page := get[findingList](s, "/api/v1/findings?sort=hits&limit=1")
	for _, other := range []string{"sort=score", "sort=hits&observed=false", "sort=hits&band=none", "sort=hits&namespace=n", "sort=hits&digest=d", "sort=hits&kind=call", "limit=1"} {
		assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, "/api/v1/findings?"+other+"&cursor="+*page.NextCursor, "").Code, other)
	}
	assert.Equal(t, page.AsOf, get[findingList](s, "/api/v1/findings?sort=hits&limit=2&cursor="+*page.NextCursor).AsOf)
}

// counting counts the calls of a storage.
type counting struct {
	storage.Storage
	calls map[string]int
}

func (c *counting) Finding(ctx context.Context, tenant, id string) (witness.Finding, error) {
	c.calls["Finding"]++
	return c.Storage.Finding(ctx, tenant, id)
}

func (c *counting) Subjects(ctx context.Context, tenant string, query storage.SubjectQuery) ([]storage.Subject, error) {
	c.calls["Subjects"]++
	return c.Storage.Subjects(ctx, tenant, query)
}

func (c *counting) Summary(ctx context.Context, tenant string, filter storage.Filter) (storage.Summary, error) {
	c.calls["Summary"]++
	return c.Storage.Summary(ctx, tenant, filter)
}

func (c *counting) Totals(ctx context.Context, tenant string, subjects []string) (map[string]storage.SubjectTotal, error) {
	c.calls["Totals"]++
	return c.Storage.Totals(ctx, tenant, subjects)
}

func (c *counting) NamedSubjects(ctx context.Context, tenant string, findings []string, limit int) ([]storage.NamedSubject, error) {
	c.calls["NamedSubjects"]++
	return c.Storage.NamedSubjects(ctx, tenant, findings, limit)
}

func TestListsNeedNoCallForEachFinding(t *testing.T) {
	s := newStored(t)
	for i := range 50 {
		s.put(fmt.Sprint(i), htmlFinding)
	}
	s.post("claimed", oneCall)
	s.observe(measured("golang.org/x/net/html.Render", 2, time.Now()))
	store := &counting{s.api.store, map[string]int{}}
	s.api.store = store
	require.Len(t, get[findingList](s, "/api/v1/findings").Findings, 51)
	assert.Equal(t, map[string]int{"Subjects": 1, "Totals": 1, "NamedSubjects": 1}, store.calls)
	clear(store.calls)
	require.Len(t, get[findingList](s, "/api/v1/findings?sort=hits").Findings, 51)
	assert.Equal(t, map[string]int{"Subjects": 1, "Totals": 1, "NamedSubjects": 1}, store.calls)
	clear(store.calls)
	require.Len(t, get[findingList](s, "/api/v1/findings?sort=score").Findings, 51)
	assert.Empty(t, store.calls, "nothing changed")
}

func TestTooManyFindings(t *testing.T) {
	s := newStored(t)
	for i := range 3 {
		s.put(fmt.Sprint(i), htmlFinding)
	}
	s.api.boards.MaxFindings = 2
	w := s.call(http.MethodGet, "/api/v1/findings?sort=hits", "")
	assert.Equal(t, http.StatusUnprocessableEntity, w.Code)
	assert.Contains(t, detail(t, w), "sort: there are more than 2 findings")
	assert.Equal(t, http.StatusUnprocessableEntity, s.call(http.MethodGet, "/api/v1/findings?band=none", "").Code, "still")
	assert.Len(t, get[findingList](s, "/api/v1/findings").Findings, 3)
	assert.Equal(t, http.StatusNoContent, s.call(http.MethodDelete, "/api/v1/findings/0", "").Code)
	assert.Len(t, get[findingList](s, "/api/v1/findings?sort=hits").Findings, 2)
	findings, _ := s.api.boards.Size()
	assert.Equal(t, 2, findings)
}

// fewSubjects is a storage in which two subjects are as many as a finding may be answered from.
type fewSubjects struct{ storage.Storage }

func (s fewSubjects) Subjects(ctx context.Context, tenant string, query storage.SubjectQuery) ([]storage.Subject, error) {
	if query.Limit == evidence.MaxSubjects {
		query.Limit = 2
	}
	return s.Storage.Subjects(ctx, tenant, query)
}

func TestTooManySubjects(t *testing.T) {
	s := newStored(t)
	s.put("F", `{"component":"pkg:golang/golang.org/x/net"}`)
	s.api.store = fewSubjects{s.api.store}
	answers := func(want int) {
		t.Helper()
		for _, call := range []string{"runtime/traces", "runtime/score", "runtime/timeline", "runtime/coverage", "assets"} {
			w := s.call(http.MethodGet, path("F", call), "")
			assert.Equal(t, want, w.Code, call)
			if want != http.StatusOK {
				assert.Contains(t, detail(t, w), "the finding is about more than 100000 functions", call)
			}
		}
		assert.Equal(t, want, s.call(http.MethodGet, "/api/v1/findings/F", "").Code)
	}
	s.observe(measured("golang.org/x/net/html.Render", 1, time.Now()), measured("golang.org/x/net/html.Parse", 1, time.Now()))
	answers(http.StatusOK)
	s.observe(measured("golang.org/x/net/html.Escape", 1, time.Now()))
	answers(http.StatusUnprocessableEntity)
	assert.Equal(t, http.StatusUnprocessableEntity, s.call(http.MethodPost, path("F", "snapshots"), "").Code)
	w := s.call(http.MethodGet, "/api/v1/findings", "")
	assert.Equal(t, http.StatusUnprocessableEntity, w.Code)
	assert.Contains(t, detail(t, w), "limit: ")
	assert.Equal(t, http.StatusOK, s.call(http.MethodPut, "/api/v1/findings/F", `{"component":"pkg:golang/golang.org/x/text"}`).Code)
	answers(http.StatusOK)
}

func TestBoardsAreBounded(t *testing.T) {
	var boards evidence.Boards
	defer boards.Close()
	s := newStored(t)
	for i := range 40 {
		_, err := boards.Findings(t.Context(), s.api.store, fmt.Sprint(i), s.api.weights, evidence.FindingsQuery{}, false)
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, boards.Tenants(), 16)
}
