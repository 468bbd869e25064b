package canon

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// checkSlots is how many values a Check remembers, 8 bytes each.
const checkSlots = 1 << 15

// Check counts in what is about to be stored the values that canonicalization would have changed or taken out: where it
// is not zero, something came in around it. It changes nothing. Values that were clean are remembered, so that it costs
// little for what comes again. It is safe for concurrent use.
type Check struct {
	seeds [checkKinds]maphash.Seed
	clean [checkSlots]atomic.Uint64
}

// checkKind is the rule that a value is checked with.
type checkKind int

const (
	checkName checkKind = iota
	checkText
	checkPath
	checkBuildID
	checkSHA256
	checkDigest
	checkRevision
	checkPURL
	checkIdentified // a name, purl or digest
	checkSymbol
	checkKinds
)

// NewCheck makes a Check that remembers nothing.
func NewCheck() *Check {
	c := &Check{}
	for i := range c.seeds {
		c.seeds[i] = maphash.MakeSeed()
	}
	return c
}

// counting is one count.
type counting struct {
	*Check
	n int
}

// Observation counts the values of an observation.
func (c *Check) Observation(o *witness.Observation) int {
	w := counting{Check: c}
	w.frame(&o.Witness.Frame)
	for i := range o.Witness.Path {
		w.frame(&o.Witness.Path[i])
	}
	w.place(&o.Witness.Workload, &o.Instance)
	w.text(checkName, o.Source)
	w.text(checkPURL, o.Artifact.PURL)
	w.text(checkDigest, o.Artifact.Digest)
	w.text(checkRevision, o.Artifact.Revision)
	w.text(checkText, o.Artifact.Repository)
	for _, conflict := range o.Artifact.Conflicts {
		w.text(checkIdentified, conflict)
	}
	for _, id := range o.FindingIDs {
		w.text(checkName, id)
	}
	return w.n
}

// Coverage counts the values of a coverage record.
func (c *Check) Coverage(of *witness.Coverage) int {
	w := counting{Check: c}
	w.place(&of.Workload, &of.Instance)
	w.module(&of.About.Module)
	w.symbol(of.About.Language, of.About.Package, of.About.Member, of.About.Symbol)
	for _, name := range []string{of.Source, of.Signal, of.LossStage, of.StatusTarget, of.StatusState} {
		w.text(checkName, name)
	}
	w.text(checkText, of.StatusReason)
	return w.n
}

// Containment counts the values of a containment.
func (c *Check) Containment(of *witness.Containment) int {
	w := counting{Check: c}
	w.place(&of.Workload, &of.Instance)
	w.module(&of.Executable)
	for i := range of.Signals {
		for _, value := range of.Signals[i].Values {
			w.text(checkName, value)
		}
	}
	return w.n
}

func (w *counting) place(workload *witness.Workload, instance *witness.Instance) {
	for _, name := range []string{workload.Namespace, workload.Controller, workload.Container, instance.Host, instance.Pod, instance.Container} {
		w.text(checkName, name)
	}
	w.text(checkIdentified, workload.Image)
}

func (w *counting) module(m *witness.Module) {
	w.text(checkPath, m.Path)
	w.text(checkBuildID, m.BuildID)
	w.text(checkSHA256, m.SHA256)
}

func (w *counting) frame(f *witness.Frame) {
	w.module(&f.Module)
	w.symbol(f.Language, f.Package, f.Member, f.Symbol)
	w.text(checkPath, f.File)
	w.text(checkPURL, f.Component)
	w.text(checkName, f.SymbolSource)
	for _, flag := range f.Flags {
		if !isFlag(flag) {
			w.n++
		}
	}
	if f.HasOffset && !privacy.IsOffset(f.Offset) {
		w.n++
	}
}

// text counts a value that its rule would change.
func (w *counting) text(kind checkKind, text string) {
	if text == "" {
		return
	}
	h := maphash.String(w.seeds[kind], text) | 1 // never the value of an empty slot
	slot := &w.clean[h>>1%checkSlots]
	switch {
	case slot.Load() == h:
	case isCanonical(kind, text):
		slot.Store(h)
	default:
		w.n++
	}
}

func isCanonical(kind checkKind, text string) bool {
	switch kind {
	case checkName:
		return privacy.Name(text) == text
	case checkText:
		return privacy.Text(text) == text
	case checkPath:
		return privacy.CanonicalPath(text) == privacy.Path{Canonical: text}
	case checkBuildID:
		return isBuildID(text)
	case checkSHA256:
		return isHex(text, 64)
	case checkDigest:
		return isDigest(text)
	case checkRevision:
		return isRevision(text)
	case checkPURL:
		return isPURL(text)
	case checkIdentified:
		return isPURL(text) || isDigest(text) || privacy.Name(text) == text
	}
	return false
}

// symbol counts a name that is none of its language, or another than its parts make.
func (w *counting) symbol(language, pkg, member, name string) {
	if pkg == "" && member == "" && name == "" {
		return
	}
	var hash maphash.Hash
	hash.SetSeed(w.seeds[checkSymbol])
	for _, text := range []string{language, pkg, member, name} {
		_, _ = hash.WriteString(text)
		_ = hash.WriteByte(0)
	}
	h := hash.Sum64() | 1
	slot := &w.clean[h>>1%checkSlots]
	if slot.Load() == h {
		return
	}
	s, ok := symbol.CanonicalFrame(language, pkg, member)
	if pkg == "" && member == "" {
		s, ok = symbol.Canonical(name, language)
	}
	if !ok || s.Name != name {
		w.n++
		return
	}
	slot.Store(h)
}
