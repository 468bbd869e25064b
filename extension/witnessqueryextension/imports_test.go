package witnessqueryextension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const importPath = "/api/v1/findings:import?scope=scan"

// importDocument posts a document and waits until the import has ended.
func (s *server) importDocument(target, contentType, document string) importProgress {
	s.Helper()
	w := s.call(http.MethodPost, target, document, "Content-Type", contentType)
	require.Equal(s, http.StatusAccepted, w.Code, w.Body)
	location := w.Header().Get("Location")
	var p importProgress
	require.Eventually(s, func() bool {
		p = get[importProgress](s, location)
		return p.State != importRunning
	}, 30*time.Second, time.Millisecond)
	require.NotNil(s, p.Ended)
	return p
}

func (s *server) ids(scope string) []string {
	s.Helper()
	ids := []string{}
	page, err := s.api.store.Findings(s.Context(), "", storage.FindingQuery{Limit: 1000})
	require.NoError(s, err)
	for _, f := range page.Findings {
		if f.Scope == scope {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

func TestImport(t *testing.T) {
	const osv = `{"id":"GO-2023-1988","affected":[{"package":{"name":"golang.org/x/net","ecosystem":"Go"}}]}`
	for _, test := range []struct {
		name, contentType, document string
		state                       importState
		failure                     string
		ids                         []string
		errors                      []importError
	}{
		{"ours", "application/json", `{"findings":[{"id":"a"},{"id":"b"}]}`, importDone, "", []string{"a", "b"}, nil},
		{"YAML", "application/yaml", "findings:\n- id: a\n- id: b\n", importDone, "", []string{"a", "b"}, nil},
		{"OSV", "application/json", osv, importDone, "", []string{"GO-2023-1988"}, nil},
		{"OSV array", "application/json", "[" + osv + "]", importDone, "", []string{"GO-2023-1988"}, nil},
		{"lines", "application/x-ndjson; charset=utf-8", osv + "\n" + strings.Replace(osv, "GO-2023-1988", "GO-2", 1), importDone, "", []string{"GO-2", "GO-2023-1988"}, nil},
		{"nothing", "application/json", `{"findings":[]}`, importDone, "", []string{}, nil},
		{"bad items", "application/json", `{"findings":[{"id":"a"},{"id":"a"},{"id":"c","affected":[{"introduced":"1","fixed":7}]},{"id":"a\u0000"},{"id":"d"}]}`,
			importDone, "", []string{"a", "d"}, []importError{
				{"findings[1]", "id", "is the id of an earlier finding"}, {"findings[2]", "affected.fixed", "is not text"}, {"findings[3]", "id", "has a control character"},
			}},
		{"bad YAML items", "text/yaml", "findings:\n- id: a\n- id:\n", importDone, "", []string{"a"}, []importError{{"findings[1] (line 3)", "id", "is empty"}}},
		{"only bad items", "application/json", `{"findings":[{"id":""}]}`, importFailed, "all items were rejected", []string{"old"}, []importError{{"findings[0]", "id", "is empty"}}},
		{"something else", "application/json", `{"hello":1}`, importFailed, "all items were rejected", []string{"old"}, []importError{{"advisory 1", "id", "is empty"}}},
		{"cut", "application/json", `{"findings":[{"id":"a"},{"id":"b"}`, importFailed, "the document was not read to its end", []string{"old"}, []importError{{"findings[1]", "", "and what follows is not valid JSON"}}},
		{"empty", "application/json", ` `, importFailed, "the document was not read to its end", []string{"old"}, []importError{{"", "", "is empty"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStored(t)
			s.put("kept", `{}`)
			require.Equal(t, importDone, s.importDocument(importPath, "application/json", `{"findings":[{"id":"old"}]}`).State)
			p := s.importDocument(importPath, test.contentType, test.document)
			assert.Equal(t, test.state, p.State)
			assert.Equal(t, test.failure, p.Failure)
			assert.Equal(t, "scan", p.Scope)
			assert.Equal(t, len(test.errors), p.Rejected)
			assert.Equal(t, append([]importError{}, test.errors...), p.Errors)
			assert.Equal(t, test.ids, s.ids("scan"))
			if test.state == importDone {
				assert.Equal(t, len(test.ids), p.Imported)
				assert.Equal(t, len(test.ids)+len(test.errors), p.Read)
			} else {
				assert.Zero(t, p.Imported)
			}
			assert.Equal(t, []string{"kept"}, s.ids("api"), "another scope")
		})
	}
}

func TestImportIsRefused(t *testing.T) {
	s := newServer(t, none.Storage{})
	for _, test := range []struct {
		name, target, contentType string
		want                      int
		detail                    string
	}{
		{"no scope", "/api/v1/findings:import", "application/json", 400, "scope: is missing"},
		{"empty scope", "/api/v1/findings:import?scope=", "application/json", 400, "scope: is empty"},
		{"scope of others", "/api/v1/findings:import?scope=api", "application/json", 400, "scope: is kept"},
		{"scope of files", "/api/v1/findings:import?scope=file:findings", "application/json", 400, "scope: is kept"},
		{"scope that is no text", "/api/v1/findings:import?scope=%ff", "application/json", 400, "scope: is not valid UTF-8"},
		{"type", importPath, "text/plain", 415, "Content-Type"},
		{"parameter", importPath + "&a=1", "application/json", 400, `no query parameter "a"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := s.call(http.MethodPost, test.target, "{}", "Content-Type", test.contentType)
			assert.Equal(t, test.want, w.Code)
			assert.Contains(t, detail(t, w), test.detail)
		})
	}
	t.Run("too long", func(t *testing.T) {
		w := s.call(http.MethodPost, importPath, `{"findings":[`+strings.Repeat(" ", defaultMaxBody))
		assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
	})
	t.Run("a body that breaks", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, importPath, iotest.ErrReader(errors.New("gone")))
		r.Header.Set("Content-Type", "application/json")
		assert.Equal(t, http.StatusBadRequest, s.send(r).Code)
	})
	for _, job := range s.api.imports.jobs {
		assert.Equal(t, importFailed, job.snapshot().State)
	}
}

// storing is a storage whose imports wait.
type storing struct {
	none.Storage
	asked  chan struct{}
	answer chan error
}

func (s storing) ReplaceFindings(ctx context.Context, _ storage.Principal, _ string, _ []witness.Finding) error {
	s.asked <- struct{}{}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-s.answer:
		return err
	}
}

func TestImportsAreBounded(t *testing.T) {
	store := storing{asked: make(chan struct{}, maxRunning), answer: make(chan error)}
	s := newServer(t, store)
	target := func(scope int) string { return fmt.Sprintf("/api/v1/findings:import?scope=s%d", scope) }
	var locations []string
	for i := range maxRunningOf {
		w := s.call(http.MethodPost, target(i), `{"findings":[]}`)
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		locations = append(locations, w.Header().Get("Location"))
		<-store.asked
	}
	assert.Equal(t, http.StatusConflict, s.call(http.MethodPost, target(0), `{"findings":[]}`).Code, "the same scope")
	w := s.call(http.MethodPost, target(maxRunning), `{"findings":[]}`)
	assert.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "10", w.Header().Get("Retry-After"))
	assert.Equal(t, importRunning, get[importProgress](s, locations[0]).State)

	other := as(httptest.NewRequest(http.MethodGet, locations[0], nil), "blue", "ann")
	assert.Equal(t, http.StatusNotFound, s.send(other).Code, "of another tenant")

	store.answer <- errors.New("secret")
	require.Eventually(t, func() bool {
		failed := 0
		for _, location := range locations {
			if p := get[importProgress](s, location); p.State == importFailed {
				failed++
				assert.Equal(t, "storage does not answer", p.Failure)
			}
		}
		return failed == 1
	}, 10*time.Second, time.Millisecond)

	post := func(tenant string) int {
		r := httptest.NewRequest(http.MethodPost, target(0), strings.NewReader(`{"findings":[]}`))
		r.Header.Set("Content-Type", "application/json")
		return s.send(as(r, tenant, "ann")).Code
	}
	for _, tenant := range []string{"blue", "green"} {
		require.Equal(t, http.StatusAccepted, post(tenant), tenant)
		<-store.asked
	}
	assert.Equal(t, http.StatusTooManyRequests, post("white"), "all are taken")

	s.api.imports.cancel()
	s.api.imports.ended.Wait()
	for _, location := range locations {
		assert.Equal(t, importFailed, get[importProgress](s, location).State)
	}
	assert.Equal(t, http.StatusServiceUnavailable, s.call(http.MethodPost, target(9), `{"findings":[]}`).Code, "stopping")
}

func TestImportsAreForgotten(t *testing.T) {
	s := newServer(t, none.Storage{})
	now := time.Now()
	s.api.now = func() time.Time { return now }
	first := s.importDocument(importPath, "application/json", `{"findings":[]}`)
	now = now.Add(maxImportAge + time.Second)
	s.importDocument(importPath, "application/json", `{"findings":[]}`)
	assert.Equal(t, http.StatusNotFound, s.call(http.MethodGet, "/api/v1/imports/"+first.ID, "").Code, "a day old")
	for range maxImports + 5 {
		s.importDocument(importPath, "application/json", `{"findings":[]}`)
	}
	assert.Len(t, s.api.imports.jobs, maxImports)
}

// However much one tenant imports, others find their imports for a day.
func TestImportsPushOutNoOthers(t *testing.T) {
	var i imports
	now := time.Now()
	start := func(tenant string) string {
		job, _, p := i.start(tenant, "scan", now)
		require.Nil(t, p)
		job.end(importDone, "", now)
		return job.snapshot().ID
	}
	quiet := start("quiet")
	first := start("loud")
	for range maxImports {
		start("loud")
	}
	assert.Len(t, i.jobs, maxImports)
	assert.NotNil(t, i.find("quiet", quiet))
	assert.Nil(t, i.find("loud", first))
	last := start("loud")
	assert.NotNil(t, i.find("loud", last))
}

// Errors of items repeat no value of the document.
func TestImportTellsNoSecret(t *testing.T) {
	s := newStored(t)
	p := s.importDocument(importPath, "application/json",
		`{"findings":[{"id":"a","component":"hunter2"},{"id":"b","affected":[{"fixed":"hunter2"}],"component":"pkg:golang/x"},{"id":"c"}]}`)
	text, err := json.Marshal(p)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "hunter2")
	assert.Equal(t, 2, p.Rejected)
	for _, entry := range s.logs.All() {
		assert.NotContains(t, fmt.Sprint(entry.ContextMap()), "hunter2")
	}
}

// advisories is a document of n OSV advisories as the Go vulnerability database has them, one per line.
func advisories(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"schema_version":"1.3.1","id":"GO-2026-%d","modified":"2026-08-01T00:00:00Z","published":"2026-08-01T00:00:00Z","aliases":["CVE-2026-%d","GHSA-aaaa-%d"],`+
			`"summary":"Improper rendering of text nodes in module %d","details":%q,"affected":[{"package":{"name":"example.com/m%d","ecosystem":"Go"},`+
			`"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.13.0"}]}],`+
			`"ecosystem_specific":{"imports":[{"path":"example.com/m%d/html","symbols":["Render","Tokenizer.Next","Parse%d"]}]}}]}`+"\n",
			i, i, i, i, strings.Repeat("Text nodes not in the HTML namespace are rendered literally. ", 6), i%2000, i%2000, i)
	}
	return b.String()
}

// writeMeanwhile writes evidence, batch after batch, until what is done has ended, and tells how long the slowest took.
func (s *server) writeMeanwhile(do func()) (longest time.Duration) {
	s.Helper()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for flush := uint64(0); ; flush++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			o := measured("golang.org/x/net/html.Render", 1, time.Now().Add(-time.Minute))
			o.Flush = flush
			began := time.Now()
			written, err := s.api.store.WriteObservations(context.Background(), storage.Batch{Observations: []witness.Observation{o}})
			longest = max(longest, time.Since(began))
			assert.NoError(s, err)
			assert.Equal(s, 1, written.Stored)
		}
	}()
	defer func() {
		close(stop)
		<-ended
	}()
	do()
	return // once it has ended
}

func BenchmarkImport(b *testing.B) {
	document := advisories(40_000)
	s := newStored(b)
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before := heap()
	job := &importJob{}
	start := time.Now()
	findings, failure := job.read(strings.NewReader(document))
	read := time.Since(start)
	if failure != "" || len(findings) != 40_000 {
		b.Fatal(failure, len(findings))
	}
	held := heap() - before
	runtime.KeepAlive(findings)
	longest := s.writeMeanwhile(func() {
		for b.Loop() {
			if p := s.importDocument(importPath, "application/x-ndjson", document); p.Imported != 40_000 {
				b.Fatal(p)
			}
		}
	})
	b.ReportMetric(float64(longest.Microseconds())/1e3, "slowest-write-ms")
	b.ReportMetric(float64(len(document))/(1<<20), "MiB/document")
	b.ReportMetric(held, "MiB/held")
	b.ReportMetric(read.Seconds(), "s/read")
}
