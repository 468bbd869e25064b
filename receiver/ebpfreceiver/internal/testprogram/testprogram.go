// Package testprogram builds the programs that tests watch, and keeps them for where there is no compiler.
package testprogram

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Environment names a directory. A program that is there is not built, and what is built is put there.
const Environment = "WITNESS_TEST_PROGRAMS"

// Build has a program built and returns its path, which is the test's own. Programs with the same parts are the same.
func Build(t testing.TB, build func(path string) error, parts ...string) (string, error) {
	t.Helper()
	path, keep := filepath.Join(t.TempDir(), "program"), os.Getenv(Environment)
	if keep == "" {
		return path, build(path)
	}
	hash := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	kept := filepath.Join(keep, hex.EncodeToString(hash[:16]))
	if _, err := os.Stat(kept); err == nil {
		return path, replicate(kept, path)
	}
	if err := build(path); err != nil {
		return path, err
	}
	require.NoError(t, replicate(path, kept))
	return path, nil
}

func replicate(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755) //nolint:gosec // it is executed
}

// Keeping skips a test where nothing that is built is kept.
func Keeping(t testing.TB) {
	t.Helper()
	if os.Getenv(Environment) == "" {
		t.Skipf("needs %s", Environment)
	}
}
