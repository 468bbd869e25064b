//go:generate mdatagen metadata.yaml

// Package hotsymbolprocessor counts runtime events as observations: hits of a witness from one source in one window.
// Observations are deltas with a key of their own, so that redelivery, late events and crashes neither lose nor double
// what was acknowledged.
package hotsymbolprocessor
