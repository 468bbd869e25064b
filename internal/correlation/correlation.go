// Package correlation ties events to the files that really run: it opens the executable and the modules of the process
// that an event names, through that process, and adds build-ids, artifact and components to the event.
//
// Files are opened and read by a bounded number of workers. A batch waits for them no longer than its deadline; what
// is not known by then stays unknown in it, and a later batch finds it in the cache. Nothing is guessed: when a process
// or a file is not provably the one of the event, its facts are unknown.
package correlation

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
)

// Options of a Correlator. All must be set.
type Options struct {
	// Proc is where the proc file system of the host is mounted.
	Proc string
	// Host is the name that events of this host carry in host.name.
	Host    string
	Workers int
	// Deadline is how long a batch waits for a file that was not asked for before.
	Deadline time.Duration
	// CacheSize is how many modules of processes, how many files, and how many learnt build-ids are remembered.
	CacheSize int
	// MaxFileSize is the size in bytes up to which a file is hashed.
	MaxFileSize int64
}

// Reason says why nothing is known of a module.
type Reason string

// The reasons.
const (
	NoProcess       Reason = "no_process"       // the event does not name a process by pid, start and executable
	OtherHost       Reason = "other_host"       // the event is of another host
	Asserted        Reason = "asserted"         // the event was not measured: anyone can have written it
	Gone            Reason = "process_gone"     // the process has ended
	OtherProcess    Reason = "other_process"    // the pid belongs to a process that began at another time
	OtherExecutable Reason = "other_executable" // the process runs another file by now
	NotMapped       Reason = "not_mapped"       // the process has no executable mapping of that path
	Ambiguous       Reason = "ambiguous"        // it has mappings of several files under that path
	Replaced        Reason = "replaced"         // another file has the path by now
	NotRegular      Reason = "not_regular"      // a device, a pipe
	NotPermitted    Reason = "not_permitted"    // a capability is missing
	Unreadable      Reason = "unreadable"       // an input or output error, or the file changed while it was read
	Deadline        Reason = "deadline"         // not known in time; a later batch may
	Busy            Reason = "busy"             // too many files are waiting
	Unsupported     Reason = "unsupported"      // not on this operating system
)

// Report is what became of a batch.
type Report struct {
	// Resolved modules, distinct in the batch, and Cached ones among them.
	Resolved, Cached int
	// Unknown modules by reason. An event that cannot be tied to a process of this host counts as one.
	Unknown map[Reason]int
	// Evicted entries of the caches since the last report.
	Evicted int64
	// Conflicts are the records in which two methods disagree.
	Conflicts int
	// TimedOut tells that something was not known yet when the wait ended.
	TimedOut bool
}

const (
	// unknownFor is how long it is remembered that nothing is known.
	unknownFor = 5 * time.Second
	// queued modules and open files that wait for a worker; as many modules wait for the hash of one file.
	queuedModules, queuedHashes = 1024, 64
)

// Correlator does the work. It is safe for concurrent use.
type Correlator struct {
	options Options
	// open opens a module for reading.
	open func(key) (*opened, Reason)

	answers *lru.Cache[key, answer]
	files   *lru.Cache[fileID, *file]
	// content holds facts by sha256: files of the same content share them.
	content *lru.Cache[string, *artifact.Facts]
	learned *lru.Cache[learnedKey, string]
	evicted atomic.Int64

	mu      sync.Mutex
	asked   map[key]*question
	modules chan *question
	hashes  chan *hashing

	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// process is a process of this host as an event names it.
type process struct {
	pid     int
	created int64 // nanoseconds since 1970
	exe     string
	// hostUnknown: the event does not say whose process it is, so only the exact start of the process identifies it.
	hostUnknown bool
}

// key is a module of a process.
type key struct {
	process
	path string
}

// fileID tells a file, and its content, from all others.
type fileID = procfs.FileID

// opened is a file ready to be read.
type opened struct {
	*os.File
	id fileID
}

// answer is what is known of a module: its file, or why there is none.
type answer struct {
	file   *file
	reason Reason
	at     time.Time
}

// question is a module that a worker looks for. Done is closed when everything is known that will be.
type question struct {
	key
	asked  time.Time
	done   chan struct{}
	answer answer // once done is closed
}

// file is what is known of a file. Facts are published as soon as they identify the file: at once if it has a
// build-id, otherwise with its sha256.
type file struct {
	facts atomic.Pointer[artifact.Facts]

	mu       sync.Mutex
	complete bool
	hashing  bool
	waiting  []*question
	read     *artifact.Facts
}

type hashing struct {
	*opened
	file *file
}

// New returns a Correlator and starts its workers; Close ends them.
func New(options Options) (*Correlator, error) {
	c := &Correlator{
		options: options,
		asked:   map[key]*question{},
		modules: make(chan *question, queuedModules),
		hashes:  make(chan *hashing, queuedHashes),
	}
	c.open = c.openModule
	var errs [4]error
	c.answers, errs[0] = lru.New[key, answer](options.CacheSize)
	c.files, errs[1] = lru.New[fileID, *file](options.CacheSize)
	c.content, errs[2] = lru.New[string, *artifact.Facts](options.CacheSize)
	c.learned, errs[3] = lru.New[learnedKey, string](options.CacheSize)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for i := range options.Workers {
		hashes := c.hashes
		if i == 0 && options.Workers > 1 {
			hashes = nil // one worker always answers quickly
		}
		c.workers.Go(func() { c.work(hashes) })
	}
	return c, nil
}

// Close ends the workers. A worker that hangs in a file system is left behind when ctx ends.
func (c *Correlator) Close(ctx context.Context) error {
	c.cancel()
	done := make(chan struct{})
	go func() {
		c.workers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		select {
		case h := <-c.hashes:
			_ = h.Close() // only read
		default:
			return nil
		}
	}
}

func (c *Correlator) work(hashes <-chan *hashing) {
	for {
		select {
		case <-c.ctx.Done():
			return
		case q := <-c.modules:
			c.look(q)
			continue
		default:
		}
		select {
		case <-c.ctx.Done():
			return
		case q := <-c.modules:
			c.look(q)
		case h := <-hashes:
			c.hash(h)
		}
	}
}

// look answers a question up to the hash of the file.
func (c *Correlator) look(q *question) {
	o, reason := c.open(q.key)
	if reason != "" {
		c.finish(q, answer{reason: reason})
		return
	}
	f, known := c.files.Get(o.id)
	if !known {
		facts, err := read(o)
		if err != nil {
			_ = o.Close() // only read
			c.finish(q, answer{reason: Unreadable})
			return
		}
		f = &file{read: facts, complete: o.id.Size > c.options.MaxFileSize}
		if facts.BuildID != "" || f.complete {
			f.facts.Store(facts)
		}
		if other, exists, evicted := c.files.PeekOrAdd(o.id, f); exists {
			f = other
		} else if evicted {
			c.evicted.Add(1)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.complete {
		_ = o.Close() // only read
		c.finish(q, answer{file: f})
		return
	}
	if f.hashing {
		_ = o.Close() // only read
		if len(f.waiting) >= queuedModules {
			c.finish(q, f.answer(Busy))
			return
		}
	} else {
		select {
		case c.hashes <- &hashing{o, f}:
			f.hashing = true
		default:
			_ = o.Close() // only read
			c.finish(q, f.answer(Busy))
			return
		}
	}
	f.waiting = append(f.waiting, q)
	if f.facts.Load() != nil {
		c.remember(q.key, answer{file: f})
	}
}

// answer is the file if its facts identify it, else the reason.
func (f *file) answer(otherwise Reason) answer {
	if f.facts.Load() == nil {
		return answer{reason: otherwise}
	}
	return answer{file: f}
}

// read reads everything of a file but its hash.
func read(o *opened) (*artifact.Facts, error) {
	facts := &artifact.Facts{}
	info, err := elffile.Read(o)
	switch {
	case err == nil:
	case errors.Is(err, elffile.ErrNotELF), errors.Is(err, elffile.ErrLimit):
		return facts, nil // not ELF: then its hash is all there is
	default:
		return nil, err
	}
	facts.BuildID, facts.GoBuildID = info.BuildID, info.GoBuildID
	if info.Package != nil {
		if note, err := artifact.ParseNote(info.Package); err == nil {
			facts.Note = note
		}
	}
	if build, err := elffile.BuildInfo(o); err == nil {
		facts.SetBuildInfo(build)
	}
	return facts, nil
}

var errChanged = errors.New("the file was written to while it was read")

// hash completes a file.
func (c *Correlator) hash(h *hashing) {
	sum, err := elffile.SHA256(c.ctx, h, h.id.Size, c.options.MaxFileSize)
	if id, statErr := identify(h.File); err == nil && (statErr != nil || id != h.id) {
		err = errChanged
	}
	_ = h.Close() // only read
	f := h.file
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		c.files.Remove(h.id)
	} else {
		facts, shared := c.content.Get(sum)
		if !shared {
			whole := *f.read
			whole.SHA256 = sum
			facts = &whole
			if c.content.Add(sum, facts) {
				c.evicted.Add(1)
			}
		}
		f.facts.Store(facts)
		f.complete = true
	}
	f.hashing = false
	for _, q := range f.waiting {
		c.finish(q, f.answer(Unreadable))
	}
	f.waiting = nil
}

// finish publishes the answer to a question.
func (c *Correlator) finish(q *question, a answer) {
	if a.reason != Busy {
		c.remember(q.key, a)
	}
	q.answer = a
	c.mu.Lock()
	delete(c.asked, q.key)
	c.mu.Unlock()
	close(q.done)
}

func (c *Correlator) remember(k key, a answer) {
	a.at = time.Now()
	if c.answers.Add(k, a) {
		c.evicted.Add(1)
	}
}

// ask returns what is known now, or else the question to wait for.
func (c *Correlator) ask(k key) (answer, *question) {
	if a, ok := c.answers.Get(k); ok && (a.file != nil || time.Since(a.at) < unknownFor) {
		return a, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q, ok := c.asked[k]; ok {
		return answer{}, q
	}
	q := &question{key: k, asked: time.Now(), done: make(chan struct{})}
	select {
	case c.modules <- q:
		c.asked[k] = q
		return answer{}, q
	default:
		return answer{reason: Busy}, nil
	}
}

// Apply adds what is known to the records of a batch. It waits for files no longer than the deadline, and not at all
// for one that another batch has already waited for in vain.
func (c *Correlator) Apply(ctx context.Context, logs plog.Logs) Report {
	b := batch{c: c, known: map[key]*identity{}, identities: map[*artifact.Facts]*identity{}, report: Report{Unknown: map[Reason]int{}}}
	b.each(logs, b.collect)
	b.wait(ctx)
	b.each(logs, b.enrich)
	b.report.Evicted = c.evicted.Swap(0)
	return b.report
}

// wait waits for the questions and takes the answers there are.
func (b *batch) wait(ctx context.Context) {
	if len(b.open) == 0 {
		return
	}
	timer := time.NewTimer(b.c.options.Deadline)
	defer timer.Stop()
	ended := false
	for _, q := range b.open {
		if !ended && time.Since(q.asked) < b.c.options.Deadline {
			select {
			case <-q.done:
			case <-ctx.Done():
				ended = true
			case <-timer.C:
				ended = true
			}
		}
		if isDone(q) {
			b.settle(q.key, q.answer)
			continue
		}
		b.report.TimedOut = true
		a, _ := b.c.answers.Peek(q.key)
		if a.file == nil { // else it is identified, but not hashed yet
			a.reason = Deadline
		}
		b.settle(q.key, a)
	}
}

func isDone(q *question) bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// settle takes the answer to what was asked for.
func (b *batch) settle(k key, a answer) {
	if a.file != nil {
		if facts := a.file.facts.Load(); facts != nil {
			b.known[k] = b.identity(facts)
			b.report.Resolved++
			return
		}
	}
	b.known[k] = nil
	b.report.Unknown[a.reason]++
}
