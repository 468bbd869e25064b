//go:generate mdatagen metadata.yaml

// Package witnessqueryextension serves the evidence per finding over HTTP: the traces that were seen, the score, the
// timeline and what was watched. It takes traces from anyone who has some, too.
//
// The package holds the HTTP: routes, limits, decoding and encoding. What a question means is in internal/evidence, what
// a posted trace becomes is in internal/ingest.
package witnessqueryextension
