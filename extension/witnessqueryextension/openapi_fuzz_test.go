package witnessqueryextension

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
)

// generator makes requests out of the OpenAPI document: what it describes, what is at its bounds, and what is meant ill.
type generator struct {
	*rand.Rand
	d     *document
	ids   []string // of findings that exist
	found []string // digests and ids that were answered
}

func (g *generator) one(values []string) string { return values[g.IntN(len(values))] }

func (g *generator) often(n int) bool { return g.IntN(n) > 0 }

// hostile is nothing that anybody should send.
func (g *generator) hostile() string {
	return g.one([]string{
		"", " ", "\x00", "a\nb", "\xff\xfe", "é", "\u202e", "../../etc/passwd", "%00", "%", "%zz", "+", "-1", "0", "1e309", "NaN", "null", "true", "[]", "{}", "{\"a\":",
		"9223372036854775808", "18446744073709551616", "-9223372036854775809", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "1970-01-01T00:00:00Z",
		"2026-11-22T12:00:00+23:59", "1m", "1d", "0s", "1ns", "2562047h47m16s", "' OR 1=1 --", "<script>", "pkg:golang/x@v1", "pkg:", "*", "W/\"x\"", strings.Repeat("a", 5000), strings.Repeat("é", 300),
	})
}

// value is something that a schema describes, at its bounds more often than not.
func (g *generator) value(schema any, depth int) any {
	m, _ := g.d.resolve(schema).(map[string]any)
	for _, word := range []string{"oneOf", "anyOf"} {
		if list, ok := m[word].([]any); ok {
			return g.value(list[g.IntN(len(list))], depth)
		}
	}
	if list, ok := m["allOf"].([]any); ok {
		all := map[string]any{}
		for _, part := range list {
			if object, ok := g.value(part, depth).(map[string]any); ok {
				maps.Copy(all, object)
			}
		}
		return all
	}
	if list, ok := m["enum"].([]any); ok {
		return list[g.IntN(len(list))]
	}
	if constant, ok := m["const"]; ok {
		return constant
	}
	kind, _ := m["type"].(string)
	if list, ok := m["type"].([]any); ok {
		kind, _ = list[g.IntN(len(list))].(string)
	}
	switch kind {
	case "null":
		return nil
	case "boolean":
		return g.IntN(2) == 0
	case "integer", "number":
		low, high := number(m, "minimum", 0), number(m, "maximum", 1000)
		values := []float64{low, high, low + 1, (low + high) / 2, low + g.Float64()*(high-low)}
		if kind == "integer" {
			return int64(values[g.IntN(len(values))])
		}
		return values[g.IntN(len(values))]
	case "array":
		list := []any{}
		for range g.IntN(3) {
			list = append(list, g.value(m["items"], depth+1))
		}
		return list
	case "string":
		return g.text(m)
	}
	object := map[string]any{}
	properties, _ := m["properties"].(map[string]any)
	required, _ := m["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if slices.Contains(required, any(name)) || depth < 5 && g.IntN(2) == 0 {
			object[name] = g.value(properties[name], depth+1)
		}
	}
	return object
}

func number(m map[string]any, name string, other float64) float64 {
	if n, ok := m[name].(json.Number); ok {
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	return other
}

func (g *generator) text(m map[string]any) string {
	moment := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).Add(time.Duration(g.IntN(48)) * 30 * time.Minute)
	switch pattern, _ := m["pattern"].(string); {
	case m["format"] == "date-time":
		return moment.Format(time.RFC3339)
	case strings.Contains(pattern, "[0-9a-f]") && len(g.found) > 0 && g.often(4):
		return g.one(g.found)
	case strings.Contains(pattern, "[0-9a-f]{64}"):
		return strings.TrimPrefix(strings.TrimSuffix(strings.Replace(pattern, "[0-9a-f]{64}", strings.Repeat("0a", 32), 1), "$"), "^")
	case strings.HasPrefix(pattern, "^0x"):
		return "0x1234"
	case strings.Contains(pattern, "[A-Z2-7]"):
		return strings.Repeat("A2", 13)
	}
	return g.one([]string{
		"golang.org/x/net/html.Render", "go", "golang.org/x/net/html", "Render", "pkg:golang/golang.org/x/net", "/usr/bin/app", "0x1234", "node-1", "1h", "90m", "v1.0.0", "x", g.one(g.ids),
		strings.Repeat("0a", 32), "sha256:" + strings.Repeat("0a", 32), strings.Repeat("z", int(min(number(m, "maxLength", 64), 4096))),
	})
}

// json is a document that a schema describes, or what somebody broke in it.
func (g *generator) json(schema any) []byte {
	value := g.value(schema, 0)
	if g.IntN(4) == 0 {
		value = g.damage(value)
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	switch g.IntN(12) {
	case 0:
		return text[:g.IntN(len(text)+1)]
	case 1:
		text[g.IntN(len(text))] = byte(g.IntN(256))
		return text
	case 2:
		return append(text, text...)
	case 3:
		return []byte(strings.Repeat("[", 20000))
	case 4:
		return []byte(g.hostile())
	default:
		return text
	}
}

// damage puts something else somewhere in a value.
func (g *generator) damage(value any) any {
	switch v := value.(type) {
	case map[string]any:
		if names := slices.Sorted(maps.Keys(v)); len(names) > 0 && g.often(5) {
			name := g.one(names)
			v[name] = g.damage(v[name])
			return v
		}
		v[g.hostile()] = g.hostile()
		return v
	case []any:
		if len(v) > 0 && g.often(5) {
			at := g.IntN(len(v))
			v[at] = g.damage(v[at])
			return v
		}
	}
	return []any{nil, true, -1, 1e300, 1 << 60, g.hostile(), []any{}, map[string]any{}, []any{nil}}[g.IntN(9)]
}

// request is one for an operation of the document.
func (g *generator) request(base, template, method string, operation, path map[string]any) *http.Request {
	shared, _ := path["parameters"].([]any)
	own, _ := operation["parameters"].([]any)
	query, header := url.Values{}, http.Header{}
	target := template
	for _, parameter := range slices.Concat(shared, own) {
		p := g.d.resolve(parameter).(map[string]any)
		name := p["name"].(string)
		value := g.hostile()
		if g.often(5) {
			switch v := g.value(p["schema"], 0).(type) {
			case []any:
				texts := make([]string, len(v))
				for i := range v {
					texts[i] = fmt.Sprint(v[i])
				}
				value = strings.Join(texts, ",")
			default:
				value = fmt.Sprint(v)
			}
		}
		switch p["in"] {
		case "path":
			if strings.HasSuffix(name, "Id") && name != "importId" && g.often(3) {
				value = g.one(g.ids)
			}
			if method == http.MethodDelete && g.often(4) {
				value = "gone" // or nothing would be left to ask for
			}
			escaped := url.PathEscape(value)
			if g.IntN(30) == 0 {
				escaped = value
			}
			target = strings.ReplaceAll(target, "{"+name+"}", escaped)
		case "query":
			if required, _ := p["required"].(bool); required && g.often(10) || g.IntN(3) == 0 {
				query.Add(name, value)
				if g.IntN(20) == 0 {
					query.Add(name, g.hostile())
				}
			}
		case "header":
			if g.IntN(3) == 0 {
				header.Set(name, regexp.MustCompile(`[^ -~]`).ReplaceAllString(value, "?"))
			}
		}
	}
	if g.IntN(20) == 0 {
		query.Add(g.hostile(), g.hostile())
	}
	var body []byte
	if content, ok := g.d.at(operation, "requestBody", "content"); ok {
		types := slices.Sorted(maps.Keys(content))
		media := g.one(types)
		body = g.json(content[media].(map[string]any)["schema"])
		header.Set("Content-Type", media)
		if g.IntN(20) == 0 {
			header.Set("Content-Type", "text/"+regexp.MustCompile(`[^ -~]`).ReplaceAllString(g.hostile(), "?"))
		}
	} else if g.IntN(10) == 0 {
		body = []byte(g.hostile())
	}
	switch g.IntN(60) {
	case 0:
		target += "/"
	case 1:
		target = strings.Replace(target, "/api", "//api", 1)
	case 2:
		target = strings.ReplaceAll(target, "/", "%2F")
	case 3:
		header.Set("Origin", g.one([]string{"null", "https://evil.example", base}))
	case 4:
		header.Set("Content-Encoding", g.one([]string{"gzip", "zstd", "br", "identity"}))
	case 5:
		method = g.one([]string{"HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"})
	}
	text := strings.Replace(query.Encode(), "%00", g.one([]string{"%00", "%", ";"}), 1)
	r, err := http.NewRequest(method, base, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	if method == http.MethodGet && len(body) == 0 {
		r.Body, r.ContentLength = nil, 0
	}
	// Opaque is sent as it is, whatever is wrong with it.
	r.URL.Opaque = regexp.MustCompile(`[\x00-\x20\x7f-\xff?#]`).ReplaceAllStringFunc(target, url.PathEscape)
	r.URL.RawQuery = text
	r.Header = header
	return r
}

// fuzzed sends requests for all operations of the document to a running server, and checks every answer.
func fuzzed(t *testing.T, store storage.Storage, ids []string, seed uint64, rounds int) map[int]int {
	s := newServer(t, store)
	server := httptest.NewUnstartedServer(http.MaxBytesHandler(s.handler, defaultMaxBody))
	server.Listener = refusals{server.Listener}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		s.api.imports.cancel()
		s.api.imports.ended.Wait()
	})
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 20 * time.Second}
	g := &generator{Rand: rand.New(rand.NewPCG(seed, seed)), d: contract(), ids: ids}
	codes := map[int]int{}
	digest := regexp.MustCompile(`"([0-9a-f]{64})"`)
	for range rounds {
		for template, item := range ordered(g.d.root["paths"].(map[string]any)) {
			for method, operation := range ordered(item.(map[string]any)) {
				if method == "parameters" {
					continue
				}
				r := g.request(server.URL, template, strings.ToUpper(method), operation.(map[string]any), item.(map[string]any))
				what := fmt.Sprintf("seed %d: %s %s?%s", seed, r.Method, r.URL.Opaque, r.URL.RawQuery)
				answer, err := client.Do(r)
				require.NoError(t, err, what)
				body, err := io.ReadAll(answer.Body)
				require.NoError(t, err, what)
				answer.Body.Close()
				codes[answer.StatusCode]++
				require.Less(t, answer.StatusCode, 500, "%s\n%s", what, body)
				checkAnswer(t, r, answer, body, what)
				if answer.StatusCode < 300 {
					for _, match := range digest.FindAllSubmatch(body, 3) {
						if g.found = append(g.found, string(match[1])); len(g.found) > 100 {
							g.found = g.found[50:]
						}
					}
				}
			}
		}
	}
	assert.Zero(t, s.logs.FilterLevelExact(zap.ErrorLevel).Len(), "nothing panicked or failed")
	return codes
}

// checkAnswer holds an answer of a running server against the document.
func checkAnswer(t *testing.T, r *http.Request, answer *http.Response, body []byte, what string) {
	t.Helper()
	if answer.StatusCode >= 400 {
		assert.Equal(t, "application/problem+json", answer.Header.Get("Content-Type"), what)
		if r.Method != http.MethodHead {
			var p problem
			require.NoError(t, json.Unmarshal(body, &p), what)
			assert.Equal(t, answer.StatusCode, p.Status, what)
		}
	}
	parsed, err := url.ParseRequestURI(r.URL.Opaque)
	if err != nil {
		assert.Equal(t, http.StatusBadRequest, answer.StatusCode, "%s: the path is no path", what)
		return
	}
	recorder := httptest.NewRecorder()
	maps.Copy(recorder.Header(), answer.Header)
	recorder.WriteHeader(answer.StatusCode)
	_, _ = recorder.Write(body)
	conforms(t, &http.Request{Method: r.Method, URL: parsed}, recorder)
}

// ordered ranges over a map by its keys.
func ordered(m map[string]any) func(func(string, any) bool) {
	return func(yield func(string, any) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}

const fuzzRounds = 100 // of all operations

func TestNoRequestBreaksTheServer(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		store, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db"), Backup: sqlite.BackupOptions{Directory: t.TempDir(), Keep: 2}})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, store.Close()) })
		s := newServer(t, store)
		observations, coverage, findings := scene()
		s.observe(observations...)
		require.NoError(t, store.WriteCoverage(t.Context(), storage.Principal{}, coverage))
		ids := []string{"named"}
		for _, id := range slices.Sorted(maps.Keys(findings)) {
			s.put(id, findings[id])
			ids = append(ids, id)
		}
		codes := fuzzed(t, store, ids, 1, fuzzRounds)
		for _, code := range []int{200, 202, 400, 404, 405, 415} {
			assert.Positive(t, codes[code], strconv.Itoa(code))
		}
		t.Log(codes)
	})
	t.Run("none", func(t *testing.T) { t.Log(fuzzed(t, none.Storage{}, []string{"x", "a/b %"}, 2, fuzzRounds)) })
}

// FuzzOperations makes a few requests of each operation out of a seed.
func FuzzOperations(f *testing.F) {
	for seed := range uint64(3) {
		f.Add(seed)
	}
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(f.TempDir(), "witness.db")})
	require.NoError(f, err)
	f.Cleanup(func() { assert.NoError(f, store.Close()) })
	f.Fuzz(func(t *testing.T, seed uint64) { fuzzed(t, store, []string{"x", "a/b %"}, seed, 1) })
}
