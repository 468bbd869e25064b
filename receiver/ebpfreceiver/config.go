package ebpfreceiver

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/confmap"
)

// Config is the configuration of the receiver.
type Config struct {
	// Interval is the time between heartbeats, and between looks at what the kernel counted.
	Interval time.Duration `mapstructure:"interval"`
	// Signals says what is watched.
	Signals SignalsConfig `mapstructure:"signals"`
	// Probes says which functions are counted, and how much that may cost.
	Probes ProbesConfig `mapstructure:"probes"`
	// Limits bounds what is kept, in the kernel and here.
	Limits LimitsConfig `mapstructure:"limits"`
	// RetryOnFailure is the back-off between attempts to hand records on.
	RetryOnFailure configretry.BackOffConfig `mapstructure:"retry_on_failure"`
	// Storage is the storage extension that keeps the source id.
	Storage *component.ID `mapstructure:"storage"`
	// Batch bounds what is handed on at once.
	Batch BatchConfig `mapstructure:"batch"`
}

// SignalsConfig switches signals on and off.
type SignalsConfig struct {
	// Exec tells processes that start and end.
	Exec bool `mapstructure:"exec"`
	// Load tells files that are mapped executable, each once an interval and container.
	Load bool `mapstructure:"load"`
	// Call counts calls of the functions of Probes.
	Call bool `mapstructure:"call"`
	// Connect tells outbound TCP connections, never to where.
	Connect bool `mapstructure:"connect"`
	// Containment tells what processes could reach, at their start and when it changes.
	Containment bool `mapstructure:"containment"`
	// SampleFrequency is how many stacks a second are taken of each processor; 0 takes none.
	SampleFrequency uint64 `mapstructure:"sample_frequency"`
}

// ProbesConfig says which functions are counted.
type ProbesConfig struct {
	// Files names functions of files.
	Files []FileConfig `mapstructure:"files"`
	// Findings is the findings extension whose watch list is probed too: the functions that findings name.
	Findings *component.ID `mapstructure:"findings"`
	// Allow bounds what a watch list can ask for.
	Allow AllowConfig `mapstructure:"allow"`
	// AllowSingleStep allows probes on instructions that the kernel can only step over, at some ten times the cost.
	AllowSingleStep bool `mapstructure:"allow_single_step"`
	// Max is how many probes there are at most, MaxFiles of how many files.
	Max      int `mapstructure:"max"`
	MaxFiles int `mapstructure:"max_files"`
	// Budget is the share of one processor that all probes together may take. The dearest are suspended beyond it.
	Budget float64 `mapstructure:"budget"`
	// Stacks has the first hit of a process tell its callers.
	Stacks bool `mapstructure:"stacks"`
}

// FileConfig names functions of files: of those that have a path or build-id.
type FileConfig struct {
	// Path in the mount namespace of the process; * and ? match within a path element.
	Path string `mapstructure:"path"`
	// BuildID is the GNU build-id.
	BuildID string `mapstructure:"build_id"`
	// Symbols are canonical names, as golang.org/x/net/html.Parse; * and ? match anything but a slash.
	Symbols []string `mapstructure:"symbols"`
	// Language of the symbols, where it is not to be told from the file.
	Language string `mapstructure:"language"`
}

// AllowConfig bounds what a watch list can ask for. Empty lists allow what findings name, in Go programs.
type AllowConfig struct {
	// Paths are patterns of paths of files. Functions in C, C++ and Rust are looked for only in files that match one.
	Paths []string `mapstructure:"paths"`
	// Components are purls without version.
	Components []string `mapstructure:"components"`
}

// LimitsConfig bounds what is kept.
type LimitsConfig struct {
	// Processes is how many processes are remembered.
	Processes int `mapstructure:"processes"`
	// Files is how many files are remembered.
	Files int `mapstructure:"files"`
	// Hits is how many pairs of a probe and a process the kernel counts at once.
	Hits uint32 `mapstructure:"hits"`
	// Ring is the bytes of the kernel's ring of events, a power of two.
	Ring uint32 `mapstructure:"ring"`
}

// BatchConfig bounds what is handed on at once.
type BatchConfig struct {
	// MaxEvents is how many records are handed on at once.
	MaxEvents int `mapstructure:"max_events"`
	// FlushInterval is how long a record waits for others.
	FlushInterval time.Duration `mapstructure:"flush_interval"`
}

var _ confmap.Validator = (*Config)(nil)

func createDefaultConfig() component.Config {
	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval = time.Second
	retry.MaxElapsedTime = 0
	return &Config{
		Interval:       15 * time.Second,
		Signals:        SignalsConfig{Exec: true, Load: true, Call: true, Containment: true},
		Probes:         ProbesConfig{Max: 1000, MaxFiles: 50, Budget: 0.01, Stacks: true},
		Limits:         LimitsConfig{Processes: 65536, Files: 16384, Hits: 65536, Ring: 4 << 20},
		RetryOnFailure: retry,
		Batch:          BatchConfig{MaxEvents: 512, FlushInterval: 200 * time.Millisecond},
	}
}

// Bounds of the configuration.
const (
	maxProbes      = 100_000
	maxHits        = 1 << 24
	maxRing        = 1 << 30
	minRing        = 1 << 12
	maxBatchEvents = 65536
	maxFrequency   = 999
	maxKept        = 1 << 22
)

var buildID = regexp.MustCompile(`^[0-9a-f]{8,128}$`)

// Validate checks what can be checked without I/O.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(bad bool, format string, about ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, about...))
		}
	}
	refuse(c.Interval < time.Second, "interval: must be at least 1s")
	refuse(c.Signals.SampleFrequency > maxFrequency, "signals::sample_frequency: must be at most %d", maxFrequency)
	p := &c.Probes
	refuse(p.Max < 1 || p.Max > maxProbes, "probes::max: must be from 1 to %d", maxProbes)
	refuse(p.MaxFiles < 1 || p.MaxFiles > maxProbes, "probes::max_files: must be from 1 to %d", maxProbes)
	refuse(!(p.Budget > 0 && p.Budget <= 1), "probes::budget: must be above 0 and at most 1")
	for i := range p.Files {
		f := &p.Files[i]
		refuse((f.Path == "") == (f.BuildID == ""), "probes::files[%d]: must have either path or build_id", i)
		refuse(f.BuildID != "" && !buildID.MatchString(f.BuildID), "probes::files[%d]::build_id: is not lower-case hex", i)
		refuse(!pattern(f.Path), "probes::files[%d]::path: is not a pattern", i)
		refuse(len(f.Symbols) == 0, "probes::files[%d]::symbols: must not be empty", i)
		for j, s := range f.Symbols {
			refuse(s == "" || !pattern(s), "probes::files[%d]::symbols[%d]: is not a pattern", i, j)
		}
	}
	for i, pat := range p.Allow.Paths {
		refuse(pat == "" || !pattern(pat), "probes::allow::paths[%d]: is not a pattern", i)
	}
	l := &c.Limits
	refuse(l.Processes < 1 || l.Processes > maxKept, "limits::processes: must be from 1 to %d", maxKept)
	refuse(l.Files < 1 || l.Files > maxKept, "limits::files: must be from 1 to %d", maxKept)
	refuse(l.Hits < 1 || l.Hits > maxHits, "limits::hits: must be from 1 to %d", maxHits)
	refuse(l.Ring < minRing || l.Ring > maxRing || l.Ring&(l.Ring-1) != 0, "limits::ring: must be a power of two from %d to %d", minRing, maxRing)
	refuse(c.Batch.MaxEvents < 1 || c.Batch.MaxEvents > maxBatchEvents, "batch::max_events: must be from 1 to %d", maxBatchEvents)
	refuse(c.Batch.FlushInterval <= 0, "batch::flush_interval: must be positive")
	return errors.Join(errs...)
}

func pattern(text string) bool {
	_, err := path.Match(text, "")
	return err == nil
}
