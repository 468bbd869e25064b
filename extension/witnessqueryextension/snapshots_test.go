package witnessqueryextension

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/snapshot"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var snapshotTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// newWitnessed is a server with a finding, evidence and coverage, whose clock stands.
func newWitnessed(t *testing.T) *server {
	s := newStored(t)
	s.api.now = func() time.Time { return snapshotTime }
	s.put("GO-2023-1988", htmlFinding)
	s.observe(measured("golang.org/x/net/html.Render", 42, snapshotTime.Add(-time.Hour)), measured("golang.org/x/net/html.Parse", 9007199254740993, snapshotTime.Add(-2*time.Hour)))
	require.NoError(t, s.api.store.WriteCoverage(t.Context(), storage.Principal{}, []witness.Coverage{
		{Source: "a/0/tetragon", Signal: "tetragon", Assurance: witness.Measured, Instance: witness.Instance{Host: "node-1"}, Kinds: []witness.Kind{witness.KindCall},
			Start: snapshotTime.Add(-time.Minute), End: snapshotTime, Interval: time.Minute, ProcessesWatched: 9, ProcessesSeen: 10},
		{Source: "a/0/tetragon", Instance: witness.Instance{Host: "node-1"}, Start: snapshotTime.Add(-time.Hour), End: snapshotTime.Add(-time.Hour), LossStage: "queue", Lost: 7},
	}))
	_, err := s.api.store.WriteContainment(t.Context(), storage.Principal{}, []witness.Containment{{
		Workload: witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "web", Image: digest}, Instance: witness.Instance{Host: "node-1", Container: "c1"},
		Executable: witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"}, Origin: witness.OriginWorkload,
		Signals: []witness.Signal{{Name: witness.SignalSeccomp, Values: []string{"disabled"}, Source: witness.SourceProc, Assurance: witness.Measured, ObservedAt: snapshotTime.Add(-time.Hour)}},
	}})
	require.NoError(t, err)
	return s
}

func (s *server) take(id string) (*snapshot.Document, *httptest.ResponseRecorder) {
	s.Helper()
	w := s.call(http.MethodPost, path(id, "snapshots"), "")
	require.Contains(s, []int{http.StatusOK, http.StatusCreated}, w.Code, w.Body)
	d, err := snapshot.Parse(w.Body.Bytes())
	require.NoError(s, err)
	return d, w
}

func TestSnapshot(t *testing.T) {
	s := newWitnessed(t)
	first, w := s.take("GO-2023-1988")
	assert.Equal(t, http.StatusCreated, w.Code)
	assert.Equal(t, snapshot.MediaType, w.Header().Get("Content-Type"))
	location := w.Header().Get("Location")
	assert.Equal(t, "/api/v1/snapshots/"+strings.TrimPrefix(first.SnapshotID, "sha256:"), location)

	// It says what the score says.
	now := get[scored](s, path("GO-2023-1988", "runtime/score"))
	assert.Equal(t, fmt.Sprint(now.Score), first.Result.Score)
	assert.Equal(t, now.Band, first.Result.Band)
	assert.Equal(t, fmt.Sprint(now.Coverage), first.Result.Coverage)
	assert.Equal(t, now.ConfigDigest, first.Config.ScoreConfig)
	require.Len(t, first.Result.Factors, len(now.Factors))
	for i, factor := range now.Factors {
		assert.Equal(t, snapshot.Factor{Name: factor.Name, Value: fmt.Sprint(factor.Value)}, first.Result.Factors[i])
	}
	require.NotNil(t, first.Result.Containment)
	assert.Equal(t, fmt.Sprint(now.Containment.UnknownShare), first.Result.Containment.UnknownShare)
	assert.Equal(t, fmt.Sprint(*now.Containment.BlastRadius), first.Result.Containment.BlastRadius)
	assert.Equal(t, now.Containment.ConfigDigest, first.Config.ContainmentConfig)
	assert.Equal(t, "9007199254741035", first.Counters["hits"])
	assert.Equal(t, "7", first.Counters["lost.queue"])
	assert.Equal(t, "v0.0.0-test", first.Config.Engine)

	// The same bytes, by both names, and again for who asks again.
	for _, target := range []string{location, "/api/v1/snapshots/" + first.SnapshotID, location + "?format=json"} {
		got := s.call(http.MethodGet, target, "")
		assert.Equal(t, w.Body.Bytes(), got.Body.Bytes())
		assert.Equal(t, `"`+strings.TrimPrefix(first.SnapshotID, "sha256:")+`"`, got.Header().Get("ETag"))
		assert.Equal(t, snapshot.MediaType, got.Header().Get("Content-Type"))
	}
	_, again := s.take("GO-2023-1988")
	assert.Equal(t, http.StatusOK, again.Code)
	assert.Equal(t, w.Body.Bytes(), again.Body.Bytes())
	assert.Equal(t, location, again.Header().Get("Location"))

	// Another client replays and follows the chain with nothing but the bytes.
	s.observe(measured("golang.org/x/net/html.Render", 1, snapshotTime.Add(-time.Minute)))
	second, w := s.take("GO-2023-1988")
	assert.Equal(t, first.SnapshotID, second.Prev)
	fetch := func(format string) snapshot.Load {
		return func(digest string) ([]byte, error) {
			got := s.call(http.MethodGet, fmt.Sprintf(format, digest), "")
			if got.Code == http.StatusNotFound {
				return nil, snapshot.ErrMissing
			}
			return got.Body.Bytes(), nil
		}
	}
	report, err := snapshot.Replay(w.Body.Bytes(), fetch("/api/v1/snapshots/"+second.SnapshotID+"/inputs/%s"))
	require.NoError(t, err)
	assert.True(t, report.Match, report)
	ids, err := snapshot.Chain(w.Body.Bytes(), fetch("/api/v1/snapshots/%s"))
	require.NoError(t, err)
	assert.Equal(t, []string{second.SnapshotID, first.SnapshotID}, ids)

	// The evidence has moved on, and the first still replays.
	for _, id := range ids {
		got := s.call(http.MethodPost, "/api/v1/snapshots/"+id+"/replay", "")
		assert.JSONEq(t, `{"snapshotId":"`+id+`","match":true,"outcome":"match","difference":null,"missing":[],"damaged":[]}`, got.Body.String())
	}
	// Deleting the finding deletes no snapshot.
	require.Equal(t, http.StatusNoContent, s.call(http.MethodDelete, "/api/v1/findings/GO-2023-1988", "").Code)
	assert.Len(t, get[snapshotList](s, path("GO-2023-1988", "snapshots")).Snapshots, 2)
}

func TestSnapshotList(t *testing.T) {
	s := newWitnessed(t)
	assert.Empty(t, get[snapshotList](s, path("GO-2023-1988", "snapshots")).Snapshots)
	var want []string
	for i := range 5 {
		s.api.now = func() time.Time { return snapshotTime.Add(time.Duration(i) * time.Minute) }
		d, _ := s.take("GO-2023-1988")
		want = append([]string{d.SnapshotID}, want...)
	}
	var got []string
	for target := path("GO-2023-1988", "snapshots?limit=2"); target != ""; {
		page := get[snapshotList](s, target)
		for _, item := range page.Snapshots {
			got = append(got, item.SnapshotID)
			assert.False(t, item.Signed)
		}
		target = ""
		if page.NextCursor != nil {
			target = path("GO-2023-1988", "snapshots?limit=2&cursor="+*page.NextCursor)
		}
	}
	assert.Equal(t, want, got)
	assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, path("GO-2023-1988", "snapshots?cursor=x"), "").Code)
}

func TestSnapshotsThatAreNot(t *testing.T) {
	s := newWitnessed(t)
	d, _ := s.take("GO-2023-1988")
	at := "/api/v1/snapshots/" + d.SnapshotID
	nothing := snapshot.Digest(nil)
	for _, test := range []struct {
		method, target string
		status         int
		detail         string
	}{
		{http.MethodPost, path("other", "snapshots"), 404, "there is no such finding"},
		{http.MethodGet, path("other", "snapshots"), 404, "there is no such finding"},
		{http.MethodGet, "/api/v1/snapshots/" + nothing, 404, "there is no such snapshot"},
		{http.MethodPost, "/api/v1/snapshots/" + nothing + "/replay", 404, "there is no such snapshot"},
		{http.MethodGet, "/api/v1/snapshots/" + nothing + "/inputs/" + nothing, 404, "there is no such snapshot"},
		{http.MethodGet, at + "/inputs/" + nothing, 404, "the snapshot has no such input"},
		{http.MethodGet, at + "?format=dsse", 404, "the snapshot is not signed"},
		{http.MethodGet, at + "?format=xml", 400, "format: is not one of json, dsse"},
		{http.MethodGet, "/api/v1/snapshots/" + strings.ToUpper(nothing), 400, "sha256: is not 64 lower-case hex digits"},
		{http.MethodGet, at + "/inputs/1", 400, "digest: is not 64 lower-case hex digits"},
		{http.MethodPost, at, 405, "this path takes GET, HEAD"},
	} {
		w := s.call(test.method, test.target, "")
		assert.Equal(t, test.status, w.Code, test.target)
		assert.Equal(t, test.detail, detail(t, w))
	}
	// Another tenant sees neither snapshots nor inputs.
	for _, target := range []string{at, at + "/replay", at + "/inputs/" + d.Inputs[0].SHA256} {
		method := http.MethodGet
		if strings.HasSuffix(target, "replay") {
			method = http.MethodPost
		}
		r := httptest.NewRequest(method, target, nil)
		r = r.WithContext(client.NewContext(context.Background(), client.Info{Auth: caller{"tenant": "other", "subject": "eve"}}))
		assert.Equal(t, http.StatusNotFound, s.send(r).Code, target)
	}
}

// caller has attributes.
type caller map[string]string

func (c caller) GetAttribute(name string) any { return c[name] }

func (c caller) GetAttributeNames() []string { return nil }

// gone is a storage without some inputs, and with others that are damaged.
type gone struct {
	storage.Storage
	missing, damaged string
}

func (g gone) Input(ctx context.Context, tenant, digest string) ([]byte, error) {
	switch digest {
	case g.missing:
		return nil, storage.ErrNotFound
	case g.damaged:
		return nil, storage.ErrDigest
	default:
		return g.Storage.Input(ctx, tenant, digest)
	}
}

func TestReplayWithoutInputs(t *testing.T) {
	s := newWitnessed(t)
	d, _ := s.take("GO-2023-1988")
	at := "/api/v1/snapshots/" + d.SnapshotID
	store := s.api.store
	s.api.store = gone{Storage: store, missing: d.Inputs[1].SHA256}
	var report snapshot.Report
	require.NoError(t, json.Unmarshal(s.call(http.MethodPost, at+"/replay", "").Body.Bytes(), &report))
	assert.Equal(t, snapshot.Report{Outcome: snapshot.ReplayMissing, Missing: d.Inputs[1:2], Damaged: []snapshot.Input{}}, report)
	assert.Equal(t, http.StatusOK, s.call(http.MethodGet, at, "").Code, "it can be verified")
	w := s.call(http.MethodGet, at+"/inputs/"+d.Inputs[1].SHA256, "")
	assert.Equal(t, http.StatusNotFound, w.Code)
	assert.Equal(t, "the input was deleted: the snapshot can be verified, but no longer be replayed", detail(t, w))

	s.api.store = gone{Storage: store, damaged: d.Inputs[2].SHA256}
	require.NoError(t, json.Unmarshal(s.call(http.MethodPost, at+"/replay", "").Body.Bytes(), &report))
	assert.Equal(t, snapshot.Report{Outcome: snapshot.ReplayDamaged, Missing: []snapshot.Input{}, Damaged: d.Inputs[2:3]}, report)
	assert.Equal(t, http.StatusInternalServerError, s.call(http.MethodGet, at+"/inputs/"+d.Inputs[2].SHA256, "").Code)
}

func TestSnapshotsAtTheSameTime(t *testing.T) {
	s := newWitnessed(t)
	var seconds sync.Mutex
	at := snapshotTime
	s.api.now = func() time.Time {
		seconds.Lock()
		defer seconds.Unlock()
		at = at.Add(time.Second)
		return at
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			r := httptest.NewRequest(http.MethodPost, path("GO-2023-1988", "snapshots"), nil)
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			assert.Contains(t, []int{http.StatusCreated, http.StatusConflict}, w.Code)
		})
	}
	group.Wait()
	page := get[snapshotList](s, path("GO-2023-1988", "snapshots"))
	require.NotEmpty(t, page.Snapshots)
	last := page.Snapshots[len(page.Snapshots)-1]
	assert.Nil(t, last.Prev)
	for i, item := range page.Snapshots[:len(page.Snapshots)-1] {
		assert.Equal(t, page.Snapshots[i+1].SnapshotID, *item.Prev)
	}
}

func TestSnapshotWithoutStorage(t *testing.T) {
	s := newServer(t, none.Storage{})
	d, w := s.take("any")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Empty(t, w.Header().Get("Location"), "it was not kept")
	assert.Equal(t, "0", d.Result.Score)
	assert.Empty(t, get[snapshotList](s, path("any", "snapshots")).Snapshots)
	assert.Equal(t, http.StatusNotFound, s.call(http.MethodGet, "/api/v1/snapshots/"+d.SnapshotID, "").Code)
}

func TestSignedSnapshot(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	rules := canon.NewDefaultConfig()

	s := newWitnessed(t)
	s.api.snapshots, err = newSnapshots(&SnapshotsConfig{SigningKeyFile: file}, &rules, "v1")
	require.NoError(t, err)
	d, w := s.take("GO-2023-1988")
	envelope := s.call(http.MethodGet, "/api/v1/snapshots/"+d.SnapshotID+"?format=dsse", "")
	require.Equal(t, http.StatusOK, envelope.Code, envelope.Body)
	assert.Equal(t, snapshot.EnvelopeMediaType, envelope.Header().Get("Content-Type"))
	statement, err := snapshot.VerifyEnvelope(t.Context(), envelope.Body.Bytes(), w.Body.Bytes(), public)
	require.NoError(t, err)
	assert.Equal(t, d.SnapshotID, statement.Predicate.SnapshotID)
	_, err = snapshot.VerifyEnvelope(t.Context(), bytes.Replace(envelope.Body.Bytes(), []byte(`"sig":"`), []byte(`"sig":"A`), 1), w.Body.Bytes(), public)
	require.ErrorIs(t, err, snapshot.ErrSignature)
	assert.True(t, get[snapshotList](s, path("GO-2023-1988", "snapshots")).Snapshots[0].Signed)
	for _, line := range s.logs.All() {
		assert.NotContains(t, fmt.Sprint(line), d.SnapshotID)
	}

	for name, config := range map[string]SnapshotsConfig{
		"snapshots::signing_key_file: no such file or directory":                       {SigningKeyFile: filepath.Join(t.TempDir(), "alice")},
		"snapshots::signing_key: is no PKCS #8 private key in PEM (BEGIN PRIVATE KEY)": {SigningKey: "s3cret"},
	} {
		_, err := newSnapshots(&config, &rules, "v1")
		assert.EqualError(t, err, name)
	}
	both := SnapshotsConfig{SigningKeyFile: "x", SigningKey: "y"}
	assert.EqualError(t, both.validate(), "snapshots::signing_key_file: signing_key is given too")
}

func TestRedactionDigest(t *testing.T) {
	rules := canon.NewDefaultConfig()
	plain := redaction(&rules)
	rules.HMACKey = "0123456789abcdef0123456789abcdef"
	assert.Equal(t, plain, redaction(&rules), "a digest of a key would help to guess it")
	rules.Identities = canon.IdentitiesKeep
	assert.NotEqual(t, plain, redaction(&rules))
}
