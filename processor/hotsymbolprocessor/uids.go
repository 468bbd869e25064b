package hotsymbolprocessor

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"
)

// uid is the identity of an event: its log.record.uid at its origin.
type uid struct{ label, uid string }

// uidKey is 128 bits of a hash of a uid, with keys of this process: two are not the same by chance, nor can a sender
// make them so.
type uidKey [2]uint64

// uids remembers the events of the last batches, to know them again when a receiver sends a batch once more. It holds
// whole batches: as many as have max events together, and always the last one.
type uids struct {
	max     int
	seeds   [2]maphash.Seed
	label   string // of the event before, and its part of the key
	labelOf uidKey
	known   map[uidKey]struct{}
	batches []uidBatch // oldest first
	next    uint64     // number of the next batch
	total   int
	batch   []uid    // in hand; texts of the events
	keys    []uidKey // of batch
}

type uidBatch struct {
	number uint64 // in the journal
	keys   []uidKey
}

func newUIDs(limit int) *uids {
	return &uids{max: limit, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, known: map[uidKey]struct{}{}}
}

func (u *uids) key(label, id string) uidKey {
	if label != u.label || u.labelOf == (uidKey{}) {
		u.label = label
		u.labelOf = uidKey{maphash.String(u.seeds[0], label), maphash.String(u.seeds[1], label)}
	}
	return uidKey{mix(u.labelOf[0] ^ maphash.String(u.seeds[0], id)), mix(u.labelOf[1] + maphash.String(u.seeds[1], id))}
}

// add adds an event to the batch in hand, which shares its text; false when it is known.
func (u *uids) add(label, id string) bool {
	key := u.key(label, id)
	if _, ok := u.known[key]; ok {
		return false
	}
	u.known[key] = struct{}{}
	u.batch = append(u.batch, uid{label, id})
	u.keys = append(u.keys, key)
	return true
}

// expired are how many of the oldest batches are forgotten when the batch in hand is committed.
func (u *uids) expired() int {
	total, n := u.total+len(u.keys), 0
	for total > u.max && n < len(u.batches) {
		total -= len(u.batches[n].keys)
		n++
	}
	return n
}

func (u *uids) commit() {
	if len(u.keys) == 0 {
		return
	}
	n := u.expired()
	for _, batch := range u.batches[:n] {
		for _, key := range batch.keys {
			delete(u.known, key)
		}
		u.total -= len(batch.keys)
	}
	clear(u.batches[:n])
	u.batches = append(u.batches[n:], uidBatch{u.next, slices.Clone(u.keys)})
	u.next++
	u.total += len(u.keys)
	u.forget()
}

func (u *uids) rollback() {
	for _, key := range u.keys {
		delete(u.known, key)
	}
	u.forget()
}

// forget empties the batch in hand.
func (u *uids) forget() {
	clear(u.batch)
	u.batch, u.keys = u.batch[:0], u.keys[:0]
}

// restore adds a batch that was kept in the journal.
func (u *uids) restore(number uint64, batch []uid) {
	var keys []uidKey
	for _, id := range batch {
		key := u.key(id.label, id.uid)
		if _, ok := u.known[key]; !ok {
			u.known[key] = struct{}{}
			keys = append(keys, key)
		}
	}
	u.batches = append(u.batches, uidBatch{number, keys})
	u.total += len(keys)
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
