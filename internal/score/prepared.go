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
	group   int        // where the last of them begin
}

type prepared struct {
	first           bool // of its artifact and level
	match, strength float64
	lastSeen        time.Time
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
			cmp.Compare(b.match, a.match), cmp.Compare(b.strength, a.strength), b.lastSeen.Compare(a.lastSeen))
	})
	p := Prepared{}
	p.Reset(w)
	for i := range candidates {
		c := &candidates[i]
		p.Add(i == 0 || c.artifact != candidates[i-1].artifact || c.level != candidates[i-1].level, c.match, c.strength, c.lastSeen)
	}
	p.pieces = slices.Clip(p.pieces)
	return p
}

// Match is the weight of an input without its time, hits, hosts and images.
func (w *Weights) Match(in *Input) float64 {
	e := w.timeless(in)
	return e.p * e.v * e.c
}

// Strength is the weight of hits, hosts and images.
func (w *Weights) Strength(hits uint64, hosts, images int) float64 {
	n, b := w.breadth(hits, hosts, images)
	return w.strengthOf(n, b)
}

// Reset makes p that of no evidence.
func (p *Prepared) Reset(w *Weights) { p.weights, p.pieces, p.group = w, p.pieces[:0], 0 }

// Add adds a piece of evidence: its Match and Strength. first says that it is the first of its artifact and level; all of
// them come one behind the other.
func (p *Prepared) Add(first bool, match, strength float64, lastSeen time.Time) {
	if first {
		p.group = len(p.pieces)
	}
	if match <= 0 {
		return
	}
	added := prepared{match: match, strength: strength, lastSeen: lastSeen}
	kept := p.group
	for i := p.group; i < len(p.pieces); i++ {
		other := p.pieces[i]
		if other.covers(&added) {
			return // then it covers all that added would
		}
		if !added.covers(&other) {
			p.pieces[kept] = other
			kept++
		}
	}
	p.pieces = append(p.pieces[:kept], added)
	for i := range p.pieces[p.group:] {
		p.pieces[p.group+i].first = i == 0
	}
}

// covers says that each factor is no less: then, whatever the time, the product is no less, roundings included.
func (p *prepared) covers(other *prepared) bool {
	return p.match >= other.match && p.strength >= other.strength && !p.lastSeen.Before(other.lastSeen)
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
		s := p.weights.strength(piece.match, p.weights.recency(now.Sub(piece.lastSeen)), piece.strength)
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
