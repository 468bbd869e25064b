package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
)

const (
	defaultLimit    = 100
	maxLimit        = 1000
	defaultCoverage = 10000
)

func limitOf(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// snapshot is a read transaction: everything in it is of one moment.
type snapshot struct {
	ctx    context.Context
	tx     *connection
	tenant int64 // its text
	owner  *Storage
}

// view runs do in a snapshot of the file, which can lack derived rows (consistent); what names the call in errors.
func (s *Storage) view(ctx context.Context, what, tenant string, do func(*snapshot) error) error {
	return s.snapshot(ctx, what, tenant, func(c *connection) error { return c.begin(ctx) }, do)
}

// consistent runs do in a snapshot of the file and of the derived rows in memory, from which freeze copies what do needs.
func (s *Storage) consistent(ctx context.Context, what, tenant string, freeze func(*derived), do func(*snapshot) error) error {
	d := s.writer.derived
	return s.snapshot(ctx, what, tenant, func(c *connection) error {
		for {
			// The writer commits to the file, and then publishes with the lock. While this holds the lock, the file can be
			// ahead by the one commit that is about to be published.
			d.lock.RLock()
			err := c.begin(ctx)
			var commit int64
			if err == nil {
				err = c.QueryRowContext(ctx, "SELECT value FROM state WHERE name = 'commit'").Scan(&commit)
			}
			if err == nil && commit == d.commit {
				freeze(d)
				d.lock.RUnlock()
				return nil
			}
			d.lock.RUnlock()
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if err := c.end(); err != nil {
				return err
			}
			runtime.Gosched()
		}
	}, do)
}

func (s *Storage) snapshot(ctx context.Context, what, tenant string, begin func(*connection) error, do func(*snapshot) error) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
	}()
	c, err := s.connections.take(ctx, s.read)
	if err != nil {
		return err
	}
	defer s.connections.put(c)
	if err := begin(c); err != nil {
		return err
	}
	v := &snapshot{ctx: ctx, tx: c, owner: s}
	err = c.QueryRowContext(ctx, "SELECT id FROM text WHERE text = ?", tenant).Scan(&v.tenant)
	if err == sql.ErrNoRows { //nolint:errorlint // Scan returns it as it is
		v.tenant = noTenant
	} else if err != nil {
		return err
	}
	return do(v)
}

// noTenant is the id of a tenant that stored nothing.
const noTenant = -1

// each calls row for every row of a query, or until that returns errEnough.
func (v *snapshot) each(query string, args []any, row func(*sql.Rows) error) error {
	rows, err := v.tx.QueryContext(v.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		if err := row(rows); err == errEnough { //nolint:errorlint // it is returned as it is
			return nil
		} else if err != nil {
			return err
		}
	}
	return rows.Err()
}

// list is values as a JSON array, for json_each.
func list[T any](values []T) string {
	if len(values) == 0 {
		return "[]"
	}
	encoded, err := json.Marshal(values)
	if err != nil {
		return "[]" // numbers and strings only
	}
	return string(encoded)
}

// subjectID is the id of a subject's row outside, and back; ids that are none are 0.
func subjectID(row int64) string { return fmt.Sprintf("%016x", row) }

func subjectRow(id string) int64 {
	row, err := strconv.ParseInt(id, 16, 64)
	if err != nil {
		return 0
	}
	return row
}
