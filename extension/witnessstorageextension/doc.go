// Package witnessstorageextension offers a storage of witnesses to the witness exporter and the extensions that answer
// from it: the embedded one, a SQLite file, or none.
//
//go:generate mdatagen metadata.yaml
package witnessstorageextension
