package witnessqueryextension

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/strictjson"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	maxParameter = 4096     // bytes of a value
	maxCursor    = 64 << 10 // bytes of a cursor, which has the names of what a page ends with
)

// query reads the query parameters of a call. Its errors are problems that name the parameter.
type query struct {
	values url.Values
}

// parseQuery refuses parameters that the route does not have.
func parseQuery(raw string, parameters, ignored []string) (*query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the query is not percent-encoded")
	}
	for _, name := range ignored {
		values.Del(name)
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !slices.Contains(parameters, name) {
			return nil, badRequest("there is no query parameter " + strictjson.Quote(name) + " here")
		}
		if name != "kind" && len(values[name]) > 1 {
			return nil, badRequest(name + ": is given more than once")
		}
		for _, value := range values[name] {
			most := maxParameter
			if name == "cursor" {
				most = maxCursor
			}
			if len(value) > most {
				return nil, badRequest(fmt.Sprintf("%s: is longer than %d bytes", name, most))
			}
		}
	}
	return &query{values}, nil
}

// text returns a parameter; given is false without it.
func (q *query) text(name string) (value string, given bool) {
	if !q.values.Has(name) {
		return "", false
	}
	return q.values.Get(name), true
}

// span reads from and to. Zero times are open ends.
func (q *query) span() (from, to time.Time, err error) {
	for _, bound := range []struct {
		name string
		into *time.Time
	}{{"from", &from}, {"to", &to}} {
		text, given := q.text(bound.name)
		if !given {
			continue
		}
		if *bound.into, err = ingest.ParseTime(text); err != nil {
			return from, to, badRequest(fmt.Sprintf("%s: %v", bound.name, err))
		}
	}
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return from, to, badRequest("to: is not after from")
	}
	return from, to, nil
}

// recent reads from and to; the span is the last day, or ends or begins a day from the one that is given.
func (q *query) recent(now time.Time) (from, to time.Time, err error) {
	if from, to, err = q.span(); err != nil {
		return from, to, err
	}
	if to.IsZero() {
		to = now.UTC()
		if !from.IsZero() && !from.Before(to) {
			return from, to, badRequest("from: is not before now")
		}
	}
	if from.IsZero() {
		from = to.Add(-day)
	}
	return from, to, nil
}

// kinds reads kind, repeated or with commas; weakest first and without repetition.
func (q *query) kinds() ([]witness.Kind, error) {
	var asked []witness.Kind
	for _, value := range q.values["kind"] {
		for _, name := range strings.Split(value, ",") {
			kind := witness.Kind(name)
			if !kind.Valid() {
				return nil, badRequest("kind: is not one of exec, load, sample, call")
			}
			asked = append(asked, kind)
		}
	}
	var kinds []witness.Kind
	for _, kind := range witness.Kinds {
		if slices.Contains(asked, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

func (q *query) assurance() (witness.Assurance, error) {
	text, given := q.text("assurance")
	if assurance := witness.Assurance(text); !given || assurance.Valid() {
		return assurance, nil
	}
	return "", badRequest("assurance: is not one of measured, asserted")
}

func (q *query) minConfidence() (float64, error) {
	text, given := q.text("minConfidence")
	if !given {
		return 0, nil
	}
	confidence, err := strconv.ParseFloat(text, 64)
	if err != nil || !(confidence >= 0 && confidence <= 1) {
		return 0, badRequest("minConfidence: is not a number from 0 to 1")
	}
	return confidence, nil
}

func (q *query) limit() (int, error) {
	text, given := q.text("limit")
	if !given {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, badRequest(fmt.Sprintf("limit: is not a number from 1 to %d", maxLimit))
	}
	return limit, nil
}

// component reads a purl without version, empty without it. Nothing would be found for anything else, and an empty answer
// says more than that.
func (q *query) component() (string, error) {
	text, _ := q.text("component")
	if err := finding.Validate(&witness.Finding{ID: "component", Component: text}); err != nil {
		return "", badRequest(err.Error())
	}
	return text, nil
}

// findings reads what selects and orders findings, and what a cursor of theirs is made for.
func (q *query) findings() (*evidence.FindingsQuery, []string, error) {
	var asked evidence.FindingsQuery
	var err error
	if asked.Component, err = q.component(); err != nil {
		return nil, nil, err
	}
	asked.Digest, _ = q.text("digest")
	asked.Namespace, _ = q.text("namespace")
	if asked.Kinds, err = q.kinds(); err != nil {
		return nil, nil, err
	}
	if bands, given := q.text("band"); given {
		for _, band := range strings.Split(bands, ",") {
			if !slices.Contains(score.BandNames, band) {
				return nil, nil, badRequest("band: is not one of " + strings.Join(score.BandNames, ", "))
			}
			asked.Bands = append(asked.Bands, band)
		}
		slices.Sort(asked.Bands)
		asked.Bands = slices.Compact(asked.Bands)
	}
	if text, given := q.text("observed"); given {
		observed := text == "true"
		if !observed && text != "false" {
			return nil, nil, badRequest("observed: is not one of true, false")
		}
		asked.Observed = &observed
	}
	if text, given := q.text("changedSince"); given {
		if asked.ChangedSince, err = ingest.ParseTime(text); err != nil {
			return nil, nil, badRequest(fmt.Sprintf("changedSince: %v", err))
		}
	}
	order, given := q.text("sort")
	switch asked.Order = evidence.Order(order); asked.Order {
	case evidence.OrderID, evidence.OrderScore, evidence.OrderHits, evidence.OrderRecent:
	default:
		if given {
			return nil, nil, badRequest("sort: is not one of id, score, hits, recent")
		}
		asked.Order = evidence.OrderID
	}
	if asked.Limit, err = q.limit(); err != nil {
		return nil, nil, err
	}
	observed, _ := q.text("observed")
	parameters := []string{asked.Component, asked.Digest, asked.Namespace, observed, asked.ChangedSince.String(), string(asked.Order), strings.Join(asked.Bands, ",")}
	for _, kind := range asked.Kinds {
		parameters = append(parameters, string(kind))
	}
	return &asked, parameters, nil
}

// bucket reads a length of whole minutes, from one to a day.
func (q *query) bucket() (time.Duration, error) {
	text, given := q.text("bucket")
	switch {
	case !given:
		return time.Hour, nil
	case text == "1d":
		return day, nil
	}
	bucket, err := time.ParseDuration(text)
	if err != nil || bucket < time.Minute || bucket > day || bucket%time.Minute != 0 {
		return 0, badRequest("bucket: is not a duration of whole minutes from 1m to 1d")
	}
	return bucket, nil
}

// cursor is where a page ended, for the parameters that it was made for.
type cursor struct {
	For  string    `json:"f"` // digest of the parameters
	AsOf time.Time `json:"t,omitzero"`
	Key  int64     `json:"k,omitempty"`
	ID   string    `json:"i"`
}

// cursor reads the cursor, if any. It is refused where it was not made for these parameters.
func (q *query) cursor(parameters ...string) (*cursor, error) {
	text, given := q.text("cursor")
	if !given {
		return nil, nil
	}
	invalid := badRequest("cursor: was not made by this call with these parameters")
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, invalid
	}
	var c cursor
	if err := strictjson.Unmarshal(data, &c); err != nil || c.For != c.digest(parameters) {
		return nil, invalid
	}
	return &c, nil
}

// encode is the text of the cursor, for the parameters it is made for.
func (c *cursor) encode(parameters ...string) (string, error) {
	c.For = c.digest(parameters)
	data, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(data), nil
}

func (c *cursor) digest(parameters []string) string {
	digest := digestOf(append([]string{c.AsOf.UTC().Format(time.RFC3339Nano)}, parameters...)...)
	return base64.RawURLEncoding.EncodeToString(digest[:16])
}

// digestOf is a digest of texts that no other list of texts has.
func digestOf(texts ...string) [sha256.Size]byte {
	var b []byte
	for _, text := range texts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	return sha256.Sum256(b)
}
