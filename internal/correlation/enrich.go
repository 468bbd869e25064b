package correlation

import (
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	maxConflicts = 16 // disagreements kept of one record
	// Texts of events that are longer than any path, host or build-id name none: the caches would hold them.
	maxPath, maxHost, maxBuildID = 4096, 256, 128 // bytes
)

// batch is one Apply.
type batch struct {
	c          *Correlator
	open       []*question
	known      map[key]*identity // nil: asked for, and unknown
	identities map[*artifact.Facts]*identity
	report     Report
}

// identity is what follows from the facts of a file, worked out once for each batch.
type identity struct {
	*artifact.Facts
	artifact   witness.Artifact
	components map[code]component
}

// code is how a frame names its code.
type code struct{ language, pkg, symbol string }

// component is what a frame's code belongs to, and the language when the frame does not say it.
type component struct{ purl, language string }

func (b *batch) identity(facts *artifact.Facts) *identity {
	i, ok := b.identities[facts]
	if !ok {
		i = &identity{Facts: facts, artifact: facts.Artifact(), components: map[code]component{}}
		b.identities[facts] = i
	}
	return i
}

func (i *identity) component(c code) component {
	known, ok := i.components[c]
	if !ok {
		known = i.find(c)
		i.components[c] = known
	}
	return known
}

// find reads a symbol that is not canonical yet; correlation is the first in the pipeline.
func (i *identity) find(c code) component {
	if !i.IsGo || c.pkg != "" {
		return component{purl: artifact.Component(i.Facts, c.language, c.pkg)}
	}
	s, ok := symbol.Canonical(c.symbol, c.language)
	if !ok || s.Language != symbol.Go {
		return component{}
	}
	found := component{language: s.Language}
	// A closure that was copied when its function was inlined bears the package of the caller, not its own.
	if !slices.Contains(s.Flags, symbol.FlagInlinedClone) {
		found.purl = artifact.Component(i.Facts, s.Language, s.Package)
	}
	return found
}

// learnedKey is a module of a process of any host.
type learnedKey struct {
	host    string
	pid     int
	created int64
	path    string
}

// event is one record of the kinds that are correlated.
type event struct {
	name       string
	attributes pcommon.Map
	frames     pcommon.Slice
	host       string
	pid        int
	created    int64
	exe        string
	at         time.Time
	// process is the same as a process of this host; reason tells why it is none.
	process process
	reason  Reason
}

// each calls do for every record that tells of running code.
func (b *batch) each(logs plog.Logs, do func(*event)) {
	for _, resourceLogs := range logs.ResourceLogs().All() {
		host := witness.InstanceOf(resourceLogs.Resource().Attributes()).Host
		for _, scopeLogs := range resourceLogs.ScopeLogs().All() {
			for _, record := range scopeLogs.LogRecords().All() {
				switch record.EventName() {
				case semconv.EventExec, semconv.EventLoad, semconv.EventCall, semconv.EventSample, semconv.EventKernel:
				default:
					continue
				}
				e := b.c.event(host, record)
				do(&e)
			}
		}
	}
}

func (c *Correlator) event(host string, record plog.LogRecord) event {
	m := record.Attributes()
	e := event{name: record.EventName(), attributes: m, frames: pcommon.NewSlice(), host: host, exe: semconv.Text(m, semconv.ProcessExecutablePath), at: record.Timestamp().AsTime()}
	if stack, ok := m.Get(semconv.WitnessStack); ok && stack.Type() == pcommon.ValueTypeSlice {
		e.frames = stack.Slice()
	}
	if e.name == semconv.EventExec {
		if frame, ok := e.frame(0); ok && semconv.Text(frame, semconv.FrameModule) != "" {
			e.exe = semconv.Text(frame, semconv.FrameModule)
		}
	}
	e.exe = procfs.WithoutDeleted(e.exe)
	if pid, ok := m.Get(semconv.ProcessPID); ok && pid.Type() == pcommon.ValueTypeInt && pid.Int() > 0 && pid.Int() <= 1<<31-1 {
		e.pid = int(pid.Int())
	}
	if created, err := time.Parse(time.RFC3339Nano, semconv.Text(m, semconv.ProcessCreationTime)); err == nil {
		e.created = created.UnixNano()
	}
	switch {
	case semconv.Text(m, semconv.WitnessAssurance) == string(witness.Asserted):
		e.reason = Asserted
	case e.pid == 0 || e.created == 0 || !strings.HasPrefix(e.exe, "/") || len(e.exe) > maxPath:
		e.reason = NoProcess
	case host != "" && host != c.options.Host:
		e.reason = OtherHost
	}
	e.process = process{pid: e.pid, created: e.created, exe: e.exe, hostUnknown: host == ""}
	return e
}

// frame is the frame at i as a map.
func (e *event) frame(i int) (pcommon.Map, bool) {
	if i >= e.frames.Len() || i >= witness.MaxStack || e.frames.At(i).Type() != pcommon.ValueTypeMap {
		return pcommon.Map{}, false
	}
	return e.frames.At(i).Map(), true
}

// learnt is the key under which a module's build-id is learnt.
func (e *event) learnt(path string) learnedKey {
	return learnedKey{e.host, e.pid, e.created, path}
}

// collect asks for the executable and all modules of an event, and learns what the receiver knows.
func (b *batch) collect(e *event) {
	if e.name == semconv.EventLoad && e.pid != 0 && e.created != 0 && e.reason != Asserted {
		if frame, ok := e.frame(0); ok {
			if path, id := modulePath(frame), semconv.Text(frame, semconv.FrameBuildID); path != "" && id != "" && len(id) <= maxBuildID && len(e.host) <= maxHost && b.c.learned.Add(e.learnt(path), id) {
				b.c.evicted.Add(1)
			}
		}
	}
	if e.reason != "" {
		b.report.Unknown[e.reason]++
		return
	}
	if e.name == semconv.EventExec {
		b.c.forget(e)
	}
	b.ask(key{e.process, e.exe})
	for i := range e.frames.Len() {
		if frame, ok := e.frame(i); ok {
			if path := modulePath(frame); path != "" {
				b.ask(key{e.process, path})
			}
		}
	}
}

// forget drops what was learnt of a process before it was executed anew: under one start time it may run other files.
func (c *Correlator) forget(e *event) {
	preexisting, ok := e.attributes.Get(semconv.WitnessProcessPreexisting)
	if ok && preexisting.Type() == pcommon.ValueTypeBool && preexisting.Bool() {
		return
	}
	if a, ok := c.answers.Peek(key{e.process, e.exe}); !ok || !a.at.Before(e.at) {
		return
	}
	for _, k := range c.answers.Keys() {
		if k.process == e.process {
			c.answers.Remove(k)
		}
	}
}

func (b *batch) ask(k key) {
	if _, asked := b.known[k]; asked {
		return
	}
	b.known[k] = nil
	a, q := b.c.ask(k)
	if q != nil {
		b.open = append(b.open, q)
		return
	}
	if a.file != nil {
		b.report.Cached++
	}
	b.settle(k, a)
}

// modulePath is the path of a frame's module, empty when it is no file, as [kernel] and [vdso].
func modulePath(frame pcommon.Map) string {
	path := procfs.WithoutDeleted(semconv.Text(frame, semconv.FrameModule))
	if !strings.HasPrefix(path, "/") || len(path) > maxPath {
		return ""
	}
	return path
}

// enrich writes what is known to an event.
func (b *batch) enrich(e *event) {
	var conflicts []string
	disagree := func(identities ...string) {
		for _, identity := range identities {
			if identity != "" && len(conflicts) < maxConflicts && !slices.Contains(conflicts, identity) {
				conflicts = append(conflicts, identity)
			}
		}
	}
	for i := range e.frames.Len() {
		if frame, ok := e.frame(i); ok {
			b.enrichFrame(e, frame, disagree)
		}
	}
	if e.reason == "" {
		if facts := b.known[key{e.process, e.exe}]; facts != nil {
			enrichRecord(e.attributes, facts, disagree)
		}
	}
	if first, ok := e.frame(0); ok {
		add(e.attributes, semconv.WitnessComponentPURL, semconv.Text(first, semconv.FrameComponent), disagree)
	}
	if len(conflicts) > 0 {
		b.report.Conflicts++
		addAll(e.attributes, semconv.WitnessArtifactConflicts, conflicts)
	}
}

// enrichFrame identifies the module of a frame and its component. A build-id that the receiver gave stays; when the
// file has another one, nothing of the file is believed for this frame.
func (b *batch) enrichFrame(e *event, frame pcommon.Map, disagree func(...string)) {
	path := modulePath(frame)
	if path == "" || e.reason == Asserted {
		return
	}
	var facts *identity
	if e.reason == "" {
		facts = b.known[key{e.process, path}]
	}
	given := semconv.Text(frame, semconv.FrameBuildID)
	if given == "" && e.pid != 0 && e.created != 0 {
		given, _ = b.c.learned.Get(e.learnt(path))
		semconv.PutText(frame, semconv.FrameBuildID, given)
	}
	if facts == nil {
		return
	}
	switch {
	case given == "":
		semconv.PutText(frame, semconv.FrameBuildID, facts.BuildID)
	case facts.BuildID != given:
		disagree(witness.Module{BuildID: given}.Key(""), witness.Module{BuildID: facts.BuildID, SHA256: facts.SHA256}.Key(""))
		return
	}
	if given == "" && facts.BuildID == "" && semconv.Text(frame, semconv.FrameSHA256) == "" {
		semconv.PutText(frame, semconv.FrameSHA256, facts.SHA256)
	}
	if e.name == semconv.EventExec || e.name == semconv.EventLoad {
		add(frame, semconv.FrameComponent, facts.artifact.PURL, disagree)
		return
	}
	named := code{semconv.Text(frame, semconv.FrameLanguage), semconv.Text(frame, semconv.FramePackage), semconv.Text(frame, semconv.FrameSymbol)}
	found := facts.component(named)
	if named.language == "" {
		semconv.PutText(frame, semconv.FrameLanguage, found.language)
	}
	add(frame, semconv.FrameComponent, found.purl, disagree)
}

// enrichRecord says which artifact the executable is. That is one statement: when the record has another build-id,
// digest or purl, nothing is added to it.
func enrichRecord(m pcommon.Map, facts *identity, disagree func(...string)) {
	a := facts.artifact
	statement := [...]struct{ name, value, kind string }{
		{semconv.ProcessExecutableBuildIDGNU, facts.BuildID, "build-id:"},
		{semconv.ProcessExecutableBuildIDGo, facts.GoBuildID, "go-build-id:"},
		{semconv.ArtifactHash, a.Digest, ""},
		{semconv.ArtifactPURL, a.PURL, ""},
		{semconv.VCSRefHeadRevision, a.Revision, "revision:"},
	}
	agree := true
	for _, s := range statement {
		if present := semconv.Text(m, s.name); present != "" && s.value != "" && present != s.value {
			disagree(s.kind+present, s.kind+s.value)
			agree = false
		}
	}
	if !agree {
		return
	}
	m.EnsureCapacity(m.Len() + len(statement) + 2)
	for _, s := range statement {
		semconv.PutText(m, s.name, s.value)
	}
	if semconv.Text(m, semconv.WitnessArtifactIdentityMethod) == "" && (a.PURL != "" || a.Digest != "") {
		m.PutStr(semconv.WitnessArtifactIdentityMethod, a.Method)
	}
}

// add writes a value unless there is one. Another one than that is a disagreement.
func add(m pcommon.Map, name, value string, disagree func(...string)) {
	if value == "" {
		return
	}
	if present := semconv.Text(m, name); present == "" {
		m.PutStr(name, value)
	} else if present != value {
		disagree(present, value)
	}
}

// addAll adds values to a list, each once.
func addAll(m pcommon.Map, name string, values []string) {
	list, ok := m.Get(name)
	if !ok || list.Type() != pcommon.ValueTypeSlice {
		m.PutEmptySlice(name)
		list, _ = m.Get(name)
	}
	slice := list.Slice()
	for _, value := range values {
		present := false
		for _, element := range slice.All() {
			present = present || element.Type() == pcommon.ValueTypeStr && element.Str() == value
		}
		if !present && slice.Len() < maxConflicts {
			slice.AppendEmpty().SetStr(value)
		}
	}
}
