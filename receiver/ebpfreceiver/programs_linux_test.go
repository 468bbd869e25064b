package ebpfreceiver

import (
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
