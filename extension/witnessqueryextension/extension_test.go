package witnessqueryextension

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
)

// host has extensions.
type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

type storageExtension struct {
	component.StartFunc
	component.ShutdownFunc
	store storage.Storage
}

func (s storageExtension) Storage() storage.Storage { return s.store }

var storageID = component.MustNewID("witness_storage")

func start(t *testing.T, config *Config, h host) string {
	t.Helper()
	extension, err := newExtension(config, extensiontest.NewNopSettings(metadata.Type))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, extension.Start(ctx, h))
	cancel() // serving must not depend on it
	t.Cleanup(func() {
		require.NoError(t, extension.Shutdown(context.Background()))
		require.NoError(t, extension.Shutdown(context.Background()), "twice")
	})
	return "http://" + extension.listener.Addr().String()
}

func local() *Config {
	config := createDefaultConfig().(*Config)
	config.HTTP.NetAddr.Endpoint = "127.0.0.1:0"
	return config
}

func do(t *testing.T, r *http.Request, err error) (int, http.Header, string) {
	t.Helper()
	require.NoError(t, err)
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, string(body)
}

func TestServes(t *testing.T) {
	base := start(t, local(), host{storageID: storageExtension{store: none.Storage{}}})

	r, err := http.NewRequest(http.MethodGet, base+"/api/v1/findings/a%2Fb%20%2B/runtime/traces", nil)
	code, header, body := do(t, r, err)
	assert.Equal(t, http.StatusOK, code, body)
	assert.Contains(t, body, `"findingId":"a/b +"`)
	assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))

	r, err = http.NewRequest(http.MethodGet, base+"/api/v1/findings", nil)
	r.Host = "witness.example"
	code, _, _ = do(t, r, err)
	assert.Equal(t, http.StatusForbidden, code, "DNS rebinding")

	var packed strings.Builder
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(oneCall))
	require.NoError(t, w.Close())
	r, err = http.NewRequest(http.MethodPost, base+"/api/v1/findings/x/runtime/traces", strings.NewReader(packed.String()))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	code, _, body = do(t, r, err)
	assert.Equal(t, http.StatusAccepted, code, body)

	packed.Reset()
	w = gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"traces":[` + strings.Repeat(" ", maxJSON) + `]}`))
	require.NoError(t, w.Close())
	r, err = http.NewRequest(http.MethodPost, base+"/api/v1/findings/x/runtime/traces", strings.NewReader(packed.String()))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	code, _, body = do(t, r, err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, code, body)

	r, err = http.NewRequest(http.MethodPost, base+"/api/v1/findings/x/runtime/traces", strings.NewReader("x"))
	r.Header.Set("Content-Encoding", "secret")
	code, header, body = do(t, r, err)
	assert.Equal(t, http.StatusBadRequest, code)
	assert.Equal(t, "application/problem+json", header.Get("Content-Type"))
	assert.NotContains(t, body, "secret")
}

func TestAuthenticates(t *testing.T) {
	config := local()
	id := component.MustNewID("auth")
	config.HTTP.Auth = configoptional.Some(confighttp.AuthConfig{
		Config: configauth.Config{AuthenticatorID: id}, RequestParameters: []string{"token"},
	})
	authenticator := struct {
		component.StartFunc
		component.ShutdownFunc
		extensionauth.ServerAuthenticateFunc
	}{ServerAuthenticateFunc: func(ctx context.Context, sources map[string][]string) (context.Context, error) {
		if len(sources["token"]) == 0 {
			return ctx, errors.New("no secret token")
		}
		return client.NewContext(ctx, client.Info{Auth: principal{"subject": "ann", "tenant": "red"}}), nil
	}}
	recorded := &recording{}
	base := start(t, config, host{storageID: storageExtension{store: recorded}, id: authenticator})

	r, err := http.NewRequest(http.MethodGet, base+"/api/v1/findings", nil)
	code, header, body := do(t, r, err)
	assert.Equal(t, http.StatusUnauthorized, code)
	assert.Equal(t, "application/problem+json", header.Get("Content-Type"))
	assert.Equal(t, "no-store", header.Get("Cache-Control"))
	assert.NotContains(t, body, "secret")
	assert.Equal(t, `Bearer realm="otelcol-witness"`, header.Get("WWW-Authenticate"))

	r, err = http.NewRequest(http.MethodGet, base+"/api/v1/findings?token=1", nil)
	code, _, body = do(t, r, err)
	assert.Equal(t, http.StatusOK, code, body)
	assert.Equal(t, []string{"red"}, recorded.tenants)

	extension, err := newExtension(config, extensiontest.NewNopSettings(metadata.Type))
	require.NoError(t, err)
	assert.Equal(t, []component.ID{storageID, id}, extension.Dependencies())
	require.NoError(t, extension.Shutdown(t.Context()), "without Start")
}

// recording remembers for whom it was asked.
type recording struct {
	none.Storage
	tenants []string
}

func (r *recording) Findings(ctx context.Context, tenant string, query storage.FindingQuery) (storage.FindingPage, error) {
	r.tenants = append(r.tenants, tenant)
	return r.Storage.Findings(ctx, tenant, query)
}

func TestStartFails(t *testing.T) {
	extension, err := newExtension(local(), extensiontest.NewNopSettings(metadata.Type))
	require.NoError(t, err)
	require.ErrorContains(t, extension.Start(t.Context(), componenttest.NewNopHost()), "witness_storage")
	require.NoError(t, extension.Shutdown(t.Context()))

	base := start(t, local(), host{storageID: storageExtension{store: none.Storage{}}})
	taken := local()
	taken.HTTP.NetAddr.Endpoint = strings.TrimPrefix(base, "http://")
	extension, err = newExtension(taken, extensiontest.NewNopSettings(metadata.Type))
	require.NoError(t, err)
	require.Error(t, extension.Start(t.Context(), host{storageID: storageExtension{store: none.Storage{}}}))
	require.NoError(t, extension.Shutdown(t.Context()))
}

// slow answers when it is told to.
type slow struct {
	none.Storage
	asked, answer chan struct{}
}

func (s slow) Findings(context.Context, string, storage.FindingQuery) (storage.FindingPage, error) {
	close(s.asked)
	<-s.answer
	return storage.FindingPage{}, nil
}

func TestShutdownLetsRequestsEnd(t *testing.T) {
	store := slow{asked: make(chan struct{}), answer: make(chan struct{})}
	extension, err := newExtension(local(), extensiontest.NewNopSettings(metadata.Type))
	require.NoError(t, err)
	require.NoError(t, extension.Start(t.Context(), host{storageID: storageExtension{store: store}}))
	codes := make(chan int, 1)
	go func() {
		r, err := http.NewRequest(http.MethodGet, "http://"+extension.listener.Addr().String()+"/api/v1/findings", nil)
		if err != nil {
			codes <- 0
			return
		}
		transport := &http.Transport{DisableKeepAlives: true}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			codes <- 0
			return
		}
		answer.Body.Close()
		codes <- answer.StatusCode
	}()
	<-store.asked
	stopped := make(chan error, 1)
	go func() { stopped <- extension.Shutdown(context.Background()) }()
	require.Never(t, func() bool { return len(stopped) > 0 }, 50*time.Millisecond, 10*time.Millisecond)
	close(store.answer)
	assert.Equal(t, http.StatusOK, <-codes)
	assert.NoError(t, <-stopped)
}
