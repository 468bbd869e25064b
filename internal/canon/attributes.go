package canon

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// attributes keeps what is in the model and belongs here, and what is allowed.
func (w *work) attributes(m pcommon.Map, here func(semconv.Attribute) bool) {
	w.unique(m)
	class := ""
	m.RemoveIf(func(name string, value pcommon.Value) bool {
		attribute, known := semconv.LookupAttribute(name)
		keep := false
		switch {
		case known && here(attribute) && attribute.Privacy == semconv.PrivacyUser:
			if value.Type() == pcommon.ValueTypeInt {
				class = privacy.UserClass(value.Int())
				w.report.ChangedValues++
				return true
			}
		case known && here(attribute):
			keep = w.value(&attribute, value)
		case !known && w.c.allow[name]:
			keep = w.allowed(value, 0)
		}
		if !keep {
			w.report.DroppedAttributes++
		}
		return !keep
	})
	if class != "" {
		m.PutStr(semconv.WitnessUserClass, class)
	}
}

// unique drops what has a name that came before: OTLP can carry it, and nothing would look at it.
func (w *work) unique(m pcommon.Map) {
	var seen [16]uint64 // by a hash that tells most names apart
	again := false
	for name := range m.All() {
		h := len(name)
		if h > 0 {
			h = 67*h + 31*int(name[h-1]) + 7*int(name[h/2]) + int(name[h*3/4])
		}
		again = again || seen[h>>6&15]&(1<<(h&63)) != 0
		seen[h>>6&15] |= 1 << (h & 63)
	}
	if !again {
		return
	}
	if m.Len() > MaxAttributes { // a frame that nobody writes
		w.report.DroppedAttributes += m.Len()
		m.Clear()
		return
	}
	kept := 0 // these are in front
	m.RemoveIf(func(name string, _ pcommon.Value) bool {
		n := 0
		for before := range m.All() {
			if n++; n > kept {
				break
			}
			if before == name {
				w.report.DroppedAttributes++
				return true
			}
		}
		kept++
		return false
	})
}

// value makes one value canonical; false drops it.
func (w *work) value(a *semconv.Attribute, value pcommon.Value) bool {
	switch a.Type {
	case "string", "time", "hex":
		if value.Type() != pcommon.ValueTypeStr {
			return false
		}
		text, ok := w.text(a, value.Str())
		if ok {
			w.set(value, text)
		}
		return ok
	case "string[]":
		return w.list(a, value)
	case "int":
		return value.Type() == pcommon.ValueTypeInt && isPlainInt(a.Name, value.Int())
	case "double":
		return value.Type() == pcommon.ValueTypeDouble && isPlainDouble(value.Double())
	case "bool":
		return value.Type() == pcommon.ValueTypeBool
	case "map[]":
		if value.Type() != pcommon.ValueTypeSlice {
			return false
		}
		w.stack(value.Slice())
		return true
	}
	return false
}

// list makes the strings of a list canonical; what is no string, or not of its form, is taken out.
func (w *work) list(a *semconv.Attribute, value pcommon.Value) bool {
	if value.Type() != pcommon.ValueTypeSlice {
		return false
	}
	if a.Privacy == semconv.PrivacyArgument && w.c.arguments == ArgumentsScrub {
		w.scrubArguments(value.Slice())
		return true
	}
	n := 0
	value.Slice().RemoveIf(func(element pcommon.Value) bool {
		if n++; n <= maxList && element.Type() == pcommon.ValueTypeStr {
			if text, ok := w.text(a, element.Str()); ok {
				w.set(element, text)
				return false
			}
		}
		w.report.ChangedValues++
		return true
	})
	if a.Privacy == semconv.PrivacyKeep && len(a.Values) == 0 && n > 1 && privacy.TellTogether(texts(value.Slice())) {
		return false
	}
	return value.Slice().Len() > 0 || n == 0
}

// texts are the strings of a list.
func texts(list pcommon.Slice) []string {
	all := make([]string, 0, min(list.Len(), maxList))
	for _, element := range list.All() {
		if element.Type() == pcommon.ValueTypeStr && len(all) < maxList {
			all = append(all, element.Str())
		}
	}
	return all
}

// scrub scrubs a text. Beyond maxScrubbed the texts of a record are taken out whole.
func (w *work) scrub(text string) string {
	if w.scrubbed += len(text); w.scrubbed > maxScrubbed {
		return privacy.Redacted
	}
	return w.c.memory.text(text)
}

// scrubArguments scrubs the arguments of a command together: a flag says what the next one is.
func (w *work) scrubArguments(list pcommon.Slice) {
	raw := texts(list)
	for _, text := range raw {
		w.scrubbed += len(text)
	}
	scrubbed := []string{privacy.Redacted}
	if w.scrubbed <= maxScrubbed {
		scrubbed = privacy.Arguments(raw)
	}
	if list.Len() == len(scrubbed) && slices.Equal(raw, scrubbed) {
		return
	}
	w.report.ChangedValues++
	list.RemoveIf(func(pcommon.Value) bool { return true })
	for _, text := range scrubbed {
		list.AppendEmpty().SetStr(text)
	}
}

// text makes one string canonical, as the privacy class says; false drops it.
func (w *work) text(a *semconv.Attribute, text string) (string, bool) {
	switch a.Privacy {
	case semconv.PrivacyKeep:
		return w.keep(a, text)
	case semconv.PrivacyEvidence:
		if w.isEvidence(a.Name, text) {
			return text, true
		}
		if a.Name == semconv.LogRecordUID {
			return privacy.Pseudonym(w.c.key, text), true
		}
		return "", false
	case semconv.PrivacyPath:
		return w.path(a.Name, text)
	case semconv.PrivacySymbol:
		return text, true // with the frame
	case semconv.PrivacyOffset:
		offset, err := witness.ParseOffset(text)
		return text, err == nil && privacy.IsOffset(offset)
	case semconv.PrivacyIdentity:
		return w.identity(text)
	case semconv.PrivacyArgument:
		switch w.c.arguments {
		case ArgumentsKeep:
			return privacy.Addresses(text), true
		case ArgumentsScrub:
			return w.scrub(text), true
		}
		return "", false
	case semconv.PrivacyHook:
		return w.hookArgument(text)
	case semconv.PrivacyText:
		return w.scrub(text), true
	}
	return "", false
}

// isEvidence is isEvidence, of which most purls are known.
func (w *work) isEvidence(name, text string) bool {
	switch name {
	case semconv.ArtifactPURL, semconv.WitnessComponentPURL, semconv.FrameComponent:
		return w.c.memory.keeps(rulePURL, text)
	}
	return isEvidence(name, text)
}

// keep checks a name, version or time. Identities that disagree are evidence. A source that is not clean gets a
// pseudonym: two sources must not become one.
func (w *work) keep(a *semconv.Attribute, text string) (string, bool) {
	switch {
	case a.Name == semconv.WitnessSource && (len(text) > maxValue || w.c.memory.name(text) != text):
		return privacy.Pseudonym(w.c.key, text), true
	case len(a.Values) > 0:
		return text, slices.Contains(a.Values, text)
	case a.Type == "time":
		_, err := time.Parse(time.RFC3339Nano, text)
		return text, err == nil
	case len(text) > maxValue:
		return "", false
	case a.Name == semconv.WitnessArtifactConflicts && (isPURL(text) || isDigest(text)):
		return text, true
	}
	return w.c.memory.name(text), true
}

func (w *work) identity(text string) (string, bool) {
	switch {
	case len(text) > maxValue:
		return "", false
	case w.c.identities == IdentitiesKeep:
		return w.c.memory.name(text), true
	case w.c.identities == IdentitiesHMAC:
		return privacy.Pseudonym(w.c.key, text), true
	}
	return "", false
}

// path folds a path. An executable file that only its process knows by that name keeps an identity of its own: without
// it, two programs in /tmp would be one.
func (w *work) path(name, raw string) (string, bool) {
	p := w.c.memory.path(raw)
	executable := name == semconv.FrameModule || name == semconv.ProcessExecutablePath
	if !executable {
		return p.Canonical, p.Canonical != ""
	}
	if p.Deleted && (name == semconv.ProcessExecutablePath || raw == w.firstModule) {
		w.deleted = true
	}
	if raw = withoutDeleted(raw); !p.Collapsed {
		if path.Base(p.Canonical) != path.Base(raw) {
			w.folded = append(w.folded, raw)
		}
		return p.Canonical, p.Canonical != ""
	}
	w.folded = append(w.folded, raw)
	if slices.Contains(w.named, raw) {
		return privacy.Instance(w.c.key, p.Canonical, raw), true
	}
	return privacy.Instance(w.c.key, p.Canonical, raw, w.place, strconv.FormatInt(w.pid, 10), w.created, w.source), true
}

// withoutDeleted is a path without what the kernel appends when the file has no name any more.
func withoutDeleted(raw string) string {
	for strings.HasSuffix(raw, privacy.DeletedSuffix) {
		raw = strings.TrimSuffix(raw, privacy.DeletedSuffix)
	}
	return raw
}

// executableName hides the name of an executable whose path collapsed, or ended in what was private.
func (w *work) executableName(attributes pcommon.Map) {
	v, ok := attributes.Get(semconv.ProcessExecutableName)
	if !ok {
		return
	}
	for _, raw := range w.folded {
		if name := v.Str(); raw == name || strings.HasSuffix(raw, "/"+name) || strings.HasSuffix(raw, `\`+name) || strings.HasSuffix(raw, ":"+name) {
			w.set(v, privacy.CanonicalPath(raw).Canonical)
			return
		}
	}
}

// allowed scrubs a value outside the model; false drops it.
func (w *work) allowed(value pcommon.Value, depth int) bool {
	switch value.Type() {
	case pcommon.ValueTypeStr:
		w.set(value, w.scrub(value.Str()))
	case pcommon.ValueTypeInt:
		return !privacy.IsAddressInt(value.Int())
	case pcommon.ValueTypeDouble:
		return isPlainDouble(value.Double())
	case pcommon.ValueTypeBool, pcommon.ValueTypeEmpty:
	case pcommon.ValueTypeMap:
		w.allowedMap(value.Map(), depth)
	case pcommon.ValueTypeSlice:
		list := value.Slice()
		if list.Len() > maxList {
			return false
		}
		list.RemoveIf(func(element pcommon.Value) bool {
			drop := depth >= maxDepth || !w.allowed(element, depth+1)
			if drop {
				w.report.DroppedAttributes++
			}
			return drop
		})
		if all := texts(list); len(all) == list.Len() {
			w.scrubArguments(list) // words may tell together what none tells alone
		}
	default:
		return false // bytes
	}
	return true
}

// allowedMap scrubs the values of a map, as their names say, too: {"password": "x"}, {"name": "API_TOKEN", "value": "x"}.
func (w *work) allowedMap(m pcommon.Map, depth int) {
	about := ""
	for _, name := range []string{"name", "Name", "key", "Key"} {
		if v, ok := m.Get(name); ok && v.Type() == pcommon.ValueTypeStr && len(v.Str()) <= maxName {
			about = v.Str()
		}
	}
	m.RemoveIf(func(name string, element pcommon.Value) bool {
		keep := depth < maxDepth && len(name) <= maxName && privacy.Text(name) == name
		if key := name; keep {
			if about != "" && strings.EqualFold(name, "value") {
				key = about
			}
			switch text := element.Type() == pcommon.ValueTypeStr; {
			case text && privacy.Tells(key, element.Str()):
				w.set(element, privacy.Secret)
			case !text && element.Type() != pcommon.ValueTypeBool && element.Type() != pcommon.ValueTypeEmpty && privacy.Tells(key, "x"):
				keep = element.Type() == pcommon.ValueTypeInt && !privacy.Tells(key, strconv.FormatInt(element.Int(), 10))
			default:
				keep = w.allowed(element, depth+1)
			}
		}
		if !keep {
			w.report.DroppedAttributes++
		}
		return !keep
	})
}

// stack makes frames canonical. None is taken out of the middle: which frame is first, and which called which, is what a
// stack says. What is no frame becomes an empty one.
func (w *work) stack(stack pcommon.Slice) {
	n := 0
	stack.RemoveIf(func(frame pcommon.Value) bool {
		if n++; n > witness.MaxStack {
			w.report.DroppedFrames++
			return true
		}
		if frame.Type() != pcommon.ValueTypeMap {
			w.report.DroppedFrames++
			frame.SetEmptyMap()
		}
		w.frame(frame.Map())
		return false
	})
}

func (w *work) frame(m pcommon.Map) {
	w.unique(m)
	m.RemoveIf(func(name string, value pcommon.Value) bool {
		attribute, known := semconv.LookupFrame(name)
		switch {
		case !known:
		case name == semconv.FrameFlags:
			known = w.flags(value)
		case name == semconv.FrameLanguage, name == semconv.FrameSymbolSource:
			known = value.Type() == pcommon.ValueTypeStr && isTerm(value.Str()) && w.c.memory.keeps(ruleName, value.Str())
		default:
			known = w.value(&attribute, value)
		}
		if !known {
			w.report.DroppedAttributes++
		}
		return !known
	})
	w.symbol(m)
}

// flags keeps words.
func (w *work) flags(value pcommon.Value) bool {
	if value.Type() != pcommon.ValueTypeSlice {
		return false
	}
	n := 0
	value.Slice().RemoveIf(func(element pcommon.Value) bool {
		n++
		bad := n > 32 || element.Type() != pcommon.ValueTypeStr || !isFlag(element.Str())
		if bad {
			w.report.ChangedValues++
		}
		return bad
	})
	return true
}

// symbol makes the three names of a frame canonical, or takes them out.
func (w *work) symbol(m pcommon.Map) {
	var language, pkg, member, raw, module, file string
	var confidence float64
	for name, value := range m.All() {
		switch name {
		case semconv.FrameLanguage:
			language = symbol.Language(value.Str())
		case semconv.FramePackage:
			pkg = value.Str()
		case semconv.FrameMember:
			member = value.Str()
		case semconv.FrameSymbol:
			raw = value.Str()
		case semconv.FrameModule:
			module = value.Str()
		case semconv.FrameFile:
			file = value.Str()
		case semconv.FrameConfidence:
			confidence = value.Double()
		}
	}
	if pkg == "" && member == "" && raw == "" {
		return
	}
	if language == "" && module == witness.KernelModule {
		language = symbol.Kernel
	}
	s, ok := w.c.symbols.CanonicalFrame(language, pkg, member)
	if ok {
		if raw != s.Name {
			w.put(m, semconv.FrameSymbol, s.Name)
		}
		w.put(m, semconv.FrameLanguage, s.Language)
		w.mergeFlags(m, s.Flags)
		if s.Confidence < 1 && (confidence == 0 || s.Confidence < confidence) {
			m.PutDouble(semconv.FrameConfidence, s.Confidence)
		}
		return
	}
	if raw == "" && member != "" {
		raw = symbol.Join(language, pkg, member)
	}
	if language == "" {
		if language = symbol.Detect(raw, module); language == "" {
			language = symbol.Detect(raw, file)
		}
	}
	if (language == symbol.JS || language == symbol.Python) && file != "" && !strings.ContainsAny(raw, "(:#") {
		raw += " (" + file + ")" // it tells the package
	}
	if s, ok = w.c.symbols.Canonical(raw, language); !ok {
		for _, name := range []string{semconv.FrameSymbol, semconv.FramePackage, semconv.FrameMember} {
			if m.Remove(name) {
				w.report.DroppedAttributes++
			}
		}
		return
	}
	w.put(m, semconv.FrameSymbol, s.Name)
	w.put(m, semconv.FramePackage, s.Package)
	w.put(m, semconv.FrameMember, s.Member)
	w.put(m, semconv.FrameLanguage, s.Language)
	w.mergeFlags(m, s.Flags)
	if confidence == 0 || s.Confidence < confidence {
		m.PutDouble(semconv.FrameConfidence, s.Confidence)
	}
}

// put sets a string, and removes it when it is empty.
func (w *work) put(m pcommon.Map, name, text string) {
	v, ok := m.Get(name)
	switch {
	case !ok && text == "", ok && v.Str() == text:
	case text == "":
		m.Remove(name)
	case ok:
		w.set(v, text)
	default:
		m.PutStr(name, text)
	}
}

func (w *work) mergeFlags(m pcommon.Map, flags []string) {
	if len(flags) == 0 {
		return
	}
	all := slices.Clone(flags)
	if v, ok := m.Get(semconv.FrameFlags); ok {
		for _, element := range v.Slice().All() {
			all = append(all, element.Str())
		}
	}
	slices.Sort(all)
	slice := m.PutEmptySlice(semconv.FrameFlags)
	for _, flag := range slices.Compact(all) {
		slice.AppendEmpty().SetStr(flag)
	}
}

// functionName makes code.function.name canonical. Where it names the first frame it gets that frame's name: a name
// alone cannot always be read a second time.
func (w *work) functionName(attributes pcommon.Map) {
	v, ok := attributes.Get(semconv.CodeFunctionName)
	if !ok {
		return
	}
	name, language := "", ""
	if stack, ok := attributes.Get(semconv.WitnessStack); ok && stack.Slice().Len() > 0 {
		frame := stack.Slice().At(0).Map()
		if s, ok := frame.Get(semconv.FrameSymbol); ok {
			name = s.Str()
		}
		if l, ok := frame.Get(semconv.FrameLanguage); ok {
			language = l.Str()
		}
	}
	if raw := v.Str(); name == "" || raw != name && raw != w.firstSymbol {
		s, ok := w.c.symbols.Canonical(raw, language)
		if again, same := w.c.symbols.Canonical(s.Name, s.Language); !ok || !same || again.Name != s.Name {
			attributes.Remove(semconv.CodeFunctionName)
			w.report.DroppedAttributes++
			return
		}
		name = s.Name
	}
	w.set(v, name)
}

// counters are ints that may be large.
var counters = []string{semconv.WitnessHits, semconv.WitnessHitsError, semconv.WitnessFlush, semconv.WitnessLossCount, semconv.WitnessCoverageLost}

// isPlainInt reports whether v is no address: counters may be anything else, the rest fits in 32 bits.
func isPlainInt(name string, v int64) bool {
	if privacy.IsAddressInt(v) {
		return false
	}
	return slices.Contains(counters, name) || v >= math.MinInt32 && v <= math.MaxUint32
}

// isPlainDouble reports whether v is a number too small for an address.
func isPlainDouble(v float64) bool { return math.Abs(v) <= math.MaxUint32 }
