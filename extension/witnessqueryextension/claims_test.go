package witnessqueryextension

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Whoever posts that a file is of a version that is not affected takes no measured evidence away from a finding.
func TestAClaimClearsNoFinding(t *testing.T) {
	s := newStored(t)
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	o := measured("golang.org/x/net/html.Render", 5, at)
	o.Witness.Frame.Component, o.Artifact = "", witness.Artifact{}
	s.observe(o)
	s.put("F1", htmlFinding)
	type answer struct {
		Observed bool    `json:"observed"`
		Score    float64 `json:"score"`
	}
	var before, after answer
	require.NoError(t, json.Unmarshal(s.call(http.MethodGet, "/api/v1/findings/F1/runtime/score", "").Body.Bytes(), &before))
	require.True(t, before.Observed)
	posted := s.call(http.MethodPost, "/api/v1/findings/OTHER/runtime/traces", fmt.Sprintf(`{"traces":[{"kind":"call","lastSeen":%q,
"frames":[{"symbol":"golang.org/x/net/html.Render","language":"go","module":"/usr/bin/app","buildId":"c0b9959017cf64b03131964573944fc729553ea7"}],
"artifact":{"purl":"pkg:golang/golang.org/x/net@v0.20.0"}}]}`, at.Format(time.RFC3339)))
	require.Equal(t, http.StatusAccepted, posted.Code, posted.Body)
	require.NoError(t, json.Unmarshal(s.call(http.MethodGet, "/api/v1/findings/F1/runtime/score", "").Body.Bytes(), &after))
	assert.True(t, after.Observed)
	assert.GreaterOrEqual(t, after.Score, before.Score)
}

// Evidence that was stored while a clock was ahead, or before it caught up again, is on the pages.
func TestAClockThatIsSetBackHidesNoTraces(t *testing.T) {
	ahead := 24 * time.Hour
	store, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(t.TempDir(), "witness.db"), Now: func() time.Time { return time.Now().Add(ahead) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s := newServer(t, store)
	s.put("F1", htmlFinding)
	s.observe(measured("golang.org/x/net/html.Render", 5, time.Now().Add(-2*time.Hour).UTC()))
	ahead = 0
	s.observe(measured("golang.org/x/net/html.Parse", 5, time.Now().Add(-time.Hour).UTC()))
	listed, cursor := 0, ""
	for range 2 {
		var page struct {
			Traces     []struct{} `json:"traces"`
			NextCursor string     `json:"nextCursor"`
		}
		answer := s.call(http.MethodGet, "/api/v1/findings/F1/runtime/traces?sort=id&limit=1"+cursor, "")
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &page))
		listed += len(page.Traces)
		cursor = "&cursor=" + page.NextCursor
	}
	assert.Equal(t, 2, listed)
}
