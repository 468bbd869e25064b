// Package sqlite is the storage in one SQLite file: the embedded backend.
//
// The schema (schema_*.sql) interns every text, frame and place, and shares the nodes of call paths; observations are
// appended window by window, and in it source by source. One goroutine writes: calls that arrive together share a
// transaction and its fsync, each in a savepoint of its own, and are acknowledged when it is committed. Reads have
// connections of their own, see a consistent state and never wait for the writer's disk.
//
// What is asked without a filter, or by whole hours, is answered from tables that are derived from the observations.
// Changing them for every observation would write a page each; so the writer holds what changes in memory, with absolute
// values, and folds it into the file when there is much of it, after some minutes, and on Close: a part after each group of
// writes, so that none waits for all of it. A commit number tells readers that the file and the memory that they see belong
// together; after a crash Open derives again what was not folded, row by row.
//
// # Choices
//
// Of what is known of a module, the newest stands, by event time; but what was measured stands before what was asserted,
// so that a posted claim never changes what a collector found out. A frame without module knows only of its own symbol.
//
// Where several receivers of an instance count the same, the larger count stands (lawnine.go): this is settled when a row
// is written, so that sums of rows are exact. Rows of witnesses compare receivers per witness, so that no evidence is
// hidden by the other receiver's: they can add up to more than the Summary does. Witnesses that are selected only because
// traces named them for a finding are compared like this everywhere. Which of two receivers' artifacts hits are tied to,
// where they differ, depends on who came first; the sums do not.
//
// Times are Unix nanoseconds. The first seen description of a frame (source line, confidence) stays; it is no part of an
// identity.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	sqlitedriver "modernc.org/sqlite"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

const readers = 4 // connections

// Errors of Open.
var (
	// ErrNotDatabase says that the file is not an SQLite database, or not one of this program. It was left as it is.
	ErrNotDatabase = errors.New("the file is not a witness database")
	// ErrDamaged says that the file is a damaged SQLite database. It was left as it is (DamagedRefuse).
	ErrDamaged = errors.New("the database is damaged")
	// ErrNewer says that a newer version of this program wrote the file. It was left as it is.
	ErrNewer = errors.New("the database has a newer schema than this program knows")
)

// Options say how to open a database.
type Options struct {
	// Path of the database file. It is created, for its owner only, if there is none; its directory must exist.
	Path string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Integrity says how much of the file is checked; empty is IntegrityAuto, for CheckTime (0 is DefaultCheckTime).
	Integrity Integrity
	CheckTime time.Duration
	// Damaged says what happens to a damaged file; empty is DamagedRefuse.
	Damaged Damaged
	// Life says how long what is stored stays, and how fine.
	Life Life
	// Backup says where backups go.
	Backup BackupOptions

	fold foldLimits // if zero, usualLimits
}

// Stats counts since Open.
type Stats struct {
	Stored, Duplicates             uint64 // observations
	RefusedAhead, RefusedMalformed uint64 // observations: in the future, not valid
	RefusedBehind                  uint64 // observations: before the horizon
	Uncompared                     uint64 // observations that were added although others can have counted the same
	Folds                          uint64 // of derived rows into the file
	Commits                        uint64 // transactions
	Calls                          uint64 // writes in them
	Emptied                        uint64 // caches, or the older half of them, because they were full
	Backups, FailedBackups         uint64
	Rolled, Deleted                uint64 // rows that were rolled up to, and deleted
	FailedRounds                   uint64 // of the upkeep; they are tried again
	// CoverageRows is how many rows of coverage are held in memory; 0 when there are too many, and the file is read.
	CoverageRows int
	// Oldest is the start of the oldest window and Free the bytes of the file that nothing uses, as of the last round.
	Oldest time.Time
	Free   int64
}

// Storage is an open database.
type Storage struct {
	now    func() time.Time
	path   string
	read   *sql.DB
	writer *writer
	// open is held for reading by every call, and for writing by Close.
	open        sync.RWMutex
	closed      bool
	connections *connections
	opening     Opening
	upkeep      upkeep
	backup      BackupOptions
	// recollection is what readers remember of interned rows.
	recollection *recollection
	// coverage is the newest of it.
	coverage memory
	// backingUp holds who makes a backup.
	backingUp chan struct{}

	stored, duplicates, ahead, behind, malformed, emptied atomic.Uint64
	backups, failedBackups                                atomic.Uint64
	rolledRows, deletedRows, failedRounds                 atomic.Uint64
	oldest, free                                          atomic.Int64 // as of the last round of the upkeep
}

var _ storage.Storage = (*Storage)(nil)

// Open opens a database, creating or migrating it as needed. Its errors are ErrNotDatabase, ErrDamaged, ErrNewer and
// those of the file system; they repeat neither content nor path.
func Open(ctx context.Context, options Options) (*Storage, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	path, err := filepath.Abs(options.Path)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", pathless(err))
	}
	options.CheckTime = cmp.Or(options.CheckTime, DefaultCheckTime)
	var opening Opening
	opening.Unchecked, err = check(ctx, path, options.Integrity, options.CheckTime)
	var s *Storage
	if err == nil {
		s, err = openFile(ctx, path, options)
	}
	if err = damaged(ctx, err); errors.Is(err, ErrDamaged) && options.Damaged == DamagedSetAside {
		if opening.SetAside, err = setAside(path, options.Now()); err == nil {
			if opening.Unchecked, err = check(ctx, path, options.Integrity, options.CheckTime); err == nil {
				s, err = openFile(ctx, path, options)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	s.opening = opening
	s.upkeep.life = options.Life
	if err := s.recordLosses(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database: %w", err), s.Close())
	}
	if options.Life.Pause > 0 {
		rounds, stop := context.WithCancel(context.Background())
		s.upkeep.stop, s.upkeep.ended = stop, make(chan struct{})
		go s.keepUp(rounds)
	}
	return s, nil
}

// openFile opens a file that was checked.
func openFile(ctx context.Context, path string, options Options) (*Storage, error) {
	s := &Storage{now: options.Now, path: path, backup: options.Backup, backingUp: make(chan struct{}, 1)}
	s.upkeep.found = sweepFound
	s.connections = newConnections(readers)
	s.recollection = newRecollection(rememberedLimit)
	write, err := openDB(path, false)
	if err != nil {
		return nil, err
	}
	conn, err := write.Conn(ctx)
	if err == nil {
		err = migrate(ctx, conn, options.Now())
	}
	if err == nil {
		s.writer, err = newWriter(ctx, write, conn, options.Now, &s.emptied)
	}
	if err == nil {
		s.read, err = openDB(path, true)
	}
	if err == nil {
		s.upkeep.look, err = openDB(path, true)
	}
	if err == nil {
		err = s.rememberCoverage(ctx, memoryLimit)
	}
	if err != nil {
		if s.upkeep.look != nil {
			err = errors.Join(err, s.upkeep.look.Close())
		}
		if s.read != nil {
			err = errors.Join(err, s.read.Close())
		}
		if s.writer != nil {
			err = errors.Join(err, s.writer.finish())
		}
		if conn != nil {
			err = errors.Join(err, conn.Close())
		}
		return nil, errors.Join(err, write.Close())
	}
	if options.fold != (foldLimits{}) {
		s.writer.limits = options.fold
	}
	go s.writer.run()
	return s, nil
}

// Close waits for what is in flight and closes the file.
func (s *Storage) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.upkeep.stop != nil {
		s.upkeep.stop()
		<-s.upkeep.ended
	}
	return errors.Join(s.connections.close(), s.read.Close(), s.upkeep.look.Close(), s.writer.close())
}

// Stats returns the counts since Open.
func (s *Storage) Stats() Stats {
	rows, _ := s.coverage.held()
	return Stats{
		CoverageRows: rows,
		Stored:       s.stored.Load(), Duplicates: s.duplicates.Load(),
		RefusedAhead: s.ahead.Load(), RefusedMalformed: s.malformed.Load(),
		RefusedBehind: s.behind.Load(), Uncompared: s.writer.uncompared.Load(), Folds: s.writer.derived.folds.Load(),
		Commits: s.writer.commits.Load(), Calls: s.writer.calls.Load(), Emptied: s.emptied.Load() + s.recollection.emptied.Load(),
		Backups: s.backups.Load(), FailedBackups: s.failedBackups.Load(),
		Rolled: s.rolledRows.Load(), Deleted: s.deletedRows.Load(), FailedRounds: s.failedRounds.Load(),
		Oldest: timeOf(s.oldest.Load()), Free: s.free.Load(),
	}
}

// Size is the bytes that the database takes on disk, its write-ahead log included.
func (s *Storage) Size() int64 {
	var size int64
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(s.path + suffix); err == nil {
			size += info.Size()
		}
	}
	return size
}

// enter admits a call until leave; after Close it returns ErrClosed.
func (s *Storage) enter() error {
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return storage.ErrClosed
	}
	return nil
}

func (s *Storage) leave() { s.open.RUnlock() }

// openDB opens a pool: one connection that writes, or several that only read.
func openDB(path string, readOnly bool) (*sql.DB, error) {
	query := url.Values{}
	// The order in which the driver applies these is fixed: busy_timeout and auto_vacuum come first, and auto_vacuum must
	// come before the first table.
	query.Set("_busy_timeout", "10000")
	query.Set("_defensive", "1")
	query.Set("_dqs", "0")
	query.Add("_pragma", "trusted_schema(0)")
	if readOnly {
		query.Set("mode", "ro")
		query.Set("_query_only", "1")
		query.Add("_pragma", "cache_size(-8192)")
	} else {
		query.Set("mode", "rw")
		query.Set("_auto_vacuum", "INCREMENTAL")
		query.Set("_journal_mode", "WAL")
		query.Set("_synchronous", "FULL")
		// Not enforced: to delete a row would mean to look for whoever refers to it, in tables without an index for that.
		query.Set("_foreign_keys", "0")
		query.Add("_pragma", "cache_size(-16384)")
		query.Add("_pragma", "journal_size_limit(67108864)")
	}
	file := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	connector, err := sqlitedriver.NewConnector(file.String())
	if err != nil {
		return nil, errors.New("the path cannot be used")
	}
	db := sql.OpenDB(connector)
	if readOnly {
		db.SetMaxOpenConns(2 * readers) // half of them are those of Storage.connections
		db.SetMaxIdleConns(readers)
	} else {
		db.SetMaxOpenConns(1)
	}
	return db, nil
}

// pathless is err without the path, which can name a person.
func pathless(err error) error {
	var failure *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &failure):
		return failure.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
