package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

var now = time.Date(2026, 11, 22, 12, 0, 30, 0, time.UTC)

func newMaker(t testing.TB) *Maker {
	config := canon.NewDefaultConfig()
	config.Identities = canon.IdentitiesKeep
	canonicalizer, err := canon.New(config)
	require.NoError(t, err)
	return &Maker{Canonicalizer: canonicalizer, Window: time.Minute}
}

func decode(t testing.TB, traces ...string) *Request {
	t.Helper()
	r, err := Decode([]byte(`{"traces":[` + strings.Join(traces, ",") + `]}`))
	require.NoError(t, err)
	return r
}

func makeOf(t testing.TB, traces ...string) Made {
	t.Helper()
	made := newMaker(t).Make(decode(t, traces...), "F-1", "post/0/http", now)
	require.Len(t, made.Traces, len(made.Observations))
	for i := range made.Observations {
		o := &made.Observations[i]
		require.NoError(t, o.Validate())
		require.Equal(t, o.Witness.ID(), o.ID)
		require.Equal(t, witness.Asserted, o.Assurance)
		require.NotEmpty(t, made.Traces[i])
	}
	return made
}

const call = `{"kind":"call","hits":3,"firstSeen":"2026-11-22T10:00:00Z","lastSeen":"2026-11-22T12:00:59+02:00",
 "vulnerableFunction":"golang.org/x/net/html.(*Tokenizer).Next",
 "frames":[{"symbol":"golang.org/x/net/html.(*Tokenizer).Next","language":"go","module":"/usr/bin/app",
   "buildId":"C0B9959017CF64B03131964573944FC729553EA7","offset":"0x1234","file":"/home/alice/app/x.go","line":12}],
 "artifact":{"purl":"pkg:golang/golang.org/x/net@v1.2.3","digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"},
 "container":{"id":"abc","name":"web","image":"registry.example/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
 "host":"node-1"}`

func TestCall(t *testing.T) {
	made := makeOf(t, call)
	require.Empty(t, made.Rejected)
	require.Len(t, made.Observations, 1)
	o := made.Observations[0]
	assert.Equal(t, witness.KindCall, o.Witness.Kind)
	assert.Equal(t, "golang.org/x/net/html.Tokenizer.Next", o.Witness.Frame.Symbol)
	assert.Equal(t, "golang.org/x/net/html", o.Witness.Frame.Package)
	assert.Equal(t, "Tokenizer.Next", o.Witness.Frame.Member)
	assert.Equal(t, "c0b9959017cf64b03131964573944fc729553ea7", o.Witness.Frame.Module.BuildID)
	assert.NotContains(t, o.Witness.Frame.File, "alice")
	assert.Equal(t, 12, o.Witness.Frame.Line)
	assert.Equal(t, "pkg:golang/golang.org/x/net@v1.2.3", o.Witness.Frame.Component)
	assert.Equal(t, witness.Workload{Container: "web", Image: "sha256:" + strings.Repeat("a", 64)}, o.Witness.Workload)
	assert.Equal(t, witness.Instance{Host: "node-1", Container: "abc"}, o.Instance)
	assert.Equal(t, witness.Artifact{
		PURL: "pkg:golang/golang.org/x/net@v1.2.3", Digest: "sha256:" + strings.Repeat("b", 64), Method: "asserted",
	}, o.Artifact)
	assert.Equal(t, uint64(3), o.Hits)
	assert.Equal(t, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), o.WindowStart)
	assert.Equal(t, time.Date(2026, 11, 22, 10, 1, 0, 0, time.UTC), o.WindowEnd)
	assert.Equal(t, []string{"F-1"}, o.FindingIDs)
	assert.Equal(t, "post/0/http", o.Source)
}

func TestEqualTracesAddUp(t *testing.T) {
	later := strings.Replace(strings.Replace(call, "12:00:59", "12:00:30", 1), `"hits":3,`, "", 1)
	otherWindow := strings.Replace(call, "12:00:59", "12:01:00", 1)
	otherPlace := strings.Replace(call, `"node-1"`, `"node-2"`, 1)
	made := makeOf(t, call, later, otherWindow, `{"kind":"none"}`, otherPlace, call)
	require.Len(t, made.Observations, 3)
	assert.Equal(t, uint64(7), made.Observations[0].Hits)
	assert.Equal(t, []int{0, 1, 5}, made.Traces[0])
	assert.Equal(t, []int{2}, made.Traces[1])
	assert.Equal(t, []int{4}, made.Traces[2])
	assert.Equal(t, []Rejection{{3, errKind.Error()}}, made.Rejected)
	assert.Equal(t, time.Date(2026, 11, 22, 10, 0, 59, 0, time.UTC), made.Observations[0].LastSeen)
}

func TestSample(t *testing.T) {
	const frames = `"frames":[{"symbol":"runtime.mallocgc","language":"go","module":"/app"},{"symbol":"a.b/c.(*T).M","language":"go","module":"/app"},{"symbol":"main.main","language":"go","module":"/app"}]`
	t.Run("innermost", func(t *testing.T) {
		made := makeOf(t, `{"kind":"sample",`+frames+`}`)
		require.Len(t, made.Observations, 3)
		assert.Equal(t, []string{"F-1"}, made.Observations[0].FindingIDs)
		assert.Empty(t, made.Observations[1].FindingIDs)
		assert.Len(t, made.Observations[0].Witness.Path, 2)
		assert.Equal(t, witness.AlignWindow(now, time.Minute), made.Observations[0].WindowStart)
	})
	t.Run("the one that is named", func(t *testing.T) {
		made := makeOf(t, `{"kind":"sample","vulnerableFunction":"a.b/c.T.M",`+frames+`}`)
		require.Len(t, made.Observations, 3)
		assert.Empty(t, made.Observations[0].FindingIDs)
		assert.Equal(t, []string{"F-1"}, made.Observations[1].FindingIDs)
		assert.Equal(t, "a.b/c.T.M", made.Observations[1].Witness.Frame.Symbol)
	})
	t.Run("one that is not there", func(t *testing.T) {
		made := makeOf(t, `{"kind":"sample","vulnerableFunction":"x.y/z.F",`+frames+`}`)
		assert.Equal(t, []string{"F-1"}, made.Observations[0].FindingIDs)
	})
	t.Run("unknown innermost", func(t *testing.T) {
		made := makeOf(t, `{"kind":"sample","frames":[{"file":"x.c"},{"symbol":"main.main","language":"go"}]}`)
		assert.Empty(t, made.Observations)
		assert.Equal(t, []Rejection{{0, errUnknown.Error()}}, made.Rejected)
	})
	t.Run("kernel innermost", func(t *testing.T) {
		made := makeOf(t, `{"kind":"sample","frames":[{"symbol":"do_syscall_64","language":"kernel","module":"[kernel]"},{"symbol":"main.main","language":"go","module":"/app"}]}`)
		require.Len(t, made.Observations, 1)
		assert.Equal(t, []string{"F-1"}, made.Observations[0].FindingIDs)
	})
}

func TestModules(t *testing.T) {
	made := makeOf(t, `{"kind":"exec","module":"/usr/bin/app"}`, `{"kind":"load","frames":[{"buildId":"c0b9959017cf64b03131964573944fc729553ea7"}]}`)
	require.Empty(t, made.Rejected)
	require.Len(t, made.Observations, 2)
	assert.Equal(t, witness.Module{Path: "/usr/bin/app"}, made.Observations[0].Witness.Frame.Module)
	assert.Equal(t, []string{"F-1"}, made.Observations[0].FindingIDs)
	assert.Equal(t, "c0b9959017cf64b03131964573944fc729553ea7", made.Observations[1].Witness.Frame.Module.BuildID)
}

func TestArtifactIsOfTheExecutable(t *testing.T) {
	made := makeOf(t, `{"kind":"sample","frames":[
	  {"symbol":"malloc","language":"c","module":"/lib/x86_64-linux-gnu/libc.so.6"},
	  {"symbol":"work","language":"c","module":"/usr/bin/app"},
	  {"symbol":"__libc_start_main","language":"c","module":"/lib/x86_64-linux-gnu/libc.so.6"}],
	  "artifact":{"purl":"pkg:generic/app@1"}}`)
	require.Len(t, made.Observations, 3)
	assert.True(t, made.Observations[0].Artifact.IsZero())
	assert.Equal(t, "pkg:generic/app@1", made.Observations[1].Artifact.PURL)
	assert.True(t, made.Observations[2].Artifact.IsZero())
}

func TestRejections(t *testing.T) {
	const frame = `{"symbol":"main.main","language":"go"}`
	deep := "[" + strings.TrimSuffix(strings.Repeat(frame+",", witness.MaxStack+1), ",") + "]"
	for _, test := range []struct{ name, trace, want string }{
		{"kind", `{"kind":"secret"}`, "kind: is not one of exec, load, sample, call"},
		{"no kind", `{}`, "kind: is not one of"},
		{"null", `null`, "kind: is not one of"},
		{"a number", `7`, "is not an object"},
		{"type", `{"kind":7}`, "kind: is not a string"},
		{"type inside", `{"kind":"call","frames":[{"line":"secret"}]}`, "frames.line: is not a whole number"},
		{"no hits", `{"kind":"exec","module":"/a","hits":0}`, "hits: is not from 1 to"},
		{"negative hits", `{"kind":"exec","module":"/a","hits":-1}`, "hits: is not from 1 to"},
		{"too many hits", `{"kind":"exec","module":"/a","hits":9007199254740992}`, "hits: is not from 1 to"},
		{"far too many hits", `{"kind":"exec","module":"/a","hits":1e300}`, "hits: is not a whole number"},
		{"half a hit", `{"kind":"exec","module":"/a","hits":1.5}`, "hits: is not a whole number"},
		{"time", `{"kind":"exec","module":"/a","lastSeen":"secret"}`, "lastSeen: is not an RFC 3339 time"},
		{"time without zone", `{"kind":"exec","module":"/a","firstSeen":"2026-11-22T10:00:00"}`, "firstSeen: is not an RFC 3339 time"},
		{"year", `{"kind":"exec","module":"/a","lastSeen":"1969-12-31T23:59:59Z"}`, "lastSeen: is not an RFC 3339 time"},
		{"order", `{"kind":"exec","module":"/a","firstSeen":"2026-11-22T10:00:01Z","lastSeen":"2026-11-22T10:00:00Z"}`, "lastSeen: is before firstSeen"},
		{"first seen ahead", `{"kind":"exec","module":"/a","firstSeen":"2026-11-22T12:01:00Z"}`, "lastSeen: is before firstSeen"},
		{"ahead", `{"kind":"exec","module":"/a","lastSeen":"2026-11-22T12:05:31Z"}`, "lastSeen: is more than 5m0s ahead"},
		{"call without frames", `{"kind":"call"}`, "frames: are missing"},
		{"sample with a module", `{"kind":"sample","module":"/a"}`, "module: is for exec and load"},
		{"load with both", `{"kind":"load","module":"/a","frames":[{"module":"/a"}]}`, "module: is for exec and load"},
		{"load with nothing", `{"kind":"load"}`, "module: is missing"},
		{"load without module", `{"kind":"load","frames":[` + frame + `]}`, "frames[0]: has no module"},
		{"call of nothing", `{"kind":"call","frames":[{"module":"/a"}]}`, "frames: the innermost has neither"},
		{"call of no symbol", `{"kind":"call","frames":[{"symbol":"password=secret","language":"go"}]}`, "frames: the innermost has neither"},
		{"offset", `{"kind":"call","frames":[{"module":"/a","offset":"secret"}]}`, "frames[0].offset: an offset is 0x"},
		{"purl", `{"kind":"exec","module":"/a","artifact":{"purl":"secret"}}`, "artifact.purl: is not a package URL"},
		{"digest", `{"kind":"exec","module":"/a","artifact":{"digest":"secret"}}`, "artifact.digest: is not a digest, sha256:<hex>"},
		{"revision", `{"kind":"exec","module":"/a","artifact":{"revision":"secret"}}`, "artifact.revision: is not the hash of a commit"},
		{"build-id", `{"kind":"call","frames":[` + frame + `,{"module":"/a","buildId":"secret"}]}`, "frames[1].buildId: is not a build-id in hex"},
		{"sha256", `{"kind":"call","frames":[{"symbol":"main.main","language":"go","sha256":"abc"}]}`, "frames[0].sha256: is not 64 hex digits"},
		{"line", `{"kind":"call","frames":[` + frame + `,{"line":-1}]}`, "frames[1].line: is negative"},
		{"deep", `{"kind":"call","frames":` + deep + `}`, "frames: has more than 256 items"},
		{"long text", `{"kind":"exec","module":"` + strings.Repeat("s", MaxText+1) + `"}`, "module: is longer than 4096 bytes"},
		{"long text inside", `{"kind":"call","frames":[{"symbol":"` + strings.Repeat("s", MaxText+1) + `"}]}`, "frames[0].symbol: is longer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			made := makeOf(t, call, test.trace, call)
			require.Len(t, made.Rejected, 1)
			assert.Equal(t, 1, made.Rejected[0].Index)
			assert.Contains(t, made.Rejected[0].Reason, test.want)
			assert.NotContains(t, made.Rejected[0].Reason, "secret")
			require.Len(t, made.Observations, 1)
			assert.Equal(t, uint64(6), made.Observations[0].Hits, "the neighbours are taken")
		})
	}
}

func TestLimits(t *testing.T) {
	t.Run("frames of a request", func(t *testing.T) {
		const frame = `{"symbol":"main.main","language":"go"}`
		trace := `{"kind":"call","frames":[` + strings.TrimSuffix(strings.Repeat(frame+",", 250), ",") + `]}`
		traces := make([]string, MaxFrames/250+1)
		for i := range traces {
			traces[i] = trace
		}
		made := makeOf(t, traces...)
		assert.Equal(t, []Rejection{{MaxFrames / 250, "frames: the request has more than 20000"}}, made.Rejected)
	})
	t.Run("hits saturate", func(t *testing.T) {
		traces := make([]string, 2000)
		for i := range traces {
			traces[i] = fmt.Sprintf(`{"kind":"exec","module":"/a","hits":%d}`, int64(MaxHits))
		}
		made := makeOf(t, traces...)
		require.Len(t, made.Observations, 1)
		assert.Equal(t, uint64(math.MaxInt64), made.Observations[0].Hits)
	})
}

func TestDigest(t *testing.T) {
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, []byte(call)))
	spaced, packed := decode(t, call), decode(t, compact.String())
	assert.Equal(t, spaced.Digest(), packed.Digest(), "white space is not content")
	reordered := decode(t, `{"module":"/a","kind":"exec","lastSeen":"2026-11-22T10:00:00Z"}`)
	assert.Equal(t, decode(t, `{"kind":"exec","lastSeen":"2026-11-22T10:00:00Z","module":"/a"}`).Digest(), reordered.Digest())
	assert.NotEqual(t, decode(t, strings.Replace(call, `"hits":3`, `"hits":4`, 1)).Digest(), spaced.Digest())
	assert.NotEqual(t, decode(t, call, call).Digest(), spaced.Digest())

	assert.True(t, spaced.Timed())
	assert.False(t, decode(t, call, `{"kind":"exec","module":"/a"}`).Timed())
	assert.Equal(t, 2, decode(t, call, `{}`).Len())
}

func FuzzMake(f *testing.F) {
	f.Add([]byte(`{"traces":[` + call + `]}`))
	f.Add([]byte(`{"traces":[{"kind":"sample","frames":[{"symbol":"_ZN1a1bE","language":"cxx"},{"module":"[kernel]","offset":"0xffffffffffffffff"}]}]}`))
	f.Add([]byte(`{"traces":[{"kind":"load","frames":[{"sha256":"zz"}],"container":{"image":"@"}}]}`))
	f.Add([]byte(`{"traces":[null,{"kind":"exec","module":"/proc/1/root/home/x","hits":9007199254740991}]}`))
	maker := newMaker(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Decode(body)
		if err != nil {
			return
		}
		made := maker.Make(r, "F-1", "post/0/http", now)
		for i := range made.Observations {
			o := &made.Observations[i]
			if err := o.Validate(); err != nil {
				t.Fatal(err)
			}
			if o.Witness.ID() != o.ID {
				t.Fatal("the id is not that of the witness")
			}
		}
		for i, rejection := range made.Rejected {
			if rejection.Index >= r.Len() || i > 0 && made.Rejected[i-1].Index >= rejection.Index {
				t.Fatal("rejections are not by index")
			}
		}
	})
}
