// Package canon makes log records canonical, canon/v1: symbols in one form, private data out. What the model of
// internal/semconv names is kept, as its privacy class says; everything else is dropped and counted. It fails closed: a
// record that cannot be made canonical is removed.
package canon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Version of the rules, put on each record as witness.canon. It is no proof: records that carry it are made canonical
// again, which changes nothing when they were.
const Version = "canon/v1"

// Limits of a record, and of a resource. Beyond them records are dropped.
const (
	MaxAttributes = 256
	MaxStack      = 1024 // frames; beyond witness.MaxStack the outermost are cut
	MaxBytes      = 1 << 20
)

const (
	maxName  = 256  // bytes of a name: event, scope, attribute
	maxValue = 1024 // bytes of a value that is kept
	maxList  = 256  // elements of a list
	maxBody  = 1024 // bytes of a body
	// maxScrubbed is how many bytes of the texts of a record are scrubbed: hostile ones take 10 us a byte.
	maxScrubbed = 128 << 10
	maxDepth    = 8 // of nested values
)

// Report counts what was done.
type Report struct {
	// Records that came in.
	Records int
	// DroppedRecords were over a limit or failed.
	DroppedRecords int
	// DroppedAttributes are attributes and frame keys that are unknown, of the wrong type or form, or not to be kept.
	DroppedAttributes int
	// DroppedFrames are beyond witness.MaxStack, or not frames.
	DroppedFrames int
	// ChangedValues were replaced by their canonical form.
	ChangedValues int
	// DroppedIDs name the first of the dropped records, to be logged: log.record.uid, the witness id, or event and time.
	DroppedIDs []string
}

// maxDroppedIDs is how many dropped records a report names.
const maxDroppedIDs = 20

func (r *Report) add(other Report) {
	r.Records += other.Records
	r.DroppedRecords += other.DroppedRecords
	r.DroppedAttributes += other.DroppedAttributes
	r.DroppedFrames += other.DroppedFrames
	r.ChangedValues += other.ChangedValues
	r.name(other.DroppedIDs...)
}

func (r *Report) name(ids ...string) {
	r.DroppedIDs = append(r.DroppedIDs, ids[:min(len(ids), maxDroppedIDs-len(r.DroppedIDs))]...)
}

// Canonicalizer applies one Config. It is safe for concurrent use.
type Canonicalizer struct {
	identities, arguments string
	key                   []byte
	allow                 map[string]bool
	hooks                 map[HookArgument]bool
	symbols               *symbol.Cache
	memory                *memory
	// fail is called with every record where it is set: tests have it panic, as a rule with a bug would.
	fail func(plog.LogRecord)
}

// New fails when the Config is not valid, or when there is no randomness for a key.
func New(config Config) (*Canonicalizer, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	c := &Canonicalizer{
		identities: config.Identities, arguments: config.Arguments, key: []byte(config.HMACKey),
		allow: map[string]bool{}, hooks: map[HookArgument]bool{}, symbols: symbol.NewCache(config.SymbolCacheBytes), memory: newMemory(),
	}
	if len(c.key) == 0 {
		c.key = make([]byte, 32)
		if _, err := rand.Read(c.key); err != nil {
			return nil, fmt.Errorf("hmac_key: %w", err)
		}
	}
	for _, name := range config.Allow {
		c.allow[name] = true
	}
	for _, argument := range config.HookArguments {
		c.hooks[argument] = true
	}
	return c, nil
}

// Symbols counts what the cache of symbols did.
func (c *Canonicalizer) Symbols() symbol.CacheStats { return c.symbols.Stats() }

// Pseudonym names a text in a log without telling it: the same under the same key, and another for each kind of text.
// Empty for the empty text. None is that of an identity, and no text can choose its own.
func (c *Canonicalizer) Pseudonym(kind, text string) string {
	if text == "" {
		return ""
	}
	return privacy.Pseudonym(c.key, kind+"\x00"+text)
}

// Logs makes logs canonical, in place. Applied twice it changes nothing more. Records of events outside the model are
// kept, with the attributes of the model. A runtime.observation whose witness id was right gets the id of what it has
// become; one whose id was wrong stays wrong.
func (c *Canonicalizer) Logs(logs plog.Logs) Report {
	var report Report
	logs.ResourceLogs().RemoveIf(func(resourceLogs plog.ResourceLogs) bool {
		before := report
		if !guard(func() bool { return c.resourceLogs(resourceLogs, &report) }) {
			report = before
			for _, scopeLogs := range resourceLogs.ScopeLogs().All() {
				for _, record := range scopeLogs.LogRecords().All() {
					report.Records++
					report.DroppedRecords++
					report.name(c.idOf(record))
				}
			}
			return true
		}
		return false
	})
	return report
}

// guard turns a panic into false.
func guard(f func() bool) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return f()
}

func count(resourceLogs plog.ResourceLogs) int {
	n := 0
	for i := range resourceLogs.ScopeLogs().Len() {
		n += resourceLogs.ScopeLogs().At(i).LogRecords().Len()
	}
	return n
}

// resourceLogs is false when the whole of it has to go.
func (c *Canonicalizer) resourceLogs(resourceLogs plog.ResourceLogs, report *Report) bool {
	resource := resourceLogs.Resource().Attributes()
	if !fits(resource) {
		return false
	}
	// What needs the resource as it came: the claims of observations, and where processes are.
	claims := claimed(resourceLogs)
	w := work{c: c, place: place(resource)}
	workload := witness.WorkloadOf(resource)
	w.resource(resourceLogs.Resource())
	if workload == witness.UnknownWorkload && witness.WorkloadOf(resource) == (witness.Workload{}) {
		// Without its id, a container of which nothing else is known must not become the host.
		resource.PutStr(semconv.ContainerName, workload.Container)
	}
	resourceLogs.SetSchemaUrl(schemaURL(resourceLogs.SchemaUrl()))
	n := 0
	each := work{c: c, place: w.place}
	for i := range resourceLogs.ScopeLogs().Len() {
		scopeLogs := resourceLogs.ScopeLogs().At(i)
		scopeLogs.SetSchemaUrl(schemaURL(scopeLogs.SchemaUrl()))
		if !fits(scopeLogs.Scope().Attributes()) {
			w.report.DroppedAttributes += scopeLogs.Scope().Attributes().Len()
			scopeLogs.Scope().Attributes().Clear()
		}
		w.scope(scopeLogs.Scope())
		scopeLogs.LogRecords().RemoveIf(func(record plog.LogRecord) bool {
			claim := n < len(claims) && claims[n]
			n++
			w.report.Records++
			each.next()
			if !guard(func() bool {
				if !fits(record.Attributes()) {
					return false
				}
				if c.fail != nil {
					c.fail(record)
				}
				each.record(record)
				if claim {
					each.reclaim(resource, record)
				}
				return true
			}) {
				w.report.DroppedRecords++
				w.report.name(c.idOf(record))
				return true
			}
			w.report.add(each.report)
			return false
		})
	}
	report.add(w.report)
	return true
}

// claimed says of each record, in order, whether it is an observation with the right id; nil when none is.
func claimed(resourceLogs plog.ResourceLogs) []bool {
	var claims []bool
	resource := resourceLogs.Resource().Attributes()
	n := 0
	for i := range resourceLogs.ScopeLogs().Len() {
		records := resourceLogs.ScopeLogs().At(i).LogRecords()
		for j := range records.Len() {
			if record := records.At(j); record.EventName() == semconv.EventObservation && fits(record.Attributes()) {
				if _, err := witness.ObservationOf(resource, record); err == nil {
					if claims == nil {
						claims = make([]bool, count(resourceLogs))
					}
					claims[n] = true
				}
			}
			n++
		}
	}
	return claims
}

// reclaim gives an observation, whose id was right, the id of what it has become.
func (w *work) reclaim(resource pcommon.Map, record plog.LogRecord) {
	observation, err := witness.ObservationOf(resource, record)
	if errors.Is(err, witness.ErrID) {
		record.Attributes().PutStr(semconv.WitnessID, observation.Witness.ID().String())
		w.report.ChangedValues++
	}
}

// idOf names a record in a log, without what is private: by a pseudonym where its uid is.
func (c *Canonicalizer) idOf(record plog.LogRecord) string {
	id := "unknown"
	guard(func() bool {
		switch uid, witnessID := semconv.Text(record.Attributes(), semconv.LogRecordUID), semconv.Text(record.Attributes(), semconv.WitnessID); {
		case isEvidence(semconv.LogRecordUID, uid):
			id = uid
		case uid != "":
			id = privacy.Pseudonym(c.key, uid)
		case isEvidence(semconv.WitnessID, witnessID):
			id = witnessID
		default:
			event := "event"
			if _, ours := semconv.LookupEvent(record.EventName()); ours {
				event = record.EventName()
			}
			id = event + " at " + record.Timestamp().AsTime().Format(time.RFC3339Nano)
		}
		return true
	})
	return id
}

// place tells processes of different hosts and containers apart.
func place(resource pcommon.Map) string {
	instance := witness.InstanceOf(resource)
	return strconv.Quote(instance.Host) + strconv.Quote(instance.Pod) + strconv.Quote(instance.Container)
}

// fits reports whether a map is within the limits.
func fits(m pcommon.Map) bool {
	if m.Len() > MaxAttributes {
		return false
	}
	left := MaxBytes
	for name, value := range m.All() {
		if left -= len(name); !fitsValue(value, &left, 0) {
			return false
		}
		if name == semconv.WitnessStack && value.Type() == pcommon.ValueTypeSlice && value.Slice().Len() > MaxStack {
			return false
		}
	}
	return left >= 0
}

func fitsValue(value pcommon.Value, left *int, depth int) bool {
	*left -= 8
	switch value.Type() {
	case pcommon.ValueTypeStr:
		*left -= len(value.Str())
	case pcommon.ValueTypeBytes:
		*left -= value.Bytes().Len()
	case pcommon.ValueTypeMap:
		for name, element := range value.Map().All() {
			if *left -= len(name); depth >= maxDepth || !fitsValue(element, left, depth+1) {
				return false
			}
		}
	case pcommon.ValueTypeSlice:
		for _, element := range value.Slice().All() {
			if depth >= maxDepth || !fitsValue(element, left, depth+1) {
				return false
			}
		}
	}
	return *left >= 0
}

// schemaURL is empty unless url is OpenTelemetry's.
func schemaURL(url string) string {
	const prefix = "https://opentelemetry.io/schemas/"
	if len(url) > len(prefix)+16 || len(url) <= len(prefix) || url[:len(prefix)] != prefix {
		return ""
	}
	for _, c := range []byte(url[len(prefix):]) {
		if (c < '0' || c > '9') && c != '.' {
			return ""
		}
	}
	return url
}

// work is one pass over a resource or a record.
type work struct {
	c      *Canonicalizer
	place  string
	report Report
	// The rest is of the record at hand.
	pid         int64
	created     string
	source      string
	policy      string
	scrubbed    int      // bytes of texts
	named       []string // raw paths of files whose content is known, by build-id or digest
	folded      []string // raw paths that collapsed, or whose last element was private
	deleted     bool     // the executable, or the module of the first frame
	firstModule string   // raw, of the first frame
	firstSymbol string
}

// next is for the next record.
func (w *work) next() {
	*w = work{c: w.c, place: w.place, named: w.named[:0], folded: w.folded[:0]}
}

func (w *work) resource(resource pcommon.Resource) {
	// A new resource: what is beside the attributes in it names entities.
	attributes := pcommon.NewMap()
	resource.Attributes().MoveTo(attributes)
	pcommon.NewResource().CopyTo(resource)
	attributes.MoveTo(resource.Attributes())
	w.attributes(resource.Attributes(), func(a semconv.Attribute) bool { return a.OnResource })
}

func (w *work) scope(scope pcommon.InstrumentationScope) {
	scope.SetName(w.name(scope.Name()))
	scope.SetVersion(w.name(scope.Version()))
	w.attributes(scope.Attributes(), func(a semconv.Attribute) bool { return a.OnScope })
}

func (w *work) record(record plog.LogRecord) {
	if _, ours := semconv.LookupEvent(record.EventName()); !ours {
		record.SetEventName(w.name(record.EventName()))
	}
	record.SetSeverityText(w.name(record.SeverityText()))
	if t := uint64(record.Timestamp()); privacy.IsAddress(t) {
		record.SetTimestamp(0)
		w.report.ChangedValues++
	}
	if t := uint64(record.ObservedTimestamp()); privacy.IsAddress(t) {
		record.SetObservedTimestamp(0)
		w.report.ChangedValues++
	}
	w.body(record.Body())
	attributes := record.Attributes()
	w.identify(attributes)
	w.attributes(attributes, func(a semconv.Attribute) bool { return a.OnRecord })
	w.functionName(attributes)
	w.executableName(attributes)
	if w.deleted {
		attributes.PutBool(semconv.WitnessModuleDeleted, true)
	}
	if semconv.Text(attributes, semconv.WitnessCanon) != Version {
		attributes.PutStr(semconv.WitnessCanon, Version)
	}
}

// name is a name outside the attributes; empty when it is too long.
func (w *work) name(name string) string {
	if name == "" {
		return ""
	}
	clean := ""
	if len(name) <= maxName {
		clean = w.c.memory.name(name)
	}
	if clean != name {
		w.report.ChangedValues++
	}
	return clean
}

// body keeps a short text, scrubbed.
func (w *work) body(body pcommon.Value) {
	switch {
	case body.Type() == pcommon.ValueTypeEmpty:
	case body.Type() == pcommon.ValueTypeStr && len(body.Str()) <= maxBody:
		w.set(body, w.scrub(body.Str()))
	default:
		pcommon.NewValueEmpty().CopyTo(body)
		w.report.ChangedValues++
	}
}

// set replaces a string when it differs.
func (w *work) set(value pcommon.Value, text string) {
	if value.Str() != text {
		value.SetStr(text)
		w.report.ChangedValues++
	}
}

// identify finds out which process and which files the record is about, before anything is changed.
func (w *work) identify(attributes pcommon.Map) {
	text := func(m pcommon.Map, name string) string {
		if v, ok := m.Get(name); ok && v.Type() == pcommon.ValueTypeStr {
			return v.Str()
		}
		return ""
	}
	w.created, w.source = text(attributes, semconv.ProcessCreationTime), text(attributes, semconv.WitnessSource)
	w.policy = text(attributes, semconv.TetragonPolicy)
	if v, ok := attributes.Get(semconv.ProcessPID); ok && v.Type() == pcommon.ValueTypeInt {
		w.pid = v.Int()
	}
	if path := withoutDeleted(text(attributes, semconv.ProcessExecutablePath)); path != "" && isBuildID(text(attributes, semconv.ProcessExecutableBuildIDGNU)) {
		w.named = append(w.named, path)
	}
	stack, ok := attributes.Get(semconv.WitnessStack)
	if !ok || stack.Type() != pcommon.ValueTypeSlice {
		return
	}
	for i, frame := range stack.Slice().All() {
		if frame.Type() != pcommon.ValueTypeMap {
			continue
		}
		m := frame.Map()
		if i == 0 {
			w.firstModule, w.firstSymbol = text(m, semconv.FrameModule), text(m, semconv.FrameSymbol)
		}
		if isBuildID(text(m, semconv.FrameBuildID)) || isHex(text(m, semconv.FrameSHA256), 64) {
			if path := withoutDeleted(text(m, semconv.FrameModule)); path != "" && !slices.Contains(w.named, path) {
				w.named = append(w.named, path)
			}
		}
	}
}
