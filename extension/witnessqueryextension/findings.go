package witnessqueryextension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/strictjson"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var findingRoutes = []route{
	{
		http.MethodGet, "/api/v1/findings", roleRead,
		[]string{"component", "digest", "namespace", "kind", "band", "observed", "changedSince", "sort", "cursor", "limit"}, (*api).listFindings,
	},
	{http.MethodGet, "/api/v1/findings/{findingId}", roleRead, nil, (*api).getFinding},
	{http.MethodPut, "/api/v1/findings/{findingId}", roleWrite, nil, (*api).putFinding},
	{http.MethodDelete, "/api/v1/findings/{findingId}", roleWrite, nil, (*api).deleteFinding},
}

// scopeAPI is the scope of findings that this API puts.
const scopeAPI = "api"

// findingEvidence is a finding with a summary of its evidence, all of it, whenever it was seen.
type findingEvidence struct {
	witness.Finding
	Evidence findingSummary `json:"evidence"`
}

type findingSummary struct {
	Observed  bool       `json:"observed"`
	Hits      uint64     `json:"hits"`
	ByKind    kindHits   `json:"byKind"`
	FirstSeen *time.Time `json:"firstSeen"`
	LastSeen  *time.Time `json:"lastSeen"`
	Score     float64    `json:"score"`
	Band      string     `json:"band"`
}

// kindHits are the hits of each kind, 0 without any.
type kindHits struct {
	Exec   uint64 `json:"exec"`
	Load   uint64 `json:"load"`
	Sample uint64 `json:"sample"`
	Call   uint64 `json:"call"`
}

func hitsByKind(hits map[witness.Kind]uint64) kindHits {
	return kindHits{
		Exec: hits[witness.KindExec], Load: hits[witness.KindLoad],
		Sample: hits[witness.KindSample], Call: hits[witness.KindCall],
	}
}

// when is a time that may be absent.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func findingEvidenceOf(s *evidence.Summed) findingEvidence {
	return findingEvidence{s.Finding, findingSummary{
		Observed: s.Hits > 0, Hits: s.Hits, ByKind: hitsByKind(s.ByKind),
		FirstSeen: when(s.FirstSeen), LastSeen: when(s.LastSeen), Score: s.Score, Band: s.Band,
	}}
}

type findingList struct {
	AsOf       time.Time         `json:"asOf"`
	Findings   []findingEvidence `json:"findings"`
	NextCursor *string           `json:"nextCursor"`
}

func (a *api) listFindings(c *call) (answer, error) {
	query, parameters, err := c.query.findings()
	if err != nil {
		return answer{}, err
	}
	parameters = append([]string{c.route, c.principal.Tenant}, parameters...)
	query.Now = c.now
	after, err := c.query.cursor(parameters...)
	if err != nil {
		return answer{}, err
	}
	if after != nil {
		query.Now, query.After = after.AsOf, &evidence.FindingPosition{Key: after.Key, ID: after.ID}
	}
	page, err := a.selectFindings(c, query)
	if errors.Is(err, evidence.ErrTooMany) {
		detail := "limit: there is too much evidence for so many findings in one answer"
		if !query.ByID() {
			detail = fmt.Sprintf("sort: there are more than %d findings, or too much evidence for them: without sort, or with sort=id, and without filters but component they are listed",
				a.boards.Limit())
		}
		return answer{}, newProblem(http.StatusUnprocessableEntity, detail)
	}
	if errors.Is(err, evidence.ErrReading) {
		c.header.Set("Retry-After", "5")
		return answer{}, newProblem(http.StatusServiceUnavailable, "the findings are being read; Retry-After says when to ask again")
	}
	if err != nil {
		return answer{}, err
	}
	list := findingList{AsOf: page.AsOf.UTC(), Findings: make([]findingEvidence, 0, len(page.Findings))}
	for i := range page.Findings {
		list.Findings = append(list.Findings, findingEvidenceOf(&page.Findings[i]))
	}
	if page.Next != nil {
		next, err := (&cursor{AsOf: page.AsOf, Key: page.Next.Key, ID: page.Next.ID}).encode(parameters...)
		if err != nil {
			return answer{}, err
		}
		list.NextCursor = &next
	}
	return answer{http.StatusOK, list}, nil
}

// selectFindings reads a page of findings by id where nothing else is asked for, however many there are, unless all
// findings of the tenant are at hand. Else, and for whoever turns pages, it keeps them to choose from.
func (a *api) selectFindings(c *call, query *evidence.FindingsQuery) (evidence.FindingsPage, error) {
	if !query.ByID() || a.boards.Ready(c.principal.Tenant) {
		page, err := a.boards.Findings(c.Context(), a.store, c.principal.Tenant, a.weights, *query, a.deterministic)
		if !query.ByID() || err == nil {
			return page, err
		}
	}
	stored := storage.FindingQuery{Component: query.Component, Limit: query.Limit}
	if query.After != nil {
		stored.After = query.After.ID
	}
	page, err := a.store.Findings(c.Context(), c.principal.Tenant, stored)
	if err != nil {
		return evidence.FindingsPage{}, err
	}
	found := evidence.FindingsPage{AsOf: query.Now}
	if found.Findings, err = evidence.Summarize(c.Context(), a.store, c.principal.Tenant, a.weights, query.Now, page.Findings); err != nil {
		return evidence.FindingsPage{}, err
	}
	if n := len(page.Findings); page.More && n > 0 {
		a.boards.Warm(a.store, c.principal.Tenant, a.weights)
		found.Next = &evidence.FindingPosition{ID: page.Findings[n-1].ID}
	}
	return found, nil
}

// measureBoards tells how much the boards hold, and how long it takes to keep them.
func (a *api) measureBoards() error {
	a.boards.Refreshed = func(took time.Duration) {
		a.telemetry.WitnessQueryBoardRefreshDuration.Record(context.Background(), took.Seconds())
	}
	findings := func(_ context.Context, observer metric.Int64Observer) error {
		findings, _ := a.boards.Size()
		observer.Observe(int64(findings))
		return nil
	}
	matches := func(_ context.Context, observer metric.Int64Observer) error {
		_, matches := a.boards.Size()
		observer.Observe(int64(matches))
		return nil
	}
	return errors.Join(a.telemetry.RegisterWitnessQueryBoardFindingsCallback(findings), a.telemetry.RegisterWitnessQueryBoardMatchesCallback(matches))
}

func (a *api) getFinding(c *call) (answer, error) {
	f, err := a.store.Finding(c.Context(), c.principal.Tenant, c.finding)
	if err != nil {
		return answer{}, err
	}
	summed, err := evidence.Summarize(c.Context(), a.store, c.principal.Tenant, a.weights, c.now, []witness.Finding{f})
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, findingEvidenceOf(&summed[0])}, nil
}

// findingDocument is a finding as it is put. What GET answers can be put back: scope and evidence, which are the server's,
// are not looked at.
type findingDocument struct {
	witness.Finding
	Evidence json.RawMessage `json:"evidence"`
}

func (a *api) putFinding(c *call) (answer, error) {
	body, err := a.readJSON(c)
	if err != nil {
		return answer{}, err
	}
	var document findingDocument
	if err := strictjson.Unmarshal(body, &document); err != nil {
		return answer{}, badRequest(err.Error())
	}
	f := document.Finding
	switch f.ID {
	case "", c.finding:
		f.ID = c.finding
	default:
		return answer{}, badRequest("id: is not the id in the path")
	}
	f.Scope = scopeAPI
	if err := finding.Validate(&f); err != nil {
		return answer{}, badRequest(err.Error())
	}
	finding.Scrub(&f)
	created, err := a.store.PutFinding(c.Context(), c.principal, f)
	if err != nil {
		return answer{}, err
	}
	a.watchLists.forget(c.principal.Tenant)
	a.audit(c, zap.Bool("created", created))
	if created {
		return answer{http.StatusCreated, f}, nil
	}
	return answer{http.StatusOK, f}, nil
}

func (a *api) deleteFinding(c *call) (answer, error) {
	if err := a.store.DeleteFinding(c.Context(), c.principal, c.finding); err != nil {
		return answer{}, err
	}
	a.watchLists.forget(c.principal.Tenant)
	a.audit(c)
	return answer{status: http.StatusNoContent}, nil
}

// readJSON reads a body that says it is JSON, of at most maxJSON bytes. It is held until the call is answered.
func (a *api) readJSON(c *call) ([]byte, error) {
	media, parameters, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if charset, given := parameters["charset"]; err != nil || media != "application/json" || given && !strings.EqualFold(charset, "utf-8") {
		return nil, newProblem(http.StatusUnsupportedMediaType, "Content-Type: is not application/json")
	}
	body, err := io.ReadAll(&heldReader{http.MaxBytesReader(nil, c.Body, maxJSON), a.limits, c})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errBodies):
		a.telemetry.WitnessQueryLimitedRequests.Add(context.WithoutCancel(c.Context()), 1, metric.WithAttributes(attribute.String("limit", "bodies")))
		return nil, tooMany(c.header, time.Second, "the bodies that are being read are as long as may be, all together")
	case errors.As(err, &tooLarge):
		return nil, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit))
	case err != nil:
		return nil, badRequest("the body cannot be read")
	}
	return body, nil
}

var errBodies = errors.New("too many bytes of bodies are held")

// heldReader takes from the limits what is read of a call's body.
type heldReader struct {
	io.Reader
	limits *limits
	call   *call
}

func (h *heldReader) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 && !h.limits.hold(h.call.principal, h.call.authenticated, int64(n)) {
		return 0, errBodies
	}
	h.call.held += int64(n)
	return n, err
}
