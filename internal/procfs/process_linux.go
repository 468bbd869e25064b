package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrGone says that the process has ended.
	ErrGone = errors.New("the process has ended")
	// ErrOther says that the pid belongs to a process that began at another time, or the boot was another one.
	ErrOther = errors.New("another process has the pid")
	// ErrMalformed says that a file does not have the form that the kernel gives it.
	ErrMalformed = errors.New("malformed")
	// ErrLimit says that there is more than is read.
	ErrLimit = errors.New("too long")
)

// tick is the unit of times in /proc/<pid>/stat: USER_HZ is 100 on all architectures that matter here.
const tick = 10 * time.Millisecond

// kernelThread is PF_KTHREAD among the flags in /proc/<pid>/stat.
const kernelThread = 0x00200000

const (
	maxStat   = 4 << 10
	maxStatus = 64 << 10 // a list of groups can be long
)

// Start is when a process was forked, in nanoseconds since the boot, suspended time included: start_boottime of its
// first thread, or that in whole ticks, which is what proc says.
type Start int64

// Tick is what proc says of s.
func (s Start) Tick() Start { return s - s%Start(tick) }

// ID is a process, and never another one: a pid comes back, but not within a tick.
type ID struct {
	Boot string // the kernel's boot id
	PID  int
	// Start is exact where the caller knew it, otherwise in whole ticks.
	Start Start
}

// Is reports whether two ids mean the same process, exact or not.
func (id ID) Is(other ID) bool {
	return id.Boot == other.Boot && id.PID == other.PID && id.Start.Tick() == other.Start.Tick()
}

// FS is a proc file system. It is safe for concurrent use.
type FS struct {
	root string
	boot func() (string, error)
	host func() *host

	mounts hostMounts
}

// New returns the proc file system that is mounted at root. It must be that of the host for anything to be called the
// host's.
func New(root string) *FS {
	f := &FS{root: root}
	f.boot = sync.OnceValues(f.readBoot)
	f.host = sync.OnceValue(f.readHost)
	return f
}

// BootID is the kernel's random id of this boot.
func (f *FS) BootID() (string, error) { return f.boot() }

func (f *FS) readBoot() (string, error) {
	b, err := readFile(unix.AT_FDCWD, filepath.Join(f.root, "sys/kernel/random/boot_id"), 64)
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	id := string(bytes.TrimSpace(b))
	if !isUUID(id) {
		return "", fmt.Errorf("boot id: %w", ErrMalformed)
	}
	return id, nil
}

// Process is a handle of a process. It must be closed. It is not safe for concurrent use.
type Process struct {
	fs   *FS
	dir  int
	id   ID
	stat stat

	root       string             // the path of its root for the host, "" until asked for
	namespaces [len(kinds)]uint64 // their numbers, 0 until asked for
}

// Open opens the process that has the pid now.
func (f *FS) Open(pid int) (*Process, error) {
	dir, err := unix.Open(filepath.Join(f.root, strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, gone(err)
	}
	p := &Process{fs: f, dir: dir}
	b, err := readFile(dir, "stat", maxStat)
	if err != nil {
		p.Close()
		return nil, gone(err)
	}
	var ok bool
	if p.stat, ok = parseStat(b); !ok {
		p.Close()
		return nil, fmt.Errorf("stat: %w", ErrMalformed)
	}
	p.id = ID{PID: pid, Start: p.stat.start}
	p.id.Boot, _ = f.boot() // empty when unreadable: such an id is that of no process elsewhere
	return p, nil
}

// Find opens the process that id means, and no other one that has its pid by now. The id of the process is then as
// exact as id.
func (f *FS) Find(id ID) (*Process, error) {
	p, err := f.Open(id.PID)
	if err != nil {
		return nil, err
	}
	if !p.id.Is(id) {
		p.Close()
		return nil, ErrOther
	}
	p.id = id
	return p, nil
}

// Close releases the handle.
func (p *Process) Close() { closeFD(p.dir) }

// ID says which process it is.
func (p *Process) ID() ID { return p.id }

// Parent is the pid of the process that it was a child of when it was opened; 0 if that is outside of the pid namespace
// that proc shows.
func (p *Process) Parent() int { return p.stat.parent }

// Kernel reports whether it is a thread of the kernel, which runs no file.
func (p *Process) Kernel() bool { return p.stat.flags&kernelThread != 0 }

// Ended reports whether it had ended when it was opened, and only waited for its parent to ask.
func (p *Process) Ended() bool { return p.stat.state == 'Z' || p.stat.state == 'X' }

// Status reads who the process is as far as classes are made of it.
func (p *Process) Status() (Status, error) {
	b, err := readFile(p.dir, "status", maxStatus)
	if err != nil {
		return Status{}, gone(err)
	}
	s, ok := parseStatus(b)
	if !ok {
		return Status{}, fmt.Errorf("status: %w", ErrMalformed)
	}
	return s, nil
}

// Root is the path of the process's root directory, from the root of its mount namespace: not / after a chroot.
func (p *Process) Root() (string, error) {
	if p.root == "" {
		root, err := readlink(p.dir, "root")
		if err != nil {
			return "", gone(err)
		}
		p.root = root
	}
	return p.root, nil
}

// inside is a path as the process sees it, given as the kernel tells it to others.
func (p *Process) inside(path string) string {
	root, err := p.Root()
	if err != nil || root == "/" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, root); ok && strings.HasPrefix(rest, "/") {
		return rest
	}
	return path
}

// Executable is the file that a process runs.
type Executable struct {
	// Path is where the process sees it, or would if it still had a name.
	Path string
	// Deleted: it has no name any more, or never had one.
	Deleted bool
}

// Executable reads which file the process runs.
func (p *Process) Executable() (Executable, error) {
	link, err := p.ExecutableLink()
	if err != nil {
		return Executable{}, err
	}
	path := p.inside(link)
	if strings.HasSuffix(path, deletedSuffix) && !p.runs(path) {
		return Executable{Path: WithoutDeleted(path), Deleted: true}, nil
	}
	return Executable{Path: path}, nil
}

// ExecutableLink is the path of the executable as the kernel tells it: from the root of the mount namespace, with
// " (deleted)" appended if it has no name any more.
func (p *Process) ExecutableLink() (string, error) {
	link, err := readlink(p.dir, "exe")
	return link, gone(err)
}

// runs reports whether a path in the root of the process leads to the file that it runs.
func (p *Process) runs(path string) bool {
	exe, err := p.HoldExecutable()
	if err != nil {
		return false
	}
	defer exe.Close()
	same, err := p.Leads(path, exe)
	return err == nil && same
}

// Listing is how a listing went.
type Listing struct {
	// Visited processes, and those that had ended or could not be read before they were visited.
	Visited, Gone, Unreadable int
	// Truncated: there were more than the limit.
	Truncated bool
}

// Each visits the processes there are, up to limit of them, until visit returns false. Threads of the kernel and
// processes that have ended are left out. The handle is closed after the visit. A process that is forked meanwhile may be
// visited or not.
func (f *FS) Each(limit int, visit func(*Process) bool) (Listing, error) {
	var l Listing
	d, err := os.Open(f.root)
	if err != nil {
		return l, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(512)
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return l, err
		}
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil || pid <= 0 {
				continue
			}
			p, err := f.Open(pid)
			switch {
			case errors.Is(err, ErrGone):
				l.Gone++
				continue
			case err != nil:
				l.Unreadable++
				continue
			case p.Kernel() || p.Ended():
				p.Close()
				continue
			case l.Visited >= limit:
				p.Close()
				l.Truncated = true
				return l, nil
			}
			l.Visited++
			more := visit(p)
			p.Close()
			if !more {
				return l, nil
			}
		}
	}
}

// gone adds ErrGone to what the kernel says of a process that has ended.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// stat is what is used of /proc/<pid>/stat.
type stat struct {
	state  byte
	parent int
	flags  uint64
	start  Start
}

func parseStat(b []byte) (s stat, ok bool) {
	// The second field is the name in parentheses, which may itself have spaces and parentheses.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return stat{}, false
	}
	start, err := strconv.ParseInt(string(fields[19]), 10, 64)
	if err != nil || start < 0 || start > 1<<62/int64(tick) {
		return stat{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil || parent < 0 {
		return stat{}, false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	if err != nil {
		return stat{}, false
	}
	return stat{state: fields[0][0], parent: parent, flags: flags, start: Start(start * int64(tick))}, true
}

// Status is what is used of /proc/<pid>/status. Numbers of users are those of the reader's user namespace, and never
// leave: what leaves is their class.
type Status struct {
	// EffectiveUser decides what the process may do to files and other processes.
	EffectiveUser uint32
	// PIDs are its pids, from the pid namespace of the reader to its own.
	PIDs []int
	// Capabilities are the effective ones, bit 1 << number.
	Capabilities    uint64
	HasCapabilities bool
	// NoNewPrivs and Seccomp are -1 where the kernel does not tell.
	NoNewPrivs, Seccomp int
}

// parseStatus needs the users; all else may be missing.
func parseStatus(b []byte) (s Status, ok bool) {
	s.NoNewPrivs, s.Seccomp = -1, -1
	for line := range bytes.Lines(b) {
		name, value, found := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(":"))
		if !found {
			continue
		}
		switch string(name) {
		case "Uid":
			users := bytes.Fields(value)
			if len(users) != 4 {
				return Status{}, false
			}
			effective, err := strconv.ParseUint(string(users[1]), 10, 32)
			if err != nil {
				return Status{}, false
			}
			s.EffectiveUser, ok = uint32(effective), true
		case "NSpid":
			s.PIDs = s.PIDs[:0]
			for _, field := range bytes.Fields(value) {
				pid, err := strconv.Atoi(string(field))
				if err != nil || pid < 0 {
					return Status{}, false
				}
				s.PIDs = append(s.PIDs, pid)
			}
		case "CapEff":
			held, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
			if err != nil {
				return Status{}, false
			}
			s.Capabilities, s.HasCapabilities = held, true
		case "NoNewPrivs":
			s.NoNewPrivs = small(value)
		case "Seccomp":
			s.Seccomp = small(value)
		}
	}
	return s, ok
}

// small is a number of 0 to 9, -1 for anything else.
func small(value []byte) int {
	if value = bytes.TrimSpace(value); len(value) == 1 && value[0] >= '0' && value[0] <= '9' {
		return int(value[0] - '0')
	}
	return -1
}

// readFile reads a file below a directory, which must not be longer than limit.
func readFile(dir int, name string, limit int) ([]byte, error) {
	fd, err := openFile(dir, name)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	return readAll(fd, limit)
}

func readAll(fd, limit int) ([]byte, error) {
	b := make([]byte, 0, min(4096, limit+1))
	for {
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n <= 0:
			return b, nil
		}
		if b = b[:len(b)+n]; len(b) > limit {
			return nil, ErrLimit
		}
		if len(b) == cap(b) {
			b = append(b, make([]byte, len(b))...)[:len(b)]
		}
	}
}

func openFile(dir int, name string) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func readlink(dir int, name string) (string, error) {
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, name, b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// isUUID reports whether s has the form 8-4-4-4-12 in lower-case hexadecimal digits.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if s[i] != '-' {
				return false
			}
		case !isHexDigit(s[i]):
			return false
		}
	}
	return true
}

func isHex(s string, length int) bool {
	if len(s) != length {
		return false
	}
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return false
		}
	}
	return true
}

func isHexDigit(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
