package sqlite

import (
	"math"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// The codes of schema_1.sql: the place in these, from 1.
var (
	assurances = []witness.Assurance{witness.Measured, witness.Asserted}
	origins    = []witness.Origin{witness.OriginWorkload, witness.OriginInjected, witness.OriginSelf, witness.OriginUnknown}
)

const (
	measured = 1
	asserted = 2
)

func kindCode(k witness.Kind) int64           { return int64(slices.Index(witness.Kinds, k) + 1) }
func assuranceCode(a witness.Assurance) int64 { return int64(slices.Index(assurances, a) + 1) }
func originCode(o witness.Origin) int64       { return int64(slices.Index(origins, o) + 1) }

func kindOf(code int64) witness.Kind { return witness.Kinds[code-1] }

// nanoseconds since 1970, clamped to what the column holds: the years 1970 to 2262.
func nanoseconds(t time.Time) int64 {
	switch seconds := t.Unix(); {
	case seconds < 0:
		return 0
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	default:
		return t.UnixNano()
	}
}

func timeOf(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }

// number clamps a count to what the column holds.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) } //nolint:gosec // bounded

// sum adds counts and stops at the greatest.
func sum(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}
