// Package leaks has gitleaks look at what is stored. It is a module of its own, so that the collector is not built with
// what only this needs.
package leaks
