package snapshot

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Engine computes what a snapshot says of its inputs. It is a pure function of the State, and never changes once there
// are snapshots that it made: what is computed otherwise is another engine, beside it.
type Engine struct {
	// Matching and ScoreModel name it.
	Matching, ScoreModel string
	// Compute must not keep or change the State.
	Compute func(*State) (Outcome, error)
}

// Outcome is what an engine computes.
type Outcome struct {
	Window      Window
	ScoreConfig string // digest of the weights, sha256:<hex>
	// ContainmentModel and ContainmentConfig are empty without containment.
	ContainmentModel, ContainmentConfig string
	Counters                            map[string]string
	Result                              Result
}

// Engines are those that snapshots can be made with, the last, and replayed with, all of them.
type Engines []Engine

// Known are the engines of this version, oldest first.
var Known = Engines{{Matching: "witness-match/v1", ScoreModel: score.Model, Compute: v1}}

func (e Engines) find(matching, model string) (*Engine, bool) {
	i := slices.IndexFunc(e, func(e Engine) bool { return e.Matching == matching && e.ScoreModel == model })
	if i < 0 {
		return nil, false
	}
	return &e[i], true
}

// Unknowns that a result can have.
const (
	UnknownNotObserved   = "not-observed"      // no evidence is stored: that is no verdict
	UnknownNotWatched    = "not-watched"       // nobody watched, so silence says nothing
	UnknownCoverage      = "coverage-partial"  // some was watched
	UnknownTruncated     = "coverage-cut"      // there was more coverage than was looked at
	UnknownLoss          = "loss-uncounted"    // a loss of unknown size
	UnknownVersion       = "version"           // of some evidence, which version ran
	UnknownIdentity      = "artifact-identity" // of some evidence, which artifact it was in
	UnknownSymbols       = "symbols"           // the finding names no function
	UnknownContainment   = "containment"       // of some process, how it is contained
	UnknownOnlyAsserted  = "only-asserted"     // nothing was measured
	UnknownFixedVersions = "affected-versions" // the finding does not say which versions are affected
)

// v1 matches as internal/finding does and scores as witness-score/v1.
func v1(s *State) (Outcome, error) {
	weights, err := score.ParseWeights(s.Weights)
	if err != nil {
		return Outcome{}, fmt.Errorf("weights: %w", err)
	}
	var inputs []score.Input
	unknowns := map[string]bool{UnknownSymbols: len(s.Finding.Symbols) == 0, UnknownFixedVersions: len(s.Finding.Affected)+len(s.Finding.Versions) == 0}
	counts := map[string]uint64{"candidates": uint64(s.Candidates), "matched": 0, "hits": 0, "measured": 0, "asserted": 0, "lost": 0, "lostUncounted": 0} //nolint:gosec // a count
	count := func(name string, n uint64) { counts[name] += min(n, math.MaxUint64-counts[name]) }                                                          // stops at the greatest
	first := s.AsOf
	for i := range s.Subjects {
		subject := &s.Subjects[i]
		found := match(weights, &s.Finding, subject)
		if len(found) == 0 {
			continue
		}
		counts["matched"]++
		if total := &subject.Total; total.Hits > 0 && total.FirstSeen.Before(first) && !total.FirstSeen.IsZero() {
			first = total.FirstSeen
		}
		for _, in := range found {
			count("hits", in.Hits)
			count(string(in.Assurance), in.Hits)
			unknowns[UnknownVersion] = unknowns[UnknownVersion] || in.Version == finding.VersionUnknown
			unknowns[UnknownIdentity] = unknowns[UnknownIdentity] || in.Identity <= weights.Identity.Other
		}
		inputs = append(inputs, found...)
	}
	unknowns[UnknownNotObserved] = counts["hits"] == 0
	unknowns[UnknownOnlyAsserted] = counts["hits"] > 0 && counts["measured"] == 0
	for _, loss := range s.Coverage.Losses {
		count("lost", loss.Events)
		count("lost."+loss.Stage, loss.Events)
		count("lostUncounted", uint64(loss.Uncounted)) //nolint:gosec // a count
	}
	unknowns[UnknownLoss] = counts["lostUncounted"] > 0
	coverage := 1.0
	for _, part := range s.Coverage.Parts {
		coverage *= part.Value
	}
	if len(s.Coverage.Parts) == 0 {
		coverage = 0
	}
	coverage = math.Round(coverage*1e4) / 1e4
	unknowns[UnknownNotWatched] = s.Coverage.Sources == 0
	unknowns[UnknownCoverage] = s.Coverage.Sources > 0 && coverage < 1
	unknowns[UnknownTruncated] = s.Coverage.Truncated

	scored := weights.Score(s.AsOf, inputs)
	outcome := Outcome{
		Window:      Window{formatTime(first), formatTime(s.AsOf)},
		ScoreConfig: weights.Digest(),
		Counters:    map[string]string{},
		Result:      Result{Score: formatFraction(scored.Score), Band: scored.Band, Coverage: formatFraction(coverage), Factors: []Factor{}, Unknowns: []string{}},
	}
	if s.Containment != nil {
		outcome.ContainmentModel = containment.Model
		if outcome.Result.Containment, outcome.ContainmentConfig, err = s.Containment.contain(); err != nil {
			return Outcome{}, err
		}
	}
	unknowns[UnknownContainment] = s.Containment == nil || s.Containment.Truncated || outcome.Result.Containment.UnknownShare != "0"
	for _, factor := range scored.Factors {
		outcome.Result.Factors = append(outcome.Result.Factors, Factor{factor.Name, formatFraction(factor.Value)})
	}
	for name, n := range counts {
		outcome.Counters[name] = formatCount(n)
	}
	for name, is := range unknowns {
		if is {
			outcome.Result.Unknowns = append(outcome.Result.Unknowns, name)
		}
	}
	slices.Sort(outcome.Result.Unknowns)
	return outcome, nil
}

// match is what a subject adds to the score: its measured and its asserted hits, each with how they answer the finding,
// none if they do not.
func match(w *score.Weights, f *witness.Finding, s *Subject) []score.Input {
	own, is := finding.Of(f, s.Kind, &s.Frame, &s.Artifact, false)
	claimed, claims := own, is
	if s.Named {
		if named, ok := finding.Of(f, s.Kind, &s.Frame, &s.Artifact, true); ok {
			claimed, claims = named, true
		}
	}
	if !claims {
		return nil
	}
	measured := min(s.Total.Measured, s.Total.Hits)
	if !is {
		measured = 0 // measured or not, only the claim ties it to the finding
	}
	var inputs []score.Input
	for _, part := range []struct {
		assurance witness.Assurance
		hits      uint64
		last      time.Time
		match     finding.Match
	}{
		{witness.Measured, measured, s.Total.LastMeasured, own},
		{witness.Asserted, s.Total.Hits - measured, s.Total.LastSeen, claimed},
	} {
		if part.hits == 0 {
			continue
		}
		inputs = append(inputs, score.Input{
			Level: part.match.Level, Version: part.match.Version, Symbol: part.match.Symbol,
			Source:    w.SourceConfidence(&s.Frame, s.Kind, part.assurance),
			Identity:  w.IdentityConfidence(s.Artifact.Method),
			Assurance: part.assurance, LastSeen: part.last, Hits: part.hits, Hosts: s.Total.Hosts, Images: s.Total.Images,
			Artifact: cmp.Or(s.Artifact.Digest, s.Artifact.PURL, s.Frame.Module.Key("")), Subject: s.ID,
		})
	}
	return inputs
}
