package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestRememberedIsBounded(t *testing.T) {
	var emptied atomic.Uint64
	r := newRemembered[int64](8, &emptied)
	for id := range int64(100) {
		r.add(map[int64]int64{id: -id})
		if id > 0 { // what is asked for again and again stays
			found, missing := r.find([]int64{0, id, 1000})
			assert.Equal(t, map[int64]int64{0: 0, id: -id}, found)
			assert.Equal(t, []int64{1000}, missing)
		}
		assert.LessOrEqual(t, len(r.young)+len(r.old), 8)
	}
	assert.Positive(t, emptied.Load())
	_, missing := r.find([]int64{1})
	assert.Len(t, missing, 1, "it is forgotten")
}

// What readers remember by id is never taken for something else, though what is old is deleted and forgotten by the file
// in between, the rows that were added last among it.
func TestRememberedRowsAreNeverOthers(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	s, err := Open(context.Background(), Options{
		Path: filepath.Join(t.TempDir(), "witness.db"), Now: func() time.Time { return now }, Life: Life{MaxAge: 48 * time.Hour},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tables := []string{"text", "module", "frame", "node", "workload", "instance", "source", "artifact", "component", "link", "subject", "witness"}
	highest := map[string]int64{}
	tick := func() { // the clock of the upkeep is that of events; this one has the lowest ids
		o := observations(1, 0)[0]
		o.WindowStart = now.Add(-time.Hour).Truncate(time.Minute)
		o.WindowEnd, o.FirstSeen, o.LastSeen = o.WindowStart.Add(time.Minute), o.WindowStart, o.WindowStart
		_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: []witness.Observation{o}})
		require.NoError(t, err)
	}
	tick()
	for generation := range 4 {
		expected := map[witness.ID]witness.Observation{}
		var all []witness.Observation
		for i := range 30 {
			o := numbered(i)
			name := fmt.Sprintf("g%d/%d", generation, i)
			o.Witness.Frame.Symbol, o.Witness.Frame.Package, o.Witness.Frame.Member = name, name, name
			o.Witness.Path[0].Symbol, o.Witness.Path[1].File = name, name
			o.Witness.Frame.Component = "pkg:golang/" + name + "@v1"
			o.Witness.Frame.Module.BuildID, o.Witness.Workload.Controller = name, name
			o.Instance, o.Artifact.PURL, o.Source = witness.Instance{Host: name}, "pkg:oci/"+name, "a1/1/"+fmt.Sprint("g", generation)
			o.ID = o.Witness.ID()
			start := now.Add(-time.Hour).Truncate(time.Minute)
			o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = start, start.Add(time.Minute), start, start.Add(time.Second)
			expected[o.ID] = o
			all = append(all, o)
		}
		_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all})
		require.NoError(t, err)
		for _, table := range tables {
			before := highest[table]
			rows, err := numbers(context.Background(), s.read, 2, "SELECT count(*), max(id) FROM "+table+" WHERE id > ?", before)
			require.NoError(t, err)
			require.Positive(t, rows[0][0], "%s has new rows, all of them above those that there ever were", table)
			highest[table] = rows[0][1]
		}
		for range 2 { // from the file, and from memory
			hot, err := s.HotSymbols(context.Background(), "", storage.HotQuery{})
			require.NoError(t, err)
			var subjects []string
			for _, h := range hot {
				if h.Subject.Frame.Member != "Thing.Method0" {
					subjects = append(subjects, h.Subject.ID)
				}
			}
			page, err := s.Witnesses(context.Background(), "", storage.WitnessQuery{Filter: storage.Filter{Subjects: subjects}})
			require.NoError(t, err)
			require.Len(t, page.Witnesses, 30)
			for _, w := range page.Witnesses {
				want := expected[w.ID]
				for i := range want.Witness.Path { // what is known of the package
					want.Witness.Path[i].Component = w.Witness.Path[i].Component
				}
				assert.Equal(t, want.Witness, w.Witness)
				assert.Equal(t, want.Instance, w.Instance)
				assert.Equal(t, want.Artifact, w.Artifact)
			}
		}
		now = now.Add(30 * 24 * time.Hour)
		tick()
		require.NoError(t, s.tend(context.Background()))
		left, err := numbers(context.Background(), s.read, 1, "SELECT count(*) FROM witness")
		require.NoError(t, err)
		require.LessOrEqual(t, left[0][0], int64(2), "the others were swept")
	}
}

// What is known of modules is as of now, however often it was asked before.
func TestWhatIsKnownIsNotRemembered(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	ask := func() storage.WitnessTotal {
		hot, err := s.HotSymbols(context.Background(), "", storage.HotQuery{})
		require.NoError(t, err)
		page, err := s.Witnesses(context.Background(), "", storage.WitnessQuery{Filter: storage.Filter{Subjects: []string{hot[0].Subject.ID}}})
		require.NoError(t, err)
		return page.Witnesses[0]
	}
	o := observations(1, 10)[0]
	o.Witness.Frame.Component, o.Artifact = "", witness.Artifact{}
	for i, version := range []string{"", "v1", "v2"} {
		said := o
		said.Flush = uint64(i)
		said.LastSeen = o.LastSeen.Add(time.Duration(i) * time.Second)
		component := ""
		if version != "" {
			component = "pkg:golang/example.com/app@" + version
			said.Instance.Host = "elsewhere" // of another row, for the same module
			said.Witness.Frame.Component = component
			said.Artifact.PURL = "pkg:oci/app@" + version
		}
		_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: []witness.Observation{said}})
		require.NoError(t, err)
		got := ask()
		assert.Equal(t, []string{component, component, said.Artifact.PURL}, []string{got.Witness.Frame.Component, got.Witness.Path[0].Component, got.Artifact.PURL})
	}
}
