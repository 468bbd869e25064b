package canon

import (
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// What becomes of identities: host, pod and container ids.
const (
	IdentitiesKeep = "keep"
	IdentitiesHMAC = "hmac"
	IdentitiesDrop = "drop"
)

// What becomes of arguments, environment and working directory of processes.
const (
	ArgumentsDrop  = "drop"
	ArgumentsScrub = "scrub"
	ArgumentsKeep  = "keep"
)

// minKey is the length of the shortest HMAC key, in bytes.
const minKey = 16

// Config says what may leave.
type Config struct {
	// Identities is keep, hmac or drop.
	Identities string `mapstructure:"identities"`
	// HMACKey makes pseudonyms the same wherever it is used. At least 16 bytes; empty is a random key.
	HMACKey configopaque.String `mapstructure:"hmac_key"`
	// HMACKeyFile holds the key; it is made when it does not exist, so that an installation has one key. See WithKey.
	HMACKeyFile string `mapstructure:"hmac_key_file"`
	// Arguments is drop, scrub or keep. Addresses are taken out of arguments in any case.
	Arguments string `mapstructure:"arguments"`
	// HookArguments are those that are kept, their values scrubbed as free text. All others are dropped, whatever Arguments is.
	HookArguments []HookArgument `mapstructure:"hook_arguments"`
	// Allow names attributes outside the model that are kept, their values scrubbed as free text.
	Allow []string `mapstructure:"allow"`
	// SymbolCacheBytes bounds the memory for symbols that were made canonical before. 0 remembers none.
	SymbolCacheBytes int `mapstructure:"symbol_cache_bytes"`
}

// NewDefaultConfig makes pseudonyms of identities and drops arguments.
func NewDefaultConfig() Config {
	return Config{Identities: IdentitiesHMAC, Arguments: ArgumentsDrop, SymbolCacheBytes: 16 << 20}
}

// Validate names the field at fault, and never its value.
func (c Config) Validate() error {
	var err error
	if !slices.Contains([]string{IdentitiesKeep, IdentitiesHMAC, IdentitiesDrop}, c.Identities) {
		err = errors.Join(err, errors.New("identities: is not one of keep, hmac, drop"))
	}
	if !slices.Contains([]string{ArgumentsDrop, ArgumentsScrub, ArgumentsKeep}, c.Arguments) {
		err = errors.Join(err, errors.New("arguments: is not one of drop, scrub, keep"))
	}
	if c.HMACKey != "" && len(c.HMACKey) < minKey {
		err = errors.Join(err, fmt.Errorf("hmac_key: has less than %d bytes", minKey))
	}
	if c.HMACKey != "" && c.HMACKeyFile != "" {
		err = errors.Join(err, errors.New("hmac_key_file: hmac_key is given too"))
	}
	if c.SymbolCacheBytes < 0 {
		err = errors.Join(err, errors.New("symbol_cache_bytes: is negative"))
	}
	for i := range c.HookArguments {
		if e := c.HookArguments[i].validate(); e != nil {
			err = errors.Join(err, fmt.Errorf("hook_arguments[%d]: %w", i, e))
		}
	}
	for i, name := range c.Allow {
		if name == "" || len(name) > maxName {
			err = errors.Join(err, fmt.Errorf("allow[%d]: has not 1 to %d bytes", i, maxName))
		} else if _, known := semconv.LookupAttribute(name); known {
			err = errors.Join(err, fmt.Errorf("allow[%d]: is in the model, which says what becomes of it", i))
		}
	}
	return err
}
