package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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

// TestKill kills a process that writes with several goroutines, again and again, at any moment from its start on: every
// observation that was acknowledged is there, none twice, though the last batches before each kill are delivered again,
// and the totals are those of the rows.
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
	acknowledged := map[[2]int]bool{}
	last := [killWriters]int{}
	early := 0
	for round := range rounds {
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
			acknowledged[[2]int{writer, number}] = true
			last[writer] = max(last[writer], number)
			heard = true
		}
		if !heard {
			early++
		}
		require.Error(t, child.Wait(), "killed")
		kill.Stop()
		if round%50 == 49 || round == rounds-1 {
			checkAfterKills(t, path, acknowledged)
		}
	}
	t.Logf("%d kills, %d of them before the first acknowledgement, %d batches acknowledged", rounds, early, len(acknowledged))
}

func checkAfterKills(t *testing.T, path string, acknowledged map[[2]int]bool) {
	s, err := Open(context.Background(), Options{Path: path, Integrity: IntegrityFull})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	stored := map[string]int{}
	rows, err := s.read.Query("SELECT host, window_start, hits FROM observation")
	require.NoError(t, err)
	defer rows.Close()
	var sum uint64
	for rows.Next() {
		var host, start string
		var hits int
		require.NoError(t, rows.Scan(&host, &start, &hits))
		stored[host+" "+start] += hits
		sum += uint64(hits)
	}
	require.NoError(t, rows.Err())
	for batch := range acknowledged {
		name := killHost(batch[0]) + " " + killStart(batch[1]).Format(time.RFC3339)
		assert.Equal(t, killBatch, stored[name], "of an acknowledged batch")
	}
	for name, n := range stored {
		assert.Equal(t, killBatch, n, "of batch "+name+": whole, once")
	}
	hits, witnesses := addedUp(t, s)
	assert.Equal(t, sum, hits, "what is counted is what is stored")
	assert.Equal(t, killBatch, witnesses)
}

func killHost(writer int) string { return fmt.Sprintf("node-%d", writer) }

// killStart is the window of a batch.
func killStart(number int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(number) * time.Minute)
}

// writeUntilKilled writes batches from a number on for each writer, each twice, and prints each when it is acknowledged.
func writeUntilKilled(path string, first []string) {
	s, err := Open(context.Background(), Options{Path: path})
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
					if _, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all}); err != nil {
						fmt.Println("cannot write:", err)
						os.Exit(4)
					}
					fmt.Printf("%d %d.\n", writer, number)
				}
			}
		})
	}
	writers.Wait()
}
