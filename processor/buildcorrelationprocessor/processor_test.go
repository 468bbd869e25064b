package buildcorrelationprocessor

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/processor/buildcorrelationprocessor/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/processor/buildcorrelationprocessor/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func load(t *testing.T, file, name string) *Config {
	t.Helper()
	all, err := confmaptest.LoadConf(file)
	require.NoError(t, err)
	section, err := all.Sub(name)
	require.NoError(t, err)
	config := createDefaultConfig()
	require.NoError(t, section.Unmarshal(config))
	return config.(*Config)
}

func TestConfig(t *testing.T) {
	empty := load(t, "testdata/config.yaml", "build_correlation")
	assert.Equal(t, &Config{Proc: "/proc", Workers: 4, Deadline: 200 * time.Millisecond, CacheSize: 4096, MaxFileSize: 512 << 20}, empty)
	require.NoError(t, confmap.Validate(empty))
	all := load(t, "testdata/config.yaml", "build_correlation/all")
	assert.Equal(t, &Config{Proc: "/host/proc", HostName: "node-1", Workers: 2, Deadline: 500 * time.Millisecond, CacheSize: 10000, MaxFileSize: 100 << 20}, all)
	require.NoError(t, confmap.Validate(all))
	for _, field := range []string{"proc", "workers", "deadline", "cache_size", "max_file_size"} {
		assert.ErrorContains(t, confmap.Validate(load(t, "testdata/invalid.yaml", "build_correlation/"+field)), field)
	}
}

func start(t *testing.T, telemetry *componenttest.Telemetry, config *Config, sink *consumertest.LogsSink) processor.Logs {
	t.Helper()
	set := processortest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	p, err := NewFactory().CreateLogs(t.Context(), set, config, sink)
	require.NoError(t, err)
	assert.True(t, p.Capabilities().MutatesData)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() {
		require.NoError(t, p.Shutdown(context.Background()))
		require.NoError(t, p.Shutdown(context.Background()))
	})
	return p
}

func newTelemetry(t *testing.T) *componenttest.Telemetry {
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	return telemetry
}

// appendCall appends a call of main.main of the test itself, as an agent on a host tells it.
func appendCall(t *testing.T, logs plog.Logs, host string) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(semconv.HostName, host)
	record := resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetEventName(semconv.EventCall)
	record.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	m := record.Attributes()
	m.PutInt(semconv.ProcessPID, int64(os.Getpid()))
	m.PutStr(semconv.ProcessCreationTime, time.Now().UTC().Format(time.RFC3339Nano))
	m.PutStr(semconv.ProcessExecutablePath, exe)
	witness.PutStack(m, witness.Frame{Symbol: "main.main", Language: "go", Module: witness.Module{Path: exe}})
}

func points(value int64, attributes ...attribute.KeyValue) []metricdata.DataPoint[int64] {
	return []metricdata.DataPoint[int64]{{Value: value, Attributes: attribute.NewSet(attributes...)}}
}

// TestThisProcess correlates events of the test itself, and checks that what comes out is of the contract.
func TestThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a proc file system")
	}
	telemetry := newTelemetry(t)
	config := createDefaultConfig().(*Config)
	config.Deadline = 20 * time.Second
	sink := &consumertest.LogsSink{}
	p := start(t, telemetry, config, sink)
	host, err := os.Hostname()
	require.NoError(t, err)

	first, second := plog.NewLogs(), plog.NewLogs()
	appendCall(t, first, host)
	appendCall(t, first, "elsewhere")
	first.CopyTo(second)
	require.NoError(t, p.ConsumeLogs(t.Context(), first))
	require.NoError(t, p.ConsumeLogs(t.Context(), second))
	require.Len(t, sink.AllLogs(), 2)
	for _, logs := range sink.AllLogs() {
		require.Equal(t, 2, logs.LogRecordCount())
		known := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes()
		hash, ok := known.Get(semconv.ArtifactHash)
		require.True(t, ok)
		assert.True(t, strings.HasPrefix(hash.Str(), "sha256:"))
		frame := witness.StackOf(known)[0]
		assert.NotEmpty(t, frame.Module.BuildID+frame.Module.SHA256)
		assert.Regexp(t, `^pkg:golang/github\.com/otelcol-witness/otelcol-witness`, frame.Component)
		_, ok = logs.ResourceLogs().At(1).ScopeLogs().At(0).LogRecords().At(0).Attributes().Get(semconv.ArtifactHash)
		assert.False(t, ok)
		assert.Empty(t, semconv.Validate(logs))
	}
	ignore := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualBuildCorrelationResolvedModules(t, telemetry, points(2), ignore)
	metadatatest.AssertEqualBuildCorrelationCacheHits(t, telemetry, points(1), ignore)
	metadatatest.AssertEqualBuildCorrelationUnknownModules(t, telemetry, points(2, attribute.String("reason", "other_host")), ignore)
	metadatatest.AssertEqualBuildCorrelationConflicts(t, telemetry, points(0), ignore)
	metadatatest.AssertEqualBuildCorrelationCacheEvictions(t, telemetry, points(0), ignore)
}

func TestDeadline(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a proc file system")
	}
	telemetry := newTelemetry(t)
	config := createDefaultConfig().(*Config)
	config.Deadline, config.HostName = 1, "node-1"
	sink := &consumertest.LogsSink{}
	p := start(t, telemetry, config, sink)
	sent := 0
	require.Eventually(t, func() bool { // a file may be known in no time at all; not always
		logs := plog.NewLogs()
		appendCall(t, logs, "node-1")
		require.NoError(t, p.ConsumeLogs(t.Context(), logs))
		sent++
		_, err := telemetry.GetMetric("otelcol_build_correlation_deadlines_exceeded")
		return err == nil
	}, 20*time.Second, time.Millisecond)
	assert.Equal(t, sent, sink.LogRecordCount(), "what is not known in time goes on as it is")
}

func TestNoProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere no proc file system is expected")
	}
	config := createDefaultConfig().(*Config)
	config.Proc = t.TempDir()
	p, err := NewFactory().CreateLogs(t.Context(), processortest.NewNopSettings(metadata.Type), config, consumertest.NewNop())
	require.NoError(t, err)
	err = p.Start(t.Context(), componenttest.NewNopHost())
	require.ErrorContains(t, err, "proc")
	assert.NotContains(t, err.Error(), config.Proc, "errors repeat no value")
	require.NoError(t, p.Shutdown(context.Background()))
}
