package hotsymbolprocessor

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// files is the real storage extension over a directory.
func files(t require.TestingT, directory string) component.Component {
	factory := filestorage.NewFactory()
	config := factory.CreateDefaultConfig().(*filestorage.Config)
	config.Directory = directory
	config.Timeout = time.Second
	extension, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), config)
	require.NoError(t, err)
	require.NoError(t, extension.Start(context.Background(), componenttest.NewNopHost()))
	return extension
}

// TestCrashWithFiles takes the files as they are at some moment, without a shutdown, and goes on from there.
func TestCrashWithFiles(t *testing.T) {
	next := newSink(t)
	directory := t.TempDir()
	var first string
	want := uint64(0)
	for round := range 5 {
		extension := files(t, directory)
		p := start(t, next, extension, nil)
		if round == 0 {
			first = p.source
		}
		assert.Equal(t, first, p.source, "the same installation and incarnation")
		for i := range 40 {
			if i == 20 {
				next.failWith(errDown) // batches stay in flight
				p.flushAll(t)
			}
			at := noon.Add(time.Duration(round*40+i) * time.Second)
			consume(t, p, event{at: at, symbol: "A", callers: []string{"main"}}, event{at: at, symbol: fmt.Sprint("F", i%7), hits: 2})
			want += 3
		}
		copied := t.TempDir()
		p.mu.Lock()
		require.NoError(t, os.CopyFS(copied, os.DirFS(directory)))
		p.mu.Unlock()
		crash(p)
		require.NoError(t, p.client.Close(context.Background()))
		require.NoError(t, extension.Shutdown(context.Background()))
		next.failWith(nil)
		directory = copied
	}
	extension := files(t, directory)
	p := start(t, next, extension, nil)
	stop(t, p)
	require.NoError(t, extension.Shutdown(context.Background()))
	sum := uint64(0)
	for name, n := range next.hits() {
		if strings.HasSuffix(name, "call") {
			sum += n
		}
	}
	assert.Equal(t, want, sum)
	assert.Equal(t, uint64(200), next.hits()["A call"])
	assert.Equal(t, uint64(200), next.hits()["main sample"])
	assert.Empty(t, next.losses)
}

// TestKill kills a process that counts, with SIGKILL, and finds everything that it acknowledged.
func TestKill(t *testing.T) {
	if directory := os.Getenv("HOT_SYMBOL_KILL"); directory != "" {
		next := newSink(t)
		next.failWith(errDown)
		p := start(t, next, files(t, directory), func(c *Config) { c.Window = time.Second })
		for i := 0; ; i++ {
			consume(t, p, event{at: noon.Add(time.Duration(i) * 100 * time.Millisecond), symbol: "A", uid: strconv.Itoa(i)})
			fmt.Println("counted", i)
		}
	}
	directory := t.TempDir()
	last := -1
	for range 3 {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKill$")
		command.Env = append(os.Environ(), "HOT_SYMBOL_KILL="+directory)
		out, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "counted ")); err == nil {
				last = max(last, n)
				if last > 0 && n%97 == 96 {
					require.NoError(t, command.Process.Kill())
				}
			}
		}
		require.Error(t, command.Wait(), "killed")
	}
	require.Positive(t, last)
	next := newSink(t)
	extension := files(t, directory)
	p := start(t, next, extension, nil)
	// The receiver sends the last event once more, and one that was perhaps counted but not acknowledged.
	consume(t, p, event{at: noon, symbol: "A", uid: strconv.Itoa(last)})
	stop(t, p)
	require.NoError(t, extension.Shutdown(context.Background()))
	assert.GreaterOrEqual(t, next.hits()["A call"], uint64(last+1))
	assert.LessOrEqual(t, next.hits()["A call"], uint64(last+2), "at most the one event in hand when it was killed")
}

func TestRedeliveryAfterACrash(t *testing.T) {
	next, store := newSink(t), newMemory()
	p := start(t, next, store, nil)
	batch := []event{{at: noon, symbol: "A", uid: "file:1"}, {at: noon, symbol: "B", uid: "file:2"}, {at: noon, symbol: "B"}}
	consume(t, p, batch...)
	consume(t, p, event{at: noon, symbol: "A", uid: "file:1", source: "aaaa/1/ebpf"})
	crash(p)
	p = start(t, next, store, nil)
	consume(t, p, batch...)
	consume(t, p, event{at: noon, symbol: "A", uid: "file:3"})
	stop(t, p)
	assert.Equal(t, map[string]uint64{"A call": 3, "B call": 3}, next.hits(), "only the event without a uid counts twice")
}

func TestUIDsAreBounded(t *testing.T) {
	u := newUIDs(10)
	for i := range 100 {
		require.True(t, u.add("a", strconv.Itoa(i)))
		u.commit()
	}
	assert.Len(t, u.known, 10)
	assert.Len(t, u.batches, 10)
	assert.False(t, u.add("a", "99"))
	assert.True(t, u.add("a", "1"))
	u.rollback()
	for i := range 50 {
		u.add("b", strconv.Itoa(i))
	}
	u.commit()
	assert.Len(t, u.known, 50, "the last batch is kept whole")
	assert.False(t, u.add("b", "0"))
}

func TestCheckpointIsTidy(t *testing.T) {
	next, store := newSink(t), newMemory()
	p := start(t, next, store, nil)
	for i := range 3*maxJournal + 10 {
		consume(t, p, event{at: noon, symbol: fmt.Sprint("F", i%3), uid: strconv.Itoa(i)}, event{at: noon.Add(-day), symbol: "late"})
	}
	store.mu.Lock()
	journal := 0
	for key := range store.values {
		if strings.HasPrefix(key, prefixHits) {
			journal++
		}
	}
	store.mu.Unlock()
	assert.LessOrEqual(t, journal, 2*maxJournal+2)
	crash(p)
	p = start(t, next, store, nil)
	stop(t, p)
	assert.Equal(t, uint64(3*maxJournal+10), next.hits()["F0 call"]+next.hits()["F1 call"]+next.hits()["F2 call"])
	assert.Equal(t, map[string]uint64{stageLate: 3*maxJournal + 10}, next.lost())
	for key := range store.values {
		assert.False(t, strings.HasPrefix(key, prefixHits) || strings.HasPrefix(key, prefixSend), key)
	}
}

func TestCheckpointThatCannotBeWritten(t *testing.T) {
	next, store := newSink(t), newMemory()
	p := start(t, next, store, nil)
	batch := []event{{at: noon, symbol: "A", uid: "1"}, {at: noon.Add(-day), symbol: "late"}}
	consume(t, p, event{at: noon, symbol: "A"})
	store.failWith(errDown)
	require.ErrorIs(t, p.ConsumeLogs(context.Background(), logsOf(append(batch, event{at: noon, symbol: "new"})...)), errDown)
	store.failWith(nil)
	consume(t, p, batch...)
	consume(t, p, event{at: noon, symbol: "new"})
	crash(p)
	stop(t, start(t, next, store, nil))
	assert.Equal(t, map[string]uint64{"A call": 2, "new call": 1}, next.hits())
	assert.Equal(t, map[string]uint64{stageLate: 1}, next.lost())
}

func TestDamagedCheckpoint(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(map[string][]byte)
		hits   uint64
		lost   uint64
		same   bool // incarnation
	}{
		"one entry":  {func(v map[string][]byte) { v[prefixHits+"1"] = []byte{200} }, 2, 1, true},
		"the root":   {func(v map[string][]byte) { v[keyState] = []byte("{") }, 0, 1, false},
		"no root":    {func(v map[string][]byte) { delete(v, keyState) }, 0, 0, false},
		"the clocks": {func(v map[string][]byte) { v[keyClocks] = []byte("x") }, 3, 1, true},
		"event ids":  {func(v map[string][]byte) { v[prefixUIDs+"0"] = []byte{9} }, 3, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			next, store := newSink(t), newMemory()
			p := start(t, next, store, nil)
			for i := range 3 {
				consume(t, p, event{at: noon, symbol: "A", uid: strconv.Itoa(i)})
			}
			crash(p)
			test.damage(store.values)
			again := start(t, next, store, nil)
			assert.Equal(t, test.same, p.source == again.source)
			stop(t, again)
			assert.Equal(t, test.hits, next.hits()["A call"])
			assert.Equal(t, test.lost, next.lost()[stageCheckpoint])
		})
	}
}

// TestSumsAreKept is the law: whatever comes between, what was acknowledged comes out once, as a hit or as a loss.
func TestSumsAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		next, store := newSink(t), newMemory()
		change := func(c *Config) {
			c.MaxWitnesses = rapid.SampledFrom([]int{3, 20, 1000}).Draw(t, "max")
			c.Window = rapid.SampledFrom([]time.Duration{time.Second, time.Minute}).Draw(t, "window")
			c.Events = rapid.SampledFrom([]string{eventsDrop, eventsKeep}).Draw(t, "events")
		}
		p := start(t, next, store, change)
		want, lost := map[string]uint64{}, uint64(0)
		newest := map[string]time.Time{}
		serial := 0
		var lastBatch []event
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"events", "events", "events", "again", "flush", "down", "up", "crash", "restart", "full", "not full"}).Draw(t, "step") {
			case "events":
				var batch []event
				for range rapid.IntRange(1, 6).Draw(t, "size") {
					serial++
					batch = append(batch, event{
						name:   rapid.SampledFrom([]string{semconv.EventCall, semconv.EventKernel, semconv.EventStatus}).Draw(t, "name"),
						at:     noon.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "at")) * time.Second),
						symbol: rapid.SampledFrom([]string{"A", "B", "C", "D", "E", "F", "G", "H"}).Draw(t, "symbol"),
						hits:   int64(rapid.IntRange(1, 5).Draw(t, "hits")),
						source: rapid.SampledFrom([]string{"a/1/tetragon", "a/1/ebpf", "b/1/tetragon"}).Draw(t, "source"),
						host:   rapid.SampledFrom([]string{"node-1", "node-2"}).Draw(t, "host"),
						uid:    strconv.Itoa(serial),
					})
				}
				if p.ConsumeLogs(context.Background(), logsOf(batch...)) != nil {
					continue // the receiver did not get an answer and gives up
				}
				for _, e := range batch {
					if e.name == semconv.EventStatus {
						continue
					}
					if e.at.After(newest[e.source]) {
						newest[e.source] = e.at
					}
					if newest[e.source].Sub(e.at) > 15*time.Minute {
						lost += uint64(e.hits)
					} else {
						want[e.symbol+" call"] += uint64(e.hits)
					}
				}
				lastBatch = batch
			case "again":
				if len(lastBatch) > 0 {
					_ = p.ConsumeLogs(context.Background(), logsOf(lastBatch...))
				}
			case "flush":
				p.mu.Lock()
				_ = p.flush(context.Background(), p.table.all())
				p.mu.Unlock()
			case "down":
				next.failWith(errDown)
			case "up":
				next.failWith(nil)
			case "full":
				store.failWith(errDown)
			case "not full":
				store.failWith(nil)
			case "crash":
				p.mu.Lock()
				left := store.clone()
				p.mu.Unlock()
				crash(p)
				store = left
				p = start(t, next, store, change)
			case "restart":
				store.failWith(nil)
				stop(t, p)
				p = start(t, next, store, change)
			}
		}
		next.failWith(nil)
		store.failWith(nil)
		stop(t, p)
		got := map[string]uint64{}
		maps.Copy(got, next.hits())
		require.Equal(t, want, got)
		require.Equal(t, lost, next.lost()[stageLate])
	})
}

// TestWithoutStorageSumsAreKept is the same without a checkpoint and without crashes, with deeper stacks.
func TestWithoutStorageSumsAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		next := newSink(t)
		p := start(t, next, nil, func(c *Config) { c.MaxWitnesses = rapid.IntRange(1, 50).Draw(t, "max") })
		want := map[string]uint64{}
		symbols := rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B", "C"}), 1, 5)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			stack := symbols.Draw(t, "stack")
			name := rapid.SampledFrom([]string{semconv.EventCall, semconv.EventSample}).Draw(t, "name")
			e := event{name: name, at: noon.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "at")) * time.Second), symbol: stack[0], callers: stack[1:]}
			if p.ConsumeLogs(context.Background(), logsOf(e)) != nil {
				continue
			}
			seen := map[string]bool{}
			for i, s := range stack {
				if name == semconv.EventCall && i == 0 {
					want[s+" call"]++
				} else if !seen[s] {
					seen[s] = true
					want[s+" sample"]++
				}
			}
		}
		stop(t, p)
		require.Equal(t, want, next.hits())
	})
}

func FuzzDecode(f *testing.F) {
	store := newMemory()
	p := start(f, newSink(f), store, nil)
	consume(f, p, event{at: noon, symbol: "A", uid: "x", callers: []string{"B"}}, event{at: noon.Add(-day), symbol: "late"})
	consume(f, p, event{at: noon, symbol: "A", uid: "y", callers: []string{"B"}})
	crash(p)
	for _, value := range store.clone().values {
		f.Add(value)
	}
	p = start(f, newSink(f), store.clone(), nil)
	crash(p)
	f.Add([]byte{2, '{', '}'})
	f.Fuzz(func(t *testing.T, value []byte) {
		_, _ = decodeState(value)
		_, _ = decodeUIDs(value)
		_, _ = decodeBatch(0, value)
		table := newTable(time.Minute, time.Minute, 10, func(string) string { return "x" })
		r := restoring{table: table, buckets: map[uint64]*restoredBucket{}}
		if entry, err := decodeJournal(value); err == nil {
			r.add(0, &entry)
			r.add(1, &entry)
			pack := packer{now: noon}
			for _, b := range r.list {
				pack.bucket(b)
			}
			pack.close()
			pack.losses(table.lossEntries(true))
		}
	})
}
