package finding

import (
	"net/url"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// PURLNames are what a package URL is found by: FoldPURL of it and, for a package of a distribution, of its source package, which
// advisories name. None if it is no purl.
func PURLNames(purl string) []string {
	if !strings.HasPrefix(purl, "pkg:") {
		return nil
	}
	purl, _, _ = strings.Cut(purl, "#")
	found := []string{FoldPURL(purl)}
	bare, qualifiers, _ := strings.Cut(purl, "?")
	for _, pair := range strings.Split(qualifiers, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if value, err := url.PathUnescape(value); name == "upstream" && err == nil {
			value, _, _ = strings.Cut(value, "@")
			if slash := strings.LastIndexByte(bare, '/'); value != "" && slash >= 0 {
				if upstream := FoldPURL(bare[:slash+1]) + strings.ToLower(value); upstream != found[0] {
					found = append(found, upstream)
				}
			}
		}
	}
	return found
}

// FoldPURL takes version and qualifiers off a purl and folds what some purl types hold equal and some writers write
// differently: case, escapes, and the punctuation of PyPI. What is selected by it is a superset.
func FoldPURL(purl string) string {
	purl, _, _ = strings.Cut(purl, "#")
	purl, _, _ = strings.Cut(purl, "?")
	// An @ in a name is written %40, but npm scopes are often seen with a bare one in front.
	if at := strings.LastIndexByte(purl, '@'); at > 0 && purl[at-1] != '/' {
		purl = purl[:at]
	}
	if plain, err := url.PathUnescape(purl); err == nil {
		purl = plain
	}
	purl = strings.ToLower(purl)
	if strings.HasPrefix(purl, "pkg:pypi/") {
		purl = strings.NewReplacer("_", "-", ".", "-").Replace(purl)
	}
	return purl
}

// Index finds the findings of a set that a subject could answer: those of which Selectors would select it.
type Index struct {
	members, packages, components map[string][]int
}

// NewIndex is an empty index.
func NewIndex() *Index {
	return &Index{map[string][]int{}, map[string][]int{}, map[string][]int{}}
}

// Add adds a finding under a number.
func (x *Index) Add(number int, f *witness.Finding) {
	x.each(f, func(numbers map[string][]int, key string) { numbers[key] = append(numbers[key], number) })
}

// Remove takes out what Add added.
func (x *Index) Remove(number int, f *witness.Finding) {
	x.each(f, func(numbers map[string][]int, key string) {
		numbers[key] = slices.DeleteFunc(numbers[key], func(n int) bool { return n == number })
		if len(numbers[key]) == 0 {
			delete(numbers, key)
		}
	})
}

func (x *Index) each(f *witness.Finding, do func(numbers map[string][]int, key string)) {
	members, packages, components := Selectors(f)
	for i, component := range components {
		components[i] = FoldPURL(component)
	}
	for _, member := range members {
		do(x.members, member)
	}
	for _, pkg := range packages {
		do(x.packages, pkg)
	}
	for _, component := range sorted(components) {
		do(x.components, component)
	}
}

// Candidates appends the numbers of the findings that a frame with its artifact could answer, ascending and each once.
func (x *Index) Candidates(into []int, frame *witness.Frame, artifact *witness.Artifact) []int {
	first := len(into)
	if frame.Member != "" {
		into = append(into, x.members[frame.Member]...)
	}
	if frame.Package != "" {
		into = append(into, x.packages[frame.Package]...)
		if at := strings.LastIndex(frame.Package, symbol.VendorMark); at >= 0 {
			into = append(into, x.packages[frame.Package[at:]]...)
		}
	}
	for _, purl := range [2]string{frame.Component, artifact.PURL} {
		for _, name := range PURLNames(purl) {
			into = append(into, x.components[name]...)
		}
	}
	found := into[first:]
	slices.Sort(found)
	return into[:first+len(slices.Compact(found))]
}
