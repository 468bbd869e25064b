package sqlite

import (
	"cmp"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// maxTies is how many subjects beyond a limit are looked at because they have as many hits as the last one within. Where
// more are equal, those that were stored first stand.
const maxTies = 1000

// compareSubjects orders subjects by what they are, never by when they were stored.
func compareSubjects(a, b *storage.Subject) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Frame.Symbol, b.Frame.Symbol), cmp.Compare(a.Frame.Language, b.Frame.Language),
		cmp.Compare(a.Frame.Package, b.Frame.Package), cmp.Compare(a.Frame.Member, b.Frame.Member), slices.Compare(a.Frame.Flags, b.Frame.Flags),
		cmp.Compare(a.Frame.Module.BuildID, b.Frame.Module.BuildID), cmp.Compare(a.Frame.Module.SHA256, b.Frame.Module.SHA256),
		cmp.Compare(a.Frame.Module.Path, b.Frame.Module.Path), cmp.Compare(a.Frame.Offset, b.Frame.Offset),
		cmp.Compare(a.Artifact.Digest, b.Artifact.Digest), cmp.Compare(a.Artifact.PURL, b.Artifact.PURL),
	)
}
