package witnessqueryextension

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// estate is what the benchmark stores: libraries of 25 functions each, in images that run on hosts.
type estate struct {
	witnesses, hosts, findings int
	start                      time.Time
}

const (
	functionsOfLibrary = 25
	imagesOfLibrary    = 20
	hitsOfWitness      = 100
)

// observation is of the n-th witness, in the minute that it was seen in.
func (e *estate) observation(n int, at time.Time) witness.Observation {
	image, function := n%imagesOfLibrary, n/imagesOfLibrary
	library := function / functionsOfLibrary
	host := fmt.Sprint("node-", (n*7)%e.hosts)
	pkg := fmt.Sprintf("example.com/lib%d/part", library)
	o := witness.Observation{
		Witness: witness.Witness{
			Kind: witness.KindSample,
			Frame: witness.Frame{
				Symbol: fmt.Sprintf("%s.F%d", pkg, function%functionsOfLibrary), Package: pkg, Member: fmt.Sprint("F", function%functionsOfLibrary),
				Language: "go", Module: witness.Module{BuildID: fmt.Sprintf("%040x", library), Path: "/usr/bin/app"},
				Component: fmt.Sprintf("pkg:golang/example.com/lib%d@v1.%d.0", library, library%7), SymbolSource: "pclntab", Confidence: 1,
			},
			Workload: witness.Workload{
				Namespace: fmt.Sprint("team-", library%40), Controller: fmt.Sprint("deployment/", image), Container: "app",
				Image: fmt.Sprintf("sha256:%064x", library*imagesOfLibrary+image),
			},
			Path: []witness.Frame{{Symbol: "main.main", Package: "main", Member: "main", Language: "go", Confidence: 1}},
		},
		Source: host + "/1/ebpf", Instance: witness.Instance{Host: host, Pod: fmt.Sprint("pod-", n%5), Container: fmt.Sprint("c", n%1000)},
		Hits: hitsOfWitness, FirstSeen: at, LastSeen: at, Assurance: witness.Measured, Origin: witness.OriginWorkload,
		Artifact: witness.Artifact{PURL: fmt.Sprintf("pkg:golang/example.com/app%d@v2.0.0", library), Method: "buildinfo"},
	}
	o.WindowStart = witness.AlignWindow(at, time.Minute)
	o.WindowEnd = o.WindowStart.Add(time.Minute)
	o.ID = o.Witness.ID()
	return o
}

// finding is the n-th one: a function of a library.
func (e *estate) finding(n int) witness.Finding {
	libraries := max(1, e.witnesses/imagesOfLibrary/functionsOfLibrary)
	library := n % libraries
	return witness.Finding{
		ID: fmt.Sprintf("ADV-%06d", n), Aliases: []string{fmt.Sprint("CVE-2026-", n)}, Title: "a function does what it should not",
		Component: fmt.Sprintf("pkg:golang/example.com/lib%d", library), Affected: []witness.VersionRange{{Introduced: "0", Fixed: "2.0.0"}},
		Symbols:     []witness.SymbolRef{{Language: "go", Package: fmt.Sprintf("example.com/lib%d/part", library), Member: fmt.Sprint("F", n/libraries%functionsOfLibrary)}},
		Severity:    "high",
		Occurrences: []witness.Occurrence{{Scanner: "scanner", ImageDigest: fmt.Sprintf("sha256:%064x", library*imagesOfLibrary), Namespace: fmt.Sprint("team-", library%40)}},
	}
}

// fill stores the estate: each witness once, spread over a day.
func (e *estate) fill(b *testing.B, store storage.Storage) {
	findings := make([]witness.Finding, e.findings)
	for i := range findings {
		findings[i] = e.finding(i)
	}
	require.NoError(b, store.ReplaceFindings(context.Background(), storage.Principal{}, "bench", findings))
	const batch = 1000
	for first := 0; first < e.witnesses; first += batch {
		at := e.start.Add(time.Duration(float64(24*time.Hour) * float64(first) / float64(e.witnesses)))
		observations := make([]witness.Observation, 0, batch)
		for i := first; i < min(first+batch, e.witnesses); i++ {
			// Witnesses next to each other were not seen next to each other.
			observations = append(observations, e.observation(int(uint64(i)*2654435761%uint64(e.witnesses)), at))
		}
		_, err := store.WriteObservations(context.Background(), storage.Batch{Observations: observations})
		require.NoError(b, err)
	}
	coverage := make([]witness.Coverage, 0, e.hosts)
	for host := range e.hosts {
		name := fmt.Sprint("node-", host)
		coverage = append(coverage, witness.Coverage{
			Source: name + "/1/ebpf", Signal: "ebpf", Instance: witness.Instance{Host: name}, Assurance: witness.Measured,
			Kinds: []witness.Kind{witness.KindSample}, Start: e.start, End: e.start.Add(24 * time.Hour), Interval: time.Minute,
			ProcessesWatched: 10, ProcessesSeen: 10,
		})
	}
	require.NoError(b, store.WriteCoverage(context.Background(), storage.Principal{}, coverage))
}

func fromEnvironment(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// BenchmarkAPI measures answers while a writer writes WITNESS_BENCH_RATE observations a second (2,000), a tenth of them at once.
// WITNESS_BENCH_WITNESSES (10,000; 100 hits each), WITNESS_BENCH_FINDINGS (400) and WITNESS_BENCH_HOSTS (20) say how much is
// stored; WITNESS_BENCH_FILE keeps it for the next time.
func BenchmarkAPI(b *testing.B) {
	e := &estate{
		witnesses: fromEnvironment("WITNESS_BENCH_WITNESSES", 10_000), findings: fromEnvironment("WITNESS_BENCH_FINDINGS", 400),
		hosts: fromEnvironment("WITNESS_BENCH_HOSTS", 20), start: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
	}
	now := e.start.Add(24*time.Hour + time.Minute)
	path := os.Getenv("WITNESS_BENCH_FILE")
	if path == "" {
		path = filepath.Join(b.TempDir(), "witness.db")
	}
	_, missing := os.Stat(path)
	store, err := sqlite.Open(b.Context(), sqlite.Options{Path: path, Now: func() time.Time { return now }})
	require.NoError(b, err)
	defer func() { require.NoError(b, store.Close()) }()
	if missing != nil {
		began := time.Now()
		e.fill(b, store)
		b.Logf("stored %d witnesses in %s", e.witnesses, time.Since(began).Round(time.Second))
	}
	s := newServer(b, store)
	s.api.now = func() time.Time { return now }

	ctx, stop := context.WithCancel(context.Background())
	written, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		flush := uint64(time.Now().UnixNano())
		batch := fromEnvironment("WITNESS_BENCH_RATE", 2000) / 10
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			observations := make([]witness.Observation, batch)
			for i := range observations {
				observations[i] = e.observation(rand.IntN(e.witnesses), now)
				flush++
				observations[i].Flush = flush
			}
			if _, err := store.WriteObservations(context.Background(), storage.Batch{Observations: observations}); err != nil {
				return
			}
			written += len(observations)
		}
	}()
	began := time.Now()
	defer func() {
		stop()
		<-ended
		b.Logf("%.0f observations a second were written", float64(written)/time.Since(began).Seconds())
	}()
	one := func(rest string) func() string {
		return func() string { return fmt.Sprintf("/api/v1/findings/ADV-%06d/%s", rand.IntN(e.findings), rest) }
	}
	for _, question := range []struct {
		name   string
		target func() string
	}{
		{"traces", one("runtime/traces?limit=100")},
		{"traces by id", one("runtime/traces?limit=100&sort=id")},
		{"timeline", one("runtime/timeline?from=2026-11-21T00:00:00Z&to=2026-11-22T00:00:00Z&bucket=1h")},
		{"hot symbols", func() string { return "/api/v1/symbols/hot?limit=100" }},
		{"score", one("runtime/score")},
		{"assets", one("assets?by=host&limit=100")},
		{"findings by id", func() string { return "/api/v1/findings?limit=100" }},
		{"findings by score", func() string { return "/api/v1/findings?sort=score&limit=100" }},
		{"findings by namespace", func() string {
			return fmt.Sprintf("/api/v1/findings?sort=recent&namespace=team-%d&limit=100", rand.IntN(40))
		}},
	} {
		b.Run(question.name, func(b *testing.B) {
			ask := func(first bool) time.Duration {
				w := httptest.NewRecorder()
				began := time.Now()
				s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, question.target(), nil))
				for first && w.Code == http.StatusServiceUnavailable { // the findings are being read
					w = httptest.NewRecorder()
					s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, question.target(), nil))
				}
				took := time.Since(began)
				if w.Code != http.StatusOK {
					b.Fatalf("%d: %s", w.Code, w.Body)
				}
				return took
			}
			b.Logf("first: %s", ask(true))
			var times []time.Duration
			for b.Loop() {
				times = append(times, ask(false))
			}
			slices.Sort(times)
			at := func(share float64) float64 {
				return float64(times[min(len(times)-1, int(share*float64(len(times))))].Microseconds()) / 1000
			}
			b.ReportMetric(at(0.5), "p50-ms")
			b.ReportMetric(at(0.99), "p99-ms")
			b.ReportMetric(float64(len(times)), "answers")
			b.ReportMetric(0, "ns/op")
		})
	}
}
