package hotsymbolprocessor

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const benchEvents = 1000

// benchLogs is a batch as a receiver sends it: one resource, many records, 50 stacks.
func benchLogs(name string, depth int) plog.Logs {
	logs := plog.NewLogs()
	first := logsOf(event{name: name, at: noon, symbol: "main"})
	first.CopyTo(logs)
	records := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	for i := range benchEvents {
		record := records.AppendEmpty()
		records.At(0).CopyTo(record)
		frames := make([]witness.Frame, depth)
		for j := range frames {
			frames[j] = frameOf(fmt.Sprintf("Type.Method%d", (i%50)*(depth-j)))
		}
		frames[depth-1] = frameOf("main")
		frames[0] = frameOf(fmt.Sprintf("Leaf%d", i%50))
		witness.PutStack(record.Attributes(), frames...)
	}
	return logs
}

func shapes(b *testing.B, run func(b *testing.B, logs plog.Logs)) {
	for _, shape := range []struct {
		name  string
		event string
		depth int
	}{{"exec", semconv.EventExec, 1}, {"call", semconv.EventCall, 1}, {"call5", semconv.EventCall, 5}, {"sample30", semconv.EventSample, 30}} {
		b.Run(shape.name, func(b *testing.B) {
			logs := benchLogs(shape.event, shape.depth)
			b.ReportAllocs()
			run(b, logs)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEvents, "ns/event")
		})
	}
}

// BenchmarkCount is the hot path, without storage and the next component.
func BenchmarkCount(b *testing.B) {
	shapes(b, func(b *testing.B, logs plog.Logs) {
		t := newTable(time.Minute, time.Hour, maxUIDs, func(string) string { return "a/0/hot_symbol" })
		for b.Loop() {
			t.add(noon, sender{}, logs)
			t.commit()
		}
	})
}

// BenchmarkNaive hashes the identity of every sighting.
func BenchmarkNaive(b *testing.B) {
	shapes(b, func(b *testing.B, logs plog.Logs) {
		type key struct {
			id       witness.ID
			instance witness.Instance
			window   int64
			source   string
		}
		table := map[key]*witness.Observation{}
		for b.Loop() {
			for i := range logs.ResourceLogs().Len() {
				resource := logs.ResourceLogs().At(i)
				instance := witness.InstanceOf(resource.Resource().Attributes())
				for j := range resource.ScopeLogs().Len() {
					scope := resource.ScopeLogs().At(j)
					source := semconv.Text(scope.Scope().Attributes(), semconv.WitnessSource)
					for k := range scope.LogRecords().Len() {
						sightings, _ := witness.AppendSightings(nil, witness.WorkloadOf(resource.Resource().Attributes()), scope.LogRecords().At(k))
						for l := range sightings {
							s := &sightings[l]
							at := key{s.Witness.ID(), instance, witness.AlignWindow(s.LastSeen, time.Minute).UnixNano(), source}
							o, ok := table[at]
							if !ok {
								o = &witness.Observation{ID: at.id, Witness: s.Witness, FirstSeen: s.FirstSeen}
								table[at] = o
							}
							o.Hits += s.Hits
							o.LastSeen = s.LastSeen
						}
					}
				}
			}
		}
	})
}

// BenchmarkDecode is the part of both that reads the events.
func BenchmarkDecode(b *testing.B) {
	shapes(b, func(b *testing.B, logs plog.Logs) {
		var sightings []witness.Sighting
		resource := logs.ResourceLogs().At(0)
		workload := witness.WorkloadOf(resource.Resource().Attributes())
		records := resource.ScopeLogs().At(0).LogRecords()
		for b.Loop() {
			for k := range records.Len() {
				sightings, _ = witness.AppendSightings(sightings[:0], workload, records.At(k))
			}
		}
	})
}

// BenchmarkConsume is all of it, without and with the real storage extension.
func BenchmarkConsume(b *testing.B) {
	for _, stored := range []bool{false, true} {
		b.Run(fmt.Sprintf("storage=%t", stored), func(b *testing.B) {
			shapes(b, func(b *testing.B, logs plog.Logs) {
				var p *hotSymbol
				if stored {
					p = start(b, consumertest.NewNop(), files(b, b.TempDir()), nil)
				} else {
					p = start(b, consumertest.NewNop(), nil, nil)
				}
				for b.Loop() {
					require.NoError(b, p.ConsumeLogs(b.Context(), logs))
				}
				b.StopTimer()
				stop(b, p)
			})
		})
	}
}
