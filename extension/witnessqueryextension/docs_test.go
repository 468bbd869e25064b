package witnessqueryextension

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	curlURL    = regexp.MustCompile(`http://localhost:8686([^'"\s]*)`)
	curlMethod = regexp.MustCompile(`-X ([A-Z]+)`)
	curlData   = regexp.MustCompile(`(?s)-d '(.*?)'`)
)

// Every curl of the documentation works, in order, against a real database, and every route is there.
func TestDocumentationWorks(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	require.NoError(t, err)
	s := newStored(t)
	done := map[string]bool{"GET /api/v1/openapi.json": true} // without an example of its own
	location := ""                                            // path of the last Location, $location in an example
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		for _, command := range strings.Split(block[1], "curl ")[1:] {
			target := curlURL.FindStringSubmatch(command)
			require.NotNil(t, target, command)
			method, body := http.MethodGet, ""
			if data := curlData.FindStringSubmatch(command); data != nil {
				method, body = http.MethodPost, data[1]
			}
			if given := curlMethod.FindStringSubmatch(command); given != nil {
				method = given[1]
			}
			r := httptest.NewRequest(method, strings.ReplaceAll(target[1], "$location", location), strings.NewReader(body))
			if strings.Contains(command, "Content-Type: application/json") {
				r.Header.Set("Content-Type", "application/json")
			}
			w := s.send(r)
			assert.Less(t, w.Code, 300, "%s\n%s", command, w.Body)
			matched, _ := match(r.URL.EscapedPath())
			require.NotEmpty(t, matched, command)
			done[method+" "+matched[0].template] = true
			if created := w.Header().Get("Location"); created != "" {
				location = created
			}
			if strings.HasSuffix(matched[0].template, "/runtime/traces") && method == http.MethodPost {
				assert.JSONEq(t, `{"accepted":1,"stored":1,"rejected":[]}`, w.Body.String(), "as it says")
			}
		}
	}
	for _, route := range routes {
		assert.True(t, done[route.method+" "+route.template], "%s %s has no example", route.method, route.template)
		assert.Contains(t, string(text), route.template, "%s %s", route.method, route.template)
	}
}

// denials are the sentences with the words of a verdict, each of which says that there is none. By file.
var denials = map[string][]string{
	"README.md":            {`no answer is ever "not affected"`},
	"docs/api.md":          {"The API never says that a finding does not affect you."},
	"docs/architecture.md": {"Nothing here ever says `not_affected`, `vulnerable_code_not_in_execute_path` or `code_not_reachable`."},
}

func TestDocumentationGivesNoVerdict(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range append(files, filepath.Join(root, "README.md"), "README.md", "openapi.json") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		left := strings.Join(strings.Fields(string(text)), " ")
		name, err := filepath.Rel(root, file)
		if err != nil { // of this folder
			name = filepath.Join("extension/witnessqueryextension", file)
		}
		for _, denial := range denials[filepath.ToSlash(name)] {
			assert.Contains(t, left, denial, file)
			left = strings.ReplaceAll(left, denial, "")
		}
		assert.Empty(t, verdicts.FindAllString(left, -1), file)
	}
}
