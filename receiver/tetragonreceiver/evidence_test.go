package tetragonreceiver

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// TestEvidenceSurvivesCanonicalization compares each frame of the captures before and after: symbols are renamed, and all
// else that identifies code is the same.
func TestEvidenceSurvivesCanonicalization(t *testing.T) {
	for _, capture := range []string{"linger", "throttled"} {
		for _, identities := range []string{canon.IdentitiesKeep, canon.IdentitiesHMAC, canon.IdentitiesDrop} {
			t.Run(capture+" "+identities, func(t *testing.T) {
				_, b := convertAll(options{}, append(fileEvents(t, capture), streamEvents(t, capture)...)...)
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
				assert.Greater(t, modules, 30)
				assert.Empty(t, unknown, "all symbols of the captures are symbols")
			})
		}
	}
}
