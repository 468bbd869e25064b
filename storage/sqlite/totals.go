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

// set is ids that were met.
type set map[int64]struct{}

func (s set) add(id int64)   { s[id] = struct{}{} }
func (s set) list() []int64  { return slices.Collect(maps.Keys(s)) }
func (s set) join(other set) { maps.Copy(s, other) }

// Summary implements storage.Reader.
func (s *Storage) Summary(ctx context.Context, tenant string, filter storage.Filter) (summary storage.Summary, err error) {
	summary = storage.Summary{
		ByKind: map[witness.Kind]uint64{}, ByAssurance: map[witness.Assurance]uint64{}, BySubject: map[string]storage.SubjectTotal{},
	}
	err = s.view(ctx, "summary", tenant, func(v *snapshot) error {
		candidates, err := v.candidates(&filter, false)
		if err != nil {
			return err
		}
		type places struct{ instances, workloads set }
		bySubject := map[string]places{}
		all := places{set{}, set{}}
		err = v.scan(candidates, &filter, time.Time{}, true, func(hits []hit) error {
			var t storage.SubjectTotal
			at := places{set{}, set{}}
			witnesses := set{}
			for i := range hits {
				h := &hits[i]
				first, last := timeOf(h.first), timeOf(h.last)
				if h.counts {
					t.Hits = sum(t.Hits, h.hits)
					if h.assurance == measured {
						t.Measured = sum(t.Measured, h.hits)
					}
				}
				if h.assurance == measured && last.After(t.LastMeasured) {
					t.LastMeasured = last
				}
				t.FirstSeen, t.LastSeen = earlier(t.FirstSeen, first), later(t.LastSeen, last)
				witnesses.add(h.candidate.row)
				at.instances.add(h.instance)
				at.workloads.add(h.candidate.workload)
			}
			kind := kindOf(hits[0].candidate.kind)
			summary.Hits = sum(summary.Hits, t.Hits)
			summary.ByKind[kind] = sum(summary.ByKind[kind], t.Hits)
			for assurance, n := range map[witness.Assurance]uint64{witness.Measured: t.Measured, witness.Asserted: t.Hits - t.Measured} {
				if n > 0 {
					summary.ByAssurance[assurance] = sum(summary.ByAssurance[assurance], n)
				}
			}
			summary.Witnesses += len(witnesses)
			summary.FirstSeen, summary.LastSeen = earlier(summary.FirstSeen, t.FirstSeen), later(summary.LastSeen, t.LastSeen)
			subject := subjectID(hits[0].candidate.subject)
			summary.BySubject[subject] = t
			bySubject[subject] = at
			all.instances.join(at.instances)
			all.workloads.join(at.workloads)
			return nil
		})
		if err != nil {
			return err
		}
		instances, err := v.instances(all.instances.list())
		if err != nil {
			return err
		}
		workloads, err := v.workloads(all.workloads.list())
		if err != nil {
			return err
		}
		host := func(id int64) string { return instances[id].Host }
		image := func(id int64) string { return workloads[id].Image }
		for subject, at := range bySubject {
			t := summary.BySubject[subject]
			t.Hosts = distinct(at.instances, host)
			t.Images = distinct(at.workloads, image)
			t.Namespaces = distinct(at.workloads, func(id int64) string { return workloads[id].Namespace })
			t.Workloads = distinct(at.workloads, func(id int64) witness.Workload { return workloads[id] })
			summary.BySubject[subject] = t
		}
		summary.Hosts = distinct(all.instances, host)
		summary.Containers = distinct(all.instances, func(id int64) string { return instances[id].Container })
		summary.Images = distinct(all.workloads, image)
		return nil
	})
	if err != nil {
		return storage.Summary{}, err
	}
	return summary, nil
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

// distinct counts different values but the zero one.
func distinct[T comparable](ids set, value func(int64) T) int {
	var zero T
	values := map[T]struct{}{}
	for id := range ids {
		if v := value(id); v != zero {
			values[v] = struct{}{}
		}
	}
	return len(values)
}

// tied are hits by what they are tied to: the link of the observation, and the subject whose known ones fill the gaps.
type tied struct{ link, subject int64 }

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

// describe returns the artifacts and components that ties are resolved to.
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

// Timeline implements storage.Reader.
func (s *Storage) Timeline(ctx context.Context, tenant string, query storage.TimelineQuery) (timeline storage.Timeline, err error) {
	if query.Bucket <= 0 {
		return timeline, errors.New("timeline: the bucket is not longer than zero")
	}
	type cell struct {
		start int64
		tied
		kind int64
	}
	err = s.view(ctx, "timeline", tenant, func(v *snapshot) error {
		candidates, err := v.candidates(&query.Filter, false)
		if err != nil {
			return err
		}
		cells := map[cell]uint64{}
		ties := map[tied]struct{}{}
		err = v.scan(candidates, &query.Filter, time.Time{}, true, func(hits []hit) error {
			for i := range hits {
				h := &hits[i]
				timeline.Resolution = max(timeline.Resolution, time.Duration(h.length))
				if !h.counts {
					continue
				}
				of := tied{h.link, h.candidate.subject}
				ties[of] = struct{}{}
				at := cell{witness.AlignWindow(timeOf(h.start), query.Bucket).UnixNano(), of, h.candidate.kind}
				cells[at] = sum(cells[at], h.hits)
			}
			return nil
		})
		if err != nil {
			return err
		}
		resolved, err := v.resolve(ties)
		if err != nil {
			return err
		}
		artifacts, components, err := v.named(resolved)
		if err != nil {
			return err
		}
		type itemKey struct {
			start int64
			joined
		}
		items := map[itemKey]map[witness.Kind]uint64{}
		buckets := map[int64]*storage.Bucket{}
		for at, n := range cells {
			kind := kindOf(at.kind)
			bucket := buckets[at.start]
			if bucket == nil {
				bucket = &storage.Bucket{Start: timeOf(at.start), Hits: map[witness.Kind]uint64{}}
				buckets[at.start] = bucket
			}
			bucket.Hits[kind] = sum(bucket.Hits[kind], n)
			key := itemKey{at.start, resolved[at.tied]}
			if items[key] == nil {
				items[key] = map[witness.Kind]uint64{}
			}
			items[key][kind] = sum(items[key][kind], n)
		}
		for key, hits := range items {
			bucket := buckets[key.start]
			bucket.Items = append(bucket.Items, storage.BucketItem{
				Artifact: artifacts[key.artifact], Component: components[key.component], Hits: hits,
			})
		}
		for _, start := range slices.Sorted(maps.Keys(buckets)) {
			bucket := buckets[start]
			slices.SortFunc(bucket.Items, func(a, b storage.BucketItem) int {
				return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Artifact.PURL, b.Artifact.PURL),
					cmp.Compare(a.Artifact.Digest, b.Artifact.Digest), cmp.Compare(a.Artifact.Revision, b.Artifact.Revision),
					cmp.Compare(a.Artifact.Repository, b.Artifact.Repository), cmp.Compare(a.Artifact.Method, b.Artifact.Method),
					slices.Compare(a.Artifact.Conflicts, b.Artifact.Conflicts))
			})
			timeline.Buckets = append(timeline.Buckets, *bucket)
		}
		return nil
	})
	if err != nil {
		return storage.Timeline{}, err
	}
	return timeline, nil
}

// HotSymbols implements storage.Reader. An artifact or component selects hits that are tied to it, as in a Timeline.
func (s *Storage) HotSymbols(ctx context.Context, tenant string, query storage.HotQuery) (hot []storage.HotSymbol, err error) {
	limit := limitOf(query.Limit)
	err = s.view(ctx, "hot symbols", tenant, func(v *snapshot) error {
		candidates, err := v.candidates(&query.Filter, true)
		if err != nil {
			return err
		}
		hitsOf := map[tied]uint64{}
		ties := map[tied]struct{}{}
		err = v.scan(candidates, &query.Filter, time.Time{}, true, func(hits []hit) error {
			for i := range hits {
				if h := &hits[i]; h.counts {
					of := tied{0, h.candidate.subject}
					if query.Component != "" || query.Artifact != "" {
						of.link = h.link
					}
					ties[of] = struct{}{}
					hitsOf[of] = sum(hitsOf[of], h.hits)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		wanted := func(tied) bool { return true }
		if query.Component != "" || query.Artifact != "" {
			resolved, err := v.resolve(ties)
			if err != nil {
				return err
			}
			artifacts, components, err := v.named(resolved)
			if err != nil {
				return err
			}
			component := fold(query.Component)
			wanted = func(of tied) bool {
				j := resolved[of]
				artifact := artifacts[j.artifact]
				return (query.Component == "" || slices.Contains(names(components[j.component]), component)) &&
					(query.Artifact == "" || artifact.PURL == query.Artifact || artifact.Digest == query.Artifact)
			}
		}
		bySubject := map[int64]uint64{}
		for of, n := range hitsOf {
			if wanted(of) {
				bySubject[of.subject] = sum(bySubject[of.subject], n)
			}
		}
		ids := slices.SortedFunc(maps.Keys(bySubject), func(a, b int64) int {
			return cmp.Or(cmp.Compare(bySubject[b], bySubject[a]), cmp.Compare(a, b))
		})
		last := min(len(ids), limit)
		for ties := last + maxTies; last < min(len(ids), ties) && bySubject[ids[last]] == bySubject[ids[limit-1]]; {
			last++
		}
		subjects, err := v.subjects(ids[:last])
		for _, subject := range subjects {
			hot = append(hot, storage.HotSymbol{Subject: subject, Hits: bySubject[subjectRow(subject.ID)]})
		}
		slices.SortFunc(hot, func(a, b storage.HotSymbol) int {
			return cmp.Or(cmp.Compare(b.Hits, a.Hits), compareSubjects(&a.Subject, &b.Subject))
		})
		hot = hot[:min(len(hot), limit)]
		return err
	})
	if err != nil {
		return nil, err
	}
	return hot, nil
}
