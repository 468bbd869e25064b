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

// AppendSightings appends what an event witnesses. An exec is one exec and a load one load, of the module of the first
// frame; a call, and a kernel hook, is one call of the first frame; the stack behind it, or that of a sample, is one
// sample for each user frame, with its callers as path, the innermost only where a symbol repeats. Hits of a call are
// not hits of its callers: those were seen once. Events that witness nothing append nothing.
func AppendSightings(dst []Sighting, workload Workload, record plog.LogRecord) ([]Sighting, error) {
	var kind Kind
	switch record.EventName() {
	case semconv.EventExec:
		kind = KindExec
	case semconv.EventLoad:
		kind = KindLoad
	case semconv.EventCall, semconv.EventKernel:
		kind = KindCall
	case semconv.EventSample:
		kind = KindSample
	default:
		return dst, nil
	}
	attributes := record.Attributes()
	stack := StackOf(attributes)
	if len(stack) == 0 {
		return dst, ErrNoStack
	}
	base := Sighting{
		Hits:       1,
		Assurance:  assuranceOf(attributes),
		Origin:     Origin(semconv.Text(attributes, semconv.WitnessOrigin)),
		FindingIDs: semconv.Texts(attributes, semconv.WitnessFindingIDs),
	}
	if !base.Origin.Valid() {
		base.Origin = OriginUnknown
	}
	if hits, ok := attributes.Get(semconv.WitnessHits); ok {
		if hits.Type() != pcommon.ValueTypeInt || hits.Int() <= 0 {
			return dst, ErrHits
		}
		base.Hits = uint64(hits.Int()) //nolint:gosec // positive
	}
	if hits, ok := attributes.Get(semconv.WitnessHitsError); ok && hits.Type() == pcommon.ValueTypeInt && hits.Int() > 0 {
		base.HitsError = uint64(hits.Int()) //nolint:gosec // positive
	}
	base.LastSeen = eventTime(record)
	if last, ok := optionalTime(attributes, semconv.WitnessLastSeen); ok {
		base.LastSeen = last
	}
	base.FirstSeen = base.LastSeen
	if first, ok := optionalTime(attributes, semconv.WitnessFirstSeen); ok && !first.After(base.LastSeen) {
		base.FirstSeen = first
	}
	if base.LastSeen.IsZero() {
		return dst, ErrNoTime
	}
	artifact := artifactOf(attributes)
	owner := semconv.Text(attributes, semconv.ProcessExecutablePath)
	if owner == "" || record.EventName() == semconv.EventExec {
		owner = stack[0].Module.Path
	}
	sight := func(kind Kind, frame Frame, path []Frame, hits, hitsError uint64, named bool) {
		s := base
		s.Hits, s.HitsError = hits, hitsError
		s.Witness = Witness{Kind: kind, Frame: frame, Workload: workload, Path: path}
		if frame.Module.Path == owner && (owner != "" || frame.Module == stack[0].Module) {
			s.Artifact = artifact
		}
		if !named {
			s.FindingIDs = nil
		}
		dst = append(dst, s)
	}
	switch kind {
	case KindExec, KindLoad:
		module := Frame{Module: stack[0].Module, Component: stack[0].Component}
		if module.Module == (Module{}) {
			return dst, ErrNoStack
		}
		sight(kind, module, nil, base.Hits, base.HitsError, true)
		return dst, nil
	case KindCall:
		if !stack[0].identified() {
			return dst, ErrNoStack
		}
		sight(KindCall, stack[0], stack[1:], base.Hits, base.HitsError, true)
	}
	for i := range stack {
		if kind == KindCall && i == 0 || !stack[i].identified() || stack[i].kernel() || repeats(stack, i, kind) {
			continue
		}
		if kind == KindCall {
			sight(KindSample, stack[i], stack[i+1:], 1, 0, false)
		} else {
			sight(KindSample, stack[i], stack[i+1:], base.Hits, base.HitsError, i == 0)
		}
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

// optionalTime reads a time that most events do not have, without making an error of that.
func optionalTime(m pcommon.Map, name string) (time.Time, bool) {
	if _, ok := m.Get(name); !ok {
		return time.Time{}, false
	}
	t, err := timeOf(m, name)
	return t, err == nil
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
