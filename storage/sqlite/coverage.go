package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

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

// WriteCoverage implements storage.Writer.
func (s *Storage) WriteCoverage(ctx context.Context, principal storage.Principal, coverage []witness.Coverage) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if len(coverage) == 0 {
		return nil
	}
	err := s.writer.submit(ctx, len(coverage), func() error {
		tenant, name, err := s.writer.principal(principal)
		if err != nil {
			return err
		}
		received := s.now().UnixNano()
		for i := range coverage {
			if err := s.writer.coverage(tenant, name, received, &coverage[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write coverage: %w", err)
	}
	return nil
}

func (w *writer) coverage(tenant, principal, received int64, c *witness.Coverage) error {
	source, err := w.source(c.Source)
	if err != nil {
		return err
	}
	instance, err := w.instance(c.Instance)
	if err != nil {
		return err
	}
	workload, err := w.workload(c.Workload)
	if err != nil {
		return err
	}
	assurance := c.Assurance
	if !assurance.Valid() {
		assurance = witness.Asserted
	}
	var kinds int64
	for _, kind := range c.Kinds {
		kinds |= 1 << kindCode(kind)
	}
	return execute(w.addCoverage, tenant, nanoseconds(c.End), source, c.Signal, nanoseconds(c.Start), c.LossStage, c.StatusTarget, instance,
		workload, kinds, int64(c.Interval), number(c.ProcessesWatched), number(c.ProcessesSeen), number(c.Lost), c.StatusState,
		c.StatusReason, assuranceCode(assurance), received, principal)
}
