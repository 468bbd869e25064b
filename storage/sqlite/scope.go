package sqlite

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// frozen is a copy of derived rows in memory, by subject: those of a moment that are newer than the file's.
type frozen struct {
	subjects map[int64]subjectTotal
	totals   map[int64][]held[int64, totalRow]
	places   map[int64][]held[placeKey, placeRow]
	cells    map[int64][]held[cellKey, cellRow]
}

// needs says of which tables rows are copied, besides subjects.
type needs struct{ totals, places, cells bool }

func (n needs) freeze(d *derived, subjects []int64) *frozen {
	f := &frozen{
		subjects: make(map[int64]subjectTotal, len(subjects)), totals: map[int64][]held[int64, totalRow]{},
		places: map[int64][]held[placeKey, placeRow]{}, cells: map[int64][]held[cellKey, cellRow]{},
	}
	for _, subject := range subjects {
		if t, ok := d.subjects.published(subject); ok {
			f.subjects[subject] = t
		}
		if n.totals {
			if rows := d.totals.of(subject); len(rows) > 0 {
				f.totals[subject] = rows
			}
		}
		if n.places {
			if rows := d.places.of(subject); len(rows) > 0 {
				f.places[subject] = rows
			}
		}
		if n.cells {
			if rows := d.cells.of(subject); len(rows) > 0 {
				f.cells[subject] = rows
			}
		}
	}
	return f
}

// scope is what a filter with subjects and finding is about.
type scope struct {
	*frozen
	subjects []subjectOf  // of the tenant, with the kinds asked for
	named    set          // witnesses that traces named for the finding
	extra    []witnessRow // those of them that are selected and have none of the subjects
}

func (sc *scope) ids() []int64 {
	ids := make([]int64, len(sc.subjects))
	for i, subject := range sc.subjects {
		ids[i] = subject.id
	}
	return ids
}

// subjectOf is a row of subject.
type subjectOf struct{ id, kind int64 }

// scoped runs do in a consistent snapshot for a filter.
func (s *Storage) scoped(ctx context.Context, what, tenant string, f *storage.Filter, n needs, do func(*snapshot, *scope) error) error {
	ids := make([]int64, 0, len(f.Subjects)+len(f.FindingSubjects))
	for _, of := range [][]string{f.Subjects, f.FindingSubjects} {
		for _, id := range of {
			if row := subjectRow(id); row > 0 {
				ids = append(ids, row)
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for {
		sc := &scope{named: set{}}
		var missing []int64
		err := s.consistent(ctx, what, tenant, func(d *derived) { sc.frozen = n.freeze(d, ids) }, func(v *snapshot) error {
			var err error
			if missing, err = v.fill(sc, f, ids); err != nil || len(missing) > 0 {
				return err
			}
			return do(v, sc)
		})
		if err != nil || len(missing) == 0 {
			return err
		}
		// Witnesses that were named have other subjects: copy theirs too.
		ids = append(ids, missing...)
		slices.Sort(ids)
	}
}

// fill finds out what the filter selects, of the subjects that were frozen. It returns subjects that should have been.
func (v *snapshot) fill(sc *scope, f *storage.Filter, ids []int64) (missing []int64, err error) {
	kinds := set{}
	for _, kind := range f.Kinds {
		kinds.add(kindCode(kind))
	}
	wanted := func(kind int64) bool {
		_, ok := kinds[kind]
		return ok || len(kinds) == 0
	}
	asked, claimed := make(set, len(f.Subjects)), make(set, len(f.FindingSubjects))
	for _, id := range f.Subjects {
		asked.add(subjectRow(id))
	}
	for _, id := range f.FindingSubjects {
		claimed.add(subjectRow(id))
	}
	err = v.each("SELECT s.id, s.kind FROM json_each(?) j CROSS JOIN subject s ON s.id = j.value WHERE s.tenant = ?", []any{list(ids), v.tenant},
		func(rows *sql.Rows) error {
			var s subjectOf
			err := rows.Scan(&s.id, &s.kind)
			if _, ok := asked[s.id]; ok && wanted(s.kind) {
				sc.subjects = append(sc.subjects, s)
			}
			return err
		})
	if err != nil || f.Finding == "" {
		return nil, err
	}
	err = v.each(`SELECT w.id, w.subject, w.workload, w.tenant, s.kind, w.created FROM named n CROSS JOIN witness w ON w.id = n.witness CROSS JOIN subject s ON s.id = w.subject
WHERE n.tenant = ? AND n.finding = (SELECT id FROM text WHERE text = ?)`, []any{v.tenant, f.Finding}, func(rows *sql.Rows) error {
		var w witnessRow
		err := rows.Scan(&w.id, &w.subject, &w.workload, &w.tenant, &w.kind, &w.created)
		sc.named.add(w.id)
		_, whole := asked[w.subject]
		if _, ok := claimed[w.subject]; (ok || len(claimed) == 0) && !whole && wanted(w.kind) {
			sc.extra = append(sc.extra, w)
			if _, found := slices.BinarySearch(ids, w.subject); !found && !slices.Contains(missing, w.subject) {
				missing = append(missing, w.subject)
			}
		}
		return err
	})
	return missing, err
}

// subjectTotals calls row for the totals of subjects, in no order.
func (v *snapshot) subjectTotals(f *frozen, subjects []int64, row func(int64, *subjectTotal)) error {
	rest := make([]int64, 0, len(subjects))
	for _, id := range subjects {
		t, ok := f.subjects[id]
		switch {
		case !ok:
			rest = append(rest, id)
		case !t.gone() && t.tenant == v.tenant:
			row(id, &t)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return v.each(`SELECT t.subject, t.kind, t.hits, t.measured, t.first, t.last, t.last_measured, t.witnesses, t.hosts, t.containers, t.images, t.namespaces, t.workloads
FROM json_each(?) j CROSS JOIN subject_total t ON t.subject = j.value WHERE t.tenant = ?`, []any{list(rest), v.tenant}, func(rows *sql.Rows) error {
		var id int64
		t := subjectTotal{tenant: v.tenant}
		err := rows.Scan(&id, &t.kind, &t.hits, &t.measured, &t.first, &t.last, &t.lastMeasured, &t.witnesses, &t.reach[hosts],
			&t.reach[containers], &t.reach[images], &t.reach[namespaces], &t.reach[workloads])
		row(id, &t)
		return err
	})
}

// bounds are the nanoseconds in which the windows of a filter start: from, and before to.
func bounds(f *storage.Filter) (from, to int64) {
	to = math.MaxInt64
	if !f.From.IsZero() {
		from = nanoseconds(f.From)
	}
	if !f.To.IsZero() {
		to = nanoseconds(f.To)
	}
	return from, to
}

// plain says that a filter selects whole subjects and witnesses.
func plain(f *storage.Filter) bool {
	return f.From.IsZero() && f.To.IsZero() && f.Assurance == "" && len(f.Namespaces) == 0
}
