package witnessexporter

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otelcol-witness/otelcol-witness/exporter/witnessexporter/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/exporter/witnessexporter/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestContainment(t *testing.T) {
	host, store := startStorage(t)
	telemetry := componenttest.NewTelemetry()
	defer func() { require.NoError(t, telemetry.Shutdown(context.Background())) }()
	settings := exportertest.NewNopSettings(metadata.Type)
	settings.TelemetrySettings = telemetry.NewTelemetrySettings()
	e := startExporter(t, settings, host)
	at := time.Now().UTC().Truncate(time.Second)
	containment := func(user string, at time.Time) witness.Containment {
		return witness.Containment{
			Executable: witness.Module{Path: "/usr/bin/app"}, Origin: witness.OriginWorkload,
			Signals: []witness.Signal{{
				Name: witness.SignalUser, Values: []string{user}, Source: witness.SourceTetragon, Assurance: witness.Measured, ObservedAt: at,
			}},
		}
	}
	logsOf := func(all ...witness.Containment) plog.Logs {
		logs := plog.NewLogs()
		for i := range all {
			all[i].Put(record(logs), at)
		}
		return logs
	}
	logs := logsOf(containment("nonroot", at), containment("root-host", at.Add(storage.MaxAhead+time.Hour)))
	malformed := record(logs)
	malformed.SetEventName(semconv.EventContainment)
	malformed.SetTimestamp(pcommon.NewTimestampFromTime(at))
	malformed.Attributes().PutInt(semconv.WitnessContainmentUser, 1000)
	require.NoError(t, e.ConsumeLogs(t.Context(), logs))

	page, err := store.Containment(t.Context(), "", storage.ContainmentQuery{})
	require.NoError(t, err)
	assert.Equal(t, []witness.Containment{containment("nonroot", at)}, page.Containment)
	metadatatest.AssertEqualWitnessExporterContainment(t, telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, ignore...)
	metadatatest.AssertEqualWitnessExporterRefusedRecords(t, telemetry, []metricdata.DataPoint[int64]{
		{Value: 1, Attributes: attribute.NewSet(attribute.String("reason", reasonMalformed))},
		{Value: 1, Attributes: attribute.NewSet(attribute.String("reason", reasonAhead))},
	}, ignore...)

	// Somebody who did not authenticate does not replace what was measured, however new.
	ctx := client.NewContext(t.Context(), client.Info{Addr: &net.TCPAddr{}})
	require.NoError(t, e.ConsumeLogs(ctx, logsOf(containment("root-host", at.Add(time.Minute)))))
	page, err = store.Containment(t.Context(), "", storage.ContainmentQuery{})
	require.NoError(t, err)
	assert.Equal(t, []witness.Containment{containment("nonroot", at)}, page.Containment)
}
