// Package witnessexporter writes observations and coverage into a witness storage.
//
//go:generate mdatagen metadata.yaml
package witnessexporter
