package witnessqueryextension

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// RateLimitConfig bounds how often a principal may ask. All callers that are not authenticated are one principal.
type RateLimitConfig struct {
	// RequestsPerSecond is how many requests a principal has per second in the long run. 0 is no limit.
	RequestsPerSecond float64 `mapstructure:"requests_per_second"`
	// Burst is how many of them may come at once.
	Burst int `mapstructure:"burst"`
}

func (c *RateLimitConfig) validate() error {
	switch {
	case !(c.RequestsPerSecond >= 0) || math.IsInf(c.RequestsPerSecond, 0):
		return errors.New("rate_limit::requests_per_second: is not a number from 0")
	case c.RequestsPerSecond > 0 && c.Burst < 1:
		return errors.New("rate_limit::burst: is not at least 1")
	}
	return nil
}

// maxPrincipals bounds whose rates are remembered. Beyond it the one that asked least recently is forgotten, and has its
// whole burst again.
const maxPrincipals = 10_000

// maxBodies bounds the bytes of all bodies that are held at once, to be decoded: 16 of the longest. Bodies of imports are not
// held.
const maxBodies = 16 * maxJSON

// limits bound what callers may ask at once and in a time. The zero value has no bounds.
type limits struct {
	config   RateLimitConfig
	limiters *lru.Cache[storage.Principal, *rate.Limiter]

	concurrent int // 0 is no bound
	mutex      sync.Mutex
	answering  int                       // requests
	answered   map[storage.Principal]int // of them, of those who are authenticated

	bodies int64 // bytes, 0 is no bound
	held   int64
	heldOf map[storage.Principal]int64 // of them, of those who are authenticated
}

func newLimits(config RateLimitConfig, concurrent int) (*limits, error) {
	l := &limits{config: config, concurrent: concurrent, answered: map[storage.Principal]int{}, bodies: maxBodies, heldOf: map[storage.Principal]int64{}}
	if config.RequestsPerSecond == 0 {
		return l, nil
	}
	var err error
	l.limiters, err = lru.New[storage.Principal, *rate.Limiter](maxPrincipals)
	return l, err
}

// wait is how long a principal has to wait before its next request, 0 if this one may pass.
func (l *limits) wait(principal storage.Principal, now time.Time) time.Duration {
	if l.limiters == nil {
		return 0
	}
	limiter, known := l.limiters.Get(principal)
	if !known {
		limiter = rate.NewLimiter(rate.Limit(l.config.RequestsPerSecond), l.config.Burst)
		if first, there, _ := l.limiters.PeekOrAdd(principal, limiter); there {
			limiter = first
		}
	}
	reservation := limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// enter says whether one more request may be answered; leave that it was. Who is authenticated has at most three quarters
// of all: bodies that are sent slowly must not shut out the others. All who are not are one, and have no others.
func (l *limits) enter(principal storage.Principal, authenticated bool) bool {
	if l.concurrent == 0 {
		return true
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.answering >= l.concurrent || authenticated && l.answered[principal] >= l.concurrent-l.concurrent/4 {
		return false
	}
	l.answering++
	if authenticated {
		l.answered[principal]++
	}
	return true
}

func (l *limits) leave(principal storage.Principal, authenticated bool) {
	if l.concurrent == 0 {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.answering--
	if !authenticated {
		return
	}
	if l.answered[principal]--; l.answered[principal] == 0 {
		delete(l.answered, principal)
	}
}

// hold says whether as many bytes of a body more may be held; release that some no longer are. They are counted as they come,
// so that nobody takes more than is sent, and shared as the requests are.
func (l *limits) hold(principal storage.Principal, authenticated bool, bytes int64) bool {
	if l.bodies == 0 {
		return true
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.held+bytes > l.bodies || authenticated && l.heldOf[principal]+bytes > l.bodies-l.bodies/4 {
		return false
	}
	l.held += bytes
	if authenticated {
		l.heldOf[principal] += bytes
	}
	return true
}

func (l *limits) release(principal storage.Principal, authenticated bool, bytes int64) {
	if l.bodies == 0 || bytes == 0 {
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.held -= bytes
	if !authenticated {
		return
	}
	if l.heldOf[principal] -= bytes; l.heldOf[principal] == 0 {
		delete(l.heldOf, principal)
	}
}

// tooMany is the problem of a caller that has to wait.
func tooMany(header http.Header, wait time.Duration, detail string) *problem {
	seconds := max(1, int64(math.Ceil(wait.Seconds())))
	header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	return newProblem(http.StatusTooManyRequests, detail)
}
