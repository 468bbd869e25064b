package witnessstorageextension

import (
	"context"
	"sync/atomic"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// checked is a database that counts what comes in without being canonical, whoever writes it. It stores it all the same:
// to make it canonical is for those who take it in, who know what is private there.
type checked struct {
	*sqlite.Storage
	check                                         *canon.Check
	observations, coverage, containment, findings atomic.Int64
}

func newChecked(database *sqlite.Storage) *checked {
	return &checked{Storage: database, check: canon.NewCheck()}
}

// uncanonical is how many values were not canonical, by what they were of.
func (c *checked) uncanonical() map[string]int64 {
	return map[string]int64{
		"observation": c.observations.Load(), "coverage": c.coverage.Load(),
		"containment": c.containment.Load(), "finding": c.findings.Load(),
	}
}

// WriteObservations implements storage.Writer.
func (c *checked) WriteObservations(ctx context.Context, batch storage.Batch) (storage.Written, error) {
	written, err := c.Storage.WriteObservations(ctx, batch)
	count(&c.observations, batch.Observations, c.check.Observation, err)
	return written, err
}

// WriteCoverage implements storage.Writer.
func (c *checked) WriteCoverage(ctx context.Context, principal storage.Principal, coverage []witness.Coverage) error {
	err := c.Storage.WriteCoverage(ctx, principal, coverage)
	count(&c.coverage, coverage, c.check.Coverage, err)
	return err
}

// WriteContainment implements storage.Writer.
func (c *checked) WriteContainment(ctx context.Context, principal storage.Principal, containment []witness.Containment) (int, error) {
	kept, err := c.Storage.WriteContainment(ctx, principal, containment)
	count(&c.containment, containment, c.check.Containment, err)
	return kept, err
}

// PutFinding implements storage.Writer.
func (c *checked) PutFinding(ctx context.Context, principal storage.Principal, f witness.Finding) (bool, error) {
	created, err := c.Storage.PutFinding(ctx, principal, f)
	count(&c.findings, []witness.Finding{f}, finding.Private, err)
	return created, err
}

// ReplaceFindings implements storage.Writer.
func (c *checked) ReplaceFindings(ctx context.Context, principal storage.Principal, scope string, findings []witness.Finding) error {
	err := c.Storage.ReplaceFindings(ctx, principal, scope, findings)
	count(&c.findings, findings, finding.Private, err)
	return err
}

// count adds what each of all is counted as, once it is written: until then it is tried again.
func count[T any](total *atomic.Int64, all []T, of func(*T) int, err error) {
	if err != nil {
		return
	}
	n := 0
	for i := range all {
		n += of(&all[i])
	}
	total.Add(int64(n))
}
