package findingsextension

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/otelcol-witness/otelcol-witness/extension/findingsextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
)

// NewFactory returns the factory of findings.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func createDefaultConfig() component.Config {
	return &Config{Storage: component.MustNewID("witness_storage"), MaxFileSize: finding.MaxSize}
}

func create(_ context.Context, settings extension.Settings, config component.Config) (extension.Extension, error) {
	return newExtension(config.(*Config), settings)
}
