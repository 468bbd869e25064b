package witnessqueryextension

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
)

var _ extensioncapabilities.ConfigSnapshotWatcher = (*queryExtension)(nil)

// NotifyConfigSnapshot refuses to serve evidence beside an OTLP endpoint through which everybody can write it.
func (e *queryExtension) NotifyConfigSnapshot(_ context.Context, snapshot extensioncapabilities.ConfigSnapshot) error {
	open := openOTLP(snapshot.Effective())
	if len(open) == 0 {
		return nil
	}
	if e.config.AllowInsecure {
		e.settings.Logger.Warn("others can write to an OTLP endpoint without TLS or without an authenticator (allow_insecure)")
		return nil
	}
	return fmt.Errorf("%s: others can reach it, so tls and auth are needed there (or allow_insecure: true of this extension)", open[0])
}

// openOTLP names the endpoints of OTLP receivers in pipelines that others can reach without TLS or an authenticator. The
// configuration is the effective one, with all defaults.
func openOTLP(config *confmap.Conf) []string {
	all := config.ToStringMap()
	used := map[string]bool{}
	for _, pipeline := range section(all, "service", "pipelines") {
		receivers, _ := asMap(pipeline)["receivers"].([]any)
		for _, receiver := range receivers {
			used[fmt.Sprint(receiver)] = true
		}
	}
	open := []string{}
	for id, receiver := range section(all, "receivers") {
		if kind, _, _ := strings.Cut(id, "/"); kind != "otlp" || !used[id] {
			continue
		}
		for name, protocol := range section(asMap(receiver), "protocols") {
			settings := asMap(protocol)
			if settings == nil || settings["transport"] == "unix" || settings["tls"] != nil && settings["auth"] != nil {
				continue
			}
			endpoint, _ := settings["endpoint"].(string) // defaults are in it: none is every address
			if host, _, err := net.SplitHostPort(endpoint); err != nil || !isLoopback(host) {
				open = append(open, "receivers::"+id+"::protocols::"+name+"::endpoint")
			}
		}
	}
	slices.Sort(open)
	return open
}

// section is a map inside maps; ranging over none is fine.
func section(m map[string]any, path ...string) map[string]any {
	for _, name := range path {
		m = asMap(m[name])
	}
	return m
}

func asMap(value any) map[string]any {
	m, _ := value.(map[string]any)
	return m
}
