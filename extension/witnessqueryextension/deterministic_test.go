package witnessqueryextension

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/snapshot"
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
		if i%5 == 4 {
			o.Witness.Workload.Image = "sha256:" + strings.Repeat("b", 64)
		}
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

// sceneContainment is what processes of the scene could reach, some of it told more than once.
func sceneContainment() (all []witness.Containment) {
	for i := range 12 {
		seccomp := []string{"disabled", "filter", "strict"}[i%3]
		all = append(all, witness.Containment{
			Workload: witness.Workload{Namespace: "shop", Controller: fmt.Sprintf("deployment/w%d", i%3), Container: "web", Image: digest},
			Instance: witness.Instance{Host: fmt.Sprintf("node-%d", i%2), Container: fmt.Sprintf("c%d", i%5)}, Origin: witness.OriginWorkload,
			Executable: witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"},
			Signals: []witness.Signal{
				{Name: witness.SignalSeccomp, Values: []string{seccomp}, Source: witness.SourceProc, Assurance: witness.Measured, ObservedAt: then.Add(-time.Duration(i/4) * time.Hour)},
				{Name: witness.SignalUser, Values: []string{"root-host"}, Source: witness.SourceTetragon, Assurance: witness.Measured, ObservedAt: then.Add(-time.Hour)},
			},
		})
	}
	return all
}

// sceneKey signs the snapshots of scenes: Ed25519, whose signatures are the same for the same document.
func sceneKey(t testing.TB) configopaque.String {
	key, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789abcdef")))
	require.NoError(t, err)
	return configopaque.String(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

// newStage is a server on an empty database, whose time stands still.
func newStage(t testing.TB) *server {
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s := newServer(t, store)
	s.api.deterministic = true
	s.api.document, err = withNow(openAPI)
	require.NoError(t, err)
	s.api.now = func() time.Time { return then }
	rules := canon.NewDefaultConfig()
	s.api.snapshots, err = newSnapshots(&SnapshotsConfig{SigningKey: sceneKey(t)}, &rules, "v0.0.0-test")
	require.NoError(t, err)
	return s
}

// newScene is a server on a database that the scene was written to in an order of the seed. Then a finding is imported and
// snapshots are made.
func newScene(t testing.TB, seed uint64) *server {
	s := newStage(t)
	store := s.api.store
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
	containment := sceneContainment()
	for i := range containment {
		steps = append(steps, func() {
			_, err := store.WriteContainment(t.Context(), storage.Principal{}, containment[i:i+1])
			require.NoError(t, err)
		})
	}
	random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
	}
	s.importDocument(importPath, "application/json", `{"findings":[{"id":"imported","component":"pkg:golang/golang.org/x/net"},{"id":"no","component":"x"}]}`)
	for _, hour := range []int{-1, 0} {
		w := s.call(http.MethodPost, path("GO-2023-1988", "snapshots?now="+then.Add(time.Duration(hour)*time.Hour).Format(time.RFC3339)), "")
		require.Equal(t, http.StatusCreated, w.Code, w.Body)
	}
	return s
}

// resources are values of the parameters in paths, by name, of what there is in a scene. The first value of each leads to
// something.
func (s *server) resources() map[string][]string {
	s.Helper()
	found := map[string][]string{
		"findingId": {"GO-2023-1988", "a/b %", "silent", "c", "named", "imported", "nobody"},
		"importId":  {s.api.imports.jobs[0].snapshot().ID},
	}
	page, err := s.api.store.Snapshots(s.Context(), "", "GO-2023-1988", storage.SnapshotQuery{})
	require.NoError(s, err)
	for i := range page.Snapshots {
		d, err := snapshot.Parse(page.Snapshots[i].Document)
		require.NoError(s, err)
		found["sha256"] = append(found["sha256"], d.SnapshotID)
		for _, in := range d.Inputs {
			found["digest"] = append(found["digest"], in.SHA256)
		}
	}
	return found
}

// samples are values of the parameters of queries, by name; those of sort also by route.
var samples = map[string][]string{
	"from": {"2026-11-22T08:30:00Z"}, "to": {"2026-11-22T10:30:00Z"}, "kind": {"call", "sample,exec"}, "minConfidence": {"0.5"},
	"assurance": {"measured", "asserted"}, "sort": {"id", "hits", "recent"}, "sort /api/v1/findings": {"id", "score", "hits", "recent"},
	"limit": {"1", "1000"}, "bucket": {"5m", "1d"}, "by": {"image", "workload", "host"}, "format": {"json", "dsse"},
	"component": {"pkg:golang/golang.org/x/net"}, "artifact": {"pkg:golang/example.com/app@v1.0.0"}, "digest": {digest},
	"namespace": {"shop"}, "controller": {"deployment/w1"}, "container": {"web"}, "image": {digest}, "host": {"node-1"},
	"band": {"weak", "witnessed,likely"}, "observed": {"true", "false"}, "changedSince": {"2026-11-22T11:00:00Z", "2200-01-01T00:00:00Z"},
}

// variants are targets of a route, with each value of the samples alone.
func (s *server) variants(route *route) []string {
	s.Helper()
	bases := []string{route.template}
	for name, values := range s.resources() {
		var filled []string
		for _, base := range bases {
			if !strings.Contains(base, "{"+name+"}") {
				filled = append(filled, base)
				continue
			}
			for _, value := range values {
				filled = append(filled, strings.ReplaceAll(base, "{"+name+"}", url.PathEscape(value)))
			}
		}
		bases = filled
	}
	slices.Sort(bases) // the same in every scene, but for the ids of imports
	now := "now=" + then.Format(time.RFC3339)
	var targets []string
	for _, base := range bases {
		targets = append(targets, base+"?"+now)
		for _, name := range route.parameters {
			if name == "cursor" {
				continue // those of the answers are followed
			}
			values := samples[name+" "+route.template]
			if values == nil {
				values = samples[name]
			}
			require.NotEmpty(s, values, "no sample of %s, a parameter of %s", name, route.template)
			for _, value := range values {
				targets = append(targets, base+"?"+now+"&"+name+"="+url.QueryEscape(value))
			}
		}
	}
	return targets
}

// filled is what is in an answer of each route that reads when there is something to read.
var filled = map[string]string{
	"/api/v1/findings":                              `"observed":true`,
	"/api/v1/findings/{findingId}":                  `"observed":true`,
	"/api/v1/findings/{findingId}/assets":           `"observed":true`,
	"/api/v1/findings/{findingId}/runtime/traces":   `"frames":[{`,
	"/api/v1/findings/{findingId}/runtime/timeline": `"items":[{`,
	"/api/v1/findings/{findingId}/runtime/score":    `"parts":[{`,
	"/api/v1/findings/{findingId}/runtime/coverage": `"sources":[{`,
	"/api/v1/findings/{findingId}/snapshots":        `"snapshots":[{`,
	"/api/v1/snapshots/{sha256}":                    `"payloadType"`,
	"/api/v1/snapshots/{sha256}/inputs/{digest}":    `"subjects":[{`,
	"/api/v1/symbols/hot":                           `"symbols":[{`,
	"/api/v1/watchlist":                             `"symbols":[{`,
	"/api/v1/signals/runtime":                       `"signals":[{`,
	"/api/v1/imports/{importId}":                    `"errors":[{`,
	"/api/v1/openapi.json":                          `"openapi"`,
}

// The same data and the same time give the same bytes: asked twice, and of a database that was filled in another order.
func TestSameDataSameTimeSameBytes(t *testing.T) {
	s, other := newScene(t, 1), newScene(t, 2)
	// The id of an import is random: what one is called here, it is not called there.
	imported := strings.NewReplacer(s.resources()["importId"][0], other.resources()["importId"][0])
	for i := range routes {
		if routes[i].method != http.MethodGet {
			continue
		}
		whole := false
		for _, target := range s.variants(&routes[i]) {
			for page := 0; target != "" && page < 3; page++ {
				first := s.call(http.MethodGet, target, "")
				require.NotContains(t, []int{400, 500, 503}, first.Code, "%s: %s", target, first.Body)
				again := s.call(http.MethodGet, target, "")
				elsewhere := other.call(http.MethodGet, imported.Replace(target), "")
				require.Equal(t, first.Code, elsewhere.Code, target)
				require.Equal(t, first.Body.String(), again.Body.String(), target)
				require.Equal(t, imported.Replace(first.Body.String()), elsewhere.Body.String(), target)
				whole = whole || first.Code == http.StatusOK && strings.Contains(first.Body.String(), filled[routes[i].template])
				var list struct{ NextCursor *string }
				next := ""
				if json.Unmarshal(first.Body.Bytes(), &list) == nil && list.NextCursor != nil {
					next, _, _ = strings.Cut(target, "&cursor=")
					next += "&cursor=" + *list.NextCursor
				}
				target = next
			}
		}
		assert.NotEmpty(t, filled[routes[i].template], routes[i].template)
		assert.True(t, whole, "%s never answers with %s", routes[i].template, filled[routes[i].template])
	}
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
