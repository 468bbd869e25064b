// Command generate writes internal/semconv/attributes.go and docs/semantic-conventions.md from model.yaml.
// It is run by `go generate ./internal/semconv`.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

type event struct {
	Name, Doc  string
	Attributes []string
}

type attribute struct {
	Name, Type, Privacy, Doc string
	On, Values               []string
}

type model struct {
	Version    int
	Events     []event
	Attributes []attribute
	Frames     []attribute
}

var (
	types   = []string{"string", "int", "double", "bool", "string[]", "map[]", "time", "hex"}
	privacy = []string{"keep", "evidence", "path", "symbol", "offset", "identity", "user", "argument", "hook_argument", "text", "stack"}
	places  = []string{"resource", "scope", "record"}
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: generate model.yaml attributes.go semantic-conventions.md")
	}
	m, err := read(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	source, err := format.Source(goSource(m))
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(os.Args[2], source, 0o644); err != nil { //nolint:gosec // a source file
		log.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(os.Args[3]), 0o755); err != nil { //nolint:gosec // a docs folder
		log.Fatal(err)
	}
	if err := os.WriteFile(os.Args[3], markdown(m), 0o644); err != nil { //nolint:gosec // a docs file
		log.Fatal(err)
	}
}

func read(path string) (model, error) {
	var m model
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&m); err != nil {
		return m, err
	}
	known := map[string]bool{}
	for _, a := range m.Attributes {
		if known[a.Name] {
			return m, fmt.Errorf("%s: twice in the model", a.Name)
		}
		known[a.Name] = true
		if len(a.On) == 0 {
			return m, fmt.Errorf("%s: on is missing", a.Name)
		}
	}
	for _, a := range slices.Concat(m.Attributes, m.Frames) {
		if !slices.Contains(types, a.Type) || !slices.Contains(privacy, a.Privacy) {
			return m, fmt.Errorf("%s: type %q or privacy %q is not known", a.Name, a.Type, a.Privacy)
		}
		for _, on := range a.On {
			if !slices.Contains(places, on) {
				return m, fmt.Errorf("%s: on %q is not known", a.Name, on)
			}
		}
	}
	for _, e := range m.Events {
		for _, name := range e.Attributes {
			if !known[name] {
				return m, fmt.Errorf("%s: %s is not an attribute of the model", e.Name, name)
			}
		}
	}
	return m, nil
}

var word = regexp.MustCompile(`[A-Za-z0-9]+`)

// upper are the words that Go writes in capitals.
var upper = map[string]string{"fs": "FS", "lsm": "LSM", "id": "ID", "k8s": "K8S", "purl": "PURL", "url": "URL", "vcs": "VCS", "pid": "PID", "uid": "UID", "os": "OS", "gnu": "GNU", "ids": "IDs", "sha256": "SHA256"}

func goName(name string) string {
	var b strings.Builder
	for _, w := range word.FindAllString(name, -1) {
		if u, ok := upper[w]; ok {
			b.WriteString(u)
			continue
		}
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

func goSource(m model) []byte {
	var b bytes.Buffer
	b.WriteString("// Code generated from model.yaml by internal/semconv/generate; DO NOT EDIT.\n\npackage semconv\n\n")
	fmt.Fprintf(&b, "// Version of the model.\nconst Version = %d\n\n", m.Version)
	b.WriteString("// Names of events: LogRecord.EventName.\nconst (\n")
	for _, e := range m.Events {
		fmt.Fprintf(&b, "\t// Event%s: %s\n\tEvent%s = %q\n", goName(strings.TrimPrefix(e.Name, "runtime.")), e.Doc, goName(strings.TrimPrefix(e.Name, "runtime.")), e.Name)
	}
	b.WriteString(")\n\n// Names of attributes.\nconst (\n")
	for _, a := range m.Attributes {
		fmt.Fprintf(&b, "\t// %s: %s\n\t%s = %q\n", goName(a.Name), a.Doc, goName(a.Name), a.Name)
	}
	b.WriteString(")\n\n// Keys of a frame in witness.stack.\nconst (\n")
	for _, a := range m.Frames {
		fmt.Fprintf(&b, "\t// Frame%s: %s\n\tFrame%s = %q\n", goName(a.Name), a.Doc, goName(a.Name), a.Name)
	}
	b.WriteString(")\n\nvar events = map[string]Event{\n")
	for _, e := range m.Events {
		fmt.Fprintf(&b, "\t%q: {Name: %q, Required: %#v},\n", e.Name, e.Name, e.Attributes)
	}
	table := func(name string, attributes []attribute) {
		fmt.Fprintf(&b, "}\n\nvar %s = map[string]Attribute{\n", name)
		for _, a := range attributes {
			fmt.Fprintf(&b, "\t%q: {Name: %q, Type: %q, Privacy: %q", a.Name, a.Name, a.Type, a.Privacy)
			for _, on := range a.On {
				fmt.Fprintf(&b, ", On%s: true", goName(on))
			}
			if len(a.Values) > 0 {
				fmt.Fprintf(&b, ", Values: %#v", a.Values)
			}
			b.WriteString("},\n")
		}
	}
	table("attributes", m.Attributes)
	table("frames", m.Frames)
	b.WriteString("}\n")
	return b.Bytes()
}

func markdown(m model) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- Generated from internal/semconv/model.yaml; do not edit. -->\n\n# Semantic conventions, version %d\n\n", m.Version)
	b.WriteString("Events are OTLP log records; `EventName` says which. The body is empty or short text for people: nothing is parsed out of it.\n" +
		"Attributes that are not listed here are dropped and counted by the canonicalization processor, unless `allow` names them.\n\n## Events\n\n| event | meaning | always there |\n|---|---|---|\n")
	for _, e := range m.Events {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` |\n", e.Name, e.Doc, strings.Join(e.Attributes, "`, `"))
	}
	table := func(title string, attributes []attribute, keep func(attribute) bool) {
		fmt.Fprintf(&b, "\n## %s\n\n| name | type | privacy | meaning |\n|---|---|---|---|\n", title)
		for _, a := range attributes {
			if !keep(a) {
				continue
			}
			doc := a.Doc
			if len(a.Values) > 0 {
				doc += " One of `" + strings.Join(a.Values, "`, `") + "`."
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", a.Name, a.Type, a.Privacy, doc)
		}
	}
	table("Resource and scope attributes", m.Attributes, func(a attribute) bool { return a.On[0] != "record" })
	table("Record attributes", m.Attributes, func(a attribute) bool { return slices.Contains(a.On, "record") })
	table("Frames of `witness.stack`, innermost first", m.Frames, func(attribute) bool { return true })
	b.WriteString(`
## Types and privacy

| type | on the wire |
|---|---|
| time | string, RFC 3339 in UTC with up to nine decimals |
| hex | string, ` + "`0x`" + ` and hexadecimal digits: 64-bit values do not fit other tools' numbers |
| map[] | slice of maps |

| privacy | what canonicalization does |
|---|---|
| keep | nothing; a value of another type, or not one of those listed, is dropped |
| evidence | nothing; a value that is not of that form is dropped |
| path | folds home directories, temporary names and process ids |
| symbol | writes the canonical name; a text that is not a symbol is dropped |
| offset | drops what cannot be a file offset |
| identity | ` + "`identities: keep, hmac or drop`" + ` |
| user | replaces the id by its class |
| argument | dropped, unless the operator asks for it |
| hook_argument | dropped, unless policy, index and type are on the operator's list |
| text | scrubbed for credentials, addresses and names |
| stack | each frame by the table above |
`)
	return b.Bytes()
}
