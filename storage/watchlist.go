package storage

import (
	"context"

	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
)

// WatchList returns what the findings of a tenant ask agents to probe. It reads all of them, a page at a time.
func WatchList(ctx context.Context, store Reader, tenant string) (*watchlist.List, error) {
	const most = 1000
	var builder watchlist.Builder
	for after := ""; ; {
		page, err := store.Findings(ctx, tenant, FindingQuery{After: after, Limit: most})
		if err != nil {
			return nil, err
		}
		for i := range page.Findings {
			builder.Add(&page.Findings[i])
			after = page.Findings[i].ID
		}
		if !page.More || len(page.Findings) == 0 {
			return builder.List(), nil
		}
	}
}
