package hotsymbolprocessor

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Stages of loss, as in witness.loss.stage.
const (
	stageLate       = "hot_symbol.late"
	stageAhead      = "hot_symbol.ahead"
	stageRefused    = "hot_symbol.refused"
	stageCheckpoint = "hot_symbol.checkpoint"
)

// sender is who sent a batch: hits of one are never added to those of another.
type sender struct {
	Tenant        string `json:"tenant,omitempty"`
	Name          string `json:"name,omitempty"`
	Authenticated bool   `json:"authenticated,omitempty"`
	// Unvouched senders only assert: their context ends here, so their sightings are marked.
	Unvouched bool `json:"unvouched,omitempty"`
}

func (s sender) compare(other sender) int {
	return cmp.Or(cmp.Compare(s.Tenant, other.Tenant), cmp.Compare(s.Name, other.Name),
		cmp.Compare(s.trust(), other.trust()))
}

// trust tells senders without a name apart.
func (s sender) trust() string {
	return strconv.FormatBool(s.Authenticated) + strconv.FormatBool(s.Unvouched)
}

// assurance is what a sender's losses are worth.
func (s sender) assurance() witness.Assurance {
	if s.Unvouched {
		return witness.Asserted
	}
	return witness.Measured
}

// originKey is a source of events: the sender and the witness.source of its events.
type originKey struct {
	sender sender
	source string
}

func (k originKey) label() string {
	return strings.Join([]string{k.sender.Tenant, k.sender.Name, k.sender.trust(), k.source}, "\x00")
}

// origin is a source of events with its clock. Times are nanoseconds since 1970.
type origin struct {
	originKey
	name   string // the source of its observations
	label  string // sender and source in one text
	newest int64  // of the events that are committed; 0 before the first
	next   int64  // with those of the batch in hand
	open   []*bucket
}

// cell is what a bucket counts apart: the numbers of a witness, a place and claims.
type cell struct{ witness, place, claims uint32 }

// entry counts hits of one witness at one instance with the same claims in one window from one origin. A flush gives
// entries that differ only in their claims a number of their own each.
type entry struct {
	witness         *identified
	place           *place
	claims          *claims
	artifact        *witness.Artifact // nil when unknown
	bucket          *bucket
	hits, hitsError uint64
	first, last     int64
	index           int32 // in bucket.entries
	delta           int32 // in bucket.touched, from 1; 0 when the batch in hand does not touch it
	journaled       bool  // what is counted is in the journal, so that a delta needs only the index
}

// delta is what the batch in hand adds to an entry.
type delta struct {
	entry           *entry
	hits, hitsError uint64
	first, last     int64
}

// hit is what one event says of one witness.
type hit struct {
	witness         *identified
	claims          *claims
	artifact        *witness.Artifact
	hits, hitsError uint64
}

type bucketKey struct {
	origin *origin
	start  int64
}

// bucket is the unflushed hits of one origin in one window.
type bucket struct {
	bucketKey
	window  int64  // its length
	number  uint64 // in the journal
	cells   map[cell]*entry
	entries []*entry
	touched []delta  // by the batch in hand
	journal []uint64 // numbers of the journal entries that make it up
	since   time.Time
}

// lossKey is what is told apart in losses. Source is the source of the observations.
type lossKey struct {
	sender              sender
	source, stage, host string
}

// loss is what was refused. Times are nanoseconds since 1970.
type loss struct {
	hits, batchHits      uint64
	start, end           int64
	batchStart, batchEnd int64
}

// Why an event was skipped.
const (
	skipDuplicate = "duplicate"
	skipNoTime    = "no_time"
	skipNoStack   = "no_stack"
	skipHits      = "hits"
)

// tally counts what a batch did, for the metrics.
type tally struct {
	kinds   [4]int64
	skipped map[string]int64
	late    uint64
	ahead   uint64
}

// table counts events. It does no I/O and knows no lock. A batch is counted between begin and commit or rollback.
type table struct {
	window   int64
	lateness int64
	name     func(source string) string

	origins map[originKey]*origin
	buckets map[bucketKey]*bucket
	losses  map[lossKey]*loss
	ids     *identities
	known   *vocabulary
	seen    *uids
	entries int
	numbers uint64 // of buckets
	fresh   bool   // something waits that did not before

	lossSince   time.Time
	lossJournal []uint64

	// The batch in hand.
	now           time.Time
	tally         tally
	touched       []*bucket
	touchedLosses []lossKey
	touchedOrigin []*origin
	event         witness.Event
	sights        []witness.Sight
	hits          []hit
	deferred      []deferred
	lastBucket    *bucket
}

// deferred is an event of a process that was running before, which is judged behind the others of its batch.
type deferred struct {
	origin      *origin
	place       *place
	hits        []hit
	kind        uint8
	first, last int64
}

func newTable(window, lateness time.Duration, maxUIDs int, name func(string) string) *table {
	return &table{
		window: int64(window), lateness: int64(lateness), name: name,
		origins: map[originKey]*origin{},
		buckets: map[bucketKey]*bucket{},
		losses:  map[lossKey]*loss{},
		ids:     newIdentities(),
		known:   newVocabulary(),
		seen:    newUIDs(maxUIDs),
		tally:   tally{skipped: map[string]int64{}},
	}
}

// counted reports whether events of this name are counted.
func counted(event string) bool {
	_, ok := witness.Witnessing(event)
	return ok
}

// add counts the events of logs into the batch in hand.
func (t *table) add(now time.Time, from sender, logs plog.Logs) {
	t.now = now
	var last *origin
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		var at *place
		var in *workload
		for j := range resource.ScopeLogs().Len() {
			scope := resource.ScopeLogs().At(j)
			source := semconv.Text(scope.Scope().Attributes(), semconv.WitnessSource)
			records := scope.LogRecords()
			for k := range records.Len() {
				record := records.At(k)
				if !counted(record.EventName()) {
					continue
				}
				if at == nil {
					in = t.ids.workload(witness.WorkloadOf(resource.Resource().Attributes()))
					at = t.known.place(witness.InstanceOf(resource.Resource().Attributes()))
				}
				err := t.event.Read(record)
				name := source
				if name == "" {
					name = t.event.Source
				}
				if last == nil || last.source != name {
					last = t.origin(originKey{from, name})
				}
				t.count(last, at, in, err)
			}
		}
	}
	t.settle()
	clear(t.event.Stack[:cap(t.event.Stack)])
	t.event = witness.Event{Stack: t.event.Stack[:0]}
}

// count counts the event that was read, or defers it.
func (t *table) count(o *origin, at *place, in *workload, err error) {
	e := &t.event
	if e.UID != "" && !t.seen.add(o.label, e.UID) {
		t.tally.skipped[skipDuplicate]++
		return
	}
	if err == nil {
		t.sights = e.AppendSights(t.sights[:0])
	}
	if err != nil || len(t.sights) == 0 {
		t.tally.skipped[reason(err)]++
		return
	}
	if o.sender.Unvouched {
		e.Assurance = witness.Asserted
	}
	seen := e.LastSeen.UnixNano()
	switch {
	case e.HitsError > e.Hits:
		t.tally.skipped[skipHits]++
		return
	case seen <= 0:
		t.tally.skipped[skipNoTime]++
		return
	}
	if e.LastSeen.After(t.now.Add(storage.MaxAhead)) {
		// The clock is wrong, not the future: the gap is now.
		start := floor(t.now.UnixNano(), t.window)
		t.lose(lossKey{o.sender, o.name, stageAhead, at.Host}, start, start+t.window, e.Hits)
		t.tally.ahead = plus(t.tally.ahead, e.Hits)
		return
	}
	if seen > o.next {
		if o.next == o.newest {
			t.touchedOrigin = append(t.touchedOrigin, o)
		}
		o.next = seen
	}
	if o.next-seen > t.lateness && !e.Preexisting {
		start := floor(seen, t.window)
		t.lose(lossKey{o.sender, o.name, stageLate, at.Host}, start, start+t.window, e.Hits)
		t.tally.late = plus(t.tally.late, e.Hits)
		return
	}
	t.find(in)
	if e.Preexisting {
		t.deferred = append(t.deferred, deferred{o, at, slices.Clone(t.hits), kindIndex(e.Kind), e.FirstSeen.UnixNano(), seen})
		return
	}
	t.tally.kinds[kindIndex(e.Kind)]++
	t.hit(o, at, floor(seen, t.window), e.FirstSeen.UnixNano(), seen, t.hits)
}

// find makes hits of the sights of the event that was read.
func (t *table) find(in *workload) {
	e := &t.event
	t.ids.locate(in, e.Stack)
	artifact := t.known.artifact(&e.Artifact)
	t.hits = t.hits[:0]
	var named, unnamed *claims
	for i := range t.sights {
		s := &t.sights[i]
		h := hit{witness: t.ids.identify(s.Kind, e.Stack, s.Index), hits: s.Hits, hitsError: s.HitsError}
		if s.OfArtifact {
			h.artifact = artifact
		}
		if s.Named {
			if named == nil {
				named = t.known.claim(e.Assurance, e.Origin, e.FindingIDs)
			}
			h.claims = named
		} else {
			if unnamed == nil {
				unnamed = t.known.claim(e.Assurance, e.Origin, nil)
			}
			h.claims = unnamed
		}
		t.hits = append(t.hits, h)
	}
}

func reason(err error) string {
	switch {
	case errors.Is(err, witness.ErrNoTime):
		return skipNoTime
	case errors.Is(err, witness.ErrHits):
		return skipHits
	default:
		return skipNoStack
	}
}

// settle counts the deferred events. That a process is running is observed when its source says so: what is too late
// for its own window is counted in that of the newest event.
func (t *table) settle() {
	for i := range t.deferred {
		d := &t.deferred[i]
		start := floor(d.last, t.window)
		if d.origin.next-d.last > t.lateness {
			start = floor(d.origin.next, t.window)
			d.first, d.last = start, start
		}
		t.tally.kinds[d.kind]++
		t.hit(d.origin, d.place, start, d.first, d.last, d.hits)
	}
	clear(t.deferred)
	t.deferred = t.deferred[:0]
}

// hit adds hits to the window that starts at start.
func (t *table) hit(o *origin, at *place, start, first, last int64, hits []hit) {
	b := t.lastBucket
	if b == nil || b.origin != o || b.start != start {
		b = t.bucket(bucketKey{o, start})
		t.lastBucket = b
	}
	if len(b.touched) == 0 {
		t.touched = append(t.touched, b)
	}
	for i := range hits {
		h := &hits[i]
		e := t.entry(b, at, h)
		if e.delta == 0 {
			b.touched = append(b.touched, delta{entry: e, first: first, last: last})
			e.delta = int32(len(b.touched)) //nolint:gosec // fewer than the frames of a batch
		}
		d := &b.touched[e.delta-1]
		d.first, d.last = min(d.first, first), max(d.last, last)
		d.hits += h.hits
		d.hitsError += h.hitsError
	}
}

func (t *table) origin(key originKey) *origin {
	o, ok := t.origins[key]
	if !ok {
		key.source = strings.Clone(key.source)
		o = &origin{originKey: key, name: t.name(key.source), label: key.label()}
		t.origins[key] = o
	}
	return o
}

func (t *table) bucket(key bucketKey) *bucket {
	b, ok := t.buckets[key]
	if !ok {
		b = &bucket{bucketKey: key, window: t.window, number: t.numbers, cells: map[cell]*entry{}, since: t.now}
		t.numbers++
		t.fresh = t.fresh || len(t.buckets) == 0 // else another one waits longer
		t.buckets[key] = b
		key.origin.open = append(key.origin.open, b)
	}
	return b
}

// entry finds or makes the entry for a hit: the one that its witness was counted in last, more often than not.
func (t *table) entry(b *bucket, at *place, h *hit) *entry {
	e := h.witness.entry
	if e == nil || e.bucket != b || e.place != at || e.claims != h.claims {
		e = b.cells[cell{h.witness.number, at.number, h.claims.number}]
	}
	if e == nil || h.hits > math.MaxInt64-e.hits-b.inHand(e).hits {
		t.entries++
		e = b.add(h.witness, at, h.claims, h.artifact)
	}
	h.witness.entry = e
	e.learn(h.artifact)
	return e
}

// inHand is what the batch in hand adds to an entry.
func (b *bucket) inHand(e *entry) delta {
	if e.delta == 0 {
		return delta{}
	}
	return b.touched[e.delta-1]
}

// add makes an entry. One that had its cell before is full, and stays as it is.
func (b *bucket) add(w *identified, at *place, said *claims, artifact *witness.Artifact) *entry {
	e := &entry{
		witness: w, place: at, claims: said, artifact: artifact, bucket: b,
		index: int32(len(b.entries)), //nolint:gosec // flushed long before 2^31
	}
	b.cells[cell{w.number, at.number, said.number}] = e
	b.entries = append(b.entries, e)
	return e
}

// learn takes over what a newer event knows of the artifact.
func (e *entry) learn(artifact *witness.Artifact) {
	if artifact != nil && artifact != e.artifact && (e.artifact == nil || !sameArtifact(artifact, e.artifact)) {
		e.artifact = artifact
		e.journaled = false
	}
}

func (t *table) lose(key lossKey, start, end int64, hits uint64) {
	l, ok := t.losses[key]
	if !ok {
		key.host = strings.Clone(key.host)
		l = &loss{}
		t.losses[key] = l
	}
	if l.batchHits == 0 {
		t.touchedLosses = append(t.touchedLosses, key)
		l.batchStart, l.batchEnd = start, end
	}
	l.batchHits = plus(l.batchHits, hits)
	l.batchStart, l.batchEnd = min(l.batchStart, start), max(l.batchEnd, end)
}

// lossEntries spells out the losses of the batch in hand; with all, all there are.
func (t *table) lossEntries(all bool) []lossEntry {
	var out []lossEntry
	spell := func(key lossKey, l *loss) {
		e := lossEntry{Sender: key.sender, Source: key.source, Stage: key.stage, Host: key.host, Hits: l.batchHits, Start: l.batchStart, End: l.batchEnd}
		if all && l.hits > 0 {
			if e.Hits == 0 {
				e.Start, e.End = l.start, l.end
			}
			e.Hits, e.Start, e.End = plus(e.Hits, l.hits), min(e.Start, l.start), max(e.End, l.end)
		}
		if e.Hits > 0 {
			out = append(out, e)
		}
	}
	if all {
		for key, l := range t.losses {
			spell(key, l)
		}
		return out
	}
	for _, key := range t.touchedLosses {
		spell(key, t.losses[key])
	}
	return out
}

// idle reports whether the batch in hand changed nothing.
func (t *table) idle() bool {
	return len(t.touched) == 0 && len(t.touchedLosses) == 0 && len(t.touchedOrigin) == 0 && len(t.seen.batch) == 0
}

// commit adds the batch in hand to the table. passed are the buckets of the origins that have gone past the end of a
// window, as far as they have.
func (t *table) commit() (passed []*bucket) {
	for _, b := range t.touched {
		for i := range b.touched {
			d := &b.touched[i]
			e := d.entry
			if e.hits == 0 {
				e.first, e.last = d.first, d.last
			} else {
				e.first, e.last = min(e.first, d.first), max(e.last, d.last)
			}
			e.hits += d.hits
			e.hitsError += d.hitsError
			e.journaled = true
		}
	}
	for _, key := range t.touchedLosses {
		l := t.losses[key]
		if l.hits == 0 {
			l.start, l.end = l.batchStart, l.batchEnd
		} else {
			l.start, l.end = min(l.start, l.batchStart), max(l.end, l.batchEnd)
		}
		l.hits = plus(l.hits, l.batchHits)
		l.batchHits = 0
		if t.lossSince.IsZero() {
			t.lossSince = t.now
			t.fresh = true
		}
	}
	for _, o := range t.touchedOrigin {
		crossed := floor(o.next, t.window) > floor(o.newest, t.window)
		o.newest = o.next
		for _, b := range o.open {
			if crossed && b.start+t.window <= o.newest {
				passed = append(passed, b)
			}
		}
	}
	t.seen.commit()
	t.done()
	return passed
}

// rollback forgets the batch in hand. Entries it made stay behind empty.
func (t *table) rollback() {
	for _, key := range t.touchedLosses {
		t.losses[key].batchHits = 0
	}
	for _, o := range t.touchedOrigin {
		o.next = o.newest
	}
	t.seen.rollback()
	t.done()
}

func (t *table) done() {
	for _, b := range t.touched {
		for i := range b.touched {
			b.touched[i].entry.delta = 0
		}
		clear(b.touched)
		b.touched = b.touched[:0]
	}
	t.touched = t.touched[:0]
	t.touchedLosses = t.touchedLosses[:0]
	t.touchedOrigin = t.touchedOrigin[:0]
	t.lastBucket = nil
	t.tally = tally{skipped: t.tally.skipped}
	clear(t.tally.skipped)
}

// due are the buckets whose origin has passed their end, or that have waited since before.
func (t *table) due(before time.Time) []*bucket {
	var due []*bucket
	for _, b := range t.buckets {
		if b.start+t.window <= b.origin.newest || !b.since.After(before) {
			due = append(due, b)
		}
	}
	return due
}

// all are all buckets.
func (t *table) all() []*bucket {
	all := make([]*bucket, 0, len(t.buckets))
	for _, b := range t.buckets {
		all = append(all, b)
	}
	return all
}

// oldest is since when the longest waiting hit or loss waits; ok is false when none does.
func (t *table) oldest() (since time.Time, ok bool) {
	since, ok = t.lossSince, !t.lossSince.IsZero()
	for _, b := range t.buckets {
		if !ok || b.since.Before(since) {
			since, ok = b.since, true
		}
	}
	return since, ok
}

// observation is the hits of an entry, without a flush number.
func (b *bucket) observation(e *entry, hits, hitsError uint64, first, last int64) witness.Observation {
	o := witness.Observation{
		ID: e.witness.id, Witness: e.witness.witness(), Source: b.origin.name, Instance: e.place.Instance,
		WindowStart: time.Unix(0, b.start).UTC(), WindowEnd: time.Unix(0, b.start+b.window).UTC(),
		Hits: hits, HitsError: hitsError,
		FirstSeen: time.Unix(0, first).UTC(), LastSeen: time.Unix(0, last).UTC(),
		Assurance: e.claims.assurance, Origin: e.claims.origin, FindingIDs: e.claims.findings,
	}
	if e.artifact != nil {
		o.Artifact = *e.artifact
	}
	return o
}

// remove forgets flushed buckets.
func (t *table) remove(buckets []*bucket) {
	for _, b := range buckets {
		for _, e := range b.entries {
			if e.witness.entry == e {
				e.witness.entry = nil
			}
		}
		t.entries -= len(b.entries)
		delete(t.buckets, b.bucketKey)
		b.origin.open = slices.DeleteFunc(b.origin.open, func(other *bucket) bool { return other == b })
	}
}

// removeLosses forgets flushed losses.
func (t *table) removeLosses() {
	clear(t.losses)
	t.lossJournal = t.lossJournal[:0]
	t.lossSince = time.Time{}
}

// floor is the start of the window that a time is in. Neither is negative.
func floor(at, window int64) int64 { return at - at%window }

// plus adds up to the largest number that an attribute can carry.
func plus(a, b uint64) uint64 {
	if b > math.MaxInt64-min(a, math.MaxInt64) {
		return math.MaxInt64
	}
	return a + b
}

func sameArtifact(a, b *witness.Artifact) bool {
	return a.PURL == b.PURL && a.Digest == b.Digest && a.Revision == b.Revision && a.Repository == b.Repository &&
		a.Method == b.Method && slices.Equal(a.Conflicts, b.Conflicts)
}
