package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// numbered is an observation of the witness with a number; its window is to be set. A hundred workloads share a hundred
// functions.
func numbered(i int) witness.Observation {
	module := witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"}
	name := func(pkg, member string) witness.Frame {
		return witness.Frame{Package: pkg, Member: member, Symbol: pkg + "." + member, Language: "go", Module: module}
	}
	o := witness.Observation{
		Witness: witness.Witness{
			Kind: witness.KindCall, Frame: name("example.com/app/internal/thing", fmt.Sprintf("Thing.Method%d", i%100)),
			Workload: witness.Workload{Namespace: "shop", Controller: fmt.Sprintf("deployment/web-%d", i/100), Container: "app", Image: "sha256:aa"},
			Path:     []witness.Frame{name("example.com/app/internal/thing", "Thing.Run"), name("example.com/app", "serve"), name("main", "main")},
		},
		Source: "a1/1/tetragon", Instance: witness.Instance{Host: "node-1"}, Hits: 1,
		Assurance: witness.Measured, Origin: witness.OriginWorkload, Artifact: witness.Artifact{PURL: "pkg:golang/example.com/app@v1.0.0", Method: "buildinfo"},
	}
	o.Witness.Frame.Component = "pkg:golang/example.com/app@v1.0.0"
	o.ID = o.Witness.ID()
	return o
}

func addedUp(t testing.TB, s *Storage) (hits uint64, witnesses int) {
	t.Helper()
	filter := everything(t, s)
	summary, err := s.Summary(context.Background(), "", filter)
	require.NoError(t, err)
	return summary.Hits, summary.Witnesses
}

func everything(t testing.TB, s *Storage) storage.Filter {
	t.Helper()
	hot, err := s.HotSymbols(context.Background(), "", storage.HotQuery{Limit: 1000})
	require.NoError(t, err)
	var filter storage.Filter
	for _, symbol := range hot {
		filter.Subjects = append(filter.Subjects, symbol.Subject.ID)
	}
	return filter
}

// stall keeps the writer busy until the returned function is called.
func stall(t *testing.T, s *Storage) (release func()) {
	t.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		assert.NoError(t, s.writer.submit(context.Background(), groupSize, func() error {
			close(entered)
			<-leave
			return nil
		}))
	})
	<-entered
	return func() {
		close(leave)
		done.Wait()
	}
}

func TestCallsThatWaitShareATransaction(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	release := stall(t, s)
	all := observations(50, 0)
	var calls sync.WaitGroup
	for i := range all {
		calls.Go(func() {
			written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all[i : i+1]})
			assert.NoError(t, err)
			assert.Equal(t, 1, written.Stored)
		})
	}
	require.Eventually(t, func() bool { return len(s.writer.queue) == len(all) }, 10*time.Second, time.Millisecond)
	before := s.Stats().Commits
	release()
	calls.Wait()
	stats := s.Stats()
	assert.EqualValues(t, 51, stats.Calls)
	assert.Less(t, stats.Commits-before, uint64(25), "far fewer transactions than calls")
	assert.EqualValues(t, 50, stats.Stored)
}

func TestAFailingCallLosesNoNeighbour(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	ctx := context.Background()
	receipt := &storage.Receipt{Key: "k", Body: [32]byte{1}}
	_, err := s.WriteObservations(ctx, storage.Batch{Receipt: receipt})
	require.NoError(t, err)
	release := stall(t, s)
	all := observations(60, 0)
	failure := errors.New("no")
	var calls sync.WaitGroup
	for i := range all {
		calls.Go(func() {
			batch := storage.Batch{Observations: all[i : i+1]}
			switch i % 3 {
			case 0: // fails after it has written
				assert.ErrorIs(t, s.writer.submit(ctx, 1, func() error {
					written, _, err := s.writer.observations(batch, nil)
					assert.NoError(t, err)
					assert.Equal(t, 1, written.Stored)
					return failure
				}), failure)
			case 1:
				batch.Receipt = &storage.Receipt{Key: "k", Body: [32]byte{2}}
				_, err := s.WriteObservations(ctx, batch)
				assert.ErrorIs(t, err, storage.ErrConflict)
			default:
				_, err := s.WriteObservations(ctx, batch)
				assert.NoError(t, err)
			}
		})
	}
	require.Eventually(t, func() bool { return len(s.writer.queue) == len(all) }, 10*time.Second, time.Millisecond)
	release()
	calls.Wait()
	hits, witnesses := addedUp(t, s)
	assert.EqualValues(t, 20, hits)
	assert.Equal(t, 20, witnesses)
	// What was undone can be written: no cache knows rows that are not there.
	written, err := s.WriteObservations(ctx, storage.Batch{Observations: all})
	require.NoError(t, err)
	assert.Equal(t, storage.Written{Stored: 40, Duplicates: 20}, written)
	hits, _ = addedUp(t, s)
	assert.EqualValues(t, 60, hits)
}

func TestAnEndedContextGivesUpWhatWaits(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	release := stall(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	waiting := make(chan error)
	go func() {
		_, err := s.WriteObservations(ctx, storage.Batch{Observations: observations(1, 0)})
		waiting <- err
	}()
	require.Eventually(t, func() bool { return len(s.writer.queue) == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	assert.ErrorIs(t, <-waiting, context.Canceled)
	// A full queue blocks until the context ends.
	full, cancelFull := context.WithCancel(context.Background())
	var fill sync.WaitGroup
	for range 2 * queueSize {
		fill.Go(func() {
			_, err := s.WriteObservations(full, storage.Batch{Observations: observations(1, 0)})
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	require.Eventually(t, func() bool { return len(s.writer.queue) == queueSize }, 10*time.Second, time.Millisecond)
	cancelFull()
	fill.Wait()
	release()
	hits, _ := addedUp(t, s)
	assert.Zero(t, hits, "what was given up is not written")
	_, err := s.WriteObservations(ctx, storage.Batch{Observations: observations(1, 0)})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestCloseEndsWhatIsInFlight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.db")
	s := open(t, path, nil)
	var stored, closed atomic.Int64
	var calls sync.WaitGroup
	all := observations(400, 0)
	for i := range all {
		calls.Go(func() {
			written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all[i : i+1]})
			if err != nil {
				assert.ErrorIs(t, err, storage.ErrClosed)
				closed.Add(1)
			}
			stored.Add(int64(written.Stored))
		})
	}
	require.NoError(t, s.Close())
	calls.Wait()
	assert.EqualValues(t, len(all), stored.Load()+closed.Load())
	hits, _ := addedUp(t, open(t, path, nil))
	assert.EqualValues(t, stored.Load(), hits)
}

// Writers and readers at once: nothing is lost or doubled, and every answer is of one moment.
func TestConcurrentWritersAndReaders(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	const writers, rounds, size = 4, 15, 40
	var writing, reading sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for round := range rounds {
				all := observations(size, round)
				for i := range all {
					all[i].Source = fmt.Sprintf("post/%d/http", w)
				}
				for range 1 + rand.IntN(2) { // some twice
					_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all})
					assert.NoError(t, err)
				}
			}
		})
	}
	for range 3 {
		reading.Go(func() {
			var last uint64
			for {
				select {
				case <-stop:
					return
				default:
				}
				hits, _ := addedUp(t, s)
				assert.GreaterOrEqual(t, hits, last)
				assert.Zero(t, hits%size, "a batch is seen whole or not at all")
				last = hits
				_, err := s.Witnesses(context.Background(), "", storage.WitnessQuery{Filter: everything(t, s), Limit: 5})
				assert.NoError(t, err)
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	hits, witnesses := addedUp(t, s)
	assert.EqualValues(t, writers*rounds*size, hits)
	assert.Equal(t, size, witnesses)
}

// Caches that are far too small change nothing but speed.
func TestTinyCaches(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	s.writer.caches = newCaches(2, &s.emptied)
	for minute := range 3 {
		written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: observations(250, minute)})
		require.NoError(t, err)
		assert.Equal(t, 250, written.Stored)
	}
	hits, witnesses := addedUp(t, s)
	assert.EqualValues(t, 750, hits)
	assert.Equal(t, 250, witnesses)
	assert.Positive(t, s.Stats().Emptied)
	for table, want := range map[string]int{"subject": 100, "frame": 103, "node": 4, "workload": 3, "witness": 250} {
		var got int
		require.NoError(t, s.read.QueryRow("SELECT count(*) FROM "+table).Scan(&got))
		assert.Equal(t, want, got, "nothing is interned twice: "+table)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "witness.db"), nil)
			all := observations(10000, 0)
			first := all[0].WindowStart
			at := 0
			for b.Loop() {
				batch := all[at : at+size]
				_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: batch})
				require.NoError(b, err)
				if at += size; at == len(all) { // all of them again, a minute before
					at = 0
					first = first.Add(-time.Minute)
					for i := range all {
						o := &all[i]
						o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = first, first.Add(time.Minute), first, first
					}
				}
			}
			stats := s.Stats()
			b.ReportMetric(float64(stats.Stored)/b.Elapsed().Seconds(), "obs/s")
			b.ReportMetric(float64(s.Size())/float64(stats.Stored), "diskB/obs")
		})
	}
}

func BenchmarkReadOf10kWitnesses(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "witness.db"), nil)
	all := observations(10000, 0)
	_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all})
	require.NoError(b, err)
	filter := everything(b, s)
	for _, sort := range []storage.Sort{storage.SortHits, storage.SortID} {
		b.Run("page by "+string(sort), func(b *testing.B) {
			for b.Loop() {
				_, err := s.Witnesses(context.Background(), "", storage.WitnessQuery{Filter: filter, Sort: sort})
				require.NoError(b, err)
			}
		})
	}
	b.Run("summary", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Summary(context.Background(), "", filter)
			require.NoError(b, err)
		}
	})
	b.Run("hot symbols", func(b *testing.B) {
		for b.Loop() {
			_, err := s.HotSymbols(context.Background(), "", storage.HotQuery{})
			require.NoError(b, err)
		}
	})
}
