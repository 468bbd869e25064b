package finding

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Bounds of a document.
const (
	MaxSize   = 64 << 20 // bytes
	MaxErrors = 10000    // what comes behind so many errors is not read
	maxYAML   = 8 << 20  // bytes: a parsed document is many times larger
	maxDepth  = 64       // of YAML
)

// Reasons of errors of Parse that callers tell apart.
var (
	// ErrWithdrawn says that an advisory was withdrawn: it is no finding.
	ErrWithdrawn = errors.New("the advisory was withdrawn")
	// ErrSize says that a document is larger than MaxSize; nothing of it was read.
	ErrSize = fmt.Errorf("is larger than %d MiB", MaxSize>>20)
)

// ItemError is the error of one item of a document. It names where, and repeats no value.
type ItemError struct {
	File string // as given to Parse
	Item string // findings[3] (line 12), advisory 7; empty if it is the whole document
	Err  error  // a *FieldError, where a member is at fault
}

func (e *ItemError) Error() string {
	if e.Item == "" {
		return e.File + ": " + e.Err.Error()
	}
	return e.File + ": " + e.Item + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *ItemError) Unwrap() error { return e.Err }

// Parse reads findings from a document, of at most MaxSize bytes, in one of these forms:
//
//   - YAML or JSON with the one member findings, a list of findings with the members of witness.Finding under their JSON
//     names; scope is not among them. Unknown members are refused by name. In YAML every scalar is text, so that a version
//     1.10 stays what it is; aliases and merge keys are refused, and a document has at most 8 MiB.
//   - OSV JSON (https://ossf.github.io/osv-schema/): one advisory, an array of them, or one after the other, as one per
//     line. There is one finding for each advisory and package: the id is the advisory's if it is about one package, and
//     else <advisory>/<package>, or <advisory>/<ecosystem>/<package> if the package is in several ecosystems. Entries of
//     the same package with the same symbols are one finding; if their symbols differ, further ones end in ~2, ~3 and so
//     on, since each has versions of its own. Vulnerable symbols are read from the Go vulnerability database
//     (ecosystem_specific.imports) and RustSec (ecosystem_specific.affects.functions).
//
// Each error is an *ItemError. An item at fault loses no other. An advisory that was withdrawn is left out with an error
// that is ErrWithdrawn. Of two findings with the same id the second is an error.
func Parse(name string, r io.Reader) ([]witness.Finding, []error) {
	var findings []witness.Finding
	var errs []error
	Stream(name, r, func(f witness.Finding, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		findings = append(findings, f)
	})
	if n := len(errs); n > 0 && errors.Is(errs[n-1], ErrSize) {
		return nil, errs
	}
	return findings, errs
}

// Stream reads what Parse reads, and hands over each finding, or error of an item, as it comes. Of JSON it holds one item
// at a time, of YAML the whole document. It reports whether the document was read to its end: it was not when reading
// fails, when the document is too large, has too many items at fault, or ends in the middle of something.
func Stream(name string, r io.Reader, each func(witness.Finding, error)) (complete bool) {
	p := parser{name: name, each: each, seen: map[string]bool{}}
	t := &tape{r: r}
	start, err := t.start()
	switch {
	case err != nil:
	case start == '[':
		err = t.pass(p.array)
	case start == '{':
		err = p.sequence(t)
	default:
		err = p.yaml(t)
	}
	switch {
	case errors.Is(t.err, ErrSize): // whatever was made of what came before
		p.refuse("", ErrSize)
		return false
	case t.failed():
		p.refuse("", errors.New("cannot be read"))
		return false
	case err != nil && !errors.Is(err, errTold):
		p.refuse("", err)
	}
	return err == nil
}

// errTold says that the document was not read to its end, and that the reason was reported.
var errTold = errors.New("the rest is not read")

type parser struct {
	name   string
	each   func(witness.Finding, error)
	faults int
	seen   map[string]bool
	items  int // of a JSON document, so far
}

func (p *parser) refuse(item string, err error) {
	p.faults++
	p.each(witness.Finding{}, &ItemError{File: p.name, Item: item, Err: err})
}

// full says that there were too many errors to go on, and reports it once.
func (p *parser) full() bool {
	if p.faults < MaxErrors {
		return false
	}
	if p.faults == MaxErrors {
		p.refuse("", fmt.Errorf("has %d items at fault: the rest is not read", MaxErrors))
	}
	return true
}

func (p *parser) add(item string, f witness.Finding) {
	if err := validate(&f); err != nil {
		p.refuse(item, err)
		return
	}
	if p.seen[f.ID] {
		p.refuse(item, fieldError(errors.New("is the id of an earlier finding"), "id"))
		return
	}
	p.seen[f.ID] = true
	Scrub(&f)
	p.each(f, nil)
}

// sequence reads JSON objects one after the other. Behind what is not JSON it goes on with the next line that starts
// with a brace, as long as not too much had to be read twice.
func (p *parser) sequence(t *tape) error {
	for twice := 0; !p.full(); {
		if t.ended() {
			if t.failed() {
				return errTold
			}
			return nil
		}
		p.items++
		err := p.value(t)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errTold):
			return err
		}
		if t.failed() {
			return errTold
		}
		p.refuse(fmt.Sprintf("item %d", p.items), errors.New("is not valid JSON"))
		cost := t.at
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			cost = int(syntax.Offset)
		}
		if twice += cost; twice > 4*t.total+tapeChunk {
			p.refuse("", errors.New("has too much that is not valid JSON: the rest is not read"))
			return errTold
		}
		if !t.nextObject() {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return errTold
			}
			return nil
		}
	}
	return errTold
}

// value reads one object of a sequence. An error that is not errTold says that it is not JSON.
func (p *parser) value(t *tape) error {
	if t.startsFindings() {
		return t.pass(p.ours)
	}
	var raw json.RawMessage
	decoder := json.NewDecoder(t)
	if err := decoder.Decode(&raw); err != nil {
		return err
	}
	p.object(raw)
	t.drop(int(decoder.InputOffset()))
	return nil
}

// array reads a JSON array of objects.
func (p *parser) array(decoder *json.Decoder) error {
	_, err := decoder.Token()
	for err == nil && decoder.More() {
		if p.full() {
			return errTold
		}
		var raw json.RawMessage
		if err = decoder.Decode(&raw); err == nil {
			p.items++
			p.object(raw)
		}
	}
	if err == nil {
		_, err = decoder.Token()
	}
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	return p.breaks(fmt.Sprintf("item %d", p.items+1), err)
}

// breaks reports that JSON is none from an item on.
func (p *parser) breaks(item string, err error) error {
	var syntax *json.SyntaxError
	if err == nil || errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		p.refuse(item, errors.New("and what follows is not valid JSON"))
	}
	return errTold
}

// object reads a document of ours, or else an advisory.
func (p *parser) object(raw json.RawMessage) {
	var kind struct {
		Findings json.RawMessage `json:"findings"`
	}
	if json.Unmarshal(raw, &kind) != nil || kind.Findings == nil {
		p.advisory(fmt.Sprintf("advisory %d", p.items), raw)
		return
	}
	_ = p.ours(json.NewDecoder(bytes.NewReader(raw))) // valid JSON: only what it holds can be wrong
}

// ours reads a document of ours.
func (p *parser) ours(decoder *json.Decoder) error {
	item := fmt.Sprintf("item %d", p.items)
	if _, err := decoder.Token(); err != nil {
		return p.breaks(item, err)
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return p.breaks(item, err)
		}
		if key != "findings" {
			name, _ := key.(string)
			p.refuse("", fieldError(errors.New("is not a known member"), "%s", short(name)))
			var skipped json.RawMessage
			if err := decoder.Decode(&skipped); err != nil {
				return p.breaks(item, err)
			}
			continue
		}
		if start, err := decoder.Token(); err != nil {
			return p.breaks(item, err)
		} else if start != json.Delim('[') {
			p.refuse("", fieldError(errors.New("is not a list"), "findings"))
			return errTold
		}
		for i := 0; decoder.More(); i++ {
			if p.full() {
				return errTold
			}
			item = fmt.Sprintf("findings[%d]", i)
			var finding json.RawMessage
			if err := decoder.Decode(&finding); err != nil {
				return p.breaks(item, err)
			}
			p.finding(item, finding)
		}
		if _, err := decoder.Token(); err != nil {
			return p.breaks(item, err)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return p.breaks(item, err)
	}
	return nil
}

// finding reads one finding of ours.
func (p *parser) finding(item string, raw json.RawMessage) {
	var f witness.Finding
	if err := strict(raw, &f); err != nil {
		p.refuse(item, err)
		return
	}
	if f.Scope != "" {
		p.refuse(item, fieldError(errors.New("is set by the server"), "scope"))
		return
	}
	p.add(item, f)
}

// strict decodes JSON and refuses unknown members.
func strict(raw json.RawMessage, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	return jsonError(decoder.Decode(into))
}

// jsonError says what encoding/json says without repeating a value.
func jsonError(err error) error {
	var mistyped *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mistyped):
		field := mistyped.Field
		if field == "" {
			return errors.New("is not an object")
		}
		return fieldError(fmt.Errorf("is not %s", typeName(mistyped.Type.Kind().String())), "%s", field)
	}
	if _, quoted, ok := strings.Cut(err.Error(), "json: unknown field "); ok {
		return fieldError(errors.New("is not a known member"), "%s", short(strings.Trim(quoted, `"`)))
	}
	return errors.New("is not valid JSON")
}

func typeName(kind string) string {
	switch kind {
	case "string":
		return "text"
	case "slice":
		return "a list"
	default:
		return "an object"
	}
}

// short bounds and scrubs the name of a member that somebody made up.
func short(name string) string {
	const most = 64
	name = privacy.Text(name)
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "..."
	}
	return name
}

// yaml reads documents of ours.
func (p *parser) yaml(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxYAML+1))
	if err != nil {
		return errTold
	}
	if len(data) > maxYAML {
		return fmt.Errorf("is larger than %d MiB, the most for YAML; JSON may be larger", maxYAML>>20)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for !p.full() {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return yamlError(err)
		}
		if err := p.yamlDocument(&document); err != nil {
			return err
		}
	}
	return errTold
}

// yamlError keeps the line of an error, whose text may quote the document.
func yamlError(err error) error {
	var line int
	if _, scanErr := fmt.Sscanf(err.Error(), "yaml: line %d:", &line); scanErr != nil {
		return errors.New("is not valid YAML")
	}
	return fmt.Errorf("line %d: is not valid YAML", line)
}

func (p *parser) yamlDocument(document *yaml.Node) error {
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return errors.New("has no member findings")
	}
	root := document.Content[0]
	var list *yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key := root.Content[i]; key.Value != "findings" || list != nil {
			p.refuse(fmt.Sprintf("line %d", key.Line), fieldError(errors.New("is not a known member"), "%s", short(key.Value)))
			return errTold
		}
		list = root.Content[i+1]
	}
	if list == nil || list.Kind == yaml.ScalarNode && list.Tag == "!!null" {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		p.refuse(fmt.Sprintf("line %d", list.Line), fieldError(errors.New("is not a list"), "findings"))
		return errTold
	}
	for i, node := range list.Content {
		if p.full() {
			return errTold
		}
		item := fmt.Sprintf("findings[%d] (line %d)", i, node.Line)
		value, err := plain(node, 0)
		if err != nil {
			p.refuse(item, err)
			continue
		}
		raw, err := json.Marshal(value)
		if err != nil {
			p.refuse(item, errors.New("is not valid"))
			continue
		}
		p.finding(item, raw)
	}
	return nil
}

// plain is a YAML node as JSON has it, every scalar as text.
func plain(node *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: is nested deeper than %d", node.Line, maxDepth)
	}
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag == "!!null" {
			return nil, nil
		}
		return node.Value, nil
	case yaml.SequenceNode:
		list := make([]any, 0, len(node.Content))
		for _, element := range node.Content {
			value, err := plain(element, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.MappingNode:
		object := make(map[string]any, len(node.Content)/2)
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if _, twice := object[key.Value]; twice || key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				return nil, fmt.Errorf("line %d: has a member twice, a merge key, or one that is not text", key.Line)
			}
			value, err := plain(node.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			object[key.Value] = value
		}
		return object, nil
	default:
		return nil, fmt.Errorf("line %d: aliases are not supported", node.Line)
	}
}
