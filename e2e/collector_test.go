//go:build e2e

// Package e2e starts the built binary with the YAML in config/ and talks to it as its users do.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/client"
)

// binary is what `make build` makes.
func binary(t *testing.T) string {
	path, err := filepath.Abs("../bin/otelcol-witness")
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoError(t, err, "run make e2e, which builds it")
	return path
}

// collector is a running otelcol-witness.
type collector struct {
	t       *testing.T
	configs []string
	env     map[string]string
	command *exec.Cmd
	log     *tail
	exited  chan struct{}
}

// tail keeps what a process wrote.
type tail struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *tail) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(p)
}

func (l *tail) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

func freePort(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// newCollector prepares a collector with free ports and a data directory of its own. Configs are files of config/, paths,
// or yaml: texts, merged in order.
func newCollector(t *testing.T, env map[string]string, configs ...string) *collector {
	c := &collector{t: t, env: map[string]string{
		"WITNESS_DATA_DIR":           t.TempDir(),
		"WITNESS_API_ENDPOINT":       freePort(t),
		"WITNESS_OTLP_GRPC_ENDPOINT": freePort(t),
		"WITNESS_OTLP_HTTP_ENDPOINT": freePort(t),
		"WITNESS_HEALTH_ENDPOINT":    freePort(t),
	}}
	for name, value := range env {
		c.env[name] = value
	}
	// One key for all, as in one installation: temporary modules get the same names.
	writeFile(t, c.env["WITNESS_DATA_DIR"]+"/identity.key", "the key of the end-to-end tests\n")
	for _, config := range configs {
		if !strings.HasPrefix(config, "yaml:") && !filepath.IsAbs(config) {
			config = "../config/" + config
		}
		c.configs = append(c.configs, config)
	}
	host, port, err := net.SplitHostPort(freePort(t))
	require.NoError(t, err)
	c.configs = append(c.configs, fmt.Sprintf(
		"yaml:service::telemetry::metrics::readers: [{pull: {exporter: {prometheus: {host: %q, port: %s}}}}]", host, port))
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("log of the collector:\n%s", c.logText())
		}
	})
	return c
}

func (c *collector) logText() string {
	if c.log == nil {
		return ""
	}
	text := c.log.String()
	return text[max(0, len(text)-16_000):]
}

// launch starts the process without waiting for it to serve.
func (c *collector) launch() {
	arguments := []string{}
	for _, config := range c.configs {
		arguments = append(arguments, "--config", config)
	}
	c.command = exec.Command(binary(c.t), arguments...)
	c.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	for name, value := range c.env {
		c.command.Env = append(c.command.Env, name+"="+value)
	}
	if c.log == nil {
		c.log = &tail{}
	}
	c.command.Stdout, c.command.Stderr = c.log, c.log
	require.NoError(c.t, c.command.Start())
	command, exited := c.command, make(chan struct{})
	c.exited = exited
	go func() {
		_ = command.Wait()
		close(exited)
	}()
}

// start launches the process and waits until it is healthy.
func (c *collector) start() *collector {
	c.t.Helper()
	c.launch()
	require.Eventually(c.t, func() bool {
		select {
		case <-c.exited:
			require.FailNow(c.t, "the collector ended", c.logText())
		default:
		}
		response, err := http.Get("http://" + c.env["WITNESS_HEALTH_ENDPOINT"])
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, 60*time.Second, 50*time.Millisecond, "never healthy")
	return c
}

// stop ends the process as an operator does, and waits.
func (c *collector) stop() {
	c.t.Helper()
	require.NoError(c.t, c.command.Process.Signal(syscall.SIGTERM))
	select {
	case <-c.exited:
	case <-time.After(60 * time.Second):
		require.FailNow(c.t, "did not stop", c.logText())
	}
}

// kill ends the process as a crash does.
func (c *collector) kill() {
	if c.command == nil || c.command.Process == nil {
		return
	}
	_ = c.command.Process.Kill()
	<-c.exited
}

// reload makes the collector read its configuration anew.
func (c *collector) reload() {
	c.t.Helper()
	require.NoError(c.t, c.command.Process.Signal(syscall.SIGHUP))
}

// api is a client of the collector. What is about the wire itself uses call and get.
func (c *collector) api() *client.Client {
	c.t.Helper()
	api, err := client.New("http://"+c.env["WITNESS_API_ENDPOINT"], client.WithTries(1))
	require.NoError(c.t, err)
	return api
}

// object is a decoded JSON object.
type object = map[string]any

// call asks the API and decodes the answer.
func (c *collector) call(method, path string, body any, headers ...string) (int, object) {
	c.t.Helper()
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		text, err := json.Marshal(body)
		require.NoError(c.t, err)
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, "http://"+c.env["WITNESS_API_ENDPOINT"]+path, reader)
	require.NoError(c.t, err)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	answer := object{}
	if len(text) > 0 {
		require.NoError(c.t, json.Unmarshal(text, &answer), "%s %s: %s", method, path, text)
	}
	require.Less(c.t, response.StatusCode, 500, "%s %s: %s", method, path, text)
	return response.StatusCode, answer
}

// get asks the API for what must be there.
func (c *collector) get(path string) object {
	c.t.Helper()
	status, answer := c.call(http.MethodGet, path, nil)
	require.Equal(c.t, http.StatusOK, status, "%s: %v", path, answer)
	return answer
}

// at walks into an answer: members by name, elements by number.
func at(answer any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			members, _ := answer.(object)
			answer = members[step]
		case int:
			elements, _ := answer.([]any)
			if step >= len(elements) {
				return nil
			}
			answer = elements[step]
		}
	}
	return answer
}

func list(answer any, path ...any) []any {
	elements, _ := at(answer, path...).([]any)
	return elements
}

// number is 0 when there is none.
func number(answer any, path ...any) float64 {
	value, _ := at(answer, path...).(float64)
	return value
}
