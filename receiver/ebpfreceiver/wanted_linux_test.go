package ebpfreceiver

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-witness/otelcol-witness/internal/artifact"
	"github.com/otelcol-witness/otelcol-witness/internal/probepoint"
	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestWanted(t *testing.T) {
	server := &artifact.Facts{BuildID: "aa"}
	server.SetBuildInfo(&debug.BuildInfo{
		GoVersion: "go1.26.0", Path: "example.com/server", Main: debug.Module{Path: "example.com/server", Version: "v1.0.0"},
		Deps: []*debug.Module{{Path: "golang.org/x/net", Version: "v0.12.0"}},
	})
	library := &artifact.Facts{BuildID: "bb"}
	symbol := func(language, pkg, member, component string) watchlist.Symbol {
		return watchlist.Symbol{Language: language, Package: pkg, Member: member, Component: component}
	}
	list := &watchlist.List{Symbols: []watchlist.Symbol{
		symbol("go", "golang.org/x/net/html", "Render", "pkg:golang/golang.org/x/net"),
		symbol("go", "net/http", "Serve", "pkg:golang/stdlib"),
		symbol("go", "example.com/other", "F", "pkg:golang/example.com/other"),
		symbol("go", "golang.org/x/net/html", "Parse", "pkg:golang/example.com/fork"),
		symbol("c", "", "SSL_read", "pkg:deb/debian/openssl"),
	}}
	render := probepoint.Request{Symbol: witness.SymbolRef{Language: "go", Package: "golang.org/x/net/html", Member: "Render"}}
	serve := probepoint.Request{Symbol: witness.SymbolRef{Language: "go", Package: "net/http", Member: "Serve"}}
	ssl := probepoint.Request{Symbol: witness.SymbolRef{Language: "c", Member: "SSL_read"}}
	for _, test := range []struct {
		name   string
		config ProbesConfig
		list   *watchlist.List
		path   string
		facts  *artifact.Facts
		want   []probepoint.Request
	}{
		{"nothing", ProbesConfig{}, nil, "/usr/bin/server", server, nil},
		{"what findings name of the modules that are in it", ProbesConfig{}, list, "/usr/bin/server", server, []probepoint.Request{render, serve}},
		{"of no Go program", ProbesConfig{}, list, "/usr/lib/libssl.so.3", library, nil},
		{"of an allowed file", ProbesConfig{Allow: AllowConfig{Paths: []string{"/usr/lib/libssl.so.*"}}}, list, "/usr/lib/libssl.so.3", library, []probepoint.Request{ssl}},
		{"of no other file", ProbesConfig{Allow: AllowConfig{Paths: []string{"/usr/lib/libssl.so.*"}}}, list, "/usr/bin/server", server, nil},
		{"of an allowed component", ProbesConfig{Allow: AllowConfig{Components: []string{"pkg:golang/stdlib"}}}, list, "/usr/bin/server", server, []probepoint.Request{serve}},
		{"by path", ProbesConfig{Files: []FileConfig{{Path: "/usr/bin/*", Symbols: []string{"main.*", "main.*"}}}}, nil, "/usr/bin/server", server, []probepoint.Request{{Pattern: "main.*"}}},
		{"by another path", ProbesConfig{Files: []FileConfig{{Path: "/opt/*", Symbols: []string{"main.*"}}}}, nil, "/usr/bin/server", server, nil},
		{"by build-id", ProbesConfig{Files: []FileConfig{{BuildID: "bb", Symbols: []string{"f"}, Language: "c"}}}, nil, "/x", library, []probepoint.Request{{Pattern: "f", Symbol: witness.SymbolRef{Language: "c"}}}},
	} {
		got := newWanted(1, &test.config, test.list).of(test.path, test.facts)
		for i := range got {
			got[i].ID = ""
		}
		assert.Equal(t, test.want, got, test.name)
	}
}
