package witness

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// controllers are the resource attributes that name a controller, the one people know first.
var controllers = []struct{ attribute, kind string }{
	{semconv.K8SDeploymentName, "deployment"},
	{semconv.K8SStatefulsetName, "statefulset"},
	{semconv.K8SDaemonsetName, "daemonset"},
	{semconv.K8SCronjobName, "cronjob"},
	{semconv.K8SJobName, "job"},
	{semconv.K8SReplicasetName, "replicaset"},
}

// WorkloadOf reads the workload from resource attributes.
func WorkloadOf(resource pcommon.Map) Workload {
	w := Workload{
		Namespace: semconv.Text(resource, semconv.K8SNamespaceName),
		Container: semconv.Text(resource, semconv.K8SContainerName),
	}
	if w.Container == "" {
		w.Container = semconv.Text(resource, semconv.ContainerName)
	}
	for _, c := range controllers {
		if name := semconv.Text(resource, c.attribute); name != "" {
			w.Controller = c.kind + "/" + name
			break
		}
	}
	if digests, ok := resource.Get(semconv.ContainerImageRepoDigests); ok && digests.Type() == pcommon.ValueTypeSlice && digests.Slice().Len() > 0 {
		digest := digests.Slice().At(0).AsString()
		w.Image = digest[strings.LastIndexByte(digest, '@')+1:]
	}
	if w == (Workload{}) && semconv.Text(resource, semconv.ContainerID) != "" {
		return UnknownWorkload
	}
	return w
}

// InstanceOf reads the instance from resource attributes.
func InstanceOf(resource pcommon.Map) Instance {
	first := func(names ...string) string {
		for _, name := range names {
			if value := semconv.Text(resource, name); value != "" {
				return value
			}
		}
		return ""
	}
	return Instance{
		Host:      first(semconv.HostName, semconv.K8SNodeName, semconv.HostID),
		Pod:       first(semconv.K8SPodName, semconv.K8SPodUID),
		Container: first(semconv.ContainerID),
	}
}

// PutResource writes what WorkloadOf and InstanceOf read.
func PutResource(resource pcommon.Map, w Workload, i Instance) {
	semconv.PutText(resource, semconv.HostName, i.Host)
	semconv.PutText(resource, semconv.K8SNamespaceName, w.Namespace)
	semconv.PutText(resource, semconv.K8SPodName, i.Pod)
	semconv.PutText(resource, semconv.ContainerID, i.Container)
	if w.Namespace != "" {
		semconv.PutText(resource, semconv.K8SContainerName, w.Container)
	} else {
		semconv.PutText(resource, semconv.ContainerName, w.Container)
	}
	kind, name, _ := strings.Cut(w.Controller, "/")
	for _, c := range controllers {
		if c.kind == kind {
			semconv.PutText(resource, c.attribute, name)
		}
	}
	if w.Image != "" {
		resource.PutEmptySlice(semconv.ContainerImageRepoDigests).AppendEmpty().SetStr(w.Image)
	}
}
