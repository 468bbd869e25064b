package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// slotLength is that of the slots of the table seen.
const slotLength = int64(10 * time.Minute)

// WriteObservations implements storage.Writer.
func (s *Storage) WriteObservations(ctx context.Context, batch storage.Batch) (storage.Written, error) {
	if err := s.enter(); err != nil {
		return storage.Written{}, err
	}
	defer s.leave()
	refused, ahead := refuse(s.now(), batch.Observations)
	if len(refused) == len(batch.Observations) && batch.Receipt == nil {
		s.count(storage.Written{Refused: refused}, ahead)
		return storage.Written{Refused: refused}, nil
	}
	var written storage.Written
	var conflict error
	err := s.writer.submit(ctx, len(batch.Observations), func() (err error) {
		written, err = s.writer.observations(batch, refused)
		if errors.Is(err, storage.ErrConflict) { // nothing was written that would have to be undone
			conflict, err = err, nil
		}
		return err
	})
	if err = cmp.Or(err, conflict); err != nil {
		return storage.Written{}, fmt.Errorf("write observations: %w", err)
	}
	s.count(written, ahead)
	return written, nil
}

func (s *Storage) count(written storage.Written, ahead int) {
	s.stored.Add(uint64(written.Stored))         //nolint:gosec // a count
	s.duplicates.Add(uint64(written.Duplicates)) //nolint:gosec // a count
	if len(written.Refused) > 0 {
		s.ahead.Add(uint64(ahead))                            //nolint:gosec // a count
		s.malformed.Add(uint64(len(written.Refused) - ahead)) //nolint:gosec // a count
	}
}

// refuse finds what cannot be stored, and how much of it because its time is ahead.
func refuse(now time.Time, observations []witness.Observation) (refused []storage.Refusal, ahead int) {
	limit := now.Add(storage.MaxAhead)
	for i := range observations {
		o := &observations[i]
		reason := ""
		switch err := o.Validate(); {
		case err != nil:
			reason = err.Error()
		case o.Hits > math.MaxInt64:
			reason = semconv.WitnessHits + ": is more than a 63-bit number holds"
		case o.Flush > math.MaxInt64:
			reason = semconv.WitnessFlush + ": is more than a 63-bit number holds"
		case o.FirstSeen.Year() < 1970 || o.WindowStart.Year() < 1970 || o.WindowEnd.Year() > 2261:
			reason = semconv.WitnessFirstSeen + ": is not between the years 1970 and 2261"
		case o.LastSeen.After(limit):
			reason = semconv.WitnessLastSeen + ": is in the future"
			ahead++
		case o.WindowStart.After(limit):
			reason = semconv.WitnessWindowStart + ": is in the future"
			ahead++
		default:
			continue
		}
		refused = append(refused, storage.Refusal{Index: i, Reason: reason})
	}
	return refused, ahead
}

// observations is the part of WriteObservations within the transaction.
func (w *writer) observations(batch storage.Batch, refused []storage.Refusal) (storage.Written, error) {
	received := w.now().UnixNano()
	tenant, principal, err := w.principal(batch.Principal)
	if err != nil {
		return storage.Written{}, err
	}
	if batch.Receipt != nil {
		known, err := w.receipt(tenant, principal, batch.Receipt, received)
		if err != nil {
			return storage.Written{}, err
		}
		if known {
			return storage.Written{Duplicates: len(batch.Observations)}, nil
		}
	}
	written := storage.Written{Refused: refused}
	learnt := map[learntKey]fact{}
	for i := range batch.Observations {
		if len(refused) > 0 && refused[0].Index == i {
			refused = refused[1:]
			continue
		}
		o := &batch.Observations[i]
		stored, err := w.observation(o, tenant, principal, received, learnt)
		switch {
		case err != nil:
			return storage.Written{}, err
		case stored:
			written.Stored++
		default:
			written.Duplicates++
		}
	}
	return written, w.learn(tenant, learnt)
}

func (w *writer) principal(p storage.Principal) (tenant, name int64, err error) {
	if tenant, err = w.text(p.Tenant); err != nil {
		return 0, 0, err
	}
	name, err = w.text(p.Name)
	return tenant, name, err
}

// receipt keeps a receipt. It reports whether it was known, and returns ErrConflict if it was with another body.
func (w *writer) receipt(tenant, principal int64, receipt *storage.Receipt, received int64) (known bool, err error) {
	var body []byte
	err = w.findReceipt.QueryRowContext(context.Background(), tenant, principal, receipt.Key).Scan(&body)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, execute(w.addReceipt, tenant, principal, receipt.Key, receipt.Body[:], received)
	case err != nil:
		return false, err
	case !bytes.Equal(body, receipt.Body[:]):
		return false, storage.ErrConflict
	default:
		return true, nil
	}
}

// observation stores one and reports whether it is new. What is measured is new where its key was only asserted, and
// stands instead: whoever knows the source of a collector could write under its keys first.
func (w *writer) observation(o *witness.Observation, tenant, principal, received int64, learnt map[learntKey]fact) (bool, error) {
	id, err := w.witness(tenant, o.ID, &o.Witness)
	if err != nil {
		return false, err
	}
	source, err := w.source(o.Source)
	if err != nil {
		return false, err
	}
	instance, err := w.instance(o.Instance)
	if err != nil {
		return false, err
	}
	artifact, err := w.artifact(&o.Artifact)
	if err != nil {
		return false, err
	}
	component, err := w.component(o.Witness.Frame.Component)
	if err != nil {
		return false, err
	}
	link, err := w.link(artifact, component)
	if err != nil {
		return false, err
	}
	start, assurance := o.WindowStart.UnixNano(), assuranceCode(o.Assurance)
	stored, err := added(w.addObservation, start, id, source, instance, number(o.Flush), int64(o.WindowEnd.Sub(o.WindowStart)),
		number(o.Hits), number(o.HitsError), o.FirstSeen.UnixNano(), o.LastSeen.UnixNano(), received, assurance, originCode(o.Origin),
		principal, link)
	if err != nil || !stored {
		return false, err
	}
	if err := w.index(id, start); err != nil {
		return false, err
	}
	if err := w.note(tenant, id); err != nil {
		return false, err
	}
	for _, finding := range o.FindingIDs {
		if err := w.name(tenant, principal, finding, id, received); err != nil {
			return false, err
		}
	}
	said := fact{assurance: assurance, seen: o.LastSeen.UnixNano()}
	said.id = artifact
	note(learnt, keyOfPart(&o.Witness.Frame, o.Witness.Workload.Image, true), said)
	said.id = component
	note(learnt, keyOfPart(&o.Witness.Frame, o.Witness.Workload.Image, false), said)
	for i := range o.Witness.Path {
		caller := &o.Witness.Path[i]
		if caller.Component == "" {
			continue
		}
		if said.id, err = w.component(caller.Component); err != nil {
			return false, err
		}
		note(learnt, keyOfPart(caller, o.Witness.Workload.Image, false), said)
	}
	return true, nil
}

// note tells that the subject of a witness has other totals, and maybe another witness.
func (w *writer) note(tenant, id int64) error {
	var subject int64
	if err := w.conn.QueryRowContext(context.Background(), "SELECT subject FROM witness WHERE id = ?", id).Scan(&subject); err != nil {
		return err
	}
	w.changes.subject(tenant, subject)
	w.changes.count(tenant, subject)
	return nil
}

// index makes the observations of a window findable by witness.
func (w *writer) index(id, start int64) error {
	if _, ok := w.windows.get(start); !ok {
		if err := execute(w.addWindow, start); err != nil {
			return err
		}
		w.windows.put(start, struct{}{})
	}
	slot := start / slotLength
	if last, ok := w.slots.get(id); ok && last == slot {
		return nil
	}
	if err := execute(w.addSeen, id, slot); err != nil {
		return err
	}
	w.slots.put(id, slot)
	return nil
}

// name keeps that a witness was named for a finding, which exists from then on.
func (w *writer) name(tenant, principal int64, finding string, id, received int64) error {
	if finding == "" {
		return nil
	}
	finding = strings.ToValidUTF8(finding, "\uFFFD") // as its JSON has it, so that pages of findings end
	text, err := w.text(finding)
	if err != nil {
		return err
	}
	w.changes.finding(tenant, finding)
	if err := execute(w.addNamed, tenant, text, id); err != nil {
		return err
	}
	bare, err := json.Marshal(witness.Finding{ID: finding})
	if err != nil {
		return err
	}
	return execute(w.nameFinding, tenant, finding, string(bare), received, principal)
}

// fact is a row of known_artifact or known_component.
type fact struct{ id, assurance, seen int64 }

// replaces says whether f stands instead of an older fact: measured before asserted, then the newest.
func (f fact) replaces(old fact) bool {
	if f.assurance != old.assurance {
		return f.assurance < old.assurance
	}
	return f.seen >= old.seen
}

// learntKey is what a fact is about: an artifact's module, or the component of a package in it.
type learntKey struct {
	module     moduleKey
	part       string
	isArtifact bool
}

type knownKey struct {
	tenant, module, part int64
	isArtifact           bool
}

func keyOfPart(f *witness.Frame, image string, isArtifact bool) learntKey {
	key := learntKey{module: keyOf(f.Module, image), isArtifact: isArtifact}
	switch {
	case f.Module == (witness.Module{}):
		key.part = f.Symbol
	case !isArtifact:
		key.part = f.Package
	}
	return key
}

func note(learnt map[learntKey]fact, key learntKey, said fact) {
	if said.id == 0 {
		return
	}
	if old, ok := learnt[key]; !ok || said.replaces(old) {
		learnt[key] = said
	}
}

// learn stores what stands of the facts of a batch.
func (w *writer) learn(tenant int64, learnt map[learntKey]fact) error {
	for about, said := range learnt {
		module, err := w.module(about.module.module, about.module.image)
		if err != nil {
			return err
		}
		part, err := w.text(about.part)
		if err != nil {
			return err
		}
		find, put := w.findComponentOf, w.putComponentOf
		if about.isArtifact {
			find, put = w.findArtifactOf, w.putArtifactOf
		}
		key := knownKey{tenant, module.key, part, about.isArtifact}
		old, ok := w.known.get(key)
		if !ok {
			err := find.QueryRowContext(context.Background(), tenant, module.key, part).Scan(&old.id, &old.assurance, &old.seen)
			if ok = err == nil; !ok && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		if ok && (said == old || !said.replaces(old)) {
			w.known.put(key, old)
			continue
		}
		if err := execute(put, tenant, module.key, part, said.id, said.assurance, said.seen); err != nil {
			return err
		}
		if !ok || said.id != old.id {
			w.changes.known(tenant, module.key, part, about.isArtifact)
		}
		w.known.put(key, said)
	}
	return nil
}
