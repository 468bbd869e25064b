package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func openBackingUp(t *testing.T, keep int, now func() time.Time) (s *Storage, directory string) {
	directory = filepath.Join(t.TempDir(), "new", "backups")
	s, err := Open(context.Background(), Options{
		Path: filepath.Join(t.TempDir(), "witness.db"), Now: now, Backup: BackupOptions{Directory: directory, Keep: keep},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, directory
}

// minuteOf is n witnesses in a minute of a count: other than with observations, always the same one.
func minuteOf(n, minute int) []witness.Observation {
	all := observations(n, 0)
	for i := range all {
		o := &all[i]
		start := killStart(minute)
		o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = start, start.Add(time.Minute), start, start
	}
	return all
}

// A backup that is made while others write holds what was acknowledged before, every call whole and once, and the totals
// of exactly that.
func TestBackupUnderWrites(t *testing.T) {
	s, directory := openBackingUp(t, 0, nil)
	ctx := context.Background()
	const writers, size = 4, 25
	var stop atomic.Bool
	var acknowledged atomic.Int64
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for minute := 1; !stop.Load(); minute++ {
				all := minuteOf(size, minute)
				for i := range all {
					all[i].Source = fmt.Sprintf("post/%d/http", w)
				}
				_, err := s.WriteObservations(ctx, storage.Batch{Observations: all})
				assert.NoError(t, err)
				acknowledged.Add(size)
			}
		})
	}
	for range 5 {
		enough := acknowledged.Load() + writers*size*5
		require.Eventually(t, func() bool { return acknowledged.Load() > enough }, 20*time.Second, time.Millisecond)
		before := acknowledged.Load()
		backup, err := s.Backup(ctx)
		require.NoError(t, err)
		path := filepath.Join(directory, backup.Name)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode())
		assert.Equal(t, info.Size(), backup.Size)

		copied, err := Open(ctx, Options{Path: path})
		require.NoError(t, err)
		hits, _ := addedUp(t, copied)
		var rows, batches uint64
		require.NoError(t, copied.read.QueryRow("SELECT count(*), count(DISTINCT source || '/' || start) FROM obs").Scan(&rows, &batches))
		assert.GreaterOrEqual(t, rows, uint64(before))
		assert.Equal(t, batches*size, rows, "every call is there whole or not at all")
		assert.Equal(t, rows, hits, "what is counted is what is there")
		written, err := copied.WriteObservations(ctx, storage.Batch{Observations: observations(1, 0)})
		require.NoError(t, err)
		assert.Equal(t, 1, written.Stored, "it can be used")
		require.NoError(t, copied.Close())
	}
	stop.Store(true)
	writing.Wait()
	assert.EqualValues(t, 5, s.Stats().Backups)
	assert.Zero(t, s.Stats().FailedBackups)
}

func TestBackupsAreNamedPrivateAndFew(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s, directory := openBackingUp(t, 2, func() time.Time { return now })
	ctx := context.Background()
	var names []string
	others := []string{"notes.txt", "witness.db", "witness-20200101T000000Z.db", "witness-20200101T000000Z-0123456789abcdeg.db"}
	for i := range 4 {
		backup, err := s.Backup(ctx)
		require.NoError(t, err)
		assert.Regexp(t, regexp.MustCompile(`^witness-20261122T12\d{4}Z-[0-9a-f]{16}\.db$`), backup.Name)
		assert.Equal(t, now, backup.At)
		names = append(names, backup.Name)
		if i == 0 {
			info, err := os.Stat(directory)
			require.NoError(t, err)
			assert.Equal(t, os.ModeDir|0o700, info.Mode())
			for _, name := range others {
				require.NoError(t, os.WriteFile(filepath.Join(directory, name), []byte("mine"), 0o600))
			}
			require.NoError(t, os.Mkdir(filepath.Join(directory, "witness-20200101T000000Z-0123456789abcdef.db"), 0o700))
			interrupted := filepath.Join(directory, "witness-20200101T000000Z-fedcba9876543210.db.partial")
			require.NoError(t, os.WriteFile(interrupted, nil, 0o600))
			defer assert.NoFileExists(t, interrupted)
		}
		now = now.Add(time.Minute)
	}
	for i, name := range names {
		_, err := os.Stat(filepath.Join(directory, name))
		assert.Equal(t, i < 2, os.IsNotExist(err), "the newest two are kept")
	}
	for _, name := range others {
		content, err := os.ReadFile(filepath.Join(directory, name))
		require.NoError(t, err)
		assert.Equal(t, "mine", string(content))
	}
	assert.DirExists(t, filepath.Join(directory, "witness-20200101T000000Z-0123456789abcdef.db"))
	// A clock that was set back does not make the newest the oldest.
	now = now.Add(-24 * time.Hour)
	backup, err := s.Backup(ctx)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(directory, backup.Name))
}

func TestBackupErrors(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	_, err := s.Backup(context.Background())
	require.ErrorIs(t, err, storage.ErrNotConfigured)

	s, directory := openBackingUp(t, 2, nil)
	require.NoError(t, os.MkdirAll(filepath.Dir(directory), 0o700))
	require.NoError(t, os.WriteFile(directory, nil, 0o600))
	_, err = s.Backup(context.Background())
	require.Error(t, err)
	assert.NotContains(t, err.Error(), directory)
	assert.EqualValues(t, 1, s.Stats().FailedBackups)
	require.NoError(t, os.Remove(directory))

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Backup(ended)
	require.ErrorIs(t, err, context.Canceled)
	entries, _ := os.ReadDir(directory)
	assert.Empty(t, entries, "nothing is left of it")
	require.NoError(t, s.Close())
	_, err = s.Backup(context.Background())
	require.ErrorIs(t, err, storage.ErrClosed)
}

// BenchmarkBackup says how long a backup takes and what writes wait meanwhile.
func BenchmarkBackup(b *testing.B) {
	directory := b.TempDir()
	s, err := Open(context.Background(), Options{Path: filepath.Join(directory, "witness.db"), Backup: BackupOptions{Directory: directory, Keep: 1}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	write := func(minute int) {
		all := minuteOf(1000, minute)
		_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all})
		require.NoError(b, err)
	}
	for minute := 1; s.Size() < 256<<20; minute++ {
		write(minute)
	}
	var stop atomic.Bool
	var writing sync.WaitGroup
	var slowest time.Duration
	calls := 0
	writing.Go(func() {
		for minute := 1; !stop.Load(); minute++ {
			began := time.Now()
			write(100_000 + minute)
			slowest = max(slowest, time.Since(began))
			calls++
		}
	})
	b.ResetTimer()
	var size int64
	for b.Loop() {
		backup, err := s.Backup(context.Background())
		require.NoError(b, err)
		size = backup.Size
	}
	elapsed := b.Elapsed()
	stop.Store(true)
	writing.Wait()
	b.ReportMetric(float64(size)*float64(b.N)/elapsed.Seconds()/1e6, "MB/s")
	b.ReportMetric(float64(slowest.Microseconds())/1e3, "slowest-write-ms")
	b.ReportMetric(float64(calls)*1000/elapsed.Seconds(), "obs/s")
}
