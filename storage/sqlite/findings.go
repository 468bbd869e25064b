package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

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
		statement := "SELECT json FROM finding WHERE tenant = ? AND id > ?"
		args := []any{v.tenant, query.After}
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
			if err := rows.Scan(&encoded); err != nil {
				return err
			}
			var finding witness.Finding
			err := json.Unmarshal(encoded, &finding)
			page.Findings = append(page.Findings, finding)
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
