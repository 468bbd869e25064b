package bpf

import (
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/features"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/perf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/testprogram"

	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/waiter"
)

// skip skips a test that this machine cannot run, or fails it where all must run.
func skip(t testing.TB, why string, about ...any) {
	t.Helper()
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatalf(why, about...)
	}
	t.Skipf(why, about...)
}

func open(t testing.TB, o Options) *Kernel {
	t.Helper()
	k, err := Open(o)
	if err != nil {
		skip(t, "needs CAP_BPF and CAP_PERFMON: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

// until reads events until done says so.
func until(t testing.TB, k *Kernel, done func(Event) bool) {
	t.Helper()
	w, err := waiter.New(k.File())
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	for began, ended := time.Now(), false; !ended; {
		require.Less(t, time.Since(began), 20*time.Second, "nothing came")
		require.NoError(t, w.Wait(50*time.Millisecond))
		read(t, k, func(e *Event) { ended = ended || done(*e) })
	}
}

// read reads what there is.
func read(t testing.TB, k *Kernel, do func(*Event)) {
	t.Helper()
	require.NoError(t, k.Read(do, func() { t.Error("an event that cannot be read") }))
}

// build compiles a C program.
func build(t testing.TB, source string, flags ...string) string {
	t.Helper()
	path, err := testprogram.Build(t, func(path string) error {
		require.NoError(t, os.WriteFile(path+".c", []byte(source), 0o600))
		out, err := exec.Command("gcc", append(flags, "-o", path, path+".c")...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}, append(flags, source)...)
	if err != nil {
		skip(t, "needs gcc: %v", err)
	}
	return path
}

func countingProgram(t testing.TB) string {
	t.Helper()
	return build(t, counting, "-O1", "-fno-omit-frame-pointer", "-pthread")
}

// executingProgram executes what it is given, with the rights of another user.
func executingProgram(t testing.TB) string {
	t.Helper()
	return build(t, `
#define _GNU_SOURCE
#include <unistd.h>
int main(int argc, char **argv) { return argc < 2 || setreuid(65534, 0) || execv(argv[1], argv + 1); }`)
}

// TestPrograms builds what the other tests need, for where there is no compiler.
func TestPrograms(t *testing.T) {
	testprogram.Keeping(t)
	countingProgram(t)
	manyProgram(t)
	executingProgram(t)
}

// offsetOf is where a function is in a file.
func offsetOf(t testing.TB, path, name string) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	symbols, err := f.Symbols()
	require.NoError(t, err)
	for _, s := range symbols {
		if s.Name != name {
			continue
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && s.Value >= p.Vaddr && s.Value < p.Vaddr+p.Filesz {
				return s.Value - p.Vaddr + p.Off
			}
		}
	}
	t.Fatalf("%s has no function %s", path, name)
	return 0
}

const counting = `
#include <stdlib.h>
#include <unistd.h>
#include <pthread.h>
__attribute__((noinline)) void counted(void) { __asm__ volatile(""); }
__attribute__((noinline)) void other(void) { __asm__ volatile(""); }
static int times;
static void *run(void *x) { for (int i = 0; i < times; i++) counted(); return x; }
int main(int argc, char **argv) {
  times = argc > 1 ? atoi(argv[1]) : 1;
  int threads = argc > 2 ? atoi(argv[2]) : 1;
  pthread_t all[64];
  for (int i = 1; i < threads; i++) pthread_create(&all[i], 0, run, 0);
  run(0);
  for (int i = 1; i < threads; i++) pthread_join(all[i], 0);
  return 0;
}`

func TestProcesses(t *testing.T) {
	for _, h := range processHooks {
		t.Run(h.name, func(t *testing.T) {
			k := open(t, Options{})
			used, refused := k.attach(h)
			require.NotEmpty(t, used, "%v", refused)
			processesAreTold(t, k)
		})
	}
	used, _ := open(t, Options{}).WatchProcesses()
	assert.Equal(t, "tp_btf", used)
}

func processesAreTold(t *testing.T, k *Kernel) {
	t.Helper()
	command := exec.Command("/bin/sh", "-c", "exit 3")
	require.Error(t, command.Run())
	pid := uint32(command.Process.Pid)
	var forked, executed, exited Event
	until(t, k, func(e Event) bool {
		if e.Process.PID == pid {
			switch e.Type {
			case EventFork:
				forked = e
			case EventExec:
				executed = e
			case EventExit:
				exited = e
				return true
			}
		}
		return false
	})
	info, err := os.Stat("/bin/sh")
	require.NoError(t, err)
	assert.Equal(t, "/bin/sh", executed.Filename)
	assert.Equal(t, statInode(info), executed.Program.File.Inode)
	assert.Equal(t, uint32(os.Getpid()), executed.Parent.PID)
	assert.Equal(t, uint32(os.Getuid()), executed.UID)
	assert.Equal(t, executed.Process, exited.Process)
	assert.Equal(t, executed.Process, forked.Process)
	assert.EqualValues(t, 3<<8, exited.ExitCode)
	link, err := os.Readlink("/proc/self/ns/mnt")
	require.NoError(t, err)
	assert.Equal(t, link, fmt.Sprintf("mnt:[%d]", executed.Program.MountNamespace))
	assert.NotEmpty(t, executed.Cgroups[0])
	counts, err := k.Counts()
	require.NoError(t, err)
	assert.Positive(t, counts.Submitted)
	assert.Zero(t, counts.ProcessesLost)
}

// A script is executed by another program, and with the rights of another user.
func TestWhatIsExecuted(t *testing.T) {
	path := executingProgram(t)
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/true\n"), 0o700))
	k := open(t, Options{})
	used, refused := k.WatchProcesses()
	require.NotEmpty(t, used, "%v", refused)
	command := exec.Command(path, script)
	require.NoError(t, command.Run())
	var executed []Event
	until(t, k, func(e Event) bool {
		if e.Process.PID == uint32(command.Process.Pid) && e.Type == EventExec {
			executed = append(executed, e)
		}
		return len(executed) == 2
	})
	assert.Equal(t, path, executed[0].Filename)
	assert.Equal(t, "/bin/true", executed[1].Filename)
	assert.Zero(t, executed[1].UID)
}

// Every call is counted, of every process and thread, and of no other function.
func TestCallsAreCountedExactly(t *testing.T) {
	k := open(t, Options{Stacks: true})
	used, refused := k.PrepareCalls()
	require.NotEmpty(t, used, "%v", refused)
	t.Logf("hook %s, refused %v", used, refused)
	path := countingProgram(t)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	attached, err := k.Attach(f, []Probe{{7, offsetOf(t, path, "counted")}, {8, offsetOf(t, path, "other")}})
	require.NoError(t, err)
	const processes, calls, threads = 5, 1000, 4
	for range processes {
		require.NoError(t, exec.Command(path, strconv.Itoa(calls), strconv.Itoa(threads)).Run())
	}
	const alone = 3
	for range alone {
		require.NoError(t, exec.Command(path, strconv.Itoa(calls*threads)).Run())
	}
	got := map[HitKey]Hit{}
	require.NoError(t, k.Hits(func(key HitKey, h Hit) { got[key] = h }))
	require.Len(t, got, processes+alone)
	for key, h := range got {
		assert.EqualValues(t, 7, key.Probe)
		assert.EqualValues(t, calls*threads, h.Hits)
		assert.LessOrEqual(t, h.First, h.Last)
		require.NoError(t, k.Forget(key))
	}
	first, looked := 0, 0
	until(t, k, func(e Event) bool {
		assert.Equal(t, EventFirstHit, e.Type)
		assert.EqualValues(t, 7, e.Probe)
		require.NotEmpty(t, e.Frames)
		info, err := f.Stat()
		require.NoError(t, err)
		if e.Frames[0].File != (FileID{}) { // other threads can hold the lock of the mappings
			looked++
			assert.Equal(t, statInode(info), e.Frames[0].File.Inode)
			assert.Equal(t, offsetOf(t, path, "counted"), e.Frames[0].Offset)
		}
		first++
		return first == processes+alone
	})
	assert.GreaterOrEqual(t, looked, alone)
	require.NoError(t, attached.Close())
	time.Sleep(100 * time.Millisecond) // a breakpoint can outlive its link a little
	require.NoError(t, exec.Command(path, "10").Run())
	require.NoError(t, k.Hits(func(HitKey, Hit) { t.Error("a hit after the probes were taken away") }))
}

func TestConnects(t *testing.T) {
	k := open(t, Options{})
	used, refused := k.WatchConnects()
	require.NotEmpty(t, used, "%v", refused)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	connection, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, connection.Close())
	until(t, k, func(e Event) bool { return e.Type == EventConnect && e.Process.PID == uint32(os.Getpid()) })
}

// many is how many instructions of its own the program of manyProgram has.
const many = 64

func manyProgram(t testing.TB) string {
	t.Helper()
	return build(t, fmt.Sprintf(`
__attribute__((noinline)) void counted(void) { __asm__ volatile(".rept %d\nnop\n.endr"); }
int main(void) { counted(); return 0; }`, many), "-O1", "-fomit-frame-pointer", "-fcf-protection=none")
}

// However long the kernel takes to take probes away, none of them counts any more: their functions are probed anew meanwhile.
func TestClosedProbesDoNotCount(t *testing.T) {
	k := open(t, Options{})
	used, _ := k.PrepareCalls()
	require.NotEmpty(t, used)
	path := manyProgram(t)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var probes []Probe
	for i := range uint32(many) {
		probes = append(probes, Probe{i, offsetOf(t, path, "counted") + uint64(i)})
	}
	attach := func() *Attachment {
		began := time.Now()
		attached, err := k.Attach(f, probes)
		require.NoError(t, err)
		t.Logf("%d probes by %s attached in %v", many, used, time.Since(began))
		return attached
	}
	total := func() (n uint64) {
		require.NoError(t, exec.Command(path).Run())
		require.NoError(t, k.Hits(func(_ HitKey, h Hit) { n += h.Hits }))
		return n
	}
	attached := attach()
	require.EqualValues(t, many, total())
	began := time.Now()
	require.NoError(t, attached.Close())
	t.Logf("closed in %v", time.Since(began))
	require.EqualValues(t, many, total())
	attached = attach()
	require.EqualValues(t, 2*many, total())
	require.NoError(t, attached.Close())
}

// What does not fit is counted: every hit is told or lost, and so is every event.
func TestLossIsExact(t *testing.T) {
	k := open(t, Options{Hits: 2, Ring: 4096})
	used, _ := k.PrepareCalls()
	require.NotEmpty(t, used)
	path := countingProgram(t)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	attached, err := k.Attach(f, []Probe{{1, offsetOf(t, path, "counted")}})
	require.NoError(t, err)
	const processes, calls = 9, 100
	for range processes {
		require.NoError(t, exec.Command(path, strconv.Itoa(calls)).Run())
	}
	require.NoError(t, attached.Close())
	var hits uint64
	require.NoError(t, k.Hits(func(_ HitKey, h Hit) { hits += h.Hits }))
	counts, err := k.Counts()
	require.NoError(t, err)
	assert.Positive(t, counts.HitsLost)
	assert.EqualValues(t, processes*calls, hits+counts.HitsLost)
	of, err := k.Lost(1)
	require.NoError(t, err)
	assert.Equal(t, counts.HitsLost, of)

	n := uint64(0)
	read(t, k, func(*Event) { n++ })
	assert.Equal(t, counts.Submitted, n)
}

// A known program is told, and wakes nobody. Changed, it is another one.
func TestKnownProgramsDoNotEndWaiting(t *testing.T) {
	k := open(t, Options{})
	used, _ := k.WatchProcesses()
	require.NotEmpty(t, used)
	content, err := os.ReadFile("/bin/true")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, content, 0o700))
	started := func() (program Program, woken bool) {
		w, err := waiter.New(k.File())
		require.NoError(t, err)
		defer func() { require.NoError(t, w.Close()) }()
		read(t, k, func(*Event) {})
		ended := make(chan error, 1)
		go func() { ended <- w.Wait(time.Hour) }()
		time.Sleep(20 * time.Millisecond) // until it waits
		read(t, k, func(*Event) {})
		require.NoError(t, exec.Command(path).Run())
		select {
		case <-ended:
			woken = true
		case <-time.After(100 * time.Millisecond):
		}
		require.NoError(t, w.Stop())
		read(t, k, func(e *Event) {
			if e.Type == EventExec && e.Filename == path {
				program = e.Program
			}
		})
		require.NotZero(t, program)
		return program, woken
	}
	program, woken := started()
	assert.True(t, woken)
	info, err := os.Stat(path)
	require.NoError(t, err)
	changed := info.Sys().(*syscall.Stat_t).Ctim
	assert.Equal(t, changed.Nano(), program.Changed)
	require.NoError(t, k.Know(program))
	require.Eventually(t, func() bool { // others start programs too
		again, woken := started()
		assert.Equal(t, program, again)
		return !woken
	}, 20*time.Second, time.Millisecond)
	require.NoError(t, os.Chmod(path, 0o750))
	other, woken := started()
	assert.True(t, woken)
	assert.NotEqual(t, program, other)
}

func TestFullRing(t *testing.T) {
	k := open(t, Options{Ring: 4096})
	used, _ := k.WatchProcesses()
	require.NotEmpty(t, used)
	const processes = 50
	for range processes {
		require.NoError(t, exec.Command("/bin/true").Run())
	}
	before, err := k.Counts()
	require.NoError(t, err)
	assert.Positive(t, before.ProcessesLost)
	assert.GreaterOrEqual(t, before.Submitted+before.ProcessesLost, uint64(3*processes))
	n := uint64(0)
	read(t, k, func(*Event) { n++ })
	after, err := k.Counts()
	require.NoError(t, err)
	assert.Equal(t, after.Submitted, n)
}

func TestMapped(t *testing.T) {
	k := open(t, Options{})
	command := exec.Command("/bin/sleep", "60")
	require.NoError(t, command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	info, err := os.Stat("/bin/sleep")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		files := map[uint64]int{}
		err := k.Mapped(func(m Mapping) {
			if m.Process.PID == uint32(command.Process.Pid) {
				files[m.File.Inode]++
				assert.Positive(t, m.Process.Start)
				assert.Positive(t, m.Start)
			}
		})
		require.NoError(t, err)
		return files[statInode(info)] == 1 && len(files) >= 3
	}, 10*time.Second, 50*time.Millisecond)
}

// Which capabilities what takes: of a user who is not root, and has only those that are ambient.
func TestCapabilities(t *testing.T) {
	if path := os.Getenv("WITNESS_TEST_PROBE"); path != "" {
		capable(t, path)
		return
	}
	if os.Getuid() != 0 {
		skip(t, "needs root to give it up")
	}
	dir, err := os.MkdirTemp("/tmp", "capabilities") // that others may enter
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	own, program := filepath.Join(dir, "test"), filepath.Join(dir, "program")
	for to, from := range map[string]string{own: "/proc/self/exe", program: countingProgram(t)} {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, content, 0o755))
	}
	paranoid, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	require.NoError(t, err)
	// On Debian 3 is the default, and only CAP_SYS_ADMIN may open perf events then.
	perfmon := strings.TrimSpace(string(paranoid)) <= "2"
	multi := features.HaveBPFLinkUprobeMulti() == nil
	t.Logf("perf_event_paranoid %s, uprobe.multi %v", strings.TrimSpace(string(paranoid)), multi)
	with := func(perf, bpf, calls bool) string {
		var all []string
		if perf {
			all = append(all, "perf")
		}
		if bpf {
			all = append(all, "maps", "processes", "connects", "mapped")
		}
		if calls {
			all = append(all, "calls", "attached")
		}
		return strings.Join(all, " ")
	}
	for _, of := range []struct {
		capabilities []uintptr
		want         string
	}{
		{nil, ""},
		{[]uintptr{unix.CAP_PERFMON}, with(perfmon, false, false)},
		{[]uintptr{unix.CAP_BPF}, "maps"},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, with(perfmon, true, multi)},
		{[]uintptr{unix.CAP_SYS_ADMIN}, with(true, true, true)},
	} {
		command := exec.Command(own, "-test.run=^TestCapabilities$", "-test.v")
		command.Env, command.Dir = []string{"WITNESS_TEST_PROBE=" + program}, "/"
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: of.capabilities}
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, did, found := strings.Cut(string(out), "capable of:")
		require.True(t, found, "%s", out)
		did, _, _ = strings.Cut(did, "\n")
		assert.Equal(t, of.want, strings.TrimSpace(did), "%v: %s", of.capabilities, out)
	}
}

func capable(t *testing.T, path string) {
	var did []string
	try := func(what string, err error) bool {
		if err == nil {
			did = append(did, what)
		} else {
			t.Log(what, err)
		}
		return err == nil
	}
	hook := func(used string, refused []Refusal) error {
		if used == "" {
			return fmt.Errorf("%v", refused)
		}
		return nil
	}
	defer func() { fmt.Println("capable of:", strings.Join(did, " ")) }()
	reader, err := perf.Open(perf.Options{})
	if try("perf", err) {
		require.NoError(t, reader.Close())
	}
	k, err := Open(Options{Stacks: true})
	if !try("maps", err) {
		return
	}
	try("processes", hook(k.WatchProcesses()))
	try("connects", hook(k.WatchConnects()))
	try("mapped", k.Mapped(func(Mapping) {}))
	if try("calls", hook(k.PrepareCalls())) {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		attached, err := k.Attach(f, []Probe{{1, offsetOf(t, path, "counted")}})
		if try("attached", err) {
			require.NoError(t, attached.Close())
		}
	}
	require.NoError(t, k.Close())
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0})
	f.Add(append([]byte{5, 0, 0, 0}, make([]byte, 2000)...))
	f.Add(append([]byte{1, 0, 0, 0}, []byte(strings.Repeat("x", 2000))...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decode(raw)
		if err != nil && !errors.Is(err, errEvent) {
			t.Fatal(err)
		}
		if len(e.Frames) > 32 || len(e.Filename) > 512 {
			t.Fatal("more than an event has room for")
		}
	})
}

func statInode(info os.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }
