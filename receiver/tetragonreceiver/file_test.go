package tetragonreceiver

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/tetragonreceiver/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/witness"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
)

const (
	soon  = 10 * time.Second
	often = 5 * time.Millisecond
)

func fileConfig(path string, replay bool) *Config {
	config := createDefaultConfig().(*Config)
	config.File = configoptional.Some(FileConfig{Path: path, Replay: replay, PollInterval: often})
	config.RetryOnFailure.InitialInterval = time.Millisecond
	config.RetryOnFailure.MaxInterval = 2 * time.Millisecond
	return config
}

// line is an exec event as a line of the export file.
func line(t testing.TB, binary string) string {
	t.Helper()
	raw, err := protojson.Marshal(exec(process(binary)))
	require.NoError(t, err)
	return string(raw) + "\n"
}

func lines(t testing.TB, binaries ...string) string {
	t.Helper()
	var b strings.Builder
	for _, binary := range binaries {
		b.WriteString(line(t, binary))
	}
	return b.String()
}

func write(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func appendTo(t testing.TB, path, content string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString(content)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func zip(t testing.TB, path, content string) {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	write(t, path, b.String())
}

func eventually(t *testing.T, s *sink, want ...string) {
	t.Helper()
	if !assert.Eventually(t, func() bool { return len(s.execs()) >= len(want) }, soon, often) {
		require.Equal(t, want, s.execs())
	}
	require.Equal(t, want, s.execs())
}

func skipped(t *testing.T, telemetry *componenttest.Telemetry, want map[string]int64) {
	t.Helper()
	var points []metricdata.DataPoint[int64]
	for reason, n := range want {
		points = append(points, metricdata.DataPoint[int64]{Value: n, Attributes: attribute.NewSet(attribute.String("reason", reason))})
	}
	metadatatest.AssertEqualTetragonReceiverSkipped(t, telemetry, points, metricdatatest.IgnoreTimestamp())
}

func TestReplayOfACapture(t *testing.T) {
	for _, name := range []string{"linger", "throttled"} {
		t.Run(name, func(t *testing.T) {
			next := &sink{}
			config := fileConfig(filepath.Join(captures, name+".export.jsonl.gz"), true)
			config.Batch.MaxEvents = 100
			_, telemetry, stop := started(t, config, next, nil)
			require.Eventually(t, func() bool { return countNames(next.all())[semconv.EventCoverage] > 0 }, soon, often)
			stop()

			events := fileEvents(t, name)
			_, want := convertAll(options{}, events...)
			assert.Equal(t, witnesses(t, want.Logs), witnesses(t, next.all()))
			assert.Empty(t, semconv.Validate(next.all()))
			uids := map[string]bool{}
			each(next.all(), func(_ pcommon.Map, record plog.LogRecord) {
				if uid := text(record.Attributes(), semconv.LogRecordUID); uid != "" {
					assert.False(t, uids[uid], "each event has its own identity")
					uids[uid] = true
				}
			})
			if name == "linger" {
				assert.Len(t, uids, len(events))
			}
			for _, logs := range next.taken {
				events := logs.LogRecordCount() - countNames(logs)[semconv.EventContainment]
				assert.LessOrEqual(t, events, 100+4, "batches are bounded")
				assert.LessOrEqual(t, logs.LogRecordCount(), 200+4, "with what they say of containment")
			}

			oldest, newest := time.Time{}, time.Time{}
			for _, event := range events {
				if at, ok := timeOf(event.GetTime()); ok {
					if oldest.IsZero() || at.Before(oldest) {
						oldest = at
					}
					if at.After(newest) {
						newest = at
					}
				}
			}
			var beats []witness.Coverage
			for _, c := range spoken(t, next.all()) {
				if c.LossStage == "" && c.StatusTarget == "" {
					beats = append(beats, c)
				}
			}
			require.Len(t, beats, 1)
			assert.Equal(t, []time.Time{oldest, newest}, []time.Time{beats[0].Start, beats[0].End}, "a replay speaks in the times of its events")
			assert.Equal(t, "lab-guest", beats[0].Instance.Host)
			got, err := telemetry.GetMetric("otelcol_tetragon_receiver_events")
			require.NoError(t, err)
			total := int64(0)
			for _, point := range got.Data.(metricdata.Sum[int64]).DataPoints {
				total += point.Value
			}
			assert.EqualValues(t, len(events), total)
		})
	}
}

func TestBadLinesLoseNoNeighbour(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	long := strings.Repeat("x", maxLine+1)
	write(t, path, line(t, "/a")+"{\"process_exec\":\n"+"\n"+line(t, "/b")+long+"\n"+line(t, "/c")+"[]\n\xff\xfe\n"+
		`{"process_exec":{"process":{"pid":"no"}}}`+"\n"+`{"new_event":{"x":1},"time":"2026-11-22T10:00:00Z"}`+"\n"+line(t, "/d")+`{"cut`)
	next := &sink{}
	_, telemetry, stop := started(t, fileConfig(path, true), next, nil)
	require.Eventually(t, func() bool { return countNames(next.all())[semconv.EventCoverage] > 0 }, soon, often)
	stop()
	assert.Equal(t, []string{"/a", "/b", "/c", "/d"}, next.execs())
	skipped(t, telemetry, map[string]int64{"malformed": 5, "oversized": 1, "unknown": 1})
	losses := map[string]uint64{}
	for _, c := range spoken(t, next.all()) {
		if c.LossStage != "" {
			losses[c.LossStage] += c.Lost
		}
	}
	assert.Equal(t, map[string]uint64{stageMalformed: 5, stageOversized: 1}, losses)
}

func TestALineOfTheLargestSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	fits := line(t, "/fits")
	fits = strings.Repeat(" ", maxLine-len(fits)+1) + fits
	require.Len(t, fits, maxLine+1)
	write(t, path, fits+" "+fits+line(t, "/b"))
	next := &sink{}
	_, telemetry, stop := started(t, fileConfig(path, true), next, nil)
	eventually(t, next, "/fits", "/b")
	stop()
	skipped(t, telemetry, map[string]int64{"oversized": 1})
}

func TestReplayWaitsForAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	next := &sink{}
	h, _, _ := started(t, fileConfig(path, true), next, nil)
	require.Eventually(t, func() bool { return len(h.statuses()) == 1 }, soon, often)
	assert.Equal(t, componentstatus.StatusRecoverableError, h.statuses()[0])
	write(t, path, lines(t, "/a"))
	eventually(t, next, "/a")
	require.Eventually(t, func() bool { return len(h.statuses()) == 2 }, soon, often)
	assert.Equal(t, componentstatus.StatusOK, h.statuses()[1])
}

func TestADamagedArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.gz")
	zip(t, path, strings.Repeat(line(t, "/a"), 50))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	write(t, path, string(whole[:len(whole)-9]))
	next := &sink{}
	_, _, stop := started(t, fileConfig(path, true), next, nil)
	require.Eventually(t, func() bool { return countNames(next.all())[semconv.EventCoverage] > 0 }, soon, often)
	stop()
	assert.NotEmpty(t, next.execs())
	assert.Equal(t, 1, countNames(next.all())[semconv.EventLoss])
}

func TestLiveWithoutStorageBeginsAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	partial := line(t, "/partial")
	write(t, path, lines(t, "/old")+partial[:20])
	next := &sink{}
	h, _, _ := started(t, fileConfig(path, false), next, nil)
	require.Eventually(t, func() bool { return len(h.statuses()) > 0 }, soon, often)
	appendTo(t, path, partial[20:])
	eventually(t, next, "/partial")
	for _, piece := range []string{line(t, "/a")[:7], line(t, "/a")[7:], lines(t, "/b", "/c")} {
		appendTo(t, path, piece)
		time.Sleep(3 * often)
	}
	eventually(t, next, "/partial", "/a", "/b", "/c")
}

func TestRotation(t *testing.T) {
	for name, rotate := range map[string]func(t *testing.T, path string){
		"as Tetragon does": func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, strings.TrimSuffix(path, ".log")+"-2026-11-22T10-00-00.000.log"))
		},
		"as logrotate does": func(t *testing.T, path string) { require.NoError(t, os.Rename(path, path+".1")) },
		"by deleting":       func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tetragon.log")
			next := &sink{}
			_, _, stop := started(t, fileConfig(path, false), next, newMemory())
			appendTo(t, path, lines(t, "/a"))
			eventually(t, next, "/a")
			appendTo(t, path, lines(t, "/b")+strings.TrimSuffix(line(t, "/c"), "\n"))
			if name == "by deleting" {
				eventually(t, next, "/a", "/b")
			}
			rotate(t, path)
			write(t, path, lines(t, "/d"))
			eventually(t, next, "/a", "/b", "/c", "/d")
			appendTo(t, path, lines(t, "/e"))
			eventually(t, next, "/a", "/b", "/c", "/d", "/e")
			stop()
			for _, c := range spoken(t, next.all()) {
				assert.Empty(t, c.LossStage)
			}
		})
	}
}

func TestTruncation(t *testing.T) {
	for name, after := range map[string][]string{"shorter": {"/x"}, "longer": {"/x", "/y", "/z"}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tetragon.log")
			next := &sink{}
			_, _, stop := started(t, fileConfig(path, false), next, newMemory())
			appendTo(t, path, lines(t, "/a", "/b"))
			eventually(t, next, "/a", "/b")
			write(t, path, lines(t, after...)) // truncates and writes to the same inode
			eventually(t, next, append([]string{"/a", "/b"}, after...)...)
			stop()
			var stages []string
			for _, c := range spoken(t, next.all()) {
				if c.LossStage != "" {
					stages = append(stages, c.LossStage)
				}
			}
			assert.Equal(t, []string{stageRotated}, stages, "what stood behind the last line read is unknown")
		})
	}
}

// run follows the file with kept state until it has read want, and shuts down.
func run(t *testing.T, config *Config, kept *memory, want ...string) *sink {
	t.Helper()
	next := &sink{}
	h, _, stop := started(t, config, next, kept)
	require.Eventually(t, func() bool { return len(h.statuses()) > 0 }, soon, often)
	eventually(t, next, want...)
	stop()
	require.Equal(t, append([]string(nil), want...), next.execs(), "nothing twice")
	return next
}

func TestResumeAfterRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	kept := newMemory()
	var sources []string
	step := func(want ...string) {
		next := run(t, fileConfig(path, false), kept, want...)
		for _, c := range spoken(t, next.all()) {
			assert.Empty(t, c.LossStage)
			sources = append(sources, c.Source)
		}
	}
	write(t, path, lines(t, "/a", "/b")+line(t, "/c")[:30])
	step("/a", "/b")
	appendTo(t, path, line(t, "/c")[30:]+lines(t, "/d"))
	step("/c", "/d")
	step()
	// Rotated twice while nobody reads, the first time compressed.
	appendTo(t, path, lines(t, "/e"))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	stem := strings.TrimSuffix(path, ".log")
	zip(t, stem+"-2026-11-22T10-00-00.000.log.gz", string(whole))
	require.NoError(t, os.Remove(path))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(stem+"-2026-11-22T10-00-00.000.log.gz", old, old))
	write(t, stem+"-2026-11-22T11-00-00.000.log", lines(t, "/f", "/g"))
	write(t, stem+"-other.log", lines(t, "/not-ours"))
	write(t, path, lines(t, "/h"))
	step("/e", "/f", "/g", "/h")
	require.NotEmpty(t, sources)
	for _, source := range sources {
		assert.Equal(t, sources[0], source, "a restart that restored its state is the same source")
	}
	assert.Contains(t, sources[0], "/1/tetragon")
}

func TestResumeWhenTheFileIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	kept := newMemory()
	write(t, path, lines(t, "/a"))
	run(t, fileConfig(path, false), kept, "/a")
	write(t, path, lines(t, "/x"))
	next := run(t, fileConfig(path, false), kept, "/x")
	var stages []string
	for _, c := range spoken(t, next.all()) {
		if c.LossStage != "" {
			stages = append(stages, c.LossStage)
			assert.Zero(t, c.Lost, "nobody knows how much it was")
		}
	}
	assert.Equal(t, []string{stageRotated}, stages)
}

func TestAReplayIsNotRepeated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.gz")
	kept := newMemory()
	zip(t, path, lines(t, "/a", "/b"))
	run(t, fileConfig(path, true), kept, "/a", "/b")
	run(t, fileConfig(path, true), kept)
	assert.Equal(t, []string{"/a", "/b"}, run(t, fileConfig(path, true), nil, "/a", "/b").execs(), "without storage it is")
}

func TestTheOffsetWaitsForThePipeline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	kept := newMemory()
	write(t, path, lines(t, "/a", "/b"))
	config := fileConfig(path, false)
	config.RetryOnFailure.InitialInterval, config.RetryOnFailure.MaxInterval = time.Hour, time.Hour
	busy := &sink{refuse: func(int) error { return errBusy }}
	_, _, stop := started(t, config, busy, kept)
	require.Eventually(t, func() bool { return busy.attempts() > 0 }, soon, often)
	_, known, err := loadPosition(t.Context(), kept)
	require.NoError(t, err)
	assert.False(t, known)
	busy.mu.Lock()
	busy.refuse = nil
	busy.mu.Unlock()
	stop() // offers them once more
	assert.Equal(t, []string{"/a", "/b"}, busy.execs())
	run(t, fileConfig(path, false), kept)
}

func TestABusyPipelineGetsEverythingOnce(t *testing.T) {
	for _, vandal := range []bool{false, true} {
		t.Run(fmt.Sprintf("changes data: %t", vandal), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tetragon.log")
			write(t, path, lines(t, "/a", "/b"))
			next := &sink{vandal: vandal, refuse: func(attempt int) error {
				if attempt%3 != 0 {
					return errBusy
				}
				return nil
			}}
			_, _, _ = started(t, fileConfig(path, true), next, nil)
			eventually(t, next, "/a", "/b")
		})
	}
}

func TestEventsRefusedForGoodAreALoss(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	next := &sink{refuse: func(attempt int) error {
		if attempt == 1 {
			return permanent(attempt)
		}
		return nil
	}}
	_, telemetry, stop := started(t, fileConfig(path, false), next, newMemory())
	write(t, path, lines(t, "/a", "/b"))
	require.Eventually(t, func() bool { return next.attempts() > 0 }, soon, often)
	appendTo(t, path, lines(t, "/c"))
	eventually(t, next, "/c")
	stop()
	lost := uint64(0)
	for _, c := range spoken(t, next.all()) {
		if c.LossStage == stageRefused {
			lost += c.Lost
		}
	}
	assert.Equal(t, uint64(2), lost)
	metadatatest.AssertEqualTetragonReceiverLostEvents(t, telemetry, []metricdata.DataPoint[int64]{
		{Value: 2, Attributes: attribute.NewSet(attribute.String("stage", stageRefused))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestLiveHeartbeats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	config := fileConfig(path, false)
	config.HeartbeatInterval = 20 * time.Millisecond
	next := &sink{}
	began := time.Now()
	_, _, stop := started(t, config, next, newMemory())
	time.Sleep(60 * time.Millisecond)
	assert.Empty(t, countNames(next.all()), "nothing is watched while there is no file")
	write(t, path, lines(t, "/a"))
	require.Eventually(t, func() bool { return countNames(next.all())[semconv.EventCoverage] >= 3 }, soon, often)
	stop()
	all := spoken(t, next.all())
	for i, c := range all {
		assert.Equal(t, []witness.Kind{witness.KindExec}, c.Kinds, "no more than what came")
		assert.True(t, c.Start.After(began))
		if i > 0 {
			assert.Equal(t, all[i-1].End, c.Start, "heartbeats leave no gap")
		}
	}
}

func TestUIDsAreThoseOfTheLine(t *testing.T) {
	content := lines(t, "/a", "/b", "/a")
	uids := func(path string, write func(testing.TB, string, string)) (ids []string) {
		write(t, path, content)
		next := run(t, fileConfig(path, true), nil, "/a", "/b", "/a")
		each(next.all(), func(_ pcommon.Map, record plog.LogRecord) {
			if uid := text(record.Attributes(), semconv.LogRecordUID); uid != "" {
				ids = append(ids, uid)
			}
		})
		return ids
	}
	plain, zipped := uids(filepath.Join(t.TempDir(), "a.log"), write), uids(filepath.Join(t.TempDir(), "b.gz"), zip)
	assert.Equal(t, plain, zipped, "wherever it is read")
	assert.Len(t, plain, 3)
	assert.NotEqual(t, plain[0], plain[2])
}

func FuzzLine(f *testing.F) {
	for i, seed := range fileLines(f, "linger") {
		if i%20 == 0 {
			f.Add(seed)
		}
	}
	for _, line := range fileLines(f, "contained") {
		f.Add(line)
	}
	for _, seed := range []string{"", "{}", "null", `{"process_exec":{}}`, `{"process_kprobe":{"user_stack_trace":[{"offset":"18446744073709551615"}]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		event, err := parse(line)
		if err != nil {
			return
		}
		c, b := convertAll(options{raw: true, arguments: true, containment: time.Minute}, event, event)
		c.ledger.start = receivedAt
		c.ledger.beat(b, receivedAt.Add(time.Second), receivedAt)
		require.Empty(t, semconv.Validate(b.Logs))
	})
}

// FuzzTail reads whatever bytes in a file with whatever chunks: the lines and their offsets are those of the content.
func FuzzTail(f *testing.F) {
	f.Add([]byte("a\nbc\n\nd"), uint16(3))
	f.Add([]byte("\n"), uint16(0))
	f.Fuzz(func(t *testing.T, content []byte, cut uint16) {
		path := filepath.Join(t.TempDir(), "x.log")
		split := min(int(cut), len(content))
		write(t, path, string(content[:split]))
		tail, err := openTail(path)
		if err != nil {
			return // begins like an archive and is none
		}
		defer func() { require.NoError(t, tail.close()) }()
		if tail.gzipped {
			return
		}
		var got []string
		read := func() {
			for {
				line, offset, err := tail.next()
				if err != nil {
					return
				}
				require.Equal(t, string(content[offset:offset+int64(len(line))]), string(line))
				got = append(got, string(line))
			}
		}
		read()
		appendTo(t, path, string(content[split:]))
		read()
		rest, _, err := tail.rest()
		require.NoError(t, err)
		require.Equal(t, string(content), strings.Join(append(got, string(rest)), "\n"))
		require.EqualValues(t, len(content), tail.offset)
	})
}

func TestAVeryLongLineIsNotHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	long := strings.Repeat("x", 5*maxLine)
	write(t, path, line(t, "/a")+long+"\n"+line(t, "/b")+long)
	next := &sink{}
	_, telemetry, stop := started(t, fileConfig(path, true), next, nil)
	require.Eventually(t, func() bool { return countNames(next.all())[semconv.EventCoverage] > 0 }, soon, often)
	stop()
	assert.Equal(t, []string{"/a", "/b"}, next.execs())
	skipped(t, telemetry, map[string]int64{"oversized": 2})

	tail, err := openTail(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, tail.close()) }()
	for {
		if _, _, err := tail.next(); err != nil && !errors.Is(err, errOversized) {
			break
		}
		assert.LessOrEqual(t, cap(tail.pending), 4*maxLine)
	}
}

func TestARotatedFileIsReadOnceUnderTwoNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	stem := strings.TrimSuffix(path, ".log")
	kept := newMemory()
	write(t, path, lines(t, "/a"))
	run(t, fileConfig(path, false), kept, "/a")
	// Compressed, but not yet removed; and an archive that is none.
	require.NoError(t, os.Rename(path, stem+"-2026-11-22T10-00-00.000.log"))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(stem+"-2026-11-22T10-00-00.000.log", old, old))
	zip(t, stem+"-2026-11-22T10-00-00.000.log.gz", lines(t, "/a"))
	write(t, stem+"-2026-11-22T11-00-00.000.log.gz", "\x1f\x8b")
	write(t, path, lines(t, "/b"))
	run(t, fileConfig(path, false), kept, "/b")
}

func TestRotationTwiceBetweenTwoLooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tetragon.log")
	config := fileConfig(path, false)
	config.File.Get().PollInterval = 300 * time.Millisecond
	next := &sink{}
	_, _, _ = started(t, config, next, newMemory())
	write(t, path, lines(t, "/a"))
	eventually(t, next, "/a")
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	require.NoError(t, os.Rename(path, path+".2"))
	zip(t, path+".1.gz", lines(t, "/b"))
	write(t, path, lines(t, "/c"))
	eventually(t, next, "/a", "/b", "/c")
}
