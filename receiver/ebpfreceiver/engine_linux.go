package ebpfreceiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/symbolize"
	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/perf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/waiter"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// engine turns what the kernel tells into records. One goroutine does all of it: to wake up another one costs more than
// most events.
type engine struct {
	config   *Config
	receiver *ebpfReceiver
	logger   *zap.Logger
	kernel   *bpf.Kernel
	list     watchlist.Provider // nil without
	host     string

	proc   *procfs.FS
	boot   string
	self   uint32
	booted time.Time

	processes      *processes
	files          *simplelru.LRU[bpf.FileID, *file]
	facts          *simplelru.LRU[procfs.FileID, *artifact.Facts]
	interval       int // which one it is
	programs       *simplelru.LRU[bpf.Program, program]
	loads          map[load]struct{}                 // told in this interval
	contained      *simplelru.LRU[container, string] // what was told of it
	mounts         map[mounts][]witness.Signal       // read in this interval
	early          map[uint32]*early                 // by pid
	symbols        *symbolize.Cache[procfs.FileID]
	symbolsEvicted uint64 // of it, when it was last reported
	wanted         *wanted
	listDigest     string
	probedFiles    map[bpf.FileID]*probed
	probes         map[uint32]*probe
	nextID         uint32
	freeIDs        []uint32
	counted        map[bpf.HitKey]counted
	stacks         map[bpf.HitKey]stack
	drained        time.Duration
	cost           map[probepoint.Cost]time.Duration
	callHook       string // empty: functions cannot be counted

	moments []moment // that are read at once; reused
	ledger  *ledger
	batch   *delivery.Batch[place]
	size    int       // records in the batch
	stuck   bool      // the pipeline took nothing until the last heartbeat
	beatAt  time.Time // when the next heartbeat is due
	source  string
	kinds   []witness.Kind

	// What was counted since it was last reported.
	refused, dropped  int64
	events, evictions map[string]int64
	total             struct {
		hits  uint64
		share float64
	}
}

func (e *engine) prepare(name string) error {
	e.source = name
	e.proc = procfs.New("/proc")
	boot, err := e.proc.BootID()
	if err != nil {
		return fmt.Errorf("who runs cannot be told: %w", err)
	}
	if err := firstPIDNamespace(); err != nil {
		return err
	}
	e.boot, e.self = boot, uint32(os.Getpid()) //nolint:gosec // pids have 22 bits
	e.setClock()
	e.events, e.evictions = map[string]int64{}, map[string]int64{}
	e.processes = newProcesses(e.config.Limits.Processes, func() { e.evictions["processes"]++ })
	e.files = newCache[bpf.FileID, *file](e, "files")
	e.programs = newCache[bpf.Program, program](e, "programs")
	e.contained = newCache[container, string](e, "containment")
	e.facts = newCache[procfs.FileID, *artifact.Facts](e, "facts")
	e.early = map[uint32]*early{}
	e.mounts, e.loads = map[mounts][]witness.Signal{}, map[load]struct{}{}
	e.probedFiles, e.probes = map[bpf.FileID]*probed{}, map[uint32]*probe{}
	e.counted, e.stacks, e.cost = map[bpf.HitKey]counted{}, map[bpf.HitKey]stack{}, costs
	e.symbols = symbolize.New[procfs.FileID](symbolize.Options{})
	e.wanted = newWanted(0, &e.config.Probes, nil)
	e.ledger = newLedger(name, e.config.Interval, e.now)
	e.newBatch()
	return nil
}

// firstPIDNamespace makes sure that /proc numbers processes as the kernel does.
func firstPIDNamespace() error {
	const first = "pid:[4026531836]"
	if link, err := os.Readlink("/proc/self/ns/pid"); err != nil || link != first {
		return errors.New("the ebpf receiver must run in the pid namespace of the host")
	}
	return nil
}

func (e *engine) now() time.Time { return time.Now().UTC() }

// setClock finds out when the host was booted, by the clock of now. It stays as it is while the clock is only trimmed: a
// process has one start.
func (e *engine) setClock() {
	if booted := e.now().Add(-bootTime()); booted.Sub(e.booted).Abs() > time.Second {
		e.booted = booted
	}
}

// readEvery is how long what the kernel tells waits to be read, at most.
const readEvery = 100 * time.Millisecond

// run watches until ctx ends.
func (e *engine) run(ctx context.Context) {
	defer e.finish()
	wait := e.receiver.wait
	defer context.AfterFunc(ctx, func() { _ = wait.Stop() })()
	e.watch()
	e.seed()
	every := min(readEvery, e.config.Interval, e.config.Batch.FlushInterval)
	beat, flush := time.Now().Add(e.config.Interval), time.Now().Add(e.config.Batch.FlushInterval)
	for {
		e.beatAt = beat
		err := wait.Wait(every)
		if !e.stuck { // what is not read stays in the kernel, which counts what it has no room for
			e.read(ctx)
		}
		switch {
		case errors.Is(err, waiter.ErrStopped):
			return
		case err != nil:
			e.logger.Error("Nothing can be waited for any more", zap.Error(delivery.Presentable(err)))
			return
		}
		now := time.Now()
		if !now.Before(beat) {
			e.beat(ctx)
			beat = beat.Add(e.config.Interval * (1 + now.Sub(beat)/e.config.Interval))
			e.beatAt, flush = beat, now
		}
		if !now.Before(flush) {
			e.flush(ctx)
			flush = now.Add(e.config.Batch.FlushInterval)
		}
	}
}

// moment is what the kernel told of a moment: an event of a program, or a record of perf.
type moment struct {
	at     time.Duration
	event  *bpf.Event
	record perf.Record
}

// read takes account of all that the kernel told, in the order in which it happened: what came while it was read waits for
// what was before.
func (e *engine) read(ctx context.Context) {
	for range maxRounds {
		until := bootTime()
		e.collect()
		n, _ := slices.BinarySearchFunc(e.moments, until, func(m moment, until time.Duration) int { return cmp.Compare(m.at, until) })
		e.take(ctx, n)
		if len(e.moments) == 0 {
			return
		}
	}
}

// maxRounds bounds how often it is read again what came while it was read; the rest waits.
const maxRounds = 8

// collect adds what is told to the moments, by time.
func (e *engine) collect() {
	if e.receiver.perf != nil { // first: what a process did before it did this was told by then
		e.receiver.perf.Read(func(r perf.Record) { e.moments = append(e.moments, moment{at: r.Time, record: r}) }, e.malformed)
	}
	err := e.receiver.kernel.Read(func(event *bpf.Event) { e.moments = append(e.moments, moment{at: event.Time, event: event}) }, e.malformed)
	if err != nil {
		e.logger.Error("The events of the kernel cannot be read", zap.Error(delivery.Presentable(err)))
	}
	slices.SortStableFunc(e.moments, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
}

// take takes account of the first n moments.
func (e *engine) take(ctx context.Context, n int) {
	for i := range e.moments[:n] {
		if m := &e.moments[i]; m.event != nil {
			e.takeEvent(m.event)
		} else {
			e.takeRecord(&m.record)
		}
		if e.size >= e.config.Batch.MaxEvents && !e.stuck {
			e.flush(ctx)
		}
	}
	e.moments = slices.Delete(e.moments, 0, n)
}

// bootTime is the kernel's clock: how long ago the host was booted.
func bootTime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // there is one since Linux 2.6.39
	return time.Duration(now.Nano())
}

func (e *engine) malformed() { e.ledger.miss(stageMalformed, 1) }

// watch attaches the hooks of the signals that are asked for.
func (e *engine) watch() {
	s := &e.config.Signals
	if used := e.hook(targetExec, e.kernel.WatchProcesses); used != "" && s.Exec {
		e.kinds = append(e.kinds, witness.KindExec)
	}
	if s.Connect {
		e.hook(targetConnect, e.kernel.WatchConnects)
	}
	if s.Call {
		e.callHook = e.hook(targetCall, e.kernel.PrepareCalls)
	}
	if e.callHook != "" {
		var err error
		if e.cost, err = e.measureCosts(); err != nil {
			e.logger.Info("What a probe costs is not measured but assumed", zap.Error(delivery.Presentable(err)))
		}
	}
	reader, err := perf.Open(perf.Options{Frequency: s.SampleFrequency})
	if err == nil {
		e.receiver.perf = reader
		err = e.receiver.wait.Add(reader.Files()...)
	}
	if err != nil {
		e.outcome(targetLoad, "perf", witness.StateUnavailable, reasonOf(err))
		return
	}
	e.outcome(targetLoad, "perf", witness.StateAttached, "")
	if s.Load {
		e.kinds = append(e.kinds, witness.KindLoad)
	}
	if s.SampleFrequency > 0 {
		e.kinds = append(e.kinds, witness.KindSample)
	}
}

// hook attaches, and tells what became of each way to do so.
func (e *engine) hook(target string, attach func() (string, []bpf.Refusal)) string {
	used, refused := attach()
	for _, r := range refused {
		e.logger.Info("The kernel refuses a hook", zap.String("signal", target), zap.String("hook", r.Hook), zap.Error(delivery.Presentable(r.Err)))
		e.outcome(target, r.Hook, witness.StateRefused, reasonOf(r.Err))
	}
	if used != "" {
		e.outcome(target, used, witness.StateAttached, "")
	} else {
		e.outcome(target, "", witness.StateUnavailable, "no_hook")
	}
	return used
}

// outcome tells what became of a hook of a signal, or of a signal without one, in a record and a metric.
func (e *engine) outcome(signal, hook, state, reason string) {
	target := signal
	if hook != "" {
		target += "/" + hook
	}
	e.status(target, witness.About{}, state, reason)
	e.receiver.telemetry.EbpfReceiverHooks.Record(context.Background(), 1, metric.WithAttributes(
		attribute.String("signal", signal), attribute.String("hook", hook), attribute.String("state", state), attribute.String("reason", reason)))
}

// reasonOf is why the kernel refuses something, in few words.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "not_permitted"
	case errors.Is(err, unix.EINVAL):
		return "invalid"
	default:
		return "not_supported"
	}
}

func (e *engine) status(target string, about witness.About, state, reason string) {
	e.ledger.status(e.batch, target, about, state, reason)
	e.size++
}

// record begins a record.
func (e *engine) record(at place, event string, when time.Time) pcommon.Map {
	record := e.batch.Records(at).AppendEmpty()
	e.size++
	record.SetEventName(event)
	record.SetTimestamp(pcommon.NewTimestampFromTime(when))
	record.SetObservedTimestamp(pcommon.NewTimestampFromTime(e.now()))
	m := record.Attributes()
	m.EnsureCapacity(20)
	return m
}

func (e *engine) takeRecord(r *perf.Record) {
	switch {
	case r.Lost > 0:
		e.ledger.miss(stageMappings, r.Lost)
	case r.Mapping != nil:
		e.events["mapping"]++
		e.recorded(r.Mapping)
	case r.Exec != 0:
		e.begins(r.Exec, r.Time)
	case r.Sample != nil:
		e.events["sample"]++
		e.sampled(r.Sample)
	}
}

func (e *engine) takeEvent(event *bpf.Event) {
	switch event.Type {
	case bpf.EventExec:
		e.events["exec"]++
		e.executed(event)
	case bpf.EventFork:
		e.events["fork"]++
		e.forked(event)
	case bpf.EventExit:
		e.events["exit"]++
		e.exited(event)
	case bpf.EventConnect:
		e.events["connect"]++
		e.connected(event)
	case bpf.EventFirstHit:
		e.events["first_hit"]++
		e.firstHit(event)
	default:
		e.malformed()
	}
}

// seed takes account of what runs already.
func (e *engine) seed() {
	e.refreshWanted(context.Background())
	e.survey()
}

// survey takes account of what runs and was not told.
func (e *engine) survey() {
	now := e.now()
	_, err := e.proc.Each(e.config.Limits.Processes, func(from *procfs.Process) bool {
		p := &process{id: bpf.Process{PID: uint32(from.ID().PID), Start: uint64(from.ID().Start)}} //nolint:gosec // not negative
		if known := e.processes.live[p.id.PID]; known != nil && e.procID(known.id).Is(from.ID()) {
			if exe, err := from.Executable(); err != nil || known.path == "" || exe.Path == known.path {
				return true
			}
			p.id = known.id
			e.leaveFiles(known)
		}
		e.learnAll(p, from)
		e.forgetProcess(e.processes.add(p))
		e.contain(p, from)
		e.tellExec(p, now, true)
		return true
	})
	if err != nil {
		e.logger.Warn("Not all processes could be listed", zap.Error(delivery.Presentable(err)))
	}
	if err := e.mappedNow(func(p *process, m *bpf.Mapping, path string) { e.mapped(p, m.File, m.Start, path, bootTime()) }); err != nil {
		e.logger.Warn("What is mapped already could not be listed", zap.Error(delivery.Presentable(err)))
		e.outcome(targetLoad, "iter", witness.StateRefused, reasonOf(err))
	}
}

// mappedNow calls do for each file that a known process has mapped executable now, with what it is called there, if that is known.
func (e *engine) mappedNow(do func(p *process, m *bpf.Mapping, path string)) error {
	var last *process
	paths := map[uint64]string{}
	return e.kernel.Mapped(func(m bpf.Mapping) {
		p := e.processes.live[m.Process.PID]
		if p == nil || !e.procID(p.id).Is(e.procID(m.Process)) {
			return
		}
		if p != last { // one process comes after the other
			p.id.Start = m.Process.Start // exact
			clear(paths)
			if from, err := e.proc.Find(e.procID(p.id)); err == nil {
				for known := range from.Mappings() {
					paths[known.Start] = known.Path
				}
				from.Close()
			}
			last = p
		}
		do(p, &m, paths[m.Start])
	})
}

// refreshWanted asks for the watch list, and looks again at the files that run when it has changed.
func (e *engine) refreshWanted(ctx context.Context) {
	if e.list == nil {
		return
	}
	list, err := e.list.WatchList(ctx)
	if err != nil {
		e.logger.Warn("The watch list could not be read", zap.Error(delivery.Presentable(err)))
		return
	}
	digest := list.Digest()
	if digest == e.listDigest {
		return
	}
	e.listDigest = digest
	e.wanted = newWanted(e.wanted.version+1, &e.config.Probes, list)
	for _, f := range e.probedFiles {
		if !slices.Equal(e.wanted.of(f.names[0].path, f.names[0].facts), f.requests) {
			e.unprobe(f)
		}
	}
	if err := e.mappedNow(func(p *process, m *bpf.Mapping, path string) {
		if f := e.fileOf(p, m.File, m.Start, path); f != nil {
			e.enterFile(p, f)
		}
	}); err != nil {
		e.logger.Warn("What is mapped could not be listed", zap.Error(delivery.Presentable(err)))
	}
}

// beat ends an interval.
func (e *engine) beat(ctx context.Context) {
	e.setClock()
	before := e.drained
	e.count()
	if before != 0 {
		e.spend(e.now(), e.drained-before)
	}
	e.interval++
	e.release(e.now())
	files := slices.SortedFunc(maps.Values(e.probedFiles), func(a, b *probed) int { return strings.Compare(a.names[0].path, b.names[0].path) })
	clear(e.mounts)
	e.containAgain()
	e.tell(files)
	clear(e.loads)
	e.refreshWanted(ctx)
}

// count reads what the kernel counted.
func (e *engine) count() {
	e.drain(bootTime())
	if counts, err := e.kernel.Counts(); err == nil {
		if counts.ProcessesLost != e.ledger.counts.ProcessesLost {
			e.resync()
		}
		e.ledger.missed(counts)
	}
	for pid, w := range e.early {
		if w.since < e.drained-slowestExec { // its start was lost
			e.ledger.miss(stageUnresolved, uint64(len(w.mappings)))
			delete(e.early, pid)
		}
	}
}

// tell writes the heartbeat, also of files with probes.
func (e *engine) tell(files []*probed) {
	kinds := slices.Clone(e.kinds)
	if len(e.probedFiles) > 0 {
		kinds = append(kinds, witness.KindCall)
	}
	watched := uint64(len(e.processes.live))
	e.ledger.beat(e.batch, e.now(), kinds, watched, watched+e.processes.crowded, files)
	e.processes.crowded = 0
	e.size += 1 + len(files)
	e.report()
}

// resync makes up for starts and ends that were lost.
func (e *engine) resync() {
	for _, p := range e.processes.live {
		if e.lives(p.id) != nil {
			e.processes.end(p)
			e.leaveFiles(p)
		}
	}
	e.survey()
}

// finish reads what was counted, takes everything out of the kernel, and offers what is in hand.
func (e *engine) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	for _, f := range e.probedFiles {
		for _, p := range f.probes {
			if p.group != nil {
				e.detach(p.group)
			}
		}
	}
	e.collect()
	e.stuck = true // nothing is flushed before all of it is there
	e.take(ctx, len(e.moments))
	e.count()
	e.tell(nil)
	e.beatAt = time.Now().Add(drainTimeout)
	e.flush(ctx)
	for _, f := range e.probedFiles {
		_ = f.file.Close()
	}
	e.symbols.Close()
	_ = e.proc.Close()
}

func (e *engine) newBatch() {
	e.batch, e.size = delivery.NewBatch(metadata.ScopeName, e.source, e.put), 0
}

// maxHeld is how many full batches are held, at most, while the pipeline takes none.
const maxHeld = 16

// flush hands the batch on. What the pipeline refuses for good is a loss. What it cannot take before the next heartbeat is
// due stays: probes are kept within their budget meanwhile.
func (e *engine) flush(ctx context.Context) {
	n := e.batch.Logs.LogRecordCount()
	if n == 0 {
		return
	}
	until, cancel := context.WithDeadline(ctx, e.beatAt)
	defer cancel()
	refused, err := e.receiver.delivery.Deliver(until, e.batch.Logs)
	e.stuck = err != nil
	switch {
	case e.stuck && n < maxHeld*e.config.Batch.MaxEvents:
		return
	case e.stuck:
		refused = err
	}
	if refused != nil {
		e.ledger.miss(stageRefused, uint64(n)) //nolint:gosec // not negative
		e.logger.Error("The pipeline refused records for good", zap.Int("records", n), zap.Error(delivery.Presentable(refused)))
	}
	e.newBatch()
}

// report adds what was counted to the metrics.
func (e *engine) report() {
	ctx := context.Background()
	t := e.receiver.telemetry
	add := func(counter metric.Int64Counter, name string, values map[string]int64) {
		for value, n := range values {
			counter.Add(ctx, n, metric.WithAttributes(attribute.String(name, value)))
		}
		clear(values)
	}
	add(t.EbpfReceiverEvents, "type", e.events)
	symbols := e.symbols.Stats().Evictions
	e.evictions["symbols"], e.symbolsEvicted = int64(symbols-e.symbolsEvicted), symbols //nolint:gosec // since the last interval
	add(t.EbpfReceiverTableEvictions, "table", e.evictions)
	add(t.EbpfReceiverLostEvents, "stage", e.ledger.lost)
	t.EbpfReceiverDroppedFrames.Add(ctx, e.dropped, metric.WithAttributes(attribute.String("reason", "unmapped")))
	t.EbpfReceiverHits.Add(ctx, int64(min(e.total.hits, 1<<62))) //nolint:gosec // in range
	t.EbpfReceiverProbeCost.Record(ctx, e.total.share)
	states := map[string]int64{witness.StateAttached: 0, witness.StateSuspended: 0, witness.StateRefused: e.refused}
	for _, p := range e.probes {
		switch {
		case p.group != nil:
			states[witness.StateAttached]++
		case !p.suspended.IsZero():
			states[witness.StateSuspended]++
		}
	}
	for state, n := range states {
		t.EbpfReceiverProbes.Record(ctx, n, metric.WithAttributes(attribute.String("state", state)))
	}
	e.dropped, e.total.hits = 0, 0
}
