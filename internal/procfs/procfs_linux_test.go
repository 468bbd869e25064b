package procfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// child is the environment variable that turns the test binary into a process to look at.
const child = "PROCFS_TEST_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(child); what != "" {
		if err := behave(what); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// behave is what a child does: it says ready, and ends when its input does.
func behave(what string) error {
	for step := range strings.SplitSeq(what, ",") {
		switch step {
		case "no_new_privs":
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return err
			}
		case "nobody":
			if err := syscall.Setresuid(65534, 65534, 65534); err != nil {
				return err
			}
		case "chroot":
			if err := unix.Chroot(os.Getenv(child + "_DIR")); err != nil {
				return err
			}
		case "mounts": // in a mount namespace of its own
			if err := mountThings(os.Getenv(child + "_DIR")); err != nil {
				return err
			}
		}
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// mountThings makes root read-only, and mounts a directory of the host and a device elsewhere.
func mountThings(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for from, to := range map[string]string{"/etc": "etc", "/run": "run", "/": "host"} {
		to = filepath.Join(dir, to)
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root")
	}
}

// skip skips, which is a failure where everything must run.
func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// start runs this test's binary, or a copy of it, as a child.
func start(t testing.TB, path, what string, change ...func(*exec.Cmd)) *exec.Cmd {
	t.Helper()
	if path == "" {
		path = "/proc/self/exe"
	}
	c := exec.Command(path)
	c.Env = append(os.Environ(), child+"="+what)
	for _, f := range change {
		f(c)
	}
	stdin, err := c.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = c.Wait()
	})
	b := make([]byte, 64)
	n, err := stdout.Read(b)
	require.NoError(t, err)
	require.Equal(t, "ready\n", string(b[:n]))
	return c
}

func flags(flags uintptr) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags} }
}

// in tells a child a directory.
func in(dir string) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.Env = append(c.Env, child+"_DIR="+dir) }
}

func open(t testing.TB, pid int) *Process {
	t.Helper()
	fs := New("/proc")
	t.Cleanup(func() { _ = fs.Close() })
	p, err := fs.Open(pid)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// copySelf copies the test's binary.
func copySelf(t testing.TB, to string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o700))
}

// fake makes a proc file system of files and, where the content begins with ->, links.
func fake(t testing.TB, files map[string]string) *FS {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		if to, ok := strings.CutPrefix(content, "->"); ok {
			require.NoError(t, os.Symlink(to, path))
			continue
		}
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return New(root)
}

const bootID = "19fa291e-eae7-4a9b-ade1-923e42f67130"

// statOf is the stat of a process by its parent and start in ticks.
func statOf(parent, ticks int) string {
	return fmt.Sprintf("7 (a) b) S %d 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0", parent, ticks)
}

func TestSelf(t *testing.T) {
	p := open(t, os.Getpid())
	assert.Equal(t, os.Getpid(), p.ID().PID)
	assert.True(t, isUUID(p.ID().Boot))
	assert.Equal(t, os.Getppid(), p.Parent())
	assert.False(t, p.Kernel())
	assert.False(t, p.Ended())
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	assert.InDelta(t, now.Nano(), int64(p.ID().Start), float64(time.Hour))
	exe, err := p.Executable()
	require.NoError(t, err)
	path, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	assert.Equal(t, Executable{Path: path}, exe)
	status, err := p.Status()
	require.NoError(t, err)
	assert.Equal(t, uint32(os.Geteuid()), status.EffectiveUser)
	assert.Equal(t, os.Getpid(), status.PIDs[len(status.PIDs)-1])
	found := false
	for m, err := range p.Mappings() {
		require.NoError(t, err)
		found = found || m.Path == path
	}
	assert.True(t, found)
}

func TestFind(t *testing.T) {
	c := start(t, "", "wait")
	fs := New("/proc")
	p, err := fs.Open(c.Process.Pid)
	require.NoError(t, err)
	id := p.ID()
	p.Close()
	exact, other, rebooted := id, id, id
	exact.Start += 7_654_321
	other.Start += Start(tick)
	rebooted.Boot = bootID[:35] + "1"
	for name, c := range map[string]struct {
		id   ID
		want error
	}{
		"in ticks":         {id, nil},
		"exact":            {exact, nil},
		"a reused pid":     {other, ErrOther},
		"before a reboot":  {rebooted, ErrOther},
		"no process":       {ID{id.Boot, 1<<31 - 1, id.Start}, ErrGone},
		"not even a pid":   {ID{id.Boot, -1, id.Start}, ErrGone},
		"the zero process": {ID{}, ErrGone},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := fs.Find(c.id)
			require.ErrorIs(t, err, c.want)
			if err == nil {
				assert.Equal(t, c.id, p.ID())
				p.Close()
			}
		})
	}
}

// TestReused: a handle means the process that it was opened for, even when another one has the pid.
func TestReused(t *testing.T) {
	c := start(t, "", "wait")
	p := open(t, c.Process.Pid)
	id := p.ID()
	require.NoError(t, c.Process.Kill())
	_ = c.Wait()
	_, err := p.Executable()
	require.ErrorIs(t, err, ErrGone)
	_, err = p.Status()
	require.ErrorIs(t, err, ErrGone)
	place, err := p.Place()
	require.ErrorIs(t, err, ErrGone)
	assert.Equal(t, Place{Kind: UnknownPlace}, place)
	assert.Empty(t, containment(p, time.Now()))
	_, err = p.OpenExecutable()
	require.ErrorIs(t, err, ErrGone)
	for _, err := range p.Mappings() {
		require.ErrorIs(t, err, ErrGone)
	}

	again := fake(t, map[string]string{"sys/kernel/random/boot_id": id.Boot, fmt.Sprintf("%d/stat", id.PID): statOf(1, int(id.Start/Start(tick))+1)})
	_, err = again.Find(id)
	assert.ErrorIs(t, err, ErrOther)
}

func TestZombie(t *testing.T) {
	c := start(t, "", "wait")
	require.NoError(t, c.Process.Kill())
	var p *Process
	require.Eventually(t, func() bool { p = open(t, c.Process.Pid); return p.Ended() }, 5*time.Second, time.Millisecond)
	_, err := p.Executable()
	assert.ErrorIs(t, err, ErrGone)
}

func TestEach(t *testing.T) {
	c := start(t, "", "wait")
	fs := New("/proc")
	found := map[int]bool{}
	l, err := fs.Each(1<<20, func(p *Process) bool {
		found[p.ID().PID] = true
		return true
	})
	require.NoError(t, err)
	assert.Len(t, found, l.Visited)
	assert.True(t, found[os.Getpid()])
	assert.True(t, found[c.Process.Pid])
	assert.False(t, found[2], "kthreadd")
	assert.False(t, l.Truncated)

	l, err = fs.Each(1, func(*Process) bool { return true })
	require.NoError(t, err)
	assert.Equal(t, Listing{Visited: 1, Gone: l.Gone, Truncated: true}, l)
	l, err = fs.Each(10, func(*Process) bool { return false })
	require.NoError(t, err)
	assert.Equal(t, 1, l.Visited)

	l, err = fake(t, map[string]string{"1/stat": statOf(0, 1), "3/stat": "3 (x)", "4/x": "", "5": "", "self/stat": statOf(0, 1)}).
		Each(10, func(p *Process) bool { return assert.Equal(t, 1, p.ID().PID) })
	require.NoError(t, err)
	assert.Equal(t, Listing{Visited: 1, Gone: 2, Unreadable: 1}, l)
	_, err = New(t.TempDir()+"/none").Each(1, nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestExecutable(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		file    string
		change  func(t *testing.T, path string)
		deleted bool
	}{
		"as it was":                      {"a", func(*testing.T, string) {}, false},
		"a name that ends in (deleted)":  {"b (deleted)", func(*testing.T, string) {}, false},
		"deleted":                        {"c", func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, true},
		"such a name, and deleted":       {"d (deleted)", func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, true},
		"deleted, and another with (de…": {"e", func(t *testing.T, path string) { require.NoError(t, os.Remove(path)); copySelf(t, path+" (deleted)") }, true},
		"replaced": {"f", func(t *testing.T, path string) {
			copySelf(t, path+".new")
			require.NoError(t, os.Rename(path+".new", path))
		}, true},
		"another name left": {"g", func(t *testing.T, path string) {
			require.NoError(t, os.Link(path, path+".other"))
			require.NoError(t, os.Remove(path))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			copySelf(t, path)
			before, err := os.Stat(path)
			require.NoError(t, err)
			p := open(t, start(t, path, "wait").Process.Pid)
			c.change(t, path)
			exe, err := p.Executable()
			require.NoError(t, err)
			assert.Equal(t, Executable{path, c.deleted}, exe)
			f, err := p.OpenExecutable()
			require.NoError(t, err)
			defer f.Close()
			assert.Equal(t, before.Sys().(*syscall.Stat_t).Ino, f.ID.Inode, "it is the file that runs")
			assert.Equal(t, before.Size(), f.ID.Size)
			binary := "named"
			if c.deleted {
				binary = "unlinked"
			}
			assert.Equal(t, []string{binary}, signal(t, p, witness.SignalBinary).Values)
		})
	}
}

// containment are all classes of the process.
func containment(p *Process, observed time.Time) []witness.Signal {
	return append(p.Confinement(observed), p.Mounts(observed)...)
}

// signal is that of the process; its values are nil when there is none.
func signal(t testing.TB, p *Process, name witness.SignalName) witness.Signal {
	t.Helper()
	for _, s := range containment(p, time.Now()) {
		if s.Name == name {
			return s
		}
	}
	return witness.Signal{}
}

// mapped maps a file of this test executable.
func mapped(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), int64(os.Getpagesize()), os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Munmap(memory)) })
}

func mappingOf(t *testing.T, p *Process, path string) Mapping {
	t.Helper()
	var found Mapping
	for m, err := range p.Mappings() {
		require.NoError(t, err)
		if m.Path == path {
			found = m
		}
	}
	require.NotZero(t, found.Inode, path)
	return found
}

func TestOpenMapping(t *testing.T) {
	path := filepath.Join(t.TempDir(), "library with a space.so")
	content := bytes.Repeat([]byte("library "), 4096)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	p := open(t, os.Getpid())
	mapped(t, path)
	m := mappingOf(t, p, path)
	assert.Equal(t, uint64(os.Getpagesize()), m.Offset)
	assert.False(t, m.Deleted)
	read := func(t *testing.T, m Mapping, open func(Mapping) (*File, error)) FileID {
		t.Helper()
		f, err := open(m)
		require.NoError(t, err)
		defer f.Close()
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		assert.Equal(t, content, b)
		return f.ID
	}
	id := read(t, m, p.openByPath)
	if os.Geteuid() == 0 { // the mapping itself needs a capability
		assert.Equal(t, id, read(t, m, p.OpenMapping))
	}
	wrong := m
	wrong.Inode++
	_, err := p.openByPath(wrong)
	require.ErrorIs(t, err, ErrReplaced)
	wrong = m
	wrong.Dev++
	_, err = p.openByPath(wrong)
	require.ErrorIs(t, err, ErrReplaced)

	require.NoError(t, os.WriteFile(path+".new", []byte("new"), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	m = mappingOf(t, p, path)
	assert.True(t, m.Deleted)
	_, err = p.openByPath(m)
	require.ErrorIs(t, err, ErrReplaced)
	require.NoError(t, os.Remove(path))
	_, err = p.openByPath(m)
	require.ErrorIs(t, err, ErrReplaced)

	requireRoot(t)
	after := read(t, m, p.OpenMapping)
	after.Ctime = id.Ctime // renaming changed that
	assert.Equal(t, id, after)
	wrong = m
	wrong.Inode++
	_, err = p.OpenMapping(wrong)
	require.ErrorIs(t, err, ErrReplaced)
	wrong = m
	wrong.End += 1 << 20
	_, err = p.OpenMapping(wrong)
	require.ErrorIs(t, err, ErrNotMapped)
}

// TestGeneration: a new file with the inode of an old one has another generation, where the file system tells.
func TestGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var last FileID
	for range 200 {
		f, err := os.Create(path)
		require.NoError(t, err)
		id, err := Identify(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, os.Remove(path))
		if !id.HasGeneration {
			skip(t, "this file system has no generations")
		}
		if id.Inode == last.Inode {
			assert.NotEqual(t, last.Generation, id.Generation)
			return
		}
		last = id
	}
	skip(t, "no inode came twice")
}

// TestChroot: paths are those of the process, and nothing in its root leads out of it.
func TestChroot(t *testing.T) {
	requireRoot(t)
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "proc"), 0o755))
	copySelf(t, filepath.Join(root, "bin/x"))
	p := open(t, start(t, filepath.Join(root, "bin/x"), "chroot", in(root)).Process.Pid)
	exe, err := p.Executable()
	require.NoError(t, err)
	assert.Equal(t, Executable{Path: "/bin/x"}, exe)
	m := mappingOf(t, p, "/bin/x")
	f, err := p.openByPath(m)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	place, err := p.Place()
	require.NoError(t, err)
	assert.Equal(t, Place{Kind: UnknownPlace}, place, "its files are not those of the host")

	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	for name, target := range map[string]string{"absolute": outside, "relative": strings.Repeat("../", 32) + outside, "magic": "/proc/self/exe"} {
		require.NoError(t, os.Symlink(target, filepath.Join(root, name)))
	}
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	for _, path := range []string{"/absolute", "/relative", "/magic", "/../../../../../.." + outside, "/nothing"} {
		_, err := p.openInRoot(path)
		assert.ErrorIs(t, err, unix.ENOENT, path)
	}
	for _, path := range []string{"/pipe", "/bin"} {
		_, err := p.openByPath(Mapping{Path: path})
		assert.ErrorIs(t, err, ErrNotRegular, path)
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 1 1 1 0 -1 4194304 100 0 0 0 0 0 0 0 20 0 1 0 169653 3133440 401"
	plain := stat{'S', 1, 4194304, 1_696_530_000_000}
	for name, c := range map[string]struct {
		stat string
		want stat
		ok   bool
	}{
		"plain":                {"15751 (cat)" + tail, plain, true},
		"a name of field ends": {"15751 (a) S 1 (b) )" + tail, plain, true},
		"a name of two lines":  {"15751 (a\n1 (b))" + tail, plain, true},
		"cut":                  {"15751 (cat) S 1 1", stat{}, false},
		"negative":             {strings.Replace("1 (a)"+tail, "169653", "-1", 1), stat{}, false},
		"overflow":             {strings.Replace("1 (a)"+tail, "169653", "9223372036854775807", 1), stat{}, false},
		"no number":            {strings.Replace("1 (a)"+tail, "169653", "x", 1), stat{}, false},
		"no parent":            {strings.Replace("1 (a)"+tail, "S 1", "S x", 1), stat{}, false},
		"no state":             {strings.Replace("1 (a)"+tail, "S 1", "SS 1", 1), stat{}, false},
		"empty":                {"", stat{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseStat([]byte(c.stat))
			assert.Equal(t, c.ok, ok)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestParseStatus(t *testing.T) {
	none := Status{NoNewPrivs: -1, Seccomp: -1}
	for name, c := range map[string]struct {
		status string
		want   Status
		ok     bool
	}{
		"all":                      {"Name:\tx\nUid:\t1\t2\t3\t4\nNSpid:\t70\t7\nCapEff:\t0000000000000021\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t9\n", Status{2, []int{70, 7}, 0x21, true, 1, 2}, true},
		"an old kernel":            {"Uid:\t0\t0\t0\t0\nCapEff:\t0\n", Status{HasCapabilities: true, NoNewPrivs: -1, Seccomp: -1}, true},
		"a name that is a line":    {"Name:\tx\\nUid:\t0 0 0 0\nUid:\t1\t2\t3\t4\n", Status{EffectiveUser: 2, NoNewPrivs: -1, Seccomp: -1}, true},
		"no users":                 {"Name:\tx\n", none, false},
		"three users":              {"Uid:\t1\t2\t3\n", Status{}, false},
		"a user that is no number": {"Uid:\t1\tx\t3\t4\n", Status{}, false},
		"odd modes":                {"Uid:\t1\t2\t3\t4\nNoNewPrivs:\t10\nSeccomp:\t-1\n", Status{EffectiveUser: 2, NoNewPrivs: -1, Seccomp: -1}, true},
		"odd capabilities":         {"Uid:\t1\t2\t3\t4\nCapEff:\tx\n", Status{}, false},
		"empty":                    {"", none, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseStatus([]byte(c.status))
			assert.Equal(t, c.ok, ok)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestParseMaps(t *testing.T) {
	const maps = `00400000-00452000 r-xp 00000000 08:02 173521                             /usr/bin/my app
00651000-00652000 r--p 00051000 08:02 173521                             /usr/bin/my app
7f10-7f20 r-xp 00010000 fe:01 131 /usr/lib/libc.so.6
7f30-7f40 r-xs 00000000 fe:01 140 /usr/lib/old.so (deleted)
7f80-7f90 r-xp 00000000 00:00 0 [vdso]
7fa0-7fb0 rwxp 00000000 00:00 0
7fc0-7fb0 r-xp 00000000 fe:01 140 /backwards
x-7fb0 r-xp 00000000 fe:01 140 /x
7fb0 r-xp 00000000 fe:01 140 /x
7f10-7f20 r-xp 00010000 fe 131 /x
7f10-7f20 r-xp 00010000 fe:01 131
7f10-7f20 r-x
what else`
	want := []Mapping{
		{0x400000, 0x452000, 0, unix.Mkdev(8, 2), 173521, "/usr/bin/my app", false},
		{0x7f10, 0x7f20, 0x10000, unix.Mkdev(0xfe, 1), 131, "/usr/lib/libc.so.6", false},
		{0x7f30, 0x7f40, 0, unix.Mkdev(0xfe, 1), 140, "/usr/lib/old.so", true},
	}
	collect := func(r io.Reader) (got []Mapping, last error) {
		for m, err := range parseMaps(r) {
			if err != nil {
				last = err
				continue
			}
			got = append(got, m)
		}
		return got, last
	}
	got, err := collect(strings.NewReader(maps))
	require.NoError(t, err)
	assert.Equal(t, want, got)

	got, err = collect(io.MultiReader(strings.NewReader(maps+"\n"), strings.NewReader(strings.Repeat("x", maxMapsLine+1))))
	require.ErrorIs(t, err, ErrLimit)
	assert.Len(t, got, 3)
	line := "7f10-7f20 r-xp 00010000 fe:01 131 /usr/lib/libc.so.6\n"
	got, err = collect(strings.NewReader(strings.Repeat(line, maxMaps/len(line)+2)))
	require.ErrorIs(t, err, ErrLimit)
	assert.InDelta(t, maxMaps/len(line), len(got), 65536/float64(len(line)))
	assert.False(t, slices.ContainsFunc(got, func(m Mapping) bool { return m != want[1] }), "no line is cut")
	got, err = collect(io.MultiReader(strings.NewReader(line), errReader{}))
	require.ErrorIs(t, err, unix.ESRCH)
	assert.Len(t, got, 1)
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, unix.ESRCH }

func TestReadFileLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 100_000} {
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600))
		b, err := readFile(unix.AT_FDCWD, path, size)
		require.NoError(t, err, size)
		assert.Len(t, b, size)
		if size > 0 {
			_, err = readFile(unix.AT_FDCWD, path, size-1)
			require.ErrorIs(t, err, ErrLimit, size)
		}
	}
}

func TestBootID(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		ok      bool
	}{
		"as it is": {bootID + "\n", true},
		"empty":    {"", false},
		"no dash":  {strings.ReplaceAll(bootID, "-", "0"), false},
		"too long": {strings.Repeat(bootID, 4), false},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := fake(t, map[string]string{"sys/kernel/random/boot_id": c.content}).BootID()
			assert.Equal(t, c.ok, err == nil)
			assert.Equal(t, c.ok, id == bootID)
		})
	}
}

func FuzzStat(f *testing.F) {
	b, err := os.ReadFile("/proc/self/stat")
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(statOf(1, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseStat(b); ok {
			assert.GreaterOrEqual(t, s.start, Start(0))
			assert.Equal(t, s.start, s.start.Tick())
		}
	})
}

func FuzzStatus(f *testing.F) {
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseStatus(b); ok {
			assert.LessOrEqual(t, s.Seccomp, 9)
			assert.NotNil(t, capabilities(s.Capabilities))
		}
	})
}

func FuzzMaps(f *testing.F) {
	b, err := os.ReadFile("/proc/self/maps")
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte("7f30-7f40 r-xp 00000000 fe:01 140 /usr/lib/old.so (deleted)\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for m, err := range parseMaps(bytes.NewReader(b)) {
			if err == nil {
				assert.Less(t, m.Start, m.End)
				assert.NotZero(t, m.Inode)
				assert.NotEmpty(t, m.Path)
				assert.True(t, strings.HasPrefix(m.link(), "map_files/"+strconv.FormatUint(m.Start, 16)))
			}
		}
	})
}
