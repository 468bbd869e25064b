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
	s.observe(own, claimed)
	got := get[traces](s, path("F", "runtime/traces"))
	assert.Len(t, got.Traces, 1)
	assert.Equal(t, uint64(2), got.Summary.TotalHits)
	assert.Equal(t, []int{1, 1, 1}, []int{got.Summary.UniquePaths, got.Summary.Hosts, got.Summary.Containers})
	assert.Equal(t, uint64(2), get[findingEvidence](s, "/api/v1/findings/F").Evidence.Hits)
}
