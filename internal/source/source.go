// Package source gives a component the name under which it counts: its source. Observations and coverage of one source
// are told apart by it, so it must never be used again once the state that numbers them is lost.
package source

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

const (
	keyID          = "witness.source.id"
	keyIncarnation = "witness.source.incarnation"
	idBytes        = 10 // 16 hex digits could look like an address
)

// Client opens what a storage extension keeps for a component: nil without one. The errors begin with the key storage of a
// configuration.
func Client(ctx context.Context, host component.Host, extension *component.ID, kind component.Kind, id component.ID) (storage.Client, error) {
	if extension == nil {
		return nil, nil //nolint:nilnil // Open takes it
	}
	found, ok := host.GetExtensions()[*extension]
	if !ok {
		return nil, errors.New("storage: the extension is not in service.extensions")
	}
	offering, ok := found.(storage.Extension)
	if !ok {
		return nil, errors.New("storage: the extension is not a storage extension")
	}
	client, err := offering.GetClient(ctx, kind, id, "")
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return client, nil
}

// Open returns the source "<installation id>/<incarnation>/<component id>". The id, 20 hex digits, is made once and kept
// in the client. The incarnation grows by one with each Open that restored no state, and is 1 at first. What is kept but
// unreadable is made anew. Without a client the id is a fresh one each time, and the incarnation 0.
func Open(ctx context.Context, client storage.Client, componentID component.ID, restored bool) (string, error) {
	if client == nil {
		id, err := newID()
		if err != nil {
			return "", err
		}
		return name(id, 0, componentID), nil
	}
	id, incarnation, err := load(ctx, client)
	if err != nil {
		return "", err
	}
	if id != "" && restored {
		return name(id, incarnation, componentID), nil
	}
	if id == "" {
		if id, err = newID(); err != nil {
			return "", err
		}
		incarnation = 0
	}
	incarnation++
	err = client.Batch(ctx,
		storage.SetOperation(keyID, []byte(id)),
		storage.SetOperation(keyIncarnation, strconv.AppendUint(nil, incarnation, 10)))
	if err != nil {
		return "", fmt.Errorf("keep the source id: %w", err)
	}
	return name(id, incarnation, componentID), nil
}

// load returns an empty id when there is none, or none that can be read.
func load(ctx context.Context, client storage.Client) (string, uint64, error) {
	id, incarnation := storage.GetOperation(keyID), storage.GetOperation(keyIncarnation)
	if err := client.Batch(ctx, id, incarnation); err != nil {
		return "", 0, fmt.Errorf("read the source id: %w", err)
	}
	raw, idErr := hex.DecodeString(string(id.Value))
	n, numberErr := strconv.ParseUint(string(incarnation.Value), 10, 63)
	if readable := idErr == nil && numberErr == nil && len(raw) == idBytes; !readable {
		return "", 0, nil
	}
	return string(id.Value), n, nil
}

func newID() (string, error) {
	raw := make([]byte, idBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("make a source id: %w", err)
	}
	return hex.EncodeToString(raw), nil
}

func name(id string, incarnation uint64, componentID component.ID) string {
	return id + "/" + strconv.FormatUint(incarnation, 10) + "/" + componentID.String()
}
