// Package perf reads perf events of the kernel: files that are mapped executable, and stacks of what runs. It takes
// CAP_PERFMON and no program in the kernel.
package perf
