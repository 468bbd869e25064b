// Package comparison measures the hot_symbol processor beside log_dedup of opentelemetry-collector-contrib, and the
// canonicalization processor beside redaction, on the same events in the same run. It is a module of its own, so that the collector is not built with what only this needs.
package comparison
