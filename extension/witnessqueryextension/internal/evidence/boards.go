package evidence

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Limits of what Boards keep, and when they look.
const (
	// MaxBoardFindings is how many findings of a tenant can be selected and ordered by their evidence.
	MaxBoardFindings = 200_000
	// maxBoardPairs is how many pairs of finding and subject are kept for a tenant, at about 80 bytes each; what traces named,
	// with its workloads, counts besides.
	maxBoardPairs = 2_000_000
	// maxBoardNames is how many pairs of subject and namespace or image are kept for a tenant, at 8 bytes each.
	maxBoardNames = 10_000_000
	// maxBoards is how many tenants are kept; the one that was asked for least recently is forgotten.
	maxBoards = 16
	// boardChunk is how many findings or subjects one call of the reader is about.
	boardChunk = 5000
	// lockChunk is how many subjects, or findings that are added up, are taken in while nobody can read.
	lockChunk = 1000
	// boardFew is how many subjects whoever asks waits for: what more of them changed is taken in by and by.
	boardFew = 500
	// boardPause is the time between two looks at what changed, and boardShare how much longer than the last one took it is at
	// least.
	boardPause = time.Second
	boardShare = 2
	// boardIdle is after how long nobody has asked that a tenant is forgotten.
	boardIdle = time.Hour
	// boardWait is how long whoever asks waits for the findings to be read.
	boardWait = 10 * time.Second
)

// Errors of Boards.
var (
	// ErrTooMany says that there are more findings, or is more evidence for them, than an answer or a board holds.
	ErrTooMany = storage.ErrTooMany
	// ErrReading says that the findings are still being read. That goes on: whoever asks later is answered.
	ErrReading = errors.New("the findings are being read")
)

// Boards keep for each tenant what its findings add up to, so that all of them can be selected and ordered by it. Findings
// are as of the moment they are asked for. Evidence is too where little changed since somebody asked last; else it is as of
// the last time when everything had been taken in, which is usually at most two seconds ago and which the answer tells. The
// zero Boards are ready for use, by many at once; Close ends what they do.
type Boards struct {
	// MaxFindings is how many findings of a tenant are kept; 0 is MaxBoardFindings.
	MaxFindings int
	// Refreshed, if not nil, is told how long it took to take in what changed.
	Refreshed func(time.Duration)

	lock    sync.Mutex
	keepers map[string]*keeper
	clock   uint64 // of use
	closed  bool
	ended   sync.WaitGroup
}

// Findings selects findings of a tenant. exact waits for all that changed. ErrTooMany, if there are too many of them;
// ErrReading, if reading them takes longer than anybody should wait.
func (b *Boards) Findings(ctx context.Context, reader storage.Reader, tenant string, w *score.Weights, query FindingsQuery, exact bool) (FindingsPage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, boardWait, ErrReading)
	defer cancel()
	for {
		k := b.of(tenant, w, reader)
		if k == nil {
			return FindingsPage{}, storage.ErrClosed
		}
		at := time.Now()
		current, err := k.ask(ctx, exact)
		if errors.Is(err, errForgotten) {
			continue
		}
		if err != nil {
			return FindingsPage{}, err
		}
		if query.After == nil && current.Before(at) {
			query.Now = query.Now.Add(-at.Sub(current))
		}
		return k.board.list(&query), nil
	}
}

// Warm has the findings of a tenant read, for later.
func (b *Boards) Warm(reader storage.Reader, tenant string, w *score.Weights) {
	b.of(tenant, w, reader)
}

// Ready says whether the findings of a tenant have been read.
func (b *Boards) Ready(tenant string) bool {
	b.lock.Lock()
	k := b.keepers[tenant]
	b.lock.Unlock()
	if k == nil {
		return false
	}
	select {
	case <-k.loaded:
		return true
	default:
		return false
	}
}

// Close forgets all tenants, and waits for what is under way.
func (b *Boards) Close() {
	b.lock.Lock()
	b.closed = true
	for tenant := range b.keepers {
		b.forget(tenant)
	}
	b.lock.Unlock()
	b.ended.Wait()
}

// forget ends what is done for a tenant. The caller has the lock.
func (b *Boards) forget(tenant string) {
	b.keepers[tenant].cancel()
	delete(b.keepers, tenant)
}

func (b *Boards) of(tenant string, w *score.Weights, reader storage.Reader) *keeper {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.closed {
		return nil
	}
	if b.keepers == nil {
		b.keepers = map[string]*keeper{}
	}
	k := b.keepers[tenant]
	if k == nil {
		if len(b.keepers) == maxBoards {
			oldest := ""
			for name, other := range b.keepers {
				if oldest == "" || other.used < b.keepers[oldest].used {
					oldest = name
				}
			}
			b.forget(oldest)
		}
		ctx, cancel := context.WithCancel(context.Background())
		k = &keeper{
			board: newBoard(tenant, w, reader, b.Limit(), maxBoardPairs), refreshed: b.Refreshed,
			asks: make(chan ask), cancel: cancel, ended: make(chan struct{}), loaded: make(chan struct{}), asked: time.Now(),
		}
		b.keepers[tenant] = k
		b.ended.Add(1)
		go func() {
			defer b.ended.Done()
			defer close(k.ended)
			defer cancel()
			k.run(ctx)
			b.lock.Lock()
			defer b.lock.Unlock()
			if b.keepers[tenant] == k {
				delete(b.keepers, tenant)
			}
		}()
	}
	b.clock++
	k.used = b.clock
	return k
}

// Limit is how many findings of a tenant are kept.
func (b *Boards) Limit() int { return cmp.Or(b.MaxFindings, MaxBoardFindings) }

// Tenants is how many tenants have their findings kept.
func (b *Boards) Tenants() int {
	b.lock.Lock()
	defer b.lock.Unlock()
	return len(b.keepers)
}

// Size is how many findings are kept, and how many pairs of finding and subject, of all tenants.
func (b *Boards) Size() (findings, pairs int) {
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, k := range b.keepers {
		k.board.lock.RLock()
		findings, pairs = findings+len(k.board.entries), pairs+k.board.pairs
		k.board.lock.RUnlock()
	}
	return findings, pairs
}

// keeper keeps a board as new as the storage, in a goroutine of its own.
type keeper struct {
	board     *board
	refreshed func(time.Duration)
	used      uint64 // of Boards
	asks      chan ask
	cancel    context.CancelFunc
	ended     chan struct{}
	loaded    chan struct{} // closed when the board was read once

	// What follows is the goroutine's.
	version uint64 // of storage.Changes; 0: nothing is read
	tooMany bool   // the findings did not fit at version
	// described and counted are what changed and was not taken in yet.
	described, counted map[string]struct{}
	looked             time.Time // when they were told
	current            time.Time // when everything had been taken in
	asked              time.Time // last
	waiting            []ask
}

// ask is somebody who wants to know how old the board is, once the findings in it are those of now.
type ask struct {
	exact bool
	reply chan<- reply
}

type reply struct {
	current time.Time
	err     error
}

// errForgotten says that the keeper ended before it answered.
var errForgotten = errors.New("the board was forgotten")

func (k *keeper) ask(ctx context.Context, exact bool) (time.Time, error) {
	replies := make(chan reply, 1)
	select {
	case k.asks <- ask{exact, replies}:
	case <-k.ended:
		return time.Time{}, errForgotten
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
	select {
	case r := <-replies:
		return r.current, r.err
	case <-k.ended:
		return time.Time{}, errForgotten
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

// run takes in what changed, when somebody asks and by and by, until nobody has asked for long.
func (k *keeper) run(ctx context.Context) {
	timer := time.NewTimer(0) // to read the findings
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-k.asks:
			k.waiting = append(k.waiting, a)
			k.answer(ctx, false)
		case <-timer.C:
			if time.Since(k.asked) > boardIdle {
				return
			}
			began := time.Now()
			err := k.look(ctx)
			if err == nil {
				err = k.takeIn(ctx, true)
			}
			if err != nil {
				k.fail(err)
			}
			took := time.Since(began)
			if k.refreshed != nil {
				k.refreshed(took)
			}
			if len(k.waiting) > 0 {
				k.answer(ctx, false)
			}
			timer.Reset(max(boardPause, boardShare*took))
		}
	}
}

// answer takes in what whoever asks must see, and replies. busy says that something else is being taken in.
func (k *keeper) answer(ctx context.Context, busy bool) {
	for more := true; more; { // all that wait by now
		select {
		case a := <-k.asks:
			k.waiting = append(k.waiting, a)
		default:
			more = false
		}
	}
	var asks []ask
	exact := false
	k.waiting = slices.DeleteFunc(k.waiting, func(a ask) bool {
		if busy && a.exact {
			return false // waits for that, too
		}
		asks, exact = append(asks, a), exact || a.exact
		return true
	})
	k.asked = time.Now()
	err := k.look(ctx)
	if err == nil && !busy && (exact || len(k.described)+len(k.counted) <= boardFew) {
		err = k.takeIn(ctx, false)
	}
	if err != nil {
		k.fail(err)
	}
	if ctx.Err() != nil {
		return // they are told by the end
	}
	for _, a := range asks {
		a.reply <- reply{k.current, err}
	}
}

// fail forgets what was read, so that the next one begins anew; where there is too much, once it is less.
func (k *keeper) fail(err error) {
	k.tooMany = errors.Is(err, ErrTooMany)
	if !k.tooMany {
		k.version = 0
	}
	k.described, k.counted = nil, nil
	k.board.empty()
}

// look asks what changed, takes in the findings of it, and notes the rest.
func (k *keeper) look(ctx context.Context) error {
	now := time.Now()
	changes, err := k.board.reader.Changes(ctx, k.board.tenant, k.version)
	if err != nil {
		return err
	}
	if k.tooMany && !changes.Everything && len(changes.Findings)+len(changes.Described) == 0 {
		return ErrTooMany
	}
	k.version = changes.Version
	if k.tooMany || changes.Everything {
		k.tooMany, k.described, k.counted = false, nil, nil
		k.board.empty()
		if err := k.board.loadAll(ctx); err != nil {
			return err
		}
		k.looked, k.current = now, now
		select {
		case <-k.loaded:
		default:
			close(k.loaded)
		}
		return nil
	}
	if err := k.board.reload(ctx, changes.Findings); err != nil {
		return err
	}
	k.looked = now
	k.described, k.counted = note(k.described, changes.Described), note(k.counted, changes.Counted)
	if len(k.described)+len(k.counted)+len(k.board.stale) == 0 {
		k.current = now
	}
	k.board.sort()
	return nil
}

func note(noted map[string]struct{}, ids []string) map[string]struct{} {
	if noted == nil {
		noted = make(map[string]struct{}, len(ids))
	}
	for _, id := range ids {
		noted[id] = struct{}{}
	}
	return noted
}

// takeIn takes in what was noted. If it is much, and not itself what somebody waits for, whoever asks meanwhile is answered.
func (k *keeper) takeIn(ctx context.Context, byAndBy bool) error {
	looked, described, counted := k.looked, keys(k.described), keys(k.counted)
	k.described, k.counted = nil, nil
	pause := func() {
		if byAndBy && len(described)+len(counted) > boardFew {
			select {
			case a := <-k.asks:
				k.waiting = append(k.waiting, a)
				k.answer(ctx, true)
			default:
			}
		}
	}
	for _, of := range []struct {
		ids  []string
		take func(context.Context, []string) error
	}{{described, k.board.describe}, {counted, k.board.count}} {
		for ids := range slices.Chunk(of.ids, lockChunk) {
			if err := of.take(ctx, ids); err != nil {
				return err
			}
			pause()
		}
	}
	for len(k.board.stale) > 0 {
		k.board.lock.Lock()
		k.board.addUp(lockChunk)
		k.board.lock.Unlock()
		pause()
	}
	if looked.After(k.current) {
		k.current = looked
	}
	return nil
}

func keys(noted map[string]struct{}) []string {
	ids := make([]string, 0, len(noted))
	for id := range noted {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// loadAll reads everything.
func (b *board) loadAll(ctx context.Context) error {
	query := storage.FindingQuery{Limit: 1000}
	for {
		page, err := b.reader.Findings(ctx, b.tenant, query)
		if err != nil {
			return err
		}
		b.lock.Lock()
		for i := range page.Findings {
			b.put(&page.Findings[i], page.Changed[i])
		}
		tooMany := len(b.entries) > b.maxEntries
		b.lock.Unlock()
		if tooMany {
			return ErrTooMany
		}
		if !page.More {
			break
		}
		query.After = page.Findings[len(page.Findings)-1].ID
	}
	entries := make([]*entry, 0, len(b.entries))
	for _, e := range b.entries {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(x, y *entry) int { return cmp.Compare(x.finding.ID, y.finding.ID) })
	if err := b.loadPlaced(ctx, entries); err != nil {
		return err
	}
	b.lock.Lock()
	b.addUp(len(b.stale))
	b.lock.Unlock()
	b.sort()
	return nil
}

// loadPlaced loads entries with the places of their subjects.
func (b *board) loadPlaced(ctx context.Context, entries []*entry) error {
	if err := b.load(ctx, entries); err != nil {
		return err
	}
	unplaced := map[string]struct{}{}
	for _, e := range entries {
		for i := range e.pieces {
			if s := e.pieces[i].subject; s.places == nil {
				unplaced[s.id] = struct{}{}
			}
		}
	}
	return b.locate(ctx, keys(unplaced))
}

// reload reads findings anew; those that are gone are removed. Those that ask what they asked before keep their evidence.
func (b *board) reload(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	var fresh, kept []*entry
	for ids := range slices.Chunk(ids, 1000) {
		page, err := b.reader.Findings(ctx, b.tenant, storage.FindingQuery{IDs: ids, Limit: len(ids)})
		if err != nil {
			return err
		}
		found := make(map[string]int, len(page.Findings))
		for i := range page.Findings {
			found[page.Findings[i].ID] = i
		}
		b.lock.Lock()
		for _, id := range ids {
			i, ok := found[id]
			e := b.entries[id]
			switch {
			case !ok:
				b.remove(id)
			case e != nil && sameQuestion(&e.finding, &page.Findings[i]):
				e.finding, e.changed = page.Findings[i], page.Changed[i]
				kept = append(kept, e)
			default:
				fresh = append(fresh, b.put(&page.Findings[i], page.Changed[i]))
			}
		}
		tooMany := len(b.entries) > b.maxEntries
		b.lock.Unlock()
		if tooMany {
			return ErrTooMany
		}
	}
	named, err := b.namedAnew(ctx, kept)
	if err != nil {
		return err
	}
	if err := b.loadPlaced(ctx, fresh); err != nil {
		return err
	}
	if len(named) > 0 {
		if err := b.describe(ctx, named); err != nil {
			return err
		}
	}
	b.lock.Lock()
	b.addUp(len(fresh) + len(kept)) // which were touched last
	b.lock.Unlock()
	return nil
}

// namedAnew reads what traces named entries for, and returns the subjects that some of them are named for by now.
func (b *board) namedAnew(ctx context.Context, entries []*entry) ([]string, error) {
	before := map[*entry]map[string]storage.NamedSubject{}
	for _, e := range entries {
		before[e] = e.named
	}
	changed := map[string]struct{}{}
	for chunk := range slices.Chunk(entries, boardChunk) {
		if err := b.claim(ctx, chunk); err != nil {
			return nil, err
		}
	}
	for e, named := range before {
		for id := range e.named {
			if _, ok := named[id]; !ok {
				changed[id] = struct{}{}
			}
		}
		for id := range named {
			if _, ok := e.named[id]; !ok {
				changed[id] = struct{}{}
			}
		}
	}
	return keys(changed), nil
}

// sameQuestion says that two findings are answered by the same evidence.
func sameQuestion(a, b *witness.Finding) bool {
	return a.Component == b.Component && slices.Equal(a.Symbols, b.Symbols) && slices.Equal(a.Affected, b.Affected) && slices.Equal(a.Versions, b.Versions)
}
