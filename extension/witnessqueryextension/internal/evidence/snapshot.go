package evidence

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/snapshot"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Evidence is what a snapshot keeps of what was summed up: the subjects with hits, and how many were looked at. Subjects
// are numbered in the order of what they say: their ids in storage depend on what came first.
func (m *Matches) Evidence(summary *storage.Summary) (subjects []snapshot.Subject, candidates int) {
	type said struct {
		snapshot.Subject
		text string
	}
	var all []said
	for id, total := range summary.BySubject {
		s, ok := m.subjects[id]
		if !ok || total.Hits == 0 {
			continue
		}
		subject := snapshot.Subject{
			Kind: s.Kind, Frame: s.Frame, Artifact: s.Artifact, Named: s.Named,
			Total: snapshot.Total{
				Hits: total.Hits, Measured: total.Measured, Hosts: total.Hosts, Images: total.Images,
				FirstSeen: total.FirstSeen.UTC(), LastSeen: total.LastSeen.UTC(), LastMeasured: total.LastMeasured.UTC(),
			},
		}
		all = append(all, said{subject, fmt.Sprintf("%+v", subject)})
	}
	slices.SortFunc(all, func(a, b said) int { return strings.Compare(a.text, b.text) })
	for i := range all {
		all[i].ID = fmt.Sprintf("%08d", i)
		subjects = append(subjects, all[i].Subject)
	}
	return subjects, m.candidates
}

// Parts are what a snapshot keeps of the coverage: that of its number, and what was lost by stage.
func (c *Coverage) Parts() snapshot.Coverage {
	kept := snapshot.Coverage{From: c.Start, To: c.End, Sources: len(c.Sources), Hosts: c.Hosts(), Truncated: c.Truncated}
	_, factors := c.Number()
	for _, factor := range factors {
		kept.Parts = append(kept.Parts, snapshot.Part{Name: factor.Name, Value: factor.Value})
	}
	for i := range c.Losses {
		loss := &c.Losses[i]
		at := slices.IndexFunc(kept.Losses, func(l snapshot.Loss) bool { return l.Stage == loss.Stage })
		if at < 0 {
			at = len(kept.Losses)
			kept.Losses = append(kept.Losses, snapshot.Loss{Stage: loss.Stage})
		}
		kept.Losses[at].Reports++
		if loss.Lost == nil {
			kept.Losses[at].Uncounted++
		} else {
			kept.Losses[at].Events += *loss.Lost
		}
	}
	return kept
}

// Signals are what a snapshot keeps of the containment: what was judged, and not where it was.
func (c *Containment) Signals() *snapshot.Containment {
	kept := &snapshot.Containment{Truncated: c.Truncated, Processes: make([][]witness.Signal, 0, len(c.processes))}
	for _, process := range c.processes {
		kept.Processes = append(kept.Processes, slices.Collect(maps.Values(process)))
	}
	return kept
}
