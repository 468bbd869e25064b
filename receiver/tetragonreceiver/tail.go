package tetragonreceiver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxLine bounds a line of the file, in bytes. Tetragon's largest events have some 50 kB.
	maxLine = 1 << 20
	// maxHead is how much of the first line identifies a file, in bytes.
	maxHead = 4096
)

// errOversized is the error of a line longer than maxLine. The lines behind it can be read.
var errOversized = errors.New("the line is too long")

// tail reads the lines of one file.
type tail struct {
	path     string
	file     *os.File
	reader   io.Reader
	gzipped  bool
	identity string // empty while the first line is not complete
	// offset is where the next line starts, in the uncompressed file.
	offset int64
	// pending is what was read of the next line and of those behind it; scanned is how much of it has no line end.
	pending []byte
	scanned int
	// skipping says that the next line is oversized and its start was thrown away; skipped is how much.
	skipping bool
	skipped  int64
}

// openTail opens a file at its beginning.
func openTail(path string) (*tail, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &tail{path: path, file: file, reader: file}
	magic := make([]byte, 2)
	if n, _ := file.ReadAt(magic, 0); n == 2 && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		t.gzipped = true
		if t.reader, err = gzip.NewReader(bufio.NewReader(file)); err != nil {
			return nil, errors.Join(fmt.Errorf("read gzip: %w", err), file.Close())
		}
	}
	if !t.gzipped {
		t.identity = headIdentity(io.NewSectionReader(file, 0, maxHead))
	} else if t.identity, err = gzipIdentity(path); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

func gzipIdentity(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	reader, err := gzip.NewReader(file)
	if err != nil {
		return "", fmt.Errorf("read gzip: %w", err)
	}
	return headIdentity(reader), nil
}

// headIdentity identifies a file by the start of its first line, which holds a process and a time; so the same file is
// known again under another name, compressed, or on another disk. It is empty while the line is not complete.
func headIdentity(reader io.Reader) string {
	head := make([]byte, maxHead)
	n, _ := io.ReadFull(reader, head)
	head = head[:n]
	if end := bytes.IndexByte(head, '\n'); end >= 0 {
		head = head[:end]
	} else if n < maxHead {
		return ""
	}
	digest := sha256.Sum256(head)
	return hex.EncodeToString(digest[:16])
}

// seek moves to an offset, and reports whether the file is that long.
func (t *tail) seek(offset int64) (bool, error) {
	if t.gzipped {
		n, err := io.CopyN(io.Discard, t.reader, offset)
		t.offset = n
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return err == nil, err
	}
	info, err := t.file.Stat()
	if err != nil || info.Size() < offset {
		return false, err
	}
	t.offset, err = t.file.Seek(offset, io.SeekStart)
	return err == nil, err
}

// seekEnd moves behind the last complete line.
func (t *tail) seekEnd() error {
	size, err := t.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	block := make([]byte, 64<<10)
	for size > 0 {
		n := min(size, int64(len(block)))
		if _, err := t.file.ReadAt(block[:n], size-n); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if end := bytes.LastIndexByte(block[:n], '\n'); end >= 0 {
			size += int64(end) + 1 - n
			break
		}
		size -= n
	}
	_, err = t.seek(size)
	return err
}

// next returns the next complete line without its end, and where it starts. The line is valid until the next call.
// io.EOF: there is none yet. errOversized: it was skipped.
func (t *tail) next() ([]byte, int64, error) {
	for {
		if end := bytes.IndexByte(t.pending[t.scanned:], '\n'); end >= 0 {
			end += t.scanned
			line, start := t.pending[:end], t.offset
			t.pending, t.scanned = t.pending[end+1:], 0
			t.offset += t.skipped + int64(end) + 1
			skipping := t.skipping || end > maxLine
			t.skipping, t.skipped = false, 0
			if skipping {
				return nil, start, errOversized
			}
			return line, start, nil
		}
		t.scanned = len(t.pending)
		if t.scanned > maxLine {
			t.skip()
		}
		if err := t.fill(); err != nil {
			return nil, t.offset, err
		}
	}
}

// rest returns what stands behind the last line end when the file will not grow any more; nil when nothing does.
func (t *tail) rest() ([]byte, int64, error) {
	line, start, skipping := t.pending, t.offset, t.skipping
	t.offset += t.skipped + int64(len(line))
	t.pending, t.scanned, t.skipping, t.skipped = nil, 0, false, 0
	if skipping {
		return nil, start, errOversized
	}
	return line, start, nil
}

// skip throws away what was read of an oversized line.
func (t *tail) skip() {
	t.skipped += int64(len(t.pending))
	t.skipping = true
	t.pending, t.scanned = t.pending[:0], 0
}

// fill reads more.
func (t *tail) fill() error {
	const chunk = 64 << 10
	if cap(t.pending)-len(t.pending) < chunk {
		t.pending = append(make([]byte, 0, 2*len(t.pending)+chunk), t.pending...)
	}
	n, err := t.reader.Read(t.pending[len(t.pending):cap(t.pending)])
	t.pending = t.pending[:len(t.pending)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.EOF
	}
	return err
}

// replaced reports whether the file, still open, has been truncated or written anew.
func (t *tail) replaced() (bool, error) {
	info, err := t.file.Stat()
	if err != nil {
		return false, err
	}
	head := headIdentity(io.NewSectionReader(t.file, 0, maxHead))
	switch {
	case info.Size() < t.offset+t.skipped+int64(len(t.pending)):
		return true, nil
	case t.identity == "":
		t.identity = head
		return false, nil
	default:
		return head != t.identity, nil
	}
}

// identify completes the identity once the first line is there.
func (t *tail) identify() {
	if t.identity == "" && !t.gzipped {
		t.identity = headIdentity(io.NewSectionReader(t.file, 0, maxHead))
	}
}

// uid is the identity of the event at an offset: the same line has the same one whenever and wherever it is read.
func (t *tail) uid(offset int64) string {
	digest := sha256.Sum256([]byte(t.identity + ":" + strconv.FormatInt(offset, 10)))
	return hex.EncodeToString(digest[:16])
}

func (t *tail) close() error { return t.file.Close() }

// rotatedFile is a file that the export file once was.
type rotatedFile struct {
	path     string
	modified time.Time
}

// rotated lists the files that path was before, oldest first: tetragon-2026-11-22T16-37-05.235.log as Tetragon names
// them, or tetragon.log.1, each also with .gz.
func rotated(path string) ([]rotatedFile, error) {
	name := filepath.Base(path)
	extension := filepath.Ext(name)
	stem := regexp.QuoteMeta(strings.TrimSuffix(name, extension))
	pattern, err := regexp.Compile(`^(` + stem + `-\d{4}-\d\d-\d\dT[0-9.-]+` + regexp.QuoteMeta(extension) + `|` + regexp.QuoteMeta(name) + `\.\d+)(\.gz)?$`)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var files []rotatedFile
	for _, entry := range entries {
		if !pattern.MatchString(entry.Name()) || !entry.Type().IsRegular() {
			continue
		}
		if info, err := entry.Info(); err == nil {
			files = append(files, rotatedFile{filepath.Join(filepath.Dir(path), entry.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b rotatedFile) int {
		if c := a.modified.Compare(b.modified); c != 0 {
			return c
		}
		return strings.Compare(a.path, b.path)
	})
	return files, nil
}
