package ebpfreceiver

import (
	"cmp"
	"errors"
	"os"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/perf"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// file is one that was mapped executable, as the kernel tells files apart: containers that share a layer of an image share
// its files.
type file struct {
	id      bpf.FileID
	path    string // in the mount namespace of the process that had it mapped first
	deleted bool
	facts   *artifact.Facts // nil if it could not be read
	symbols procfs.FileID   // by which its symbols are cached
	// others are the same file under other names, by what the kernel calls it there.
	others map[string]*file
	looked int // in which interval it was found to be the same still
	// wanted is the version of what is wanted by which it was last looked at.
	wanted int
	probed *probed // its probes, if any
}

// inspect reads what a file says of itself, once for each content.
func (e *engine) inspect(f *procfs.File) *artifact.Facts {
	id := f.ID.WithoutGeneration() // as ExecutableID
	if facts, ok := e.facts.Get(id); ok {
		return facts
	}
	facts := &artifact.Facts{}
	info, err := elffile.Read(f)
	if err == nil {
		facts.BuildID, facts.GoBuildID = info.BuildID, info.GoBuildID
		if build, err := elffile.BuildInfo(f); err == nil {
			facts.SetBuildInfo(build)
		}
	} else if !errors.Is(err, elffile.ErrNotELF) && !errors.Is(err, elffile.ErrLimit) {
		return nil // it may be readable the next time
	}
	e.facts.Add(id, facts)
	return facts
}

// mapped takes account of a file that a process mapped executable.
func (e *engine) mapped(p *process, id bpf.FileID, start uint64, path string, at time.Duration) {
	f := e.fileOf(p, id, start, path)
	if f == nil {
		return
	}
	e.enterFile(p, f)
	if e.config.Signals.Load {
		e.tellLoad(p, f, e.wall(at))
	}
}

// early is what a process mapped before its start was told: all of it, or the start of the program that it begins to execute.
type early struct {
	since    time.Duration
	mappings []perf.Mapping
}

// begins takes account of a process that begins to execute another program. What it maps is of that, and waits for it to be
// told.
func (e *engine) begins(pid uint32, at time.Duration) {
	if p := e.processes.live[pid]; p != nil && p.executed > at {
		return // it is told already
	}
	if e.early[pid] == nil && len(e.early) < maxEarly {
		e.early[pid] = &early{since: at}
	}
}

// recorded takes account of a mapping that perf recorded.
func (e *engine) recorded(m *perf.Mapping) {
	p, waits := e.processes.byPID(m.PID), e.early[m.PID]
	if p == nil && waits == nil {
		e.begins(m.PID, m.Time)
		waits = e.early[m.PID]
	}
	switch {
	case waits != nil && len(waits.mappings) < maxEarly:
		waits.mappings = append(waits.mappings, *m)
	case waits != nil || p == nil:
		e.ledger.miss(stageUnresolved, 1)
	default:
		e.mapped(p, bpf.FileID{Dev: m.Dev, Generation: m.Generation, Inode: m.Inode}, m.Start, m.Path, m.Time)
	}
}

// maxEarly is how many processes' mappings wait for the start of the process to be told, and how many of one.
const maxEarly = 1024

// slowestExec is how long it takes to execute a program, at most.
const slowestExec = 5 * time.Second

// isKnown reports whether there is nothing more to find out about a file by one of its names.
func (e *engine) isKnown(id bpf.FileID, path string) bool {
	f, ok := e.files.Peek(id)
	if !ok {
		return false
	}
	known := func(named *file) bool {
		return named.path == path && named.facts != nil && (named.probed != nil || named.wanted == e.wanted.version)
	}
	for _, named := range f.others {
		if known(named) {
			return true
		}
	}
	return known(f)
}

// fileOf is a file that a process has mapped at start. path is what the kernel calls it, which is of another mount namespace.
func (e *engine) fileOf(p *process, id bpf.FileID, start uint64, path string) *file {
	var users map[bpf.Process]struct{}
	if known, ok := e.files.Get(id); ok && known.facts != nil { // else who had it mapped ended too soon: perhaps not this time
		if f := e.again(known, p, start, path); f != nil {
			e.want(f, nil, p, start)
			return f
		}
		if known.probed != nil { // its probes are of what it was
			users = known.probed.users
			e.unprobe(known.probed)
		}
	}
	f := &file{id: id, path: procfs.WithoutDeleted(path), wanted: -1, looked: e.interval}
	opened, err := e.openOf(p, start, id, f.path)
	if err == nil {
		defer opened.Close()
		f.path, f.deleted, f.symbols = opened.path, opened.deleted, opened.ID
		f.facts = e.inspect(opened.File)
	}
	if f.path == "" {
		return nil
	}
	e.files.Add(id, f)
	if opened != nil {
		e.want(f, opened.File, p, start)
	}
	for id := range users { // it can be the same but for its times
		if user := e.processes.find(id); user != nil {
			e.enterFile(user, f)
		}
	}
	return f
}

// maxNames is how many names of a file are told apart.
const maxNames = 16

// again is a file that is known, under the name that it has for the process. It is looked at once an interval, and when it has
// another name. It is nil if it is not what it was: to be written anew leaves a file its identity.
func (e *engine) again(f *file, p *process, start uint64, path string) *file {
	named := f
	if other := f.others[path]; other != nil {
		named = other
	}
	seen := path == "" || f.others[path] != nil
	if seen && f.looked == e.interval {
		return named
	}
	o, err := e.openOf(p, start, f.id, cmp.Or(procfs.WithoutDeleted(path), f.path))
	if err != nil {
		return named // it has ended
	}
	defer o.Close()
	if o.ID != f.symbols && !e.renew(f, o) {
		return nil
	}
	f.looked = e.interval
	if seen || len(f.others) >= maxNames {
		return named
	}
	if f.others == nil {
		f.others = map[string]*file{}
	}
	if o.path != f.path {
		named = &file{id: f.id, path: o.path, deleted: o.deleted, facts: f.facts, symbols: f.symbols, wanted: -1}
	}
	f.others[path] = named
	return named
}

// renew takes account of a file that was touched since it was opened. It is false if it has another content: a name that is given or
// taken changes only its times, and leaves its probes where they are.
func (e *engine) renew(f *file, o *opened) bool {
	facts := e.inspect(o.File)
	if facts == nil || o.ID.Size != f.symbols.Size || facts.BuildID != f.facts.BuildID || facts.GoBuildID != f.facts.GoBuildID || facts.BuildID+facts.GoBuildID == "" {
		return false
	}
	if f.probed != nil {
		for _, p := range f.probed.probes {
			if same, err := probepoint.Verify(f.probed.file, &p.point); err != nil || !same {
				return false
			}
		}
	}
	f.facts, f.symbols = facts, o.ID
	for _, other := range f.others {
		other.facts, other.symbols = facts, o.ID
	}
	return true
}

// opened is a file of a process.
type opened struct {
	*procfs.File
	path    string
	deleted bool
}

// openOf opens the file that a process has mapped at an address, or had when it lived, if it is of the host and still has that
// path.
func (e *engine) openOf(p *process, start uint64, id bpf.FileID, path string) (*opened, error) {
	o, err := e.open(p, start, id)
	if err != nil && p.place == (place{}) && path != "" {
		o, err = openOnHost(path, id)
	}
	return o, err
}

// open opens the file that a process has mapped at an address, if that is the one that is meant: the process may execute
// another program by now.
func (e *engine) open(p *process, start uint64, id bpf.FileID) (*opened, error) {
	from, err := e.proc.Find(e.procID(p.id))
	if err != nil {
		return nil, err
	}
	defer from.Close()
	for m, err := range from.Mappings() {
		if err != nil {
			return nil, err
		}
		if m.Start != start {
			continue
		}
		f, err := from.OpenMapping(m)
		if err != nil {
			return nil, err
		}
		if m.Inode != id.Inode || deviceOf(m.Dev) != id.Dev {
			// On overlayfs programs in the kernel see the file of the layer.
			if layer, err := e.layerOf(id, f.File, p, start, true); err != nil || layer != id {
				return nil, errors.Join(errNotMapped, f.Close())
			}
		}
		return &opened{f, m.Path, m.Deleted}, nil
	}
	return nil, errNotMapped
}

// deviceOf is the number of a device as the kernel has it.
func deviceOf(dev uint64) uint32 { return unix.Major(dev)<<20 | unix.Minor(dev) }

// openOnHost opens a file of the host by its path, if that is the one that is meant.
func openOnHost(path string, id bpf.FileID) (*opened, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return nil, err
	}
	same := func() bool {
		return stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Ino == id.Inode && deviceOf(stat.Dev) == id.Dev
	}
	if !same() {
		return nil, errNotMapped
	}
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil || !same() {
		return nil, errors.Join(errNotMapped, f.Close())
	}
	identity, err := procfs.Identify(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &opened{&procfs.File{File: f, ID: identity}, path, false}, nil
}

var errNotMapped = errors.New("nothing is mapped there any more")

// load is a file that was told to be loaded in a place, in this interval.
type load struct {
	file bpf.FileID
	path string
	at   place
}

// tellLoad writes a runtime.load record, once an interval for each file and place.
func (e *engine) tellLoad(p *process, f *file, at time.Time) {
	if _, told := e.loads[load{f.id, f.path, p.place}]; told {
		return
	}
	if len(e.loads) >= e.config.Limits.Files {
		clear(e.loads) // what is told twice is counted twice, which loads are
	}
	e.loads[load{f.id, f.path, p.place}] = struct{}{}
	m := e.record(p.place, semconv.EventLoad, at)
	e.putProcess(m, p)
	witness.PutStack(m, witness.Frame{Module: moduleOf(f.path, f.facts)})
}

// newCache is a table of a limited size that counts what it gives up, by its name.
func newCache[K comparable, V any](e *engine, name string) *simplelru.LRU[K, V] {
	cache, _ := simplelru.NewLRU(e.config.Limits.Files, func(K, V) { e.evictions[name]++ }) // its only error is a size that is not positive, which Validate refuses
	return cache
}
