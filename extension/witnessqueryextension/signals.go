package witnessqueryextension

import (
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/ingest"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var signalRoutes = []route{
	{http.MethodPost, "/api/v1/signals/runtime", roleWrite, nil, (*api).postSignals},
	{
		http.MethodGet, "/api/v1/signals/runtime", roleRead,
		[]string{"namespace", "controller", "container", "image", "host", "from", "to", "limit", "cursor"}, (*api).getSignals,
	},
}

// signalsTaken is the answer to posted signals. Accepted and rejected count items, stored the signals in them that are
// newer than what was known.
type signalsTaken struct {
	Accepted int                `json:"accepted"`
	Stored   int                `json:"stored"`
	Rejected []ingest.Rejection `json:"rejected"`
}

// postSignals stores containment signals. Storage keeps the newest of each, so that a request that is repeated changes
// nothing; a key is only there to tell that one was used for another body.
func (a *api) postSignals(c *call) (answer, error) {
	key, err := idempotencyKey(c.Header)
	if err != nil {
		return answer{}, err
	}
	body, err := a.readJSON(c)
	if err != nil {
		return answer{}, err
	}
	request, err := ingest.DecodeSignals(body)
	if err != nil {
		return answer{}, decodeProblem(err)
	}
	if key != "" {
		identity := digestOf(c.principal.Name, c.principal.Tenant, "signals", "header/"+key)
		batch := storage.Batch{Principal: c.principal, Receipt: &storage.Receipt{Key: hex.EncodeToString(identity[:]), Body: request.Digest()}}
		if _, err := a.store.WriteObservations(c.Context(), batch); err != nil {
			return answer{}, err
		}
	}
	made, rejected := request.Make(a.maker.Canonicalizer, c.now)
	result := signalsTaken{Accepted: len(made), Rejected: append([]ingest.Rejection{}, rejected...)}
	if len(made) > 0 {
		if result.Stored, err = a.store.WriteContainment(c.Context(), c.principal, made); err != nil {
			return answer{}, err
		}
	}
	a.audit(c, zap.Int("accepted", result.Accepted), zap.Int("rejected", len(rejected)), zap.Int("signals", result.Stored))
	return answer{http.StatusAccepted, result}, nil
}

// contained is what one process could reach, or without executable every process of a container or workload.
type contained struct {
	Workload   workload       `json:"workload"`
	Container  container      `json:"container"`
	Pod        string         `json:"pod,omitempty"`
	Host       string         `json:"host,omitempty"`
	Executable executable     `json:"executable"`
	Origin     witness.Origin `json:"origin"`
	Signals    []signal       `json:"signals"`
}

type executable struct {
	Path    string `json:"path,omitempty"`
	BuildID string `json:"buildId,omitempty"`
}

type signal struct {
	Name       witness.SignalName   `json:"name"`
	Values     []string             `json:"values"`
	Source     witness.SignalSource `json:"source"`
	Assurance  witness.Assurance    `json:"assurance"`
	ObservedAt time.Time            `json:"observedAt"`
}

func containedOf(c *witness.Containment) contained {
	of := contained{
		Workload:  workload{c.Workload.Namespace, c.Workload.Controller},
		Container: container{c.Instance.Container, c.Workload.Container, c.Workload.Image},
		Pod:       c.Instance.Pod, Host: c.Instance.Host,
		Executable: executable{c.Executable.Path, c.Executable.BuildID}, Origin: c.Origin, Signals: make([]signal, 0, len(c.Signals)),
	}
	for i := range c.Signals {
		s := &c.Signals[i]
		of.Signals = append(of.Signals, signal{s.Name, append([]string{}, s.Values...), s.Source, s.Assurance, s.ObservedAt.UTC()})
	}
	return of
}

func (a *api) getSignals(c *call) (answer, error) {
	var query storage.ContainmentQuery
	var err error
	if query.From, query.To, err = c.query.span(); err != nil {
		return answer{}, err
	}
	if query.Limit, err = c.query.limit(); err != nil {
		return answer{}, err
	}
	var pattern witness.Workload
	parameters := []string{c.route, c.principal.Tenant, query.From.String(), query.To.String()}
	for _, filter := range []struct {
		name string
		into *string
	}{
		{"namespace", &pattern.Namespace}, {"controller", &pattern.Controller}, {"container", &pattern.Container}, {"image", &pattern.Image},
	} {
		*filter.into, _ = c.query.text(filter.name)
		parameters = append(parameters, *filter.into)
	}
	if pattern != (witness.Workload{}) {
		query.Matching = []witness.Workload{pattern}
	}
	host, given := c.query.text("host")
	if given && host != "" {
		query.Hosts = []string{host}
	}
	after, err := c.query.cursor(append(parameters, host)...)
	if err != nil {
		return answer{}, err
	}
	if after != nil {
		query.After = after.ID
	}
	page, err := a.store.Containment(c.Context(), c.principal.Tenant, query)
	if errors.Is(err, storage.ErrPosition) {
		return answer{}, badRequest("cursor: was not made by this call with these parameters")
	}
	if err != nil {
		return answer{}, err
	}
	body := struct {
		Processes  []contained `json:"processes"`
		NextCursor *string     `json:"nextCursor"`
	}{Processes: make([]contained, 0, len(page.Containment))}
	for i := range page.Containment {
		body.Processes = append(body.Processes, containedOf(&page.Containment[i]))
	}
	if page.Next != "" {
		next, err := (&cursor{ID: page.Next}).encode(append(parameters, host)...)
		if err != nil {
			return answer{}, err
		}
		body.NextCursor = &next
	}
	return answer{http.StatusOK, body}, nil
}
