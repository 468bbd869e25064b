package witness

import (
	"errors"
	"fmt"
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// ErrID is the error of a record whose witness.id is not the identity of what it describes.
var ErrID = errors.New(semconv.WitnessID + " is not the id of this witness")

// MaxWindow is the longest window: one observation of a longer one would make every timeline it is in as coarse.
const MaxWindow = 24 * time.Hour

// AppendObservations writes observations as runtime.observation records, one ResourceLogs for each workload and instance.
func AppendObservations(logs plog.Logs, scope, version string, now time.Time, observations []Observation) {
	type place struct {
		workload Workload
		instance Instance
	}
	records := map[place]plog.LogRecordSlice{}
	for i := range observations {
		o := &observations[i]
		at := place{o.Witness.Workload, o.Instance}
		slice, ok := records[at]
		if !ok {
			resource := logs.ResourceLogs().AppendEmpty()
			PutResource(resource.Resource().Attributes(), at.workload, at.instance)
			scopeLogs := resource.ScopeLogs().AppendEmpty()
			scopeLogs.Scope().SetName(scope)
			scopeLogs.Scope().SetVersion(version)
			slice = scopeLogs.LogRecords()
			records[at] = slice
		}
		o.put(slice.AppendEmpty(), now)
	}
}

func (o *Observation) put(record plog.LogRecord, now time.Time) {
	record.SetEventName(semconv.EventObservation)
	record.SetTimestamp(pcommon.NewTimestampFromTime(o.LastSeen))
	record.SetObservedTimestamp(pcommon.NewTimestampFromTime(now))
	m := record.Attributes()
	m.EnsureCapacity(16)
	m.PutStr(semconv.WitnessID, o.ID.String())
	m.PutStr(semconv.WitnessKind, string(o.Witness.Kind))
	m.PutInt(semconv.WitnessHits, clamp(o.Hits))
	if o.HitsError != 0 {
		m.PutInt(semconv.WitnessHitsError, clamp(o.HitsError))
	}
	putTime(m, semconv.WitnessWindowStart, o.WindowStart)
	putTime(m, semconv.WitnessWindowEnd, o.WindowEnd)
	m.PutInt(semconv.WitnessFlush, clamp(o.Flush))
	putTime(m, semconv.WitnessFirstSeen, o.FirstSeen)
	putTime(m, semconv.WitnessLastSeen, o.LastSeen)
	m.PutStr(semconv.WitnessSource, o.Source)
	m.PutStr(semconv.WitnessAssurance, string(o.Assurance))
	m.PutStr(semconv.WitnessOrigin, string(o.Origin))
	semconv.PutText(m, semconv.WitnessComponentPURL, o.Witness.Frame.Component)
	putArtifact(m, o.Artifact)
	semconv.PutTexts(m, semconv.WitnessFindingIDs, o.FindingIDs)
	PutStack(m, append([]Frame{o.Witness.Frame}, o.Witness.Path...)...)
}

// ObservationOf reads a runtime.observation record and recomputes its id. The error names the attribute at fault, and
// is ErrID when the record claims another id; it never repeats a value.
func ObservationOf(resource pcommon.Map, record plog.LogRecord) (Observation, error) {
	m := record.Attributes()
	var o Observation
	var err error
	if o.ID, err = ParseID(semconv.Text(m, semconv.WitnessID)); err != nil {
		return o, fmt.Errorf("%s: %w", semconv.WitnessID, err)
	}
	stack := StackOf(m)
	if len(stack) == 0 {
		return o, fmt.Errorf("%s: has no frame", semconv.WitnessStack)
	}
	o.Witness = Witness{Kind: Kind(semconv.Text(m, semconv.WitnessKind)), Frame: stack[0], Workload: WorkloadOf(resource), Path: stack[1:]}
	o.Instance = InstanceOf(resource)
	o.Source = semconv.Text(m, semconv.WitnessSource)
	o.Assurance = Assurance(semconv.Text(m, semconv.WitnessAssurance))
	o.Origin = Origin(semconv.Text(m, semconv.WitnessOrigin))
	o.Artifact = artifactOf(m)
	o.FindingIDs = semconv.Texts(m, semconv.WitnessFindingIDs)
	for _, field := range []struct {
		name string
		into *uint64
	}{{semconv.WitnessHits, &o.Hits}, {semconv.WitnessHitsError, &o.HitsError}, {semconv.WitnessFlush, &o.Flush}} {
		value, ok := m.Get(field.name)
		if !ok {
			continue
		}
		if value.Type() != pcommon.ValueTypeInt || value.Int() < 0 {
			return o, fmt.Errorf("%s: is not a number from 0", field.name)
		}
		*field.into = uint64(value.Int()) //nolint:gosec // not negative
	}
	for _, field := range []struct {
		name string
		into *time.Time
	}{
		{semconv.WitnessWindowStart, &o.WindowStart}, {semconv.WitnessWindowEnd, &o.WindowEnd},
		{semconv.WitnessFirstSeen, &o.FirstSeen}, {semconv.WitnessLastSeen, &o.LastSeen},
	} {
		if *field.into, err = timeOf(m, field.name); err != nil {
			return o, err
		}
	}
	if err := o.Validate(); err != nil {
		return o, err
	}
	if o.Witness.ID() != o.ID {
		return o, ErrID
	}
	return o, nil
}

// Validate checks what can be checked without another observation. It does not recompute the id.
func (o *Observation) Validate() error {
	switch {
	case !o.Witness.Kind.Valid():
		return fmt.Errorf("%s: is not one of exec, load, sample, call", semconv.WitnessKind)
	case o.Witness.Kind.NamesSymbol() && !o.Witness.Frame.identified():
		return fmt.Errorf("%s: the first frame has neither symbol nor module and offset", semconv.WitnessStack)
	case !o.Witness.Kind.NamesSymbol() && o.Witness.Frame.Module == (Module{}):
		return fmt.Errorf("%s: the first frame has no module", semconv.WitnessStack)
	case o.Hits == 0:
		return fmt.Errorf("%s: is 0", semconv.WitnessHits)
	case o.HitsError > o.Hits:
		return fmt.Errorf("%s: is more than %s", semconv.WitnessHitsError, semconv.WitnessHits)
	case o.Source == "":
		return fmt.Errorf("%s: is missing", semconv.WitnessSource)
	case !o.Assurance.Valid():
		return fmt.Errorf("%s: is not one of measured, asserted", semconv.WitnessAssurance)
	case !o.Origin.Valid():
		return fmt.Errorf("%s: is not one of workload, injected, self, unknown", semconv.WitnessOrigin)
	case !o.WindowEnd.After(o.WindowStart):
		return fmt.Errorf("%s: is not after %s", semconv.WitnessWindowEnd, semconv.WitnessWindowStart)
	case o.WindowEnd.Sub(o.WindowStart) > MaxWindow:
		return fmt.Errorf("%s: is more than a day after %s", semconv.WitnessWindowEnd, semconv.WitnessWindowStart)
	case !AlignWindow(o.WindowStart, o.WindowEnd.Sub(o.WindowStart)).Equal(o.WindowStart):
		return fmt.Errorf("%s: is not aligned", semconv.WitnessWindowStart)
	case o.LastSeen.Before(o.WindowStart) || !o.LastSeen.Before(o.WindowEnd):
		return fmt.Errorf("%s: is outside the window", semconv.WitnessLastSeen)
	case o.FirstSeen.After(o.LastSeen):
		return fmt.Errorf("%s: is after %s", semconv.WitnessFirstSeen, semconv.WitnessLastSeen)
	}
	return nil
}

// AlignWindow is the start of the window of the given length that t is in: windows are aligned in UTC, to the Unix epoch.
func AlignWindow(t time.Time, length time.Duration) time.Time {
	if length <= 0 {
		return t.UTC()
	}
	nanoseconds := t.UnixNano()
	rest := nanoseconds % int64(length)
	if rest < 0 {
		rest += int64(length)
	}
	return time.Unix(0, nanoseconds-rest).UTC()
}

func putArtifact(m pcommon.Map, a Artifact) {
	semconv.PutText(m, semconv.ArtifactPURL, a.PURL)
	semconv.PutText(m, semconv.ArtifactHash, a.Digest)
	semconv.PutText(m, semconv.VCSRefHeadRevision, a.Revision)
	semconv.PutText(m, semconv.VCSRepositoryURLFull, a.Repository)
	semconv.PutText(m, semconv.WitnessArtifactIdentityMethod, a.Method)
	semconv.PutTexts(m, semconv.WitnessArtifactConflicts, a.Conflicts)
}

func artifactOf(m pcommon.Map) Artifact {
	return Artifact{
		PURL:       semconv.Text(m, semconv.ArtifactPURL),
		Digest:     semconv.Text(m, semconv.ArtifactHash),
		Revision:   semconv.Text(m, semconv.VCSRefHeadRevision),
		Repository: semconv.Text(m, semconv.VCSRepositoryURLFull),
		Method:     semconv.Text(m, semconv.WitnessArtifactIdentityMethod),
		Conflicts:  semconv.Texts(m, semconv.WitnessArtifactConflicts),
	}
}

func putTime(m pcommon.Map, name string, t time.Time) {
	m.PutStr(name, t.UTC().Format(time.RFC3339Nano))
}

// timeOf reads a time; the years beyond what a count of nanoseconds can hold are refused.
func timeOf(m pcommon.Map, name string) (time.Time, error) {
	return parseTime(name, semconv.Text(m, name))
}

func parseTime(name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: is not an RFC 3339 time", name)
	}
	t = t.UTC() // the year is that of UTC
	if t.Year() < 1970 || t.Year() > 2261 {
		return time.Time{}, fmt.Errorf("%s: is not between the years 1970 and 2261", name)
	}
	return t, nil
}

func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) } //nolint:gosec // bounded
