package canon

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// model is what internal/semconv/model.yaml names.
type model struct {
	Events []struct {
		Name string `yaml:"name"`
	} `yaml:"events"`
	Attributes, Frames []struct {
		Name string   `yaml:"name"`
		Type string   `yaml:"type"`
		On   []string `yaml:"on"`
	}
}

func readModel(t testing.TB) model {
	content, err := os.ReadFile("../semconv/model.yaml")
	require.NoError(t, err)
	var m model
	require.NoError(t, yaml.Unmarshal(content, &m))
	require.NotEmpty(t, m.Events)
	require.NotEmpty(t, m.Frames)
	return m
}

// canaries are texts of which nothing may survive in any field.
var canaries = []struct {
	name  string
	value any
	// gone are byte sequences that must not be in the result; none: the value itself.
	gone []string
}{
	{"user address", "0x7ffd1c2b3a40", []string{"7ffd1c2b3a40"}},
	{"user address in text", "fault at 7f12ab34c000-7f12ab35d000 r-xp", []string{"7f12ab34c000", "7f12ab35d000"}},
	{"kernel address", "ffffffff81a3c2f0", []string{"ffffffff81a3c2f0"}},
	{"kernel address, prefixed", "x=0xffff888100123400", []string{"ffff888100123400"}},
	{"decimal user address", "140498967885099", []string{"140498967885099"}},
	{"decimal kernel address", "18446744072265074673", []string{"18446744072265074673"}},
	{"address as int", int64(140498967885099), []string{"140498967885099"}},
	{"kernel address as int", int64(-2130706432), []string{"-2130706432"}},
	{"address as double", 140498967885099.0, []string{"140498967885099", "1.40498967885099e"}},
	{"address as bytes", []byte{0x40, 0x3a, 0x2b, 0x1c, 0xfd, 0x7f, 0, 0}, []string{"QDorHP1/AAA="}},
	{"token", "ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP", []string{"aB3dE6gH9j"}},
	{"key and value", "password=hunter2hunter2", []string{"hunter2"}},
	{"URL with credentials", "postgres://u:hunter2hunter2@db/x", []string{"hunter2"}},
	{"home", "/home/alicecanary/x", []string{"alicecanary"}},
	{"mail", "alicecanary@example.com", []string{"alicecanary"}},
	{"token in bytes", []byte("ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP"), []string{"Z2hwX2FC"}},
	{"map", map[string]any{"alicecanary@example.com": "x", "x": map[string]any{"password=hunter2canary": "x", "x": []any{"password=hunter2canary", []byte("hunter2canary"), int64(140498967885099)}}}, []string{"alicecanary", "hunter2canary", "140498967885099"}},
	{"list", []any{"0x7ffd1c2b3a40", []any{"password=hunter2hunter2"}, map[string]any{"alicecanary@example.com": "x"}, int64(140498967885099)}, []string{"7ffd1c2b3a40", "hunter2", "alicecanary", "140498967885099"}},
}

// TestCanaries puts every canary into every field of every event, and into fields that no model names.
func TestCanaries(t *testing.T) {
	m := readModel(t)
	allowed := func(c *Config) { c.Allow = []string{"my.allowed"} }
	scrubbed := func(c *Config) { c.Allow, c.Arguments = []string{"my.allowed"}, ArgumentsScrub }
	kept := func(c *Config) { c.Identities = IdentitiesKeep }
	for name, config := range map[string]func(*Config){"default": allowed, "arguments scrubbed": scrubbed, "identities kept": kept} {
		c := newCanonicalizer(t, config)
		for _, canary := range canaries {
			t.Run(name+"/"+canary.name, func(t *testing.T) {
				logs := plog.NewLogs()
				resourceLogs := logs.ResourceLogs().AppendEmpty()
				resourceLogs.SetSchemaUrl("https://example.com/alicecanary/hunter2/ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP")
				scopeLogs := resourceLogs.ScopeLogs().AppendEmpty()
				scopeLogs.SetSchemaUrl(resourceLogs.SchemaUrl())
				text, isText := canary.value.(string)
				if isText {
					scopeLogs.Scope().SetName(text)
					scopeLogs.Scope().SetVersion(text)
				}
				resource, scope, record := map[string]any{}, map[string]any{}, map[string]any{}
				on := map[string]map[string]any{"resource": resource, "scope": scope, "record": record}
				frame := map[string]any{"hunter2canary": "alicecanary"}
				for _, f := range m.Frames {
					frame[f.Name] = canary.value
				}
				frame["unknown"] = canary.value
				for _, a := range m.Attributes {
					for _, place := range on {
						place[a.Name] = canary.value
					}
					if a.Type == "string[]" {
						for _, place := range on {
							place[a.Name] = []any{canary.value, "x"}
						}
					}
				}
				for _, place := range on {
					place["my.allowed"], place["my.unknown"] = canary.value, canary.value
				}
				require.NoError(t, resourceLogs.Resource().Attributes().FromRaw(resource))
				require.NoError(t, scopeLogs.Scope().Attributes().FromRaw(scope))
				events := []string{semconv.EventObservation, "someone.else"}
				for _, event := range m.Events {
					if name == "default" {
						events = append(events, event.Name)
					}
				}
				for _, event := range events {
					r := scopeLogs.LogRecords().AppendEmpty()
					r.SetEventName(event)
					require.NoError(t, r.Body().FromRaw(canary.value))
					require.NoError(t, r.Attributes().FromRaw(record))
					r.Attributes().PutStr(semconv.WitnessCanon, Version) // a forged mark
					stack := r.Attributes().PutEmptySlice(semconv.WitnessStack)
					require.NoError(t, stack.AppendEmpty().SetEmptyMap().FromRaw(frame))
					require.NoError(t, stack.AppendEmpty().FromRaw(canary.value))
					for _, language := range []string{"go", "c", "cxx", "rust", "kernel", "jvm", "dotnet", "python", "js", "swift", "d", ""} {
						each := stack.AppendEmpty().SetEmptyMap()
						require.NoError(t, each.FromRaw(frame))
						each.PutStr(semconv.FrameLanguage, language)
						if isText {
							alone := stack.AppendEmpty().SetEmptyMap()
							alone.PutStr(semconv.FrameLanguage, language)
							alone.PutStr(semconv.FrameSymbol, text)
						}
					}
					if isText {
						r.SetSeverityText(text)
						other := scopeLogs.LogRecords().AppendEmpty()
						other.SetEventName(text)
					}
				}
				records := logs.LogRecordCount()
				report := c.Logs(logs)
				assert.Equal(t, records, report.Records)
				assert.Zero(t, report.DroppedRecords)
				out := same(t, logs)
				for _, gone := range canary.gone {
					if at := strings.Index(out, gone); at >= 0 {
						t.Errorf("%q survives: ...%s", gone, out[max(0, at-80):min(len(out), at+40)])
					}
				}
				requireStable(t, c, logs)
			})
		}
	}
}

// TestEvidenceSurvives has, for every event, evidence that must come out byte for byte.
func TestEvidenceSurvives(t *testing.T) {
	m := readModel(t)
	record := map[string]any{
		semconv.ProcessPID: int64(4711), semconv.ProcessExecutablePath: "/usr/bin/app", semconv.ProcessExecutableName: "app",
		semconv.ProcessExecutableBuildIDGNU: buildID, semconv.ProcessExecutableBuildIDHtlhash: "d41d8cd98f00b204e9800998ecf8427e",
		semconv.ProcessCreationTime: "2026-11-22T16:53:49.651293089Z",
		semconv.ArtifactPURL:        "pkg:golang/github.com/x/auth@v1.2.3-rc.beta?goos=linux", semconv.ArtifactHash: digest,
		semconv.VCSRefHeadRevision: "8adc0f041b8e7ad1d30e29cc59c6ae7a15e19828", semconv.WitnessID: strings.Repeat("ab", 32),
		semconv.VCSRepositoryURLFull: "https://github.com/x/auth", semconv.CodeFilePath: "/go/pkg/mod/golang.org/x/net@v0.17.0-rc.beta/html/token.go",
		semconv.WitnessComponentPURL: purl, semconv.LogRecordUID: "tetragon.log:18446", semconv.WitnessSource: "0123456789abcdef/3/tetragon/prod",
		semconv.WitnessHits: int64(1) << 40, semconv.WitnessFindingIDs: []any{"GO-2023-1988", "CVE-2023-44487"},
		semconv.WitnessArtifactConflicts: []any{purl, digest}, semconv.TetragonTracepoint: "sched/sched_process_exec",
		semconv.WitnessStack: []any{
			frame("package", "golang.org/x/net/html", "member", "Tokenizer.Next", "symbol", "golang.org/x/net/html.Tokenizer.Next", "language", "go",
				"flags", []any{"closure"}, "module", "/usr/bin/app", "build_id", buildID, "sha256", digest[7:], "offset", "0x1489de", "component", purl,
				"file", "html/token.go", "line", int64(12), "confidence", 0.95, "symbol_source", "pclntab", "inlined", true),
			frame("member", "SSL_read", "symbol", "SSL_read", "language", "c", "module", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "build_id", "8adc0f041b8e7ad1"),
			frame("package", "nf_tables", "member", "nft_do_chain", "symbol", "nft_do_chain", "language", "kernel", "module", "[kernel]", "offset", "0x0"),
			frame("module", "[vdso]", "offset", "0x100000000"),
		},
		semconv.WitnessCanon: Version,
	}
	resource := map[string]any{
		semconv.HostName: "node-1", semconv.K8SNamespaceName: "shop", semconv.K8SDeploymentName: "web", semconv.K8SPodUID: "0f9e8d7c-6b5a-4d3c-2b1a-0f9e8d7c6b5a",
		semconv.ContainerID: strings.Repeat("ab12", 16), semconv.ContainerImageName: "registry.example:5000/app",
		semconv.ContainerImageTags: []any{"1.2.3.4", "v2"}, semconv.ContainerImageRepoDigests: []any{"registry.example:5000/app@" + digest, digest},
		semconv.ServiceVersion: "1.2.3.4-1ubuntu2",
	}
	c := newCanonicalizer(t, func(c *Config) { c.Identities = IdentitiesKeep })
	for _, event := range m.Events {
		t.Run(event.Name, func(t *testing.T) {
			logs, r := single(t, event.Name, resource, record)
			r.SetTraceID(pcommon.TraceID{1, 2, 3})
			r.SetSpanID(pcommon.SpanID{4, 5, 6})
			r.Body().SetStr("curl connected")
			r.SetTimestamp(pcommon.NewTimestampFromTime(time.Unix(1, 0)))
			before := same(t, logs)
			assert.Equal(t, Report{Records: 1}, c.Logs(logs))
			assert.JSONEq(t, before, same(t, logs))
		})
	}
}

func FuzzLogs(f *testing.F) {
	m := readModel(f)
	marshaler := plog.ProtoMarshaler{}
	for _, canary := range canaries {
		logs := plog.NewLogs()
		resourceLogs := logs.ResourceLogs().AppendEmpty()
		r := resourceLogs.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		r.SetEventName(m.Events[len(canary.name)%len(m.Events)].Name)
		for _, a := range m.Attributes {
			value, _ := r.Attributes().GetOrPutEmpty(a.Name)
			require.NoError(f, value.FromRaw(canary.value))
		}
		stack := r.Attributes().PutEmptySlice(semconv.WitnessStack).AppendEmpty().SetEmptyMap()
		for _, a := range m.Frames {
			value, _ := stack.GetOrPutEmpty(a.Name)
			require.NoError(f, value.FromRaw(canary.value))
		}
		content, err := marshaler.MarshalLogs(logs)
		require.NoError(f, err)
		f.Add(content)
	}
	config := NewDefaultConfig()
	config.HMACKey, config.Allow, config.Arguments = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", []string{"a"}, ArgumentsScrub
	c, err := New(config)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, content []byte) {
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(content)
		if err != nil {
			return
		}
		c.Logs(logs)
		once, err := marshaler.MarshalLogs(logs)
		require.NoError(t, err)
		c.Logs(logs)
		twice, err := marshaler.MarshalLogs(logs)
		require.NoError(t, err)
		require.True(t, bytes.Equal(once, twice), "a second pass changed something")
	})
}

func BenchmarkLogs(b *testing.B) {
	const records = 100
	logs := plog.NewLogs()
	resourceLogs := logs.ResourceLogs().AppendEmpty()
	require.NoError(b, resourceLogs.Resource().Attributes().FromRaw(map[string]any{semconv.HostName: "node-1", semconv.K8SNamespaceName: "shop", semconv.ContainerID: strings.Repeat("ab12", 16)}))
	slice := resourceLogs.ScopeLogs().AppendEmpty().LogRecords()
	for range records {
		r := slice.AppendEmpty()
		r.SetEventName(semconv.EventCall)
		require.NoError(b, r.Attributes().FromRaw(map[string]any{
			semconv.ProcessPID: int64(4711), semconv.ProcessExecutablePath: "/usr/bin/app", semconv.ProcessUserID: int64(1000),
			semconv.ProcessCreationTime: "2026-11-22T16:53:49.651293089Z", semconv.TetragonPolicy: "lab-serve", semconv.ProcessCommandLine: "-s -m 30",
			semconv.WitnessStack: []any{
				frame("symbol", "golang.org/x/net/html.(*Tokenizer).Next", "language", "go", "module", "/usr/bin/app", "build_id", buildID, "offset", "0x1489de"),
				frame("symbol", "main.main.func1", "language", "go", "module", "/usr/bin/app", "build_id", buildID, "offset", "0x1489ff"),
				frame("symbol", "SSL_read@@OPENSSL_3.0.0", "module", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "offset", "0x44de"),
			},
		}))
	}
	c := newCanonicalizer(b, nil)
	run := func(name string, apply func(plog.Logs)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				each := plog.NewLogs()
				logs.CopyTo(each)
				apply(each)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
		})
	}
	run("copy", func(plog.Logs) {})
	run("raw", func(each plog.Logs) { c.Logs(each) })
	c.Logs(logs)
	run("canonical", func(each plog.Logs) { c.Logs(each) })
	b.Run("clean", func(b *testing.B) { // nothing to change, and nothing to copy
		b.ReportAllocs()
		for b.Loop() {
			c.Logs(logs)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
	})
}
