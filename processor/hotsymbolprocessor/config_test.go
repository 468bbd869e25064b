package hotsymbolprocessor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.yaml.in/yaml/v3"
)

func load(t *testing.T, file, id string) (*Config, error) {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", file))
	require.NoError(t, err)
	section, err := all.Sub(id)
	require.NoError(t, err)
	config := createDefaultConfig().(*Config)
	require.NoError(t, section.Unmarshal(config))
	return config, confmap.Validate(config)
}

func TestLoadConfig(t *testing.T) {
	checkpoint := component.MustNewIDWithName("file_storage", "checkpoint")
	for id, want := range map[string]*Config{
		"hot_symbol": {Window: time.Minute, AllowedLateness: 15 * time.Minute, MaxWitnesses: 100_000, Events: eventsDrop},
		"hot_symbol/all": {
			Window: 10 * time.Second, FlushInterval: 5 * time.Second, AllowedLateness: time.Hour, MaxWitnesses: 5000,
			Events: eventsKeep, Storage: &checkpoint,
		},
	} {
		t.Run(id, func(t *testing.T) {
			config, err := load(t, "config.yaml", id)
			require.NoError(t, err)
			assert.Equal(t, want, config)
		})
	}
}

func TestInvalidConfig(t *testing.T) {
	for id, field := range map[string]string{
		"short_window": "window: ", "uneven_window": "window: ", "long_window": "window: ", "flush_interval": "flush_interval: ",
		"allowed_lateness": "allowed_lateness: ", "max_witnesses": "max_witnesses: ", "events": "events: ",
	} {
		t.Run(id, func(t *testing.T) {
			_, err := load(t, "invalid.yaml", "hot_symbol/"+id)
			require.ErrorContains(t, err, field)
		})
	}
}

// TestReadmeExample loads our section of the example and sees that the table names every option.
func TestReadmeExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, example, ok := strings.Cut(string(readme), "```yaml\n")
	require.True(t, ok)
	example, _, _ = strings.Cut(example, "```")
	var all map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(example), &all))
	section, err := confmap.NewFromStringMap(all).Sub("processors::hot_symbol")
	require.NoError(t, err)
	config := createDefaultConfig().(*Config)
	require.NoError(t, section.Unmarshal(config))
	require.NoError(t, confmap.Validate(config))
	for _, option := range []string{"window", "flush_interval", "allowed_lateness", "max_witnesses", "events", "storage"} {
		assert.Contains(t, string(readme), "| `"+option+"` |")
	}
}
