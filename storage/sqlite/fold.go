package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"time"
)

// foldLimits say when derived rows are folded into the file.
type foldLimits struct {
	// dirty is how many rows the file may lack, and every how long, before a fold begins.
	dirty int
	every time.Duration
	// rows and time are how much a transaction of it writes at most, about. Where writers are faster than the fold, so that
	// the file lacks twice as many rows as that, a transaction takes twice as long, and so on.
	rows int
	time time.Duration
}

var usualLimits = foldLimits{dirty: dirtyLimit, every: foldEvery, rows: 20_000, time: 50 * time.Millisecond}

// The derived tables, in the order in which they are folded.
const (
	totalPart = iota
	placePart
	cellPart
	subjectTotalPart
	parts
)

type rowKey [4]int64

func (k placeKey) row() rowKey { return rowKey{k.subject, k.workload, k.instance, k.assurance} }
func (k cellKey) row() rowKey  { return rowKey{k.hour, k.subject, k.link, k.assurance} }

// reachedRow is how far a fold came: rows of earlier parts, and of this one those up to the key, are written.
type reachedRow struct {
	part int
	key  rowKey
}

func (r reachedRow) covers(part int, key rowKey) bool {
	return part < r.part || part == r.part && slices.Compare(key[:], r.key[:]) <= 0
}

// folding is a fold that is spread over several transactions, so that no writer waits for all of it. It writes what the
// file lacked at a commit, the cut, with the values of then. So after a crash the file tells of every row what it has:
// up to the row that was reached what there was at the cut, else what there was at the last fold.
type folding struct {
	cut      int64
	totals   []held[int64, totalRow]
	places   []held[placeKey, placeRow]
	cells    []held[cellKey, cellRow]
	subjects []held[int64, subjectTotal]
	// part and at are what comes next.
	part, at int
	reached  reachedRow
	// awaited are closed when it ends.
	awaited []chan struct{}
}

// cutNow begins a fold of what the file lacks. No transaction may be under way.
func (w *writer) cutNow() {
	d := w.derived
	f := &folding{cut: d.commit, reached: reachedRow{0, rowKey{math.MinInt64}}, awaited: w.awaited}
	w.awaited = nil
	f.totals, f.places, f.cells, f.subjects = d.totals.unfolded(), d.places.unfolded(), d.cells.unfolded(), d.subjects.unfolded()
	sortFolded(f.totals, f.places, f.cells, f.subjects)
	w.folding = f
	w.windows.clear() // the next row of a start marks it as unfolded after the cut
}

// sortFolded sorts rows by their keys.
func sortFolded(totals []held[int64, totalRow], places []held[placeKey, placeRow], cells []held[cellKey, cellRow], subjects []held[int64, subjectTotal]) {
	slices.SortFunc(totals, func(a, b held[int64, totalRow]) int { return cmp.Compare(a.key, b.key) })
	slices.SortFunc(places, func(a, b held[placeKey, placeRow]) int {
		x, y := a.key.row(), b.key.row()
		return slices.Compare(x[:], y[:])
	})
	slices.SortFunc(cells, func(a, b held[cellKey, cellRow]) int {
		x, y := a.key.row(), b.key.row()
		return slices.Compare(x[:], y[:])
	})
	slices.SortFunc(subjects, func(a, b held[int64, subjectTotal]) int { return cmp.Compare(a.key, b.key) })
}

// next writes the next row, and returns its key; ok is false if there is none.
func (f *folding) next(w *writer) (key rowKey, ok bool, err error) {
	for ; f.part < parts; f.part, f.at = f.part+1, 0 {
		switch {
		case f.part == totalPart && f.at < len(f.totals):
			h := &f.totals[f.at]
			key, err = rowKey{h.key}, w.putTotal(h.key, &h.row)
		case f.part == placePart && f.at < len(f.places):
			h := &f.places[f.at]
			key, err = h.key.row(), w.putPlace(h.key, h.row)
		case f.part == cellPart && f.at < len(f.cells):
			h := &f.cells[f.at]
			key, err = h.key.row(), w.putCell(h.key, h.row)
		case f.part == subjectTotalPart && f.at < len(f.subjects):
			h := &f.subjects[f.at]
			key, err = rowKey{h.key}, w.putSubject(h.key, &h.row)
		default:
			continue
		}
		f.at++
		return key, true, err
	}
	return key, false, nil
}

// rest writes all that comes next.
func (f *folding) rest(w *writer) error {
	for {
		if _, ok, err := f.next(w); err != nil || !ok {
			return err
		}
	}
}

// recount writes the totals of a fold, and counts the witnesses of its subjects among them: after a crash, some totals of
// new witnesses were in the file before their subjects.
func (w *writer) recount(f *folding) error {
	if err := (&folding{totals: f.totals}).rest(w); err != nil {
		return err
	}
	f.totals = nil
	for i := range f.subjects {
		h := &f.subjects[i]
		var first, last int64
		if err := w.findSubjectSpan.QueryRowContext(context.Background(), h.key).Scan(&h.row.witnesses, &first, &last); err != nil {
			return err
		}
		w.derived.subjects.put(h.key, h.row)
	}
	return nil
}

// foldSome writes the next rows of the fold under way in a transaction of its own. When it fails, it is as if it had not
// been called.
func (w *writer) foldSome() error {
	f := w.folding
	before := *f
	if err := w.start(); err != nil {
		return err
	}
	done, err := w.foldRows(f)
	if err == nil {
		err = w.end()
	}
	if err != nil {
		*f = before
		w.undo()
		return err
	}
	w.derived.wrote(&before, f)
	if done {
		w.endFold()
		w.derived.thin()
	}
	return nil
}

// endFold takes account of a fold: the file has what there was at its cut.
func (w *writer) endFold() {
	if w.folding != nil {
		tell(w.folding.awaited)
	}
	w.folding = nil
	w.lastFold = time.Now()
	w.derived.folds.Add(1)
}

func tell(waiting []chan struct{}) {
	for _, ended := range waiting {
		close(ended)
	}
}

func (w *writer) foldRows(f *folding) (done bool, err error) {
	began := time.Now()
	factor := 1 << min(10, w.derived.dirty()/w.limits.dirty)
	for n := 0; ; n++ {
		if n%64 == 0 && time.Since(began) >= time.Duration(factor)*w.limits.time || n >= factor*w.limits.rows {
			return false, w.recordFolding(f)
		}
		key, ok, err := f.next(w)
		if err != nil {
			return false, err
		}
		if !ok {
			return true, errors.Join(execute(w.clearUnfolded, f.cut), execute(w.setState, f.cut, "folded"), execute(w.clearFolding))
		}
		f.reached = reachedRow{f.part, key}
	}
}

func (w *writer) recordFolding(f *folding) error {
	r := f.reached
	return errors.Join(execute(w.clearFolding), execute(w.putFolding, f.cut, r.part, r.key[0], r.key[1], r.key[2], r.key[3]))
}

// foldNext does what is due of folding, and says whether more is.
func (w *writer) foldNext() (more bool) {
	if time.Since(w.foldFailed) < foldAgain {
		return false
	}
	if w.folding == nil {
		if !w.foldIsDue() && len(w.awaited) == 0 {
			return false
		}
		w.cutNow()
	}
	if err := w.foldSome(); err != nil {
		w.foldFailed = time.Now() // it will be tried again; nothing is lost that is not made up for by Open
		return false
	}
	return w.folding != nil || len(w.awaited) > 0
}

// foldAhead folds all that there is, in parts between groups of writes, so that little is left for a transaction that has
// to fold the rest at once.
func (s *Storage) foldAhead(ctx context.Context) error {
	ended := make(chan struct{})
	if err := s.step(ctx, func() error { return nil }, func() { s.writer.awaited = append(s.writer.awaited, ended) }); err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// foldAgain is how long after a failure it is tried again.
const foldAgain = time.Second

// wrote notes that rows were folded: those of now that are before then's next.
func (d *derived) wrote(before, now *folding) {
	d.lock.Lock()
	defer d.lock.Unlock()
	part := func(n, rows int) (from, to int) {
		switch {
		case n == before.part:
			from = before.at
		case n < before.part:
			from = rows
		}
		switch {
		case n == now.part:
			to = now.at
		case n < now.part:
			to = rows
		}
		return from, max(from, to)
	}
	from, to := part(totalPart, len(now.totals))
	wrote(&d.totals, now.totals[from:to])
	from, to = part(placePart, len(now.places))
	wrote(&d.places, now.places[from:to])
	from, to = part(cellPart, len(now.cells))
	wrote(&d.cells, now.cells[from:to])
	from, to = part(subjectTotalPart, len(now.subjects))
	wrote(&d.subjects, now.subjects[from:to])
}

// wrote makes rows clean that have not changed since.
func wrote[K comparable, V derivedRow](t *table[K, V], rows []held[K, V]) {
	for i := range rows {
		if at, ok := t.at[rows[i].key]; ok && t.rows[at].dirty && t.rows[at].row == rows[i].row {
			t.rows[at].dirty = false
			t.dirty--
		}
	}
}

// thin forgets the rows that the file has, when too many are held.
func (d *derived) thin() {
	if d.held() <= heldLimit {
		return
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	d.totals.thin()
	d.places.thin()
	d.cells.thin()
	d.subjects.thin()
}

func (t *table[K, V]) thin() {
	rows := make([]held[K, V], 0, t.dirty)
	for i := range t.rows {
		if t.rows[i].dirty {
			rows = append(rows, t.rows[i])
		}
	}
	t.rows, t.at, t.groups = rows, make(map[K]int32, len(rows)), map[int64][]int32{}
	for i := range rows {
		at := int32(i) //nolint:gosec // as in publish
		t.at[rows[i].key] = at
		if t.group != nil {
			group := t.group(rows[i].key, &rows[i].row)
			t.groups[group] = append(t.groups[group], at)
		}
	}
}

// unfinished is what a fold that a crash interrupted left in the file.
type unfinished struct {
	cut     int64
	reached reachedRow
}

// has says whether the row with a key has what was received by then, at the latest at the last fold's end.
func (u *unfinished) has(part int, key rowKey, received int64) bool {
	return u != nil && received <= u.cut && u.reached.covers(part, key)
}

func (w *writer) unfinished() (*unfinished, error) {
	var u unfinished
	k := &u.reached.key
	err := w.conn.QueryRowContext(context.Background(), "SELECT cut, part, key_1, key_2, key_3, key_4 FROM folding").Scan(&u.cut, &u.reached.part, &k[0], &k[1], &k[2], &k[3])
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is none
	}
	return &u, err
}
