// Package watchlist says what agents should probe: the functions that findings name, with the component that each belongs
// to and the findings that ask for it. The derivation is pure; who offers a list in this process implements Provider.
package watchlist

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Symbol is a function of a component that findings name, in canonical form.
type Symbol struct {
	Language string `json:"language,omitempty"`
	Package  string `json:"package,omitempty"`
	// Member is the function; empty for every function of the package.
	Member string `json:"member,omitempty"`
	// Component is the purl without version; empty where the function is asked for wherever it is.
	Component string `json:"component,omitempty"`
	// Findings are the ids of those that name it, sorted.
	Findings []string `json:"findings"`
}

// Compare orders symbols by language, package, member and component. No two of a list are equal.
func Compare(a, b Symbol) int {
	return cmp.Or(finding.CompareSymbols(a.ref(), b.ref()), cmp.Compare(a.Component, b.Component))
}

func (s *Symbol) ref() witness.SymbolRef {
	return witness.SymbolRef{Language: s.Language, Package: s.Package, Member: s.Member}
}

// List is what the findings of a tenant ask for. The same findings in any order make the same list.
type List struct {
	Symbols []Symbol // sorted by Compare
	// Unnamed counts findings that name no function: nothing of them can be probed by name.
	Unnamed int
	// LeftOut counts findings that were added when the list had MaxEntries already: they are not in it.
	LeftOut int
}

// MaxEntries bounds a list: how often a symbol is named by a finding.
const MaxEntries = 1_000_000

// Digest is a text that no other list has: 64 hex digits.
func (l *List) Digest() string {
	hash := sha256.New()
	put := func(text string) {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		_, _ = hash.Write([]byte(text))
	}
	for i := range l.Symbols {
		s := &l.Symbols[i]
		for _, text := range []string{s.Language, s.Package, s.Member, s.Component} {
			put(text)
		}
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s.Findings))))
		for _, id := range s.Findings {
			put(id)
		}
	}
	for _, count := range []int{l.Unnamed, l.LeftOut} {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(count))) //nolint:gosec // never negative
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// Builder makes a list of findings that come one after the other. Its zero value is ready.
type Builder struct {
	findings map[key][]string
	entries  int
	unnamed  int
	leftOut  int
}

type key struct {
	witness.SymbolRef
	component string
}

// Add adds a finding. Each id is added once. Which ones a list of more than MaxEntries leaves out depends on the order, so
// add them by id.
func (b *Builder) Add(f *witness.Finding) {
	if b.findings == nil {
		b.findings = map[key][]string{}
	}
	symbols := finding.Symbols(f)
	switch {
	case len(symbols) == 0:
		b.unnamed++
		return
	case b.entries+len(symbols) > MaxEntries:
		b.leftOut++
		return
	}
	b.entries += len(symbols)
	for _, symbol := range symbols {
		at := key{symbol, f.Component}
		b.findings[at] = append(b.findings[at], f.ID)
	}
}

// List returns the list of what was added.
func (b *Builder) List() *List {
	l := &List{Symbols: make([]Symbol, 0, len(b.findings)), Unnamed: b.unnamed, LeftOut: b.leftOut}
	for at, ids := range b.findings {
		ids = slices.Clone(ids)
		slices.Sort(ids)
		l.Symbols = append(l.Symbols, Symbol{at.Language, at.Package, at.Member, at.component, ids})
	}
	slices.SortFunc(l.Symbols, Compare)
	return l
}

// Provider is a component that offers the list of the default tenant, as of now.
type Provider interface {
	component.Component
	WatchList(ctx context.Context) (*List, error)
}

// Find returns the Provider that the extension id is.
func Find(host component.Host, id component.ID) (Provider, error) {
	extension, ok := host.GetExtensions()[id]
	if !ok {
		return nil, fmt.Errorf("watch list: extension %q is not in service.extensions", id)
	}
	provider, ok := extension.(Provider)
	if !ok {
		return nil, fmt.Errorf("watch list: extension %q offers none", id)
	}
	return provider, nil
}
