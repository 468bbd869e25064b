package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/otelcol"
)

// load reads and validates a collector configuration with everything that is compiled in.
func load(t *testing.T, uri string) {
	t.Helper()
	factories, err := components()
	require.NoError(t, err)
	provider, err := otelcol.NewConfigProvider(otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
		URIs:              []string{uri},
		ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory(), envprovider.NewFactory(), yamlprovider.NewFactory()},
		DefaultScheme:     "env",
	}})
	require.NoError(t, err)
	config, err := provider.Get(t.Context(), factories)
	require.NoError(t, err)
	require.NoError(t, confmap.Validate(config))
}

func TestEveryShippedConfigLoads(t *testing.T) {
	files, err := filepath.Glob("../config/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 6)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { load(t, "file:"+file) })
	}
}

// TestEveryYAMLOfEveryREADMELoads: each yaml block that has a section of the collector is a whole configuration and loads.
// Blocks with gomod: are ocb manifests; blocks without such sections are files of findings. What reads those tests them.
func TestEveryYAMLOfEveryREADMELoads(t *testing.T) {
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	section := regexp.MustCompile(`(?m)^(service|receivers|processors|exporters|extensions|connectors):`)
	blocks := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "internal" || entry.Name() == ".tools") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range block.FindAllStringSubmatch(string(text), -1) {
			if !section.MatchString(match[1]) || strings.Contains(match[1], "gomod:") {
				continue
			}
			blocks++
			t.Run(strings.TrimPrefix(path, "../"), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "readme.yaml")
				require.NoError(t, os.WriteFile(file, []byte(match[1]), 0o600))
				load(t, "file:"+file)
			})
		}
		return nil
	}))
	require.GreaterOrEqual(t, blocks, 8, "each component's README has an example")
}
