package witnessqueryextension

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/strictjson"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var evidenceRoutes = []route{
	{http.MethodPost, "/api/v1/findings/{findingId}/runtime/traces", roleWrite, nil, (*api).postTraces},
	{
		http.MethodGet, "/api/v1/findings/{findingId}/runtime/traces", roleRead,
		[]string{"from", "to", "kind", "minConfidence", "assurance", "sort", "limit", "cursor"}, (*api).getTraces,
	},
	{http.MethodGet, "/api/v1/findings/{findingId}/runtime/timeline", roleRead, []string{"from", "to", "bucket"}, (*api).getTimeline},
	{http.MethodGet, "/api/v1/findings/{findingId}/runtime/score", roleRead, nil, (*api).getScore},
	{http.MethodGet, "/api/v1/findings/{findingId}/runtime/coverage", roleRead, []string{"from", "to"}, (*api).getCoverage},
}

const maxIdempotencyKey = 255 // bytes

// ingested is the answer to posted traces. All three count traces.
type ingested struct {
	Accepted int                `json:"accepted"`
	Stored   int                `json:"stored"` // of the accepted ones, those that are new
	Rejected []ingest.Rejection `json:"rejected"`
}

func (a *api) postTraces(c *call) (answer, error) {
	key, err := idempotencyKey(c.Header)
	if err != nil {
		return answer{}, err
	}
	body, err := a.readJSON(c)
	if err != nil {
		return answer{}, err
	}
	request, err := ingest.Decode(body)
	if err != nil {
		return answer{}, decodeProblem(err)
	}
	digest := request.Digest()
	receipt := true
	switch {
	case key != "":
		key = "header/" + key
	case request.Timed():
		key = "content/" + hex.EncodeToString(digest[:])
	default:
		key, receipt = "random/"+rand.Text(), false
	}
	identity := digestOf(c.principal.Name, c.principal.Tenant, c.finding, key)
	name := hex.EncodeToString(identity[:])
	now := c.now
	made := a.maker.Make(request, c.finding, storage.PostSource+"/"+name+"/http", now)
	batch := storage.Batch{Principal: c.principal, Observations: made.Observations}
	if receipt {
		batch.Receipt = &storage.Receipt{Key: name, Body: digest}
	}
	var written storage.Written
	if receipt || len(batch.Observations) > 0 {
		if written, err = a.store.WriteObservations(c.Context(), batch); err != nil {
			return answer{}, err
		}
	}
	rejected := withRefusals(&made, written.Refused)
	result := ingested{Accepted: request.Len() - len(rejected), Rejected: rejected}
	if written.Stored > 0 {
		// No other request has the same source, so all that this one observed is new, or none of it.
		result.Stored = result.Accepted
	}
	ctx := c.Context()
	a.telemetry.WitnessQueryAcceptedTraces.Add(ctx, int64(result.Accepted))
	a.telemetry.WitnessQueryRejectedTraces.Add(ctx, int64(len(rejected)))
	a.telemetry.WitnessQueryStoredObservations.Add(ctx, int64(written.Stored))
	a.audit(c, zap.Int("accepted", result.Accepted), zap.Int("rejected", len(rejected)),
		zap.Int("observations", written.Stored), zap.Int("duplicates", written.Duplicates))
	return answer{http.StatusAccepted, result}, nil
}

func decodeProblem(err error) error {
	var document *strictjson.Error
	if errors.As(err, &document) {
		return badRequest(document.Error())
	}
	return err
}

// idempotencyKey reads the header of that name; empty without it.
func idempotencyKey(header http.Header) (string, error) {
	values := header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 || values[0] == "" || len(values[0]) > maxIdempotencyKey ||
		strings.ContainsFunc(values[0], func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", badRequest("Idempotency-Key: is not one text of 1 to 255 printable ASCII characters")
	}
	return values[0], nil
}

// withRefusals adds the traces of refused observations to the rejected ones. Each trace is there once, by index.
func withRefusals(made *ingest.Made, refused []storage.Refusal) []ingest.Rejection {
	reasons := map[int]string{}
	for _, rejection := range made.Rejected {
		reasons[rejection.Index] = rejection.Reason
	}
	for _, refusal := range refused {
		if refusal.Index < 0 || refusal.Index >= len(made.Traces) {
			continue
		}
		for _, trace := range made.Traces[refusal.Index] {
			if _, known := reasons[trace]; !known {
				reasons[trace] = refusal.Reason
			}
		}
	}
	rejected := make([]ingest.Rejection, 0, len(reasons))
	for index, reason := range reasons {
		rejected = append(rejected, ingest.Rejection{Index: index, Reason: reason})
	}
	slices.SortFunc(rejected, func(a, b ingest.Rejection) int { return a.Index - b.Index })
	return rejected
}

// traces is the answer to what was seen of a finding.
type traces struct {
	FindingID  string              `json:"findingId"`
	AsOf       time.Time           `json:"asOf"`
	Collection evidence.Collection `json:"collection"`
	Coverage   coverageSummary     `json:"coverage"`
	Summary    summary             `json:"summary"`
	Traces     []trace             `json:"traces"`
	NextCursor *string             `json:"nextCursor"`
	// Contradictions with VEX documents. Always empty: none are read.
	Contradictions []struct{} `json:"contradictions"`
}

type summary struct {
	Observed           bool          `json:"observed"`
	TotalHits          uint64        `json:"totalHits"`
	ByAssurance        assuranceHits `json:"byAssurance"`
	ByKind             kindHits      `json:"byKind"`
	UniquePaths        int           `json:"uniquePaths"`
	DirectPathObserved bool          `json:"directPathObserved"`
	Containers         int           `json:"containers"`
	Hosts              int           `json:"hosts"`
	FirstSeen          *time.Time    `json:"firstSeen"`
	LastSeen           *time.Time    `json:"lastSeen"`
	// OtherVersions is in none of the others.
	OtherVersions evidence.OtherVersions `json:"otherVersions"`
}

type assuranceHits struct {
	Measured uint64 `json:"measured"`
	Asserted uint64 `json:"asserted"`
}

type trace struct {
	ID                 string            `json:"id"`
	Kind               witness.Kind      `json:"kind"`
	Assurance          witness.Assurance `json:"assurance"`
	Origin             witness.Origin    `json:"origin"`
	VulnerableFunction *string           `json:"vulnerableFunction"`
	DirectPath         bool              `json:"directPath"`
	Match              traceMatch        `json:"match"`
	Hits               uint64            `json:"hits"`
	HitsError          uint64            `json:"hitsError"`
	FirstSeen          time.Time         `json:"firstSeen"`
	LastSeen           time.Time         `json:"lastSeen"`
	Artifact           artifact          `json:"artifact"`
	Component          *string           `json:"component"`
	Workload           workload          `json:"workload"`
	Container          container         `json:"container"`
	Host               string            `json:"host,omitempty"`
	Frames             []frame           `json:"frames"`
}

// traceMatch is why a trace answers the finding.
type traceMatch struct {
	Level      string  `json:"level"`
	Version    string  `json:"version"`
	Confidence float64 `json:"confidence"`
	Why        string  `json:"why"`
}

// artifact has the members that are known.
type artifact struct {
	PURL           string   `json:"purl,omitempty"`
	Digest         string   `json:"digest,omitempty"`
	Revision       string   `json:"revision,omitempty"`
	Repository     string   `json:"repository,omitempty"`
	IdentityMethod string   `json:"identityMethod,omitempty"`
	Conflicts      []string `json:"conflicts,omitempty"`
}

func artifactOf(a *witness.Artifact) artifact {
	return artifact{
		PURL: a.PURL, Digest: a.Digest, Revision: a.Revision, Repository: a.Repository,
		IdentityMethod: a.Method, Conflicts: a.Conflicts,
	}
}

type workload struct {
	Namespace  string `json:"namespace,omitempty"`
	Controller string `json:"controller,omitempty"`
}

type container struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Image string `json:"image,omitempty"`
}

type frame struct {
	Symbol             string   `json:"symbol,omitempty"`
	Package            string   `json:"package,omitempty"`
	Member             string   `json:"member,omitempty"`
	Language           string   `json:"language,omitempty"`
	Flags              []string `json:"flags,omitempty"`
	File               string   `json:"file,omitempty"`
	Line               int      `json:"line,omitempty"`
	Module             string   `json:"module,omitempty"`
	BuildID            string   `json:"buildId,omitempty"`
	SHA256             string   `json:"sha256,omitempty"`
	Offset             string   `json:"offset,omitempty"`
	Inlined            bool     `json:"inlined,omitempty"`
	Component          string   `json:"component,omitempty"`
	EntryPoint         bool     `json:"entryPoint"`
	VulnerableFunction bool     `json:"vulnerableFunction"`
	Confidence         float64  `json:"confidence"`
}

func frameOf(f *witness.Frame) frame {
	out := frame{
		Symbol: f.Symbol, Package: f.Package, Member: f.Member, Language: f.Language, Flags: f.Flags,
		File: f.File, Line: f.Line, Module: f.Module.Path, BuildID: f.Module.BuildID, SHA256: f.Module.SHA256,
		Inlined: f.Inlined, Component: f.Component,
	}
	if f.Confidence > 0 { // not NaN either
		out.Confidence = min(f.Confidence, 1)
	}
	if f.HasOffset {
		out.Offset = witness.FormatOffset(f.Offset)
	}
	return out
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func traceOf(f *witness.Finding, matches *evidence.Matches, w *storage.WitnessTotal) trace {
	subject, _ := matches.Subject(w.Subject) // Witnesses returns no other
	match := subject.Match(w.Named)
	t := trace{
		ID: w.ID.String(), Kind: w.Witness.Kind, Assurance: w.Assurance, Origin: w.Origin,
		DirectPath: match.Direct,
		Match:      traceMatch{string(match.Level), string(match.Version), match.Confidence, match.Why},
		Hits:       w.Hits, HitsError: w.HitsError, FirstSeen: w.FirstSeen.UTC(), LastSeen: w.LastSeen.UTC(),
		Artifact: artifactOf(&w.Artifact), Component: text(w.Witness.Frame.Component),
		Workload:  workload{w.Witness.Workload.Namespace, w.Witness.Workload.Controller},
		Container: container{w.Instance.Container, w.Witness.Workload.Container, w.Witness.Workload.Image},
		Host:      w.Instance.Host,
		Frames:    make([]frame, 0, 1+len(w.Witness.Path)),
	}
	first := frameOf(&w.Witness.Frame)
	if first.VulnerableFunction = subject.Function(&match); first.VulnerableFunction {
		t.VulnerableFunction = text(first.Symbol)
	}
	t.Frames = append(t.Frames, first)
	for i := range w.Witness.Path {
		caller := frameOf(&w.Witness.Path[i])
		caller.VulnerableFunction = evidence.Names(f, &w.Witness.Path[i], &w.Artifact)
		t.Frames = append(t.Frames, caller)
	}
	t.Frames[len(t.Frames)-1].EntryPoint = true
	return t
}

func (a *api) getTraces(c *call) (answer, error) {
	now := c.now
	question := evidence.Question{Tenant: c.principal.Tenant}
	query := storage.WitnessQuery{} // the first page has all there is
	var err error
	if question.From, question.To, err = c.query.span(); err != nil {
		return answer{}, err
	}
	if question.Kinds, err = c.query.kinds(); err != nil {
		return answer{}, err
	}
	if question.MinConfidence, err = c.query.minConfidence(); err != nil {
		return answer{}, err
	}
	if question.Assurance, err = c.query.assurance(); err != nil {
		return answer{}, err
	}
	if query.Limit, err = c.query.limit(); err != nil {
		return answer{}, err
	}
	order, given := c.query.text("sort")
	switch query.Sort = storage.Sort(order); query.Sort {
	case storage.SortHits, storage.SortRecent, storage.SortID:
	default:
		if given {
			return answer{}, badRequest("sort: is not one of hits, recent, id")
		}
		query.Sort = storage.SortHits
	}
	parameters := []string{
		c.route, c.principal.Tenant, c.finding, question.From.String(), question.To.String(),
		string(question.Assurance), string(query.Sort), strconv.FormatFloat(question.MinConfidence, 'g', -1, 64),
	}
	for _, kind := range question.Kinds {
		parameters = append(parameters, string(kind))
	}
	after, err := c.query.cursor(parameters...)
	if err != nil {
		return answer{}, err
	}
	if after != nil {
		id, err := witness.ParseID(after.ID)
		if err != nil {
			return answer{}, badRequest("cursor: was not made by this call with these parameters")
		}
		query.AsOf, query.After = after.AsOf, &storage.Position{Key: after.Key, ID: id}
	}
	if question.Finding, err = a.store.Finding(c.Context(), c.principal.Tenant, c.finding); err != nil {
		return answer{}, err
	}
	matches, err := evidence.Match(c.Context(), a.store, &question)
	if err != nil {
		return answer{}, err
	}
	total, err := matches.Summary(c.Context(), a.store)
	if err != nil {
		return answer{}, err
	}
	others, err := matches.OtherVersions(c.Context(), a.store)
	if err != nil {
		return answer{}, err
	}
	page, err := matches.Witnesses(c.Context(), a.store, query)
	if err != nil {
		return answer{}, err
	}
	if query.After == nil && !c.replayed { // when a row was stored is not part of what it says
		if query.AsOf = now; page.AsOf.After(now) {
			query.AsOf = page.AsOf
		}
	}
	body := traces{
		FindingID: c.finding, AsOf: now, Summary: summaryOf(matches, &total, others),
		Traces: make([]trace, 0, len(page.Witnesses)), Contradictions: []struct{}{},
	}
	for i := range page.Witnesses {
		body.Traces = append(body.Traces, traceOf(&question.Finding, matches, &page.Witnesses[i]))
	}
	if page.Next != nil {
		next, err := (&cursor{AsOf: query.AsOf, Key: page.Next.Key, ID: page.Next.ID.String()}).encode(parameters...)
		if err != nil {
			return answer{}, err
		}
		body.NextCursor = &next
	}
	own := evidence.OwnOf(&question.Finding, matches)
	if !query.AsOf.IsZero() {
		body.AsOf = query.AsOf.UTC()
	}
	var coverage *evidence.Coverage
	if body.Collection, coverage, err = a.coverages.Collect(c.Context(), a.store, c.principal.Tenant, own, now, c.replayed); err != nil {
		return answer{}, err
	}
	if from, to := question.From, question.To; !from.IsZero() || !to.IsZero() {
		if to.IsZero() {
			to = now
		}
		if from.IsZero() || !from.Before(to) {
			from = to.Add(-day)
		}
		if coverage, err = a.cover(c, own, from, to, now); err != nil {
			return answer{}, err
		}
	}
	body.Coverage = coverageSummaryOf(coverage)
	return answer{http.StatusOK, body}, nil
}

func summaryOf(matches *evidence.Matches, s *storage.Summary, others evidence.OtherVersions) summary {
	return summary{
		Observed: s.Hits > 0, TotalHits: s.Hits,
		ByAssurance: assuranceHits{s.ByAssurance[witness.Measured], s.ByAssurance[witness.Asserted]},
		ByKind:      hitsByKind(s.ByKind), UniquePaths: s.Witnesses, DirectPathObserved: matches.DirectPathObserved(s),
		Containers: s.Containers, Hosts: s.Hosts, FirstSeen: when(s.FirstSeen), LastSeen: when(s.LastSeen),
		OtherVersions: others,
	}
}
