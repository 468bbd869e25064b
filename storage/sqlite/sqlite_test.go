package sqlite

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/storagetest"
)

func open(t testing.TB, path string, now func() time.Time) *Storage {
	t.Helper()
	s, err := Open(context.Background(), Options{Path: path, Now: now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	storagetest.Run(t,
		func(t *testing.T, now func() time.Time) storage.Storage {
			return open(t, filepath.Join(t.TempDir(), "witness.db"), now)
		},
		func(t *testing.T, s storage.Storage, now func() time.Time) storage.Storage {
			require.NoError(t, s.Close())
			return open(t, s.(*Storage).path, now)
		})
}
