package ebpfreceiver

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/bpf"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/testprogram"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// skip skips a test that this machine cannot run, or fails it where all must run.
func skip(t testing.TB, why string, about ...any) {
	t.Helper()
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatalf(why, about...)
	}
	t.Skipf(why, about...)
}

// watching is a receiver that runs.
type watching struct {
	t    testing.TB
	r    receiver.Logs
	sink *consumertest.LogsSink
	stop sync.Once
}

// watch starts a receiver that looks every second.
func watch(t testing.TB, change func(*Config)) *watching {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "needs root")
	}
	config := createDefaultConfig().(*Config)
	config.Interval = time.Second
	config.Batch.FlushInterval = 10 * time.Millisecond
	config.Signals.Containment = false
	if change != nil {
		change(config)
	}
	require.NoError(t, config.Validate())
	w := &watching{t: t, sink: &consumertest.LogsSink{}}
	var err error
	w.r, err = NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), config, w.sink)
	require.NoError(t, err)
	if err := w.r.Start(t.Context(), componenttest.NewNopHost()); err != nil {
		skip(t, "needs eBPF: %v", err)
	}
	t.Cleanup(w.shutdown)
	require.Eventually(t, func() bool { return len(w.records(semconv.EventStatus)) > 0 }, 20*time.Second, 10*time.Millisecond)
	return w
}

func (w *watching) shutdown() {
	w.stop.Do(func() { require.NoError(w.t, w.r.Shutdown(context.Background())) })
}

// record is a record and its resource.
type record struct {
	plog.LogRecord
	resource pcommon.Map
}

func (r record) text(name string) string { return semconv.Text(r.Attributes(), name) }

func (r record) number(name string) int64 {
	v, _ := r.Attributes().Get(name)
	return v.Int()
}

// records are those of an event that came so far.
func (w *watching) records(event string) (found []record) {
	for _, logs := range w.sink.AllLogs() {
		for _, resource := range logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, r := range scope.LogRecords().All() {
					if r.EventName() == event {
						found = append(found, record{r, resource.Resource().Attributes()})
					}
				}
			}
		}
	}
	return found
}

// valid checks everything that came against the model.
func (w *watching) valid() {
	w.t.Helper()
	for _, logs := range w.sink.AllLogs() {
		for _, err := range semconv.Validate(logs) {
			assert.NoError(w.t, err)
		}
	}
}

// await waits for records of an event that are right.
func (w *watching) await(event string, right func(record) bool) record {
	w.t.Helper()
	var found record
	require.Eventually(w.t, func() bool {
		for _, r := range w.records(event) {
			if right(r) {
				found = r
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond, event)
	return found
}

func (w *watching) attached(symbol string) record {
	w.t.Helper()
	return w.await(semconv.EventStatus, func(r record) bool {
		stack := witness.StackOf(r.Attributes())
		return r.text(semconv.WitnessStatusState) == witness.StateAttached && len(stack) == 1 && stack[0].Member == symbol
	})
}

// hits adds up the calls of a function.
func (w *watching) hits(symbol string) (n int64) {
	for _, r := range w.records(semconv.EventCall) {
		if stack := witness.StackOf(r.Attributes()); len(stack) > 0 && stack[0].Symbol == symbol {
			n += r.number(semconv.WitnessHits)
		}
	}
	return n
}

func compile(t testing.TB, compiler, name, source string, flags ...string) string {
	t.Helper()
	path, err := testprogram.Build(t, func(path string) error {
		if _, err := exec.LookPath(compiler); err != nil {
			t.Skipf("needs %s", compiler)
		}
		file := filepath.Join(filepath.Dir(path), name)
		require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
		out, err := exec.Command(compiler, append(flags, "-o", path, file)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}, append(flags, compiler, source)...)
	require.NoError(t, err)
	return path
}

// TestPrograms builds what the other tests need, for where there is no compiler.
func TestPrograms(t *testing.T) {
	testprogram.Keeping(t)
	countingProgram(t)
	spinningProgram(t)
	droppingProgram(t)
	executingProgram(t)
	rewrittenPrograms(t)
	for name, flags := range goPrograms {
		goProgram(t, name, flags)
	}
	t.Run("rust", func(t *testing.T) { rustProgram(t) })
}

const countingC = `
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
#include <pthread.h>
__attribute__((noinline)) void counted(void) { __asm__ volatile("push %rbp\n pop %rbp"); }
__attribute__((noinline)) void other(void) { __asm__ volatile(""); }
static long times;
static void *run(void *x) { for (long i = 0; i < times; i++) counted(); return x; }
int main(int argc, char **argv) {
  times = argc > 1 ? atol(argv[1]) : 1;
  int threads = argc > 2 ? atoi(argv[2]) : 1;
  int children = argc > 3 ? atoi(argv[3]) : 0;
  int wait_first = argc > 4 ? atoi(argv[4]) : 0;
  if (wait_first) usleep(wait_first * 1000);
  for (int i = 0; i < children; i++) if (fork() == 0) { run(0); _exit(0); }
  pthread_t all[64];
  for (int i = 1; i < threads; i++) pthread_create(&all[i], 0, run, 0);
  run(0);
  for (int i = 1; i < threads; i++) pthread_join(all[i], 0);
  while (wait(0) > 0);
  return 0;
}`

func countingProgram(t testing.TB) string {
	return compile(t, "gcc", "c.c", countingC, "-O1", "-fno-omit-frame-pointer", "-pthread", "-no-pie")
}

func spinningProgram(t testing.TB) string {
	return compile(t, "gcc", "s.c", `
__attribute__((noinline)) long spin(long n) { volatile long x = 0; for (long i = 0; i < n; i++) x += i; return x; }
int main(void) { spin(2000000000); return 0; }`, "-O1", "-fno-omit-frame-pointer")
}

// droppingProgram becomes another user.
func droppingProgram(t testing.TB) string {
	return compile(t, "gcc", "d.c", `
#include <unistd.h>
int main(void) { usleep(1500*1000); if (setuid(65534)) return 1; usleep(60*1000*1000); return 0; }`)
}

func probing(path string, symbols ...string) func(*Config) {
	return func(c *Config) {
		c.Probes.Files = []FileConfig{{Path: path, Symbols: symbols}}
		c.Probes.AllowSingleStep = true
		c.Probes.Budget = 1
	}
}

// learn runs a program, which ends at once, until its file is known and probed.
func (w *watching) learn(path, symbol string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		require.NoError(w.t, exec.Command(path, "0").Run())
		for range 20 {
			time.Sleep(50 * time.Millisecond)
			for _, r := range w.records(semconv.EventStatus) {
				stack := witness.StackOf(r.Attributes())
				if r.text(semconv.WitnessStatusState) == witness.StateAttached && len(stack) == 1 && stack[0].Member == symbol {
					return true
				}
			}
		}
		return false
	}, 20*time.Second, time.Millisecond)
}

func TestProcessesAreTold(t *testing.T) {
	w := watch(t, nil)
	command := exec.Command("/bin/sh", "-c", "sleep 0.2; exit 3")
	require.Error(t, command.Run())
	pid := int64(command.Process.Pid)
	of := func(r record) bool { return r.number(semconv.ProcessPID) == pid }
	started := w.await(semconv.EventExec, of)
	shell, err := filepath.EvalSymlinks("/bin/sh")
	require.NoError(t, err)
	assert.Equal(t, shell, started.text(semconv.ProcessExecutablePath))
	assert.NotEmpty(t, started.text(semconv.ProcessExecutableBuildIDGNU))
	assert.EqualValues(t, os.Getpid(), started.number(semconv.ProcessParentPID))
	stack := witness.StackOf(started.Attributes())
	require.Len(t, stack, 1)
	assert.Equal(t, witness.Module{Path: shell, BuildID: started.text(semconv.ProcessExecutableBuildIDGNU)}, stack[0].Module)
	assert.WithinDuration(t, time.Now(), started.Timestamp().AsTime(), 30*time.Second)
	ended := w.await(semconv.EventExit, of)
	assert.EqualValues(t, 3, ended.number(semconv.ProcessExitCode))
	assert.Equal(t, started.text(semconv.ProcessCreationTime), ended.text(semconv.ProcessCreationTime))
	w.await(semconv.EventLoad, func(r record) bool {
		stack := witness.StackOf(r.Attributes())
		return strings.HasPrefix(filepath.Base(stack[0].Module.Path), "libc.so") && stack[0].Module.BuildID != ""
	})
	w.await(semconv.EventExec, func(r record) bool {
		return r.number(semconv.ProcessPID) == int64(os.Getpid()) && r.text(semconv.WitnessOrigin) == string(witness.OriginSelf)
	})
	beat := w.await(semconv.EventCoverage, func(record) bool { return true })
	assert.ElementsMatch(t, []string{"exec", "load"}, semconv.Texts(beat.Attributes(), semconv.WitnessCoverageKinds))
	assert.Positive(t, beat.number(semconv.WitnessCoverageProcessesSeen))
	w.valid()
}

// Of a program that is known, all is told, however soon it ends.
func TestAKnownProgramThatEndsAtOnce(t *testing.T) {
	w := watch(t, nil)
	path := copyOf(t, countingProgram(t), filepath.Join(t.TempDir(), "known"))
	first := exec.Command(path, "0", "1", "0", "300") // it stays a while
	require.NoError(t, first.Run())
	own := func(r record) bool { return r.text(semconv.ProcessExecutablePath) == path }
	buildID := w.await(semconv.EventExec, own).text(semconv.ProcessExecutableBuildIDGNU)
	require.NotEmpty(t, buildID)
	const more = 50
	for range more {
		require.NoError(t, exec.Command(path, "0").Run())
	}
	require.Eventually(t, func() bool {
		n := 0
		for _, r := range w.records(semconv.EventExec) {
			if own(r) && r.text(semconv.ProcessExecutableBuildIDGNU) == buildID {
				n++
			}
		}
		return n == 1+more
	}, 20*time.Second, 50*time.Millisecond)
	w.shutdown()
	w.valid()
}

// What became of each hook is a metric too.
func TestHooksAreMeasured(t *testing.T) {
	watch(t, nil).shutdown() // skips where eBPF is not to be had
	telemetry := componenttest.NewTelemetry()
	defer func() { require.NoError(t, telemetry.Shutdown(context.Background())) }()
	settings := receivertest.NewNopSettings(metadata.Type)
	settings.TelemetrySettings = telemetry.NewTelemetrySettings()
	r, err := NewFactory().CreateLogs(t.Context(), settings, createDefaultConfig(), &consumertest.LogsSink{})
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	defer func() { require.NoError(t, r.Shutdown(context.Background())) }()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		got, err := telemetry.GetMetric("otelcol_ebpf_receiver_hooks")
		if !assert.NoError(c, err) {
			return
		}
		attached := map[string]string{}
		for _, point := range got.Data.(metricdata.Gauge[int64]).DataPoints {
			value := func(name string) string { v, _ := point.Attributes.Value(attribute.Key(name)); return v.AsString() }
			if value("state") == witness.StateAttached {
				attached[value("signal")] = value("hook")
			}
		}
		assert.NotEmpty(c, attached[targetExec])
		assert.NotEmpty(c, attached[targetCall])
		assert.Equal(c, "perf", attached[targetLoad])
	}, 20*time.Second, 50*time.Millisecond)
}

func TestAForkIsNoExec(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, nil)
	require.NoError(t, exec.Command(path, "1", "1", "5").Run())
	time.Sleep(500 * time.Millisecond)
	starts := 0
	for _, r := range w.records(semconv.EventExec) {
		if r.text(semconv.ProcessExecutablePath) == path {
			starts++
		}
	}
	assert.Equal(t, 1, starts)
}

// A function is counted exactly, whoever calls it: threads, children, processes that end at once.
func TestCallsAreExact(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, probing(path, "counted"))
	w.learn(path, "counted")
	const processes, calls, threads, children = 6, 321, 3, 2
	for range processes {
		require.NoError(t, exec.Command(path, strconv.Itoa(calls), strconv.Itoa(threads), strconv.Itoa(children)).Run())
	}
	const want = processes * calls * (threads + children)
	require.Eventually(t, func() bool { return w.hits("counted") >= want }, 20*time.Second, 50*time.Millisecond)
	w.shutdown()
	assert.EqualValues(t, want, w.hits("counted"))
	assert.Zero(t, w.hits("other"))
	for _, r := range w.records(semconv.EventCall) {
		stack := witness.StackOf(r.Attributes())
		assert.Equal(t, path, stack[0].Module.Path)
		assert.NotEmpty(t, stack[0].Module.BuildID)
		for _, frame := range stack {
			assert.Less(t, frame.Offset, uint64(1)<<32)
		}
	}
	w.valid()
}

// The first call of a process has its callers.
func TestTheFirstCallHasItsCallers(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, probing(path, "counted"))
	w.learn(path, "counted")
	command := exec.Command(path, "5", "1", "0", "300")
	require.NoError(t, command.Run())
	r := w.await(semconv.EventCall, func(r record) bool { return len(witness.StackOf(r.Attributes())) > 2 })
	stack := witness.StackOf(r.Attributes())
	assert.EqualValues(t, 1, r.number(semconv.WitnessHits))
	assert.Equal(t, []string{"counted", "run", "main"}, []string{stack[0].Symbol, stack[1].Symbol, stack[2].Symbol})
	require.Eventually(t, func() bool { return w.hits("counted") == 5 }, 20*time.Second, 50*time.Millisecond)
}

// Probes go where a program runs already.
func TestAProgramThatRunsAlready(t *testing.T) {
	path := countingProgram(t)
	command := exec.Command(path, "77", "1", "0", "4000")
	require.NoError(t, command.Start())
	w := watch(t, probing(path, "counted"))
	w.attached("counted")
	require.NoError(t, command.Wait())
	require.Eventually(t, func() bool { return w.hits("counted") == 77 }, 20*time.Second, 50*time.Millisecond)
}

// A replaced file is another file, and a deleted one still counts.
func TestReplacedAndDeletedFiles(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, probing(path, "counted"))
	w.learn(path, "counted")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".new", content, 0o700))
	require.NoError(t, os.Rename(path+".new", path))
	require.NoError(t, exec.Command(path, "0").Run())
	require.Eventually(t, func() bool {
		n := 0
		for _, r := range w.records(semconv.EventStatus) {
			if r.text(semconv.WitnessStatusTarget) == targetCall && r.text(semconv.WitnessStatusState) == witness.StateAttached {
				n++
			}
		}
		return n >= 1
	}, 20*time.Second, 20*time.Millisecond)
	time.Sleep(time.Second)
	command := exec.Command(path, "9", "1", "0", "1500")
	require.NoError(t, command.Start())
	time.Sleep(300 * time.Millisecond)
	require.NoError(t, os.Remove(path))
	require.NoError(t, command.Wait())
	require.Eventually(t, func() bool { return w.hits("counted") == 9 }, 20*time.Second, 50*time.Millisecond)
}

// What cannot be probed is said, with the reason.
func TestRefusals(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, probing(path, "counted", "absent"))
	w.learn(path, "counted")
	w.await(semconv.EventStatus, func(r record) bool {
		return r.text(semconv.WitnessStatusState) == witness.StateRefused && r.text(semconv.WitnessStatusReason) == witness.ReasonNotFound
	})
	w.await(semconv.EventCoverage, func(r record) bool {
		stack := witness.StackOf(r.Attributes())
		return len(stack) == 1 && stack[0].Module.Path == path
	})
}

// A probe over budget is suspended within an interval, which is a gap, and tried again.
func TestBudget(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, func(c *Config) {
		probing(path, "counted")(c)
		c.Probes.Budget = 0.001
	})
	w.learn(path, "counted")
	command := exec.Command(path, "1000000000000")
	require.NoError(t, command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	w.await(semconv.EventStatus, func(r record) bool {
		return r.text(semconv.WitnessStatusState) == witness.StateSuspended && r.text(semconv.WitnessStatusReason) == witness.ReasonOverBudget
	})
	before := w.hits("counted")
	suspended := len(w.records(semconv.EventStatus))
	require.Eventually(t, func() bool { return len(w.records(semconv.EventStatus)) > suspended && w.hits("counted") > before }, 20*time.Second, 50*time.Millisecond, "it is attached again")
}

// What a hit costs is measured on this host.
func TestCostsAreMeasured(t *testing.T) {
	config := createDefaultConfig().(*Config)
	kernel, err := bpf.Open(bpf.Options{Probes: uint32(config.Probes.Max) + 1})
	if err != nil {
		skip(t, "needs eBPF: %v", err)
	}
	defer kernel.Close()
	used, refused := kernel.PrepareCalls()
	require.NotEmpty(t, used, "%v", refused)
	e := &engine{config: config, kernel: kernel}
	cost, err := e.measureCosts()
	require.NoError(t, err)
	t.Logf("%v", cost)
	assert.Greater(t, cost[probepoint.Emulated], 100*time.Nanosecond)
	assert.Greater(t, cost[probepoint.SingleStep], 10*cost[probepoint.Emulated])
	hits := 0
	require.NoError(t, kernel.Hits(func(bpf.HitKey, bpf.Hit) { hits++ }))
	assert.Equal(t, 1, hits, "of a probe that nobody else has; it is forgotten with the first look")
}

// A full table of hits loses hits, and says how many.
func TestLostHitsAreTold(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, func(c *Config) {
		probing(path, "counted")(c)
		c.Limits.Hits = 2
		c.Interval = 3 * time.Second
	})
	w.learn(path, "counted")
	const processes, calls = 20, 50
	for range processes {
		require.NoError(t, exec.Command(path, strconv.Itoa(calls)).Run())
	}
	w.shutdown()
	var lost int64
	for _, r := range w.records(semconv.EventLoss) {
		if r.text(semconv.WitnessLossStage) == stageHits {
			lost += r.number(semconv.WitnessLossCount)
			assert.Equal(t, "counted", witness.StackOf(r.Attributes())[0].Member, "a gap of that function only")
		}
	}
	assert.Positive(t, lost)
	assert.EqualValues(t, processes*calls, w.hits("counted")+lost)
}

// A process in namespaces of its own is not the host's.
func TestAContainerLikeProcess(t *testing.T) {
	path := countingProgram(t)
	w := watch(t, func(c *Config) {
		probing(path, "counted")(c)
		c.Signals.Containment = true
	})
	w.learn(path, "counted")
	command := exec.Command(path, "11", "1", "0", "500")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	require.NoError(t, command.Run())
	r := w.await(semconv.EventExec, func(r record) bool { return r.number(semconv.ProcessPID) == int64(command.Process.Pid) })
	assert.Equal(t, witness.UnknownWorkload, witness.WorkloadOf(r.resource))
	require.Eventually(t, func() bool { return w.hits("counted") == 11 }, 20*time.Second, 50*time.Millisecond)
	w.await(semconv.EventContainment, func(r record) bool {
		c, ok, err := witness.ContainmentOf(r.resource, r.LogRecord)
		require.NoError(t, err)
		require.True(t, ok)
		for _, s := range c.Signals {
			if s.Name == witness.SignalPIDNamespace && s.Values[0] == witness.NamespaceIsolated {
				return true
			}
		}
		return false
	})
}

// What a process could reach is told again when it changes while it runs.
func TestPrivilegesThatAreDropped(t *testing.T) {
	path := droppingProgram(t)
	w := watch(t, func(c *Config) { c.Signals.Containment = true })
	command := exec.Command(path)
	require.NoError(t, command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	for _, class := range []string{"root-host", "nonroot"} {
		w.await(semconv.EventContainment, func(r record) bool {
			c, ok, err := witness.ContainmentOf(r.resource, r.LogRecord)
			require.NoError(t, err)
			require.True(t, ok)
			return c.Executable.Path == path && slices.ContainsFunc(c.Signals, func(s witness.Signal) bool {
				return s.Name == witness.SignalUser && s.Values[0] == class
			})
		})
	}
}

func TestSamples(t *testing.T) {
	w := watch(t, func(c *Config) { c.Signals.SampleFrequency = 99 })
	path := spinningProgram(t)
	command := exec.Command(path)
	require.NoError(t, command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	r := w.await(semconv.EventSample, func(r record) bool {
		stack := witness.StackOf(r.Attributes())
		return len(stack) > 0 && stack[0].Symbol == "spin"
	})
	stack := witness.StackOf(r.Attributes())
	assert.Equal(t, path, stack[0].Module.Path)
	for _, frame := range stack {
		assert.Less(t, frame.Offset, uint64(1)<<32, "no address leaves")
	}
}

// Without privileges there is one error that says what is missing.
func TestUnprivileged(t *testing.T) {
	if os.Getenv("WITNESS_TEST_UNPRIVILEGED") == "1" {
		r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), createDefaultConfig(), &consumertest.LogsSink{})
		require.NoError(t, err)
		err = r.Start(t.Context(), componenttest.NewNopHost())
		require.NoError(t, r.Shutdown(t.Context()))
		fmt.Println(err)
		return
	}
	if os.Getuid() != 0 {
		skip(t, "needs root to give it up")
	}
	program := filepath.Join(t.TempDir(), "test")
	content, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, content, 0o755))
	for dir := filepath.Dir(program); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		if info.Mode()&0o001 == 0 {
			require.NoError(t, os.Chmod(dir, info.Mode()|0o055))
		}
	}
	command := exec.Command(program, "-test.run=^TestUnprivileged$", "-test.v")
	command.Env = []string{"WITNESS_TEST_UNPRIVILEGED=1"}
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "lacks the capabilities CAP_BPF CAP_PERFMON")
}

// Probes are gone when the collector is killed.
func TestKilled(t *testing.T) {
	if path := os.Getenv("WITNESS_TEST_PROBE"); path != "" {
		w := watch(t, probing(path, "counted"))
		w.learn(path, "counted")
		fmt.Println("attached.")
		select {}
	}
	path := countingProgram(t)
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.v")
	child.Env = append(os.Environ(), "WITNESS_TEST_PROBE="+path)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	if os.Getuid() != 0 {
		skip(t, "needs root")
	}
	require.NoError(t, child.Start())
	read := make([]byte, 1<<16)
	heard := ""
	for !strings.Contains(heard, "attached.") {
		n, err := out.Read(read)
		require.NoError(t, err, heard)
		heard += string(read[:n])
	}
	original, at := firstBytes(t, path)
	running := exec.Command(path, "1", "1", "0", "3000")
	require.NoError(t, running.Start())
	defer func() { _ = running.Wait() }()
	time.Sleep(300 * time.Millisecond)
	assert.NotEqual(t, original, memory(t, running.Process.Pid, at), "there is a breakpoint")
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	require.Eventually(t, func() bool { return string(original) == string(memory(t, running.Process.Pid, at)) }, 5*time.Second, 50*time.Millisecond)
}

// firstBytes are those of the function counted, and where it is in memory: the program is not position independent.
func firstBytes(t testing.TB, path string) ([]byte, uint64) {
	t.Helper()
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	symbols, err := f.Symbols()
	require.NoError(t, err)
	for _, s := range symbols {
		if s.Name == "counted" {
			section := f.Sections[s.Section]
			content, err := section.Data()
			require.NoError(t, err)
			return content[s.Value-section.Addr:][:8], s.Value
		}
	}
	t.Fatal("no function counted")
	return nil, 0
}

func memory(t testing.TB, pid int, at uint64) []byte {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 8)
	_, err = f.ReadAt(b, int64(at))
	require.NoError(t, err)
	return b
}
