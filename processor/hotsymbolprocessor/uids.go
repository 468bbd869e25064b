package hotsymbolprocessor

import (
	"encoding/binary"
	"errors"
	"strings"
)

// uid is the identity of an event: its log.record.uid at its origin.
type uid struct{ label, uid string }

// uids remembers the events of the last batches, to know them again when a receiver sends a batch once more. It holds
// whole batches: as many as have max events together, and always the last one.
type uids struct {
	max     int
	known   map[uid]struct{}
	batches []uidBatch // oldest first
	next    uint64     // number of the next batch
	total   int
	batch   []uid // in hand
}

type uidBatch struct {
	number uint64 // in the journal
	uids   []uid
}

func newUIDs(limit int) *uids { return &uids{max: limit, known: map[uid]struct{}{}} }

// add adds an event to the batch in hand; false when it is known.
func (u *uids) add(label, id string) bool {
	if _, ok := u.known[uid{label, id}]; ok {
		return false
	}
	key := uid{label, strings.Clone(id)}
	u.known[key] = struct{}{}
	u.batch = append(u.batch, key)
	return true
}

// expired are how many of the oldest batches are forgotten when the batch in hand is committed.
func (u *uids) expired() int {
	total, n := u.total+len(u.batch), 0
	for total > u.max && n < len(u.batches) {
		total -= len(u.batches[n].uids)
		n++
	}
	return n
}

func (u *uids) commit() {
	if len(u.batch) == 0 {
		return
	}
	n := u.expired()
	for _, batch := range u.batches[:n] {
		for _, id := range batch.uids {
			delete(u.known, id)
		}
		u.total -= len(batch.uids)
	}
	clear(u.batches[:n])
	u.batches = u.batches[n:]
	u.batches = append(u.batches, uidBatch{u.next, u.batch})
	u.next++
	u.total += len(u.batch)
	u.batch = nil
}

func (u *uids) rollback() {
	for _, id := range u.batch {
		delete(u.known, id)
	}
	u.batch = u.batch[:0]
}

// restore adds a batch that was kept in the journal.
func (u *uids) restore(number uint64, batch []uid) {
	kept := batch[:0]
	for _, id := range batch {
		if _, ok := u.known[id]; !ok {
			u.known[id] = struct{}{}
			kept = append(kept, id)
		}
	}
	u.batches = append(u.batches, uidBatch{number, kept})
	u.total += len(kept)
}

// encodeUIDs writes a batch: runs of events of one origin, each a label, a count and the uids.
func encodeUIDs(batch []uid) []byte {
	var out []byte
	for len(batch) > 0 {
		run := 1
		for run < len(batch) && batch[run].label == batch[0].label {
			run++
		}
		out = appendText(out, batch[0].label)
		out = binary.AppendUvarint(out, uint64(run)) //nolint:gosec // not negative
		for _, id := range batch[:run] {
			out = appendText(out, id.uid)
		}
		batch = batch[run:]
	}
	return out
}

var errUIDs = errors.New("a list of event ids is damaged")

// decodeUIDs reads what encodeUIDs writes.
func decodeUIDs(in []byte) ([]uid, error) {
	var batch []uid
	for len(in) > 0 {
		label, rest, ok := cutText(in)
		if !ok {
			return nil, errUIDs
		}
		run, n := binary.Uvarint(rest)
		if n <= 0 || run > uint64(len(rest)) {
			return nil, errUIDs
		}
		in = rest[n:]
		for range run {
			var id string
			if id, in, ok = cutText(in); !ok {
				return nil, errUIDs
			}
			batch = append(batch, uid{label, id})
		}
	}
	return batch, nil
}

func appendText(out []byte, text string) []byte {
	out = binary.AppendUvarint(out, uint64(len(text)))
	return append(out, text...)
}

func cutText(in []byte) (text string, rest []byte, ok bool) {
	length, n := binary.Uvarint(in)
	if n <= 0 || length > uint64(len(in)-n) { //nolint:gosec // n is at most the length
		return "", nil, false
	}
	in = in[n:]
	return string(in[:length]), in[length:], true
}
