package hotsymbolprocessor

import (
	"math"
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
			var sightings []witness.Sighting
			kind := rapid.SampledFrom(witness.Kinds).Draw(t, "kind")
			for i := range stack {
				if i == 0 || rapid.Bool().Draw(t, "sighted") {
					sightings = append(sightings, witness.Sighting{Witness: witness.Witness{Kind: kind, Frame: stack[i], Workload: workload, Path: stack[i+1:]}})
				}
			}
			// One that is not an end of the stack.
			other := stacks.Draw(t, "other")
			sightings = append(sightings, witness.Sighting{Witness: witness.Witness{Kind: witness.KindCall, Frame: other[0], Workload: workload, Path: other[1:]}})
			found := c.append(nil, sightings, c.workload(workload))
			require.Len(t, found, len(sightings))
			for i := range sightings {
				w := &sightings[i].Witness
				spelled := found[i].witness()
				require.Equal(t, w.ID(), found[i].id)
				require.Equal(t, w.ID(), spelled.ID())
				require.Equal(t, w.Kind, spelled.Kind)
				require.Len(t, spelled.Path, len(w.Path))
				require.Equal(t, w.Frame.Component, spelled.Frame.Component)
			}
		}
	})
}

func TestAlikeIsEqualityOfKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyFrame().Draw(t, "a"), anyFrame().Draw(t, "b")
		if rapid.Bool().Draw(t, "copy") {
			b = cloneFrame(&a)
		}
		a = cloneFrame(&a) // what is interned
		if !math.IsNaN(b.Confidence) {
			require.Equal(t, keyOf(&a) == keyOf(&b), alike(&a, &b))
		}
	})
}

func TestSamplesOfOneFunctionAreOneWitness(t *testing.T) {
	c := newIdentities()
	a, b := frameOf("A"), frameOf("A")
	b.Offset, b.Line = 0x9999, 77
	one := c.append(nil, []witness.Sighting{{Witness: witness.Witness{Kind: witness.KindSample, Frame: a}}}, 0)
	two := c.append(nil, []witness.Sighting{{Witness: witness.Witness{Kind: witness.KindSample, Frame: b}}}, 0)
	assert.Same(t, one[0], two[0])
}
