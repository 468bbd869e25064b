package witnessqueryextension

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
)

const backupPath = "/api/v1/admin/backup"

func TestBackup(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "backups")
	store, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(t.TempDir(), "witness.db"), Backup: sqlite.BackupOptions{Directory: directory},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s := newServer(t, store)
	s.put("GO-2023-1988", htmlFinding)

	w := s.call(http.MethodPost, backupPath, "")
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	var made backup
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &made))
	assert.WithinDuration(t, time.Now(), made.Time, time.Minute)
	assert.Positive(t, made.Size)

	copied, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(directory, made.Name)})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, copied.Close()) })
	f, err := copied.Finding(t.Context(), "", "GO-2023-1988")
	require.NoError(t, err)
	assert.Equal(t, "pkg:golang/golang.org/x/net", f.Component)
}

// copier is a storage whose backups are told when to end.
type copier struct {
	none.Storage
	asked, answer chan struct{}
	err           error
}

func (c copier) Backup(context.Context) (storage.Backup, error) {
	if c.asked != nil {
		close(c.asked)
		<-c.answer
	}
	return storage.Backup{Name: "x", At: time.Now()}, c.err
}

func TestBackupIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, detail string
		store        storage.Storage
		want         int
	}{
		{"no backups", "this storage has no backups", none.Storage{}, http.StatusConflict},
		{"no place", "no place for backups", copier{err: storage.ErrNotConfigured}, http.StatusConflict},
		{"failure", "storage does not answer", copier{err: errors.New("secret path")}, http.StatusServiceUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, test.store)
			w := s.call(http.MethodPost, backupPath, "")
			assert.Equal(t, test.want, w.Code)
			assert.Contains(t, detail(t, w), test.detail)
			writes := s.logs.FilterMessage("write").FilterField(zap.Int("status", test.want))
			assert.Equal(t, 1, writes.Len(), "refused writes are in the audit log too")
		})
	}
	t.Run("one at a time", func(t *testing.T) {
		store := copier{asked: make(chan struct{}), answer: make(chan struct{})}
		s := newServer(t, store)
		first := make(chan int, 1)
		go func() { first <- s.call(http.MethodPost, backupPath, "").Code }()
		<-store.asked
		w := s.call(http.MethodPost, backupPath, "")
		assert.Equal(t, http.StatusConflict, w.Code)
		assert.Contains(t, detail(t, w), "a backup is being made")
		close(store.answer)
		assert.Equal(t, http.StatusCreated, <-first)
	})
}
