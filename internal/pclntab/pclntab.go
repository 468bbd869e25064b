// Package pclntab reads the function table that the Go linker puts into every executable, stripped or not: names, where
// functions begin and end, source lines, and what was inlined into them. It reads the layouts of Go 1.18 and 1.20 (the
// present one) in 64-bit little-endian ELF files of amd64 and arm64, however they were linked.
//
// Nothing is read whole: tables of hundreds of megabytes take the memory of a small cache. The file may be hostile or change while
// it is read: that gives wrong names or an error, and every loop and size is bounded.
package pclntab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
)

// ErrNotGo is the error of a file that has no function table, so of one that is not from Go.
var ErrNotGo = errors.New("no Go function table in the file")

// ErrUnsupported is the error of a function table of a processor or a version of Go that is not read.
var ErrUnsupported = errors.New("the Go function table is of a kind that is not read")

// ErrMalformed is the error of a function table that contradicts itself or the rest of the file.
var ErrMalformed = errors.New("the Go function table makes no sense")

// ErrLimit is the error of a question with more answers than were asked for.
var ErrLimit = errors.New("more than the limit in the Go function table")

const (
	cacheSize    = 512 << 10
	maxName      = 8 << 10 // bytes of a function's name that are read
	maxFile      = 4 << 10 // bytes of a file's name that are read
	maxFunctions = 1 << 24
	maxSteps     = 1 << 18 // of the program of one function's table
	maxWork      = 1 << 28 // steps of the programs and inlined functions of one question about all functions
	maxInlined   = 1 << 16 // functions inlined into one, counting each place
	maxDepth     = 256     // of inlining
)

// The magic numbers of the table, by the version of Go that introduced it.
const (
	magic12  = 0xfffffffb
	magic116 = 0xfffffffa
	magic118 = 0xfffffff0
	magic120 = 0xfffffff1
)

// Table is the function table of a file. It is not safe for concurrent use.
type Table struct {
	layout *elffile.Layout
	blocks *elffile.Blocks
	r      io.ReaderAt

	modern         bool // Go 1.20 and later
	quantum        uint64
	count          uint64
	start          uint64 // virtual address of the table
	text, textEnd  uint64 // virtual addresses
	funcdata       uint64 // virtual address that offsets of function data begin at, 0 if unknown
	names, units   uint64 // offsets in the file, from here on
	files, values  uint64
	functions, end uint64
}

// Function is an entry of the table.
type Function struct {
	Name string
	// Entry is the virtual address of the function, End that of the next one: there may be padding before it. Offset is that of Entry in the file.
	Entry, End, Offset uint64
	// Info is where the table has more of it.
	Info uint32
}

// Frame is a function that was active at a place of the code.
type Frame struct {
	Name, File string // File is as the compiler wrote it; empty if unknown
	Line       int
	// Inlined is true for a function that was inlined into the next frame.
	Inlined bool
}

// Named is a name of the table, with the functions that bear it. A name without functions is of one that was inlined
// wherever it was called.
type Named struct {
	Name      string
	Functions []Function
	offset    uint32
}

// Open finds the function table of a file of the given size. The reader must stay usable as long as the table is. The
// error is ErrNotGo, ErrUnsupported, ErrMalformed, elffile.ErrNotELF, elffile.ErrLimit, or one of the reader.
func Open(r io.ReaderAt, size int64) (*Table, error) {
	layout, err := elffile.ReadLayout(r, size)
	if err != nil {
		return nil, err
	}
	return OpenLayout(r, size, layout)
}

// OpenLayout is Open for a file of which the layout is known.
func OpenLayout(r io.ReaderAt, size int64, layout *elffile.Layout) (*Table, error) {
	t := &Table{layout: layout, r: r, blocks: elffile.NewBlocks(r, size, cacheSize)}
	var err error
	for start, end := range t.candidates(&err) {
		if found := t.header(start, end); found != nil {
			return nil, found
		}
		return t, t.module()
	}
	if err == nil {
		err = ErrNotGo
	}
	return nil, err
}

// Memory is how many bytes the table's cache may come to hold.
func (t *Table) Memory() int { return t.blocks.Memory() }

// Len is the number of functions.
func (t *Table) Len() int { return int(t.count) } //nolint:gosec // at most maxFunctions

// Text is the range of virtual addresses that has the functions.
func (t *Table) Text() (start, end uint64) { return t.text, t.textEnd }

// header reads the table's header at an offset of the file; the table ends before end.
func (t *Table) header(start, end uint64) error {
	b, err := t.blocks.Bytes(start, 8+8*8)
	if err != nil {
		return err
	}
	switch binary.LittleEndian.Uint32(b) {
	case magic120:
		t.modern = true
	case magic118:
	case magic12, magic116:
		return fmt.Errorf("%w: older than Go 1.18", ErrUnsupported)
	default:
		return ErrMalformed
	}
	t.quantum = uint64(b[6])
	if b[7] != 8 {
		return fmt.Errorf("%w: not 64 bit", ErrUnsupported)
	}
	word := func(n int) uint64 { return binary.LittleEndian.Uint64(b[8+8*n:]) }
	t.count = word(0)
	last := uint64(8 + 8*8)
	for n, to := range map[int]*uint64{3: &t.names, 4: &t.units, 5: &t.files, 6: &t.values, 7: &t.functions} {
		if word(n) < last || word(n) > end-start {
			return ErrMalformed
		}
		*to = start + word(n)
	}
	t.end = end
	ascending := t.names <= t.units && t.units <= t.files && t.files <= t.values && t.values <= t.functions
	if !ascending || t.quantum != 1 && t.quantum != 4 || t.count == 0 || t.count > maxFunctions || t.count*8+4 > end-t.functions {
		return ErrMalformed
	}
	return nil
}

// entry is the n-th line of the list of functions: offset in the text, and where more is. The line behind the last one has the
// end of the text.
func (t *Table) entry(n uint64) (offset, info uint32, err error) {
	size := 8
	if n == t.count {
		size = 4
	}
	b, err := t.blocks.Bytes(t.functions+8*n, size)
	if err != nil {
		return 0, 0, err
	}
	if size == 8 {
		info = binary.LittleEndian.Uint32(b[4:])
	}
	return binary.LittleEndian.Uint32(b), info, nil
}

// record is what the table has of one function, fixed part.
type record struct {
	name, file, line, unit uint32
	tables, data           uint32 // how many of each
	rest                   uint64 // offset in the file of the variable part
}

func (t *Table) record(info uint32) (record, error) {
	size := uint64(40)
	if t.modern {
		size = 44
	}
	at := t.functions + uint64(info)
	if at+size > t.end {
		return record{}, ErrMalformed
	}
	b, err := t.blocks.Bytes(at, int(size)) //nolint:gosec // 40 or 44
	if err != nil {
		return record{}, err
	}
	word := func(n int) uint32 { return binary.LittleEndian.Uint32(b[4*n:]) }
	return record{name: word(1), file: word(5), line: word(6), tables: word(7), unit: word(8), data: uint32(b[size-1]), rest: at + size}, nil
}

// table is the n-th table of a function: its offset among the values, 0 if there is none.
func (t *Table) table(r *record, n uint32) (uint32, error) {
	if n >= r.tables {
		return 0, nil
	}
	return t.word(r.rest + 4*uint64(n))
}

// inlineTree is the virtual address of the list of what was inlined into a function, 0 if there is none.
func (t *Table) inlineTree(r *record) (uint64, error) {
	const tree = 3
	if tree >= r.data || t.funcdata == 0 {
		return 0, nil
	}
	offset, err := t.word(r.rest + 4*uint64(r.tables) + 4*tree)
	if err != nil || offset == math.MaxUint32 {
		return 0, err
	}
	return t.funcdata + uint64(offset), nil
}

func (t *Table) word(offset uint64) (uint32, error) {
	if offset+4 > t.end {
		return 0, ErrMalformed
	}
	b, err := t.blocks.Bytes(offset, 4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (t *Table) name(offset uint32) (string, error) {
	at := t.names + uint64(offset)
	if at >= t.units {
		return "", ErrMalformed
	}
	b, err := t.blocks.Text(at, maxName)
	return string(b), err
}

// function is the n-th function, without its name; false when its code is not where code is.
func (t *Table) function(n uint64) (Function, bool, error) {
	from, info, err := t.entry(n)
	if err != nil {
		return Function{}, false, err
	}
	to, _, err := t.entry(n + 1)
	if err != nil {
		return Function{}, false, err
	}
	f := Function{Entry: t.text + uint64(from), End: t.text + uint64(to), Info: info}
	offset, left, ok := t.layout.Code(f.Entry)
	f.Offset = offset
	return f, ok && f.Entry < f.End && f.End-f.Entry <= left, nil
}

// Functions yields the functions in the order of their addresses. It ends with an error when the table cannot be read.
func (t *Table) Functions() iter.Seq2[Function, error] {
	return func(yield func(Function, error) bool) {
		for n := range t.count {
			f, ok, err := t.function(n)
			if err == nil && ok {
				var r record
				if r, err = t.record(f.Info); err == nil {
					f.Name, err = t.name(r.name)
				}
			}
			if err != nil {
				yield(Function{}, err)
				return
			}
			if ok && !yield(f, nil) {
				return
			}
		}
	}
}

// Lookup is the function at a virtual address, false if there is none.
func (t *Table) Lookup(vaddr uint64) (Function, bool, error) {
	if vaddr < t.text || vaddr >= t.textEnd {
		return Function{}, false, nil
	}
	want := vaddr - t.text
	low, high := uint64(0), t.count // the last line that is not behind want
	for low+1 < high {
		middle := (low + high) / 2
		from, _, err := t.entry(middle)
		if err != nil {
			return Function{}, false, err
		}
		if uint64(from) <= want {
			low = middle
		} else {
			high = middle
		}
	}
	f, ok, err := t.function(low)
	if err != nil || !ok || vaddr < f.Entry || vaddr >= f.End {
		return Function{}, false, err
	}
	r, err := t.record(f.Info)
	if err != nil {
		return Function{}, false, err
	}
	f.Name, err = t.name(r.name)
	return f, err == nil, err
}

// Address is the virtual address of the code at an offset in the file.
func (t *Table) Address(offset uint64) (vaddr uint64, ok bool) { return t.layout.CodeAddress(offset) }

// Match finds the functions whose name, as the linker writes it, match accepts; it may not keep the name. It also finds the names of functions that exist
// inlined only. It stops with ErrLimit, and what was found, at more than limit functions and names. Names come in the
// order of the table, functions in that of their addresses.
func (t *Table) Match(match func(name []byte) bool, limit int) ([]Named, error) {
	var found []Named
	index, cut := map[uint32]int{}, false
	err := t.eachName(func(offset uint32, name []byte) bool {
		if !match(name) {
			return true
		}
		if len(found) >= limit {
			cut = true
			return false
		}
		index[offset] = len(found)
		found = append(found, Named{Name: string(name), offset: offset})
		return true
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	left := limit
	for n := range t.count {
		_, info, err := t.entry(n)
		if err != nil {
			return nil, err
		}
		r, err := t.record(info)
		if err != nil {
			return nil, err
		}
		at, ok := index[r.name]
		if !ok {
			continue
		}
		f, ok, err := t.function(n)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if left--; left < 0 {
			return found, ErrLimit
		}
		f.Name = found[at].Name
		found[at].Functions = append(found[at].Functions, f)
	}
	if cut {
		return found, ErrLimit
	}
	return found, nil
}

// eachName calls do for every name until it returns false.
func (t *Table) eachName(do func(offset uint32, name []byte) bool) error {
	for at := t.names; at < t.units; {
		name, err := t.blocks.Text(at, maxName)
		if err != nil {
			return err
		}
		if len(name) > 0 && at-t.names <= math.MaxUint32 && !do(uint32(at-t.names), name) { //nolint:gosec // checked
			return nil
		}
		at += uint64(len(name)) + 1
	}
	return nil
}
