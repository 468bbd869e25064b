package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	defaultLimit    = 100
	maxLimit        = 1000
	defaultCoverage = 10000
	// chunk is how many witnesses one statement looks up.
	chunk = 4096
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
	tx     *sql.Tx
	tenant int64 // its text
	owner  *Storage
}

// view runs do in a snapshot; what names the call in errors.
func (s *Storage) view(ctx context.Context, what, tenant string, do func(*snapshot) error) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
	}()
	tx, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	v := &snapshot{ctx: ctx, tx: tx, owner: s}
	err = tx.QueryRowContext(ctx, "SELECT id FROM text WHERE text = ?", tenant).Scan(&v.tenant)
	if err == sql.ErrNoRows { //nolint:errorlint // Scan returns it as it is
		v.tenant = noTenant
	} else if err != nil {
		return err
	}
	return do(v)
}

// noTenant is the id of a tenant that stored nothing.
const noTenant = -1

// each calls row for every row of a query.
func (v *snapshot) each(query string, args []any, row func(*sql.Rows) error) error {
	rows, err := v.tx.QueryContext(v.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		if err := row(rows); err != nil {
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

// candidate is a witness that a filter selects, before its observations are looked at.
type candidate struct {
	row      int64
	id       witness.ID
	subject  int64
	workload int64
	kind     int64
	named    bool
}

// candidates returns the witnesses that a filter selects, those of a subject together. everything: a filter without
// subjects and finding selects all.
func (v *snapshot) candidates(f *storage.Filter, everything bool) ([]candidate, error) {
	const columns = `SELECT w.id, w.witness, w.subject, w.workload, s.kind,
  EXISTS (SELECT 1 FROM named n WHERE n.tenant = ?1 AND n.finding = (SELECT id FROM text WHERE text = ?2) AND n.witness = w.id)`
	args := []any{v.tenant, f.Finding}
	if f.Finding == "" {
		args[1] = nil // matches none
	}
	query := columns + " FROM witness w JOIN subject s ON s.id = w.subject WHERE s.tenant = ?1"
	if !everything || len(f.Subjects) > 0 || f.Finding != "" {
		subjects := make([]int64, 0, len(f.Subjects))
		for _, id := range f.Subjects {
			subjects = append(subjects, subjectRow(id))
		}
		query = columns + ` FROM (
  SELECT w.id FROM json_each(?3) j CROSS JOIN witness w ON w.subject = j.value
  UNION SELECT witness FROM named WHERE tenant = ?1 AND finding = (SELECT id FROM text WHERE text = ?2)) x
CROSS JOIN witness w ON w.id = x.id CROSS JOIN subject s ON s.id = w.subject WHERE s.tenant = ?1`
		args = append(args, list(subjects))
	}
	if len(f.Kinds) > 0 {
		codes := make([]string, 0, len(f.Kinds))
		for _, kind := range f.Kinds {
			codes = append(codes, strconv.FormatInt(kindCode(kind), 10))
		}
		query += " AND s.kind IN (" + strings.Join(codes, ",") + ")"
	}
	if len(f.Namespaces) > 0 {
		query += " AND w.workload IN (SELECT id FROM workload WHERE namespace IN (SELECT value FROM json_each(?" + strconv.Itoa(len(args)+1) + ")))"
		args = append(args, list(f.Namespaces))
	}
	var found []candidate
	err := v.each(query+" ORDER BY w.subject, w.id", args, func(rows *sql.Rows) error {
		var c candidate
		var id sql.RawBytes
		err := rows.Scan(&c.row, &id, &c.subject, &c.workload, &c.kind, &c.named)
		copy(c.id[:], id)
		found = append(found, c)
		return err
	})
	return found, err
}

// hit is an observation as it is stored.
type hit struct {
	candidate        *candidate
	start, length    int64
	source, instance int64
	hits, hitsError  uint64
	first, last      int64
	assurance        int64
	origin           int64
	link             int64
	counts           bool // see lawNine
}

// scan calls group with the observations of candidates that a filter selects, those of a subject together, or those of a
// witness. Only groups with observations are called. group must not keep the slice.
func (v *snapshot) scan(candidates []candidate, f *storage.Filter, asOf time.Time, bySubject bool, group func([]hit) error) error {
	from, to, until := int64(0), int64(math.MaxInt64), int64(math.MaxInt64)
	if !f.From.IsZero() {
		from = nanoseconds(f.From)
	}
	if !f.To.IsZero() {
		to = nanoseconds(f.To)
	}
	if !asOf.IsZero() {
		until = nanoseconds(asOf)
	}
	if to <= from {
		return nil
	}
	// The order of the joins is that of their nesting; the groups come as the candidates do.
	const query = `SELECT j.key, o.start, o.length, o.source, o.instance, o.hits, o.hits_error, o.first, o.last, o.assurance, o.origin, o.link
FROM json_each(?1) j
CROSS JOIN seen n ON n.witness = j.value AND n.slot BETWEEN ?2 AND ?3
CROSS JOIN window x ON x.start >= max(n.slot * ?4, ?5) AND x.start < min((n.slot + 1) * ?4, ?6)
CROSS JOIN obs o ON o.start = x.start AND o.witness = n.witness
WHERE o.received <= ?7 AND (?8 = 0 OR o.assurance = ?8)`
	var hits []hit
	var last int64 // of the group
	flush := func() error {
		if len(hits) == 0 {
			return nil
		}
		if err := v.lawNine(hits); err != nil {
			return err
		}
		err := group(hits)
		hits = hits[:0]
		return err
	}
	for part := range slices.Chunk(candidates, chunk) {
		ids := make([]int64, len(part))
		for i := range part {
			ids[i] = part[i].row
		}
		// The greatest slot and window end of all are below what would overflow: times end in 2262.
		args := []any{list(ids), from / slotLength, (to - 1) / slotLength, slotLength, from, to, until, assuranceCode(f.Assurance)}
		err := v.each(query, args, func(rows *sql.Rows) error {
			var h hit
			var at int
			if err := rows.Scan(&at, &h.start, &h.length, &h.source, &h.instance, &h.hits, &h.hitsError, &h.first, &h.last, &h.assurance,
				&h.origin, &h.link); err != nil {
				return err
			}
			h.candidate = &part[at]
			of := h.candidate.row
			if bySubject {
				of = h.candidate.subject
			}
			if of != last {
				if err := flush(); err != nil {
					return err
				}
				last = of
			}
			hits = append(hits, h)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return flush()
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
