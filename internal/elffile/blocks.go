package elffile

import (
	"bytes"
	"errors"
	"io"
)

const blockSize = 16 << 10

// Blocks reads small pieces of a file through a cache of bounded size. It is not safe for concurrent use.
type Blocks struct {
	r     io.ReaderAt
	size  int64
	slots []block
	index map[int64]int // block number -> slot
	last  int           // slot of the last hit
	hand  int
	max   int
	// scratch holds pieces that cross blocks.
	scratch []byte
}

type block struct {
	number int64
	used   bool
	data   []byte
}

// NewBlocks caches at most limit bytes of a file of the given size, and at least two blocks of 16 KiB.
func NewBlocks(r io.ReaderAt, size int64, limit int) *Blocks {
	return &Blocks{r: r, size: max(size, 0), index: map[int64]int{}, max: max(limit/blockSize, 2)}
}

// Memory is how many bytes the cache may come to hold.
func (b *Blocks) Memory() int { return b.max * blockSize }

// View is the piece of the file from offset on that is in one block: at least one byte. It is valid until the next call.
// The error is ErrNotELF outside the file, or one of the reader.
func (b *Blocks) View(offset uint64) ([]byte, error) {
	if offset >= uint64(b.size) { //nolint:gosec // not negative
		return nil, ErrNotELF
	}
	number, within := int64(offset/blockSize), int(offset%blockSize) //nolint:gosec // below size
	if b.last < len(b.slots) && b.slots[b.last].number == number && len(b.slots[b.last].data) > within {
		return b.slots[b.last].data[within:], nil
	}
	slot, ok := b.index[number]
	if !ok {
		var err error
		if slot, err = b.load(number); err != nil {
			return nil, err
		}
	}
	b.slots[slot].used, b.last = true, slot
	if data := b.slots[slot].data; len(data) > within {
		return data[within:], nil
	}
	return nil, ErrNotELF // the file became shorter
}

// load reads a block into a new slot, or into one that was not used since the hand came by.
func (b *Blocks) load(number int64) (int, error) {
	slot := len(b.slots)
	if slot < b.max {
		b.slots = append(b.slots, block{number: -1, data: make([]byte, 0, blockSize)})
	} else {
		for b.slots[b.hand].used {
			b.slots[b.hand].used = false
			b.hand = (b.hand + 1) % len(b.slots)
		}
		slot = b.hand
		b.hand = (b.hand + 1) % len(b.slots)
		delete(b.index, b.slots[slot].number)
	}
	s := &b.slots[slot]
	s.number, s.used = -1, false
	n, err := b.r.ReadAt(s.data[:blockSize], number*blockSize)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		s.data = s.data[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrNotELF
		}
		return 0, err
	}
	s.number, s.data = number, s.data[:n]
	b.index[number] = slot
	return slot, nil
}

// Bytes are the n bytes at offset, valid until the next call; n is small.
func (b *Blocks) Bytes(offset uint64, n int) ([]byte, error) {
	view, err := b.View(offset)
	if err != nil || len(view) >= n {
		return view[:min(n, len(view))], err
	}
	b.scratch = append(b.scratch[:0], view...)
	for len(b.scratch) < n {
		if view, err = b.View(offset + uint64(len(b.scratch))); err != nil {
			return nil, err
		}
		b.scratch = append(b.scratch, view[:min(len(view), n-len(b.scratch))]...)
	}
	return b.scratch, nil
}

// Text is the text at offset up to a zero byte, without it; the first limit bytes if it is longer than that. It is valid until the next call.
func (b *Blocks) Text(offset uint64, limit int) ([]byte, error) {
	view, err := b.View(offset)
	if err != nil {
		return nil, err
	}
	if end := bytes.IndexByte(view[:min(len(view), limit)], 0); end >= 0 {
		return view[:end], nil
	}
	if len(view) >= limit {
		return view[:limit], nil
	}
	b.scratch = append(b.scratch[:0], view...)
	for len(b.scratch) < limit {
		if view, err = b.View(offset + uint64(len(b.scratch))); err != nil {
			return nil, err
		}
		view = view[:min(len(view), limit-len(b.scratch))]
		end := bytes.IndexByte(view, 0)
		if end >= 0 {
			return append(b.scratch, view[:end]...), nil
		}
		b.scratch = append(b.scratch, view...)
	}
	return b.scratch, nil
}
