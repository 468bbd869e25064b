package witness

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func frame(symbol, module string) Frame {
	return Frame{Symbol: symbol, Module: Module{Path: module}}
}

func kernel(symbol string) Frame {
	return Frame{Symbol: symbol, Language: "kernel", Module: Module{Path: KernelModule}}
}

// event makes a record of the given event with a stack.
func event(name string, stack ...Frame) plog.LogRecord {
	record := plog.NewLogRecord()
	record.SetEventName(name)
	record.SetTimestamp(pcommon.NewTimestampFromTime(noon))
	if stack != nil {
		PutStack(record.Attributes(), stack...)
	}
	return record
}

func TestSightingsByLaw(t *testing.T) {
	type seen struct {
		kind   Kind
		symbol string
		module string
		depth  int
		hits   uint64
	}
	with := func(record plog.LogRecord, change func(pcommon.Map)) plog.LogRecord {
		change(record.Attributes())
		return record
	}
	app := func(symbol string) Frame { return frame(symbol, "/app") }
	tests := map[string]struct {
		record plog.LogRecord
		want   []seen
		err    error
	}{
		"an exec is one exec of its module, without a symbol": {event(semconv.EventExec, frame("ignored", "/app")), []seen{{KindExec, "", "/app", 0, 1}}, nil},
		"a load is one load":           {event(semconv.EventLoad, frame("", "/libc.so")), []seen{{KindLoad, "", "/libc.so", 0, 1}}, nil},
		"a call is one call":           {event(semconv.EventCall, app("f")), []seen{{KindCall, "f", "/app", 0, 1}}, nil},
		"a call with hits":             {with(event(semconv.EventCall, app("f")), func(m pcommon.Map) { m.PutInt(semconv.WitnessHits, 7) }), []seen{{KindCall, "f", "/app", 0, 7}}, nil},
		"callers were seen once":       {with(event(semconv.EventCall, app("f"), app("main")), func(m pcommon.Map) { m.PutInt(semconv.WitnessHits, 7) }), []seen{{KindCall, "f", "/app", 1, 7}, {KindSample, "main", "/app", 0, 1}}, nil},
		"a kernel hook is one call":    {event(semconv.EventKernel, kernel("tcp_connect")), []seen{{KindCall, "tcp_connect", KernelModule, 0, 1}}, nil},
		"kernel frames are no samples": {event(semconv.EventKernel, kernel("tcp_connect"), kernel("do_syscall_64"), app("main")), []seen{{KindCall, "tcp_connect", KernelModule, 2, 1}, {KindSample, "main", "/app", 0, 1}}, nil},
		"a stack is one sample for each user frame": {event(semconv.EventSample, app("f"), app("g"), app("main")),
			[]seen{{KindSample, "f", "/app", 2, 1}, {KindSample, "g", "/app", 1, 1}, {KindSample, "main", "/app", 0, 1}}, nil},
		"a symbol counts once, where it is innermost": {event(semconv.EventSample, app("f"), app("g"), app("f"), app("main")),
			[]seen{{KindSample, "f", "/app", 3, 1}, {KindSample, "g", "/app", 2, 1}, {KindSample, "main", "/app", 0, 1}}, nil},
		"the same symbol of another module is another":     {event(semconv.EventSample, frame("f", "/a"), frame("f", "/b")), []seen{{KindSample, "f", "/a", 1, 1}, {KindSample, "f", "/b", 0, 1}}, nil},
		"frames without identity are callers, no samples":  {event(semconv.EventSample, app("f"), Frame{}, app("main")), []seen{{KindSample, "f", "/app", 2, 1}, {KindSample, "main", "/app", 0, 1}}, nil},
		"frames without symbol are told apart by offset":   {event(semconv.EventSample, Frame{Module: Module{Path: "/a"}, Offset: 1, HasOffset: true}, Frame{Module: Module{Path: "/a"}, Offset: 2, HasOffset: true}), []seen{{KindSample, "", "/a", 1, 1}, {KindSample, "", "/a", 0, 1}}, nil},
		"an exit witnesses nothing":                        {event(semconv.EventExit), nil, nil},
		"a heartbeat witnesses nothing":                    {event(semconv.EventCoverage), nil, nil},
		"a record that is not ours witnesses nothing":      {event("something.else", app("f")), nil, nil},
		"an exec without a stack is an error":              {event(semconv.EventExec), nil, ErrNoStack},
		"an exec without a module is an error":             {event(semconv.EventExec, Frame{Symbol: "x"}), nil, ErrNoStack},
		"a call of nothing is an error":                    {event(semconv.EventCall, frame("", "/app")), nil, ErrNoStack},
		"no hits are an error":                             {with(event(semconv.EventCall, app("f")), func(m pcommon.Map) { m.PutInt(semconv.WitnessHits, 0) }), nil, ErrHits},
		"hits that are no number are an error":             {with(event(semconv.EventCall, app("f")), func(m pcommon.Map) { m.PutStr(semconv.WitnessHits, "7") }), nil, ErrHits},
		"a stack that is no slice is an error, no panic":   {with(event(semconv.EventCall), func(m pcommon.Map) { m.PutStr(semconv.WitnessStack, "f") }), nil, ErrNoStack},
		"elements of a stack that are no maps are skipped": {with(event(semconv.EventCall, app("f")), func(m pcommon.Map) { v, _ := m.Get(semconv.WitnessStack); v.Slice().AppendEmpty().SetInt(3) }), []seen{{KindCall, "f", "/app", 0, 1}}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sightings, err := AppendSightings(nil, Workload{Namespace: "shop"}, test.record)
			assert.ErrorIs(t, err, test.err)
			var got []seen
			for _, s := range sightings {
				got = append(got, seen{s.Witness.Kind, s.Witness.Frame.Symbol, s.Witness.Frame.Module.Path, len(s.Witness.Path), s.Hits})
				assert.Equal(t, "shop", s.Witness.Workload.Namespace)
				assert.Equal(t, noon, s.LastSeen)
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func TestSightingsWithoutATime(t *testing.T) {
	record := event(semconv.EventCall, frame("f", "/app"))
	record.SetTimestamp(0)
	_, err := AppendSightings(nil, Workload{}, record)
	require.ErrorIs(t, err, ErrNoTime)
	record.SetObservedTimestamp(pcommon.NewTimestampFromTime(noon))
	sightings, err := AppendSightings(nil, Workload{}, record)
	require.NoError(t, err)
	assert.Equal(t, noon, sightings[0].LastSeen)
}

func TestAnArtifactBelongsToItsModuleOnly(t *testing.T) {
	record := event(semconv.EventSample, frame("read", "/libc.so"), frame("main", "/app"))
	record.Attributes().PutStr(semconv.ProcessExecutablePath, "/app")
	record.Attributes().PutStr(semconv.ArtifactPURL, "pkg:golang/example.com/app@v1")
	sightings, err := AppendSightings(nil, Workload{}, record)
	require.NoError(t, err)
	require.Len(t, sightings, 2)
	assert.Empty(t, sightings[0].Artifact.PURL)
	assert.Equal(t, "pkg:golang/example.com/app@v1", sightings[1].Artifact.PURL)
}

func TestWorkloadOf(t *testing.T) {
	tests := map[string]struct {
		resource map[string]any
		want     Workload
	}{
		"the host": {map[string]any{"host.name": "n"}, Workload{}},
		"a container of which nothing is known is not the host": {map[string]any{"container.id": "abc"}, UnknownWorkload},
		"a deployment before its replicaset": {map[string]any{"k8s.namespace.name": "shop", "k8s.replicaset.name": "web-1", "k8s.deployment.name": "web", "k8s.container.name": "app"},
			Workload{Namespace: "shop", Controller: "deployment/web", Container: "app"}},
		"a digest with its repository": {map[string]any{"container.image.repo_digests": []any{"docker.io/x@sha256:ab"}}, Workload{Image: "sha256:ab"}},
		"a digest alone":               {map[string]any{"container.image.repo_digests": []any{"sha256:ab"}}, Workload{Image: "sha256:ab"}},
		"digests that are no list":     {map[string]any{"container.image.repo_digests": "sha256:ab"}, Workload{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := pcommon.NewMap()
			require.NoError(t, m.FromRaw(test.resource))
			assert.Equal(t, test.want, WorkloadOf(m))
		})
	}
}

func anyObservation(t *rapid.T) Observation {
	word := rapid.StringMatching(`[a-z]{1,6}`)
	maybe := rapid.StringMatching(`([a-z]{1,6})?`)
	o := Observation{
		Witness: Witness{
			Kind:     rapid.SampledFrom(Kinds).Draw(t, "kind"),
			Workload: Workload{Namespace: word.Draw(t, "namespace"), Controller: "deployment/" + word.Draw(t, "controller"), Container: word.Draw(t, "container"), Image: "sha256:" + word.Draw(t, "image")},
		},
		Instance:    Instance{Host: maybe.Draw(t, "host"), Pod: maybe.Draw(t, "pod"), Container: maybe.Draw(t, "container id")},
		Source:      word.Draw(t, "source"),
		WindowStart: AlignWindow(noon.Add(time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "time"))), time.Minute),
		Flush:       rapid.Uint64Range(0, 1<<62).Draw(t, "flush"),
		Hits:        rapid.Uint64Range(1, 1<<62).Draw(t, "hits"),
		Assurance:   rapid.SampledFrom([]Assurance{Measured, Asserted}).Draw(t, "assurance"),
		Origin:      rapid.SampledFrom([]Origin{OriginWorkload, OriginInjected, OriginSelf, OriginUnknown}).Draw(t, "origin"),
		Artifact:    Artifact{PURL: maybe.Draw(t, "purl"), Digest: maybe.Draw(t, "digest"), Method: maybe.Draw(t, "method")},
	}
	o.WindowEnd = o.WindowStart.Add(time.Minute)
	o.HitsError = rapid.Uint64Range(0, o.Hits).Draw(t, "error")
	o.LastSeen = o.WindowStart.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)-1).Draw(t, "last")))
	o.FirstSeen = o.LastSeen.Add(-time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "first")))
	stack := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Frame {
		return Frame{
			Package: maybe.Draw(t, "package"), Member: maybe.Draw(t, "member"), Symbol: word.Draw(t, "symbol"), Language: maybe.Draw(t, "language"),
			Module: Module{BuildID: maybe.Draw(t, "build-id"), SHA256: maybe.Draw(t, "sha256"), Path: word.Draw(t, "path")},
			Offset: rapid.Uint64Range(1, 1<<63).Draw(t, "offset"), HasOffset: true, File: maybe.Draw(t, "file"), Line: rapid.IntRange(0, 9).Draw(t, "line"),
			Inlined: rapid.Bool().Draw(t, "inlined"), Component: maybe.Draw(t, "component"), SymbolSource: maybe.Draw(t, "symbol source"), Confidence: rapid.Float64Range(0, 1).Draw(t, "confidence"),
		}
	}), 1, 4).Draw(t, "stack")
	o.Witness.Frame, o.Witness.Path = stack[0], stack[1:]
	o.ID = o.Witness.ID()
	return o
}

func TestObservationsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(anyObservation), 1, 4).Draw(t, "observations")
		logs := plog.NewLogs()
		AppendObservations(logs, "scope", "v1", noon, want)
		wire, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
		require.NoError(t, err)
		logs, err = (&plog.ProtoUnmarshaler{}).UnmarshalLogs(wire)
		require.NoError(t, err)
		var got []Observation
		for _, resource := range logs.ResourceLogs().All() {
			for _, record := range resource.ScopeLogs().At(0).LogRecords().All() {
				o, err := ObservationOf(resource.Resource().Attributes(), record)
				require.NoError(t, err)
				got = append(got, o)
			}
		}
		require.ElementsMatch(t, want, got)
	})
}

func TestObservationOfRefuses(t *testing.T) {
	change := map[string]func(pcommon.Map){
		semconv.WitnessID:          func(m pcommon.Map) { m.PutStr(semconv.WitnessID, "x") },
		semconv.WitnessKind:        func(m pcommon.Map) { m.PutStr(semconv.WitnessKind, "proof") },
		semconv.WitnessStack:       func(m pcommon.Map) { m.Remove(semconv.WitnessStack) },
		semconv.WitnessHits:        func(m pcommon.Map) { m.PutInt(semconv.WitnessHits, -1) },
		semconv.WitnessHits + " 0": func(m pcommon.Map) { m.PutInt(semconv.WitnessHits, 0) },
		semconv.WitnessHitsError:   func(m pcommon.Map) { m.PutInt(semconv.WitnessHitsError, 1<<62) },
		semconv.WitnessSource:      func(m pcommon.Map) { m.Remove(semconv.WitnessSource) },
		semconv.WitnessAssurance:   func(m pcommon.Map) { m.PutStr(semconv.WitnessAssurance, "sworn") },
		semconv.WitnessOrigin:      func(m pcommon.Map) { m.PutStr(semconv.WitnessOrigin, "mars") },
		semconv.WitnessWindowStart: func(m pcommon.Map) { m.PutStr(semconv.WitnessWindowStart, "yesterday") },
		semconv.WitnessWindowEnd:   func(m pcommon.Map) { m.PutStr(semconv.WitnessWindowEnd, "2000-01-01T00:00:00Z") },
		semconv.WitnessLastSeen:    func(m pcommon.Map) { m.PutStr(semconv.WitnessLastSeen, "2200-01-01T00:00:00Z") },
		semconv.WitnessFirstSeen:   func(m pcommon.Map) { m.PutStr(semconv.WitnessFirstSeen, "2200-01-01T00:00:00Z") },
		"a window longer than a day": func(m pcommon.Map) {
			m.PutStr(semconv.WitnessWindowStart, "1970-01-01T00:00:00Z")
			m.PutStr(semconv.WitnessWindowEnd, "2200-01-01T00:00:00Z")
		},
		"year": func(m pcommon.Map) { m.PutStr(semconv.WitnessWindowStart, "0001-01-01T00:00:00Z") },
	}
	for name, change := range change {
		t.Run(name, func(t *testing.T) {
			logs := plog.NewLogs()
			w := vectors()[5].Witness
			AppendObservations(logs, "", "", noon, []Observation{{
				ID: w.ID(), Witness: w, Source: "s", WindowStart: noon, WindowEnd: noon.Add(time.Minute), Hits: 1,
				FirstSeen: noon, LastSeen: noon, Assurance: Measured, Origin: OriginWorkload,
			}})
			resource := logs.ResourceLogs().At(0)
			record := resource.ScopeLogs().At(0).LogRecords().At(0)
			_, err := ObservationOf(resource.Resource().Attributes(), record)
			require.NoError(t, err)
			change(record.Attributes())
			_, err = ObservationOf(resource.Resource().Attributes(), record)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "yesterday")
		})
	}
	t.Run("another id", func(t *testing.T) {
		logs := plog.NewLogs()
		w, other := vectors()[5].Witness, vectors()[0].Witness
		AppendObservations(logs, "", "", noon, []Observation{{
			ID: other.ID(), Witness: w, Source: "s", WindowStart: noon, WindowEnd: noon.Add(time.Minute), Hits: 1,
			FirstSeen: noon, LastSeen: noon, Assurance: Measured, Origin: OriginWorkload,
		}})
		resource := logs.ResourceLogs().At(0)
		_, err := ObservationOf(resource.Resource().Attributes(), resource.ScopeLogs().At(0).LogRecords().At(0))
		require.ErrorIs(t, err, ErrID)
	})
}

func TestCoverageSurvivesTheWire(t *testing.T) {
	for name, want := range map[string]Coverage{
		"heartbeat": {Source: "s", Signal: "tetragon", Kinds: []Kind{KindExec, KindCall}, Interval: 15 * time.Second, ProcessesWatched: 2, ProcessesSeen: 3},
		"loss":      {Source: "s", LossStage: "queue", Lost: 9},
		"status":    {Source: "s", StatusTarget: "policy", StatusState: "refused", StatusReason: "no hook"},
	} {
		t.Run(name, func(t *testing.T) {
			want.Assurance = Asserted
			want.Start, want.End = noon, noon.Add(time.Minute)
			want.Instance, want.Workload = Instance{Host: "n"}, Workload{Namespace: "shop"}
			resource, record := pcommon.NewMap(), plog.NewLogRecord()
			PutResource(resource, want.Workload, want.Instance)
			want.Put(record, noon)
			got, ok, err := CoverageOf(resource, record)
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, want, got)
		})
	}
	_, ok, err := CoverageOf(pcommon.NewMap(), event(semconv.EventCall))
	require.NoError(t, err)
	assert.False(t, ok)
}

// TestTimesAreOfUTC: the first year that is held is that of UTC, wherever the sender is.
func TestTimesAreOfUTC(t *testing.T) {
	m := pcommon.NewMap()
	for text, ok := range map[string]bool{
		"1970-01-01T00:00:00Z":      true,
		"1970-01-01T05:00:00+14:00": false,
		"1969-12-31T23:00:00-14:00": true,
		"2262-01-01T00:00:00Z":      false,
		"2262-01-01T05:00:00+14:00": true,
	} {
		m.PutStr("x", text)
		at, err := timeOf(m, "x")
		assert.Equal(t, ok, err == nil, text)
		assert.True(t, err != nil || at.UnixNano() >= 0, text)
	}
}

func TestAConfidenceThatIsNoneIsAbsent(t *testing.T) {
	for value, want := range map[float64]float64{0.5: 0.5, 1: 1, 1.5: 0, -0.5: 0, math.Inf(1): 0, math.Inf(-1): 0, math.NaN(): 0} {
		record := event(semconv.EventCall, frame("f", "/a"))
		stack, _ := record.Attributes().Get(semconv.WitnessStack)
		stack.Slice().At(0).Map().PutDouble(semconv.FrameConfidence, value)
		assert.Equal(t, want, StackOf(record.Attributes())[0].Confidence, "%v", value) //nolint:testifylint // exactly
	}
}

// TestAnArtifactOfAnUnnamedExecutable: without a path, modules are told apart by what they are.
func TestAnArtifactOfAnUnnamedExecutable(t *testing.T) {
	app, libc := frame("f", ""), frame("g", "")
	app.Module.BuildID, libc.Module.BuildID = "aa", "bb"
	record := event(semconv.EventCall, app, libc, app)
	record.Attributes().PutStr(semconv.ArtifactPURL, "pkg:golang/example.com/app@v1")
	sightings, err := AppendSightings(nil, Workload{}, record)
	require.NoError(t, err)
	require.Len(t, sightings, 3)
	assert.NotEmpty(t, sightings[0].Artifact.PURL)
	assert.Empty(t, sightings[1].Artifact.PURL)
	assert.NotEmpty(t, sightings[2].Artifact.PURL)
}

func TestAlignWindow(t *testing.T) {
	for name, test := range map[string]struct{ at, want string }{
		"on the line":      {"2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z"},
		"just before":      {"2026-11-22T11:59:59.999999999Z", "2026-11-22T11:59:00Z"},
		"other zone":       {"2026-11-22T12:00:30+05:30", "2026-11-22T06:30:00Z"},
		"before the epoch": {"1969-12-31T23:59:30Z", "1969-12-31T23:59:00Z"},
	} {
		at, err := time.Parse(time.RFC3339Nano, test.at)
		require.NoError(t, err)
		assert.Equal(t, test.want, AlignWindow(at, time.Minute).Format(time.RFC3339Nano), name)
	}
}

// FuzzRecord reads any record as anything: it may fail, never panic, and what is accepted has its own id.
func FuzzRecord(f *testing.F) {
	w := vectors()[5].Witness
	logs := plog.NewLogs()
	AppendObservations(logs, "s", "v", noon, []Observation{{
		ID: w.ID(), Witness: w, Source: "s", WindowStart: noon, WindowEnd: noon.Add(time.Minute), Hits: 1,
		FirstSeen: noon, LastSeen: noon, Assurance: Measured, Origin: OriginWorkload,
	}})
	event(semconv.EventSample, frame("f", "/a"), kernel("k")).CopyTo(logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty())
	seed, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	require.NoError(f, err)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, wire []byte) {
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(wire)
		if err != nil {
			return
		}
		for _, resource := range logs.ResourceLogs().All() {
			attributes := resource.Resource().Attributes()
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					if o, err := ObservationOf(attributes, record); err == nil && o.Witness.ID() != o.ID {
						t.Fatal("accepted a wrong id")
					}
					if sightings, err := AppendSightings(nil, WorkloadOf(attributes), record); err == nil && len(sightings) > MaxStack+1 {
						t.Fatal("more sightings than frames")
					}
					if c, ok, err := CoverageOf(attributes, record); ok && err == nil && c.Source == "" {
						t.Fatal("coverage without a source")
					}
				}
			}
		}
	})
}
