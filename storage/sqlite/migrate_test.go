package sqlite

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// makeRelease, set in the environment, has TestMakeRelease write the fixture of the current schema into testdata. That is
// done once for each schema, with the code that is released with it, and never again.
const makeRelease = "WITNESS_TEST_MAKE_RELEASE"

// releaseNow is the clock when the fixtures were made.
var releaseNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func fixture(version int, suffix string) string {
	return filepath.Join("testdata", fmt.Sprintf("schema_%d.%s", version, suffix))
}

func TestMakeRelease(t *testing.T) {
	if os.Getenv(makeRelease) == "" {
		t.Skip("the fixtures of released schemas are made once: " + makeRelease)
	}
	path := filepath.Join(t.TempDir(), "witness.db")
	s := open(t, path, func() time.Time { return releaseNow })
	history(t, s)
	answers := answers(t, s)
	require.NoError(t, s.Close())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for suffix, content := range map[string][]byte{"db.gz": content, "json.gz": answers} {
		var packed bytes.Buffer
		to, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		require.NoError(t, err)
		_, err = to.Write(content)
		require.NoError(t, err)
		require.NoError(t, to.Close())
		require.NoError(t, os.WriteFile(fixture(len(migrations), suffix), packed.Bytes(), 0o600))
	}
}

// unpack returns the content of a fixture.
func unpack(t *testing.T, version int, suffix string) []byte {
	packed, err := os.Open(fixture(version, suffix))
	require.NoError(t, err)
	defer packed.Close()
	from, err := gzip.NewReader(packed)
	require.NoError(t, err)
	content, err := io.ReadAll(from)
	require.NoError(t, err)
	return content
}

// release unpacks the fixture of a released schema and returns its path.
func release(t *testing.T, version int) string {
	path := filepath.Join(t.TempDir(), "witness.db")
	require.NoError(t, os.WriteFile(path, unpack(t, version, "db.gz"), 0o600))
	return path
}

// sameAnswers compares answers but for members without content: later schemas have more of them.
func sameAnswers(t *testing.T, want, got []byte, message string) {
	t.Helper()
	var wantValue, gotValue any
	require.NoError(t, json.Unmarshal(want, &wantValue))
	require.NoError(t, json.Unmarshal(got, &gotValue))
	wantAll, gotAll := contentOf(wantValue).(map[string]any), contentOf(gotValue).(map[string]any)
	for question, answer := range wantAll {
		if strings.Contains(question, "/hot") { // symbols with equal hits come in another order by now
			assert.ElementsMatch(t, answer, gotAll[question], "%s: %s", message, question)
			continue
		}
		assert.Equal(t, answer, gotAll[question], "%s: %s", message, question)
	}
	assert.Len(t, gotAll, len(wantAll), message)
}

// contentOf is a JSON value without null, zero, false, and what is empty; nil if nothing is left.
func contentOf(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if v[name] = contentOf(member); v[name] == nil {
				delete(v, name)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i, member := range v {
			v[i] = contentOf(member)
		}
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" || v == "0001-01-01T00:00:00Z" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return value
}

// Every schema that was released is migrated to the current one and answers as it did.
func TestMigrateFromEveryRelease(t *testing.T) {
	released, err := filepath.Glob(filepath.Join("testdata", "schema_*.db.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, released)
	for _, name := range released {
		var version int
		_, err := fmt.Sscanf(filepath.Base(name), "schema_%d.db.gz", &version)
		require.NoError(t, err)
		t.Run(fmt.Sprint("schema ", version), func(t *testing.T) {
			path := release(t, version)
			want := unpack(t, version, "json.gz")
			now := func() time.Time { return releaseNow }
			s := open(t, path, now)
			sameAnswers(t, want, answers(t, s), "migrated")
			var got int
			require.NoError(t, s.writer.conn.QueryRowContext(context.Background(), "PRAGMA user_version").Scan(&got))
			assert.Equal(t, len(migrations), got)
			var check string
			require.NoError(t, s.read.QueryRow("PRAGMA integrity_check").Scan(&check))
			assert.Equal(t, "ok", check)
			rows, err := s.read.Query("PRAGMA foreign_key_check")
			require.NoError(t, err)
			assert.False(t, rows.Next())
			require.NoError(t, errorsOf(rows))

			again := answers(t, s)
			written := history(t, s)
			assert.Zero(t, written.Stored, "what comes again is known")
			assert.Positive(t, written.Duplicates)
			sameAnswers(t, again, answers(t, s), "delivered again")
			more, err := s.WriteObservations(context.Background(), storage.Batch{Observations: observations(10, 0)})
			require.NoError(t, err)
			assert.Len(t, more.Refused, 10, "the clock of the fixture")
			require.NoError(t, s.Close())
			s = open(t, path, now)
			sameAnswers(t, want, answers(t, s), "after a restart")
		})
	}
}

func errorsOf(rows *sql.Rows) error {
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

// history writes what the fixtures hold: the day and a half before releaseNow in two tenants.
func history(t *testing.T, s *Storage) storage.Written {
	random := rand.New(rand.NewPCG(1, 2))
	ctx := context.Background()
	var sum storage.Written
	write := func(tenant string, all ...witness.Observation) {
		written, err := s.WriteObservations(ctx, storage.Batch{Principal: storage.Principal{Tenant: tenant, Name: "alice"}, Observations: all})
		require.NoError(t, err)
		require.Empty(t, written.Refused)
		sum.Stored += written.Stored
		sum.Duplicates += written.Duplicates
	}
	app := witness.Module{BuildID: "c0b9959017cf64b03131964573944fc729553ea7", Path: "/usr/bin/app"}
	frame := func(pkg, member string) witness.Frame {
		return witness.Frame{Package: pkg, Member: member, Symbol: pkg + "." + member, Language: "go", Module: app}
	}
	at := func(minutesAgo int, length time.Duration) witness.Observation {
		start := witness.AlignWindow(releaseNow.Add(-time.Duration(minutesAgo)*time.Minute), length)
		return witness.Observation{
			Source: "a1/1/tetragon", Instance: witness.Instance{Host: "node-1", Pod: "web-1", Container: "c1"}, Hits: 1,
			WindowStart: start, WindowEnd: start.Add(length), FirstSeen: start.Add(3 * time.Second), LastSeen: start.Add(min(length-time.Second, 40*time.Second)),
			Assurance: witness.Measured, Origin: witness.OriginWorkload,
		}
	}
	done := func(o witness.Observation) witness.Observation {
		o.ID = o.Witness.ID()
		return o
	}
	web := witness.Workload{Namespace: "shop", Controller: "deployment/web", Container: "app", Image: "sha256:aa"}
	paths := [][]witness.Frame{nil, {frame("main", "main")}, {frame("example.com/app", "serve"), frame("main", "main")}}
	var batch []witness.Observation
	for i := range 300 {
		o := at(5+7*i, []time.Duration{time.Minute, time.Minute, 10 * time.Second, time.Hour}[i%4])
		o.Witness = witness.Witness{
			Kind:     []witness.Kind{witness.KindCall, witness.KindSample}[i%2],
			Frame:    frame("golang.org/x/net/html", []string{"Parse", "Tokenizer.Next", "Render"}[i%3]),
			Workload: web, Path: paths[i/3%len(paths)],
		}
		o.Witness.Frame.Component = []string{"pkg:golang/golang.org/x/net@v0.1.0", "pkg:golang/golang.org/x/net@v0.2.0", ""}[i/100]
		o.Witness.Workload.Namespace = []string{"shop", "shop", "bank", ""}[i/2%4]
		o.Witness.Workload.Image = []string{"sha256:aa", "sha256:bb"}[i/150]
		o.Instance = witness.Instance{Host: fmt.Sprintf("node-%d", i%5), Pod: fmt.Sprintf("web-%d", i%7), Container: fmt.Sprintf("c%d", i%11)}
		o.Hits = 1 + random.Uint64N(1000)
		o.HitsError = random.Uint64N(2) * (o.Hits / 2)
		o.Flush = uint64(i % 2)
		o.Origin = []witness.Origin{witness.OriginWorkload, witness.OriginInjected, witness.OriginUnknown}[i%3]
		o.Artifact = witness.Artifact{PURL: fmt.Sprintf("pkg:golang/example.com/app@v1.%d.0", i/60), Method: "buildinfo"}
		if i%50 == 0 {
			o.Artifact.Conflicts = []string{"sbom"}
		}
		if i%20 == 0 {
			o.FindingIDs = []string{"named-" + fmt.Sprint(i%40)}
		}
		batch = append(batch, done(o))
	}
	for first := 0; first < len(batch); first += 30 {
		write("", batch[first:first+30]...)
	}
	write("", batch[40:60]...) // redelivered
	write("other", batch[:20]...)

	// Two receivers of a host, flush by flush, with incarnations; then a post beside them.
	two := at(90, time.Minute)
	two.Witness = witness.Witness{Kind: witness.KindCall, Frame: frame("golang.org/x/text/language", "Parse"), Workload: web}
	for i, hits := range []uint64{3, 4, 5} {
		tetragon, ebpf := two, two
		tetragon.Source, tetragon.Flush, tetragon.Hits = fmt.Sprintf("a1/%d/tetragon", 1+i/2), uint64(i), hits
		ebpf.Source, ebpf.Flush, ebpf.Hits = "a1/1/ebpf", uint64(i), 2*hits-4
		ebpf.LastSeen = ebpf.LastSeen.Add(time.Duration(i) * time.Second)
		write("", done(tetragon), done(ebpf))
	}
	posted := two
	posted.Source, posted.Assurance, posted.Hits, posted.FindingIDs = "post/7f7f/http", witness.Asserted, 100, []string{"GHSA-posted"}
	write("", done(posted))
	// A claim under the key of a collector that the collector then replaces.
	claimed := two
	claimed.Witness.Frame, claimed.Assurance, claimed.Hits = frame("golang.org/x/text/language", "Make"), witness.Asserted, 999
	write("", done(claimed))
	claimed.Assurance, claimed.Hits = witness.Measured, 2
	write("", done(claimed))
	// What has no symbol, and kinds without one; odd but valid values.
	load := at(200, time.Minute)
	load.Witness = witness.Witness{Kind: witness.KindLoad, Frame: witness.Frame{Module: witness.Module{SHA256: "ab", Path: "/usr/lib/libssl.so.3"}}, Workload: web}
	load.Witness.Frame.Component, load.Artifact.PURL = "pkg:deb/debian/libssl3@3.0?upstream=openssl", "pkg:oci/web@sha256:aa"
	exec := at(200, 24*time.Hour)
	exec.Witness = witness.Witness{Kind: witness.KindExec, Frame: witness.Frame{Module: witness.Module{Path: "/usr/bin/curl"}}, Workload: web}
	offset := at(201, time.Minute)
	offset.Witness = witness.Witness{Kind: witness.KindSample, Frame: witness.Frame{Module: app, Offset: 0xfedcba9876543210, HasOffset: true, Flags: []string{"inlined"}, Inlined: true}}
	kernel := at(202, time.Minute)
	kernel.Witness = witness.Witness{Kind: witness.KindCall, Frame: witness.Frame{Symbol: "tcp_connect", Language: "kernel", Module: witness.Module{Path: witness.KernelModule}, Confidence: 0.5}}
	kernel.Instance = witness.Instance{}
	write("", done(load), done(exec), done(offset), done(kernel))

	receipt := &storage.Receipt{Key: "k1", Body: [32]byte{1}}
	late := at(300, time.Minute)
	late.Witness, late.Source, late.Assurance = two.Witness, "post/8a8a/http", witness.Asserted
	written, err := s.WriteObservations(ctx, storage.Batch{Principal: storage.Principal{Name: "bob"}, Receipt: receipt, Observations: []witness.Observation{done(late)}})
	require.NoError(t, err)
	sum.Stored += written.Stored
	_, err = s.WriteObservations(ctx, storage.Batch{Principal: storage.Principal{Name: "bob"}, Receipt: &storage.Receipt{Key: "k1", Body: [32]byte{2}}})
	require.ErrorIs(t, err, storage.ErrConflict)

	for i := range 40 {
		start := releaseNow.Add(-time.Duration(i) * time.Hour)
		c := witness.Coverage{
			Source: "a1/1/tetragon", Signal: "process_exec", Kinds: []witness.Kind{witness.KindExec, witness.KindCall}[:1+i%2],
			Instance: witness.Instance{Host: fmt.Sprintf("node-%d", i%3)}, Start: start.Add(-time.Hour), End: start, Interval: time.Minute,
			ProcessesWatched: 9, ProcessesSeen: 10, Assurance: witness.Measured,
		}
		switch i % 10 {
		case 3:
			c.LossStage, c.Lost, c.Kinds = "ring", 17, nil
		case 7:
			c.StatusTarget, c.StatusState, c.StatusReason, c.Kinds = "policy", "refused", "kernel", nil
			c.Start = c.End
		}
		require.NoError(t, s.WriteCoverage(ctx, storage.Principal{Name: "alice"}, []witness.Coverage{c}))
	}
	findings := []witness.Finding{
		{ID: "GHSA-1", Component: "pkg:golang/golang.org/x/net", Symbols: []witness.SymbolRef{{Package: "golang.org/x/net/html", Member: "Parse"}}},
		{ID: "GHSA-2", Component: "pkg:deb/debian/openssl", Severity: "high"},
	}
	require.NoError(t, s.ReplaceFindings(ctx, storage.Principal{Name: "alice"}, "scan", findings))
	_, err = s.PutFinding(ctx, storage.Principal{Name: "alice"}, witness.Finding{ID: "GHSA-3", Title: "alone"})
	require.NoError(t, err)
	return sum
}

// answers asks everything there is and returns it as JSON. Subjects are called by what they are: their ids are opaque.
func answers(t *testing.T, s *Storage) []byte {
	ctx := context.Background()
	all := map[string]any{}
	for _, tenant := range []string{"", "other", "unknown"} {
		ask := func(name string, answer any, err error) {
			require.NoError(t, err, name)
			all[fmt.Sprintf("%s/%s", tenant, name)] = answer
		}
		hot, err := s.HotSymbols(ctx, tenant, storage.HotQuery{Limit: 1000})
		require.NoError(t, err)
		var subjects []string
		called := map[string]string{}
		name := func(subject storage.Subject) string {
			return fmt.Sprint(subject.Kind, " ", subject.Frame.Symbol, subject.Frame.Module.Path, subject.Frame.Offset, subject.Frame.Flags)
		}
		for _, h := range hot {
			subjects = append(subjects, h.Subject.ID)
			called[h.Subject.ID] = name(h.Subject)
		}
		symbols := func(hot []storage.HotSymbol) (named []storage.HotSymbol) {
			for _, h := range hot {
				h.Subject.ID = called[h.Subject.ID]
				named = append(named, h)
			}
			return named
		}
		totals := func(by map[string]storage.SubjectTotal) map[string]storage.SubjectTotal {
			named := map[string]storage.SubjectTotal{}
			for id, total := range by {
				named[called[id]] = total
			}
			return named
		}
		ask("hot", symbols(hot), nil)
		for _, query := range []storage.HotQuery{
			{Component: "pkg:golang/golang.org/x/net"}, {Artifact: "pkg:golang/example.com/app@v1.2.0"},
			{Filter: storage.Filter{Kinds: []witness.Kind{witness.KindCall}, From: releaseNow.Add(-6 * time.Hour)}},
		} {
			hot, err := s.HotSymbols(ctx, tenant, query)
			ask(fmt.Sprintf("hot %q %q %v", query.Component, query.Artifact, query.Kinds), symbols(hot), err)
		}
		by, err := s.Totals(ctx, tenant, subjects)
		ask("totals", totals(by), err)
		for title, filter := range map[string]storage.Filter{
			"all": {}, "calls": {Kinds: []witness.Kind{witness.KindCall}}, "measured": {Assurance: witness.Measured},
			"asserted": {Assurance: witness.Asserted}, "shop": {Namespaces: []string{"shop"}}, "bank, none": {Namespaces: []string{"bank", ""}},
			"hours":   {From: releaseNow.Add(-12 * time.Hour), To: releaseNow.Add(-2 * time.Hour)},
			"minutes": {From: releaseNow.Add(-95 * time.Minute), To: releaseNow.Add(-85 * time.Minute)},
			"named":   {Finding: "named-20"}, "posted": {Finding: "GHSA-posted"},
		} {
			if filter.Finding == "" {
				filter.Subjects = subjects
			}
			summary, err := s.Summary(ctx, tenant, filter)
			summary.BySubject = totals(summary.BySubject)
			ask("summary of "+title, summary, err)
			for _, bucket := range []time.Duration{time.Minute, time.Hour} {
				if bucket == time.Minute && (title == "all" || title == "calls" || title == "measured" || title == "shop") {
					continue // as the hours say
				}
				timeline, err := s.Timeline(ctx, tenant, storage.TimelineQuery{Filter: filter, Bucket: bucket})
				ask(fmt.Sprint("timeline by ", bucket, " of ", title), timeline, err)
			}
			places, err := s.Places(ctx, tenant, filter)
			for i := range places {
				places[i].Subject = called[places[i].Subject]
			}
			if title == "all" || title == "posted" || title == "hours" {
				ask("places of "+title, places, err)
			}
			for _, sort := range []storage.Sort{storage.SortHits, storage.SortRecent, storage.SortID} {
				var witnesses []any
				query := storage.WitnessQuery{Filter: filter, Sort: sort, Limit: 7}
				for {
					page, err := s.Witnesses(ctx, tenant, query)
					require.NoError(t, err)
					for _, w := range page.Witnesses {
						if w.Subject = called[w.Subject]; title == "all" && sort == storage.SortID {
							witnesses = append(witnesses, w)
						} else {
							witnesses = append(witnesses, fmt.Sprint(w.ID, " ", w.Hits, " ", w.HitsError, " ", w.LastSeen.Format(time.RFC3339), " ", w.Instance))
						}
					}
					if page.Next == nil {
						break
					}
					query.After = page.Next
				}
				ask("witnesses by "+string(sort)+" of "+title, witnesses, nil)
			}
		}
		found, err := s.Subjects(ctx, tenant, storage.SubjectQuery{Finding: "named-0", Members: []string{"Parse"}, Packages: []string{"golang.org/x/text/language"}, Components: []string{"pkg:deb/debian/openssl"}})
		for i := range found {
			found[i].ID = called[found[i].ID]
		}
		ask("subjects", found, err)
		findings, err := s.Findings(ctx, tenant, storage.FindingQuery{})
		findings.Changed = nil // answers of schema 1 were kept without it
		ask("findings", findings, err)
		coverage, err := s.Coverage(ctx, tenant, storage.CoverageQuery{})
		ask("coverage", coverage, err)
		coverage, err = s.Coverage(ctx, tenant, storage.CoverageQuery{From: releaseNow.Add(-5 * time.Hour), To: releaseNow.Add(-3 * time.Hour), Hosts: []string{"node-1"}})
		coverage = slices.DeleteFunc(coverage, func(c witness.Coverage) bool { return c.End.Before(releaseNow.Add(-5 * time.Hour)) }) // states, since schema 3
		ask("coverage of node-1", coverage, err)
	}
	encoded, err := json.MarshalIndent(all, "", " ")
	require.NoError(t, err)
	return append(encoded, '\n')
}
