package tetragonreceiver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// captures is the folder of real captures.
var captures = filepath.Join("..", "..", "testdata", "tetragon")

// receivedAt is when the events of a test come in.
var receivedAt = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func unzip(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join(captures, name))
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	reader, err := gzip.NewReader(file)
	require.NoError(t, err)
	content, err := io.ReadAll(reader)
	require.NoError(t, err)
	return content
}

func fileLines(t testing.TB, name string) [][]byte {
	t.Helper()
	return bytes.Split(bytes.TrimSuffix(unzip(t, name+".export.jsonl.gz"), []byte("\n")), []byte("\n"))
}

func fileEvents(t testing.TB, name string) []*tetragon.GetEventsResponse {
	t.Helper()
	var events []*tetragon.GetEventsResponse
	for _, line := range fileLines(t, name) {
		event, err := parse(line)
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}

func streamMessages(t testing.TB, name string) [][]byte {
	t.Helper()
	reader := bufio.NewReader(bytes.NewReader(unzip(t, name+".pb.gz")))
	var messages [][]byte
	for {
		size, err := binary.ReadUvarint(reader)
		if errors.Is(err, io.EOF) {
			return messages
		}
		require.NoError(t, err)
		message := make([]byte, size)
		_, err = io.ReadFull(reader, message)
		require.NoError(t, err)
		messages = append(messages, message)
	}
}

func streamEvents(t testing.TB, name string) []*tetragon.GetEventsResponse {
	t.Helper()
	var events []*tetragon.GetEventsResponse
	for _, message := range streamMessages(t, name) {
		event := &tetragon.GetEventsResponse{}
		require.NoError(t, proto.Unmarshal(message, event))
		events = append(events, event)
	}
	return events
}

const testSource = "0123456789abcdef/1/tetragon"

// testConverter is a converter as the receiver makes it.
func testConverter(o options) *converter {
	var c *converter
	l := newLedger(testSource, 15*time.Second, "", func() *tally { return &c.tally })
	c = newConverter(o, l)
	return c
}

// convertAll converts events into one batch.
func convertAll(o options, events ...*tetragon.GetEventsResponse) (*converter, *batch) {
	c, b := testConverter(o), newBatch(testSource)
	for _, event := range events {
		c.convert(b, event, receivedAt, "")
	}
	return c, b
}
