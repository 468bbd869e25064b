package sqlite

import (
	"cmp"
	"math/bits"
	"time"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// The forms of coverage in schema_3.sql. Rows of the first two are joined where they continue each other; the others are
// kept as they came, since a count says nothing of a part of its time, and a state holds from a moment on.
const (
	formHeartbeat = 1
	formUnknown   = 2 // a loss of unknown size
	formCounted   = 3
	formState     = 4
)

const (
	weekLength = int64(7 * 24 * time.Hour) // of the weeks since 1970, at which rows are cut
	dayLength  = int64(24 * time.Hour)
)

// formOf is the form of a record.
func formOf(c *witness.Coverage) int64 {
	switch {
	case c.LossStage != "" && c.Lost > 0:
		return formCounted
	case c.LossStage != "":
		return formUnknown
	case c.StatusTarget != "":
		return formState
	default:
		return formHeartbeat
	}
}

// run is a row of coverage_run. Times are Unix nanoseconds.
type run struct {
	start, end              int64
	state, reason           string
	interval                int64
	watched, seen           int64
	leastWatched, leastSeen int64
	lost                    int64
	received                int64
}

// runOf is the row that a record would be alone.
func runOf(c *witness.Coverage) run {
	r := run{
		start: nanoseconds(c.Start), end: nanoseconds(c.End), interval: int64(c.Interval),
		watched: number(c.ProcessesWatched), seen: number(c.ProcessesSeen),
	}
	r.leastWatched, r.leastSeen = r.watched, r.seen
	if c.LeastSeen > 0 { // it was joined before
		r.leastWatched, r.leastSeen = number(c.LeastWatched), number(c.LeastSeen)
	}
	switch formOf(c) {
	case formCounted:
		r.lost = number(c.Lost)
	case formState:
		r.state, r.reason = c.StatusState, c.StatusReason
	}
	return r
}

// weeks cuts a row where weeks end.
func (r run) weeks() []run {
	var parts []run
	for {
		next := (r.start/weekLength + 1) * weekLength
		if r.end <= next {
			return append(parts, r)
		}
		part := r
		part.end, r.start = next, next
		parts = append(parts, part)
	}
}

// join is both rows as one. It is commutative, associative and idempotent, so that the order of arrival does not matter.
func join(a, b run) run {
	joined := a
	joined.start, joined.end = min(a.start, b.start), max(a.end, b.end)
	if compareLast(&b, &a) > 0 {
		joined.interval, joined.watched, joined.seen = b.interval, b.watched, b.seen
	}
	if lessShare(&b, &a) {
		joined.leastWatched, joined.leastSeen = b.leastWatched, b.leastSeen
	}
	switch {
	case a.end == b.end:
		joined.received = min(a.received, b.received) // what comes again was known
	case a.end < b.end:
		joined.received = b.received
	}
	joined.lost = max(a.lost, b.lost)
	joined.reason = max(a.reason, b.reason)
	return joined
}

// compareLast orders rows by what they say of their last heartbeat: the later one, and of one time the greatest.
func compareLast(a, b *run) int {
	return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.seen, b.seen), cmp.Compare(a.watched, b.watched), cmp.Compare(a.interval, b.interval))
}

// lessShare says whether a's least share is the smaller one. Rows that say nothing of processes have none; of equal
// shares, that of more processes is taken.
func lessShare(a, b *run) bool {
	if a.leastSeen == 0 || b.leastSeen == 0 {
		return a.leastSeen > 0
	}
	high1, low1 := bits.Mul64(uint64(a.leastWatched), uint64(b.leastSeen)) //nolint:gosec // not negative
	high2, low2 := bits.Mul64(uint64(b.leastWatched), uint64(a.leastSeen)) //nolint:gosec // not negative
	return cmp.Or(cmp.Compare(high1, high2), cmp.Compare(low1, low2), cmp.Compare(b.leastSeen, a.leastSeen)) < 0
}

// record is what a row says, with what it has in common with others of its topic.
func (r *run) record(topic *witness.Coverage) witness.Coverage {
	c := *topic
	c.Start, c.End, c.Interval = timeOf(r.start), timeOf(r.end), time.Duration(r.interval)
	c.ProcessesWatched, c.ProcessesSeen = uint64(r.watched), uint64(r.seen) //nolint:gosec // not negative
	if r.leastWatched != r.watched || r.leastSeen != r.seen {
		c.LeastWatched, c.LeastSeen = uint64(r.leastWatched), uint64(r.leastSeen) //nolint:gosec // not negative
	}
	c.Lost = uint64(r.lost) //nolint:gosec // not negative
	c.StatusState, c.StatusReason, c.Received = r.state, r.reason, timeOf(r.received)
	return c
}
