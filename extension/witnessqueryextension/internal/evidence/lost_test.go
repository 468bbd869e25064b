package evidence

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// More losses than a number holds are the greatest number, and not a small one.
func TestLostStopsAtTheGreatest(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var records []witness.Coverage
	for i := range 3 {
		start := now.Add(time.Duration(i-10) * time.Minute)
		records = append(records, witness.Coverage{Source: "a/1/x", LossStage: "hot_symbol.late", Lost: math.MaxInt64, Start: start, End: start.Add(time.Minute)})
	}
	lost, unknown := cover(records, nil, now.Add(-time.Hour), now, now).Lost(now.Add(-time.Hour), now)
	assert.EqualValues(t, uint64(math.MaxUint64), lost)
	assert.False(t, unknown)
}
