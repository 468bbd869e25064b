package ebpfreceiver

import (
	"maps"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Stages of loss.
const (
	stageProcesses  = "ebpf.processes"  // the ring had no room for what processes did
	stageConnects   = "ebpf.connects"   // the same of connections
	stageStacks     = "ebpf.stacks"     // the same of stacks
	stageHits       = "ebpf.hits"       // the table of hits had no room
	stageMappings   = "ebpf.mappings"   // the rings of perf had no room
	stageMalformed  = "ebpf.malformed"  // what the kernel told could not be read
	stageUnresolved = "ebpf.unresolved" // a process ended before it could be looked at
	stageRefused    = "ebpf.refused"    // the pipeline refused records for good
)

// Targets of statuses: the hook of a signal follows behind a slash.
const (
	targetExec    = "exec"
	targetLoad    = "load"
	targetCall    = "call"
	targetConnect = "connect"
)

const signal = "ebpf"

// reasonRearranged is why a probe is suspended for a moment: another one of its group was taken away.
const reasonRearranged = "rearranged"

// ledger keeps what the receiver can say of its own watching.
type ledger struct {
	source   string
	interval time.Duration
	now      func() time.Time
	start    time.Time // of the time not vouched for yet
	losses   map[string]uint64
	lost     map[string]int64 // for the metric
	total    uint64
	counts   bpf.Counts // as told last
	// states are what was told last of each hook and probe.
	states map[stateOf]string
}

// maxStates bounds what is remembered to have been told.
const maxStates = 65536

type stateOf struct {
	target string
	about  witness.About
}

func newLedger(source string, interval time.Duration, now func() time.Time) *ledger {
	return &ledger{
		source: source, interval: interval, now: now, start: now(), losses: map[string]uint64{}, lost: map[string]int64{},
		states: map[stateOf]string{},
	}
}

// miss takes account of what was lost; it is told with the next heartbeat.
func (l *ledger) miss(stage string, n uint64) {
	if n > 0 {
		l.losses[stage] += n
		l.total += n
		l.lost[stage] += int64(min(n, 1<<62)) //nolint:gosec // in range
	}
}

// lose tells a loss of a function.
func (l *ledger) lose(b *delivery.Batch[place], stage string, n uint64, about witness.About) {
	l.total += n
	l.lost[stage] += int64(min(n, 1<<62)) //nolint:gosec // in range
	l.put(b, &witness.Coverage{Start: l.start, End: l.now(), LossStage: stage, Lost: n, About: about})
}

// missed takes account of what the kernel counted as lost since the last time.
func (l *ledger) missed(c bpf.Counts) {
	l.miss(stageProcesses, c.ProcessesLost-l.counts.ProcessesLost)
	l.miss(stageConnects, c.ConnectsLost-l.counts.ConnectsLost)
	l.miss(stageStacks, c.StacksLost-l.counts.StacksLost+c.StacksFailed-l.counts.StacksFailed)
	l.counts = c
}

// beat writes the heartbeat of the time until end. watched of seen processes were watched; files are those with probes.
func (l *ledger) beat(b *delivery.Batch[place], end time.Time, kinds []witness.Kind, watched, seen uint64, files []*probed) {
	for _, stage := range slices.Sorted(maps.Keys(l.losses)) {
		l.put(b, &witness.Coverage{Start: l.start, End: end, LossStage: stage, Lost: l.losses[stage]})
	}
	clear(l.losses)
	if len(kinds) > 0 {
		l.put(b, &witness.Coverage{
			Signal: signal, Kinds: kinds, Start: l.start, End: end, Interval: l.interval, ProcessesWatched: watched, ProcessesSeen: seen, Lost: l.total,
		})
	}
	for _, f := range files {
		users := uint64(len(f.users))
		l.put(b, &witness.Coverage{
			Signal: signal, Kinds: []witness.Kind{witness.KindCall}, Start: l.start, End: end, Interval: l.interval,
			ProcessesWatched: users, ProcessesSeen: users, About: witness.About{Module: moduleOf(f.names[0].path, f.names[0].facts)},
		})
	}
	l.total = 0
	l.start = end
}

// status writes what became of a hook or probe, if that is new.
func (l *ledger) status(b *delivery.Batch[place], target string, about witness.About, state, reason string) {
	key := stateOf{target, about}
	if l.states[key] == state+reason {
		return
	}
	if state == witness.StateDetached {
		delete(l.states, key)
	} else {
		if len(l.states) >= maxStates {
			clear(l.states) // what is told again changes nothing
		}
		l.states[key] = state + reason
	}
	at := l.now()
	l.put(b, &witness.Coverage{Start: at, End: at, About: about, StatusTarget: target, StatusState: state, StatusReason: reason})
}

func (l *ledger) put(b *delivery.Batch[place], c *witness.Coverage) {
	c.Source = l.source
	c.Put(b.Records(place{}).AppendEmpty(), l.now())
}
