package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
)

// speech is what a source said of an instance: rows of obs or rolled are read by it.
type speech struct{ instance, source int64 }

// saturated is an SQL sum of integers that stops at the greatest.
func saturated(column string) string {
	// Sums of halves of numbers do not overflow.
	const sum = "(sum(%[1]s >> 32) + (sum(%[1]s & 4294967295) >> 32))"
	return fmt.Sprintf("CASE WHEN "+sum+" > 2147483647 THEN 9223372036854775807 ELSE ("+sum+" << 32) | (sum(%[1]s & 4294967295) & 4294967295) END", column)
}

// addedTo is an SQL expression that adds a column of a conflicting row, and stops at the greatest.
func addedTo(table, column string) string {
	return fmt.Sprintf("CASE WHEN excluded.%[2]s > 0 AND %[1]s.%[2]s > 9223372036854775807 - excluded.%[2]s THEN 9223372036854775807 ELSE %[1]s.%[2]s + excluded.%[2]s END", table, column)
}

// rollQuery adds the rows of a table in windows from ?1, before ?2, of a source ?3, an instance ?4 and the witnesses from
// ?5, before ?6, up to one window of the length ?7 from ?1. Those that are that already, or of longer windows, stay as long.
func rollQuery(table string) string {
	return `INSERT INTO rolled (start, source, instance, witness, length, assurance, origin, principal, link, hits, hits_error, subject_hits, witness_hits, first, last, received)
SELECT ?1, o.source, o.instance, o.witness, max(o.length, ?7), o.assurance, o.origin, o.principal, o.link, ` +
		strings.Join([]string{saturated("o.hits"), saturated("o.hits_error"), saturated("o.subject_hits"), saturated("o.witness_hits")}, ", ") + `,
  min(o.first), max(o.last), max(o.received)
FROM window x CROSS JOIN ` + table + ` o ON o.start = x.start AND o.source = ?3 AND o.instance = ?4 AND o.witness >= ?5 AND o.witness < ?6
WHERE x.start >= ?1 AND x.start < ?2 AND NOT (` + rolledAlready(table) + `)
GROUP BY o.witness, max(o.length, ?7), o.assurance, o.origin, o.principal, o.link
ON CONFLICT DO UPDATE SET hits = ` + addedTo("rolled", "hits") + `, hits_error = ` + addedTo("rolled", "hits_error") + `,
  subject_hits = ` + addedTo("rolled", "subject_hits") + `, witness_hits = ` + addedTo("rolled", "witness_hits") + `,
  first = min(first, excluded.first), last = max(last, excluded.last), received = max(received, excluded.received)`
}

// rolledAlready says which rows of o rollQuery leaves.
func rolledAlready(table string) string {
	if table == "rolled" {
		return "o.start = ?1 AND o.length >= ?7"
	}
	return "false"
}

// rollHours rolls up the windows that start before a time, hour by hour.
func (s *Storage) rollHours(ctx context.Context, before int64) error {
	w := s.writer
	if rolled, err := s.marked(ctx, markRolled); err != nil || rolled >= before {
		return err
	}
	for {
		if err := s.foldAhead(ctx); err != nil {
			return err
		}
		hour, more := int64(0), false
		err := s.step(ctx, func() error {
			rolled, err := w.mark(markRolled)
			if err != nil {
				return err
			}
			next, err := numbers(context.Background(), w.conn, 1, "SELECT start FROM window WHERE start >= ? ORDER BY start LIMIT 1", rolled)
			if err != nil {
				return err
			}
			if more = len(next) > 0 && next[0][0] < before; !more {
				return errors.Join(w.moveHorizon(before), w.advance(markRolled, before))
			}
			// From here on the hour does not change but by what follows, and the file has all that is derived from it.
			hour = floor(next[0][0], hourLength) + hourLength
			return errors.Join(w.moveHorizon(hour), w.change("INSERT INTO window VALUES (?) ON CONFLICT DO NOTHING", hour-hourLength), w.rewrite())
		}, nil)
		if err != nil || !more {
			return err
		}
		if err := s.rollHour(ctx, hour-hourLength); err != nil {
			return err
		}
	}
}

func (s *Storage) rollHour(ctx context.Context, hour int64) error {
	w := s.writer
	end := hour + hourLength
	if err := s.roll(ctx, "obs", hour, end, hourLength); err != nil {
		return err
	}
	return s.step(ctx, func() error {
		left, err := numbers(context.Background(), w.conn, 1, "SELECT EXISTS (SELECT 1 FROM obs WHERE start >= ? AND start < ?)", hour, end)
		if err != nil {
			return err
		}
		if left[0][0] != 0 {
			return errors.New("an hour has rows that no source of it said")
		}
		return errors.Join(
			w.rewrite(),
			w.change("UPDATE cell SET longest = max(longest, ?) WHERE hour = ?", hourLength, hour/hourLength),
			w.change("DELETE FROM window WHERE start > ? AND start < ?", hour, end),
			w.advance(markRolled, end),
		)
	}, nil)
}

// rollDays rolls up the hours of days that end before a time.
func (s *Storage) rollDays(ctx context.Context, before int64) error {
	w := s.writer
	if days, err := s.marked(ctx, markDays); err != nil || days >= before {
		return err
	}
	for {
		if err := s.foldAhead(ctx); err != nil {
			return err
		}
		day, more := int64(0), false
		err := s.step(ctx, func() error {
			done, err := w.mark(markDays)
			if err != nil {
				return err
			}
			rolled, err := w.mark(markRolled)
			if err != nil {
				return err
			}
			next, err := numbers(context.Background(), w.conn, 1, "SELECT start FROM window WHERE start >= ? ORDER BY start LIMIT 1", done)
			if err != nil {
				return err
			}
			limit := min(before, floor(rolled, dayLength))
			if more = len(next) > 0 && next[0][0] < limit; !more {
				return w.advance(markDays, limit)
			}
			day = floor(next[0][0], dayLength)
			return errors.Join(w.rewrite(), w.change("INSERT INTO window VALUES (?) ON CONFLICT DO NOTHING", day))
		}, nil)
		if err != nil || !more {
			return err
		}
		if err := s.rollDay(ctx, day); err != nil {
			return err
		}
	}
}

// rollDay rolls up a day. Rows are found by the cells of their hour, so there are cells of the day before there are rows,
// and cells of the hours until there are none.
func (s *Storage) rollDay(ctx context.Context, day int64) error {
	w := s.writer
	end, first := day+dayLength, day/hourLength
	if err := s.eachCells(ctx, first+1, end/hourLength, func(hour, from, to int64) error {
		return errors.Join(
			w.change("INSERT INTO cell SELECT ?, subject, link, assurance, 0, ? FROM cell WHERE hour = ? AND subject >= ? AND subject < ? ON CONFLICT DO NOTHING",
				first, dayLength, hour, from, to),
			w.change("INSERT INTO active SELECT ?, instance, source FROM active WHERE hour = ? AND ? = 0 ON CONFLICT DO NOTHING", first, hour, from),
		)
	}); err != nil {
		return err
	}
	if err := s.roll(ctx, "rolled", day, end, dayLength); err != nil {
		return err
	}
	if err := s.eachCells(ctx, first+1, end/hourLength, func(hour, from, to int64) error {
		return errors.Join(
			w.change(`INSERT INTO cell SELECT ?, subject, link, assurance, hits, longest FROM cell WHERE hour = ? AND subject >= ? AND subject < ?
ON CONFLICT DO UPDATE SET hits = `+addedTo("cell", "hits"), first, hour, from, to),
			w.change("DELETE FROM cell WHERE hour = ? AND subject >= ? AND subject < ?", hour, from, to),
		)
	}); err != nil {
		return err
	}
	return s.step(ctx, func() error {
		left, err := numbers(context.Background(), w.conn, 1, "SELECT EXISTS (SELECT 1 FROM rolled WHERE start > ? AND start < ?)", day, end)
		if err != nil {
			return err
		}
		if left[0][0] != 0 {
			return errors.New("a day has rows that no source of it said")
		}
		return errors.Join(
			w.change("UPDATE cell SET longest = max(longest, ?) WHERE hour = ?", dayLength, first),
			w.change("DELETE FROM window WHERE start > ? AND start < ?", day, end),
			w.change("DELETE FROM active WHERE hour > ? AND hour < ?", first, end/hourLength),
			w.advance(markDays, end),
		)
	}, nil)
}

// eachCells has do done for the cells of hours from, and before to, part by part.
func (s *Storage) eachCells(ctx context.Context, from, to int64, do func(hour, from, to int64) error) error {
	w := s.writer
	hour, subject := from, int64(0)
	return s.steps(ctx, func() (bool, error) {
		if hour >= to {
			return false, nil
		}
		next, err := numbers(context.Background(), w.conn, 1,
			"SELECT subject FROM cell WHERE hour = ? AND subject > ? ORDER BY subject LIMIT 1 OFFSET ?", hour, subject, unitRows)
		if err != nil {
			return false, err
		}
		end := int64(math.MaxInt64)
		if len(next) > 0 {
			end = next[0][0]
		}
		if err := do(hour, subject, end); err != nil {
			return false, err
		}
		if subject = end; end == math.MaxInt64 {
			hour, subject = hour+1, 0
		}
		return true, nil
	})
}

// roll rolls up what a table has in windows from, and before to.
func (s *Storage) roll(ctx context.Context, table string, from, to, length int64) error {
	query := rollQuery(table)
	remove := "DELETE FROM " + table + " AS o WHERE o.start = ?8 AND o.source = ?3 AND o.instance = ?4 AND o.witness >= ?5 AND o.witness < ?6 AND NOT (" + rolledAlready(table) + ") AND ?2 >= ?1"
	return s.eachUnit(ctx, table, from, to, func(said speech, starts []int64, first, last int64) error {
		w := s.writer
		n, err := w.changed(query, from, to, said.source, said.instance, first, last, length)
		if err != nil {
			return err
		}
		s.rolledRows.Add(uint64(n)) //nolint:gosec // a count
		for _, start := range starts {
			if err := w.change(remove, from, to, said.source, said.instance, first, last, length, start); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachUnit has do done for all rows of a table in windows from, and before to, which are behind the horizon: for what one
// source says of an instance, and the witnesses from first, before last, all of their rows, with the starts of windows.
func (s *Storage) eachUnit(ctx context.Context, table string, from, to int64, do func(said speech, starts []int64, first, last int64) error) error {
	w := s.writer
	found, err := numbers(ctx, s.upkeep.look, 1, "SELECT start FROM window WHERE start >= ? AND start < ? ORDER BY start", from, to)
	if err != nil {
		return err
	}
	starts := make([]int64, len(found))
	for i := range found {
		starts[i] = found[i][0]
	}
	said, err := numbers(ctx, s.upkeep.look, 2, "SELECT DISTINCT instance, source FROM active WHERE hour >= ? AND hour < ? ORDER BY instance, source",
		from/hourLength, (to+hourLength-1)/hourLength)
	if err != nil || len(starts) == 0 {
		return err
	}
	// The rows of this many witnesses a window are a unit; witnesses are few where windows are many.
	ahead := max(8, unitRows/len(starts))
	bound := "SELECT witness FROM " + table + " WHERE start = ? AND source = ? AND instance = ? AND witness >= ? ORDER BY witness LIMIT 1 OFFSET ?"
	at, first := 0, int64(0)
	return s.steps(ctx, func() (bool, error) {
		if at == len(said) {
			return false, nil
		}
		of := speech{said[at][0], said[at][1]}
		last := int64(math.MaxInt64)
		for _, start := range starts {
			next, err := numbers(context.Background(), w.conn, 1, bound, start, of.source, of.instance, first, ahead)
			if err != nil {
				return false, err
			}
			if len(next) > 0 {
				last = min(last, max(next[0][0], first+1)) // a witness can have more rows than that in a window
			}
		}
		if err := do(of, starts, first, last); err != nil {
			return false, err
		}
		if first = last; last == math.MaxInt64 {
			at, first = at+1, 0
		}
		return true, nil
	})
}
