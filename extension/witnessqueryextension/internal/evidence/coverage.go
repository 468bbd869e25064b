package evidence

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
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
	WatchedYes     Watched = "yes"     // on every host that is known from the asked time, all of it, without loss
	WatchedPartial Watched = "partial" // some of it, or some hosts, or with loss
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
	// ProcessesWatched and ProcessesSeen are of the last heartbeat.
	ProcessesWatched uint64 `json:"processesWatched"`
	ProcessesSeen    uint64 `json:"processesSeen"`

	beats []Interval
	last  time.Time // end of the last heartbeat
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

// Hook is what became of a policy, hook or probe: its newest state.
type Hook struct {
	Source string    `json:"source"`
	Host   string    `json:"host"`
	Target string    `json:"target"`
	State  string    `json:"state"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Coverage is what was watched in [From, To): what silence is worth.
type Coverage struct {
	Interval
	Sources []Source
	Losses  []Loss
	Hooks   []Hook
	// Truncated says that there was more than MaxCoverage: the oldest part of the time is missing.
	Truncated bool

	now   time.Time
	hosts map[string][]Interval // watched, merged
	lossy map[string][]Interval // with loss, merged
}

// Cover looks up what was watched in [from, to), at the time now.
func Cover(ctx context.Context, reader storage.Reader, tenant string, from, to, now time.Time) (*Coverage, error) {
	records, err := reader.Coverage(ctx, tenant, storage.CoverageQuery{From: from, To: to, Limit: MaxCoverage})
	if err != nil {
		return nil, err
	}
	return cover(records, from, to, now), nil
}

func cover(records []witness.Coverage, from, to, now time.Time) *Coverage {
	c := &Coverage{
		Interval: Interval{from.UTC(), to.UTC()}, now: now, hosts: map[string][]Interval{}, lossy: map[string][]Interval{},
		Sources: []Source{}, Losses: []Loss{}, Hooks: []Hook{}, Truncated: len(records) >= MaxCoverage,
	}
	type sourceKey struct {
		receiver, host, signal string
		assurance              witness.Assurance
	}
	type hookKey struct{ receiver, host, target string }
	sources, hooks := map[sourceKey]*Source{}, map[hookKey]Hook{}
	for i := range records {
		r := &records[i]
		receiver := storage.Receiver(r.Source)
		switch {
		case r.LossStage != "":
			loss := Loss{Source: r.Source, Host: r.Instance.Host, Stage: r.LossStage, Interval: Interval{r.Start.UTC(), r.End.UTC()}}
			if r.Lost > 0 {
				loss.Lost = &r.Lost
			}
			c.Losses = append(c.Losses, loss)
			span := loss.Interval
			if !span.End.After(span.Start) {
				span.End = span.Start.Add(1) // a loss at one moment is in what holds the moment
			}
			c.lossy[loss.Host] = append(c.lossy[loss.Host], span)
		case r.StatusTarget != "":
			key := hookKey{receiver, r.Instance.Host, r.StatusTarget}
			if known, ok := hooks[key]; !ok || !r.End.Before(known.At) {
				hooks[key] = Hook{r.Source, r.Instance.Host, r.StatusTarget, r.StatusState, r.StatusReason, r.End.UTC()}
			}
		case len(r.Kinds) > 0:
			key := sourceKey{receiver, r.Instance.Host, r.Signal, r.Assurance}
			s, ok := sources[key]
			if !ok {
				s = &Source{Signal: r.Signal, Host: r.Instance.Host, Assurance: r.Assurance}
				sources[key] = s
			}
			s.beats = append(s.beats, Interval{r.Start.UTC(), r.End.UTC()})
			for _, kind := range witness.Kinds {
				if slices.Contains(r.Kinds, kind) && !slices.Contains(s.Kinds, kind) {
					s.Kinds = append(s.Kinds, kind)
				}
			}
			if !r.End.Before(s.last) {
				s.last, s.Source = r.End, r.Source
				s.Interval = interval(r).Seconds()
				s.ProcessesWatched, s.ProcessesSeen = r.ProcessesWatched, r.ProcessesSeen
			}
		}
	}
	for _, s := range sources {
		s.Runs = merge(s.beats, 0)
		s.Active = now.Sub(s.last) <= Missed*seconds(s.Interval)
		slices.SortFunc(s.Kinds, func(a, b witness.Kind) int {
			return cmp.Compare(slices.Index(witness.Kinds, a), slices.Index(witness.Kinds, b))
		})
		c.hosts[s.Host] = append(c.hosts[s.Host], s.Runs...)
		c.Sources = append(c.Sources, *s)
	}
	for host := range c.hosts {
		c.hosts[host] = merge(c.hosts[host], 0)
	}
	for host := range c.lossy {
		c.lossy[host] = merge(c.lossy[host], 0)
	}
	slices.SortFunc(c.Sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Signal, b.Signal), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Assurance, b.Assurance))
	})
	c.Hooks = append(c.Hooks, slices.Collect(maps.Values(hooks))...)
	slices.SortFunc(c.Hooks, func(a, b Hook) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Source, b.Source))
	})
	slices.SortStableFunc(c.Losses, func(a, b Loss) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Stage, b.Stage))
	})
	return c
}

// interval is how often a source has a heartbeat: as it says, else as long as this one was.
func interval(r *witness.Coverage) time.Duration {
	if r.Interval > 0 {
		return r.Interval
	}
	return r.End.Sub(r.Start)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// merge joins intervals that overlap or have at most a gap between them. It sorts its argument.
func merge(intervals []Interval, gap time.Duration) []Interval {
	slices.SortFunc(intervals, func(a, b Interval) int { return a.Start.Compare(b.Start) })
	merged := []Interval{}
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

// within is how much of [from, to) merged intervals cover.
func within(merged []Interval, from, to time.Time) time.Duration {
	var total time.Duration
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

// WatchedSeconds is for how long somebody watched, on any host.
func (c *Coverage) WatchedSeconds() float64 {
	var all []Interval
	for _, runs := range c.hosts {
		all = append(all, runs...)
	}
	return within(merge(all, 0), c.Start, c.End).Seconds()
}

// Watched says whether [from, to), without what lies ahead of now, was watched.
func (c *Coverage) Watched(from, to time.Time) Watched {
	if to.After(c.now) {
		to = c.now
	}
	if !from.Before(to) {
		return WatchedNo
	}
	full, some := true, false
	for _, runs := range c.hosts {
		covered := within(runs, from, to)
		full = full && covered == to.Sub(from)
		some = some || covered > 0
	}
	switch {
	case !some:
		return WatchedNo
	case full && !c.lossyWithin(from, to):
		return WatchedYes
	default:
		return WatchedPartial
	}
}

func (c *Coverage) lossyWithin(from, to time.Time) bool {
	for _, lossy := range c.lossy {
		if within(lossy, from, to) > 0 {
			return true
		}
	}
	return false
}

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
			lost += *l.Lost
		}
	}
	return lost, unknown
}

// Processes are how many processes the active sources watch of those they see; both 0 if none says.
func (c *Coverage) Processes() (watched, seen uint64) {
	for i := range c.Sources {
		if s := &c.Sources[i]; s.Active {
			watched, seen = watched+s.ProcessesWatched, seen+s.ProcessesSeen
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
}

// Collect looks up how collection stands now, and what was watched in the last day.
func Collect(ctx context.Context, reader storage.Reader, tenant string, now time.Time) (Collection, *Coverage, error) {
	c, err := Cover(ctx, reader, tenant, now.Add(-24*time.Hour), now, now)
	if err != nil {
		return Collection{}, nil, err
	}
	collection := c.collection()
	if collection.Posture != PostureNone {
		return collection, c, nil
	}
	before, err := reader.Coverage(ctx, tenant, storage.CoverageQuery{To: now, Limit: 1000})
	if err != nil {
		return Collection{}, nil, err
	}
	if slices.ContainsFunc(before, func(r witness.Coverage) bool { return len(r.Kinds) > 0 }) {
		collection.Posture = PostureStopped
	}
	return collection, c, nil
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
		runs := merge(slices.Clone(s.Runs), Missed*seconds(s.Interval))
		if start := runs[len(runs)-1].Start; collection.Since == nil || start.Before(*collection.Since) {
			collection.Since = &start
		}
		collection.Active, collection.Posture = true, PostureWatching
	}
	if collection.Active && c.lossyWithin(c.now.Add(-time.Hour), c.End) {
		collection.Posture = PostureLossy
	}
	return collection
}

// ScoreSpan is the time that the coverage number is about: the last week.
const ScoreSpan = 7 * 24 * time.Hour

// Number is the coverage of the span as one number, 0..1, and what it is made of. It never enters a score.
func (c *Coverage) Number() (float64, []score.Factor) {
	watched, seen := c.Processes()
	processes := score.Factor{Name: "processes", Why: "no active source says how many processes it watches"}
	if seen > 0 {
		processes.Value = round(min(1, float64(watched)/float64(seen)))
		processes.Why = fmt.Sprintf("%d of %d processes are watched now", watched, seen)
	}
	var total, lossy time.Duration
	for i := range c.Sources {
		s := &c.Sources[i]
		for _, beat := range s.beats {
			covered := within([]Interval{beat}, c.Start, c.End)
			total += covered
			if within(c.lossy[s.Host], beat.Start, beat.End) > 0 {
				lossy += covered
			}
		}
	}
	loss := score.Factor{Name: "loss", Value: 1, Why: "no loss was reported"}
	if lossy > 0 {
		loss.Value = round(1 - lossy.Seconds()/total.Seconds())
		loss.Why = "the share of heartbeats without a reported loss"
	}
	var span time.Duration
	for _, runs := range c.hosts {
		span += within(runs, c.Start, c.End)
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
	factors := []score.Factor{processes, loss, duration}
	number := 1.0
	for _, f := range factors {
		number *= f.Value
	}
	return round(number), factors
}

// round keeps four decimals.
func round(x float64) float64 { return float64(int64(x*1e4+0.5)) / 1e4 }
