package witness

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew; review every change: a changed id orphans stored evidence")

// vector is a golden vector: what a witness is, its identity document and its id.
type vector struct {
	Name     string  `json:"name"`
	Witness  Witness `json:"witness"`
	Document string  `json:"document"`
	ID       string  `json:"id"`
}

func vectors() []vector {
	web := Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:" + strings.Repeat("ab", 32)}
	goModule := Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"}
	next := Frame{Package: "golang.org/x/net/html", Member: "Tokenizer.Next", Symbol: "golang.org/x/net/html.Tokenizer.Next", Language: "go", Module: goModule, Offset: 0x1234, HasOffset: true, File: "token.go", Line: 12}
	caller := Frame{Package: "main", Member: "main", Symbol: "main.main", Language: "go", Flags: []string{"closure"}, Module: goModule}
	return []vector{
		{Name: "exec on the host, by path", Witness: Witness{Kind: KindExec, Frame: Frame{Module: Module{Path: "/usr/bin/curl"}}}},
		{Name: "load in a workload, by build-id", Witness: Witness{Kind: KindLoad, Frame: Frame{Module: goModule}, Workload: web}},
		{Name: "load in a workload, by image and path", Witness: Witness{Kind: KindLoad, Frame: Frame{Module: Module{Path: "/lib/libssl.so.3"}}, Workload: web}},
		{Name: "load by sha256", Witness: Witness{Kind: KindLoad, Frame: Frame{Module: Module{SHA256: strings.Repeat("0f", 32), Path: "/app"}}}},
		{Name: "call without callers", Witness: Witness{Kind: KindCall, Frame: next, Workload: web}},
		{Name: "call with a caller", Witness: Witness{Kind: KindCall, Frame: next, Workload: web, Path: []Frame{caller}}},
		{Name: "sample of the same function is another witness", Witness: Witness{Kind: KindSample, Frame: next, Workload: web, Path: []Frame{caller}}},
		{Name: "sample without a symbol, by offset", Witness: Witness{Kind: KindSample, Frame: Frame{Module: Module{Path: "/opt/x"}, Offset: 0xffffffffff, HasOffset: true}}},
		{Name: "kernel call", Witness: Witness{Kind: KindCall, Frame: Frame{Symbol: "tcp_connect", Language: "kernel", Module: Module{Path: KernelModule}}, Workload: web}},
		{Name: "unknown container", Witness: Witness{Kind: KindExec, Frame: Frame{Module: Module{Path: "/bin/sh"}}, Workload: UnknownWorkload}},
		{Name: "texts that need escapes", Witness: Witness{Kind: KindCall, Frame: Frame{Symbol: "operator\"\\\"\u0001\u007f\u2028é\U0001F600", Flags: []string{"z", "a", "a"}, Module: Module{Path: "/tmp/\t\n\r\b\f/</script>"}}}},
		{Name: "flags are a set", Witness: Witness{Kind: KindCall, Frame: Frame{Symbol: "f", Flags: []string{"generic", "closure"}, Module: Module{Path: "/a"}}}},
	}
}

// TestGoldenVectors is the verifier of the golden vectors: other implementations check themselves against the file.
func TestGoldenVectors(t *testing.T) {
	const file = "testdata/vectors.json"
	if *update {
		all := vectors()
		for i := range all {
			all[i].Document = string(all[i].Witness.AppendDocument(nil))
			all[i].ID = all[i].Witness.ID().String()
		}
		text, err := json.MarshalIndent(all, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(text, '\n'), 0o600))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var golden []vector
	require.NoError(t, json.Unmarshal(text, &golden))
	require.Len(t, golden, len(vectors()), "run with -update")
	ids := map[string]string{}
	for _, v := range golden {
		t.Run(v.Name, func(t *testing.T) {
			assert.Equal(t, v.Document, string(v.Witness.AppendDocument(nil)))
			assert.Equal(t, v.ID, v.Witness.ID().String())
			canonical, err := jcs.Transform([]byte(v.Document))
			require.NoError(t, err)
			assert.Equal(t, string(canonical), v.Document, "the document is not RFC 8785 canonical")
			assert.Empty(t, ids[v.ID], "two witnesses with one id")
			ids[v.ID] = v.Name
		})
	}
}

func anyFrame(t *rapid.T, label string) Frame {
	return Frame{
		Symbol:    rapid.String().Draw(t, label+" symbol"),
		Flags:     rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,3}`), 0, 3).Draw(t, label+" flags"),
		Module:    Module{BuildID: rapid.StringMatching(`([0-9a-f]{8})?`).Draw(t, label+" build-id"), Path: rapid.String().Draw(t, label+" path")},
		Offset:    rapid.Uint64().Draw(t, label+" offset"),
		HasOffset: rapid.Bool().Draw(t, label+" has offset"),
	}
}

func anyWitness(t *rapid.T) Witness {
	w := Witness{
		Kind:  rapid.SampledFrom(Kinds).Draw(t, "kind"),
		Frame: anyFrame(t, "frame"),
		Workload: Workload{
			Namespace: rapid.String().Draw(t, "namespace"), Controller: rapid.String().Draw(t, "controller"),
			Container: rapid.String().Draw(t, "container"), Image: rapid.String().Draw(t, "image"),
		},
	}
	for range rapid.IntRange(0, 4).Draw(t, "callers") {
		w.Path = append(w.Path, anyFrame(t, "caller"))
	}
	return w
}

func TestDocumentIsCanonicalJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWitness(t)
		document := w.AppendDocument(nil)
		canonical, err := jcs.Transform(document)
		if err != nil {
			t.Fatalf("%q: %v", document, err)
		}
		if string(canonical) != string(document) {
			t.Fatalf("not canonical:\n%s\n%s", document, canonical)
		}
	})
}

func TestWhatMayBeLearntLaterNeverChangesAnID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWitness(t)
		before := w.ID()
		for _, frame := range append([]*Frame{&w.Frame}, pointers(w.Path)...) {
			frame.Component = "pkg:golang/example.com/x@v1"
			frame.Confidence = 0.5
			frame.File, frame.Line, frame.Inlined = "x.go", 7, true
			frame.Package, frame.Member, frame.Language, frame.SymbolSource = "p", "m", "go", "agent"
			if frame.Module.BuildID != "" {
				frame.Module.Path = "/somewhere/else"
			}
			if frame.Symbol != "" {
				frame.Offset++
			}
		}
		if w.ID() != before {
			t.Fatal("the id changed")
		}
	})
}

func pointers(frames []Frame) []*Frame {
	all := make([]*Frame, len(frames))
	for i := range frames {
		all[i] = &frames[i]
	}
	return all
}

func TestEveryIdentifyingFieldChangesTheID(t *testing.T) {
	base := func() Witness { return vectors()[5].Witness }
	changes := map[string]func(*Witness){
		"kind":              func(w *Witness) { w.Kind = KindSample },
		"symbol":            func(w *Witness) { w.Frame.Symbol += "x" },
		"flags":             func(w *Witness) { w.Frame.Flags = []string{"closure"} },
		"module":            func(w *Witness) { w.Frame.Module.BuildID = "00" },
		"offset, no symbol": func(w *Witness) { w.Frame.Symbol = "" },
		"namespace":         func(w *Witness) { w.Workload.Namespace += "x" },
		"controller":        func(w *Witness) { w.Workload.Controller += "x" },
		"container":         func(w *Witness) { w.Workload.Container += "x" },
		"image":             func(w *Witness) { w.Workload.Image += "x" },
		"caller":            func(w *Witness) { w.Path[0].Symbol += "x" },
		"no caller":         func(w *Witness) { w.Path = nil },
	}
	original := base()
	seen := map[ID]string{original.ID(): "the original"}
	for name, change := range changes {
		w := base()
		change(&w)
		assert.Empty(t, seen[w.ID()], name)
		seen[w.ID()] = name
	}
}

func TestParseID(t *testing.T) {
	w := vectors()[0].Witness
	id, err := ParseID(w.ID().String())
	require.NoError(t, err)
	assert.Equal(t, w.ID(), id)
	for name, text := range map[string]string{"empty": "", "short": "ab", "upper case": strings.Repeat("AB", 32), "not hex": strings.Repeat("zz", 32), "long": strings.Repeat("ab", 33)} {
		_, err := ParseID(text)
		assert.Error(t, err, name)
	}
}

func BenchmarkID(b *testing.B) {
	w := vectors()[5].Witness
	b.Run("appended", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.ID()
		}
	})
	b.Run("by the JCS library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			text, _ := json.Marshal(w)
			if _, err := jcs.Transform(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
