package tetragonreceiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"
)

// keyPosition is where the position is kept.
const keyPosition = "tetragon.file.position"

// position is how far a file was read and handed on.
type position struct {
	Identity string `json:"identity"`
	Offset   int64  `json:"offset"`
}

// loadPosition returns false when there is none, or none that can be read.
func loadPosition(ctx context.Context, client storage.Client) (position, bool, error) {
	if client == nil {
		return position{}, false, nil
	}
	raw, err := client.Get(ctx, keyPosition)
	if err != nil {
		return position{}, false, fmt.Errorf("read the position in the file: %w", err)
	}
	var at position
	readable := raw != nil && json.Unmarshal(raw, &at) == nil && at.Identity != "" && at.Offset >= 0
	if !readable {
		at = position{}
	}
	return at, readable, nil
}

// follower reads the export file and the files that it once was, in their order.
type follower struct {
	*tetragonReceiver
	path   string
	replay bool
	poll   time.Duration
	// current is the file being read; nil while there is none.
	current *tail
	// queue are the files to read after current and before path.
	queue []string
	// done are the identities of files that were read to the end, so that none is read twice under two names.
	done []string
	line int // of current, for people
	// saved is the position that was kept last.
	saved position
	// failed says that the last attempt to read failed; told, that its outcome was reported.
	failed, told bool
	heartbeat    *time.Ticker
}

// maxDone is how many files are remembered as read.
const maxDone = 64

// readFile follows the file until ctx ends, or replays it once.
func (r *tetragonReceiver) readFile(ctx context.Context, config *FileConfig, at position, known bool) {
	f := &follower{tetragonReceiver: r, path: config.Path, replay: config.Replay, poll: config.PollInterval}
	f.heartbeat = time.NewTicker(r.config.HeartbeatInterval)
	defer f.heartbeat.Stop()
	for opened := false; ; {
		var err error
		if !opened {
			if err = f.begin(at, known); err == nil {
				opened = true
			} else if errors.Is(err, os.ErrNotExist) && !f.replay {
				// Everything in a file that appears later is new.
				opened = true
			}
		}
		var finished bool
		if opened && err == nil {
			finished, err = f.pass(ctx)
		}
		f.tell(err)
		if finished {
			r.settings.Logger.Info("The replay is at its end")
			break
		}
		if f.wait(ctx) != nil {
			break
		}
	}
	f.end()
}

// begin opens the file that holds the position, or else the export file.
func (f *follower) begin(at position, known bool) error {
	f.saved = at
	if known {
		found, err := f.resume(at)
		if err != nil || found {
			return err
		}
		f.ledger.miss(stageRotated, 0)
		f.settings.Logger.Warn("The file that was being read is gone, and with it what was not read of it")
	}
	if err := f.open(f.path); err != nil {
		return err
	}
	if !f.replay && f.client == nil {
		return f.current.seekEnd()
	}
	return nil
}

// resume looks for the file of a position among the export file and those it once was, and reports whether it is there.
func (f *follower) resume(at position) (bool, error) {
	files, err := rotated(f.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	paths := []string{f.path}
	for i := len(files) - 1; i >= 0 && !f.replay; i-- {
		paths = append(paths, files[i].path)
	}
	for i, path := range paths {
		t, err := openTail(path)
		if err != nil {
			continue
		}
		long := false
		if t.identity == at.Identity {
			long, err = t.seek(at.Offset)
		}
		if !long || err != nil {
			_ = t.close()
			continue
		}
		f.current = t
		for ; i > 1; i-- {
			f.queue = append(f.queue, paths[i-1])
		}
		return true, nil
	}
	return false, nil
}

func (f *follower) open(path string) error {
	t, err := openTail(path)
	if err != nil {
		return err
	}
	f.current, f.line = t, 0
	return nil
}

// pass reads what there is. finished says that a replay is at its end.
func (f *follower) pass(ctx context.Context) (finished bool, err error) {
	if err := f.leaveReplaced(); err != nil {
		return false, err
	}
	for {
		if f.current == nil {
			if err := f.advance(); err != nil {
				return false, err
			}
		}
		if f.ledger.start.IsZero() && !f.replay {
			f.ledger.start = time.Now()
		}
		if err := f.lines(ctx); err != nil {
			return false, err
		}
		more, err := f.turn(ctx)
		if err != nil || !more {
			return f.replay && err == nil, err
		}
	}
}

// leaveReplaced leaves a file that was truncated since the last look at it, to read it from its beginning.
func (f *follower) leaveReplaced() error {
	if f.current == nil || f.replay || f.current.gzipped {
		return nil
	}
	replaced, err := f.current.replaced()
	if err != nil || !replaced {
		return err
	}
	f.settings.Logger.Info("The file was truncated")
	f.ledger.miss(stageRotated, 0)
	err = f.current.close()
	f.current = nil
	return err
}

// lines reads the lines of the current file up to its present end, and hands them on.
func (f *follower) lines(ctx context.Context) error {
	for {
		line, offset, err := f.current.next()
		switch {
		case errors.Is(err, io.EOF):
			return f.handOn(ctx)
		case err != nil && !errors.Is(err, errOversized):
			if f.current.gzipped {
				// A damaged archive has no more to give.
				f.unreadable(stageMalformed)
				f.settings.Logger.Warn("The archive is damaged", zap.Int("line", f.line), zap.Error(pathless(err)))
				return f.handOn(ctx)
			}
			return errors.Join(err, f.handOn(ctx))
		}
		f.take(line, offset, err)
		select {
		case <-f.heartbeat.C:
			f.beat()
		default:
		}
		if f.full() {
			if err := f.handOn(ctx); err != nil {
				return err
			}
		}
	}
}

// take converts one line.
func (f *follower) take(line []byte, offset int64, err error) {
	f.line++
	if err != nil {
		f.converter.tally.skipped["oversized"]++
		f.unreadable(stageOversized)
		f.settings.Logger.Warn("Skipped a line that is too long", zap.Int("line", f.line))
		return
	}
	if len(line) == 0 {
		return
	}
	f.current.identify()
	event, err := parse(line)
	if err != nil {
		f.converter.tally.skipped["malformed"]++
		f.unreadable(stageMalformed)
		// Not the error itself: it quotes the line.
		f.settings.Logger.Warn("Skipped a line that is no event", zap.Int("line", f.line))
		return
	}
	f.add(event, time.Now(), f.current.uid(offset))
}

func (f *follower) unreadable(stage string) {
	f.batch.events++
	f.ledger.miss(stage, 1)
}

// parse reads a line of the export file. Fields that this version does not know are left out.
func parse(line []byte) (*tetragon.GetEventsResponse, error) {
	event := &tetragon.GetEventsResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, event); err != nil {
		return nil, err
	}
	return event, nil
}

// turn looks what became of the file at whose end we are, and reports whether there is more to read because it is not
// the export file any more and the next one is there.
func (f *follower) turn(ctx context.Context) (bool, error) {
	if len(f.queue) > 0 || f.current.path != f.path || f.replay {
		if err := f.finish(ctx); err != nil {
			return false, err
		}
		return !f.replay, nil
	}
	info, err := os.Stat(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // renamed, and the new one is not there yet
	}
	if err != nil {
		return false, err
	}
	mine, err := f.current.file.Stat()
	if err != nil {
		return false, err
	}
	if os.SameFile(info, mine) {
		return false, nil
	}
	// What was written between the end we saw and the renaming.
	if err := f.lines(ctx); err != nil {
		return false, err
	}
	if f.queue, err = f.between(mine.ModTime()); err != nil {
		return false, err
	}
	return true, f.finish(ctx)
}

// between lists the files that were the export file after the current one and are not any more.
func (f *follower) between(after time.Time) ([]string, error) {
	files, err := rotated(f.path)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, file := range files {
		if file.modified.After(after) {
			paths = append(paths, file.path)
		}
	}
	return paths, nil
}

// finish reads what stands behind the last line end of a file that will not grow, and closes it.
func (f *follower) finish(ctx context.Context) error {
	line, offset, err := f.current.rest()
	if len(line) > 0 || err != nil {
		f.take(line, offset, err)
	}
	if err := f.handOn(ctx); err != nil {
		return err
	}
	f.done = append(f.done, f.current.identity)
	if len(f.done) > maxDone {
		f.done = f.done[1:]
	}
	if f.replay {
		return nil
	}
	err = f.current.close()
	f.current = nil
	return err
}

// advance opens the next file.
func (f *follower) advance() error {
	for len(f.queue) > 0 {
		path := f.queue[0]
		f.queue = f.queue[1:]
		if err := f.open(path); err != nil {
			f.ledger.miss(stageRotated, 0)
			f.settings.Logger.Warn("A rotated file cannot be read any more", zap.Error(pathless(err)))
			continue
		}
		if !f.wasRead(f.current.identity) {
			return nil
		}
		if err := f.current.close(); err != nil {
			return err
		}
		f.current = nil
	}
	return f.open(f.path)
}

func (f *follower) wasRead(identity string) bool {
	for _, known := range f.done {
		if identity != "" && known == identity {
			return true
		}
	}
	return false
}

// handOn flushes, and then keeps the position.
func (f *follower) handOn(ctx context.Context) error {
	if err := f.flush(ctx); err != nil {
		return err
	}
	return f.save(ctx)
}

func (f *follower) save(ctx context.Context) error {
	if f.client == nil || f.current == nil || f.current.identity == "" {
		return nil
	}
	at := position{f.current.identity, f.current.offset}
	if at == f.saved {
		return nil
	}
	raw, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := f.client.Set(ctx, keyPosition, raw); err != nil {
		// What is read again has the same log.record.uid.
		f.settings.Logger.Warn("Could not keep the position in the file", zap.Error(err))
		return nil
	}
	f.saved = at
	return nil
}

// beat writes a heartbeat: of the time until now, or in a replay until the newest event.
func (f *follower) beat() {
	now := time.Now()
	if f.replay {
		f.ledger.beatEvents(f.batch, now)
		return
	}
	if f.current == nil || f.failed {
		f.ledger.start = time.Time{} // nothing is watched
		return
	}
	f.ledger.beat(f.batch, now, now)
}

// wait lets poll pass, and heartbeats meanwhile.
func (f *follower) wait(ctx context.Context) error {
	timer := time.NewTimer(f.poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-f.heartbeat.C:
			f.beat()
			if err := f.handOn(ctx); err != nil {
				return err
			}
		}
	}
}

// tell reports how reading goes when that changes.
func (f *follower) tell(err error) {
	if errors.Is(err, context.Canceled) || f.told && f.failed == (err != nil) {
		return
	}
	f.told, f.failed = true, err != nil
	if err != nil {
		err = pathless(err)
		f.settings.Logger.Warn("Cannot read the file", zap.Error(err))
		f.status(componentstatus.NewRecoverableErrorEvent(err))
		return
	}
	f.settings.Logger.Info("Reading the file")
	f.status(componentstatus.NewEvent(componentstatus.StatusOK))
}

// pathless is the error without the path, which can be in a home directory.
func pathless(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return fmt.Errorf("%s: %w", pathError.Op, pathError.Err)
	}
	return err
}

// end writes the last heartbeat and hands on what is in hand.
func (f *follower) end() {
	f.beat()
	if f.drain() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		_ = f.save(ctx) // says so itself
	}
	if f.current != nil {
		_ = f.current.close() // only read from
	}
}
