package symbol

import (
	"strings"
)

// python reads a function as tracebacks, perf maps and profilers write it: package.module.Class.function,
// package.module:Class.function, py::Class.function:/path/package/module.py, function (/path/package/module.py:12). Of a
// path only the module is kept that it names in a directory of packages.
func (b *builder) python(raw string) bool {
	text, file := strings.TrimPrefix(raw, "py::"), ""
	if len(text) < len(raw) {
		text, file, _ = strings.Cut(text, ":")
	} else if name, rest, ok := strings.Cut(text, " ("); ok && strings.HasSuffix(rest, ")") {
		text, file = name, rest[:len(rest)-1]
	} else if pkg, name, ok := strings.Cut(text, ":"); ok {
		// As an entry point. One word on either side is more often a user and a password.
		return isDotted(pkg) && strings.Contains(pkg+name, ".") && b.parts(pkg, name)
	}
	pkg := ""
	if file != "" {
		pkg = pythonModule(file)
	}
	if pkg == "" {
		segments := strings.Split(text, ".")
		if len(segments) > maxSegments {
			return false
		}
		// The last word of the module's part may be followed by what is no word.
		names := segments
		for i, segment := range segments {
			if i > 0 && strings.HasPrefix(segment, "<") {
				names = segments[:i]
				break
			}
		}
		if len(names) < len(segments) && segments[len(names)] == "<module>" {
			return b.parts(strings.Join(names, "."), "<module>")
		}
		pkg, text = splitAtType(names)
		text = strings.Join(append([]string{text}, segments[len(names):]...), ".")
	}
	return b.parts(pkg, strings.TrimPrefix(text, pkg+"."))
}

// pythonModule is the module of a source file: what follows the directory of packages. Empty when there is none.
func pythonModule(file string) string {
	if name, ok := strings.CutPrefix(file, "<frozen "); ok {
		if name = strings.TrimSuffix(name, ">"); isDotted(name) {
			return name
		}
		return ""
	}
	file = strings.ReplaceAll(file, `\`, "/")
	path, _ := cutLast(file, ".py")
	for _, packages := range []string{"/site-packages/", "/dist-packages/"} {
		if at := strings.LastIndex(path, packages); at >= 0 {
			return pythonPath(path[at+len(packages):])
		}
	}
	// The standard library: lib/python3.12/json/decoder.py
	if at := strings.LastIndex(file, "/python"); at >= 0 {
		version, rest, _ := strings.Cut(file[at+len("/python"):], "/")
		if major, minor, ok := strings.Cut(version, "."); ok && isNumber(major) && isNumber(minor) {
			path, _, _ := strings.Cut(rest, ".py")
			return pythonPath(path)
		}
	}
	return ""
}

func pythonPath(path string) string {
	if _, inside, ok := strings.Cut(path, ".egg/"); ok {
		path = inside
	}
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/__init__"), "/__main__")
	if pkg := strings.ReplaceAll(path, "/", "."); isDotted(pkg) {
		return pkg
	}
	return ""
}

// pythonParts folds what is inside a function into it.
func (b *builder) pythonParts() bool {
	if b.pkg != "" && !isDotted(b.pkg) {
		return false
	}
	segments := strings.Split(b.member, ".")
	if len(segments) > maxSegments {
		return false
	}
	for i, segment := range segments {
		switch segment {
		case "<module>":
			b.flag(FlagInit)
			return len(segments) == 1
		case "<locals>", "<lambda>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>":
			if i == 0 {
				// Which function it is in is not known.
				b.flag(FlagAnonymous)
				b.doubt = 0.8
				b.member = "<lambda>"
				return segment != "<locals>"
			}
			b.flag(FlagClosure)
			segments = segments[:i]
		default:
			// The scope of type parameters is around the function.
			if name, ok := strings.CutPrefix(segment, "<generic parameters of "); ok {
				b.flag(FlagClosure)
				segment = strings.TrimSuffix(name, ">")
				segments[i] = segment
			}
			if !isWord(segment) {
				return false
			}
			// __name in class Type is _Type__name outside of it.
			if i > 0 {
				if name, ok := strings.CutPrefix(segment, "_"+strings.TrimLeft(segments[i-1], "_")+"__"); ok && name != "" && !strings.HasSuffix(name, "__") {
					segments[i] = "__" + name
				}
			}
			continue
		}
		break
	}
	b.member = strings.Join(segments, ".")
	return isDotted(b.member)
}
