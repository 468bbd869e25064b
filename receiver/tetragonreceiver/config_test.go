package tetragonreceiver

import (
	"os"
	"path/filepath"
	"regexp"
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
	if err := section.Unmarshal(config); err != nil {
		return nil, err
	}
	return config, confmap.Validate(config)
}

func TestConfig(t *testing.T) {
	for name, check := range map[string]func(*testing.T, *Config){
		"tetragon": func(t *testing.T, c *Config) {
			assert.Equal(t, createDefaultConfig(), c, "an empty section is the default")
			assert.Equal(t, DefaultEndpoint, c.GRPC.Endpoint)
			assert.True(t, c.GRPC.TLS.Insecure)
			assert.False(t, c.File.HasValue())
			assert.Equal(t, 15*time.Second, c.HeartbeatInterval)
			assert.Equal(t, 10*time.Minute, c.ContainmentInterval)
		},
		"tetragon/remote": func(t *testing.T, c *Config) {
			assert.False(t, c.GRPC.TLS.Insecure, "beyond this machine TLS is on")
		},
		"tetragon/loopback": func(t *testing.T, c *Config) { assert.True(t, c.GRPC.TLS.Insecure) },
		"tetragon/file": func(t *testing.T, c *Config) {
			require.True(t, c.File.HasValue())
			assert.Equal(t, FileConfig{Path: "/var/log/tetragon/tetragon.log", PollInterval: time.Second}, *c.File.Get())
			assert.Equal(t, "file_storage", c.Storage.String())
			assert.Equal(t, BatchConfig{MaxEvents: 64, FlushInterval: time.Second}, c.Batch)
			assert.True(t, c.IncludeRaw && c.IncludeArguments)
			assert.Zero(t, c.ContainmentInterval)
			assert.Equal(t, 2*time.Second, c.RetryOnFailure.InitialInterval)
		},
		"tetragon/replay": func(t *testing.T, c *Config) {
			assert.Equal(t, FileConfig{Path: "capture.jsonl.gz", Replay: true, PollInterval: 250 * time.Millisecond}, *c.File.Get())
		},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := loadConfig(t, name)
			require.NoError(t, err)
			check(t, config)
		})
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for name, want := range map[string][]string{
		"tetragon/empty_file":      {"file: path: must not be empty", "poll_interval: must be positive"},
		"tetragon/bad_batch":       {"batch: max_events: must be between", "flush_interval: must be positive"},
		"tetragon/bad_containment": {"containment_interval: must not be negative"},
		"tetragon/bad_heartbeat":   {"heartbeat_interval: must be at least 1s"},
		"tetragon/no_endpoint":     {"grpc::endpoint: must not be empty"},
		"tetragon/unknown_key":     {"polcies"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(t, name)
			for _, text := range want {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

func TestIsLocal(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"unix:///run/t.sock": true, "unix:t.sock": true, "localhost:54321": true, "[::1]:54321": true, "127.8.9.1:1": true,
		"http://127.0.0.1:1": true, "10.0.0.1:54321": false, "localhost.example:54321": false, "127.0.0.1": false, "": false,
	} {
		assert.Equal(t, want, isLocal(endpoint), endpoint)
	}
}

func TestTheExampleOfTheREADMELoads(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	require.NotNil(t, example)
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, example[1], 0o600))
	all, err := confmaptest.LoadConf(path)
	require.NoError(t, err)
	for _, name := range []string{"receivers::tetragon", "receivers::tetragon/replay"} {
		section, err := all.Sub(name)
		require.NoError(t, err)
		config := createDefaultConfig().(*Config)
		require.NoError(t, section.Unmarshal(config))
		require.NoError(t, confmap.Validate(config))
	}
}
