package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// damage overwrites a page from its header on.
func damage(t *testing.T, path string, page int) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, garbage(page)(content), 0o600))
}

// pageOf is a page with rows of a table, counted from 0.
func pageOf(t *testing.T, path, table string) (page int) {
	db, err := openDB(path, true)
	require.NoError(t, err)
	require.NoError(t, db.QueryRow("SELECT max(pageno) - 1 FROM dbstat WHERE name = ? AND pagetype = 'leaf'", table).Scan(&page))
	require.NoError(t, db.Close())
	return page
}

func TestADamagedFileIsSetAside(t *testing.T) {
	ctx := context.Background()
	stamp := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return stamp.Add(500 * time.Millisecond) }
	for name, ruin := range map[string]func(t *testing.T, path string){
		"a page of garbage": func(t *testing.T, path string) { damage(t, path, pageOf(t, path, "obs")) },
		"cut off": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path, info.Size()/2))
		},
		"a schema of garbage": func(t *testing.T, path string) {
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			copy(content[100:], strings.Repeat("hunter2", 100))
			require.NoError(t, os.WriteFile(path, content, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "witness.db")
			s, err := Open(ctx, Options{Path: path, Now: func() time.Time { return stamp.Add(-time.Hour) }})
			require.NoError(t, err)
			o := numbered(1)
			o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = stamp.Add(-time.Hour), stamp.Add(-59*time.Minute), stamp.Add(-time.Hour), stamp.Add(-time.Hour)
			for _, tenant := range []string{"", "blue", "green"} {
				_, err = s.WriteObservations(ctx, storage.Batch{Principal: storage.Principal{Tenant: tenant}, Observations: []witness.Observation{o}})
				require.NoError(t, err)
			}
			require.NoError(t, s.Close())
			ruin(t, path)
			// What is left of a log is evidence too.
			require.NoError(t, os.WriteFile(path+"-shm", []byte("shm"), 0o600))
			before, err := os.ReadFile(path)
			require.NoError(t, err)

			s, err = Open(ctx, Options{Path: path, Now: now, Damaged: DamagedSetAside})
			require.NoError(t, err)
			const aside = "witness.db.damaged-20261122T120000Z"
			assert.Equal(t, aside, s.Opening().SetAside)
			kept, err := os.ReadFile(filepath.Join(filepath.Dir(path), aside))
			require.NoError(t, err)
			assert.Equal(t, before, kept, "what is left of it is kept")
			assert.FileExists(t, filepath.Join(filepath.Dir(path), aside+"-shm"))
			written, err := s.WriteObservations(ctx, storage.Batch{Observations: []witness.Observation{o}})
			require.NoError(t, err)
			assert.Equal(t, 1, written.Stored, "a new database takes over")
			coverage, err := s.Coverage(ctx, "", storage.CoverageQuery{})
			require.NoError(t, err)
			require.Len(t, coverage, 1, "the gap can be seen")
			assert.Equal(t, StageDamaged, coverage[0].LossStage)
			assert.Equal(t, stamp, coverage[0].End)
			if name == "a page of garbage" { // what is readable says more
				assert.Equal(t, stamp.Add(-time.Hour), coverage[0].Start)
				for _, tenant := range []string{"blue", "green"} {
					coverage, err := s.Coverage(ctx, tenant, storage.CoverageQuery{})
					require.NoError(t, err)
					assert.Len(t, coverage, 1, tenant)
				}
			}
			require.NoError(t, s.Close())

			// A second one in the same second takes no name away.
			damage(t, path, 3)
			s, err = Open(ctx, Options{Path: path, Now: now, Damaged: DamagedSetAside})
			require.NoError(t, err)
			assert.Equal(t, aside+"-2", s.Opening().SetAside)
			again, err := os.ReadFile(filepath.Join(filepath.Dir(path), aside))
			require.NoError(t, err)
			assert.Equal(t, before, again)
			require.NoError(t, s.Close())
		})
	}
}

// What crashed between setting a file aside and saying so says so at the next start, and once.
func TestTheLossOfADamagedFileIsNotForgotten(t *testing.T) {
	ctx := context.Background()
	path := database(t)
	damage(t, path, 3)
	_, err := setAside(path, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	for range 2 {
		s, err := Open(ctx, Options{Path: path})
		require.NoError(t, err)
		assert.Empty(t, s.Opening().SetAside)
		coverage, err := s.Coverage(ctx, "", storage.CoverageQuery{})
		require.NoError(t, err)
		assert.Len(t, coverage, 1)
		require.NoError(t, s.Close())
	}
}

func TestIntegrity(t *testing.T) {
	for name, test := range map[string]struct {
		options   Options
		want      error
		unchecked bool
	}{
		"by default all is looked at": {Options{}, ErrDamaged, false},
		"auto":                        {Options{Integrity: IntegrityAuto}, ErrDamaged, false},
		"full":                        {Options{Integrity: IntegrityFull, CheckTime: 1}, ErrDamaged, false},
		"auto out of time":            {Options{Integrity: IntegrityAuto, CheckTime: 1}, nil, true},
		"off":                         {Options{Integrity: IntegrityOff}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := database(t)
			// A page in the middle of the observations: nothing that is read at the start.
			test.options.Path = path
			damage(t, path, pageOf(t, path, "obs"))
			s, err := Open(context.Background(), test.options)
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.unchecked, s.Opening().Unchecked > 0)
			require.NoError(t, s.Close())
		})
	}
}

// What is not damaged, and not ours, is never set aside.
func TestWhatIsNotOursIsNotSetAside(t *testing.T) {
	for name, content := range map[string]string{"text": "hunter2", "much text": strings.Repeat("hunter2", 100)} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "witness.db")
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			_, err := Open(context.Background(), Options{Path: path, Damaged: DamagedSetAside})
			require.ErrorIs(t, err, ErrNotDatabase)
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, content, string(kept))
			entries, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			assert.Len(t, entries, 1)
		})
	}
}
