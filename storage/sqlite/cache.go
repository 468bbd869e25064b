package sqlite

import "sync/atomic"

// cacheLimit is how many entries a cache holds. A full one is emptied: it fills again from the database.
const cacheLimit = 1 << 16

// cache is a bounded map.
type cache[K comparable, V any] struct {
	entries map[K]V
	limit   int
	emptied *atomic.Uint64
}

// newCache makes a cache that counts in emptied how often it was full.
func newCache[K comparable, V any](limit int, emptied *atomic.Uint64) *cache[K, V] {
	return &cache[K, V]{entries: map[K]V{}, limit: limit, emptied: emptied}
}

func (c *cache[K, V]) get(key K) (V, bool) {
	value, ok := c.entries[key]
	return value, ok
}

func (c *cache[K, V]) put(key K, value V) {
	if len(c.entries) >= c.limit {
		clear(c.entries)
		c.emptied.Add(1)
	}
	c.entries[key] = value
}

func (c *cache[K, V]) clear() { clear(c.entries) }
