package finding

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// advisory is what is read of an OSV document. Other members are none of our business.
type advisory struct {
	ID               string          `json:"id"`
	Withdrawn        string          `json:"withdrawn"`
	Aliases          []string        `json:"aliases"`
	Summary          string          `json:"summary"`
	Details          string          `json:"details"`
	Severity         []osvSeverity   `json:"severity"`
	Affected         []osvAffected   `json:"affected"`
	DatabaseSpecific json.RawMessage `json:"database_specific"`
}

type osvSeverity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

type osvAffected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
		PURL      string `json:"purl"`
	} `json:"package"`
	Ranges []struct {
		Type   string     `json:"type"`
		Events []osvEvent `json:"events"`
	} `json:"ranges"`
	Versions          []string        `json:"versions"`
	Severity          []osvSeverity   `json:"severity"`
	EcosystemSpecific json.RawMessage `json:"ecosystem_specific"`
}

type osvEvent struct {
	Introduced   string `json:"introduced"`
	Fixed        string `json:"fixed"`
	LastAffected string `json:"last_affected"`
	Limit        string `json:"limit"`
}

// version of the one thing that happens in an event.
func (e *osvEvent) version() string { return cmp.Or(e.Introduced, e.Fixed, e.LastAffected, e.Limit) }

// ecosystems are the purl type and namespace of OSV's ecosystems, without what follows a colon.
var ecosystems = map[string]struct{ kind, namespace string }{
	"Go":             {"golang", ""},
	"crates.io":      {"cargo", ""},
	"npm":            {"npm", ""},
	"PyPI":           {"pypi", ""},
	"Maven":          {"maven", ""},
	"NuGet":          {"nuget", ""},
	"RubyGems":       {"gem", ""},
	"Packagist":      {"composer", ""},
	"Hex":            {"hex", ""},
	"Pub":            {"pub", ""},
	"GitHub Actions": {"github", ""},
	"Debian":         {"deb", "debian"},
	"Ubuntu":         {"deb", "ubuntu"},
	"Alpine":         {"apk", "alpine"},
	"Wolfi":          {"apk", "wolfi"},
	"Chainguard":     {"apk", "chainguard"},
	"Red Hat":        {"rpm", "redhat"},
	"Rocky Linux":    {"rpm", "rocky-linux"},
	"AlmaLinux":      {"rpm", "almalinux"},
	"SUSE":           {"rpm", "suse"},
	"openSUSE":       {"rpm", "opensuse"},
}

// osvComponent is the purl, without version, of a package of an advisory. The release of a Debian-like distribution is
// its qualifier distro: versions of another release are not comparable.
func (a *osvAffected) osvComponent() (string, *FieldError) {
	name, release, _ := strings.Cut(a.Package.Ecosystem, ":")
	ecosystem, known := ecosystems[name]
	switch {
	case !known && a.Package.PURL != "":
		p, err := parsePURL(a.Package.PURL)
		if err != nil {
			return "", fieldError(err, "package.purl")
		}
		return encodePURL(p.kind, p.path, p.qualifiers), nil
	case a.Package.Ecosystem == "":
		return "", fieldError(errors.New("is missing"), "package.ecosystem")
	case !known:
		return "", fieldError(errors.New("is not known, and there is no purl"), "package.ecosystem")
	case a.Package.Name == "":
		return "", fieldError(errors.New("is missing"), "package.name")
	}
	path, qualifiers := a.Package.Name, ""
	switch ecosystem.kind {
	case "maven":
		path = strings.Replace(path, ":", "/", 1)
	case "pypi":
		path = foldPyPI(path)
	case "deb":
		if release, _, _ = strings.Cut(release, ":"); release != "" {
			qualifiers = "distro=" + ecosystem.namespace + "-" + release
		}
	}
	if ecosystem.namespace != "" {
		path = ecosystem.namespace + "/" + path
	}
	component := encodePURL(ecosystem.kind, path, qualifiers)
	if _, err := parsePURL(component); err != nil {
		return "", fieldError(errors.New("makes no purl"), "package.name")
	}
	return component, nil
}

// advisory reads one OSV document.
func (p *parser) advisory(item string, raw json.RawMessage) {
	var d advisory
	if err := jsonError(json.Unmarshal(raw, &d)); err != nil {
		p.refuse(item, err)
		return
	}
	if err := ValidateID(d.ID); err != nil {
		p.refuse(item, fieldError(err, "id"))
		return
	}
	if d.Withdrawn != "" {
		p.refuse(item, ErrWithdrawn)
		return
	}
	switch {
	case len(d.Affected) == 0:
		p.refuse(item, fieldError(errors.New("is missing"), "affected"))
		return
	case len(d.Affected) > MaxPackages:
		p.refuse(item, fieldError(fmt.Errorf("has more than %d entries", MaxPackages), "affected"))
		return
	}
	type entry struct {
		finding witness.Finding
		index   int // in affected
	}
	var entries []entry
	known := map[string]int{} // in entries, by what is told apart
	common, vector := d.common(), newestVector(d.Severity)
	packages, ecosystemsOf := map[string]bool{}, map[string]map[string]bool{}
	for i := range d.Affected {
		a := &d.Affected[i]
		packages[a.Package.Ecosystem+"\x00"+a.Package.Name] = true
		if ecosystemsOf[a.Package.Name] == nil {
			ecosystemsOf[a.Package.Name] = map[string]bool{}
		}
		ecosystemsOf[a.Package.Name][a.Package.Ecosystem] = true
		f, err := a.finding(common, vector)
		if err != nil {
			p.refuse(item, fieldError(err.Reason, "affected[%d].%s", i, err.Field))
			continue
		}
		key := fmt.Sprintf("%q%+q", f.Component, f.Symbols)
		same, is := known[key]
		if !is {
			known[key] = len(entries)
			entries = append(entries, entry{f, i})
			continue
		}
		// One of the two without versions is affected in all of them.
		if e := &entries[same].finding; len(e.Affected)+len(e.Versions) == 0 || len(f.Affected)+len(f.Versions) == 0 {
			e.Affected, e.Versions = nil, nil
		} else {
			e.Affected = append(e.Affected, f.Affected...)
			e.Versions = append(e.Versions, f.Versions...)
		}
	}
	numbers := map[string]int{}
	for _, e := range entries {
		a := &d.Affected[e.index]
		id := d.ID
		if len(packages) > 1 {
			if len(ecosystemsOf[a.Package.Name]) > 1 {
				id += "/" + a.Package.Ecosystem
			}
			id += "/" + cmp.Or(a.Package.Name, a.Package.PURL)
		}
		if numbers[id]++; numbers[id] > 1 {
			id = fmt.Sprintf("%s~%d", id, numbers[id])
		}
		if e.finding.ID = id; id != d.ID {
			e.finding.Aliases = append([]string{d.ID}, e.finding.Aliases...)
		}
		at := item
		if len(d.Affected) > 1 {
			at = fmt.Sprintf("%s, affected[%d]", item, e.index)
		}
		p.add(at, e.finding)
	}
}

// common is what the findings of an advisory have in common. It is made once: an advisory with as many details as packages
// would else take the time of both multiplied.
func (d *advisory) common() witness.Finding {
	f := witness.Finding{Title: title(d.Summary, d.Details), Severity: severityWord(d.DatabaseSpecific)}
	for _, alias := range d.Aliases {
		if alias != "" && alias != d.ID && len(f.Aliases) <= MaxAliases { // with one too many they are refused
			f.Aliases = append(f.Aliases, alias)
		}
	}
	return f
}

// finding is the finding of an advisory in a package, without id. The field of an error is within the entry.
func (a *osvAffected) finding(f witness.Finding, vector osvSeverity) (witness.Finding, *FieldError) {
	if f.Severity == "" {
		if own := newestVector(a.Severity); own.Type >= vector.Type {
			vector = own
		}
		f.Severity = vector.Score
	}
	var err *FieldError
	if f.Component, err = a.osvComponent(); err != nil {
		return f, err
	}
	p, _ := parsePURL(f.Component)
	s := schemeOf(p.kind, p.path)
	f.Versions = a.Versions
	var revisions []witness.VersionRange
	for i := range a.Ranges {
		r := &a.Ranges[i]
		list := ranges(r.Events, s)
		if len(list) == 0 {
			return f, fieldError(errors.New("introduces nothing"), "ranges[%d].events", i)
		}
		switch r.Type {
		case "SEMVER", "ECOSYSTEM":
			f.Affected = append(f.Affected, list...)
		case "GIT":
			revisions = append(revisions, list...)
		default:
			return f, fieldError(errors.New("is not SEMVER, ECOSYSTEM or GIT"), "ranges[%d].type", i)
		}
	}
	if len(f.Affected) == 0 && len(f.Versions) == 0 {
		f.Affected = revisions // of which no version is known to be inside or outside
	}
	f.Symbols, err = a.symbols(p.kind)
	return f, err
}

// ranges pairs events. They are in the order of their versions where that is known, and else as written.
func ranges(events []osvEvent, s *scheme) []witness.VersionRange {
	if s != nil {
		events = slices.Clone(events)
		slices.SortStableFunc(events, func(a, b osvEvent) int {
			if x, y := isBeginning(a.version()), isBeginning(b.version()); x || y {
				return cmp.Compare(bit(y), bit(x))
			}
			x, okX := s.parse(a.version())
			y, okY := s.parse(b.version())
			if !okX || !okY {
				return 0
			}
			return s.compare(x, y)
		})
	}
	var list []witness.VersionRange
	open := false
	for _, event := range events {
		switch {
		case event.Introduced != "":
			if !open {
				list = append(list, witness.VersionRange{Introduced: event.Introduced})
			}
			open = true
		case event.Fixed != "" || event.LastAffected != "" || event.Limit != "":
			if !open {
				continue
			}
			list[len(list)-1].Fixed = cmp.Or(event.Fixed, event.Limit)
			list[len(list)-1].LastAffected = event.LastAffected
			if event.Fixed != "" {
				list[len(list)-1].LastAffected = ""
			}
			open = false
		}
	}
	return list
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// symbols are the vulnerable functions that the database of the package's ecosystem names.
func (a *osvAffected) symbols(kind string) ([]witness.SymbolRef, *FieldError) {
	if len(a.EcosystemSpecific) == 0 {
		return nil, nil
	}
	var list []witness.SymbolRef
	switch kind {
	case "golang":
		var specific struct {
			Imports []struct {
				Path    string   `json:"path"`
				Symbols []string `json:"symbols"`
			} `json:"imports"`
		}
		if err := json.Unmarshal(a.EcosystemSpecific, &specific); err != nil {
			return nil, fieldError(errors.New("is not what the Go vulnerability database has there"), "ecosystem_specific")
		}
		for i, imported := range specific.Imports {
			if imported.Path == "" {
				return nil, fieldError(errors.New("is missing"), "ecosystem_specific.imports[%d].path", i)
			}
			if len(imported.Symbols) == 0 {
				list = append(list, witness.SymbolRef{Language: "go", Package: imported.Path, Source: "osv"})
			}
			for j, name := range imported.Symbols {
				if name == "" {
					return nil, fieldError(errors.New("is empty"), "ecosystem_specific.imports[%d].symbols[%d]", i, j)
				}
				list = append(list, witness.SymbolRef{Language: "go", Package: imported.Path, Member: symbol.NewRef(symbol.Go, imported.Path, name).Member, Source: "osv"})
			}
		}
	case "cargo":
		var specific struct {
			Affects struct {
				Functions []string `json:"functions"`
			} `json:"affects"`
		}
		if err := json.Unmarshal(a.EcosystemSpecific, &specific); err != nil {
			return nil, fieldError(errors.New("is not what RustSec has there"), "ecosystem_specific")
		}
		for i, function := range specific.Affects.Functions {
			r := symbol.NewRef(symbol.Rust, "", function)
			if r.Member == "" {
				return nil, fieldError(errors.New("is not crate::function"), "ecosystem_specific.affects.functions[%d]", i)
			}
			list = append(list, witness.SymbolRef{Language: "rust", Package: r.Package, Member: r.Member, Source: "rustsec"})
		}
	}
	return list, nil
}

// severityWord is the word of the database for the severity, empty if it has none that is known.
func severityWord(databaseSpecific json.RawMessage) string {
	var specific struct {
		Severity string `json:"severity"`
	}
	if json.Unmarshal(databaseSpecific, &specific) == nil {
		switch word := strings.ToUpper(specific.Severity); word {
		case "LOW", "MODERATE", "MEDIUM", "HIGH", "CRITICAL":
			return word
		}
	}
	return ""
}

// newestVector is the first of the newest version of CVSS.
func newestVector(list []osvSeverity) (best osvSeverity) {
	for _, s := range list {
		if strings.HasPrefix(s.Type, "CVSS") && s.Type > best.Type {
			best = s
		}
	}
	return best
}

// title is one line: the summary, or else the start of the details.
func title(summary, details string) string {
	const most = 256
	text := strings.Join(strings.FieldsFunc(cmp.Or(summary, details), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	text = strings.ToValidUTF8(text, "")
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.TrimRight(text[:cut], " ") + "..."
}
