package storage

import (
	"context"
	"errors"
)

// Limits of snapshots, in bytes.
const (
	MaxSnapshot      = 1 << 20  // of a document, and of an envelope
	MaxSnapshotInput = 16 << 20 // of one input
)

// Errors of snapshots.
var (
	// ErrNotNewest says that Snapshot.Previous is not the newest snapshot of the finding: another one came in between.
	ErrNotNewest = errors.New("the snapshot before is not the newest of the finding")
	// ErrDigest says that what is given, or stored, is not what its digest says.
	ErrDigest = errors.New("the content does not fit its digest")
	// ErrTooLarge says that something is longer than its limit.
	ErrTooLarge = errors.New("too large")
)

// Snapshot is a signal snapshot of a finding: see the package snapshot.
type Snapshot struct {
	ID      string // sha256:<hex>
	Finding string
	// Previous is the id of the finding's snapshot before this; empty for the first.
	Previous string
	Document []byte // not looked at
	Envelope []byte // the signature; empty without one
	// Inputs by digest (sha256:<hex>). Only PutSnapshot looks at them; reads leave them out.
	Inputs map[string][]byte
}

// SnapshotQuery selects a page of the snapshots of a finding, newest first.
type SnapshotQuery struct {
	// Before, if not 0, leaves out those from this number on.
	Before uint64
	Limit  int // 0 is 100, at most 1000
}

// SnapshotPage is a page of snapshots, newest first. Next is where the next page begins (SnapshotQuery.Before), 0 on the
// last.
type SnapshotPage struct {
	Snapshots []Snapshot
	Next      uint64
}

// SnapshotWriter keeps snapshots, which never change.
type SnapshotWriter interface {
	// PutSnapshot appends a snapshot to those of its finding, with its inputs, at once or not at all. ErrNotNewest unless
	// Previous is the newest snapshot of the finding: so chains never fork, and of two writers one tries again. What is
	// stored already is not stored again, but for inputs that are gone; a disabled storage stores nothing. The finding
	// need not exist, and deleting it leaves its snapshots. ErrDigest and ErrTooLarge for inputs and documents that are so.
	PutSnapshot(ctx context.Context, principal Principal, snapshot Snapshot) (stored bool, err error)
}

// SnapshotReader reads snapshots. All but Snapshots return ErrNotFound for what is not there.
type SnapshotReader interface {
	// Snapshot returns a snapshot.
	Snapshot(ctx context.Context, tenant, id string) (Snapshot, error)
	// LastSnapshot returns the newest snapshot of a finding.
	LastSnapshot(ctx context.Context, tenant, finding string) (Snapshot, error)
	// Snapshots returns a page of the snapshots of a finding.
	Snapshots(ctx context.Context, tenant, finding string, query SnapshotQuery) (SnapshotPage, error)
	// Input returns an input of a snapshot, or ErrDigest.
	Input(ctx context.Context, tenant, digest string) ([]byte, error)
}
