package witnessqueryextension

import (
	"net/http"
	"time"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// coverageSummary is what silence in [From, To) is worth, in short.
type coverageSummary struct {
	From             time.Time        `json:"from"`
	To               time.Time        `json:"to"`
	Watched          evidence.Watched `json:"watched"`
	WatchedSeconds   float64          `json:"watchedSeconds"`
	MeasuredSeconds  float64          `json:"measuredSeconds"`
	Sources          int              `json:"sources"`
	MeasuredSources  int              `json:"measuredSources"`
	Hosts            int              `json:"hosts"`
	Kinds            []witness.Kind   `json:"kinds"`
	ProcessesWatched uint64           `json:"processesWatched"`
	ProcessesSeen    uint64           `json:"processesSeen"`
	Lost             uint64           `json:"lost"`
	LostUnknown      bool             `json:"lostUnknown"`
	NotProbeable     int              `json:"notProbeable"`
	// FindingNotProbeable are those of them that are about the finding's own functions and files, at most ownParts.
	FindingNotProbeable []evidence.Hook `json:"findingNotProbeable"`
	Truncated           bool            `json:"truncated"`
}

const (
	// ownParts is how many hooks a summary names, coverageParts how many members each list of an answer about coverage has.
	ownParts      = 20
	coverageParts = 10000
)

func coverageSummaryOf(c *evidence.Coverage) coverageSummary {
	s := coverageSummary{
		From: c.Start, To: c.End, Watched: c.Watched(c.Start, c.End),
		Sources: len(c.Sources), MeasuredSources: c.MeasuredSources(), Hosts: c.Hosts(), Kinds: c.Kinds(), Truncated: c.Truncated,
	}
	s.WatchedSeconds, s.MeasuredSeconds = c.WatchedSeconds()
	not := c.NotProbeable()
	s.NotProbeable, s.FindingNotProbeable = len(not), ofFinding(not)
	s.ProcessesWatched, s.ProcessesSeen = c.Processes()
	for _, loss := range c.Losses {
		if loss.Lost == nil {
			s.LostUnknown = true
		} else {
			s.Lost = max(s.Lost, s.Lost+*loss.Lost) // at least: it never wraps
		}
	}
	return s
}

// ofFinding are the hooks of the finding, which come first.
func ofFinding(hooks []evidence.Hook) []evidence.Hook {
	n := 0
	for n < min(len(hooks), ownParts) && hooks[n].OfFinding {
		n++
	}
	return hooks[:n]
}

// cover is the coverage of a time for a finding, or for none. In a large installation it can be a second old, but not
// where the caller says what time it is.
func (a *api) cover(c *call, own *evidence.Own, from, to, now time.Time) (*evidence.Coverage, error) {
	return a.coverages.Cover(c.Context(), a.store, c.principal.Tenant, own, from, to, now, c.replayed)
}

func (a *api) getCoverage(c *call) (answer, error) {
	now := c.now
	from, to, err := c.query.recent(now)
	if err != nil {
		return answer{}, err
	}
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
	coverage, err := a.cover(c, evidence.OwnOf(&f, matches), from, to, now)
	if err != nil {
		return answer{}, err
	}
	body := struct {
		FindingID    string            `json:"findingId"`
		Observed     bool              `json:"observed"`
		Coverage     coverageSummary   `json:"coverage"`
		Sources      []evidence.Source `json:"sources"`
		Losses       []evidence.Loss   `json:"losses"`
		Gaps         []evidence.Gap    `json:"gaps"`
		Hooks        []evidence.Hook   `json:"hooks"`
		NotProbeable []evidence.Hook   `json:"notProbeable"`
	}{
		FindingID: c.finding, Observed: summary.Hits > 0, Coverage: coverageSummaryOf(coverage), Sources: coverage.Sources,
		Losses: coverage.Losses, Gaps: coverage.Gaps, Hooks: coverage.Hooks, NotProbeable: coverage.NotProbeable(),
	}
	body.Losses = body.Losses[max(0, len(body.Losses)-coverageParts):] // the newest
	for _, cut := range []bool{
		len(body.Losses) < len(coverage.Losses), shorten(&body.Sources), shorten(&body.Gaps), shorten(&body.Hooks), shorten(&body.NotProbeable),
	} {
		body.Coverage.Truncated = body.Coverage.Truncated || cut
	}
	return answer{http.StatusOK, body}, nil
}

// shorten cuts a list to coverageParts and says whether it did.
func shorten[T any](list *[]T) bool {
	cut := len(*list) > coverageParts
	*list = (*list)[:min(len(*list), coverageParts)]
	return cut
}
