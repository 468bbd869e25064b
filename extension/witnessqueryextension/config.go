package witnessqueryextension

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
)

// Config of the extension.
type Config struct {
	// HTTP is the server. Default: localhost:8686, bodies of imports up to 64 MiB. No other call takes more than 4 MiB.
	HTTP confighttp.ServerConfig `mapstructure:"http"`
	// Storage is the extension that holds the evidence. Default: witness_storage.
	Storage component.ID `mapstructure:"storage"`
	// Canonicalization is applied to posted traces, as the canonicalization processor does to events.
	Canonicalization canon.Config `mapstructure:"canonicalization"`
	// Window is the length of the windows that posted traces are counted in. It divides a day. Default: 60s.
	Window time.Duration `mapstructure:"window"`
	// Score are the weights of witness scores. Default: those of score.DefaultWeights.
	Score score.Weights `mapstructure:"score"`
	// Snapshots says how snapshots are signed. Default: not at all.
	Snapshots SnapshotsConfig `mapstructure:"snapshots"`
	// Containment are the weights of the controls in a blast radius. Default: those of containment.DefaultWeights.
	Containment containment.Weights `mapstructure:"containment"`
	// AllowInsecure permits an endpoint that others can reach without TLS and an authenticator. Default: false.
	AllowInsecure bool `mapstructure:"allow_insecure"`
	// Roles says who may do what. Default: who is authenticated reads and writes.
	Roles RolesConfig `mapstructure:"roles"`
	// RateLimit bounds how often a principal may ask. Default: 1000 requests per second, 2000 at once.
	RateLimit RateLimitConfig `mapstructure:"rate_limit"`
	// MaxConcurrentRequests bounds how many requests are answered at once, 0 is no bound. Default: 256.
	MaxConcurrentRequests int `mapstructure:"max_concurrent_requests"`
	// DeterministicTime has every GET, and the making of snapshots, take the query parameter now in place of the time of
	// the request: the same data and the same now give the same bytes. Default: false.
	DeterministicTime bool `mapstructure:"deterministic_time"`
}

var _ confmap.Validator = (*Config)(nil)

const day = 24 * time.Hour

// Validate checks the configuration. The error names the field.
func (c *Config) Validate() error {
	var errs []error
	if c.HTTP.NetAddr.Endpoint == "" {
		errs = append(errs, errors.New("http::endpoint: is empty"))
	} else if !c.AllowInsecure && !c.loopback() && (!c.HTTP.TLS.HasValue() || !c.HTTP.Auth.HasValue()) {
		errs = append(errs, errors.New("http::endpoint: others can reach it, so http::tls and http::auth are needed (or allow_insecure: true)"))
	}
	if c.HTTP.MaxRequestBodySize < 0 {
		errs = append(errs, errors.New("http::max_request_body_size: is negative"))
	}
	if c.HTTP.CORS.HasValue() {
		for i, origin := range c.HTTP.CORS.Get().AllowedOrigins {
			if !isOrigin(origin) {
				errs = append(errs, fmt.Errorf("http::cors::allowed_origins[%d]: is not one origin, as https://witness.example", i))
			}
		}
	}
	if err := c.Roles.validate(c.HTTP.Auth.HasValue()); err != nil {
		errs = append(errs, err)
	}
	if err := c.RateLimit.validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Snapshots.validate(); err != nil {
		errs = append(errs, err)
	}
	if c.MaxConcurrentRequests < 0 {
		errs = append(errs, errors.New("max_concurrent_requests: is negative"))
	}
	if c.Storage == (component.ID{}) {
		errs = append(errs, errors.New("storage: is empty"))
	}
	if c.Window < time.Second || c.Window > day || day%c.Window != 0 {
		errs = append(errs, fmt.Errorf("window: is not a duration from 1s to 24h that divides a day"))
	}
	return errors.Join(errs...)
}

// isOrigin reports whether a text is exactly what a browser sends as Origin: no pattern, no path.
func isOrigin(text string) bool {
	origin, err := url.Parse(text)
	return err == nil && (origin.Scheme == "http" || origin.Scheme == "https") && origin.Hostname() != "" &&
		!strings.Contains(text, "*") && text == origin.Scheme+"://"+strings.ToLower(origin.Host)
}

// loopback reports whether the endpoint says that only this host can reach it.
func (c *Config) loopback() bool {
	if c.HTTP.NetAddr.Transport == confignet.TransportTypeUnix {
		return true
	}
	host, _, err := net.SplitHostPort(c.HTTP.NetAddr.Endpoint)
	return err == nil && isLoopback(host)
}

// isLoopback reports whether a host, without port and brackets, names this host whatever a resolver says.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
