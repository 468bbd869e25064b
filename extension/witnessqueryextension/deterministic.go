package witnessqueryextension

import (
	"encoding/json"
	"net/http"
	"strings"
)

// parameterNow is a query parameter that stands for the time of the request, with deterministic_time.
const parameterNow = "now"

// takesNow reports whether the answer of a route depends on the time it is asked at: what reads, and what makes a
// snapshot of what is read.
func (r *route) takesNow() bool {
	return r.method == http.MethodGet || strings.HasSuffix(r.template, "/snapshots")
}

// withNow adds the query parameter now to the operations of an OpenAPI document that take it.
func withNow(document []byte) (json.RawMessage, error) {
	var whole map[string]any
	if err := json.Unmarshal(document, &whole); err != nil {
		return nil, err
	}
	paths, _ := whole["paths"].(map[string]any)
	for i := range routes {
		if !routes[i].takesNow() {
			continue
		}
		path, _ := paths[routes[i].template].(map[string]any)
		if operation, ok := path[strings.ToLower(routes[i].method)].(map[string]any); ok {
			parameters, _ := operation["parameters"].([]any)
			operation["parameters"] = append(parameters, map[string]any{
				"name": parameterNow, "in": "query", "schema": map[string]any{"type": "string", "format": "date-time"},
				"description": "Answer as if it were then. RFC 3339 with a zone. The same data and the same time give the same bytes.",
			})
		}
	}
	return json.Marshal(whole)
}
