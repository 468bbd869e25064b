package witnessqueryextension

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/strictjson"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var findingRoutes = []route{
	{http.MethodGet, "/api/v1/findings", roleRead, []string{"component", "cursor", "limit"}, (*api).listFindings},
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

func (a *api) summarize(c *call, f witness.Finding) (findingEvidence, error) {
	matches, err := evidence.Match(c.Context(), a.store, &evidence.Question{Tenant: c.principal.Tenant, Finding: f})
	if err != nil {
		return findingEvidence{}, err
	}
	summary, err := matches.Summary(c.Context(), a.store)
	if err != nil {
		return findingEvidence{}, err
	}
	result := matches.Score(a.weights, c.now, &summary)
	return findingEvidence{f, findingSummary{
		Observed: summary.Hits > 0, Hits: summary.Hits, ByKind: hitsByKind(summary.ByKind),
		FirstSeen: when(summary.FirstSeen), LastSeen: when(summary.LastSeen), Score: result.Score, Band: result.Band,
	}}, nil
}

func (a *api) listFindings(c *call) (answer, error) {
	component, err := c.query.component()
	if err != nil {
		return answer{}, err
	}
	limit, err := c.query.limit()
	if err != nil {
		return answer{}, err
	}
	parameters := []string{c.route, c.principal.Tenant, component}
	after, err := c.query.cursor(parameters...)
	if err != nil {
		return answer{}, err
	}
	query := storage.FindingQuery{Component: component, Limit: limit}
	if after != nil {
		query.After = after.ID
	}
	page, err := a.store.Findings(c.Context(), c.principal.Tenant, query)
	if err != nil {
		return answer{}, err
	}
	list := struct {
		Findings   []findingEvidence `json:"findings"`
		NextCursor *string           `json:"nextCursor"`
	}{Findings: make([]findingEvidence, 0, len(page.Findings))}
	for _, f := range page.Findings {
		item, err := a.summarize(c, f)
		if err != nil {
			return answer{}, err
		}
		list.Findings = append(list.Findings, item)
	}
	if n := len(page.Findings); page.More && n > 0 {
		next, err := (&cursor{ID: page.Findings[n-1].ID}).encode(parameters...)
		if err != nil {
			return answer{}, err
		}
		list.NextCursor = &next
	}
	return answer{http.StatusOK, list}, nil
}

func (a *api) getFinding(c *call) (answer, error) {
	f, err := a.store.Finding(c.Context(), c.principal.Tenant, c.finding)
	if err != nil {
		return answer{}, err
	}
	body, err := a.summarize(c, f)
	return answer{http.StatusOK, body}, err
}

func (a *api) putFinding(c *call) (answer, error) {
	body, err := readJSON(c)
	if err != nil {
		return answer{}, err
	}
	// What GET answers can be put back: scope and evidence, which are the server's, are not looked at.
	var document struct {
		witness.Finding
		Evidence json.RawMessage `json:"evidence"`
	}
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

// readJSON reads a body that says it is JSON, of at most maxJSON bytes.
func readJSON(c *call) ([]byte, error) {
	media, parameters, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if charset, given := parameters["charset"]; err != nil || media != "application/json" || given && !strings.EqualFold(charset, "utf-8") {
		return nil, newProblem(http.StatusUnsupportedMediaType, "Content-Type: is not application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, c.Body, maxJSON))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit))
	case err != nil:
		return nil, badRequest("the body cannot be read")
	}
	return body, nil
}
