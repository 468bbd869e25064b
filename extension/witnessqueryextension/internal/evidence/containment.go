package evidence

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/internal/containment"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Limits of what is looked at for one finding. Beyond them the answer is Truncated.
const (
	maxContainedWorkloads = 1000 // where there is evidence, and as many that occurrences name
	maxContainedProcesses = 2000
	maxListedWorkloads    = 100
)

// Containment is what could be reached if the code that a finding is about were abused: in the workloads where there is
// evidence of it, and in those that its occurrences name, evidence or not.
type Containment struct {
	containment.Result
	// Workloads are those of the largest blast radius first, those without any last.
	Workloads []ContainedWorkload `json:"workloads"`
	// Truncated says that there are more workloads or processes than were looked at, or more workloads than are listed.
	Truncated bool `json:"truncated"`

	processes []containment.Process // that Result is of
}

// ContainedWorkload is the part of one workload: Processes are those of which something is known. A workload without any
// counts as one unknown process.
type ContainedWorkload struct {
	Workload     witness.Workload `json:"workload"`
	BlastRadius  *float64         `json:"blastRadius"`
	UnknownShare float64          `json:"unknownShare"`
	Processes    int              `json:"processes"`
	// Assurance is asserted if any control was judged by what is only asserted. Nil when nothing is known.
	Assurance *witness.Assurance `json:"assurance"`
}

// site is a workload with evidence: where in it, and which modules that was of.
type site struct {
	instances map[witness.Instance]bool
	paths     map[string]bool
	buildIDs  map[string]bool
}

// Contain judges what is known of the processes that run the code of the finding f, which m matches. Those are the
// processes of the executables that the evidence is of, where it is of executables; otherwise all of the workload's own
// that are known. Of a host, and of a container of which only the id is known, there is no telling without that.
func (m *Matches) Contain(ctx context.Context, reader storage.Reader, f *witness.Finding, weights *containment.Weights) (Containment, error) {
	var answer Containment
	sites, err := m.sites(ctx, reader)
	if err != nil {
		return answer, err
	}
	named := occurrences(f)
	workloads := slices.SortedFunc(maps.Keys(sites), containment.CompareWorkloads)
	answer.Truncated = len(workloads) > maxContainedWorkloads || len(named) > maxContainedWorkloads
	workloads, named = workloads[:min(len(workloads), maxContainedWorkloads)], named[:min(len(named), maxContainedWorkloads)]
	told, more, err := m.told(ctx, reader, workloads, named)
	if err != nil {
		return answer, err
	}
	answer.Truncated = answer.Truncated || more

	processes := map[witness.Workload][]containment.Process{}
	for _, w := range workloads {
		processes[w] = nil
	}
	for _, w := range slices.Concat(workloads, named) {
		// Of which no process is known, what is told of all that it is part of may still be.
		told = append(told, witness.Containment{Workload: w, Origin: witness.OriginUnknown})
	}
	for w, at := range group(containment.Merge(told)) {
		s := sites[w]
		if s == nil && !slices.ContainsFunc(named, func(pattern witness.Workload) bool { return matches(pattern, w) }) {
			continue // it was asked for since it could have spoken of others too
		}
		processes[w] = append(processes[w], s.of(w, at)...)
	}
	var all []containment.Process
	for w, each := range processes {
		known := 0
		for _, p := range each {
			known += min(len(p), 1)
		}
		if len(each) == 0 {
			each = []containment.Process{{}}
		}
		all = append(all, each...)
		r := containment.Assess(weights, each)
		answer.Workloads = append(answer.Workloads, ContainedWorkload{w, r.BlastRadius, r.UnknownShare, known, weakest(r.Parts)})
	}
	if answer.Workloads == nil {
		answer.Workloads = []ContainedWorkload{}
	}
	answer.Result, answer.processes = containment.Assess(weights, all), all
	slices.SortFunc(answer.Workloads, func(a, b ContainedWorkload) int {
		return cmp.Or(cmp.Compare(radius(b.BlastRadius), radius(a.BlastRadius)), cmp.Compare(a.UnknownShare, b.UnknownShare),
			containment.CompareWorkloads(a.Workload, b.Workload))
	})
	if len(answer.Workloads) > maxListedWorkloads {
		answer.Workloads, answer.Truncated = answer.Workloads[:maxListedWorkloads], true
	}
	return answer, nil
}

// weakest is the assurance of the control that is least vouched for, nil if all are unknown.
func weakest(parts []containment.Part) (least *witness.Assurance) {
	for i := range parts {
		if a := &parts[i].Assurance; *a == witness.Asserted || *a != "" && least == nil {
			least = a
		}
	}
	return least
}

// radius orders what has none behind 0.
func radius(r *float64) float64 {
	if r == nil {
		return -1
	}
	return *r
}

// sites are the workloads with evidence.
func (m *Matches) sites(ctx context.Context, reader storage.Reader) (map[witness.Workload]*site, error) {
	if m.Empty() {
		return nil, nil
	}
	places, err := reader.Places(ctx, m.tenant, m.filter)
	if err != nil {
		return nil, err
	}
	sites := map[witness.Workload]*site{}
	for i := range places {
		p := &places[i]
		subject := m.subjects[p.Subject]
		s := sites[p.Workload]
		if s == nil {
			s = &site{map[witness.Instance]bool{}, map[string]bool{}, map[string]bool{}}
			sites[p.Workload] = s
		}
		s.instances[p.Instance] = true
		s.paths[subject.Frame.Module.Path] = true
		s.buildIDs[subject.Frame.Module.BuildID] = true
	}
	return sites, nil
}

// occurrences are the workloads that a finding names, as patterns: an empty member is any. Sorted, each once.
func occurrences(f *witness.Finding) []witness.Workload {
	var named []witness.Workload
	for i := range f.Occurrences {
		o := &f.Occurrences[i]
		w := witness.Workload{Namespace: o.Namespace, Controller: o.Controller, Container: o.Container, Image: o.ImageDigest}
		if w != (witness.Workload{}) {
			named = append(named, w)
		}
	}
	slices.SortFunc(named, containment.CompareWorkloads)
	return slices.Compact(named)
}

// matches reports whether a workload has all members of a pattern. What is told of more than one workload of the pattern
// matches as well.
func matches(pattern, w witness.Workload) bool {
	for _, member := range [][2]string{
		{pattern.Namespace, w.Namespace}, {pattern.Controller, w.Controller}, {pattern.Container, w.Container}, {pattern.Image, w.Image},
	} {
		if member[0] != "" && member[0] != member[1] {
			return false
		}
	}
	return true
}

// told reads what was told of workloads, and of what they are part of.
func (m *Matches) told(ctx context.Context, reader storage.Reader, workloads, named []witness.Workload) (told []witness.Containment, more bool, err error) {
	query := storage.ContainmentQuery{Workloads: slices.Clone(workloads), Matching: named, Limit: 1000}
	for _, w := range slices.Concat(workloads, named) {
		query.Workloads = append(query.Workloads, wider(w)...)
	}
	slices.SortFunc(query.Workloads, containment.CompareWorkloads)
	query.Workloads = slices.Compact(query.Workloads)
	if len(query.Workloads) == 0 && len(query.Matching) == 0 {
		return nil, false, nil
	}
	for {
		page, err := reader.Containment(ctx, m.tenant, query)
		if err != nil {
			return nil, false, err
		}
		told = append(told, page.Containment...)
		if page.Next == "" {
			return told, false, nil
		}
		if len(told) >= maxContainedProcesses {
			return told, true, nil
		}
		query.After = page.Next
	}
}

// wider are the workloads that a workload is part of: of any image, and of any container of a controller.
func wider(w witness.Workload) []witness.Workload {
	var all []witness.Workload
	for _, wide := range []witness.Workload{
		{Namespace: w.Namespace, Controller: w.Controller, Container: w.Container},
		{Namespace: w.Namespace, Controller: w.Controller},
		{Namespace: w.Namespace},
		{Image: w.Image},
	} {
		if wide != w && wide != (witness.Workload{}) {
			all = append(all, wide)
		}
	}
	return all
}

// group are the workload's own processes, by workload: what somebody put into a container, and what watches, is not what
// the finding's code runs in.
func group(merged []containment.Contained) map[witness.Workload][]*containment.Contained {
	groups := map[witness.Workload][]*containment.Contained{}
	for i := range merged {
		if c := &merged[i]; c.Origin != witness.OriginInjected && c.Origin != witness.OriginSelf {
			groups[c.Workload] = append(groups[c.Workload], c)
		}
	}
	return groups
}

// of selects the processes that can run the code.
func (s *site) of(w witness.Workload, at []*containment.Contained) []containment.Process {
	var own, all []containment.Process
	for _, c := range at {
		if s != nil && (w == witness.Workload{} || w == witness.UnknownWorkload) && !s.holds(c.Instance) {
			continue
		}
		all = append(all, c.Process)
		if s != nil && (c.Executable.Path != "" && s.paths[c.Executable.Path] || c.Executable.BuildID != "" && s.buildIDs[c.Executable.BuildID]) {
			own = append(own, c.Process)
		}
	}
	if len(own) > 0 || w == (witness.Workload{}) {
		return own
	}
	return all
}

// holds reports whether there is evidence of an instance: of that container, or on that host outside of any.
func (s *site) holds(at witness.Instance) bool {
	for i := range s.instances {
		if i.Host == at.Host && i.Container == at.Container {
			return true
		}
	}
	return false
}
