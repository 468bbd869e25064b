package ebpfreceiver

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-witness/otelcol-witness/internal/procfs"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// place is where a process runs: a container, as far as its id and pod are known, or the host, which is the zero place. Of a
// place that is neither for sure only that is known.
type place struct {
	container, podUID string
	unknown           bool
}

// placeOf is where a process runs by what /proc says.
func placeOf(p procfs.Place) place {
	switch p.Kind {
	case procfs.OnHost:
		return place{}
	case procfs.InContainer:
		return place{container: p.Container.ID, podUID: p.Container.PodUID}
	default:
		return place{podUID: p.Container.PodUID, unknown: true}
	}
}

// placeOfEnded is where a process ran that has ended, by what the kernel told: the names of its cgroups, the innermost
// first, and its mount namespace.
func (e *engine) placeOfEnded(cgroups []string, mountNamespace uint32) place {
	var path strings.Builder
	for _, name := range slices.Backward(cgroups) {
		if name != "" && name != "/" {
			path.WriteString("/" + name)
		}
	}
	c := procfs.ContainerOf(path.String())
	switch {
	case c.ID != "":
		return place{container: c.ID, podUID: c.PodUID}
	case c.PodUID == "" && e.proc.NamespaceClass(witness.SignalMountNamespace, uint64(mountNamespace)) == witness.NamespaceHost:
		return place{}
	default:
		return place{podUID: c.PodUID, unknown: true}
	}
}

// put writes resource attributes. Only the id of a container is known here; its name, image and workload are added by
// those who know Kubernetes. Until then it is a container with an unknown name, never the host.
func (e *engine) put(at place, m pcommon.Map) {
	m.EnsureCapacity(4)
	semconv.PutText(m, semconv.HostName, e.host)
	if at == (place{}) {
		return
	}
	semconv.PutText(m, semconv.K8SPodUID, at.podUID)
	semconv.PutText(m, semconv.ContainerID, at.container)
	m.PutStr(semconv.ContainerName, witness.UnknownWorkload.Container)
}
