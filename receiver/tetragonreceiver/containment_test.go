package tetragonreceiver

import (
	"strings"
	"testing"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// containments are the containment records of logs, in order.
func containments(t *testing.T, logs plog.Logs) []witness.Containment {
	t.Helper()
	var all []witness.Containment
	each(logs, func(resource pcommon.Map, record plog.LogRecord) {
		c, ok, err := witness.ContainmentOf(resource, record)
		require.NoError(t, err)
		if ok {
			all = append(all, c)
		}
	})
	return all
}

// values are the signals of a containment, as name=value.
func values(c *witness.Containment) []string {
	var all []string
	for _, s := range c.Signals {
		all = append(all, string(s.Name)+"="+strings.Join(s.Values, ","))
	}
	return all
}

func TestContainmentOfARealCapture(t *testing.T) {
	events := fileEvents(t, "contained")
	_, b := convertAll(options{containment: 24 * time.Hour}, events...)
	assert.Empty(t, semconv.Validate(b.Logs))
	all := containments(t, b.Logs)
	byPath := map[string][]witness.Containment{}
	for _, c := range all {
		assert.Equal(t, witness.Workload{}, c.Workload)
		assert.Equal(t, "lab-guest", c.Instance.Host)
		byPath[c.Executable.Path] = append(byPath[c.Executable.Path], c)
		for _, s := range c.Signals {
			assert.Equal(t, witness.SourceTetragon, s.Source)
			assert.Equal(t, witness.Measured, s.Assurance)
		}
	}
	assert.NotContains(t, byPath, witness.KernelModule)
	namespaces := []string{
		"namespaces.mnt=host", "namespaces.pid=host", "namespaces.net=host", "namespaces.user=host", "namespaces.ipc=host",
		"namespaces.uts=host", "namespaces.cgroup=host",
	}
	full := "capabilities=" + strings.Join(sortedCapabilities(), ",")
	t.Run("memfd", func(t *testing.T) {
		require.Len(t, byPath["/dev/fd/3"], 1)
		c := byPath["/dev/fd/3"][0]
		assert.ElementsMatch(t, append([]string{"binary=unlinked", full, "privileges=unchanged", "user=root-host"}, namespaces...), values(&c))
	})
	t.Run("before the agent", func(t *testing.T) {
		for _, event := range events {
			p := event.GetProcessExec().GetProcess()
			if !strings.Contains(p.GetFlags(), "procFS") || p.GetBinary() == "<kernel>" {
				continue
			}
			require.NotEmpty(t, byPath[p.GetBinary()])
			c := byPath[p.GetBinary()][0]
			assert.ElementsMatch(t, append([]string{full, "user=root-host"}, namespaces...), values(&c), "whether the exec raised privileges is not known")
		}
	})
	t.Run("each once", func(t *testing.T) {
		seen := map[string]bool{}
		for i := range all {
			key := all[i].Executable.Path + strings.Join(values(&all[i]), " ")
			assert.False(t, seen[key], key)
			seen[key] = true
		}
	})
	t.Run("canonical", func(t *testing.T) {
		config := canon.NewDefaultConfig()
		config.Identities = canon.IdentitiesKeep
		canonicalizer, err := canon.New(config)
		require.NoError(t, err)
		assert.Zero(t, canonicalizer.Logs(b.Logs).DroppedRecords)
		executed := map[string]bool{}
		each(b.Logs, func(_ pcommon.Map, record plog.LogRecord) {
			if record.EventName() != semconv.EventContainment {
				executed[text(record.Attributes(), semconv.ProcessExecutablePath)] = true
			}
		})
		canonical := containments(t, b.Logs)
		require.Len(t, canonical, len(all))
		for i := range canonical {
			assert.Equal(t, values(&all[i]), values(&canonical[i]), "classes stay as they are")
			assert.True(t, executed[canonical[i].Executable.Path], "an executable has one name: %s", canonical[i].Executable.Path)
		}
	})
}

func sortedCapabilities() []string {
	c := classes{capabilities: 1<<41 - 1, hasCapabilities: true}
	return c.signals(time.Time{})[0].Values
}

func TestStockAgentSaysLittleOfContainment(t *testing.T) {
	_, b := convertAll(options{containment: time.Minute}, fileEvents(t, "linger")...)
	assert.Empty(t, semconv.Validate(b.Logs))
	all := containments(t, b.Logs)
	require.NotEmpty(t, all)
	for i := range all {
		for _, s := range all[i].Signals {
			assert.Equal(t, witness.SignalUser, s.Name)
			assert.Equal(t, []string{"root"}, s.Values, "of which user namespace is not known")
		}
	}
}

func TestClasses(t *testing.T) {
	host, own := &tetragon.Namespace{Inum: 1, IsHost: true}, &tetragon.Namespace{Inum: 4026532000}
	uid := wrapperspb.UInt32
	inPod := func(context *tetragon.SecurityContext, probe bool) *tetragon.Pod {
		return &tetragon.Pod{Container: &tetragon.Container{SecurityContext: context, MaybeExecProbe: probe}}
	}
	for _, test := range []struct {
		name    string
		process *tetragon.Process
		later   bool // not the event of the exec
		want    []string
	}{
		{"nothing", &tetragon.Process{}, false, nil},
		{"root", &tetragon.Process{Uid: uid(0)}, false, []string{"user=root"}},
		{"another user", &tetragon.Process{Uid: uid(1000)}, false, []string{"user=nonroot"}},
		{"root of the host", &tetragon.Process{Uid: uid(0), Ns: &tetragon.Namespaces{User: host}}, false, []string{"namespaces.user=host", "user=root-host"}},
		{"root in a user namespace", &tetragon.Process{Uid: uid(0), Ns: &tetragon.Namespaces{User: own}}, false, []string{"namespaces.user=isolated", "user=root-userns"}},
		{"the effective user", &tetragon.Process{Uid: uid(1000), ProcessCredentials: &tetragon.ProcessCredentials{Uid: uid(1000), Euid: uid(0)}}, true, []string{"user=root"}},
		{"user namespace by its level", &tetragon.Process{ProcessCredentials: &tetragon.ProcessCredentials{UserNs: &tetragon.UserNamespace{Level: wrapperspb.Int32(1)}}}, true, []string{"namespaces.user=isolated"}},
		{"host by its level", &tetragon.Process{ProcessCredentials: &tetragon.ProcessCredentials{UserNs: &tetragon.UserNamespace{Level: wrapperspb.Int32(0)}}}, true, []string{"namespaces.user=host"}},
		{"namespaces that could not be read", &tetragon.Process{Ns: &tetragon.Namespaces{Net: &tetragon.Namespace{}, Mnt: &tetragon.Namespace{IsHost: true}}}, false, nil},
		{"some namespaces", &tetragon.Process{Ns: &tetragon.Namespaces{Net: host, Mnt: own, Time: host}}, false, []string{"namespaces.mnt=isolated", "namespaces.net=host"}},
		{"no capabilities", &tetragon.Process{Cap: &tetragon.Capabilities{Permitted: []tetragon.CapabilitiesType{21}}}, false, []string{"capabilities="}},
		{
			"effective capabilities", &tetragon.Process{Cap: &tetragon.Capabilities{Effective: []tetragon.CapabilitiesType{21, 1, 1, 63, -1, 1 << 20}}}, false,
			[]string{"capabilities=CAP_DAC_OVERRIDE,CAP_SYS_ADMIN"},
		},
		{
			"capabilities of the credentials", &tetragon.Process{ProcessCredentials: &tetragon.ProcessCredentials{Caps: &tetragon.Capabilities{Effective: []tetragon.CapabilitiesType{39}}}}, true,
			[]string{"capabilities=CAP_BPF"},
		},
		{"an exec with credentials", &tetragon.Process{ProcessCredentials: &tetragon.ProcessCredentials{}}, false, []string{"binary=named", "privileges=unchanged"}},
		{"running before", &tetragon.Process{Flags: "procFS", ProcessCredentials: &tetragon.ProcessCredentials{}}, false, nil},
		{
			"set-user-id", &tetragon.Process{BinaryProperties: &tetragon.BinaryProperties{Setuid: uid(0)}, ProcessCredentials: &tetragon.ProcessCredentials{}}, false,
			[]string{"binary=named", "privileges=raised"},
		},
		{"file capabilities", &tetragon.Process{BinaryProperties: &tetragon.BinaryProperties{PrivilegesChanged: []tetragon.ProcessPrivilegesChanged{1}}}, false, []string{"privileges=raised"}},
		{"deleted", &tetragon.Process{Binary: "/usr/bin/app (deleted)"}, false, []string{"binary=unlinked"}},
		{"privileged", &tetragon.Process{Pod: inPod(&tetragon.SecurityContext{Privileged: true}, false)}, false, []string{"privileged=yes"}},
		{"not privileged", &tetragon.Process{Pod: inPod(&tetragon.SecurityContext{}, false)}, false, []string{"privileged=no"}},
		{"no security context", &tetragon.Process{Pod: inPod(nil, false)}, false, nil},
		{"a probe", &tetragon.Process{Pod: inPod(nil, true), InInitTree: wrapperspb.Bool(false)}, false, []string{"entry=probe"}},
		{"injected", &tetragon.Process{Docker: "abc", InInitTree: wrapperspb.Bool(false)}, false, []string{"entry=injected"}},
		{"of the container", &tetragon.Process{Docker: "abc", InInitTree: wrapperspb.Bool(true)}, false, []string{"entry=init_tree"}},
		{"of the host", &tetragon.Process{InInitTree: wrapperspb.Bool(false)}, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := classesOf(test.process, !test.later)
			signals := witness.Containment{Signals: c.signals(receivedAt)}
			assert.Equal(t, test.want, values(&signals))
			for i := range signals.Signals {
				assert.NoError(t, signals.Signals[i].Validate())
			}
		})
	}
}

func TestContainmentIsToldOnceAnIntervalAndOnChange(t *testing.T) {
	c, b := testConverter(options{containment: 10 * time.Minute}), newBatch(testSource)
	start := receivedAt.Add(-time.Hour)
	tell := func(after time.Duration, change func(*tetragon.Process)) int {
		before := countNames(b.Logs)[semconv.EventContainment]
		p := process("/usr/bin/app")
		p.Uid = wrapperspb.UInt32(1000)
		if change != nil {
			change(p)
		}
		event := exec(p)
		event.Time = timestamppb.New(start.Add(after))
		c.convert(b, event, receivedAt, "")
		return countNames(b.Logs)[semconv.EventContainment] - before
	}
	root := func(p *tetragon.Process) { p.Uid = wrapperspb.UInt32(0) }
	assert.Equal(t, 1, tell(0, nil))
	assert.Zero(t, tell(time.Minute, nil))
	assert.Equal(t, 1, tell(2*time.Minute, root), "a change")
	assert.Zero(t, tell(3*time.Minute, nil), "both were told")
	assert.Equal(t, 1, tell(10*time.Minute, nil), "the interval has passed")
	assert.Zero(t, tell(11*time.Minute, root))
	assert.Equal(t, 1, tell(11*time.Minute, func(p *tetragon.Process) { p.Binary = "/usr/bin/other" }), "another executable")
	assert.Equal(t, 1, tell(11*time.Minute, func(p *tetragon.Process) { p.Docker = "abc" }), "another container")
	assert.Zero(t, tell(12*time.Minute, func(p *tetragon.Process) { p.ExecId = "" }), "a process of which the start was missed")
	assert.Zero(t, tell(12*time.Minute, func(p *tetragon.Process) { p.Uid = nil }), "nothing is known")

	off, none := convertAll(options{}, exec(process("/usr/bin/app")))
	assert.Zero(t, countNames(none.Logs)[semconv.EventContainment], "turned off")
	assert.Zero(t, off.contained.told.Len())
}

func TestContainmentIsBounded(t *testing.T) {
	evicted := 0
	c := newContained(time.Minute, func() { evicted++ })
	for i := range maxContained + 10 {
		assert.True(t, c.due(containedKey{path: "/p", classes: classes{capabilities: uint64(i)}}, receivedAt))
	}
	assert.Equal(t, maxContained, c.told.Len())
	assert.Equal(t, 10, evicted)
	assert.True(t, c.due(containedKey{path: "/p"}, receivedAt), "what was forgotten is told again")
}
