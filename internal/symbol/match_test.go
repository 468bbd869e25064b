package symbol

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name          string
		ref           Ref // as people write it
		language, raw string
		by            By // 0 is no match
		confidence    float64
	}{
		{"go: exact", Ref{Go, "golang.org/x/net/html", "Parse"}, Go, "golang.org/x/net/html.Parse", ByName, 1},
		{"go: pointer method", Ref{Go, "golang.org/x/net/html", "Tokenizer.Next"}, Go, "golang.org/x/net/html.(*Tokenizer).Next", ByName, 1},
		{"go: pointer in the finding", Ref{Go, "golang.org/x/net/html", "(*Tokenizer).Next"}, Go, "golang.org/x/net/html.Tokenizer.Next", ByName, 1},
		{"go: generic", Ref{Go, "example.com/a", "Set.Add"}, Go, "example.com/a.(*Set[...]).Add", ByName, 1},
		{"go: generic in the finding", Ref{Go, "example.com/a", "Set[T].Add"}, Go, "example.com/a.(*Set[go.shape.int]).Add", ByName, 1},
		{"go: closure", Ref{Go, "example.com/a", "F"}, Go, "example.com/a.F.func1.2", ByName, 0.85},
		{"go: loop body", Ref{Go, "example.com/a", "F"}, Go, "example.com/a.F-range1", ByName, 0.85},
		{"go: method value", Ref{Go, "example.com/a", "T.M"}, Go, "example.com/a.(*T).M-fm", ByName, 0.95},
		{"go: deferred call", Ref{Go, "example.com/a", "F"}, Go, "example.com/a.F.deferwrap1", ByName, 0.95},
		{"go: initialization", Ref{Go, "example.com/a", "init#1"}, Go, "example.com/a.init.1", ByName, 0.85},
		{"go: closure that was inlined elsewhere", Ref{Go, "cmd/go/internal/modfetch", "Fetcher.LookupLocal"}, Go, "cmd/go/internal/load.(*Package).setBuildInfo.(*Fetcher).LookupLocal.func8.1", 0, 0},
		{"go: what it was inlined into", Ref{Go, "cmd/go/internal/load", "Package.setBuildInfo"}, Go, "cmd/go/internal/load.(*Package).setBuildInfo.(*Fetcher).LookupLocal.func8.1", ByName, 0.5 * 0.85},
		{"go: same member, other package", Ref{Go, "html", "Parse"}, Go, "golang.org/x/net/html.Parse", 0, 0},
		{"go: package below", Ref{Go, "golang.org/x/net/html", "Lookup"}, Go, "golang.org/x/net/html/atom.Lookup", 0, 0},
		{"go: other member", Ref{Go, "golang.org/x/net/html", "Parse"}, Go, "golang.org/x/net/html.ParseFragment", 0, 0},
		{"go: other receiver", Ref{Go, "golang.org/x/net/html", "Tokenizer.Next"}, Go, "golang.org/x/net/html.(*Parser).Next", 0, 0},
		{"go: function for method", Ref{Go, "golang.org/x/net/html", "Next"}, Go, "golang.org/x/net/html.(*Tokenizer).Next", 0, 0},
		{"go: escaped path", Ref{Go, "gopkg.in/yaml.v3", "Unmarshal"}, Go, "gopkg.in/yaml%2ev3.Unmarshal", ByName, 1},
		{"go: fork of that name", Ref{Go, "golang.org/x/net/html", "Parse"}, Go, "example.com/golang.org/x/net/html.Parse", 0, 0},
		{"go: vendored", Ref{Go, "golang.org/x/net/html", "Parse"}, Go, "example.com/app/vendor/golang.org/x/net/html.Parse", ByAlias, 1},
		{"go: closure of what is vendored", Ref{Go, "golang.org/x/net/html", "Parse"}, Go, "example.com/app/vendor/golang.org/x/net/html.Parse.func1", ByAlias, 0.85},
		{"go: the standard library", Ref{Go, "net/http", "http2serverConn.processHeaders"}, Go, "net/http.(*http2serverConn).processHeaders", ByName, 1},
		{"go: whole package", Ref{Go, "net/http", ""}, Go, "net/http.Get", 0, 0},

		{"rust: exact", Ref{Rust, "smallvec", "SmallVec::insert_many"}, "", "_RNvMCs6xxl1lAjzDf_8smallvecINtB2_8SmallVeclE11insert_manyB2_", ByName, 1},
		{"rust: generics in the finding", Ref{Rust, "smallvec", "SmallVec::<A>::insert_many"}, Rust, "smallvec::SmallVec<A>::insert_many", ByName, 1},
		{"rust: crate as its package is called", Ref{Rust, "time-rs", "Time::now"}, Rust, "time_rs::Time::now", ByName, 1},
		{"rust: crate once more", Ref{Rust, "my-crate", "my_crate::SmallVec::insert_many"}, Rust, "my_crate::SmallVec<A>::insert_many", ByName, 1},
		{"rust: public path", Ref{Rust, "std", "io::Error::new"}, Rust, "std::io::error::Error::new", ByTail, 0.8},
		{"rust: public path of a type", Ref{Rust, "std", "net::IpAddr::from_str"}, Rust, "core::net::ip_addr::IpAddr::from_str", ByTail, 0.8},
		{"rust: std is in alloc", Ref{Rust, "std", "collections::vec_deque::VecDeque::reserve"}, "", "_ZN5alloc11collections9vec_deque8VecDeque7reserve17h80b8c218d7f7b05bE", ByTail, 0.8},
		{"rust: closure by tail", Ref{Rust, "demo", "Parser::parse"}, Rust, "demo::inner::Parser::parse::{closure#0}", ByTail, 0.8 * 0.85},
		{"rust: of a primitive type", Ref{Rust, "std", "str::repeat"}, Rust, "alloc::str::<impl str>::repeat", ByTail, 0.8},
		{"rust: of a primitive type, in the finding", Ref{Rust, "alloc", "<impl str>::repeat"}, Rust, "alloc::str::<impl str>::repeat", ByName, 1},
		{"rust: other crate", Ref{Rust, "tinyvec", "SmallVec::insert_many"}, Rust, "smallvec::SmallVec::insert_many", 0, 0},
		{"rust: core is not any crate", Ref{Rust, "demo", "IpAddr::from_str"}, Rust, "core::net::ip_addr::IpAddr::from_str", 0, 0},
		{"rust: other type", Ref{Rust, "demo", "Writer::parse"}, Rust, "demo::inner::Parser::parse", 0, 0},
		{"rust: trait", Ref{Rust, "core", "fmt::Debug::fmt"}, Rust, "<demo::Parser as core::fmt::Debug>::fmt", ByTrait, 0.7},
		{"rust: trait by its public path", Ref{Rust, "std", "fmt::Debug::fmt"}, Rust, "<demo::Parser as core::fmt::Debug>::fmt", ByTrait, 0.7},
		{"rust: implementation of a trait", Ref{Rust, "demo", "Parser::fmt"}, Rust, "<demo::Parser as core::fmt::Debug>::fmt", ByName, 1},
		{"rust: implementation of a trait, in the finding", Ref{Rust, "", "<demo::Parser as core::fmt::Debug>::fmt"}, Rust, "<demo::Parser as core::fmt::Debug>::fmt", ByName, 1},
		{"rust: other trait", Ref{Rust, "core", "fmt::Display::fmt"}, Rust, "<demo::Parser as core::fmt::Debug>::fmt", 0, 0},

		{"cxx: however it is split", Ref{Cxx, "ns", "Parser::run"}, "", "_ZN2ns6Parser3runEv", ByName, 1},
		{"cxx: all in the member", Ref{Cxx, "", "ns::Parser::run"}, "", "_ZN2ns6Parser3runEv", ByName, 1},
		{"cxx: parameters in the finding", Ref{Cxx, "ns", "Parser<int>::run(char const*)"}, "", "_ZN2ns6Parser3runEv", ByName, 1},
		{"cxx: mangled in the finding", Ref{Cxx, "", "_ZN2ns6Parser3runEi"}, "", "_ZN2ns6Parser3runEv", ByName, 1},
		{"cxx: thunk", Ref{Cxx, "ns::Parser", "run"}, "", "_ZThn8_N2ns6Parser3runEv", ByName, 0.95},
		{"cxx: lambda", Ref{Cxx, "ns::Parser", "run"}, "", "_ZZN2ns6Parser3runEvENKUlvE_clEv", ByName, 0.85},
		{"cxx: other namespace", Ref{Cxx, "other::ns::Parser", "run"}, "", "_ZN2ns6Parser3runEv", 0, 0},
		{"cxx: part of a name", Ref{Cxx, "s::Parser", "run"}, "", "_ZN2ns6Parser3runEv", 0, 0},
		{"cxx: only the member", Ref{Cxx, "", "run"}, "", "_ZN2ns6Parser3runEv", 0, 0},
		{"c: exact", Ref{C, "", "inflate"}, "", "inflate", ByName, 1},
		{"c: version", Ref{C, "", "SSL_read"}, "", "SSL_read@@OPENSSL_3.0.0", ByName, 1},
		{"c: clone", Ref{C, "", "inflate"}, "", "inflate.constprop.0", ByName, 1},
		{"c: from C++", Ref{Cxx, "", "inflate"}, "", "inflate", ByName, 1},
		{"c: not the kernel", Ref{C, "", "inflate"}, Kernel, "inflate", 0, 0},
		{"c: with parentheses, of a library", Ref{C, "openssl", "SSL_read()"}, "", "SSL_read", ByName, 1},
		{"jvm: of a Maven artifact, as Javadoc writes it", Ref{JVM, "org.apache.logging.log4j:log4j-core", "org.apache.logging.log4j.core.lookup.JndiLookup#lookup(String)"}, JVM, "org/apache/logging/log4j/core/lookup/JndiLookup.lookup", ByName, 1},
		{"jvm: with slashes", Ref{JVM, "", "org/apache/logging/log4j/core/lookup/JndiLookup.lookup"}, JVM, "org.apache.logging.log4j.core.lookup.JndiLookup.lookup(JndiLookup.java:56)", ByName, 1},
		{"jvm: another class", Ref{JVM, "", "org.example.JndiLookup#lookup"}, JVM, "org.apache.logging.log4j.core.lookup.JndiLookup.lookup", 0, 0},
		{"jvm: of a proxy of a lambda", Ref{JVM, "com.example", "Foo.run"}, JVM, "com.example.Foo$$Lambda/0x00007f1234567890.run", 0, 0},
		{"dotnet: package once more", Ref{DotNet, "Newtonsoft.Json", "Newtonsoft.Json.JsonTextReader::Read"}, DotNet, "Newtonsoft.Json!Newtonsoft.Json.JsonTextReader.Read()", ByName, 1},
		{"dotnet: asynchronous", Ref{DotNet, "", "MyApp.Svc::Run(int)"}, DotNet, "at MyApp.Svc.<Run>d__1.MoveNext()", ByName, 1},
		{"python: package once more", Ref{Python, "jinja2", "jinja2.sandbox.SandboxedEnvironment.call"}, Python, "jinja2.sandbox.SandboxedEnvironment.call", ByName, 1},
		{"python: as an entry point", Ref{Python, "", "jinja2.sandbox:SandboxedEnvironment.call"}, Python, "jinja2.sandbox.SandboxedEnvironment.call.<locals>.<lambda>", ByName, 0.85},
		{"js: package in the member", Ref{JS, "", "lodash#template"}, JS, "at Function.template (/app/node_modules/lodash/lodash.js:1:1)", ByName, 1},
		{"js: package once more", Ref{JS, "ejs", "ejs.render"}, JS, "at exports.render (/app/node_modules/ejs/lib/ejs.js:1:1)", ByName, 1},
		{"js: of a prototype", Ref{JS, "ejs", "Template.prototype.compile"}, JS, "at Template.compile (/app/node_modules/ejs/lib/ejs.js:1:1)", ByName, 1},
		{"js: package of a longer name", Ref{JS, "lodash", "merge"}, JS, "at merge (/app/node_modules/lodash.merge/index.js:1:1)", 0, 0},
		{"kernel: in whatever module", Ref{Kernel, "", "nft_do_chain"}, Kernel, "nft_do_chain [nf_tables]", ByName, 1},
		{"kernel: in its module", Ref{Kernel, "nf_tables", "nft_do_chain"}, Kernel, "nft_do_chain+0x1/0x2 [nf_tables]", ByName, 1},
		{"kernel: in another module", Ref{Kernel, "ip_tables", "nft_do_chain"}, Kernel, "nft_do_chain [nf_tables]", 0, 0},
		{"kernel: system call", Ref{Kernel, "", "sys_connect"}, Kernel, "__x64_sys_connect", ByAlias, 1},
		{"kernel: not C", Ref{Kernel, "", "inflate"}, C, "inflate", 0, 0},
		{"any language", Ref{"", "", "inflate"}, "", "inflate", ByName, 1},
		{"another language", Ref{"python", "", "inflate"}, "", "inflate", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ok := Canonical(c.raw, c.language)
			require.True(t, ok)
			r := NewRef(c.ref.Language, c.ref.Package, c.ref.Member)
			m, ok := r.Match(&s, false)
			assert.Equal(t, c.by != 0, ok, "%+v", s)
			assert.Equal(t, c.by, m.By)
			assert.InDelta(t, c.confidence, m.Confidence(), 1e-9)
			assert.False(t, m.Goroot)
			if ok && m.By != ByTrait && s.Confidence == 1 {
				// The frame that is stored of it answers as well.
				frame := OfFrame(s.Language, s.Package, s.Member, s.Flags)
				again, _ := r.Match(&frame, false)
				assert.Equal(t, m, again)
			}
		})
	}
}

func TestMatchGoroot(t *testing.T) {
	for _, c := range []struct{ name, pkg, member, raw string }{
		{"bundled", "golang.org/x/net/http2", "serverConn.processHeaders", "net/http.(*http2serverConn).processHeaders"},
		{"vendored", "golang.org/x/net/http2/hpack", "Decoder.Write", "vendor/golang.org/x/net/http2/hpack.(*Decoder).Write"},
		{"vendored by the go command", "golang.org/x/mod/semver", "Compare", "cmd/vendor/golang.org/x/mod/semver.Compare"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ok := Canonical(c.raw, Go)
			require.True(t, ok)
			r := Ref{Go, c.pkg, c.member}
			m, ok := r.Match(&s, false)
			assert.True(t, ok)
			assert.Equal(t, Match{By: ByAlias, Goroot: true, Name: 1}, m)
		})
	}
}

func TestMatchFrame(t *testing.T) {
	lookup := Ref{"jvm", "org.apache.logging.log4j.core.lookup.JndiLookup", "lookup"}
	for _, c := range []struct {
		name       string
		ref        Ref
		frame      Symbol
		inlined    bool
		ran        Ran
		confidence float64 // 0 is no match
	}{
		{"jvm", lookup, Symbol{Language: "jvm", Package: "org.apache.logging.log4j.core.lookup.JndiLookup", Member: "lookup"}, false, RanFunction, 1},
		{"jvm, otherwise split", lookup, Symbol{Language: "jvm", Package: "org.apache.logging.log4j.core.lookup", Member: "JndiLookup.lookup"}, false, RanFunction, 1},
		{"jvm, another class", lookup, Symbol{Language: "jvm", Package: "org.apache.logging.log4j.core.lookup.Lookup", Member: "lookup"}, false, 0, 0},
		{"jvm, lambda", lookup, Symbol{Language: "jvm", Package: "org.apache.logging.log4j.core.lookup.JndiLookup", Member: "lookup", Flags: []string{"lambda"}}, false, RanClosure, 0.85},
		{"jvm, proxy", lookup, Symbol{Language: "jvm", Package: "org.apache.logging.log4j.core.lookup.JndiLookup", Member: "lookup", Flags: []string{"proxy"}}, false, RanFunction, 0.95},
		{"dotnet", Ref{"dotnet", "Newtonsoft.Json", "JsonTextReader.Read"}, Symbol{Language: "dotnet", Package: "Newtonsoft.Json.JsonTextReader", Member: "Read"}, false, RanFunction, 1},
		{"python", Ref{"python", "jinja2.sandbox", "SandboxedEnvironment.call"}, Symbol{Language: "python", Package: "jinja2.sandbox", Member: "SandboxedEnvironment.call"}, false, RanFunction, 1},
		{"python, another module", Ref{"python", "jinja2.sandbox", "call"}, Symbol{Language: "python", Package: "jinja2.runtime", Member: "call"}, false, 0, 0},
		{"js", Ref{"js", "@babel/core", "parse"}, Symbol{Language: "js", Package: "@babel/core", Member: "parse"}, false, RanFunction, 1},
		{"js, another package", Ref{"js", "@babel/core", "parse"}, Symbol{Language: "js", Package: "acorn", Member: "parse"}, false, 0, 0},
		{"js, minified", Ref{"js", "x", "t"}, Symbol{Language: "js", Package: "x", Member: "t", Flags: []string{"minified"}}, false, 0, 0},
		{"inlined", Ref{C, "", "f"}, Symbol{Language: C, Member: "f"}, true, RanInlined, 0.95},
		{"inlined, by its flag", Ref{C, "", "f"}, Symbol{Language: C, Member: "f", Flags: []string{"inlined"}}, false, RanInlined, 0.95},
		{"inlined closure", Ref{C, "", "f"}, Symbol{Language: C, Member: "f", Flags: []string{"closure"}}, true, RanClosure, 0.85},
		{"language of the frame is unknown", Ref{Go, "a/b", "F"}, Symbol{Package: "a/b", Member: "F"}, false, RanFunction, 1},
		{"no member", Ref{Go, "a/b", "F"}, Symbol{Language: Go, Package: "a/b"}, false, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.frame.Confidence = 1
			m, ok := c.ref.Match(&c.frame, c.inlined)
			assert.Equal(t, c.confidence > 0, ok)
			assert.Equal(t, c.ran, m.Ran)
			assert.InDelta(t, c.confidence, m.Confidence(), 1e-9)
			c.frame.Confidence = 0
			_, ok = c.ref.Match(&c.frame, c.inlined)
			assert.False(t, ok, "a name of which nothing is sure")
		})
	}
}

// TestMatchHolds holds what is true of any two names.
func TestMatchHolds(t *testing.T) {
	part := rapid.SampledFrom([]string{"", "a", "b", "T", "std", "core", "str", "vendor", "fmt", "http2", "golang.org/x/net/http2", "net/http", "sys_a", "::", ".", "/"})
	name := func(t *rapid.T, label string) (text string) {
		for _, p := range rapid.SliceOfN(part, 0, 5).Draw(t, label) {
			text += p
		}
		return text
	}
	language := rapid.SampledFrom([]string{"", Go, Rust, Cxx, C, Kernel, "jvm", "python", "js"})
	rapid.Check(t, func(t *rapid.T) {
		r := NewRef(language.Draw(t, "language"), name(t, "package"), name(t, "member"))
		s := OfFrame(language.Draw(t, "frame.language"), name(t, "frame.package"), name(t, "frame.member"), nil)
		m, ok := r.Match(&s, false)
		switch {
		case !ok:
			require.Zero(t, m)
			require.False(t, r.Speaks(s.Language) && r.Member != "" && r.Package == s.Package && r.Member == s.Member, "the same name")
		case m.Name <= 0 || m.Name > 1 || m.By == 0 || !r.Speaks(s.Language) || r.Member == "":
			t.Fatalf("%+v %+v %+v", r, s, m)
		}
	})
}

func FuzzNewRef(f *testing.F) {
	f.Add(Rust, "a", "<T as b::C>::<X>::d")
	f.Add(Cxx, "a", "b<int>::c(char) const")
	f.Add(Go, "a/b", "(*T[int]).M")
	f.Add(Go, "", "(*T")
	f.Fuzz(func(t *testing.T, language, pkg, member string) {
		r := NewRef(language, pkg, member)
		require.LessOrEqual(t, len(r.Package)+len(r.Member), len(pkg)+len(member)+64)
		s := OfFrame(r.Language, r.Package, r.Member, nil)
		_, ok := r.Match(&s, false)
		require.Equal(t, r.Member != "", ok)
		r.Selectors()
	})
}
