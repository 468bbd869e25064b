package symbol

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// hostile are names that are large, deep, or expand to something large: each as long as is read at all.
func hostile() map[string]string {
	fill := func(begin, part, end string) string {
		return begin + strings.Repeat(part, (MaxRaw-len(begin)-len(end))/max(len(part), 1)) + end
	}
	nest := func(begin, open, middle, closing, end string) string {
		n := (MaxRaw - len(begin) - len(middle) - len(end)) / (len(open) + len(closing))
		return begin + strings.Repeat(open, n) + middle + strings.Repeat(closing, n) + end
	}
	names := map[string]string{
		"1 MB":                   strings.Repeat("a", 1<<20),
		"1 MB of C++":            "_ZN" + strings.Repeat("1a", 1<<19) + "Ev",
		"1 MB of Rust":           "_R" + strings.Repeat("Nv", 1<<19),
		"cxx deep templates":     nest("_Z1f", "1AI", "i", "E", "v"),
		"cxx templates in names": nest("_ZN", "1AIN", "1B", "EE", "E1fEv"),
		"cxx namespaces":         fill("_ZN", "1a", "Ev"),
		"cxx pointers":           fill("_Z1f", "P", "i"),
		"cxx functions":          nest("_Z1f", "PF", "v", "E", ""),
		"cxx arrays":             fill("_Z1f", "A1_", "i"),
		"cxx packs":              nest("_Z1fI", "J", "i", "E", "Evv"),
		"cxx local names":        nest("_Z", "Z", "1fv", "E1gv", ""),
		"cxx expressions":        nest("_Z1fI", "Xpl", "Li1E", "Li1EE", "Evv"),
		"cxx decltype":           nest("_Z1fI", "DTnt", "Li1E", "E", "Evv"),
		"cxx lambdas":            nest("_Z1f", "UlN", "i", "E_", ""),
		"cxx conversions":        fill("_ZN1A", "cv", "iEv"),
		"cxx ABI tags":           fill("_Z1f", "B1a", "v"),
		"cxx member pointers":    fill("_Z1f", "M1A", "i"),
		"cxx thunks":             fill("_Z", "TT", "1fv"),
		"cxx transactions":       fill("_Z", "GTt", "1fv"),
		"rust namespaces":        fill("_R", "Nv", "C1a1b"),
		"rust closures":          fill("_R", "NC", "C1a00"),
		"rust empty identifiers": fill("_RNvC1a", "0", "3MIN"),
		"rust tuples":            nest("_RINvC1a1b", "T", "u", "E", "E"),
		"rust references":        fill("_RINvC1a1b", "R", "uE"),
		"rust slices":            fill("_RINvC1a1b", "S", "uE"),
		"rust functions":         nest("_RINvC1a1b", "F", "u", "Eu", "E"),
		"rust binders":           fill("_RINvC1a1b", "FG_", "EuE"),
		"rust implementations":   nest("_R", "X", "C1a", "uC1a", ""),
		"rust back reference":    fill("_RINvC1a1b", "B_", "E"),
		"rust itself":            "_RB_",
		"rust brackets":          nest("a::", "<", "T", ">", "::b"),
		"rust braces":            nest("a::", "{", "x", "}", "::b"),
		"rust as":                nest("", "<T as a::B<", "u8", ">>::c", ""),
		"rust implementation":    nest("a::", "<impl b::T for ", "u8", ">", "::c"),
		"rust legacy segments":   fill("_ZN", "1a", "17h1854dee5fd9945b4E"),
		"rust legacy generics":   "_ZN8000" + fill("", "$LT$", "")[:8000] + "17h1854dee5fd9945b4E",
		"cxx text, brackets":     nest("a::", "<(", "T", ")>", "::b()"),
		"cxx text, segments":     fill("", "a<>::", "b()"),
		"cxx text, tags":         fill("a::b", "[abi:c]", "()"),
		"cxx text, operators":    fill("a<", "operator<,", "x>::b()"),
		"cxx text, results":      fill("", "const ", "b()"),
		"cxx text, clones":       fill("a::b()", " [clone .isra.0]", ""),
		"cxx text, conversions":  fill("a::", "operator ", "b()"),
		"go promoted":            fill("", "a.b.c/", "d.f"),
		"go trace":               fill("a/b.F(", "0x1, ", ")"),
		"swift private":          fill("", "(a in _0)", ".b()"),
		"d qualifiers":           fill("", "const(a)", " b.c()"),
		"go brackets":            nest("a/b.F", "[", "T", "]", ""),
		"go closures":            fill("a/b.F", ".func1", ""),
		"go pointers":            fill("a/b.", "(*T).", "M"),
		"go local types":         fill("a/b.", "(*T.1).", "M"),
		"go loop bodies":         fill("a/b.F", "-range1", ""),
		"go escapes":             fill("a/b", "%2e", ".F"),
		"c clones":               fill("f", ".isra.0", ""),
		"c versions":             fill("f", "@", "1"),
		"c unicode":              fill("f", "ä", ""),
		"kernel modules":         fill("f", " [m]", ""),
	}
	// Each place where an identifier may be empty is right or wrong only at the end.
	n := MaxRaw / 10
	names["rust empty identifiers to the end"] = "_R" + strings.Repeat("NC", n) + strings.Repeat("Nv", n) + "C1a" + strings.Repeat("03foo", n)
	names["rust empty identifiers in a long name"] = "_R" + strings.Repeat("Nv", 1200) + "C1a" + strings.Repeat("03foo", 8) + strings.Repeat("1a", 1180) + "9"
	// Each type is made of two of the one before.
	doubled := "_Z1fI1AIiiE"
	for i := range 600 {
		reference := "S_"
		if i > 0 {
			reference = "S" + strings.ToUpper(base36(i-1)) + "_"
		}
		doubled += "1AI" + reference + reference + "E"
	}
	names["cxx doubled"] = doubled + "Evv"
	rust := "_RINvC1a1bTuuE"
	at := len("INvC1a1b")
	for range 600 {
		reference := "B" + base62(at)
		at = len(rust) - len("_R")
		rust += "T" + reference + reference + "E"
	}
	names["rust doubled"] = rust + "E"
	return names
}

func base36(n int) string { return number(n, "0123456789abcdefghijklmnopqrstuvwxyz") }

// base62 is a number in a Rust back reference: _ is 0, 0_ is 1.
func base62(n int) string {
	if n == 0 {
		return "_"
	}
	return number(n-1, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") + "_"
}

func number(n int, digits string) string {
	text := digits[n%len(digits) : n%len(digits)+1]
	if n /= len(digits); n > 0 {
		return number(n, digits) + text
	}
	return text
}

// TestHostile holds that no name takes much memory; what it takes in time it logs.
func TestHostile(t *testing.T) {
	for name, raw := range hostile() {
		for _, language := range allLanguages {
			t.Run(fmt.Sprint(name, " as ", language), func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				s, ok := Canonical(raw, language)
				taken := time.Since(start)
				runtime.ReadMemStats(&after)
				allocated := after.TotalAlloc - before.TotalAlloc
				assert.Less(t, allocated, uint64(8<<20))
				if taken > 5*time.Millisecond || allocated > 1<<20 {
					t.Log(name, language, len(raw), taken, allocated, ok, len(s.Name))
				}
			})
		}
	}
}

// fuzz starts from the symbols of a sample, and from what is hostile.
func fuzz(f *testing.F, language string, samples ...string) {
	for _, name := range samples {
		for _, raw := range sample(f, name) {
			f.Add(raw)
		}
	}
	for _, raw := range hostile() {
		f.Add(raw[:min(len(raw), 512)])
	}
	f.Fuzz(func(t *testing.T, raw string) { requireSound(t, raw, language) })
}

func FuzzGo(f *testing.F)     { fuzz(f, Go, "go") }
func FuzzRust(f *testing.F)   { fuzz(f, Rust, "rust", "rust-legacy") }
func FuzzCxx(f *testing.F)    { fuzz(f, Cxx, "cxx") }
func FuzzC(f *testing.F)      { fuzz(f, C, "c") }
func FuzzKernel(f *testing.F) { fuzz(f, Kernel, "kernel") }
func FuzzJVM(f *testing.F)    { fuzz(f, JVM) }
func FuzzDotNet(f *testing.F) { fuzz(f, DotNet) }
func FuzzPython(f *testing.F) { fuzz(f, Python) }
func FuzzJS(f *testing.F)     { fuzz(f, JS) }
func FuzzSwift(f *testing.F)  { fuzz(f, Swift) }
func FuzzD(f *testing.F)      { fuzz(f, D) }

// TestSecrets puts what must not travel into every place that a name may have.
func TestSecrets(t *testing.T) {
	secrets := []string{
		"password=hunter2", "alice@corp.example", "alice.smith@corp.example.com", "/home/alice/secret", "/Users/alice/x", `C:\Users\alice\x`,
		"ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP", "AKIAIOSFODNN7EXAMPLE", "xoxb-123456789012-abcdefghijkl", "glpat-aBcDeFgHiJkLmNoPqRsT",
		"npm_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghij", "postgres://u:p@db.example/x",
		"https://u:p@example.com/x", "root@10.0.0.1", "fe80::1", "user:hunter2", "-----BEGIN RSA PRIVATE KEY-----", "0x7ffd1c2b3a40",
		"ffffffff81a3c2f0", "7ffd1c2b3a40", "140498967885099", "d41d8cd98f00b204e9800998ecf8427e", "ssh-rsa AAAAB3NzaC1yc2E", "Bearer abcdefghijklmnop",
		"SECRET_KEY=abc", "--password=x1y2z3", "a b secret c", "s3cr3t!", "p@ssw0rd", `"quoted"`, "dG9rZW4gb2YgYWxpY2U=", "x;DROP TABLE",
	}
	places := []string{
		"%", "f(%)", "f(%", "% f()", "a.b.%", "%.b.c", "a/%.F", "%/a.F", "a::%", "%::a", "ns::f(%)", "% ns::f()", "f [%]", "f [m %]", "f+%", "f@%", "f@@%", "f.%",
		"at a.B.c(%)", "at % (/x/y.js:1:2)", "at f (%)", "a.B.c(%)", "a.b:%", "f (%)", "py::%:/x.py", "py::f:%", "[%]A.B::c", "%!A.B.C", "L%;::f",
		"app//%.a.b", "a@%/b.c.D", "%#f", "p#%", "%@http://x/a.js:1:2", "<% as a::B>::c", "a<%>::b", "operator %", "ns::A::operator %()", `operator""%()`,
		"ns::f[abi:%]()", "f [clone .%]", "f (.%)", "a.T[%].M", "std[%]::a", "a::{closure#%}", "a::{lambda(%)#1}", "a::'lambda%'::b", "a.(%).M",
		"a/b.(*T).%/c.m", "a/b.T.%/c.m", "main.F·dwrap·%", "_cgo_%_Cfunc_f", "closure #1 in a.b(%)", "a.(% in _12)()", "void % a.b(int)",
		"(extension in %):a.b", "protocol witness for a.P.% in conformance a.B", "a.b!(%).c", "const(%) a.b()", "a.B$$Lambda/%.run", "a.B.lambda$%$0",
		"a.B+<%>d__1.MoveNext", "JS:*% /x.js:1:2", "JS:*f %", "vtable for %", "[%] f",
	}
	for _, language := range allLanguages {
		for _, secret := range secrets {
			for _, place := range places {
				raw := strings.ReplaceAll(place, "%", secret)
				s, ok := Canonical(raw, language)
				if !ok {
					continue
				}
				for _, text := range append([]string{s.Name, s.Package}, s.Aliases...) {
					assert.NotContains(t, text, secret, "%s: %s", language, raw)
				}
				requireIdentity(t, s)
			}
		}
	}
}
