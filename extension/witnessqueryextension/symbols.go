package witnessqueryextension

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var symbolRoutes = []route{
	{
		http.MethodGet, "/api/v1/symbols/hot", roleRead,
		[]string{"from", "to", "kind", "assurance", "component", "artifact", "limit"}, (*api).hotSymbols,
	},
}

var documentRoutes = []route{
	{http.MethodGet, "/api/v1/openapi.json", roleRead, nil, (*api).getOpenAPI},
}

type hotSymbol struct {
	Kind     witness.Kind `json:"kind"`
	Hits     uint64       `json:"hits"`
	Frame    hotFrame     `json:"frame"`
	Artifact artifact     `json:"artifact"`
}

// hotFrame is a function, or for exec and load a module.
type hotFrame struct {
	Symbol    string   `json:"symbol,omitempty"`
	Package   string   `json:"package,omitempty"`
	Member    string   `json:"member,omitempty"`
	Language  string   `json:"language,omitempty"`
	Flags     []string `json:"flags,omitempty"`
	Module    string   `json:"module,omitempty"`
	BuildID   string   `json:"buildId,omitempty"`
	SHA256    string   `json:"sha256,omitempty"`
	Offset    string   `json:"offset,omitempty"`
	Component string   `json:"component,omitempty"`
}

func (a *api) hotSymbols(c *call) (answer, error) {
	var query storage.HotQuery
	var err error
	if query.From, query.To, err = c.query.span(); err != nil {
		return answer{}, err
	}
	if query.Kinds, err = c.query.kinds(); err != nil {
		return answer{}, err
	}
	if query.Assurance, err = c.query.assurance(); err != nil {
		return answer{}, err
	}
	if query.Limit, err = c.query.limit(); err != nil {
		return answer{}, err
	}
	if query.Component, err = c.query.component(); err != nil {
		return answer{}, err
	}
	query.Artifact, _ = c.query.text("artifact")
	symbols, err := a.store.HotSymbols(c.Context(), c.principal.Tenant, query)
	if err != nil {
		return answer{}, err
	}
	body := struct {
		AsOf    time.Time   `json:"asOf"`
		Symbols []hotSymbol `json:"symbols"`
	}{c.now, make([]hotSymbol, 0, len(symbols))}
	for i := range symbols {
		s := &symbols[i].Subject
		f := frameOf(&s.Frame)
		body.Symbols = append(body.Symbols, hotSymbol{
			Kind: s.Kind, Hits: symbols[i].Hits, Artifact: artifactOf(&s.Artifact),
			Frame: hotFrame{
				Symbol: f.Symbol, Package: f.Package, Member: f.Member, Language: f.Language, Flags: f.Flags,
				Module: f.Module, BuildID: f.BuildID, SHA256: f.SHA256, Offset: f.Offset, Component: f.Component,
			},
		})
	}
	return answer{http.StatusOK, body}, nil
}

//go:embed openapi.json
var openAPI []byte

func (a *api) getOpenAPI(*call) (answer, error) {
	if a.deterministic {
		return answer{http.StatusOK, a.document}, nil
	}
	return answer{http.StatusOK, json.RawMessage(openAPI)}, nil
}
