package elffile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"iter"
)

// Layout is where the parts of an ELF file are: in the file (offsets) and in memory (virtual addresses, before a
// position-independent file is moved).
type Layout struct {
	Machine elf.Machine
	Order   binary.ByteOrder
	Wide    bool // 64 bit
	// Segments are the program headers, Sections the section headers; none when the file has none or they make no sense.
	Segments []Segment
	Sections []Section
	size     uint64
}

// Segment is a program header, its file part cut at the end of the file.
type Segment struct {
	Kind                elf.ProgType
	Flags               elf.ProgFlag
	Offset, Vaddr, Size uint64 // Size in the file, bytes
}

// Section is a section header. A section that is not inside the file has the Size 0, and so has one without contents.
type Section struct {
	Name                           string
	Kind                           elf.SectionType
	Flags                          elf.SectionFlag
	Offset, Vaddr, Size, EntrySize uint64
	Link                           uint32
}

// ReadLayout reads the headers of a file of the given size: less than 4 MiB. The error is ErrNotELF, ErrLimit, or one of
// the reader.
func ReadLayout(r io.ReaderAt, size int64) (*Layout, error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	switch {
	case h.phnum > maxPrograms || h.phentsize > 4*h.minimalProgram:
		return nil, ErrLimit
	case h.phnum > 0 && h.phentsize < h.minimalProgram || h.phoff > 1<<62 || size < 0:
		return nil, ErrNotELF
	}
	l := &Layout{Machine: h.machine, Order: h.order, Wide: h.wide, size: uint64(size)} //nolint:gosec // not negative
	table := make([]byte, h.phnum*h.phentsize)
	if err := readFull(r, table, h.phoff); err != nil {
		return nil, err
	}
	for i := range h.phnum {
		p := h.program(table[i*h.phentsize:])
		s := Segment{Kind: p.kind, Flags: p.flags, Offset: p.offset, Vaddr: p.vaddr, Size: p.size}
		if s.Offset >= l.size || s.Vaddr+s.Size < s.Vaddr {
			continue
		}
		s.Size = min(s.Size, l.size-s.Offset)
		l.Segments = append(l.Segments, s)
	}
	return l, l.readSections(r, &h)
}

func (l *Layout) readSections(r io.ReaderAt, h *header) error {
	if h.shnum == 0 || h.shnum > maxSections || h.shentsize < h.minimalSection || h.shentsize > 4*h.minimalSection || h.shoff > 1<<62 {
		return nil
	}
	table := make([]byte, h.shnum*h.shentsize)
	if err := readFull(r, table, h.shoff); errors.Is(err, ErrNotELF) {
		return nil // the section headers are not in the file
	} else if err != nil {
		return err
	}
	var names []byte
	if h.shstrndx < h.shnum {
		if s := h.section(table[h.shstrndx*h.shentsize:]); s.size <= maxNames && s.offset < l.size && s.size <= l.size-s.offset {
			names = make([]byte, s.size)
			if err := readFull(r, names, s.offset); err != nil {
				return err
			}
		}
	}
	l.Sections = make([]Section, h.shnum)
	for i := range l.Sections {
		raw := h.section(table[i*h.shentsize:])
		s := Section{
			Kind: raw.kind, Flags: elf.SectionFlag(raw.flags), //nolint:gosec // the flags that exist are in the low half
			Offset: raw.offset, Vaddr: raw.vaddr, Size: raw.size, EntrySize: raw.entrySize, Link: raw.link,
		}
		if s.Kind == elf.SHT_NOBITS || s.Kind == elf.SHT_NULL || s.Offset >= l.size || s.Size > l.size-s.Offset || s.Flags&elf.SHF_COMPRESSED != 0 {
			s.Size = 0
		}
		if uint64(raw.name) < uint64(len(names)) {
			name, _, _ := bytes.Cut(names[raw.name:], []byte{0})
			s.Name = string(name[:min(len(name), 256)])
		}
		l.Sections[i] = s
	}
	return nil
}

// Section is the first section of that name with contents in the file, nil if there is none.
func (l *Layout) Section(name string) *Section {
	for i := range l.Sections {
		if s := &l.Sections[i]; s.Name == name && s.Size > 0 {
			return s
		}
	}
	return nil
}

// Loaded yields the segments that are mapped from the file.
func (l *Layout) Loaded() iter.Seq[*Segment] {
	return func(yield func(*Segment) bool) {
		for i := range l.Segments {
			if s := &l.Segments[i]; s.Kind == elf.PT_LOAD && s.Size > 0 && !yield(s) {
				return
			}
		}
	}
}

// FileOffset is where in the file the byte is that a virtual address has, and how many bytes of its segment begin there. It is
// false when none of the file is mapped there.
func (l *Layout) FileOffset(vaddr uint64) (offset, left uint64, ok bool) {
	for s := range l.Loaded() {
		if d := vaddr - s.Vaddr; vaddr >= s.Vaddr && d < s.Size {
			return s.Offset + d, s.Size - d, true
		}
	}
	return 0, 0, false
}

// Code is FileOffset for executable segments.
func (l *Layout) Code(vaddr uint64) (offset, left uint64, ok bool) {
	for s := range l.Loaded() {
		if d := vaddr - s.Vaddr; s.Flags&elf.PF_X != 0 && vaddr >= s.Vaddr && d < s.Size {
			return s.Offset + d, s.Size - d, true
		}
	}
	return 0, 0, false
}

// CodeAddress is the virtual address of the code at an offset in the file, false when no executable segment maps it.
func (l *Layout) CodeAddress(offset uint64) (vaddr uint64, ok bool) {
	for s := range l.Loaded() {
		if d := offset - s.Offset; s.Flags&elf.PF_X != 0 && offset >= s.Offset && d < s.Size {
			return s.Vaddr + d, true
		}
	}
	return 0, false
}
