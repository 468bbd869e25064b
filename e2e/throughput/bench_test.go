package throughput

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/otelcol-witness/otelcol-witness/exporter/witnessexporter"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension"
	"github.com/otelcol-witness/otelcol-witness/processor/buildcorrelationprocessor"
	"github.com/otelcol-witness/otelcol-witness/processor/canonicalizationprocessor"
	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor"
	"github.com/otelcol-witness/otelcol-witness/receiver/tetragonreceiver"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const recorded = "../../testdata/tetragon/linger.export.jsonl.gz"

// The time of an event; that of its process is start_time.
var eventTime = regexp.MustCompile(`"time":"([^"]+)"`)

// stream writes the recorded stream over and over, an event each millisecond, and returns how many events of each kind
// are in it by the names of their members: another count than the pipeline's.
func stream(b *testing.B, path string, atLeast int) (events int, want map[witness.Kind]uint64) {
	file, err := os.Open(recorded)
	require.NoError(b, err)
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	require.NoError(b, err)
	text, err := io.ReadAll(unzipped)
	require.NoError(b, err)
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))

	out, err := os.Create(path)
	require.NoError(b, err)
	buffered := bufio.NewWriter(out)
	want = map[witness.Kind]uint64{}
	start, err := time.Parse(time.RFC3339Nano, string(eventTime.FindSubmatch(text)[1]))
	require.NoError(b, err)
	for events < atLeast {
		for _, line := range lines {
			at := start.Add(time.Duration(events) * time.Millisecond)
			line = eventTime.ReplaceAll(line, []byte(`"time":"`+at.Format(time.RFC3339Nano)+`"`))
			_, _ = buffered.Write(append(line, '\n'))
			events++
			kind, samples := kindOf(b, line)
			if kind != "" {
				want[kind]++
			}
			want[witness.KindSample] += samples
		}
	}
	require.NoError(b, buffered.Flush())
	require.NoError(b, out.Close())
	return events, want
}

// kindOf is the kind of evidence that a line is by its first member, and the samples in its user stack: each function
// once, named or at an offset that a file can have.
func kindOf(b *testing.B, line []byte) (kind witness.Kind, samples uint64) {
	var event map[string]json.RawMessage
	require.NoError(b, json.Unmarshal(line, &event))
	for name, body := range event {
		switch name {
		case "process_exec":
			return witness.KindExec, 0
		case "process_loader":
			return witness.KindLoad, 0
		case "process_uprobe", "process_usdt", "process_lsm", "process_tracepoint", "process_kprobe":
			type entry struct{ Symbol, Module, Offset string }
			var hook struct {
				Stack []entry `json:"user_stack_trace"`
			}
			require.NoError(b, json.Unmarshal(body, &hook))
			seen := map[entry]bool{}
			for _, e := range hook.Stack {
				offset, _ := strconv.ParseUint(e.Offset, 10, 64)
				if e.Symbol != "" {
					e.Offset = ""
				} else if e.Module == "" || offset > 1<<32 {
					continue
				}
				seen[e] = true
			}
			return witness.KindCall, uint64(len(seen))
		}
	}
	return "", 0
}

func factories[F component.Factory](all ...F) map[component.Type]F {
	byType := map[component.Type]F{}
	for _, factory := range all {
		byType[factory.Type()] = factory
	}
	return byType
}

func components() (otelcol.Factories, error) {
	return otelcol.Factories{
		Extensions: factories[extension.Factory](filestorage.NewFactory(), witnessstorageextension.NewFactory()),
		Receivers:  factories[receiver.Factory](tetragonreceiver.NewFactory()),
		Processors: factories[processor.Factory](memorylimiterprocessor.NewFactory(), buildcorrelationprocessor.NewFactory(),
			canonicalizationprocessor.NewFactory(), hotsymbolprocessor.NewFactory()),
		Exporters: factories[exporter.Factory](witnessexporter.NewFactory()),
		Telemetry: otelconftelemetry.NewFactory(),
	}, nil
}

// run replays a file with config/replay.yaml, but for what serves answers, into a directory.
func run(b *testing.B, path, directory string) {
	b.Setenv("TETRAGON_EXPORT_FILE", path)
	b.Setenv("WITNESS_DATA_DIR", directory)
	ended := make(chan struct{})
	collector, err := otelcol.NewCollector(otelcol.CollectorSettings{
		BuildInfo: component.NewDefaultBuildInfo(), Factories: components, DisableGracefulShutdown: true,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs: []string{
				"file:../../config/replay.yaml",
				"yaml:service::extensions: [file_storage, witness_storage]",
				"yaml:service::telemetry: {metrics: {level: none}, logs: {output_paths: [/dev/null]}}",
			},
			ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory(), envprovider.NewFactory(), yamlprovider.NewFactory()},
			ConverterFactories: []confmap.ConverterFactory{confmap.NewConverterFactory(func(confmap.ConverterSettings) confmap.Converter {
				return leaveOut{}
			})},
		}},
		LoggingOptions: []zap.Option{zap.WrapCore(func(core zapcore.Core) zapcore.Core {
			return zapcore.RegisterHooks(core, func(entry zapcore.Entry) error {
				if strings.Contains(entry.Message, "The replay is at its end") {
					close(ended)
				}
				return nil
			})
		})},
	})
	require.NoError(b, err)
	done := make(chan error, 1)
	go func() { done <- collector.Run(context.Background()) }()
	select {
	case <-ended:
	case err := <-done:
		require.NoError(b, err)
		b.Fatal("the collector ended before the replay")
	}
	collector.Shutdown()
	require.NoError(b, <-done)
}

// leaveOut takes the extensions that serve answers out of the configuration.
type leaveOut struct{}

func (leaveOut) Convert(_ context.Context, conf *confmap.Conf) error {
	for _, name := range []string{"health_check", "witness_query", "findings"} {
		conf.Delete("extensions::" + name)
	}
	return nil
}

// BenchmarkPipeline runs BENCH_STREAM (200,000) events through receiver, correlation, canonicalization and counting into
// the database, up to the end of the shutdown. It fails when one is lost or counted twice.
func BenchmarkPipeline(b *testing.B) {
	atLeast := 200_000
	if text := os.Getenv("BENCH_STREAM"); text != "" {
		var err error
		atLeast, err = strconv.Atoi(text)
		require.NoError(b, err, "BENCH_STREAM")
	}
	path := filepath.Join(b.TempDir(), "tetragon.jsonl")
	events, want := stream(b, path, atLeast)
	var used time.Duration
	runs := 0
	for b.Loop() {
		directory := b.TempDir()
		start := cpu()
		run(b, path, directory)
		used += cpu() - start
		runs++
		b.StopTimer()
		require.Equal(b, want, stored(b, directory))
		b.StartTimer()
	}
	b.ReportMetric(float64(events*runs)/used.Seconds(), "events/cpu-s")
	b.ReportMetric(float64(events*runs)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(peak(b)), "peak-rss-B")
}

// stored are the hits of each kind in the database.
func stored(b *testing.B, directory string) map[witness.Kind]uint64 {
	database, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(directory, "witness.db")})
	require.NoError(b, err)
	defer database.Close()
	hot, err := database.HotSymbols(b.Context(), "", storage.HotQuery{Limit: 1_000_000})
	require.NoError(b, err)
	hits := map[witness.Kind]uint64{}
	for _, symbol := range hot {
		hits[symbol.Subject.Kind] += symbol.Hits
	}
	return hits
}

func cpu() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peak is the most memory that the process ever had, as the kernel counts it.
func peak(b *testing.B) uint64 {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	kib, err := strconv.ParseUint(fields[0], 10, 64)
	require.NoError(b, err)
	return kib << 10
}
