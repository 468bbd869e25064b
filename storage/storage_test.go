package storage

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestReceiver(t *testing.T) {
	for source, want := range map[string]string{
		"0a/1/tetragon":      "0a/tetragon",
		"0a/2/tetragon":      "0a/tetragon", // another incarnation
		"0a/1/tetragon/main": "0a/tetragon/main",
		"0a/1/ebpf/main":     "0a/ebpf/main",
		"post/ff/http":       PostSource,
		"post/ee/http":       PostSource,
		"odd":                "odd",
		"odd/1":              "odd",
		"":                   "",
	} {
		assert.Equal(t, want, Receiver(source), source)
	}
}
