package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

// serve starts the real API over the real embedded storage.
func serve(t testing.TB) (endpoint string, store storage.Storage) {
	t.Helper()
	directory := t.TempDir()
	storageFactory := witnessstorageextension.NewFactory()
	storageConfig := storageFactory.CreateDefaultConfig().(*witnessstorageextension.Config)
	storageConfig.Embedded.Directory = directory
	storageConfig.Embedded.Backup.Directory = filepath.Join(directory, "backups")
	stored, err := storageFactory.Create(t.Context(), extensiontest.NewNopSettings(storageFactory.Type()), storageConfig)
	require.NoError(t, err)
	require.NoError(t, stored.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { assert.NoError(t, stored.Shutdown(context.Background())) })

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	factory := witnessqueryextension.NewFactory()
	config := factory.CreateDefaultConfig().(*witnessqueryextension.Config)
	config.HTTP.NetAddr.Endpoint = listener.Addr().String()
	config.DeterministicTime = true
	api, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), config)
	require.NoError(t, err)
	require.NoError(t, api.Start(context.Background(), host{component.NewID(storageFactory.Type()): stored}))
	t.Cleanup(func() { assert.NoError(t, api.Shutdown(context.Background())) })
	return "http://" + listener.Addr().String(), stored.(interface{ Storage() storage.Storage }).Storage()
}

// tap keeps what went over the wire.
type tap struct {
	mu         sync.Mutex
	body       []byte          // of the last answer
	parameters map[string]bool // of all requests, names of headers too
}

func (w *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.body = body
	for name := range r.URL.Query() {
		w.parameters[name] = true
	}
	for name := range r.Header {
		w.parameters[name] = true
	}
	return response, err
}

const (
	finding = "GO-2023-1988"
	moment  = time.Minute
)

func aTrace(at time.Time) PostedTrace {
	return PostedTrace{
		Kind: Call, Hits: 3, FirstSeen: at, LastSeen: at.Add(time.Second), VulnerableFunction: "golang.org/x/net/html.Render",
		Frames: []PostedFrame{
			{Symbol: "golang.org/x/net/html.Render", Language: "go", Module: "/usr/bin/app", BuildID: strings.Repeat("c0", 20), Offset: "0x1234", File: "x.go", Line: 12},
			{Symbol: "main.main", Language: "go", Module: "/usr/bin/app", SHA256: strings.Repeat("d0", 32), Inlined: true},
		},
		Artifact: PostedArtifact{
			PURL: "pkg:golang/example.com/app@v1.2.3", Digest: "sha256:" + strings.Repeat("ab", 32), Revision: strings.Repeat("0c", 20),
			Repository: "https://example.com/app",
		},
		Container: PostedContainer{ID: strings.Repeat("5e", 32), Name: "web", Image: "registry.example/app@sha256:" + strings.Repeat("cd", 32)},
		Host:      "node-1",
	}
}

// observe stores what only receivers send.
func observe(t *testing.T, store storage.Storage, now time.Time) {
	const source = "aaaaaaaaaaaaaaaa/0/tetragon"
	at := witness.Instance{Host: "node-1"}
	require.NoError(t, store.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{
		{Source: source, Instance: at, Assurance: witness.Measured, Signal: "tetragon", Kinds: []witness.Kind{witness.KindExec, witness.KindCall},
			Start: now.Add(-2 * moment), End: now.Add(-moment), Interval: moment, ProcessesWatched: 2, ProcessesSeen: 3},
		{Source: source, Instance: at, Assurance: witness.Measured, LossStage: "queue", Lost: 9, Start: now.Add(-2 * moment), End: now.Add(-moment)},
		{Source: source, Instance: at, Assurance: witness.Measured, StatusTarget: "policy", StatusState: "refused", StatusReason: "no hook",
			Start: now.Add(-2 * moment), End: now.Add(-2 * moment)},
	}))
}

// contract has a call of each operation of the OpenAPI document, with every parameter that it takes, and returns what the
// client made of the answer. They are called in the order of names.
func contract(now time.Time) map[string]func(context.Context, *Client) (any, error) {
	page := Page{Limit: 1}
	var imported, snapshot, input string
	return map[string]func(context.Context, *Client) (any, error){
		"01 postTraces": func(ctx context.Context, c *Client) (any, error) {
			other := aTrace(now.Add(-2 * moment))
			other.Frames = other.Frames[:1]
			return c.PostTraces(ctx, finding, "a key", aTrace(now.Add(-moment)), other, PostedTrace{Kind: Call})
		},
		"02 putFinding": func(ctx context.Context, c *Client) (any, error) {
			answer, created, err := c.PutFinding(ctx, finding, FindingPut{
				Aliases: []string{"CVE-2023-3978"}, Title: "XSS", Component: "pkg:golang/golang.org/x/net",
				Affected: []VersionRange{{Introduced: "0", Fixed: "0.13.0"}}, Versions: []string{"0.1.0"}, Severity: "medium",
				Symbols: []SymbolRef{
					{Language: "go", Package: "golang.org/x/net/html", Member: "Render", Source: "osv"},
					{Language: "go", Package: "golang.org/x/net/html", Member: "Parse", Source: "osv"},
				},
				Occurrences: []Occurrence{{Scanner: "s", ImageDigest: "sha256:" + strings.Repeat("ab", 32), Version: "0.1.0", Namespace: "shop", Controller: "deployment/web", Container: "app"},
					{Scanner: "t", Namespace: "other"}},
			})
			if created {
				panic("the traces made it")
			}
			return answer, err
		},
		"03 postImport": func(ctx context.Context, c *Client) (any, error) {
			answer, err := c.ImportFindings(ctx, "nightly", "application/json", strings.NewReader(`{"findings":[{"id":"CVE-2024-1"},{"id":""}]}`))
			if err != nil {
				return nil, err
			}
			imported = answer.ID
			return answer, nil
		},
		"04 getImport":  func(ctx context.Context, c *Client) (any, error) { return c.Import(ctx, imported) },
		"05 getFinding": func(ctx context.Context, c *Client) (any, error) { return c.Finding(ctx, finding) },
		"06 getTraces": func(ctx context.Context, c *Client) (any, error) {
			query := TracesQuery{Page: page, From: now.Add(-time.Hour), To: now.Add(time.Hour), Kinds: []Kind{Call, Sample},
				Assurance: Asserted, MinConfidence: 0.01, Sort: "id"}
			got, err := c.Traces(ctx, finding, query)
			if err != nil || got.NextCursor == nil {
				return got, err
			}
			query.Cursor = *got.NextCursor
			return c.Traces(ctx, finding, query)
		},
		"07 getTimeline": func(ctx context.Context, c *Client) (any, error) {
			return c.Timeline(ctx, finding, TimelineQuery{From: now.Add(-5 * moment), To: now.Add(moment), Bucket: "1m"})
		},
		"08 getScore": func(ctx context.Context, c *Client) (any, error) { return c.Score(ctx, finding) },
		"09 getCoverage": func(ctx context.Context, c *Client) (any, error) {
			return c.Coverage(ctx, finding, now.Add(-time.Hour), now)
		},
		"10 hotSymbols": func(ctx context.Context, c *Client) (any, error) {
			if _, err := c.HotSymbols(ctx, HotSymbolsQuery{Component: "pkg:golang/golang.org/x/net", Artifact: "pkg:golang/example.com/app@v1.2.3"}); err != nil {
				return nil, err
			}
			return c.HotSymbols(ctx, HotSymbolsQuery{From: now.Add(-time.Hour), To: now.Add(time.Hour), Kinds: []Kind{Call}, Assurance: Asserted, Limit: 5})
		},
		"11 getOpenAPI": func(ctx context.Context, c *Client) (any, error) { return c.OpenAPI(ctx) },
		"12 postBackup": func(ctx context.Context, c *Client) (any, error) { return c.Backup(ctx) },
		"13 getWatchList": func(ctx context.Context, c *Client) (any, error) {
			first, etag, err := c.WatchList(ctx, page, "")
			if err != nil {
				return nil, err
			}
			if first.NextCursor != nil {
				if _, _, err := c.WatchList(ctx, Page{Limit: 1, Cursor: *first.NextCursor}, ""); err != nil {
					return nil, err
				}
			}
			if again, same, err := c.WatchList(ctx, page, etag); err != nil || again != nil || same != etag {
				panic("the list is the same")
			}
			list, _, err := c.WatchList(ctx, page, "")
			return list, err
		},
		"14 postSnapshot": func(ctx context.Context, c *Client) (any, error) {
			if _, err := c.MakeSnapshot(ctx, finding); err != nil {
				return nil, err
			}
			if _, err := c.PostTraces(ctx, finding, "", aTrace(now.Add(-3*moment))); err != nil {
				return nil, err
			}
			made, err := c.MakeSnapshot(ctx, finding)
			if err != nil {
				return nil, err
			}
			return decoded[Snapshot](made)
		},
		"15 listSnapshots": func(ctx context.Context, c *Client) (any, error) {
			list, err := c.Snapshots(ctx, finding, Page{Limit: 1})
			if err != nil {
				return nil, err
			}
			snapshot = list.Snapshots[0].SnapshotID
			if list.NextCursor != nil {
				return c.Snapshots(ctx, finding, Page{Limit: 1, Cursor: *list.NextCursor})
			}
			return list, nil
		},
		"16 getSnapshot": func(ctx context.Context, c *Client) (any, error) {
			document, err := c.Snapshot(ctx, snapshot, "json")
			if err != nil {
				return nil, err
			}
			made, err := decoded[Snapshot](document)
			if err == nil {
				input = made.Inputs[0].SHA256
			}
			return made, err
		},
		"17 getSnapshotInput": func(ctx context.Context, c *Client) (any, error) { return c.SnapshotInput(ctx, snapshot, input) },
		"18 replaySnapshot":   func(ctx context.Context, c *Client) (any, error) { return c.ReplaySnapshot(ctx, snapshot) },
		"19 postSignals": func(ctx context.Context, c *Client) (any, error) {
			return c.PostSignals(ctx, "a key of signals",
				PostedSignal{
					Workload: PostedSignalWorkload{Namespace: "shop", Controller: "deployment/web"}, Container: PostedContainer{Name: "app", Image: "sha256:" + strings.Repeat("ab", 32)},
					Host: "node-1", Source: "k8s", ObservedAt: now.Add(-moment), User: "root-host", Capabilities: []string{},
				},
				PostedSignal{Host: "node-1", User: "unknown"})
		},
		"20 getSignals": func(ctx context.Context, c *Client) (any, error) {
			if _, err := c.Signals(ctx, SignalsQuery{Page: page}); err != nil {
				return nil, err
			}
			if _, err := c.PostSignals(ctx, "", PostedSignal{Host: "node-1", User: "root"}, PostedSignal{Host: "node-2", User: "root"}); err != nil {
				return nil, err
			}
			first, err := c.Signals(ctx, SignalsQuery{Page: page})
			if err != nil {
				return nil, err
			}
			if _, err := c.Signals(ctx, SignalsQuery{Page: Page{Limit: 1, Cursor: *first.NextCursor}}); err != nil {
				return nil, err
			}
			return c.Signals(ctx, SignalsQuery{Namespace: "shop", Controller: "deployment/web", Container: "app",
				Image: "sha256:" + strings.Repeat("ab", 32), Host: "node-1", From: now.Add(-time.Hour), To: now.Add(time.Hour)})
		},
		"80 getAssets": func(ctx context.Context, c *Client) (any, error) {
			query := AssetsQuery{Page: page, By: "workload", From: now.Add(-time.Hour), To: now.Add(time.Hour), Kinds: []Kind{Call}, Assurance: Asserted}
			first, err := c.Assets(ctx, finding, query)
			if err != nil || first.NextCursor == nil {
				return first, err
			}
			query.Cursor = *first.NextCursor
			return c.Assets(ctx, finding, query)
		},
		"90 listFindings": func(ctx context.Context, c *Client) (any, error) {
			yes := true
			if _, err := c.Findings(ctx, FindingsQuery{
				Page: page, Component: "pkg:golang/golang.org/x/net", Digest: "sha256:" + strings.Repeat("ab", 32), Namespace: "shop",
				Kinds: []Kind{Call, Exec}, Bands: []Band{"likely", "witnessed"}, Observed: &yes, ChangedSince: now.Add(-time.Hour), Sort: "score",
			}); err != nil {
				return nil, err
			}
			first, err := c.Findings(ctx, FindingsQuery{Page: page})
			if err != nil || first.NextCursor == nil {
				return first, err
			}
			return c.Findings(ctx, FindingsQuery{Page: Page{Limit: 1, Cursor: *first.NextCursor}})
		},
		"99 deleteFinding": func(ctx context.Context, c *Client) (any, error) { return nil, c.DeleteFinding(ctx, finding) },
	}
}

func decoded[T any](data []byte) (*T, error) {
	answer := new(T)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return answer, decoder.Decode(answer)
}

// TestEveryOperation calls each operation of a real server: the client sends every parameter of the document, knows every
// member of the answer, and gives back what came.
func TestEveryOperation(t *testing.T) {
	endpoint, store := serve(t)
	now := time.Now().UTC().Truncate(time.Second).Add(10 * time.Second) // what is stored meanwhile was stored before
	observe(t, store, now)
	wire := &tap{parameters: map[string]bool{}}
	c, err := New(endpoint, WithHTTPClient(&http.Client{Transport: wire}), WithNow(now))
	require.NoError(t, err)
	c.strict = true
	documented := operations(t, c)

	called := map[string]bool{}
	calls := contract(now)
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		t.Run(name, func(t *testing.T) {
			_, operation, _ := strings.Cut(name, " ")
			require.Contains(t, documented, operation, "the document has no such operation")
			called[operation] = true
			clear(wire.parameters)
			answer, err := calls[name](t.Context(), c)
			require.NoError(t, err)
			for _, parameter := range documented[operation] {
				assert.True(t, wire.parameters[parameter], "the client did not send %s", parameter)
			}
			if answer != nil {
				again, err := json.Marshal(answer)
				require.NoError(t, err)
				assert.JSONEq(t, string(wire.body), string(again))
			}
		})
	}
	for operation := range documented {
		assert.True(t, called[operation], "the client has no method for %s, or contract no call of it", operation)
	}
}

// operations are the ids of the operations of the document, with the names of their parameters but those in the path.
func operations(t *testing.T, c *Client) map[string][]string {
	document, err := c.OpenAPI(t.Context())
	require.NoError(t, err)
	type parameter struct {
		Ref  string `json:"$ref"`
		Name string `json:"name"`
		In   string `json:"in"`
	}
	var openapi struct {
		Paths map[string]map[string]struct {
			OperationID string      `json:"operationId"`
			Parameters  []parameter `json:"parameters"`
		} `json:"paths"`
		Components struct {
			Parameters map[string]parameter `json:"parameters"`
		} `json:"components"`
	}
	var paths struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(document, &paths))
	for _, methods := range paths.Paths {
		delete(methods, "parameters")
	}
	whole := map[string]json.RawMessage{}
	require.NoError(t, json.Unmarshal(document, &whole))
	whole["paths"], err = json.Marshal(paths.Paths)
	require.NoError(t, err)
	document, err = json.Marshal(whole)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(document, &openapi))
	found := map[string][]string{}
	for _, methods := range openapi.Paths {
		for _, operation := range methods {
			found[operation.OperationID] = nil
			for _, p := range operation.Parameters {
				if p.Ref != "" {
					p = openapi.Components.Parameters[p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]]
				}
				if p.In != "path" {
					found[operation.OperationID] = append(found[operation.OperationID], p.Name)
				}
			}
		}
	}
	return found
}
