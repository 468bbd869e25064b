package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
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

// Coverage implements storage.Reader.
func (s *Storage) Coverage(ctx context.Context, tenant string, query storage.CoverageQuery) (coverage []witness.Coverage, err error) {
	limit := query.Limit
	if limit <= 0 {
		limit = defaultCoverage
	}
	err = s.view(ctx, "coverage", tenant, func(v *snapshot) error {
		statement := `SELECT s.text, i.host, i.pod, i.container, w.namespace, w.controller, w.container, w.image, c.signal, c.kinds, c.start, c.end,
  c.interval, c.watched, c.seen, c.lost, c.loss_stage, c.status_target, c.status_state, c.status_reason, c.assurance
FROM coverage c JOIN source s ON s.id = c.source JOIN instance i ON i.id = c.instance JOIN workload w ON w.id = c.workload
WHERE c.tenant = ?`
		args := []any{v.tenant}
		if !query.From.IsZero() { // an interval without length is in [from, to) when its start is
			statement += " AND c.end >= ? AND (c.end > ? OR c.start = c.end)"
			args = append(args, nanoseconds(query.From), nanoseconds(query.From))
		}
		if !query.To.IsZero() {
			statement += " AND c.start < ?"
			args = append(args, nanoseconds(query.To))
		}
		if len(query.Hosts) > 0 {
			statement += " AND i.host IN (SELECT value FROM json_each(?))"
			args = append(args, list(query.Hosts))
		}
		statement += " ORDER BY c.start DESC, c.end DESC, s.text, c.signal, c.loss_stage, c.status_target LIMIT ?"
		return v.each(statement, append(args, limit), func(rows *sql.Rows) error {
			var c witness.Coverage
			var kinds, start, end, assurance int64
			if err := rows.Scan(&c.Source, &c.Instance.Host, &c.Instance.Pod, &c.Instance.Container, &c.Workload.Namespace,
				&c.Workload.Controller, &c.Workload.Container, &c.Workload.Image, &c.Signal, &kinds, &start, &end, &c.Interval,
				&c.ProcessesWatched, &c.ProcessesSeen, &c.Lost, &c.LossStage, &c.StatusTarget, &c.StatusState, &c.StatusReason, &assurance); err != nil {
				return err
			}
			for _, kind := range witness.Kinds {
				if kinds&(1<<kindCode(kind)) != 0 {
					c.Kinds = append(c.Kinds, kind)
				}
			}
			c.Start, c.End, c.Assurance = timeOf(start), timeOf(end), assurances[assurance-1]
			coverage = append(coverage, c)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(coverage)
	return coverage, nil
}
