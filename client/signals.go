package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// SignalsQuery says of which processes, and from when. Its zero value is all.
type SignalsQuery struct {
	Page
	Namespace  string
	Controller string // kind/name, as deployment/web
	Container  string // name
	Image      string // digest
	Host       string
	From, To   time.Time // when signals were observed; To is not included
}

func (q *SignalsQuery) values() url.Values {
	p := parameters{}
	q.put(p)
	p.text("namespace", q.Namespace)
	p.text("controller", q.Controller)
	p.text("container", q.Container)
	p.text("image", q.Image)
	p.text("host", q.Host)
	p.time("from", q.From)
	p.time("to", q.To)
	return url.Values(p)
}

// Signals returns a page of what processes could reach, in classes. What is not there is unknown.
func (c *Client) Signals(ctx context.Context, query SignalsQuery) (*SignalList, error) {
	return one[SignalList](ctx, c, query.values(), "signals", "runtime")
}

// AllSignals goes through all pages of Signals.
func (c *Client) AllSignals(ctx context.Context, query SignalsQuery) iter.Seq2[ContainedProcess, error] {
	return pages(ctx, query.Page, func(ctx context.Context, page Page) ([]ContainedProcess, *string, error) {
		query.Page = page
		list, err := c.Signals(ctx, query)
		if err != nil {
			return nil, nil, err
		}
		return list.Processes, list.NextCursor, nil
	})
}

// PostSignals adds what processes could reach. Of each signal the newest is kept, so it can be repeated; a key that is not
// empty is refused with a Problem of status 422 when it was used for other signals. An empty list that is not nil, as of
// capabilities, says that there are none.
func (c *Client) PostSignals(ctx context.Context, key string, signals ...PostedSignal) (*SignalsTaken, error) {
	r := &request{method: http.MethodPost, path: []string{"signals", "runtime"}, body: PostedSignals{Signals: signals}, again: true}
	if key != "" {
		r.header = http.Header{"Idempotency-Key": {key}}
	}
	return send[SignalsTaken](ctx, c, r)
}
