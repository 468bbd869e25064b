package sqlite

import (
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// hotHits are hits of a subject.
type hotHits struct{ subject, hits int64 }

// hotter orders by hits, then by subject.
func hotter(a, b hotHits) int {
	return cmp.Or(cmp.Compare(b.hits, a.hits), cmp.Compare(a.subject, b.subject))
}

// coldest is a heap with the coldest on top, which keeps the hottest of what it is given.
type coldest []hotHits

func (h coldest) Len() int           { return len(h) }
func (h coldest) Less(i, j int) bool { return hotter(h[i], h[j]) > 0 }
func (h coldest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *coldest) Push(x any)        { *h = append(*h, x.(hotHits)) }
func (h *coldest) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (h *coldest) offer(x hotHits, limit int) {
	if len(*h) < limit {
		heap.Push(h, x)
	} else if hotter(x, (*h)[0]) < 0 {
		(*h)[0] = x
		heap.Fix(h, 0)
	}
}

// HotSymbols implements storage.Reader. An artifact or component selects hits that are tied to it, as in a Timeline.
func (s *Storage) HotSymbols(ctx context.Context, tenant string, query storage.HotQuery) (hot []storage.HotSymbol, err error) {
	limit := limitOf(query.Limit)
	everything := len(query.Subjects) == 0 && query.Finding == ""
	linked := query.Component != "" || query.Artifact != ""
	describe := func(v *snapshot, found []hotHits) error {
		slices.SortFunc(found, hotter)
		last := min(len(found), limit)
		for most := last + maxTies; last < min(len(found), most) && found[last].hits == found[limit-1].hits; {
			last++
		}
		found = found[:last]
		ids := make([]int64, len(found))
		hits := make(map[int64]int64, len(found))
		for i, each := range found {
			ids[i], hits[each.subject] = each.subject, each.hits
		}
		subjects, err := v.subjects(ids)
		hot = nil
		for _, subject := range subjects {
			hot = append(hot, storage.HotSymbol{Subject: subject, Hits: count(hits[subjectRow(subject.ID)])})
		}
		slices.SortFunc(hot, func(a, b storage.HotSymbol) int {
			return cmp.Or(cmp.Compare(b.Hits, a.Hits), compareSubjects(&a.Subject, &b.Subject))
		})
		hot = hot[:min(len(hot), limit)]
		return err
	}
	sums := map[tied]int64{}
	add := func(of tied, hits int64) {
		if !linked {
			of.link = 0
		}
		if hits != 0 {
			sums[of] = plus(sums[of], hits)
		}
	}
	finish := func(v *snapshot) error {
		bySubject, err := v.wanted(&query, sums)
		if err != nil {
			return err
		}
		found := make([]hotHits, 0, len(bySubject))
		for subject, hits := range bySubject {
			found = append(found, hotHits{subject, hits})
		}
		return describe(v, found)
	}
	switch {
	case everything && plain(&query.Filter) && !linked:
		err = s.hottest(ctx, tenant, &query.Filter, limit, describe)
	case everything:
		err = s.sumTenant(ctx, tenant, &query.Filter, func() { clear(sums) }, add, finish)
	default:
		err = s.scoped(ctx, "hot symbols", tenant, &query.Filter, needs{places: true, cells: true}, func(v *snapshot, sc *scope) error {
			clear(sums)
			from, to := bounds(&query.Filter)
			if to > from {
				if err := v.scanHours(sc, &query.Filter, from, to, true,
					func(c *delta) { add(tied{c.link, c.witness.subject}, c.subjectHits) },
					func(key cellKey, _ int64, c cellRow) { add(tied{key.link, key.subject}, c.hits) }); err != nil {
					return err
				}
			}
			return finish(v)
		})
	}
	if err != nil {
		return nil, err
	}
	return hot, nil
}

// wanted adds up by subject what is tied to the component and artifact that are asked for.
func (v *snapshot) wanted(query *storage.HotQuery, sums map[tied]int64) (map[int64]int64, error) {
	wanted := func(tied) bool { return true }
	if query.Component != "" || query.Artifact != "" {
		ties := make(map[tied]struct{}, len(sums))
		for of := range sums {
			ties[of] = struct{}{}
		}
		resolved, err := v.resolve(ties)
		if err != nil {
			return nil, err
		}
		artifacts, components, err := v.named(resolved)
		if err != nil {
			return nil, err
		}
		component := fold(query.Component)
		isComponent := make(map[int64]bool, len(components))
		for id, purl := range components {
			isComponent[id] = query.Component == "" || slices.Contains(names(purl), component)
		}
		wanted = func(of tied) bool {
			j := resolved[of]
			artifact := artifacts[j.artifact]
			return isComponent[j.component] && (query.Artifact == "" || artifact.PURL == query.Artifact || artifact.Digest == query.Artifact)
		}
	}
	bySubject := map[int64]int64{}
	for of, n := range sums {
		if wanted(of) {
			bySubject[of.subject] = plus(bySubject[of.subject], n)
		}
	}
	return bySubject, nil
}

// tenantRow is the text of a tenant. It is the same ever after.
func (s *Storage) tenantRow(ctx context.Context, what, tenant string) (row int64, err error) {
	err = s.view(ctx, what, tenant, func(v *snapshot) error {
		row = v.tenant
		return nil
	})
	return row, err
}

// hottest gives do the subjects of a tenant with most hits, and perhaps some others.
func (s *Storage) hottest(ctx context.Context, tenant string, f *storage.Filter, limit int, do func(*snapshot, []hotHits) error) error {
	const what = "hot symbols"
	row, err := s.tenantRow(ctx, what, tenant)
	if err != nil {
		return err
	}
	kinds, codes := kindsOf(f)
	var newer coldest
	return s.consistent(ctx, what, tenant, func(d *derived) {
		newer = newer[:0]
		for i := range d.subjects.rows {
			h := &d.subjects.rows[i]
			if h.dirty && h.row.tenant == row && kinds.has(h.row.kind) && !h.row.gone() {
				newer.offer(hotHits{h.key, h.row.hits}, limit+maxTies)
			}
		}
	}, func(v *snapshot) error {
		// A row of the file that memory has newer has more hits there. So of those that are not among the hottest in
		// memory, none is hotter in the file than the coldest of these.
		found := slices.Clone(newer)
		known := set{}
		for _, each := range found {
			known.add(each.subject)
		}
		query, args := "SELECT subject, hits FROM subject_total WHERE tenant = ?", []any{v.tenant}
		if len(codes) > 0 {
			query += " AND kind IN (SELECT value FROM json_each(?))"
			args = append(args, list(codes))
		}
		if len(newer) == limit+maxTies {
			query += " AND hits >= ?"
			args = append(args, newer[0].hits)
		}
		left, last := limit, int64(0)
		err := v.each(query+" ORDER BY hits DESC, subject", args, func(rows *sql.Rows) error {
			var h hotHits
			err := rows.Scan(&h.subject, &h.hits)
			if left <= -maxTies || left <= 0 && h.hits != last {
				return errEnough
			}
			if _, ok := known[h.subject]; !ok {
				found = append(found, h)
				left, last = left-1, h.hits
			}
			return err
		})
		if err != nil {
			return err
		}
		return do(v, found)
	})
}

// sumTenant calls add for the hits of a whole tenant.
func (s *Storage) sumTenant(ctx context.Context, tenant string, f *storage.Filter, clear func(), add func(tied, int64), finish func(*snapshot) error) error {
	const what = "hot symbols"
	row, err := s.tenantRow(ctx, what, tenant)
	if err != nil {
		return err
	}
	from, to := bounds(f)
	kinds, codes := kindsOf(f)
	assurance := assuranceCode(f.Assurance)
	var newer map[cellKey]cellRow
	return s.consistent(ctx, what, tenant, func(d *derived) {
		newer = map[cellKey]cellRow{}
		for i := range d.cells.rows {
			h := &d.cells.rows[i]
			if !h.dirty || assurance != 0 && h.key.assurance != assurance {
				continue
			}
			// What is held of a cell is held of its subject.
			if of, _ := d.subjects.published(h.key.subject); of.tenant == row && kinds.has(of.kind) {
				newer[h.key] = h.row
			}
		}
	}, func(v *snapshot) error {
		clear()
		if to <= from {
			return finish(v)
		}
		fromHour, toHour, whole, err := v.whole(from, to)
		if err != nil {
			return err
		}
		if !whole || len(f.Namespaces) > 0 {
			if err := v.sumRows(f, from, to, add); err != nil {
				return err
			}
			return finish(v)
		}
		for key, c := range newer {
			if key.hour >= fromHour && key.hour < toHour {
				add(tied{key.link, key.subject}, c.hits)
			}
		}
		err = v.each(`SELECT c.hour, c.subject, c.link, c.assurance, c.hits FROM cell c CROSS JOIN subject s ON s.id = c.subject
WHERE c.hour >= ? AND c.hour < ? AND s.tenant = ? AND (? = '[]' OR s.kind IN (SELECT value FROM json_each(?))) AND (? = 0 OR c.assurance = ?)`,
			[]any{fromHour, toHour, v.tenant, list(codes), list(codes), assurance, assurance}, func(rows *sql.Rows) error {
				var key cellKey
				var hits int64
				err := rows.Scan(&key.hour, &key.subject, &key.link, &key.assurance, &hits)
				if _, ok := newer[key]; !ok {
					add(tied{key.link, key.subject}, hits)
				}
				return err
			})
		if err != nil {
			return err
		}
		return finish(v)
	})
}

// kindSet is codes of kinds; none are all.
type kindSet set

func (k kindSet) has(kind int64) bool {
	_, ok := k[kind]
	return ok || len(k) == 0
}

func kindsOf(f *storage.Filter) (kindSet, []int64) {
	kinds := kindSet{}
	for _, kind := range f.Kinds {
		kinds[kindCode(kind)] = struct{}{}
	}
	return kinds, slices.Sorted(maps.Keys(kinds))
}
