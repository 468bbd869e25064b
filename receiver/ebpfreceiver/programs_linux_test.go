package ebpfreceiver

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/ebpfreceiver/internal/testprogram"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const countingGo = `package main

import (
	"os"
	"strconv"
	"sync"
)

var total [64]int

//go:noinline
func add(to *int) { *to++ }

//go:noinline
func counted(to *int) { add(to); add(to) }

func other(to *int) { add(to) }

func work(times int, to *int) {
	for range times {
		counted(to)
	}
}

func main() {
	times, _ := strconv.Atoi(os.Args[1])
	var all sync.WaitGroup
	for i := range 4 {
		all.Add(1)
		go func() { defer all.Done(); work(times, &total[i]) }()
	}
	all.Wait()
	if times < 0 {
		other(&total[0])
	}
}
`

// goPrograms are ways to build a Go program.
var goPrograms = map[string][]string{
	"normal":   nil,
	"stripped": {"-ldflags=-s -w"},
	"pie":      {"-buildmode=pie"},
	"external": {"-ldflags=-linkmode=external"},
}

func goProgram(t testing.TB, name string, flags []string) string {
	t.Helper()
	path, err := testprogram.Build(t, func(path string) error {
		dir := filepath.Dir(path)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/counting\n\ngo 1.26\n"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(countingGo), 0o600))
		build := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), ".")...)
		build.Dir = dir
		build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		if name == "external" {
			build.Env = append(build.Env, "CGO_ENABLED=1")
		}
		out, err := build.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}, append(flags, "go", countingGo)...)
	require.NoError(t, err)
	return path
}

// A function of a Go program is counted exactly, however it was linked, stripped or not.
func TestGoPrograms(t *testing.T) {
	for name, flags := range goPrograms {
		t.Run(name, func(t *testing.T) {
			path := goProgram(t, name, flags)
			w := watch(t, func(c *Config) {
				c.Probes.Files = []FileConfig{{Path: path, Symbols: []string{"main.counted"}, Language: "go"}}
				c.Probes.Budget = 1
			})
			w.learn(path, "counted")
			const processes, calls, goroutines = 3, 1000, 4
			for range processes {
				require.NoError(t, exec.Command(path, strconv.Itoa(calls)).Run())
			}
			const want = processes * calls * goroutines
			require.Eventually(t, func() bool { return w.hits("main.counted") >= want }, 20*time.Second, 50*time.Millisecond)
			w.shutdown()
			assert.EqualValues(t, want, w.hits("main.counted"))
			callers := 0
			for _, r := range w.records(semconv.EventCall) {
				if stack := witness.StackOf(r.Attributes()); len(stack) > 1 {
					callers++
					assert.Equal(t, "main.work", stack[1].Symbol)
				}
			}
			assert.Positive(t, callers)
		})
	}
}

func rustProgram(t testing.TB) string {
	return compile(t, "rustc", "counting.rs", `
#[inline(never)]
pub fn counted(n: &mut Vec<u64>) { n.push(1); n.push(2); }
fn main() {
    let times: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    for _ in 0..times { counted(&mut Vec::new()); }
}`, "-O", "--crate-name", "counting")
}

// The symbols of a stripped program are in a file of their own, in its root directory, if the build-id there is the same.
func TestDebugFiles(t *testing.T) {
	whole := compile(t, "gcc", "d.c", `
static __attribute__((noinline)) void counted(void) { __asm__ volatile("push %rbp\n pop %rbp"); }
int main(void) { for (int i = 0; i < 7; i++) counted(); return 0; }`, "-O1", "-fno-omit-frame-pointer", "-static", "-Wl,--build-id=0xabcdef0123456789")
	content, err := os.ReadFile(whole)
	require.NoError(t, err)
	for name, test := range map[string]struct{ debug, reason string }{
		"with":       {"ab/cdef0123456789.debug", ""},
		"without":    {"other.debug", "stripped"},
		"of another": {"ab/cdef0123456789.debug", "stripped"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			program, debug := filepath.Join(root, "debugged"), filepath.Join(root, "usr/lib/debug/.build-id", test.debug)
			require.NoError(t, os.MkdirAll(filepath.Dir(debug), 0o700))
			require.NoError(t, os.WriteFile(program, content, 0o700))
			require.NoError(t, exec.Command("objcopy", "--only-keep-debug", program, debug).Run())
			require.NoError(t, exec.Command("strip", program).Run())
			if name == "of another" {
				file, err := os.ReadFile(debug)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(debug, bytes.Replace(file, []byte{0xab, 0xcd, 0xef}, []byte{0xab, 0xcd, 0xee}, 1), 0o600))
			}
			w := watch(t, probing("/debugged", "counted"))
			run := func() {
				command := exec.Command("/debugged")
				command.Path, command.SysProcAttr = "/debugged", &syscall.SysProcAttr{Chroot: root}
				require.NoError(t, command.Run())
			}
			require.Eventually(t, func() bool {
				run()
				time.Sleep(100 * time.Millisecond)
				for _, r := range w.records(semconv.EventStatus) {
					if r.text(semconv.WitnessStatusTarget) == targetCall {
						return r.text(semconv.WitnessStatusReason) == test.reason
					}
				}
				return false
			}, 20*time.Second, time.Millisecond)
			if test.reason == "" {
				before := w.hits("counted")
				run()
				require.Eventually(t, func() bool { return w.hits("counted") >= before+7 }, 20*time.Second, 50*time.Millisecond)
				assert.Zero(t, w.hits("counted")%7)
			}
		})
	}
}

func TestRustPrograms(t *testing.T) {
	path := rustProgram(t)
	w := watch(t, func(c *Config) {
		c.Probes.Files = []FileConfig{{Path: path, Symbols: []string{"counting::counted"}, Language: "rust"}}
		c.Probes.Budget = 1
	})
	w.learn(path, "counted")
	require.NoError(t, exec.Command(path, "1234").Run())
	counted := func() (n int64) {
		for _, r := range w.records(semconv.EventCall) {
			if strings.Contains(r.text(semconv.CodeFunctionName), "counted") {
				n += r.number(semconv.WitnessHits)
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return counted() == 1234 }, 20*time.Second, 50*time.Millisecond)
}

// Containers that share the layer of an image share its probes: a call is counted once, wherever it comes from.
func TestContainersShareALayer(t *testing.T) {
	if os.Getuid() != 0 {
		skip(t, "needs root")
	}
	program := countingProgram(t)
	dir := t.TempDir()
	lower := filepath.Join(dir, "lower")
	require.NoError(t, os.Mkdir(lower, 0o755))
	content, err := os.ReadFile(program)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(lower, "program"), content, 0o755))
	var merged []string
	for i := range 2 {
		parts := map[string]string{}
		for _, part := range []string{"upper", "work", "merged"} {
			parts[part] = filepath.Join(dir, fmt.Sprint(part, i))
			require.NoError(t, os.Mkdir(parts[part], 0o755))
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, parts["upper"], parts["work"])
		if err := syscall.Mount("overlay", parts["merged"], "overlay", 0, options); err != nil {
			t.Skipf("needs overlayfs: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(parts["merged"], 0) })
		merged = append(merged, filepath.Join(parts["merged"], "program"))
	}
	w := watch(t, func(c *Config) {
		probing(filepath.Join(dir, "merged?", "program"), "counted")(c)
	})
	// Long enough for the first to be opened while it runs: what has ended can be opened on the host only.
	first := exec.Command(merged[0], "10", "1", "0", "1500")
	require.NoError(t, first.Start())
	w.attached("counted")
	require.NoError(t, exec.Command(merged[1], "7").Run())
	require.NoError(t, first.Wait())
	require.Eventually(t, func() bool { return w.hits("counted") >= 17 }, 20*time.Second, 50*time.Millisecond)
	w.shutdown()
	assert.EqualValues(t, 17, w.hits("counted"))
}
