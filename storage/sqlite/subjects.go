package sqlite

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// Subjects implements storage.Reader.
func (s *Storage) Subjects(ctx context.Context, tenant string, query storage.SubjectQuery) (subjects []storage.Subject, err error) {
	components := make([]string, len(query.Components))
	for i, component := range query.Components {
		components[i] = fold(component)
	}
	err = s.view(ctx, "subjects", tenant, func(v *snapshot) error {
		named := map[int64]bool{}
		ids := map[int64]struct{}{}
		packages, vendored, err := v.vendored(query.Packages)
		if err != nil {
			return err
		}
		// The order of the joins is that of their nesting: nothing tells SQLite that few are asked for.
		for _, by := range []struct {
			when  bool
			query string
			value string
			named bool
		}{
			{len(query.IDs) > 0, `SELECT id FROM subject WHERE +tenant = ?1 AND id IN (SELECT value FROM json_each(?2))`, list(subjectRows(query.IDs)), false},
			{query.Finding != "", `SELECT DISTINCT w.subject FROM named n JOIN witness w ON w.id = n.witness
WHERE n.tenant = ?1 AND n.finding = (SELECT id FROM text WHERE text = ?2)`, query.Finding, true},
			{len(query.Members) > 0, `SELECT id FROM subject WHERE tenant = ?1 AND member <> 0
AND member IN (SELECT id FROM text WHERE text IN (SELECT value FROM json_each(?2)))`, list(query.Members), false},
			{len(packages) > 0, `SELECT id FROM subject WHERE tenant = ?1 AND package <> 0
AND package IN (SELECT id FROM text WHERE text IN (SELECT value FROM json_each(?2)))`, list(packages), false},
			{len(vendored) > 0, `SELECT id FROM subject WHERE tenant = ?1 AND package <> 0 AND package IN (SELECT value FROM json_each(?2))`,
				list(vendored), false},
			{len(components) > 0, `SELECT s.id FROM json_each(?2) j
CROSS JOIN component_name n ON n.name = j.value
CROSS JOIN known_component k ON k.tenant = ?1 AND k.component = n.component
CROSS JOIN subject s ON s.tenant = k.tenant AND s.module = k.module AND s.part = k.part`, list(components), false},
			{len(components) > 0, `SELECT s.id FROM json_each(?2) j
CROSS JOIN artifact_name n ON n.name = j.value
CROSS JOIN known_artifact k ON k.tenant = ?1 AND k.artifact = n.artifact
CROSS JOIN subject s ON s.tenant = k.tenant AND s.module = k.module AND (k.part = 0 OR k.part = s.part)
WHERE s.module <> 0 OR k.part = s.part`, list(components), false},
		} {
			if !by.when {
				continue
			}
			err := v.each(by.query, []any{v.tenant, by.value}, func(rows *sql.Rows) error {
				var id int64
				err := rows.Scan(&id)
				if ids[id] = struct{}{}; query.Limit > 0 && len(ids) > query.Limit {
					return storage.ErrTooMany
				}
				if by.named {
					named[id] = true
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		subjects, err = v.subjects(slices.Sorted(maps.Keys(ids)))
		for i := range subjects {
			subjects[i].Named = named[subjectRow(subjects[i].ID)]
		}
		return err
	})
	return subjects, err
}

// vendored tells packages that are asked for exactly from those that are asked for by their end, and finds the texts that
// these are.
func (v *snapshot) vendored(asked []string) (exact []string, texts []int64, err error) {
	ends := map[string]bool{}
	for _, pkg := range asked {
		if strings.HasPrefix(pkg, vendorMark) {
			ends[pkg] = true
		} else {
			exact = append(exact, pkg)
		}
	}
	if len(ends) == 0 {
		return exact, nil, nil
	}
	err = v.each("SELECT id, text FROM text WHERE instr(text, '/vendor/') > 0", nil, func(rows *sql.Rows) error {
		var id int64
		var text string
		err := rows.Scan(&id, &text)
		if at := strings.LastIndex(text, vendorMark); at >= 0 && ends[text[at:]] {
			texts = append(texts, id)
		}
		return err
	})
	return exact, texts, err
}

const vendorMark = "/vendor/"

// subjects returns the subjects with these ids, in that order.
func (v *snapshot) subjects(ids []int64) ([]storage.Subject, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	type row struct{ kind, frame int64 }
	rows := make(map[int64]row, len(ids))
	frameIDs := make([]int64, 0, len(ids))
	err := v.each("SELECT id, kind, frame FROM subject WHERE id IN (SELECT value FROM json_each(?))", []any{list(ids)}, func(r *sql.Rows) error {
		var id int64
		var one row
		err := r.Scan(&id, &one.kind, &one.frame)
		rows[id] = one
		frameIDs = append(frameIDs, one.frame)
		return err
	})
	if err != nil {
		return nil, err
	}
	frames, err := v.frames(frameIDs)
	if err != nil {
		return nil, err
	}
	known, err := v.known(ids)
	if err != nil {
		return nil, err
	}
	artifactIDs := make([]int64, 0, len(ids))
	for _, j := range known {
		artifactIDs = append(artifactIDs, j.artifact)
	}
	artifacts, err := v.artifacts(artifactIDs)
	if err != nil {
		return nil, err
	}
	found := make([]storage.Subject, 0, len(ids))
	for _, id := range ids {
		one, ok := rows[id]
		if !ok {
			continue
		}
		found = append(found, storage.Subject{
			ID: subjectID(id), Kind: kindOf(one.kind), Frame: frames[one.frame], Artifact: artifacts[known[id].artifact],
		})
	}
	return found, nil
}

func subjectRows(ids []string) []int64 {
	rows := make([]int64, len(ids))
	for i, id := range ids {
		rows[i] = subjectRow(id)
	}
	return rows
}
