package witness

import (
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// Put writes c as a runtime.coverage, runtime.loss or runtime.status record, by what it holds. Where c is about goes
// into the resource (PutResource).
func (c *Coverage) Put(record plog.LogRecord, now time.Time) {
	m := record.Attributes()
	record.SetTimestamp(pcommon.NewTimestampFromTime(c.End))
	record.SetObservedTimestamp(pcommon.NewTimestampFromTime(now))
	m.PutStr(semconv.WitnessSource, c.Source)
	putTime(m, semconv.WitnessCoverageStart, c.Start)
	putTime(m, semconv.WitnessCoverageEnd, c.End)
	semconv.PutText(m, semconv.WitnessAssurance, string(c.Assurance))
	semconv.PutText(m, semconv.WitnessCoverageSignal, c.Signal)
	if frame := c.About.Frame(); c.About != (About{}) {
		PutStack(m, frame)
	}
	switch {
	case c.LossStage != "":
		record.SetEventName(semconv.EventLoss)
		m.PutStr(semconv.WitnessLossStage, c.LossStage)
		m.PutInt(semconv.WitnessLossCount, clamp(c.Lost))
	case c.StatusTarget != "":
		record.SetEventName(semconv.EventStatus)
		m.PutStr(semconv.WitnessStatusTarget, c.StatusTarget)
		m.PutStr(semconv.WitnessStatusState, c.StatusState)
		semconv.PutText(m, semconv.WitnessStatusReason, c.StatusReason)
	default:
		record.SetEventName(semconv.EventCoverage)
		kinds := m.PutEmptySlice(semconv.WitnessCoverageKinds)
		for _, kind := range c.Kinds {
			kinds.AppendEmpty().SetStr(string(kind))
		}
		m.PutDouble(semconv.WitnessCoverageInterval, c.Interval.Seconds())
		m.PutInt(semconv.WitnessCoverageProcessesWatched, clamp(c.ProcessesWatched))
		m.PutInt(semconv.WitnessCoverageProcessesSeen, clamp(c.ProcessesSeen))
		if c.Lost != 0 {
			m.PutInt(semconv.WitnessCoverageLost, clamp(c.Lost))
		}
	}
}

// CoverageOf reads what Put writes, measured where it does not say; ok is false for any other event. The error names the attribute at fault.
func CoverageOf(resource pcommon.Map, record plog.LogRecord) (c Coverage, ok bool, err error) {
	switch record.EventName() {
	case semconv.EventCoverage, semconv.EventLoss, semconv.EventStatus:
	default:
		return Coverage{}, false, nil
	}
	m := record.Attributes()
	c = Coverage{
		Assurance: assuranceOf(m), Source: semconv.Text(m, semconv.WitnessSource), Signal: semconv.Text(m, semconv.WitnessCoverageSignal),
		Instance: InstanceOf(resource), Workload: WorkloadOf(resource),
	}
	if c.Source == "" {
		return c, true, fmt.Errorf("%s: is missing", semconv.WitnessSource)
	}
	if c.Start, err = timeOf(m, semconv.WitnessCoverageStart); err != nil {
		return c, true, err
	}
	if c.End, err = timeOf(m, semconv.WitnessCoverageEnd); err != nil {
		return c, true, err
	}
	if stack := StackOf(m); len(stack) > 0 {
		c.About = aboutOf(&stack[0])
	}
	switch record.EventName() {
	case semconv.EventLoss:
		if c.LossStage = semconv.Text(m, semconv.WitnessLossStage); c.LossStage == "" {
			return c, true, fmt.Errorf("%s: is missing", semconv.WitnessLossStage)
		}
		c.Lost = count(m, semconv.WitnessLossCount)
	case semconv.EventStatus:
		if c.StatusTarget = semconv.Text(m, semconv.WitnessStatusTarget); c.StatusTarget == "" {
			return c, true, fmt.Errorf("%s: is missing", semconv.WitnessStatusTarget)
		}
		if c.StatusState = semconv.Text(m, semconv.WitnessStatusState); !slices.Contains(states, c.StatusState) {
			c.StatusState = StateUnavailable
		}
		c.StatusReason = semconv.Text(m, semconv.WitnessStatusReason)
	default:
		for _, kind := range semconv.Texts(m, semconv.WitnessCoverageKinds) {
			if !Kind(kind).Valid() {
				return c, true, fmt.Errorf("%s: holds what is not one of exec, load, sample, call", semconv.WitnessCoverageKinds)
			}
			c.Kinds = append(c.Kinds, Kind(kind))
		}
		if len(c.Kinds) == 0 {
			return c, true, fmt.Errorf("%s: is missing", semconv.WitnessCoverageKinds)
		}
		if v, ok := m.Get(semconv.WitnessCoverageInterval); ok && v.Type() == pcommon.ValueTypeDouble && v.Double() > 0 && v.Double() < 86400*366 {
			c.Interval = time.Duration(v.Double() * float64(time.Second))
		}
		c.ProcessesWatched = count(m, semconv.WitnessCoverageProcessesWatched)
		c.ProcessesSeen = count(m, semconv.WitnessCoverageProcessesSeen)
	}
	return c, true, c.Validate()
}

// MaxCoverage is the longest time that one record may speak of: that of a replay of a year.
const MaxCoverage = 366 * 24 * time.Hour

var states = []string{StateAttached, StateRefused, StateSuspended, StateDetached, StateUnavailable}

// Validate checks that the record has a source, that it is a heartbeat, a loss or a status, and that its times are such.
// The error names the attribute at fault.
func (c *Coverage) Validate() error {
	switch {
	case c.Source == "":
		return fmt.Errorf("%s: is missing", semconv.WitnessSource)
	case c.End.Before(c.Start):
		return fmt.Errorf("%s: is before %s", semconv.WitnessCoverageEnd, semconv.WitnessCoverageStart)
	case c.End.Sub(c.Start) > MaxCoverage:
		return fmt.Errorf("%s: is more than 366 days behind %s", semconv.WitnessCoverageEnd, semconv.WitnessCoverageStart)
	case c.Start.Year() < 1970 || c.End.Year() > 2261:
		return fmt.Errorf("%s: is not between the years 1970 and 2261", semconv.WitnessCoverageStart)
	case c.LossStage == "" && c.StatusTarget == "" && len(c.Kinds) == 0:
		return fmt.Errorf("%s: is missing", semconv.WitnessCoverageKinds)
	case slices.ContainsFunc(c.Kinds, func(k Kind) bool { return !k.Valid() }):
		return fmt.Errorf("%s: holds what is not one of exec, load, sample, call", semconv.WitnessCoverageKinds)
	default:
		return nil
	}
}

// Frame is the function, or only its module, as evidence would have it.
func (a *About) Frame() Frame {
	return Frame{Module: a.Module, Language: a.Language, Package: a.Package, Member: a.Member, Symbol: a.Symbol}
}

func aboutOf(f *Frame) About {
	return About{Module: f.Module, Language: f.Language, Package: f.Package, Member: f.Member, Symbol: f.Symbol}
}

func count(m pcommon.Map, name string) uint64 {
	if v, ok := m.Get(name); ok && v.Type() == pcommon.ValueTypeInt && v.Int() > 0 {
		return uint64(v.Int()) //nolint:gosec // positive
	}
	return 0
}
