package tetragonreceiver

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/confmap"
)

// DefaultEndpoint is where Tetragon's packages listen.
const DefaultEndpoint = "unix:///var/run/tetragon/tetragon.sock"

// Config is the configuration of the receiver.
type Config struct {
	// GRPC is the client of Tetragon's gRPC service. Without a tls section, TLS is off for a unix socket and a loopback
	// address, and on for everything else.
	GRPC configgrpc.ClientConfig `mapstructure:"grpc"`
	// File, if given, is followed instead of the gRPC service.
	File configoptional.Optional[FileConfig] `mapstructure:"file"`
	// RetryOnFailure is the back-off between connections, and between attempts to hand records on.
	RetryOnFailure configretry.BackOffConfig `mapstructure:"retry_on_failure"`
	// HeartbeatInterval is the time between runtime.coverage records.
	HeartbeatInterval time.Duration `mapstructure:"heartbeat_interval"`
	// ContainmentInterval is the time after which what a process could reach is told again, when nothing of it changed;
	// 0 turns runtime.containment off.
	ContainmentInterval time.Duration `mapstructure:"containment_interval"`
	// IncludeRaw adds each event as JSON, without addresses, in tetragon.raw.
	IncludeRaw bool `mapstructure:"include_raw"`
	// IncludeArguments adds arguments and working directory of processes, and the arguments of hooks.
	IncludeArguments bool `mapstructure:"include_arguments"`
	// Storage is the storage extension that keeps the position in the file and the source id.
	Storage *component.ID `mapstructure:"storage"`
	// Batch bounds what is handed on at once.
	Batch BatchConfig `mapstructure:"batch"`
}

// FileConfig says which JSON export file is read, and how.
type FileConfig struct {
	// Path of the file.
	Path string `mapstructure:"path"`
	// Replay reads the file once, gzip or not, and speaks of coverage in the times of its events.
	Replay bool `mapstructure:"replay"`
	// PollInterval is the time between looks at a file that has nothing new.
	PollInterval time.Duration `mapstructure:"poll_interval"`
}

// BatchConfig bounds what is handed on at once.
type BatchConfig struct {
	// MaxEvents is how many events are handed on at once.
	MaxEvents int `mapstructure:"max_events"`
	// FlushInterval is how long an event waits for others.
	FlushInterval time.Duration `mapstructure:"flush_interval"`
}

var (
	_ component.Config    = (*Config)(nil)
	_ confmap.Validator   = (*Config)(nil)
	_ confmap.Unmarshaler = (*Config)(nil)
)

func createDefaultConfig() component.Config {
	client := configgrpc.NewDefaultClientConfig()
	client.Endpoint = DefaultEndpoint
	// Tetragon's server has no keepalive policy of its own: pings more often than every five minutes make it hang up.
	client.Keepalive = configoptional.None[configgrpc.KeepaliveClientConfig]()
	client.TLS.Insecure = true
	retry := configretry.NewDefaultBackOffConfig()
	retry.InitialInterval = time.Second
	retry.MaxElapsedTime = 0
	return &Config{
		GRPC:                client,
		File:                configoptional.Default(FileConfig{PollInterval: 250 * time.Millisecond}),
		RetryOnFailure:      retry,
		HeartbeatInterval:   15 * time.Second,
		ContainmentInterval: 10 * time.Minute,
		Batch:               BatchConfig{MaxEvents: 512, FlushInterval: 200 * time.Millisecond},
	}
}

// Unmarshal turns TLS on for an endpoint beyond this machine, unless the configuration says what it wants.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	if !conf.IsSet("grpc::tls::insecure") {
		c.GRPC.TLS.Insecure = !conf.IsSet("grpc::tls") && isLocal(c.GRPC.Endpoint)
	}
	return nil
}

// isLocal reports whether an endpoint is a unix socket or a loopback address.
func isLocal(endpoint string) bool {
	if strings.HasPrefix(endpoint, "unix:") {
		return true
	}
	endpoint = strings.TrimPrefix(strings.TrimPrefix(endpoint, "http://"), "dns:///")
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Validate checks what can be checked without I/O.
func (c *Config) Validate() error {
	var errs []error
	if !c.File.HasValue() && c.GRPC.Endpoint == "" {
		errs = append(errs, errors.New("grpc::endpoint: must not be empty"))
	}
	if c.HeartbeatInterval < time.Second {
		errs = append(errs, errors.New("heartbeat_interval: must be at least 1s"))
	}
	if c.ContainmentInterval < 0 {
		errs = append(errs, errors.New("containment_interval: must not be negative"))
	}
	return errors.Join(errs...)
}

// Validate checks what can be checked without I/O.
func (c *FileConfig) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("path: must not be empty"))
	}
	if c.PollInterval <= 0 {
		errs = append(errs, errors.New("poll_interval: must be positive"))
	}
	return errors.Join(errs...)
}

// maxBatchEvents bounds batch::max_events.
const maxBatchEvents = 65536

// Validate checks what can be checked without I/O.
func (c *BatchConfig) Validate() error {
	var errs []error
	if c.MaxEvents < 1 || c.MaxEvents > maxBatchEvents {
		errs = append(errs, fmt.Errorf("max_events: must be between 1 and %d", maxBatchEvents))
	}
	if c.FlushInterval <= 0 {
		errs = append(errs, errors.New("flush_interval: must be positive"))
	}
	return errors.Join(errs...)
}
