// Package ingest turns posted traces into observations: it decodes them strictly, makes them the same events that a
// receiver makes, and passes these through the same packages as a pipeline does. No I/O and no clock.
package ingest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/strictjson"
)

// Limits of a request. What is over one is rejected, trace by trace, but for MaxTraces.
const (
	MaxTraces = 10000     // in a request
	MaxFrames = 20000     // in all traces of a request
	MaxText   = 4096      // bytes of a text
	MaxHits   = 1<<53 - 1 // of a trace: what every JSON reader can hold
)

// Trace is a posted trace as it travels. Frames are innermost first.
type Trace struct {
	Kind               string    `json:"kind"`
	Hits               *int64    `json:"hits,omitempty"`
	FirstSeen          string    `json:"firstSeen,omitempty"`
	LastSeen           string    `json:"lastSeen,omitempty"`
	VulnerableFunction string    `json:"vulnerableFunction,omitempty"`
	Module             string    `json:"module,omitempty"`
	Frames             []Frame   `json:"frames,omitempty"`
	Artifact           Artifact  `json:"artifact,omitzero"`
	Container          Container `json:"container,omitzero"`
	Host               string    `json:"host,omitempty"`
}

// Frame of a posted trace.
type Frame struct {
	Symbol   string `json:"symbol,omitempty"`
	Language string `json:"language,omitempty"`
	Module   string `json:"module,omitempty"`
	BuildID  string `json:"buildId,omitempty"`
	SHA256   string `json:"sha256,omitempty"`
	Offset   string `json:"offset,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int32  `json:"line,omitempty"`
	Inlined  bool   `json:"inlined,omitempty"`
}

// Artifact that a posted trace asserts.
type Artifact struct {
	PURL       string `json:"purl,omitempty"`
	Digest     string `json:"digest,omitempty"`
	Revision   string `json:"revision,omitempty"`
	Repository string `json:"repository,omitempty"`
}

// Container that a posted trace was seen in.
type Container struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Image string `json:"image,omitempty"`
}

// Rejection is a trace that was not taken. The reason names a member and repeats no value.
type Rejection struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

// Request is the decoded body of one request.
type Request struct {
	traces   []Trace
	rejected []Rejection // of traces that are not of the right types
	digest   [sha256.Size]byte
	timed    bool
}

// Decode reads the body of a request: {"traces": [...]}. An error is about the whole of it and is a *strictjson.Error.
// A trace with a value of a wrong type is only rejected itself.
func Decode(body []byte) (*Request, error) {
	if err := strictjson.Check(body, reflect.TypeFor[struct {
		Traces []Trace `json:"traces"`
	}]()); err != nil {
		return nil, err
	}
	var document struct {
		Traces *[]json.RawMessage `json:"traces"`
	}
	if err := strictjson.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	switch {
	case document.Traces == nil:
		return nil, &strictjson.Error{Line: 1, Column: 1, Problem: `has no member "traces"`}
	case len(*document.Traces) > MaxTraces:
		return nil, &strictjson.Error{Line: 1, Column: 1, Path: "traces", Problem: fmt.Sprintf("has more than %d items", MaxTraces)}
	}
	r := &Request{traces: make([]Trace, len(*document.Traces)), timed: true}
	digest := sha256.New()
	for i, raw := range *document.Traces {
		trace := &r.traces[i]
		canonical := []byte(raw)
		if err := json.Unmarshal(raw, trace); err != nil {
			r.rejected = append(r.rejected, Rejection{i, strictjson.TypeProblem(err)})
		} else {
			if canonical, err = json.Marshal(trace); err != nil {
				return nil, fmt.Errorf("encode a trace: %w", err)
			}
			r.timed = r.timed && trace.LastSeen != ""
		}
		// JSON never holds a raw newline between its tokens here: Marshal writes none, and the other branch is rejected.
		digest.Write(canonical)
		digest.Write([]byte{'\n'})
	}
	digest.Sum(r.digest[:0])
	return r, nil
}

// Len is how many traces there are, the rejected ones included.
func (r *Request) Len() int { return len(r.traces) }

// Digest is of the content: the same for the same members and values, however they are written.
func (r *Request) Digest() [sha256.Size]byte { return r.digest }

// Timed reports whether every trace says when it was seen. Only then is the same content the same event.
func (r *Request) Timed() bool { return r.timed }
