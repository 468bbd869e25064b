package probepoint

import (
	"bytes"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
)

// matcher tells which requests a function answers. It holds functions equal that findings hold equal: of a package that a program
// vendors and the package, of std, core and alloc, and of a Rust type by its last two names, since advisories have the public path and symbols
// that of the definition.
type matcher struct {
	requests []Request
	// exact has Go functions and those without language by package and member, or package alone; last the others by the last part of the member, or the first of the package.
	exact, last map[[2]string][]int
	goPackages  map[string]bool
	patterns    []int
	// all is true when no name can be ruled out by its letters, packages when only some can: those with a Rust type and its trait in one
	// identifier.
	all, packages bool
}

// wholePackage is the member of a request for every function of a package.
const wholePackage = ""

func newMatcher(requests []Request) *matcher {
	m := &matcher{requests: requests, exact: map[[2]string][]int{}, last: map[[2]string][]int{}, goPackages: map[string]bool{}}
	for n := range requests {
		r := &requests[n]
		if r.Pattern != "" {
			m.patterns = append(m.patterns, n)
			continue
		}
		s := &r.Symbol
		if s.Package == "" && s.Member == "" {
			continue // names nothing
		}
		if s.Language == "" || s.Language == symbol.Go {
			key := [2]string{s.Package, s.Member}
			m.exact[key] = append(m.exact[key], n)
			m.goPackages[s.Package] = true
		}
		if s.Language != symbol.Go {
			key := [2]string{"", lastPart(s.Member)}
			if s.Member == wholePackage {
				key = [2]string{firstPart(s.Package), ""}
				// std is not written out in mangled names.
				m.all, m.packages = m.all || standard(key[0]), true
			}
			m.last[key] = append(m.last[key], n)
			if text := key[0] + key[1]; strings.HasPrefix(text, "operator") || strings.HasPrefix(text, "~") || !ascii(text) {
				m.all = true
			}
		}
	}
	m.all = m.all || len(m.patterns) > 0
	return m
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }

func firstPart(name string) string {
	first, _, _ := strings.Cut(name, ":")
	return first
}

func standard(crate string) bool { return slices.Contains(symbol.RustStandard, crate) }

// mayBeGo is false for names in the Go linker's form that answer no request.
func (m *matcher) mayBeGo(raw []byte) bool {
	if len(m.patterns) > 0 {
		return true
	}
	plain := raw
	if at := bytes.IndexByte(raw, '['); at >= 0 {
		plain = raw[:at]
	}
	slash := bytes.LastIndexByte(plain, '/')
	dot := bytes.IndexByte(plain[slash+1:], '.')
	if dot <= 0 {
		return false
	}
	pkg := plain[:slash+1+dot]
	if at := bytes.LastIndex(pkg, []byte("/vendor/")); at > 0 && m.goPackages[string(pkg[at+len("/vendor/"):])] {
		return true
	}
	return m.goPackages[string(pkg)] || bytes.IndexByte(pkg, '%') >= 0
}

// mayBeNative is false for names of a symbol table that answer no request. A mangled name has each identifier behind its length.
func (m *matcher) mayBeNative(raw []byte) bool {
	if m.all {
		return true
	}
	if len(m.last) == 0 {
		return false
	}
	if !bytes.HasPrefix(raw, []byte("_R")) && !bytes.HasPrefix(raw, []byte("_Z")) && !bytes.HasPrefix(raw, []byte("__Z")) {
		name := raw
		if at := bytes.IndexAny(raw, ".@"); at > 0 {
			name = raw[:at]
		}
		return m.hasPart(name) || bytes.IndexByte(raw, '/') >= 0 || bytes.IndexByte(raw, ':') >= 0
	}
	if m.packages && bytes.IndexByte(raw, '$') >= 0 {
		return true
	}
	for at := 0; at < len(raw); at++ {
		if raw[at] < '0' || raw[at] > '9' {
			continue
		}
		length := 0
		for ; at < len(raw) && raw[at] >= '0' && raw[at] <= '9'; at++ {
			length = min(10*length+int(raw[at]-'0'), len(raw))
		}
		if at+length <= len(raw) && m.hasPart(raw[at:at+length]) {
			return true
		}
		// In the newer Rust scheme a _ may stand between.
		if at+1+length <= len(raw) && raw[at] == '_' && m.hasPart(raw[at+1:at+1+length]) {
			return true
		}
	}
	return false
}

func (m *matcher) hasPart(name []byte) bool {
	if len(m.last[[2]string{"", string(name)}]) > 0 {
		return true
	}
	return len(m.last[[2]string{string(name), ""}]) > 0
}

// answers appends the requests that a function answers.
func (m *matcher) answers(into []int, raw string, s *symbol.Symbol) []int {
	if s.Language == symbol.Go {
		pkg := symbol.Vendored(s.Package)
		into = append(into, m.exact[[2]string{pkg, s.Member}]...)
		into = append(into, m.exact[[2]string{pkg, wholePackage}]...)
	} else {
		for _, key := range [2][2]string{{"", lastPart(s.Member)}, {firstPart(join(s.Package, s.Member)), ""}} {
			into = m.verified(into, key, s)
		}
		if standard(s.Package) {
			for _, crate := range symbol.RustStandard {
				if crate != s.Package {
					into = m.verified(into, [2]string{crate, ""}, s)
				}
			}
		}
	}
	for _, n := range m.patterns {
		r := &m.requests[n]
		if ref := refOf(r); ref.Speaks(s.Language) && (r.Pattern == raw || glob(r.Pattern, s.Name)) {
			into = append(into, n)
		}
	}
	return into
}

func (m *matcher) verified(into []int, key [2]string, s *symbol.Symbol) []int {
	for _, n := range m.last[key] {
		if names(&m.requests[n], s) {
			into = append(into, n)
		}
	}
	return into
}

// names reports whether a function that is not Go's is what a request names. What it is an alias of is none: a probe
// would count each type's implementation of a trait.
func names(r *Request, s *symbol.Symbol) bool {
	ref := refOf(r)
	if ref.Member != wholePackage {
		match, ok := ref.Match(s, false)
		return ok && (match.By == symbol.ByName || match.By == symbol.ByTail)
	}
	switch {
	case !ref.Speaks(s.Language):
		return false
	case ref.Language == symbol.Rust:
		return ref.Package == s.Package || standard(ref.Package) && standard(s.Package)
	case ref.Language == symbol.Cxx:
		return strings.HasPrefix(join(s.Package, s.Member), ref.Package+"::")
	}
	return ref.Package == s.Package
}

// refOf is the symbol of a request. One with :: and no language is C++.
func refOf(r *Request) symbol.Ref {
	ref := symbol.Ref{Language: r.Symbol.Language, Package: r.Symbol.Package, Member: r.Symbol.Member}
	if ref.Language == "" && strings.Contains(ref.Package+ref.Member, "::") {
		ref.Language = symbol.Cxx
	}
	return ref
}

func join(pkg, member string) string {
	switch {
	case pkg == "":
		return member
	case member == "":
		return pkg
	}
	return pkg + "::" + member
}

// glob reports whether a name matches a pattern, in which * stands for any text and ? for any byte.
func glob(pattern, name string) bool {
	star, from := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
