package finding

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// read is what Stream hands over.
func read(r io.Reader) (ids, errs []string, complete bool) {
	complete = Stream("f", r, func(f witness.Finding, err error) {
		if err != nil {
			errs = append(errs, err.Error())
			return
		}
		ids = append(ids, f.ID)
	})
	return ids, errs, complete
}

const ownJSON = `{"findings":[{"id":"A"},
{"id":"B"}]}`

func TestStreamReadsToTheEnd(t *testing.T) {
	line := func(id string) string {
		return `{"id":"` + id + `","affected":[{"package":{"ecosystem":"Go","name":"x.y/z"}}]}` + "\n"
	}
	for _, test := range []struct {
		name, document string
		ids, errs      []string
		complete       bool
	}{
		{"ours", ownJSON, []string{"A", "B"}, nil, true},
		{"ours, cut", ownJSON[:len(ownJSON)-1], []string{"A", "B"}, []string{"f: findings[1]: and what follows is not valid JSON"}, false},
		{"ours, cut in an item", ownJSON[:30], []string{"A"}, []string{"f: findings[1]: and what follows is not valid JSON"}, false},
		{"ours, broken", `{"findings":[{"id":"A"},]}`, []string{"A"}, []string{"f: findings[1]: and what follows is not valid JSON"}, false},
		{"ours, a bad item", `{"findings":[{"id":""},{"id":"B"}]}`, []string{"B"}, []string{"f: findings[0]: id: is empty"}, true},
		{"ours, twice", ownJSON + "\n" + `{"findings":[{"id":"C"}]}`, []string{"A", "B", "C"}, nil, true},
		{"ours, and lines", ownJSON + line("C") + line("D"), []string{"A", "B", "C", "D"}, nil, true},
		{"ours, behind another member", `{"version":1,"findings":[{"id":"A"}]}`, []string{"A"}, []string{"f: version: is not a known member"}, true},
		{"ours, before another member", `{"findings":[{"id":"A"}],"version":{"a":[1]}}`, []string{"A"}, []string{"f: version: is not a known member"}, true},
		{"ours, behind blanks", `{` + strings.Repeat(" ", 1000) + ownJSON[1:], []string{"A", "B"}, nil, true},
		{"no list", `{"findings":{"id":"A"}}`, nil, []string{"f: findings: is not a list"}, false},
		{"lines", line("A") + line("B"), []string{"A", "B"}, nil, true},
		{"a bad line", line("A") + "{]\n" + line("B"), []string{"A", "B"}, []string{"f: item 2: is not valid JSON"}, true},
		{"a bad last line", line("A") + "{]\n", []string{"A"}, []string{"f: item 2: is not valid JSON"}, true},
		{"a cut last line", line("A") + line("B")[:20], []string{"A"}, []string{"f: item 2: is not valid JSON"}, false},
		{"array", "[" + strings.Join([]string{line("A"), line("B")}, ",") + "]", []string{"A", "B"}, nil, true},
		{"array, cut", "[" + line("A") + ",", []string{"A"}, []string{"f: item 2: and what follows is not valid JSON"}, false},
		{"array, and more", "[" + line("A") + "]]", []string{"A"}, []string{"f: item 2: and what follows is not valid JSON"}, false},
		{"YAML", "findings:\n- id: A\n", []string{"A"}, nil, true},
		{"YAML, broken", "findings:\n- id: A\n- {", nil, []string{"f: line 3: is not valid YAML"}, false},
		{"YAML of something else", "hello", nil, []string{"f: has no member findings"}, false},
		{"YAML with another member", "findings:\nversion: 1\n", nil, []string{"f: line 2: version: is not a known member"}, false},
		{"nothing", " \n\u00a0", nil, []string{"f: is empty"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(test.document), iotest.OneByteReader(strings.NewReader(test.document)), iotest.DataErrReader(strings.NewReader(test.document))} {
				ids, errs, complete := read(r)
				assert.Equal(t, test.ids, ids)
				assert.Equal(t, test.errs, errs)
				assert.Equal(t, test.complete, complete)
			}
		})
	}
}

// A reader that fails in the middle is never taken for a document that ends there.
func TestStreamOfAReaderThatFails(t *testing.T) {
	for _, document := range []string{ownJSON, "[" + goOSV + "]", goOSV + "\n" + goOSV, ownYAML} {
		for n := range len(document) {
			r := io.MultiReader(strings.NewReader(document[:n]), iotest.ErrReader(errors.New("secret")))
			_, errs, complete := read(r)
			require.False(t, complete, document[:n])
			require.Equal(t, []string{"f: cannot be read"}, errs, document[:n])
		}
	}
}

func TestStreamIsBounded(t *testing.T) {
	blank := strings.Repeat(" ", MaxSize)
	for name, start := range map[string]string{"ours": `{"findings":[{"id":"A"},`, "array": "[", "lines": "{", "YAML": "findings:"} {
		t.Run(name, func(t *testing.T) {
			_, errs, complete := read(io.MultiReader(strings.NewReader(start), strings.NewReader(blank)))
			assert.False(t, complete)
			require.Len(t, errs, 1)
			if name == "YAML" {
				assert.Contains(t, errs[0], "is larger than 8 MiB")
			} else {
				assert.Contains(t, errs[0], "is larger than 64 MiB")
			}
		})
	}
}
