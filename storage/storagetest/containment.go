package storagetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// containmentOfApp is what one Tetragon says of /usr/bin/app of a workload at noon.
func containmentOfApp(signals ...witness.Signal) witness.Containment {
	return witness.Containment{
		Workload:   witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:aa"},
		Instance:   witness.Instance{Host: "node-1", Pod: "web-1", Container: "c1"},
		Executable: witness.Module{Path: "/usr/bin/app", BuildID: "b1"}, Origin: witness.OriginWorkload, Signals: signals,
	}
}

func signal(name witness.SignalName, values ...string) witness.Signal {
	return witness.Signal{Name: name, Values: values, Source: witness.SourceTetragon, Assurance: witness.Measured, ObservedAt: noon}
}

func (b *bench) contain(tenant string, containment ...witness.Containment) int {
	b.Helper()
	kept, err := b.WriteContainment(b.ctx, storage.Principal{Tenant: tenant}, containment)
	require.NoError(b, err)
	return kept
}

// containment is all of a tenant.
func (b *bench) containment(tenant string) []witness.Containment {
	b.Helper()
	page, err := b.Containment(b.ctx, tenant, storage.ContainmentQuery{})
	require.NoError(b, err)
	assert.Empty(b, page.Next)
	return page.Containment
}

func containment(b *bench) {
	assert.Empty(b, b.containment(""))
	none := signal(witness.SignalCapabilities)
	user := signal(witness.SignalUser, "nonroot")
	assert.Equal(b, 2, b.contain("", containmentOfApp(none, user)))
	assert.Zero(b, b.contain("", containmentOfApp(none, user)), "redelivery")
	assert.Equal(b, []witness.Containment{containmentOfApp(none, user)}, b.containment(""))
	assert.Empty(b, b.containment("other"), "another tenant")

	later := user
	later.Values, later.ObservedAt = []string{"root-host"}, noon.Add(time.Minute)
	caps := signal(witness.SignalCapabilities, "CAP_BPF", "CAP_SYS_ADMIN")
	caps.ObservedAt = noon.Add(time.Minute)
	assert.Equal(b, 2, b.contain("", containmentOfApp(caps, later)))
	assert.Zero(b, b.contain("", containmentOfApp(none, user)), "what is older")
	assert.Equal(b, []witness.Containment{containmentOfApp(caps, later)}, b.containment(""))

	claim := later
	claim.Assurance, claim.Values, claim.ObservedAt = witness.Asserted, []string{"nonroot"}, noon.Add(time.Hour)
	assert.Zero(b, b.contain("", containmentOfApp(claim)), "a claim does not replace what is measured")
	claim.Source = witness.SourceK8S
	assert.Equal(b, 1, b.contain("", containmentOfApp(claim)), "another source stands beside it")
	assert.Equal(b, []witness.Containment{containmentOfApp(caps, later, claim)}, b.containment(""))

	injected, container := containmentOfApp(user), containmentOfApp(user)
	injected.Origin = witness.OriginInjected
	container.Executable = witness.Module{}
	assert.Equal(b, 2, b.contain("", injected, container), "other processes")
	assert.Len(b, b.containment(""), 3)

	claim.Assurance = witness.Measured
	claim.ObservedAt = noon.Add(-time.Hour)
	assert.Equal(b, 1, b.contain("other", containmentOfApp(claim)))
	assert.Equal(b, []witness.Containment{containmentOfApp(claim)}, b.containment("other"))

	_, err := b.WriteContainment(b.ctx, storage.Principal{}, []witness.Containment{containmentOfApp()})
	require.Error(b, err, "without signals")
	_, err = b.WriteContainment(b.ctx, storage.Principal{}, []witness.Containment{containmentOfApp(signal(witness.SignalUser, "alice"))})
	require.Error(b, err, "no class")
	assert.NotContains(b, err.Error(), "alice")
}

// containmentOrder writes the same in many orders, with repetitions.
func containmentOrder(b *bench) {
	var all []witness.Containment
	for _, assurance := range []witness.Assurance{witness.Measured, witness.Asserted} {
		for minute := range 3 {
			for _, value := range []string{"nonroot", "root", "root-host"} {
				for _, source := range []witness.SignalSource{witness.SourceProc, witness.SourceK8S} {
					s := signal(witness.SignalUser, value)
					s.Assurance, s.ObservedAt, s.Source = assurance, noon.Add(time.Duration(minute)*time.Minute), source
					all = append(all, containmentOfApp(s))
				}
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // reproducible
	var first []witness.Containment
	for round := range 10 {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		tenant := fmt.Sprintf("tenant-%d", round)
		b.contain(tenant, all[:len(all)/2]...)
		b.contain(tenant, all...)
		got := b.containment(tenant)
		if round == 0 {
			first = got
			require.Len(b, got, 1)
			require.Len(b, got[0].Signals, 2)
			for _, s := range got[0].Signals {
				assert.Equal(b, witness.Measured, s.Assurance)
				assert.Equal(b, noon.Add(2*time.Minute), s.ObservedAt)
				assert.Equal(b, []string{"root-host"}, s.Values)
			}
		}
		assert.Equal(b, first, got)
	}
}

func containmentFilters(b *bench) {
	web := containmentOfApp(signal(witness.SignalUser, "nonroot"))
	worker := containmentOfApp(signal(witness.SignalUser, "root"))
	worker.Workload.Controller, worker.Workload.Image = "deployment/worker", "sha256:bb"
	worker.Instance.Host = "node-2"
	worker.Signals[0].ObservedAt = noon.Add(time.Minute)
	host := containmentOfApp(signal(witness.SignalUser, "root-host"))
	host.Workload = witness.Workload{}
	b.contain("", web, worker, host)
	for _, test := range []struct {
		name  string
		query storage.ContainmentQuery
		want  []witness.Containment
	}{
		{"all", storage.ContainmentQuery{}, []witness.Containment{web, worker, host}},
		{"a workload", storage.ContainmentQuery{Workloads: []witness.Workload{worker.Workload}}, []witness.Containment{worker}},
		{"the host", storage.ContainmentQuery{Workloads: []witness.Workload{{}}}, []witness.Containment{host}},
		{"another workload", storage.ContainmentQuery{Workloads: []witness.Workload{{Namespace: "shop"}}}, nil},
		{"a namespace", storage.ContainmentQuery{Matching: []witness.Workload{{Namespace: "shop"}}}, []witness.Containment{web, worker}},
		{"an image", storage.ContainmentQuery{Matching: []witness.Workload{{Image: "sha256:bb"}, {Image: "sha256:cc"}}}, []witness.Containment{worker}},
		{"a controller of another namespace", storage.ContainmentQuery{Matching: []witness.Workload{{Namespace: "x", Controller: "deployment/web"}}}, nil},
		{"either", storage.ContainmentQuery{Workloads: []witness.Workload{{}}, Matching: []witness.Workload{{Image: "sha256:aa"}}}, []witness.Containment{web, host}},
		{"a host", storage.ContainmentQuery{Hosts: []string{"node-2", "node-3"}}, []witness.Containment{worker}},
		{"since", storage.ContainmentQuery{From: noon.Add(time.Minute)}, []witness.Containment{worker}},
		{"until", storage.ContainmentQuery{To: noon.Add(time.Minute)}, []witness.Containment{web, host}},
	} {
		b.Run(test.name, func(t *testing.T) {
			page, err := b.Containment(b.ctx, "", test.query)
			require.NoError(t, err)
			assert.ElementsMatch(t, test.want, page.Containment)
		})
	}
}

func containmentPages(b *bench) {
	var all []witness.Containment
	for i := range 7 {
		c := containmentOfApp(signal(witness.SignalSeccomp, "filter"), signal(witness.SignalUser, "nonroot"))
		c.Instance.Pod = fmt.Sprintf("web-%d", i)
		all = append(all, c)
	}
	b.contain("", all...)
	for _, limit := range []int{1, 3, 7, 8} {
		var walked []witness.Containment
		query := storage.ContainmentQuery{Limit: limit}
		for {
			page, err := b.Containment(b.ctx, "", query)
			require.NoError(b, err)
			require.LessOrEqual(b, len(page.Containment), limit)
			walked = append(walked, page.Containment...)
			if page.Next == "" {
				break
			}
			query.After = page.Next
		}
		slices.SortFunc(walked, func(a, b witness.Containment) int { return cmp.Compare(a.Instance.Pod, b.Instance.Pod) })
		assert.Equal(b, all, walked, "pages of %d", limit)
	}
	for _, after := range []string{"x", "0000000000000001", fmt.Sprintf("%064d", 1) + "0"} {
		_, err := b.Containment(b.ctx, "", storage.ContainmentQuery{After: after})
		require.ErrorIs(b, err, storage.ErrPosition)
	}
}
