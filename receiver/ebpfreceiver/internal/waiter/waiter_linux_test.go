package waiter

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func open(t *testing.T) (*Waiter, *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	idle, other, err := os.Pipe()
	require.NoError(t, err)
	w, err := New(int(idle.Fd()))
	require.NoError(t, err)
	require.NoError(t, w.Add(int(read.Fd())))
	t.Cleanup(func() {
		require.NoError(t, w.Close())
		for _, f := range []*os.File{read, write, idle, other} {
			require.NoError(t, f.Close())
		}
	})
	return w, write
}

func TestWaitEnds(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Waiter, *os.File) time.Duration{
		"with what is there already": func(t *testing.T, _ *Waiter, f *os.File) time.Duration {
			_, err := f.WriteString("x")
			require.NoError(t, err)
			return time.Hour
		},
		"with what comes": func(_ *testing.T, _ *Waiter, f *os.File) time.Duration {
			time.AfterFunc(10*time.Millisecond, func() { _, _ = f.WriteString("x") })
			return time.Hour
		},
		"with the time": func(*testing.T, *Waiter, *os.File) time.Duration { return time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			w, f := open(t)
			require.NoError(t, w.Wait(end(t, w, f)))
		})
	}
}

func TestStop(t *testing.T) {
	w, _ := open(t)
	require.NoError(t, w.Wait(time.Millisecond), "not stopped")
	ended := make(chan error)
	go func() { ended <- w.Wait(time.Hour) }()
	time.Sleep(time.Millisecond) // before or while it waits: both end
	require.NoError(t, w.Stop())
	require.ErrorIs(t, <-ended, ErrStopped)
	require.ErrorIs(t, w.Wait(time.Hour), ErrStopped)
}

func TestNotToBeWaitedFor(t *testing.T) {
	f, err := os.Open("/dev/null")
	require.NoError(t, err)
	defer f.Close()
	_, err = New(int(f.Fd()))
	require.ErrorIs(t, err, unix.EPERM)
}
