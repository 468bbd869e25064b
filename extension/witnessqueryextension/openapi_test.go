package witnessqueryextension

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// contract is the OpenAPI document as a validator of answers. OpenAPI 3.1 schemas are JSON Schema 2020-12.
var contract = sync.OnceValue(func() *document {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		panic(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", parsed); err != nil {
		panic(err)
	}
	return &document{root: parsed.(map[string]any), compiler: compiler}
})

type document struct {
	sync.Mutex
	root     map[string]any
	compiler *jsonschema.Compiler
}

// at follows a path of names, and references.
func (d *document) at(node any, names ...string) (map[string]any, bool) {
	for _, name := range names {
		m, ok := node.(map[string]any)
		if !ok {
			return nil, false
		}
		if node, ok = m[name]; !ok {
			return nil, false
		}
		node = d.resolve(node)
	}
	m, ok := node.(map[string]any)
	return m, ok
}

func (d *document) resolve(node any) any {
	if m, ok := node.(map[string]any); ok {
		if ref, ok := m["$ref"].(string); ok {
			target, _ := d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			return target
		}
	}
	return node
}

// conforms checks an answer against what the document says of it.
func conforms(t testing.TB, request *http.Request, answer *httptest.ResponseRecorder) {
	t.Helper()
	d := contract()
	d.Lock()
	defer d.Unlock()
	media, _, err := mime.ParseMediaType(answer.Header().Get("Content-Type"))
	bodiless := answer.Code == http.StatusNoContent || answer.Code == http.StatusNotModified
	if !bodiless {
		require.NoError(t, err, "Content-Type")
	}
	pointer := "#/components/schemas/Problem"
	matched, _ := match(request.URL.EscapedPath())
	method := request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if i := slices.IndexFunc(matched, func(r *route) bool { return r.method == method }); i >= 0 {
		response, ok := d.at(d.root, "paths", matched[i].template, strings.ToLower(method), "responses", strconv.Itoa(answer.Code))
		require.True(t, ok, "%s %s: status %d is not in the document", method, matched[i].template, answer.Code)
		if bodiless {
			assert.Empty(t, answer.Body.Bytes())
			return
		}
		content, ok := d.at(response, "content", media)
		require.True(t, ok, "%s %s %d: %s is not in the document", method, matched[i].template, answer.Code, media)
		pointer, ok = content["schema"].(map[string]any)["$ref"].(string)
		require.True(t, ok, "schema is not a reference")
	} else {
		assert.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusForbidden}, answer.Code)
		assert.Equal(t, "application/problem+json", media)
	}
	if request.Method == http.MethodHead {
		return
	}
	schema, err := d.compiler.Compile("openapi.json" + pointer)
	require.NoError(t, err)
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer.Body.Bytes()))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(body), "%s %s: %s", request.Method, pointer, answer.Body)
}

func TestDocumentIsWhole(t *testing.T) {
	d := contract()
	assert.Equal(t, "3.1.0", d.root["openapi"])
	used := map[string]bool{}
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if ref, ok := node["$ref"].(string); ok {
				_, found := d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
				assert.True(t, found, ref)
				used[ref] = true
			}
			for _, inner := range node {
				walk(inner)
			}
		case []any:
			for _, inner := range node {
				walk(inner)
			}
		}
	}
	walk(d.root)
	for section, components := range d.root["components"].(map[string]any) {
		for name := range components.(map[string]any) {
			assert.True(t, used["#/components/"+section+"/"+name], "%s/%s is never used", section, name)
		}
	}
	for name := range d.root["components"].(map[string]any)["schemas"].(map[string]any) {
		_, err := d.compiler.Compile("openapi.json#/components/schemas/" + name)
		assert.NoError(t, err)
	}
	operations := map[string]bool{}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			id, _ := operation.(map[string]any)["operationId"].(string)
			assert.NotEmpty(t, id, path)
			assert.False(t, operations[id], id)
			operations[id] = true
		}
	}
}

func TestDocumentHasTheRoutes(t *testing.T) {
	d := contract()
	inDocument := map[string][]string{}
	for path, item := range d.root["paths"].(map[string]any) {
		shared := parameterNames(d, item.(map[string]any)["parameters"])
		for method, operation := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			names := parameterNames(d, operation.(map[string]any)["parameters"])
			names = append(names, shared...)
			slices.Sort(names)
			inDocument[strings.ToUpper(method)+" "+path] = names
		}
	}
	inCode := map[string][]string{}
	for _, route := range routes {
		names := slices.Clone(route.parameters)
		for _, segment := range strings.Split(route.template, "/") {
			if name, is := strings.CutPrefix(segment, "{"); is {
				names = append(names, strings.TrimSuffix(name, "}"))
			}
		}
		slices.Sort(names)
		inCode[route.method+" "+route.template] = names
	}
	assert.Equal(t, inCode, inDocument)
}

// parameterNames are those of the path and the query.
func parameterNames(d *document, parameters any) []string {
	var names []string
	list, _ := parameters.([]any)
	for _, parameter := range list {
		if resolved := d.resolve(parameter).(map[string]any); resolved["in"] != "header" {
			names = append(names, resolved["name"].(string))
		}
	}
	return names
}

// Most readers let the second of two members with a name win without a word.
func TestDocumentHasNoMemberTwice(t *testing.T) {
	decoder := json.NewDecoder(bytes.NewReader(openAPI))
	var walk func(path string)
	walk = func(path string) {
		token, err := decoder.Token()
		require.NoError(t, err)
		switch token {
		case json.Delim('{'):
			seen := map[string]bool{}
			for decoder.More() {
				key, err := decoder.Token()
				require.NoError(t, err)
				name := key.(string)
				assert.False(t, seen[name], "%s/%s", path, name)
				seen[name] = true
				walk(path + "/" + name)
			}
			_, _ = decoder.Token()
		case json.Delim('['):
			for decoder.More() {
				walk(path + "/")
			}
			_, _ = decoder.Token()
		}
	}
	walk("")
}
