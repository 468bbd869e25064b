package containment

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func signal(name witness.SignalName, values ...string) witness.Signal {
	return witness.Signal{Name: name, Values: values, Source: witness.SourceTetragon, Assurance: witness.Measured, ObservedAt: noon}
}

func process(signals ...witness.Signal) Process {
	p := Process{}
	p.add(signals)
	return p
}

func state(r Result, name string) State {
	i := slices.IndexFunc(r.Parts, func(p Part) bool { return p.Name == name })
	return r.Parts[i].State
}

func TestControls(t *testing.T) {
	own := func(names ...witness.SignalName) (signals []witness.Signal) {
		for _, name := range names {
			signals = append(signals, signal(name, witness.NamespaceIsolated))
		}
		return signals
	}
	for _, test := range []struct {
		name, control string
		signals       []witness.Signal
		want          State
	}{
		{"nothing", "privileges", nil, Unknown},
		{"privileged", "privileges", []witness.Signal{signal(witness.SignalPrivileged, "yes")}, Missing},
		{"privileged without capabilities", "privileges", []witness.Signal{signal(witness.SignalPrivileged, "yes"), signal(witness.SignalCapabilities)}, Missing},
		{"not privileged", "privileges", []witness.Signal{signal(witness.SignalPrivileged, "no")}, Unknown},
		{"no capability", "privileges", []witness.Signal{signal(witness.SignalCapabilities)}, Present},
		{"a harmless capability", "privileges", []witness.Signal{signal(witness.SignalCapabilities, "CAP_CHOWN")}, Present},
		{"a capability", "privileges", []witness.Signal{signal(witness.SignalCapabilities, "CAP_BPF")}, Missing},
		{"one namespace of the host", "host_namespaces", []witness.Signal{signal(witness.SignalNetworkNamespace, "host")}, Missing},
		{"some namespaces", "host_namespaces", own(witness.SignalMountNamespace, witness.SignalPIDNamespace, witness.SignalNetworkNamespace), Unknown},
		{"all namespaces", "host_namespaces", own(hostNamespaces...), Present},
		{"names and cgroups of the host", "host_namespaces", append(own(hostNamespaces...), signal(witness.SignalUTSNamespace, "host"), signal(witness.SignalCgroupNamespace, "host")), Present},
		{"root of the host", "root", []witness.Signal{signal(witness.SignalUser, "root-host")}, Missing},
		{"root of what", "root", []witness.Signal{signal(witness.SignalUser, "root")}, Unknown},
		{"root of the host by its namespace", "root", []witness.Signal{signal(witness.SignalUser, "root"), signal(witness.SignalUserNamespace, "host")}, Missing},
		{"root of a namespace", "root", []witness.Signal{signal(witness.SignalUser, "root"), signal(witness.SignalUserNamespace, "isolated")}, Present},
		{"nonroot", "root", []witness.Signal{signal(witness.SignalUser, "nonroot")}, Present},
		{"seccomp off", "seccomp", []witness.Signal{signal(witness.SignalSeccomp, "disabled")}, Missing},
		{"seccomp on", "seccomp", []witness.Signal{signal(witness.SignalSeccomp, "filter")}, Present},
		{"no_new_privs off", "no_new_privs", []witness.Signal{signal(witness.SignalNoNewPrivs, "no")}, Missing},
		{"no_new_privs on", "no_new_privs", []witness.Signal{signal(witness.SignalNoNewPrivs, "yes")}, Present},
		{"writable", "root_fs", []witness.Signal{signal(witness.SignalRootFS, "writable")}, Missing},
		{"read-only", "root_fs", []witness.Signal{signal(witness.SignalRootFS, "read_only")}, Present},
		{"unconfined", "lsm", []witness.Signal{signal(witness.SignalLSM, "unconfined")}, Missing},
		{"confined", "lsm", []witness.Signal{signal(witness.SignalLSM, "confined")}, Present},
		{"a socket", "sensitive_mounts", []witness.Signal{signal(witness.SignalSensitiveMounts, "runtime_socket")}, Missing},
		{"no mounts", "sensitive_mounts", []witness.Signal{signal(witness.SignalSensitiveMounts)}, Present},
	} {
		t.Run(test.name, func(t *testing.T) {
			weights := DefaultWeights()
			r := Assess(&weights, []Process{process(test.signals...)})
			assert.Equal(t, test.want, state(r, test.control))
			for _, part := range r.Parts {
				assert.NotEmpty(t, part.Why)
				assert.Equal(t, part.State == Unknown, part.ObservedAt == nil)
			}
		})
	}
}

// What took a measured and an asserted signal is not presented as measured, nor what is asserted named beside what was.
func TestAssertedIsNotPresentedAsMeasured(t *testing.T) {
	asserted := func(s witness.Signal) witness.Signal {
		s.Source, s.Assurance = witness.SourceAsserted, witness.Asserted
		return s
	}
	own := func(name witness.SignalName) witness.Signal { return signal(name, witness.NamespaceIsolated) }
	host := func(name witness.SignalName) witness.Signal { return signal(name, witness.NamespaceHost) }
	for _, test := range []struct {
		name, control string
		processes     []Process
		state         State
		assurance     witness.Assurance
		why           string
	}{
		{
			"one namespace of four measured", "host_namespaces", []Process{process(own(witness.SignalMountNamespace),
				asserted(own(witness.SignalPIDNamespace)), asserted(own(witness.SignalNetworkNamespace)), asserted(own(witness.SignalIPCNamespace)))},
			Present, witness.Asserted, "its mount, pid, network and ipc namespaces are its own",
		},
		{
			"one namespace of the host measured, one asserted", "host_namespaces",
			[]Process{process(host(witness.SignalPIDNamespace), asserted(host(witness.SignalNetworkNamespace)))},
			Missing, witness.Measured, "it shares the host's pid",
		},
		{
			"root measured, its namespace asserted", "root",
			[]Process{process(signal(witness.SignalUser, "root"), asserted(own(witness.SignalUserNamespace)))},
			Present, witness.Asserted, "its user is root of a user namespace of its own",
		},
		{
			"present in two processes", "seccomp",
			[]Process{process(signal(witness.SignalSeccomp, "filter")), process(asserted(signal(witness.SignalSeccomp, "filter")))},
			Present, witness.Asserted, "",
		},
		{
			"missing in two processes", "seccomp",
			[]Process{process(signal(witness.SignalSeccomp, "disabled")), process(asserted(signal(witness.SignalSeccomp, "disabled")))},
			Missing, witness.Measured, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			weights := DefaultWeights()
			for range 2 {
				parts := Assess(&weights, test.processes).Parts
				part := parts[slices.IndexFunc(parts, func(p Part) bool { return p.Name == test.control })]
				assert.Equal(t, test.state, part.State)
				assert.Equal(t, test.assurance, part.Assurance)
				if test.why != "" {
					assert.Equal(t, test.why, part.Why)
				}
				slices.Reverse(test.processes)
			}
		})
	}
}

func TestBlastRadius(t *testing.T) {
	weights := DefaultWeights()
	for _, test := range []struct {
		name      string
		processes []Process
		want      float64 // below 0: none
		unknown   float64
	}{
		{"no process", nil, -1, 1},
		{"nothing known", []Process{{}}, -1, 1},
		{"only what has no weight", []Process{process(signal(witness.SignalEntry, "injected"))}, -1, 1},
		{"one missing", []Process{process(signal(witness.SignalSeccomp, "disabled"))}, 1, 0.88},
		{"one present", []Process{process(signal(witness.SignalSeccomp, "filter"))}, 0, 0.88},
		{"two of them", []Process{process(signal(witness.SignalSeccomp, "disabled"), signal(witness.SignalNoNewPrivs, "yes"))}, 0.6, 0.8},
		{"the worst process counts", []Process{process(signal(witness.SignalUser, "nonroot")), process(signal(witness.SignalUser, "root-host"))}, 1, 0.85},
		{"half of the processes is unknown", []Process{process(signal(witness.SignalUser, "nonroot")), {}}, 0, 0.925},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := Assess(&weights, test.processes)
			assert.InDelta(t, test.unknown, r.UnknownShare, 1e-9)
			if test.want < 0 {
				assert.Nil(t, r.BlastRadius)
				return
			}
			require.NotNil(t, r.BlastRadius)
			assert.InDelta(t, test.want, *r.BlastRadius, 1e-9)
		})
	}
}

// better and worse are the values of signals that say that a control is there, or is not.
var better = map[witness.SignalName][]string{
	witness.SignalCapabilities: nil, witness.SignalMountNamespace: {"isolated"}, witness.SignalPIDNamespace: {"isolated"},
	witness.SignalNetworkNamespace: {"isolated"}, witness.SignalIPCNamespace: {"isolated"}, witness.SignalUser: {"nonroot"},
	witness.SignalSeccomp: {"filter"}, witness.SignalNoNewPrivs: {"yes"}, witness.SignalRootFS: {"read_only"},
	witness.SignalLSM: {"confined"}, witness.SignalSensitiveMounts: nil,
}

var worse = map[witness.SignalName][]string{
	witness.SignalCapabilities: {"CAP_SYS_ADMIN"}, witness.SignalMountNamespace: {"host"}, witness.SignalPIDNamespace: {"host"},
	witness.SignalNetworkNamespace: {"host"}, witness.SignalIPCNamespace: {"host"}, witness.SignalUser: {"root-host"},
	witness.SignalSeccomp: {"disabled"}, witness.SignalNoNewPrivs: {"no"}, witness.SignalRootFS: {"writable"},
	witness.SignalLSM: {"unconfined"}, witness.SignalSensitiveMounts: {"runtime_socket"},
}

func names() []witness.SignalName {
	var all []witness.SignalName
	for _, name := range witness.SignalNames {
		if _, ok := better[name]; ok {
			all = append(all, name)
		}
	}
	return all
}

func drawProcesses(t *rapid.T) []Process {
	processes := make([]Process, rapid.IntRange(0, 4).Draw(t, "processes"))
	for i := range processes {
		processes[i] = Process{}
		for _, name := range names() {
			switch rapid.SampledFrom([]State{Present, Missing, Unknown}).Draw(t, string(name)) {
			case Present:
				processes[i][name] = signal(name, better[name]...)
			case Missing:
				processes[i][name] = signal(name, worse[name]...)
			}
		}
	}
	return processes
}

func drawWeights(t *rapid.T) *Weights {
	w := DefaultWeights()
	if rapid.Bool().Draw(t, "other weights") {
		draw := func(name string) float64 { return rapid.Float64Range(0, 1).Draw(t, name) }
		w = Weights{draw("p"), draw("n"), draw("r"), draw("s"), draw("nn"), draw("fs"), draw("lsm"), draw("m")}
		if w.Validate() != nil {
			w = DefaultWeights()
		}
	}
	return &w
}

func TestProperties(t *testing.T) {
	t.Run("bounded", rapid.MakeCheck(func(t *rapid.T) {
		r := Assess(drawWeights(t), drawProcesses(t))
		assert.True(t, r.UnknownShare >= 0 && r.UnknownShare <= 1)
		if r.BlastRadius != nil {
			assert.True(t, *r.BlastRadius >= 0 && *r.BlastRadius <= 1)
		}
	}))
	t.Run("removing a control never lowers it", rapid.MakeCheck(func(t *rapid.T) {
		w, processes := drawWeights(t), drawProcesses(t)
		if len(processes) == 0 {
			return
		}
		before := Assess(w, processes)
		name := rapid.SampledFrom(names()).Draw(t, "signal")
		p := rapid.SampledFrom(processes).Draw(t, "process")
		if s, ok := p[name]; !ok || !slices.Equal(s.Values, better[name]) {
			return
		}
		p[name] = signal(name, worse[name]...)
		after := Assess(w, processes)
		if before.BlastRadius != nil {
			require.NotNil(t, after.BlastRadius)
			assert.GreaterOrEqual(t, *after.BlastRadius, *before.BlastRadius)
		}
	}))
	t.Run("what is unknown does not change it", rapid.MakeCheck(func(t *rapid.T) {
		w, processes := drawWeights(t), drawProcesses(t)
		before := Assess(w, processes)
		after := Assess(w, append(slices.Clone(processes), Process{}, process(signal(witness.SignalNetworkPolicy, "absent"))))
		assert.Equal(t, before.BlastRadius, after.BlastRadius)
		assert.GreaterOrEqual(t, after.UnknownShare, before.UnknownShare)
	}))
	t.Run("the order does not matter", rapid.MakeCheck(func(t *rapid.T) {
		w, processes := drawWeights(t), drawProcesses(t)
		shuffled := rapid.Permutation(processes).Draw(t, "order")
		assert.Equal(t, Assess(w, processes), Assess(w, shuffled))
	}))
	t.Run("nothing known has none", rapid.MakeCheck(func(t *rapid.T) {
		r := Assess(drawWeights(t), make([]Process, rapid.IntRange(0, 3).Draw(t, "processes")))
		assert.Nil(t, r.BlastRadius)
		assert.InDelta(t, 1.0, r.UnknownShare, 0)
	}))
}

func TestWeights(t *testing.T) {
	w := DefaultWeights()
	require.NoError(t, w.Validate())
	canonical, err := jcs.Transform(w.AppendDocument(nil))
	require.NoError(t, err)
	assert.Equal(t, string(canonical), string(w.AppendDocument(nil)))
	assert.Equal(t, `{"host_namespaces":"0.2","lsm":"0.05","model":"witness-containment/v1","no_new_privs":"0.08","privileges":"0.3",`+
		`"root":"0.15","root_fs":"0.05","seccomp":"0.12","sensitive_mounts":"0.05"}`, string(canonical))
	digest := w.Digest()
	w.LSM = 0.06
	assert.NotEqual(t, digest, w.Digest())
	for name, change := range map[string]func(*Weights){
		"root: is not a number": func(w *Weights) { w.Root = math.NaN() },
		"lsm: is not a number":  func(w *Weights) { w.LSM = 1.5 },
		"privileges: is not":    func(w *Weights) { w.Privileges = -1 },
		"all weights are 0":     func(w *Weights) { *w = Weights{} },
	} {
		w := DefaultWeights()
		change(&w)
		require.ErrorContains(t, w.Validate(), name)
	}
	_, err = json.Marshal(Assess(&w, nil))
	require.NoError(t, err)
}

func TestMerge(t *testing.T) {
	web := witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:aa"}
	of := func(w witness.Workload, pod, path string, signals ...witness.Signal) witness.Containment {
		return witness.Containment{
			Workload: w, Instance: witness.Instance{Pod: pod}, Executable: witness.Module{Path: path}, Origin: witness.OriginWorkload, Signals: signals,
		}
	}
	claim := func(s witness.Signal, after time.Duration) witness.Signal {
		s.Source, s.Assurance, s.ObservedAt = witness.SourceK8S, witness.Asserted, noon.Add(after)
		return s
	}
	spec := of(witness.Workload{Namespace: "shop", Controller: "deployment/web"}, "", "",
		claim(signal(witness.SignalUser, "nonroot"), time.Hour), claim(signal(witness.SignalSeccomp, "filter"), time.Hour))
	withID := of(web, "web-1", "/app", signal(witness.SignalPrivileged, "no"))
	withID.Executable.BuildID = "b1"
	all := []witness.Containment{
		of(web, "web-1", "/app", signal(witness.SignalUser, "root")),
		withID,
		of(web, "web-2", "/app", signal(witness.SignalEntry, "init_tree")),
		spec,
		of(web, "", "", claim(signal(witness.SignalSeccomp, "disabled"), 0)),
		of(witness.Workload{Namespace: "shop"}, "", "", claim(signal(witness.SignalLSM, "confined"), 0)),
		of(witness.Workload{Namespace: "shop", Controller: "deployment/db"}, "", "", claim(signal(witness.SignalSeccomp, "strict"), 0)),
		of(witness.Workload{}, "", "/usr/sbin/sshd", signal(witness.SignalUser, "root-host")),
	}
	merged := Merge(all)
	require.Len(t, merged, 4)
	host, db, first, second := merged[0], merged[1], merged[2], merged[3]
	assert.Equal(t, "/usr/sbin/sshd", host.Executable.Path)
	assert.NotContains(t, host.Process, witness.SignalSeccomp, "what is said of containers is not about the host")
	assert.Equal(t, "deployment/db", db.Workload.Controller)
	assert.Equal(t, []string{"strict"}, db.Process[witness.SignalSeccomp].Values, "what no process is known of stands alone")
	assert.Equal(t, []string{"confined"}, db.Process[witness.SignalLSM].Values, "with what is said of more than it")
	assert.Equal(t, witness.Module{Path: "/app", BuildID: "b1"}, first.Executable)
	assert.Equal(t, []string{"root"}, first.Process[witness.SignalUser].Values, "measured stands before a newer claim")
	assert.Equal(t, []string{"filter"}, first.Process[witness.SignalSeccomp].Values, "the newer claim stands")
	assert.Contains(t, first.Process, witness.SignalPrivileged)
	assert.Equal(t, []string{"nonroot"}, second.Process[witness.SignalUser].Values)

	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		assert.Equal(t, merged, Merge(all))
	}
}
