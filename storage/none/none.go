// Package none is the storage that stores nothing: the disabled mode. Every finding exists and is empty, so that what
// asks goes on working.
package none

import (
	"context"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Storage stores nothing.
type Storage struct{}

var _ storage.Storage = Storage{}

// WriteObservations stores nothing.
func (Storage) WriteObservations(context.Context, storage.Batch) (storage.Written, error) {
	return storage.Written{}, nil
}

// WriteCoverage stores nothing.
func (Storage) WriteCoverage(context.Context, storage.Principal, []witness.Coverage) error {
	return nil
}

// PutFinding stores nothing.
func (Storage) PutFinding(context.Context, storage.Principal, witness.Finding) (bool, error) {
	return true, nil
}

// DeleteFinding stores nothing.
func (Storage) DeleteFinding(context.Context, storage.Principal, string) error { return nil }

// ReplaceFindings stores nothing.
func (Storage) ReplaceFindings(context.Context, storage.Principal, string, []witness.Finding) error {
	return nil
}

// Finding is empty, whatever the id.
func (Storage) Finding(_ context.Context, _, id string) (witness.Finding, error) {
	return witness.Finding{ID: id}, nil
}

// Findings is empty.
func (Storage) Findings(context.Context, string, storage.FindingQuery) (storage.FindingPage, error) {
	return storage.FindingPage{}, nil
}

// Subjects is empty.
func (Storage) Subjects(context.Context, string, storage.SubjectQuery) ([]storage.Subject, error) {
	return nil, nil
}

// Witnesses is empty.
func (Storage) Witnesses(context.Context, string, storage.WitnessQuery) (storage.WitnessPage, error) {
	return storage.WitnessPage{}, nil
}

// Summary is empty.
func (Storage) Summary(context.Context, string, storage.Filter) (storage.Summary, error) {
	return storage.Summary{}, nil
}

// Timeline is empty.
func (Storage) Timeline(context.Context, string, storage.TimelineQuery) (storage.Timeline, error) {
	return storage.Timeline{}, nil
}

// Coverage is empty.
func (Storage) Coverage(context.Context, string, storage.CoverageQuery) ([]witness.Coverage, error) {
	return nil, nil
}

// HotSymbols is empty.
func (Storage) HotSymbols(context.Context, string, storage.HotQuery) ([]storage.HotSymbol, error) {
	return nil, nil
}

// Close does nothing.
func (Storage) Close() error { return nil }

// Totals is empty.
func (Storage) Totals(context.Context, string, []string) (map[string]storage.SubjectTotal, error) {
	return nil, nil
}

// Places is empty.
func (Storage) Places(context.Context, string, storage.Filter) ([]storage.Place, error) {
	return nil, nil
}

// WriteContainment stores nothing.
func (Storage) WriteContainment(context.Context, storage.Principal, []witness.Containment) (int, error) {
	return 0, nil
}

// Containment is empty.
func (Storage) Containment(context.Context, string, storage.ContainmentQuery) (storage.ContainmentPage, error) {
	return storage.ContainmentPage{}, nil
}

// PutSnapshot stores nothing.
func (Storage) PutSnapshot(context.Context, storage.Principal, storage.Snapshot) (bool, error) {
	return false, nil
}

// Snapshot finds none.
func (Storage) Snapshot(context.Context, string, string) (storage.Snapshot, error) {
	return storage.Snapshot{}, storage.ErrNotFound
}

// LastSnapshot finds none.
func (Storage) LastSnapshot(context.Context, string, string) (storage.Snapshot, error) {
	return storage.Snapshot{}, storage.ErrNotFound
}

// Snapshots is empty.
func (Storage) Snapshots(context.Context, string, string, storage.SnapshotQuery) (storage.SnapshotPage, error) {
	return storage.SnapshotPage{}, nil
}

// Input finds none.
func (Storage) Input(context.Context, string, string) ([]byte, error) {
	return nil, storage.ErrNotFound
}

// Changes are none: nothing ever changes.
func (Storage) Changes(context.Context, string, uint64) (storage.Changes, error) {
	return storage.Changes{Version: 1}, nil
}

// NamedSubjects is empty.
func (Storage) NamedSubjects(context.Context, string, []string, int) ([]storage.NamedSubject, error) {
	return nil, nil
}

// SubjectWorkloads is empty.
func (Storage) SubjectWorkloads(context.Context, string, []string) (map[string][]witness.Workload, error) {
	return nil, nil
}
