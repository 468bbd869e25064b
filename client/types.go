// Code generated from the OpenAPI document of the API by go generate ./client. DO NOT EDIT.

package client

import (
	"encoding/json"
	"time"
)

// Artifact: What was built and shipped, as far as known. Members that are not known are absent.
type Artifact struct {
	// Identities that disagree
	Conflicts []string `json:"conflicts,omitzero"`
	Digest    string   `json:"digest,omitzero"`
	// How it was identified; asserted for a posted one
	IdentityMethod string `json:"identityMethod,omitzero"`
	PURL           string `json:"purl,omitzero"`
	Repository     string `json:"repository,omitzero"`
	Revision       string `json:"revision,omitzero"`
}

// Asset: The evidence in one image, in one workload or on one host; which is null for evidence that does not say.
type Asset struct {
	Band Band `json:"band"`
	// Hits of each assurance.
	ByAssurance AssetByAssurance `json:"byAssurance"`
	ByKind      KindHits         `json:"byKind"`
	Hits        uint64           `json:"hits"`
	Host        *string          `json:"host,omitzero"`
	// Distinct hosts
	Hosts uint64 `json:"hosts"`
	// Digest of the image
	Image *string `json:"image,omitzero"`
	// Distinct images
	Images   uint64     `json:"images"`
	LastSeen *time.Time `json:"lastSeen"`
	// Whether there are hits. false is unknown: a scanner names the asset and nothing was seen there, or nobody
	// watched
	Observed bool `json:"observed"`
	// Occurrences of the finding that name the asset
	Occurrences uint64 `json:"occurrences"`
	// Who says so
	Scanners []string `json:"scanners"`
	// The score that the evidence of this asset has alone
	Score float64 `json:"score"`
	// Whether the hosts that the evidence is from were watched in the asked time, or the last day: yes is all of
	// them, all the time and without a loss; unknown without a host that is known
	Watched  string         `json:"watched"`
	Workload *AssetWorkload `json:"workload,omitzero"`
	// Distinct workloads, of which the image is a part
	Workloads uint64 `json:"workloads"`
}

// AssetByAssurance: Hits of each assurance.
type AssetByAssurance struct {
	// Asserted hits
	Asserted uint64 `json:"asserted"`
	// Measured hits
	Measured uint64 `json:"measured"`
}

// AssetWorkload: is a schema of the API.
type AssetWorkload struct {
	// Name of the container
	Container  string `json:"container,omitzero"`
	Controller string `json:"controller,omitzero"`
	Namespace  string `json:"namespace,omitzero"`
}

// Assets: Where a finding was seen.
type Assets struct {
	// The time that the recency of scores is measured from: that of the first page
	AsOf      time.Time `json:"asOf"`
	Assets    []Asset   `json:"assets"`
	By        string    `json:"by"`
	FindingID string    `json:"findingId"`
	// cursor of the next page; null on the last
	NextCursor *string `json:"nextCursor"`
}

// Assurance: Who vouches for evidence: measured is a collector's own receiver, asserted is posted or from an
// unauthenticated sender.
type Assurance string

// Backup: is a schema of the API.
type Backup struct {
	// File name in the directory for backups
	Name string `json:"name"`
	// Bytes
	Size uint64    `json:"size"`
	Time time.Time `json:"time"`
}

// Band: A range of scores and no kind of evidence: witnessed from 0.8, likely from 0.5, loaded from 0.2, weak
// above 0, none at 0, unless other bounds are configured.
type Band string

// Collection: Whether anybody watches now.
type Collection struct {
	// A heartbeat came within the last three of its intervals
	Active bool `json:"active"`
	// measured if an active source is a collector's own; null when not active
	Assurance *string `json:"assurance"`
	// lossy: watching, and evidence was lost in the last hour; stopped: there were heartbeats once; none: never
	Posture string `json:"posture"`
	// Since when there was no gap of more than three heartbeats, as far as the last day shows; null when not active
	Since *time.Time `json:"since"`
}

// ContainedProcess: What is known of one process; what is not here is unknown
type ContainedProcess struct {
	Container ContainedProcessContainer `json:"container"`
	// Empty when the signals are about every process
	Executable ContainedProcessExecutable `json:"executable"`
	Host       string                     `json:"host,omitzero"`
	Origin     string                     `json:"origin"`
	Pod        string                     `json:"pod,omitzero"`
	Signals    []ContainedProcessSignal   `json:"signals"`
	Workload   ContainedProcessWorkload   `json:"workload"`
}

// ContainedProcessContainer: is a schema of the API.
type ContainedProcessContainer struct {
	ID    string `json:"id,omitzero"`
	Image string `json:"image,omitzero"`
	Name  string `json:"name,omitzero"`
}

// ContainedProcessExecutable: Empty when the signals are about every process
type ContainedProcessExecutable struct {
	BuildID string `json:"buildId,omitzero"`
	Path    string `json:"path,omitzero"`
}

// ContainedProcessSignal: is a schema of the API.
type ContainedProcessSignal struct {
	Assurance  Assurance `json:"assurance"`
	Name       string    `json:"name"`
	ObservedAt time.Time `json:"observedAt"`
	Source     string    `json:"source"`
	// One class, or for capabilities and sensitive_mounts any number of names
	Values []string `json:"values"`
}

// ContainedProcessWorkload: is a schema of the API.
type ContainedProcessWorkload struct {
	Controller string `json:"controller,omitzero"`
	Namespace  string `json:"namespace,omitzero"`
}

// Containment: What could be reached if the code were abused. Beside the score and never in it
type Containment struct {
	// Weighted share of missing controls among those that are known; null when none is, which is not 0
	BlastRadius *float64 `json:"blastRadius"`
	// Digest of the weights that are configured: sha256 over their RFC 8785 JSON
	ConfigDigest string            `json:"configDigest"`
	Model        string            `json:"model"`
	Parts        []ContainmentPart `json:"parts"`
	// Processes that were judged; a workload of which nothing is known counts as one
	Processes uint64 `json:"processes"`
	// There is more than was looked at or is listed
	Truncated bool `json:"truncated"`
	// Weighted share of controls of which nothing is known, over the processes
	UnknownShare float64 `json:"unknownShare"`
	// Where there is evidence, and where occurrences are; the largest blast radius first
	Workloads []ContainmentWorkload `json:"workloads"`
}

// ContainmentWorkload: is a schema of the API.
type ContainmentWorkload struct {
	// asserted if any control was judged by what is only asserted; null when nothing is known
	Assurance   *string  `json:"assurance"`
	BlastRadius *float64 `json:"blastRadius"`
	// Of which something is known
	Processes    uint64  `json:"processes"`
	UnknownShare float64 `json:"unknownShare"`
	// All empty for the host; for an occurrence what it names
	Workload ContainmentWorkloadWorkload `json:"workload"`
}

// ContainmentWorkloadWorkload: All empty for the host; for an occurrence what it names
type ContainmentWorkloadWorkload struct {
	Container  string `json:"container"`
	Controller string `json:"controller"`
	Image      string `json:"image"`
	Namespace  string `json:"namespace"`
}

// ContainmentPart: is a schema of the API.
type ContainmentPart struct {
	Assurance Assurance `json:"assurance,omitzero"`
	// Processes of which it is known
	Known uint64 `json:"known"`
	// Processes that lack it
	Missing    uint64    `json:"missing"`
	Name       string    `json:"name"`
	ObservedAt time.Time `json:"observedAt,omitzero"`
	Source     string    `json:"source,omitzero"`
	// Of the control: missing when one process lacks it. What was not observed is unknown
	State  string  `json:"state"`
	Weight float64 `json:"weight"`
	Why    string  `json:"why"`
}

// Coverage: What was watched in [from, to): what silence is worth. It speaks of all hosts that report, not only
// of those that run the finding's component. Throttled and suspended time is a gap.
type Coverage struct {
	// Of these, those on the finding's own functions and files, at most 20
	FindingNotProbeable []Hook `json:"findingNotProbeable"`
	// Without the parameter a day before to
	From time.Time `json:"from"`
	// Hosts they are on
	Hosts uint64 `json:"hosts"`
	// Kinds of evidence that could be seen
	Kinds []Kind `json:"kinds"`
	// Events lost at least
	Lost uint64 `json:"lost"`
	// More was lost, nobody knows how much
	LostUnknown bool `json:"lostUnknown"`
	// For how long of that a collector's own receiver watched; the rest is only asserted
	MeasuredSeconds float64 `json:"measuredSeconds"`
	// Of them, those that are a collector's own; the others are only asserted
	MeasuredSources uint64 `json:"measuredSources"`
	// Hooks that are not attached
	NotProbeable uint64 `json:"notProbeable"`
	// By active sources, now; 0 if none says
	ProcessesSeen uint64 `json:"processesSeen"`
	// By active sources, now
	ProcessesWatched uint64 `json:"processesWatched"`
	// Receivers that reported
	Sources uint64 `json:"sources"`
	// Without the parameter now
	To time.Time `json:"to"`
	// There was too much to look at, or to tell: the oldest is not counted, and lists end
	Truncated bool    `json:"truncated"`
	Watched   Watched `json:"watched"`
	// For how long somebody watched, on any host
	WatchedSeconds float64 `json:"watchedSeconds"`
}

// CoverageDetail: Who watched, where and when, what was lost and what cannot be probed.
type CoverageDetail struct {
	Coverage  Coverage `json:"coverage"`
	FindingID string   `json:"findingId"`
	// Those in the finding's own functions and files first, then newest first
	Gaps []Gap `json:"gaps"`
	// All hooks, those of the finding first
	Hooks  []Hook               `json:"hooks"`
	Losses []CoverageDetailLoss `json:"losses"`
	// Those that are not attached, those of the finding first
	NotProbeable []Hook `json:"notProbeable"`
	// Whether there are any hits, at any time
	Observed bool                   `json:"observed"`
	Sources  []CoverageDetailSource `json:"sources"`
}

// CoverageDetailLoss: Evidence that was lost.
type CoverageDetailLoss struct {
	// Exclusive
	End  time.Time `json:"end"`
	Host string    `json:"host"`
	// At least; null if nobody knows
	Lost   *uint64 `json:"lost"`
	Source string  `json:"source"`
	// Where it was lost
	Stage string `json:"stage"`
	// Inclusive
	Start time.Time `json:"start"`
}

// CoverageDetailSource: A receiver on a host, over its restarts.
type CoverageDetailSource struct {
	// It watches now
	Active    bool      `json:"active"`
	Assurance Assurance `json:"assurance"`
	Host      string    `json:"host"`
	// Between heartbeats
	IntervalSeconds float64 `json:"intervalSeconds"`
	Kinds           []Kind  `json:"kinds"`
	// At the same heartbeat; 0 if none says
	LeastSeen uint64 `json:"leastSeen"`
	// At the heartbeat with the smallest share in the calendar weeks (from Thursday, UTC) that the time reaches into
	LeastWatched uint64 `json:"leastWatched"`
	// At the last heartbeat
	ProcessesSeen uint64 `json:"processesSeen"`
	// At the last heartbeat
	ProcessesWatched uint64                    `json:"processesWatched"`
	Runs             []CoverageDetailSourceRun `json:"runs"`
	// What watches: tetragon, ebpf
	Signal string `json:"signal"`
	// From the end of the last heartbeat, by the clock of the source, until it was stored, by that of the server:
	// delay and the difference of the clocks together. Negative: the source's clock is ahead. null where that is not
	// known, and with the parameter now
	SkewSeconds *float64 `json:"skewSeconds"`
	Source      string   `json:"source"`
}

// CoverageDetailSourceRun: Watched without a gap.
type CoverageDetailSourceRun struct {
	// Exclusive
	End time.Time `json:"end"`
	// Inclusive
	Start time.Time `json:"start"`
}

// Envelope: A DSSE envelope.
type Envelope struct {
	// Base64 of an in-toto statement
	Payload     string              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature: A signature.
type EnvelopeSignature struct {
	// sha256 of the public key (PKIX, DER)
	Keyid string `json:"keyid"`
	Sig   string `json:"sig"`
}

// Factor: A part of a number.
type Factor struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// For people
	Why string `json:"why"`
}

// Finding: A question: advisory x component.
type Finding struct {
	// Neither these nor versions: all versions are affected
	Affected []VersionRange `json:"affected,omitzero"`
	// Other ids of the advisory: CVE, GHSA, GO-, RUSTSEC-
	Aliases []string `json:"aliases,omitzero"`
	// purl of the component without version; without it the symbols witness the finding wherever they run
	Component string `json:"component,omitzero"`
	// Id of the finding
	ID          string       `json:"id"`
	Occurrences []Occurrence `json:"occurrences,omitzero"`
	// Set by the server: findings of a scope are replaced together. Ignored in a request.
	Scope string `json:"scope,omitzero"`
	// As the scanner says
	Severity string `json:"severity,omitzero"`
	// Vulnerable functions
	Symbols []SymbolRef `json:"symbols,omitzero"`
	// For people
	Title string `json:"title,omitzero"`
	// Affected versions, one by one
	Versions []string `json:"versions,omitzero"`
}

// FindingEvidence: A finding with a summary of its evidence, whenever that was seen.
type FindingEvidence struct {
	// Neither these nor versions: all versions are affected
	Affected []VersionRange `json:"affected,omitzero"`
	// Other ids of the advisory: CVE, GHSA, GO-, RUSTSEC-
	Aliases []string `json:"aliases,omitzero"`
	// purl of the component without version; without it the symbols witness the finding wherever they run
	Component string         `json:"component,omitzero"`
	Evidence  FindingSummary `json:"evidence"`
	// Id of the finding
	ID          string       `json:"id"`
	Occurrences []Occurrence `json:"occurrences,omitzero"`
	// Set by the server: findings of a scope are replaced together. Ignored in a request.
	Scope string `json:"scope,omitzero"`
	// As the scanner says
	Severity string `json:"severity,omitzero"`
	// Vulnerable functions
	Symbols []SymbolRef `json:"symbols,omitzero"`
	// For people
	Title string `json:"title,omitzero"`
	// Affected versions, one by one
	Versions []string `json:"versions,omitzero"`
}

// FindingList: A page of findings.
type FindingList struct {
	// The time that the recency of scores is measured from: that of the first page
	AsOf     time.Time         `json:"asOf"`
	Findings []FindingEvidence `json:"findings"`
	// cursor of the next page; null on the last
	NextCursor *string `json:"nextCursor"`
}

// FindingPut: A finding to store. id may be left out; scope and evidence are ignored, so that what GET answers
// can be put back.
type FindingPut struct {
	// Neither these nor versions: all versions are affected
	Affected []VersionRange `json:"affected,omitzero"`
	// Other ids of the advisory: CVE, GHSA, GO-, RUSTSEC-
	Aliases []string `json:"aliases,omitzero"`
	// purl of the component without version; without it the symbols witness the finding wherever they run
	Component string `json:"component,omitzero"`
	// Ignored
	Evidence json.RawMessage `json:"evidence,omitzero"`
	// Id of the finding
	ID          string       `json:"id,omitzero"`
	Occurrences []Occurrence `json:"occurrences,omitzero"`
	// Set by the server: findings of a scope are replaced together. Ignored in a request.
	Scope string `json:"scope,omitzero"`
	// As the scanner says
	Severity string `json:"severity,omitzero"`
	// Vulnerable functions
	Symbols []SymbolRef `json:"symbols,omitzero"`
	// For people
	Title string `json:"title,omitzero"`
	// Affected versions, one by one
	Versions []string `json:"versions,omitzero"`
}

// FindingSummary: What the evidence of a finding adds up to. Nothing observed is no verdict: see coverage.
type FindingSummary struct {
	Band   Band     `json:"band"`
	ByKind KindHits `json:"byKind"`
	// First hit; null without any
	FirstSeen *time.Time `json:"firstSeen"`
	// All hits of all kinds
	Hits uint64 `json:"hits"`
	// Last hit; null without any
	LastSeen *time.Time `json:"lastSeen"`
	// Whether there are any hits
	Observed bool `json:"observed"`
	// Strength of the evidence
	Score float64 `json:"score"`
}

// Frame: An entry of a stack, in canonical form. Members that are not known are absent.
type Frame struct {
	BuildID string `json:"buildId,omitzero"`
	// purl
	Component string `json:"component,omitzero"`
	// How sure the name is; 0 when nobody said
	Confidence float64 `json:"confidence"`
	// The outermost frame
	EntryPoint bool   `json:"entryPoint"`
	File       string `json:"file,omitzero"`
	// What the canonical name folded away
	Flags []string `json:"flags,omitzero"`
	// Inlined into the next frame
	Inlined  bool   `json:"inlined,omitzero"`
	Language string `json:"language,omitzero"`
	// Source line
	Line   uint64 `json:"line,omitzero"`
	Member string `json:"member,omitzero"`
	// Path of the file
	Module string `json:"module,omitzero"`
	// Offset in the file, 0x and hex
	Offset  string `json:"offset,omitzero"`
	Package string `json:"package,omitzero"`
	SHA256  string `json:"sha256,omitzero"`
	// Canonical name
	Symbol string `json:"symbol,omitzero"`
	// A function that the finding, or the trace, names
	VulnerableFunction bool `json:"vulnerableFunction"`
}

// Gap: A time in which silence is worth less, or nothing.
type Gap struct {
	// Exclusive; equal to start for a loss at one moment
	End time.Time `json:"end"`
	// The file that it is about; null if that is everything
	File *GapFile `json:"file"`
	// Where; empty if it can have been anywhere
	Host string `json:"host"`
	// The finding names the function, or evidence of the finding was seen in the file
	OfFinding bool `json:"ofFinding"`
	// stopped: no heartbeat. lost: evidence was lost. throttled: events were held back. suspended: a hook was.
	// not_probeable: a hook of the finding was not attached for another reason
	Reason string `json:"reason"`
	// Who said so
	Source string `json:"source"`
	// Where evidence was lost; empty otherwise
	Stage string `json:"stage"`
	// Inclusive
	Start time.Time `json:"start"`
	// The function that it is about; null if that is all of the file
	Symbol *GapSymbol `json:"symbol"`
	// The hook; empty otherwise
	Target string `json:"target"`
}

// GapFile: is a schema of the API.
type GapFile struct {
	// GNU build-id; empty if not known
	BuildID string `json:"buildId"`
	// Canonical; empty if not known
	Path string `json:"path"`
	// Empty if not known
	SHA256 string `json:"sha256"`
}

// GapSymbol: is a schema of the API.
type GapSymbol struct {
	// go, rust, cxx, c, ...
	Language string `json:"language"`
	// Function, or Type.Method
	Member string `json:"member"`
	// Import path, crate, namespace
	Package string `json:"package"`
}

// Hook: A policy, hook or probe, or a file or function that a receiver watches by itself.
type Hook struct {
	// Since when it is in this state
	At time.Time `json:"at"`
	// The file that it is about; null if that is everything
	File *HookFile `json:"file"`
	// Where
	Host string `json:"host"`
	// The finding names the function, or evidence of the finding was seen in the file
	OfFinding bool `json:"ofFinding"`
	// Why: not_found, inlined_everywhere, stripped, unsupported_arch, over_budget, single_step, throttled, stopped,
	// or the agent's words
	Reason string `json:"reason"`
	// Who said so last
	Source string `json:"source"`
	// The newest in the time asked for
	State string `json:"state"`
	// The function that it is about; null if that is all of the file
	Symbol *HookSymbol `json:"symbol"`
	// Its name
	Target string `json:"target"`
	// When it was attached while its receiver watched
	Watched []HookWatched `json:"watched"`
}

// HookFile: is a schema of the API.
type HookFile struct {
	// GNU build-id; empty if not known
	BuildID string `json:"buildId"`
	// Canonical; empty if not known
	Path string `json:"path"`
	// Empty if not known
	SHA256 string `json:"sha256"`
}

// HookSymbol: is a schema of the API.
type HookSymbol struct {
	// go, rust, cxx, c, ...
	Language string `json:"language"`
	// Function, or Type.Method
	Member string `json:"member"`
	// Import path, crate, namespace
	Package string `json:"package"`
}

// HookWatched: From start to end.
type HookWatched struct {
	// Exclusive
	End time.Time `json:"end"`
	// Inclusive
	Start time.Time `json:"start"`
}

// HotSymbols: Functions and modules with most hits.
type HotSymbols struct {
	// Now
	AsOf    time.Time          `json:"asOf"`
	Symbols []HotSymbolsSymbol `json:"symbols"`
}

// HotSymbolsSymbol: A function, or for exec and load a module.
type HotSymbolsSymbol struct {
	Artifact Artifact `json:"artifact"`
	// Members that are not known are absent.
	Frame HotSymbolsSymbolFrame `json:"frame"`
	// How often
	Hits uint64 `json:"hits"`
	Kind Kind   `json:"kind"`
}

// HotSymbolsSymbolFrame: Members that are not known are absent.
type HotSymbolsSymbolFrame struct {
	BuildID   string   `json:"buildId,omitzero"`
	Component string   `json:"component,omitzero"`
	Flags     []string `json:"flags,omitzero"`
	Language  string   `json:"language,omitzero"`
	Member    string   `json:"member,omitzero"`
	Module    string   `json:"module,omitzero"`
	Offset    string   `json:"offset,omitzero"`
	Package   string   `json:"package,omitzero"`
	SHA256    string   `json:"sha256,omitzero"`
	Symbol    string   `json:"symbol,omitzero"`
}

// Import: is a schema of the API.
type Import struct {
	Ended *time.Time `json:"ended"`
	// The first of the rejected items
	Errors []ImportError `json:"errors"`
	// Why nothing was stored, where that is so
	Failure string `json:"failure,omitzero"`
	ID      string `json:"id"`
	// Findings that were stored; 0 until it is done
	Imported uint64 `json:"imported"`
	// Findings and rejected items
	Read     uint64    `json:"read"`
	Rejected uint64    `json:"rejected"`
	Scope    string    `json:"scope"`
	Started  time.Time `json:"started"`
	State    string    `json:"state"`
}

// ImportDocument: Findings of our own format, {"findings": [...]}, or OSV advisories
type ImportDocument = json.RawMessage

// ImportError: is a schema of the API.
type ImportError struct {
	// As affected[0].fixed
	Field string `json:"field,omitzero"`
	// As findings[3] (line 12), advisory 7; none if it is the document
	Item   string `json:"item,omitzero"`
	Reason string `json:"reason"`
}

// Ingested: What became of posted traces.
type Ingested struct {
	// Traces that were taken
	Accepted uint64             `json:"accepted"`
	Rejected []IngestedRejected `json:"rejected"`
	// Those of the accepted traces that are new: all, or none when the request was seen before
	Stored uint64 `json:"stored"`
}

// IngestedRejected: A trace that was not taken.
type IngestedRejected struct {
	// In traces, from 0
	Index uint64 `json:"index"`
	// Names the member at fault
	Reason string `json:"reason"`
}

// Kind: How strong evidence is, weakest first: a binary was started, a module was mapped executable, a frame was
// seen on a stack, a function was entered.
type Kind string

// KindHits: Hits of each kind. They are never added up to one another's meaning.
type KindHits struct {
	// Hits of kind call
	Call uint64 `json:"call"`
	// Hits of kind exec
	Exec uint64 `json:"exec"`
	// Hits of kind load
	Load uint64 `json:"load"`
	// Hits of kind sample
	Sample uint64 `json:"sample"`
}

// Match: Why a trace answers the finding.
type Match struct {
	// What minConfidence is compared with
	Confidence float64 `json:"confidence"`
	// function, inlined, closure, package, library, process
	Level string `json:"level"`
	// affected or unknown
	Version string `json:"version"`
	// For people
	Why string `json:"why"`
}

// Occurrence: A place where a scanner saw the finding.
type Occurrence struct {
	Container   string `json:"container,omitzero"`
	Controller  string `json:"controller,omitzero"`
	ImageDigest string `json:"imageDigest,omitzero"`
	Namespace   string `json:"namespace,omitzero"`
	Scanner     string `json:"scanner,omitzero"`
	Version     string `json:"version,omitzero"`
}

// OpenAPI: This document.
type OpenAPI = json.RawMessage

// OtherVersions: What was seen of what the finding is about in versions outside of its range. It is in no total
// and no score, and it is no verdict: the version is what a file or package claims of itself.
type OtherVersions struct {
	// Of them, those of the function itself
	DirectHits uint64 `json:"directHits"`
	// All kinds, of the windows, kinds and assurance that were asked for
	Hits uint64 `json:"hits"`
	// Functions and modules that have them
	Subjects uint64 `json:"subjects"`
	// There are more versions
	Truncated bool `json:"truncated"`
	// Most hits first
	Versions []OtherVersionsVersion `json:"versions"`
}

// OtherVersionsVersion: One version, as it is known by one method.
type OtherVersionsVersion struct {
	// In this version
	Hits uint64 `json:"hits"`
	// How the artifact was identified, empty if it was not
	IdentityMethod string `json:"identityMethod"`
	// Version of the component, or of the artifact that is the component
	Version string `json:"version"`
}

// PostedArtifact: The artifact that ran, as the poster says.
type PostedArtifact struct {
	// sha256:<hex>
	Digest string `json:"digest,omitzero"`
	PURL   string `json:"purl,omitzero"`
	// Source repository
	Repository string `json:"repository,omitzero"`
	// Hash of a commit
	Revision string `json:"revision,omitzero"`
}

// PostedContainer: Where it ran.
type PostedContainer struct {
	ID string `json:"id,omitzero"`
	// Image reference; its digest is part of the workload
	Image string `json:"image,omitzero"`
	Name  string `json:"name,omitzero"`
}

// PostedFrame: An entry of a stack.
type PostedFrame struct {
	// GNU build-id of the file, hex
	BuildID string `json:"buildId,omitzero"`
	// Source file
	File string `json:"file,omitzero"`
	// Inlined into the next frame
	Inlined bool `json:"inlined,omitzero"`
	// go, rust, cxx, c, kernel: symbols of other languages are not recognized
	Language string `json:"language,omitzero"`
	Line     int    `json:"line,omitzero"`
	// Path of the file
	Module string `json:"module,omitzero"`
	// Offset in the file
	Offset string `json:"offset,omitzero"`
	// sha256 of the file, hex
	SHA256 string `json:"sha256,omitzero"`
	// Function, in any usual spelling
	Symbol string `json:"symbol,omitzero"`
}

// PostedSignal: At least one member of workload, container, pod or host, and one signal that is known. What is
// absent or unknown is not known
type PostedSignal struct {
	// Whether the executed file has a name
	Binary string `json:"binary,omitzero"`
	// Effective capabilities; an empty list says that there are none
	Capabilities []string        `json:"capabilities,omitzero"`
	Container    PostedContainer `json:"container,omitzero"`
	// How the process got into its container
	Entry string `json:"entry,omitzero"`
	// Without it, the signals are about every process of the container or workload
	Executable PostedSignalExecutable `json:"executable,omitzero"`
	Host       string                 `json:"host,omitzero"`
	// Whether a profile of a security module confines it
	Lsm        string                 `json:"lsm,omitzero"`
	Namespaces PostedSignalNamespaces `json:"namespaces,omitzero"`
	// Whether a network policy selects it
	NetworkPolicy string `json:"networkPolicy,omitzero"`
	// Whether an exec can raise privileges no more
	NoNewPrivs string `json:"noNewPrivs,omitzero"`
	// Now when absent
	ObservedAt time.Time `json:"observedAt,omitzero"`
	Origin     string    `json:"origin,omitzero"`
	Pod        string    `json:"pod,omitzero"`
	// Whether the container is privileged
	Privileged string `json:"privileged,omitzero"`
	// Whether the exec raised privileges
	Privileges string `json:"privileges,omitzero"`
	// Root file system
	RootFs string `json:"rootFs,omitzero"`
	// Mode of seccomp
	Seccomp string `json:"seccomp,omitzero"`
	// An empty list says that there is nothing of the kind
	SensitiveMounts []string `json:"sensitiveMounts,omitzero"`
	// Where the signals were read; they are asserted all the same
	Source string `json:"source,omitzero"`
	// User class
	User     string               `json:"user,omitzero"`
	Workload PostedSignalWorkload `json:"workload,omitzero"`
}

// PostedSignalExecutable: Without it, the signals are about every process of the container or workload
type PostedSignalExecutable struct {
	BuildID string `json:"buildId,omitzero"`
	Path    string `json:"path,omitzero"`
}

// PostedSignalNamespaces: is a schema of the API.
type PostedSignalNamespaces struct {
	Cgroup string `json:"cgroup,omitzero"`
	Ipc    string `json:"ipc,omitzero"`
	Mnt    string `json:"mnt,omitzero"`
	Net    string `json:"net,omitzero"`
	Pid    string `json:"pid,omitzero"`
	User   string `json:"user,omitzero"`
	Uts    string `json:"uts,omitzero"`
}

// PostedSignalWorkload: is a schema of the API.
type PostedSignalWorkload struct {
	// kind/name, as deployment/web
	Controller string `json:"controller,omitzero"`
	Namespace  string `json:"namespace,omitzero"`
}

// PostedSignals: is a schema of the API.
type PostedSignals struct {
	Signals []PostedSignal `json:"signals"`
}

// PostedTrace: Something that ran. sample and call need frames; for exec and load a module is enough.
type PostedTrace struct {
	Artifact  PostedArtifact  `json:"artifact,omitzero"`
	Container PostedContainer `json:"container,omitzero"`
	// Without it lastSeen
	FirstSeen time.Time `json:"firstSeen,omitzero"`
	// Innermost first
	Frames []PostedFrame `json:"frames,omitzero"`
	// How often
	Hits uint64 `json:"hits,omitzero"`
	// Name of the host
	Host string `json:"host,omitzero"`
	Kind Kind   `json:"kind"`
	// Without it now; at most 5 minutes ahead. The window of the hits is the one that this is in.
	LastSeen time.Time `json:"lastSeen,omitzero"`
	// Path of the file of an exec or load without frames
	Module string `json:"module,omitzero"`
	// Which function of a sample is the vulnerable one, else the innermost
	VulnerableFunction string `json:"vulnerableFunction,omitzero"`
}

// PostedTraces: Traces to add to a finding. Other members are refused by name.
type PostedTraces struct {
	Traces []PostedTrace `json:"traces"`
}

// Problem: A problem (RFC 9457). The detail names parameters and members and repeats no value.
type Problem struct {
	// What is wrong, for people
	Detail string `json:"detail,omitzero"`
	Status int    `json:"status"`
	// The name of the status
	Title string `json:"title"`
	// about:blank: the status says what kind of problem it is
	Type string `json:"type"`
}

// Replay: What became of a replay.
type Replay struct {
	Damaged    []SnapshotInputRef `json:"damaged"`
	Difference *ReplayDifference  `json:"difference"`
	Match      bool               `json:"match"`
	Missing    []SnapshotInputRef `json:"missing"`
	// missing and damaged inputs leave the snapshot verifiable, but not replayable
	Outcome    string `json:"outcome"`
	SnapshotID string `json:"snapshotId"`
}

// ReplayDifference: The first difference. A value that one side does not have is null.
type ReplayDifference struct {
	// RFC 6901, into the document
	Pointer    string          `json:"pointer"`
	Recomputed json.RawMessage `json:"recomputed"`
	Recorded   json.RawMessage `json:"recorded"`
}

// Score: Strength of the evidence, and coverage beside it. Never combined: loss lowers coverage and no score.
type Score struct {
	// The time that recency is measured from
	AsOf time.Time `json:"asOf"`
	Band Band      `json:"band"`
	// For people: which scores the band has, what the strongest evidence is, and what was seen in versions outside of
	// the finding's range, which does not count
	BandWhy string `json:"bandWhy"`
	// Digest of the weights that are configured: sha256 over their RFC 8785 JSON
	ConfigDigest string      `json:"configDigest"`
	Containment  Containment `json:"containment"`
	// What silence is worth: processes x loss x duration x assurance over the last 7 days
	Coverage        float64  `json:"coverage"`
	CoverageFactors []Factor `json:"coverageFactors"`
	Factors         []Factor `json:"factors"`
	FindingID       string   `json:"findingId"`
	// Name of the formula
	Model string `json:"model"`
	// Hooks on the finding's own functions and files that are not attached, at most 20
	NotProbeable []Hook `json:"notProbeable"`
	// Whether there are any hits
	Observed bool `json:"observed"`
	// 0 without evidence
	Score float64 `json:"score"`
}

// SignalList: is a schema of the API.
type SignalList struct {
	NextCursor *string            `json:"nextCursor"`
	Processes  []ContainedProcess `json:"processes"`
}

// SignalsTaken: is a schema of the API.
type SignalsTaken struct {
	// Items
	Accepted uint64                 `json:"accepted"`
	Rejected []SignalsTakenRejected `json:"rejected"`
	// Signals in them that are newer than what was known; 0 without storage
	Stored uint64 `json:"stored"`
}

// SignalsTakenRejected: is a schema of the API.
type SignalsTakenRejected struct {
	Index  uint64 `json:"index"`
	Reason string `json:"reason"`
}

// Snapshot: A signal snapshot: RFC 8785 JSON without JSON numbers. The package snapshot has the format and
// verifies it.
type Snapshot struct {
	AsOf string `json:"asOf"`
	// How the result was made.
	Config    SnapshotConfig     `json:"config"`
	Counters  map[string]string  `json:"counters"`
	FindingID string             `json:"findingId"`
	Inputs    []SnapshotInputRef `json:"inputs"`
	// snapshotId of the finding's snapshot before; not there in the first
	Prev string `json:"prev,omitzero"`
	// What came out.
	Result SnapshotResult `json:"result"`
	Schema string         `json:"schema"`
	// sha256 of the document without this member
	SnapshotID string `json:"snapshotId"`
	// The time of the evidence.
	Window SnapshotWindow `json:"window"`
}

// SnapshotConfig: How the result was made.
type SnapshotConfig struct {
	Canonicalizer     string `json:"canonicalizer"`
	ContainmentConfig string `json:"containmentConfig,omitzero"`
	ContainmentModel  string `json:"containmentModel,omitzero"`
	// Version of the software
	Engine   string `json:"engine"`
	Matching string `json:"matching"`
	// Digest of the rules for what is posted
	Redaction string `json:"redaction"`
	// Digest of the weights
	ScoreConfig string `json:"scoreConfig"`
	ScoreModel  string `json:"scoreModel"`
}

// SnapshotResult: What came out.
type SnapshotResult struct {
	Band string `json:"band"`
	// How far what runs is contained, beside the score. Without blastRadius no control is known.
	Containment SnapshotResultContainment `json:"containment,omitzero"`
	Coverage    string                    `json:"coverage"`
	Factors     []SnapshotFactor          `json:"factors"`
	Score       string                    `json:"score"`
	Unknowns    []string                  `json:"unknowns"`
}

// SnapshotWindow: The time of the evidence.
type SnapshotWindow struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// SnapshotResultContainment: How far what runs is contained, beside the score. Without blastRadius no control is
// known.
type SnapshotResultContainment struct {
	BlastRadius  string   `json:"blastRadius,omitzero"`
	Missing      []string `json:"missing"`
	Unknown      []string `json:"unknown"`
	UnknownShare string   `json:"unknownShare"`
}

// SnapshotFactor: A factor of the score.
type SnapshotFactor struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SnapshotInput: Canonical JSON without numbers. Its form is that of its kind.
type SnapshotInput = json.RawMessage

// SnapshotInputRef: An input, by digest.
type SnapshotInputRef struct {
	Kind      string `json:"kind"`
	MediaType string `json:"mediaType"`
	SHA256    string `json:"sha256"`
	Size      string `json:"size"`
}

// SnapshotList: Snapshots of a finding, newest first.
type SnapshotList struct {
	FindingID  string                 `json:"findingId"`
	NextCursor *string                `json:"nextCursor"`
	Snapshots  []SnapshotListSnapshot `json:"snapshots"`
}

// SnapshotListSnapshot: A snapshot in short.
type SnapshotListSnapshot struct {
	AsOf       string  `json:"asOf"`
	Band       string  `json:"band"`
	Coverage   string  `json:"coverage"`
	Prev       *string `json:"prev"`
	Score      string  `json:"score"`
	ScoreModel string  `json:"scoreModel"`
	Signed     bool    `json:"signed"`
	SnapshotID string  `json:"snapshotId"`
}

// SymbolRef: A function as an advisory names it.
type SymbolRef struct {
	// go, rust, cxx, c, kernel, jvm, dotnet, python, js, swift, d; without it that of the component
	Language string `json:"language,omitzero"`
	// Function, or Type.Method; without it every function of the package
	Member string `json:"member,omitzero"`
	// Import path, crate, namespace
	Package string `json:"package"`
	// Who named it: osv, rustsec, user, post
	Source string `json:"source,omitzero"`
}

// Timeline: Evidence by time. from and to are widened to whole buckets, aligned in UTC.
type Timeline struct {
	// Chronological, those without hits too
	Buckets []TimelineBucket `json:"buckets"`
	// resolution is longer than asked
	Coarsened bool   `json:"coarsened"`
	FindingID string `json:"findingId"`
	// Start of the first bucket
	From     time.Time         `json:"from"`
	Releases []TimelineRelease `json:"releases"`
	// Length of the buckets: the one asked for, or the longest window that is stored if that is longer
	Resolution string `json:"resolution"`
	// End of the last bucket
	To time.Time `json:"to"`
}

// TimelineBucket: Hits of windows that start in [start, end).
type TimelineBucket struct {
	// Exclusive
	End   time.Time            `json:"end"`
	Hits  KindHits             `json:"hits"`
	Items []TimelineBucketItem `json:"items"`
	// Events lost at least, of losses that start in the bucket
	Lost uint64 `json:"lost"`
	// More was lost, nobody knows how much
	LostUnknown bool `json:"lostUnknown"`
	// Inclusive
	Start   time.Time `json:"start"`
	Watched Watched   `json:"watched"`
}

// TimelineRelease: An artifact was first seen with another identity than before.
type TimelineRelease struct {
	Artifact Artifact `json:"artifact"`
	// Start of the bucket
	At       time.Time `json:"at"`
	Previous Artifact  `json:"previous"`
}

// TimelineBucketItem: The part of one artifact and component.
type TimelineBucketItem struct {
	Artifact Artifact `json:"artifact"`
	// purl
	Component *string  `json:"component"`
	Hits      KindHits `json:"hits"`
	// How the artifact was identified
	IdentityMethod *string `json:"identityMethod"`
}

// Trace: A witness with its hits: this function or module ran in this workload, called along this path.
type Trace struct {
	Artifact  Artifact  `json:"artifact"`
	Assurance Assurance `json:"assurance"`
	// purl of the component that the function belongs to
	Component *string `json:"component"`
	// Container of the last observation.
	Container TraceContainer `json:"container"`
	// The function itself ran, and not only a closure of it, its package or its library
	DirectPath bool `json:"directPath"`
	// First hit
	FirstSeen time.Time `json:"firstSeen"`
	// Innermost first
	Frames []Frame `json:"frames"`
	// How often
	Hits uint64 `json:"hits"`
	// By how much hits can be too high
	HitsError uint64 `json:"hitsError"`
	// Host of the last observation
	Host string `json:"host,omitzero"`
	// Witness id
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Last hit
	LastSeen time.Time `json:"lastSeen"`
	Match    Match     `json:"match"`
	// Whose process: the workload's own, exec into a container, ourselves
	Origin string `json:"origin"`
	// Canonical symbol of the function that the finding, or the trace, names; null when the evidence is about a
	// package or module
	VulnerableFunction *string `json:"vulnerableFunction"`
	// What runs, in Kubernetes.
	Workload TraceWorkload `json:"workload"`
}

// TraceContainer: Container of the last observation.
type TraceContainer struct {
	ID string `json:"id,omitzero"`
	// Digest
	Image string `json:"image,omitzero"`
	Name  string `json:"name,omitzero"`
}

// TraceWorkload: What runs, in Kubernetes.
type TraceWorkload struct {
	// kind/name
	Controller string `json:"controller,omitzero"`
	Namespace  string `json:"namespace,omitzero"`
}

// Traces: What was seen of a finding.
type Traces struct {
	// What was stored later is not in traces; the next pages keep it
	AsOf       time.Time  `json:"asOf"`
	Collection Collection `json:"collection"`
	// Evidence that contradicts a VEX document. None known: VEX documents are not read yet.
	Contradictions []json.RawMessage `json:"contradictions"`
	Coverage       Coverage          `json:"coverage"`
	FindingID      string            `json:"findingId"`
	// cursor of the next page; null on the last
	NextCursor *string `json:"nextCursor"`
	// All that the parameters select, not only this page.
	Summary TracesSummary `json:"summary"`
	Traces  []Trace       `json:"traces"`
}

// TracesSummary: All that the parameters select, not only this page.
type TracesSummary struct {
	// Hits of each assurance.
	ByAssurance TracesSummaryByAssurance `json:"byAssurance"`
	ByKind      KindHits                 `json:"byKind"`
	// Distinct containers
	Containers uint64 `json:"containers"`
	// Whether the function itself has hits
	DirectPathObserved bool `json:"directPathObserved"`
	// First hit
	FirstSeen *time.Time `json:"firstSeen"`
	// Distinct hosts
	Hosts uint64 `json:"hosts"`
	// Last hit
	LastSeen *time.Time `json:"lastSeen"`
	// Whether there are any hits. false is no verdict: see coverage
	Observed      bool          `json:"observed"`
	OtherVersions OtherVersions `json:"otherVersions"`
	// All kinds
	TotalHits uint64 `json:"totalHits"`
	// Distinct witnesses: function, callers and workload
	UniquePaths uint64 `json:"uniquePaths"`
}

// TracesSummaryByAssurance: Hits of each assurance.
type TracesSummaryByAssurance struct {
	// Asserted hits
	Asserted uint64 `json:"asserted"`
	// Measured hits
	Measured uint64 `json:"measured"`
}

// VersionRange: Affected versions, [introduced, fixed) or [introduced, lastAffected].
type VersionRange struct {
	// The first version with a fix
	Fixed string `json:"fixed,omitzero"`
	// 0 or absent: from the beginning
	Introduced string `json:"introduced,omitzero"`
	// The last version that is affected
	LastAffected string `json:"lastAffected,omitzero"`
}

// WatchList: is a schema of the API.
type WatchList struct {
	// Findings beyond the 1,000,000 entries of a list
	FindingsLeftOut uint64 `json:"findingsLeftOut"`
	// Findings that name no function: nothing of them is in the list
	FindingsWithoutSymbols uint64          `json:"findingsWithoutSymbols"`
	NextCursor             *string         `json:"nextCursor"`
	Symbols                []WatchedSymbol `json:"symbols"`
}

// Watched: yes: all of the time up to the last heartbeats, on every host that reported in it, without loss, and
// the finding's hooks were attached. partial: some of it, or only asserted. no: by nobody.
type Watched string

// WatchedSymbol: is a schema of the API.
type WatchedSymbol struct {
	// purl without version; absent where the function is asked for wherever it is
	Component string `json:"component,omitzero"`
	// Ids, sorted
	Findings []string `json:"findings"`
	Language string   `json:"language,omitzero"`
	// Absent for every function of the package
	Member  string `json:"member,omitzero"`
	Package string `json:"package,omitzero"`
}
