package evidence

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Limits of what Coverages keep.
const (
	// coverageAge is how long coverage is kept that takes long to evaluate.
	coverageAge = time.Second
	// coverageFew is how many records are read and evaluated anew each time.
	coverageFew = 1000
	// coverageMost is how many records are kept, of all tenants and times together: what was kept first goes first.
	coverageMost = 2 * MaxCoverage
)

// Coverages answer what was watched, and for a second give the same answer again where it is made of more than coverageFew
// records: everybody who looks at a large installation asks for the same day and week. The zero Coverages are ready for
// use, by many at once.
type Coverages struct {
	lock    sync.Mutex
	kept    map[coverageKey]*keptCoverage
	records int
	// postures are those of tenants of whom nobody watched in the last day, and that many records say so.
	postures map[string]keptPosture
}

type keptPosture struct {
	made    time.Time
	posture Posture
}

// coverageKey is a time that was asked for: an absolute one, or one that ends now.
type coverageKey struct {
	tenant   string
	from, to time.Time
	last     time.Duration
}

// keptCoverage is an answer.
type keptCoverage struct {
	made time.Time
	// coverage is the same for all findings; nil if it is not, and then made of records.
	coverage      *Coverage
	records       []witness.Coverage
	size          int
	from, to, now time.Time
}

// Cover is CoverOwn, and tells the skew of sources. exact wants neither what was kept nor what depends on when it was stored.
func (c *Coverages) Cover(ctx context.Context, reader storage.Reader, tenant string, own *Own, from, to, now time.Time, exact bool) (*Coverage, error) {
	if exact {
		return CoverOwn(ctx, reader, tenant, own, from, to, now)
	}
	key := coverageKey{tenant: tenant, from: from.UTC(), to: to.UTC()}
	if to.Equal(now) {
		key = coverageKey{tenant: tenant, last: to.Sub(from)}
	}
	k := c.find(key)
	if k == nil {
		records, err := reader.Coverage(ctx, tenant, storage.CoverageQuery{From: from, To: to, Limit: MaxCoverage, Received: true})
		if err != nil {
			return nil, err
		}
		k = &keptCoverage{made: time.Now(), records: records, size: len(records), from: from, to: to, now: now}
		if !slices.ContainsFunc(records, func(r witness.Coverage) bool { return r.About != (witness.About{}) }) {
			k.coverage, k.records = cover(records, nil, from, to, now), nil
		}
		c.keep(key, k)
	}
	if k.coverage != nil {
		return k.coverage, nil // shared: nobody changes it
	}
	return cover(k.records, own, k.from, k.to, k.now), nil
}

func (c *Coverages) find(key coverageKey) *keptCoverage {
	c.lock.Lock()
	defer c.lock.Unlock()
	if k := c.kept[key]; k != nil && time.Since(k.made) < coverageAge {
		return k
	}
	return nil
}

// keep keeps what was made, if it was much.
func (c *Coverages) keep(key coverageKey, k *keptCoverage) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.kept == nil {
		c.kept = map[coverageKey]*keptCoverage{}
	}
	drop := func(key coverageKey) {
		c.records -= c.kept[key].size
		delete(c.kept, key)
	}
	for other, kept := range c.kept {
		if other == key || time.Since(kept.made) >= coverageAge {
			drop(other)
		}
	}
	if k.size <= coverageFew {
		return
	}
	c.kept[key] = k
	c.records += k.size
	for c.records > coverageMost {
		drop(slices.MinFunc(slices.Collect(maps.Keys(c.kept)), func(a, b coverageKey) int {
			x, y := c.kept[a], c.kept[b]
			return cmp.Or(x.made.Compare(y.made), cmp.Compare(x.size, y.size))
		}))
	}
}

// Collect looks up how collection stands now, and what was watched in the last day, of a finding if own is not nil.
func (c *Coverages) Collect(ctx context.Context, reader storage.Reader, tenant string, own *Own, now time.Time, exact bool) (Collection, *Coverage, error) {
	covered, err := c.Cover(ctx, reader, tenant, own, now.Add(-24*time.Hour), now, now, exact)
	if err != nil {
		return Collection{}, nil, err
	}
	collection := covered.collection()
	if collection.Posture != PostureNone {
		return collection, covered, nil
	}
	collection.Posture, err = c.before(ctx, reader, tenant, now, exact)
	return collection, covered, err
}

// before tells PostureStopped from PostureNone: whether there was a heartbeat at any time. It is kept as coverage is.
func (c *Coverages) before(ctx context.Context, reader storage.Reader, tenant string, now time.Time, exact bool) (Posture, error) {
	c.lock.Lock()
	kept, known := c.postures[tenant]
	c.lock.Unlock()
	if known && !exact && time.Since(kept.made) < coverageAge {
		return kept.posture, nil
	}
	posture, read := PostureNone, 0
	for _, from := range []time.Time{now.Add(-ScoreSpan), {}} { // storages answer soonest what is not long ago
		before, err := reader.Coverage(ctx, tenant, storage.CoverageQuery{From: from, To: now, Limit: MaxCoverage})
		if err != nil {
			return "", err
		}
		read += len(before)
		if slices.ContainsFunc(before, func(r witness.Coverage) bool { return len(r.Kinds) > 0 }) {
			posture = PostureStopped
			break
		}
	}
	if exact || read <= coverageFew {
		return posture, nil
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	maps.DeleteFunc(c.postures, func(_ string, k keptPosture) bool { return time.Since(k.made) >= coverageAge })
	if c.postures == nil {
		c.postures = map[string]keptPosture{}
	}
	c.postures[tenant] = keptPosture{time.Now(), posture}
	return posture, nil
}
