package ebpfreceiver

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// wanted are the functions to be counted: those of the configuration, and those of the watch list that it allows.
type wanted struct {
	version int
	files   []FileConfig
	paths   []string // of files in which functions are looked for that are not in Go
	// goFunctions by the package they are in, others as they are.
	goFunctions map[string][]watchlist.Symbol
	others      []watchlist.Symbol
}

// newWanted makes the next version. The list may be nil.
func newWanted(version int, config *ProbesConfig, list *watchlist.List) *wanted {
	w := &wanted{version: version, files: config.Files, paths: config.Allow.Paths, goFunctions: map[string][]watchlist.Symbol{}}
	if list == nil {
		return w
	}
	allowed := map[string]bool{}
	for _, purl := range config.Allow.Components {
		allowed[finding.FoldPURL(purl)] = true
	}
	for _, s := range list.Symbols {
		switch {
		case len(allowed) > 0 && !allowed[finding.FoldPURL(s.Component)]:
		case s.Language == "go":
			w.goFunctions[s.Package] = append(w.goFunctions[s.Package], s)
		case len(w.paths) > 0:
			w.others = append(w.others, s)
		}
	}
	return w
}

// of are the functions that are wanted of a file, each once.
func (w *wanted) of(filePath string, facts *artifact.Facts) (requests []probepoint.Request) {
	for i := range w.files {
		f := &w.files[i]
		if f.BuildID != "" && f.BuildID != facts.BuildID || f.Path != "" && !matches(f.Path, filePath) {
			continue
		}
		for _, symbol := range f.Symbols {
			requests = append(requests, probepoint.Request{Pattern: symbol, Symbol: witness.SymbolRef{Language: f.Language}})
		}
	}
	allowed := len(w.paths) == 0 || slices.ContainsFunc(w.paths, func(p string) bool { return matches(p, filePath) })
	if !allowed {
		return unique(requests)
	}
	if facts.IsGo {
		for pkg, symbols := range w.goFunctions {
			component := artifact.Component(facts, "go", pkg)
			if component == "" {
				continue
			}
			component = finding.FoldPURL(component)
			for i := range symbols {
				if s := &symbols[i]; s.Component == "" || finding.FoldPURL(s.Component) == component {
					requests = append(requests, probepoint.Request{Symbol: witness.SymbolRef{Language: "go", Package: s.Package, Member: s.Member}})
				}
			}
		}
	}
	for i := range w.others {
		s := &w.others[i]
		requests = append(requests, probepoint.Request{Symbol: witness.SymbolRef{Language: s.Language, Package: s.Package, Member: s.Member}})
	}
	return unique(requests)
}

// unique sorts requests, leaves out those that are there twice, and numbers them.
func unique(requests []probepoint.Request) []probepoint.Request {
	slices.SortFunc(requests, func(a, b probepoint.Request) int {
		if c := finding.CompareSymbols(a.Symbol, b.Symbol); c != 0 {
			return c
		}
		return strings.Compare(a.Pattern, b.Pattern)
	})
	requests = slices.Compact(requests)
	for i := range requests {
		requests[i].ID = strconv.Itoa(i)
	}
	return requests
}

func matches(pattern, filePath string) bool {
	ok, _ := path.Match(pattern, filePath) // Validate refuses bad patterns
	return ok
}
