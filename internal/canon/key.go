package canon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.opentelemetry.io/collector/config/configopaque"
)

// keyBytes is the length of a generated key.
const keyBytes = 32

// WithKey returns c with the key of HMACKeyFile in HMACKey instead. A file that does not exist is made, mode 0600, with a random
// key: whoever is first makes it, and all others of the installation read the same. The error names no path.
func (c Config) WithKey() (Config, error) {
	if c.HMACKeyFile == "" || c.HMACKey != "" {
		return c, nil
	}
	key, err := os.ReadFile(c.HMACKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(c.HMACKeyFile); err == nil {
			key, err = os.ReadFile(c.HMACKeyFile)
		}
	}
	if err != nil {
		return c, fmt.Errorf("hmac_key_file: %w", bare(err))
	}
	c.HMACKey, c.HMACKeyFile = configopaque.String(strings.TrimSpace(string(key))), ""
	if len(c.HMACKey) < minKey {
		return c, fmt.Errorf("hmac_key_file: has less than %d bytes", minKey)
	}
	return c, nil
}

// makeKey writes a key beside path and gives it that name, unless somebody else was first.
func makeKey(path string) error {
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(hex.EncodeToString(key) + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// bare is a file error without its path.
func bare(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	default:
		return err
	}
}
