package tetragonreceiver

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

var errBusy = errors.New("busy")

// sink is the pipeline behind the receiver. It takes what refuse does not.
type sink struct {
	mu     sync.Mutex
	taken  []plog.Logs
	refuse func(attempt int) error
	tries  int
	// vandal empties what it refuses, as a pipeline may that says it changes data.
	vandal bool
}

func (s *sink) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: s.vandal}
}

func (s *sink) ConsumeLogs(_ context.Context, logs plog.Logs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.refuse != nil {
		if err := s.refuse(s.tries); err != nil {
			if s.vandal {
				logs.ResourceLogs().RemoveIf(func(plog.ResourceLogs) bool { return true })
			}
			return err
		}
	}
	s.taken = append(s.taken, logs)
	return nil
}

// all is everything taken, as one.
func (s *sink) all() plog.Logs {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := plog.NewLogs()
	for _, logs := range s.taken {
		for i := range logs.ResourceLogs().Len() {
			logs.ResourceLogs().At(i).CopyTo(all.ResourceLogs().AppendEmpty())
		}
	}
	return all
}

// execs are the executables of exec records, in order.
func (s *sink) execs() []string {
	var paths []string
	each(s.all(), func(_ pcommon.Map, record plog.LogRecord) {
		if record.EventName() == semconv.EventExec {
			paths = append(paths, text(record.Attributes(), semconv.ProcessExecutablePath))
		}
	})
	return paths
}

func (s *sink) attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func permanent(int) error { return consumererror.NewPermanent(errBusy) }

// memory is a storage extension whose one client keeps values in a map.
type memory struct {
	component.StartFunc
	component.ShutdownFunc
	mu     sync.Mutex
	values map[string][]byte
}

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	return m, nil
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key], nil
}

func (m *memory) Set(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[key] = value
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	return nil
}

func (m *memory) Batch(ctx context.Context, operations ...*storage.Operation) error {
	for _, operation := range operations {
		switch operation.Type {
		case storage.Get:
			operation.Value, _ = m.Get(ctx, operation.Key)
		case storage.Set:
			_ = m.Set(ctx, operation.Key, operation.Value)
		case storage.Delete:
			_ = m.Delete(ctx, operation.Key)
		}
	}
	return nil
}

func (m *memory) Close(context.Context) error { return nil }

var storageID = component.MustNewID("file_storage")

// host has one extension, and keeps the statuses that are reported.
type host struct {
	component.Host
	storage *memory
	mu      sync.Mutex
	events  []componentstatus.Status
}

func (h *host) GetExtensions() map[component.ID]component.Component {
	if h.storage == nil {
		return nil
	}
	return map[component.ID]component.Component{storageID: h.storage}
}

func (h *host) Report(event *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event.Status())
}

func (h *host) statuses() []componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]componentstatus.Status(nil), h.events...)
}

// started is a running receiver. The returned function shuts it down; it is shut down at the end of the test too.
func started(t *testing.T, config *Config, next *sink, kept *memory) (*host, *componenttest.Telemetry, func()) {
	t.Helper()
	telemetry := componenttest.NewTelemetry()
	settings := receiver.Settings{ID: component.NewID(typ), TelemetrySettings: telemetry.NewTelemetrySettings()}
	settings.BuildInfo = receivertest.NewNopSettings(typ).BuildInfo
	h := &host{Host: componenttest.NewNopHost(), storage: kept}
	if kept != nil {
		config.Storage = &storageID
	}
	r, err := NewFactory().CreateLogs(t.Context(), settings, config, next)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), h))
	once := sync.OnceFunc(func() { require.NoError(t, r.Shutdown(context.Background())) })
	t.Cleanup(func() {
		once()
		require.NoError(t, telemetry.Shutdown(context.Background()))
	})
	return h, telemetry, once
}

func settingsForTest() receiver.Settings { return receivertest.NewNopSettings(typ) }
