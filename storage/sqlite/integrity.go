package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	sqlitedriver "modernc.org/sqlite"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Integrity says how much of a file Open looks at. Whatever it says, Open checks header, length, whose file it is, and
// that the schema can be read.
type Integrity string

// How much Open looks at.
const (
	IntegrityAuto Integrity = "auto" // every page, table by table from the smallest, for CheckTime at most
	IntegrityFull Integrity = "full" // every page, however long it takes
	IntegrityOff  Integrity = "off"  // no more than that
)

// Damaged says what Open does about a damaged file.
type Damaged string

// What Open does.
const (
	// DamagedRefuse has Open fail with ErrDamaged and leave the file.
	DamagedRefuse Damaged = "refuse"
	// DamagedSetAside has Open give the file another name beside it and start a new one.
	DamagedSetAside Damaged = "set_aside"
)

// DefaultCheckTime bounds IntegrityAuto.
const DefaultCheckTime = 10 * time.Second

// StageDamaged is the stage of the loss that is stored when a damaged file was set aside: of unknown size, for as long as
// that file was in use, anywhere.
const StageDamaged = "storage damaged"

// Opening says what Open found.
type Opening struct {
	// SetAside is the name, without directory, that a damaged file was given; empty if there was none.
	SetAside string
	// DamagedFiles is how many damaged files are beside the database, that one included.
	DamagedFiles int
	// Unchecked is how many tables IntegrityAuto had no time for.
	Unchecked int
}

// Opening returns what Open found.
func (s *Storage) Opening() Opening { return s.opening }

const (
	header = "SQLite format 3\x00"
	// applicationID marks the file as ours in its header: "wtns".
	applicationID = 0x77746e73
)

// check looks, without writing, whether the file can be ours and is whole. A missing file is created, empty, for its owner
// only. It returns how many tables it had no time for.
func check(ctx context.Context, path string, integrity Integrity, limit time.Duration) (unchecked int, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return 0, pathless(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, pathless(err)
	}
	switch {
	case !info.Mode().IsRegular():
		return 0, ErrNotDatabase
	case info.Size() == 0:
		return 0, nil
	}
	head := make([]byte, 100)
	if _, err := io.ReadFull(file, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, ErrNotDatabase
		}
		return 0, pathless(err)
	}
	if string(head[:len(header)]) != header {
		return 0, ErrNotDatabase
	}
	// Without a log to recover from, a file that is shorter than its header says was cut.
	pageSize := int64(binary.BigEndian.Uint16(head[16:]))
	if pageSize == 1 {
		pageSize = 65536
	}
	if log, err := os.Stat(path + "-wal"); (err != nil || log.Size() == 0) && info.Size() < pageSize*int64(binary.BigEndian.Uint32(head[28:])) {
		return 0, ErrDamaged
	}
	return checkContent(ctx, path, integrity, limit)
}

// checkContent reads the schema and, as far as it shall and has time, everything.
func checkContent(ctx context.Context, path string, integrity Integrity, limit time.Duration) (unchecked int, err error) {
	db, err := openDB(path, true)
	if err != nil {
		return 0, err
	}
	defer db.Close() //nolint:errcheck // it only read
	var application, version, tables int
	err = errors.Join(
		db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application),
		db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version),
		db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables),
	)
	switch {
	case err != nil:
		return 0, damaged(ctx, err)
	case tables == 0 && version == 0: // a start that was cut short
		return 0, nil
	case application != applicationID:
		return 0, ErrNotDatabase
	case version > len(migrations):
		return 0, ErrNewer
	case integrity == IntegrityOff:
		return 0, nil
	case integrity == IntegrityFull:
		return 0, quickCheck(ctx, db, "")
	}
	names, err := tablesBySize(ctx, db)
	if err != nil {
		return 0, damaged(ctx, err)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for i, name := range names {
		if err := quickCheck(limited, db, name); err != nil {
			if ctx.Err() == nil && limited.Err() != nil && !errors.Is(err, ErrDamaged) {
				return len(names) - i, nil
			}
			return 0, err
		}
	}
	// Pages that belong to no table, which only a look at everything finds, hold nothing of ours.
	return 0, nil
}

// tablesBySize names the tables, those that grow with every observation last.
func tablesBySize(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table'
ORDER BY name = 'rolled', name = 'obs', name IN ('total', 'cell', 'place', 'node', 'witness', 'coverage'), name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// quickCheck looks at every page of a table and its indices, or of the file.
func quickCheck(ctx context.Context, db *sql.DB, table string) error {
	statement := "PRAGMA quick_check(1)"
	if table != "" {
		statement = fmt.Sprintf("PRAGMA quick_check(%q)", table)
	}
	var result string
	if err := db.QueryRowContext(ctx, statement).Scan(&result); err != nil {
		return damaged(ctx, err)
	}
	if result != "ok" {
		return ErrDamaged
	}
	return nil
}

// damaged tells a damaged file from one that cannot be read.
func damaged(ctx context.Context, err error) error {
	var failure *sqlitedriver.Error
	if ctx.Err() == nil && errors.As(err, &failure) {
		switch failure.Code() & 0xff {
		case 11, 26: // SQLITE_CORRUPT, SQLITE_NOTADB
			return ErrDamaged
		}
	}
	return err
}

// stampLayout is of the time in the name of a file that was set aside.
const stampLayout = "20060102T150405Z"

// setAside gives a damaged file and its log names that nothing has yet, and returns that of the file.
func setAside(path string, now time.Time) (name string, err error) {
	suffixes := []string{"-wal", "-shm", ""} // the log first: without its file it would be deleted by the next start
	free := func(to string) bool {
		for _, suffix := range suffixes {
			if _, err := os.Lstat(to + suffix); !errors.Is(err, fs.ErrNotExist) {
				return false
			}
		}
		return true
	}
	stamped := path + ".damaged-" + now.UTC().Format(stampLayout)
	to := stamped
	for n := 2; !free(to); n++ {
		to = fmt.Sprintf("%s-%d", stamped, n)
	}
	for _, suffix := range suffixes {
		if err := os.Rename(path+suffix, to+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", pathless(err)
		}
	}
	return filepath.Base(to), syncDirectory(filepath.Dir(path))
}

// lifetime is what can still be read of a damaged file: whose it was, and since when it was in use.
type lifetime struct {
	tenants []string // the default one last
	since   time.Time
}

// maxTenants bounds what is read of a damaged file.
const maxTenants = 1000

// salvage reads what it can within a second.
func salvage(ctx context.Context, path string, until time.Time) (lived lifetime) {
	lived.since = until
	defer func() { lived.tenants = append(lived.tenants, "") }()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	db, err := openDB(path, true)
	if err != nil {
		return lived
	}
	defer db.Close() //nolint:errcheck // it only read
	var since int64
	if err := db.QueryRowContext(ctx, "SELECT min(applied) FROM schema_version").Scan(&since); err == nil && timeOf(since).Before(until) {
		lived.since = timeOf(since)
	}
	rows, err := db.QueryContext(ctx, `WITH RECURSIVE t(id) AS (SELECT min(tenant) FROM witness UNION ALL
  SELECT (SELECT min(tenant) FROM witness WHERE tenant > t.id) FROM t WHERE t.id IS NOT NULL LIMIT ?)
SELECT text.text FROM t JOIN text ON text.id = t.id WHERE text.id <> 0`, maxTenants)
	if err != nil {
		return lived
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		var tenant string
		if rows.Scan(&tenant) != nil {
			break
		}
		lived.tenants = append(lived.tenants, tenant)
	}
	_ = rows.Err() // what was read is what there is
	return lived
}

// recordLosses stores, for every tenant that is known, that the time of a damaged file beside the database is a gap. It
// does so at every start for files that have none yet, so that a crash after one was set aside hides nothing.
func (s *Storage) recordLosses(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Dir(s.path))
	if err != nil {
		return pathless(err)
	}
	prefix := filepath.Base(s.path) + ".damaged-"
	for _, entry := range entries {
		stamp, ok := strings.CutPrefix(entry.Name(), prefix)
		if !ok || len(stamp) < len(stampLayout) || strings.HasSuffix(stamp, "-wal") || strings.HasSuffix(stamp, "-shm") {
			continue
		}
		end, err := time.Parse(stampLayout, stamp[:len(stampLayout)])
		if err != nil {
			continue
		}
		s.opening.DamagedFiles++
		known, err := s.Coverage(ctx, "", storage.CoverageQuery{From: end.Add(-1), To: end.Add(1)})
		if err != nil {
			return err
		}
		loss := witness.Coverage{
			Source: fmt.Sprintf("storage/%d/witness_storage", end.Unix()), Assurance: witness.Measured, End: end, LossStage: StageDamaged,
		}
		if slices.ContainsFunc(known, func(c witness.Coverage) bool { return c.Source == loss.Source }) {
			continue
		}
		lived := salvage(ctx, filepath.Join(filepath.Dir(s.path), entry.Name()), end)
		loss.Start = lived.since
		for _, tenant := range lived.tenants {
			if err := s.WriteCoverage(ctx, storage.Principal{Tenant: tenant}, []witness.Coverage{loss}); err != nil {
				return err
			}
		}
	}
	return nil
}
