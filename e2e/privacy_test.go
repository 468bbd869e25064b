//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// planted are private values, and what of each must be nowhere, whatever the case.
var planted = []struct {
	value any
	gone  string
}{
	{"/home/canaryhome/bin/app", "canaryhome"},
	{"/usr/../home/canarydots/bin/app", "canarydots"},
	{"../../home/canaryrelative/src/x.c", "canaryrelative"},
	{"/host/home/canarymount/bin/app", "canarymount"},
	{"/memfd:canarymemfd (deleted)", "canarymemfd"},
	{"/tmp/canarytemporary/x", "canarytemporary"},
	{"_/home/canarygopath/proj.(*T).Run", "canarygopath"},
	{"postgres://u:canarypassword@db/x", "canarypassword"},
	{"--password=canaryargument", "canaryargument"},
	{`{"Key":"DB_PASSWORD","Value":"canaryenvironment"}`, "canaryenvironment"},
	{"ghp_c4n4ryT0k3nc4n4ryT0k3nc4n4ryT0k3nAA", "c4n4ryT0k3n"},
	{"canarymail@example.com", "canarymail"},
	{`curl -H "Authorization: Bearer canarybearer1" https://example.com`, "canarybearer1"},
	{"mysql -uroot -P 3306 -pcanarymysql", "canarymysql"},
	{"env DB_HOST=x API_TOKEN=canaryvariable LANG=C", "canaryvariable"},
	{`C:\Users\canarywindows Smith\app.exe`, "canarywindows"},
	{"https://canaryuser@example.com/x?token=canaryquery", "canaryquery"},
	{"com.example.App$$Lambda/0x0000000800c4a7e0.run", "800c4a7e0"},
	{"0x7ffd1c2b3a41", "7ffd1c2b3a41"},
	{"ffffffff81a3c2f1", "ffffffff81a3c2f1"},
	{"140498967885091", "140498967885091"},
	{"18446744072265074671", "18446744072265074671"},
	{"[::ffff:203.0.113.77]:443", "203.0.113.77"},
	{"2001:db8:ca:fe::99", "db8:ca:fe"},
	{int64(140498967885093), "140498967885093"},
	{int64(-2130706431), "-2130706431"},
	{140498967885095.0, "140498967885095"},
	{[]byte("canarybytes"), "canarybytes"},
	{[]byte("canarybytes"), "y2fuyxj5ynl0zxm"}, // in base64
	{map[string]any{"canarykey@example.com": "x", "x": []any{map[string]any{"x": "--password=canarynested"}}}, "canarykey"},
	{[]any{"--password=canarylist", []byte("canarybytes"), int64(140498967885097)}, "canarylist"},
}

// garbage is an offset that is none of any file: it is memory. In hex and in decimal.
const garbage = 0x5373d5b257

var garbageTexts = []string{"5373d5b257", "358419962583"}

// identities are what is private unless the operator keeps it.
var identities = []string{"canarynode", "canarypod", "5ca1ab1e5ca1ab1e", "0ddba11c-0000-4000-8000-0ddba11c0ddb"}

// names are those of the model.
func names(t *testing.T) (events, attributes, frames []string) {
	var model struct{ Events, Attributes, Frames []struct{ Name string } }
	require.NoError(t, yaml.Unmarshal([]byte(readFile(t, "../internal/semconv/model.yaml")), &model))
	for _, e := range model.Events {
		events = append(events, e.Name)
	}
	for _, a := range model.Attributes {
		attributes = append(attributes, a.Name)
	}
	for _, f := range model.Frames {
		frames = append(frames, f.Name)
	}
	require.NotEmpty(t, frames)
	return events, attributes, frames
}

// plantedLogs has a value in every field of every event.
func plantedLogs(t *testing.T, value any, now time.Time) plog.Logs {
	events, attributes, frames := names(t)
	text, _ := value.(string)
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.SetSchemaUrl("https://example.com/" + text)
	scope := resource.ScopeLogs().AppendEmpty()
	scope.SetSchemaUrl("https://example.com/" + text)
	scope.Scope().SetName(text)
	scope.Scope().SetVersion(text)
	all := map[string]any{"unknown": value}
	for _, name := range attributes {
		all[name] = value
		if a, _ := semconv.LookupAttribute(name); a.Type == "string[]" {
			all[name] = []any{value}
		}
	}
	require.NoError(t, resource.Resource().Attributes().FromRaw(all))
	require.NoError(t, scope.Scope().Attributes().FromRaw(all))
	frame := map[string]any{"unknown": value}
	for _, name := range frames {
		frame[name] = value
	}
	for _, event := range append(events, text) {
		// Everything, then what is stored although most of it is canaries.
		for i, stack := range [][]any{{frame, value}, {
			map[string]any{semconv.FrameSymbol: "SSL_read", semconv.FrameLanguage: "c", semconv.FrameModule: value, semconv.FrameFile: value, semconv.FrameBuildID: value, semconv.FrameOffset: value},
			map[string]any{semconv.FrameSymbol: "SSL_write", semconv.FrameLanguage: "c", semconv.FrameModule: "/usr/bin/app", semconv.FrameOffset: "0x5373d5b257"},
			map[string]any{semconv.FrameSymbol: value, semconv.FrameLanguage: "go", semconv.FrameModule: "/usr/bin/app"},
			map[string]any{semconv.FrameSymbol: value, semconv.FrameModule: "/usr/bin/app"},
		}} {
			record := scope.LogRecords().AppendEmpty()
			record.SetEventName(event)
			record.SetTimestamp(pcommon.NewTimestampFromTime(now))
			record.SetSeverityText(text)
			require.NoError(t, record.Body().FromRaw(value))
			require.NoError(t, record.Attributes().FromRaw(all))
			if i > 0 {
				record.Attributes().PutInt(semconv.WitnessHits, 1)
				record.Attributes().PutInt(semconv.ProcessPID, 4711)
			}
			require.NoError(t, record.Attributes().PutEmptySlice(semconv.WitnessStack).FromRaw(stack))
			record.Attributes().PutStr(semconv.WitnessCanon, "canon/v1") // a forged mark
		}
	}
	return logs
}

// plantedCapture is the capture with private values in every field that can hold one.
func plantedCapture(t *testing.T) string {
	var out strings.Builder
	n := 0
	for _, line := range capture(t) {
		event := &tetragon.GetEventsResponse{}
		require.NoError(t, protojson.Unmarshal([]byte(line), event))
		out.WriteString(line)
		for range 2 {
			n++
			each := proto.Clone(event).(*tetragon.GetEventsResponse)
			plant(each.ProtoReflect(), &n)
			text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(each)
			require.NoError(t, err)
			out.Write(text)
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// plant changes texts, bytes and numbers of 64 bits in a message.
func plant(m protoreflect.Message, n *int) {
	switch m.Interface().(type) {
	case *tetragon.EnvVar, *timestamppb.Timestamp, *wrapperspb.UInt32Value, *wrapperspb.BoolValue, *wrapperspb.Int32Value:
		return
	}
	if p, ok := m.Interface().(*tetragon.Process); ok {
		p.EnvironmentVariables = []*tetragon.EnvVar{{Key: "DB_PASSWORD", Value: "canaryenvironment"}}
		p.Cwd, p.Arguments = "/home/canaryhome", "--password=canaryargument"
		if *n%3 == 0 {
			p.Pod = &tetragon.Pod{Namespace: "shop", Name: "canarypod", Uid: identities[3], Container: &tetragon.Container{Id: "containerd://" + strings.Repeat(identities[2], 4), Name: "web"}}
		}
	}
	if p, ok := m.Interface().(*tetragon.GetEventsResponse); ok {
		p.NodeName, p.NodeLabels = "canarynode", map[string]string{"x": "canarymail@example.com"}
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		*n++
		switch {
		case field.IsMap():
		case field.IsList() && field.Kind() == protoreflect.MessageKind:
			for i := range value.List().Len() {
				plant(value.List().Get(i).Message(), n)
			}
		case field.IsList():
		case field.Kind() == protoreflect.MessageKind:
			plant(value.Message(), n)
		case *n%4 == 0, field.Name() == "node_name", field.Name() == "arguments", field.Name() == "cwd":
		case field.Kind() == protoreflect.BytesKind && field.Name() != "buildid":
			m.Set(field, protoreflect.ValueOfBytes([]byte("canarybytes")))
		case field.Kind() == protoreflect.Uint64Kind:
			m.Set(field, protoreflect.ValueOfUint64([]uint64{140498967885091, 18446744072265074671, garbage}[*n%3]))
		case field.Kind() == protoreflect.Int64Kind:
			m.Set(field, protoreflect.ValueOfInt64([]int64{140498967885093, -2130706431}[*n%2]))
		case field.Kind() == protoreflect.StringKind && m.Descriptor().Name() != "Pod" && m.Descriptor().Name() != "Container":
			if text, ok := planted[*n%len(planted)].value.(string); ok {
				m.Set(field, protoreflect.ValueOfString(text))
			}
		}
		return true
	})
}

func TestNoCanaryLeaves(t *testing.T) {
	lines := plantedCapture(t)
	addresses := capturedAddresses(t)
	require.Greater(t, len(addresses), 50)
	for name, test := range map[string]struct {
		config    string
		private   []string
		arguments bool // are kept: of them, only addresses are private
	}{
		"identities kept":       {config: "yaml:processors::canonicalization::identities: keep"},
		"identities hashed":     {config: "yaml:processors::canonicalization::identities: hmac", private: identities},
		"arguments scrubbed":    {config: "yaml:{processors: {canonicalization: {arguments: scrub, allow: [unknown]}}, receivers: {tetragon: {include_arguments: true, include_raw: true}}}"},
		"arguments kept":        {config: "yaml:{processors: {canonicalization: {arguments: keep}}, receivers: {tetragon: {include_arguments: true, include_raw: true}}}", arguments: true},
		"identities left out":   {config: "yaml:processors::canonicalization::identities: drop", private: identities},
		"a gateway without key": {config: "yaml:processors::canonicalization: {identities: hmac, hmac_key_file: ''}", private: identities},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, file := t.TempDir()+"/out.jsonl", t.TempDir()+"/tetragon.log"
			writeFile(t, file, lines)
			posting := "keep"
			if test.private != nil {
				posting = "hmac"
			}
			c := newCollector(t, map[string]string{"TETRAGON_EXPORT_FILE": file}, "local.yaml", withoutHost, test.config,
				"yaml:extensions::witness_query::canonicalization::identities: "+posting,
				"yaml:extensions::witness_query::rate_limit::requests_per_second: 0", "yaml:exporters::file::path: "+out, "yaml:service::pipelines::logs::exporters: [witness, file]",
				"yaml:processors::hot_symbol: {events: keep, flush_interval: 500ms, allowed_lateness: 8760h}").start()
			answers := &bytes.Buffer{}
			now := time.Now()
			for _, p := range planted {
				c.sendLogs(plantedLogs(t, p.value, now))
				if _, isBytes := p.value.([]byte); !isBytes { // JSON has none
					c.everywhere(answers, p.value, now)
				}
			}
			c.settled()
			for _, path := range []string{"", "/runtime/traces", "/runtime/score", "/runtime/timeline", "/runtime/coverage"} {
				answers.WriteString(c.fetch(http.MethodGet, "/api/v1/findings/GO-2023-1988"+path, nil))
			}
			for _, path := range []string{"/api/v1/findings", "/api/v1/symbols/hot?limit=1000", "/api/v1/watchlist"} {
				answers.WriteString(c.fetch(http.MethodGet, path, nil))
			}
			metrics := c.metrics()
			require.Contains(t, metrics, "canonicalization")
			private := append(slices.Clone(test.private), addresses...)
			for _, p := range planted {
				if !test.arguments || isAddress.MatchString(p.gone) {
					private = append(private, p.gone)
				}
			}
			if !test.arguments {
				private = append(private, garbageTexts...)
			}
			assertUncanonical(t, metrics, false)
			assertNone(t, "the API", answers.Bytes(), private)
			assertNone(t, "the metrics", []byte(metrics), private)
			files := 0
			check := func() {
				assertNone(t, "the log", []byte(c.log.String()), private)
				assertNone(t, "the file exporter", []byte(readFile(t, out)), private)
				require.NoError(t, fs.WalkDir(os.DirFS(c.env["WITNESS_DATA_DIR"]), ".", func(path string, entry fs.DirEntry, err error) error {
					if err != nil || entry.IsDir() {
						return err
					}
					content, err := os.ReadFile(filepath.Join(c.env["WITNESS_DATA_DIR"], path))
					if errors.Is(err, fs.ErrNotExist) {
						return nil // gone meanwhile
					}
					files++
					assertNone(t, "data/"+path, content, private)
					return err
				}))
			}
			check()
			c.stop()
			check()
			assert.Greater(t, files, 4)
			assert.Greater(t, len(readFile(t, out)), 1<<20)
			assert.Greater(t, sum(c.stored()), uint64(500), "the evidence between the canaries is kept")
		})
	}
}

// isAddress tells the canaries that are addresses.
var isAddress = regexp.MustCompile(`^(?:[0-9a-f]{12}|[0-9a-f]{16}|-?[0-9]{10,20})$`)

// capturedAddresses are those that the capture really holds, wherever: of stacks, socket cookies, a size that is a stack
// pointer. In decimal, as Tetragon writes them, and in hex.
func capturedAddresses(t *testing.T) (found []string) {
	number := regexp.MustCompile(`[0-9]{14,20}`)
	seen := map[string]bool{}
	for _, line := range capture(t) {
		for _, text := range number.FindAllString(line, -1) {
			v, err := strconv.ParseUint(text, 10, 64)
			if err == nil && !seen[text] && (v >= 0xff00<<48 || v >= 0x5500<<32 && v < 1<<47) {
				seen[text] = true
				found = append(found, text, strconv.FormatUint(v, 16))
			}
		}
	}
	return found
}

// assertUncanonical looks at what the storage counts of what was not canonical.
func assertUncanonical(t *testing.T, metrics string, want bool) {
	t.Helper()
	counts := regexp.MustCompile(`(?m)^otelcol_witness_storage_uncanonical_values\S*of="(\w+)"\S* (\d+)$`).FindAllStringSubmatch(metrics, -1)
	require.Len(t, counts, 4)
	for _, count := range counts {
		if of := count[1]; !want {
			assert.Equal(t, "0", count[2], of)
		} else if of == "observation" || of == "coverage" {
			assert.NotEqual(t, "0", count[2], of)
		}
	}
}

// TestACheckCountsWhatCanonicalizationDidNotSee leaves it out of the pipeline.
func TestACheckCountsWhatCanonicalizationDidNotSee(t *testing.T) {
	c := newCollector(t, nil, "gateway.yaml", "yaml:service::pipelines::logs::processors: [hot_symbol]", "yaml:processors::hot_symbol: {flush_interval: 500ms, allowed_lateness: 8760h}").start()
	now := time.Now()
	for _, p := range planted {
		c.sendLogs(plantedLogs(t, p.value, now))
	}
	assert.Eventually(t, func() bool {
		return !strings.Contains(c.metrics(), `uncanonical_values{of="observation"} 0`)
	}, 20*time.Second, 200*time.Millisecond)
	assertUncanonical(t, c.metrics(), true)
}

func assertNone(t *testing.T, where string, content []byte, private []string) {
	t.Helper()
	lower := bytes.ToLower(content)
	for _, text := range private {
		if at := bytes.Index(lower, []byte(strings.ToLower(text))); at >= 0 {
			t.Errorf("%q is in %s: %q", text, where, lower[max(0, at-160):min(len(lower), at+60)])
		}
	}
}

// busy are answers to who asks while an import runs.
var busy = regexp.MustCompile(`"status":(?:409|429)\b`)

// everywhere posts a trace, a finding, an advisory and a signal with a value in each of its members, one at a time, and what
// is refused outright.
func (c *collector) everywhere(answers *bytes.Buffer, value any, now time.Time) {
	one := trace(now, 1)
	one["frames"] = one["frames"].([]object)[:1]
	one["frames"].([]object)[0]["offset"] = "0x5373d5b257"
	raw, err := json.Marshal(one)
	require.NoError(c.t, err)
	post := func(body any) {
		text, err := json.Marshal(object{"traces": []any{body}})
		require.NoError(c.t, err)
		answer := c.fetch(http.MethodPost, traces, text)
		if !strings.Contains(answer, "has an unknown member") { // which is named to the one who sent it
			answers.WriteString(answer)
		}
	}
	var body any
	require.NoError(c.t, json.Unmarshal(raw, &body))
	each(body, value, func() { post(body) })
	text, err := json.Marshal(value)
	require.NoError(c.t, err)
	word := url.PathEscape(fmt.Sprint(value))
	for _, path := range []string{
		"/api/v1/" + word, "/api/v1/findings/" + word + "/runtime/traces", "/api/v1/findings/" + word, traces + "?kind=" + word, traces + "?from=" + url.QueryEscape(fmt.Sprint(value)),
		traces + "?cursor=" + word, traces + "?limit=" + word, "/api/v1/findings/GO-2023-1988/runtime/timeline?bucket=" + word, "/api/v1/symbols/hot?component=" + word,
	} {
		answers.WriteString(c.fetch(http.MethodGet, path, nil))
	}
	for _, of := range []struct {
		method, path, format string
		document             any
	}{
		{http.MethodPut, "/api/v1/findings/ACME-1", `%s`, postedFinding()},
		{http.MethodPost, "/api/v1/findings:import?scope=" + url.QueryEscape(fmt.Sprint(value)), `{"findings":[%s]}`, postedFinding()},
		{http.MethodPost, "/api/v1/findings:import?scope=all", `{"findings":[%s]}`, postedFinding()},
		{http.MethodPost, "/api/v1/findings:import?scope=osv", `%s`, advisory()},
		{http.MethodPost, "/api/v1/signals/runtime", `{"signals":[%s]}`, signals()},
	} {
		var document any
		raw, err := json.Marshal(of.document)
		require.NoError(c.t, err)
		require.NoError(c.t, json.Unmarshal(raw, &document))
		each(document, value, func() {
			body, err := json.Marshal(document)
			require.NoError(c.t, err)
			answer := c.fetch(of.method, of.path, fmt.Appendf(nil, of.format, body))
			for busy.MatchString(answer) {
				time.Sleep(10 * time.Millisecond)
				answer = c.fetch(of.method, of.path, fmt.Appendf(nil, of.format, body))
			}
			answers.WriteString(answer)
			var job struct{ ID string }
			if json.Unmarshal([]byte(answer), &job) == nil && job.ID != "" && strings.Contains(of.path, "import") {
				answers.WriteString(c.fetch(http.MethodGet, "/api/v1/imports/"+job.ID, nil))
			}
		})
	}
	for _, malformed := range []string{string(text), `{"traces":` + string(text) + `}`, `{"traces":[{"kind":` + string(text), fmt.Sprintf(`{%q:1}`, fmt.Sprint(value)), fmt.Sprintf(`{"traces":[{%q:1}]}`, fmt.Sprint(value))} {
		c.fetch(http.MethodPost, traces, []byte(malformed)) // its own answer may name what is unknown
	}
}

// each calls do with the value in place of every member of the node, one at a time.
func each(node, value any, do func()) {
	switch node := node.(type) {
	case map[string]any:
		for name, member := range node {
			node[name] = value
			do()
			node[name] = member
			each(member, value, do)
		}
	case []any:
		for i, element := range node {
			node[i] = value
			do()
			node[i] = element
			each(element, value, do)
		}
	}
}

func postedFinding() object {
	return object{
		"aliases": []string{"CVE-2026-1"}, "title": "Stack exhaustion in net/html", "component": "pkg:golang/golang.org/x/net", "severity": "HIGH",
		"affected": []object{{"introduced": "0", "fixed": "0.13.0"}}, "versions": []string{"0.1.0"},
		"symbols":     []object{{"language": "go", "package": "golang.org/x/net/html", "member": "Tokenizer.Next", "source": "user"}},
		"occurrences": []object{{"scanner": "trivy", "imageDigest": "sha256:" + strings.Repeat("ab", 32), "version": "0.1.0", "namespace": "shop", "controller": "deployment/web", "container": "web"}},
	}
}

func advisory() object {
	return object{
		"id": "GO-2026-1", "aliases": []string{"CVE-2026-2"}, "summary": "Stack exhaustion", "details": "In net/html.",
		"references": []object{{"type": "WEB", "url": "https://go.dev/issue/1"}},
		"affected": []object{{
			"package": object{"ecosystem": "Go", "name": "golang.org/x/net"}, "ranges": []object{{"type": "SEMVER", "events": []object{{"introduced": "0"}, {"fixed": "0.13.0"}}}},
			"ecosystem_specific": object{"imports": []object{{"path": "golang.org/x/net/html", "symbols": []string{"Tokenizer.Next"}}}},
		}},
	}
}

func signals() object {
	return object{
		"host": "node-1", "executable": object{"path": "/usr/bin/app", "buildId": strings.Repeat("c0", 20)}, "origin": "workload", "source": "proc", "seccomp": "filter", "user": "nonroot",
		"workload": object{"namespace": "shop", "controller": "deployment/web"}, "container": object{"id": strings.Repeat("5e", 32), "name": "web", "image": "sha256:" + strings.Repeat("cd", 32)},
	}
}

// fetch asks the API and returns whatever it says.
func (c *collector) fetch(method, path string, body []byte) string {
	request, err := http.NewRequest(method, "http://"+c.env["WITNESS_API_ENDPOINT"]+path, bytes.NewReader(body))
	require.NoError(c.t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	require.Less(c.t, response.StatusCode, 500, string(text))
	return string(text)
}

// metrics is the page of the collector's own metrics.
func (c *collector) metrics() string {
	var config struct {
		Readers []struct {
			Pull struct {
				Exporter struct {
					Prometheus struct{ Host, Port string }
				}
			}
		} `yaml:"service::telemetry::metrics::readers"`
	}
	require.NoError(c.t, yaml.Unmarshal([]byte(strings.TrimPrefix(c.configs[len(c.configs)-1], "yaml:")), &config))
	at := config.Readers[0].Pull.Exporter.Prometheus
	response, err := http.Get("http://" + at.Host + ":" + at.Port + "/metrics")
	require.NoError(c.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	return string(text)
}
