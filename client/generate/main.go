// Command generate writes the types of package client from the OpenAPI document of the API. It is run by
// `go generate ./client`.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/format"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: generate <openapi.json> <types.go>")
	}
	document, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	source, err := types(document)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(os.Args[2], source, 0o600); err != nil {
		log.Fatal(err)
	}
}

// schema is what is used of a JSON schema.
type schema struct {
	Ref         string            `json:"$ref"`
	Type        any               `json:"type"`
	Format      string            `json:"format"`
	Description string            `json:"description"`
	Enum        []any             `json:"enum"`
	Const       any               `json:"const"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Items       *schema           `json:"items"`
	Properties  map[string]schema `json:"properties"`
	Required    []string          `json:"required"`
	AnyOf       []schema          `json:"anyOf"`
	OneOf       []schema          `json:"oneOf"`
	AllOf       []schema          `json:"allOf"`
	Additional  json.RawMessage   `json:"additionalProperties"`
}

// kinds are the types of a schema but null, and whether that is one.
func (s *schema) kinds() (kinds []string, nullable bool) {
	all, ok := s.Type.([]any)
	if !ok && s.Type != nil {
		all = []any{s.Type}
	}
	for _, kind := range all {
		if kind == "null" {
			nullable = true
		} else {
			kinds = append(kinds, fmt.Sprint(kind))
		}
	}
	return kinds, nullable
}

type generator struct {
	schemas map[string]schema
	out     bytes.Buffer
	queue   []named // objects in objects, which get a name of their own
}

type named struct {
	name   string
	schema schema
}

// types writes a Go type for each schema of the document, in the order of their names.
func types(document []byte) ([]byte, error) {
	var openapi struct {
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &openapi); err != nil {
		return nil, fmt.Errorf("the OpenAPI document: %w", err)
	}
	g := generator{schemas: openapi.Components.Schemas}
	g.out.WriteString("// Code generated from the OpenAPI document of the API by go generate ./client. DO NOT EDIT.\n\npackage client\n\n" +
		"import (\n\t\"encoding/json\"\n\t\"time\"\n)\n")
	for _, name := range slices.Sorted(maps.Keys(g.schemas)) {
		g.declare(name, g.schemas[name])
		for len(g.queue) > 0 {
			next := g.queue[0]
			g.queue = g.queue[1:]
			g.declare(next.name, next.schema)
		}
	}
	return format.Source(g.out.Bytes())
}

func (g *generator) declare(name string, s schema) {
	g.out.WriteString("\n")
	text := s.Description
	if text == "" {
		text = "is a schema of the API."
	}
	g.comment("", name+": "+text)
	if !isStruct(&s) {
		goType := g.typeOf(name, &s)
		if goType == "json.RawMessage" {
			goType = "= " + goType // with its methods
		}
		fmt.Fprintf(&g.out, "type %s %s\n", name, goType)
		return
	}
	fmt.Fprintf(&g.out, "type %s struct {\n", name)
	for _, property := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[property]
		g.comment("\t", field.Description)
		goType, tag := g.typeOf(name+goName(property), &field), property
		if !slices.Contains(s.Required, property) {
			tag += ",omitzero"
		}
		fmt.Fprintf(&g.out, "\t%s %s `json:\"%s\"`\n", goName(property), goType, tag)
	}
	g.out.WriteString("}\n")
}

func isStruct(s *schema) bool {
	kinds, _ := s.kinds()
	return len(kinds) == 1 && kinds[0] == "object" && len(s.Properties) > 0 && s.Ref == "" && string(s.Additional) == "false"
}

// typeOf is the Go type of a schema. An object that has no name gets the one given.
func (g *generator) typeOf(name string, s *schema) string {
	kinds, nullable := s.kinds()
	pointer := ""
	if nullable {
		pointer = "*"
	}
	for _, choice := range [][]schema{s.AnyOf, s.OneOf} { // a type or null
		if len(choice) == 2 && choice[1].Type == "null" {
			return "*" + g.typeOf(name, &choice[0])
		}
		if len(choice) == 2 && choice[0].Type == "null" {
			return "*" + g.typeOf(name, &choice[1])
		}
	}
	switch {
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case len(kinds) == 0 && (len(s.Enum) > 0 || s.Const != nil):
		return "string"
	case len(kinds) != 1:
		return "json.RawMessage"
	}
	switch kinds[0] {
	case "string":
		if s.Format == "date-time" {
			return pointer + "time.Time"
		}
		return pointer + "string"
	case "boolean":
		return pointer + "bool"
	case "number":
		return pointer + "float64"
	case "integer":
		switch {
		case s.Maximum != nil && *s.Maximum <= 1<<31:
			return pointer + "int"
		case s.Minimum != nil && *s.Minimum >= 0:
			return pointer + "uint64"
		default:
			return pointer + "int64"
		}
	case "array":
		if s.Items == nil {
			return "[]json.RawMessage"
		}
		return "[]" + g.typeOf(singular(name), s.Items)
	case "object":
		if isStruct(s) {
			g.queue = append(g.queue, named{name, *s})
			return pointer + name
		}
		var values schema
		if len(s.Properties) == 0 && len(s.Additional) > 0 && json.Unmarshal(s.Additional, &values) == nil {
			return "map[string]" + g.typeOf(name+"Value", &values)
		}
	}
	return "json.RawMessage"
}

func singular(name string) string {
	if strings.HasSuffix(name, "sses") {
		return strings.TrimSuffix(name, "es")
	}
	return strings.TrimSuffix(name, "s")
}

// initials are what is written in capitals in Go names.
var initials = map[string]string{"id": "ID", "ids": "IDs", "purl": "PURL", "sha256": "SHA256", "url": "URL", "uri": "URI"}

func goName(property string) string {
	var words []string
	start := 0
	for i, r := range property {
		if i > start && (unicode.IsUpper(r) || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			words = append(words, property[start:i])
			start = i
		}
	}
	words = append(words, property[start:])
	out := ""
	for _, word := range words {
		word = strings.TrimLeftFunc(word, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if word == "" {
			continue
		}
		if initial, ok := initials[strings.ToLower(word)]; ok {
			out += initial
			continue
		}
		out += strings.ToUpper(word[:1]) + word[1:]
	}
	return out
}

// comment writes text as lines of a comment.
func (g *generator) comment(indent, text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+len(word) > 110 {
			fmt.Fprintf(&g.out, "%s// %s\n", indent, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		fmt.Fprintf(&g.out, "%s// %s\n", indent, line)
	}
}
