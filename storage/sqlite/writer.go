package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// groupSize and groupTime bound what one transaction takes in: observations, and the time since it began.
	groupSize = 1000
	groupTime = 100 * time.Millisecond
	// queueSize is how many calls wait at most; further ones block until there is room or their context ends.
	queueSize = 256
)

// writer is the one goroutine that writes. All of it but submit, close and the counters belongs to that goroutine.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	now   func() time.Time
	queue chan *job
	ended chan struct{}
	// failure is what the last fold failed with, once ended is closed.
	failure error

	interning
	statements
	foldStatements
	coverageStatements
	prepared []*sql.Stmt // all of them

	derived *derived
	deltas  []delta // of the job under way, not derived yet
	stale   []stale // what this transaction made stale
	folded  bool    // this transaction folds
	dropped bool    // this transaction changes derived tables behind the back of derived
	// lastFold is when the derived rows were folded last; recovering says that rows are read again that were stored before.
	lastFold   time.Time
	recovering bool
	// folding is the fold under way, if any, and interrupted, while recovering, that which a crash ended.
	folding     *folding
	interrupted *unfinished
	foldFailed  time.Time
	awaited     []chan struct{} // for the next fold
	limits      foldLimits
	horizon     int64 // windows that start before it are refused
	newHorizon  int64 // once the transaction is committed

	commits, calls, uncompared atomic.Uint64
	changes                    *changeLog
}

// statements are the prepared statements that are no part of interning.
type statements struct {
	addObservation, findObservation            *sql.Stmt
	deleteObservation                          *sql.Stmt
	addWindow, addUnfolded, addActive          *sql.Stmt
	addNamed, nameFinding                      *sql.Stmt
	findFinding, putFinding, deleteFinding     *sql.Stmt
	deleteScope, bareScope, scopeFindings      *sql.Stmt
	findReceipt, addReceipt, isStored          *sql.Stmt
	findArtifactOf, putArtifactOf              *sql.Stmt
	findComponentOf, putComponentOf            *sql.Stmt
	findSnapshot, lastSnapshot, addSnapshot    *sql.Stmt
	addInput                                   *sql.Stmt
	begin, commit, rollback                    *sql.Stmt
	savepoint, releaseSavepoint, undoSavepoint *sql.Stmt
}

// job is a call in the queue.
type job struct {
	size int
	do   func() error
	then func() // once it is committed, in the order of commits; may be nil
	// taken is set by whoever comes first: the writer that does the job, or the caller that gives it up.
	taken atomic.Bool
	done  chan error
}

func newWriter(ctx context.Context, db *sql.DB, conn *sql.Conn, now func() time.Time, emptied *atomic.Uint64) (*writer, error) {
	w := &writer{
		db: db, conn: conn, now: now, queue: make(chan *job, queueSize), ended: make(chan struct{}), changes: newChangeLog(),
		derived: newDerived(), lastFold: time.Now(), limits: usualLimits,
	}
	w.caches = newCaches(cacheLimit, emptied)
	for _, s := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.savepoint, "SAVEPOINT call"},
		{&w.releaseSavepoint, "RELEASE call"},
		{&w.undoSavepoint, "ROLLBACK TO call"},
		{&w.addObservation, "INSERT INTO obs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"},
		{&w.findObservation, "SELECT assurance FROM obs WHERE start = ? AND source = ? AND instance = ? AND witness = ? AND flush = ?"},
		{&w.deleteObservation, "DELETE FROM obs WHERE start = ? AND source = ? AND instance = ? AND witness = ? AND flush = ?"},
		{&w.addWindow, "INSERT INTO window VALUES (?) ON CONFLICT DO NOTHING"},
		{&w.addUnfolded, "INSERT INTO unfolded VALUES (?,?) ON CONFLICT DO UPDATE SET received = excluded.received"},
		{&w.addActive, "INSERT INTO active VALUES (?,?,?) ON CONFLICT DO NOTHING"},
		{&w.addNamed, "INSERT INTO named VALUES (?,?,?) ON CONFLICT DO NOTHING"},
		{&w.nameFinding, "INSERT INTO finding VALUES (?,?,'','',1,?,?,?) ON CONFLICT DO UPDATE SET named = 1 WHERE named = 0"},
		{&w.scopeFindings, "SELECT id FROM finding WHERE tenant = ? AND scope = ?"},
		{&w.findFinding, "SELECT 1 FROM finding WHERE tenant = ? AND id = ?"},
		{&w.putFinding, "INSERT INTO finding VALUES (?,?,?,?,0,?,?,?) ON CONFLICT DO UPDATE SET scope = excluded.scope, component = excluded.component, json = excluded.json, received = excluded.received, principal = excluded.principal WHERE json <> excluded.json"},
		{&w.deleteFinding, "DELETE FROM finding WHERE tenant = ? AND id = ?"},
		{&w.deleteScope, "DELETE FROM finding WHERE tenant = ? AND scope = ? AND named = 0 AND id NOT IN (SELECT value FROM json_each(?))"},
		{&w.bareScope, "UPDATE finding SET scope = '', component = '', json = json_object('id', id) WHERE tenant = ? AND scope = ? AND id NOT IN (SELECT value FROM json_each(?))"},
		{&w.findReceipt, "SELECT body, received FROM receipt WHERE tenant = ? AND principal = ? AND key = ?"},
		{&w.addReceipt, "INSERT INTO receipt VALUES (?,?,?,?,?)"},
		{&w.isStored, `SELECT EXISTS (SELECT 1 FROM witness w, source s WHERE w.tenant = ?1 AND w.witness = ?2 AND s.text = ?3
AND (EXISTS (SELECT 1 FROM obs o WHERE o.start = ?4 AND o.source = s.id AND o.witness = w.id)
  OR EXISTS (SELECT 1 FROM rolled r WHERE r.start IN (?5, ?6) AND r.source = s.id AND r.witness = w.id)))`},
		{&w.findArtifactOf, "SELECT artifact, assurance, seen FROM known_artifact WHERE tenant = ? AND module = ? AND part = ?"},
		{&w.putArtifactOf, "INSERT OR REPLACE INTO known_artifact VALUES (?,?,?,?,?,?)"},
		{&w.findComponentOf, "SELECT component, assurance, seen FROM known_component WHERE tenant = ? AND module = ? AND part = ?"},
		{&w.putComponentOf, "INSERT OR REPLACE INTO known_component VALUES (?,?,?,?,?,?)"},
		{&w.findSnapshot, "SELECT 1 FROM snapshot WHERE tenant = ? AND id = ?"},
		{&w.lastSnapshot, "SELECT number, id FROM snapshot WHERE tenant = ? AND finding = ? ORDER BY number DESC LIMIT 1"},
		{&w.addSnapshot, "INSERT INTO snapshot VALUES (?,?,?,?,?,?,?,?)"},
		{&w.addInput, "INSERT INTO snapshot_input VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET used = excluded.used"},
		{&w.findText, "SELECT id FROM text WHERE text = ?"},
		{&w.addText, "INSERT INTO text (text) VALUES (?)"},
		{&w.findModule, "SELECT id FROM module WHERE key = ? AND build_id = ? AND sha256 = ? AND path = ?"},
		{&w.addModule, "INSERT INTO module (key, build_id, sha256, path) VALUES (?,?,?,?)"},
		{&w.findFrame, "SELECT id FROM frame WHERE digest = ?"},
		{&w.addFrame, "INSERT INTO frame (digest, module, package, member, symbol, file, line, language, flags, offset, inlined, symbol_source, confidence) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"},
		{&w.findNode, "SELECT id FROM node WHERE caller = ? AND frame = ?"},
		{&w.addNode, "INSERT INTO node (caller, frame) VALUES (?,?)"},
		{&w.findWorkload, "SELECT id FROM workload WHERE namespace = ? AND controller = ? AND container = ? AND image = ?"},
		{&w.addWorkload, "INSERT INTO workload (namespace, controller, container, image) VALUES (?,?,?,?)"},
		{&w.findInstance, "SELECT id FROM instance WHERE host = ? AND pod = ? AND container = ?"},
		{&w.addInstance, "INSERT INTO instance (host, pod, container) VALUES (?,?,?)"},
		{&w.findSource, "SELECT id FROM source WHERE text = ?"},
		{&w.addSource, "INSERT INTO source (text, receiver) VALUES (?,?)"},
		{&w.findArtifact, "SELECT id FROM artifact WHERE purl = ? AND digest = ? AND revision = ? AND repository = ? AND method = ? AND conflicts = ?"},
		{&w.addArtifact, "INSERT INTO artifact (purl, digest, revision, repository, method, conflicts) VALUES (?,?,?,?,?,?)"},
		{&w.addArtifactName, "INSERT INTO artifact_name VALUES (?,?) ON CONFLICT DO NOTHING"},
		{&w.findComponent, "SELECT id FROM component WHERE purl = ?"},
		{&w.addComponent, "INSERT INTO component (purl) VALUES (?)"},
		{&w.addComponentName, "INSERT INTO component_name VALUES (?,?) ON CONFLICT DO NOTHING"},
		{&w.findLink, "SELECT id FROM link WHERE artifact = ? AND component = ?"},
		{&w.addLink, "INSERT INTO link (artifact, component) VALUES (?,?)"},
		{&w.findSubject, "SELECT id FROM subject WHERE digest = ?"},
		{&w.addSubject, "INSERT INTO subject (digest, tenant, kind, frame, module, part, package, member) VALUES (?,?,?,?,?,?,?,?)"},
		{&w.findWitness, "SELECT id, subject, workload, created FROM witness WHERE tenant = ? AND witness = ?"},
		{&w.addWitness, "INSERT INTO witness (tenant, witness, subject, frame, node, workload, created) VALUES (?,?,?,?,?,?,?)"},
	} {
		var err error
		if *s.into, err = conn.PrepareContext(ctx, s.query); err != nil { //nolint:sqlclosecheck // finish does
			return nil, errors.Join(fmt.Errorf("prepare: %w", err), w.finish())
		}
		w.prepared = append(w.prepared, *s.into)
	}
	if err := errors.Join(w.prepareCoverage(ctx, conn), w.prepareFold(ctx, conn)); err != nil {
		return nil, errors.Join(err, w.finish())
	}
	if err := w.recover(); err != nil {
		return nil, errors.Join(err, w.finish())
	}
	return w, nil
}

// submit has do done by the writer and returns when it is committed, or failed. A call whose context ends while it waits
// is given up; one that has begun is awaited, so do may use what its caller owns.
func (w *writer) submit(ctx context.Context, size int, do func() error) error {
	return w.submitThen(ctx, size, do, nil)
}

// submitThen is submit with what the writer does once it is committed.
func (w *writer) submitThen(ctx context.Context, size int, do func() error, then func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{size: size, do: do, then: then, done: make(chan error, 1)}
	select {
	case w.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-j.done
	}
}

// close ends the writer once the queue is empty. No call may be in submit.
func (w *writer) close() error {
	close(w.queue)
	<-w.ended
	return errors.Join(w.failure, w.finish(), w.conn.Close(), w.db.Close())
}

// finish closes the statements: SQLite would keep a connection open that has some, and not fold the log into the file.
func (w *writer) finish() error {
	var errs error
	for _, statement := range w.prepared {
		errs = errors.Join(errs, statement.Close())
	}
	return errs
}

func (w *writer) run() {
	defer close(w.ended)
	late := time.NewTicker(foldAgain)
	defer late.Stop()
	for more := false; ; {
		if !more || len(w.queue) > 0 { // nobody else takes from it
			select {
			case first, ok := <-w.queue:
				if !ok {
					w.failure = w.foldAlone()
					return
				}
				w.group(first)
			case <-late.C:
			}
		}
		more = w.foldNext() // between two groups, a part of what is due
	}
}

// group does the first job and those that wait behind it, within bounds, in one transaction. It waits for none.
func (w *writer) group(first *job) {
	began := time.Now()
	if err := w.start(); err != nil {
		if first.taken.CompareAndSwap(false, true) {
			first.done <- err
		}
		return
	}
	var doing []*job
	size := 0
	for j := first; j != nil; {
		if j.taken.CompareAndSwap(false, true) {
			whole, err := w.one(j)
			if whole {
				w.fail(append(doing, j), err)
				return
			}
			if err != nil {
				j.done <- err
			} else {
				doing = append(doing, j)
				size += j.size
			}
		}
		j = nil
		if size < groupSize && time.Since(began) < groupTime {
			select {
			case j = <-w.queue:
			default:
			}
		}
	}
	if err := w.end(); err != nil {
		w.fail(doing, err)
		return
	}
	w.commits.Add(1)
	w.calls.Add(uint64(len(doing)))
	for _, j := range doing {
		if j.then != nil {
			j.then()
		}
		j.done <- nil
	}
}

// start begins a transaction.
func (w *writer) start() error {
	w.number = max(w.derived.commit+1, w.now().UnixNano())
	return execute(w.begin)
}

// end commits the transaction and publishes what it derived.
func (w *writer) end() error {
	if len(w.stale) > 0 {
		if err := w.refresh(); err != nil {
			return err
		}
	}
	if err := execute(w.setState, w.number, "commit"); err != nil {
		return err
	}
	if err := execute(w.commit); err != nil {
		return err
	}
	w.derived.publish(w.number, w.folded, w.dropped)
	w.horizon = max(w.horizon, w.newHorizon)
	w.changes.publish()
	if w.folded {
		w.endFold()
	}
	w.stale, w.folded, w.dropped = nil, false, false
	return nil
}

// one does a job in its savepoint. whole says that the transaction is lost.
func (w *writer) one(j *job) (whole bool, err error) {
	if err := execute(w.savepoint); err != nil {
		return true, err
	}
	stale, folded, dropped, horizon := len(w.stale), w.folded, w.dropped, w.newHorizon
	err = j.do()
	if err == nil {
		err = w.derive(w.deltas)
	}
	w.deltas = w.deltas[:0]
	if err != nil {
		w.forget() // they know rows that are undone
		w.stale, w.folded, w.dropped, w.newHorizon = w.stale[:stale], folded, dropped, horizon
		if undo := errors.Join(execute(w.undoSavepoint), execute(w.releaseSavepoint)); undo != nil {
			return true, errors.Join(err, undo)
		}
		return false, err
	}
	if err := execute(w.releaseSavepoint); err != nil {
		return true, err
	}
	return false, nil
}

// fail undoes the transaction and tells everyone in it.
func (w *writer) fail(jobs []*job, err error) {
	w.undo()
	for _, j := range jobs {
		j.done <- err
	}
}

// undo gives the transaction up.
func (w *writer) undo() {
	w.forget()
	w.derived.undo()
	w.stale, w.folded, w.dropped, w.newHorizon = nil, false, false, 0
	// SQLite may have rolled back by itself; then this fails, which is as good.
	_ = execute(w.rollback)
}

func execute(statement *sql.Stmt, args ...any) error {
	_, err := statement.ExecContext(context.Background(), args...)
	return err
}

// added executes an insertion and reports whether there is a new row.
func added(statement *sql.Stmt, args ...any) (bool, error) {
	result, err := statement.ExecContext(context.Background(), args...)
	if err != nil {
		return false, err
	}
	rows, err := result.RowsAffected()
	return rows > 0, err
}
