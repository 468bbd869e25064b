package comparison

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/logdedupprocessor"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const batchSize = 1000

var at = time.Now().UTC().Truncate(time.Minute)

// batch is a batch of calls as they reach hot_symbol: one workload, one frame each, of the witnesses from first on, in
// steps that leave no two neighbours together. With uids, each event has a log.record.uid of its own.
func batch(first, witnesses int, uids bool) plog.Logs {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	witness.PutResource(resource.Resource().Attributes(),
		witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app"},
		witness.Instance{Host: "node-1", Pod: "web-1", Container: "5e5e5e5e5e5e"})
	scope := resource.ScopeLogs().AppendEmpty()
	scope.Scope().Attributes().PutStr(semconv.WitnessSource, "aaaaaaaaaaaaaaaa/3/tetragon")
	records := scope.LogRecords()
	records.EnsureCapacity(batchSize)
	for i := range batchSize {
		number := (first + i) * 7919 % witnesses
		record := records.AppendEmpty()
		record.SetEventName(semconv.EventCall)
		record.SetTimestamp(pcommon.NewTimestampFromTime(at))
		m := record.Attributes()
		if uids {
			m.PutStr(semconv.LogRecordUID, fmt.Sprintf("0123456789abcdef%016x", first+i))
		}
		member := fmt.Sprintf("Type%d.Method%d", number/10, number%10)
		witness.PutStack(m, witness.Frame{
			Package: "example.com/app/web", Member: member, Symbol: "example.com/app/web." + member, Language: "go",
			Module: witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"},
			Offset: uint64(0x1000 + 16*number), HasOffset: true, //nolint:gosec // not negative
			Component: "pkg:golang/example.com/app@v1.2.3", Confidence: 1,
		})
	}
	return logs
}

// subject is a processor to measure.
type subject struct {
	name  string
	uids  bool
	start func(b *testing.B, witnesses int) processor.Logs
}

var subjects = []subject{
	{"hot_symbol", false, func(b *testing.B, witnesses int) processor.Logs { return hotSymbol(b, witnesses, nil) }},
	{"hot_symbol_uids", true, func(b *testing.B, witnesses int) processor.Logs { return hotSymbol(b, witnesses, nil) }},
	{"hot_symbol_storage", true, func(b *testing.B, witnesses int) processor.Logs {
		return hotSymbol(b, witnesses, fileStorage(b))
	}},
	{"log_dedup", false, logDedup},
}

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

var storageID = component.MustNewID("file_storage")

func hotSymbol(b *testing.B, witnesses int, storage component.Component) processor.Logs {
	factory := hotsymbolprocessor.NewFactory()
	config := factory.CreateDefaultConfig().(*hotsymbolprocessor.Config)
	config.FlushInterval = 24 * time.Hour
	config.MaxWitnesses = 2 * witnesses
	running := host{}
	if storage != nil {
		config.Storage = &storageID
		running[storageID] = storage
	}
	p, err := factory.CreateLogs(context.Background(), processortest.NewNopSettings(factory.Type()), config, consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, p.Start(context.Background(), running))
	return p
}

func fileStorage(b *testing.B) component.Component {
	factory := filestorage.NewFactory()
	config := factory.CreateDefaultConfig().(*filestorage.Config)
	config.Directory = filepath.Join(b.TempDir(), "checkpoint")
	config.CreateDirectory = true
	extension, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), config)
	require.NoError(b, err)
	require.NoError(b, extension.Start(context.Background(), componenttest.NewNopHost()))
	b.Cleanup(func() { require.NoError(b, extension.Shutdown(context.Background())) })
	return extension
}

func logDedup(b *testing.B, _ int) processor.Logs {
	factory := logdedupprocessor.NewFactory()
	config := factory.CreateDefaultConfig().(*logdedupprocessor.Config)
	config.Interval = 24 * time.Hour
	p, err := factory.CreateLogs(context.Background(), processortest.NewNopSettings(factory.Type()), config, consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, p.Start(context.Background(), componenttest.NewNopHost()))
	return p
}

// cpu is the processor time that this process has used, garbage collection included.
func cpu() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// sizes are the numbers of distinct witnesses: those in BENCH_WITNESSES, separated by commas.
func sizes(b *testing.B) (out []int) {
	text := os.Getenv("BENCH_WITNESSES")
	if text == "" {
		text = "1000,100000,1000000"
	}
	for size := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(size)
		require.NoError(b, err, "BENCH_WITNESSES")
		out = append(out, n)
	}
	return out
}

// BenchmarkEvents counts events of so many distinct witnesses, each of which was seen before ("known"). One operation is
// one event. B/witness is what the heap grew by while each was seen for the first time.
func BenchmarkEvents(b *testing.B) {
	for _, witnesses := range sizes(b) {
		for _, subject := range subjects {
			b.Run(fmt.Sprintf("witnesses=%d/%s", witnesses, subject.name), func(b *testing.B) {
				p := subject.start(b, witnesses)
				before, next := heap(), 0
				take := func() plog.Logs {
					logs := batch(next, witnesses, subject.uids)
					next += batchSize
					return logs
				}
				first, seen := time.Duration(0), next
				for ; next < witnesses; seen = next {
					logs := take()
					start := cpu()
					require.NoError(b, p.ConsumeLogs(b.Context(), logs))
					first += cpu() - start
				}
				perWitness := float64(heap()-before) / float64(witnesses)
				var used time.Duration
				events := 0
				for ; events < b.N; events += batchSize {
					logs := take()
					start := cpu()
					if err := p.ConsumeLogs(b.Context(), logs); err != nil {
						b.Fatal(err)
					}
					used += cpu() - start
				}
				b.ReportMetric(used.Seconds()*1e9/float64(events), "cpu-ns/event")
				b.ReportMetric(float64(events)/used.Seconds(), "events/cpu-s")
				b.ReportMetric(float64(seen)/first.Seconds(), "first-events/cpu-s")
				b.ReportMetric(perWitness, "B/witness")
				b.ReportMetric(0, "ns/op") // the time to make the events is in it
				require.NoError(b, p.Shutdown(context.Background()))
			})
		}
	}
}
