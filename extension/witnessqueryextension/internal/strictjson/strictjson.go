// Package strictjson finds what encoding/json lets pass: unknown members, members of another case, repeated members,
// bytes that are not UTF-8 and text behind the document. Its errors say where, and name members but no value.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// Error says what is wrong with a document, and where.
type Error struct {
	Line, Column int    // from 1; the column counts bytes
	Path         string // as traces[3].frames[0], empty for the document
	Problem      string
}

func (e *Error) Error() string {
	at := fmt.Sprintf("line %d, column %d: ", e.Line, e.Column)
	if e.Path != "" {
		at += e.Path + ": "
	}
	return at + e.Problem
}

// Unmarshal checks data against the JSON members of *v and decodes it. An error is an *Error.
func Unmarshal(data []byte, v any) error {
	if err := Check(data, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	var offset int64
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		offset = mismatch.Offset
	}
	return at(data, offset, "", TypeProblem(err))
}

// TypeProblem says which member of a document, that is JSON, is of the wrong type.
func TypeProblem(err error) string {
	var mismatch *json.UnmarshalTypeError
	if !errors.As(err, &mismatch) {
		return "has a value that cannot be read"
	}
	problem := "is not " + article(mismatch.Type)
	if mismatch.Field != "" {
		return mismatch.Field + ": " + problem
	}
	return problem
}

func article(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint, reflect.Int32, reflect.Uint32:
		return "a whole number in range"
	case reflect.Float64:
		return "a number"
	default:
		return "an object"
	}
}

// Check checks that data is one JSON document whose objects have no member but those of the type, and none twice. What
// type a value has is left to the decoder. An error is an *Error.
func Check(data []byte, t reflect.Type) error {
	if !utf8.Valid(data) {
		bad := 0
		for bad < len(data) {
			r, size := utf8.DecodeRune(data[bad:])
			if r == utf8.RuneError && size <= 1 {
				break
			}
			bad += size
		}
		return at(data, int64(bad), "", "is not UTF-8")
	}
	c := checker{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	c.decoder.UseNumber()
	if err := c.value(t, ""); err != nil {
		return err
	}
	if _, err := c.decoder.Token(); !errors.Is(err, io.EOF) {
		return c.fail("", "the document has ended before this")
	}
	return nil
}

type checker struct {
	data    []byte
	decoder *json.Decoder
}

func (c *checker) fail(path, problem string) error {
	return at(c.data, c.decoder.InputOffset(), path, problem)
}

func (c *checker) token(path string) (json.Token, error) {
	token, err := c.decoder.Token()
	if err == nil {
		return token, nil
	}
	offset := c.decoder.InputOffset()
	var syntax *json.SyntaxError
	problem := "is not JSON"
	switch {
	case errors.As(err, &syntax):
		offset = max(offset, syntax.Offset-1)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		offset, problem = int64(len(c.data)), "ends too early"
	}
	return nil, at(c.data, offset, path, problem)
}

func (c *checker) value(t reflect.Type, path string) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := c.token(path)
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		if token == nil && path == "" { // it would be read as a document without members
			return at(c.data, 0, "", "is not "+article(t))
		}
		return nil
	}
	switch {
	case delim == '{' && t != nil && t.Kind() == reflect.Struct:
		return c.object(t, path)
	case delim == '[' && t != nil && t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		for i := 0; c.decoder.More(); i++ {
			if err := c.value(t.Elem(), path+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
		_, err = c.token(path)
		return err
	default:
		return c.skip(path)
	}
}

func (c *checker) object(t reflect.Type, path string) error {
	seen := map[string]bool{}
	for c.decoder.More() {
		token, err := c.token(path)
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return c.fail(path, "is not JSON")
		}
		member, known := memberOf(t, name)
		if !known {
			return c.fail(path, "has an unknown member "+Quote(name))
		}
		if seen[name] {
			return c.fail(path, "has the member "+Quote(name)+" twice")
		}
		seen[name] = true
		inner := name
		if path != "" {
			inner = path + "." + name
		}
		if err := c.value(member, inner); err != nil {
			return err
		}
	}
	_, err := c.token(path)
	return err
}

// skip reads to the end of the array or object that was just opened, whatever its depth.
func (c *checker) skip(path string) error {
	for depth := 1; depth > 0; {
		token, err := c.token(path)
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

// memberOf finds the member that the json tags of a struct, embedded ones included, give a name.
func memberOf(t reflect.Type, name string) (reflect.Type, bool) {
	for _, field := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag == name && tag != "-" {
			return field.Type, true
		}
	}
	return nil, false
}

// Quote shortens and scrubs a name that somebody else chose, to what fits in a message.
func Quote(name string) string {
	const most = 64
	name = privacy.Text(name)
	if len(name) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + "..."
	}
	return strconv.Quote(name)
}

func at(data []byte, offset int64, path, problem string) *Error {
	before := data[:min(max(offset, 0), int64(len(data)))]
	return &Error{
		Line:    1 + bytes.Count(before, []byte{'\n'}),
		Column:  len(before) - bytes.LastIndexByte(before, '\n'),
		Path:    path,
		Problem: problem,
	}
}
