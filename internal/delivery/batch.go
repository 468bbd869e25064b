package delivery

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// Batch is what is handed on at once: one ResourceLogs for each place.
type Batch[Place comparable] struct {
	Logs   plog.Logs
	scope  string
	source string
	put    func(Place, pcommon.Map)
	slices map[Place]plog.LogRecordSlice
}

// NewBatch returns an empty batch of records of a scope and a source. put writes the resource attributes of a place.
func NewBatch[Place comparable](scope, source string, put func(Place, pcommon.Map)) *Batch[Place] {
	return &Batch[Place]{Logs: plog.NewLogs(), scope: scope, source: source, put: put, slices: map[Place]plog.LogRecordSlice{}}
}

// Records are those of a place.
func (b *Batch[Place]) Records(at Place) plog.LogRecordSlice {
	records, ok := b.slices[at]
	if !ok {
		resource := b.Logs.ResourceLogs().AppendEmpty()
		b.put(at, resource.Resource().Attributes())
		scope := resource.ScopeLogs().AppendEmpty()
		scope.Scope().SetName(b.scope)
		scope.Scope().Attributes().PutStr(semconv.WitnessSource, b.source)
		records = scope.LogRecords()
		b.slices[at] = records
	}
	return records
}
