package canon

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// canonicalObservation is observation as it leaves canonicalization, with everything that it can have.
func canonicalObservation(t testing.TB) witness.Observation {
	o := observation()
	o.Artifact = witness.Artifact{PURL: purl, Digest: digest, Revision: buildID, Repository: "https://github.com/x/auth", Conflicts: []string{purl, digest}}
	o.FindingIDs = []string{"GO-2023-1988"}
	o.Witness.Frame.Offset, o.Witness.Frame.HasOffset, o.Witness.Frame.File, o.Witness.Frame.Component = 0x1234, true, "html/token.go", purl
	o.Witness.Frame.Module.SHA256, o.Witness.Frame.Flags = digest[7:], []string{"closure"}
	o.Instance = witness.Instance{Host: "node-1", Pod: "web-1", Container: "0123456789ab"}
	o.ID = o.Witness.ID()
	logs := plog.NewLogs()
	witness.AppendObservations(logs, "test", "1", o.LastSeen, []witness.Observation{o})
	newCanonicalizer(t, func(c *Config) { c.Identities = IdentitiesKeep }).Logs(logs)
	resourceLogs := logs.ResourceLogs().At(0)
	got, err := witness.ObservationOf(resourceLogs.Resource().Attributes(), resourceLogs.ScopeLogs().At(0).LogRecords().At(0))
	require.NoError(t, err)
	return got
}

func TestCheckOfWhatIsNotCanonical(t *testing.T) {
	raw := observation()
	assert.Positive(t, NewCheck().Observation(&raw))
	canonical := canonicalObservation(t)
	c := NewCheck()
	for range 3 { // what is remembered too
		assert.Zero(t, c.Observation(&canonical))
	}
}

// TestCheckCanaries puts canaries into each text of what is stored.
func TestCheckCanaries(t *testing.T) {
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	observation := canonicalObservation(t)
	coverage := witness.Coverage{
		Source: observation.Source, Instance: observation.Instance, Workload: observation.Witness.Workload, Signal: "tetragon", Start: start, End: start,
		About:     witness.About{Module: observation.Witness.Frame.Module, Language: "go", Package: "main", Member: "main", Symbol: "main.main"},
		LossStage: "ring", StatusTarget: "policy", StatusState: "attached", StatusReason: "none",
	}
	containment := witness.Containment{Workload: observation.Witness.Workload, Instance: observation.Instance, Executable: observation.Witness.Frame.Module, Signals: []witness.Signal{{Values: []string{"x"}}}}
	c := NewCheck()
	require.Zero(t, c.Observation(&observation))
	require.Zero(t, c.Coverage(&coverage))
	require.Zero(t, c.Containment(&containment))
	for _, canary := range []string{
		"0x7ffd1c2b3a40", "ffff888100123400", "/home/alicecanary/x", "ghp_aB3dE6gH9jaB3dE6gH9jaB3dE6gH9jkLmNoP", "password=hunter2", "alice@example.com",
		"postgres://u:hunter2@db/x", "2001:db8::17",
	} {
		fields := 0
		visit := func(value any, count func() int) {
			eachText(reflect.ValueOf(value).Elem(), "", func(name string, text reflect.Value) {
				was := text.String()
				text.SetString(canary)
				assert.Positive(t, count(), "%s in %T%s", canary, value, name)
				text.SetString(was)
				fields++
			})
			require.Zero(t, count())
		}
		visit(&observation, func() int { return c.Observation(&observation) })
		visit(&coverage, func() int { return c.Coverage(&coverage) })
		visit(&containment, func() int { return c.Containment(&containment) })
		assert.Greater(t, fields, 50)
	}
	observation.Witness.Frame.Offset = 358419962583
	assert.Equal(t, 1, c.Observation(&observation))
}

// eachText visits the texts in a value that are not of an enumeration.
func eachText(v reflect.Value, name string, do func(string, reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if field := v.Type().Field(i).Name; field != "Language" && field != "Method" {
				eachText(v.Field(i), name+"."+field, do)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachText(v.Index(i), name+"[]", do)
		}
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			do(name, v)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	o := canonicalObservation(b)
	c := NewCheck()
	b.Run("seen before", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Observation(&o)
		}
	})
	b.Run("new function", func(b *testing.B) {
		b.ReportAllocs()
		member := []byte("Tokenizer.NextAAAAAA")
		for i := 0; b.Loop(); i++ {
			for at, n := len(member)-1, i; n > 0; at, n = at-1, n/26 {
				member[at] = byte('A' + n%26)
			}
			f := &o.Witness.Frame
			f.Member = string(member)
			f.Symbol = f.Package + "." + f.Member
			c.Observation(&o)
		}
	})
}
