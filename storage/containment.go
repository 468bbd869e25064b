package storage

import (
	"context"
	"errors"
	"time"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// ErrPosition says that a position was not made by this storage.
var ErrPosition = errors.New("is not a position of this storage")

// ContainmentWriter stores what processes could reach.
type ContainmentWriter interface {
	// WriteContainment keeps, for each workload, instance, executable, origin, signal and source, what is measured before
	// what is asserted, and of that the newest; of equal times the one whose values sort last, so that neither order nor
	// repetition matters. It returns how many signals took a place. Each containment must be valid, and not in the future:
	// what is would stay the newest.
	WriteContainment(ctx context.Context, principal Principal, containment []witness.Containment) (kept int, err error)
}

// ContainmentReader answers what processes could reach.
type ContainmentReader interface {
	// Containment returns a page of processes with their signals, each process once, in an order that does not change.
	// ErrPosition when the query's After is not one of its own.
	Containment(ctx context.Context, tenant string, query ContainmentQuery) (ContainmentPage, error)
}

// ContainmentQuery selects processes. Zero members select all, but Workloads and Matching: what either selects is
// selected, and everything without both.
type ContainmentQuery struct {
	// Workloads selects workloads that are exactly these.
	Workloads []witness.Workload
	// Matching selects workloads that have all members of one of these; an empty member is any.
	Matching []witness.Workload
	Hosts    []string
	// From and To select signals observed in [From, To). Processes without any are left out.
	From, To time.Time
	After    string // ContainmentPage.Next
	Limit    int    // processes; 0 is 100, at most 1000
}

// ContainmentPage is a page of processes. Next is empty on the last page.
type ContainmentPage struct {
	Containment []witness.Containment
	Next        string
}
