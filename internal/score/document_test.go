package score

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseWeightsUndoesAppendDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := DefaultWeights()
		share := rapid.Float64Range(0, 1)
		w.Source.Agent, w.Recency.Floor, w.Others = share.Draw(t, "agent"), share.Draw(t, "floor"), share.Draw(t, "others")
		w.Hits.Weight = rapid.Float64Range(0, 0.9).Draw(t, "hits")
		w.Hits.Decades = rapid.Float64Range(0.1, 64).Draw(t, "decades")
		w.Recency.HalfLife = time.Duration(rapid.IntRange(1, 100000).Draw(t, "minutes")) * time.Minute
		parsed, err := ParseWeights(w.AppendDocument(nil))
		require.NoError(t, err)
		require.Equal(t, w, *parsed)
	})
}

func TestParseWeightsRefuses(t *testing.T) {
	w := DefaultWeights()
	whole := string(w.AppendDocument(nil))
	for _, test := range []struct{ name, document, want string }{
		{"nothing", "", "is no object of texts"},
		{"a number", strings.Replace(whole, `"0.25"`, `0.25`, 1), "is no object of texts"},
		{"another model", strings.Replace(whole, Model, "witness-score/v0", 1), "model: is another one"},
		{"a weight is missing", strings.Replace(whole, `"others":"0.25",`, "", 1), "others: is no number"},
		{"another weight", strings.Replace(whole, `{`, `{"also":"1",`, 1), "is not canonical, or has names that are not known"},
		{"out of range", strings.Replace(whole, `"others":"0.25"`, `"others":"2"`, 1), "others: is not a number from 0 to 1"},
		{"no time", strings.Replace(whole, `"1209600"`, `"-9e99"`, 1), "recency::half_life: is not longer than zero"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseWeights([]byte(test.document))
			assert.EqualError(t, err, test.want)
		})
	}
}
