package sqlite

import (
	"net/url"
	"strings"
)

// names are what a package URL is found by: fold of it and, for a package of a distribution, of its source package, which
// advisories name. None if it is no purl.
func names(purl string) []string {
	if !strings.HasPrefix(purl, "pkg:") {
		return nil
	}
	purl, _, _ = strings.Cut(purl, "#")
	found := []string{fold(purl)}
	bare, qualifiers, _ := strings.Cut(purl, "?")
	for _, pair := range strings.Split(qualifiers, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if value, err := url.PathUnescape(value); name == "upstream" && err == nil {
			value, _, _ = strings.Cut(value, "@")
			if slash := strings.LastIndexByte(bare, '/'); value != "" && slash >= 0 {
				if upstream := fold(bare[:slash+1]) + strings.ToLower(value); upstream != found[0] {
					found = append(found, upstream)
				}
			}
		}
	}
	return found
}

// fold takes version and qualifiers off a purl and folds what some purl types hold equal and some writers write
// differently: case, escapes, and the punctuation of PyPI. What is selected by it is a superset.
func fold(purl string) string {
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
