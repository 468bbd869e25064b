package ingest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func newCanonicalizer(t testing.TB, identities string) *canon.Canonicalizer {
	config := canon.NewDefaultConfig()
	config.Identities = identities
	c, err := canon.New(config)
	require.NoError(t, err)
	return c
}

func decodeSignals(t testing.TB, items ...string) *SignalsRequest {
	t.Helper()
	r, err := DecodeSignals([]byte(`{"signals":[` + strings.Join(items, ",") + `]}`))
	require.NoError(t, err)
	return r
}

const imageDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestSignals(t *testing.T) {
	r := decodeSignals(t, `{"workload":{"namespace":"shop","controller":"deployment/web"},
	  "container":{"id":"c1","name":"app","image":"registry.example/app@`+imageDigest+`"},"pod":"web-1","host":"node-1",
	  "executable":{"path":"/home/alice/bin/app","buildId":"C0B9959017CF64B03131964573944FC729553EA7"},"origin":"workload","source":"k8s",
	  "observedAt":"2026-11-22T10:00:00+01:00","capabilities":["CAP_SYS_ADMIN","CAP_BPF","CAP_BPF"],"user":"nonroot",
	  "namespaces":{"pid":"isolated","net":"host","mnt":"unknown"},"seccomp":"unknown","sensitiveMounts":[]}`)
	made, rejected := r.Make(newCanonicalizer(t, canon.IdentitiesKeep), now)
	require.Empty(t, rejected)
	require.Len(t, made, 1)
	c := made[0]
	assert.Equal(t, witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: imageDigest}, c.Workload)
	assert.Equal(t, witness.Instance{Host: "node-1", Pod: "web-1", Container: "c1"}, c.Instance)
	assert.Equal(t, "c0b9959017cf64b03131964573944fc729553ea7", c.Executable.BuildID)
	assert.NotContains(t, c.Executable.Path, "alice")
	assert.Equal(t, witness.OriginWorkload, c.Origin)
	got := map[witness.SignalName]string{}
	for _, s := range c.Signals {
		assert.Equal(t, witness.Asserted, s.Assurance)
		assert.Equal(t, witness.SourceK8S, s.Source)
		assert.Equal(t, time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), s.ObservedAt)
		got[s.Name] = strings.Join(s.Values, ",")
	}
	assert.Equal(t, map[witness.SignalName]string{
		witness.SignalCapabilities: "CAP_BPF,CAP_SYS_ADMIN", witness.SignalUser: "nonroot", witness.SignalPIDNamespace: "isolated",
		witness.SignalNetworkNamespace: "host", witness.SignalSensitiveMounts: "",
	}, got)

	made, rejected = r.Make(newCanonicalizer(t, canon.IdentitiesHMAC), now)
	require.Empty(t, rejected)
	assert.NotContains(t, made[0].Instance.Host, "node-1")
	made, _ = decodeSignals(t, `{"host":"node-1","user":"root"}`).Make(newCanonicalizer(t, canon.IdentitiesKeep), now)
	require.Len(t, made, 1)
	assert.Equal(t, now, made[0].Signals[0].ObservedAt)
	assert.Equal(t, witness.SourceAsserted, made[0].Signals[0].Source)
	assert.Equal(t, witness.Workload{}, made[0].Workload)
}

func TestEverySignalCanBePosted(t *testing.T) {
	members := map[witness.SignalName]string{
		witness.SignalNoNewPrivs: "noNewPrivs", witness.SignalRootFS: "rootFs", witness.SignalSensitiveMounts: "sensitiveMounts",
		witness.SignalNetworkPolicy: "networkPolicy",
	}
	for _, name := range witness.SignalNames {
		for _, value := range name.Values() {
			var posted any = value
			if name.IsSet() {
				posted = []string{value}
			}
			item := map[string]any{"host": "node-1"}
			if kind, ok := strings.CutPrefix(string(name), "namespaces."); ok {
				item["namespaces"] = map[string]any{kind: value}
			} else if member, ok := members[name]; ok {
				item[member] = posted
			} else {
				item[string(name)] = posted
			}
			encoded, err := json.Marshal(item)
			require.NoError(t, err)
			made, rejected := decodeSignals(t, string(encoded)).Make(newCanonicalizer(t, canon.IdentitiesKeep), now)
			require.Empty(t, rejected)
			require.Len(t, made[0].Signals, 1)
			assert.Equal(t, name, made[0].Signals[0].Name)
			assert.Equal(t, []string{value}, made[0].Signals[0].Values)
		}
	}
}

func TestSignalRejections(t *testing.T) {
	const fine = `{"workload":{"namespace":"shop"},"seccomp":"filter"}`
	for _, test := range []struct{ name, item, want string }{
		{"null", `null`, "names no workload, container or host"},
		{"no place", `{"user":"root"}`, "names no workload, container or host"},
		{"a type", `{"host":"n","user":7}`, "user: is not a string"},
		{"a type inside", `{"host":"n","namespaces":{"net":true}}`, "namespaces.net: is not a string"},
		{"nothing known", `{"host":"n","user":"unknown"}`, "has no signal that is known"},
		{"a user", `{"host":"n","user":"secret"}`, "user: is not of root-host"},
		{"a namespace", `{"host":"n","namespaces":{"net":"secret"}}`, "namespaces.net: is not of host, isolated, unknown"},
		{"a capability", `{"host":"n","capabilities":["secret"]}`, "capabilities: is not of CAP_CHOWN"},
		{"too many", `{"host":"n","capabilities":["` + strings.Repeat(`CAP_BPF","`, 256) + `CAP_BPF"]}`, "capabilities: has more than 256 items"},
		{"a mount", `{"host":"n","sensitiveMounts":["/secret"]}`, "sensitiveMounts: is not of"},
		{"a source", `{"host":"n","user":"root","source":"secret"}`, "source: is not one of"},
		{"an origin", `{"host":"n","user":"root","origin":"secret"}`, "origin: is not one of"},
		{"a time", `{"host":"n","user":"root","observedAt":"secret"}`, "observedAt: is not an RFC 3339 time"},
		{"ahead", `{"host":"n","user":"root","observedAt":"2026-11-22T12:06:00Z"}`, "observedAt: is more than 5m0s ahead"},
		{"a tag", `{"container":{"name":"app","image":"registry.example/secret:1.2"},"user":"root"}`, "container.image: has no digest"},
		{"an empty digest", `{"container":{"name":"app","image":"secret@"},"user":"root"}`, "container.image: has no digest"},
		{"no digest", `{"container":{"name":"app","image":"secret@sha256:12"},"user":"root"}`, "container.image: is not a digest"},
		{"a controller", `{"workload":{"namespace":"shop","controller":"secret"},"user":"root"}`, "workload.controller: is not kind/name"},
		{"a build-id", `{"host":"n","executable":{"buildId":"secret"},"user":"root"}`, "executable.buildId: is not a build-id"},
		{"long", `{"host":"` + strings.Repeat("s", MaxText+1) + `","user":"root"}`, "host: is longer than 4096 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			made, rejected := decodeSignals(t, fine, test.item, fine).Make(newCanonicalizer(t, canon.IdentitiesKeep), now)
			require.Len(t, rejected, 1)
			assert.Equal(t, 1, rejected[0].Index)
			assert.Contains(t, rejected[0].Reason, test.want)
			assert.NotContains(t, rejected[0].Reason, "secret")
			assert.Len(t, made, 2, "the neighbours are taken")
		})
	}
	for name, body := range map[string]string{
		`has no member "signals"`:          `{}`,
		`has an unknown member "uid"`:      `{"signals":[{"host":"n","uid":0}]}`,
		`has an unknown member "time"`:     `{"signals":[{"namespaces":{"time":"host"}}]}`,
		`has the member "host" twice`:      `{"signals":[{"host":"n","host":"m"}]}`,
		"signals: has more than 1000 item": `{"signals":[{}` + strings.Repeat(",{}", MaxSignals) + `]}`,
	} {
		_, err := DecodeSignals([]byte(body))
		require.ErrorContains(t, err, name)
	}
}

func FuzzSignals(f *testing.F) {
	f.Add([]byte(`{"signals":[{"host":"n","user":"root","namespaces":{"net":"host"},"capabilities":["CAP_BPF"],"sensitiveMounts":[]}]}`))
	f.Add([]byte(`{"signals":[null,{"container":{"image":"a@sha256:` + strings.Repeat("a", 64) + `"},"lsm":"confined","executable":{"path":"/proc/1/root/home/x"}}]}`))
	f.Add([]byte(`{"signals":[{"workload":{"controller":"deployment/"},"entry":"probe","observedAt":"1970-01-01T00:00:00Z"}]}`))
	canonicalizer := newCanonicalizer(f, canon.IdentitiesKeep)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeSignals(body)
		if err != nil {
			return
		}
		made, rejected := r.Make(canonicalizer, now)
		if len(made)+len(rejected) != len(r.items) {
			t.Fatal("an item is neither taken nor rejected")
		}
		for i := range made {
			if err := made[i].Validate(); err != nil {
				t.Fatal(err)
			}
			if made[i].Workload == (witness.Workload{}) && made[i].Instance == (witness.Instance{}) {
				t.Fatal("it is about everything")
			}
		}
	})
}
