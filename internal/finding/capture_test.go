package finding

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// sight is a function that a capture of Tetragon shows: what was hooked, and the user frames behind it.
type sight struct {
	kind  witness.Kind
	frame witness.Frame
}

func sights(t *testing.T, path string) []sight {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	unzipped, err := gzip.NewReader(file)
	require.NoError(t, err)
	var list []sight
	add := func(kind witness.Kind, language, raw string) {
		if s, ok := symbol.Canonical(raw, language); ok {
			list = append(list, sight{kind, witness.Frame{
				Language: s.Language, Package: s.Package, Member: s.Member, Symbol: s.Name, Flags: s.Flags, Confidence: s.Confidence,
			}})
		}
	}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Uprobe *struct{ Symbol string }         `json:"process_uprobe"`
			USDT   *struct{ Provider, Name string } `json:"process_usdt"`
			Kprobe *struct {
				Function string                    `json:"function_name"`
				User     []struct{ Symbol string } `json:"user_stack_trace"`
			} `json:"process_kprobe"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		switch {
		case event.Uprobe != nil:
			add(witness.KindCall, "", event.Uprobe.Symbol)
		case event.USDT != nil:
			add(witness.KindCall, "c", "__dtrace_"+event.USDT.Provider+"___"+event.USDT.Name)
		case event.Kprobe != nil:
			add(witness.KindCall, "kernel", event.Kprobe.Function)
			seen := map[string]bool{}
			for _, frame := range event.Kprobe.User {
				if !seen[frame.Symbol] {
					add(witness.KindSample, "", frame.Symbol)
				}
				seen[frame.Symbol] = true
			}
		}
	}
	require.NoError(t, lines.Err())
	return list
}

// TestDemoFindings holds what testdata/findings/README.md says of the capture.
func TestDemoFindings(t *testing.T) {
	directory := filepath.Join("..", "..", "testdata")
	var findings []witness.Finding
	for _, name := range []string{"demo.yaml", "advisories.osv.json"} {
		file, err := os.Open(filepath.Join(directory, "findings", name))
		require.NoError(t, err)
		list, errs := Parse(name, file)
		require.NoError(t, file.Close())
		require.Empty(t, errs)
		findings = append(findings, list...)
	}
	type result struct {
		kind    witness.Kind
		version VersionState
		events  int
	}
	want := map[string]result{
		"DEMO-0001":                     {witness.KindCall, VersionAffected, 20},
		"DEMO-0002":                     {witness.KindSample, VersionUnknown, 32},
		"DEMO-0003":                     {witness.KindSample, VersionAffected, 20},
		"DEMO-0004":                     {witness.KindCall, VersionAffected, 20},
		"DEMO-0005":                     {witness.KindCall, VersionAffected, 20},
		"DEMO-0006":                     {witness.KindSample, VersionAffected, 5},
		"DEMO-0007":                     {},
		"DEMO-0008":                     {},
		"GO-2023-1988":                  {},
		"GO-2023-2102/stdlib":           {},
		"GO-2023-2102/golang.org/x/net": {},
		"RUSTSEC-2021-0003":             {},
	}
	seen := sights(t, filepath.Join(directory, "tetragon", "linger.export.jsonl.gz"))
	got := map[string]result{}
	for i := range findings {
		f := &findings[i]
		if strings.HasPrefix(f.ID, "DEMO-") {
			assert.True(t, strings.HasPrefix(f.Title, "Example: "), f.ID)
		}
		r := result{}
		for _, s := range seen {
			if m, ok := Of(f, s.kind, &s.frame, &witness.Artifact{}, false); ok {
				assert.Equal(t, LevelFunction, m.Level, f.ID)
				r = result{s.kind, m.Version, r.events + 1}
			}
		}
		got[f.ID] = r
	}
	assert.Equal(t, want, got)
}
