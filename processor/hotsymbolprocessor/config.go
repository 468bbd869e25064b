package hotsymbolprocessor

import (
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
)

// What becomes of events that were counted.
const (
	eventsDrop = "drop"
	eventsKeep = "keep"
)

const day = 24 * time.Hour

// Config of the hot_symbol processor.
type Config struct {
	// Window is the length of the windows that hits are counted in. Windows are aligned in UTC.
	Window time.Duration `mapstructure:"window"`
	// FlushInterval is how long a hit waits at most before it is sent on. Zero means Window.
	FlushInterval time.Duration `mapstructure:"flush_interval"`
	// AllowedLateness is how far an event may lie behind the newest event of its source.
	AllowedLateness time.Duration `mapstructure:"allowed_lateness"`
	// MaxWitnesses bounds the table of (witness, instance, window, source); a full table is flushed early.
	MaxWitnesses int `mapstructure:"max_witnesses"`
	// Events is drop or keep: whether events that were counted are passed on as well.
	Events string `mapstructure:"events"`
	// Storage is the storage extension that keeps the checkpoint. Without it a crash loses what was not sent on.
	Storage *component.ID `mapstructure:"storage"`
}

func createDefaultConfig() component.Config {
	return &Config{
		Window:          time.Minute,
		AllowedLateness: 15 * time.Minute,
		MaxWitnesses:    100_000,
		Events:          eventsDrop,
	}
}

// Validate checks the values; the errors name the field.
func (c *Config) Validate() error {
	var errs []error
	if c.Window < time.Second || c.Window > day || day%c.Window != 0 {
		errs = append(errs, errors.New("window: must be from 1s to 24h and divide a day"))
	}
	if c.FlushInterval != 0 && (c.FlushInterval < 100*time.Millisecond || c.FlushInterval > day) {
		errs = append(errs, errors.New("flush_interval: must be from 100ms to 24h, or 0 for the window"))
	}
	if c.AllowedLateness < 0 || c.AllowedLateness > 366*day {
		errs = append(errs, errors.New("allowed_lateness: must be from 0s to 366 days"))
	}
	if c.MaxWitnesses < 1 || c.MaxWitnesses > 10_000_000 {
		errs = append(errs, errors.New("max_witnesses: must be from 1 to 10000000"))
	}
	if c.Events != eventsDrop && c.Events != eventsKeep {
		errs = append(errs, errors.New("events: must be drop or keep"))
	}
	return errors.Join(errs...)
}

func (c *Config) flushInterval() time.Duration {
	if c.FlushInterval == 0 {
		return c.Window
	}
	return c.FlushInterval
}
