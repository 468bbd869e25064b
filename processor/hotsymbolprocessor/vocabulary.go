package hotsymbolprocessor

import (
	"strings"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// place is an instance with a number that is never given again.
type place struct {
	witness.Instance
	number uint32
}

// claims are what an event claims of its evidence: counted apart, but no part of a key. The number is never given again.
type claims struct {
	assurance witness.Assurance
	origin    witness.Origin
	findings  []string
	number    uint32
}

// vocabulary keeps one copy of what many entries have: where and how evidence was seen, and in what artifact. It is a cache:
// what it returned stays valid when it is cleared.
type vocabulary struct {
	places    map[witness.Instance]*place
	claimed   map[claimsKey]*claims
	artifacts map[artifactKey]*witness.Artifact

	numbers      uint32
	lastClaims   *claims
	lastArtifact *witness.Artifact
}

type claimsKey struct {
	assurance witness.Assurance
	origin    witness.Origin
	findings  string // joined: a sender can name many
}

type artifactKey struct{ purl, digest, revision, repository, method, conflicts string }

func newVocabulary() *vocabulary {
	return &vocabulary{places: map[witness.Instance]*place{}, claimed: map[claimsKey]*claims{}, artifacts: map[artifactKey]*witness.Artifact{}}
}

// size is that of the largest of its parts.
func (v *vocabulary) size() int { return max(len(v.places), len(v.claimed), len(v.artifacts)) }

func (v *vocabulary) clear() {
	clear(v.places)
	clear(v.claimed)
	clear(v.artifacts)
	v.lastClaims, v.lastArtifact = nil, nil
}

func (v *vocabulary) number() uint32 {
	v.numbers++
	return v.numbers
}

func (v *vocabulary) place(at witness.Instance) *place {
	found, ok := v.places[at]
	if !ok {
		found = &place{
			Instance: witness.Instance{Host: strings.Clone(at.Host), Pod: strings.Clone(at.Pod), Container: strings.Clone(at.Container)},
			number:   v.number(),
		}
		v.places[found.Instance] = found
	}
	return found
}

func (v *vocabulary) claim(assurance witness.Assurance, origin witness.Origin, findings []string) *claims {
	if c := v.lastClaims; c != nil && len(findings) == 0 && len(c.findings) == 0 && c.assurance == assurance && c.origin == origin {
		return c
	}
	key := claimsKey{assurance, origin, strings.Join(findings, "\x00")}
	found, ok := v.claimed[key]
	if !ok {
		key.assurance, key.origin = witness.Assurance(strings.Clone(string(assurance))), witness.Origin(strings.Clone(string(origin)))
		found = &claims{assurance: key.assurance, origin: key.origin, findings: cloneStrings(findings), number: v.number()}
		key.findings = strings.Clone(key.findings)
		v.claimed[key] = found
	}
	v.lastClaims = found
	return found
}

// artifact is nil when a says nothing.
func (v *vocabulary) artifact(a *witness.Artifact) *witness.Artifact {
	if a.IsZero() {
		return nil
	}
	if v.lastArtifact != nil && sameArtifact(v.lastArtifact, a) {
		return v.lastArtifact
	}
	key := artifactKey{a.PURL, a.Digest, a.Revision, a.Repository, a.Method, strings.Join(a.Conflicts, "\x00")}
	found, ok := v.artifacts[key]
	if !ok {
		found = &witness.Artifact{
			PURL: strings.Clone(a.PURL), Digest: strings.Clone(a.Digest), Revision: strings.Clone(a.Revision),
			Repository: strings.Clone(a.Repository), Method: strings.Clone(a.Method), Conflicts: cloneStrings(a.Conflicts),
		}
		v.artifacts[artifactKey{found.PURL, found.Digest, found.Revision, found.Repository, found.Method, strings.Clone(key.conflicts)}] = found
	}
	v.lastArtifact = found
	return found
}
