package score

import (
	"cmp"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
)

// Prepared is evidence of which everything but the recency is weighed, and which leaves out what can never be the strongest
// of its artifact and level. It is for those who ask for the scores of thousands of findings again and again.
type Prepared struct {
	weights *Weights
	pieces  []prepared // those of an artifact and level together
}

type prepared struct {
	first         bool // of its artifact and level
	pvc, strength float64
	lastSeen      time.Time
}

// Prepare weighs inputs. They are not kept.
func (w *Weights) Prepare(inputs []Input) Prepared {
	type candidate struct {
		prepared
		artifact string
		level    finding.Level
	}
	candidates := make([]candidate, 0, len(inputs))
	for i := range inputs {
		e := w.timeless(&inputs[i])
		if pvc := e.p * e.v * e.c; pvc > 0 {
			candidates = append(candidates, candidate{prepared{false, pvc, e.strength, inputs[i].LastSeen}, inputs[i].Artifact, inputs[i].Level})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.artifact, b.artifact), cmp.Compare(a.level, b.level),
			cmp.Compare(b.pvc, a.pvc), cmp.Compare(b.strength, a.strength), b.lastSeen.Compare(a.lastSeen))
	})
	p := Prepared{weights: w}
	first := 0 // of the group, in p.pieces
	for i := range candidates {
		c := &candidates[i]
		if i == 0 || c.artifact != candidates[i-1].artifact || c.level != candidates[i-1].level {
			first = len(p.pieces)
			c.first = true
		} else if slices.ContainsFunc(p.pieces[first:], func(other prepared) bool {
			// Each factor is no less: then, whatever the time, the product is no less, roundings included.
			return other.pvc >= c.pvc && other.strength >= c.strength && !other.lastSeen.Before(c.lastSeen)
		}) {
			continue
		}
		p.pieces = append(p.pieces, c.prepared)
	}
	p.pieces = slices.Clip(p.pieces)
	return p
}

// Value is the score and the band that Weights.Score gives the evidence at the time now.
func (p *Prepared) Value(now time.Time) (score float64, band string) {
	if len(p.pieces) == 0 {
		return 0, BandNone
	}
	var few [16]float64
	strongest := few[:0]
	for i := range p.pieces {
		piece := &p.pieces[i]
		s := p.weights.strength(piece.pvc, p.weights.recency(now.Sub(piece.lastSeen)), piece.strength)
		switch last := len(strongest) - 1; {
		case piece.first:
			strongest = append(strongest, s)
		case s > strongest[last]:
			strongest[last] = s
		}
	}
	slices.SortFunc(strongest, func(a, b float64) int { return cmp.Compare(b, a) })
	for len(strongest) > 0 && strongest[len(strongest)-1] == 0 {
		strongest = strongest[:len(strongest)-1]
	}
	if len(strongest) > 0 {
		score = p.weights.combine(strongest)
	}
	return score, p.weights.band(score)
}
