package witnessqueryextension

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// What a file claims of its version takes it out of the totals, but never without a word.
func TestOtherVersionsAreTold(t *testing.T) {
	s := newStored(t)
	s.put("F", htmlFinding)
	at := time.Now().UTC().Add(-time.Hour)
	of := func(function, version, method string, hits uint64) witness.Observation {
		o := measured(function, hits, at)
		o.Witness.Frame.Component = "pkg:golang/golang.org/x/net@" + version
		o.Witness.Frame.Module.BuildID = fmt.Sprintf("%040x", len(version)*1000+len(method))
		o.Artifact.Method = method
		return o
	}
	none := get[traces](s, path("F", "runtime/traces")).Summary.OtherVersions
	assert.Equal(t, evidence.OtherVersions{Versions: []evidence.OtherVersion{}}, none)
	assert.NotContains(t, get[scored](s, path("F", "runtime/score")).BandWhy, "not counted")

	s.observe(of("golang.org/x/net/html.Render", "v0.20.0", "buildinfo", 1000), of("golang.org/x/net/html.Parse", "v0.20.0", "buildinfo", 30))
	claimed := of("golang.org/x/net/html.Render", "v0.14.0-rc.1", "path", 5)
	claimed.Assurance, claimed.FindingIDs = witness.Asserted, []string{"F"}
	s.observe(claimed)
	for _, test := range []struct {
		name, query string
		want        evidence.OtherVersions
	}{
		{"all", "", evidence.OtherVersions{Hits: 1035, DirectHits: 1005, Subjects: 3, Versions: []evidence.OtherVersion{
			{Version: "v0.20.0", IdentityMethod: "buildinfo", Hits: 1030}, {Version: "v0.14.0-rc.1", IdentityMethod: "path", Hits: 5},
		}}},
		{"asserted", "?assurance=asserted", evidence.OtherVersions{Hits: 5, DirectHits: 5, Subjects: 1, Versions: []evidence.OtherVersion{
			{Version: "v0.14.0-rc.1", IdentityMethod: "path", Hits: 5},
		}}},
		{"kind", "?kind=load", none},
		{"time", "?from=" + at.Add(time.Hour).Format(time.RFC3339), none},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := get[traces](s, path("F", "runtime/traces"+test.query))
			assert.Equal(t, test.want, seen.Summary.OtherVersions)
			assert.False(t, seen.Summary.Observed)
			assert.Zero(t, seen.Summary.TotalHits)
			assert.Empty(t, seen.Traces)
		})
	}
	score := get[scored](s, path("F", "runtime/score"))
	assert.Zero(t, score.Score)
	assert.Equal(t, "none is the band of the score 0: there is no evidence that counts, which says nothing of what was not seen; "+
		"not counted: 1035 hits, 1005 of them of the function itself, in versions outside of the finding's range (v0.20.0, v0.14.0-rc.1), "+
		"as files and packages claim of themselves", score.BandWhy)

	s.observe(measured("golang.org/x/net/html.Render", 7, at))
	seen := get[traces](s, path("F", "runtime/traces")).Summary
	assert.Equal(t, uint64(7), seen.TotalHits, "beside what counts")
	assert.Equal(t, uint64(1035), seen.OtherVersions.Hits)
}

// A trace that names a finding for a function that the finding does not name is told with its own hits alone.
func TestOtherVersionsOfClaims(t *testing.T) {
	s := newStored(t)
	s.put("F", `{"component":"pkg:golang/stdlib","affected":[{"introduced":"0","fixed":"1.20.0"}],
	 "symbols":[{"language":"go","package":"path/filepath","member":"Clean"}]}`)
	at := time.Now().UTC().Add(-time.Hour)
	o := measured("golang.org/x/net/html.Render", 9, at)
	o.Witness.Frame.Package, o.Witness.Frame.Member, o.Witness.Frame.Symbol = "os", "Open", "os.Open"
	o.Witness.Frame.Component = "pkg:golang/stdlib@1.22.3"
	claimed := o
	claimed.Hits, claimed.FindingIDs, claimed.Assurance = 4, []string{"F"}, witness.Asserted
	claimed.Witness.Workload.Controller = "deployment/claimed"
	s.observe(o, claimed)
	assert.Equal(t, evidence.OtherVersions{Hits: 4, Subjects: 1, Versions: []evidence.OtherVersion{{Version: "1.22.3", IdentityMethod: "buildinfo", Hits: 4}}},
		get[traces](s, path("F", "runtime/traces")).Summary.OtherVersions)
}

func TestManyOtherVersions(t *testing.T) {
	s := newStored(t)
	s.put("F", htmlFinding)
	for i := range 25 {
		o := measured("golang.org/x/net/html.Render", uint64(100-i), time.Now().UTC().Add(-time.Hour))
		o.Witness.Frame.Component = fmt.Sprintf("pkg:golang/golang.org/x/net@v0.%d.0", 20+i)
		o.Witness.Frame.Module.BuildID = fmt.Sprintf("%040x", i)
		s.observe(o)
	}
	other := get[traces](s, path("F", "runtime/traces")).Summary.OtherVersions
	assert.Len(t, other.Versions, 20)
	assert.True(t, other.Truncated)
	assert.Equal(t, "v0.20.0", other.Versions[0].Version)
	assert.Equal(t, 25, other.Subjects)
	assert.Contains(t, get[scored](s, path("F", "runtime/score")).BandWhy, "(v0.20.0, v0.21.0, v0.22.0 and others)")
}

// The words of a verdict are in no answer.
func TestOtherVersionsAreNoVerdict(t *testing.T) {
	s := newStored(t)
	s.put("F", htmlFinding)
	o := measured("golang.org/x/net/html.Render", 1000, time.Now().UTC().Add(-time.Hour))
	o.Witness.Frame.Component = "pkg:golang/golang.org/x/net@v0.20.0"
	s.observe(o)
	for _, rest := range []string{"runtime/traces", "runtime/score", "runtime/coverage", "assets"} {
		w := s.call(http.MethodGet, path("F", rest), "")
		require.Equal(t, http.StatusOK, w.Code)
		require.True(t, json.Valid(w.Body.Bytes()))
		assert.NotContains(t, strings.ToLower(w.Body.String()), "not affected")
		assert.NotContains(t, strings.ToLower(w.Body.String()), "unaffected")
	}
}
