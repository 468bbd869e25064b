package symbol

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// TestCanonical goes through testdata/symbols.tsv: origin R was found in a real binary, perf map or stack trace, F is a
// documented form.
func TestCanonical(t *testing.T) {
	file, err := os.Open("testdata/symbols.tsv")
	require.NoError(t, err)
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Scan()
	list := func(field string) []string {
		if field == "-" {
			return nil
		}
		values := strings.Fields(field)
		slices.Sort(values)
		return values
	}
	rows := 0
	for scanner.Scan() {
		fields := strings.Split(scanner.Text(), "\t")
		require.Len(t, fields, 7)
		language := fields[1]
		if language == "native" {
			language = ""
		}
		rows++
		t.Run(fields[2], func(t *testing.T) {
			s, ok := Canonical(fields[2], language)
			require.True(t, ok)
			assert.Equal(t, fields[3], s.Name)
			assert.Equal(t, list(fields[4]), s.Flags)
			assert.Equal(t, list(fields[5]), s.Aliases)
			assert.Equal(t, fields[6], strconv.FormatFloat(s.Confidence, 'f', 1, 64))
			if language == Go || Detect(fields[2], "") != "" {
				detected, ok := Canonical(fields[2], "")
				require.True(t, ok)
				assert.Equal(t, s, detected)
			}
			requireIdentity(t, s)
			if !slices.Contains([]string{Go, Rust, Cxx, C, Kernel}, s.Language) && s.Member != "<lambda>" {
				again, _ := Canonical(s.Name, s.Language)
				assert.Equal(t, s.Name, again.Name)
			}
		})
	}
	require.NoError(t, scanner.Err())
	require.Greater(t, rows, 40)
}

// requireIdentity checks that a canonical symbol stays what it is as a frame.
func requireIdentity(t require.TestingT, s Symbol) {
	again, ok := CanonicalFrame(s.Language, s.Package, s.Member)
	require.True(t, ok, "%+v", s)
	require.Equal(t, [...]string{s.Language, s.Package, s.Member, s.Name}, [...]string{again.Language, again.Package, again.Member, again.Name})
}

func TestCanonicalMore(t *testing.T) {
	for _, c := range []struct {
		name, language, raw string
		want                Symbol
	}{
		{"go: gopkg.in version as people write it", Go, "gopkg.in/yaml.v3.Unmarshal", Symbol{Go, "gopkg.in/yaml.v3", "Unmarshal", "gopkg.in/yaml.v3.Unmarshal", nil, nil, 1}},
		{"go: gopkg.in version as the linker writes it", Go, "gopkg.in/yaml%2ev3.(*Decoder).Decode", Symbol{Go, "gopkg.in/yaml.v3", "Decoder.Decode", "gopkg.in/yaml.v3.Decoder.Decode", nil, nil, 1}},
		{"go: a path that starts with go.", Go, "go.uber.org/zap.(*Logger).Info", Symbol{Go, "go.uber.org/zap", "Logger.Info", "go.uber.org/zap.Logger.Info", nil, nil, 1}},
		{"go: abi0", "", "runtime.asmcgocall.abi0", Symbol{Go, "runtime", "asmcgocall", "runtime.asmcgocall", nil, nil, 1}},
		{"go: assembly", Go, "_rt0_amd64_linux", Symbol{C, "", "_rt0_amd64_linux", "_rt0_amd64_linux", nil, nil, 1}},
		{"go: closure inlined into init", Go, "cmd/go/internal/auth.init.OnceValues[...].func2", Symbol{Go, "cmd/go/internal/auth", "init", "cmd/go/internal/auth.init", []string{"?.OnceValues"}, []string{FlagClosure, FlagGeneric, FlagInit, FlagInlinedClone}, 0.5}},
		{"go: closure of a generic function inlined into a function", Go, "mime.FormatMediaType.Keys[go.shape.map[string]string,go.shape.string].func1", Symbol{Go, "mime", "FormatMediaType", "mime.FormatMediaType", []string{"?.Keys"}, []string{FlagClosure, FlagGeneric, FlagInlinedClone}, 0.5}},
		{"go: closure inlined into a closure", Go, "cmd/go/internal/modload.moduleInfo.func1.checkReuse.2", Symbol{Go, "cmd/go/internal/modload", "moduleInfo", "cmd/go/internal/modload.moduleInfo", []string{"?.checkReuse"}, []string{FlagClosure, FlagInlinedClone}, 0.5}},
		{"go: closure inlined into a closure of a method", Go, "a/b.(*T).M.func1.F.2", Symbol{Go, "a/b", "T.M", "a/b.T.M", []string{"?.F"}, []string{FlagClosure, FlagInlinedClone}, 0.5}},
		{"go: closure of a method of a generic type", Go, "a/b.T[...].M.func1", Symbol{Go, "a/b", "T.M", "a/b.T.M", nil, []string{FlagClosure, FlagGeneric}, 1}},
		{"go: closure of a generic function", Go, "a/b.F[...].func1", Symbol{Go, "a/b", "F", "a/b.F", nil, []string{FlagClosure, FlagGeneric}, 1}},
		{"go: generic method", Go, "a/b.T.M[...]", Symbol{Go, "a/b", "T.M", "a/b.T.M", nil, []string{FlagGeneric}, 1}},
		{"go: init of a map", Go, "unicode.map.init.0", Symbol{Go, "unicode", "init", "unicode.init", nil, []string{FlagClosure, FlagInit}, 1}},
		{"go: local type", Go, "main.(*T·1).M", Symbol{Go, "main", "T.M", "main.T.M", nil, nil, 1}},
		{"go: number of a local type", Go, "mime/multipart.(*writerOnly.1).Write", Symbol{Go, "mime/multipart", "writerOnly.Write", "mime/multipart.writerOnly.Write", nil, nil, 1}},
		{"go: number of a local type without pointer", Go, "mime/multipart.writerOnly.1.Write", Symbol{Go, "mime/multipart", "writerOnly.Write", "mime/multipart.writerOnly.Write", nil, nil, 1}},
		{"go: closure of the method of a local type", Go, "mime/multipart.(*writerOnly.12).Write.func1", Symbol{Go, "mime/multipart", "writerOnly.Write", "mime/multipart.writerOnly.Write", nil, []string{FlagClosure}, 1}},
		{"go: vendored into the program", Go, "example.com/app/vendor/golang.org/x/net/html.Parse", Symbol{Go, "example.com/app/vendor/golang.org/x/net/html", "Parse", "example.com/app/vendor/golang.org/x/net/html.Parse", []string{"golang.org/x/net/html.Parse"}, []string{FlagVendored}, 1}},
		{"go: type arguments with paths", "", "example.com/a.(*G[example.com/b.T,struct { F int }]).Put", Symbol{Go, "example.com/a", "G.Put", "example.com/a.G.Put", nil, []string{FlagGeneric}, 1}},
		{"go: letters", Go, "example.com/a.Größe", Symbol{Go, "example.com/a", "Größe", "example.com/a.Größe", nil, nil, 1}},
		{"c: plt", "", "SSL_read@plt", Symbol{C, "", "SSL_read", "SSL_read", nil, []string{FlagThunk}, 1}},
		{"c: several clones", C, "f.constprop.0.isra.0.cold", Symbol{C, "", "f", "f", nil, []string{FlagCold, FlagCompilerClone}, 1}},
		{"kernel: module", Kernel, "nf_hook_slow+0x58/0x90 [nf_tables]", Symbol{Kernel, "nf_tables", "nf_hook_slow", "nf_hook_slow", nil, nil, 1}},
		{"kernel: module tells the language", "", "nft_do_chain [nf_tables]", Symbol{Kernel, "nf_tables", "nft_do_chain", "nft_do_chain", nil, nil, 1}},
		{"kernel: compat call", Kernel, "__ia32_compat_sys_open", Symbol{Kernel, "", "__ia32_compat_sys_open", "__ia32_compat_sys_open", []string{"compat_sys_open"}, nil, 1}},
		{"cxx: language c, mangled", C, "_ZN3foo3barEv", Symbol{Cxx, "foo", "bar", "foo::bar", nil, nil, 1}},
		{"cxx: global function", "", "_Z3fooi", Symbol{Cxx, "", "foo", "foo", nil, nil, 1}},
		{"cxx: lambda", "", "_ZZN3foo3barEvENKUlvE_clEv", Symbol{Cxx, "foo", "bar", "foo::bar", nil, []string{FlagClosure}, 1}},
		{"cxx: lambda of clang", "", "_ZZ4mainENK3$_0clEv", Symbol{Cxx, "", "main", "main", nil, []string{FlagClosure}, 1}},
		{"cxx: lambda in a lambda of clang", "", "_ZZZN1a1bEvENK3$_0clEiENKUliE_clEi", Symbol{Cxx, "a", "b", "a::b", nil, []string{FlagClosure}, 1}},
		{"cxx: anonymous namespace", "", "_ZN3foo12_GLOBAL__N_13barEv", Symbol{Cxx, "foo", "bar", "foo::bar", nil, []string{FlagAnonymous}, 1}},
		{"cxx: new", "", "_Znwm", Symbol{Cxx, "", "operator new", "operator new", nil, nil, 1}},
		{"cxx: conversion to a class", "", "_ZNK1AcvSsEv", Symbol{Cxx, "A", "operator std::string", "A::operator std::string", nil, nil, 1}},
		{"cxx: template function", "", "_ZSt4moveIRiEONSt16remove_referenceIT_E4typeEOS2_", Symbol{Cxx, "std", "move", "std::move", nil, nil, 1}},
		{"cxx: inline namespace", "", "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE6appendEPKc", Symbol{Cxx, "std::basic_string", "append", "std::basic_string::append", nil, nil, 1}},
		{"cxx: demangled by someone else", Cxx, "ns::Box<std::pair<int, int>>::get(int, char const*) const", Symbol{Cxx, "ns::Box", "get", "ns::Box::get", nil, nil, 1}},
		{"cxx: demangled operator", Cxx, "std::ostream::operator<<(int)", Symbol{Cxx, "std::ostream", "operator<<", "std::ostream::operator<<", nil, nil, 1}},
		{"rust: legacy, first letter _", "", "_ZN3std3sys9backtrace28__rust_begin_short_backtrace17heedc1d471bb83d24E", Symbol{Rust, "std", "sys::backtrace::__rust_begin_short_backtrace", "std::sys::backtrace::__rust_begin_short_backtrace", nil, nil, 1}},
		{"rust: legacy, other letters", "", "_ZN1a9g$uf6$del17heedc1d471bb83d24E", Symbol{Rust, "a", "gödel", "a::gödel", nil, nil, 1}},
		{"rust: v0, other letters", "", "_RNvC1au8gdel_5qa", Symbol{Rust, "a", "gödel", "a::gödel", nil, nil, 1}},
		{"cxx: part of a coroutine", "", "_Z1fv.actor", Symbol{Cxx, "", "f", "f", nil, []string{FlagCompilerClone}, 1}},
		{"rust: trait of a type parameter", "", "_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17ha121b2355dfdbb43E", Symbol{Rust, "core", "fmt::Debug::fmt", "core::fmt::Debug::fmt", nil, nil, 0.7}},
		{"rust: pointer", "", "_ZN4core3ptr9const_ptr33_$LT$impl$u20$$BP$const$u20$T$GT$13is_aligned_to17h0850538b994630c4E", Symbol{Rust, "pointer", "is_aligned_to", "pointer::is_aligned_to", nil, nil, 1}},
		{"rust: pointer, v0", "", "_RNvMNtNtCsgEmfK2I1SDS_4core3ptr9const_ptrPu13is_aligned_toCscSYwAIFpW9W_7program", Symbol{Rust, "pointer", "is_aligned_to", "pointer::is_aligned_to", nil, nil, 1}},
		{"rust: what calls a closure", "", "_RNvYNCINvNtCsjrHSEGnQ3l9_3std2rt10lang_startuE0INtNtNtCsgEmfK2I1SDS_4core3ops8function6FnOnceuE9call_onceCscSYwAIFpW9W_7program", Symbol{Rust, "std", "rt::lang_start", "std::rt::lang_start", []string{"core::ops::function::FnOnce::call_once"}, []string{FlagClosure, FlagGeneric}, 1}},
		{"rust: shim of the older scheme", "", "_ZN4core3ops8function6FnOnce40call_once$u7b$$u7b$vtable.shim$u7d$$u7d$17h708a744e146f6520E", Symbol{Rust, "core", "ops::function::FnOnce::call_once", "core::ops::function::FnOnce::call_once", nil, []string{FlagShim}, 1}},
		{"c: initialization of a file", "", "_GLOBAL__sub_I_eh.alloc.cc.cold", Symbol{C, "", "_GLOBAL__sub_I_eh_alloc", "_GLOBAL__sub_I_eh_alloc", nil, []string{FlagCold, FlagCompilerClone, FlagInit}, 1}},
		{"rust: demangled by someone else", Rust, "smallvec::SmallVec<A>::insert_many", Symbol{Rust, "smallvec", "SmallVec::insert_many", "smallvec::SmallVec::insert_many", nil, []string{FlagGeneric}, 1}},
		{"rust: trait", "", "_ZN58_$LT$alloc..string..String$u20$as$u20$core..fmt..Debug$GT$3fmt17h1854dee5fd9945b4E", Symbol{Rust, "alloc", "string::String::fmt", "alloc::string::String::fmt", []string{"core::fmt::Debug::fmt"}, nil, 1}},
		{"rust: inherent implementation of a primitive type", "", "_ZN4core3num21_$LT$impl$u20$u32$GT$3pow17h1854dee5fd9945b4E", Symbol{Rust, "u32", "pow", "u32::pow", nil, nil, 1}},
		{"rust: trait of a slice", Rust, "<[T] as core::fmt::Debug>::fmt", Symbol{Rust, "core", "fmt::Debug::fmt", "core::fmt::Debug::fmt", nil, nil, 0.7}},
		{"rust: legacy closure", "", "_ZN3foo3bar28_$u7b$$u7b$closure$u7d$$u7d$17h1854dee5fd9945b4E", Symbol{Rust, "foo", "bar", "foo::bar", nil, []string{FlagClosure}, 1}},
		{"rust: generic argument of 128 bits", "", "_RINvMs2_NtCshg5UprtI8ZK_4jiff4spanNtB6_4Span15try_days_rangedINtNtNtB8_4util8rangeint5ri128Knn80000000000000000000000000000000_Kn7fffffffffffffffffffffffffffffff_EEB8_", Symbol{Rust, "jiff", "span::Span::try_days_ranged", "jiff::span::Span::try_days_ranged", nil, []string{FlagGeneric}, 1}},
		{"rust: empty identifier before a digit", "", "_RNvNCNvCs1_3foo3bar03MIN", Symbol{Rust, "foo", "bar::MIN", "foo::bar::MIN", nil, []string{FlagClosure}, 1}},
		{"rust: closure in a closure", "", "_RNCNCNvCs1_3foo3bar00", Symbol{Rust, "foo", "bar", "foo::bar", nil, []string{FlagClosure}, 1}},
		{"c that begins as Rust does", "", "_Read_fn", Symbol{C, "", "_Read_fn", "_Read_fn", nil, nil, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ok := Canonical(c.raw, c.language)
			require.True(t, ok)
			assert.InDelta(t, c.want.Confidence, s.Confidence, 1e-9)
			s.Confidence = c.want.Confidence
			assert.Equal(t, c.want, s)
			requireIdentity(t, s)
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for _, c := range []struct{ name, language, raw string }{
		{"empty", "", ""},
		{"too long", C, strings.Repeat("a", MaxRaw+1)},
		{"long name", C, strings.Repeat("a", 300)},
		{"control character", C, "a\nb"},
		{"mangled Rust that cannot be read", C, "_RINvCs1_3foo3barKRe616263_E"},
		{"not UTF-8", Go, "main.a\xff"},
		{"sentence", C, "password is hunter2"},
		{"sentence without language", "", "the password is hunter2"},
		{"path", C, "/home/alice/x"},
		{"path as Go", Go, "/home/alice/x.Func"},
		{"directory as Go package", Go, "_/home/alice/x.(*T).Func"},
		{"directory as Go package without language", "", "_/home/alice/x.Func"},
		{"URL", Go, "https://u:p@example.com/x.Func"},
		{"mail", Go, "alice@example.com/x.Func"},
		{"mail that goes on", C, "__dtrace_alice@example.com___p2"},
		{"address of a host as Go package", Go, "10.1.2.3/a.F"},
		{"address of a host as npm package", JS, "10.1.2.3#f"},
		{"address of a host as version", C, "root@10.0.0.1"},
		{"flag as Go package", Go, "-pSecret123.b.c"},
		{"flag as npm package", JS, "-pSecret123#f"},
		{"words behind operator", Cxx, "operator Bearer abcdefghijklmnop"},
		{"sentence with parentheses", Cxx, "the password is hunter2()"},
		{"result without parameters", Cxx, "unsigned secret"},
		{"vtable, demangled", Cxx, "vtable for ns::A"},
		{"guard, demangled", Cxx, "guard variable for f()::x"},
		{"template arguments without end", Cxx, "ns::A<int::f()"},
		{"parentheses without end", Cxx, "ns::f(int"},
		{"brackets that cross", Cxx, "ns::f(int]"},
		{"nothing behind ::", Cxx, "ns::f::"},
		{"nothing behind a namespace without name", Cxx, "(anonymous namespace)::"},
		{"lambda of nothing", Cxx, "{lambda()#1}::operator()() const"},
		{"mark of data on ARM", C, "$d.1"},
		{"arguments of a Go function", Go, "main.F(password)"},
		{"query", Go, "example.com/x?token=abc.Func"},
		{"file name", "", "config.json"},
		{"host name", C, "db.internal.example"},
		{"key and value", C, "password=hunter2"},
		{"user and password", Kernel, "admin:hunter2"},
		{"address", C, "0x7ffd1c2b3a40"},
		{"address in a name", C, "fn_0x7ffd1c2b3a40"},
		{"address behind letters", C, "sub_x0x7ffd1c2b3a40"},
		{"16 digits", C, "f_ffffffff81a3c2f0"},
		{"12 digits", C, "sub_7f12ab34c000"},
		{"decimal", C, "f_140498967885099"},
		{"address in a Go name", Go, "main.F_ffffffff81a3c2f0"},
		{"address in a package", Go, "example.com/7ffd1c2b3a40.F"},
		{"token", C, "ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP"},
		{"token in Go", Go, "main.AKIAIOSFODNN7EXAMPLE"},
		{"compiler data of Go", Go, "type:.eq.main.T"},
		{"compiler data of Go before 1.20", Go, "go.itab.*os.File,io.Reader"},
		{"dictionary of Go", Go, "main..dict.F[int]"},
		{"unbalanced type arguments", Go, "main.F[int"},
		{"local names nested very deeply", "", "_Z" + strings.Repeat("Z", 1600) + "1fv" + strings.Repeat("E1gv", 1600)},
		{"vtable", "", "_ZTV3foo"},
		{"type information", Cxx, "_ZTI3foo"},
		{"broken mangling", "", "_ZN3foo"},
		{"Rust: length beyond the end", "", "_ZN9foo17h1854dee5fd9945b4E"},
		{"Rust: unknown escape", "", "_ZN9foo$XX$ab17h1854dee5fd9945b4E"},
		{"Rust: escape of a control character", "", "_ZN8foo$u7$a17h1854dee5fd9945b4E"},
		{"Rust: empty escape", "", "_ZN5foo$$17h1854dee5fd9945b4E"},
		{"Rust: escape without end", "", "_ZN7foo$u7a17h1854dee5fd9945b4E"},
		{"C++ or Rust", "", "a::b"},
		{"C++ with a slash", Cxx, "a::b/c"},
		{"C++ with quotes", Cxx, "a::\"secret\""},
		{"Rust with a sentence", Rust, "a::b c d"},
		{"unknown language", "cobol", "MAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ok := Canonical(c.raw, c.language)
			assert.False(t, ok, "%+v", s)
		})
	}
}

func TestCanonicalFrameRefuses(t *testing.T) {
	for _, c := range []struct{ name, language, pkg, member string }{
		{"no member", Go, "net/http", ""},
		{"directory as package", Go, "_/home/alice/x", "Func"},
		{"pointer", Go, "net/http", "(*conn).serve"},
		{"closure", Go, "net/http", "Get.func1"},
		{"three parts", Go, "net/http", "a.b.c"},
		{"no package", Go, "", "main"},
		{"package in C", C, "libssl", "SSL_read"},
		{"clone", C, "", "f.cold"},
		{"template", Cxx, "std::vector<int>", "push_back"},
		{"parameters", Cxx, "std", "move(int)"},
		{"path in Rust package", Rust, "alloc::vec", "Vec"},
		{"sentence", Rust, "alloc", "the password"},
		{"no language", "", "net/http", "Get"},
		{"address", C, "", "f_ffffffff81a3c2f0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, ok := CanonicalFrame(c.language, c.pkg, c.member)
			assert.False(t, ok)
		})
	}
}

// grammars are the letters that the names of each language are made of.
var grammars = func() map[string]*regexp.Regexp {
	set := map[string]*regexp.Regexp{}
	for language, more := range map[string]string{
		C: `$`, Kernel: `$`, Go: `./~+·-`, Rust: `:#`, Cxx: ` :~=<>!%^&|*/+,()\[\]"$-`, JVM: `.$<>-`, DotNet: `.+$`, Python: `.<>`,
		JS: `.$#@/:~<>-`, Swift: `.&@/=><*!|+?%~^-`, D: `.~`,
	} {
		set[language] = regexp.MustCompile(`^[\p{L}\p{Nd}_` + more + `]+$`)
	}
	return set
}()

func FuzzCanonical(f *testing.F) {
	file, err := os.Open("testdata/symbols.tsv")
	require.NoError(f, err)
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		fields := strings.Split(scanner.Text(), "\t")
		f.Add(fields[2], fields[1])
		f.Add(fields[2], "")
	}
	f.Add("$s4main9MyServiceC06handleB0yyF", Swift)
	f.Add("(extension in main):Swift.String.bar<A>(x: A) -> ()", Swift)
	f.Add("_D3std3xml__T3optS_DQsQq10checkSpaceFNaNfKAyaZvZQBjQpFNaNfKQBgZv", D)
	for _, language := range []string{Cxx, Rust} {
		f.Add("<a::B<T> as c::D>::e::{closure#0}", language)
		f.Add("ns::Box<int>::operator bool() const", language)
	}
	f.Fuzz(requireSound)
}

// requireSound holds what is true of each symbol.
func requireSound(t *testing.T, raw, language string) {
	require.Contains(t, allLanguages, Detect(raw, language))
	s, ok := Canonical(raw, language)
	if !ok {
		require.Equal(t, Symbol{}, s)
		return
	}
	require.LessOrEqual(t, len(s.Name), MaxName)
	require.NotEmpty(t, s.Member)
	require.True(t, grammars[s.Language].MatchString(s.Name), "%+v", s)
	require.False(t, hasAddress(s.Name) || privacy.HasToken(s.Name), "%+v", s)
	again, _ := Canonical(raw, language)
	require.Equal(t, s, again)
	require.True(t, s.Confidence >= 0 && s.Confidence <= 1)
	require.True(t, slices.IsSorted(s.Flags) && slices.IsSorted(s.Aliases))
	requireIdentity(t, s)
}
