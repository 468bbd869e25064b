package sqlite

import (
	"database/sql"
	"fmt"
	"math"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// scan calls row for the observations that a filter selects and that are in windows starting in [from, to), in no order.
// Where only named witnesses of a subject are asked for, what they add to their subject is what they add to themselves.
// row must not keep its argument.
func (v *snapshot) scan(sc *scope, f *storage.Filter, from, to int64, row func(*delta)) error {
	if from >= to {
		return nil
	}
	for _, subject := range sc.subjects {
		if err := v.scanSubject(sc, f, subject, 0, from, to, row); err != nil {
			return err
		}
	}
	return v.scanExtra(sc, f, from, to, row)
}

func (v *snapshot) scanExtra(sc *scope, f *storage.Filter, from, to int64, row func(*delta)) error {
	for _, w := range sc.extra {
		err := v.scanSubject(sc, f, subjectOf{w.subject, w.kind}, w.id, from, to, func(c *delta) {
			c.subjectHits = c.witnessHits
			row(c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scanQuery leads from a subject to its rows: the hours in which it has cells, the instances in which it has places, the
// sources that were active there, the windows of the hour, the witnesses. What the file lacks comes as JSON.
func scanQuery(table string) string {
	return fmt.Sprintf(`WITH places (workload, instance, assurance) AS MATERIALIZED (
  SELECT workload, instance, assurance FROM place WHERE subject = ?1
  UNION SELECT value->>0, value->>1, value->>2 FROM json_each(?2)),
pairs AS MATERIALIZED (
  SELECT p.instance, p.assurance, w.id, w.witness, w.workload, w.created FROM witness w CROSS JOIN places p ON p.workload = w.workload
  WHERE w.subject = ?1 AND (?3 = 0 OR w.id = ?3) AND (?4 = 0 OR p.assurance = ?4)
  AND (?5 IS NULL OR w.workload IN (SELECT id FROM workload WHERE namespace IN (SELECT value FROM json_each(?5))))),
hours AS MATERIALIZED (
  SELECT hour FROM (SELECT DISTINCT start / %[2]d AS hour FROM window WHERE start >= ?6 AND start < ?7) h
  WHERE EXISTS (SELECT 1 FROM cell c WHERE c.hour = h.hour AND c.subject = ?1) OR hour IN (SELECT value FROM json_each(?8)))
SELECT o.start, o.length, o.instance, o.assurance, o.origin, o.link, o.subject_hits, o.witness_hits, o.hits_error, o.first, o.last,
  p.id, p.witness, p.workload, p.created
FROM hours h CROSS JOIN pairs p
CROSS JOIN active a ON a.hour = h.hour AND a.instance = p.instance
CROSS JOIN window x ON x.start >= max(h.hour * %[2]d, ?6) AND x.start < min((h.hour + 1) * %[2]d, ?7)
CROSS JOIN %[1]s o ON o.start = x.start AND o.source = a.source AND o.instance = p.instance AND o.witness = p.id
WHERE o.assurance = p.assurance`, table, hourLength)
}

var scanObs, scanRolled = scanQuery("obs"), scanQuery("rolled")

func (v *snapshot) scanSubject(sc *scope, f *storage.Filter, subject subjectOf, witness, from, to int64, row func(*delta)) error {
	places := make([][3]int64, 0, len(sc.places[subject.id]))
	for i := range sc.places[subject.id] {
		p := &sc.places[subject.id][i]
		places = append(places, [3]int64{p.key.workload, p.key.instance, p.key.assurance})
	}
	hours := set{}
	for i := range sc.cells[subject.id] {
		hours.add(sc.cells[subject.id][i].key.hour)
	}
	var namespaces any
	if len(f.Namespaces) > 0 {
		namespaces = list(f.Namespaces)
	}
	args := []any{subject.id, list(places), witness, assuranceCode(f.Assurance), namespaces, from, to, list(hours.list())}
	for _, query := range []string{scanObs, scanRolled} {
		err := v.each(query, args, func(rows *sql.Rows) error {
			c := delta{witness: witnessRow{subject: subject.id, kind: subject.kind, tenant: v.tenant}}
			var id sql.RawBytes
			if err := rows.Scan(&c.start, &c.length, &c.instance, &c.assurance, &c.origin, &c.link, &c.subjectHits, &c.witnessHits, &c.hitsError,
				&c.first, &c.last, &c.witness.id, &id, &c.witness.workload, &c.witness.created); err != nil {
				return err
			}
			copy(c.id[:], id)
			row(&c)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tied are hits by what they are tied to: the link of the observation, and the subject whose known ones fill the gaps.
type tied struct{ link, subject int64 }

// sumRows calls part for the hits that a filter without subjects selects of the whole tenant, from the rows themselves.
func (v *snapshot) sumRows(f *storage.Filter, from, to int64, part func(tied, int64)) error {
	kinds := make([]int64, 0, len(f.Kinds))
	for _, kind := range f.Kinds {
		kinds = append(kinds, kindCode(kind))
	}
	var namespaces any
	if len(f.Namespaces) > 0 {
		namespaces = list(f.Namespaces)
	}
	for _, table := range []string{"obs", "rolled"} {
		// Sums of the halves of numbers do not overflow.
		err := v.each(`SELECT w.subject, o.link, sum(o.subject_hits >> 32), sum(o.subject_hits & 4294967295)
FROM `+table+` o CROSS JOIN witness w ON w.id = o.witness CROSS JOIN subject s ON s.id = w.subject
WHERE o.start >= ?1 AND o.start < ?2 AND w.tenant = ?3 AND (?4 = 0 OR o.assurance = ?4)
AND (?5 = '[]' OR s.kind IN (SELECT value FROM json_each(?5)))
AND (?6 IS NULL OR w.workload IN (SELECT id FROM workload WHERE namespace IN (SELECT value FROM json_each(?6))))
GROUP BY w.subject, o.link`, []any{from, to, v.tenant, assuranceCode(f.Assurance), list(kinds), namespaces}, func(rows *sql.Rows) error {
			var of tied
			var high, low int64
			err := rows.Scan(&of.subject, &of.link, &high, &low)
			if high += low >> 32; high > math.MaxInt32 {
				part(of, math.MaxInt64)
			} else {
				part(of, high<<32|low&math.MaxUint32)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// whole widens [from, to) to hours, and says whether that adds no windows.
func (v *snapshot) whole(from, to int64) (fromHour, toHour int64, is bool, err error) {
	fromHour = from / hourLength
	toHour = int64(math.MaxInt64) / hourLength
	if to < toHour*hourLength {
		toHour = (to + hourLength - 1) / hourLength
	} else {
		toHour++ // the last hour of all is not over
	}
	if from%hourLength == 0 && (to%hourLength == 0 || to == math.MaxInt64) {
		return fromHour, toHour, true, nil
	}
	end := to
	if toHour <= math.MaxInt64/hourLength {
		end = toHour * hourLength
	}
	err = v.tx.QueryRowContext(v.ctx, `SELECT NOT EXISTS (SELECT 1 FROM window WHERE start >= ? AND start < ?) AND NOT EXISTS (SELECT 1 FROM window WHERE start >= ? AND start < ?)`,
		fromHour*hourLength, from, to, end).Scan(&is)
	return fromHour, toHour, is, err
}

// idRange is ids from one to another.
type idRange [2]int64

// rangesOf are the ranges that ids are in, ascending. A range has others too where that takes less than to seek again.
func rangesOf(ids []int64) []idRange {
	const gap = 2
	var ranges []idRange
	for _, id := range slices.Sorted(slices.Values(ids)) {
		if n := len(ranges); n > 0 && id-ranges[n-1][1] <= gap {
			ranges[n-1][1] = id
		} else {
			ranges = append(ranges, idRange{id, id})
		}
	}
	return ranges
}

// cellsOf calls cell for what subjects have in hours from, and before to.
func (v *snapshot) cellsOf(sc *scope, from, to, assurance int64, cell func(cellKey, cellRow)) error {
	asked := make(set, len(sc.subjects))
	newer := map[cellKey]struct{}{}
	for _, s := range sc.subjects {
		asked.add(s.id)
		for j := range sc.cells[s.id] {
			h := &sc.cells[s.id][j]
			if h.key.hour < from || h.key.hour >= to || assurance != 0 && h.key.assurance != assurance {
				continue
			}
			newer[h.key] = struct{}{}
			if !h.row.gone() {
				cell(h.key, h.row)
			}
		}
	}
	return v.each(`WITH ids (first, last) AS MATERIALIZED (SELECT value->>0, value->>1 FROM json_each(?1))
SELECT c.hour, c.subject, c.link, c.assurance, c.hits, c.longest
FROM (SELECT DISTINCT start / ?4 AS hour FROM window WHERE start >= ?2 * ?4 AND start / ?4 < ?3) h
CROSS JOIN ids CROSS JOIN cell c ON c.hour = h.hour AND c.subject BETWEEN ids.first AND ids.last
WHERE ?5 = 0 OR c.assurance = ?5`, []any{list(rangesOf(sc.ids())), from, to, hourLength, assurance}, func(rows *sql.Rows) error {
		var key cellKey
		var c cellRow
		err := rows.Scan(&key.hour, &key.subject, &key.link, &key.assurance, &c.hits, &c.longest)
		if _, ok := asked[key.subject]; !ok {
			return err
		}
		if len(newer) > 0 {
			if _, ok := newer[key]; ok {
				return err
			}
		}
		cell(key, c)
		return err
	})
}
