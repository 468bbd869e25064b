package correlation

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// startTolerance is how far apart two accounts of one start may be: the kernel's is in ticks of 10 ms, and the
	// clock of the host is set a little now and then.
	startTolerance = 100 * time.Millisecond
	// ticks in a second of the times in /proc/<pid>/stat: USER_HZ, the same on all architectures that matter here.
	ticks = 100
	// maxMaps is how much of /proc/<pid>/maps is read.
	maxMaps = 8 << 20
)

// openModule opens a module through the process that has it mapped, after making sure that the process is the one
// meant. All look-ups go through one handle of the process's directory, which never comes to mean another process.
func (c *Correlator) openModule(k key) (*opened, Reason) {
	proc, err := unix.Open(filepath.Join(c.options.Proc, strconv.Itoa(k.pid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, reasonOf(err, Gone)
	}
	defer closeFD(proc)
	if reason := checkStart(proc, k.process); reason != "" {
		return nil, reason
	}
	exe, err := unix.Openat(proc, "exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, reasonOf(err, Gone)
	}
	defer closeFD(exe)
	root, err := readlink(proc, "root")
	if err != nil {
		return nil, reasonOf(err, Gone)
	}
	if reason := checkExecutable(proc, exe, root, k.exe); reason != "" {
		return nil, reason
	}
	if k.path == k.exe {
		return reopen(exe)
	}
	m, reason := findMapping(proc, root, k.path)
	if reason != "" {
		return nil, reason
	}
	module, err := unix.Openat(proc, m.link(), unix.O_PATH|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return openByPath(proc, k.path, m)
	case err != nil:
		return nil, reasonOf(err, NotMapped)
	}
	defer closeFD(module)
	// The device may differ here: some file systems (overlayfs, btrfs) show another one in stat than in maps. The file
	// is the mapped one by construction; the inode tells that the range was not mapped anew in between.
	if stat, reason := regular(module); reason != "" {
		return nil, reason
	} else if stat.Ino != m.inode {
		return nil, Replaced
	}
	return reopen(module)
}

// checkStart makes sure that the process began when the event says. Agents give either the time of the fork, which the
// kernel remembers, or that of the last exec, which it does not: that one is after the fork, and as at any time just
// one process of a host has a pid, a process of this host that lived then and lives now is the one.
func checkStart(proc int, p process) Reason {
	stat, err := readFile(proc, "stat", 4096)
	if err != nil {
		return reasonOf(err, Gone)
	}
	started, ok := parseStart(stat)
	if !ok {
		return Unreadable
	}
	now := time.Now()
	var sinceBoot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot); err != nil {
		return Unreadable
	}
	began := now.UnixNano() - sinceBoot.Nano() + started
	after := p.created - began
	switch {
	case after < -startTolerance.Nanoseconds(), p.created > now.UnixNano()+startTolerance.Nanoseconds():
		return OtherProcess
	case p.hostUnknown && after > startTolerance.Nanoseconds():
		return OtherProcess
	}
	return ""
}

// parseStart reads the start of a process from its stat: field 22, in ticks since the boot. Result in nanoseconds.
func parseStart(stat []byte) (int64, bool) {
	// The second field is the name in parentheses, which may itself have spaces and parentheses.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, false
	}
	start, err := strconv.ParseInt(string(fields[19]), 10, 64)
	if err != nil || start < 0 || start > 1<<62/(int64(time.Second)/ticks) {
		return 0, false
	}
	return start * (int64(time.Second) / ticks), true
}

// checkExecutable makes sure that the process still runs the file that the event names: by the path that the kernel
// remembers of it, from the root of the host or of the process, or else because the path leads to that very file.
func checkExecutable(proc, exe int, root, path string) Reason {
	link, err := readlink(proc, "exe")
	if err != nil {
		return reasonOf(err, Gone)
	}
	if samePath(withoutDeleted(link), root, path) {
		return ""
	}
	running, reason := regular(exe)
	if reason != "" {
		return reason
	}
	named, err := openInRoot(proc, path)
	if err != nil {
		return OtherExecutable
	}
	defer closeFD(named)
	if stat, reason := regular(named); reason != "" || stat.Dev != running.Dev || stat.Ino != running.Ino {
		return OtherExecutable
	}
	return ""
}

// samePath reports whether a path as the host sees it is path as the process sees it.
func samePath(host, root, path string) bool {
	return host == path || root != "/" && host == root+path
}

// mapping is a range of executable memory and the file behind it.
type mapping struct {
	start, end, dev, inode uint64
}

// link is the name of the mapping below /proc/<pid>.
func (m mapping) link() string {
	return "map_files/" + strconv.FormatUint(m.start, 16) + "-" + strconv.FormatUint(m.end, 16)
}

// findMapping finds the executable mapping of a path, which must be of one file.
func findMapping(proc int, root, path string) (mapping, Reason) {
	maps, err := readFile(proc, "maps", maxMaps)
	if err != nil {
		return mapping{}, reasonOf(err, Gone)
	}
	return parseMaps(maps, root, path)
}

func parseMaps(maps []byte, root, path string) (mapping, Reason) {
	var found mapping
	for line := range bytes.Lines(maps) {
		m, name, ok := parseMapping(string(line))
		if !ok || !samePath(withoutDeleted(name), root, path) {
			continue
		}
		if found.inode != 0 && (found.dev != m.dev || found.inode != m.inode) {
			return mapping{}, Ambiguous
		}
		if found.inode == 0 {
			found = m
		}
	}
	if found.inode == 0 {
		return mapping{}, NotMapped
	}
	return found, ""
}

// parseMapping reads a line as "7f0a-7f0b r-xp 00001000 fe:01 131 /usr/lib/libc.so.6" of an executable file mapping.
func parseMapping(line string) (m mapping, path string, ok bool) {
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
	if len(fields) < 6 || len(fields[1]) != 4 || fields[1][2] != 'x' {
		return mapping{}, "", false
	}
	start, end, _ := strings.Cut(fields[0], "-")
	major, minor, _ := strings.Cut(fields[3], ":")
	var failed error
	number := func(text string, base, bits int) uint64 {
		n, err := strconv.ParseUint(text, base, bits)
		failed = errors.Join(failed, err)
		return n
	}
	m.start, m.end = number(start, 16, 64), number(end, 16, 64)
	m.dev = unix.Mkdev(uint32(number(major, 16, 32)), uint32(number(minor, 16, 32))) //nolint:gosec // parsed as 32 bits
	m.inode = number(fields[4], 10, 64)
	if failed != nil || m.inode == 0 {
		return mapping{}, "", false
	}
	return m, strings.TrimLeft(fields[5], " "), true
}

// openByPath opens a mapped file by its path in the root of the process, for when the mapping itself may not be opened.
// The path must still lead to the mapped device and inode.
func openByPath(proc int, path string, m mapping) (*opened, Reason) {
	module, err := openInRoot(proc, path)
	if err != nil {
		return nil, reasonOf(err, Replaced)
	}
	defer closeFD(module)
	if stat, reason := regular(module); reason != "" {
		return nil, reason
	} else if stat.Dev != m.dev || stat.Ino != m.inode {
		return nil, Replaced
	}
	return reopen(module)
}

// openInRoot resolves a path in the root of the process: no link, and no .., leads out of it.
func openInRoot(proc int, path string) (int, error) {
	root, err := unix.Openat(proc, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer closeFD(root)
	return unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// regular is the status of an open file if that is a regular one.
func regular(fd int) (*unix.Stat_t, Reason) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, reasonOf(err, Unreadable)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, NotRegular
	}
	return &stat, ""
}

// reopen opens for reading what was so far only looked at: a device or pipe is never opened.
func reopen(fd int) (*opened, Reason) {
	if _, reason := regular(fd); reason != "" {
		return nil, reason
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, reasonOf(err, Unreadable)
	}
	id, err := identify(f)
	if err != nil {
		_ = f.Close() // only read
		return nil, Unreadable
	}
	return &opened{f, id}, ""
}

func identify(f *os.File) (fileID, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return fileID{}, err
	}
	return fileID{dev: stat.Dev, inode: stat.Ino, ctime: stat.Ctim.Nano(), size: stat.Size}, nil
}

func reasonOf(err error, otherwise Reason) Reason {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return NotPermitted
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOTDIR):
		return otherwise
	default:
		return Unreadable
	}
}

// readFile reads up to limit bytes of a file below a directory.
func readFile(dir int, name string, limit int64) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, limit))
}

func readlink(dir int, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

func closeFD(fd int) { _ = unix.Close(fd) }
