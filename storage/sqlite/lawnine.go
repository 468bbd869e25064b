package sqlite

import (
	"context"
	"database/sql"
	"strings"
)

// Law 9: within a window start, an instance and an assurance, of the receivers that count the same the larger count
// stands, and what is posted is added. It is settled when a row is written: the row keeps what the sum of its group grows
// by, so that sums of rows are exact and nobody who reads needs to know.
//
// Windows are compared by their start only. Receivers of one instance that use windows of different length are compared
// where the longer one starts and are added elsewhere.
//
// Where the host of an instance is not known, nobody can say that two installations are on one: only receivers of the same
// installation are compared.
//
// Of a stage sourcesLimit sources are compared. What further ones say is added, and counted (Stats.Uncompared).

// counts are the hits of one group by receiver.
type counts []struct{ receiver, hits int64 }

// stands is what the group adds up to.
func (c counts) stands() int64 {
	var most int64
	for i := range c {
		most = max(most, c[i].hits)
	}
	return most
}

// with is c with further hits, in place.
func (c counts) with(receiver, hits int64) counts {
	for i := range c {
		if c[i].receiver == receiver {
			c[i].hits = plus(c[i].hits, hits)
			return c
		}
	}
	return append(c, struct{ receiver, hits int64 }{receiver, hits})
}

// bookLimit is how many rows the books in memory are made of, at most, besides the one in use. Full ones are made again.
const bookLimit = 1 << 18

const (
	// sourcesLimit is how many sources of a stage are compared. Whoever only asserts can invent them: where there are
	// assertedLimit, further ones are heard only of what is measured.
	sourcesLimit  = 2 * assertedLimit
	assertedLimit = 1024
	// speakersLimit is how many sources are held in memory, besides those of the stage in use.
	speakersLimit = 1 << 18
)

// stage is where receivers are compared: an instance, and if its host is not known what an installation says of it.
type stage struct {
	instance     int64
	installation string
}

// stageOf is the stage of a source.
func (w *writer) stageOf(instance int64, source sourceRow) (stage, error) {
	names, err := w.namesOf(nameKey{instance, false})
	if names[hosts] != 0 || err != nil {
		return stage{instance: instance}, err
	}
	return stage{instance, source.installation}, nil
}

// installationOf is the installation of a source.
func installationOf(source string) string {
	installation, _, _ := strings.Cut(source, "/")
	return installation
}

// bookKey is what a book is about.
type bookKey struct {
	start int64
	stage
}

// book has the groups of a stage that several receivers speak of, in the windows of one start.
type book struct {
	subjects  map[placeKey]counts // the instance is that of the book
	witnesses map[witnessGroup]counts
}

type witnessGroup struct{ witness, assurance int64 }

// speaker is what is known of a stage: the sources of it that are compared, and how many receivers are among them.
type speaker struct {
	sources   map[int64]int64 // to the receiver
	receivers int
}

// full says that no further source is compared.
func (s *speaker) full(assurance int64) bool {
	if assurance == measured {
		return len(s.sources) >= sourcesLimit
	}
	return len(s.sources) >= assertedLimit
}

func (s *speaker) hear(source, receiver int64) {
	known := false
	for _, other := range s.sources {
		known = known || other == receiver
	}
	if !known {
		s.receivers++
	}
	s.sources[source] = receiver
}

// speakerOf returns what is known of a stage.
func (w *writer) speakerOf(on stage) (*speaker, error) {
	if known, ok := w.heard.get(on); ok {
		return known, nil
	}
	if w.speakers > speakersLimit {
		w.heard.clear()
		w.heard.emptied.Add(1)
		w.speakers = 0
	}
	known := &speaker{sources: map[int64]int64{}}
	find, args := w.findHeard, []any{on.instance}
	if on.installation != "" { // '0' comes after '/'
		find, args = w.findHeardOf, []any{on.instance, on.installation, on.installation + "/", on.installation + "0"}
	}
	err := each(find, args, func(rows *sql.Rows) error {
		var source, receiver int64
		err := rows.Scan(&source, &receiver)
		known.hear(source, receiver)
		return err
	})
	if err == nil {
		w.heard.put(on, known)
		w.speakers += len(known.sources)
	}
	return known, err
}

// settle returns what a new row adds to its subject and to its witness. done must be called once the row is stored.
func (w *writer) settle(start int64, row witnessRow, instance, assurance int64, source sourceRow, hits int64) (subjectHits, witnessHits int64, done func(), err error) {
	if source.receiver == 0 {
		return hits, hits, nil, nil
	}
	on, err := w.stageOf(instance, source)
	if err != nil {
		return 0, 0, nil, err
	}
	known, err := w.speakerOf(on)
	if err != nil {
		return 0, 0, nil, err
	}
	if _, ok := known.sources[source.id]; !ok {
		if known.full(assurance) {
			return hits, hits, func() { w.uncompared.Add(1) }, nil
		}
		if err := execute(w.addHeard, instance, source.id); err != nil {
			return 0, 0, nil, err
		}
		known.hear(source.id, source.receiver)
		w.speakers++
	}
	if known.receivers < 2 {
		return hits, hits, nil, nil
	}
	b, err := w.book(start, on, known)
	if err != nil {
		return 0, 0, nil, err
	}
	subject, group := placeKey{row.subject, row.workload, instance, assurance}, witnessGroup{row.id, assurance}
	grows := func(c counts) int64 {
		sum := hits
		for i := range c {
			if c[i].receiver == source.receiver {
				sum = plus(sum, c[i].hits)
			}
		}
		return max(0, sum-c.stands())
	}
	return grows(b.subjects[subject]), grows(b.witnesses[group]), func() {
		b.subjects[subject] = b.subjects[subject].with(source.receiver, hits)
		b.witnesses[group] = b.witnesses[group].with(source.receiver, hits)
		w.booked++
	}, nil
}

// fewSources are looked for in a window without asking which of them spoke in its hour.
const fewSources = 32

// speaking are the sources of a stage, and their receivers, that can have rows in the windows of a start.
func (w *writer) speaking(start, instance int64, known *speaker) (map[int64]int64, error) {
	if len(known.sources) <= fewSources {
		return known.sources, nil
	}
	speaking := map[int64]int64{}
	err := each(w.findActive, []any{start / hourLength, instance}, func(rows *sql.Rows) error {
		var source int64
		err := rows.Scan(&source)
		if receiver, ok := known.sources[source]; ok {
			speaking[source] = receiver
		}
		return err
	})
	return speaking, err
}

// book returns the groups of a stage and start, from the rows if they are not in memory.
func (w *writer) book(start int64, on stage, known *speaker) (*book, error) {
	key, instance := bookKey{start, on}, on.instance
	if b, ok := w.books[key]; ok {
		return b, nil
	}
	if w.booked > bookLimit {
		clear(w.books)
		w.booked = 0
	}
	b := &book{map[placeKey]counts{}, map[witnessGroup]counts{}}
	speaking, err := w.speaking(start, instance, known)
	if err != nil {
		return nil, err
	}
	for source, receiver := range speaking {
		err := each(w.findWindowRows, []any{start, source, instance}, func(rows *sql.Rows) error {
			var row witnessRow
			var assurance, hits int64
			err := rows.Scan(&row.id, &row.subject, &row.workload, &assurance, &hits)
			subject, group := placeKey{row.subject, row.workload, instance, assurance}, witnessGroup{row.id, assurance}
			b.subjects[subject] = b.subjects[subject].with(receiver, hits)
			b.witnesses[group] = b.witnesses[group].with(receiver, hits)
			w.booked++
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	w.books[key] = b
	return b, nil
}

// withdraw deletes a row that another one replaces under its key, and settles its groups again. What was derived from
// them is stale.
func (w *writer) withdraw(start int64, source sourceRow, instance int64, row witnessRow, flush, assurance int64) error {
	if err := execute(w.deleteObservation, start, source.id, instance, row.id, flush); err != nil {
		return err
	}
	w.stale = append(w.stale, stale{place: placeKey{row.subject, row.workload, instance, assurance}, witness: row, hour: start / hourLength})
	if source.receiver == 0 {
		return nil
	}
	on, err := w.stageOf(instance, source)
	if err != nil {
		return err
	}
	known, err := w.speakerOf(on)
	if err != nil || known.receivers < 2 {
		return err
	}
	if _, ok := known.sources[source.id]; !ok {
		return nil // it was compared with nobody
	}
	delete(w.books, bookKey{start, on})
	var rest []groupRow
	speaking, err := w.speaking(start, instance, known)
	if err != nil {
		return err
	}
	for other, receiver := range speaking {
		err := each(w.findGroupRows, []any{start, other, instance, assurance, row.subject, row.workload}, func(rows *sql.Rows) error {
			r := groupRow{source: other, receiver: receiver}
			err := rows.Scan(&r.witness, &r.flush, &r.hits, &r.subjectHits, &r.witnessHits)
			rest = append(rest, r)
			return err
		})
		if err != nil {
			return err
		}
	}
	var ofSubject, ofWitness counts
	for i := range rest {
		r := &rest[i]
		before := ofSubject.stands()
		ofSubject = ofSubject.with(r.receiver, r.hits)
		subjectHits, witnessHits := ofSubject.stands()-before, r.witnessHits
		if r.witness == row.id {
			before = ofWitness.stands()
			ofWitness = ofWitness.with(r.receiver, r.hits)
			witnessHits = ofWitness.stands() - before
		}
		if subjectHits == r.subjectHits && witnessHits == r.witnessHits {
			continue
		}
		if err := execute(w.settleAgain, subjectHits, witnessHits, start, r.source, instance, r.witness, r.flush); err != nil {
			return err
		}
	}
	return nil
}

// groupRow is a row of obs in a group.
type groupRow struct {
	source, receiver, witness, flush int64
	hits, subjectHits, witnessHits   int64
}

// each calls row for every row of a prepared query.
func each(statement *sql.Stmt, args []any, row func(*sql.Rows) error) error {
	rows, err := statement.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
