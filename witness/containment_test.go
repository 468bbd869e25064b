package witness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

var containmentTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// drawContainment draws what Put can write: all signals of one source and time.
func drawContainment(t *rapid.T) Containment {
	c := Containment{
		Workload:   Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:aa"},
		Instance:   Instance{Host: "node-1", Pod: "web-1", Container: "c1"},
		Executable: Module{Path: rapid.SampledFrom([]string{"", "/usr/bin/app"}).Draw(t, "path"), BuildID: rapid.SampledFrom([]string{"", "c0ffee"}).Draw(t, "build-id")},
		Origin:     rapid.SampledFrom([]Origin{OriginWorkload, OriginInjected, OriginUnknown}).Draw(t, "origin"),
	}
	source := rapid.SampledFrom(SignalSources).Draw(t, "source")
	assurance := rapid.SampledFrom([]Assurance{Measured, Asserted}).Draw(t, "assurance")
	for _, name := range []SignalName{ // sorted
		SignalBinary, SignalCapabilities, SignalEntry, SignalLSM, SignalCgroupNamespace, SignalIPCNamespace, SignalMountNamespace,
		SignalNetworkNamespace, SignalPIDNamespace, SignalUserNamespace, SignalUTSNamespace, SignalNetworkPolicy, SignalNoNewPrivs,
		SignalPrivileged, SignalPrivileges, SignalRootFS, SignalSeccomp, SignalSensitiveMounts, SignalUser,
	} {
		if !rapid.Bool().Draw(t, string(name)+" is known") {
			continue
		}
		s := Signal{Name: name, Source: source, Assurance: assurance, ObservedAt: containmentTime}
		if name.IsSet() {
			for _, value := range []string{"CAP_BPF", "CAP_SYS_ADMIN"} {
				if name == SignalCapabilities && rapid.Bool().Draw(t, value) {
					s.Values = append(s.Values, value)
				}
			}
		} else {
			s.Values = []string{rapid.SampledFrom(name.Values()).Draw(t, string(name))}
		}
		c.Signals = append(c.Signals, s)
	}
	return c
}

func TestContainmentComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawContainment(t)
		if len(want.Signals) == 0 {
			return
		}
		require.NoError(t, want.Validate())
		logs := plog.NewLogs()
		resource := logs.ResourceLogs().AppendEmpty()
		PutResource(resource.Resource().Attributes(), want.Workload, want.Instance)
		want.Put(resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty(), containmentTime)
		require.Empty(t, semconv.Validate(logs))

		data, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
		require.NoError(t, err)
		logs, err = (&plog.ProtoUnmarshaler{}).UnmarshalLogs(data)
		require.NoError(t, err)
		resource = logs.ResourceLogs().At(0)
		got, ok, err := ContainmentOf(resource.Resource().Attributes(), resource.ScopeLogs().At(0).LogRecords().At(0))
		require.NoError(t, err)
		require.True(t, ok)
		for i := range got.Signals { // nil and empty are the same set
			assert.ElementsMatch(t, want.Signals[i].Values, got.Signals[i].Values)
			got.Signals[i].Values = want.Signals[i].Values
		}
		assert.Equal(t, want, got)
	})
}

func TestContainmentOfRefusesWhatItCannotRead(t *testing.T) {
	for _, test := range []struct {
		name string
		put  func(m pcommon.Map)
		want string
	}{
		{"nothing", func(pcommon.Map) {}, "has no signal"},
		{"unknown only", func(m pcommon.Map) { m.PutStr(semconv.WitnessContainmentSeccomp, "unknown") }, "has no signal"},
		{"a number", func(m pcommon.Map) { m.PutInt(semconv.WitnessContainmentUser, 1000) }, "witness.containment.user: is of another type"},
		{"a text for a list", func(m pcommon.Map) { m.PutStr(semconv.WitnessContainmentCapabilities, "secret") }, "capabilities: is of another type"},
		{"a value that is not", func(m pcommon.Map) { m.PutStr(semconv.WitnessContainmentUser, "secret") }, "user: is not of root-host, root-userns, root, nonroot"},
		{"a capability that is not", func(m pcommon.Map) {
			m.PutEmptySlice(semconv.WitnessContainmentCapabilities).AppendEmpty().SetStr("secret")
		}, "capabilities: is not of CAP_CHOWN"},
		{"a source that is not", func(m pcommon.Map) {
			m.PutStr(semconv.WitnessContainmentSeccomp, "filter")
			m.PutStr(semconv.WitnessContainmentSource, "secret")
		}, "seccomp: has no source"},
		{"both", func(m pcommon.Map) {
			m.PutEmptySlice(semconv.WitnessContainmentNamespacesHost).AppendEmpty().SetStr("net")
			m.PutEmptySlice(semconv.WitnessContainmentNamespacesIsolated).AppendEmpty().SetStr("net")
		}, "namespaces.net: is both"},
	} {
		t.Run(test.name, func(t *testing.T) {
			record := plog.NewLogRecord()
			record.SetEventName(semconv.EventContainment)
			record.SetTimestamp(pcommon.NewTimestampFromTime(containmentTime))
			test.put(record.Attributes())
			_, ok, err := ContainmentOf(pcommon.NewMap(), record)
			assert.True(t, ok)
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
	t.Run("no time", func(t *testing.T) {
		record := plog.NewLogRecord()
		record.SetEventName(semconv.EventContainment)
		_, ok, err := ContainmentOf(pcommon.NewMap(), record)
		assert.True(t, ok)
		require.ErrorIs(t, err, ErrNoTime)
	})
	t.Run("another event", func(t *testing.T) {
		record := plog.NewLogRecord()
		record.SetEventName(semconv.EventExec)
		_, ok, err := ContainmentOf(pcommon.NewMap(), record)
		assert.False(t, ok)
		require.NoError(t, err)
	})
}

func TestEverySignalIsInTheModel(t *testing.T) {
	for _, name := range SignalNames {
		assert.NotEmpty(t, name.Values(), name)
		assert.NotContains(t, name.Values(), "unknown")
	}
	assert.Nil(t, SignalName("host").Values())
	assert.False(t, SignalName("source").Valid())
}
