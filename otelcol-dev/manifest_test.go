package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/modfile"
)

type manifest struct {
	Dist struct {
		Module string `yaml:"module"`
	} `yaml:"dist"`
	Receivers, Processors, Exporters, Extensions, Connectors, Providers []struct {
		GoMod  string `yaml:"gomod"`
		Import string `yaml:"import"`
	}
}

// TestManifestGoModAndCompiledSetAgree: what builder-config.yaml names is what go.mod requires and what is compiled in.
func TestManifestGoModAndCompiledSetAgree(t *testing.T) {
	text, err := os.ReadFile("../builder-config.yaml")
	require.NoError(t, err)
	var m manifest
	require.NoError(t, yaml.Unmarshal(text, &m))
	text, err = os.ReadFile("../go.mod")
	require.NoError(t, err)
	mod, err := modfile.Parse("go.mod", text, nil)
	require.NoError(t, err)
	assert.Equal(t, m.Dist.Module, mod.Module.Mod.Path)
	required := map[string]string{}
	for _, r := range mod.Require {
		required[r.Mod.Path] = r.Mod.Version
	}
	factories, err := components()
	require.NoError(t, err)
	compiled := map[string][]string{}
	for id := range factories.Receivers {
		compiled["receivers"] = append(compiled["receivers"], factories.ReceiverModules[id])
	}
	for id := range factories.Processors {
		compiled["processors"] = append(compiled["processors"], factories.ProcessorModules[id])
	}
	for id := range factories.Exporters {
		compiled["exporters"] = append(compiled["exporters"], factories.ExporterModules[id])
	}
	for id := range factories.Extensions {
		compiled["extensions"] = append(compiled["extensions"], factories.ExtensionModules[id])
	}
	for id := range factories.Connectors {
		compiled["connectors"] = append(compiled["connectors"], factories.ConnectorModules[id])
	}
	for class, entries := range map[string][]struct {
		GoMod  string `yaml:"gomod"`
		Import string `yaml:"import"`
	}{"receivers": m.Receivers, "processors": m.Processors, "exporters": m.Exporters, "extensions": m.Extensions, "connectors": m.Connectors, "providers": m.Providers} {
		var named []string
		for _, entry := range entries {
			named = append(named, entry.GoMod)
			path, version, _ := strings.Cut(entry.GoMod, " ")
			if path == m.Dist.Module {
				assert.DirExists(t, filepath.Join("..", strings.TrimPrefix(entry.Import, m.Dist.Module)))
				continue
			}
			assert.Equal(t, required[path], version, "%s: go.mod and builder-config.yaml differ", path)
		}
		if class != "providers" {
			assert.ElementsMatch(t, distinct(named), distinct(compiled[class]), class)
			assert.Equal(t, count(named, m.Dist.Module), count(compiled[class], m.Dist.Module), "%s of our own", class)
		}
	}
}

// TestEveryComponentIsInTheManifest: a component folder that nobody compiles is dead.
func TestEveryComponentIsInTheManifest(t *testing.T) {
	text, err := os.ReadFile("../builder-config.yaml")
	require.NoError(t, err)
	for _, pattern := range []string{"../receiver/*", "../processor/*", "../exporter/*", "../extension/*"} {
		folders, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, folders)
		for _, folder := range folders {
			assert.Contains(t, string(text), strings.TrimPrefix(folder, ".."), "not in builder-config.yaml")
		}
	}
}

// distinct are the sorted values without repetition: a component with a deprecated name is compiled in under both.
func distinct(values []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

func count(values []string, prefix string) (n int) {
	for _, value := range values {
		if strings.HasPrefix(value, prefix) {
			n++
		}
	}
	return n
}
