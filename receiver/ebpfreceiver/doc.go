// Package ebpfreceiver watches a Linux host by eBPF: which binaries start, which files are mapped executable, and which
// functions are called, counted exactly in the kernel.
package ebpfreceiver

//go:generate mdatagen metadata.yaml
