package tetragonreceiver

import (
	"slices"
	"strings"
	"time"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// maxContained is how many processes' classes are remembered. Of what is forgotten, the least recently seen first, the
// classes are told again before the interval has passed.
const maxContained = 16384

// classes are what an event says of the containment of its process. Zero members are unknown; equal ones are told once.
type classes struct {
	capabilities                                uint64 // bit 1 << number
	hasCapabilities                             bool
	namespaces                                  [len(namespaceSignals)]string
	user, privileged, privileges, binary, entry string
}

// namespaceSignals are the namespaces that matter, in the order of namespacesOf.
var namespaceSignals = [...]witness.SignalName{
	witness.SignalMountNamespace, witness.SignalPIDNamespace, witness.SignalNetworkNamespace, witness.SignalUserNamespace,
	witness.SignalIPCNamespace, witness.SignalUTSNamespace, witness.SignalCgroupNamespace,
}

func namespacesOf(ns *tetragon.Namespaces) [len(namespaceSignals)]*tetragon.Namespace {
	return [...]*tetragon.Namespace{ns.GetMnt(), ns.GetPid(), ns.GetNet(), ns.GetUser(), ns.GetIpc(), ns.GetUts(), ns.GetCgroup()}
}

// userNamespace is the place of the user namespace among namespaceSignals.
const userNamespace = 3

// classesOf reads what an event has. Tetragon exports capabilities, namespaces and credentials only where it is told to;
// seccomp, no_new_privs, the security module's profile, the root file system and mounts are never there.
func classesOf(p *tetragon.Process, exec bool) classes {
	var c classes
	credentials := p.GetProcessCredentials()
	held := p.GetCap()
	if held == nil {
		held = credentials.GetCaps()
	}
	if held != nil {
		c.hasCapabilities = true
		for _, capability := range held.GetEffective() {
			// What this version has no name for is left out: nothing is judged by it.
			if capability >= 0 && int(capability) < len(capabilityNames) && capabilityNames[capability] != "" {
				c.capabilities |= 1 << capability
			}
		}
	}
	for i, namespace := range namespacesOf(p.GetNs()) {
		c.namespaces[i] = namespaceClass(namespace)
	}
	if of := credentials.GetUserNs(); c.namespaces[userNamespace] == "" {
		c.namespaces[userNamespace] = namespaceClass(of.GetNs())
		if level := of.GetLevel(); c.namespaces[userNamespace] == "" && level != nil {
			c.namespaces[userNamespace] = witness.NamespaceIsolated
			if level.GetValue() == 0 {
				c.namespaces[userNamespace] = witness.NamespaceHost
			}
		}
	}
	c.user = userClass(p, c.namespaces[userNamespace])
	if context := p.GetPod().GetContainer().GetSecurityContext(); context != nil {
		c.privileged = "no"
		if context.GetPrivileged() {
			c.privileged = "yes"
		}
	}
	c.privileges, c.binary = executionClass(p, exec)
	if p.GetPod() != nil || p.GetDocker() != "" {
		switch {
		case p.GetPod().GetContainer().GetMaybeExecProbe():
			c.entry = "probe"
		case p.GetInInitTree() == nil:
		case p.GetInInitTree().GetValue():
			c.entry = "init_tree"
		default:
			c.entry = "injected"
		}
	}
	return c
}

// namespaceClass is empty when the agent could not read the namespace: then its number is 0.
func namespaceClass(ns *tetragon.Namespace) string {
	switch {
	case ns.GetInum() == 0:
		return ""
	case ns.GetIsHost():
		return witness.NamespaceHost
	default:
		return witness.NamespaceIsolated
	}
}

// userClass is that of the effective user. Tetragon's numbers are those of the host: another user than 0 of a user
// namespace, be it the root of that, is not root.
func userClass(p *tetragon.Process, userNamespace string) string {
	uid := p.GetProcessCredentials().GetEuid()
	if uid == nil {
		uid = p.GetUid()
	}
	switch {
	case uid == nil:
		return ""
	case uid.GetValue() != 0:
		return "nonroot"
	case userNamespace == witness.NamespaceHost:
		return "root-host"
	case userNamespace == witness.NamespaceIsolated:
		return "root-userns"
	default:
		return "root"
	}
}

// executionClass says whether the exec raised privileges, and whether the file has a name. Tetragon tells both only of
// what is out of the ordinary, in the event of the exec itself, and when it exports credentials: that it says nothing
// means something only then.
func executionClass(p *tetragon.Process, exec bool) (privileges, binary string) {
	properties := p.GetBinaryProperties()
	told := exec && p.GetProcessCredentials() != nil && !strings.Contains(p.GetFlags(), "procFS")
	switch {
	case len(properties.GetPrivilegesChanged()) > 0 || properties.GetSetuid() != nil || properties.GetSetgid() != nil:
		privileges = "raised"
	case told:
		privileges = "unchanged"
	}
	inode := properties.GetFile().GetInode()
	switch _, deleted := executable(p); {
	case deleted, inode != nil && inode.GetLinks().GetValue() == 0:
		binary = "unlinked"
	case told:
		binary = "named"
	}
	return privileges, binary
}

// capabilityNames are Tetragon's names of capabilities, made those of the kernel's header.
var capabilityNames = func() (names [64]string) {
	for number, name := range tetragon.CapabilitiesType_name {
		if number < 0 || int(number) >= len(names) {
			continue
		}
		if names[number] = name; !strings.HasPrefix(name, "CAP_") {
			names[number] = "CAP_" + name
		}
	}
	return names
}()

// signals are the classes that are known, in the order of their names.
func (c *classes) signals(observed time.Time) []witness.Signal {
	var signals []witness.Signal
	add := func(name witness.SignalName, values ...string) {
		signals = append(signals, witness.Signal{
			Name: name, Values: values, Source: witness.SourceTetragon, Assurance: witness.Measured, ObservedAt: observed,
		})
	}
	one := func(name witness.SignalName, value string) {
		if value != "" {
			add(name, value)
		}
	}
	one(witness.SignalBinary, c.binary)
	if c.hasCapabilities {
		var held []string
		for number, name := range capabilityNames {
			if c.capabilities&(1<<number) != 0 {
				held = append(held, name)
			}
		}
		slices.Sort(held)
		add(witness.SignalCapabilities, held...)
	}
	one(witness.SignalEntry, c.entry)
	for i, name := range namespaceSignals {
		one(name, c.namespaces[i])
	}
	one(witness.SignalPrivileged, c.privileged)
	one(witness.SignalPrivileges, c.privileges)
	one(witness.SignalUser, c.user)
	return signals
}

// containedKey is a process as far as its containment goes: one executable in one place, with the same classes.
type containedKey struct {
	place  place
	path   string
	origin witness.Origin
	classes
}

// contained remembers when classes were told last.
type contained struct {
	interval time.Duration // 0: nothing is told
	told     *simplelru.LRU[containedKey, time.Time]
	evicted  func()
}

func newContained(interval time.Duration, evicted func()) *contained {
	c := &contained{interval: interval, evicted: evicted}
	// The only error of NewLRU is a size that is not positive.
	c.told, _ = simplelru.NewLRU[containedKey, time.Time](maxContained, nil)
	return c
}

// due reports whether these classes are to be told: they are new, or were told longer ago than the interval.
func (c *contained) due(key containedKey, at time.Time) bool {
	if last, ok := c.told.Get(key); ok && at.Sub(last).Abs() < c.interval {
		return false
	}
	if c.told.Add(key, at) {
		c.evicted()
	}
	return true
}

// contain appends what the event says of the containment of its process, when it is due.
func (c *converter) contain(b *batch, e *parts, at place, received time.Time) {
	if c.contained.interval <= 0 || e.record == semconv.EventExit {
		return
	}
	p := e.process
	path, _ := executable(p)
	if p.GetExecId() == "" || !strings.HasPrefix(path, "/") || len(path) > maxModulePath {
		return
	}
	key := containedKey{place: at, path: path, origin: c.self.origin(p), classes: classesOf(p, e.record == semconv.EventExec)}
	if key.classes == (classes{}) || !c.contained.due(key, e.time) {
		return
	}
	containment := witness.Containment{
		Executable: witness.Module{Path: path, BuildID: c.builds.of(p.GetExecId(), path)},
		Origin:     key.origin, Signals: key.signals(e.time),
	}
	record := b.Records(at).AppendEmpty()
	containment.Put(record, received)
	// Canonicalization names a file that only its process knows by the process.
	m := record.Attributes()
	m.PutInt(semconv.ProcessPID, int64(p.GetPid().GetValue()))
	putStart(m, p)
}

// putStart writes when the process began.
func putStart(m pcommon.Map, p *tetragon.Process) {
	if start, ok := timeOf(p.GetStartTime()); ok {
		m.PutStr(semconv.ProcessCreationTime, start.Format(time.RFC3339Nano))
	}
}
