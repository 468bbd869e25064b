// Package symbolize names the code at an offset of a file: the function, and for Go what was inlined there. What no
// symbol contains stays unknown; it never gets the name of the nearest one.
//
// Frames have symbols as linkers write them, which canonicalization reads, and no addresses.
package symbolize

import (
	"cmp"
	"container/list"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/internal/pclntab"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// The values of witness.Frame.SymbolSource that frames have here.
const (
	SourceGo     = "pclntab"
	SourceSymtab = "symtab" // .symtab, or .dynsym if that has no functions
)

// File is an open file; *os.File is one.
type File interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// Options bound a Cache. Zero values are the defaults: 64 files, 64 MiB.
type Options struct {
	MaxFiles int // kept open
	MaxBytes int // of tables, estimated; one file alone may have more: up to 25 MiB
}

// Stats are counters of a Cache, and what it has now.
type Stats struct {
	Hits, Misses, Evictions uint64 // by file
	Named, Unknown          uint64 // by offset
	Files, Bytes            int
}

const (
	maxSymbols  = 1 << 20   // of one file
	namesCache  = 512 << 10 // bytes of a file's symbol names
	fileMemory  = 64 << 10  // bytes of headers and the rest, as an estimate
	symbolBytes = 16
	maxBack     = 64 // symbols looked at for one that contains an address
	maxSame     = 16 // symbols at one address
	// sharedConfidence is the confidence in a name that is one of several of the same code.
	sharedConfidence = 0.5
)

// Cache keeps the tables of the files that were asked for last. It is safe for concurrent use; one question is answered at a time.
type Cache[K comparable] struct {
	mu      sync.Mutex
	o       Options
	entries map[K]*list.Element
	order   *list.List // of *entry[K], last used first
	stats   Stats
}

type entry[K comparable] struct {
	key   K
	table *table
}

// New is an empty cache. Close it to close the files.
func New[K comparable](o Options) *Cache[K] {
	if o.MaxFiles <= 0 {
		o.MaxFiles = 64
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 64 << 20
	}
	return &Cache[K]{o: o, entries: map[K]*list.Element{}, order: list.New()}
}

// Frames are the functions active at an offset of a file, innermost first: at least one, which has only the offset if the
// function is unknown. returned says that the offset is a return address, so that the call before it is meant. The key
// identifies the contents of the file, as device, inode and time of change do; open is called when it is not in the cache, and the
// cache closes what it gives.
//
// Each frame has Offset, and if the function is known Symbol (raw), Language and SymbolSource; Go's have File, Line and Inlined too. Module is left to
// the caller. An error is one of open or of reading the file; the frame is unknown then.
func (c *Cache[K]) Frames(key K, open func() (File, error), offset uint64, returned bool) ([]witness.Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames, err := c.frames(key, open, offset, returned)
	if len(frames) > 0 {
		c.stats.Named++
	} else {
		c.stats.Unknown++
		frames = []witness.Frame{{}}
	}
	for i := range frames {
		frames[i].Offset, frames[i].HasOffset = offset, true
	}
	return frames, err
}

func (c *Cache[K]) frames(key K, open func() (File, error), offset uint64, returned bool) ([]witness.Frame, error) {
	element, ok := c.entries[key]
	if ok {
		c.stats.Hits++
		c.order.MoveToFront(element)
	} else {
		c.stats.Misses++
		f, err := open()
		if err != nil {
			return nil, err
		}
		t, err := newTable(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		element = c.order.PushFront(&entry[K]{key, t})
		c.entries[key] = element
		c.stats.Bytes += t.memory
	}
	t := element.Value.(*entry[K]).table
	before := t.memory
	if returned {
		if offset == 0 {
			return nil, nil
		}
		offset--
	}
	frames, err := t.frames(offset)
	c.stats.Bytes += t.memory - before
	for c.order.Len() > 1 && (c.order.Len() > c.o.MaxFiles || c.stats.Bytes > c.o.MaxBytes) {
		c.remove(c.order.Back())
		c.stats.Evictions++
	}
	return frames, err
}

func (c *Cache[K]) remove(element *list.Element) {
	e := c.order.Remove(element).(*entry[K])
	delete(c.entries, e.key)
	c.stats.Bytes -= e.table.memory
	_ = e.table.f.Close() // it was only read
}

// Close forgets and closes all files. The cache can still be used.
func (c *Cache[K]) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.order.Len() > 0 {
		c.remove(c.order.Back())
	}
}

// Stats are the counters as of now.
func (c *Cache[K]) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Files = c.order.Len()
	return s
}

// table is what is known of a file.
type table struct {
	f      File
	size   int64
	layout *elffile.Layout // nil if it is no ELF file
	goPart *pclntab.Table
	memory int

	loaded  bool
	symbols []span // by start; sizes are not 0
	names   *elffile.SymbolTable
	source  string
}

// span is a function of a symbol table.
type span struct {
	start      uint64
	size, name uint32
}

// newTable reads what is needed to look for Go functions. The error is one of reading; a file that makes no sense has nothing.
func newTable(f File) (*table, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t := &table{f: f, size: info.Size(), memory: fileMemory}
	t.layout, err = elffile.ReadLayout(f, t.size)
	if err != nil || !t.layout.Wide {
		t.layout = nil
		return t, senseless(err)
	}
	t.goPart, err = pclntab.OpenLayout(f, t.size, t.layout)
	if err != nil {
		t.goPart = nil
		return t, senseless(err)
	}
	t.memory += t.goPart.Memory()
	return t, nil
}

// senseless swallows the errors of files that say nothing.
func senseless(err error) error {
	for _, ignored := range []error{elffile.ErrNotELF, elffile.ErrLimit, pclntab.ErrNotGo, pclntab.ErrUnsupported, pclntab.ErrMalformed} {
		if errors.Is(err, ignored) {
			return nil
		}
	}
	return err
}

func (t *table) frames(offset uint64) ([]witness.Frame, error) {
	if t.layout == nil {
		return nil, nil
	}
	vaddr, ok := t.layout.CodeAddress(offset)
	if !ok {
		return nil, nil
	}
	if t.goPart != nil {
		found, err := t.goPart.Frames(vaddr)
		if err = senseless(err); err != nil {
			return nil, err
		}
		if frames := goFrames(found); len(frames) > 0 {
			return frames, nil
		}
	}
	return t.native(vaddr)
}

// goFrames are the frames of Go's table; none if the function itself has no name that is one.
func goFrames(found []pclntab.Frame) []witness.Frame {
	frames := make([]witness.Frame, 0, len(found))
	for i := range found {
		f := &found[i]
		s, ok := symbol.Canonical(f.Name, symbol.Go)
		if !ok {
			if f.Inlined {
				continue
			}
			return nil
		}
		frame := witness.Frame{
			Symbol: f.Name, Language: s.Language, SymbolSource: SourceGo, File: f.File, Line: f.Line, Inlined: f.Inlined,
		}
		if f.File == "<autogenerated>" {
			// The compiler made it to call the function that it is named like.
			frame.Flags, frame.File, frame.Line = []string{symbol.FlagThunk}, "", 0
		}
		frames = append(frames, frame)
	}
	return frames
}

// native is the function of a symbol table that has the code at a virtual address.
func (t *table) native(vaddr uint64) ([]witness.Frame, error) {
	if err := t.load(); err != nil {
		return nil, err
	}
	// The first one that begins behind it; none compares equal.
	at, _ := slices.BinarySearchFunc(t.symbols, vaddr, func(s span, vaddr uint64) int {
		if s.start <= vaddr {
			return -1
		}
		return 1
	})
	var best symbol.Symbol
	var raw string
	shared := false
	start, same := uint64(0), 0
	for back := 1; back <= min(at, maxBack); back++ {
		s := t.symbols[at-back]
		if raw != "" && s.start != start || same == maxSame {
			break
		}
		if vaddr-s.start >= uint64(s.size) {
			continue
		}
		name, err := t.names.Name(&elffile.Symbol{Name: s.name}, symbol.MaxRaw+1)
		if err = senseless(err); err != nil {
			return nil, err
		}
		same++
		text := string(name)
		c, ok := symbol.Canonical(text, "")
		if !ok {
			continue
		}
		if raw != "" && c.Name != best.Name {
			shared = true
		}
		if start = s.start; raw == "" || plainer(text, raw) {
			best, raw = c, text
		}
	}
	if raw == "" {
		return nil, nil
	}
	frame := witness.Frame{Symbol: raw, Language: best.Language, SymbolSource: t.source}
	if shared {
		frame.Confidence = min(sharedConfidence, best.Confidence)
	}
	return []witness.Frame{frame}, nil
}

// plainer orders the names of one function: fewer underscores in front, then shorter.
func plainer(a, b string) bool {
	underscores := func(s string) int { return len(s) - len(strings.TrimLeft(s, "_")) }
	switch ua, ub := underscores(a), underscores(b); {
	case ua != ub:
		return ua < ub
	case len(a) != len(b):
		return len(a) < len(b)
	}
	return a < b
}

// load reads the symbol table, once: .symtab, or .dynsym if that has no functions.
func (t *table) load() error {
	if t.loaded {
		return nil
	}
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		names := t.layout.SymbolTable(t.f, kind, namesCache)
		if names == nil {
			continue
		}
		var symbols []span
		if err := senseless(names.Each(func(s *elffile.Symbol) bool {
			if _, _, ok := t.layout.Code(s.Value); ok && s.Defined() && s.Size > 0 {
				symbols = append(symbols, span{s.Value, uint32(min(s.Size, 1<<32-1)), s.Name}) //nolint:gosec // bounded
			}
			return len(symbols) < maxSymbols
		})); err != nil {
			return err
		}
		if len(symbols) == 0 {
			continue
		}
		slices.SortFunc(symbols, func(a, b span) int {
			switch {
			case a.start != b.start:
				return cmp.Compare(a.start, b.start)
			case a.size != b.size:
				return cmp.Compare(b.size, a.size) // the smaller one is looked at first
			}
			return cmp.Compare(a.name, b.name)
		})
		t.symbols, t.names, t.source = slices.Clip(symbols), names, SourceSymtab
		t.memory += len(symbols)*symbolBytes + names.Memory()
		break
	}
	t.loaded = true
	return nil
}
