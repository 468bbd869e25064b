package tetragonreceiver

import (
	"os"
	"path"
	"strings"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// place is where an event happened: the workload and its instance.
type place struct {
	node, cluster                          string
	namespace, pod, podUID                 string
	container, containerID, image, imageID string
	controller, controllerKind             string
}

// controllerAttributes are the names of controllers by Tetragon's kind of workload.
var controllerAttributes = map[string]string{
	"deployment":  semconv.K8SDeploymentName,
	"statefulset": semconv.K8SStatefulsetName,
	"daemonset":   semconv.K8SDaemonsetName,
	"replicaset":  semconv.K8SReplicasetName,
	"cronjob":     semconv.K8SCronjobName,
	"job":         semconv.K8SJobName,
}

// placeOf is where the process of an event runs. A process of which Tetragon missed the start can be in a container or
// not: it gets a container with an unknown name, since it must not be taken for one of the host.
func placeOf(event *tetragon.GetEventsResponse, p *tetragon.Process) place {
	at := hostOf(event)
	pod := p.GetPod()
	switch {
	case pod != nil:
		container := pod.GetContainer()
		at.namespace, at.pod, at.podUID = pod.GetNamespace(), pod.GetName(), pod.GetUid()
		at.controller, at.controllerKind = pod.GetWorkload(), strings.ToLower(pod.GetWorkloadKind())
		at.container, at.containerID = container.GetName(), containerID(container.GetId())
		at.image, at.imageID = container.GetImage().GetName(), container.GetImage().GetId()
	case p.GetDocker() != "":
		at.container, at.containerID = witness.UnknownWorkload.Container, p.GetDocker()
	case p.GetExecId() == "":
		at.container = witness.UnknownWorkload.Container
	}
	return at
}

// hostOf is the node of an event.
func hostOf(event *tetragon.GetEventsResponse) place {
	return place{node: event.GetNodeName(), cluster: event.GetClusterName()}
}

// put writes resource attributes.
func (at *place) put(m pcommon.Map) {
	m.EnsureCapacity(12)
	semconv.PutText(m, semconv.HostName, at.node)
	semconv.PutText(m, semconv.K8SClusterName, at.cluster)
	if at.pod != "" || at.namespace != "" {
		semconv.PutText(m, semconv.K8SNodeName, at.node)
		semconv.PutText(m, semconv.K8SNamespaceName, at.namespace)
		semconv.PutText(m, semconv.K8SPodName, at.pod)
		semconv.PutText(m, semconv.K8SPodUID, at.podUID)
		semconv.PutText(m, semconv.K8SContainerName, at.container)
		if name, ok := controllerAttributes[at.controllerKind]; ok {
			semconv.PutText(m, name, at.controller)
		}
	} else {
		semconv.PutText(m, semconv.ContainerName, at.container)
	}
	semconv.PutText(m, semconv.ContainerID, at.containerID)
	name, tag := imageName(at.image)
	semconv.PutText(m, semconv.ContainerImageName, name)
	if tag != "" {
		semconv.PutTexts(m, semconv.ContainerImageTags, []string{tag})
	}
	if digest := repoDigest(at.imageID); digest != "" {
		semconv.PutTexts(m, semconv.ContainerImageRepoDigests, []string{digest})
	}
}

// containerID is the id without the runtime, as in containerd://<id>.
func containerID(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		return bare
	}
	return id
}

// imageName splits registry/name:tag@digest into name and tag.
func imageName(image string) (name, tag string) {
	name, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// repoDigest is an image id of the form name@sha256:hex. An id without a name is the digest of the image's
// configuration, which no registry knows.
func repoDigest(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		id = bare
	}
	_, digest, ok := strings.Cut(id, "@")
	if !ok || !strings.HasPrefix(digest, "sha256:") {
		return ""
	}
	return id
}

// self tells processes of the collector and of Tetragon from others.
type self struct {
	executable string
	pid        uint32 // 0: unknown, or not as the agent counts
}

// initPIDNamespace is what /proc/self/ns/pid points to in the first pid namespace, whose pids Tetragon reports.
const initPIDNamespace = "pid:[4026531836]"

// ownProcess describes this process. The pid of another machine's capture is never ours.
func ownProcess(replay bool) self {
	var s self
	s.executable, _ = os.Executable()
	if namespace, err := os.Readlink("/proc/self/ns/pid"); err == nil && namespace == initPIDNamespace && !replay {
		s.pid = uint32(os.Getpid()) //nolint:gosec // pids have 22 bits
	}
	return s
}

// origin says whose process it is.
func (s self) origin(p *tetragon.Process) witness.Origin {
	binary := p.GetBinary()
	switch {
	case binary == "" && p.GetExecId() == "":
		return witness.OriginUnknown
	case path.Base(binary) == "tetragon", s.executable != "" && binary == s.executable,
		s.pid != 0 && p.GetPid().GetValue() == s.pid:
		return witness.OriginSelf
	case (p.GetPod() != nil || p.GetDocker() != "") && p.GetInInitTree() != nil && !p.GetInInitTree().GetValue():
		return witness.OriginInjected
	default:
		return witness.OriginWorkload
	}
}
