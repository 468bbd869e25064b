package evidence

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// By is what the assets of a finding are told apart by.
type By string

// The kinds of assets.
const (
	ByImage    By = "image"
	ByWorkload By = "workload"
	ByHost     By = "host"
)

// AssetID identifies an asset: the image digest, the workload, or the host, and nothing else. It is zero for evidence
// that does not say.
type AssetID struct {
	Image                            string
	Namespace, Controller, Container string
	Host                             string
}

// Compare orders ids.
func (a AssetID) Compare(b AssetID) int {
	return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Controller, b.Controller),
		cmp.Compare(a.Container, b.Container), cmp.Compare(a.Host, b.Host))
}

func (by By) of(w *witness.Workload, host string) AssetID {
	switch by {
	case ByImage:
		return AssetID{Image: w.Image}
	case ByWorkload:
		return AssetID{Namespace: w.Namespace, Controller: w.Controller, Container: w.Container}
	default:
		return AssetID{Host: host}
	}
}

// Asset is the evidence of a finding in one image, workload or on one host.
type Asset struct {
	ID AssetID
	// Hits are 0 for what only scanners name: it is not known whether anything ran there.
	Hits     uint64
	ByKind   map[witness.Kind]uint64
	Measured uint64 // of Hits
	LastSeen time.Time
	// Hosts, Workloads and Images are how many different ones, with a name, the evidence is from.
	Hosts, Workloads, Images int
	// Score and Band are those that the asset would have alone.
	Score float64
	Band  string
	// Scanners name the asset in an occurrence, sorted.
	Scanners []string
	// Occurrences of the finding that name the asset.
	Occurrences int

	hosts map[string]struct{}
}

// Assets are the evidence by asset and what only occurrences name, in the order of ids. Occurrences name no hosts.
func (m *Matches) Assets(ctx context.Context, reader storage.Reader, w *score.Weights, now time.Time, f *witness.Finding, by By) ([]Asset, error) {
	var places []storage.Place
	if !m.Empty() {
		var err error
		if places, err = reader.Places(ctx, m.tenant, m.filter); err != nil {
			return nil, err
		}
	}
	return m.assets(w, now, f, by, places), nil
}

// portion is what one subject adds to an asset.
type portion struct {
	total         storage.SubjectTotal
	hosts, images map[string]struct{}
	workloads     map[witness.Workload]struct{}
}

func (m *Matches) assets(w *score.Weights, now time.Time, f *witness.Finding, by By, places []storage.Place) []Asset {
	type key struct {
		asset   AssetID
		subject string
	}
	portions := map[key]*portion{}
	var order []key
	for i := range places {
		place := &places[i]
		k := key{by.of(&place.Workload, place.Instance.Host), place.Subject}
		p := portions[k]
		if p == nil {
			p = &portion{hosts: map[string]struct{}{}, workloads: map[witness.Workload]struct{}{}, images: map[string]struct{}{}}
			portions[k] = p
			order = append(order, k)
		}
		p.add(place)
	}
	assets := map[AssetID]*Asset{}
	of := func(id AssetID) *Asset {
		a := assets[id]
		if a == nil {
			a = &Asset{ID: id, ByKind: map[witness.Kind]uint64{}, hosts: map[string]struct{}{}}
			assets[id] = a
		}
		return a
	}
	inputs := map[AssetID][]score.Input{}
	workloads, images := map[AssetID]map[witness.Workload]struct{}{}, map[AssetID]map[string]struct{}{}
	for _, k := range order {
		a, p, s := of(k.asset), portions[k], m.subjects[k.subject]
		p.total.Hosts, p.total.Images, p.total.Workloads = len(p.hosts), len(p.images), len(p.workloads)
		a.Hits = plus(a.Hits, p.total.Hits)
		a.ByKind[s.Kind] = plus(a.ByKind[s.Kind], p.total.Hits)
		a.Measured = plus(a.Measured, p.total.Measured)
		if p.total.LastSeen.After(a.LastSeen) {
			a.LastSeen = p.total.LastSeen
		}
		maps.Copy(a.hosts, p.hosts)
		workloads[k.asset], images[k.asset] = union(workloads[k.asset], p.workloads), union(images[k.asset], p.images)
		inputs[k.asset] = appendInputs(inputs[k.asset], w, &s.Subject, s.own, s.claimed, &p.total)
	}
	for i := range f.Occurrences {
		o := &f.Occurrences[i]
		id := by.of(&witness.Workload{Namespace: o.Namespace, Controller: o.Controller, Container: o.Container, Image: o.ImageDigest}, "")
		if id == (AssetID{}) {
			continue
		}
		a := of(id)
		a.Occurrences++
		if o.Scanner != "" && !slices.Contains(a.Scanners, o.Scanner) {
			a.Scanners = append(a.Scanners, o.Scanner)
		}
	}
	found := make([]Asset, 0, len(assets))
	for id, a := range assets {
		a.Hosts, a.Workloads, a.Images = len(a.hosts), len(workloads[id]), len(images[id])
		prepared := w.Prepare(inputs[id])
		a.Score, a.Band = prepared.Value(now)
		slices.Sort(a.Scanners)
		found = append(found, *a)
	}
	slices.SortFunc(found, func(a, b Asset) int { return a.ID.Compare(b.ID) })
	return found
}

func union[K comparable](into, from map[K]struct{}) map[K]struct{} {
	if into == nil {
		into = map[K]struct{}{}
	}
	maps.Copy(into, from)
	return into
}

func (p *portion) add(place *storage.Place) {
	t := &p.total
	t.Hits, t.Measured = plus(t.Hits, place.Hits), plus(t.Measured, place.Measured)
	if place.LastSeen.After(t.LastSeen) {
		t.LastSeen = place.LastSeen
	}
	if place.LastMeasured.After(t.LastMeasured) {
		t.LastMeasured = place.LastMeasured
	}
	if place.Instance.Host != "" {
		p.hosts[place.Instance.Host] = struct{}{}
	}
	if place.Workload.Image != "" {
		p.images[place.Workload.Image] = struct{}{}
	}
	if place.Workload != (witness.Workload{}) {
		p.workloads[place.Workload] = struct{}{}
	}
}

// WatchedUnknown says that no host of an asset is known.
const WatchedUnknown Watched = "unknown"

// WatchedHosts says of assets whether the hosts that their evidence is from were watched, all the time of c.
func (c *Coverage) WatchedHosts() func(*Asset) Watched {
	const none, some, all = 0, 1, 2
	states := map[string]int{}
	for i := range c.hosts {
		h := &c.hosts[i]
		switch {
		case within(h.runs, c.Start, c.End) == 0:
		case len(complement(h.measured, c.Start, h.until)) == 0 && within(c.losing[h.name], c.Start, c.End) == 0:
			states[h.name] = all
		default:
			states[h.name] = some
		}
	}
	return func(a *Asset) Watched {
		if len(a.hosts) == 0 {
			return WatchedUnknown
		}
		least, most := all, none
		for host := range a.hosts {
			least, most = min(least, states[host]), max(most, states[host])
		}
		switch {
		case most == none:
			return WatchedNo
		case least == all:
			return WatchedYes
		default:
			return WatchedPartial
		}
	}
}
