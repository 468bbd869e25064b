package sqlite

import "time"

// Life says how long what is stored stays as fine as it came, and how long it stays. The zero Life keeps everything.
// Its clock is the start of the newest window that is stored, or now if that is earlier, so that a recording of last year
// can be replayed into a new database.
type Life struct {
	// DedupeHorizon is how long windows stay as they came. Older ones are rolled up to an hour, and what still arrives for
	// them is refused: it could not be told from what was counted. 0 never rolls up.
	DedupeHorizon time.Duration
	// DaysAfter is the age at which hours are rolled up to days of UTC. 0 never does; it has no effect without DedupeHorizon.
	DaysAfter time.Duration
	// MaxAge is the age at which days of UTC are deleted as a whole. 0 keeps them.
	MaxAge time.Duration
	// MaxSize is how many bytes the database may take, its log and what was deleted but not given back yet included. Beyond
	// it the oldest days are deleted, never the newest one. 0 is no limit.
	MaxSize int64
	// Pause is the time between two looks at what is due. 0 leaves all of it undone.
	Pause time.Duration
}
