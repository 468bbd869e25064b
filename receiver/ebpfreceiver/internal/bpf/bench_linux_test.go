package bpf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/waiter"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

//go:noinline
func target(n *int) { step(n); step(n) }

//go:noinline
func step(n *int) { *n++ }

// BenchmarkHit measures what a call costs that a probe counts, beside one without a probe, one with a program that does
// nothing, and one that tells each hit by an event that somebody reads.
func BenchmarkHit(b *testing.B) {
	own, err := os.Open("/proc/self/exe")
	require.NoError(b, err)
	defer own.Close()
	info, err := own.Stat()
	require.NoError(b, err)
	points, refused, err := probepoint.Resolve(own, info.Size(), []probepoint.Request{{Pattern: "*/internal/bpf.target", Symbol: witness.SymbolRef{Language: "go"}}}, probepoint.Options{})
	require.NoError(b, err)
	require.Len(b, points, 1, "%v", refused)
	run := func(b *testing.B) {
		n := 0
		for b.Loop() {
			target(&n)
		}
	}
	b.Run("none", run)
	for _, program := range []string{witnessProgOnNothing, witnessProgOnCallMulti, witnessProgOnEvent} {
		b.Run(strings.TrimPrefix(program, "on_"), func(b *testing.B) {
			k := open(b, Options{})
			var loaded *ebpf.Program
			loaded, err := k.load(program, nil)
			require.NoError(b, err)
			k.call, k.multi = loaded, true
			attached, err := k.Attach(own, []Probe{{1, points[0].Offset}})
			require.NoError(b, err)
			w, err := waiter.New(k.File())
			require.NoError(b, err)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for w.Wait(time.Second) == nil && k.Read(func(*Event) {}, func() {}) == nil {
				}
			}()
			run(b)
			require.NoError(b, attached.Close())
			require.NoError(b, w.Stop())
			<-ended
			require.NoError(b, w.Close())
		})
	}
}

// BenchmarkAttach measures attaching and detaching many probes of a file that nothing runs.
func BenchmarkAttach(b *testing.B) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(b, err)
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "bin", "go"))
	require.NoError(b, err)
	path := filepath.Join(b.TempDir(), "program") // of which nothing runs
	require.NoError(b, os.WriteFile(path, content, 0o600))
	f, err := os.Open(path)
	require.NoError(b, err)
	defer f.Close()
	const most = 10_000
	points, _, err := probepoint.Resolve(f, int64(len(content)), []probepoint.Request{{Pattern: "*", Symbol: witness.SymbolRef{Language: "go"}}}, probepoint.Options{MaxPoints: most, MaxFunctions: 100_000})
	require.NoError(b, err)
	require.Len(b, points, most)
	for _, n := range []int{1000, most} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k := open(b, Options{Probes: most + 1})
			used, _ := k.PrepareCalls()
			require.NotEmpty(b, used)
			probes := make([]Probe, 0, n)
			seen := map[uint64]bool{}
			for i := range points[:n] {
				if !seen[points[i].Offset] {
					seen[points[i].Offset] = true
					probes = append(probes, Probe{uint32(i), points[i].Offset})
				}
			}
			var attaching, detaching time.Duration
			rounds := 0
			for b.Loop() {
				began := time.Now()
				a, err := k.Attach(f, probes)
				require.NoError(b, err)
				attached := time.Now()
				require.NoError(b, a.Close())
				attaching, detaching = attaching+attached.Sub(began), detaching+time.Since(attached)
				rounds++
			}
			b.ReportMetric(float64(attaching.Microseconds())/1000/float64(rounds), "attach-ms")
			b.ReportMetric(float64(detaching.Microseconds())/1000/float64(rounds), "detach-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
