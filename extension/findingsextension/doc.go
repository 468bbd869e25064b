//go:generate mdatagen metadata.yaml

// Package findingsextension loads findings, which are advisories for components, from files into the witness storage.
// There they are answered by what ran, whenever that was.
package findingsextension
