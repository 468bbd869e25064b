package tetragonreceiver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
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

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// each calls f for every record.
func each(logs plog.Logs, f func(resource pcommon.Map, record plog.LogRecord)) {
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		for j := range resource.ScopeLogs().Len() {
			for k := range resource.ScopeLogs().At(j).LogRecords().Len() {
				f(resource.Resource().Attributes(), resource.ScopeLogs().At(j).LogRecords().At(k))
			}
		}
	}
}

func countNames(logs plog.Logs) map[string]int {
	counts := map[string]int{}
	each(logs, func(_ pcommon.Map, record plog.LogRecord) { counts[record.EventName()]++ })
	return counts
}

func text(m pcommon.Map, name string) string {
	v, ok := m.Get(name)
	if !ok {
		return ""
	}
	return v.AsString()
}

// only is the one record of a batch.
func only(t *testing.T, b *batch) (pcommon.Map, plog.LogRecord) {
	t.Helper()
	require.Equal(t, 1, b.Logs.LogRecordCount())
	require.Empty(t, semconv.Validate(b.Logs))
	resource := b.Logs.ResourceLogs().At(0)
	return resource.Resource().Attributes(), resource.ScopeLogs().At(0).LogRecords().At(0)
}

func TestCapturesAreConvertedWhole(t *testing.T) {
	for _, test := range []struct {
		name    string
		events  []*tetragon.GetEventsResponse
		types   map[string]int64
		records map[string]int
		kinds   []witness.Kind // that a heartbeat may claim after it
	}{
		{
			name: "linger file", events: fileEvents(t, "linger"),
			types: map[string]int64{
				"process_exec": 57, "process_exit": 50, "process_kprobe": 159, "process_lsm": 229, "process_loader": 225,
				"process_uprobe": 40, "process_usdt": 20, "process_tracepoint": 1,
			},
			records: map[string]int{
				semconv.EventExec: 57, semconv.EventExit: 50, semconv.EventKernel: 159 + 229 + 1, semconv.EventLoad: 225,
				semconv.EventCall: 40 + 20,
			},
			kinds: witness.Kinds,
		},
		{
			name: "throttled file", events: fileEvents(t, "throttled"),
			types: map[string]int64{"process_exec": 25, "process_exit": 74, "process_throttle": 5, "rate_limit_info": 1},
			records: map[string]int{
				semconv.EventExec: 25, semconv.EventExit: 74, semconv.EventStatus: 5,
				semconv.EventLoss: 3 + 1, // a cgroup ceased to be throttled, three times; the rate limit, once
			},
			kinds: []witness.Kind{witness.KindExec},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, b := convertAll(options{}, test.events...)
			assert.Equal(t, test.types, c.tally.events)
			assert.Empty(t, c.tally.skipped)
			assert.Equal(t, test.records, countNames(b.Logs))
			assert.Equal(t, test.kinds, c.ledger.kinds())
			assert.Empty(t, semconv.Validate(b.Logs))
		})
	}
}

func TestStreamsAreConvertedWhole(t *testing.T) {
	for name, messages := range map[string]int{"linger": 712, "throttled": 417} {
		t.Run(name, func(t *testing.T) {
			events := streamEvents(t, name)
			require.Len(t, events, messages)
			c, b := convertAll(options{raw: true, arguments: true}, events...)
			total := int64(0)
			for _, n := range c.tally.events {
				total += n
			}
			assert.EqualValues(t, messages, total)
			assert.Empty(t, c.tally.skipped)
			assert.Empty(t, semconv.Validate(b.Logs))
		})
	}
}

func TestNoGarbageFrameSurvives(t *testing.T) {
	c, b := convertAll(options{raw: true, arguments: true}, fileEvents(t, "linger")...)
	assert.Equal(t, map[string]int64{"garbage": 13}, c.tally.frames)
	user, incomplete, identified := 0, 0, 0
	each(b.Logs, func(_ pcommon.Map, record plog.LogRecord) {
		if text(record.Attributes(), semconv.TetragonHook) != "kprobe" {
			return
		}
		for _, frame := range witness.StackOf(record.Attributes()) {
			if frame.Language == "kernel" {
				continue
			}
			user++
			assert.LessOrEqual(t, frame.Offset, uint64(maxFileOffset))
			assert.True(t, strings.HasPrefix(frame.Module.Path, "/"), "the only unnamed module of the capture holds garbage")
			if frame.Module.BuildID != "" {
				identified++
			}
		}
		if text(record.Attributes(), semconv.WitnessStackComplete) == "false" {
			incomplete++
		}
	})
	assert.Equal(t, 306-13, user)
	assert.Equal(t, 98+13, incomplete, "98 have no user stack, 13 lost a frame of it")
	assert.Equal(t, 282, identified, "loader events of the same process name the build-id")
}

// secrets are all numbers of the capture that are addresses: those of frames, the cookies of sockets, and the pointers
// that a policy declared as numbers.
func secrets(events []*tetragon.GetEventsResponse) map[uint64]string {
	numbers := map[uint64]string{}
	keep := func(n uint64, what string) {
		if n >= 1<<32 {
			numbers[n] = what
		}
	}
	arguments := func(args []*tetragon.KprobeArgument) {
		for _, arg := range args {
			keep(arg.GetSockArg().GetCookie(), "cookie")
			keep(arg.GetSizeArg(), "size_arg")
			keep(uint64(arg.GetLongArg()), "long_arg")
		}
	}
	for _, event := range events {
		kprobe := event.GetProcessKprobe()
		for _, entry := range slices.Concat(kprobe.GetKernelStackTrace(), kprobe.GetUserStackTrace()) {
			keep(entry.GetAddress(), "address")
			keep(entry.GetOffset(), "offset")
		}
		arguments(kprobe.GetArgs())
		arguments(event.GetProcessUprobe().GetArgs())
		arguments(event.GetProcessUsdt().GetArgs())
		arguments(event.GetProcessTracepoint().GetArgs())
	}
	return numbers
}

func TestNoAddressGetsOut(t *testing.T) {
	for name, events := range map[string][]*tetragon.GetEventsResponse{
		"file": fileEvents(t, "linger"), "stream": streamEvents(t, "linger"),
	} {
		for _, o := range []options{{}, {raw: true, arguments: true}} {
			t.Run(fmt.Sprintf("%s %+v", name, o), func(t *testing.T) {
				known := secrets(events)
				require.Greater(t, len(known), 50, "the capture must hold addresses for this test to mean anything")
				whats := map[string]bool{}
				for _, what := range known {
					whats[what] = true
				}
				assert.Len(t, whats, 4, "of each sort")
				_, b := convertAll(o, events...)
				out, err := (&plog.JSONMarshaler{}).MarshalLogs(b.Logs)
				require.NoError(t, err)
				for _, number := range regexp.MustCompile(`[0-9a-fA-F]{9,}`).FindAllString(string(out), -1) {
					if n, err := strconv.ParseUint(number, 10, 64); err == nil {
						assert.NotContains(t, known, n, "in decimal")
					}
					if n, err := strconv.ParseUint(number, 16, 64); err == nil {
						assert.NotContains(t, known, n, "in hex")
					}
				}
			})
		}
	}
}

func TestArgumentsOnlyWhenAsked(t *testing.T) {
	private := []string{semconv.ProcessCommandLine, semconv.ProcessCommandArgs, semconv.ProcessWorkingDirectory, semconv.TetragonArgs, semconv.TetragonRaw}
	found := func(o options) map[string]int {
		_, b := convertAll(o, fileEvents(t, "linger")...)
		counts := map[string]int{}
		each(b.Logs, func(_ pcommon.Map, record plog.LogRecord) {
			for _, name := range private {
				if _, ok := record.Attributes().Get(name); ok {
					counts[name]++
				}
			}
		})
		return counts
	}
	assert.Empty(t, found(options{}))
	assert.Equal(t, map[string]int{semconv.TetragonRaw: 781}, found(options{raw: true}))
	with := found(options{arguments: true})
	assert.Greater(t, with[semconv.ProcessCommandLine], 700)
	assert.Greater(t, with[semconv.TetragonArgs], 400)
	assert.NotContains(t, with, semconv.TetragonRaw)
}

// witnesses counts the witnesses of records by id.
func witnesses(t *testing.T, logs plog.Logs) map[witness.ID]uint64 {
	t.Helper()
	hits := map[witness.ID]uint64{}
	each(logs, func(resource pcommon.Map, record plog.LogRecord) {
		sightings, err := witness.AppendSightings(nil, witness.WorkloadOf(resource), record)
		require.NoError(t, err)
		for i := range sightings {
			hits[sightings[i].Witness.ID()] += sightings[i].Hits
		}
	})
	return hits
}

// common are the events of a that b has too, each as often as in both. The file was opened before the stream, and
// Tetragon numbers references at the time of writing, which is no difference.
func common(t *testing.T, a, b []*tetragon.GetEventsResponse) []*tetragon.GetEventsResponse {
	t.Helper()
	key := func(event *tetragon.GetEventsResponse) string {
		e := eventOf(event)
		at := ""
		if event.GetTime() != nil {
			at = event.GetTime().AsTime().String()
		}
		return strings.Join([]string{e.name, at, e.process.GetExecId(), e.frame.module, e.frame.symbol, e.policy}, "|")
	}
	left := map[string]int{}
	for _, event := range b {
		left[key(event)]++
	}
	var both []*tetragon.GetEventsResponse
	for _, event := range a {
		if k := key(event); left[k] > 0 {
			left[k]--
			both = append(both, event)
		}
	}
	return both
}

func TestFileAndStreamGiveTheSameWitnesses(t *testing.T) {
	file, stream := fileEvents(t, "linger"), streamEvents(t, "linger")
	fileToo, streamToo := common(t, file, stream), common(t, stream, file)
	require.Equal(t, len(fileToo), len(streamToo))
	require.Greater(t, len(fileToo), 650, "most events are in both")
	_, fromFile := convertAll(options{}, fileToo...)
	_, fromStream := convertAll(options{}, streamToo...)
	want := witnesses(t, fromFile.Logs)
	assert.Greater(t, len(want), 100)
	assert.Equal(t, want, witnesses(t, fromStream.Logs))
}

func TestConvertIsDeterministic(t *testing.T) {
	events := fileEvents(t, "linger")
	marshal := func() string {
		_, b := convertAll(options{raw: true, arguments: true}, events...)
		out, err := (&plog.JSONMarshaler{}).MarshalLogs(b.Logs)
		require.NoError(t, err)
		return string(out)
	}
	assert.Equal(t, marshal(), marshal())
}

func TestHookFrames(t *testing.T) {
	_, b := convertAll(options{}, fileEvents(t, "linger")...)
	first := map[string]witness.Frame{}
	probes := map[string]string{}
	each(b.Logs, func(_ pcommon.Map, record plog.LogRecord) {
		m := record.Attributes()
		name := text(m, semconv.TetragonEvent) + " " + text(m, semconv.CodeFunctionName)
		stack := witness.StackOf(m)
		if len(stack) == 0 || record.EventName() == semconv.EventExec || record.EventName() == semconv.EventLoad {
			return
		}
		if _, known := first[name]; !known {
			first[name], probes[name] = stack[0], text(m, semconv.WitnessProbeID)
		}
		assert.NotEqual(t, stack[0].Symbol, slices.Concat(stack, []witness.Frame{{}})[1].Symbol, "the hooked function is there once")
	})
	kernel := witness.Module{Path: witness.KernelModule}
	hook := func(symbol string) witness.Frame {
		return witness.Frame{Symbol: symbol, Language: "kernel", Module: kernel, SymbolSource: "probe"}
	}
	for name, want := range map[string]witness.Frame{
		"process_kprobe tcp_connect":              hook("tcp_connect"),
		"process_kprobe security_file_permission": hook("security_file_permission"),
		"process_tracepoint trace_sys_enter_kill": hook("trace_sys_enter_kill"),
		"process_lsm bpf_lsm_file_open":           hook("bpf_lsm_file_open"),
		"process_lsm bpf_lsm_bprm_check_security": hook("bpf_lsm_bprm_check_security"),
	} {
		assert.Equal(t, want, first[name], name)
	}
	uprobe := first["process_uprobe lab_uprobe_int"]
	assert.Equal(t, "/lab/bin/cwork", uprobe.Module.Path)
	assert.Len(t, uprobe.Module.BuildID, 40, "the loader event came before the exec")
	usdt := first["process_usdt __dtrace_lab___request"]
	assert.Equal(t, "/lab/bin/usdtwork", usdt.Module.Path)
	assert.Equal(t, "c", usdt.Language)
	assert.Equal(t, map[string]string{
		"process_kprobe tcp_connect":              "lab-serve/kprobe:tcp_connect",
		"process_kprobe security_file_permission": "lab-serve/kprobe:security_file_permission",
		"process_tracepoint trace_sys_enter_kill": "lab-tracepoint/tracepoint:syscalls:sys_enter_kill",
		"process_lsm bpf_lsm_file_open":           "lab-lsm/lsm:file_open",
		"process_lsm bpf_lsm_bprm_check_security": "lab-lsm/lsm:bprm_check_security",
		"process_uprobe lab_uprobe_int":           "lab-uprobe/uprobe:lab_uprobe_int",
		"process_uprobe lab_uprobe_str":           "lab-uprobe/uprobe:lab_uprobe_str",
		"process_usdt __dtrace_lab___request":     "lab-usdt-lite/usdt:lab:request",
	}, probes)
}

func TestLoaderEventsGetATime(t *testing.T) {
	_, b := convertAll(options{}, fileEvents(t, "linger")...)
	begin, end := time.Date(2026, 11, 22, 16, 38, 0, 0, time.UTC), time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC)
	each(b.Logs, func(_ pcommon.Map, record plog.LogRecord) {
		if record.EventName() == semconv.EventLoad {
			at := record.Timestamp().AsTime()
			assert.True(t, at.After(begin) && at.Before(end), at)
		}
	})
}

func exec(p *tetragon.Process) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{
		NodeName: "node-1", ClusterName: "prod", Time: timestamppb.New(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)),
		Event: &tetragon.GetEventsResponse_ProcessExec{ProcessExec: &tetragon.ProcessExec{Process: p}},
	}
}

func process(binary string) *tetragon.Process {
	return &tetragon.Process{ExecId: "bm9kZS0xOjE6MTI=", Pid: wrapperspb.UInt32(12), Binary: binary, InInitTree: wrapperspb.Bool(true)}
}

func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*tetragon.Process)
		want   map[string]any
		work   witness.Workload
	}{
		{"host", func(*tetragon.Process) {}, map[string]any{"host.name": "node-1", "k8s.cluster.name": "prod"}, witness.Workload{}},
		{
			"deployment", func(p *tetragon.Process) {
				p.Docker = "3f1d0a9c"
				p.Pod = &tetragon.Pod{
					Namespace: "shop", Name: "web-7d4b9c-x2x", Uid: "0b5c", Workload: "web", WorkloadKind: "Deployment",
					Container: &tetragon.Container{
						Id: "containerd://3f1d0a9c77aa", Name: "app",
						Image: &tetragon.Image{Id: "docker.io/library/shop@sha256:abcd", Name: "docker.io/library/shop:1.2"},
					},
				}
			},
			map[string]any{
				"host.name": "node-1", "k8s.cluster.name": "prod", "k8s.node.name": "node-1", "k8s.namespace.name": "shop",
				"k8s.pod.name": "web-7d4b9c-x2x", "k8s.pod.uid": "0b5c", "k8s.container.name": "app", "k8s.deployment.name": "web",
				"container.id": "3f1d0a9c77aa", "container.image.name": "docker.io/library/shop",
				"container.image.tags":         []any{"1.2"},
				"container.image.repo_digests": []any{"docker.io/library/shop@sha256:abcd"},
			},
			witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:abcd"},
		},
		{
			"pod of its own, digest in the name, image id of no registry", func(p *tetragon.Process) {
				p.Pod = &tetragon.Pod{
					Namespace: "shop", Name: "debug", Workload: "debug", WorkloadKind: "Pod",
					Container: &tetragon.Container{
						Id: "docker://77", Name: "sh", Image: &tetragon.Image{Id: "sha256:abcd", Name: "registry:5000/a/b@sha256:ef"},
					},
				}
			},
			map[string]any{
				"host.name": "node-1", "k8s.cluster.name": "prod", "k8s.node.name": "node-1", "k8s.namespace.name": "shop",
				"k8s.pod.name": "debug", "k8s.container.name": "sh", "container.id": "77", "container.image.name": "registry:5000/a/b",
			},
			witness.Workload{Namespace: "shop", Container: "sh"},
		},
		{
			"container id only", func(p *tetragon.Process) { p.Docker = "0123456789abcdef0123456789abcde" },
			map[string]any{
				"host.name": "node-1", "k8s.cluster.name": "prod", "container.id": "0123456789abcdef0123456789abcde", "container.name": "unknown",
			},
			witness.UnknownWorkload,
		},
		{
			"start missed", func(p *tetragon.Process) { p.ExecId = "" },
			map[string]any{"host.name": "node-1", "k8s.cluster.name": "prod", "container.name": "unknown"}, witness.UnknownWorkload,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := process("/bin/app")
			test.change(p)
			_, b := convertAll(options{}, exec(p))
			resource, _ := only(t, b)
			assert.Equal(t, test.want, resource.AsRaw())
			assert.Equal(t, test.work, witness.WorkloadOf(resource))
		})
	}
	for _, kind := range []string{"StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Job"} {
		p := process("/bin/app")
		p.Pod = &tetragon.Pod{Namespace: "n", Name: "p", Workload: "w", WorkloadKind: kind, Container: &tetragon.Container{Name: "c"}}
		_, b := convertAll(options{}, exec(p))
		resource, _ := only(t, b)
		assert.Equal(t, strings.ToLower(kind)+"/w", witness.WorkloadOf(resource).Controller)
	}
}

func TestOneResourceForEachPlace(t *testing.T) {
	a, b := process("/bin/a"), process("/bin/b")
	b.Docker = "0123456789abcdef0123456789abcde"
	_, batch := convertAll(options{}, exec(a), exec(b), exec(a), exec(b))
	assert.Equal(t, 2, batch.Logs.ResourceLogs().Len())
	assert.Equal(t, 4, batch.Logs.LogRecordCount())
	source, _ := batch.Logs.ResourceLogs().At(1).ScopeLogs().At(0).Scope().Attributes().Get(semconv.WitnessSource)
	assert.Equal(t, testSource, source.Str())
}

func TestOrigin(t *testing.T) {
	for name, test := range map[string]struct {
		process *tetragon.Process
		want    witness.Origin
	}{
		"host":              {&tetragon.Process{ExecId: "x", Binary: "/bin/sh", InInitTree: wrapperspb.Bool(false)}, witness.OriginWorkload},
		"container":         {&tetragon.Process{ExecId: "x", Binary: "/bin/sh", Docker: "d", InInitTree: wrapperspb.Bool(true)}, witness.OriginWorkload},
		"exec in container": {&tetragon.Process{ExecId: "x", Binary: "/bin/sh", Docker: "d", InInitTree: wrapperspb.Bool(false)}, witness.OriginInjected},
		"exec in pod":       {&tetragon.Process{ExecId: "x", Binary: "/bin/sh", Pod: &tetragon.Pod{}, InInitTree: wrapperspb.Bool(false)}, witness.OriginInjected},
		"tree not told":     {&tetragon.Process{ExecId: "x", Binary: "/bin/sh", Docker: "d"}, witness.OriginWorkload},
		"tetragon":          {&tetragon.Process{ExecId: "x", Binary: "/usr/bin/tetragon"}, witness.OriginSelf},
		"collector by path": {&tetragon.Process{ExecId: "x", Binary: "/otelcol-witness"}, witness.OriginSelf},
		"collector by pid":  {&tetragon.Process{ExecId: "x", Binary: "/proc/self/fd/3", Pid: wrapperspb.UInt32(77)}, witness.OriginSelf},
		"start missed":      {&tetragon.Process{Pid: wrapperspb.UInt32(5)}, witness.OriginUnknown},
		"no process":        {nil, witness.OriginUnknown},
	} {
		assert.Equal(t, test.want, self{executable: "/otelcol-witness", pid: 77}.origin(test.process), name)
	}
}

func TestExit(t *testing.T) {
	for _, test := range []struct {
		name         string
		exit         *tetragon.ProcessExit
		code, signal string
	}{
		{"clean", &tetragon.ProcessExit{Process: process("/bin/a")}, "0", ""},
		{"code", &tetragon.ProcessExit{Process: process("/bin/a"), Status: 127}, "127", ""},
		{"signal", &tetragon.ProcessExit{Process: process("/bin/a"), Signal: "SIGSEGV"}, "", "SIGSEGV"},
		{"start missed", &tetragon.ProcessExit{Process: &tetragon.Process{Pid: wrapperspb.UInt32(9)}, Status: 1}, "1", ""},
		{"flags say unknown", &tetragon.ProcessExit{Process: &tetragon.Process{Pid: wrapperspb.UInt32(9), Flags: "unknown"}}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, b := convertAll(options{}, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExit{ProcessExit: test.exit}})
			_, record := only(t, b)
			assert.Equal(t, test.code, text(record.Attributes(), semconv.ProcessExitCode))
			assert.Equal(t, test.signal, text(record.Attributes(), semconv.ProcessSignal))
		})
	}
}

func TestExecutables(t *testing.T) {
	for _, test := range []struct {
		binary, path, name, deleted string
		skipped                     bool
	}{
		{"/usr/bin/bash", "/usr/bin/bash", "bash", "", false},
		{"/tmp/x (deleted)", "/tmp/x", "x", "true", false},
		{"<kernel>", "[kernel]", "[kernel]", "", false},
		{"", "", "", "", true},
	} {
		t.Run(test.binary, func(t *testing.T) {
			c, b := convertAll(options{}, exec(process(test.binary)))
			if test.skipped {
				assert.Equal(t, map[string]int64{"incomplete": 1}, c.tally.skipped)
				assert.Zero(t, b.Logs.LogRecordCount())
				return
			}
			_, record := only(t, b)
			m := record.Attributes()
			assert.Equal(t, test.path, text(m, semconv.ProcessExecutablePath))
			assert.Equal(t, test.name, text(m, semconv.ProcessExecutableName))
			assert.Equal(t, test.deleted, text(m, semconv.WitnessModuleDeleted))
			assert.Equal(t, test.path, witness.StackOf(m)[0].Module.Path)
		})
	}
}

func kprobe(k *tetragon.ProcessKprobe) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: k}}
}

func TestStacks(t *testing.T) {
	entry := func(symbol, module string, offset, address uint64) *tetragon.StackTraceEntry {
		return &tetragon.StackTraceEntry{Symbol: symbol, Module: module, Offset: offset, Address: address}
	}
	libc := "/usr/lib/libc.so.6"
	many := make([]*tetragon.StackTraceEntry, 400)
	for i := range many {
		many[i] = entry("f"+strconv.Itoa(i), libc, 1, 0)
	}
	for _, test := range []struct {
		name         string
		kernel, user []*tetragon.StackTraceEntry
		want         []string
		incomplete   bool
		dropped      map[string]int64
	}{
		{"policy asks for no stack", nil, nil, []string{"tcp_connect"}, false, nil},
		{"kernel only", []*tetragon.StackTraceEntry{entry("tcp_connect", "", 1, 0), entry("__sys_connect", "", 9, 0)}, nil, []string{"tcp_connect", "__sys_connect"}, true, nil},
		{"user only", nil, []*tetragon.StackTraceEntry{entry("connect", libc, 5, 0)}, []string{"tcp_connect", "connect"}, false, nil},
		{
			"fentry", []*tetragon.StackTraceEntry{entry("bpf_prog_0a1b_generic_fentry_event", "", 1, 0), entry("bpf_trampoline_644", "", 1, 0), entry("tcp_connect", "", 1, 0), entry("tcp_v4_connect", "", 1, 0)},
			[]*tetragon.StackTraceEntry{entry("connect", libc, 5, 0)},
			[]string{"tcp_connect", "tcp_v4_connect", "connect"}, false, nil,
		},
		{
			"the function again further out stays", []*tetragon.StackTraceEntry{entry("a", "", 1, 0), entry("tcp_connect", "", 1, 0)},
			[]*tetragon.StackTraceEntry{entry("connect", libc, 5, 0)},
			[]string{"tcp_connect", "a", "tcp_connect", "connect"}, false, nil,
		},
		{
			"memory of the process", nil, []*tetragon.StackTraceEntry{
				entry("", libc, 1<<32+1, 0), entry("", "[vdso]", 3474386820863225460, 0), entry("x", libc, 5, 1<<47), entry("main", "/bin/a", 1<<32, 1<<47-1),
			}, []string{"tcp_connect", "main"}, true, map[string]int64{"garbage": 3},
		},
		{
			"in no file", nil, []*tetragon.StackTraceEntry{entry("", "", 5, 0), entry("", "[heap]", 5, 0), entry("", "[stack]", 5, 0), entry("", "[anon:jit]", 5, 0), entry("clock", "[vdso]", 5, 0)},
			[]string{"tcp_connect", "clock"}, true, map[string]int64{"anonymous": 4},
		},
		{"as deep as Tetragon reports", nil, many[:127], nil, true, nil},
		{"deeper than a stack is read", nil, many, nil, true, map[string]int64{"excess": 401 - witness.MaxStack}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, b := convertAll(options{}, kprobe(&tetragon.ProcessKprobe{
				Process: process("/bin/a"), FunctionName: "tcp_connect", KernelStackTrace: test.kernel, UserStackTrace: test.user,
			}))
			_, record := only(t, b)
			stack := witness.StackOf(record.Attributes())
			if test.want != nil {
				var symbols []string
				for _, frame := range stack {
					symbols = append(symbols, frame.Symbol)
				}
				assert.Equal(t, test.want, symbols)
			}
			assert.Equal(t, test.incomplete, text(record.Attributes(), semconv.WitnessStackComplete) == "false")
			if test.dropped == nil {
				test.dropped = map[string]int64{}
			}
			assert.Equal(t, test.dropped, c.tally.frames)
		})
	}
}

func TestUprobeByOffset(t *testing.T) {
	_, b := convertAll(options{}, &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessUprobe{ProcessUprobe: &tetragon.ProcessUprobe{
		Process: process("/bin/a"), Path: "/bin/a", Offset: 0x1234, PolicyName: "p",
	}}})
	_, record := only(t, b)
	assert.Equal(t, []witness.Frame{{Module: witness.Module{Path: "/bin/a"}, Offset: 0x1234, HasOffset: true, SymbolSource: "probe"}}, witness.StackOf(record.Attributes()))
	assert.Equal(t, "p/uprobe:0x1234", text(record.Attributes(), semconv.WitnessProbeID))
}

func TestEventsWithoutRecord(t *testing.T) {
	for name, test := range map[string]struct {
		event *tetragon.GetEventsResponse
		want  string
	}{
		"test":                  {&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_Test{}}, "test"},
		"of a later version":    {&tetragon.GetEventsResponse{}, "unknown"},
		"exec of no one":        {exec(nil), "incomplete"},
		"load of no one":        {&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLoader{ProcessLoader: &tetragon.ProcessLoader{Path: "/x"}}}, "incomplete"},
		"kprobe of nothing":     {kprobe(&tetragon.ProcessKprobe{}), "incomplete"},
		"uprobe of nothing":     {&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessUprobe{}}, "incomplete"},
		"usdt without name":     {&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessUsdt{ProcessUsdt: &tetragon.ProcessUsdt{Path: "/x"}}}, "incomplete"},
		"lsm of nothing":        {&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLsm{}}, "incomplete"},
		"tracepoint of nothing": {&tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessTracepoint{}}, "incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			c, b := convertAll(options{raw: true, arguments: true}, test.event)
			assert.Zero(t, b.Logs.LogRecordCount())
			assert.Equal(t, map[string]int64{test.want: 1}, c.tally.skipped)
		})
	}
}

func TestArguments(t *testing.T) {
	args := []*tetragon.KprobeArgument{
		{Arg: &tetragon.KprobeArgument_IntArg{IntArg: -1}},
		{Arg: &tetragon.KprobeArgument_SizeArg{SizeArg: 140732016844636}},
		{Arg: &tetragon.KprobeArgument_SizeArg{SizeArg: 4096}},
		{Arg: &tetragon.KprobeArgument_LongArg{LongArg: -0x800000}},
		{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: []byte("dm0K")}},
		{Arg: &tetragon.KprobeArgument_StringArg{StringArg: "/etc/shadow"}},
		{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: "/etc/hostname", Permission: "-rw"}}},
		{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{Family: "AF_INET", Cookie: 7, Daddr: "10.0.0.1", Dport: 443}}},
		{Arg: &tetragon.KprobeArgument_PerfEventArg{PerfEventArg: &tetragon.KprobePerfEvent{ProbeOffset: 0xffffffff81000000}}},
		{},
		nil,
	}
	result := &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_IntArg{IntArg: 3}}
	assert.Equal(t, []string{
		"0:int_arg=-1", "2:size_arg=4096", "data0:string_arg=/etc/shadow", "data1:file_arg=path:/etc/hostname permission:-rw",
		"data2:sock_arg=family:AF_INET daddr:10.0.0.1 dport:443", "return:int_arg=3",
	}, argumentTexts(args[:5], args[5:], result))
	long := []*tetragon.KprobeArgument{{Arg: &tetragon.KprobeArgument_StringArg{StringArg: strings.Repeat("ä", maxArgumentText)}}}
	assert.LessOrEqual(t, len(argumentTexts(long, nil, nil)[0]), len("0:")+maxArgumentText)
}

func TestRawIsAnEventWithoutAddressesAndHookArguments(t *testing.T) {
	_, b := convertAll(options{raw: true}, kprobe(&tetragon.ProcessKprobe{
		Process: process("/bin/a"), FunctionName: "tcp_connect",
		KernelStackTrace: []*tetragon.StackTraceEntry{{Symbol: "tcp_connect", Address: 18446744072265074673, Offset: 1}},
		UserStackTrace:   []*tetragon.StackTraceEntry{{Module: "[vdso]", Offset: 3474386820863225460}, {Module: "/bin/a", Offset: 8, Address: 94440913777502}},
		Args: []*tetragon.KprobeArgument{
			{Arg: &tetragon.KprobeArgument_SockArg{SockArg: &tetragon.KprobeSock{Family: "AF_INET", Cookie: 18388741634568299520}}},
			{Arg: &tetragon.KprobeArgument_BytesArg{BytesArg: []byte("secret")}},
		},
		Return: &tetragon.KprobeArgument{Arg: &tetragon.KprobeArgument_LongArg{LongArg: -131940000000000}},
	}))
	_, record := only(t, b)
	var raw map[string]any
	require.NoError(t, json.Unmarshal([]byte(text(record.Attributes(), semconv.TetragonRaw)), &raw))
	event := raw["process_kprobe"].(map[string]any)
	assert.Equal(t, []any{map[string]any{"symbol": "tcp_connect", "offset": "1"}}, event["kernel_stack_trace"])
	assert.Equal(t, []any{map[string]any{"module": "/bin/a", "offset": "8"}}, event["user_stack_trace"])
	assert.NotContains(t, event, "args")
	assert.NotContains(t, event, "return")
}

func TestBuildIDs(t *testing.T) {
	evictions := 0
	b := newBuildIDs(func() { evictions++ })
	before := &tetragon.Process{ExecId: "before", Pid: wrapperspb.UInt32(5)}
	after := &tetragon.Process{ExecId: "after", Pid: wrapperspb.UInt32(5)}
	b.add(before, "/lib/old.so", "01")
	b.add(before, "/bin/new", "02")
	b.add(before, "/lib/ld.so", "03")
	b.exec(after)
	assert.Equal(t, "02", b.of("after", "/bin/new"), "an exec maps the binary under the old exec id")
	assert.Equal(t, "03", b.of("after", "/lib/ld.so"))
	assert.Empty(t, b.of("after", "/lib/old.so"), "what the old image had loaded is not the new one's")
	assert.Equal(t, "01", b.of("before", "/lib/old.so"))
	b.exec(&tetragon.Process{ExecId: "third", Pid: wrapperspb.UInt32(5)})
	assert.Empty(t, b.of("third", "/bin/new"), "given once")
	b.add(after, "/bin/new", "")
	assert.Empty(t, b.of("after", "/bin/new"), "a file without build-id took its place")
	assert.Empty(t, b.of("", "/bin/new"))
	b.add(&tetragon.Process{}, "/bin/new", "02")
	assert.Empty(t, b.of("", "/bin/new"))
	assert.Zero(t, evictions)

	for i := range maxBuildIDModules + 3 {
		b.add(after, "/lib/"+strconv.Itoa(i), "04")
	}
	assert.Equal(t, 3+1, evictions, "ld.so is one of the modules")
	evictions = 0
	for i := range maxBuildIDProcesses {
		b.add(&tetragon.Process{ExecId: "p" + strconv.Itoa(i), Pid: wrapperspb.UInt32(uint32(i))}, "/x", "05")
	}
	assert.Equal(t, 2, evictions, "before and after made room")
	assert.Empty(t, b.of("after", "/lib/ld.so"))
	assert.Empty(t, hexOf(make([]byte, 65)))
}

func throttle(kind tetragon.ThrottleType, cgroup string, at time.Time) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{
		NodeName: "node-1", Time: timestamppb.New(at),
		Event: &tetragon.GetEventsResponse_ProcessThrottle{ProcessThrottle: &tetragon.ProcessThrottle{Type: kind, Cgroup: cgroup}},
	}
}

// spoken reads what a batch says of coverage, in order.
func spoken(t *testing.T, logs plog.Logs) (all []witness.Coverage) {
	t.Helper()
	require.Empty(t, semconv.Validate(logs))
	each(logs, func(resource pcommon.Map, record plog.LogRecord) {
		c, ok, err := witness.CoverageOf(resource, record)
		require.NoError(t, err)
		if ok {
			all = append(all, c)
		}
	})
	return all
}

func TestThrottling(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 11, 22, 10, 0, second, 0, time.UTC) }
	start, stop := tetragon.ThrottleType_THROTTLE_START, tetragon.ThrottleType_THROTTLE_STOP
	padded := "session-1.scope" + strings.Repeat("\x00", 113)
	c, b := convertAll(options{},
		throttle(start, padded, at(1)), throttle(start, padded, at(2)), throttle(stop, padded, at(4)), throttle(stop, padded, at(5)))
	all := spoken(t, b.Logs)
	require.Len(t, all, 6)
	var losses []witness.Coverage
	for _, one := range all {
		if one.LossStage != "" {
			losses = append(losses, one)
			continue
		}
		assert.Equal(t, "cgroup/session-1.scope", one.StatusTarget)
	}
	require.Len(t, losses, 2)
	assert.Equal(t, []time.Time{at(4), at(5)}, []time.Time{losses[1].Start, losses[1].End}, "a stop whose start was missed")
	assert.Equal(t, stageThrottled, losses[0].LossStage)
	assert.Zero(t, losses[0].Lost, "of unknown size")
	assert.Equal(t, []time.Time{at(1), at(4)}, []time.Time{losses[0].Start, losses[0].End})

	// A cgroup that is still throttled is a loss at each heartbeat.
	b = newBatch(testSource)
	c.ledger.start = at(10)
	c.convert(b, throttle(start, padded, at(11)), receivedAt, "")
	c.ledger.beat(b, at(20), receivedAt)
	c.ledger.beat(b, at(30), receivedAt)
	var gaps [][]time.Time
	for _, one := range spoken(t, b.Logs) {
		if one.LossStage != "" {
			gaps = append(gaps, []time.Time{one.Start, one.End})
		}
	}
	assert.Equal(t, [][]time.Time{{at(11), at(20)}, {at(20), at(30)}}, gaps)
}

// TestThrottlingInTheCapture looks at what a real agent told: two cgroups that were throttled, and one of them once more, of
// which it did not tell the start; and the rate limit of its file.
func TestThrottlingInTheCapture(t *testing.T) {
	_, b := convertAll(options{}, fileEvents(t, "throttled")...)
	type said struct{ what, state, start, end string }
	var all []said
	clock := func(t time.Time) string { return t.UTC().Format("15:04:05.000") }
	for _, c := range spoken(t, b.Logs) {
		all = append(all, said{cmp.Or(c.LossStage, c.StatusTarget), c.StatusState, clock(c.Start), clock(c.End)})
		assert.Equal(t, "lab-guest", c.Instance.Host)
		if c.StatusTarget != "" {
			assert.Equal(t, witness.ReasonThrottled, c.StatusReason)
		}
		assert.Equal(t, map[bool]uint64{true: 346}[c.LossStage == stageRateLimit], c.Lost)
	}
	assert.ElementsMatch(t, []said{
		{"cgroup/execd.service", "suspended", "16:56:21.992", "16:56:21.992"},
		{"cgroup/session-1.scope", "suspended", "16:56:22.533", "16:56:22.533"},
		{stageThrottled, "", "16:56:21.992", "16:56:26.455"},
		{"cgroup/execd.service", "attached", "16:56:26.455", "16:56:26.455"},
		{stageThrottled, "", "16:56:22.533", "16:56:38.456"},
		{"cgroup/session-1.scope", "attached", "16:56:38.456", "16:56:38.456"},
		{stageThrottled, "", "16:56:26.455", "16:57:07.455"},
		{"cgroup/execd.service", "attached", "16:57:07.455", "16:57:07.455"},
		{stageRateLimit, "", "16:56:21.240", "16:57:21.240"},
	}, all)
}

// A stream that ends leaves open whether its cgroups are still throttled: the agent may have been started again.
func TestThrottlingEndsWithTheStream(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 11, 22, 10, 0, second, 0, time.UTC) }
	start, stop := tetragon.ThrottleType_THROTTLE_START, tetragon.ThrottleType_THROTTLE_STOP
	c, b := convertAll(options{})
	c.ledger.reconnect(b, at(0))
	c.convert(b, throttle(start, "a.scope", at(1)), at(1), "")
	c.ledger.beat(b, at(5), at(5)) // the stream ends
	c.ledger.reconnect(b, at(10))
	c.ledger.beat(b, at(20), at(20))
	var told []string
	for _, one := range spoken(t, b.Logs) {
		if one.StatusTarget != "" {
			told = append(told, one.StatusState+" "+one.StatusReason)
		}
	}
	assert.Equal(t, []string{"suspended throttled", "unavailable disconnected"}, told)
	gaps := func() (all [][]time.Time) {
		for _, one := range spoken(t, b.Logs) {
			if one.LossStage == stageThrottled {
				all = append(all, []time.Time{one.Start, one.End})
			}
		}
		return all
	}
	assert.Equal(t, [][]time.Time{{at(1), at(5)}}, gaps(), "nothing is lost that nobody knows of")
	c.convert(b, throttle(stop, "a.scope", at(21)), at(21), "")
	assert.Equal(t, []time.Time{at(10), at(21)}, gaps()[1], "until it is known")
}

// TestThrottledUsers has two cgroups of the same name once the user ids are gone.
func TestThrottledUsers(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 11, 22, 10, 0, second, 0, time.UTC) }
	c, b := convertAll(options{},
		throttle(tetragon.ThrottleType_THROTTLE_START, "user-1000.slice", at(1)), throttle(tetragon.ThrottleType_THROTTLE_START, "user-1001.slice", at(2)),
		throttle(tetragon.ThrottleType_THROTTLE_STOP, "user-1001.slice", at(3)))
	assert.Len(t, c.ledger.throttled, 1, "the other one is still throttled")
	out, err := (&plog.JSONMarshaler{}).MarshalLogs(b.Logs)
	require.NoError(t, err)
	assert.NotContains(t, string(out), "1000.slice")
	assert.NotContains(t, string(out), "1001.slice")
}

func TestThrottledCgroupsAreBounded(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	c, b := convertAll(options{})
	for i := range maxThrottled + 2 {
		c.convert(b, throttle(tetragon.ThrottleType_THROTTLE_START, strconv.Itoa(i), at.Add(time.Duration(i))), receivedAt, "")
	}
	assert.Len(t, c.ledger.throttled, maxThrottled)
	assert.Equal(t, int64(2), c.tally.evictions["throttled_cgroups"])
	b = newBatch(testSource)
	for i := range maxThrottled + 2 {
		c.convert(b, throttle(tetragon.ThrottleType_THROTTLE_STOP, strconv.Itoa(i), at.Add(time.Second)), receivedAt, "")
	}
	assert.Empty(t, c.ledger.throttled)
	assert.Equal(t, maxThrottled+1, countNames(b.Logs)[semconv.EventLoss], "the rest is one")
}

func TestCgroupNames(t *testing.T) {
	for padded, want := range map[string]string{
		"user.slice\x00\x00": "user.slice",
		"session-1.scope":    "session-1.scope",
	} {
		assert.Equal(t, want, cgroupName(padded))
	}
	for padded, want := range map[string]string{
		"user-1000.slice\x00":           "user-<uid>.slice",
		"user@1000.service":             "user@<uid>.service",
		"user-runtime-dir@1000.service": "user-runtime-dir@<uid>.service",
	} {
		assert.Equal(t, want, cgroupName(padded))
	}
	for _, private := range []string{
		"cri-containerd-3f1d0a9c77aa5b6c3f1d0a9c77aa5b6c3f1d0a9c77aa5b6c3f1d0a9c77aa5b6c.scope", "kubepods/pod x", "", "a\nb", strings.Repeat("z", 65),
	} {
		name := cgroupName(private)
		assert.Regexp(t, `^[0-9a-f]{16}$`, name)
		assert.NotContains(t, private, name+"x")
	}
}

func TestRateLimit(t *testing.T) {
	limit := func(dropped uint64, at time.Time) *tetragon.GetEventsResponse {
		return &tetragon.GetEventsResponse{Time: timestamppb.New(at), Event: &tetragon.GetEventsResponse_RateLimitInfo{
			RateLimitInfo: &tetragon.RateLimitInfo{NumberOfDroppedProcessEvents: dropped},
		}}
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	c, b := convertAll(options{}, limit(346, at), limit(4, at.Add(50*time.Second)))
	c.ledger.start = at
	c.ledger.beat(b, at.Add(time.Minute), receivedAt)
	all := spoken(t, b.Logs)
	require.Len(t, all, 3)
	assert.Equal(t, []any{stageRateLimit, uint64(346), at.Add(-time.Minute), at}, []any{all[0].LossStage, all[0].Lost, all[0].Start, all[0].End})
	assert.Equal(t, []any{uint64(4), at, at.Add(50 * time.Second)}, []any{all[1].Lost, all[1].Start, all[1].End})
	assert.Equal(t, int64(350), c.tally.lost[stageRateLimit])
}

func TestHeartbeat(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	c, b := convertAll(options{}, exec(process("/bin/a")), exec(process("/bin/a")))
	c.ledger.beat(b, at, receivedAt)
	assert.Empty(t, spoken(t, b.Logs), "nothing is vouched for before anything is watched")
	c.ledger.start = at
	c.ledger.miss(stageMalformed, 2)
	c.ledger.beat(b, at.Add(15*time.Second), receivedAt)
	c.ledger.beat(b, at.Add(30*time.Second), receivedAt)
	all := spoken(t, b.Logs)
	require.Len(t, all, 3)
	assert.Equal(t, []any{stageMalformed, uint64(2)}, []any{all[0].LossStage, all[0].Lost})
	assert.Equal(t, witness.Coverage{
		Source: testSource, Instance: witness.Instance{Host: "node-1"}, Assurance: witness.Measured, Signal: "tetragon", Kinds: []witness.Kind{witness.KindExec},
		Start: at, End: at.Add(15 * time.Second), Interval: 15 * time.Second, ProcessesSeen: 1, ProcessesWatched: 1,
	}, all[1])
	assert.Equal(t, all[1].End, all[2].Start, "heartbeats leave no gap")
	assert.Zero(t, all[2].ProcessesSeen)
}

// TestNothingLongIsKept has texts longer than Tetragon ever writes.
func TestNothingLongIsKept(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	c, _ := convertAll(options{})
	c.ledger.note(&tetragon.GetEventsResponse{}, &tetragon.Process{ExecId: long})
	assert.Empty(t, c.ledger.seen)
	c.builds.add(&tetragon.Process{ExecId: long}, "/a", "abcd")
	c.builds.add(&tetragon.Process{ExecId: "a"}, "/"+long, "abcd")
	assert.Zero(t, c.builds.processes.Len())
	assert.Zero(t, c.builds.latest.Len())
}

func TestProcessesSeenAreBounded(t *testing.T) {
	c, _ := convertAll(options{})
	for i := range maxProcessesSeen + 5 {
		c.ledger.note(&tetragon.GetEventsResponse{}, &tetragon.Process{ExecId: strconv.Itoa(i)})
	}
	assert.Len(t, c.ledger.seen, maxProcessesSeen)
	assert.Equal(t, int64(5), c.tally.evictions["processes"])
}

func TestTimesThatCannotBe(t *testing.T) {
	far := exec(process("/bin/a"))
	far.Time = timestamppb.New(receivedAt.Add(time.Hour))
	loader := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLoader{
		ProcessLoader: &tetragon.ProcessLoader{Process: process("/bin/a"), Path: "/lib/x"},
	}}
	_, b := convertAll(options{}, far, loader)
	var times []time.Time
	each(b.Logs, func(_ pcommon.Map, record plog.LogRecord) { times = append(times, record.Timestamp().AsTime()) })
	assert.Contains(t, times, receivedAt, "an event from the future moves no other")
	for name, at := range map[string]*timestamppb.Timestamp{
		"none": nil, "zero": {}, "year 1": {Seconds: -62135596800}, "year 9999": {Seconds: 253402300799}, "nanos": {Seconds: 1, Nanos: -1},
	} {
		_, ok := timeOf(at)
		assert.False(t, ok, name)
	}
}

func TestTypesOfEventsAreAllKnown(t *testing.T) {
	fields := (&tetragon.GetEventsResponse{}).ProtoReflect().Descriptor().Oneofs().ByName("event").Fields()
	known := map[string]bool{}
	for i := range fields.Len() {
		event := &tetragon.GetEventsResponse{}
		m := event.ProtoReflect()
		m.Set(fields.Get(i), m.NewField(fields.Get(i)))
		e := eventOf(event)
		assert.Equal(t, string(fields.Get(i).Name()), e.name)
		known[e.name] = true
	}
	assert.Len(t, slices.Collect(maps.Keys(known)), 11)
}
