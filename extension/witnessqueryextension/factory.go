package witnessqueryextension

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/extension"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
)

const (
	defaultEndpoint = "localhost:8686"
	defaultMaxBody  = finding.MaxSize // of an import
	maxJSON         = 4 << 20         // of any other call, in bytes
	defaultWindow   = time.Minute
	// Who asks more often than this has made a mistake.
	defaultRate, defaultBurst = 1000, 2000
	defaultConcurrent         = 256
)

// NewFactory returns the factory of witness_query.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func createDefaultConfig() component.Config {
	http := confighttp.NewDefaultServerConfig()
	http.NetAddr.Endpoint = defaultEndpoint
	http.MaxRequestBodySize = defaultMaxBody
	http.ReadHeaderTimeout = 10 * time.Second
	http.ReadTimeout = 30 * time.Second
	http.WriteTimeout = time.Minute
	http.CompressionAlgorithms = []string{"", "gzip", "zstd"}
	return &Config{
		HTTP:             http,
		Storage:          component.MustNewID("witness_storage"),
		Canonicalization: canon.NewDefaultConfig(),
		Window:           defaultWindow,
		Score:            score.DefaultWeights(),
		Containment:      containment.DefaultWeights(),

		RateLimit:             RateLimitConfig{RequestsPerSecond: defaultRate, Burst: defaultBurst},
		MaxConcurrentRequests: defaultConcurrent,
	}
}

func create(_ context.Context, settings extension.Settings, config component.Config) (extension.Extension, error) {
	return newExtension(config.(*Config), settings)
}
