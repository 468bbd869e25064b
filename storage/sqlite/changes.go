package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"sync"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// changesLimit is how many changes of a sort are remembered. Whoever asks about more is told that everything changed.
const changesLimit = 200_000

// changeLog remembers what changed, newest first, each thing once. The writer notes what a transaction changes and
// publishes it when it is committed; what is noted and then undone is told too, which does no harm.
type changeLog struct {
	lock    sync.Mutex
	version uint64
	// listening: somebody asked. Until then nothing is remembered.
	listening bool
	findings  recent[changedFinding]
	described recent[describedSubject]
	counted   recent[countedSubject]

	noted struct { // of the transaction under way; the writer's own
		findings  []changedFinding
		described []describedSubject
		counted   []countedSubject
	}
}

type changedFinding struct {
	tenant int64
	id     string
}

type countedSubject struct{ tenant, subject int64 }

// describedSubject is a subject, or those of a module and part of which an artifact or a component is known anew.
type describedSubject struct {
	tenant, subject int64
	module, part    int64
	artifact        bool
}

func newChangeLog() *changeLog {
	return &changeLog{
		version:  1,
		findings: newRecent[changedFinding](changesLimit), described: newRecent[describedSubject](changesLimit),
		counted: newRecent[countedSubject](changesLimit),
	}
}

// finding notes that a finding was put, deleted or named.
func (l *changeLog) finding(tenant int64, id string) {
	l.noted.findings = append(l.noted.findings, changedFinding{tenant, id})
}

// subject notes that a subject is new, or has a new witness.
func (l *changeLog) subject(tenant, subject int64) {
	l.noted.described = append(l.noted.described, describedSubject{tenant: tenant, subject: subject})
}

// known notes that something else is known of a module or a part of it.
func (l *changeLog) known(tenant, module, part int64, artifact bool) {
	l.noted.described = append(l.noted.described, describedSubject{tenant: tenant, module: module, part: part, artifact: artifact})
}

// count notes that the totals of a subject changed.
func (l *changeLog) count(tenant, subject int64) {
	l.noted.counted = append(l.noted.counted, countedSubject{tenant, subject})
}

// publish tells what was noted, once it is committed and before anybody is told that it is.
func (l *changeLog) publish() {
	n := &l.noted
	if len(n.findings)+len(n.described)+len(n.counted) == 0 {
		return
	}
	l.lock.Lock()
	l.version++
	if l.listening {
		for _, key := range n.findings {
			l.findings.touch(key, l.version)
		}
		for _, key := range n.described {
			l.described.touch(key, l.version)
		}
		for _, key := range n.counted {
			l.counted.touch(key, l.version)
		}
	}
	l.lock.Unlock()
	n.findings, n.described, n.counted = n.findings[:0], n.described[:0], n.counted[:0]
}

// changes are those of a tenant since a version.
type changes struct {
	version    uint64
	everything bool
	findings   []string
	described  []describedSubject
	counted    []int64
}

func (l *changeLog) since(tenant int64, since uint64) changes {
	l.lock.Lock()
	defer l.lock.Unlock()
	c := changes{version: l.version}
	if !l.listening || since == 0 || since > l.version || since < max(l.findings.floor, l.described.floor, l.counted.floor) {
		if !l.listening {
			l.listening = true
			l.findings.floor = l.version
		}
		c.everything = true
		return c
	}
	l.findings.since(since, func(key changedFinding) {
		if key.tenant == tenant {
			c.findings = append(c.findings, key.id)
		}
	})
	l.described.since(since, func(key describedSubject) {
		if key.tenant == tenant {
			c.described = append(c.described, key)
		}
	})
	l.counted.since(since, func(key countedSubject) {
		if key.tenant == tenant {
			c.counted = append(c.counted, key.subject)
		}
	})
	return c
}

// recent holds keys by when they were touched last, in a ring of links: entry 0 is before the newest and behind the oldest.
type recent[K comparable] struct {
	limit   int
	at      map[K]int32
	entries []recentEntry[K]
	// floor is the version up to which touches may have been forgotten.
	floor uint64
}

type recentEntry[K comparable] struct {
	key          K
	version      uint64
	newer, older int32
}

func newRecent[K comparable](limit int) recent[K] {
	return recent[K]{limit: limit, at: map[K]int32{}, entries: make([]recentEntry[K], 1)}
}

func (r *recent[K]) touch(key K, version uint64) {
	at, known := r.at[key]
	switch {
	case known:
		r.unlink(at)
	case len(r.at) < r.limit:
		at = int32(len(r.entries)) //nolint:gosec // bounded by limit
		r.entries = append(r.entries, recentEntry[K]{key: key})
		r.at[key] = at
	default: // in the place of the oldest
		at = r.entries[0].newer
		r.unlink(at)
		oldest := &r.entries[at]
		r.floor = max(r.floor, oldest.version)
		delete(r.at, oldest.key)
		oldest.key = key
		r.at[key] = at
	}
	e := &r.entries[at]
	e.version, e.newer, e.older = version, 0, r.entries[0].older
	r.entries[e.older].newer = at
	r.entries[0].older = at
}

func (r *recent[K]) unlink(at int32) {
	e := r.entries[at]
	r.entries[e.newer].older, r.entries[e.older].newer = e.older, e.newer
}

// since calls do with the keys touched after a version, newest first.
func (r *recent[K]) since(version uint64, do func(K)) {
	for at := r.entries[0].older; at != 0 && r.entries[at].version > version; at = r.entries[at].older {
		do(r.entries[at].key)
	}
}

// Changes implements storage.Reader.
func (s *Storage) Changes(ctx context.Context, tenant string, since uint64) (told storage.Changes, err error) {
	err = s.view(ctx, "changes", tenant, func(v *snapshot) error {
		c := s.writer.changes.since(v.tenant, since)
		told.Version, told.Everything = c.version, c.everything
		told.Findings = c.findings
		slices.Sort(told.Findings)
		described, err := v.describedSubjects(c.described)
		if err != nil {
			return err
		}
		told.Described, told.Counted = subjectIDs(described), subjectIDs(c.counted)
		return nil
	})
	if err != nil {
		return storage.Changes{}, err
	}
	return told, nil
}

func subjectIDs(rows []int64) []string {
	slices.Sort(rows)
	rows = slices.Compact(rows)
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = subjectID(row)
	}
	return ids
}

// describedSubjects are the subjects that are meant.
func (v *snapshot) describedSubjects(described []describedSubject) ([]int64, error) {
	var rows []int64
	modules, parts := set{}, map[[2]int64]struct{}{}
	for _, d := range described {
		switch {
		case d.subject != 0:
			rows = append(rows, d.subject)
		case d.artifact && d.module != 0:
			modules.add(d.module)
		default:
			parts[[2]int64{d.module, d.part}] = struct{}{}
		}
	}
	add := func(r *sql.Rows) error {
		var row int64
		err := r.Scan(&row)
		rows = append(rows, row)
		return err
	}
	if len(modules) > 0 {
		if err := v.each("SELECT s.id FROM json_each(?2) j CROSS JOIN subject s ON s.tenant = ?1 AND s.module = j.value",
			[]any{v.tenant, list(modules.list())}, add); err != nil {
			return nil, err
		}
	}
	if len(parts) > 0 {
		pairs := make([][2]int64, 0, len(parts))
		for pair := range parts {
			pairs = append(pairs, pair)
		}
		return rows, v.each(`SELECT s.id FROM json_each(?2) j
CROSS JOIN subject s ON s.tenant = ?1 AND s.module = j.value ->> 0 AND s.part = j.value ->> 1`, []any{v.tenant, list(pairs)}, add)
	}
	return rows, nil
}
