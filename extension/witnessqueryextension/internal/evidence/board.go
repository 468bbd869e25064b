package evidence

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

// Summarize adds up the evidence of some findings with a few calls of the reader, however many findings they are.
func Summarize(ctx context.Context, reader storage.Reader, tenant string, w *score.Weights, now time.Time, findings []witness.Finding) ([]Summed, error) {
	b := newBoard(tenant, w, math.MaxInt, math.MaxInt)
	entries := make([]*entry, len(findings))
	for i := range findings {
		entries[i] = b.put(&findings[i], time.Time{})
	}
	if err := b.load(ctx, reader, entries); err != nil {
		return nil, err
	}
	summed := make([]Summed, len(entries))
	var scratch []score.Input
	for i, e := range entries {
		e.addUp(w, &scratch)
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

// FindingsPage is a page of findings. Next is nil on the last one.
type FindingsPage struct {
	Findings []Summed
	Next     *FindingPosition
}

// Limits of what Boards keep.
const (
	// MaxBoardFindings is how many findings of a tenant can be selected and ordered by their evidence.
	MaxBoardFindings = 200_000
	// maxBoardPieces is how many pairs of finding and subject are kept for a tenant.
	maxBoardPieces = 2_000_000
	// maxBoards is how many tenants are kept; the one that was asked for least recently is forgotten.
	maxBoards = 16
	// boardChunk is how many findings or subjects one call of the reader is about.
	boardChunk = 5000
	// refreshTime is how long a refresh may take, whoever waits for it.
	refreshTime = 2 * time.Minute
)

// ErrTooMany says that a tenant has more findings, or more evidence for them, than a board holds.
var ErrTooMany = errors.New("there are more findings than can be ordered by their evidence")

// Boards keep for each tenant what its findings add up to, so that all of them can be selected and ordered by it. What
// they answer is never older than the last write that returned before they were asked. The zero Boards are ready for
// use, by many at once.
type Boards struct {
	// MaxFindings is how many findings of a tenant are kept; 0 is MaxBoardFindings.
	MaxFindings int

	lock   sync.Mutex
	boards map[string]*Board
	clock  uint64 // of use
}

// Findings selects findings of a tenant. ErrTooMany, if there are too many of them.
func (b *Boards) Findings(ctx context.Context, reader storage.Reader, tenant string, w *score.Weights, query *FindingsQuery) (FindingsPage, error) {
	board := b.of(tenant, w)
	board.lock.Lock()
	defer board.lock.Unlock()
	if err := board.refresh(ctx, reader); err != nil {
		return FindingsPage{}, err
	}
	return board.list(ctx, reader, query)
}

func (b *Boards) of(tenant string, w *score.Weights) *Board {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.boards == nil {
		b.boards = map[string]*Board{}
	}
	board := b.boards[tenant]
	if board == nil {
		if len(b.boards) == maxBoards {
			oldest := ""
			for name, other := range b.boards {
				if oldest == "" || other.used < b.boards[oldest].used || other.used == b.boards[oldest].used && name < oldest {
					oldest = name
				}
			}
			delete(b.boards, oldest)
		}
		board = newBoard(tenant, w, b.Limit(), maxBoardPieces)
		b.boards[tenant] = board
	}
	b.clock++
	board.used = b.clock
	return board
}

// Limit is how many findings of a tenant are kept.
func (b *Boards) Limit() int { return cmp.Or(b.MaxFindings, MaxBoardFindings) }

// Tenants is how many tenants have their findings kept.
func (b *Boards) Tenants() int {
	b.lock.Lock()
	defer b.lock.Unlock()
	return len(b.boards)
}

// Size is how many findings are kept, of all tenants.
func (b *Boards) Size() int {
	b.lock.Lock()
	boards := make([]*Board, 0, len(b.boards))
	for _, board := range b.boards {
		boards = append(boards, board)
	}
	b.lock.Unlock()
	size := 0
	for _, board := range boards {
		size += int(board.size.Load())
	}
	return size
}

// Board is the findings of a tenant with what answers them.
type Board struct {
	tenant               string
	weights              *score.Weights
	maxEntries, maxPairs int
	used                 uint64 // of Boards
	size                 atomic.Int64

	lock    sync.Mutex
	version uint64 // of storage.Changes; 0: nothing is loaded
	// tooMany: the findings did not fit at version.
	tooMany bool
	// entries by id and by number, which the index knows them by; a number without entry is free.
	entries  map[string]*entry
	numbered []*entry
	free     []int
	sorted   []*entry // by id; nil when it must be made anew
	index    *finding.Index
	subjects map[string]*boardSubject // those with pieces
	claims   map[string][]*entry      // by subject, those that traces named it for
	matches  map[finding.Match]*finding.Match
	pairs    int
}

// entry is a finding.
type entry struct {
	finding witness.Finding
	changed time.Time
	number  int
	loading bool
	stale   bool // what follows must be added up again
	pieces  []*piece
	named   map[string]storage.NamedSubject // by subject

	hits        uint64
	byKind      [4]uint64 // by place in witness.Kinds
	first, last time.Time
	prepared    score.Prepared
}

// piece is a subject that answers a finding, by itself, because a trace claims so, or both.
type piece struct {
	entry        *entry
	subject      *boardSubject
	own, claimed *finding.Match
}

type boardSubject struct {
	storage.Subject // without what only matching needs
	total           storage.SubjectTotal
	pieces          []*piece
	// places are those of its witnesses, once they are asked for.
	places  places
	located bool
}

func newBoard(tenant string, w *score.Weights, maxEntries, maxPairs int) *Board {
	b := &Board{tenant: tenant, weights: w, maxEntries: maxEntries, maxPairs: maxPairs}
	b.empty()
	return b
}

func (b *Board) empty() {
	b.version, b.pairs = 0, 0
	b.entries, b.numbered, b.free, b.sorted = map[string]*entry{}, nil, nil, nil
	b.index = finding.NewIndex()
	b.subjects, b.claims, b.matches = map[string]*boardSubject{}, map[string][]*entry{}, map[finding.Match]*finding.Match{}
}

// put adds or replaces a finding, without its evidence.
func (b *Board) put(f *witness.Finding, changed time.Time) *entry {
	b.remove(f.ID)
	e := &entry{finding: *f, changed: changed, stale: true}
	if n := len(b.free); n > 0 {
		e.number, b.free = b.free[n-1], b.free[:n-1]
		b.numbered[e.number] = e
	} else {
		e.number, b.numbered = len(b.numbered), append(b.numbered, e)
	}
	b.entries[f.ID], b.sorted = e, nil
	b.index.Add(e.number, f)
	return e
}

func (b *Board) remove(id string) {
	e := b.entries[id]
	if e == nil {
		return
	}
	b.index.Remove(e.number, &e.finding)
	b.disown(e)
	for _, p := range e.pieces {
		p.subject.pieces = slices.DeleteFunc(p.subject.pieces, func(other *piece) bool { return other == p })
		b.drop(p.subject)
	}
	b.pairs -= len(e.pieces)
	delete(b.entries, id)
	b.numbered[e.number], b.sorted = nil, nil
	b.free = append(b.free, e.number)
}

// disown takes an entry out of claims.
func (b *Board) disown(e *entry) {
	for subject := range e.named {
		b.claims[subject] = slices.DeleteFunc(b.claims[subject], func(other *entry) bool { return other == e })
		if len(b.claims[subject]) == 0 {
			delete(b.claims, subject)
		}
	}
	e.named = nil
}

// drop forgets a subject that answers nothing.
func (b *Board) drop(s *boardSubject) {
	if len(s.pieces) == 0 {
		delete(b.subjects, s.ID)
	}
}

// refresh makes the board as new as the storage.
func (b *Board) refresh(ctx context.Context, reader storage.Reader) (err error) {
	// Others wait for it too, and what is half done must be begun again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTime)
	defer cancel()
	changes, err := reader.Changes(ctx, b.tenant, b.version)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			b.empty()
		}
		if b.tooMany = errors.Is(err, ErrTooMany); b.tooMany || err == nil {
			b.version = changes.Version
		}
		b.size.Store(int64(len(b.entries)))
	}()
	switch {
	case b.tooMany && !changes.Everything && len(changes.Findings)+len(changes.Described) == 0:
		return ErrTooMany
	case b.tooMany || changes.Everything:
		b.empty()
		return b.loadAll(ctx, reader)
	}
	if err := b.reload(ctx, reader, changes.Findings); err != nil {
		return err
	}
	if err := b.describe(ctx, reader, changes.Described); err != nil {
		return err
	}
	counted := changes.Counted
	if len(changes.Described) > 0 {
		counted = append(slices.Clone(counted), changes.Described...)
		slices.Sort(counted)
		counted = slices.Compact(counted)
	}
	return b.count(ctx, reader, counted)
}

func (b *Board) loadAll(ctx context.Context, reader storage.Reader) error {
	query := storage.FindingQuery{Limit: 1000}
	for {
		page, err := reader.Findings(ctx, b.tenant, query)
		if err != nil {
			return err
		}
		for i := range page.Findings {
			b.put(&page.Findings[i], page.Changed[i])
		}
		if len(b.entries) > b.maxEntries {
			return ErrTooMany
		}
		if !page.More {
			break
		}
		query.After = page.Findings[len(page.Findings)-1].ID
	}
	return b.load(ctx, reader, b.byID())
}

// reload reads findings anew; those that are gone are removed.
func (b *Board) reload(ctx context.Context, reader storage.Reader, ids []string) error {
	var entries []*entry
	for ids := range slices.Chunk(ids, 1000) {
		page, err := reader.Findings(ctx, b.tenant, storage.FindingQuery{IDs: ids, Limit: len(ids)})
		if err != nil {
			return err
		}
		for _, id := range ids {
			b.remove(id)
		}
		for i := range page.Findings {
			entries = append(entries, b.put(&page.Findings[i], page.Changed[i]))
		}
	}
	if len(b.entries) > b.maxEntries {
		return ErrTooMany
	}
	return b.load(ctx, reader, entries)
}

// load reads and matches the evidence of entries that have none yet.
func (b *Board) load(ctx context.Context, reader storage.Reader, entries []*entry) error {
	for _, e := range entries {
		e.loading = true
	}
	seen := map[string]bool{}
	fresh := map[string]bool{}
	for chunk := range slices.Chunk(entries, boardChunk) {
		if err := b.claim(ctx, reader, chunk); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(entries, boardChunk) {
		var query storage.SubjectQuery
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
		subjects, err := reader.Subjects(ctx, b.tenant, query)
		if err != nil {
			return err
		}
		for i := range subjects {
			s := &subjects[i]
			if seen[s.ID] {
				continue // several chunks select it; the first gives it to all
			}
			seen[s.ID] = true
			if b.match(s, func(e *entry) bool { return e.loading }) {
				fresh[s.ID] = true
			}
		}
		if b.pairs > b.maxPairs {
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
	return b.total(ctx, reader, ids)
}

// claim reads what traces named entries for.
func (b *Board) claim(ctx context.Context, reader storage.Reader, entries []*entry) error {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.finding.ID
		b.disown(e)
	}
	named, err := reader.NamedSubjects(ctx, b.tenant, ids)
	if err != nil {
		return err
	}
	for _, n := range named {
		e := b.entries[n.Finding]
		if e.named == nil {
			e.named = map[string]storage.NamedSubject{}
		}
		e.named[n.Subject] = n
		b.claims[n.Subject] = append(b.claims[n.Subject], e)
		e.stale = true
	}
	return nil
}

// match gives a subject to the entries that it answers, of those that are wanted, and reports whether there are any.
func (b *Board) match(s *storage.Subject, wanted func(*entry) bool) bool {
	subject, any := b.subjects[s.ID], false
	try := func(e *entry, named bool) {
		if !wanted(e) {
			return
		}
		p := &piece{entry: e, own: b.matchOf(&e.finding, s, false)}
		if named {
			p.claimed = b.matchOf(&e.finding, s, true)
		}
		if p.own == nil && p.claimed == nil {
			return
		}
		if subject == nil {
			subject = &boardSubject{}
			b.subjects[s.ID] = subject
		}
		subject.Subject = storage.Subject{
			ID: s.ID, Kind: s.Kind, Artifact: s.Artifact, Frame: witness.Frame{Module: s.Frame.Module, SymbolSource: s.Frame.SymbolSource},
		}
		p.subject = subject
		subject.pieces, e.pieces, e.stale, any = append(subject.pieces, p), append(e.pieces, p), true, true
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

// matchOf is how a subject answers a finding, or nil. Equal matches are one.
func (b *Board) matchOf(f *witness.Finding, s *storage.Subject, named bool) *finding.Match {
	m, ok := finding.Of(f, s.Kind, &s.Frame, &s.Artifact, named)
	if !ok {
		return nil
	}
	if known := b.matches[m]; known != nil {
		return known
	}
	b.matches[m] = &m
	return &m
}

// describe matches subjects anew.
func (b *Board) describe(ctx context.Context, reader storage.Reader, ids []string) error {
	for ids := range slices.Chunk(ids, boardChunk) {
		for _, id := range ids {
			s := b.subjects[id]
			if s == nil {
				continue
			}
			for _, p := range s.pieces {
				p.entry.pieces = slices.DeleteFunc(p.entry.pieces, func(other *piece) bool { return other == p })
				p.entry.stale = true
			}
			b.pairs -= len(s.pieces)
			s.pieces, s.located = nil, false
		}
		subjects, err := reader.Subjects(ctx, b.tenant, storage.SubjectQuery{IDs: ids})
		if err != nil {
			return err
		}
		for i := range subjects {
			b.match(&subjects[i], func(*entry) bool { return true })
		}
		for _, id := range ids {
			if s := b.subjects[id]; s != nil {
				b.drop(s)
			}
		}
		if b.pairs > b.maxPairs {
			return ErrTooMany
		}
	}
	return nil
}

// count reads the totals of subjects that have others, also those of claims.
func (b *Board) count(ctx context.Context, reader storage.Reader, ids []string) error {
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
		if err := b.claim(ctx, reader, chunk); err != nil {
			return err
		}
	}
	return b.total(ctx, reader, ids)
}

// total reads the totals of subjects.
func (b *Board) total(ctx context.Context, reader storage.Reader, ids []string) error {
	for chunk := range slices.Chunk(ids, boardChunk) {
		totals, err := reader.Totals(ctx, b.tenant, chunk)
		if err != nil {
			return err
		}
		for _, id := range chunk {
			s := b.subjects[id]
			s.total = totals[id]
			for _, p := range s.pieces {
				p.entry.stale = true
			}
		}
	}
	return nil
}

// part is what a piece adds up to.
func (p *piece) part() *storage.SubjectTotal {
	if p.own == nil {
		total := p.entry.named[p.subject.ID].Total
		return &total
	}
	return &p.subject.total
}

// places are where a piece was seen.
func (p *piece) places() *places {
	if p.own == nil {
		found := placesOf(p.entry.named[p.subject.ID].Workloads)
		return &found
	}
	return &p.subject.places
}

// places are namespaces and images, each once.
type places struct{ namespaces, images []string }

func placesOf(workloads []witness.Workload) places {
	var p places
	for i := range workloads {
		p.namespaces, p.images = append(p.namespaces, workloads[i].Namespace), append(p.images, workloads[i].Image)
	}
	for _, names := range []*[]string{&p.namespaces, &p.images} {
		slices.Sort(*names)
		*names = slices.Clip(slices.Compact(*names))
	}
	return p
}

// addUp adds up the pieces of an entry, if they changed.
func (e *entry) addUp(w *score.Weights, scratch *[]score.Input) {
	if !e.stale {
		return
	}
	e.stale = false
	e.hits, e.byKind, e.first, e.last = 0, [4]uint64{}, time.Time{}, time.Time{}
	inputs := (*scratch)[:0]
	for _, p := range e.pieces {
		total := p.part()
		e.hits = plus(e.hits, total.Hits)
		if kind := slices.Index(witness.Kinds, p.subject.Kind); kind >= 0 {
			e.byKind[kind] = plus(e.byKind[kind], total.Hits)
		}
		if !total.FirstSeen.IsZero() && (e.first.IsZero() || total.FirstSeen.Before(e.first)) {
			e.first = total.FirstSeen
		}
		if total.LastSeen.After(e.last) {
			e.last = total.LastSeen
		}
		inputs = appendInputs(inputs, w, &p.subject.Subject, p.own, p.claimed, total)
	}
	e.prepared = w.Prepare(inputs)
	*scratch = inputs
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

// byID are the entries in the order of ids.
func (b *Board) byID() []*entry {
	if b.sorted == nil {
		b.sorted = make([]*entry, 0, len(b.entries))
		for _, e := range b.entries {
			b.sorted = append(b.sorted, e)
		}
		slices.SortFunc(b.sorted, func(x, y *entry) int { return cmp.Compare(x.finding.ID, y.finding.ID) })
	}
	return b.sorted
}

// list selects and orders what the board has.
func (b *Board) list(ctx context.Context, reader storage.Reader, query *FindingsQuery) (FindingsPage, error) {
	if query.Digest != "" || query.Namespace != "" {
		if err := b.locate(ctx, reader); err != nil {
			return FindingsPage{}, err
		}
	}
	type found struct {
		entry *entry
		key   int64
	}
	var selected []found
	before := func(x, y found) int {
		return cmp.Or(cmp.Compare(y.key, x.key), cmp.Compare(x.entry.finding.ID, y.entry.finding.ID))
	}
	var after found
	if query.After != nil {
		after = found{&entry{finding: witness.Finding{ID: query.After.ID}}, query.After.Key}
	}
	var scratch []score.Input
	for _, e := range b.byID() {
		e.addUp(b.weights, &scratch)
		if !e.selected(query) {
			continue
		}
		f := found{entry: e}
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
		if query.After == nil || before(after, f) < 0 {
			selected = append(selected, f)
		}
	}
	if query.Order != "" && query.Order != OrderID {
		slices.SortFunc(selected, before)
	}
	limit := cmp.Or(query.Limit, 100)
	page := FindingsPage{Findings: make([]Summed, 0, min(limit, len(selected)))}
	for i, f := range selected {
		if i == limit {
			last := selected[i-1]
			page.Next = &FindingPosition{Key: last.key, ID: last.entry.finding.ID}
			break
		}
		page.Findings = append(page.Findings, f.entry.summed(query.Now))
	}
	return page, nil
}

// selected applies what a query asks for but bands.
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
	case query.Digest != "" && !e.hasDigest(query.Digest):
		return false
	case query.Namespace != "" && !e.hasNamespace(query.Namespace):
		return false
	default:
		return true
	}
}

func (e *entry) hasDigest(digest string) bool {
	return slices.ContainsFunc(e.finding.Occurrences, func(o witness.Occurrence) bool { return o.ImageDigest == digest }) ||
		slices.ContainsFunc(e.pieces, func(p *piece) bool {
			return (p.subject.Artifact.Digest == digest || slices.Contains(p.places().images, digest)) && p.part().Hits > 0
		})
}

func (e *entry) hasNamespace(namespace string) bool {
	return slices.ContainsFunc(e.finding.Occurrences, func(o witness.Occurrence) bool { return o.Namespace == namespace }) ||
		slices.ContainsFunc(e.pieces, func(p *piece) bool {
			return slices.Contains(p.places().namespaces, namespace) && p.part().Hits > 0
		})
}

// locate reads the workloads of the subjects that are not known to have some.
func (b *Board) locate(ctx context.Context, reader storage.Reader) error {
	var ids []string
	for id, s := range b.subjects {
		if !s.located {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for ids := range slices.Chunk(ids, boardChunk) {
		workloads, err := reader.SubjectWorkloads(ctx, b.tenant, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			b.subjects[id].places, b.subjects[id].located = placesOf(workloads[id]), true
		}
	}
	return nil
}
