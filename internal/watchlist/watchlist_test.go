package watchlist

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

func list(findings ...witness.Finding) *List {
	var b Builder
	for i := range findings {
		b.Add(&findings[i])
	}
	return b.List()
}

func TestList(t *testing.T) {
	const net = "pkg:golang/golang.org/x/net"
	assert.Equal(t, &List{Symbols: []Symbol{
		{"c", "", "SSL_read", "", []string{"C-1"}},
		{"go", "golang.org/x/net/html", "", net, []string{"B"}},
		{"go", "golang.org/x/net/html", "Tokenizer.Next", net, []string{"A", "B"}},
		{"go", "golang.org/x/net/html", "Tokenizer.Next", net + "/fork", []string{"D"}},
		{"rust", "small_vec", "SmallVec::grow", "pkg:cargo/smallvec", []string{"R"}},
	}, Unnamed: 1}, list(
		witness.Finding{ID: "R", Component: "pkg:cargo/smallvec", Symbols: []witness.SymbolRef{{Package: "small-vec", Member: "SmallVec::<T>::grow"}}},
		witness.Finding{ID: "B", Component: net, Symbols: []witness.SymbolRef{
			{Language: "go", Package: "golang.org/x/net/html", Member: "(*Tokenizer).Next", Source: "user"}, {Package: "golang.org/x/net/html"},
			{Package: "golang.org/x/net/html", Member: "Tokenizer.Next", Source: "osv"},
		}},
		witness.Finding{ID: "A", Component: net, Symbols: []witness.SymbolRef{{Package: "golang.org/x/net/html", Member: "Tokenizer.Next"}}},
		witness.Finding{ID: "D", Component: net + "/fork", Symbols: []witness.SymbolRef{{Package: "golang.org/x/net/html", Member: "Tokenizer.Next"}}},
		witness.Finding{ID: "C-1", Symbols: []witness.SymbolRef{{Language: "c", Member: "SSL_read"}}},
		witness.Finding{ID: "E", Component: net},
	))
	assert.Equal(t, &List{Symbols: []Symbol{}}, list())
}

// The order of findings is no matter, and whatever else changes the list changes its digest.
func TestDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		findings := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) witness.Finding {
			f := witness.Finding{ID: rapid.StringMatching("[A-E]{1,2}").Draw(t, "id"), Component: rapid.SampledFrom([]string{"", "pkg:golang/a"}).Draw(t, "component")}
			for range rapid.IntRange(0, 3).Draw(t, "symbols") {
				f.Symbols = append(f.Symbols, witness.SymbolRef{Language: "go", Package: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "package"), Member: rapid.SampledFrom([]string{"", "F", "G"}).Draw(t, "member")})
			}
			return f
		}), 0, 6, func(f witness.Finding) string { return f.ID }).Draw(t, "findings")
		one := list(findings...)
		shuffled := list(rapid.Permutation(findings).Draw(t, "order")...)
		assert.Equal(t, one, shuffled)
		assert.Equal(t, one.Digest(), shuffled.Digest())
		if len(findings) > 0 {
			assert.NotEqual(t, one.Digest(), list(findings[1:]...).Digest())
		}
		for i := 1; i < len(one.Symbols); i++ {
			assert.Negative(t, Compare(one.Symbols[i-1], one.Symbols[i]))
		}
	})
}

func TestListIsBounded(t *testing.T) {
	f := witness.Finding{Symbols: make([]witness.SymbolRef, 10_000)}
	for i := range f.Symbols {
		f.Symbols[i] = witness.SymbolRef{Language: "c", Member: fmt.Sprintf("f%d", i)}
	}
	var b Builder
	for i := range 102 {
		f.ID = fmt.Sprint(i)
		b.Add(&f)
	}
	b.Add(&witness.Finding{ID: "x", Symbols: f.Symbols[:0]})
	l := b.List()
	assert.Len(t, l.Symbols, 10_000)
	assert.Len(t, l.Symbols[0].Findings, 100)
	assert.Equal(t, 2, l.LeftOut)
	assert.Equal(t, 1, l.Unnamed)
}

func TestFind(t *testing.T) {
	_, err := Find(componenttest.NewNopHost(), component.MustNewID("findings"))
	require.ErrorContains(t, err, `"findings" is not in service.extensions`)
}

func BenchmarkList(b *testing.B) {
	findings := make([]witness.Finding, 40_000)
	for i := range findings {
		findings[i] = witness.Finding{ID: fmt.Sprintf("GO-%d", i), Component: fmt.Sprintf("pkg:golang/example.com/m%d", i%2000), Symbols: []witness.SymbolRef{
			{Language: "go", Package: fmt.Sprintf("example.com/m%d/p", i%2000), Member: fmt.Sprintf("F%d", i%5000)}, {Language: "go", Package: fmt.Sprintf("example.com/m%d/p", i%2000), Member: "(*T).M"},
		}}
	}
	b.ReportAllocs()
	for b.Loop() {
		list(findings...).Digest()
	}
}
