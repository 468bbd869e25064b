package witnessqueryextension

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/storage"
)

var watchRoutes = []route{
	{http.MethodGet, "/api/v1/watchlist", roleRead, []string{"cursor", "limit"}, (*api).getWatchList},
}

// Bounds of what is remembered of watch lists.
const (
	maxWatchLists   = 64 // tenants
	maxWatchListAge = 10 * time.Second
)

// watchLists remembers the lists of tenants, so that agents can poll: a list is made anew when the API changes findings,
// and when it is older than maxWatchListAge, for findings that others change.
type watchLists struct {
	mutex sync.Mutex
	lists *lru.Cache[string, *watchListOf]
}

// watchListOf is the list of a tenant.
type watchListOf struct {
	mutex sync.Mutex // held while it is made: others of the tenant wait for it, and no other tenant does
	made  time.Time  // zero before
	*watchlist.List
	digest string
}

// forget has the list of a tenant made anew, also where one is being made.
func (w *watchLists) forget(tenant string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.lists != nil {
		w.lists.Remove(tenant)
	}
}

// slot is where the list of a tenant is kept.
func (w *watchLists) slot(tenant string) (*watchListOf, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.lists == nil {
		var err error
		if w.lists, err = lru.New[string, *watchListOf](maxWatchLists); err != nil {
			return nil, err
		}
	}
	l, known := w.lists.Get(tenant)
	if !known {
		l = &watchListOf{}
		w.lists.Add(tenant, l)
	}
	return l, nil
}

// of returns the list of a tenant and its digest.
func (w *watchLists) of(ctx context.Context, store storage.Reader, tenant string, now time.Time) (*watchlist.List, string, error) {
	l, err := w.slot(tenant)
	if err != nil {
		return nil, "", err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if !l.made.IsZero() && now.Sub(l.made) < maxWatchListAge && !now.Before(l.made) {
		return l.List, l.digest, nil
	}
	list, err := storage.WatchList(ctx, store, tenant)
	if err != nil {
		return nil, "", err
	}
	l.List, l.digest, l.made = list, list.Digest(), now
	return l.List, l.digest, nil
}

// watched is a page of a watch list.
type watched struct {
	Symbols                []watchlist.Symbol `json:"symbols"`
	FindingsWithoutSymbols int                `json:"findingsWithoutSymbols"`
	FindingsLeftOut        int                `json:"findingsLeftOut"`
	NextCursor             *string            `json:"nextCursor"`
}

func (a *api) getWatchList(c *call) (answer, error) {
	limit, err := c.query.limit()
	if err != nil {
		return answer{}, err
	}
	parameters := []string{c.route, c.principal.Tenant}
	after, err := c.query.cursor(parameters...)
	if err != nil {
		return answer{}, err
	}
	var last watchlist.Symbol
	if after != nil && json.Unmarshal([]byte(after.ID), &last) != nil {
		return answer{}, badRequest("cursor: was not made by this call with these parameters")
	}
	list, digest, err := a.watchLists.of(c.Context(), a.store, c.principal.Tenant, a.now())
	if err != nil {
		return answer{}, err
	}
	// All that an answer depends on, but for the parameters, is the list.
	tag := `"` + digest + `"`
	c.header.Set("ETag", tag)
	c.header.Set("Cache-Control", "private, no-cache")
	if matchesTag(c.Header.Values("If-None-Match"), tag) {
		return answer{status: http.StatusNotModified}, nil
	}
	page := list.Symbols
	if after != nil {
		at, found := slices.BinarySearchFunc(page, last, watchlist.Compare)
		if found {
			at++
		}
		page = page[at:]
	}
	body := watched{Symbols: page, FindingsWithoutSymbols: list.Unnamed, FindingsLeftOut: list.LeftOut}
	if len(page) > limit {
		body.Symbols = page[:limit]
		last = page[limit-1]
		last.Findings = nil
		key, err := json.Marshal(last)
		if err != nil {
			return answer{}, err
		}
		next, err := (&cursor{ID: string(key)}).encode(parameters...)
		if err != nil {
			return answer{}, err
		}
		body.NextCursor = &next
	}
	return answer{http.StatusOK, body}, nil
}

// matchesTag reports whether an If-None-Match names a tag, as RFC 9110 compares there.
func matchesTag(values []string, tag string) bool {
	for _, value := range values {
		for _, one := range strings.Split(value, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}
