//go:build e2e

package e2e

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withRoles is a gateway where reader, writer and boss have a role each, and all log lines are kept.
func withRoles(t *testing.T) *collector {
	return newCollector(t, nil, "gateway.yaml", `yaml:{
		"extensions": {
			"basicauth/people": {"htpasswd": {"inline": "reader:a\nwriter:b\nboss:c\nnobody:d\n"}},
			"witness_query": {"http": {"auth": {"authenticator": "basicauth/people"}},
				"roles": {"claim": "username", "read": ["reader"], "write": ["writer"], "admin": ["boss"]}, "deterministic_time": true}},
		"service": {"telemetry": {"logs": {"sampling": {"enabled": false}}},
			"extensions": ["health_check", "file_storage", "basicauth/people", "witness_storage", "witness_query", "findings"]}}`).start()
}

func basic(name, password string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}
}

func TestCallersDoWhatTheirRoleIncludes(t *testing.T) {
	c := withRoles(t)
	reader := basic("reader", "a")
	for _, test := range []struct {
		name    string
		headers []string
		want    [3]int
	}{
		{"a stranger", nil, [3]int{401, 401, 401}}, {"a guess", basic("boss", "guess"), [3]int{401, 401, 401}},
		{"nobody", basic("nobody", "d"), [3]int{403, 403, 403}}, {"reader", reader, [3]int{200, 403, 403}},
		{"writer", basic("writer", "b"), [3]int{200, 201, 403}},
		{"boss", basic("boss", "c"), [3]int{200, 200, 201}},
	} {
		check(t, c, test.name, test.headers, test.want)
	}

	then := "2026-11-22T12:00:00Z"
	status, first := c.call(http.MethodGet, "/api/v1/findings?sort=score&now="+then, nil, reader...)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, then, first["asOf"])
	_, second := c.call(http.MethodGet, "/api/v1/findings?sort=score&now="+then, nil, reader...)
	assert.Equal(t, first, second)

	log := c.logText()
	assert.Equal(t, 12, strings.Count(log, `"route": "/api/v1/findings/{findingId}", "status":`)+strings.Count(log, `"route": "/api/v1/admin/backup", "status":`),
		"each write has a line, refused ones too")
	for _, secret := range []string{"reader", "boss", "guess", "E2E-1"} {
		assert.NotContains(t, log, secret)
	}
}

// check holds what a caller gets for a read, a write and the work of an admin against what it should.
func check(t *testing.T, c *collector, name string, headers []string, want [3]int) {
	t.Helper()
	var got [3]int
	got[0], _ = c.call(http.MethodGet, "/api/v1/findings", nil, headers...)
	got[1], _ = c.call(http.MethodPut, "/api/v1/findings/E2E-1", `{"symbols":[{"language":"c","member":"SSL_read"}]}`, headers...)
	got[2], _ = c.call(http.MethodPost, "/api/v1/admin/backup", nil, headers...)
	assert.Equal(t, want, got, name)
}

func TestImportedFindingsAreAskedForAndWatched(t *testing.T) {
	c := gateway(t)
	c.post(traces, http.StatusAccepted, object{"traces": []object{trace(time.Now(), 3)}})
	advisory := `{"id":"GO-2026-1","affected":[{"package":{"name":"golang.org/x/net","ecosystem":"Go"},"ecosystem_specific":{"imports":[{"path":"golang.org/x/net/html","symbols":["Tokenizer.Next"]}]}}]}`
	started := c.post("/api/v1/findings:import?scope=scan", http.StatusAccepted, advisory+"\n"+`{"id":""}`)
	id, _ := started["id"].(string)
	require.Eventually(t, func() bool { return c.get("/api/v1/imports/" + id)["state"] == "done" }, 30*time.Second, 20*time.Millisecond)
	ended := c.get("/api/v1/imports/" + id)
	assert.EqualValues(t, 1, ended["imported"])
	assert.EqualValues(t, 1, ended["rejected"])
	assert.Equal(t, "id", at(ended, "errors", 0, "field"))
	assert.EqualValues(t, 3, number(c.get("/api/v1/findings/GO-2026-1/runtime/traces"), "summary", "totalHits"), "from what ran before it was known")
	list := c.get("/api/v1/watchlist")
	assert.Equal(t, "Tokenizer.Next", at(list, "symbols", 0, "member"))
	assert.Equal(t, []any{"GO-2026-1"}, at(list, "symbols", 0, "findings"))
}

// Many writes at once must not hide one: the Collector would keep ten lines of ten seconds.
func TestEveryWriteIsLogged(t *testing.T) {
	c := gateway(t)
	const writes = 20 // as many as fit into logText
	for range writes {
		status, _ := c.call(http.MethodPut, "/api/v1/findings/GO-2023-1988", object{})
		require.Contains(t, []int{http.StatusOK, http.StatusCreated}, status)
	}
	require.Eventually(t, func() bool {
		return strings.Count(c.logText(), "\twrite\t") == writes
	}, 10*time.Second, 10*time.Millisecond, "lines of writes")
}
