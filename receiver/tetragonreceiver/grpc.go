package tetragonreceiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	// callTimeout bounds the calls that ask Tetragon how it is.
	callTimeout = 5 * time.Second
	// stallTime is how long the pipeline may hold the stream up before events count as possibly lost: Tetragon keeps a
	// queue for each client and drops what does not fit, without a word.
	stallTime = 5 * time.Second
	// queuedBatches is how many batches of events wait in the receiver while the pipeline is busy.
	queuedBatches = 8
	// maxPolicies is how many policies are followed.
	maxPolicies = 1024
	// maxReason bounds witness.status.reason, in bytes.
	maxReason = 256
)

// received is what came out of a stream.
type received struct {
	event *tetragon.GetEventsResponse
	at    time.Time
	// stalled, if set, is since when the pipeline held the stream up before this.
	stalled time.Time
	err     error
}

// sensors follows the streams of one agent.
type sensors struct {
	*tetragonReceiver
	client tetragon.FineGuidanceSensorsClient
	// lost is since when nobody listens; zero before the first stream and during one.
	lost    time.Time
	streams int
	states  map[string]string // of policies, and why, as last told
}

// readStreams listens until ctx ends. It only ever calls GetEvents, GetVersion and ListTracingPolicies.
func (r *tetragonReceiver) readStreams(ctx context.Context, client tetragon.FineGuidanceSensorsClient) {
	s := &sensors{tetragonReceiver: r, client: client, states: map[string]string{}}
	wait := delivery.NewBackOff(r.config.RetryOnFailure)
	for {
		began := s.streams
		err := s.stream(ctx)
		if ctx.Err() != nil {
			_ = r.drain() // says so itself
			return
		}
		if s.streams > began {
			wait = delivery.NewBackOff(r.config.RetryOnFailure)
		}
		err = delivery.Presentable(err)
		pause, again := wait.Next()
		if !again {
			r.settings.Logger.Error("Gave up on Tetragon", zap.Error(err))
			r.status(componentstatus.NewPermanentErrorEvent(err))
			<-ctx.Done()
			s.tellGap(time.Now())
			_ = r.drain()
			return
		}
		r.settings.Logger.Warn("Not connected to Tetragon", zap.Error(err))
		r.status(componentstatus.NewRecoverableErrorEvent(err))
		if s.pause(ctx, pause) != nil {
			s.tellGap(time.Now())
			_ = r.drain()
			return
		}
	}
}

// pause waits, and tells the gap meanwhile.
func (s *sensors) pause(ctx context.Context, d time.Duration) error {
	deadline := time.Now().Add(d)
	for {
		left := time.Until(deadline)
		if left <= s.config.HeartbeatInterval {
			return delivery.Sleep(ctx, left)
		}
		if err := delivery.Sleep(ctx, s.config.HeartbeatInterval); err != nil {
			return err
		}
		s.tellGap(time.Now())
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
}

// tellGap writes a loss of unknown size for the time nobody listened.
func (s *sensors) tellGap(until time.Time) {
	if !s.lost.IsZero() && until.After(s.lost) {
		s.ledger.lose(s.batch, stageDisconnected, 0, s.lost, until, until)
		s.lost = until
	}
}

// stream listens to one stream until it ends.
func (s *sensors) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.GetEvents(ctx, &tetragon.GetEventsRequest{})
	if err != nil {
		return fmt.Errorf("open the stream: %w", err)
	}
	// The stream says nothing before its first event. The answer to a call made behind it on the same connection does.
	if err := s.alive(ctx); err != nil {
		return err
	}
	alive := time.Now()
	s.streams++
	if s.streams > 1 {
		s.telemetry.TetragonReceiverReconnects.Add(ctx, 1)
	}
	s.tellGap(alive)
	s.lost = time.Time{}
	s.ledger.reconnect(s.batch, alive)
	s.settings.Logger.Info("Connected to Tetragon")
	s.status(componentstatus.NewEvent(componentstatus.StatusOK))
	clear(s.states)
	s.tellPolicies(ctx, alive)

	events := make(chan received, queuedBatches*s.config.Batch.MaxEvents)
	s.done.Go(func() { receive(ctx, stream, events) })
	flush := time.NewTicker(s.config.Batch.FlushInterval)
	defer flush.Stop()
	heartbeat := time.NewTicker(s.config.HeartbeatInterval)
	defer heartbeat.Stop()
	take := func(got received) {
		if got.at.After(alive) {
			alive = got.at
		}
		if now := time.Now(); !got.stalled.IsZero() {
			s.ledger.lose(s.batch, stageStalled, 0, got.stalled, now, now)
		}
		s.add(got.event, got.at, "")
	}
	end := func(err error) error {
		for waiting := true; waiting; {
			select {
			case got := <-events:
				if waiting = got.err == nil; waiting {
					take(got)
				}
			default:
				waiting = false
			}
		}
		// Only until the last sign of life is it known that somebody listened.
		s.ledger.beat(s.batch, alive, time.Now())
		s.ledger.start = time.Time{}
		s.lost = alive
		return err
	}
	for {
		select {
		case got := <-events:
			if got.err != nil {
				return end(got.err)
			}
			take(got)
			if s.full() && s.flush(ctx) != nil {
				return end(ctx.Err())
			}
		case <-flush.C:
			if s.flush(ctx) != nil {
				return end(ctx.Err())
			}
		case <-heartbeat.C:
			if err := s.alive(ctx); err != nil {
				return end(err)
			}
			alive = time.Now()
			s.tellPolicies(ctx, alive)
			s.ledger.beat(s.batch, alive, alive)
			if s.flush(ctx) != nil {
				return end(ctx.Err())
			}
		case <-ctx.Done():
			return end(ctx.Err())
		}
	}
}

// receive passes on what the stream gives until it ends.
func receive(ctx context.Context, stream interface {
	Recv() (*tetragon.GetEventsResponse, error)
}, events chan<- received,
) {
	for {
		event, err := stream.Recv()
		got := received{event: event, at: time.Now()}
		if err != nil {
			got.err = fmt.Errorf("the stream ended: %w", err)
		}
		select {
		case events <- got:
		default:
			// The queue is full.
			if !hold(ctx, events, got) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits until the queue takes what was received, and marks it when that took so long that Tetragon's own queue can
// have overflowed.
func hold(ctx context.Context, events chan<- received, got received) bool {
	since := time.Now()
	timer := time.NewTimer(stallTime)
	defer timer.Stop()
	select {
	case events <- got:
		return true
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	got.stalled = since
	select {
	case events <- got:
		return true
	case <-ctx.Done():
		return false
	}
}

// alive asks Tetragon whether it is there. Its health call always says that it is.
func (s *sensors) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.client.GetVersion(ctx, &tetragon.GetVersionRequest{})
	if err != nil && status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("ask for the version: %w", err)
	}
	return nil
}

// policyStates are our words for the states of a policy, and why where Tetragon does not say.
var policyStates = map[tetragon.TracingPolicyState]struct{ state, reason string }{
	tetragon.TracingPolicyState_TP_STATE_ENABLED:    {witness.StateAttached, ""},
	tetragon.TracingPolicyState_TP_STATE_DISABLED:   {witness.StateSuspended, "disabled"},
	tetragon.TracingPolicyState_TP_STATE_LOAD_ERROR: {witness.StateRefused, "load error"},
	tetragon.TracingPolicyState_TP_STATE_ERROR:      {witness.StateRefused, "error"},
	tetragon.TracingPolicyState_TP_STATE_LOADING:    {witness.StateSuspended, "loading"},
	tetragon.TracingPolicyState_TP_STATE_UNLOADING:  {witness.StateDetached, "unloading"},
}

// tellPolicies writes the state of policies that changed since they were last told.
func (s *sensors) tellPolicies(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := s.client.ListTracingPolicies(ctx, &tetragon.ListTracingPoliciesRequest{})
	if err != nil {
		if status.Code(err) != codes.Unimplemented && !errors.Is(err, context.Canceled) {
			s.settings.Logger.Debug("Could not list the policies", zap.Error(delivery.Presentable(err)))
		}
		return
	}
	listed := make(map[string]struct{}, len(list.GetPolicies()))
	for _, policy := range list.GetPolicies()[:min(len(list.GetPolicies()), maxPolicies)] {
		name := policy.GetName()
		if namespace := policy.GetNamespace(); namespace != "" {
			name = namespace + "/" + name
		}
		told, ok := policyStates[policy.GetState()]
		if !ok {
			told.state, told.reason = witness.StateUnavailable, "unknown state"
		}
		if name == "" {
			continue
		}
		listed[name] = struct{}{}
		reason := cmp.Or(policy.GetError(), told.reason)
		if s.states[name] == told.state+" "+reason {
			continue
		}
		s.states[name] = told.state + " " + reason
		s.tellPolicy(name, told.state, reason, now)
	}
	for _, name := range slices.Sorted(maps.Keys(s.states)) {
		if _, ok := listed[name]; !ok {
			delete(s.states, name)
			s.tellPolicy(name, witness.StateDetached, "removed", now)
		}
	}
}

func (s *sensors) tellPolicy(name, state, reason string, now time.Time) {
	reason, _, _ = strings.Cut(reason, "\n")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	s.ledger.append(s.batch, &witness.Coverage{
		Start: now, End: now, StatusTarget: "policy/" + name, StatusState: state, StatusReason: reason,
	}, now)
}
