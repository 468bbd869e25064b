package witnessexporter

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"

	"github.com/otelcol-witness/otelcol-witness/exporter/witnessexporter/internal/metadata"
)

// NewFactory makes the factory of the exporter.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(metadata.Type, createDefaultConfig, exporter.WithLogs(createLogs, metadata.LogsStability))
}

func createDefaultConfig() component.Config {
	queue := exporterhelper.NewDefaultQueueConfig()
	queue.WaitForResult = true
	queue.BlockOnOverflow = true
	queue.Batch = configoptional.None[exporterhelper.BatchConfig]()
	return &Config{
		Storage: component.MustNewID("witness_storage"),
		Timeout: exporterhelper.NewDefaultTimeoutConfig(),
		Retry:   configretry.NewDefaultBackOffConfig(),
		Queue:   configoptional.Some(queue),
	}
}

func createLogs(ctx context.Context, settings exporter.Settings, config component.Config) (exporter.Logs, error) {
	c := config.(*Config)
	e, err := newExporter(c, settings.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return exporterhelper.NewLogs(ctx, settings, config, e.push,
		exporterhelper.WithCapabilities(consumer.Capabilities{MutatesData: false}),
		exporterhelper.WithTimeout(c.Timeout),
		exporterhelper.WithRetry(c.Retry),
		exporterhelper.WithQueue(c.Queue),
		exporterhelper.WithStart(e.start),
		exporterhelper.WithShutdown(e.shutdown),
	)
}
