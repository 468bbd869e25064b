package hotsymbolprocessor

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

func anyFrame() *rapid.Generator[witness.Frame] {
	few := rapid.SampledFrom([]string{"", "a", "b"})
	return rapid.Custom(func(t *rapid.T) witness.Frame {
		return witness.Frame{
			Package: few.Draw(t, "package"), Member: few.Draw(t, "member"), Symbol: few.Draw(t, "symbol"), Language: few.Draw(t, "language"),
			Flags:  rapid.SampledFrom([][]string{nil, {"closure"}, {"closure", "generic"}}).Draw(t, "flags"),
			Module: witness.Module{BuildID: few.Draw(t, "build id"), SHA256: few.Draw(t, "sha256"), Path: few.Draw(t, "path")},
			Offset: rapid.Uint64Range(0, 2).Draw(t, "offset"), HasOffset: rapid.Bool().Draw(t, "has offset"),
			File: few.Draw(t, "file"), Line: rapid.IntRange(0, 1).Draw(t, "line"), Inlined: rapid.Bool().Draw(t, "inlined"),
			Component: few.Draw(t, "component"), SymbolSource: few.Draw(t, "source"),
			Confidence: rapid.SampledFrom([]float64{0, 0.5, math.NaN()}).Draw(t, "confidence"),
		}
	})
}

// TestIdentityIsThatOfTheWitness checks the cache against the hash, for whatever order of stacks.
func TestIdentityIsThatOfTheWitness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newIdentities()
		frames := rapid.SliceOfN(anyFrame(), 1, 4).Draw(t, "frames")
		stacks := rapid.SliceOfN(rapid.SampledFrom(frames), 1, 5)
		workloads := []witness.Workload{{}, {Namespace: "a"}, {Image: "sha256:b"}}
		for range rapid.IntRange(1, 20).Draw(t, "events") {
			if rapid.IntRange(0, 9).Draw(t, "clear") == 0 {
				c.clear()
			}
			stack := append([]witness.Frame(nil), stacks.Draw(t, "stack")...)
			workload := rapid.SampledFrom(workloads).Draw(t, "workload")
			kind := rapid.SampledFrom(witness.Kinds).Draw(t, "kind")
			c.locate(c.workload(workload), stack)
			for i := range stack {
				found := c.identify(kind, stack, i)
				w := witness.Witness{Kind: kind, Frame: stack[i], Workload: workload, Path: stack[i+1:]}
				spelled := found.witness()
				require.Equal(t, w.ID(), found.id)
				require.Equal(t, w.ID(), spelled.ID())
				require.Equal(t, w.Kind, spelled.Kind)
				require.Len(t, spelled.Path, len(w.Path))
				require.Equal(t, comparable(w.Frame), comparable(spelled.Frame))
				again := c.of(&w)
				require.Same(t, found, again)
				c.locate(c.workload(workload), stack)
			}
		}
	})
}

// comparable is a frame without what is kept of the first of its kind only.
func comparable(f witness.Frame) witness.Frame {
	if f.Symbol != "" {
		f.Offset = 0
	}
	f.File, f.Line = "", 0
	if math.IsNaN(f.Confidence) {
		f.Confidence = 0
	}
	return f
}

// TestFramesAreSharedAndToldApart: a frame is kept once, however often and in whatever path it is seen, and no two are
// taken for one.
func TestFramesAreSharedAndToldApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newIdentities()
		w := c.workload(witness.Workload{})
		a, b, caller := anyFrame().Draw(t, "a"), anyFrame().Draw(t, "b"), anyFrame().Draw(t, "caller")
		c.locate(w, []witness.Frame{a, caller})
		first := c.path[0].frame
		c.locate(w, []witness.Frame{b})
		second := c.path[0].frame
		require.Equal(t, reflect.DeepEqual(comparable(a), comparable(b)), first == second)
	})
}

func TestLongChainsOfCallersAreShared(t *testing.T) {
	c := newIdentities()
	w := c.workload(witness.Workload{})
	var stack []witness.Frame
	for i := range 100 {
		stack = append(stack, frameOf(fmt.Sprint("F", i)))
	}
	for i := range stack {
		c.locate(w, stack[i:])
	}
	assert.Len(t, c.nodes, 100)
	assert.Len(t, c.frames, 100)
	assert.Len(t, c.abouts, 1)
}

func TestSamplesOfOneFunctionAreOneWitness(t *testing.T) {
	c := newIdentities()
	a, b := frameOf("A"), frameOf("A")
	b.Offset, b.Line = 0x9999, 77
	one := c.of(&witness.Witness{Kind: witness.KindSample, Frame: a})
	two := c.of(&witness.Witness{Kind: witness.KindSample, Frame: b})
	assert.Same(t, one, two)
	assert.Equal(t, 12, two.witness().Frame.Line, "where the first was is kept")
}
