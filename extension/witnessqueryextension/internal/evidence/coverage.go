package evidence

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// MaxCoverage is how many coverage records an answer looks at, the newest.
const MaxCoverage = 100000

// Missed is how many heartbeats may be missing before a source counts as stopped.
const Missed = 3

// Watched says whether a time was watched.
type Watched string

// The answers.
const (
	WatchedYes     Watched = "yes"     // measured on every host that is known from the asked time, all of it, without loss
	WatchedPartial Watched = "partial" // some of it, or some hosts, or with loss, or only asserted
	WatchedNo      Watched = "no"      // by nobody
)

// Interval is [Start, End).
type Interval struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Source is a receiver on a host, over its restarts.
type Source struct {
	Source string `json:"source"` // as it last called itself
	Signal string `json:"signal"`
	Host   string `json:"host"`
	// Assurance tells a collector's own word from that of a sender nobody knows.
	Assurance witness.Assurance `json:"assurance"`
	Kinds     []witness.Kind    `json:"kinds"` // of evidence that it can see, weakest first
	Active    bool              `json:"active"`
	Interval  float64           `json:"intervalSeconds"` // between heartbeats
	Runs      []Interval        `json:"runs"`            // without a gap, chronological
	// ProcessesWatched and ProcessesSeen are of the last heartbeat, LeastWatched and LeastSeen of the one with the smallest
	// share in the weeks that the time reaches into.
	ProcessesWatched uint64 `json:"processesWatched"`
	ProcessesSeen    uint64 `json:"processesSeen"`
	LeastWatched     uint64 `json:"leastWatched"`
	LeastSeen        uint64 `json:"leastSeen"`
	// Skew is from the End of the last heartbeat, by the source's clock, until that was stored, by the storage's: delay and
	// the difference of the clocks. Nil where nobody knows when it was stored, or wants to.
	Skew *float64 `json:"skewSeconds"`

	last time.Time // end of the last heartbeat
}

// Loss is evidence that was lost.
type Loss struct {
	Source string `json:"source"`
	Host   string `json:"host"`
	Stage  string `json:"stage"`
	Interval
	// Lost events at least; nil if their number is not known.
	Lost *uint64 `json:"lost"`
}

// GapReason is why a time was not, or not all of it, watched.
type GapReason string

// The reasons.
const (
	GapStopped      GapReason = "stopped"       // no heartbeat of a source that had one before
	GapLost         GapReason = "lost"          // evidence was lost
	GapThrottled    GapReason = "throttled"     // events were held back, since there were too many
	GapSuspended    GapReason = "suspended"     // a hook was suspended
	GapNotProbeable GapReason = "not_probeable" // a hook of the finding was not attached for another reason
)

// Gap is a time in which silence is worth less, or nothing.
type Gap struct {
	Interval
	Reason GapReason `json:"reason"`
	Source string    `json:"source"`
	Host   string    `json:"host"`
	// Stage of a loss, Target of a hook.
	Stage  string `json:"stage"`
	Target string `json:"target"`
	// File and Symbol are all that the gap is in, if not nil.
	File      *File   `json:"file"`
	Symbol    *Symbol `json:"symbol"`
	OfFinding bool    `json:"ofFinding"`

	whole bool // of everything on the host, or in a workload
}

// counts says whether the gap is one for the finding: it is in everything, or in what belongs to the finding.
func (g *Gap) counts() bool { return g.Reason != GapStopped && (g.whole || g.OfFinding) }

// Coverage is what was watched in [From, To): what silence is worth.
type Coverage struct {
	Interval
	Sources []Source
	Losses  []Loss
	// Hooks and Gaps of the finding come first; gaps are newest first.
	Hooks []Hook
	Gaps  []Gap
	// Truncated says that there was more than MaxCoverage: the oldest part of the time is missing.
	Truncated bool

	now     time.Time
	hosts   []watchedHost
	some    []Interval            // watched on some host, merged
	claimed []Interval            // on some host watched only by those who merely assert it, merged
	pending []Interval            // since the last heartbeat of sources whose next is not due, merged
	missing []Interval            // not watched on some host that is known, merged
	lossy   []Interval            // with a gap that counts, on some host, merged
	losing  map[string][]Interval // the same by host, a moment with the heartbeat interval before it, merged
}

// watchedHost is when a host was watched, merged.
type watchedHost struct {
	name     string
	runs     []Interval
	measured []Interval // those of runs that a collector's own receivers vouch for, merged
	until    time.Time  // nobody can have said anything of it from then on
}

// CoverOwn looks up what was watched in [from, to), at the time now, for a finding: gaps in what belongs to it count, and
// come first.
func CoverOwn(ctx context.Context, reader storage.Reader, tenant string, own *Own, from, to, now time.Time) (*Coverage, error) {
	records, err := reader.Coverage(ctx, tenant, storage.CoverageQuery{From: from, To: to, Limit: MaxCoverage})
	if err != nil {
		return nil, err
	}
	return cover(records, own, from, to, now), nil
}

// pulse is a heartbeat, or several that were joined.
type pulse struct {
	Interval
	source   string
	interval time.Duration
}

type sourceKey struct {
	receiver, host, signal string
	assurance              witness.Assurance
}

func cover(records []witness.Coverage, own *Own, from, to, now time.Time) *Coverage {
	c := &Coverage{
		Interval: Interval{from.UTC(), to.UTC()}, now: now, losing: map[string][]Interval{},
		Sources: []Source{}, Losses: []Loss{}, Hooks: []Hook{}, Gaps: []Gap{}, Truncated: len(records) >= MaxCoverage,
	}
	end := to
	if now.Before(end) {
		end = now
	}
	sources, receivers := make(map[sourceKey]*Source, len(records)/2), make(map[string]string, len(records)/2)
	hooks, beats := map[hookKey][]state{}, map[hookKey][]pulse{}
	for i := range records {
		r := &records[i]
		receiver, ok := receivers[r.Source]
		if !ok {
			receiver = storage.Receiver(r.Source)
			receivers[r.Source] = receiver
		}
		switch {
		case r.LossStage != "":
			c.addLoss(r, own)
		case r.StatusTarget != "":
			key := hookKey{receiver, r.Instance, r.Workload, r.StatusTarget, r.About}
			hooks[key] = append(hooks[key], state{r.Start, r.Source, r.StatusState, r.StatusReason})
		case len(r.Kinds) > 0 && r.About != (witness.About{}):
			key := hookKey{receiver, r.Instance, r.Workload, r.Signal, r.About}
			beats[key] = append(beats[key], pulse{Interval{r.Start.UTC(), r.End.UTC()}, r.Source, interval(r)})
		case len(r.Kinds) > 0:
			key := sourceKey{receiver, r.Instance.Host, r.Signal, r.Assurance}
			s, ok := sources[key]
			if !ok {
				s = &Source{Signal: r.Signal, Host: r.Instance.Host, Assurance: r.Assurance}
				sources[key] = s
			}
			s.add(r)
		}
	}
	c.Sources = slices.Grow(c.Sources, len(sources))
	for _, s := range slices.SortedFunc(maps.Values(sources), compareSources) {
		s.Runs = merge(s.Runs)
		s.Active = now.Sub(s.last) <= Missed*seconds(s.Interval)
		slices.SortFunc(s.Kinds, func(a, b witness.Kind) int {
			return cmp.Compare(slices.Index(witness.Kinds, a), slices.Index(witness.Kinds, b))
		})
		c.Gaps = append(c.Gaps, stops(s.Runs, s.Active, end, Gap{Reason: GapStopped, Source: s.Source, Host: s.Host, whole: true})...)
		if s.fresh(now) && s.last.Before(end) {
			c.pending = append(c.pending, Interval{s.last, end})
		}
		c.Sources = append(c.Sources, *s)
	}
	if len(hooks) > 0 || len(beats) > 0 {
		c.addHooks(hooks, beats, incarnationsOf(records, receivers), own, end)
	}
	c.spread(end)
	slices.SortStableFunc(c.Losses, func(a, b Loss) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Source, b.Source), a.End.Compare(b.End))
	})
	slices.SortFunc(c.Gaps, func(a, b Gap) int {
		return cmp.Or(ofFindingFirst(a.OfFinding, b.OfFinding), b.Start.Compare(a.Start), b.End.Compare(a.End), cmp.Compare(a.Host, b.Host),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Target, b.Target),
			compareParts(a.File, b.File, a.Symbol, b.Symbol))
	})
	return c
}

func compareSources(a, b *Source) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Signal, b.Signal), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Assurance, b.Assurance))
}

// add takes in a heartbeat.
func (s *Source) add(r *witness.Coverage) {
	s.Runs = append(s.Runs, Interval{r.Start.UTC(), r.End.UTC()})
	for _, kind := range r.Kinds {
		if !slices.Contains(s.Kinds, kind) {
			s.Kinds = append(s.Kinds, kind)
		}
	}
	if !r.End.Before(s.last) {
		s.last, s.Source = r.End.UTC(), r.Source
		s.Interval = interval(r).Seconds()
		s.ProcessesWatched, s.ProcessesSeen = r.ProcessesWatched, r.ProcessesSeen
		s.Skew = nil
		if !r.Received.IsZero() {
			skew := r.Received.Sub(r.End).Round(time.Millisecond).Seconds()
			s.Skew = &skew
		}
	}
	watched, seen := r.LeastWatched, r.LeastSeen
	if seen == 0 {
		watched, seen = r.ProcessesWatched, r.ProcessesSeen
	}
	if seen > 0 && (s.LeastSeen == 0 || float64(watched)/float64(seen) < float64(s.LeastWatched)/float64(s.LeastSeen)) {
		s.LeastWatched, s.LeastSeen = watched, seen
	}
}

// fresh says whether the next heartbeat is not due yet: half of an interval late is in time.
func (s *Source) fresh(now time.Time) bool { return now.Sub(s.last) <= seconds(s.Interval)*3/2 }

// stageThrottled ends the stages of losses by throttling.
const stageThrottled = ".throttled"

func (c *Coverage) addLoss(r *witness.Coverage, own *Own) {
	loss := Loss{Source: r.Source, Host: r.Instance.Host, Stage: r.LossStage, Interval: Interval{r.Start.UTC(), r.End.UTC()}}
	if r.Lost > 0 {
		loss.Lost = &r.Lost
	}
	c.Losses = append(c.Losses, loss)
	gap := Gap{
		Interval: loss.Interval, Reason: GapLost, Source: r.Source, Host: loss.Host, Stage: loss.Stage,
		OfFinding: own.has(&r.About), whole: r.About == (witness.About{}),
	}
	if strings.HasSuffix(loss.Stage, stageThrottled) {
		gap.Reason = GapThrottled
	}
	gap.File, gap.Symbol = describe(&r.About)
	c.Gaps = append(c.Gaps, gap)
}

// stops are the gaps between runs, and behind the last of what is not active.
func stops(runs []Interval, active bool, end time.Time, gap Gap) (gaps []Gap) {
	for i := range runs {
		gap.Interval = Interval{runs[i].End, end.UTC()}
		if i+1 < len(runs) {
			gap.End = runs[i+1].Start
		} else if active {
			break
		}
		if gap.End.After(gap.Start) {
			gaps = append(gaps, gap)
		}
	}
	return gaps
}

// spread sums up over hosts what was watched and what was not until end.
func (c *Coverage) spread(end time.Time) {
	for i := 0; i < len(c.Sources); { // which are sorted by host
		h := watchedHost{name: c.Sources[i].Host, runs: c.Sources[i].Runs}
		var heard time.Time // when a source of which the next heartbeat is not due was last heard of
		first, asserted := i, false
		for ; i < len(c.Sources) && c.Sources[i].Host == h.name; i++ {
			s := &c.Sources[i]
			if i > first {
				h.runs = append(slices.Clip(h.runs), s.Runs...)
			}
			if s.Assurance == witness.Measured {
				h.measured = append(slices.Clip(h.measured), s.Runs...)
			} else {
				asserted = true
			}
			if s.fresh(c.now) && s.last.After(heard) {
				heard = s.last
			}
		}
		if i > first+1 {
			h.runs, h.measured = merge(h.runs), merge(h.measured)
		}
		if asserted {
			for _, run := range h.runs {
				c.claimed = append(c.claimed, complement(h.measured, run.Start, run.End)...)
			}
		}
		until := end
		if !heard.IsZero() && heard.Before(end) {
			until = heard
		}
		h.until = until
		c.hosts = append(c.hosts, h)
		c.some = append(c.some, h.runs...)
		c.missing = append(c.missing, complement(h.runs, c.Start, until)...)
	}
	var everywhere []Interval
	var intervals map[receiverKey]time.Duration
	for i := range c.Gaps {
		g := &c.Gaps[i]
		if !g.counts() {
			continue
		}
		span := g.Interval
		if !span.End.After(span.Start) {
			span.End = span.Start.Add(1) // a loss at one moment is in what holds the moment
		}
		c.lossy = append(c.lossy, span)
		if !g.End.After(g.Start) {
			if intervals == nil {
				intervals = heartbeatIntervals(c.Sources)
			}
			span.Start = span.Start.Add(-intervals[receiverKey{storage.Receiver(g.Source), g.Host}])
		}
		if g.Host == "" {
			everywhere = append(everywhere, span)
		} else {
			c.losing[g.Host] = append(c.losing[g.Host], span)
		}
	}
	if len(c.lossy) > 0 {
		for i := range c.hosts {
			host := c.hosts[i].name
			c.losing[host] = merge(append(c.losing[host], everywhere...))
		}
	}
	c.some, c.missing, c.pending, c.lossy = merge(c.some), merge(c.missing), merge(c.pending), merge(c.lossy)
	c.claimed = merge(c.claimed)
}

// heartbeatIntervals is how often each receiver of a host has a heartbeat.
func heartbeatIntervals(sources []Source) map[receiverKey]time.Duration {
	intervals := map[receiverKey]time.Duration{}
	for i := range sources {
		s := &sources[i]
		key := receiverKey{storage.Receiver(s.Source), s.Host}
		intervals[key] = max(intervals[key], seconds(s.Interval))
	}
	return intervals
}

// interval is how often a source has a heartbeat: as it says, else as long as this one was.
func interval(r *witness.Coverage) time.Duration {
	if r.Interval > 0 {
		return r.Interval
	}
	return r.End.Sub(r.Start)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// merge joins intervals that overlap or touch. It sorts its argument, and what it returns is in its place.
func merge(intervals []Interval) []Interval { return bridge(intervals, 0) }

// bridge joins intervals that overlap or have at most a gap between them. It sorts its argument, and what it returns is in
// its place.
func bridge(intervals []Interval, gap time.Duration) []Interval {
	slices.SortFunc(intervals, func(a, b Interval) int { return a.Start.Compare(b.Start) })
	merged := intervals[:0]
	for _, next := range intervals {
		if last := len(merged) - 1; last >= 0 && !next.Start.After(merged[last].End.Add(gap)) {
			if next.End.After(merged[last].End) {
				merged[last].End = next.End
			}
			continue
		}
		merged = append(merged, next)
	}
	return merged
}

// intersect is what is in both, which are merged.
func intersect(a, b []Interval) []Interval {
	both := []Interval{}
	for len(a) > 0 && len(b) > 0 {
		span := Interval{a[0].Start, a[0].End}
		if b[0].Start.After(span.Start) {
			span.Start = b[0].Start
		}
		if b[0].End.Before(span.End) {
			span.End = b[0].End
		}
		if span.Start.Before(span.End) {
			both = append(both, span)
		}
		if a[0].End.Before(b[0].End) {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}

// complement is what is in [from, to) and in none of the merged intervals.
func complement(merged []Interval, from, to time.Time) (rest []Interval) {
	for _, i := range merged {
		if !i.Start.Before(to) {
			break
		}
		if i.Start.After(from) {
			rest = append(rest, Interval{from, i.Start})
		}
		if i.End.After(from) {
			from = i.End
		}
	}
	if from.Before(to) {
		rest = append(rest, Interval{from, to})
	}
	return rest
}

// within is how much of [from, to) merged intervals cover.
func within(merged []Interval, from, to time.Time) (total time.Duration) {
	first := sort.Search(len(merged), func(i int) bool { return merged[i].End.After(from) })
	for _, i := range merged[first:] {
		if !i.Start.Before(to) {
			break
		}
		start, end := i.Start, i.End
		if start.Before(from) {
			start = from
		}
		if end.After(to) {
			end = to
		}
		total += end.Sub(start)
	}
	return total
}

// length is that of all intervals.
func length(intervals []Interval) (total time.Duration) {
	for _, i := range intervals {
		total += i.End.Sub(i.Start)
	}
	return total
}

// Hosts is how many hosts were watched at some time.
func (c *Coverage) Hosts() int { return len(c.hosts) }

// Kinds are the kinds of evidence that some source could see, weakest first.
func (c *Coverage) Kinds() []witness.Kind {
	kinds := []witness.Kind{}
	for _, kind := range witness.Kinds {
		if slices.ContainsFunc(c.Sources, func(s Source) bool { return slices.Contains(s.Kinds, kind) }) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// WatchedSeconds is for how long somebody watched, on any host; measured is for how long of that a collector's own
// receiver did.
func (c *Coverage) WatchedSeconds() (watched, measured float64) {
	var vouched []Interval
	for i := range c.hosts {
		vouched = append(vouched, c.hosts[i].measured...)
	}
	return within(c.some, c.Start, c.End).Seconds(), within(merge(vouched), c.Start, c.End).Seconds()
}

// MeasuredSources is how many sources are a collector's own receivers.
func (c *Coverage) MeasuredSources() (n int) {
	for i := range c.Sources {
		if c.Sources[i].Assurance == witness.Measured {
			n++
		}
	}
	return n
}

// Watched says whether [from, to), a part of the time, was watched. What lies ahead of now is left out, and so is on each
// host the time since the last heartbeat while the next one is not due: nobody can have said anything of it yet.
func (c *Coverage) Watched(from, to time.Time) Watched {
	if to.After(c.now) {
		to = c.now
	}
	switch {
	case !from.Before(to):
		return WatchedNo
	case within(c.some, from, to) == 0 && within(c.pending, from, to) == 0:
		return WatchedNo
	case within(c.some, from, to) > 0 && within(c.missing, from, to) == 0 && within(c.claimed, from, to) == 0 && !c.lossyWithin(from, to):
		return WatchedYes
	default:
		return WatchedPartial
	}
}

func (c *Coverage) lossyWithin(from, to time.Time) bool { return within(c.lossy, from, to) > 0 }

// Lost is how many events were lost at least in losses that start in [from, to), and whether some are of unknown size.
func (c *Coverage) Lost(from, to time.Time) (lost uint64, unknown bool) {
	first := sort.Search(len(c.Losses), func(i int) bool { return !c.Losses[i].Start.Before(from) })
	for i := range c.Losses[first:] {
		l := &c.Losses[first+i]
		if !l.Start.Before(to) {
			break
		}
		if l.Lost == nil {
			unknown = true
		} else {
			lost = plus(lost, *l.Lost)
		}
	}
	return lost, unknown
}

// Processes are how many processes the active sources watch of those they see; both 0 if none says. What is only
// asserted counts where no active source measures.
func (c *Coverage) Processes() (watched, seen uint64) {
	for _, assurance := range []witness.Assurance{witness.Measured, witness.Asserted} {
		active := false
		for i := range c.Sources {
			if s := &c.Sources[i]; s.Active && s.Assurance == assurance {
				active = true
				watched, seen = plus(watched, s.ProcessesWatched), plus(seen, s.ProcessesSeen)
			}
		}
		if active {
			break
		}
	}
	return watched, seen
}

// Posture is how collection stands.
type Posture string

// The postures.
const (
	PostureWatching Posture = "watching" // heartbeats arrive
	PostureLossy    Posture = "lossy"    // heartbeats arrive, and evidence was lost in the last hour
	PostureStopped  Posture = "stopped"  // there were heartbeats once
	PostureNone     Posture = "none"     // there never was one
)

// Collection says whether anybody is watching now.
type Collection struct {
	Active bool `json:"active"`
	// Since when there was no gap of more than Missed heartbeats, as far as the last day shows. Nil when not active.
	Since   *time.Time `json:"since"`
	Posture Posture    `json:"posture"`
	// Assurance is measured if an active source is. Nil when not active.
	Assurance *witness.Assurance `json:"assurance"`
}

func (c *Coverage) collection() Collection {
	if len(c.Sources) == 0 {
		return Collection{Posture: PostureNone}
	}
	collection := Collection{Posture: PostureStopped}
	for i := range c.Sources {
		s := &c.Sources[i]
		if !s.Active {
			continue
		}
		runs := bridge(slices.Clone(s.Runs), Missed*seconds(s.Interval))
		if start := runs[len(runs)-1].Start; collection.Since == nil || start.Before(*collection.Since) {
			collection.Since = &start
		}
		collection.Active, collection.Posture = true, PostureWatching
		if collection.Assurance == nil || s.Assurance == witness.Measured {
			collection.Assurance = &s.Assurance
		}
	}
	if collection.Active && c.lossyWithin(c.now.Add(-time.Hour), c.End) {
		collection.Posture = PostureLossy
	}
	return collection
}

// ScoreSpan is the time that the coverage number is about: the last week.
const ScoreSpan = 7 * 24 * time.Hour

// assertedDiscount is what time loses that is only asserted to have been watched: as much as evidence that is only asserted.
const assertedDiscount = 0.5

// Number is the coverage of the span as one number, 0..1, and what it is made of. It never enters a score.
func (c *Coverage) Number() (float64, []score.Factor) {
	watched, seen := c.Processes()
	processes := score.Factor{Name: "processes", Why: "no active source says how many processes it watches"}
	if seen > 0 {
		processes.Value = round(min(1, float64(watched)/float64(seen)))
		processes.Why = fmt.Sprintf("%d of %d processes are watched now", watched, seen)
	}
	var span, measured, lossy time.Duration
	for _, host := range c.hosts {
		span += within(host.runs, c.Start, c.End)
		measured += within(host.measured, c.Start, c.End)
		if losing := c.losing[host.name]; len(losing) > 0 {
			lossy += length(intersect(intersect(host.runs, []Interval{c.Interval}), losing))
		}
	}
	loss := score.Factor{Name: "loss", Value: 1, Why: "no loss was reported"}
	if lossy > 0 {
		loss.Value = round(1 - lossy.Seconds()/span.Seconds())
		loss.Why = fmt.Sprintf("%.1f of %.1f hours that were watched are gaps: lost, throttled or suspended", lossy.Hours(), span.Hours())
	}
	duration := score.Factor{Name: "duration", Why: "nobody watched in the last 7 days"}
	if len(c.hosts) > 0 {
		hours := span.Hours() / float64(len(c.hosts))
		duration.Value = round(min(1, hours/ScoreSpan.Hours()))
		duration.Why = fmt.Sprintf("%.1f of the last %.0f hours were watched, the mean of the hosts that reported: %d", hours, ScoreSpan.Hours(), len(c.hosts))
	}
	if c.Truncated {
		duration.Why += fmt.Sprintf("; only the newest %d records were looked at", MaxCoverage)
	}
	assurance := score.Factor{Name: "assurance", Value: 1, Why: "what watched was a collector's own receiver"}
	if measured < span {
		assurance.Value = round(1 - assertedDiscount*(1-measured.Seconds()/span.Seconds()))
		assurance.Why = fmt.Sprintf("%.1f of %.1f hours that were watched are only asserted, and count half", (span - measured).Hours(), span.Hours())
	}
	factors := []score.Factor{processes, loss, duration, assurance}
	number := 1.0
	for _, f := range factors {
		number *= f.Value
	}
	return round(number), factors
}

// round keeps four decimals.
func round(x float64) float64 { return float64(int64(x*1e4+0.5)) / 1e4 }
