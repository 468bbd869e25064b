package finding

import (
	"regexp"
	"strings"

	debversion "github.com/knqyf263/go-deb-version"
	"golang.org/x/mod/semver"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// versionState says whether the version that ran is affected. It is unknown without one, and where the versions of the
// ecosystem cannot be compared here. Of matches nothing that is unaffected.
func versionState(f *witness.Finding, c *component) VersionState {
	if len(f.Affected) == 0 && len(f.Versions) == 0 {
		return VersionAffected
	}
	if c.version == "" {
		return VersionUnknown
	}
	for _, version := range f.Versions {
		if version == c.version {
			return VersionAffected
		}
	}
	s := schemeOf(c.finding.kind, c.finding.path)
	if s == nil {
		return VersionUnknown
	}
	version, ok := s.parse(c.version)
	if !ok {
		return VersionUnknown
	}
	state := VersionUnaffected
	for _, text := range f.Versions {
		if other, ok := s.parse(text); !ok {
			state = VersionUnknown
		} else if s.compare(version, other) == 0 {
			return VersionAffected
		}
	}
	for i := range f.Affected {
		switch s.within(version, &f.Affected[i]) {
		case VersionAffected:
			return VersionAffected
		case VersionUnknown:
			state = VersionUnknown
		}
	}
	return state
}

// OutsideRange is Of for evidence of a version that is known to be outside of what the finding says is affected: how it
// would answer the finding were it not for its version, and that version. What tells the version is a claim of the file or
// its package, so this is worth telling, and neither evidence nor a verdict.
func OutsideRange(f *witness.Finding, kind witness.Kind, frame *witness.Frame, artifact *witness.Artifact, named bool) (m Match, version string, ok bool) {
	if frame == nil {
		frame = &witness.Frame{}
	}
	if artifact == nil {
		artifact = &witness.Artifact{}
	}
	c := componentOf(f, frame, artifact)
	if versionState(f, &c) != VersionUnaffected {
		return Match{}, "", false
	}
	whatever := *f
	whatever.Affected, whatever.Versions = nil, nil
	if m, ok = Of(&whatever, kind, frame, artifact, named); !ok {
		return Match{}, "", false
	}
	m.Version = VersionUnaffected
	return m, c.version, true
}

// scheme is how versions of an ecosystem are read and ordered.
type scheme struct {
	parse   func(string) (string, bool)
	compare func(a, b string) int // of what parse returned
}

var (
	semverScheme = &scheme{parseSemver, semver.Compare}
	goScheme     = &scheme{parseGoRelease, semver.Compare}
	debScheme    = &scheme{parseDeb, compareDeb}
)

// schemeOf is nil where versions cannot be ordered: then only the listed ones are known to be affected.
func schemeOf(kind, path string) *scheme {
	switch kind {
	case "golang":
		if path == "stdlib" || path == "toolchain" {
			return goScheme
		}
		return semverScheme
	case "cargo", "npm", "hex", "pub", "swift":
		return semverScheme
	case "deb":
		return debScheme
	default:
		return nil
	}
}

// within says whether version is in [Introduced, Fixed) or [Introduced, LastAffected]. A bound that cannot be read
// leaves it open, unless the other bound shuts the version out.
func (s *scheme) within(version string, r *witness.VersionRange) VersionState {
	state := VersionAffected
	if !isBeginning(r.Introduced) {
		if introduced, ok := s.parse(r.Introduced); !ok {
			state = VersionUnknown
		} else if s.compare(version, introduced) < 0 {
			return VersionUnaffected
		}
	}
	if r.Fixed != "" {
		if fixed, ok := s.parse(r.Fixed); !ok {
			state = VersionUnknown
		} else if s.compare(version, fixed) >= 0 {
			return VersionUnaffected
		}
	}
	if r.LastAffected != "" {
		if last, ok := s.parse(r.LastAffected); !ok {
			state = VersionUnknown
		} else if s.compare(version, last) > 0 {
			return VersionUnaffected
		}
	}
	return state
}

func isBeginning(introduced string) bool { return introduced == "" || introduced == "0" }

// parseSemver reads semantic versions, with or without a v, and with the Go shorthands (1.2). Pseudo-versions and
// +incompatible are semantic versions.
func parseSemver(s string) (string, bool) {
	s = "v" + strings.TrimPrefix(s, "v")
	return s, semver.IsValid(s)
}

// goRelease is a Go release as the toolchain writes it (go1.22rc1) or as the vulnerability database does (1.22.0-rc.1).
// Anything behind it, as of a vendor's build, leaves the version open.
var goRelease = regexp.MustCompile(`^(?:go|v)?(\d+\.\d+)(\.\d+)?(?:-?(rc|beta)\.?(\d+)|-(0))?$`)

func parseGoRelease(s string) (string, bool) {
	m := goRelease.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	version := "v" + m[1] + m[2]
	if m[2] == "" {
		version += ".0"
	}
	switch {
	case m[3] != "":
		version += "-" + m[3] + "." + m[4]
	case m[5] != "":
		version += "-0"
	}
	return version, semver.IsValid(version)
}

// longDigits are too long for the comparison of go-deb-version, which reads digits as int.
var longDigits = regexp.MustCompile(`\d{19}|[^ -~]`)

func parseDeb(s string) (string, bool) {
	if longDigits.MatchString(s) {
		return "", false
	}
	_, err := debversion.NewVersion(s)
	return s, err == nil
}

func compareDeb(a, b string) int {
	x, errX := debversion.NewVersion(a)
	y, errY := debversion.NewVersion(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b) // not after parseDeb
	}
	return x.Compare(y)
}
