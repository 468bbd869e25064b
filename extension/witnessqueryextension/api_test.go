package witnessqueryextension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
)

// server is the API behind its guard, as the extension serves it but for confighttp. Every answer is checked against the
// OpenAPI document.
type server struct {
	testing.TB
	api       *api
	handler   http.Handler
	logs      *observer.ObservedLogs
	telemetry *componenttest.Telemetry
}

func newServer(t testing.TB, store storage.Storage) *server {
	config := canon.NewDefaultConfig()
	config.Identities = canon.IdentitiesKeep
	canonicalizer, err := canon.New(config)
	require.NoError(t, err)
	telemetry := componenttest.NewTelemetry()
	builder, err := metadata.NewTelemetryBuilder(telemetry.NewTelemetrySettings())
	require.NoError(t, err)
	t.Cleanup(func() {
		builder.Shutdown()
		assert.NoError(t, telemetry.Shutdown(context.Background()))
	})
	core, logs := observer.New(zapcore.DebugLevel)
	weights := score.DefaultWeights()
	controls := containment.DefaultWeights()
	made, err := newSnapshots(&SnapshotsConfig{}, &config, "v0.0.0-test")
	require.NoError(t, err)
	a := &api{
		weights: &weights, controls: &controls, snapshots: made,
		store: store, maker: ingest.Maker{Canonicalizer: canonicalizer, Window: time.Minute},
		telemetry: builder, logger: zap.New(core), now: time.Now, limits: &limits{},
	}
	require.NoError(t, a.measureBoards())
	t.Cleanup(a.boards.Close)
	return &server{TB: t, api: a, handler: a.guard(http.HandlerFunc(a.serve), nil, nil), logs: logs, telemetry: telemetry}
}

// call sends a request. headers are pairs.
func (s *server) call(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return s.send(r)
}

func (s *server) send(r *http.Request) *httptest.ResponseRecorder {
	s.Helper()
	w := httptest.NewRecorder()
	r.Body = http.MaxBytesReader(w, r.Body, defaultMaxBody)
	s.handler.ServeHTTP(w, r)
	conforms(s, r, w)
	return w
}

// get decodes the body of a 200.
func get[T any](s *server, target string) T {
	s.Helper()
	w := s.call(http.MethodGet, target, "")
	require.Equal(s, http.StatusOK, w.Code, w.Body)
	var v T
	require.NoError(s, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

func (s *server) post(id, body string, headers ...string) ingested {
	s.Helper()
	w := s.call(http.MethodPost, path(id, "runtime/traces"), body, headers...)
	require.Equal(s, http.StatusAccepted, w.Code, w.Body)
	var v ingested
	require.NoError(s, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

func path(id, rest string) string {
	return "/api/v1/findings/" + url.PathEscape(id) + "/" + rest
}

func detail(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var p problem
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	assert.Equal(t, w.Code, p.Status)
	assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	return p.Detail
}

const oneCall = `{"traces":[{"kind":"call","hits":3,"firstSeen":"2026-11-22T10:00:00Z","lastSeen":"2026-11-22T10:00:59Z",
 "vulnerableFunction":"golang.org/x/net/html.(*Tokenizer).Next",
 "frames":[{"symbol":"golang.org/x/net/html.(*Tokenizer).Next","language":"go","module":"/usr/bin/app",
   "buildId":"c0b9959017cf64b03131964573944fc729553ea7","offset":"0x1234","file":"/home/alice/app/x.go","line":12}],
 "artifact":{"purl":"pkg:golang/example.com/app@v1.2.3","revision":"0123456789abcdef0123456789abcdef01234567"},
 "container":{"id":"abc","name":"web","image":"registry.example/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
 "host":"node-1"}]}`

func TestDisabled(t *testing.T) {
	s := newServer(t, none.Storage{})
	id := "GO-2024-1/pkg é+%"

	assert.Equal(t, ingested{Accepted: 1, Stored: 0, Rejected: []ingest.Rejection{}}, s.post(id, oneCall))

	seen := get[traces](s, path(id, "runtime/traces"))
	assert.Equal(t, id, seen.FindingID)
	assert.False(t, seen.Collection.Active)
	assert.Equal(t, "none", string(seen.Collection.Posture))
	assert.False(t, seen.Summary.Observed)
	assert.Empty(t, seen.Traces)
	assert.Equal(t, "no", string(seen.Coverage.Watched))

	assert.Zero(t, get[scored](s, path(id, "runtime/score")).Score)
	line := get[timeline](s, path(id, "runtime/timeline"))
	assert.GreaterOrEqual(t, len(line.Buckets), 24)
	assert.Equal(t, "1h", line.Resolution)
	get[json.RawMessage](s, path(id, "runtime/coverage"))
	get[json.RawMessage](s, "/api/v1/findings")
	get[json.RawMessage](s, "/api/v1/findings/"+url.PathEscape(id))
	get[json.RawMessage](s, "/api/v1/symbols/hot")
	assert.Equal(t, http.StatusCreated, s.call(http.MethodPut, "/api/v1/findings/x", `{"title":"t"}`).Code)
	assert.Equal(t, http.StatusNoContent, s.call(http.MethodDelete, "/api/v1/findings/x", "").Code)
	assert.JSONEq(t, string(openAPI), s.call(http.MethodGet, "/api/v1/openapi.json", "").Body.String())
}

func TestRouting(t *testing.T) {
	s := newServer(t, none.Storage{})
	for _, test := range []struct {
		name, method, target string
		want                 int
		detail               string
	}{
		{"head", http.MethodHead, "/api/v1/findings/x", 200, ""},
		{"encoded slash", http.MethodGet, "/api/v1/findings/a%2Fb/runtime/score", 200, ""},
		{"bare slash", http.MethodGet, "/api/v1/findings/a/b/runtime/score", 404, "no such path"},
		{"dots", http.MethodGet, "/api/v1/findings/%2e%2e/runtime/score", 200, ""},
		{"id like a route", http.MethodGet, "/api/v1/findings/runtime/runtime/score", 200, ""},
		{"empty id", http.MethodGet, "/api/v1/findings//runtime/score", 404, "no such path"},
		{"trailing slash", http.MethodGet, "/api/v1/findings/", 404, "no such path"},
		{"not UTF-8", http.MethodGet, "/api/v1/findings/%ff/runtime/score", 400, "findingId: is not valid UTF-8"},
		{"control character", http.MethodGet, "/api/v1/findings/a%00/runtime/score", 400, "findingId: has a control character"},
		{"long id", http.MethodGet, "/api/v1/findings/" + strings.Repeat("x", 257), 400, "findingId: is longer than 256 bytes"},
		{"unknown path", http.MethodGet, "/api/v1/assets", 404, "no such path"},
		{"import", http.MethodGet, "/api/v1/findings:import", 405, "takes POST"},
		{"id of an import", http.MethodGet, "/api/v1/imports/x", 400, "importId: is not the id of an import"},
		{"import of somebody else", http.MethodGet, "/api/v1/imports/ABCDEFGHIJKLMNOPQRSTUVWXYZ", 404, "no such import"},
		{"root", http.MethodGet, "/", 404, "no such path"},
		{"method", http.MethodPatch, "/api/v1/findings/x", 405, "DELETE, GET, HEAD, PUT"},
		{"options", http.MethodOptions, "/api/v1/findings/x/runtime/traces", 405, "GET, HEAD, POST"},
		{"unknown parameter", http.MethodGet, "/api/v1/findings/x/runtime/score?from=2026-01-01T00:00:00Z", 400, `no query parameter "from" here`},
		{"twice", http.MethodGet, "/api/v1/findings?limit=1&limit=2", 400, "limit: is given more than once"},
		{"semicolon", http.MethodGet, "/api/v1/findings?a;b", 400, "query"},
		{"bad encoding", http.MethodGet, "/api/v1/findings?a=%zz", 400, "query"},
		{"component", http.MethodGet, "/api/v1/findings?component=golang.org/x/net", 400, "component: is not a purl"},
		{"component with version", http.MethodGet, "/api/v1/findings?component=pkg:golang/golang.org/x/net@v0.12.0", 400, "component: has a version"},
		{"hot component with version", http.MethodGet, "/api/v1/symbols/hot?component=pkg:golang/golang.org/x/net@v0.12.0", 400, "component: has a version"},
		{"component of a purl", http.MethodGet, "/api/v1/findings?component=pkg:golang/golang.org/x/net", 200, ""},
		{"limit 0", http.MethodGet, "/api/v1/findings?limit=0", 400, "limit: is not a number from 1 to 1000"},
		{"limit 1001", http.MethodGet, "/api/v1/symbols/hot?limit=1001", 400, "limit: is not a number from 1 to 1000"},
		{"from", http.MethodGet, "/api/v1/symbols/hot?from=yesterday", 400, "from: is not an RFC 3339 time"},
		{"no zone", http.MethodGet, "/api/v1/symbols/hot?from=2026-01-01T00:00:00", 400, "from: is not an RFC 3339 time"},
		{"zone", http.MethodGet, "/api/v1/symbols/hot?from=2026-01-01T00:00:00%2B02:00", 200, ""},
		{"equal", http.MethodGet, "/api/v1/symbols/hot?from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "to: is not after from"},
		{"reversed", http.MethodGet, "/api/v1/findings/x/runtime/timeline?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "to: is not after from"},
		{"future", http.MethodGet, "/api/v1/findings/x/runtime/timeline?from=2200-01-02T00:00:00Z", 400, "from: is not before now"},
		{"year", http.MethodGet, "/api/v1/symbols/hot?from=0001-01-01T00:00:00Z", 400, "from: is not an RFC 3339 time"},
		{"kinds", http.MethodGet, "/api/v1/findings/x/runtime/traces?kind=call,sample&kind=exec", 200, ""},
		{"kind", http.MethodGet, "/api/v1/findings/x/runtime/traces?kind=call,", 400, "kind: is not one of"},
		{"confidence", http.MethodGet, "/api/v1/findings/x/runtime/traces?minConfidence=NaN", 400, "minConfidence: is not a number from 0 to 1"},
		{"assurance", http.MethodGet, "/api/v1/findings/x/runtime/traces?assurance=sure", 400, "assurance: is not one of"},
		{"sort", http.MethodGet, "/api/v1/findings/x/runtime/traces?sort=", 400, "sort: is not one of"},
		{"cursor", http.MethodGet, "/api/v1/findings/x/runtime/traces?cursor=abc", 400, "cursor: "},
		{"bucket", http.MethodGet, "/api/v1/findings/x/runtime/timeline?bucket=1d", 200, ""},
		{"bucket of seconds", http.MethodGet, "/api/v1/findings/x/runtime/timeline?bucket=90s", 400, "bucket: is not a duration"},
		{"bucket of days", http.MethodGet, "/api/v1/findings/x/runtime/timeline?bucket=48h", 400, "bucket: is not a duration"},
		{"2000 buckets", http.MethodGet, "/api/v1/findings/x/runtime/timeline?bucket=1m&from=2026-01-01T00:00:00Z&to=2026-01-02T09:20:00Z", 200, ""},
		{"2001 buckets", http.MethodGet, "/api/v1/findings/x/runtime/timeline?bucket=1m&from=2026-01-01T00:00:00Z&to=2026-01-02T09:20:01Z", 400, "more than 2000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := s.call(test.method, test.target, "")
			require.Equal(t, test.want, w.Code, w.Body)
			if test.want >= 400 {
				assert.Contains(t, detail(t, w), test.detail)
			}
			for name, value := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			} {
				assert.Equal(t, value, w.Header().Get(name))
			}
		})
	}
	assert.Equal(t, "DELETE, GET, HEAD, PUT", s.call(http.MethodPatch, "/api/v1/findings/x", "").Header().Get("Allow"))
}

func TestBodies(t *testing.T) {
	s := newServer(t, none.Storage{})
	const traces, finding = "/api/v1/findings/x/runtime/traces", "/api/v1/findings/x"
	for _, test := range []struct {
		name, method, target, body, contentType string
		want                                    int
		detail                                  string
	}{
		{"no type", http.MethodPost, traces, `{"traces":[]}`, "", 415, "Content-Type"},
		{"form", http.MethodPost, traces, `{"traces":[]}`, "text/plain", 415, "Content-Type"},
		{"charset", http.MethodPost, traces, `{"traces":[]}`, "application/json; charset=UTF-8", 202, ""},
		{"other charset", http.MethodPost, traces, `{"traces":[]}`, "application/json; charset=latin1", 415, "Content-Type"},
		{"no traces", http.MethodPost, traces, `{}`, "application/json", 400, `has no member "traces"`},
		{"empty", http.MethodPost, traces, ``, "application/json", 400, "line 1, column 1: ends too early"},
		{"syntax", http.MethodPost, traces, "{\n\"traces\":[}", "application/json", 400, "line 2"},
		{"unknown member", http.MethodPost, traces, `{"traces":[{"kind":"call","pid":7}]}`, "application/json", 400, `traces[0]: has an unknown member "pid"`},
		{"twice", http.MethodPost, traces, `{"traces":[],"traces":[]}`, "application/json", 400, `has the member "traces" twice`},
		{"garbage", http.MethodPost, traces, `{"traces":[]}x`, "application/json", 400, "ended before this"},
		{"too long", http.MethodPost, traces, `{"traces":[` + strings.Repeat(" ", maxJSON) + `]}`, "application/json", 413, "4194304 bytes"},
		{"too many", http.MethodPost, traces, `{"traces":[{}` + strings.Repeat(",{}", ingest.MaxTraces) + `]}`, "application/json", 400, "more than 10000 items"},
		{"finding", http.MethodPut, finding, `{"id":"x","component":"pkg:golang/golang.org/x/net","symbols":[{"package":"golang.org/x/net/html"}]}`, "application/json", 201, ""},
		{"finding as answered", http.MethodPut, finding, `{"id":"x","scope":"file","evidence":{"hits":1}}`, "application/json", 201, ""},
		{"no finding", http.MethodPut, finding, `null`, "application/json", 400, "line 1, column 1: is not an object"},
		{"other id", http.MethodPut, finding, `{"id":"y"}`, "application/json", 400, "id: is not the id in the path"},
		{"unknown member of a finding", http.MethodPut, finding, `{"symbols":[{"function":"f"}]}`, "application/json", 400, `symbols[0]: has an unknown member "function"`},
		{"bad component", http.MethodPut, finding, `{"component":"net/http"}`, "application/json", 400, "component"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, test.target, strings.NewReader(test.body))
			if test.contentType != "" {
				r.Header.Set("Content-Type", test.contentType)
			}
			w := s.send(r)
			require.Equal(t, test.want, w.Code, w.Body)
			if test.want >= 400 {
				assert.Contains(t, detail(t, w), test.detail)
			}
		})
	}
	for _, key := range []string{"", strings.Repeat("k", 256), "a\tb", "é"} {
		r := httptest.NewRequest(http.MethodPost, traces, strings.NewReader(`{"traces":[]}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)
		assert.Equal(t, http.StatusBadRequest, s.send(r).Code)
	}
}

func TestHostAndOrigin(t *testing.T) {
	s := newServer(t, none.Storage{})
	for _, test := range []struct {
		name, host, origin string
		local              bool
		want               int
	}{
		{"localhost", "localhost:8686", "", true, 200},
		{"upper case", "LOCALHOST:8686", "", true, 200},
		{"IPv4", "127.0.0.1:8686", "", true, 200},
		{"IPv6", "[::1]:8686", "", true, 200},
		{"IPv6 without port", "[::1]", "", true, 200},
		{"rebinding", "evil.example:8686", "", true, 403},
		{"prefix", "localhost.evil.example", "", true, 403},
		{"another host for all", "witness.example", "", false, 200},
		{"own origin", "localhost:8686", "http://localhost:8686", true, 200},
		{"another port", "localhost:8686", "http://localhost:3000", true, 403},
		{"another origin", "witness.example", "https://evil.example", false, 403},
		{"null origin", "localhost:8686", "null", true, 403},
		{"another scheme", "localhost:8686", "file://localhost:8686", true, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			var hosts []string
			if test.local {
				hosts = []string{"localhost", "127.0.0.1", "::1"}
			}
			r := httptest.NewRequest(http.MethodGet, "/api/v1/findings", nil)
			r.Host = test.host
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			w := httptest.NewRecorder()
			s.api.guard(http.HandlerFunc(s.api.serve), hosts, nil).ServeHTTP(w, r)
			conforms(t, r, w)
			assert.Equal(t, test.want, w.Code)
			assert.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
		})
	}
}

// broken is a storage that fails.
type broken struct {
	none.Storage
	err    error
	panics any
}

func (b broken) fail() error {
	if b.panics != nil {
		panic(b.panics)
	}
	return b.err
}

func (b broken) Findings(context.Context, string, storage.FindingQuery) (storage.FindingPage, error) {
	return storage.FindingPage{}, b.fail()
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		name  string
		store broken
		want  int
	}{
		{"storage", broken{err: errors.New("secret path")}, http.StatusServiceUnavailable},
		{"closed", broken{err: storage.ErrClosed}, http.StatusServiceUnavailable},
		{"panic", broken{panics: "secret value"}, http.StatusInternalServerError},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, test.store)
			w := s.call(http.MethodGet, "/api/v1/findings", "")
			assert.Equal(t, test.want, w.Code)
			assert.NotContains(t, w.Body.String(), "secret")
			require.Equal(t, 1, s.logs.FilterLevelExact(zap.ErrorLevel).Len())
			if test.store.panics != nil {
				for _, field := range s.logs.All()[0].Context {
					assert.NotContains(t, field.String, "secret")
				}
			}
		})
	}
	t.Run("abort", func(t *testing.T) {
		s := newServer(t, broken{panics: http.ErrAbortHandler})
		assert.Panics(t, func() { s.call(http.MethodGet, "/api/v1/findings", "") })
	})
}

func TestMetricsAndAudit(t *testing.T) {
	s := newServer(t, none.Storage{})
	s.post("secret-id", `{"traces":[{"kind":"no"},{"kind":"exec","module":"/usr/bin/app"}]}`)
	s.call(http.MethodGet, "/api/v1/findings/secret-id?x=1", "")
	s.call(http.MethodGet, "/nowhere/secret", "")

	requests, err := s.telemetry.GetMetric("otelcol_witness_query_requests")
	require.NoError(t, err)
	got := map[string]int64{}
	for _, point := range requests.Data.(metricdata.Sum[int64]).DataPoints {
		route, _ := point.Attributes.Value("route")
		class, _ := point.Attributes.Value("class")
		got[route.AsString()+" "+class.AsString()] = point.Value
	}
	assert.Equal(t, map[string]int64{
		"/api/v1/findings/{findingId}/runtime/traces 2xx": 1, "/api/v1/findings/{findingId} 4xx": 1, "none 4xx": 1,
	}, got)
	metadatatest.AssertEqualWitnessQueryAcceptedTraces(t, s.telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualWitnessQueryRejectedTraces(t, s.telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualWitnessQueryStoredObservations(t, s.telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())

	writes := s.logs.FilterMessage("write").All()
	require.Len(t, writes, 1)
	logged := writes[0].ContextMap()
	assert.Regexp(t, "^h:[0-9a-f]{16}$", logged["finding"])
	delete(logged, "finding")
	assert.Equal(t, map[string]any{
		"method": "POST", "route": "/api/v1/findings/{findingId}/runtime/traces", "status": int64(202), "authenticated": false,
		"accepted": int64(1), "observations": int64(0), "duplicates": int64(0), "rejected": int64(1),
	}, logged)
}

// The lines of one caller, tenant and finding can be told from those of others, and none of them says who or what it is.
func TestAuditTellsWhoByPseudonym(t *testing.T) {
	s := newServer(t, none.Storage{})
	s.api.access.roles = RolesConfig{Claim: "subject", Write: []string{"ann", "bob", "h:0123456789abcdef"}}
	line := func(tenant, name, method, target, body string) map[string]any {
		t.Helper()
		s.logs.TakeAll()
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if name != "" {
			r = as(r, tenant, name)
		}
		s.send(r)
		writes := s.logs.FilterMessage("write").All()
		require.Len(t, writes, 1)
		logged := writes[0].ContextMap()
		for field, value := range logged {
			for _, secret := range []string{"ann", "bob", "mallory", "secret", "h:0123456789abcdef"} {
				assert.NotContains(t, fmt.Sprint(value), secret, field)
			}
		}
		return logged
	}
	const x, y = "/api/v1/findings/secret-x", "/api/v1/findings/secret%2Fy"
	ann := line("secret", "ann", http.MethodPut, x, `{}`)
	for _, field := range []string{"tenant", "principal", "finding"} {
		assert.Regexp(t, "^h:[0-9a-f]{16}$", ann[field], field)
	}
	assert.NotEqual(t, ann["tenant"], ann["finding"])
	for _, test := range []struct {
		name, tenant, caller, method, target, body string
		status                                     int
		same, other, absent                        []string
	}{
		{"again", "secret", "ann", http.MethodDelete, x, "", 204, []string{"tenant", "principal", "finding"}, nil, nil},
		{"somebody else", "secret", "bob", http.MethodPut, x, `{}`, 201, []string{"tenant", "finding"}, []string{"principal"}, nil},
		{"another tenant", "secret2", "ann", http.MethodPut, x, `{}`, 201, []string{"principal", "finding"}, []string{"tenant"}, nil},
		{"another finding", "secret", "ann", http.MethodPut, y, `{}`, 201, []string{"principal", "tenant"}, []string{"finding"}, nil},
		{"named as a pseudonym", "secret", "h:0123456789abcdef", http.MethodPut, x, `{}`, 201, []string{"tenant"}, []string{"principal"}, nil},
		{"refused", "secret", "mallory", http.MethodPut, x, `{}`, 403, []string{"tenant", "finding"}, []string{"principal"}, nil},
		{"not authenticated", "", "", http.MethodPut, x, `{}`, 403, []string{"finding"}, nil, []string{"tenant", "principal"}},
		{"import", "secret", "ann", http.MethodPost, "/api/v1/findings:import?scope=secret", `{"findings":[]}`, 202, []string{"tenant", "principal"}, []string{"scope"}, []string{"finding"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := line(test.tenant, test.caller, test.method, test.target, test.body)
			assert.Equal(t, int64(test.status), got["status"])
			for _, field := range test.same {
				assert.Equal(t, ann[field], got[field], field)
			}
			for _, field := range test.other {
				assert.NotEqual(t, ann[field], got[field], field)
				assert.Regexp(t, "^h:[0-9a-f]{16}$", got[field], field)
			}
			for _, field := range test.absent {
				assert.NotContains(t, got, field)
			}
		})
	}
}

type principal map[string]string

func (p principal) GetAttribute(name string) any { return p[name] }
func (principal) GetAttributeNames() []string    { return nil }

// as is a request of an authenticated principal.
func as(r *http.Request, tenant, name string) *http.Request {
	return r.WithContext(client.NewContext(r.Context(), client.Info{Auth: principal{"tenant": tenant, "subject": name}}))
}
