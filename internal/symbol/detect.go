package symbol

import (
	"path"
	"strings"
)

// languageNames are what OpenTelemetry's profiles (profile.frame.type) and telemetry.sdk.language call the languages.
var languageNames = map[string]string{
	"native": "", "cpp": Cxx, "c++": Cxx, "java": JVM, "kotlin": JVM, "scala": JVM, "csharp": DotNet,
	"cpython": Python, "v8js": JS, "javascript": JS, "nodejs": JS, "webjs": JS, "dlang": D,
}

// Language is the name of a language here, of one that others call differently.
func Language(name string) string {
	if language, ok := languageNames[name]; ok {
		return language
	}
	return name
}

// extensions are the languages of the files that code comes in, by the end of their names.
var extensions = map[string]string{
	".jar": JVM, ".war": JVM, ".ear": JVM, ".class": JVM, ".jmod": JVM, ".jsa": JVM, ".java": JVM, ".kt": JVM, ".scala": JVM, ".groovy": JVM,
	".dll": DotNet, ".cs": DotNet, ".fs": DotNet, ".vb": DotNet,
	".py": Python, ".pyc": Python, ".pyo": Python, ".pyz": Python, ".whl": Python, ".egg": Python,
	".js": JS, ".mjs": JS, ".cjs": JS, ".jsx": JS, ".ts": JS, ".mts": JS, ".cts": JS, ".tsx": JS,
	".ko": Kernel, ".swift": Swift, ".d": D, ".go": Go, ".rs": Rust,
}

// Detect tells the language of a raw symbol from its form, and else from its module or source file: a path or its last
// element, [kernel.kallsyms] or the name of a kernel module in brackets. It is empty when neither tells; mangled names of
// C++ and Rust need no language. A map that a process writes of its compiled code (perf-1.map) tells nothing.
func Detect(raw, module string) string {
	if len(raw) > MaxRaw {
		return ""
	}
	if language := form(raw); language != "" {
		return language
	}
	return moduleLanguage(module)
}

func moduleLanguage(module string) string {
	module = strings.TrimSuffix(strings.ReplaceAll(module, `\`, "/"), " (deleted)")
	base := path.Base(module)
	if strings.HasPrefix(base, "[kernel") || base == "vmlinux" || strings.HasPrefix(base, "vmlinux-") || strings.HasPrefix(base, "vmlinuz") {
		return Kernel
	}
	if name, compressed, ok := strings.Cut(base, ".ko."); ok && name != "" && (compressed == "xz" || compressed == "zst" || compressed == "gz") {
		return Kernel
	}
	language := extensions[strings.ToLower(path.Ext(base))]
	switch {
	case language == "" && path.Ext(base) == "" && strings.Contains(module, "/node_modules/"):
		return JS
	case language == "" && base == "modules" && strings.HasSuffix(module, "/lib/modules"):
		return JVM // the run-time image
	}
	return language
}

// form tells the languages whose names look like no other's.
func form(raw string) string {
	text := strings.TrimPrefix(raw, "at ")
	name := text
	if before, _, ok := strings.Cut(text, "("); ok {
		_, name = cutLast(before, " ")
	}
	switch {
	case isMangledSwift(raw):
		return Swift
	case !strings.ContainsAny(raw, "<$`!:; ["):
		// Nothing but words, dots, slashes and parentheses.
		if hasPrefix(name, jvmPrefixes...) || isJavaClass(name) {
			return JVM
		}
		if strings.HasSuffix(raw, "..ctor") || strings.HasSuffix(raw, "..cctor") {
			return DotNet
		}
		return ""
	case strings.HasPrefix(raw, "py::"):
		return Python
	case hasPrefix(raw, v8Kinds...) || strings.Contains(raw, "node_modules/") || strings.Contains(raw, " (node:") || strings.Contains(raw, " (file:///"),
		hasAny(raw, ".js:", ".mjs:", ".cjs:", ".ts:", ".tsx:") || strings.HasSuffix(raw, " (<anonymous>)"),
		strings.HasPrefix(text, "Object.<anonymous>") || strings.HasSuffix(raw, "]") && strings.Contains(raw, " [as "):
		return JS
	case hasAny(raw, ".<locals>", ".<listcomp>", ".<setcomp>", ".<dictcomp>", ".<genexpr>", ".<module>", ".<lambda>", ".py:", ".py)"):
		return Python
	case hasAny(raw, "<>c", ">b__", ">g__", ">d__", ".cctor", "..ctor", "::.ctor", "[System.__Canon", "`1", "`2", "`3", "`4", ".<Main>$") || isAssemblyQualified(text):
		return DotNet
	case hasAny(raw, "$$Lambda", ".lambda$", "$lambda$", ".<init>", ".<clinit>", "$$EnhancerBy", "$$SpringCGLIB", "$anonfun$", ";::", ".java:", ".kt:", ".scala:", "(Unknown Source)", "(Native Method)"),
		strings.HasSuffix(raw, "_[j]") || strings.HasSuffix(raw, "_[i]"),
		hasPrefix(name, jvmPrefixes...),
		isJavaClass(name):
		return JVM
	}
	return ""
}

// jvmPrefixes begin the names of the JVM's own classes, and of the loaders and modules that stack traces put before a class.
var jvmPrefixes = []string{"app//", "platform//", "java.base/", "java.base@", "java.", "javax.", "jakarta.", "jdk.", "sun.", "com.sun.", "kotlin.", "kotlinx.", "scala.", "java/", "javax/", "jdk/", "sun/"}

func hasAny(s string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

func hasPrefix(s string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// isAssemblyQualified reports whether s names an assembly before a type: [Assembly]Ns.Type::Method or Assembly!Ns.Type.Method.
func isAssemblyQualified(s string) bool {
	if before, name, ok := strings.Cut(s, "!"); ok && isAssembly(before) && name != "" && isAlphanumeric(name[0]) && strings.Contains(name, ".") {
		return true
	}
	at := strings.IndexByte(s, '[')
	end := strings.IndexByte(s, ']')
	if at < 0 || end < at || !isAssembly(s[at+1:end]) {
		return false
	}
	if at > 0 && s[at-1] != ' ' {
		return false // type arguments
	}
	return strings.Contains(s[end:], "::") || at == 0 && strings.Contains(s[end:], ".")
}

// topDomains begin the packages of the JVM. An import path of Go has its domain the other way round, and Python and .NET
// have none.
var topDomains = map[string]bool{"com": true, "org": true, "net": true, "io": true, "dev": true, "de": true, "fr": true, "uk": true, "edu": true, "gov": true, "me": true, "co": true, "ch": true, "app": true}

// isJavaClass reports whether s is a package that begins with a domain, a class and a method, with dots or with slashes:
// org/apache/logging/log4j/core/lookup/JndiLookup.lookup. A package of Go has no capital, and a path that is not of the
// standard library has a dot before its first slash.
func isJavaClass(s string) bool {
	first, _, slashed := strings.Cut(s, "/")
	if slashed {
		if base := path.Base(s); strings.Contains(first, ".") || !isUpper(base) || strings.Count(base, ".") != 1 {
			return false
		}
		s = strings.ReplaceAll(s, "/", ".")
	}
	segments := strings.Split(strings.Replace(s, "::", ".", 1), ".")
	last := len(segments) - 1
	if last < 2 || last > maxSegments || !slashed && (last < 3 || !topDomains[segments[0]]) {
		return false
	}
	for i, segment := range segments {
		if i < last && !isJVMName(segment) || i < last-1 && isUpper(segment) {
			return false
		}
	}
	return isUpper(segments[last-1]) && isJVMMethod(segments[last])
}
