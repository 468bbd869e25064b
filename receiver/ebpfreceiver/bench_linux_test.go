package ebpfreceiver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// used is the CPU time of this process, user and system.
func used(t testing.TB) time.Duration {
	var of syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &of))
	return time.Duration(of.Utime.Nano() + of.Stime.Nano())
}

const pacedC = `
#include <stdlib.h>
#include <time.h>
__attribute__((noinline)) void counted(void) { __asm__ volatile("push %rbp\n pop %rbp"); }
int main(int argc, char **argv) {
  long rate = atol(argv[1]), seconds = atol(argv[2]);
  struct timespec pause = {0, 10 * 1000 * 1000};
  for (long i = 0; i < seconds * 100; i++) {
    for (long j = 0; j < rate / 100; j++) counted();
    nanosleep(&pause, 0);
  }
  return 0;
}`

// BenchmarkRates measures the share of a processor that counting takes: of the program that is hit, beside one without a
// probe, and of the receiver.
func BenchmarkRates(b *testing.B) {
	path := compile(b, "gcc", "p.c", pacedC, "-O1", "-fno-omit-frame-pointer", "-no-pie")
	const seconds = 5
	run := func(rate int) time.Duration {
		command := exec.Command(path, strconv.Itoa(rate), strconv.Itoa(seconds))
		require.NoError(b, command.Run())
		return command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	}
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / seconds }
	for _, rate := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			for b.Loop() {
				without := run(rate)
				w := watch(b, func(c *Config) {
					c.Probes.Files = []FileConfig{{Path: path, Symbols: []string{"counted"}}}
					c.Probes.AllowSingleStep, c.Probes.Budget = true, 1
					c.Interval, c.Batch = 15*time.Second, createDefaultConfig().(*Config).Batch
				})
				learning := exec.Command(path, "0", "1")
				require.NoError(b, learning.Run())
				w.attached("counted")
				before := used(b)
				with := run(rate)
				own := used(b) - before
				w.shutdown()
				b.ReportMetric(share(with-without), "kernel-%")
				b.ReportMetric(share(own), "receiver-%")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkBusyBuild measures what the receiver takes of a processor, without probes, while a Go program is built from
// nothing: thousands of processes that start and end.
func BenchmarkBusyBuild(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/busy\n\ngo 1.26\n"), 0o600))
	require.NoError(b, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nimport _ \"net/http\"\n\nfunc main() {}\n"), 0o600))
	for b.Loop() {
		w := watch(b, func(c *Config) { *c = *createDefaultConfig().(*Config) }) // as users have it
		time.Sleep(2 * time.Second)                                              // what runs already is looked at once
		build := exec.Command("go", "build", "-a", "-o", os.DevNull, ".")
		build.Dir = dir
		before, began := used(b), time.Now()
		out, err := build.CombinedOutput()
		require.NoError(b, err, "%s", out)
		b.ReportMetric(100*(used(b)-before).Seconds()/time.Since(began).Seconds(), "cpu-%")
		w.shutdown()
	}
	b.ReportMetric(0, "ns/op")
}
