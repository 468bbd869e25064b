// Package privacy takes private data out of paths and texts, and makes pseudonyms of identities. It is pure: the same
// input gives the same output, applied twice it changes nothing more.
package privacy
