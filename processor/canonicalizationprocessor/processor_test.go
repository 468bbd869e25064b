package canonicalizationprocessor

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/processor/canonicalizationprocessor/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/processor/canonicalizationprocessor/internal/metadatatest"
)

func TestConfig(t *testing.T) {
	sections, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	for name, want := range map[string]*Config{
		"canonicalization": {Rules: canon.NewDefaultConfig()},
		"canonicalization/all": {
			Rules: canon.Config{
				Identities: "hmac", HMACKey: "a-key-of-at-least-16-bytes", Arguments: "scrub", Allow: []string{"service.instance.id"}, SymbolCacheBytes: 1 << 20,
				HookArguments: []canon.HookArgument{{Policy: "sensitive-files", Index: "0", Type: "string_arg"}},
			},
		},
		"canonicalization/single_host": {Rules: canon.Config{Identities: "keep", Arguments: "drop", SymbolCacheBytes: 16 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			section, err := sections.Sub(name)
			require.NoError(t, err)
			config := NewFactory().CreateDefaultConfig()
			require.NoError(t, section.Unmarshal(config))
			require.NoError(t, confmap.Validate(config))
			assert.Equal(t, want, config)
		})
	}
	for name, section := range map[string]map[string]any{
		"identities":                {"identities": "hash"},
		"hmac_key":                  {"hmac_key": "short"},
		"arguments":                 {"arguments": "yes"},
		"allow":                     {"allow": []any{"process.pid"}},
		"symbol_cache_bytes":        {"symbol_cache_bytes": -1},
		"hook_arguments[0]: policy": {"hook_arguments": []any{map[string]any{"index": "0", "type": "int_arg"}}},
	} {
		t.Run("invalid "+name, func(t *testing.T) {
			config := NewFactory().CreateDefaultConfig()
			require.NoError(t, confmap.NewFromStringMap(section).Unmarshal(config))
			require.ErrorContains(t, confmap.Validate(config), name)
		})
	}
}

// event is a record of a host with an argument, an unknown attribute and a raw symbol.
func event(t *testing.T) plog.Logs {
	logs := plog.NewLogs()
	resourceLogs := logs.ResourceLogs().AppendEmpty()
	resourceLogs.Resource().Attributes().PutStr(semconv.HostName, "node-1")
	record := resourceLogs.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetEventName(semconv.EventCall)
	require.NoError(t, record.Attributes().FromRaw(map[string]any{
		semconv.ProcessCommandLine: "--password=hunter2", "unknown": "x",
		semconv.WitnessStack: []any{map[string]any{"symbol": "net/http.(*conn).serve", "language": "go"}},
	}))
	return logs
}

func TestLogs(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	sink := new(consumertest.LogsSink)
	set := metadatatest.NewSettings(telemetry)
	core, log := observer.New(zap.InfoLevel)
	set.Logger = zap.New(core)
	p, err := NewFactory().CreateLogs(t.Context(), set, NewFactory().CreateDefaultConfig(), sink)
	require.NoError(t, err)
	assert.True(t, p.Capabilities().MutatesData)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))

	require.NoError(t, p.ConsumeLogs(t.Context(), event(t)))
	require.Len(t, sink.AllLogs(), 1)
	ignore := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualCanonicalizationProcessorSymbolCacheHits(t, telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, ignore)
	require.NoError(t, p.ConsumeLogs(t.Context(), event(t)))
	metadatatest.AssertEqualCanonicalizationProcessorSymbolCacheHits(t, telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, ignore)
	metadatatest.AssertEqualCanonicalizationProcessorSymbolCacheMisses(t, telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, ignore)
	metadatatest.AssertEqualCanonicalizationProcessorSymbolCacheBytes(t, telemetry, []metricdata.DataPoint[int64]{{}}, ignore, metricdatatest.IgnoreValue())
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(sink.AllLogs()[0])
	require.NoError(t, err)
	assert.Contains(t, string(text), "net/http.conn.serve")
	assert.NotContains(t, string(text), "hunter2")
	assert.NotContains(t, string(text), "node-1")

	tooLarge := event(t)
	tooLarge.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().SetStr(strings.Repeat("a", 10))
	tooLarge.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr("unknown", strings.Repeat("a", canon.MaxBytes))
	tooLarge.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr(semconv.LogRecordUID, "export-1234:5678")
	require.NoError(t, p.ConsumeLogs(t.Context(), tooLarge))
	assert.Len(t, sink.AllLogs(), 2, "nothing is left to hand on")
	dropped := log.FilterMessageSnippet("records were dropped").All()
	require.Len(t, dropped, 1)
	assert.Equal(t, []any{"export-1234:5678"}, dropped[0].ContextMap()["ids"])

	metadatatest.AssertEqualCanonicalizationProcessorRecords(t, telemetry, []metricdata.DataPoint[int64]{{Value: 3}}, ignore)
	metadatatest.AssertEqualCanonicalizationProcessorDroppedRecords(t, telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, ignore)
	metadatatest.AssertEqualCanonicalizationProcessorDroppedAttributes(t, telemetry, []metricdata.DataPoint[int64]{{Value: 4}}, ignore)
	metadatatest.AssertEqualCanonicalizationProcessorDroppedFrames(t, telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, ignore)
	require.NoError(t, p.Shutdown(t.Context()))
}

// pseudonym starts a processor and returns what becomes of a host's name.
func pseudonym(t *testing.T, rules canon.Config) string {
	sink := new(consumertest.LogsSink)
	p, err := NewFactory().CreateLogs(t.Context(), processortest.NewNopSettings(metadata.Type), &Config{Rules: rules}, sink)
	require.NoError(t, err)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, p.ConsumeLogs(t.Context(), event(t)))
	require.NoError(t, p.Shutdown(t.Context()))
	name, ok := sink.AllLogs()[0].ResourceLogs().At(0).Resource().Attributes().Get(semconv.HostName)
	require.True(t, ok)
	return name.Str()
}

func TestKey(t *testing.T) {
	kept := canon.NewDefaultConfig()
	kept.HMACKeyFile = filepath.Join(t.TempDir(), "identity.key")
	first := pseudonym(t, kept)
	assert.Regexp(t, "^h:[0-9a-f]{16}$", first)
	assert.Equal(t, first, pseudonym(t, kept), "the key is kept")

	given := canon.NewDefaultConfig()
	given.HMACKey = "a-key-of-at-least-16-bytes"
	assert.Equal(t, pseudonym(t, given), pseudonym(t, given))
	assert.NotEqual(t, first, pseudonym(t, given))

	made := canon.NewDefaultConfig()
	assert.NotEqual(t, pseudonym(t, made), pseudonym(t, made), "without either the key lasts as long as the process")
}

func TestAKeyThatCannotBeReadStopsTheStart(t *testing.T) {
	rules := canon.NewDefaultConfig()
	rules.HMACKeyFile = t.TempDir()
	p, err := NewFactory().CreateLogs(t.Context(), processortest.NewNopSettings(metadata.Type), &Config{Rules: rules}, consumertest.NewNop())
	require.NoError(t, err)
	require.ErrorContains(t, p.Start(t.Context(), componenttest.NewNopHost()), "hmac_key_file:")
	require.NoError(t, p.Shutdown(t.Context()))
}
