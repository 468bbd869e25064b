package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// told is what one moment of a storage says of everything, and .
type told struct {
	Summary, Kinds, Assurances, Subjects, Totals, Minutes, Hours, Items, Places, Hot, HotByArtifact uint64
	Measured, PlacesMeasured                                                                        uint64
	Witnesses, Listed, ListedByTime                                                                 int
}

// everyAnswer asks for everything in all ways. It returns false if something was committed meanwhile.
func everyAnswer(t require.TestingT, s *Storage) (a told, same bool) {
	ctx := context.Background()
	commit := func() int64 {
		s.writer.derived.lock.RLock()
		defer s.writer.derived.lock.RUnlock()
		return s.writer.derived.commit
	}
	before := commit()
	hot, err := s.HotSymbols(ctx, "", storage.HotQuery{Limit: 1000})
	require.NoError(t, err)
	f := storage.Filter{}
	for i := range hot {
		f.Subjects = append(f.Subjects, hot[i].Subject.ID)
		a.Hot += hot[i].Hits
	}
	summary, err := s.Summary(ctx, "", f)
	require.NoError(t, err)
	a.Summary, a.Witnesses, a.Measured = summary.Hits, summary.Witnesses, summary.ByAssurance[witness.Measured]
	for _, n := range summary.ByKind {
		a.Kinds += n
	}
	for _, n := range summary.ByAssurance {
		a.Assurances += n
	}
	for _, of := range summary.BySubject {
		a.Subjects += of.Hits
	}
	totals, err := s.Totals(ctx, "", f.Subjects)
	require.NoError(t, err)
	for _, of := range totals {
		a.Totals += of.Hits
	}
	for bucket, into := range map[time.Duration]*uint64{time.Minute: &a.Minutes, time.Hour: &a.Hours} {
		timeline, err := s.Timeline(ctx, "", storage.TimelineQuery{Filter: f, Bucket: bucket})
		require.NoError(t, err)
		for _, b := range timeline.Buckets {
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
	places, err := s.Places(ctx, "", f)
	require.NoError(t, err)
	for i := range places {
		a.Places += places[i].Hits
		a.PlacesMeasured += places[i].Measured
	}
	for _, artifact := range []string{"pkg:golang/app@v0", "pkg:golang/app@v1", "pkg:golang/app@v2"} {
		hot, err := s.HotSymbols(ctx, "", storage.HotQuery{Artifact: artifact, Limit: 1000})
		require.NoError(t, err)
		for i := range hot {
			a.HotByArtifact += hot[i].Hits
		}
	}
	for order, into := range map[storage.Sort]*int{storage.SortID: &a.Listed, storage.SortRecent: &a.ListedByTime} {
		query := storage.WitnessQuery{Filter: f, Sort: order, Limit: 3}
		for {
			page, err := s.Witnesses(ctx, "", query)
			require.NoError(t, err)
			*into += len(page.Witnesses)
			if page.Next == nil {
				break
			}
			query.After = page.Next
		}
	}
	return a, before == commit()
}

// agree fails unless all ways to ask say the same.
func agree(t require.TestingT, a told) {
	require.Equal(t, told{
		a.Summary, a.Summary, a.Summary, a.Summary, a.Summary, a.Summary, a.Summary, a.Summary, a.Summary, a.Summary, a.Summary,
		a.Measured, a.Measured, a.Witnesses, a.Witnesses, a.Witnesses,
	}, a)
}

// audited is some observation up to days before now.
func audited(now func() time.Time, days int) *rapid.Generator[witness.Observation] {
	return rapid.Custom(func(t *rapid.T) witness.Observation {
		now := now()
		o := numbered(rapid.IntRange(0, 5).Draw(t, "witness") * 30)
		length := rapid.SampledFrom([]time.Duration{time.Minute, time.Minute, 5 * time.Minute, time.Hour, 7 * time.Hour, dayOfHours}).Draw(t, "window")
		at := now.Add(-time.Duration(rapid.IntRange(0, days*24*60).Draw(t, "minutes ago")) * time.Minute)
		o.WindowStart = witness.AlignWindow(at, length)
		o.WindowEnd = o.WindowStart.Add(length)
		o.LastSeen = o.WindowStart.Add(time.Duration(rapid.Int64Range(0, int64(length)-1).Draw(t, "last")))
		if o.LastSeen.After(now) {
			o.LastSeen = o.WindowStart
		}
		o.FirstSeen = o.LastSeen.Add(-time.Duration(rapid.SampledFrom([]int64{0, 1, int64(o.LastSeen.Sub(o.WindowStart)), int64(50 * time.Hour)}).Draw(t, "before")))
		o.Source = rapid.SampledFrom([]string{"a/1/x", "a/2/x", "a/1/y", "b/1/x", "post/1/http", "post/2/http"}).Draw(t, "source")
		o.Instance.Host = rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(t, "host")
		o.Hits = rapid.Uint64Range(1, 9).Draw(t, "hits")
		o.Flush = rapid.Uint64Range(0, 2).Draw(t, "flush")
		o.Artifact.PURL = fmt.Sprint("pkg:golang/app@v", rapid.IntRange(0, 2).Draw(t, "artifact"))
		if rapid.Bool().Draw(t, "asserted") {
			o.Assurance = witness.Asserted
		}
		o.ID = o.Witness.ID()
		return o
	})
}

// However windows, receivers, replaced assertions, rolling up, retention and crashes follow each other: all ways to ask
// say the same, and that is what the laws say of what was written.
func TestAuditOfLives(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(r *rapid.T) {
		life := Life{
			DedupeHorizon: rapid.SampledFrom([]time.Duration{0, 2 * time.Hour, dayOfHours}).Draw(r, "horizon"),
			DaysAfter:     rapid.SampledFrom([]time.Duration{0, 2 * dayOfHours}).Draw(r, "days after"),
			MaxAge:        rapid.SampledFrom([]time.Duration{0, 2 * dayOfHours, 4 * dayOfHours}).Draw(r, "age"),
		}
		now := lifeNow.Add(-4 * dayOfHours)
		clock := func() time.Time { return now }
		s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), clock, life)
		type key struct {
			id       witness.ID
			source   string
			instance witness.Instance
			start    int64
			flush    uint64
		}
		stored := map[key]witness.Observation{}
		var horizon, newest time.Time
		any := audited(clock, 5)
		write := func(r *rapid.T, all []witness.Observation) {
			var want [3]int
			for _, o := range all {
				k := key{o.ID, o.Source, o.Instance, o.WindowStart.UnixNano(), o.Flush}
				known, ok := stored[k]
				switch {
				case o.WindowStart.Before(horizon), o.WindowStart.After(now.Add(storage.MaxAhead)), o.LastSeen.After(now.Add(storage.MaxAhead)):
					want[2]++
				case ok && (known.Assurance != witness.Asserted || o.Assurance != witness.Measured):
					want[1]++
				default:
					want[0]++
					stored[k] = o
					if o.WindowStart.After(newest) {
						newest = o.WindowStart
					}
				}
			}
			got := put(r, s, all...)
			require.Equal(r, want, [3]int{got.Stored, got.Duplicates, len(got.Refused)})
		}
		ask := func(r *rapid.T) {
			type group struct {
				subject, receiver, installation string
				start                           int64
				workload                        witness.Workload
				instance                        witness.Instance
				assurance                       witness.Assurance
			}
			sums, most := map[group]uint64{}, map[group]uint64{}
			var want uint64
			for _, o := range stored {
				if storage.Receiver(o.Source) == storage.PostSource {
					want += o.Hits
					continue
				}
				installation := "" // where the host is known
				if o.Instance.Host == "" {
					installation = installationOf(o.Source)
				}
				sums[group{o.Witness.Frame.Symbol, storage.Receiver(o.Source), installation, o.WindowStart.UnixNano(), o.Witness.Workload, o.Instance, o.Assurance}] += o.Hits
			}
			for g, n := range sums {
				g.receiver = ""
				most[g] = max(most[g], n)
			}
			for _, n := range most {
				want += n
			}
			a, _ := everyAnswer(r, s)
			agree(r, a)
			require.Equal(r, want, a.Summary)
		}
		r.Repeat(map[string]func(*rapid.T){
			"write": func(r *rapid.T) { write(r, rapid.SliceOfN(any, 1, 20).Draw(r, "observations")) },
			"redeliver": func(r *rapid.T) {
				var all []witness.Observation
				for _, o := range stored {
					all = append(all, o)
				}
				if len(all) == 0 {
					r.Skip("nothing to redeliver")
				}
				slices.SortFunc(all, func(a, b witness.Observation) int {
					return slices.Compare([]byte(fmt.Sprint(a)), []byte(fmt.Sprint(b)))
				})
				write(r, rapid.SliceOfN(rapid.SampledFrom(all), 1, 5).Draw(r, "again"))
			},
			"time passes": func(r *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(-100, 900).Draw(r, "minutes")) * time.Minute)
			},
			"tend": func(r *rapid.T) {
				if rapid.Bool().Draw(r, "interrupted") {
					_ = s.tend(&endsAfter{Context: ctx, left: rapid.IntRange(1, 60).Draw(r, "steps")})
					a, _ := everyAnswer(r, s)
					agree(r, a)
				}
				require.NoError(r, s.tend(ctx))
				if c := newest; !c.IsZero() {
					if now.Before(c) {
						c = now
					}
					later := func(t time.Time) {
						if t.After(horizon) {
							horizon = t
						}
					}
					if life.DedupeHorizon > 0 {
						later(c.Add(-life.DedupeHorizon).Truncate(time.Hour))
					}
					if life.MaxAge > 0 {
						kept := c.Add(-life.MaxAge).Truncate(dayOfHours)
						later(kept)
						for k, o := range stored {
							if o.WindowStart.Before(kept) {
								delete(stored, k)
							}
						}
					}
				}
				exact(r, s)
			},
			"crash": func(r *rapid.T) {
				if rapid.IntRange(0, 1).Draw(r, "rarely") == 0 {
					copied := crashed(t, s)
					require.NoError(r, copied.Close())
					s = openAlive(t, copied.path, clock, life)
				}
			},
			"ask": ask,
		})
		ask(r)
		exact(r, s)
	})
}

// While observations come, are rolled up and deleted, readers never see a moment in which the answers differ.
func TestAuditOfMoments(t *testing.T) {
	var ahead atomic.Int64
	clock := func() time.Time { return lifeNow.Add(time.Duration(ahead.Load())) }
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), clock, Life{DedupeHorizon: 2 * time.Hour, DaysAfter: dayOfHours, MaxAge: 2 * dayOfHours})
	any := audited(clock, 3)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	var compared atomic.Int64
	for range 2 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a, same := everyAnswer(t, s); same {
					agree(t, a)
					compared.Add(1)
				}
			}
		}()
	}
	for round := range 24 {
		all := make([]witness.Observation, 50)
		for i := range all {
			all[i] = any.Example(round*50 + i)
		}
		put(t, s, all...)
		if round%4 == 3 {
			ahead.Add(int64(5 * time.Hour))
			require.NoError(t, s.tend(context.Background()))
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wait.Wait()
	require.Positive(t, compared.Load())
	exact(t, s)
	a, _ := everyAnswer(t, s)
	agree(t, a)
}

// What an observation is tied to that came after the last fold stays when what nothing refers to is swept.
func TestSweepingKeepsWhatIsNotFolded(t *testing.T) {
	ctx := context.Background()
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
	of := func(ago time.Duration, purl string) witness.Observation {
		return past(ago, time.Minute, func(o *witness.Observation) { o.Artifact.PURL = purl })
	}
	put(t, s, of(5*dayOfHours, "pkg:golang/app@v1"), of(time.Hour, "pkg:golang/app@v1"))
	require.NoError(t, s.deleteBefore(ctx, floor(lifeNow.Add(-2*dayOfHours).UnixNano(), dayLength)))
	put(t, s, of(2*time.Minute, "pkg:golang/app@v2"), of(time.Minute, "pkg:golang/app@v3"))
	require.NoError(t, s.sweep(ctx))
	timeline, err := s.Timeline(ctx, "", storage.TimelineQuery{Filter: everything(t, s), Bucket: time.Minute})
	require.NoError(t, err)
	var purls []string
	for _, bucket := range timeline.Buckets {
		for _, item := range bucket.Items {
			purls = append(purls, item.Artifact.PURL)
		}
	}
	require.Equal(t, []string{"pkg:golang/app@v1", "pkg:golang/app@v2", "pkg:golang/app@v3"}, purls)
	exact(t, s)
}

// Whoever posts more hits than can be counted does not lower what others counted, not even when that is deleted.
func TestDeletingWhatWasTooMuchToCount(t *testing.T) {
	ctx := context.Background()
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
	put(t, s,
		past(5*dayOfHours, time.Minute, func(o *witness.Observation) {
			o.Hits, o.Source, o.Assurance = 1<<63-1, "post/1/http", witness.Asserted
		}),
		past(time.Hour, time.Minute, func(o *witness.Observation) { o.Hits = 100 }),
		past(time.Hour, time.Minute, func(o *witness.Observation) {
			o.Hits, o.Source, o.Assurance = 50, "post/2/http", witness.Asserted
		}),
	)
	require.NoError(t, s.deleteBefore(ctx, floor(lifeNow.Add(-2*dayOfHours).UnixNano(), dayLength)))
	summary, err := s.Summary(ctx, "", everything(t, s))
	require.NoError(t, err)
	require.EqualValues(t, 150, summary.Hits)
	page, err := s.Witnesses(ctx, "", storage.WitnessQuery{Filter: everything(t, s)})
	require.NoError(t, err)
	require.EqualValues(t, 150, page.Witnesses[0].Hits)
	exact(t, s)
}

// What is only asserted of a module never takes the place of what is measured or not known by who measured, in any order.
func TestAssertionsDoNotDescribeWhatIsMeasured(t *testing.T) {
	said := func(purl string, assurance witness.Assurance, ago time.Duration) witness.Observation {
		return past(ago, time.Minute, func(o *witness.Observation) {
			o.Artifact.PURL, o.Witness.Frame.Component, o.Assurance = purl, purl, assurance
			if purl == "" {
				o.Artifact = witness.Artifact{}
			}
			if assurance == witness.Asserted {
				o.Source = "post/1/http"
			}
		})
	}
	unknown, claim := said("", witness.Measured, 3*time.Minute), said("pkg:golang/app@v9", witness.Asserted, time.Minute)
	older, known := said("pkg:golang/app@v1", witness.Measured, 5*time.Minute), said("pkg:golang/app@v2", witness.Measured, 4*time.Minute)
	for _, test := range []struct {
		name string
		all  []witness.Observation
		want string
	}{
		{"asserted alone", []witness.Observation{claim}, "pkg:golang/app@v9"},
		{"measured and not known", []witness.Observation{unknown, claim}, ""},
		{"measured and known once", []witness.Observation{known, unknown, claim}, "pkg:golang/app@v2"},
		{"measured and known anew", []witness.Observation{older, known, unknown, claim}, "pkg:golang/app@v2"},
	} {
		for _, backwards := range []bool{false, true} {
			for _, apart := range []bool{false, true} {
				t.Run(fmt.Sprint(test.name, backwards, apart), func(t *testing.T) {
					s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
					all := slices.Clone(test.all)
					if backwards {
						slices.Reverse(all)
					}
					if apart {
						for i := range all {
							put(t, s, all[i])
						}
					} else {
						put(t, s, all...)
					}
					subjects, err := s.Subjects(context.Background(), "", storage.SubjectQuery{IDs: everything(t, s).Subjects})
					require.NoError(t, err)
					require.Len(t, subjects, 1)
					require.Equal(t, []string{test.want, test.want}, []string{subjects[0].Artifact.PURL, subjects[0].Frame.Component})
				})
			}
		}
	}
}

// What comes too late is a loss of the sender's own assurance: a claim makes no measured gap.
func TestALossBehindTheHorizonIsWorthItsSender(t *testing.T) {
	ctx := context.Background()
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
	require.NoError(t, s.maintain(ctx, func(w *writer) error { return w.moveHorizon(lifeNow.UnixNano()) }))
	put(t, s, past(time.Hour, time.Minute, func(o *witness.Observation) { o.Assurance, o.Hits = witness.Asserted, 3 }),
		past(time.Hour, time.Minute, func(o *witness.Observation) { o.Hits = 4 }))
	coverage, err := s.Coverage(ctx, "", storage.CoverageQuery{})
	require.NoError(t, err)
	lost := map[witness.Assurance]uint64{}
	for i := range coverage {
		lost[coverage[i].Assurance] += coverage[i].Lost
	}
	require.Equal(t, map[witness.Assurance]uint64{witness.Measured: 4, witness.Asserted: 3}, lost)
}

// Nodes that do not tell their names are not taken for one; two receivers of one of them are.
func TestHostsWithoutNamesAreNotOneHost(t *testing.T) {
	for _, test := range []struct {
		name, host string
		sources    []string
		want       uint64
	}{
		{"one host, two installations", "h1", []string{"a/1/x", "b/1/x"}, 5},
		{"no name, two installations", "", []string{"a/1/x", "b/1/x"}, 10},
		{"no name, one installation", "", []string{"a/1/x", "a/1/y"}, 5},
		{"no name, both", "", []string{"a/1/x", "b/1/x", "a/1/y", "b/2/x"}, 15},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
			for _, source := range test.sources {
				put(t, s, past(time.Hour, time.Minute, func(o *witness.Observation) { o.Source, o.Instance.Host, o.Hits = source, test.host, 5 }))
			}
			summary, err := s.Summary(context.Background(), "", everything(t, s))
			require.NoError(t, err)
			require.Equal(t, test.want, summary.Hits)
			exact(t, s)
		})
	}
}

// A witness of which only assertions are left is asserted.
func TestWhatIsLeftIsAsserted(t *testing.T) {
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
	put(t, s, past(5*dayOfHours, time.Minute),
		past(time.Hour, time.Minute, func(o *witness.Observation) { o.Source, o.Assurance = "post/1/http", witness.Asserted }))
	require.NoError(t, s.deleteBefore(context.Background(), floor(lifeNow.Add(-2*dayOfHours).UnixNano(), dayLength)))
	page, err := s.Witnesses(context.Background(), "", storage.WitnessQuery{Filter: everything(t, s)})
	require.NoError(t, err)
	require.Equal(t, witness.Asserted, page.Witnesses[0].Assurance)
	exact(t, s)
}
