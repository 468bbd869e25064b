package correlation

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
)

// startTolerance is how far apart two accounts of one start may be: the kernel's is in ticks of 10 ms, and the clock of
// the host is set a little now and then.
const startTolerance = 100 * time.Millisecond

// openModule opens a module through the process that has it mapped, after making sure that the process is the one
// meant. All look-ups go through one handle of the process's directory, which never comes to mean another process.
func (c *Correlator) openModule(k key) (*opened, Reason) {
	proc, err := procfs.New(c.options.Proc).Open(k.pid)
	if err != nil {
		return nil, reasonOf(err, Gone)
	}
	defer proc.Close()
	if reason := checkStart(proc.ID().Start, k.process); reason != "" {
		return nil, reason
	}
	exe, err := proc.HoldExecutable()
	if err != nil {
		return nil, reasonOf(err, Gone)
	}
	defer exe.Close()
	root, err := proc.Root()
	if err != nil {
		return nil, reasonOf(err, Gone)
	}
	if reason := checkExecutable(proc, exe, root, k.exe); reason != "" {
		return nil, reason
	}
	if k.path == k.exe {
		f, err := exe.Open()
		return openedOf(f, err, Unreadable)
	}
	m, reason := findMapping(proc, root, k.path)
	if reason != "" {
		return nil, reason
	}
	f, err := proc.OpenMapping(m)
	return openedOf(f, err, NotMapped)
}

func openedOf(f *procfs.File, err error, otherwise Reason) (*opened, Reason) {
	if err != nil {
		return nil, reasonOf(err, otherwise)
	}
	return &opened{f.File, f.ID}, ""
}

// checkStart makes sure that the process began when the event says. Agents give either the time of the fork, which the
// kernel remembers, or that of the last exec, which it does not: that one is after the fork, and as at any time just
// one process of a host has a pid, a process of this host that lived then and lives now is the one.
func checkStart(started procfs.Start, p process) Reason {
	now := time.Now()
	var sinceBoot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot); err != nil {
		return Unreadable
	}
	began := now.UnixNano() - sinceBoot.Nano() + int64(started)
	after := p.created - began
	switch {
	case after < -startTolerance.Nanoseconds(), p.created > now.UnixNano()+startTolerance.Nanoseconds():
		return OtherProcess
	case p.hostUnknown && after > startTolerance.Nanoseconds():
		return OtherProcess
	}
	return ""
}

// checkExecutable makes sure that the process still runs the file that the event names: by the path that the kernel
// remembers of it, from the root of the host or of the process, or else because the path leads to that very file.
func checkExecutable(proc *procfs.Process, exe *procfs.Held, root, path string) Reason {
	link, err := proc.ExecutableLink()
	if err != nil {
		return reasonOf(err, Gone)
	}
	if samePath(procfs.WithoutDeleted(link), root, path) {
		return ""
	}
	switch same, err := proc.Leads(path, exe); {
	case err != nil:
		return reasonOf(err, Unreadable)
	case !same:
		return OtherExecutable
	}
	return ""
}

// samePath reports whether a path as the host sees it is path as the process sees it.
func samePath(host, root, path string) bool {
	return host == path || root != "/" && host == root+path
}

// findMapping finds the executable mapping of a path, which must be of one file.
func findMapping(proc *procfs.Process, root, path string) (procfs.Mapping, Reason) {
	var found procfs.Mapping
	for m, err := range proc.Mappings() {
		switch {
		case errors.Is(err, procfs.ErrLimit): // what was read of it counts
		case err != nil:
			return procfs.Mapping{}, reasonOf(err, Gone)
		case !samePath(path, root, m.Path):
		case found.Inode == 0:
			found = m
		case found.Dev != m.Dev || found.Inode != m.Inode:
			return procfs.Mapping{}, Ambiguous
		}
	}
	if found.Inode == 0 {
		return procfs.Mapping{}, NotMapped
	}
	return found, ""
}

func identify(f *os.File) (fileID, error) { return procfs.Identify(f) }

func reasonOf(err error, otherwise Reason) Reason {
	switch {
	case errors.Is(err, procfs.ErrNotMapped):
		return NotMapped
	case errors.Is(err, procfs.ErrReplaced):
		return Replaced
	case errors.Is(err, procfs.ErrNotRegular):
		return NotRegular
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return NotPermitted
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOTDIR):
		return otherwise
	default:
		return Unreadable
	}
}
