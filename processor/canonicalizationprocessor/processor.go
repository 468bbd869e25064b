package canonicalizationprocessor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/processor/canonicalizationprocessor/internal/metadata"
)

const (
	// storedKey is the name under which the storage keeps the generated key.
	storedKey = "hmac_key"
	keyBytes  = 32
)

type canonicalization struct {
	id        component.ID
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
	return &canonicalization{id: set.ID, config: config, logger: set.Logger, telemetry: telemetry}, nil
}

func (p *canonicalization) start(ctx context.Context, host component.Host) error {
	rules := p.config.Rules
	if rules.HMACKey == "" && p.config.Storage != nil {
		key, err := p.keptKey(ctx, host)
		if err != nil {
			return err
		}
		rules.HMACKey = configopaque.String(key)
	} else if rules.HMACKey == "" && rules.Identities == canon.IdentitiesHMAC {
		p.logger.Info("without hmac_key or storage, pseudonyms change with every start")
	}
	var err error
	p.canonicalizer, err = canon.New(rules)
	return err
}

// keptKey reads the key from the storage, and makes and keeps one when there is none.
func (p *canonicalization) keptKey(ctx context.Context, host component.Host) (key string, err error) {
	extension, ok := host.GetExtensions()[*p.config.Storage].(storage.Extension)
	if !ok {
		return "", fmt.Errorf("storage: %s is not a storage extension of this service", p.config.Storage)
	}
	client, err := extension.GetClient(ctx, component.KindProcessor, p.id, "")
	if err != nil {
		return "", fmt.Errorf("storage: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close(ctx)) }()
	stored, err := client.Get(ctx, storedKey)
	if err != nil {
		return "", fmt.Errorf("storage: %w", err)
	}
	if len(stored) == 2*keyBytes {
		return string(stored), nil
	}
	if len(stored) != 0 {
		return "", errors.New("storage: the kept key is damaged")
	}
	fresh := make([]byte, keyBytes)
	if _, err := rand.Read(fresh); err != nil {
		return "", fmt.Errorf("hmac_key: %w", err)
	}
	key = hex.EncodeToString(fresh)
	if err := client.Set(ctx, storedKey, []byte(key)); err != nil {
		return "", fmt.Errorf("storage: %w", err)
	}
	return key, nil
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
			zap.Int("dropped", report.DroppedRecords), zap.Int("of", report.Records))
	}
	if logs.LogRecordCount() == 0 {
		return logs, processorhelper.ErrSkipProcessingData
	}
	return logs, nil
}
