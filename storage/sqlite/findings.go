package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Finding implements storage.Reader.
func (s *Storage) Finding(ctx context.Context, tenant, id string) (finding witness.Finding, err error) {
	err = s.view(ctx, "finding", tenant, func(v *snapshot) error {
		var encoded []byte
		err := v.tx.QueryRowContext(ctx, "SELECT json FROM finding WHERE tenant = ? AND id = ?", v.tenant, id).Scan(&encoded)
		if errors.Is(err, sql.ErrNoRows) {
			return storage.ErrNotFound
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(encoded, &finding)
	})
	return finding, err
}

// Findings implements storage.Reader.
func (s *Storage) Findings(ctx context.Context, tenant string, query storage.FindingQuery) (page storage.FindingPage, err error) {
	limit := limitOf(query.Limit)
	err = s.view(ctx, "findings", tenant, func(v *snapshot) error {
		statement := "SELECT json, received FROM finding WHERE tenant = ? AND id > ?"
		args := []any{v.tenant, query.After}
		if query.IDs != nil {
			statement += " AND id IN (SELECT value FROM json_each(?))"
			args = append(args, list(query.IDs))
		}
		if query.Component != "" {
			statement += " AND component = ?"
			args = append(args, query.Component)
		}
		return v.each(statement+" ORDER BY id LIMIT ?", append(args, limit+1), func(rows *sql.Rows) error {
			if len(page.Findings) == limit {
				page.More = true
				return nil
			}
			var encoded sql.RawBytes
			var received int64
			if err := rows.Scan(&encoded, &received); err != nil {
				return err
			}
			var finding witness.Finding
			err := json.Unmarshal(encoded, &finding)
			page.Findings, page.Changed = append(page.Findings, finding), append(page.Changed, timeOf(received))
			return err
		})
	})
	if err != nil {
		return storage.FindingPage{}, err
	}
	return page, nil
}

// PutFinding implements storage.Writer.
func (s *Storage) PutFinding(ctx context.Context, principal storage.Principal, finding witness.Finding) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	created := false
	err := s.writer.submit(ctx, 1, func() error {
		tenant, name, err := s.writer.principal(principal)
		if err != nil {
			return err
		}
		var one int
		err = s.writer.findFinding.QueryRowContext(context.Background(), tenant, finding.ID).Scan(&one)
		if created = errors.Is(err, sql.ErrNoRows); err != nil && !created {
			return err
		}
		return s.writer.finding(tenant, name, s.now().UnixNano(), &finding)
	})
	if err != nil {
		return false, fmt.Errorf("put finding: %w", err)
	}
	return created, nil
}

func (w *writer) finding(tenant, principal, received int64, finding *witness.Finding) error {
	encoded, err := json.Marshal(finding)
	if err != nil {
		return err
	}
	w.changes.finding(tenant, finding.ID)
	return execute(w.putFinding, tenant, finding.ID, finding.Scope, finding.Component, string(encoded), received, principal)
}

// DeleteFinding implements storage.Writer.
func (s *Storage) DeleteFinding(ctx context.Context, principal storage.Principal, id string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	deleted := false
	err := s.writer.submit(ctx, 1, func() error {
		tenant, _, err := s.writer.principal(principal)
		if err != nil {
			return err
		}
		s.writer.changes.finding(tenant, id)
		deleted, err = added(s.writer.deleteFinding, tenant, id)
		return err
	})
	if err == nil && !deleted {
		err = storage.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete finding: %w", err)
	}
	return nil
}

// ReplaceFindings implements storage.Writer. A finding that leaves the scope, but that traces named, stays without its
// description.
func (s *Storage) ReplaceFindings(ctx context.Context, principal storage.Principal, scope string, findings []witness.Finding) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	ids := make([]string, len(findings))
	for i := range findings {
		ids[i] = findings[i].ID
	}
	kept, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	err = s.writer.submit(ctx, len(findings)+1, func() error {
		tenant, name, err := s.writer.principal(principal)
		if err != nil {
			return err
		}
		if err := s.writer.noteScope(tenant, scope); err != nil {
			return err
		}
		for _, statement := range []*sql.Stmt{s.writer.deleteScope, s.writer.bareScope} {
			if err := execute(statement, tenant, scope, string(kept)); err != nil {
				return err
			}
		}
		received := s.now().UnixNano()
		for _, finding := range findings {
			finding.Scope = scope
			if err := s.writer.finding(tenant, name, received, &finding); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("replace findings: %w", err)
	}
	return nil
}

// noteScope tells that the findings of a scope may change.
func (w *writer) noteScope(tenant int64, scope string) error {
	rows, err := w.scopeFindings.QueryContext(context.Background(), tenant, scope)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		w.changes.finding(tenant, id)
	}
	return rows.Err()
}

// NamedSubjects implements storage.Reader. Each witness is read once, however many findings it was named for.
func (s *Storage) NamedSubjects(ctx context.Context, tenant string, findings []string, limit int) ([]storage.NamedSubject, error) {
	type key struct {
		finding string
		subject int64
	}
	var named []storage.NamedSubject
	var witnesses []witnessRow
	of := map[int64][]int64{} // places in named, by witness
	places := []set{}         // workloads, by place in named
	all, subjects := set{}, set{}
	err := s.view(ctx, "named subjects", tenant, func(v *snapshot) error {
		at := map[key]int64{}
		err := v.each(`SELECT j.value, w.subject, w.id, w.workload, s.kind FROM json_each(?2) j
CROSS JOIN text t ON t.text = j.value
CROSS JOIN named n ON n.tenant = ?1 AND n.finding = t.id
CROSS JOIN witness w ON w.id = n.witness CROSS JOIN subject s ON s.id = w.subject
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`, []any{v.tenant, list(findings)}, func(rows *sql.Rows) error {
			if limit--; limit < 0 {
				return storage.ErrTooMany
			}
			var k key
			var w witnessRow
			if err := rows.Scan(&k.finding, &k.subject, &w.id, &w.workload, &w.kind); err != nil {
				return err
			}
			i, ok := at[k]
			if !ok {
				i = int64(len(named))
				at[k] = i
				named = append(named, storage.NamedSubject{Finding: k.finding, Subject: subjectID(k.subject)})
				places = append(places, set{})
			}
			if w.subject = k.subject; of[w.id] == nil {
				witnesses = append(witnesses, w)
			}
			of[w.id] = append(of[w.id], i)
			places[i].add(w.workload)
			all.add(w.workload)
			subjects.add(w.subject)
			return nil
		})
		if err != nil || len(named) == 0 {
			return err
		}
		rows, err := v.workloads(all.list())
		for i := range named {
			named[i].Workloads = sortedWorkloads(rows, places[i])
		}
		return err
	})
	if err != nil || len(named) == 0 {
		return nil, err
	}
	sc := &scope{extra: witnesses}
	err = s.consistent(ctx, "named subjects", tenant, func(d *derived) { sc.frozen = needs{places: true, cells: true}.freeze(d, subjects.list()) }, func(v *snapshot) error {
		rows := gathering{} // by place in named
		if err := v.scanExtra(sc, &storage.Filter{}, 0, math.MaxInt64, func(c *delta) {
			part := *c
			for _, part.witness.subject = range of[c.witness.id] {
				rows.add(&part)
			}
		}); err != nil {
			return err
		}
		if err := rows.finish(v, reached{}); err != nil {
			return err
		}
		for i, total := range rows {
			named[i].Total = total.public()
		}
		return nil
	})
	return named, err
}

func sortedWorkloads(rows map[int64]witness.Workload, ids set) []witness.Workload {
	found := make([]witness.Workload, 0, len(ids))
	for id := range ids {
		found = append(found, rows[id])
	}
	slices.SortFunc(found, compareWorkloads)
	return found
}

// SubjectWorkloads implements storage.Reader.
func (s *Storage) SubjectWorkloads(ctx context.Context, tenant string, subjects []string) (map[string][]witness.Workload, error) {
	found := map[string][]witness.Workload{}
	err := s.view(ctx, "subject workloads", tenant, func(v *snapshot) error {
		bySubject, all := map[int64]set{}, set{}
		err := v.each(`SELECT r.subject, r.value FROM json_each(?2) j CROSS JOIN subject s ON s.id = j.value AND s.tenant = ?1
CROSS JOIN reach r ON r.subject = s.id AND r.dimension = ?3`,
			[]any{v.tenant, list(subjectRows(subjects)), workloads + 1}, func(rows *sql.Rows) error {
				var subject, workload int64
				err := rows.Scan(&subject, &workload)
				if bySubject[subject] == nil {
					bySubject[subject] = set{}
				}
				bySubject[subject].add(workload)
				all.add(workload)
				return err
			})
		if err != nil {
			return err
		}
		rows, err := v.workloads(all.list())
		for subject, ids := range bySubject {
			found[subjectID(subject)] = sortedWorkloads(rows, ids)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
