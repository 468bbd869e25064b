package witnessqueryextension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/snapshot"
	"github.com/otelcol-witness/otelcol-witness/storage"
)

var snapshotRoutes = []route{
	{http.MethodPost, "/api/v1/findings/{findingId}/snapshots", roleWrite, nil, (*api).postSnapshot},
	{http.MethodGet, "/api/v1/findings/{findingId}/snapshots", roleRead, []string{"limit", "cursor"}, (*api).listSnapshots},
	{http.MethodGet, "/api/v1/snapshots/{sha256}", roleRead, []string{"format"}, (*api).getSnapshot},
	{http.MethodGet, "/api/v1/snapshots/{sha256}/inputs/{digest}", roleRead, nil, (*api).getSnapshotInput},
	{http.MethodPost, "/api/v1/snapshots/{sha256}/replay", roleRead, nil, (*api).replaySnapshot},
}

// attempts is how often a snapshot is made anew because another one of the finding came in between.
const attempts = 16

// SnapshotsConfig says how snapshots are made.
type SnapshotsConfig struct {
	// SigningKeyFile holds the key that signs snapshots: PKCS #8 in PEM, Ed25519 or ECDSA. Empty: they are not signed.
	SigningKeyFile string `mapstructure:"signing_key_file"`
	// SigningKey is the key itself, in place of a file.
	SigningKey configopaque.String `mapstructure:"signing_key"`
}

func (c *SnapshotsConfig) validate() error {
	if c.SigningKeyFile != "" && c.SigningKey != "" {
		return errors.New("snapshots::signing_key_file: signing_key is given too")
	}
	return nil
}

// snapshots makes them.
type snapshots struct {
	signer *snapshot.Signer // nil: they are not signed
	config snapshot.Config
}

// newSnapshots reads the key. version is that of the software.
func newSnapshots(config *SnapshotsConfig, rules *canon.Config, version string) (snapshots, error) {
	s := snapshots{config: snapshot.Config{Canonicalizer: canon.Version, Redaction: redaction(rules), Engine: version}}
	key, name := []byte(config.SigningKey), "snapshots::signing_key"
	if config.SigningKeyFile != "" {
		name = "snapshots::signing_key_file"
		var err error
		if key, err = os.ReadFile(config.SigningKeyFile); err != nil {
			var failure *fs.PathError
			if errors.As(err, &failure) { // without the path, which can name a person
				err = failure.Err
			}
			return s, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(key) == 0 && config.SigningKeyFile == "" {
		return s, nil
	}
	signer, err := snapshot.NewSigner(key)
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	s.signer = signer
	return s, nil
}

// redaction is the digest of the rules for what is posted, without their key.
func redaction(rules *canon.Config) string {
	allow := slices.Sorted(slices.Values(rules.Allow))
	encoded, err := json.Marshal([]any{canon.Version, rules.Identities, rules.Arguments, append([]string{}, allow...)})
	if err != nil {
		encoded = nil // texts only
	}
	return snapshot.Digest(encoded)
}

// validateDigest takes a digest with and without its algorithm.
func validateDigest(text string) error {
	if !snapshot.ValidDigest(withAlgorithm(text)) {
		return errors.New("is not 64 lower-case hex digits")
	}
	return nil
}

func withAlgorithm(digest string) string { return "sha256:" + strings.TrimPrefix(digest, "sha256:") }

// verbatim is a body that is sent as it is.
type verbatim struct {
	media string
	data  []byte
}

func (a *api) postSnapshot(c *call) (answer, error) {
	state, err := a.state(c)
	if err != nil {
		return answer{}, err
	}
	for range attempts {
		made, created, err := a.snapshot(c, state)
		if errors.Is(err, storage.ErrNotNewest) {
			continue
		}
		if errors.Is(err, snapshot.ErrTooLarge) || errors.Is(err, storage.ErrTooLarge) {
			return answer{}, newProblem(http.StatusUnprocessableEntity, "the evidence of this finding is too large for a snapshot")
		}
		if err != nil {
			return answer{}, err
		}
		outcome, status := "known", http.StatusOK
		if created {
			outcome, status = "created", http.StatusCreated
		}
		a.telemetry.WitnessQuerySnapshots.Add(c.Context(), 1, metric.WithAttributes(attribute.String("outcome", outcome)))
		a.audit(c, zap.Bool("created", created), zap.Bool("signed", a.snapshots.signer != nil), zap.Int("subjects", len(state.Subjects)))
		c.identify(made.ID)
		if last, err := a.store.Snapshot(c.Context(), c.principal.Tenant, made.ID); err == nil {
			c.header.Set("Location", "/api/v1/snapshots/"+strings.TrimPrefix(last.ID, "sha256:"))
		} else if !errors.Is(err, storage.ErrNotFound) { // a disabled storage has none
			return answer{}, err
		}
		return answer{status, verbatim{snapshot.MediaType, made.Document}}, nil
	}
	return answer{}, newProblem(http.StatusConflict, "others are making snapshots of this finding; try again")
}

// state reads all that a score is made of.
func (a *api) state(c *call) (*snapshot.State, error) {
	f, err := a.store.Finding(c.Context(), c.principal.Tenant, c.finding)
	if err != nil {
		return nil, err
	}
	matches, err := evidence.Match(c.Context(), a.store, &evidence.Question{Tenant: c.principal.Tenant, Finding: f})
	if err != nil {
		return nil, err
	}
	summary, err := matches.Summary(c.Context(), a.store)
	if err != nil {
		return nil, err
	}
	coverage, err := evidence.CoverOwn(c.Context(), a.store, c.principal.Tenant, evidence.OwnOf(&f, matches), c.now.Add(-evidence.ScoreSpan), c.now, c.now)
	if err != nil {
		return nil, err
	}
	reach, err := matches.Contain(c.Context(), a.store, &f, a.controls)
	if err != nil {
		return nil, err
	}
	contained := reach.Signals()
	contained.Weights = a.controls.AppendDocument(nil)
	state := &snapshot.State{Containment: contained, AsOf: c.now, Finding: f, Coverage: coverage.Parts(), Weights: a.weights.AppendDocument(nil)}
	state.Subjects, state.Candidates = matches.Evidence(&summary)
	return state, nil
}

// snapshot makes a snapshot and stores it behind the newest of its finding, unless it would be the newest itself: who
// asks again for the same state at the same time gets the same bytes. ErrNotNewest if another one came in between.
func (a *api) snapshot(c *call, state *snapshot.State) (made *snapshot.Built, created bool, err error) {
	last, err := a.store.LastSnapshot(c.Context(), c.principal.Tenant, c.finding)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, false, err
	}
	previous := last.ID
	if last.ID != "" {
		same, err := snapshot.Build(state, a.snapshots.config, last.Previous)
		if err != nil {
			return nil, false, err
		}
		if same.ID == last.ID {
			made, previous = same, last.Previous
		}
	}
	if made == nil {
		if made, err = snapshot.Build(state, a.snapshots.config, previous); err != nil {
			return nil, false, err
		}
	}
	keep := storage.Snapshot{ID: made.ID, Finding: c.finding, Previous: previous, Document: made.Document, Inputs: made.Inputs}
	if a.snapshots.signer != nil {
		if keep.Envelope, err = a.snapshots.signer.Envelope(c.Context(), made); err != nil {
			return nil, false, err
		}
	}
	created, err = a.store.PutSnapshot(c.Context(), c.principal, keep)
	return made, created, err
}

// identify sets the entity tag of a snapshot or input: what has the digest never changes.
func (c *call) identify(digest string) {
	c.header.Set("ETag", `"`+strings.TrimPrefix(digest, "sha256:")+`"`)
}

// snapshotList is a page of the snapshots of a finding, newest first.
type snapshotList struct {
	FindingID  string         `json:"findingId"`
	Snapshots  []snapshotItem `json:"snapshots"`
	NextCursor *string        `json:"nextCursor"`
}

type snapshotItem struct {
	SnapshotID string  `json:"snapshotId"`
	AsOf       string  `json:"asOf"`
	ScoreModel string  `json:"scoreModel"`
	Score      string  `json:"score"`
	Band       string  `json:"band"`
	Coverage   string  `json:"coverage"`
	Prev       *string `json:"prev"`
	Signed     bool    `json:"signed"`
}

func (a *api) listSnapshots(c *call) (answer, error) {
	limit, err := c.query.limit()
	if err != nil {
		return answer{}, err
	}
	parameters := []string{c.route, c.principal.Tenant, c.finding}
	after, err := c.query.cursor(parameters...)
	if err != nil {
		return answer{}, err
	}
	query := storage.SnapshotQuery{Limit: limit}
	if after != nil {
		query.Before = uint64(after.Key) //nolint:gosec // encoded below
	}
	page, err := a.store.Snapshots(c.Context(), c.principal.Tenant, c.finding, query)
	if err != nil {
		return answer{}, err
	}
	if len(page.Snapshots) == 0 { // those of a finding that was deleted are still there
		if _, err := a.store.Finding(c.Context(), c.principal.Tenant, c.finding); err != nil {
			return answer{}, err
		}
	}
	body := snapshotList{FindingID: c.finding, Snapshots: make([]snapshotItem, 0, len(page.Snapshots))}
	for i := range page.Snapshots {
		kept := &page.Snapshots[i]
		d, err := snapshot.Parse(kept.Document)
		if err != nil {
			return answer{}, a.damaged(c, err)
		}
		body.Snapshots = append(body.Snapshots, snapshotItem{
			SnapshotID: kept.ID, AsOf: d.AsOf, ScoreModel: d.Config.ScoreModel, Score: d.Result.Score, Band: d.Result.Band,
			Coverage: d.Result.Coverage, Prev: text(kept.Previous), Signed: len(kept.Envelope) > 0,
		})
	}
	if page.Next > 0 {
		next, err := (&cursor{Key: int64(page.Next)}).encode(parameters...) //nolint:gosec // a number of rows
		if err != nil {
			return answer{}, err
		}
		body.NextCursor = &next
	}
	return answer{http.StatusOK, body}, nil
}

// kept is the snapshot that the path names.
func (a *api) kept(c *call) (storage.Snapshot, *snapshot.Document, error) {
	found, err := a.store.Snapshot(c.Context(), c.principal.Tenant, withAlgorithm(c.path["sha256"]))
	if errors.Is(err, storage.ErrNotFound) {
		return found, nil, newProblem(http.StatusNotFound, "there is no such snapshot")
	}
	if err != nil {
		return found, nil, err
	}
	d, err := snapshot.Parse(found.Document)
	if err == nil && d.SnapshotID != found.ID {
		err = storage.ErrDigest
	}
	if err != nil {
		return found, nil, a.damaged(c, err)
	}
	return found, d, nil
}

// damaged is the answer to what is not as it was stored.
func (a *api) damaged(c *call, err error) *problem {
	a.logger.Error("a stored snapshot is damaged", zap.String("route", c.route), zap.Error(err))
	return newProblem(http.StatusInternalServerError, "what is stored does not fit its digest")
}

func (a *api) getSnapshot(c *call) (answer, error) {
	format, given := c.query.text("format")
	if given && format != "json" && format != "dsse" {
		return answer{}, badRequest("format: is not one of json, dsse")
	}
	found, _, err := a.kept(c)
	if err != nil {
		return answer{}, err
	}
	if format != "dsse" {
		c.identify(found.ID)
		return answer{http.StatusOK, verbatim{snapshot.MediaType, found.Document}}, nil
	}
	if len(found.Envelope) == 0 {
		return answer{}, newProblem(http.StatusNotFound, "the snapshot is not signed")
	}
	return answer{http.StatusOK, verbatim{snapshot.EnvelopeMediaType, found.Envelope}}, nil
}

func (a *api) getSnapshotInput(c *call) (answer, error) {
	_, d, err := a.kept(c)
	if err != nil {
		return answer{}, err
	}
	digest := withAlgorithm(c.path["digest"])
	at := slices.IndexFunc(d.Inputs, func(in snapshot.Input) bool { return in.SHA256 == digest })
	if at < 0 {
		return answer{}, newProblem(http.StatusNotFound, "the snapshot has no such input")
	}
	data, err := a.store.Input(c.Context(), c.principal.Tenant, digest)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return answer{}, newProblem(http.StatusNotFound, "the input was deleted: the snapshot can be verified, but no longer be replayed")
	case errors.Is(err, storage.ErrDigest):
		return answer{}, a.damaged(c, err)
	case err != nil:
		return answer{}, err
	}
	c.identify(digest)
	return answer{http.StatusOK, verbatim{d.Inputs[at].MediaType, data}}, nil
}

// replayed is the answer to a replay.
type replayed struct {
	SnapshotID string `json:"snapshotId"`
	*snapshot.Report
}

func (a *api) replaySnapshot(c *call) (answer, error) {
	found, _, err := a.kept(c)
	if err != nil {
		return answer{}, err
	}
	report, err := snapshot.Replay(found.Document, a.load(c.Context(), c.principal.Tenant))
	if err != nil {
		return answer{}, err
	}
	a.telemetry.WitnessQueryReplays.Add(c.Context(), 1, metric.WithAttributes(attribute.String("outcome", report.Outcome)))
	return answer{http.StatusOK, replayed{found.ID, report}}, nil
}

// load reads inputs for a replay, which finds out by itself what does not fit.
func (a *api) load(ctx context.Context, tenant string) snapshot.Load {
	return func(digest string) ([]byte, error) {
		data, err := a.store.Input(ctx, tenant, digest)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return nil, snapshot.ErrMissing
		case errors.Is(err, storage.ErrDigest):
			return nil, nil
		default:
			return data, err
		}
	}
}
