package correlation

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const host = "node-1"

// goSource says ready, and on each line executes itself anew.
const goSource = `package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"

	"github.com/google/uuid"
)

func main() {
	_ = uuid.Nil.String()
	fmt.Println("ready", version)
	if bufio.NewScanner(os.Stdin).Scan() {
		panic(syscall.Exec(os.Args[0], os.Args, nil))
	}
}
`

const cSource = `#include <stdio.h>
int work(int);
int main(void) { printf("ready %d\n", work(1)); fflush(stdout); return getchar() == EOF; }
`

func command(t testing.TB, dir, name string, arguments ...string) {
	t.Helper()
	c := exec.Command(name, arguments...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	output, err := c.CombinedOutput()
	require.NoError(t, err, string(output))
}

// buildGo builds a program of module example.com/Shop v1.2.3 with a dependency, from a git repository, whose revision
// it returns.
func buildGo(t testing.TB, to, version string, flags ...string) (revision string) {
	t.Helper()
	dir := t.TempDir()
	sums, err := os.ReadFile("../../go.sum")
	require.NoError(t, err)
	for name, content := range map[string]string{
		"go.mod":     "module example.com/Shop\n\ngo 1.26.0\n\nrequire github.com/google/uuid v1.6.0\n",
		"go.sum":     string(sums),
		"main.go":    goSource,
		"version.go": fmt.Sprintf("package main\n\nconst version = %q\n", version),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	command(t, dir, "git", "init", "-q")
	command(t, dir, "git", "add", ".")
	command(t, dir, "git", "commit", "-q", "-m", "x")
	command(t, dir, "git", "tag", version)
	command(t, dir, "go", append(append([]string{"build", "-o", to}, flags...), ".")...)
	head, err := exec.Command("git", "-C", dir, "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(head))
}

// buildC builds a program that needs libwork.so of the same directory.
func buildC(t testing.TB, dir string) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc")
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.c"), []byte(cSource), 0o600))
	buildLibrary(t, filepath.Join(dir, "libwork.so"), "1", "0x1111111111")
	command(t, dir, "gcc", "-o", "program", "main.c", "-L.", "-lwork", "-Wl,-rpath,$ORIGIN", "-Wl,--build-id=0x2222222222")
}

// buildLibrary builds a shared library of Debian's package work, in the given version.
func buildLibrary(t testing.TB, to, version, buildID string) {
	t.Helper()
	note := `{\\\"type\\\":\\\"deb\\\",\\\"os\\\":\\\"Debian\\\",\\\"name\\\":\\\"work\\\",\\\"version\\\":\\\"` + version + `\\\"}`
	source := `__asm__(".section .note.package,\"a\",@note\n.balign 4\n.long 4, 2f-1f, 0xcafe1a7e\n.asciz \"FDO\"\n1: .asciz \"` + note + `\"\n2:\n.balign 4\n.previous\n");
int work(int x) { return x + ` + version + `; }
`
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "work.c"), []byte(source), 0o600))
	id := "-Wl,--build-id=" + buildID
	if buildID == "" {
		id = "-Wl,--build-id=none"
	}
	command(t, dir, "gcc", "-shared", "-fPIC", "-o", to, "work.c", id)
}

// running is a started program.
type running struct {
	pid     int
	started time.Time // after the exec, as Tetragon tells it
	stdin   io.WriteCloser
	output  *bufio.Reader
}

func start(t testing.TB, path string, chroot string) *running {
	t.Helper()
	c := exec.Command(path)
	if chroot != "" {
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: chroot}
		c.Dir = "/"
	}
	stdin, err := c.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	r := &running{pid: c.Process.Pid, started: time.Now(), stdin: stdin, output: bufio.NewReader(stdout)}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = c.Wait()
	})
	r.ready(t)
	return r
}

func (r *running) ready(t testing.TB) string {
	t.Helper()
	line, err := r.output.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "ready")
	return line
}

// forked is the start of a process to the tick, as agents that read proc tell it.
func forked(t testing.TB, pid int) time.Time {
	t.Helper()
	p, err := procfs.New("/proc").Open(pid)
	require.NoError(t, err)
	defer p.Close()
	var boot unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot))
	return time.Now().Add(-time.Duration(boot.Nano())).Add(time.Duration(p.ID().Start))
}

func newCorrelator(t testing.TB, change ...func(*Options)) *Correlator {
	t.Helper()
	options := Options{Proc: "/proc", Host: host, Workers: 2, Deadline: 20 * time.Second, CacheSize: 64, MaxFileSize: 1 << 30}
	for _, c := range change {
		c(&options)
	}
	c, err := New(options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close(context.Background())) })
	return c
}

// record appends a record of a process.
func record(logs plog.Logs, host, event, exe string, pid int, created time.Time, frames ...witness.Frame) pcommon.Map {
	resource := logs.ResourceLogs().AppendEmpty()
	if host != "" {
		resource.Resource().Attributes().PutStr(semconv.HostName, host)
	}
	record := resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetEventName(event)
	record.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	m := record.Attributes()
	m.PutInt(semconv.ProcessPID, int64(pid))
	m.PutStr(semconv.ProcessCreationTime, created.UTC().Format(time.RFC3339Nano))
	m.PutStr(semconv.ProcessExecutablePath, exe)
	witness.PutStack(m, frames...)
	return m
}

func module(path string) witness.Frame { return witness.Frame{Module: witness.Module{Path: path}} }

func sum(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func buildID(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := elffile.Read(bytes.NewReader(b))
	require.NoError(t, err)
	return info.BuildID
}

func TestGoProgram(t *testing.T) {
	for name, flags := range map[string][]string{"with symbols": nil, "stripped": {"-trimpath", "-ldflags=-s -w"}, "no build-id": {"-ldflags=-B none"}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "shop")
			revision := buildGo(t, path, "v1.2.3", flags...)
			p := start(t, path, "")
			c := newCorrelator(t)
			logs := plog.NewLogs()
			executed := record(logs, host, semconv.EventExec, path, p.pid, p.started, module(path))
			called := record(logs, host, semconv.EventCall, path, p.pid, p.started,
				witness.Frame{Symbol: "github.com/google/uuid.UUID.String", Module: witness.Module{Path: path}},
				witness.Frame{Symbol: "encoding/json.Unmarshal", Language: "go", Module: witness.Module{Path: path}},
				witness.Frame{Package: "main", Member: "main", Symbol: "main.main", Language: "go", Module: witness.Module{Path: path}},
				witness.Frame{Symbol: "cmd/go/internal/load.(*P).set.(*F).Lookup.func8.1", Language: "go", Module: witness.Module{Path: path}},
				witness.Frame{Symbol: "x_cgo_init", Module: witness.Module{Path: path}},
				witness.Frame{HasOffset: true, Offset: 0x1000, Module: witness.Module{Path: path}},
				module("[vdso]"),
			)
			report := c.Apply(t.Context(), logs)
			assert.Equal(t, Report{Resolved: 1, Unknown: map[Reason]int{}}, report)

			id := buildID(t, path)
			assert.Equal(t, name == "no build-id", id == "")
			for _, m := range []pcommon.Map{executed, called} {
				assert.Equal(t, id, semconv.Text(m, semconv.ProcessExecutableBuildIDGNU))
				assert.Contains(t, semconv.Text(m, semconv.ProcessExecutableBuildIDGo), "/")
				assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.3", semconv.Text(m, semconv.ArtifactPURL))
				assert.Equal(t, "sha256:"+sum(t, path), semconv.Text(m, semconv.ArtifactHash))
				assert.Equal(t, revision, semconv.Text(m, semconv.VCSRefHeadRevision))
				assert.Equal(t, "buildinfo", semconv.Text(m, semconv.WitnessArtifactIdentityMethod))
			}
			frames := append(witness.StackOf(executed), witness.StackOf(called)...)
			want := witness.Module{Path: path, BuildID: id}
			if id == "" {
				want.SHA256 = sum(t, path)
			}
			components := []string{}
			for _, f := range frames[:7] {
				assert.Equal(t, want, f.Module)
				components = append(components, f.Component)
			}
			assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.3", components[0])
			assert.Equal(t, "pkg:golang/github.com/google/uuid@v1.6.0", components[1])
			assert.Regexp(t, `^pkg:golang/stdlib@1\.`, components[2])
			assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.3", components[3])
			assert.Equal(t, []string{"", "", ""}, components[4:], "a closure copied from another package, C, no symbol")
			assert.Equal(t, "go", frames[1].Language)
			assert.Empty(t, frames[5].Language)
			assert.Equal(t, module("[vdso]"), frames[7])
			assert.Equal(t, "pkg:golang/github.com/google/uuid@v1.6.0", semconv.Text(called, semconv.WitnessComponentPURL))

			report = c.Apply(t.Context(), logs)
			assert.Equal(t, Report{Resolved: 1, Cached: 1, Unknown: map[Reason]int{}}, report, "the second time changes nothing, and disagrees with nothing")
		})
	}
}

func TestNotTheProcess(t *testing.T) {
	dir := t.TempDir()
	buildC(t, dir)
	path, other := filepath.Join(dir, "program"), filepath.Join(dir, "other")
	p := start(t, path, "")
	exact := forked(t, p.pid)
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	for name, c := range map[string]struct {
		host, exe string
		pid       int
		created   time.Time
		reason    Reason
	}{
		"as it is":                             {host, path, p.pid, p.started, ""},
		"began when the event says, any host":  {"", path, p.pid, exact, ""},
		"executed an hour later":               {host, path, p.pid, time.Now().Add(time.Hour), OtherProcess},
		"began a second later":                 {host, path, p.pid, exact.Add(-time.Second), OtherProcess},
		"began a second earlier, unknown host": {"", path, p.pid, exact.Add(time.Second), OtherProcess},
		"an old capture":                       {host, path, p.pid, exact.Add(-24 * time.Hour), OtherProcess},
		"another host":                         {"node-2", path, p.pid, exact, OtherHost},
		"another executable":                   {host, other, p.pid, p.started, OtherExecutable},
		"an executable that is a directory":    {host, dir, p.pid, p.started, OtherExecutable},
		"no path":                              {host, "", p.pid, p.started, NoProcess},
		"no pid":                               {host, path, 0, p.started, NoProcess},
		"a pid that ended":                     {host, path, gone.Process.Pid, time.Now(), Gone},
		"a pid that cannot be":                 {host, path, 1<<31 - 1, time.Now(), Gone},
	} {
		t.Run(name, func(t *testing.T) {
			logs := plog.NewLogs()
			m := record(logs, c.host, semconv.EventCall, c.exe, c.pid, c.created, witness.Frame{Symbol: "main", Module: witness.Module{Path: path}})
			before := m.Len()
			report := newCorrelator(t).Apply(t.Context(), logs)
			if c.reason == "" {
				assert.Empty(t, report.Unknown)
				assert.Equal(t, "2222222222", witness.StackOf(m)[0].Module.BuildID)
				return
			}
			assert.Positive(t, report.Unknown[c.reason], report)
			assert.Len(t, report.Unknown, 1)
			assert.Equal(t, before, m.Len())
			assert.Equal(t, witness.Frame{Symbol: "main", Module: witness.Module{Path: path}}, witness.StackOf(m)[0])
		})
	}
	t.Run("asserted", func(t *testing.T) {
		logs := plog.NewLogs()
		m := record(logs, host, semconv.EventExec, path, p.pid, p.started, module(path))
		m.PutStr(semconv.WitnessAssurance, string(witness.Asserted))
		assert.Equal(t, map[Reason]int{Asserted: 1}, newCorrelator(t).Apply(t.Context(), logs).Unknown)
		assert.Equal(t, module(path), witness.StackOf(m)[0])
	})
	t.Run("other events stay as they are", func(t *testing.T) {
		logs := plog.NewLogs()
		m := record(logs, host, semconv.EventExit, path, p.pid, p.started, module(path))
		assert.Equal(t, Report{Unknown: map[Reason]int{}}, newCorrelator(t).Apply(t.Context(), logs))
		assert.Equal(t, module(path), witness.StackOf(m)[0])
	})
}

func TestReplacedExecutable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop")
	buildGo(t, path, "v1.2.3")
	old, oldSum := buildID(t, path), sum(t, path)
	p := start(t, path, "")
	buildGo(t, filepath.Join(dir, "new"), "v1.3.0")
	require.NoError(t, os.Rename(filepath.Join(dir, "new"), path))
	require.NotEqual(t, oldSum, sum(t, path))

	c := newCorrelator(t)
	logs := plog.NewLogs()
	m := record(logs, host, semconv.EventExec, path, p.pid, p.started, module(path))
	assert.Equal(t, 1, c.Apply(t.Context(), logs).Resolved)
	assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.3", semconv.Text(m, semconv.ArtifactPURL))
	assert.Equal(t, "sha256:"+oldSum, semconv.Text(m, semconv.ArtifactHash))
	assert.Equal(t, old, witness.StackOf(m)[0].Module.BuildID)

	// The process executes itself anew: under one start time and path it now runs the new file.
	_, err := p.stdin.Write([]byte("\n"))
	require.NoError(t, err)
	require.Contains(t, p.ready(t), "v1.3.0")
	logs = plog.NewLogs()
	m = record(logs, host, semconv.EventExec, path, p.pid, p.started, module(path))
	assert.Equal(t, 1, c.Apply(t.Context(), logs).Resolved)
	assert.Equal(t, "pkg:golang/example.com/Shop@v1.3.0", semconv.Text(m, semconv.ArtifactPURL))
	assert.Equal(t, "sha256:"+sum(t, path), semconv.Text(m, semconv.ArtifactHash))
}

func TestLibraries(t *testing.T) {
	dir := t.TempDir()
	buildC(t, dir)
	path, library := filepath.Join(dir, "program"), filepath.Join(dir, "libwork.so")
	p := start(t, path, "")
	var libc string
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		if at := strings.IndexByte(line, '/'); at >= 0 && strings.Contains(line, "/libc.so") {
			libc = strings.TrimSpace(line[at:])
		}
	}
	require.NotEmpty(t, libc)
	require.NotEmpty(t, buildID(t, libc))
	stack := []witness.Frame{
		{Symbol: "work", Module: witness.Module{Path: library}},
		{Symbol: "main", Module: witness.Module{Path: path}},
		{Symbol: "__libc_start_main", Module: witness.Module{Path: libc}},
		{Symbol: "f", Module: witness.Module{Path: "/nowhere/libother.so"}},
	}
	check := func(t *testing.T) {
		logs := plog.NewLogs()
		loaded := record(logs, host, semconv.EventLoad, path, p.pid, p.started, module(library))
		sampled := record(logs, host, semconv.EventSample, path, p.pid, p.started, stack...)
		report := newCorrelator(t).Apply(t.Context(), logs)
		assert.Equal(t, Report{Resolved: 3, Unknown: map[Reason]int{NotMapped: 1}}, report)
		assert.Equal(t, "1111111111", witness.StackOf(loaded)[0].Module.BuildID)
		assert.Equal(t, "pkg:deb/debian/work@1", semconv.Text(loaded, semconv.WitnessComponentPURL))
		assert.Equal(t, "path", semconv.Text(loaded, semconv.WitnessArtifactIdentityMethod), "the artifact of the event is the executable, not the library")
		assert.Equal(t, "2222222222", semconv.Text(loaded, semconv.ProcessExecutableBuildIDGNU))
		frames := witness.StackOf(sampled)
		assert.Equal(t, "1111111111", frames[0].Module.BuildID)
		assert.Equal(t, "pkg:deb/debian/work@1", frames[0].Component)
		assert.Equal(t, witness.Module{Path: path, BuildID: "2222222222"}, frames[1].Module)
		assert.Equal(t, witness.Module{Path: libc, BuildID: buildID(t, libc)}, frames[2].Module)
		assert.Equal(t, stack[3], frames[3])
	}
	t.Run("in place", check)
	buildLibrary(t, filepath.Join(dir, "new.so"), "2", "0x3333333333")
	require.NoError(t, os.Rename(filepath.Join(dir, "new.so"), library))
	if os.Geteuid() == 0 { // opening a mapping without a name needs a capability
		t.Run("replaced", check)
	}
}

// TestChroot: paths are those of the process, and nothing in its root leads out of it.
func TestChroot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chroot needs root")
	}
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	buildGo(t, filepath.Join(root, "bin", "shop"), "v1.2.3")
	p := start(t, "/bin/shop", root)
	logs := plog.NewLogs()
	m := record(logs, host, semconv.EventExec, "/bin/shop", p.pid, p.started, module("/bin/shop"))
	require.NoError(t, os.Symlink("shop", filepath.Join(root, "bin", "alias")))
	alias := record(logs, host, semconv.EventExec, "/bin/alias", p.pid, p.started, module("/bin/alias"))
	assert.Equal(t, 2, newCorrelator(t).Apply(t.Context(), logs).Resolved)
	assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.3", semconv.Text(m, semconv.ArtifactPURL))
	assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.3", semconv.Text(alias, semconv.ArtifactPURL))
}

// TestMappedDevice maps a device executable in this very process.
func TestMappedDevice(t *testing.T) {
	device, err := os.Open("/dev/zero")
	require.NoError(t, err)
	memory, err := unix.Mmap(int(device.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	require.NoError(t, err)
	require.NoError(t, device.Close())
	t.Cleanup(func() { assert.NoError(t, unix.Munmap(memory)) })
	exe, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	logs := plog.NewLogs()
	record(logs, host, semconv.EventSample, exe, os.Getpid(), time.Now(), module("/dev/zero"))
	report := newCorrelator(t).Apply(t.Context(), logs)
	assert.Equal(t, map[Reason]int{NotRegular: 1}, report.Unknown)
	assert.Equal(t, 1, report.Resolved)
}

// TestHangingFile: a file system that hangs costs a batch its deadline once, and later batches nothing.
func TestHangingFile(t *testing.T) {
	exe, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	const deadline = 300 * time.Millisecond
	c := newCorrelator(t, func(o *Options) { o.Deadline = deadline })
	hang, open := make(chan struct{}), c.open
	var opens atomic.Int32
	c.open = func(k key) (*opened, Reason) {
		opens.Add(1)
		<-hang
		return open(k)
	}
	began := forked(t, os.Getpid())
	apply := func() (Report, pcommon.Map) {
		logs := plog.NewLogs()
		m := record(logs, "", semconv.EventSample, exe, os.Getpid(), began, module(exe))
		return c.Apply(t.Context(), logs), m
	}
	report, m := apply()
	assert.Equal(t, Report{Unknown: map[Reason]int{Deadline: 1}, TimedOut: true}, report)
	assert.Equal(t, module(exe), witness.StackOf(m)[0])
	report, _ = apply()
	assert.Equal(t, map[Reason]int{Deadline: 1}, report.Unknown)
	ended, end := context.WithCancel(t.Context())
	end()
	assert.Equal(t, 1, c.Apply(ended, logsOf(exe)).Unknown[Deadline], "a batch that is given up does not wait")

	close(hang)
	require.Eventually(t, func() bool {
		report, m = apply()
		return report.Resolved == 1 && semconv.Text(m, semconv.ArtifactHash) != ""
	}, 20*time.Second, 10*time.Millisecond)
	assert.Equal(t, int32(2), opens.Load(), "each of the two processes was asked for once, however many batches wait")
}

func logsOf(exe string) plog.Logs {
	logs := plog.NewLogs()
	record(logs, host, semconv.EventExec, exe, os.Getpid(), time.Now(), module(exe))
	return logs
}

func TestBusy(t *testing.T) {
	c := newCorrelator(t)
	hang := make(chan struct{})
	defer close(hang)
	c.open = func(key) (*opened, Reason) {
		<-hang
		return nil, Gone
	}
	logs := plog.NewLogs()
	for pid := range queuedModules + 100 {
		record(logs, host, semconv.EventExec, "/bin/true", pid+1, time.Now(), module("/bin/true"))
	}
	ended, end := context.WithCancel(t.Context())
	end()
	report := c.Apply(ended, logs)
	assert.Positive(t, report.Unknown[Busy])
	assert.GreaterOrEqual(t, report.Unknown[Deadline], queuedModules)
	assert.Equal(t, queuedModules+100, report.Unknown[Busy]+report.Unknown[Deadline])
}

func TestBuildIDsOfLoadsAreLearnt(t *testing.T) {
	c := newCorrelator(t)
	created := time.Now()
	logs := plog.NewLogs()
	record(logs, "node-2", semconv.EventLoad, "/usr/bin/app", 7, created, witness.Frame{Module: witness.Module{Path: "/usr/lib/libssl.so.3", BuildID: "abcd"}})
	c.Apply(t.Context(), logs)
	logs = plog.NewLogs()
	frame := witness.Frame{Symbol: "SSL_read", Module: witness.Module{Path: "/usr/lib/libssl.so.3"}}
	same := record(logs, "node-2", semconv.EventCall, "/usr/bin/app", 7, created, frame)
	otherHost := record(logs, "node-3", semconv.EventCall, "/usr/bin/app", 7, created, frame)
	otherStart := record(logs, "node-2", semconv.EventCall, "/usr/bin/app", 7, created.Add(time.Second), frame)
	assert.Equal(t, 3, c.Apply(t.Context(), logs).Unknown[OtherHost])
	assert.Equal(t, "abcd", witness.StackOf(same)[0].Module.BuildID)
	assert.Equal(t, frame, witness.StackOf(otherHost)[0])
	assert.Equal(t, frame, witness.StackOf(otherStart)[0])
}

// TestWhatIsTooLong has texts that a sender can make as long as it likes, and that the caches would hold.
func TestWhatIsTooLong(t *testing.T) {
	c := newCorrelator(t)
	exe, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	long := "/" + strings.Repeat("x", 1<<16)
	logs := plog.NewLogs()
	load := func(host, path, buildID string) {
		record(logs, host, semconv.EventLoad, exe, os.Getpid(), time.Now(), witness.Frame{Module: witness.Module{Path: path, BuildID: buildID}})
	}
	load(host, long, "abcd")
	load(host, "/usr/lib/a.so", long)
	load(long, "/usr/lib/a.so", "abcd")
	record(logs, host, semconv.EventSample, long, os.Getpid(), time.Now(), module("/usr/lib/a.so"))
	c.Apply(t.Context(), logs)
	for _, k := range c.answers.Keys() {
		assert.Less(t, len(k.path)+len(k.exe), 1<<14)
	}
	for _, k := range c.learned.Keys() {
		id, _ := c.learned.Peek(k)
		assert.Less(t, len(k.path)+len(k.host)+len(id), 1<<14)
	}
}

// TestManyWaitForOneHash has a file that is never read to its end, and ever more processes that run it.
func TestManyWaitForOneHash(t *testing.T) {
	c := newCorrelator(t)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("no ELF, so only its hash identifies it"), 0o600))
	hashing := &file{read: &artifact.Facts{}, hashing: true}
	c.open = func(key) (*opened, Reason) {
		f, err := os.Open(path)
		if err != nil {
			return nil, Unreadable
		}
		id, err := identify(f)
		if err != nil {
			return nil, Unreadable
		}
		c.files.ContainsOrAdd(id, hashing)
		return &opened{f, id}, ""
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for pid := range 3 * queuedModules {
		logs := plog.NewLogs()
		record(logs, host, semconv.EventExec, "/bin/true", pid+1, time.Now(), module("/bin/true"))
		c.Apply(ended, logs)
	}
	require.Eventually(t, func() bool { return len(c.modules) == 0 }, 20*time.Second, time.Millisecond)
	require.NoError(t, c.Close(context.Background()))
	assert.LessOrEqual(t, len(hashing.waiting), queuedModules)
	assert.LessOrEqual(t, len(c.asked), queuedModules)
}

func TestConflicts(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop")
	buildGo(t, path, "v1.2.3")
	p := start(t, path, "")
	id := buildID(t, path)
	logs := plog.NewLogs()
	frame := record(logs, host, semconv.EventCall, path, p.pid, p.started, witness.Frame{Symbol: "main.main", Language: "go", Module: witness.Module{Path: path, BuildID: "ffff"}})
	component := record(logs, host, semconv.EventCall, path, p.pid, p.started, witness.Frame{Symbol: "main.main", Language: "go", Component: "pkg:golang/example.com/Shop@v1.2.2", Module: witness.Module{Path: path}})
	claimed := record(logs, host, semconv.EventCall, path, p.pid, p.started, witness.Frame{Symbol: "main.main", Language: "go", Module: witness.Module{Path: path}})
	claimed.PutStr(semconv.ArtifactPURL, "pkg:golang/example.com/Shop@v1.2.2")
	executable := record(logs, host, semconv.EventExec, path, p.pid, p.started, module(path))
	executable.PutStr(semconv.ProcessExecutableBuildIDGNU, "ffff")
	report := newCorrelator(t).Apply(t.Context(), logs)
	assert.Equal(t, 4, report.Conflicts)

	conflicts := func(m pcommon.Map) []any {
		v, ok := m.Get(semconv.WitnessArtifactConflicts)
		require.True(t, ok)
		return v.Slice().AsRaw()
	}
	assert.Equal(t, []any{"build-id:ffff", "build-id:" + id}, conflicts(frame))
	assert.Equal(t, "ffff", witness.StackOf(frame)[0].Module.BuildID)
	assert.Empty(t, witness.StackOf(frame)[0].Component)
	assert.Equal(t, []any{"pkg:golang/example.com/Shop@v1.2.2", "pkg:golang/example.com/Shop@v1.2.3"}, conflicts(component))
	assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.2", witness.StackOf(component)[0].Component)
	assert.Equal(t, []any{"pkg:golang/example.com/Shop@v1.2.2", "pkg:golang/example.com/Shop@v1.2.3"}, conflicts(claimed))
	assert.Equal(t, "pkg:golang/example.com/Shop@v1.2.2", semconv.Text(claimed, semconv.ArtifactPURL))
	for _, name := range []string{semconv.WitnessArtifactIdentityMethod, semconv.ArtifactHash, semconv.ProcessExecutableBuildIDGNU} {
		assert.Empty(t, semconv.Text(claimed, name), "an artifact is one statement")
	}
	assert.Equal(t, []any{"build-id:ffff", "build-id:" + id}, conflicts(executable))
	assert.Empty(t, semconv.Text(executable, semconv.ArtifactPURL))
}

func TestCaches(t *testing.T) {
	dir := t.TempDir()
	buildC(t, dir)
	one, two := filepath.Join(dir, "program"), filepath.Join(dir, "copy")
	b, err := os.ReadFile(one)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(two, b, 0o700))
	first, second := start(t, one, ""), start(t, two, "")
	both := func() plog.Logs {
		logs := plog.NewLogs()
		record(logs, host, semconv.EventExec, one, first.pid, first.started, module(one))
		record(logs, host, semconv.EventExec, two, second.pid, second.started, module(two))
		return logs
	}
	t.Run("files of one content share their facts", func(t *testing.T) {
		c := newCorrelator(t)
		assert.Equal(t, 2, c.Apply(t.Context(), both()).Resolved)
		files := c.files.Values()
		require.Len(t, files, 2)
		assert.Same(t, files[0].facts.Load(), files[1].facts.Load())
	})
	t.Run("are bounded", func(t *testing.T) {
		c := newCorrelator(t, func(o *Options) { o.CacheSize = 1 })
		report := c.Apply(t.Context(), both())
		assert.Equal(t, 2, report.Resolved)
		report2 := c.Apply(t.Context(), plog.NewLogs())
		assert.GreaterOrEqual(t, report.Evicted+report2.Evicted, int64(2), "an answer and a file")
		assert.Equal(t, 1, c.answers.Len())
	})
	t.Run("remember for a while that nothing is known", func(t *testing.T) {
		c := newCorrelator(t)
		var opens atomic.Int32
		c.open = func(key) (*opened, Reason) {
			opens.Add(1)
			return nil, Gone
		}
		logs := both()
		c.Apply(t.Context(), logs)
		c.Apply(t.Context(), logs)
		assert.Equal(t, int32(2), opens.Load())
	})
	t.Run("a file that is too large has no hash", func(t *testing.T) {
		logs := both()
		newCorrelator(t, func(o *Options) { o.MaxFileSize = 10 }).Apply(t.Context(), logs)
		m := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes()
		assert.Equal(t, "2222222222", semconv.Text(m, semconv.ProcessExecutableBuildIDGNU))
		assert.Empty(t, semconv.Text(m, semconv.ArtifactHash))
	})
}

func TestLibraryWithoutBuildID(t *testing.T) {
	dir := t.TempDir()
	buildC(t, dir)
	library := filepath.Join(dir, "libwork.so")
	buildLibrary(t, library, "1", "")
	p := start(t, filepath.Join(dir, "program"), "")
	logs := plog.NewLogs()
	m := record(logs, host, semconv.EventLoad, filepath.Join(dir, "program"), p.pid, p.started, module(library))
	newCorrelator(t).Apply(t.Context(), logs)
	assert.Equal(t, witness.Module{Path: library, SHA256: sum(t, library)}, witness.StackOf(m)[0].Module)
}

func TestCloseLeavesAHangingWorker(t *testing.T) {
	c, err := New(Options{Proc: "/proc", Host: host, Workers: 1, Deadline: time.Millisecond, CacheSize: 1, MaxFileSize: 1})
	require.NoError(t, err)
	hang := make(chan struct{})
	c.open = func(key) (*opened, Reason) {
		<-hang
		return nil, Gone
	}
	c.Apply(t.Context(), logsOf("/bin/true"))
	ended, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, c.Close(ended), context.Canceled)
	close(hang)
	require.NoError(t, c.Close(t.Context()))
}

func TestFindMapping(t *testing.T) {
	const maps = `00400000-00452000 r-xp 00000000 08:02 173521                             /usr/bin/my app
00651000-00652000 r--p 00051000 08:02 173521                             /usr/bin/my app
7f00-7f10 r--p 00000000 fe:01 131 /usr/lib/libc.so.6
7f10-7f20 r-xp 00010000 fe:01 131 /usr/lib/libc.so.6
7f20-7f30 r-xp 00010000 fe:01 131 /usr/lib/libc.so.6
7f30-7f40 r-xp 00000000 fe:01 140 /usr/lib/old.so (deleted)
7f50-7f60 r-xp 00000000 fe:01 150 /usr/lib/twice.so
7f60-7f70 r-xp 00000000 fe:01 151 /usr/lib/twice.so
7f70-7f80 r--p 00000000 fe:01 160 /usr/share/data
7f80-7f90 r-xp 00000000 00:00 0 [vdso]
7f90-7fa0 r-xp 00000000 fe:01 170 /srv/jail/lib/x.so
7fa0-7fb0 rwxp 00000000 00:00 0
what else
`
	for name, c := range map[string]struct {
		root, path string
		start, end uint64
		dev, inode uint64
		reason     Reason
	}{
		"with a space, low address": {"/", "/usr/bin/my app", 0x400000, 0x452000, unix.Mkdev(8, 2), 173521, ""},
		"the executable part":       {"/", "/usr/lib/libc.so.6", 0x7f10, 0x7f20, unix.Mkdev(0xfe, 1), 131, ""},
		"deleted":                   {"/", "/usr/lib/old.so", 0x7f30, 0x7f40, unix.Mkdev(0xfe, 1), 140, ""},
		"two files":                 {"/", "/usr/lib/twice.so", 0, 0, 0, 0, Ambiguous},
		"not executable":            {"/", "/usr/share/data", 0, 0, 0, 0, NotMapped},
		"no file":                   {"/", "[vdso]", 0, 0, 0, 0, NotMapped},
		"in a chroot":               {"/srv/jail", "/lib/x.so", 0x7f90, 0x7fa0, unix.Mkdev(0xfe, 1), 170, ""},
		"in another chroot":         {"/srv/other", "/lib/x.so", 0, 0, 0, 0, NotMapped},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "7")
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "stat"), []byte("7 (x) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 9"), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "maps"), []byte(maps), 0o600))
			require.NoError(t, os.Symlink(c.root, filepath.Join(dir, "root")))
			p, err := procfs.New(root).Open(7)
			require.NoError(t, err)
			defer p.Close()
			m, reason := findMapping(p, c.root, c.path)
			assert.Equal(t, c.reason, reason)
			if c.reason == "" {
				assert.Equal(t, []uint64{c.start, c.end, c.dev, c.inode}, []uint64{m.Start, m.End, m.Dev, m.Inode})
			}
		})
	}
}

// FuzzApply feeds records of any form: nothing panics, and no record is lost.
func FuzzApply(f *testing.F) {
	logs := plog.NewLogs()
	record(logs, host, semconv.EventExec, "/bin/true", 1, time.Unix(0, 1), module("/bin/true"))
	record(logs, host, semconv.EventCall, "/bin/true", 1, time.Unix(0, 1), module("/bin/false"))
	m := record(logs, host, semconv.EventCall, "/bin/true", 1, time.Unix(0, 1))
	m.PutStr(semconv.WitnessStack, "no slice")
	m = record(logs, host, semconv.EventLoad, "/bin/true", 1, time.Unix(0, 1))
	m.PutEmptySlice(semconv.WitnessStack).AppendEmpty().SetInt(1)
	m.PutStr(semconv.ProcessPID, "no number")
	m.PutStr(semconv.WitnessArtifactConflicts, "no list")
	b, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	require.NoError(f, err)
	f.Add(b)
	c := newCorrelator(f, func(o *Options) { o.Workers = 0 }) // the answers are there, or never come
	facts := &artifact.Facts{BuildID: "abcd", IsGo: true, Main: artifact.Module{Path: "example.com/x"}}
	known := &file{complete: true}
	known.facts.Store(facts)
	for _, e := range []string{"/bin/true", "/bin/false"} {
		c.remember(key{process{pid: 1, created: 1, exe: "/bin/true"}, e}, answer{file: known})
	}
	ended, end := context.WithCancel(f.Context())
	end()
	f.Fuzz(func(t *testing.T, b []byte) {
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(b)
		if err != nil {
			return
		}
		records := logs.LogRecordCount()
		c.Apply(ended, logs)
		assert.Equal(t, records, logs.LogRecordCount())
	})
}

func BenchmarkApply(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "shop")
	buildGo(b, path, "v1.2.3")
	p := start(b, path, "")
	batch := func(event string) plog.Logs {
		logs := plog.NewLogs()
		resource := logs.ResourceLogs().AppendEmpty()
		resource.Resource().Attributes().PutStr(semconv.HostName, host)
		for range 1000 {
			one := plog.NewLogs()
			record(one, host, event, path, p.pid, p.started,
				witness.Frame{Symbol: "github.com/google/uuid.UUID.String", Module: witness.Module{Path: path}},
				witness.Frame{Symbol: "main.main", Module: witness.Module{Path: path}})
			one.ResourceLogs().At(0).ScopeLogs().MoveAndAppendTo(resource.ScopeLogs())
		}
		return logs
	}
	c := newCorrelator(b)
	c.Apply(b.Context(), batch(semconv.EventCall))
	for name, event := range map[string]string{"1000 calls, warm": semconv.EventCall, "1000 events that are not correlated": semconv.EventExit} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			logs := batch(event)
			for b.Loop() {
				b.StopTimer()
				fresh := plog.NewLogs()
				logs.CopyTo(fresh)
				b.StartTimer()
				c.Apply(b.Context(), fresh)
			}
		})
	}
}
