package canonicalizationprocessor

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/processor/canonicalizationprocessor/internal/metadata"
)

type canonicalization struct {
	config    *Config
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	// canonicalizer is set by start.
	canonicalizer *canon.Canonicalizer
}

func newCanonicalization(set processor.Settings, config *Config) (*canonicalization, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &canonicalization{config: config, logger: set.Logger, telemetry: telemetry}, nil
}

func (p *canonicalization) start(context.Context, component.Host) error {
	rules, err := p.config.Rules.WithKey()
	if err != nil {
		return err
	}
	if rules.HMACKey == "" && rules.Identities == canon.IdentitiesHMAC {
		p.logger.Info("without hmac_key or hmac_key_file, pseudonyms change with every start")
	}
	if p.canonicalizer, err = canon.New(rules); err != nil {
		return err
	}
	observe := func(value func(symbol.CacheStats) int64) metric.Int64Callback {
		return func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(value(p.canonicalizer.Symbols()))
			return nil
		}
	}
	return errors.Join(
		p.telemetry.RegisterCanonicalizationProcessorSymbolCacheBytesCallback(observe(func(s symbol.CacheStats) int64 { return s.Bytes })),
		p.telemetry.RegisterCanonicalizationProcessorSymbolCacheHitsCallback(observe(func(s symbol.CacheStats) int64 { return s.Hits })),
		p.telemetry.RegisterCanonicalizationProcessorSymbolCacheMissesCallback(observe(func(s symbol.CacheStats) int64 { return s.Misses })),
	)
}

func (p *canonicalization) shutdown(context.Context) error {
	p.telemetry.Shutdown()
	return nil
}

func (p *canonicalization) logs(ctx context.Context, logs plog.Logs) (plog.Logs, error) {
	report := p.canonicalizer.Logs(logs)
	p.telemetry.CanonicalizationProcessorRecords.Add(ctx, int64(report.Records))
	p.telemetry.CanonicalizationProcessorDroppedRecords.Add(ctx, int64(report.DroppedRecords))
	p.telemetry.CanonicalizationProcessorDroppedAttributes.Add(ctx, int64(report.DroppedAttributes))
	p.telemetry.CanonicalizationProcessorDroppedFrames.Add(ctx, int64(report.DroppedFrames))
	p.telemetry.CanonicalizationProcessorChangedValues.Add(ctx, int64(report.ChangedValues))
	if report.DroppedRecords > 0 {
		p.logger.Warn("records were dropped: over a limit, or not to be made canonical",
			zap.Int("dropped", report.DroppedRecords), zap.Int("of", report.Records), zap.Strings("ids", report.DroppedIDs))
	}
	if logs.LogRecordCount() == 0 {
		return logs, processorhelper.ErrSkipProcessingData
	}
	return logs, nil
}
