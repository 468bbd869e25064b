//go:build !linux

package ebpfreceiver

import (
	"errors"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
)

// newReceiver refuses: there is eBPF on Linux only.
func newReceiver(receiver.Settings, *Config, consumer.Logs) (receiver.Logs, error) {
	return nil, errors.New("the ebpf receiver runs on Linux only")
}
