package sqlite

import (
	"context"
	"database/sql"
	"math"
	"strconv"
	"sync"
	"time"
)

const (

	// stepTime is how long a step of the upkeep takes at most, about: others write between two steps.
	stepTime = 50 * time.Millisecond
	// unitRows is how many rows of observations a part of a step is made of, at most.
	unitRows = 20_000
)

// The marks of the table state that the upkeep moves; all of them only forward. Windows that start before markRolled are
// hours, those before markDays are days, and those before markKept are gone. markSweep is 1 while there can be rows that
// nothing refers to.
const (
	markRolled = "rolled"
	markDays   = "days"
	markKept   = "kept"
	markSweep  = "sweep"
)

// upkeep is rolling up, deleting what is too old and giving space back: one round after the other, in the background.
// Every change is a transaction of the writer that leaves the file as true as it was; an interrupted round is taken up
// where it was.
type upkeep struct {
	life  Life
	look  *sql.DB // reads what only the upkeep changes, and what is verified later
	round sync.Mutex
	found int // sweepFound, but in tests
	stop  context.CancelFunc
	ended chan struct{}
}

// keepUp runs rounds until the context ends.
func (s *Storage) keepUp(ctx context.Context) {
	defer close(s.upkeep.ended)
	timer := time.NewTimer(s.upkeep.life.Pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := s.tend(ctx); err != nil && ctx.Err() == nil {
			s.failedRounds.Add(1) // it is tried again
		}
		timer.Reset(s.upkeep.life.Pause)
	}
}

// tend does a round: all that is due.
func (s *Storage) tend(ctx context.Context) error {
	s.upkeep.round.Lock()
	defer s.upkeep.round.Unlock()
	life := s.upkeep.life
	deleted := s.deletedRows.Load()
	newest, ok, err := s.extreme(ctx, "max(start)")
	if err != nil {
		return err
	}
	if ok {
		clock := min(newest, s.now().UnixNano())
		if life.DedupeHorizon > 0 {
			if err := s.rollHours(ctx, floor(clock-int64(life.DedupeHorizon), hourLength)); err != nil {
				return err
			}
			if life.DaysAfter > 0 {
				if err := s.rollDays(ctx, floor(clock-int64(life.DaysAfter), dayLength)); err != nil {
					return err
				}
			}
		}
		if life.MaxAge > 0 {
			if err := s.deleteBefore(ctx, floor(clock-int64(life.MaxAge), dayLength)); err != nil {
				return err
			}
		}
		if err := s.deleteToFit(ctx, life.MaxSize, floor(newest, dayLength)); err != nil {
			return err
		}
	}
	if err := s.sweep(ctx); err != nil {
		return err
	}
	if err := s.rememberAgain(ctx); err != nil {
		return err
	}
	defer s.survey(ctx)
	part := int64(freePart)
	if s.deletedRows.Load() > deleted {
		part = math.MaxInt64 // whoever limits what is kept wants the room
	}
	return s.giveBack(ctx, part)
}

// survey notes what Stats tells of the file.
func (s *Storage) survey(ctx context.Context) {
	if oldest, ok, err := s.extreme(ctx, "min(start)"); err == nil && ok {
		s.oldest.Store(oldest)
	}
	if _, free, size, err := s.pages(ctx); err == nil {
		s.free.Store(free * size)
	}
}

// floor is the start of the aligned length that a time is in.
func floor(t, length int64) int64 {
	if t < 0 {
		return 0
	}
	return t - t%length
}

// extreme is an aggregate of the starts of windows, if there are any.
func (s *Storage) extreme(ctx context.Context, aggregate string) (start int64, ok bool, err error) {
	var found sql.NullInt64
	err = s.upkeep.look.QueryRowContext(ctx, "SELECT "+aggregate+" FROM window").Scan(&found)
	return found.Int64, found.Valid, err
}

// step has do done as the last of a transaction of the writer; then is called when it is committed.
func (s *Storage) step(ctx context.Context, do func() error, then func()) error {
	return s.writer.submitThen(ctx, groupSize, do, then)
}

// steps has do done again and again, as often as the time of a step allows in a transaction, until there is no more.
func (s *Storage) steps(ctx context.Context, do func() (more bool, err error)) error {
	for more := true; more; {
		err := s.step(ctx, func() (err error) {
			began := time.Now()
			for more = true; more && err == nil && time.Since(began) < stepTime; {
				more, err = do()
			}
			return err
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite folds what is in memory of the derived tables and has it forgotten at the end of the transaction, which may
// then change them in the file.
func (w *writer) rewrite() error {
	err := w.fold()
	w.dropped = true
	return err
}

// change executes a statement of the upkeep: those are too rare to be kept prepared.
func (w *writer) change(query string, args ...any) error {
	_, err := w.conn.ExecContext(context.Background(), query, args...)
	return err
}

// changed is change with how many rows it was.
func (w *writer) changed(query string, args ...any) (int64, error) {
	result, err := w.conn.ExecContext(context.Background(), query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// numbers returns the rows of a query, each of n integers.
func numbers(ctx context.Context, from interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, n int, query string, args ...any) ([][]int64, error) {
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	var found [][]int64
	for rows.Next() {
		values := make([]int64, n)
		into := make([]any, n)
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		found = append(found, values)
	}
	return found, rows.Err()
}

// mark reads a mark, in the writer.
func (w *writer) mark(name string) (value int64, err error) {
	err = w.conn.QueryRowContext(context.Background(), "SELECT value FROM state WHERE name = ?", name).Scan(&value)
	return value, err
}

// marked reads a mark aside: only the upkeep moves them.
func (s *Storage) marked(ctx context.Context, name string) (value int64, err error) {
	err = s.upkeep.look.QueryRowContext(ctx, "SELECT value FROM state WHERE name = ?", name).Scan(&value)
	return value, err
}

// pages returns how many pages the file has, how many of them nothing uses, and how long they are.
func (s *Storage) pages(ctx context.Context) (all, free, size int64, err error) {
	found, err := numbers(ctx, s.upkeep.look, 3, "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size")
	if err != nil {
		return 0, 0, 0, err
	}
	return found[0][0], found[0][1], found[0][2], nil
}

// advance moves a mark forward.
func (w *writer) advance(name string, value int64) error {
	return w.change("UPDATE state SET value = max(value, ?) WHERE name = ?", value, name)
}

const (
	// freePart is the part of the file that may be free before it is given back: one in so many pages.
	freePart = 8
	// freeStep is how many pages a step gives back.
	freeStep = 256
)

// giveBack shortens the file by the pages that are free, if those are more than one in part.
func (s *Storage) giveBack(ctx context.Context, part int64) error {
	for due := false; ; {
		all, free, _, err := s.pages(ctx)
		if due = due || free > all/part; err != nil || !due || free == 0 {
			return err
		}
		if err := s.step(ctx, func() error {
			return s.writer.change("PRAGMA incremental_vacuum(" + strconv.Itoa(freeStep) + ")")
		}, nil); err != nil {
			return err
		}
	}
}
