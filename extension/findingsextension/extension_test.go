package findingsextension

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-witness/otelcol-witness/extension/findingsextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/extension/findingsextension/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// kept is a storage that keeps the findings of each scope.
type kept struct {
	none.Storage
	scopes map[string][]witness.Finding
	err    error
}

type offering struct {
	component.StartFunc
	component.ShutdownFunc
	store storage.Storage
}

func (o offering) Storage() storage.Storage { return o.store }

func (k *kept) ReplaceFindings(_ context.Context, principal storage.Principal, scope string, findings []witness.Finding) error {
	if principal != (storage.Principal{}) {
		return errors.New("not the default tenant")
	}
	k.scopes[scope] = slices.Clone(findings)
	return k.err
}

func (k *kept) ids(scope string) []string {
	ids := []string{}
	for _, f := range k.scopes[scope] {
		ids = append(ids, f.ID)
	}
	return ids
}

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

func newKept() (*kept, host) {
	k := &kept{scopes: map[string][]witness.Finding{}}
	return k, host{component.MustNewID("witness_storage"): offering{store: k}}
}

func write(t *testing.T, directory, name, text string) string {
	t.Helper()
	path := filepath.Join(directory, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// started starts an extension over paths and returns its telemetry and log.
func started(t *testing.T, on host, config *Config, paths ...string) (*componenttest.Telemetry, *observer.ObservedLogs) {
	t.Helper()
	config.Paths = paths
	require.NoError(t, confmap.Validate(config))
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	settings := extensiontest.NewNopSettings(metadata.Type)
	settings.ID = component.NewID(metadata.Type)
	settings.TelemetrySettings = telemetry.NewTelemetrySettings()
	core, logs := observer.New(zap.DebugLevel)
	settings.Logger = zap.New(zapcore.NewSamplerWithOptions(core, time.Minute, 10, 0)) // as the Collector does
	extension, err := NewFactory().Create(context.Background(), settings, config)
	require.NoError(t, err)
	require.NoError(t, extension.Start(context.Background(), on))
	t.Cleanup(func() {
		require.NoError(t, extension.Shutdown(context.Background()))
		require.NoError(t, extension.Shutdown(context.Background()))
	})
	return telemetry, logs
}

func defaults() *Config { return createDefaultConfig().(*Config) }

const scope = "file:findings"

func TestStart(t *testing.T) {
	store, on := newKept()
	directory := t.TempDir()
	one := write(t, directory, "1.yaml", "findings:\n- id: A\n- id: B\n  s3cret: s3cret\n- id: [s3cret]\n")
	write(t, directory, "2.json", `[{"id":"GO-1","affected":[{"package":{"ecosystem":"Go","name":"example.com/s3cret"}}]},{"id":"GO-2","withdrawn":"2024-01-01T00:00:00Z"}]`)
	write(t, directory, "3.yml", "findings:\n- id: A\n- id: C\n")
	write(t, directory, "README.md", "not findings")
	require.NoError(t, os.Mkdir(filepath.Join(directory, "4.json"), 0o700))
	broken := write(t, t.TempDir(), "broken.txt", "s3cret")

	telemetry, logs := started(t, on, defaults(), "", directory, one, broken, filepath.Join(directory, "*.json"), filepath.Join(directory, "not-there.yaml"), filepath.Join(directory, "none-*"))
	assert.Equal(t, []string{"A", "GO-1", "C"}, store.ids(scope))
	metadatatest.AssertEqualFindingsLoaded(t, telemetry, []metricdata.DataPoint[int64]{{Value: 3}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualFindingsRefusedItems(t, telemetry, []metricdata.DataPoint[int64]{
		{Attributes: attribute.NewSet(attribute.String("reason", "invalid")), Value: 4},
		{Attributes: attribute.NewSet(attribute.String("reason", "withdrawn")), Value: 1},
		{Attributes: attribute.NewSet(attribute.String("reason", "duplicate")), Value: 1},
	}, metricdatatest.IgnoreTimestamp())
	said := ""
	for _, entry := range logs.All() {
		said += entry.Message
		for name, value := range entry.ContextMap() {
			said += fmt.Sprintf(" %s=%v", name, value)
		}
		said += "\n"
	}
	assert.Contains(t, said, "1.yaml: findings[1] (line 3): s3cret: is not a known member")
	assert.Contains(t, said, "1.yaml: findings[2] (line 5): id: is not text")
	assert.Equal(t, 1, strings.Count(said, "s3cret"), "a value is in the log")
	assert.NotContains(t, said, directory)
}

// TestMistakesAreAllTold has more of them than the Collector logs of equal lines.
func TestMistakesAreAllTold(t *testing.T) {
	_, on := newKept()
	file := write(t, t.TempDir(), "many.yaml", "findings:\n"+strings.Repeat("- title: no id\n", maxLogged+5))
	_, logs := started(t, on, defaults(), file)
	lines := logs.FilterLevelExact(zap.WarnLevel).All()
	require.Len(t, lines, 1)
	said := lines[0].ContextMap()
	assert.EqualValues(t, maxLogged+5, said["invalid"])
	assert.Len(t, said["problems"], maxLogged)
	assert.Contains(t, said["problems"], fmt.Sprintf("many.yaml: findings[%d] (line %d): id: is empty", maxLogged-1, maxLogged+1))
}

// TestBundled loads what the replay asks for, and the example of the README.
func TestBundled(t *testing.T) {
	store, on := newKept()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var example string
	for _, block := range strings.Split(string(readme), "```yaml\n")[1:] {
		if block, _, _ = strings.Cut(block, "```"); strings.HasPrefix(block, "findings:\n") {
			example = write(t, t.TempDir(), "example.yaml", block)
		}
	}
	require.NotEmpty(t, example)
	_, logs := started(t, on, defaults(), filepath.Join("..", "..", "testdata", "findings"), example)
	assert.Empty(t, logs.FilterLevelExact(zap.WarnLevel).All())
	ids := store.ids(scope)
	assert.Len(t, ids, 13)
	assert.Contains(t, ids, "DEMO-0001")
	assert.Contains(t, ids, "GO-2023-2102/golang.org/x/net")
	assert.Contains(t, ids, "ACME-2026-7")
}

func TestRestartForgets(t *testing.T) {
	store, on := newKept()
	directory := t.TempDir()
	write(t, directory, "a.yaml", "findings:\n- id: A\n")
	second := write(t, directory, "b.yaml", "findings:\n- id: B\n")
	started(t, on, defaults(), directory)
	assert.Equal(t, []string{"A", "B"}, store.ids(scope))
	require.NoError(t, os.Remove(second))
	started(t, on, defaults(), directory)
	assert.Equal(t, []string{"A"}, store.ids(scope))
	started(t, on, defaults())
	assert.Contains(t, store.scopes, scope)
	assert.Empty(t, store.ids(scope))
}

func TestFileTooLarge(t *testing.T) {
	store, on := newKept()
	path := write(t, t.TempDir(), "a.yaml", "findings:\n- id: A\n")
	config := defaults()
	config.MaxFileSize = 5
	telemetry, logs := started(t, on, config, path)
	assert.Empty(t, store.ids(scope))
	assert.NotEmpty(t, logs.FilterField(zap.String("file", "a.yaml")).All())
	metadatatest.AssertEqualFindingsLoaded(t, telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
}

func TestStartFails(t *testing.T) {
	extension, err := NewFactory().Create(context.Background(), extensiontest.NewNopSettings(metadata.Type), defaults())
	require.NoError(t, err)
	require.ErrorContains(t, extension.Start(context.Background(), host{}), "witness_storage")

	store, on := newKept()
	store.err = storage.ErrClosed
	require.ErrorIs(t, extension.Start(context.Background(), on), storage.ErrClosed)
	assert.Equal(t, []component.ID{component.MustNewID("witness_storage")}, extension.(extensioncapabilities.Dependent).Dependencies())
	require.NoError(t, extension.Shutdown(context.Background()))
}

func TestConfig(t *testing.T) {
	t.Setenv("WITNESS_FINDINGS", "")
	file, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	for id, want := range map[string]*Config{
		"findings": defaults(),
		"findings/full": {
			Storage: component.MustNewIDWithName("witness_storage", "other"), MaxFileSize: 1 << 20,
			Paths: []string{"${env:WITNESS_FINDINGS:-}", "testdata/findings", "testdata/findings/*.json"}, // the collector expands it
		},
	} {
		t.Run(id, func(t *testing.T) {
			section, err := file.Sub(id)
			require.NoError(t, err)
			config := NewFactory().CreateDefaultConfig()
			require.NoError(t, section.Unmarshal(config))
			require.NoError(t, confmap.Validate(config))
			assert.Equal(t, want, config)
		})
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no storage", func(c *Config) { c.Storage = component.ID{} }, "storage"},
		{"pattern", func(c *Config) { c.Paths = []string{"", "[s3cret"} }, "paths[1]: is not a glob pattern"},
		{"no size", func(c *Config) { c.MaxFileSize = 0 }, "max_file_size"},
		{"size", func(c *Config) { c.MaxFileSize = finding.MaxSize + 1 }, "max_file_size"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := defaults()
			test.change(config)
			err := confmap.Validate(config)
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
}
