package witnessexporter

import (
	"cmp"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// stages of the losses that refused observations are, by reason.
var stages = map[string]string{
	reasonID: "exporter.id", reasonMalformed: "exporter.malformed", reasonAhead: "exporter.ahead",
	reasonStorage: "exporter.storage",
}

// unknownSource is the source of what does not say who sent it.
const unknownSource = "unknown"

// maxLosses is how many losses a batch is told as at most: further sources are one, of unknownSource.
const maxLosses = 100

type lossKey struct{ source, stage string }

// losses are what is lost with the refused observations of a batch: one for each source and stage, from the first window
// to the last, on the host of all of them if it is one.
type losses map[lossKey]*witness.Coverage

// readable is an observation that could not be read to its end, with what its record says of who sent it and where.
func readable(o witness.Observation, resource pcommon.Map, record plog.LogRecord) *witness.Observation {
	o.Source = cmp.Or(o.Source, semconv.Text(record.Attributes(), semconv.WitnessSource))
	o.Assurance = cmp.Or(o.Assurance, witness.Assurance(semconv.Text(record.Attributes(), semconv.WitnessAssurance)))
	o.Instance = witness.InstanceOf(resource)
	return &o
}

// add takes in a refused observation, as far as it could be read.
func (l losses) add(o *witness.Observation, stage string) {
	key := lossKey{cmp.Or(o.Source, unknownSource), stage}
	if _, ok := l[key]; !ok && len(l) >= maxLosses {
		key.source = unknownSource
	}
	loss, ok := l[key]
	if !ok {
		loss = &witness.Coverage{
			Source: key.source, LossStage: stage, Assurance: o.Assurance, Instance: witness.Instance{Host: o.Instance.Host},
			Start: o.WindowStart, End: o.WindowEnd,
		}
		l[key] = loss
	}
	if !o.Assurance.Valid() || o.Assurance == witness.Asserted {
		loss.Assurance = witness.Asserted
	}
	if loss.Instance.Host != o.Instance.Host {
		loss.Instance.Host = ""
	}
	if o.WindowStart.Before(loss.Start) {
		loss.Start = o.WindowStart
	}
	if o.WindowEnd.After(loss.End) {
		loss.End = o.WindowEnd
	}
	if hits := max(1, o.Hits); loss.Lost+hits > loss.Lost {
		loss.Lost += hits
	}
}

// coverageRefused takes in a loss or state that could not be stored: something is a gap, and nobody knows when. A
// heartbeat that is not stored claims nothing.
func (l losses) coverageRefused(resource pcommon.Map, record plog.LogRecord, reason string) {
	if record.EventName() != semconv.EventCoverage {
		l.add(readable(witness.Observation{}, resource, record), stages[reason])
	}
}

// coverage returns the losses, sorted. Times that cannot be, or of which not all were read, are now: then evidence was
// lost that would have been stored now. Now is cut to the minute, so that what is delivered again at once counts once.
func (l losses) coverage(now time.Time) []witness.Coverage {
	now = now.UTC().Truncate(time.Minute)
	all := make([]witness.Coverage, 0, len(l))
	for _, loss := range l {
		if loss.Validate() != nil || loss.Start.IsZero() || loss.End.After(now.Add(storage.MaxAhead)) {
			loss.Start, loss.End = now, now
		}
		all = append(all, *loss)
	}
	slices.SortFunc(all, func(a, b witness.Coverage) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.LossStage, b.LossStage))
	})
	return all
}
