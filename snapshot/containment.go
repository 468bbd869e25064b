package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Containment is what is known of the processes that run the code of a finding.
type Containment struct {
	// Processes are the signals of each; one without any is one of which nothing is known.
	Processes [][]witness.Signal
	// Truncated says that there were more than were looked at.
	Truncated bool
	// Weights is the canonical JSON of the containment model's weights.
	Weights []byte
}

// Contained is how far what runs is contained, beside the score and never in it.
type Contained struct {
	// BlastRadius is 0..1; empty when no control is known, which is not 0.
	BlastRadius  string `json:"blastRadius,omitempty"`
	UnknownShare string `json:"unknownShare"`
	// Missing and Unknown are controls, in the order of the model.
	Missing []string `json:"missing"`
	Unknown []string `json:"unknown"`
}

type (
	containmentInput struct {
		Processes []processInput `json:"processes"` // sorted by their JSON
		Truncated bool           `json:"truncated"`
	}
	processInput struct {
		Signals []signalInput `json:"signals"` // by name
	}
	signalInput struct {
		Name       witness.SignalName   `json:"name"`
		Values     []string             `json:"values"`
		Source     witness.SignalSource `json:"source"`
		Assurance  witness.Assurance    `json:"assurance"`
		ObservedAt string               `json:"observedAt"`
	}
)

// encode is the input; tooLarge if it would be one.
func (c *Containment) encode() (encoded []byte, tooLarge bool, err error) {
	in := containmentInput{Processes: make([]processInput, 0, len(c.Processes)), Truncated: c.Truncated}
	keys := map[int]string{}
	order := make([]int, 0, len(c.Processes))
	all := make([]processInput, len(c.Processes))
	for i, signals := range c.Processes {
		all[i].Signals = []signalInput{}
		for _, s := range signals {
			all[i].Signals = append(all[i].Signals, signalInput{s.Name, append([]string{}, s.Values...), s.Source, s.Assurance, formatTime(s.ObservedAt)})
		}
		slices.SortStableFunc(all[i].Signals, func(a, b signalInput) int { return strings.Compare(string(a.Name), string(b.Name)) })
		key, err := encode(&all[i])
		if err != nil {
			return nil, false, err
		}
		keys[i], order = string(key), append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
	for _, i := range order {
		in.Processes = append(in.Processes, all[i])
	}
	encoded, err = encode(&in)
	return encoded, len(encoded) > MaxInput, err
}

func (r *reader) containment(in *containmentInput, weights []byte) *Containment {
	c := &Containment{Truncated: in.Truncated, Weights: weights}
	for i := range in.Processes {
		signals := []witness.Signal{}
		for _, s := range in.Processes[i].Signals {
			signals = append(signals, witness.Signal{
				Name: s.Name, Values: s.Values, Source: s.Source, Assurance: s.Assurance,
				ObservedAt: r.time("containment/processes/"+strconv.Itoa(i), s.ObservedAt),
			})
		}
		c.Processes = append(c.Processes, signals)
	}
	return c
}

// contain judges as witness-containment/v1 does.
func (c *Containment) contain() (result *Contained, digest string, err error) {
	weights, err := containmentWeights(c.Weights)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", KindContainmentWeights, err)
	}
	var processes []containment.Process
	for _, signals := range c.Processes {
		process := containment.Process{}
		for _, s := range signals {
			process[s.Name] = s
		}
		processes = append(processes, process)
	}
	judged := containment.Assess(weights, processes)
	result = &Contained{UnknownShare: formatFraction(judged.UnknownShare), Missing: []string{}, Unknown: []string{}}
	if judged.BlastRadius != nil {
		result.BlastRadius = formatFraction(*judged.BlastRadius)
	}
	for i := range judged.Parts {
		switch judged.Parts[i].State {
		case containment.Missing:
			result.Missing = append(result.Missing, judged.Parts[i].Name)
		case containment.Unknown:
			result.Unknown = append(result.Unknown, judged.Parts[i].Name)
		}
	}
	return result, weights.Digest(), nil
}

// containmentWeights reads what containment.Weights.AppendDocument writes, and nothing else.
func containmentWeights(document []byte) (*containment.Weights, error) {
	var texts map[string]string
	if json.Unmarshal(document, &texts) != nil {
		return nil, errMembers
	}
	w := &containment.Weights{}
	fields := reflect.ValueOf(w).Elem()
	for i := range fields.NumField() {
		x, err := strconv.ParseFloat(texts[fields.Type().Field(i).Tag.Get("mapstructure")], 64)
		if err != nil {
			return nil, errMembers
		}
		fields.Field(i).SetFloat(x)
	}
	if err := w.Validate(); err != nil {
		return nil, err
	}
	if !bytes.Equal(w.AppendDocument(nil), document) {
		return nil, errors.New("is not canonical, of another model, or has names that are not known")
	}
	return w, nil
}
