package witnessstorageextension

import "errors"

// Backend is where witnesses are stored.
type Backend string

// The backends.
const (
	BackendEmbedded Backend = "embedded" // a SQLite file
	BackendNone     Backend = "none"     // nowhere
)

// Config configures the extension.
type Config struct {
	// Backend is embedded (the default) or none.
	Backend Backend `mapstructure:"backend"`
	// Embedded configures the embedded backend.
	Embedded EmbeddedConfig `mapstructure:"embedded"`
}

// EmbeddedConfig configures the embedded backend.
type EmbeddedConfig struct {
	// Directory holds the database, witness.db. It is created, for its owner only, if there is none.
	Directory string `mapstructure:"directory"`
}

// Validate implements confmap.Validator.
func (c *Config) Validate() error {
	switch c.Backend {
	case BackendEmbedded:
		if c.Embedded.Directory == "" {
			return errors.New("embedded::directory: is empty")
		}
	case BackendNone:
	default:
		return errors.New("backend: is not one of embedded, none")
	}
	return nil
}
