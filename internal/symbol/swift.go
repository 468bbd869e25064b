package symbol

import (
	"regexp"
	"strings"
)

// swiftPrefixes begin a mangled name of Swift: of its stable ABI, of Swift 4.2 and of embedded Swift.
var swiftPrefixes = []string{"$s", "_$s", "$S", "_$S", "$e", "_$e"}

// isMangledSwift reports whether s begins as a mangled name of Swift does: a prefix, and the module or type that it belongs to.
func isMangledSwift(s string) bool {
	for _, prefix := range swiftPrefixes {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return len(rest) > 2 && (rest[0] >= '0' && rest[0] <= '9' || rest[0] == 's' || rest[0] == 'S')
		}
	}
	return false
}

// swift reads a function of Swift, mangled or demangled: Module.Type.method(label: Type) -> Type.
func (b *builder) swift(raw string) bool {
	if isMangledSwift(raw) {
		return b.swiftMangled(raw)
	}
	return b.swiftText(raw)
}

// swiftStandard are the types of the standard library that have a letter of their own.
var swiftStandard = map[byte]string{
	'A': "AutoreleasingUnsafeMutablePointer", 'a': "Array", 'b': "Bool", 'D': "Dictionary", 'd': "Double", 'f': "Float",
	'h': "Set", 'I': "DefaultIndices", 'i': "Int", 'J': "Character", 'N': "ClosedRange", 'n': "Range", 'O': "ObjectIdentifier",
	'P': "UnsafePointer", 'p': "UnsafeMutablePointer", 'q': "Optional", 'R': "UnsafeBufferPointer", 'r': "UnsafeMutableBufferPointer",
	'S': "String", 's': "Substring", 'u': "UInt", 'V': "UnsafeRawPointer", 'v': "UnsafeMutableRawPointer", 'W': "UnsafeRawBufferPointer",
	'w': "UnsafeMutableRawBufferPointer", 'B': "BinaryFloatingPoint", 'E': "Encodable", 'e': "Decodable", 'F': "FloatingPoint",
	'G': "RandomNumberGenerator", 'H': "Hashable", 'j': "Numeric", 'K': "BidirectionalCollection", 'k': "RandomAccessCollection",
	'L': "Comparable", 'l': "Collection", 'M': "MutableCollection", 'm': "RangeReplaceableCollection", 'Q': "Equatable",
	'T': "Sequence", 't': "IteratorProtocol", 'U': "UnsignedInteger", 'X': "RangeExpression", 'x': "Strideable", 'Y': "RawRepresentable",
	'y': "StringProtocol", 'Z': "SignedInteger", 'z': "BinaryInteger",
}

// swiftMangled reads what a name begins with: module and types, then a function, initializer or accessor. Its type is
// skipped; what comes behind says which part or copy of the function it is
// (https://github.com/swiftlang/swift/blob/main/docs/ABI/Mangling.rst). What has another shape is refused.
func (b *builder) swiftMangled(raw string) bool {
	for _, prefix := range swiftPrefixes {
		if rest, ok := strings.CutPrefix(raw, prefix); ok {
			raw = rest
			break
		}
	}
	if name, suffix, ok := strings.Cut(raw, "."); ok {
		raw = name
		b.flag(FlagCompilerClone)
		if strings.HasPrefix(suffix, "cold") {
			b.flag(FlagCold)
		}
	}
	p := swiftParser{text: raw}
	if !p.context() {
		return false
	}
	name, ok := p.entity()
	if !ok || !p.suffixes(b) {
		return false
	}
	if p.witness {
		b.flag(FlagThunk)
	}
	b.generic(p.generic)
	return b.parts(p.path[0], strings.Join(append(p.path[1:], name), "."))
}

type swiftParser struct {
	text  string
	at    int
	words []string // of the identifiers so far, for those that repeat them
	path  []string // module and types

	witness, generic bool
}

func (p *swiftParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *swiftParser) isDigit() bool { return p.peek() >= '0' && p.peek() <= '9' }

func (p *swiftParser) number() int {
	n := 0
	for ; p.isDigit(); p.at++ {
		if n = n*10 + int(p.peek()-'0'); n > MaxRaw {
			return 0
		}
	}
	return n
}

// index skips a number and _, of which the number may be missing.
func (p *swiftParser) index() bool {
	p.number()
	p.at++
	return p.at <= len(p.text) && p.text[p.at-1] == '_'
}

// identifier reads a name: a length and letters, or with a 0 before it, words of names before it among letters.
func (p *swiftParser) identifier() (string, bool) {
	repeats := p.peek() == '0'
	if repeats {
		if p.at++; p.peek() == '0' {
			return "", false // Punycode
		}
	}
	var name strings.Builder
	for first := true; first || repeats; first = false {
		for repeats && isASCIILetter(p.peek()) {
			c := p.peek()
			p.at++
			word := int(c) - 'a'
			if c <= 'Z' {
				word, repeats = int(c)-'A', false
			}
			if word < 0 || word >= len(p.words) {
				return "", false
			}
			name.WriteString(p.words[word])
		}
		if p.peek() == '0' {
			p.at++
			break
		}
		if !repeats && !first && !p.isDigit() || !repeats && name.Len() > 0 && !p.isDigit() {
			break
		}
		n := p.number()
		if n == 0 || n > len(p.text)-p.at || name.Len() > 256 {
			return "", false
		}
		part := p.text[p.at : p.at+n]
		p.at += n
		p.addWords(part)
		name.WriteString(part)
	}
	return name.String(), name.Len() > 0
}

func isASCIILetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isASCIIUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

// addWords remembers the words of a name, of two letters or more: a capital or _ begins the next.
func (p *swiftParser) addWords(s string) {
	start := -1
	for i := 0; i <= len(s); i++ {
		c := byte(0)
		if i < len(s) {
			c = s[i]
		}
		if start >= 0 && (c == '_' || c == 0 || !isASCIIUpper(s[i-1]) && isASCIIUpper(c)) {
			if i-start >= 2 && len(p.words) < 26 {
				p.words = append(p.words, s[start:i])
			}
			start = -1
		}
		if start < 0 && c != '_' && c != 0 && (c < '0' || c > '9') {
			start = i
		}
	}
}

// name reads an identifier, and what makes it private or local.
func (p *swiftParser) name() (string, bool) {
	name, ok := p.identifier()
	if !ok {
		return "", false
	}
	from, words := p.at, len(p.words)
	if p.isDigit() {
		if _, ok := p.identifier(); ok && strings.HasPrefix(p.text[p.at:], "LL") {
			p.at += 2
			return name, true
		}
		p.at, p.words = from, p.words[:words]
	}
	if p.peek() == 'L' {
		if p.at++; p.peek() == 'l' {
			p.at++
			return name, true
		}
		return name, p.index()
	}
	return name, true
}

// context reads the module and the types around the function.
func (p *swiftParser) context() bool {
	switch c := p.peek(); {
	case c == 's':
		p.at++
		p.path = []string{"Swift"}
	case c == 'S' && p.at+1 < len(p.text):
		second := p.text[p.at+1]
		p.at += 2
		switch name, ok := swiftStandard[second]; {
		case second == 'o' || second == 'C':
			p.path = []string{"__C"}
		case ok:
			p.path = []string{"Swift", name}
		default:
			return false
		}
	default:
		module, ok := p.identifier()
		if !ok {
			return false
		}
		p.path = []string{module}
	}
	for len(p.path) <= maxSegments {
		from, words := p.at, len(p.words)
		if len(p.path) > 1 && p.extension() {
			continue
		}
		p.at, p.words = from, p.words[:words]
		if !p.isDigit() {
			return true
		}
		name, ok := p.name()
		if !ok {
			return false
		}
		if strings.IndexByte("CVOPa", p.peek()) < 0 || p.peek() == 0 {
			p.at, p.words = from, p.words[:words]
			return true
		}
		p.at++
		p.path = append(p.path, name)
	}
	return false
}

// extension skips the module of an extension, and what it demands of type arguments, up to E.
func (p *swiftParser) extension() bool {
	if p.isDigit() {
		if _, ok := p.identifier(); !ok {
			return false
		}
	} else if p.peek() == 's' {
		p.at++
	} else if p.peek() != 'A' {
		return false
	} else if op, ok := p.operator(); !ok || op[0] != 'A' {
		return false
	}
	for range 32 {
		if p.peek() == 'E' {
			p.at++
			return true
		}
		op, ok := p.operator()
		if !ok || strings.IndexByte("FfviCVOPZTWMN", op[0]) >= 0 && op != "P" {
			return false
		}
	}
	return false
}

// operator reads one operator of a type or behind an entity; 1 stands for an identifier.
func (p *swiftParser) operator() (string, bool) {
	if p.at >= len(p.text) {
		return "", false
	}
	if p.isDigit() {
		_, ok := p.name()
		return "1", ok
	}
	from := p.at
	c := p.peek()
	p.at++
	switch c {
	case 'A', 'S':
		if c == 'S' && p.peek() == 'c' { // types of concurrency
			p.at += 2
			break
		}
		// Substitutions: lower case, with a count before it, and upper case for the last.
		for p.at < len(p.text) {
			p.number()
			last := p.peek()
			p.at++
			if c == 'S' || last == '_' || isASCIIUpper(last) {
				break
			}
			if last < 'a' || last > 'z' {
				return "", false
			}
		}
	case 'B':
		if kind := p.peek(); p.at+1 < len(p.text) && strings.IndexByte("ifv", kind) >= 0 {
			p.at++
			return "B", p.index()
		}
		p.at++
	case 'I':
		end := strings.IndexByte(p.text[p.at:], '_')
		if end < 0 {
			return "", false
		}
		p.at += end + 1
	case 'q':
		return "q", p.parameter()
	case 'Q':
		kind := p.peek()
		p.at++
		if kind == 'y' || kind == 'Y' {
			return "Q", p.parameter()
		}
	case 'R':
		// A demand: its kind, and of which parameter.
		if kind := p.peek(); kind != 'z' && kind != 'd' && isASCIILetter(kind) {
			if p.at++; kind == 'l' || kind == 'L' || kind == 'm' || kind == 'M' {
				ok := p.parameter()
				p.at++ // layout
				return "R", ok
			}
		}
		return "R", p.parameter()
	case 'r':
		// Counts of parameters may follow, up to l.
		for p.isDigit() || p.peek() == '_' || p.peek() == 'z' {
			p.at++
		}
	case 'f':
		kind := p.peek()
		if p.at++; kind == 'A' || kind == 'U' || kind == 'u' {
			return "f" + string(kind), p.index()
		}
	case 'v', 'i':
		if p.at++; p.text[min(p.at, len(p.text))-1] == 'a' || p.text[min(p.at, len(p.text))-1] == 'l' {
			p.at++
		}
	case 'M', 'W', 'H', 'X', 'Y', 'o', 'w':
		p.at++
	case 'T':
		switch kind := p.peek(); kind {
		case 'g', 'G', 'B', 'S':
			// A specialization and its pass.
			for p.at++; p.isDigit() || p.peek() == 'q' || p.peek() == 'a' || p.peek() == 'm'; p.at++ {
			}
			return "Tg", true
		case 'f':
			p.at = len(p.text)
			return "Tg", true
		case 'Q', 'Y':
			p.at++
			return "TQ", p.index()
		default:
			p.at++
		}
	case 'u', 'x', 'y', '_', 't', 'c', 'm', 'n', 'z', 'd', 'K', 'D', 'G', 's', 'l', 'p', 'g', 'h', 'Z', 'a', 'E', 'C', 'V', 'O', 'P', 'F', 'N', 'j', 'k', 'e', 'b':
	default:
		return "", false
	}
	return p.text[from:min(p.at, len(p.text))], p.at <= len(p.text)
}

// parameter skips which type parameter it is: z is the first, _ the second, 0_ the third, d two numbers for those of an inner function.
func (p *swiftParser) parameter() bool {
	switch p.peek() {
	case 'z':
		p.at++
		return true
	case 'd':
		p.at++
		outer := p.index()
		return outer && p.index()
	}
	return p.index()
}

// maxSwiftOperators bounds how much of the type of a function is read.
const maxSwiftOperators = 4096

// entity reads up to the function, initializer or accessor, and returns its name.
func (p *swiftParser) entity() (string, bool) {
	name, fixed := "", false
	for range maxSwiftOperators {
		if p.isDigit() && !fixed {
			var ok bool
			if name, ok = p.name(); !ok {
				return "", false
			}
			if fixed = true; p.peek() == 'o' {
				if name, ok = swiftOperator(name); !ok {
					return "", false
				}
				p.at += 2
			}
			continue
		}
		op, ok := p.operator()
		if !ok {
			return "", false
		}
		switch {
		case op == "F" && name != "":
			return name, true
		case op == "fC" || op == "fc":
			return "init", true
		case op == "fD" || op == "fd" || op == "fZ":
			return "deinit", true
		case op[0] == 'v' || op[0] == 'i' && len(op) > 1:
			accessor, ok := swiftAccessors[op[1]]
			if op[0] == 'i' {
				name = "subscript"
			}
			return name + "." + accessor, ok && name != ""
		case op == "P":
			// A function of a protocol, in its implementation by the type before it.
			name, fixed, p.witness = "", false, true
			continue
		case op == "l" || op[0] == 'R' || op[0] == 'r':
			p.generic = true
		case op[0] == 'f' || op[0] == 'T' || op[0] == 'W' || op[0] == 'M' || op == "N" || op == "F":
			return "", false
		}
		if op != "1" {
			// What begins with a type has no name before it.
			fixed = true
		}
	}
	return "", false
}

// swiftAccessors are the functions of a variable that are code.
var swiftAccessors = map[byte]string{
	'g': "getter", 's': "setter", 'M': "modify", 'r': "read", 'w': "willset", 'W': "didset", 'x': "modify", 'y': "read",
	'a': "addressor", 'l': "addressor", 'm': "materialize", 'G': "getter", 'i': "init",
}

// suffixes reads what is behind the function: closures and functions in it, thunks and copies of it. Data is refused.
func (p *swiftParser) suffixes(b *builder) bool {
	witness := false
	for range maxSwiftOperators {
		if p.at == len(p.text) {
			return p.witness == witness
		}
		op, ok := p.operator()
		if !ok {
			return false
		}
		switch op {
		case "fU", "fu", "fA", "F":
			b.flag(FlagClosure)
		case "TW":
			witness = true
		case "TA", "Ta", "To", "TO", "TR", "Tr", "Tj", "TI":
			b.flag(FlagThunk)
		case "Tm", "TX", "Tk":
			b.flag(FlagCompilerClone)
		case "Tg":
			b.flag(FlagCompilerClone, FlagGeneric)
		case "TQ", "TE":
			b.flag(FlagAsync)
		case "Tu", "TD", "Tc", "Td":
		default:
			if op[0] == 'T' || op[0] == 'M' || op[0] == 'W' || op == "N" {
				return false
			}
		}
	}
	return false
}

// swiftOperator undoes how the characters of an operator are written as letters.
func swiftOperator(name string) (string, bool) {
	const letters, characters = "acdeglmnopqrstxz", "&@/=><*!|+?%-~^."
	var out strings.Builder
	for i := range len(name) {
		at := strings.IndexByte(letters, name[i])
		if at < 0 {
			return "", false
		}
		out.WriteByte(characters[at])
	}
	return out.String(), isSwiftOperator(out.String())
}

func isSwiftOperator(s string) bool {
	return s != "" && len(s) <= 16 && strings.Trim(s, "&@/=><*!|+?%-~^.") == ""
}

// privateSwift is a private name with the hash of its file.
var privateSwift = regexp.MustCompile(`\((\w+) in _[0-9A-F]+\)`)

// swiftText reads a name that was demangled by someone else. Labels, parameters and types are cut; what is in a closure or
// thunk belongs to the function.
func (b *builder) swiftText(text string) bool {
	for _, prefix := range []struct{ text, flag string }{
		{"static ", ""}, {"partial apply forwarder for ", FlagThunk}, {"partial apply for ", FlagThunk}, {"dispatch thunk of ", FlagThunk},
		{"@objc ", FlagThunk}, {"merged ", FlagCompilerClone}, {"generic specialization ", FlagGeneric}, {"specialized ", FlagGeneric},
	} {
		rest, ok := strings.CutPrefix(text, prefix.text)
		if !ok {
			continue
		}
		if strings.HasPrefix(prefix.text, "generic") {
			if _, rest, ok = strings.Cut(rest, "> of "); !ok {
				return false
			}
		}
		if text = rest; prefix.flag != "" {
			b.flag(prefix.flag)
		}
	}
	for strings.HasPrefix(text, "closure #") || strings.HasPrefix(text, "implicit closure #") || strings.HasPrefix(text, "default argument ") {
		// closure #1 (Int) -> () in Module.function() -> ()
		_, rest, ok := strings.Cut(text, " in ")
		if !ok {
			if _, rest, ok = strings.Cut(text, " of "); !ok {
				return false
			}
		}
		text = rest
		b.flag(FlagClosure)
	}
	if rest, ok := strings.CutPrefix(text, "protocol witness for "); ok {
		// protocol witness for Module.Protocol.function() -> () in conformance Module.Type : Module.Protocol in Module
		function, of, ok := strings.Cut(rest, " in conformance ")
		function, _, _ = strings.Cut(function, "(")
		function, _, _ = strings.Cut(function, " : ")
		of, _, _ = strings.Cut(of, " ")
		protocol, name := cutLast(function, ".")
		if _, accessor := cutLast(protocol, "."); name == "getter" || name == "setter" || name == "modify" || name == "read" {
			name = accessor + "." + name
		}
		if !ok || !isDotted(protocol) {
			return false
		}
		text = of + "." + name
		b.flag(FlagThunk)
	}
	if rest, ok := strings.CutPrefix(text, "(extension in "); ok {
		// (extension in Module):Swift.String.function
		module, rest, ok := strings.Cut(rest, "):")
		if !ok || !isDotted(module) {
			return false
		}
		text = strings.TrimPrefix(rest, "static ")
	}
	text = strings.TrimPrefix(text, "static ")
	if strings.Count(text, " in _") > maxSegments {
		return false
	}
	path, _, _ := strings.Cut(privateSwift.ReplaceAllString(text, "$1"), "(")
	path, _, _ = strings.Cut(path, " : ")
	operator := false
	for _, fixity := range []string{" infix", " prefix", " postfix"} {
		if rest, ok := strings.CutSuffix(path, fixity); ok {
			path, operator = rest, true
		}
	}
	if !operator {
		rest, generic, ok := cutBracketed(path, '<', '>')
		if !ok {
			return false
		}
		path = rest
		b.generic(generic)
	}
	pkg, member, ok := strings.Cut(strings.TrimSpace(path), ".")
	return ok && b.parts(pkg, strings.ReplaceAll(member, "__allocating_init", "init"))
}

// swiftParts renames the initializers and deinitializers that differ in who allocates.
func (b *builder) swiftParts() bool {
	if types, name := cutLast(b.member, "."); name == "__deallocating_deinit" {
		b.member = strings.TrimPrefix(types+".deinit", ".")
	} else if name == "__allocating_init" {
		b.member = strings.TrimPrefix(types+".init", ".")
	}
	return (b.pkg == "" || isWord(b.pkg)) && isSwiftMember(b.member)
}

// isSwiftMember reports whether s is types and a function, the accessor of a variable, or an operator.
func isSwiftMember(s string) bool {
	if isDotted(s) || isSwiftOperator(s) {
		return true
	}
	at := strings.LastIndexFunc(s, func(r rune) bool { return r == '_' || isLetter(r) || r >= '0' && r <= '9' })
	return at > 0 && at+2 < len(s) && s[at+1] == '.' && isDotted(s[:at+1]) && isSwiftOperator(s[at+2:])
}
