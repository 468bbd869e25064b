package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// What the child process of TestKill reads from its environment: the database, and the batch each writer begins with.
const (
	killPath  = "WITNESS_TEST_KILL_PATH"
	killFirst = "WITNESS_TEST_KILL_FIRST"
)

const (
	killWriters = 4
	killBatch   = 10
)

// TestKill kills a process that writes with several goroutines, rolls up and deletes, again and again, at any moment from
// its start on: every observation that was acknowledged and is not too old is there, none twice, though the last batches
// before each kill are delivered again, and the totals are those of the rows. Kills before the first acknowledgement come
// besides the rounds.
func TestKill(t *testing.T) {
	if path := os.Getenv(killPath); path != "" {
		writeUntilKilled(path, strings.Split(os.Getenv(killFirst), ","))
		return
	}
	rounds := 200
	if testing.Short() {
		rounds = 10
	}
	path := filepath.Join(t.TempDir(), "witness.db")
	acknowledged := 0
	last := [killWriters]int{}
	early, folding := 0, 0
	for round := 0; round < rounds; {
		require.Less(t, early, 10*rounds+100, "rounds in which nothing is acknowledged")
		var first []string
		for _, number := range last {
			first = append(first, strconv.Itoa(max(1, number-2)))
		}
		child := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.v=false")
		child.Env = append(os.Environ(), killPath+"="+path, killFirst+"="+strings.Join(first, ","))
		output, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		kill := time.AfterFunc(time.Duration(rand.Int64N(int64(200*time.Millisecond))), func() { _ = child.Process.Kill() })
		lines := bufio.NewScanner(output)
		heard := false
		for lines.Scan() {
			text, whole := strings.CutSuffix(lines.Text(), ".")
			if !whole { // cut by the kill
				break
			}
			var writer, number int
			_, err := fmt.Sscanf(text, "%d %d", &writer, &number)
			require.NoError(t, err, "the child acknowledges batches: %s", text)
			acknowledged++
			last[writer] = max(last[writer], number)
			heard = true
		}
		require.Error(t, child.Wait(), "killed")
		kill.Stop()
		if !heard {
			early++
			continue
		}
		db, err := openDB(path, true)
		require.NoError(t, err)
		n, err := numbers(context.Background(), db, 1, "SELECT count(*) FROM folding")
		require.NoError(t, errors.Join(err, db.Close()))
		folding += int(n[0][0])
		if round++; round%50 == 0 || round == rounds {
			checkAfterKills(t, path, last)
		}
	}
	t.Logf("%d kills, %d of them in the middle of a fold, and %d before the first acknowledgement; %d acknowledgements", rounds, folding, early, acknowledged)
	if rounds >= 100 {
		require.Positive(t, folding)
	}
}

// killLife is that of the database: a batch is a minute.
var killLife = Life{DedupeHorizon: 3 * time.Hour, DaysAfter: 5 * time.Hour, MaxAge: 8 * time.Hour, Pause: 10 * time.Millisecond}

// killFold has something being folded almost always, so that kills come in the middle of it.
var killFold = foldLimits{dirty: 1000, every: time.Millisecond, rows: 5, time: time.Hour}

// checkAfterKills checks what is stored of each writer, hour by hour. last are the batches that were acknowledged last;
// one more can be stored.
func checkAfterKills(t *testing.T, path string, last [killWriters]int) {
	life := killLife
	life.Pause = 0
	s, err := Open(context.Background(), Options{Path: path, Integrity: IntegrityFull, Life: life})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.tend(context.Background())) // what was interrupted: in the middle of a round, derived rows are ahead of the others or behind
	exact(t, s)
	rows, err := s.read.Query("SELECT host, window_start, window_seconds, hits FROM observation")
	require.NoError(t, err)
	defer rows.Close()
	type part struct{ host, hour string }
	stored := map[part]int{}
	days := map[string]bool{}
	var sum uint64
	for rows.Next() {
		var host, start string
		var seconds float64
		var hits int
		require.NoError(t, rows.Scan(&host, &start, &seconds, &hits))
		if seconds == dayOfHours.Seconds() {
			days[start[:10]] = true
			start = start[:10]
		}
		stored[part{host, start[:min(len(start), 13)]}] += hits
		sum += uint64(hits)
	}
	require.NoError(t, rows.Err())
	kept, err := numbers(context.Background(), s.read, 1, "SELECT value FROM state WHERE name = 'kept'")
	require.NoError(t, err)
	expected := func(writer, last int) map[part]int {
		parts := map[part]int{}
		for number := 1; number <= last; number++ {
			at := killStart(number)
			name := at.Format("2006-01-02T15")
			if days[name[:10]] {
				name = name[:10]
			}
			if at.UnixNano() >= kept[0][0] {
				parts[part{killHost(writer), name}] += killBatch
			}
		}
		return parts
	}
	for writer, number := range last {
		got := map[part]int{}
		for p, n := range stored {
			if p.host == killHost(writer) {
				got[p] = n
			}
		}
		want := expected(writer, number)
		if !maps.Equal(want, got) {
			want = expected(writer, number+1) // stored, but the acknowledgement was lost
		}
		require.Equal(t, want, got, "of a writer whose last acknowledged batch is %d", number)
	}
	hits, _ := addedUp(t, s)
	require.Equal(t, sum, hits, "what is counted is what is stored")
}

func killHost(writer int) string { return fmt.Sprintf("node-%d", writer) }

// killStart is the window of a batch.
func killStart(number int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(number) * time.Minute)
}

// writeUntilKilled writes batches from a number on for each writer, each twice, and prints each when it is acknowledged.
func writeUntilKilled(path string, first []string) {
	s, err := Open(context.Background(), Options{Path: path, Life: killLife, fold: killFold})
	if err != nil {
		fmt.Println("cannot open:", err)
		os.Exit(3)
	}
	var writers sync.WaitGroup
	for writer, from := range first {
		number, _ := strconv.Atoi(from)
		writers.Go(func() {
			for ; ; number++ {
				all := observations(killBatch, 0)
				start := killStart(number)
				for i := range all {
					o := &all[i]
					o.Instance = witness.Instance{Host: killHost(writer)}
					o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = start, start.Add(time.Minute), start, start
				}
				for range 2 {
					written, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all})
					if err != nil || len(written.Refused) > 0 {
						fmt.Println("cannot write:", err, len(written.Refused))
						os.Exit(4)
					}
					fmt.Printf("%d %d.\n", writer, number)
				}
			}
		})
	}
	writers.Wait()
}
