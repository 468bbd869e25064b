package witness

import (
	"errors"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// Sighting is what one event says of one witness.
type Sighting struct {
	Witness             Witness
	Hits, HitsError     uint64
	FirstSeen, LastSeen time.Time
	Assurance           Assurance
	Origin              Origin
	Artifact            Artifact
	FindingIDs          []string
}

// Errors of AppendSightings.
var (
	ErrNoTime  = errors.New("the event has no time")
	ErrNoStack = errors.New("the event has no frame in witness.stack")
	ErrHits    = errors.New("witness.hits is not a positive number")
)

// Event is what one runtime event says, before it is spelled out as sightings. The zero Event is ready to Read.
type Event struct {
	Kind Kind
	// Stack is witness.stack, innermost frame first. That of an exec or a load is one frame of nothing but its module.
	Stack               []Frame
	Hits, HitsError     uint64
	FirstSeen, LastSeen time.Time
	Assurance           Assurance
	Origin              Origin
	// Artifact is that of the executable: of the frames of which Sight says so.
	Artifact   Artifact
	FindingIDs []string
	// UID is the log.record.uid, Source the witness.source of the record; empty when there is none.
	UID, Source string
	// Preexisting says that the process ran before anybody watched.
	Preexisting bool

	owner      string // path of the executable
	executable string // as the event names it
}

// Sight is one witness of an event: the frame Index of its stack, called by those behind it.
type Sight struct {
	Kind            Kind
	Index           int
	Hits, HitsError uint64
	// OfArtifact says that the frame belongs to the artifact of the event, Named that the event's findings name this witness.
	OfArtifact, Named bool
}

// Witnessing reports whether events of this name witness anything, and what kind.
func Witnessing(event string) (Kind, bool) {
	switch event {
	case semconv.EventExec:
		return KindExec, true
	case semconv.EventLoad:
		return KindLoad, true
	case semconv.EventCall, semconv.EventKernel:
		return KindCall, true
	case semconv.EventSample:
		return KindSample, true
	}
	return "", false
}

// Read reads an event that is one of Witnessing, in one pass and into the memory that e has. What is in e afterwards
// shares its strings with the record, and is valid until the next Read. The errors are ErrNoTime, ErrNoStack and ErrHits;
// with one, UID and Source are set still.
func (e *Event) Read(record plog.LogRecord) error {
	*e = Event{Stack: e.Stack[:0], Hits: 1, Assurance: Measured, Origin: OriginUnknown}
	e.Kind, _ = Witnessing(record.EventName())
	badHits := e.readAttributes(record.Attributes())
	if len(e.Stack) == 0 {
		return ErrNoStack
	}
	if badHits {
		return ErrHits
	}
	if e.LastSeen.IsZero() {
		e.LastSeen = eventTime(record)
	}
	if e.FirstSeen.IsZero() || e.FirstSeen.After(e.LastSeen) {
		e.FirstSeen = e.LastSeen
	}
	if e.LastSeen.IsZero() {
		return ErrNoTime
	}
	first := &e.Stack[0]
	e.owner = e.executable
	if e.owner == "" || e.Kind == KindExec {
		e.owner = first.Module.Path
	}
	switch e.Kind {
	case KindExec, KindLoad:
		if first.Module == (Module{}) {
			return ErrNoStack
		}
		e.Stack = e.Stack[:1]
		*first = Frame{Module: first.Module, Component: first.Component}
	case KindCall:
		if !first.identified() {
			return ErrNoStack
		}
	}
	return nil
}

// readAttributes reads the attributes of an event; the first of each name counts.
func (e *Event) readAttributes(attributes pcommon.Map) (badHits bool) {
	var seen uint32
	for name, value := range attributes.All() {
		field, text := fieldOf(name)
		if field == 0 || seen&field != 0 {
			continue
		}
		seen |= field
		if text != (value.Type() == pcommon.ValueTypeStr) {
			badHits = badHits || field == fieldHits
			continue
		}
		switch field {
		case fieldUID:
			e.UID = value.Str()
		case fieldSource:
			e.Source = value.Str()
		case fieldExecutable:
			e.executable = value.Str()
		case fieldPURL:
			e.Artifact.PURL = value.Str()
		case fieldDigest:
			e.Artifact.Digest = value.Str()
		case fieldRevision:
			e.Artifact.Revision = value.Str()
		case fieldRepository:
			e.Artifact.Repository = value.Str()
		case fieldMethod:
			e.Artifact.Method = value.Str()
		case fieldAssurance:
			if assurance := Assurance(value.Str()); assurance.Valid() {
				e.Assurance = assurance
			}
		case fieldOrigin:
			if origin := Origin(value.Str()); origin.Valid() {
				e.Origin = origin
			}
		case fieldFirstSeen:
			e.FirstSeen, _ = parseTime(semconv.WitnessFirstSeen, value.Str())
		case fieldLastSeen:
			e.LastSeen, _ = parseTime(semconv.WitnessLastSeen, value.Str())
		case fieldHits:
			badHits = value.Type() != pcommon.ValueTypeInt || value.Int() <= 0
			if !badHits {
				e.Hits = uint64(value.Int()) //nolint:gosec // positive
			}
		case fieldHitsError:
			if value.Type() == pcommon.ValueTypeInt && value.Int() > 0 {
				e.HitsError = uint64(value.Int()) //nolint:gosec // positive
			}
		case fieldPreexisting:
			e.Preexisting = value.Type() == pcommon.ValueTypeBool && value.Bool()
		case fieldConflicts:
			e.Artifact.Conflicts = semconv.TextsOf(value)
		case fieldFindingIDs:
			e.FindingIDs = semconv.TextsOf(value)
		case fieldStack:
			e.Stack = appendStack(e.Stack, value)
		}
	}
	return badHits
}

// The attributes that an Event is read from.
const (
	fieldUID uint32 = 1 << iota
	fieldSource
	fieldExecutable
	fieldPURL
	fieldDigest
	fieldRevision
	fieldRepository
	fieldMethod
	fieldAssurance
	fieldOrigin
	fieldFirstSeen
	fieldLastSeen
	fieldHits
	fieldHitsError
	fieldPreexisting
	fieldConflicts
	fieldFindingIDs
	fieldStack
)

// fieldOf is the field of an attribute and whether that is a text; 0 for one that an event is not read from.
func fieldOf(name string) (field uint32, text bool) {
	switch name {
	case semconv.LogRecordUID:
		return fieldUID, true
	case semconv.WitnessSource:
		return fieldSource, true
	case semconv.ProcessExecutablePath:
		return fieldExecutable, true
	case semconv.ArtifactPURL:
		return fieldPURL, true
	case semconv.ArtifactHash:
		return fieldDigest, true
	case semconv.VCSRefHeadRevision:
		return fieldRevision, true
	case semconv.VCSRepositoryURLFull:
		return fieldRepository, true
	case semconv.WitnessArtifactIdentityMethod:
		return fieldMethod, true
	case semconv.WitnessAssurance:
		return fieldAssurance, true
	case semconv.WitnessOrigin:
		return fieldOrigin, true
	case semconv.WitnessFirstSeen:
		return fieldFirstSeen, true
	case semconv.WitnessLastSeen:
		return fieldLastSeen, true
	case semconv.WitnessHits:
		return fieldHits, false
	case semconv.WitnessHitsError:
		return fieldHitsError, false
	case semconv.WitnessProcessPreexisting:
		return fieldPreexisting, false
	case semconv.WitnessArtifactConflicts:
		return fieldConflicts, false
	case semconv.WitnessFindingIDs:
		return fieldFindingIDs, false
	case semconv.WitnessStack:
		return fieldStack, false
	}
	return 0, false
}

// AppendSights appends what the event witnesses. An exec is one exec and a load one load, of the module of the first
// frame; a call, and a kernel hook, is one call of the first frame; the stack behind it, or that of a sample, is one
// sample for each user frame, with its callers as path, the innermost only where a symbol repeats. Hits of a call are
// not hits of its callers: those were seen once.
func (e *Event) AppendSights(dst []Sight) []Sight {
	stack := e.Stack
	for i := range stack {
		sight := Sight{Kind: e.Kind, Index: i, Hits: e.Hits, HitsError: e.HitsError, Named: i == 0, OfArtifact: e.ofArtifact(&stack[i])}
		if e.Kind == KindSample || i > 0 {
			if !stack[i].identified() || stack[i].kernel() || repeats(stack, i, e.Kind) {
				continue
			}
			if e.Kind == KindCall {
				sight.Kind, sight.Hits, sight.HitsError = KindSample, 1, 0
			}
		}
		dst = append(dst, sight)
	}
	return dst
}

func (e *Event) ofArtifact(frame *Frame) bool {
	return frame.Module.Path == e.owner && (e.owner != "" || frame.Module == e.Stack[0].Module)
}

// AppendSightings appends what an event witnesses, spelled out: see AppendSights. Events that witness nothing append
// nothing. The errors are those of Read.
func AppendSightings(dst []Sighting, workload Workload, record plog.LogRecord) ([]Sighting, error) {
	if _, ok := Witnessing(record.EventName()); !ok {
		return dst, nil
	}
	var e Event
	if err := e.Read(record); err != nil {
		return dst, err
	}
	for _, sight := range e.AppendSights(nil) {
		s := Sighting{
			Witness: Witness{Kind: sight.Kind, Frame: e.Stack[sight.Index], Workload: workload, Path: e.Stack[sight.Index+1:]},
			Hits:    sight.Hits, HitsError: sight.HitsError,
			FirstSeen: e.FirstSeen, LastSeen: e.LastSeen, Assurance: e.Assurance, Origin: e.Origin,
		}
		if len(s.Witness.Path) == 0 {
			s.Witness.Path = nil
		}
		if sight.OfArtifact {
			s.Artifact = e.Artifact
		}
		if sight.Named {
			s.FindingIDs = e.FindingIDs
		}
		dst = append(dst, s)
	}
	return dst, nil
}

// identified reports whether the frame says what it is.
func (f *Frame) identified() bool {
	return f.Symbol != "" || f.HasOffset && f.Module != (Module{})
}

func (f *Frame) kernel() bool { return f.Language == "kernel" || f.Module.Path == KernelModule }

// repeats reports whether a frame further in is the same function.
func repeats(stack []Frame, i int, kind Kind) bool {
	first := 0
	if kind == KindCall {
		first = 1
	}
	for j := first; j < i; j++ {
		a, b := &stack[i], &stack[j]
		if a.Symbol == b.Symbol && a.Module == b.Module && (a.Symbol != "" || a.Offset == b.Offset) {
			return true
		}
	}
	return false
}

// assuranceOf is what an event says of itself; a collector's own receiver need not say that it measured.
func assuranceOf(m pcommon.Map) Assurance {
	if assurance := Assurance(semconv.Text(m, semconv.WitnessAssurance)); assurance.Valid() {
		return assurance
	}
	return Measured
}

// eventTime is the event's own time, or else when it was observed.
func eventTime(record plog.LogRecord) time.Time {
	switch {
	case record.Timestamp() != 0:
		return record.Timestamp().AsTime()
	case record.ObservedTimestamp() != 0:
		return record.ObservedTimestamp().AsTime()
	default:
		return time.Time{}
	}
}
