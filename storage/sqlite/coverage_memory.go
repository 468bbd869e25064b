package sqlite

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	// memorySpan is how far back coverage is held in memory at least: the week that the score's coverage is about, and a day.
	memorySpan = 8 * 24 * time.Hour
	// memoryLimit is how many rows of coverage are held in memory. When there are more, the older ones are dropped; when
	// there are as many in memorySpan, coverage is read from the file, until memoryAgain would do.
	memoryLimit = 1 << 17
	memoryAgain = memoryLimit / 4 * 3
)

// track is the rows of a topic, by start, end and state.
type track struct {
	tenant string
	form   int64
	common witness.Coverage // what its rows have in common
	// order sorts tracks; lineage is the same for a hook over the restarts of its source.
	order, lineage string
	runs           []run
}

// newTrack makes the track of a topic, of which c is a record.
func newTrack(tenant string, c *witness.Coverage) *track {
	t := &track{tenant: tenant, form: formOf(c), common: *c}
	t.common.Start, t.common.End, t.common.Interval = time.Time{}, time.Time{}, 0
	t.common.ProcessesWatched, t.common.ProcessesSeen, t.common.LeastWatched, t.common.LeastSeen = 0, 0, 0, 0
	t.common.Lost, t.common.StatusState, t.common.StatusReason = 0, "", ""
	a := &c.About
	rest := strings.Join([]string{
		c.Signal, c.LossStage, c.StatusTarget, c.Instance.Host, c.Instance.Pod, c.Instance.Container, c.Workload.Namespace,
		c.Workload.Controller, c.Workload.Container, c.Workload.Image, a.Module.BuildID, a.Module.SHA256, a.Module.Path,
		a.Language, a.Package, a.Member, a.Symbol, string(c.Assurance), strconv.FormatInt(kindBits(c.Kinds), 10), strconv.FormatInt(t.form, 10),
	}, "\x00")
	t.order, t.lineage = c.Source+"\x00"+rest, storage.Receiver(c.Source)+"\x00"+rest
	return t
}

func compareRuns(a, b run) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.state, b.state))
}

// put adds a row, or replaces the one with its key.
func (t *track) put(r run) (added bool) {
	at, found := slices.BinarySearchFunc(t.runs, r, compareRuns)
	if found {
		t.runs[at] = r
		return false
	}
	t.runs = slices.Insert(t.runs, at, r)
	return true
}

// drop removes the row with the key of r.
func (t *track) drop(r run) (dropped bool) {
	at, found := slices.BinarySearchFunc(t.runs, r, compareRuns)
	if found {
		t.runs = slices.Delete(t.runs, at, at+1)
	}
	return found
}

// change is what a write does to the rows of a topic.
type change struct {
	topic   int64
	track   *track // of a topic that may be new; nil if nothing is put
	dropped []run
	put     []run
}

// memory holds the newest coverage of all tenants, as it is committed.
type memory struct {
	mutex sync.RWMutex
	// tracks by row of coverage_topic; nil when there is too much of them.
	tracks map[int64]*track
	rows   int
	// from: of all rows that end before it only the last states are here.
	from int64
	// meanwhile is what was committed since reading the file began, while that goes on; nil otherwise.
	meanwhile *meanwhile
}

// meanwhile are changes, and how many rows they are about.
type meanwhile struct {
	changes []change
	rows    int
}

// reading begins to note what is committed while the file is read, which must begin after that.
func (m *memory) reading() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.meanwhile = &meanwhile{}
}

// read takes in what was read from the file, unless too much was committed meanwhile. What was committed before it was read
// is taken in once more, which changes nothing: the last change of a row decides.
func (m *memory) read(tracks map[int64]*track, from int64) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	while := m.meanwhile
	if m.meanwhile = nil; while == nil {
		return
	}
	m.tracks, m.from, m.rows = tracks, from, 0
	for _, t := range tracks {
		m.rows += len(t.runs)
	}
	if m.bound(); m.tracks != nil {
		m.change(while.changes)
	}
}

// held is how many rows are in memory, and whether those of memorySpan are.
func (m *memory) held() (rows int, is bool) {
	m.mutex.RLock()
	defer m.mutex.RUnlock()
	return m.rows, m.tracks != nil
}

// apply takes in what was committed. Calls are in the order of the commits.
func (m *memory) apply(changes []change) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if while := m.meanwhile; while != nil {
		for i := range changes {
			while.rows += len(changes[i].dropped) + len(changes[i].put)
		}
		if while.changes = append(while.changes, changes...); while.rows > memoryLimit {
			m.meanwhile = nil
		}
	}
	if m.tracks != nil {
		m.change(changes)
	}
}

func (m *memory) change(changes []change) {
	for i := range changes {
		c := &changes[i]
		t, ok := m.tracks[c.topic]
		if !ok {
			if t = c.track; t == nil {
				continue
			}
			m.tracks[c.topic] = t
		}
		for _, r := range c.dropped {
			if t.drop(r) {
				m.rows--
			}
		}
		for _, r := range c.put {
			if t.put(r) {
				m.rows++
			}
		}
	}
	m.bound()
}

// bound keeps within memoryLimit.
func (m *memory) bound() {
	if m.rows <= memoryLimit {
		return
	}
	newest := m.from
	for _, t := range m.tracks {
		for i := range t.runs {
			newest = max(newest, t.runs[i].end)
		}
	}
	m.forget(newest - int64(memorySpan))
	if m.rows > memoryLimit {
		m.tracks, m.rows = nil, 0
	}
}

// forget drops the rows that end before a time, but for the last state of each hook.
func (m *memory) forget(before int64) {
	m.from, m.rows = max(m.from, before), 0
	for id, t := range m.tracks {
		kept := t.runs[:0]
		for i := range t.runs {
			holds := t.form == formState && (i == len(t.runs)-1 || t.runs[i+1].start >= before)
			if holds || t.runs[i].end >= before {
				kept = append(kept, t.runs[i])
			}
		}
		t.runs = kept
		m.rows += len(kept)
		if len(kept) == 0 {
			delete(m.tracks, id)
		}
	}
}

// selected is a row on its way into an answer.
type selected struct {
	run   *run
	track *track
}

// chooseCoverage returns what overlaps [from, to) of a tenant, and the last state of each hook before from, in the order of an
// answer; only the newest of more than limit.
func chooseCoverage(tracks map[int64]*track, tenant string, from, to int64, hosts []string, limit int) []witness.Coverage {
	var chosen []selected
	before := map[string]selected{} // by lineage
	for _, t := range tracks {
		if t.tenant != tenant || len(hosts) > 0 && !slices.Contains(hosts, t.common.Instance.Host) {
			continue
		}
		for i := range t.runs {
			r := &t.runs[i]
			switch {
			case r.start >= to:
			case r.end > from || r.start == r.end && r.start >= from: // one without length is where its start is
				chosen = append(chosen, selected{r, t})
			case t.form == formState:
				if known, ok := before[t.lineage]; !ok || compareSelected(selected{r, t}, known) > 0 {
					before[t.lineage] = selected{r, t}
				}
			}
		}
	}
	for _, s := range before {
		chosen = append(chosen, s)
	}
	slices.SortFunc(chosen, compareSelected)
	chosen = chosen[max(0, len(chosen)-limit):]
	records := make([]witness.Coverage, len(chosen))
	for i, s := range chosen {
		records[i] = s.run.record(&s.track.common)
	}
	return records
}

func compareSelected(a, b selected) int {
	if a.run.start != b.run.start {
		return cmp.Compare(a.run.start, b.run.start)
	}
	return cmp.Or(cmp.Compare(a.run.end, b.run.end), strings.Compare(a.track.order, b.track.order), strings.Compare(a.run.state, b.run.state))
}
