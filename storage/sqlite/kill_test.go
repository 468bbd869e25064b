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
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// What the child process of TestKill reads from its environment.
const (
	killPath  = "WITNESS_TEST_KILL_PATH"
	killFirst = "WITNESS_TEST_KILL_FIRST"
)

// TestKill kills a process that writes, again and again: every observation that it was told is stored is there, and none
// twice, though the last batches before each kill are delivered again.
func TestKill(t *testing.T) {
	if path := os.Getenv(killPath); path != "" {
		writeUntilKilled(path, os.Getenv(killFirst))
		return
	}
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	path := filepath.Join(t.TempDir(), "witness.db")
	acknowledged := map[int]bool{}
	last := 0
	for range rounds {
		child := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.v=false")
		child.Env = append(os.Environ(), killPath+"="+path, killFirst+"="+strconv.Itoa(max(0, last-2)))
		output, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(output)
		var kill *time.Timer
		for lines.Scan() {
			// A line that was cut by the kill lacks its end.
			text, whole := strings.CutSuffix(lines.Text(), ".")
			number, err := strconv.Atoi(text)
			if !whole {
				break
			}
			require.NoError(t, err, "the child acknowledges batches")
			acknowledged[number] = true
			last = max(last, number)
			if kill == nil {
				kill = time.AfterFunc(time.Duration(rand.Int64N(int64(60*time.Millisecond))), func() { _ = child.Process.Kill() })
			}
		}
		require.NotNil(t, kill, "the child acknowledges something")
		require.Error(t, child.Wait(), "killed")
	}
	s := open(t, path, nil)
	stored := map[string]int{}
	rows, err := s.read.Query("SELECT symbol, window_start, hits FROM observation")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var symbol, start string
		var hits int
		require.NoError(t, rows.Scan(&symbol, &start, &hits))
		assert.Equal(t, 1, hits)
		stored[start]++
	}
	require.NoError(t, rows.Err())
	for number := range acknowledged {
		assert.Equal(t, killBatch, stored[killStart(number).Format(time.RFC3339)], "of an acknowledged batch")
	}
	for start, n := range stored {
		assert.Equal(t, killBatch, n, "of batch "+start+": whole, once")
	}
	var observations uint64
	for _, n := range stored {
		observations += uint64(n)
	}
	hits, _ := addedUp(t, s)
	assert.Equal(t, observations, hits, "what is counted is what is stored")
	t.Logf("%d batches acknowledged, %d stored", len(acknowledged), len(stored))
}

const killBatch = 25

// killStart is the window of a batch.
func killStart(number int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(number) * time.Minute)
}

// writeUntilKilled writes batches from a number on, each twice, and prints the number of each when it is acknowledged.
func writeUntilKilled(path, first string) {
	s, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		fmt.Println("cannot open:", err)
		os.Exit(3)
	}
	number, _ := strconv.Atoi(first)
	for ; ; number++ {
		all := observations(killBatch, 0)
		start := killStart(number)
		for i := range all {
			o := &all[i]
			o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = start, start.Add(time.Minute), start, start
		}
		for range 2 {
			if _, err := s.WriteObservations(context.Background(), storage.Batch{Observations: all}); err != nil {
				fmt.Println("cannot write:", err)
				os.Exit(4)
			}
			fmt.Printf("%d.\n", number)
		}
	}
}
