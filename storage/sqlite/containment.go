package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// processKey is the process of a row: workload, instance, module and origin.
type processKey [4]int64

const positionFormat = "%016x%016x%016x%016x"

// errEnough ends a query early.
var errEnough = errors.New("enough rows")

// Containment implements storage.ContainmentReader.
func (s *Storage) Containment(ctx context.Context, tenant string, query storage.ContainmentQuery) (page storage.ContainmentPage, err error) {
	err = s.view(ctx, "containment", tenant, func(v *snapshot) error {
		statement := `SELECT c.workload, c.instance, c.module, c.origin, w.namespace, w.controller, w.container, w.image, i.host, i.pod, i.container,
  m.path, m.build_id, m.sha256, c.signal, c.source, c.value, c.assurance, c.observed
FROM containment c JOIN workload w ON w.id = c.workload JOIN instance i ON i.id = c.instance JOIN module m ON m.id = c.module
WHERE c.tenant = ?`
		args := []any{v.tenant}
		if query.After != "" {
			after, ok := parsePosition(query.After)
			if !ok {
				return storage.ErrPosition
			}
			statement += " AND (c.workload, c.instance, c.module, c.origin) > (?,?,?,?)"
			args = append(args, after[0], after[1], after[2], after[3])
		}
		if len(query.Workloads) > 0 || len(query.Matching) > 0 {
			workloads, err := v.matching(query.Workloads, query.Matching)
			if err != nil {
				return err
			}
			statement += " AND c.workload IN (SELECT value FROM json_each(?))"
			args = append(args, list(workloads))
		}
		if len(query.Hosts) > 0 {
			statement += " AND i.host IN (SELECT value FROM json_each(?))"
			args = append(args, list(query.Hosts))
		}
		if !query.From.IsZero() {
			statement += " AND c.observed >= ?"
			args = append(args, nanoseconds(query.From))
		}
		if !query.To.IsZero() {
			statement += " AND c.observed < ?"
			args = append(args, nanoseconds(query.To))
		}
		statement += " ORDER BY c.workload, c.instance, c.module, c.origin, c.signal, c.source"
		var last processKey
		limit := limitOf(query.Limit)
		err := v.each(statement, args, func(rows *sql.Rows) error {
			var key processKey
			var c witness.Containment
			var signal witness.Signal
			var value string
			var source, assurance, observed int64
			if err := rows.Scan(&key[0], &key[1], &key[2], &key[3], &c.Workload.Namespace, &c.Workload.Controller, &c.Workload.Container,
				&c.Workload.Image, &c.Instance.Host, &c.Instance.Pod, &c.Instance.Container, &c.Executable.Path, &c.Executable.BuildID,
				&c.Executable.SHA256, &signal.Name, &source, &value, &assurance, &observed); err != nil {
				return err
			}
			if len(page.Containment) == 0 || key != last {
				if len(page.Containment) == limit {
					page.Next = fmt.Sprintf(positionFormat, last[0], last[1], last[2], last[3])
					return errEnough
				}
				c.Origin = origins[key[3]-1]
				page.Containment = append(page.Containment, c)
				last = key
			}
			if value != "" {
				signal.Values = strings.Split(value, ",")
			}
			signal.Source, signal.Assurance, signal.ObservedAt = witness.SignalSources[source-1], assurances[assurance-1], timeOf(observed)
			of := &page.Containment[len(page.Containment)-1]
			of.Signals = append(of.Signals, signal)
			return nil
		})
		if !errors.Is(err, errEnough) {
			return err
		}
		return nil
	})
	if err != nil {
		return storage.ContainmentPage{}, err
	}
	return page, nil
}

func parsePosition(text string) (at processKey, ok bool) {
	n, err := fmt.Sscanf(text, positionFormat, &at[0], &at[1], &at[2], &at[3])
	return at, err == nil && n == len(at) && fmt.Sprintf(positionFormat, at[0], at[1], at[2], at[3]) == text
}

// matching returns the rows of workloads that are one of the first, or have what one of the second has.
func (v *snapshot) matching(exactly, like []witness.Workload) ([]int64, error) {
	var found []int64
	const exact = "SELECT id FROM workload WHERE namespace = ? AND controller = ? AND container = ? AND image = ?"
	const alike = `SELECT id FROM workload WHERE (namespace = ?1 OR ?1 = '') AND (controller = ?2 OR ?2 = '')
  AND (container = ?3 OR ?3 = '') AND (image = ?4 OR ?4 = '')`
	for _, part := range []struct {
		statement string
		workloads []witness.Workload
	}{{exact, exactly}, {alike, like}} {
		for _, w := range part.workloads {
			if err := v.each(part.statement, []any{w.Namespace, w.Controller, w.Container, w.Image}, func(rows *sql.Rows) error {
				var id int64
				err := rows.Scan(&id)
				found = append(found, id)
				return err
			}); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// WriteContainment implements storage.ContainmentWriter.
func (s *Storage) WriteContainment(ctx context.Context, principal storage.Principal, containment []witness.Containment) (kept int, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	signals := 0
	for i := range containment {
		if err := containment[i].Validate(); err != nil {
			return 0, fmt.Errorf("write containment: [%d]: %w", i, err)
		}
		signals += len(containment[i].Signals)
	}
	if signals == 0 {
		return 0, nil
	}
	err = s.writer.submit(ctx, signals, func() (err error) {
		kept, err = s.writer.containment(principal, s.now().UnixNano(), containment)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write containment: %w", err)
	}
	return kept, nil
}

// containment is the part of WriteContainment within the transaction.
func (w *writer) containment(principal storage.Principal, received int64, containment []witness.Containment) (kept int, err error) {
	tenant, name, err := w.principal(principal)
	if err != nil {
		return 0, err
	}
	put, err := w.conn.PrepareContext(context.Background(), `INSERT INTO containment VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT DO UPDATE SET value = excluded.value, assurance = excluded.assurance, observed = excluded.observed,
  received = excluded.received, principal = excluded.principal
WHERE (-excluded.assurance, excluded.observed, excluded.value) > (-containment.assurance, containment.observed, containment.value)`)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, put.Close()) }()
	for i := range containment {
		c := &containment[i]
		workload, err := w.workload(c.Workload)
		if err != nil {
			return 0, err
		}
		instance, err := w.instance(c.Instance)
		if err != nil {
			return 0, err
		}
		module, err := w.module(c.Executable, c.Workload.Image)
		if err != nil {
			return 0, err
		}
		for j := range c.Signals {
			signal := &c.Signals[j]
			is, err := added(put, tenant, workload, instance, module.id, originCode(c.Origin), string(signal.Name),
				int64(slices.Index(witness.SignalSources, signal.Source)+1), strings.Join(signal.Values, ","),
				assuranceCode(signal.Assurance), nanoseconds(signal.ObservedAt), received, name)
			if err != nil {
				return 0, err
			}
			if is {
				kept++
			}
		}
	}
	return kept, nil
}
