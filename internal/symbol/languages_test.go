package symbol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var allLanguages = []string{"", C, Kernel, Cxx, Rust, Go, JVM, DotNet, Python, JS, Swift, D}

// TestCanonicalRefusesSecrets tries texts that are no symbols of any language.
func TestCanonicalRefusesSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"sentence":                       "the password is hunter2",
		"sentence with a stop":           "Login failed for alice. Try again later.",
		"question":                       "who is alice?",
		"key and value":                  "password=hunter2",
		"key, value and name":            "com.example.App.password=hunter2",
		"assignment":                     "api_key = s3cr3t",
		"header":                         "Authorization: Bearer abcdef",
		"environment":                    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"secret key":                     "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"flag":                           "--password hunter2",
		"command line":                   "mysql -u root -phunter2",
		"curl":                           "curl -u alice:hunter2 example.com",
		"URL with credentials":           "https://alice:hunter2@example.com/x",
		"database URL":                   "postgres://alice:hunter2@db.internal/app",
		"URL":                            "https://example.com/a/b.c",
		"query":                          "/login?token=abc",
		"user and password":              "alice:hunter2",
		"JSON":                           `{"password":"hunter2"}`,
		"quoted":                         `"hunter2"`,
		"XML":                            "<password>hunter2</password>",
		"JWT":                            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
		"hex token":                      "deadbeefcafebabe0123456789abcdef",
		"hex token with a module":        "config.deadbeefcafebabe0123456789abcdef",
		"sha256":                         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"UUID":                           "123e4567-e89b-12d3-a456-426614174000",
		"token of GitHub":                "ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP",
		"token in a name":                "com.example.App.ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP",
		"token of Slack":                 "xoxb-1234567890-abcdefghij",
		"key of AWS":                     "AKIAIOSFODNN7EXAMPLE",
		"key of AWS in a name":           "example.Config.AKIAIOSFODNN7EXAMPLE",
		"private key":                    "-----BEGIN RSA PRIVATE KEY-----",
		"base64":                         "aHVudGVyMg==",
		"mail":                           "alice@example.com",
		"mail with a name":               "Alice <alice@example.com>",
		"address":                        "0x7ffd1c2b3a40",
		"address of the kernel":          "ffffffff81a3c2f0",
		"address in a name":              "com.example.App.f_ffffffff81a3c2f0",
		"address in a class":             "app.C_7ffd1c2b3a40.run",
		"decimal address":                "140498967885099",
		"IPv4":                           "10.1.2.3",
		"IPv4 and port":                  "10.1.2.3:8080",
		"IPv6":                           "2001:db8::1",
		"home":                           "/home/alice/secret.txt",
		"home, and a name":               "/home/alice/App.main",
		"home without slash":             "~alice/App.main",
		"home of macOS":                  "/Users/alice/App.main",
		"home of Windows":                `C:\Users\alice\App.main`,
		"share":                          `\\server\alice\App.main`,
		"temporary file":                 "/tmp/alice.1234",
		"file URL":                       "file:///home/alice/x.js",
		"line break":                     "a.b\nc",
		"empty":                          "",
		"blank":                          "   ",
		"shell":                          "$(cat /etc/passwd)",
		"SQL":                            "SELECT * FROM users WHERE name = 'alice'",
		"phone":                          "+49 30 1234567",
		"card":                           "4111 1111 1111 1111",
		"percent":                        "alice%40example.com",
		"maps":                           "7f12ab34c000-7f12ab35c000 r-xp",
		"address in text":                "core dumped at 0x7f12ab34c0de",
		"PowerShell":                     "$env:PASSWORD",
		"names with a secret after them": "com.example.App.main password hunter2",
	} {
		for _, language := range allLanguages {
			t.Run(name+"/"+language, func(t *testing.T) {
				s, ok := Canonical(text, language)
				assert.False(t, ok, "%+v", s)
				detected, ok := Canonical(text, Detect(text, ""))
				assert.False(t, ok, "%+v", detected)
				if language != "" {
					before, last := cutLast(text, ".")
					s, ok = CanonicalFrame(language, before, last)
					assert.False(t, ok, "%+v", s)
				}
			})
		}
	}
}

// TestNothingAround puts a secret where each language has arguments, files, versions and modules: it may be cut or refused.
func TestNothingAround(t *testing.T) {
	const secret = "hunter2"
	for _, c := range []struct{ language, format string }{
		{JVM, "com.example.App.main(%s)"},
		{JVM, "com.example.App.main(password=%s)"},
		{JVM, "java.base@17.%s/java.lang.Thread.run"},
		{JVM, "%s//com.example.App.main"},
		{JVM, "%s com.example.App.main()"},
		{JVM, "com.example.App$$EnhancerBySpringCGLIB$$%s.find"},
		{DotNet, "[%s]App.Svc::Run()"},
		{DotNet, "App.Svc.Run(String %s)"},
		{DotNet, "at App.Svc.Run() in /home/%s/App.cs:line 1"},
		{DotNet, "App.List`1[%s]::Add"},
		{DotNet, "%s!App.Svc.Run"},
		{DotNet, "instance %s [App]App.Svc::Run()"},
		{Python, "py::f:/home/%s/app.py"},
		{Python, "f (/home/%s/app.py:1)"},
		{Python, "app.f.<locals>.%s"},
		{JS, "JS:*parse /home/%s/x.js:1:2"},
		{JS, "parse (/home/%s/x.js:1:2)"},
		{JS, "at parse (eval at x (/home/%s/x.js:1:2), <anonymous>:1:1)"},
		{JS, "parse (/home/%s/node_modules/ejs/lib/ejs.js:1:2)"},
		{Swift, "main.foo(%s: Swift.Int) -> ()"},
		{Swift, "(extension in %s):Swift.String.bar()"},
		{Swift, "closure #1 %s in main.foo()"},
		{Swift, "$s4main3foo7%s_SiF"},
		{D, "std.stdio.writeln!(%s).writeln(int)"},
		{D, "%s std.stdio.writeln(int)"},
	} {
		t.Run(c.format, func(t *testing.T) {
			s, ok := Canonical(fmt.Sprintf(c.format, secret), c.language)
			assert.NotContains(t, fmt.Sprint(s), secret)
			if !ok {
				assert.Equal(t, Symbol{}, s)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct{ raw, module, want string }{
		{"org/apache/logging/log4j/core/lookup/JndiLookup.lookup", "", JVM},
		{"org/apache/commons/text/StringSubstitutor.replace(Ljava/lang/String;)V", "", JVM},
		{"com.example.App.main", "", JVM},
		{"com.example.App.main", "/app/app.jar", JVM},
		{"App.main", "/app/app.jar", JVM},
		{"App.main", "/app/app.jar (deleted)", JVM},
		{"App.main", "/usr/lib/jvm/java-17/lib/modules", JVM},
		{"App.main", "", ""},
		{"App.main", "/tmp/perf-12.map", ""},
		{"java.lang.Thread.run", "/tmp/perf-12.map", JVM},
		{"boolean java.lang.String.equals(java.lang.Object)", "perf-12.map", JVM},
		{"LazyCompile:*parse /app/x.js:1:2", "perf-12.map", JS},
		{"py::f:/app/x.py", "perf-12.map", Python},
		{"bool [MyApp] MyApp.Svc::Run(int32)[Tier0]", "perf-12.map", DotNet},
		{"System.Collections.Generic.List`1[System.Int32].Add", "", DotNet},
		{"MyApp.Svc.Run", "MyApp.dll", DotNet},
		{"MyApp.Svc.Run", `C:\app\MyApp.DLL`, DotNet},
		{"MyApp.Svc.Run", "", ""},
		{"jinja2.sandbox.SandboxedEnvironment.call", "", ""},
		{"jinja2.sandbox.SandboxedEnvironment.call", "/app/jinja2/sandbox.py", Python},
		{"call", "sandbox.pyc", Python},
		{"app.f.<locals>.g", "", Python},
		{"render", "/app/node_modules/ejs/lib/ejs.js", JS},
		{"render", "/app/x.mjs", JS},
		{"at render (/app/x.js:1:2)", "", JS},
		{"napi_call", "/app/node_modules/x/build/x.node", ""},
		{"do_syscall_64", "[kernel.kallsyms]", Kernel},
		{"nft_do_chain", "/lib/modules/6.1.0/kernel/net/netfilter/nf_tables.ko.xz", Kernel},
		{"SSL_read", "/usr/lib/x86_64-linux-gnu/libssl.so.3", ""},
		{"net/http.Header.Add", "", ""},
		{"golang.org/x/net/html.Parse", "", ""},
		{"example.com/Foo/Bar.Run", "", ""},
		{"encoding/json.Unmarshal", "", ""},
		{"io.ReadAll", "", ""},
		{"net.Conn.Read", "", ""},
		{"std::vector<int>::push_back", "", ""},
		{"alloc::vec::Vec<T>::push", "", ""},
		{"$s4main3fooyyF", "", Swift},
		{"main.foo()", "/app/x.swift", Swift},
		{strings.Repeat("a", MaxRaw+1), "x.py", ""},
		{"", "", ""},
	} {
		t.Run(c.raw[:min(len(c.raw), 80)]+" in "+c.module, func(t *testing.T) {
			assert.Equal(t, c.want, Detect(c.raw, c.module))
		})
	}
}

// TestLanguageWithoutHint holds what Canonical makes of symbols without a language.
func TestLanguageWithoutHint(t *testing.T) {
	for raw, want := range map[string]string{
		"org/apache/logging/log4j/core/lookup/JndiLookup.lookup": JVM,
		"net/http.Header.Add":                Go,
		"_D3std5stdio4File4openMFNfAyaIAaZv": D,
		"$s4main3FooC3bar1xySi_tF":           Swift,
		"_ZN3foo3barEv":                      Cxx,
		"_RNvCs1_3foo3bar":                   Rust,
		"_D2":                                C,
		"_D1_foo":                            C,
		"_T0_foo":                            C,
		"nft_do_chain [nf_tables]":           Kernel,
		"at ejs.render (/app/node_modules/ejs/lib/ejs.js:1:2)":                  JS,
		"py::render:/app/x.py":                                                  Python,
		"[MyApp]MyApp.Svc+<>c__DisplayClass3_0.<Run>b__0":                       DotNet,
		"com.example.App$$Lambda$14/0x0000000800c03000.run(Unknown Source)":     JVM,
		"jdk.internal.reflect.GeneratedMethodAccessor12.invoke(Unknown Source)": JVM,
	} {
		t.Run(raw, func(t *testing.T) {
			s, ok := Canonical(raw, "")
			require.True(t, ok)
			assert.Equal(t, want, s.Language)
		})
	}
}

// TestHostileText goes through texts that are long, nested and refer back to themselves: they must end, and say nothing.
func TestHostileText(t *testing.T) {
	patterns := []string{"<", "[", "(", "a.", "a/", "<a>", "a<", "<>c", "`1", "::", "$", "0x1", "lambda$", "$lambda$0", "$$Lambda", "<locals>.", "_D1a", "__T1a", "1aF", "Qb",
		"S_D1aF", "3__T", "VAyaa1_61", "B9", "A9", "S1a", "0a", "1aC", "AA", "yyF", "R_", "closure #1 in ", "!(", "!(a)", "[as a]", " (", "node_modules/a/", "@"}
	prefixes := []string{"", "_D1a", "_D1a__T1aS", "_D1a__T1aT", "$s1a", "$s1a1bC", "a.b.", "a.b::", "py::", "JS:*"}
	for _, prefix := range prefixes {
		for _, pattern := range patterns {
			for _, size := range []int{200, MaxRaw, 1 << 20} {
				text := prefix + strings.Repeat(pattern, size/len(pattern)-len(prefix))
				Detect(text, text)
				for _, language := range allLanguages {
					if s, ok := Canonical(text, language); ok {
						require.LessOrEqual(t, len(s.Name), MaxName)
					}
				}
			}
		}
	}
}
