package canon

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

func TestHookArguments(t *testing.T) {
	allowed := []HookArgument{{"files", "0", "string_arg"}, {"files", "data0", "int_arg"}, {"files", "return", "int_arg"}}
	sent := []any{"0:string_arg=/home/alice/x --password=hunter2", "1:string_arg=/etc/shadow", "data0:int_arg=7", "return:int_arg=-2", "hunter2", "0=1"}
	for name, test := range map[string]struct {
		policy    string
		allowed   []HookArgument
		arguments string
		want      []any
	}{
		"none allowed":               {"files", nil, ArgumentsDrop, nil},
		"none allowed, others kept":  {"files", nil, ArgumentsKeep, nil},
		"allowed":                    {"files", allowed, ArgumentsDrop, []any{"0:string_arg=/home/<user>/x --password=<secret>", "data0:int_arg=7", "return:int_arg=-2"}},
		"of another policy":          {"sockets", allowed, ArgumentsScrub, nil},
		"of no policy":               {"", allowed, ArgumentsScrub, nil},
		"of the type of another one": {"files", []HookArgument{{"files", "0", "int_arg"}}, ArgumentsScrub, nil},
	} {
		t.Run(name, func(t *testing.T) {
			config := NewDefaultConfig()
			config.HookArguments, config.Arguments = test.allowed, test.arguments
			c, err := New(config)
			require.NoError(t, err)
			logs := plog.NewLogs()
			record := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			record.SetEventName(semconv.EventKernel)
			record.Attributes().PutStr(semconv.TetragonPolicy, test.policy)
			require.NoError(t, record.Attributes().PutEmptySlice(semconv.TetragonArgs).FromRaw(sent))
			for range 2 { // a second time changes nothing
				c.Logs(logs)
				got, _ := record.Attributes().AsRaw()[semconv.TetragonArgs].([]any)
				assert.Equal(t, test.want, got)
			}
		})
	}
}

func TestHookArgumentsThatAreNone(t *testing.T) {
	for name, test := range map[string]struct {
		argument HookArgument
		want     string
	}{
		"no policy":      {HookArgument{"", "0", "int_arg"}, "hook_arguments[0]: policy: is not"},
		"private policy": {HookArgument{"/home/alice", "0", "int_arg"}, "hook_arguments[0]: policy: is not"},
		"no index":       {HookArgument{"p", "", "int_arg"}, "hook_arguments[0]: index: is not"},
		"wrong index":    {HookArgument{"p", "-1", "int_arg"}, "hook_arguments[0]: index: is not"},
		"no type":        {HookArgument{"p", "0", ""}, "hook_arguments[0]: type: is not"},
	} {
		t.Run(name, func(t *testing.T) {
			config := NewDefaultConfig()
			config.HookArguments = []HookArgument{test.argument}
			err := config.Validate()
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "alice")
		})
	}
}
