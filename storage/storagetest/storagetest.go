// Package storagetest is the conformance suite of storage backends: the laws of the model, and a comparison with a
// model in memory over random histories.
package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Open opens a new, empty backend whose clock is now, and closes it when the test ends.
type Open func(t *testing.T, now func() time.Time) storage.Storage

// Reopen closes a backend that Open made and opens the same data again.
type Reopen func(t *testing.T, s storage.Storage, now func() time.Time) storage.Storage

// Run tests a backend. Without reopen, what needs a restart is left out.
func Run(t *testing.T, open Open, reopen Reopen) {
	for _, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"an empty storage answers", empty},
		{"redelivery counts once", redelivery},
		{"each part of the key makes another observation", keys},
		{"nobody takes the key of what is measured", spoofed},
		{"a receipt makes a batch happen once", receipts},
		{"tenants never see each other", tenants},
		{"of two receivers the larger count stands", receivers},
		{"an incarnation is the same receiver", incarnations},
		{"posts add up", posts},
		{"what is ahead or malformed is refused alone", refusals},
		{"the order of arrival does not matter", order},
		{"a timeline adds up to the summary", timelines},
		{"a timeline is tied to what was known", timelineItems},
		{"a finding is put, replaced and deleted, never a witness", findings},
		{"findings of a scope are replaced at once", scopes},
		{"findings come in pages", findingPages},
		{"a finding imported later finds its witnesses", importedLater},
		{"a trace names a finding", named},
		{"named witnesses of some subjects", namedOfSubjects},
		{"subjects up to a limit", limitedSubjects},
		{"a link learnt later applies to older observations", learntLater},
		{"measured knowledge stands before asserted", measuredFirst},
		{"a witness comes back as it is", roundTrip},
		{"odd values are stored as they are", oddities},
		{"a row is described by its newest observation", newest},
		{"subjects are shared by workloads and paths", sharedSubjects},
		{"filters select", filters},
		{"pages walk everything once", pages},
		{"hot symbols", hotSymbols},
		{"coverage is folded", coverage},
		{"coverage is selected", coverageQueries},
		{"coverage of weeks is a few rows", coverageFolds},
		{"coverage of tenants is apart", coverageTenants},
		{"coverage of a day is bounded", coverageLimit},
		{"the order of coverage does not matter", coverageOrder},
		{"containment is kept by signal and source", containment},
		{"the order of containment does not matter", containmentOrder},
		{"containment is selected", containmentFilters},
		{"containment comes in pages", containmentPages},
		{"snapshots come back with their inputs", snapshots},
		{"snapshots never fork", snapshotsNeverFork},
		{"snapshots have limits", snapshotLimits},
		{"snapshots come in pages", snapshotPages},
		{"snapshots are a tenant's", snapshotTenants},
		{"snapshots outlive their finding and a restart", snapshotsStay},
		{"changes are told to those who keep answers", changes},
		{"named subjects and workloads of many", namedSubjects},
		{"findings are selected by id", findingsByID},
		{"vendored packages are selected by what they end in", vendored},
		{"a closed storage says so", closed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newBench(t, open, reopen)) })
	}
	if reopen != nil {
		t.Run("a restart keeps everything", func(t *testing.T) { restart(newBench(t, open, reopen)) })
	}
	t.Run("random histories are as the model says", func(t *testing.T) { histories(t, open, reopen) })
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// bench is a storage under test; now is its clock.
type bench struct {
	*testing.T
	storage.Storage
	reopen Reopen
	ctx    context.Context
	lock   sync.Mutex // of now: a storage may look at the clock at any time
	now    time.Time
}

func newBench(t *testing.T, open Open, reopen Reopen) *bench {
	b := &bench{T: t, reopen: reopen, ctx: context.Background(), now: noon.Add(time.Hour)}
	b.Storage = open(t, b.clock)
	return b
}

func (b *bench) clock() time.Time {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.now
}

func (b *bench) setNow(now time.Time) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.now = now
}

// change changes an observation.
type change func(*witness.Observation)

// observation is one hit of a call of html.Parse, from a collector on node-1, in the minute of noon; with changes.
func observation(changes ...change) witness.Observation {
	o := witness.Observation{
		Witness: witness.Witness{
			Kind:     witness.KindCall,
			Frame:    frame("golang.org/x/net/html", "Parse"),
			Workload: witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:aa"},
		},
		Source: "a1/1/tetragon", Instance: witness.Instance{Host: "node-1", Pod: "web-1", Container: "c1"},
		WindowStart: noon, WindowEnd: noon.Add(time.Minute), FirstSeen: noon, LastSeen: noon,
		Hits: 1, Assurance: witness.Measured, Origin: witness.OriginWorkload,
	}
	for _, change := range changes {
		change(&o)
	}
	o.ID = o.Witness.ID()
	return o
}

func frame(pkg, member string) witness.Frame {
	return witness.Frame{Package: pkg, Member: member, Symbol: pkg + "." + member, Language: "go",
		Module: witness.Module{BuildID: "b1", Path: "/usr/bin/app"}}
}

func hits(n uint64) change   { return func(o *witness.Observation) { o.Hits = n } }
func flush(n uint64) change  { return func(o *witness.Observation) { o.Flush = n } }
func source(s string) change { return func(o *witness.Observation) { o.Source = s } }
func host(s string) change   { return func(o *witness.Observation) { o.Instance.Host = s } }
func function(pkg, name string) change {
	return func(o *witness.Observation) { o.Witness.Frame = frame(pkg, name) }
}
func namespace(s string) change {
	return func(o *witness.Observation) { o.Witness.Workload.Namespace = s }
}
func component(purl string) change {
	return func(o *witness.Observation) { o.Witness.Frame.Component = purl }
}
func artifact(purl string) change {
	return func(o *witness.Observation) { o.Artifact = witness.Artifact{PURL: purl, Method: "buildinfo"} }
}
func finding(ids ...string) change { return func(o *witness.Observation) { o.FindingIDs = ids } }
func path(frames ...witness.Frame) change {
	return func(o *witness.Observation) { o.Witness.Path = frames }
}
func kind(k witness.Kind) change { return func(o *witness.Observation) { o.Witness.Kind = k } }

func assertedBy(o *witness.Observation) { o.Assurance = witness.Asserted }

// at moves an observation to the window of a length that t is in.
func at(t time.Time, length time.Duration) change {
	return func(o *witness.Observation) {
		o.WindowStart = witness.AlignWindow(t, length)
		o.WindowEnd = o.WindowStart.Add(length)
		o.FirstSeen, o.LastSeen = t, t
	}
}

func minute(n int) change { return at(noon.Add(time.Duration(n)*time.Minute), time.Minute) }

// write writes observations of the default tenant, all of which must be new.
func (b *bench) write(observations ...witness.Observation) {
	b.Helper()
	assert.Equal(b, storage.Written{Stored: len(observations)}, b.deliver(observations...))
}

func (b *bench) deliver(observations ...witness.Observation) storage.Written {
	b.Helper()
	written, err := b.WriteObservations(b.ctx, storage.Batch{Observations: observations})
	require.NoError(b, err)
	return written
}

// all selects everything of a tenant.
func (b *bench) all(tenant string) storage.Filter {
	b.Helper()
	hot, err := b.HotSymbols(b.ctx, tenant, storage.HotQuery{Limit: 1000})
	require.NoError(b, err)
	filter := storage.Filter{Subjects: []string{}}
	for _, symbol := range hot {
		filter.Subjects = append(filter.Subjects, symbol.Subject.ID)
	}
	return filter
}

func (b *bench) summary(tenant string) storage.Summary {
	b.Helper()
	summary, err := b.Summary(b.ctx, tenant, b.all(tenant))
	require.NoError(b, err)
	return summary
}

func (b *bench) witnesses(tenant string, query storage.WitnessQuery) []storage.WitnessTotal {
	b.Helper()
	var all []storage.WitnessTotal
	for {
		page, err := b.Witnesses(b.ctx, tenant, query)
		require.NoError(b, err)
		all = append(all, page.Witnesses...)
		if page.Next == nil {
			return all
		}
		require.NotEmpty(b, page.Witnesses, "a page that has a next one")
		query.After = page.Next
	}
}

func empty(b *bench) {
	_, err := b.Finding(b.ctx, "", "CVE-1")
	assert.ErrorIs(b, err, storage.ErrNotFound)
	assert.ErrorIs(b, b.DeleteFinding(b.ctx, storage.Principal{}, "CVE-1"), storage.ErrNotFound)
	for _, tenant := range []string{"", "nobody"} {
		page, err := b.Findings(b.ctx, tenant, storage.FindingQuery{})
		require.NoError(b, err)
		assert.Empty(b, page.Findings)
		assert.False(b, page.More)
		subjects, err := b.Subjects(b.ctx, tenant, storage.SubjectQuery{Finding: "x", Members: []string{"m"}, Packages: []string{"p"}, Components: []string{"pkg:golang/c"}})
		require.NoError(b, err)
		assert.Empty(b, subjects)
		filter := storage.Filter{Subjects: []string{"1", "no such subject"}, Finding: "x"}
		witnesses, err := b.Witnesses(b.ctx, tenant, storage.WitnessQuery{Filter: filter})
		require.NoError(b, err)
		assert.Empty(b, witnesses.Witnesses)
		assert.Nil(b, witnesses.Next)
		summary, err := b.Summary(b.ctx, tenant, filter)
		require.NoError(b, err)
		assert.Zero(b, summary.Hits)
		assert.Empty(b, summary.BySubject)
		assert.True(b, summary.FirstSeen.IsZero())
		timeline, err := b.Timeline(b.ctx, tenant, storage.TimelineQuery{Filter: filter, Bucket: time.Hour})
		require.NoError(b, err)
		assert.Empty(b, timeline.Buckets)
		assert.Zero(b, timeline.Resolution)
		coverage, err := b.Coverage(b.ctx, tenant, storage.CoverageQuery{})
		require.NoError(b, err)
		assert.Empty(b, coverage)
		hot, err := b.HotSymbols(b.ctx, tenant, storage.HotQuery{})
		require.NoError(b, err)
		assert.Empty(b, hot)
	}
	assert.Equal(b, storage.Written{}, b.deliver())
	require.NoError(b, b.WriteCoverage(b.ctx, storage.Principal{}, nil))
}

func redelivery(b *bench) {
	o := observation(hits(3))
	b.write(o)
	again := o
	again.Hits, again.FindingIDs = 99, []string{"CVE-2"}
	assert.Equal(b, storage.Written{Duplicates: 1}, b.deliver(again))
	assert.Equal(b, storage.Written{Stored: 1, Duplicates: 2}, b.deliver(o, observation(flush(1)), o), "also within a batch with news")
	assert.EqualValues(b, 4, b.summary("").Hits)
	_, err := b.Finding(b.ctx, "", "CVE-2")
	assert.ErrorIs(b, err, storage.ErrNotFound, "a redelivered observation adds nothing at all")
}

func keys(b *bench) {
	b.write(
		observation(), observation(flush(1)), observation(minute(1)), observation(source("b2/1/ebpf"), host("node-2")), observation(host("node-3")),
		observation(namespace("bank")),
	)
	assert.EqualValues(b, 6, b.summary("").Hits)
}

// spoofed: who knows the source of a collector and writes under its keys first must not have its hits taken for known.
func spoofed(b *bench) {
	asserted := observation(hits(1), assertedBy)
	measured := observation(hits(7))
	b.write(asserted)
	assert.Equal(b, storage.Written{Stored: 1}, b.deliver(measured))
	for range 2 {
		assert.Equal(b, storage.Written{Duplicates: 1}, b.deliver(asserted))
		assert.Equal(b, storage.Written{Duplicates: 1}, b.deliver(measured))
	}
	assert.Equal(b, map[witness.Assurance]uint64{witness.Measured: 7}, b.summary("").ByAssurance)
}

func receipts(b *bench) {
	batch := func(key string, body byte, observations ...witness.Observation) storage.Batch {
		return storage.Batch{Principal: storage.Principal{Name: "alice"}, Observations: observations, Receipt: &storage.Receipt{Key: key, Body: [32]byte{body}}}
	}
	write := func(batch storage.Batch) (storage.Written, error) { return b.WriteObservations(b.ctx, batch) }
	written, err := write(batch("k", 1, observation(source("post/1/http")), observation(source("post/1/http"), minute(1))))
	require.NoError(b, err)
	assert.Equal(b, storage.Written{Stored: 2}, written)
	written, err = write(batch("k", 1, observation(source("post/1/http")), observation(source("post/1/http"), minute(2))))
	require.NoError(b, err)
	assert.Equal(b, storage.Written{Duplicates: 2}, written, "all of it, whatever it holds")
	_, err = write(batch("k", 2, observation(source("post/9/http"))))
	require.ErrorIs(b, err, storage.ErrConflict)
	assert.EqualValues(b, 2, b.summary("").Hits, "a conflict stores nothing")

	other := batch("k", 2, observation(source("post/2/http")))
	other.Principal.Name = "bob"
	written, err = write(other)
	require.NoError(b, err)
	assert.Equal(b, storage.Written{Stored: 1}, written, "a key belongs to its principal")
	other.Principal.Tenant = "t"
	written, err = write(other)
	require.NoError(b, err)
	assert.Equal(b, storage.Written{Stored: 1}, written, "and to its tenant")

	written, err = write(batch("all refused", 1, observation(minute(600))))
	require.NoError(b, err)
	assert.Len(b, written.Refused, 1)
	_, err = write(batch("all refused", 2, observation(minute(600))))
	require.ErrorIs(b, err, storage.ErrConflict, "a receipt is kept even if nothing was stored")

	partly := batch("partly", 1, observation(source("post/3/http")), observation(source("post/3/http"), minute(600)))
	first, err := write(partly)
	require.NoError(b, err)
	assert.Equal(b, 1, first.Stored)
	again, err := write(partly)
	require.NoError(b, err)
	assert.Equal(b, storage.Written{Duplicates: 1, Refused: first.Refused}, again, "what was refused is not taken for stored")

	before := b.clock()
	b.setNow(before.Add(24 * time.Hour))
	again, err = write(partly)
	b.setNow(before)
	require.NoError(b, err)
	assert.Equal(b, storage.Written{Duplicates: 1, Refused: first.Refused}, again, "nor when its time has come")
}

func tenants(b *bench) {
	o := observation(finding("CVE-1"), component("pkg:golang/golang.org/x/net@v0.1.0"), artifact("pkg:golang/app@v1"))
	for tenant, n := range map[string]uint64{"": 1, "t1": 2, "t2": 3} {
		o.Hits = n
		written, err := b.WriteObservations(b.ctx, storage.Batch{Principal: storage.Principal{Tenant: tenant}, Observations: []witness.Observation{o}})
		require.NoError(b, err)
		assert.Equal(b, 1, written.Stored, "keys of tenants are their own")
		require.NoError(b, b.WriteCoverage(b.ctx, storage.Principal{Tenant: tenant}, []witness.Coverage{{Source: "s", Signal: "tetragon", Kinds: []witness.Kind{witness.KindExec}, Start: noon, End: noon.Add(time.Minute), ProcessesSeen: n}}))
		_, err = b.PutFinding(b.ctx, storage.Principal{Tenant: tenant}, witness.Finding{ID: "CVE-1", Title: tenant + "'s"})
		require.NoError(b, err)
	}
	foreign := b.all("t1")
	for tenant, n := range map[string]uint64{"": 1, "t1": 2, "t2": 3} {
		assert.Equal(b, n, b.summary(tenant).Hits)
		found, err := b.Finding(b.ctx, tenant, "CVE-1")
		require.NoError(b, err)
		assert.Equal(b, tenant+"'s", found.Title)
		coverage, err := b.Coverage(b.ctx, tenant, storage.CoverageQuery{})
		require.NoError(b, err)
		if assert.Len(b, coverage, 1) {
			assert.Equal(b, n, coverage[0].ProcessesSeen)
		}
		subjects, err := b.Subjects(b.ctx, tenant, storage.SubjectQuery{Finding: "CVE-1", Members: []string{"Parse"}, Packages: []string{"golang.org/x/net/html"}, Components: []string{"pkg:golang/golang.org/x/net"}})
		require.NoError(b, err)
		assert.Len(b, subjects, 1)
		if tenant == "t1" {
			continue
		}
		summary, err := b.Summary(b.ctx, tenant, foreign)
		require.NoError(b, err)
		assert.Zero(b, summary.Hits, "another tenant's subject")
		assert.Empty(b, b.witnesses(tenant, storage.WitnessQuery{Filter: foreign}))
	}
	require.NoError(b, b.DeleteFinding(b.ctx, storage.Principal{Tenant: "t1"}, "CVE-1"))
	_, err := b.Finding(b.ctx, "t2", "CVE-1")
	assert.NoError(b, err)
	require.NoError(b, b.ReplaceFindings(b.ctx, storage.Principal{Tenant: "t1"}, "", nil))
	_, err = b.Finding(b.ctx, "", "CVE-1")
	assert.NoError(b, err)
}

func receivers(b *bench) {
	caller := frame("main", "main")
	b.write(
		observation(hits(5), source("a1/1/tetragon")), observation(hits(2), source("a1/1/tetragon"), flush(1)),
		observation(hits(6), source("b2/1/ebpf")),
		observation(hits(3), source("b2/1/ebpf"), path(caller)), // another witness of the same subject
		observation(hits(4), source("b2/1/ebpf"), minute(1)),
		observation(hits(1), source("b2/1/ebpf"), host("node-2")),
		observation(hits(2), source("b2/1/ebpf"), assertedBy, flush(7)),
	)
	// noon on node-1, measured: tetragon 5+2, ebpf 6+3: 9. The rest has one receiver: 4, 1, and asserted 2.
	summary := b.summary("")
	assert.EqualValues(b, 9+4+1+2, summary.Hits)
	assert.Equal(b, map[witness.Assurance]uint64{witness.Measured: 14, witness.Asserted: 2}, summary.ByAssurance)
	assert.Equal(b, map[witness.Kind]uint64{witness.KindCall: 16}, summary.ByKind)
	got := map[int]uint64{}
	for _, w := range b.witnesses("", storage.WitnessQuery{Filter: b.all("")}) {
		got[len(w.Witness.Path)] = w.Hits
	}
	assert.Equal(b, map[int]uint64{0: 7 + 4 + 1 + 2, 1: 3}, got, "a row of a witness compares the receivers of that witness")
	b.write(observation(hits(100), kind(witness.KindSample), source("b2/1/ebpf")))
	assert.EqualValues(b, 116, b.summary("").Hits, "another kind is another subject")
}

func incarnations(b *bench) {
	b.write(observation(hits(5), source("a1/1/tetragon")), observation(hits(7), source("a1/2/tetragon")), observation(hits(11), source("a1/2/tetragon/2")))
	assert.EqualValues(b, 12, b.summary("").Hits, "5 and 7 are one receiver's before and after a restart; 11 is another's")
}

func posts(b *bench) {
	b.write(
		observation(hits(5), source("post/11/http"), assertedBy), observation(hits(7), source("post/22/http"), assertedBy),
		observation(hits(2), source("a1/1/tetragon"), assertedBy), observation(hits(3), source("b2/1/ebpf"), assertedBy),
	)
	assert.EqualValues(b, 5+7+3, b.summary("").Hits)
}

func refusals(b *bench) {
	ahead := b.now.Add(storage.MaxAhead)
	bad := observation()
	bad.Hits = 0
	malformed := observation()
	malformed.WindowEnd = malformed.WindowStart
	written := b.deliver(
		observation(at(ahead.Add(time.Second), time.Minute)), bad, observation(at(ahead, time.Second)), malformed,
		observation(), observation(at(ahead.Add(time.Hour), time.Minute)),
	)
	assert.Equal(b, 2, written.Stored)
	var indexes []int
	for _, refusal := range written.Refused {
		indexes = append(indexes, refusal.Index)
		assert.NotEmpty(b, refusal.Reason)
	}
	assert.Equal(b, []int{0, 1, 3, 5}, indexes)
	b.setNow(b.now.Add(time.Minute))
	b.write(observation(at(ahead.Add(time.Second), time.Minute), flush(1)))
}

func order(b *bench) {
	observations := []witness.Observation{
		observation(hits(5), artifact("pkg:golang/app@v1"), component("pkg:golang/golang.org/x/net@v1")),
		observation(hits(7), source("b2/1/ebpf"), artifact("pkg:golang/app@v1"), component("pkg:golang/golang.org/x/net@v1")),
		observation(hits(4), source("b2/1/ebpf"), flush(1), artifact("pkg:golang/app@v1"), component("pkg:golang/golang.org/x/net@v1")),
		observation(hits(1), minute(3), artifact("pkg:golang/app@v2"), component("pkg:golang/golang.org/x/net@v2")),
		observation(hits(2), minute(2)), observation(hits(9), host("node-2"), path(frame("main", "main"))),
		observation(hits(3), function("golang.org/x/net/html", "Render")), observation(hits(3), namespace("bank")),
	}
	look := func(tenant string) (storage.Summary, storage.Timeline, []storage.WitnessTotal) {
		timeline, err := b.Timeline(b.ctx, tenant, storage.TimelineQuery{Filter: b.all(tenant), Bucket: 2 * time.Minute})
		require.NoError(b, err)
		summary := b.summary(tenant)
		parts := slices.Collect(func(yield func(storage.SubjectTotal) bool) {
			for _, total := range summary.BySubject {
				if !yield(total) {
					return
				}
			}
		})
		slices.SortFunc(parts, func(a, b storage.SubjectTotal) int { return cmp.Compare(a.Hits, b.Hits) })
		assert.Len(b, parts, 2)
		summary.BySubject = map[string]storage.SubjectTotal{"first": parts[0], "second": parts[1]}
		witnesses := b.witnesses(tenant, storage.WitnessQuery{Filter: b.all(tenant)})
		for i := range witnesses {
			witnesses[i].Subject = ""
		}
		return summary, timeline, witnesses
	}
	deliver := func(tenant string) {
		for _, o := range observations {
			_, err := b.WriteObservations(b.ctx, storage.Batch{Principal: storage.Principal{Tenant: tenant}, Observations: []witness.Observation{o}})
			require.NoError(b, err)
		}
	}
	deliver("in order")
	summary, timeline, witnesses := look("in order")
	for round := range uint64(5) {
		tenant := fmt.Sprint("shuffled ", round)
		random := rand.New(rand.NewPCG(round, 1)) //nolint:gosec // repeatable
		random.Shuffle(len(observations), func(i, j int) { observations[i], observations[j] = observations[j], observations[i] })
		deliver(tenant)
		gotSummary, gotTimeline, gotWitnesses := look(tenant)
		assert.Equal(b, summary, gotSummary)
		assert.Equal(b, timeline, gotTimeline)
		assert.Equal(b, witnesses, gotWitnesses)
	}
}

func timelines(b *bench) {
	var observations []witness.Observation
	for n := range 50 {
		count := uint64(n) //nolint:gosec // small
		observations = append(observations, observation(hits(count+1), minute(n*n%97), flush(count), kind(witness.Kinds[2+n%2]), host(fmt.Sprint("node-", n%3))))
	}
	observations = append(observations, observation(hits(1000), at(noon, time.Hour), source("c3/1/ebpf"), host("node-9")))
	b.setNow(noon.Add(3 * time.Hour))
	b.write(observations...)
	summary := b.summary("")
	for _, size := range []time.Duration{time.Second, time.Minute, 7 * time.Minute, time.Hour, 24 * time.Hour} {
		timeline, err := b.Timeline(b.ctx, "", storage.TimelineQuery{Filter: b.all(""), Bucket: size})
		require.NoError(b, err)
		assert.Equal(b, time.Hour, timeline.Resolution)
		total := map[witness.Kind]uint64{}
		var last time.Time
		for _, bucket := range timeline.Buckets {
			assert.Equal(b, witness.AlignWindow(bucket.Start, size), bucket.Start)
			assert.True(b, bucket.Start.After(last), "chronological")
			last = bucket.Start
			items := map[witness.Kind]uint64{}
			for _, item := range bucket.Items {
				for kind, n := range item.Hits {
					items[kind] += n
				}
			}
			assert.Equal(b, bucket.Hits, items, "items add up")
			for kind, n := range bucket.Hits {
				assert.NotZero(b, n)
				total[kind] += n
			}
		}
		assert.Equal(b, summary.ByKind, total, "size %s", size)
	}
	filter := b.all("")
	filter.From, filter.To = noon.Add(10*time.Minute), noon.Add(20*time.Minute)
	timeline, err := b.Timeline(b.ctx, "", storage.TimelineQuery{Filter: filter, Bucket: time.Minute})
	require.NoError(b, err)
	require.NotEmpty(b, timeline.Buckets)
	for _, bucket := range timeline.Buckets {
		assert.False(b, bucket.Start.Before(filter.From))
		assert.True(b, bucket.Start.Before(filter.To))
	}
	assert.Equal(b, time.Minute, timeline.Resolution)
	_, err = b.Timeline(b.ctx, "", storage.TimelineQuery{Filter: filter})
	assert.Error(b, err, "a bucket without length")
}

func timelineItems(b *bench) {
	b.write(
		observation(hits(1), minute(0), artifact("pkg:golang/app@v1"), component("pkg:golang/golang.org/x/net@v1")),
		observation(hits(2), minute(1)),
		observation(hits(4), minute(2), artifact("pkg:golang/app@v2"), component("pkg:golang/golang.org/x/net@v2")),
	)
	timeline, err := b.Timeline(b.ctx, "", storage.TimelineQuery{Filter: b.all(""), Bucket: time.Minute})
	require.NoError(b, err)
	got := map[string]uint64{}
	for _, bucket := range timeline.Buckets {
		for _, item := range bucket.Items {
			got[bucket.Start.Format("15:04 ")+item.Artifact.PURL+" "+item.Component] = item.Hits[witness.KindCall]
		}
	}
	assert.Equal(b, map[string]uint64{
		"12:00 pkg:golang/app@v1 pkg:golang/golang.org/x/net@v1": 1,
		"12:01 pkg:golang/app@v2 pkg:golang/golang.org/x/net@v2": 2, // as known by now
		"12:02 pkg:golang/app@v2 pkg:golang/golang.org/x/net@v2": 4,
	}, got)
}

func findings(b *bench) {
	b.write(observation(finding("CVE-1")))
	found, err := b.Finding(b.ctx, "", "CVE-1")
	require.NoError(b, err)
	assert.Equal(b, witness.Finding{ID: "CVE-1"}, found, "a finding that a trace names exists from then on")
	full := witness.Finding{
		ID: "CVE-1", Aliases: []string{"GHSA-1"}, Title: "title", Component: "pkg:golang/golang.org/x/net",
		Affected: []witness.VersionRange{{Introduced: "0", Fixed: "0.2.0"}}, Versions: []string{"0.1.0"},
		Symbols:  []witness.SymbolRef{{Language: "go", Package: "golang.org/x/net/html", Member: "Parse", Source: "osv"}},
		Severity: "high", Occurrences: []witness.Occurrence{{Scanner: "trivy", ImageDigest: "sha256:aa"}},
	}
	created, err := b.PutFinding(b.ctx, storage.Principal{}, full)
	require.NoError(b, err)
	assert.False(b, created)
	found, err = b.Finding(b.ctx, "", "CVE-1")
	require.NoError(b, err)
	assert.Equal(b, full, found)
	b.write(observation(finding("CVE-1"), flush(1)))
	found, err = b.Finding(b.ctx, "", "CVE-1")
	require.NoError(b, err)
	assert.Equal(b, full, found, "another trace that names it changes nothing")
	created, err = b.PutFinding(b.ctx, storage.Principal{}, witness.Finding{ID: "CVE-2", Component: "pkg:golang/other"})
	require.NoError(b, err)
	assert.True(b, created)

	require.NoError(b, b.DeleteFinding(b.ctx, storage.Principal{}, "CVE-1"))
	_, err = b.Finding(b.ctx, "", "CVE-1")
	assert.ErrorIs(b, err, storage.ErrNotFound)
	assert.ErrorIs(b, b.DeleteFinding(b.ctx, storage.Principal{}, "CVE-1"), storage.ErrNotFound)
	assert.EqualValues(b, 2, b.summary("").Hits, "no witness is deleted")
}

func limitedSubjects(b *bench) {
	b.write(
		observation(finding("F")), observation(function("golang.org/x/net/html", "Render"), component("pkg:golang/golang.org/x/net@v1")),
		observation(function("other", "Parse")), observation(function("other", "Parse"), namespace("bank")),
	)
	query := storage.SubjectQuery{Finding: "F", Members: []string{"Parse"}, Packages: []string{"other"}, Components: []string{"pkg:golang/golang.org/x/net"}}
	for limit, tooMany := range map[int]bool{0: false, 3: false, 4: false, 2: true, 1: true} {
		query.Limit = limit
		subjects, err := b.Subjects(b.ctx, "", query)
		if tooMany {
			assert.ErrorIs(b, err, storage.ErrTooMany, "limit %d", limit)
			assert.Empty(b, subjects)
			continue
		}
		require.NoError(b, err)
		assert.Len(b, subjects, 3, "limit %d; each once, whatever selects it", limit)
	}
}

func (b *bench) findingIDs(query storage.FindingQuery) []string {
	b.Helper()
	ids := []string{}
	for {
		page, err := b.Findings(b.ctx, "", query)
		require.NoError(b, err)
		for _, finding := range page.Findings {
			ids = append(ids, finding.ID)
		}
		if !page.More {
			return ids
		}
		require.NotEmpty(b, page.Findings)
		query.After = ids[len(ids)-1]
	}
}

func scopes(b *bench) {
	replace := func(scope string, ids ...string) {
		var findings []witness.Finding
		for _, id := range ids {
			findings = append(findings, witness.Finding{ID: id, Title: scope})
		}
		require.NoError(b, b.ReplaceFindings(b.ctx, storage.Principal{}, scope, findings))
	}
	_, err := b.PutFinding(b.ctx, storage.Principal{}, witness.Finding{ID: "by hand"})
	require.NoError(b, err)
	replace("one", "a", "b", "c")
	replace("two", "x", "b")
	assert.Equal(b, []string{"a", "b", "by hand", "c", "x"}, b.findingIDs(storage.FindingQuery{}))
	moved, err := b.Finding(b.ctx, "", "b")
	require.NoError(b, err)
	assert.Equal(b, witness.Finding{ID: "b", Title: "two", Scope: "two"}, moved)
	b.write(observation(finding("c")))
	replace("one", "d")
	assert.Equal(b, []string{"b", "by hand", "c", "d", "x"}, b.findingIDs(storage.FindingQuery{}), "a leaves; b moved before; c was named")
	named, err := b.Finding(b.ctx, "", "c")
	require.NoError(b, err)
	assert.Equal(b, witness.Finding{ID: "c"}, named)
	replace("one")
	replace("two")
	assert.Equal(b, []string{"by hand", "c"}, b.findingIDs(storage.FindingQuery{}))
}

func findingPages(b *bench) {
	var findings []witness.Finding
	var want, ofOne []string
	for n := range 250 {
		id := fmt.Sprintf("F-%03d", n)
		want = append(want, id)
		finding := witness.Finding{ID: id, Component: "pkg:golang/many"}
		if n%100 == 0 {
			finding.Component = "pkg:golang/one"
			ofOne = append(ofOne, id)
		}
		findings = append(findings, finding)
	}
	require.NoError(b, b.ReplaceFindings(b.ctx, storage.Principal{}, "s", findings))
	assert.Equal(b, want, b.findingIDs(storage.FindingQuery{Limit: 7}))
	assert.Equal(b, want, b.findingIDs(storage.FindingQuery{}))
	assert.Equal(b, want, b.findingIDs(storage.FindingQuery{Limit: 5000}))
	assert.Equal(b, ofOne, b.findingIDs(storage.FindingQuery{Component: "pkg:golang/one", Limit: 2}))
	page, err := b.Findings(b.ctx, "", storage.FindingQuery{Limit: 250})
	require.NoError(b, err)
	assert.False(b, page.More, "nothing behind a full page")
}

func importedLater(b *bench) {
	b.write(observation(hits(4)), observation(kind(witness.KindLoad), func(o *witness.Observation) {
		o.Witness.Frame = witness.Frame{Module: witness.Module{BuildID: "b2", Path: "/lib/libssl.so.3"}, Component: "pkg:deb/debian/libssl3@3.0.1?upstream=openssl@3.0.1&arch=amd64"}
	}))
	_, err := b.PutFinding(b.ctx, storage.Principal{}, witness.Finding{ID: "CVE-1"})
	require.NoError(b, err)
	for name, test := range map[string]struct {
		query storage.SubjectQuery
		want  []string
	}{
		"by member":              {storage.SubjectQuery{Members: []string{"Parse", "Other"}}, []string{"golang.org/x/net/html.Parse"}},
		"by package":             {storage.SubjectQuery{Packages: []string{"golang.org/x/net/html"}}, []string{"golang.org/x/net/html.Parse"}},
		"not by part of one":     {storage.SubjectQuery{Packages: []string{"golang.org/x/net"}, Members: []string{"Pars"}}, nil},
		"by component":           {storage.SubjectQuery{Components: []string{"pkg:deb/debian/libssl3"}}, []string{""}},
		"by its source package":  {storage.SubjectQuery{Components: []string{"pkg:deb/debian/openssl"}}, []string{""}},
		"not by another":         {storage.SubjectQuery{Components: []string{"pkg:deb/debian/libssl"}}, nil},
		"any member selects":     {storage.SubjectQuery{Components: []string{"pkg:deb/debian/libssl3"}, Members: []string{"Parse"}}, []string{"golang.org/x/net/html.Parse", ""}},
		"nothing selects none":   {storage.SubjectQuery{}, nil},
		"a finding nobody named": {storage.SubjectQuery{Finding: "CVE-1"}, nil},
	} {
		subjects, err := b.Subjects(b.ctx, "", test.query)
		require.NoError(b, err)
		var got []string
		for _, subject := range subjects {
			got = append(got, subject.Frame.Symbol)
			assert.False(b, subject.Named)
		}
		assert.ElementsMatch(b, test.want, got, name)
		assert.True(b, slices.IsSortedFunc(subjects, func(a, b storage.Subject) int { return strings.Compare(a.ID, b.ID) }), name)
	}
}

func named(b *bench) {
	b.write(observation(hits(4), finding("CVE-1", "CVE-2")), observation(hits(2), namespace("bank")), observation(hits(8), function("main", "main")))
	subjects, err := b.Subjects(b.ctx, "", storage.SubjectQuery{Finding: "CVE-1"})
	require.NoError(b, err)
	require.Len(b, subjects, 1)
	assert.True(b, subjects[0].Named)
	assert.Equal(b, "Parse", subjects[0].Frame.Member)

	byFinding := b.witnesses("", storage.WitnessQuery{Filter: storage.Filter{Finding: "CVE-1"}})
	require.Len(b, byFinding, 1, "the witness that was named, not others of its subject")
	assert.True(b, byFinding[0].Named)
	assert.EqualValues(b, 4, byFinding[0].Hits)
	assert.Equal(b, subjects[0].ID, byFinding[0].Subject)
	both := b.witnesses("", storage.WitnessQuery{Filter: storage.Filter{Finding: "CVE-2", Subjects: []string{subjects[0].ID}}})
	require.Len(b, both, 2)
	assert.Equal(b, []bool{true, false}, []bool{both[0].Named, both[1].Named})
	summary, err := b.Summary(b.ctx, "", storage.Filter{Finding: "CVE-2"})
	require.NoError(b, err)
	assert.EqualValues(b, 4, summary.Hits)
	assert.Empty(b, b.witnesses("", storage.WitnessQuery{}), "neither subjects nor finding is nothing")
}

func namedOfSubjects(b *bench) {
	b.write(
		observation(hits(2)), observation(hits(3), function("other", "Claimed"), finding("CVE-1")), observation(hits(7), function("other", "Claimed"), namespace("bank")),
		observation(hits(5), function("golang.org/x/net/html", "Render"), finding("CVE-1")), observation(hits(11), namespace("bank"), finding("CVE-1")),
	)
	ids := map[string]string{}
	hot, err := b.HotSymbols(b.ctx, "", storage.HotQuery{})
	require.NoError(b, err)
	for _, symbol := range hot {
		ids[symbol.Subject.Frame.Member] = symbol.Subject.ID
	}
	require.Len(b, ids, 3)
	for name, test := range map[string]struct {
		filter storage.Filter
		want   uint64
	}{
		"all that were named":        {storage.Filter{Finding: "CVE-1"}, 3 + 5 + 11},
		"those of one subject":       {storage.Filter{Finding: "CVE-1", FindingSubjects: []string{ids["Claimed"]}}, 3},
		"besides another subject":    {storage.Filter{Finding: "CVE-1", FindingSubjects: []string{ids["Claimed"]}, Subjects: []string{ids["Parse"]}}, 2 + 11 + 3},
		"of a subject that is whole": {storage.Filter{Finding: "CVE-1", FindingSubjects: []string{ids["Claimed"]}, Subjects: []string{ids["Claimed"]}}, 3 + 7},
		"of no subject that is":      {storage.Filter{Finding: "CVE-1", FindingSubjects: []string{"none"}}, 0},
		"without a finding":          {storage.Filter{FindingSubjects: []string{ids["Claimed"]}, Subjects: []string{ids["Render"]}}, 5},
	} {
		for period, bound := range map[string]time.Time{"": {}, ", bounded": noon.Add(-time.Hour)} {
			f := test.filter
			f.From = bound
			summary, err := b.Summary(b.ctx, "", f)
			require.NoError(b, err)
			assert.Equal(b, test.want, summary.Hits, "summary of %s%s", name, period)
			var line, listed, placed, symbols uint64
			timeline, err := b.Timeline(b.ctx, "", storage.TimelineQuery{Filter: f, Bucket: time.Hour})
			require.NoError(b, err)
			for _, bucket := range timeline.Buckets {
				line += bucket.Hits[witness.KindCall]
			}
			for _, w := range b.witnesses("", storage.WitnessQuery{Filter: f}) {
				listed += w.Hits
			}
			places, err := b.Places(b.ctx, "", f)
			require.NoError(b, err)
			for i := range places {
				placed += places[i].Hits
			}
			hot, err := b.HotSymbols(b.ctx, "", storage.HotQuery{Filter: f})
			require.NoError(b, err)
			for i := range hot {
				symbols += hot[i].Hits
			}
			assert.Equal(b, [4]uint64{test.want, test.want, test.want, test.want}, [4]uint64{line, listed, placed, symbols}, "timeline, witnesses, places, hot symbols of %s%s", name, period)
		}
	}
}

func learntLater(b *bench) {
	b.write(observation(hits(3)), observation(hits(1), function("golang.org/x/net/html", "Render")), observation(function("golang.org/x/text", "Fold")))
	components := func() map[string]string {
		subjects, err := b.Subjects(b.ctx, "", storage.SubjectQuery{Packages: []string{"golang.org/x/net/html", "golang.org/x/text"}})
		require.NoError(b, err)
		found := map[string]string{}
		for _, subject := range subjects {
			found[subject.Frame.Member] = subject.Frame.Component + " " + subject.Artifact.PURL
		}
		return found
	}
	assert.Equal(b, map[string]string{"Parse": " ", "Render": " ", "Fold": " "}, components())
	b.write(observation(minute(1), component("pkg:golang/golang.org/x/net@v0.1.0"), artifact("pkg:golang/app@v1")))
	want := map[string]string{"Parse": "pkg:golang/golang.org/x/net@v0.1.0 pkg:golang/app@v1", "Render": "pkg:golang/golang.org/x/net@v0.1.0 pkg:golang/app@v1", "Fold": " pkg:golang/app@v1"}
	assert.Equal(b, want, components(), "a component is of a package in a module, an artifact of the module")
	b.write(observation(minute(-9), component("pkg:golang/golang.org/x/net@v0.0.9"), artifact("pkg:golang/app@v0")))
	assert.Equal(b, want, components(), "what is older by event time is not newer")
	subjects, err := b.Subjects(b.ctx, "", storage.SubjectQuery{Components: []string{"pkg:golang/golang.org/x/net"}})
	require.NoError(b, err)
	assert.Len(b, subjects, 2, "found by what was learnt")
	subjects, err = b.Subjects(b.ctx, "", storage.SubjectQuery{Components: []string{"pkg:golang/app"}})
	require.NoError(b, err)
	assert.Len(b, subjects, 3, "an artifact can be the component")

	filter := b.all("")
	filter.To = noon.Add(time.Minute)
	filter.From = noon
	for _, w := range b.witnesses("", storage.WitnessQuery{Filter: filter}) {
		assert.Equal(b, want[w.Witness.Frame.Member], w.Witness.Frame.Component+" "+w.Artifact.PURL)
	}
	// A module that is known by nothing but its own path is that of its image.
	inImage := func(image, purl string) witness.Observation {
		return observation(function("p", "F"), component(purl), func(o *witness.Observation) {
			o.Witness.Frame.Module = witness.Module{Path: "/lib/x.so"}
			o.Witness.Workload.Image = image
		})
	}
	b.write(inImage("sha256:bb", "pkg:deb/debian/x@1"), inImage("sha256:cc", ""))
	subjects, err = b.Subjects(b.ctx, "", storage.SubjectQuery{Packages: []string{"p"}})
	require.NoError(b, err)
	require.Len(b, subjects, 2)
	assert.ElementsMatch(b, []string{"pkg:deb/debian/x@1", ""}, []string{subjects[0].Frame.Component, subjects[1].Frame.Component})
	// Without module, a function vouches for itself only.
	loose := func(name, purl string) witness.Observation {
		return observation(function("q", name), component(purl), func(o *witness.Observation) { o.Witness.Frame.Module = witness.Module{} })
	}
	b.write(loose("F", "pkg:golang/q@v1"), loose("G", ""))
	subjects, err = b.Subjects(b.ctx, "", storage.SubjectQuery{Packages: []string{"q"}})
	require.NoError(b, err)
	require.Len(b, subjects, 2)
	assert.ElementsMatch(b, []string{"pkg:golang/q@v1", ""}, []string{subjects[0].Frame.Component, subjects[1].Frame.Component})
	subjects, err = b.Subjects(b.ctx, "", storage.SubjectQuery{Components: []string{"pkg:golang/q"}})
	require.NoError(b, err)
	require.Len(b, subjects, 1)
	assert.Equal(b, "F", subjects[0].Frame.Member)
	// Callers teach too.
	caller := frame("golang.org/x/text", "Fold")
	caller.Component = "pkg:golang/golang.org/x/text@v0.3.0"
	b.write(observation(function("main", "f"), path(caller)))
	assert.Equal(b, "pkg:golang/golang.org/x/text@v0.3.0 pkg:golang/app@v1", components()["Fold"])
}

func measuredFirst(b *bench) {
	b.write(
		observation(component("pkg:golang/golang.org/x/net@v1"), artifact("pkg:golang/app@v1")),
		observation(component("pkg:golang/golang.org/x/net@v9"), artifact("pkg:golang/app@v9"), minute(5), source("post/1/http"), assertedBy),
	)
	subjects, err := b.Subjects(b.ctx, "", storage.SubjectQuery{Members: []string{"Parse"}})
	require.NoError(b, err)
	require.Len(b, subjects, 1)
	assert.Equal(b, "pkg:golang/golang.org/x/net@v1 pkg:golang/app@v1", subjects[0].Frame.Component+" "+subjects[0].Artifact.PURL)
}

func roundTrip(b *bench) {
	caller := witness.Frame{Module: witness.Module{Path: "/lib/libc.so.6"}, Offset: 0xfedcba9876543210, HasOffset: true, Inlined: true}
	bare := witness.Frame{Symbol: "x"}
	o := observation(hits(9), path(caller, bare, caller), func(o *witness.Observation) {
		o.Witness.Frame.Flags = []string{"closure", "generic"}
		o.Witness.Frame.File, o.Witness.Frame.Line = "parse.go", 12
		o.Witness.Frame.SymbolSource, o.Witness.Frame.Confidence = "symtab", 0.75
		o.Witness.Frame.Module.SHA256 = strings.Repeat("ab", 32)
		o.Witness.Frame.Component = "pkg:golang/golang.org/x/net@v0.1.0"
		o.HitsError = 2
		o.FirstSeen, o.LastSeen = noon.Add(time.Nanosecond), noon.Add(59*time.Second+7)
		o.Origin = witness.OriginInjected
		o.Artifact = witness.Artifact{PURL: "pkg:golang/app@v1", Digest: "sha256:cc", Revision: "r", Repository: "https://example.com/app", Method: "buildinfo", Conflicts: []string{"pkg:golang/app@v2"}}
	})
	offsetOnly := observation(hits(1), func(o *witness.Observation) {
		o.Witness.Frame = witness.Frame{Module: witness.Module{Path: "/app"}, HasOffset: true}
	})
	b.write(o, offsetOnly)
	page := b.witnesses("", storage.WitnessQuery{Filter: b.all("")})
	require.Len(b, page, 2)
	got := page[0]
	assert.NotEmpty(b, got.Subject)
	got.Subject = ""
	assert.Equal(b, storage.WitnessTotal{
		ID: o.ID, Witness: o.Witness, Artifact: o.Artifact, Hits: 9, HitsError: 2, FirstSeen: o.FirstSeen, LastSeen: o.LastSeen,
		Assurance: witness.Measured, Origin: witness.OriginInjected, Instance: o.Instance,
	}, got)
	assert.Equal(b, offsetOnly.Witness, page[1].Witness)
	for _, w := range page {
		assert.Equal(b, w.ID, w.Witness.ID(), "the identity survives")
	}
}

// oddities: what a sender can write must never fail a batch, which would be sent again and again with its neighbours.
func oddities(b *bench) {
	for name, change := range map[string]change{
		"a confidence that is no number": func(o *witness.Observation) { o.Witness.Frame.Confidence = math.NaN() },
		"an endless confidence":          func(o *witness.Observation) { o.Witness.Frame.Confidence = math.Inf(1) },
		"a symbol with a zero byte":      func(o *witness.Observation) { o.Witness.Frame.Symbol = "a\x00b" },
		"a symbol that is no UTF-8":      func(o *witness.Observation) { o.Witness.Frame.Symbol = "a\xff" },
		"flags that are no UTF-8":        func(o *witness.Observation) { o.Witness.Frame.Flags = []string{"\x00", "\xff"} },
		"a finding that is no UTF-8":     finding("\xfe", "\xff", "\x00"),
		"a source that is none":          source("\x00"),
		"a purl that is none":            artifact("pkg:\xff/%ff@"),
		"the least line":                 func(o *witness.Observation) { o.Witness.Frame.Line = math.MinInt },
		"the greatest numbers": func(o *witness.Observation) {
			o.Hits, o.HitsError, o.Flush = math.MaxInt64, math.MaxInt64, math.MaxInt64
		},
		"a window of a day": func(o *witness.Observation) {
			o.WindowStart = noon.Add(-12 * time.Hour)
			o.WindowEnd = o.WindowStart.Add(24 * time.Hour)
		},
	} {
		o := observation(change, namespace(name))
		want := storage.Written{Stored: 1}
		assert.Equal(b, want, b.deliver(o), name)
		page, err := b.Witnesses(b.ctx, "", storage.WitnessQuery{Filter: b.all(""), Limit: 1000})
		require.NoError(b, err, name)
		assert.True(b, slices.ContainsFunc(page.Witnesses, func(w storage.WitnessTotal) bool {
			return w.ID == o.ID && (w.Witness.ID() == o.ID || strings.HasSuffix(name, "UTF-8"))
		}), name)
	}
	for after, i := "", 0; ; i++ {
		page, err := b.Findings(b.ctx, "", storage.FindingQuery{After: after, Limit: 1})
		require.NoError(b, err)
		if !page.More {
			break
		}
		require.Less(b, i, 10, "pages of findings end")
		after = page.Findings[0].ID
	}
}

func newest(b *bench) {
	from := func(n int, origin witness.Origin) witness.Observation {
		return observation(minute(n), host(fmt.Sprint("node-", n)), artifact(fmt.Sprint("pkg:golang/app@v", n)), component(fmt.Sprint("pkg:golang/golang.org/x/net@v", n)),
			func(o *witness.Observation) { o.Origin = origin })
	}
	b.write(from(1, witness.OriginSelf), from(3, witness.OriginInjected), from(2, witness.OriginWorkload), observation(minute(-1), host("node-0"), assertedBy))
	page := b.witnesses("", storage.WitnessQuery{Filter: b.all("")})
	require.Len(b, page, 1)
	w := page[0]
	assert.Equal(b, []any{witness.OriginInjected, "node-3", "pkg:golang/app@v3", "pkg:golang/golang.org/x/net@v3", witness.Measured},
		[]any{w.Origin, w.Instance.Host, w.Artifact.PURL, w.Witness.Frame.Component, w.Assurance})
	filter := b.all("")
	filter.To = noon.Add(2 * time.Minute)
	w = b.witnesses("", storage.WitnessQuery{Filter: filter})[0]
	assert.Equal(b, []any{witness.OriginSelf, "node-1", "pkg:golang/app@v1", "pkg:golang/golang.org/x/net@v1"},
		[]any{w.Origin, w.Instance.Host, w.Artifact.PURL, w.Witness.Frame.Component}, "of those selected")
}

func sharedSubjects(b *bench) {
	load := func(changes ...change) witness.Observation {
		return observation(append([]change{func(o *witness.Observation) {
			o.Witness.Kind, o.Witness.Frame = witness.KindLoad, witness.Frame{Module: witness.Module{BuildID: "b1", Path: "/usr/bin/app"}}
		}}, changes...)...)
	}
	b.write(
		observation(), observation(namespace("bank")), observation(path(frame("main", "main"))),
		observation(func(o *witness.Observation) { o.Witness.Workload.Image = "sha256:bb" }),
		observation(flush(1), func(o *witness.Observation) { o.Witness.Frame.Module.Path = "/elsewhere" }), // same build-id, same witness
		load(), load(namespace("bank")),
	)
	summary := b.summary("")
	assert.Len(b, summary.BySubject, 2)
	assert.Equal(b, 6, summary.Witnesses)
	different := []witness.Observation{
		observation(func(o *witness.Observation) { o.Witness.Frame.Flags = []string{"closure"} }),
		observation(kind(witness.KindSample)),
		observation(function("golang.org/x/net/html", "Render")),
		observation(func(o *witness.Observation) { o.Witness.Frame.Module.BuildID = "b2" }),
	}
	b.write(different...)
	assert.Len(b, b.summary("").BySubject, 2+len(different))
}

func filters(b *bench) {
	b.setNow(noon.Add(2 * time.Hour))
	b.write(
		observation(hits(1)), observation(hits(2), namespace("bank"), host("node-2")), observation(hits(4), kind(witness.KindSample)),
		observation(hits(8), minute(30), assertedBy), observation(hits(16), minute(60)), observation(hits(32), minute(-1)),
	)
	for name, test := range map[string]struct {
		change func(*storage.Filter)
		want   uint64
	}{
		"nothing":             {func(*storage.Filter) {}, 63},
		"namespace":           {func(f *storage.Filter) { f.Namespaces = []string{"bank", "other"} }, 2},
		"kinds":               {func(f *storage.Filter) { f.Kinds = []witness.Kind{witness.KindSample, witness.KindExec} }, 4},
		"assurance":           {func(f *storage.Filter) { f.Assurance = witness.Asserted }, 8},
		"from, included":      {func(f *storage.Filter) { f.From = noon }, 31},
		"to, not included":    {func(f *storage.Filter) { f.To = noon.Add(time.Hour) }, 47},
		"from and to":         {func(f *storage.Filter) { f.From, f.To = noon, noon.Add(time.Minute) }, 7},
		"between two windows": {func(f *storage.Filter) { f.From, f.To = noon.Add(time.Second), noon.Add(time.Minute) }, 0},
		"to before from":      {func(f *storage.Filter) { f.From, f.To = noon.Add(time.Minute), noon }, 0},
		"from very early":     {func(f *storage.Filter) { f.From = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) }, 63},
		"to very late":        {func(f *storage.Filter) { f.To = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC) }, 63},
		"no such subject":     {func(f *storage.Filter) { f.Subjects = []string{"none"} }, 0},
	} {
		filter := b.all("")
		test.change(&filter)
		summary, err := b.Summary(b.ctx, "", filter)
		require.NoError(b, err)
		assert.Equal(b, test.want, summary.Hits, name)
		var witnesses uint64
		for _, w := range b.witnesses("", storage.WitnessQuery{Filter: filter}) {
			witnesses += w.Hits
			assert.NotZero(b, w.Hits, name)
		}
		assert.Equal(b, test.want, witnesses, name)
	}
	summary := b.summary("")
	assert.Equal(b, []int{2, 1, 1}, []int{summary.Hosts, summary.Containers, summary.Images})
	assert.Equal(b, []time.Time{noon.Add(-time.Minute), noon.Add(time.Hour)}, []time.Time{summary.FirstSeen, summary.LastSeen})
	for _, total := range summary.BySubject {
		if total.Hits == 59 {
			assert.Equal(b, storage.SubjectTotal{
				Hits: 59, Measured: 51, Hosts: 2, Images: 1, Namespaces: 2, Workloads: 2,
				FirstSeen: noon.Add(-time.Minute), LastSeen: noon.Add(time.Hour), LastMeasured: noon.Add(time.Hour),
			}, total)
		}
	}
	b.setNow(b.now.Add(time.Minute))
	asOf := b.now.Add(-time.Second)
	b.write(observation(hits(64), flush(1)), observation(hits(64), function("main", "main")))
	var old uint64
	for _, w := range b.witnesses("", storage.WitnessQuery{Filter: b.all(""), AsOf: asOf}) {
		old += w.Hits
	}
	assert.EqualValues(b, 63+64, old, "hits of now, of the witnesses that there were before the last write")
}

func pages(b *bench) {
	var observations []witness.Observation
	for n := range 130 {
		count := uint64(n%7 + 1) //nolint:gosec // small
		observations = append(observations, observation(hits(count), minute(n%13), namespace(fmt.Sprint("n", n))))
	}
	b.write(observations...)
	for _, limit := range []int{0, 9, 129, 130, 131, 100000} {
		for _, sort := range []storage.Sort{"", storage.SortHits, storage.SortRecent, storage.SortID} {
			query := storage.WitnessQuery{Filter: b.all(""), Sort: sort, Limit: limit}
			all := b.witnesses("", query)
			require.Len(b, all, 130, "limit %d sort %s", limit, sort)
			distinct := map[witness.ID]bool{}
			for i, w := range all {
				distinct[w.ID] = true
				if i == 0 {
					continue
				}
				before := all[i-1]
				var inOrder bool
				switch byID := bytes.Compare(before.ID[:], w.ID[:]) < 0; sort {
				case storage.SortRecent:
					inOrder = before.LastSeen.After(w.LastSeen) || before.LastSeen.Equal(w.LastSeen) && byID
				case storage.SortID:
					inOrder = byID
				default:
					inOrder = before.Hits > w.Hits || before.Hits == w.Hits && byID
				}
				require.True(b, inOrder, "limit %d sort %s row %d", limit, sort, i)
			}
			require.Len(b, distinct, 130)
			page, err := b.Witnesses(b.ctx, "", query)
			require.NoError(b, err)
			want := limit
			if want == 0 {
				want = 100
			}
			assert.Len(b, page.Witnesses, min(want, 130))
		}
	}
	// By id, a walk is exact while new hits arrive.
	query := storage.WitnessQuery{Filter: b.all(""), Sort: storage.SortID, Limit: 50, AsOf: b.now}
	distinct := map[witness.ID]bool{}
	for n := uint64(1); ; n++ {
		page, err := b.Witnesses(b.ctx, "", query)
		require.NoError(b, err)
		for _, w := range page.Witnesses {
			assert.False(b, distinct[w.ID], "twice")
			distinct[w.ID] = true
		}
		if page.Next == nil {
			break
		}
		query.After = page.Next
		b.setNow(b.now.Add(time.Second))
		for i := range observations {
			observations[i].Flush = n
		}
		b.write(observations...)
		b.write(observation(namespace(fmt.Sprint("new", n))))
	}
	assert.Len(b, distinct, 130)
	_, err := b.Witnesses(b.ctx, "", storage.WitnessQuery{Sort: "name"})
	assert.Error(b, err)
}

func hotSymbols(b *bench) {
	b.write(
		observation(hits(5), component("pkg:golang/golang.org/x/net@v1"), artifact("pkg:golang/app@v1")), observation(hits(5), namespace("bank")),
		observation(hits(7), function("golang.org/x/net/html", "Render")), observation(hits(1), function("main", "main")),
		observation(hits(2), minute(1), component("pkg:golang/golang.org/x/net@v2"), artifact("pkg:golang/app@v2")),
		observation(hits(90), function("other", "f"), func(o *witness.Observation) { o.Witness.Frame.Module.BuildID = "b2" }),
	)
	for name, test := range map[string]struct {
		query storage.HotQuery
		want  []string
	}{
		"all":                   {storage.HotQuery{}, []string{"f 90", "Parse 12", "Render 7", "main 1"}},
		"limit":                 {storage.HotQuery{Limit: 2}, []string{"f 90", "Parse 12"}},
		"component":             {storage.HotQuery{Component: "pkg:golang/golang.org/x/net"}, []string{"Parse 12", "Render 7"}},
		"artifact, when it ran": {storage.HotQuery{Artifact: "pkg:golang/app@v1"}, []string{"Parse 5"}},
		"artifact, and by now":  {storage.HotQuery{Artifact: "pkg:golang/app@v2"}, []string{"Parse 7", "Render 7", "main 1"}},
		"no such":               {storage.HotQuery{Component: "pkg:golang/none"}, nil},
		"namespace":             {storage.HotQuery{Filter: storage.Filter{Namespaces: []string{"bank"}}}, []string{"Parse 5"}},
	} {
		hot, err := b.HotSymbols(b.ctx, "", test.query)
		require.NoError(b, err)
		var got []string
		for _, symbol := range hot {
			got = append(got, fmt.Sprint(symbol.Subject.Frame.Member, " ", symbol.Hits))
		}
		assert.Equal(b, test.want, got, name)
	}
}

func closed(b *bench) {
	b.write(observation())
	require.NoError(b, b.Close())
	require.NoError(b, b.Close(), "twice")
	_, err := b.WriteObservations(b.ctx, storage.Batch{Observations: []witness.Observation{observation()}})
	assert.ErrorIs(b, err, storage.ErrClosed)
	assert.ErrorIs(b, b.WriteCoverage(b.ctx, storage.Principal{}, []witness.Coverage{{Source: "s"}}), storage.ErrClosed)
	_, err = b.PutFinding(b.ctx, storage.Principal{}, witness.Finding{ID: "f"})
	assert.ErrorIs(b, err, storage.ErrClosed)
	_, err = b.Finding(b.ctx, "", "f")
	assert.ErrorIs(b, err, storage.ErrClosed)
	_, err = b.Witnesses(b.ctx, "", storage.WitnessQuery{})
	assert.ErrorIs(b, err, storage.ErrClosed)
}

func restart(b *bench) {
	receipt := &storage.Receipt{Key: "k", Body: [32]byte{1}}
	o := observation(hits(5), finding("CVE-1"), component("pkg:golang/golang.org/x/net@v1"), path(frame("main", "main")))
	_, err := b.WriteObservations(b.ctx, storage.Batch{Observations: []witness.Observation{o}, Receipt: receipt})
	require.NoError(b, err)
	require.NoError(b, b.WriteCoverage(b.ctx, storage.Principal{}, []witness.Coverage{{Source: "s", Start: noon, End: noon, LossStage: "x"}}))
	summary, witnesses := b.summary(""), b.witnesses("", storage.WitnessQuery{Filter: b.all("")})
	b.Storage = b.reopen(b.T, b.Storage, b.clock)
	assert.Equal(b, summary, b.summary(""), "subjects keep their ids")
	assert.Equal(b, witnesses, b.witnesses("", storage.WitnessQuery{Filter: b.all("")}))
	assert.Equal(b, storage.Written{Duplicates: 1}, b.deliver(o))
	_, err = b.WriteObservations(b.ctx, storage.Batch{Observations: []witness.Observation{o}, Receipt: &storage.Receipt{Key: "k"}})
	require.ErrorIs(b, err, storage.ErrConflict)
	_, err = b.Finding(b.ctx, "", "CVE-1")
	require.NoError(b, err)
	found, err := b.Coverage(b.ctx, "", storage.CoverageQuery{})
	require.NoError(b, err)
	assert.Len(b, found, 1)
	o.Flush = 1
	b.write(o)
	assert.Equal(b, 1, b.summary("").Witnesses, "nothing is interned twice")
	assert.EqualValues(b, 10, b.summary("").Hits)
}
