package evidence

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestContain(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ctx := context.Background()
	store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "w.db"), Now: func() time.Time { return at.Add(time.Hour) }})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()

	web := witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:aa"}
	db := witness.Workload{Namespace: "shop", Controller: "statefulset/db", Container: "db", Image: "sha256:bb"}
	observe := func(workload witness.Workload, host, module string) {
		o := witness.Observation{
			Witness: witness.Witness{Kind: witness.KindCall, Workload: workload, Frame: witness.Frame{
				Package: "golang.org/x/net/html", Member: "Parse", Symbol: "golang.org/x/net/html.Parse", Language: "go", Module: witness.Module{Path: module},
			}},
			Source: "a1/1/tetragon", Instance: witness.Instance{Host: host, Pod: "pod-" + workload.Container}, WindowStart: at, WindowEnd: at.Add(time.Minute),
			FirstSeen: at, LastSeen: at, Hits: 1, Assurance: witness.Measured, Origin: witness.OriginWorkload,
		}
		o.ID = o.Witness.ID()
		_, err := store.WriteObservations(ctx, storage.Batch{Observations: []witness.Observation{o}})
		require.NoError(t, err)
	}
	contain := func(workload witness.Workload, host, path string, origin witness.Origin, user string) {
		c := witness.Containment{
			Workload: workload, Instance: witness.Instance{Host: host}, Executable: witness.Module{Path: path}, Origin: origin,
			Signals: []witness.Signal{{Name: witness.SignalUser, Values: []string{user}, Source: witness.SourceTetragon, Assurance: witness.Measured, ObservedAt: at}},
		}
		_, err := store.WriteContainment(ctx, storage.Principal{}, []witness.Containment{c})
		require.NoError(t, err)
	}
	ask := func(f witness.Finding) Containment {
		t.Helper()
		matches, err := Match(ctx, store, &Question{Finding: f})
		require.NoError(t, err)
		weights := containment.DefaultWeights()
		answer, err := matches.Contain(ctx, store, &f, &weights)
		require.NoError(t, err)
		return answer
	}
	radius := func(x float64) *float64 { return &x }
	assurance := func(a witness.Assurance) *witness.Assurance { return &a }
	measured, asserted := assurance(witness.Measured), assurance(witness.Asserted)
	html := witness.Finding{ID: "html", Symbols: []witness.SymbolRef{{Language: "go", Package: "golang.org/x/net/html", Member: "Parse"}}}

	t.Run("nothing anywhere", func(t *testing.T) {
		answer := ask(html)
		assert.Nil(t, answer.BlastRadius)
		assert.InDelta(t, 1.0, answer.UnknownShare, 0)
		assert.Empty(t, answer.Workloads)
		assert.NotNil(t, answer.Workloads)
	})
	observe(web, "node-1", "/lib/libx.so")
	t.Run("evidence and no signal", func(t *testing.T) {
		answer := ask(html)
		assert.Nil(t, answer.BlastRadius)
		assert.Equal(t, []ContainedWorkload{{web, nil, 1, 0, nil}}, answer.Workloads)
	})
	contain(web, "node-1", "/usr/bin/app", witness.OriginWorkload, "nonroot")
	contain(web, "node-2", "/usr/bin/app", witness.OriginWorkload, "root-userns")
	contain(web, "node-1", "/bin/sh", witness.OriginInjected, "root-host")
	contain(db, "node-1", "/usr/bin/db", witness.OriginWorkload, "root-host")
	t.Run("the workload's own processes", func(t *testing.T) {
		answer := ask(html)
		assert.Equal(t, radius(0), answer.BlastRadius)
		assert.Equal(t, []ContainedWorkload{{web, radius(0), 0.85, 2, measured}}, answer.Workloads)
	})
	contain(web, "node-1", "/usr/bin/helper", witness.OriginWorkload, "root-host")
	t.Run("any of them, for a library", func(t *testing.T) {
		assert.Equal(t, radius(1), ask(html).BlastRadius)
	})
	observe(web, "node-1", "/usr/bin/app")
	t.Run("the executable that the evidence is of", func(t *testing.T) {
		assert.Equal(t, radius(0), ask(html).BlastRadius)
	})
	observe(witness.Workload{}, "node-1", "/usr/sbin/hostd")
	contain(witness.Workload{}, "node-1", "/usr/sbin/sshd", witness.OriginWorkload, "root-host")
	t.Run("the host is not one process", func(t *testing.T) {
		answer := ask(html)
		assert.Equal(t, radius(0), answer.BlastRadius)
		assert.Equal(t, []ContainedWorkload{{web, radius(0), 0.85, 2, measured}, {witness.Workload{}, nil, 1, 0, nil}}, answer.Workloads)
	})
	t.Run("no evidence, but occurrences", func(t *testing.T) {
		answer := ask(witness.Finding{ID: "unseen", Occurrences: []witness.Occurrence{
			{Namespace: "shop", Controller: "statefulset/db"}, {ImageDigest: "sha256:bb"}, {ImageDigest: "sha256:cc"}, {Scanner: "x"},
		}})
		assert.Equal(t, radius(1), answer.BlastRadius)
		assert.Equal(t, []ContainedWorkload{{db, radius(1), 0.85, 1, measured}, {witness.Workload{Image: "sha256:cc"}, nil, 1, 0, nil}}, answer.Workloads)
		assert.False(t, answer.Truncated)
	})
	t.Run("what is told of the whole workload", func(t *testing.T) {
		c := witness.Containment{
			Workload: witness.Workload{Namespace: "shop"}, Origin: witness.OriginUnknown,
			Signals: []witness.Signal{{Name: witness.SignalSeccomp, Values: []string{"disabled"}, Source: witness.SourceK8S, Assurance: witness.Asserted, ObservedAt: at}},
		}
		_, err := store.WriteContainment(ctx, storage.Principal{}, []witness.Containment{c})
		require.NoError(t, err)
		answer := ask(witness.Finding{ID: "unseen", Occurrences: []witness.Occurrence{{Namespace: "shop", Controller: "deployment/new"}}})
		assert.Equal(t, []ContainedWorkload{{witness.Workload{Namespace: "shop", Controller: "deployment/new"}, radius(1), 0.88, 1, asserted}}, answer.Workloads)
	})
	t.Run("another tenant", func(t *testing.T) {
		matches, err := Match(ctx, store, &Question{Tenant: "other", Finding: html})
		require.NoError(t, err)
		weights := containment.DefaultWeights()
		answer, err := matches.Contain(ctx, store, &html, &weights)
		require.NoError(t, err)
		assert.Empty(t, answer.Workloads)
	})
}
