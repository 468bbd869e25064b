package symbol

import (
	"strings"
)

// dotnet reads a method as perf maps, event traces, IL and stack traces write it: [Assembly]Ns.Type+Nested::Method(args),
// Assembly!Ns.Type.Method, instance void [Assembly] Ns.Type::Method(args)[Tier0], at Ns.Type.Method(T x) in file:line 1.
// Assembly, result, arguments and tier are cut, and type arguments and their number.
func (b *builder) dotnet(raw string) bool {
	text := strings.TrimPrefix(raw, "at ")
	if name, offset, ok := strings.Cut(text, "+0x"); ok && isOffset(offset) {
		text = name
	}
	at, colons, ok := scanDotNet(text)
	if !ok {
		return false
	}
	if colons < 0 || colons > at {
		// Without :: there is no result, but there may be an assembly.
		if assembly, rest, is := strings.Cut(text[:at], "!"); is {
			if !isAssembly(assembly) {
				return false
			}
			text, at = rest, at-len(assembly)-1
		} else if text[0] == '[' {
			end := strings.IndexByte(text, ']')
			if end < 0 || end >= at || !isAssembly(text[1:end]) {
				return false
			}
			text, at = text[end+1:], at-end-1
		}
		text, generic, ok := cutTypeArguments(text[:at])
		if !ok {
			return false
		}
		b.generic(generic)
		parts := splitOutside(text, '.')
		last := len(parts) - 1
		method := parts[last]
		if last > 1 && parts[last-1] == "" { // .ctor, .cctor
			last, method = last-1, "."+method
		}
		return last > 0 && b.dotnetPath(strings.Join(parts[:last], "."), method)
	}
	owner, result := lastToken(text[:colons])
	if result != "" && !isILResult(result) {
		return false
	}
	if assembly, rest, is := strings.Cut(owner, "!"); is {
		if !isAssembly(assembly) {
			return false
		}
		owner = rest
	}
	owner, generic, ok := cutTypeArguments(owner)
	if !ok {
		return false
	}
	b.generic(generic)
	method, generic, ok := cutTypeArguments(text[colons+2 : at])
	if !ok {
		return false
	}
	b.generic(generic)
	return b.dotnetPath(owner, method)
}

func (b *builder) generic(is bool) {
	if is {
		b.flag(FlagGeneric)
	}
}

// scanDotNet finds where the arguments begin, and the :: before them, outside all brackets.
func scanDotNet(text string) (arguments, colons int, ok bool) {
	depth, colons := 0, -1
	for i := range len(text) {
		switch text[i] {
		case '<', '[':
			depth++
		case '>', ']':
			depth--
		case '(':
			if depth == 0 {
				return i, colons, true
			}
		case ':':
			if depth == 0 && colons < 0 && i > 0 && i+2 < len(text) && text[i+1] == ':' {
				colons = i
			}
		}
		if depth < 0 || depth > maxSegments {
			return 0, 0, false
		}
	}
	return len(text), colons, depth == 0 && text != ""
}

// lastToken splits what stands before :: into the type with its assembly, and the result before it.
func lastToken(text string) (token, before string) {
	depth := 0
	for i := len(text) - 1; i >= 0; i-- {
		switch text[i] {
		case '>', ']':
			depth++
		case '<', '[':
			depth--
		case ' ':
			if depth == 0 {
				return text[i+1:], strings.TrimSpace(text[:i])
			}
		}
	}
	return text, ""
}

// isILResult reports whether s is what IL writes before a type: words, types with assemblies and type arguments.
func isILResult(s string) bool {
	s, _, ok := cutBracketed(s, '[', ']')
	if !ok {
		return false
	}
	if s, _, ok = cutBracketed(s, '<', '>'); !ok {
		return false
	}
	words := strings.Fields(s)
	for i, word := range words {
		if word = strings.TrimRight(word, "&*"); !ilWords[word] && i < len(words)-1 {
			return false
		}
		word = strings.TrimLeft(word, "!")
		if word != "" && !isNumber(word) && !isDotNetType(cutArities(word)) {
			return false
		}
	}
	return true
}

// ilWords are the words of IL before the type of a method.
var ilWords = func() map[string]bool {
	set := map[string]bool{"": true}
	for word := range strings.FieldsSeq("instance explicit class valuetype static public private internal protected virtual void " +
		"unsigned native int int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 bool char string object typedref") {
		set[word] = true
	}
	return set
}()

// isAssembly reports whether s is the simple name of an assembly.
func isAssembly(s string) bool {
	for segment := range strings.SplitSeq(s, ".") {
		if segment == "" || !isWord("_"+strings.ReplaceAll(segment, "-", "_")) {
			return false
		}
	}
	return true
}

// cutTypeArguments cuts an assembly in brackets, type arguments in either kind of brackets, and their number. Names that
// the compiler made begin with <, and stay.
func cutTypeArguments(text string) (rest string, generic, ok bool) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "", false, false
	}
	if text[0] == '[' {
		assembly, name, is := strings.Cut(text[1:], "]")
		if !is || !isAssembly(assembly) {
			return "", false, false
		}
		text = strings.TrimSpace(name)
	}
	text, generic, ok = cutBracketed(text, '[', ']')
	if !ok || text == "" {
		return "", false, false
	}
	if bare := cutArities(text); bare != text {
		text, generic = bare, true
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '<' || i == 0 || !isAlphanumeric(text[i-1]) && text[i-1] != '_' {
			if text[i] == '<' {
				// A name that the compiler made: as it is up to its >.
				end := closing(text, i)
				if end < 0 {
					return "", false, false
				}
				out.WriteString(text[i : end+1])
				i = end
				continue
			}
			out.WriteByte(text[i])
			continue
		}
		end := closing(text, i)
		if end < 0 {
			return "", false, false
		}
		i, generic = end, true
	}
	return out.String(), generic, true
}

// closing is where the < at from is closed; negative if it is not.
func closing(text string, from int) int {
	depth := 0
	for i := from; i < len(text); i++ {
		switch text[i] {
		case '<':
			depth++
		case '>':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// cutArities cuts the numbers of type parameters: `1.
func cutArities(text string) string {
	if strings.IndexByte(text, '`') < 0 {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '`' {
			out.WriteByte(text[i])
			continue
		}
		for i+1 < len(text) && (text[i+1] == '`' || text[i+1] >= '0' && text[i+1] <= '9') {
			i++
		}
	}
	return out.String()
}

// dotnetPath reads a type, Ns.Type+Nested, and a method, both without assembly and arguments. Nested types may be behind a
// slash too.
func (b *builder) dotnetPath(owner, method string) bool {
	nested := splitOutside(strings.ReplaceAll(owner, "/", "+"), '+')
	outer := splitOutside(nested[0], '.')
	nested = nested[1:]
	// A stack trace has a dot before a nested type. Only what the compiler made can be told from a namespace.
	for i, segment := range outer {
		if i > 0 && segment != "" && segment[0] == '<' && !strings.Contains(segment, ">F") {
			outer, nested = outer[:i], append(outer[i:], nested...)
			break
		}
	}
	last := len(outer) - 1
	types := strings.Join(append([]string{outer[last]}, nested...), "+")
	return b.parts(strings.Join(outer[:last], "."), types+"."+method)
}

// splitOutside splits s at a separator outside of < and >.
func splitOutside(s string, separator byte) []string {
	var parts []string
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '<':
			depth++
		case '>':
			depth--
		case separator:
			if depth == 0 {
				parts, from = append(parts, s[from:i]), i+1
			}
		}
	}
	return append(parts, s[from:])
}

// dotnetParts folds what compilers make of a method.
func (b *builder) dotnetParts() bool {
	if b.pkg != "" && !isDotted(b.pkg) {
		return false
	}
	parts := splitOutside(b.member, '.')
	if len(parts) < 2 || strings.Count(parts[0], "+") >= maxSegments {
		return false
	}
	class, method := parts[0], strings.Join(parts[1:], ".")
	kept := make([]string, 0, 8)
	for i, segment := range splitOutside(class, '+') {
		name := segment
		switch {
		case isWord(strings.ReplaceAll(segment, "$", "_")):
			if rest, ok := strings.CutPrefix(segment, "VB$StateMachine_"); ok {
				if _, name, ok := strings.Cut(rest, "_"); ok && i > 0 {
					b.flag(FlagAsync)
					method = name
					continue
				}
			}
			if strings.HasPrefix(segment, "_Closure$__") && i > 0 {
				b.flag(FlagLambda)
				continue
			}
		case strings.Contains(segment, "@"):
			// F#: the class of a function literal, by the function around it and a line.
			function, line, _ := strings.Cut(segment, "@")
			line, number, _ := strings.Cut(line, "-")
			if !isWord(function) || !isNumber(line) || number != "" && !isNumber(number) || i == 0 {
				return false
			}
			b.flag(FlagLambda)
			method = function
			continue
		case segment == "<>c" || strings.HasPrefix(segment, "<>c__"):
			if i == 0 || !isWord(segment[2:]) {
				return false
			}
			b.flag(FlagLambda)
			continue
		default:
			inner, kind, ok := compilerMade(segment)
			switch {
			case !ok:
				return false
			case strings.HasPrefix(kind, "d") && i > 0:
				b.flag(FlagAsync)
				method = inner
				continue
			case strings.HasPrefix(kind, "F") && strings.Contains(kind, "__"):
				// A type of one file, with a hash of its path.
				_, name, _ = strings.Cut(kind, "__")
			default:
				return false
			}
		}
		kept = append(kept, name)
	}
	if len(kept) == 0 {
		return false
	}
	for range 4 {
		inner, kind, ok := compilerMade(method)
		if !ok {
			break
		}
		switch {
		case strings.HasPrefix(kind, "b__"):
			b.flag(FlagLambda)
		case strings.HasPrefix(kind, "g__"):
			b.flag(FlagLocalFunction)
		case strings.HasPrefix(kind, "d__"):
			b.flag(FlagAsync)
		case kind == "$": // Main of a program without one, Clone of a record
		default:
			return false
		}
		method = inner
	}
	if method == ".cctor" {
		b.flag(FlagInit)
	}
	// A method whose name has dots implements that of an interface.
	if explicit, name := cutLast(method, "."); explicit != "" {
		if !isDotNetType(explicit) {
			return false
		}
		b.aliases = append(b.aliases, method)
		method = name
	}
	b.member = strings.Join(kept, "+") + "." + method
	return isDotNetMember(b.member)
}

// compilerMade splits <inner>kind, as C# names what it makes of inner.
func compilerMade(name string) (inner, kind string, ok bool) {
	if name == "" || name[0] != '<' {
		return "", "", false
	}
	end := closing(name, 0)
	if end < 0 {
		return "", "", false
	}
	return name[1:end], name[end+1:], end > 1
}

// isDotNetType reports whether s is a type without type arguments: Ns.Type+Nested.
func isDotNetType(s string) bool { return isJVMPackage(strings.ReplaceAll(s, "+", ".")) }

// isDotNetMember reports whether s is a canonical Type+Nested.Method.
func isDotNetMember(s string) bool {
	class, method, ok := strings.Cut(s, ".")
	return ok && isDotNetType(class) && (method == ".ctor" || method == ".cctor" || isJVMName(method))
}
