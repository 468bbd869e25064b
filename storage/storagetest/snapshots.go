package storagetest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func digestOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// snapshotOf is a snapshot of a finding with some inputs.
func snapshotOf(finding, previous, document string, inputs ...string) storage.Snapshot {
	s := storage.Snapshot{ID: digestOf(finding + previous + document), Finding: finding, Previous: previous, Document: []byte(document), Inputs: map[string][]byte{}}
	for _, input := range inputs {
		s.Inputs[digestOf(input)] = []byte(input)
	}
	return s
}

// bare is a snapshot as it is read.
func bare(s storage.Snapshot) storage.Snapshot {
	s.Inputs = nil
	return s
}

func snapshots(b *bench) {
	ctx := b.Context()
	_, err := b.LastSnapshot(ctx, "", "f")
	require.ErrorIs(b, err, storage.ErrNotFound)
	_, err = b.Snapshot(ctx, "", digestOf("x"))
	require.ErrorIs(b, err, storage.ErrNotFound)
	_, err = b.Snapshot(ctx, "", "x")
	require.ErrorIs(b, err, storage.ErrNotFound)
	_, err = b.Input(ctx, "", digestOf("x"))
	require.ErrorIs(b, err, storage.ErrNotFound)
	page, err := b.Snapshots(ctx, "", "f", storage.SnapshotQuery{})
	require.NoError(b, err)
	assert.Empty(b, page)

	first := snapshotOf("f", "", "{1}", "a", "b")
	first.Envelope = []byte("signed")
	second := snapshotOf("f", first.ID, "{2}", "b", "c")
	other := snapshotOf("g", "", "{1}", "b")
	for _, s := range []storage.Snapshot{first, second, other} {
		stored, err := b.PutSnapshot(ctx, storage.Principal{}, s)
		require.NoError(b, err)
		assert.True(b, stored)
	}
	stored, err := b.PutSnapshot(ctx, storage.Principal{}, first)
	require.NoError(b, err, "what is there already")
	assert.False(b, stored)

	for _, want := range []storage.Snapshot{first, second, other} {
		got, err := b.Snapshot(ctx, "", want.ID)
		require.NoError(b, err)
		assert.Equal(b, bare(want), got)
	}
	last, err := b.LastSnapshot(ctx, "", "f")
	require.NoError(b, err)
	assert.Equal(b, bare(second), last)
	for _, input := range []string{"a", "b", "c"} {
		data, err := b.Input(ctx, "", digestOf(input))
		require.NoError(b, err)
		assert.Equal(b, input, string(data))
	}
}

func snapshotsNeverFork(b *bench) {
	ctx := b.Context()
	first := snapshotOf("f", "", "{1}")
	second := snapshotOf("f", first.ID, "{2}")
	other := snapshotOf("g", "", "{3}")
	put := func(s storage.Snapshot) error {
		_, err := b.PutSnapshot(ctx, storage.Principal{}, s)
		return err
	}
	require.ErrorIs(b, put(second), storage.ErrNotNewest, "nothing is before it")
	require.NoError(b, put(first))
	require.NoError(b, put(other))
	require.ErrorIs(b, put(snapshotOf("f", "", "{4}")), storage.ErrNotNewest, "a second first")
	require.ErrorIs(b, put(snapshotOf("f", other.ID, "{5}")), storage.ErrNotNewest, "of another finding")
	require.ErrorIs(b, put(snapshotOf("f", "sha256:x", "{5}")), storage.ErrNotNewest, "no digest")
	require.NoError(b, put(second))
	require.ErrorIs(b, put(snapshotOf("f", first.ID, "{6}", "lost")), storage.ErrNotNewest, "a fork")
	_, err := b.Input(ctx, "", digestOf("lost"))
	require.ErrorIs(b, err, storage.ErrNotFound, "nothing of what was refused is there")
	require.NoError(b, put(first), "an old one that is there already")

	// Writers that take turns make one chain.
	const writers = 8
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for {
				previous := ""
				if last, err := b.LastSnapshot(ctx, "", "h"); err == nil {
					previous = last.ID
				}
				if err := put(snapshotOf("h", previous, fmt.Sprintf("{%d}", i))); err == nil {
					return
				} else if !assert.ErrorIs(b, err, storage.ErrNotNewest) {
					return
				}
			}
		})
	}
	group.Wait()
	page, err := b.Snapshots(ctx, "", "h", storage.SnapshotQuery{})
	require.NoError(b, err)
	require.Len(b, page.Snapshots, writers)
	for i := range writers - 1 {
		assert.Equal(b, page.Snapshots[i+1].ID, page.Snapshots[i].Previous)
	}
	assert.Empty(b, page.Snapshots[writers-1].Previous)
}

func snapshotLimits(b *bench) {
	for _, test := range []struct {
		name   string
		change func(*storage.Snapshot)
		want   error
	}{
		{"no digest as id", func(s *storage.Snapshot) { s.ID = "x" }, storage.ErrDigest},
		{"another input", func(s *storage.Snapshot) { s.Inputs[digestOf("a")] = []byte("b") }, storage.ErrDigest},
		{"a long document", func(s *storage.Snapshot) { s.Document = make([]byte, storage.MaxSnapshot+1) }, storage.ErrTooLarge},
		{"a long envelope", func(s *storage.Snapshot) { s.Envelope = make([]byte, storage.MaxSnapshot+1) }, storage.ErrTooLarge},
		{"a long input", func(s *storage.Snapshot) {
			data := make([]byte, storage.MaxSnapshotInput+1)
			s.Inputs[digestOf(string(data))] = data
		}, storage.ErrTooLarge},
	} {
		s := snapshotOf("f", "", "{}", "a")
		test.change(&s)
		_, err := b.PutSnapshot(b.Context(), storage.Principal{}, s)
		require.ErrorIs(b, err, test.want, test.name)
	}
	_, err := b.LastSnapshot(b.Context(), "", "f")
	require.ErrorIs(b, err, storage.ErrNotFound)
}

func snapshotPages(b *bench) {
	ctx := b.Context()
	var want []string
	for i, previous := 0, ""; i < 7; i++ {
		s := snapshotOf("f", previous, fmt.Sprintf("{%d}", i), "shared")
		_, err := b.PutSnapshot(ctx, storage.Principal{}, s)
		require.NoError(b, err)
		want, previous = append(want, s.ID), s.ID
	}
	slices.Reverse(want)
	for limit := 1; limit <= 8; limit++ {
		var got []string
		for query := (storage.SnapshotQuery{Limit: limit}); ; {
			page, err := b.Snapshots(ctx, "", "f", query)
			require.NoError(b, err)
			require.LessOrEqual(b, len(page.Snapshots), limit)
			for _, s := range page.Snapshots {
				got = append(got, s.ID)
			}
			if query.Before = page.Next; page.Next == 0 {
				break
			}
		}
		assert.Equal(b, want, got, "pages of %d", limit)
	}
}

func snapshotTenants(b *bench) {
	ctx := b.Context()
	s := snapshotOf("f", "", "{}", "a")
	for _, tenant := range []string{"one", "two"} {
		stored, err := b.PutSnapshot(ctx, storage.Principal{Tenant: tenant}, s)
		require.NoError(b, err)
		assert.True(b, stored, "each tenant has its own chain")
	}
	for _, tenant := range []string{"", "three"} {
		_, err := b.Snapshot(ctx, tenant, s.ID)
		require.ErrorIs(b, err, storage.ErrNotFound)
		_, err = b.LastSnapshot(ctx, tenant, "f")
		require.ErrorIs(b, err, storage.ErrNotFound)
		_, err = b.Input(ctx, tenant, digestOf("a"))
		require.ErrorIs(b, err, storage.ErrNotFound)
		page, err := b.Snapshots(ctx, tenant, "f", storage.SnapshotQuery{})
		require.NoError(b, err)
		assert.Empty(b, page)
	}
}

func snapshotsStay(b *bench) {
	ctx := b.Context()
	_, err := b.PutFinding(ctx, storage.Principal{}, witness.Finding{ID: "f"})
	require.NoError(b, err)
	s := snapshotOf("f", "", "{}", "a")
	_, err = b.PutSnapshot(ctx, storage.Principal{}, s)
	require.NoError(b, err)
	require.NoError(b, b.DeleteFinding(ctx, storage.Principal{}, "f"))
	if b.reopen != nil {
		b.Storage = b.reopen(b.T, b.Storage, b.clock)
	}
	got, err := b.Snapshot(ctx, "", s.ID)
	require.NoError(b, err)
	assert.Equal(b, bare(s), got)
}
