package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// benchWitnesses, set in the environment, is how many witnesses BenchmarkReadWhileWriting stores, with a hundred hits
// each. The numbers that are published are of 1000000.
const benchWitnesses = "WITNESS_BENCH_WITNESSES"

// benchRate is how many observations are written in a second meanwhile; 0, or nothing, is as many as can be.
const benchRate = "WITNESS_BENCH_RATE"

func fromEnvironment(b *testing.B, variable string) (n int, ok bool) {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n, true
}

// briefly is a size, or a tenth of it in short tests.
func briefly(size int) int {
	if testing.Short() {
		return size / 10
	}
	return size
}

// use is what the kernel counted of this process.
type use struct {
	cpu     time.Duration
	written int64 // bytes
}

func usedSoFar(b *testing.B) (u use) {
	var r syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	u.cpu = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	file, err := os.Open("/proc/self/io")
	if err != nil {
		return u
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "write_bytes: "); ok {
			u.written, _ = strconv.ParseInt(text, 10, 64)
		}
	}
	return u
}

// BenchmarkHour writes an hour of windows of a minute, a thousand observations at a time, each acknowledged when it is on
// disk: into this storage, and into tables with text keys whose counters are updated in place. What is rolled up is so
// within the measurement, once the hour is behind the horizon.
func BenchmarkHour(b *testing.B) {
	n := briefly(20_000)
	base := time.Now().Add(-20 * 24 * time.Hour).Truncate(time.Hour)
	all := make([]witness.Observation, n)
	for i := range all {
		all[i] = numbered(i)
	}
	inMinute := func(minute int) {
		start := base.Add(time.Duration(minute) * time.Minute).UTC()
		for i := range all {
			o := &all[i]
			o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = start, start.Add(time.Minute), start.Add(time.Second), start.Add(50*time.Second)
			o.Hits = uint64(i%300 + 1)
		}
	}
	measure := func(b *testing.B, minutes int, shuffle bool, write func([]witness.Observation), done func()) {
		before := usedSoFar(b)
		for range b.N {
			for minute := range minutes {
				inMinute(minute)
				if shuffle {
					rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
				}
				for part := range slices.Chunk(all, 1000) {
					write(part)
				}
			}
			done()
			base = base.Add(2 * time.Hour)
		}
		after := usedSoFar(b)
		count := float64(b.N * minutes * n)
		b.ReportMetric(count/(after.cpu-before.cpu).Seconds(), "obs/cpu-s")
		b.ReportMetric(count/b.Elapsed().Seconds(), "obs/s")
		b.ReportMetric(float64(after.written-before.written)/count, "written-B/obs")
	}
	for _, test := range []struct {
		name           string
		shuffle, rolls bool
	}{
		{"in order", false, false}, {"shuffled", true, false}, {"in order, rolled up", false, true}, {"shuffled, rolled up", true, true},
	} {
		b.Run("interned, "+test.name, func(b *testing.B) {
			ctx := context.Background()
			path := filepath.Join(b.TempDir(), "witness.db")
			s, err := Open(ctx, Options{Path: path, Life: Life{DedupeHorizon: time.Hour}})
			require.NoError(b, err)
			write := func(part []witness.Observation) {
				written, err := s.WriteObservations(ctx, storage.Batch{Observations: part})
				require.NoError(b, err)
				require.Equal(b, len(part), written.Stored)
			}
			measure(b, 60, test.shuffle, write, func() {
				if !test.rolls {
					require.NoError(b, s.writer.submit(ctx, 1, s.writer.fold))
					return
				}
				next := numbered(0) // the horizon goes by the newest event
				next.WindowStart = base.Add(2 * time.Hour).UTC()
				next.WindowEnd, next.FirstSeen, next.LastSeen = next.WindowStart.Add(time.Minute), next.WindowStart, next.WindowStart
				next.Source = "a2/1/tetragon"
				write([]witness.Observation{next})
				require.NoError(b, s.tend(ctx))
			})
			rolled := s.Stats().Rolled
			require.NoError(b, s.Close())
			info, err := os.Stat(path)
			require.NoError(b, err)
			b.ReportMetric(float64(info.Size())/float64(b.N*60*n), "stored-B/obs")
			if test.rolls {
				require.GreaterOrEqual(b, rolled, uint64(b.N*n))
			}
		})
	}
	b.Run("text keys", func(b *testing.B) {
		db, err := openDB(textKeyed(b), false)
		require.NoError(b, err)
		conn, err := db.Conn(context.Background())
		require.NoError(b, err)
		prepare := func(query string) *sql.Stmt {
			statement, err := conn.PrepareContext(context.Background(), query)
			require.NoError(b, err)
			return statement
		}
		counter := prepare("INSERT INTO witness VALUES (?,?,?,?,?,?) ON CONFLICT DO UPDATE SET hits = hits + excluded.hits, last = excluded.last")
		bucket := prepare("INSERT INTO bucket VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET hits = hits + excluded.hits")
		begin, commit := prepare("BEGIN IMMEDIATE"), prepare("COMMIT")
		symbol := prepare("INSERT INTO symbol VALUES (?,?,?) ON CONFLICT DO UPDATE SET hits = hits + excluded.hits")
		measure(b, 6, false, func(part []witness.Observation) { // an hour would take minutes
			require.NoError(b, execute(begin))
			for i := range part {
				o := &part[i]
				id, hour := o.ID.String(), o.WindowStart.Truncate(time.Hour)
				require.NoError(b, execute(counter, "finding", id, o.Witness.Frame.Symbol, int64(o.Hits), o.FirstSeen.UnixNano(), o.LastSeen.UnixNano()))
				require.NoError(b, execute(bucket, id, "1m", o.WindowStart.Format(time.RFC3339), int64(o.Hits)))
				require.NoError(b, execute(bucket, id, "1h", hour.Format(time.RFC3339), int64(o.Hits)))
				require.NoError(b, execute(symbol, o.Artifact.PURL, o.Witness.Frame.Symbol, int64(o.Hits)))
			}
			require.NoError(b, execute(commit))
		}, func() {})
		for _, statement := range []*sql.Stmt{counter, bucket, symbol, begin, commit} {
			require.NoError(b, statement.Close())
		}
		require.NoError(b, conn.Close())
		require.NoError(b, db.Close())
	})
}

// textKeyed makes the tables that one would write first: texts for keys, a counter for each question.
func textKeyed(b *testing.B) string {
	path := filepath.Join(b.TempDir(), "text.db")
	require.NoError(b, os.WriteFile(path, nil, 0o600))
	db, err := openDB(path, false)
	require.NoError(b, err)
	_, err = db.Exec(`CREATE TABLE witness (finding TEXT, witness TEXT, symbol TEXT, hits INTEGER, first INTEGER, last INTEGER, PRIMARY KEY (finding, witness));
CREATE INDEX witness_hits ON witness (finding, hits);
CREATE TABLE bucket (witness TEXT, size TEXT, start TEXT, hits INTEGER, PRIMARY KEY (witness, size, start));
CREATE TABLE symbol (artifact TEXT, symbol TEXT, hits INTEGER, PRIMARY KEY (artifact, symbol));
CREATE INDEX symbol_hits ON symbol (artifact, hits)`)
	require.NoError(b, err)
	require.NoError(b, db.Close())
	return path
}

// spread is the witness with a number: of each hundred, ten paths in ten workloads, of one function of a package with a
// hundred.
func spread(i int) witness.Observation {
	o := numbered(0)
	function, workload, path := i/100, i/10%10, i%10
	pkg := fmt.Sprintf("example.com/lib%d/thing", function/100)
	o.Witness.Frame.Package, o.Witness.Frame.Member = pkg, fmt.Sprintf("Thing.Method%d", function%100)
	o.Witness.Frame.Symbol = pkg + "." + o.Witness.Frame.Member
	o.Witness.Frame.Component = fmt.Sprintf("pkg:golang/example.com/lib%d@v1.0.0", function/100)
	o.Witness.Workload.Controller = fmt.Sprintf("deployment/web-%d", workload)
	o.Witness.Path[0].Member = fmt.Sprintf("Thing.Run%d", path)
	o.Witness.Path[0].Symbol = o.Witness.Path[0].Package + "." + o.Witness.Path[0].Member
	o.Instance = witness.Instance{Host: fmt.Sprintf("node-%d", workload%5), Pod: fmt.Sprintf("web-%d", workload), Container: fmt.Sprintf("c%d", workload)}
	o.ID = o.Witness.ID()
	return o
}

// BenchmarkReadWhileWriting asks everything of a storage with many witnesses, while it is written to.
func BenchmarkReadWhileWriting(b *testing.B) {
	n, ok := fromEnvironment(b, benchWitnesses)
	if !ok {
		n = briefly(20_000)
	}
	ctx := context.Background()
	s := open(b, filepath.Join(b.TempDir(), "witness.db"), nil)
	hour := time.Now().Add(-24 * time.Hour).Truncate(time.Hour).UTC()
	window := func(o *witness.Observation, start time.Time, hits uint64) {
		o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen, o.Hits = start, start.Add(time.Minute), start.Add(time.Second), start.Add(50*time.Second), hits
	}
	began := time.Now()
	var longest time.Duration
	batch := make([]witness.Observation, 0, 1000)
	for i := range n {
		o := spread(i)
		window(&o, hour.Add(time.Duration(i%23)*time.Hour+time.Duration(i%60)*time.Minute), uint64(50+i%101))
		if batch = append(batch, o); len(batch) == cap(batch) || i == n-1 {
			start := time.Now()
			_, err := s.WriteObservations(ctx, storage.Batch{Observations: batch})
			require.NoError(b, err)
			longest = max(longest, time.Since(start))
			batch = batch[:0]
		}
	}
	require.NoError(b, s.writer.submit(ctx, 1, s.writer.fold))
	b.Logf("%d witnesses in %s, %d MB; the longest write of 1000 took %s", n, time.Since(began).Round(time.Second), s.Size()>>20, longest.Round(time.Millisecond))

	// The writer counts some witnesses anew, minute by minute.
	var written atomic.Int64
	stop := make(chan struct{})
	rate, _ := fromEnvironment(b, benchRate)
	size := 1000
	var pace <-chan time.Time
	if rate > 0 { // ten batches a second
		size = max(1, rate/10)
		ticker := time.NewTicker(time.Second / 10)
		defer ticker.Stop()
		pace = ticker.C
	} else {
		now := make(chan time.Time)
		close(now)
		pace = now
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		some := make([]witness.Observation, min(n, 50_000))
		for i := range some {
			some[i] = spread(rand.IntN(n))
		}
		for minute := 0; ; minute++ {
			start := time.Now().Truncate(time.Minute).UTC().Add(-23 * time.Hour).Add(time.Duration(minute) * time.Minute)
			for part := range slices.Chunk(some, size) {
				select {
				case <-stop:
					return
				case <-pace:
				}
				for i := range part {
					window(&part[i], start, 1)
				}
				_, err := s.WriteObservations(ctx, storage.Batch{Observations: part})
				require.NoError(b, err)
				written.Add(int64(len(part)))
			}
		}
	})
	subjectsOf := func(query storage.SubjectQuery) []string {
		found, err := s.Subjects(ctx, "", query)
		require.NoError(b, err)
		var ids []string
		for _, subject := range found {
			ids = append(ids, subject.ID)
		}
		return ids
	}
	one := storage.Filter{Subjects: subjectsOf(storage.SubjectQuery{Packages: []string{"example.com/lib0/thing"}, Members: nil})[:1]}
	lib := storage.Filter{Subjects: subjectsOf(storage.SubjectQuery{Components: []string{"pkg:golang/example.com/lib1"}})}
	var many []string
	for i := 0; i < 100 && len(many) < 10_000; i++ {
		many = append(many, subjectsOf(storage.SubjectQuery{Components: []string{fmt.Sprintf("pkg:golang/example.com/lib%d", i)}})...)
	}
	for _, question := range []struct {
		name string
		ask  func() error
	}{
		{"traces page by hits, 1 subject of 100 witnesses", func() error {
			_, err := s.Witnesses(ctx, "", storage.WitnessQuery{Filter: one})
			return err
		}},
		{"traces page by hits, 100 subjects of 10000 witnesses", func() error {
			_, err := s.Witnesses(ctx, "", storage.WitnessQuery{Filter: lib})
			return err
		}},
		{"traces page by recency, 100 subjects", func() error {
			_, err := s.Witnesses(ctx, "", storage.WitnessQuery{Filter: lib, Sort: storage.SortRecent})
			return err
		}},
		{"traces page by id, 100 subjects", func() error {
			_, err := s.Witnesses(ctx, "", storage.WitnessQuery{Filter: lib, Sort: storage.SortID})
			return err
		}},
		{"summary, 1 subject", func() error { _, err := s.Summary(ctx, "", one); return err }},
		{"summary, 100 subjects", func() error { _, err := s.Summary(ctx, "", lib); return err }},
		{"timeline of 24 h by 1 h, 1 subject", func() error {
			f := one
			f.From, f.To = hour, hour.Add(24*time.Hour)
			_, err := s.Timeline(ctx, "", storage.TimelineQuery{Filter: f, Bucket: time.Hour})
			return err
		}},
		{"timeline of 24 h by 1 h, 100 subjects", func() error {
			f := lib
			f.From, f.To = hour, hour.Add(24*time.Hour)
			_, err := s.Timeline(ctx, "", storage.TimelineQuery{Filter: f, Bucket: time.Hour})
			return err
		}},
		{"hot symbols", func() error { _, err := s.HotSymbols(ctx, "", storage.HotQuery{}); return err }},
		{fmt.Sprintf("totals of %d subjects", len(many)), func() error { _, err := s.Totals(ctx, "", many); return err }},
	} {
		b.Run(question.name, func(b *testing.B) {
			var took []time.Duration
			before, began := written.Load(), time.Now()
			for b.Loop() {
				start := time.Now()
				require.NoError(b, question.ask())
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(written.Load()-before)/time.Since(began).Seconds(), "written-obs/s")
		})
	}
	close(stop)
	writing.Wait()
}
