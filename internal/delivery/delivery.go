// Package delivery hands log records on to the pipeline behind a receiver: again and again while it cannot take them.
package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// Delivery hands records on.
type Delivery struct {
	next      consumer.Logs
	format    string
	retry     configretry.BackOffConfig
	logger    *zap.Logger
	obsreport *receiverhelper.ObsReport
}

// New makes the Delivery of a receiver of the given type, and reports what it accepted as come by transport.
func New(settings receiver.Settings, kind component.Type, transport string, retry configretry.BackOffConfig, next consumer.Logs) (*Delivery, error) {
	obsreport, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: settings.ID, Transport: transport, LongLivedCtx: true, ReceiverCreateSettings: settings,
	})
	if err != nil {
		return nil, err
	}
	return &Delivery{next: next, format: kind.String(), retry: retry, logger: settings.Logger, obsreport: obsreport}, nil
}

// Deliver hands records on. refused says that the pipeline will not take them, ever; err is that of ctx, and then the
// records were not taken. Otherwise they were.
func (d *Delivery) Deliver(ctx context.Context, logs plog.Logs) (refused, err error) {
	wait := NewBackOff(d.retry)
	for {
		err := d.hand(ctx, logs)
		if err == nil {
			return nil, nil
		}
		pause, again := wait.Next()
		if consumererror.IsPermanent(err) || !again {
			return Presentable(err), nil
		}
		d.logger.Debug("The pipeline cannot take events now", zap.Error(Presentable(err)))
		if err := Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// hand offers records once. A pipeline that may change them gets a copy: they can be needed again.
func (d *Delivery) hand(ctx context.Context, logs plog.Logs) error {
	records := logs.LogRecordCount()
	if d.next.Capabilities().MutatesData {
		offered := plog.NewLogs()
		logs.CopyTo(offered)
		logs = offered
	}
	ctx = d.obsreport.StartLogsOp(ctx)
	err := d.next.ConsumeLogs(ctx, logs)
	d.obsreport.EndLogsOp(ctx, d.format, records, err)
	return err
}

// BackOff is the time between attempts.
type BackOff struct {
	exponential backoff.ExponentialBackOff
	config      configretry.BackOffConfig
	began       time.Time
}

// NewBackOff begins to count attempts.
func NewBackOff(config configretry.BackOffConfig) *BackOff {
	b := &BackOff{config: config, began: time.Now(), exponential: backoff.ExponentialBackOff{
		InitialInterval: config.InitialInterval, RandomizationFactor: config.RandomizationFactor,
		Multiplier: config.Multiplier, MaxInterval: config.MaxInterval,
	}}
	b.exponential.Reset()
	return b
}

// Next is how long to wait, and whether to try again at all.
func (b *BackOff) Next() (time.Duration, bool) {
	if !b.config.Enabled || b.config.MaxElapsedTime > 0 && time.Since(b.began) >= b.config.MaxElapsedTime {
		return 0, false
	}
	return b.exponential.NextBackOff(), true
}

// Sleep waits, or returns the error of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Presentable is an error without what is private in it: paths, and what others said.
func Presentable(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(privacy.Text(err.Error()))
}
