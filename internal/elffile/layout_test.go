package elffile

import (
	"bytes"
	"debug/elf"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLayout(t *testing.T) {
	b := buildC(t)
	want, err := elf.NewFile(bytes.NewReader(b))
	require.NoError(t, err)
	l, err := ReadLayout(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	assert.Equal(t, want.Machine, l.Machine)
	require.Len(t, l.Sections, len(want.Sections))
	for i, s := range want.Sections {
		assert.Equal(t, s.Name, l.Sections[i].Name)
		assert.Equal(t, s.Addr, l.Sections[i].Vaddr)
		assert.Equal(t, s.Link, l.Sections[i].Link)
		if s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL {
			assert.Equal(t, s.Size, l.Sections[i].Size, s.Name)
		}
	}
	text := l.Section(".text")
	require.NotNil(t, text)
	offset, left, ok := l.Code(text.Vaddr)
	assert.True(t, ok)
	assert.Equal(t, text.Offset, offset)
	assert.GreaterOrEqual(t, left, text.Size)
	vaddr, ok := l.CodeAddress(offset)
	assert.True(t, ok)
	assert.Equal(t, text.Vaddr, vaddr)
	rodata := l.Section(".rodata")
	_, _, ok = l.Code(rodata.Vaddr)
	assert.False(t, ok, "data is not code")
	_, _, ok = l.FileOffset(rodata.Vaddr)
	assert.True(t, ok)
	_, _, ok = l.FileOffset(1 << 60)
	assert.False(t, ok)
	_, ok = l.CodeAddress(1 << 60)
	assert.False(t, ok)

	symbols, err := want.Symbols()
	require.NoError(t, err)
	table := l.SymbolTable(bytes.NewReader(b), elf.SHT_SYMTAB, 1<<10)
	require.NotNil(t, table)
	assert.Equal(t, len(symbols)+1, table.Len())
	n := 0
	require.NoError(t, table.Each(func(s *Symbol) bool {
		if n > 0 {
			name, err := table.Name(s, 1<<10)
			require.NoError(t, err)
			w := symbols[n-1]
			assert.Equal(t, w.Name, string(name))
			assert.Equal(t, []any{w.Value, w.Size, w.Section, elf.ST_TYPE(w.Info)}, []any{s.Value, s.Size, s.Section, s.Kind})
			assert.Equal(t, w.Name == "work" || w.Name == "main", s.Defined() && s.Bind == elf.STB_GLOBAL && s.Size > 0 && w.Name[0] != '_')
		}
		n++
		return true
	}))
	assert.Equal(t, table.Len(), n)
	assert.NotNil(t, l.SymbolTable(bytes.NewReader(b), elf.SHT_DYNSYM, 1<<10))

	bare := withoutSections(b)
	l, err = ReadLayout(bytes.NewReader(bare), int64(len(bare)))
	require.NoError(t, err)
	assert.Empty(t, l.Sections)
	assert.NotEmpty(t, l.Segments)
	assert.Nil(t, l.SymbolTable(bytes.NewReader(bare), elf.SHT_SYMTAB, 1<<10))
}

func FuzzLayout(f *testing.F) {
	b := buildC(f, "-Wl,--build-id=sha1")
	f.Add(b[:8192], 64, byte(0))
	f.Add(b, 0x20, byte(1))
	f.Add(b, 0x3c, byte(0xff))
	f.Fuzz(func(t *testing.T, b []byte, place int, value byte) {
		b = bytes.Clone(b)
		if place >= 0 && place < len(b) {
			b[place] = value
		}
		r := bytes.NewReader(b)
		l, err := ReadLayout(r, int64(len(b)))
		if err != nil {
			return
		}
		for s := range l.Loaded() {
			if s.Offset+s.Size > uint64(len(b)) {
				t.Fatalf("%+v is outside", s)
			}
			if offset, left, ok := l.FileOffset(s.Vaddr); !ok || offset+left > uint64(len(b)) {
				t.Fatalf("%+v has no place", s)
			}
		}
		for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
			if table := l.SymbolTable(r, kind, 1<<10); table != nil {
				_ = table.Each(func(s *Symbol) bool {
					name, err := table.Name(s, 64)
					return err == nil && len(name) <= 64
				})
			}
		}
	})
}

func TestBlocks(t *testing.T) {
	content := make([]byte, 10*blockSize+100)
	for i := range content {
		content[i] = byte(i % 251)
	}
	text := []byte("a text over two blocks")
	copy(content[3*blockSize-5:], append(bytes.Clone(text), 0))
	r := &counted{Reader: bytes.NewReader(content)}
	b := NewBlocks(r, int64(len(content)), 2*blockSize)
	for _, at := range []uint64{0, 5, blockSize - 3, 9*blockSize - 1, 10 * blockSize, 7, uint64(len(content) - 8)} {
		got, err := b.Bytes(at, 8)
		require.NoError(t, err)
		assert.Equal(t, content[at:at+8], got)
	}
	got, err := b.Text(3*blockSize-5, 100)
	require.NoError(t, err)
	assert.Equal(t, text, got)
	got, err = b.Text(3*blockSize-5, 10)
	require.NoError(t, err)
	assert.Equal(t, text[:10], got)
	for _, at := range []uint64{uint64(len(content) - 7), uint64(len(content)), 1 << 62} {
		_, err = b.Bytes(at, 8)
		assert.ErrorIs(t, err, ErrNotELF)
	}
	reads := r.reads
	for range 100 {
		_, err := b.Bytes(4, 8)
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, r.reads-reads, 1)
	assert.LessOrEqual(t, len(b.slots), 2)

	// A file that became shorter.
	b = NewBlocks(bytes.NewReader(content[:blockSize+10]), int64(len(content)), 2*blockSize)
	_, err = b.Bytes(blockSize+4, 8)
	assert.ErrorIs(t, err, ErrNotELF)
	_, err = b.Bytes(5*blockSize, 8)
	assert.ErrorIs(t, err, ErrNotELF)
}

type counted struct {
	*bytes.Reader
	reads int
}

func (c *counted) ReadAt(b []byte, offset int64) (int, error) {
	c.reads++
	n, err := c.Reader.ReadAt(b, offset)
	if n == len(b) {
		err = nil
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}
