package finding

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Bounds of a finding. Lengths are in bytes.
const (
	MaxID          = 256
	MaxText        = 1024 // any other text
	MaxAliases     = 256
	MaxRanges      = 1024
	MaxVersions    = 20000
	MaxSymbols     = 10000
	MaxOccurrences = 10000
	MaxPackages    = 20000 // of an advisory
)

// ValidateID checks a finding id: valid UTF-8 without control characters, not empty, at most MaxID bytes, no private data.
// Anything else, slashes included, is allowed.
func ValidateID(id string) error {
	if id == "" {
		return errors.New("is empty")
	}
	if err := validText(id, MaxID); err != nil {
		return err
	}
	return checkPrivate(id)
}

func validText(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("is longer than %d bytes", most)
	}
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return errors.New("has a control character")
		}
	}
	return nil
}

// Validate checks a finding: its id, the bounds of everything, that the component is a purl without version, that
// ranges can be read where the versions of its ecosystem can be compared, that symbols have what their language needs, and
// that nothing that names something is private. The error is a *FieldError, which names the member at fault and repeats no value.
func Validate(f *witness.Finding) error {
	if err := validate(f); err != nil {
		return err
	}
	return nil
}

// FieldError says which member of a finding or advisory is at fault, as affected[0].fixed, and why.
type FieldError struct {
	Field  string
	Reason error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason.Error() }

// Unwrap returns the reason.
func (e *FieldError) Unwrap() error { return e.Reason }

func fieldError(reason error, format string, arguments ...any) *FieldError {
	return &FieldError{fmt.Sprintf(format, arguments...), reason}
}

func validate(f *witness.Finding) *FieldError {
	if err := ValidateID(f.ID); err != nil {
		return fieldError(err, "id")
	}
	for _, count := range []struct {
		field     string
		have, max int
	}{
		{"aliases", len(f.Aliases), MaxAliases},
		{"affected", len(f.Affected), MaxRanges},
		{"versions", len(f.Versions), MaxVersions},
		{"symbols", len(f.Symbols), MaxSymbols},
		{"occurrences", len(f.Occurrences), MaxOccurrences},
	} {
		if count.have > count.max {
			return fieldError(fmt.Errorf("has more than %d entries", count.max), "%s", count.field)
		}
	}
	for _, text := range []struct{ field, value string }{
		{"title", f.Title}, {"component", f.Component}, {"severity", f.Severity}, {"scope", f.Scope},
	} {
		if err := validText(text.value, MaxText); err != nil {
			return fieldError(err, "%s", text.field)
		}
	}
	for i, alias := range f.Aliases {
		if err := ValidateID(alias); err != nil {
			return fieldError(err, "aliases[%d]", i)
		}
	}
	var p purl
	if f.Component != "" {
		var err error
		if p, err = parsePURL(f.Component); err != nil {
			return fieldError(err, "component")
		}
		if p.version != "" {
			return fieldError(errors.New("has a version; a component is named without one"), "component")
		}
		if err := checkPrivatePURL(f.Component); err != nil {
			return fieldError(err, "component")
		}
	}
	if err := validateVersions(f, schemeOf(p.kind, p.path)); err != nil {
		return err
	}
	c := component{finding: p}
	for i := range f.Symbols {
		s := &f.Symbols[i]
		for _, text := range []struct{ field, value string }{
			{"language", s.Language}, {"package", s.Package}, {"member", s.Member}, {"source", s.Source},
		} {
			if err := validText(text.value, MaxText); err != nil {
				return fieldError(err, "symbols[%d].%s", i, text.field)
			}
			if err := checkPrivate(text.value); err != nil {
				return fieldError(err, "symbols[%d].%s", i, text.field)
			}
		}
		switch r := refOf(&c, s); {
		case s.Language != "" && !slices.Contains(symbolLanguages, s.Language):
			// No frame has another language: such a symbol would never be seen, and nobody would know why.
			return fieldError(errors.New("is not one of "+strings.Join(symbolLanguages, ", ")), "symbols[%d].language", i)
		case r.Package == "" && r.Member == "":
			return fieldError(errors.New("is empty, and so is member"), "symbols[%d].package", i)
		case r.Package == "" && languageNeedsPackage(r.Language):
			return fieldError(errors.New("is empty; only C, C++ and kernel functions have no package"), "symbols[%d].package", i)
		}
	}
	for i := range f.Occurrences {
		o := &f.Occurrences[i]
		for _, text := range []struct{ field, value string }{
			{"scanner", o.Scanner}, {"imageDigest", o.ImageDigest}, {"version", o.Version},
			{"namespace", o.Namespace}, {"controller", o.Controller}, {"container", o.Container},
		} {
			if err := validText(text.value, MaxText); err != nil {
				return fieldError(err, "occurrences[%d].%s", i, text.field)
			}
		}
		for _, text := range []struct{ field, value string }{{"imageDigest", o.ImageDigest}, {"version", o.Version}} {
			if err := checkPrivate(text.value); err != nil {
				return fieldError(err, "occurrences[%d].%s", i, text.field)
			}
		}
	}
	return nil
}

// symbolLanguages are those that frames can have.
var symbolLanguages = []string{"go", "rust", "cxx", "c", "kernel", "jvm", "dotnet", "python", "js", "swift", "d"}

func languageNeedsPackage(language string) bool {
	return language != "c" && language != "cxx" && language != "kernel" && language != ""
}

// commit is the bound of a range of revisions. It compares with no version.
var commit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

func validateVersions(f *witness.Finding, s *scheme) *FieldError {
	for i, version := range f.Versions {
		if version == "" {
			return fieldError(errors.New("is empty"), "versions[%d]", i)
		}
		if err := validText(version, MaxText); err != nil {
			return fieldError(err, "versions[%d]", i)
		}
		if err := checkPrivate(version); err != nil {
			return fieldError(err, "versions[%d]", i)
		}
	}
	for i := range f.Affected {
		r := &f.Affected[i]
		if r.Fixed != "" && r.LastAffected != "" {
			return fieldError(errors.New("is set, and so is fixed; a range has one end"), "affected[%d].lastAffected", i)
		}
		for _, bound := range []struct{ field, value string }{
			{"introduced", r.Introduced}, {"fixed", r.Fixed}, {"lastAffected", r.LastAffected},
		} {
			if err := validText(bound.value, MaxText); err != nil {
				return fieldError(err, "affected[%d].%s", i, bound.field)
			}
			if err := checkPrivate(bound.value); err != nil {
				return fieldError(err, "affected[%d].%s", i, bound.field)
			}
			if bound.value == "" || bound.value == "0" || s == nil || commit.MatchString(bound.value) {
				continue
			}
			if _, ok := s.parse(bound.value); !ok {
				return fieldError(errors.New("is not a version of this ecosystem"), "affected[%d].%s", i, bound.field)
			}
		}
	}
	return nil
}
