package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTypesAreThoseOfTheDocument(t *testing.T) {
	document, err := os.ReadFile("../../extension/witnessqueryextension/openapi.json")
	require.NoError(t, err)
	want, err := types(document)
	require.NoError(t, err)
	got, err := os.ReadFile("../types.go")
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), "run go generate ./client")
}

func TestNames(t *testing.T) {
	for property, want := range map[string]string{
		"id": "ID", "findingId": "FindingID", "purl": "PURL", "sha256": "SHA256", "$schema": "Schema", "hits-error": "HitsError", "asOf": "AsOf",
	} {
		assert.Equal(t, want, goName(property), property)
	}
}

func TestTypes(t *testing.T) {
	for name, test := range map[string]struct{ schema, want string }{
		"text":             {`{"type":"string"}`, "type X string"},
		"time or null":     {`{"type":"object","additionalProperties":false,"required":["a"],"properties":{"a":{"type":["string","null"],"format":"date-time"}}}`, "A *time.Time `json:\"a\"`"},
		"not required":     {`{"type":"object","additionalProperties":false,"properties":{"a":{"type":"integer","minimum":0}}}`, "A uint64 `json:\"a,omitzero\"`"},
		"object in a list": {`{"type":"object","additionalProperties":false,"required":["as"],"properties":{"as":{"type":"array","items":{"type":"object","additionalProperties":false,"properties":{"b":{"type":"boolean"}}}}}}`, "type XA struct {"},
		"reference":        {`{"type":"array","items":{"$ref":"#/components/schemas/Y"}}`, "type X []Y"},
		"a type or null":   {`{"type":"object","additionalProperties":false,"required":["a"],"properties":{"a":{"oneOf":[{"$ref":"#/components/schemas/Y"},{"type":"null"}]}}}`, "A *Y `json:\"a\"`"},
		"map":              {`{"type":"object","additionalProperties":{"type":"number"}}`, "type X map[string]float64"},
		"anything":         {`{}`, "type X = json.RawMessage"},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := types([]byte(`{"components":{"schemas":{"X":` + test.schema + `}}}`))
			require.NoError(t, err)
			assert.Contains(t, string(source), test.want)
		})
	}
	_, err := types([]byte(`{`))
	require.Error(t, err)
}
