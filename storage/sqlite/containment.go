package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// processKey is the process of a row: workload, instance, module and origin.
type processKey [4]int64

// processNames are the names of a process, but for its origin.
const processNames = "w.namespace, w.controller, w.container, w.image, i.host, i.pod, i.container, m.build_id, m.sha256, m.path"

// errEnough ends a query early.
var errEnough = errors.New("enough rows")

// Containment implements storage.ContainmentReader.
func (s *Storage) Containment(ctx context.Context, tenant string, query storage.ContainmentQuery) (page storage.ContainmentPage, err error) {
	err = s.view(ctx, "containment", tenant, func(v *snapshot) error {
		// Processes are in the order of their names, whatever order they came in. Names are looked up once for all rows: rows
		// are many for each process, and reading columns is what takes time.
		selected, args := "", []any(nil)
		if len(query.Workloads) > 0 || len(query.Matching) > 0 {
			workloads, err := v.matching(query.Workloads, query.Matching)
			if err != nil {
				return err
			}
			selected += " AND c.workload IN (SELECT value FROM json_each(?))"
			args = append(args, list(workloads))
		}
		if len(query.Hosts) > 0 {
			selected += " AND c.instance IN (SELECT id FROM instance WHERE host IN (SELECT value FROM json_each(?)))"
			args = append(args, list(query.Hosts))
		}
		if !query.From.IsZero() {
			selected += " AND c.observed >= ?"
			args = append(args, nanoseconds(query.From))
		}
		if !query.To.IsZero() {
			selected += " AND c.observed < ?"
			args = append(args, nanoseconds(query.To))
		}
		behind, limit := "", limitOf(query.Limit)
		all := append([]any{v.tenant}, args...)
		if query.After != "" {
			after, ok := parsePosition(query.After)
			if !ok {
				return storage.ErrPosition
			}
			behind = `WHERE (` + processNames + `, p.origin) > (?,?,?,?,?,?,?,?,?,?,?)`
			all = append(all, after.values()...)
		}
		all = append(append(all, limit+1, v.tenant), args...)
		statement := `WITH process AS (SELECT DISTINCT c.workload, c.instance, c.module, c.origin FROM containment c WHERE c.tenant = ?` + selected + `),
page AS MATERIALIZED (SELECT p.*, row_number() OVER (ORDER BY ` + processNames + `, p.origin) AS place
  FROM process p JOIN workload w ON w.id = p.workload JOIN instance i ON i.id = p.instance JOIN module m ON m.id = p.module ` + behind + `
  ORDER BY place LIMIT ?)
SELECT c.workload, c.instance, c.module, c.origin, c.signal, c.source, c.value, c.assurance, c.observed
FROM page CROSS JOIN containment c ON c.tenant = ? AND (c.workload, c.instance, c.module, c.origin) = (page.workload, page.instance, page.module, page.origin)` + selected + `
ORDER BY page.place, c.signal, c.source`
		var keys []processKey
		more := false
		err := v.each(statement, all, func(rows *sql.Rows) error {
			var key processKey
			var signal witness.Signal
			var value string
			var source, assurance, observed int64
			if err := rows.Scan(&key[0], &key[1], &key[2], &key[3], &signal.Name, &source, &value, &assurance, &observed); err != nil {
				return err
			}
			if n := len(keys); n == 0 || key != keys[n-1] {
				if n == limit {
					more = true
					return errEnough
				}
				keys = append(keys, key)
				page.Containment = append(page.Containment, witness.Containment{Origin: origins[key[3]-1]})
			}
			if value != "" {
				signal.Values = strings.Split(value, ",")
			}
			signal.Source, signal.Assurance, signal.ObservedAt = witness.SignalSources[source-1], assurances[assurance-1], timeOf(observed)
			of := &page.Containment[len(page.Containment)-1]
			of.Signals = append(of.Signals, signal)
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if err := v.nameProcesses(keys, page.Containment); err != nil || !more {
			return err
		}
		page.Next = positionOf(&page.Containment[limit-1], keys[limit-1][3])
		return nil
	})
	if err != nil {
		return storage.ContainmentPage{}, err
	}
	return page, nil
}

// nameProcesses fills in whose the rows of keys are.
func (v *snapshot) nameProcesses(keys []processKey, containment []witness.Containment) error {
	column := func(n int) []int64 {
		ids := make([]int64, 0, len(keys))
		for _, key := range keys {
			ids = append(ids, key[n])
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	workloads, err := v.workloads(column(0))
	if err != nil {
		return err
	}
	instances, err := v.instances(column(1))
	if err != nil {
		return err
	}
	modules := map[int64]witness.Module{}
	err = v.each("SELECT id, build_id, sha256, path FROM module WHERE id IN (SELECT value FROM json_each(?))", []any{list(column(2))}, func(rows *sql.Rows) error {
		var id int64
		var m witness.Module
		err := rows.Scan(&id, &m.BuildID, &m.SHA256, &m.Path)
		modules[id] = m
		return err
	})
	if err != nil {
		return err
	}
	for i, key := range keys {
		containment[i].Workload, containment[i].Instance, containment[i].Executable = workloads[key[0]], instances[key[1]], modules[key[2]]
	}
	return nil
}

// position is the names of a process, as a cursor has them: the same in every database that knows it.
type position struct {
	Names  [10]string
	Origin int64
}

func positionOf(c *witness.Containment, origin int64) string {
	w, i, m := &c.Workload, &c.Instance, &c.Executable
	text, err := json.Marshal(position{[10]string{
		w.Namespace, w.Controller, w.Container, w.Image, i.Host, i.Pod, i.Container, m.BuildID, m.SHA256, m.Path,
	}, origin})
	if err != nil { // texts only
		return ""
	}
	return string(text)
}

func parsePosition(text string) (at position, ok bool) {
	if json.Unmarshal([]byte(text), &at) != nil {
		return at, false
	}
	again, err := json.Marshal(at)
	return at, err == nil && string(again) == text
}

func (p *position) values() (values []any) {
	for _, name := range p.Names {
		values = append(values, name)
	}
	return append(values, p.Origin)
}

// matching returns the rows of workloads that are one of the first, or have what one of the second has.
func (v *snapshot) matching(exactly, like []witness.Workload) ([]int64, error) {
	var found []int64
	find := func(w witness.Workload, all bool) error {
		statement, args := "SELECT id FROM workload WHERE TRUE", []any(nil)
		for _, member := range []struct{ column, value string }{
			{"namespace", w.Namespace}, {"controller", w.Controller}, {"container", w.Container}, {"image", w.Image},
		} {
			if all || member.value != "" {
				statement += " AND " + member.column + " = ?"
				args = append(args, member.value)
			}
		}
		return v.each(statement, args, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			found = append(found, id)
			return err
		})
	}
	for _, w := range exactly {
		if err := find(w, true); err != nil {
			return nil, err
		}
	}
	for _, w := range like {
		if err := find(w, false); err != nil {
			return nil, err
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
