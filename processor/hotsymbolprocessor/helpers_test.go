package hotsymbolprocessor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	xstorage "go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const tetragon = "aaaaaaaaaaaaaaaa/3/tetragon"

var storageID = component.MustNewID("file_storage")

// event is one event as a receiver would write it.
type event struct {
	name        string // runtime.call when empty
	at          time.Time
	symbol      string
	callers     []string
	hits        int64
	uid         string
	preexisting bool
	source      string // tetragon when empty
	host        string
	put         func(plog.LogRecord)
}

func logsOf(events ...event) plog.Logs {
	logs := plog.NewLogs()
	for _, e := range events {
		resource := logs.ResourceLogs().AppendEmpty()
		if e.host == "" {
			e.host = "node-1"
		}
		resource.Resource().Attributes().PutStr(semconv.HostName, e.host)
		resource.Resource().Attributes().PutStr(semconv.K8SNamespaceName, "shop")
		resource.Resource().Attributes().PutStr(semconv.K8SDeploymentName, "web")
		resource.Resource().Attributes().PutStr(semconv.K8SPodName, "web-1")
		scope := resource.ScopeLogs().AppendEmpty()
		if e.source == "" {
			e.source = tetragon
		}
		if e.source != "none" {
			scope.Scope().Attributes().PutStr(semconv.WitnessSource, e.source)
		}
		record := scope.LogRecords().AppendEmpty()
		if e.name == "" {
			e.name = semconv.EventCall
		}
		record.SetEventName(e.name)
		if !e.at.IsZero() {
			record.SetTimestamp(pcommon.NewTimestampFromTime(e.at))
		}
		m := record.Attributes()
		if e.symbol != "" {
			frames := []witness.Frame{frameOf(e.symbol)}
			for _, caller := range e.callers {
				frames = append(frames, frameOf(caller))
			}
			witness.PutStack(m, frames...)
		}
		if e.hits != 0 {
			m.PutInt(semconv.WitnessHits, e.hits)
		}
		if e.uid != "" {
			m.PutStr(semconv.LogRecordUID, e.uid)
		}
		if e.preexisting {
			m.PutBool(semconv.WitnessProcessPreexisting, true)
		}
		if e.put != nil {
			e.put(record)
		}
	}
	return logs
}

func frameOf(symbol string) witness.Frame {
	return witness.Frame{
		Package: "example.com/app", Member: symbol, Symbol: "example.com/app." + symbol, Language: "go",
		Module: witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"},
		Offset: 0x1234, HasOffset: true, Line: 12, Component: "pkg:golang/example.com/app@v1.2.3", Confidence: 0.9,
	}
}

// sink is the next component: it keeps observations by their key, as a storage does.
type sink struct {
	t            require.TestingT
	mu           sync.Mutex
	fail         error
	observations map[string]witness.Observation
	order        []string // ids of observations as they came
	losses       map[string]witness.Coverage
	others       []plog.LogRecord
	tenants      map[string]int
	calls        int
	biggest      int
}

func newSink(t require.TestingT) *sink {
	return &sink{t: t, observations: map[string]witness.Observation{}, losses: map[string]witness.Coverage{}, tenants: map[string]int{}}
}

func (s *sink) Capabilities() consumer.Capabilities { return consumer.Capabilities{MutatesData: true} }

func (s *sink) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *sink) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		logs.ResourceLogs().RemoveIf(func(plog.ResourceLogs) bool { return true }) // next may change what it is given
		return s.fail
	}
	s.biggest = max(s.biggest, logs.LogRecordCount())
	principal, _ := storage.PrincipalFrom(ctx)
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		for j := range resource.ScopeLogs().Len() {
			for k := range resource.ScopeLogs().At(j).LogRecords().Len() {
				record := resource.ScopeLogs().At(j).LogRecords().At(k)
				switch record.EventName() {
				case semconv.EventObservation:
					o, err := witness.ObservationOf(resource.Resource().Attributes(), record)
					require.NoError(s.t, err)
					key := fmt.Sprint(o.ID, o.Source, o.Instance, o.WindowStart, o.Flush)
					if known, ok := s.observations[key]; ok {
						assert.Equal(s.t, known, o, "one key, two contents")
					} else {
						s.tenants[principal.Tenant]++
					}
					s.observations[key] = o
					s.order = append(s.order, o.ID.String())
				case semconv.EventLoss:
					c, _, err := witness.CoverageOf(resource.Resource().Attributes(), record)
					require.NoError(s.t, err)
					key := fmt.Sprint(c.Source, c.Start, c.End, c.LossStage)
					if known, ok := s.losses[key]; ok {
						assert.Equal(s.t, known, c, "one key, two contents")
					}
					s.losses[key] = c
				default:
					kept := plog.NewLogRecord()
					record.CopyTo(kept)
					s.others = append(s.others, kept)
				}
			}
		}
	}
	return nil
}

// hits adds up by symbol (or module) and kind.
func (s *sink) hits() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := map[string]uint64{}
	for _, o := range s.observations {
		total[o.Witness.Frame.Member+" "+string(o.Witness.Kind)] += o.Hits
	}
	return total
}

func (s *sink) lost() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := map[string]uint64{}
	for _, c := range s.losses {
		total[c.LossStage] += c.Lost
	}
	return total
}

func (s *sink) all() []witness.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []witness.Observation
	for _, o := range s.observations {
		all = append(all, o)
	}
	return all
}

// memory is a storage extension and client in memory.
type memory struct {
	component.StartFunc
	component.ShutdownFunc
	mu     sync.Mutex
	values map[string][]byte
	fail   error
	writes int
}

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) GetClient(context.Context, component.Kind, component.ID, string) (xstorage.Client, error) {
	return m, nil
}

func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{values: maps.Clone(m.values)}
}

func (m *memory) failWith(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, error) {
	op := xstorage.GetOperation(key)
	err := m.Batch(ctx, op)
	return op.Value, err
}

func (m *memory) Set(ctx context.Context, key string, value []byte) error {
	return m.Batch(ctx, xstorage.SetOperation(key, value))
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.Batch(ctx, xstorage.DeleteOperation(key))
}

func (m *memory) Batch(_ context.Context, ops ...*xstorage.Operation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	for _, op := range ops {
		switch op.Type {
		case xstorage.Get:
			op.Value = m.values[op.Key]
		case xstorage.Set:
			m.values[op.Key] = op.Value
			m.writes++
		case xstorage.Delete:
			delete(m.values, op.Key)
		}
	}
	return nil
}

func (m *memory) Close(context.Context) error { return nil }

type host struct {
	extensions map[component.ID]component.Component
}

func (h host) GetExtensions() map[component.ID]component.Component { return h.extensions }

func hostOf(extension component.Component) component.Host {
	if extension == nil {
		return componenttest.NewNopHost()
	}
	return host{map[component.ID]component.Component{storageID: extension}}
}

// start makes a processor that flushes only when told, unless change says otherwise.
func start(t require.TestingT, next consumer.Logs, store component.Component, change func(*Config)) *hotSymbol {
	config := createDefaultConfig().(*Config)
	config.FlushInterval = day
	if store != nil {
		config.Storage = &storageID
	}
	if change != nil {
		change(config)
	}
	require.NoError(t, config.Validate())
	p, err := newProcessor(processortest.NewNopSettings(metadata.Type), config, next)
	require.NoError(t, err)
	p.wait = func(int) time.Duration { return time.Millisecond }
	require.NoError(t, p.Start(context.Background(), hostOf(store)))
	return p
}

// crash ends the goroutines of a processor and nothing else: no flush, no close.
func crash(p *hotSymbol) {
	p.mu.Lock()
	p.running = false
	p.cancel()
	close(p.stop)
	p.mu.Unlock()
	p.loops.Wait()
}

func (p *hotSymbol) flushAll(t require.TestingT) {
	p.mu.Lock()
	defer p.mu.Unlock()
	require.NoError(t, p.flush(context.Background(), p.table.all()))
}

func (p *hotSymbol) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending) == 0
}

func consume(t require.TestingT, p *hotSymbol, events ...event) {
	require.NoError(t, p.ConsumeLogs(context.Background(), logsOf(events...)))
}

func sent(t *testing.T, p *hotSymbol) {
	t.Helper()
	require.Eventually(t, p.idle, 10*time.Second, time.Millisecond)
}

func stop(t require.TestingT, p *hotSymbol) { require.NoError(t, p.Shutdown(context.Background())) }

var errDown = errors.New("down")

func as(ctx context.Context, tenant string) context.Context {
	return client.NewContext(ctx, client.Info{Auth: authData{Tenant: tenant, Name: "agent", Authenticated: true}})
}
