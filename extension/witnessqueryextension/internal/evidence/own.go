package evidence

import (
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Own tells the functions and files of a finding from others: the functions that the finding names, and the files in
// which evidence of it was seen. A nil Own owns nothing.
type Own struct {
	finding *witness.Finding
	// functions says whether the finding names functions, and not only packages.
	functions bool
	modules   map[witness.Module]bool // each has a single member
	known     map[witness.About]bool
}

// OwnOf is what belongs to a finding; matches may be nil.
func OwnOf(f *witness.Finding, matches *Matches) *Own {
	own := &Own{finding: f, modules: map[witness.Module]bool{}, known: map[witness.About]bool{}}
	for i := range f.Symbols {
		own.functions = own.functions || f.Symbols[i].Member != ""
	}
	if matches != nil {
		for id := range matches.subjects {
			s := matches.subjects[id]
			for _, part := range parts(s.Frame.Module) {
				own.modules[part] = true
			}
		}
	}
	return own
}

// parts are the identities of a module, the strongest alone if it has one.
func parts(m witness.Module) []witness.Module {
	var parts []witness.Module
	if m.BuildID != "" {
		parts = append(parts, witness.Module{BuildID: m.BuildID})
	}
	if m.SHA256 != "" {
		parts = append(parts, witness.Module{SHA256: m.SHA256})
	}
	if len(parts) == 0 && m.Path != "" && m.Path != witness.KernelModule {
		parts = append(parts, witness.Module{Path: m.Path})
	}
	return parts
}

// has says whether a function or file belongs to the finding.
func (o *Own) has(about *witness.About) bool {
	if o == nil || *about == (witness.About{}) {
		return false
	}
	known, ok := o.known[*about]
	if !ok {
		known = o.match(about)
		o.known[*about] = known
	}
	return known
}

func (o *Own) match(about *witness.About) bool {
	if about.Package == "" && about.Member == "" && about.Symbol == "" {
		for _, part := range parts(about.Module) {
			if o.modules[part] {
				return true
			}
		}
		return false
	}
	frame := about.Frame()
	m, ok := finding.Of(o.finding, witness.KindCall, &frame, nil, false)
	return ok && (m.Direct || m.Level == finding.LevelClosure || m.Level == finding.LevelPackage && !o.functions)
}
