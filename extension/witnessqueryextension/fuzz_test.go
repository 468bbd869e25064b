package witnessqueryextension

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/otelcol-witness/otelcol-witness/storage/none"
)

// survives sends a request and checks that the answer is documented and no 5xx.
func survives(t *testing.T, s *server, method, target, body string) {
	t.Helper()
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return // net/http answers that
	}
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.URL, r.RequestURI = parsed, target
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	if w.Code >= http.StatusInternalServerError {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	conforms(t, r, w)
}

func FuzzFindingID(f *testing.F) {
	for _, id := range []string{"GO-2024-1", "a%2Fb", "%ff", "%00", "é", "..", "%2e%2e", "a+b", "%25", "%", ":import", "a/b"} {
		f.Add(id)
	}
	s := newServer(f, none.Storage{})
	f.Fuzz(func(t *testing.T, id string) {
		survives(t, s, http.MethodGet, "/api/v1/findings/"+id, "")
		survives(t, s, http.MethodGet, "/api/v1/findings/"+id+"/runtime/score", "")
		survives(t, s, http.MethodDelete, "/api/v1/findings/"+id, "")
	})
}

func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		"from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&bucket=1h", "kind=call,exec&kind=load&minConfidence=0.5&assurance=measured",
		"limit=1000&sort=id&cursor=eyJmIjoiIiwiaSI6IiJ9", "component=pkg:golang/x&artifact=sha256:00", "a;b", "%zz", "from=&from=",
		"bucket=9223372036854775807ns", "from=1970-01-01T00:00:00Z&bucket=1m", "limit=-1",
	} {
		f.Add(query)
	}
	s := newServer(f, none.Storage{})
	f.Fuzz(func(t *testing.T, query string) {
		for _, route := range routes {
			if route.method == http.MethodGet && !strings.HasSuffix(route.template, "openapi.json") {
				survives(t, s, route.method, strings.Replace(route.template, "{findingId}", "x", 1)+"?"+query, "")
			}
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add(oneCall)
	f.Add(htmlFinding)
	f.Add(`{"traces":[null,7,{"kind":"sample","frames":[{}]}]}`)
	f.Add(`{"id":"x","evidence":[[[]]]}`)
	s := newServer(f, none.Storage{})
	f.Fuzz(func(t *testing.T, body string) {
		survives(t, s, http.MethodPost, "/api/v1/findings/x/runtime/traces", body)
		survives(t, s, http.MethodPut, "/api/v1/findings/x", body)
	})
}
