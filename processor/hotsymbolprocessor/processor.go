package hotsymbolprocessor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	xstorage "go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/internal/source"
	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Bounds that are not worth an option.
const (
	maxUIDs      = 16_384 // events of the last batches that are known again
	maxOrigins   = 16_384 // sources of events
	maxKnown     = 65_536 // instances, claims and artifacts, of each
	maxLosses    = 4_096  // losses by source, stage and host
	maxJournal   = 1_024  // journal entries of a bucket before they are made one
	maxRecords   = 1_000  // observations in a batch
	maxBytes     = 1 << 20
	drainTimeout = 10 * time.Second
)

var (
	errPending = errors.New("hot_symbol: too many batches are pending; try again later")
	errStopped = errors.New("hot_symbol: is not running")
)

// hotSymbol counts events and sends observations on.
type hotSymbol struct {
	config    *Config
	id        component.ID
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	next      consumer.Logs
	wait      func(tries int) time.Duration // between tries to send

	wakeFlush chan struct{} // the oldest waiting hit may have changed
	wakeSend  chan struct{} // something is pending
	stop      chan struct{}
	loops     sync.WaitGroup
	sending   context.Context // of calls of next that are not made for a caller
	cancel    context.CancelFunc

	mu             sync.Mutex
	running        bool
	client         xstorage.Client // nil without storage
	source         string          // own
	table          *table
	state          state
	pending        []*batch // oldest first
	pendingRecords int
}

func newProcessor(set processor.Settings, config *Config, next consumer.Logs) (*hotSymbol, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	p := &hotSymbol{
		config: config, id: set.ID, logger: set.Logger, telemetry: telemetry, next: next, wait: backoff,
		wakeFlush: make(chan struct{}, 1), wakeSend: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	p.table = newTable(config.Window, config.AllowedLateness, maxUIDs, p.sourceOf)
	p.state.Version = stateVersion
	return p, nil
}

// Capabilities says that logs are not changed: what is passed on is a copy, since the events are counted only once
// that has been accepted.
func (*hotSymbol) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

// Start opens the checkpoint, if there is one, and takes up what an earlier run left in it.
func (p *hotSymbol) Start(ctx context.Context, host component.Host) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	restored, damaged := false, 0
	if p.config.Storage != nil {
		extension, ok := host.GetExtensions()[*p.config.Storage].(xstorage.Extension)
		if !ok {
			return errors.New("storage: names no storage extension in service.extensions")
		}
		client, err := extension.GetClient(ctx, component.KindProcessor, p.id, "")
		if err != nil {
			return fmt.Errorf("storage: %w", err)
		}
		p.client = client
		if restored, damaged, err = p.restore(ctx); err != nil {
			return errors.Join(fmt.Errorf("storage: %w", err), p.close(ctx))
		}
	}
	name, err := source.Open(ctx, p.client, p.id, restored)
	if err != nil {
		return errors.Join(err, p.close(ctx))
	}
	p.source = name
	if p.client != nil {
		if err := p.recover(ctx, restored, damaged); err != nil {
			return errors.Join(fmt.Errorf("storage: %w", err), p.close(ctx))
		}
	}
	p.sending, p.cancel = context.WithCancel(context.Background())
	p.running = true
	p.loops.Add(2)
	go p.flushLoop()
	go p.sendLoop()
	return nil
}

func (p *hotSymbol) close(ctx context.Context) error {
	if p.client == nil {
		return nil
	}
	closing := p.client
	p.client = nil
	return closing.Close(ctx)
}

// Shutdown flushes and sends on what there is. What is not accepted stays in the checkpoint; without one it is lost,
// counted, and an error.
func (p *hotSymbol) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if !p.running {
		p.mu.Unlock()
		return nil
	}
	p.running = false
	err := p.flush(ctx, p.table.all())
	p.mu.Unlock()

	close(p.stop)
	unhook := context.AfterFunc(ctx, p.cancel)
	timer := time.AfterFunc(drainTimeout, p.cancel)
	p.loops.Wait()
	timer.Stop()
	unhook()
	p.cancel()

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == nil && p.pendingRecords > 0 {
		hits := uint64(0)
		for _, b := range p.pending {
			_, n := lossesOf(b)
			hits = plus(hits, n)
		}
		p.countLost(ctx, "shutdown", hits)
		err = errors.Join(err, fmt.Errorf("hot_symbol: %d records were not accepted before the end, and there is no storage to keep them", p.pendingRecords))
	}
	p.telemetry.Shutdown()
	return errors.Join(err, p.close(ctx))
}

// sourceOf is the source of observations of events from a source: the installation and incarnation of this processor,
// which numbers the flushes, and the component that the events came from, which tells two receivers apart.
func (p *hotSymbol) sourceOf(event string) string {
	if event == "" {
		return p.source
	}
	componentID := event
	if parts := strings.SplitN(event, "/", 3); len(parts) > 1 {
		componentID = parts[len(parts)-1]
	}
	own := strings.SplitN(p.source, "/", 3)
	if componentID == "" || len(own) < 3 {
		return p.source
	}
	return own[0] + "/" + own[1] + "/" + strings.ToValidUTF8(componentID, "\uFFFD")
}

// ConsumeLogs counts the events of logs and passes everything else on. When it returns nil the events are counted, and
// in the checkpoint; when it returns an error that is not permanent nothing is counted.
func (p *hotSymbol) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	events, others := census(logs)
	if events == 0 {
		return p.next.ConsumeLogs(ctx, logs)
	}
	if err := p.admit(ctx); err != nil {
		return err
	}
	var refused error
	if others > 0 || p.config.Events == eventsKeep {
		var passed plog.Logs
		if p.config.Events == eventsKeep {
			passed = plog.NewLogs()
			logs.CopyTo(passed)
		} else {
			passed = without(logs)
		}
		if refused = p.next.ConsumeLogs(ctx, passed); refused != nil && !hopeless(refused) {
			return refused
		}
	}
	if err := p.count(ctx, logs); err != nil {
		return err
	}
	return refused
}

// census counts the records that are events to count, and the others.
func census(logs plog.Logs) (events, others int) {
	for i := range logs.ResourceLogs().Len() {
		scopes := logs.ResourceLogs().At(i).ScopeLogs()
		for j := range scopes.Len() {
			records := scopes.At(j).LogRecords()
			for k := range records.Len() {
				if counted(records.At(k).EventName()) {
					events++
				} else {
					others++
				}
			}
		}
	}
	return events, others
}

// without copies the records that are not counted, with their scopes and resources.
func without(logs plog.Logs) plog.Logs {
	out := plog.NewLogs()
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		var resourceOut plog.ResourceLogs
		hasResource := false
		for j := range resource.ScopeLogs().Len() {
			scope := resource.ScopeLogs().At(j)
			var scopeOut plog.ScopeLogs
			hasScope := false
			for k := range scope.LogRecords().Len() {
				record := scope.LogRecords().At(k)
				if counted(record.EventName()) {
					continue
				}
				if !hasResource {
					resourceOut, hasResource = out.ResourceLogs().AppendEmpty(), true
					resource.Resource().CopyTo(resourceOut.Resource())
					resourceOut.SetSchemaUrl(resource.SchemaUrl())
				}
				if !hasScope {
					scopeOut, hasScope = resourceOut.ScopeLogs().AppendEmpty(), true
					scope.Scope().CopyTo(scopeOut.Scope())
					scopeOut.SetSchemaUrl(scope.SchemaUrl())
				}
				record.CopyTo(scopeOut.LogRecords().AppendEmpty())
			}
		}
	}
	return out
}

// admit makes room for a batch, or says that there is none.
func (p *hotSymbol) admit(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		return errStopped
	}
	if !p.room() {
		p.telemetry.HotSymbolBackpressure.Add(ctx, 1)
		return errPending
	}
	t := p.table
	if t.ids.size() > 4*p.config.MaxWitnesses+4096 {
		t.ids.clear()
	}
	if t.entries < p.config.MaxWitnesses && len(t.origins) <= maxOrigins && t.known.size() <= maxKnown && len(t.losses) <= maxLosses {
		return nil
	}
	if err := p.flush(ctx, t.all()); err != nil {
		return err
	}
	p.telemetry.HotSymbolEarlyFlushes.Add(ctx, 1)
	if len(t.origins) > maxOrigins {
		clear(t.origins)
	}
	if t.known.size() > maxKnown {
		t.known.clear()
	}
	return nil
}

// room reports whether another flush may become pending.
func (p *hotSymbol) room() bool { return p.pendingRecords < 2*p.config.MaxWitnesses }

// count counts the events of logs and writes the checkpoint.
func (p *hotSymbol) count(ctx context.Context, logs plog.Logs) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		return errStopped
	}
	now := time.Now()
	p.table.add(now, senderOf(ctx), logs)
	passed, err := p.commit(ctx)
	if err != nil {
		return err
	}
	if len(passed) > 0 && p.room() {
		// What fails here stays in the table and in the journal, and is tried again by the flush loop.
		_ = p.flush(ctx, passed)
	}
	if p.table.fresh {
		p.table.fresh = false
		signal(p.wakeFlush)
	}
	return nil
}

// commit writes the batch in hand to the journal and then adds it to the table; an error forgets it. See table.commit.
func (p *hotSymbol) commit(ctx context.Context) (passed []*bucket, err error) {
	t := p.table
	if p.client != nil && !t.idle() {
		if err := p.journal(ctx); err != nil {
			t.rollback()
			p.telemetry.HotSymbolCheckpointErrors.Add(ctx, 1)
			return nil, fmt.Errorf("hot_symbol: write the checkpoint: %w", err)
		}
	}
	p.report(ctx)
	passed = t.commit()
	p.telemetry.HotSymbolEntries.Record(ctx, int64(t.entries))
	return passed, nil
}

// journal writes the batch in hand.
func (p *hotSymbol) journal(ctx context.Context) error {
	t, next := p.table, p.state
	var operations []*xstorage.Operation
	set := func(value []byte) uint64 {
		number := next.Journal[1]
		next.Journal[1]++
		operations = append(operations, xstorage.SetOperation(keyNumber(prefixHits, number), value))
		return number
	}
	drop := func(numbers []uint64) {
		for _, number := range numbers {
			operations = append(operations, xstorage.DeleteOperation(keyNumber(prefixHits, number)))
		}
	}
	numbers := make([]uint64, len(t.touched))
	whole := make([]bool, len(t.touched))
	for i, b := range t.touched {
		if whole[i] = len(b.journal) >= maxJournal; whole[i] {
			drop(b.journal)
		}
		value, err := encodeBucket(b, t.now, whole[i])
		if err != nil {
			return err
		}
		numbers[i] = set(value)
	}
	var lossNumber uint64
	wholeLosses := len(t.lossJournal) >= maxJournal
	if len(t.touchedLosses) > 0 {
		if wholeLosses {
			drop(t.lossJournal)
		}
		entry := journalEntry{Losses: t.lossEntries(wholeLosses)}
		value, err := entry.encode(t.now)
		if err != nil {
			return err
		}
		lossNumber = set(value)
	}
	if len(t.seen.batch) > 0 {
		expired := t.seen.expired()
		for _, old := range t.seen.batches[:expired] {
			operations = append(operations, xstorage.DeleteOperation(keyNumber(prefixUIDs, old.number)))
		}
		next.UIDs = [2]uint64{t.seen.next, t.seen.next + 1}
		if expired < len(t.seen.batches) {
			next.UIDs[0] = t.seen.batches[expired].number
		}
		operations = append(operations, xstorage.SetOperation(keyNumber(prefixUIDs, t.seen.next), encodeUIDs(t.seen.batch)))
	}
	if err := p.write(ctx, next, operations); err != nil {
		return err
	}
	for i, b := range t.touched {
		if whole[i] {
			b.journal = b.journal[:0]
		}
		b.journal = append(b.journal, numbers[i])
	}
	if len(t.touchedLosses) > 0 {
		if wholeLosses {
			t.lossJournal = t.lossJournal[:0]
		}
		t.lossJournal = append(t.lossJournal, lossNumber)
	}
	return nil
}

// write applies operations and the next state at once. Without a checkpoint there is only the state in memory.
func (p *hotSymbol) write(ctx context.Context, next state, operations []*xstorage.Operation) error {
	if p.client != nil {
		value, err := encodeState(next)
		if err != nil {
			return err
		}
		if err := p.client.Batch(ctx, append(operations, xstorage.SetOperation(keyState, value))...); err != nil {
			return err
		}
	}
	p.state = next
	return nil
}

// report puts the tally of the batch in hand into the metrics.
func (p *hotSymbol) report(ctx context.Context) {
	t := &p.table.tally
	for _, kind := range witness.Kinds {
		if n := t.kinds[kindIndex(kind)]; n > 0 {
			p.telemetry.HotSymbolEvents.Add(ctx, n, metric.WithAttributes(attribute.String("kind", string(kind))))
		}
	}
	for reason, n := range t.skipped {
		p.telemetry.HotSymbolSkippedEvents.Add(ctx, n, metric.WithAttributes(attribute.String("reason", reason)))
	}
	p.countLost(ctx, "late", t.late)
	p.countLost(ctx, "ahead", t.ahead)
}

func (p *hotSymbol) countLost(ctx context.Context, stage string, hits uint64) {
	if hits > 0 {
		p.telemetry.HotSymbolLostHits.Add(ctx, int64(hits), metric.WithAttributes(attribute.String("stage", stage))) //nolint:gosec // bounded by plus
	}
}

func (p *hotSymbol) pendingChanged(ctx context.Context) {
	p.telemetry.HotSymbolPendingBatches.Record(ctx, int64(len(p.pending)))
}

// senderOf is who sends, as the authenticator says.
func senderOf(ctx context.Context) sender {
	principal, authenticated := storage.PrincipalFrom(ctx)
	return sender{Tenant: principal.Tenant, Name: principal.Name, Authenticated: authenticated, Unvouched: !storage.Vouched(ctx)}
}

// context is what the next component needs to know the sender again.
func (s sender) context(ctx context.Context) context.Context {
	if !s.Authenticated {
		return ctx
	}
	return client.NewContext(ctx, client.Info{Auth: authData(s)})
}

// authData is a sender as the authenticator showed it.
type authData sender

// GetAttribute returns subject and tenant.
func (a authData) GetAttribute(name string) any {
	switch name {
	case "subject":
		return a.Name
	case "tenant":
		return a.Tenant
	}
	return nil
}

// GetAttributeNames lists what GetAttribute returns.
func (authData) GetAttributeNames() []string { return []string{"subject", "tenant"} }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
