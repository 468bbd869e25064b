package source

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// memory is a storage client that keeps values in a map.
type memory struct {
	values map[string][]byte
	fail   error
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) { return m.values[key], m.fail }
func (m *memory) Set(_ context.Context, key string, value []byte) error {
	m.values[key] = value
	return m.fail
}
func (m *memory) Delete(_ context.Context, key string) error {
	delete(m.values, key)
	return m.fail
}
func (m *memory) Batch(_ context.Context, operations ...*storage.Operation) error {
	for _, operation := range operations {
		switch operation.Type {
		case storage.Get:
			operation.Value = m.values[operation.Key]
		case storage.Set:
			m.values[operation.Key] = operation.Value
		case storage.Delete:
			delete(m.values, operation.Key)
		}
	}
	return m.fail
}
func (m *memory) Close(context.Context) error { return nil }

var receiver = component.MustNewIDWithName("tetragon", "a")

func open(t *testing.T, client storage.Client, restored bool) (id, incarnation string) {
	t.Helper()
	source, err := Open(t.Context(), client, receiver, restored)
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`^[0-9a-f]{20}/[0-9]+/tetragon/a$`), source)
	parts := strings.SplitN(source, "/", 3)
	return parts[0], parts[1]
}

func TestOpenWithoutClient(t *testing.T) {
	first, incarnation := open(t, nil, false)
	assert.Equal(t, "0", incarnation)
	second, incarnation := open(t, nil, true)
	assert.Equal(t, "0", incarnation)
	assert.NotEqual(t, first, second, "nothing is kept, so nothing may be used again")
}

func TestOpenKeepsTheID(t *testing.T) {
	client := &memory{values: map[string][]byte{}}
	id, incarnation := open(t, client, false)
	assert.Equal(t, "1", incarnation)
	for _, step := range []struct {
		name     string
		restored bool
		want     string
	}{
		{"state restored", true, "1"},
		{"state lost", false, "2"},
		{"restored again", true, "2"},
		{"lost again", false, "3"},
	} {
		t.Run(step.name, func(t *testing.T) {
			again, incarnation := open(t, client, step.restored)
			assert.Equal(t, id, again)
			assert.Equal(t, step.want, incarnation)
		})
	}
}

func TestOpenMakesAnewWhatCannotBeRead(t *testing.T) {
	for name, values := range map[string]map[string][]byte{
		"id is no hex":              {keyID: []byte("zzzzzzzzzzzzzzzz"), keyIncarnation: []byte("7")},
		"id is short":               {keyID: []byte("abcd"), keyIncarnation: []byte("7")},
		"incarnation is no number":  {keyID: []byte("0123456789abcdef0123"), keyIncarnation: []byte("x")},
		"incarnation is missing":    {keyID: []byte("0123456789abcdef0123")},
		"incarnation is over range": {keyID: []byte("0123456789abcdef0123"), keyIncarnation: []byte("18446744073709551615")},
	} {
		t.Run(name, func(t *testing.T) {
			id, incarnation := open(t, &memory{values: values}, true)
			assert.NotEqual(t, "0123456789abcdef0123", id)
			assert.Equal(t, "1", incarnation)
		})
	}
}

func TestOpenReportsStorageErrors(t *testing.T) {
	broken := errors.New("disk")
	_, err := Open(t.Context(), &memory{values: map[string][]byte{}, fail: broken}, receiver, false)
	assert.ErrorIs(t, err, broken)
}
