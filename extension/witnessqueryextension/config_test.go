package witnessqueryextension

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func TestConfig(t *testing.T) {
	file, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	configs := map[string]*Config{}
	for id := range file.ToStringMap() {
		section, err := file.Sub(id)
		require.NoError(t, err)
		config := NewFactory().CreateDefaultConfig().(*Config)
		require.NoError(t, section.Unmarshal(config), id)
		require.NoError(t, confmap.Validate(config), id)
		configs[id] = config
	}
	assert.Equal(t, NewFactory().CreateDefaultConfig(), configs["witness_query"])
	byDefault := configs["witness_query"]
	assert.Equal(t, "localhost:8686", byDefault.HTTP.NetAddr.Endpoint)
	assert.Equal(t, int64(64<<20), byDefault.HTTP.MaxRequestBodySize)
	assert.Equal(t, component.MustNewID("witness_storage"), byDefault.Storage)
	assert.Equal(t, time.Minute, byDefault.Window)
	all := configs["witness_query/all"]
	assert.Equal(t, component.MustNewIDWithName("witness_storage", "second"), all.Storage)
	assert.Equal(t, "keep", all.Canonicalization.Identities)
	assert.Equal(t, 5*time.Minute, all.Window)
	assert.Equal(t, 0.3, all.Score.Proximity.Library)
	assert.Equal(t, 720*time.Hour, all.Score.Recency.HalfLife)
	assert.Equal(t, 1.0, all.Score.Proximity.Function, "what is not given keeps its default")
	assert.True(t, configs["witness_query/insecure"].AllowInsecure)
}

func TestInvalidConfig(t *testing.T) {
	file, err := confmaptest.LoadConf(filepath.Join("testdata", "invalid.yaml"))
	require.NoError(t, err)
	for name := range file.ToStringMap() {
		t.Run(name, func(t *testing.T) {
			section, err := file.Sub(name + "::config")
			require.NoError(t, err)
			config := NewFactory().CreateDefaultConfig().(*Config)
			require.NoError(t, section.Unmarshal(config))
			require.ErrorContains(t, confmap.Validate(config), file.Get(name+"::want").(string))
		})
	}
}
