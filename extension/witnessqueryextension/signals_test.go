package witnessqueryextension

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const signalsPath = "/api/v1/signals/runtime"

type signalList struct {
	Processes  []contained `json:"processes"`
	NextCursor *string     `json:"nextCursor"`
}

func (s *server) postSignals(body string, headers ...string) signalsTaken {
	s.Helper()
	w := s.call(http.MethodPost, signalsPath, body, headers...)
	require.Equal(s, http.StatusAccepted, w.Code, w.Body)
	var v signalsTaken
	require.NoError(s, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

const specOfWeb = `{"signals":[{"workload":{"namespace":"shop","controller":"deployment/web"},"container":{"name":"app"},"source":"k8s",
 "observedAt":"2026-11-22T10:00:00Z","seccomp":"filter","user":"root-host","namespaces":{"net":"host"}}]}`

func TestSignalsAreTakenAndListed(t *testing.T) {
	s := newStored(t)
	assert.Equal(t, signalsTaken{1, 3, nil}, trimmed(s.postSignals(specOfWeb)))
	assert.Equal(t, signalsTaken{1, 0, nil}, trimmed(s.postSignals(specOfWeb)), "nothing is newer")
	older := strings.Replace(strings.Replace(specOfWeb, "10:00:00", "09:00:00", 1), "filter", "disabled", 1)
	assert.Equal(t, signalsTaken{1, 0, nil}, trimmed(s.postSignals(older)))
	newer := strings.Replace(strings.Replace(specOfWeb, "10:00:00", "11:00:00", 1), "filter", "disabled", 1)
	assert.Equal(t, signalsTaken{1, 3, nil}, trimmed(s.postSignals(newer)))

	list := get[signalList](s, signalsPath)
	require.Len(t, list.Processes, 1)
	p := list.Processes[0]
	assert.Equal(t, workload{"shop", "deployment/web"}, p.Workload)
	assert.Equal(t, "app", p.Container.Name)
	assert.Equal(t, witness.OriginUnknown, p.Origin)
	at := time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)
	assert.Equal(t, []signal{
		{witness.SignalNetworkNamespace, []string{"host"}, witness.SourceK8S, witness.Asserted, at},
		{witness.SignalSeccomp, []string{"disabled"}, witness.SourceK8S, witness.Asserted, at},
		{witness.SignalUser, []string{"root-host"}, witness.SourceK8S, witness.Asserted, at},
	}, p.Signals)

	mixed := s.postSignals(`{"signals":[{"host":"node-1","user":"alice"},{"host":"node-1","capabilities":[]}]}`)
	assert.Equal(t, 1, mixed.Accepted)
	require.Len(t, mixed.Rejected, 1)
	assert.Equal(t, 0, mixed.Rejected[0].Index)
	assert.NotContains(t, mixed.Rejected[0].Reason, "alice")
	for query, want := range map[string]int{
		"": 2, "?namespace=shop": 1, "?namespace=other": 0, "?controller=deployment/web&container=app": 1, "?host=node-1": 1,
		"?host=": 2, "?image=sha256:aa": 0, "?from=2026-11-22T11:00:00Z&to=2026-11-22T11:00:01Z": 1, "?to=2026-11-22T11:00:00Z": 0,
	} {
		assert.Len(t, get[signalList](s, signalsPath+query).Processes, want, query)
	}
}

// trimmed leaves an empty list of rejected items out.
func trimmed(taken signalsTaken) signalsTaken {
	if len(taken.Rejected) == 0 {
		taken.Rejected = nil
	}
	return taken
}

func TestSignalPages(t *testing.T) {
	s := newStored(t)
	s.postSignals(`{"signals":[{"host":"a","user":"root"},{"host":"b","user":"root"},{"host":"c","user":"root"}]}`)
	var hosts []string
	target := signalsPath + "?limit=2"
	for {
		list := get[signalList](s, target)
		for _, p := range list.Processes {
			hosts = append(hosts, p.Host)
		}
		if list.NextCursor == nil {
			break
		}
		assert.Equal(t, http.StatusBadRequest, s.call(http.MethodGet, signalsPath+"?host=a&cursor="+*list.NextCursor, "").Code, "of other parameters")
		target = signalsPath + "?limit=2&cursor=" + *list.NextCursor
	}
	assert.ElementsMatch(t, []string{"a", "b", "c"}, hosts)
	forged, err := (&cursor{ID: "nowhere"}).encode(signalsPath, "", time.Time{}.String(), time.Time{}.String(), "", "", "", "", "")
	require.NoError(t, err)
	w := s.call(http.MethodGet, signalsPath+"?cursor="+forged, "")
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Contains(t, detail(t, w), "cursor: ")
}

func TestSignalsAreOfATenantAndIdempotent(t *testing.T) {
	s := newStored(t)
	post := func(tenant, key, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, signalsPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)
		return s.send(as(r, tenant, "alice"))
	}
	assert.Equal(t, http.StatusAccepted, post("one", "k", specOfWeb).Code)
	assert.Equal(t, http.StatusAccepted, post("one", "k", specOfWeb).Code)
	assert.Equal(t, http.StatusUnprocessableEntity, post("one", "k", strings.Replace(specOfWeb, "filter", "strict", 1)).Code)
	assert.Equal(t, http.StatusAccepted, post("two", "k", strings.Replace(specOfWeb, "filter", "strict", 1)).Code)
	for tenant, want := range map[string]string{"one": "filter", "two": "strict"} {
		w := s.send(as(httptest.NewRequest(http.MethodGet, signalsPath, nil), tenant, "bob"))
		var list signalList
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
		require.Len(t, list.Processes, 1)
		assert.Equal(t, []string{want}, list.Processes[0].Signals[1].Values)
	}
	assert.Empty(t, get[signalList](s, signalsPath).Processes)
}

func TestSignalsWithoutStorage(t *testing.T) {
	s := newServer(t, none.Storage{})
	assert.Equal(t, signalsTaken{1, 0, nil}, trimmed(s.postSignals(specOfWeb)))
	assert.Empty(t, get[signalList](s, signalsPath).Processes)
	assert.Equal(t, http.StatusBadRequest, s.call(http.MethodPost, signalsPath, `{"signals":[{"uid":0}]}`).Code)
}

func TestContainmentIsBesideTheScore(t *testing.T) {
	s := newStored(t)
	_, err := s.api.store.PutFinding(t.Context(), storage.Principal{}, witness.Finding{
		ID: "F", Occurrences: []witness.Occurrence{{Namespace: "shop", Controller: "deployment/web"}},
	})
	require.NoError(t, err)
	before := get[scored](s, path("F", "runtime/score"))
	assert.Nil(t, before.Containment.BlastRadius, "nothing is known")
	assert.InDelta(t, 1.0, before.Containment.UnknownShare, 0)
	require.Len(t, before.Containment.Workloads, 1)

	s.postSignals(specOfWeb)
	after := get[scored](s, path("F", "runtime/score"))
	require.NotNil(t, after.Containment.BlastRadius)
	assert.InDelta(t, 0.7447, *after.Containment.BlastRadius, 1e-9, "root and a namespace, but for seccomp")
	assert.InDelta(t, 0.53, after.Containment.UnknownShare, 1e-9)
	assert.Equal(t, "witness-containment/v1", after.Containment.Model)
	assert.False(t, after.Observed)
	assert.InDelta(t, before.Score, after.Score, 0, "containment is no part of the score")
	for _, part := range after.Containment.Parts {
		if part.State != "unknown" {
			assert.Equal(t, witness.Asserted, part.Assurance)
			assert.Equal(t, witness.SourceK8S, part.Source)
		}
	}
}
