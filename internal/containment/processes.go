package containment

import (
	"cmp"
	"maps"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Contained is one process, or the container of which no process is known, with what is known of it from all sources.
type Contained struct {
	Workload   witness.Workload
	Instance   witness.Instance
	Executable witness.Module // empty: any of the container
	Origin     witness.Origin
	Process    Process
}

// Merge makes processes of what was told of them: of each signal the best stands (measured first, then the newest, then
// the better source). What was told of a container as a whole, or of all containers of a workload, goes to each process
// of it that is known, and stands alone where none is. The result is sorted, and does not depend on the order.
func Merge(containment []witness.Containment) []Contained {
	type key struct {
		workload   witness.Workload
		instance   witness.Instance
		executable string
		origin     witness.Origin
	}
	var processes, wide []*Contained
	known := map[key]*Contained{}
	for i := range containment {
		c := &containment[i]
		at := key{c.Workload, c.Instance, executableKey(c.Executable), c.Origin}
		if at.executable == "" {
			at.origin = witness.OriginUnknown
		}
		of, ok := known[at]
		if !ok {
			of = &Contained{Workload: c.Workload, Instance: c.Instance, Executable: c.Executable, Origin: at.origin, Process: Process{}}
			known[at] = of
			if at.executable == "" {
				wide = append(wide, of)
			} else {
				processes = append(processes, of)
			}
		}
		if c.Executable.BuildID > of.Executable.BuildID { // a later event can know it, and an earlier not
			of.Executable = c.Executable
		}
		of.Process.add(c.Signals)
	}
	byWorkload := map[witness.Workload][]*Contained{}
	for _, w := range wide {
		byWorkload[w.Workload] = append(byWorkload[w.Workload], w)
	}
	served := map[*Contained]bool{}
	all := slices.Concat(processes, wide)
	told := make([][]witness.Signal, len(all)) // before anything is added: what is added may come from a wide one that was told more
	for i, p := range all {
		for _, workload := range containing(p.Workload) {
			for _, w := range byWorkload[workload] {
				if w != p && w.covers(p) {
					served[w] = true
					told[i] = slices.AppendSeq(told[i], maps.Values(w.Process))
				}
			}
		}
	}
	merged := make([]Contained, 0, len(all))
	for i, p := range all {
		p.Process.add(told[i])
		if !served[p] {
			merged = append(merged, *p)
		}
	}
	slices.SortFunc(merged, func(a, b Contained) int {
		return cmp.Or(
			CompareWorkloads(a.Workload, b.Workload),
			cmp.Compare(a.Instance.Host, b.Instance.Host), cmp.Compare(a.Instance.Pod, b.Instance.Pod), cmp.Compare(a.Instance.Container, b.Instance.Container),
			cmp.Compare(executableKey(a.Executable), executableKey(b.Executable)), cmp.Compare(a.Origin, b.Origin),
		)
	})
	return merged
}

// CompareWorkloads orders workloads by name.
func CompareWorkloads(a, b witness.Workload) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Controller, b.Controller),
		cmp.Compare(a.Container, b.Container), cmp.Compare(a.Image, b.Image))
}

// executableKey is the name of an executable in its container: the path, which is known with and without build-id.
func executableKey(m witness.Module) string {
	if m.Path != "" {
		return "path:" + m.Path
	}
	return m.Key("")
}

// containing are the workload and all that it can be part of: any of its members may be any.
func containing(w witness.Workload) []witness.Workload {
	all := []witness.Workload{w}
	for _, member := range []func(*witness.Workload) *string{
		func(w *witness.Workload) *string { return &w.Namespace }, func(w *witness.Workload) *string { return &w.Controller },
		func(w *witness.Workload) *string { return &w.Container }, func(w *witness.Workload) *string { return &w.Image },
	} {
		if *member(&w) == "" {
			continue
		}
		for _, narrow := range all {
			*member(&narrow) = ""
			all = append(all, narrow)
		}
	}
	return all
}

func (p Process) add(signals []witness.Signal) {
	for i := range signals {
		have, ok := p[signals[i].Name]
		if !ok || prefer(&signals[i], &have) < 0 {
			p[signals[i].Name] = signals[i]
		}
	}
}

// covers reports whether what was told of a whole container, or of less than that names, is about p too. Nothing that
// runs in a container is about the host, or the other way round.
func (c *Contained) covers(p *Contained) bool {
	if (c.Workload == witness.Workload{}) != (p.Workload == witness.Workload{}) {
		return false
	}
	for _, member := range [][2]string{
		{c.Workload.Namespace, p.Workload.Namespace}, {c.Workload.Controller, p.Workload.Controller},
		{c.Workload.Container, p.Workload.Container}, {c.Workload.Image, p.Workload.Image},
		{c.Instance.Host, p.Instance.Host}, {c.Instance.Pod, p.Instance.Pod}, {c.Instance.Container, p.Instance.Container},
	} {
		if member[0] != "" && member[0] != member[1] {
			return false
		}
	}
	return true
}
