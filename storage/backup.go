package storage

import (
	"context"
	"errors"
	"time"
)

// ErrNotConfigured says that whoever runs the storage has not set up what was asked for.
var ErrNotConfigured = errors.New("not configured")

// Backups is what a Storage implements that can copy itself while it is in use.
type Backups interface {
	// Backup makes a copy that holds at least every write that was acknowledged before the call, and returns once it is on
	// disk. The backend chooses the name; ErrNotConfigured if it was given no place for copies. Calls at once wait for
	// each other.
	Backup(ctx context.Context) (Backup, error)
}

// Backup is a copy of a storage.
type Backup struct {
	Name string // a file name without directory, in the place that was configured
	Size int64  // bytes
	At   time.Time
}
