package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	sqlitedriver "modernc.org/sqlite"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// BackupOptions say where backups go.
type BackupOptions struct {
	// Directory holds them; empty means that none can be made. It is created, for its owner only, if there is none.
	Directory string
	// Keep is how many there are at most: the oldest go when a new one is complete. 0 keeps all.
	Keep int
}

// backupStep is how many pages are copied between two looks at the context.
const backupStep = 1024

const partial = ".partial"

// backupName is how backups are called, and no other file: their time and 64 random bits.
var backupName = regexp.MustCompile(`^witness-\d{8}T\d{6}Z-[0-9a-f]{16}\.db(\.partial)?(-wal|-shm|-journal)?$`)

var _ storage.Backups = (*Storage)(nil)

// Backup implements storage.Backups. It copies the pages of one moment, while writes go on: the log cannot be folded into
// the file meanwhile and grows by what is written. The copy is read and checked before it gets its name.
func (s *Storage) Backup(ctx context.Context) (storage.Backup, error) {
	if err := s.enter(); err != nil {
		return storage.Backup{}, err
	}
	defer s.leave()
	if s.backup.Directory == "" {
		return storage.Backup{}, fmt.Errorf("back up: %w", storage.ErrNotConfigured)
	}
	select {
	case s.backingUp <- struct{}{}:
		defer func() { <-s.backingUp }()
	case <-ctx.Done():
		return storage.Backup{}, ctx.Err()
	}
	done, err := s.copyTo(ctx, s.backup.Directory)
	if err == nil {
		s.backups.Add(1)
		err = prune(s.backup.Directory, s.backup.Keep, done.Name)
	} else {
		s.failedBackups.Add(1)
	}
	if err != nil {
		return storage.Backup{}, fmt.Errorf("back up: %w", pathless(err))
	}
	return done, nil
}

func (s *Storage) copyTo(ctx context.Context, directory string) (done storage.Backup, err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return done, err
	}
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	done.At = s.now().UTC()
	done.Name = fmt.Sprintf("witness-%s-%s.db", done.At.Format("20060102T150405Z"), hex.EncodeToString(random))
	path := filepath.Join(directory, done.Name)
	file, err := os.OpenFile(path+partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return done, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
				_ = os.Remove(path + partial + suffix)
			}
		}
	}()
	if err := copyPages(ctx, s.path, path+partial); err != nil {
		return done, err
	}
	if err := finishCopy(ctx, path+partial); err != nil {
		return done, err
	}
	if err := file.Sync(); err != nil {
		return done, err
	}
	info, err := file.Stat()
	if err != nil {
		return done, err
	}
	done.Size = info.Size()
	if err := os.Rename(path+partial, path); err != nil {
		return done, err
	}
	return done, syncDirectory(directory)
}

// copyPages copies what a snapshot of a database sees.
func copyPages(ctx context.Context, from, to string) error {
	db, err := openDB(from, true)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // it only read
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it only read
	// Within a transaction all steps see the same state, so that none has to begin anew after a write.
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	var version int
	if err := tx.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&version); err != nil {
		return err
	}
	target := url.URL{Scheme: "file", Path: to, RawQuery: url.Values{
		"mode": {"rw"}, "_busy_timeout": {"10000"}, "_journal_mode": {"OFF"}, "_synchronous": {"OFF"}, // it is nothing until it is complete
	}.Encode()}
	return conn.Raw(func(driver any) error {
		backup, err := driver.(interface {
			NewBackup(string) (*sqlitedriver.Backup, error)
		}).NewBackup(target.String())
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if more, err = backup.Step(backupStep); err == nil {
				err = ctx.Err()
			}
		}
		return errors.Join(err, backup.Finish())
	})
}

// finishCopy checks a copy and makes it one file, that can be read where nothing can be written.
func finishCopy(ctx context.Context, path string) error {
	target := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"mode": {"rw"}, "_busy_timeout": {"10000"}, "_journal_mode": {"DELETE"},
	}.Encode()}
	db, err := sql.Open("sqlite", target.String())
	if err != nil {
		return err
	}
	var result string
	err = db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result)
	if err == nil && result != "ok" {
		err = ErrDamaged
	}
	return errors.Join(err, db.Close())
}

// prune removes the oldest backups, and what an interrupted one left. newest stays, whatever the clock said then.
func prune(directory string, keep int, newest string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries {
		switch match := backupName.FindStringSubmatch(entry.Name()); {
		case match == nil || !entry.Type().IsRegular() || entry.Name() == newest:
		case match[1] != "":
			err = errors.Join(err, remove(filepath.Join(directory, entry.Name())))
		case match[2] == "":
			names = append(names, entry.Name())
		}
	}
	if keep > 0 {
		slices.Sort(names)
		for _, name := range names[:max(0, len(names)-keep+1)] {
			err = errors.Join(err, remove(filepath.Join(directory, name)))
		}
	}
	return err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pathless(err)
	}
	return nil
}

// syncDirectory has names that were given or taken survive a loss of power.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return pathless(err)
	}
	return errors.Join(directory.Sync(), directory.Close())
}
