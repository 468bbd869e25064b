package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// derivedFromRows are the derived tables made anew from obs and rolled, as schema_2.sql says what they are.
var derivedFromRows = map[string]string{
	"total": `SELECT witness, subject, sum(witness_hits), sum(hits_error), max(assurance = 1), min(first), max(last),
  (SELECT instance || '/' || link || '/' || origin FROM r x WHERE x.witness = r.witness ORDER BY last DESC, link DESC, instance DESC, origin DESC LIMIT 1)
FROM r GROUP BY witness ORDER BY 1`,
	"place": "SELECT subject, workload, instance, assurance, sum(subject_hits), max(last) FROM r GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
	"cell":  "SELECT start / 3600000000000, subject, link, assurance, sum(subject_hits), max(length) FROM r GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
	"subject_total": `SELECT subject, tenant, kind, sum(subject_hits), sum(iif(assurance = 1, subject_hits, 0)), min(first), max(last), coalesce(max(iif(assurance = 1, last, NULL)), 0),
  count(DISTINCT witness), count(DISTINCT nullif(host, '')), count(DISTINCT nullif(container, '')), count(DISTINCT nullif(image, '')), count(DISTINCT nullif(namespace, '')), count(DISTINCT workload)
FROM r GROUP BY subject ORDER BY 1`,
}

var derivedInFile = map[string]string{
	"total":         "SELECT witness, subject, hits, hits_error, measured, first, last, instance || '/' || link || '/' || origin FROM total ORDER BY 1",
	"place":         "SELECT * FROM place ORDER BY 1, 2, 3, 4",
	"cell":          "SELECT * FROM cell ORDER BY 1, 2, 3, 4",
	"subject_total": "SELECT * FROM subject_total ORDER BY 1",
}

// exact checks that the derived tables, and what leads to rows, are those of the rows.
func exact(t require.TestingT, s *Storage) {
	ctx := context.Background()
	require.NoError(t, s.step(ctx, s.writer.rewrite, nil))
	text := func(query string) string {
		rows, err := s.upkeep.look.Query(query)
		require.NoError(t, err, query)
		defer rows.Close()
		columns, err := rows.Columns()
		require.NoError(t, err)
		var b strings.Builder
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			require.NoError(t, rows.Scan(into...))
			fmt.Fprintln(&b, values...)
		}
		require.NoError(t, rows.Err())
		return b.String()
	}
	const r = `WITH o AS (SELECT start, length, source, instance, witness, assurance, origin, link, hits_error, subject_hits, witness_hits, first, last FROM obs
  UNION ALL SELECT start, length, source, instance, witness, assurance, origin, link, hits_error, subject_hits, witness_hits, first, last FROM rolled),
r AS MATERIALIZED (SELECT o.*, w.subject, w.workload, s.tenant, s.kind, i.host, i.container, l.image, l.namespace
  FROM o JOIN witness w ON w.id = o.witness JOIN subject s ON s.id = w.subject JOIN instance i ON i.id = o.instance JOIN workload l ON l.id = w.workload) `
	for table, query := range derivedFromRows {
		require.Equal(t, text(r+query), text(derivedInFile[table]), table)
	}
	require.Equal(t, text(r+"SELECT DISTINCT start FROM r ORDER BY 1"), text("SELECT start FROM window ORDER BY 1"), "window")
	require.Equal(t, text(r+"SELECT DISTINCT start / 3600000000000, instance, source FROM r ORDER BY 1, 2, 3"), text("SELECT hour, instance, source FROM active ORDER BY 1, 2, 3"), "active")
	require.Empty(t, text(r+"SELECT DISTINCT source FROM r WHERE source NOT IN (SELECT id FROM source)"), "sources of rows")
	require.Equal(t, "ok\n", text("PRAGMA quick_check"))
	require.Empty(t, text("PRAGMA foreign_key_check"))
}

func openAlive(t testing.TB, path string, now func() time.Time, life Life) *Storage {
	s, err := Open(context.Background(), Options{Path: path, Now: now, Life: life})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// lifeNow is the clock of these tests.
var lifeNow = time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)

func lifeClock() time.Time { return lifeNow }

const dayOfHours = 24 * time.Hour

// written is what was written and must still be answered for.
type written []witness.Observation

// past is an observation so long ago, in a window of a length.
func past(ago, length time.Duration, changes ...func(*witness.Observation)) witness.Observation {
	o := numbered(0)
	o.Hits = 1
	o.WindowStart = witness.AlignWindow(lifeNow.Add(-ago), length)
	o.WindowEnd = o.WindowStart.Add(length)
	o.FirstSeen, o.LastSeen = o.WindowStart, o.WindowStart.Add(length/2)
	for _, change := range changes {
		change(&o)
	}
	o.ID = o.Witness.ID()
	return o
}

func put(t require.TestingT, s *Storage, all ...witness.Observation) storage.Written {
	got, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all})
	require.NoError(t, err)
	return got
}

func TestRollUpKeepsTotals(t *testing.T) {
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{DedupeHorizon: dayOfHours, DaysAfter: 30 * dayOfHours})
	ctx := context.Background()
	var all written
	for minute := 0; minute < 60*24*40; minute += 97 {
		for i := range 3 {
			o := past(time.Duration(minute)*time.Minute, time.Minute, func(o *witness.Observation) {
				o.Witness = numbered(i * 50).Witness
				o.Hits = uint64(minute%7 + 1)
				o.Instance.Host = fmt.Sprint("node-", minute%5)
				o.Source = []string{"a1/1/tetragon", "a1/1/ebpf"}[minute%2]
				o.Origin = []witness.Origin{witness.OriginWorkload, witness.OriginInjected}[minute%3/2]
			})
			all = append(all, o)
		}
	}
	slices.Reverse(all) // oldest first
	for part := range slices.Chunk(all, 500) {
		require.Equal(t, len(part), put(t, s, part...).Stored)
	}
	before, _ := addedUp(t, s)
	hot, err := s.HotSymbols(ctx, "", storage.HotQuery{})
	require.NoError(t, err)
	require.NoError(t, s.tend(ctx))
	exact(t, s)
	after, _ := addedUp(t, s)
	assert.Equal(t, before, after)
	again, err := s.HotSymbols(ctx, "", storage.HotQuery{})
	require.NoError(t, err)
	assert.Equal(t, hot, again)
	lengths, err := numbers(ctx, s.upkeep.look, 3, "SELECT length, min(start), max(start) FROM (SELECT length, start FROM obs UNION ALL SELECT length, start FROM rolled) GROUP BY 1 ORDER BY 1")
	require.NoError(t, err)
	require.Len(t, lengths, 3)
	horizon := lifeNow.Add(-dayOfHours).Truncate(time.Hour)
	assert.Equal(t, []int64{int64(time.Minute), int64(time.Hour), int64(dayOfHours)}, []int64{lengths[0][0], lengths[1][0], lengths[2][0]})
	assert.GreaterOrEqual(t, lengths[0][1], horizon.UnixNano())
	assert.Less(t, lengths[1][2], horizon.UnixNano())
	days := lifeNow.Add(-30 * dayOfHours).Truncate(dayOfHours)
	assert.GreaterOrEqual(t, lengths[1][1], days.UnixNano())
	assert.Less(t, lengths[2][2], days.UnixNano())

	// What comes behind the horizon is refused, counted, and a loss.
	late := put(t, s, past(25*time.Hour, time.Minute), past(23*time.Hour, time.Minute, func(o *witness.Observation) { o.Flush = 9 }))
	assert.Len(t, late.Refused, 1)
	assert.Equal(t, 1, late.Stored)
	assert.EqualValues(t, 1, s.Stats().RefusedBehind)
	post := func(o *witness.Observation) { o.Source = "post/1/http" }
	posted := storage.Batch{Receipt: &storage.Receipt{Key: "k"}, Observations: []witness.Observation{
		past(25*time.Hour, time.Minute, post), past(23*time.Hour, time.Minute, post),
	}}
	written, err := s.WriteObservations(ctx, posted)
	require.NoError(t, err)
	assert.Equal(t, storage.Written{Stored: 1, Refused: late.Refused}, written)
	written, err = s.WriteObservations(ctx, posted)
	require.NoError(t, err)
	assert.Equal(t, storage.Written{Duplicates: 1, Refused: late.Refused}, written, "it is no less refused when it is sent again")
	coverage, err := s.Coverage(ctx, "", storage.CoverageQuery{})
	require.NoError(t, err)
	require.Len(t, coverage, 2, "one each")
	assert.EqualValues(t, 1, coverage[0].Lost)
	// Again nothing is due.
	rolled := s.Stats().Rolled
	assert.Positive(t, rolled)
	require.NoError(t, s.tend(ctx))
	assert.Equal(t, rolled, s.Stats().Rolled)
	exact(t, s)
}

// A recording of another year is rolled up by its own time, not by the clock on the wall.
func TestTheHorizonGoesByTheNewestEvent(t *testing.T) {
	now := func() time.Time { return lifeNow.Add(400 * dayOfHours) }
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), now, Life{DedupeHorizon: dayOfHours, MaxAge: 365 * dayOfHours})
	require.Equal(t, 1, put(t, s, past(20*time.Hour, time.Minute)).Stored)
	require.NoError(t, s.tend(context.Background()))
	require.Equal(t, 1, put(t, s, past(0, time.Minute)).Stored)
	require.NoError(t, s.tend(context.Background()))
	require.Equal(t, 1, put(t, s, past(20*time.Hour, time.Minute)).Duplicates, "still within the horizon")
	require.Len(t, put(t, s, past(30*time.Hour, time.Minute)).Refused, 1)
	exact(t, s)
}

func TestRetentionByAge(t *testing.T) {
	for _, found := range []int{1, 3, sweepFound} {
		t.Run(fmt.Sprint(found, " rows to delete at once"), func(t *testing.T) { retainByAge(t, found) })
	}
}

func retainByAge(t *testing.T, found int) {
	path := filepath.Join(t.TempDir(), "witness.db")
	s := openAlive(t, path, lifeClock, Life{DedupeHorizon: dayOfHours, DaysAfter: 3 * dayOfHours, MaxAge: 5 * dayOfHours})
	s.upkeep.found = found
	ctx := context.Background()
	cutoff := lifeNow.Add(-5 * dayOfHours).Truncate(dayOfHours)
	var kept uint64
	for day := range 10 {
		for i := range 4 {
			o := past(time.Duration(day)*dayOfHours+time.Duration(i)*time.Hour, time.Minute, func(o *witness.Observation) {
				o.Witness = numbered(i + 100*day%300).Witness // some are seen on all days, some once
				if i == 3 {
					o.Witness.Frame.Member, o.Witness.Frame.Symbol = fmt.Sprint("once", day), fmt.Sprint("app.once", day)
					o.Witness.Workload.Image = fmt.Sprint("sha256:", day)
					o.Witness.Path = []witness.Frame{{Symbol: fmt.Sprint("caller", day), Module: witness.Module{Path: fmt.Sprint("/bin/", day)}}}
					o.Artifact.PURL = fmt.Sprint("pkg:golang/app@v", day)
					o.FindingIDs = []string{fmt.Sprint("GHSA-", day)}
				}
				o.Instance.Host = fmt.Sprint("node-", day)
				o.Source = fmt.Sprintf("a%d/1/tetragon", day)
			})
			require.Equal(t, 1, put(t, s, o).Stored)
			if !o.WindowStart.Before(cutoff) {
				kept++
			}
		}
		at := lifeNow.Add(-time.Duration(day) * dayOfHours)
		require.NoError(t, s.WriteCoverage(ctx, storage.Principal{}, []witness.Coverage{{
			Source: "a/1/x", Signal: "x", Kinds: []witness.Kind{witness.KindCall}, Start: at.Add(-time.Minute), End: at, Interval: time.Minute, Assurance: witness.Measured,
		}}))
	}
	// A window that reaches over the cut, and one that was first seen long before it.
	over := past(5*dayOfHours+13*time.Hour, 7*time.Hour, func(o *witness.Observation) { o.Witness = numbered(7).Witness })
	if over.LastSeen = over.WindowEnd.Add(-time.Second); over.WindowStart.Before(cutoff) {
		require.True(t, over.LastSeen.After(cutoff))
	}
	early := past(dayOfHours/2, time.Minute, func(o *witness.Observation) {
		o.Witness = numbered(8).Witness
		o.FirstSeen = lifeNow.Add(-300 * dayOfHours)
		o.Source = "post/1/http"
	})
	later := past(dayOfHours/2, time.Minute, func(o *witness.Observation) { o.Witness, o.Instance.Host = numbered(7).Witness, "node-x" })
	require.Equal(t, 3, put(t, s, over, early, later).Stored)
	kept += 2
	exact(t, s)
	require.NoError(t, s.tend(ctx))
	exact(t, s)
	hits, _ := addedUp(t, s)
	assert.Equal(t, kept, hits)
	assert.Positive(t, s.Stats().Deleted)
	filter := everything(t, s)
	summary, err := s.Summary(ctx, "", filter)
	require.NoError(t, err)
	assert.Equal(t, early.FirstSeen, summary.FirstSeen)
	coverage, err := s.Coverage(ctx, "", storage.CoverageQuery{})
	require.NoError(t, err)
	for _, c := range coverage {
		assert.False(t, c.End.Before(cutoff))
	}
	for _, gone := range []string{
		"SELECT count(*) FROM text WHERE text LIKE 'app.once8' OR text = 'caller8'", "SELECT count(*) FROM instance WHERE host = 'node-9'",
		"SELECT count(*) FROM source WHERE text = 'a9/1/tetragon'", "SELECT count(*) FROM workload WHERE image = 'sha256:8'",
		"SELECT count(*) FROM artifact WHERE purl = 'pkg:golang/app@v8'", "SELECT count(*) FROM module WHERE path = '/bin/8'",
		"SELECT count(*) FROM node n WHERE n.id <> 0 AND n.id < (SELECT max(id) FROM node) AND n.id NOT IN (SELECT node FROM witness UNION ALL SELECT caller FROM node)",
		"SELECT count(*) FROM named WHERE witness NOT IN (SELECT id FROM witness)",
		"SELECT count(*) FROM heard WHERE source NOT IN (SELECT source FROM active)",
		"SELECT count(*) FROM known_artifact WHERE module <> 0 AND module NOT IN (SELECT key FROM module)",
		"SELECT count(*) FROM known_component WHERE module <> 0 AND module NOT IN (SELECT key FROM module)",
	} {
		n, err := numbers(ctx, s.upkeep.look, 1, gone)
		require.NoError(t, err)
		assert.Zero(t, n[0][0], gone)
	}
	finding, err := s.Finding(ctx, "", "GHSA-9")
	require.NoError(t, err, "a finding that a trace named stays")
	assert.Equal(t, "GHSA-9", finding.ID)
	// What was deleted does not come back.
	require.Len(t, put(t, s, past(6*dayOfHours, time.Minute)).Refused, 1)
	require.NoError(t, s.tend(ctx))
	exact(t, s)
	// What was forgotten can be seen anew.
	again := past(0, time.Minute, func(o *witness.Observation) {
		o.Witness.Frame.Member, o.Witness.Frame.Symbol = "once9", "app.once9"
		o.Instance.Host, o.Source = "node-9", "a9/1/tetragon"
	})
	require.Equal(t, 1, put(t, s, again).Stored)
	exact(t, s)
}

func TestRetentionBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.db")
	s := openAlive(t, path, lifeClock, Life{MaxSize: 2 << 20})
	ctx := context.Background()
	for day := 9; day >= 0; day-- {
		var all []witness.Observation
		for i := range 2000 {
			all = append(all, past(time.Duration(day)*dayOfHours, time.Minute, func(o *witness.Observation) { o.Witness = numbered(i).Witness }))
		}
		require.Equal(t, len(all), put(t, s, all...).Stored)
	}
	require.NoError(t, s.step(ctx, s.writer.rewrite, nil))
	_, err := s.writer.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	require.NoError(t, err)
	before := s.Size()
	require.NoError(t, s.tend(ctx))
	_, err = s.writer.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	require.NoError(t, err)
	assert.Less(t, s.Size(), before, "space is given back")
	exact(t, s)
	starts, err := numbers(ctx, s.upkeep.look, 1, "SELECT start FROM window ORDER BY start")
	require.NoError(t, err)
	assert.Less(t, len(starts), 10)
	assert.Equal(t, witness.AlignWindow(lifeNow, time.Minute).UnixNano(), starts[len(starts)-1][0], "the newest day stays")
	require.NoError(t, s.Close())
	// Even when it alone is too much.
	s = openAlive(t, path, lifeClock, Life{MaxSize: 1})
	require.NoError(t, s.tend(ctx))
	exact(t, s)
	hits, _ := addedUp(t, s)
	assert.EqualValues(t, 2000, hits)
}

// endsAfter ends when it was asked so often.
type endsAfter struct {
	context.Context
	left int
}

func (c *endsAfter) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Rounds that are interrupted at any step, by an end of the process, are taken up.
func TestAnInterruptedRoundIsTakenUp(t *testing.T) {
	ctx := context.Background()
	life := Life{DedupeHorizon: dayOfHours, DaysAfter: 3 * dayOfHours, MaxAge: 6 * dayOfHours}
	path := filepath.Join(t.TempDir(), "witness.db")
	s := openAlive(t, path, lifeClock, life)
	var kept uint64
	for hour := range 24 * 9 {
		o := past(time.Duration(hour)*time.Hour, time.Minute, func(o *witness.Observation) { o.Witness = numbered(hour % 5 * 30).Witness })
		put(t, s, o)
		if !o.WindowStart.Before(lifeNow.Add(-6 * dayOfHours).Truncate(dayOfHours)) {
			kept++
		}
	}
	require.NoError(t, s.Close())
	for steps := 0; ; steps++ {
		s := openAlive(t, path, lifeClock, life)
		err := s.tend(&endsAfter{ctx, steps})
		require.NoError(t, s.Close())
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
	}
	s = openAlive(t, path, lifeClock, life)
	exact(t, s)
	hits, _ := addedUp(t, s)
	assert.Equal(t, kept, hits)
}

// TestLifeAsTheModelSays interleaves writes, redelivery, restarts, rolling up, retention and questions at random.
func TestLifeAsTheModelSays(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "witness.db")
	rapid.Check(t, func(r *rapid.T) {
		path := fmt.Sprint(path, time.Now().UnixNano())
		life := Life{
			DedupeHorizon: rapid.SampledFrom([]time.Duration{0, 2 * time.Hour, dayOfHours}).Draw(r, "horizon"),
			DaysAfter:     rapid.SampledFrom([]time.Duration{0, 2 * dayOfHours}).Draw(r, "days after"),
			MaxAge:        rapid.SampledFrom([]time.Duration{0, 3 * dayOfHours, 5 * dayOfHours}).Draw(r, "age"),
		}
		now := lifeNow.Add(-4 * dayOfHours)
		reopen := func() *Storage {
			s, err := Open(ctx, Options{Path: path, Now: func() time.Time { return now }, Life: life})
			require.NoError(r, err)
			return s
		}
		s := reopen()
		defer func() { require.NoError(r, s.Close()) }()
		stored := map[string]witness.Observation{}
		key := func(o *witness.Observation) string {
			return fmt.Sprint(o.ID, o.Source, o.Instance, o.WindowStart.UnixNano(), o.Flush)
		}
		var horizon, newest time.Time
		any := rapid.Custom(func(t *rapid.T) witness.Observation {
			o := numbered(rapid.IntRange(0, 3).Draw(t, "witness") * 60)
			length := rapid.SampledFrom([]time.Duration{time.Minute, time.Minute, time.Hour, 7 * time.Hour, dayOfHours}).Draw(t, "window")
			at := now.Add(-time.Duration(rapid.IntRange(0, 6*24*60).Draw(t, "minutes ago")) * time.Minute)
			o.WindowStart = witness.AlignWindow(at, length)
			o.WindowEnd = o.WindowStart.Add(length)
			o.LastSeen = o.WindowStart.Add(time.Duration(rapid.Int64Range(0, int64(length)-1).Draw(t, "last")))
			if o.LastSeen.After(now) {
				o.LastSeen = o.WindowStart
			}
			o.FirstSeen = o.LastSeen.Add(-time.Duration(rapid.SampledFrom([]int64{0, 1, int64(o.LastSeen.Sub(o.WindowStart)), int64(50 * time.Hour)}).Draw(t, "before")))
			o.Source = rapid.SampledFrom([]string{"a/1/x", "a/2/x", "b/1/x", "post/1/http"}).Draw(t, "source")
			o.Instance.Host = rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(t, "host")
			o.Hits = rapid.Uint64Range(1, 9).Draw(t, "hits")
			o.Flush = rapid.Uint64Range(0, 2).Draw(t, "flush")
			o.ID = o.Witness.ID()
			return o
		})
		write := func(r *rapid.T, all []witness.Observation) {
			var want storage.Written
			for _, o := range all {
				if o.WindowStart.Before(horizon) {
					want.Refused = append(want.Refused, storage.Refusal{})
				} else if _, ok := stored[key(&o)]; ok {
					want.Duplicates++
				} else {
					want.Stored++
					stored[key(&o)] = o
					if o.WindowStart.After(newest) {
						newest = o.WindowStart
					}
				}
			}
			got := put(r, s, all...)
			require.Equal(r, []int{want.Stored, want.Duplicates, len(want.Refused)}, []int{got.Stored, got.Duplicates, len(got.Refused)})
		}
		ask := func(r *rapid.T) {
			// Law 9 within what is left.
			type group struct {
				subject, host, receiver, installation string
				start                                 int64
				namespace                             string
			}
			sums, most := map[group]uint64{}, map[group]uint64{}
			var total uint64
			var first, last time.Time
			witnesses := map[witness.ID]bool{}
			for _, o := range stored {
				witnesses[o.ID] = true
				if first.IsZero() || o.FirstSeen.Before(first) {
					first = o.FirstSeen
				}
				if o.LastSeen.After(last) {
					last = o.LastSeen
				}
				if storage.Receiver(o.Source) == storage.PostSource {
					total += o.Hits
					continue
				}
				installation := "" // where the host is known
				if o.Instance.Host == "" {
					installation = installationOf(o.Source)
				}
				sums[group{o.Witness.Frame.Symbol, o.Instance.Host, storage.Receiver(o.Source), installation, o.WindowStart.UnixNano(), fmt.Sprint(o.Witness.Workload)}] += o.Hits
			}
			for g, n := range sums {
				g.receiver = ""
				most[g] = max(most[g], n)
			}
			for _, n := range most {
				total += n
			}
			summary, err := s.Summary(ctx, "", everything(t, s))
			require.NoError(r, err)
			require.Equal(r, total, summary.Hits)
			require.Len(r, witnesses, summary.Witnesses)
			if len(stored) > 0 {
				require.Equal(r, first.UTC(), summary.FirstSeen)
				require.Equal(r, last.UTC(), summary.LastSeen)
			}
			for _, bucket := range []time.Duration{time.Minute, time.Hour, dayOfHours} {
				timeline, err := s.Timeline(ctx, "", storage.TimelineQuery{Filter: everything(t, s), Bucket: bucket})
				require.NoError(r, err)
				var sum uint64
				for _, b := range timeline.Buckets {
					sum += b.Hits[witness.KindCall]
				}
				require.Equal(r, total, sum)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"write": func(r *rapid.T) { write(r, rapid.SliceOfN(any, 1, 20).Draw(r, "observations")) },
			"redeliver": func(r *rapid.T) {
				if len(stored) == 0 {
					r.Skip("nothing to redeliver")
				}
				keys := make([]string, 0, len(stored))
				for k := range stored {
					keys = append(keys, k)
				}
				slices.Sort(keys)
				write(r, []witness.Observation{stored[rapid.SampledFrom(keys).Draw(r, "again")]})
			},
			"time passes": func(r *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 600).Draw(r, "minutes")) * time.Minute)
			},
			"tend": func(r *rapid.T) {
				require.NoError(r, s.tend(ctx))
				if clock := newest; !clock.IsZero() {
					if now.Before(clock) {
						clock = now
					}
					later := func(t time.Time) {
						if t.After(horizon) {
							horizon = t
						}
					}
					if life.DedupeHorizon > 0 {
						later(clock.Add(-life.DedupeHorizon).Truncate(time.Hour))
					}
					if life.MaxAge > 0 {
						kept := clock.Add(-life.MaxAge).Truncate(dayOfHours)
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
			"restart": func(r *rapid.T) {
				require.NoError(r, s.Close())
				s = reopen()
			},
			"ask": ask,
		})
		ask(r)
		exact(r, s)
	})
}

// Old coverage goes, but for the last states of hooks of which the source still reports; what is in memory goes with it.
func TestRetentionOfCoverage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.db")
	s := openAlive(t, path, lifeClock, Life{MaxAge: 3 * dayOfHours})
	ctx := context.Background()
	ago := func(hours int) time.Time { return lifeNow.Add(-time.Duration(hours) * time.Hour) }
	beat := func(source string, from, to int) witness.Coverage {
		return witness.Coverage{Source: source, Signal: "x", Kinds: []witness.Kind{witness.KindCall}, Start: ago(from), End: ago(to), Interval: time.Minute, Assurance: witness.Measured}
	}
	state := func(source string, at int, state string) witness.Coverage {
		return witness.Coverage{Source: source, StatusTarget: "probe", StatusState: state, Start: ago(at), End: ago(at), Assurance: witness.Measured}
	}
	put(t, s, past(0, time.Minute))
	require.NoError(t, s.WriteCoverage(ctx, storage.Principal{}, []witness.Coverage{
		beat("a/1/x", 200, 190), beat("a/1/x", 10, 0), state("a/1/x", 200, "attached"), state("a/1/x", 195, "suspended"),
		beat("b/1/x", 80, 70), beat("c/1/x", 200, 190), state("c/1/x", 195, "suspended"), beat("d/1/x", 1, 0),
	}))
	ask := func() (all []string) {
		found, err := s.Coverage(ctx, "", storage.CoverageQuery{})
		require.NoError(t, err)
		for _, c := range found {
			all = append(all, c.Source+" "+c.StatusState+" "+fmt.Sprint(lifeNow.Sub(c.End)))
		}
		slices.Sort(all)
		return all
	}
	require.NoError(t, s.tend(ctx))
	left := []string{"a/1/x  0s", "a/1/x suspended 195h0m0s", "b/1/x  70h0m0s", "d/1/x  0s"}
	assert.Equal(t, left, ask())
	topics, err := numbers(ctx, s.upkeep.look, 1, "SELECT count(*) FROM coverage_topic")
	require.NoError(t, err)
	assert.EqualValues(t, len(left), topics[0][0])
	require.NoError(t, s.WriteCoverage(ctx, storage.Principal{}, []witness.Coverage{beat("c/1/x", 1, 0)}), "it comes back")
	left = append(left, "c/1/x  0s")
	slices.Sort(left)
	assert.Equal(t, left, ask())
	require.NoError(t, s.Close())
	s = openAlive(t, path, lifeClock, Life{})
	assert.Equal(t, left, ask(), "the file says the same")
}

// Writes wait for steps of the upkeep only, not for all of it, and what they add while days are deleted is added to what
// is left.
func TestWritesGetThroughUpkeep(t *testing.T) {
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{DedupeHorizon: dayOfHours, MaxAge: 3 * dayOfHours})
	ctx := context.Background()
	const witnesses = 40 // so few that a step deletes of several hosts
	many := func(ago, length time.Duration, host int) (all []witness.Observation) {
		for i := range witnesses {
			all = append(all, past(ago, length, func(o *witness.Observation) {
				o.Witness, o.Instance.Host = numbered(i).Witness, fmt.Sprint("node-", host)
				o.LastSeen = o.WindowEnd.Add(-time.Second)
			}))
		}
		return all
	}
	kept := 0
	for minute := range 60 {
		put(t, s, many(26*time.Hour+time.Duration(minute)*time.Minute, time.Minute, minute%4)...)
		kept += witnesses
	}
	for host := range 4 {
		put(t, s, many(5*dayOfHours, time.Minute, host)...)
		// Other witnesses have windows that reach over the cut: what they add up to is made anew.
		over := many(3*dayOfHours+12*time.Hour+35*time.Minute, 5*time.Hour, host)
		for i := range over {
			over[i].Witness = numbered(1000 + i).Witness
			over[i].ID = over[i].Witness.ID()
		}
		require.True(t, over[0].WindowStart.Before(lifeNow.Add(-3*dayOfHours).Truncate(dayOfHours)))
		require.True(t, over[0].LastSeen.After(lifeNow.Add(-3*dayOfHours).Truncate(dayOfHours)))
		put(t, s, over...)
	}
	put(t, s, past(0, time.Minute))
	kept++
	done := make(chan error)
	go func() { done <- s.tend(ctx) }()
	writes := 0
	for finished := false; !finished; writes++ {
		all := many(0, time.Minute, writes%4)
		for i := range all {
			all[i].Flush = uint64(writes + 1)
		}
		put(t, s, all...)
		kept += witnesses
		select {
		case err := <-done:
			require.NoError(t, err)
			finished = true
		default:
		}
	}
	assert.Greater(t, writes, 5)
	assert.Positive(t, s.Stats().Deleted)
	exact(t, s)
	hits, _ := addedUp(t, s)
	assert.EqualValues(t, kept, hits)
}

// BenchmarkUpkeep rolls up an hour of ten thousand witnesses and deletes it a day after, and says what writes wait
// meanwhile.
func BenchmarkUpkeep(b *testing.B) {
	for b.Loop() {
		now := lifeNow
		path := filepath.Join(b.TempDir(), "witness.db")
		s := openAlive(b, path, func() time.Time { return now }, Life{DedupeHorizon: dayOfHours, MaxAge: 2 * dayOfHours})
		const witnesses = 10000
		var all []witness.Observation
		for i := range witnesses {
			all = append(all, numbered(i))
		}
		write := func(at time.Time, all []witness.Observation) {
			for i := range all {
				o := &all[i]
				o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = at, at.Add(time.Minute), at, at
			}
			for part := range slices.Chunk(all, 1000) {
				put(b, s, part...)
			}
		}
		for minute := range 60 {
			write(lifeNow.Truncate(time.Hour).Add(time.Duration(minute-60)*time.Minute), all)
		}
		for _, what := range []string{"roll", "delete"} {
			now = now.Add(26 * time.Hour)
			write(now.Truncate(time.Minute), all[:1])
			before, cpu := s.Stats(), time.Now()
			done := make(chan error)
			go func() { done <- s.tend(context.Background()) }()
			var slowest time.Duration
			for finished := false; !finished; {
				began := time.Now()
				all[0].Flush++
				put(b, s, all[0])
				slowest = max(slowest, time.Since(began))
				select {
				case err := <-done:
					require.NoError(b, err)
					finished = true
				default:
				}
			}
			after := s.Stats()
			b.ReportMetric(time.Since(cpu).Seconds(), what+"-s")
			b.ReportMetric(float64(after.Rolled-before.Rolled+after.Deleted-before.Deleted), what+"-rows")
			b.ReportMetric(float64(slowest.Milliseconds()), what+"-slowest-write-ms")
			now = now.Add(dayOfHours)
		}
	}
}
