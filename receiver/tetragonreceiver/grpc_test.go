package tetragonreceiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/otelcol-witness/otelcol-witness/internal/delivery"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/receiver/tetragonreceiver/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// agent serves recorded messages as Tetragon does: to each stream all of them, then nothing until it ends.
type agent struct {
	tetragon.UnimplementedFineGuidanceSensorsServer
	messages []*tetragon.GetEventsResponse
	// hangUp ends the first streams with an error after the messages.
	hangUp  int32
	streams atomic.Int32
	down    atomic.Bool // GetVersion fails
	mu      sync.Mutex
	// policies that are listed; nil is an agent too old to list any.
	policies []*tetragon.TracingPolicyStatus
	calls    map[string]int
}

func (a *agent) GetEvents(_ *tetragon.GetEventsRequest, stream grpc.ServerStreamingServer[tetragon.GetEventsResponse]) error {
	n := a.streams.Add(1)
	for _, message := range a.messages {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	if n <= a.hangUp {
		return status.Error(codes.Unavailable, "the agent restarts")
	}
	<-stream.Context().Done()
	return nil
}

func (a *agent) GetVersion(context.Context, *tetragon.GetVersionRequest) (*tetragon.GetVersionResponse, error) {
	if a.down.Load() {
		return nil, status.Error(codes.Internal, "down")
	}
	return &tetragon.GetVersionResponse{Version: "v1.7.1"}, nil
}

func (a *agent) ListTracingPolicies(context.Context, *tetragon.ListTracingPoliciesRequest) (*tetragon.ListTracingPoliciesResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.policies == nil {
		return nil, status.Error(codes.Unimplemented, "no")
	}
	return &tetragon.ListTracingPoliciesResponse{Policies: a.policies}, nil
}

func (a *agent) set(policies ...*tetragon.TracingPolicyStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.policies = policies
}

// serve serves the agent on a unix socket, as Tetragon's packages do. The returned function stops it.
func (a *agent) serve(t *testing.T, socket string) func() {
	t.Helper()
	a.calls = map[string]int{}
	count := func(method string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls[method]++
	}
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			count(info.FullMethod)
			return handler(ctx, request)
		}),
		grpc.StreamInterceptor(func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			count(info.FullMethod)
			return handler(service, stream)
		}),
	)
	tetragon.RegisterFineGuidanceSensorsServer(server, a)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	stop := sync.OnceFunc(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

func grpcConfig(socket string) *Config {
	config := createDefaultConfig().(*Config)
	config.GRPC.Endpoint = "unix://" + socket
	config.RetryOnFailure.InitialInterval = 10 * time.Millisecond
	config.RetryOnFailure.MaxInterval = 20 * time.Millisecond
	config.Batch.FlushInterval = often
	return config
}

func socket(t *testing.T) string { return filepath.Join(t.TempDir(), "t.sock") }

func TestStreamGivesTheWitnessesOfTheFile(t *testing.T) {
	for _, name := range []string{"linger", "throttled"} {
		t.Run(name, func(t *testing.T) {
			path := socket(t)
			messages := streamEvents(t, name)
			served := &agent{messages: messages}
			served.serve(t, path)
			next := &sink{}
			config := grpcConfig(path)
			config.Batch.MaxEvents = 64
			h, _, stop := started(t, config, next, nil)
			_, want := convertAll(options{}, messages...)
			require.Eventually(t, func() bool {
				return countNames(next.all())[semconv.EventExit] == countNames(want.Logs)[semconv.EventExit] &&
					len(witnesses(t, next.all())) == len(witnesses(t, want.Logs))
			}, soon, often)
			stop()
			assert.Equal(t, witnesses(t, want.Logs), witnesses(t, next.all()))
			assert.Empty(t, semconv.Validate(next.all()))
			assert.Equal(t, []componentstatus.Status{componentstatus.StatusOK}, h.statuses())
			assert.Equal(t, map[string]int{
				tetragon.FineGuidanceSensors_GetEvents_FullMethodName:           1,
				tetragon.FineGuidanceSensors_GetVersion_FullMethodName:          1,
				tetragon.FineGuidanceSensors_ListTracingPolicies_FullMethodName: 1,
			}, served.calls, "nothing is called that changes the agent")
			beats := 0
			for _, c := range spoken(t, next.all()) {
				if c.Signal != "" {
					beats++
					assert.Equal(t, "lab-guest", c.Instance.Host)
				}
			}
			assert.Equal(t, 1, beats, "one at shutdown")
		})
	}
}

// gaps and beats of what was said, which must follow each other without a hole from the first on.
func timeline(t *testing.T, next *sink) (beats, gaps []witness.Coverage) {
	t.Helper()
	end := time.Time{}
	for _, c := range spoken(t, next.all()) {
		switch {
		case c.LossStage == stageDisconnected:
			assert.Zero(t, c.Lost, "of unknown size")
			gaps = append(gaps, c)
		case c.Signal != "":
			beats = append(beats, c)
		default:
			continue
		}
		if !end.IsZero() {
			assert.Equal(t, end, c.Start)
		}
		end = c.End
	}
	return beats, gaps
}

func TestReconnect(t *testing.T) {
	path := socket(t)
	served := &agent{messages: []*tetragon.GetEventsResponse{exec(process("/a"))}, hangUp: 2}
	served.serve(t, path)
	next := &sink{}
	h, telemetry, stop := started(t, grpcConfig(path), next, nil)
	eventually(t, next, "/a", "/a", "/a")
	stop()
	beats, gaps := timeline(t, next)
	assert.Len(t, gaps, 2)
	assert.Len(t, beats, 3)
	metadatatest.AssertEqualTetragonReceiverReconnects(t, telemetry, []metricdata.DataPoint[int64]{{Value: 2}}, metricdatatest.IgnoreTimestamp())
	ok, bad := componentstatus.StatusOK, componentstatus.StatusRecoverableError
	assert.Equal(t, []componentstatus.Status{ok, bad, ok, bad, ok}, h.statuses())
}

func TestTheAgentComesLateAndGoes(t *testing.T) {
	path := socket(t)
	next := &sink{}
	config := grpcConfig(path)
	config.HeartbeatInterval = 10 * time.Millisecond
	h, _, stop := started(t, config, next, nil)
	require.Eventually(t, func() bool { return len(h.statuses()) > 0 }, soon, often)
	assert.Equal(t, componentstatus.StatusRecoverableError, h.statuses()[0])
	assert.Empty(t, countNames(next.all()), "nothing is vouched for, and nothing lost, before the first stream")

	served := &agent{messages: []*tetragon.GetEventsResponse{exec(process("/a"))}}
	down := served.serve(t, path)
	eventually(t, next, "/a")
	down()
	require.Eventually(t, func() bool {
		statuses := h.statuses()
		return statuses[len(statuses)-1] == componentstatus.StatusRecoverableError
	}, soon, often)
	again := &agent{messages: []*tetragon.GetEventsResponse{exec(process("/b"))}}
	again.serve(t, path)
	eventually(t, next, "/a", "/b")
	stop()
	_, gaps := timeline(t, next)
	assert.NotEmpty(t, gaps)
}

func TestAnAgentThatDoesNotAnswerIsLeft(t *testing.T) {
	path := socket(t)
	served := &agent{messages: []*tetragon.GetEventsResponse{exec(process("/a"))}}
	served.serve(t, path)
	next := &sink{}
	config := grpcConfig(path)
	config.HeartbeatInterval = 20 * time.Millisecond
	h, _, stop := started(t, config, next, nil)
	eventually(t, next, "/a")
	served.down.Store(true)
	require.Eventually(t, func() bool { return len(h.statuses()) > 1 }, soon, often)
	served.down.Store(false)
	eventually(t, next, "/a", "/a")
	stop()
	beats, gaps := timeline(t, next)
	assert.NotEmpty(t, beats)
	assert.NotEmpty(t, gaps)
}

func TestWithoutRetryTheReceiverGivesUp(t *testing.T) {
	config := grpcConfig(socket(t))
	config.RetryOnFailure.Enabled = false
	h, _, stop := started(t, config, &sink{}, nil)
	require.Eventually(t, func() bool { return len(h.statuses()) > 0 }, soon, often)
	stop()
	assert.Equal(t, []componentstatus.Status{componentstatus.StatusPermanentError}, h.statuses())
}

func TestPolicies(t *testing.T) {
	path := socket(t)
	served := &agent{}
	policy := func(name string, state tetragon.TracingPolicyState, reason string) *tetragon.TracingPolicyStatus {
		return &tetragon.TracingPolicyStatus{Name: name, State: state, Error: reason}
	}
	served.set(
		policy("good", tetragon.TracingPolicyState_TP_STATE_ENABLED, ""),
		policy("bad", tetragon.TracingPolicyState_TP_STATE_LOAD_ERROR, "no such symbol\nstack trace"),
		policy("", tetragon.TracingPolicyState_TP_STATE_ENABLED, ""),
		&tetragon.TracingPolicyStatus{Name: "scoped", Namespace: "shop", State: tetragon.TracingPolicyState_TP_STATE_DISABLED},
	)
	served.serve(t, path)
	next := &sink{}
	config := grpcConfig(path)
	config.HeartbeatInterval = 10 * time.Millisecond
	_, _, stop := started(t, config, next, nil)
	told := func() (said []string) {
		for _, c := range spoken(t, next.all()) {
			if c.StatusTarget != "" {
				said = append(said, c.StatusTarget+" "+c.StatusState+" "+c.StatusReason)
			}
		}
		return said
	}
	require.Eventually(t, func() bool { return countNames(next.all())[semconv.EventCoverage] > 2 }, soon, often)
	want := []string{"policy/good attached ", "policy/bad refused no such symbol", "policy/shop/scoped suspended disabled"}
	assert.Equal(t, want, told(), "told once, not at each heartbeat")
	served.set(policy("bad", tetragon.TracingPolicyState_TP_STATE_ENABLED, ""), &tetragon.TracingPolicyStatus{Name: "scoped", Namespace: "shop", State: tetragon.TracingPolicyState_TP_STATE_DISABLED})
	require.Eventually(t, func() bool { return len(told()) == 5 }, soon, often)
	stop()
	assert.Equal(t, append(want, "policy/bad attached ", "policy/good detached removed"), told())
}

func TestABusyPipelineLosesNoMessage(t *testing.T) {
	path := socket(t)
	messages := streamEvents(t, "linger")
	(&agent{messages: messages}).serve(t, path)
	next := &sink{refuse: func(attempt int) error {
		if attempt < 5 {
			return errBusy
		}
		return nil
	}}
	config := grpcConfig(path)
	config.Batch.MaxEvents = 8 // the queue holds 64 of the 712
	_, _, stop := started(t, config, next, nil)
	_, want := convertAll(options{}, messages...)
	require.Eventually(t, func() bool {
		return countNames(next.all())[semconv.EventLoad] == countNames(want.Logs)[semconv.EventLoad] &&
			countNames(next.all())[semconv.EventExit] == countNames(want.Logs)[semconv.EventExit]
	}, soon, often)
	stop()
	assert.Equal(t, witnesses(t, want.Logs), witnesses(t, next.all()))
}

// stuck is a stream with one event after another.
type stuck struct{ left int }

func (s *stuck) Recv() (*tetragon.GetEventsResponse, error) {
	if s.left--; s.left < 0 {
		return nil, errors.New("end")
	}
	return &tetragon.GetEventsResponse{}, nil
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		receive(ctx, &stuck{left: 1 << 30}, make(chan received))
		close(done)
	}()
	cancel()
	<-done
	events := make(chan received, 3)
	receive(t.Context(), &stuck{left: 2}, events)
	assert.NoError(t, (<-events).err)
	assert.NoError(t, (<-events).err)
	assert.ErrorContains(t, (<-events).err, "end")
}

func TestALongStallIsMarked(t *testing.T) {
	for _, test := range []struct {
		name    string
		busy    time.Duration
		stalled bool
	}{{"short", stallTime - time.Second, false}, {"long", stallTime + time.Second, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := make(chan received)
				go receive(t.Context(), &stuck{left: 1}, events)
				began := time.Now()
				time.Sleep(test.busy)
				got := <-events
				assert.Equal(t, test.stalled, !got.stalled.IsZero())
				if test.stalled {
					assert.Equal(t, began, got.stalled)
				}
				assert.Error(t, (<-events).err)
			})
		})
	}
}

func TestStartFindsItsStorage(t *testing.T) {
	config := grpcConfig(socket(t))
	config.Storage = &storageID
	r, err := newReceiver(settingsForTest(), config, &sink{})
	require.NoError(t, err)
	assert.ErrorContains(t, r.Start(t.Context(), &host{}), "storage: the extension is not in service.extensions")
	require.NoError(t, r.Shutdown(t.Context()))
	require.NoError(t, r.Shutdown(t.Context()))
}

func FuzzMessage(f *testing.F) {
	for i, message := range streamMessages(f, "linger") {
		if i%20 == 0 {
			f.Add(message)
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, message []byte) {
		event := &tetragon.GetEventsResponse{}
		if proto.Unmarshal(message, event) != nil {
			return
		}
		_, b := convertAll(options{raw: true, arguments: true, containment: time.Minute}, event, event)
		require.Empty(t, semconv.Validate(b.Logs))
		_ = witnesses(t, b.Logs)
	})
}

// BenchmarkConvert compares converting with the decoding that precedes it.
func BenchmarkConvert(b *testing.B) {
	lines := fileLines(b, "linger")
	events := fileEvents(b, "linger")
	perEvent := func(b *testing.B, f func(i int)) {
		b.Helper()
		b.ReportAllocs()
		for i := range b.N {
			f(i)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	}
	b.Run("decode only", func(b *testing.B) {
		perEvent(b, func(i int) {
			if _, err := parse(lines[i%len(lines)]); err != nil {
				b.Fatal(err)
			}
		})
	})
	for name, o := range map[string]options{"convert only": {}, "convert only, arguments and raw": {raw: true, arguments: true}, "convert only, containment": {containment: time.Hour}} {
		b.Run(name, func(b *testing.B) {
			c, to := testConverter(o), newBatch(testSource)
			perEvent(b, func(i int) {
				if to.events++; to.events == 512 {
					to = newBatch(testSource)
				}
				c.convert(to, events[i%len(events)], receivedAt, "")
			})
		})
	}
}

// TestLogsOfTheReceiverHaveNothingPrivate has a socket in a home directory, and an agent that answers with a secret.
func TestLogsOfTheReceiverHaveNothingPrivate(t *testing.T) {
	for name, err := range map[string]error{
		"dial":  fmt.Errorf("open the stream: %w", status.Error(codes.Unavailable, `dial unix /home/alice/t.sock: connect: no such file or directory`)),
		"agent": fmt.Errorf("read: %w", status.Error(codes.Internal, "password=alice at 0x7ffd1c2b3a40")),
	} {
		t.Run(name, func(t *testing.T) {
			text := delivery.Presentable(err).Error()
			assert.NotContains(t, text, "alice")
			assert.NotContains(t, text, "7ffd1c2b3a40")
		})
	}
	core, logged := observer.New(zap.DebugLevel)
	settings := settingsForTest()
	settings.Logger = zap.New(core)
	config := grpcConfig("/home/alicecanary/t.sock")
	h := &host{Host: componenttest.NewNopHost()}
	r, err := newReceiver(settings, config, &sink{})
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), h))
	require.Eventually(t, func() bool { return logged.FilterMessage("Not connected to Tetragon").Len() > 0 }, soon, often)
	require.NoError(t, r.Shutdown(t.Context()))
	for _, entry := range logged.All() {
		assert.NotContains(t, fmt.Sprint(entry.Message, entry.ContextMap()), "alicecanary")
	}
}
