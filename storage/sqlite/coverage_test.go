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

func hostBeat(host int, start, end time.Time) witness.Coverage {
	return witness.Coverage{
		Source: fmt.Sprintf("%08x/1/tetragon", host), Instance: witness.Instance{Host: fmt.Sprintf("node-%d", host)}, Assurance: witness.Measured,
		Signal: "tetragon", Kinds: []witness.Kind{witness.KindExec, witness.KindCall}, Interval: 15 * time.Second, Start: start, End: end,
		ProcessesWatched: 100, ProcessesSeen: 100,
	}
}

// What is answered from memory is what the file says.
func TestCoverageFromMemoryIsThatOfTheFile(t *testing.T) {
	now := releaseNow
	path := filepath.Join(t.TempDir(), "witness.db")
	s := open(t, path, func() time.Time { return now })
	history(t, s)
	for hour := range 24 * 30 { // of which memory has eight days
		start := now.Add(-time.Duration(hour+1) * time.Hour)
		c := hostBeat(hour%3, start, start.Add(time.Hour))
		if hour%7 == 0 {
			c = witness.Coverage{Source: c.Source, Instance: c.Instance, StatusTarget: fmt.Sprint(hour % 5), StatusState: "attached", Start: start, End: start}
		}
		require.NoError(t, s.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{c}))
	}
	ask := func() (all [][]witness.Coverage) {
		for day := range 40 {
			for _, length := range []time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
				from := now.Add(-time.Duration(day) * 17 * time.Hour)
				found, err := s.Coverage(t.Context(), "", storage.CoverageQuery{From: from, To: from.Add(length)})
				require.NoError(t, err)
				all = append(all, found)
			}
		}
		return all
	}
	written := ask()
	s.coverage.fill(nil, 0)
	file := ask()
	assert.Equal(t, file, written)
	require.NoError(t, s.rememberCoverage(t.Context()))
	assert.Equal(t, file, ask())
	s.coverage.mutex.Lock()
	s.coverage.forget(nanoseconds(now.Add(-100 * time.Hour)))
	s.coverage.mutex.Unlock()
	assert.Equal(t, file, ask(), "less is in memory")
}

func BenchmarkCoverage(b *testing.B) {
	now := releaseNow
	s, err := Open(context.Background(), Options{Path: filepath.Join(b.TempDir(), "witness.db"), Now: func() time.Time { return now }})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	const hosts = 2000
	for day := range 7 {
		batch := make([]witness.Coverage, hosts)
		for host := range batch {
			start := now.Add(-time.Duration(7-day) * 24 * time.Hour)
			batch[host] = hostBeat(host, start, start.Add(24*time.Hour))
		}
		require.NoError(b, s.WriteCoverage(context.Background(), storage.Principal{}, batch))
	}
	read := func(b *testing.B, span time.Duration) {
		for b.Loop() {
			found, err := s.Coverage(context.Background(), "", storage.CoverageQuery{From: now.Add(-span), To: now, Limit: 100000})
			require.NoError(b, err)
			require.GreaterOrEqual(b, len(found), hosts)
		}
	}
	b.Run("day", func(b *testing.B) { read(b, 24*time.Hour) })
	b.Run("week", func(b *testing.B) { read(b, 7*24*time.Hour) })
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, s.rememberCoverage(context.Background()))
		}
	})
	b.Run("file", func(b *testing.B) {
		tracks := s.coverage.tracks
		s.coverage.tracks = nil
		read(b, 7*24*time.Hour)
		s.coverage.tracks = tracks
	})
	b.Run("write", func(b *testing.B) {
		at := now
		for b.Loop() {
			batch := make([]witness.Coverage, hosts)
			for host := range batch {
				batch[host] = hostBeat(host, at, at.Add(15*time.Second))
			}
			at = at.Add(15 * time.Second)
			require.NoError(b, s.WriteCoverage(context.Background(), storage.Principal{}, batch))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*hosts), "ns/beat")
	})
}

func TestMemoryOfCoverageIsBounded(t *testing.T) {
	tracks := func(days int) map[int64]*track {
		c := hostBeat(1, releaseNow, releaseNow)
		one := newTrack("", &c)
		last := nanoseconds(releaseNow)
		for i := range int64(memoryLimit + 1) {
			at := last - (memoryLimit-i)*(int64(days)*dayLength/memoryLimit)
			one.runs = append(one.runs, run{start: at, end: at})
		}
		return map[int64]*track{1: one}
	}
	var m memory
	m.fill(tracks(16), 0)
	assert.InDelta(t, memoryLimit/2, m.rows, 2, "eight of sixteen days")
	_, ok := m.choose("", nanoseconds(releaseNow.Add(-9*24*time.Hour)), nanoseconds(releaseNow), nil, 1)
	assert.False(t, ok, "what was dropped is not answered")
	found, ok := m.choose("", nanoseconds(releaseNow.Add(-7*24*time.Hour)), nanoseconds(releaseNow), nil, 1)
	assert.True(t, ok)
	assert.Len(t, found, 1)
	m.fill(tracks(1), 0)
	assert.Zero(t, m.rows)
	_, ok = m.choose("", nanoseconds(releaseNow), nanoseconds(releaseNow), nil, 1)
	assert.False(t, ok, "too much in a day: the file is read")
	c := hostBeat(2, releaseNow, releaseNow)
	m.apply([]change{{topic: 2, track: newTrack("", &c), put: []run{runOf(&c)}}})
	assert.Zero(t, m.rows)
}
