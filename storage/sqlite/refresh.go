package sqlite

import (
	"context"
	"database/sql"
	"maps"
	"slices"
)

// stale is what was derived from a row that is no more.
type stale struct {
	witness witnessRow
	place   placeKey
	hour    int64
}

// rowsOf calls row for the rows of obs and rolled of a subject, of one of its witnesses, in one of its workloads, of an
// instance and of an hour; 0, or less for the hour, is any. It relies on the derived tables in the file.
func (w *writer) rowsOf(subject, id, workload, instance, hour int64, row func(*delta)) error {
	return each(w.findRows, []any{subject, id, workload, instance, hour, hourLength}, func(rows *sql.Rows) error {
		var c delta
		var name sql.RawBytes
		if err := rows.Scan(&c.start, &c.length, &c.instance, &c.assurance, &c.origin, &c.link, &c.subjectHits, &c.witnessHits, &c.hitsError,
			&c.first, &c.last, &c.witness.id, &name, &c.witness.created, &c.witness.tenant, &c.witness.subject, &c.witness.workload, &c.witness.kind); err != nil {
			return err
		}
		copy(c.id[:], name)
		row(&c)
		return nil
	})
}

func findRowsOf(table string) string {
	return `SELECT o.start, o.length, o.instance, o.assurance, o.origin, o.link, o.subject_hits, o.witness_hits, o.hits_error, o.first, o.last,
  w.id, w.witness, w.created, w.tenant, w.subject, w.workload, s.kind
FROM subject s
CROSS JOIN (SELECT DISTINCT start / ?6 AS hour FROM window WHERE ?5 < 0 OR start >= ?5 * ?6 AND start < (?5 + 1) * ?6) h
CROSS JOIN (SELECT DISTINCT workload, instance FROM place WHERE subject = ?1 AND (?3 = 0 OR workload = ?3) AND (?4 = 0 OR instance = ?4)) p
CROSS JOIN active a ON a.hour = h.hour AND a.instance = p.instance
CROSS JOIN window x ON x.start >= h.hour * ?6 AND x.start < (h.hour + 1) * ?6
CROSS JOIN witness w ON w.subject = s.id AND w.workload = p.workload AND (?2 = 0 OR w.id = ?2)
CROSS JOIN ` + table + ` o ON o.start = x.start AND o.source = a.source AND o.instance = a.instance AND o.witness = w.id
WHERE s.id = ?1 AND EXISTS (SELECT 1 FROM cell c WHERE c.hour = h.hour AND c.subject = s.id)`
}

// refresh derives anew what became stale, after everything else was folded.
func (w *writer) refresh() error {
	if err := w.fold(); err != nil {
		return err
	}
	witnesses, places := map[int64]witnessRow{}, map[placeKey]struct{}{}
	hours, subjects := map[[2]int64]struct{}{}, map[int64]witnessRow{}
	for _, s := range w.stale {
		witnesses[s.witness.id] = s.witness
		places[s.place] = struct{}{}
		hours[[2]int64{s.hour, s.witness.subject}] = struct{}{}
		subjects[s.witness.subject] = s.witness
	}
	for _, id := range slices.Sorted(maps.Keys(witnesses)) {
		t := totalRow{subject: witnesses[id].subject}
		if err := w.rowsOf(t.subject, id, witnesses[id].workload, 0, -1, func(c *delta) { t = t.add(c) }); err != nil {
			return err
		}
		if err := w.putTotal(id, &t); err != nil {
			return err
		}
		w.derived.totals.put(id, t)
	}
	for key := range places {
		var p placeRow
		if err := w.rowsOf(key.subject, 0, key.workload, key.instance, -1, func(c *delta) {
			if c.assurance == key.assurance {
				p = p.add(c)
			}
		}); err != nil {
			return err
		}
		if err := w.putPlace(key, p); err != nil {
			return err
		}
		w.derived.places.put(key, p)
	}
	for at := range hours {
		if err := w.refreshHour(at[0], at[1]); err != nil {
			return err
		}
	}
	for id, of := range subjects {
		if err := w.refreshSubject(id, of); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) refreshHour(hour, subject int64) error {
	cells := map[cellKey]cellRow{}
	if err := each(w.findHourCells, []any{hour, subject}, func(rows *sql.Rows) error {
		key := cellKey{hour: hour, subject: subject}
		err := rows.Scan(&key.link, &key.assurance)
		cells[key] = cellRow{}
		return err
	}); err != nil {
		return err
	}
	if err := w.rowsOf(subject, 0, 0, 0, hour, func(c *delta) { cells[c.cell()] = cells[c.cell()].add(c) }); err != nil {
		return err
	}
	for key, c := range cells {
		if err := w.putCell(key, c); err != nil {
			return err
		}
		w.derived.cells.put(key, c)
	}
	return nil
}

// refreshSubject adds up the totals and places of a subject.
func (w *writer) refreshSubject(id int64, of witnessRow) error {
	w.changes.count(of.tenant, id)
	t := subjectTotal{tenant: of.tenant, kind: of.kind}
	if err := w.findSubjectSpan.QueryRowContext(context.Background(), id).Scan(&t.witnesses, &t.first, &t.last); err != nil {
		return err
	}
	if err := each(w.findSubjectPlaces, []any{id}, func(rows *sql.Rows) error {
		var assurance int64
		var p placeRow
		if err := rows.Scan(&assurance, &p.hits, &p.last); err != nil {
			return err
		}
		t.hits = plus(t.hits, p.hits)
		if assurance == measured {
			t.measured, t.lastMeasured = plus(t.measured, p.hits), max(t.lastMeasured, p.last)
		}
		return nil
	}); err != nil {
		return err
	}
	var err error
	if t.reach, err = w.countReach(id); err != nil {
		return err
	}
	w.derived.subjects.put(id, t)
	return w.putSubject(id, &t)
}
