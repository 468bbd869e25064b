package storagetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// model is what a storage should hold, per tenant, kept as simply as can be.
type model map[string][]witness.Observation

func keyOf(o *witness.Observation) string {
	return fmt.Sprint(o.ID, o.Source, o.Instance, o.WindowStart.UnixNano(), o.Flush)
}

// add returns whether the observation is new.
func (m model) add(tenant string, o witness.Observation) bool {
	for i := range m[tenant] {
		if known := &m[tenant][i]; keyOf(known) == keyOf(&o) {
			if known.Assurance == o.Assurance || o.Assurance == witness.Asserted {
				return false
			}
			o.FindingIDs = append(slices.Clone(o.FindingIDs), known.FindingIDs...)
			*known = o
			return true
		}
	}
	m[tenant] = append(m[tenant], o)
	return true
}

// subjectOf is what witnesses share that differ only in workload and path.
func subjectOf(w *witness.Witness) string {
	f := &w.Frame
	return fmt.Sprint(w.Kind, f.Symbol, f.Flags, f.Module.Key(""))
}

func selects(f *storage.Filter, o *witness.Observation) bool {
	return (f.From.IsZero() || !o.WindowStart.Before(f.From)) && (f.To.IsZero() || o.WindowStart.Before(f.To)) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, o.Witness.Kind)) && (f.Assurance == "" || f.Assurance == o.Assurance) &&
		(len(f.Namespaces) == 0 || slices.Contains(f.Namespaces, o.Witness.Workload.Namespace))
}

// named are the witnesses that a finding was named for.
func (m model) named(tenant, finding string) map[witness.ID]bool {
	named := map[witness.ID]bool{}
	for i := range m[tenant] {
		if o := &m[tenant][i]; slices.Contains(o.FindingIDs, finding) {
			named[o.ID] = true
		}
	}
	return named
}

// hits adds up by law 9 what a filter selects. of says what is compared, a subject or a witness, and of what is not selected
// nothing. into gets the hits.
func (m model) hits(tenant string, f *storage.Filter, of func(*witness.Observation) string, into func(*witness.Observation, uint64)) {
	type group struct {
		of, receiver string
		installation string // where nobody knows the host
		start        int64
		workload     witness.Workload
		instance     witness.Instance
		assurance    witness.Assurance
	}
	sums := map[group]uint64{}
	any := map[group]*witness.Observation{}
	for i := range m[tenant] {
		o := &m[tenant][i]
		if compared := of(o); compared != "" && selects(f, o) {
			g := group{compared, storage.Receiver(o.Source), installation(o), o.WindowStart.UnixNano(), o.Witness.Workload, o.Instance, o.Assurance}
			sums[g] += o.Hits
			any[g] = o
		}
	}
	most := map[group]uint64{}
	for g, n := range sums {
		one := any[g]
		if g.receiver == storage.PostSource {
			into(one, n)
			continue
		}
		g.receiver = ""
		any[g] = one
		most[g] = max(most[g], n)
	}
	for g, n := range most {
		into(any[g], n)
	}
}

// namedFinding is the finding that some observations of histories are named for.
const namedFinding = "F"

// installation is that of the source of an observation on a host that nobody knows: two may be on two hosts.
func installation(o *witness.Observation) string {
	if o.Instance.Host != "" {
		return ""
	}
	installation, _, _ := strings.Cut(o.Source, "/")
	return installation
}

// histories compares a storage with the model over random writes, redeliveries, restarts and questions.
func histories(t *testing.T, open Open, reopen Reopen) {
	any := rapid.Custom(func(t *rapid.T) witness.Observation {
		start := rapid.IntRange(-1500, 59).Draw(t, "minute")
		o := observation(
			hits(rapid.Uint64Range(1, 9).Draw(t, "hits")), flush(rapid.Uint64Range(0, 1).Draw(t, "flush")),
			source(rapid.SampledFrom([]string{"a/1/x", "a/2/x", "b/1/x", "post/1/http", "post/2/http"}).Draw(t, "source")),
			host(rapid.SampledFrom([]string{"", "h1", "h2"}).Draw(t, "host")),
			function("p", rapid.SampledFrom([]string{"f", "g"}).Draw(t, "function")),
			kind(rapid.SampledFrom([]witness.Kind{witness.KindSample, witness.KindCall}).Draw(t, "kind")),
			namespace(rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "namespace")),
			at(noon.Add(time.Duration(start)*time.Minute).Add(time.Duration(rapid.IntRange(0, 59).Draw(t, "second"))*time.Second),
				rapid.SampledFrom([]time.Duration{time.Minute, time.Hour}).Draw(t, "window")),
		)
		if rapid.Bool().Draw(t, "asserted") {
			o.Assurance = witness.Asserted
		}
		if rapid.Bool().Draw(t, "called") {
			o.Witness.Path = []witness.Frame{frame("main", "main")}
			o.ID = o.Witness.ID()
		}
		o.HitsError = rapid.Uint64Range(0, o.Hits).Draw(t, "error")
		if rapid.IntRange(0, 3).Draw(t, "name") == 0 {
			o.FindingIDs = []string{namedFinding}
		}
		return o
	})
	now := func() time.Time { return noon.Add(time.Hour) }
	s := open(t, now)
	history := 0
	rapid.Check(t, func(r *rapid.T) {
		// Every history has tenants of its own, so it begins with nothing.
		history++
		tenant := rapid.SampledFrom([]string{fmt.Sprint(history), fmt.Sprint(history, "b")})
		m := model{}
		ctx := context.Background()
		write := func(r *rapid.T, tenant string, observations []witness.Observation) {
			var want storage.Written
			for _, o := range observations {
				if m.add(tenant, o) {
					want.Stored++
				} else {
					want.Duplicates++
				}
			}
			got, err := s.WriteObservations(ctx, storage.Batch{Principal: storage.Principal{Tenant: tenant}, Observations: observations})
			if err != nil || got.Stored != want.Stored || got.Duplicates != want.Duplicates || len(got.Refused) > 0 {
				r.Fatalf("wrote %+v, want %+v: %v", got, want, err)
			}
		}
		actions := map[string]func(*rapid.T){
			"write": func(r *rapid.T) {
				write(r, tenant.Draw(r, "tenant"), rapid.SliceOfN(any, 0, 20).Draw(r, "observations"))
			},
			"redeliver": func(r *rapid.T) {
				tenant := tenant.Draw(r, "tenant")
				if len(m[tenant]) == 0 {
					r.Skip("nothing to redeliver")
				}
				write(r, tenant, rapid.SliceOfN(rapid.SampledFrom(slices.Clone(m[tenant])), 1, 10).Draw(r, "again"))
			},
			"ask": func(r *rapid.T) {
				f := storage.Filter{
					Namespaces: rapid.SampledFrom([][]string{nil, {"n1"}, {"n2", ""}}).Draw(r, "namespaces"),
					Assurance:  rapid.SampledFrom([]witness.Assurance{"", witness.Measured, witness.Asserted}).Draw(r, "assurance"),
					Kinds:      rapid.SampledFrom([][]witness.Kind{nil, {witness.KindCall}}).Draw(r, "kinds"),
				}
				if rapid.Bool().Draw(r, "bounded") {
					f.From = noon.Add(time.Duration(rapid.IntRange(-1500, 60).Draw(r, "from")) * time.Minute)
					f.To = f.From.Add(time.Duration(rapid.IntRange(1, 1000).Draw(r, "length")) * time.Minute)
				}
				compare(ctx, r, s, m, tenant.Draw(r, "tenant"), f)
			},
		}
		if reopen != nil {
			actions["restart"] = func(r *rapid.T) {
				if rapid.IntRange(0, 4).Draw(r, "rarely") == 0 { // it is slow
					s = reopen(t, s, now)
				}
			}
		}
		r.Repeat(actions)
		compare(ctx, r, s, m, tenant.Draw(r, "tenant"), storage.Filter{})
	})
}

// compare asks a storage everything about a tenant and a filter.
func compare(ctx context.Context, r *rapid.T, s storage.Storage, m model, tenant string, f storage.Filter) {
	hot, err := s.HotSymbols(ctx, tenant, storage.HotQuery{Filter: f, Limit: 1000})
	if err != nil {
		r.Fatal(err)
	}
	bySubject := func(o *witness.Observation) string { return subjectOf(&o.Witness) }
	same(r, "hot symbols", m.bySubject(tenant, &f, bySubject), symbolsOf(hot))
	if len(hot) == 0 {
		return
	}
	// Of the subjects some are asked for, and of some the witnesses that were named.
	own, claimed := map[string]bool{}, map[string]bool{}
	whole := rapid.Bool().Draw(r, "whole")
	if !whole {
		f.Finding = rapid.SampledFrom([]string{"", namedFinding}).Draw(r, "finding")
	}
	for i := range hot {
		id, subject := hot[i].Subject.ID, subjectOf(&witness.Witness{Kind: hot[i].Subject.Kind, Frame: hot[i].Subject.Frame})
		if whole || rapid.Bool().Draw(r, "own") {
			f.Subjects, own[subject] = append(f.Subjects, id), true
		}
		if f.Finding != "" && rapid.Bool().Draw(r, "claimed") {
			f.FindingSubjects, claimed[subject] = append(f.FindingSubjects, id), true
		}
	}
	if len(f.Subjects) == 0 && f.Finding == "" {
		return
	}
	named := m.named(tenant, f.Finding)
	compared := func(o *witness.Observation) string {
		switch subject := bySubject(o); {
		case own[subject]:
			return subject
		case named[o.ID] && (len(claimed) == 0 || claimed[subject]):
			return o.ID.String()
		default:
			return ""
		}
	}
	wantByWitness := map[string]uint64{}
	wantByKind, wantByTime := map[witness.Kind]uint64{}, map[string]uint64{}
	const size = 30 * time.Minute
	var total uint64
	m.hits(tenant, &f, compared, func(o *witness.Observation, n uint64) {
		wantByKind[o.Witness.Kind] += n
		wantByTime[fmt.Sprint(witness.AlignWindow(o.WindowStart, size).Unix(), o.Witness.Kind)] += n
		total += n
	})
	m.hits(tenant, &f, func(o *witness.Observation) string {
		if compared(o) == "" {
			return ""
		}
		return o.ID.String()
	}, func(o *witness.Observation, n uint64) {
		wantByWitness[o.ID.String()] += n
	})
	some, err := s.HotSymbols(ctx, tenant, storage.HotQuery{Filter: f, Limit: 1000})
	if err != nil {
		r.Fatal(err)
	}
	same(r, "hot symbols of some", m.bySubject(tenant, &f, compared), symbolsOf(some))
	summary, err := s.Summary(ctx, tenant, f)
	if err != nil {
		r.Fatal(err)
	}
	if summary.Hits != total || summary.Witnesses != len(wantByWitness) {
		r.Fatalf("summary: %d hits of %d witnesses, want %d of %d", summary.Hits, summary.Witnesses, total, len(wantByWitness))
	}
	m.places(ctx, r, s, tenant, f, hot, compared, &summary)
	same(r, "summary by kind", wantByKind, func(yield func(witness.Kind, uint64)) {
		for kind, n := range summary.ByKind {
			yield(kind, n)
		}
	})
	timeline, err := s.Timeline(ctx, tenant, storage.TimelineQuery{Filter: f, Bucket: size})
	if err != nil {
		r.Fatal(err)
	}
	same(r, "timeline", wantByTime, func(yield func(string, uint64)) {
		for _, bucket := range timeline.Buckets {
			for kind, n := range bucket.Hits {
				yield(fmt.Sprint(bucket.Start.Unix(), kind), n)
			}
		}
	})
	query := storage.WitnessQuery{
		Filter: f, Limit: rapid.IntRange(1, 10).Draw(r, "limit"),
		Sort: rapid.SampledFrom([]storage.Sort{storage.SortHits, storage.SortRecent, storage.SortID}).Draw(r, "sort"),
	}
	same(r, "witnesses", wantByWitness, func(yield func(string, uint64)) {
		for {
			page, err := s.Witnesses(ctx, tenant, query)
			if err != nil {
				r.Fatal(err)
			}
			for i := range page.Witnesses {
				w := &page.Witnesses[i]
				yield(w.ID.String(), w.Hits)
				m.describes(r, tenant, &f, w)
			}
			if page.Next == nil {
				return
			}
			query.After = page.Next
		}
	})
}

// bySubject adds up by subject.
func (m model) bySubject(tenant string, f *storage.Filter, of func(*witness.Observation) string) map[string]uint64 {
	want := map[string]uint64{}
	m.hits(tenant, f, of, func(o *witness.Observation, n uint64) { want[subjectOf(&o.Witness)] += n })
	return want
}

func symbolsOf(hot []storage.HotSymbol) func(yield func(string, uint64)) {
	return func(yield func(string, uint64)) {
		for i := range hot {
			yield(subjectOf(&witness.Witness{Kind: hot[i].Subject.Kind, Frame: hot[i].Subject.Frame}), hot[i].Hits)
		}
	}
}

// describes checks what does not depend on law 9.
func (m model) describes(r *rapid.T, tenant string, f *storage.Filter, w *storage.WitnessTotal) {
	want := storage.WitnessTotal{Assurance: witness.Asserted}
	for i := range m[tenant] {
		o := &m[tenant][i]
		if o.ID != w.ID || !selects(f, o) {
			continue
		}
		if want.FirstSeen.IsZero() || o.FirstSeen.Before(want.FirstSeen) {
			want.FirstSeen = o.FirstSeen
		}
		if o.LastSeen.After(want.LastSeen) {
			want.LastSeen = o.LastSeen
		}
		if o.Assurance == witness.Measured {
			want.Assurance = witness.Measured
		}
	}
	if w.Witness.ID() != w.ID || !w.FirstSeen.Equal(want.FirstSeen) || !w.LastSeen.Equal(want.LastSeen) || w.Assurance != want.Assurance {
		r.Fatalf("a witness is %+v, want %+v", w, want)
	}
}

// same compares counts, each of which must come once.
func same[K comparable](r *rapid.T, what string, want map[K]uint64, each func(yield func(K, uint64))) {
	got := map[K]uint64{}
	each(func(key K, n uint64) {
		if _, twice := got[key]; twice {
			r.Fatalf("%s: %v comes twice", what, key)
		}
		got[key] = n
	})
	var wrong []string
	for key, n := range want {
		if got[key] != n {
			wrong = append(wrong, fmt.Sprintf("%v is %d, want %d", key, got[key], n))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			wrong = append(wrong, fmt.Sprintf("%v is unexpected", key))
		}
	}
	if len(wrong) > 0 {
		r.Fatalf("%s: %s", what, strings.Join(wrong, "; "))
	}
}

// places compares places with the model, and totals and places with a summary. hot are all subjects that the filter could
// select.
func (m model) places(ctx context.Context, r *rapid.T, s storage.Storage, tenant string, f storage.Filter, hot []storage.HotSymbol, of func(*witness.Observation) string, summary *storage.Summary) {
	totals, err := s.Totals(ctx, tenant, f.Subjects)
	if err != nil {
		r.Fatal(err)
	}
	whole := f.From.IsZero() && f.To.IsZero() && len(f.Kinds) == 0 && f.Assurance == "" && len(f.Namespaces) == 0 && f.Finding == ""
	if whole && fmt.Sprint(totals) != fmt.Sprint(summary.BySubject) {
		r.Fatalf("totals are %+v, want %+v", totals, summary.BySubject)
	}
	want := map[string]uint64{}
	at := func(subject string, workload witness.Workload, instance witness.Instance) string {
		return fmt.Sprint(subject, workload, instance)
	}
	m.hits(tenant, &f, of, func(o *witness.Observation, n uint64) {
		want[at(string(o.Witness.Kind)+o.Witness.Frame.Symbol, o.Witness.Workload, o.Instance)] += n
	})
	names := map[string]string{}
	for i := range hot {
		names[hot[i].Subject.ID] = string(hot[i].Subject.Kind) + hot[i].Subject.Frame.Symbol
	}
	places, err := s.Places(ctx, tenant, f)
	if err != nil {
		r.Fatal(err)
	}
	same(r, "places", want, func(yield func(string, uint64)) {
		for i := range places {
			yield(at(names[places[i].Subject], places[i].Workload, places[i].Instance), places[i].Hits)
		}
	})
}
