package finding

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// purl is a package URL, decoded: pkg:<kind>/<path>@<version>?<qualifiers>.
type purl struct {
	kind       string // golang, deb, cargo...
	path       string // namespace and name
	version    string
	qualifiers string // undecoded
}

var errPURL = errors.New("is not a purl (pkg:type/namespace/name)")

func parsePURL(s string) (purl, error) {
	rest, ok := strings.CutPrefix(s, "pkg:")
	if !ok {
		return purl{}, errPURL
	}
	var p purl
	rest, _, _ = strings.Cut(rest, "#")
	rest, p.qualifiers, _ = strings.Cut(rest, "?")
	p.kind, rest, ok = strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok || p.kind == "" {
		return purl{}, errPURL
	}
	p.kind = strings.ToLower(p.kind)
	for _, c := range []byte(p.kind) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' {
			return purl{}, errPURL
		}
	}
	// An @ that is part of a name is written %40, but npm scopes are often seen with a bare one in front.
	if at := strings.LastIndexByte(rest, '@'); at > 0 && rest[at-1] != '/' {
		version, err := url.PathUnescape(rest[at+1:])
		if err != nil || version == "" {
			return purl{}, errPURL
		}
		rest, p.version = rest[:at], version
	}
	var err error
	if p.path, err = url.PathUnescape(rest); err != nil || p.path == "" || slices.Contains(strings.Split(p.path, "/"), "") {
		return purl{}, errPURL
	}
	return p, nil
}

// encodePURL writes a purl without version. Qualifiers are given encoded.
func encodePURL(kind, path, qualifiers string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = strings.ReplaceAll(url.PathEscape(segment), "@", "%40")
	}
	s := "pkg:" + kind + "/" + strings.Join(segments, "/")
	if qualifiers != "" {
		s += "?" + qualifiers
	}
	return s
}

func (p *purl) qualifier(name string) string {
	for _, pair := range strings.Split(p.qualifiers, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == name {
			if value, err := url.PathUnescape(value); err == nil {
				return value
			}
		}
	}
	return ""
}

// is says whether p, seen running, is the component c of a finding, and the version of it that is to be compared, empty
// when it is not known. A Debian-like binary package is also its source package, which advisories name. A qualifier of c
// that p contradicts makes it another component; one that p does not have leaves the version open.
func (p *purl) is(c *purl) (version string, ok bool) {
	if p.kind != c.kind {
		return "", false
	}
	version = p.version
	switch {
	case samePath(p.kind, p.path, c.path):
	case p.kind == "deb" || p.kind == "rpm" || p.kind == "apk":
		upstream, upstreamVersion, _ := strings.Cut(p.qualifier("upstream"), "@")
		slash := strings.LastIndexByte(p.path, '/') + 1
		if upstream == "" || p.path[:slash]+upstream != c.path {
			return "", false
		}
		if upstreamVersion != "" {
			version = upstreamVersion
		}
	default:
		return "", false
	}
	if c.qualifiers != "" {
		for _, pair := range strings.Split(c.qualifiers, "&") {
			name, _, _ := strings.Cut(pair, "=")
			want, have := c.qualifier(name), p.qualifier(name)
			if have == "" {
				version = ""
			} else if have != want && !strings.HasPrefix(have, want+".") { // debian-12 is debian-12.5 too
				return "", false
			}
		}
	}
	return version, true
}

// samePath compares names as the type has it: purls of Go modules are often lower-cased, and PyPI folds case and
// punctuation.
func samePath(kind, a, b string) bool {
	switch kind {
	case "golang", "composer", "github":
		return strings.EqualFold(a, b)
	case "pypi":
		return foldPyPI(a) == foldPyPI(b)
	default:
		return a == b
	}
}

func foldPyPI(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
}

// component is what a finding's component and a frame's have to do with each other.
type component struct {
	finding purl
	// same: the frame belongs to the component. other: it belongs to another one. Neither: nothing is known.
	same, other bool
	// version of the component that ran, empty when unknown.
	version string
}

// componentOf looks at the component of the frame, or else at the artifact, which may be the component itself.
func componentOf(f *witness.Finding, frame *witness.Frame, artifact *witness.Artifact) component {
	var c component
	var err error
	if c.finding, err = parsePURL(f.Component); err != nil {
		return component{}
	}
	if frame.Component != "" {
		p, err := parsePURL(frame.Component)
		if err != nil {
			return c
		}
		if c.version, c.same = p.is(&c.finding); !c.same {
			c.other = true
			return c
		}
	}
	if c.version == "" && artifact.PURL != "" {
		if p, err := parsePURL(artifact.PURL); err == nil {
			if version, ok := p.is(&c.finding); ok {
				c.same, c.version = true, version
			}
		}
	}
	return c
}
