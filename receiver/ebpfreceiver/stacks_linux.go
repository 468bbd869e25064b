package ebpfreceiver

import (
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/internal/symbolize"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/perf"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// stack is who called a function, the innermost first.
type stack struct {
	callers  []witness.Frame
	complete bool
}

// spot is a place in a file, and how to open that.
type spot struct {
	path    string
	facts   *artifact.Facts
	symbols procfs.FileID
	offset  uint64
	open    func() (symbolize.File, error)
}

// firstHit keeps the stack of the first call of a process until its hits are read.
func (e *engine) firstHit(event *bpf.Event) {
	key := bpf.HitKey{Probe: event.Probe, Process: event.Process}
	if e.probes[event.Probe] == nil || len(event.Frames) == 0 {
		return
	}
	if len(e.stacks) >= int(e.config.Limits.Hits) {
		e.evictions["stacks"]++
		return
	}
	of := e.remembered(event.Process)
	s := stack{complete: !event.Cut}
	for i := range event.Frames[1:] {
		frames, ok := e.frames(of, &event.Frames[1+i], true)
		if !ok {
			s.complete = false
			e.dropped++
			continue
		}
		s.callers = append(s.callers, frames...)
	}
	e.stacks[key] = s
}

// frames are the functions at a place in a file, the innermost first: those that the compiler inlined there too. caller says
// that the place is where a call returns to.
func (e *engine) frames(of *process, at *bpf.Frame, caller bool) ([]witness.Frame, bool) {
	s, ok := e.spotOf(of, at)
	if !ok {
		return nil, false
	}
	found, _ := e.symbols.Frames(s.symbols, s.open, s.offset, caller) // where the file is gone, the place is still one
	module := moduleOf(s.path, s.facts)
	for i := range found {
		found[i].Module = module
	}
	return found, true
}

// spotOf finds the file that a frame lies in.
func (e *engine) spotOf(of *process, at *bpf.Frame) (spot, bool) {
	if at.File == (bpf.FileID{}) {
		return e.spotAt(of, at.Offset)
	}
	f := e.fileOf(of, at.File, at.Mapping, "")
	if f == nil {
		return spot{}, false
	}
	return spot{f.path, f.facts, f.symbols, at.Offset, func() (symbolize.File, error) {
		if f.probed != nil {
			return reopen(f.probed.file)
		}
		return e.openFor(of, at.Mapping, f)
	}}, true
}

// openFor opens a file whose symbols are asked for.
func (e *engine) openFor(of *process, start uint64, f *file) (symbolize.File, error) {
	o, err := e.openOf(of, start, f.id, f.path)
	if err == nil && o.ID.Size != f.symbols.Size { // it was written anew; its times also change with its names
		err = errors.Join(errNotMapped, o.Close())
	}
	if err != nil {
		return nil, err
	}
	return o.File, nil
}

// reopen opens a file again that is open, whatever its name is now.
func reopen(f *os.File) (*os.File, error) {
	return os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
}

// spotAt finds the file that an address of a process lies in.
func (e *engine) spotAt(of *process, address uint64) (spot, bool) {
	from, err := e.proc.Find(e.procID(of.id))
	if err != nil {
		return spot{}, false
	}
	defer from.Close()
	for m, err := range from.Mappings() {
		if err != nil {
			return spot{}, false
		}
		if address < m.Start || address >= m.End {
			continue
		}
		f, err := from.OpenMapping(m)
		if err != nil {
			return spot{}, false
		}
		defer f.Close()
		return spot{m.Path, e.inspect(f), f.ID, address - m.Start + m.Offset, func() (symbolize.File, error) {
			return e.openFor(of, m.Start, &file{id: bpf.FileID{Dev: deviceOf(m.Dev), Inode: m.Inode}, path: m.Path, symbols: f.ID})
		}}, true
	}
	return spot{}, false
}

// sampled writes a runtime.sample record of a stack.
func (e *engine) sampled(s *perf.Sample) {
	of := e.processes.live[s.PID]
	if of == nil {
		from, err := e.proc.Open(int(s.PID))
		if err != nil {
			return
		}
		id := bpf.Process{PID: s.PID, Start: uint64(from.ID().Start)} //nolint:gosec // not negative
		from.Close()
		of = e.remembered(id)
	}
	var stack []witness.Frame
	complete := true
	for i, address := range s.Addresses {
		frames, ok := e.frames(of, &bpf.Frame{Offset: address}, i > 0)
		if !ok {
			complete = false
			e.dropped++
			continue
		}
		stack = append(stack, frames...)
	}
	if len(stack) == 0 {
		return
	}
	if len(stack) > witness.MaxStack {
		stack, complete = stack[:witness.MaxStack], false
	}
	m := e.record(of.place, semconv.EventSample, e.wall(s.Time))
	e.putProcess(m, of)
	witness.PutStack(m, stack...)
	if !complete {
		m.PutBool(semconv.WitnessStackComplete, false)
	}
}

// wall is a time of the kernel, which counts from the boot, as people have it.
func (e *engine) wall(sinceBoot time.Duration) time.Time { return e.booted.Add(sinceBoot).UTC() }
