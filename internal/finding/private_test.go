package finding

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// privates are texts, and what of each may not get into a finding or an error.
var privates = map[string]string{
	"0x7ffd1c2b3a40": "7ffd1c2b3a40", "at ffffffff81a3c2f0": "ffffffff81a3c2f0", "/home/alicecanary/x": "alicecanary", "alicecanary@example.com": "alicecanary",
	"ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP": "aB3dE6gH9j", "--password=hunter2canary": "hunter2canary", "postgres://u:hunter2canary@db/x": "hunter2canary",
	"[2001:db8::17]:443": "2001:db8", "mysql -phunter2canary": "hunter2canary", "Authorization: Bearer hunter2canary": "hunter2canary",
}

// TestNothingPrivateGetsIntoAFinding puts each text into each member of our documents and of advisories.
func TestNothingPrivateGetsIntoAFinding(t *testing.T) {
	for _, document := range []string{
		`{"findings":[{"id":"ACME-1","aliases":["CVE-2026-1"],"title":"Stack exhaustion","component":"pkg:golang/golang.org/x/net","severity":"HIGH",
		  "affected":[{"introduced":"0","fixed":"0.13.0"},{"lastAffected":"0.13.0"}],"versions":["0.1.0"],
		  "symbols":[{"language":"go","package":"golang.org/x/net/html","member":"Tokenizer.Next","source":"user"}],
		  "occurrences":[{"scanner":"trivy","imageDigest":"sha256:abab","version":"0.1.0","namespace":"shop","controller":"deployment/web","container":"web"}]}]}`,
		`{"id":"GO-2026-1","aliases":["CVE-2026-2"],"summary":"Stack exhaustion","details":"In net/html.","references":[{"type":"WEB","url":"https://go.dev/issue/1"}],
		  "affected":[{"package":{"ecosystem":"Go","name":"golang.org/x/net"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.13.0"}]}],
		  "ecosystem_specific":{"imports":[{"path":"golang.org/x/net/html","symbols":["Tokenizer.Next"]}]}}]}`,
	} {
		var parsed any
		require.NoError(t, json.Unmarshal([]byte(document), &parsed))
		for private, gone := range privates {
			members := 0
			everyText(parsed, private, func() {
				members++
				text, err := json.Marshal(parsed)
				require.NoError(t, err)
				findings, errs := Parse("document", strings.NewReader(string(text)))
				stored, err := json.Marshal(findings)
				require.NoError(t, err)
				out := string(stored) + fmt.Sprint(errs)
				assert.NotContains(t, out, gone, string(text))
				for i := range findings {
					assert.Zero(t, Private(&findings[i]), string(text))
				}
			})
			assert.Greater(t, members, 8)
		}
	}
}

// everyText calls do with text in place of each text and each name of a member below node, one at a time.
func everyText(node any, text string, do func()) {
	switch node := node.(type) {
	case map[string]any:
		for name, member := range node {
			if _, ok := member.(string); ok {
				node[name] = text
				do()
			}
			delete(node, name)
			node[text] = member
			do()
			delete(node, text)
			node[name] = member
			everyText(member, text, do)
		}
	case []any:
		for i, element := range node {
			if _, ok := element.(string); ok {
				node[i] = text
				do()
				node[i] = element
			}
			everyText(element, text, do)
		}
	}
}

func TestPrivateCounts(t *testing.T) {
	const private = "/home/alice/x"
	f := witness.Finding{
		ID: private, Aliases: []string{private, "CVE-1"}, Title: private, Component: "pkg:golang/a?file=" + private, Severity: private, Versions: []string{private},
		Affected:    []witness.VersionRange{{Introduced: private, Fixed: private, LastAffected: private}},
		Symbols:     []witness.SymbolRef{{Language: private, Package: private, Member: private, Source: private}},
		Occurrences: []witness.Occurrence{{Scanner: private, ImageDigest: private, Version: private, Namespace: private, Controller: private, Container: private}},
	}
	assert.Equal(t, 16, Private(&f))
	assert.Equal(t, private, f.Title, "it changes nothing")
}
