package finding

import (
	"errors"
	"net/url"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// errPrivate refuses what names something: without the part that is private it would name something else.
var errPrivate = errors.New("has what looks like private data: a credential, an address, a user's name")

// checkPrivate refuses a name, version or id that scrubbing would change.
func checkPrivate(text string) error {
	if privacy.Name(text) != text {
		return errPrivate
	}
	return nil
}

// checkPrivatePURL is checkPrivate for a package URL, whose qualifiers hold URLs and file names.
func checkPrivatePURL(text string) error {
	plain, err := url.PathUnescape(text)
	if err != nil {
		plain = text
	}
	if !privacy.IsClean(plain) {
		return errPrivate
	}
	return checkPrivate(plain)
}

// Private counts the values of a finding that Validate would have refused for that, and Scrub changed.
func Private(f *witness.Finding) (n int) {
	count := func(err error) {
		if err != nil {
			n++
		}
	}
	count(checkPrivate(f.ID))
	for _, alias := range f.Aliases {
		count(checkPrivate(alias))
	}
	count(checkPrivatePURL(f.Component))
	for _, version := range f.Versions {
		count(checkPrivate(version))
	}
	for i := range f.Affected {
		r := &f.Affected[i]
		count(checkPrivate(r.Introduced))
		count(checkPrivate(r.Fixed))
		count(checkPrivate(r.LastAffected))
	}
	for i := range f.Symbols {
		s := &f.Symbols[i]
		for _, text := range []string{s.Language, s.Package, s.Member, s.Source} {
			count(checkPrivate(text))
		}
	}
	clean := *f
	clean.Occurrences = slices.Clone(f.Occurrences)
	Scrub(&clean)
	if clean.Title != f.Title {
		n++
	}
	if clean.Severity != f.Severity {
		n++
	}
	for i := range f.Occurrences {
		o := &f.Occurrences[i]
		count(checkPrivate(o.ImageDigest))
		count(checkPrivate(o.Version))
		if *o != clean.Occurrences[i] {
			n++
		}
	}
	return n
}

// Scrub takes private data out of the texts of a finding that name nothing. Validate refuses it in all others.
func Scrub(f *witness.Finding) {
	f.Title = privacy.Prose(f.Title)
	f.Severity = privacy.Prose(f.Severity)
	for i := range f.Occurrences {
		o := &f.Occurrences[i]
		o.Scanner = privacy.Prose(o.Scanner)
		// As the workload of a record, which they are compared with.
		for _, text := range []*string{&o.Namespace, &o.Controller, &o.Container} {
			*text = privacy.Name(*text)
		}
	}
}
