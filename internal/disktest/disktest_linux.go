// Package disktest breaks the disk under a test and mends it again. That takes the rights of root: without them tests are
// skipped, or fail where REQUIRE_BPF is 1, as in CI.
package disktest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// skip ends a test that lacks what it takes.
func skip(t *testing.T, lacks string, err error) {
	t.Helper()
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatalf("%s: %v, and REQUIRE_BPF is 1", lacks, err)
	}
	t.Skipf("%s: %v", lacks, err)
}

// Small mounts a file system of a size, such as 8m. resize gives it another.
func Small(t *testing.T, size string) (directory string, resize func(size string)) {
	t.Helper()
	directory = t.TempDir()
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, "size="+size); err != nil {
		skip(t, "the right to mount a small file system", err)
	}
	unmountAfter(t, directory, unix.MNT_DETACH)
	return directory, func(size string) {
		t.Helper()
		if err := unix.Mount("tmpfs", directory, "tmpfs", unix.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal("resize the file system: ", err)
		}
	}
}

// Ext4 mounts a file system of 32 MiB without journal, which becomes read-only at an error of its own (Fail).
func Ext4(t *testing.T) (directory string) {
	t.Helper()
	directory = t.TempDir()
	image := filepath.Join(t.TempDir(), "image")
	for _, command := range [][]string{
		{"truncate", "-s", "32M", image}, {"mkfs.ext4", "-q", "-O", "^has_journal", image}, {"mount", "-o", "loop,errors=remount-ro", image, directory},
	} {
		if output, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil { //nolint:gosec // constants, and a directory of the test
			skip(t, "mkfs.ext4 and the right to mount what it makes", errors.New(command[0]+": "+err.Error()+": "+string(output)))
		}
	}
	unmountAfter(t, directory, 0)
	return directory
}

func unmountAfter(t *testing.T, directory string, flags int) {
	t.Cleanup(func() {
		if err := unix.Unmount(directory, flags); err != nil {
			t.Error("unmount: ", err)
		}
	})
}

// Fail has the kernel find an error in an Ext4.
func Fail(t *testing.T, directory string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[1] == directory {
			if err := os.WriteFile("/sys/fs/ext4/"+filepath.Base(fields[0])+"/trigger_fs_error", []byte("1"), 0o200); err != nil {
				skip(t, "a kernel that lets an error be triggered", err)
			}
			return
		}
	}
	t.Fatal("it is not mounted: ", directory)
}

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

// Lock makes files and directories read-only also for those who have them open, until they are unlocked. They must be on
// a file system that can do that, such as Ext4, and not be mapped into memory for writing.
func Lock(t *testing.T, paths ...string) (unlock func()) {
	t.Helper()
	set := func(path string, flag int) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable|flag)
	}
	locked := true
	unlock = func() {
		t.Helper()
		if !locked {
			return
		}
		locked = false
		for _, path := range paths {
			if err := set(path, 0); err != nil {
				t.Error("unlock: ", err)
			}
		}
	}
	t.Cleanup(unlock)
	for _, path := range paths {
		if err := set(path, immutable); err != nil {
			unlock()
			skip(t, "the right to lock a file", err)
		}
	}
	return unlock
}
