package finding

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "5000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const netPURL = "pkg:golang/golang.org/x/net"

func goFinding() *witness.Finding {
	return &witness.Finding{
		ID: "GO-2023-1988", Component: netPURL,
		Affected: []witness.VersionRange{{Introduced: "0", Fixed: "0.13.0"}},
		Symbols: []witness.SymbolRef{
			{Language: "go", Package: "golang.org/x/net/html", Member: "Render"},
			{Language: "go", Package: "golang.org/x/net/html", Member: "(*Tokenizer).Next"},
		},
	}
}

func symbols(component string, list ...witness.SymbolRef) *witness.Finding {
	return &witness.Finding{ID: "F", Component: component, Symbols: list}
}

func TestOutsideRange(t *testing.T) {
	render := witness.Frame{Language: "go", Package: "golang.org/x/net/html", Member: "Render"}
	of := func(member, version string) witness.Frame {
		f := render
		f.Member, f.Component = member, netPURL+version
		return f
	}
	for _, test := range []struct {
		name     string
		frame    witness.Frame
		artifact witness.Artifact
		named    bool
		level    Level
		version  string
	}{
		{"function", of("Render", "@v0.20.0"), witness.Artifact{}, false, LevelFunction, "v0.20.0"},
		{"another function of the package", of("Parse", "@v0.20.0"), witness.Artifact{}, false, LevelPackage, "v0.20.0"},
		{"version of the artifact", render, witness.Artifact{PURL: netPURL + "@v0.14.0"}, false, LevelFunction, "v0.14.0"},
		{"in the range", of("Render", "@v0.12.0"), witness.Artifact{}, false, "", ""},
		{"version unknown", of("Render", ""), witness.Artifact{}, false, "", ""},
		{"another component", witness.Frame{Language: "go", Package: "html", Member: "Render", Component: "pkg:golang/a.b/c@v9.0.0"}, witness.Artifact{}, true, "", ""},
		{"another module's version", render, witness.Artifact{PURL: "pkg:golang/a.b/c@v9.0.0"}, false, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, version, ok := OutsideRange(goFinding(), witness.KindCall, &test.frame, &test.artifact, test.named)
			assert.Equal(t, test.level != "", ok)
			assert.Equal(t, test.level, m.Level)
			assert.Equal(t, test.version, version)
			if ok {
				assert.Equal(t, VersionUnaffected, m.Version)
				_, counts := Of(goFinding(), witness.KindCall, &test.frame, &test.artifact, test.named)
				assert.False(t, counts)
			}
		})
	}
	_, _, ok := OutsideRange(goFinding(), witness.KindCall, nil, nil, false)
	assert.False(t, ok)
}

func TestOf(t *testing.T) {
	render := witness.Frame{Language: "go", Package: "golang.org/x/net/html", Member: "Render", Component: netPURL + "@v0.12.0"}
	with := func(change func(*witness.Frame)) witness.Frame {
		f := render
		change(&f)
		return f
	}
	smallvec := symbols("pkg:cargo/smallvec", witness.SymbolRef{Language: "rust", Package: "smallvec", Member: "SmallVec::insert_many"})
	ip := symbols("pkg:cargo/std", witness.SymbolRef{Language: "rust", Package: "std", Member: "net::IpAddr::from_str"})
	inflate := symbols("pkg:deb/debian/zlib1g", witness.SymbolRef{Language: "c", Member: "inflate"})
	cxx := symbols("pkg:generic/expat", witness.SymbolRef{Package: "ns", Member: "Parser::run"})
	stdlib := symbols("pkg:golang/stdlib", witness.SymbolRef{Language: "go", Package: "path/filepath", Member: "Clean"})
	http2 := symbols(netPURL, witness.SymbolRef{Language: "go", Package: "golang.org/x/net/http2", Member: "Server.Serve"})
	http2Std := symbols("pkg:golang/stdlib", http2.Symbols...)
	openssl := &witness.Finding{ID: "F", Component: "pkg:deb/debian/openssl?distro=debian-12", Affected: []witness.VersionRange{{Fixed: "3.0.19-1~deb12u3"}}}
	named := &witness.Finding{ID: "posted"}
	const none = Level("")
	for _, test := range []struct {
		name       string
		finding    *witness.Finding
		kind       witness.Kind
		frame      witness.Frame
		artifact   witness.Artifact
		named      bool
		level      Level
		version    VersionState
		confidence float64
		symbol     float64
		direct     bool
	}{
		{"function", goFinding(), "call", render, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"method, written with a pointer", goFinding(), "sample", with(func(f *witness.Frame) { f.Member = "Tokenizer.Next" }), witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"doubtful name", goFinding(), "sample", with(func(f *witness.Frame) { f.Confidence = 0.6 }), witness.Artifact{}, false, LevelFunction, VersionAffected, 0.6, 0.6, true},
		{"fixed version", goFinding(), "call", with(func(f *witness.Frame) { f.Component = netPURL + "@v0.13.0" }), witness.Artifact{}, false, none, "", 0, 0, false},
		{"fixed version, named", goFinding(), "call", with(func(f *witness.Frame) { f.Component = netPURL + "@v0.13.0" }), witness.Artifact{}, true, none, "", 0, 0, false},
		{"pseudo-version before the fix", goFinding(), "call", with(func(f *witness.Frame) { f.Component = netPURL + "@v0.12.1-0.20230701000000-abcdefabcdef" }), witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"devel version", goFinding(), "call", with(func(f *witness.Frame) { f.Component = netPURL + "@%28devel%29" }), witness.Artifact{}, false, LevelFunction, VersionUnknown, 1, 1, true},
		{"unknown component", goFinding(), "call", with(func(f *witness.Frame) { f.Component = "" }), witness.Artifact{}, false, LevelFunction, VersionUnknown, 1, 1, true},
		{"another component", goFinding(), "call", with(func(f *witness.Frame) { f.Component = "pkg:golang/example.com/fork@v0.1.0" }), witness.Artifact{}, false, none, "", 0, 0, false},
		{"artifact is not the component", goFinding(), "call", with(func(f *witness.Frame) { f.Component = "" }), witness.Artifact{PURL: "pkg:golang/example.com/app@v9.0.0"}, false, LevelFunction, VersionUnknown, 1, 1, true},
		{"artifact is the component", goFinding(), "call", with(func(f *witness.Frame) { f.Component = "" }), witness.Artifact{PURL: netPURL + "@v0.12.0"}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"artifact is the component, fixed", goFinding(), "call", with(func(f *witness.Frame) { f.Component = "" }), witness.Artifact{PURL: netPURL + "@v0.14.0"}, false, none, "", 0, 0, false},
		{"closure", goFinding(), "sample", with(func(f *witness.Frame) { f.Flags = []string{"closure"} }), witness.Artifact{}, false, LevelClosure, VersionAffected, 0.85, 1, false},
		{"inlined", goFinding(), "sample", with(func(f *witness.Frame) { f.Inlined = true }), witness.Artifact{}, false, LevelInlined, VersionAffected, 0.95, 1, true},
		{"inlined closure", goFinding(), "sample", with(func(f *witness.Frame) { f.Inlined, f.Flags = true, []string{"closure"} }), witness.Artifact{}, false, LevelClosure, VersionAffected, 0.85, 1, false},
		{"thunk", goFinding(), "sample", with(func(f *witness.Frame) { f.Flags = []string{"thunk"} }), witness.Artifact{}, false, LevelFunction, VersionAffected, 0.95, 0.95, true},
		{"another function of the package", goFinding(), "sample", with(func(f *witness.Frame) { f.Member = "Parse" }), witness.Artifact{}, false, LevelPackage, VersionAffected, 1, 1, false},
		{"another function, component unknown", goFinding(), "sample", with(func(f *witness.Frame) { f.Member, f.Component = "Parse", "" }), witness.Artifact{}, false, LevelPackage, VersionUnknown, 1, 1, false},
		{"another package of the component", goFinding(), "sample", with(func(f *witness.Frame) { f.Package = "golang.org/x/net/http2" }), witness.Artifact{}, false, LevelLibrary, VersionAffected, 1, 1, false},
		{"no symbol, component known", goFinding(), "sample", witness.Frame{Component: netPURL + "@v0.1.0", HasOffset: true}, witness.Artifact{}, false, LevelLibrary, VersionAffected, 1, 1, false},
		{"same member of another package", goFinding(), "call", with(func(f *witness.Frame) { f.Package, f.Component = "html", "" }), witness.Artifact{}, false, none, "", 0, 0, false},
		{"vendored by the program", goFinding(), "call", with(func(f *witness.Frame) { f.Package, f.Component = "example.com/app/vendor/golang.org/x/net/html", "" }), witness.Artifact{}, false, LevelFunction, VersionUnknown, 1, 1, true},
		{"vendored by Go", goFinding(), "call", with(func(f *witness.Frame) { f.Package, f.Component = "vendor/golang.org/x/net/html", "" }), witness.Artifact{}, false, none, "", 0, 0, false},
		{"vendored by the go command", goFinding(), "call", with(func(f *witness.Frame) { f.Package, f.Component = "cmd/vendor/golang.org/x/net/html", "" }), witness.Artifact{}, false, none, "", 0, 0, false},
		{"another function of what the program vendors", goFinding(), "call", with(func(f *witness.Frame) {
			f.Package, f.Member, f.Component = "example.com/app/vendor/golang.org/x/net/html", "Parse", ""
		}), witness.Artifact{}, false, LevelPackage, VersionUnknown, 1, 1, false},
		{"bundled by Go", http2, "call", witness.Frame{Language: "go", Package: "net/http", Member: "http2Server.Serve"}, witness.Artifact{}, false, none, "", 0, 0, false},
		{"bundled by Go, of the standard library", http2Std, "call", witness.Frame{Language: "go", Package: "net/http", Member: "http2Server.Serve", Component: "pkg:golang/stdlib@1.22.3"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"language differs", goFinding(), "call", with(func(f *witness.Frame) { f.Language, f.Component = "python", "" }), witness.Artifact{}, false, none, "", 0, 0, false},
		{"load of the component", goFinding(), "load", witness.Frame{Component: netPURL + "@v0.12.0"}, witness.Artifact{}, false, LevelLibrary, VersionAffected, 1, 1, false},
		{"load of something else", goFinding(), "load", witness.Frame{Module: witness.Module{Path: "/lib/x.so"}}, witness.Artifact{}, false, none, "", 0, 0, false},
		{"exec of the component", goFinding(), "exec", witness.Frame{}, witness.Artifact{PURL: netPURL + "@v0.12.0"}, false, LevelProcess, VersionAffected, 1, 1, false},
		{"no kind", goFinding(), "", render, witness.Artifact{}, true, none, "", 0, 0, false},

		{"named", named, "call", render, witness.Artifact{}, true, LevelFunction, VersionAffected, 1, 1, true},
		{"named closure", named, "call", with(func(f *witness.Frame) { f.Flags = []string{"closure"} }), witness.Artifact{}, true, LevelClosure, VersionAffected, 0.85, 1, false},
		{"named load", named, "load", witness.Frame{}, witness.Artifact{}, true, LevelLibrary, VersionAffected, 1, 1, false},
		{"named exec", named, "exec", witness.Frame{}, witness.Artifact{}, true, LevelProcess, VersionAffected, 1, 1, false},
		{"not named and nothing to ask for", named, "call", render, witness.Artifact{}, false, none, "", 0, 0, false},
		{"named, and the function too", goFinding(), "call", render, witness.Artifact{}, true, LevelFunction, VersionAffected, 1, 1, true},
		{"named, but another function", goFinding(), "call", with(func(f *witness.Frame) { f.Package, f.Component = "other", "" }), witness.Artifact{}, true, LevelPackage, VersionUnknown, 1, 1, false},
		{"named, but another component", goFinding(), "call", with(func(f *witness.Frame) { f.Component = "pkg:golang/other@v9.0.0" }), witness.Artifact{}, true, LevelPackage, VersionUnknown, 1, 1, false},

		{"whole package", symbols(netPURL, witness.SymbolRef{Package: "golang.org/x/net/html"}), "sample", render, witness.Artifact{}, false, LevelPackage, VersionAffected, 1, 1, false},
		{"whole component", symbols(netPURL), "sample", render, witness.Artifact{}, false, LevelPackage, VersionAffected, 1, 1, false},
		{"standard library, function", stdlib, "sample", witness.Frame{Language: "go", Package: "path/filepath", Member: "Clean", Component: "pkg:golang/stdlib@1.22.3"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"standard library, elsewhere", stdlib, "sample", witness.Frame{Language: "go", Package: "runtime", Member: "main", Component: "pkg:golang/stdlib@1.22.3"}, witness.Artifact{}, false, none, "", 0, 0, false},

		{"rust, exact", smallvec, "sample", witness.Frame{Language: "rust", Package: "smallvec", Member: "SmallVec::insert_many"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"rust, defined elsewhere in the crate", smallvec, "sample", witness.Frame{Language: "rust", Package: "smallvec", Member: "imp::SmallVec::insert_many"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 0.8, 0.8, true},
		{"rust, another crate", smallvec, "sample", witness.Frame{Language: "rust", Package: "tinyvec", Member: "SmallVec::insert_many"}, witness.Artifact{}, false, none, "", 0, 0, false},
		{"rust, another function", smallvec, "sample", witness.Frame{Language: "rust", Package: "smallvec", Member: "SmallVec::push"}, witness.Artifact{}, false, LevelPackage, VersionAffected, 1, 1, false},
		{"rust, std is in core", ip, "sample", witness.Frame{Language: "rust", Package: "core", Member: "net::ip_addr::IpAddr::from_str"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 0.8, 0.8, true},
		{"rust, elsewhere in std", ip, "sample", witness.Frame{Language: "rust", Package: "std", Member: "rt::lang_start"}, witness.Artifact{}, false, none, "", 0, 0, false},

		{"c, component unknown", inflate, "sample", witness.Frame{Language: "c", Member: "inflate"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 0.8, 0.8, true},
		{"c, component known", inflate, "sample", witness.Frame{Language: "c", Member: "inflate", Component: "pkg:deb/debian/zlib1g@1.2.13?arch=amd64"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"c, another library", inflate, "sample", witness.Frame{Language: "c", Member: "inflate", Component: "pkg:deb/debian/libc6@2.36"}, witness.Artifact{}, false, none, "", 0, 0, false},
		{"c, another function of the library", inflate, "sample", witness.Frame{Language: "c", Member: "deflate", Component: "pkg:deb/debian/zlib1g@1.2.13"}, witness.Artifact{}, false, LevelPackage, VersionAffected, 1, 1, false},
		{"c is not the kernel", inflate, "call", witness.Frame{Language: "kernel", Member: "inflate"}, witness.Artifact{}, false, none, "", 0, 0, false},
		{"kernel", symbols("", witness.SymbolRef{Language: "kernel", Member: "tcp_connect"}), "call", witness.Frame{Language: "kernel", Member: "tcp_connect"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"kernel module", symbols("", witness.SymbolRef{Language: "kernel", Member: "nf_hook_slow"}), "call", witness.Frame{Language: "kernel", Package: "nf_tables", Member: "nf_hook_slow"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"system call", symbols("", witness.SymbolRef{Language: "kernel", Member: "sys_connect"}), "call", witness.Frame{Language: "kernel", Member: "__x64_sys_connect"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},
		{"c++, however it is split", cxx, "sample", witness.Frame{Language: "cxx", Package: "ns::Parser", Member: "run"}, witness.Artifact{}, false, LevelFunction, VersionAffected, 1, 1, true},

		{"lambda of the JVM", symbols("pkg:maven/a/b", witness.SymbolRef{Package: "a.b", Member: "C.m"}), "sample", witness.Frame{Language: "jvm", Package: "a.b", Member: "C.m", Flags: []string{"lambda"}}, witness.Artifact{}, false, LevelClosure, VersionAffected, 0.85, 1, false},
		{"minified name", symbols("pkg:npm/x", witness.SymbolRef{Package: "x", Member: "a"}), "sample", witness.Frame{Language: "js", Package: "x", Member: "a", Flags: []string{"minified"}, Confidence: 0.2}, witness.Artifact{}, false, LevelPackage, VersionAffected, 0.2, 0.2, false},
		{"binary of the source package", openssl, "load", witness.Frame{Component: "pkg:deb/debian/libssl3@3.0.19-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl"}, witness.Artifact{}, false, LevelLibrary, VersionAffected, 1, 1, false},
		{"fixed binary of the source package", openssl, "load", witness.Frame{Component: "pkg:deb/debian/libssl3@3.0.19-1~deb12u3?distro=debian-12&upstream=openssl"}, witness.Artifact{}, false, none, "", 0, 0, false},
		{"another release", openssl, "load", witness.Frame{Component: "pkg:deb/debian/openssl@3.0.1?distro=debian-11"}, witness.Artifact{}, false, none, "", 0, 0, false},
		{"release unknown", openssl, "load", witness.Frame{Component: "pkg:deb/debian/openssl@3.0.1"}, witness.Artifact{}, false, LevelLibrary, VersionUnknown, 1, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.NoError(t, Validate(test.finding))
			m, ok := Of(test.finding, test.kind, &test.frame, &test.artifact, test.named)
			require.Equal(t, test.level != none, ok)
			if !ok {
				assert.Equal(t, Match{}, m)
				return
			}
			assert.Equal(t, test.level, m.Level)
			assert.Equal(t, test.version, m.Version)
			assert.InDelta(t, test.confidence, m.Confidence, 1e-9)
			assert.InDelta(t, test.symbol, m.Symbol, 1e-9)
			assert.Equal(t, test.direct, m.Direct)
			assert.NotEmpty(t, m.Why)
		})
	}
	_, ok := Of(goFinding(), witness.KindCall, nil, nil, false)
	assert.False(t, ok)
}

func TestVersion(t *testing.T) {
	for _, test := range []struct {
		name, component, version string
		ranges                   []witness.VersionRange
		versions                 []string
		want                     VersionState
	}{
		{"all", "golang/x", "v1.0.0", nil, nil, VersionAffected},
		{"all, version unknown", "golang/x", "", nil, nil, VersionAffected},
		{"unknown", "golang/x", "", []witness.VersionRange{{Fixed: "1.0.0"}}, nil, VersionUnknown},
		{"at the introduction", "golang/x", "v1.0.0", []witness.VersionRange{{Introduced: "1.0.0"}}, nil, VersionAffected},
		{"before the introduction", "golang/x", "v0.9.9", []witness.VersionRange{{Introduced: "1.0.0"}}, nil, VersionUnaffected},
		{"0 is the beginning", "golang/x", "v0.0.0-20200101000000-abcdefabcdef", []witness.VersionRange{{Introduced: "0", Fixed: "1.0.0"}}, nil, VersionAffected},
		{"at the fix", "golang/x", "v1.0.0", []witness.VersionRange{{Fixed: "1.0.0"}}, nil, VersionUnaffected},
		{"last affected", "golang/x", "v1.0.0", []witness.VersionRange{{LastAffected: "1.0.0"}}, nil, VersionAffected},
		{"behind the last affected", "golang/x", "v1.0.1", []witness.VersionRange{{LastAffected: "1.0.0"}}, nil, VersionUnaffected},
		{"second range", "golang/x", "v2.5.0", []witness.VersionRange{{Fixed: "1.0.0"}, {Introduced: "2.0.0", Fixed: "3.0.0"}}, nil, VersionAffected},
		{"between ranges", "golang/x", "v1.5.0", []witness.VersionRange{{Fixed: "1.0.0"}, {Introduced: "2.0.0", Fixed: "3.0.0"}}, nil, VersionUnaffected},
		{"incompatible", "golang/x", "v10.11.0+incompatible", []witness.VersionRange{{Introduced: "10.11.0+incompatible", Fixed: "10.12.0+incompatible"}}, nil, VersionAffected},
		{"modified tree", "golang/x", "v0.9.0+dirty", []witness.VersionRange{{Fixed: "1.0.0"}}, nil, VersionAffected},
		{"devel", "golang/x", "(devel)", []witness.VersionRange{{Fixed: "1.0.0"}}, nil, VersionUnknown},
		{"listed", "golang/x", "v1.2.0", nil, []string{"1.2.0"}, VersionAffected},
		{"not listed", "golang/x", "v1.2.1", nil, []string{"1.2.0"}, VersionUnaffected},
		{"commit", "golang/x", "v1.2.1", []witness.VersionRange{{Introduced: "0", Fixed: strings.Repeat("a", 40)}}, nil, VersionUnknown},
		{"stdlib", "golang/stdlib", "1.22.3", []witness.VersionRange{{Introduced: "1.22.0-0", Fixed: "1.22.4"}}, nil, VersionAffected},
		{"stdlib with go", "golang/stdlib", "go1.22.4", []witness.VersionRange{{Introduced: "1.22.0-0", Fixed: "1.22.4"}}, nil, VersionUnaffected},
		{"stdlib release candidate", "golang/stdlib", "go1.22rc1", []witness.VersionRange{{Introduced: "1.22.0-0", Fixed: "1.22.0-rc.2"}}, nil, VersionAffected},
		{"stdlib later release candidate", "golang/stdlib", "go1.22rc10", []witness.VersionRange{{Introduced: "1.22.0-0", Fixed: "1.22.0-rc.2"}}, nil, VersionUnaffected},
		{"stdlib first release", "golang/stdlib", "go1.20", []witness.VersionRange{{Fixed: "1.20.0"}}, nil, VersionUnaffected},
		{"stdlib of a vendor", "golang/stdlib", "go1.22.4-fips", []witness.VersionRange{{Fixed: "1.22.4"}}, nil, VersionUnknown},
		{"stdlib in development", "golang/stdlib", "devel go1.27-abcdef", []witness.VersionRange{{Fixed: "1.22.4"}}, nil, VersionUnknown},
		{"debian", "deb/debian/x", "1:1.0~rc1-1", []witness.VersionRange{{Fixed: "1:1.0-1"}}, nil, VersionAffected},
		{"debian epoch", "deb/debian/x", "2:0.5-1", []witness.VersionRange{{Fixed: "1:1.0-1"}}, nil, VersionUnaffected},
		{"debian, not a version", "deb/debian/x", "one", []witness.VersionRange{{Fixed: "1:1.0-1"}}, nil, VersionUnknown},
		{"debian, numbers too long", "deb/debian/x", "99999999999999999999", []witness.VersionRange{{Fixed: "1"}}, nil, VersionUnknown},
		{"cargo", "cargo/x", "0.6.13", []witness.VersionRange{{Introduced: "0.6.3", Fixed: "0.6.14"}}, nil, VersionAffected},
		{"pypi cannot be compared", "pypi/x", "9.9", []witness.VersionRange{{Fixed: "1.0"}}, nil, VersionUnknown},
		{"pypi, listed", "pypi/x", "0.9", []witness.VersionRange{{Fixed: "1.0"}}, []string{"0.9"}, VersionAffected},
		{"pypi, not listed", "pypi/x", "0.9", nil, []string{"0.8"}, VersionUnknown},
		{"scheme unknown", "generic/x", "9", []witness.VersionRange{{Fixed: "1"}}, nil, VersionUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &witness.Finding{ID: "F", Component: "pkg:" + test.component, Affected: test.ranges, Versions: test.versions}
			require.NoError(t, Validate(f))
			frame := &witness.Frame{Component: f.Component}
			if test.version != "" {
				frame.Component += "@" + strings.ReplaceAll(test.version, " ", "%20")
			}
			assert.Equal(t, test.want, versionOf(f, frame))
		})
	}
}

func TestValidate(t *testing.T) {
	many := func(n int) []string { return slices.Repeat([]string{"x"}, n) }
	for _, test := range []struct {
		name   string
		change func(*witness.Finding)
		field  string
	}{
		{"valid", func(*witness.Finding) {}, ""},
		{"id with slashes", func(f *witness.Finding) { f.ID = "GO-1/example.com/x" }, ""},
		{"id empty", func(f *witness.Finding) { f.ID = "" }, "id"},
		{"id at its bound", func(f *witness.Finding) { f.ID = strings.Repeat("x", MaxID) }, ""},
		{"id too long", func(f *witness.Finding) { f.ID = strings.Repeat("x", MaxID+1) }, "id"},
		{"id with a control character", func(f *witness.Finding) { f.ID = "a\nb" }, "id"},
		{"id with C1 control", func(f *witness.Finding) { f.ID = "a\u0085b" }, "id"},
		{"id not UTF-8", func(f *witness.Finding) { f.ID = "a\xff" }, "id"},
		{"title", func(f *witness.Finding) { f.Title = strings.Repeat("x", MaxText+1) }, "title"},
		{"aliases", func(f *witness.Finding) { f.Aliases = many(MaxAliases + 1) }, "aliases"},
		{"alias", func(f *witness.Finding) { f.Aliases = []string{"a", ""} }, "aliases[1]"},
		{"component", func(f *witness.Finding) { f.Component = "golang.org/x/net" }, "component"},
		{"component without name", func(f *witness.Finding) { f.Component = "pkg:golang/" }, "component"},
		{"component with version", func(f *witness.Finding) { f.Component = netPURL + "@v1" }, "component"},
		{"component with scope", func(f *witness.Finding) { f.Component, f.Symbols = "pkg:npm/@a/b", nil }, ""},
		{"bound", func(f *witness.Finding) { f.Affected[0].Fixed = "soon" }, "affected[0].fixed"},
		{"two ends", func(f *witness.Finding) { f.Affected[0].LastAffected = "1.0.0" }, "affected[0].lastAffected"},
		{"versions", func(f *witness.Finding) { f.Versions = many(MaxVersions + 1) }, "versions"},
		{"version", func(f *witness.Finding) { f.Versions = []string{""} }, "versions[0]"},
		{"symbol", func(f *witness.Finding) { f.Symbols[1] = witness.SymbolRef{} }, "symbols[1].package"},
		{"symbol without package", func(f *witness.Finding) { f.Symbols[1].Package = "" }, "symbols[1].package"},
		{"symbol of no language", func(f *witness.Finding) { f.Symbols[1].Language = "golang" }, "symbols[1].language"},
		{"symbol whose language is left to the component", func(f *witness.Finding) { f.Symbols[1].Language = "" }, ""},
		{"symbol of a language without rules", func(f *witness.Finding) { f.Symbols[1].Language = "jvm" }, ""},
		{"symbol with control", func(f *witness.Finding) { f.Symbols[1].Member = "\x00" }, "symbols[1].member"},
		{"occurrence", func(f *witness.Finding) { f.Occurrences = []witness.Occurrence{{Namespace: "\x7f"}} }, "occurrences[0].namespace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := goFinding()
			test.change(f)
			err := Validate(f)
			if test.field == "" {
				require.NoError(t, err)
				return
			}
			var field *FieldError
			require.ErrorAs(t, err, &field)
			assert.Equal(t, test.field, field.Field)
		})
	}
}

func TestSelectors(t *testing.T) {
	members, packages, components := Selectors(goFinding())
	assert.Empty(t, members, "functions of other packages may have the same names")
	assert.Equal(t, []string{"/vendor/golang.org/x/net/html", "golang.org/x/net/html"}, packages)
	assert.Equal(t, []string{netPURL}, components)

	_, _, components = Selectors(symbols("pkg:golang/github.com/Masterminds/semver"))
	assert.Equal(t, []string{"pkg:golang/github.com/Masterminds/semver", "pkg:golang/github.com/masterminds/semver"}, components)
	_, _, components = Selectors(symbols("pkg:deb/debian/openssl?distro=debian-12"))
	assert.Equal(t, []string{"pkg:deb/debian/openssl"}, components)
	members, packages, _ = Selectors(symbols("pkg:cargo/a-b", witness.SymbolRef{Package: "a-b", Member: "T::<X>::f"}))
	assert.Empty(t, members)
	assert.Equal(t, []string{"a_b"}, packages)
	members, packages, components = Selectors(&witness.Finding{ID: "posted"})
	assert.Empty(t, members)
	assert.Empty(t, packages)
	assert.Empty(t, components)
}

// TestSelectorsAreComplete holds that whatever Of matches, unless it is named outright, is selected.
func TestSelectorsAreComplete(t *testing.T) {
	components := []string{netPURL, "pkg:golang/stdlib", "pkg:cargo/std", "pkg:cargo/smallvec", "pkg:deb/debian/zlib1g", ""}
	languages := []string{"", "go", "rust", "cxx", "c", "kernel", "jvm", "js"}
	packages := []string{"", "golang.org/x/net/html", "path/filepath", "std", "core", "smallvec", "ns", "ns::Parser", "a/vendor/golang.org/x/net/html",
		"vendor/golang.org/x/net/html", "golang.org/x/net/http2", "net/http", "str", "org.a", "org.a.B", "org"}
	members := []string{"", "Render", "T.M", "(*T).M", "Parser::run", "run", "ns::Parser::run", "SmallVec::push", "imp::SmallVec::push",
		"Server.Serve", "http2Server.Serve", "str::repeat", "repeat", "sys_connect", "__x64_sys_connect", "B.run", "a.B.run", "org.a.B.run"}
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		f := &witness.Finding{ID: "F", Component: rapid.SampledFrom(components).Draw(t, "component")}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			f.Symbols = append(f.Symbols, witness.SymbolRef{
				Language: rapid.SampledFrom(languages).Draw(t, "language"),
				Package:  rapid.SampledFrom(packages).Draw(t, "package"),
				Member:   rapid.SampledFrom(members).Draw(t, "member"),
			})
		}
		if Validate(f) != nil {
			return
		}
		frame := &witness.Frame{
			Language: rapid.SampledFrom(languages).Draw(t, "frame.language"),
			Package:  rapid.SampledFrom(packages).Draw(t, "frame.package"),
			Member:   rapid.SampledFrom(members).Draw(t, "frame.member"),
		}
		if component := rapid.SampledFrom(components).Draw(t, "frame.component"); component != "" {
			frame.Component = component + "@1.0.0"
		}
		kind := rapid.SampledFrom(witness.Kinds).Draw(t, "kind")
		m, ok := Of(f, kind, frame, nil, false)
		if !ok {
			return
		}
		matched++
		if m.Confidence <= 0 || m.Confidence > m.Symbol || m.Symbol > 1 || m.Version == VersionUnaffected || m.Level == "" {
			t.Fatalf("%+v", m)
		}
		selectedMembers, selectedPackages, selectedComponents := Selectors(f)
		component, _, _ := strings.Cut(frame.Component, "@")
		if at := strings.LastIndex(frame.Package, symbol.VendorMark); at >= 0 && slices.Contains(selectedPackages, frame.Package[at:]) {
			return
		}
		if !slices.Contains(selectedMembers, frame.Member) && !slices.Contains(selectedPackages, frame.Package) && !slices.Contains(selectedComponents, component) {
			t.Fatalf("%+v is not selected", m)
		}
	})
	assert.Positive(t, matched)
}

func BenchmarkOf(b *testing.B) {
	f := goFinding()
	for i := range 50 {
		f.Symbols = append(f.Symbols, witness.SymbolRef{Language: "go", Package: "golang.org/x/net/html", Member: fmt.Sprint("F", i)})
	}
	frame := &witness.Frame{Language: "go", Package: "golang.org/x/net/html", Member: "Tokenizer.Next", Component: netPURL + "@v0.12.0"}
	for b.Loop() {
		Of(f, witness.KindCall, frame, &witness.Artifact{}, false)
	}
}

// versionOf is whether the version of a frame's component is affected.
func versionOf(f *witness.Finding, frame *witness.Frame) VersionState {
	c := componentOf(f, frame, &witness.Artifact{})
	return versionState(f, &c)
}
