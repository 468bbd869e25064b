package tetragonreceiver

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"

	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/internal/source"
	"github.com/otelcol-witness/otelcol-witness/receiver/tetragonreceiver/internal/metadata"
)

// drainTimeout bounds how long what is in hand is offered to the pipeline when the receiver shuts down.
const drainTimeout = 5 * time.Second

// tetragonReceiver runs one reader of events, and hands on what they say.
type tetragonReceiver struct {
	config    *Config
	settings  receiver.Settings
	telemetry *metadata.TelemetryBuilder
	delivery  *delivery.Delivery

	host   component.Host
	client storage.Client // nil without storage
	cancel context.CancelFunc
	done   sync.WaitGroup

	// What follows belongs to the reader's goroutine.
	converter *converter
	ledger    *ledger
	batch     *batch
}

func newReceiver(settings receiver.Settings, config *Config, next consumer.Logs) (*tetragonReceiver, error) {
	telemetry, err := metadata.NewTelemetryBuilder(settings.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	transport := "grpc"
	if config.File.HasValue() {
		transport = "file"
	}
	handOn, err := delivery.New(settings, metadata.Type, transport, config.RetryOnFailure, next)
	if err != nil {
		return nil, err
	}
	return &tetragonReceiver{config: config, settings: settings, telemetry: telemetry, delivery: handOn}, nil
}

// Start begins to read. What cannot be reached yet is no error: it is tried again.
func (r *tetragonReceiver) Start(ctx context.Context, host component.Host) error {
	r.host = host
	var err error
	if r.client, err = source.Client(ctx, host, r.config.Storage, component.KindReceiver, r.settings.ID); err != nil {
		return err
	}
	var read func(context.Context)
	restored := false
	if file := r.config.File.Get(); file != nil {
		at, known, err := loadPosition(ctx, r.client)
		if err != nil {
			return err
		}
		restored = known
		read = func(ctx context.Context) { r.readFile(ctx, file, at, known) }
	} else {
		// The connection is made again as often as streams are.
		connect := grpc.ConnectParams{MinConnectTimeout: callTimeout, Backoff: grpcbackoff.Config{
			BaseDelay: r.config.RetryOnFailure.InitialInterval, Multiplier: r.config.RetryOnFailure.Multiplier,
			Jitter: r.config.RetryOnFailure.RandomizationFactor, MaxDelay: r.config.RetryOnFailure.MaxInterval,
		}}
		connection, err := r.config.GRPC.ToClientConn(ctx, host.GetExtensions(), r.settings.TelemetrySettings,
			configgrpc.WithGrpcDialOption(grpc.WithConnectParams(connect)))
		if err != nil {
			return fmt.Errorf("grpc: %w", err)
		}
		read = func(ctx context.Context) {
			r.readStreams(ctx, tetragon.NewFineGuidanceSensorsClient(connection))
			if err := connection.Close(); err != nil {
				r.settings.Logger.Debug("Could not close the connection", zap.Error(err))
			}
		}
	}
	name, err := source.Open(ctx, r.client, r.settings.ID, restored)
	if err != nil {
		return err
	}
	r.prepare(name)
	ctx, r.cancel = context.WithCancel(context.Background())
	r.done.Go(func() { read(ctx) })
	return nil
}

// prepare makes what the reader works with.
func (r *tetragonReceiver) prepare(name string) {
	replay := r.config.File.HasValue() && r.config.File.Get().Replay
	node := ""
	if !replay {
		node, _ = os.Hostname()
	}
	r.ledger = newLedger(name, r.config.HeartbeatInterval, node, func() *tally { return &r.converter.tally })
	r.converter = newConverter(options{
		raw: r.config.IncludeRaw, arguments: r.config.IncludeArguments, self: ownProcess(replay), containment: r.config.ContainmentInterval,
	}, r.ledger)
	r.batch = newBatch(name)
}

// Shutdown ends reading, and offers what is in hand to the pipeline once more.
func (r *tetragonReceiver) Shutdown(ctx context.Context) error {
	if r.cancel != nil {
		r.cancel()
	}
	r.done.Wait()
	r.telemetry.Shutdown()
	if r.client == nil {
		return nil
	}
	client := r.client
	r.client = nil
	return client.Close(ctx)
}

// add converts an event into the batch.
func (r *tetragonReceiver) add(event *tetragon.GetEventsResponse, received time.Time, uid string) {
	r.batch.events++
	r.converter.convert(r.batch, event, received, uid)
}

// full reports whether the batch must be handed on.
func (r *tetragonReceiver) full() bool { return r.batch.events >= r.config.Batch.MaxEvents }

// flush hands the batch on, again and again while the pipeline cannot take it. What it refuses for good is counted as
// lost. An error is that of ctx: then the batch was not handed on and is still there.
func (r *tetragonReceiver) flush(ctx context.Context) error {
	r.report()
	if r.batch.Logs.LogRecordCount() == 0 {
		r.batch.events = 0
		return ctx.Err()
	}
	refused, err := r.delivery.Deliver(ctx, r.batch.Logs)
	if err != nil {
		return err
	}
	if refused != nil {
		r.ledger.miss(stageRefused, uint64(r.batch.events)) //nolint:gosec // not negative
		r.settings.Logger.Error("The pipeline refused events for good", zap.Int("events", r.batch.events), zap.Error(refused))
	}
	r.batch = newBatch(r.batch.source)
	return nil
}

// drain is the flush of a receiver that shuts down.
func (r *tetragonReceiver) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err := r.flush(ctx)
	if err != nil {
		r.settings.Logger.Warn("Events were not handed on before the shutdown", zap.Int("events", r.batch.events))
	}
	return err
}

// report adds what the converter counted to the metrics.
func (r *tetragonReceiver) report() {
	counted := &r.converter.tally
	ctx := context.Background()
	add := func(counter metric.Int64Counter, name string, values map[string]int64) {
		for value, n := range values {
			counter.Add(ctx, n, metric.WithAttributes(attribute.String(name, value)))
		}
		clear(values)
	}
	add(r.telemetry.TetragonReceiverEvents, "type", counted.events)
	add(r.telemetry.TetragonReceiverSkipped, "reason", counted.skipped)
	add(r.telemetry.TetragonReceiverDroppedFrames, "reason", counted.frames)
	add(r.telemetry.TetragonReceiverLostEvents, "stage", counted.lost)
	add(r.telemetry.TetragonReceiverTableEvictions, "table", counted.evictions)
}

func (r *tetragonReceiver) status(event *componentstatus.Event) {
	componentstatus.ReportStatus(r.host, event)
}
