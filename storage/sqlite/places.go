package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Places implements storage.Reader.
func (s *Storage) Places(ctx context.Context, tenant string, filter storage.Filter) (places []storage.Place, err error) {
	type at struct{ subject, workload, instance int64 }
	err = s.scoped(ctx, "places", tenant, &filter, needs{places: true, cells: true}, func(v *snapshot, sc *scope) error {
		found := map[at]*storage.Place{}
		add := func(key placeKey, hits, last int64) {
			p := found[at{key.subject, key.workload, key.instance}]
			if p == nil {
				p = &storage.Place{Subject: subjectID(key.subject)}
				found[at{key.subject, key.workload, key.instance}] = p
			}
			p.LastSeen = later(p.LastSeen, timeOf(last))
			p.Hits = sum(p.Hits, count(hits))
			if key.assurance == measured {
				p.LastMeasured = later(p.LastMeasured, timeOf(last))
				p.Measured = sum(p.Measured, count(hits))
			}
		}
		row := func(c *delta) { add(c.place(), c.subjectHits, c.last) }
		from, to := bounds(&filter)
		var err error
		if filter.From.IsZero() && filter.To.IsZero() {
			if err = v.places(sc, assuranceCode(filter.Assurance), filter.Namespaces, add); err == nil {
				err = v.scanExtra(sc, &filter, from, to, row)
			}
		} else {
			err = v.scan(sc, &filter, from, to, row)
		}
		if err != nil {
			return err
		}
		workloadIDs, instanceIDs := set{}, set{}
		for key := range found {
			workloadIDs.add(key.workload)
			instanceIDs.add(key.instance)
		}
		workloads, err := v.workloads(workloadIDs.list())
		if err != nil {
			return err
		}
		instances, err := v.instances(instanceIDs.list())
		if err != nil {
			return err
		}
		places = nil
		for _, key := range slices.SortedFunc(maps.Keys(found), func(a, b at) int {
			return cmp.Or(cmp.Compare(a.subject, b.subject), compareWorkloads(workloads[a.workload], workloads[b.workload]),
				compareInstances(instances[a.instance], instances[b.instance]))
		}) {
			p := found[key]
			p.Workload, p.Instance = workloads[key.workload], instances[key.instance]
			places = append(places, *p)
		}
		return nil
	})
	return places, err
}

// places calls place for the places of subjects, in an assurance and in namespaces, if any are given.
func (v *snapshot) places(sc *scope, assurance int64, namespaces []string, place func(key placeKey, hits, last int64)) error {
	wanted := func(int64) bool { return true }
	if len(namespaces) > 0 {
		in := set{}
		if err := v.each("SELECT id FROM workload WHERE namespace IN (SELECT value FROM json_each(?))", []any{list(namespaces)}, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			in.add(id)
			return err
		}); err != nil {
			return err
		}
		wanted = func(workload int64) bool {
			_, ok := in[workload]
			return ok
		}
	}
	newer := map[placeKey]struct{}{}
	for _, s := range sc.subjects {
		for i := range sc.places[s.id] {
			h := &sc.places[s.id][i]
			newer[h.key] = struct{}{}
			if !h.row.gone() && wanted(h.key.workload) && (assurance == 0 || assurance == h.key.assurance) {
				place(h.key, h.row.hits, h.row.last)
			}
		}
	}
	return v.each(`SELECT p.subject, p.workload, p.instance, p.assurance, p.hits, p.last FROM json_each(?1) j CROSS JOIN place p ON p.subject = j.value
WHERE ?2 = 0 OR p.assurance = ?2`, []any{list(sc.ids()), assurance}, func(rows *sql.Rows) error {
		var key placeKey
		var hits, last int64
		err := rows.Scan(&key.subject, &key.workload, &key.instance, &key.assurance, &hits, &last)
		if _, ok := newer[key]; !ok && wanted(key.workload) {
			place(key, hits, last)
		}
		return err
	})
}

func compareWorkloads(a, b witness.Workload) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Controller, b.Controller),
		cmp.Compare(a.Container, b.Container), cmp.Compare(a.Image, b.Image))
}

func compareInstances(a, b witness.Instance) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container))
}
