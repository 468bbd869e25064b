package ebpfreceiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// executing executes what it is given; at the same address as all programs that are not position independent.
func executingProgram(t testing.TB) string {
	return compile(t, "gcc", "e.c", `
#include <unistd.h>
int main(int argc, char **argv) { if (argc > 1) execv(argv[1], argv + 1); return 0; }`, "-O1", "-no-pie")
}

func copyOf(t testing.TB, from, to string) string {
	t.Helper()
	content, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, content, 0o700))
	return to
}

// A process that executes one program after the other loads each as what it is then.
func TestLoadsOfProgramsThatExecuteOthers(t *testing.T) {
	original := executingProgram(t)
	dir := t.TempDir()
	const chains, length = 60, 4
	var programs [chains][]string
	for i := range programs {
		for j := range length {
			programs[i] = append(programs[i], copyOf(t, original, filepath.Join(dir, fmt.Sprint("p", i, ".", j))))
		}
	}
	w := watch(t, func(c *Config) { c.Interval = 10 * time.Second })
	var all sync.WaitGroup
	for half := range 2 {
		all.Go(func() {
			for i := half; i < chains; i += 2 {
				assert.NoError(t, exec.Command(programs[i][0], programs[i][1:]...).Run())
			}
		})
	}
	all.Wait()
	time.Sleep(500 * time.Millisecond)
	w.shutdown()
	found, wrong := 0, 0
	for _, r := range w.records(semconv.EventLoad) {
		module := witness.StackOf(r.Attributes())[0].Module
		if !strings.HasPrefix(module.Path, dir) {
			continue
		}
		found++
		if own := r.text(semconv.ProcessExecutablePath); own != module.Path {
			wrong++
			t.Logf("%s of %s", module.Path, own)
		}
	}
	assert.Equal(t, chains*length, found)
	assert.Zero(t, wrong)
}

// The end of a process is told once, though its threads end at the same time.
func TestAProcessEndsOnce(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, nil)
	const processes = 100
	for range processes {
		require.NoError(t, exec.Command(path, "20000", "12").Run())
	}
	time.Sleep(300 * time.Millisecond)
	w.shutdown()
	ends := map[int64]int{}
	for _, r := range w.records(semconv.EventExit) {
		if r.text(semconv.ProcessExecutablePath) == path {
			ends[r.number(semconv.ProcessPID)]++
		}
	}
	assert.Len(t, ends, processes)
	for pid, n := range ends {
		assert.Equal(t, 1, n, pid)
	}
}

// rewrittenPrograms have a function in different places.
func rewrittenPrograms(t testing.TB) (first, second string) {
	source := `
__attribute__((noinline)) void counted(void) { __asm__ volatile("push %rbp\n pop %rbp"); }
int main(void) { for (int i = 0; i < 7; i++) counted(); return 0; }`
	return compile(t, "gcc", "c.c", source, "-O1"),
		compile(t, "gcc", "c.c", "void before(void) { __asm__ volatile(\".skip 64, 0x90\"); }"+source, "-O1")
}

// A file that is written anew is another one, though it has the same inode.
func TestAFileThatIsWrittenAnew(t *testing.T) {
	first, second := rewrittenPrograms(t)
	path := copyOf(t, first, filepath.Join(t.TempDir(), "program"))
	w := watch(t, probing(path, "counted"))
	w.learn(path, "counted")
	require.NoError(t, exec.Command(path).Run())
	copyOf(t, second, path)
	require.Eventually(t, func() bool {
		require.NoError(t, exec.Command(path).Run())
		time.Sleep(100 * time.Millisecond)
		ids := map[string]bool{}
		for _, r := range w.records(semconv.EventCall) {
			ids[witness.StackOf(r.Attributes())[0].Module.BuildID] = true
		}
		return len(ids) > 1
	}, 6*time.Second, time.Millisecond)
	w.shutdown()
	assert.Zero(t, w.hits("counted")%7)
}

// A file is what each of its names says.
func TestAFileWithTwoNames(t *testing.T) {
	original := countingProgram(t)
	dir := t.TempDir()
	other := copyOf(t, original, filepath.Join(dir, "other"))
	path := filepath.Join(dir, "program")
	require.NoError(t, os.Link(other, path))
	w := watch(t, probing(path, "counted"))
	require.NoError(t, exec.Command(other, "0").Run())
	w.await(semconv.EventLoad, func(r record) bool { return witness.StackOf(r.Attributes())[0].Module.Path == other })
	w.learn(path, "counted")
	w.await(semconv.EventLoad, func(r record) bool { return witness.StackOf(r.Attributes())[0].Module.Path == path })
}

// The same of processes that run already.
func TestAFileThatRunsUnderTwoNames(t *testing.T) {
	dir := t.TempDir()
	other := copyOf(t, countingProgram(t), filepath.Join(dir, "other"))
	path := filepath.Join(dir, "program")
	require.NoError(t, os.Link(other, path))
	for _, name := range []string{other, path} {
		command := exec.Command(name, "3", "1", "0", "4000")
		require.NoError(t, command.Start())
		defer func() { _ = command.Wait() }()
	}
	w := watch(t, probing(path, "counted"))
	require.Eventually(t, func() bool { return w.hits("counted") == 6 }, 20*time.Second, 20*time.Millisecond)
	names := map[string]bool{}
	for _, r := range w.records(semconv.EventCall) {
		module := witness.StackOf(r.Attributes())[0].Module.Path
		assert.Equal(t, r.text(semconv.ProcessExecutablePath), module)
		names[module] = true
	}
	assert.Len(t, names, 2)
}

// stuck takes nothing, until it is open.
type stuck struct{ open atomic.Bool }

func (*stuck) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *stuck) ConsumeLogs(context.Context, plog.Logs) error {
	if s.open.Load() {
		return nil
	}
	return errors.New("not now")
}

// A probe over budget is taken away also while the pipeline takes nothing.
func TestBudgetWhileThePipelineIsStuck(t *testing.T) {
	if os.Getuid() != 0 {
		skip(t, "needs root")
	}
	path := countingProgram(t)
	config := createDefaultConfig().(*Config)
	config.Interval = time.Second
	probing(path, "counted")(config)
	config.Probes.Budget = 0.001
	command := exec.Command(path, "1000000000000")
	require.NoError(t, command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	next := &stuck{}
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), config, next)
	require.NoError(t, err)
	if err := r.Start(t.Context(), componenttest.NewNopHost()); err != nil {
		skip(t, "needs eBPF: %v", err)
	}
	defer func() { require.NoError(t, r.Shutdown(context.Background())) }()
	original, at := firstBytes(t, path)
	probed := func() bool { return string(original) != string(memory(t, command.Process.Pid, at)) }
	require.Eventually(t, probed, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return !probed() }, 5*time.Second, 10*time.Millisecond)
	next.open.Store(true)
}

// Hits of processes of which nothing was told are forgotten too when they have ended.
func TestHitsOfUnknownProcesses(t *testing.T) {
	path := countingProgram(t)
	config := createDefaultConfig().(*Config)
	kernel, err := bpf.Open(bpf.Options{})
	if err != nil {
		skip(t, "needs eBPF: %v", err)
	}
	defer kernel.Close()
	used, refused := kernel.PrepareCalls()
	require.NotEmpty(t, used, "%v", refused)
	settings := receivertest.NewNopSettings(metadata.Type)
	next := &consumertest.LogsSink{}
	logs, err := newReceiver(settings, config, next)
	require.NoError(t, err)
	r := logs.(*ebpfReceiver)
	r.kernel = kernel
	e, err := newEngine(r, "test", nil)
	require.NoError(t, err)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	_, at := firstBytes(t, path)
	attached, err := kernel.Attach(f, []bpf.Probe{{ID: 0, Offset: at - 0x400000}})
	require.NoError(t, err)
	defer attached.Close()
	e.probes[0] = &probe{file: &file{path: path}}
	for range 3 {
		require.NoError(t, exec.Command(path, "5").Run())
	}
	e.drain(time.Second)
	assert.EqualValues(t, 15, e.total.hits)
	e.drain(2 * time.Second)
	assert.EqualValues(t, 15, e.total.hits)
	left := 0
	require.NoError(t, kernel.Hits(func(bpf.HitKey, bpf.Hit) { left++ }))
	assert.Zero(t, left)
	assert.Empty(t, e.counted)
}

// In a full table, fewer processes are watched than were seen.
func TestAFullTableOfProcesses(t *testing.T) {
	w := watch(t, func(c *Config) { c.Limits.Processes = 2 })
	require.NoError(t, exec.Command("/bin/true").Run())
	w.await(semconv.EventCoverage, func(r record) bool {
		watched, seen := r.number(semconv.WitnessCoverageProcessesWatched), r.number(semconv.WitnessCoverageProcessesSeen)
		return watched == 2 && seen > 2
	})
}

// A process whose start was lost is found by looking at what runs, also when it was taken for what its parent runs.
func TestProcessesWhoseStartWasLost(t *testing.T) {
	dir := t.TempDir()
	var programs []string
	for i := range 20 {
		programs = append(programs, copyOf(t, "/bin/sleep", filepath.Join(dir, strconv.Itoa(i))))
	}
	w := watch(t, func(c *Config) { c.Limits.Ring = minRing })
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				assert.NoError(t, exec.Command("/bin/true").Run())
			}
		})
	}
	for _, program := range programs {
		command := exec.Command(program, "60")
		require.NoError(t, command.Start())
		defer func() {
			_ = command.Process.Kill()
			_ = command.Wait()
		}()
	}
	all.Wait()
	w.await(semconv.EventLoss, func(r record) bool { return r.text(semconv.WitnessLossStage) == stageProcesses })
	for _, program := range programs {
		w.await(semconv.EventExec, func(r record) bool { return r.text(semconv.ProcessExecutablePath) == program })
	}
}
