package ebpfreceiver

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// groupSize is how many probes share an attachment. To take one away, all of it is: that is a gap for the others. Plain
// uprobes have nothing to share.
func (e *engine) groupSize() int {
	if e.callHook == bpf.HookUprobe {
		return 1
	}
	return 64
}

// maxSuspended is how long a probe is suspended at most before it is tried again.
const maxSuspended = time.Hour

// probe counts calls of a function of a file.
type probe struct {
	id    uint32
	file  *file
	point probepoint.Point
	about witness.About
	group *group // nil while it is not attached

	hits      uint64 // since hits were read the last time
	lost      uint64 // as the kernel told it the last time
	suspended time.Time
	again     time.Duration // how long it is suspended
	gone      int           // of a file that nothing runs any more: how often hits were read since
}

// group is probes that are attached together.
type group struct {
	probes     []*probe
	attachment *bpf.Attachment
}

// probed is a file with probes. On overlayfs it is that of a layer, which each container has under a name, and as a file, of its own.
type probed struct {
	id     bpf.FileID // of the file of the layer
	names  []*file    // under which it was found; the first is what it is called by
	file   *os.File
	probes []*probe
	users  map[bpf.Process]struct{} // who has it mapped
	unused time.Time                // since when nobody has
	// requests are the functions that it was looked through for.
	requests []probepoint.Request
}

// want probes what is wanted of a file that a process has mapped at start, unless that was done. known is the file, opened, or
// nil: then it is opened if need be.
func (e *engine) want(f *file, known *procfs.File, p *process, start uint64) {
	if f.facts == nil || f.wanted == e.wanted.version || f.probed != nil {
		return
	}
	f.wanted = e.wanted.version
	if !e.config.Signals.Call || e.callHook == "" || p.id.PID == e.self {
		return
	}
	requests := e.wanted.of(f.path, f.facts)
	if len(requests) == 0 {
		return
	}
	from, id, err := e.keep(f, known, p, start)
	if err != nil {
		f.wanted-- // the next process that maps it may do
		return
	}
	if other := e.probedFiles[id]; other != nil {
		f.probed = other
		other.names = append(other.names, f)
		_ = from.Close()
		return
	}
	debug := e.debugOf(f, p)
	e.probe(f, id, from, debug, requests)
	if debug != nil {
		_ = debug.Close()
	}
}

// debugOf opens the file with the symbols of a file that was stripped, where distributions put it: in the root of a process
// that runs the file. It is nil where there is none with the same build-id.
func (e *engine) debugOf(f *file, p *process) *procfs.File {
	id := f.facts.BuildID
	if len(id) < 4 {
		return nil
	}
	from, err := e.proc.Find(e.procID(p.id))
	if err != nil {
		return nil
	}
	defer from.Close()
	debug, err := from.OpenInRoot("/usr/lib/debug/.build-id/" + id[:2] + "/" + id[2:] + ".debug")
	if err != nil {
		return nil
	}
	if info, err := elffile.Read(debug); err != nil || info.BuildID != id {
		_ = debug.Close()
		return nil
	}
	return debug
}

// keep opens a file of which probes are attached, for as long as that is so. The id is that of the file that the kernel attaches to.
func (e *engine) keep(f *file, known *procfs.File, p *process, start uint64) (from *os.File, id bpf.FileID, err error) {
	if known != nil { // a descriptor of its own, of the same file
		from, err = reopen(known.File)
	} else {
		var o *opened
		if o, err = e.open(p, start, f.id); err == nil && o.ID != f.symbols {
			err = errors.Join(errNotMapped, o.Close())
		} else if err == nil {
			from = o.File.File
		}
	}
	if err != nil {
		return nil, id, err
	}
	if id, err = e.layerOf(f.id, from, p, start, false); err != nil {
		return nil, id, errors.Join(err, from.Close())
	}
	return from, id, nil
}

// layerOf is the file of a layer that a file on overlayfs is, else the id itself. Only programs in the kernel see it, while it
// is mapped. strict says that the id is wrong if the file is not on overlayfs.
func (e *engine) layerOf(of bpf.FileID, from *os.File, p *process, start uint64, strict bool) (id bpf.FileID, err error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(from.Fd()), &stat); err != nil {
		return id, err
	}
	switch {
	case stat.Type == unix.OVERLAYFS_SUPER_MAGIC:
	case strict:
		return id, errNotMapped
	default:
		return of, nil
	}
	found := false
	err = e.kernel.Mapped(func(m bpf.Mapping) {
		if m.Process == p.id && m.Start == start {
			id, found = m.File, true
		}
	})
	if err == nil && !found {
		err = errNotMapped
	}
	return id, err
}

// probe attaches to the functions that are requested of a file, and says of each what became of it.
// Debug has more of its symbols, or is nil.
func (e *engine) probe(f *file, id bpf.FileID, opened *os.File, debug *procfs.File, requests []probepoint.Request) {
	if len(e.probedFiles) >= e.config.Probes.MaxFiles {
		for i := range requests {
			e.refuse(f, &requests[i], witness.ReasonOverBudget)
		}
		_ = opened.Close()
		return
	}
	options := probepoint.Options{SingleStep: e.config.Probes.AllowSingleStep, MaxPoints: e.config.Probes.Max}
	if debug != nil {
		options.Debug, options.DebugSize = debug, debug.ID.Size
	}
	points, refusals, err := probepoint.Resolve(opened, f.symbols.Size, requests, options)
	if err != nil {
		e.logger.Warn("Functions could not be looked up in a file", zap.Error(delivery.Presentable(err)))
	}
	for i := range refusals {
		n, _ := strconv.Atoi(refusals[i].Request) // as unique numbers them
		e.refuse(f, &requests[n], string(refusals[i].Reason))
	}
	if len(points) == 0 {
		_ = opened.Close()
		return
	}
	f.probed = &probed{id: id, names: []*file{f}, file: opened, requests: requests, users: map[bpf.Process]struct{}{}, unused: e.now()}
	e.probedFiles[id] = f.probed
	at := map[uint64]bool{}
	for i := range points {
		point := points[i]
		if at[point.Offset] {
			continue // two requests ask for it
		}
		at[point.Offset] = true
		about := witness.About{
			Module: moduleOf(f.path, f.facts), Language: point.Symbol.Language, Package: point.Symbol.Package, Member: point.Symbol.Member,
			Symbol: point.Symbol.Name,
		}
		id, ok := e.takeID()
		if !ok {
			e.refused++
			e.status(targetCall, about, witness.StateRefused, witness.ReasonOverBudget)
			continue
		}
		p := &probe{id: id, file: f, point: point, about: about}
		p.lost, _ = e.kernel.Lost(id)
		e.probes[id] = p
		f.probed.probes = append(f.probed.probes, p)
	}
	for probes := range slices.Chunk(f.probed.probes, e.groupSize()) {
		e.attach(probes)
	}
}

// attach attaches probes of a file as a group.
func (e *engine) attach(probes []*probe) {
	g := &group{probes: slices.Clone(probes)}
	f := probes[0].file
	places := make([]bpf.Probe, 0, len(probes))
	g.probes = slices.DeleteFunc(g.probes, func(p *probe) bool {
		same, err := probepoint.Verify(f.probed.file, &p.point)
		if err == nil && same {
			places = append(places, bpf.Probe{ID: p.id, Offset: p.point.Offset})
			return false
		}
		e.status(targetCall, p.about, witness.StateRefused, reasonRewritten)
		return true
	})
	if len(places) == 0 {
		return
	}
	var err error
	if g.attachment, err = e.kernel.Attach(f.probed.file, places); err != nil {
		e.logger.Warn("Probes could not be attached", zap.Int("probes", len(probes)), zap.Error(delivery.Presentable(err)))
		for _, p := range g.probes {
			e.status(targetCall, p.about, witness.StateRefused, reasonOf(err))
		}
		return
	}
	for _, p := range g.probes {
		p.group = g
		reason := ""
		if p.point.InlinedInto > 0 {
			reason = reasonAlsoInlined
		}
		e.status(targetCall, p.about, witness.StateAttached, reason)
	}
}

// reasonRewritten is why a probe is refused whose instruction is not there any more.
const reasonRewritten = "rewritten"

// reasonAlsoInlined is said of a probe on a function of which some calls are not seen: the compiler put it into its callers too.
const reasonAlsoInlined = "also_inlined"

// detach takes a group away, and leaves a gap in those of its functions that go on.
func (e *engine) detach(g *group) {
	if err := g.attachment.Close(); err != nil {
		e.logger.Warn("Probes could not be taken away", zap.Error(delivery.Presentable(err)))
	}
	for _, p := range g.probes {
		p.group = nil
	}
}

// refuse says that a function that is wanted is not counted.
func (e *engine) refuse(f *file, r *probepoint.Request, reason string) {
	about := witness.About{Module: moduleOf(f.path, f.facts), Language: r.Symbol.Language, Package: r.Symbol.Package, Member: r.Symbol.Member}
	if r.Pattern != "" {
		about.Member = r.Pattern
	}
	e.refused++
	e.status(targetCall, about, witness.StateRefused, reason)
}

// takeID is the number of a new probe; false if there are as many as there may be.
func (e *engine) takeID() (uint32, bool) {
	if n := len(e.freeIDs); n > 0 {
		id := e.freeIDs[n-1]
		e.freeIDs = e.freeIDs[:n-1]
		return id, true
	}
	if e.nextID >= uint32(e.config.Probes.Max) { //nolint:gosec // Validate bounds it
		return 0, false
	}
	e.nextID++
	return e.nextID - 1, true
}

// enterFile notes that a process has a file mapped, if that has probes.
func (e *engine) enterFile(p *process, f *file) {
	if f.probed == nil || e.processes.live[p.id.PID] != p {
		return
	}
	if p.files == nil {
		p.files = map[*file]struct{}{}
	}
	p.files[f] = struct{}{}
	f.probed.users[p.id] = struct{}{}
	f.probed.unused = time.Time{}
}

// leaveFiles notes that a process has nothing mapped any more.
func (e *engine) leaveFiles(p *process) {
	for f := range p.files {
		if f.probed == nil {
			continue
		}
		if delete(f.probed.users, p.id); len(f.probed.users) == 0 {
			f.probed.unused = e.now()
		}
	}
	p.files = nil
}

// release takes away the probes of files that nothing ran for an interval.
func (e *engine) release(now time.Time) {
	for _, f := range e.probedFiles {
		if u := f.unused; !u.IsZero() && now.Sub(u) >= e.config.Interval {
			e.unprobe(f)
		}
	}
}

// unprobe takes away the probes of a file.
func (e *engine) unprobe(f *probed) {
	for _, p := range f.probes {
		if p.group != nil {
			e.detach(p.group)
		}
		p.gone = 1
		e.status(targetCall, p.about, witness.StateDetached, "")
	}
	_ = f.file.Close()
	for _, name := range f.names {
		name.probed, name.wanted = nil, -1
	}
	delete(e.probedFiles, f.id)
}

// counted is what was last read of a probe in a process.
type counted struct {
	hits uint64
	last time.Duration
}

// drain reads what the kernel counted, and tells what is new.
func (e *engine) drain(now time.Duration) {
	for _, p := range e.probes {
		p.hits = 0
	}
	var forget []bpf.HitKey
	unknown := map[bpf.Process]struct{}{}
	err := e.kernel.Hits(func(key bpf.HitKey, h bpf.Hit) {
		p := e.probes[key.Probe]
		before := e.counted[key]
		if p != nil && h.Hits > before.hits {
			e.tellCalls(p, key, before, h)
			p.hits += h.Hits - before.hits
			e.counted[key] = counted{h.Hits, h.Last}
		}
		switch {
		case p == nil || p.gone > 0 || e.processes.hasEnded(key.Process):
			forget = append(forget, key)
		case e.processes.find(key.Process) == nil:
			unknown[key.Process] = struct{}{}
		}
	})
	if err != nil {
		e.logger.Error("Hits could not be read", zap.Error(delivery.Presentable(err)))
		return
	}
	for _, key := range forget {
		if err := e.kernel.Forget(key); err != nil {
			e.logger.Error("Hits could not be forgotten", zap.Error(delivery.Presentable(err)))
			continue
		}
		delete(e.counted, key)
		if _, untold := e.stacks[key]; untold {
			e.ledger.miss(stageStacks, 1)
			delete(e.stacks, key)
		}
	}
	for id := range unknown { // its end was not told, or will not be taken account of
		if e.lives(id) != nil {
			e.processes.end(e.remembered(id)) // all that it did is counted the next time
		}
	}
	e.processes.forget()
	for id, p := range e.probes {
		if lost, err := e.kernel.Lost(id); err == nil && lost > p.lost {
			e.ledger.lose(e.batch, stageHits, lost-p.lost, p.about)
			p.lost = lost
		}
		if p.gone > 0 {
			// A process that was in the program when the probe was taken away can still have counted once.
			if p.gone++; p.gone > 2 {
				delete(e.probes, id)
				e.freeIDs = append(e.freeIDs, id)
			}
		}
	}
	e.drained = now
}

// tellCalls writes what is new of a probe in a process: the first call with its callers, if they are known, and all others
// without, for nobody saw who made them.
func (e *engine) tellCalls(p *probe, key bpf.HitKey, before counted, h bpf.Hit) {
	of := e.remembered(key.Process)
	hits, first := h.Hits-before.hits, max(before.last, min(e.drained, h.Last))
	if before.hits == 0 {
		first = h.First
	}
	if stack, ok := e.stacks[key]; ok { // or it came after the first call was told: then one more is told to be it
		delete(e.stacks, key)
		e.tellCall(of, p, 1, h.First, h.First, stack)
		hits--
	}
	if hits > 0 {
		e.tellCall(of, p, hits, first, h.Last, stack{})
	}
	e.total.hits += h.Hits - before.hits
}

// tellCall writes a runtime.call record.
func (e *engine) tellCall(of *process, p *probe, hits uint64, first, last time.Duration, s stack) {
	m := e.record(of.place, semconv.EventCall, e.wall(last))
	e.putProcess(m, of)
	m.PutStr(semconv.CodeFunctionName, p.point.Raw)
	m.PutStr(semconv.WitnessProbeID, targetCall)
	m.PutInt(semconv.WitnessHits, int64(min(hits, 1<<62))) //nolint:gosec // in range
	if p.point.Recounts && hits > 1 {
		m.PutInt(semconv.WitnessHitsError, int64(min(hits, 1<<62)-1)) //nolint:gosec // in range: one call can hit more than once
	}
	m.PutStr(semconv.WitnessFirstSeen, e.wall(first).Format(time.RFC3339Nano))
	m.PutStr(semconv.WitnessLastSeen, e.wall(last).Format(time.RFC3339Nano))
	frames := append([]witness.Frame{{
		Symbol: p.point.Raw, Language: p.point.Symbol.Language, Module: of.moduleOf(p.file),
		Offset: p.point.FunctionOffset, HasOffset: true, SymbolSource: "probe",
	}}, s.callers...)
	witness.PutStack(m, frames[:min(len(frames), witness.MaxStack)]...)
	if !s.complete {
		m.PutBool(semconv.WitnessStackComplete, false)
	}
}

// moduleOf is a file as the process has it mapped: containers have one file under names of their own.
func (p *process) moduleOf(f *file) witness.Module {
	if p.path != "" && p.facts != nil && p.facts == f.facts { // it is what it runs
		return moduleOf(p.path, p.facts)
	}
	for own := range p.files {
		if own.probed != nil && own.probed == f.probed {
			f = own
		}
	}
	return moduleOf(f.path, f.facts)
}

// spend suspends the dearest probes until all that are left stay within the budget, and brings those back whose time has
// come.
func (e *engine) spend(now time.Time, over time.Duration) {
	if over <= 0 {
		return
	}
	var dear []*probe
	share := 0.0
	for _, p := range e.probes {
		if p.group != nil {
			share += e.share(p, over)
			dear = append(dear, p)
		}
	}
	e.total.share = share
	slices.SortFunc(dear, func(a, b *probe) int {
		return cmp.Or(cmp.Compare(e.share(b, over), e.share(a, over)), cmp.Compare(a.id, b.id))
	})
	suspend := map[*group][]*probe{}
	for _, p := range dear {
		if share <= e.config.Probes.Budget {
			if p.again > e.config.Interval && p.hits == 0 {
				p.again = 0 // it has calmed down
			}
			continue
		}
		share -= e.share(p, over)
		suspend[p.group] = append(suspend[p.group], p)
	}
	for g, probes := range suspend {
		e.suspend(g, probes, now)
	}
	e.resume(now)
}

// share is how much of a processor a probe took.
func (e *engine) share(p *probe, over time.Duration) float64 {
	return float64(p.hits) * e.cost[p.point.Cost].Seconds() / over.Seconds()
}

// suspend takes some probes of a group away for a while.
func (e *engine) suspend(g *group, probes []*probe, now time.Time) {
	e.detach(g)
	for _, p := range probes {
		p.again = min(max(2*p.again, 2*e.config.Interval), maxSuspended)
		p.suspended = now.Add(p.again)
		e.status(targetCall, p.about, witness.StateSuspended, witness.ReasonOverBudget)
	}
	others := slices.DeleteFunc(slices.Clone(g.probes), func(p *probe) bool { return slices.Contains(probes, p) })
	for _, other := range others {
		e.status(targetCall, other.about, witness.StateSuspended, reasonRearranged)
	}
	if len(others) > 0 {
		e.attach(others)
	}
}

// resume attaches probes again whose time has come.
func (e *engine) resume(now time.Time) {
	due := map[*file][]*probe{}
	for _, p := range e.probes {
		if !p.suspended.IsZero() && !now.Before(p.suspended) && p.gone == 0 {
			p.suspended = time.Time{}
			due[p.file] = append(due[p.file], p)
		}
	}
	for _, probes := range due {
		for each := range slices.Chunk(probes, e.groupSize()) {
			e.attach(each)
		}
	}
}
