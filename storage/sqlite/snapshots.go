package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// PutSnapshot implements storage.SnapshotWriter.
func (s *Storage) PutSnapshot(ctx context.Context, principal storage.Principal, snapshot storage.Snapshot) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	if err := acceptable(&snapshot); err != nil {
		return false, fmt.Errorf("put snapshot: %w", err)
	}
	stored := false
	err := s.writer.submit(ctx, 1+len(snapshot.Inputs), func() error {
		tenant, name, err := s.writer.principal(principal)
		if err != nil {
			return err
		}
		stored, err = s.writer.snapshot(tenant, name, s.now().UnixNano(), &snapshot)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("put snapshot: %w", err)
	}
	return stored, nil
}

// acceptable checks what does not depend on what is stored.
func acceptable(snapshot *storage.Snapshot) error {
	if len(snapshot.Document) > storage.MaxSnapshot || len(snapshot.Envelope) > storage.MaxSnapshot {
		return storage.ErrTooLarge
	}
	if _, ok := digestBytes(snapshot.ID); !ok {
		return storage.ErrDigest
	}
	for digest, data := range snapshot.Inputs {
		if len(data) > storage.MaxSnapshotInput {
			return storage.ErrTooLarge
		}
		if sum := sha256.Sum256(data); digest != digestText(sum[:]) {
			return storage.ErrDigest
		}
	}
	return nil
}

func (w *writer) snapshot(tenant, principal, received int64, snapshot *storage.Snapshot) (stored bool, err error) {
	ctx := context.Background()
	id, _ := digestBytes(snapshot.ID)
	var one int
	err = w.findSnapshot.QueryRowContext(ctx, tenant, id).Scan(&one)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if stored = err != nil; stored {
		var number int64
		var newest []byte
		err = w.lastSnapshot.QueryRowContext(ctx, tenant, snapshot.Finding).Scan(&number, &newest)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return false, err
		}
		if previous, ok := digestBytes(snapshot.Previous); !ok && snapshot.Previous != "" || !bytes.Equal(previous, newest) {
			return false, storage.ErrNotNewest
		}
		if err := execute(w.addSnapshot, tenant, snapshot.Finding, number+1, id, snapshot.Document, snapshot.Envelope, received, principal); err != nil {
			return false, err
		}
	}
	for _, digest := range slices.Sorted(maps.Keys(snapshot.Inputs)) {
		key, _ := digestBytes(digest)
		if err := execute(w.addInput, tenant, key, snapshot.Inputs[digest], received); err != nil {
			return false, err
		}
	}
	return stored, nil
}

const snapshotColumns = `SELECT s.number, s.id, s.finding, p.id, s.document, s.envelope FROM snapshot s
LEFT JOIN snapshot p ON p.tenant = s.tenant AND p.finding = s.finding AND p.number = s.number - 1`

func scanSnapshot(scan func(...any) error) (snapshot storage.Snapshot, number uint64, err error) {
	var id, previous []byte
	if err := scan(&number, &id, &snapshot.Finding, &previous, &snapshot.Document, &snapshot.Envelope); err != nil {
		return storage.Snapshot{}, 0, err
	}
	snapshot.ID = digestText(id)
	if previous != nil {
		snapshot.Previous = digestText(previous)
	}
	return snapshot, number, nil
}

// Snapshot implements storage.SnapshotReader.
func (s *Storage) Snapshot(ctx context.Context, tenant, id string) (storage.Snapshot, error) {
	key, _ := digestBytes(id)
	return s.oneSnapshot(ctx, "snapshot", tenant, " WHERE s.tenant = ? AND s.id = ?", key)
}

// LastSnapshot implements storage.SnapshotReader.
func (s *Storage) LastSnapshot(ctx context.Context, tenant, finding string) (storage.Snapshot, error) {
	return s.oneSnapshot(ctx, "last snapshot", tenant, " WHERE s.tenant = ? AND s.finding = ? ORDER BY s.number DESC LIMIT 1", finding)
}

func (s *Storage) oneSnapshot(ctx context.Context, what, tenant, where string, arg any) (found storage.Snapshot, err error) {
	err = s.view(ctx, what, tenant, func(v *snapshot) error {
		found, _, err = scanSnapshot(v.tx.QueryRowContext(ctx, snapshotColumns+where, v.tenant, arg).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return storage.ErrNotFound
		}
		return err
	})
	return found, err
}

// snapshotPage is how many bytes of documents and envelopes a page has before it ends, whatever its limit.
const snapshotPage = 8 << 20

// Snapshots implements storage.SnapshotReader.
func (s *Storage) Snapshots(ctx context.Context, tenant, finding string, query storage.SnapshotQuery) (page storage.SnapshotPage, err error) {
	limit := limitOf(query.Limit)
	before := number(query.Before)
	if before <= 0 {
		before = 1<<63 - 1
	}
	err = s.view(ctx, "snapshots", tenant, func(v *snapshot) error {
		var last uint64
		size := 0
		err := v.each(snapshotColumns+" WHERE s.tenant = ? AND s.finding = ? AND s.number < ? ORDER BY s.number DESC LIMIT ?",
			[]any{v.tenant, finding, before, limit + 1}, func(rows *sql.Rows) error {
				if len(page.Snapshots) == limit || size >= snapshotPage {
					page.Next = last
					return errEnough
				}
				found, number, err := scanSnapshot(rows.Scan)
				page.Snapshots, last = append(page.Snapshots, found), number
				size += len(found.Document) + len(found.Envelope)
				return err
			})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return storage.SnapshotPage{}, err
	}
	return page, nil
}

// Input implements storage.SnapshotReader.
func (s *Storage) Input(ctx context.Context, tenant, digest string) (data []byte, err error) {
	key, _ := digestBytes(digest)
	err = s.view(ctx, "input", tenant, func(v *snapshot) error {
		err := v.tx.QueryRowContext(ctx, "SELECT data FROM snapshot_input WHERE tenant = ? AND digest = ?", v.tenant, key).Scan(&data)
		if errors.Is(err, sql.ErrNoRows) {
			return storage.ErrNotFound
		}
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(data); !bytes.Equal(sum[:], key) {
			return storage.ErrDigest
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// digestBytes reads sha256:<hex>; nil and false for anything else.
func digestBytes(text string) ([]byte, bool) {
	digits, ok := strings.CutPrefix(text, "sha256:")
	data, err := hex.DecodeString(digits)
	if !ok || err != nil || len(data) != sha256.Size || digestText(data) != text {
		return nil, false
	}
	return data, true
}

func digestText(data []byte) string { return "sha256:" + hex.EncodeToString(data) }
