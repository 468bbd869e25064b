// Package containment judges what could be reached if the code of a process were abused: the blast radius, which is the
// weighted share of missing controls among those that are known. It stands beside the witness score and never in it.
//
// The model witness-containment/v1 looks at eight controls of a process. Each is present, missing or unknown; what was not
// observed is unknown, and never taken for either. With the weights w
//
//	blastRadius  = sum of w over missing controls / sum of w over missing and present ones
//	unknownShare = sum of w over unknown controls / sum of w
//
// both rounded to four decimals. With every control unknown there is no blast radius, which is not the same as 0.
//
// Of several processes, a control is missing when one of them lacks it, and present when none is known to lack it and one
// is known to have it: an attacker needs one. Each process of which a control is unknown adds its share to unknownShare.
package containment

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Model names the controls and how they are judged. A change in either is another model.
const Model = "witness-containment/v1"

// State of a control.
type State string

// The states.
const (
	Present State = "present"
	Missing State = "missing"
	Unknown State = "unknown"
)

// Process is the signals of one process, each name once.
type Process map[witness.SignalName]witness.Signal

// Part is one control of what was judged.
type Part struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"`
	State  State   `json:"state"`
	// Missing and Known count processes.
	Missing int `json:"missing"`
	Known   int `json:"known"`
	// Source, Assurance and ObservedAt are those of the signal that decided: the best where one is enough, which is missing,
	// and the weakest where it took several. Absent when the state is unknown.
	Source     witness.SignalSource `json:"source,omitempty"`
	Assurance  witness.Assurance    `json:"assurance,omitempty"`
	ObservedAt *time.Time           `json:"observedAt,omitempty"`
	Why        string               `json:"why"`
}

// Result is what was judged of some processes.
type Result struct {
	// BlastRadius is 0..1 with four decimals, nil when nothing is known.
	BlastRadius *float64 `json:"blastRadius"`
	// UnknownShare is 0..1 with four decimals.
	UnknownShare float64 `json:"unknownShare"`
	Processes    int     `json:"processes"`
	// Parts are all controls, in a fixed order.
	Parts []Part `json:"parts"`
}

// verdict is what one control is in one process.
type verdict struct {
	state  State
	signal witness.Signal // that decided
	why    string
}

// control is one thing that contains a process.
type control struct {
	name   string
	weight func(*Weights) float64
	judge  func(Process) verdict
	// unseen is what to say when it is unknown.
	unseen string
}

// escapes are the capabilities with which a process is as good as root of the host.
var escapes = []string{"CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE"}

// hostNamespaces are the namespaces that keep a process from the host's files, processes, network and memory. That of
// users is part of the control root.
var hostNamespaces = []witness.SignalName{
	witness.SignalMountNamespace, witness.SignalPIDNamespace, witness.SignalNetworkNamespace, witness.SignalIPCNamespace,
}

var controls = []control{
	{"privileges", func(w *Weights) float64 { return w.Privileges }, privileges, "neither its capabilities nor a privileged container were seen"},
	{"host_namespaces", func(w *Weights) float64 { return w.HostNamespaces }, namespaces, "not all of its mount, pid, network and ipc namespaces were seen"},
	{"root", func(w *Weights) float64 { return w.Root }, root, "its user, or the user namespace of a root user, was not seen"},
	{"seccomp", func(w *Weights) float64 { return w.Seccomp }, oneOf(witness.SignalSeccomp, "disabled", "seccomp is disabled", "seccomp has a filter"), "seccomp was not seen"},
	{
		"no_new_privs", func(w *Weights) float64 { return w.NoNewPrivs },
		oneOf(witness.SignalNoNewPrivs, "no", "an exec can raise privileges", "no exec can raise privileges"), "no_new_privs was not seen",
	},
	{
		"root_fs", func(w *Weights) float64 { return w.RootFS },
		oneOf(witness.SignalRootFS, "writable", "the root file system is writable", "the root file system is read-only"), "the root file system was not seen",
	},
	{
		"lsm", func(w *Weights) float64 { return w.LSM },
		oneOf(witness.SignalLSM, "unconfined", "no profile of a security module confines it", "a profile of a security module confines it"),
		"the profile of a security module was not seen",
	},
	{"sensitive_mounts", func(w *Weights) float64 { return w.SensitiveMounts }, mounts, "mounts were not seen"},
}

func privileges(p Process) verdict {
	if s, ok := p[witness.SignalPrivileged]; ok && slices.Contains(s.Values, "yes") {
		return verdict{Missing, s, "the container is privileged"}
	}
	held, ok := p[witness.SignalCapabilities]
	if !ok { // a container that is not privileged can have been given any capability
		return verdict{state: Unknown}
	}
	var names []string
	for _, name := range escapes {
		if slices.Contains(held.Values, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return verdict{Missing, held, "it holds " + strings.Join(names, ", ")}
	}
	return verdict{Present, held, "it holds none of " + strings.Join(escapes, ", ")}
}

func namespaces(p Process) verdict {
	var best, weakest witness.Signal // of the host's, and of all
	known, shared := 0, 0
	for _, name := range hostNamespaces {
		s, ok := p[name]
		if !ok {
			continue
		}
		if known++; known == 1 || prefer(&weakest, &s) < 0 {
			weakest = s
		}
		if !slices.Contains(s.Values, witness.NamespaceHost) {
			continue
		}
		if shared++; shared == 1 || prefer(&best, &s) > 0 {
			best = s
		}
	}
	switch {
	case shared > 0:
		var names []string // what is only asserted is not named beside what was measured
		for _, name := range hostNamespaces {
			if s := p[name]; s.Assurance == best.Assurance && slices.Contains(s.Values, witness.NamespaceHost) {
				names = append(names, strings.TrimPrefix(string(name), "namespaces."))
			}
		}
		return verdict{Missing, best, "it shares the host's " + strings.Join(names, ", ")}
	case known == len(hostNamespaces): // which takes all of them
		return verdict{Present, weakest, "its mount, pid, network and ipc namespaces are its own"}
	default:
		return verdict{state: Unknown}
	}
}

func root(p Process) verdict {
	user, ok := p[witness.SignalUser]
	if !ok || len(user.Values) != 1 {
		return verdict{state: Unknown}
	}
	class := user.Values[0]
	if namespace, ok := p[witness.SignalUserNamespace]; ok && class == "root" {
		switch {
		case slices.Contains(namespace.Values, witness.NamespaceHost):
			class = "root-host"
		case slices.Contains(namespace.Values, witness.NamespaceIsolated):
			class = "root-userns"
		}
		if prefer(&user, &namespace) < 0 { // it took both
			user = namespace
		}
	}
	switch class {
	case "root-host":
		return verdict{Missing, user, "its user is root of the host"}
	case "root-userns":
		return verdict{Present, user, "its user is root of a user namespace of its own"}
	case "nonroot":
		return verdict{Present, user, "its user is not root"}
	default:
		return verdict{state: Unknown}
	}
}

// oneOf judges a signal with one value that is bad.
func oneOf(name witness.SignalName, bad, missing, present string) func(Process) verdict {
	return func(p Process) verdict {
		s, ok := p[name]
		switch {
		case !ok:
			return verdict{state: Unknown}
		case slices.Contains(s.Values, bad):
			return verdict{Missing, s, missing}
		default:
			return verdict{Present, s, present}
		}
	}
}

func mounts(p Process) verdict {
	s, ok := p[witness.SignalSensitiveMounts]
	switch {
	case !ok:
		return verdict{state: Unknown}
	case len(s.Values) > 0:
		return verdict{Missing, s, "it has " + strings.Join(s.Values, ", ")}
	default:
		return verdict{Present, s, "nothing is mounted that leads out"}
	}
}

// prefer says which of two signals of one name stands: negative for a. What is measured stands before what is asserted,
// the newer before the older, the better source before the other; the rest only makes the choice the same every time.
func prefer(a, b *witness.Signal) int {
	rank := func(s *witness.Signal) int { return slices.Index(witness.SignalSources, s.Source) }
	measured := func(s *witness.Signal) int {
		if s.Assurance == witness.Measured {
			return 0
		}
		return 1
	}
	return cmp.Or(measured(a)-measured(b), b.ObservedAt.Compare(a.ObservedAt), rank(a)-rank(b),
		cmp.Compare(a.Name, b.Name), slices.Compare(b.Values, a.Values))
}

// Assess judges processes. It is pure and does not depend on their order.
func Assess(w *Weights, processes []Process) Result {
	r := Result{Processes: len(processes), UnknownShare: 1, Parts: make([]Part, 0, len(controls))}
	var missing, known, unknown, all float64
	for i := range controls {
		part, weight := controls[i].part(w, processes)
		r.Parts = append(r.Parts, part)
		all += weight
		if part.State == Missing {
			missing += weight
		}
		if part.State != Unknown {
			known += weight
		}
		if len(processes) > 0 {
			unknown += weight * float64(len(processes)-part.Known) / float64(len(processes))
		}
	}
	if known > 0 {
		radius := round(missing / known)
		r.BlastRadius = &radius
	}
	if len(processes) > 0 && all > 0 {
		r.UnknownShare = round(unknown / all)
	}
	return r
}

// part judges one control in all processes.
func (c *control) part(w *Weights, processes []Process) (Part, float64) {
	p := Part{Name: c.name, Weight: c.weight(w), State: Unknown, Why: c.unseen}
	var decided verdict
	for _, process := range processes {
		v := c.judge(process)
		if v.state == Unknown {
			continue
		}
		p.Known++
		if v.state == Missing {
			p.Missing++
		}
		worse := v.state == Missing && decided.state != Missing
		before := cmp.Or(prefer(&v.signal, &decided.signal), cmp.Compare(v.why, decided.why)) < 0
		// One process that lacks it is enough, by the best that is known; that none does is no better than the weakest.
		same := v.state == decided.state && before == (v.state == Missing)
		if decided.state == "" || worse || same {
			decided = v
		}
	}
	if p.Known == 0 {
		return p, p.Weight
	}
	at := decided.signal.ObservedAt.UTC()
	p.State, p.Source, p.Assurance, p.ObservedAt, p.Why = decided.state, decided.signal.Source, decided.signal.Assurance, &at, decided.why
	if n := len(processes); n > 1 {
		of := p.Known
		if p.State == Missing {
			of = p.Missing
		}
		p.Why += fmt.Sprintf(" (%d of %d processes)", of, n)
	}
	return p, p.Weight
}

func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }
