package buildcorrelationprocessor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/internal/correlation"
	"github.com/otelcol-witness/otelcol-witness/processor/buildcorrelationprocessor/internal/metadata"
)

type buildCorrelation struct {
	config    *Config
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	// correlator is set by start.
	correlator *correlation.Correlator
}

func newCorrelation(set processor.Settings, config *Config) (*buildCorrelation, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &buildCorrelation{config: config, logger: set.Logger, telemetry: telemetry}, nil
}

func (p *buildCorrelation) start(context.Context, component.Host) error {
	if runtime.GOOS != "linux" {
		p.logger.Warn("build_correlation works on Linux only: nothing will be known here")
	} else if _, err := os.Stat(filepath.Join(p.config.Proc, "self", "stat")); err != nil {
		return errors.New("proc: there is no proc file system")
	}
	host := p.config.HostName
	if host == "" {
		var err error
		if host, err = os.Hostname(); err != nil {
			return errors.New("host_name: the system does not tell one")
		}
	}
	var err error
	p.correlator, err = correlation.New(correlation.Options{
		Proc: p.config.Proc, Host: host, Workers: p.config.Workers, Deadline: p.config.Deadline,
		CacheSize: p.config.CacheSize, MaxFileSize: p.config.MaxFileSize,
	})
	return err
}

func (p *buildCorrelation) shutdown(ctx context.Context) error {
	defer p.telemetry.Shutdown()
	if p.correlator == nil {
		return nil
	}
	return p.correlator.Close(ctx)
}

func (p *buildCorrelation) logs(ctx context.Context, logs plog.Logs) (plog.Logs, error) {
	report := p.correlator.Apply(ctx, logs)
	p.telemetry.BuildCorrelationResolvedModules.Add(ctx, int64(report.Resolved))
	p.telemetry.BuildCorrelationCacheHits.Add(ctx, int64(report.Cached))
	p.telemetry.BuildCorrelationCacheEvictions.Add(ctx, report.Evicted)
	p.telemetry.BuildCorrelationConflicts.Add(ctx, int64(report.Conflicts))
	for reason, n := range report.Unknown {
		p.telemetry.BuildCorrelationUnknownModules.Add(ctx, int64(n), metric.WithAttributes(attribute.String("reason", string(reason))))
	}
	if report.TimedOut {
		p.telemetry.BuildCorrelationDeadlinesExceeded.Add(ctx, 1)
	}
	return logs, nil
}
