package canon

import (
	"hash/maphash"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Check counts in what is about to be stored the values that canonicalization would have changed or taken out: where it
// is not zero, something came in around it. It changes nothing. Values that were clean are remembered, so that it costs
// little for what comes again. It is safe for concurrent use.
type Check struct{ memory *memory }

// NewCheck makes a Check that remembers nothing.
func NewCheck() *Check { return &Check{newMemory()} }

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
	w.text(ruleName, o.Source)
	w.text(rulePURL, o.Artifact.PURL)
	w.text(ruleDigest, o.Artifact.Digest)
	w.text(ruleRevision, o.Artifact.Revision)
	w.text(ruleText, o.Artifact.Repository)
	for _, conflict := range o.Artifact.Conflicts {
		w.text(ruleIdentified, conflict)
	}
	for _, id := range o.FindingIDs {
		w.text(ruleName, id)
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
		w.text(ruleName, name)
	}
	w.text(ruleText, of.StatusReason)
	return w.n
}

// Containment counts the values of a containment.
func (c *Check) Containment(of *witness.Containment) int {
	w := counting{Check: c}
	w.place(&of.Workload, &of.Instance)
	w.module(&of.Executable)
	for i := range of.Signals {
		for _, value := range of.Signals[i].Values {
			w.text(ruleName, value)
		}
	}
	return w.n
}

func (w *counting) place(workload *witness.Workload, instance *witness.Instance) {
	for _, name := range []string{workload.Namespace, workload.Controller, workload.Container, instance.Host, instance.Pod, instance.Container} {
		w.text(ruleName, name)
	}
	w.text(ruleIdentified, workload.Image)
}

func (w *counting) module(m *witness.Module) {
	w.text(rulePath, m.Path)
	w.text(ruleBuildID, m.BuildID)
	w.text(ruleSHA256, m.SHA256)
}

func (w *counting) frame(f *witness.Frame) {
	w.module(&f.Module)
	w.symbol(f.Language, f.Package, f.Member, f.Symbol)
	w.text(rulePath, f.File)
	w.text(rulePURL, f.Component)
	w.text(ruleName, f.SymbolSource)
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
func (w *counting) text(r rule, text string) {
	if text != "" && !w.memory.keeps(r, text) {
		w.n++
	}
}

// symbol counts a name that is none of its language, or another than its parts make.
func (w *counting) symbol(language, pkg, member, name string) {
	if pkg == "" && member == "" && name == "" {
		return
	}
	var first, second uint64
	for _, text := range [...]string{language, pkg, member, name} {
		first = (first ^ maphash.String(w.memory.first, text)) * 0x9e3779b97f4a7c15
		second = (second ^ maphash.String(w.memory.second, text)) * 0x9e3779b97f4a7c15
	}
	e := w.memory.entry(ruleSymbol, first, second)
	if e.known() {
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
	e.remember()
}
