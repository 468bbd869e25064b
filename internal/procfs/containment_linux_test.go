package procfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// classesOf are the classes of a process by signal; every signal must be valid.
func classesOf(t testing.TB, p *Process) map[witness.SignalName][]string {
	t.Helper()
	observed := time.Unix(1_700_000_000, 0)
	classes := map[witness.SignalName][]string{}
	signals := containment(p, observed)
	for _, s := range signals {
		require.NoError(t, s.Validate())
		require.Equal(t, witness.Signal{Name: s.Name, Values: s.Values, Source: witness.SourceProc, Assurance: witness.Measured, ObservedAt: observed}, s)
		require.NotContains(t, classes, s.Name)
		classes[s.Name] = s.Values
	}
	return classes
}

func TestCapabilityNames(t *testing.T) {
	assert.Equal(t, witness.SignalCapabilities.Values(), capabilityNames[:])
	assert.Equal(t, []string{"CAP_CHOWN", "CAP_FOWNER"}, capabilities(1|1<<3|1<<63), "unknown bits are left out")
	assert.Equal(t, []string{}, capabilities(0))
	assert.ElementsMatch(t, witness.SignalSensitiveMounts.Values(), []string{runtimeSocket, accountToken, hostRoot, hostPath, device})
}

func TestContainmentOfSelf(t *testing.T) {
	classes := classesOf(t, open(t, os.Getpid()))
	assert.Equal(t, []string{"named"}, classes[witness.SignalBinary])
	assert.Contains(t, classes, witness.SignalSeccomp)
	assert.Contains(t, classes, witness.SignalRootFS)
	if os.Geteuid() != 0 {
		assert.Contains(t, [][]string{{"nonroot"}, {"root-userns"}}, classes[witness.SignalUser])
		return
	}
	assert.NotEqual(t, []string{"nonroot"}, classes[witness.SignalUser])
	assert.NotEmpty(t, classes[witness.SignalCapabilities])
}

func TestContainmentOfReal(t *testing.T) {
	requireRoot(t)
	if open(t, os.Getpid()).Namespaces()[userNamespace] != witness.NamespaceHost {
		skip(t, "in a user namespace")
	}
	userns := func(containerID, hostID int) func(*exec.Cmd) {
		return func(c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: containerID, HostID: hostID, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: containerID, HostID: hostID, Size: 1}},
				Credential:  &syscall.Credential{Uid: uint32(containerID), Gid: uint32(containerID), NoSetGroups: true},
			}
		}
	}
	for name, c := range map[string]struct {
		what   string
		change func(*exec.Cmd)
		want   map[witness.SignalName][]string
	}{
		"plain": {"wait", func(*exec.Cmd) {}, map[witness.SignalName][]string{
			witness.SignalUser: {"root-host"}, witness.SignalUserNamespace: {"host"}, witness.SignalNoNewPrivs: {"no"}, witness.SignalSeccomp: {"disabled"},
			witness.SignalBinary: {"named"}, witness.SignalRootFS: {"writable"}, witness.SignalSensitiveMounts: {"host_root"}, witness.SignalEntry: nil,
		}},
		"no_new_privs": {"no_new_privs", func(*exec.Cmd) {}, map[witness.SignalName][]string{witness.SignalNoNewPrivs: {"yes"}}},
		"another user": {"nobody", func(*exec.Cmd) {}, map[witness.SignalName][]string{witness.SignalUser: {"nonroot"}, witness.SignalCapabilities: {}}},
		"root of a namespace": {"wait", userns(0, 65534), map[witness.SignalName][]string{
			witness.SignalUser: {"root-userns"}, witness.SignalUserNamespace: {"isolated"}, witness.SignalPIDNamespace: {"isolated"}, witness.SignalNetworkNamespace: {"host"}, witness.SignalEntry: {"init_tree"},
		}},
		"root of both":          {"wait", userns(0, 0), map[witness.SignalName][]string{witness.SignalUser: {"root-userns"}}},
		"nobody of a namespace": {"wait", userns(1000, 65534), map[witness.SignalName][]string{witness.SignalUser: {"nonroot"}}},
		"mounts of its own": {"mounts", flags(syscall.CLONE_NEWNS), map[witness.SignalName][]string{
			witness.SignalRootFS: {"read_only"}, witness.SignalMountNamespace: {"isolated"}, witness.SignalPIDNamespace: {"host"}, witness.SignalEntry: nil,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			classes := classesOf(t, open(t, start(t, "", c.what, in(dir), c.change).Process.Pid))
			for signal, values := range c.want {
				assert.Equal(t, values, classes[signal], signal)
			}
			if c.what == "mounts" {
				assert.Contains(t, classes[witness.SignalSensitiveMounts], "host_root")
				assert.Contains(t, classes[witness.SignalSensitiveMounts], "host_path")
			}
		})
	}
}

// TestInjected puts a process into the pid namespace of another one.
func TestInjected(t *testing.T) {
	requireRoot(t)
	if open(t, os.Getpid()).Namespaces()[pidNamespace] != witness.NamespaceHost {
		skip(t, "in a container")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		skip(t, "no nsenter")
	}
	first := start(t, "", "wait", flags(syscall.CLONE_NEWPID))
	assert.Equal(t, []string{"init_tree"}, signal(t, open(t, first.Process.Pid), witness.SignalEntry).Values)
	c := start(t, nsenter, "wait", func(c *exec.Cmd) {
		self, err := os.Executable()
		require.NoError(t, err)
		c.Args = []string{nsenter, "--pid", "--target", fmt.Sprint(first.Process.Pid), self}
	})
	found := false
	_, err = New("/proc").Each(1<<20, func(p *Process) bool {
		if p.Parent() == c.Process.Pid {
			assert.Equal(t, []string{"injected"}, signal(t, p, witness.SignalEntry).Values)
			found = true
		}
		return true
	})
	require.NoError(t, err)
	assert.True(t, found)
}

func TestEntry(t *testing.T) {
	own := "->pid:[4026532998]"
	status := func(pids string) string { return "Uid:\t0\t0\t0\t0\nNSpid:\t" + pids + "\n" }
	for name, c := range map[string]struct {
		change map[string]string
		want   string
	}{
		"of the host":                   {map[string]string{"7/status": status("7"), "7/ns/pid": "->pid:[4026531836]"}, ""},
		"the first":                     {map[string]string{"7/status": status("7\t1")}, "init_tree"},
		"put there":                     {map[string]string{"7/status": status("7\t30")}, "injected"},
		"a child of one that was put":   {map[string]string{"7/status": status("7\t31"), "7/stat": statOf(6, 9), "6/stat": statOf(1, 8), "6/ns/pid": own, "6/status": status("6\t30")}, "injected"},
		"a child of the first":          {map[string]string{"7/status": status("7\t31"), "7/stat": statOf(6, 9), "6/stat": statOf(1, 8), "6/ns/pid": own, "6/status": status("6\t1")}, ""},
		"the first of a namespace in a": {map[string]string{"7/status": status("7\t5\t1"), "7/stat": statOf(6, 9), "6/stat": statOf(1, 8), "6/ns/pid": "->pid:[4026532997]", "6/status": status("6\t1")}, ""},
		"a parent that began later":     {map[string]string{"7/status": status("7\t30"), "7/stat": statOf(6, 9), "6/stat": statOf(1, 10), "6/ns/pid": "->pid:[4026531836]", "6/status": status("6")}, ""},
		"no parent":                     {map[string]string{"7/status": status("7\t1"), "7/stat": statOf(0, 9)}, ""},
		"a parent that ended":           {map[string]string{"7/status": status("7\t1"), "7/stat": statOf(5, 9)}, ""},
		"its own parent":                {map[string]string{"7/status": status("7\t30"), "7/stat": statOf(7, 9)}, ""},
		"an unreadable parent":          {map[string]string{"7/status": status("7\t30"), "1/ns/pid": absent}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := onHost(map[string]string{"7/ns/pid": own})
			for name, content := range c.change {
				files[name] = content
			}
			for name, content := range files {
				if content == absent {
					delete(files, name)
				}
			}
			p, err := fake(t, files).Open(7)
			require.NoError(t, err)
			defer p.Close()
			var want []string
			if c.want != "" {
				want = []string{c.want}
			}
			assert.Equal(t, want, classesOf(t, p)[witness.SignalEntry])
		})
	}
}

func TestUser(t *testing.T) {
	identity := "         0          0 4294967295\n"
	own := "->user:[4026532777]"
	for name, c := range map[string]struct {
		effective int
		change    map[string]string
		want      []string
	}{
		"root":                              {0, nil, []string{"root-host"}},
		"another":                           {1000, nil, []string{"nonroot"}},
		"root, namespace unreadable":        {0, map[string]string{"7/ns/user": absent}, []string{"root"}},
		"another, namespace unreadable":     {1000, map[string]string{"7/ns/user": absent, "7/uid_map": identity}, []string{"nonroot"}},
		"another, nothing readable":         {1000, map[string]string{"7/ns/user": absent}, nil},
		"root of a namespace":               {100_000, map[string]string{"7/ns/user": own, "7/uid_map": "0 100000 65536\n"}, []string{"root-userns"}},
		"root of one that cannot be read":   {100_000, map[string]string{"7/ns/user": absent, "7/uid_map": "0 100000 65536\n"}, []string{"root-userns"}},
		"another of a namespace":            {100_033, map[string]string{"7/ns/user": own, "7/uid_map": "0 100000 65536\n"}, []string{"nonroot"}},
		"root of a namespace, second range": {100_000, map[string]string{"7/ns/user": own, "7/uid_map": "1 5 5\n0 100000 1\n"}, []string{"root-userns"}},
		"root of the host in a namespace":   {0, map[string]string{"7/ns/user": own, "7/uid_map": "1000 0 1\n"}, []string{"root-userns"}},
		"not mapped":                        {5, map[string]string{"7/ns/user": own, "7/uid_map": "0 100000 1\n"}, []string{"nonroot"}},
		"a map of another form":             {5, map[string]string{"7/ns/user": own, "7/uid_map": "0 100000\n"}, nil},
		"a reader in a namespace":           {0, map[string]string{"self/uid_map": "0 100000 65536\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			files := onHost(c.change)
			files["7/status"] = fmt.Sprintf("Uid:\t5\t%d\t5\t5\n", c.effective)
			p, err := fake(t, files).Open(7)
			require.NoError(t, err)
			defer p.Close()
			assert.Equal(t, c.want, classesOf(t, p)[witness.SignalUser])
		})
	}
}

func TestLSM(t *testing.T) {
	const selinux = "system_u:system_r:container_t:s0:c1,c2\x00"
	for name, c := range map[string]struct {
		change map[string]string
		want   []string
	}{
		"none":                         {nil, nil},
		"AppArmor, unconfined":         {map[string]string{"7/attr/apparmor/current": "unconfined\n"}, []string{"unconfined"}},
		"AppArmor, enforced":           {map[string]string{"7/attr/apparmor/current": "docker-default (enforce)\n"}, []string{"confined"}},
		"AppArmor, a space":            {map[string]string{"7/attr/apparmor/current": "my (own) profile (enforce)\n"}, []string{"confined"}},
		"AppArmor, complaining":        {map[string]string{"7/attr/apparmor/current": "docker-default (complain)\n"}, []string{"unconfined"}},
		"AppArmor, a free profile":     {map[string]string{"7/attr/apparmor/current": "chrome (unconfined)\n"}, []string{"unconfined"}},
		"AppArmor, mixed":              {map[string]string{"7/attr/apparmor/current": "a//&b (mixed)\n"}, nil},
		"AppArmor, an old kernel":      {map[string]string{"7/attr/current": "docker-default (enforce)\n"}, []string{"confined"}},
		"empty":                        {map[string]string{"7/attr/current": ""}, nil},
		"SELinux, enforced":            {map[string]string{"7/attr/current": selinux, "root/sys/fs/selinux/enforce": "1"}, []string{"confined"}},
		"SELinux, permissive":          {map[string]string{"7/attr/current": selinux, "root/sys/fs/selinux/enforce": "0"}, []string{"unconfined"}},
		"SELinux, which is not known":  {map[string]string{"7/attr/current": selinux}, nil},
		"SELinux, an unconfined type":  {map[string]string{"7/attr/current": "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\x00"}, []string{"unconfined"}},
		"SELinux, a privileged one":    {map[string]string{"7/attr/current": "system_u:system_r:spc_t:s0\x00"}, []string{"unconfined"}},
		"another module":               {map[string]string{"7/attr/current": "_\x00"}, nil},
		"AppArmor before the old file": {map[string]string{"7/attr/apparmor/current": "unconfined\n", "7/attr/current": "x (enforce)\n"}, []string{"unconfined"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := fake(t, onHost(c.change)).Open(7)
			require.NoError(t, err)
			defer p.Close()
			assert.Equal(t, c.want, classesOf(t, p)[witness.SignalLSM])
		})
	}
}

func TestMounts(t *testing.T) {
	const root = "100 1 0:42 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a\n"
	const own = "101 100 0:99 / /proc rw - proc proc rw\n102 100 0:98 / /dev rw - tmpfs tmpfs rw\n103 102 0:97 / /dev/pts rw - devpts devpts rw\n104 100 0:22 / /sys ro - sysfs sysfs ro\n" +
		"105 100 254:0 /var/lib/docker/containers/x/hosts /etc/hosts rw - ext4 /dev/vda rw\n106 100 254:0 /data/docker/hostname /etc/hostname rw - ext4 /dev/vda rw\n" +
		"107 100 254:0 /var/lib/kubelet/pods/x/volumes/kubernetes.io~empty-dir/cache /cache rw - ext4 /dev/vda rw\n108 100 254:0 /var/lib/docker/volumes/v/_data /data rw - ext4 /dev/vda rw\n"
	isolated := "->mnt:[4026532999]"
	for name, c := range map[string]struct {
		mountinfo string
		change    map[string]string
		root      []string
		sensitive []string
	}{
		"of the host":                   {hostMountinfo, map[string]string{"7/ns/mnt": "->mnt:[4026531841]"}, []string{"writable"}, []string{"host_root"}},
		"of a namespace unknown":        {root, map[string]string{"7/ns/mnt": absent}, []string{"writable"}, nil},
		"a container":                   {root + own, nil, []string{"writable"}, []string{}},
		"read-only":                     {strings.Replace(root, "rw,relatime", "ro,relatime", 1) + own, nil, []string{"read_only"}, []string{}},
		"a read-only file system":       {strings.Replace(root, "rw,lower", "ro,lower", 1) + own, nil, []string{"read_only"}, []string{}},
		"ro as part of another option":  {strings.Replace(root, "rw,lower", "rw,errors=ro,lower", 1) + own, nil, []string{"writable"}, []string{}},
		"one over the other":            {strings.Replace(root, "rw,relatime", "ro,relatime", 1) + root, nil, []string{"writable"}, []string{}},
		"no root":                       {own, nil, nil, []string{}},
		"the host's root":               {root + "109 100 254:0 / /host rw - ext4 /dev/vda rw\n", nil, []string{"writable"}, []string{"host_root"}},
		"a service's":                   {"109 100 254:0 / / rw - ext4 /dev/vda rw\n110 109 0:6 / /dev rw - devtmpfs devtmpfs rw\n", nil, []string{"writable"}, []string{"device", "host_root"}},
		"a directory":                   {root + "109 100 254:0 /srv/my\\040data /srv rw - ext4 /dev/vda rw\n", nil, []string{"writable"}, []string{"host_path"}},
		"the kubelet's directory":       {root + "109 100 254:0 /var/lib/kubelet/pods /pods rw - ext4 /dev/vda rw\n", nil, []string{"writable"}, []string{"host_path"}},
		"the host's proc":               {root + "109 100 0:21 / /host/proc rw - proc proc rw\n", nil, []string{"writable"}, []string{"host_path"}},
		"the host's sys":                {root + "109 100 0:22 / /host/sys rw - sysfs sysfs rw\n", nil, []string{"writable"}, []string{"host_path"}},
		"the docker socket":             {root + "109 100 0:40 /docker.sock /var/run/docker.sock rw - tmpfs tmpfs rw\n", nil, []string{"writable"}, []string{"runtime_socket"}},
		"a socket under another name":   {root + "109 100 0:40 /containerd/containerd.sock /x rw - tmpfs tmpfs rw\n", nil, []string{"writable"}, []string{"runtime_socket"}},
		"a directory with a socket":     {root + "109 100 0:40 / /host/run rw - tmpfs tmpfs rw\n", map[string]string{"root/run/docker.sock": ""}, []string{"writable"}, []string{"host_path", "runtime_socket"}},
		"a directory without one":       {root + "109 100 0:40 / /host/run rw - tmpfs tmpfs rw\n", nil, []string{"writable"}, []string{"host_path"}},
		"a token":                       {root + "109 100 0:41 / /run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw\n", nil, []string{"writable"}, []string{"service_account_token"}},
		"the host's devices":            {root + "109 100 0:6 / /dev rw - devtmpfs devtmpfs rw\n", nil, []string{"writable"}, []string{"device"}},
		"a device":                      {root + "109 100 0:6 /sda /dev/sda rw - devtmpfs devtmpfs rw\n", nil, []string{"writable"}, []string{"device"}},
		"a harmless device":             {root + "109 100 0:6 /null /dev/null rw - devtmpfs devtmpfs rw\n", nil, []string{"writable"}, []string{}},
		"/dev cannot be read":           {root + own, map[string]string{"7/root": absent}, []string{"writable"}, nil},
		"the host cannot be read":       {root + own, map[string]string{"1/mountinfo": absent}, []string{"writable"}, nil},
		"not the host, but a socket":    {root + "109 100 0:40 /docker.sock /var/run/docker.sock rw - tmpfs tmpfs rw\n", map[string]string{"1/mountinfo": absent}, []string{"writable"}, []string{"runtime_socket"}},
		"a line of another form":        {root + "what\n", nil, nil, nil},
		"a mount point of another form": {root + "109 100 0:6 / x rw - tmpfs tmpfs rw\n", nil, nil, nil},
		"empty":                         {"", nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"7/mountinfo": c.mountinfo, "7/ns/mnt": isolated, "root/dev/null": ""}
			for name, content := range c.change {
				files[name] = content
			}
			fs := fake(t, onHost(files))
			defer fs.Close()
			p, err := fs.Open(7)
			require.NoError(t, err)
			defer p.Close()
			for range 2 { // the second time, the host's mounts are known
				classes := classesOf(t, p)
				assert.Equal(t, c.root, classes[witness.SignalRootFS])
				assert.Equal(t, c.sensitive, classes[witness.SignalSensitiveMounts])
			}
		})
	}
}

// TestDevices makes a device in the /dev of a process.
func TestDevices(t *testing.T) {
	requireRoot(t)
	for name, c := range map[string]struct {
		device string
		kind   uint32
		number uint64
		want   []string
	}{
		"a harmless one": {"null", unix.S_IFCHR, unix.Mkdev(1, 3), []string{}},
		"a disk":         {"sda", unix.S_IFBLK, unix.Mkdev(8, 0), []string{"device"}},
		"another":        {"kvm", unix.S_IFCHR, unix.Mkdev(10, 232), []string{"device"}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := fake(t, onHost(map[string]string{"7/ns/mnt": "->mnt:[4026532999]", "7/mountinfo": "102 100 0:98 / /dev rw - tmpfs tmpfs rw\n", "root/dev/log": ""}))
			require.NoError(t, unix.Mknod(filepath.Join(fs.root, "root/dev", c.device), c.kind|0o600, int(c.number)))
			p, err := fs.Open(7)
			require.NoError(t, err)
			defer p.Close()
			assert.Equal(t, c.want, classesOf(t, p)[witness.SignalSensitiveMounts])
		})
	}
}

// TestHostMountsChange: the mounts of the host are read anew when they change.
func TestHostMountsChange(t *testing.T) {
	requireRoot(t)
	fs := New("/proc")
	defer fs.Close()
	if !fs.host().self {
		skip(t, "in a container")
	}
	dir := t.TempDir()
	has := func() bool {
		mounts, err := fs.hostMounts()
		require.NoError(t, err)
		for _, of := range mounts {
			for _, m := range of {
				if m.point == dir {
					return true
				}
			}
		}
		return false
	}
	require.False(t, has())
	require.NoError(t, unix.Mount("x", dir, "tmpfs", 0, ""))
	assert.True(t, has())
	require.NoError(t, unix.Unmount(dir, 0))
	assert.False(t, has())
	require.NoError(t, fs.Close())
	_, err := fs.hostMounts()
	assert.Error(t, err)
}

func TestSELinuxWithoutHost(t *testing.T) {
	assert.Empty(t, seLinux([]byte("a:b:c_t"), func() (bool, error) { return false, errors.New("unknown") }))
}

func FuzzMountinfo(f *testing.F) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(hostMountinfo))
	f.Add([]byte(`1 2 0:40 /docker.sock /a\040b rw master:1 - tmpfs  rw`))
	host := map[uint64][]mount{}
	mounts, ok := parseMountinfo([]byte(hostMountinfo))
	require.True(f, ok)
	for _, m := range mounts {
		host[m.dev] = append(host[m.dev], m)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		mounts, ok := parseMountinfo(b)
		if !ok {
			return
		}
		rootOf(mounts)
		s := witness.Signal{
			Name: witness.SignalSensitiveMounts, Values: sensitive(mounts, host, func(string) bool { return true }),
			Source: witness.SourceProc, Assurance: witness.Measured, ObservedAt: time.Unix(1, 0),
		}
		assert.NoError(t, s.Validate())
	})
}

func FuzzLabels(f *testing.F) {
	f.Add([]byte("docker-default (enforce)\n"))
	f.Add([]byte("system_u:system_r:container_t:s0:c1,c2\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, class := range []string{appArmor(b), seLinux(b, func() (bool, error) { return true, nil })} {
			assert.Contains(t, append(witness.SignalLSM.Values(), ""), class)
		}
	})
}

func FuzzUserMap(f *testing.F) {
	f.Add([]byte("         0          0 4294967295\n"), uint32(7))
	f.Add([]byte("0 100000 65536\n65536 5 4294967295"), uint32(100_001))
	f.Fuzz(func(t *testing.T, b []byte, user uint32) {
		if users, ok := parseUserMap(b); ok && users.identity() {
			inside, mapped := users.inside(user)
			assert.True(t, !mapped || inside == user)
		}
	})
}

func BenchmarkContainment(b *testing.B) {
	for name, flags := range map[string]uintptr{"host": 0, "isolated": syscall.CLONE_NEWNS | syscall.CLONE_NEWPID} {
		b.Run(name, func(b *testing.B) {
			if flags != 0 {
				requireRoot(b)
			}
			c := exec.Command("/proc/self/exe")
			c.Env = append(os.Environ(), child+"=wait")
			c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
			stdin, err := c.StdinPipe()
			require.NoError(b, err)
			stdout, err := c.StdoutPipe()
			require.NoError(b, err)
			require.NoError(b, c.Start())
			_, err = stdout.Read(make([]byte, 64))
			require.NoError(b, err)
			fs := New("/proc")
			now := time.Now()
			for b.Loop() {
				p, err := fs.Open(c.Process.Pid)
				if err != nil {
					b.Fatal(err)
				}
				if len(containment(p, now)) < 8 {
					b.Fatal("signals are missing")
				}
				p.Close()
			}
			_ = stdin.Close()
			_ = c.Wait()
		})
	}
}

// BenchmarkEach lists every process with its executable and place.
func BenchmarkEach(b *testing.B) {
	fs := New("/proc")
	var visited int
	for b.Loop() {
		l, err := fs.Each(1<<20, func(p *Process) bool {
			_, _ = p.Executable()
			_, _ = p.Place()
			return true
		})
		if err != nil {
			b.Fatal(err)
		}
		visited += l.Visited
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(visited), "ns/process")
}

func BenchmarkMappings(b *testing.B) {
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(b, err)
	b.SetBytes(int64(len(maps)))
	fs := New("/proc")
	for b.Loop() {
		p, err := fs.Open(os.Getpid())
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range p.Mappings() {
			if err != nil && !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
		}
		p.Close()
	}
}
