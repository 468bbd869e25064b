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

// hourLength is that of the hours of the tables active and cell.
const hourLength = int64(time.Hour)

// WriteObservations implements storage.Writer.
func (s *Storage) WriteObservations(ctx context.Context, batch storage.Batch) (storage.Written, error) {
	if err := s.enter(); err != nil {
		return storage.Written{}, err
	}
	defer s.leave()
	refused := refuse(s.now(), batch.Observations)
	if len(refused) == len(batch.Observations) && batch.Receipt == nil {
		s.count(storage.Written{Refused: refused})
		return storage.Written{Refused: refused}, nil
	}
	var written storage.Written
	var conflict error
	var lost []change
	err := s.writer.submitThen(ctx, len(batch.Observations), func() (err error) {
		written, lost, err = s.writer.observations(batch, refused)
		if errors.Is(err, storage.ErrConflict) { // nothing was written that would have to be undone
			conflict, err = err, nil
		}
		return err
	}, func() { s.coverage.apply(lost) })
	if err = cmp.Or(err, conflict); err != nil {
		return storage.Written{}, fmt.Errorf("write observations: %w", err)
	}
	s.count(written)
	return written, nil
}

func (s *Storage) count(written storage.Written) {
	s.stored.Add(uint64(written.Stored))         //nolint:gosec // a count
	s.duplicates.Add(uint64(written.Duplicates)) //nolint:gosec // a count
	for _, refusal := range written.Refused {
		switch refusal.Reason {
		case storage.BehindHorizon:
			s.behind.Add(1)
		case lastSeenAhead, windowAhead:
			s.ahead.Add(1)
		default:
			s.malformed.Add(1)
		}
	}
}

// The reasons of what is refused because its time is ahead.
const (
	lastSeenAhead = semconv.WitnessLastSeen + ": is in the future"
	windowAhead   = semconv.WitnessWindowStart + ": is in the future"
)

// refuse finds what cannot be stored at a time.
func refuse(now time.Time, observations []witness.Observation) (refused []storage.Refusal) {
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
			reason = lastSeenAhead
		case o.WindowStart.After(limit):
			reason = windowAhead
		default:
			continue
		}
		refused = append(refused, storage.Refusal{Index: i, Reason: reason})
	}
	return refused
}

// observations is the part of WriteObservations within the transaction, and what coverage changes by it. refused are
// those that were refused before.
func (w *writer) observations(batch storage.Batch, refused []storage.Refusal) (storage.Written, []change, error) {
	received := w.number
	tenant, principal, err := w.principal(batch.Principal)
	if err != nil {
		return storage.Written{}, nil, err
	}
	if batch.Receipt != nil {
		then, known, err := w.receipt(tenant, principal, batch.Receipt, received)
		if err != nil {
			return storage.Written{}, nil, err
		}
		if known {
			written, err := w.again(batch.Observations, tenant, then)
			return written, nil, err
		}
	}
	var written storage.Written
	learnt := map[learntKey]fact{}
	behind := map[lossKey]loss{}
	deltas := make([]delta, 0, len(batch.Observations))
	for i := range batch.Observations {
		if len(refused) > 0 && refused[0].Index == i {
			written.Refused = append(written.Refused, refused[0])
			refused = refused[1:]
			continue
		}
		o := &batch.Observations[i]
		if o.WindowStart.UnixNano() < w.horizon {
			written.Refused = append(written.Refused, storage.Refusal{Index: i, Reason: storage.BehindHorizon})
			key := lossKey{o.Source, o.Instance.Host, o.WindowStart.UnixNano(), o.Assurance}
			behind[key] = behind[key].add(o)
			continue
		}
		c, stored, err := w.observation(o, tenant, principal, learnt)
		switch {
		case err != nil:
			return storage.Written{}, nil, err
		case stored:
			written.Stored++
			deltas = append(deltas, c)
		default:
			written.Duplicates++
		}
	}
	lost, err := w.lose(batch.Principal, tenant, principal, behind)
	if err != nil {
		return storage.Written{}, nil, err
	}
	if err := w.learn(tenant, learnt); err != nil {
		return storage.Written{}, nil, err
	}
	w.deltas = append(w.deltas, deltas...)
	return written, lost, nil
}

// lossKey is where hits were lost behind the horizon, and loss what was.
type (
	lossKey struct {
		source, host string
		start        int64
		assurance    witness.Assurance
	}
	loss struct {
		first, last time.Time
		hits        uint64
	}
)

func (l loss) add(o *witness.Observation) loss {
	return loss{earlier(l.first, o.FirstSeen), later(l.last, o.LastSeen), sum(l.hits, o.Hits)}
}

// lose records hits that came too late, by the time in which they were seen: what is delivered again is the same loss.
func (w *writer) lose(principal storage.Principal, tenant, name int64, losses map[lossKey]loss) ([]change, error) {
	if len(losses) == 0 {
		return nil, nil
	}
	to := coverageWrite{writer: w, tenant: tenant, tenantName: principal.Tenant, principal: name}
	for key, lost := range losses {
		if err := to.record(&witness.Coverage{
			Source: key.source, Instance: witness.Instance{Host: key.host}, Assurance: key.assurance,
			Start: lost.first, End: lost.last, LossStage: storage.StageBehindHorizon, Lost: lost.hits,
		}); err != nil {
			return nil, err
		}
	}
	return to.changes, nil
}

func (w *writer) principal(p storage.Principal) (tenant, name int64, err error) {
	if tenant, err = w.text(p.Tenant); err != nil {
		return 0, 0, err
	}
	name, err = w.text(p.Name)
	return tenant, name, err
}

// receipt keeps a receipt. It reports whether it was known, and from when; ErrConflict if it was with another body.
func (w *writer) receipt(tenant, principal int64, receipt *storage.Receipt, received int64) (then time.Time, known bool, err error) {
	var body []byte
	var first int64
	err = w.findReceipt.QueryRowContext(context.Background(), tenant, principal, receipt.Key).Scan(&body, &first)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return time.Time{}, false, execute(w.addReceipt, tenant, principal, receipt.Key, receipt.Body[:], received)
	case err != nil:
		return time.Time{}, false, err
	case !bytes.Equal(body, receipt.Body[:]):
		return time.Time{}, false, storage.ErrConflict
	default:
		return timeOf(first), true, nil
	}
}

// again is the outcome of a batch whose receipt is known, from then: what was refused then is refused now. So is what is
// behind the horizon and not stored.
func (w *writer) again(observations []witness.Observation, tenant int64, then time.Time) (storage.Written, error) {
	kept, err := w.mark(markKept)
	if err != nil {
		return storage.Written{}, err
	}
	refused := refuse(then, observations)
	var written storage.Written
	for i := range observations {
		if len(refused) > 0 && refused[0].Index == i {
			written.Refused = append(written.Refused, refused[0])
			refused = refused[1:]
			continue
		}
		o := &observations[i]
		start := o.WindowStart.UnixNano()
		stored := start >= w.horizon || start < kept // what was deleted may have been stored
		if !stored {
			if err := w.isStored.QueryRowContext(context.Background(), tenant, o.ID[:], o.Source,
				start, floor(start, hourLength), floor(start, dayLength)).Scan(&stored); err != nil {
				return storage.Written{}, err
			}
		}
		if stored {
			written.Duplicates++
		} else {
			written.Refused = append(written.Refused, storage.Refusal{Index: i, Reason: storage.BehindHorizon})
		}
	}
	return written, nil
}

// observation stores one and reports whether it is new. What is measured is new where its key was only asserted, and
// stands instead: whoever knows the source of a collector could write under its keys first.
func (w *writer) observation(o *witness.Observation, tenant, principal int64, learnt map[learntKey]fact) (delta, bool, error) {
	row, created, err := w.witness(tenant, o.ID, &o.Witness)
	if err != nil {
		return delta{}, false, err
	}
	if created {
		w.derived.totals.load(row.id, totalRow{})
	}
	source, err := w.sourceOf(o.Source)
	if err != nil {
		return delta{}, false, err
	}
	instance, err := w.instance(o.Instance)
	if err != nil {
		return delta{}, false, err
	}
	artifact, err := w.artifact(&o.Artifact)
	if err != nil {
		return delta{}, false, err
	}
	component, err := w.component(o.Witness.Frame.Component)
	if err != nil {
		return delta{}, false, err
	}
	link, err := w.link(artifact, component)
	if err != nil {
		return delta{}, false, err
	}
	c := delta{
		start: o.WindowStart.UnixNano(), length: int64(o.WindowEnd.Sub(o.WindowStart)), witness: row, id: o.ID, instance: instance,
		assurance: assuranceCode(o.Assurance), origin: originCode(o.Origin), link: link, hitsError: number(o.HitsError),
		first: o.FirstSeen.UnixNano(), last: o.LastSeen.UnixNano(),
	}
	stored, err := w.store(&c, source, number(o.Flush), number(o.Hits), principal)
	if err != nil || !stored {
		return delta{}, false, err
	}
	if err := w.index(&c, source.id); err != nil {
		return delta{}, false, err
	}
	w.changes.count(tenant, row.subject)
	if created {
		w.changes.subject(tenant, row.subject)
	}
	for _, finding := range o.FindingIDs {
		if err := w.name(tenant, principal, finding, row.id, w.number); err != nil {
			return delta{}, false, err
		}
	}
	said := fact{assurance: c.assurance, seen: c.last}
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
			return delta{}, false, err
		}
		note(learnt, keyOfPart(caller, o.Witness.Workload.Image, false), said)
	}
	return c, true, nil
}

// store inserts the row of an observation, and fills in what it adds to its subject and witness.
func (w *writer) store(c *delta, source sourceRow, flush, hits, principal int64) (bool, error) {
	for {
		var done func()
		var err error
		if c.subjectHits, c.witnessHits, done, err = w.settle(c.start, c.witness, c.instance, c.assurance, source, hits); err != nil {
			return false, err
		}
		stored, err := added(w.addObservation, c.start, source.id, c.instance, c.witness.id, flush, c.length, hits, c.hitsError, c.subjectHits,
			c.witnessHits, c.first, c.last, w.number, c.assurance, c.origin, principal, c.link)
		if err != nil {
			return false, err
		}
		if stored {
			if done != nil {
				done()
			}
			return true, nil
		}
		if c.assurance != measured {
			return false, nil
		}
		var known int64
		if err := w.findObservation.QueryRowContext(context.Background(), c.start, source.id, c.instance, c.witness.id, flush).Scan(&known); err != nil || known == measured {
			return false, err
		}
		if err := w.withdraw(c.start, source, c.instance, c.witness, flush, known); err != nil {
			return false, err
		}
	}
}

type activeKey struct{ hour, instance, source int64 }

// index makes the rows of a window findable.
func (w *writer) index(c *delta, source int64) error {
	if _, ok := w.windows.get(c.start); !ok {
		if err := errors.Join(execute(w.addWindow, c.start), execute(w.addUnfolded, c.start, w.number)); err != nil {
			return err
		}
		w.windows.put(c.start, struct{}{})
	}
	key := activeKey{c.start / hourLength, c.instance, source}
	if _, ok := w.active.get(key); !ok {
		if err := execute(w.addActive, key.hour, key.instance, key.source); err != nil {
			return err
		}
		w.active.put(key, struct{}{})
	}
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

// replaces says whether f stands instead of an older fact: measured before asserted, then the newest. That a measured
// observation knows nothing (id 0) is a fact too: what is only asserted could else take the finding away from it.
func (f fact) replaces(old fact) bool {
	switch {
	case f.assurance != old.assurance:
		return f.assurance < old.assurance
	case f.id == 0 || old.id == 0:
		return f.id != 0
	default:
		return f.seen >= old.seen
	}
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
	if said.id == 0 && said.assurance != measured {
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
		if said.id != old.id { // 0 is also what is not there
			w.changes.known(tenant, module.key, part, about.isArtifact)
		}
		w.known.put(key, said)
	}
	return nil
}
