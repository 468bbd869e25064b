package witnessqueryextension

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestAssets(t *testing.T) {
	s := newStored(t)
	other, third := "sha256:"+strings.Repeat("b", 64), "sha256:"+strings.Repeat("c", 64)
	s.put("f", `{"component":"pkg:golang/golang.org/x/net","affected":[{"introduced":"0","fixed":"0.13.0"}],
 "symbols":[{"language":"go","package":"golang.org/x/net/html","member":"Render"}],
 "occurrences":[{"scanner":"s2","imageDigest":"`+third+`","namespace":"shop","controller":"deployment/idle","container":"web"},
  {"scanner":"s1","imageDigest":"`+third+`","namespace":"shop","controller":"deployment/idle","container":"web"},
  {"scanner":"s1","imageDigest":"`+digest+`"}]}`)
	now := time.Now()
	at := func(host, image string, ago time.Duration, change func(*witness.Observation)) witness.Observation {
		o := measured("golang.org/x/net/html.Render", 3, now.Add(-ago))
		o.Instance.Host, o.Witness.Workload.Image, o.Source = host, image, host+"/0/tetragon"
		change(&o)
		return o
	}
	same := func(*witness.Observation) {}
	s.observe(
		at("node-1", digest, time.Minute, same),
		at("node-2", digest, time.Hour, same),
		at("node-2", other, 30*24*time.Hour, func(o *witness.Observation) { o.Assurance = witness.Asserted }),
		at("node-3", digest, time.Minute, func(o *witness.Observation) { o.Witness.Kind, o.Hits = witness.KindSample, 4 }),
		at("", "", time.Minute, func(o *witness.Observation) { o.Witness.Workload = witness.Workload{} }),
	)
	beat := func(host string, length time.Duration) witness.Coverage {
		return witness.Coverage{Source: host + "/0/tetragon", Signal: "tetragon", Instance: witness.Instance{Host: host}, Assurance: witness.Measured,
			Kinds: []witness.Kind{witness.KindCall}, Start: now.Add(-length), End: now, Interval: length, ProcessesWatched: 1, ProcessesSeen: 1}
	}
	require.NoError(t, s.api.store.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{beat("node-1", 25*time.Hour), beat("node-2", time.Hour)}))

	byImage := get[assets](s, path("f", "assets"))
	require.Len(t, byImage.Assets, 4)
	nameless, first, second, named := byImage.Assets[0], byImage.Assets[1], byImage.Assets[2], byImage.Assets[3]
	assert.Nil(t, nameless.Image)
	raw := s.call(http.MethodGet, path("f", "assets"), "").Body.String()
	assert.Contains(t, raw, `"image":null`)
	assert.NotContains(t, raw, `"host":`, "it is told apart by nothing else")
	assert.True(t, nameless.Observed)
	assert.Equal(t, digest, **first.Image)
	assert.Equal(t, kindHits{Call: 6, Sample: 4}, first.ByKind)
	assert.Equal(t, assuranceHits{Measured: 10}, first.ByAssurance)
	assert.Equal(t, 3, first.Hosts)
	assert.Equal(t, 1, first.Images)
	assert.Equal(t, "witnessed", first.Band)
	assert.Equal(t, 1, first.Occurrences)
	assert.EqualValues(t, "partial", first.Watched, "node-3 was not")
	assert.Equal(t, assuranceHits{Asserted: 3}, second.ByAssurance)
	assert.Less(t, second.Score, 0.5, "asserted, and old")
	assert.EqualValues(t, "partial", second.Watched)
	assert.Equal(t, third, **named.Image)
	assert.False(t, named.Observed)
	assert.Zero(t, named.Score)
	assert.Nil(t, named.LastSeen)
	assert.EqualValues(t, "unknown", named.Watched, "a scanner names no host")
	assert.Equal(t, 2, named.Occurrences)
	assert.Equal(t, []string{"s1", "s2"}, named.Scanners)

	byWorkload := get[assets](s, path("f", "assets?by=workload"))
	require.Len(t, byWorkload.Assets, 3)
	assert.Nil(t, byWorkload.Assets[0].Workload)
	assert.Equal(t, assetWorkload{"shop", "deployment/idle", "web"}, **byWorkload.Assets[1].Workload)
	assert.False(t, byWorkload.Assets[1].Observed)
	assert.Equal(t, assetWorkload{"shop", "deployment/web", "web"}, **byWorkload.Assets[2].Workload)
	assert.Equal(t, 2, byWorkload.Assets[2].Images)
	assert.Equal(t, 2, byWorkload.Assets[2].Workloads, "of two images")

	byHost := get[assets](s, path("f", "assets?by=host"))
	require.Len(t, byHost.Assets, 4)
	assert.Nil(t, byHost.Assets[0].Host)
	for i, watched := range []string{"unknown", "yes", "partial", "no"} {
		assert.EqualValues(t, watched, byHost.Assets[i].Watched, i)
	}
	claimed := beat("node-3", 25*time.Hour)
	claimed.Source, claimed.Assurance = "x/0/tetragon", witness.Asserted
	require.NoError(t, s.api.store.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{claimed}))
	assert.EqualValues(t, "partial", get[assets](s, path("f", "assets?by=host")).Assets[3].Watched, "somebody says so")
	alone := get[assets](s, path("f", "assets?by=host&kind=sample&assurance=measured"))
	require.Len(t, alone.Assets, 1)
	assert.Equal(t, "node-3", **alone.Assets[0].Host)
	assert.Equal(t, uint64(4), alone.Assets[0].Hits)
	lately := get[assets](s, path("f", "assets?by=host&from="+now.Add(-10*time.Minute).UTC().Format(time.RFC3339)))
	assert.Len(t, lately.Assets, 3)

	var walked []asset
	target := path("f", "assets?by=host&limit=1")
	for next := ""; ; {
		page := get[assets](s, target+next)
		walked = append(walked, page.Assets...)
		if page.NextCursor == nil {
			break
		}
		next = "&cursor=" + *page.NextCursor
		assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, path("f", "assets?by=image&limit=1"+next), "").Code)
	}
	hosts := []string{}
	for _, a := range walked {
		hosts = append(hosts, fmt.Sprint(a.Host != nil, a.Hits))
	}
	assert.Equal(t, []string{"false 3", "true 3", "true 6", "true 4"}, hosts)
	assert.Equal(t, http.StatusNotFound, s.call(http.MethodGet, path("unknown", "assets"), "").Code)
	assert.Contains(t, detail(t, s.call(http.MethodGet, path("f", "assets?by=pod"), "")), "by: is not one of image, workload, host")
}

// TestAssetsAddUp compares what assets add up to with the traces of the finding.
func TestAssetsAddUp(t *testing.T) {
	s := newStored(t)
	s.put("f", htmlFinding)
	for i := range 60 {
		o := measured("golang.org/x/net/html."+[]string{"Render", "Parse"}[i%2], uint64(i+1), time.Now().Add(-time.Duration(i)*time.Minute))
		o.Instance.Host, o.Source = fmt.Sprint("node-", i%7), fmt.Sprintf("%d/0/x", i%7)
		o.Witness.Workload.Image = fmt.Sprint("sha256:", i%3)
		o.Witness.Workload.Controller = fmt.Sprint("deployment/", i%5)
		if i%4 == 0 {
			o.FindingIDs = []string{"f"}
		}
		s.observe(o)
	}
	total := get[traces](s, path("f", "runtime/traces")).Summary
	for by, count := range map[string]int{"host": 7, "image": 3, "workload": 5} {
		found := get[assets](s, path("f", "assets?limit=1000&by="+by))
		assert.Len(t, found.Assets, count)
		sum := uint64(0)
		for _, a := range found.Assets {
			sum += a.Hits
			assert.LessOrEqual(t, a.Score, get[scored](s, path("f", "runtime/score")).Score+0.0001)
		}
		assert.Equal(t, total.TotalHits, sum, by)
	}
}
