package canon

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// TestNamesThatComeTwice has attributes and frame keys twice, as OTLP can on the wire: only the first is looked at.
func TestNamesThatComeTwice(t *testing.T) {
	const canary = "ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP"
	frames := frame("symbol", "main.main", "package", "main", "member", "main", "language", "go", "file", "/usr/src/main.go", "component", purl, "symbol_source", "pclntab")
	record := map[string]any{
		semconv.CodeFunctionName: "main.main", semconv.ProcessExecutablePath: "/tmp/acme", semconv.ProcessExecutableName: "acme",
		semconv.WitnessSource: "source", semconv.WitnessCanon: Version,
	}
	for name := range frames {
		frames["@"+name[1:]] = canary
	}
	for name := range record {
		record["@"+name[1:]] = canary
	}
	record[semconv.WitnessStack] = []any{frames}
	logs, _ := single(t, semconv.EventCall, map[string]any{semconv.HostName: "a", "@" + semconv.HostName[1:]: canary}, record)
	content, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	for _, names := range []map[string]any{frames, record, {semconv.HostName: nil}} {
		for name := range names {
			content = bytes.ReplaceAll(content, []byte("@"+name[1:]), []byte(name))
		}
	}
	logs, err = (&plog.ProtoUnmarshaler{}).UnmarshalLogs(content)
	require.NoError(t, err)
	c := newCanonicalizer(t, nil)
	c.Logs(logs)
	out := same(t, logs)
	assert.NotContains(t, out, canary)
	assert.LessOrEqual(t, strings.Count(out, `"`+semconv.CodeFunctionName+`"`), 1)
	requireStable(t, c, logs)
}
