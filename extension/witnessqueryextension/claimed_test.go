package witnessqueryextension

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestClaimsOfOtherVersionsAreNotCounted has traces name a finding for a version outside of its ranges.
func TestClaimsOfOtherVersionsAreNotCounted(t *testing.T) {
	s := newStored(t)
	s.put("F", htmlFinding)
	own := measured("golang.org/x/net/html.Render", 2, time.Now().Add(-time.Hour))
	claimed := measured("golang.org/x/net/html.Render", 5, time.Now().Add(-time.Hour))
	claimed.Witness.Frame.Component = "pkg:golang/golang.org/x/net@v0.20.0"
	claimed.Witness.Frame.Module.BuildID = strings.Repeat("d", 40)
	claimed.Witness.Workload.Image = "sha256:" + strings.Repeat("d", 64)
	claimed.Instance.Host, claimed.Instance.Container = "node-9", "c9"
	claimed.FindingIDs = []string{"F"}
	// It answers the finding by the claim alone, and has the claims looked for.
	elsewhere := measured("example.com/x.Helper", 3, time.Now().Add(-time.Hour))
	elsewhere.Witness.Frame.Package, elsewhere.Witness.Frame.Member, elsewhere.Witness.Frame.Symbol = "example.com/x", "Helper", "example.com/x.Helper"
	elsewhere.Witness.Frame.Component = ""
	elsewhere.FindingIDs = []string{"F"}
	s.observe(own, claimed, elsewhere)
	got := get[traces](s, path("F", "runtime/traces"))
	assert.Len(t, got.Traces, 2)
	assert.Equal(t, uint64(2+3), got.Summary.TotalHits)
	assert.Equal(t, []int{2, 1, 1}, []int{got.Summary.UniquePaths, got.Summary.Hosts, got.Summary.Containers})
	assert.Equal(t, uint64(2+3), get[findingEvidence](s, "/api/v1/findings/F").Evidence.Hits)
	assert.Equal(t, uint64(2+3), hitsOf(get[timeline](s, path("F", "runtime/timeline"))))
	for _, by := range []string{"image", "workload", "host"} {
		assert.Equal(t, uint64(2+3), hitsOfAssets(get[assets](s, path("F", "assets?by="+by))), by)
	}
}

// hitsOf is what the buckets of a timeline add up to.
func hitsOf(line timeline) (hits uint64) {
	for _, b := range line.Buckets {
		hits += b.Hits.Exec + b.Hits.Load + b.Hits.Sample + b.Hits.Call
	}
	return hits
}

// hitsOfAssets is what assets add up to.
func hitsOfAssets(found assets) (hits uint64) {
	for _, a := range found.Assets {
		hits += a.Hits
	}
	return hits
}
