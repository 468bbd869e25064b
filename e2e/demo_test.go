//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The demonstration proves that the vulnerable function of a real server ran, on this host.
func TestDemo(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "run", "./demo")
	command.Dir = ".."
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	for _, part := range []string{
		"GO-2023-1988: score", "(witnessed)", "measured",
		"call function, pkg:golang/golang.org/x/net@v0.12.0", "* golang.org/x/net/html.Render", "main.page", "net/http.HandlerFunc.ServeHTTP",
	} {
		assert.Contains(t, string(out), part)
	}
}
