package pclntab

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
)

// inlineIndex is the number of the table that says, for each place of a function, which inlined function it is of.
const inlineIndex = 2

// program decodes a table of values by address: pairs of how much the value changes and how far it holds.
type program struct {
	t       *Table
	at      uint64 // offset in the file
	view    []byte // of the cache: nothing else may be read meanwhile
	value   int32
	pc      uint64 // the value holds below this address
	started bool
	steps   int
}

func (t *Table) program(table uint32, entry uint64) program {
	return program{t: t, at: t.values + uint64(table), value: -1, pc: entry}
}

func (p *program) varint() (uint32, error) {
	var value uint32
	for shift := 0; shift < 35; shift += 7 {
		if len(p.view) == 0 {
			if p.at >= p.t.functions {
				return 0, ErrMalformed
			}
			var err error
			if p.view, err = p.t.blocks.View(p.at); err != nil {
				return 0, err
			}
		}
		c := p.view[0]
		p.view = p.view[1:]
		p.at++
		value |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return value, nil
		}
	}
	return 0, ErrMalformed
}

// next goes to the next value; false at the end.
func (p *program) next() (bool, error) {
	change, err := p.varint()
	if err != nil || change == 0 && p.started {
		return false, err
	}
	if p.steps++; p.steps > maxSteps {
		return false, ErrMalformed
	}
	p.started = true
	p.value += int32(change>>1) ^ -int32(change&1) //nolint:gosec // zigzag
	length, err := p.varint()
	p.pc += uint64(length) * p.t.quantum
	return err == nil, err
}

// valueAt is the value of a function's table at an address, -1 if there is none.
func (t *Table) valueAt(table uint32, entry, vaddr uint64) (int32, error) {
	if table == 0 {
		return -1, nil
	}
	for p := t.program(table, entry); ; {
		ok, err := p.next()
		if err != nil || !ok {
			return -1, err
		}
		if vaddr < p.pc {
			return p.value, nil
		}
	}
}

// file is the name of a source file of a function's compilation unit.
func (t *Table) file(r *record, number int32) (string, error) {
	if number < 0 {
		return "", nil
	}
	at := t.units + 4*(uint64(r.unit)+uint64(number))
	if at+4 > t.files {
		return "", ErrMalformed
	}
	offset, err := t.word(at)
	if err != nil || offset == math.MaxUint32 {
		return "", err
	}
	if t.files+uint64(offset) >= t.values {
		return "", ErrMalformed
	}
	name, err := t.blocks.Text(t.files+uint64(offset), maxFile)
	return string(name), err
}

// fileLine is the source file and line of an address.
func (t *Table) fileLine(r *record, entry, vaddr uint64) (file string, line int, err error) {
	number, err := t.valueAt(r.file, entry, vaddr)
	if err != nil {
		return "", 0, err
	}
	if file, err = t.file(r, number); err != nil {
		return "", 0, err
	}
	value, err := t.valueAt(r.line, entry, vaddr)
	return file, max(int(value), 0), err
}

// Frames are the functions that are active at the instruction at a virtual address, innermost first: those that were
// inlined there, and last the function that has the instruction. None if there is no function. For a return address ask
// for the byte before it.
//
// Compilers leave out who called an inlined function when that has no instruction of its own; then the frames between it
// and the last are missing, and the last has no file and line.
func (t *Table) Frames(vaddr uint64) ([]Frame, error) {
	f, ok, err := t.Lookup(vaddr)
	if err != nil || !ok {
		return nil, err
	}
	r, err := t.record(f.Info)
	if err != nil {
		return nil, err
	}
	tree, err := t.inlineTree(&r)
	if err != nil {
		return nil, err
	}
	index := uint32(0)
	if tree != 0 {
		if index, err = t.table(&r, inlineIndex); err != nil {
			return nil, err
		}
	}
	var frames []Frame
	var seen []int32
	for {
		frame := Frame{Name: f.Name}
		if frame.File, frame.Line, err = t.fileLine(&r, f.Entry, vaddr); err != nil {
			return nil, err
		}
		number, err := t.valueAt(index, f.Entry, vaddr)
		if err != nil {
			return nil, err
		}
		if number < 0 {
			return append(frames, frame), nil
		}
		if slices.Contains(seen, number) {
			return append(frames, Frame{Name: f.Name}), nil
		}
		seen = append(seen, number)
		name, call, err := t.inlined(tree, uint64(number))
		if err != nil {
			return nil, err
		}
		if frame.Name, err = t.name(name); err != nil {
			return nil, err
		}
		frame.Inlined = true
		frames = append(frames, frame)
		if vaddr = f.Entry + uint64(call); vaddr >= f.End || len(frames) >= maxDepth {
			return nil, ErrMalformed
		}
	}
}

// inlined is the n-th function of a tree: its name, and how far from the entry the place is that called it.
func (t *Table) inlined(tree, n uint64) (name, call uint32, err error) {
	size, at := uint64(20), 12
	if t.modern {
		size, at = 16, 4
	}
	offset, left, ok := t.layout.FileOffset(tree + n*size)
	if !ok || left < size {
		return 0, 0, ErrMalformed
	}
	b, err := t.blocks.Bytes(offset, int(size)) //nolint:gosec // 16 or 20
	if err != nil {
		if errors.Is(err, elffile.ErrNotELF) {
			err = ErrMalformed
		}
		return 0, 0, err
	}
	return binary.LittleEndian.Uint32(b[at:]), binary.LittleEndian.Uint32(b[at+4:]), nil
}

// Inlining reports whether the table can tell what was inlined.
func (t *Table) Inlining() bool { return t.funcdata != 0 }

// Inlined counts for each of the names, which Match gave, the functions that it was inlined into. It reads the whole
// table. The error is ErrUnsupported if Inlining is false.
func (t *Table) Inlined(names []Named) ([]int, error) {
	if !t.Inlining() {
		return nil, ErrUnsupported
	}
	index := make(map[uint32]int, len(names))
	for i := range names {
		index[names[i].offset] = i
	}
	counts, seen := make([]int, len(names)), make([]uint64, len(names))
	work := 0
	for n := range t.count {
		from, info, err := t.entry(n)
		if err != nil {
			return nil, err
		}
		r, err := t.record(info)
		if err != nil {
			return nil, err
		}
		tree, err := t.inlineTree(&r)
		if err != nil {
			return nil, err
		}
		table, err := t.table(&r, inlineIndex)
		if err != nil {
			return nil, err
		}
		if tree == 0 || table == 0 {
			continue
		}
		last, steps, err := t.greatest(table, t.text+uint64(from))
		if err != nil {
			return nil, err
		}
		if work += steps + int(last) + 1; work > maxWork {
			return nil, ErrMalformed
		}
		for i := range last + 1 {
			name, _, err := t.inlined(tree, uint64(i)) //nolint:gosec // not negative
			if err != nil {
				return nil, err
			}
			if at, ok := index[name]; ok && seen[at] != n+1 {
				seen[at] = n + 1
				counts[at]++
			}
		}
	}
	return counts, nil
}

// InlinedInto are the names of the functions that were inlined into a function, directly or not, sorted.
func (t *Table) InlinedInto(f *Function) ([]string, error) {
	r, err := t.record(f.Info)
	if err != nil {
		return nil, err
	}
	tree, err := t.inlineTree(&r)
	if err != nil || tree == 0 {
		return nil, err
	}
	table, err := t.table(&r, inlineIndex)
	if err != nil || table == 0 {
		return nil, err
	}
	last, _, err := t.greatest(table, f.Entry)
	if err != nil {
		return nil, err
	}
	seen := map[uint32]bool{}
	var found []string
	for i := range last + 1 {
		offset, _, err := t.inlined(tree, uint64(i)) //nolint:gosec // not negative
		if err != nil {
			return nil, err
		}
		if seen[offset] {
			continue
		}
		seen[offset] = true
		name, err := t.name(offset)
		if err != nil {
			return nil, err
		}
		found = append(found, name)
	}
	slices.Sort(found)
	return found, nil
}

// greatest is the greatest value of a table, -1 if there is none, and how many values there are.
func (t *Table) greatest(table uint32, entry uint64) (greatest int32, steps int, err error) {
	greatest = -1
	for p := t.program(table, entry); ; {
		ok, err := p.next()
		if err != nil || !ok {
			return greatest, p.steps, err
		}
		if greatest = max(greatest, p.value); greatest > maxInlined {
			return 0, 0, ErrMalformed
		}
	}
}

// Generated reports whether the compiler made the function: a wrapper that calls another or has it inlined.
func (t *Table) Generated(f *Function) (bool, error) {
	r, err := t.record(f.Info)
	if err != nil {
		return false, err
	}
	number, err := t.valueAt(r.file, f.Entry, f.Entry)
	if err != nil {
		return false, err
	}
	name, err := t.file(&r, number)
	return name == "<autogenerated>", err
}
