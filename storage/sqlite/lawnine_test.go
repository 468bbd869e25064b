package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// ofSource is an observation of a source, each in a window of its own minute.
func ofSource(source string, minute int, assurance witness.Assurance, changes ...func(*witness.Observation)) witness.Observation {
	return past(time.Duration(minute)*time.Minute, time.Minute, append([]func(*witness.Observation){func(o *witness.Observation) {
		o.Source, o.Assurance = source, assurance
	}}, changes...)...)
}

// heardOf is how many sources are held in memory, and how many are in the file.
func heardOf(t *testing.T, s *Storage) (held, stored int) {
	t.Helper()
	require.NoError(t, s.writer.submit(context.Background(), 1, func() error {
		for _, known := range s.writer.heard.entries {
			held += len(known.sources)
		}
		return s.writer.conn.QueryRowContext(context.Background(), "SELECT count(*) FROM heard").Scan(&stored)
	}))
	return held, stored
}

func TestSourcesThatAreComparedAreBounded(t *testing.T) {
	const many = assertedLimit + 300
	for name, test := range map[string]struct {
		source     func(i int) string
		assurance  witness.Assurance
		change     func(i int, o *witness.Observation)
		heard      int
		uncompared uint64
	}{
		"posts, each a source":                   {source: func(i int) string { return fmt.Sprintf("post/%d/http", i) }, assurance: witness.Asserted},
		"asserted, each an invented receiver":    {source: func(i int) string { return fmt.Sprintf("a/1/x%d", i) }, assurance: witness.Asserted, heard: assertedLimit, uncompared: many - assertedLimit},
		"asserted, each an invented incarnation": {source: func(i int) string { return fmt.Sprintf("a/%d/x", i) }, assurance: witness.Asserted, heard: assertedLimit, uncompared: many - assertedLimit},
		"measured":                               {source: func(i int) string { return fmt.Sprintf("a/%d/x", i) }, assurance: witness.Measured, heard: many},
		"asserted, on a host that is not known": {
			source: func(i int) string { return fmt.Sprintf("a/1/x%d", i) }, assurance: witness.Asserted,
			change: func(_ int, o *witness.Observation) { o.Instance = witness.Instance{} }, heard: assertedLimit, uncompared: many - assertedLimit,
		},
		"on hosts of their own": {
			source: func(i int) string { return fmt.Sprintf("a%d/1/x", i) }, assurance: witness.Asserted,
			change: func(i int, o *witness.Observation) { o.Instance.Host = fmt.Sprint("node-", i) }, heard: many,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
			var all []witness.Observation
			for i := range many {
				all = append(all, ofSource(test.source(i), i, test.assurance, func(o *witness.Observation) {
					if test.change != nil {
						test.change(i, o)
					}
				}))
			}
			assert.Equal(t, many, put(t, s, all...).Stored)
			held, stored := heardOf(t, s)
			assert.Equal(t, [2]int{test.heard, test.heard}, [2]int{held, stored}, "sources that are compared")
			assert.Equal(t, test.uncompared, s.Stats().Uncompared)
			hits, _ := addedUp(t, s)
			assert.EqualValues(t, many, hits)
			assert.Equal(t, many, put(t, s, all...).Duplicates, "delivered again")
			assert.Equal(t, test.uncompared, s.Stats().Uncompared)
		})
	}
}

// Where a sender invents as many sources as are compared, collectors that measure are compared as ever.
func TestInventedSourcesDoNotKeepCollectorsFromBeingCompared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.db")
	s := openAlive(t, path, lifeClock, Life{})
	var invented []witness.Observation
	for i := range assertedLimit + 10 {
		invented = append(invented, ofSource(fmt.Sprintf("a/1/x%d", i), 1, witness.Asserted))
	}
	put(t, s, invented...)
	before, _ := addedUp(t, s)
	assert.EqualValues(t, 1+10, before, "the larger count, and what is not compared")
	hits := func(n uint64) func(*witness.Observation) {
		return func(o *witness.Observation) { o.Hits = n }
	}
	put(t, s, ofSource("b/1/tetragon", 1, witness.Measured, hits(3)), ofSource("b/1/ebpf", 1, witness.Measured, hits(5)))
	after, _ := addedUp(t, s)
	assert.EqualValues(t, before+5, after)
	// What is asserted under the key of a source that is not compared, and then measured.
	put(t, s, ofSource("b/1/late", 1, witness.Asserted, hits(7)), ofSource("b/1/late", 1, witness.Measured, hits(2)))
	again, _ := addedUp(t, s)
	assert.EqualValues(t, after, again, "7 are replaced by 2, of which 5 stand")
	exact(t, s)
}

// A memory of sources that is too large is made anew from the file.
func TestForgottenSpeakersAreHeardAgain(t *testing.T) {
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), lifeClock, Life{})
	hits := func(n uint64) func(*witness.Observation) {
		return func(o *witness.Observation) { o.Hits = n }
	}
	for i, instance := range []witness.Instance{{Host: "node-1"}, {}} {
		on := func(o *witness.Observation) { o.Instance = instance }
		before, _ := addedUp(t, s)
		put(t, s, ofSource("a/1/x", 1, witness.Measured, hits(3), on))
		require.NoError(t, s.writer.submit(context.Background(), 1, func() error {
			s.writer.speakers = speakersLimit + 1
			return nil
		}))
		put(t, s, ofSource("b/1/x", 2+i, witness.Measured, func(o *witness.Observation) { o.Instance.Host = "node-2" }))
		put(t, s, ofSource("a/1/y", 1, witness.Measured, hits(5), on))
		after, _ := addedUp(t, s)
		assert.EqualValues(t, before+1+5, after)
	}
}

// Schema 8 heard the sources of posts, of which there are as many as posts.
func TestMigrationForgetsSourcesOfPosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.db")
	s := open(t, path, lifeClock)
	put(t, s, ofSource("post/7f/http", 1, witness.Asserted), ofSource("a/1/x", 1, witness.Measured))
	require.NoError(t, s.Close())
	db, err := openDB(path, false)
	require.NoError(t, err)
	_, err = db.Exec(`INSERT INTO heard SELECT i.id, s.id FROM instance i, source s WHERE s.text = 'post/7f/http';
DELETE FROM schema_version WHERE version = 9; PRAGMA user_version = 8`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	s = open(t, path, lifeClock)
	_, stored := heardOf(t, s)
	assert.Equal(t, 1, stored)
	hits, _ := addedUp(t, s)
	assert.EqualValues(t, 2, hits)
}

// Rows of posts keep their source while others are swept.
func TestSweepingKeepsTheSourcesOfPosts(t *testing.T) {
	now := lifeNow
	s := openAlive(t, filepath.Join(t.TempDir(), "witness.db"), func() time.Time { return now }, Life{DedupeHorizon: time.Hour, MaxAge: 4 * dayOfHours})
	receipt := &storage.Receipt{Key: "k"}
	posted := ofSource("post/7f/http", 60*24, witness.Asserted)
	_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: []witness.Observation{posted}, Receipt: receipt})
	require.NoError(t, err)
	put(t, s, ofSource("post/01/http", 60*24*4, witness.Asserted), ofSource("a/1/x", 1, witness.Measured))
	now = now.Add(dayOfHours)
	put(t, s, ofSource("a/1/x", -60*24, witness.Measured))
	require.NoError(t, s.tend(context.Background()))
	exact(t, s)
	var sources []string
	found, err := s.read.Query("SELECT DISTINCT source FROM observation WHERE source LIKE 'post/%'")
	require.NoError(t, err)
	defer found.Close()
	for found.Next() {
		var source string
		require.NoError(t, found.Scan(&source))
		sources = append(sources, source)
	}
	require.NoError(t, found.Err())
	assert.Equal(t, []string{"post/7f/http"}, sources)
	written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: []witness.Observation{posted}, Receipt: receipt})
	require.NoError(t, err)
	assert.Equal(t, 1, written.Duplicates)
}
