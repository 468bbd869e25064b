package ebpfreceiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/receiver"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/internal/source"
	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/perf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/waiter"
)

// drainTimeout bounds how long what is in hand is offered to the pipeline when the receiver shuts down.
const drainTimeout = 5 * time.Second

// ebpfReceiver has the kernel watch, and hands on what it tells.
type ebpfReceiver struct {
	config    *Config
	settings  receiver.Settings
	telemetry *metadata.TelemetryBuilder
	delivery  *delivery.Delivery

	client storage.Client
	kernel *bpf.Kernel
	wait   *waiter.Waiter // for both
	perf   *perf.Reader
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newReceiver(settings receiver.Settings, config *Config, next consumer.Logs) (receiver.Logs, error) {
	telemetry, err := metadata.NewTelemetryBuilder(settings.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	handOn, err := delivery.New(settings, metadata.Type, "kernel", config.RetryOnFailure, next)
	if err != nil {
		return nil, err
	}
	return &ebpfReceiver{config: config, settings: settings, telemetry: telemetry, delivery: handOn}, nil
}

// Start loads what runs in the kernel. It fails where the kernel or the capabilities of the process allow none of it; what
// is refused of the signals is told in runtime.status records, and does not keep the others from working.
func (r *ebpfReceiver) Start(ctx context.Context, host component.Host) error {
	var list watchlist.Provider
	if id := r.config.Probes.Findings; id != nil {
		var err error
		if list, err = watchlist.Find(host, *id); err != nil {
			return fmt.Errorf("probes::findings: %w", err)
		}
	}
	if err := permitted(); err != nil {
		return err
	}
	var err error
	if r.client, err = source.Client(ctx, host, r.config.Storage, component.KindReceiver, r.settings.ID); err != nil {
		return err
	}
	name, err := source.Open(ctx, r.client, r.settings.ID, false)
	if err != nil {
		return errors.Join(err, r.close(ctx))
	}
	r.kernel, err = bpf.Open(bpf.Options{
		Hits: r.config.Limits.Hits, Ring: r.config.Limits.Ring, Probes: uint32(r.config.Probes.Max) + 1, Stacks: r.config.Probes.Stacks, //nolint:gosec // Validate bounds it
	})
	if err != nil {
		return errors.Join(fmt.Errorf("eBPF cannot be used: it needs the capabilities CAP_BPF and CAP_PERFMON: %w", delivery.Presentable(err)), r.close(ctx))
	}
	if r.wait, err = waiter.New(r.kernel.File()); err != nil {
		return errors.Join(err, r.close(ctx))
	}
	e, err := newEngine(r, name, list)
	if err != nil {
		return errors.Join(err, r.close(ctx))
	}
	watching, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.done.Go(func() { e.run(watching) })
	return nil
}

// Shutdown takes everything out of the kernel, and offers what is in hand to the pipeline once more.
func (r *ebpfReceiver) Shutdown(ctx context.Context) error {
	if r.cancel != nil {
		r.cancel()
	}
	r.done.Wait()
	r.telemetry.Shutdown()
	return r.close(ctx)
}

func (r *ebpfReceiver) close(ctx context.Context) error {
	var errs []error
	if r.wait != nil {
		errs = append(errs, r.wait.Close())
	}
	if r.perf != nil {
		errs = append(errs, r.perf.Close())
	}
	if r.kernel != nil {
		errs = append(errs, r.kernel.Close())
	}
	if r.client != nil {
		errs = append(errs, r.client.Close(ctx))
	}
	r.wait, r.perf, r.kernel, r.client = nil, nil, nil, nil
	return errors.Join(errs...)
}

// needed are the capabilities without which nothing of the receiver works, by number.
var needed = []struct {
	number int
	name   string
}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}}

// permitted says which capabilities are missing.
func permitted() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil //nolint:nilerr // then the kernel will tell
	}
	has := func(number int) bool { return data[number/32].Effective&(1<<(number%32)) != 0 }
	if has(unix.CAP_SYS_ADMIN) { // before Linux 5.8 there was no other
		return nil
	}
	missing := ""
	for _, c := range needed {
		if !has(c.number) {
			missing += " " + c.name
		}
	}
	if missing == "" {
		return nil
	}
	return fmt.Errorf("eBPF cannot be used: the process lacks the capabilities%s", missing)
}

// newEngine prepares what watches.
func newEngine(r *ebpfReceiver, name string, list watchlist.Provider) (*engine, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	e := &engine{config: r.config, receiver: r, logger: r.settings.Logger, kernel: r.kernel, host: host, list: list}
	if err := e.prepare(name); err != nil {
		return nil, err
	}
	return e, nil
}
