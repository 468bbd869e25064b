package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Kinds of evidence, weakest first.
const (
	Exec   Kind = "exec"
	Load   Kind = "load"
	Sample Kind = "sample"
	Call   Kind = "call"
)

// Who vouches for evidence.
const (
	Measured Assurance = "measured"
	Asserted Assurance = "asserted"
)

// parameters writes those parameters that are not empty.
type parameters url.Values

func (p parameters) text(name, value string) {
	if value != "" {
		url.Values(p).Set(name, value)
	}
}

func (p parameters) number(name string, value int) {
	if value != 0 {
		url.Values(p).Set(name, strconv.Itoa(value))
	}
}

func (p parameters) time(name string, value time.Time) {
	if !value.IsZero() {
		url.Values(p).Set(name, value.UTC().Format(time.RFC3339Nano))
	}
}

func (p parameters) kinds(kinds []Kind) {
	for _, kind := range kinds {
		url.Values(p).Add("kind", string(kind))
	}
}

// Page is which part of a list: at most Limit items, the server's default when it is 0, behind Cursor, which is the
// NextCursor of the page before and "" for the first.
type Page struct {
	Limit  int
	Cursor string
}

func (q Page) put(p parameters) {
	p.number("limit", q.Limit)
	p.text("cursor", q.Cursor)
}

// FindingsQuery says which findings, by what they are and what their evidence adds up to. Its zero value is all, by id.
type FindingsQuery struct {
	Page
	Component    string    // purl without version
	Digest       string    // of an image or artifact
	Namespace    string    // of an occurrence or workload
	Kinds        []Kind    // with hits of one of them
	Bands        []Band    // in one of them
	Observed     *bool     // with hits, or without
	ChangedSince time.Time // put, or with evidence that was seen, then or later
	Sort         string    // id, score, hits or recent
}

func (q *FindingsQuery) values() url.Values {
	p := parameters{}
	q.put(p)
	p.text("component", q.Component)
	p.text("digest", q.Digest)
	p.text("namespace", q.Namespace)
	p.kinds(q.Kinds)
	bands := make([]string, len(q.Bands))
	for i, band := range q.Bands {
		bands[i] = string(band)
	}
	p.text("band", strings.Join(bands, ","))
	if q.Observed != nil {
		p.text("observed", strconv.FormatBool(*q.Observed))
	}
	p.time("changedSince", q.ChangedSince)
	p.text("sort", q.Sort)
	return url.Values(p)
}

// Findings returns a page of the findings with what their evidence adds up to.
func (c *Client) Findings(ctx context.Context, query FindingsQuery) (*FindingList, error) {
	return one[FindingList](ctx, c, query.values(), "findings")
}

// AllFindings goes through all pages of Findings.
func (c *Client) AllFindings(ctx context.Context, query FindingsQuery) iter.Seq2[FindingEvidence, error] {
	return pages(ctx, query.Page, func(ctx context.Context, page Page) ([]FindingEvidence, *string, error) {
		query.Page = page
		list, err := c.Findings(ctx, query)
		if err != nil {
			return nil, nil, err
		}
		return list.Findings, list.NextCursor, nil
	})
}

// Finding returns a finding; a Problem of status 404 when there is none.
func (c *Client) Finding(ctx context.Context, id string) (*FindingEvidence, error) {
	return one[FindingEvidence](ctx, c, nil, "findings", id)
}

// PutFinding makes or replaces a finding. What Finding returns can be put back.
func (c *Client) PutFinding(ctx context.Context, id string, finding FindingPut) (stored *Finding, created bool, err error) {
	stored = &Finding{}
	got, err := c.do(ctx, &request{method: http.MethodPut, path: []string{"findings", id}, body: finding, again: true}, stored)
	if err != nil {
		return nil, false, err
	}
	return stored, got.status == http.StatusCreated, nil
}

// DeleteFinding deletes a finding, and no evidence. A Problem of status 404 can be that of a repetition.
func (c *Client) DeleteFinding(ctx context.Context, id string) error {
	_, err := c.do(ctx, &request{method: http.MethodDelete, path: []string{"findings", id}, again: true}, nil)
	return err
}

// TracesQuery says which traces. Its zero value is all, those with most hits first.
type TracesQuery struct {
	Page
	From, To      time.Time // starts of windows; To is not included
	Kinds         []Kind
	Assurance     Assurance
	MinConfidence float64
	Sort          string // hits, recent or id
}

func (q *TracesQuery) values() url.Values {
	p := parameters{}
	q.put(p)
	p.time("from", q.From)
	p.time("to", q.To)
	p.kinds(q.Kinds)
	p.text("assurance", string(q.Assurance))
	if q.MinConfidence != 0 {
		p.text("minConfidence", strconv.FormatFloat(q.MinConfidence, 'g', -1, 64))
	}
	p.text("sort", q.Sort)
	return url.Values(p)
}

// Traces returns a page of what was seen of a finding, with a summary of all of it.
func (c *Client) Traces(ctx context.Context, id string, query TracesQuery) (*Traces, error) {
	return one[Traces](ctx, c, query.values(), "findings", id, "runtime", "traces")
}

// AllTraces goes through all pages of Traces. Only the sort id is exact while new hits arrive.
func (c *Client) AllTraces(ctx context.Context, id string, query TracesQuery) iter.Seq2[Trace, error] {
	return pages(ctx, query.Page, func(ctx context.Context, page Page) ([]Trace, *string, error) {
		query.Page = page
		list, err := c.Traces(ctx, id, query)
		if err != nil {
			return nil, nil, err
		}
		return list.Traces, list.NextCursor, nil
	})
}

// PostTraces adds traces to a finding, once however often it has to be sent: under key, or one that is made up when
// that is empty. To repeat a call that ended in an error, give it a key of your own.
func (c *Client) PostTraces(ctx context.Context, id, key string, traces ...PostedTrace) (*Ingested, error) {
	if key == "" {
		key = newKey()
	}
	return send[Ingested](ctx, c, &request{
		method: http.MethodPost, path: []string{"findings", id, "runtime", "traces"},
		header: http.Header{"Idempotency-Key": {key}}, body: PostedTraces{Traces: traces}, again: true,
	})
}

// TimelineQuery says which part of a timeline, in what buckets: as 1m, 1h (which is the default) or 1d.
type TimelineQuery struct {
	From, To time.Time // To is not included
	Bucket   string
}

// Timeline returns the evidence of a finding by time.
func (c *Client) Timeline(ctx context.Context, id string, query TimelineQuery) (*Timeline, error) {
	p := parameters{}
	p.time("from", query.From)
	p.time("to", query.To)
	p.text("bucket", query.Bucket)
	return one[Timeline](ctx, c, url.Values(p), "findings", id, "runtime", "timeline")
}

// Score returns how strong the evidence of a finding is, and why.
func (c *Client) Score(ctx context.Context, id string) (*Score, error) {
	return one[Score](ctx, c, nil, "findings", id, "runtime", "score")
}

// Coverage returns who watched from one time to another, a day up to now where they are zero.
func (c *Client) Coverage(ctx context.Context, id string, from, to time.Time) (*CoverageDetail, error) {
	p := parameters{}
	p.time("from", from)
	p.time("to", to)
	return one[CoverageDetail](ctx, c, url.Values(p), "findings", id, "runtime", "coverage")
}

// AssetsQuery says which evidence of a finding counts, and what the assets are told apart by.
type AssetsQuery struct {
	Page
	By        string    // image, which is the default, workload or host
	From, To  time.Time // starts of windows; To is not included
	Kinds     []Kind
	Assurance Assurance
}

// Assets returns a page of where a finding was seen, and where only scanners say that it is.
func (c *Client) Assets(ctx context.Context, id string, query AssetsQuery) (*Assets, error) {
	p := parameters{}
	query.put(p)
	p.text("by", query.By)
	p.time("from", query.From)
	p.time("to", query.To)
	p.kinds(query.Kinds)
	p.text("assurance", string(query.Assurance))
	return one[Assets](ctx, c, url.Values(p), "findings", id, "assets")
}

// AllAssets goes through all pages of Assets.
func (c *Client) AllAssets(ctx context.Context, id string, query AssetsQuery) iter.Seq2[Asset, error] {
	return pages(ctx, query.Page, func(ctx context.Context, page Page) ([]Asset, *string, error) {
		query.Page = page
		list, err := c.Assets(ctx, id, query)
		if err != nil {
			return nil, nil, err
		}
		return list.Assets, list.NextCursor, nil
	})
}

// HotSymbolsQuery says of which hits.
type HotSymbolsQuery struct {
	From, To  time.Time // To is not included
	Kinds     []Kind
	Assurance Assurance
	Component string // purl without version
	Artifact  string // purl or digest
	Limit     int
}

// HotSymbols returns the functions and modules with most hits.
func (c *Client) HotSymbols(ctx context.Context, query HotSymbolsQuery) (*HotSymbols, error) {
	p := parameters{}
	p.time("from", query.From)
	p.time("to", query.To)
	p.kinds(query.Kinds)
	p.text("assurance", string(query.Assurance))
	p.text("component", query.Component)
	p.text("artifact", query.Artifact)
	p.number("limit", query.Limit)
	return one[HotSymbols](ctx, c, url.Values(p), "symbols", "hot")
}

// OpenAPI returns the OpenAPI document of the server.
func (c *Client) OpenAPI(ctx context.Context) (OpenAPI, error) {
	return bytesOf(one[OpenAPI](ctx, c, nil, "openapi.json"))
}

// Backup makes a backup of the storage. It is not repeated: each makes a file.
func (c *Client) Backup(ctx context.Context) (*Backup, error) {
	return send[Backup](ctx, c, &request{method: http.MethodPost, path: []string{"admin", "backup"}})
}

// ImportFindings starts to replace the findings of a scope by those of a document, of a type that the API takes, as
// application/json. It is sent once, and from body as it is read. Follow it with Import.
func (c *Client) ImportFindings(ctx context.Context, scope, contentType string, body io.Reader) (*Import, error) {
	if body == nil {
		return nil, errors.New("client: there is no document to import")
	}
	p := parameters{}
	p.text("scope", scope)
	return send[Import](ctx, c, &request{
		method: http.MethodPost, path: []string{"findings:import"}, query: url.Values(p),
		header: http.Header{"Content-Type": {contentType}}, stream: body,
	})
}

// Import returns how far an import is.
func (c *Client) Import(ctx context.Context, id string) (*Import, error) {
	return one[Import](ctx, c, nil, "imports", id)
}

// WatchList returns a page of what agents should probe, and the ETag of the whole list. With the ETag of an earlier
// answer it returns nil when the list is still the same; without one, etag is "".
func (c *Client) WatchList(ctx context.Context, page Page, etag string) (list *WatchList, newETag string, err error) {
	p := parameters{}
	page.put(p)
	r := &request{method: http.MethodGet, path: []string{"watchlist"}, query: url.Values(p), header: http.Header{}, again: true, now: true}
	if etag != "" {
		r.header.Set("If-None-Match", etag)
	}
	list = &WatchList{}
	got, err := c.do(ctx, r, list)
	switch {
	case err != nil:
		return nil, "", err
	case got.status == http.StatusNotModified:
		return nil, got.header.Get("ETag"), nil
	}
	return list, got.header.Get("ETag"), nil
}

// MakeSnapshot makes a snapshot of the evidence of a finding now. It is not repeated: each is another link of a chain.
func (c *Client) MakeSnapshot(ctx context.Context, id string) (json.RawMessage, error) {
	return bytesOf(send[json.RawMessage](ctx, c, &request{method: http.MethodPost, path: []string{"findings", id, "snapshots"}, now: true}))
}

// Snapshots returns a page of the snapshots of a finding.
func (c *Client) Snapshots(ctx context.Context, id string, page Page) (*SnapshotList, error) {
	p := parameters{}
	page.put(p)
	return one[SnapshotList](ctx, c, url.Values(p), "findings", id, "snapshots")
}

// Snapshot returns the very bytes of a snapshot, which its sha256 is of: a Snapshot, or with the format dsse an Envelope.
func (c *Client) Snapshot(ctx context.Context, sha256, format string) (json.RawMessage, error) {
	p := parameters{}
	p.text("format", format)
	return bytesOf(one[json.RawMessage](ctx, c, url.Values(p), "snapshots", sha256))
}

// SnapshotInput returns the very bytes of an input of a snapshot, by their digest.
func (c *Client) SnapshotInput(ctx context.Context, sha256, digest string) (json.RawMessage, error) {
	return bytesOf(one[json.RawMessage](ctx, c, nil, "snapshots", sha256, "inputs", digest))
}

// ReplaySnapshot computes a snapshot once more on the server and says whether that gives the same bytes.
func (c *Client) ReplaySnapshot(ctx context.Context, sha256 string) (*Replay, error) {
	return send[Replay](ctx, c, &request{method: http.MethodPost, path: []string{"snapshots", sha256, "replay"}, again: true})
}

// one gets an answer of a type.
func one[T any](ctx context.Context, c *Client, query url.Values, path ...string) (*T, error) {
	return send[T](ctx, c, &request{method: http.MethodGet, path: path, query: query, again: true, now: true})
}

func send[T any](ctx context.Context, c *Client, r *request) (*T, error) {
	answer := new(T)
	if _, err := c.do(ctx, r, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

func bytesOf(answer *json.RawMessage, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	return *answer, nil
}
