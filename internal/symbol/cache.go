package symbol

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Cache remembers what Canonical and CanonicalFrame say, refusals included, and forgets what was not asked for longest.
// It is bounded in bytes and safe for concurrent use. The slices of the symbols it returns are shared: read only.
type Cache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard

	hits, misses atomic.Int64
}

// cacheShards is how many parts have a lock of their own.
const cacheShards = 16

type cacheShard struct {
	mu           sync.Mutex
	entries      *simplelru.LRU[cacheKey, cacheEntry]
	bytes, limit int
}

// cacheKey is a raw symbol, or a frame's two parts.
type cacheKey struct {
	language, pkg, text string
	frame               bool
}

type cacheEntry struct {
	symbol Symbol
	ok     bool
	bytes  int
}

// entryOverhead bounds what an entry takes besides its texts, in bytes: key, entry, list element and place in the map.
const entryOverhead = 640

// NewCache has room for so many bytes. One of 0 bytes remembers nothing.
func NewCache(bytes int) *Cache {
	c := &Cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		shard := &c.shards[i]
		shard.limit = max(bytes, 0) / cacheShards
		// The bound in bytes is reached long before that in entries.
		shard.entries, _ = simplelru.NewLRU(shard.limit/entryOverhead+1, func(_ cacheKey, e cacheEntry) { shard.bytes -= e.bytes })
	}
	return c
}

// Canonical is what the function of that name says.
func (c *Cache) Canonical(raw, language string) (Symbol, bool) {
	if len(raw) > MaxRaw {
		return Symbol{}, false
	}
	key := cacheKey{language: language, text: raw}
	shard := c.shard(&key)
	if e, ok := c.get(shard, &key); ok {
		return e.symbol, e.ok
	}
	// What is kept must not hold on to what raw was cut out of.
	key.language, key.text = strings.Clone(language), strings.Clone(raw)
	return shard.put(&key, func() (Symbol, bool) { return Canonical(key.text, key.language) })
}

// CanonicalFrame is what the function of that name says.
func (c *Cache) CanonicalFrame(language, pkg, member string) (Symbol, bool) {
	if member == "" || len(pkg)+len(member) > MaxName {
		return Symbol{}, false
	}
	key := cacheKey{language, pkg, member, true}
	shard := c.shard(&key)
	if e, ok := c.get(shard, &key); ok {
		return e.symbol, e.ok
	}
	key.language, key.pkg, key.text = strings.Clone(language), strings.Clone(pkg), strings.Clone(member)
	return shard.put(&key, func() (Symbol, bool) { return CanonicalFrame(key.language, key.pkg, key.text) })
}

// CacheStats are totals since the start, and the bytes held now.
type CacheStats struct{ Hits, Misses, Bytes int64 }

// Stats counts.
func (c *Cache) Stats() CacheStats {
	s := CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load()}
	for i := range c.shards {
		shard := &c.shards[i]
		shard.mu.Lock()
		s.Bytes += int64(shard.bytes)
		shard.mu.Unlock()
	}
	return s
}

func (c *Cache) shard(key *cacheKey) *cacheShard {
	return &c.shards[(maphash.String(c.seed, key.text)^maphash.String(c.seed, key.pkg))%cacheShards]
}

func (c *Cache) get(shard *cacheShard, key *cacheKey) (cacheEntry, bool) {
	shard.mu.Lock()
	e, ok := shard.entries.Get(*key)
	shard.mu.Unlock()
	if ok {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return e, ok
}

// put remembers the answer, unless it alone is larger than the shard.
func (s *cacheShard) put(key *cacheKey, answer func() (Symbol, bool)) (Symbol, bool) {
	var e cacheEntry
	e.symbol, e.ok = answer()
	e.bytes = entryOverhead + len(key.language) + len(key.pkg) + len(key.text) + e.symbol.bytes()
	if e.bytes > s.limit {
		return e.symbol, e.ok
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries.Contains(*key) {
		return e.symbol, e.ok // another call was faster
	}
	for s.bytes+e.bytes > s.limit {
		s.entries.RemoveOldest()
	}
	s.entries.Add(*key, e)
	s.bytes += e.bytes
	return e.symbol, e.ok
}

// bytes bounds what the texts of a symbol take, though some may share memory.
func (s *Symbol) bytes() int {
	const header = 16
	n := len(s.Language) + len(s.Package) + len(s.Member) + len(s.Name)
	for _, list := range [][]string{s.Aliases, s.Flags} {
		n += header * cap(list)
		for _, text := range list {
			n += len(text)
		}
	}
	return n
}
