package hotsymbolprocessor

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	xstorage "go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Back-off between tries.
const (
	firstWait = 500 * time.Millisecond
	maxWait   = 30 * time.Second
)

// flush makes the hits of the buckets, and all losses, batches that are pending, under new keys. Either all of it
// happens, in the checkpoint too, or nothing.
func (p *hotSymbol) flush(ctx context.Context, buckets []*bucket) error {
	t := p.table
	if len(buckets) == 0 && len(t.losses) == 0 && len(t.lossJournal) == 0 {
		return nil
	}
	slices.SortFunc(buckets, func(a, b *bucket) int {
		return cmp.Or(cmp.Compare(a.origin.label, b.origin.label), cmp.Compare(a.start, b.start), cmp.Compare(a.number, b.number))
	})
	pack := packer{now: time.Now(), flush: p.state.Flush}
	for _, b := range buckets {
		pack.bucket(b)
	}
	pack.close()
	pack.losses(t.lossEntries(true))
	if pack.err != nil {
		return p.flushFailed(ctx, pack.err)
	}

	next := p.state
	next.Flush = pack.flush
	operations := make([]*xstorage.Operation, 0, len(pack.batches)+8)
	for _, b := range pack.batches {
		b.number = next.Batches[1]
		next.Batches[1]++
		if p.client != nil {
			value, err := b.encode()
			if err != nil {
				return p.flushFailed(ctx, err)
			}
			operations = append(operations, xstorage.SetOperation(keyNumber(prefixSend, b.number), value))
		}
	}
	if p.client != nil {
		clocks, err := encodeClocks(t)
		if err != nil {
			return p.flushFailed(ctx, err)
		}
		operations = append(operations, xstorage.SetOperation(keyClocks, clocks))
		flushed := make(map[*bucket]bool, len(buckets))
		for _, b := range buckets {
			flushed[b] = true
			for _, number := range b.journal {
				operations = append(operations, xstorage.DeleteOperation(keyNumber(prefixHits, number)))
			}
		}
		for _, number := range t.lossJournal {
			operations = append(operations, xstorage.DeleteOperation(keyNumber(prefixHits, number)))
		}
		next.Journal[0] = next.Journal[1]
		for _, b := range t.buckets {
			if !flushed[b] && len(b.journal) > 0 {
				next.Journal[0] = min(next.Journal[0], b.journal[0])
			}
		}
	}
	if err := p.write(ctx, next, operations); err != nil {
		return p.flushFailed(ctx, err)
	}
	t.remove(buckets)
	t.removeLosses()
	for _, b := range pack.batches {
		p.pending = append(p.pending, b)
		p.pendingRecords += b.Records
	}
	p.telemetry.HotSymbolEntries.Record(ctx, int64(t.entries))
	p.pendingChanged(ctx)
	signal(p.wakeSend)
	return nil
}

func (p *hotSymbol) flushFailed(ctx context.Context, err error) error {
	p.telemetry.HotSymbolCheckpointErrors.Add(ctx, 1)
	p.logger.Error("The checkpoint could not be written; hits wait for the next flush")
	return fmt.Errorf("hot_symbol: write the checkpoint: %w", err)
}

// packer makes batches of buckets that come ordered by sender.
type packer struct {
	now     time.Time
	flush   uint64 // next flush number
	batches []*batch
	err     error

	sender       sender
	bytes        int
	observations []witness.Observation
}

func (k *packer) bucket(b *bucket) {
	if k.sender != b.origin.sender {
		k.close()
		k.sender = b.origin.sender
	}
	used := uint64(0)
	numbers := make(map[variant]uint64, len(b.entries)) // given to what differs only in what is no part of the key
	for _, s := range b.sums() {
		o := b.observation(s.entry, s.hits, s.hitsError, s.first, s.last)
		at := variant{id: s.entry.witness.id, place: s.entry.place}
		o.Flush = k.flush + numbers[at]
		numbers[at]++
		used = max(used, numbers[at])
		size := sizeOf(&o)
		if len(k.observations) >= maxRecords || len(k.observations) > 0 && k.bytes+size > maxBytes {
			k.close()
		}
		k.observations = append(k.observations, o)
		k.bytes += size
	}
	k.flush += used
}

// variant is what the entries of a bucket are told apart by.
type variant struct {
	id     witness.ID
	place  *place
	claims *claims
}

// sums are the hits of a bucket. Entries of one witness that differ only in what was learnt of its frames, or that were
// found anew after the identities were cleared, are added up; what was learnt last is kept. They come by witness id, the
// same order in every window: a storage that keeps windows in the order in which they came then writes each page once.
func (b *bucket) sums() []delta {
	sums := make([]delta, 0, len(b.entries))
	index := make(map[variant]int, len(b.entries))
	for _, e := range b.entries {
		if e.hits == 0 {
			continue
		}
		at := variant{e.witness.id, e.place, e.claims}
		if i, ok := index[at]; ok && e.hits <= math.MaxInt64-sums[i].hits {
			sums[i].merge(e)
			continue
		}
		index[at] = len(sums)
		sums = append(sums, delta{e, e.hits, e.hitsError, e.first, e.last})
	}
	slices.SortStableFunc(sums, func(a, b delta) int {
		return bytes.Compare(a.entry.witness.id[:], b.entry.witness.id[:])
	})
	return sums
}

func (d *delta) merge(e *entry) {
	d.hits += e.hits
	d.hitsError += e.hitsError
	d.first, d.last = min(d.first, e.first), max(d.last, e.last)
	if e.artifact == nil && d.entry.artifact != nil || e.component() == "" && d.entry.component() != "" {
		return
	}
	d.entry = e
}

func (e *entry) component() string { return e.witness.node.frame.about.component }

func (k *packer) close() {
	if len(k.observations) > 0 && k.err == nil {
		body, err := encodeObservations(k.observations, k.now)
		k.err = err
		k.batches = append(k.batches, &batch{Sender: k.sender, Records: len(k.observations), body: body})
	}
	clear(k.observations)
	k.observations, k.bytes = k.observations[:0], 0
}

// losses makes a batch of each sender's losses. The flush number is in the end of each, as nanoseconds: the key of a
// loss is its span, and two losses must not have the same.
func (k *packer) losses(entries []lossEntry) {
	slices.SortFunc(entries, func(a, b lossEntry) int {
		return cmp.Or(a.Sender.compare(b.Sender), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Host, b.Host))
	})
	for len(entries) > 0 && k.err == nil {
		n := 1
		for n < len(entries) && n < maxRecords && entries[n].Sender == entries[0].Sender {
			n++
		}
		logs := plog.NewLogs()
		for i := range entries[:n] {
			l := &entries[i]
			resource := logs.ResourceLogs().AppendEmpty()
			witness.PutResource(resource.Resource().Attributes(), witness.Workload{}, witness.Instance{Host: l.Host})
			scope := resource.ScopeLogs().AppendEmpty()
			scope.Scope().SetName(metadata.ScopeName)
			// A window can end far ahead, and what ends ahead is refused: the gap is up to now.
			end := max(l.Start, min(l.End, k.now.UnixNano()))
			coverage := witness.Coverage{
				Source: l.Source, LossStage: l.Stage, Lost: l.Hits, Assurance: l.Sender.assurance(),
				Start: time.Unix(0, l.Start).UTC(), End: time.Unix(0, end+int64(k.flush)).UTC(), //nolint:gosec // a counter
			}
			k.flush++
			coverage.Put(scope.LogRecords().AppendEmpty(), k.now)
		}
		body, err := encodeLogs(logs)
		k.err = err
		k.batches = append(k.batches, &batch{Sender: entries[0].Sender, Records: n, body: body})
		entries = entries[n:]
	}
}

// sizeOf is about how many bytes an observation takes.
func sizeOf(o *witness.Observation) int {
	size := 640
	frame := func(f *witness.Frame) {
		size += 120 + len(f.Package) + len(f.Member) + len(f.Symbol) + len(f.Module.Path) + len(f.Module.BuildID) +
			len(f.Module.SHA256) + len(f.File) + len(f.Component)
	}
	frame(&o.Witness.Frame)
	for i := range o.Witness.Path {
		frame(&o.Witness.Path[i])
	}
	return size
}

// flushLoop flushes what has waited for flush_interval.
func (p *hotSymbol) flushLoop() {
	defer p.loops.Done()
	for {
		var timer <-chan time.Time
		if wait, ok := p.flushOverdue(); ok {
			timer = time.After(wait)
		}
		select {
		case <-p.stop:
			return
		case <-p.wakeFlush:
		case <-timer:
		}
	}
}

// flushOverdue flushes and returns how long to wait for the next time; ok is false when nothing waits, or nothing can
// be done before a batch is accepted.
func (p *hotSymbol) flushOverdue() (wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running || !p.room() {
		return 0, false
	}
	interval := p.config.flushInterval()
	since, ok := p.table.oldest()
	if !ok {
		return 0, false
	}
	now := time.Now()
	if wait := since.Add(interval).Sub(now); wait > 0 {
		return wait, true
	}
	if err := p.flush(p.sending, p.table.due(now.Add(-interval))); err != nil {
		return firstWait, true
	}
	since, ok = p.table.oldest()
	return max(since.Add(interval).Sub(now), time.Millisecond), ok
}

// sendLoop sends pending batches on, in order, each until it is accepted.
func (p *hotSymbol) sendLoop() {
	defer p.loops.Done()
	tries := 0
	for {
		stopping := p.stopping()
		b := p.head()
		if b == nil {
			if stopping {
				return
			}
			select {
			case <-p.wakeSend:
			case <-p.stop:
			}
			continue
		}
		if p.send(b) {
			tries = 0
			continue
		}
		if p.sending.Err() != nil || stopping && p.config.Storage != nil {
			return
		}
		stop := p.stop
		if stopping {
			stop = nil
		}
		select {
		case <-time.After(p.wait(tries)):
		case <-stop:
		case <-p.sending.Done():
		}
		tries++
	}
}

func (p *hotSymbol) stopping() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

func (p *hotSymbol) head() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) == 0 {
		return nil
	}
	return p.pending[0]
}

// send offers a batch to the next component; done when it need not be offered again.
func (p *hotSymbol) send(b *batch) (done bool) {
	logs, err := decodeLogs(b.body)
	if err == nil {
		err = p.next.ConsumeLogs(b.Sender.context(p.sending), logs)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.telemetry.HotSymbolSentRecords.Add(p.sending, int64(b.Records))
	case hopeless(err):
		if !p.refused(b) {
			return false
		}
	default:
		p.telemetry.HotSymbolSendRetries.Add(p.sending, 1)
		return false
	}
	p.accepted(b)
	return true
}

// accepted takes the oldest batch out of the checkpoint. One that stays in it because of an error is sent once more
// after a restart, under the same keys.
func (p *hotSymbol) accepted(b *batch) {
	p.pending[0] = nil
	p.pending = p.pending[1:]
	p.pendingRecords -= b.Records
	p.pendingChanged(p.sending)
	signal(p.wakeFlush)

	next := p.state
	first := next.Batches[1]
	if len(p.pending) > 0 {
		first = p.pending[0].number
	}
	var operations []*xstorage.Operation
	for ; next.Batches[0] < first; next.Batches[0]++ {
		operations = append(operations, xstorage.DeleteOperation(keyNumber(prefixSend, next.Batches[0])))
	}
	if err := p.write(p.sending, next, operations); err != nil {
		p.telemetry.HotSymbolCheckpointErrors.Add(p.sending, 1)
		p.logger.Error("A batch that was accepted could not be taken out of the checkpoint")
	}
}

// refused turns a batch that will never be accepted into losses; false when they cannot be kept.
func (p *hotSymbol) refused(b *batch) bool {
	t := p.table
	t.now = time.Now()
	losses, hits := lossesOf(b)
	for _, l := range losses {
		t.lose(lossKey{l.Sender, l.Source, l.Stage, l.Host}, l.Start, l.End, l.Hits)
	}
	if _, err := p.commit(p.sending); err != nil {
		return false
	}
	p.countLost(p.sending, "refused", hits)
	p.logger.Error("The next component refused a batch for good; it is counted as lost", zap.Int("records", b.Records))
	return true
}

// lossesOf is what is lost when a batch is: the hits of its observations, how many there are, and the losses in it, which
// are to be reported again.
func lossesOf(b *batch) (out []lossEntry, hits uint64) {
	logs, err := decodeLogs(b.body)
	if err != nil {
		return nil, 0
	}
	for _, resource := range logs.ResourceLogs().All() {
		attributes := resource.Resource().Attributes()
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				if c, ok, err := witness.CoverageOf(attributes, record); ok && err == nil {
					out = append(out, lossEntry{
						Sender: b.Sender, Source: c.Source, Stage: c.LossStage, Host: c.Instance.Host, Hits: c.Lost,
						Start: c.Start.UnixNano(), End: c.End.UnixNano(),
					})
				} else if o, err := witness.ObservationOf(attributes, record); err == nil {
					hits = plus(hits, o.Hits)
					out = append(out, lossEntry{
						Sender: b.Sender, Source: o.Source, Stage: stageRefused, Host: o.Instance.Host, Hits: o.Hits,
						Start: o.WindowStart.UnixNano(), End: o.WindowEnd.UnixNano(),
					})
				}
			}
		}
	}
	return out, hits
}

// hopeless reports whether trying again cannot help: every error that is joined here is permanent.
func hopeless(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs := joined.Unwrap()
		for _, err := range errs {
			if !hopeless(err) {
				return false
			}
		}
		return len(errs) > 0
	}
	return consumererror.IsPermanent(err)
}

// backoff doubles with each try up to maxWait, and spreads by a half.
func backoff(tries int) time.Duration {
	wait := min(firstWait<<min(tries, 10), maxWait)
	return wait/2 + rand.N(wait) //nolint:gosec // not a secret
}
