package storagetest

import (
	"slices"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// changesSince asks what changed; it must be no more than everything.
func (b *bench) changesSince(tenant string, version uint64) storage.Changes {
	b.Helper()
	changes, err := b.Changes(b.ctx, tenant, version)
	require.NoError(b, err)
	assert.NotZero(b, changes.Version)
	for _, ids := range [][]string{changes.Findings, changes.Described, changes.Counted} {
		assert.True(b, slices.IsSorted(ids))
		assert.Len(b, slices.Compact(slices.Clone(ids)), len(ids), "each once")
		if changes.Everything {
			assert.Empty(b, ids)
		}
	}
	return changes
}

func changes(b *bench) {
	first := b.changesSince("", 0)
	assert.True(b, first.Everything, "nothing is known of what was before")
	assert.True(b, b.changesSince("", first.Version+1000).Everything, "a version that was never told")
	last := b.changesSince("", first.Version)
	assert.Equal(b, storage.Changes{Version: first.Version}, storage.Changes{Version: last.Version}, "nothing changed")
	assert.Empty(b, last.Findings)
	other := b.changesSince("other", first.Version)

	since := func(what string) storage.Changes {
		b.Helper()
		changes := b.changesSince("", last.Version)
		assert.False(b, changes.Everything, what)
		last = changes
		return changes
	}
	_, err := b.PutFinding(b.ctx, storage.Principal{}, witness.Finding{ID: "f"})
	require.NoError(b, err)
	changed := since("put")
	assert.Equal(b, []string{"f"}, changed.Findings)
	assert.Empty(b, changed.Described)
	assert.Empty(b, changed.Counted)

	o := observation()
	b.write(o)
	subjects, err := b.Subjects(b.ctx, "", storage.SubjectQuery{Members: []string{"Parse"}})
	require.NoError(b, err)
	require.Len(b, subjects, 1)
	id := subjects[0].ID
	changed = since("a new subject")
	assert.Empty(b, changed.Findings)
	assert.Equal(b, []string{id}, changed.Described)
	assert.Equal(b, []string{id}, changed.Counted)

	b.write(observation(minute(1)))
	changed = since("more hits")
	assert.Equal(b, []string{id}, changed.Counted)

	b.write(observation(minute(2), component("pkg:golang/golang.org/x/net@v0.1.0")))
	assert.Contains(b, since("a component is known").Described, id)
	b.write(observation(minute(3), artifact("pkg:golang/example.com/app@v1")))
	assert.Contains(b, since("an artifact is known").Described, id)
	b.write(observation(minute(4), namespace("elsewhere")))
	assert.Contains(b, since("another witness").Described, id)
	b.write(observation(minute(5), function("golang.org/x/net/html", "Render"), artifact("pkg:golang/example.com/app@v2")))
	assert.Contains(b, since("the artifact of its module").Described, id, "another subject of the module told of it")

	b.write(observation(minute(6), finding("f")))
	assert.Equal(b, []string{"f"}, since("named").Findings)

	for _, scope := range [][]string{{"s1", "s2"}, {"s2"}} {
		var findings []witness.Finding
		for _, id := range scope {
			findings = append(findings, witness.Finding{ID: id})
		}
		require.NoError(b, b.ReplaceFindings(b.ctx, storage.Principal{}, "scope", findings))
		assert.Subset(b, since("replaced").Findings, []string{"s1", "s2"}, "also what is gone")
	}
	require.NoError(b, b.DeleteFinding(b.ctx, storage.Principal{}, "f"))
	assert.Contains(b, since("deleted").Findings, "f")

	foreign := b.changesSince("other", other.Version)
	assert.False(b, foreign.Everything)
	assert.Empty(b, foreign.Findings)
	assert.Empty(b, foreign.Described)
	assert.Empty(b, foreign.Counted)
	again := b.changesSince("", first.Version)
	assert.Contains(b, again.Findings, "f", "asked anew it is told anew")
	assert.Contains(b, again.Counted, id)
}

func namedSubjects(b *bench) {
	foreign := observation(finding("f"))
	_, err := b.WriteObservations(b.ctx, storage.Batch{Principal: storage.Principal{Tenant: "other"}, Observations: []witness.Observation{foreign}})
	require.NoError(b, err)
	b.write(
		observation(hits(3), finding("f")),
		observation(hits(5), finding("f", "g"), minute(1), namespace("second")),
		observation(hits(7), namespace("third")),
		observation(hits(9), finding("f"), function("golang.org/x/net/html", "Render")),
	)
	named, err := b.NamedSubjects(b.ctx, "", []string{"g", "f", "unknown"}, 1000)
	require.NoError(b, err)
	require.Len(b, named, 3)
	for limit, tooMany := range map[int]bool{4: false, 3: true, 0: true} {
		limited, err := b.NamedSubjects(b.ctx, "", []string{"g", "f", "unknown"}, limit)
		if tooMany {
			assert.ErrorIs(b, err, storage.ErrTooMany)
			continue
		}
		require.NoError(b, err)
		assert.Equal(b, named, limited)
	}
	subjects, err := b.Subjects(b.ctx, "", storage.SubjectQuery{IDs: []string{named[0].Subject, named[1].Subject, "0"}})
	require.NoError(b, err)
	require.Len(b, subjects, 2)
	of := map[string]string{}
	for _, s := range subjects {
		of[s.ID] = s.Frame.Member
		assert.False(b, s.Named)
	}
	type row struct {
		finding, member string
		hits            uint64
		namespaces      int
	}
	var rows []row
	for _, n := range named {
		rows = append(rows, row{n.Finding, of[n.Subject], n.Total.Hits, len(n.Workloads)})
		summary, err := b.Summary(b.ctx, "", storage.Filter{Finding: n.Finding})
		require.NoError(b, err)
		assert.Equal(b, summary.BySubject[n.Subject], n.Total)
	}
	assert.ElementsMatch(b, []row{{"f", "Parse", 8, 2}, {"f", "Render", 9, 1}, {"g", "Parse", 5, 1}}, rows)
	assert.True(b, slices.IsSortedFunc(named, func(x, y storage.NamedSubject) int {
		if x.Finding != y.Finding {
			return slices.Compare([]string{x.Finding}, []string{y.Finding})
		}
		return slices.Compare([]string{x.Subject}, []string{y.Subject})
	}))

	var ids []string
	for id := range of {
		ids = append(ids, id)
	}
	workloads, err := b.SubjectWorkloads(b.ctx, "", append(ids, "0"))
	require.NoError(b, err)
	assert.Len(b, workloads, 2)
	for id, member := range of {
		assert.Len(b, workloads[id], map[string]int{"Parse": 3, "Render": 1}[member])
	}
	none, err := b.SubjectWorkloads(b.ctx, "third", ids)
	require.NoError(b, err)
	assert.Empty(b, none)
}

func vendored(b *bench) {
	b.write(
		observation(function("golang.org/x/net/html", "Parse")),
		observation(function("example.com/app/vendor/golang.org/x/net/html", "Parse")),
		observation(function("example.com/a/vendor/b/vendor/golang.org/x/net/html", "Parse")),
		observation(function("example.com/app/vendor/golang.org/x/net/html/charset", "Parse")),
	)
	for _, test := range []struct {
		packages []string
		want     []string
	}{
		{[]string{"golang.org/x/net/html"}, []string{"golang.org/x/net/html"}},
		{[]string{"/vendor/golang.org/x/net/html"}, []string{"example.com/a/vendor/b/vendor/golang.org/x/net/html", "example.com/app/vendor/golang.org/x/net/html"}},
		{[]string{"/vendor/x/net/html", "html"}, nil},
	} {
		subjects, err := b.Subjects(b.ctx, "", storage.SubjectQuery{Packages: test.packages})
		require.NoError(b, err)
		var found []string
		for _, s := range subjects {
			found = append(found, s.Frame.Package)
		}
		assert.ElementsMatch(b, test.want, found)
	}
}

func findingsByID(b *bench) {
	for _, id := range []string{"a", "b", "c"} {
		_, err := b.PutFinding(b.ctx, storage.Principal{}, witness.Finding{ID: id})
		require.NoError(b, err)
		b.setNow(b.now.Add(1e9))
	}
	page, err := b.Findings(b.ctx, "", storage.FindingQuery{IDs: []string{"c", "a", "x"}})
	require.NoError(b, err)
	require.Len(b, page.Findings, 2)
	assert.Equal(b, "a", page.Findings[0].ID)
	assert.Equal(b, "c", page.Findings[1].ID)
	assert.Equal(b, 2.0, page.Changed[1].Sub(page.Changed[0]).Seconds())
	_, err = b.PutFinding(b.ctx, storage.Principal{}, witness.Finding{ID: "a"})
	require.NoError(b, err)
	same, err := b.Findings(b.ctx, "", storage.FindingQuery{IDs: []string{"a"}})
	require.NoError(b, err)
	assert.Equal(b, page.Changed[:1], same.Changed, "the same content is no change")
	none, err := b.Findings(b.ctx, "", storage.FindingQuery{IDs: []string{}})
	require.NoError(b, err)
	assert.Empty(b, none.Findings, "none of none")
}
