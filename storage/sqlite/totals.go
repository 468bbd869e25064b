package sqlite

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// set is ids that were met.
type set map[int64]struct{}

func (s set) add(id int64)   { s[id] = struct{}{} }
func (s set) list() []int64  { return slices.Collect(maps.Keys(s)) }
func (s set) join(other set) { maps.Copy(s, other) }

// public is the row as storage has it.
func (r *subjectTotal) public() storage.SubjectTotal {
	t := storage.SubjectTotal{
		Hits: count(r.hits), Measured: count(r.measured), FirstSeen: timeOf(r.first), LastSeen: timeOf(r.last),
		Hosts: int(r.reach[hosts]), Images: int(r.reach[images]), Namespaces: int(r.reach[namespaces]), Workloads: int(r.reach[workloads]),
	}
	if r.lastMeasured != 0 {
		t.LastMeasured = timeOf(r.lastMeasured)
	}
	return t
}

// count is a sum of hits, which is never negative.
func count(n int64) uint64 { return uint64(max(0, n)) } //nolint:gosec // not negative

// gathered is what rows of a subject add up to.
type gathered struct {
	subjectTotal
	witnesses, instances, workloads set
}

// gathering is by subject.
type gathering map[int64]*gathered

func (g gathering) add(c *delta) {
	of := g[c.witness.subject]
	if of == nil {
		of = &gathered{witnesses: set{}, instances: set{}, workloads: set{}}
		g[c.witness.subject] = of
	}
	of.subjectTotal = of.add(c)
	of.witnesses.add(c.witness.id)
	of.instances.add(c.instance)
	of.workloads.add(c.witness.workload)
}

// reached are names, by dimension, as values of the table reach.
type reached map[[2]int64]struct{}

func (r reached) add(dimension int, value int64) {
	if value != 0 {
		r[[2]int64{int64(dimension), value}] = struct{}{}
	}
}

func (r reached) count(dimension int) (n int) {
	for name := range r {
		if name[0] == int64(dimension) {
			n++
		}
	}
	return n
}

// finish counts the names of what was gathered, and adds those of all of it to met.
func (g gathering) finish(v *snapshot, met reached) error {
	instanceIDs, workloadIDs := set{}, set{}
	for _, of := range g {
		instanceIDs.join(of.instances)
		workloadIDs.join(of.workloads)
	}
	instances, err := v.instances(instanceIDs.list())
	if err != nil {
		return err
	}
	places, err := v.workloads(workloadIDs.list())
	if err != nil {
		return err
	}
	for _, of := range g {
		of.subjectTotal.witnesses = int64(len(of.witnesses))
		of.reach = reach{
			hosts:      distinct(of.instances, func(id int64) string { return instances[id].Host }),
			images:     distinct(of.workloads, func(id int64) string { return places[id].Image }),
			namespaces: distinct(of.workloads, func(id int64) string { return places[id].Namespace }),
			workloads:  distinct(of.workloads, func(id int64) witness.Workload { return places[id] }),
		}
	}
	for id := range instanceIDs {
		met.add(hosts, nameValue(instances[id].Host))
		met.add(containers, nameValue(instances[id].Container))
	}
	for id := range workloadIDs {
		met.add(images, nameValue(places[id].Image))
	}
	return nil
}

// distinct counts different values but the zero one.
func distinct[T comparable](ids set, value func(int64) T) int64 {
	var zero T
	values := map[T]struct{}{}
	for id := range ids {
		if v := value(id); v != zero {
			values[v] = struct{}{}
		}
	}
	return int64(len(values))
}

// Summary implements storage.Reader.
func (s *Storage) Summary(ctx context.Context, tenant string, filter storage.Filter) (summary storage.Summary, err error) {
	err = s.scoped(ctx, "summary", tenant, &filter, needs{places: true, cells: true}, func(v *snapshot, sc *scope) error {
		summary = storage.Summary{
			ByKind: map[witness.Kind]uint64{}, ByAssurance: map[witness.Assurance]uint64{}, BySubject: map[string]storage.SubjectTotal{},
		}
		from, to := bounds(&filter)
		rows := gathering{}
		if !plain(&filter) {
			if err := v.scan(sc, &filter, from, to, rows.add); err != nil {
				return err
			}
			return v.summarize(&summary, nil, nil, rows)
		}
		var ids []int64
		var totals []subjectTotal
		if err := v.subjectTotals(sc.frozen, sc.ids(), func(id int64, t *subjectTotal) {
			ids, totals = append(ids, id), append(totals, *t)
		}); err != nil {
			return err
		}
		if err := v.scanExtra(sc, &filter, from, to, rows.add); err != nil {
			return err
		}
		return v.summarize(&summary, ids, totals, rows)
	})
	if err != nil {
		return storage.Summary{}, err
	}
	return summary, nil
}

// summarize adds up whole subjects and what was gathered of others.
func (v *snapshot) summarize(summary *storage.Summary, ids []int64, totals []subjectTotal, rows gathering) error {
	met := reached{}
	if err := rows.finish(v, met); err != nil {
		return err
	}
	add := func(id int64, r *subjectTotal) {
		t := r.public()
		kind := kindOf(r.kind)
		summary.Hits = sum(summary.Hits, t.Hits)
		summary.ByKind[kind] = sum(summary.ByKind[kind], t.Hits)
		for assurance, n := range map[witness.Assurance]uint64{witness.Measured: t.Measured, witness.Asserted: t.Hits - t.Measured} {
			if n > 0 {
				summary.ByAssurance[assurance] = sum(summary.ByAssurance[assurance], n)
			}
		}
		summary.Witnesses += int(r.witnesses)
		summary.FirstSeen, summary.LastSeen = earlier(summary.FirstSeen, t.FirstSeen), later(summary.LastSeen, t.LastSeen)
		summary.BySubject[subjectID(id)] = t
	}
	for i := range ids {
		add(ids[i], &totals[i])
	}
	for id, of := range rows {
		add(id, &of.subjectTotal)
	}
	var all reach
	var err error
	switch {
	case len(rows) > 0:
		if err = v.reachInto(ids, met); err == nil {
			all = reach{hosts: int64(met.count(hosts)), containers: int64(met.count(containers)), images: int64(met.count(images))}
		}
	case len(ids) == 1:
		all = totals[0].reach
	case len(ids) > 1:
		all, err = v.reachOf(ids)
	}
	summary.Hosts, summary.Containers, summary.Images = int(all[hosts]), int(all[containers]), int(all[images])
	return err
}

// reachOf counts the names that subjects have together, but for namespaces and workloads.
func (v *snapshot) reachOf(subjects []int64) (all reach, err error) {
	err = v.each(`SELECT r.dimension, count(DISTINCT r.value) FROM json_each(?) j CROSS JOIN reach r ON r.subject = j.value AND r.dimension <= ?
GROUP BY r.dimension`, []any{list(subjects), images + 1}, func(rows *sql.Rows) error {
		var dimension, n int64
		err := rows.Scan(&dimension, &n)
		all[dimension-1] = n
		return err
	})
	return all, err
}

// reachInto adds those names.
func (v *snapshot) reachInto(subjects []int64, met reached) error {
	return v.each("SELECT r.dimension, r.value FROM json_each(?) j CROSS JOIN reach r ON r.subject = j.value AND r.dimension <= ?",
		[]any{list(subjects), images + 1}, func(rows *sql.Rows) error {
			var dimension int
			var value int64
			err := rows.Scan(&dimension, &value)
			met.add(dimension-1, value)
			return err
		})
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Totals implements storage.Reader.
func (s *Storage) Totals(ctx context.Context, tenant string, subjects []string) (totals map[string]storage.SubjectTotal, err error) {
	ids := make([]int64, 0, len(subjects))
	for _, id := range subjects {
		if row := subjectRow(id); row > 0 {
			ids = append(ids, row)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	totals = make(map[string]storage.SubjectTotal, len(ids))
	var f *frozen
	err = s.consistent(ctx, "totals", tenant, func(d *derived) { f = needs{}.freeze(d, ids) }, func(v *snapshot) error {
		return v.subjectTotals(f, ids, func(id int64, t *subjectTotal) { totals[subjectID(id)] = t.public() })
	})
	return totals, err
}
