package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// dirtyLimit is how many derived rows the file may lack before they are folded into it, and foldEvery how long.
	dirtyLimit = 200_000
	foldEvery  = 5 * time.Minute
	// heldLimit is how many derived rows stay in memory once they are folded; beyond it all are dropped and looked up again.
	heldLimit = 400_000
)

// derive adds rows that came to the derived rows. It fails before it has changed any.
func (w *writer) derive(changes []delta) error {
	d := w.derived
	met := map[int64]reach{} // new names, by subject
	for i := range changes {
		c := &changes[i]
		if err := w.loadTotal(c.witness.id); err != nil {
			return err
		}
		if err := w.loadSubject(c.witness.subject); err != nil {
			return err
		}
		if err := w.loadCell(c.cell()); err != nil {
			return err
		}
		place := c.place()
		if err := w.loadPlace(place); err != nil {
			return err
		}
		if at, _ := d.places.get(place); at.gone() {
			if err := w.reached(place, met); err != nil {
				return err
			}
		}
	}
	for i := range changes {
		c := &changes[i]
		of, _ := d.subjects.get(c.witness.subject)
		t, _ := d.totals.get(c.witness.id)
		if t.gone() {
			of.witnesses++
		}
		for dimension, n := range met[c.witness.subject] {
			of.reach[dimension] += n
		}
		delete(met, c.witness.subject)
		p, _ := d.places.get(c.place())
		e, _ := d.cells.get(c.cell())
		// After a crash, some rows of the file have it already; witnesses are counted again then (fold).
		if !w.interrupted.has(subjectTotalPart, rowKey{c.witness.subject}, c.received) {
			of = of.add(c)
		}
		d.subjects.put(c.witness.subject, of)
		if !w.interrupted.has(totalPart, rowKey{c.witness.id}, c.received) {
			d.totals.put(c.witness.id, t.add(c))
		}
		if key := c.place(); !w.interrupted.has(placePart, key.row(), c.received) {
			d.places.put(key, p.add(c))
		}
		if key := c.cell(); !w.interrupted.has(cellPart, key.row(), c.received) {
			d.cells.put(key, e.add(c))
		}
	}
	return nil
}

// loadTotal and the like look a row up in the file, if it is not in memory.

func (w *writer) loadTotal(id int64) error {
	if _, ok := w.derived.totals.get(id); ok {
		return nil
	}
	var t totalRow
	var name sql.RawBytes
	err := each(w.findTotal, []any{id}, func(rows *sql.Rows) error {
		err := rows.Scan(&name, &t.created, &t.subject, &t.hits, &t.hitsError, &t.measured, &t.first, &t.last, &t.instance, &t.link, &t.origin)
		copy(t.id[:], name)
		return err
	})
	if err == nil {
		w.derived.totals.load(id, t)
	}
	return err
}

func (w *writer) loadSubject(id int64) error {
	if _, ok := w.derived.subjects.get(id); ok {
		return nil
	}
	var t subjectTotal
	err := w.findSubjectTotal.QueryRowContext(context.Background(), id).Scan(&t.tenant, &t.kind, &t.hits, &t.measured, &t.first, &t.last,
		&t.lastMeasured, &t.witnesses, &t.reach[hosts], &t.reach[containers], &t.reach[images], &t.reach[namespaces], &t.reach[workloads])
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		if w.recovering { // names are written at once, their counts are not
			if t.reach, err = w.countReach(id); err != nil {
				return err
			}
		}
		w.derived.subjects.load(id, t)
		return nil
	}
	return err
}

func (w *writer) loadPlace(key placeKey) error {
	if _, ok := w.derived.places.get(key); ok {
		return nil
	}
	var p placeRow
	err := w.findPlace.QueryRowContext(context.Background(), key.subject, key.workload, key.instance, key.assurance).Scan(&p.hits, &p.last)
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		w.derived.places.load(key, p)
		return nil
	}
	return err
}

func (w *writer) loadCell(key cellKey) error {
	if _, ok := w.derived.cells.get(key); ok {
		return nil
	}
	var c cellRow
	err := w.findCell.QueryRowContext(context.Background(), key.hour, key.subject, key.link, key.assurance).Scan(&c.hits, &c.longest)
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		w.derived.cells.load(key, c)
		return nil
	}
	return err
}

// nameKey is an instance, or a workload.
type nameKey struct {
	id       int64
	workload bool
}

// nameValue is how the table reach has a name; 0 is none.
func nameValue(name string) int64 {
	if name == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(name))
	return int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // bits
}

// placeNames are the values of host and container of an instance, or of image and namespace of a workload, and its row unless
// it has no name at all.
type placeNames [3]int64

func (w *writer) namesOf(key nameKey) (placeNames, error) {
	if known, ok := w.namesIn.get(key); ok {
		return known, nil
	}
	find := w.findInstanceNames
	if key.workload {
		find = w.findWorkloadNames
	}
	var a, b string
	var row int64
	if err := find.QueryRowContext(context.Background(), key.id).Scan(&a, &b, &row); err != nil {
		return placeNames{}, err
	}
	known := placeNames{nameValue(a), nameValue(b), row}
	w.namesIn.put(key, known)
	return known, nil
}

// reached writes down the names of a place of a subject, and counts the new ones.
func (w *writer) reached(place placeKey, met map[int64]reach) error {
	instance, err := w.namesOf(nameKey{place.instance, false})
	if err != nil {
		return err
	}
	workload, err := w.namesOf(nameKey{place.workload, true})
	if err != nil {
		return err
	}
	values := reach{hosts: instance[0], containers: instance[1], images: workload[0], namespaces: workload[1], workloads: workload[2]}
	counts := met[place.subject]
	for dimension, value := range values {
		if value == 0 {
			continue
		}
		isNew, err := added(w.addReach, place.subject, dimension+1, value)
		if err != nil {
			return err
		}
		if isNew {
			counts[dimension]++
		}
	}
	met[place.subject] = counts
	return nil
}

func (w *writer) countReach(subject int64) (counts reach, err error) {
	err = each(w.findReach, []any{subject}, func(rows *sql.Rows) error {
		var dimension, n int64
		err := rows.Scan(&dimension, &n)
		if dimension >= 1 && dimension <= dimensions {
			counts[dimension-1] = n
		}
		return err
	})
	return counts, err
}

// fold writes to the file what it lacks of the derived tables, in the order of their keys, in the transaction under way.
// publish must be told that everything is clean once it is committed.
func (w *writer) fold() error {
	if w.dropped { // what is in memory was folded in this transaction, and the file is ahead of it by now
		return nil
	}
	d := w.derived
	all := &folding{totals: d.totals.unfolded(), places: d.places.unfolded(), cells: d.cells.unfolded(), subjects: d.subjects.unfolded()}
	sortFolded(all.totals, all.places, all.cells, all.subjects)
	if w.recovering {
		if err := w.recount(all); err != nil {
			return err
		}
	}
	if err := all.rest(w); err != nil {
		return err
	}
	w.folded = true
	w.windows.clear() // the next row of a start marks it as unfolded again
	return errors.Join(execute(w.clearUnfolded, w.number), execute(w.setState, w.number, "folded"), execute(w.clearFolding))
}

func (w *writer) putTotal(id int64, t *totalRow) error {
	if t.gone() {
		return execute(w.deleteTotal, id)
	}
	return execute(w.upsertTotal, id, t.subject, t.id[:8], t.hits, t.hitsError, t.measured, t.first, t.last, t.instance, t.link, t.origin)
}

func (w *writer) putPlace(key placeKey, p placeRow) error {
	if p.gone() {
		return execute(w.deletePlace, key.subject, key.workload, key.instance, key.assurance)
	}
	return execute(w.upsertPlace, key.subject, key.workload, key.instance, key.assurance, p.hits, p.last)
}

func (w *writer) putCell(key cellKey, c cellRow) error {
	if c.gone() {
		return execute(w.deleteCell, key.hour, key.subject, key.link, key.assurance)
	}
	return execute(w.upsertCell, key.hour, key.subject, key.link, key.assurance, c.hits, c.longest)
}

func (w *writer) putSubject(id int64, t *subjectTotal) error {
	if t.gone() {
		return execute(w.deleteSubjectTotal, id)
	}
	return execute(w.upsertSubjectTotal, id, t.tenant, t.kind, t.hits, t.measured, t.first, t.last, t.lastMeasured, t.witnesses,
		t.reach[hosts], t.reach[containers], t.reach[images], t.reach[namespaces], t.reach[workloads])
}

// foldIsDue says whether enough is dirty, or something long enough.
func (w *writer) foldIsDue() bool {
	dirty := w.derived.dirty()
	return dirty >= w.limits.dirty || dirty > 0 && time.Since(w.lastFold) >= w.limits.every
}

// foldAlone folds in a transaction of its own.
func (w *writer) foldAlone() error {
	if w.derived.dirty() == 0 && w.folding == nil {
		return nil
	}
	if err := w.start(); err != nil {
		return err
	}
	err := w.fold()
	if err == nil {
		err = w.end()
	}
	if err != nil {
		w.undo()
	}
	return err
}

// recover reads what the derived rows lack after a process ended without closing the file, and folds it.
func (w *writer) recover() error {
	var folded int64
	if err := errors.Join(
		w.conn.QueryRowContext(context.Background(), "SELECT value FROM state WHERE name = 'commit'").Scan(&w.derived.commit),
		w.conn.QueryRowContext(context.Background(), "SELECT value FROM state WHERE name = 'folded'").Scan(&folded),
		w.conn.QueryRowContext(context.Background(), "SELECT value FROM state WHERE name = 'horizon'").Scan(&w.horizon),
	); err != nil {
		return err
	}
	var err error
	if w.interrupted, err = w.unfinished(); err != nil {
		return err
	}
	defer func() { w.interrupted = nil }()
	var starts []int64
	if err := each(w.findUnfolded, nil, func(rows *sql.Rows) error {
		var start int64
		err := rows.Scan(&start)
		starts = append(starts, start)
		return err
	}); err != nil || len(starts) == 0 {
		return err
	}
	w.recovering = true
	defer func() { w.recovering = false }()
	if err := w.start(); err != nil {
		return err
	}
	err = w.recoverStarts(starts, folded)
	if err == nil {
		err = w.fold()
	}
	if err == nil {
		err = w.end()
	}
	if err != nil {
		w.undo()
	}
	return err
}

// recoverBatch is how many rows are taken in at once.
const recoverBatch = 1000

func (w *writer) recoverStarts(starts []int64, folded int64) error {
	var deltas []delta
	for _, start := range starts {
		err := each(w.findUnfoldedRows, []any{start, folded}, func(rows *sql.Rows) error {
			var c delta
			var id sql.RawBytes
			if err := rows.Scan(&c.start, &c.length, &c.witness.id, &c.instance, &c.assurance, &c.origin, &c.link, &c.subjectHits, &c.witnessHits,
				&c.hitsError, &c.first, &c.last, &c.received, &id, &c.witness.created, &c.witness.tenant, &c.witness.subject, &c.witness.workload, &c.witness.kind); err != nil {
				return err
			}
			copy(c.id[:], id)
			deltas = append(deltas, c)
			return nil
		})
		if err != nil {
			return err
		}
		for part := range slices.Chunk(deltas, recoverBatch) {
			if err := w.derive(part); err != nil {
				return err
			}
		}
		deltas = deltas[:0]
		if w.derived.pending() >= dirtyLimit { // nobody reads yet: what is folded may be forgotten before it is committed
			if err := w.fold(); err != nil {
				return err
			}
			w.derived.publish(w.derived.commit, true, false)
		}
	}
	return nil
}

// foldStatements are the prepared statements of the derived tables.
type foldStatements struct {
	findTotal, upsertTotal, deleteTotal                      *sql.Stmt
	findPlace, upsertPlace, deletePlace                      *sql.Stmt
	findCell, upsertCell, deleteCell                         *sql.Stmt
	findSubjectTotal, upsertSubjectTotal, deleteSubjectTotal *sql.Stmt
	findReach, addReach                                      *sql.Stmt
	findInstanceNames, findWorkloadNames                     *sql.Stmt
	findUnfolded, findUnfoldedRows, clearUnfolded, setState  *sql.Stmt
	findHeard, findHeardOf, addHeard                         *sql.Stmt
	findActive, findWindowRows, findGroupRows                *sql.Stmt
	settleAgain                                              *sql.Stmt
	findRows, findHourCells                                  *sql.Stmt
	putFolding, clearFolding                                 *sql.Stmt
	findSubjectSpan, findSubjectPlaces                       *sql.Stmt
}

func (w *writer) prepareFold(ctx context.Context, conn *sql.Conn) error {
	for _, s := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&w.findTotal, "SELECT w.witness, w.created, t.subject, t.hits, t.hits_error, t.measured, t.first, t.last, t.instance, t.link, t.origin FROM total t JOIN witness w ON w.id = t.witness WHERE t.witness = ?"},
		{&w.upsertTotal, `INSERT INTO total VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET hits = excluded.hits, hits_error = excluded.hits_error,
  measured = excluded.measured, first = excluded.first, last = excluded.last, instance = excluded.instance, link = excluded.link, origin = excluded.origin`},
		{&w.deleteTotal, "DELETE FROM total WHERE witness = ?"},
		{&w.findPlace, "SELECT hits, last FROM place WHERE subject = ? AND workload = ? AND instance = ? AND assurance = ?"},
		{&w.upsertPlace, "INSERT OR REPLACE INTO place VALUES (?,?,?,?,?,?)"},
		{&w.deletePlace, "DELETE FROM place WHERE subject = ? AND workload = ? AND instance = ? AND assurance = ?"},
		{&w.findCell, "SELECT hits, longest FROM cell WHERE hour = ? AND subject = ? AND link = ? AND assurance = ?"},
		{&w.upsertCell, "INSERT OR REPLACE INTO cell VALUES (?,?,?,?,?,?)"},
		{&w.deleteCell, "DELETE FROM cell WHERE hour = ? AND subject = ? AND link = ? AND assurance = ?"},
		{&w.findSubjectTotal, `SELECT tenant, kind, hits, measured, first, last, last_measured, witnesses, hosts, containers, images, namespaces, workloads
FROM subject_total WHERE subject = ?`},
		{&w.upsertSubjectTotal, `INSERT INTO subject_total VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET hits = excluded.hits, measured = excluded.measured,
  first = excluded.first, last = excluded.last, last_measured = excluded.last_measured, witnesses = excluded.witnesses, hosts = excluded.hosts,
  containers = excluded.containers, images = excluded.images, namespaces = excluded.namespaces, workloads = excluded.workloads`},
		{&w.deleteSubjectTotal, "DELETE FROM subject_total WHERE subject = ?"},
		{&w.findReach, "SELECT dimension, count(*) FROM reach WHERE subject = ? GROUP BY dimension"},
		{&w.addReach, "INSERT INTO reach VALUES (?,?,?) ON CONFLICT DO NOTHING"},
		{&w.findInstanceNames, "SELECT host, container, id FROM instance WHERE id = ?"},
		{&w.findWorkloadNames, "SELECT image, namespace, iif(namespace || controller || container || image = '', 0, id) FROM workload WHERE id = ?"},
		{&w.findUnfolded, "SELECT start FROM unfolded ORDER BY start"},
		{&w.findUnfoldedRows, `SELECT o.start, o.length, o.witness, o.instance, o.assurance, o.origin, o.link, o.subject_hits, o.witness_hits, o.hits_error, o.first, o.last,
  o.received, w.witness, w.created, w.tenant, w.subject, w.workload, s.kind
FROM obs o CROSS JOIN witness w ON w.id = o.witness CROSS JOIN subject s ON s.id = w.subject WHERE o.start = ? AND o.received > ?`},
		{&w.clearUnfolded, "DELETE FROM unfolded WHERE received <= ?"},
		{&w.putFolding, "INSERT INTO folding VALUES (?,?,?,?,?,?)"},
		{&w.clearFolding, "DELETE FROM folding"},
		{&w.setState, "UPDATE state SET value = ? WHERE name = ?"},
		{&w.findHeard, "SELECT h.source, s.receiver FROM heard h JOIN source s ON s.id = h.source WHERE h.instance = ?"},
		{&w.findHeardOf, `SELECT s.id, s.receiver FROM source s CROSS JOIN heard h ON h.instance = ?1 AND h.source = s.id
WHERE s.text = ?2 OR s.text >= ?3 AND s.text < ?4`},
		{&w.findActive, "SELECT source FROM active WHERE hour = ? AND instance = ?"},
		{&w.addHeard, "INSERT INTO heard VALUES (?,?) ON CONFLICT DO NOTHING"},
		{&w.findWindowRows, `SELECT o.witness, w.subject, w.workload, o.assurance, o.hits FROM obs o CROSS JOIN witness w ON w.id = o.witness
WHERE o.start = ? AND o.source = ? AND o.instance = ?`},
		{&w.findGroupRows, `SELECT o.witness, o.flush, o.hits, o.subject_hits, o.witness_hits FROM obs o CROSS JOIN witness w ON w.id = o.witness
WHERE o.start = ? AND o.source = ? AND o.instance = ? AND o.assurance = ? AND w.subject = ? AND w.workload = ?`},
		{&w.findRows, findRowsOf("obs") + " UNION ALL " + findRowsOf("rolled")},
		{&w.findHourCells, "SELECT link, assurance FROM cell WHERE hour = ? AND subject = ?"},
		{&w.findSubjectSpan, "SELECT count(*), coalesce(min(first), 0), coalesce(max(last), 0) FROM total WHERE subject = ?"},
		{&w.findSubjectPlaces, "SELECT assurance, hits, last FROM place WHERE subject = ?"},
		{&w.settleAgain, "UPDATE obs SET subject_hits = ?, witness_hits = ? WHERE start = ? AND source = ? AND instance = ? AND witness = ? AND flush = ?"},
	} {
		var err error
		if *s.into, err = conn.PrepareContext(ctx, s.query); err != nil { //nolint:sqlclosecheck // finish does
			return fmt.Errorf("prepare: %w", err)
		}
		w.prepared = append(w.prepared, *s.into)
	}
	return nil
}
