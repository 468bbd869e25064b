package canon

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	buildID = "c0b9959017cf64b03131964573944fc729553ea7"
	digest  = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	purl    = "pkg:golang/golang.org/x/net@v0.17.0"
)

func newCanonicalizer(t testing.TB, change func(*Config)) *Canonicalizer {
	config := NewDefaultConfig()
	config.HMACKey = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	require.NoError(t, err)
	return c
}

// single is one record of an event with attributes, which are values of pcommon.Map.FromRaw.
func single(t testing.TB, event string, resource, attributes map[string]any) (plog.Logs, plog.LogRecord) {
	logs := plog.NewLogs()
	resourceLogs := logs.ResourceLogs().AppendEmpty()
	require.NoError(t, resourceLogs.Resource().Attributes().FromRaw(resource))
	record := resourceLogs.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetEventName(event)
	require.NoError(t, record.Attributes().FromRaw(attributes))
	return logs, record
}

func frame(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// same is logs as text, to compare.
func same(t testing.TB, logs plog.Logs) string {
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	return string(text)
}

// requireStable checks that a second pass changes nothing.
func requireStable(t testing.TB, c *Canonicalizer, logs plog.Logs) {
	before := same(t, logs)
	report := c.Logs(logs)
	require.Equal(t, before, same(t, logs))
	require.Equal(t, Report{Records: report.Records}, report)
}

func TestAttributes(t *testing.T) {
	allowX := func(c *Config) { c.Allow = []string{"x"} }
	for _, c := range []struct {
		name      string
		config    func(*Config)
		attribute string
		value     any
		want      any // nil: dropped
	}{
		{"number", nil, semconv.ProcessPID, int64(42), int64(42)},
		{"user address as number", nil, semconv.ProcessPID, int64(140498967885099), nil},
		{"kernel address as number", nil, semconv.WitnessHits, int64(-131391635459072), nil},
		{"kernel text address as number", nil, semconv.ProcessExitCode, int64(-2130706432), nil},
		{"error code", nil, semconv.ProcessExitCode, int64(-1), int64(-1)},
		{"many hits", nil, semconv.WitnessHits, int64(1 << 40), int64(1 << 40)},
		{"text for a number", nil, semconv.ProcessPID, "0x7ffd1c2b3a40", nil},
		{"bytes for a text", nil, semconv.WitnessProbeID, []byte("secret"), nil},
		{"map for a text", nil, semconv.WitnessProbeID, map[string]any{"a": "b"}, nil},
		{"name", nil, semconv.WitnessProbeID, "lab-serve", "lab-serve"},
		{"name with an address", nil, semconv.WitnessProbeID, "hook@0xffff888100123400", "hook@<addr>"},
		{"name with a token", nil, semconv.TetragonPolicy, "p-ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP", "p-<secret>"},
		{"name that is too long", nil, semconv.WitnessProbeID, strings.Repeat("a", 2000), nil},
		{"enumeration", nil, semconv.WitnessKind, "call", "call"},
		{"not of the enumeration", nil, semconv.WitnessKind, "hunter2", nil},
		{"time", nil, semconv.ProcessCreationTime, "2026-11-22T16:53:49.651293089Z", "2026-11-22T16:53:49.651293089Z"},
		{"no time", nil, semconv.ProcessCreationTime, "yesterday", nil},
		{"list", nil, semconv.TetragonTags, []any{"network", "lab.tcp"}, []any{"network", "lab.tcp"}},
		{"list with a number", nil, semconv.TetragonTags, []any{"network", int64(140498967885099)}, []any{"network"}},
		{"double", nil, semconv.WitnessCoverageInterval, 10.5, 10.5},
		{"address as double", nil, semconv.WitnessCoverageInterval, 140498967885099.0, nil},
		{"build-id", nil, semconv.ProcessExecutableBuildIDGNU, buildID, buildID},
		{"address as build-id", nil, semconv.ProcessExecutableBuildIDGNU, "ffff888100123400", nil},
		{"short address as build-id", nil, semconv.ProcessExecutableBuildIDGNU, "7ffd1c2b3a40", nil},
		{"text as build-id", nil, semconv.ProcessExecutableBuildIDGNU, "hunter2", nil},
		{"Go build id", nil, semconv.ProcessExecutableBuildIDGo, "rjX_6bHBh4p6MjXl3Oes/LVUX-Y5gfxzpM9A6rEBY/hMdLXbEyOMyTNOpWbe0e/xUqNYHIoAcQyYyVhyO0y", "rjX_6bHBh4p6MjXl3Oes/LVUX-Y5gfxzpM9A6rEBY/hMdLXbEyOMyTNOpWbe0e/xUqNYHIoAcQyYyVhyO0y"},
		{"decimal address as build-id", nil, semconv.ProcessExecutableBuildIDGNU, "18446744072265074673", nil},
		{"decimal address as revision", nil, semconv.VCSRefHeadRevision, "140498967885099", nil},
		{"purl", nil, semconv.ArtifactPURL, "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12", "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12"},
		{"purl with credentials", nil, semconv.ArtifactPURL, "pkg:npm/a@1?repository_url=https:%2F%2Fu:pw123@example.com", nil},
		{"purl with a key", nil, semconv.ArtifactPURL, "pkg:npm/a@1?password=hunter2", nil},
		{"purl with a file of a user", nil, semconv.ArtifactPURL, "pkg:generic/a@1?download_url=file:%2F%2F%2Fhome%2Falice%2Fa.tgz", nil},
		{"purl with a checksum", nil, semconv.ArtifactPURL, "pkg:generic/a@1?checksum=" + digest, "pkg:generic/a@1?checksum=" + digest},
		{"purl of a directory", nil, semconv.ArtifactPURL, "pkg:golang/_/home/alice/x", nil},
		{"digest", nil, semconv.ArtifactHash, digest, digest},
		{"revision", nil, semconv.VCSRefHeadRevision, "8adc0f041b8e7ad1d30e29cc59c6ae7a15e19828", "8adc0f041b8e7ad1d30e29cc59c6ae7a15e19828"},
		{"conflicts", nil, semconv.WitnessArtifactConflicts, []any{purl, digest, "at 0x7ffd1c2b3a40"}, []any{purl, digest, "at <addr>"}},
		{"record id", nil, semconv.LogRecordUID, "export-1234:5678", "export-1234:5678"},
		{"record id with a path", nil, semconv.LogRecordUID, "/home/alice/x:1", "h:16a818b927d84e60"},
		{"source", nil, semconv.WitnessSource, "0123456789abcdef/3/tetragon/prod", "0123456789abcdef/3/tetragon/prod"},
		{"source with a mail address", nil, semconv.WitnessSource, "alice@example.com/GO-2023-1988/1", "h:d3c6b28cd2f0af6e"},
		{"path", nil, semconv.ProcessExecutablePath, "/usr/bin/curl", "/usr/bin/curl"},
		{"home", nil, semconv.ProcessExecutablePath, "/home/alice/bin/x", "/home/<user>/bin/x"},
		{"source in a temporary directory", nil, semconv.CodeFilePath, "/tmp/secret-project/x.go", "<tmp>"},
		{"function", nil, semconv.CodeFunctionName, "golang.org/x/net/html.(*Tokenizer).Next", "golang.org/x/net/html.Tokenizer.Next"},
		{"no function", nil, semconv.CodeFunctionName, "the password is hunter2", nil},
		{"arguments", nil, semconv.ProcessCommandArgs, []any{"-p", "hunter2"}, nil},
		{"arguments scrubbed", func(c *Config) { c.Arguments = ArgumentsScrub }, semconv.ProcessCommandLine, "mysql --password=hunter2 0x7ffd1c2b3a40", "mysql --password=<secret> <addr>"},
		{"arguments kept", func(c *Config) { c.Arguments = ArgumentsKeep }, semconv.ProcessCommandLine, "mysql --password=hunter2 0x7ffd1c2b3a40", "mysql --password=hunter2 <addr>"},
		{"list of arguments scrubbed", func(c *Config) { c.Arguments = ArgumentsScrub }, semconv.ProcessCommandArgs, []any{"tool", "--password", "hunter2", int64(140498967885099)}, []any{"tool", "--password", "<secret>"}},
		{"arguments scrubbed that only together tell", func(c *Config) { c.Arguments = ArgumentsScrub }, semconv.ProcessCommandArgs, []any{"curl", "-H", "Authorization:", "Bearer", "hunter2"}, []any{"curl -H Authorization: Bearer <secret>"}},
		{"names that together tell", nil, semconv.TetragonFlags, []any{"curl", "-H", "Authorization:", "Bearer", "hunter2"}, nil},
		{"text", nil, semconv.WitnessStatusReason, "no such file /home/alice/x", "no such file /home/<user>/x"},
		{"unknown", nil, "my.secret", "hunter2", nil},
		{"allowed", func(c *Config) { c.Allow = []string{"my.team"} }, "my.team", "platform of alice@example.com", "platform of <email>"},
		{"allowed, nested", func(c *Config) { c.Allow = []string{"my.team"} }, "my.team", map[string]any{"at": []any{"0x7ffd1c2b3a40", int64(140498967885099), []byte("x"), int64(3)}}, map[string]any{"at": []any{"<addr>", int64(3)}}},
		{"allowed, with names that tell", allowX, "x", map[string]any{"password": "hunter2", "token": []any{"hunter2"}, "pin_secret": int64(42), "in": map[string]any{"Authorization": "hunter2"}, "auth": "none", "max_tokens": int64(4096), "secret": true, "port": int64(80)},
			map[string]any{"password": "<secret>", "in": map[string]any{"Authorization": "<secret>"}, "auth": "none", "max_tokens": int64(4096), "secret": true, "port": int64(80)}},
		{"allowed, an environment", allowX, "x", []any{map[string]any{"name": "DB_PASSWORD", "value": "hunter2"}, map[string]any{"Key": "LANG", "Value": "C"}}, []any{map[string]any{"name": "DB_PASSWORD", "value": "<secret>"}, map[string]any{"Key": "LANG", "Value": "C"}}},
		{"allowed, a command", allowX, "x", []any{"mysql", "-p", "hunter2"}, []any{"mysql", "-p", "<secret>"}},
		{"allowed, a long list", allowX, "x", make([]any, maxList+1), nil},
		{"allowed, no UTF-8", allowX, "x", "a\xffb", "a?b"},
		{"resource attribute on a record", nil, semconv.HostName, "node-1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			canonicalizer := newCanonicalizer(t, c.config)
			logs, record := single(t, semconv.EventCall, nil, map[string]any{c.attribute: c.value})
			report := canonicalizer.Logs(logs)
			assert.Equal(t, 1, report.Records)
			assert.Zero(t, report.DroppedRecords)
			value, ok := record.Attributes().Get(c.attribute)
			if c.want == nil {
				assert.False(t, ok, "kept")
				assert.Equal(t, 1, report.DroppedAttributes)
			} else if assert.True(t, ok, "dropped") {
				assert.Equal(t, c.want, value.AsRaw())
			}
			requireStable(t, canonicalizer, logs)
		})
	}
}

func TestUser(t *testing.T) {
	for id, class := range map[int64]string{0: "root", 1000: "nonroot", 4294967295: "unknown"} {
		c := newCanonicalizer(t, nil)
		logs, record := single(t, semconv.EventExec, nil, map[string]any{semconv.ProcessUserID: id})
		c.Logs(logs)
		assert.Equal(t, map[string]any{semconv.WitnessUserClass: class, semconv.WitnessCanon: Version}, record.Attributes().AsRaw())
	}
}

func TestIdentities(t *testing.T) {
	resource := map[string]any{semconv.HostName: "node-1", semconv.ContainerID: strings.Repeat("ab12", 16), semconv.K8SNamespaceName: "shop"}
	read := func(t *testing.T, identities string, resource map[string]any) map[string]any {
		c := newCanonicalizer(t, func(c *Config) { c.Identities = identities })
		logs, _ := single(t, semconv.EventExec, resource, nil)
		c.Logs(logs)
		requireStable(t, c, logs)
		return logs.ResourceLogs().At(0).Resource().Attributes().AsRaw()
	}
	assert.Equal(t, resource, read(t, IdentitiesKeep, resource))
	assert.Equal(t, map[string]any{semconv.K8SNamespaceName: "shop"}, read(t, IdentitiesDrop, resource))
	hashed := read(t, IdentitiesHMAC, resource)
	assert.Regexp(t, "^h:[0-9a-f]{16}$", hashed[semconv.HostName])
	assert.Regexp(t, "^h:[0-9a-f]{16}$", hashed[semconv.ContainerID])
	assert.Equal(t, "shop", hashed[semconv.K8SNamespaceName])
	t.Run("a container of which only the id is known is not the host", func(t *testing.T) {
		bare := map[string]any{semconv.ContainerID: "0123456789ab"}
		assert.Equal(t, map[string]any{semconv.ContainerName: "unknown"}, read(t, IdentitiesDrop, bare))
	})
	t.Run("a forged pseudonym is no way out for an address", func(t *testing.T) {
		forged := read(t, IdentitiesHMAC, map[string]any{semconv.HostName: "h:ffff888100123400"})
		assert.Regexp(t, "^h:[0-9a-f]{16}$", forged[semconv.HostName])
		assert.NotContains(t, forged[semconv.HostName], "ffff888100123400")
	})
}

func TestFrames(t *testing.T) {
	for _, c := range []struct {
		name        string
		frame, want map[string]any
	}{
		{"raw Go", frame("symbol", "net/http.(*conn).serve", "language", "go", "module", "/app", "offset", "0x1234"),
			frame("symbol", "net/http.conn.serve", "package", "net/http", "member", "conn.serve", "language", "go", "module", "/app", "offset", "0x1234", "confidence", 1.0)},
		{"flags merged, confidence the lower", frame("symbol", "a.com/b.F.func1", "language", "go", "flags", []any{"inlined"}, "confidence", 0.8),
			frame("symbol", "a.com/b.F", "package", "a.com/b", "member", "F", "language", "go", "flags", []any{"closure", "inlined"}, "confidence", 0.8)},
		{"canonical", frame("symbol", "gopkg.in/yaml.v3.Unmarshal", "package", "gopkg.in/yaml.v3", "member", "Unmarshal", "language", "go", "flags", []any{"closure"}, "confidence", 0.5),
			frame("symbol", "gopkg.in/yaml.v3.Unmarshal", "package", "gopkg.in/yaml.v3", "member", "Unmarshal", "language", "go", "flags", []any{"closure"}, "confidence", 0.5)},
		{"canonical with another symbol", frame("symbol", "secret", "package", "net/http", "member", "Get", "language", "go"),
			frame("symbol", "net/http.Get", "package", "net/http", "member", "Get", "language", "go")},
		{"package and raw member", frame("package", "net/http", "member", "(*conn).serve", "language", "go"),
			frame("symbol", "net/http.conn.serve", "package", "net/http", "member", "conn.serve", "language", "go", "confidence", 1.0)},
		{"mangled", frame("symbol", "_ZN2ns2v16taggedB3fooEi", "language", "c", "build_id", buildID, "component", "pkg:deb/debian/x@1"),
			frame("symbol", "ns::v1::tagged", "package", "ns::v1", "member", "tagged", "language", "cxx", "flags", []any{"abi-tag"}, "build_id", buildID, "component", "pkg:deb/debian/x@1", "confidence", 1.0)},
		{"language that is a text", frame("language", "the password is hunter2", "symbol_source", "by alice", "module", "/app"), frame("module", "/app")},
		{"language that is unknown", frame("language", "klingon", "symbol", "hunter2 hunter2", "module", "/app"), frame("language", "klingon", "module", "/app")},
		{"kernel by its module", frame("symbol", "__x64_sys_connect", "module", "[kernel]", "offset", "0x14"),
			frame("symbol", "__x64_sys_connect", "member", "__x64_sys_connect", "language", "kernel", "module", "[kernel]", "offset", "0x14", "confidence", 1.0)},
		{"JVM by its module", frame("symbol", "App.main", "module", "/app/app.jar"),
			frame("symbol", "App.main", "member", "App.main", "language", "jvm", "module", "/app/app.jar", "confidence", 1.0)},
		{"Python by its file, package too", frame("symbol", "call", "module", "/usr/bin/python3", "file", "/home/alice/lib/python3.11/site-packages/jinja2/sandbox.py"),
			frame("symbol", "jinja2.sandbox.call", "package", "jinja2.sandbox", "member", "call", "language", "python", "module", "/usr/bin/python3",
				"file", "/home/<user>/lib/python3.11/site-packages/jinja2/sandbox.py", "confidence", 1.0)},
		{"JavaScript by its file, package too", frame("symbol", "Object.render", "file", "/app/node_modules/ejs/lib/ejs.js"),
			frame("symbol", "ejs#render", "package", "ejs", "member", "render", "language", "js", "file", "/app/node_modules/ejs/lib/ejs.js", "confidence", 1.0)},
		{"name of JavaScript with its package, and a file", frame("symbol", "ejs#render", "language", "js", "file", "/app/node_modules/ejs/lib/ejs.js"),
			frame("symbol", "ejs#render", "package", "ejs", "member", "render", "language", "js", "file", "/app/node_modules/ejs/lib/ejs.js", "confidence", 1.0)},
		{"another name of the language", frame("symbol", "pkg.f.<locals>.g", "language", "cpython"),
			frame("symbol", "pkg.f", "package", "pkg", "member", "f", "language", "python", "flags", []any{"closure"}, "confidence", 1.0)},
		{"another name of the language, canonical", frame("package", "java.lang", "member", "Thread.run", "symbol", "java.lang.Thread.run", "language", "java"),
			frame("package", "java.lang", "member", "Thread.run", "symbol", "java.lang.Thread.run", "language", "jvm")},
		{"canonical, but the name says nothing", frame("package", "ejs", "member", "t", "symbol", "ejs#t", "language", "js"),
			frame("package", "ejs", "member", "t", "symbol", "ejs#t", "language", "js", "flags", []any{"minified"}, "confidence", 0.2)},
		{"in a map of compiled code, no language", frame("symbol", "App.main", "module", "/app/perf-12.map", "offset", "0x10"),
			frame("module", "/app/perf-12.map", "offset", "0x10")},
		{"no symbol of its language", frame("symbol", "the password is hunter2", "language", "go", "module", "/app", "offset", "0x10"),
			frame("language", "go", "module", "/app", "offset", "0x10")},
		{"package without member", frame("package", "hunter2", "module", "/app"), frame("module", "/app")},
		{"garbage offset", frame("module", "[vdso]", "offset", "0xac007ffd1c2b3a40"), frame("module", "[vdso]")},
		{"address as offset", frame("module", "/app", "offset", "0x7ffd1c2b3a40"), frame("module", "/app")},
		{"offset as number", frame("module", "/app", "offset", int64(64)), frame("module", "/app")},
		{"unknown key", frame("module", "/app", "address", "0x7ffd1c2b3a40"), frame("module", "/app")},
		{"flags that are no words", frame("module", "/app", "flags", []any{"0x7ffd1c2b3a40", "closure", int64(3)}), frame("module", "/app", "flags", []any{"closure"})},
		{"source file", frame("file", "/home/alice/app/x.go", "line", int64(12)), frame("file", "/home/<user>/app/x.go", "line", int64(12))},
	} {
		t.Run(c.name, func(t *testing.T) {
			canonicalizer := newCanonicalizer(t, nil)
			logs, record := single(t, semconv.EventSample, nil, map[string]any{semconv.WitnessStack: []any{c.frame}})
			canonicalizer.Logs(logs)
			stack, _ := record.Attributes().Get(semconv.WitnessStack)
			assert.Equal(t, []any{c.want}, stack.AsRaw())
			requireStable(t, canonicalizer, logs)
		})
	}
}

func TestStackKeepsItsOrder(t *testing.T) {
	c := newCanonicalizer(t, nil)
	frames := []any{"not a frame", frame("symbol", "main", "language", "c")}
	for range witness.MaxStack {
		frames = append(frames, frame("module", "/app", "offset", "0x1"))
	}
	logs, record := single(t, semconv.EventSample, nil, map[string]any{semconv.WitnessStack: frames})
	report := c.Logs(logs)
	assert.Equal(t, 3, report.DroppedFrames)
	stack, _ := record.Attributes().Get(semconv.WitnessStack)
	assert.Equal(t, witness.MaxStack, stack.Slice().Len())
	assert.Empty(t, stack.Slice().At(0).AsRaw(), "the first frame stays first, and says nothing")
	requireStable(t, c, logs)
}

func TestFunctionNameFollowsFirstFrame(t *testing.T) {
	c := newCanonicalizer(t, nil)
	raw := "crypto/internal/entropy/v1%2e0%2e0.SHA384"
	logs, record := single(t, semconv.EventCall, nil, map[string]any{semconv.CodeFunctionName: raw, semconv.WitnessStack: []any{frame("symbol", raw, "language", "go")}})
	c.Logs(logs)
	name, ok := record.Attributes().Get(semconv.CodeFunctionName)
	require.True(t, ok)
	assert.Equal(t, "crypto/internal/entropy/v1.0.0.SHA384", name.Str())
	requireStable(t, c, logs)
}

func TestTemporaryPrograms(t *testing.T) {
	module := func(pid int64, path, build string) string {
		c := newCanonicalizer(t, nil)
		f := frame("module", path, "offset", "0x10")
		if build != "" {
			f["build_id"] = build
		}
		logs, record := single(t, semconv.EventExec, map[string]any{semconv.HostName: "node-1"}, map[string]any{
			semconv.ProcessPID: pid, semconv.ProcessExecutablePath: path, semconv.ProcessExecutableName: path[strings.LastIndexByte(path, '/')+1:],
			semconv.WitnessStack: []any{f},
		})
		c.Logs(logs)
		requireStable(t, c, logs)
		stack := witness.StackOf(record.Attributes())
		executable, _ := record.Attributes().Get(semconv.ProcessExecutablePath)
		require.Equal(t, executable.Str(), stack[0].Module.Path, "the executable and its frame are one file")
		name, _ := record.Attributes().Get(semconv.ProcessExecutableName)
		require.NotContains(t, name.Str(), "secret")
		require.NotContains(t, stack[0].Module.Path, "secret")
		return stack[0].Module.Path
	}
	a := module(1, "/tmp/secret-a", "")
	assert.Regexp(t, "^<tmp>/#[0-9a-f]{8}$", a)
	assert.Equal(t, a, module(1, "/tmp/secret-a", ""))
	assert.Equal(t, a, module(1, "/tmp/secret-a (deleted)", ""))
	assert.NotEqual(t, a, module(2, "/tmp/secret-a", ""))
	assert.NotEqual(t, a, module(1, "/tmp/secret-b", ""))
	assert.Equal(t, module(1, "/tmp/secret-a", buildID), module(2, "/tmp/secret-a", buildID), "a build-id says it is the same file")
	assert.Regexp(t, "^<memfd>/#[0-9a-f]{8}$", module(1, "/memfd:secret (deleted)", ""))
	assert.Regexp(t, "^<fd>/#[0-9a-f]{8}$", module(1, "/dev/fd/5", ""))
}

func TestDeleted(t *testing.T) {
	c := newCanonicalizer(t, nil)
	logs, record := single(t, semconv.EventLoad, nil, map[string]any{semconv.WitnessStack: []any{frame("module", "/usr/lib/libssl.so.3 (deleted)")}})
	c.Logs(logs)
	deleted, ok := record.Attributes().Get(semconv.WitnessModuleDeleted)
	require.True(t, ok)
	assert.True(t, deleted.Bool())
	assert.Equal(t, "/usr/lib/libssl.so.3", witness.StackOf(record.Attributes())[0].Module.Path)
	requireStable(t, c, logs)
}

func observation() witness.Observation {
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	return witness.Observation{
		Witness: witness.Witness{
			Kind:     witness.KindCall,
			Frame:    witness.Frame{Symbol: "golang.org/x/net/html.(*Tokenizer).Next", Language: "go", Module: witness.Module{BuildID: buildID, Path: "/usr/bin/app"}},
			Workload: witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: digest},
			Path:     []witness.Frame{{Symbol: "main.main", Language: "go", Module: witness.Module{Path: "/home/alice/app"}}},
		},
		Source: "0123456789abcdef/0/tetragon", Instance: witness.Instance{Host: "node-1"},
		WindowStart: start, WindowEnd: start.Add(time.Minute), FirstSeen: start, LastSeen: start.Add(time.Second),
		Hits: 3, Assurance: witness.Measured, Origin: witness.OriginWorkload,
	}
}

func TestObservationKeepsAValidID(t *testing.T) {
	for _, c := range []struct {
		name  string
		forge bool
	}{{"right id", false}, {"wrong id", true}} {
		t.Run(c.name, func(t *testing.T) {
			o := observation()
			o.ID = o.Witness.ID()
			if c.forge {
				o.ID[0] ^= 1
			}
			logs := plog.NewLogs()
			witness.AppendObservations(logs, "test", "1", o.LastSeen, []witness.Observation{o})
			canonicalizer := newCanonicalizer(t, nil)
			canonicalizer.Logs(logs)
			resourceLogs := logs.ResourceLogs().At(0)
			got, err := witness.ObservationOf(resourceLogs.Resource().Attributes(), resourceLogs.ScopeLogs().At(0).LogRecords().At(0))
			assert.Equal(t, "golang.org/x/net/html.Tokenizer.Next", got.Witness.Frame.Symbol)
			assert.Equal(t, "/home/<user>/app", got.Witness.Path[0].Module.Path)
			if c.forge {
				require.ErrorIs(t, err, witness.ErrID)
				assert.Equal(t, o.ID, got.ID)
			} else {
				require.NoError(t, err)
			}
			requireStable(t, canonicalizer, logs)
		})
	}
}

func TestLimits(t *testing.T) {
	many := map[string]any{}
	for i := range MaxAttributes + 1 {
		many[fmt.Sprint("a", i)] = "b"
	}
	deep := any("x")
	for range maxDepth + 2 {
		deep = []any{deep}
	}
	frames := make([]any, MaxStack+1)
	for i := range frames {
		frames[i] = map[string]any{}
	}
	for name, attributes := range map[string]map[string]any{
		"attributes": many,
		"bytes":      {semconv.TetragonRaw: strings.Repeat("a", MaxBytes)},
		"depth":      {"a": deep},
		"frames":     {semconv.WitnessStack: frames},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanonicalizer(t, nil)
			logs, record := single(t, semconv.EventCall, nil, attributes)
			good := plog.NewLogRecord()
			good.SetEventName(semconv.EventExit)
			good.CopyTo(logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty())
			_ = record
			report := c.Logs(logs)
			assert.Equal(t, 2, report.Records)
			assert.Equal(t, 1, report.DroppedRecords)
			require.Equal(t, 1, logs.LogRecordCount())
			assert.Equal(t, semconv.EventExit, logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).EventName())
		})
	}
	t.Run("resource", func(t *testing.T) {
		c := newCanonicalizer(t, nil)
		logs, _ := single(t, semconv.EventCall, many, nil)
		assert.Equal(t, Report{Records: 1, DroppedRecords: 1, DroppedIDs: []string{"runtime.call at 1970-01-01T00:00:00Z"}}, c.Logs(logs))
		assert.Zero(t, logs.LogRecordCount())
	})
}

// TestTimes: a time that is an address is none.
func TestTimes(t *testing.T) {
	c := newCanonicalizer(t, nil)
	for _, of := range []struct{ time, want pcommon.Timestamp }{{1795353600000000000, 1795353600000000000}, {0, 0}, {140498967885099, 0}, {0xffffffff81a3c2f0, 0}} {
		logs, record := single(t, semconv.EventCall, nil, nil)
		record.SetTimestamp(of.time)
		record.SetObservedTimestamp(of.time)
		c.Logs(logs)
		assert.Equal(t, of.want, record.Timestamp())
		assert.Equal(t, of.want, record.ObservedTimestamp())
	}
}

// TestFailClosed has a rule that panics: its record is dropped, counted and named, and loses no neighbour.
func TestFailClosed(t *testing.T) {
	for _, c := range []struct {
		name       string
		event      string
		attributes map[string]any
		want       string
	}{
		{"uid", semconv.EventCall, map[string]any{semconv.LogRecordUID: "export-1234:5678"}, "export-1234:5678"},
		{"uid with a path", semconv.EventCall, map[string]any{semconv.LogRecordUID: "/home/alice/x:1"}, "h:16a818b927d84e60"},
		{"uid that is too long", semconv.EventCall, map[string]any{semconv.LogRecordUID: strings.Repeat("a", MaxBytes)}, "h:f11b259d34789748"},
		{"uid of another type", semconv.EventCall, map[string]any{semconv.LogRecordUID: int64(140498967885099)}, "runtime.call at 2026-11-22T10:00:00Z"},
		{"observation", semconv.EventObservation, map[string]any{semconv.WitnessID: strings.Repeat("ab", 32)}, strings.Repeat("ab", 32)},
		{"no observation", semconv.EventObservation, map[string]any{semconv.WitnessID: "hunter2"}, "runtime.observation at 2026-11-22T10:00:00Z"},
		{"another event", "the password is hunter2", nil, "event at 2026-11-22T10:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			canonicalizer := newCanonicalizer(t, nil)
			canonicalizer.fail = func(record plog.LogRecord) {
				if record.SeverityText() == "fail" {
					record.Attributes().PutStr("half", "done")
					panic("the password is hunter2")
				}
			}
			logs, record := single(t, c.event, nil, c.attributes)
			record.SetTimestamp(pcommon.NewTimestampFromTime(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)))
			record.SetSeverityText("fail")
			good := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty()
			good.SetEventName(semconv.EventExit)
			report := canonicalizer.Logs(logs)
			assert.Equal(t, Report{Records: 2, DroppedRecords: 1, DroppedIDs: []string{c.want}}, report)
			require.Equal(t, 1, logs.LogRecordCount())
			assert.Equal(t, semconv.EventExit, logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).EventName())
		})
	}
	t.Run("many", func(t *testing.T) {
		canonicalizer := newCanonicalizer(t, nil)
		canonicalizer.fail = func(plog.LogRecord) { panic(1) }
		logs, _ := single(t, semconv.EventCall, nil, nil)
		for range 100 {
			logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty()
		}
		report := canonicalizer.Logs(logs)
		assert.Equal(t, 101, report.DroppedRecords)
		assert.Len(t, report.DroppedIDs, maxDroppedIDs)
		assert.Zero(t, logs.LogRecordCount())
	})
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, NewDefaultConfig().Validate())
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"identities": {Config{Identities: "secretvalue", Arguments: "drop"}, "identities: is not one of"},
		"arguments":  {Config{Identities: "keep", Arguments: "secretvalue"}, "arguments: is not one of"},
		"key":        {Config{Identities: "hmac", Arguments: "drop", HMACKey: "secretvalue"}, "hmac_key: has less than 16 bytes"},
		"allow":      {Config{Identities: "hmac", Arguments: "drop", Allow: []string{"a", ""}}, "allow[1]:"},
		"in model":   {Config{Identities: "hmac", Arguments: "drop", Allow: []string{semconv.TetragonRaw}}, "allow[0]: is in the model"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.config.Validate()
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "secretvalue")
			_, err = New(c.config)
			require.Error(t, err)
		})
	}
}

// TestExecutableNameThatIsAUser has an executable file where a home directory should be.
func TestExecutableNameThatIsAUser(t *testing.T) {
	logs, record := single(t, semconv.EventExec, nil, map[string]any{
		semconv.ProcessExecutableName: "alice", semconv.ProcessExecutablePath: "/home/alice",
		semconv.WitnessStack: []any{frame("module", "/home/alice")},
	})
	c := newCanonicalizer(t, nil)
	c.Logs(logs)
	assert.NotContains(t, same(t, logs), "alice")
	name, _ := record.Attributes().Get(semconv.ProcessExecutableName)
	assert.Equal(t, "/home/<user>", name.Str())
	requireStable(t, c, logs)
}

// The texts of a record have a limit together: what is beyond it is taken out, and nothing of it gets through.
func TestTextsBeyondTheLimit(t *testing.T) {
	config := NewDefaultConfig()
	config.Allow = []string{"my.notes", "my.list"}
	c, err := New(config)
	require.NoError(t, err)
	logs := plog.NewLogs()
	record := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	notes := record.Attributes().PutEmptyMap("my.notes")
	text := strings.Repeat("a word and another ", 800)
	for i := range 20 {
		notes.PutStr(strconv.Itoa(i), text)
	}
	list := record.Attributes().PutEmptySlice("my.list")
	list.AppendEmpty().SetStr("the last")
	for range 2 {
		c.Logs(logs)
		require.Equal(t, 1, logs.LogRecordCount())
		kept, redacted := 0, 0
		for _, v := range notes.All() {
			switch v.Str() {
			case text:
				kept++
			case privacy.Redacted:
				redacted++
			}
		}
		assert.Equal(t, maxScrubbed/len(text), kept)
		assert.Equal(t, 20-kept, redacted)
		assert.Equal(t, []any{privacy.Redacted}, list.AsRaw())
	}
}
