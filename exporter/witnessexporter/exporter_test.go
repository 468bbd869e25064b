package witnessexporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-witness/otelcol-witness/exporter/witnessexporter/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var (
	storageType = component.MustNewType("witness_storage")
	storageID   = component.NewID(storageType)
)

// ignore is what tests of metrics do not compare.
var ignore = []metricdatatest.Option{metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars()}

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

// startStorage starts a storage extension with a real database.
func startStorage(t testing.TB) (host, storage.Storage) {
	factory := witnessstorageextension.NewFactory()
	config := factory.CreateDefaultConfig().(*witnessstorageextension.Config)
	config.Embedded.Directory = t.TempDir()
	made, err := factory.Create(context.Background(), extensiontest.NewNopSettings(storageType), config)
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, made.Shutdown(context.Background())) })
	return host{storageID: made}, made.(storage.Extension).Storage()
}

func startExporter(t testing.TB, settings exporter.Settings, host component.Host, changes ...func(*Config)) exporter.Logs {
	factory := NewFactory()
	config := factory.CreateDefaultConfig().(*Config)
	for _, change := range changes {
		change(config)
	}
	require.NoError(t, confmap.Validate(config))
	made, err := factory.CreateLogs(context.Background(), settings, config)
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), host))
	t.Cleanup(func() { require.NoError(t, made.Shutdown(context.Background())) })
	return made
}

// observations are n witnesses, one hit each, in this minute.
func observations(n int) []witness.Observation {
	start := witness.AlignWindow(time.Now(), time.Minute)
	all := make([]witness.Observation, n)
	for i := range all {
		o := &all[i]
		*o = witness.Observation{
			Witness: witness.Witness{
				Kind: witness.KindCall, Workload: witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:aa"},
				Frame: witness.Frame{Package: "main", Member: fmt.Sprintf("f%d", i), Symbol: fmt.Sprintf("main.f%d", i), Language: "go", Module: witness.Module{BuildID: "b1", Path: "/app"}},
				Path:  []witness.Frame{{Symbol: "main.main"}},
			},
			Source: "a1/1/tetragon", Instance: witness.Instance{Host: "node-1", Container: "c1"}, WindowStart: start, WindowEnd: start.Add(time.Minute),
			FirstSeen: start, LastSeen: start.Add(time.Second), Hits: 1, Assurance: witness.Measured, Origin: witness.OriginWorkload,
		}
		o.ID = o.Witness.ID()
	}
	return all
}

func logsOf(observations ...witness.Observation) plog.Logs {
	logs := plog.NewLogs()
	witness.AppendObservations(logs, "test", "1", time.Now(), observations)
	return logs
}

func record(logs plog.Logs) plog.LogRecord {
	return logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
}

func stored(t testing.TB, s storage.Storage, tenant string) storage.Summary {
	hot, err := s.HotSymbols(context.Background(), tenant, storage.HotQuery{Limit: 1000})
	require.NoError(t, err)
	var filter storage.Filter
	for _, symbol := range hot {
		filter.Subjects = append(filter.Subjects, symbol.Subject.ID)
	}
	summary, err := s.Summary(context.Background(), tenant, filter)
	require.NoError(t, err)
	return summary
}

func TestConfig(t *testing.T) {
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	load := func(id string) *Config {
		sub, err := conf.Sub(id)
		require.NoError(t, err)
		config := createDefaultConfig().(*Config)
		require.NoError(t, sub.Unmarshal(config))
		require.NoError(t, confmap.Validate(config))
		return config
	}
	config := load("witness")
	assert.Equal(t, storageID, config.Storage)
	assert.True(t, config.Queue.Get().WaitForResult)
	assert.True(t, config.Queue.Get().BlockOnOverflow)
	assert.False(t, config.Queue.Get().Batch.HasValue())
	assert.True(t, config.Retry.Enabled)

	config = load("witness/all")
	assert.Equal(t, component.NewIDWithName(storageType, "elsewhere"), config.Storage)
	assert.Equal(t, 10*time.Second, config.Timeout.Timeout)
	assert.Zero(t, config.Retry.MaxElapsedTime)
	assert.EqualValues(t, 100, config.Queue.Get().QueueSize)
	assert.True(t, config.Queue.Get().WaitForResult, "what is not set keeps its default")
}

func TestConfigErrors(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"storage: is empty": func(c *Config) { c.Storage = component.ID{} },
		"sending_queue::storage: is not supported": func(c *Config) {
			c.Queue.Get().StorageID, c.Queue.Get().WaitForResult = &storageID, false
		},
		"sending_queue::batch: is not supported": func(c *Config) {
			c.Queue.Get().Batch = configoptional.Some(exporterhelper.BatchConfig{FlushTimeout: time.Second, Sizer: exporterhelper.RequestSizerTypeItems})
		},
	} {
		config := createDefaultConfig().(*Config)
		change(config)
		assert.ErrorContains(t, confmap.Validate(config), want)
	}
	config := createDefaultConfig().(*Config)
	config.Queue = configoptional.None[exporterhelper.QueueBatchConfig]()
	assert.NoError(t, confmap.Validate(config))
}

func TestRecordsInRowsOut(t *testing.T) {
	host, database := startStorage(t)
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	exporter := startExporter(t, metadatatest.NewSettings(telemetry), host)

	all := observations(3)
	all[2].FindingIDs = []string{"CVE-1"}
	logs := logsOf(all...)
	coverage := witness.Coverage{Assurance: witness.Measured, Source: "a1/1/tetragon", Signal: "tetragon", Kinds: []witness.Kind{witness.KindCall}, Start: all[0].WindowStart, End: all[0].WindowEnd, Interval: time.Minute}
	loss := witness.Coverage{Assurance: witness.Measured, Source: "a1/1/tetragon", Start: all[0].WindowStart, End: all[0].WindowEnd, LossStage: "ring buffer", Lost: 3}
	for _, c := range []*witness.Coverage{&coverage, &loss} {
		c.Put(record(logs), time.Now())
	}
	for _, name := range []string{semconv.EventExec, semconv.EventCall, "", "of.others"} {
		record(logs).SetEventName(name)
	}
	for range 2 { // and once more
		require.NoError(t, exporter.ConsumeLogs(context.Background(), logs))
	}
	summary := stored(t, database, "")
	assert.EqualValues(t, 3, summary.Hits)
	assert.Equal(t, map[witness.Assurance]uint64{witness.Measured: 3}, summary.ByAssurance, "no network peer: the claim stands")
	page, err := database.Witnesses(context.Background(), "", storage.WitnessQuery{Filter: storage.Filter{Finding: "CVE-1"}})
	require.NoError(t, err)
	require.Len(t, page.Witnesses, 1)
	assert.Equal(t, all[2].ID, page.Witnesses[0].ID)
	assert.Equal(t, all[2].Witness, page.Witnesses[0].Witness)
	got, err := database.Coverage(context.Background(), "", storage.CoverageQuery{})
	require.NoError(t, err)
	assert.ElementsMatch(t, []witness.Coverage{coverage, loss}, got)

	value := func(n int64) []metricdata.DataPoint[int64] { return []metricdata.DataPoint[int64]{{Value: n}} }
	metadatatest.AssertEqualWitnessExporterStoredObservations(t, telemetry, value(3), ignore...)
	metadatatest.AssertEqualWitnessExporterDuplicateObservations(t, telemetry, value(3), ignore...)
	metadatatest.AssertEqualWitnessExporterIgnoredRecords(t, telemetry, value(8), ignore...)
	metadatatest.AssertEqualWitnessExporterCoverage(t, telemetry, value(4), ignore...)
}

func TestBadRecordsLoseNoNeighbour(t *testing.T) {
	const secret = "hunter2"
	host, database := startStorage(t)
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	settings := metadatatest.NewSettings(telemetry)
	core, logged := observer.New(zap.InfoLevel)
	settings.Logger = zap.New(core)
	exporter := startExporter(t, settings, host)

	all := observations(9)
	all[8].FindingIDs = []string{"CVE-1", "a\x00b"}
	all[0].ID = all[1].ID          // another's
	all[2].Source = ""             // none
	all[3].Witness.Kind = "called" // no such
	all[4].WindowStart = all[4].WindowStart.Add(time.Hour)
	all[4].WindowEnd, all[4].FirstSeen, all[4].LastSeen = all[4].WindowStart.Add(time.Minute), all[4].WindowStart, all[4].WindowStart
	logs := logsOf(all...)
	first := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	first.At(5).Attributes().PutStr(semconv.WitnessHits, secret)
	record(logs).SetEventName(semconv.EventObservation)
	record(logs).SetEventName(semconv.EventCoverage)
	late := witness.Coverage{Source: secret, Start: time.Now(), End: time.Now().Add(time.Hour), LossStage: "x"}
	late.Put(record(logs), time.Now())
	require.NoError(t, exporter.ConsumeLogs(context.Background(), logs))

	assert.EqualValues(t, 3, stored(t, database, "").Hits, "1, 6 and 7 are good")
	coverage, err := database.Coverage(context.Background(), "", storage.CoverageQuery{})
	require.NoError(t, err)
	type told struct {
		source, host, stage string
		lost                uint64
		assurance           witness.Assurance
	}
	var losses []told
	for _, c := range coverage {
		losses = append(losses, told{c.Source, c.Instance.Host, c.LossStage, c.Lost, c.Assurance})
		assert.WithinDuration(t, time.Now(), c.Start, 3*time.Minute)
		assert.LessOrEqual(t, c.End.Sub(c.Start), time.Minute)
	}
	assert.ElementsMatch(t, []told{
		{all[0].Source, "node-1", "exporter.id", 1, witness.Measured},
		{all[0].Source, "node-1", "exporter.malformed", 3, witness.Measured},
		{unknownSource, "", "exporter.malformed", 2, witness.Asserted},
		{all[0].Source, "node-1", "exporter.ahead", 1, witness.Measured},
		{secret, "", "exporter.ahead", 1, witness.Asserted},
	}, losses, "one loss for each source and stage")
	metadatatest.AssertEqualWitnessExporterLosses(t, telemetry, []metricdata.DataPoint[int64]{{Value: 5}}, ignore...)
	point := func(reason string, n int64) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{Value: n, Attributes: attribute.NewSet(attribute.String("reason", reason))}
	}
	metadatatest.AssertEqualWitnessExporterRefusedRecords(t, telemetry,
		[]metricdata.DataPoint[int64]{point("id", 1), point("malformed", 6), point("ahead", 2)}, ignore...)
	entries := logged.FilterMessage("Refused records that cannot be stored").All()
	require.Len(t, entries, 1, "one line a batch")
	assert.Equal(t, map[string]any{"id": int64(1), "malformed": int64(6), "ahead": int64(2)}, entries[0].ContextMap())
}

func TestLossesAreBounded(t *testing.T) {
	l := losses{}
	now := time.Date(2026, 11, 22, 12, 0, 30, 0, time.UTC)
	for i := range 10 * maxLosses {
		o := observations(1)[0]
		o.Source = fmt.Sprint(i)
		o.Instance.Host = fmt.Sprint(i % 3)
		l.add(&o, "x")
	}
	told := l.coverage(now)
	require.Len(t, told, maxLosses+1)
	total := uint64(0)
	for _, c := range told {
		total += c.Lost
		require.NoError(t, c.Validate())
	}
	assert.EqualValues(t, 10*maxLosses, total)
	assert.Empty(t, told[len(told)-1].Instance.Host, "of several hosts none")
	l = losses{}
	l.add(&witness.Observation{}, "x")
	assert.Equal(t, []witness.Coverage{{Source: unknownSource, LossStage: "x", Lost: 1, Assurance: witness.Asserted, Start: now.Truncate(time.Minute), End: now.Truncate(time.Minute)}}, l.coverage(now))
}

func TestBehindTheHorizonIsToldByTheStorage(t *testing.T) {
	_, database := startStorage(t)
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	exporter := startExporter(t, metadatatest.NewSettings(telemetry), host{storageID: &offering{storage: &rolled{Storage: database}}})
	require.NoError(t, exporter.ConsumeLogs(context.Background(), logsOf(observations(2)...)))
	coverage, err := database.Coverage(context.Background(), "", storage.CoverageQuery{})
	require.NoError(t, err)
	assert.Empty(t, coverage, "and not once more")
	metadatatest.AssertEqualWitnessExporterRefusedRecords(t, telemetry,
		[]metricdata.DataPoint[int64]{{Value: 2, Attributes: attribute.NewSet(attribute.String("reason", "horizon"))}}, ignore...)
}

// rolled is a storage that takes no observations any more.
type rolled struct{ storage.Storage }

func (rolled) WriteObservations(_ context.Context, batch storage.Batch) (w storage.Written, err error) {
	for i := range batch.Observations {
		w.Refused = append(w.Refused, storage.Refusal{Index: i, Reason: storage.BehindHorizon})
	}
	return w, nil
}

// auth is what an authenticator says of a request.
type auth map[string]string

func (a auth) GetAttribute(name string) any {
	if value, ok := a[name]; ok {
		return value
	}
	return nil
}

func (a auth) GetAttributeNames() []string { return nil }

func TestWhoSaysSo(t *testing.T) {
	peer := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	for name, test := range map[string]struct {
		info      client.Info
		tenant    string
		assurance witness.Assurance
		unvouched int64
	}{
		"a receiver of ours":      {client.Info{}, "", witness.Measured, 0},
		"a peer without a name":   {client.Info{Addr: peer}, "", witness.Asserted, 4},
		"an authenticated peer":   {client.Info{Addr: peer, Auth: auth{"subject": "agent", "tenant": "t"}}, "t", witness.Measured, 0},
		"a peer with a user name": {client.Info{Addr: peer, Auth: auth{"username": "agent"}}, "", witness.Measured, 0},
	} {
		for queue, change := range map[string]func(*Config){
			"waiting queue": func(*Config) {},
			"queue":         func(c *Config) { c.Queue.Get().WaitForResult = false },
			"no queue":      func(c *Config) { c.Queue = configoptional.None[exporterhelper.QueueBatchConfig]() },
		} {
			t.Run(name+", "+queue, func(t *testing.T) {
				host, database := startStorage(t)
				telemetry := componenttest.NewTelemetry()
				t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
				exporter := startExporter(t, metadatatest.NewSettings(telemetry), host, change)
				all := observations(5)
				all[0].Assurance = witness.Asserted
				logs := logsOf(all...)
				heartbeat := witness.Coverage{
					Assurance: witness.Measured, Source: "a1/1/tetragon", Signal: "tetragon", Kinds: []witness.Kind{witness.KindCall},
					Start: all[0].WindowStart, End: all[0].WindowEnd, Interval: time.Minute,
				}
				heartbeat.Put(logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty(), all[0].WindowEnd)
				require.NoError(t, exporter.ConsumeLogs(client.NewContext(context.Background(), test.info), logs))
				require.Eventually(t, func() bool { return stored(t, database, test.tenant).Hits == 5 }, 10*time.Second, 10*time.Millisecond)
				want := map[witness.Assurance]uint64{witness.Asserted: 1, witness.Measured: 4}
				if test.assurance == witness.Asserted {
					want = map[witness.Assurance]uint64{witness.Asserted: 5}
				}
				assert.Equal(t, want, stored(t, database, test.tenant).ByAssurance)
				require.Eventually(t, func() bool {
					coverage, err := database.Coverage(context.Background(), test.tenant, storage.CoverageQuery{})
					return assert.NoError(t, err) && len(coverage) == 1 && coverage[0].Assurance == test.assurance
				}, 10*time.Second, 10*time.Millisecond)
				if test.unvouched > 0 {
					metadatatest.AssertEqualWitnessExporterUnvouchedObservations(t, telemetry, []metricdata.DataPoint[int64]{{Value: test.unvouched}}, ignore...)
				}
			})
		}
	}
}

// failing is a storage extension whose database fails a few times.
type failing struct {
	component.StartFunc
	component.ShutdownFunc
	storage.Storage
	failures int
}

func (f *failing) WriteObservations(ctx context.Context, batch storage.Batch) (storage.Written, error) {
	if f.failures > 0 {
		f.failures--
		return storage.Written{}, errors.New("the disk is full")
	}
	return f.Storage.WriteObservations(ctx, batch)
}

type offering struct {
	component.StartFunc
	component.ShutdownFunc
	storage storage.Storage
}

func (o *offering) Storage() storage.Storage { return o.storage }

func TestAFailureOfTheStorageIsRetried(t *testing.T) {
	_, database := startStorage(t)
	exporter := startExporter(t, exportertest.NewNopSettings(NewFactory().Type()),
		host{storageID: &offering{storage: &failing{Storage: database, failures: 2}}},
		func(c *Config) { c.Retry.InitialInterval = time.Millisecond })
	require.NoError(t, exporter.ConsumeLogs(context.Background(), logsOf(observations(2)...)), "acknowledged when it is stored")
	assert.EqualValues(t, 2, stored(t, database, "").Hits)
}

func TestStartNeedsAStorage(t *testing.T) {
	for name, host := range map[string]host{"none": {}, "another extension": {storageID: componentOnly{}}} {
		made, err := NewFactory().CreateLogs(context.Background(), exportertest.NewNopSettings(NewFactory().Type()), createDefaultConfig())
		require.NoError(t, err)
		require.ErrorContains(t, made.Start(context.Background(), host), "witness_storage", name)
		require.NoError(t, made.Shutdown(context.Background()))
	}
}

type componentOnly struct {
	component.StartFunc
	component.ShutdownFunc
}

func FuzzDecode(f *testing.F) {
	marshal := func(logs plog.Logs) []byte {
		encoded, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
		require.NoError(f, err)
		return encoded
	}
	f.Add(marshal(logsOf(observations(3)...)))
	empty := plog.NewLogs()
	for _, name := range []string{semconv.EventObservation, semconv.EventCoverage, semconv.EventLoss, semconv.EventStatus} {
		r := record(empty)
		r.SetEventName(name)
		r.SetTimestamp(pcommon.Timestamp(1))
	}
	f.Add(marshal(empty))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(encoded)
		if err != nil {
			return
		}
		c := decode(logs, time.Now())
		refused := 0
		for _, n := range c.refused {
			refused += n
		}
		assert.Equal(t, logs.LogRecordCount(), len(c.observations)+len(c.coverage)+c.ignored+refused, "every record is accounted for")
	})
}

func BenchmarkConsume(b *testing.B) {
	host, _ := startStorage(b)
	exporter := startExporter(b, exportertest.NewNopSettings(NewFactory().Type()), host)
	all := observations(1000)
	first := all[0].WindowStart
	for b.Loop() {
		b.StopTimer()
		first = first.Add(-time.Minute)
		for i := range all {
			all[i].WindowStart, all[i].WindowEnd, all[i].FirstSeen, all[i].LastSeen = first, first.Add(time.Minute), first, first
		}
		logs := logsOf(all...)
		b.StartTimer()
		require.NoError(b, exporter.ConsumeLogs(context.Background(), logs))
	}
	b.ReportMetric(float64(b.N*len(all))/b.Elapsed().Seconds(), "obs/s")
}
