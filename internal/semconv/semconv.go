// Package semconv holds the OTLP contract: the names of events, attributes and frame keys, their types, and what
// canonicalization may do with their values. model.yaml is the source; the rest is generated.
package semconv

//go:generate go run ./generate model.yaml attributes.go ../../docs/semantic-conventions.md

// Event says which record attributes an event always has.
type Event struct {
	Name     string
	Required []string
}

// Attribute is one name of the contract.
type Attribute struct {
	Name string
	// Type is string, int, double, bool, string[], map[], time or hex.
	Type string
	// Privacy is the treatment of the value by canonicalization: one of the Privacy constants.
	Privacy string
	// Values, if any, are all there are.
	Values                        []string
	OnResource, OnScope, OnRecord bool
}

// Privacy classes of an attribute; model.yaml says what each means.
const (
	PrivacyKeep     = "keep"
	PrivacyEvidence = "evidence"
	PrivacyPath     = "path"
	PrivacySymbol   = "symbol"
	PrivacyOffset   = "offset"
	PrivacyIdentity = "identity"
	PrivacyUser     = "user"
	PrivacyArgument = "argument"
	PrivacyHook     = "hook_argument"
	PrivacyText     = "text"
	PrivacyStack    = "stack"
)

// LookupEvent finds an event by its EventName.
func LookupEvent(name string) (Event, bool) {
	e, ok := events[name]
	return e, ok
}

// LookupAttribute finds a resource, scope or record attribute.
func LookupAttribute(name string) (Attribute, bool) {
	a, ok := attributes[name]
	return a, ok
}

// LookupFrame finds a key of a frame in witness.stack.
func LookupFrame(name string) (Attribute, bool) {
	a, ok := frames[name]
	return a, ok
}
