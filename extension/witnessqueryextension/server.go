package witnessqueryextension

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
)

// api answers requests. It is safe for concurrent use.
type api struct {
	store     storage.Storage
	maker     ingest.Maker
	weights   *score.Weights
	controls  *containment.Weights
	snapshots snapshots
	boards    evidence.Boards
	coverages evidence.Coverages
	telemetry *metadata.TelemetryBuilder
	logger    *zap.Logger
	now       func() time.Time
	access    access
	limits    *limits
	// deterministic says that the query parameter now is taken; document is the OpenAPI document then.
	deterministic bool
	document      json.RawMessage
	imports       imports
	watchLists    watchLists
	backingUp     sync.Mutex // while a backup is made
	// challenge is the WWW-Authenticate of a 401.
	challenge string
	// ignored are query parameters that belong to the authenticator.
	ignored []string
}

// call is a request on its way through a handler.
type call struct {
	*http.Request
	principal     storage.Principal
	authenticated bool
	route         string            // template
	path          map[string]string // parameters of the path, decoded and checked
	finding       string            // the one of the name findingId, if any
	query         *query
	now           time.Time // UTC; the parameter now, where that is taken
	replayed      bool      // now is that parameter
	entry         *entry
	held          int64       // bytes of its body
	header        http.Header // of the answer
	connection    *http.ResponseController
}

// allow gives a call longer than the timeouts of the server, where there is a connection.
func (c *call) allow(timeout time.Duration) {
	deadline := time.Now().Add(timeout)
	_ = c.connection.SetReadDeadline(deadline)
	_ = c.connection.SetWriteDeadline(deadline)
}

// answer is what a handler returns: a body that is encoded as JSON, or none.
type answer struct {
	status int
	body   any
}

// route is a call of the API. The template is that of the OpenAPI document.
type route struct {
	method, template string
	role             role
	parameters       []string // of the query
	handle           func(*api, *call) (answer, error)
}

// role is what a caller must be allowed to do.
type role string

const (
	roleRead  role = "read"
	roleWrite role = "write"
	roleAdmin role = "admin"
)

// notFound is the route of paths that are no route, in metrics and logs.
const notFound = "none"

var routes = slices.Concat(findingRoutes, assetRoutes, evidenceRoutes, symbolRoutes, watchRoutes, signalRoutes, importRoutes, adminRoutes, snapshotRoutes, documentRoutes)

// pathParameters check the parameters of paths, by name.
var pathParameters = map[string]func(string) error{"findingId": finding.ValidateID, "importId": validateImportID, "sha256": validateDigest, "digest": validateDigest}

// match finds the routes of an escaped path, one for each method, and the escaped parameters in it, by name. An id keeps
// what it has encoded, slashes too, until it is decoded on its own.
func match(escaped string) (matched []*route, path map[string]string) {
	segments := strings.Split(escaped, "/")
	for i := range routes {
		template := strings.Split(routes[i].template, "/")
		if len(template) != len(segments) {
			continue
		}
		found, ok := map[string]string{}, true
		for j := range template {
			if name, is := strings.CutPrefix(template[j], "{"); is && segments[j] != "" {
				found[strings.TrimSuffix(name, "}")] = segments[j]
			} else if template[j] != segments[j] {
				ok = false
				break
			}
		}
		if ok {
			matched, path = append(matched, &routes[i]), found
		}
	}
	return matched, path
}

// serve answers a request that came through the guard and confighttp: authenticated, its body bounded.
func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	matched, path := match(r.URL.EscapedPath())
	if len(matched) == 0 {
		write(w, newProblem(http.StatusNotFound, "there is no such path"))
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	at := slices.IndexFunc(matched, func(route *route) bool { return route.method == method })
	if at < 0 {
		var allowed []string
		for _, route := range matched {
			allowed = append(allowed, route.method)
			if route.method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		write(w, newProblem(http.StatusMethodNotAllowed, "this path takes "+strings.Join(allowed, ", ")))
		return
	}
	route := matched[at]
	c := &call{Request: r, route: route.template, path: map[string]string{}, now: a.now().UTC(), entry: entryOf(r.Context()),
		header: w.Header(), connection: http.NewResponseController(w)}
	c.principal, c.authenticated = storage.PrincipalFrom(r.Context())
	c.entry.principal, c.entry.authenticated = c.principal, c.authenticated
	if p := a.refuseCaller(w.Header(), route, c); p != nil {
		write(w, p)
		return
	}
	defer func() {
		a.limits.release(c.principal, c.authenticated, c.held)
		a.limits.leave(c.principal, c.authenticated)
	}()
	answer, err := a.answer(route, c, path)
	if err != nil {
		write(w, a.problemOf(err, route.template))
		return
	}
	if answer.body == nil {
		w.WriteHeader(answer.status)
		return
	}
	contentType := "application/json"
	if exact, is := answer.body.(verbatim); is {
		contentType, answer.body = exact.media, json.RawMessage(exact.data)
	}
	if err := writeJSON(w, answer.status, contentType, answer.body); err != nil {
		a.logger.Error("an answer cannot be encoded", zap.String("route", route.template), zap.Error(err))
		write(w, newProblem(http.StatusInternalServerError, ""))
	}
}

// refuseCaller stops who asks too often, when there is too much to do, and what the caller's role does not include. Who
// is not refused has taken a slot of the limits.
func (a *api) refuseCaller(header http.Header, route *route, c *call) *problem {
	count := func(counter metric.Int64Counter, attributes ...attribute.KeyValue) {
		counter.Add(context.WithoutCancel(c.Context()), 1, metric.WithAttributes(attributes...))
	}
	if wait := a.limits.wait(c.principal, c.now); wait > 0 {
		count(a.telemetry.WitnessQueryLimitedRequests, attribute.String("limit", "rate"))
		return tooMany(header, wait, "this caller asks more often than it may; Retry-After says when it may again")
	}
	if granted := a.access.grant(c.Context()); !granted.includes(route.role) {
		count(a.telemetry.WitnessQueryDeniedRequests, attribute.String("role", string(route.role)))
		return newProblem(http.StatusForbidden, "the caller may not do this")
	}
	if !a.limits.enter(c.principal, c.authenticated) {
		count(a.telemetry.WitnessQueryLimitedRequests, attribute.String("limit", "concurrency"))
		return tooMany(header, time.Second, "as many requests as may be are being answered")
	}
	return nil
}

func (a *api) answer(route *route, c *call, escaped map[string]string) (answer, error) {
	for name, value := range escaped {
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return answer{}, badRequest(name + ": is not percent-encoded")
		}
		if err := pathParameters[name](decoded); err != nil {
			return answer{}, badRequest(fmt.Sprintf("%s: %v", name, err))
		}
		c.path[name] = decoded
	}
	c.finding = c.path["findingId"]
	parameters := route.parameters
	if a.deterministic && route.takesNow() {
		parameters = append(slices.Clone(parameters), parameterNow)
	}
	var err error
	if c.query, err = parseQuery(c.URL.RawQuery, parameters, a.ignored); err != nil {
		return answer{}, err
	}
	if text, given := c.query.text(parameterNow); given {
		if c.now, err = ingest.ParseTime(text); err != nil {
			return answer{}, badRequest(fmt.Sprintf("%s: %v", parameterNow, err))
		}
		c.now, c.replayed = c.now.UTC(), true
	}
	return route.handle(a, c)
}

// write sends a problem.
func write(w http.ResponseWriter, p *problem) {
	if err := writeJSON(w, p.Status, "application/problem+json", p); err != nil {
		w.WriteHeader(http.StatusInternalServerError) // a problem can always be encoded
	}
}

// writeJSON encodes a body before anything is sent, so that an error can still be told.
func writeJSON(w http.ResponseWriter, status int, contentType string, body any) error {
	var buffer bytes.Buffer
	if raw, ok := body.(json.RawMessage); ok {
		buffer.Write(raw)
	} else {
		encoder := json.NewEncoder(&buffer)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(body); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(buffer.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(buffer.Bytes()) // the caller is gone
	return nil
}

// refuse tells what confighttp refuses: a request without credentials, or with a body that cannot be decompressed. The
// message of an authenticator may hold what it was given, so it is not repeated.
func (a *api) refuse(w http.ResponseWriter, _ *http.Request, _ string, status int) {
	detail := "the body's Content-Encoding is not supported, or it is not what that says"
	if status == http.StatusUnauthorized {
		detail = "the request is not authenticated"
		w.Header().Set("WWW-Authenticate", a.challenge)
	}
	write(w, newProblem(status, detail))
}

// guard is outermost: it counts, keeps the audit log, survives panics, sets the headers that every answer has, and
// refuses what a page of another origin sends through somebody's browser. hosts are the names that a request may use,
// nil for any; origins are other origins whose pages may use the API.
func (a *api) guard(next http.Handler, hosts, origins []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		template, writes := notFound, false
		entry := &entry{}
		if matched, path := match(r.URL.EscapedPath()); len(matched) > 0 {
			entry.finding, _ = url.PathUnescape(path["findingId"])
			template = matched[0].template
			at := slices.IndexFunc(matched, func(route *route) bool { return route.method == r.Method })
			writes = at >= 0 && matched[at].role != roleRead
		}
		r = r.WithContext(context.WithValue(r.Context(), entryKey{}, entry))
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if reason := recover(); reason != nil {
				if err, ok := reason.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(reason)
				}
				// The reason may hold parts of the request: only its type is logged.
				a.logger.Error("a request panicked", zap.String("route", template),
					zap.String("type", fmt.Sprintf("%T", reason)), zap.ByteString("stack", debug.Stack()))
				if !recorder.written {
					write(recorder, newProblem(http.StatusInternalServerError, ""))
				}
			}
			if writes {
				a.logWrite(r.Method, template, recorder.status, entry)
			}
			a.telemetry.WitnessQueryRequests.Add(context.WithoutCancel(r.Context()), 1, metric.WithAttributes(
				attribute.String("route", template), attribute.String("class", strconv.Itoa(recorder.status/100)+"xx")))
		}()
		header := recorder.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		if r.TLS != nil && hosts == nil { // a browser would keep it for localhost too, and for everything else there
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if p := refuseOrigin(r, hosts, origins); p != nil {
			write(recorder, p)
			return
		}
		next.ServeHTTP(recorder, r)
	})
}

// refuseOrigin stops DNS rebinding (a name of the attacker's that resolves to this host) and requests that a page of
// another origin makes, but for those that are allowed.
func refuseOrigin(r *http.Request, hosts, allowed []string) *problem {
	if hosts != nil && !slices.ContainsFunc(hosts, func(host string) bool { return strings.EqualFold(host, hostname(r.Host)) }) {
		return newProblem(http.StatusForbidden, "Host: is not a name of this host")
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return nil
	}
	if len(origins) == 1 && slices.Contains(allowed, origins[0]) {
		return nil
	}
	origin, err := url.Parse(origins[0])
	if err != nil || len(origins) > 1 || origin.Scheme != "http" && origin.Scheme != "https" || !strings.EqualFold(origin.Host, r.Host) {
		return newProblem(http.StatusForbidden, "Origin: is another origin")
	}
	return nil
}

// hostname is a Host header without port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// statusRecorder remembers what was answered.
type statusRecorder struct {
	http.ResponseWriter
	status  int
	written bool
}

func (s *statusRecorder) WriteHeader(status int) {
	if !s.written {
		s.status, s.written = status, true
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusRecorder) Write(b []byte) (int, error) {
	s.written = true
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController and http.MaxBytesReader reach the connection.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }
