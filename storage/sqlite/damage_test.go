package sqlite

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// database makes a closed database with a few observations and returns its path.
func database(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "witness.db")
	s, err := Open(context.Background(), Options{Path: path})
	require.NoError(t, err)
	written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: observations(1000, 0)})
	require.NoError(t, err)
	require.Equal(t, 1000, written.Stored)
	require.NoError(t, s.Close())
	assert.NoFileExists(t, path+"-wal", "the log is folded into the file")
	return path
}

func TestOpenRefusesWhatIsNotItsOwnAndLeavesIt(t *testing.T) {
	const secret = "hunter2"
	edit := func(t *testing.T, path string, change func([]byte) []byte) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, change(content), 0o600))
	}
	run := func(t *testing.T, path, query string) {
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		_, err = db.Exec(query)
		require.NoError(t, err)
		require.NoError(t, db.Close())
	}
	tests := map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"text": {func(t *testing.T, path string) {
			edit(t, path, func([]byte) []byte { return []byte(strings.Repeat(secret, 1000)) })
		}, ErrNotDatabase},
		"a short text": {func(t *testing.T, path string) { edit(t, path, func([]byte) []byte { return []byte(secret) }) }, ErrNotDatabase},
		"zeros":        {func(t *testing.T, path string) { edit(t, path, func(b []byte) []byte { return make([]byte, len(b)) }) }, ErrNotDatabase},
		"another program's": {func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			run(t, path, "CREATE TABLE secret (hunter2 TEXT)")
		}, ErrNotDatabase},
		"cut off":           {func(t *testing.T, path string) { edit(t, path, func(b []byte) []byte { return b[:len(b)/2] }) }, ErrDamaged},
		"cut within a page": {func(t *testing.T, path string) { edit(t, path, func(b []byte) []byte { return b[:len(b)-100] }) }, ErrDamaged},
		"a page of garbage": {func(t *testing.T, path string) { edit(t, path, garbage(3)) }, ErrDamaged},
		"a schema of garbage": {func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { copy(b[100:], strings.Repeat(secret, 100)); return b })
		}, ErrDamaged},
		"a newer schema": {func(t *testing.T, path string) { run(t, path, "PRAGMA user_version = 999") }, ErrNewer},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := database(t)
			test.make(t, path)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = Open(context.Background(), Options{Path: path})
			require.ErrorIs(t, err, test.want)
			assert.NotContains(t, err.Error(), secret)
			assert.NotContains(t, err.Error(), filepath.Dir(path))
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, before, after, "the file is left as it is")
		})
	}
}

// garbage overwrites a page, counted from 0.
func garbage(page int) func([]byte) []byte {
	return func(b []byte) []byte {
		copy(b[page*4096:], strings.Repeat("hunter2", 580))
		return b
	}
}

func TestOpenErrorsNameNoPath(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "secret")
	for name, path := range map[string]string{"no directory": filepath.Join(directory, "witness.db"), "a directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(context.Background(), Options{Path: path})
			require.Error(t, err)
			assert.NotContains(t, err.Error(), filepath.Dir(path))
		})
	}
}

func TestOpenMakesAPrivateFileWithItsSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#%41.db")
	s := open(t, path, nil)
	_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: observations(1, 0)})
	require.NoError(t, err)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode(), suffix)
	}
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "auto_vacuum": "2", "foreign_keys": "0", "user_version": strconv.Itoa(len(migrations)), "busy_timeout": "10000",
	} {
		var got string
		require.NoError(t, s.writer.conn.QueryRowContext(context.Background(), "PRAGMA "+pragma).Scan(&got))
		assert.Equal(t, want, got, pragma)
	}
	_, err = s.read.Exec("DELETE FROM obs")
	assert.Error(t, err, "readers cannot write")
	assert.Positive(t, s.Size())
}

// A start that was cut short right after the file was made, or after its header was written, is no damage.
func TestOpenAfterAnUnfinishedStart(t *testing.T) {
	for name, content := range map[string]func(*testing.T, string){
		"an empty file": func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
		"a header only": func(t *testing.T, path string) {
			db, err := openDB(path, false)
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			require.NoError(t, err)
			_, err = db.Exec("PRAGMA user_version = 0")
			require.NoError(t, err)
			require.NoError(t, db.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "witness.db")
			content(t, path)
			s := open(t, path, nil)
			_, err := s.WriteObservations(context.Background(), storage.Batch{Observations: observations(1, 0)})
			require.NoError(t, err)
		})
	}
}

func TestForeignKeysHold(t *testing.T) {
	s := open(t, database(t), nil)
	rows, err := s.read.Query("PRAGMA foreign_key_check")
	require.NoError(t, err)
	defer rows.Close()
	assert.False(t, rows.Next())
	require.NoError(t, rows.Err())
}

// The view is what people read; nothing else uses it.
func TestTheObservationView(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), nil)
	o := observations(1, 0)
	o[0].WindowStart = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	o[0].WindowEnd = o[0].WindowStart.Add(time.Minute)
	o[0].FirstSeen, o[0].LastSeen = o[0].WindowStart, o[0].WindowStart
	_, err := s.WriteObservations(context.Background(), storage.Batch{Principal: storage.Principal{Tenant: "t", Name: "alice"}, Observations: o})
	require.NoError(t, err)
	var id, tenant, kind, symbol, host, start, assurance, principal, component string
	require.NoError(t, s.read.QueryRow("SELECT witness, tenant, kind, symbol, host, window_start, assurance, principal, component FROM observation").
		Scan(&id, &tenant, &kind, &symbol, &host, &start, &assurance, &principal, &component))
	assert.Equal(t, []string{o[0].ID.String(), "t", "call", o[0].Witness.Frame.Symbol, "node-1", "2026-11-22T12:00:00Z", "measured", "alice", "pkg:golang/example.com/app@v1.0.0"},
		[]string{id, tenant, kind, symbol, host, start, assurance, principal, component})
}

func TestNames(t *testing.T) {
	for purl, want := range map[string][]string{
		"pkg:golang/golang.org/x/net@v0.1.0":                         {"pkg:golang/golang.org/x/net"},
		"pkg:golang/github.com/BurntSushi/toml@v1":                   {"pkg:golang/github.com/burntsushi/toml"},
		"pkg:npm/%40angular/core@1.0#sub":                            {"pkg:npm/@angular/core"},
		"pkg:npm/@angular/core":                                      {"pkg:npm/@angular/core"},
		"pkg:pypi/Foo_Bar.baz@1":                                     {"pkg:pypi/foo-bar-baz"},
		"pkg:deb/debian/libssl3@3.0?arch=amd64&upstream=openssl@3.0": {"pkg:deb/debian/libssl3", "pkg:deb/debian/openssl"},
		"pkg:deb/debian/openssl@3.0?upstream=openssl":                {"pkg:deb/debian/openssl"},
		"pkg:deb/debian/libstdc%2B%2B6@12?upstream=gcc-12%4012":      {"pkg:deb/debian/libstdc++6", "pkg:deb/debian/gcc-12"},
		"no purl": nil,
		"":        nil,
	} {
		assert.Equal(t, want, names(purl), purl)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("pkg:deb/debian/libssl3@3.0?arch=amd64&upstream=openssl@3.0")
	f.Add("pkg:@?&=%%upstream=")
	f.Fuzz(func(t *testing.T, purl string) {
		for _, name := range names(purl) {
			assert.NotEmpty(t, name)
		}
		fold(purl)
	})
}

// observations are n witnesses, one hit each, in the minute that many minutes ago.
func observations(n, minutesAgo int) []witness.Observation {
	start := witness.AlignWindow(time.Now().Add(-time.Duration(minutesAgo)*time.Minute), time.Minute)
	all := make([]witness.Observation, n)
	for i := range all {
		all[i] = numbered(i)
		o := &all[i]
		o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = start, start.Add(time.Minute), start, start.Add(time.Second)
	}
	return all
}
