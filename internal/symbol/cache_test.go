package symbol

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestCacheChangesNothing asks a small cache and the functions behind it the same questions, often twice.
func TestCacheChangesNothing(t *testing.T) {
	raws := rapid.SampledFrom([]string{
		"net/http.(*conn).serve", "net/http.(*conn).serve.func1", "SSL_read@@OPENSSL_3.0.0", "_ZN3foo3barEv", "_ZTV3foo", "main",
		"a::b::c", "password=x", "", "nft_do_chain [nf_tables]", strings.Repeat("a", 300), strings.Repeat("a", MaxRaw+1),
		"_RNvMCs6xxl1lAjzDf_1aINtB2_1SlE11insert_manyB2_",
	})
	languages := rapid.SampledFrom([]string{"", Go, Rust, Cxx, C, Kernel, "cobol"})
	rapid.Check(t, func(t *rapid.T) {
		c := NewCache(rapid.SampledFrom([]int{0, 4 << 10, 16 << 10, 1 << 20}).Draw(t, "bytes"))
		asked := int64(0)
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			raw, language := raws.Draw(t, "raw"), languages.Draw(t, "language")
			want, wantOK := Canonical(raw, language)
			got, ok := c.Canonical(raw, language)
			require.Equal(t, wantOK, ok)
			require.Equal(t, want, got)
			pkg, member, _ := strings.Cut(raw, ".")
			want, wantOK = CanonicalFrame(language, pkg, member)
			got, ok = c.CanonicalFrame(language, pkg, member)
			require.Equal(t, wantOK, ok)
			require.Equal(t, want, got)
			if len(raw) <= MaxRaw {
				asked++
			}
			if member != "" && len(pkg)+len(member) <= MaxName {
				asked++
			}
		}
		s := c.Stats()
		require.Equal(t, asked, s.Hits+s.Misses)
		require.LessOrEqual(t, s.Bytes, int64(1<<20))
	})
}

func TestCacheRemembers(t *testing.T) {
	c := NewCache(1 << 20)
	for range 3 {
		_, ok := c.Canonical("net/http.(*conn).serve", Go)
		require.True(t, ok)
		_, ok = c.Canonical("the password", Go)
		require.False(t, ok)
		_, ok = c.CanonicalFrame(Go, "net/http", "conn.serve")
		require.True(t, ok)
	}
	s := c.Stats()
	assert.Equal(t, int64(3), s.Misses)
	assert.Equal(t, int64(6), s.Hits, "refusals too")
	assert.Positive(t, s.Bytes)
	assert.Zero(t, testing.AllocsPerRun(100, func() { c.Canonical("net/http.(*conn).serve", Go) }))
	assert.Zero(t, testing.AllocsPerRun(100, func() { c.CanonicalFrame(Go, "net/http", "conn.serve") }))

	never := NewCache(0)
	never.Canonical("main.main", Go)
	never.Canonical("main.main", Go)
	assert.Equal(t, CacheStats{Misses: 2}, never.Stats())
}

// TestCacheFlood holds that distinct symbols, long or short, from many sides, take no more than the bound says, and that
// what is asked for meanwhile stays.
func TestCacheFlood(t *testing.T) {
	const limit = 1 << 20
	c := NewCache(limit)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			long := strings.Repeat("x", 200)
			for i := range 5000 {
				c.Canonical(fmt.Sprintf("pkg%d.F%d", worker, i), Go)
				c.Canonical(fmt.Sprintf("a/b%d.%s%d", worker, long, i), Go)
				c.Canonical(fmt.Sprintf("not a symbol %d %d %s", worker, i, strings.Repeat(long, i%16)), C)
				c.Canonical("net/http.(*conn).serve", Go)
			}
		})
	}
	group.Wait()
	s := c.Stats()
	assert.LessOrEqual(t, s.Bytes, int64(limit))
	assert.Greater(t, s.Bytes, int64(limit/2), "it is used")
	assert.Less(t, heap(), before+limit, "what is counted is no less than what is taken")
	assert.Greater(t, s.Hits, int64(19990))
	runtime.KeepAlive(c)
}

func BenchmarkCache(b *testing.B) {
	for _, raw := range []string{
		"cmd/go/internal/load.(*Package).setBuildInfo.(*Fetcher).LookupLocal.func8.1",
		"_ZNKSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE4sizeEv", "not a symbol",
	} {
		b.Run(raw, func(b *testing.B) {
			c := NewCache(1 << 20)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c.Canonical(raw, "")
				}
			})
		})
	}
}
