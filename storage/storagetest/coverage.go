package storagetest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// heartbeat is one of node-1 in a minute after noon, of 3 processes of 4; with changes.
func heartbeat(minute int, changes ...func(*witness.Coverage)) witness.Coverage {
	c := witness.Coverage{
		Source: "a1/1/tetragon", Instance: witness.Instance{Host: "node-1", Pod: "p", Container: "c"}, Workload: witness.Workload{Namespace: "n"},
		Assurance: witness.Measured, Signal: "tetragon", Kinds: []witness.Kind{witness.KindExec, witness.KindCall}, Interval: 30 * time.Second,
		Start: noon.Add(time.Duration(minute) * time.Minute), End: noon.Add(time.Duration(minute+1) * time.Minute),
		ProcessesWatched: 3, ProcessesSeen: 4,
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

func onlyPlace(c *witness.Coverage) {
	c.Signal, c.Kinds, c.Interval, c.ProcessesWatched, c.ProcessesSeen, c.LeastWatched, c.LeastSeen = "", nil, 0, 0, 0, 0, 0
}

func lost(n uint64) func(*witness.Coverage) {
	return func(c *witness.Coverage) {
		onlyPlace(c)
		c.LossStage, c.Lost = "ring buffer", n
	}
}

func state(state, reason string) func(*witness.Coverage) {
	return func(c *witness.Coverage) {
		onlyPlace(c)
		c.StatusTarget, c.StatusState, c.StatusReason, c.End = "policy/x", state, reason, c.Start
	}
}

func until(minute int) func(*witness.Coverage) {
	return func(c *witness.Coverage) { c.End = noon.Add(time.Duration(minute) * time.Minute) }
}

func onHost(name string) func(*witness.Coverage) {
	return func(c *witness.Coverage) { c.Instance.Host = name }
}

func processes(watched, seen, leastWatched, leastSeen uint64) func(*witness.Coverage) {
	return func(c *witness.Coverage) {
		c.ProcessesWatched, c.ProcessesSeen, c.LeastWatched, c.LeastSeen = watched, seen, leastWatched, leastSeen
	}
}

func about(about witness.About) func(*witness.Coverage) {
	return func(c *witness.Coverage) { c.About = about }
}

var parse = witness.About{
	Module: witness.Module{BuildID: "b1", SHA256: "s1", Path: "/usr/bin/app"}, Language: "go", Package: "golang.org/x/net/html", Member: "Parse",
	Symbol: "golang.org/x/net/html.Parse",
}

func (b *bench) cover(records ...witness.Coverage) {
	b.Helper()
	require.NoError(b, b.WriteCoverage(b.ctx, storage.Principal{}, records))
}

func (b *bench) covered(query storage.CoverageQuery) []witness.Coverage {
	b.Helper()
	found, err := b.Coverage(b.ctx, "", query)
	require.NoError(b, err)
	return found
}

func coverage(b *bench) {
	other := func(name string) func(*witness.Coverage) { return func(c *witness.Coverage) { c.Source = name } }
	asserted := func(c *witness.Coverage) { c.Assurance = witness.Asserted }
	for _, test := range []struct {
		name          string
		written, want []witness.Coverage
	}{
		{"heartbeats continue each other", []witness.Coverage{heartbeat(0), heartbeat(1), heartbeat(2)}, []witness.Coverage{heartbeat(0, until(3))}},
		{"what overlaps is one", []witness.Coverage{heartbeat(0, until(5)), heartbeat(3, until(7)), heartbeat(1)}, []witness.Coverage{heartbeat(0, until(7))}},
		{"a gap remains", []witness.Coverage{heartbeat(0), heartbeat(2)}, []witness.Coverage{heartbeat(0), heartbeat(2)}},
		{"of a nanosecond too", []witness.Coverage{heartbeat(0), heartbeat(1, func(c *witness.Coverage) { c.Start = c.Start.Add(1) })},
			[]witness.Coverage{heartbeat(0), heartbeat(1, func(c *witness.Coverage) { c.Start = c.Start.Add(1) })}},
		{"a late one closes it", []witness.Coverage{heartbeat(0), heartbeat(2), heartbeat(1)}, []witness.Coverage{heartbeat(0, until(3))}},
		{"another host", []witness.Coverage{heartbeat(0), heartbeat(1, onHost("node-2"))}, []witness.Coverage{heartbeat(0), heartbeat(1, onHost("node-2"))}},
		{"another incarnation", []witness.Coverage{heartbeat(0), heartbeat(1, other("a1/2/tetragon"))}, []witness.Coverage{heartbeat(0), heartbeat(1, other("a1/2/tetragon"))}},
		{"another assurance", []witness.Coverage{heartbeat(0), heartbeat(1, asserted)}, []witness.Coverage{heartbeat(0), heartbeat(1, asserted)}},
		{"other kinds", []witness.Coverage{heartbeat(0), heartbeat(1, func(c *witness.Coverage) { c.Kinds = c.Kinds[:1] })},
			[]witness.Coverage{heartbeat(0), heartbeat(1, func(c *witness.Coverage) { c.Kinds = c.Kinds[:1] })}},
		{"a function of its own", []witness.Coverage{heartbeat(0), heartbeat(1, about(parse))}, []witness.Coverage{heartbeat(0), heartbeat(1, about(parse))}},
		{"the last and the least share", []witness.Coverage{heartbeat(1, processes(1, 9, 0, 0)), heartbeat(0, processes(5, 6, 0, 0)), heartbeat(2, processes(8, 9, 0, 0))},
			[]witness.Coverage{heartbeat(0, until(3), processes(8, 9, 1, 9))}},
		{"nobody says how many", []witness.Coverage{heartbeat(0, processes(0, 0, 0, 0)), heartbeat(1), heartbeat(2, processes(0, 0, 0, 0))},
			[]witness.Coverage{heartbeat(0, until(3), processes(0, 0, 3, 4))}},
		{"losses of unknown size continue each other", []witness.Coverage{heartbeat(0, lost(0)), heartbeat(1, lost(0)), heartbeat(3, lost(0))},
			[]witness.Coverage{heartbeat(0, lost(0), until(2)), heartbeat(3, lost(0))}},
		{"counted losses stay what they are", []witness.Coverage{heartbeat(0, lost(3)), heartbeat(1, lost(4)), heartbeat(0, until(2), lost(5))},
			[]witness.Coverage{heartbeat(0, lost(3)), heartbeat(0, until(2), lost(5)), heartbeat(1, lost(4))}},
		{"of one key the larger count", []witness.Coverage{heartbeat(0, lost(3)), heartbeat(0, lost(9)), heartbeat(0, lost(4))}, []witness.Coverage{heartbeat(0, lost(9))}},
		{"a loss at a moment", []witness.Coverage{heartbeat(0, until(0), lost(3))}, []witness.Coverage{heartbeat(0, until(0), lost(3))}},
		{"states", []witness.Coverage{heartbeat(0, state("attached", "")), heartbeat(1, state("suspended", "throttled")), heartbeat(2, state("attached", ""))},
			[]witness.Coverage{heartbeat(0, state("attached", "")), heartbeat(1, state("suspended", "throttled")), heartbeat(2, state("attached", ""))}},
		{"a function that is refused", []witness.Coverage{heartbeat(0, state("refused", "not_found"), about(parse))}, []witness.Coverage{heartbeat(0, state("refused", "not_found"), about(parse))}},
		{"what is no coverage", []witness.Coverage{{Source: "s", Start: noon, End: noon}, heartbeat(0), heartbeat(0, until(-1))}, []witness.Coverage{heartbeat(0)}},
	} {
		for i := range test.written { // a source of its own, so that one bench does for all
			test.written[i].Source = test.name + "/" + test.written[i].Source
		}
		for i := range test.want {
			test.want[i].Source = test.name + "/" + test.want[i].Source
		}
		b.cover(test.written...)
		for range 2 {
			b.cover(test.written[len(test.written)-1])
		}
		found := slices.DeleteFunc(b.covered(storage.CoverageQuery{}), func(c witness.Coverage) bool {
			return !slices.ContainsFunc(test.want, func(w witness.Coverage) bool { return w.Source == c.Source })
		})
		assert.Equal(b, test.want, found, test.name)
	}
}

func coverageQueries(b *bench) {
	b.cover(heartbeat(0), heartbeat(2), heartbeat(4, onHost("node-2")), heartbeat(6, lost(9)), heartbeat(8, state("attached", "")), heartbeat(10, state("refused", "why")))
	all := b.covered(storage.CoverageQuery{})
	require.Len(b, all, 6)
	at := func(minutes float64) time.Time { return noon.Add(time.Duration(minutes * float64(time.Minute))) }
	for name, test := range map[string]struct {
		query storage.CoverageQuery
		want  []witness.Coverage
	}{
		"what overlaps":                       {storage.CoverageQuery{From: at(0.5), To: at(2.1)}, all[:2]},
		"an end is not included":              {storage.CoverageQuery{From: at(1), To: at(2)}, nil},
		"a part of one":                       {storage.CoverageQuery{From: at(2.2), To: at(2.3)}, all[1:2]},
		"a host":                              {storage.CoverageQuery{Hosts: []string{"node-2", "node-3"}}, all[2:3]},
		"the newest are kept":                 {storage.CoverageQuery{Limit: 2}, all[4:]},
		"a moment":                            {storage.CoverageQuery{From: at(8), To: at(9)}, all[4:5]},
		"the state at the beginning":          {storage.CoverageQuery{From: at(9), To: at(9.5)}, all[4:5]},
		"with what it was before":             {storage.CoverageQuery{From: at(9)}, all[4:]},
		"the last state before the beginning": {storage.CoverageQuery{From: at(11)}, all[5:]},
		"no state of later":                   {storage.CoverageQuery{From: at(7), To: at(8)}, nil},
	} {
		found := b.covered(test.query)
		assert.Equal(b, len(test.want), len(found), name)
		for i := range min(len(found), len(test.want)) {
			assert.Equal(b, test.want[i], found[i], name)
		}
	}
	b.cover(heartbeat(12, state("attached", ""), func(c *witness.Coverage) { c.Source = "a1/2/tetragon" }))
	found := b.covered(storage.CoverageQuery{From: at(13)})
	require.Len(b, found, 1, "a hook has one state, over the restarts of its source")
	assert.Equal(b, "a1/2/tetragon", found[0].Source)
}

// A source that never stops takes a row a week and no more; how long it watched remains exact.
func coverageFolds(b *bench) {
	start := noon.Add(-20 * 24 * time.Hour)
	var records []witness.Coverage
	for at := start; at.Before(noon); at = at.Add(15 * time.Minute) {
		records = append(records, heartbeat(0, func(c *witness.Coverage) { c.Start, c.End = at, at.Add(15*time.Minute) }))
	}
	for chunk := range slices.Chunk(records, 1000) {
		b.cover(chunk...)
	}
	found := b.covered(storage.CoverageQuery{})
	assert.LessOrEqual(b, len(found), 4)
	assert.Equal(b, start, found[0].Start)
	for i, c := range found[1:] {
		assert.Equal(b, found[i].End, c.Start, "no gap")
	}
	assert.Equal(b, noon, found[len(found)-1].End)
}

func coverageTenants(b *bench) {
	b.cover(heartbeat(0), heartbeat(2))
	require.NoError(b, b.WriteCoverage(b.ctx, storage.Principal{Tenant: "other", Name: "x"}, []witness.Coverage{heartbeat(1), heartbeat(5, lost(1))}))
	assert.Equal(b, []witness.Coverage{heartbeat(0), heartbeat(2)}, b.covered(storage.CoverageQuery{}), "nobody closes another's gap")
	found, err := b.Coverage(b.ctx, "other", storage.CoverageQuery{})
	require.NoError(b, err)
	assert.Equal(b, []witness.Coverage{heartbeat(1), heartbeat(5, lost(1))}, found)
	found, err = b.Coverage(b.ctx, "nobody", storage.CoverageQuery{})
	require.NoError(b, err)
	assert.Empty(b, found)
}

// coverageLimit: what is beyond what a backend keeps of a source on a day is told as a loss on all of it.
func coverageLimit(b *bench) {
	day := noon.Truncate(24 * time.Hour)
	records := make([]witness.Coverage, 12000)
	for i := range records {
		records[i] = heartbeat(0, lost(1))
		records[i].Start = day.Add(time.Duration(i) * time.Second)
		records[i].End = records[i].Start
	}
	for chunk := range slices.Chunk(records, 1000) {
		b.cover(chunk...)
	}
	found := b.covered(storage.CoverageQuery{Limit: 1 << 20})
	if len(found) == len(records) {
		return // there is no limit, or a higher one
	}
	limit := slices.IndexFunc(found, func(c witness.Coverage) bool { return c.LossStage == storage.StageCoverageLimit })
	require.GreaterOrEqual(b, limit, 0)
	assert.Equal(b, day, found[limit].Start)
	assert.Equal(b, day.Add(24*time.Hour), found[limit].End)
	assert.Zero(b, found[limit].Lost)
	b.cover(heartbeat(24*60), heartbeat(24*60+1, func(c *witness.Coverage) { c.Source = "a2/1/tetragon" }))
	assert.Len(b, b.covered(storage.CoverageQuery{From: day.Add(24 * time.Hour)}), 2, "another day, another source")
}

// The same records give the same answers in any order of arrival, cut into any batches, some of them delivered again and
// with a restart anywhere.
func coverageOrder(b *bench) {
	const length = 240 // minutes, beginning before the end of a week
	rapid.Check(b.T, func(t *rapid.T) {
		tenant := rapid.StringMatching("[a-z]{12}").Draw(t, "tenant")
		begin := time.Unix(0, 0).UTC().Add(2968 * 7 * 24 * time.Hour).Add(-length / 2 * time.Minute)
		var records []witness.Coverage
		watched := [2][length]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			from := rapid.IntRange(0, length-1).Draw(t, "from")
			to := rapid.IntRange(from, min(length, from+60)).Draw(t, "to")
			host := rapid.IntRange(0, 1).Draw(t, "host")
			c := heartbeat(0, onHost([]string{"node-1", "node-2"}[host]))
			switch rapid.SampledFrom([]string{"heartbeat", "heartbeat", "unknown", "counted", "state"}).Draw(t, "form") {
			case "heartbeat":
				seen := rapid.Uint64Range(0, 4).Draw(t, "seen")
				n := rapid.Uint64Range(0, seen).Draw(t, "watched")
				processes(n, seen, 0, 0)(&c)
				for i := from; i < to; i++ {
					watched[host][i] = true
				}
			case "unknown":
				lost(0)(&c)
			case "counted":
				lost(rapid.Uint64Range(1, 3).Draw(t, "lost"))(&c)
			case "state":
				state(rapid.SampledFrom([]string{"attached", "suspended"}).Draw(t, "state"), rapid.SampledFrom([]string{"", "why"}).Draw(t, "reason"))(&c)
			}
			c.Start, c.End = begin.Add(time.Duration(from)*time.Minute), begin.Add(time.Duration(to)*time.Minute)
			records = append(records, c)
		}
		shuffle := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) //nolint:gosec // a test
		deliver := func(tenant string) []witness.Coverage {
			again := append(slices.Clone(records), records[:shuffle.IntN(len(records))]...)
			shuffle.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			for chunk := range slices.Chunk(again, 1+shuffle.IntN(len(again))) {
				if err := b.WriteCoverage(b.ctx, storage.Principal{Tenant: tenant}, chunk); err != nil {
					t.Fatal(err)
				}
			}
			found, err := b.Coverage(b.ctx, tenant, storage.CoverageQuery{})
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		first := deliver(tenant)
		second := deliver(tenant + "2")
		if !assert.ObjectsAreEqual(first, second) {
			t.Fatalf("%v\nis not\n%v", first, second)
		}
		if b.reopen != nil && shuffle.IntN(10) == 0 {
			b.Storage = b.reopen(b.T, b.Storage, b.clock)
		}
		from, to := begin.Add(time.Duration(shuffle.IntN(length))*time.Minute), begin.Add(length*time.Minute)
		for _, query := range []storage.CoverageQuery{{}, {From: from}, {To: from}, {From: from, To: to}} {
			found, err := b.Coverage(b.ctx, tenant, query)
			if err != nil {
				t.Fatal(err)
			}
			other, err := b.Coverage(b.ctx, tenant+"2", query)
			if err != nil {
				t.Fatal(err)
			}
			if !assert.ObjectsAreEqual(found, other) {
				t.Fatalf("%v\nis not\n%v", found, other)
			}
		}
		for host, minutes := range watched {
			for i, want := range minutes {
				at := begin.Add(time.Duration(i) * time.Minute)
				got := slices.ContainsFunc(first, func(c witness.Coverage) bool {
					return len(c.Kinds) > 0 && c.Instance.Host == []string{"node-1", "node-2"}[host] && !c.Start.After(at) && c.End.After(at)
				})
				if got != want {
					t.Fatalf("minute %d of host %d: watched %t, not %t", i, host, got, want)
				}
			}
		}
		if !slices.IsSortedFunc(first, func(a, b witness.Coverage) int { return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End)) }) {
			t.Fatal("not by start")
		}
	})
}
