package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answering is a client of a server that answers with handle, and never waits; waits are what it would have waited.
func answering(t *testing.T, handle http.HandlerFunc, options ...Option) (c *Client, waits *[]time.Duration) {
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	c, err := New(server.URL+"/base/", options...)
	require.NoError(t, err)
	waits = &[]time.Duration{}
	c.wait = func(ctx context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return ctx.Err()
	}
	return c, waits
}

func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":"No","status":%d,"detail":"from: is not a time"}`, status)
}

func TestTries(t *testing.T) {
	for name, test := range map[string]struct {
		status, tries int
		call          func(context.Context, *Client) error
		want          int32
	}{
		"429 of a GET":               {429, 3, func(ctx context.Context, c *Client) error { _, err := c.Score(ctx, "x"); return err }, 3},
		"503 of a GET":               {503, 3, func(ctx context.Context, c *Client) error { _, err := c.Score(ctx, "x"); return err }, 3},
		"once":                       {503, 1, func(ctx context.Context, c *Client) error { _, err := c.Score(ctx, "x"); return err }, 1},
		"500 is a defect":            {500, 3, func(ctx context.Context, c *Client) error { _, err := c.Score(ctx, "x"); return err }, 1},
		"400 stays wrong":            {400, 3, func(ctx context.Context, c *Client) error { _, err := c.Score(ctx, "x"); return err }, 1},
		"DELETE":                     {503, 3, func(ctx context.Context, c *Client) error { return c.DeleteFinding(ctx, "x") }, 3},
		"traces have a key":          {503, 3, func(ctx context.Context, c *Client) error { _, err := c.PostTraces(ctx, "x", ""); return err }, 3},
		"a backup is another backup": {503, 3, func(ctx context.Context, c *Client) error { _, err := c.Backup(ctx); return err }, 1},
		"a document is read once": {503, 3, func(ctx context.Context, c *Client) error {
			_, err := c.ImportFindings(ctx, "s", "application/json", strings.NewReader("{}"))
			return err
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			keys := make(chan string, 10)
			c, waits := answering(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				keys <- r.Header.Get("Idempotency-Key")
				refuse(w, test.status)
			}, WithTries(test.tries))
			err := test.call(t.Context(), c)
			assert.True(t, IsStatus(err, test.status), err)
			assert.Equal(t, test.want, calls.Load())
			assert.Len(t, *waits, int(test.want)-1)
			first := <-keys
			for range test.want - 1 {
				assert.Equal(t, first, <-keys, "one key for all tries")
			}
		})
	}
}

func TestSecondTrySucceeds(t *testing.T) {
	var calls atomic.Int32
	c, waits := answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		assert.JSONEq(t, `{"traces":[{"kind":"exec","module":"/bin/x"}]}`, string(body), "the body is sent again")
		assert.Equal(t, "/base/api/v1/findings/GHSA-1%2Fx/runtime/traces", r.URL.EscapedPath())
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "7")
			refuse(w, http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"accepted":1,"stored":1,"rejected":[],"member of a later version":1}`)
	})
	got, err := c.PostTraces(t.Context(), "GHSA-1/x", "", PostedTrace{Kind: Exec, Module: "/bin/x"})
	require.NoError(t, err)
	assert.EqualValues(t, 1, got.Stored)
	assert.Equal(t, []time.Duration{7 * time.Second}, *waits)
}

func TestWaitingTooLongIsNotTried(t *testing.T) {
	for _, after := range []string{"3600", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
		c, waits := answering(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			refuse(w, http.StatusServiceUnavailable)
		})
		_, err := c.Score(t.Context(), "x")
		assert.True(t, IsStatus(err, http.StatusServiceUnavailable))
		assert.Empty(t, *waits)
	}
}

func TestConnectionsThatFail(t *testing.T) {
	var calls atomic.Int32
	c, waits := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"findings":[],"nextCursor":null}`)
	}, WithBearer("s3cret"))
	_, err := c.Findings(t.Context(), FindingsQuery{Component: "pkg:golang/private"})
	require.NoError(t, err)
	assert.Len(t, *waits, 2)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Score(ctx, "CVE-private")
	require.ErrorIs(t, err, context.Canceled)
	assert.NotContains(t, err.Error(), "private")
	assert.Len(t, *waits, 2, "who gave up does not wait")
}

func TestErrorsRepeatNothing(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a proxy's page": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "you sent "+r.Header.Get("Authorization"))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/?"+r.Header.Get("Authorization"), http.StatusFound)
		},
		"no JSON":         func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) },
		"a longer answer": func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, strings.Repeat("s3cret", 100)) },
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			w.WriteHeader(http.StatusOK)
		},
		"a broken problem": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"detail":s3cret`)
		},
		"a problem of ours": func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(t, answer, WithBearer("s3cret"), WithMaxAnswer(200), WithTries(2))
			_, err := c.Score(t.Context(), "CVE-private")
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), "private")
		})
	}
}

func TestCredentials(t *testing.T) {
	var got http.Header
	handle := func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = io.WriteString(w, `{}`)
	}
	c, _ := answering(t, handle, WithBearer("t"))
	_, err := c.Score(t.Context(), "x")
	require.NoError(t, err)
	assert.Equal(t, "Bearer t", got.Get("Authorization"))
	c, _ = answering(t, handle, WithBasic("ann", "p"))
	_, err = c.Score(t.Context(), "x")
	require.NoError(t, err)
	assert.Equal(t, "Basic YW5uOnA=", got.Get("Authorization"))
	down := errors.New("the token is gone")
	c, _ = answering(t, handle, WithAuth(func(*http.Request) error { return down }))
	_, err = c.Score(t.Context(), "x")
	require.ErrorIs(t, err, down)
}

func TestNewRefuses(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"http://localhost:8686": true, "https://witness.example/base": true, "http://[::1]:1": true, "http://127.0.0.1": true,
		"localhost:8686": false, "": false, "ftp://x": false, "http://ann:s3cret@localhost": false, "http://x/?a=s3cret": false, "http://witness.example": false,
		"http://s3cret\x00": false,
	} {
		_, err := New(endpoint, WithBearer("t"))
		assert.Equal(t, ok, err == nil, endpoint)
		if err != nil {
			assert.NotContains(t, err.Error(), "s3cret")
		}
	}
	_, err := New("http://witness.example")
	require.NoError(t, err, "there is nothing to steal")
	_, err = New("http://witness.example", WithBearer("t"), WithInsecureAuth())
	require.NoError(t, err)
}

func TestAllPages(t *testing.T) {
	handle := func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "7", r.URL.Query().Get("limit"), "each page is asked for alike")
		switch r.URL.Query().Get("cursor") {
		case "":
			_, _ = io.WriteString(w, `{"findings":[{"id":"a"},{"id":"b"}],"nextCursor":"2"}`)
		case "2":
			_, _ = io.WriteString(w, `{"findings":[{"id":"c"}],"nextCursor":"3"}`)
		default:
			refuse(w, http.StatusBadRequest)
		}
	}
	c, _ := answering(t, handle)
	var ids []string
	var last error
	for finding, err := range c.AllFindings(t.Context(), FindingsQuery{Page: Page{Limit: 7}}) {
		ids, last = append(ids, finding.ID), err
	}
	assert.Equal(t, []string{"a", "b", "c", ""}, ids)
	assert.True(t, IsStatus(last, http.StatusBadRequest), "an error ends the list")
	all := c.AllFindings(t.Context(), FindingsQuery{Page: Page{Limit: 7}})
	for range 2 {
		ids = nil
		for finding := range all {
			ids = append(ids, finding.ID)
		}
		assert.Equal(t, []string{"a", "b", "c", ""}, ids, "an iterator starts anew")
	}
	for finding := range all {
		assert.Equal(t, "a", finding.ID)
		break
	}
}

func TestAPageThatIsItsOwnNextIsAnError(t *testing.T) {
	c, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"findings":[{"id":"a"}],"nextCursor":"2"}`)
	})
	var last error
	n := 0
	for _, err := range c.AllFindings(t.Context(), FindingsQuery{}) {
		n, last = n+1, err
	}
	assert.Equal(t, 2, n)
	require.ErrorIs(t, last, errSamePage)
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// FuzzAnswer takes whatever a server may answer: it is an answer, or an error that says no more than a status.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/json", "", `{"findings":[{"id":"a","evidence":{"hits":1}}],"nextCursor":null}`)
	f.Add(404, "application/problem+json", "1", `{"type":"about:blank","title":"Not Found","status":404,"detail":"no such finding"}`)
	f.Add(429, "text/html", "Sun, 22 Nov 2026 10:00:00 GMT", `<html>`)
	f.Add(304, "", "99999999999999999999", "")
	f.Fuzz(func(t *testing.T, status int, media, after, body string) {
		if status < 200 || status > 599 {
			return
		}
		c, err := New("http://localhost", WithTries(1), WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Header: http.Header{"Content-Type": {media}, "Retry-After": {after}},
				Body: io.NopCloser(strings.NewReader(body)), Request: r,
			}, nil
		})}))
		require.NoError(t, err)
		list, err := c.Findings(t.Context(), FindingsQuery{})
		if err == nil && (list == nil || status > 299) {
			t.Fatal("neither an answer nor an error")
		}
		var p *Problem
		if errors.As(err, &p) && p.Status != status {
			t.Fatal("a problem of another status")
		}
		_ = retryAfter(http.Header{"Retry-After": {after}})
	})
}
