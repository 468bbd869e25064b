package evidence

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var (
	// flaw names one function; its evidence was seen in the file of build-id b1.
	flaw = witness.Finding{
		ID: "GO-1", Component: "pkg:golang/golang.org/x/net",
		Symbols: []witness.SymbolRef{{Language: "go", Package: "golang.org/x/net/html", Member: "Parse"}},
	}
	ownFile      = witness.About{Module: witness.Module{BuildID: "b1", Path: "/usr/bin/app"}}
	ownFunction  = witness.About{Module: ownFile.Module, Language: "go", Package: "golang.org/x/net/html", Member: "Parse", Symbol: "golang.org/x/net/html.Parse"}
	nextFunction = witness.About{Module: ownFile.Module, Language: "go", Package: "golang.org/x/net/html", Member: "Render", Symbol: "golang.org/x/net/html.Render"}
	otherFile    = witness.About{Module: witness.Module{BuildID: "b2", Path: "/usr/bin/other"}}
)

func ownOfFlaw() *Own {
	s := storage.Subject{ID: "1", Kind: witness.KindCall, Frame: ownFunction.Frame()}
	return OwnOf(&flaw, match(&Question{Finding: flaw}, []storage.Subject{s}))
}

func hookOf(about witness.About, state, reason string, at time.Time) witness.Coverage {
	return witness.Coverage{
		Source: "a/0/tetragon", Instance: witness.Instance{Host: "a"}, About: about, StatusTarget: "probe", StatusState: state, StatusReason: reason,
		Start: at, End: at,
	}
}

func in(c witness.Coverage, change func(*witness.Coverage)) witness.Coverage {
	change(&c)
	return c
}

// gapsOf are the gaps that matter here, oldest first.
func gapsOf(c *Coverage) (gaps []Gap) {
	for _, g := range c.Gaps {
		gaps = append([]Gap{{Interval: g.Interval, Reason: g.Reason, OfFinding: g.OfFinding}}, gaps...)
	}
	return gaps
}

func TestGaps(t *testing.T) {
	gap := func(from, to int, reason GapReason, own bool) Gap {
		return Gap{Interval: Interval{ago(from), ago(to)}, Reason: reason, OfFinding: own}
	}
	// Heartbeats of ten minutes up to now.
	always := beat("a", ago(60), now)
	always.Interval = 10 * time.Minute
	second := func(c *witness.Coverage) { c.Source = "a/1/tetragon" }
	for _, test := range []struct {
		name    string
		records []witness.Coverage
		gaps    []Gap
		watched Watched // from 30 to 20 minutes ago
	}{
		{"none", []witness.Coverage{always}, nil, WatchedYes},
		{"stopped", []witness.Coverage{in(beat("a", ago(60), ago(25)), func(c *witness.Coverage) { c.Interval = time.Minute })}, []Gap{gap(25, 0, GapStopped, false)}, WatchedPartial},
		{"stopped for a while", []witness.Coverage{beat("a", ago(60), ago(28)), beat("a", ago(22), now)}, []Gap{gap(28, 22, GapStopped, false)}, WatchedPartial},
		{"stopped before", []witness.Coverage{beat("a", ago(60), ago(50)), beat("a", ago(40), now)}, []Gap{gap(50, 40, GapStopped, false)}, WatchedYes},
		{"lost", []witness.Coverage{always, loss("a", ago(28), ago(27), 9)}, []Gap{gap(28, 27, GapLost, false)}, WatchedPartial},
		{"lost at a moment", []witness.Coverage{always, loss("a", ago(28), ago(28), 0)}, []Gap{gap(28, 28, GapLost, false)}, WatchedPartial},
		{"lost in a workload", []witness.Coverage{always, in(loss("a", ago(28), ago(27), 9), func(c *witness.Coverage) { c.Workload.Namespace = "n" })},
			[]Gap{gap(28, 27, GapLost, false)}, WatchedPartial},
		{"lost in another file", []witness.Coverage{always, in(loss("a", ago(28), ago(27), 9), func(c *witness.Coverage) { c.About = otherFile })},
			[]Gap{gap(28, 27, GapLost, false)}, WatchedYes},
		{"lost in the finding's file", []witness.Coverage{always, in(loss("a", ago(28), ago(27), 9), func(c *witness.Coverage) { c.About = ownFile })},
			[]Gap{gap(28, 27, GapLost, true)}, WatchedPartial},
		{"throttled", []witness.Coverage{always, in(loss("a", ago(28), ago(27), 0), func(c *witness.Coverage) { c.LossStage = "tetragon.throttled" })},
			[]Gap{gap(28, 27, GapThrottled, false)}, WatchedPartial},
		{"throttled by state", []witness.Coverage{always, hookOf(witness.About{}, "suspended", "throttled", ago(29)), hookOf(witness.About{}, "attached", "throttled", ago(21))},
			[]Gap{gap(29, 21, GapThrottled, false)}, WatchedPartial},
		{"suspended", []witness.Coverage{always, hookOf(witness.About{}, "suspended", "operator", ago(29)), hookOf(witness.About{}, "attached", "", ago(21))},
			[]Gap{gap(29, 21, GapSuspended, false)}, WatchedPartial},
		{"suspended until now", []witness.Coverage{always, hookOf(witness.About{}, "suspended", "", ago(50))}, []Gap{gap(50, 0, GapSuspended, false)}, WatchedPartial},
		{"suspended and told again", []witness.Coverage{always, hookOf(witness.About{}, "suspended", "", ago(50)), hookOf(witness.About{}, "suspended", "", ago(40))},
			[]Gap{gap(50, 0, GapSuspended, false)}, WatchedPartial},
		{"suspended, the finding's function", []witness.Coverage{always, hookOf(ownFunction, "suspended", "over_budget", ago(29)), hookOf(ownFunction, "attached", "", ago(21))},
			[]Gap{gap(29, 21, GapSuspended, true)}, WatchedPartial},
		{"suspended, another function", []witness.Coverage{always, hookOf(nextFunction, "suspended", "", ago(29))}, []Gap{gap(29, 0, GapSuspended, false)}, WatchedYes},
		{"suspended, the finding's file", []witness.Coverage{always, hookOf(ownFile, "suspended", "", ago(29))}, []Gap{gap(29, 0, GapSuspended, true)}, WatchedPartial},
		{"refused, the finding's function", []witness.Coverage{always, hookOf(ownFunction, "refused", "inlined_everywhere", ago(50))},
			[]Gap{gap(50, 0, GapNotProbeable, true)}, WatchedPartial},
		{"refused, something", []witness.Coverage{always, hookOf(witness.About{}, "refused", "", ago(50))}, nil, WatchedYes},
		{"detached and attached again", []witness.Coverage{always, hookOf(ownFunction, "attached", "", ago(50)), hookOf(ownFunction, "detached", "", ago(29)), hookOf(ownFunction, "attached", "", ago(28))},
			[]Gap{gap(29, 28, GapNotProbeable, true)}, WatchedPartial},
		{"a restart forgets", []witness.Coverage{always, hookOf(witness.About{}, "suspended", "", ago(50)), in(beat("a", ago(40), now), second)},
			[]Gap{gap(50, 40, GapSuspended, false)}, WatchedYes},
		{"a restart that tells it again", []witness.Coverage{always, hookOf(witness.About{}, "suspended", "", ago(50)), in(beat("a", ago(40), now), second),
			in(hookOf(witness.About{}, "suspended", "", ago(40)), second)}, []Gap{gap(50, 0, GapSuspended, false)}, WatchedPartial},
		{"a function with heartbeats", []witness.Coverage{always, in(beat("a", ago(60), ago(40)), func(c *witness.Coverage) { c.About, c.Interval = ownFunction, time.Minute })},
			[]Gap{gap(40, 0, GapStopped, true)}, WatchedYes},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := cover(test.records, ownOfFlaw(), ago(60), now, now)
			assert.Equal(t, test.gaps, gapsOf(c))
			assert.Equal(t, test.watched, c.Watched(ago(30), ago(20)))
		})
	}
}

func TestHooks(t *testing.T) {
	always := beat("a", ago(60), now)
	c := cover([]witness.Coverage{
		always, hookOf(otherFile, "refused", "stripped", ago(70)), hookOf(nextFunction, "attached", "", ago(50)),
		hookOf(ownFunction, "attached", "", ago(70)), hookOf(ownFunction, "suspended", "over_budget", ago(30)),
		in(hookOf(ownFile, "refused", "unsupported_arch", ago(50)), func(c *witness.Coverage) { c.Source = "b/0/ebpf" }),
	}, ownOfFlaw(), ago(60), now, now)
	require.Len(t, c.Hooks, 4)
	assert.True(t, c.Hooks[0].OfFinding && c.Hooks[1].OfFinding)
	assert.False(t, c.Hooks[2].OfFinding || c.Hooks[3].OfFinding)
	byReason := map[string]Hook{}
	for _, h := range c.Hooks {
		byReason[h.Reason] = h
	}
	function := byReason["over_budget"]
	assert.Equal(t, &Symbol{"go", "golang.org/x/net/html", "Parse"}, function.Symbol)
	assert.Equal(t, &File{"/usr/bin/app", "b1", ""}, function.File)
	assert.Equal(t, ago(30), function.At)
	assert.Equal(t, []Interval{{ago(60), ago(30)}}, function.Watched, "attached, while somebody watched")
	assert.Equal(t, []Interval{{ago(50), now}}, byReason[""].Watched)
	assert.Nil(t, byReason["stripped"].Symbol)
	assert.Len(t, c.NotProbeable(), 3)
	assert.True(t, c.NotProbeable()[0].OfFinding)
}

func TestWhatNoHeartbeatHasToldYetIsLeftOut(t *testing.T) {
	for name, test := range map[string]struct {
		last int // minutes ago, with a heartbeat every ten
		want Watched
	}{
		"told":            {0, WatchedYes},
		"not due yet":     {9, WatchedYes},
		"due":             {14, WatchedYes},
		"missing":         {16, WatchedPartial},
		"stopped":         {50, WatchedPartial},
		"stopped a while": {59, WatchedPartial},
	} {
		last := beat("a", ago(60), ago(test.last))
		last.Interval = 10 * time.Minute
		assert.Equal(t, test.want, cover([]witness.Coverage{last}, nil, ago(60), now, now).Watched(ago(60), now), name)
	}
}

func TestLossIsTimeAndNoRatioOfEvents(t *testing.T) {
	whole := beat("a", now.Add(-ScoreSpan), now)
	whole.ProcessesWatched, whole.ProcessesSeen = 1, 1
	quarter := now.Add(-ScoreSpan / 4)
	for name, test := range map[string]struct {
		records []witness.Coverage
		want    float64
	}{
		"none":                      {nil, 1},
		"few events":                {[]witness.Coverage{loss("a", quarter, now, 1)}, 0.75},
		"many events":               {[]witness.Coverage{loss("a", quarter, now, 1e12)}, 0.75},
		"twice the same time":       {[]witness.Coverage{loss("a", quarter, now, 1), in(loss("a", quarter, now, 0), func(c *witness.Coverage) { c.LossStage = "x.throttled" })}, 0.75},
		"suspended":                 {[]witness.Coverage{hookOf(witness.About{}, "suspended", "", quarter)}, 0.75},
		"suspended, another's":      {[]witness.Coverage{hookOf(nextFunction, "suspended", "", quarter)}, 1},
		"suspended, the finding's":  {[]witness.Coverage{hookOf(ownFunction, "suspended", "", quarter)}, 0.75},
		"on another host":           {[]witness.Coverage{loss("b", quarter, now, 1)}, 1},
		"wherever":                  {[]witness.Coverage{loss("", quarter, now, 1)}, 0.75},
		"before anybody watched":    {[]witness.Coverage{loss("a", now.Add(-2*ScoreSpan), now.Add(-ScoreSpan), 1)}, 1},
		"at a moment: its interval": {[]witness.Coverage{loss("a", now, now, 1)}, 0},
	} {
		number, _ := cover(append(test.records, whole), ownOfFlaw(), now.Add(-ScoreSpan), now, now).Number()
		assert.InDelta(t, test.want, number, 0.0001, name)
	}
}

func TestCoverageDoesNotDependOnTheOrder(t *testing.T) {
	records := []witness.Coverage{
		beat("a", ago(60), ago(40)), beat("a", ago(38), ago(20)), beat("b", ago(60), now), beat("a", ago(20), now), loss("a", ago(30), ago(30), 0),
		hookOf(ownFunction, "suspended", "", ago(30)), hookOf(ownFunction, "attached", "", ago(30)), hookOf(nextFunction, "refused", "stripped", ago(10)),
		in(beat("b", ago(10), now), func(c *witness.Coverage) { c.About = otherFile }), loss("b", ago(30), ago(29), 4),
	}
	want := cover(append([]witness.Coverage{}, records...), ownOfFlaw(), ago(60), now, now)
	wantNumber, _ := want.Number()
	for range 50 {
		rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		got := cover(records, ownOfFlaw(), ago(60), now, now)
		assert.Equal(t, want.Sources, got.Sources)
		assert.Equal(t, want.Losses, got.Losses)
		assert.Equal(t, want.Hooks, got.Hooks)
		assert.Equal(t, want.Gaps, got.Gaps)
		number, _ := got.Number()
		assert.InDelta(t, wantNumber, number, 0)
	}
}

func BenchmarkCoverTwoThousandHosts(b *testing.B) {
	var records []witness.Coverage
	for i := range 2000 {
		host := "node-" + time.Duration(i).String()
		for week := range 2 {
			c := beat(host, now.Add(time.Duration(week-2)*ScoreSpan/2), now.Add(time.Duration(week-1)*ScoreSpan/2))
			c.Source, c.Interval = host+"/0/tetragon", 15*time.Second
			records = append(records, c)
		}
	}
	for b.Loop() {
		c := cover(records, nil, now.Add(-ScoreSpan), now, now)
		c.Number()
		c.Watched(c.Start, c.End)
	}
}
