//go:generate mdatagen metadata.yaml

// Package canonicalizationprocessor brings symbols into one canonical form and takes private data out of log records.
package canonicalizationprocessor
