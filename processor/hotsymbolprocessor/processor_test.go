package hotsymbolprocessor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/multierr"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/processor/hotsymbolprocessor/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// noon is a whole number of days in the past, so that every window starts there.
var noon = time.Now().UTC().Truncate(day).Add(-12 * time.Hour)

func TestCountsByWitnessAndWindow(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	consume(t, p,
		event{at: noon.Add(time.Second), symbol: "A"},
		event{at: noon.Add(59 * time.Second), symbol: "A", hits: 4},
		event{at: noon.Add(10 * time.Second), symbol: "A", host: "node-2"},
		event{at: noon.Add(30 * time.Second), symbol: "B", callers: []string{"main"}},
		event{at: noon.Add(60 * time.Second), symbol: "A"},
	)
	stop(t, p)

	type row struct {
		member, host, kind string
		start              time.Duration
		hits               uint64
		first, last        time.Duration
	}
	var rows []row
	for _, o := range next.all() {
		rows = append(rows, row{
			o.Witness.Frame.Member, o.Instance.Host, string(o.Witness.Kind), o.WindowStart.Sub(noon), o.Hits,
			o.FirstSeen.Sub(noon), o.LastSeen.Sub(noon),
		})
		assert.Equal(t, time.Minute, o.WindowEnd.Sub(o.WindowStart))
		assert.Equal(t, "deployment/web", o.Witness.Workload.Controller)
		assert.True(t, strings.HasSuffix(o.Source, "/0/tetragon"), o.Source)
		assert.NotEqual(t, tetragon, o.Source)
		assert.Equal(t, "pkg:golang/example.com/app@v1.2.3", o.Witness.Frame.Component)
	}
	s := time.Second
	assert.ElementsMatch(t, []row{
		{"A", "node-1", "call", 0, 5, s, 59 * s},
		{"A", "node-2", "call", 0, 1, 10 * s, 10 * s},
		{"B", "node-1", "call", 0, 1, 30 * s, 30 * s},
		{"main", "node-1", "sample", 0, 1, 30 * s, 30 * s},
		{"A", "node-1", "call", 60 * s, 1, 60 * s, 60 * s},
	}, rows)
}

func TestKinds(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	consume(t, p,
		event{name: semconv.EventExec, at: noon, symbol: "x"},
		event{name: semconv.EventLoad, at: noon, symbol: "x"},
		event{name: semconv.EventSample, at: noon, symbol: "S", callers: []string{"mid", "S", "main"}},
		event{name: semconv.EventKernel, at: noon, symbol: "tcp_connect"},
	)
	stop(t, p)
	assert.Equal(t, map[string]uint64{
		" exec": 1, " load": 1, "S sample": 1, "mid sample": 1, "main sample": 1, "tcp_connect call": 1,
	}, next.hits())
}

func TestFlushWhenTheSourceHasPassedTheWindow(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	consume(t, p, event{at: noon, symbol: "A"}, event{at: noon.Add(59 * time.Second), symbol: "A"})
	consume(t, p, event{at: noon.Add(time.Hour), symbol: "B", source: "b/0/ebpf"})
	assert.Empty(t, next.hits(), "another source's clock counts for nothing")
	consume(t, p, event{at: noon.Add(60 * time.Second), symbol: "C"})
	sent(t, p)
	assert.Equal(t, map[string]uint64{"A call": 2}, next.hits())
	// Late but allowed: another flush of the same window.
	consume(t, p, event{at: noon.Add(2 * time.Second), symbol: "A"})
	consume(t, p, event{at: noon.Add(120 * time.Second), symbol: "C"})
	sent(t, p)
	assert.Equal(t, map[string]uint64{"A call": 3, "C call": 1}, next.hits())
	assert.Len(t, next.all(), 3)
	stop(t, p)
}

func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newSink(t)
		p := start(t, next, nil, func(c *Config) { c.FlushInterval = 10 * time.Second })
		now := time.Now()
		consume(t, p, event{at: now, symbol: "A"}, event{at: now.Add(-time.Hour), symbol: "late"})
		time.Sleep(5 * time.Second)
		consume(t, p, event{at: now, symbol: "A"})
		time.Sleep(4 * time.Second)
		synctest.Wait()
		assert.Empty(t, next.all())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, map[string]uint64{"A call": 2}, next.hits())
		assert.Equal(t, map[string]uint64{stageLate: 1}, next.lost())
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Len(t, next.all(), 1, "nothing new, nothing flushed")
		stop(t, p)
	})
}

func TestLateness(t *testing.T) {
	for name, test := range map[string]struct {
		events []event
		hits   map[string]uint64
		lost   map[string]uint64
	}{
		"exactly as late as allowed": {
			[]event{{at: noon.Add(15 * time.Minute), symbol: "A"}, {at: noon, symbol: "B"}},
			map[string]uint64{"A call": 1, "B call": 1}, map[string]uint64{},
		},
		"later is lost with all its hits": {
			[]event{{at: noon.Add(15 * time.Minute), symbol: "A"}, {at: noon.Add(-1), symbol: "B", hits: 3}, {at: noon.Add(-time.Hour), symbol: "C"}},
			map[string]uint64{"A call": 1}, map[string]uint64{stageLate: 4},
		},
		"against the own source": {
			[]event{{at: noon.Add(time.Hour), symbol: "A", source: "a/0/ebpf"}, {at: noon, symbol: "B"}},
			map[string]uint64{"A call": 1, "B call": 1}, map[string]uint64{},
		},
		"against the own source also where the component has the same name": {
			[]event{{at: noon.Add(time.Hour), symbol: "A", source: "a/0/tetragon"}, {at: noon, symbol: "B", source: "b/0/tetragon"}},
			map[string]uint64{"A call": 1, "B call": 1}, map[string]uint64{},
		},
		"a replay of last month is not late": {
			[]event{{at: noon.Add(-30 * day), symbol: "A"}, {at: noon.Add(-30*day + time.Second), symbol: "A"}},
			map[string]uint64{"A call": 2}, map[string]uint64{},
		},
		"a heartbeat is not the clock": {
			[]event{{name: semconv.EventCoverage, at: noon.Add(time.Hour)}, {at: noon, symbol: "A"}},
			map[string]uint64{"A call": 1}, map[string]uint64{},
		},
		"ahead is lost and is not the clock": {
			[]event{{at: time.Now().Add(time.Hour), symbol: "X", hits: 2}, {at: noon, symbol: "A"}},
			map[string]uint64{"A call": 1}, map[string]uint64{stageAhead: 2},
		},
		"4 minutes ahead is allowed": {
			[]event{{at: time.Now().Add(4 * time.Minute), symbol: "X"}},
			map[string]uint64{"X call": 1}, map[string]uint64{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			next := newSink(t)
			p := start(t, next, nil, nil)
			consume(t, p, test.events...)
			stop(t, p)
			assert.Equal(t, test.hits, next.hits())
			assert.Equal(t, test.lost, next.lost())
		})
	}
}

// TestALateEventIsAnotherFlush: what comes after its window was flushed, and in time, is counted in that window still,
// under a key of its own.
func TestALateEventIsAnotherFlush(t *testing.T) {
	next := newSink(t)
	p := start(t, next, newMemory(), nil)
	consume(t, p, event{at: noon.Add(time.Second), symbol: "A", hits: 5})
	consume(t, p, event{at: noon.Add(time.Minute), symbol: "other"}) // the source has passed the window
	require.Eventually(t, func() bool { return next.hits()["A call"] == 5 }, 10*time.Second, time.Millisecond)
	consume(t, p, event{at: noon.Add(2 * time.Second), symbol: "A", hits: 2})
	stop(t, p)
	var flushes []uint64
	for _, o := range next.all() {
		if o.Witness.Frame.Member == "A" {
			assert.Equal(t, noon, o.WindowStart)
			flushes = append(flushes, o.Flush)
		}
	}
	assert.Len(t, flushes, 2)
	assert.NotEqual(t, flushes[0], flushes[1])
	assert.Equal(t, uint64(7), next.hits()["A call"])
	assert.Empty(t, next.lost())
}

// TestCountsThatWereAddedUpBefore: hits, their error and their times are those of the event.
func TestCountsThatWereAddedUpBefore(t *testing.T) {
	next := newSink(t)
	p := start(t, next, newMemory(), nil)
	counted := func(hits, off int64, first time.Duration) event {
		return event{at: noon.Add(40 * time.Second), symbol: "A", callers: []string{"main"}, hits: hits, put: func(r plog.LogRecord) {
			r.Attributes().PutInt(semconv.WitnessHitsError, off)
			r.Attributes().PutStr(semconv.WitnessFirstSeen, noon.Add(first).Format(time.RFC3339Nano))
		}}
	}
	consume(t, p, counted(1_000_000, 10, 5*time.Second), counted(500, 1, 2*time.Second), counted(1, 2, 0)) // the last is none: it cannot be off by more than it is
	stop(t, p)
	assert.Equal(t, map[string]uint64{"A call": 1_000_500, "main sample": 2}, next.hits(), "a caller was seen as often as there are events")
	for _, o := range next.all() {
		if o.Witness.Kind == witness.KindCall {
			assert.Equal(t, uint64(11), o.HitsError)
			assert.Equal(t, noon.Add(2*time.Second), o.FirstSeen)
			assert.Equal(t, noon.Add(40*time.Second), o.LastSeen)
		}
	}
}

// TestManySmallWindows: entries are of a window, so that many open windows fill the table; it is flushed, and exact.
func TestManySmallWindows(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, func(c *Config) { c.Window, c.MaxWitnesses = time.Second, 50 })
	consume(t, p, event{at: noon.Add(10 * time.Minute), symbol: "newest"})
	want := uint64(0)
	for i := range 2_000 { // all late, each in a window of its own
		for {
			err := p.ConsumeLogs(t.Context(), logsOf(event{at: noon.Add(time.Duration(i%600) * time.Second), symbol: "A"}))
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errPending)
			sent(t, p)
		}
		want++
		p.mu.Lock()
		assert.LessOrEqual(t, len(p.table.buckets), 50)
		p.mu.Unlock()
	}
	stop(t, p)
	assert.Equal(t, want, next.hits()["A call"])
	windows := map[time.Time]uint64{}
	for _, o := range next.all() {
		assert.Zero(t, o.HitsError, "never an estimate")
		windows[o.WindowStart] += o.Hits
	}
	assert.Len(t, windows, 601)
	assert.Equal(t, uint64(4), windows[noon])
}

func TestLossSpansWindowsAndHasItsOwnKey(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	consume(t, p, event{at: noon, symbol: "A"})
	for range 3 {
		consume(t, p, event{at: noon.Add(-time.Hour - time.Second), symbol: "B"}, event{at: noon.Add(-2 * time.Hour), symbol: "B"})
		p.flushAll(t)
	}
	stop(t, p)
	assert.Equal(t, map[string]uint64{stageLate: 6}, next.lost())
	assert.Len(t, next.losses, 3)
	for _, c := range next.losses {
		assert.Equal(t, noon.Add(-2*time.Hour), c.Start)
		assert.Equal(t, noon.Add(-time.Hour), c.End.Truncate(time.Millisecond))
		assert.Equal(t, "node-1", c.Instance.Host)
		assert.True(t, strings.HasSuffix(c.Source, "/tetragon"))
	}
}

func TestPreexisting(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	consume(t, p,
		event{name: semconv.EventExec, at: noon.Add(-30 * day), symbol: "x", preexisting: true},
		event{name: semconv.EventExec, at: noon.Add(-time.Minute), symbol: "x", preexisting: true, host: "node-2"},
		event{at: noon.Add(30 * time.Second), symbol: "A"},
	)
	consume(t, p, event{name: semconv.EventExec, at: noon.Add(-29 * day), symbol: "x", preexisting: true})
	stop(t, p)
	assert.Empty(t, next.losses)
	assert.Equal(t, map[string]uint64{" exec": 3, "A call": 1}, next.hits())
	for _, o := range next.all() {
		if o.Witness.Kind != witness.KindExec {
			continue
		}
		start := noon
		if o.Instance.Host == "node-2" {
			start = noon.Add(-time.Minute) // not too late for its own window
		}
		assert.Equal(t, start, o.WindowStart)
		assert.Equal(t, start, o.FirstSeen)
		assert.Equal(t, start, o.LastSeen)
	}
}

func TestBadEventsLoseNoNeighbour(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	consume(t, p,
		event{at: noon, symbol: "A"},
		event{symbol: "no time"},
		event{at: noon},
		event{at: noon, symbol: "B", hits: -1},
		event{at: noon, symbol: "B", put: func(r plog.LogRecord) { r.Attributes().PutStr(semconv.WitnessHits, "many") }},
		event{at: noon, symbol: "B", put: func(r plog.LogRecord) { r.Attributes().PutInt(semconv.WitnessHitsError, 5) }},
		event{at: noon, symbol: "B", put: func(r plog.LogRecord) { r.SetTimestamp(1 << 63) }},
		event{at: noon, symbol: "B", put: func(r plog.LogRecord) { r.Attributes().PutStr(semconv.WitnessStack, "x") }},
		event{at: noon, symbol: "A"},
	)
	stop(t, p)
	assert.Equal(t, map[string]uint64{"A call": 2}, next.hits())
}

// dress sets all that resources, scopes and records can have beside what events are read from.
func dress(logs plog.Logs) plog.Logs {
	number := uint64(0)
	fill := func(m pcommon.Map) uint32 {
		number++
		m.PutStr("somebody.text", fmt.Sprint("value ", number))
		m.PutEmptyBytes("somebody.bytes").Append(0, 0xff, byte(number))
		list := m.PutEmptySlice("somebody.list")
		list.AppendEmpty().SetDouble(0.5)
		list.AppendEmpty().SetEmptyMap().PutBool("inner", true)
		m.PutEmpty("somebody.nothing")
		return uint32(number)
	}
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		resource.SetSchemaUrl(fmt.Sprint("https://schema.example/resource/", i))
		resource.Resource().SetDroppedAttributesCount(fill(resource.Resource().Attributes()))
		for j := range resource.ScopeLogs().Len() {
			scope := resource.ScopeLogs().At(j)
			scope.SetSchemaUrl(fmt.Sprint("https://schema.example/scope/", i, j))
			scope.Scope().SetName(fmt.Sprint("scope ", i, j))
			scope.Scope().SetVersion("v1")
			scope.Scope().SetDroppedAttributesCount(fill(scope.Scope().Attributes()))
			for k := range scope.LogRecords().Len() {
				r := scope.LogRecords().At(k)
				r.SetDroppedAttributesCount(fill(r.Attributes()))
				r.Body().SetEmptyMap().PutInt("record", int64(number))
				r.SetObservedTimestamp(pcommon.Timestamp(number))
				r.SetSeverityNumber(plog.SeverityNumberWarn)
				r.SetSeverityText("warn")
				r.SetFlags(plog.DefaultLogRecordFlags.WithIsSampled(true))
				r.SetTraceID(pcommon.TraceID{1, byte(number)})
				r.SetSpanID(pcommon.SpanID{2, byte(number)})
			}
		}
	}
	return logs
}

// together puts what is in the given logs into as many resources, each with all records in the scopes of the first.
func together(all ...plog.Logs) plog.Logs {
	out := plog.NewLogs()
	for _, logs := range all {
		resource := out.ResourceLogs().AppendEmpty()
		for i := range logs.ResourceLogs().Len() {
			from := logs.ResourceLogs().At(i)
			if i == 0 {
				from.Resource().CopyTo(resource.Resource())
			}
			scope := from.ScopeLogs().At(0)
			if i%3 == 0 {
				to := resource.ScopeLogs().AppendEmpty()
				scope.Scope().CopyTo(to.Scope())
			}
			scope.LogRecords().MoveAndAppendTo(resource.ScopeLogs().At(i / 3).LogRecords())
		}
	}
	return out
}

// What is passed on is passed on as it came: whole records in their scopes and resources, without those that are counted
// and what has none left.
func TestPassedOn(t *testing.T) {
	others := []event{
		{name: semconv.EventObservation}, {name: semconv.EventCoverage}, {name: semconv.EventLoss}, {name: semconv.EventStatus},
		{name: semconv.EventContainment}, {name: semconv.EventExit}, {name: semconv.EventConnect}, {name: "somebody.else"},
		{put: func(r plog.LogRecord) { r.SetEventName("") }},
	}
	counted := []event{
		{at: noon, symbol: "A"}, {name: semconv.EventExec, at: noon, symbol: "x"}, {name: semconv.EventLoad, at: noon, symbol: "x"},
		{name: semconv.EventSample, at: noon, symbol: "A"}, {name: semconv.EventKernel, at: noon, symbol: "k"},
	}
	mixed := func() plog.Logs {
		return together(logsOf(counted...), logsOf(append(slices.Clone(counted), others...)...), logsOf(others...),
			logsOf(others[0], counted[0], others[1], counted[1], counted[2], counted[3], others[2]))
	}
	for _, test := range []struct {
		name string
		logs plog.Logs
		mode string
		want int // records
	}{
		{"only others", logsOf(others...), eventsDrop, len(others)},
		{"drop", mixed(), eventsDrop, 2*len(others) + 3},
		{"drop, one to each scope", logsOf(append(slices.Clone(counted), others...)...), eventsDrop, len(others)},
		{"keep", mixed(), eventsKeep, 2*len(counted) + 2*len(others) + 7},
		{"only events", logsOf(counted...), eventsDrop, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			encode := func(logs plog.Logs) string {
				encoded, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
				require.NoError(t, err)
				return string(encoded)
			}
			logs := dress(test.logs)
			want := plog.NewLogs()
			logs.CopyTo(want)
			before := encode(logs)
			if test.mode == eventsDrop {
				names := []string{semconv.EventCall, semconv.EventExec, semconv.EventLoad, semconv.EventSample, semconv.EventKernel}
				want.ResourceLogs().RemoveIf(func(resource plog.ResourceLogs) bool {
					resource.ScopeLogs().RemoveIf(func(scope plog.ScopeLogs) bool {
						scope.LogRecords().RemoveIf(func(r plog.LogRecord) bool { return slices.Contains(names, r.EventName()) })
						return scope.LogRecords().Len() == 0
					})
					return resource.ScopeLogs().Len() == 0
				})
			}
			require.Equal(t, test.want, want.LogRecordCount())
			var got []string
			next := &recorder{do: func(logs plog.Logs) { got = append(got, encode(logs)) }}
			p := start(t, next, nil, func(c *Config) { c.Events = test.mode })
			logs.MarkReadOnly()
			require.NoError(t, p.ConsumeLogs(context.Background(), logs))
			if test.want == 0 {
				assert.Empty(t, got)
			} else {
				require.Len(t, got, 1, "what is counted is told later")
				assert.Equal(t, encode(want), got[0])
			}
			stop(t, p)
			assert.Equal(t, before, encode(logs))
		})
	}
}

func TestWhenWhatIsPassedOnFails(t *testing.T) {
	events := []event{{at: noon, symbol: "A"}, {name: semconv.EventStatus}}
	t.Run("for now", func(t *testing.T) {
		next := newSink(t)
		p := start(t, next, nil, nil)
		next.failWith(errDown)
		require.ErrorIs(t, p.ConsumeLogs(context.Background(), logsOf(events...)), errDown)
		next.failWith(nil)
		consume(t, p, events...)
		stop(t, p)
		assert.Equal(t, map[string]uint64{"A call": 1}, next.hits())
	})
	t.Run("for good", func(t *testing.T) {
		next := newSink(t)
		p := start(t, next, nil, nil)
		next.failWith(consumererror.NewPermanent(errDown))
		err := p.ConsumeLogs(context.Background(), logsOf(events...))
		require.True(t, consumererror.IsPermanent(err), "the sender will not send it again, so its events are counted")
		next.failWith(nil)
		stop(t, p)
		assert.Equal(t, map[string]uint64{"A call": 1}, next.hits())
	})
}

func TestTwoReceiversStayApart(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	consume(t, p,
		event{at: noon, symbol: "A", source: "aaaa/1/tetragon"},
		event{at: noon, symbol: "A", source: "aaaa/1/ebpf"},
		event{at: noon, symbol: "A", source: "aaaa/1/ebpf/second"},
		event{at: noon, symbol: "A", source: "none"},
		event{at: noon, symbol: "A", source: "none", put: func(r plog.LogRecord) { r.Attributes().PutStr(semconv.WitnessSource, "bbbb/7/other") }},
		event{at: noon, symbol: "A", source: "///"},
		event{at: noon, symbol: "A", source: "plain"},
	)
	stop(t, p)
	sources := map[string]uint64{}
	for _, o := range next.all() {
		sources[strings.SplitN(o.Source, "/", 3)[2]] += o.Hits
	}
	assert.Equal(t, map[string]uint64{
		"tetragon": 1, "ebpf": 1, "ebpf/second": 1, "hot_symbol": 1, "other": 1, "/": 1, "plain": 1,
	}, sources)
}

func TestTenantsStayApart(t *testing.T) {
	next := newSink(t)
	store := newMemory()
	p := start(t, next, store, nil)
	next.failWith(errDown)
	for _, tenant := range []string{"red", "blue", "red"} {
		require.NoError(t, p.ConsumeLogs(as(context.Background(), tenant), logsOf(event{at: noon, symbol: "A"})))
	}
	consume(t, p, event{at: noon, symbol: "A"})
	p.flushAll(t)
	crash(p)
	next.failWith(nil)
	stop(t, start(t, next, store, nil))
	assert.Equal(t, map[string]int{"red": 1, "blue": 1, "": 1}, next.tenants)
	assert.Equal(t, map[string]uint64{"A call": 4}, next.hits())
}

// TestWhatNobodyVouchesForIsAsserted: the context of the request, which says so, ends in this processor.
func TestWhatNobodyVouchesForIsAsserted(t *testing.T) {
	next := newSink(t)
	store := newMemory()
	p := start(t, next, store, nil)
	next.failWith(errDown)
	peer := client.Info{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}}
	late := func(n int64) event { return event{at: noon.Add(-time.Hour), symbol: "late", hits: n} }
	require.NoError(t, p.ConsumeLogs(client.NewContext(context.Background(), peer), logsOf(event{at: noon, symbol: "network"}, late(1))))
	consume(t, p, event{at: noon, symbol: "own"}, late(2))
	peer.Auth = authData{Name: "agent"}
	require.NoError(t, p.ConsumeLogs(client.NewContext(context.Background(), peer), logsOf(event{at: noon, symbol: "known"}, late(3))))
	crash(p)
	next.failWith(nil)
	stop(t, start(t, next, store, nil))
	got := map[string]witness.Assurance{}
	for _, o := range next.all() {
		got[o.Witness.Frame.Member] = o.Assurance
	}
	assert.Equal(t, map[string]witness.Assurance{"network": witness.Asserted, "own": witness.Measured, "known": witness.Measured}, got)
	for _, c := range next.losses {
		assert.Equal(t, got[map[uint64]string{1: "network", 2: "own", 3: "known"}[c.Lost]], c.Assurance)
	}
	assert.Len(t, next.losses, 3)
}

func TestVariantsHaveKeysOfTheirOwn(t *testing.T) {
	variant := func(assurance witness.Assurance, origin witness.Origin, findings ...string) func(plog.LogRecord) {
		return func(r plog.LogRecord) {
			r.Attributes().PutStr(semconv.WitnessAssurance, string(assurance))
			r.Attributes().PutStr(semconv.WitnessOrigin, string(origin))
			slice := r.Attributes().PutEmptySlice(semconv.WitnessFindingIDs)
			for _, f := range findings {
				slice.AppendEmpty().SetStr(f)
			}
		}
	}
	next := newSink(t)
	p := start(t, next, nil, nil)
	for range 2 {
		for i, put := range []func(plog.LogRecord){
			variant(witness.Measured, witness.OriginWorkload), variant(witness.Asserted, witness.OriginWorkload),
			variant(witness.Measured, witness.OriginInjected), variant(witness.Measured, witness.OriginWorkload, "CVE-2024-1"),
		} {
			consume(t, p, event{at: noon, symbol: "A", hits: int64(1 + i), put: put})
		}
		p.flushAll(t)
	}
	stop(t, p)
	assert.Len(t, next.all(), 8)
	assert.Equal(t, map[string]uint64{"A call": 20}, next.hits())
	asserted := uint64(0)
	for _, o := range next.all() {
		if o.Assurance == witness.Asserted {
			asserted += o.Hits
		}
	}
	assert.Equal(t, uint64(4), asserted)
}

// TestManyFindingsAreNoChain: what is looked through for an event does not grow with the findings that others name.
func TestManyFindingsAreNoChain(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	var events []event
	for i := range 2_000 {
		events = append(events, event{at: noon, symbol: "A", put: func(record plog.LogRecord) {
			record.Attributes().PutEmptySlice(semconv.WitnessFindingIDs).AppendEmpty().SetStr(fmt.Sprint(i))
		}})
	}
	consume(t, p, append(events, events...)...)
	for _, b := range p.table.buckets {
		assert.Len(t, b.entries, 2_000)
		assert.Len(t, b.cells, 2_000)
	}
	stop(t, p)
	assert.Len(t, next.all(), 2_000)
	assert.Equal(t, map[string]uint64{"A call": 4_000}, next.hits())
}

func TestManyHits(t *testing.T) {
	next := newSink(t)
	p := start(t, next, newMemory(), nil)
	const most = 1<<63 - 1
	for range 2 {
		consume(t, p, event{at: noon, symbol: "A", hits: most}, event{at: noon, symbol: "A", hits: most})
	}
	stop(t, p)
	assert.Len(t, next.all(), 4)
	for _, o := range next.all() {
		assert.Equal(t, uint64(most), o.Hits)
	}
}

func TestWhatIsLearntLater(t *testing.T) {
	const purl = "pkg:golang/example.com/app@v1.2.3"
	put := func(component, artifact string) func(plog.LogRecord) {
		return func(r plog.LogRecord) {
			f := frameOf("A")
			f.Component = component
			witness.PutStack(r.Attributes(), f)
			r.Attributes().PutStr(semconv.ProcessExecutablePath, "/usr/bin/app")
			r.Attributes().PutStr(semconv.ArtifactPURL, artifact)
		}
	}
	for name, test := range map[string]struct{ component, artifact string }{
		"component": {purl, ""},
		"artifact":  {"", purl},
	} {
		for _, crashes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, crash %t", name, crashes), func(t *testing.T) {
				next := newSink(t)
				store := newMemory()
				p := start(t, next, store, nil)
				consume(t, p, event{at: noon, put: put("", "")})
				consume(t, p, event{at: noon, put: put(test.component, test.artifact)})
				consume(t, p, event{at: noon, put: put("", "")})
				if crashes {
					crash(p)
					p = start(t, next, store, nil)
				}
				stop(t, p)
				require.Len(t, next.all(), 1)
				o := next.all()[0]
				assert.Equal(t, uint64(3), o.Hits)
				assert.Equal(t, test.component, o.Witness.Frame.Component)
				assert.Equal(t, test.artifact, o.Artifact.PURL)
			})
		}
	}
}

func TestFullTableIsFlushedEarly(t *testing.T) {
	next := newSink(t)
	p := start(t, next, newMemory(), func(c *Config) { c.MaxWitnesses = 10 })
	total := uint64(0)
	for i := range 50 {
		for {
			err := p.ConsumeLogs(context.Background(), logsOf(
				event{at: noon, symbol: fmt.Sprint("F", i)}, event{at: noon, symbol: fmt.Sprint("F", i/7), hits: 2}, event{at: noon, symbol: "A"}))
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errPending)
			sent(t, p)
		}
		total += 4
		p.mu.Lock()
		assert.Less(t, p.table.entries, 10+3)
		p.mu.Unlock()
	}
	stop(t, p)
	sum := uint64(0)
	for _, n := range next.hits() {
		sum += n
	}
	assert.Equal(t, total, sum)
	assert.Equal(t, uint64(50), next.hits()["A call"])
}

// TestSkippedEventsFillNothing: what is known of workloads is bounded, also where no event of theirs is counted.
func TestSkippedEventsFillNothing(t *testing.T) {
	p := start(t, newSink(t), nil, func(c *Config) { c.MaxWitnesses = 1 })
	for i := range 10_000 {
		logs := logsOf(event{at: noon})
		logs.ResourceLogs().At(0).Resource().Attributes().PutStr(semconv.K8SNamespaceName, fmt.Sprint(i))
		require.NoError(t, p.ConsumeLogs(context.Background(), logs))
	}
	assert.Less(t, len(p.table.ids.workloads), 5_000)
	stop(t, p)
}

func TestBackPressure(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, func(c *Config) { c.MaxWitnesses = 2 })
	next.failWith(errDown)
	accepted, turnedAway := uint64(0), false
	for i := range 100 {
		err := p.ConsumeLogs(context.Background(), logsOf(event{at: noon, symbol: fmt.Sprint("F", i)}))
		if err != nil {
			require.ErrorIs(t, err, errPending)
			require.False(t, consumererror.IsPermanent(err))
			turnedAway = true
			break
		}
		accepted++
	}
	require.True(t, turnedAway)
	next.failWith(nil)
	sent(t, p)
	consume(t, p, event{at: noon, symbol: "again"})
	stop(t, p)
	sum := uint64(0)
	for _, n := range next.hits() {
		sum += n
	}
	assert.Equal(t, accepted+1, sum)
}

func TestRefusedForGoodIsLoss(t *testing.T) {
	next := newSink(t)
	p := start(t, next, newMemory(), nil)
	next.failWith(multierr.Combine(consumererror.NewPermanent(errDown), consumererror.NewPermanent(errDown)))
	consume(t, p, event{at: noon, symbol: "A", hits: 3}, event{at: noon, symbol: "B", host: "node-2"})
	p.flushAll(t)
	sent(t, p)
	next.failWith(nil)
	stop(t, p)
	assert.Empty(t, next.all())
	assert.Equal(t, map[string]uint64{stageRefused: 4}, next.lost())
	assert.Len(t, next.losses, 2)
}

// TestRefusedLossIsLostAgain: loss that is refused is reported until somebody takes it.
func TestRefusedLossIsLostAgain(t *testing.T) {
	for name, store := range map[string]component.Component{"in memory": nil, "in the checkpoint": newMemory()} {
		t.Run(name, func(t *testing.T) {
			next := newSink(t)
			p := start(t, next, store, nil)
			consume(t, p, event{at: noon, symbol: "A"})
			consume(t, p, event{at: noon.Add(-time.Hour), symbol: "B", hits: 3})
			next.failWith(consumererror.NewPermanent(errDown))
			for range 3 {
				p.flushAll(t)
				sent(t, p)
			}
			next.failWith(nil)
			stop(t, p)
			assert.Equal(t, map[string]uint64{stageLate: 3, stageRefused: 1}, next.lost())
			for _, c := range next.losses {
				assert.Equal(t, "node-1", c.Instance.Host)
				assert.True(t, strings.HasSuffix(c.Source, "/tetragon"))
			}
		})
	}
}

// TestLossEndsNow: a storage refuses what ends in the future, and a window can.
func TestLossEndsNow(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, func(c *Config) { c.Window, c.AllowedLateness = day, 0 })
	now := time.Now()
	consume(t, p, event{at: now.Add(time.Minute), symbol: "A"}, event{at: now, symbol: "late"}, event{at: now.Add(time.Hour), symbol: "ahead"})
	p.flushAll(t)
	sent(t, p)
	require.Len(t, next.losses, 2)
	for _, c := range next.losses {
		assert.False(t, c.End.After(time.Now().Add(storage.MaxAhead)), c.LossStage)
		assert.False(t, c.End.Before(c.Start), c.LossStage)
	}
	stop(t, p)
}

func TestHopeless(t *testing.T) {
	permanent := consumererror.NewPermanent(errDown)
	assert.True(t, hopeless(permanent))
	assert.True(t, hopeless(fmt.Errorf("x: %w", permanent)))
	assert.True(t, hopeless(multierr.Combine(permanent, permanent)))
	assert.False(t, hopeless(multierr.Combine(permanent, errDown)), "one of two may still take it")
	assert.False(t, hopeless(errDown))
}

func TestBatchesAreSmall(t *testing.T) {
	next := newSink(t)
	p := start(t, next, nil, nil)
	var events []event
	for i := range 2500 {
		events = append(events, event{at: noon, symbol: fmt.Sprint("F", i)})
	}
	consume(t, p, events...)
	stop(t, p)
	assert.Len(t, next.all(), 2500)
	assert.LessOrEqual(t, next.biggest, maxRecords)
	assert.IsIncreasing(t, next.order, "the same order in every window")
}

func TestShutdown(t *testing.T) {
	t.Run("nothing accepted and no storage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			next := newSink(t)
			p := start(t, next, nil, nil)
			p.wait = backoff
			consume(t, p, event{at: time.Now(), symbol: "A"})
			next.failWith(errDown)
			require.Error(t, p.Shutdown(context.Background()))
			require.NoError(t, p.Shutdown(context.Background()))
			require.ErrorIs(t, p.ConsumeLogs(context.Background(), logsOf(event{at: time.Now(), symbol: "A"})), errStopped)
		})
	})
	t.Run("a short time without the next component", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			next := newSink(t)
			p := start(t, next, nil, nil)
			p.wait = backoff
			consume(t, p, event{at: time.Now(), symbol: "A"})
			next.failWith(errDown)
			time.AfterFunc(3*time.Second, func() { next.failWith(nil) })
			require.NoError(t, p.Shutdown(context.Background()))
			assert.Equal(t, map[string]uint64{"A call": 1}, next.hits())
		})
	})
	t.Run("with storage nothing is lost", func(t *testing.T) {
		next, store := newSink(t), newMemory()
		p := start(t, next, store, nil)
		consume(t, p, event{at: noon, symbol: "A"})
		next.failWith(errDown)
		stop(t, p)
		p = start(t, next, store, nil)
		p.mu.Lock()
		assert.Equal(t, 1, p.pendingRecords)
		p.mu.Unlock()
		next.failWith(nil)
		stop(t, p)
		assert.Equal(t, map[string]uint64{"A call": 1}, next.hits())
	})
}

func TestManySenders(t *testing.T) {
	next := newSink(t)
	p := start(t, next, newMemory(), func(c *Config) { c.MaxWitnesses, c.FlushInterval = 50, 100*time.Millisecond })
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 50 {
				logs := logsOf(
					event{at: noon.Add(time.Duration(j) * time.Second), symbol: "A", source: fmt.Sprintf("a/0/r%d", i)},
					event{at: noon, symbol: fmt.Sprint("F", j), uid: fmt.Sprint(i, j)}, event{name: semconv.EventStatus})
				for p.ConsumeLogs(context.Background(), logs) != nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wait.Wait()
	stop(t, p)
	assert.Equal(t, uint64(400), next.hits()["A call"])
	for j := range 50 {
		assert.Equal(t, uint64(8), next.hits()[fmt.Sprint("F", j, " call")])
	}
	assert.Len(t, next.others, 400)
}

func TestMetrics(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.Background())) })
	set := processortest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	config := createDefaultConfig().(*Config)
	config.MaxWitnesses = 1
	next := newSink(t)
	p, err := newProcessor(set, config, next)
	require.NoError(t, err)
	p.wait = func(int) time.Duration { return time.Millisecond }
	require.NoError(t, p.Start(context.Background(), componenttest.NewNopHost()))
	next.failWith(errDown)
	consume(t, p,
		event{at: noon, symbol: "A", uid: "1", hits: 5}, event{at: noon, symbol: "A", uid: "1"}, event{at: noon},
		event{name: semconv.EventExec, at: noon, symbol: "A"}, event{at: noon.Add(-day), symbol: "A", hits: 7})
	consume(t, p, event{at: noon, symbol: "B"}) // flushes early
	require.ErrorIs(t, p.ConsumeLogs(context.Background(), logsOf(event{at: noon, symbol: "B"})), errPending)
	point := func(value int64, attributes ...attribute.KeyValue) []metricdata.DataPoint[int64] {
		return []metricdata.DataPoint[int64]{{Value: value, Attributes: attribute.NewSet(attributes...)}}
	}
	ignore := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualHotSymbolEvents(t, telemetry, append(
		point(2, attribute.String("kind", "call")), point(1, attribute.String("kind", "exec"))...), ignore)
	metadatatest.AssertEqualHotSymbolSkippedEvents(t, telemetry, append(
		point(1, attribute.String("reason", "duplicate")), point(1, attribute.String("reason", "no_stack"))...), ignore)
	metadatatest.AssertEqualHotSymbolLostHits(t, telemetry, point(7, attribute.String("stage", "late")), ignore)
	metadatatest.AssertEqualHotSymbolEarlyFlushes(t, telemetry, point(1), ignore)
	metadatatest.AssertEqualHotSymbolBackpressure(t, telemetry, point(1), ignore)
	metadatatest.AssertEqualHotSymbolEntries(t, telemetry, point(1), ignore)
	metadatatest.AssertEqualHotSymbolPendingBatches(t, telemetry, point(2), ignore)
	next.failWith(nil)
	sent(t, p)
	metadatatest.AssertEqualHotSymbolSentRecords(t, telemetry, point(3), ignore)
	metadatatest.AssertEqualHotSymbolPendingBatches(t, telemetry, point(0), ignore)
	stop(t, p)
}

func TestStartWithoutItsStorage(t *testing.T) {
	config := createDefaultConfig().(*Config)
	config.Storage = &storageID
	p := start(t, newSink(t), nil, nil)
	stop(t, p)
	p.config = config
	require.ErrorContains(t, p.Start(context.Background(), hostOf(nil)), "storage: names no storage extension")
}

// recorder is a next component that accepts everything.
type recorder struct {
	sink
	do func(plog.Logs)
}

func (r *recorder) ConsumeLogs(_ context.Context, logs plog.Logs) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.do(logs)
	return nil
}
