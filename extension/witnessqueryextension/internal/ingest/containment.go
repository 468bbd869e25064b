package ingest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/strictjson"
	"github.com/otelcol-witness/otelcol-witness/internal/canon"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// MaxSignals is how many items a request with signals has at most.
const MaxSignals = 1000

// Signals are posted containment signals of one process, or without executable of every process of a container or
// workload, as they travel. What is absent or "unknown" is not known; an empty list says that there is none.
type Signals struct {
	Workload   Workload   `json:"workload,omitzero"`
	Container  Container  `json:"container,omitzero"`
	Pod        string     `json:"pod,omitempty"`
	Host       string     `json:"host,omitempty"`
	Executable Executable `json:"executable,omitzero"`
	Origin     string     `json:"origin,omitempty"`
	Source     string     `json:"source,omitempty"`
	ObservedAt string     `json:"observedAt,omitempty"`

	Capabilities    *[]string  `json:"capabilities,omitempty"`
	User            string     `json:"user,omitempty"`
	Namespaces      Namespaces `json:"namespaces,omitzero"`
	Privileged      string     `json:"privileged,omitempty"`
	Seccomp         string     `json:"seccomp,omitempty"`
	NoNewPrivs      string     `json:"noNewPrivs,omitempty"`
	LSM             string     `json:"lsm,omitempty"`
	RootFS          string     `json:"rootFs,omitempty"`
	SensitiveMounts *[]string  `json:"sensitiveMounts,omitempty"`
	NetworkPolicy   string     `json:"networkPolicy,omitempty"`
	Privileges      string     `json:"privileges,omitempty"`
	Binary          string     `json:"binary,omitempty"`
	Entry           string     `json:"entry,omitempty"`
}

// Workload of posted signals. The controller is kind/name.
type Workload struct {
	Namespace  string `json:"namespace,omitempty"`
	Controller string `json:"controller,omitempty"`
}

// Executable of posted signals.
type Executable struct {
	Path    string `json:"path,omitempty"`
	BuildID string `json:"buildId,omitempty"`
}

// Namespaces of posted signals, each host or isolated.
type Namespaces struct {
	Mnt    string `json:"mnt,omitempty"`
	PID    string `json:"pid,omitempty"`
	Net    string `json:"net,omitempty"`
	User   string `json:"user,omitempty"`
	IPC    string `json:"ipc,omitempty"`
	UTS    string `json:"uts,omitempty"`
	Cgroup string `json:"cgroup,omitempty"`
}

// SignalsRequest is the decoded body of one request with signals.
type SignalsRequest struct {
	items    []Signals
	rejected []Rejection // of items that are not of the right types
	digest   [sha256.Size]byte
}

// DecodeSignals reads the body of a request: {"signals": [...]}. An error is about the whole of it and is a
// *strictjson.Error. An item with a value of a wrong type is only rejected itself.
func DecodeSignals(body []byte) (*SignalsRequest, error) {
	if err := strictjson.Check(body, reflect.TypeFor[struct {
		Signals []Signals `json:"signals"`
	}]()); err != nil {
		return nil, err
	}
	var document struct {
		Signals *[]json.RawMessage `json:"signals"`
	}
	if err := strictjson.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	switch {
	case document.Signals == nil:
		return nil, &strictjson.Error{Line: 1, Column: 1, Problem: `has no member "signals"`}
	case len(*document.Signals) > MaxSignals:
		return nil, &strictjson.Error{Line: 1, Column: 1, Path: "signals", Problem: fmt.Sprintf("has more than %d items", MaxSignals)}
	}
	r := &SignalsRequest{items: make([]Signals, len(*document.Signals))}
	digest := sha256.New()
	for i, raw := range *document.Signals {
		canonical := []byte(raw)
		if err := json.Unmarshal(raw, &r.items[i]); err != nil {
			r.rejected = append(r.rejected, Rejection{i, strictjson.TypeProblem(err)})
		} else if canonical, err = json.Marshal(&r.items[i]); err != nil {
			return nil, fmt.Errorf("encode signals: %w", err)
		}
		digest.Write(canonical)
		digest.Write([]byte{'\n'})
	}
	digest.Sum(r.digest[:0])
	return r, nil
}

// Digest is of the content: the same for the same members and values, however they are written.
func (r *SignalsRequest) Digest() [sha256.Size]byte { return r.digest }

// Errors of single items name the member at fault.
var (
	errPlace    = errors.New("names no workload, container or host")
	errNoSignal = errors.New("has no signal that is known")
	errSource   = errors.New("source: is not one of tetragon, proc, k8s, asserted")
	errOrigin   = errors.New("origin: is not one of workload, injected, self, unknown")
	errImage    = errors.New("container.image: has no digest")
	errNoDigest = errors.New("container.image: is not a digest, sha256:<hex>")
	errControl  = errors.New("workload.controller: is not kind/name with a kind of deployment, statefulset, daemonset, cronjob, job, replicaset")
	errPath     = errors.New("executable.path: is not a path")
	errBuildID  = errors.New("executable.buildId: is not a build-id in hex")
	errNotPlain = errors.New("could not be made canonical")
	errObserved = fmt.Errorf("observedAt: is more than %s ahead", storage.MaxAhead)
)

// Make makes the containment that a request posted, at the time now. It is asserted, whoever posted it. Rejected are by
// index, ascending.
func (r *SignalsRequest) Make(canonicalizer *canon.Canonicalizer, now time.Time) (made []witness.Containment, rejected []Rejection) {
	unread := r.rejected
	for i := range r.items {
		if len(unread) > 0 && unread[0].Index == i {
			rejected, unread = append(rejected, unread[0]), unread[1:]
			continue
		}
		containment, err := r.items[i].containment(now)
		if err == nil {
			containment, err = canonical(canonicalizer, &containment, now)
		}
		if err != nil {
			rejected = append(rejected, Rejection{i, err.Error()})
			continue
		}
		made = append(made, containment)
	}
	return made, rejected
}

// containment is what an item says, as it says it.
func (s *Signals) containment(now time.Time) (c witness.Containment, err error) {
	for _, text := range []struct{ name, value string }{
		{"workload.namespace", s.Workload.Namespace}, {"workload.controller", s.Workload.Controller},
		{"container.id", s.Container.ID}, {"container.name", s.Container.Name}, {"container.image", s.Container.Image},
		{"pod", s.Pod}, {"host", s.Host}, {"executable.path", s.Executable.Path}, {"executable.buildId", s.Executable.BuildID},
	} {
		if len(text.value) > MaxText {
			return c, fmt.Errorf("%s: is longer than %d bytes", text.name, MaxText)
		}
	}
	name, digest, pinned := strings.Cut(s.Container.Image, "@")
	if !pinned && strings.HasPrefix(name, "sha") {
		digest = name
	}
	c = witness.Containment{
		Workload:   witness.Workload{Namespace: s.Workload.Namespace, Controller: s.Workload.Controller, Container: s.Container.Name, Image: digest},
		Instance:   witness.Instance{Host: s.Host, Pod: s.Pod, Container: s.Container.ID},
		Executable: witness.Module{Path: s.Executable.Path, BuildID: strings.ToLower(s.Executable.BuildID)},
		Origin:     witness.OriginUnknown,
	}
	switch {
	case c.Workload == (witness.Workload{}) && c.Instance == (witness.Instance{}):
		return c, errPlace
	case s.Container.Image != "" && digest == "": // it would be about any image
		return c, errImage
	}
	if s.Origin != "" {
		if c.Origin = witness.Origin(s.Origin); !c.Origin.Valid() {
			return c, errOrigin
		}
	}
	base := witness.Signal{Source: witness.SourceAsserted, Assurance: witness.Asserted, ObservedAt: now.UTC()}
	if s.Source != "" {
		if base.Source = witness.SignalSource(s.Source); !base.Source.Valid() {
			return c, errSource
		}
	}
	if s.ObservedAt != "" {
		if base.ObservedAt, err = ParseTime(s.ObservedAt); err != nil {
			return c, fmt.Errorf("observedAt: %w", err)
		}
	}
	if base.ObservedAt.After(now.Add(storage.MaxAhead)) {
		return c, errObserved
	}
	for _, each := range []struct {
		member, value string
		signal        witness.SignalName
	}{
		{"user", s.User, witness.SignalUser}, {"privileged", s.Privileged, witness.SignalPrivileged}, {"seccomp", s.Seccomp, witness.SignalSeccomp},
		{"noNewPrivs", s.NoNewPrivs, witness.SignalNoNewPrivs}, {"lsm", s.LSM, witness.SignalLSM}, {"rootFs", s.RootFS, witness.SignalRootFS},
		{"networkPolicy", s.NetworkPolicy, witness.SignalNetworkPolicy}, {"privileges", s.Privileges, witness.SignalPrivileges},
		{"binary", s.Binary, witness.SignalBinary}, {"entry", s.Entry, witness.SignalEntry},
		{"namespaces.mnt", s.Namespaces.Mnt, witness.SignalMountNamespace}, {"namespaces.pid", s.Namespaces.PID, witness.SignalPIDNamespace},
		{"namespaces.net", s.Namespaces.Net, witness.SignalNetworkNamespace}, {"namespaces.user", s.Namespaces.User, witness.SignalUserNamespace},
		{"namespaces.ipc", s.Namespaces.IPC, witness.SignalIPCNamespace}, {"namespaces.uts", s.Namespaces.UTS, witness.SignalUTSNamespace},
		{"namespaces.cgroup", s.Namespaces.Cgroup, witness.SignalCgroupNamespace},
	} {
		if each.value == "" || each.value == "unknown" {
			continue
		}
		if err := put(&c, base, each.member, each.signal, []string{each.value}); err != nil {
			return c, err
		}
	}
	for _, each := range []struct {
		member string
		values *[]string
		signal witness.SignalName
	}{{"capabilities", s.Capabilities, witness.SignalCapabilities}, {"sensitiveMounts", s.SensitiveMounts, witness.SignalSensitiveMounts}} {
		if each.values == nil {
			continue
		}
		if len(*each.values) > 256 {
			return c, fmt.Errorf("%s: has more than 256 items", each.member)
		}
		if err := put(&c, base, each.member, each.signal, slices.Compact(slices.Sorted(slices.Values(*each.values)))); err != nil {
			return c, err
		}
	}
	if len(c.Signals) == 0 {
		return c, errNoSignal
	}
	return c, nil
}

func put(c *witness.Containment, signal witness.Signal, member string, name witness.SignalName, values []string) error {
	signal.Name, signal.Values = name, values
	if signal.Validate() != nil {
		return fmt.Errorf("%s: is not of %s", member, strings.Join(append(name.Values(), "unknown"), ", "))
	}
	c.Signals = append(c.Signals, signal)
	return nil
}

// canonical passes a containment through canonicalization, as the record that a receiver would have sent. What says where
// it was, or of what, must still be there: without it, it would be about something else.
func canonical(canonicalizer *canon.Canonicalizer, posted *witness.Containment, now time.Time) (witness.Containment, error) {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	witness.PutResource(resource.Resource().Attributes(), posted.Workload, posted.Instance)
	posted.Put(resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty(), now)
	canonicalizer.Logs(logs)
	if logs.LogRecordCount() != 1 {
		return witness.Containment{}, errNotPlain
	}
	resource = logs.ResourceLogs().At(0)
	c, _, err := witness.ContainmentOf(resource.Resource().Attributes(), resource.ScopeLogs().At(0).LogRecords().At(0))
	if err != nil {
		return c, errNotPlain
	}
	for _, member := range []struct {
		posted, kept string
		err          error
	}{
		{posted.Workload.Controller, c.Workload.Controller, errControl},
		{posted.Workload.Image, c.Workload.Image, errNoDigest},
		{posted.Workload.Namespace, c.Workload.Namespace, errNotPlain},
		{posted.Workload.Container, c.Workload.Container, errNotPlain},
		{posted.Executable.Path, c.Executable.Path, errPath},
		{posted.Executable.BuildID, c.Executable.BuildID, errBuildID},
	} {
		if member.posted != "" && member.kept == "" {
			return c, member.err
		}
	}
	if len(c.Signals) != len(posted.Signals) {
		return c, errNotPlain
	}
	return c, nil
}
