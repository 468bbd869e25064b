package procfs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotMapped says that nothing is mapped there any more.
	ErrNotMapped = errors.New("not mapped")
	// ErrReplaced says that another file is mapped there, or has the path, by now.
	ErrReplaced = errors.New("another file by now")
	// ErrNotRegular says that it is a device, a pipe or a directory, which is not opened.
	ErrNotRegular = errors.New("not a regular file")
)

const (
	// maxMaps is how much of /proc/<pid>/maps is read, maxMapsLine how long a line may be.
	maxMaps     = 8 << 20
	maxMapsLine = 32 << 10
)

// File is a regular file that is open for reading.
type File struct {
	*os.File
	ID FileID
}

// Mapping is a range of executable memory and the file behind it.
type Mapping struct {
	Start, End uint64
	Offset     uint64 // of Start in the file
	// Dev and Inode are as maps says: some file systems (overlayfs, btrfs) have another device in stat.
	Dev, Inode uint64
	// Path is where the process sees the file, or would if it still had a name.
	Path string
	// Deleted: the file has no name any more. That it never had one, or a name that ends like this, cannot be told apart.
	Deleted bool
}

// link is the name of the mapping below /proc/<pid>.
func (m *Mapping) link() string {
	return "map_files/" + strconv.FormatUint(m.Start, 16) + "-" + strconv.FormatUint(m.End, 16)
}

// Mappings reads the executable mappings of files, by address. After an error, which is ErrLimit when there were more than
// are read, nothing follows.
func (p *Process) Mappings() iter.Seq2[Mapping, error] {
	return func(yield func(Mapping, error) bool) {
		fd, err := openFile(p.dir, "maps")
		if err != nil {
			yield(Mapping{}, gone(err))
			return
		}
		f := os.NewFile(uintptr(fd), "maps")
		defer f.Close()
		for m, err := range parseMaps(f) {
			if err != nil {
				yield(Mapping{}, gone(err))
				return
			}
			m.Path = p.inside(m.Path)
			if !yield(m, nil) {
				return
			}
		}
	}
}

// parseMaps passes over what it does not understand.
func parseMaps(r io.Reader) iter.Seq2[Mapping, error] {
	return func(yield func(Mapping, error) bool) {
		limited := &io.LimitedReader{R: r, N: maxMaps}
		lines := bufio.NewScanner(limited)
		lines.Buffer(make([]byte, 4096), maxMapsLine)
		for lines.Scan() {
			if limited.N <= 0 {
				break // the last line may be cut
			}
			if m, ok := parseMapping(lines.Bytes()); ok && !yield(m, nil) {
				return
			}
		}
		err := lines.Err()
		if errors.Is(err, bufio.ErrTooLong) || err == nil && limited.N <= 0 {
			err = ErrLimit
		}
		if err != nil {
			yield(Mapping{}, err)
		}
	}
}

// parseMapping reads a line as "7f0a-7f0b r-xp 00001000 fe:01 131 /usr/lib/libc.so.6" of an executable file mapping.
func parseMapping(line []byte) (m Mapping, ok bool) {
	addresses, rest, _ := bytes.Cut(line, space)
	if len(rest) < 5 || rest[2] != 'x' || rest[4] != ' ' {
		return Mapping{}, false
	}
	offset, rest, _ := bytes.Cut(rest[5:], space)
	device, rest, _ := bytes.Cut(rest, space)
	inode, path, ok := bytes.Cut(rest, space)
	start, end, ranged := bytes.Cut(addresses, []byte("-"))
	major, minor, devised := bytes.Cut(device, []byte(":"))
	if !ok || !ranged || !devised {
		return Mapping{}, false
	}
	number := func(text []byte, base, bits int) uint64 {
		n, err := strconv.ParseUint(string(text), base, bits)
		ok = ok && err == nil
		return n
	}
	m.Start, m.End, m.Offset = number(start, 16, 64), number(end, 16, 64), number(offset, 16, 64)
	m.Dev = unix.Mkdev(uint32(number(major, 16, 32)), uint32(number(minor, 16, 32))) //nolint:gosec // parsed as 32 bits
	m.Inode = number(inode, 10, 64)
	if !ok || m.Inode == 0 || m.Start >= m.End {
		return Mapping{}, false
	}
	m.Path = string(bytes.TrimLeft(path, " "))
	if strings.HasSuffix(m.Path, deletedSuffix) {
		m.Path, m.Deleted = WithoutDeleted(m.Path), true
	}
	return m, m.Path != ""
}

var space = []byte(" ")

// OpenMapping opens a mapped file: through the mapping itself, which no path can lead astray, or, where that is not
// permitted, by its path in the root of the process if that still leads to the mapped device and inode.
func (p *Process) OpenMapping(m Mapping) (*File, error) {
	fd, err := unix.Openat(p.dir, m.link(), unix.O_PATH|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return p.openByPath(m)
	case errors.Is(err, unix.ENOENT):
		return nil, ErrNotMapped
	case err != nil:
		return nil, gone(err)
	}
	defer closeFD(fd)
	// The device may differ here. The file is the mapped one by construction; the inode tells that the range was not
	// mapped anew in between.
	if stat, err := regular(fd); err != nil {
		return nil, err
	} else if stat.Ino != m.Inode {
		return nil, ErrReplaced
	}
	return reopen(fd)
}

func (p *Process) openByPath(m Mapping) (*File, error) {
	fd, err := p.openInRoot(m.Path)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, ErrReplaced
	case err != nil:
		return nil, gone(err)
	}
	defer closeFD(fd)
	if stat, err := regular(fd); err != nil {
		return nil, err
	} else if stat.Dev != m.Dev || stat.Ino != m.Inode {
		return nil, ErrReplaced
	}
	return reopen(fd)
}

// Held is a file that is not open for reading. It stays the same file whatever becomes of its name. It must be closed.
type Held struct{ fd int }

// Close releases the file.
func (h *Held) Close() { closeFD(h.fd) }

// Open opens the file for reading.
func (h *Held) Open() (*File, error) { return reopen(h.fd) }

// HoldExecutable holds the file that the process runs, by whatever path, or none.
func (p *Process) HoldExecutable() (*Held, error) {
	fd, err := unix.Openat(p.dir, "exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, gone(err)
	}
	return &Held{fd}, nil
}

// ExecutableID tells the file that the process runs from all others, without its generation.
func (p *Process) ExecutableID() (FileID, error) {
	var stat unix.Stat_t
	if err := unix.Fstatat(p.dir, "exe", &stat, 0); err != nil {
		return FileID{}, gone(err)
	}
	return identify(&stat), nil
}

// OpenExecutable opens the file that the process runs.
func (p *Process) OpenExecutable() (*File, error) {
	h, err := p.HoldExecutable()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.Open()
}

// Leads reports whether a path leads, in the root of the process, to the file that is held.
func (p *Process) Leads(path string, to *Held) (bool, error) {
	held, err := regular(to.fd)
	if err != nil {
		return false, err
	}
	named, err := p.openInRoot(path)
	if err != nil {
		return false, nil
	}
	defer closeFD(named)
	stat, err := regular(named)
	return err == nil && stat.Dev == held.Dev && stat.Ino == held.Ino, nil
}

// openInRoot resolves a path in the root of the process: no link, and no .., leads out of it.
func (p *Process) openInRoot(path string) (int, error) {
	root, err := p.openRoot()
	if err != nil {
		return -1, err
	}
	defer closeFD(root)
	return resolve(root, path, unix.O_PATH)
}

// OpenInRoot opens a regular file by its path in the root of the process.
func (p *Process) OpenInRoot(path string) (*File, error) {
	fd, err := p.openInRoot(path)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	return reopen(fd)
}

func (p *Process) openRoot() (int, error) {
	root, err := unix.Openat(p.dir, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return root, gone(err)
}

// resolve opens a path below a root, and follows no link out of it.
func resolve(root int, path string, flags uint64) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// regular is the status of an open file if that is a regular one.
func regular(fd int) (*unix.Stat_t, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, ErrNotRegular
	}
	return &stat, nil
}

// reopen opens for reading what was so far only looked at: a device or pipe is never opened.
func reopen(fd int) (*File, error) {
	if _, err := regular(fd); err != nil {
		return nil, err
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	id, err := Identify(f)
	if err != nil {
		_ = f.Close() // only read
		return nil, err
	}
	return &File{f, id}, nil
}

// getVersion is FS_IOC_GETVERSION: _IOR('v', 1, long).
const getVersion = 2<<30 | strconv.IntSize/8<<16 | 'v'<<8 | 1

// Identify says which file is open.
func Identify(f *os.File) (FileID, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return FileID{}, err
	}
	id := identify(&stat)
	// File systems write 32 bits, whatever the size in the request says.
	if generation, err := unix.IoctlGetUint32(int(f.Fd()), getVersion); err == nil {
		id.Generation, id.HasGeneration = generation, true
	}
	return id, nil
}

func identify(stat *unix.Stat_t) FileID {
	return FileID{Dev: stat.Dev, Inode: stat.Ino, Ctime: stat.Ctim.Nano(), Size: stat.Size}
}

func closeFD(fd int) { _ = unix.Close(fd) }
