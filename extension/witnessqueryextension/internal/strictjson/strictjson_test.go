package strictjson

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type inner struct {
	B *int `json:"b"`
}

type document struct {
	inner
	A    string          `json:"a"`
	List []inner         `json:"list,omitempty"`
	Any  json.RawMessage `json:"any"`
}

func TestUnmarshal(t *testing.T) {
	for _, test := range []struct{ name, data, want string }{
		{"everything", `{"a":"x","b":1,"list":[{"b":2},{}],"any":{"x":[1,{"x":1,"x":2}]}}`, ""},
		{"null", `{"a":null,"list":null}`, ""},
		{"unknown member", "{\n \"c\":1}", `line 2, column 5: has an unknown member "c"`},
		{"unknown member inside", `{"list":[{},{"x":1}]}`, `line 1, column 17: list[1]: has an unknown member "x"`},
		{"another case", `{"A":"x"}`, `line 1, column 5: has an unknown member "A"`},
		{"twice", `{"a":"x","a":"y"}`, `line 1, column 13: has the member "a" twice`},
		{"text behind", `{} {}`, `line 1, column 5: the document has ended before this`},
		{"rubbish behind", `{} x`, `line 1, column 4: the document has ended before this`},
		{"ends early", `{"a":`, `line 1, column 6: a: ends too early`},
		{"empty", ``, `line 1, column 1: ends too early`},
		{"syntax", "{\"a\":\n\nnope}", `line 3, column 1: a: is not JSON`},
		{"not UTF-8", "{\"a\":\"\xff\"}", `line 1, column 7: is not UTF-8`},
		{"wrong type", `{"a":7}`, `line 1, column 7: a: is not a string`},
		{"wrong type inside", `{"list":[{"b":"secret"}]}`, `list.b: is not a whole number in range`},
		{"not an object", `[]`, `line 1, column 2: is not an object`},
		{"deep", `{"any":` + strings.Repeat("[", 100000), `any: ends too early`},
		{"long name", `{"` + strings.Repeat("é", 100) + `":1}`, strings.Repeat("é", 32) + `..."`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d document
			err := Unmarshal([]byte(test.data), &d)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), test.want)
			assert.NotContains(t, err.Error(), "secret")
			var e *Error
			assert.ErrorAs(t, err, &e)
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"a":"x","b":1,"list":[{"b":2},{}],"any":[{}]}`))
	f.Add([]byte(`{"a":"x"`))
	f.Add([]byte("{\"a\":\xff}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d document
		if err := Unmarshal(data, &d); err == nil && !json.Valid(data) {
			t.Fatal("took what is not JSON")
		}
	})
}
