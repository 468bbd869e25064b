package finding

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

const ownYAML = `# what we ask
findings:
  - id: APP-1
    aliases: [CVE-2026-0001]
    title: A finding of our own
    component: pkg:golang/example.com/app
    affected:
      - introduced: 1.10
        fixed: 1.20.0
    symbols:
      - {language: go, package: example.com/app/render, member: Render, source: user}
    severity: HIGH
    occurrences:
      - {scanner: grype, imageDigest: "sha256:00", version: 1.11.0}
  - id: APP-2
`

const goOSV = `{"schema_version":"1.3.1","id":"GO-2023-1988","modified":"2023-08-01T00:00:00Z","aliases":["CVE-2023-3978"],
"summary":"Improper rendering of\ntext nodes","severity":[{"type":"CVSS_V2","score":"two"},{"type":"CVSS_V3","score":"three"}],
"affected":[{"package":{"name":"golang.org/x/net","ecosystem":"Go"},
"ranges":[{"type":"SEMVER","events":[{"fixed":"0.13.0"},{"introduced":"0"}]}],
"ecosystem_specific":{"imports":[{"path":"golang.org/x/net/html","symbols":["Render","init#1"]},{"path":"golang.org/x/net/all"}]}}],
"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2023-1988"}}`

func parse(t *testing.T, document string) []witness.Finding {
	t.Helper()
	findings, errs := Parse("f", strings.NewReader(document))
	require.Empty(t, errs)
	return findings
}

func TestParseOwn(t *testing.T) {
	want := []witness.Finding{{
		ID: "APP-1", Aliases: []string{"CVE-2026-0001"}, Title: "A finding of our own", Component: "pkg:golang/example.com/app",
		Affected:    []witness.VersionRange{{Introduced: "1.10", Fixed: "1.20.0"}},
		Symbols:     []witness.SymbolRef{{Language: "go", Package: "example.com/app/render", Member: "Render", Source: "user"}},
		Severity:    "HIGH",
		Occurrences: []witness.Occurrence{{Scanner: "grype", ImageDigest: "sha256:00", Version: "1.11.0"}},
	}, {ID: "APP-2"}}
	assert.Equal(t, want, parse(t, ownYAML))

	document, err := json.Marshal(map[string]any{"findings": want})
	require.NoError(t, err)
	assert.Equal(t, want, parse(t, string(document)))
	assert.Equal(t, want, parse(t, "\xef\xbb\xbf \n"+string(document)))

	assert.Empty(t, parse(t, "findings:\n"))
	assert.Empty(t, parse(t, `{"findings":[]}`))
	assert.Len(t, parse(t, "findings:\n- id: A\n---\nfindings:\n- id: B\n"), 2)
}

func TestParseOSV(t *testing.T) {
	want := witness.Finding{
		ID: "GO-2023-1988", Aliases: []string{"CVE-2023-3978"}, Title: "Improper rendering of text nodes",
		Component: "pkg:golang/golang.org/x/net", Severity: "three",
		Affected: []witness.VersionRange{{Introduced: "0", Fixed: "0.13.0"}},
		Symbols: []witness.SymbolRef{
			{Language: "go", Package: "golang.org/x/net/html", Member: "Render", Source: "osv"},
			{Language: "go", Package: "golang.org/x/net/html", Member: "init", Source: "osv"},
			{Language: "go", Package: "golang.org/x/net/all", Source: "osv"},
		},
	}
	assert.Equal(t, []witness.Finding{want}, parse(t, goOSV))
	assert.Equal(t, []witness.Finding{want}, parse(t, "["+goOSV+"]"))
	second := strings.ReplaceAll(goOSV, "GO-2023-1988", "GO-2")
	assert.Len(t, parse(t, goOSV+"\n"+second+"\n"), 2)
}

func osv(affected string) string { return `{"id":"A-1","details":"d","affected":[` + affected + `]}` }

func TestParseOSVPackages(t *testing.T) {
	for _, test := range []struct {
		name, affected string
		want           []witness.Finding
	}{
		{
			"several packages",
			`{"package":{"ecosystem":"Go","name":"example.com/a"}},{"package":{"ecosystem":"Go","name":"example.com/a/v2"}}`,
			[]witness.Finding{
				{ID: "A-1/example.com/a", Aliases: []string{"A-1"}, Component: "pkg:golang/example.com/a"},
				{ID: "A-1/example.com/a/v2", Aliases: []string{"A-1"}, Component: "pkg:golang/example.com/a/v2"},
			},
		},
		{
			"several releases of a distribution",
			`{"package":{"ecosystem":"Debian:11","name":"x"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.0-1"}]}]},
			 {"package":{"ecosystem":"Debian:12","name":"x"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}`,
			[]witness.Finding{
				{ID: "A-1/Debian:11/x", Aliases: []string{"A-1"}, Component: "pkg:deb/debian/x?distro=debian-11", Affected: []witness.VersionRange{{Introduced: "0", Fixed: "1.0-1"}}},
				{ID: "A-1/Debian:12/x", Aliases: []string{"A-1"}, Component: "pkg:deb/debian/x?distro=debian-12", Affected: []witness.VersionRange{{Introduced: "0"}}},
			},
		},
		{
			"one package twice",
			`{"package":{"ecosystem":"Go","name":"x.y/z"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.0.0"}]}]},
			 {"package":{"ecosystem":"Go","name":"x.y/z"},"ranges":[{"type":"SEMVER","events":[{"introduced":"2.0.0"}]}]}`,
			[]witness.Finding{{ID: "A-1", Component: "pkg:golang/x.y/z", Affected: []witness.VersionRange{{Introduced: "0", Fixed: "1.0.0"}, {Introduced: "2.0.0"}}}},
		},
		{
			"one package twice, once in all versions",
			`{"package":{"ecosystem":"Go","name":"x.y/z"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.0.0"}]}]},
			 {"package":{"ecosystem":"Go","name":"x.y/z"}}`,
			[]witness.Finding{{ID: "A-1", Component: "pkg:golang/x.y/z"}},
		},
		{
			"one package twice, with other symbols",
			`{"package":{"ecosystem":"Go","name":"x.y/z"},"ecosystem_specific":{"imports":[{"path":"x.y/z","symbols":["A"]}]}},
			 {"package":{"ecosystem":"Go","name":"x.y/z"},"ecosystem_specific":{"imports":[{"path":"x.y/z","symbols":["B"]}]}}`,
			[]witness.Finding{
				{ID: "A-1", Component: "pkg:golang/x.y/z", Symbols: []witness.SymbolRef{{Language: "go", Package: "x.y/z", Member: "A", Source: "osv"}}},
				{ID: "A-1~2", Aliases: []string{"A-1"}, Component: "pkg:golang/x.y/z", Symbols: []witness.SymbolRef{{Language: "go", Package: "x.y/z", Member: "B", Source: "osv"}}},
			},
		},
		{
			"rustsec",
			`{"package":{"ecosystem":"crates.io","name":"small-vec"},"ecosystem_specific":{"affected_functions":null,"affects":{"arch":[],"os":[],"functions":["small_vec::FromSql::<Text, Sqlite>::from_sql"]}}}`,
			[]witness.Finding{{ID: "A-1", Component: "pkg:cargo/small-vec", Symbols: []witness.SymbolRef{{Language: "rust", Package: "small_vec", Member: "FromSql::from_sql", Source: "rustsec"}}}},
		},
		{
			"events in any order",
			`{"package":{"ecosystem":"npm","name":"@a/b"},"ranges":[{"type":"SEMVER","events":[{"fixed":"2.1.0"},{"introduced":"2.0.0"},{"last_affected":"1.5.0"},{"introduced":"0"}]}]}`,
			[]witness.Finding{{ID: "A-1", Component: "pkg:npm/%40a/b", Affected: []witness.VersionRange{{Introduced: "0", LastAffected: "1.5.0"}, {Introduced: "2.0.0", Fixed: "2.1.0"}}}},
		},
		{
			"commits only",
			`{"package":{"ecosystem":"Go","name":"x.y/z"},"ranges":[{"type":"GIT","repo":"r","events":[{"introduced":"0"},{"fixed":"` + strings.Repeat("a", 40) + `"}]}]}`,
			[]witness.Finding{{ID: "A-1", Component: "pkg:golang/x.y/z", Affected: []witness.VersionRange{{Introduced: "0", Fixed: strings.Repeat("a", 40)}}}},
		},
		{
			"maven, PyPI, an unknown ecosystem with purl",
			`{"package":{"ecosystem":"Maven","name":"org.x:y"},"versions":["1"]},{"package":{"ecosystem":"PyPI","name":"A_b"}},{"package":{"ecosystem":"New","name":"n","purl":"pkg:new/n@1"}}`,
			[]witness.Finding{
				{ID: "A-1/org.x:y", Aliases: []string{"A-1"}, Component: "pkg:maven/org.x/y", Versions: []string{"1"}},
				{ID: "A-1/A_b", Aliases: []string{"A-1"}, Component: "pkg:pypi/a-b"},
				{ID: "A-1/n", Aliases: []string{"A-1"}, Component: "pkg:new/n"},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := range test.want {
				test.want[i].Title = "d"
			}
			assert.Equal(t, test.want, parse(t, osv(test.affected)))
		})
	}
}

func TestParseErrors(t *testing.T) {
	const good = `{"id":"G","affected":[{"package":{"ecosystem":"Go","name":"x.y/good"}}]}`
	for _, test := range []struct {
		name, document string
		good           int
		errors         []string
	}{
		{"empty", " \n", 0, []string{"f: is empty"}},
		{"not YAML", "findings: [", 0, []string{"f: line 1: is not valid YAML"}},
		{"not YAML in line 3", "findings:\n- id: A\n   s3cret: [\n", 0, []string{"f: line 3: is not valid YAML"}},
		{"scalar", "secret", 0, []string{"f: has no member findings"}},
		{"unknown top member", "findings: []\nother: 1\n", 0, []string{"f: line 2: other: is not a known member"}},
		{"not a list", "findings: {a: 1}", 0, []string{"f: line 1: findings: is not a list"}},
		{"unknown member", "findings:\n- id: A\n  secrets: s3cret\n- id: B\n", 1, []string{"f: findings[0] (line 2): secrets: is not a known member"}},
		{"wrong type", "findings:\n- id: [s3cret]\n- id: B\n  aliases: s3cret\n- id: C\n", 1, []string{"f: findings[0] (line 2): id: is not text", "f: findings[1] (line 3): aliases: is not a list"}},
		{"not an object", "findings:\n- s3cret\n- id: C\n", 1, []string{"f: findings[0] (line 2): is not an object"}},
		{"scope", "findings:\n- id: A\n  scope: s3cret\n", 0, []string{"f: findings[0] (line 2): scope: is set by the server"}},
		{"alias", "findings:\n- &a {id: A}\n- *a\n", 1, []string{"f: findings[1] (line 3): line 3: aliases are not supported"}},
		{"merge", "findings:\n- <<: {id: A}\n", 0, []string{"f: findings[0] (line 2): line 2: has a member twice, a merge key, or one that is not text"}},
		{"twice", "findings:\n- id: A\n- id: A\n", 1, []string{"f: findings[1] (line 3): id: is the id of an earlier finding"}},
		{"range", "findings:\n- id: A\n  component: pkg:golang/x\n  affected: [{fixed: s3cret}]\n", 0, []string{"f: findings[0] (line 2): affected[0].fixed: is not a version of this ecosystem"}},
		{"json unknown member", `{"findings":[{"id":"A","secrets":"s3cret"},{"id":"B"}]}`, 1, []string{"f: findings[0]: secrets: is not a known member"}},
		{"json unknown top member", `{"findings":[{"id":"A"}],"x":{}}`, 1, []string{"f: x: is not a known member"}},
		{"json not a list", `{"findings":{}}`, 0, []string{"f: findings: is not a list"}},
		{"json type", `{"findings":[{"id":"A","affected":[{"fixed":17}]}]}`, 0, []string{"f: findings[0]: affected.fixed: is not text"}},

		{"withdrawn", "[" + strings.Replace(good, `"id"`, `"withdrawn":"2024-01-01T00:00:00Z","id"`, 1) + "]", 0, []string{"f: advisory 1: the advisory was withdrawn"}},
		{"no id", "[{}," + good + "]", 1, []string{"f: advisory 1: id: is empty"}},
		{"no package", `{"id":"A"}`, 0, []string{"f: advisory 1: affected: is missing"}},
		{"one entry at fault", osv(`{"package":{"ecosystem":"Moon","name":"x"}},{"package":{"ecosystem":"Go","name":"x.y/z"}}`), 1, []string{"f: advisory 1: affected[0].package.ecosystem: is not known, and there is no purl"}},
		{"range type", osv(`{"package":{"ecosystem":"Go","name":"x"},"ranges":[{"type":"s3cret","events":[{"introduced":"0"}]}]}`), 0, []string{"f: advisory 1: affected[0].ranges[0].type: is not SEMVER, ECOSYSTEM or GIT"}},
		{"no introduction", osv(`{"package":{"ecosystem":"Go","name":"x"},"ranges":[{"type":"SEMVER","events":[{"fixed":"1.0.0"}]}]}`), 0, []string{"f: advisory 1: affected[0].ranges[0].events: introduces nothing"}},
		{"event", osv(`{"package":{"ecosystem":"Go","name":"x"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"s3cret"}]}]}`), 0, []string{"f: advisory 1: affected[0].fixed: is not a version of this ecosystem"}},
		{"import without path", osv(`{"package":{"ecosystem":"Go","name":"x"},"ecosystem_specific":{"imports":[{"symbols":["a"]}]}}`), 0, []string{"f: advisory 1: affected[0].ecosystem_specific.imports[0].path: is missing"}},
		{"not a function", osv(`{"package":{"ecosystem":"crates.io","name":"x"},"ecosystem_specific":{"affects":{"functions":["s3cret"]}}}`), 0, []string{"f: advisory 1: affected[0].ecosystem_specific.affects.functions[0]: is not crate::function"}},
		{"line at fault", good + "\n{\"id\":\n" + strings.Replace(good, `"G"`, `"H"`, 1) + "\n", 2, []string{"f: item 2: is not valid JSON"}},
		{"array at fault", "[" + good + ",{]", 1, []string{"f: item 2: and what follows is not valid JSON"}},
		{"behind an array", "[" + good + "] x", 1, []string{"f: item 2: and what follows is not valid JSON"}},
		{"array of nothing", "[1,null," + good + "]", 1, []string{"f: advisory 1: is not an object", "f: advisory 2: id: is empty"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			findings, errs := Parse("f", strings.NewReader(test.document))
			assert.Len(t, findings, test.good)
			texts := make([]string, 0, len(errs))
			for _, err := range errs {
				texts = append(texts, err.Error())
				assert.NotContains(t, err.Error(), "s3cret")
			}
			assert.Equal(t, test.errors, texts)
		})
	}
}

func TestParseLimits(t *testing.T) {
	_, errs := Parse("f", bytes.NewReader(bytes.Repeat([]byte(" "), MaxSize+1)))
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], ErrSize)

	_, errs = Parse("f", strings.NewReader("findings:\n"+strings.Repeat("- id: A\n", maxYAML/8)))
	require.Len(t, errs, 1)
	assert.ErrorContains(t, errs[0], "the most for YAML")

	findings, errs := Parse("f", strings.NewReader("["+strings.Repeat("1,", MaxErrors+5)+goOSV+"]"))
	assert.Empty(t, findings)
	assert.Len(t, errs, MaxErrors+1)
	assert.ErrorContains(t, errs[MaxErrors], "the rest is not read")

	_, errs = Parse("f", strings.NewReader(strings.Repeat("{\"a\":[\n", 20000)))
	assert.NotEmpty(t, errs)

	_, errs = Parse("f", failing{})
	require.Len(t, errs, 1)
	assert.EqualError(t, errs[0], "f: cannot be read")
}

// What the packages of an advisory have in common is made once, not once for each of them.
func TestManyPackagesWithMuchInCommonTakeNoMoreThanBoth(t *testing.T) {
	const n = 4000
	list := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	packages := func(n int) string { return list(`{"package":{"ecosystem":"Go","name":"x.y/z%d"}}`, n) }
	document := `{"id":"A","aliases":[` + list(`"B%d"`, n) + `],"details":"` + strings.Repeat("a ", n) + `","affected":[` + packages(n) + `]}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	findings, errs := Parse("f", strings.NewReader(document))
	runtime.ReadMemStats(&after)
	assert.Empty(t, findings)
	require.Len(t, errs, n)
	require.EqualError(t, errs[0], "f: advisory 1, affected[0]: aliases: has more than 256 entries")
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<20))

	_, errs = Parse("f", strings.NewReader(`{"id":"A","affected":[`+packages(MaxPackages+1)+`]}`))
	require.Len(t, errs, 1)
	assert.EqualError(t, errs[0], "f: advisory 1: affected: has more than 20000 entries")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("secret path") }

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		ownYAML, goOSV, "[" + goOSV + "]", goOSV + "\n" + goOSV, osv(""), `{"findings":[{"id":"A"}]}`, "findings:\n- *a\n", "- a\n", "{", "[", "{\"a\":[\n{", "%YAML 2.0\n",
		osv(`{"package":{"ecosystem":"Debian:12","name":"x"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1:1.0-1"}]}]}`),
		osv(`{"package":{"ecosystem":"crates.io","name":"a"},"ecosystem_specific":{"affects":{"functions":["a::<b>::c"]}}}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document string) {
		findings, errs := Parse("f", strings.NewReader(document))
		seen := map[string]bool{}
		for i := range findings {
			if err := Validate(&findings[i]); err != nil {
				t.Fatalf("an invalid finding: %v", err)
			}
			if seen[findings[i].ID] {
				t.Fatal("an id twice")
			}
			seen[findings[i].ID] = true
			Selectors(&findings[i])
			for _, ref := range findings[i].Symbols {
				frame := &witness.Frame{Language: ref.Language, Package: ref.Package, Member: ref.Member, Component: findings[i].Component + "@1.0.0"}
				Of(&findings[i], witness.KindCall, frame, nil, false)
			}
		}
		for _, err := range errs {
			var item *ItemError
			if !errors.As(err, &item) {
				t.Fatalf("%T", err)
			}
		}
		if len(findings) == 0 && len(errs) == 0 && strings.TrimSpace(document) == "" {
			t.Fatal("neither findings nor errors of nothing")
		}
	})
}

// archive opens a whole database, which is too large to be kept here: go-vulndb-osv.tar.gz, the OSV documents of
// vuln.go.dev, and rustsec-advisories.tar.gz, a copy of the RustSec advisory-db. WITNESS_TESTDATA names their directory.
func archive(t testing.TB, name string) map[string][]byte {
	t.Helper()
	directory := os.Getenv("WITNESS_TESTDATA")
	if directory == "" {
		t.Skipf("WITNESS_TESTDATA does not name the directory that holds %s", name)
	}
	file, err := os.Open(filepath.Join(directory, name))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not in the directory that WITNESS_TESTDATA names", name)
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	unzipped, err := gzip.NewReader(file)
	require.NoError(t, err)
	files := map[string][]byte{}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		if header.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(reader)
			require.NoError(t, err)
			files[header.Name] = data
		}
	}
}

func TestGoVulnerabilityDatabase(t *testing.T) {
	files := archive(t, "go-vulndb-osv.tar.gz")
	var all bytes.Buffer
	documents := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".json") {
			require.NoError(t, json.Compact(&all, files[name]))
			all.WriteByte('\n')
			documents++
		}
	}
	findings, errs := Parse("all", &all)
	withdrawn := 0
	for _, err := range errs {
		if errors.Is(err, ErrWithdrawn) {
			withdrawn++
		} else {
			t.Error(err)
		}
	}
	symbols, advisories := 0, map[string]bool{}
	for i := range findings {
		f := &findings[i]
		advisory, _, _ := strings.Cut(f.ID, "/")
		advisory, _, _ = strings.Cut(advisory, "~")
		advisories[advisory] = true
		symbols += len(f.Symbols)
		// Each finding is answered by its own functions, and only in versions that it affects.
		for _, ref := range f.Symbols {
			frame := &witness.Frame{Language: "go", Package: ref.Package, Member: ref.Member}
			m, ok := Of(f, witness.KindCall, frame, nil, false)
			if !ok || ref.Member != "" && !m.Direct {
				t.Errorf("%s: a symbol of it does not match", f.ID)
			}
		}
		for _, r := range f.Affected {
			if r.Fixed != "" && len(f.Affected) == 1 {
				assert.Equal(t, VersionUnaffected, versionOf(f, &witness.Frame{Component: f.Component + "@" + r.Fixed}), f.ID)
			}
			if r.Introduced != "0" {
				assert.Equal(t, VersionAffected, versionOf(f, &witness.Frame{Component: f.Component + "@" + r.Introduced}), f.ID)
			}
		}
	}
	t.Logf("%d findings of %d advisories, %d symbols", len(findings), len(advisories), symbols)
	assert.Len(t, advisories, documents-withdrawn)
	assert.Greater(t, symbols, documents)
}

// TestRustSec reads the functions of RustSec's own form, which OSV repeats.
func TestRustSec(t *testing.T) {
	files := archive(t, "rustsec-advisories.tar.gz")
	quoted := regexp.MustCompile(`"([A-Za-z0-9_]+::[^"]+)"`)
	functions := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		crate := filepath.Base(filepath.Dir(name))
		_, section, ok := strings.Cut(string(files[name]), "\n[affected")
		if !ok {
			continue
		}
		section, _, _ = strings.Cut(section, "```")
		var list []string
		for _, match := range quoted.FindAllStringSubmatch(section, -1) {
			list = append(list, match[1])
		}
		if list == nil {
			continue
		}
		encoded, err := json.Marshal(list)
		require.NoError(t, err)
		findings, errs := Parse(name, strings.NewReader(osv(`{"package":{"ecosystem":"crates.io","name":"`+crate+`"},"ecosystem_specific":{"affects":{"functions":`+string(encoded)+`}}}`)))
		require.Empty(t, errs)
		require.Len(t, findings, 1)
		require.Len(t, findings[0].Symbols, len(list))
		functions += len(list)
		for i, ref := range findings[0].Symbols {
			frame := &witness.Frame{Language: "rust", Package: ref.Package, Member: ref.Member}
			m, ok := Of(&findings[0], witness.KindSample, frame, nil, false)
			assert.True(t, ok && m.Direct && m.Symbol == 1, "%s: function %d", name, i)
			frame.Member = "inner::module::" + ref.Member
			m, ok = Of(&findings[0], witness.KindSample, frame, nil, false)
			if strings.Contains(ref.Member, "::") {
				assert.True(t, ok && m.Symbol == 0.8, "%s: function %d", name, i)
			}
		}
	}
	assert.Greater(t, functions, 500)
}
