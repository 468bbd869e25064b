package findingsextension

import (
	"errors"
	"fmt"
	"path/filepath"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
)

// Config says which findings are loaded and where to.
type Config struct {
	// Storage is the extension that keeps the findings.
	Storage component.ID `mapstructure:"storage"`
	// Paths are files, directories, of which the files *.json, *.yaml and *.yml are read, and glob patterns. Empty ones,
	// as from an environment variable that is not set, are ignored.
	Paths []string `mapstructure:"paths"`
	// MaxFileSize is the largest file that is read, in bytes.
	MaxFileSize int64 `mapstructure:"max_file_size"`
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	if c.Storage == (component.ID{}) {
		return errors.New("storage: is empty")
	}
	for i, path := range c.Paths {
		if _, err := filepath.Match(path, ""); err != nil {
			return fmt.Errorf("paths[%d]: is not a glob pattern", i)
		}
	}
	if c.MaxFileSize < 1 || c.MaxFileSize > finding.MaxSize {
		return fmt.Errorf("max_file_size: is not from 1 to %d", finding.MaxSize)
	}
	return nil
}
