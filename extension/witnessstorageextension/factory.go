package witnessstorageextension

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
)

// NewFactory makes the factory of the extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, create, metadata.ExtensionStability)
}

func createDefaultConfig() component.Config {
	return &Config{Backend: BackendEmbedded, Embedded: EmbeddedConfig{
		Directory:      "./data",
		IntegrityCheck: sqlite.IntegrityAuto,
		IntegrityTime:  sqlite.DefaultCheckTime,
		Damaged:        sqlite.DamagedSetAside,
		DedupeHorizon:  day,
		DaysAfter:      30 * day,
		Retention:      RetentionConfig{MaxAge: 365 * day},
		Backup:         BackupConfig{Keep: 7},
	}}
}

func create(_ context.Context, settings extension.Settings, config component.Config) (extension.Extension, error) {
	return newExtension(config.(*Config), settings.TelemetrySettings), nil
}
