package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// swept is a table of interned rows, and who refers to them besides the foreign keys in the schema.
type swept struct {
	table string
	// others are queries of ids that are in use.
	others []string
	// owned are tables whose rows go with the row that their column names, which is called as the table.
	owned []string
	// used are the rows that the writer used since its caches were emptied.
	used func(c *caches, add func(int64))
}

// sweptTables come in the order in which rows of one can be the last to refer to rows of another.
var sweptTables = []swept{
	{table: "node", used: func(c *caches, add func(int64)) { ids(c.nodes, add) }},
	{table: "frame", used: func(c *caches, add func(int64)) { ids(c.frames, add) }},
	{table: "module", used: func(c *caches, add func(int64)) {
		for _, m := range c.modules.entries {
			add(m.id)
		}
	}},
	{table: "workload", others: []string{"SELECT workload FROM place"}, used: func(c *caches, add func(int64)) { ids(c.workloads, add) }},
	{table: "instance", others: []string{"SELECT instance FROM heard", "SELECT instance FROM place", "SELECT instance FROM total"}, used: func(c *caches, add func(int64)) { ids(c.instances, add) }},
	{table: "source", others: []string{"SELECT source FROM heard", "SELECT DISTINCT source FROM active"}, used: func(c *caches, add func(int64)) {
		for _, s := range c.sources.entries {
			add(s.id)
		}
	}},
	{table: "link", others: []string{"SELECT link FROM cell", "SELECT link FROM total"}, used: func(c *caches, add func(int64)) { ids(c.links, add) }},
	{table: "artifact", owned: []string{"artifact_name"}, used: func(c *caches, add func(int64)) { ids(c.artifacts, add) }},
	{table: "component", owned: []string{"component_name"}, used: func(c *caches, add func(int64)) { ids(c.components, add) }},
	{table: "text", others: []string{"SELECT principal FROM obs", "SELECT principal FROM rolled", "SELECT receiver FROM source"},
		used: func(c *caches, add func(int64)) { ids(c.texts, add) }},
}

func ids[K comparable](c *cache[K, int64], add func(int64)) {
	for _, id := range c.entries {
		add(id)
	}
}

// sweep deletes, if days were deleted since the last time, witnesses without observations, with what names them, and then
// what was interned for nobody else. The row with the highest id of a table stays, so that no id is ever used again.
func (s *Storage) sweep(ctx context.Context) error {
	w := s.writer
	due, err := s.marked(ctx, markSweep)
	if err != nil || due == 0 {
		return err
	}
	if err := errors.Join(s.sweepWitnesses(ctx), s.sweepHeard(ctx)); err != nil {
		return err
	}
	whole := true
	for i := range sweptTables {
		if sweptTables[i].table == "artifact" { // what is known of modules refers to artifacts and components
			if err := s.sweepKnown(ctx); err != nil {
				return err
			}
		}
		for more := true; more; { // a node that goes can have been the last to refer to another
			n, swept, err := s.sweepTable(ctx, &sweptTables[i])
			if err != nil {
				return err
			}
			whole = whole && swept
			more = swept && n > 0 && sweptTables[i].table == "node"
		}
	}
	if !whole {
		return nil // the next round tries again
	}
	return s.step(ctx, func() error { return w.change("UPDATE state SET value = 0 WHERE name = ?", markSweep) }, nil)
}

const (
	// sweepPart is how many rows are deleted at once.
	sweepPart = 500
	// sweepFound is how many rows to delete are looked for at once: to look takes as long as to read all that refers to them.
	sweepFound = 100 * sweepPart
)

// sweepWitnesses deletes witnesses and subjects of which there is no total.
func (s *Storage) sweepWitnesses(ctx context.Context) error {
	for _, t := range []struct{ find, remove string }{
		{"SELECT id FROM witness w WHERE id > ? AND NOT EXISTS (SELECT 1 FROM total WHERE witness = w.id) ORDER BY id LIMIT ?",
			"DELETE FROM witness WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM total WHERE witness = ?1) AND id < (SELECT max(id) FROM witness)"},
		{"SELECT id FROM subject s WHERE id > ? AND NOT EXISTS (SELECT 1 FROM witness WHERE subject = s.id) ORDER BY id LIMIT ?",
			"DELETE FROM subject WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM witness WHERE subject = ?1) AND id < (SELECT max(id) FROM subject)"},
	} {
		for last := int64(0); ; {
			found, err := numbers(ctx, s.upkeep.look, 1, t.find, last, sweepPart)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				break
			}
			last = found[len(found)-1][0]
			if err := s.maintain(ctx, func(w *writer) error {
				w.forget() // they know rows that go
				for _, id := range found {
					n, err := w.changed(t.remove, id[0])
					if err == nil && n > 0 && strings.HasPrefix(t.remove, "DELETE FROM witness") {
						err = w.change("DELETE FROM named WHERE witness = ?", id[0])
					}
					if err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepHeard forgets who spoke of an instance when nothing is left of it.
func (s *Storage) sweepHeard(ctx context.Context) error {
	return s.sweepKeys(ctx, 2, `SELECT instance, source FROM heard WHERE (instance, source) > (?1, ?2) AND (instance, source) NOT IN (SELECT instance, source FROM active)
ORDER BY instance, source LIMIT ?3`, func(w *writer, h []int64) error {
		// It may have spoken since, of windows before the horizon no more.
		return w.change(`DELETE FROM heard WHERE instance = ?1 AND source = ?2 AND NOT EXISTS (
SELECT 1 FROM (SELECT DISTINCT start / 3600000000000 AS hour FROM window WHERE start >= ?3) x JOIN active a ON a.hour = x.hour AND a.instance = ?1 AND a.source = ?2)`,
			h[0], h[1], w.horizon)
	})
}

// sweepKnown forgets what is known of modules that are no more, and of symbols without module.
func (s *Storage) sweepKnown(ctx context.Context) error {
	for _, table := range []string{"known_artifact", "known_component"} {
		err := s.sweepKeys(ctx, 3, "SELECT tenant, module, part FROM "+table+` k WHERE (tenant, module, part) > (?1, ?2, ?3)
AND CASE k.module WHEN 0 THEN k.part NOT IN (SELECT symbol FROM frame WHERE module = 0) ELSE k.module NOT IN (SELECT key FROM module) END
ORDER BY tenant, module, part LIMIT ?4`, func(w *writer, k []int64) error {
			// The module may have come back since.
			return w.change("DELETE FROM "+table+` WHERE tenant = ?1 AND module = ?2 AND part = ?3
AND CASE ?2 WHEN 0 THEN NOT EXISTS (SELECT 1 FROM subject WHERE tenant = ?1 AND module = 0 AND part = ?3) ELSE NOT EXISTS (SELECT 1 FROM module WHERE key = ?2) END`,
				k[0], k[1], k[2])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepKeys has rows deleted that a query finds by their key of n integers: those behind a key, in its order, up to a limit.
func (s *Storage) sweepKeys(ctx context.Context, n int, find string, remove func(w *writer, key []int64) error) error {
	last := make([]any, n)
	for i := range last {
		last[i] = int64(math.MinInt64)
	}
	for {
		found, err := numbers(ctx, s.upkeep.look, n, find, append(slices.Clone(last), s.upkeep.found)...)
		if err != nil || len(found) == 0 {
			return err
		}
		for i := range last {
			last[i] = found[len(found)-1][i]
		}
		for part := range slices.Chunk(found, sweepPart) {
			if err := s.step(ctx, func() error {
				s.writer.forget()
				for _, key := range part {
					if err := remove(s.writer, key); err != nil {
						return err
					}
				}
				return nil
			}, nil); err != nil {
				return err
			}
		}
	}
}

// sweepTable deletes the rows of a table that nothing refers to. What is in use is read aside, while others write: what
// they use meanwhile is in the caches, which were emptied before.
func (s *Storage) sweepTable(ctx context.Context, t *swept) (n int, whole bool, err error) {
	w := s.writer
	var emptied uint64
	var highest int64
	if err := s.step(ctx, func() error {
		// What came before is in the file, derived rows included, and what comes from here on in the caches.
		if err := w.rewrite(); err != nil {
			return err
		}
		w.forget()
		emptied = s.emptied.Load()
		return w.conn.QueryRowContext(context.Background(), "SELECT coalesce(max(id), 0) FROM "+t.table).Scan(&highest)
	}, nil); err != nil {
		return n, false, err
	}
	queries, err := s.references(ctx, t)
	if err != nil {
		return n, false, err
	}
	find := fmt.Sprintf("SELECT id FROM %s WHERE id > ? AND id < ? AND id NOT IN (%s) ORDER BY id LIMIT ?", t.table, strings.Join(queries, " UNION ALL "))
	for last := int64(0); ; {
		unused, err := numbers(ctx, s.upkeep.look, 1, find, last, highest, s.upkeep.found)
		if err != nil || len(unused) == 0 {
			return n, err == nil, err
		}
		last = unused[len(unused)-1][0]
		for part := range slices.Chunk(unused, sweepPart) {
			if err := s.step(ctx, func() error {
				if whole = s.emptied.Load() == emptied; !whole { // no cache knows any more what was used
					return nil
				}
				used := set{}
				t.used(&w.caches, used.add)
				for _, id := range part {
					if _, ok := used[id[0]]; ok {
						continue
					}
					for _, owned := range t.owned {
						if err := w.change("DELETE FROM "+owned+" WHERE "+t.table+" = ?", id[0]); err != nil {
							return err
						}
					}
					if err := w.change("DELETE FROM "+t.table+" WHERE id = ?", id[0]); err != nil {
						return err
					}
					n++
				}
				return nil
			}, nil); err != nil || !whole {
				return n, false, err
			}
		}
	}
}

// references are queries of the ids in use: by foreign keys, and others.
func (s *Storage) references(ctx context.Context, t *swept) ([]string, error) {
	rows, err := s.upkeep.look.QueryContext(ctx, `SELECT m.name, f."from" FROM sqlite_schema m CROSS JOIN pragma_foreign_key_list(m.name) f
WHERE m.type = 'table' AND f."table" = ? ORDER BY 1, 2`, t.table)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	queries := append([]string(nil), t.others...)
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			return nil, err
		}
		owned := false
		for _, name := range t.owned {
			owned = owned || name == table
		}
		if !owned {
			queries = append(queries, fmt.Sprintf("SELECT %s FROM %s WHERE %[1]s IS NOT NULL", column, table))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(queries) == 0 {
		return nil, errors.New("nothing refers to " + t.table)
	}
	return queries, nil
}
