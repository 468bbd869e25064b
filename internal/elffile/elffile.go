// Package elffile reads what an ELF file says of itself: build-ids, the distribution's package note, Go build
// information, where its segments and sections are, and its symbol tables. The file may be hostile: every count and size
// in it is bounded before anything is read or allocated for it.
package elffile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"runtime/debug"
)

// Limits on what is read from one file. Real executables stay far below them: they have tens of sections and program
// headers, a few hundred bytes of notes, and up to some hundred kilobytes of Go build information.
const (
	maxPrograms   = 1024
	maxSections   = 8192
	maxNotes      = 256 << 10 // bytes of all notes
	maxNames      = 1 << 20   // bytes of section names
	maxGoRead     = 1 << 20   // bytes of one read for Go build information, so of the module list too
	maxGoTotal    = 64 << 20  // bytes read in search of Go build information
	maxBuildID    = 64        // bytes
	maxGoBuildID  = 256       // bytes
	maxNote       = 16 << 10  // bytes of a package note
	hashChunk     = 256 << 10
	typeBuildID   = 3
	typeGoBuildID = 4
	typePackage   = 0xcafe1a7e
)

// ErrNotELF is the error of a file that is no ELF file, or whose headers make no sense.
var ErrNotELF = errors.New("not an ELF file")

// ErrLimit is the error of a file that asks for more than the limits of this package.
var ErrLimit = errors.New("the file asks for more than is read of any file")

// Info is what the program headers of a file lead to.
type Info struct {
	BuildID   string // GNU build-id, lower-case hex
	GoBuildID string // as the Go linker wrote it
	// Package is the JSON text of the package note (.note.package), not validated.
	Package []byte
}

// header is the part of the ELF header that leads further.
type header struct {
	order                          binary.ByteOrder
	wide                           bool // 64 bit
	machine                        elf.Machine
	phoff, shoff                   uint64
	phentsize, phnum               int
	shentsize, shnum, shstrndx     int
	minimalProgram, minimalSection int
}

func readHeader(r io.ReaderAt) (header, error) {
	var b [64]byte
	n, err := r.ReadAt(b[:], 0)
	if n < 52 {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrNotELF
		}
		return header{}, err
	}
	if string(b[:4]) != elf.ELFMAG || b[elf.EI_VERSION] != byte(elf.EV_CURRENT) {
		return header{}, ErrNotELF
	}
	h := header{wide: elf.Class(b[elf.EI_CLASS]) == elf.ELFCLASS64}
	if !h.wide && elf.Class(b[elf.EI_CLASS]) != elf.ELFCLASS32 || h.wide && n < 64 {
		return header{}, ErrNotELF
	}
	switch elf.Data(b[elf.EI_DATA]) {
	case elf.ELFDATA2LSB:
		h.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		h.order = binary.BigEndian
	default:
		return header{}, ErrNotELF
	}
	h.machine = elf.Machine(h.order.Uint16(b[18:]))
	counts := b[42:52]
	h.phoff, h.shoff = uint64(h.order.Uint32(b[28:])), uint64(h.order.Uint32(b[32:]))
	h.minimalProgram, h.minimalSection = 32, 40
	if h.wide {
		counts = b[54:64]
		h.phoff, h.shoff = h.order.Uint64(b[32:]), h.order.Uint64(b[40:])
		h.minimalProgram, h.minimalSection = 56, 64
	}
	h.phentsize, h.phnum = int(h.order.Uint16(counts)), int(h.order.Uint16(counts[2:]))
	h.shentsize, h.shnum, h.shstrndx = int(h.order.Uint16(counts[4:])), int(h.order.Uint16(counts[6:])), int(h.order.Uint16(counts[8:]))
	return h, nil
}

// Read reads the program headers and the notes they lead to; section headers are not needed for that. Only when they
// lead to no GNU build-id are the sections searched too: Go's own linker writes one that no program header covers. It
// reads less than 2 MiB. The error is ErrNotELF, ErrLimit, or one of the reader.
func Read(r io.ReaderAt) (*Info, error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	switch {
	case h.phnum > maxPrograms || h.phentsize > 4*h.minimalProgram:
		return nil, ErrLimit
	case h.phnum > 0 && h.phentsize < h.minimalProgram || h.phoff > 1<<62:
		return nil, ErrNotELF
	}
	table := make([]byte, h.phnum*h.phentsize)
	if err := readFull(r, table, h.phoff); err != nil {
		return nil, err
	}
	info, left := &Info{}, uint64(maxNotes)
	for i := range h.phnum {
		p := h.program(table[i*h.phentsize:])
		if p.kind == elf.PT_NOTE {
			if err := info.readNotes(r, h.order, p.offset, p.size, p.align, &left); err != nil {
				return nil, err
			}
		}
	}
	if info.BuildID == "" {
		if err := info.readNoteSections(r, &h, &left); err != nil {
			return nil, err
		}
	}
	return info, nil
}

// readNoteSections reads the notes that section headers lead to, if there are section headers and not too many.
func (i *Info) readNoteSections(r io.ReaderAt, h *header, left *uint64) error {
	if h.shnum == 0 || h.shnum > maxSections || h.shentsize < h.minimalSection || h.shentsize > 4*h.minimalSection || h.shoff > 1<<62 {
		return nil
	}
	table := make([]byte, h.shnum*h.shentsize)
	if err := readFull(r, table, h.shoff); errors.Is(err, ErrNotELF) {
		return nil // the section headers are not in the file
	} else if err != nil {
		return err
	}
	for n := range h.shnum {
		if s := h.section(table[n*h.shentsize:]); s.kind == elf.SHT_NOTE {
			if err := i.readNotes(r, h.order, s.offset, s.size, s.align, left); err != nil {
				return err
			}
		}
	}
	return nil
}

type program struct {
	kind                       elf.ProgType
	flags                      elf.ProgFlag
	offset, vaddr, size, align uint64
}

func (h *header) program(b []byte) program {
	if h.wide {
		return program{
			kind: elf.ProgType(h.order.Uint32(b)), flags: elf.ProgFlag(h.order.Uint32(b[4:])),
			offset: h.order.Uint64(b[8:]), vaddr: h.order.Uint64(b[16:]), size: h.order.Uint64(b[32:]), align: h.order.Uint64(b[48:]),
		}
	}
	return program{
		kind: elf.ProgType(h.order.Uint32(b)), flags: elf.ProgFlag(h.order.Uint32(b[24:])),
		offset: uint64(h.order.Uint32(b[4:])), vaddr: uint64(h.order.Uint32(b[8:])), size: uint64(h.order.Uint32(b[16:])), align: uint64(h.order.Uint32(b[28:])),
	}
}

type section struct {
	kind                       elf.SectionType
	flags, offset, size, align uint64
	vaddr, entrySize           uint64
	name, link                 uint32
}

func (h *header) section(b []byte) section {
	if h.wide {
		return section{
			kind: elf.SectionType(h.order.Uint32(b[4:])), flags: h.order.Uint64(b[8:]),
			offset: h.order.Uint64(b[24:]), size: h.order.Uint64(b[32:]), align: h.order.Uint64(b[48:]),
			vaddr: h.order.Uint64(b[16:]), entrySize: h.order.Uint64(b[56:]), name: h.order.Uint32(b), link: h.order.Uint32(b[40:]),
		}
	}
	return section{
		kind: elf.SectionType(h.order.Uint32(b[4:])), flags: uint64(h.order.Uint32(b[8:])),
		offset: uint64(h.order.Uint32(b[16:])), size: uint64(h.order.Uint32(b[20:])), align: uint64(h.order.Uint32(b[32:])),
		vaddr: uint64(h.order.Uint32(b[12:])), entrySize: uint64(h.order.Uint32(b[36:])), name: h.order.Uint32(b), link: h.order.Uint32(b[24:]),
	}
}

// readNotes reads the notes at offset, unless they are outside the file or larger than what is left to read.
func (i *Info) readNotes(r io.ReaderAt, order binary.ByteOrder, offset, size, align uint64, left *uint64) error {
	if size == 0 || size > *left || offset > 1<<62 {
		return nil
	}
	*left -= size
	b := make([]byte, size)
	if err := readFull(r, b, offset); errors.Is(err, ErrNotELF) {
		return nil // other notes may still be there
	} else if err != nil {
		return err
	}
	i.parseNotes(b, order, align)
	return nil
}

// parseNotes reads a sequence of notes: sizes of name and description, type, name, description, both padded. The first
// note of a kind counts.
func (i *Info) parseNotes(b []byte, order binary.ByteOrder, align uint64) {
	if align != 8 {
		align = 4
	}
	for len(b) >= 12 {
		nameSize, descSize, kind := uint64(order.Uint32(b)), uint64(order.Uint32(b[4:])), order.Uint32(b[8:])
		descStart := padded(12+nameSize, align)
		if descStart+descSize > uint64(len(b)) {
			return
		}
		name, desc := string(bytes.TrimRight(b[12:12+nameSize], "\x00")), b[descStart:descStart+descSize]
		switch {
		case name == "GNU" && kind == typeBuildID && i.BuildID == "" && len(desc) > 0 && len(desc) <= maxBuildID:
			i.BuildID = hex.EncodeToString(desc)
		case name == "Go" && kind == typeGoBuildID && i.GoBuildID == "" && len(desc) <= maxGoBuildID && printable(desc):
			i.GoBuildID = string(desc)
		case name == "FDO" && kind == typePackage && i.Package == nil && len(desc) <= maxNote:
			i.Package = bytes.Clone(bytes.TrimRight(desc, "\x00"))
		}
		next := padded(descStart+descSize, align)
		if next >= uint64(len(b)) {
			return
		}
		b = b[next:]
	}
}

func padded(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

func readFull(r io.ReaderAt, b []byte, offset uint64) error {
	n, err := r.ReadAt(b, int64(offset)) //nolint:gosec // callers check that it is below 1<<62
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return ErrNotELF
	}
	return err
}

// BuildInfo reads the build information that the Go linker puts into every executable, stripped or not, with or
// without section headers. The error is ErrNotELF, ErrLimit, or what debug/buildinfo and the reader say; most say that
// the file is not from Go.
func BuildInfo(r io.ReaderAt) (*debug.BuildInfo, error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	if err := h.checkSections(r); err != nil {
		return nil, err
	}
	return buildinfo.Read(&limited{r: r, left: maxGoTotal})
}

// checkSections refuses headers for which debug/elf would allocate without measure: very many headers, or section
// names that are compressed.
func (h *header) checkSections(r io.ReaderAt) error {
	switch {
	case h.phnum > maxPrograms, h.shnum > maxSections, h.phentsize > 4*h.minimalProgram, h.shentsize > 4*h.minimalSection:
		return ErrLimit
	case h.shnum == 0 && h.shoff != 0:
		return ErrLimit // the count is elsewhere because it is over 65,000
	case h.shnum == 0:
		return nil
	case h.shentsize < h.minimalSection || h.shstrndx >= h.shnum || h.shoff > 1<<62:
		return ErrNotELF
	}
	names := make([]byte, h.minimalSection)
	if err := readFull(r, names, h.shoff+uint64(h.shstrndx)*uint64(h.shentsize)); err != nil { //nolint:gosec // not negative
		return err
	}
	if s := h.section(names); s.flags&uint64(elf.SHF_COMPRESSED) != 0 || s.size > maxNames {
		return ErrLimit
	}
	return nil
}

// limited bounds each read and all reads together.
type limited struct {
	r    io.ReaderAt
	left int
}

func (l *limited) ReadAt(b []byte, offset int64) (int, error) {
	if len(b) > maxGoRead || len(b) > l.left {
		return 0, ErrLimit
	}
	l.left -= len(b)
	return l.r.ReadAt(b, offset)
}

// SHA256 is the sha256 of a file of the given size, in lower-case hex. A file larger than budget is ErrLimit; one that
// has another size when read is io.ErrUnexpectedEOF. It stops when ctx ends.
func SHA256(ctx context.Context, r io.ReaderAt, size, budget int64) (string, error) {
	if size > budget {
		return "", ErrLimit
	}
	hash, chunk := sha256.New(), make([]byte, min(hashChunk, size+1))
	for offset := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := r.ReadAt(chunk, offset)
		offset += int64(n)
		hash.Write(chunk[:n])
		switch {
		case offset > size:
			return "", io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF) && offset == size:
			return hex.EncodeToString(hash.Sum(nil)), nil
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
	}
}
