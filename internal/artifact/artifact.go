// Package artifact turns what a file says of itself into the artifact that it is and the components that its code
// belongs to. It is pure: no file is read here.
package artifact

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// How an artifact was identified: values of witness.artifact.identity.method.
const (
	MethodBuildInfo   = "buildinfo"
	MethodNotePackage = "note-package"
	MethodPath        = "path"
)

const (
	maxModules = 10_000 // of one Go binary; kubelet has 150, the largest known 400
	maxText    = 512    // bytes of one name or version
)

// Module is a Go module at a version. Version is empty when unknown, as for (devel).
type Module struct {
	Path, Version string
}

// Note is what .note.package says: the distribution's package that the file was built from.
type Note struct {
	Type, OS, Name, Version string // Name is the source package
}

// Facts are what is known of one file. What a file says of itself is a claim.
type Facts struct {
	BuildID   string // GNU build-id, lower-case hex
	GoBuildID string
	SHA256    string // lower-case hex, empty when not computed
	// GoVersion is the toolchain's version without "go". IsGo tells a Go binary of an unknown version.
	GoVersion string
	IsGo      bool
	// MainPackage is the import path of package main, Main its module.
	MainPackage string
	Main        Module
	// deps are the modules by the import path that the code has, sorted.
	deps     []dependency
	Revision string
	Note     Note
}

type dependency struct {
	prefix string // import path prefix
	module Module // what is compiled in: the replacement, if there is one
}

// SetBuildInfo takes over module versions and the revision, and nothing else: build flags and local paths stay behind.
func (f *Facts) SetBuildInfo(b *debug.BuildInfo) {
	f.IsGo, f.GoVersion = true, goVersion(b.GoVersion)
	f.MainPackage, f.Main = bounded(b.Path), moduleOf(&b.Main)
	deps := b.Deps[:min(len(b.Deps), maxModules)]
	f.deps = make([]dependency, 0, len(deps)+1)
	for _, m := range deps {
		if m != nil && bounded(m.Path) != "" {
			f.deps = append(f.deps, dependency{m.Path, moduleOf(m)})
		}
	}
	if f.Main.Path != "" {
		f.deps = append(f.deps, dependency{b.Main.Path, f.Main})
	}
	slices.SortStableFunc(f.deps, func(a, b dependency) int { return cmp.Compare(a.prefix, b.prefix) })
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" && isHex(s.Value) {
			f.Revision = s.Value
		}
	}
}

// moduleOf is the module whose code is compiled in. A replacement by a local directory leaves the name, and nothing
// is known of the version.
func moduleOf(m *debug.Module) Module {
	version := m.Version
	path := m.Path
	if m.Replace != nil {
		version = m.Replace.Version
		if version != "" {
			path = m.Replace.Path
		}
	}
	if version == "(devel)" {
		version = ""
	}
	return Module{bounded(path), bounded(version)}
}

// goVersion reads "go1.26.1" and "go1.26.1 X:experiment"; a development version says nothing.
func goVersion(s string) string {
	version, ok := strings.CutPrefix(s, "go")
	version, _, _ = strings.Cut(version, " ")
	if !ok {
		return ""
	}
	return bounded(version)
}

func bounded(s string) string {
	if len(s) > maxText || !utf8.ValidString(s) {
		return ""
	}
	return s
}

func isHex(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, "0123456789abcdef") == ""
}

// ErrNote is the error of a package note that is not one.
var ErrNote = errors.New("the package note is not JSON with a type, a name and a version")

// ParseNote reads the JSON of .note.package. Only types of known package managers count.
func ParseNote(text []byte) (Note, error) {
	var note struct {
		Type    string `json:"type"`
		OS      string `json:"os"`
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &note); err != nil {
		return Note{}, ErrNote
	}
	n := Note{bounded(note.Type), bounded(strings.ToLower(note.OS)), bounded(note.Name), bounded(note.Version)}
	if _, ok := noteTypes[n.Type]; !ok || n.Name == "" || n.Version == "" {
		return Note{}, ErrNote
	}
	return n, nil
}

// noteTypes maps the types of package notes to those of purls.
var noteTypes = map[string]string{"deb": "deb", "rpm": "rpm", "apk": "apk", "alpm": "alpm", "arch": "alpm"}

// PURL is the purl of the source package, as pkg:deb/debian/openssl@3.0.19-1~deb12u2.
func (n Note) PURL() string {
	if n == (Note{}) {
		return ""
	}
	return purl(noteTypes[n.Type], join(n.OS, escapeName(n.Name)), n.Version)
}

func join(namespace, escaped string) string {
	if namespace == "" {
		return escaped
	}
	return escape(namespace) + "/" + escaped
}

// PURL is the purl of the module, as pkg:golang/golang.org/x/net@v0.12.0. Its path keeps its case, since advisories
// are written with it.
func (m Module) PURL() string {
	if m.Path == "" {
		return ""
	}
	return purl("golang", escape(m.Path), m.Version)
}

func purl(kind, escapedName, version string) string {
	if version == "" {
		return "pkg:" + kind + "/" + escapedName
	}
	return "pkg:" + kind + "/" + escapedName + "@" + escapeName(version)
}

// escape percent-encodes all but slashes and what may stand in a purl as it is.
func escape(s string) string { return encode(s, "/") }

// escapeName encodes slashes too: in a version or a name without namespace they separate nothing.
func escapeName(s string) string { return encode(s, "") }

func encode(s, keep string) string {
	const digits = "0123456789ABCDEF"
	plain := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(".-_~:", c) >= 0 || strings.IndexByte(keep, c) >= 0
	}
	first := 0
	for first < len(s) && plain(s[first]) {
		first++
	}
	if first == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)+16), s[:first]...)
	for i := first; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

// Method is how the artifact was identified: by what is inside the file, or by nothing but its path.
func (f *Facts) Method() string {
	switch {
	case f.main() != (Module{}):
		return MethodBuildInfo
	case f.Note != (Note{}):
		return MethodNotePackage
	default:
		return MethodPath
	}
}

// main is the main module; for Go's own commands the toolchain, as the Go vulnerability database names it. A binary
// built outside a module is its package, unless that is but a directory (_/home/...).
func (f *Facts) main() Module {
	switch {
	case f.Main.Path != "":
		return f.Main
	case within(f.MainPackage, "cmd"):
		return Module{"toolchain", f.GoVersion}
	case strings.Contains(f.MainPackage, "/") && !strings.HasPrefix(f.MainPackage, "_/"):
		return Module{Path: f.MainPackage}
	default:
		return Module{}
	}
}

// Artifact is the artifact that the file is.
func (f *Facts) Artifact() witness.Artifact {
	a := witness.Artifact{Method: f.Method(), Revision: f.Revision}
	switch a.Method {
	case MethodBuildInfo:
		a.PURL = f.main().PURL()
	case MethodNotePackage:
		a.PURL = f.Note.PURL()
	}
	if f.SHA256 != "" {
		a.Digest = "sha256:" + f.SHA256
	}
	return a
}

// Component is the purl of the component that code of a package belongs to, empty when unknown. In a Go binary that is
// the module with the longest import path prefix, or the standard library; language is then go or unknown (empty), and
// pkg the import path. Elsewhere all code is of the package that the file comes from.
func Component(f *Facts, language, pkg string) string {
	if !f.IsGo {
		return f.Note.PURL()
	}
	if language != "go" && language != "" || pkg == "" {
		return ""
	}
	if pkg == "main" || pkg == "command-line-arguments" {
		return f.main().PURL()
	}
	if strings.HasPrefix(pkg, "vendor/") {
		return Module{"stdlib", f.GoVersion}.PURL()
	}
	if m, ok := f.module(pkg); ok {
		return m.PURL()
	}
	if within(pkg, "cmd") {
		return Module{"toolchain", f.GoVersion}.PURL()
	}
	if standard(pkg) {
		return Module{"stdlib", f.GoVersion}.PURL()
	}
	if f.Main.Path == "" && within(pkg, f.MainPackage) {
		return f.main().PURL()
	}
	return ""
}

// module is the dependency with the longest prefix of pkg.
func (f *Facts) module(pkg string) (Module, bool) {
	for prefix := pkg; ; {
		if i, ok := slices.BinarySearchFunc(f.deps, prefix, func(d dependency, p string) int { return cmp.Compare(d.prefix, p) }); ok {
			return f.deps[i].module, true
		}
		slash := strings.LastIndexByte(prefix, '/')
		if slash < 0 {
			return Module{}, false
		}
		prefix = prefix[:slash]
	}
}

// standard reports whether pkg is of the Go distribution: no other import path may begin with an element without a dot,
// and _ is a directory.
func standard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return first != "" && first != "_" && !strings.Contains(first, ".")
}

func within(pkg, path string) bool {
	rest, ok := strings.CutPrefix(pkg, path)
	return path != "" && ok && (rest == "" || rest[0] == '/')
}

// PostedComponent is the purl of the component that a posted Go frame belongs to, as far as the posted artifact's purl
// tells: the artifact's own module for its packages, the standard library without version for those of Go. Otherwise
// it is empty.
func PostedComponent(artifactPURL, language, pkg string) string {
	if language != "go" || pkg == "" {
		return ""
	}
	name, version, ok := parseGo(artifactPURL)
	switch {
	case ok && (pkg == "main" || within(pkg, name)):
		return Module{name, version}.PURL()
	case pkg != "main" && pkg != "command-line-arguments" && standard(pkg):
		return Module{Path: "stdlib"}.PURL()
	default:
		return ""
	}
}

// parseGo reads module path and version of a golang purl; qualifiers and subpath are left out.
func parseGo(text string) (path, version string, ok bool) {
	rest, ok := strings.CutPrefix(text, "pkg:golang/")
	if !ok {
		return "", "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	path, version, _ = strings.Cut(rest, "@")
	path, ok = decode(path)
	if !ok || path == "" {
		return "", "", false
	}
	version, ok = decode(version)
	return path, version, ok
}

// decode undoes percent-encoding.
func decode(s string) (string, bool) {
	s, err := url.PathUnescape(s)
	return s, err == nil && utf8.ValidString(s)
}
