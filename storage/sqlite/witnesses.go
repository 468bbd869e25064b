package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Witnesses implements storage.Reader.
func (s *Storage) Witnesses(ctx context.Context, tenant string, query storage.WitnessQuery) (page storage.WitnessPage, err error) {
	if query.Sort == "" {
		query.Sort = storage.SortHits
	}
	if query.Sort != storage.SortHits && query.Sort != storage.SortRecent && query.Sort != storage.SortID {
		return page, fmt.Errorf("witnesses: the sort order is not one of %s, %s, %s", storage.SortHits, storage.SortRecent, storage.SortID)
	}
	p := pager{order: query.Sort, after: query.After, limit: limitOf(query.Limit), until: math.MaxInt64}
	if !query.AsOf.IsZero() {
		p.until = nanoseconds(query.AsOf)
	}
	n := needs{totals: true}
	if !plain(&query.Filter) {
		n = needs{places: true, cells: true}
	}
	err = s.scoped(ctx, "witnesses", tenant, &query.Filter, n, func(v *snapshot, sc *scope) error {
		p.rows, p.full = nil, false
		var err error
		if plain(&query.Filter) {
			err = v.page(sc, &p)
		} else {
			err = v.pageOfRows(sc, &query.Filter, &p)
		}
		if err != nil {
			return err
		}
		var commit int64
		if err := v.tx.QueryRowContext(ctx, "SELECT value FROM state WHERE name = 'commit'").Scan(&commit); err != nil {
			return err
		}
		page = storage.WitnessPage{AsOf: timeOf(commit)}
		rows := p.cut()
		if len(rows) > p.limit {
			rows = rows[:p.limit]
			last := &rows[p.limit-1]
			page.Next = &storage.Position{Key: last.key, ID: last.total.id}
		}
		page.Witnesses, err = v.describe(sc, rows)
		return err
	})
	if err != nil {
		return storage.WitnessPage{}, err
	}
	return page, nil
}

// pager finds the rows of a page.
type pager struct {
	order storage.Sort
	after *storage.Position
	limit int
	until int64 // the newest witness, by when it was first stored
	all   bool  // none is newer
	rows  []pageRow
	// full says that enough rows are known that none behind this one is on the page.
	full        bool
	least       int64
	leastPrefix uint64
}

// pageRow is a witness that may be on the page. What is only known by its key and prefix has no total yet.
type pageRow struct {
	witness int64
	key     int64
	prefix  uint64
	total   *totalRow // nil until it is read
}

func prefixOf(id []byte) uint64 { return binary.BigEndian.Uint64(id) }

func (p *pager) key(t *totalRow) int64 {
	switch p.order {
	case storage.SortHits:
		return t.hits
	case storage.SortRecent:
		return t.last
	default:
		return 0
	}
}

// compare orders rows; ids with the same prefix are compared once they are known.
func (p *pager) compare(a, b pageRow) int {
	c := cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(a.prefix, b.prefix))
	if c == 0 && a.total != nil && b.total != nil {
		c = bytes.Compare(a.total.id[:], b.total.id[:])
	}
	return c
}

// behind says whether a row comes after the page before.
func (p *pager) behind(key int64, id *witness.ID) bool {
	return p.after == nil || key < p.after.Key || key == p.after.Key && bytes.Compare(id[:], p.after.ID[:]) > 0
}

func (p *pager) offer(id int64, t *totalRow) {
	if key := p.key(t); !t.gone() && t.created <= p.until && p.behind(key, &t.id) {
		p.rows = append(p.rows, pageRow{id, key, prefixOf(t.id[:]), t})
	}
}

// spare is how many rows are looked at beyond the page: one that says that there is a next page, and two in case that
// prefixes of ids are equal.
const spare = 3

// surelyBehind says that there are enough rows before this one. A row of the file that is older than this one has no
// greater key: it is not looked at either.
func (p *pager) surelyBehind(t *totalRow) bool {
	return p.full && (p.key(t) < p.least || p.order == storage.SortID && prefixOf(t.id[:]) > p.leastPrefix)
}

// few leaves out rows that are surely behind the page, once there are many: sorting all of them would take long.
func (p *pager) few() {
	if len(p.rows) > 8*(p.limit+spare) {
		p.cut()
	}
}

// cut sorts the rows, and leaves out those that are surely behind the page.
func (p *pager) cut() []pageRow {
	slices.SortFunc(p.rows, p.compare)
	if enough := p.limit + spare; len(p.rows) >= enough {
		p.rows = p.rows[:enough]
		p.full, p.least, p.leastPrefix = true, p.rows[enough-1].key, p.rows[enough-1].prefix
	}
	return p.rows
}

// page finds the rows of a page among whole witnesses.
func (v *snapshot) page(sc *scope, p *pager) error {
	newer := set{}
	for _, s := range sc.subjects {
		for i := range sc.totals[s.id] {
			h := &sc.totals[s.id][i]
			if !p.surelyBehind(&h.row) {
				newer.add(h.key)
				p.offer(h.key, &h.row)
				p.few()
			}
		}
	}
	if err := v.pageExtra(sc, p); err != nil {
		return err
	}
	p.cut()
	if err := v.newest(p); err != nil {
		return err
	}
	// Those with the greatest keys come first: the others may have none that is great enough.
	var candidates []candidate
	err := v.subjectTotals(sc.frozen, sc.ids(), func(id int64, t *subjectTotal) {
		c := candidate{id, math.MaxInt64, t.witnesses}
		switch p.order {
		case storage.SortHits:
			c.key = t.hits
		case storage.SortRecent:
			c.key = t.last
		}
		held := int64(0)
		for i := range sc.totals[id] {
			if !sc.totals[id][i].row.gone() {
				held++
			}
		}
		if held < c.witnesses {
			candidates = append(candidates, c)
		}
	})
	if err != nil {
		return err
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(a.subject, b.subject))
	})
	for most := 1; len(candidates) > 0; most *= 2 {
		// The more subjects were looked at, the fewer rows of others are great enough: so ever more are looked at together.
		n, witnesses := 0, int64(0)
		for n < min(most, len(candidates)) && (!p.full || candidates[n].key >= p.least) {
			if witnesses += candidates[n].witnesses; n > 0 && witnesses > togetherLimit {
				break
			}
			n++
		}
		if n == 0 {
			break
		}
		together := candidates[:n]
		candidates = candidates[n:]
		before := len(p.rows)
		switch {
		case p.order == storage.SortID:
			err = v.pageByID(together, newer, p)
		case n == 1:
			err = v.pageOf(together[0].subject, newer, p)
		default:
			err = v.pageOfMany(together, newer, p)
		}
		if err != nil {
			return err
		}
		if len(p.rows) > before {
			p.cut()
		}
	}
	return v.complete(p)
}

// candidate is a subject of which rows may be on the page, and the greatest key that they can have.
type candidate struct{ subject, key, witnesses int64 }

// togetherLimit is how many witnesses subjects have at most that are looked at together: all of them may be read.
const togetherLimit = 4000

func subjectsIn(candidates []candidate) string {
	ids := make([]int64, len(candidates))
	for i := range candidates {
		ids[i] = candidates[i].subject
	}
	return list(ids)
}

// newest finds out whether any witness is too new for the page. Their ids ascend with time.
func (v *snapshot) newest(p *pager) error {
	var created int64
	err := v.tx.QueryRowContext(v.ctx, "SELECT coalesce((SELECT created FROM witness ORDER BY id DESC LIMIT 1), 0)").Scan(&created)
	p.all = created <= p.until
	return err
}

// created is the condition that a witness is not too new.
func (p *pager) created(witness string) (condition string, args []any) {
	if p.all {
		return "", nil
	}
	return " AND (SELECT created FROM witness w WHERE w.id = " + witness + ") <= ?", []any{p.until}
}

// keyColumn is the column of total, and that with total_ before it the index, of the order.
func (p *pager) keyColumn() string {
	if p.order == storage.SortRecent {
		return "last"
	}
	return "hits"
}

// pageOf finds rows of a subject by a key, with the index for it.
func (v *snapshot) pageOf(subject int64, newer set, p *pager) error {
	least := int64(math.MinInt64)
	if p.full {
		least = p.least
	}
	column := p.keyColumn()
	query := "SELECT t.witness, t." + column + ", t.prefix FROM total t INDEXED BY total_" + column + " WHERE t.subject = ? AND "
	created, until := p.created("t.witness")
	left := p.limit + spare
	scan := func(condition string, args ...any) error {
		return v.each(query+condition+created+" ORDER BY t."+column+" DESC, t.prefix", append(args, until...), func(rows *sql.Rows) error {
			added, err := p.take(rows, newer)
			if added {
				left--
			}
			if err == nil && left <= 0 {
				err = errEnough
			}
			return err
		})
	}
	if p.after == nil {
		return scan("t."+column+" >= ?", subject, least)
	}
	if err := scan("t."+column+" = ? AND t.prefix >= ?", subject, p.after.Key, p.after.ID[:8]); err != nil || left <= 0 {
		return err
	}
	return scan("t."+column+" < ? AND t."+column+" >= ?", subject, p.after.Key, least)
}

// pageOfMany does so for several subjects.
func (v *snapshot) pageOfMany(subjects []candidate, newer set, p *pager) error {
	least, most := int64(math.MinInt64), int64(math.MaxInt64)
	if p.full {
		least = p.least
	}
	if p.after != nil {
		most = p.after.Key
	}
	column := p.keyColumn()
	created, until := p.created("t.witness")
	return v.each("SELECT t.witness, t."+column+", t.prefix FROM json_each(?) j CROSS JOIN total t INDEXED BY total_"+column+
		" ON t.subject = j.value WHERE t."+column+" >= ? AND t."+column+" <= ?"+created, append([]any{subjectsIn(subjects), least, most}, until...), func(rows *sql.Rows) error {
		_, err := p.take(rows, newer)
		return err
	})
}

// take adds a row with witness, key and prefix of the id, unless memory has it newer or it is surely not on the page.
func (p *pager) take(rows *sql.Rows, newer set) (added bool, err error) {
	var row pageRow
	var prefix sql.RawBytes
	if err := rows.Scan(&row.witness, &row.key, &prefix); err != nil {
		return false, err
	}
	row.prefix = prefixOf(prefix)
	if _, ok := newer[row.witness]; ok || p.full && row.key < p.least {
		return false, nil
	}
	if p.after != nil && row.key == p.after.Key && row.prefix < prefixOf(p.after.ID[:]) {
		return false, nil
	}
	p.rows = append(p.rows, row)
	p.few()
	return true, nil
}

// pageByID finds rows of subjects by the id of the witness.
func (v *snapshot) pageByID(subjects []candidate, newer set, p *pager) error {
	after := []byte{}
	if p.after != nil {
		after = p.after.ID[:]
	}
	last := bytes.Repeat([]byte{0xff}, len(witness.ID{}))
	if p.full {
		binary.BigEndian.PutUint64(last, p.leastPrefix)
	}
	order := ""
	if len(subjects) == 1 {
		order = " ORDER BY w.witness"
	}
	created, until := p.created("w.id")
	left := p.limit + spare
	return v.each(`SELECT w.id, w.witness FROM json_each(?) j CROSS JOIN witness w INDEXED BY witness_subject ON w.subject = j.value
CROSS JOIN total t ON t.witness = w.id WHERE w.witness > ? AND w.witness <= ?`+created+order,
		append([]any{subjectsIn(subjects), after, last}, until...), func(rows *sql.Rows) error {
			var row pageRow
			var id sql.RawBytes
			if err := rows.Scan(&row.witness, &id); err != nil {
				return err
			}
			row.prefix = prefixOf(id)
			if _, ok := newer[row.witness]; ok || p.full && row.prefix > p.leastPrefix {
				return nil
			}
			p.rows = append(p.rows, row)
			p.few()
			if left--; left <= 0 && len(subjects) == 1 {
				return errEnough
			}
			return nil
		})
}

// totalColumns are those that scanTotal reads.
const totalColumns = "t.witness, w.witness, w.created, t.subject, t.hits, t.hits_error, t.measured, t.first, t.last, t.instance, t.link, t.origin"

func scanTotal(rows *sql.Rows) (id int64, t totalRow, err error) {
	var name sql.RawBytes
	err = rows.Scan(&id, &name, &t.created, &t.subject, &t.hits, &t.hitsError, &t.measured, &t.first, &t.last, &t.instance, &t.link, &t.origin)
	copy(t.id[:], name)
	return id, t, err
}

// pageExtra offers witnesses that were named and have none of the subjects.
func (v *snapshot) pageExtra(sc *scope, p *pager) error {
	if len(sc.extra) == 0 {
		return nil
	}
	extra := set{}
	for _, w := range sc.extra {
		extra.add(w.id)
	}
	ids := extra.list()
	for _, rows := range sc.totals {
		for i := range rows {
			if _, ok := extra[rows[i].key]; ok {
				p.offer(rows[i].key, &rows[i].row)
				delete(extra, rows[i].key)
			}
		}
	}
	return v.each("SELECT "+totalColumns+" FROM json_each(?) j CROSS JOIN total t ON t.witness = j.value CROSS JOIN witness w ON w.id = t.witness", []any{list(ids)},
		func(rows *sql.Rows) error {
			id, t, err := scanTotal(rows)
			if _, ok := extra[id]; ok {
				p.offer(id, &t)
			}
			return err
		})
}

// complete reads the totals of rows that have none.
func (v *snapshot) complete(p *pager) error {
	p.cut()
	var ids []int64
	for i := range p.rows {
		if p.rows[i].total == nil {
			ids = append(ids, p.rows[i].witness)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	p.rows = slices.DeleteFunc(p.rows, func(r pageRow) bool { return r.total == nil })
	return v.each("SELECT "+totalColumns+" FROM json_each(?) j CROSS JOIN total t ON t.witness = j.value CROSS JOIN witness w ON w.id = t.witness", []any{list(ids)},
		func(rows *sql.Rows) error {
			id, t, err := scanTotal(rows)
			if err == nil {
				p.offer(id, &t)
			}
			return err
		})
}

// pageOfRows finds the rows of a page by adding up observations.
func (v *snapshot) pageOfRows(sc *scope, f *storage.Filter, p *pager) error {
	totals := map[int64]totalRow{}
	from, to := bounds(f)
	err := v.scan(sc, f, from, to, func(c *delta) {
		if c.witness.created <= p.until {
			totals[c.witness.id] = totals[c.witness.id].add(c)
		}
	})
	for id, t := range totals {
		p.offer(id, &t)
	}
	return err
}

// describe adds to totals what the witnesses are.
func (v *snapshot) describe(sc *scope, totals []pageRow) ([]storage.WitnessTotal, error) {
	if len(totals) == 0 {
		return nil, nil
	}
	n := len(totals)
	rows := make([]int64, n)
	instanceIDs, linkIDs, ties := set{}, set{}, make(map[tied]struct{}, n)
	for i := range totals {
		t := totals[i].total
		rows[i] = totals[i].witness
		instanceIDs.add(t.instance)
		linkIDs.add(t.link)
		ties[tied{t.link, t.subject}] = struct{}{}
	}
	stacks, err := v.stacks(rows)
	if err != nil {
		return nil, err
	}
	frameIDs, workloadIDs := set{}, set{}
	for _, s := range stacks {
		workloadIDs.add(s.workload)
		for _, frame := range s.frames {
			frameIDs.add(frame)
		}
	}
	frames, err := v.frames(frameIDs.list())
	if err != nil {
		return nil, err
	}
	workloads, err := v.workloads(workloadIDs.list())
	if err != nil {
		return nil, err
	}
	instances, err := v.instances(instanceIDs.list())
	if err != nil {
		return nil, err
	}
	resolved, err := v.resolve(ties)
	if err != nil {
		return nil, err
	}
	artifacts, components, err := v.named(resolved)
	if err != nil {
		return nil, err
	}
	found := make([]storage.WitnessTotal, 0, n)
	for i := range totals {
		t := totals[i].total
		s := stacks[rows[i]]
		w := witness.Witness{Kind: kindOf(s.kind), Workload: workloads[s.workload]}
		for at, frame := range s.frames {
			if at == 0 {
				w.Frame = frames[frame]
			} else {
				w.Path = append(w.Path, frames[frame])
			}
		}
		of := resolved[tied{t.link, t.subject}]
		w.Frame.Component = components[of.component]
		assurance := witness.Asserted
		if t.measured {
			assurance = witness.Measured
		}
		_, named := sc.named[rows[i]]
		found = append(found, storage.WitnessTotal{
			ID: t.id, Subject: subjectID(t.subject), Witness: w, Artifact: artifacts[of.artifact],
			Hits: count(t.hits), HitsError: count(min(t.hitsError, t.hits)), FirstSeen: timeOf(t.first), LastSeen: timeOf(t.last),
			Assurance: assurance, Origin: origins[t.origin-1], Instance: instances[t.instance], Named: named,
		})
	}
	return found, nil
}
