package tetragonreceiver

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/tetragonreceiver/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	// maxFileOffset is the largest offset in a file that a frame can have: no code lies behind 4 GiB of a file. What is
	// beyond it are bytes of the process's memory, taken for a return address.
	maxFileOffset = 1 << 32
	// maxUserAddress is the first address that no process has.
	maxUserAddress = 1 << 47
	// maxAgentFrames is how many frames of a stack Tetragon reports: a stack of that many is cut.
	maxAgentFrames = 127
	// maxAhead is how far in the future an event's time may lie to be taken for the newest.
	maxAhead = 5 * time.Minute
	// deletedSuffix is what the kernel appends to the name of a file that has none any more.
	deletedSuffix = " (deleted)"
)

// options are what the converter is told by the configuration.
type options struct {
	raw, arguments bool
	self           self
	// containment is the time after which the same classes of the same executable are told again; 0 is never at all.
	containment time.Duration
}

// tally counts what the converter did since it was last reported.
type tally struct {
	events, skipped, frames, lost, evictions map[string]int64
}

func newTally() tally {
	return tally{map[string]int64{}, map[string]int64{}, map[string]int64{}, map[string]int64{}, map[string]int64{}}
}

// converter turns events into records. It does no I/O, and the same events give the same records. Everything that it
// keeps between events is bounded.
type converter struct {
	options
	builds    *buildIDs
	contained *contained
	ledger    *ledger
	tally     tally
	frames    []witness.Frame // reused
}

func newConverter(o options, l *ledger) *converter {
	c := &converter{options: o, ledger: l, tally: newTally()}
	c.builds = newBuildIDs(func() { c.tally.evictions["build_ids"]++ })
	c.contained = newContained(o.containment, func() { c.tally.evictions["containment"]++ })
	return c
}

// convert appends what the event says to the batch. received is when it came in; uid is its identity at the source, if
// it has one.
func (c *converter) convert(b *batch, event *tetragon.GetEventsResponse, received time.Time, uid string) {
	e := eventOf(event)
	c.tally.events[e.name]++
	if e.skip != "" {
		c.tally.skipped[e.skip]++
		return
	}
	e.time = c.timeOf(event, e.process, received)
	c.ledger.note(event, e.process)
	switch typed := event.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessThrottle:
		c.ledger.throttle(b, typed.ProcessThrottle, e.time, received)
		return
	case *tetragon.GetEventsResponse_RateLimitInfo:
		c.ledger.rateLimit(b, typed.RateLimitInfo.GetNumberOfDroppedProcessEvents(), e.time, received)
		return
	}
	c.learn(&e)
	if !e.complete() {
		c.tally.skipped["incomplete"]++
		return
	}
	switch e.record {
	case semconv.EventLoad:
		c.ledger.came[witness.KindLoad] = true
	case semconv.EventCall, semconv.EventKernel:
		c.ledger.came[witness.KindCall] = true
	}
	at := placeOf(event, e.process)
	record := b.Records(at).AppendEmpty()
	record.SetEventName(e.record)
	record.SetTimestamp(pcommon.NewTimestampFromTime(e.time))
	record.SetObservedTimestamp(pcommon.NewTimestampFromTime(received))
	m := record.Attributes()
	m.EnsureCapacity(28)
	semconv.PutText(m, semconv.LogRecordUID, uid)
	m.PutStr(semconv.TetragonEvent, e.name)
	c.putProcess(m, &e)
	c.putHook(m, &e)
	switch typed := event.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExit:
		putExit(m, typed.ProcessExit)
	case *tetragon.GetEventsResponse_ProcessKprobe:
		c.putKprobeStack(m, typed.ProcessKprobe)
	default:
		if e.frame != (frameKey{}) {
			witness.PutStack(m, c.frameOf(&e))
		}
	}
	if c.raw {
		putRaw(m, event)
	}
	c.contain(b, &e, at, received)
}

// frameKey is the one frame of an event without stack.
type frameKey struct {
	language, module, buildID, symbol string
	offset                            uint64
	hasOffset                         bool
}

// parts are what the types of events have in common.
type parts struct {
	name            string // Tetragon's
	record          string // ours
	skip            string // why there is no record
	time            time.Time
	process, parent *tetragon.Process
	hook            string // kind of hook
	point           string // the hook, for witness.probe.id
	pair            string // tetragon.tracepoint
	function        string // code.function.name
	frame           frameKey
	policy, message string
	tags            []string
	action          tetragon.KprobeAction
	acted           bool
	args, data      []*tetragon.KprobeArgument
	result          *tetragon.KprobeArgument
}

// eventOf takes an event apart.
func eventOf(event *tetragon.GetEventsResponse) parts {
	switch typed := event.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		x := typed.ProcessExec
		path, _ := executable(x.GetProcess())
		return parts{
			name: "process_exec", record: semconv.EventExec, process: x.GetProcess(), parent: x.GetParent(),
			frame: frameKey{module: path},
		}
	case *tetragon.GetEventsResponse_ProcessExit:
		x := typed.ProcessExit
		return parts{name: "process_exit", record: semconv.EventExit, process: x.GetProcess(), parent: x.GetParent()}
	case *tetragon.GetEventsResponse_ProcessKprobe:
		x := typed.ProcessKprobe
		return parts{
			name: "process_kprobe", record: semconv.EventKernel, process: x.GetProcess(), parent: x.GetParent(),
			hook: "kprobe", point: x.GetFunctionName(), function: x.GetFunctionName(), frame: kernelFunction(x.GetFunctionName()),
			policy: x.GetPolicyName(), message: x.GetMessage(), tags: x.GetTags(), action: x.GetAction(), acted: true,
			args: x.GetArgs(), data: x.GetData(), result: x.GetReturn(),
		}
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		x := typed.ProcessTracepoint
		return parts{
			name: "process_tracepoint", record: semconv.EventKernel, process: x.GetProcess(), parent: x.GetParent(),
			hook: "tracepoint", point: pair(x.GetSubsys(), x.GetEvent()), pair: pair(x.GetSubsys(), x.GetEvent()),
			function: implied("trace_", x.GetEvent()), frame: kernelFunction(implied("trace_", x.GetEvent())),
			policy: x.GetPolicyName(), message: x.GetMessage(), tags: x.GetTags(), action: x.GetAction(), acted: true, args: x.GetArgs(),
		}
	case *tetragon.GetEventsResponse_ProcessLsm:
		x := typed.ProcessLsm
		return parts{
			name: "process_lsm", record: semconv.EventKernel, process: x.GetProcess(), parent: x.GetParent(),
			hook: "lsm", point: x.GetFunctionName(),
			function: implied("bpf_lsm_", x.GetFunctionName()), frame: kernelFunction(implied("bpf_lsm_", x.GetFunctionName())),
			policy: x.GetPolicyName(), message: x.GetMessage(), tags: x.GetTags(), action: x.GetAction(), acted: true, args: x.GetArgs(),
		}
	case *tetragon.GetEventsResponse_ProcessUprobe:
		x := typed.ProcessUprobe
		p := parts{
			name: "process_uprobe", record: semconv.EventCall, process: x.GetProcess(), parent: x.GetParent(),
			hook: "uprobe", point: x.GetSymbol(), function: x.GetSymbol(),
			frame:  frameKey{module: x.GetPath(), symbol: x.GetSymbol()},
			policy: x.GetPolicyName(), message: x.GetMessage(), tags: x.GetTags(), action: x.GetAction(), acted: true,
			args: x.GetArgs(), data: x.GetData(),
		}
		if offset := x.GetOffset(); x.GetSymbol() == "" && offset != 0 && offset <= maxFileOffset {
			p.frame.offset, p.frame.hasOffset = offset, true
			p.point = witness.FormatOffset(offset)
		}
		return p
	case *tetragon.GetEventsResponse_ProcessUsdt:
		x := typed.ProcessUsdt
		p := parts{
			name: "process_usdt", record: semconv.EventCall, process: x.GetProcess(), parent: x.GetParent(),
			hook: "usdt", point: pair(x.GetProvider(), x.GetName()), pair: pair(x.GetProvider(), x.GetName()),
			policy: x.GetPolicyName(), message: x.GetMessage(), tags: x.GetTags(), action: x.GetAction(), acted: true, args: x.GetArgs(),
		}
		if x.GetProvider() != "" && x.GetName() != "" {
			p.function = "__dtrace_" + x.GetProvider() + "___" + x.GetName()
			p.frame = frameKey{language: "c", module: x.GetPath(), symbol: p.function}
		}
		return p
	case *tetragon.GetEventsResponse_ProcessLoader:
		x := typed.ProcessLoader
		return parts{
			name: "process_loader", record: semconv.EventLoad, process: x.GetProcess(), parent: x.GetParent(), hook: "loader",
			frame: frameKey{module: x.GetPath(), buildID: hexOf(x.GetBuildid())},
		}
	case *tetragon.GetEventsResponse_ProcessThrottle:
		return parts{name: "process_throttle"}
	case *tetragon.GetEventsResponse_RateLimitInfo:
		return parts{name: "rate_limit_info"}
	case *tetragon.GetEventsResponse_Test:
		return parts{name: "test", skip: "test"}
	default:
		return parts{name: "unknown", skip: "unknown"}
	}
}

func pair(a, b string) string {
	if b == "" {
		return ""
	}
	return a + ":" + b
}

func implied(prefix, name string) string {
	if name == "" {
		return ""
	}
	return prefix + name
}

func kernelFunction(symbol string) frameKey {
	if symbol == "" {
		return frameKey{}
	}
	return frameKey{language: "kernel", module: witness.KernelModule, symbol: symbol}
}

// complete reports whether the event says enough for a record: who, and of which function or module.
func (p *parts) complete() bool {
	hasPID := p.process.GetPid() != nil
	switch p.record {
	case semconv.EventExit:
		return hasPID
	case semconv.EventExec, semconv.EventLoad:
		return hasPID && p.frame.module != ""
	default:
		return p.frame.symbol != "" || p.frame.hasOffset
	}
}

// learn keeps the build-ids that loader events carry for the frames of the same process.
func (c *converter) learn(p *parts) {
	switch p.record {
	case semconv.EventLoad:
		c.builds.add(p.process, trimDeleted(p.frame.module), p.frame.buildID)
	case semconv.EventExec:
		c.builds.exec(p.process)
	}
}

// timeOf is the event's own time. Loader events have none: they get that of the newest event before, else the start of
// the process, else the time of receipt.
func (c *converter) timeOf(event *tetragon.GetEventsResponse, process *tetragon.Process, received time.Time) time.Time {
	if t, ok := timeOf(event.GetTime()); ok {
		if !t.After(received.Add(maxAhead)) {
			c.ledger.advance(t)
		}
		return t
	}
	if !c.ledger.newest.IsZero() {
		return c.ledger.newest
	}
	if t, ok := timeOf(process.GetStartTime()); ok {
		return t
	}
	return received
}

// timeOf reads a time that a count of nanoseconds can hold.
func timeOf(t *timestamppb.Timestamp) (time.Time, bool) {
	const limit = 9223372036
	if t == nil || !t.IsValid() || t.GetSeconds() < 0 || t.GetSeconds() >= limit || t.GetSeconds() == 0 && t.GetNanos() == 0 {
		return time.Time{}, false
	}
	return t.AsTime(), true
}

// executable is the path of the binary, without the mark of a deleted file. The kernel's own pid 0 runs the kernel.
func executable(p *tetragon.Process) (path string, deleted bool) {
	binary := p.GetBinary()
	if binary == "<kernel>" {
		return witness.KernelModule, false
	}
	path = trimDeleted(binary)
	return path, path != binary
}

func trimDeleted(path string) string { return strings.TrimSuffix(path, deletedSuffix) }

func (c *converter) putProcess(m pcommon.Map, e *parts) {
	p := e.process
	m.PutStr(semconv.WitnessAssurance, string(witness.Measured))
	m.PutStr(semconv.WitnessOrigin, string(c.self.origin(p)))
	if p == nil {
		return
	}
	if p.GetPid() != nil {
		m.PutInt(semconv.ProcessPID, int64(p.GetPid().GetValue()))
	}
	if e.parent.GetPid() != nil {
		m.PutInt(semconv.ProcessParentPID, int64(e.parent.GetPid().GetValue()))
	}
	if p.GetTid() != nil {
		m.PutInt(semconv.ThreadID, int64(p.GetTid().GetValue()))
	}
	putStart(m, p)
	binary, deleted := executable(p)
	semconv.PutText(m, semconv.ProcessExecutablePath, binary)
	if strings.HasPrefix(binary, "/") {
		m.PutStr(semconv.ProcessExecutableName, path.Base(binary))
	} else {
		semconv.PutText(m, semconv.ProcessExecutableName, binary)
	}
	semconv.PutText(m, semconv.ProcessExecutableBuildIDGNU, c.builds.of(p.GetExecId(), binary))
	if deleted && e.record == semconv.EventExec || e.frame.module != trimDeleted(e.frame.module) {
		m.PutBool(semconv.WitnessModuleDeleted, true)
	}
	if p.GetUid() != nil {
		m.PutInt(semconv.ProcessUserID, int64(p.GetUid().GetValue()))
	}
	semconv.PutText(m, semconv.TetragonExecID, p.GetExecId())
	semconv.PutText(m, semconv.TetragonParentExecID, p.GetParentExecId())
	if flags := strings.Fields(p.GetFlags()); len(flags) > 0 {
		semconv.PutTexts(m, semconv.TetragonFlags, flags)
		if slices.Contains(flags, "procFS") {
			m.PutBool(semconv.WitnessProcessPreexisting, true)
		}
	}
	if p.GetInInitTree() != nil {
		m.PutBool(semconv.TetragonInInitTree, p.GetInInitTree().GetValue())
	}
	if c.arguments {
		if p.GetArguments() != "" {
			m.PutStr(semconv.ProcessCommandLine, p.GetBinary()+" "+p.GetArguments())
		}
		semconv.PutText(m, semconv.ProcessWorkingDirectory, p.GetCwd())
	}
}

func (c *converter) putHook(m pcommon.Map, e *parts) {
	if e.hook == "" {
		return
	}
	m.PutStr(semconv.TetragonHook, e.hook)
	probe := e.hook
	if e.point != "" {
		probe += ":" + e.point
	}
	if e.policy != "" {
		probe = e.policy + "/" + probe
	}
	m.PutStr(semconv.WitnessProbeID, probe)
	semconv.PutText(m, semconv.CodeFunctionName, e.function)
	semconv.PutText(m, semconv.TetragonTracepoint, e.pair)
	semconv.PutText(m, semconv.TetragonPolicy, e.policy)
	semconv.PutText(m, semconv.TetragonMessage, e.message)
	semconv.PutTexts(m, semconv.TetragonTags, e.tags)
	if e.acted {
		m.PutStr(semconv.TetragonAction, strings.ToLower(strings.TrimPrefix(e.action.String(), "KPROBE_ACTION_")))
	}
	if c.arguments {
		semconv.PutTexts(m, semconv.TetragonArgs, argumentTexts(e.args, e.data, e.result))
	}
}

// putExit writes how the process ended, as far as Tetragon knows.
func putExit(m pcommon.Map, exit *tetragon.ProcessExit) {
	if signal := exit.GetSignal(); signal != "" {
		m.PutStr(semconv.ProcessSignal, signal)
		return
	}
	if !slices.Contains(strings.Fields(exit.GetProcess().GetFlags()), "unknown") {
		m.PutInt(semconv.ProcessExitCode, int64(exit.GetStatus()))
	}
}

// frameOf is the frame of an event without a stack.
func (c *converter) frameOf(e *parts) witness.Frame {
	frame := witness.Frame{
		Symbol: e.frame.symbol, Language: e.frame.language, Offset: e.frame.offset, HasOffset: e.frame.hasOffset,
		Module: witness.Module{Path: trimDeleted(e.frame.module), BuildID: e.frame.buildID},
	}
	if frame.Module.BuildID == "" {
		frame.Module.BuildID = c.builds.of(e.process.GetExecId(), frame.Module.Path)
	}
	if frame.Symbol != "" || frame.HasOffset {
		frame.SymbolSource = "probe"
	}
	return frame
}

// putKprobeStack writes the hooked function, the kernel functions that called it, and the user frames behind them.
func (c *converter) putKprobeStack(m pcommon.Map, kprobe *tetragon.ProcessKprobe) {
	kernel, user := kprobe.GetKernelStackTrace(), kprobe.GetUserStackTrace()
	complete := len(user) > 0 || len(kernel) == 0
	complete = complete && len(kernel) < maxAgentFrames && len(user) < maxAgentFrames
	function := kprobe.GetFunctionName()
	frames := c.frames[:0]
	frames = append(frames, witness.Frame{
		Symbol: function, Language: "kernel", Module: witness.Module{Path: witness.KernelModule}, SymbolSource: "probe",
	})
	for _, entry := range callers(kernel, function) {
		frame := witness.Frame{
			Symbol: entry.GetSymbol(), Language: "kernel", Module: witness.Module{Path: witness.KernelModule}, SymbolSource: "agent",
		}
		if entry.GetOffset() <= maxFileOffset {
			frame.Offset, frame.HasOffset = entry.GetOffset(), true
		}
		if frame.Symbol == "" {
			c.tally.frames["anonymous"]++
			complete = false
			continue
		}
		frames = append(frames, frame)
	}
	execID := kprobe.GetProcess().GetExecId()
	for _, entry := range user {
		if reason := unusable(entry); reason != "" {
			c.tally.frames[reason]++
			complete = false
			continue
		}
		module := trimDeleted(entry.GetModule())
		frame := witness.Frame{
			Symbol: entry.GetSymbol(), Offset: entry.GetOffset(), HasOffset: true,
			Module: witness.Module{Path: module, BuildID: c.builds.of(execID, module)},
		}
		if frame.Symbol != "" {
			frame.SymbolSource = "agent"
		}
		c.ledger.came[witness.KindSample] = true
		frames = append(frames, frame)
	}
	c.frames = frames[:0]
	if excess := len(frames) - witness.MaxStack; excess > 0 {
		c.tally.frames["excess"] += int64(excess)
		frames, complete = frames[:witness.MaxStack], false
	}
	witness.PutStack(m, frames...)
	if !complete {
		m.PutBool(semconv.WitnessStackComplete, false)
	}
}

// callers are the kernel frames behind the hooked function: without what the hook itself put on the stack, which has
// another name each time a policy is loaded, and without the function, which is the frame before them.
func callers(kernel []*tetragon.StackTraceEntry, function string) []*tetragon.StackTraceEntry {
	for len(kernel) > 0 {
		symbol := kernel[0].GetSymbol()
		if !strings.HasPrefix(symbol, "bpf_prog_") && !strings.HasPrefix(symbol, "bpf_trampoline_") {
			break
		}
		kernel = kernel[1:]
	}
	if len(kernel) > 0 && kernel[0].GetSymbol() == function {
		kernel = kernel[1:]
	}
	return kernel
}

// unusable says why a user frame is no evidence: its numbers are memory of the process and not a place in a file, or it
// lies in no file.
func unusable(entry *tetragon.StackTraceEntry) string {
	module := entry.GetModule()
	switch {
	case entry.GetOffset() > maxFileOffset || entry.GetAddress() >= maxUserAddress:
		return "garbage"
	case module == "", module == "[heap]", strings.HasPrefix(module, "[stack"), strings.HasPrefix(module, "[anon"):
		return "anonymous"
	default:
		return ""
	}
}

// batch is what is handed on at once.
type batch struct {
	*delivery.Batch[place]
	source string
	events int // of which records came, or nothing
}

func newBatch(source string) *batch {
	put := func(at place, resource pcommon.Map) { at.put(resource) }
	return &batch{Batch: delivery.NewBatch(metadata.ScopeName, source, put), source: source}
}
