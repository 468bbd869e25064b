package witnessstorageextension

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestConfig(t *testing.T) {
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	for id, want := range map[string]*Config{
		"witness_storage":           {Backend: BackendEmbedded, Embedded: EmbeddedConfig{Directory: "./data"}},
		"witness_storage/elsewhere": {Backend: BackendEmbedded, Embedded: EmbeddedConfig{Directory: "/var/lib/otelcol-witness"}},
		"witness_storage/none":      {Backend: BackendNone, Embedded: EmbeddedConfig{Directory: "./data"}},
	} {
		t.Run(id, func(t *testing.T) {
			sub, err := conf.Sub(id)
			require.NoError(t, err)
			config := createDefaultConfig()
			require.NoError(t, sub.Unmarshal(config))
			require.NoError(t, confmap.Validate(config))
			assert.Equal(t, want, config)
		})
	}
}

func TestConfigErrors(t *testing.T) {
	for want, config := range map[string]*Config{
		"backend: is not one of embedded, none": {Backend: "hunter2"},
		"embedded::directory: is empty":         {Backend: BackendEmbedded},
	} {
		assert.EqualError(t, confmap.Validate(config), want)
	}
}

func start(t *testing.T, settings extension.Settings, config *Config) storage.Storage {
	made, err := NewFactory().Create(context.Background(), settings, config)
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, made.Shutdown(context.Background())) })
	host := host{component.MustNewID("witness_storage"): made}
	found, err := storage.Find(host, component.MustNewID("witness_storage"))
	require.NoError(t, err)
	return found
}

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

func observed(hits uint64, at time.Time) witness.Observation {
	window := witness.AlignWindow(at, time.Minute)
	o := witness.Observation{
		Witness: witness.Witness{Kind: witness.KindExec, Frame: witness.Frame{Module: witness.Module{Path: "/usr/bin/app"}}},
		Source:  "a/1/x", WindowStart: window, WindowEnd: window.Add(time.Minute), FirstSeen: window, LastSeen: window, Hits: hits,
		Assurance: witness.Measured, Origin: witness.OriginWorkload,
	}
	o.ID = o.Witness.ID()
	return o
}

func TestEmbedded(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	settings := metadatatest.NewSettings(telemetry)
	config := &Config{Backend: BackendEmbedded, Embedded: EmbeddedConfig{Directory: filepath.Join(t.TempDir(), "new", "data")}}
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	database := start(t, settings, config)

	for name, mode := range map[string]os.FileMode{"": os.ModeDir | 0o700, databaseFile: 0o600} {
		info, err := os.Stat(filepath.Join(config.Embedded.Directory, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode(), name)
	}
	bad := observed(0, time.Now())
	written, err := database.WriteObservations(context.Background(), storage.Batch{Observations: []witness.Observation{
		observed(1, time.Now()), observed(1, time.Now()), bad, observed(1, time.Now().Add(time.Hour)),
	}})
	require.NoError(t, err)
	assert.Equal(t, 1, written.Stored)

	ignore := metricdatatest.IgnoreTimestamp()
	one := []metricdata.DataPoint[int64]{{Value: 1}}
	metadatatest.AssertEqualWitnessStorageStoredObservations(t, telemetry, one, ignore)
	metadatatest.AssertEqualWitnessStorageDuplicateObservations(t, telemetry, one, ignore)
	metadatatest.AssertEqualWitnessStorageCommits(t, telemetry, one, ignore)
	metadatatest.AssertEqualWitnessStorageCalls(t, telemetry, one, ignore)
	metadatatest.AssertEqualWitnessStorageCacheResets(t, telemetry, []metricdata.DataPoint[int64]{{}}, ignore)
	metadatatest.AssertEqualWitnessStorageRefusedObservations(t, telemetry, []metricdata.DataPoint[int64]{
		{Value: 1, Attributes: attribute.NewSet(attribute.String("reason", "ahead"))},
		{Value: 1, Attributes: attribute.NewSet(attribute.String("reason", "malformed"))},
	}, ignore)
	metadatatest.AssertEqualWitnessStorageSize(t, telemetry, one, ignore, metricdatatest.IgnoreValue())
	size, err := telemetry.GetMetric("otelcol_witness_storage_size")
	require.NoError(t, err)
	assert.Positive(t, size.Data.(metricdata.Gauge[int64]).DataPoints[0].Value)
}

func TestARestartKeepsWhatWasStored(t *testing.T) {
	config := &Config{Backend: BackendEmbedded, Embedded: EmbeddedConfig{Directory: t.TempDir()}}
	for round, want := range []storage.Written{{Stored: 1}, {Duplicates: 1}} {
		made, err := NewFactory().Create(context.Background(), extensiontest.NewNopSettings(typ), config)
		require.NoError(t, err)
		require.NoError(t, made.Start(context.Background(), componenttest.NewNopHost()))
		offered := made.(storage.Extension).Storage()
		written, err := offered.WriteObservations(context.Background(), storage.Batch{Observations: []witness.Observation{observed(1, time.Unix(1e9, 0))}})
		require.NoError(t, err)
		assert.Equal(t, want, written, round)
		require.NoError(t, made.Shutdown(context.Background()))
		require.NoError(t, made.Shutdown(context.Background()), "twice")
		_, err = offered.Finding(context.Background(), "", "x")
		assert.ErrorIs(t, err, storage.ErrClosed)
	}
}

func TestNone(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "data")
	assert.Equal(t, none.Storage{}, start(t, extensiontest.NewNopSettings(typ), &Config{Backend: BackendNone, Embedded: EmbeddedConfig{Directory: directory}}))
	assert.NoDirExists(t, directory, "nothing is stored")
}

func TestStartErrorsNameTheFieldAndNoValue(t *testing.T) {
	directory := t.TempDir()
	notADirectory := filepath.Join(directory, "file")
	require.NoError(t, os.WriteFile(notADirectory, nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, databaseFile), []byte("hunter2"), 0o600))
	for name, test := range map[string]struct {
		directory string
		want      error
	}{
		"a file in the way":    {notADirectory, nil},
		"something else there": {directory, sqlite.ErrNotDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := NewFactory().Create(context.Background(), extensiontest.NewNopSettings(typ), &Config{Backend: BackendEmbedded, Embedded: EmbeddedConfig{Directory: test.directory}})
			require.NoError(t, err)
			err = made.Start(context.Background(), componenttest.NewNopHost())
			require.ErrorContains(t, err, "embedded::directory")
			assert.NotContains(t, err.Error(), directory)
			assert.NotContains(t, err.Error(), "hunter2")
			if test.want != nil {
				assert.ErrorIs(t, err, test.want)
			}
			require.NoError(t, made.Shutdown(context.Background()))
		})
	}
}
