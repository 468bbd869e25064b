// Demo shows the whole of it on this host, as root: a server is built with a version of a module that an advisory is about,
// the collector watches the functions that the advisory names, the server is asked a few times, and the evidence is printed.
// Everything is in a temporary directory and on loopback, and gone at the end.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/otelcol-witness/otelcol-witness/client"
)

const (
	finding  = "GO-2023-1988"
	requests = 5
	patience = 2 * time.Minute
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "witness-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	path := filepath.Join(dir, "server")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, ".") //nolint:gosec // a directory made above
	build.Dir, build.Stderr = "demo/server", os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the server: %w", err)
	}
	server, address, err := serve(ctx, path)
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer server.end()
	collector, api, err := collect(ctx, dir)
	if err != nil {
		return fmt.Errorf("start the collector: %w", err)
	}
	defer collector.end()

	c, err := client.New("http://" + api)
	if err != nil {
		return err
	}
	watched := func() (bool, error) {
		coverage, err := c.Coverage(ctx, finding, time.Time{}, time.Time{})
		if err != nil {
			return false, nil //nolint:nilerr // it is starting
		}
		for _, hook := range coverage.Hooks {
			if hook.OfFinding && hook.State == "attached" {
				fmt.Printf("%s is watched: %s.%s, in %s\n", finding, hook.Symbol.Package, hook.Symbol.Member, filepath.Base(hook.File.Path))
				return true, nil
			}
		}
		return false, nil
	}
	if err := await(ctx, collector.ended, watched); err != nil {
		return fmt.Errorf("wait for the probes: %w", err)
	}
	for range requests {
		if err := ask(ctx, "http://"+address); err != nil {
			return fmt.Errorf("ask the server: %w", err)
		}
	}
	fmt.Printf("the server was asked %d times\n\n", requests)
	seen := func() (bool, error) {
		traces, err := c.Traces(ctx, finding, client.TracesQuery{})
		if err != nil {
			return false, err
		}
		if traces.Summary.ByKind.Call < requests {
			return false, nil
		}
		score, err := c.Score(ctx, finding)
		if err != nil {
			return false, err
		}
		show(traces, score)
		return true, nil
	}
	if err := await(ctx, collector.ended, seen); err != nil {
		return fmt.Errorf("wait for the evidence: %w", err)
	}
	return nil
}

// program is one that was started here.
type program struct {
	*exec.Cmd
	ended chan struct{}
}

func start(c *exec.Cmd) (*program, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &program{c, make(chan struct{})}
	go func() {
		_ = c.Wait() // how it ends is no matter
		close(p.ended)
	}()
	return p, nil
}

func (p *program) end() {
	_ = p.Process.Signal(os.Interrupt) // it may have ended
	<-p.ended
}

// serve starts the server, which prints its address.
func serve(ctx context.Context, path string) (*program, string, error) {
	printed, write, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer printed.Close()
	server := exec.CommandContext(ctx, path)
	server.Stdout = write
	p, err := start(server)
	if err := errors.Join(err, write.Close()); err != nil {
		return nil, "", err
	}
	address, err := bufio.NewReader(printed).ReadString('\n')
	if err != nil {
		p.end()
		return nil, "", err
	}
	return p, strings.TrimSpace(address), nil
}

// collect starts the collector with the configuration of a host, on free ports, and returns the address of its API.
func collect(ctx context.Context, dir string) (*program, string, error) {
	environment := os.Environ()
	var api string
	for _, name := range []string{"WITNESS_API_ENDPOINT", "WITNESS_HEALTH_ENDPOINT", "WITNESS_OTLP_GRPC_ENDPOINT", "WITNESS_OTLP_HTTP_ENDPOINT"} {
		endpoint, err := free(ctx)
		if err != nil {
			return nil, "", err
		}
		if api == "" {
			api = endpoint
		}
		environment = append(environment, name+"="+endpoint)
	}
	collector := exec.CommandContext(ctx, "bin/otelcol-witness", "--config", "config/local.yaml",
		"--config", "yaml:receivers::ebpf::interval: 1s", "--config", "yaml:processors::hot_symbol::flush_interval: 1s",
		"--config", "yaml:service::telemetry::metrics::level: none", "--config", "yaml:service::telemetry::logs::level: error")
	collector.Env = slices.Concat(environment, []string{"WITNESS_DATA_DIR=" + filepath.Join(dir, "data"), "WITNESS_FINDINGS=demo/findings",
		"TETRAGON_EXPORT_FILE=" + filepath.Join(dir, "none.jsonl")})
	collector.Stderr = os.Stderr
	collector.Cancel = func() error { return collector.Process.Signal(os.Interrupt) }
	p, err := start(collector)
	return p, api, err
}

func free(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// await asks again and again, until done, the end of the collector, or that of ctx.
func await(ctx context.Context, ended <-chan struct{}, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return errors.New("the collector ended")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func ask(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return errors.Join(err, answer.Body.Close())
}

func show(traces *client.Traces, score *client.Score) {
	fmt.Printf("%s: score %.4f (%s), %d calls, measured %d\n", finding, score.Score, score.Band, traces.Summary.ByKind.Call, traces.Summary.ByAssurance.Measured)
	for i := range traces.Traces {
		t := &traces.Traces[i]
		if len(t.Frames) < 2 {
			continue
		}
		component := ""
		if t.Component != nil {
			component = *t.Component
		}
		fmt.Printf("\n%s %s, %s\n", t.Kind, t.Match.Level, component)
		for _, frame := range t.Frames {
			mark := "  "
			if frame.VulnerableFunction {
				mark = "* "
			}
			fmt.Printf("  %s%s\n", mark, name(&frame))
		}
	}
	fmt.Printf("\n%s\n", score.BandWhy)
	for _, factor := range score.Factors {
		fmt.Printf("  %-14s %.4f  %s\n", factor.Name, factor.Value, factor.Why)
	}
}

func name(f *client.Frame) string {
	if f.Symbol != "" {
		return f.Symbol
	}
	return f.Module + "+" + f.Offset
}
