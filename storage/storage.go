// Package storage is the interface between what writes witnesses and what answers from them. Backends live in a folder
// each below it and pass the conformance suite of storage/storagetest; extensions offer one by implementing Extension.
//
// Everything is within a tenant, and no call ever sees another tenant's rows. All methods are safe for concurrent use.
package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Errors that callers tell apart. Backends wrap them.
var (
	// ErrNotFound says that the finding does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a receipt's key was used before with another body.
	ErrConflict = errors.New("the idempotency key was used with another body")
	// ErrTooMany says that a question is about more than its limit.
	ErrTooMany = errors.New("there is more than the limit of the question")
	// ErrClosed says that the backend was closed.
	ErrClosed = errors.New("storage is closed")
)

// MaxAhead is how far in the future a time may lie; observations beyond it are refused (Written.Refused).
const MaxAhead = 5 * time.Minute

// Principal is who is calling, from the authenticator. The zero Principal is the default tenant, unauthenticated.
type Principal struct {
	Tenant string
	Name   string
}

// PrincipalFrom is the principal of a request: the authenticator's attributes subject (or username) and tenant (or
// claims.tenant, as OpenID authenticators have it). One that is no text stands as JSON.
// authenticated is false when no authenticator vouches for the request.
func PrincipalFrom(ctx context.Context) (principal Principal, authenticated bool) {
	auth := client.FromContext(ctx).Auth
	if auth == nil {
		return Principal{}, false
	}
	attribute := func(name string) string {
		switch value := auth.GetAttribute(name).(type) {
		case nil:
			return ""
		case string:
			return value
		default: // it must not be that of those who have none, whatever it is
			encoded, err := json.Marshal(value)
			if err != nil {
				return "not a text"
			}
			return string(encoded)
		}
	}
	principal = Principal{Tenant: attribute("tenant"), Name: attribute("subject")}
	if principal.Name == "" {
		principal.Name = attribute("username")
	}
	if principal.Tenant == "" {
		principal.Tenant = attribute("claims.tenant")
	}
	return principal, true
}

// Vouched reports whether what a request claims to have measured may be believed: it comes from this process, or an
// authenticator knows the sender. What is not vouched for is Asserted. Whoever hands records on without the context of
// the request must mark them so.
func Vouched(ctx context.Context) bool {
	info := client.FromContext(ctx)
	return info.Addr == nil || info.Auth != nil
}

// Receipt makes a batch happen once: Key identifies the request within the principal, Body is a digest of its content.
type Receipt struct {
	Key  string
	Body [32]byte
}

// Batch is observations that are written in one transaction.
type Batch struct {
	Principal    Principal
	Observations []witness.Observation
	// Receipt, if any, is checked and kept in the same transaction.
	Receipt *Receipt
}

// Written is the outcome of a Batch. Every observation is counted in one of the three, but by a disabled storage, which
// counts none.
type Written struct {
	Stored     int // new
	Duplicates int // known by their key already: nothing was added
	Refused    []Refusal
}

// Refusal is an observation that cannot be stored, whoever sends it again.
type Refusal struct {
	Index  int // in Batch.Observations
	Reason string
}

// Writer stores. A write that returned without error survives a crash of the process.
type Writer interface {
	ContainmentWriter
	SnapshotWriter
	// WriteObservations adds hits. Under one key what is measured replaces what is asserted. It returns ErrConflict, and stores nothing, when the receipt does not match; a
	// matching receipt makes all of the batch duplicates, but for what is refused once more: BehindHorizon only what was so then. A finding named by an observation exists from then on.
	// The id of each observation must be that of its witness: backends trust the caller in this.
	WriteObservations(ctx context.Context, batch Batch) (Written, error)
	// WriteCoverage adds coverage; what is known by its key adds nothing, and what Validate refuses is left out. Heartbeats
	// and losses of unknown size that continue each other are joined; neither the order of arrival nor redelivery changes
	// what Coverage returns. A backend may bound the records of a source and day: then StageCoverageLimit says so.
	WriteCoverage(ctx context.Context, principal Principal, coverage []witness.Coverage) error
	// PutFinding creates or replaces a finding.
	PutFinding(ctx context.Context, principal Principal, finding witness.Finding) (created bool, err error)
	// DeleteFinding forgets a finding, never a witness. ErrNotFound if there is none.
	DeleteFinding(ctx context.Context, principal Principal, id string) error
	// ReplaceFindings makes the findings of a scope exactly these, at once. A finding of another scope with the same id
	// moves to this one.
	ReplaceFindings(ctx context.Context, principal Principal, scope string, findings []witness.Finding) error
}

// Reader answers.
type Reader interface {
	FindingReader
	ContainmentReader
	SnapshotReader
	// Finding returns one finding, or ErrNotFound.
	Finding(ctx context.Context, tenant, id string) (witness.Finding, error)
	// Findings returns a page of findings by id, ascending.
	Findings(ctx context.Context, tenant string, query FindingQuery) (FindingPage, error)
	// Subjects returns what could answer a question, for the caller to match: a superset, ordered by id.
	Subjects(ctx context.Context, tenant string, query SubjectQuery) ([]Subject, error)
	// Witnesses returns a page of witnesses with their totals.
	Witnesses(ctx context.Context, tenant string, query WitnessQuery) (WitnessPage, error)
	// Summary adds up. Per window, instance, workload and subject, and within an assurance, the larger count of two
	// receivers of a host stands (Receiver), and where the host is not known of two of an installation; everything else is
	// a sum.
	Summary(ctx context.Context, tenant string, filter Filter) (Summary, error)
	// Timeline adds up by time, as Summary does; only buckets with hits, chronological.
	Timeline(ctx context.Context, tenant string, query TimelineQuery) (Timeline, error)
	// Coverage returns what overlaps [from, to), by start, and before it the last state of each hook before from. What was
	// joined can be in parts that touch.
	Coverage(ctx context.Context, tenant string, query CoverageQuery) ([]witness.Coverage, error)
	// HotSymbols returns the subjects with most hits, most first.
	HotSymbols(ctx context.Context, tenant string, query HotQuery) ([]HotSymbol, error)
	// Totals returns the part of each subject in a Summary of everything; subjects without hits are left out. It is made
	// for thousands of subjects.
	Totals(ctx context.Context, tenant string, subjects []string) (map[string]SubjectTotal, error)
	// Places returns where the selected evidence was seen, ordered by subject, workload and instance.
	Places(ctx context.Context, tenant string, filter Filter) ([]Place, error)
}

// Storage is a backend.
type Storage interface {
	Writer
	Reader
	// Close ends what is in flight and releases everything.
	Close() error
}

// Extension is a component that offers a Storage; exporters and extensions find it by component.ID. Storage may be
// called once Start of the extension has returned.
type Extension interface {
	component.Component
	Storage() Storage
}

// Find returns the Storage that the extension id offers.
func Find(host component.Host, id component.ID) (Storage, error) {
	extension, ok := host.GetExtensions()[id]
	if !ok {
		return nil, fmt.Errorf("storage: extension %q is not in service.extensions", id)
	}
	offering, ok := extension.(Extension)
	if !ok {
		return nil, fmt.Errorf("storage: extension %q offers no witness storage", id)
	}
	return offering.Storage(), nil
}

// FindingQuery selects findings. Zero members select all.
type FindingQuery struct {
	Component string   // exact purl without version
	IDs       []string // only these
	After     string   // only ids behind this one
	Limit     int      // 0 is 100, at most 1000
}

// FindingPage is a page of findings. More says that there are others behind the last.
type FindingPage struct {
	Findings []witness.Finding
	// Changed is when each was put, or first named by a trace, with this content.
	Changed []time.Time
	More    bool
}

// Subject is what a finding is matched against: one symbol, or one module for exec and load, with what is known of it.
// Witnesses that differ only in workload and path have the same subject.
type Subject struct {
	ID    string // opaque, stable within a backend
	Kind  witness.Kind
	Frame witness.Frame // with the newest component that is known
	// Artifact is the newest that is known of the module.
	Artifact witness.Artifact
	// Named says that a trace named SubjectQuery.Finding outright.
	Named bool
}

// SubjectQuery selects subjects that any of its members selects.
type SubjectQuery struct {
	// IDs selects by the subject itself.
	IDs []string
	// Finding selects subjects that traces named outright for it.
	Finding string
	// Members selects by the member of the frame's symbol, in whatever package and language.
	Members []string
	// Packages selects by package, exactly; one that begins with /vendor/ selects those that end in it.
	Packages []string
	// Components selects by component purl without version and qualifiers.
	Components []string
	// Limit, if not 0, is how many subjects may be selected: more are ErrTooMany, and none is returned.
	Limit int
}

// Filter selects observations. Zero members select all, but Subjects and Finding: together they say what is asked for.
type Filter struct {
	// Subjects selects their witnesses.
	Subjects []string
	// Finding selects witnesses that traces named outright for it, besides those of Subjects. Of those that have none of
	// Subjects, receivers are compared per witness.
	Finding string
	// FindingSubjects, if any, are the only ones whose witnesses Finding selects.
	FindingSubjects []string
	// From and To select windows that start in [From, To).
	From, To   time.Time
	Kinds      []witness.Kind
	Assurance  witness.Assurance
	Namespaces []string
}

// Sort is an order of witnesses.
type Sort string

// The orders. Only SortID is exact while new hits arrive: the others may repeat a row that was overtaken.
const (
	SortHits   Sort = "hits"   // most hits first, then id
	SortRecent Sort = "recent" // last seen first, then id
	SortID     Sort = "id"     // by id, ascending
)

// Position is where a page ends: the sort key and id of its last row.
type Position struct {
	Key int64 // hits, or last seen in nanoseconds; 0 for SortID
	ID  witness.ID
}

// WitnessQuery selects a page of witnesses.
type WitnessQuery struct {
	Filter
	Sort  Sort // empty is SortHits
	After *Position
	Limit int // 0 is 100, at most 1000
	// AsOf, if set, leaves out witnesses that were first stored later. Their hits are those of now.
	AsOf time.Time
}

// WitnessPage is a page of witnesses. Next is nil on the last page.
type WitnessPage struct {
	Witnesses []WitnessTotal
	Next      *Position
	// AsOf is the moment of the page by what was stored, for AsOf of the pages behind it. A clock that was set back is behind it.
	AsOf time.Time
}

// WitnessTotal is a witness with what its selected observations add up to. Hits of two receivers of one host are not
// added (Summary).
type WitnessTotal struct {
	ID        witness.ID
	Subject   string
	Witness   witness.Witness
	Artifact  witness.Artifact
	Hits      uint64
	HitsError uint64 // that of all receivers, never more than Hits
	FirstSeen time.Time
	LastSeen  time.Time
	// Assurance is measured if any observation was.
	Assurance witness.Assurance
	Origin    witness.Origin   // of the newest observation
	Instance  witness.Instance // of the newest observation
	// Named says that a trace named Filter.Finding outright.
	Named bool
}

// Summary is what selected observations add up to.
type Summary struct {
	Hits        uint64
	ByKind      map[witness.Kind]uint64
	ByAssurance map[witness.Assurance]uint64
	// BySubject has the part of each subject.
	BySubject map[string]SubjectTotal
	// Witnesses, Containers, Hosts, Images are counts of distinct ones; unnamed ones are not counted.
	Witnesses, Containers, Hosts, Images int
	FirstSeen, LastSeen                  time.Time
}

// SubjectTotal is the part of one subject in a Summary.
type SubjectTotal struct {
	Hits                  uint64
	Measured              uint64 // of Hits
	Hosts, Images         int
	FirstSeen, LastSeen   time.Time
	LastMeasured          time.Time // zero if never
	Namespaces, Workloads int
}

// Place is where evidence of a subject was seen.
type Place struct {
	Subject                string
	Workload               witness.Workload
	Instance               witness.Instance
	Hits                   uint64
	Measured               uint64 // of Hits
	LastSeen, LastMeasured time.Time
}

// TimelineQuery selects buckets.
type TimelineQuery struct {
	Filter
	Bucket time.Duration
}

// Timeline is buckets with hits.
type Timeline struct {
	Buckets []Bucket
	// Resolution is the longest window among the observations: hits are not known finer. Zero without any.
	Resolution time.Duration
}

// Bucket is the hits of windows that start in [Start, Start + bucket).
type Bucket struct {
	Start time.Time
	Hits  map[witness.Kind]uint64
	Items []BucketItem
}

// BucketItem is the part of a bucket that one artifact and component have, as known when the hits were observed, or else
// as known by now. The items of a bucket add up to its hits.
type BucketItem struct {
	Artifact  witness.Artifact
	Component string
	Hits      map[witness.Kind]uint64
}

// CoverageQuery selects coverage. Zero members select all.
type CoverageQuery struct {
	From, To time.Time
	Hosts    []string
	Limit    int // newest first beyond it are kept; 0 is 10000
	// Received wants to know when records were stored, which is all that depends on it.
	Received bool
}

// HotQuery selects hot symbols. Zero members select all, Subjects and Finding of the filter included.
type HotQuery struct {
	Filter
	Component string // purl without version
	Artifact  string // purl or digest
	Limit     int    // 0 is 100, at most 1000
}

// HotSymbol is a subject with its hits, added up as Summary does.
type HotSymbol struct {
	Subject Subject
	Hits    uint64
}

// Receiver is the part of a source that tells two receivers on one host apart: the source without its incarnation. The
// sources of posted traces, which start with PostSource, are not receivers and are always added up.
func Receiver(source string) string {
	installation, rest, _ := strings.Cut(source, "/")
	_, component, ok := strings.Cut(rest, "/")
	if !ok || installation == PostSource {
		return installation
	}
	return installation + "/" + component
}

// StageCoverageLimit is the stage of the loss that a backend tells for a day of which a source told more than it keeps.
const StageCoverageLimit = "storage.coverage_limit"

// BehindHorizon is the Refusal.Reason of an observation whose window was rolled up, so that nobody can say whether it is
// new. The backend tells it as a loss at StageBehindHorizon, in the same transaction; whoever called need not.
const (
	BehindHorizon      = "window: is before what was rolled up"
	StageBehindHorizon = "storage.behind_horizon"
)

// PostSource is the installation id in the sources of posted traces: post/<digest of principal, finding and key>/http.
const PostSource = "post"
