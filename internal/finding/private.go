package finding

import (
	"errors"
	"net/url"

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
