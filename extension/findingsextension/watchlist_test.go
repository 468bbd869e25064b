package findingsextension

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-witness/otelcol-witness/extension/findingsextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestWatchList(t *testing.T) {
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	id := component.MustNewID("findings")
	config := NewFactory().CreateDefaultConfig().(*Config)
	config.Paths = []string{write(t, t.TempDir(), "f.yaml", "findings:\n- id: A\n  symbols: [{language: c, member: SSL_read}]\n- id: B\n")}
	extension, err := newExtension(config, extensiontest.NewNopSettings(metadata.Type))
	require.NoError(t, err)
	h := host{component.MustNewID("witness_storage"): offering{store: store}, id: extension}

	provider, err := watchlist.Find(h, id)
	require.NoError(t, err)
	_, err = provider.WatchList(t.Context())
	require.ErrorContains(t, err, "has not started")

	require.NoError(t, extension.Start(t.Context(), h))
	t.Cleanup(func() { require.NoError(t, extension.Shutdown(t.Context())) })
	list, err := provider.WatchList(t.Context())
	require.NoError(t, err)
	assert.Equal(t, &watchlist.List{Symbols: []watchlist.Symbol{{Language: "c", Member: "SSL_read", Findings: []string{"A"}}}, Unnamed: 1}, list)

	_, err = store.PutFinding(t.Context(), storage.Principal{}, witness.Finding{ID: "C", Symbols: []witness.SymbolRef{{Language: "c", Member: "SSL_read"}}})
	require.NoError(t, err)
	list, err = provider.WatchList(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"A", "C"}, list.Symbols[0].Findings, "as of now, whoever put it")

	_, err = watchlist.Find(h, component.MustNewID("witness_storage"))
	require.ErrorContains(t, err, "offers none")
}
