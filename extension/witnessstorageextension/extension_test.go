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
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestConfig(t *testing.T) {
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	defaults := EmbeddedConfig{
		Directory: "./data", IntegrityCheck: "auto", IntegrityTime: 10 * time.Second, Damaged: "set_aside", DedupeHorizon: 24 * time.Hour,
		DaysAfter: 720 * time.Hour, Retention: RetentionConfig{MaxAge: 8760 * time.Hour}, Backup: BackupConfig{Keep: 7},
	}
	elsewhere := defaults
	elsewhere.Directory = "/var/lib/otelcol-witness"
	for id, want := range map[string]*Config{
		"witness_storage":           {Backend: BackendEmbedded, Embedded: defaults},
		"witness_storage/elsewhere": {Backend: BackendEmbedded, Embedded: elsewhere},
		"witness_storage/none":      {Backend: BackendNone, Embedded: defaults},
		"witness_storage/everything": {Backend: BackendEmbedded, Embedded: EmbeddedConfig{
			Directory: "/var/lib/otelcol-witness", IntegrityCheck: "full", IntegrityTime: time.Minute, Damaged: "refuse", DedupeHorizon: 6 * time.Hour,
			DaysAfter: 0, Retention: RetentionConfig{MaxAge: 2160 * time.Hour, MaxSizeMiB: 10240},
			Backup: BackupConfig{Directory: "/var/backups/otelcol-witness", Keep: 3},
		}},
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
	with := func(change func(*EmbeddedConfig)) *Config {
		config := createDefaultConfig().(*Config)
		change(&config.Embedded)
		return config
	}
	for want, config := range map[string]*Config{
		"backend: is not one of embedded, none":                                     {Backend: "hunter2"},
		"embedded::directory: is empty":                                             with(func(c *EmbeddedConfig) { c.Directory = "" }),
		"embedded::integrity_check: is not one of auto, full, off":                  with(func(c *EmbeddedConfig) { c.IntegrityCheck = "hunter2" }),
		"embedded::integrity_time: is not longer than zero":                         with(func(c *EmbeddedConfig) { c.IntegrityTime = 0 }),
		"embedded::damaged: is not one of set_aside, refuse":                        with(func(c *EmbeddedConfig) { c.Damaged = "hunter2" }),
		"embedded::dedupe_horizon: is neither 0 nor at least 1h":                    with(func(c *EmbeddedConfig) { c.DedupeHorizon = time.Minute }),
		"embedded::retention::max_size_mib: is neither 0 nor from 64 to 1073741824": with(func(c *EmbeddedConfig) { c.Retention.MaxSizeMiB = 63 }),
		"embedded::backup::keep: is less than 0":                                    with(func(c *EmbeddedConfig) { c.Backup.Keep = -1 }),
		"embedded::days_after: is neither 0 nor at least 48h and a day longer than dedupe_horizon": with(func(c *EmbeddedConfig) {
			c.DedupeHorizon, c.DaysAfter = 48*time.Hour, 71*time.Hour
		}),
		"embedded::retention::max_age: is neither 0 nor at least 48h and a day longer than dedupe_horizon": with(func(c *EmbeddedConfig) {
			c.Retention.MaxAge = 47 * time.Hour
		}),
	} {
		assert.EqualError(t, confmap.Validate(config), want)
	}
	assert.NoError(t, confmap.Validate(with(func(c *EmbeddedConfig) { c.DedupeHorizon, c.DaysAfter, c.Retention.MaxAge = 0, 0, 0 })), "all is kept as it came")
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

// in is the default configuration with another directory.
func in(directory string) *Config {
	config := createDefaultConfig().(*Config)
	config.Embedded.Directory = directory
	return config
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
	config := in(filepath.Join(t.TempDir(), "new", "data"))
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
		{Value: 0, Attributes: attribute.NewSet(attribute.String("reason", "behind"))},
		{Value: 1, Attributes: attribute.NewSet(attribute.String("reason", "malformed"))},
	}, ignore)
	metadatatest.AssertEqualWitnessStorageRolledRows(t, telemetry, []metricdata.DataPoint[int64]{{}}, ignore)
	metadatatest.AssertEqualWitnessStorageDeletedRows(t, telemetry, []metricdata.DataPoint[int64]{{}}, ignore)
	metadatatest.AssertEqualWitnessStorageFailedRounds(t, telemetry, []metricdata.DataPoint[int64]{{}}, ignore)
	metadatatest.AssertEqualWitnessStorageSize(t, telemetry, one, ignore, metricdatatest.IgnoreValue())
	size, err := telemetry.GetMetric("otelcol_witness_storage_size")
	require.NoError(t, err)
	assert.Positive(t, size.Data.(metricdata.Gauge[int64]).DataPoints[0].Value)
}

// TestWhatIsNotCanonicalIsCounted writes what no way in would let pass, as if they were left out.
func TestWhatIsNotCanonicalIsCounted(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	database := start(t, metadatatest.NewSettings(telemetry), in(t.TempDir()))
	counted := func(observations, coverage, containment, findings int64) {
		t.Helper()
		point := func(of string, value int64) metricdata.DataPoint[int64] {
			return metricdata.DataPoint[int64]{Value: value, Attributes: attribute.NewSet(attribute.String("of", of))}
		}
		metadatatest.AssertEqualWitnessStorageUncanonicalValues(t, telemetry, []metricdata.DataPoint[int64]{
			point("observation", observations), point("coverage", coverage), point("containment", containment), point("finding", findings),
		}, metricdatatest.IgnoreTimestamp())
	}
	write := func(path, text string) {
		o := observed(1, time.Now())
		o.Witness.Frame.Module.Path, o.Instance.Host = path, text
		o.ID = o.Witness.ID()
		_, err := database.WriteObservations(t.Context(), storage.Batch{Observations: []witness.Observation{o}})
		require.NoError(t, err)
		require.NoError(t, database.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{{
			Source: "a/1/x", Start: o.WindowStart, End: o.WindowEnd, StatusTarget: "probe", StatusState: witness.StateRefused, StatusReason: text,
		}}))
		_, err = database.WriteContainment(t.Context(), storage.Principal{}, []witness.Containment{{
			Workload: witness.Workload{Container: "app"}, Executable: witness.Module{Path: path}, Origin: witness.OriginWorkload,
			Signals: []witness.Signal{{Name: witness.SignalSeccomp, Values: []string{"filter"}, Source: witness.SourceProc, Assurance: witness.Measured, ObservedAt: o.WindowStart}},
		}})
		require.NoError(t, err)
		_, err = database.PutFinding(t.Context(), storage.Principal{}, witness.Finding{ID: "CVE-1", Title: text})
		require.NoError(t, err)
		require.NoError(t, database.ReplaceFindings(t.Context(), storage.Principal{}, "all", []witness.Finding{{ID: "CVE-2", Occurrences: []witness.Occurrence{{Scanner: text}}}}))
	}
	write("/usr/bin/app", "node-1")
	counted(0, 0, 0, 0)
	write("/home/alice/app", "token=hunter2")
	counted(2, 1, 1, 2)
	write("/home/<user>/app", "token=<secret>")
	counted(2, 1, 1, 2)
}

func TestADamagedDatabaseIsReported(t *testing.T) {
	config := in(t.TempDir())
	path := filepath.Join(config.Embedded.Directory, databaseFile)
	run := func(settings extension.Settings) error {
		made, err := NewFactory().Create(context.Background(), settings, config)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, made.Shutdown(context.Background())) })
		return made.Start(context.Background(), componenttest.NewNopHost())
	}
	ruin := func() {
		made, err := NewFactory().Create(context.Background(), extensiontest.NewNopSettings(typ), config)
		require.NoError(t, err)
		require.NoError(t, made.Start(context.Background(), componenttest.NewNopHost()))
		require.NoError(t, made.Shutdown(context.Background()))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, info.Size()/2))
	}
	ruin()
	config.Embedded.Damaged = sqlite.DamagedRefuse
	require.ErrorIs(t, run(extensiontest.NewNopSettings(typ)), sqlite.ErrDamaged)

	config.Embedded.Damaged = sqlite.DamagedSetAside
	core, logs := observer.New(zap.ErrorLevel)
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	settings := metadatatest.NewSettings(telemetry)
	settings.Logger = zap.New(core)
	require.NoError(t, run(settings))
	require.Equal(t, 1, logs.Len())
	assert.Contains(t, logs.All()[0].Message, "damaged")
	assert.Regexp(t, `^witness\.db\.damaged-\d{8}T\d{6}Z$`, logs.All()[0].ContextMap()["file"])
	metadatatest.AssertEqualWitnessStorageSetAside(t, telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualWitnessStorageUncheckedTables(t, telemetry, []metricdata.DataPoint[int64]{{}}, metricdatatest.IgnoreTimestamp())
}

func TestBackups(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	config := in(t.TempDir())
	config.Embedded.Backup.Directory = filepath.Join(t.TempDir(), "backups")
	database := start(t, metadatatest.NewSettings(telemetry), config)
	backup, err := database.(storage.Backups).Backup(context.Background())
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(config.Embedded.Backup.Directory, backup.Name))
	metadatatest.AssertEqualWitnessStorageBackups(t, telemetry, []metricdata.DataPoint[int64]{
		{Value: 1, Attributes: attribute.NewSet(attribute.String("outcome", "done"))},
		{Value: 0, Attributes: attribute.NewSet(attribute.String("outcome", "failed"))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestARestartKeepsWhatWasStored(t *testing.T) {
	config := in(t.TempDir())
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
			made, err := NewFactory().Create(context.Background(), extensiontest.NewNopSettings(typ), in(test.directory))
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
