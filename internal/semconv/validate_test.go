package semconv

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// load is a complete runtime.load record.
func load() (plog.Logs, pcommon.Map, pcommon.Map, plog.LogRecord) {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(HostName, "node-1")
	scope := resource.ScopeLogs().AppendEmpty()
	scope.Scope().Attributes().PutStr(WitnessSource, "0123456789abcdef/1/tetragon")
	record := scope.LogRecords().AppendEmpty()
	record.SetEventName(EventLoad)
	record.SetTimestamp(1)
	record.Attributes().PutInt(ProcessPID, 12)
	frame := record.Attributes().PutEmptySlice(WitnessStack).AppendEmpty().SetEmptyMap()
	frame.PutStr(FrameModule, "/usr/lib/libc.so.6")
	frame.PutStr(FrameOffset, "0x10")
	return logs, resource.Resource().Attributes(), scope.Scope().Attributes(), record
}

func TestValidate(t *testing.T) {
	frame := func(record plog.LogRecord) pcommon.Map {
		stack, _ := record.Attributes().Get(WitnessStack)
		return stack.Slice().At(0).Map()
	}
	for name, test := range map[string]struct {
		change func(resource, scope pcommon.Map, record plog.LogRecord)
		want   string // of the only error; empty: none
	}{
		"complete":             {func(_, _ pcommon.Map, _ plog.LogRecord) {}, ""},
		"unknown event":        {func(_, _ pcommon.Map, r plog.LogRecord) { r.SetEventName("runtime.magic") }, "event name"},
		"required is missing":  {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().Remove(ProcessPID) }, "process.pid: is missing"},
		"no time":              {func(_, _ pcommon.Map, r plog.LogRecord) { r.SetTimestamp(0) }, "has no time"},
		"body is a map":        {func(_, _ pcommon.Map, r plog.LogRecord) { r.Body().SetEmptyMap() }, "body: is not text"},
		"unknown attribute":    {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr("secret.sauce", "hunter2") }, "secret.sauce: is not in the model"},
		"resource on a record": {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr(HostName, "x") }, "host.name: does not belong here"},
		"record on a resource": {func(r, _ pcommon.Map, _ plog.LogRecord) { r.PutInt(ProcessPID, 1) }, "process.pid: does not belong here"},
		"record on a scope":    {func(_, s pcommon.Map, _ plog.LogRecord) { s.PutInt(ProcessPID, 1) }, "process.pid: does not belong here"},
		"int is a string":      {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr(ProcessPID, "hunter2") }, "process.pid: is not an int"},
		"string is an int":     {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt(WitnessProbeID, 1) }, "witness.probe.id: is not a string"},
		"bool is a string":     {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr(WitnessStackComplete, "no") }, "is not a bool"},
		"double is an int":     {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt(WitnessCoverageInterval, 1) }, "is not a finite double"},
		"value is not listed":  {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr(WitnessOrigin, "hunter2") }, "witness.origin: is not one of"},
		"local time": {func(_, _ pcommon.Map, r plog.LogRecord) {
			r.Attributes().PutStr(ProcessCreationTime, "2026-11-22T10:00:00+01:00")
		}, "RFC 3339"},
		"list is a string": {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr(TetragonTags, "a") }, "is not a slice of strings"},
		"list of ints": {func(_, _ pcommon.Map, r plog.LogRecord) {
			r.Attributes().PutEmptySlice(TetragonTags).AppendEmpty().SetInt(1)
		}, "is not a slice of strings"},
		"kind is not listed": {func(_, _ pcommon.Map, r plog.LogRecord) {
			r.Attributes().PutStr(WitnessKind, "seen")
		}, "witness.kind: is not one of"},
		"stack is a string": {func(_, _ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr(WitnessStack, "main") }, "is not a slice of maps"},
		"frame is a string": {func(_, _ pcommon.Map, r plog.LogRecord) {
			r.Attributes().PutEmptySlice(WitnessStack).AppendEmpty().SetStr("main")
		}, "witness.stack[0]: is not a map"},
		"frame key unknown":   {func(_, _ pcommon.Map, r plog.LogRecord) { frame(r).PutStr("address", "0xff") }, "address: is not a key of a frame"},
		"frame offset no hex": {func(_, _ pcommon.Map, r plog.LogRecord) { frame(r).PutStr(FrameOffset, "4096") }, "0x and 1 to 16"},
		"frame line a string": {func(_, _ pcommon.Map, r plog.LogRecord) { frame(r).PutStr(FrameLine, "12") }, "line: is not an int"},
	} {
		t.Run(name, func(t *testing.T) {
			logs, resource, scope, record := load()
			test.change(resource, scope, record)
			errs := Validate(logs)
			if test.want == "" {
				assert.Empty(t, errs)
				return
			}
			require.Len(t, errs, 1)
			assert.ErrorContains(t, errs[0], test.want)
			assert.NotContains(t, errs[0].Error(), "hunter2", "an error never repeats a value")
			assert.True(t, strings.HasPrefix(errs[0].Error(), "resource 0"), "an error says where")
		})
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	logs, _, _, record := load()
	record.Attributes().Remove(WitnessStack)
	record.Attributes().PutStr(ProcessPID, "1")
	record.Attributes().PutStr("x", "y")
	assert.Len(t, Validate(logs), 3)
}
