package symbol

import (
	"regexp"
	"strings"
)

// dlang reads a function of D, mangled (https://dlang.org/spec/abi.html#name_mangling) or demangled.
func (b *builder) dlang(raw string) bool {
	if isMangledD(raw) {
		return b.dlangMangled(raw)
	}
	return b.dlangText(raw)
}

// isMangledD reports whether s begins as a mangled name of D does: _D, or the prefix of a thunk, and two names at least.
func isMangledD(s string) bool {
	if !strings.HasPrefix(s, "_D") {
		return false
	}
	p := dParser{text: s, at: max(len("_D"), dThunk(s))}
	n, ok := p.number()
	if p.at += n; !ok || n == 0 || p.at >= len(s) {
		return false
	}
	return p.isSymbolName()
}

// dThunk is where the name begins that a thunk is for; 0 if s is no thunk. DMD writes _DTi16_D..., GDC _DThn16_...
func dThunk(s string) int {
	offset, name, ok := strings.Cut(strings.TrimPrefix(s, "_D"), "_")
	if !ok || !strings.HasPrefix(s, "_DT") || len(offset) < 3 || !isNumber(strings.TrimPrefix(offset[2:], "n")) {
		return 0
	}
	return len(s) - len(strings.TrimPrefix(name, "D"))
}

// dlangMangled reads the qualified name, up to the first function's type: what follows it is inside of that function.
func (b *builder) dlangMangled(raw string) bool {
	from := len("_D")
	if at := dThunk(raw); at > 0 {
		from = at
		b.flag(FlagNonVirtualThunk)
	}
	p := dParser{text: raw, at: from}
	for len(p.names) <= maxSegments {
		name, ok := p.symbolName()
		if !ok {
			return false
		}
		if name != "" {
			p.names = append(p.names, name)
		}
		if p.isFunction() {
			break
		}
		if !p.isSymbolName() {
			return false // data
		}
	}
	if len(p.names) == 0 || len(p.names) > maxSegments {
		return false
	}
	b.generic(p.generic)
	if p.skipFunction(0, false) && p.isSymbolName() {
		b.flag(FlagClosure)
	}
	return b.dlangNames(p.names)
}

// dlangNames folds names that the compiler made.
func (b *builder) dlangNames(names []string) bool {
	kept := names[:0]
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "__lambda") || strings.HasPrefix(name, "__dgliteral") || strings.HasPrefix(name, "__funcliteral"):
			b.flag(FlagClosure)
			continue
		case strings.HasPrefix(name, "__mixin") && isNumber(name[len("__mixin"):]):
			continue
		case name == "__ctor":
			name = "this"
		case name == "__dtor":
			name = "~this"
		case strings.HasPrefix(name, "_staticCtor") || strings.HasPrefix(name, "_sharedStaticCtor") || name == "__modctor" || name == "__modsharedctor":
			b.flag(FlagInit)
			name = "this"
		}
		// The function of a template of its own name.
		if len(kept) > 0 && kept[len(kept)-1] == name && b.isGeneric() {
			continue
		}
		kept = append(kept, name)
	}
	if len(kept) < 2 {
		return false
	}
	return b.parts(splitAtType(kept))
}

func (b *builder) isGeneric() bool { return b.flaggedSince(0, FlagGeneric) }

// dQualifiers are the parentheses in what stands before a function: extern (C), const(char)[].
var dQualifiers = regexp.MustCompile(`^extern \((?:C|C\+\+|D|System|Windows|Objective-C)\) |\b(?:const|immutable|inout|shared)\(([\w.]+(?:\[\]|\*)*)\)`)

// dlangText reads a name that was demangled by someone else: pure @safe int a.b.c!(int).c(int).
func (b *builder) dlangText(text string) bool {
	for {
		at := strings.Index(text, "!(")
		if at < 0 {
			break
		}
		depth, end := 0, -1
		for i := at + 1; i < len(text) && end < 0; i++ {
			switch text[i] {
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 {
					end = i
				}
			}
		}
		if end < 0 {
			return false
		}
		text = text[:at] + text[end+1:]
		b.flag(FlagGeneric)
	}
	text = dQualifiers.ReplaceAllString(text, "$1")
	if at := strings.IndexByte(text, '('); at >= 0 {
		if strings.Contains(text[at:], ").") {
			b.flag(FlagClosure)
		}
		declaration, name := cutLast(text[:at], " ")
		for word := range strings.FieldsSeq(declaration) {
			if word = strings.TrimRight(strings.TrimPrefix(word, "@"), "*[]"); !isDotted(word) {
				return false
			}
		}
		text = name
	}
	names := strings.Split(text, ".")
	return len(names) <= maxSegments && b.dlangNames(names)
}

// dlangParts checks the parts: a module or nothing, and a function with the types around it.
func (b *builder) dlangParts() bool {
	return (b.pkg == "" || isDotted(b.pkg)) && isDMember(b.member)
}

func isDMember(s string) bool {
	types, name := cutLast(s, ".")
	return (types == "" || isDotted(types)) && isWord(strings.TrimPrefix(name, "~"))
}

// dParser walks a mangled name of D. steps bounds its work: back references can make a short name very long.
type dParser struct {
	text    string
	at      int
	names   []string
	generic bool
	steps   int
}

func (p *dParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// step counts work, and is false when there was too much.
func (p *dParser) step(depth int) bool {
	p.steps++
	return p.steps < 1<<14 && depth < maxSegments
}

// number reads a decimal number.
func (p *dParser) number() (int, bool) {
	n, from := 0, p.at
	for ; p.peek() >= '0' && p.peek() <= '9'; p.at++ {
		if n = n*10 + int(p.peek()-'0'); n > MaxRaw {
			return 0, false
		}
	}
	return n, p.at > from
}

// back reads a reference to what stands before it: Q, and the distance in base 26, its last digit in lower case.
func (p *dParser) back() (target int, ok bool) {
	from, distance := p.at, 0
	for p.at++; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c >= 'a' && c <= 'z':
			p.at++
			distance = distance*26 + int(c-'a')
			return from - distance, distance > 0 && distance <= from-2
		case c >= 'A' && c <= 'Z':
			distance = distance*26 + int(c-'A')
		default:
			return 0, false
		}
		if distance > MaxRaw {
			return 0, false
		}
	}
	return 0, false
}

// isSymbolName reports whether a name begins here: a length, a template instance, or a reference to a name.
func (p *dParser) isSymbolName() bool {
	c := p.peek()
	if c != 'Q' {
		return c >= '0' && c <= '9' || strings.HasPrefix(p.text[p.at:], "__T") || strings.HasPrefix(p.text[p.at:], "__U")
	}
	from := p.at
	target, ok := p.back()
	p.at = from
	return ok && p.text[target] >= '0' && p.text[target] <= '9'
}

// symbolName reads a name; empty for a scope without one.
func (p *dParser) symbolName() (string, bool) {
	if p.peek() == 'Q' {
		target, ok := p.back()
		if !ok {
			return "", false
		}
		after := p.at
		p.at = target
		name, ok := p.lengthName()
		p.at = after
		return name, ok
	}
	if strings.HasPrefix(p.text[p.at:], "__T") || strings.HasPrefix(p.text[p.at:], "__U") {
		return p.template(0)
	}
	return p.lengthName()
}

// lengthName reads a name behind its length.
func (p *dParser) lengthName() (string, bool) {
	n, ok := p.number()
	if !ok || n > len(p.text)-p.at {
		return "", false
	}
	name := p.text[p.at : p.at+n]
	if strings.HasPrefix(name, "__T") || strings.HasPrefix(name, "__U") {
		// The older form of a template instance.
		inner := dParser{text: p.text[:p.at+n], at: p.at, steps: p.steps}
		name, ok = inner.template(0)
		p.generic, p.steps = true, inner.steps
	}
	p.at += n
	if len(name) > 3 && strings.HasPrefix(name, "__S") && isNumber(name[3:]) {
		name = "" // a scope made to tell declarations apart
	}
	return name, ok && (n == 0 || name == "" || isWord(name))
}

// template reads __T name arguments Z, and returns the name.
func (p *dParser) template(depth int) (string, bool) {
	p.at += len("__T")
	p.generic = true
	name, ok := p.symbolName()
	if !ok || !p.step(depth) {
		return "", false
	}
	for p.peek() != 'Z' {
		if !p.templateArgument(depth + 1) {
			return "", false
		}
	}
	p.at++
	return name, true
}

func (p *dParser) templateArgument(depth int) bool {
	if !p.step(depth) {
		return false
	}
	if p.peek() == 'H' {
		p.at++
	}
	kind := p.peek()
	p.at++
	switch kind {
	case 'T':
		return p.skipType(depth)
	case 'V':
		return p.skipType(depth) && p.skipValue(depth)
	case 'S':
		return p.skipQualified(depth)
	case 'X':
		n, ok := p.number()
		p.at += n
		return ok && p.at <= len(p.text)
	}
	return false
}

// skipQualified skips a qualified name, with the types of the functions in it, or a mangled name behind its length.
func (p *dParser) skipQualified(depth int) bool {
	if strings.HasPrefix(p.text[p.at:], "_D") {
		p.at += 2
		return p.skipQualified(depth+1) && (p.isFunction() && p.skipFunction(depth+1, true) || p.peek() == 'Z' || p.skipType(depth+1))
	}
	generic := p.generic
	defer func() { p.generic = generic }()
	for first := true; first || p.isSymbolName(); first = false {
		if !p.step(depth) {
			return false
		}
		if from := p.at; p.peek() >= '0' && p.peek() <= '9' {
			// In the older form a name of the argument is inside of a length.
			if n, ok := p.number(); ok && n <= len(p.text)-p.at && strings.HasPrefix(p.text[p.at:], "_D") {
				p.at += n
				continue
			}
			p.at = from
		}
		if strings.HasPrefix(p.text[p.at:], "__T") || strings.HasPrefix(p.text[p.at:], "__U") {
			if _, ok := p.template(depth + 1); !ok {
				return false
			}
		} else if _, ok := p.symbolName(); !ok {
			return false
		}
		// The type of a function is part of the name of what is inside of it.
		if from := p.at; p.isFunction() && (!p.skipFunction(depth+1, false) || !p.isSymbolName()) {
			p.at = from
			return true
		}
	}
	return true
}

// isFunction reports whether the type of a function or method begins here.
func (p *dParser) isFunction() bool {
	from := p.at
	defer func() { p.at = from }()
	if p.peek() == 'M' {
		p.at++
		p.skipModifiers()
	}
	if p.peek() == 'Q' {
		target, ok := p.back()
		return ok && strings.IndexByte("FUWVRY", p.text[target]) >= 0
	}
	return p.at < len(p.text) && strings.IndexByte("FUWVRY", p.peek()) >= 0
}

// skipModifiers skips const, immutable, shared and inout.
func (p *dParser) skipModifiers() {
	for {
		switch rest := p.text[min(p.at, len(p.text)):]; {
		case strings.HasPrefix(rest, "Ng"):
			p.at += 2
		case rest != "" && strings.IndexByte("xyO", rest[0]) >= 0:
			p.at++
		default:
			return
		}
	}
}

// skipFunction skips the type of a function.
func (p *dParser) skipFunction(depth int, result bool) bool {
	if !p.step(depth) {
		return false
	}
	if p.peek() == 'M' {
		p.at++
		p.skipModifiers()
	}
	if p.peek() == 'Q' {
		_, ok := p.back()
		return ok
	}
	if p.at >= len(p.text) || strings.IndexByte("FUWVRY", p.peek()) < 0 {
		return false
	}
	p.at++
	for p.peek() == 'N' && p.at+1 < len(p.text) && strings.IndexByte("abcdefijlm", p.text[p.at+1]) >= 0 {
		p.at += 2 // pure, nothrow and the like
	}
	for {
		switch c := p.peek(); c {
		case 'X', 'Y', 'Z':
			p.at++
			return !result || p.skipType(depth+1)
		case 'M', 'I', 'J', 'K', 'L': // scope, in, out, ref, lazy
			p.at++
		case 'N':
			if strings.HasPrefix(p.text[p.at:], "Nk") {
				p.at += 2 // return
				continue
			}
			if !p.skipType(depth + 1) {
				return false
			}
		default:
			if !p.skipType(depth + 1) {
				return false
			}
		}
		if !p.step(depth) {
			return false
		}
	}
}

// skipType skips a type.
func (p *dParser) skipType(depth int) bool {
	if !p.step(depth) {
		return false
	}
	c := p.peek()
	switch c {
	case 'Q':
		_, ok := p.back()
		return ok
	case 'F', 'U', 'W', 'V', 'R', 'Y':
		return p.skipFunction(depth+1, true)
	}
	p.at++
	switch c {
	case 'x', 'y', 'O', 'A', 'P': // const, immutable, shared, array, pointer
		return p.skipType(depth + 1)
	case 'N':
		second := p.peek()
		p.at++
		switch second {
		case 'g', 'h': // inout, vector
			return p.skipType(depth + 1)
		case 'n': // noreturn
			return true
		}
		return false
	case 'G':
		return p.digits() && p.skipType(depth+1)
	case 'H':
		key := p.skipType(depth + 1)
		return key && p.skipType(depth+1)
	case 'D': // delegate
		p.skipModifiers()
		if p.peek() == 'Q' {
			return p.skipType(depth + 1)
		}
		return p.skipFunction(depth+1, true)
	case 'C', 'S', 'E', 'T', 'I':
		return p.skipQualified(depth + 1)
	case 'B': // tuple
		n, ok := p.number()
		for range n {
			ok = ok && p.skipType(depth+1)
		}
		return ok
	case 'z': // cent
		p.at++
		return true
	}
	return strings.IndexByte("vghstiklmfdeopjqrcbauwn", c) >= 0
}

// skipValue skips the value of a template argument.
func (p *dParser) skipValue(depth int) bool {
	if !p.step(depth) {
		return false
	}
	c := p.peek()
	if c >= '0' && c <= '9' {
		return p.digits()
	}
	p.at++
	switch c {
	case 'n':
		return true
	case 'i', 'N':
		return p.digits()
	case 'e':
		return p.skipReal()
	case 'c':
		if !p.skipReal() || p.peek() != 'c' {
			return false
		}
		p.at++
		return p.skipReal()
	case 'a', 'w', 'd':
		n, ok := p.number()
		if !ok || p.peek() != '_' {
			return false
		}
		p.at += 1 + 2*n
		return p.at <= len(p.text)
	case 'A', 'S':
		n, ok := p.number()
		for i := 0; i < n && ok; i++ {
			ok = p.skipValue(depth + 1)
		}
		return ok
	case 'f':
		return p.skipQualified(depth + 1)
	}
	return false
}

// digits skips a number of whatever size.
func (p *dParser) digits() bool {
	from := p.at
	for p.peek() >= '0' && p.peek() <= '9' {
		p.at++
	}
	return p.at > from
}

// skipReal skips a number in hex with an exponent: NAN, INF, NINF, N?hex P N?digits.
func (p *dParser) skipReal() bool {
	for _, word := range []string{"NAN", "INF", "NINF"} {
		if strings.HasPrefix(p.text[p.at:], word) {
			p.at += len(word)
			return true
		}
	}
	if p.peek() == 'N' {
		p.at++
	}
	for isHexDigit(p.peek()) {
		p.at++
	}
	if p.peek() != 'P' {
		return false
	}
	if p.at++; p.peek() == 'N' {
		p.at++
	}
	return p.digits()
}
