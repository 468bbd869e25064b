package procfs

import (
	"maps"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	hexA = "4cbb6065107ae1edb52bac8426cf847a4cbb6065107ae1edb52bac8426cf847a"
	hexB = "00bb6065107ae1edb52bac8426cf847a4cbb6065107ae1edb52bac8426cf8400"
	pod  = "19fa291e-eae7-4a9b-ade1-923e42f67130"
	pod_ = "19fa291e_eae7_4a9b_ade1_923e42f67130"
)

func TestContainerOf(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		want Container
	}{
		"docker, cgroupfs":               {"/docker/" + hexA, Container{ID: hexA, Runtime: Docker}},
		"docker, systemd":                {"/system.slice/docker-" + hexA + ".scope", Container{ID: hexA, Runtime: Docker}},
		"docker, an init within":         {"/system.slice/docker-" + hexA + ".scope/init.scope", Container{ID: hexA, Runtime: Docker}},
		"docker, rootless":               {"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + hexA + ".scope", Container{ID: hexA, Runtime: Docker}},
		"containerd, systemd":            {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + pod_ + ".slice/cri-containerd-" + hexA + ".scope", Container{ID: hexA, Runtime: Containerd, PodUID: pod}},
		"containerd, guaranteed":         {"/kubepods.slice/kubepods-pod" + pod_ + ".slice/cri-containerd-" + hexA + ".scope", Container{ID: hexA, Runtime: Containerd, PodUID: pod}},
		"containerd, cgroupfs":           {"/kubepods/besteffort/pod" + pod + "/" + hexA, Container{ID: hexA, PodUID: pod}},
		"containerd, below a service":    {"/system.slice/containerd.service/kubepods-burstable-pod" + pod_ + ".slice:cri-containerd:" + hexA, Container{ID: hexA, Runtime: Containerd, PodUID: pod}},
		"a static pod":                   {"/kubepods/burstable/pod" + hexA[:32] + "/" + hexB, Container{ID: hexB, PodUID: hexA[:32]}},
		"a static pod, systemd":          {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + hexA[:32] + ".slice/crio-" + hexB + ".scope", Container{ID: hexB, Runtime: CRIO, PodUID: hexA[:32]}},
		"cri-o":                          {"/kubepods.slice/kubepods-pod" + pod_ + ".slice/crio-" + hexA + ".scope", Container{ID: hexA, Runtime: CRIO, PodUID: pod}},
		"cri-o, a process within":        {"/kubepods.slice/kubepods-pod" + pod_ + ".slice/crio-" + hexA + ".scope/container", Container{ID: hexA, Runtime: CRIO, PodUID: pod}},
		"cri-o, the monitor":             {"/kubepods.slice/kubepods-pod" + pod_ + ".slice/crio-conmon-" + hexA + ".scope", Container{PodUID: pod}},
		"docker, Kubernetes":             {"/kubepods.slice/kubepods-pod" + pod_ + ".slice/docker-" + hexA + ".scope", Container{ID: hexA, Runtime: Docker, PodUID: pod}},
		"a pod alone":                    {"/kubepods/besteffort/pod" + pod, Container{PodUID: pod}},
		"podman":                         {"/machine.slice/libpod-" + hexA + ".scope", Container{ID: hexA, Runtime: Podman}},
		"podman, a process within":       {"/machine.slice/libpod-" + hexA + ".scope/container", Container{ID: hexA, Runtime: Podman}},
		"podman, rootless":               {"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + hexA + ".scope", Container{ID: hexA, Runtime: Podman}},
		"podman, cgroupfs":               {"/libpod_parent/libpod-" + hexA, Container{ID: hexA, Runtime: Podman}},
		"podman, the monitor":            {"/machine.slice/libpod-conmon-" + hexA + ".scope", Container{}},
		"nerdctl":                        {"/system.slice/nerdctl-" + hexA + ".scope", Container{ID: hexA, Runtime: Containerd}},
		"an unknown runtime, by id":      {"/ecs/a/" + hexA, Container{ID: hexA}},
		"an unknown runtime, by unit":    {"/system.slice/other-" + hexA + ".scope", Container{ID: hexA}},
		"nspawn, a service":              {"/machine.slice/systemd-nspawn@deb.service/payload/system.slice/x.service", Container{ID: "deb", Runtime: Nspawn}},
		"nspawn, itself":                 {"/machine.slice/systemd-nspawn@deb.service/supervisor", Container{}},
		"nspawn, a scope":                {`/machine.slice/machine-deb\x2d12.scope`, Container{ID: "deb-12", Runtime: Nspawn}},
		"a virtual machine":              {`/machine.slice/machine-qemu\x2d1\x2dvm.scope`, Container{}},
		"lxc":                            {"/lxc.payload.c1/init.scope", Container{ID: "c1", Runtime: LXC}},
		"lxc, cgroupfs":                  {"/lxc/c1", Container{ID: "c1", Runtime: LXC}},
		"lxc, the monitor":               {"/lxc.monitor.c1", Container{}},
		"docker in docker":               {"/docker/" + hexA + "/docker/" + hexB, Container{ID: hexB, Runtime: Docker, Outer: hexA}},
		"Kubernetes in docker":           {"/docker/" + hexA + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + pod_ + ".slice/cri-containerd-" + hexB + ".scope", Container{ID: hexB, Runtime: Containerd, PodUID: pod, Outer: hexA}},
		"outside of a reader's":          {"/../../kubepods/besteffort/pod" + pod + "/" + hexA, Container{ID: hexA, PodUID: pod}},
		"a service":                      {"/system.slice/nginx.service", Container{}},
		"32 digits":                      {"/process_api/" + hexA[:32], Container{}},
		"63 digits":                      {"/docker/" + hexA[1:], Container{}},
		"upper-case digits":              {"/docker/" + strings.ToUpper(hexA), Container{}},
		"a pod outside of Kubernetes":    {"/x/pod" + pod, Container{}},
		"no uid":                         {"/kubepods/pod17", Container{}},
		"the root":                       {"/", Container{}},
		"nothing":                        {"", Container{}},
		"a name of nspawn that is empty": {"/machine.slice/systemd-nspawn@.service", Container{}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, ContainerOf(c.path))
		})
	}
}

func TestContainerOfAll(t *testing.T) {
	for name, c := range map[string]struct {
		cgroups string
		id      string
		outer   string
		agreed  bool
	}{
		"version 2":                   {"0::/docker/" + hexA, hexA, "", true},
		"version 2, deleted":          {"0::/docker/" + hexA + " (deleted)", hexA, "", true},
		"version 1":                   {"3:cpu,cpuacct:/docker/" + hexA + "\n1:name=systemd:/docker/" + hexA, hexA, "", true},
		"hybrid":                      {"3:cpu:/docker/" + hexA + "\n1:name=systemd:/docker/" + hexA + "\n0::/", hexA, "", true},
		"some controllers":            {"3:cpu:/\n4:memory:/docker/" + hexA + "\n0::/system.slice/docker.service", hexA, "", true},
		"some within another":         {"3:cpu:/docker/" + hexA + "\n1:name=systemd:/docker/" + hexA + "/docker/" + hexB, hexB, hexA, true},
		"two containers":              {"3:cpu:/docker/" + hexA + "\n1:name=systemd:/docker/" + hexB, "", "", false},
		"a colon in the path":         {"0::/system.slice/a:cri-containerd:" + hexA, hexA, "", true},
		"none":                        {"3:cpu:/\n0::/", "", "", true},
		"lines of no form":            {"x\n:\n::\n0::x\n\n", "", "", true},
		"a pod in one, all in others": {"3:cpu:/kubepods/pod" + pod + "\n0::/kubepods/pod" + pod + "/" + hexA, hexA, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, agreed := containerOfAll(parseCgroups([]byte(c.cgroups)))
			assert.Equal(t, c.agreed, agreed)
			assert.Equal(t, c.id, got.ID)
			assert.Equal(t, c.outer, got.Outer)
		})
	}
}

// onHost is a proc file system with the first process, this one, and one to look at.
func onHost(change map[string]string) map[string]string {
	files := map[string]string{
		"sys/kernel/random/boot_id": bootID, "root/x": "",
		"1/stat": statOf(0, 1), "1/root": "->../root", "1/mountinfo": hostMountinfo, "1/status": "Uid:\t0\t0\t0\t0\nNSpid:\t1\n",
		"self/root": "->../root", "self/uid_map": "         0          0 4294967295\n",
		"7/stat": statOf(1, 100), "7/root": "->../root", "7/cgroup": "0::/system.slice/nginx.service\n", "7/exe": "->/usr/bin/x",
	}
	for _, process := range []string{"1", "self", "7"} {
		for kind, number := range map[string]string{
			"mnt": "4026531841", "pid": "4026531836", "net": "4026531840", "user": "4026531837", "ipc": "4026531839", "uts": "4026531838", "cgroup": "4026531835",
		} {
			files[process+"/ns/"+kind] = "->" + kind + ":[" + number + "]"
		}
	}
	maps.Copy(files, change)
	maps.DeleteFunc(files, func(_, content string) bool { return content == absent })
	return files
}

const absent = "absent"

const hostMountinfo = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 27 0:21 / /proc rw - proc proc rw
23 27 0:22 / /sys rw - sysfs sysfs rw
24 27 0:6 / /dev rw - devtmpfs devtmpfs rw
30 27 0:40 / /run rw - tmpfs tmpfs rw
31 27 0:41 / /var/lib/kubelet/pods/x/volumes/kubernetes.io~projected/kube-api-access-abc rw - tmpfs tmpfs rw
32 27 0:42 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
`

func TestPlace(t *testing.T) {
	own := "->mnt:[4026532999]"
	for name, c := range map[string]struct {
		change map[string]string
		want   PlaceKind
	}{
		"a service":                                {nil, OnHost},
		"a service with mounts of its own":         {map[string]string{"7/ns/mnt": own}, OnHost},
		"a session":                                {map[string]string{"7/cgroup": "0::/user.slice/user-0.slice/session-1.scope\n"}, OnHost},
		"no unit, all of the host's":               {map[string]string{"7/cgroup": "4:memory:/some/thing\n0::/\n"}, OnHost},
		"no unit, mounts of its own":               {map[string]string{"7/cgroup": "4:memory:/some/thing\n0::/\n", "7/ns/mnt": own}, UnknownPlace},
		"the root, mounts of its own":              {map[string]string{"7/cgroup": "0::/\n", "7/ns/mnt": own}, UnknownPlace},
		"the root, pids of its own":                {map[string]string{"7/cgroup": "0::/\n", "7/ns/pid": "->pid:[4026532998]"}, UnknownPlace},
		"a service, pids of its own":               {map[string]string{"7/ns/pid": "->pid:[4026532998]"}, UnknownPlace},
		"a service, namespaces unreadable":         {map[string]string{"7/ns/pid": absent, "7/ns/mnt": absent}, UnknownPlace},
		"a service, root unreadable":               {map[string]string{"7/root": absent}, UnknownPlace},
		"a service with another root":              {map[string]string{"7/ns/mnt": own, "7/root": "->/"}, UnknownPlace},
		"a chroot":                                 {map[string]string{"7/root": "->/"}, UnknownPlace},
		"a machine, mounts of its own":             {map[string]string{"7/cgroup": "0::/machine.slice/x.scope\n", "7/ns/mnt": own}, UnknownPlace},
		"a container":                              {map[string]string{"7/cgroup": "0::/docker/" + hexA, "7/ns/mnt": own}, InContainer},
		"a container that left its namespaces":     {map[string]string{"7/cgroup": "0::/docker/" + hexA}, InContainer},
		"two containers":                           {map[string]string{"7/cgroup": "2:cpu:/docker/" + hexA + "\n1:memory:/docker/" + hexB}, UnknownPlace},
		"a pod":                                    {map[string]string{"7/cgroup": "0::/kubepods/pod" + pod}, UnknownPlace},
		"no cgroup":                                {map[string]string{"7/cgroup": ""}, UnknownPlace},
		"cgroup unreadable":                        {map[string]string{"7/cgroup": absent}, UnknownPlace},
		"the first process cannot be looked at":    {map[string]string{"1/root": absent, "1/ns/mnt": absent, "1/ns/pid": absent, "self/ns/mnt": "->mnt:[4026531832]", "7/ns/mnt": "->mnt:[4026531832]"}, OnHost},
		"nor where it is, on an old kernel":        {map[string]string{"1/root": absent, "1/ns/mnt": absent, "1/ns/pid": absent}, UnknownPlace},
		"proc of a container, seen from inside it": {map[string]string{"1/ns/pid": "->pid:[4026532998]", "self/ns/pid": "->pid:[4026532998]", "7/ns/pid": "->pid:[4026532998]", "7/cgroup": "0::/"}, UnknownPlace},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := fake(t, onHost(c.change)).Open(7)
			require.NoError(t, err)
			defer p.Close()
			place, err := p.Place()
			assert.Equal(t, c.want, place.Kind, err)
			assert.Equal(t, c.want == InContainer, place.Container.ID != "")
		})
	}
}

func TestNamespaces(t *testing.T) {
	host, isolated := witness.NamespaceHost, witness.NamespaceIsolated
	all := Namespaces{host, host, host, host, host, host, host}
	for name, c := range map[string]struct {
		change map[string]string
		want   Namespaces
	}{
		"all of the host's":         {nil, all},
		"net of its own":            {map[string]string{"7/ns/net": "->net:[4026532123]"}, Namespaces{host, host, isolated, host, host, host, host}},
		"one unreadable":            {map[string]string{"7/ns/net": absent}, Namespaces{host, host, "", host, host, host, host}},
		"links of another form":     {map[string]string{"7/ns/net": "->net:[x]", "7/ns/mnt": "->pid:[4026531841]", "7/ns/uts": "->uts:[1"}, Namespaces{"", host, "", host, host, "", host}},
		"first process unreadable":  {map[string]string{"1/ns/mnt": absent, "1/ns/net": absent, "1/ns/pid": absent, "1/ns/user": absent}, Namespaces{"", host, "", host, host, host, host}},
		"proc of a container":       {map[string]string{"1/ns/pid": "->pid:[4026532998]", "self/ns/pid": "->pid:[4026532998]", "7/ns/pid": "->pid:[4026532998]"}, Namespaces{"", isolated, "", host, host, host, host}},
		"neither self nor first":    {map[string]string{"1/ns/pid": absent, "self/ns/pid": absent}, Namespaces{"", host, "", host, host, host, host}},
		"a new kernel, its numbers": {map[string]string{"1/ns/pid": absent, "1/ns/mnt": absent, "self/ns/mnt": "->mnt:[4026531832]"}, Namespaces{isolated, host, host, host, host, host, host}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := fake(t, onHost(c.change))
			p, err := fs.Open(7)
			require.NoError(t, err)
			defer p.Close()
			assert.Equal(t, c.want, p.Namespaces())
			assert.Equal(t, host, fs.NamespaceClass(witness.SignalPIDNamespace, 4026531836))
			assert.Equal(t, isolated, fs.NamespaceClass(witness.SignalPIDNamespace, 4026532998))
			assert.Empty(t, fs.NamespaceClass(witness.SignalPIDNamespace, 0))
			assert.Empty(t, fs.NamespaceClass(witness.SignalUser, 1))
		})
	}
}

// TestPlaceOfReal looks at processes of this machine: tests may themselves run in a container.
func TestPlaceOfReal(t *testing.T) {
	requireRoot(t)
	own := open(t, os.Getpid())
	before, err := own.Place()
	require.NoError(t, err)
	if own.Namespaces()[pidNamespace] != witness.NamespaceHost {
		skip(t, "in a container")
	}
	assert.Equal(t, OnHost, before.Kind)
	for name, c := range map[string]struct {
		flags uintptr
		want  Namespaces
	}{
		"mounts and pids of its own":        {syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Namespaces{"isolated", "isolated", "host", "host", "host", "host", "host"}},
		"users, pids and mounts of its own": {syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Namespaces{"isolated", "isolated", "host", "isolated", "host", "host", "host"}},
		"all of its own": {
			syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP,
			Namespaces{"isolated", "isolated", "isolated", "isolated", "isolated", "isolated", "isolated"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, start(t, "", "wait", flags(c.flags)).Process.Pid)
			assert.Equal(t, c.want, p.Namespaces())
			place, err := p.Place()
			require.NoError(t, err)
			assert.Equal(t, Place{Kind: UnknownPlace}, place)
		})
	}
}

// TestCgroupOfReal puts a process into a cgroup that is named as a container's.
func TestCgroupOfReal(t *testing.T) {
	requireRoot(t)
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(hierarchy + "/cgroup.procs"); err != nil {
			continue
		}
		dir := hierarchy + "/docker-" + hexA + ".scope"
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Logf("%s: %v", hierarchy, err)
			continue
		}
		c := start(t, "", "wait")
		defer func() {
			_ = c.Process.Kill()
			_ = c.Wait()
			assert.NoError(t, os.Remove(dir))
		}()
		require.NoError(t, os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(c.Process.Pid)), 0o600))
		place, err := open(t, c.Process.Pid).Place()
		require.NoError(t, err)
		assert.Equal(t, Place{Kind: InContainer, Container: Container{ID: hexA, Runtime: Docker}}, place)
		return
	}
	skip(t, "no cgroup can be made")
}

func FuzzCgroups(f *testing.F) {
	b, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte("3:cpu:/docker/" + hexA + "\n0::/kubepods.slice/kubepods-pod" + pod_ + ".slice/cri-containerd-" + hexA + ".scope"))
	f.Add([]byte(`0::/machine.slice/machine-deb\x2d12.scope/lxc/c1:x/systemd-nspawn@deb.service/payload`))
	f.Fuzz(func(t *testing.T, b []byte) {
		paths := parseCgroups(b)
		c, agreed := containerOfAll(paths)
		assert.True(t, agreed || c == Container{})
		assert.True(t, c.ID != "" || c.Outer == "")
		for _, path := range paths {
			one := ContainerOf(path)
			assert.False(t, agreed && one.ID != "" && c.ID == "")
		}
		assert.True(t, c.PodUID == "" || isUUID(c.PodUID) || isHex(c.PodUID, 32))
	})
}
