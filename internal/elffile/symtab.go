package elffile

import (
	"debug/elf"
	"errors"
	"io"
)

// Symbol is an entry of a symbol table, its name an offset in the table's names.
type Symbol struct {
	Name        uint32
	Kind        elf.SymType
	Bind        elf.SymBind
	Section     elf.SectionIndex
	Value, Size uint64
}

// Defined reports whether the symbol is a function that is in this file, at a virtual address that is not 0. An indirect
// function (IFUNC) is not: its value is the function that chooses.
func (s *Symbol) Defined() bool {
	return s.Kind == elf.STT_FUNC && s.Section != elf.SHN_UNDEF && s.Section != elf.SHN_ABS && s.Value != 0
}

const symbolSize = 24

// SymbolTable is a symbol table of a 64-bit file.
type SymbolTable struct {
	r             io.ReaderAt
	layout        *Layout
	table, names  Section
	namesOfSymbol *Blocks
}

// SymbolTable is the symbol table of that kind, SHT_SYMTAB or SHT_DYNSYM, nil if there is none that makes sense. Names are read
// through a cache of at most limit bytes.
func (l *Layout) SymbolTable(r io.ReaderAt, kind elf.SectionType, limit int) *SymbolTable {
	for i := range l.Sections {
		s := &l.Sections[i]
		if s.Kind != kind || s.Size < 2*symbolSize || s.EntrySize != symbolSize || !l.Wide || uint64(s.Link) >= uint64(len(l.Sections)) {
			continue
		}
		names := l.Sections[s.Link]
		if names.Kind != elf.SHT_STRTAB || names.Size == 0 {
			continue
		}
		end := int64(names.Offset + names.Size)                                                                                                  //nolint:gosec // inside the file
		return &SymbolTable{r: r, layout: l, table: *s, names: names, namesOfSymbol: NewBlocks(r, end, min(limit, int(names.Size)+2*blockSize))} //nolint:gosec // inside the file
	}
	return nil
}

// Len is the number of entries.
func (t *SymbolTable) Len() int { return int(t.table.Size / symbolSize) } //nolint:gosec // inside the file

// Memory is how many bytes the cache of names may come to hold.
func (t *SymbolTable) Memory() int { return t.namesOfSymbol.Memory() }

// Each calls do for every entry, in order, until it returns false. The error is ErrNotELF when the file became shorter, or
// one of the reader.
func (t *SymbolTable) Each(do func(*Symbol) bool) error {
	const perChunk = 2048
	chunk := make([]byte, perChunk*symbolSize)
	for n, of := 0, t.Len(); n < of; n += perChunk {
		b := chunk[:min(perChunk, of-n)*symbolSize]
		if err := readFull(t.r, b, t.table.Offset+uint64(n)*symbolSize); err != nil { //nolint:gosec // not negative
			return err
		}
		for ; len(b) > 0; b = b[symbolSize:] {
			order := t.layout.Order
			if !do(&Symbol{
				Name: order.Uint32(b), Kind: elf.ST_TYPE(b[4]), Bind: elf.ST_BIND(b[4]),
				Section: elf.SectionIndex(order.Uint16(b[6:])), Value: order.Uint64(b[8:]), Size: order.Uint64(b[16:]),
			}) {
				return nil
			}
		}
	}
	return nil
}

// Name is the name of a symbol, empty when it is not in the table's names; the first limit bytes of a longer one. It is
// valid until the next call.
func (t *SymbolTable) Name(s *Symbol, limit int) ([]byte, error) {
	if uint64(s.Name) >= t.names.Size {
		return nil, nil
	}
	name, err := t.namesOfSymbol.Text(t.names.Offset+uint64(s.Name), limit)
	if errors.Is(err, ErrNotELF) {
		return nil, nil // without end
	}
	return name, err
}
