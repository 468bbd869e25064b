//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/otelcol-witness/otelcol-witness/client"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func writeFile(t *testing.T, path, content string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func readFile(t *testing.T, path string) string {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// capture is the recorded Tetragon export file, line by line.
func capture(t *testing.T) []string {
	file, err := os.Open("../testdata/tetragon/linger.export.jsonl.gz")
	require.NoError(t, err)
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	require.NoError(t, err)
	text, err := io.ReadAll(unzipped)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	return lines[:len(lines)-1] // what is behind the last line's end is nothing
}

// stored is what the database of a stopped collector holds: hits by witness.
func (c *collector) stored() map[string]uint64 {
	ctx := context.Background()
	database, err := sqlite.Open(ctx, sqlite.Options{Path: c.env["WITNESS_DATA_DIR"] + "/witness.db"})
	require.NoError(c.t, err)
	defer database.Close()
	hot, err := database.HotSymbols(ctx, "", storage.HotQuery{Limit: 1000})
	require.NoError(c.t, err)
	filter := storage.Filter{}
	for _, symbol := range hot {
		filter.Subjects = append(filter.Subjects, symbol.Subject.ID)
	}
	hits := map[string]uint64{}
	query := storage.WitnessQuery{Filter: filter, Sort: storage.SortID, Limit: 1000}
	for {
		page, err := database.Witnesses(ctx, "", query)
		require.NoError(c.t, err)
		for _, w := range page.Witnesses {
			hits[fmt.Sprintf("%s %s %s %s (%d callers)", w.ID, w.Witness.Kind, w.Witness.Frame.Symbol, w.Witness.Frame.Module.Key(""), len(w.Witness.Path))] = w.Hits
		}
		if page.Next == nil {
			return hits
		}
		query.After = page.Next
	}
}

// bySymbol adds up what has the same kind and symbol.
func bySymbol(hits map[string]uint64) map[string]uint64 {
	added := map[string]uint64{}
	for name, n := range hits {
		parts := strings.SplitN(name, " ", 4)
		added[parts[1]+" "+parts[2]] += n
	}
	return added
}

// assertSame compares two stores and says where they differ.
func assertSame(t *testing.T, want, got map[string]uint64) {
	t.Helper()
	var differences []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] != got[name] {
			differences = append(differences, fmt.Sprintf("%s: want %d, got %d", name, want[name], got[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			differences = append(differences, fmt.Sprintf("%s: want none, got %d", name, got[name]))
		}
	}
	assert.Empty(t, differences[:min(len(differences), 10)], "%d differences; totals %d and %d", len(differences), sum(want), sum(got))
}

func sum(hits map[string]uint64) (total uint64) {
	for _, n := range hits {
		total += n
	}
	return total
}

// hot is the hits of all symbols that the API knows.
func (c *collector) hot() (total uint64) {
	answer, err := c.api().HotSymbols(context.Background(), client.HotSymbolsQuery{Limit: 1000})
	require.NoError(c.t, err)
	for _, symbol := range answer.Symbols {
		total += symbol.Hits
	}
	return total
}

// settled waits until the hits that the API knows have not changed for a while, and returns them.
func (c *collector) settled() (total uint64) {
	c.t.Helper()
	since := time.Now()
	require.Eventually(c.t, func() bool {
		if now := c.hot(); now != total {
			total, since = now, time.Now()
		}
		return total > 0 && time.Since(since) > 3*time.Second
	}, 90*time.Second, 100*time.Millisecond)
	return total
}

// reaches waits until the API knows that many hits. More than that shows when the store is compared.
func (c *collector) reaches(total uint64) {
	c.t.Helper()
	assert.Eventually(c.t, func() bool { return c.hot() >= total }, 120*time.Second, 100*time.Millisecond, "want %d hits", total)
}

// replayEnded waits until the pipeline has taken the whole file: what is stored then is complete after a stop.
func (c *collector) replayEnded() {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.Contains(c.log.String(), "The replay is at its end") }, 120*time.Second, 50*time.Millisecond)
}

// withoutHost leaves the host itself out: what runs there meanwhile is no part of the test.
const withoutHost = "yaml:service::pipelines::logs::receivers: [tetragon, otlp]"

const flushSoon = "yaml:processors::hot_symbol::flush_interval: 500ms"

// replayed is the evidence of the whole capture: the yardstick of the other ways in.
func replayed(t *testing.T) map[string]uint64 {
	path, err := filepath.Abs("../testdata/tetragon/linger.export.jsonl.gz")
	require.NoError(t, err)
	c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": path, "WITNESS_FINDINGS": ""}, "replay.yaml").start()
	c.replayEnded()
	c.stop()
	hits := c.stored()
	require.Greater(t, len(hits), 100)
	return hits
}

// agent is a Tetragon agent: it streams the capture to whoever asks, once.
type agent struct {
	tetragon.UnimplementedFineGuidanceSensorsServer
	events []*tetragon.GetEventsResponse
	sent   atomic.Bool
}

func (a *agent) GetVersion(context.Context, *tetragon.GetVersionRequest) (*tetragon.GetVersionResponse, error) {
	return &tetragon.GetVersionResponse{Version: "v1.7.1"}, nil
}

func (a *agent) GetEvents(_ *tetragon.GetEventsRequest, stream grpc.ServerStreamingServer[tetragon.GetEventsResponse]) error {
	if a.sent.CompareAndSwap(false, true) {
		for _, event := range a.events {
			if err := stream.Send(event); err != nil {
				return err
			}
		}
	}
	<-stream.Context().Done()
	return nil
}

// serveAgent starts an agent on a unix socket and returns its endpoint.
func serveAgent(t *testing.T, lines []string) string {
	a := &agent{}
	for _, line := range lines {
		event := &tetragon.GetEventsResponse{}
		require.NoError(t, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal([]byte(line), event))
		a.events = append(a.events, event)
	}
	directory, err := os.MkdirTemp("", "agent") // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	socket := directory + "/t.sock"
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	require.NoError(t, err)
	server := grpc.NewServer()
	tetragon.RegisterFineGuidanceSensorsServer(server, a)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return "unix://" + socket
}

func TestTheCaptureGivesTheSameWitnessesEveryWayIn(t *testing.T) {
	lines := capture(t)
	want := replayed(t)
	t.Run("a JSON file that grows", func(t *testing.T) {
		file := t.TempDir() + "/tetragon.log"
		writeFile(t, file, strings.Join(lines[:300], ""))
		c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": file}, "local.yaml", withoutHost, flushSoon).start()
		c.settled()
		appendFile(t, file, strings.Join(lines[300:], ""))
		c.reaches(sum(want))
		c.stop()
		assertSame(t, want, c.stored())
	})
	t.Run("gRPC", func(t *testing.T) {
		c := newCollector(t, map[string]string{"TETRAGON_ENDPOINT": serveAgent(t, lines)}, "agent.yaml", flushSoon).start()
		c.reaches(sum(want))
		c.stop()
		assertSame(t, want, c.stored())
	})
	t.Run("agent to gateway over OTLP", func(t *testing.T) {
		g := gateway(t)
		a := newCollector(t, map[string]string{
			"TETRAGON_ENDPOINT": serveAgent(t, lines), "WITNESS_GATEWAY_ENDPOINT": g.env["WITNESS_OTLP_GRPC_ENDPOINT"],
		}, "agent-gateway.yaml", flushSoon).start()
		g.reaches(sum(want))
		a.stop()
		g.stop()
		assertSame(t, want, g.stored())
	})
}

func appendFile(t *testing.T, path, content string) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(content)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestACrashInTheMiddleOfAWindowGivesExactTotals(t *testing.T) {
	lines := capture(t)
	want := replayed(t)
	file := t.TempDir() + "/tetragon.log"
	writeFile(t, file, "")
	c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": file}, "local.yaml", withoutHost, flushSoon)
	for i := 0; i < len(lines); i += 100 {
		c.start()
		appendFile(t, file, strings.Join(lines[i:min(i+100, len(lines))], ""))
		time.Sleep(time.Duration(i) * time.Millisecond) // at another point of reading, counting and flushing each time
		c.kill()
	}
	c.start()
	c.reaches(sum(want))
	c.stop()
	// Each crash forgets which build-ids Tetragon reported before it, so modules of processes from before it are known by
	// path. The counts of every kind and symbol stand.
	assertSame(t, bySymbol(want), bySymbol(c.stored()))
}

func TestAReloadBetweenRetriesGivesExactTotals(t *testing.T) {
	lines := capture(t)
	want := replayed(t)
	g := newCollector(t, nil, "gateway.yaml")
	a := newCollector(t, map[string]string{
		"TETRAGON_ENDPOINT": serveAgent(t, lines), "WITNESS_GATEWAY_ENDPOINT": g.env["WITNESS_OTLP_GRPC_ENDPOINT"],
	}, "agent-gateway.yaml", flushSoon).start()
	time.Sleep(2 * time.Second) // the gateway is down: the exporter retries
	a.reload()
	time.Sleep(2 * time.Second)
	g.start()
	time.Sleep(time.Second)
	g.kill()
	a.reload()
	g.start()
	g.reaches(sum(want))
	a.stop()
	g.stop()
	assertSame(t, want, g.stored())
}

// aCall is a runtime.call event as a receiver makes it.
func aCall(at time.Time, hits int64) plog.Logs {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(semconv.HostName, "node-1")
	scope := resource.ScopeLogs().AppendEmpty()
	scope.Scope().Attributes().PutStr(semconv.WitnessSource, "0123456789abcdef/1/ebpf")
	record := scope.LogRecords().AppendEmpty()
	record.SetEventName(semconv.EventCall)
	record.SetTimestamp(pcommon.NewTimestampFromTime(at))
	record.Attributes().PutInt(semconv.WitnessHits, hits)
	witness.PutStack(record.Attributes(), witness.Frame{Symbol: "golang.org/x/net/html.(*Tokenizer).Next", Language: "go", Module: witness.Module{Path: "/usr/bin/app"}})
	return logs
}

// sendLogs sends by OTLP over HTTP.
func (c *collector) sendLogs(logs plog.Logs) {
	c.t.Helper()
	body, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	require.NoError(c.t, err)
	response, err := http.Post("http://"+c.env["WITNESS_OTLP_HTTP_ENDPOINT"]+"/v1/logs", "application/x-protobuf", bytes.NewReader(body))
	require.NoError(c.t, err)
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	require.Equal(c.t, http.StatusOK, response.StatusCode, string(text))
}

const htmlFinding = `{"aliases":["CVE-2023-3978"],"component":"pkg:golang/golang.org/x/net","symbols":[{"language":"go","package":"golang.org/x/net/html","member":"Tokenizer.Next"}]}`

func TestALateRewriteOfAWindowGivesExactTotals(t *testing.T) {
	c := newCollector(t, nil, "gateway.yaml", flushSoon).start()
	status, _ := c.call(http.MethodPut, "/api/v1/findings/GO-2023-1988", htmlFinding)
	require.Equal(t, http.StatusCreated, status)
	first := time.Now().UTC().Truncate(time.Minute).Add(-10 * time.Minute)
	total := func() float64 { return number(c.get(traces), "summary", "totalHits") }
	for i, event := range []struct {
		after time.Duration
		hits  int64
		total float64
	}{{0, 2, 2}, {3 * time.Minute, 5, 7}, {30 * time.Second, 1, 8}, {59 * time.Second, 4, 12}, {time.Minute, 1, 13}} {
		c.sendLogs(aCall(first.Add(event.after), event.hits))
		assert.Eventually(t, func() bool { return total() == event.total }, 20*time.Second, 50*time.Millisecond, "event %d: %v", i, total())
	}
	assert.EqualValues(t, 13, number(c.get(traces), "summary", "byAssurance", "asserted"), "events of a sender that nobody knows only assert")
	timeline := c.get(fmt.Sprintf("/api/v1/findings/GO-2023-1988/runtime/timeline?from=%s&to=%s&bucket=1m", first.Format(time.RFC3339), first.Add(4*time.Minute).Format(time.RFC3339)))
	var hits []float64
	for _, bucket := range list(timeline, "buckets") {
		hits = append(hits, number(bucket, "hits", "call"))
	}
	assert.Equal(t, []float64{7, 1, 0, 5}, hits)
}

func TestARedeliveredObservationBatchAddsNothing(t *testing.T) {
	c := gateway(t)
	now := time.Now().UTC()
	w := witness.Witness{Kind: witness.KindCall, Frame: witness.Frame{Package: "golang.org/x/net/html", Member: "Tokenizer.Next", Symbol: "golang.org/x/net/html.Tokenizer.Next", Language: "go", Module: witness.Module{Path: "/usr/bin/app"}}}
	start := witness.AlignWindow(now, time.Minute)
	observation := witness.Observation{
		ID: w.ID(), Witness: w, Source: "0123456789abcdef/1/ebpf", Instance: witness.Instance{Host: "h:0123456789abcdef"}, WindowStart: start, WindowEnd: start.Add(time.Minute),
		Hits: 4, FirstSeen: start, LastSeen: start, Assurance: witness.Measured, Origin: witness.OriginWorkload,
	}
	send := func(o witness.Observation) {
		logs := plog.NewLogs()
		witness.AppendObservations(logs, "test", "", now, []witness.Observation{o})
		c.sendLogs(logs)
	}
	status, _ := c.call(http.MethodPut, "/api/v1/findings/GO-2023-1988", htmlFinding)
	require.Equal(t, http.StatusCreated, status)
	for range 3 {
		send(observation)
	}
	assert.EqualValues(t, 4, number(c.get(traces), "summary", "totalHits"))
	assert.EqualValues(t, 4, number(c.get(traces), "summary", "byAssurance", "asserted"), "an unauthenticated sender only asserts")
	observation.Flush = 1
	send(observation)
	assert.EqualValues(t, 8, number(c.get(traces), "summary", "totalHits"), "another flush adds")
	forged := observation
	forged.Flush, forged.ID[0] = 2, forged.ID[0]^1
	send(forged)
	assert.EqualValues(t, 8, number(c.get(traces), "summary", "totalHits"), "a record whose id is not its own is refused")
}

func TestAFileExporterBesideOursReceivesEveryRecord(t *testing.T) {
	path, err := filepath.Abs("../testdata/tetragon/linger.export.jsonl.gz")
	require.NoError(t, err)
	out := t.TempDir() + "/out.jsonl"
	c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": path, "WITNESS_FINDINGS": ""}, "replay.yaml",
		"yaml:exporters::file::path: "+out, "yaml:service::pipelines::logs::exporters: [witness, file]", "yaml:processors::hot_symbol::events: keep").start()
	c.replayEnded()
	c.stop()
	events, hits := map[string]int{}, uint64(0)
	file, err := os.Open(out)
	require.NoError(t, err)
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(scanner.Bytes())
		require.NoError(t, err)
		for _, resource := range logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					events[record.EventName()]++
					if record.EventName() == semconv.EventObservation {
						o, err := witness.ObservationOf(resource.Resource().Attributes(), record)
						require.NoError(t, err)
						hits += o.Hits
					}
				}
			}
		}
	}
	require.NoError(t, scanner.Err())
	assert.Equal(t, sum(c.stored()), hits, "the observations in the file are those that were stored")
	want := map[string]int{}
	for _, line := range capture(t) {
		var event map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(line), &event))
		for name := range event {
			if strings.HasPrefix(name, "process_") {
				want[name]++
			}
		}
	}
	assert.Equal(t, want["process_exec"], events[semconv.EventExec])
	assert.Equal(t, want["process_exit"], events[semconv.EventExit])
	assert.Equal(t, want["process_loader"], events[semconv.EventLoad])
	assert.Equal(t, want["process_uprobe"]+want["process_usdt"], events[semconv.EventCall])
	assert.Equal(t, want["process_kprobe"]+want["process_lsm"]+want["process_tracepoint"], events[semconv.EventKernel])
}

func TestBadLinesLoseNoNeighbour(t *testing.T) {
	lines := capture(t)
	want := replayed(t)
	var bad strings.Builder
	for i, line := range lines {
		bad.WriteString(line)
		switch i % 40 {
		case 7:
			bad.WriteString("{not json\n")
		case 17:
			bad.WriteString(`{"process_telepathy":{"process":{"pid":1}},"time":"2026-11-22T16:53:50Z"}` + "\n")
		case 27:
			bad.WriteString(line[:len(line)/2] + "\n")
		case 37:
			bad.WriteString("\n\x00\xff\n" + strings.Repeat("x", 3<<20) + "\n")
		}
	}
	bad.WriteString(`{"process_exec":{"process":{"pid"`) // the file ends in the middle of a line
	file := t.TempDir() + "/export.jsonl"
	writeFile(t, file, bad.String())
	c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": file, "WITNESS_FINDINGS": ""}, "replay.yaml").start()
	c.replayEnded()
	c.stop()
	assertSame(t, want, c.stored())
	assert.NotContains(t, c.logText(), "telepathy", "what a line holds is not logged")
}

func TestReplayAnswersFindingsWithRealFrames(t *testing.T) {
	lines := capture(t)
	file, findings := t.TempDir()+"/export.jsonl", t.TempDir()
	writeFile(t, file, strings.Join(lines, ""))
	writeFile(t, findings+"/lab.yaml", `
findings:
  - id: LAB-1
    title: a function of the recorded program
    symbols: [{language: c, package: "", member: lab_request_handler}]
  - id: LAB-2
    title: a function that is not in the recording
    component: pkg:golang/golang.org/x/net
    symbols: [{language: go, package: golang.org/x/net/html, member: Tokenizer.Next}]
`)
	c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": file, "WITNESS_FINDINGS": findings}, "replay.yaml").start()
	c.replayEnded()
	c.settled()
	seen := c.get("/api/v1/findings/LAB-1/runtime/traces")
	require.NotEmpty(t, list(seen, "traces"))
	assert.Equal(t, "lab_request_handler", at(seen, "traces", 0, "vulnerableFunction"))
	assert.Equal(t, true, at(seen, "summary", "directPathObserved"))
	assert.Positive(t, number(c.get("/api/v1/findings/LAB-1/runtime/score"), "score"))
	unseen := c.get("/api/v1/findings/LAB-2/runtime/traces")
	assert.Empty(t, list(unseen, "traces"))
	assert.EqualValues(t, 0, number(c.get("/api/v1/findings/LAB-2/runtime/score"), "score"))
	page := c.get("/api/v1/findings")
	assert.Len(t, list(page, "findings"), 2)
	all, err := json.Marshal([]any{seen, unseen, page, c.get("/api/v1/symbols/hot?limit=1000")})
	require.NoError(t, err)
	assert.NotContains(t, strings.ToLower(string(all)), "not_affected")
}
