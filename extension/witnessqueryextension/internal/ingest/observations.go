package ingest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Maker makes observations of posted traces.
type Maker struct {
	Canonicalizer *canon.Canonicalizer
	// Window is the length of the windows.
	Window time.Duration
}

// Made is what a request became.
type Made struct {
	// Observations have distinct keys: what is equal was added up.
	Observations []witness.Observation
	// Traces are, for each observation, the indexes of the traces that are in it, ascending.
	Traces [][]int
	// Rejected are by index, ascending.
	Rejected []Rejection
}

// Make makes the observations that a request posted for a finding, from the given source at the time now.
func (m *Maker) Make(r *Request, finding, source string, now time.Time) Made {
	type key struct {
		id       witness.ID
		instance witness.Instance
		window   time.Time
	}
	var made Made
	known := map[key]int{}
	rejected := r.rejected
	frames := 0
	for i := range r.traces {
		if len(rejected) > 0 && rejected[0].Index == i {
			made.Rejected = append(made.Rejected, rejected[0])
			rejected = rejected[1:]
			continue
		}
		trace := &r.traces[i]
		if frames += len(trace.Frames); frames > MaxFrames {
			made.Rejected = append(made.Rejected, Rejection{i, fmt.Sprintf("frames: the request has more than %d", MaxFrames)})
			continue
		}
		event, err := newEvent(trace, now)
		if err != nil {
			made.Rejected = append(made.Rejected, Rejection{i, err.Error()})
			continue
		}
		sightings, named, err := m.sight(&event, trace)
		if err != nil {
			made.Rejected = append(made.Rejected, Rejection{i, err.Error()})
			continue
		}
		instance := witness.InstanceOf(event.resource())
		for j := range sightings {
			s := &sightings[j]
			window := witness.AlignWindow(s.LastSeen, m.Window)
			id := s.Witness.ID()
			at, ok := known[key{id, instance, window}]
			if !ok {
				at = len(made.Observations)
				known[key{id, instance, window}] = at
				made.Traces = append(made.Traces, nil)
				made.Observations = append(made.Observations, witness.Observation{
					ID: id, Witness: s.Witness, Source: source, Instance: instance,
					WindowStart: window, WindowEnd: window.Add(m.Window),
					FirstSeen: s.FirstSeen, LastSeen: s.LastSeen,
					Assurance: witness.Asserted, Origin: witness.OriginUnknown, Artifact: s.Artifact,
				})
			}
			o := &made.Observations[at]
			o.Hits = min(o.Hits+s.Hits, math.MaxInt64)
			if s.FirstSeen.Before(o.FirstSeen) {
				o.FirstSeen = s.FirstSeen
			}
			if s.LastSeen.After(o.LastSeen) {
				o.LastSeen = s.LastSeen
			}
			if o.Artifact.IsZero() {
				o.Artifact = s.Artifact
			}
			if j == named {
				o.FindingIDs = []string{finding}
			}
			if n := len(made.Traces[at]); n == 0 || made.Traces[at][n-1] != i {
				made.Traces[at] = append(made.Traces[at], i)
			}
		}
	}
	return made
}

// Errors of single traces name the member at fault.
var (
	errKind      = errors.New("kind: is not one of exec, load, sample, call")
	errHits      = fmt.Errorf("hits: is not from 1 to %d", int64(MaxHits))
	errFrames    = errors.New("frames: are missing")
	errModule    = errors.New("module: is missing, and frames too")
	errNoModule  = errors.New("frames[0]: has no module, buildId or sha256")
	errBoth      = errors.New("module: is for exec and load without frames; frames have their own")
	errDepth     = fmt.Errorf("frames: has more than %d items", witness.MaxStack)
	errOrder     = errors.New("lastSeen: is before firstSeen")
	errAhead     = fmt.Errorf("lastSeen: is more than %s ahead", storage.MaxAhead)
	errCanonical = errors.New("frames: could not be made canonical")
	errUnknown   = errors.New("frames: the innermost has neither a symbol of its language nor a module with an offset")
)

var events = map[witness.Kind]string{
	witness.KindExec: semconv.EventExec, witness.KindLoad: semconv.EventLoad,
	witness.KindSample: semconv.EventSample, witness.KindCall: semconv.EventCall,
}

// event is one trace as a receiver would have sent it. It is a plog.Logs of its own so that canonicalization cannot
// take it for another when it removes one.
type event struct {
	logs plog.Logs
}

func (e *event) resource() pcommon.Map { return e.logs.ResourceLogs().At(0).Resource().Attributes() }

func (e *event) record() plog.LogRecord {
	return e.logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
}

func newEvent(trace *Trace, now time.Time) (event, error) {
	kind := witness.Kind(trace.Kind)
	if !kind.Valid() {
		return event{}, errKind
	}
	hits := int64(1)
	if trace.Hits != nil {
		hits = *trace.Hits
	}
	if hits <= 0 || hits > MaxHits {
		return event{}, errHits
	}
	first, last, err := times(trace, now)
	if err != nil {
		return event{}, err
	}
	if err := checkTexts(trace); err != nil {
		return event{}, err
	}
	frames, err := framesOf(trace, kind)
	if err != nil {
		return event{}, err
	}
	e := event{plog.NewLogs()}
	resource := e.logs.ResourceLogs().AppendEmpty()
	putPlace(resource.Resource().Attributes(), trace)
	record := resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetEventName(events[kind])
	record.SetTimestamp(pcommon.NewTimestampFromTime(last))
	record.SetObservedTimestamp(pcommon.NewTimestampFromTime(now))
	m := record.Attributes()
	m.PutInt(semconv.WitnessHits, hits)
	m.PutStr(semconv.WitnessFirstSeen, first.Format(time.RFC3339Nano))
	m.PutStr(semconv.WitnessLastSeen, last.Format(time.RFC3339Nano))
	m.PutStr(semconv.WitnessAssurance, string(witness.Asserted))
	semconv.PutText(m, semconv.ProcessExecutablePath, executable(frames))
	if trace.Artifact != (Artifact{}) {
		semconv.PutText(m, semconv.ArtifactPURL, trace.Artifact.PURL)
		semconv.PutText(m, semconv.ArtifactHash, trace.Artifact.Digest)
		semconv.PutText(m, semconv.VCSRefHeadRevision, trace.Artifact.Revision)
		semconv.PutText(m, semconv.VCSRepositoryURLFull, trace.Artifact.Repository)
		m.PutStr(semconv.WitnessArtifactIdentityMethod, "asserted")
	}
	witness.PutStack(m, frames...)
	return e, nil
}

// times reads when a trace was seen. Without lastSeen that is now.
func times(trace *Trace, now time.Time) (first, last time.Time, err error) {
	last = now.UTC()
	if trace.LastSeen != "" {
		if last, err = ParseTime(trace.LastSeen); err != nil {
			return first, last, fmt.Errorf("lastSeen: %w", err)
		}
	}
	first = last
	if trace.FirstSeen != "" {
		if first, err = ParseTime(trace.FirstSeen); err != nil {
			return first, last, fmt.Errorf("firstSeen: %w", err)
		}
	}
	switch {
	case last.Before(first):
		return first, last, errOrder
	case last.After(now.Add(storage.MaxAhead)):
		return first, last, errAhead
	}
	return first, last, nil
}

var errTime = errors.New("is not an RFC 3339 time with a zone, from 1970 to 2261")

// ParseTime reads an RFC 3339 time with a zone. It is of a year that a count of nanoseconds holds, in UTC.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, errTime
	}
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 2261 {
		return time.Time{}, errTime
	}
	return t, nil
}

func checkTexts(trace *Trace) error {
	for _, text := range []struct{ name, value string }{
		{"vulnerableFunction", trace.VulnerableFunction}, {"module", trace.Module}, {"host", trace.Host},
		{"artifact.purl", trace.Artifact.PURL}, {"artifact.digest", trace.Artifact.Digest},
		{"artifact.revision", trace.Artifact.Revision}, {"artifact.repository", trace.Artifact.Repository},
		{"container.id", trace.Container.ID}, {"container.name", trace.Container.Name}, {"container.image", trace.Container.Image},
	} {
		if len(text.value) > MaxText {
			return fmt.Errorf("%s: is longer than %d bytes", text.name, MaxText)
		}
	}
	for i := range trace.Frames {
		f := &trace.Frames[i]
		for _, text := range []struct{ name, value string }{
			{"symbol", f.Symbol}, {"language", f.Language}, {"module", f.Module}, {"buildId", f.BuildID},
			{"sha256", f.SHA256}, {"file", f.File},
		} {
			if len(text.value) > MaxText {
				return fmt.Errorf("frames[%d].%s: is longer than %d bytes", i, text.name, MaxText)
			}
		}
	}
	return nil
}

func framesOf(trace *Trace, kind witness.Kind) ([]witness.Frame, error) {
	switch {
	case trace.Module != "" && (kind.NamesSymbol() || len(trace.Frames) > 0):
		return nil, errBoth
	case trace.Module != "":
		return []witness.Frame{{Module: witness.Module{Path: trace.Module}}}, nil
	case len(trace.Frames) == 0 && kind.NamesSymbol():
		return nil, errFrames
	case len(trace.Frames) == 0:
		return nil, errModule
	case len(trace.Frames) > witness.MaxStack:
		return nil, errDepth
	}
	frames := make([]witness.Frame, len(trace.Frames))
	for i := range trace.Frames {
		posted := &trace.Frames[i]
		frames[i] = witness.Frame{
			Symbol: posted.Symbol, Language: posted.Language,
			Module: witness.Module{Path: posted.Module, BuildID: strings.ToLower(posted.BuildID), SHA256: strings.ToLower(posted.SHA256)},
			File:   posted.File, Line: int(posted.Line), Inlined: posted.Inlined, SymbolSource: "posted",
		}
		if posted.Line < 0 {
			return nil, fmt.Errorf("frames[%d].line: is negative", i)
		}
		if posted.Offset != "" {
			offset, err := witness.ParseOffset(posted.Offset)
			if err != nil {
				return nil, fmt.Errorf("frames[%d].offset: %w", i, err)
			}
			frames[i].Offset, frames[i].HasOffset = offset, true
		}
	}
	if !kind.NamesSymbol() && frames[0].Module == (witness.Module{}) {
		return nil, errNoModule
	}
	return frames, nil
}

// executable is the module that a posted artifact speaks of: the outermost that is not a shared library by its name.
// Empty if there is none: then it speaks of the innermost.
func executable(frames []witness.Frame) string {
	for i := len(frames) - 1; i >= 0; i-- {
		path := frames[i].Module.Path
		if path != "" && path != witness.KernelModule && !strings.HasSuffix(path, ".so") && !strings.Contains(path, ".so.") {
			return path
		}
	}
	return ""
}

func putPlace(resource pcommon.Map, trace *Trace) {
	semconv.PutText(resource, semconv.HostName, trace.Host)
	semconv.PutText(resource, semconv.ContainerID, trace.Container.ID)
	semconv.PutText(resource, semconv.ContainerName, trace.Container.Name)
	name, digest, pinned := strings.Cut(trace.Container.Image, "@")
	semconv.PutText(resource, semconv.ContainerImageName, name)
	if pinned && digest != "" {
		resource.PutEmptySlice(semconv.ContainerImageRepoDigests).AppendEmpty().SetStr(trace.Container.Image)
	}
}

// kept checks that what identifies code in a posted trace is still there after canonicalization, which drops what does not
// have the form it must have: without it the evidence would be of something else, and the caller would not know.
func kept(record pcommon.Map, stack []witness.Frame, trace *Trace) error {
	for _, member := range []struct{ posted, attribute, problem string }{
		{trace.Artifact.PURL, semconv.ArtifactPURL, "artifact.purl: is not a package URL"},
		{trace.Artifact.Digest, semconv.ArtifactHash, "artifact.digest: is not a digest, sha256:<hex>"},
		{trace.Artifact.Revision, semconv.VCSRefHeadRevision, "artifact.revision: is not the hash of a commit"},
	} {
		if _, ok := record.Get(member.attribute); !ok && member.posted != "" {
			return errors.New(member.problem)
		}
	}
	if len(stack) != len(trace.Frames) {
		return nil // a module without frames
	}
	for i := range stack {
		switch posted, module := &trace.Frames[i], &stack[i].Module; {
		case posted.BuildID != "" && module.BuildID == "":
			return fmt.Errorf("frames[%d].buildId: is not a build-id in hex", i)
		case posted.SHA256 != "" && module.SHA256 == "":
			return fmt.Errorf("frames[%d].sha256: is not 64 hex digits", i)
		}
	}
	return nil
}

// sight canonicalizes an event and reads what it witnesses. named is the index of the sighting that is evidence of the
// finding outright: that of vulnerableFunction where it is on the stack, else the innermost.
func (m *Maker) sight(e *event, trace *Trace) (sightings []witness.Sighting, named int, err error) {
	m.Canonicalizer.Logs(e.logs)
	if e.logs.LogRecordCount() != 1 {
		return nil, 0, errCanonical
	}
	record := e.record()
	stack := witness.StackOf(record.Attributes())
	if err := kept(record.Attributes(), stack, trace); err != nil {
		return nil, 0, err
	}
	for i := range stack {
		if f := &stack[i]; f.Component == "" {
			f.Component = artifact.PostedComponent(trace.Artifact.PURL, f.Language, f.Package)
		}
	}
	witness.PutStack(record.Attributes(), stack...)
	sightings, err = witness.AppendSightings(nil, witness.WorkloadOf(e.resource()), record)
	if err != nil || len(sightings) == 0 {
		return nil, 0, errUnknown
	}
	if witness.Kind(trace.Kind) != witness.KindSample {
		return sightings, 0, nil
	}
	if trace.VulnerableFunction != "" {
		for i := range sightings {
			f := &sightings[i].Witness.Frame
			if s, ok := symbol.Canonical(trace.VulnerableFunction, f.Language); ok && f.Symbol != "" && s.Name == f.Symbol {
				return sightings, i, nil
			}
		}
	}
	user := 0
	for user < len(stack) && (stack[user].Language == "kernel" || stack[user].Module.Path == witness.KernelModule) {
		user++
	}
	if len(sightings[0].Witness.Path) != len(stack)-1-user {
		return nil, 0, errUnknown
	}
	return sightings, 0, nil
}
