package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/storagetest"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// derivedRows are the rows of the derived tables, as text, sorted.
type derivedRows []string

// heldAndFolded are the derived rows of the file, with those in memory in their place.
func heldAndFolded(t require.TestingT, s *Storage) derivedRows {
	var found derivedRows
	d := s.writer.derived
	err := s.consistent(context.Background(), "test", "", func(*derived) {}, func(v *snapshot) error {
		totals, places, cells, subjects := map[int64]totalRow{}, map[placeKey]placeRow{}, map[cellKey]cellRow{}, map[int64]subjectTotal{}
		for query, row := range map[string]func(*sql.Rows) error{
			"SELECT " + totalColumns + " FROM total t JOIN witness w ON w.id = t.witness": func(rows *sql.Rows) error {
				id, r, err := scanTotal(rows)
				totals[id] = r
				return err
			},
			"SELECT * FROM place": func(rows *sql.Rows) error {
				var k placeKey
				var r placeRow
				err := rows.Scan(&k.subject, &k.workload, &k.instance, &k.assurance, &r.hits, &r.last)
				places[k] = r
				return err
			},
			"SELECT * FROM cell": func(rows *sql.Rows) error {
				var k cellKey
				var r cellRow
				err := rows.Scan(&k.hour, &k.subject, &k.link, &k.assurance, &r.hits, &r.longest)
				cells[k] = r
				return err
			},
			"SELECT * FROM subject_total": func(rows *sql.Rows) error {
				var id int64
				var r subjectTotal
				err := rows.Scan(&id, &r.tenant, &r.kind, &r.hits, &r.measured, &r.first, &r.last, &r.lastMeasured, &r.witnesses, &r.reach[hosts],
					&r.reach[containers], &r.reach[images], &r.reach[namespaces], &r.reach[workloads])
				subjects[id] = r
				return err
			},
		} {
			if err := v.each(query, nil, row); err != nil {
				return err
			}
		}
		d.lock.RLock()
		defer d.lock.RUnlock()
		overlay(totals, &d.totals)
		overlay(places, &d.places)
		overlay(cells, &d.cells)
		overlay(subjects, &d.subjects)
		found = slices.Concat(rowsOf("total", totals), rowsOf("place", places), rowsOf("cell", cells), rowsOf("subject", subjects))
		return nil
	})
	require.NoError(t, err)
	return found
}

func overlay[K comparable, V derivedRow](rows map[K]V, t *table[K, V]) {
	for i := range t.rows {
		if h := &t.rows[i]; h.row.gone() {
			delete(rows, h.key)
		} else {
			rows[h.key] = h.row
		}
	}
}

func rowsOf[K comparable, V any](table string, rows map[K]V) derivedRows {
	var found derivedRows
	for key, row := range rows {
		found = append(found, fmt.Sprintf("%s %v: %+v", table, key, row))
	}
	slices.Sort(found)
	return found
}

// rederived are the derived rows as obs and rolled have them.
func rederived(t require.TestingT, s *Storage) derivedRows {
	totals, places, cells, subjects := map[int64]totalRow{}, map[placeKey]placeRow{}, map[cellKey]cellRow{}, map[int64]subjectTotal{}
	witnesses := map[int64]set{}
	names := map[int64]map[string]struct{}{}
	for _, table := range []string{"obs", "rolled"} {
		rows, err := s.read.Query(`SELECT o.start, o.length, o.instance, o.assurance, o.origin, o.link, o.subject_hits, o.witness_hits, o.hits_error, o.first, o.last,
  w.id, w.witness, w.tenant, w.subject, w.workload, w.created, k.kind, i.host, i.container, l.image, l.namespace, l.controller, l.container
FROM ` + table + ` o JOIN witness w ON w.id = o.witness JOIN subject k ON k.id = w.subject JOIN instance i ON i.id = o.instance JOIN workload l ON l.id = w.workload`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var c delta
			var id []byte
			var host, container, image, namespace, controller, name string
			require.NoError(t, rows.Scan(&c.start, &c.length, &c.instance, &c.assurance, &c.origin, &c.link, &c.subjectHits, &c.witnessHits, &c.hitsError,
				&c.first, &c.last, &c.witness.id, &id, &c.witness.tenant, &c.witness.subject, &c.witness.workload, &c.witness.created, &c.witness.kind,
				&host, &container, &image, &namespace, &controller, &name))
			copy(c.id[:], id)
			totals[c.witness.id] = totals[c.witness.id].add(&c)
			places[c.place()] = places[c.place()].add(&c)
			cells[c.cell()] = cells[c.cell()].add(&c)
			of := c.witness.subject
			subjects[of] = subjects[of].add(&c)
			if witnesses[of] == nil {
				witnesses[of], names[of] = set{}, map[string]struct{}{}
			}
			witnesses[of].add(c.witness.id)
			workload := namespace + "/" + controller + "/" + name + "/" + image
			if workload == "///" {
				workload = ""
			}
			for dimension, value := range [dimensions]string{hosts: host, containers: container, images: image, namespaces: namespace, workloads: workload} {
				if value != "" {
					names[of][fmt.Sprint(dimension, value)] = struct{}{}
				}
			}
		}
		require.NoError(t, rows.Err())
	}
	for id, of := range subjects {
		of.witnesses = int64(len(witnesses[id]))
		for name := range names[id] {
			of.reach[name[0]-'0']++
		}
		subjects[id] = of
	}
	return slices.Concat(rowsOf("total", totals), rowsOf("place", places), rowsOf("cell", cells), rowsOf("subject", subjects))
}

func sameDerived(t require.TestingT, s *Storage, message string) {
	want, got := rederived(t, s), heldAndFolded(t, s)
	if slices.Equal(want, got) {
		return
	}
	var wrong []string
	for _, row := range want {
		if !slices.Contains(got, row) {
			wrong = append(wrong, "missing "+row)
		}
	}
	for _, row := range got {
		if !slices.Contains(want, row) {
			wrong = append(wrong, "wrong "+row)
		}
	}
	require.Empty(t, wrong, message)
}

// crashed opens a copy of an open database, as a kill would leave it.
func crashed(t *testing.T, s *Storage) *Storage {
	path := filepath.Join(t.TempDir(), "witness.db")
	require.NoError(t, s.writer.submit(context.Background(), 1, func() error { // so that nothing else is written
		for _, suffix := range []string{"", "-wal"} {
			from, err := os.Open(s.path + suffix)
			if err != nil {
				return err
			}
			to, err := os.Create(path + suffix)
			if err != nil {
				return errors.Join(err, from.Close())
			}
			_, err = io.Copy(to, from)
			if err := errors.Join(err, from.Close(), to.Close()); err != nil {
				return err
			}
		}
		return nil
	}))
	return openFolding(t, path, s.now, s.writer.limits)
}

// openFolding opens a database that folds within limits.
func openFolding(t testing.TB, path string, now func() time.Time, limits foldLimits) *Storage {
	s, err := Open(context.Background(), Options{Path: path, Now: now, fold: limits})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// pieces are limits with which something is always being folded, a few rows at a time.
var pieces = foldLimits{dirty: 1000, every: time.Millisecond, rows: 2, time: time.Hour}

// What is derived is what the rows add up to, whenever it is folded, after a crash, and after one after a crash.
func TestDerivedRowsAreFunctionsOfTheRows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		limits := usualLimits
		if rapid.Bool().Draw(r, "in pieces") {
			limits = pieces
		}
		s := openFolding(t, filepath.Join(t.TempDir(), "witness.db"), nil, limits)
		any := rapid.Custom(func(r *rapid.T) witness.Observation {
			all := observations(6, rapid.IntRange(0, 70).Draw(r, "minutes ago"))
			o := all[rapid.IntRange(0, 5).Draw(r, "witness")]
			o.Witness.Frame.Symbol = rapid.SampledFrom([]string{"f", "g"}).Draw(r, "symbol")
			o.Witness.Workload.Namespace = rapid.SampledFrom([]string{"", "n1"}).Draw(r, "namespace")
			o.ID = o.Witness.ID()
			o.Source = rapid.SampledFrom([]string{"a/1/x", "a/2/x", "b/1/x", "post/1/http"}).Draw(r, "source")
			o.Instance.Host = rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(r, "host")
			o.Hits = rapid.Uint64Range(1, 9).Draw(r, "hits")
			o.Flush = rapid.Uint64Range(0, 1).Draw(r, "flush")
			o.Artifact.PURL = rapid.SampledFrom([]string{"", "pkg:golang/app@v1", "pkg:golang/app@v2"}).Draw(r, "artifact")
			if rapid.Bool().Draw(r, "asserted") {
				o.Assurance = witness.Asserted
			}
			return o
		})
		r.Repeat(map[string]func(*rapid.T){
			"write": func(r *rapid.T) {
				_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: rapid.SliceOfN(any, 1, 20).Draw(r, "observations")})
				require.NoError(r, err)
			},
			"fold": func(r *rapid.T) {
				require.NoError(r, s.maintain(context.Background(), func(*writer) error { return nil }))
			},
			"fold and keep": func(r *rapid.T) {
				require.NoError(r, s.writer.submit(context.Background(), 1, s.writer.fold))
			},
			"fold ahead": func(r *rapid.T) {
				require.NoError(r, s.foldAhead(context.Background()))
				require.Zero(r, s.writer.derived.dirty(), "in parts, and all of it")
			},
			"crash": func(r *rapid.T) {
				if rapid.IntRange(0, 2).Draw(r, "rarely") == 0 {
					s = crashed(t, s)
				}
			},
			"": func(r *rapid.T) { sameDerived(r, s, "held and folded") },
		})
		s = crashed(t, s)
		sameDerived(r, s, "after a crash")
	})
}

// The histories of the conformance suite, but every restart is a crash, often in the middle of a fold.
func TestConformanceAfterCrashes(t *testing.T) {
	storagetest.Run(t,
		func(t *testing.T, now func() time.Time) storage.Storage {
			return openFolding(t, filepath.Join(t.TempDir(), "witness.db"), now, pieces)
		},
		func(t *testing.T, s storage.Storage, _ func() time.Time) storage.Storage {
			return crashed(t, s.(*Storage))
		})
}

func TestBehindTheHorizon(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	all := observations(3, 10)
	late := observations(2, 20)
	require.NoError(t, s.maintain(context.Background(), func(w *writer) error { return w.moveHorizon(all[0].WindowStart.UnixNano()) }))
	for range 2 {
		written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: slices.Concat(all[:1], late, all[1:])})
		require.NoError(t, err)
		assert.Equal(t, 3, written.Stored+written.Duplicates)
		require.Len(t, written.Refused, 2)
		assert.Equal(t, []int{1, 2}, []int{written.Refused[0].Index, written.Refused[1].Index})
		assert.Contains(t, written.Refused[0].Reason, "rolled up")
	}
	assert.EqualValues(t, 4, s.Stats().RefusedBehind)
	assert.Zero(t, s.Stats().RefusedMalformed)
	coverage, err := s.Coverage(context.Background(), "", storage.CoverageQuery{})
	require.NoError(t, err)
	require.Len(t, coverage, 1)
	assert.Equal(t, []any{"storage.behind_horizon", uint64(2)}, []any{coverage[0].LossStage, coverage[0].Lost}, "once, though it was delivered twice")
	s = crashed(t, s)
	written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: late})
	require.NoError(t, err)
	assert.Len(t, written.Refused, 2, "the horizon stays")
}
