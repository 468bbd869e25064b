package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Options are the sizes of what the kernel keeps. Zero members are the defaults.
type Options struct {
	// Hits is how many pairs of a probe and a process are counted at once (65,536).
	Hits uint32
	// Ring is the bytes of the ring of events, a power of two of at least a page (4 MiB).
	Ring uint32
	// Probes is how many probes there are at most (1,024): their ids are below it.
	Probes uint32
	// Stacks has the first hit of a process tell its callers.
	Stacks bool
}

// Refusal is a hook that a kernel does not allow.
type Refusal struct {
	Hook string
	Err  error
}

// Kernel is what runs in the kernel. It ends with Close, and with the process, however that ends. Its methods but Read may
// be called by one goroutine, and Read by another.
type Kernel struct {
	spec  *ebpf.CollectionSpec
	maps  map[string]*ebpf.Map
	ring  *ringbuf.Reader
	links []link.Link
	stack bool

	call  *ebpf.Program // counts a call; nil until the first probe
	multi bool          // call is for uprobe.multi
	turn  uint32        // of the last probes that are links of their own

	detaching sync.WaitGroup // such links that are being taken away
	one       sync.Mutex     // held to take one away

	record ringbuf.Record // reused
}

// Open makes the maps. It loads no program: that is done for each signal, so that one that is refused costs only itself.
func Open(o Options) (*Kernel, error) {
	spec, err := loadWitness()
	if err != nil {
		return nil, err
	}
	for name, size := range map[string]uint32{witnessMapHits: o.Hits, witnessMapEvents: o.Ring, witnessMapLost: o.Probes, witnessMapTurns: o.Probes} {
		if size != 0 {
			spec.Maps[name].MaxEntries = size
		}
	}
	k := &Kernel{spec: spec, maps: map[string]*ebpf.Map{}, stack: o.Stacks}
	for _, name := range []string{witnessMapHits, witnessMapEvents, witnessMapLost, witnessMapCounts, witnessMapTurns, witnessMapKnown} {
		if k.maps[name], err = ebpf.NewMap(spec.Maps[name]); err != nil {
			return nil, errors.Join(fmt.Errorf("map %s: %w", name, err), k.Close())
		}
	}
	if k.ring, err = ringbuf.NewReader(k.maps[witnessMapEvents]); err != nil {
		return nil, errors.Join(fmt.Errorf("ring of events: %w", err), k.Close())
	}
	k.ring.SetDeadline(time.Unix(1, 0)) // reading does not wait
	return k, nil
}

// Close takes everything out of the kernel. For plain uprobes that are being taken away it waits as Attachment.Close does for
// others: until then they hold the mounts of their files.
func (k *Kernel) Close() error {
	errs := []error{within(closeTimeout, func() error { k.detaching.Wait(); return nil })}
	for _, l := range k.links {
		errs = append(errs, l.Close())
	}
	if k.call != nil {
		errs = append(errs, k.call.Close())
	}
	if k.ring != nil {
		errs = append(errs, k.ring.Close())
	}
	for _, m := range k.maps {
		errs = append(errs, m.Close())
	}
	k.links, k.call, k.ring, k.maps = nil, nil, nil, nil
	return errors.Join(errs...)
}

// load loads one program.
func (k *Kernel) load(name string, variables map[string]uint8) (*ebpf.Program, error) {
	spec := k.spec.Copy()
	for variable, value := range variables {
		if err := spec.Variables[variable].Set(value); err != nil {
			return nil, err
		}
	}
	program := spec.Programs[name]
	spec.Programs = map[string]*ebpf.ProgramSpec{name: program}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: k.maps})
	if err != nil {
		return nil, err
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}

// hook is a way to attach programs, all or none of them.
type hook struct {
	name     string
	programs map[string]string // program to tracepoint
	raw      bool
}

// attach tries hooks in order, and returns the name of the first that works. Those before it are the refusals.
func (k *Kernel) attach(hooks ...hook) (used string, refused []Refusal) {
	for _, h := range hooks {
		links, err := k.try(&h)
		if err == nil {
			k.links = append(k.links, links...)
			return h.name, refused
		}
		refused = append(refused, Refusal{h.name, err})
	}
	return "", refused
}

func (k *Kernel) try(h *hook) (links []link.Link, err error) {
	defer func() {
		if err != nil {
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	for name, tracepoint := range h.programs {
		program, err := k.load(name, nil)
		if err != nil {
			return links, err
		}
		var l link.Link
		if h.raw {
			l, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: tracepoint, Program: program})
		} else {
			l, err = link.AttachTracing(link.TracingOptions{Program: program})
		}
		if err := errors.Join(err, program.Close()); err != nil { // the link holds it
			return links, err
		}
		links = append(links, l)
	}
	return links, nil
}

// The tracepoints of processes.
const (
	traceExec = "sched_process_exec"
	traceFork = "sched_process_fork"
	traceExit = "sched_process_exit"
)

// processHooks are the ways to have processes told.
var processHooks = []hook{
	{"tp_btf", map[string]string{witnessProgOnExec: traceExec, witnessProgOnFork: traceFork, witnessProgOnExit: traceExit}, false},
	{"raw_tracepoint", map[string]string{witnessProgOnRawExec: traceExec, witnessProgOnRawFork: traceFork, witnessProgOnRawExit: traceExit}, true},
}

// WatchProcesses has starts, forks and ends of processes told. used is the hook, empty if all were refused.
func (k *Kernel) WatchProcesses() (used string, refused []Refusal) { return k.attach(processHooks...) }

// WatchConnects has outbound TCP connections told.
func (k *Kernel) WatchConnects() (used string, refused []Refusal) {
	return k.attach(hook{"tp_btf", map[string]string{witnessProgOnConnect: "inet_sock_set_state"}, false})
}

// HookUprobe is the hook of probes where the kernel has no uprobe.multi.
const HookUprobe = "uprobe"

// PrepareCalls loads the program of probes. The hook is uprobe.multi, or uprobe where the kernel has no other: then every
// probe is a link of its own, which takes CAP_SYS_ADMIN and a tenth of a second to detach.
func (k *Kernel) PrepareCalls() (used string, refused []Refusal) {
	type way struct {
		hook, program string
		walk          bool
	}
	ways := []way{{HookUprobe, witnessProgOnCall, k.stack}, {HookUprobe, witnessProgOnCall, false}}
	if err := features.HaveBPFLinkUprobeMulti(); err == nil {
		ways = append([]way{{"uprobe.multi", witnessProgOnCallMulti, k.stack}, {"uprobe.multi", witnessProgOnCallMulti, false}}, ways...)
	} else {
		refused = append(refused, Refusal{"uprobe.multi", err})
	}
	for _, w := range ways {
		if w.hook == HookUprobe {
			if err := mayUprobe(); err != nil {
				return "", append(refused, Refusal{HookUprobe, err})
			}
		}
		one := uint8(0)
		if w.walk {
			one = 1
		}
		program, err := k.load(w.program, map[string]uint8{witnessVarWalkStacks: one})
		if err != nil {
			refused = append(refused, Refusal{w.hook, err})
			continue
		}
		k.call, k.multi = program, w.program == witnessProgOnCallMulti
		return w.hook, refused
	}
	return "", refused
}

// mayUprobe is the kernel's refusal of plain uprobes, before there is one.
func mayUprobe() error {
	kind, err := os.ReadFile("/sys/bus/event_source/devices/uprobe/type")
	if err != nil {
		return nil //nolint:nilerr // then they are made otherwise
	}
	number, err := strconv.ParseUint(strings.TrimSpace(string(kind)), 10, 32)
	if err != nil {
		return err
	}
	attr := unix.PerfEventAttr{Type: uint32(number), Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		return unix.Close(fd)
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("perf event of an uprobe: %w", err)
	}
	return nil // it is of no file: other errors are of those who may
}

// Mapping is a file that a process has mapped executable.
type Mapping struct {
	Process       Process
	File          FileID
	Start, Offset uint64 // in the memory of the process, in the file
}

// Mapped calls do for each file that is mapped executable now, by any process. The kernel tells the same identities as in
// stacks, where /proc shows others (overlayfs).
func (k *Kernel) Mapped(do func(Mapping)) (err error) {
	program, err := k.load(witnessProgOnMapped, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	all, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	from, err := all.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	buffered := bufio.NewReader(from)
	raw := make([]byte, unsafe.Sizeof(witnessMapping{}))
	for {
		_, err := io.ReadFull(buffered, raw)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read mappings: %w", err)
		}
		m, _ := as[witnessMapping](raw)
		do(Mapping{processOf(&m.Process), fileOf(&m.File), m.Start, m.Offset})
	}
}

// Probe is an instruction of a file.
type Probe struct {
	ID     uint32
	Offset uint64 // in the file
}

// Attachment are probes of a file.
type Attachment struct {
	kernel *Kernel
	links  []link.Link
	alone  []Probe // probes that are links of their own
}

// closeTimeout is how long Close waits.
const closeTimeout = 2 * time.Second

// Close detaches: no call is counted that begins after it returned. The kernel then waits until no process is in a program
// any more, which can take many seconds on a busy or an idle host, and a tenth of a second for each plain uprobe. Close does
// not wait for more than two seconds, and for plain uprobes not at all.
func (a *Attachment) Close() error {
	if len(a.alone) > 0 {
		var errs []error
		for _, p := range a.alone {
			errs = append(errs, a.kernel.setTurn(p.ID, 0))
		}
		a.kernel.detaching.Go(func() {
			for _, l := range a.links {
				a.kernel.one.Lock() // the kernel does one at a time: no thread waits for it
				_ = l.Close()
				a.kernel.one.Unlock()
			}
		})
		return errors.Join(errs...)
	}
	return within(closeTimeout, func() error {
		var errs []error
		for _, l := range a.links {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	})
}

// within waits for do, but not for long: then it goes on by itself.
func within(long time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return nil
	}
}

// setTurn has only those plain uprobes of a probe count that were attached in a turn.
func (k *Kernel) setTurn(probe, turn uint32) error {
	turns := k.maps[witnessMapTurns]
	if turns == nil { // closed, as is the program
		return nil
	}
	if err := turns.Put(probe, turn); err != nil {
		return fmt.Errorf("turn of a probe: %w", err)
	}
	return nil
}

// Attach probes an open file, all or nothing. PrepareCalls must have been called.
func (k *Kernel) Attach(file *os.File, probes []Probe) (*Attachment, error) {
	if k.call == nil {
		return nil, errors.New("no program for probes could be loaded")
	}
	// The descriptor names the very file that the offsets are of, whatever its path is now.
	executable, err := link.OpenExecutable("/proc/self/fd/" + strconv.Itoa(int(file.Fd())))
	if err != nil {
		return nil, err
	}
	a := &Attachment{kernel: k}
	if k.multi {
		o := &link.UprobeMultiOptions{}
		for _, p := range probes {
			o.Addresses = append(o.Addresses, p.Offset)
			o.Cookies = append(o.Cookies, uint64(p.ID))
		}
		l, err := executable.UprobeMulti(nil, k.call, o)
		if err != nil {
			return nil, err
		}
		a.links = []link.Link{l}
		return a, nil
	}
	k.turn++
	for _, p := range probes {
		a.alone = append(a.alone, p)
		err := k.setTurn(p.ID, k.turn)
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
		l, err := executable.Uprobe("", k.call, &link.UprobeOptions{Address: p.Offset, Cookie: uint64(k.turn)<<32 | uint64(p.ID)})
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
		a.links = append(a.links, l)
	}
	return a, nil
}

// Types of events.
const (
	EventExec     = uint32(witnessEventTypeEVENT_EXEC)
	EventFork     = uint32(witnessEventTypeEVENT_FORK)
	EventExit     = uint32(witnessEventTypeEVENT_EXIT)
	EventConnect  = uint32(witnessEventTypeEVENT_CONNECT)
	EventFirstHit = uint32(witnessEventTypeEVENT_FIRST_HIT)
)

// Process is one of the host: its pid in the first pid namespace, and when its first thread began, in nanoseconds since
// boot. Pids are used again, so it takes both.
type Process struct {
	PID   uint32
	Start uint64
}

func processOf(p *witnessProcess) Process { return Process{p.Pid, p.Start} }

// FileID is a file as the kernel tells it apart. Dev is major << 20 | minor.
type FileID struct {
	Dev, Generation uint32
	Inode           uint64
}

func fileOf(f *witnessFileId) FileID { return FileID{f.Dev, f.Generation, f.Inode} }

// Program is a file as it is now, by a name, in a place, as a user.
type Program struct {
	File           FileID
	Changed        int64 // nanoseconds since 1970
	Cgroup         uint64
	MountNamespace uint32
	UID            uint32
	Name           uint64 // a hash of the name by which it is executed
}

func programOf(p *witnessProgram) Program {
	return Program{fileOf(&p.File), p.Changed, p.Cgroup, p.MountNamespace, p.Uid, p.Name}
}

// Know has starts of a program not end waiting any more: see File. The least recently started are forgotten.
func (k *Kernel) Know(p Program) error {
	file := witnessFileId{Dev: p.File.Dev, Generation: p.File.Generation, Inode: p.File.Inode}
	key := witnessProgram{File: file, Changed: p.Changed, Cgroup: p.Cgroup, MountNamespace: p.MountNamespace, Uid: p.UID, Name: p.Name}
	if err := k.maps[witnessMapKnown].Put(key, uint8(1)); err != nil {
		return fmt.Errorf("known programs: %w", err)
	}
	return nil
}

// Frame is a place in a file, and where in the process that is mapped. Without a file, Offset is an address in the process.
// Addresses must not leave the receiver.
type Frame struct {
	File            FileID
	Offset, Mapping uint64
}

// Event is what a program tells. Members that an event of its Type does not have are zero.
type Event struct {
	Type    uint32
	UID     uint32
	Time    time.Duration // since boot
	Process Process
	Parent  Process // of an exec and a fork
	// Of an exec: what is executed; the names of the cgroup and those above it, innermost first; and what was
	// given to execve, or named by the script that was. UID is the effective user.
	Program  Program
	Cgroups  [3]string
	Filename string
	// ExitCode is as wait has it.
	ExitCode int32
	// Of a first hit: the probe, and the stack, innermost first. Cut says that it has more frames.
	Probe  uint32
	Frames []Frame
	Cut    bool
}

// File can be waited for, until there are events to read. Forks, exits, and starts of known programs do not end waiting.
func (k *Kernel) File() int { return k.maps[witnessMapEvents].FD() }

// maxRead is how many events are read at once: more may come as fast as they are read.
const maxRead = 16 << 10

// Read calls do for the events that there are, and bad for each that cannot be read. It does not wait.
func (k *Kernel) Read(do func(*Event), bad func()) error {
	for range maxRead {
		err := k.ring.ReadInto(&k.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ring of events: %w", err)
		}
		if event, err := decode(k.record.RawSample); err == nil {
			do(&event)
		} else {
			bad()
		}
	}
	return nil
}

var errEvent = errors.New("an event of the kernel has another size than this program knows")

func decode(raw []byte) (e Event, err error) {
	head, ok := as[witnessHeader](raw)
	if !ok {
		return e, errEvent
	}
	e.Type, e.UID, e.Time, e.Process = head.Type, head.Uid, time.Duration(head.Time), processOf(&head.Process) //nolint:gosec // hundreds of years
	switch head.Type {
	case EventExec:
		x, ok := as[witnessExecEvent](raw)
		if !ok {
			return e, errEvent
		}
		e.Parent, e.Program, e.Filename = processOf(&x.Parent), programOf(&x.Program), text(x.Filename[:])
		for i := range x.Cgroups {
			e.Cgroups[i] = text(x.Cgroups[i][:])
		}
	case EventFork:
		x, ok := as[witnessForkEvent](raw)
		if !ok {
			return e, errEvent
		}
		e.Parent = processOf(&x.Parent)
	case EventExit:
		x, ok := as[witnessExitEvent](raw)
		if !ok {
			return e, errEvent
		}
		e.ExitCode = x.Code
	case EventFirstHit:
		x, ok := as[witnessFirstHitEvent](raw)
		if !ok || int(x.Frames) > len(x.Frame) {
			return e, errEvent
		}
		e.Probe, e.Cut = x.Probe, int(x.Frames) == len(x.Frame)
		for i := range x.Frame[:x.Frames] {
			f := &x.Frame[i]
			e.Frames = append(e.Frames, Frame{fileOf(&f.File), f.Offset, f.Mapping})
		}
	}
	return e, nil
}

// as reads raw as what the generated types, which have no pointers, say; false if it is too short.
func as[T any](raw []byte) (*T, bool) {
	var none T
	if uintptr(len(raw)) < unsafe.Sizeof(none) {
		return nil, false
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(raw))), true
}

// text is what is before the first zero.
func text(raw []int8) string {
	b := make([]byte, 0, len(raw))
	for _, c := range raw {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// HitKey is what hits are counted by.
type HitKey struct {
	Probe   uint32
	Process Process
}

// Hit is how often, and when first and last, since boot. Counts only grow.
type Hit struct {
	Hits        uint64
	First, Last time.Duration
}

// Hits calls do for all that is counted. What changes meanwhile can be there or not: it is there the next time.
func (k *Kernel) Hits(do func(HitKey, Hit)) error {
	var cursor ebpf.MapBatchCursor
	const many = 512
	keys, values := make([]witnessHitKey, many), make([]witnessHit, many)
	seen := map[witnessHitKey]struct{}{}
	for {
		n, err := k.maps[witnessMapHits].BatchLookup(&cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return fmt.Errorf("read hits: %w", err)
		}
		for i := range n {
			if _, again := seen[keys[i]]; again { // entries that move can come twice
				continue
			}
			seen[keys[i]] = struct{}{}
			h := &values[i]
			do(HitKey{keys[i].Probe, processOf(&keys[i].Process)}, Hit{h.Hits, time.Duration(h.First), time.Duration(h.Last)}) //nolint:gosec // hundreds of years
		}
		if last {
			return nil
		}
	}
}

// Forget makes room: what is forgotten is counted from 0 again if it comes again.
func (k *Kernel) Forget(key HitKey) error {
	err := k.maps[witnessMapHits].Delete(witnessHitKey{Probe: key.Probe, Process: witnessProcess{Pid: key.Process.PID, Start: key.Process.Start}})
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// Counts since Open.
type Counts struct {
	Submitted                               uint64 // events that were put into the ring
	ProcessesLost, ConnectsLost, StacksLost uint64 // events for which the ring had no room
	HitsLost                                uint64 // hits of processes for which the table of hits had no room
	StacksFailed, FramesFailed              uint64 // stacks that could not be walked, frames that lie in no file that could be found
}

// Counts adds up what the processors counted.
func (k *Kernel) Counts() (Counts, error) {
	sum := func(what witnessCount) (total uint64, err error) {
		var each []uint64
		err = k.maps[witnessMapCounts].Lookup(uint32(what), &each)
		for _, n := range each {
			total += n
		}
		return total, err
	}
	var c Counts
	for what, into := range map[witnessCount]*uint64{
		witnessCountCOUNT_SUBMITTED: &c.Submitted, witnessCountCOUNT_PROCESSES_LOST: &c.ProcessesLost,
		witnessCountCOUNT_CONNECTS_LOST: &c.ConnectsLost, witnessCountCOUNT_STACKS_LOST: &c.StacksLost,
		witnessCountCOUNT_HITS_LOST: &c.HitsLost, witnessCountCOUNT_STACKS_FAILED: &c.StacksFailed,
	} {
		var err error
		if *into, err = sum(what); err != nil {
			return Counts{}, fmt.Errorf("read counts: %w", err)
		}
	}
	return c, nil
}

// Lost is how many hits of a probe were lost because the table was full.
func (k *Kernel) Lost(probe uint32) (n uint64, err error) {
	err = k.maps[witnessMapLost].Lookup(probe, &n)
	return n, err
}
