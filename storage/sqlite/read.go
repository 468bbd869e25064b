package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"

	"github.com/otelcol-witness/otelcol-witness/witness"
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

// workloads, instances, links, artifacts and components return the rows with the ids that are keys of a map.

func (v *snapshot) workloads(ids []int64) (map[int64]witness.Workload, error) {
	found := make(map[int64]witness.Workload, len(ids))
	err := v.each("SELECT id, namespace, controller, container, image FROM workload WHERE id IN (SELECT value FROM json_each(?))",
		[]any{list(ids)}, func(rows *sql.Rows) error {
			var id int64
			var w witness.Workload
			err := rows.Scan(&id, &w.Namespace, &w.Controller, &w.Container, &w.Image)
			found[id] = w
			return err
		})
	return found, err
}

func (v *snapshot) instances(ids []int64) (map[int64]witness.Instance, error) {
	found := make(map[int64]witness.Instance, len(ids))
	err := v.each("SELECT id, host, pod, container FROM instance WHERE id IN (SELECT value FROM json_each(?))",
		[]any{list(ids)}, func(rows *sql.Rows) error {
			var id int64
			var i witness.Instance
			err := rows.Scan(&id, &i.Host, &i.Pod, &i.Container)
			found[id] = i
			return err
		})
	return found, err
}

// joined is what an observation or a subject is tied to: ids of artifact and component, 0 when unknown.
type joined struct{ artifact, component int64 }

// or fills in from what is known.
func (j joined) or(known joined) joined {
	if j.artifact == 0 {
		j.artifact = known.artifact
	}
	if j.component == 0 {
		j.component = known.component
	}
	return j
}

func (v *snapshot) links(ids []int64) (map[int64]joined, error) {
	found := make(map[int64]joined, len(ids))
	err := v.each("SELECT id, artifact, component FROM link WHERE id IN (SELECT value FROM json_each(?))", []any{list(ids)},
		func(rows *sql.Rows) error {
			var id int64
			var j joined
			err := rows.Scan(&id, &j.artifact, &j.component)
			found[id] = j
			return err
		})
	return found, err
}

// known is the newest that is known of subjects.
func (v *snapshot) known(subjects []int64) (map[int64]joined, error) {
	found := make(map[int64]joined, len(subjects))
	err := v.each(`SELECT s.id, coalesce(a.artifact, 0), coalesce(c.component, 0) FROM subject s
LEFT JOIN known_artifact a ON a.tenant = s.tenant AND a.module = s.module AND a.part = iif(s.module = 0, s.part, 0)
LEFT JOIN known_component c ON c.tenant = s.tenant AND c.module = s.module AND c.part = s.part
WHERE s.id IN (SELECT value FROM json_each(?))`, []any{list(subjects)}, func(rows *sql.Rows) error {
		var id int64
		var j joined
		err := rows.Scan(&id, &j.artifact, &j.component)
		found[id] = j
		return err
	})
	return found, err
}

func (v *snapshot) artifacts(ids []int64) (map[int64]witness.Artifact, error) {
	found := make(map[int64]witness.Artifact, len(ids))
	err := v.each("SELECT id, purl, digest, revision, repository, method, conflicts FROM artifact WHERE id IN (SELECT value FROM json_each(?))",
		[]any{list(ids)}, func(rows *sql.Rows) error {
			var id int64
			var a witness.Artifact
			var conflicts []byte
			if err := rows.Scan(&id, &a.PURL, &a.Digest, &a.Revision, &a.Repository, &a.Method, &conflicts); err != nil {
				return err
			}
			if string(conflicts) != "[]" {
				if err := json.Unmarshal(conflicts, &a.Conflicts); err != nil {
					return err
				}
			}
			found[id] = a
			return nil
		})
	return found, err
}

func (v *snapshot) components(ids []int64) (map[int64]string, error) {
	found := make(map[int64]string, len(ids))
	err := v.each("SELECT id, purl FROM component WHERE id IN (SELECT value FROM json_each(?))", []any{list(ids)},
		func(rows *sql.Rows) error {
			var id int64
			var purl string
			err := rows.Scan(&id, &purl)
			found[id] = purl
			return err
		})
	return found, err
}

// frames returns frames with the newest component that is known of each.
func (v *snapshot) frames(ids []int64) (map[int64]witness.Frame, error) {
	found := make(map[int64]witness.Frame, len(ids))
	err := v.each(`SELECT f.id, p.text, b.text, s.text, l.text, f.line, f.language, f.flags, f.offset, f.inlined, f.symbol_source, f.confidence,
  m.build_id, m.sha256, m.path, coalesce(c.purl, '')
FROM frame f
JOIN text p ON p.id = f.package JOIN text b ON b.id = f.member JOIN text s ON s.id = f.symbol JOIN text l ON l.id = f.file
JOIN module m ON m.id = f.module
LEFT JOIN known_component k ON k.tenant = ? AND k.module = m.key AND k.part = iif(m.key = 0, f.symbol, f.package)
LEFT JOIN component c ON c.id = k.component
WHERE f.id IN (SELECT value FROM json_each(?))`, []any{v.tenant, list(ids)}, func(rows *sql.Rows) error {
		var id int64
		var f witness.Frame
		var flags, offset []byte
		if err := rows.Scan(&id, &f.Package, &f.Member, &f.Symbol, &f.File, &f.Line, &f.Language, &flags, &offset, &f.Inlined,
			&f.SymbolSource, &f.Confidence, &f.Module.BuildID, &f.Module.SHA256, &f.Module.Path, &f.Component); err != nil {
			return err
		}
		if string(flags) != "[]" {
			if err := json.Unmarshal(flags, &f.Flags); err != nil {
				return err
			}
		}
		for _, b := range offset {
			f.Offset, f.HasOffset = f.Offset<<8|uint64(b), true
		}
		found[id] = f
		return nil
	})
	return found, err
}
