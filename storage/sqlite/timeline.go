package sqlite

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// timeCell is hits of a bucket.
type timeCell struct {
	start int64
	tied
	kind int64
}

// Timeline implements storage.Reader. Buckets of whole hours are added up from cells, but for the parts of hours at the
// ends.
func (s *Storage) Timeline(ctx context.Context, tenant string, query storage.TimelineQuery) (timeline storage.Timeline, err error) {
	if query.Bucket <= 0 {
		return timeline, errors.New("timeline: the bucket is not longer than zero")
	}
	err = s.scoped(ctx, "timeline", tenant, &query.Filter, needs{places: true, cells: true}, func(v *snapshot, sc *scope) error {
		timeline = storage.Timeline{}
		cells := map[timeCell]int64{}
		var longest int64
		lastStart, bucket := int64(-1), int64(0) // they come in runs
		add := func(start, subject, link, kind, length, hits int64) {
			longest = max(longest, length)
			if hits == 0 {
				return
			}
			if start != lastStart {
				lastStart, bucket = start, witness.AlignWindow(timeOf(start), query.Bucket).UnixNano()
			}
			at := timeCell{bucket, tied{link, subject}, kind}
			cells[at] = plus(cells[at], hits)
		}
		from, to := bounds(&query.Filter)
		row := func(c *delta) { add(c.start, c.witness.subject, c.link, c.witness.kind, c.length, c.subjectHits) }
		if to > from {
			if err := v.scanHours(sc, &query.Filter, from, to, query.Bucket%time.Hour == 0, row, func(key cellKey, kind int64, c cellRow) {
				add(key.hour*hourLength, key.subject, key.link, kind, c.longest, c.hits)
			}); err != nil {
				return err
			}
		}
		timeline.Resolution = time.Duration(longest)
		timeline.Buckets, err = v.buckets(cells)
		return err
	})
	if err != nil {
		return storage.Timeline{}, err
	}
	return timeline, nil
}

// scanHours calls cell for the whole hours of [from, to), if cells will do, and row for the rest.
func (v *snapshot) scanHours(sc *scope, f *storage.Filter, from, to int64, cells bool, row func(*delta), cell func(cellKey, int64, cellRow)) error {
	if !cells || len(f.Namespaces) > 0 {
		return v.scan(sc, f, from, to, row)
	}
	fromHour, toHour, whole, err := v.whole(from, to)
	if err != nil {
		return err
	}
	if !whole { // the parts of hours at the ends
		inner, end := (from+hourLength-1)/hourLength, to/hourLength
		if inner >= end {
			return v.scan(sc, f, from, to, row)
		}
		fromHour, toHour = inner, end
		if err := errors.Join(v.scan(sc, f, from, inner*hourLength, row), v.scan(sc, f, end*hourLength, to, row)); err != nil {
			return err
		}
	}
	kinds := make(map[int64]int64, len(sc.subjects))
	for _, s := range sc.subjects {
		kinds[s.id] = s.kind
	}
	if err := v.cellsOf(sc, fromHour, toHour, assuranceCode(f.Assurance), func(key cellKey, c cellRow) { cell(key, kinds[key.subject], c) }); err != nil {
		return err
	}
	if whole {
		return v.scanExtra(sc, f, from, to, row)
	}
	return v.scanExtra(sc, f, fromHour*hourLength, toHour*hourLength, row)
}

// buckets makes buckets of cells.
func (v *snapshot) buckets(cells map[timeCell]int64) ([]storage.Bucket, error) {
	ties := map[tied]struct{}{}
	for at := range cells {
		ties[at.tied] = struct{}{}
	}
	resolved, err := v.resolve(ties)
	if err != nil {
		return nil, err
	}
	artifacts, components, err := v.named(resolved)
	if err != nil {
		return nil, err
	}
	type itemKey struct {
		start int64
		joined
		kind int64
	}
	sums := map[itemKey]uint64{}
	for at, n := range cells {
		key := itemKey{at.start, resolved[at.tied], at.kind}
		sums[key] = sum(sums[key], count(n))
	}
	type item struct {
		start int64
		joined
	}
	items := map[item]map[witness.Kind]uint64{}
	buckets := map[int64]*storage.Bucket{}
	for of, n := range sums {
		kind := kindOf(of.kind)
		bucket := buckets[of.start]
		if bucket == nil {
			bucket = &storage.Bucket{Start: timeOf(of.start), Hits: map[witness.Kind]uint64{}}
			buckets[of.start] = bucket
		}
		key := item{of.start, of.joined}
		if items[key] == nil {
			items[key] = map[witness.Kind]uint64{}
		}
		bucket.Hits[kind] = sum(bucket.Hits[kind], n)
		items[key][kind] = sum(items[key][kind], n)
	}
	for key, hits := range items {
		bucket := buckets[key.start]
		bucket.Items = append(bucket.Items, storage.BucketItem{
			Artifact: artifacts[key.artifact], Component: components[key.component], Hits: hits,
		})
	}
	var sorted []storage.Bucket
	for _, start := range slices.Sorted(maps.Keys(buckets)) {
		bucket := buckets[start]
		slices.SortFunc(bucket.Items, func(a, b storage.BucketItem) int {
			return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Artifact.PURL, b.Artifact.PURL),
				cmp.Compare(a.Artifact.Digest, b.Artifact.Digest), cmp.Compare(a.Artifact.Revision, b.Artifact.Revision),
				cmp.Compare(a.Artifact.Repository, b.Artifact.Repository), cmp.Compare(a.Artifact.Method, b.Artifact.Method),
				slices.Compare(a.Artifact.Conflicts, b.Artifact.Conflicts))
		})
		sorted = append(sorted, *bucket)
	}
	return sorted, nil
}

// resolve returns what each of the ties is tied to.
func (v *snapshot) resolve(ties map[tied]struct{}) (map[tied]joined, error) {
	linkIDs, subjects := set{}, set{}
	for t := range ties {
		linkIDs.add(t.link)
		subjects.add(t.subject)
	}
	links, err := v.links(linkIDs.list())
	if err != nil {
		return nil, err
	}
	known, err := v.known(subjects.list())
	if err != nil {
		return nil, err
	}
	resolved := make(map[tied]joined, len(ties))
	for t := range ties {
		resolved[t] = links[t.link].or(known[t.subject])
	}
	return resolved, nil
}

// named returns the artifacts and components that ties are resolved to.
func (v *snapshot) named(resolved map[tied]joined) (map[int64]witness.Artifact, map[int64]string, error) {
	artifactIDs, componentIDs := set{}, set{}
	for _, j := range resolved {
		artifactIDs.add(j.artifact)
		componentIDs.add(j.component)
	}
	artifacts, err := v.artifacts(artifactIDs.list())
	if err != nil {
		return nil, nil, err
	}
	components, err := v.components(componentIDs.list())
	return artifacts, components, err
}
