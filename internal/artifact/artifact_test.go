package artifact

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/package-url/packageurl-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func facts() *Facts {
	f := &Facts{SHA256: strings.Repeat("ab", 32)}
	f.SetBuildInfo(&debug.BuildInfo{
		GoVersion: "go1.26.1 X:nocoverageredesign",
		Path:      "example.com/App/cmd/app",
		Main:      debug.Module{Path: "example.com/App", Version: "v1.2.3"},
		Deps: []*debug.Module{
			{Path: "golang.org/x/net", Version: "v0.12.0"},
			{Path: "github.com/Masterminds/semver/v3", Version: "v3.4.0"},
			{Path: "github.com/Masterminds/semver", Version: "v1.5.0+incompatible"},
			{Path: "k8s.io/client-go", Version: "v0.0.0", Replace: &debug.Module{Path: "/home/alice/client-go"}},
			{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1"}},
			{Path: "example.com/App/nested", Version: "v0.1.0"},
			{Path: "git.sr.ht/~user/lib", Version: "v0.2.0"},
		},
		Settings: []debug.BuildSetting{{Key: "-ldflags", Value: "-X main.secret=hunter2"}, {Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}},
	})
	return f
}

func TestComponent(t *testing.T) {
	for name, c := range map[string]struct{ language, pkg, component string }{
		"a dependency":                  {"go", "golang.org/x/net/html", "pkg:golang/golang.org/x/net@v0.12.0"},
		"the root of a dependency":      {"go", "golang.org/x/net", "pkg:golang/golang.org/x/net@v0.12.0"},
		"language not said":             {"", "golang.org/x/net/html", "pkg:golang/golang.org/x/net@v0.12.0"},
		"a neighbour of a dependency":   {"go", "golang.org/x/network", ""},
		"the longest prefix":            {"go", "github.com/Masterminds/semver/v3", "pkg:golang/github.com/Masterminds/semver/v3@v3.4.0"},
		"its shorter one, incompatible": {"go", "github.com/Masterminds/semver/internal", "pkg:golang/github.com/Masterminds/semver@v1.5.0%2Bincompatible"},
		"replaced by a directory":       {"go", "k8s.io/client-go/rest", "pkg:golang/k8s.io/client-go"},
		"replaced by another module":    {"go", "example.com/old/x", "pkg:golang/example.com/fork@v1.0.1"},
		"package main":                  {"go", "main", "pkg:golang/example.com/App@v1.2.3"},
		"main module":                   {"go", "example.com/App/internal/x", "pkg:golang/example.com/App@v1.2.3"},
		"module inside another":         {"go", "example.com/App/nested/x", "pkg:golang/example.com/App/nested@v0.1.0"},
		"standard library":              {"go", "crypto/tls", "pkg:golang/stdlib@1.26.1"},
		"runtime":                       {"go", "runtime", "pkg:golang/stdlib@1.26.1"},
		"vendored in GOROOT":            {"go", "vendor/golang.org/x/net/http2/hpack", "pkg:golang/stdlib@1.26.1"},
		"the toolchain":                 {"go", "cmd/internal/obj", "pkg:golang/toolchain@1.26.1"},
		"tilde stays":                   {"go", "git.sr.ht/~user/lib/sub", "pkg:golang/git.sr.ht/~user/lib@v0.2.0"},
		"unknown module":                {"go", "example.org/other", ""},
		"no package":                    {"go", "", ""},
		"C code of cgo":                 {"c", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.component, Component(facts(), c.language, c.pkg))
		})
	}
}

func TestComponentOfUnusualBinaries(t *testing.T) {
	build := func(b debug.BuildInfo) *Facts {
		f := &Facts{}
		f.SetBuildInfo(&b)
		return f
	}
	tool := build(debug.BuildInfo{GoVersion: "go1.26.8", Path: "cmd/go"})
	assert.Equal(t, "pkg:golang/toolchain@1.26.8", Component(tool, "go", "main"))
	assert.Equal(t, "pkg:golang/toolchain@1.26.8", tool.Artifact().PURL)
	develMain := build(debug.BuildInfo{GoVersion: "devel go1.27-abcdef", Path: "example.com/x", Main: debug.Module{Path: "example.com/x", Version: "(devel)"}})
	assert.Equal(t, "pkg:golang/example.com/x", Component(develMain, "go", "main"))
	assert.Equal(t, "pkg:golang/stdlib", Component(develMain, "go", "net/http"))
	script := build(debug.BuildInfo{GoVersion: "go1.26.8", Path: "command-line-arguments"})
	assert.Empty(t, Component(script, "go", "main"))
	assert.Equal(t, witness.Artifact{Method: MethodPath}, script.Artifact())
	dotless := build(debug.BuildInfo{GoVersion: "go1.26.8", Path: "shop/cmd/web", Main: debug.Module{Path: "shop"}})
	assert.Equal(t, "pkg:golang/shop", Component(dotless, "go", "shop/internal/cart"))
	outside := build(debug.BuildInfo{GoVersion: "go1.26.8", Path: "example.com/x/cmd/y"})
	assert.Equal(t, "pkg:golang/example.com/x/cmd/y", Component(outside, "go", "main"))
	directory := build(debug.BuildInfo{GoVersion: "go1.26.8", Path: "_/home/alice/x"})
	assert.Empty(t, Component(directory, "go", "main"))
	assert.Empty(t, Component(directory, "go", "_/home/alice/x"))
	assert.Equal(t, witness.Artifact{Method: MethodPath}, directory.Artifact())
	c := &Facts{Note: Note{"deb", "debian", "openssl", "3.0.19-1~deb12u2"}}
	assert.Equal(t, "pkg:deb/debian/openssl@3.0.19-1~deb12u2", Component(c, "c", ""))
	assert.Empty(t, Component(&Facts{}, "c", ""))
}

func TestArtifact(t *testing.T) {
	assert.Equal(t, witness.Artifact{
		PURL: "pkg:golang/example.com/App@v1.2.3", Digest: "sha256:" + strings.Repeat("ab", 32),
		Revision: "0123456789abcdef0123456789abcdef01234567", Method: MethodBuildInfo,
	}, facts().Artifact())
	assert.NotContains(t, fmt.Sprintf("%+v", facts()), "hunter2", "only versions and the revision leave build information")
	assert.NotContains(t, fmt.Sprintf("%+v", facts()), "alice")
	both := facts()
	both.Note = Note{"rpm", "fedora", "app", "1.2.3-1.fc41"}
	assert.Equal(t, MethodBuildInfo, both.Artifact().Method)
	assert.Equal(t, witness.Artifact{PURL: "pkg:rpm/fedora/app@1.2.3-1.fc41", Method: MethodNotePackage},
		(&Facts{Note: Note{"rpm", "fedora", "app", "1.2.3-1.fc41"}}).Artifact())
	assert.Equal(t, witness.Artifact{Digest: "sha256:" + strings.Repeat("00", 32), Method: MethodPath}, (&Facts{SHA256: strings.Repeat("00", 32)}).Artifact())
}

func TestParseNote(t *testing.T) {
	for name, c := range map[string]struct{ text, purl string }{
		"debian":          {`{"type":"deb","os":"Debian","name":"systemd","version":"252.38-1~deb12u1","architecture":"amd64"}`, "pkg:deb/debian/systemd@252.38-1~deb12u1"},
		"fedora":          {`{"type":"rpm","name":"coreutils","version":"9.0-12.fc36","osCpe":"cpe:/o:fedoraproject:fedora:36","os":"fedora"}`, "pkg:rpm/fedora/coreutils@9.0-12.fc36"},
		"no os":           {`{"type":"apk","name":"busybox","version":"1.36.1-r5"}`, "pkg:apk/busybox@1.36.1-r5"},
		"epoch, odd text": {`{"type":"deb","os":"a b","name":"x/../y","version":"1:2+b1"}`, "pkg:deb/a%20b/x%2F..%2Fy@1:2%2Bb1"},
		"unknown type":    {`{"type":"exe","name":"x","version":"1"}`, ""},
		"no name":         {`{"type":"deb","version":"1"}`, ""},
		"no version":      {`{"type":"deb","name":"x"}`, ""},
		"too long":        {`{"type":"deb","version":"1","name":"` + strings.Repeat("x", 600) + `"}`, ""},
		"wrong types":     {`{"type":1}`, ""},
		"not JSON":        {`deb`, ""},
		"empty":           {``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			note, err := ParseNote([]byte(c.text))
			assert.Equal(t, c.purl, note.PURL())
			assert.Equal(t, c.purl == "", err != nil)
		})
	}
}

func FuzzParseNote(f *testing.F) {
	f.Add([]byte(`{"type":"deb","os":"Debian","name":"systemd","version":"252.38-1~deb12u1"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		note, err := ParseNote(text)
		if err == nil {
			_, err := packageurl.FromString(note.PURL())
			assert.NoError(t, err, note.PURL())
		}
	})
}

// FuzzComponents checks that a component is always a purl, whatever package and purl are posted.
func FuzzComponents(f *testing.F) {
	f.Add("golang.org/x/net/html", "pkg:golang/golang.org/x/net@v0.12.0")
	f.Add("main", "pkg:golang/a%2Fb@v1%2Bx?a=b#c")
	f.Fuzz(func(t *testing.T, pkg, purl string) {
		for _, component := range []string{Component(facts(), "go", pkg), PostedComponent(purl, "go", pkg)} {
			if component != "" {
				assert.True(t, strings.HasPrefix(component, "pkg:golang/"))
			}
		}
	})
}

func TestPostedComponent(t *testing.T) {
	const app = "pkg:golang/example.com/App@v1.2.3%2Bincompatible?type=module#cmd/app"
	for name, c := range map[string]struct{ artifact, language, pkg, component string }{
		"own package":              {app, "go", "example.com/App/internal", "pkg:golang/example.com/App@v1.2.3%2Bincompatible"},
		"package main":             {app, "go", "main", "pkg:golang/example.com/App@v1.2.3%2Bincompatible"},
		"standard library":         {app, "go", "net/http", "pkg:golang/stdlib"},
		"standard, other artifact": {"pkg:deb/debian/x@1", "go", "net/http", "pkg:golang/stdlib"},
		"standard, no artifact":    {"", "go", "net/http", "pkg:golang/stdlib"},
		"main, no artifact":        {"", "go", "main", ""},
		"another module":           {app, "go", "golang.org/x/net/html", ""},
		"a neighbour":              {app, "go", "example.com/Apple", ""},
		"own module without a dot": {"pkg:golang/shop@v1.0.0", "go", "shop/cart", "pkg:golang/shop@v1.0.0"},
		"no version":               {"pkg:golang/example.com/App", "go", "main", "pkg:golang/example.com/App"},
		"another language":         {app, "c", "net/http", ""},
		"no package":               {app, "go", "", ""},
		"no purl":                  {"example.com/App", "go", "main", ""},
		"broken purl":              {"pkg:golang/%zz@v1", "go", "main", ""},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.component, PostedComponent(c.artifact, c.language, c.pkg))
		})
	}
}

// TestPURLs: every purl parses, and what was written can be read back.
func TestPURLs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Module{
			Path:    rapid.StringMatching(`[a-z]{1,5}\.[a-z]{2,3}(/[A-Za-z0-9._~+-]{1,6}[a-z]){0,3}`).Draw(t, "path"),
			Version: rapid.StringMatching(`(v[0-9]\.[0-9]\.[0-9]([+-][a-z.+@/ %]{1,5})?)?`).Draw(t, "version"),
		}
		path, version, ok := parseGo(m.PURL())
		if !ok || path != m.Path || version != m.Version {
			t.Fatalf("%q gives %q %q", m.PURL(), path, version)
		}
		p, err := packageurl.FromString(m.PURL())
		if err != nil || p.Version != m.Version || !strings.EqualFold(p.Namespace+"/"+p.Name, m.Path) && p.Namespace != "" {
			t.Fatalf("%q: %v %+v", m.PURL(), err, p)
		}
	})
}

// TestRealBinary builds a program with dependencies of this module.
func TestRealBinary(t *testing.T) {
	dir := t.TempDir()
	command := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "rapid.test"), "github.com/otelcol-witness/otelcol-witness/internal/semconv/generate")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	b, err := os.ReadFile(filepath.Join(dir, "rapid.test"))
	require.NoError(t, err)
	build, err := elffile.BuildInfo(bytes.NewReader(b))
	require.NoError(t, err)
	f := &Facts{}
	f.SetBuildInfo(build)
	assert.Regexp(t, `^pkg:golang/go\.yaml\.in/yaml/v3@v3\.`, Component(f, "go", "go.yaml.in/yaml/v3"))
	assert.Regexp(t, `^pkg:golang/github\.com/otelcol-witness/otelcol-witness(@|$)`, Component(f, "go", "main"))
	assert.Regexp(t, `^pkg:golang/stdlib@1\.`, Component(f, "go", "net/http"))
}

func linear(f *Facts, pkg string) string {
	best := -1
	for i := range f.deps {
		if within(pkg, f.deps[i].prefix) && (best < 0 || len(f.deps[i].prefix) > len(f.deps[best].prefix)) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return f.deps[best].module.PURL()
}

func many() *Facts {
	b := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "example.com/provider"}}
	for i := range 350 {
		b.Deps = append(b.Deps, &debug.Module{Path: fmt.Sprintf("github.com/organization%d/project%d", i%40, i), Version: "v1.2.3"})
	}
	f := &Facts{}
	f.SetBuildInfo(b)
	return f
}

func BenchmarkComponent(b *testing.B) {
	f, pkg := many(), "github.com/organization9/project329/service/internal"
	require.Equal(b, linear(f, pkg), Component(f, "go", pkg))
	b.Run("sorted prefixes", func(b *testing.B) {
		for b.Loop() {
			Component(f, "go", pkg)
		}
	})
	b.Run("linear", func(b *testing.B) {
		for b.Loop() {
			linear(f, pkg)
		}
	})
}
