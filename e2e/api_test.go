//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/client"
)

const (
	finding = "GO-2023-1988"
	traces  = "/api/v1/findings/" + finding + "/runtime/traces"
)

// trace is a posted trace of golang.org/x/net/html at a time.
func trace(at time.Time, hits int) object {
	return object{
		"kind": "call", "hits": hits,
		"firstSeen": at.UTC().Format(time.RFC3339Nano), "lastSeen": at.UTC().Format(time.RFC3339Nano),
		"vulnerableFunction": "golang.org/x/net/html.(*Tokenizer).Next",
		"frames": []object{
			{"symbol": "golang.org/x/net/html.(*Tokenizer).Next", "language": "go", "module": "/usr/bin/app",
				"buildId": "c0b9959017cf64b03131964573944fc729553ea7", "offset": "0x1234", "file": "/home/alice/app/x.go", "line": 12},
			{"symbol": "example.com/app/web.(*Server).handle.func1", "language": "go", "module": "/usr/bin/app",
				"buildId": "c0b9959017cf64b03131964573944fc729553ea7", "offset": "0x4321"},
			{"symbol": "main.main", "language": "go", "module": "/usr/bin/app", "buildId": "c0b9959017cf64b03131964573944fc729553ea7"},
		},
		"artifact":  object{"purl": "pkg:golang/example.com/app@v1.2.3", "digest": "sha256:" + strings.Repeat("ab", 32), "revision": strings.Repeat("0c", 20)},
		"container": object{"id": strings.Repeat("5e", 32), "name": "web", "image": "registry.example/app@sha256:" + strings.Repeat("cd", 32)},
		"host":      "node-1",
	}
}

func (c *collector) post(path string, status int, body any, headers ...string) object {
	c.t.Helper()
	got, answer := c.call(http.MethodPost, path, body, headers...)
	require.Equal(c.t, status, got, "%v", answer)
	return answer
}

func gateway(t *testing.T) *collector {
	return newCollector(t, nil, "gateway.yaml").start()
}

func TestPostedTraceIsPersistedAndQueryable(t *testing.T) {
	c := gateway(t)
	now := time.Now()
	answer := c.post(traces, http.StatusAccepted, object{"traces": []object{trace(now, 3)}})
	assert.EqualValues(t, 1, answer["accepted"])
	assert.EqualValues(t, 1, answer["stored"])
	check := func() {
		got, err := c.api().Traces(t.Context(), finding, client.TracesQuery{})
		require.NoError(t, err)
		require.Len(t, got.Traces, 1)
		assert.EqualValues(t, 3, got.Summary.TotalHits)
		assert.EqualValues(t, 3, got.Summary.ByKind.Call)
		assert.EqualValues(t, 3, got.Summary.ByAssurance.Asserted)
		one := got.Traces[0]
		assert.Equal(t, client.Call, one.Kind)
		assert.Equal(t, "golang.org/x/net/html.Tokenizer.Next", *one.VulnerableFunction)
		require.Len(t, one.Frames, 3)
		assert.Equal(t, "golang.org/x/net/html.Tokenizer.Next", one.Frames[0].Symbol)
		assert.True(t, one.Frames[2].EntryPoint)
	}
	check()
	t.Run("after a restart", func(t *testing.T) {
		c.stop()
		c.start()
		check()
	})
	t.Run("after kill -9 right behind the 202", func(t *testing.T) {
		for hits := 3; hits < 8; hits++ {
			c.post(traces, http.StatusAccepted, object{"traces": []object{trace(now, 1)}}, "Idempotency-Key", fmt.Sprint(hits))
			c.kill()
			c.start()
			assert.EqualValues(t, hits+1, number(c.get(traces), "summary", "totalHits"))
		}
	})
}

func TestTraceCorrelatedToBuildArtifactShowsLinkageInTheTimeline(t *testing.T) {
	c := gateway(t)
	now := time.Now().UTC()
	posted := trace(now, 2)
	posted["frames"] = append([]object{{"symbol": "example.com/app/web.Parse", "language": "go", "module": "/usr/bin/app"}}, posted["frames"].([]object)...)
	posted["vulnerableFunction"] = "example.com/app/web.Parse"
	c.post(traces, http.StatusAccepted, object{"traces": []object{posted}})
	query := client.TimelineQuery{From: now.Add(-10 * time.Minute), To: now.Add(3 * time.Minute), Bucket: "1m"}
	timeline, err := c.api().Timeline(t.Context(), finding, query)
	require.NoError(t, err)
	found := 0
	for _, bucket := range timeline.Buckets {
		for _, item := range bucket.Items {
			found++
			assert.Equal(t, client.Artifact{
				PURL: "pkg:golang/example.com/app@v1.2.3", Digest: "sha256:" + strings.Repeat("ab", 32), Revision: strings.Repeat("0c", 20),
				IdentityMethod: "asserted",
			}, item.Artifact)
			assert.Equal(t, "pkg:golang/example.com/app@v1.2.3", *item.Component)
			assert.Equal(t, "asserted", *item.IdentityMethod)
		}
	}
	assert.Equal(t, 1, found)
	assert.Empty(t, timeline.Releases, "one artifact is no change")
	posted["artifact"] = object{"purl": "pkg:golang/example.com/app@v1.2.4"}
	posted["lastSeen"] = now.Add(time.Minute).Format(time.RFC3339Nano)
	c.post(traces, http.StatusAccepted, object{"traces": []object{posted}})
	timeline, err = c.api().Timeline(t.Context(), finding, query)
	require.NoError(t, err)
	assert.Len(t, timeline.Releases, 1, "another version is a release")
}

func TestRawAddressesComeBackCanonicalized(t *testing.T) {
	c := gateway(t)
	posted := trace(time.Now(), 1)
	posted["frames"] = []object{
		{"symbol": "golang.org/x/net/html.(*Tokenizer).Next", "language": "go", "module": "/usr/bin/app", "file": "/home/alice/src/0x7ffd1c2b3a40/x.go", "offset": "0x1234"},
		{"symbol": "0x7ffd1c2b3a40", "language": "c", "module": "/usr/lib/x86_64-linux-gnu/libc.so.6", "offset": "0x10a7e0"},
		{"symbol": "ffffffff81a3c2f0", "language": "c", "module": "/proc/4242/root/usr/bin/x", "offset": "0xff2cb4ee8347a700"},
		{"symbol": "do_it+0x1f/0x40 [7f12ab34c000-7f12ab35d000]", "language": "c", "module": "/memfd:secret (deleted)", "file": "/root/0xffff888100123400"},
	}
	c.post(traces, http.StatusAccepted, object{"traces": []object{posted}})
	got := c.get(traces)
	text, err := json.Marshal(got)
	require.NoError(t, err)
	for _, secret := range []string{"7ffd1c2b3a40", "ffffffff81a3c2f0", "ff2cb4ee8347a700", "7f12ab34c000", "ffff888100123400", "alice", "4242"} {
		assert.NotContains(t, strings.ToLower(string(text)), secret)
	}
	assert.Equal(t, "golang.org/x/net/html.Tokenizer.Next", at(got, "traces", 0, "frames", 0, "symbol"))
	assert.Equal(t, "0x10a7e0", at(got, "traces", 0, "frames", 1, "offset"), "a file offset is evidence and stays")
	assert.NotContains(t, c.logText(), "alice")
}

func TestRepeatedObservationsAddUpAndRedeliveryAddsNothing(t *testing.T) {
	c := gateway(t)
	now := time.Now()
	hits := func() uint64 {
		got, err := c.api().Traces(t.Context(), finding, client.TracesQuery{})
		require.NoError(t, err)
		return got.Summary.TotalHits
	}
	body := object{"traces": []object{trace(now, 3)}}

	c.post(traces, http.StatusAccepted, body, "Idempotency-Key", "one")
	c.post(traces, http.StatusAccepted, body, "Idempotency-Key", "two")
	assert.EqualValues(t, 6, hits(), "repeated observations of one symbol are one trace with more hits")
	require.Len(t, list(c.get(traces), "traces"), 1)

	again := c.post(traces, http.StatusAccepted, body, "Idempotency-Key", "two")
	assert.EqualValues(t, 0, again["stored"])
	assert.EqualValues(t, 6, hits(), "a redelivered POST adds nothing")
	c.post(traces, http.StatusUnprocessableEntity, object{"traces": []object{trace(now, 4)}}, "Idempotency-Key", "two")
	assert.EqualValues(t, 6, hits())

	c.post(traces, http.StatusAccepted, body)
	c.post(traces, http.StatusAccepted, body)
	assert.EqualValues(t, 9, hits(), "without a key, content that carries times is its own key")
	c.stop()
	c.start()
	c.post(traces, http.StatusAccepted, body)
	assert.EqualValues(t, 9, hits(), "and stays so after a restart")

	c.post(traces, http.StatusAccepted, object{"traces": []object{trace(now, 1), trace(now, 1)}}, "Idempotency-Key", "three")
	assert.EqualValues(t, 11, hits(), "equal traces in one body add up")
}

// everyCall is each read of the API for a finding, and each list.
func everyCall(finding string) []string {
	base := "/api/v1/findings/" + finding
	return []string{
		base + "/runtime/traces", base + "/runtime/timeline", base + "/runtime/score", base + "/runtime/coverage",
		"/api/v1/findings", "/api/v1/symbols/hot", "/api/v1/watchlist", "/api/v1/openapi.json", base,
	}
}

func TestDisabledModeAnswersEmpty(t *testing.T) {
	c := newCollector(t, nil, "disabled.yaml").start()
	answer := c.post(traces, http.StatusAccepted, object{"traces": []object{trace(time.Now(), 1)}})
	assert.EqualValues(t, 1, answer["accepted"])
	assert.EqualValues(t, 0, answer["stored"])
	for _, path := range everyCall("GO-2023-1988") {
		c.get(path)
	}
	got := c.get(traces)
	assert.Equal(t, false, at(got, "collection", "active"))
	assert.Empty(t, list(got, "traces"))
	assert.EqualValues(t, 0, number(got, "summary", "totalHits"))
	c.post(traces, http.StatusBadRequest, object{"traces": []object{{"surprise": 1}}})
	status, _ := c.call(http.MethodPut, "/api/v1/findings/X-1", object{"component": "pkg:golang/example.com/x"})
	assert.Less(t, status, 300)
	c.sendLogs(aCall(time.Now(), 1))
	for name := range map[string]bool{"witness.db": true} {
		assert.NoFileExists(t, c.env["WITNESS_DATA_DIR"]+"/"+name)
	}
}

func TestReceiversLeftOutOfPipelinesStillServeStoredEvidence(t *testing.T) {
	c := gateway(t)
	c.post(traces, http.StatusAccepted, object{"traces": []object{trace(time.Now(), 3)}})
	c.stop()
	// The agent's YAML, with the tetragon receiver taken out of its pipeline and OTLP in its place.
	c.configs = append([]string{"../config/agent.yaml", "yaml:receivers::otlp::protocols::http::endpoint: " + c.env["WITNESS_OTLP_HTTP_ENDPOINT"],
		"yaml:service::pipelines::logs::receivers: [otlp]"}, c.configs[1:]...)
	c.start()
	for _, path := range everyCall("GO-2023-1988") {
		c.get(path)
	}
	got := c.get(traces)
	assert.Equal(t, false, at(got, "collection", "active"))
	assert.EqualValues(t, 3, number(got, "summary", "totalHits"))
	c.post(traces, http.StatusAccepted, object{"traces": []object{trace(time.Now(), 2)}}, "Idempotency-Key", "k")
	assert.EqualValues(t, 5, number(c.get(traces), "summary", "totalHits"))
}

func TestTimelineIsChronologicalAndAddsUp(t *testing.T) {
	c := gateway(t)
	start := time.Now().UTC().Truncate(time.Hour).Add(-6 * time.Hour)
	total := 0
	for i := range 40 {
		hits := i%5 + 1
		total += hits
		c.post(traces, http.StatusAccepted, object{"traces": []object{trace(start.Add(time.Duration(i)*7*time.Minute), hits)}})
	}
	for _, bucket := range []struct {
		name   string
		length time.Duration
	}{{"1m", time.Minute}, {"5m", 5 * time.Minute}, {"1h", time.Hour}, {"1d", 24 * time.Hour}} {
		t.Run(bucket.name, func(t *testing.T) {
			to := start.Add(5 * time.Hour)
			timeline, err := c.api().Timeline(t.Context(), finding, client.TimelineQuery{From: start, To: to, Bucket: bucket.name})
			require.NoError(t, err)
			require.NotEmpty(t, timeline.Buckets)
			all := func(hits client.KindHits) uint64 { return hits.Exec + hits.Load + hits.Sample + hits.Call }
			sum, items := uint64(0), uint64(0)
			var previous time.Time
			for _, b := range timeline.Buckets {
				if !previous.IsZero() {
					assert.Equal(t, previous.Add(bucket.length), b.Start, "chronological, without a hole")
				}
				assert.Equal(t, b.Start, b.Start.Truncate(bucket.length), "aligned in UTC")
				previous = b.Start
				sum += all(b.Hits)
				for _, item := range b.Items {
					assert.Equal(t, "pkg:golang/example.com/app@v1.2.3", item.Artifact.PURL)
					items += all(item.Hits)
				}
			}
			assert.EqualValues(t, total, sum)
			assert.EqualValues(t, total, items, "the items of the buckets add up too")
		})
	}
	assert.EqualValues(t, total, number(c.get(traces), "summary", "totalHits"))
}

func TestBadRequestsGetAClearProblem(t *testing.T) {
	c := gateway(t)
	good := object{"traces": []object{trace(time.Now(), 1)}}
	c.post(traces, http.StatusAccepted, good)
	text, err := json.Marshal(good)
	require.NoError(t, err)
	tests := map[string]struct {
		method, path, contentType string
		body                      any
		status                    int
		says                      string
	}{
		"truncated JSON":         {"POST", traces, "application/json", string(text[:len(text)/2]), 400, ""},
		"no JSON":                {"POST", traces, "application/json", "hello", 400, ""},
		"two documents":          {"POST", traces, "application/json", string(text) + string(text), 400, ""},
		"wrong content type":     {"POST", traces, "text/plain", string(text), 415, "application/json"},
		"unknown member":         {"POST", traces, "application/json", `{"traces":[{"kind":"call","surprise":1}]}`, 400, "surprise"},
		"body over the limit":    {"POST", traces, "application/json", `{"traces":[` + strings.Repeat(" ", 8<<20) + `]}`, 413, ""},
		"from is no time":        {"GET", traces + "?from=yesterday", "", nil, 400, "from"},
		"from after to":          {"GET", traces + "?from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "", nil, 400, "from"},
		"unknown parameter":      {"GET", traces + "?colour=red", "", nil, 400, "colour"},
		"unknown kind":           {"GET", traces + "?kind=proof", "", nil, 400, "kind"},
		"unknown sort":           {"GET", traces + "?sort=colour", "", nil, 400, "sort"},
		"limit out of range":     {"GET", traces + "?limit=0", "", nil, 400, "limit"},
		"cursor that is none":    {"GET", traces + "?cursor=AAAA", "", nil, 400, "cursor"},
		"too many buckets":       {"GET", "/api/v1/findings/GO-2023-1988/runtime/timeline?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&bucket=1m", "", nil, 400, "bucket"},
		"unknown finding":        {"GET", "/api/v1/findings/NOPE-1/runtime/traces", "", nil, 404, ""},
		"unknown path":           {"GET", "/api/v2/findings", "", nil, 404, ""},
		"a method that is none":  {"PATCH", traces, "application/json", "{}", 405, ""},
		"control characters":     {"GET", "/api/v1/findings/a%00b/runtime/traces", "", nil, 400, ""},
		"bad UTF-8 in an id":     {"GET", "/api/v1/findings/%ff%fe/runtime/traces", "", nil, 400, ""},
		"a finding id too long":  {"GET", "/api/v1/findings/" + strings.Repeat("x", 600) + "/runtime/traces", "", nil, 400, ""},
		"a finding that is none": {"PUT", "/api/v1/findings/F-1", "application/json", `{"component":"not a purl"}`, 400, "component"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			headers := []string{}
			if test.contentType != "" {
				headers = []string{"Content-Type", test.contentType}
			}
			status, problem := c.call(test.method, test.path, test.body, headers...)
			assert.Equal(t, test.status, status, "%v", problem)
			assert.EqualValues(t, test.status, problem["status"], "an RFC 9457 problem")
			assert.Contains(t, fmt.Sprint(problem["detail"], problem["errors"], problem["title"]), test.says)
		})
	}
	t.Run("one bad trace loses no other", func(t *testing.T) {
		bad := trace(time.Now(), 1)
		bad["lastSeen"] = "2099-01-01T00:00:00Z"
		answer := c.post(traces, http.StatusAccepted, object{"traces": []object{bad, trace(time.Now(), 1), {"kind": "call"}}}, "Idempotency-Key", "mixed")
		assert.EqualValues(t, 1, answer["accepted"])
		require.Len(t, list(answer, "rejected"), 2)
		assert.EqualValues(t, 0, at(answer, "rejected", 0, "index"))
		assert.EqualValues(t, 2, at(answer, "rejected", 1, "index"))
	})
	t.Run("odd characters in a finding id", func(t *testing.T) {
		for _, id := range []string{"CVE-2026-1%2Fpkg%3Agolang%2Fx", "a%20b", "%C3%A9%2B%25", "a:b@c", "..%2F..%2Fetc", "a+b"} {
			path := "/api/v1/findings/" + id + "/runtime/traces"
			status, _ := c.call(http.MethodGet, path, nil)
			require.Equal(t, http.StatusNotFound, status)
			c.post(path, http.StatusAccepted, good)
			assert.Len(t, list(c.get(path), "traces"), 1, id)
		}
	})
	assert.NotContains(t, c.logText(), "panic")
}

func TestABadDatabaseOrEnvironmentIsAClearError(t *testing.T) {
	fails := func(t *testing.T, c *collector, says string) {
		c.launch()
		select {
		case <-c.exited:
		case <-time.After(60 * time.Second):
			require.FailNow(t, "it started")
		}
		assert.True(t, strings.Contains(c.logText(), says), "the log does not say %q", says)
		assert.NotContains(t, c.logText(), "panic")
	}
	t.Run("a file that is no database", func(t *testing.T) {
		c := newCollector(t, nil, "gateway.yaml")
		content := strings.Repeat("this is not a database ", 100)
		writeFile(t, c.env["WITNESS_DATA_DIR"]+"/witness.db", content)
		fails(t, c, "not a witness database")
		assert.Equal(t, content, readFile(t, c.env["WITNESS_DATA_DIR"]+"/witness.db"), "left as it is")
	})
	for _, name := range []string{"WITNESS_API_ENDPOINT", "WITNESS_DATA_DIR", "WITNESS_WINDOW"} {
		t.Run(name+" set but empty", func(t *testing.T) {
			fails(t, newCollector(t, map[string]string{name: ""}, "gateway.yaml"), "invalid configuration")
		})
	}
	t.Run("WITNESS_FINDINGS set but empty is no findings", func(t *testing.T) {
		newCollector(t, map[string]string{"WITNESS_FINDINGS": ""}, "gateway.yaml").start()
	})
	t.Run("a second collector in the same directory", func(t *testing.T) {
		first := gateway(t)
		second := newCollector(t, map[string]string{"WITNESS_DATA_DIR": first.env["WITNESS_DATA_DIR"]}, "gateway.yaml")
		fails(t, second, "another collector uses it")
	})
	t.Run("OTLP for everybody without authentication", func(t *testing.T) {
		for _, endpoint := range []string{"", "0.0.0.0:0"} {
			fails(t, newCollector(t, map[string]string{"WITNESS_OTLP_HTTP_ENDPOINT": endpoint}, "gateway.yaml"), "receivers::otlp::protocols::http::endpoint: others can reach it")
		}
	})
	t.Run("an API for everybody without authentication", func(t *testing.T) {
		fails(t, newCollector(t, map[string]string{"WITNESS_API_ENDPOINT": "0.0.0.0:0"}, "gateway.yaml"), "allow_insecure")
	})
}
