package evidence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/storage"
)

// maxVersions is how many versions OtherVersions names.
const maxVersions = 20

// OtherVersions is what was seen of what a finding is about in versions outside of its range. It is in no total and no
// score. It is no verdict either: which version it was is a claim of a file or package, so it is told, and not left out
// without a word.
type OtherVersions struct {
	Hits uint64 `json:"hits"`
	// DirectHits are those of Hits that are of the function itself, as in DirectPathObserved.
	DirectHits uint64 `json:"directHits"`
	// Subjects are the functions and modules that have the hits.
	Subjects int `json:"subjects"`
	// Versions with most hits first, at most maxVersions; Truncated says that there are more.
	Versions  []OtherVersion `json:"versions"`
	Truncated bool           `json:"truncated"`
}

// OtherVersion is the part of one version, told apart by how it is known.
type OtherVersion struct {
	Version        string `json:"version"`
	IdentityMethod string `json:"identityMethod"`
	Hits           uint64 `json:"hits"`
}

// others are the subjects that would answer a question were it not for their version, by id.
type others struct {
	subjects map[string]otherSubject
	own      []string // those that would by themselves
	named    string   // the finding, if some would only because a trace names it
}

type otherSubject struct {
	version, method string
	direct          bool
}

// add takes in a subject that does not answer the question, if that is for its version.
func (o *others) add(q *Question, s *storage.Subject) {
	of := func(named bool) bool {
		m, version, ok := finding.OutsideRange(&q.Finding, s.Kind, &s.Frame, &s.Artifact, named)
		if !ok || m.Confidence < q.MinConfidence {
			return false
		}
		if o.subjects == nil {
			o.subjects = map[string]otherSubject{}
		}
		o.subjects[s.ID] = otherSubject{version, s.Artifact.Method, m.Direct}
		return true
	}
	switch {
	case of(false):
		o.own = append(o.own, s.ID)
	case s.Named && of(true):
		o.named = q.Finding.ID
	}
}

// OtherVersions adds up what is outside of the finding's range, of the windows and assurance that were asked for.
func (m *Matches) OtherVersions(ctx context.Context, reader storage.Reader) (OtherVersions, error) {
	other := OtherVersions{Versions: []OtherVersion{}}
	if len(m.others.subjects) == 0 {
		return other, nil
	}
	filter := storage.Filter{
		Subjects: m.others.own, Finding: m.others.named,
		From: m.filter.From, To: m.filter.To, Kinds: m.filter.Kinds, Assurance: m.filter.Assurance,
	}
	summary, err := reader.Summary(ctx, m.tenant, filter)
	if err != nil {
		return OtherVersions{}, err
	}
	hits := map[OtherVersion]uint64{}
	for id, total := range summary.BySubject {
		s, ok := m.others.subjects[id]
		if !ok || total.Hits == 0 {
			continue
		}
		other.Hits = plus(other.Hits, total.Hits)
		if s.direct {
			other.DirectHits = plus(other.DirectHits, total.Hits)
		}
		other.Subjects++
		version := OtherVersion{Version: s.version, IdentityMethod: s.method}
		hits[version] = plus(hits[version], total.Hits)
	}
	for version, n := range hits {
		version.Hits = n
		other.Versions = append(other.Versions, version)
	}
	slices.SortFunc(other.Versions, func(a, b OtherVersion) int {
		return cmp.Or(cmp.Compare(b.Hits, a.Hits), cmp.Compare(a.Version, b.Version), cmp.Compare(a.IdentityMethod, b.IdentityMethod))
	})
	if other.Truncated = len(other.Versions) > maxVersions; other.Truncated {
		other.Versions = other.Versions[:maxVersions]
	}
	return other, nil
}

// Why says it for people; empty where there is nothing to say.
func (o *OtherVersions) Why() string {
	if o.Hits == 0 {
		return ""
	}
	const named = 3
	var versions []string
	for i := range o.Versions {
		if v := o.Versions[i].Version; !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
	}
	more := ""
	if len(versions) > named {
		versions, more = versions[:named], " and others"
	}
	return fmt.Sprintf("not counted: %d hits, %d of them of the function itself, in versions outside of the finding's range (%s%s), as files and packages claim of themselves",
		o.Hits, o.DirectHits, strings.Join(versions, ", "), more)
}
