package ebpfreceiver

import (
	"errors"
	"os"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// costs are what a hit costs, by instruction, where it cannot be measured. They are those of a virtual machine, where
// exceptions are dear.
var costs = map[probepoint.Cost]time.Duration{
	probepoint.Nop5: 700 * time.Nanosecond, probepoint.Emulated: time.Microsecond, probepoint.SingleStep: 14 * time.Microsecond,
}

// measuredHits is how many hits are measured.
const measuredHits = 2000

//go:noinline
func measuredFunction(n *int) { measuredStep(n); measuredStep(n) }

//go:noinline
func measuredStep(n *int) { *n++ }

// measureCosts finds out what a hit costs on this host, by a probe on a function of this very program. What cannot be
// measured is in proportion to what can.
func (e *engine) measureCosts() (map[probepoint.Cost]time.Duration, error) {
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return costs, err
	}
	defer own.Close()
	info, err := own.Stat()
	if err != nil {
		return costs, err
	}
	points, _, err := probepoint.Resolve(own, info.Size(), []probepoint.Request{{
		Pattern: "*/ebpfreceiver.measuredFunction", Symbol: witness.SymbolRef{Language: "go"},
	}}, probepoint.Options{})
	if err != nil || len(points) != 1 || points[0].Cost != probepoint.Emulated {
		return costs, errors.Join(err, errNotMeasured)
	}
	id := uint32(e.config.Probes.Max) //nolint:gosec // Validate bounds it; no probe has it
	n := 0
	run := func() time.Duration {
		began := time.Now()
		for range measuredHits {
			measuredFunction(&n)
		}
		return time.Since(began)
	}
	without := run()
	attached, err := e.kernel.Attach(own, []bpf.Probe{{ID: id, Offset: points[0].Offset}})
	if err != nil {
		return costs, err
	}
	with := min(run(), run(), run()) // the first hits also make room
	if err := attached.Close(); err != nil {
		return costs, err
	}
	cost := max((with-without)/measuredHits, 100*time.Nanosecond)
	measured := map[probepoint.Cost]time.Duration{}
	for instruction, usual := range costs {
		measured[instruction] = time.Duration(float64(cost) * float64(usual) / float64(costs[probepoint.Emulated]))
	}
	return measured, nil
}

var errNotMeasured = errors.New("the cost of a probe could not be measured")
