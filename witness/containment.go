package witness

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// SignalName says what of a process's containment a signal is about.
type SignalName string

// The signals. What their values mean, docs/semantic-conventions.md says.
const (
	SignalCapabilities     SignalName = "capabilities"
	SignalUser             SignalName = "user"
	SignalMountNamespace   SignalName = "namespaces.mnt"
	SignalPIDNamespace     SignalName = "namespaces.pid"
	SignalNetworkNamespace SignalName = "namespaces.net"
	SignalUserNamespace    SignalName = "namespaces.user"
	SignalIPCNamespace     SignalName = "namespaces.ipc"
	SignalUTSNamespace     SignalName = "namespaces.uts"
	SignalCgroupNamespace  SignalName = "namespaces.cgroup"
	SignalPrivileged       SignalName = "privileged"
	SignalSeccomp          SignalName = "seccomp"
	SignalNoNewPrivs       SignalName = "no_new_privs"
	SignalLSM              SignalName = "lsm"
	SignalRootFS           SignalName = "root_fs"
	SignalSensitiveMounts  SignalName = "sensitive_mounts"
	SignalNetworkPolicy    SignalName = "network_policy"
	SignalPrivileges       SignalName = "privileges"
	SignalBinary           SignalName = "binary"
	SignalEntry            SignalName = "entry"
)

// SignalNames lists all signals.
var SignalNames = []SignalName{
	SignalCapabilities, SignalUser, SignalMountNamespace, SignalPIDNamespace, SignalNetworkNamespace, SignalUserNamespace,
	SignalIPCNamespace, SignalUTSNamespace, SignalCgroupNamespace, SignalPrivileged, SignalSeccomp, SignalNoNewPrivs, SignalLSM,
	SignalRootFS, SignalSensitiveMounts, SignalNetworkPolicy, SignalPrivileges, SignalBinary, SignalEntry,
}

// The two values of a namespace signal.
const (
	NamespaceHost     = "host"
	NamespaceIsolated = "isolated"
)

// unknownValue stands for what was not seen. No signal has it: there is none then.
const unknownValue = "unknown"

// Valid reports whether n is one of SignalNames.
func (n SignalName) Valid() bool { return slices.Contains(SignalNames, n) }

// IsSet reports whether the signal has any number of values, none included. All others have one.
func (n SignalName) IsSet() bool { return n == SignalCapabilities || n == SignalSensitiveMounts }

// Values are the values that the signal can have.
func (n SignalName) Values() []string {
	if _, ok := n.namespace(); ok {
		return []string{NamespaceHost, NamespaceIsolated}
	}
	attribute, ok := semconv.LookupAttribute(n.attribute())
	if !ok || !n.Valid() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(attribute.Values), func(value string) bool { return value == unknownValue })
}

// namespace is the kind of namespace that a signal is about, as mnt.
func (n SignalName) namespace() (string, bool) { return strings.CutPrefix(string(n), "namespaces.") }

// attribute is where the signal travels, but for namespaces: these are in two lists.
func (n SignalName) attribute() string { return "witness.containment." + string(n) }

// SignalSource says where a signal was read.
type SignalSource string

// The sources, the best first: what the kernel says of a process, and then what was asked for.
const (
	SourceProc     SignalSource = "proc"
	SourceTetragon SignalSource = "tetragon"
	SourceK8S      SignalSource = "k8s"
	SourceAsserted SignalSource = "asserted"
)

// SignalSources lists all sources, the best first.
var SignalSources = []SignalSource{SourceProc, SourceTetragon, SourceK8S, SourceAsserted}

// Valid reports whether s is one of SignalSources.
func (s SignalSource) Valid() bool { return slices.Contains(SignalSources, s) }

// Signal is one class of a process: what it is called, and never an id or a number. What was not seen has no signal.
type Signal struct {
	Name SignalName
	// Values are sorted: one of Name.Values, or for a set any number of them, none included.
	Values     []string
	Source     SignalSource
	Assurance  Assurance
	ObservedAt time.Time
}

// Validate checks a signal. The error names the signal and no value.
func (s *Signal) Validate() error {
	if !s.Name.Valid() {
		return errors.New("there is no such signal")
	}
	allowed := s.Name.Values()
	switch {
	case !s.Name.IsSet() && len(s.Values) != 1:
		return fmt.Errorf("%s: is not one value", s.Name)
	case !slices.IsSorted(s.Values) || len(slices.Compact(slices.Clone(s.Values))) != len(s.Values):
		return fmt.Errorf("%s: is not sorted, or has a value twice", s.Name)
	case slices.ContainsFunc(s.Values, func(value string) bool { return !slices.Contains(allowed, value) }):
		return fmt.Errorf("%s: is not of %s", s.Name, strings.Join(allowed, ", "))
	case !s.Source.Valid():
		return fmt.Errorf("%s: has no source", s.Name)
	case !s.Assurance.Valid():
		return fmt.Errorf("%s: has no assurance", s.Name)
	case s.ObservedAt.Year() < 1970 || s.ObservedAt.Year() > 2261:
		return fmt.Errorf("%s: is not of the years 1970 to 2261", s.Name)
	}
	return nil
}

// Containment is what the processes of one executable in one instance could reach if their code were abused.
type Containment struct {
	Workload Workload
	Instance Instance
	// Executable is empty when this is about every process of the container.
	Executable Module
	Origin     Origin
	// Signals are sorted by name, and those of one name as SignalSources is; each pair at most once.
	Signals []Signal
}

// Validate checks a containment and its signals.
func (c *Containment) Validate() error {
	if !c.Origin.Valid() {
		return errors.New("origin: is not one of workload, injected, self, unknown")
	}
	if len(c.Signals) == 0 {
		return errNoSignal
	}
	for i := range c.Signals {
		if err := c.Signals[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

var errNoSignal = errors.New("has no signal")

// Put writes c as a runtime.containment record. Its signals must have one source, assurance and time: those of the first
// are written. Where c is about goes into the resource (PutResource).
func (c *Containment) Put(record plog.LogRecord, now time.Time) {
	if len(c.Signals) == 0 {
		return
	}
	first := &c.Signals[0]
	record.SetEventName(semconv.EventContainment)
	record.SetTimestamp(pcommon.NewTimestampFromTime(first.ObservedAt))
	record.SetObservedTimestamp(pcommon.NewTimestampFromTime(now))
	m := record.Attributes()
	m.EnsureCapacity(len(c.Signals) + 8)
	m.PutStr(semconv.WitnessContainmentSource, string(first.Source))
	semconv.PutText(m, semconv.WitnessAssurance, string(first.Assurance))
	semconv.PutText(m, semconv.WitnessOrigin, string(c.Origin))
	semconv.PutText(m, semconv.ProcessExecutablePath, c.Executable.Path)
	semconv.PutText(m, semconv.ProcessExecutableBuildIDGNU, c.Executable.BuildID)
	var host, isolated []string
	for i := range c.Signals {
		s := &c.Signals[i]
		kind, ok := s.Name.namespace()
		switch {
		case ok && slices.Contains(s.Values, NamespaceHost):
			host = append(host, kind)
		case ok:
			isolated = append(isolated, kind)
		case s.Name.IsSet():
			list := m.PutEmptySlice(s.Name.attribute())
			list.EnsureCapacity(len(s.Values))
			for _, value := range s.Values {
				list.AppendEmpty().SetStr(value)
			}
		default:
			m.PutStr(s.Name.attribute(), s.Values[0])
		}
	}
	semconv.PutTexts(m, semconv.WitnessContainmentNamespacesHost, host)
	semconv.PutTexts(m, semconv.WitnessContainmentNamespacesIsolated, isolated)
}

// ContainmentOf reads what Put writes, measured where it does not say, and read by somebody who asserts it where it does
// not say where; ok is false for any other event. The error names the attribute or signal at fault.
func ContainmentOf(resource pcommon.Map, record plog.LogRecord) (c Containment, ok bool, err error) {
	if record.EventName() != semconv.EventContainment {
		return Containment{}, false, nil
	}
	m := record.Attributes()
	c = Containment{
		Workload: WorkloadOf(resource), Instance: InstanceOf(resource), Origin: Origin(semconv.Text(m, semconv.WitnessOrigin)),
		Executable: Module{Path: semconv.Text(m, semconv.ProcessExecutablePath), BuildID: semconv.Text(m, semconv.ProcessExecutableBuildIDGNU)},
	}
	if !c.Origin.Valid() {
		c.Origin = OriginUnknown
	}
	base := Signal{Source: SignalSource(semconv.Text(m, semconv.WitnessContainmentSource)), Assurance: assuranceOf(m), ObservedAt: eventTime(record)}
	if base.Source == "" {
		base.Source = SourceAsserted
	}
	if base.ObservedAt.IsZero() {
		return c, true, ErrNoTime
	}
	add := func(name SignalName, values ...string) {
		s := base
		s.Name, s.Values = name, values
		c.Signals = append(c.Signals, s)
	}
	host := semconv.Texts(m, semconv.WitnessContainmentNamespacesHost)
	isolated := semconv.Texts(m, semconv.WitnessContainmentNamespacesIsolated)
	for _, name := range SignalNames {
		if kind, ok := name.namespace(); ok {
			switch isHost, isIsolated := slices.Contains(host, kind), slices.Contains(isolated, kind); {
			case isHost && isIsolated:
				return c, true, fmt.Errorf("%s: is both that of the host and not", name)
			case isHost:
				add(name, NamespaceHost)
			case isIsolated:
				add(name, NamespaceIsolated)
			}
			continue
		}
		value, ok := m.Get(name.attribute())
		switch {
		case !ok:
		case name.IsSet() && value.Type() == pcommon.ValueTypeSlice:
			add(name, slices.Compact(slices.Sorted(slices.Values(semconv.Texts(m, name.attribute()))))...)
		case !name.IsSet() && value.Type() == pcommon.ValueTypeStr:
			if value.Str() != unknownValue {
				add(name, value.Str())
			}
		default:
			return c, true, fmt.Errorf("%s: is of another type", name.attribute())
		}
	}
	slices.SortFunc(c.Signals, func(a, b Signal) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return c, true, c.Validate()
}
