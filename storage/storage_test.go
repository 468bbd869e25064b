package storage

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/client"
)

type attributes map[string]any

func (a attributes) GetAttribute(name string) any { return a[name] }

func (attributes) GetAttributeNames() []string { return nil }

// Whoever has a tenant is in no other, the default one included, whatever an issuer says it is.
func TestPrincipalFrom(t *testing.T) {
	for _, test := range []struct {
		name string
		auth attributes
		want Principal
	}{
		{"neither", attributes{}, Principal{}},
		{"texts", attributes{"subject": "ann", "username": "x", "claims.tenant": "a"}, Principal{"a", "ann"}},
		{"of the authenticator", attributes{"username": "ann", "tenant": "b", "claims.tenant": "a"}, Principal{"b", "ann"}},
		{"an empty text", attributes{"claims.tenant": ""}, Principal{}},
		{"a number", attributes{"claims.tenant": 7.0}, Principal{Tenant: "7"}},
		{"true", attributes{"claims.tenant": true}, Principal{Tenant: "true"}},
		{"a list", attributes{"claims.tenant": []any{"a"}}, Principal{Tenant: `["a"]`}},
		{"an object", attributes{"claims.tenant": map[string]any{"b": "c", "a": nil}}, Principal{Tenant: `{"a":null,"b":"c"}`}},
		{"what has no JSON", attributes{"claims.tenant": func() {}}, Principal{Tenant: "not a text"}},
		{"a number as subject", attributes{"subject": 7.0, "username": "x"}, Principal{Name: "7"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, authenticated := PrincipalFrom(client.NewContext(t.Context(), client.Info{Auth: test.auth}))
			assert.True(t, authenticated)
			assert.Equal(t, test.want, got)
		})
	}
	_, authenticated := PrincipalFrom(t.Context())
	assert.False(t, authenticated)
}

func TestReceiver(t *testing.T) {
	for source, want := range map[string]string{
		"0a/1/tetragon":      "0a/tetragon",
		"0a/2/tetragon":      "0a/tetragon", // another incarnation
		"0a/1/tetragon/main": "0a/tetragon/main",
		"0a/1/ebpf/main":     "0a/ebpf/main",
		"post/ff/http":       PostSource,
		"post/ee/http":       PostSource,
		"odd":                "odd",
		"odd/1":              "odd",
		"":                   "",
	} {
		assert.Equal(t, want, Receiver(source), source)
	}
}
