package symbol

import (
	"net/url"
	"strings"
)

const jsAnonymous = "<anonymous>"

// v8Kinds are what V8 writes before the name of a function in a perf map; behind it is how far it is optimized.
var v8Kinds = []string{"JS:", "LazyCompile:", "Function:", "Script:", "Eval:"}

// javascript reads a function as V8 writes it: JS:*name file:1:2 in perf maps, and in stack traces
// at async new Type.name [as alias] (file:1:2). Of the file only the npm package is kept, or the name of the module of Node.
func (b *builder) javascript(raw string) bool {
	if pkg, member, ok := strings.Cut(raw, "#"); ok && isJSPackage(pkg) {
		return b.parts(pkg, member)
	}
	name, file := strings.TrimSpace(strings.TrimPrefix(raw, "at ")), ""
	for _, kind := range v8Kinds {
		if rest, ok := strings.CutPrefix(name, kind); ok {
			rest = strings.TrimLeft(rest, "*~^+'")
			name, file = splitV8(rest)
			return b.jsName(name, file)
		}
	}
	if function, location, ok := strings.Cut(name, "@"); ok && hasPosition(location) && isLocation(location) && !strings.ContainsAny(function, "/ (") {
		return b.jsName(function, location) // as Firefox and Safari write it
	}
	if before, location, ok := strings.Cut(name, " ("); ok {
		if !strings.HasSuffix(location, ")") {
			return false
		}
		name, file = before, location[:len(location)-1]
	} else if at := strings.LastIndexByte(name, ' '); isLocation(name[at+1:]) && hasPosition(name) {
		// at /app/x.js:1:2: code without a name.
		file, name = name[at+1:], strings.TrimSpace(name[:at+1])
		if name != "" && name != "async" {
			return false
		}
		name = ""
	}
	return b.jsName(name, file)
}

// splitV8 splits the name from the file behind it. The name may be missing, and may have a word before it.
func splitV8(text string) (name, file string) {
	for _, word := range []string{"get ", "set ", "static ", "async "} {
		// A function may be called get itself.
		if rest, ok := strings.CutPrefix(text, word); ok && !isLocation(rest) {
			return splitV8(rest)
		}
	}
	name, file, ok := strings.Cut(text, " ")
	if !ok && isLocation(name) {
		return "", name
	}
	return name, file
}

// isLocation reports whether s begins with a file, and not with a name.
func isLocation(s string) bool {
	s, _, _ = strings.Cut(s, " ")
	if strings.HasPrefix(s, "node:") {
		return true
	}
	s, number, ok := strings.Cut(s, ".")
	return strings.ContainsAny(s, `/\`) || ok && strings.Contains(number, ":")
}

// hasPosition reports whether s ends with a line and a column.
func hasPosition(s string) bool {
	s, column := cutLast(s, ":")
	file, line := cutLast(s, ":")
	return isNumber(column) && isNumber(line) && file != ""
}

// jsName reads the name of a function with the words that stack traces put around it.
func (b *builder) jsName(name, file string) bool {
	b.pkg = jsPackage(file)
	alias := ""
	if before, rest, ok := strings.Cut(name, " [as "); ok {
		if !strings.HasSuffix(rest, "]") {
			return false
		}
		name, alias = before, rest[:len(rest)-1]
	}
	for range 3 {
		for _, word := range []string{"async ", "new ", "get ", "set ", "static ", "bound "} {
			name = strings.TrimPrefix(name, word)
		}
	}
	if name == "" && file != "" {
		name = jsAnonymous
	}
	for _, word := range []string{".get ", ".set ", ".static ", ".async "} {
		name = strings.Replace(name, word, ".", 1) // Type.get name [as name]
	}
	if before, symbol, ok := strings.Cut(name, "[Symbol."); ok {
		name = before + "Symbol." + strings.TrimSuffix(symbol, "]")
	}
	if !b.parts(b.pkg, name) {
		return false
	}
	if strings.Contains(file, ".min.") && len(b.member) <= 3 {
		b.flag(FlagMinified)
		b.doubt = doubtName
	}
	alias = strings.TrimPrefix(alias, "get ")
	if _, last := cutLast(b.member, "."); last != alias && isJSMember(alias) {
		b.aliases = append(b.aliases, Join(JS, b.pkg, alias))
	}
	return true
}

// receivers are the objects that V8 names where a function has no class.
var receivers = []string{"Object.", "Function.", "module.exports.", "exports.", "global.", "globalThis."}

// javascriptParts cuts the receiver that says nothing.
func (b *builder) javascriptParts() bool {
	if b.pkg != "" && !isJSPackage(b.pkg) {
		return false
	}
	for _, receiver := range receivers {
		if rest, ok := strings.CutPrefix(b.member, receiver); ok {
			b.member = rest
		}
	}
	// What is inside of a function without a name has no name of its own either, but V8 gives it one.
	if _, last := cutLast(b.member, "."); len(last) > 2 && last[0] == '<' && last[len(last)-1] == '>' && isWord(last[1:len(last)-1]) {
		b.member = jsAnonymous // <computed> too
	}
	return isJSMember(b.member)
}

// doubtName is the doubt about a function whose name says nothing.
const doubtName = 0.8

// javascriptDoubt flags names that say nothing: no source function can be told by them.
func (b *builder) javascriptDoubt() {
	if b.member == jsAnonymous {
		b.flag(FlagAnonymous)
		b.doubt = doubtName
		return
	}
	for segment := range strings.SplitSeq(b.member, ".") {
		if len(segment) > 2 && !isObfuscated(segment) {
			return
		}
	}
	b.flag(FlagMinified)
	b.doubt = doubtName
}

// isObfuscated reports whether s is _0x and hex.
func isObfuscated(s string) bool {
	hex, ok := strings.CutPrefix(s, "_0x")
	return ok && strings.Trim(hex, "0123456789abcdefABCDEF") == ""
}

// jsPackage is the npm package that a file is in, or the module of Node that it is; empty if it is neither.
func jsPackage(file string) string {
	file = strings.ReplaceAll(file, `\`, "/")
	if module, ok := strings.CutPrefix(file, "node:"); ok {
		module, _, _ = strings.Cut(module, ":")
		if isJSPackage("node:" + module) {
			return "node:" + module
		}
		return ""
	}
	const packages = "node_modules/"
	at := strings.LastIndex(file, packages)
	if at < 0 || at > 0 && file[at-1] != '/' {
		return ""
	}
	path := file[at+len(packages):]
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	name, rest, ok := strings.Cut(path, "/")
	if strings.HasPrefix(name, "@") {
		scoped, _, nested := strings.Cut(rest, "/")
		name, ok = name+"/"+scoped, ok && nested
	}
	if !ok || !isJSPackage(name) {
		return ""
	}
	return name
}

// isJSPackage reports whether s is the name of an npm package, at most 214 bytes, or of a module of Node: node:fs/promises.
func isJSPackage(s string) bool {
	if s == "" || len(s) > 214 {
		return false
	}
	if module, ok := strings.CutPrefix(s, "node:"); ok {
		for segment := range strings.SplitSeq(module, "/") {
			if !isNPMName(segment) {
				return false
			}
		}
		return true
	}
	if scoped, ok := strings.CutPrefix(s, "@"); ok {
		scope, name, both := strings.Cut(scoped, "/")
		return both && isNPMName(scope) && isNPMName(name)
	}
	return isNPMName(s)
}

func isNPMName(s string) bool {
	if s == "" || s[0] == '.' || s == "_" || s[0] == '-' && len(s) > 1 || isIP(s) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' && c != '~' {
			return false
		}
	}
	return true
}

// isJSMember reports whether s is names with dots between them; # begins a private one.
func isJSMember(s string) bool {
	if s == jsAnonymous {
		return true
	}
	if strings.Count(s, ".") >= maxSegments {
		return false
	}
	for segment := range strings.SplitSeq(s, ".") {
		if !isWord(strings.ReplaceAll(strings.TrimPrefix(segment, "#"), "$", "_")) {
			return false
		}
	}
	return true
}
