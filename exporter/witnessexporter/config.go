package witnessexporter

import (
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

// Config configures the exporter.
type Config struct {
	// Storage is the extension that stores.
	Storage component.ID `mapstructure:"storage"`
	// Timeout bounds one attempt to write.
	Timeout exporterhelper.TimeoutConfig `mapstructure:",squash"`
	// Retry says how writes are tried again.
	Retry configretry.BackOffConfig `mapstructure:"retry_on_failure"`
	// Queue waits for the result and blocks when it is full, so that what is acknowledged is stored.
	Queue configoptional.Optional[exporterhelper.QueueBatchConfig] `mapstructure:"sending_queue"`
}

// Validate implements confmap.Validator.
func (c *Config) Validate() error {
	if c.Storage.Type().String() == "" {
		return errors.New("storage: is empty")
	}
	if !c.Queue.HasValue() {
		return nil
	}
	queue := c.Queue.Get()
	// Both lose who sent a record, and with it tenant, principal and assurance.
	if queue.StorageID != nil {
		return errors.New("sending_queue::storage: is not supported: a stored request does not say who sent it")
	}
	if queue.Batch.HasValue() {
		return errors.New("sending_queue::batch: is not supported: it mixes senders, and the storage groups writes by itself")
	}
	return nil
}
