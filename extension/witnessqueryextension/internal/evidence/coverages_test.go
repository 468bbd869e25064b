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

// never is coverage of which nothing is in the last day.
type never struct {
	asked
	until time.Time
}

func (n never) Coverage(ctx context.Context, tenant string, query storage.CoverageQuery) ([]witness.Coverage, error) {
	records, err := n.asked.Coverage(ctx, tenant, query)
	if query.From.Equal(n.until.Add(-24 * time.Hour)) {
		return nil, err
	}
	return records, err
}

// Whether there ever was a heartbeat is looked up once a second where it takes long.
func TestPostureIsKeptWhereThereIsMuch(t *testing.T) {
	states := make([]witness.Coverage, 0, coverageFew+1)
	for i := range coverageFew + 1 {
		states = append(states, hookOf(witness.About{}, "attached", fmt.Sprint(i), ago(3*24*60)))
	}
	beats := append([]witness.Coverage{beat("node-1", ago(3*24*60), ago(3*24*60-1))}, states...)
	for _, test := range []struct {
		name    string
		records []witness.Coverage
		exact   bool
		want    int32 // readings of two calls
		posture Posture
	}{
		{"few", states[:7], false, 6, PostureNone},
		{"many", states, false, 4, PostureNone},
		{"many, stopped", beats, false, 3, PostureStopped},
		{"many, at a time that is told", states, true, 6, PostureNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader, kept := never{asked{records: test.records, times: &atomic.Int32{}}, now}, Coverages{}
			for range 2 {
				collection, _, err := kept.Collect(t.Context(), reader, "", nil, now, test.exact)
				require.NoError(t, err)
				assert.Equal(t, test.posture, collection.Posture)
			}
			assert.Equal(t, test.want, reader.times.Load())
			_, _, err := kept.Collect(t.Context(), never{asked{records: nil, times: reader.times}, now}, "another", nil, now, test.exact)
			require.NoError(t, err)
			assert.Equal(t, test.want+3, reader.times.Load(), "another tenant")
		})
	}
}
