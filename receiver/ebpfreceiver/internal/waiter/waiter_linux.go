package waiter

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Waiter waits by the poller of the Go runtime. A goroutine that blocks in a system call of its own keeps the runtime
// looking after it for 10 ms each time, which costs more than reading what it waited for.
type Waiter struct {
	poll *os.File // an epoll instance, in that of the runtime
	conn syscall.RawConn

	// deadline is the end of a wait, and of those after it until it has passed: to set one can wake another thread.
	deadline time.Time
	stopped  atomic.Bool
}

// ErrStopped is what Wait returns after Stop.
var ErrStopped = errors.New("waiting was stopped")

// New waits for files, which stay the caller's and must be open as long.
func New(files ...int) (*Waiter, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := add(fd, files); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// The runtime takes only those into its poller that do not block.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(fd))
	}
	w := &Waiter{poll: os.NewFile(uintptr(fd), "epoll")}
	if w.conn, err = w.poll.SyscallConn(); err != nil {
		return nil, errors.Join(err, w.poll.Close())
	}
	return w, nil
}

// Add waits for more files.
func (w *Waiter) Add(files ...int) (err error) {
	return errors.Join(w.conn.Control(func(fd uintptr) { err = add(int(fd), files) }), err)
}

func add(to int, files []int) error {
	for _, file := range files {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(file)} //nolint:gosec // a descriptor
		if err := unix.EpollCtl(to, unix.EPOLL_CTL_ADD, file, &event); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	return nil
}

// Wait returns when there is something to read in one of the files, and each time that d has passed, d being the same
// always. One goroutine waits at a time.
func (w *Waiter) Wait(d time.Duration) error {
	if now := time.Now(); !now.Before(w.deadline) {
		w.deadline = now.Add(d)
		if err := w.poll.SetReadDeadline(w.deadline); err != nil {
			return err
		}
	}
	if w.stopped.Load() { // before the deadline was set
		return ErrStopped
	}
	var events [1]unix.EpollEvent
	err := w.conn.Read(func(fd uintptr) bool {
		n, err := unix.EpollWait(int(fd), events[:], 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	switch {
	case w.stopped.Load():
		return ErrStopped
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	default:
		return err
	}
}

// Stop ends Wait.
func (w *Waiter) Stop() error {
	w.stopped.Store(true)
	return w.poll.SetReadDeadline(time.Unix(1, 0))
}

// Close gives everything back, when nobody waits any more.
func (w *Waiter) Close() error { return w.poll.Close() }
