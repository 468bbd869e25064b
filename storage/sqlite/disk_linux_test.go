package sqlite

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/disktest"
	"github.com/otelcol-witness/otelcol-witness/storage"
)

// TestDiskFull fills the disk under a database: writes are refused, what was acknowledged stays and is served, and once
// there is room writes go on, without a restart, with nothing lost or doubled.
func TestDiskFull(t *testing.T) {
	for name, small := range map[string]func(t *testing.T) (directory string, makeRoom func()){
		"a full file system": func(t *testing.T) (string, func()) {
			directory, resize := disktest.Small(t, "8m")
			return directory, func() { resize("64m") }
		},
		"a limit of file sizes": func(t *testing.T) (string, func()) {
			var limit syscall.Rlimit
			require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
			signal.Ignore(syscall.SIGXFSZ)
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4 << 20, Max: limit.Max}))
			restore := func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)) }
			t.Cleanup(func() {
				restore()
				signal.Reset(syscall.SIGXFSZ)
			})
			return t.TempDir(), restore
		},
	} {
		t.Run(name, func(t *testing.T) {
			directory, makeRoom := small(t)
			backups := filepath.Join(directory, "backups")
			s, err := Open(context.Background(), Options{Path: filepath.Join(directory, "witness.db"), Backup: BackupOptions{Directory: backups}})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			full := fill(t, s, 0)
			makeRoom()
			for range 2 { // and again
				written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: minuteOf(fillBatch, full)})
				require.NoError(t, err, "there is room again")
				assert.Equal(t, fillBatch, written.Stored+written.Duplicates)
			}
			hits, _ := addedUp(t, s)
			assert.EqualValues(t, fillBatch*(full+1), hits)
			var result string
			require.NoError(t, s.read.QueryRow("PRAGMA integrity_check").Scan(&result))
			assert.Equal(t, "ok", result)
			_, err = s.Backup(context.Background())
			require.NoError(t, err)
		})
	}
}

const fillBatch = 500

// fill writes until nothing more fits, which must come within 64 MB, and checks that what was acknowledged is there and
// served. It returns how many batches were.
func fill(t *testing.T, s *Storage, first int) (stored int) {
	t.Helper()
	ctx := context.Background()
	stored = first
	for failures := 0; failures < 5; { // one that fails can have made room in the log for the next
		written, err := s.WriteObservations(ctx, storage.Batch{Observations: minuteOf(fillBatch, stored)})
		if err == nil {
			require.Equal(t, fillBatch, written.Stored)
			require.Less(t, s.Size(), int64(64<<20))
			failures = 0
			stored++
			continue
		}
		failures++
		assert.NotErrorIs(t, err, storage.ErrClosed)
		assert.NotContains(t, err.Error(), filepath.Dir(s.path))
		hits, witnesses := addedUp(t, s)
		assert.EqualValues(t, fillBatch*stored, hits, "what was acknowledged is served")
		assert.Equal(t, fillBatch, witnesses)
	}
	if _, err := s.Backup(ctx); err != nil { // the file can fit where the log does not
		entries, _ := os.ReadDir(s.backup.Directory)
		assert.Empty(t, entries, "nothing is left of it")
	}
	return stored
}

// TestReadOnly has the kernel turn the file system read-only under an open database, as it does after an error of the
// disk: writes are refused and reads go on. A start on such a file system says so, and takes nothing for damage.
func TestReadOnly(t *testing.T) {
	directory := disktest.Ext4(t)
	path := filepath.Join(directory, "witness.db")
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: path})
	require.NoError(t, err)
	_, err = s.WriteObservations(ctx, storage.Batch{Observations: minuteOf(100, 1)})
	require.NoError(t, err)
	disktest.Fail(t, directory)
	for range 3 {
		_, err = s.WriteObservations(ctx, storage.Batch{Observations: minuteOf(100, 2)})
		require.Error(t, err)
		hits, _ := addedUp(t, s)
		assert.EqualValues(t, 100, hits)
	}
	_ = s.Close() // cannot fold the log into the file
	_, err = Open(ctx, Options{Path: path, Damaged: DamagedSetAside})
	require.Error(t, err)
	assert.NotErrorIs(t, err, ErrDamaged)
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	for _, entry := range entries {
		assert.NotContains(t, entry.Name(), "damaged")
	}
}

// TestWritesGoOnOnceTheFilesCanBeWritten has the files of an open database become read-only, and writable again as after
// a remount: meanwhile writes are refused and reads go on, and then writes go on, without a restart, with nothing lost or
// doubled.
func TestWritesGoOnOnceTheFilesCanBeWritten(t *testing.T) {
	directory := disktest.Ext4(t)
	path := filepath.Join(directory, "witness.db")
	s := openFolding(t, path, nil, foldLimits{dirty: 50, every: time.Millisecond, rows: 10, time: time.Hour}) // so that folds fail too
	ctx := context.Background()
	stored := 0
	write := func(minute int) error {
		written, err := s.WriteObservations(ctx, storage.Batch{Observations: minuteOf(100, minute)})
		stored += written.Stored
		return err
	}
	for minute := range 3 {
		require.NoError(t, write(minute))
	}
	for round := range 3 {
		unlock := disktest.Lock(t, path, path+"-wal", directory)
		for range 3 {
			require.Error(t, write(10+round))
			hits, witnesses := addedUp(t, s)
			assert.EqualValues(t, stored, hits, "what was acknowledged is served")
			assert.Equal(t, 100, witnesses)
		}
		unlock()
		for range 2 { // what was refused, and again
			require.NoError(t, write(10+round))
		}
		hits, _ := addedUp(t, s)
		assert.EqualValues(t, 100*(3+round+1), hits)
		assert.EqualValues(t, stored, hits)
		exact(t, s)
	}
	require.NoError(t, s.Close())
	s, err := Open(ctx, Options{Path: path, Integrity: IntegrityFull})
	require.NoError(t, err)
	hits, _ := addedUp(t, s)
	assert.EqualValues(t, 600, hits)
	require.NoError(t, s.Close())
}
