package hotsymbolprocessor

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
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
}

// cell is what a bucket counts apart.
type cell struct {
	id       witness.ID
	place    *witness.Instance
	findings string // joined: a sender can name many
}

func cellOf(w *identified, place *witness.Instance, findings []string) cell {
	return cell{w.id, place, strings.Join(findings, "\x00")}
}

// entry counts hits of one witness at one instance in one window from one origin. Entries with the same cell that
// differ in assurance or origin are chained. A flush gives entries that differ only in these, or in the findings named,
// a number of their own each.
type entry struct {
	witness             *identified
	place               *witness.Instance
	assurance           witness.Assurance
	origin              witness.Origin
	artifact            witness.Artifact
	findings            []string
	hits, hitsError     uint64
	first, last         int64
	batchHits, batchErr uint64 // of the batch in hand; not yet in hits
	batchFirst          int64
	batchLast           int64
	index               int  // in bucket.entries
	journaled           bool // what is counted is in the journal, so that a delta needs only the index
	next                *entry
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
	touched []*entry // by the batch in hand
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
	places  map[witness.Instance]*witness.Instance
	buckets map[bucketKey]*bucket
	losses  map[lossKey]*loss
	ids     *identities
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
	sightings     []witness.Sighting
	found         []*identified
	deferred      []deferred
	lastBucket    *bucket
}

// deferred is an event of a process that was running before, which is judged behind the others of its batch.
type deferred struct {
	origin    *origin
	place     *witness.Instance
	sightings []witness.Sighting
	found     []*identified
}

func newTable(window, lateness time.Duration, maxUIDs int, name func(string) string) *table {
	return &table{
		window: int64(window), lateness: int64(lateness), name: name,
		origins: map[originKey]*origin{},
		places:  map[witness.Instance]*witness.Instance{},
		buckets: map[bucketKey]*bucket{},
		losses:  map[lossKey]*loss{},
		ids:     newIdentities(),
		seen:    newUIDs(maxUIDs),
		tally:   tally{skipped: map[string]int64{}},
	}
}

// counted reports whether events of this name are counted.
func counted(event string) bool {
	switch event {
	case semconv.EventExec, semconv.EventLoad, semconv.EventCall, semconv.EventSample, semconv.EventKernel:
		return true
	}
	return false
}

// add counts the events of logs into the batch in hand.
func (t *table) add(now time.Time, from sender, logs plog.Logs) {
	t.now = now
	var last *origin
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		attributes := resource.Resource().Attributes()
		var workload witness.Workload
		var number uint32
		var place *witness.Instance
		for j := range resource.ScopeLogs().Len() {
			scope := resource.ScopeLogs().At(j)
			source := semconv.Text(scope.Scope().Attributes(), semconv.WitnessSource)
			records := scope.LogRecords()
			for k := range records.Len() {
				record := records.At(k)
				if !counted(record.EventName()) {
					continue
				}
				if place == nil {
					workload = witness.WorkloadOf(attributes)
					number = t.ids.workload(workload)
					place = t.place(witness.InstanceOf(attributes))
				}
				name := source
				if name == "" {
					name = semconv.Text(record.Attributes(), semconv.WitnessSource)
				}
				if last == nil || last.source != name {
					last = t.origin(originKey{from, name})
				}
				t.event(last, place, workload, number, record)
			}
		}
	}
	t.settle()
	clear(t.sightings[:cap(t.sightings)])
}

// event counts one event, or defers it.
func (t *table) event(o *origin, place *witness.Instance, workload witness.Workload, number uint32, record plog.LogRecord) {
	uid := semconv.Text(record.Attributes(), semconv.LogRecordUID)
	if uid != "" && !t.seen.add(o.label, uid) {
		t.tally.skipped[skipDuplicate]++
		return
	}
	var err error
	t.sightings, err = witness.AppendSightings(t.sightings[:0], workload, record)
	if err != nil || len(t.sightings) == 0 {
		t.tally.skipped[reason(err)]++
		return
	}
	if o.sender.Unvouched {
		for i := range t.sightings {
			t.sightings[i].Assurance = witness.Asserted
		}
	}
	first := &t.sightings[0]
	switch {
	case first.HitsError > first.Hits:
		t.tally.skipped[skipHits]++
		return
	case first.LastSeen.UnixNano() <= 0:
		t.tally.skipped[skipNoTime]++
		return
	}
	at := first.LastSeen.UnixNano()
	if first.LastSeen.After(t.now.Add(storage.MaxAhead)) {
		// The clock is wrong, not the future: the gap is now.
		start := floor(t.now.UnixNano(), t.window)
		t.lose(lossKey{o.sender, o.name, stageAhead, place.Host}, start, start+t.window, first.Hits)
		t.tally.ahead = plus(t.tally.ahead, first.Hits)
		return
	}
	if at > o.next {
		if o.next == o.newest {
			t.touchedOrigin = append(t.touchedOrigin, o)
		}
		o.next = at
	}
	t.found = t.ids.append(t.found[:0], t.sightings, number)
	if preexisting, ok := record.Attributes().Get(semconv.WitnessProcessPreexisting); ok &&
		preexisting.Type() == pcommon.ValueTypeBool && preexisting.Bool() {
		t.deferred = append(t.deferred, deferred{o, place, slices.Clone(t.sightings), slices.Clone(t.found)})
		return
	}
	if o.next-at > t.lateness {
		start := floor(at, t.window)
		t.lose(lossKey{o.sender, o.name, stageLate, place.Host}, start, start+t.window, first.Hits)
		t.tally.late = plus(t.tally.late, first.Hits)
		return
	}
	t.count(o, place, floor(at, t.window), t.sightings, t.found)
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
		at := d.sightings[0].LastSeen.UnixNano()
		start := floor(at, t.window)
		if d.origin.next-at > t.lateness {
			start = floor(d.origin.next, t.window)
			for j := range d.sightings {
				s := &d.sightings[j]
				s.FirstSeen, s.LastSeen = time.Unix(0, start), time.Unix(0, start)
			}
		}
		t.count(d.origin, d.place, start, d.sightings, d.found)
	}
	clear(t.deferred)
	t.deferred = t.deferred[:0]
}

func (t *table) count(o *origin, place *witness.Instance, start int64, sightings []witness.Sighting, found []*identified) {
	b := t.lastBucket
	if b == nil || b.origin != o || b.start != start {
		b = t.bucket(bucketKey{o, start})
		t.lastBucket = b
	}
	t.tally.kinds[kindIndex(sightings[0].Witness.Kind)]++
	for i := range sightings {
		s := &sightings[i]
		e := t.entry(b, place, found[i], s)
		first, last := s.FirstSeen.UnixNano(), s.LastSeen.UnixNano()
		if e.batchHits == 0 {
			if len(b.touched) == 0 {
				t.touched = append(t.touched, b)
			}
			b.touched = append(b.touched, e)
			e.batchFirst, e.batchLast = first, last
		} else {
			e.batchFirst, e.batchLast = min(e.batchFirst, first), max(e.batchLast, last)
		}
		e.batchHits += s.Hits
		e.batchErr += s.HitsError
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

func (t *table) place(at witness.Instance) *witness.Instance {
	p, ok := t.places[at]
	if !ok {
		p = &witness.Instance{Host: strings.Clone(at.Host), Pod: strings.Clone(at.Pod), Container: strings.Clone(at.Container)}
		t.places[*p] = p
	}
	return p
}

func (t *table) bucket(key bucketKey) *bucket {
	b, ok := t.buckets[key]
	if !ok {
		b = &bucket{bucketKey: key, window: t.window, number: t.numbers, cells: map[cell]*entry{}, since: t.now}
		t.numbers++
		t.buckets[key] = b
		t.fresh = true
	}
	return b
}

// entry finds or makes the entry for a sighting.
func (t *table) entry(b *bucket, place *witness.Instance, w *identified, s *witness.Sighting) *entry {
	for e := b.cells[cellOf(w, place, s.FindingIDs)]; e != nil; e = e.next {
		if e.assurance != s.Assurance || e.origin != s.Origin || !slices.Equal(e.findings, s.FindingIDs) {
			continue
		}
		if room := math.MaxInt64 - e.hits - e.batchHits; s.Hits > room {
			continue
		}
		e.learn(w, s)
		return e
	}
	t.entries++
	return b.chain(w, place, s)
}

// chain makes an entry, in front of those of its cell.
func (b *bucket) chain(w *identified, place *witness.Instance, s *witness.Sighting) *entry {
	findings := cloneStrings(s.FindingIDs)
	at := cellOf(w, place, findings)
	e := &entry{
		witness: w, place: place, assurance: s.Assurance, origin: s.Origin, findings: findings,
		artifact: cloneArtifact(s.Artifact), index: len(b.entries), next: b.cells[at],
	}
	b.cells[at] = e
	b.entries = append(b.entries, e)
	return e
}

// learn takes over what a newer event knows of the component and the artifact.
func (e *entry) learn(w *identified, s *witness.Sighting) {
	if w != e.witness && (w.node.frame.frame.Component != "" || e.witness.node.frame.frame.Component == "") {
		e.witness = w
		e.journaled = false
	}
	if !s.Artifact.IsZero() && !sameArtifact(&s.Artifact, &e.artifact) {
		e.artifact = cloneArtifact(s.Artifact)
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

// commit adds the batch in hand to the table. crossed says that an origin has gone past the end of a window.
func (t *table) commit() (crossed bool) {
	for _, b := range t.touched {
		for _, e := range b.touched {
			if e.hits == 0 {
				e.first, e.last = e.batchFirst, e.batchLast
			} else {
				e.first, e.last = min(e.first, e.batchFirst), max(e.last, e.batchLast)
			}
			e.hits += e.batchHits
			e.hitsError += e.batchErr
			e.batchHits, e.batchErr = 0, 0
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
		if floor(o.next, t.window) > floor(o.newest, t.window) {
			crossed = true
		}
		o.newest = o.next
	}
	t.seen.commit()
	t.done()
	return crossed
}

// rollback forgets the batch in hand. Entries it made stay behind empty.
func (t *table) rollback() {
	for _, b := range t.touched {
		for _, e := range b.touched {
			e.batchHits, e.batchErr = 0, 0
		}
	}
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
	return witness.Observation{
		ID: e.witness.id, Witness: e.witness.witness(), Source: b.origin.name, Instance: *e.place,
		WindowStart: time.Unix(0, b.start).UTC(), WindowEnd: time.Unix(0, b.start+b.window).UTC(),
		Hits: hits, HitsError: hitsError,
		FirstSeen: time.Unix(0, first).UTC(), LastSeen: time.Unix(0, last).UTC(),
		Assurance: e.assurance, Origin: e.origin, Artifact: e.artifact, FindingIDs: e.findings,
	}
}

// remove forgets flushed buckets.
func (t *table) remove(buckets []*bucket) {
	for _, b := range buckets {
		t.entries -= len(b.entries)
		delete(t.buckets, b.bucketKey)
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

func cloneArtifact(a witness.Artifact) witness.Artifact {
	return witness.Artifact{
		PURL: strings.Clone(a.PURL), Digest: strings.Clone(a.Digest), Revision: strings.Clone(a.Revision),
		Repository: strings.Clone(a.Repository), Method: strings.Clone(a.Method), Conflicts: cloneStrings(a.Conflicts),
	}
}
