package evidence

import (
	"context"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Timeline is the evidence of a finding by time: every bucket of [From, To), with and without hits.
type Timeline struct {
	From, To time.Time
	Bucket   time.Duration
	// Coarsened says that the asked bucket was shorter than the windows that are stored.
	Coarsened bool
	Buckets   []storage.Bucket
	Releases  []Release
}

// Release is when an artifact was first seen with another identity than the ones before.
type Release struct {
	At                 time.Time
	Previous, Artifact witness.Artifact
}

// Timeline returns buckets, aligned in UTC, that hold [from, to). They are longer than asked where what is stored is.
func (m *Matches) Timeline(ctx context.Context, reader storage.Reader, from, to time.Time, bucket time.Duration) (Timeline, error) {
	asked := bucket
	for {
		start, end := Align(from, to, bucket)
		var stored storage.Timeline
		if !m.Empty() {
			query := storage.TimelineQuery{Filter: m.filter, Bucket: bucket}
			query.From, query.To = start, end
			var err error
			if stored, err = reader.Timeline(ctx, m.tenant, query); err != nil {
				return Timeline{}, err
			}
		}
		if stored.Resolution > bucket {
			bucket = stored.Resolution // a longer bucket can reach out to longer windows, which end at a day
			continue
		}
		return Timeline{
			From: start, To: end, Bucket: bucket, Coarsened: bucket > asked,
			Buckets: fill(stored.Buckets, start, end, bucket), Releases: releases(stored.Buckets),
		}, nil
	}
}

// Align widens [from, to) to whole buckets.
func Align(from, to time.Time, bucket time.Duration) (start, end time.Time) {
	start, end = witness.AlignWindow(from, bucket), witness.AlignWindow(to, bucket)
	if end.Before(to) {
		end = end.Add(bucket)
	}
	return start, end
}

// fill puts the buckets without hits between those with.
func fill(buckets []storage.Bucket, start, end time.Time, length time.Duration) []storage.Bucket {
	all := make([]storage.Bucket, end.Sub(start)/length)
	for i := range all {
		all[i].Start = start.Add(time.Duration(i) * length)
	}
	for _, b := range buckets {
		if i := int(b.Start.Sub(start) / length); i >= 0 && i < len(all) {
			all[i].Hits, all[i].Items = b.Hits, b.Items
		}
	}
	return all
}

// releases finds where an artifact changes. Only what names the same purl, but for the version, or the same repository
// is the same artifact: two images that merely share a component are not releases of each other.
func releases(buckets []storage.Bucket) []Release {
	known := map[string][]witness.Artifact{}
	var found []Release
	for i := range buckets {
		for _, item := range buckets[i].Items {
			line := lineage(item.Artifact)
			if line == "" {
				continue
			}
			before := known[line]
			changed := len(before) > 0
			for _, other := range before {
				changed = changed && differ(other, item.Artifact)
			}
			if changed {
				found = append(found, Release{At: buckets[i].Start, Previous: before[len(before)-1], Artifact: item.Artifact})
			}
			if changed || len(before) == 0 {
				known[line] = append(before, item.Artifact)
			}
		}
	}
	return found
}

// lineage is what stays the same over the releases of an artifact; empty when nothing is known that does.
func lineage(a witness.Artifact) string {
	if a.PURL != "" {
		purl, _, _ := strings.Cut(a.PURL, "?")
		if at := strings.LastIndexByte(purl, '@'); at > strings.LastIndexByte(purl, '/') {
			purl = purl[:at]
		}
		return purl
	}
	return a.Repository
}

// differ reports whether two identities contradict each other. What only one of them knows is no contradiction.
func differ(a, b witness.Artifact) bool {
	other := func(x, y string) bool { return x != "" && y != "" && x != y }
	return other(a.Digest, b.Digest) || other(a.Revision, b.Revision) || other(a.PURL, b.PURL)
}
