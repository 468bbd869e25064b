package symbol

import (
	"regexp"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// jvm reads a method as stack traces, profilers, perf maps and descriptors write it: com.foo.Bar.baz(Bar.java:12),
// app//com.foo.Bar.baz, java.base@17/java.lang.String.hashCode, com/foo/Bar.baz(II)V, Lcom/foo/Bar;::baz,
// int com.foo.Bar.baz(int). Arguments, source file, module, class loader and the number of a hidden class are cut.
func (b *builder) jvm(raw string) bool {
	text := strings.TrimPrefix(raw, "at ")
	if at := len(text) - len("_[j]"); at > 0 && text[at:at+2] == "_[" && text[len(text)-1] == ']' {
		text = text[:at] // how the method ran, as async-profiler marks it
	}
	if strings.Contains(text, "0x") || strings.Contains(text, "$$Lambda") {
		text = hiddenNumber.ReplaceAllString(text, "$1")
	}
	if at := strings.IndexByte(text, '('); at >= 0 {
		declaration, name := cutLast(text[:at], " ")
		if declaration != "" && !isJVMDeclaration(declaration) {
			return false
		}
		text = name
	}
	if class, method, ok := strings.Cut(text, ";::"); ok && strings.HasPrefix(class, "L") {
		text = class[1:] + "." + method
	} else if class, method, ok := strings.Cut(text, ";."); ok && strings.HasPrefix(class, "L") {
		text = class[1:] + "." + method
	} else {
		text = strings.Replace(text, "::", ".", 1)
	}
	text, ok := cutLoader(text)
	if !ok {
		return false
	}
	class, method := cutLast(text, ".")
	pkg, class := cutLast(class, ".")
	return b.parts(pkg, class+"."+method)
}

// hiddenNumber is what the JVM appends to the name of a hidden class, as an address: /0x..., +0x... or .0x..., and before
// JDK 11 a slash and a decimal number.
var hiddenNumber = regexp.MustCompile(`(?:[/+.]0x[0-9a-fA-F]+|/[0-9]+)([.;:]|$)`)

func isHexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// jvmModifiers are the words before the type of a method's result.
var jvmModifiers = map[string]bool{
	"public": true, "private": true, "protected": true, "static": true, "final": true, "native": true, "abstract": true,
	"synchronized": true, "strictfp": true, "default": true, "bridge": true, "synthetic": true,
}

// isJVMDeclaration reports whether s is what stands before a method's name: modifiers and a type.
func isJVMDeclaration(s string) bool {
	words := strings.Split(s, " ")
	for _, word := range words[:len(words)-1] {
		if !jvmModifiers[word] {
			return false
		}
	}
	return isJVMPackage(strings.TrimRight(words[len(words)-1], "[]"))
}

// cutLoader cuts class loader and module, and writes dots for the slashes of a class. A slash ends a loader or module when
// it has a dot or version, when another slash follows, or when the class behind it has a package of its own.
func cutLoader(text string) (string, bool) {
	elements := strings.Split(text, "/")
	last := len(elements) - 1
	if last == 0 {
		return text, true
	}
	if last > maxSegments {
		return "", false
	}
	from := 0
	for i, element := range elements[:last] {
		if element == "" || strings.ContainsAny(element, ".@") || strings.Count(elements[last], ".") > 1 {
			from = i + 1
		}
	}
	for i, element := range elements[:from] {
		name, version, versioned := strings.Cut(element, "@")
		if i > 1 || element == "" && i != 1 || element != "" && !isLoader(name) || versioned && !isVersion(version) {
			return "", false
		}
	}
	path := "/" + strings.Join(elements[from:], "/")
	if last > from && (!strings.Contains(elements[last], ".") || privacy.CanonicalPath(path).Canonical != path) {
		return "", false
	}
	return strings.Join(elements[from:], "."), true
}

func isLoader(s string) bool {
	for element := range strings.SplitSeq(s, ".") {
		if !isWord(strings.ReplaceAll(element, "-", "_")) {
			return false
		}
	}
	return true
}

// proxyMarks are what frameworks put between the name of a class and the number of the subclass that they make of it.
var proxyMarks = []string{
	"$$Enhancer", "$$SpringCGLIB", "$$FastClass", "$$KeyFactory", "$HibernateProxy", "$HibernateInstantiator", "$ByteBuddy$",
	"$$ByteBuddy", "$MockitoMock$", "_$$_jvst", "$$_jvst", "_$$_javassist", "$$_javassist", "_$$_Weld", "$Proxy$_$$_", "$auxiliary$",
}

// jvmParts folds what compilers and frameworks make of a method.
func (b *builder) jvmParts() bool {
	class, method, ok := strings.Cut(b.member, ".")
	if !ok || b.pkg != "" && !isJVMPackage(b.pkg) || !isJVMName(class) || !isJVMMethod(method) {
		return false
	}
	if method == "<clinit>" {
		b.flag(FlagInit)
	}
	if before, _, is := strings.Cut(class, "$$Lambda"); is {
		// It calls a method of any class. That of the class before it is called lambda$...
		b.flag(FlagLambdaProxy)
		b.member, b.doubt = before+"$$Lambda."+method, 1
		return true
	}
	class, method = b.jvmProxy(class, method)
	class, method = b.jvmClosureClass(class, method)
	b.member = class + "." + b.jvmMethod(method)
	class, method, _ = strings.Cut(b.member, ".")
	return isJVMName(class) && isJVMMethod(method)
}

// jvmProxy folds a class that was made at run time.
func (b *builder) jvmProxy(class, method string) (string, string) {
	if isNumber(strings.TrimPrefix(class, "$Proxy")) && strings.HasPrefix(class, "$Proxy") || class == "$Proxy" {
		b.flag(FlagProxy)
		if strings.HasPrefix(b.pkg, "jdk.proxy") {
			b.pkg = trimNumber(b.pkg)
		}
		return "$Proxy", method
	}
	if name := trimNumber(class); strings.HasPrefix(name, "Generated") && strings.HasSuffix(name, "Accessor") {
		b.flag(FlagReflection)
		return name, method
	}
	for _, mark := range proxyMarks {
		at := strings.Index(class, mark)
		if at <= 0 {
			continue
		}
		if rest := class[at:]; strings.Contains(rest, "FastClass") || strings.Contains(rest, "KeyFactory") || mark == "$auxiliary$" {
			// It calls the methods of the class by number.
			b.flag(FlagProxy, FlagReflection)
			b.doubt = 1
			if strings.Contains(rest, "FastClass") {
				mark = "$$FastClass"
			}
			return class[:at] + strings.TrimSuffix(mark, "$"), method
		}
		b.flag(FlagProxy)
		return class[:at], method
	}
	for _, suffix := range []string{"_ClientProxy", "_Subclass"} {
		if name, ok := strings.CutSuffix(class, suffix); ok && name != "" {
			b.flag(FlagProxy)
			return name, method
		}
	}
	return class, method
}

// jvmClosureClass folds the class that Scala, Kotlin or Groovy makes of a function literal into the function around it.
func (b *builder) jvmClosureClass(class, method string) (string, string) {
	if outer, rest, ok := strings.Cut(class, "$$anonfun"); ok && outer != "" {
		b.flag(FlagLambda)
		if name, _, _ := strings.Cut(strings.TrimPrefix(rest, "$"), "$"); name != "" && isWord(name) {
			return outer, sourceName(name)
		}
		b.doubt = 0.8 // which function it is in is not known
		return outer + "$$anonfun", method
	}
	if outer, number, ok := strings.Cut(class, "$fn__"); ok && outer != "" && isNumber(number) {
		b.flag(FlagLambda) // of Clojure
		return outer, method
	}
	if outer, rest, ok := strings.Cut(class, "$_"); ok && outer != "" && (method == "doCall" || method == "call") {
		if name, number, ok := strings.Cut(rest, "_closure"); ok && isWord(name) && number != "" {
			b.flag(FlagLambda)
			return outer, name
		}
	}
	if method == "invoke" || method == "invokeSuspend" {
		// Outer$function$variable$1
		segments := strings.Split(class, "$")
		for i := 1; i+1 < len(segments) && isNumber(segments[len(segments)-1]); i++ {
			if isWord(segments[i]) && !isUpper(segments[i]) && segments[i][0] != '_' {
				b.flag(FlagLambda)
				return strings.Join(segments[:i], "$"), segments[i]
			}
		}
	}
	return class, method
}

// sourceName is the method that the compilers call new or static.
func sourceName(name string) string {
	switch name {
	case "new":
		return "<init>"
	case "static":
		return "<clinit>"
	}
	return name
}

// jvmMethod folds what compilers make of a method's name.
func (b *builder) jvmMethod(method string) string {
	if rest, ok := strings.CutPrefix(method, "CGLIB$"); ok {
		if name, number := cutLast(rest, "$"); name != "" && isNumber(number) {
			b.flag(FlagProxy)
			return name
		}
	}
	if rest, ok := strings.CutPrefix(method, "lambda$"); ok {
		// The number is behind the name; a lambda that can be serialized has a hash before it.
		if name, number := cutLast(rest, "$"); name != "" && isNumber(number) {
			if before, hash := cutLast(name, "$"); before != "" && isShortHex(hash) {
				name = before
			}
			rest = name
		}
		b.flag(FlagLambda)
		if rest == "null" {
			// A lambda in a lambda, as javac 8 calls it.
			b.doubt = 0.8
			return "lambda$null"
		}
		return sourceName(rest)
	}
	if rest, ok := strings.CutPrefix(method, "$anonfun$"); ok {
		if name, _, _ := strings.Cut(rest, "$"); isWord(name) {
			b.flag(FlagLambda)
			return sourceName(name)
		}
	}
	for _, mark := range []string{"$lambda$", "$lambda-", "$$anonfun$"} {
		if name, number, ok := strings.Cut(method, mark); ok && name != "" && number != "" && number[0] >= '0' && number[0] <= '9' {
			b.flag(FlagLambda)
			return name
		}
	}
	for _, suffix := range []string{"$default", "$suspendImpl"} {
		if name, ok := strings.CutSuffix(method, suffix); ok && name != "" {
			b.flag(FlagThunk)
			return name
		}
	}
	for _, mark := range []string{"$original$", "$accessor$"} {
		if name, _, ok := strings.Cut(method, mark); ok && name != "" {
			b.flag(FlagProxy)
			return name
		}
	}
	if rest, ok := strings.CutPrefix(method, "access$"); ok {
		b.flag(FlagThunk)
		if rest = strings.TrimSuffix(strings.TrimSuffix(rest, "$p"), "$cp"); isWord(rest) {
			return rest
		}
	}
	// Kotlin appends a hash of the parameters, or impl, to functions with value classes.
	if name, suffix := cutLast(method, "-"); name != "" && (suffix == "impl" || len(suffix) == 7) {
		return name
	} else if at := len(method) - 8; at > 0 && method[at] == '-' {
		return method[:at] // the hash has a - of its own
	}
	return method
}

func isJVMPackage(s string) bool {
	if strings.Count(s, ".") >= maxSegments {
		return false
	}
	for segment := range strings.SplitSeq(s, ".") {
		if !isJVMName(segment) {
			return false
		}
	}
	return true
}

// isJVMName reports whether s is a name of Java, with the $ of nested classes.
func isJVMName(s string) bool { return isWord(strings.ReplaceAll(s, "$", "_")) }

// isJVMMethod reports whether s is the name of a method: Kotlin's may have a -.
func isJVMMethod(s string) bool {
	return s == "<init>" || s == "<clinit>" || s != "" && s[0] != '-' && isJVMName(strings.ReplaceAll(s, "-", "_"))
}
