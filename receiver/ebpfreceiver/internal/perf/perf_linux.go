package perf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options say what is read. Zero members are the defaults.
type Options struct {
	// Pages of the ring of each processor, a power of two (64).
	Pages int
	// Frequency is how many stacks a second are taken of each processor; 0 takes none.
	Frequency uint64
}

// Reader reads the records of all processors.
type Reader struct {
	rings []*ring
}

// Open begins to record. The error is that of the kernel: EACCES or EPERM without CAP_PERFMON.
func Open(o Options) (*Reader, error) {
	if o.Pages == 0 {
		o.Pages = 64
	}
	processors, err := online()
	if err != nil {
		return nil, err
	}
	r := &Reader{}
	for _, processor := range processors {
		ring, err := openRing(processor, &o)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("perf event: %w", err), r.Close())
		}
		r.rings = append(r.rings, ring)
	}
	return r, nil
}

// Close gives everything back.
func (r *Reader) Close() error {
	var errs []error
	for _, ring := range r.rings {
		errs = append(errs, unix.Munmap(ring.memory), unix.Close(ring.fd))
	}
	r.rings = nil
	return errors.Join(errs...)
}

// Files can be waited for, until a ring is a quarter full.
func (r *Reader) Files() []int {
	files := make([]int, len(r.rings))
	for i, ring := range r.rings {
		files[i] = ring.fd
	}
	return files
}

// Read calls do for each record that there is. What cannot be read of a record is left out and counted by bad. It does not
// wait.
func (r *Reader) Read(do func(Record), bad func()) {
	for _, ring := range r.rings {
		ring.drain(do, bad)
	}
}

// ring is what the kernel writes of a processor: a page of positions, and pages of records.
type ring struct {
	fd     int
	memory []byte
	data   []byte // of memory
	buffer []byte // of a record that goes round the end
}

func openRing(processor int, o *Options) (*ring, error) {
	attr := &unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample_type: unix.PERF_SAMPLE_TID | unix.PERF_SAMPLE_TIME,
		Bits: unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitComm | unix.PerfBitCommExec | unix.PerfBitSampleIDAll | unix.PerfBitWatermark | unix.PerfBitUseClockID |
			unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv,
		Clockid: unix.CLOCK_BOOTTIME,
		Wakeup:  uint32(o.Pages * os.Getpagesize() / 4), //nolint:gosec // bytes until the reader is woken
	}
	if o.Frequency > 0 {
		attr.Config = unix.PERF_COUNT_SW_CPU_CLOCK
		attr.Sample = o.Frequency
		attr.Bits |= unix.PerfBitFreq | unix.PerfBitExcludeCallchainKernel
		attr.Sample_type |= unix.PERF_SAMPLE_CALLCHAIN
	}
	fd, err := unix.PerfEventOpen(attr, -1, processor, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	page := os.Getpagesize()
	memory, err := unix.Mmap(fd, 0, (1+o.Pages)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &ring{fd: fd, memory: memory, data: memory[page:]}, nil
}

// Positions in the first page (struct perf_event_mmap_page).
const (
	headAt = 1024
	tailAt = 1032
)

func (r *ring) position(at int) *uint64 { return (*uint64)(unsafe.Pointer(&r.memory[at])) }

// drain reads all that there is.
func (r *ring) drain(do func(Record), bad func()) {
	head := atomic.LoadUint64(r.position(headAt))
	tail := atomic.LoadUint64(r.position(tailAt))
	for head-tail >= headerSize && head-tail <= uint64(len(r.data)) {
		header := r.bytes(tail, headerSize)
		kind, misc, size := binary.LittleEndian.Uint32(header), binary.LittleEndian.Uint16(header[4:]), uint64(binary.LittleEndian.Uint16(header[6:]))
		if size < headerSize || size > head-tail {
			bad() // nothing behind it can be told apart
			break
		}
		record, ok, err := parse(kind, misc, r.bytes(tail+headerSize, size-headerSize))
		if err != nil {
			bad()
		} else if ok {
			do(record)
		}
		tail += size
	}
	atomic.StoreUint64(r.position(tailAt), head)
	runtime.KeepAlive(r)
}

// bytes are n bytes from a position on. They are valid until the next call.
func (r *ring) bytes(at, n uint64) []byte {
	size := uint64(len(r.data))
	from := at % size
	if from+n <= size {
		return r.data[from : from+n]
	}
	r.buffer = append(append(r.buffer[:0], r.data[from:]...), r.data[:n-(size-from)]...)
	return r.buffer
}

// online are the processors that run.
func online() ([]int, error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	return parseList(strings.TrimSpace(string(text)))
}

// maxProcessors bounds a list of processors.
const maxProcessors = 8192

// parseList reads a list of the kernel's, as 0-3,8.
func parseList(text string) (all []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last < first || last >= maxProcessors || len(all) > maxProcessors {
			return nil, errors.New("the list of processors is not as the kernel writes it")
		}
		for n := first; n <= last; n++ {
			all = append(all, n)
		}
	}
	return all, nil
}
