package tetragonreceiver

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// TestEvidenceSurvivesCanonicalization compares each frame of the captures before and after: symbols are renamed, and all
// else that identifies code is the same.
func TestEvidenceSurvivesCanonicalization(t *testing.T) {
	for _, capture := range []string{"linger", "throttled", "contained"} {
		for _, identities := range []string{canon.IdentitiesKeep, canon.IdentitiesHMAC, canon.IdentitiesDrop} {
			t.Run(capture+" "+identities, func(t *testing.T) {
				events := fileEvents(t, capture)
				if capture != "contained" { // of which there is no stream
					events = append(events, streamEvents(t, capture)...)
				}
				_, b := convertAll(options{}, events...)
				correlate(b.Logs)
				before := plog.NewLogs()
				b.Logs.CopyTo(before)
				config := canon.NewDefaultConfig()
				config.Identities = identities
				c, err := canon.New(config)
				require.NoError(t, err)
				report := c.Logs(b.Logs)
				assert.Zero(t, report.DroppedRecords)
				assert.Zero(t, report.DroppedFrames)
				assert.Empty(t, semconv.Validate(b.Logs))

				records := func(logs plog.Logs) (all []plog.LogRecord) {
					each(logs, func(_ pcommon.Map, record plog.LogRecord) { all = append(all, record) })
					return all
				}
				raw, canonical := records(before), records(b.Logs)
				require.Len(t, canonical, len(raw))
				modules, unknown := 0, map[string]int{}
				for i := range raw {
					for _, name := range []string{
						semconv.ProcessExecutableBuildIDGNU, semconv.ProcessPID, semconv.ProcessCreationTime, semconv.TetragonPolicy,
						semconv.ArtifactPURL, semconv.ArtifactHash, semconv.VCSRefHeadRevision, semconv.WitnessComponentPURL,
						semconv.WitnessOrigin, semconv.WitnessProbeID, semconv.WitnessStackComplete, semconv.LogRecordUID,
					} {
						was, had := raw[i].Attributes().Get(name)
						is, has := canonical[i].Attributes().Get(name)
						require.Equal(t, had, has, name)
						if had {
							require.Equal(t, was.AsRaw(), is.AsRaw(), name)
						}
					}
					was, is := witness.StackOf(raw[i].Attributes()), witness.StackOf(canonical[i].Attributes())
					require.Len(t, is, len(was))
					for j := range was {
						require.Equal(t, was[j].Module.BuildID, is[j].Module.BuildID)
						require.Equal(t, was[j].Offset, is[j].Offset)
						require.Equal(t, was[j].HasOffset, is[j].HasOffset)
						require.Equal(t, was[j].SymbolSource, is[j].SymbolSource)
						if path := was[j].Module.Path; privacy.CanonicalPath(path).Collapsed {
							require.True(t, strings.HasPrefix(is[j].Module.Path, "<"), is[j].Module.Path)
						} else {
							require.Equal(t, path, is[j].Module.Path)
						}
						if was[j].Module != (witness.Module{}) {
							modules++
						}
						if was[j].Symbol != "" && is[j].Symbol == "" {
							unknown[was[j].Symbol]++
						}
					}
				}
				assert.Greater(t, modules, map[string]int{"linger": 1000, "throttled": 30, "contained": 10}[capture])
				assert.Empty(t, unknown, "all symbols of the captures are symbols")
				for name, evidence := range evidenceOf(t, before) {
					assert.Equal(t, evidence, evidenceOf(t, b.Logs)[name], name)
				}
			})
		}
	}
}

// correlate says of each record what correlation would have found out.
func correlate(logs plog.Logs) {
	n := 0
	each(logs, func(_ pcommon.Map, record plog.LogRecord) {
		n++
		m := record.Attributes()
		m.PutStr(semconv.ArtifactPURL, fmt.Sprintf("pkg:golang/example.com/app@v1.2.%d-rc.beta?goos=linux", n))
		m.PutStr(semconv.WitnessComponentPURL, fmt.Sprintf("pkg:deb/debian/libssl3@3.0.%d-1~deb12u2?arch=amd64&distro=debian-12", n))
		sum := sha256.Sum256([]byte(strconv.Itoa(n)))
		m.PutStr(semconv.ArtifactHash, fmt.Sprintf("sha256:%x", sum))
		m.PutStr(semconv.VCSRefHeadRevision, fmt.Sprintf("%x", sum[:20]))
	})
}

// evidenceOf are the build-ids, digests, purls, revisions, offsets and canonical symbols of logs, by what they are, each
// with how often it is there.
func evidenceOf(t *testing.T, logs plog.Logs) map[string]map[string]int {
	found := map[string]map[string]int{}
	add := func(name, value string) {
		if value != "" {
			if found[name] == nil {
				found[name] = map[string]int{}
			}
			found[name][value]++
		}
	}
	each(logs, func(resource pcommon.Map, record plog.LogRecord) {
		if digests, ok := resource.Get(semconv.ContainerImageRepoDigests); ok {
			for _, digest := range digests.Slice().All() {
				add("image", digest.Str())
			}
		}
		for _, name := range []string{
			semconv.ProcessExecutableBuildIDGNU, semconv.ArtifactPURL, semconv.ArtifactHash, semconv.VCSRefHeadRevision, semconv.WitnessComponentPURL,
		} {
			add(name, semconv.Text(record.Attributes(), name))
		}
		for _, f := range witness.StackOf(record.Attributes()) {
			add("build_id", f.Module.BuildID)
			add("sha256", f.Module.SHA256)
			add("component", f.Component)
			if f.HasOffset {
				add("offset", witness.FormatOffset(f.Offset))
			}
			if f.Symbol == "" {
				continue
			}
			s, ok := symbol.CanonicalFrame(f.Language, f.Package, f.Member)
			if !ok || f.Package == "" && f.Member == "" {
				s, ok = symbol.Canonical(f.Symbol, f.Language)
			}
			require.True(t, ok, f.Symbol)
			add("symbol", s.Name)
		}
	})
	return found
}
