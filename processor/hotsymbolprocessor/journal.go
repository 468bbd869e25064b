package hotsymbolprocessor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Keys of the checkpoint. A storage client cannot list its keys, so state says which numbers are in use.
const (
	keyState   = "hot_symbol.state"
	keyClocks  = "hot_symbol.clocks"
	prefixHits = "hot_symbol.journal."
	prefixUIDs = "hot_symbol.uids."
	prefixSend = "hot_symbol.batch."
)

func keyNumber(prefix string, number uint64) string { return prefix + strconv.FormatUint(number, 10) }

// stateVersion is the version of everything in the checkpoint.
const stateVersion = 2

// state is the root of the checkpoint. Each pair is the first number that may be in use and the first that is not yet.
type state struct {
	Version int       `json:"v"`
	Journal [2]uint64 `json:"journal"`
	UIDs    [2]uint64 `json:"uids"`
	Batches [2]uint64 `json:"batches"`
	// Flush is the next flush number. It only grows.
	Flush uint64 `json:"flush"`
}

var errDamaged = errors.New("an entry of the checkpoint is damaged")

func decodeState(in []byte) (state, error) {
	var s state
	if err := json.Unmarshal(in, &s); err != nil || s.Version != stateVersion {
		return state{}, errDamaged
	}
	for _, pair := range [][2]uint64{s.Journal, s.UIDs, s.Batches} {
		if pair[0] > pair[1] {
			return state{}, errDamaged
		}
	}
	return s, nil
}

// clock is the newest event of an origin.
type clock struct {
	Sender sender `json:"sender"`
	Event  string `json:"event"`
	Newest int64  `json:"newest"`
}

// journalEntry is what one batch added to one bucket, or to the losses.
type journalEntry struct {
	Bucket uint64 `json:"bucket"`
	Clock  clock  `json:"clock"`
	Source string `json:"source"` // of the observations
	Start  int64  `json:"start"`
	Window int64  `json:"window"`
	// Packed is how many bytes counts take behind the JSON.
	Packed int         `json:"packed,omitempty"`
	Losses []lossEntry `json:"losses,omitempty"`
	// counts are of entries that were described before, described are entries with their hits; the flush number of each
	// is its index.
	counts    []count
	described []witness.Observation
}

type lossEntry struct {
	Sender sender `json:"sender"`
	Source string `json:"source"`
	Stage  string `json:"stage"`
	Host   string `json:"host"`
	Hits   uint64 `json:"hits"`
	Start  int64  `json:"start"`
	End    int64  `json:"end"`
}

// count is what is added to the entry with an index.
type count struct {
	index           int
	hits, hitsError uint64
	first, last     int64
}

// encodeBucket writes what the batch in hand adds to b; with all, everything there is in b as well.
func encodeBucket(b *bucket, now time.Time, all bool) ([]byte, error) {
	entry := journalEntry{
		Bucket: b.number, Clock: clock{b.origin.sender, b.origin.source, b.origin.next},
		Source: b.origin.name, Start: b.start, Window: b.window,
	}
	if all {
		for _, e := range b.entries {
			if e.hits+b.inHand(e).hits > 0 {
				entry.described = append(entry.described, b.describe(e, true))
			}
		}
		return entry.encode(now)
	}
	entry.counts = make([]count, 0, len(b.touched))
	for i := range b.touched {
		d := &b.touched[i]
		if !d.entry.journaled {
			entry.described = append(entry.described, b.describe(d.entry, false))
			continue
		}
		entry.counts = append(entry.counts, count{int(d.entry.index), d.hits, d.hitsError, d.first, d.last})
	}
	return entry.encode(now)
}

// describe spells an entry out with its hits of the batch in hand; with all, those before as well.
func (b *bucket) describe(e *entry, all bool) witness.Observation {
	d := b.inHand(e)
	hits, hitsError, first, last := d.hits, d.hitsError, d.first, d.last
	if all && e.hits > 0 {
		if hits == 0 {
			first, last = e.first, e.last
		}
		hits, hitsError, first, last = hits+e.hits, hitsError+e.hitsError, min(first, e.first), max(last, e.last)
	}
	o := b.observation(e, hits, hitsError, first, last)
	o.Flush = uint64(e.index) //nolint:gosec // not negative
	return o
}

// encode writes the length of the JSON, the JSON, the counts, and the described entries as OTLP.
func (entry *journalEntry) encode(now time.Time) ([]byte, error) {
	counts := appendCounts(nil, entry.Start, entry.counts)
	entry.Packed = len(counts)
	head, err := json.Marshal(entry)
	if err != nil {
		return nil, err
	}
	out := binary.AppendUvarint(make([]byte, 0, len(head)+len(counts)+8), uint64(len(head)))
	out = append(append(out, head...), counts...)
	if len(entry.described) == 0 {
		return out, nil
	}
	body, err := encodeObservations(entry.described, now)
	return append(out, body...), err
}

// appendCounts writes five numbers for each count, times as from the start of the window.
func appendCounts(out []byte, start int64, counts []count) []byte {
	out = slices.Grow(out, len(counts)*20)
	for _, c := range counts {
		out = binary.AppendUvarint(out, uint64(c.index)) //nolint:gosec // not negative
		out = binary.AppendUvarint(out, c.hits)
		out = binary.AppendUvarint(out, c.hitsError)
		out = binary.AppendVarint(out, c.first-start)
		out = binary.AppendVarint(out, c.last-start)
	}
	return out
}

// cutCounts reads what appendCounts writes.
func cutCounts(in []byte, start int64) ([]count, error) {
	var counts []count
	for len(in) > 0 {
		var c count
		var index uint64
		for _, into := range []*uint64{&index, &c.hits, &c.hitsError} {
			value, n := binary.Uvarint(in)
			if n <= 0 || value > math.MaxInt64 {
				return nil, errDamaged
			}
			*into, in = value, in[n:]
		}
		for _, into := range []*int64{&c.first, &c.last} {
			value, n := binary.Varint(in)
			if n <= 0 || value > 0 && start > math.MaxInt64-value || start+value < 0 {
				return nil, errDamaged
			}
			*into, in = start+value, in[n:]
		}
		if c.hits == 0 || index > math.MaxInt32 {
			return nil, errDamaged
		}
		c.index = int(index)
		counts = append(counts, c)
	}
	return counts, nil
}

// decodeJournal reads what encode writes.
func decodeJournal(in []byte) (journalEntry, error) {
	var entry journalEntry
	body, err := cutHead(in, &entry)
	if err != nil {
		return entry, err
	}
	if entry.Packed < 0 || entry.Packed > len(body) || entry.Start < 0 || entry.Window < 0 || entry.Start > math.MaxInt64-entry.Window {
		return entry, errDamaged
	}
	if entry.counts, err = cutCounts(body[:entry.Packed], entry.Start); err != nil {
		return entry, err
	}
	entry.described, err = decodeObservations(body[entry.Packed:])
	return entry, err
}

// batch is observations or losses of one sender on their way to the next component.
type batch struct {
	Sender  sender `json:"sender"`
	Records int    `json:"records"`
	number  uint64
	body    []byte // OTLP
}

func (b *batch) encode() ([]byte, error) {
	head, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	out := binary.AppendUvarint(make([]byte, 0, len(head)+len(b.body)+8), uint64(len(head)))
	return append(append(out, head...), b.body...), nil
}

func decodeBatch(number uint64, in []byte) (*batch, error) {
	b := &batch{number: number}
	body, err := cutHead(in, b)
	if err != nil {
		return nil, err
	}
	logs, err := decodeLogs(body)
	if err != nil {
		return nil, errDamaged
	}
	b.Records = logs.LogRecordCount()
	b.body = body
	return b, nil
}

func cutHead(in []byte, into any) (body []byte, err error) {
	length, n := binary.Uvarint(in)
	if n <= 0 || length > uint64(len(in)-n) { //nolint:gosec // n is at most the length
		return nil, errDamaged
	}
	in = in[n:]
	if err := json.Unmarshal(in[:length], into); err != nil {
		return nil, errDamaged
	}
	return in[length:], nil
}

func encodeObservations(observations []witness.Observation, now time.Time) ([]byte, error) {
	logs := plog.NewLogs()
	witness.AppendObservations(logs, metadata.ScopeName, "", now, observations)
	return encodeLogs(logs)
}

func decodeObservations(in []byte) ([]witness.Observation, error) {
	if len(in) == 0 {
		return nil, nil
	}
	logs, err := decodeLogs(in)
	if err != nil {
		return nil, errDamaged
	}
	var out []witness.Observation
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		for j := range resource.ScopeLogs().Len() {
			records := resource.ScopeLogs().At(j).LogRecords()
			for k := range records.Len() {
				o, err := witness.ObservationOf(resource.Resource().Attributes(), records.At(k))
				if err != nil {
					return out, errDamaged
				}
				out = append(out, o)
			}
		}
	}
	return out, nil
}

func encodeLogs(logs plog.Logs) ([]byte, error) {
	var marshaler plog.ProtoMarshaler
	return marshaler.MarshalLogs(logs)
}

func decodeLogs(in []byte) (plog.Logs, error) {
	var unmarshaler plog.ProtoUnmarshaler
	return unmarshaler.UnmarshalLogs(in)
}
