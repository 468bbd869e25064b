package hotsymbolprocessor

import (
	"context"
	"encoding/json"
	"time"

	xstorage "go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

func encodeState(s state) ([]byte, error) { return json.Marshal(s) }

func encodeClocks(t *table) ([]byte, error) {
	clocks := make([]clock, 0, len(t.origins))
	for _, o := range t.origins {
		if o.newest > 0 {
			clocks = append(clocks, clock{o.sender, o.source, o.newest})
		}
	}
	return json.Marshal(clocks)
}

// restore reads the root of the checkpoint; false when there is none that can be read, so that numbering begins anew
// under another incarnation.
func (p *hotSymbol) restore(ctx context.Context) (restored bool, damaged int, err error) {
	value, err := p.client.Get(ctx, keyState)
	if err != nil || value == nil {
		return false, 0, err
	}
	s, err := decodeState(value)
	if err != nil {
		return false, 1, nil //nolint:nilerr // counted as damage
	}
	p.state = s
	return true, 0, nil
}

// recover takes up what an earlier run left: pending batches are sent again under their keys, and what was counted but
// not flushed is flushed. What cannot be read is a loss.
func (p *hotSymbol) recover(ctx context.Context, restored bool, damaged int) error {
	t := p.table
	t.now = time.Now()
	buckets := restoring{table: t, buckets: map[uint64]*restoredBucket{}}
	if restored {
		more, err := p.read(ctx, &buckets)
		if err != nil {
			return err
		}
		damaged += more
	}
	if damaged > 0 {
		p.telemetry.HotSymbolCheckpointErrors.Add(ctx, int64(damaged))
		p.logger.Error("Entries of the checkpoint are damaged; hits in them are lost", zap.Int("entries", damaged))
		start := t.now.UnixNano()
		for _, o := range t.origins {
			start = min(start, o.newest)
		}
		start = floor(max(start-t.lateness, 0), t.window)
		t.lose(lossKey{source: p.source, stage: stageCheckpoint}, start, floor(t.now.UnixNano(), t.window)+t.window, uint64(damaged)) //nolint:gosec // a count
		t.commit()
	}
	p.pendingChanged(ctx)
	signal(p.wakeSend)
	return p.flush(ctx, buckets.list)
}

// read reads the checkpoint into the table, and returns how many entries are damaged.
func (p *hotSymbol) read(ctx context.Context, buckets *restoring) (damaged int, err error) {
	t := p.table
	err = p.each(ctx, prefixSend, p.state.Batches, func(number uint64, value []byte) {
		b, err := decodeBatch(number, value)
		if err != nil {
			damaged++
			return
		}
		p.pending = append(p.pending, b)
		p.pendingRecords += b.Records
	})
	if err != nil {
		return damaged, err
	}
	err = p.each(ctx, prefixUIDs, p.state.UIDs, func(number uint64, value []byte) {
		batch, err := decodeUIDs(value)
		if err != nil {
			damaged++
			return
		}
		t.seen.restore(number, batch)
	})
	if err != nil {
		return damaged, err
	}
	t.seen.next = p.state.UIDs[1]

	value, err := p.client.Get(ctx, keyClocks)
	if err != nil {
		return damaged, err
	}
	var clocks []clock
	if value != nil && json.Unmarshal(value, &clocks) != nil {
		damaged++
	}
	for _, c := range clocks {
		t.restoreClock(c)
	}
	err = p.each(ctx, prefixHits, p.state.Journal, func(number uint64, value []byte) {
		entry, err := decodeJournal(value)
		if err == nil && buckets.add(number, &entry) {
			return
		}
		damaged++
		t.lossJournal = append(t.lossJournal, number) // to be deleted with the next flush
	})
	return damaged, err
}

// each reads the values of a range of numbers, in order, those that there are.
func (p *hotSymbol) each(ctx context.Context, prefix string, numbers [2]uint64, do func(uint64, []byte)) error {
	const atOnce = 128
	for from := numbers[0]; from < numbers[1]; {
		to := min(from+atOnce, numbers[1])
		operations := make([]*xstorage.Operation, 0, atOnce)
		for number := from; number < to; number++ {
			operations = append(operations, xstorage.GetOperation(keyNumber(prefix, number)))
		}
		if err := p.client.Batch(ctx, operations...); err != nil {
			return err
		}
		for i, operation := range operations {
			if operation.Value != nil {
				do(from+uint64(i), operation.Value) //nolint:gosec // not negative
			}
		}
		from = to
	}
	return nil
}

func (t *table) restoreClock(c clock) *origin {
	o := t.origin(originKey{c.Sender, c.Event})
	o.newest = max(o.newest, c.Newest)
	o.next = o.newest
	return o
}

// restoring puts buckets together from the journal. They are not in the table: they are flushed at once.
type restoring struct {
	table   *table
	buckets map[uint64]*restoredBucket
	list    []*bucket
}

type restoredBucket struct {
	*bucket
	byIndex map[int]*entry
}

// add adds a journal entry; false when part of it fits nowhere.
func (r *restoring) add(number uint64, j *journalEntry) bool {
	t := r.table
	for _, l := range j.Losses {
		t.lose(lossKey{l.Sender, l.Source, l.Stage, l.Host}, l.Start, l.End, l.Hits)
	}
	if len(j.Losses) > 0 {
		t.commit()
		t.lossJournal = append(t.lossJournal, number)
		return true
	}
	b, ok := r.buckets[j.Bucket]
	if !ok {
		o := *t.restoreClock(j.Clock)
		o.name = j.Source
		b = &restoredBucket{
			bucket: &bucket{
				bucketKey: bucketKey{&o, j.Start}, window: j.Window, number: j.Bucket, cells: map[cell]*entry{},
			},
			byIndex: map[int]*entry{},
		}
		r.buckets[j.Bucket] = b
		r.list = append(r.list, b.bucket)
	}
	t.restoreClock(j.Clock)
	b.journal = append(b.journal, number)
	complete := true
	for i := range j.described {
		o := &j.described[i]
		index := int(o.Flush) //nolint:gosec // a key of a map, whatever it is
		e, ok := b.byIndex[index]
		artifact := t.known.artifact(&o.Artifact)
		if ok {
			e.learn(artifact)
		} else {
			e = b.add(t.ids.of(&o.Witness), t.known.place(o.Instance), t.known.claim(o.Assurance, o.Origin, o.FindingIDs), artifact)
			t.entries++
			b.byIndex[index] = e
		}
		e.restore(o.Hits, o.HitsError, o.FirstSeen.UnixNano(), o.LastSeen.UnixNano())
	}
	for _, c := range j.counts {
		e, ok := b.byIndex[c.index]
		if !ok {
			complete = false
			continue
		}
		e.restore(c.hits, c.hitsError, c.first, c.last)
	}
	return complete
}

func (e *entry) restore(hits, hitsError uint64, first, last int64) {
	if e.hits == 0 {
		e.first, e.last = first, last
	}
	e.first, e.last = min(e.first, first), max(e.last, last)
	e.hits = plus(e.hits, hits)
	e.hitsError = plus(e.hitsError, hitsError)
}
