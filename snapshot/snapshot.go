// Package snapshot is the signal snapshot: an immutable document that lets anyone compute a score again, later, and
// without trusting who made it.
//
// A snapshot says which inputs a score was made of, by digest, how it was made, and what came out. The inputs are
// canonical JSON documents of their own: the finding as it was, the evidence as the model saw it, what was watched, and
// the weights. Build makes both; Replay matches and scores the inputs again and compares; Chain follows the snapshots of
// a finding back to the first; Signer and VerifyEnvelope put a signature around. All of it is pure: no clock, no network,
// no storage.
//
// # The format
//
// A document is RFC 8785 (JCS) canonical JSON. It has no JSON numbers: counts are decimal strings, scores and confidences
// the shortest decimal that is the same number, offsets 0x and hex digits. Canonicalization would round integers above
// 2^53 without a word. Times are UTC with nine decimals. Inputs are sorted by kind, then digest; factors are in the order
// of the model; unknowns and the subjects of the evidence are sorted. Members without a value are left out.
//
// snapshotId is the sha256 of the document without that member. prev is the snapshotId of the finding's snapshot before
// it, so each vouches for all those that came before.
package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gowebpki/jcs"
)

// Names of the format.
const (
	// Schema is the member schema of a document.
	Schema = "https://github.com/otelcol-witness/otelcol-witness/signal-snapshot/v1"
	// MediaType is that of a document; those of inputs are of the same family (InputMediaType).
	MediaType = "application/vnd.otelcol-witness.signal-snapshot.v1+json"
)

// Limits, in bytes. A document holds digests and sums, so it is short; evidence is what can be long.
const (
	MaxDocument = 1 << 20
	MaxInput    = 16 << 20
)

// Errors that callers tell apart; what is returned wraps them.
var (
	// ErrDocument says that bytes are no snapshot.
	ErrDocument = errors.New("not a signal snapshot")
	// ErrTooLarge says that a finding has more evidence than a snapshot holds.
	ErrTooLarge = errors.New("too large for a snapshot")
	// ErrMissing is what a load function returns for what is not there.
	ErrMissing = errors.New("missing")
	// ErrModel says that the matching or score model of a snapshot is not known here.
	ErrModel = errors.New("the model is not known")
)

// Document is a signal snapshot, every value as it is written. Parse checks it.
type Document struct {
	Schema     string  `json:"schema"`
	SnapshotID string  `json:"snapshotId,omitempty"` // sha256:<hex>
	FindingID  string  `json:"findingId"`
	AsOf       string  `json:"asOf"`
	Window     Window  `json:"window"`
	Inputs     []Input `json:"inputs"` // by kind, then digest
	Config     Config  `json:"config"`
	// Counters are decimal counts: what was looked at, matched and lost.
	Counters map[string]string `json:"counters"`
	Result   Result            `json:"result"`
	// Prev is the snapshotId of the finding's snapshot before; empty in the first.
	Prev string `json:"prev,omitempty"`
}

// Window is the time of the evidence: from the first sighting (asOf without any) to asOf.
type Window struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Input is what a score was made of, by digest.
type Input struct {
	Kind      Kind   `json:"kind"`
	MediaType string `json:"mediaType"`
	SHA256    string `json:"sha256"` // sha256:<hex> of the bytes
	Size      string `json:"size"`   // bytes
}

// Kind of an input.
type Kind string

// The kinds. A snapshot has one input of each, but of containment where nobody looked at it or it is too large;
// later engines may have others.
const (
	KindContainment        Kind = "containment"
	KindContainmentWeights Kind = "containment-weights"
	KindCoverage           Kind = "coverage"
	KindEvidence           Kind = "evidence"
	KindFinding            Kind = "finding"
	KindWeights            Kind = "weights"
)

var kinds = []Kind{KindContainment, KindContainmentWeights, KindCoverage, KindEvidence, KindFinding, KindWeights}

const maxInputs = 64

// InputMediaType is the media type of inputs of a kind.
func InputMediaType(kind Kind) string {
	return "application/vnd.otelcol-witness.signal-snapshot." + string(kind) + ".v1+json"
}

// Config says how the result was made.
type Config struct {
	// Matching and ScoreModel name what decided which evidence answers the finding, and what made a number of it.
	Matching   string `json:"matching"`
	ScoreModel string `json:"scoreModel"`
	// ScoreConfig is the digest of the weights, as the score model makes it.
	ScoreConfig string `json:"scoreConfig"`
	// ContainmentModel and ContainmentConfig (the digest of its weights) are empty without containment.
	ContainmentModel  string `json:"containmentModel,omitempty"`
	ContainmentConfig string `json:"containmentConfig,omitempty"`
	// Canonicalizer and Redaction (a digest) are the rules for what is posted, of who made the snapshot.
	Canonicalizer string `json:"canonicalizer"`
	Redaction     string `json:"redaction"`
	// Engine is the version of the software.
	Engine string `json:"engine"`
}

// Result is what came out.
type Result struct {
	Score string `json:"score"` // 0..1, up to four decimals
	Band  string `json:"band"`
	// Coverage is the number beside the score: what silence would be worth, 0..1.
	Coverage string `json:"coverage"`
	// Containment stands beside the score; nil without.
	Containment *Contained `json:"containment,omitempty"`
	// Factors are those of the score model, in its order. Their explanations are no part of a snapshot: words get better.
	Factors []Factor `json:"factors"`
	// Unknowns are what is not known, sorted: see Unknowns.
	Unknowns []string `json:"unknowns"`
}

// Factor is a part of a number.
type Factor struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Digest is sha256:<hex> of data.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ValidDigest reports whether a text is sha256: and 64 lower-case hex digits.
func ValidDigest(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(digits) == 2*sha256.Size && strings.IndexFunc(digits, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'f')
	}) < 0
}

// Parse reads a document and checks all that can be checked of it alone: that it is canonical, that every value has its
// form, and that the snapshotId is that of the content. Its errors wrap ErrDocument and repeat no value.
func Parse(document []byte) (*Document, error) {
	if len(document) > MaxDocument {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrDocument, MaxDocument)
	}
	var d Document
	if err := decode(document, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if member := d.malformed(); member != "" {
		return nil, fmt.Errorf("%w: %s: has not the form that it must have", ErrDocument, member)
	}
	encoded, err := d.encode()
	if err != nil || !bytes.Equal(encoded, document) {
		return nil, fmt.Errorf("%w: it is not canonical JSON", ErrDocument)
	}
	if id, err := d.id(); err != nil || id != d.SnapshotID {
		return nil, fmt.Errorf("%w: snapshotId: is not that of the content", ErrDocument)
	}
	return &d, nil
}

// malformed names a member that is not as it must be; empty if there is none.
func (d *Document) malformed() string {
	for _, check := range []struct {
		member string
		ok     bool
	}{
		{"schema", d.Schema == Schema},
		{"snapshotId", ValidDigest(d.SnapshotID)},
		{"findingId", d.FindingID != ""},
		{"asOf", isTime(d.AsOf)},
		{"window/from", isTime(d.Window.From)},
		{"window/to", isTime(d.Window.To)},
		{"inputs", len(d.Inputs) > 0 && len(d.Inputs) <= maxInputs},
		{"config/matching", d.Config.Matching != ""},
		{"config/scoreModel", d.Config.ScoreModel != ""},
		{"config/scoreConfig", ValidDigest(d.Config.ScoreConfig)},
		{"config/containmentConfig", d.Config.ContainmentConfig == "" || ValidDigest(d.Config.ContainmentConfig)},
		{"config/redaction", ValidDigest(d.Config.Redaction)},
		{"result/score", isFraction(d.Result.Score)},
		{"result/coverage", isFraction(d.Result.Coverage)},
		{"result/unknowns", d.Result.Unknowns != nil && slices.IsSorted(d.Result.Unknowns)},
		{"result/factors", d.Result.Factors != nil && !slices.ContainsFunc(d.Result.Factors, func(f Factor) bool { return !isFraction(f.Value) })},
		{"prev", d.Prev == "" || ValidDigest(d.Prev)},
	} {
		if !check.ok {
			return check.member
		}
	}
	if c := d.Result.Containment; c != nil &&
		(!isFraction(c.UnknownShare) || c.BlastRadius != "" && !isFraction(c.BlastRadius) || c.Missing == nil || c.Unknown == nil) {
		return "result/containment"
	}
	for i := range d.Inputs {
		in := &d.Inputs[i]
		if i > 0 && in.Kind <= d.Inputs[i-1].Kind || in.Kind == "" || in.MediaType != InputMediaType(in.Kind) || !ValidDigest(in.SHA256) || !isCount(in.Size) {
			return "inputs/" + strconv.Itoa(i)
		}
	}
	if d.Counters == nil {
		return "counters"
	}
	for _, value := range d.Counters {
		if !isCount(value) {
			return "counters"
		}
	}
	return ""
}

func (d *Document) encode() ([]byte, error) { return encode(d) }

// id is the digest of the document without its snapshotId.
func (d *Document) id() (string, error) {
	bare := *d
	bare.SnapshotID = ""
	encoded, err := bare.encode()
	if err != nil {
		return "", err
	}
	return Digest(encoded), nil
}

// encode is v as canonical JSON. v has no numbers.
func encode(v any) ([]byte, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(encoded)
}

var errMembers = errors.New("it is no JSON of this form")

// decode reads JSON with exactly the members of v. Its errors repeat nothing of data.
func decode(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if decoder.Decode(v) != nil || decoder.InputOffset() != int64(len(data)) {
		return errMembers
	}
	return nil
}

// timeLayout has nine decimals, always.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(timeLayout, text)
}

func isTime(text string) bool {
	_, err := time.Parse(timeLayout, text)
	return err == nil
}

func formatCount[N int | uint64](n N) string { return fmt.Sprint(n) }

func isCount(text string) bool {
	n, err := strconv.ParseUint(text, 10, 64)
	return err == nil && strconv.FormatUint(n, 10) == text
}

// formatFraction is the shortest decimal of x; what is not a number is 0.
func formatFraction(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) || x == 0 { // minus 0 too
		return "0"
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

func isFraction(text string) bool {
	x, err := strconv.ParseFloat(text, 64)
	return err == nil && x >= 0 && x <= 1 && formatFraction(x) == text
}
