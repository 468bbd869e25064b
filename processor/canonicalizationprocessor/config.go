package canonicalizationprocessor

import (
	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
)

// Config of the processor.
type Config struct {
	// Rules are identities, hmac_key, hmac_key_file, arguments, allow and symbol_cache_bytes.
	Rules canon.Config `mapstructure:",squash"`
}

func createDefaultConfig() component.Config {
	return &Config{Rules: canon.NewDefaultConfig()}
}

// Validate names the field at fault.
func (c *Config) Validate() error { return c.Rules.Validate() }
