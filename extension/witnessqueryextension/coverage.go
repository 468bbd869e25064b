package witnessqueryextension

import (
	"net/http"
	"slices"
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
	Sources          int              `json:"sources"`
	Hosts            int              `json:"hosts"`
	Kinds            []witness.Kind   `json:"kinds"`
	ProcessesWatched uint64           `json:"processesWatched"`
	ProcessesSeen    uint64           `json:"processesSeen"`
	Lost             uint64           `json:"lost"`
	LostUnknown      bool             `json:"lostUnknown"`
	NotProbeable     int              `json:"notProbeable"`
	Truncated        bool             `json:"truncated"`
}

func coverageSummaryOf(c *evidence.Coverage) coverageSummary {
	s := coverageSummary{
		From: c.Start, To: c.End, Watched: c.Watched(c.Start, c.End), WatchedSeconds: c.WatchedSeconds(),
		Sources: len(c.Sources), Hosts: c.Hosts(), Kinds: c.Kinds(), NotProbeable: len(notProbeable(c)), Truncated: c.Truncated,
	}
	s.ProcessesWatched, s.ProcessesSeen = c.Processes()
	for _, loss := range c.Losses {
		if loss.Lost == nil {
			s.LostUnknown = true
		} else {
			s.Lost += *loss.Lost
		}
	}
	return s
}

// attached is the state of a hook that works.
const attached = "attached"

func notProbeable(c *evidence.Coverage) []evidence.Hook {
	return slices.DeleteFunc(slices.Clone(c.Hooks), func(h evidence.Hook) bool { return h.State == attached })
}

func (a *api) getCoverage(c *call) (answer, error) {
	now := c.now
	from, to, err := c.query.recent(now)
	if err != nil {
		return answer{}, err
	}
	if _, err := a.store.Finding(c.Context(), c.principal.Tenant, c.finding); err != nil {
		return answer{}, err
	}
	coverage, err := evidence.Cover(c.Context(), a.store, c.principal.Tenant, from, to, now)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, struct {
		FindingID    string            `json:"findingId"`
		Coverage     coverageSummary   `json:"coverage"`
		Sources      []evidence.Source `json:"sources"`
		Losses       []evidence.Loss   `json:"losses"`
		NotProbeable []evidence.Hook   `json:"notProbeable"`
	}{c.finding, coverageSummaryOf(coverage), coverage.Sources, coverage.Losses, notProbeable(coverage)}}, nil
}
