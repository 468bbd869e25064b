package tetragonreceiver

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Stages of loss.
const (
	stageThrottled    = "tetragon.throttled"    // Tetragon throttled a cgroup
	stageRateLimit    = "tetragon.rate_limit"   // Tetragon's export rate limit dropped events
	stageDisconnected = "tetragon.disconnected" // nobody listened
	stageStalled      = "tetragon.stalled"      // the pipeline held the stream up
	stageMalformed    = "tetragon.malformed"    // lines that are no events
	stageOversized    = "tetragon.oversized"    // lines that are too long
	stageRotated      = "tetragon.rotated"      // a file, or the rest of it, was gone before it was read
	stageRefused      = "tetragon.refused"      // the pipeline refused events for good
)

const (
	signal             = "tetragon"
	maxProcessesSeen   = 65536
	maxThrottled       = 1024
	rateLimitReporting = time.Minute // how often Tetragon reports its rate limit
)

// ledger keeps what the receiver can say of its own watching: since when, of how many processes, and what was lost.
type ledger struct {
	source   string
	interval time.Duration
	tally    func() *tally
	// node and cluster are those of the newest event.
	at place
	// start of the time not vouched for yet; zero while nothing is watched.
	start time.Time
	// oldest and newest event times; oldest since the last heartbeat.
	oldest, newest time.Time
	seen           map[string]struct{}
	came           map[witness.Kind]bool // kinds of which evidence came since the receiver began
	unnoted        uint64                // processes that did not fit in seen
	lost           uint64
	losses         map[string]uint64
	throttled      map[string]throttled // by cgroupKey
	// released is when cgroups ceased to be throttled; those that do not fit are not remembered.
	released map[string]time.Time
	// others counts throttled cgroups that did not fit in throttled; they are one entry, since othersSince.
	others      int
	othersSince time.Time
	lastLimit   time.Time
}

// throttled is a cgroup of which events are held back.
type throttled struct {
	name  string    // as it is told
	since time.Time // not told as a loss yet
}

func newLedger(source string, interval time.Duration, node string, tally func() *tally) *ledger {
	return &ledger{
		source: source, interval: interval, at: place{node: node}, tally: tally,
		seen: map[string]struct{}{}, came: map[witness.Kind]bool{witness.KindExec: true}, losses: map[string]uint64{}, throttled: map[string]throttled{}, released: map[string]time.Time{},
	}
}

// advance moves the newest event time.
func (l *ledger) advance(t time.Time) {
	if t.After(l.newest) {
		l.newest = t
	}
	if l.oldest.IsZero() || t.Before(l.oldest) {
		l.oldest = t
	}
}

// note takes account of an event.
func (l *ledger) note(event *tetragon.GetEventsResponse, p *tetragon.Process) {
	if event.GetNodeName() != "" {
		l.at = hostOf(event)
	}
	id := p.GetExecId()
	if id == "" || len(id) > maxExecID {
		return
	}
	if _, ok := l.seen[id]; ok {
		return
	}
	if len(l.seen) >= maxProcessesSeen {
		l.unnoted++
		l.tally().evictions["processes"]++
		return
	}
	l.seen[id] = struct{}{}
}

// kinds are what a heartbeat claims to watch. Tetragon always reports execs; the others need a policy, and are claimed
// once evidence of them came. That a call came says nothing of the functions that no policy names.
func (l *ledger) kinds() (kinds []witness.Kind) {
	for _, kind := range witness.Kinds {
		if l.came[kind] {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// throttle takes account of a cgroup that Tetragon begins or ceases to throttle. The time between the two is a loss of
// unknown size.
func (l *ledger) throttle(b *batch, t *tetragon.ProcessThrottle, at, now time.Time) {
	name, shown := cgroupKey(t.GetCgroup()), "cgroup/"+cgroupName(t.GetCgroup())
	state, throttle := "", ""
	switch t.GetType() {
	case tetragon.ThrottleType_THROTTLE_START:
		state, throttle = witness.StateSuspended, "start"
		if _, known := l.throttled[name]; known {
			break
		}
		if len(l.throttled) < maxThrottled {
			l.throttled[name] = throttled{shown, at}
			break
		}
		l.tally().evictions["throttled_cgroups"]++
		if l.others++; l.others == 1 {
			l.othersSince = at
		}
	case tetragon.ThrottleType_THROTTLE_STOP:
		state, throttle = witness.StateAttached, "stop"
		cgroup, known := l.throttled[name]
		since := cgroup.since
		switch {
		case known:
			delete(l.throttled, name)
		case l.others > 0:
			since = l.othersSince
			l.others--
		default:
			since = l.unthrottledSince(name)
		}
		if known || l.others == 0 {
			l.lose(b, stageThrottled, 0, since, at, now)
		}
		l.release(name, at)
	default:
		return
	}
	l.append(b, &witness.Coverage{Start: at, End: at, StatusTarget: shown, StatusState: state, StatusReason: witness.ReasonThrottled}, now)
	records := b.Records(l.at)
	records.At(records.Len()-1).Attributes().PutStr(semconv.TetragonThrottle, throttle)
}

// release remembers when a cgroup ceased to be throttled.
func (l *ledger) release(name string, at time.Time) {
	if _, known := l.released[name]; known || len(l.released) < maxThrottled {
		l.released[name] = at
	}
}

// reconnect takes account of a new stream. Which cgroups are still throttled nobody knows: the agent may have been started
// again, which ends it without a word. One that is will be told when it ceases to be, from now on.
func (l *ledger) reconnect(b *batch, at time.Time) {
	for _, key := range slices.Sorted(maps.Keys(l.throttled)) {
		l.append(b, &witness.Coverage{
			Start: at, End: at, StatusTarget: l.throttled[key].name, StatusState: witness.StateUnavailable, StatusReason: "disconnected",
		}, at)
		l.release(key, at)
	}
	clear(l.throttled)
	l.others = 0
	l.start = at
}

// unthrottledSince is from when on a cgroup can have been throttled whose start was missed.
func (l *ledger) unthrottledSince(name string) time.Time {
	if released, ok := l.released[name]; ok {
		return released
	}
	if !l.start.IsZero() {
		return l.start
	}
	return l.oldest
}

// safeName is a cgroup name that can be shown: a unit of the system, not an id.
var (
	safeName = regexp.MustCompile(`^[A-Za-z0-9@._:-]{1,64}$`)
	longHex  = regexp.MustCompile(`[0-9a-fA-F]{12}`)
	// userUnit is a unit of one user: user-1000.slice, user@1000.service, user-runtime-dir@1000.service.
	userUnit = regexp.MustCompile(`^(user(?:-runtime-dir)?[-@])[0-9]+(\.[a-z]+)$`)
)

// cgroupKey tells cgroups apart. It stays here.
func cgroupKey(padded string) string {
	name, _, _ := strings.Cut(padded, "\x00")
	digest := sha256.Sum256([]byte(name))
	return string(digest[:])
}

// cgroupName is the name without the padding it comes with and without the id of a user; what could be an id, or is no
// plain name, becomes a digest.
func cgroupName(padded string) string {
	name, _, _ := strings.Cut(padded, "\x00")
	if parts := userUnit.FindStringSubmatch(name); parts != nil {
		return parts[1] + "<uid>" + parts[2]
	}
	if safeName.MatchString(name) && !longHex.MatchString(name) {
		return name
	}
	digest := sha256.Sum256([]byte(name))
	return hex.EncodeToString(digest[:8])
}

// rateLimit takes account of events that Tetragon did not write, which it reports once a minute.
func (l *ledger) rateLimit(b *batch, dropped uint64, at, now time.Time) {
	start := at.Add(-rateLimitReporting)
	if l.lastLimit.After(start) && l.lastLimit.Before(at) {
		start = l.lastLimit
	}
	l.lastLimit = at
	l.lost += dropped
	l.tally().lost[stageRateLimit] += clamp(dropped)
	l.lose(b, stageRateLimit, dropped, start, at, now)
}

// miss takes account of events lost in the receiver; they are told with the next heartbeat.
func (l *ledger) miss(stage string, n uint64) {
	l.losses[stage] += n
	l.lost += n
	l.tally().lost[stage] += clamp(n)
}

// lose writes a loss. A count of 0 is a loss of unknown size.
func (l *ledger) lose(b *batch, stage string, n uint64, start, end, now time.Time) {
	if end.Before(start) {
		end = start
	}
	l.append(b, &witness.Coverage{Start: start, End: end, LossStage: stage, Lost: n}, now)
}

// beat writes the heartbeat for the time until end, and what was lost in it. Nothing is vouched for while nothing is
// watched.
func (l *ledger) beat(b *batch, end, now time.Time) {
	if l.start.IsZero() || end.Before(l.start) {
		return
	}
	for _, stage := range slices.Sorted(maps.Keys(l.losses)) {
		l.lose(b, stage, l.losses[stage], l.start, end, now)
	}
	for _, name := range slices.Sorted(maps.Keys(l.throttled)) {
		if cgroup := l.throttled[name]; cgroup.since.Before(end) {
			l.lose(b, stageThrottled, 0, cgroup.since, end, now)
			cgroup.since = end
			l.throttled[name] = cgroup
		}
	}
	if l.others > 0 && l.othersSince.Before(end) {
		l.lose(b, stageThrottled, 0, l.othersSince, end, now)
		l.othersSince = end
	}
	seen := uint64(len(l.seen)) + l.unnoted
	l.append(b, &witness.Coverage{
		Signal: signal, Kinds: l.kinds(), Start: l.start, End: end, Interval: l.interval,
		ProcessesWatched: seen, ProcessesSeen: seen, Lost: l.lost,
	}, now)
	l.start = end
	l.lost, l.unnoted = 0, 0
	clear(l.losses)
	clear(l.seen)
}

// beatEvents writes the heartbeat of a replay, which speaks of the time that its events span.
func (l *ledger) beatEvents(b *batch, now time.Time) {
	if l.newest.IsZero() {
		return
	}
	if l.start.IsZero() {
		l.start = l.oldest
	}
	l.beat(b, l.newest, now)
}

func (l *ledger) append(b *batch, c *witness.Coverage, now time.Time) {
	c.Source = l.source
	c.Put(b.Records(l.at).AppendEmpty(), now)
}

func clamp(n uint64) int64 { return int64(min(n, 1<<62)) } //nolint:gosec // in range
