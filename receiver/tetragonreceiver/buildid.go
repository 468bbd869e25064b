package tetragonreceiver

import (
	"encoding/hex"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxBuildIDProcesses = 8192 // processes whose modules are remembered
	maxBuildIDModules   = 512  // modules of one process
	maxExecID           = 512  // bytes of an exec id: node name, time and pid in base64
	maxModulePath       = 4096 // bytes
)

// buildIDs remembers which build-id the modules of a process have: loader events tell it, stack frames do not. The
// processes least recently used are forgotten first; a process with too many modules keeps the first ones.
type buildIDs struct {
	processes *simplelru.LRU[string, map[string]string] // by exec id: path -> build-id
	// latest holds the last two modules loaded in each pid. An exec maps the new binary and its interpreter before
	// Tetragon knows of it, so that their loader events carry the exec id of the process as it was.
	latest  *simplelru.LRU[uint32, loads]
	evicted func()
}

type loads struct {
	execID string
	last   [2]struct{ path, buildID string }
}

func newBuildIDs(evicted func()) *buildIDs {
	b := &buildIDs{evicted: evicted}
	// The only error of NewLRU is a size that is not positive.
	b.processes, _ = simplelru.NewLRU[string, map[string]string](maxBuildIDProcesses, nil)
	b.latest, _ = simplelru.NewLRU[uint32, loads](maxBuildIDProcesses, nil)
	return b
}

// add learns from a loader event.
func (b *buildIDs) add(p *tetragon.Process, path, buildID string) {
	execID := p.GetExecId()
	if execID == "" || path == "" || len(execID) > maxExecID || len(path) > maxModulePath {
		return
	}
	b.put(execID, path, buildID)
	latest, _ := b.latest.Get(p.GetPid().GetValue())
	if latest.execID != execID {
		latest = loads{execID: execID}
	}
	latest.last[0] = latest.last[1]
	latest.last[1].path, latest.last[1].buildID = path, buildID
	b.latest.Add(p.GetPid().GetValue(), latest)
}

// exec gives the process what was mapped for it before it had its exec id.
func (b *buildIDs) exec(p *tetragon.Process) {
	execID, pid := p.GetExecId(), p.GetPid().GetValue()
	latest, ok := b.latest.Get(pid)
	if !ok || execID == "" || len(execID) > maxExecID || latest.execID == execID {
		return
	}
	for _, load := range latest.last {
		if load.path != "" {
			b.put(execID, load.path, load.buildID)
		}
	}
	b.latest.Remove(pid)
}

// put remembers a module. A module without build-id takes the place of one that had it under the same path.
func (b *buildIDs) put(execID, path, buildID string) {
	modules, ok := b.processes.Get(execID)
	if !ok {
		modules = map[string]string{}
		if b.processes.Add(execID, modules) {
			b.evicted()
		}
	}
	if buildID == "" {
		delete(modules, path)
		return
	}
	if _, known := modules[path]; !known && len(modules) >= maxBuildIDModules {
		b.evicted()
		return
	}
	modules[path] = buildID
}

// of is the build-id of a module, or empty.
func (b *buildIDs) of(execID, path string) string {
	if execID == "" {
		return ""
	}
	modules, _ := b.processes.Get(execID)
	return modules[path]
}

// hexOf is a build-id as text; empty when it is longer than any.
func hexOf(id []byte) string {
	if len(id) > 64 {
		return ""
	}
	return hex.EncodeToString(id)
}
