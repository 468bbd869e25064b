package snapshot

import (
	"errors"
	"maps"
	"slices"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add(build(f, full(), "").Document)
	f.Add([]byte(`{"schema":""}`))
	f.Add([]byte("[[[["))
	f.Fuzz(func(t *testing.T, document []byte) {
		d, err := Parse(document)
		if err != nil {
			if !errors.Is(err, ErrDocument) {
				t.Fatal(err)
			}
			return
		}
		if encoded, err := d.encode(); err != nil || string(encoded) != string(document) {
			t.Fatal("it is not what was parsed")
		}
	})
}

// FuzzReplay has inputs that fit their digests, whatever they are.
func FuzzReplay(f *testing.F) {
	for _, state := range golden() {
		built := build(f, state, "")
		d, err := Parse(built.Document)
		if err != nil {
			f.Fatal(err)
		}
		inputs := map[Kind][]byte{}
		for _, input := range d.Inputs {
			inputs[input.Kind] = built.Inputs[input.SHA256]
		}
		f.Add(inputs[KindContainment], inputs[KindContainmentWeights], inputs[KindCoverage], inputs[KindEvidence], inputs[KindFinding], inputs[KindWeights])
	}
	whole := build(f, full(), "")
	f.Fuzz(func(t *testing.T, reach, controls, coverage, evidence, finding, weights []byte) {
		d, err := Parse(whole.Document)
		if err != nil {
			t.Fatal(err)
		}
		inputs := maps.Clone(whole.Inputs)
		for i, data := range [][]byte{reach, controls, coverage, evidence, finding, weights} {
			d.Inputs[i].SHA256, d.Inputs[i].Size = Digest(data), formatCount(len(data))
			inputs[d.Inputs[i].SHA256] = data
		}
		if d.SnapshotID, err = d.id(); err != nil {
			t.Fatal(err)
		}
		document, err := d.encode()
		if err != nil {
			t.Fatal(err)
		}
		report, err := Replay(document, inputsOf(&Built{Inputs: inputs}))
		if err != nil {
			t.Fatal(err)
		}
		if report.Match != (report.Outcome == ReplayMatch) || report.Outcome == ReplayDifferent && report.Difference == nil ||
			!slices.Contains([]string{ReplayMatch, ReplayDifferent, ReplayUnreadable}, report.Outcome) {
			t.Fatalf("%+v", report)
		}
	})
}
