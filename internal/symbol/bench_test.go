package symbol

import (
	"bufio"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample are raw symbols of testdata/samples: every n-th of a corpus of corpus_test.go, see README.md.
func sample(t testing.TB, name string) []string {
	t.Helper()
	file, err := os.Open("testdata/samples/" + name + ".txt")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	var raws []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		raws = append(raws, lines.Text())
	}
	require.NoError(t, lines.Err())
	require.NotEmpty(t, raws)
	return raws
}

// BenchmarkSamples measures a symbol of real programs, one after the other, uncached and from the cache.
func BenchmarkSamples(b *testing.B) {
	for _, name := range []string{"go", "cxx", "rust", "rust-legacy", "c", "kernel"} {
		raws := sample(b, name)
		language := ""
		if name == Go || name == Kernel {
			language = name
		}
		each := func(b *testing.B, canonical func(raw, language string) (Symbol, bool)) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				canonical(raws[i], language)
				if i++; i == len(raws) {
					i = 0
				}
			}
		}
		b.Run(name+"/uncached", func(b *testing.B) { each(b, Canonical) })
		b.Run(name+"/cached", func(b *testing.B) {
			cache := NewCache(16 << 20)
			for _, raw := range raws {
				cache.Canonical(raw, language)
			}
			each(b, cache.Canonical)
		})
	}
}
