package sqlite

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// The rows of the derived tables of schema_2.sql, without their keys.
type (
	// totalRow is of total, by witness.
	totalRow struct {
		id                     witness.ID
		subject, created       int64
		hits, hitsError        int64
		measured               bool
		first, last            int64
		instance, link, origin int64
	}
	placeKey struct{ subject, workload, instance, assurance int64 }
	placeRow struct{ hits, last int64 }
	cellKey  struct{ hour, subject, link, assurance int64 }
	cellRow  struct{ hits, longest int64 }
	// subjectTotal is of subject_total, by subject.
	subjectTotal struct {
		tenant, kind              int64
		hits, measured            int64
		first, last, lastMeasured int64
		witnesses                 int64
		reach                     reach
	}
	// reach counts distinct names, by dimension.
	reach [dimensions]int64
)

// The dimensions of the table reach, less one.
const (
	hosts = iota
	containers
	images
	namespaces
	workloads
	dimensions
)

// A row that nothing is left of is not there.
func (r totalRow) gone() bool     { return r.origin == 0 }
func (r placeRow) gone() bool     { return r.hits == 0 }
func (r cellRow) gone() bool      { return r.longest == 0 }
func (r subjectTotal) gone() bool { return r.witnesses == 0 }

// change is a row of obs or rolled that came or went, with what the derived tables need of it.
type delta struct {
	start, length            int64
	witness                  witnessRow
	id                       witness.ID
	instance                 int64
	assurance, origin, link  int64
	subjectHits, witnessHits int64
	hitsError                int64
	first, last              int64
	received                 int64 // only while it is recovered
}

// witnessRow is a row of witness, with its subject's tenant and kind.
type witnessRow struct{ id, subject, workload, tenant, kind, created int64 }

func (c *delta) place() placeKey {
	return placeKey{c.witness.subject, c.witness.workload, c.instance, c.assurance}
}

func (c *delta) cell() cellKey {
	return cellKey{c.start / hourLength, c.witness.subject, c.link, c.assurance}
}

// add is the row with a change that came.
func (r totalRow) add(c *delta) totalRow {
	if r.origin == 0 {
		r = totalRow{id: c.id, subject: c.witness.subject, created: c.witness.created, first: c.first}
	}
	r.hits, r.hitsError = plus(r.hits, c.witnessHits), plus(r.hitsError, c.hitsError)
	r.measured = r.measured || c.assurance == measured
	r.first = min(r.first, c.first)
	// Of two equally new ones any will do, but always the same.
	if r.origin == 0 || c.last > r.last || c.last == r.last && greater([3]int64{c.link, c.instance, c.origin}, [3]int64{r.link, r.instance, r.origin}) {
		r.last, r.instance, r.link, r.origin = c.last, c.instance, c.link, c.origin
	}
	return r
}

func greater(a, b [3]int64) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return false
}

func (r placeRow) add(c *delta) placeRow {
	return placeRow{plus(r.hits, c.subjectHits), max(r.last, c.last)}
}

func (r cellRow) add(c *delta) cellRow {
	return cellRow{plus(r.hits, c.subjectHits), max(r.longest, c.length)}
}

func (r subjectTotal) add(c *delta) subjectTotal {
	if r.kind == 0 {
		r.tenant, r.kind, r.first = c.witness.tenant, c.witness.kind, c.first
	}
	r.hits = plus(r.hits, c.subjectHits)
	r.first, r.last = min(r.first, c.first), max(r.last, c.last)
	if c.assurance == measured {
		r.measured = plus(r.measured, c.subjectHits)
		r.lastMeasured = max(r.lastMeasured, c.last)
	}
	return r
}

// plus adds and stops at the greatest.
func plus(a, b int64) int64 {
	switch c := a + b; {
	case a > 0 && b > 0 && c < 0:
		return math.MaxInt64
	default:
		return c
	}
}

// derivedRow is of any of the derived tables.
type derivedRow interface {
	comparable
	gone() bool
}

// table holds rows of a derived table in memory, with their absolute values. Those that changed since they were last
// folded into the file are dirty; the others only save looking them up. Only the writer changes it: rows of a
// transaction are pending until it is committed, and all that readers see, under the lock of derived, is published.
type table[K comparable, V derivedRow] struct {
	at      map[K]int32
	rows    []held[K, V] // published
	pending map[K]pending[V]
	// groups has the places in rows by what group says of them; nil if nobody asks.
	group  func(K, *V) int64
	groups map[int64][]int32
	dirty  int // of rows
}

type held[K comparable, V any] struct {
	key   K
	row   V
	dirty bool
}

type pending[V any] struct {
	row   V
	dirty bool
}

func newTable[K comparable, V derivedRow](group func(K, *V) int64) table[K, V] {
	return table[K, V]{at: map[K]int32{}, pending: map[K]pending[V]{}, group: group, groups: map[int64][]int32{}}
}

// get returns the writer's view of a row, if it is in memory.
func (t *table[K, V]) get(key K) (V, bool) {
	if p, ok := t.pending[key]; ok {
		return p.row, true
	}
	if at, ok := t.at[key]; ok {
		return t.rows[at].row, true
	}
	var none V
	return none, false
}

// put changes a row; load keeps one as the file has it.
func (t *table[K, V]) put(key K, row V)  { t.pending[key] = pending[V]{row, true} }
func (t *table[K, V]) load(key K, row V) { t.pending[key] = pending[V]{row, false} }

// publish makes the pending rows those that readers see. clean says that all rows were folded.
func (t *table[K, V]) publish(clean bool) {
	if clean && t.dirty > 0 {
		for i := range t.rows {
			t.rows[i].dirty = false
		}
		t.dirty = 0
	}
	for key, p := range t.pending {
		at, ok := t.at[key]
		if !ok && !p.dirty && p.row.gone() {
			continue // it was looked for
		}
		if !ok {
			at = int32(len(t.rows)) //nolint:gosec // bounded by heldLimit and a batch
			t.at[key] = at
			t.rows = append(t.rows, held[K, V]{key: key})
			if t.group != nil {
				group := t.group(key, &p.row)
				t.groups[group] = append(t.groups[group], at)
			}
		}
		h := &t.rows[at]
		h.row = p.row
		if p.dirty && !clean && !h.dirty {
			h.dirty = true
			t.dirty++
		}
	}
	clear(t.pending)
}

// drop forgets all published rows, which must be clean.
func (t *table[K, V]) drop() {
	clear(t.at)
	clear(t.rows)
	t.rows = t.rows[:0]
	clear(t.groups)
}

// unfolded returns what the file lacks, in no order, pending rows included.
func (t *table[K, V]) unfolded() []held[K, V] {
	found := make([]held[K, V], 0, t.dirty+len(t.pending))
	for i := range t.rows {
		if h := &t.rows[i]; h.dirty {
			if _, ok := t.pending[h.key]; !ok {
				found = append(found, *h)
			}
		}
	}
	for key, p := range t.pending {
		_, known := t.at[key]
		if p.dirty || known && t.rows[t.at[key]].dirty {
			found = append(found, held[K, V]{key, p.row, true})
		}
	}
	return found
}

// of returns a copy of what of a group the file lacks, or has in an older state.
func (t *table[K, V]) of(group int64) []held[K, V] {
	var found []held[K, V]
	for _, at := range t.groups[group] {
		if t.rows[at].dirty {
			found = append(found, t.rows[at])
		}
	}
	return found
}

// published returns a row as readers see it.
func (t *table[K, V]) published(key K) (row V, ok bool) {
	at, ok := t.at[key]
	if ok {
		row = t.rows[at].row
	}
	return row, ok
}

// derived is what is held of the derived tables. Readers take the lock for reading, the writer for publishing.
type derived struct {
	lock     sync.RWMutex
	commit   int64 // the commit number that the published rows belong to
	totals   table[int64, totalRow]
	places   table[placeKey, placeRow]
	cells    table[cellKey, cellRow]
	subjects table[int64, subjectTotal]

	folds atomic.Uint64
}

func newDerived() *derived {
	return &derived{
		totals:   newTable(func(_ int64, r *totalRow) int64 { return r.subject }),
		places:   newTable(func(k placeKey, _ *placeRow) int64 { return k.subject }),
		cells:    newTable(func(k cellKey, _ *cellRow) int64 { return k.subject }),
		subjects: newTable[int64, subjectTotal](nil),
	}
}

// publish makes what a committed transaction changed visible. clean says that all of it was folded, and gone that the file
// has something else by now.
func (d *derived) publish(commit int64, clean, gone bool) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.commit = commit
	d.totals.publish(clean)
	d.places.publish(clean)
	d.cells.publish(clean)
	d.subjects.publish(clean)
	if clean && (gone || d.held() > heldLimit) {
		d.drop()
	}
}

// drop forgets all rows. They must be clean, and the lock held.
func (d *derived) drop() {
	d.totals.drop()
	d.places.drop()
	d.cells.drop()
	d.subjects.drop()
}

// undo forgets what is pending.
func (d *derived) undo() {
	clear(d.totals.pending)
	clear(d.places.pending)
	clear(d.cells.pending)
	clear(d.subjects.pending)
}

// held is how many rows are in memory.
func (d *derived) held() int {
	return len(d.totals.rows) + len(d.places.rows) + len(d.cells.rows) + len(d.subjects.rows)
}

// pending is how many rows the transaction under way touched.
func (d *derived) pending() int {
	return len(d.totals.pending) + len(d.places.pending) + len(d.cells.pending) + len(d.subjects.pending)
}

// dirty is how many published rows the file lacks.
func (d *derived) dirty() int {
	return d.totals.dirty + d.places.dirty + d.cells.dirty + d.subjects.dirty
}
