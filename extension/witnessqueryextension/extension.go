package witnessqueryextension

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/storage"
)

// queryExtension runs the HTTP server.
type queryExtension struct {
	config    *Config
	settings  extension.Settings
	telemetry *metadata.TelemetryBuilder

	api      *api
	server   *http.Server
	listener net.Listener
	served   chan struct{} // closed when the server has ended
}

var (
	_ extension.Extension             = (*queryExtension)(nil)
	_ extensioncapabilities.Dependent = (*queryExtension)(nil)
)

func newExtension(config *Config, settings extension.Settings) (*queryExtension, error) {
	telemetry, err := metadata.NewTelemetryBuilder(settings.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &queryExtension{config: config, settings: settings, telemetry: telemetry}, nil
}

// Dependencies are the storage, and the authenticator where there is one: both start before this extension.
func (e *queryExtension) Dependencies() []component.ID {
	ids := []component.ID{e.config.Storage}
	if e.config.HTTP.Auth.HasValue() {
		ids = append(ids, e.config.HTTP.Auth.Get().Config.AuthenticatorID)
	}
	return ids
}

// Start listens and serves.
func (e *queryExtension) Start(ctx context.Context, host component.Host) error {
	store, err := storage.Find(host, e.config.Storage)
	if err != nil {
		return err
	}
	rules, err := e.config.Canonicalization.WithKey()
	if err != nil {
		return fmt.Errorf("canonicalization: %w", err)
	}
	canonicalizer, err := canon.New(rules)
	if err != nil {
		return fmt.Errorf("canonicalization: %w", err)
	}
	api := &api{
		store: store, maker: ingest.Maker{Canonicalizer: canonicalizer, Window: e.config.Window}, weights: &e.config.Score, controls: &e.config.Containment, telemetry: e.telemetry, logger: e.settings.Logger, now: time.Now,
		deterministic: e.config.DeterministicTime,
	}
	if err := api.measureBoards(); err != nil {
		return err
	}
	if api.snapshots, err = newSnapshots(&e.config.Snapshots, &e.config.Canonicalization, e.settings.BuildInfo.Version); err != nil {
		return err
	}
	if api.document, err = withNow(openAPI); err != nil {
		return err
	}
	if api.limits, err = newLimits(e.config.RateLimit, e.config.MaxConcurrentRequests); err != nil {
		return err
	}
	config := e.config.HTTP
	if config.MaxRequestBodySize == 0 {
		config.MaxRequestBodySize = defaultMaxBody
	}
	if config.Auth.HasValue() {
		api.ignored = config.Auth.Get().RequestParameters
		api.challenge = challenge(config.Auth.Get().Config.AuthenticatorID.Type().String())
	}
	server, err := config.ToServer(ctx, host.GetExtensions(), e.settings.TelemetrySettings, http.HandlerFunc(api.serve),
		confighttp.WithErrorHandler(api.refuse))
	if err != nil {
		return err
	}
	listener, err := config.ToListener(ctx)
	if err != nil {
		return err
	}
	if !e.config.loopback() && e.config.AllowInsecure && (!config.TLS.HasValue() || !config.Auth.HasValue()) {
		e.settings.Logger.Warn("others can reach this API without TLS or without an authenticator (allow_insecure)")
	}
	server.DisableGeneralOptionsHandler = true // OPTIONS * is answered as everything else
	hosts := hostsOf(&config, listener)
	if !config.TLS.HasValue() {
		listener = refusals{listener}
	}
	api.access = access{roles: e.config.Roles, authenticated: config.Auth.HasValue(), open: hosts == nil}
	var origins []string
	if config.CORS.HasValue() {
		origins = config.CORS.Get().AllowedOrigins
	}
	server.Handler = api.guard(server.Handler, hosts, origins)
	e.api, e.server, e.listener, e.served = api, server, listener, make(chan struct{})
	api.boards.Warm(store, "", api.weights) // the tenant of everybody where nobody tells tenants apart
	go func() {
		defer close(e.served)
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	}()
	return nil
}

// Shutdown lets requests end, for as long as ctx allows, and stops.
func (e *queryExtension) Shutdown(ctx context.Context) error {
	if e.server != nil {
		e.api.imports.cancel()
		defer e.api.imports.ended.Wait()
		defer e.api.boards.Close()
		if err := e.server.Shutdown(ctx); err != nil {
			if err = e.server.Close(); err != nil {
				return err
			}
		}
		<-e.served
	}
	e.telemetry.Shutdown()
	return nil
}

// hostsOf returns the names that a request may call this host when nobody else can reach it, or nil for any.
func hostsOf(config *confighttp.ServerConfig, listener net.Listener) []string {
	local := []string{"localhost", "127.0.0.1", "::1"}
	if config.NetAddr.Transport == confignet.TransportTypeUnix {
		return local
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok || !address.IP.IsLoopback() {
		return nil
	}
	if host, _, err := net.SplitHostPort(config.NetAddr.Endpoint); err == nil && host != "" {
		local = append(local, host)
	}
	return local
}
