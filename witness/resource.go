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
		Namespace: text(resource, semconv.K8SNamespaceName),
		Container: text(resource, semconv.K8SContainerName),
	}
	if w.Container == "" {
		w.Container = text(resource, semconv.ContainerName)
	}
	for _, c := range controllers {
		if name := text(resource, c.attribute); name != "" {
			w.Controller = c.kind + "/" + name
			break
		}
	}
	if digests, ok := resource.Get(semconv.ContainerImageRepoDigests); ok && digests.Type() == pcommon.ValueTypeSlice && digests.Slice().Len() > 0 {
		digest := digests.Slice().At(0).AsString()
		w.Image = digest[strings.LastIndexByte(digest, '@')+1:]
	}
	if w == (Workload{}) && text(resource, semconv.ContainerID) != "" {
		return UnknownWorkload
	}
	return w
}

// InstanceOf reads the instance from resource attributes.
func InstanceOf(resource pcommon.Map) Instance {
	first := func(names ...string) string {
		for _, name := range names {
			if value := text(resource, name); value != "" {
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
	put(resource, semconv.HostName, i.Host)
	put(resource, semconv.K8SNamespaceName, w.Namespace)
	put(resource, semconv.K8SPodName, i.Pod)
	put(resource, semconv.ContainerID, i.Container)
	if w.Namespace != "" {
		put(resource, semconv.K8SContainerName, w.Container)
	} else {
		put(resource, semconv.ContainerName, w.Container)
	}
	kind, name, _ := strings.Cut(w.Controller, "/")
	for _, c := range controllers {
		if c.kind == kind {
			put(resource, c.attribute, name)
		}
	}
	if w.Image != "" {
		resource.PutEmptySlice(semconv.ContainerImageRepoDigests).AppendEmpty().SetStr(w.Image)
	}
}

func text(m pcommon.Map, name string) string {
	if v, ok := m.Get(name); ok && v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return ""
}

func put(m pcommon.Map, name, value string) {
	if value != "" {
		m.PutStr(name, value)
	}
}

func putAll(m pcommon.Map, name string, values []string) {
	if len(values) == 0 {
		return
	}
	slice := m.PutEmptySlice(name)
	slice.EnsureCapacity(len(values))
	for _, value := range values {
		slice.AppendEmpty().SetStr(value)
	}
}

func texts(m pcommon.Map, name string) []string {
	v, ok := m.Get(name)
	if !ok || v.Type() != pcommon.ValueTypeSlice || v.Slice().Len() == 0 {
		return nil
	}
	values := make([]string, 0, v.Slice().Len())
	for i := range v.Slice().Len() {
		if element := v.Slice().At(i); element.Type() == pcommon.ValueTypeStr {
			values = append(values, element.Str())
		}
	}
	return values
}
