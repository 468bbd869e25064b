package witnessqueryextension

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var then = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// scene is evidence, coverage and findings of some hours.
func scene() (observations []witness.Observation, coverage []witness.Coverage, findings map[string]string) {
	for i := range 60 {
		o := measured([]string{"golang.org/x/net/html.Render", "golang.org/x/net/html.Parse", "golang.org/x/net/http2.Read"}[i%3], uint64(i*i+1), then.Add(-time.Duration(i*7)*time.Minute))
		o.Source = fmt.Sprintf("agent/%d/tetragon", i%2)
		o.Instance = witness.Instance{Host: fmt.Sprintf("node-%d", i%4), Container: fmt.Sprintf("c%d", i%5)}
		o.Witness.Workload.Controller = fmt.Sprintf("deployment/w%d", i%3)
		o.Artifact.PURL = fmt.Sprintf("pkg:golang/example.com/app@v1.0.%d", i/30)
		if i%7 == 0 {
			o.Assurance, o.Origin = witness.Asserted, witness.OriginUnknown
		}
		if i%4 == 0 {
			o.Witness.Kind, o.FindingIDs = witness.KindSample, []string{"named"}
		}
		o.ID = o.Witness.ID()
		observations = append(observations, o)
	}
	for i := range 20 {
		end := then.Add(-time.Duration(i) * 15 * time.Minute)
		c := witness.Coverage{
			Assurance: witness.Measured, Source: fmt.Sprintf("agent/%d/tetragon", i%2), Signal: "tetragon", Start: end.Add(-15 * time.Minute), End: end,
			Instance: witness.Instance{Host: fmt.Sprintf("node-%d", i%3)},
		}
		switch i % 5 {
		case 3:
			c.LossStage, c.Lost = "ringbuf", uint64(i)
		case 4:
			c.StatusTarget, c.StatusState, c.StatusReason = "probe", "refused", "symbol not found"
		default:
			c.Kinds, c.Interval, c.ProcessesWatched, c.ProcessesSeen = []witness.Kind{witness.KindExec, witness.KindCall}, 15*time.Minute, 7, 9
		}
		coverage = append(coverage, c)
	}
	return observations, coverage, map[string]string{
		"GO-2023-1988": htmlFinding, "a/b %": `{"component":"pkg:golang/golang.org/x/net"}`, "silent": `{"component":"pkg:golang/example.com/other"}`,
		"c": `{"symbols":[{"language":"go","package":"golang.org/x/net/http2","member":"Read"}]}`,
	}
}

// newScene is a server on a database that the scene was written to in an order of the seed.
func newScene(t testing.TB, seed uint64) *server {
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s := newServer(t, store)
	s.api.deterministic = true
	s.api.document, err = withNow(openAPI)
	require.NoError(t, err)
	observations, coverage, findings := scene()
	random := rand.New(rand.NewPCG(seed, 0))
	steps := []func(){}
	for i := range observations {
		steps = append(steps, func() { s.observe(observations[i]) })
	}
	for i := range coverage {
		steps = append(steps, func() {
			require.NoError(t, store.WriteCoverage(t.Context(), storage.Principal{}, coverage[i:i+1]))
		})
	}
	for id, body := range findings {
		steps = append(steps, func() { s.put(id, body) })
	}
	random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
	}
	return s
}

// variants are targets of a route, with each value of the samples alone and two pages of one item.
func variants(route *route) []string {
	samples := map[string][]string{
		"from": {"2026-11-22T08:30:00Z"}, "to": {"2026-11-22T10:30:00Z"}, "kind": {"call", "sample,exec"}, "minConfidence": {"0.5"},
		"assurance": {"measured", "asserted"}, "sort": {"id", "hits", "recent"}, "limit": {"1", "1000"}, "bucket": {"5m", "1d"},
		"component": {"pkg:golang/golang.org/x/net"}, "artifact": {"pkg:golang/example.com/app@v1.0.0"}, "namespace": {"shop"}, "band": {"weak"},
	}
	var bases []string
	for _, id := range []string{"GO-2023-1988", "a/b %", "silent", "c", "named", "nobody"} {
		bases = append(bases, fill(strings.ReplaceAll(route.template, "{findingId}", url.PathEscape(id))))
		if !strings.Contains(route.template, "{findingId}") {
			break
		}
	}
	now := "now=" + then.Format(time.RFC3339)
	var targets []string
	for _, base := range bases {
		targets = append(targets, base+"?"+now)
		for _, name := range route.parameters {
			for _, value := range samples[name] {
				targets = append(targets, base+"?"+now+"&"+name+"="+url.QueryEscape(value))
			}
		}
	}
	return targets
}

// The same data and the same time give the same bytes: asked twice, and of a database that was filled in another order.
func TestSameDataSameTimeSameBytes(t *testing.T) {
	s, other := newScene(t, 1), newScene(t, 2)
	answered := 0
	for i := range routes {
		if routes[i].method != http.MethodGet {
			continue
		}
		for _, target := range variants(&routes[i]) {
			for page := 0; target != "" && page < 3; page++ {
				first := s.call(http.MethodGet, target, "")
				require.NotContains(t, []int{400, 500, 503}, first.Code, "%s: %s", target, first.Body)
				again := s.call(http.MethodGet, target, "")
				elsewhere := other.call(http.MethodGet, target, "")
				require.Equal(t, first.Code, elsewhere.Code, target)
				require.Equal(t, first.Body.String(), again.Body.String(), target)
				require.Equal(t, first.Body.String(), elsewhere.Body.String(), target)
				if first.Code == http.StatusOK {
					answered++
				}
				var list struct{ NextCursor *string }
				next := ""
				if json.Unmarshal(first.Body.Bytes(), &list) == nil && list.NextCursor != nil {
					next, _, _ = strings.Cut(target, "&cursor=")
					next += "&cursor=" + *list.NextCursor
				}
				target = next
			}
		}
	}
	assert.Greater(t, answered, 100)
}

func TestNowIsTheTimeOfTheRequest(t *testing.T) {
	s := newScene(t, 1)
	const traces, score = "/api/v1/findings/GO-2023-1988/runtime/traces", "/api/v1/findings/GO-2023-1988/runtime/score"
	now := "?now=" + then.Format(time.RFC3339)
	seen := get[struct {
		AsOf       time.Time
		Traces     []json.RawMessage
		Collection struct{ Active bool }
	}](s, traces+now)
	assert.Equal(t, then, seen.AsOf)
	assert.NotEmpty(t, seen.Traces, "stored later than that, as a replay is")
	later := "?now=" + then.Add(1000*time.Hour).Format(time.RFC3339)
	assert.Greater(t, get[scored](s, score+now).Score, get[scored](s, score+later).Score)
	for _, value := range []string{"", "now", "2026-11-22", "1969-01-01T00:00:00Z", "2026-11-22T12:00:00Z&now=2026-11-22T12:00:00Z"} {
		w := s.call(http.MethodGet, score+"?now="+value, "")
		assert.Equal(t, http.StatusBadRequest, w.Code, value)
		assert.Contains(t, detail(t, w), "now: ", value)
	}
	w := s.call(http.MethodPut, "/api/v1/findings/x"+now, `{}`)
	assert.Equal(t, http.StatusBadRequest, w.Code, "a write happens when it happens")

	plain := newServer(t, none.Storage{})
	w = plain.call(http.MethodGet, score+now, "")
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Contains(t, detail(t, w), `no query parameter "now"`)
}

func TestDocumentTellsOfNow(t *testing.T) {
	s := newScene(t, 1)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/openapi.json", nil))
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	require.NoError(t, err)
	d := &document{root: parsed.(map[string]any)}
	for i := range routes {
		operation, ok := d.at(d.root, "paths", routes[i].template, strings.ToLower(routes[i].method))
		require.True(t, ok)
		names := parameterNames(d, operation["parameters"])
		if routes[i].takesNow() {
			assert.Contains(t, names, "now", routes[i].template)
		} else {
			assert.NotContains(t, names, "now", routes[i].template)
		}
	}
}
