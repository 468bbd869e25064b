package witnessqueryextension

import (
	"encoding/json"
	"net/http"
	"sort"
	"time"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
)

var assetRoutes = []route{
	{
		http.MethodGet, "/api/v1/findings/{findingId}/assets", roleRead,
		[]string{"by", "from", "to", "kind", "assurance", "limit", "cursor"}, (*api).getAssets,
	},
}

// assets is the answer to where a finding was seen.
type assets struct {
	FindingID  string    `json:"findingId"`
	AsOf       time.Time `json:"asOf"`
	By         string    `json:"by"`
	Assets     []asset   `json:"assets"`
	NextCursor *string   `json:"nextCursor"`
}

// asset has the one member of image, workload and host that it is told apart by. That is null for evidence that does not
// say, and the others are left out.
type asset struct {
	Image    **string        `json:"image,omitempty"`
	Workload **assetWorkload `json:"workload,omitempty"`
	Host     **string        `json:"host,omitempty"`
	// Observed false is no verdict: whether anything ran there is not known.
	Observed    bool             `json:"observed"`
	Hits        uint64           `json:"hits"`
	ByKind      kindHits         `json:"byKind"`
	ByAssurance assuranceHits    `json:"byAssurance"`
	LastSeen    *time.Time       `json:"lastSeen"`
	Score       float64          `json:"score"`
	Band        string           `json:"band"`
	Hosts       int              `json:"hosts"`
	Workloads   int              `json:"workloads"`
	Images      int              `json:"images"`
	Occurrences int              `json:"occurrences"`
	Scanners    []string         `json:"scanners"`
	Watched     evidence.Watched `json:"watched"`
}

type assetWorkload struct {
	Namespace  string `json:"namespace,omitempty"`
	Controller string `json:"controller,omitempty"`
	Container  string `json:"container,omitempty"`
}

func assetOf(found *evidence.Asset, by evidence.By) asset {
	a := asset{
		Observed: found.Hits > 0, Hits: found.Hits, ByKind: hitsByKind(found.ByKind),
		ByAssurance: assuranceHits{found.Measured, found.Hits - found.Measured}, LastSeen: when(found.LastSeen),
		Score: found.Score, Band: found.Band, Hosts: found.Hosts, Workloads: found.Workloads, Images: found.Images,
		Occurrences: found.Occurrences, Scanners: append([]string{}, found.Scanners...),
	}
	switch by {
	case evidence.ByImage:
		image := text(found.ID.Image)
		a.Image = &image
	case evidence.ByWorkload:
		var workload *assetWorkload
		if found.ID != (evidence.AssetID{}) {
			workload = &assetWorkload{found.ID.Namespace, found.ID.Controller, found.ID.Container}
		}
		a.Workload = &workload
	default:
		host := text(found.ID.Host)
		a.Host = &host
	}
	return a
}

func (a *api) getAssets(c *call) (answer, error) {
	question := evidence.Question{Tenant: c.principal.Tenant}
	text, given := c.query.text("by")
	by := evidence.By(text)
	switch {
	case !given:
		by = evidence.ByImage
	case by != evidence.ByImage && by != evidence.ByWorkload && by != evidence.ByHost:
		return answer{}, badRequest("by: is not one of image, workload, host")
	}
	var err error
	if question.From, question.To, err = c.query.span(); err != nil {
		return answer{}, err
	}
	if question.Kinds, err = c.query.kinds(); err != nil {
		return answer{}, err
	}
	if question.Assurance, err = c.query.assurance(); err != nil {
		return answer{}, err
	}
	limit, err := c.query.limit()
	if err != nil {
		return answer{}, err
	}
	parameters := []string{c.route, c.principal.Tenant, c.finding, string(by), question.From.String(), question.To.String(), string(question.Assurance)}
	for _, kind := range question.Kinds {
		parameters = append(parameters, string(kind))
	}
	now := c.now
	after, err := c.query.cursor(parameters...)
	if err != nil {
		return answer{}, err
	}
	var last evidence.AssetID
	if after != nil {
		if err := json.Unmarshal([]byte(after.ID), &last); err != nil {
			return answer{}, badRequest("cursor: was not made by this call with these parameters")
		}
		now = after.AsOf
	}
	if question.Finding, err = a.store.Finding(c.Context(), c.principal.Tenant, c.finding); err != nil {
		return answer{}, err
	}
	matches, err := evidence.Match(c.Context(), a.store, &question)
	if err != nil {
		return answer{}, err
	}
	found, err := matches.Assets(c.Context(), a.store, a.weights, now, &question.Finding, by)
	if err != nil {
		return answer{}, err
	}
	if after != nil {
		found = found[sort.Search(len(found), func(i int) bool { return found[i].ID.Compare(last) > 0 }):]
	}
	from, to := daySpan(question.From, question.To, now)
	coverage, err := a.cover(c, nil, from, to, now)
	if err != nil {
		return answer{}, err
	}
	watched := coverage.WatchedHosts()
	body := assets{FindingID: c.finding, AsOf: now.UTC(), By: string(by), Assets: make([]asset, 0, min(limit, len(found)))}
	for i := range found {
		if i == limit {
			last, err := json.Marshal(found[i-1].ID)
			if err != nil {
				return answer{}, err
			}
			next, err := (&cursor{AsOf: now, ID: string(last)}).encode(parameters...)
			if err != nil {
				return answer{}, err
			}
			body.NextCursor = &next
			break
		}
		one := assetOf(&found[i], by)
		one.Watched = watched(&found[i])
		body.Assets = append(body.Assets, one)
	}
	return answer{http.StatusOK, body}, nil
}

// daySpan is the time that coverage is told of: from and to, with a day for an end that is open.
func daySpan(from, to, now time.Time) (time.Time, time.Time) {
	if to.IsZero() {
		to = now
	}
	if from.IsZero() || !from.Before(to) {
		from = to.Add(-day)
	}
	return from, to
}
