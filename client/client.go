package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	mathrand "math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Defaults of a Client.
const (
	DefaultMaxAnswer = 64 << 20
	DefaultTries     = 4
)

// Back-off between tries. A server that asks for a longer wait than maxWait is not asked again.
const (
	firstWait = 200 * time.Millisecond
	maxWait   = 30 * time.Second
)

// Client calls the API of one server. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	http      *http.Client
	authorize func(*http.Request) error
	insecure  bool
	maxAnswer int64
	tries     int
	wait      func(ctx context.Context, d time.Duration) error
	now       time.Time
	strict    bool // refuse members that are not known: for tests
}

// Option changes a Client.
type Option func(*Client)

// WithHTTPClient sends requests with c: its transport, timeout and cookies. Redirects are never followed.
func WithHTTPClient(c *http.Client) Option { return func(client *Client) { client.http = c } }

// WithAuth calls authorize for each request before it is sent, each try anew, to add credentials.
func WithAuth(authorize func(*http.Request) error) Option {
	return func(client *Client) { client.authorize = authorize }
}

// WithBearer sends a token with each request.
func WithBearer(token string) Option {
	return WithAuth(func(r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	})
}

// WithBasic sends a name and password with each request.
func WithBasic(name, password string) Option {
	return WithAuth(func(r *http.Request) error {
		r.SetBasicAuth(name, password)
		return nil
	})
}

// WithInsecureAuth lets credentials go over http to a server that is not this host. Without it New refuses that.
func WithInsecureAuth() Option { return func(client *Client) { client.insecure = true } }

// WithMaxAnswer bounds the bytes of an answer; DefaultMaxAnswer without it.
func WithMaxAnswer(n int64) Option { return func(client *Client) { client.maxAnswer = n } }

// WithTries bounds how often a request that may be repeated is sent, DefaultTries times without it; 1 sends it once.
// Sent again is what does the same when it is done twice, after 429, 503 and a connection that failed.
func WithTries(n int) Option { return func(client *Client) { client.tries = max(n, 1) } }

// WithNow asks as if it were t, of a server that is configured with deterministic_time: the same data gives the same bytes.
func WithNow(t time.Time) Option { return func(client *Client) { client.now = t } }

// New makes a client of the server at endpoint, as http://localhost:8686; a path in it comes before that of the API.
// The errors name what is wrong and repeat no part of the endpoint.
func New(endpoint string, options ...Option) (*Client, error) {
	base, err := url.Parse(endpoint)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("client: the endpoint is not a URL of http or https")
	case base.User != nil:
		return nil, errors.New("client: the endpoint has credentials in it; use WithBasic")
	case base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("client: the endpoint has a query or fragment")
	}
	c := &Client{base: base, http: &http.Client{Timeout: time.Minute}, maxAnswer: DefaultMaxAnswer, tries: DefaultTries, wait: sleep}
	for _, option := range options {
		option(c)
	}
	if c.authorize != nil && base.Scheme == "http" && !loopback(base.Hostname()) && !c.insecure {
		return nil, errors.New("client: credentials would go over http; use https or WithInsecureAuth")
	}
	mine := *c.http
	mine.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &mine
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Error makes a Problem, which is what the server answers when it refuses, an error. Use errors.As to get at it.
func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s", p.Status, cmp.Or(p.Title, http.StatusText(p.Status)))
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// IsStatus reports whether err is a Problem with this status.
func IsStatus(err error, status int) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == status
}

// request is a call of an operation.
type request struct {
	method string
	path   []string // segments behind /api/v1, not yet escaped
	query  url.Values
	header http.Header
	body   any       // sent as JSON
	stream io.Reader // in place of body, as it is
	again  bool      // doing it twice does the same as once
	now    bool      // the answer depends on the time
}

// answered is how a request was answered.
type answered struct {
	status int
	header http.Header
	data   []byte
}

// do sends a request, again if it has to and may be, and decodes the answer into a pointer, if that is not nil; a
// *json.RawMessage gets it as it is.
func (c *Client) do(ctx context.Context, r *request, answer any) (*answered, error) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("client: encode the request: %w", err)
		}
	}
	for try := 1; ; try++ {
		got, err := c.send(ctx, r, body)
		if err == nil {
			return got, c.decode(got, answer)
		}
		wait := backoff(try)
		if got != nil {
			wait = max(wait, retryAfter(got.header))
		}
		if !r.again || try >= c.tries || wait > maxWait || !worthwhile(ctx, err) || c.wait(ctx, wait) != nil {
			return nil, err
		}
	}
}

// worthwhile reports whether the same request may fare better later.
func worthwhile(ctx context.Context, err error) bool {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable
	}
	var failed *connectionError
	return errors.As(err, &failed) && ctx.Err() == nil
}

// connectionError is that no answer came. It does not name the URL, which has the id of a finding in it.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return "client: no answer: " + e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// send sends a request once. A refusal is an answer and an error.
func (c *Client) send(ctx context.Context, r *request, body []byte) (*answered, error) {
	request, err := c.prepare(ctx, r, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		var failure *url.Error
		if errors.As(err, &failure) {
			err = failure.Err
		}
		return nil, &connectionError{err}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, min(c.maxAnswer, math.MaxInt64-1)+1))
	got := &answered{response.StatusCode, response.Header, data}
	switch {
	case int64(len(data)) > c.maxAnswer:
		return nil, fmt.Errorf("client: the answer is longer than %d bytes", c.maxAnswer)
	case err != nil:
		return nil, &connectionError{err}
	case got.status == http.StatusNotModified && r.header.Get("If-None-Match") != "":
		return got, nil
	case got.status < 200 || got.status > 299:
		return got, problemOf(got)
	}
	return got, nil
}

func (c *Client) prepare(ctx context.Context, r *request, body []byte) (*http.Request, error) {
	reader := r.stream
	if body != nil {
		reader = bytes.NewReader(body)
	}
	escaped := make([]string, len(r.path))
	for i, segment := range r.path {
		escaped[i] = url.PathEscape(segment)
	}
	target := strings.TrimSuffix(c.base.String(), "/") + "/api/v1/" + strings.Join(escaped, "/")
	query := r.query
	if !c.now.IsZero() && r.now {
		query = maps.Clone(query)
		if query == nil {
			query = url.Values{}
		}
		query.Set("now", c.now.UTC().Format(time.RFC3339Nano))
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.method, target, reader)
	if err != nil {
		return nil, errors.New("client: the request cannot be made")
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, values := range r.header {
		request.Header[name] = values
	}
	if c.authorize != nil {
		if err := c.authorize(request); err != nil {
			return nil, fmt.Errorf("client: credentials: %w", err)
		}
	}
	return request, nil
}

// problemOf is the problem of an answer; what is none is told by its status alone, whatever is in it.
func problemOf(got *answered) *Problem {
	p := Problem{}
	media, _, _ := mime.ParseMediaType(got.header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(got.data, &p) != nil {
		p = Problem{}
	}
	p.Type = cmp.Or(p.Type, "about:blank")
	p.Title = cmp.Or(p.Title, http.StatusText(got.status))
	p.Status = got.status
	return &p
}

func (c *Client) decode(got *answered, answer any) error {
	if answer == nil || got.status == http.StatusNotModified {
		return nil
	}
	if raw, ok := answer.(*json.RawMessage); ok {
		*raw = got.data
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(got.data))
	if c.strict {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(answer); err != nil {
		return fmt.Errorf("client: decode the answer: %w", err)
	}
	return nil
}

// retryAfter reads Retry-After, in seconds or as a date.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// backoff doubles with each try, and spreads by a half.
func backoff(try int) time.Duration {
	wait := min(firstWait<<min(try-1, 10), maxWait/2)
	return wait/2 + mathrand.N(wait) //nolint:gosec // not a secret
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// newKey is an idempotency key that nobody has had.
func newKey() string { return rand.Text() }
