package evidence

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Hook is what became of a policy, hook or probe, or of a file or function that a source watches by itself.
type Hook struct {
	Source string `json:"source"`
	Host   string `json:"host"`
	Target string `json:"target"`
	// File and Symbol say what it is about, if it is not everything.
	File   *File   `json:"file"`
	Symbol *Symbol `json:"symbol"`
	// OfFinding says that the finding names the function, or that evidence of the finding was seen in the file.
	OfFinding bool `json:"ofFinding"`
	// State is the newest, since At.
	State  string    `json:"state"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// Watched are the times at which it was attached and its source watched.
	Watched []Interval `json:"watched"`
}

// File is a file that a hook is about.
type File struct {
	Path    string `json:"path"`
	BuildID string `json:"buildId"`
	SHA256  string `json:"sha256"`
}

// Symbol is a function that a hook is about.
type Symbol struct {
	Language string `json:"language"`
	Package  string `json:"package"`
	Member   string `json:"member"`
}

type hookKey struct {
	receiver string
	instance witness.Instance
	workload witness.Workload
	target   string
	about    witness.About
}

// state is one that a hook was in from a time on.
type state struct {
	at            time.Time
	source        string
	state, reason string
}

// stateOrder sorts states of one moment, of which nobody knows the order: the one that claims least is taken for the last.
var stateOrder = []string{
	witness.StateAttached, witness.StateDetached, witness.StateRefused, witness.StateSuspended, witness.StateUnavailable,
}

func compareStates(a, b state) int {
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(slices.Index(stateOrder, a.state), slices.Index(stateOrder, b.state)),
		cmp.Compare(a.source, b.source), cmp.Compare(a.reason, b.reason))
}

// receiverKey is a receiver on a host.
type receiverKey struct{ receiver, host string }

// incarnations is when each incarnation of a receiver was first heard of.
type incarnations map[receiverKey]map[uint64]time.Time

// incarnation is the number in a source.
func incarnation(source string) uint64 {
	_, rest, _ := strings.Cut(source, "/")
	number, _, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// incarnationsOf reads the incarnations from what sources said; receivers are those of all sources.
func incarnationsOf(records []witness.Coverage, receivers map[string]string) incarnations {
	all := incarnations{}
	for i := range records {
		r := &records[i]
		key, n := receiverKey{receivers[r.Source], r.Instance.Host}, incarnation(r.Source)
		if all[key] == nil {
			all[key] = map[uint64]time.Time{}
		}
		if first, ok := all[key][n]; !ok || r.Start.Before(first) {
			all[key][n] = r.Start
		}
	}
	return all
}

// end is when the state that a source told at a time ends because the source was started again, having lost what it knew;
// never later than an end. A source tells the states of all its hooks when it starts.
func (all incarnations) end(key receiverKey, source string, at, end time.Time) time.Time {
	n := incarnation(source)
	for later, first := range all[key] {
		if later > n && !first.Before(at) && first.Before(end) {
			end = first
		}
	}
	return end
}

// hook makes a hook of its states, and the gaps in it until end. watched is when its source watched.
func (k *hookKey) hook(states []state, all incarnations, own bool, watched []Interval, end time.Time) (Hook, []Gap) {
	slices.SortFunc(states, compareStates)
	last := states[len(states)-1]
	h := Hook{
		Source: last.source, Host: k.instance.Host, Target: k.target, OfFinding: own, State: last.state, Reason: last.reason, At: last.at.UTC(),
		Watched: []Interval{},
	}
	h.File, h.Symbol = describe(&k.about)
	for i := len(states) - 2; i >= 0 && states[i].state == last.state && states[i].reason == last.reason; i-- {
		h.At = states[i].at.UTC() // told again
	}
	var attached []Interval
	var gaps []Gap
	for i, s := range states {
		until := end
		if i+1 < len(states) && states[i+1].at.Before(until) {
			until = states[i+1].at
		}
		until = all.end(receiverKey{k.receiver, k.instance.Host}, s.source, s.at, until)
		span := Interval{s.at.UTC(), until.UTC()}
		if !span.End.After(span.Start) {
			continue
		}
		gap := Gap{Interval: span, Source: s.source, Host: k.instance.Host, Target: k.target, File: h.File, Symbol: h.Symbol, OfFinding: own}
		switch {
		case s.state == witness.StateAttached:
			attached = append(attached, span)
			continue
		case s.state == witness.StateSuspended && s.reason == witness.ReasonThrottled:
			gap.Reason = GapThrottled
		case s.state == witness.StateSuspended:
			gap.Reason = GapSuspended
		case own:
			gap.Reason = GapNotProbeable
		default:
			continue // it never watched, or is not asked to
		}
		gap.whole = k.about == (witness.About{})
		if last := len(gaps) - 1; last >= 0 && gaps[last].Reason == gap.Reason && gaps[last].End.Equal(gap.Start) {
			gaps[last].End = gap.End // told again
			continue
		}
		gaps = append(gaps, gap)
	}
	h.Watched = intersect(merge(attached), watched)
	return h, gaps
}

// describe is what a hook is about, for an answer.
func describe(about *witness.About) (file *File, symbol *Symbol) {
	if about.Module != (witness.Module{}) {
		file = &File{about.Module.Path, about.Module.BuildID, about.Module.SHA256}
	}
	if about.Package != "" || about.Member != "" {
		symbol = &Symbol{about.Language, about.Package, about.Member}
	}
	return file, symbol
}

func (c *Coverage) addHooks(hooks map[hookKey][]state, beats map[hookKey][]pulse, all incarnations, own *Own, end time.Time) {
	runs := receiverRuns(c.Sources)
	for key, states := range hooks {
		about := key.about
		watched := runs[receiverKey{key.receiver, key.instance.Host}]
		hook, gaps := key.hook(states, all, own.has(&about), watched, end)
		c.Hooks, c.Gaps = append(c.Hooks, hook), append(c.Gaps, gaps...)
	}
	for key, beats := range beats { // files and functions with heartbeats of their own
		about := key.about
		slices.SortFunc(beats, func(a, b pulse) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.source, b.source)) })
		last := beats[len(beats)-1]
		spans := make([]Interval, len(beats))
		for i := range beats {
			spans[i] = beats[i].Interval
		}
		h := Hook{
			Source: last.source, Host: key.instance.Host, Target: key.target, OfFinding: own.has(&about), State: witness.StateAttached,
			Watched: merge(spans),
		}
		h.File, h.Symbol = describe(&about)
		h.At = h.Watched[len(h.Watched)-1].Start
		if c.now.Sub(last.End) > Missed*last.interval {
			h.State, h.Reason, h.At = witness.StateUnavailable, string(GapStopped), last.End
		}
		c.Gaps = append(c.Gaps, stops(h.Watched, h.State == witness.StateAttached, end, Gap{
			Reason: GapStopped, Source: h.Source, Host: h.Host, Target: h.Target, File: h.File, Symbol: h.Symbol, OfFinding: h.OfFinding,
		})...)
		c.Hooks = append(c.Hooks, h)
	}
	slices.SortFunc(c.Hooks, compareHooks)
}

// compareHooks sorts those of the finding first.
func compareHooks(a, b Hook) int {
	return cmp.Or(ofFindingFirst(a.OfFinding, b.OfFinding), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Target, b.Target),
		cmp.Compare(a.Source, b.Source), compareParts(a.File, b.File, a.Symbol, b.Symbol), a.At.Compare(b.At), cmp.Compare(a.State, b.State))
}

func ofFindingFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

func compareParts(file1, file2 *File, symbol1, symbol2 *Symbol) int {
	var f1, f2 File
	var s1, s2 Symbol
	if file1 != nil {
		f1 = *file1
	}
	if file2 != nil {
		f2 = *file2
	}
	if symbol1 != nil {
		s1 = *symbol1
	}
	if symbol2 != nil {
		s2 = *symbol2
	}
	return cmp.Or(cmp.Compare(s1.Package, s2.Package), cmp.Compare(s1.Member, s2.Member), cmp.Compare(s1.Language, s2.Language),
		cmp.Compare(f1.Path, f2.Path), cmp.Compare(f1.BuildID, f2.BuildID), cmp.Compare(f1.SHA256, f2.SHA256))
}

// NotProbeable are the hooks that do not work, those of the finding first.
func (c *Coverage) NotProbeable() []Hook {
	return slices.DeleteFunc(slices.Clone(c.Hooks), func(h Hook) bool { return h.State == witness.StateAttached })
}

// receiverRuns is when each receiver of a host watched.
func receiverRuns(sources []Source) map[receiverKey][]Interval {
	runs := map[receiverKey][]Interval{}
	for i := range sources {
		s := &sources[i]
		key := receiverKey{storage.Receiver(s.Source), s.Host}
		runs[key] = append(runs[key], s.Runs...)
	}
	for key := range maps.Keys(runs) {
		runs[key] = merge(runs[key])
	}
	return runs
}
