package pclntab

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
)

const (
	chunkSize  = 64 << 10
	maxScan    = 1 << 30 // bytes searched for a table that no section names
	maxModules = 16      // places that may be the module's description
	maxRelocs  = 1 << 30 // bytes of relocations
)

// sections are the names of the table's section.
var sections = []string{".gopclntab", ".data.rel.ro.gopclntab"}

// candidates yields where in the file a function table can begin and must have ended: that of the section of its name, else places with
// its magic number. Linkers put the table of position-independent programs of older versions into a section with others; then
// and in files without section headers the table must be searched for.
func (t *Table) candidates(failed *error) iter.Seq2[uint64, uint64] {
	return func(yield func(start, end uint64) bool) {
		if machine := t.layout.Machine; !t.layout.Wide || t.layout.Order != binary.LittleEndian || machine != elf.EM_X86_64 && machine != elf.EM_AARCH64 {
			*failed = t.foreign()
			return
		}
		for _, name := range sections {
			if s := t.layout.Section(name); s != nil {
				t.start = s.Vaddr
				yield(s.Offset, s.Offset+s.Size)
				return
			}
		}
		if len(t.layout.Sections) > 0 && t.layout.Section(".go.buildinfo") == nil && t.layout.Section(".note.go.buildid") == nil {
			return
		}
		left := uint64(maxScan)
		for s := range t.layout.Loaded() {
			if s.Flags&elf.PF_X != 0 {
				continue
			}
			start, err := t.search(s, &left)
			if err != nil {
				*failed = err
				return
			}
			if start != 0 {
				t.start = s.Vaddr + start - s.Offset
				yield(start, s.Offset+s.Size)
				return
			}
		}
	}
}

// foreign is the error of a file of another processor: that it has a table is told by the section's name only.
func (t *Table) foreign() error {
	for _, name := range sections {
		if t.layout.Section(name) != nil {
			return fmt.Errorf("%w: %v", ErrUnsupported, t.layout.Machine)
		}
	}
	return ErrNotGo
}

// search is the offset in the file of the first header of a function table in a segment, 0 if there is none.
func (t *Table) search(s *elffile.Segment, left *uint64) (uint64, error) {
	const header = 72
	chunk := make([]byte, chunkSize+header)
	for at := uint64(0); at < s.Size && *left > 0; at += chunkSize {
		b := chunk[:min(uint64(len(chunk)), s.Size-at)]
		if err := read(t.r, b, s.Offset+at); err != nil {
			return 0, err
		}
		*left -= min(*left, chunkSize)
		for from := 0; ; from++ {
			next := bytes.Index(b[from:], []byte{0xff, 0xff, 0xff, 0, 0})
			if next < 0 {
				break
			}
			from += next
			start := from - 1
			if start < 0 || len(b)-start < header || start >= chunkSize || (s.Vaddr+at+uint64(start))%8 != 0 {
				continue
			}
			candidate := *t
			if candidate.header(s.Offset+at+uint64(start), s.Offset+s.Size) == nil {
				return s.Offset + at + uint64(start), nil
			}
		}
	}
	return 0, nil
}

func read(r io.ReaderAt, b []byte, offset uint64) error {
	n, err := r.ReadAt(b, int64(offset)) //nolint:gosec // inside the file
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = elffile.ErrNotELF
	}
	return err
}

// Where the description of the module (runtime.moduledata) has what is needed: its virtual addresses and lengths.
const (
	moduleTable     = 0
	moduleList      = 128
	moduleListLen   = 136
	moduleFirst     = 160
	moduleLast      = 168
	moduleText      = 176
	moduleFuncdata  = 320 // since Go 1.20
	moduleFuncdata0 = 304
	moduleSize      = 328
)

// module reads the description of the module: where the text begins, which is not where .text does when other code is
// linked in before it, and where function data is. The pointers in it are in the file, or in the relocations of a
// position-independent program.
func (t *Table) module() error {
	places, err := t.pointers()
	if err != nil {
		return err
	}
	for _, place := range places {
		if ok, err := t.describes(place, nil); ok || err != nil {
			return err
		}
	}
	places, err = t.relocated(func(_, value uint64) bool { return value == t.start })
	if err != nil || len(places) == 0 {
		if err == nil {
			err = fmt.Errorf("%w: its module is not described", ErrMalformed)
		}
		return err
	}
	words := map[uint64]uint64{}
	if _, err = t.relocated(func(at, value uint64) bool {
		for _, place := range places {
			if at >= place && at-place < moduleSize {
				words[at] = value
			}
		}
		return false
	}); err != nil {
		return err
	}
	for _, place := range places {
		if ok, err := t.describes(place, words); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: no description of its module fits it", ErrMalformed)
}

// pointers are the virtual addresses of words that have the table's, in writable segments.
func (t *Table) pointers() ([]uint64, error) {
	var found []uint64
	chunk, left := make([]byte, chunkSize), uint64(maxScan)
	var want [8]byte
	binary.LittleEndian.PutUint64(want[:], t.start)
	for s := range t.layout.Loaded() {
		if s.Flags&elf.PF_W == 0 {
			continue
		}
		first := (8 - s.Vaddr%8) % 8
		for at := first; at+8 <= s.Size && left > 0; at += chunkSize {
			b := chunk[:min(chunkSize, (s.Size-at)&^7)]
			if err := read(t.r, b, s.Offset+at); err != nil {
				return nil, err
			}
			left -= min(left, chunkSize)
			for from := 0; ; {
				next := bytes.Index(b[from:], want[:])
				if next < 0 {
					break
				}
				from += next
				if from%8 == 0 {
					if found = append(found, s.Vaddr+at+uint64(from)); len(found) == maxModules { //nolint:gosec // not negative
						return found, nil
					}
				}
				from++
			}
		}
	}
	return found, nil
}

// relocated are the virtual addresses of words that get another when the program is moved, by the relocations whose
// place and value are accepted.
func (t *Table) relocated(accept func(at, value uint64) bool) ([]uint64, error) {
	const relativeX86, relativeARM = 8, 1027
	address, size, err := t.relocations()
	if err != nil || size == 0 {
		return nil, err
	}
	offset, left, ok := t.layout.FileOffset(address)
	if !ok {
		return nil, ErrMalformed
	}
	relative := uint32(relativeX86)
	if t.layout.Machine == elf.EM_AARCH64 {
		relative = relativeARM
	}
	var found []uint64
	chunk := make([]byte, 24*2048)
	for size = min(size, left, maxRelocs) / 24 * 24; size > 0; {
		b := chunk[:min(uint64(len(chunk)), size)]
		if err := read(t.r, b, offset); err != nil {
			return nil, err
		}
		offset, size = offset+uint64(len(b)), size-uint64(len(b))
		for ; len(b) > 0; b = b[24:] {
			at, kind, value := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[16:])
			if kind == relative && accept(at, value) {
				if found = append(found, at); len(found) == maxModules {
					return found, nil
				}
			}
		}
	}
	return found, nil
}

// relocations are the virtual address and size of the relocations with addends that the dynamic linker applies.
func (t *Table) relocations() (address, size uint64, err error) {
	for i := range t.layout.Segments {
		s := &t.layout.Segments[i]
		if s.Kind != elf.PT_DYNAMIC {
			continue
		}
		b := make([]byte, min(s.Size, chunkSize)&^15)
		if err := read(t.r, b, s.Offset); err != nil {
			return 0, 0, err
		}
		for ; len(b) > 0; b = b[16:] {
			switch value := binary.LittleEndian.Uint64(b[8:]); elf.DynTag(binary.LittleEndian.Uint64(b)) { //nolint:gosec // tags are small
			case elf.DT_RELA:
				address = value
			case elf.DT_RELASZ:
				size = value
			case elf.DT_NULL:
				return address, size, nil
			}
		}
		return address, size, nil
	}
	return 0, 0, nil
}

// describes reports whether there is a module's description at a virtual address that fits the table, and takes over what it says. Words
// that relocations set come first.
func (t *Table) describes(place uint64, words map[uint64]uint64) (bool, error) {
	offset, left, ok := t.layout.FileOffset(place)
	if !ok || left < moduleSize {
		return false, nil
	}
	b := make([]byte, moduleSize)
	if err := read(t.r, b, offset); err != nil {
		return false, err
	}
	word := func(at uint64) uint64 {
		if value, ok := words[place+at]; ok {
			return value
		}
		return binary.LittleEndian.Uint64(b[at:])
	}
	first, _, err := t.entry(0)
	if err != nil {
		return false, err
	}
	last, _, err := t.entry(t.count)
	if err != nil {
		return false, err
	}
	list, _, ok := t.layout.FileOffset(word(moduleList))
	text := word(moduleText)
	if word(moduleTable) != t.start || !ok || list != t.functions || word(moduleListLen) != t.count+1 ||
		text == 0 || word(moduleFirst) != text+uint64(first) || word(moduleLast) != text+uint64(last) || last <= first {
		return false, nil
	}
	_, left, ok = t.layout.Code(text)
	if !ok || left < uint64(last) {
		return false, nil
	}
	t.text, t.textEnd = text, text+uint64(last)
	at := uint64(moduleFuncdata)
	if !t.modern {
		at = moduleFuncdata0
	}
	t.funcdata = word(at)
	if _, _, ok := t.layout.FileOffset(t.funcdata); !ok {
		t.funcdata = 0
	}
	return t.plausible()
}

// plausible reports whether there is code where functions begin: at most of a few of them an instruction can be decoded.
func (t *Table) plausible() (bool, error) {
	const samples = 16
	seen, good := 0, 0
	for i := range uint64(samples) {
		f, ok, err := t.function(t.count * i / samples)
		if err != nil {
			return false, err
		}
		seen++
		if !ok {
			continue
		}
		b, err := t.blocks.Bytes(f.Offset, int(min(f.End-f.Entry, 16))) //nolint:gosec // small
		if err != nil {
			return false, err
		}
		var padded [32]byte // decoders may look behind the end of what they are given
		copy(padded[:], b)
		if t.layout.Machine == elf.EM_X86_64 {
			_, err = x86asm.Decode(padded[:], 64)
		} else {
			_, err = arm64asm.Decode(padded[:])
		}
		if err == nil {
			good++
		}
	}
	return 2*good >= seen, nil
}
