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
	for _, c := range []byte(name[len(name)-17 : len(name)-1]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
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
	text := strings.TrimSuffix(print(to), " const")
	for _, inline := range []string{"__cxx11::", "__1::", "__ndk1::"} {
		text = strings.ReplaceAll(text, "std::"+inline, "std::")
	}
	return text
}

// cxxText reads a C++ name that was demangled by someone else: a::b::c, with template arguments and parameters.
func (b *builder) cxxText(text string) bool {
	if isIdentifier(text) {
		b.member = text
		return true
	}
	text = strings.ReplaceAll(strings.TrimSuffix(text, " const"), "(anonymous namespace)", "{anonymous}")
	var segments []string
	for text != "" {
		if strings.HasPrefix(text, "operator") && (len(text) == 8 || !isAlphanumeric(text[8]) && text[8] != '_') {
			// Behind the operator there are only parameters.
			if at := strings.LastIndexByte(text, '('); at > len("operator") {
				text = text[:at]
			}
			segments = append(segments, strings.TrimSpace(text))
			break
		}
		part, rest, ok := nextSegment(text)
		if !ok {
			return false
		}
		text = rest
		if part == "{anonymous}" {
			b.flag(FlagAnonymous)
			continue
		}
		if strings.HasPrefix(part, "{lambda") {
			b.flag(FlagClosure)
			break
		}
		if at := strings.IndexByte(part, '('); at > 0 && rest == "" && part[len(part)-1] == ')' {
			part = part[:at]
		}
		if at := strings.IndexByte(part, '<'); at > 0 && part[len(part)-1] == '>' {
			part = part[:at]
		}
		segments = append(segments, part)
	}
	if len(segments) == 0 || len(segments) > maxNodes {
		return false
	}
	b.setCxx(segments)
	return isCxxPath(b.pkg, b.member)
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
	words := strings.Split(s, " ")
	if len(words) > 4 {
		return false
	}
	for _, word := range words {
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
