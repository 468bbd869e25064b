package witnessexporter

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/exporter/witnessexporter/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Reasons why a record is refused, as in the metric.
const (
	reasonID        = "id"
	reasonMalformed = "malformed"
	reasonAhead     = "ahead"
	reasonHorizon   = "horizon"
	reasonStorage   = "storage"
)

type witnessExporter struct {
	config    *Config
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	storage   storage.Storage
	now       func() time.Time
}

func newExporter(config *Config, settings component.TelemetrySettings) (*witnessExporter, error) {
	telemetry, err := metadata.NewTelemetryBuilder(settings)
	if err != nil {
		return nil, err
	}
	return &witnessExporter{config: config, logger: settings.Logger, telemetry: telemetry, now: time.Now}, nil
}

func (e *witnessExporter) start(_ context.Context, host component.Host) (err error) {
	e.storage, err = storage.Find(host, e.config.Storage)
	return err
}

func (e *witnessExporter) shutdown(context.Context) error {
	e.telemetry.Shutdown()
	return nil
}

// contents is what a batch of records holds.
type contents struct {
	observations []witness.Observation
	coverage     []witness.Coverage
	containment  []witness.Containment
	ignored      int
	refused      map[string]int // by reason
	losses       losses         // with the refused observations
}

// decode reads a batch. A record that cannot be read is counted and loses no neighbour. now is for what is ahead of it;
// observations that are ahead are left to the storage.
func decode(logs plog.Logs, now time.Time) contents {
	c := contents{refused: map[string]int{}, losses: losses{}}
	for _, resourceLogs := range logs.ResourceLogs().All() {
		resource := resourceLogs.Resource().Attributes()
		for _, scopeLogs := range resourceLogs.ScopeLogs().All() {
			for _, record := range scopeLogs.LogRecords().All() {
				if record.EventName() == semconv.EventObservation {
					switch observation, err := witness.ObservationOf(resource, record); {
					case errors.Is(err, witness.ErrID):
						c.refused[reasonID]++
						c.losses.add(&observation, stages[reasonID])
					case err != nil || slices.ContainsFunc(observation.FindingIDs, notAnID):
						c.refused[reasonMalformed]++
						c.losses.add(readable(observation, resource, record), stages[reasonMalformed])
					default:
						c.observations = append(c.observations, observation)
					}
					continue
				}
				if containment, ok, err := witness.ContainmentOf(resource, record); ok {
					switch {
					case err != nil:
						c.refused[reasonMalformed]++
					case containment.Signals[0].ObservedAt.After(now.Add(storage.MaxAhead)):
						c.refused[reasonAhead]++
					default:
						c.containment = append(c.containment, containment)
					}
					continue
				}
				switch coverage, ok, err := witness.CoverageOf(resource, record); {
				case !ok:
					c.ignored++
				case err != nil:
					c.refused[reasonMalformed]++
					c.losses.coverageRefused(resource, record, reasonMalformed)
				case coverage.End.After(now.Add(storage.MaxAhead)):
					c.refused[reasonAhead]++
					c.losses.coverageRefused(resource, record, reasonAhead)
				default:
					c.coverage = append(c.coverage, coverage)
				}
			}
		}
	}
	return c
}

// push writes a batch. Its errors are those of the storage, all of which may pass: what was written before is known
// again by its key.
func (e *witnessExporter) push(ctx context.Context, logs plog.Logs) error {
	now := e.now()
	c := decode(logs, now)
	principal, _ := storage.PrincipalFrom(ctx)
	if !storage.Vouched(ctx) {
		e.telemetry.WitnessExporterUnvouchedObservations.Add(ctx, disclaim(c.observations))
		for i := range c.coverage {
			c.coverage[i].Assurance = witness.Asserted
		}
		for i := range c.containment {
			for j := range c.containment[i].Signals {
				c.containment[i].Signals[j].Assurance = witness.Asserted
			}
		}
	}
	if len(c.observations) > 0 {
		written, err := e.storage.WriteObservations(ctx, storage.Batch{Principal: principal, Observations: c.observations})
		if err != nil {
			return err
		}
		e.telemetry.WitnessExporterStoredObservations.Add(ctx, int64(written.Stored))
		e.telemetry.WitnessExporterDuplicateObservations.Add(ctx, int64(written.Duplicates))
		for _, refusal := range written.Refused {
			refused := &c.observations[refusal.Index]
			reason := reasonOf(refused, refusal.Reason, now)
			c.refused[reason]++
			if reason != reasonHorizon { // the storage told that one itself
				c.losses.add(refused, stages[reason])
			}
		}
	}
	lost := c.losses.coverage(now)
	if !storage.Vouched(ctx) {
		for i := range lost {
			lost[i].Assurance = witness.Asserted
		}
	}
	if len(lost) > 0 {
		if err := e.storage.WriteCoverage(ctx, principal, lost); err != nil {
			return err
		}
		e.telemetry.WitnessExporterLosses.Add(ctx, int64(len(lost)))
	}
	if len(c.coverage) > 0 {
		if err := e.storage.WriteCoverage(ctx, principal, c.coverage); err != nil {
			return err
		}
		e.telemetry.WitnessExporterCoverage.Add(ctx, int64(len(c.coverage)))
	}
	if len(c.containment) > 0 {
		if _, err := e.storage.WriteContainment(ctx, principal, c.containment); err != nil {
			return err
		}
		e.telemetry.WitnessExporterContainment.Add(ctx, int64(len(c.containment)))
	}
	e.telemetry.WitnessExporterIgnoredRecords.Add(ctx, int64(c.ignored))
	if len(c.refused) == 0 {
		return nil
	}
	fields := make([]zap.Field, 0, len(c.refused))
	for _, reason := range []string{reasonID, reasonMalformed, reasonAhead, reasonHorizon, reasonStorage} {
		if n := c.refused[reason]; n > 0 {
			e.telemetry.WitnessExporterRefusedRecords.Add(ctx, int64(n), metric.WithAttributes(attribute.String("reason", reason)))
			fields = append(fields, zap.Int(reason, n))
		}
	}
	e.logger.Warn("Refused records that cannot be stored", fields...)
	return nil
}

// notAnID reports whether nobody could ask for a finding of that id: naming it would make it exist.
func notAnID(id string) bool { return finding.ValidateID(id) != nil }

// reasonOf is why the storage refused an observation that ObservationOf had let pass.
func reasonOf(o *witness.Observation, reason string, now time.Time) string {
	if reason == storage.BehindHorizon {
		return reasonHorizon
	}
	if limit := now.Add(storage.MaxAhead); o.LastSeen.After(limit) || o.WindowStart.After(limit) {
		return reasonAhead
	}
	return reasonStorage
}

// disclaim makes observations asserted and returns how many claimed otherwise.
func disclaim(observations []witness.Observation) (changed int64) {
	for i := range observations {
		if observations[i].Assurance != witness.Asserted {
			observations[i].Assurance = witness.Asserted
			changed++
		}
	}
	return changed
}
