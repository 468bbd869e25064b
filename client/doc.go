//go:generate go run ./generate ../extension/witnessqueryextension/openapi.json types.go

// Package client calls the HTTP API of otelcol-witness.
//
// The types of requests and answers are those of the API's OpenAPI document; [Client] has a method for each of its
// operations. Lists that come in pages are iterators. What the server refuses is a [*Problem].
//
//	c, err := client.New("http://localhost:8686")
//	for trace, err := range c.AllTraces(ctx, "GO-2023-1988", client.TracesQuery{Kinds: []client.Kind{client.Call}}) {
//		...
//	}
//
// That nothing was observed is no verdict: look at the coverage beside it.
package client
