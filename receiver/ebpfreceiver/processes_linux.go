package ebpfreceiver

import (
	"path"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// process is what is known of a process of the host.
type process struct {
	id       bpf.Process
	parent   uint32 // pid
	uid      uint32
	path     string // of its executable, in its own mount namespace; empty if unknown
	deleted  bool
	facts    *artifact.Facts // of its executable, nil if unknown
	place    place
	origin   witness.Origin
	executed time.Duration      // since boot; what was mapped before is gone
	files    map[*file]struct{} // those with probes that it has mapped
}

// processes are those that live, and those that ended a short while ago: what they did before can still be told.
type processes struct {
	limit   int
	live    map[uint32]*process
	crowded uint64   // for which there was no room since it was last told
	ended   [2]ended // since hits were last read, and before that
	evicted func()
}

// ended are processes by what they are, and the last one with a pid.
type ended struct {
	all  map[bpf.Process]*process
	last map[uint32]*process
}

func newEnded() ended { return ended{map[bpf.Process]*process{}, map[uint32]*process{}} }

func newProcesses(limit int, evicted func()) *processes {
	return &processes{limit: limit, live: map[uint32]*process{}, ended: [2]ended{newEnded(), newEnded()}, evicted: evicted}
}

// find returns a process, dead or alive.
func (p *processes) find(id bpf.Process) *process {
	if found := p.live[id.PID]; found != nil && found.id == id {
		return found
	}
	if found := p.ended[0].all[id]; found != nil {
		return found
	}
	return p.ended[1].all[id]
}

// hasEnded says whether a process ended a short while ago.
func (p *processes) hasEnded(id bpf.Process) bool {
	found := p.find(id)
	return found != nil && p.live[id.PID] != found
}

// byPID is the process that has a pid, or had it last.
func (p *processes) byPID(pid uint32) *process {
	for _, in := range []map[uint32]*process{p.live, p.ended[0].last, p.ended[1].last} {
		if found := in[pid]; found != nil {
			return found
		}
	}
	return nil
}

// forget forgets those that ended before hits were last read.
func (p *processes) forget() { p.ended = [2]ended{newEnded(), p.ended[0]} }

// add adds a process. It returns the one that had its pid and whose end was missed. In a full table there is no room for it.
func (p *processes) add(new *process) (missed *process) {
	missed = p.live[new.id.PID]
	switch {
	case missed == nil && len(p.live) >= p.limit:
		p.crowded++
		p.evicted()
		return nil
	case missed != nil && missed.id == new.id:
		missed = nil // the same one, which executes something else
	case missed != nil:
		p.end(missed)
	}
	p.live[new.id.PID] = new
	return missed
}

// end takes a process out of those that live.
func (p *processes) end(of *process) {
	if p.live[of.id.PID] == of {
		delete(p.live, of.id.PID)
	}
	if len(p.ended[0].all) >= p.limit {
		p.evicted()
		return
	}
	p.ended[0].all[of.id], p.ended[0].last[of.id.PID] = of, of
}

// learn fills in what /proc says of where it runs and what. What it runs is left out when that is not the file that it was told
// to execute, if one is given: then it executed another one meanwhile. The error is one of where it runs: then it has probably ended.
func (e *engine) learn(p *process, from *procfs.Process, file bpf.FileID) error {
	at, err := from.Place()
	p.place = placeOf(at)
	p.origin = e.originOf(p)
	exe, unknown := from.Executable()
	if unknown != nil {
		return err
	}
	id, unknown := from.ExecutableID()
	if unknown != nil {
		return err
	}
	facts, known := e.facts.Get(id)
	if !known {
		if f, err := from.OpenExecutable(); err == nil {
			if opened := f.ID.WithoutGeneration(); opened == id {
				facts = e.inspect(f)
			}
			_ = f.Close()
		}
	}
	if file == (bpf.FileID{}) || runs(from, id, file) {
		p.path, p.deleted, p.facts = exe.Path, exe.Deleted, facts
	}
	return err
}

// runs says whether the file that a process runs, which is id, is the one that it was told to.
func runs(from *procfs.Process, id procfs.FileID, file bpf.FileID) bool {
	if id.Inode == file.Inode && deviceOf(id.Dev) == file.Dev {
		return true
	}
	for m, err := range from.Mappings() { // some file systems have another device in stat
		if err == nil && m.Inode == file.Inode && deviceOf(m.Dev) == file.Dev {
			return true
		}
	}
	return false
}

// learnAll fills in all of a process whose start was not told.
func (e *engine) learnAll(p *process, from *procfs.Process) {
	if status, err := from.Status(); err == nil {
		p.uid = status.EffectiveUser
	}
	p.parent = uint32(from.Parent())   //nolint:gosec // pids have 22 bits
	_ = e.learn(p, from, bpf.FileID{}) // its place is unknown then
}

// originOf says whose process it is: ours, or a workload's. Who put it into a container is not known.
func (e *engine) originOf(p *process) witness.Origin {
	switch {
	case p.id.PID == e.self:
		return witness.OriginSelf
	case p.place.unknown:
		return witness.OriginUnknown
	default:
		return witness.OriginWorkload
	}
}

// remembered returns what is known of a process, from /proc if need be. It is never nil.
func (e *engine) remembered(id bpf.Process) *process {
	if p := e.processes.find(id); p != nil {
		return p
	}
	p := &process{id: id, place: place{unknown: true}, origin: witness.OriginUnknown}
	from, err := e.proc.Find(e.procID(id))
	if err != nil {
		return p // it has ended, and its start was missed
	}
	defer from.Close()
	e.learnAll(p, from)
	e.forgetProcess(e.processes.add(p))
	return p
}

// lives is an error if a process has ended.
func (e *engine) lives(id bpf.Process) error {
	from, err := e.proc.Find(e.procID(id))
	if err != nil {
		return err
	}
	defer from.Close()
	if from.Ended() {
		return procfs.ErrGone
	}
	return nil
}

func (e *engine) procID(id bpf.Process) procfs.ID {
	return procfs.ID{Boot: e.boot, PID: int(id.PID), Start: procfs.Start(id.Start)} //nolint:gosec // hundreds of years
}

// executed takes account of a process that begins to run a binary.
func (e *engine) executed(event *bpf.Event) {
	p := &process{
		id: event.Process, parent: event.Parent.PID, uid: event.UID, executed: event.Time, origin: witness.OriginUnknown,
		place: place{unknown: true},
	}
	from, gone := e.proc.Find(e.procID(p.id))
	ended := gone
	if gone == nil {
		defer from.Close()
		if ended = e.learn(p, from, event.Program.File); ended == nil && p.place.unknown {
			ended = e.lives(p.id) // of one that is ending, less can be read
		}
	}
	if ended != nil {
		p.place = e.placeOfEnded(event.Cgroups[:], event.Program.MountNamespace)
		p.origin = e.originOf(p)
		if before, ok := e.programs.Get(event.Program); ok && before.filename == event.Filename && before.place == p.place {
			p.path, p.deleted, p.facts = before.path, before.deleted, before.facts
		}
	}
	if p.path == "" && strings.HasPrefix(event.Filename, "/") && !strings.HasPrefix(event.Filename, "/proc/") && !strings.HasPrefix(event.Filename, "/dev/fd/") {
		p.path = path.Clean(event.Filename)
		if f, err := openOnHost(p.path, event.Program.File); err == nil && p.place == (place{}) { // what it was
			p.facts = e.inspect(f.File)
			_ = f.Close()
		} else if err == nil {
			_ = f.Close()
		}
	}
	if f, ok := e.files.Peek(event.Program.File); ok && p.facts != nil && f.facts != p.facts {
		f.looked = -1 // it was written anew
	}
	if before := e.processes.find(p.id); before != nil {
		e.leaveFiles(before) // what it had mapped is gone
	}
	e.forgetProcess(e.processes.add(p))
	if gone == nil {
		e.contain(p, from)
	}
	e.tellExec(p, e.wall(event.Time), false)
	if waited := e.early[p.id.PID]; waited != nil {
		delete(e.early, p.id.PID)
		for i := range waited.mappings {
			e.recorded(&waited.mappings[i])
		}
	}
	if ended == nil && p.facts != nil && strings.HasPrefix(event.Filename, "/") && e.isKnown(event.Program.File, p.path) {
		e.know(event, p)
	}
}

// program is what was found out of one that ran.
type program struct {
	filename string // as it was executed
	place    place
	path     string
	deleted  bool
	facts    *artifact.Facts
}

// know remembers what a program is, for when it starts again: the kernel need not tell that at once then, and what is told of
// one that ended before it was looked at is the same, where it was executed by the same absolute path.
func (e *engine) know(event *bpf.Event, p *process) {
	e.programs.Add(event.Program, program{event.Filename, p.place, p.path, p.deleted, p.facts})
	if err := e.kernel.Know(event.Program); err != nil {
		e.logger.Warn("The kernel did not take that a program is known", zap.Error(delivery.Presentable(err)))
	}
}

// tellExec writes a runtime.exec record.
func (e *engine) tellExec(p *process, at time.Time, preexisting bool) {
	if !e.config.Signals.Exec {
		return
	}
	if p.path == "" && p.facts == nil {
		e.ledger.miss(stageUnresolved, 1)
		return
	}
	m := e.record(p.place, semconv.EventExec, at)
	e.putProcess(m, p)
	if preexisting {
		m.PutBool(semconv.WitnessProcessPreexisting, true)
	}
	witness.PutStack(m, witness.Frame{Module: moduleOf(p.path, p.facts)})
}

func moduleOf(path string, facts *artifact.Facts) witness.Module {
	m := witness.Module{Path: path}
	if facts != nil {
		m.BuildID = facts.BuildID
	}
	return m
}

// putProcess writes who it was.
func (e *engine) putProcess(m pcommon.Map, p *process) {
	m.PutInt(semconv.ProcessPID, int64(p.id.PID))
	if p.parent != 0 {
		m.PutInt(semconv.ProcessParentPID, int64(p.parent))
	}
	m.PutStr(semconv.ProcessCreationTime, e.wall(time.Duration(p.id.Start)).Format(time.RFC3339Nano)) //nolint:gosec // hundreds of years
	m.PutStr(semconv.WitnessOrigin, string(p.origin))
	m.PutInt(semconv.ProcessUserID, int64(p.uid))
	if p.path != "" {
		m.PutStr(semconv.ProcessExecutablePath, p.path)
		m.PutStr(semconv.ProcessExecutableName, path.Base(p.path))
	}
	if p.deleted {
		m.PutBool(semconv.WitnessModuleDeleted, true)
	}
	if p.facts != nil {
		semconv.PutText(m, semconv.ProcessExecutableBuildIDGNU, p.facts.BuildID)
		semconv.PutText(m, semconv.ProcessExecutableBuildIDGo, p.facts.GoBuildID)
	}
}

// forked takes account of a child: it runs what its parent runs, until it executes something else. That is no exec.
func (e *engine) forked(event *bpf.Event) {
	parent := e.processes.find(event.Parent)
	if parent == nil {
		return // it is looked up when it does something
	}
	child := *parent
	child.id, child.parent, child.uid = event.Process, event.Parent.PID, event.UID
	child.origin = e.originOf(&child)
	child.files = nil
	e.forgetProcess(e.processes.add(&child))
	for f := range parent.files {
		e.enterFile(&child, f)
	}
}

// exited takes account of the end of a process.
func (e *engine) exited(event *bpf.Event) {
	p := e.processes.find(event.Process)
	if waited := e.early[event.Process.PID]; waited != nil {
		e.ledger.miss(stageUnresolved, uint64(len(waited.mappings)))
		delete(e.early, event.Process.PID)
	}
	if p == nil || e.processes.live[p.id.PID] != p { // threads that end at the same time each tell it
		return
	}
	if e.config.Signals.Exec && (p.path != "" || p.facts != nil) {
		m := e.record(p.place, semconv.EventExit, e.wall(event.Time))
		e.putProcess(m, p)
		if event.ExitCode&0x7f == 0 { // not by a signal
			m.PutInt(semconv.ProcessExitCode, int64(event.ExitCode>>8&0xff))
		}
	}
	e.processes.end(p)
	e.forgetProcess(p)
}

// forgetProcess takes a process that ended out of what refers to it.
func (e *engine) forgetProcess(p *process) {
	if p != nil {
		e.leaveFiles(p)
	}
}

// connected takes account of an outbound connection.
func (e *engine) connected(event *bpf.Event) {
	p := e.remembered(event.Process)
	m := e.record(p.place, semconv.EventConnect, e.wall(event.Time))
	e.putProcess(m, p)
}

// container is a place and an executable there.
type container struct {
	at   place
	path string
}

// contain tells what a process could reach, when that is not what was told last of its executable there. How it got into its
// container also says whose process it is.
func (e *engine) contain(p *process, from *procfs.Process) {
	if !e.config.Signals.Containment {
		return
	}
	now := e.now()
	signals := append(from.Confinement(now), e.mountsOf(p, from, now)...)
	slices.SortFunc(signals, func(a, b witness.Signal) int { return strings.Compare(string(a.Name), string(b.Name)) })
	var classes strings.Builder
	for i := range signals {
		s := &signals[i]
		if s.Name == witness.SignalEntry && slices.Equal(s.Values, []string{"injected"}) && p.origin == witness.OriginWorkload {
			p.origin = witness.OriginInjected
		}
		classes.WriteString(string(s.Name) + "=" + strings.Join(s.Values, ",") + ";")
	}
	of := container{p.place, p.path}
	if told, _ := e.contained.Get(of); len(signals) == 0 || told == classes.String() {
		return
	}
	e.contained.Add(of, classes.String())
	c := witness.Containment{Executable: moduleOf(p.path, p.facts), Origin: p.origin, Signals: signals}
	c.Put(e.batch.Records(p.place).AppendEmpty(), now)
	e.size++
}

// mounts is what processes with the same mounts have in common.
type mounts struct {
	at        place
	namespace uint64
	root      string
}

// mountsOf reads what is mounted where a process runs once an interval: there may be thousands of mounts.
func (e *engine) mountsOf(p *process, from *procfs.Process, now time.Time) []witness.Signal {
	root, err := from.Root()
	of := mounts{p.place, from.MountNamespace(), root}
	known := err == nil && of.namespace != 0 && !p.place.unknown
	if signals, ok := e.mounts[of]; ok && known {
		return signals
	}
	signals := from.Mounts(now)
	if known && len(e.mounts) < maxContained {
		e.mounts[of] = signals
	}
	return signals
}

// maxContained is how many processes are looked at again in an interval.
const maxContained = 256

// containAgain looks at some of the processes again: a process can change its user and capabilities while it runs.
func (e *engine) containAgain() {
	n := 0
	for _, p := range e.processes.live { // in no order, so that each has its turn
		if n++; n > maxContained || !e.config.Signals.Containment {
			return
		}
		if from, err := e.proc.Find(e.procID(p.id)); err == nil {
			e.contain(p, from)
			from.Close()
		}
	}
}
