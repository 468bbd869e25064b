package comparison

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/redactionprocessor"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/processor/canonicalizationprocessor"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// processes is a batch of calls as receivers send them: who ran, a message, a stack of three frames.
func processes(private bool) plog.Logs {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	witness.PutResource(resource.Resource().Attributes(),
		witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app"},
		witness.Instance{Host: "node-1", Pod: "web-1", Container: "5e5e5e5e5e5e"})
	scope := resource.ScopeLogs().AppendEmpty()
	scope.Scope().Attributes().PutStr(semconv.WitnessSource, "aaaaaaaaaaaaaaaa/3/tetragon")
	const buildID = "c0b9959017cf64b03131964573944fc729553ea7"
	for i := range batchSize {
		record := scope.LogRecords().AppendEmpty()
		record.SetEventName(semconv.EventCall)
		record.SetTimestamp(pcommon.NewTimestampFromTime(at))
		record.Body().SetStr("app called golang.org/x/net/html.Tokenizer.Next")
		m := record.Attributes()
		m.PutStr(semconv.LogRecordUID, fmt.Sprintf("0123456789abcdef:%d", i))
		m.PutInt(semconv.ProcessPID, int64(4000+i%50))
		m.PutStr(semconv.ProcessCreationTime, "2026-11-22T16:53:49.651293089Z")
		m.PutStr(semconv.ProcessExecutablePath, "/usr/bin/app")
		m.PutStr(semconv.TetragonPolicy, "lab-serve")
		member := fmt.Sprintf("Type%d.Method%d", i/10, i%10)
		frames := []witness.Frame{
			{
				Package: "golang.org/x/net/html", Member: "Tokenizer.Next", Symbol: "golang.org/x/net/html.Tokenizer.Next", Language: "go", Confidence: 1,
				Module: witness.Module{BuildID: buildID, Path: "/usr/bin/app"}, Offset: 0x1489de, HasOffset: true, Component: "pkg:golang/golang.org/x/net@v0.17.0",
			},
			{
				Package: "example.com/app/web", Member: member, Symbol: "example.com/app/web." + member, Language: "go", Confidence: 1,
				Module: witness.Module{BuildID: buildID, Path: "/usr/bin/app"}, Offset: uint64(0x1000 + 16*i), HasOffset: true, //nolint:gosec // not negative
			},
			{
				Package: "", Member: "start_thread", Symbol: "start_thread", Language: "c", Confidence: 1,
				Module: witness.Module{Path: "/usr/lib/x86_64-linux-gnu/libc.so.6"}, Offset: 0x891f5, HasOffset: true,
			},
		}
		if private {
			m.PutStr(semconv.ProcessCommandLine, "--user alice --password=hunter2 postgres://u:p4ssw0rd@10.0.2.15/x at 0x7ffd1c2b3a40")
			m.PutStr(semconv.ProcessExecutablePath, "/home/alice/bin/app")
			m.PutStr(semconv.TetragonMessage, fmt.Sprintf("connect from 10.0.2.%d by alice@example.com", i%250))
		}
		witness.PutStack(m, frames...)
	}
	return logs
}

// blocked are patterns for what canonicalization takes out of texts: fewer forms of each, but no kind less.
var blocked = []any{
	`0[xX][0-9a-fA-F_]{8,16}`, `\b(?:ffff|0000)[0-9a-f]{12}\b`, `[0-9a-f]{8,16}-[0-9a-f]{8,16} [r-][w-][x-][ps]`, `\b1[0-9]{14}\b|\b184467[0-9]{14}\b`,
	`(?i)(?:[a-z0-9]+[_.-])*(?:pass|passwd|password|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|auth|cookie)(?:[_.-][a-z0-9]+){0,3}\s?[=:]\s?\S+`,
	`(?i)--?(?:password|passwd|token|secret|api-key)\s+\S+`, `[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/@]+@`, `(?i)\b(?:bearer|basic) +[A-Za-z0-9+/._~=-]{6,}`,
	`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?`, `gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}`, `(?:AKIA|ASIA)[0-9A-Z]{16}`,
	`xox[abeoprs]-[A-Za-z0-9-]{8,}`, `gl(?:pat|dt|rt)-[A-Za-z0-9_-]{16,}`, `-----BEGIN [A-Z ]{0,40}KEY-----`, `\b(?:mysql|sshpass|redis-cli|openssl)\b.*\s-[apk]\s?\S+`,
	`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b`, `\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b`, `\b(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b`,
	`/(?:home|Users)/[^/\s]+`, `(?i)[a-z]:\\users\\[^\\\s]+`, `/run/user/[0-9]+`, `/proc/[0-9]+`, `/(?:tmp|dev/shm)/\S+`, `memfd:\S+`,
	`pod[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}`, `(?:docker|containerd|crio)[-:/][0-9a-f]{64}`,
}

// redaction is contrib's processor with an allow-list and patterns. With all, it looks at what is no text too, as stacks.
func redaction(b *testing.B, all bool) processor.Logs {
	factory := redactionprocessor.NewFactory()
	config := factory.CreateDefaultConfig()
	keys := []any{}
	for _, name := range []string{
		"host.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name", "k8s.deployment.name", "container.id", "container.name", semconv.WitnessSource,
		semconv.LogRecordUID, semconv.ProcessPID, semconv.ProcessCreationTime, semconv.ProcessExecutablePath, semconv.TetragonPolicy, semconv.TetragonMessage, semconv.WitnessStack,
	} {
		keys = append(keys, name)
	}
	require.NoError(b, confmap.NewFromStringMap(map[string]any{
		"allowed_keys": keys, "blocked_values": blocked, "redact_all_types": all, "summary": "silent",
	}).Unmarshal(config))
	p, err := factory.CreateLogs(context.Background(), processortest.NewNopSettings(factory.Type()), config, consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, p.Start(context.Background(), componenttest.NewNopHost()))
	return p
}

func canonicalization(b *testing.B) processor.Logs {
	factory := canonicalizationprocessor.NewFactory()
	p, err := factory.CreateLogs(context.Background(), processortest.NewNopSettings(factory.Type()), factory.CreateDefaultConfig(), consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, p.Start(context.Background(), componenttest.NewNopHost()))
	return p
}

// BenchmarkRecords makes records private: with nothing to find, and with something in each. One operation is one record;
// the time to make them is left out. Redaction looks only at texts of records themselves, redaction_all at stacks too.
func BenchmarkRecords(b *testing.B) {
	for _, private := range []bool{false, true} {
		logs := processes(private)
		for _, subject := range []struct {
			name  string
			start func(*testing.B) processor.Logs
		}{
			{"canonicalization", canonicalization},
			{"redaction_all", func(b *testing.B) processor.Logs { return redaction(b, true) }},
			{"redaction", func(b *testing.B) processor.Logs { return redaction(b, false) }},
		} {
			b.Run(fmt.Sprintf("private=%t/%s", private, subject.name), func(b *testing.B) {
				p := subject.start(b)
				var used time.Duration
				records := 0
				for ; records < min(b.N, 100*batchSize); records += batchSize {
					each := plog.NewLogs()
					logs.CopyTo(each)
					start := cpu()
					require.NoError(b, p.ConsumeLogs(b.Context(), each))
					used += cpu() - start
				}
				b.ReportMetric(used.Seconds()*1e9/float64(records), "cpu-ns/record")
				b.ReportMetric(float64(records)/used.Seconds(), "records/cpu-s")
				b.ReportMetric(0, "ns/op") // the time to make the records is in it
				require.NoError(b, p.Shutdown(context.Background()))
			})
		}
	}
}
