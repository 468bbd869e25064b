package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// coverageRows is how many rows of coverage that start on one day a source can have. What is beyond them is told as one
// loss of unknown size on that day (storage.StageCoverageLimit).
const coverageRows = 10000

// Coverage implements storage.Reader. It is answered from memory unless it is about more than the last memorySpan.
func (s *Storage) Coverage(ctx context.Context, tenant string, query storage.CoverageQuery) ([]witness.Coverage, error) {
	limit := query.Limit
	if limit <= 0 {
		limit = defaultCoverage
	}
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !query.From.IsZero() {
		from = nanoseconds(query.From)
	}
	if !query.To.IsZero() {
		to = nanoseconds(query.To)
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	records, ok := s.coverage.choose(tenant, from, to, query.Hosts, limit)
	s.leave()
	var err error
	if !ok {
		err = s.view(ctx, "coverage", tenant, func(v *snapshot) error {
			tracks, err := readTracks(ctx, v.tx, "t.tenant = ? AND r.start < ? AND (t.form = 4 OR r.end >= ?)", v.tenant, to, from)
			records = chooseCoverage(tracks, tenant, from, to, query.Hosts, limit)
			return err
		})
	}
	for i := range records {
		if !query.Received {
			records[i].Received = time.Time{}
		}
	}
	return records, err
}

// choose answers from memory, if that holds all of the time.
func (m *memory) choose(tenant string, from, to int64, hosts []string, limit int) ([]witness.Coverage, bool) {
	m.mutex.RLock()
	defer m.mutex.RUnlock()
	if m.tracks == nil || from <= m.from {
		return nil, false
	}
	return chooseCoverage(m.tracks, tenant, from, to, hosts, limit), true
}

// readTracks reads the rows that a condition on coverage_topic t and coverage_run r selects.
func readTracks(ctx context.Context, from interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, where string, args ...any,
) (map[int64]*track, error) {
	tracks := map[int64]*track{}
	rows, err := from.QueryContext(ctx, `SELECT t.id, t.form, (SELECT text FROM text WHERE id = t.tenant), s.text, i.host, i.pod, i.container, w.namespace, w.controller,
  w.container, w.image, t.assurance, t.signal, t.kinds, t.name, t.build_id, t.sha256, t.path, t.language, t.package, t.member, t.symbol
FROM coverage_topic t JOIN source s ON s.id = t.source JOIN instance i ON i.id = t.instance JOIN workload w ON w.id = t.workload
WHERE t.id IN (SELECT r.topic FROM coverage_run r JOIN coverage_topic t ON t.id = r.topic WHERE `+where+`)`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		var id, form, assurance, kinds int64
		var c witness.Coverage
		var tenant, name string
		a := &c.About
		if err := rows.Scan(&id, &form, &tenant, &c.Source, &c.Instance.Host, &c.Instance.Pod, &c.Instance.Container, &c.Workload.Namespace,
			&c.Workload.Controller, &c.Workload.Container, &c.Workload.Image, &assurance, &c.Signal, &kinds, &name, &a.Module.BuildID,
			&a.Module.SHA256, &a.Module.Path, &a.Language, &a.Package, &a.Member, &a.Symbol); err != nil {
			return nil, err
		}
		c.Assurance = assurances[assurance-1]
		for _, kind := range witness.Kinds {
			if kinds&(1<<kindCode(kind)) != 0 {
				c.Kinds = append(c.Kinds, kind)
			}
		}
		switch form {
		case formState:
			c.StatusTarget = name
		case formCounted:
			c.LossStage, c.Lost = name, 1
		case formUnknown:
			c.LossStage = name
		}
		tracks[id] = newTrack(tenant, &c)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	read, err := from.QueryContext(ctx, `SELECT r.topic, r.start, r.end, r.state, r.reason, r.interval, r.watched, r.seen, r.least_watched, r.least_seen, r.lost, r.received
FROM coverage_topic t CROSS JOIN coverage_run r ON r.topic = t.id WHERE `+where+" ORDER BY r.topic, r.start, r.end, r.state", args...)
	if err != nil {
		return nil, err
	}
	defer read.Close() //nolint:errcheck // its error is that of Err
	for read.Next() {
		var topic int64
		var r run
		if err := read.Scan(&topic, &r.start, &r.end, &r.state, &r.reason, &r.interval, &r.watched, &r.seen, &r.leastWatched, &r.leastSeen, &r.lost, &r.received); err != nil {
			return nil, err
		}
		tracks[topic].runs = append(tracks[topic].runs, r)
	}
	return tracks, read.Err()
}

// rememberCoverage fills the memory of coverage from the file, if that has no more than so many rows of memorySpan.
func (s *Storage) rememberCoverage(ctx context.Context, limit int) error {
	const recent = ` r.end >= ?1 OR t.form = 4 AND NOT EXISTS
  (SELECT 1 FROM coverage_run later WHERE later.topic = r.topic AND later.start > r.start AND later.start < ?1)`
	from := nanoseconds(s.now().Add(-memorySpan))
	s.coverage.reading()
	var tracks map[int64]*track
	defer func() { s.coverage.read(tracks, from) }()
	tx, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	var rows int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM coverage_topic t CROSS JOIN coverage_run r ON r.topic = t.id
WHERE`+recent+" LIMIT ?2)", from, limit+1).Scan(&rows); err != nil || rows > limit {
		return err
	}
	read, err := readTracks(ctx, tx, recent, from)
	if err == nil {
		tracks = read
	}
	return err
}

// rememberAgain fills the memory of coverage when there was too much for it, and is less now.
func (s *Storage) rememberAgain(ctx context.Context) error {
	if _, is := s.coverage.held(); is {
		return nil
	}
	return s.rememberCoverage(ctx, memoryAgain)
}

// WriteCoverage implements storage.Writer.
func (s *Storage) WriteCoverage(ctx context.Context, principal storage.Principal, coverage []witness.Coverage) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if len(coverage) == 0 {
		return nil
	}
	var changes []change
	err := s.writer.submitThen(ctx, len(coverage), func() error {
		changes = changes[:0]
		tenant, name, err := s.writer.principal(principal)
		if err != nil {
			return err
		}
		w := coverageWrite{writer: s.writer, tenant: tenant, tenantName: principal.Tenant, principal: name}
		for i := range coverage {
			if coverage[i].Validate() != nil {
				continue
			}
			if err := w.record(&coverage[i]); err != nil {
				return err
			}
		}
		changes = w.changes
		return nil
	}, func() { s.coverage.apply(changes) })
	if err != nil {
		return fmt.Errorf("write coverage: %w", err)
	}
	return nil
}

// coverageStatements are the prepared statements of coverage.
type coverageStatements struct {
	findTopic, addTopic             *sql.Stmt
	nearRuns, findRun               *sql.Stmt
	putRun, dropRun                 *sql.Stmt
	findCoverageDay, addCoverageDay *sql.Stmt
	topics                          *cache[topicKey, int64]
}

const topicColumns = "source, tenant, form, instance, workload, assurance, signal, kinds, name, build_id, sha256, path, language, package, member, symbol"

func (w *writer) prepareCoverage(ctx context.Context, conn *sql.Conn) error {
	w.topics = newCache[topicKey, int64](cacheLimit, w.texts.emptied)
	for _, s := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&w.findTopic, "SELECT id FROM coverage_topic WHERE (" + topicColumns + ") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
		{&w.addTopic, "INSERT INTO coverage_topic (" + topicColumns + ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
		{&w.nearRuns, `SELECT start, end, interval, watched, seen, least_watched, least_seen, received FROM coverage_run
WHERE topic = ? AND start >= ? AND start <= ? AND start < ? ORDER BY start DESC`},
		{&w.findRun, "SELECT reason, interval, watched, seen, least_watched, least_seen, lost, received FROM coverage_run WHERE topic = ? AND start = ? AND end = ? AND state = ?"},
		{&w.putRun, "INSERT OR REPLACE INTO coverage_run VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"},
		{&w.dropRun, "DELETE FROM coverage_run WHERE topic = ? AND start = ? AND end = ? AND state = ?"},
		{&w.findCoverageDay, "SELECT rows FROM coverage_day WHERE tenant = ? AND source = ? AND day = ?"},
		{&w.addCoverageDay, "INSERT INTO coverage_day VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET rows = max(0, rows + excluded.rows)"},
	} {
		var err error
		if *s.into, err = conn.PrepareContext(ctx, s.query); err != nil { //nolint:sqlclosecheck // finish does
			return fmt.Errorf("prepare: %w", err)
		}
		w.prepared = append(w.prepared, *s.into)
	}
	return nil
}

// forget empties all caches.
func (w *writer) forget() {
	w.caches.forget()
	w.topics.clear()
}

// coverageWrite is a call of WriteCoverage within its transaction.
type coverageWrite struct {
	*writer
	tenant, principal int64
	tenantName        string
	changes           []change
}

// topicKey is a row of coverage_topic.
type topicKey struct {
	tenant, form, source, instance, workload, assurance, kinds int64
	signal, name                                               string
	about                                                      witness.About
}

// record folds a record into the rows of its topic.
func (w *coverageWrite) record(c *witness.Coverage) error {
	topic := *c
	if !topic.Assurance.Valid() {
		topic.Assurance = witness.Asserted
	}
	form := formOf(c)
	whole := runOf(c)
	whole.received = w.now().UnixNano()
	parts := []run{whole}
	if form == formHeartbeat || form == formUnknown {
		parts = whole.weeks()
	}
	id, source, err := w.topic(&topic)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if form == formHeartbeat || form == formUnknown {
			err = w.fold(id, source, &topic, part)
		} else {
			err = w.keep(id, source, &topic, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// topic returns the rows of a topic and its source, adding what is new.
func (w *coverageWrite) topic(c *witness.Coverage) (id, source int64, err error) {
	key := topicKey{
		tenant: w.tenant, form: formOf(c), assurance: assuranceCode(c.Assurance), kinds: kindBits(c.Kinds), signal: c.Signal, name: c.LossStage,
		about: c.About,
	}
	if key.form == formState {
		key.name = c.StatusTarget
	}
	if key.source, err = w.source(c.Source); err != nil {
		return 0, 0, err
	}
	if key.instance, err = w.instance(c.Instance); err != nil {
		return 0, 0, err
	}
	if key.workload, err = w.workload(c.Workload); err != nil {
		return 0, 0, err
	}
	if id, ok := w.topics.get(key); ok {
		return id, key.source, nil
	}
	a := &key.about
	values := []any{
		key.source, key.tenant, key.form, key.instance, key.workload, key.assurance, key.signal, key.kinds, key.name, a.Module.BuildID,
		a.Module.SHA256, a.Module.Path, a.Language, a.Package, a.Member, a.Symbol,
	}
	if id, _, err = row(w.findTopic, values, w.addTopic, values); err == nil {
		w.topics.put(key, id)
	}
	return id, key.source, err
}

func kindBits(kinds []witness.Kind) (bits int64) {
	for _, kind := range kinds {
		bits |= 1 << kindCode(kind)
	}
	return bits
}

// fold joins a row with those of its topic and week that it overlaps or touches.
func (w *coverageWrite) fold(topic, source int64, c *witness.Coverage, r run) error {
	near, err := w.near(topic, r)
	if err != nil {
		return err
	}
	joined := r
	for _, other := range near {
		joined = join(joined, other)
	}
	if len(near) == 1 && joined == near[0] {
		return nil
	}
	return w.replace(topic, source, c, near, joined)
}

func (w *coverageWrite) near(topic int64, r run) (near []run, err error) {
	week := r.start / weekLength
	rows, err := w.nearRuns.QueryContext(context.Background(), topic, week*weekLength, r.end, (week+1)*weekLength)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		var other run
		if err := rows.Scan(&other.start, &other.end, &other.interval, &other.watched, &other.seen, &other.leastWatched, &other.leastSeen, &other.received); err != nil {
			return nil, err
		}
		if other.end < r.start {
			break // and so do all before
		}
		near = append(near, other)
	}
	return near, rows.Err()
}

// keep adds a row as it is. Of two with one key the larger stands.
func (w *coverageWrite) keep(topic, source int64, c *witness.Coverage, r run) error {
	known := r
	err := w.findRun.QueryRowContext(context.Background(), topic, r.start, r.end, r.state).Scan(&known.reason, &known.interval,
		&known.watched, &known.seen, &known.leastWatched, &known.leastSeen, &known.lost, &known.received)
	if errors.Is(err, sql.ErrNoRows) {
		return w.replace(topic, source, c, nil, r)
	}
	if err != nil {
		return err
	}
	if joined := join(r, known); joined != known {
		return w.replace(topic, source, c, []run{known}, joined)
	}
	return nil
}

// replace puts a row in the place of others, unless it is one too many.
func (w *coverageWrite) replace(topic, source int64, c *witness.Coverage, old []run, r run) error {
	full, err := w.countRows(source, c, r.start/dayLength, old)
	if err != nil || full {
		return err
	}
	for i := range old {
		if err := execute(w.dropRun, topic, old[i].start, old[i].end, old[i].state); err != nil {
			return err
		}
	}
	if err := execute(w.putRun, topic, r.start, r.end, r.state, r.reason, r.interval, r.watched, r.seen, r.leastWatched, r.leastSeen, r.lost,
		r.received, w.principal); err != nil {
		return err
	}
	w.changes = append(w.changes, change{topic, newTrack(w.tenantName, c), old, []run{r}})
	return nil
}

// countRows keeps count of the rows of a source on a day, of which there is a new one now in the place of old ones. It
// says whether there are too many already; then that is told in the place of the new row.
func (w *coverageWrite) countRows(source int64, c *witness.Coverage, day int64, old []run) (full bool, err error) {
	if c.LossStage == storage.StageCoverageLimit {
		return false, nil // there is one of them a day
	}
	for i := range old {
		if i > 0 || old[i].start/dayLength != day {
			if err := execute(w.addCoverageDay, w.tenant, source, old[i].start/dayLength, -1); err != nil {
				return false, err
			}
		}
	}
	if len(old) > 0 && old[0].start/dayLength == day {
		return false, nil
	}
	if len(old) == 0 {
		var rows int64
		err := w.findCoverageDay.QueryRowContext(context.Background(), w.tenant, source, day).Scan(&rows)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return false, err
		}
		if rows >= coverageRows {
			return true, w.record(&witness.Coverage{
				Source: c.Source, Assurance: c.Assurance, LossStage: storage.StageCoverageLimit,
				Start: timeOf(day * dayLength), End: timeOf((day + 1) * dayLength),
			})
		}
	}
	return false, execute(w.addCoverageDay, w.tenant, source, day, 1)
}
