package witnessqueryextension

import (
	"net/http"
	"time"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
)

// scored is a score with the coverage beside it. The two are never combined.
type scored struct {
	FindingID       string         `json:"findingId"`
	AsOf            time.Time      `json:"asOf"`
	Observed        bool           `json:"observed"`
	Score           float64        `json:"score"`
	Band            string         `json:"band"`
	BandWhy         string         `json:"bandWhy"`
	Factors         []score.Factor `json:"factors"`
	Coverage        float64        `json:"coverage"`
	CoverageFactors []score.Factor `json:"coverageFactors"`
	// NotProbeable are hooks on the finding's own functions and files that do not work, at most ownParts.
	NotProbeable []evidence.Hook `json:"notProbeable"`
	Model        string          `json:"model"`
	// ConfigDigest is that of the weights.
	ConfigDigest string `json:"configDigest"`
	// Containment is beside the score and never in it.
	Containment scoredContainment `json:"containment"`
}

// scoredContainment is what could be reached if the finding's code were abused, and how that is judged.
type scoredContainment struct {
	evidence.Containment
	Model        string `json:"model"`
	ConfigDigest string `json:"configDigest"`
}

func (a *api) getScore(c *call) (answer, error) {
	now := c.now
	f, err := a.store.Finding(c.Context(), c.principal.Tenant, c.finding)
	if err != nil {
		return answer{}, err
	}
	matches, err := evidence.Match(c.Context(), a.store, &evidence.Question{Tenant: c.principal.Tenant, Finding: f})
	if err != nil {
		return answer{}, err
	}
	summary, err := matches.Summary(c.Context(), a.store)
	if err != nil {
		return answer{}, err
	}
	others, err := matches.OtherVersions(c.Context(), a.store)
	if err != nil {
		return answer{}, err
	}
	coverage, err := a.cover(c, evidence.OwnOf(&f, matches), now.Add(-evidence.ScoreSpan), now, now)
	if err != nil {
		return answer{}, err
	}
	result := matches.Score(a.weights, now, &summary)
	body := scored{
		FindingID: c.finding, AsOf: now, Observed: summary.Hits > 0,
		Score: result.Score, Band: result.Band, BandWhy: result.BandWhy, Factors: append([]score.Factor{}, result.Factors...),
		Model: score.Model, ConfigDigest: a.weights.Digest(),
	}
	if why := others.Why(); why != "" {
		body.BandWhy += "; " + why
	}
	body.Coverage, body.CoverageFactors = coverage.Number()
	body.NotProbeable = ofFinding(coverage.NotProbeable())
	reach, err := matches.Contain(c.Context(), a.store, &f, a.controls)
	if err != nil {
		return answer{}, err
	}
	body.Containment = scoredContainment{reach, containment.Model, a.controls.Digest()}
	return answer{http.StatusOK, body}, nil
}
