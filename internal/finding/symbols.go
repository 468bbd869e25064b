package finding

import (
	"cmp"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Symbols returns the symbols that a finding names in canonical form, as frames have them, sorted and without repetition.
// The source of each is left out. A symbol without member is its whole package.
func Symbols(f *witness.Finding) []witness.SymbolRef {
	c := component{}
	if p, err := parsePURL(f.Component); err == nil {
		c.finding = p
	}
	symbols := make([]witness.SymbolRef, 0, len(f.Symbols))
	for i := range f.Symbols {
		r := refOf(&c, &f.Symbols[i])
		symbols = append(symbols, witness.SymbolRef{Language: r.Language, Package: r.Package, Member: r.Member})
	}
	slices.SortFunc(symbols, CompareSymbols)
	return slices.Compact(symbols)
}

// CompareSymbols orders symbols by language, package and member.
func CompareSymbols(a, b witness.SymbolRef) int {
	return cmp.Or(cmp.Compare(a.Language, b.Language), cmp.Compare(a.Package, b.Package), cmp.Compare(a.Member, b.Member))
}
