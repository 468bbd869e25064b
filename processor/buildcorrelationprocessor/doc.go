//go:generate mdatagen metadata.yaml

// Package buildcorrelationprocessor ties runtime events to the build-ids, artifacts and components of the files that
// run. It is to be the first processor that sees raw events, on the host that they come from.
package buildcorrelationprocessor
