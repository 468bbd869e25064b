package witnessqueryextension

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/strictjson"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
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

// verdicts are what no answer ever says, whatever was seen and not seen.
var verdicts = regexp.MustCompile(`(?i)not[\s_-]+affected|unaffected|vulnerable_code_not_in_execute_path|code_not_reachable|does\s+not\s+affect|not\s+(vulnerable|exploitable)`)

// conforms checks an answer against what the document says of it, and that it is no verdict.
func conforms(t testing.TB, request *http.Request, answer *httptest.ResponseRecorder) {
	t.Helper()
	require.NotRegexp(t, verdicts, answer.Body.String(), "%s %s", request.Method, request.URL)
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
	for _, requirement := range d.root["security"].([]any) {
		for name := range requirement.(map[string]any) {
			used["#/components/securitySchemes/"+name] = true
		}
	}
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

// Which authenticators there are, and what each operation needs, is in the document.
func TestDocumentHasTheAccess(t *testing.T) {
	d := contract()
	schemes, ok := d.at(d.root, "components", "securitySchemes")
	require.True(t, ok)
	for _, authenticator := range []string{"basicauth", "oidc"} {
		scheme, _, _ := strings.Cut(strings.ToLower(challenge(authenticator)), " ")
		assert.Equal(t, scheme, schemes[scheme].(map[string]any)["scheme"], authenticator)
	}
	for _, route := range routes {
		operation, ok := d.at(d.root, "paths", route.template, strings.ToLower(route.method))
		require.True(t, ok)
		assert.Equal(t, "Needs the role "+string(route.role)+".", operation["description"], "%s %s", route.method, route.template)
	}
}

// requests are the bodies that are decoded, by schema.
var requests = map[string]reflect.Type{
	"PostedTraces": reflect.TypeFor[struct {
		Traces []ingest.Trace `json:"traces"`
	}](),
	"PostedSignals": reflect.TypeFor[struct {
		Signals []ingest.Signals `json:"signals"`
	}](),
	"FindingPut": reflect.TypeFor[findingDocument](),
}

// A schema of a request has exactly the members that are decoded, of the types that they are decoded as.
func TestRequestSchemasHaveTheMembersThatAreRead(t *testing.T) {
	d := contract()
	var compare func(at string, schema any, decoded reflect.Type)
	compare = func(at string, schema any, decoded reflect.Type) {
		m, ok := d.resolve(schema).(map[string]any)
		require.True(t, ok, at)
		for decoded.Kind() == reflect.Pointer {
			decoded = decoded.Elem()
		}
		if decoded == reflect.TypeFor[json.RawMessage]() {
			return
		}
		kinds := map[reflect.Kind]string{
			reflect.Struct: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean", reflect.Int32: "integer", reflect.Int64: "integer",
		}
		if !assert.Equal(t, kinds[decoded.Kind()], cmp.Or(m["type"], any("string")), at) { // a Kind has values only
			return
		}
		switch decoded.Kind() {
		case reflect.Slice:
			compare(at+"[]", m["items"], decoded.Elem())
		case reflect.Struct:
			assert.Equal(t, false, m["additionalProperties"], at)
			properties := m["properties"].(map[string]any)
			var names []string
			for _, field := range reflect.VisibleFields(decoded) {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if field.Anonymous || name == "" || name == "-" {
					continue
				}
				names = append(names, name)
				if assert.Contains(t, properties, name, at) {
					compare(at+"."+name, properties[name], field.Type)
				}
			}
			assert.ElementsMatch(t, slices.Collect(maps.Keys(properties)), names, at)
		}
	}
	for name, decoded := range requests {
		compare(name, map[string]any{"$ref": "#/components/schemas/" + name}, decoded)
	}
}

// What a schema of a request permits is decoded. What it says may then still be refused, item by item.
func TestRequestsOfTheSchemasAreDecoded(t *testing.T) {
	s := newServer(t, none.Storage{})
	g := &generator{Rand: rand.New(rand.NewPCG(7, 7)), d: contract(), ids: []string{"x", "a/b %"}}
	posts := map[string]string{"PostedTraces": path("x", "runtime/traces"), "PostedSignals": "/api/v1/signals/runtime"}
	for name, decoded := range requests {
		schema, err := g.d.compiler.Compile("openapi.json#/components/schemas/" + name)
		require.NoError(t, err)
		accepted := 0
		for range 300 {
			text, err := json.Marshal(g.value(map[string]any{"$ref": "#/components/schemas/" + name}, 0))
			require.NoError(t, err)
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			require.NoError(t, err)
			require.NoError(t, schema.Validate(value), "%s", text)
			require.NoError(t, strictjson.Unmarshal(text, reflect.New(decoded).Interface()), "%s", text)
			if target, posted := posts[name]; posted {
				w := s.call(http.MethodPost, target, string(text))
				require.Equal(t, http.StatusAccepted, w.Code, "%s: %s", text, w.Body)
				var answered ingested
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answered))
				accepted += answered.Accepted
			} else if s.call(http.MethodPut, "/api/v1/findings/x", string(text)).Code == http.StatusCreated {
				accepted++
			}
		}
		assert.Positive(t, accepted, name)
	}
}
