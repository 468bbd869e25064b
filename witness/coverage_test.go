package witness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

func TestCoverageRoundTrip(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	base := Coverage{
		Source: "a/0/ebpf", Assurance: Measured, Instance: Instance{Host: "node-1"}, Workload: Workload{Namespace: "shop", Container: "web"},
		Start: start, End: start.Add(time.Minute),
	}
	function := About{
		Module: Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"}, Language: "go",
		Package: "golang.org/x/net/html", Member: "Parse", Symbol: "golang.org/x/net/html.Parse",
	}
	for name, change := range map[string]func(*Coverage){
		"a heartbeat": func(c *Coverage) {
			c.Signal, c.Kinds, c.Interval, c.ProcessesWatched, c.ProcessesSeen = "ebpf", []Kind{KindLoad, KindCall}, time.Minute, 3, 4
		},
		"the heartbeat of a function": func(c *Coverage) { c.Signal, c.Kinds, c.About = "ebpf", []Kind{KindCall}, function },
		"a loss":                      func(c *Coverage) { c.LossStage, c.Lost = "ring", 7 },
		"a loss of unknown size":      func(c *Coverage) { c.LossStage = "ring" },
		"a refused function": func(c *Coverage) {
			c.StatusTarget, c.StatusState, c.StatusReason, c.About = "uprobe/7", StateRefused, ReasonInlinedEverywhere, function
		},
		"a file without names": func(c *Coverage) {
			c.StatusTarget, c.StatusState, c.StatusReason, c.About = "file", StateRefused, ReasonStripped, About{Module: function.Module}
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := base
			change(&want)
			resource := plog.NewLogs().ResourceLogs().AppendEmpty()
			PutResource(resource.Resource().Attributes(), want.Workload, want.Instance)
			record := resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			want.Put(record, start)
			got, ok, err := CoverageOf(resource.Resource().Attributes(), record)
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, want, got)
		})
	}
}

func TestCoverageRefused(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for want, change := range map[string]func(*Coverage){
		"witness.source: is missing":                                                func(c *Coverage) { c.Source = "" },
		"witness.coverage.end: is before witness.coverage.start":                    func(c *Coverage) { c.End = start.Add(-1) },
		"witness.coverage.end: is more than 366 days behind witness.coverage.start": func(c *Coverage) { c.End = start.AddDate(2, 0, 0) },
		"witness.coverage.start: is not between the years 1970 and 2261":            func(c *Coverage) { c.Start = time.Unix(-1, 0) },
		"witness.coverage.kinds: is missing":                                        func(c *Coverage) { c.Kinds = nil },
		"witness.coverage.kinds: holds what is not one of exec, load, sample, call": func(c *Coverage) { c.Kinds = []Kind{"called"} },
	} {
		c := Coverage{Source: "a/0/ebpf", Kinds: []Kind{KindCall}, Start: start, End: start}
		require.NoError(t, c.Validate())
		change(&c)
		if c.Start.Year() < 1970 {
			c.End = c.Start
		}
		assert.EqualError(t, c.Validate(), want)
	}
}

func TestStatesOfOthersAreUnavailable(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	record := plog.NewLogRecord()
	(&Coverage{Source: "a/0/b", Start: at, End: at, StatusTarget: "policy/x", StatusState: "loading"}).Put(record, at)
	c, _, err := CoverageOf(plog.NewResourceLogs().Resource().Attributes(), record)
	require.NoError(t, err)
	assert.Equal(t, StateUnavailable, c.StatusState)
	assert.Equal(t, semconv.EventStatus, record.EventName())
}
