// Package evidence answers questions about findings from storage: which stored subjects answer a finding, what they add
// up to, and what was watched meanwhile. It composes the pure packages finding and score with a storage.Reader, and
// knows nothing of HTTP. Times are UTC.
package evidence

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Question asks what is known of a finding. Zero members but the first two restrict nothing.
type Question struct {
	Tenant  string
	Finding witness.Finding
	// From and To select windows that start in [From, To).
	From, To  time.Time
	Kinds     []witness.Kind
	Assurance witness.Assurance
	// MinConfidence is the least confidence of a match that counts, 0..1.
	MinConfidence float64
}

// Subject is a stored subject that answers a question: by itself, because a trace that named the finding claims so, or
// both.
type Subject struct {
	storage.Subject
	own, claimed *finding.Match
}

// Match is how a witness of the subject answers the question. named says that a trace named the finding for that witness.
func (s *Subject) Match(named bool) finding.Match {
	if s.claimed != nil && (named || s.own == nil) {
		return *s.claimed
	}
	return *s.own
}

// Matches are the subjects that answer a question, and the filter that selects their evidence.
type Matches struct {
	tenant   string
	subjects map[string]Subject
	filter   storage.Filter
	// candidates is how many subjects were looked at.
	candidates int
	others     others
}

// MaxSubjects is how many subjects are looked at to answer a question.
const MaxSubjects = 100_000

// Match looks up what answers a question. ErrTooMany, if more than MaxSubjects could.
func Match(ctx context.Context, reader storage.Reader, q *Question) (*Matches, error) {
	query := storage.SubjectQuery{Finding: q.Finding.ID, Limit: MaxSubjects}
	query.Members, query.Packages, query.Components = finding.Selectors(&q.Finding)
	subjects, err := reader.Subjects(ctx, q.Tenant, query)
	if err != nil {
		return nil, err
	}
	return match(q, subjects), nil
}

func match(q *Question, subjects []storage.Subject) *Matches {
	m := &Matches{
		tenant:   q.Tenant,
		subjects: map[string]Subject{},
		filter:   storage.Filter{From: q.From, To: q.To, Kinds: q.Kinds, Assurance: q.Assurance},

		candidates: len(subjects),
	}
	for i := range subjects {
		s := &subjects[i]
		if len(q.Kinds) > 0 && !slices.Contains(q.Kinds, s.Kind) {
			continue
		}
		subject := Subject{Subject: *s}
		of := func(named bool) *finding.Match {
			if found, ok := finding.Of(&q.Finding, s.Kind, &s.Frame, &s.Artifact, named); ok && found.Confidence >= q.MinConfidence {
				return &found
			}
			return nil
		}
		if subject.own = of(false); subject.own != nil {
			m.filter.Subjects = append(m.filter.Subjects, s.ID)
		}
		if s.Named {
			// What a trace claims holds for the traces that do, and not for all that have this subject; and where the claim is
			// no answer, such as for a version outside of the finding's, not for those either.
			if subject.claimed = of(true); subject.claimed != nil {
				m.filter.Finding = q.Finding.ID
				m.filter.FindingSubjects = append(m.filter.FindingSubjects, s.ID)
			}
		}
		if subject.own != nil || subject.claimed != nil {
			m.subjects[s.ID] = subject
		} else {
			m.others.add(q, s)
		}
	}
	return m
}

// Empty reports whether nothing stored answers the question.
func (m *Matches) Empty() bool { return len(m.subjects) == 0 }

// Subject is the subject of an id, if it answers the question.
func (m *Matches) Subject(id string) (Subject, bool) {
	s, ok := m.subjects[id]
	return s, ok
}

// Summary adds up the evidence.
func (m *Matches) Summary(ctx context.Context, reader storage.Reader) (storage.Summary, error) {
	if m.Empty() {
		return storage.Summary{}, nil
	}
	return reader.Summary(ctx, m.tenant, m.filter)
}

// Witnesses returns a page of the evidence.
func (m *Matches) Witnesses(ctx context.Context, reader storage.Reader, query storage.WitnessQuery) (storage.WitnessPage, error) {
	if m.Empty() {
		return storage.WitnessPage{}, nil
	}
	query.Filter = m.filter
	return reader.Witnesses(ctx, m.tenant, query)
}

// DirectPathObserved reports whether the function itself has hits in a summary.
func (m *Matches) DirectPathObserved(summary *storage.Summary) bool {
	for id, total := range summary.BySubject {
		if s, ok := m.subjects[id]; ok && total.Hits > 0 && s.Match(true).Direct {
			return true
		}
	}
	return false
}

// Score is the score of what was summed up. Measured and asserted hits of a subject are inputs of their own, so that
// neither lends the other its weight.
func (m *Matches) Score(w *score.Weights, now time.Time, summary *storage.Summary) score.Result {
	return w.Score(now, m.inputs(w, summary))
}

func (m *Matches) inputs(w *score.Weights, summary *storage.Summary) []score.Input {
	var inputs []score.Input
	for id, total := range summary.BySubject {
		s, ok := m.subjects[id]
		if !ok {
			continue
		}
		inputs = appendInputs(inputs, w, &s.Subject, s.own, s.claimed, &total)
	}
	return inputs
}

// appendInputs appends what a subject weighs that answers a finding by itself (own), because traces say so (claimed), or
// both.
func appendInputs(inputs []score.Input, w *score.Weights, s *storage.Subject, own, claimed *finding.Match, total *storage.SubjectTotal) []score.Input {
	measured := min(total.Measured, total.Hits)
	if own == nil {
		measured = 0 // measured or not, only the claim ties it to the finding
	}
	for _, part := range [2]struct {
		assurance witness.Assurance
		hits      uint64
		last      time.Time
		match     *finding.Match
	}{
		{witness.Measured, measured, total.LastMeasured, cmp.Or(own, claimed)},
		{witness.Asserted, total.Hits - measured, total.LastSeen, cmp.Or(claimed, own)},
	} {
		if part.hits == 0 {
			continue
		}
		inputs = append(inputs, score.Input{
			Level: part.match.Level, Version: part.match.Version, Symbol: part.match.Symbol,
			Source:    w.SourceConfidence(&s.Frame, s.Kind, part.assurance),
			Identity:  w.IdentityConfidence(s.Artifact.Method),
			Assurance: part.assurance, LastSeen: part.last, Hits: part.hits, Hosts: total.Hosts, Images: total.Images,
			Artifact: artifactKey(s), Subject: s.ID,
		})
	}
	return inputs
}

func artifactKey(s *storage.Subject) string {
	switch {
	case s.Artifact.Digest != "":
		return s.Artifact.Digest
	case s.Artifact.PURL != "":
		return s.Artifact.PURL
	default:
		return s.Frame.Module.Key("")
	}
}

// Function reports whether the symbol of the subject's frame is a function that the finding or a trace names.
func (s *Subject) Function(match *finding.Match) bool {
	if !s.Kind.NamesSymbol() || s.Frame.Symbol == "" {
		return false
	}
	switch match.Level {
	case finding.LevelFunction, finding.LevelInlined, finding.LevelClosure:
		return true
	default:
		return false
	}
}

// Names reports whether a caller on a path is a function that the finding names.
func Names(f *witness.Finding, frame *witness.Frame, artifact *witness.Artifact) bool {
	m, ok := finding.Of(f, witness.KindSample, frame, artifact, false)
	return ok && m.Direct
}
