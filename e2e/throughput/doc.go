// Package throughput measures the whole default pipeline: a recorded Tetragon stream, at full speed, into embedded storage.
package throughput
