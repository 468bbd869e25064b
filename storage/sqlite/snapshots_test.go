package sqlite

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/score"
	signal "github.com/otelcol-witness/otelcol-witness/snapshot"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// keep stores the snapshot of a finding without evidence.
func keep(t *testing.T, s *Storage, at time.Time) storage.Snapshot {
	t.Helper()
	previous := ""
	if last, err := s.LastSnapshot(t.Context(), "", "f"); err == nil {
		previous = last.ID
	}
	weights := score.DefaultWeights()
	built, err := signal.Build(
		&signal.State{AsOf: at, Finding: witness.Finding{ID: "f"}, Weights: weights.AppendDocument(nil), Coverage: signal.Coverage{From: at.Add(-time.Hour), To: at}},
		signal.Config{Redaction: signal.Digest(nil)}, previous)
	require.NoError(t, err)
	kept := storage.Snapshot{ID: built.ID, Finding: "f", Previous: previous, Document: built.Document, Inputs: built.Inputs}
	stored, err := s.PutSnapshot(t.Context(), storage.Principal{}, kept)
	require.NoError(t, err)
	require.True(t, stored)
	return kept
}

func replay(t *testing.T, s *Storage, id string) *signal.Report {
	t.Helper()
	found, err := s.Snapshot(t.Context(), "", id)
	require.NoError(t, err)
	report, err := signal.Replay(found.Document, func(digest string) ([]byte, error) {
		data, err := s.Input(t.Context(), "", digest)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, signal.ErrMissing
		}
		return data, err
	})
	require.NoError(t, err)
	return report
}

func TestRetentionDropsInputsAndLeavesTheChain(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), func() time.Time { return now })
	old := keep(t, s, now)
	now = now.Add(24 * time.Hour)
	recent := keep(t, s, now)
	assert.Equal(t, signal.ReplayMatch, replay(t, s, old.ID).Outcome)

	require.NoError(t, s.deleteBefore(t.Context(), floor(now.UnixNano(), dayLength)))
	assert.Equal(t, signal.ReplayMatch, replay(t, s, recent.ID).Outcome)
	report := replay(t, s, old.ID)
	assert.Equal(t, signal.ReplayMissing, report.Outcome)
	require.Len(t, report.Missing, 1, "the new one shares the others")
	assert.Equal(t, signal.KindCoverage, report.Missing[0].Kind)
	ids, err := signal.Chain(recent.Document, func(id string) ([]byte, error) {
		found, err := s.Snapshot(t.Context(), "", id)
		return found.Document, err
	})
	require.NoError(t, err)
	assert.Equal(t, []string{recent.ID, old.ID}, ids)

	stored, err := s.PutSnapshot(t.Context(), storage.Principal{}, old)
	require.NoError(t, err)
	assert.False(t, stored)
	assert.Equal(t, signal.ReplayMatch, replay(t, s, old.ID).Outcome, "whoever has the inputs can bring them back")
}

func TestSnapshotsAreNeverChanged(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "witness.db")
	s := open(t, path, func() time.Time { return now })
	kept := keep(t, s, now)
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "UPDATE snapshot SET document = x'00'")
	require.ErrorContains(t, err, "never changed")
	_, err = db.ExecContext(t.Context(), "DELETE FROM snapshot")
	require.ErrorContains(t, err, "never deleted")
	_, err = db.ExecContext(t.Context(), "UPDATE snapshot_input SET data = x'7b7d'")
	require.NoError(t, err)
	for digest := range kept.Inputs {
		_, err := s.Input(t.Context(), "", digest)
		require.ErrorIs(t, err, storage.ErrDigest)
	}
}

func TestPagesOfSnapshotsAreBoundedInBytes(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := open(t, filepath.Join(t.TempDir(), "witness.db"), func() time.Time { return now })
	const many = 10
	previous := ""
	var newest []string
	for i := range many {
		id := signal.Digest([]byte{byte(i)})
		_, err := s.PutSnapshot(t.Context(), storage.Principal{}, storage.Snapshot{
			ID: id, Finding: "f", Previous: previous, Document: []byte("{}"), Envelope: make([]byte, storage.MaxSnapshot),
		})
		require.NoError(t, err)
		previous = id
		newest = append([]string{id}, newest...)
	}
	var ids []string
	pages := 0
	for query := (storage.SnapshotQuery{Limit: 1000}); ; pages++ {
		page, err := s.Snapshots(t.Context(), "", "f", query)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(page.Snapshots), snapshotPage/storage.MaxSnapshot)
		for i := range page.Snapshots {
			ids = append(ids, page.Snapshots[i].ID)
		}
		if query.Before = page.Next; page.Next == 0 {
			break
		}
	}
	assert.Equal(t, newest, ids)
	assert.Equal(t, 1, pages)
}
