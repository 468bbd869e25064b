//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestContainmentOfACaptureReachesSignalsAndScore replays events of an agent that exports credentials and namespaces.
func TestContainmentOfACaptureReachesSignalsAndScore(t *testing.T) {
	file, err := filepath.Abs("../testdata/tetragon/contained.export.jsonl.gz")
	require.NoError(t, err)
	findings := t.TempDir() + "/findings.yaml"
	writeFile(t, findings, "findings:\n  - id: ACME-1\n    component: pkg:generic/bash\n")
	c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": file, "WITNESS_FINDINGS": findings}, "replay.yaml", flushSoon).start()
	c.replayEnded()
	require.Eventually(t, func() bool { return len(list(c.get("/api/v1/signals/runtime"), "processes")) > 0 && c.hot() > 0 }, 60*time.Second, 100*time.Millisecond)
	total := c.settled()
	require.Positive(t, total)

	signals := c.get("/api/v1/signals/runtime?host=lab-guest&limit=1000")
	processes := list(signals, "processes")
	require.Len(t, list(c.get("/api/v1/signals/runtime?host=elsewhere"), "processes"), 0)
	classes := map[string]map[string][]any{} // by path and signal
	for _, process := range processes {
		path := at(process, "executable", "path").(string)
		if classes[path] == nil {
			classes[path] = map[string][]any{}
		}
		for _, signal := range list(process, "signals") {
			assert.Equal(t, "tetragon", at(signal, "source"))
			assert.Equal(t, "measured", at(signal, "assurance"))
			classes[path][at(signal, "name").(string)] = list(signal, "values")
		}
	}
	bash := classes["/bin/bash"]
	require.NotNil(t, bash)
	assert.Len(t, bash["capabilities"], 41)
	assert.Equal(t, []any{"root-host"}, bash["user"])
	assert.Equal(t, []any{"host"}, bash["namespaces.net"])
	assert.NotContains(t, bash, "seccomp", "Tetragon does not tell")
	unlinked := 0
	for _, known := range classes {
		if len(known["binary"]) == 1 && known["binary"][0] == "unlinked" {
			unlinked++
		}
	}
	assert.Positive(t, unlinked, "what ran from memory")

	// Evidence of that executable, on that host: the finding gets what its processes could reach.
	c.post("/api/v1/findings/ACME-1/runtime/traces", http.StatusAccepted, object{"traces": []object{
		{"kind": "exec", "module": "/bin/bash", "host": "lab-guest"},
	}})
	score := c.get("/api/v1/findings/ACME-1/runtime/score")
	assert.InDelta(t, 1.0, number(score, "containment", "blastRadius"), 1e-9, "capabilities, namespaces and root, of what is known")
	assert.InDelta(t, 0.35, number(score, "containment", "unknownShare"), 1e-9, "seccomp and what else Tetragon does not tell")
	before := number(score, "score")
	taken := c.post("/api/v1/signals/runtime", http.StatusAccepted, object{"signals": []object{
		{"host": "lab-guest", "executable": object{"path": "/bin/bash"}, "origin": "workload", "source": "proc", "seccomp": "filter", "user": "nonroot"},
	}})
	assert.InDelta(t, 1.0, number(taken, "accepted"), 0)
	score = c.get("/api/v1/findings/ACME-1/runtime/score")
	assert.InDelta(t, 0.8442, number(score, "containment", "blastRadius"), 1e-9, "a filter was asserted; that it is root was measured")
	assert.InDelta(t, before, number(score, "score"), 1e-9, "containment is no part of the score")

	// Nothing but classes: no secret of arguments or environment, no user id, no number of a namespace.
	answers, err := json.Marshal([]any{signals, score, c.get("/api/v1/findings/ACME-1/runtime/traces")})
	require.NoError(t, err)
	canaries := []string{"hunter2", "AKIAFAKE", "DB_PASSWORD", "4026531840", "4294967295"}
	for _, canary := range canaries {
		assert.NotContains(t, string(answers), canary)
		assert.NotContains(t, c.log.String(), canary)
	}
	c.stop()
	for _, name := range []string{"witness.db", "witness.db-wal"} {
		content, err := os.ReadFile(filepath.Join(c.env["WITNESS_DATA_DIR"], name))
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		for _, canary := range canaries {
			assert.False(t, strings.Contains(string(content), canary), "%s in %s", canary, name)
		}
	}
}
