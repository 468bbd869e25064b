package evidence

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Summed is a finding with what its evidence adds up to, all of it, whenever it was seen.
type Summed struct {
	Finding witness.Finding
	Hits    uint64
	ByKind  map[witness.Kind]uint64
	// FirstSeen and LastSeen are zero without evidence.
	FirstSeen, LastSeen time.Time
	Score               float64
	Band                string
}

// Summarize adds up the evidence of some findings with a few calls of the reader, however many findings they are. ErrTooMany,
// if there are more than MaxSubjects for each, or a board could not hold them.
func Summarize(ctx context.Context, reader storage.Reader, tenant string, w *score.Weights, now time.Time, findings []witness.Finding) ([]Summed, error) {
	b := newBoard(tenant, w, reader, math.MaxInt, min(maxBoardPairs, MaxSubjects*len(findings)))
	entries := make([]*entry, len(findings))
	for i := range findings {
		entries[i] = b.put(&findings[i], time.Time{})
	}
	if err := b.load(ctx, entries); err != nil {
		return nil, err
	}
	b.addUp(len(b.stale))
	summed := make([]Summed, len(entries))
	for i, e := range entries {
		summed[i] = e.summed(now)
	}
	return summed, nil
}

// Order is an order of findings.
type Order string

// The orders. Ties are in the order of ids.
const (
	OrderID     Order = "id"     // ascending
	OrderScore  Order = "score"  // highest first
	OrderHits   Order = "hits"   // most first
	OrderRecent Order = "recent" // last seen first
)

// FindingPosition is where a page of findings ends: what the last one is ordered by, 0 for OrderID, and its id.
type FindingPosition struct {
	Key int64
	ID  string
}

// FindingsQuery selects findings by what is known of their evidence. Zero members select all.
type FindingsQuery struct {
	// Component is the purl of the component without version.
	Component string
	// Digest is of an image or artifact: of an occurrence, or of one that evidence was seen in.
	Digest string
	// Namespace is of an occurrence, or of a workload that evidence was seen in.
	Namespace string
	// Kinds selects findings with hits of one of them.
	Kinds []witness.Kind
	Bands []string
	// Observed selects those with hits, or those without.
	Observed *bool
	// ChangedSince selects what was put, or has evidence that was seen, at or after it.
	ChangedSince time.Time
	Order        Order // empty is OrderID
	After        *FindingPosition
	Limit        int // 0 is 100
	// Now is what the recency of a score is measured from.
	Now time.Time
}

// ByID reports whether nothing but the order of ids and the component is asked for, which needs no board.
func (q *FindingsQuery) ByID() bool {
	return (q.Order == "" || q.Order == OrderID) && q.Digest == "" && q.Namespace == "" && len(q.Kinds)+len(q.Bands) == 0 &&
		q.Observed == nil && q.ChangedSince.IsZero()
}

// FindingsPage is a page of findings as of a time. Next is nil on the last one.
type FindingsPage struct {
	AsOf     time.Time
	Findings []Summed
	Next     *FindingPosition
}

// board is the findings of a tenant with what answers them. One goroutine at a time changes it; what others read, lock
// guards, and it is held for a few milliseconds at most.
type board struct {
	tenant               string
	weights              *score.Weights
	reader               storage.Reader
	maxEntries, maxPairs int

	lock sync.RWMutex
	// entries by id and by number, which the index knows them by; a number without entry is free.
	entries  map[string]*entry
	numbered []*entry
	free     []int
	sorted   []*entry // by id
	unsorted bool     // sorted must be made anew
	index    *finding.Index
	subjects map[string]*boardSubject // those that answer something
	claims   map[string][]*entry      // by subject, those that traces named it for
	pairs    int                      // of finding and subject
	named    int                      // subjects that traces named, and their workloads
	names    int                      // of subjects
	stale    []*entry                 // those to add up again
}

// entry is a finding.
type entry struct {
	finding witness.Finding
	changed time.Time
	number  int
	loading bool
	stale   bool // it is in board.stale
	gone    bool
	mixed   bool                            // pieces are not in order
	pieces  []piece                         // those of an artifact and level together
	named   map[string]storage.NamedSubject // by subject

	hits        uint64
	byKind      [4]uint64 // by place in witness.Kinds
	first, last time.Time
	prepared    score.Prepared
}

// Portion is the part of a subject's hits that a piece is about.
const (
	portionMeasured = iota
	portionAsserted
	portionClaimed // those of the traces that named the finding, where the subject answers it by that alone
	portions
)

// piece is hits of a subject that answer a finding.
type piece struct {
	subject *boardSubject
	match   float64 // score.Weights.Match
	level   finding.Level
	portion uint8
	first   bool // of its artifact and level
}

// boardSubject is a subject with what it adds up to.
type boardSubject struct {
	id       string
	kind     int // place in witness.Kinds
	artifact string
	digest   string
	first    time.Time
	parts    [portionClaimed]part
	entries  []*entry
	// places are the namespaces and images it was seen in.
	places []unique.Handle[string]
}

// part is what a portion of hits adds up to.
type part struct {
	hits     uint64
	strength float64
	last     time.Time
}

func newBoard(tenant string, w *score.Weights, reader storage.Reader, maxEntries, maxPairs int) *board {
	b := &board{tenant: tenant, weights: w, reader: reader, maxEntries: maxEntries, maxPairs: maxPairs}
	b.empty()
	return b
}

func (b *board) empty() {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.pairs, b.named, b.names = 0, 0, 0
	b.entries, b.numbered, b.free, b.sorted, b.unsorted, b.stale = map[string]*entry{}, nil, nil, nil, false, nil
	b.index = finding.NewIndex()
	b.subjects, b.claims = map[string]*boardSubject{}, map[string][]*entry{}
}

// put adds or replaces a finding, without its evidence.
func (b *board) put(f *witness.Finding, changed time.Time) *entry {
	b.remove(f.ID)
	e := &entry{finding: *f, changed: changed}
	if n := len(b.free); n > 0 {
		e.number, b.free = b.free[n-1], b.free[:n-1]
		b.numbered[e.number] = e
	} else {
		e.number, b.numbered = len(b.numbered), append(b.numbered, e)
	}
	b.entries[f.ID], b.unsorted = e, true
	b.index.Add(e.number, f)
	b.touch(e)
	return e
}

// touch has an entry added up again.
func (b *board) touch(e *entry) {
	if !e.stale {
		e.stale, b.stale = true, append(b.stale, e)
	}
}

func (b *board) remove(id string) {
	e := b.entries[id]
	if e == nil {
		return
	}
	b.index.Remove(e.number, &e.finding)
	b.disown(e)
	for i := range e.pieces {
		s := e.pieces[i].subject
		if at := slices.Index(s.entries, e); at >= 0 { // once, however many pieces it has
			s.entries = slices.Delete(s.entries, at, at+1)
			b.pairs--
			b.drop(s)
		}
	}
	e.pieces, e.gone = nil, true
	delete(b.entries, id)
	b.numbered[e.number], b.unsorted = nil, true
	b.free = append(b.free, e.number)
}

// disown takes an entry out of claims.
func (b *board) disown(e *entry) {
	for subject, n := range e.named {
		b.named -= weightOf(&n)
		b.claims[subject] = slices.DeleteFunc(b.claims[subject], func(other *entry) bool { return other == e })
		if len(b.claims[subject]) == 0 {
			delete(b.claims, subject)
		}
	}
	e.named = nil
}

// weightOf is what a named subject counts among pairs.
func weightOf(n *storage.NamedSubject) int { return 1 + len(n.Workloads) }

// full says that there is more than the board holds.
func (b *board) full() bool { return b.pairs+b.named > b.maxPairs }

// drop forgets a subject that answers nothing.
func (b *board) drop(s *boardSubject) {
	if len(s.entries) == 0 && b.subjects[s.id] == s {
		b.names -= len(s.places)
		delete(b.subjects, s.id)
	}
}

// load reads and matches the evidence of entries that have none yet.
func (b *board) load(ctx context.Context, entries []*entry) error {
	for _, e := range entries {
		e.loading = true
	}
	for chunk := range slices.Chunk(entries, boardChunk) {
		if err := b.claim(ctx, chunk); err != nil {
			return err
		}
	}
	seen, fresh := map[string]bool{}, map[string]bool{}
	// Findings of a component are answered by the same subjects: those are read once.
	byComponent := slices.SortedFunc(slices.Values(entries), func(x, y *entry) int {
		return cmp.Or(cmp.Compare(x.finding.Component, y.finding.Component), cmp.Compare(x.finding.ID, y.finding.ID))
	})
	for chunk := range slices.Chunk(byComponent, boardChunk) {
		query := storage.SubjectQuery{Limit: b.maxPairs}
		for _, e := range chunk {
			members, packages, components := finding.Selectors(&e.finding)
			query.Members = append(query.Members, members...)
			query.Packages = append(query.Packages, packages...)
			query.Components = append(query.Components, components...)
			for subject := range e.named {
				query.IDs = append(query.IDs, subject)
			}
		}
		for _, values := range []*[]string{&query.Members, &query.Packages, &query.Components, &query.IDs} {
			slices.Sort(*values)
			*values = slices.Compact(*values)
		}
		subjects, err := b.reader.Subjects(ctx, b.tenant, query)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(subjects, lockChunk) {
			b.lock.Lock()
			for i := range part {
				s := &part[i]
				if seen[s.ID] {
					continue // several chunks select it; the first gives it to all
				}
				seen[s.ID] = true
				if b.match(s, func(e *entry) bool { return e.loading }) {
					fresh[s.ID] = true
				}
			}
			b.lock.Unlock()
		}
		if b.full() {
			return ErrTooMany
		}
	}
	for _, e := range entries {
		e.loading = false
	}
	ids := make([]string, 0, len(fresh))
	for id := range fresh {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return b.total(ctx, ids)
}

// claim reads what traces named entries for.
func (b *board) claim(ctx context.Context, entries []*entry) error {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.finding.ID
	}
	named, err := b.reader.NamedSubjects(ctx, b.tenant, ids, b.maxPairs)
	if err != nil {
		return err
	}
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, e := range entries {
		b.disown(e)
		b.touch(e)
	}
	for _, n := range named {
		e := b.entries[n.Finding]
		if e == nil {
			continue
		}
		if e.named == nil {
			e.named = map[string]storage.NamedSubject{}
		}
		e.named[n.Subject] = n
		b.named += weightOf(&n)
		b.claims[n.Subject] = append(b.claims[n.Subject], e)
	}
	if b.full() {
		return ErrTooMany
	}
	return nil
}

// match gives a subject to the entries that it answers, of those that are wanted, and reports whether there are any.
func (b *board) match(s *storage.Subject, wanted func(*entry) bool) (any bool) {
	subject := b.subjects[s.ID]
	try := func(e *entry, named bool) {
		if !wanted(e) {
			return
		}
		of := func(named bool) *finding.Match {
			if m, ok := finding.Of(&e.finding, s.Kind, &s.Frame, &s.Artifact, named); ok {
				return &m
			}
			return nil
		}
		own := of(false)
		var claimed *finding.Match
		if named {
			claimed = of(true)
		}
		if own == nil && claimed == nil {
			return
		}
		if subject == nil {
			subject = &boardSubject{id: s.ID}
			b.subjects[s.ID] = subject
		}
		subject.kind, subject.artifact, subject.digest = slices.Index(witness.Kinds, s.Kind), artifactKey(s), s.Artifact.Digest
		add := func(portion uint8, assurance witness.Assurance, m *finding.Match) {
			e.pieces = append(e.pieces, piece{subject: subject, level: m.Level, portion: portion, match: b.weights.Match(&score.Input{
				Level: m.Level, Version: m.Version, Symbol: m.Symbol, Assurance: assurance,
				Source: b.weights.SourceConfidence(&s.Frame, s.Kind, assurance), Identity: b.weights.IdentityConfidence(s.Artifact.Method),
			})})
		}
		if own == nil {
			add(portionClaimed, witness.Asserted, claimed)
		} else {
			add(portionMeasured, witness.Measured, own)
			add(portionAsserted, witness.Asserted, cmp.Or(claimed, own))
		}
		subject.entries = append(subject.entries, e)
		e.mixed, any = true, true
		b.touch(e)
		b.pairs++
	}
	claims := b.claims[s.ID]
	for _, number := range b.index.Candidates(nil, &s.Frame, &s.Artifact) {
		if e := b.numbered[number]; !slices.Contains(claims, e) {
			try(e, false)
		}
	}
	for _, e := range claims {
		try(e, true)
	}
	return any
}

// describe matches subjects anew, and reads where they were seen and what they add up to.
func (b *board) describe(ctx context.Context, ids []string) error {
	subjects, err := b.reader.Subjects(ctx, b.tenant, storage.SubjectQuery{IDs: ids})
	if err != nil {
		return err
	}
	b.lock.Lock()
	for _, id := range ids {
		s := b.subjects[id]
		if s == nil {
			continue
		}
		for _, e := range s.entries {
			e.pieces = slices.DeleteFunc(e.pieces, func(p piece) bool { return p.subject == s })
			e.mixed = true
			b.touch(e)
		}
		b.pairs -= len(s.entries)
		s.entries = nil
	}
	for i := range subjects {
		b.match(&subjects[i], func(*entry) bool { return true })
	}
	left := make([]string, 0, len(ids))
	for _, id := range ids {
		if s := b.subjects[id]; s != nil {
			b.drop(s)
			left = append(left, id)
		}
	}
	tooMany := b.full()
	b.lock.Unlock()
	if tooMany {
		return ErrTooMany
	}
	if err := b.total(ctx, left); err != nil {
		return err
	}
	return b.locate(ctx, left)
}

// count reads the totals of subjects that have others, also those of claims.
func (b *board) count(ctx context.Context, ids []string) error {
	var claimed []*entry
	asked := map[*entry]bool{}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		for _, e := range b.claims[id] {
			if !asked[e] {
				asked[e] = true
				claimed = append(claimed, e)
			}
		}
		return b.subjects[id] == nil
	})
	for chunk := range slices.Chunk(claimed, boardChunk) {
		if err := b.claim(ctx, chunk); err != nil {
			return err
		}
	}
	return b.total(ctx, ids)
}

// total reads the totals of subjects.
func (b *board) total(ctx context.Context, ids []string) error {
	for chunk := range slices.Chunk(ids, lockChunk) {
		totals, err := b.reader.Totals(ctx, b.tenant, chunk)
		if err != nil {
			return err
		}
		b.lock.Lock()
		for _, id := range chunk {
			if s := b.subjects[id]; s != nil {
				t := totals[id]
				s.parts, s.first = b.partsOf(&t), t.FirstSeen
				for _, e := range s.entries {
					b.touch(e)
				}
			}
		}
		b.lock.Unlock()
	}
	return nil
}

// partsOf tells measured from asserted hits, as appendInputs does.
func (b *board) partsOf(t *storage.SubjectTotal) (parts [portionClaimed]part) {
	measured := min(t.Measured, t.Hits)
	for portion, p := range [portionClaimed]part{{hits: measured, last: t.LastMeasured}, {hits: t.Hits - measured, last: t.LastSeen}} {
		if p.hits > 0 {
			p.strength = b.weights.Strength(p.hits, t.Hosts, t.Images)
			parts[portion] = p
		}
	}
	return parts
}

// locate reads the workloads of subjects.
func (b *board) locate(ctx context.Context, ids []string) error {
	for chunk := range slices.Chunk(ids, boardChunk) {
		workloads, err := b.reader.SubjectWorkloads(ctx, b.tenant, chunk)
		if err != nil {
			return err
		}
		b.lock.Lock()
		for _, id := range chunk {
			if s := b.subjects[id]; s != nil {
				b.names -= len(s.places)
				s.places = placesOf(workloads[id])
				b.names += len(s.places)
			}
		}
		tooMany := b.names > maxBoardNames
		b.lock.Unlock()
		if tooMany {
			return ErrTooMany
		}
	}
	return nil
}

// placesOf are namespaces and images, each once.
func placesOf(workloads []witness.Workload) []unique.Handle[string] {
	names := make([]string, 0, 2*len(workloads))
	for i := range workloads {
		names = append(names, workloads[i].Namespace, workloads[i].Image)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	places := make([]unique.Handle[string], len(names))
	for i, name := range names {
		places[i] = unique.Make(name)
	}
	return places
}

// addUp adds up some of the entries that are stale. The caller has the lock, if anybody else reads.
func (b *board) addUp(most int) {
	for ; most > 0 && len(b.stale) > 0; most-- {
		last := len(b.stale) - 1
		e := b.stale[last]
		b.stale[last], b.stale = nil, b.stale[:last]
		if e.stale = false; !e.gone { // else somebody may still see it, as it was
			e.addUp(b.weights)
		}
	}
}

// addUp adds up the pieces of an entry.
func (e *entry) addUp(w *score.Weights) {
	if e.mixed {
		slices.SortFunc(e.pieces, func(x, y piece) int {
			return cmp.Or(cmp.Compare(x.subject.artifact, y.subject.artifact), cmp.Compare(x.level, y.level),
				cmp.Compare(x.subject.id, y.subject.id), cmp.Compare(x.portion, y.portion))
		})
		for i := range e.pieces {
			e.pieces[i].first = i == 0 || e.pieces[i].level != e.pieces[i-1].level || e.pieces[i].subject.artifact != e.pieces[i-1].subject.artifact
		}
		e.mixed, e.pieces = false, slices.Clone(e.pieces) // of that length
	}
	e.hits, e.byKind, e.first, e.last = 0, [4]uint64{}, time.Time{}, time.Time{}
	e.prepared.Reset(w)
	for i := range e.pieces {
		p := &e.pieces[i]
		s := p.subject
		var of part
		since := s.first
		if p.portion == portionClaimed {
			t := e.named[s.id].Total
			since = t.FirstSeen
			if of = (part{hits: t.Hits, last: t.LastSeen}); of.hits > 0 {
				of.strength = w.Strength(t.Hits, t.Hosts, t.Images)
			}
		} else {
			of = s.parts[p.portion]
		}
		e.prepared.Add(p.first, p.match*min(1, float64(of.hits)), of.strength, of.last)
		if of.hits == 0 {
			continue
		}
		e.hits = plus(e.hits, of.hits)
		if s.kind >= 0 {
			e.byKind[s.kind] = plus(e.byKind[s.kind], of.hits)
		}
		if !since.IsZero() && (e.first.IsZero() || since.Before(e.first)) {
			e.first = since
		}
		if of.last.After(e.last) {
			e.last = of.last
		}
	}
}

func plus(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

func (e *entry) summed(now time.Time) Summed {
	s := Summed{
		Finding: e.finding, Hits: e.hits, ByKind: map[witness.Kind]uint64{}, FirstSeen: e.first, LastSeen: e.last,
	}
	s.Score, s.Band = e.prepared.Value(now)
	for i, kind := range witness.Kinds {
		if hits := e.byKind[i]; hits > 0 {
			s.ByKind[kind] = hits
		}
	}
	return s
}

// sort puts the entries in the order of ids.
func (b *board) sort() {
	if !b.unsorted {
		return
	}
	sorted := slices.SortedFunc(maps.Values(b.entries), func(x, y *entry) int { return cmp.Compare(x.finding.ID, y.finding.ID) })
	b.lock.Lock()
	b.sorted, b.unsorted = sorted, false
	b.lock.Unlock()
}

// listed is an entry with what it is ordered by.
type listed struct {
	entry *entry
	key   int64
}

func compareListed(x, y listed) int {
	return cmp.Or(cmp.Compare(y.key, x.key), cmp.Compare(x.entry.finding.ID, y.entry.finding.ID))
}

// list selects and orders what the board has.
func (b *board) list(query *FindingsQuery) FindingsPage {
	b.lock.RLock()
	defer b.lock.RUnlock()
	var places [2][]bool // by number
	for i, name := range [2]string{query.Digest, query.Namespace} {
		if name != "" {
			places[i] = b.seenIn(name, i == 0)
		}
	}
	limit := cmp.Or(query.Limit, 100)
	var after listed
	if query.After != nil {
		after = listed{&entry{finding: witness.Finding{ID: query.After.ID}}, query.After.Key}
	}
	var best []listed // the first of what was selected, at most one more than limit after each cut
	var last *listed  // of those, if they are so many: what is behind it is not selected
	cut := func() {
		slices.SortFunc(best, compareListed)
		if len(best) > limit {
			best = best[:limit+1]
			last = &listed{best[limit].entry, best[limit].key}
		}
	}
	for _, e := range b.sorted {
		if !e.selected(query) || places[0] != nil && !places[0][e.number] || places[1] != nil && !places[1][e.number] {
			continue
		}
		f := listed{entry: e}
		if query.Order == OrderScore || len(query.Bands) > 0 {
			value, band := e.prepared.Value(query.Now)
			if len(query.Bands) > 0 && !slices.Contains(query.Bands, band) {
				continue
			}
			f.key = int64(math.Round(value * 1e4))
		}
		switch query.Order {
		case OrderScore:
		case OrderHits:
			f.key = int64(min(e.hits, math.MaxInt64)) //nolint:gosec // bounded
		case OrderRecent:
			if f.key = math.MinInt64; !e.last.IsZero() {
				f.key = e.last.UnixNano()
			}
		default:
			f.key = 0
		}
		if query.After != nil && compareListed(after, f) >= 0 {
			continue
		}
		if last != nil && compareListed(*last, f) < 0 {
			continue
		}
		if best = append(best, f); len(best) > 4*(limit+1) {
			cut()
		}
	}
	cut()
	page := FindingsPage{AsOf: query.Now, Findings: make([]Summed, 0, min(limit, len(best)))}
	for i, f := range best {
		if i == limit {
			last := best[i-1]
			page.Next = &FindingPosition{Key: last.key, ID: last.entry.finding.ID}
			break
		}
		page.Findings = append(page.Findings, f.entry.summed(query.Now))
	}
	return page
}

// selected applies what a query asks for but bands and places.
func (e *entry) selected(query *FindingsQuery) bool {
	switch {
	case query.Component != "" && e.finding.Component != query.Component:
		return false
	case query.Observed != nil && *query.Observed != (e.hits > 0):
		return false
	case !query.ChangedSince.IsZero() && e.changed.Before(query.ChangedSince) && e.last.Before(query.ChangedSince):
		return false
	case len(query.Kinds) > 0 && !slices.ContainsFunc(query.Kinds, func(kind witness.Kind) bool {
		return e.byKind[slices.Index(witness.Kinds, kind)] > 0
	}):
		return false
	default:
		return true
	}
}

// seenIn says of entries, by number, whether they have an occurrence, or hits, in a namespace or digest.
func (b *board) seenIn(name string, digest bool) []bool {
	found, handle := make([]bool, len(b.numbered)), unique.Make(name)
	for _, e := range b.sorted {
		if slices.ContainsFunc(e.finding.Occurrences, func(o witness.Occurrence) bool {
			return digest && o.ImageDigest == name || !digest && o.Namespace == name
		}) {
			found[e.number] = true
		}
		for subject, n := range e.named {
			if n.Total.Hits > 0 && slices.ContainsFunc(n.Workloads, func(w witness.Workload) bool {
				return digest && w.Image == name || !digest && w.Namespace == name
			}) && slices.ContainsFunc(e.pieces, func(p piece) bool { return p.subject.id == subject }) {
				found[e.number] = true
			}
		}
	}
	for _, s := range b.subjects {
		if s.parts[portionMeasured].hits+s.parts[portionAsserted].hits == 0 {
			continue
		}
		own := digest && s.digest == name
		if !own && !slices.Contains(s.places, handle) {
			continue
		}
		for _, e := range s.entries {
			// What a trace claims holds where the traces are that do.
			if n, claims := e.named[s.id]; !claims || own && n.Total.Hits > 0 || slices.ContainsFunc(e.pieces, func(p piece) bool {
				return p.subject == s && p.portion != portionClaimed
			}) {
				found[e.number] = true
			}
		}
	}
	return found
}
