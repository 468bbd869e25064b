package evidence

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// asked counts how often its coverage is read.
type asked struct {
	none.Storage
	records []witness.Coverage
	times   *atomic.Int32
}

func (a asked) Coverage(context.Context, string, storage.CoverageQuery) ([]witness.Coverage, error) {
	a.times.Add(1)
	return a.records, nil
}

func TestCoverageIsKeptWhereThereIsMuch(t *testing.T) {
	many := make([]witness.Coverage, 0, coverageFew+1)
	for i := range coverageFew + 1 {
		many = append(many, beat(fmt.Sprint("node-", i), ago(60), now))
	}
	ofFunction := append([]witness.Coverage{hookOf(ownFunction, "suspended", "", ago(30))}, many...)
	for _, test := range []struct {
		name    string
		records []witness.Coverage
		exact   bool
		want    int32
	}{
		{"few", many[1:], false, 2},
		{"many", many, false, 1},
		{"many, at a time that is told", many, true, 2},
		{"many, some of one function", ofFunction, false, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader, kept := asked{records: test.records, times: &atomic.Int32{}}, Coverages{}
			ask := func(tenant string, own *Own, from, to, at time.Time) *Coverage {
				c, err := kept.Cover(t.Context(), reader, tenant, own, from, to, at, test.exact)
				require.NoError(t, err)
				return c
			}
			first := ask("", ownOfFlaw(), ago(60), now, now)
			last := ask("", nil, ago(59), now.Add(time.Minute), now.Add(time.Minute)) // an hour that ends now, too
			assert.Equal(t, test.want, reader.times.Load())
			assert.False(t, len(last.Gaps) > 0 && last.Gaps[0].OfFinding)
			want, err := CoverOwn(t.Context(), reader, "", ownOfFlaw(), ago(60), now, now)
			require.NoError(t, err)
			assert.Equal(t, want, first)
			before := reader.times.Load()
			ask("another", nil, ago(60), now, now)
			ask("", nil, ago(50), now, now)
			ask("", nil, ago(60), now, now.Add(time.Minute)) // not until now
			assert.Equal(t, before+3, reader.times.Load(), "another tenant, length, time")
			assert.LessOrEqual(t, kept.records, coverageMost)
		})
	}
}
