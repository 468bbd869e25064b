package sqlite

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// filtered is what each way to ask says of a filter.
type filtered struct {
	Summary, Kinds, Assurances, Subjects                uint64
	ByMinute, BySevenMinutes, ByHour, BySixHours, ByDay uint64
	Items, Places, Hot                                  uint64
}

// askFiltered asks in all ways.
func askFiltered(t require.TestingT, s *Storage, tenant string, f storage.Filter) (a filtered, summary storage.Summary) {
	ctx := context.Background()
	summary, err := s.Summary(ctx, tenant, f)
	require.NoError(t, err)
	a.Summary = summary.Hits
	for _, n := range summary.ByKind {
		a.Kinds += n
	}
	for _, n := range summary.ByAssurance {
		a.Assurances += n
	}
	for _, of := range summary.BySubject {
		a.Subjects += of.Hits
	}
	for bucket, into := range map[time.Duration]*uint64{
		time.Minute: &a.ByMinute, 7 * time.Minute: &a.BySevenMinutes, time.Hour: &a.ByHour, 6 * time.Hour: &a.BySixHours, dayOfHours: &a.ByDay,
	} {
		line, err := s.Timeline(ctx, tenant, storage.TimelineQuery{Filter: f, Bucket: bucket})
		require.NoError(t, err)
		for _, b := range line.Buckets {
			for _, n := range b.Hits {
				*into += n
			}
			if bucket == time.Hour {
				for _, item := range b.Items {
					for _, n := range item.Hits {
						a.Items += n
					}
				}
			}
		}
	}
	places, err := s.Places(ctx, tenant, f)
	require.NoError(t, err)
	for i := range places {
		a.Places += places[i].Hits
	}
	a.Hot = hotHitsOf(t, s, tenant, f)
	return a, summary
}

func hotHitsOf(t require.TestingT, s *Storage, tenant string, f storage.Filter) (hits uint64) {
	hot, err := s.HotSymbols(context.Background(), tenant, storage.HotQuery{Filter: f, Limit: 1000})
	require.NoError(t, err)
	for i := range hot {
		hits += hot[i].Hits
	}
	return hits
}

// listFiltered walks all pages.
func listFiltered(t require.TestingT, s *Storage, tenant string, q storage.WitnessQuery) (witnesses int, hits uint64) {
	for {
		page, err := s.Witnesses(context.Background(), tenant, q)
		require.NoError(t, err)
		for i := range page.Witnesses {
			witnesses++
			hits += page.Witnesses[i].Hits
		}
		if q.After = page.Next; q.After == nil {
			return witnesses, hits
		}
	}
}

// drawFilter draws a filter of some of the subjects there are, by themselves or by what was named for F; ok is false if it
// selects nothing by what it is.
func drawFilter(r *rapid.T, now time.Time, hot []storage.HotSymbol) (f storage.Filter, ok bool) {
	if rapid.Bool().Draw(r, "finding") {
		f.Finding = "F"
	}
	for i := range hot {
		id := hot[i].Subject.ID
		if rapid.IntRange(0, 3).Draw(r, "ask") > 0 {
			f.Subjects = append(f.Subjects, id)
		}
		if f.Finding != "" && rapid.IntRange(0, 3).Draw(r, "claim") == 0 {
			f.FindingSubjects = append(f.FindingSubjects, id)
		}
	}
	f.Kinds = rapid.SampledFrom([][]witness.Kind{nil, nil, {witness.KindCall}, {witness.KindSample, witness.KindExec}}).Draw(r, "kinds")
	f.Assurance = rapid.SampledFrom([]witness.Assurance{"", witness.Measured, witness.Asserted}).Draw(r, "assurance")
	if rapid.Bool().Draw(r, "from") {
		f.From = now.Add(-time.Duration(rapid.IntRange(0, 6*24*60).Draw(r, "minutes ago")) * time.Minute)
	}
	if rapid.Bool().Draw(r, "to") {
		since := f.From
		if since.IsZero() {
			since = now.Add(-6 * dayOfHours)
		}
		f.To = since.Add(time.Duration(rapid.IntRange(1, 6*24*60).Draw(r, "length")) * time.Minute)
	}
	if rapid.IntRange(0, 3).Draw(r, "in namespaces") == 0 {
		f.Namespaces = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "shop", "bank"}), 1, 2, rapid.ID[string]).Draw(r, "namespaces")
	}
	return f, len(f.Subjects) > 0 || f.Finding != ""
}

// However a storage came to what it holds, by late windows, receivers, replaced assertions, rolling up and deleting by age
// and size: whatever is asked of a tenant, all ways to ask say the same.
func TestAllAnswersToAFilterAgree(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(r *rapid.T) {
		life := Life{
			DedupeHorizon: rapid.SampledFrom([]time.Duration{0, 2 * time.Hour, dayOfHours}).Draw(r, "horizon"),
			DaysAfter:     rapid.SampledFrom([]time.Duration{0, 2 * dayOfHours}).Draw(r, "days after"),
			MaxAge:        rapid.SampledFrom([]time.Duration{0, 2 * dayOfHours, 4 * dayOfHours}).Draw(r, "age"),
			MaxSize:       rapid.SampledFrom([]int64{0, 0, 300 << 10}).Draw(r, "size"),
		}
		now := lifeNow.Add(-4 * dayOfHours)
		clock := func() time.Time { return now }
		s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), clock, life)
		defer s.Close()
		any := audited(clock, 5)
		for range rapid.IntRange(1, 6).Draw(r, "rounds") {
			tenant := rapid.SampledFrom([]string{"", "other"})
			all := rapid.SliceOfN(any, 1, 20).Draw(r, "observations")
			for i := range all {
				o := &all[i]
				o.Witness.Kind = rapid.SampledFrom([]witness.Kind{witness.KindCall, witness.KindCall, witness.KindSample}).Draw(r, "kind")
				o.Witness.Workload.Namespace = rapid.SampledFrom([]string{"shop", "bank", ""}).Draw(r, "namespace")
				o.ID = o.Witness.ID()
				if rapid.IntRange(0, 3).Draw(r, "name") == 0 {
					o.FindingIDs = []string{"F"}
				}
			}
			_, err := s.WriteObservations(ctx, storage.Batch{Principal: storage.Principal{Tenant: tenant.Draw(r, "of")}, Observations: all})
			require.NoError(r, err)
			if rapid.Bool().Draw(r, "tend") {
				now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(r, "minutes")) * time.Minute)
				require.NoError(r, s.tend(ctx))
			}
			asked := tenant.Draw(r, "asked")
			hot, err := s.HotSymbols(ctx, asked, storage.HotQuery{Limit: 1000})
			require.NoError(r, err)
			f, ok := drawFilter(r, now, hot)
			if !ok {
				continue
			}
			got, summary := askFiltered(r, s, asked, f)
			n := summary.Hits
			require.Equal(r, filtered{n, n, n, n, n, n, n, n, n, n, n, n}, got, "%+v", f)
			for _, order := range []storage.Sort{storage.SortID, storage.SortHits, storage.SortRecent} {
				witnesses, hits := listFiltered(r, s, asked, storage.WitnessQuery{Filter: f, Sort: order, Limit: 2})
				require.Equal(r, summary.Witnesses, witnesses, "%+v by %s", f, order)
				require.GreaterOrEqual(r, hits, n, "%+v by %s: of witnesses receivers are compared one by one", f, order)
			}
			// The whole tenant has a way of its own for hot symbols.
			f.Subjects, f.Finding, f.FindingSubjects = nil, "", nil
			everything := hotHitsOf(r, s, asked, f)
			for i := range hot {
				f.Subjects = append(f.Subjects, hot[i].Subject.ID)
			}
			if len(hot) > 0 {
				_, summary := askFiltered(r, s, asked, f)
				require.Equal(r, summary.Hits, everything, "hot symbols of everything, %+v", f)
			}
		}
		exact(r, s)
	})
}
