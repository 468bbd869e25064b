package snapshot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// State is all that a score is made of.
type State struct {
	AsOf    time.Time
	Finding witness.Finding
	// Subjects are what answers the finding, with what they add up to. Those without hits say nothing.
	Subjects []Subject
	// Candidates is how many subjects were looked at to find them.
	Candidates int
	Coverage   Coverage
	// Containment is nil where nobody looked at it.
	Containment *Containment
	// Weights is the canonical JSON of the score model's weights.
	Weights []byte
}

// Subject is a symbol, or for exec and load a module, that ran.
type Subject struct {
	// ID tells subjects apart, and is how equals are ordered.
	ID   string
	Kind witness.Kind
	// Frame without its source line.
	Frame    witness.Frame
	Artifact witness.Artifact
	// Named says that a trace named the finding outright.
	Named bool
	Total Total
}

// Total is what the evidence of a subject adds up to.
type Total struct {
	Hits                              uint64
	Measured                          uint64 // of Hits
	Hosts, Images                     int
	FirstSeen, LastSeen, LastMeasured time.Time // the last is zero if never
}

// Coverage is what was watched in [From, To).
type Coverage struct {
	From, To time.Time
	// Parts are 0..1; their product is the coverage number.
	Parts []Part
	// Sources and Hosts are how many watched.
	Sources, Hosts int
	Losses         []Loss
	// Truncated says that there was more than was looked at.
	Truncated bool
}

// Part is one factor of the coverage number.
type Part struct {
	Name  string
	Value float64
}

// Loss is what was lost at a stage: at least Events, in Reports of which Uncounted did not know how many.
type Loss struct {
	Stage              string
	Events             uint64
	Reports, Uncounted int
}

// The documents of inputs. As in Document, every number is a string.
type (
	evidenceInput struct {
		Candidates string         `json:"candidates"`
		Subjects   []subjectInput `json:"subjects"` // by id
	}
	subjectInput struct {
		ID       string        `json:"id"`
		Kind     witness.Kind  `json:"kind"`
		Named    bool          `json:"named"`
		Frame    frameInput    `json:"frame"`
		Artifact artifactInput `json:"artifact"`
		Total    totalInput    `json:"total"`
	}
	frameInput struct {
		Package      string   `json:"package,omitempty"`
		Member       string   `json:"member,omitempty"`
		Symbol       string   `json:"symbol,omitempty"`
		Language     string   `json:"language,omitempty"`
		Flags        []string `json:"flags,omitempty"`
		BuildID      string   `json:"buildId,omitempty"`
		SHA256       string   `json:"sha256,omitempty"`
		Module       string   `json:"module,omitempty"`
		Offset       string   `json:"offset,omitempty"`
		Inlined      bool     `json:"inlined,omitempty"`
		Component    string   `json:"component,omitempty"`
		SymbolSource string   `json:"symbolSource,omitempty"`
		Confidence   string   `json:"confidence"`
	}
	artifactInput struct {
		PURL       string   `json:"purl,omitempty"`
		Digest     string   `json:"digest,omitempty"`
		Revision   string   `json:"revision,omitempty"`
		Repository string   `json:"repository,omitempty"`
		Method     string   `json:"identityMethod,omitempty"`
		Conflicts  []string `json:"conflicts,omitempty"`
	}
	totalInput struct {
		Hits         string `json:"hits"`
		Measured     string `json:"measured"`
		Hosts        string `json:"hosts"`
		Images       string `json:"images"`
		FirstSeen    string `json:"firstSeen,omitempty"`
		LastSeen     string `json:"lastSeen,omitempty"`
		LastMeasured string `json:"lastMeasured,omitempty"`
	}
	coverageInput struct {
		From      string      `json:"from"`
		To        string      `json:"to"`
		Parts     []Factor    `json:"parts"`
		Sources   string      `json:"sources"`
		Hosts     string      `json:"hosts"`
		Losses    []lossInput `json:"losses"` // by stage
		Truncated bool        `json:"truncated"`
	}
	lossInput struct {
		Stage     string `json:"stage"`
		Events    string `json:"events"`
		Reports   string `json:"reports"`
		Uncounted string `json:"uncounted"`
	}
)

// inputs are the documents of a state, by kind.
func (s *State) inputs() (map[Kind][]byte, error) {
	evidence := evidenceInput{formatCount(s.Candidates), make([]subjectInput, 0, len(s.Subjects))}
	for i := range s.Subjects {
		evidence.Subjects = append(evidence.Subjects, subjectInputOf(&s.Subjects[i]))
	}
	slices.SortStableFunc(evidence.Subjects, func(a, b subjectInput) int { return strings.Compare(a.ID, b.ID) })
	c := &s.Coverage
	coverage := coverageInput{
		From: formatTime(c.From), To: formatTime(c.To), Parts: []Factor{}, Sources: formatCount(c.Sources), Hosts: formatCount(c.Hosts),
		Losses: []lossInput{}, Truncated: c.Truncated,
	}
	for _, part := range c.Parts {
		coverage.Parts = append(coverage.Parts, Factor{part.Name, formatFraction(part.Value)})
	}
	for _, loss := range c.Losses {
		coverage.Losses = append(coverage.Losses, lossInput{loss.Stage, formatCount(loss.Events), formatCount(loss.Reports), formatCount(loss.Uncounted)})
	}
	slices.SortStableFunc(coverage.Losses, func(a, b lossInput) int { return strings.Compare(a.Stage, b.Stage) })
	documents := map[Kind][]byte{KindWeights: s.Weights}
	for kind, document := range map[Kind]any{KindFinding: &s.Finding, KindEvidence: &evidence, KindCoverage: &coverage} {
		encoded, err := encode(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		if len(encoded) > MaxInput {
			return nil, fmt.Errorf("%s: %w: it has more than %d bytes", kind, ErrTooLarge, MaxInput)
		}
		documents[kind] = encoded
	}
	if s.Containment != nil {
		encoded, tooLarge, err := s.Containment.encode()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", KindContainment, err)
		}
		if !tooLarge { // a score without containment is better than none
			documents[KindContainment], documents[KindContainmentWeights] = encoded, s.Containment.Weights
		}
	}
	return documents, nil
}

func subjectInputOf(s *Subject) subjectInput {
	f, a, t := &s.Frame, &s.Artifact, &s.Total
	in := subjectInput{
		ID: s.ID, Kind: s.Kind, Named: s.Named,
		Frame: frameInput{
			Package: f.Package, Member: f.Member, Symbol: f.Symbol, Language: f.Language, Flags: f.Flags,
			BuildID: f.Module.BuildID, SHA256: f.Module.SHA256, Module: f.Module.Path, Inlined: f.Inlined,
			Component: f.Component, SymbolSource: f.SymbolSource, Confidence: formatFraction(f.Confidence),
		},
		Artifact: artifactInput{a.PURL, a.Digest, a.Revision, a.Repository, a.Method, a.Conflicts},
		Total: totalInput{
			formatCount(t.Hits), formatCount(t.Measured), formatCount(t.Hosts), formatCount(t.Images),
			formatTime(t.FirstSeen), formatTime(t.LastSeen), formatTime(t.LastMeasured),
		},
	}
	if f.HasOffset {
		in.Frame.Offset = witness.FormatOffset(f.Offset)
	}
	return in
}

// stateOf reads what inputs wrote. Its errors name the input and the member, and repeat no value.
func stateOf(asOf string, documents map[Kind][]byte) (*State, error) {
	s := &State{Weights: documents[KindWeights]}
	var r reader
	s.AsOf = r.time("asOf", asOf)
	var evidence evidenceInput
	var coverage coverageInput
	for _, input := range []struct {
		kind Kind
		into any
	}{{KindFinding, &s.Finding}, {KindEvidence, &evidence}, {KindCoverage, &coverage}} {
		if err := decode(documents[input.kind], input.into); err != nil {
			return nil, fmt.Errorf("%s: %w", input.kind, err)
		}
	}
	s.Candidates = r.int("evidence/candidates", evidence.Candidates)
	for i := range evidence.Subjects {
		s.Subjects = append(s.Subjects, r.subject("evidence/subjects/"+strconv.Itoa(i), &evidence.Subjects[i]))
	}
	s.Coverage = Coverage{
		From: r.time("coverage/from", coverage.From), To: r.time("coverage/to", coverage.To),
		Sources: r.int("coverage/sources", coverage.Sources), Hosts: r.int("coverage/hosts", coverage.Hosts), Truncated: coverage.Truncated,
	}
	for _, part := range coverage.Parts {
		s.Coverage.Parts = append(s.Coverage.Parts, Part{part.Name, r.fraction("coverage/parts", part.Value)})
	}
	for _, loss := range coverage.Losses {
		s.Coverage.Losses = append(s.Coverage.Losses, Loss{
			loss.Stage, r.count("coverage/losses/events", loss.Events),
			r.int("coverage/losses/reports", loss.Reports), r.int("coverage/losses/uncounted", loss.Uncounted),
		})
	}
	if encoded, is := documents[KindContainment]; is {
		var in containmentInput
		if err := decode(encoded, &in); err != nil {
			return nil, fmt.Errorf("%s: %w", KindContainment, err)
		}
		s.Containment = r.containment(&in, documents[KindContainmentWeights])
	}
	if r.at != "" {
		return nil, fmt.Errorf("%s: %w", r.at, errMembers)
	}
	return s, nil
}

// reader reads texts; at is where the first is not as it must be.
type reader struct{ at string }

func (r *reader) check(at string, ok bool) {
	if !ok && r.at == "" {
		r.at = at
	}
}

func (r *reader) time(at, text string) time.Time {
	t, err := parseTime(text)
	r.check(at, err == nil)
	return t
}

func (r *reader) count(at, text string) uint64 {
	r.check(at, isCount(text))
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

func (r *reader) int(at, text string) int {
	n, err := strconv.Atoi(text)
	r.check(at, err == nil && isCount(text))
	return n
}

func (r *reader) fraction(at, text string) float64 {
	x, err := strconv.ParseFloat(text, 64)
	r.check(at, err == nil)
	return x
}

func (r *reader) subject(at string, in *subjectInput) Subject {
	f, a, t := &in.Frame, &in.Artifact, &in.Total
	s := Subject{
		ID: in.ID, Kind: in.Kind, Named: in.Named,
		Frame: witness.Frame{
			Package: f.Package, Member: f.Member, Symbol: f.Symbol, Language: f.Language, Flags: f.Flags,
			Module:  witness.Module{BuildID: f.BuildID, SHA256: f.SHA256, Path: f.Module},
			Inlined: f.Inlined, Component: f.Component, SymbolSource: f.SymbolSource, Confidence: r.fraction(at+"/frame/confidence", f.Confidence),
		},
		Artifact: witness.Artifact{
			PURL: a.PURL, Digest: a.Digest, Revision: a.Revision, Repository: a.Repository, Method: a.Method, Conflicts: a.Conflicts,
		},
		Total: Total{
			Hits: r.count(at+"/total/hits", t.Hits), Measured: r.count(at+"/total/measured", t.Measured),
			Hosts: r.int(at+"/total/hosts", t.Hosts), Images: r.int(at+"/total/images", t.Images),
			FirstSeen: r.time(at+"/total/firstSeen", t.FirstSeen), LastSeen: r.time(at+"/total/lastSeen", t.LastSeen),
			LastMeasured: r.time(at+"/total/lastMeasured", t.LastMeasured),
		},
	}
	if f.Offset != "" {
		var err error
		s.Frame.Offset, err = witness.ParseOffset(f.Offset)
		s.Frame.HasOffset = true
		r.check(at+"/frame/offset", err == nil)
	}
	return s
}
