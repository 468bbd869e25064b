package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"
)

// deleteBefore deletes what is older than a time, which is the start of a day. Sums are true at every moment; what was
// seen first, and where, becomes true when all of it is gone.
func (s *Storage) deleteBefore(ctx context.Context, before int64) error {
	w := s.writer
	kept, err := s.marked(ctx, markKept)
	if err != nil || before <= kept {
		return err
	}
	if err := s.foldAhead(ctx); err != nil {
		return err
	}
	if err := s.step(ctx, func() error {
		// What was deleted cannot be told from what never came: it is refused from now on.
		return errors.Join(w.moveHorizon(before), w.advance(markRolled, before), w.advance(markDays, before), w.advance(markSweep, 1), w.rewrite())
	}, nil); err != nil {
		return err
	}
	if err := s.deleteObservations(ctx, kept, before); err != nil {
		return err
	}
	if err := s.settleSubjects(ctx, before); err != nil {
		return err
	}
	if err := s.deleteCoverage(ctx, before); err != nil {
		return err
	}
	for _, query := range []string{
		// The documents of snapshots stay, so that their chains can be verified; what their scores were made of goes with the rest.
		"DELETE FROM snapshot_input WHERE (tenant, digest) IN (SELECT tenant, digest FROM snapshot_input WHERE used < ? LIMIT ?)",
		"DELETE FROM receipt WHERE (tenant, principal, key) IN (SELECT tenant, principal, key FROM receipt WHERE received < ? LIMIT ?)",
		`DELETE FROM containment WHERE (tenant, workload, instance, module, origin, signal, source) IN
(SELECT tenant, workload, instance, module, origin, signal, source FROM containment WHERE observed < ? LIMIT ?)`,
		"DELETE FROM cell WHERE (hour, subject, link, assurance) IN (SELECT hour, subject, link, assurance FROM cell WHERE hour < ?1 / 3600000000000 LIMIT ?2)",
		"DELETE FROM active WHERE (hour, instance, source) IN (SELECT hour, instance, source FROM active WHERE hour < ?1 / 3600000000000 LIMIT ?2)",
	} {
		if err := s.steps(ctx, func() (bool, error) {
			n, err := w.changed(query, before, unitRows)
			return n > 0, err
		}); err != nil {
			return err
		}
	}
	return s.step(ctx, func() error {
		return errors.Join(w.change("DELETE FROM window WHERE start < ?", before), w.advance(markKept, before))
	}, nil)
}

// deleteObservations deletes the rows of windows from, and before to, day by day, and takes them off the sums.
func (s *Storage) deleteObservations(ctx context.Context, from, to int64) error {
	w := s.writer
	days, err := numbers(ctx, s.upkeep.look, 1, "SELECT DISTINCT start / ?1 * ?1 FROM window WHERE start >= ?2 AND start < ?3 ORDER BY 1", dayLength, from, to)
	if err != nil {
		return err
	}
	for _, day := range days {
		for _, table := range []string{"obs", "rolled"} {
			err := s.eachUnit(ctx, table, day[0], day[0]+dayLength, func(said speech, starts []int64, first, last int64) error {
				if err := w.doom(table, said, starts, first, last, to); err != nil {
					return err
				}
				var n int64
				for _, start := range starts {
					gone, err := w.changed("DELETE FROM "+table+" WHERE start = ? AND source = ? AND instance = ? AND witness >= ? AND witness < ?",
						start, said.source, said.instance, first, last)
					if err != nil {
						return err
					}
					n += gone
				}
				s.deletedRows.Add(uint64(n)) //nolint:gosec // a count
				return w.settleOver()
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// doom takes rows that are deleted next off the sums that are derived from them.
func (w *writer) doom(table string, said speech, starts []int64, first, last, before int64) error {
	if err := errors.Join(
		w.change(`CREATE TEMP TABLE IF NOT EXISTS doomed (hour, witness, subject, workload, assurance, link, subject_hits, witness_hits, hits_error, last)`),
		w.change("DELETE FROM temp.doomed"),
	); err != nil {
		return err
	}
	var n int64
	for _, start := range starts {
		rows, err := w.changed(`INSERT INTO temp.doomed
SELECT o.start / 3600000000000, o.witness, w.subject, w.workload, o.assurance, o.link, o.subject_hits, o.witness_hits, o.hits_error, o.last
FROM `+table+` o CROSS JOIN witness w ON w.id = o.witness WHERE o.start = ? AND o.source = ? AND o.instance = ? AND o.witness >= ? AND o.witness < ?`,
			start, said.source, said.instance, first, last)
		if err != nil {
			return err
		}
		n += rows
	}
	if n == 0 {
		return nil
	}
	if err := w.rewrite(); err != nil {
		return err
	}
	// Windows that reach beyond the days that go can have been the newest of their witness, whose other rows decide then. And
	// a sum that stopped at the greatest number says nothing of what is left when a part is taken off.
	over, err := numbers(context.Background(), w.conn, 8, `SELECT DISTINCT d.witness, d.subject, d.workload, w.tenant, s.kind, w.created, d.assurance, d.hour
FROM temp.doomed d JOIN witness w ON w.id = d.witness JOIN subject s ON s.id = d.subject
LEFT JOIN subject_total u ON u.subject = d.subject LEFT JOIN total t ON t.witness = d.witness
WHERE d.last >= ?1 OR u.hits = ?2 OR t.hits_error = ?2`, before, int64(math.MaxInt64))
	if err != nil {
		return err
	}
	for _, o := range over {
		w.markStale(witnessRow{id: o[0], subject: o[1], workload: o[2], tenant: o[3], kind: o[4], created: o[5]}, said.instance, o[6], o[7])
	}
	err = errors.Join(
		w.change("UPDATE total SET hits = total.hits - d.hits, hits_error = total.hits_error - d.hits_error FROM (SELECT witness, "+
			saturated("witness_hits")+" AS hits, "+saturated("hits_error")+" AS hits_error FROM temp.doomed GROUP BY 1) d WHERE d.witness = total.witness"),
		w.change("UPDATE place SET hits = place.hits - d.hits FROM (SELECT subject, workload, assurance, "+saturated("subject_hits")+
			" AS hits FROM temp.doomed GROUP BY 1, 2, 3) d WHERE place.subject = d.subject AND place.workload = d.workload AND place.instance = ? AND place.assurance = d.assurance", said.instance),
		w.change("UPDATE cell SET hits = cell.hits - d.hits FROM (SELECT hour, subject, link, assurance, "+saturated("subject_hits")+
			" AS hits FROM temp.doomed GROUP BY 1, 2, 3, 4) d WHERE cell.hour = d.hour AND cell.subject = d.subject AND cell.link = d.link AND cell.assurance = d.assurance"),
		w.change("UPDATE subject_total SET hits = subject_total.hits - d.hits, measured = subject_total.measured - d.measured FROM (SELECT subject, "+
			saturated("subject_hits")+" AS hits, "+saturated("iif(assurance = 1, subject_hits, 0)")+" AS measured FROM temp.doomed GROUP BY 1) d WHERE d.subject = subject_total.subject"),
	)
	if err != nil {
		return err
	}
	counted, err := numbers(context.Background(), w.conn, 2, "SELECT DISTINCT s.tenant, s.id FROM temp.doomed d JOIN subject s ON s.id = d.subject")
	for _, c := range counted {
		w.changes.count(c[0], c[1])
	}
	return err
}

// settleOver makes true at once what windows that reached beyond the days that go had been the newest of.
func (w *writer) settleOver() error {
	over := w.stale
	if len(over) == 0 {
		return nil
	}
	if err := w.refresh(); err != nil {
		return err
	}
	w.stale = w.stale[:0] // an error can bring the first of them back
	for _, o := range over {
		if err := errors.Join(w.reachAgain(o.place.subject), w.refreshSubject(o.place.subject, o.witness)); err != nil {
			return err
		}
	}
	return nil
}

// reachAgain makes the names of a subject those of its places.
func (w *writer) reachAgain(subject int64) error {
	if err := w.change("DELETE FROM reach WHERE subject = ?", subject); err != nil {
		return err
	}
	places, err := numbers(context.Background(), w.conn, 3, "SELECT workload, instance, assurance FROM place WHERE subject = ?", subject)
	if err != nil {
		return err
	}
	for _, p := range places {
		if err := w.reached(placeKey{subject, p[0], p[1], p[2]}, map[int64]reach{}); err != nil {
			return err
		}
	}
	return nil
}

// settleSubjects makes true what depends on which rows there are, once none is in a window that starts before a time: of
// subjects that were seen before, which those are that had such rows.
func (s *Storage) settleSubjects(ctx context.Context, before int64) error {
	hours, err := numbers(ctx, s.upkeep.look, 1, "SELECT DISTINCT start / 3600000000000 FROM window WHERE start >= ? ORDER BY 1", before)
	if err != nil {
		return err
	}
	for subject := int64(0); ; {
		found, err := numbers(ctx, s.upkeep.look, 3, `SELECT t.subject, s.tenant, s.kind FROM subject_total t JOIN subject s ON s.id = t.subject
WHERE t.subject > ? AND t.first < ? ORDER BY t.subject LIMIT 1000`, subject, before)
		if err != nil || len(found) == 0 {
			return err
		}
		subject = found[len(found)-1][0]
		for len(found) > 0 {
			done := 0
			var settling *settling
			err := s.maintain(ctx, func(w *writer) error {
				for began := time.Now(); done < len(found) && time.Since(began) < stepTime; {
					if settling == nil {
						settling = newSettling(found[done], before, hours)
					}
					whole, err := w.settleTotals(settling)
					if err != nil {
						return err
					}
					if whole {
						done++
						settling = nil
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			found = found[done:]
		}
	}
}

// settling is a subject that is made true.
type settling struct {
	of     witnessRow
	before int64
	hours  [][]int64      // in which there are windows
	has    map[int64]bool // whether the subject has cells in an hour
	asked  int64          // the last witness of which is known whether it is still measured
}

func newSettling(found []int64, before int64, hours [][]int64) *settling {
	return &settling{of: witnessRow{subject: found[0], tenant: found[1], kind: found[2]}, before: before, hours: hours, has: map[int64]bool{}}
}

// settleTotals settles some witnesses of a subject, and the subject when there are no others.
func (w *writer) settleTotals(of *settling) (whole bool, err error) {
	const some = 100
	subject := of.of.subject
	if whole, err = w.settleMeasured(of, some); err != nil || !whole {
		return false, err
	}
	totals, err := numbers(context.Background(), w.conn, 4, `SELECT t.witness, t.last, t.first, w.workload FROM total t JOIN witness w ON w.id = t.witness
WHERE t.subject = ?1 AND t.first < ?2 AND (t.last < ?2 OR t.first <> coalesce((SELECT min(o.first) FROM (
  SELECT first FROM obs WHERE witness = t.witness AND first < start UNION ALL SELECT first FROM rolled WHERE witness = t.witness AND first < start) o), t.first - 1))
LIMIT ?3`, subject, of.before, some)
	if err != nil {
		return false, err
	}
	for _, t := range totals {
		if t[1] < of.before {
			err = w.change("DELETE FROM total WHERE witness = ?", t[0])
		} else {
			var first int64
			if first, err = w.firstOf(of, t[0], t[3]); err == nil {
				err = w.change("UPDATE total SET first = ? WHERE witness = ?", first, t[0])
			}
		}
		if err != nil {
			return false, err
		}
	}
	if len(totals) == some {
		return false, nil
	}
	gone, err := w.changed("DELETE FROM place WHERE subject = ? AND last < ?", subject, of.before)
	if err != nil {
		return false, err
	}
	if gone > 0 {
		if err := w.reachAgain(subject); err != nil {
			return false, err
		}
	}
	return true, w.refreshSubject(subject, of.of)
}

// settleMeasured finds some witnesses of which only assertions are left.
func (w *writer) settleMeasured(of *settling, some int) (whole bool, err error) {
	subject := of.of.subject
	mixed, err := numbers(context.Background(), w.conn, 2, `SELECT t.witness, w.workload FROM total t JOIN witness w ON w.id = t.witness
WHERE t.subject = ?1 AND t.witness > ?2 AND t.first < ?3 AND t.last >= ?3 AND t.measured = 1
AND EXISTS (SELECT 1 FROM place p WHERE p.subject = ?1 AND p.workload = w.workload AND p.assurance <> ?4) ORDER BY t.witness LIMIT ?5`,
		subject, of.asked, of.before, measured, some)
	if err != nil {
		return false, err
	}
	for _, t := range mixed {
		still := false
		if err := w.rowsOf(subject, t[0], t[1], 0, -1, func(c *delta) { still = still || c.assurance == measured }); err != nil {
			return false, err
		}
		if !still {
			if err := w.change("UPDATE total SET measured = 0 WHERE witness = ?", t[0]); err != nil {
				return false, err
			}
		}
		of.asked = t[0]
	}
	return len(mixed) < some, nil
}

// firstOf is when a witness was first seen by the rows that are left.
func (w *writer) firstOf(of *settling, id, workload int64) (int64, error) {
	subject := of.of.subject
	best := int64(math.MaxInt64)
	// A row whose first sighting is not in its window is found by itself; any other was not seen before its window.
	early, err := numbers(context.Background(), w.conn, 1, `SELECT first FROM obs WHERE witness = ?1 AND first < start
UNION ALL SELECT first FROM rolled WHERE witness = ?1 AND first < start`, id)
	if err != nil {
		return 0, err
	}
	for _, row := range early {
		best = min(best, row[0])
	}
	for _, h := range of.hours {
		hour := h[0]
		if hour*hourLength > best {
			return best, nil
		}
		has, known := of.has[hour]
		if !known {
			found, err := numbers(context.Background(), w.conn, 1, "SELECT EXISTS (SELECT 1 FROM cell WHERE hour = ? AND subject = ?)", hour, subject)
			if err != nil {
				return 0, err
			}
			has = found[0][0] != 0
			of.has[hour] = has
		}
		if !has {
			continue
		}
		for _, table := range []string{"obs", "rolled"} {
			var first sql.NullInt64
			err := w.conn.QueryRowContext(context.Background(), `SELECT min(o.first)
FROM (SELECT DISTINCT instance FROM place WHERE subject = ?1 AND workload = ?2) p
CROSS JOIN active a ON a.hour = ?4 AND a.instance = p.instance
CROSS JOIN window x ON x.start >= ?4 * 3600000000000 AND x.start < (?4 + 1) * 3600000000000
CROSS JOIN `+table+` o ON o.start = x.start AND o.source = a.source AND o.instance = a.instance AND o.witness = ?3`, subject, workload, id, hour).Scan(&first)
			if err != nil {
				return 0, err
			}
			if first.Valid {
				best = min(best, first.Int64)
			}
		}
	}
	if best < math.MaxInt64 {
		return best, nil
	}
	// All that is left came since the hours were listed.
	err = w.rowsOf(subject, id, workload, 0, -1, func(c *delta) { best = min(best, c.first) })
	if err == nil && best == math.MaxInt64 {
		err = errors.New("a witness has no rows")
	}
	return best, err
}

// deleteCoverage deletes coverage that ended before a time, but for the last states of hooks of which the source still
// reports, and what it was about when nothing is left of it.
func (s *Storage) deleteCoverage(ctx context.Context, before int64) error {
	w := s.writer
	topic := int64(0)
	for more := true; more; {
		var changes []change
		err := s.step(ctx, func() error {
			for began := time.Now(); time.Since(began) < stepTime; {
				next, err := numbers(context.Background(), w.conn, 1, "SELECT id FROM coverage_topic WHERE id > ? ORDER BY id LIMIT 1", topic)
				if more = len(next) > 0; err != nil || !more {
					return err
				}
				topic = next[0][0]
				dropped, err := w.deleteRuns(topic, before)
				if err != nil {
					return err
				}
				if len(dropped) > 0 {
					changes = append(changes, change{topic: topic, dropped: dropped})
				}
				gone, err := w.changed(`DELETE FROM coverage_topic WHERE id = ?1 AND id < (SELECT max(id) FROM coverage_topic)
AND NOT EXISTS (SELECT 1 FROM coverage_run WHERE topic = ?1)`, topic)
				if err != nil {
					return err
				}
				if gone > 0 {
					w.topics.clear()
				}
			}
			return nil
		}, func() { s.coverage.apply(changes) })
		if err != nil {
			return err
		}
	}
	return s.step(ctx, func() error { return w.change("DELETE FROM coverage_day WHERE day < ?", before/dayLength) }, nil)
}

// deleteRuns deletes the rows of a topic and returns their keys.
func (w *writer) deleteRuns(topic, before int64) (dropped []run, err error) {
	rows, err := w.conn.QueryContext(context.Background(), `DELETE FROM coverage_run WHERE topic = ?1 AND start < ?2 AND end < ?2
AND NOT (start = (SELECT max(start) FROM coverage_run WHERE topic = ?1)
  AND EXISTS (SELECT 1 FROM coverage_topic t JOIN coverage_topic same ON same.source = t.source JOIN coverage_run other ON other.topic = same.id
    WHERE t.id = ?1 AND t.form = ?3 AND other.end >= ?2))
RETURNING start, end, state`, topic, before, formState)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		var r run
		if err := rows.Scan(&r.start, &r.end, &r.state); err != nil {
			return nil, err
		}
		dropped = append(dropped, r)
	}
	return dropped, rows.Err()
}

// deleteToFit deletes the oldest days while the file takes more than it may, but never the newest day.
func (s *Storage) deleteToFit(ctx context.Context, limit, newest int64) error {
	if limit <= 0 {
		return nil
	}
	for {
		all, free, size, err := s.pages(ctx)
		if err != nil || (all-free)*size <= limit {
			return err
		}
		oldest, ok, err := s.extreme(ctx, "min(start)")
		if err != nil || !ok {
			return err
		}
		day := floor(oldest, dayLength) + dayLength
		if day > newest {
			return nil
		}
		if err := s.deleteBefore(ctx, day); err != nil {
			return err
		}
		if err := s.sweep(ctx); err != nil {
			return err
		}
	}
}
