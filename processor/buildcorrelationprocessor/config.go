package buildcorrelationprocessor

import (
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
)

// Config of the processor.
type Config struct {
	// Proc is where the proc file system of the host is mounted.
	Proc string `mapstructure:"proc"`
	// HostName is the name that events of this host carry in host.name. Empty: the name that the system gives.
	HostName string `mapstructure:"host_name"`
	// Workers open and read files.
	Workers int `mapstructure:"workers"`
	// Deadline is how long a batch waits for files that it is the first to ask for.
	Deadline time.Duration `mapstructure:"deadline"`
	// CacheSize is how many modules of processes, how many files, and how many learnt build-ids are remembered.
	CacheSize int `mapstructure:"cache_size"`
	// MaxFileSize is the size in bytes up to which a file is hashed.
	MaxFileSize int64 `mapstructure:"max_file_size"`
}

func createDefaultConfig() component.Config {
	return &Config{Proc: "/proc", Workers: 4, Deadline: 200 * time.Millisecond, CacheSize: 4096, MaxFileSize: 512 << 20}
}

// The most that may be configured: more would be a mistake.
const (
	maxWorkers   = 256
	maxDeadline  = 30 * time.Second
	maxCacheSize = 1 << 20
)

// Validate names the fields at fault.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	check(c.Proc != "" && c.Proc[0] == '/', "proc must be an absolute path")
	check(c.Workers > 0 && c.Workers <= maxWorkers, "workers must be 1 to 256")
	check(c.Deadline > 0 && c.Deadline <= maxDeadline, "deadline must be positive and at most 30s")
	check(c.CacheSize > 0 && c.CacheSize <= maxCacheSize, "cache_size must be 1 to 1048576")
	check(c.MaxFileSize >= 0, "max_file_size must not be negative")
	return errors.Join(errs...)
}
