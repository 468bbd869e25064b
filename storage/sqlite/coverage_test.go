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
	hold(&s.coverage, nil)
	file := ask()
	assert.Equal(t, file, written)
	require.NoError(t, s.rememberCoverage(t.Context(), memoryLimit))
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
			require.NoError(b, s.rememberCoverage(context.Background(), memoryLimit))
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

// hold has a memory hold nothing else.
func hold(m *memory, tracks map[int64]*track) {
	m.reading()
	m.read(tracks, 0)
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
	hold(&m, tracks(16))
	assert.InDelta(t, memoryLimit/2, m.rows, 2, "eight of sixteen days")
	_, ok := m.choose("", nanoseconds(releaseNow.Add(-9*24*time.Hour)), nanoseconds(releaseNow), nil, 1)
	assert.False(t, ok, "what was dropped is not answered")
	found, ok := m.choose("", nanoseconds(releaseNow.Add(-7*24*time.Hour)), nanoseconds(releaseNow), nil, 1)
	assert.True(t, ok)
	assert.Len(t, found, 1)
	hold(&m, tracks(1))
	assert.Zero(t, m.rows)
	_, ok = m.choose("", nanoseconds(releaseNow), nanoseconds(releaseNow), nil, 1)
	assert.False(t, ok, "too much in a day: the file is read")
	c := hostBeat(2, releaseNow, releaseNow)
	m.apply([]change{{topic: 2, track: newTrack("", &c), put: []run{runOf(&c)}}})
	assert.Zero(t, m.rows)
}

// Coverage that was too much for the memory is held again when it is less, and what is written meanwhile is held too.
func TestCoverageIsHeldAgain(t *testing.T) {
	now := releaseNow
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), func() time.Time { return now })
	write := func(hosts ...int) {
		var all []witness.Coverage
		for _, host := range hosts {
			all = append(all, hostBeat(host, now.Add(-time.Minute), now))
		}
		require.NoError(t, s.WriteCoverage(t.Context(), storage.Principal{}, all))
	}
	ask := func() []witness.Coverage {
		found, err := s.Coverage(t.Context(), "", storage.CoverageQuery{From: now.Add(-time.Hour)})
		require.NoError(t, err)
		return found
	}
	drop := func() {
		hold(&s.coverage, nil)
		assert.Zero(t, s.Stats().CoverageRows)
	}
	write(1, 2, 3)
	assert.Equal(t, 3, s.Stats().CoverageRows)
	drop()
	require.NoError(t, s.rememberCoverage(t.Context(), 2))
	assert.Zero(t, s.Stats().CoverageRows, "there is still too much")
	write(4)
	require.NoError(t, s.tend(t.Context()))
	assert.Equal(t, 4, s.Stats().CoverageRows)
	held := ask()
	assert.Len(t, held, 4)

	for name, late := range map[string]bool{"read before a write": false, "read after it": true} {
		drop()
		s.coverage.reading()
		tracks, err := readTracks(t.Context(), s.read, "TRUE")
		require.NoError(t, err)
		now = now.Add(time.Minute)
		write(1, 2)
		write(1)
		if late {
			tracks, err = readTracks(t.Context(), s.read, "TRUE")
			require.NoError(t, err)
		}
		s.coverage.read(tracks, 0)
		held = ask()
		assert.Equal(t, 4, s.Stats().CoverageRows, name)
		drop()
		assert.Equal(t, ask(), held, name)
	}
	s.coverage.reading()
	s.coverage.meanwhile.rows = memoryLimit
	write(5)
	s.coverage.read(map[int64]*track{}, 0)
	_, is := s.coverage.held()
	assert.False(t, is, "too much was written meanwhile")
}
