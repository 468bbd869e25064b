package witnessqueryextension

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var importRoutes = []route{
	{http.MethodPost, "/api/v1/findings:import", roleWrite, []string{"scope"}, (*api).postImport},
	{http.MethodGet, "/api/v1/imports/{importId}", roleRead, nil, (*api).getImport},
}

// Bounds of imports.
const (
	maxImports        = 1000             // that are remembered; of the tenant with most, the oldest that has ended goes first
	maxRunning        = 4                // at once
	maxRunningOf      = 3                // of them, of one tenant: there is one more for the others
	maxImportAge      = 24 * time.Hour   // after its end
	maxImportErrors   = 100              // that are told of one
	importTimeout     = 10 * time.Minute // to send the body
	maxImportFindings = 100_000          // of one
)

// importTypes are the media types of documents with findings. Which of them it is, is read in the document.
var importTypes = []string{
	"application/json", "application/x-ndjson", "application/jsonl", "application/yaml", "application/x-yaml", "text/yaml",
}

// importState is how far an import has come.
type importState string

const (
	importRunning importState = "running"
	importDone    importState = "done"
	importFailed  importState = "failed"
)

// importProgress is what is told of an import. Read counts items, as many as Rejected, and those that are findings.
type importProgress struct {
	ID       string        `json:"id"`
	Scope    string        `json:"scope"`
	State    importState   `json:"state"`
	Started  time.Time     `json:"started"`
	Ended    *time.Time    `json:"ended"`
	Read     int           `json:"read"`
	Imported int           `json:"imported"` // findings of the scope now, 0 until it is done
	Rejected int           `json:"rejected"`
	Errors   []importError `json:"errors"` // the first of the rejected
	// Failure says why nothing was imported, where that is so.
	Failure string `json:"failure,omitempty"`
}

// importError is an item that was not imported.
type importError struct {
	Item   string `json:"item,omitempty"`  // findings[3] (line 12), advisory 7; none if it is the document
	Field  string `json:"field,omitempty"` // affected[0].fixed
	Reason string `json:"reason"`
}

// imports are the jobs of one api. Its zero value is ready.
type imports struct {
	mutex  sync.Mutex
	jobs   []*importJob // oldest first
	ended  sync.WaitGroup
	closed bool
}

type importJob struct {
	tenant   string
	cancel   context.CancelFunc
	mutex    sync.Mutex
	progress importProgress
}

func (j *importJob) snapshot() importProgress {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	progress := j.progress
	progress.Errors = slices.Clone(progress.Errors)
	return progress
}

func (j *importJob) update(change func(*importProgress)) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	change(&j.progress)
}

func (j *importJob) end(state importState, failure string, now time.Time) {
	j.cancel()
	j.update(func(p *importProgress) { p.State, p.Failure, p.Ended = state, failure, &now })
}

// start adds a job, or says why there can be none.
func (i *imports) start(tenant, scope string, now time.Time) (*importJob, context.Context, *problem) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.closed {
		return nil, nil, newProblem(http.StatusServiceUnavailable, "the server is stopping")
	}
	running, own := 0, 0
	i.jobs = slices.DeleteFunc(i.jobs, func(j *importJob) bool {
		p := j.snapshot()
		return p.Ended != nil && now.Sub(*p.Ended) > maxImportAge
	})
	for _, j := range i.jobs {
		p := j.snapshot()
		if p.State != importRunning {
			continue
		}
		running++
		if j.tenant != tenant {
			continue
		}
		if own++; p.Scope == scope {
			return nil, nil, newProblem(http.StatusConflict, "an import of this scope is running")
		}
	}
	if running >= maxRunning || own >= maxRunningOf {
		return nil, nil, newProblem(http.StatusTooManyRequests, "as many imports as may be are running")
	}
	if len(i.jobs) >= maxImports {
		i.forget()
	}
	ctx, cancel := context.WithCancel(context.Background())
	job := &importJob{tenant: tenant, cancel: cancel, progress: importProgress{
		ID: rand.Text(), Scope: scope, State: importRunning, Started: now, Errors: []importError{},
	}}
	i.jobs = append(i.jobs, job)
	i.ended.Add(1)
	return job, ctx, nil
}

// forget drops the oldest job that has ended, of the tenant that has most of those: nobody's push out another's.
func (i *imports) forget() {
	oldest, ended, most := map[string]int{}, map[string]int{}, ""
	for at, j := range i.jobs {
		if j.snapshot().State == importRunning {
			continue
		}
		if ended[j.tenant]++; ended[j.tenant] == 1 {
			oldest[j.tenant] = at
		}
		if ended[j.tenant] > ended[most] {
			most = j.tenant
		}
	}
	i.jobs = slices.Delete(i.jobs, oldest[most], oldest[most]+1)
}

// find returns a job of a tenant, or nil.
func (i *imports) find(tenant, id string) *importJob {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	for _, j := range i.jobs {
		if j.tenant == tenant && j.snapshot().ID == id {
			return j
		}
	}
	return nil
}

// cancel has all jobs end, and takes no new ones.
func (i *imports) cancel() {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.closed = true
	for _, j := range i.jobs {
		j.cancel()
	}
}

// validateScope checks the name of a group of findings. Those that others of this program use are theirs.
func validateScope(scope string) error {
	if err := finding.ValidateID(scope); err != nil {
		return err
	}
	if scope == scopeAPI || strings.HasPrefix(scope, "file:") {
		return errors.New("is kept for findings that are put one by one or loaded from files")
	}
	return nil
}

func validateImportID(id string) error {
	if len(id) != len(rand.Text()) || strings.ContainsFunc(id, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') }) {
		return errors.New("is not the id of an import")
	}
	return nil
}

// postImport reads the body as it comes, and answers when all of it was read. What has to be stored is stored behind
// that: the answer says where to look.
func (a *api) postImport(c *call) (answer, error) {
	scope, given := c.query.text("scope")
	if !given {
		return answer{}, badRequest("scope: is missing")
	}
	if err := validateScope(scope); err != nil {
		return answer{}, badRequest("scope: " + err.Error())
	}
	media, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(importTypes, media) {
		return answer{}, newProblem(http.StatusUnsupportedMediaType, "Content-Type: is not JSON or YAML")
	}
	job, ctx, p := a.imports.start(c.principal.Tenant, scope, a.now().UTC())
	if p != nil {
		if p.Status == http.StatusTooManyRequests {
			p = tooMany(c.header, 10*time.Second, p.Detail)
		}
		return answer{}, p
	}
	state, failure, stored := importFailed, "the body could not be read", false
	defer func() {
		if !stored { // or else its own goroutine ends it
			a.endImport(job, state, failure)
		}
	}()
	c.allow(importTimeout)
	body := &bodyReader{Reader: c.Body}
	var findings []witness.Finding
	// Behind the body the deadline would cancel what comes next on the connection.
	stop := context.AfterFunc(ctx, func() { _ = c.connection.SetReadDeadline(time.Now()) })
	findings, failure = job.read(body)
	stop()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(body.err, &tooLarge):
		return answer{}, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit))
	case body.err != nil:
		return answer{}, badRequest("the body cannot be read")
	}
	progress := job.snapshot()
	if failure == "" && len(findings) == 0 && progress.Rejected > 0 {
		failure = "all items were rejected"
	}
	if failure == "" {
		stored = true
		go a.storeImport(ctx, job, c.principal, findings)
	}
	a.audit(c, a.pseudonym([]zap.Field{zap.Int("read", progress.Read), zap.Int("rejected", progress.Rejected)}, "scope", scope)...)
	c.header.Set("Location", "/api/v1/imports/"+progress.ID)
	return answer{http.StatusAccepted, progress}, nil
}

// read reads a document, and says why nothing of it may be stored, if that is so.
func (j *importJob) read(r io.Reader) (findings []witness.Finding, failure string) {
	many := false
	complete := finding.Stream("document", r, func(f witness.Finding, err error) {
		j.update(func(p *importProgress) {
			p.Read++
			switch {
			case err != nil:
				p.Rejected++
				if len(p.Errors) < maxImportErrors {
					p.Errors = append(p.Errors, importErrorOf(err))
				}
			case len(findings) >= maxImportFindings:
				many = true
			default:
				f.Scope = p.Scope
				findings = append(findings, f)
			}
		})
	})
	switch {
	case !complete:
		return nil, "the document was not read to its end"
	case many:
		return nil, fmt.Sprintf("the document has more than %d findings", maxImportFindings)
	}
	return findings, ""
}

func importErrorOf(err error) importError {
	out := importError{Reason: err.Error()}
	var item *finding.ItemError
	if errors.As(err, &item) {
		out.Item, out.Reason = item.Item, item.Err.Error()
	}
	var field *finding.FieldError
	if errors.As(err, &field) {
		out.Field, out.Reason = field.Field, field.Reason.Error()
	}
	return out
}

func (a *api) storeImport(ctx context.Context, job *importJob, principal storage.Principal, findings []witness.Finding) {
	state, failure := importFailed, "storage does not answer"
	defer func() {
		if reason := recover(); reason != nil {
			a.logger.Error("an import panicked", zap.String("type", fmt.Sprintf("%T", reason)), zap.Stack("stack"))
		}
		a.endImport(job, state, failure)
	}()
	switch err := a.store.ReplaceFindings(ctx, principal, job.progress.Scope, findings); {
	case err == nil:
		a.watchLists.forget(principal.Tenant)
		job.update(func(p *importProgress) { p.Imported = len(findings) })
		state, failure = importDone, ""
	case ctx.Err() != nil:
		failure = "the server stopped before it was stored"
	default:
		a.logger.Error("an import cannot be stored", zap.Error(err))
	}
}

// endImport ends a job and has the log say how.
func (a *api) endImport(job *importJob, state importState, failure string) {
	job.end(state, failure, a.now().UTC())
	p := job.snapshot()
	a.logger.Info("import", zap.String("state", string(state)), zap.Int("read", p.Read), zap.Int("imported", p.Imported),
		zap.Int("rejected", p.Rejected), zap.String("failure", failure))
	ctx := context.Background()
	a.telemetry.WitnessQueryImportedFindings.Add(ctx, int64(p.Imported))
	a.telemetry.WitnessQueryRejectedFindings.Add(ctx, int64(p.Rejected))
	a.imports.ended.Done()
}

func (a *api) getImport(c *call) (answer, error) {
	job := a.imports.find(c.principal.Tenant, c.path["importId"])
	if job == nil {
		return answer{}, newProblem(http.StatusNotFound, "there is no such import, or it ended long ago")
	}
	return answer{http.StatusOK, job.snapshot()}, nil
}

// bodyReader remembers why a body could not be read.
type bodyReader struct {
	io.Reader
	err error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
