package sqlite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// TestDiskFull fills the disk under a database: writes are refused, what was acknowledged stays and is served, and once
// there is room writes go on, without a restart, with nothing lost or doubled.
func TestDiskFull(t *testing.T) {
	for name, small := range map[string]func(t *testing.T) (directory string, makeRoom func()){
		"a full file system": func(t *testing.T) (string, func()) {
			directory := t.TempDir()
			if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=8m"); err != nil {
				t.Skip("a small file system takes the right to mount one: ", err)
			}
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(directory, syscall.MNT_DETACH)) })
			return directory, func() { require.NoError(t, syscall.Mount("tmpfs", directory, "tmpfs", syscall.MS_REMOUNT, "size=64m")) }
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
	directory := t.TempDir()
	device := mountExt4(t, directory)
	path := filepath.Join(directory, "witness.db")
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: path})
	require.NoError(t, err)
	_, err = s.WriteObservations(ctx, storage.Batch{Observations: minuteOf(100, 1)})
	require.NoError(t, err)
	if err := os.WriteFile(fmt.Sprintf("/sys/fs/ext4/%s/trigger_fs_error", filepath.Base(device)), []byte("1"), 0o200); err != nil {
		require.NoError(t, s.Close())
		t.Skip("the kernel lets nobody trigger an error: ", err)
	}
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

// mountExt4 mounts a new file system without journal and returns its device.
func mountExt4(t *testing.T, directory string) (device string) {
	image := filepath.Join(t.TempDir(), "image")
	for _, command := range [][]string{
		{"truncate", "-s", "32M", image}, {"mkfs.ext4", "-q", "-O", "^has_journal", image}, {"mount", "-o", "loop,errors=remount-ro", image, directory},
	} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("a file system of its own takes mkfs.ext4 and the right to mount it: %s: %v: %s", command[0], err, output)
		}
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(directory, 0)) })
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[1] == directory {
			device = fields[0]
		}
	}
	require.NotEmpty(t, device)
	return device
}
