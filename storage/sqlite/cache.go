package sqlite

import (
	"sync"
	"sync/atomic"
)

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

// shared is a cache that many goroutines use.
type shared[K comparable, V any] struct {
	mutex sync.Mutex
	cache *cache[K, V]
}

func newShared[K comparable, V any](limit int, emptied *atomic.Uint64) *shared[K, V] {
	return &shared[K, V]{cache: newCache[K, V](limit, emptied)}
}

func (s *shared[K, V]) get(key K) (V, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.cache.get(key)
}

func (s *shared[K, V]) put(key K, value V) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.cache.put(key, value)
}
