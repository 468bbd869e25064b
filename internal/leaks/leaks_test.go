package leaks

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zricethezav/gitleaks/v8/detect"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-witness/otelcol-witness/exporter/witnessexporter"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/processor/canonicalizationprocessor"
	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor"
	"github.com/otelcol-witness/otelcol-witness/receiver/tetragonreceiver"
)

// secrets are made up, in forms that gitleaks knows. They are in parts, so that nobody takes this file for a leak.
var secrets = []string{
	"gh" + "p_0aB3dE6gH9jKlM2oPqR5tUvW8yZaBcDeF4hI",
	"AK" + "IAQ3EGRZ7XVTN2WLPD",
	"gl" + "pat-x7Kp2mQv9sRt4wYz1bNc",
	"xo" + "xb-263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1",
	"sk" + "_live_4eC39HqLyjWDarjtT1zdp7dcQ8vBnM2x",
	"np" + "m_k7Rt2mQv9sXp4wYz1bNcL5dHf8gJa3eTuViO",
	"ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IngifQ.dyt0CoTl4WoVjAHI9Q_CwSKhl6d_9rhM3NrXuJttkao",
	"-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEAx7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eTuViOq6Wz0Xn\nx7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eTuViOq6Wz0Xnx7Kp2mQv9sRt4wYz1b\n-----END RSA PRIVATE KEY-----",
	"hv" + "s.CAESIJ7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eTuViOq6Wz0XnGh4KHGh2cy5k7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eTuV",
	"api_key = \"x7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eT\"",
	"DB_PASSWORD=x7Kp2mQv9sRt4wYz1bNcL5dH",
	"curl -u admin:x7Kp2mQv9sRt4wYz1bNc https://example.com/x",
	`curl -H "Authorization: Bearer x7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eT" https://example.com/x`,
	"SG" + ".x7Kp2mQv9sRt4wYz1bNcL5.dHf8gJa3eTuViOq6Wz0Xnx7Kp2mQv9sRt4wYz1bNcL5d",
	"dc" + "kr_pat_x7Kp2mQv9sRt4wYz1bNcL5dHf8g",
	"https://hooks.slack.com/services/" + "T0A1B2C3D/B0A1B2C3D/x7Kp2mQv9sRt4wYz1bNcL5dH",
	"AC" + "COUNT_KEY=x7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eTuViOq6Wz0Xnx7Kp2mQv9sRt4wYz1bNcL5dHf8gJa3eTuViOq6Wz0Xn==",
}

// planted has a secret in every field of every event.
func planted(t *testing.T, secret string, now time.Time) plog.Logs {
	var model struct {
		Events, Frames []struct{ Name string }
		Attributes     []struct{ Name, Type string }
	}
	content, err := os.ReadFile("../semconv/model.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &model))
	all, frame := map[string]any{"my.allowed": secret, "my.unknown": secret}, map[string]any{"unknown": secret}
	for _, a := range model.Attributes {
		if all[a.Name] = secret; a.Type == "string[]" {
			all[a.Name] = []any{secret}
		}
	}
	for _, f := range model.Frames {
		frame[f.Name] = secret
	}
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	require.NoError(t, resource.Resource().Attributes().FromRaw(all))
	scope := resource.ScopeLogs().AppendEmpty()
	scope.Scope().SetName(secret)
	require.NoError(t, scope.Scope().Attributes().FromRaw(all))
	for _, event := range model.Events {
		for _, symbol := range []string{secret, "SSL_read"} {
			record := scope.LogRecords().AppendEmpty()
			record.SetEventName(event.Name)
			record.SetTimestamp(pcommon.NewTimestampFromTime(now))
			record.SetSeverityText(secret)
			record.Body().SetStr(secret)
			require.NoError(t, record.Attributes().FromRaw(all))
			record.Attributes().PutInt(semconv.WitnessHits, 1)
			frame[semconv.FrameSymbol] = symbol
			require.NoError(t, record.Attributes().PutEmptySlice(semconv.WitnessStack).FromRaw([]any{frame}))
		}
	}
	return logs
}

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

// TestGitleaksFindsNothing has secrets and real captures go through the components as in a collector. Gitleaks finds the
// secrets in what goes in, and nothing in what comes out: records with scrubbed arguments, and all files of the storage.
func TestGitleaksFindsNothing(t *testing.T) {
	ctx := context.Background()
	detector, err := detect.NewDetectorDefaultConfig()
	require.NoError(t, err)
	marshaler := plog.JSONMarshaler{}
	nop := componenttest.NewNopHost()
	storageFactory := witnessstorageextension.NewFactory()
	storageConfig := storageFactory.CreateDefaultConfig().(*witnessstorageextension.Config)
	storageConfig.Embedded.Directory = t.TempDir()
	storage, err := storageFactory.Create(ctx, extensiontest.NewNopSettings(storageFactory.Type()), storageConfig)
	require.NoError(t, err)
	require.NoError(t, storage.Start(ctx, nop))

	exporterFactory := witnessexporter.NewFactory()
	exporterConfig := exporterFactory.CreateDefaultConfig().(*witnessexporter.Config)
	exporterConfig.Queue = configoptional.None[exporterhelper.QueueBatchConfig]()
	out, err := exporterFactory.CreateLogs(ctx, exporter.Settings{ID: component.NewID(exporterFactory.Type()), TelemetrySettings: exportertest.NewNopSettings(exporterFactory.Type()).TelemetrySettings}, exporterConfig)
	require.NoError(t, err)
	require.NoError(t, out.Start(ctx, host{component.NewID(storageFactory.Type()): storage}))

	hotFactory := hotsymbolprocessor.NewFactory()
	hotConfig := hotFactory.CreateDefaultConfig().(*hotsymbolprocessor.Config)
	hotConfig.AllowedLateness = 10 * 365 * 24 * time.Hour
	hot, err := hotFactory.CreateLogs(ctx, processortest.NewNopSettings(hotFactory.Type()), hotConfig, out)
	require.NoError(t, err)
	require.NoError(t, hot.Start(ctx, nop))

	// What is canonical is kept as text, too.
	var records strings.Builder
	tee, err := consumer.NewLogs(func(ctx context.Context, logs plog.Logs) error {
		text, err := marshaler.MarshalLogs(logs)
		require.NoError(t, err)
		records.Write(text)
		records.WriteByte('\n')
		return hot.ConsumeLogs(ctx, logs)
	})
	require.NoError(t, err)
	canonFactory := canonicalizationprocessor.NewFactory()
	canonConfig := canonFactory.CreateDefaultConfig().(*canonicalizationprocessor.Config)
	canonConfig.Rules.Arguments, canonConfig.Rules.Allow, canonConfig.Rules.Identities = "scrub", []string{"my.allowed"}, "keep"
	in, err := canonFactory.CreateLogs(ctx, processortest.NewNopSettings(canonFactory.Type()), canonConfig, tee)
	require.NoError(t, err)
	require.NoError(t, in.Start(ctx, nop))

	found, now := 0, time.Now()
	for _, secret := range secrets {
		logs := planted(t, secret, now)
		if len(detector.DetectString(secret)) > 0 {
			found++
		}
		require.NoError(t, in.ConsumeLogs(ctx, logs))
	}
	assert.Greater(t, found, 2*len(secrets)/3, "the oracle knows most of the secrets")
	for _, capture := range []string{"linger", "contained", "throttled"} {
		receiverFactory := tetragonreceiver.NewFactory()
		receiverConfig := receiverFactory.CreateDefaultConfig().(*tetragonreceiver.Config)
		receiverConfig.File = configoptional.Some(tetragonreceiver.FileConfig{Path: "../../testdata/tetragon/" + capture + ".export.jsonl.gz", Replay: true})
		receiverConfig.IncludeArguments, receiverConfig.IncludeRaw = true, true
		sink := new(consumertest.LogsSink)
		receiver, err := receiverFactory.CreateLogs(ctx, receivertest.NewNopSettings(receiverFactory.Type()), receiverConfig, sink)
		require.NoError(t, err)
		require.NoError(t, receiver.Start(ctx, nop))
		last := -1
		require.Eventually(t, func() bool { // it has read all of it
			n := sink.LogRecordCount()
			done := n > 0 && n == last
			last = n
			return done
		}, 30*time.Second, 500*time.Millisecond)
		require.NoError(t, receiver.Shutdown(ctx))
		for _, logs := range sink.AllLogs() {
			require.NoError(t, in.ConsumeLogs(ctx, logs))
		}
	}
	for _, part := range []component.Component{in, hot, out, storage} {
		require.NoError(t, part.Shutdown(ctx))
	}

	assert.Greater(t, records.Len(), 1<<20)
	report(t, detector, "records", records.String())
	files := 0
	require.NoError(t, fs.WalkDir(os.DirFS(storageConfig.Embedded.Directory), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(storageConfig.Embedded.Directory, path))
		if len(content) > 0 {
			files++
		}
		report(t, detector, path, printable(content))
		return err
	}))
	assert.Positive(t, files)
}

// TestGitleaksFindsNothingInGoldenOutput has it look at what this repository says that we write, and at its documents.
func TestGitleaksFindsNothingInGoldenOutput(t *testing.T) {
	detector, err := detect.NewDetectorDefaultConfig()
	require.NoError(t, err)
	files := 0
	for _, directory := range []string{"witness/testdata", "snapshot/testdata", "docs"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("../..", directory), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			files++
			report(t, detector, path, string(content))
			return err
		}))
	}
	assert.Greater(t, files, 5)
}

// printable has the texts in a file, each on a line of its own.
func printable(content []byte) string {
	var out strings.Builder
	for text := range strings.FieldsFuncSeq(string(content), func(r rune) bool { return r == utf8.RuneError || r < ' ' && r != '\n' && r != '\t' }) {
		if len(text) >= 4 {
			out.WriteString(text + "\n")
		}
	}
	return out.String()
}

// report fails for each finding, with the rule and what is around it.
func report(t *testing.T, detector *detect.Detector, where, text string) {
	for _, finding := range detector.DetectString(text) {
		t.Errorf("%s: %s: %.200q", where, finding.RuleID, finding.Match)
	}
}
