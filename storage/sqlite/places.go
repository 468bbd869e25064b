package sqlite

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Totals implements storage.Reader.
func (s *Storage) Totals(ctx context.Context, tenant string, subjects []string) (map[string]storage.SubjectTotal, error) {
	summary, err := s.Summary(ctx, tenant, storage.Filter{Subjects: subjects})
	return summary.BySubject, err
}

// Places implements storage.Reader.
func (s *Storage) Places(ctx context.Context, tenant string, filter storage.Filter) (places []storage.Place, err error) {
	type key struct{ subject, workload, instance int64 }
	err = s.view(ctx, "places", tenant, func(v *snapshot) error {
		candidates, err := v.candidates(&filter, false)
		if err != nil {
			return err
		}
		found := map[key]*storage.Place{}
		workloadIDs, instanceIDs := set{}, set{}
		err = v.scan(candidates, &filter, time.Time{}, true, func(hits []hit) error {
			for i := range hits {
				h := &hits[i]
				at := key{h.candidate.subject, h.candidate.workload, h.instance}
				p := found[at]
				if p == nil {
					p = &storage.Place{Subject: subjectID(at.subject)}
					found[at] = p
					workloadIDs.add(at.workload)
					instanceIDs.add(at.instance)
				}
				last := timeOf(h.last)
				p.LastSeen = later(p.LastSeen, last)
				if h.assurance == measured {
					p.LastMeasured = later(p.LastMeasured, last)
				}
				if h.counts {
					p.Hits = sum(p.Hits, h.hits)
					if h.assurance == measured {
						p.Measured = sum(p.Measured, h.hits)
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		workloads, err := v.workloads(workloadIDs.list())
		if err != nil {
			return err
		}
		instances, err := v.instances(instanceIDs.list())
		if err != nil {
			return err
		}
		for _, at := range slices.SortedFunc(maps.Keys(found), func(a, b key) int {
			return cmp.Or(cmp.Compare(a.subject, b.subject), compareWorkloads(workloads[a.workload], workloads[b.workload]),
				compareInstances(instances[a.instance], instances[b.instance]))
		}) {
			p := found[at]
			p.Workload, p.Instance = workloads[at.workload], instances[at.instance]
			places = append(places, *p)
		}
		return nil
	})
	return places, err
}

func compareWorkloads(a, b witness.Workload) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Controller, b.Controller),
		cmp.Compare(a.Container, b.Container), cmp.Compare(a.Image, b.Image))
}

func compareInstances(a, b witness.Instance) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container))
}
