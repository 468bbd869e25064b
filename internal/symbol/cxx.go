package symbol

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// isMangledCxx reports whether s is a name of the Itanium C++ ABI or of the older Rust scheme.
func isMangledCxx(s string) bool {
	return strings.HasPrefix(s, "_Z") || strings.HasPrefix(s, "___Z") || strings.HasPrefix(s, "__Z")
}

// maxLocal bounds how often the letter that opens a name local to a function may be in a mangled name: the demangler's
// work grows with the square of their nesting.
const maxLocal = 64

// mangled reads a mangled name without suffixes.
func (b *builder) mangled(name string) bool {
	if strings.HasPrefix(name, "__Z") {
		name = name[1:] // Mach-O
	}
	if isLegacyRust(name) {
		return b.rustMangled(name)
	}
	b.language = Cxx
	if strings.Count(name, "Z") > maxLocal {
		return false
	}
	ast, err := demangle.ToAST(name, demangle.NoParams)
	if err != nil {
		return false
	}
	segments, ok := b.cxxSegments(nil, ast, new(int))
	if !ok || len(segments) == 0 {
		return false
	}
	b.setCxx(segments)
	return isCxxPath(b.pkg, b.member)
}

// isLegacyRust reports whether a mangled name ends in the hash of the older Rust scheme.
func isLegacyRust(name string) bool {
	if !strings.HasPrefix(name, "_ZN") || len(name) < 24 || !strings.HasSuffix(name, "E") || name[len(name)-20:len(name)-17] != "17h" {
		return false
	}
	return isLowerHex(name[len(name)-17 : len(name)-1])
}

func isLowerHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

func (b *builder) setCxx(segments []string) {
	// An inline namespace is part of the library's ABI, not of the name.
	kept := segments[:0]
	for i, segment := range segments {
		if i == 1 && len(segments) > 2 && segments[0] == "std" && (segment == "__cxx11" || segment == "__1" || segment == "__ndk1") {
			continue
		}
		kept = append(kept, segment)
	}
	if strings.HasPrefix(kept[0], "$_") {
		// A lambda outside of functions: each file has one of this number.
		b.flag(FlagClosure)
		b.doubt = 0.8
	}
	last := len(kept) - 1
	b.pkg, b.member = strings.Join(kept[:last], "::"), kept[last]
}

// maxNodes bounds how much of a demangled name is walked: it is a graph that hostile names can make very wide.
const maxNodes = 512

// thunkPrefixes are the special names that are code of a function, by what the demangler says before them.
var thunkPrefixes = map[string]string{
	"non-virtual thunk to ":                FlagNonVirtualThunk,
	"virtual thunk to ":                    FlagVirtualThunk,
	"covariant return thunk to ":           FlagThunk,
	"transaction clone for ":               FlagTransactionClone,
	"non-transaction clone for ":           FlagTransactionClone,
	"invocation function for block in ":    FlagClosure,
	"TLS init function for ":               FlagInit,
	"TLS wrapper function for ":            FlagThunk,
	"initializer for module ":              FlagInit,
	"reference temporary initializer for ": FlagInit,
}

// cxxSegments appends the names on the way to the function, without parameters and template arguments. What is inside a
// lambda or a local type without a name belongs to the function around it.
func (b *builder) cxxSegments(to []string, node demangle.AST, nodes *int) ([]string, bool) {
	if *nodes++; *nodes > maxNodes {
		return nil, false
	}
	closures := len(b.flags)
	switch n := node.(type) {
	case *demangle.Name:
		if n.Name == "(anonymous namespace)" || strings.HasPrefix(n.Name, "_GLOBAL__N") {
			b.flag(FlagAnonymous)
			return to, true
		}
		for name := range strings.SplitSeq(n.Name, "::") {
			to = append(to, name)
		}
		return to, true
	case *demangle.Qualified:
		scoped, ok := b.cxxSegments(to, n.Scope, nodes)
		if !ok {
			return nil, false
		}
		if n.LocalName && b.flaggedSince(closures, FlagClosure) {
			return scoped, true
		}
		if isUnnamed(n.Name) {
			b.flag(FlagClosure)
			return scoped, len(scoped) > 0
		}
		if b.flaggedSince(closures, FlagClosure) {
			return scoped, true
		}
		return b.cxxSegments(scoped, n.Name, nodes)
	case *demangle.Template:
		return b.cxxSegments(to, n.Name, nodes)
	case *demangle.Typed:
		return b.cxxSegments(to, n.Name, nodes)
	case *demangle.MethodWithQualifiers:
		return b.cxxSegments(to, n.Method, nodes)
	case *demangle.TaggedName:
		b.flag(FlagABITag)
		return b.cxxSegments(to, n.Name, nodes)
	case *demangle.Clone:
		b.flag(FlagCompilerClone)
		return b.cxxSegments(to, n.Base, nodes)
	case *demangle.Constructor:
		return b.cxxSegments(to, n.Name, nodes)
	case *demangle.Destructor:
		name, ok := b.cxxSegments(nil, n.Name, nodes)
		if !ok || len(name) == 0 {
			return nil, false
		}
		return append(to, "~"+name[len(name)-1]), true
	case *demangle.Friend:
		return b.cxxSegments(to, n.Name, nodes)
	case *demangle.ModuleEntity:
		return b.cxxSegments(to, n.Name, nodes)
	case *demangle.EnableIf:
		return b.cxxSegments(to, n.Type, nodes)
	case *demangle.Constraint:
		return b.cxxSegments(to, n.Name, nodes)
	case *demangle.GlobalCDtor:
		b.flag(FlagInit)
		return b.cxxSegments(to, n.Key, nodes)
	case *demangle.Special:
		flag, code := thunkPrefixes[n.Prefix]
		if !code {
			return nil, false // vtables, type information: data
		}
		b.flag(flag)
		return b.cxxSegments(to, n.Val, nodes)
	case *demangle.Operator, *demangle.Unary:
		return append(to, print(n)), true
	case *demangle.Cast:
		return append(to, "operator "+b.conversion(n.To)), true
	}
	return nil, false
}

func (b *builder) flaggedSince(from int, flag string) bool {
	for _, f := range b.flags[from:] {
		if f == flag {
			return true
		}
	}
	return false
}

// isUnnamed reports whether a node is, or is inside, a lambda or a type without a name.
func isUnnamed(node demangle.AST) bool {
	for range 16 {
		switch n := node.(type) {
		case *demangle.Closure, *demangle.UnnamedType, *demangle.DefaultArg, *demangle.UnnamedEnum:
			return true
		case *demangle.Name:
			return strings.HasPrefix(n.Name, "$_") // a lambda of clang
		case *demangle.Qualified:
			node = n.Scope
		case *demangle.Template:
			node = n.Name
		case *demangle.TaggedName:
			node = n.Name
		case *demangle.Typed:
			node = n.Name
		case *demangle.MethodWithQualifiers:
			node = n.Method
		default:
			return false
		}
	}
	return true
}

// print is the demangler's text of a small node.
func print(node demangle.AST) string {
	return demangle.ASTToString(node, demangle.NoParams, demangle.NoTemplateParams, demangle.NoEnclosingParams, demangle.MaxLength(9))
}

// conversion is the type that a conversion operator converts to.
func (b *builder) conversion(to demangle.AST) string {
	return inlineNamespaces.Replace(strings.TrimSuffix(print(to), " const"))
}

// inlineNamespaces leaves inline namespaces of the standard library out of a type.
var inlineNamespaces = strings.NewReplacer("std::__cxx11::", "std::", "std::__1::", "std::", "std::__ndk1::", "std::", "decltype(nullptr)", "std::nullptr_t")

// cxxText reads a C++ name that was demangled by someone else, with what debuggers write around it:
// std::ostream& ns::A<int>::f[abi:x](int)::L::g() const. What is inside a lambda belongs to the function around it.
func (b *builder) cxxText(text string) bool {
	if isIdentifier(text) {
		b.member = text
		return true
	}
	for prefix, flag := range thunkPrefixes {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			text = rest
			b.flag(flag)
			break
		}
	}
	var segments []string
	flags := b.flags
	inResult, hasType, called := false, false, false
	for text != "" {
		if rest, ok := cutAnonymous(text); ok {
			b.flag(FlagAnonymous)
			text = rest
			continue
		}
		if hasPrefix(text, "{lambda(", "'lambda", "{unnamed type#", "'unnamed'", "{default arg#", "$_") && len(segments) > 0 {
			b.flag(FlagClosure)
			break
		}
		name, rest, ok := cutCxxName(text)
		if !ok {
			return false
		}
		rest = b.cutTags(rest)
		if strings.HasPrefix(rest, "<") {
			if rest, ok = skipBracket(rest); !ok {
				return false
			}
			rest = b.cutTags(rest)
		}
		if isDecltype := name == "decltype"; strings.HasPrefix(rest, "(") || isDecltype && strings.HasPrefix(rest, " (") {
			if rest, ok = skipBracket(strings.TrimPrefix(rest, " ")); !ok {
				return false
			}
			if !isDecltype {
				called = true
				rest = cutQualifiers(b.cutTags(rest))
			}
		}
		switch {
		case rest == "":
			text = ""
		case strings.HasPrefix(rest, "::") && len(rest) > 2:
			text = rest[2:]
		case !called && strings.IndexByte(" *&", rest[0]) >= 0:
			// A word of the result's type, of which there is one beside the language's own.
			if len(segments) > 0 || !cxxTypeWords[name] {
				if hasType {
					return false
				}
				hasType = true
			}
			inResult = true
			segments, b.flags = segments[:0], flags
			text = strings.TrimLeft(rest, " *&")
			continue
		default:
			return false
		}
		segments = append(segments, name)
	}
	if len(segments) == 0 || len(segments) > maxNodes || inResult && !called {
		return false
	}
	b.setCxx(segments)
	return isCxxPath(b.pkg, b.member)
}

// cxxTypeWords are the language's own words in types.
var cxxTypeWords = func() map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq("auto bool char char8_t char16_t char32_t class const decltype double enum float int long short " +
		"signed static struct typename union unsigned virtual void volatile wchar_t __int128") {
		set[word] = true
	}
	return set
}()

// cutAnonymous cuts a namespace without a name, as the demanglers write it, and the :: behind it.
func cutAnonymous(text string) (rest string, ok bool) {
	for _, name := range []string{"(anonymous namespace)::", "{anonymous}::", "<unnamed>::", "`anonymous namespace'::", "`anonymous-namespace'::"} {
		if rest, ok = strings.CutPrefix(text, name); ok {
			return rest, true
		}
	}
	return "", false
}

// cutCxxName cuts an identifier or operator from the beginning of a path.
func cutCxxName(text string) (name, rest string, ok bool) {
	if operator, is := strings.CutPrefix(text, "operator"); is && (operator == "" || !isIdentifierByte(operator[0])) {
		return cutOperator(operator)
	}
	end := 0
	for end < len(text) && (isIdentifierByte(text[end]) || end == 0 && text[0] == '~') {
		end++
	}
	return text[:end], text[end:], end > 0
}

// isIdentifierByte reports whether c is in identifiers, those of other letters and with the $ of compilers included.
func isIdentifierByte(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '$' || c >= 0x80 }

// cutOperator cuts what is behind the word operator: a symbol, new or delete, a literal suffix, or a type.
func cutOperator(text string) (name, rest string, ok bool) {
	for size := min(3, len(text)); size > 0; size-- {
		if operators[text[:size]] {
			// Template arguments have a space before them, to tell them from the operator.
			rest = text[size:]
			if strings.HasPrefix(rest, " <") {
				rest = rest[1:]
			}
			return "operator" + text[:size], rest, true
		}
	}
	if suffix, literal := strings.CutPrefix(strings.TrimPrefix(text, " "), `""`); literal {
		suffix = strings.TrimPrefix(suffix, " ")
		end := 0
		for end < len(suffix) && isIdentifierByte(suffix[end]) {
			end++
		}
		return `operator"" ` + suffix[:end], suffix[end:], end > 0
	}
	if text == "" || text[0] != ' ' {
		return "operator", text, true
	}
	end := strings.IndexByte(text, '(')
	if angle := strings.IndexByte(text, '<'); angle >= 0 && angle < end {
		behind, ok := skipBracket(text[angle:])
		if !ok {
			return "", "", false
		}
		at := strings.IndexByte(behind, '(')
		if at < 0 {
			return "", "", false
		}
		end = len(text) - len(behind) + at
	}
	if end < 0 {
		end = len(text)
	}
	to, _, ok := cutBracketed(text[1:end], '<', '>')
	return "operator " + inlineNamespaces.Replace(strings.TrimSpace(to)), text[end:], ok
}

// cutTags cuts ABI tags: [abi:cxx11].
func (b *builder) cutTags(text string) string {
	for strings.HasPrefix(text, "[abi:") {
		tag, rest, ok := strings.Cut(text[len("[abi:"):], "]")
		if !ok || !isIdentifier(tag) {
			break
		}
		text = rest
		b.flag(FlagABITag)
	}
	return text
}

// cutQualifiers cuts what may stand behind the parameters.
func cutQualifiers(text string) string {
	for cut := true; cut; {
		cut = false
		for _, qualifier := range []string{" const", " volatile", " &&", " &", " noexcept"} {
			if rest, ok := strings.CutPrefix(text, qualifier); ok {
				text, cut = rest, true
			}
		}
	}
	return text
}

// skipBracket is what stands behind the bracket that text begins with. Within others a < or > need not be one.
func skipBracket(text string) (rest string, ok bool) {
	var open []byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '<', '(', '[', '{':
			open = append(open, c)
		case '>':
			if text[i-1] != '-' && open[len(open)-1] == '<' {
				open = open[:len(open)-1]
			}
		case ')', ']', '}':
			for len(open) > 0 && open[len(open)-1] == '<' {
				open = open[:len(open)-1]
			}
			if len(open) == 0 || (open[len(open)-1] == '(') != (c == ')') {
				return "", false
			}
			open = open[:len(open)-1]
		case 'o':
			// The symbol of an operator is no bracket.
			if i > 0 && !isIdentifierByte(text[i-1]) && strings.HasPrefix(text[i:], "operator") {
				for i += len("operator"); i < len(text) && strings.IndexByte("<>=-", text[i]) >= 0; i++ {
				}
				i--
			}
		}
		if len(open) == 0 {
			return text[i+1:], true
		}
		if len(open) > 64 {
			break
		}
	}
	return "", false
}

// isCxxPath reports whether pkg and member are the parts of a canonical C++ name.
func isCxxPath(pkg, member string) bool {
	if pkg != "" {
		for segment := range strings.SplitSeq(pkg, "::") {
			if !isCxxIdentifier(segment) {
				return false
			}
		}
	}
	if operator, ok := strings.CutPrefix(member, "operator"); ok && operator != "" && !isCxxIdentifier(member) {
		return isOperator(operator)
	}
	return isCxxIdentifier(strings.TrimPrefix(member, "~"))
}

// operators are the symbols that C++ lets a class define.
var operators = func() map[string]bool {
	set := map[string]bool{}
	for operator := range strings.FieldsSeq("+ - * / % ^ & | ~ ! = < > += -= *= /= %= ^= &= |= << >> >>= <<= == != <= >= <=> && || ++ -- , ->* -> () []") {
		set[operator] = true
	}
	return set
}()

// isOperator reports whether s follows operator: a symbol, new, delete, a literal suffix, or a type to convert to.
func isOperator(s string) bool {
	if operators[strings.TrimSpace(s)] {
		return s[0] != ' '
	}
	name, ok := strings.CutPrefix(s, " ")
	if !ok {
		suffix, literal := strings.CutPrefix(s, `""`)
		return literal && isCxxIdentifier(strings.TrimPrefix(suffix, " "))
	}
	if name == "new" || name == "delete" || name == "new[]" || name == "delete[]" || name == "co_await" {
		return true
	}
	if suffix, literal := strings.CutPrefix(name, `""`); literal {
		return isCxxIdentifier(strings.TrimPrefix(suffix, " "))
	}
	return isTypeName(name)
}

// isTypeName reports whether s is a type without template arguments: words and ::, then pointers and references.
func isTypeName(s string) bool {
	s = strings.TrimRight(s, "*& ")
	named := false
	for word := range strings.SplitSeq(s, " ") {
		if cxxTypeWords[word] {
			continue
		}
		if named {
			return false
		}
		named = true
		for part := range strings.SplitSeq(word, "::") {
			if !isCxxIdentifier(part) {
				return false
			}
		}
	}
	return true
}

func isCxxIdentifier(s string) bool {
	return isGoIdentifier(s) && !strings.Contains(s, "·") || isIdentifier(s)
}
