package ebpfreceiver

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func loadConfig(t *testing.T, name string) (*Config, error) {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	section, err := all.Sub(name)
	require.NoError(t, err)
	config := NewFactory().CreateDefaultConfig().(*Config)
	require.NoError(t, section.Unmarshal(config))
	return config, confmap.Validate(config)
}

func TestConfig(t *testing.T) {
	config, err := loadConfig(t, "ebpf")
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), config, "an empty section is the default")
	assert.Equal(t, SignalsConfig{Exec: true, Load: true, Call: true, Containment: true}, config.Signals)
	assert.Equal(t, 15*time.Second, config.Interval)

	config, err = loadConfig(t, "ebpf/all")
	require.NoError(t, err)
	assert.Equal(t, SignalsConfig{Exec: true, Call: true, Connect: true, SampleFrequency: 19}, config.Signals)
	assert.Equal(t, LimitsConfig{Processes: 1000, Files: 500, Hits: 4096, Ring: 65536}, config.Limits)
	assert.Equal(t, BatchConfig{MaxEvents: 64, FlushInterval: time.Second}, config.Batch)
	assert.Equal(t, "findings", config.Probes.Findings.String())
	assert.Equal(t, "file_storage", config.Storage.String())
	assert.Equal(t, []string{"SSL_read", "SSL_*"}, config.Probes.Files[0].Symbols)
	assert.False(t, config.Probes.Stacks)
	assert.True(t, config.Probes.AllowSingleStep)
}

func TestBadConfigs(t *testing.T) {
	for name, want := range map[string]string{
		"interval": "interval: must be at least 1s", "both": "probes::files[0]: must have either path or build_id",
		"neither": "probes::files[0]: must have either path or build_id", "symbols": "probes::files[0]::symbols: must not be empty",
		"pattern": "probes::files[0]::path: is not a pattern", "build_id": "probes::files[0]::build_id: is not lower-case hex",
		"budget": "probes::budget: must be above 0 and at most 1", "max": "probes::max: must be from 1 to",
		"ring": "limits::ring: must be a power of two", "frequency": "signals::sample_frequency: must be at most 999",
		"batch": "batch::max_events: must be from 1 to",
	} {
		_, err := loadConfig(t, "ebpf/"+name)
		assert.ErrorContains(t, err, want, name)
	}
}
