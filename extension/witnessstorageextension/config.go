package witnessstorageextension

import (
	"errors"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
)

// Backend is where witnesses are stored.
type Backend string

// The backends.
const (
	BackendEmbedded Backend = "embedded" // a SQLite file
	BackendNone     Backend = "none"     // nowhere
)

// Config configures the extension.
type Config struct {
	// Backend is embedded (the default) or none.
	Backend Backend `mapstructure:"backend"`
	// Embedded configures the embedded backend.
	Embedded EmbeddedConfig `mapstructure:"embedded"`
}

// EmbeddedConfig configures the embedded backend.
type EmbeddedConfig struct {
	// Directory holds the database, witness.db. It is created, for its owner only, if there is none.
	Directory string `mapstructure:"directory"`
	// IntegrityCheck is auto, full or off; auto looks at every page for IntegrityTime at most.
	IntegrityCheck sqlite.Integrity `mapstructure:"integrity_check"`
	IntegrityTime  time.Duration    `mapstructure:"integrity_time"`
	// Damaged is what happens to a damaged file: set_aside or refuse.
	Damaged sqlite.Damaged `mapstructure:"damaged"`
	// DedupeHorizon is how long windows stay as they came and take what arrives again or late.
	DedupeHorizon time.Duration `mapstructure:"dedupe_horizon"`
	// DaysAfter is the age at which hours are rolled up to days.
	DaysAfter time.Duration `mapstructure:"days_after"`
	// Retention says what is kept.
	Retention RetentionConfig `mapstructure:"retention"`
	// Backup says where backups go.
	Backup BackupConfig `mapstructure:"backup"`
}

// RetentionConfig says what is kept; 0 is no limit.
type RetentionConfig struct {
	MaxAge     time.Duration `mapstructure:"max_age"`
	MaxSizeMiB int64         `mapstructure:"max_size_mib"`
}

// BackupConfig says where backups go and how many there are.
type BackupConfig struct {
	// Directory holds backups; empty means that none can be made.
	Directory string `mapstructure:"directory"`
	// Keep is how many there are at most; 0 is no limit.
	Keep int `mapstructure:"keep"`
}

const (
	day = 24 * time.Hour
	// upkeepPause is the time between two looks at what is due to be rolled up or deleted.
	upkeepPause = time.Minute
)

// Limits of what is configured: a horizon shorter than an hour would refuse what a busy agent sends late, and hours are
// rolled up within days.
const (
	minHorizon   = time.Hour
	minDaysAfter = 2 * day
	minSizeMiB   = 64
	maxSizeMiB   = 1 << 30
)

// Validate implements confmap.Validator.
func (c *Config) Validate() error {
	switch c.Backend {
	case BackendEmbedded:
		return c.Embedded.validate()
	case BackendNone:
		return nil
	default:
		return errors.New("backend: is not one of embedded, none")
	}
}

func (c *EmbeddedConfig) validate() error {
	switch {
	case c.Directory == "":
		return errors.New("embedded::directory: is empty")
	case c.IntegrityCheck != sqlite.IntegrityAuto && c.IntegrityCheck != sqlite.IntegrityFull && c.IntegrityCheck != sqlite.IntegrityOff:
		return errors.New("embedded::integrity_check: is not one of auto, full, off")
	case c.IntegrityTime <= 0:
		return errors.New("embedded::integrity_time: is not longer than zero")
	case c.Damaged != sqlite.DamagedSetAside && c.Damaged != sqlite.DamagedRefuse:
		return errors.New("embedded::damaged: is not one of set_aside, refuse")
	case c.DedupeHorizon != 0 && c.DedupeHorizon < minHorizon:
		return errors.New("embedded::dedupe_horizon: is neither 0 nor at least 1h")
	case c.DaysAfter != 0 && c.DaysAfter < max(minDaysAfter, c.DedupeHorizon+day):
		return errors.New("embedded::days_after: is neither 0 nor at least 48h and a day longer than dedupe_horizon")
	case c.Retention.MaxAge != 0 && c.Retention.MaxAge < max(minDaysAfter, c.DedupeHorizon+day):
		return errors.New("embedded::retention::max_age: is neither 0 nor at least 48h and a day longer than dedupe_horizon")
	case c.Retention.MaxSizeMiB != 0 && (c.Retention.MaxSizeMiB < minSizeMiB || c.Retention.MaxSizeMiB > maxSizeMiB):
		return errors.New("embedded::retention::max_size_mib: is neither 0 nor from 64 to 1073741824")
	case c.Backup.Keep < 0:
		return errors.New("embedded::backup::keep: is less than 0")
	}
	return nil
}

// options are those of the storage.
func (c *EmbeddedConfig) options(path string) sqlite.Options {
	return sqlite.Options{
		Path: path, Integrity: c.IntegrityCheck, CheckTime: c.IntegrityTime, Damaged: c.Damaged,
		Life: sqlite.Life{
			DedupeHorizon: c.DedupeHorizon, DaysAfter: c.DaysAfter, MaxAge: c.Retention.MaxAge, MaxSize: c.Retention.MaxSizeMiB << 20, Pause: upkeepPause,
		},
		Backup: sqlite.BackupOptions{Directory: c.Backup.Directory, Keep: c.Backup.Keep},
	}
}
