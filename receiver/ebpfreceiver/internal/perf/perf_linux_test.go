package perf

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func open(t testing.TB, o Options) *Reader {
	t.Helper()
	r, err := Open(o)
	if err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatalf("needs CAP_PERFMON: %v", err)
		}
		t.Skipf("needs CAP_PERFMON: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// collect reads what was recorded until do has run.
func collect(t testing.TB, r *Reader, do func()) (all []Record) {
	t.Helper()
	do()
	r.Read(func(record Record) { all = append(all, record) }, func() { t.Error("a bad record") })
	return all
}

func TestMappings(t *testing.T) {
	r := open(t, Options{})
	var pid int
	all := collect(t, r, func() {
		command := exec.Command("/bin/true")
		require.NoError(t, command.Run())
		pid = command.Process.Pid
	})
	found := map[string]*Mapping{}
	began := time.Duration(0)
	for _, record := range all {
		if int(record.Exec) == pid {
			began = record.Time
		}
		if m := record.Mapping; m != nil && int(m.PID) == pid {
			found[filepath.Base(m.Path)] = m
		}
	}
	require.Contains(t, found, "true")
	require.Contains(t, found, "libc.so.6")
	assert.NotZero(t, began, "it begins to execute")
	for _, m := range found {
		assert.Greater(t, m.Time, began)
		var stat unix.Stat_t
		require.NoError(t, unix.Stat(m.Path, &stat))
		assert.Equal(t, stat.Ino, m.Inode)
		assert.Equal(t, unix.Major(stat.Dev)<<20|unix.Minor(stat.Dev), m.Dev)
		assert.Zero(t, m.Start%4096)
		assert.Zero(t, m.Offset%4096)
		var now unix.Timespec
		require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
		assert.InDelta(t, time.Duration(now.Nano()).Seconds(), m.Time.Seconds(), 60)
	}
}

func TestSamples(t *testing.T) {
	r := open(t, Options{Frequency: 199})
	pid := uint32(os.Getpid())
	all := collect(t, r, func() {
		for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
			_ = filepath.Clean("/a/../b")
		}
	})
	samples := 0
	for _, record := range all {
		if s := record.Sample; s != nil && s.PID == pid {
			samples++
			assert.NotEmpty(t, s.Addresses)
			for _, address := range s.Addresses {
				assert.Less(t, address, uint64(1)<<48, "user code only")
			}
		}
	}
	assert.Greater(t, samples, 3)
}

func TestAFullRingTellsWhatWasLost(t *testing.T) {
	r := open(t, Options{Pages: 1})
	for range 200 {
		require.NoError(t, exec.Command("/bin/true").Run())
	}
	collect(t, r, func() {})      // makes room
	all := collect(t, r, func() { // each processor tells with the next record that it has
		for range 20 {
			require.NoError(t, exec.Command("/bin/true").Run())
		}
	})
	var lost uint64
	for _, record := range all {
		lost += record.Lost
	}
	assert.Positive(t, lost)
}

func TestParseList(t *testing.T) {
	for text, want := range map[string][]int{"0": {0}, "0-1": {0, 1}, "0-2,5,7-8": {0, 1, 2, 5, 7, 8}} {
		got, err := parseList(text)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"", "a", "3-1", "-1", "0-99999999", "0,,1"} {
		_, err := parseList(text)
		require.Error(t, err, text)
	}
}

func FuzzParse(f *testing.F) {
	mmap := make([]byte, 64+8+16)
	copy(mmap[64:], "/bin/x")
	f.Add(uint32(recordMmap2), uint16(modeUser), mmap)
	sample := binary.LittleEndian.AppendUint64(make([]byte, 16), 2)
	f.Add(uint32(recordSample), uint16(modeUser), append(sample, make([]byte, 16)...))
	f.Add(uint32(recordLost), uint16(0), make([]byte, 16))
	f.Fuzz(func(t *testing.T, kind uint32, misc uint16, body []byte) {
		r, ok, err := parse(kind, misc, body)
		if err != nil && ok {
			t.Fatal("both")
		}
		if r.Sample != nil && len(r.Sample.Addresses)*8 > len(body) {
			t.Fatal("more than the record has")
		}
	})
}
