package witnessqueryextension

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
)

const maxBuckets = 2000

type timeline struct {
	FindingID  string    `json:"findingId"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	Resolution string    `json:"resolution"`
	Coarsened  bool      `json:"coarsened"`
	Buckets    []bucket  `json:"buckets"`
	Releases   []release `json:"releases"`
}

type bucket struct {
	Start   time.Time        `json:"start"`
	End     time.Time        `json:"end"`
	Hits    kindHits         `json:"hits"`
	Watched evidence.Watched `json:"watched"`
	Lost    uint64           `json:"lost"`
	// LostUnknown says that more was lost, nobody knows how much.
	LostUnknown bool   `json:"lostUnknown"`
	Items       []item `json:"items"`
}

type item struct {
	Artifact       artifact `json:"artifact"`
	Component      *string  `json:"component"`
	IdentityMethod *string  `json:"identityMethod"`
	Hits           kindHits `json:"hits"`
}

type release struct {
	At       time.Time `json:"at"`
	Previous artifact  `json:"previous"`
	Artifact artifact  `json:"artifact"`
}

func (a *api) getTimeline(c *call) (answer, error) {
	now := c.now
	from, to, err := c.query.recent(now)
	if err != nil {
		return answer{}, err
	}
	length, err := c.query.bucket()
	if err != nil {
		return answer{}, err
	}
	if start, end := evidence.Align(from, to, length); end.Sub(start)/length > maxBuckets {
		return answer{}, badRequest(fmt.Sprintf("bucket: from and to are more than %d of it apart", maxBuckets))
	}
	f, err := a.store.Finding(c.Context(), c.principal.Tenant, c.finding)
	if err != nil {
		return answer{}, err
	}
	matches, err := evidence.Match(c.Context(), a.store, &evidence.Question{Tenant: c.principal.Tenant, Finding: f})
	if err != nil {
		return answer{}, err
	}
	line, err := matches.Timeline(c.Context(), a.store, from, to, length)
	if err != nil {
		return answer{}, err
	}
	coverage, err := a.cover(c, evidence.OwnOf(&f, matches), line.From, line.To, now)
	if err != nil {
		return answer{}, err
	}
	body := timeline{
		FindingID: c.finding, From: line.From, To: line.To, Resolution: duration(line.Bucket), Coarsened: line.Coarsened,
		Buckets: make([]bucket, 0, len(line.Buckets)), Releases: make([]release, 0, len(line.Releases)),
	}
	for i := range line.Buckets {
		stored := &line.Buckets[i]
		end := stored.Start.Add(line.Bucket)
		b := bucket{
			Start: stored.Start, End: end, Hits: hitsByKind(stored.Hits), Watched: coverage.Watched(stored.Start, end),
			Items: make([]item, 0, len(stored.Items)),
		}
		b.Lost, b.LostUnknown = coverage.Lost(stored.Start, end)
		for _, part := range stored.Items {
			b.Items = append(b.Items, item{
				Artifact: artifactOf(&part.Artifact), Component: text(part.Component),
				IdentityMethod: text(part.Artifact.Method), Hits: hitsByKind(part.Hits),
			})
		}
		body.Buckets = append(body.Buckets, b)
	}
	for _, r := range line.Releases {
		body.Releases = append(body.Releases, release{r.At, artifactOf(&r.Previous), artifactOf(&r.Artifact)})
	}
	return answer{http.StatusOK, body}, nil
}

// duration writes a bucket's length as the parameter takes it: 1m, 90m, 1h, 1d.
func duration(d time.Duration) string {
	switch {
	case d == day:
		return "1d"
	case d%time.Hour == 0:
		return strings.TrimSuffix(d.String(), "0m0s")
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	default:
		return d.String()
	}
}
