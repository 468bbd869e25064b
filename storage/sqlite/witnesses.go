package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// total is what the observations of a witness add up to.
type total struct {
	candidate       *candidate
	hits, hitsError uint64
	first, last     int64
	measured        bool
	newest          hit
}

// Witnesses implements storage.Reader.
func (s *Storage) Witnesses(ctx context.Context, tenant string, query storage.WitnessQuery) (page storage.WitnessPage, err error) {
	order := query.Sort
	if order == "" {
		order = storage.SortHits
	}
	if order != storage.SortHits && order != storage.SortRecent && order != storage.SortID {
		return page, fmt.Errorf("witnesses: the sort order is not one of %s, %s, %s", storage.SortHits, storage.SortRecent, storage.SortID)
	}
	limit := limitOf(query.Limit)
	err = s.view(ctx, "witnesses", tenant, func(v *snapshot) error {
		candidates, err := v.candidates(&query.Filter, false)
		if err != nil {
			return err
		}
		var totals []total
		add := func(hits []hit) error {
			totals = append(totals, totalOf(hits))
			return nil
		}
		if order == storage.SortID {
			// The order is known before the hits are: look only at as many as the page needs.
			slices.SortFunc(candidates, func(a, b candidate) int { return bytes.Compare(a.id[:], b.id[:]) })
			if query.After != nil {
				at, found := slices.BinarySearchFunc(candidates, query.After.ID, func(c candidate, id witness.ID) int { return bytes.Compare(c.id[:], id[:]) })
				if found {
					at++
				}
				candidates = candidates[at:]
			}
			for len(candidates) > 0 && len(totals) <= limit {
				next := min(len(candidates), limit+1)
				if err := v.scan(candidates[:next], &query.Filter, query.AsOf, false, add); err != nil {
					return err
				}
				candidates = candidates[next:]
			}
		} else if err := v.scan(candidates, &query.Filter, query.AsOf, false, add); err != nil {
			return err
		}
		key := func(t *total) int64 {
			switch order {
			case storage.SortHits:
				return number(t.hits)
			case storage.SortRecent:
				return t.last
			default:
				return 0
			}
		}
		compare := func(aKey int64, a witness.ID, bKey int64, b witness.ID) int {
			return cmp.Or(cmp.Compare(bKey, aKey), bytes.Compare(a[:], b[:]))
		}
		if query.After != nil && order != storage.SortID {
			totals = slices.DeleteFunc(totals, func(t total) bool {
				return compare(key(&t), t.candidate.id, query.After.Key, query.After.ID) <= 0
			})
		}
		slices.SortFunc(totals, func(a, b total) int { return compare(key(&a), a.candidate.id, key(&b), b.candidate.id) })
		if len(totals) > limit {
			totals = totals[:limit]
			last := &totals[limit-1]
			page.Next = &storage.Position{Key: key(last), ID: last.candidate.id}
		}
		page.Witnesses, err = v.describe(totals)
		return err
	})
	if err != nil {
		return storage.WitnessPage{}, err
	}
	return page, nil
}

func totalOf(hits []hit) total {
	t := total{candidate: hits[0].candidate, first: math.MaxInt64, newest: hits[0]}
	for i := range hits {
		h := &hits[i]
		if h.counts {
			t.hits = sum(t.hits, h.hits)
			t.hitsError = sum(t.hitsError, h.hitsError)
		}
		t.first, t.last = min(t.first, h.first), max(t.last, h.last)
		t.measured = t.measured || h.assurance == measured
		if h.last > t.newest.last {
			t.newest = *h
		}
	}
	return t
}

// describe adds to totals what the witnesses are.
func (v *snapshot) describe(totals []total) ([]storage.WitnessTotal, error) {
	if len(totals) == 0 {
		return nil, nil
	}
	n := len(totals)
	rows, subjects := make([]int64, n), make([]int64, n)
	workloadIDs, instanceIDs, linkIDs := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, t := range totals {
		rows[i], subjects[i], workloadIDs[i] = t.candidate.row, t.candidate.subject, t.candidate.workload
		instanceIDs[i], linkIDs[i] = t.newest.instance, t.newest.link
	}
	stacks, frames, err := v.stacks(rows)
	if err != nil {
		return nil, err
	}
	workloads, err := v.workloads(workloadIDs)
	if err != nil {
		return nil, err
	}
	instances, err := v.instances(instanceIDs)
	if err != nil {
		return nil, err
	}
	links, err := v.links(linkIDs)
	if err != nil {
		return nil, err
	}
	known, err := v.known(subjects)
	if err != nil {
		return nil, err
	}
	var artifactIDs, componentIDs []int64
	for i := range totals {
		j := links[linkIDs[i]].or(known[subjects[i]])
		artifactIDs, componentIDs = append(artifactIDs, j.artifact), append(componentIDs, j.component)
	}
	artifacts, err := v.artifacts(artifactIDs)
	if err != nil {
		return nil, err
	}
	components, err := v.components(componentIDs)
	if err != nil {
		return nil, err
	}
	found := make([]storage.WitnessTotal, 0, n)
	for i, t := range totals {
		w := witness.Witness{Kind: kindOf(t.candidate.kind), Workload: workloads[workloadIDs[i]]}
		for at, frame := range stacks[rows[i]] {
			if at == 0 {
				w.Frame = frames[frame]
			} else {
				w.Path = append(w.Path, frames[frame])
			}
		}
		w.Frame.Component = components[componentIDs[i]]
		assurance := witness.Asserted
		if t.measured {
			assurance = witness.Measured
		}
		found = append(found, storage.WitnessTotal{
			ID: t.candidate.id, Subject: subjectID(t.candidate.subject), Witness: w, Artifact: artifacts[artifactIDs[i]],
			Hits: t.hits, HitsError: t.hitsError, FirstSeen: timeOf(t.first), LastSeen: timeOf(t.last),
			Assurance: assurance, Origin: origins[t.newest.origin-1],
			Instance: instances[instanceIDs[i]], Named: t.candidate.named,
		})
	}
	return found, nil
}

// stacks returns the frames of witnesses, innermost first, by the witness's row, and the frames by theirs.
func (v *snapshot) stacks(rows []int64) (map[int64][]int64, map[int64]witness.Frame, error) {
	stacks := make(map[int64][]int64, len(rows))
	distinct := map[int64]struct{}{}
	err := v.each(`WITH RECURSIVE path (witness, depth, frame, node) AS (
  SELECT id, 0, frame, node FROM witness WHERE id IN (SELECT value FROM json_each(?))
  UNION ALL
  SELECT p.witness, p.depth + 1, n.frame, n.caller FROM path p JOIN node n ON n.id = p.node WHERE p.node <> 0)
SELECT witness, frame FROM path ORDER BY witness, depth`, []any{list(rows)}, func(r *sql.Rows) error {
		var row, frame int64
		err := r.Scan(&row, &frame)
		stacks[row] = append(stacks[row], frame)
		distinct[frame] = struct{}{}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	ids := make([]int64, 0, len(distinct))
	for id := range distinct {
		ids = append(ids, id)
	}
	frames, err := v.frames(ids)
	return stacks, frames, err
}
