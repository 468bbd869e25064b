package score

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawWeights draws weights that Validate takes.
func drawWeights(t *rapid.T) *Weights {
	unit := func(name string) float64 { return rapid.Float64Range(0, 1).Draw(t, name) }
	falling := func(name string, n int) []float64 {
		values := rapid.SliceOfN(rapid.Float64Range(0, 1), n, n).Draw(t, name)
		slices.Sort(values)
		slices.Reverse(values)
		return values
	}
	p, v, i := falling("proximity", 6), falling("version", 2), falling("identity", 5)
	hits := unit("hits")
	bands := rapid.SliceOfNDistinct(rapid.Float64Range(0.0001, 1), 3, 3, rapid.ID[float64]).Draw(t, "bands")
	slices.Sort(bands)
	w := &Weights{
		Proximity: Proximity{p[0], p[1], p[2], p[3], p[4], p[5]},
		Version:   Version{v[0], v[1]},
		Source: Source{
			unit("probe"), unit("line table"), unit("symbol table"), unit("event"), unit("agent"), unit("other"),
			rapid.Float64Range(0, MaxAssertedCap).Draw(t, "cap"),
		},
		Identity: Identity{i[0], i[1], i[2], i[3], i[4]},
		Recency:  Recency{time.Duration(rapid.Int64Range(1, int64(1000*24*time.Hour)).Draw(t, "half-life")), unit("floor")},
		Hits:     Hits{hits, rapid.Float64Range(0.01, 64).Draw(t, "decades")},
		Breadth:  Breadth{rapid.Float64Range(0, 1-hits).Draw(t, "breadth"), rapid.Float64Range(0.01, 64).Draw(t, "doublings")},
		Others:   unit("others"),
		Bands:    Bands{bands[2], bands[1], bands[0]},
	}
	require.NoError(t, w.Validate())
	return w
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Weights)
		want   string // empty: valid
	}{
		{"default", func(*Weights) {}, ""},
		{"all levels alike", func(w *Weights) { w.Proximity = Proximity{1, 1, 1, 1, 1, 1} }, ""},
		{"more than 1", func(w *Weights) { w.Others = 1.5 }, "others: is not a number from 0 to 1"},
		{"negative", func(w *Weights) { w.Source.Agent = -0.1 }, "source::agent: is not a number from 0 to 1"},
		{"not a number", func(w *Weights) { w.Identity.Other = math.NaN() }, "identity::other: is not a number from 0 to 1"},
		{"levels", func(w *Weights) { w.Proximity.Library = 0.6 }, "proximity::library: is more than proximity::package"},
		{"versions", func(w *Weights) { w.Version.Affected = 0.5 }, "version::unknown: is more than version::affected"},
		{"identities", func(w *Weights) { w.Identity.Other = 0.75 }, "identity::other: is more than identity::package_db"},
		{"asserted", func(w *Weights) { w.Source.AssertedCap = 0.51 }, "source::asserted_cap: is more than 0.5"},
		{"half-life", func(w *Weights) { w.Recency.HalfLife = 0 }, "recency::half_life: is not longer than zero"},
		{"hits and breadth", func(w *Weights) { w.Hits.Weight, w.Breadth.Weight = 0.6, 0.6 }, "breadth::weight: is more than 1 together with hits::weight"},
		{"no scale", func(w *Weights) { w.Hits.Decades = 0 }, "hits::decades: is not a number above 0"},
		{"endless scale", func(w *Weights) { w.Breadth.Doublings = math.Inf(1) }, "breadth::doublings: is not a number above 0"},
		{"band of nothing", func(w *Weights) { w.Bands.Loaded = 0 }, "bands::loaded: is not above 0"},
		{"bands", func(w *Weights) { w.Bands.Likely = 0.2 }, "bands::likely: is not above bands::loaded"},
		{"bands above", func(w *Weights) { w.Bands.Witnessed = 0.4 }, "bands::witnessed: is not above bands::likely"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := DefaultWeights()
			test.change(&w)
			if test.want == "" {
				require.NoError(t, w.Validate())
				return
			}
			require.ErrorContains(t, w.Validate(), test.want)
		})
	}
}

// TestDigest pins the document of the default weights: digests are compared over releases.
func TestDigest(t *testing.T) {
	w := DefaultWeights()
	document := w.AppendDocument(nil)
	assert.Equal(t, `{"bands::likely":"0.5","bands::loaded":"0.2","bands::witnessed":"0.8","breadth::doublings":"5","breadth::weight":"0.1",`+
		`"hits::decades":"4","hits::weight":"0.1","identity::file":"1","identity::other":"0.5","identity::package_db":"0.7",`+
		`"identity::package_db_checksum":"0.9","identity::sbom":"0.8","model":"witness-score/v1","others":"0.25","proximity::closure":"0.85",`+
		`"proximity::function":"1","proximity::inlined":"0.95","proximity::library":"0.35","proximity::package":"0.55","proximity::process":"0.15",`+
		`"recency::floor":"0.7","recency::half_life":"1209600","source::agent":"0.6","source::asserted_cap":"0.5","source::event":"0.8",`+
		`"source::line_table":"0.95","source::other":"0.5","source::probe":"1","source::symbol_table":"0.9","version::affected":"1","version::unknown":"0.6"}`,
		string(document))
	digest := sha256.Sum256(document)
	assert.Equal(t, "sha256:"+hex.EncodeToString(digest[:]), w.Digest())
}

// TestDigestCoversAll changes each number alone: none is left out of the digest.
func TestDigestCoversAll(t *testing.T) {
	w := DefaultWeights()
	seen := map[string]string{w.Digest(): "default"}
	var visit func(value reflect.Value, name string)
	visit = func(value reflect.Value, name string) {
		switch value.Kind() {
		case reflect.Struct:
			for i := range value.NumField() {
				visit(value.Field(i), name+"."+value.Type().Field(i).Name)
			}
		case reflect.Float64:
			before := value.Float()
			value.SetFloat(before + 0.0625)
			assert.NotContains(t, seen, w.Digest(), name)
			seen[w.Digest()] = name
			value.SetFloat(before)
		default:
			before := value.Int()
			value.SetInt(before + 1)
			assert.NotContains(t, seen, w.Digest(), name)
			seen[w.Digest()] = name
			value.SetInt(before)
		}
	}
	visit(reflect.ValueOf(&w).Elem(), "weights")
	assert.Len(t, seen, 31)
	assert.Equal(t, DefaultWeights(), w)
}
