package witnessqueryextension

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const watchPath = "/api/v1/watchlist"

func TestWatchList(t *testing.T) {
	s := newStored(t)
	assert.Equal(t, watched{Symbols: []watchlist.Symbol{}}, get[watched](s, watchPath))
	s.put("GO-2023-1988", htmlFinding)
	s.put("B", `{"component":"pkg:golang/golang.org/x/net","symbols":[{"package":"golang.org/x/net/html","member":"(*Tokenizer).Next"},{"package":"golang.org/x/net/html","member":"Render"}]}`)
	s.put("C", `{"component":"pkg:golang/golang.org/x/net"}`)
	want := watched{
		Symbols: []watchlist.Symbol{
			{Language: "go", Package: "golang.org/x/net/html", Member: "Render", Component: "pkg:golang/golang.org/x/net", Findings: []string{"B", "GO-2023-1988"}},
			{Language: "go", Package: "golang.org/x/net/html", Member: "Tokenizer.Next", Component: "pkg:golang/golang.org/x/net", Findings: []string{"B"}},
		},
		FindingsWithoutSymbols: 1,
	}
	assert.Equal(t, want, get[watched](s, watchPath), "what was put is there at once")
	assert.Equal(t, http.StatusNoContent, s.call(http.MethodDelete, "/api/v1/findings/C", "").Code)
	want.FindingsWithoutSymbols = 0
	assert.Equal(t, want, get[watched](s, watchPath))
	s.importDocument(importPath, "application/json", `{"findings":[{"id":"B"}]}`)
	assert.Len(t, get[watched](s, watchPath).Symbols, 1, "B has none any more")

	w := s.send(as(httptest.NewRequest(http.MethodGet, watchPath, nil), "blue", "ann"))
	assert.JSONEq(t, `{"symbols":[],"findingsWithoutSymbols":0,"findingsLeftOut":0,"nextCursor":null}`, w.Body.String(), "another tenant")
}

func TestWatchListIsPolled(t *testing.T) {
	s := newStored(t)
	now := time.Now()
	s.api.now = func() time.Time { return now }
	s.put("A", htmlFinding)
	w := s.call(http.MethodGet, watchPath, "")
	tag := w.Header().Get("ETag")
	assert.Regexp(t, `^"[0-9a-f]{64}"$`, tag)
	assert.Equal(t, "private, no-cache", w.Header().Get("Cache-Control"))
	for _, value := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		w := s.call(http.MethodGet, watchPath, "", "If-None-Match", value)
		assert.Equal(t, http.StatusNotModified, w.Code, value)
		assert.Empty(t, w.Body.String())
		assert.Equal(t, tag, w.Header().Get("ETag"))
	}
	for _, value := range []string{`"x"`, strings.Trim(tag, `"`), ""} {
		assert.Equal(t, http.StatusOK, s.call(http.MethodGet, watchPath, "", "If-None-Match", value).Code, value)
	}
	// A finding that came otherwise is there when the list is made anew.
	_, err := s.api.store.PutFinding(t.Context(), storage.Principal{}, witness.Finding{ID: "B", Symbols: []witness.SymbolRef{{Language: "c", Member: "f"}}})
	require.NoError(t, err)
	now = now.Add(maxWatchListAge)
	w = s.call(http.MethodGet, watchPath, "", "If-None-Match", tag)
	assert.Equal(t, http.StatusOK, w.Code)
	assert.NotEqual(t, tag, w.Header().Get("ETag"))
}

func TestWatchListPages(t *testing.T) {
	s := newStored(t)
	var findings []witness.Finding
	for i := range 25 {
		findings = append(findings, witness.Finding{ID: fmt.Sprint(i), Component: fmt.Sprintf("pkg:golang/m%d", i%3), Symbols: []witness.SymbolRef{
			{Language: "go", Package: "p", Member: fmt.Sprint(i)}, {Language: "go", Package: "p", Member: "same"},
		}})
	}
	require.NoError(t, s.api.store.ReplaceFindings(t.Context(), storage.Principal{}, "x", findings))
	whole := get[watched](s, watchPath+"?limit=1000")
	require.Len(t, whole.Symbols, 28)
	var paged []watchlist.Symbol
	for target := watchPath + "?limit=5"; target != ""; {
		page := get[watched](s, target)
		paged = append(paged, page.Symbols...)
		if target = ""; page.NextCursor != nil {
			target = watchPath + "?limit=5&cursor=" + *page.NextCursor
			if len(paged) == 10 { // what the cursor names is gone: it goes on behind it
				require.NoError(t, s.api.store.DeleteFinding(t.Context(), storage.Principal{}, paged[9].Findings[0]))
				s.api.watchLists.forget("")
			}
		}
	}
	require.Len(t, paged, 28)
	for i := range paged {
		assert.Zero(t, watchlist.Compare(whole.Symbols[i], paged[i]))
	}
	foreign, err := (&cursor{ID: "1"}).encode("/api/v1/findings", "", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, watchPath+"?cursor="+foreign, "").Code)
	odd, err := (&cursor{ID: "{"}).encode(watchPath, "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, watchPath+"?cursor="+odd, "").Code)
}

func BenchmarkWatchList(b *testing.B) {
	s := newStored(b)
	findings := make([]witness.Finding, 40_000)
	for i := range findings {
		findings[i] = witness.Finding{ID: fmt.Sprintf("GO-%d", i), Component: fmt.Sprintf("pkg:golang/example.com/m%d", i%2000), Symbols: []witness.SymbolRef{
			{Language: "go", Package: fmt.Sprintf("example.com/m%d/p", i%2000), Member: fmt.Sprintf("F%d", i)},
		}}
	}
	require.NoError(b, s.api.store.ReplaceFindings(b.Context(), storage.Principal{}, "x", findings))
	ask := func(b *testing.B, forget bool) {
		for b.Loop() {
			if forget {
				s.api.watchLists.forget("")
			}
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, watchPath+"?limit=1000", nil))
			if w.Code != http.StatusOK || !json.Valid(w.Body.Bytes()) {
				b.Fatal(w.Code)
			}
		}
	}
	b.Run("made anew", func(b *testing.B) { ask(b, true) })
	b.Run("remembered", func(b *testing.B) { ask(b, false) })
}

// stuck is a storage that does not answer one tenant.
type stuck struct {
	none.Storage
	asked, answer chan struct{}
}

func (s stuck) Findings(_ context.Context, tenant string, _ storage.FindingQuery) (storage.FindingPage, error) {
	if tenant == "stuck" {
		s.asked <- struct{}{}
		<-s.answer
	}
	return storage.FindingPage{}, nil
}

// While the list of one tenant is read, others are answered, and the tenant itself can put findings.
func TestWatchListsOfTenantsWaitForNoOther(t *testing.T) {
	store := stuck{asked: make(chan struct{}), answer: make(chan struct{})}
	s := newServer(t, store)
	ask := func(tenant, method, target, body string) int {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		return s.send(as(r, tenant, "ann")).Code
	}
	first := make(chan int, 1)
	go func() { first <- ask("stuck", http.MethodGet, watchPath, "") }()
	<-store.asked
	assert.Equal(t, http.StatusOK, ask("other", http.MethodGet, watchPath, ""))
	assert.Equal(t, http.StatusCreated, ask("stuck", http.MethodPut, "/api/v1/findings/x", `{}`))
	second := make(chan int, 1)
	go func() { second <- ask("stuck", http.MethodGet, watchPath, "") }()
	<-store.asked // anew: what was read before is from before the PUT
	close(store.answer)
	assert.Equal(t, http.StatusOK, <-first)
	assert.Equal(t, http.StatusOK, <-second)
	assert.Equal(t, http.StatusOK, ask("stuck", http.MethodGet, watchPath, ""), "it is remembered")
}
