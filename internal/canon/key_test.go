package canon

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
)

func TestKeyOfAnInstallation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "identity.key")
	keys := make([]configopaque.String, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			config, err := Config{HMACKeyFile: file}.WithKey()
			assert.NoError(t, err)
			keys[i] = config.HMACKey
		})
	}
	all.Wait()
	for _, key := range keys {
		assert.Equal(t, keys[0], key, "one key, whoever is first")
	}
	assert.Len(t, keys[0], 2*keyBytes)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
	files, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Len(t, files, 1, "nothing is left behind")

	other, err := Config{HMACKeyFile: filepath.Join(t.TempDir(), "k")}.WithKey()
	require.NoError(t, err)
	assert.NotEqual(t, keys[0], other.HMACKey, "another installation has another key")
}

func TestKeyErrorsNameNoPath(t *testing.T) {
	short := filepath.Join(t.TempDir(), "secret-place")
	require.NoError(t, os.WriteFile(short, []byte("short\n"), 0o600))
	for name, file := range map[string]string{"short": short, "a folder": filepath.Dir(short), "below a file": filepath.Join(short, "k")} {
		_, err := Config{HMACKeyFile: file}.WithKey()
		require.ErrorContains(t, err, "hmac_key_file", name)
		assert.NotContains(t, err.Error(), "secret-place", name)
	}
	config, err := Config{HMACKey: "given"}.WithKey()
	require.NoError(t, err)
	assert.EqualValues(t, "given", config.HMACKey)
}

func TestPseudonym(t *testing.T) {
	c, err := New(Config{Identities: IdentitiesKeep, Arguments: ArgumentsDrop, HMACKey: "0123456789abcdef"})
	require.NoError(t, err)
	assert.Equal(t, "h:0ff01ba8291f8a2a", c.Pseudonym("finding", "GO-2023-1988"), "as the README of the API has it computed")
	for name, other := range map[string][2]string{
		"another text": {"finding", "GO-2023-1989"}, "another kind": {"tenant", "GO-2023-1988"}, "a pseudonym as text": {"finding", "h:0123456789abcdef"},
	} {
		got := c.Pseudonym(other[0], other[1])
		assert.Regexp(t, "^h:[0-9a-f]{16}$", got, name)
		assert.NotContains(t, []string{"h:0ff01ba8291f8a2a", other[1]}, got, name)
	}
	assert.Empty(t, c.Pseudonym("tenant", ""))
}
