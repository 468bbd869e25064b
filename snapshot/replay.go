package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Built is a new snapshot.
type Built struct {
	ID       string
	Document []byte
	Inputs   map[string][]byte // by digest
	// Artifacts are the digests of the artifacts that the evidence is from, sorted.
	Artifacts []string
}

// Build makes the snapshot of a state with the newest engine. config has the members that the engine does not set:
// Canonicalizer, Redaction and Engine. prev is the snapshotId of the finding's newest snapshot, empty without one. The
// same arguments give the same bytes.
func Build(s *State, config Config, prev string) (*Built, error) { return Known.Build(s, config, prev) }

// Build is as the function of that name, with these engines.
func (e Engines) Build(s *State, config Config, prev string) (*Built, error) {
	documents, err := s.inputs()
	if err != nil {
		return nil, err
	}
	asOf := formatTime(s.AsOf)
	read, err := stateOf(asOf, documents) // what replays is what is written, not what it was written from
	if err != nil {
		return nil, err
	}
	engine := &e[len(e)-1]
	outcome, err := engine.Compute(read)
	if err != nil {
		return nil, err
	}
	built := &Built{Inputs: map[string][]byte{}}
	config.Matching, config.ScoreModel, config.ScoreConfig = engine.Matching, engine.ScoreModel, outcome.ScoreConfig
	config.ContainmentModel, config.ContainmentConfig = outcome.ContainmentModel, outcome.ContainmentConfig
	d := Document{
		Schema: Schema, FindingID: s.Finding.ID, AsOf: asOf, Window: outcome.Window, Config: config,
		Counters: outcome.Counters, Result: outcome.Result, Prev: prev,
	}
	for _, kind := range kinds {
		if documents[kind] == nil {
			continue
		}
		digest := Digest(documents[kind])
		built.Inputs[digest] = documents[kind]
		d.Inputs = append(d.Inputs, Input{kind, InputMediaType(kind), digest, formatCount(len(documents[kind]))})
	}
	for i := range s.Subjects {
		if digest := s.Subjects[i].Artifact.Digest; ValidDigest(digest) {
			built.Artifacts = append(built.Artifacts, digest)
		}
	}
	slices.Sort(built.Artifacts)
	built.Artifacts = slices.Compact(built.Artifacts)
	if d.SnapshotID, err = d.id(); err != nil {
		return nil, err
	}
	if built.Document, err = d.encode(); err != nil {
		return nil, err
	}
	built.ID = d.SnapshotID
	if _, err := Parse(built.Document); err != nil { // what cannot be read must not be kept
		return nil, err
	}
	return built, nil
}

// Outcomes of a replay.
const (
	ReplayMatch      = "match"         // what was recomputed is what is recorded
	ReplayDifferent  = "different"     // it is not: see Difference
	ReplayMissing    = "missing"       // inputs are gone: the snapshot can be verified, but not replayed
	ReplayDamaged    = "damaged"       // inputs do not fit their digests
	ReplayUnreadable = "unreadable"    // an input fits its digest, but this version cannot read it
	ReplayModel      = "unknown-model" // this version does not know the model
)

// Report is what became of a replay.
type Report struct {
	Match   bool   `json:"match"`
	Outcome string `json:"outcome"`
	// Difference is the first, by pointer; nil unless Outcome is different.
	Difference *Difference `json:"difference"`
	// Missing and Damaged are inputs that are not there, and that are not what they were.
	Missing []Input `json:"missing"`
	Damaged []Input `json:"damaged"`
}

// Difference is where what was recomputed is not what is recorded. A value that one side does not have is null.
type Difference struct {
	Pointer    string          `json:"pointer"` // RFC 6901, into the document
	Recorded   json.RawMessage `json:"recorded"`
	Recomputed json.RawMessage `json:"recomputed"`
}

// Load returns what has a digest, or an error that wraps ErrMissing.
type Load func(digest string) ([]byte, error)

// Replay computes a snapshot again from its inputs. Its errors wrap ErrDocument, or are those of load.
func Replay(document []byte, load Load) (*Report, error) { return Known.Replay(document, load) }

// Replay is as the function of that name, with these engines.
func (e Engines) Replay(document []byte, load Load) (*Report, error) {
	d, err := Parse(document)
	if err != nil {
		return nil, err
	}
	report := &Report{Missing: []Input{}, Damaged: []Input{}}
	documents := map[Kind][]byte{}
	for _, input := range d.Inputs {
		data, err := load(input.SHA256)
		switch {
		case errors.Is(err, ErrMissing):
			report.Missing = append(report.Missing, input)
		case err != nil:
			return nil, err
		case formatCount(len(data)) != input.Size || Digest(data) != input.SHA256:
			report.Damaged = append(report.Damaged, input)
		}
		documents[input.Kind] = data
	}
	engine, known := e.find(d.Config.Matching, d.Config.ScoreModel)
	switch {
	case len(report.Damaged) > 0:
		report.Outcome = ReplayDamaged
		return report, nil
	case len(report.Missing) > 0:
		report.Outcome = ReplayMissing
		return report, nil
	case !known:
		report.Outcome = ReplayModel
		return report, nil
	}
	report.Outcome = ReplayUnreadable
	state, err := stateOf(d.AsOf, documents)
	if err != nil {
		return report, nil //nolint:nilerr // that is what is reported
	}
	outcome, err := engine.Compute(state)
	if err != nil {
		return report, nil //nolint:nilerr // that is what is reported
	}
	again := *d
	again.FindingID, again.Window, again.Counters, again.Result = state.Finding.ID, outcome.Window, outcome.Counters, outcome.Result
	again.Config.ScoreConfig = outcome.ScoreConfig
	again.Config.ContainmentModel, again.Config.ContainmentConfig = outcome.ContainmentModel, outcome.ContainmentConfig
	recomputed, err := again.encode()
	if err != nil {
		return nil, err
	}
	if report.Match = bytes.Equal(recomputed, document); report.Match {
		report.Outcome = ReplayMatch
		return report, nil
	}
	report.Outcome = ReplayDifferent
	report.Difference, err = differ(document, recomputed)
	return report, err
}

// differ finds the first difference of two documents.
func differ(recorded, recomputed []byte) (*Difference, error) {
	var a, b any
	if err := errors.Join(json.Unmarshal(recorded, &a), json.Unmarshal(recomputed, &b)); err != nil {
		return nil, err
	}
	pointer, a, b, found := first("", a, b)
	if !found {
		return nil, nil
	}
	left, err := encode(a)
	if err != nil {
		return nil, err
	}
	right, err := encode(b)
	if err != nil {
		return nil, err
	}
	return &Difference{pointer, left, right}, nil
}

// first walks two values in the order of their members.
func first(pointer string, a, b any) (at string, left, right any, found bool) {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		names := slices.AppendSeq(slices.Collect(maps.Keys(x)), maps.Keys(y))
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if at, left, right, found = first(pointer+"/"+escape.Replace(name), x[name], y[name]); found {
				return at, left, right, true
			}
		}
		return "", nil, nil, false
	case []any:
		y, ok := b.([]any)
		if !ok {
			break
		}
		for i := range max(len(x), len(y)) {
			if at, left, right, found = first(pointer+"/"+strconv.Itoa(i), element(x, i), element(y, i)); found {
				return at, left, right, true
			}
		}
		return "", nil, nil, false
	}
	return pointer, a, b, a != b
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// Chain follows a snapshot of a finding back to the first and checks each: that it is there, whole, and of this finding.
// It returns the snapshotIds, newest first; on an error those that are proven. load returns documents by snapshotId. Its
// errors wrap ErrDocument or ErrMissing, and name the snapshot.
func Chain(newest []byte, load Load) (ids []string, err error) {
	d, err := Parse(newest)
	if err != nil {
		return nil, err
	}
	ids = append(ids, d.SnapshotID)
	for d.Prev != "" { // ends: a snapshot cannot hold its own digest, nor that of one that comes later
		document, err := load(d.Prev)
		if err != nil {
			return ids, fmt.Errorf("snapshot %s: %w", d.Prev, err)
		}
		prev, err := Parse(document)
		switch {
		case err != nil:
			return ids, fmt.Errorf("snapshot %s: %w", d.Prev, err)
		case prev.SnapshotID != d.Prev:
			return ids, fmt.Errorf("snapshot %s: %w: it is another one", d.Prev, ErrDocument)
		case prev.FindingID != d.FindingID:
			return ids, fmt.Errorf("snapshot %s: %w: it is of another finding", d.Prev, ErrDocument)
		}
		ids, d = append(ids, prev.SnapshotID), prev
	}
	return ids, nil
}
