package procfs

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

const maxCgroups = 64 << 10

// Runtime is what made a container.
type Runtime string

// The runtimes whose cgroups are told apart. Any other one that names a cgroup by 64 hexadecimal digits has none of
// these names.
const (
	Docker     Runtime = "docker"
	Containerd Runtime = "containerd"
	CRIO       Runtime = "cri-o"
	Podman     Runtime = "podman"
	Nspawn     Runtime = "systemd-nspawn"
	LXC        Runtime = "lxc"
)

// Container is what the path of a cgroup says of a container.
type Container struct {
	// ID is that of the innermost container, empty when the path names none. Nspawn and LXC have names.
	ID      string
	Runtime Runtime // empty when unknown
	// PodUID is the innermost pod's, with dashes.
	PodUID string
	// Outer is the id of the outermost container where one runs in another. What a container calls the cgroups below its
	// own is its own claim: the outermost is the only one that a container cannot make up.
	Outer string
}

// PlaceKind says whether it is known where a process runs.
type PlaceKind string

// The kinds.
const (
	InContainer  PlaceKind = "container"
	OnHost       PlaceKind = "host"
	UnknownPlace PlaceKind = "unknown"
)

// Place is where a process runs.
type Place struct {
	Kind PlaceKind
	// Container has an ID when Kind is InContainer, and may have a PodUID when it is UnknownPlace.
	Container Container
}

// Place reads where the process runs. It is in a container when its cgroups name one. It is on the host when they name
// none, it has the pid namespace and the root directory of the host, and also either the mount namespace of the host or
// the cgroup of a systemd unit outside of machine.slice: services may have mount namespaces of their own. All else is
// unknown, and so is what cannot be read; the error says why.
func (p *Process) Place() (Place, error) {
	b, err := readFile(p.dir, "cgroup", maxCgroups)
	if err != nil {
		return Place{Kind: UnknownPlace}, gone(err)
	}
	paths := parseCgroups(b)
	container, agreed := containerOfAll(paths)
	switch {
	case !agreed:
		return Place{Kind: UnknownPlace}, nil
	case container.ID != "":
		return Place{Kind: InContainer, Container: container}, nil
	case container.PodUID != "" || len(paths) == 0:
		return Place{Kind: UnknownPlace, Container: container}, nil
	}
	if p.namespace(pidNamespace) != witness.NamespaceHost ||
		p.namespace(mountNamespace) != witness.NamespaceHost && !slices.ContainsFunc(paths, isHostUnit) {
		return Place{Kind: UnknownPlace}, nil
	}
	var root unix.Stat_t
	if err := unix.Fstatat(p.dir, "root", &root, 0); err != nil {
		return Place{Kind: UnknownPlace}, gone(err)
	}
	if hostRoot, err := p.fs.hostRoot(); err != nil || root.Dev != hostRoot.Dev || root.Ino != hostRoot.Ino {
		return Place{Kind: UnknownPlace}, err
	}
	return Place{Kind: OnHost}, nil
}

var errHostRoot = errors.New("the root directory of the host cannot be seen")

// hostRootPath leads to the root directory of the host.
func (f *FS) hostRootPath() (string, error) {
	h := f.host()
	if path := filepath.Join(f.root, "1/root"); h.init && unix.Access(path+"/.", unix.F_OK) == nil {
		return path, nil
	}
	if h.self { // that of a chroot is not the host's, and then nothing is on the host
		return filepath.Join(f.root, "self/root"), nil
	}
	return "", errHostRoot
}

func (f *FS) hostRoot() (*unix.Stat_t, error) {
	path, err := f.hostRootPath()
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	return &stat, unix.Stat(path, &stat)
}

// parseCgroups reads the paths in /proc/<pid>/cgroup, of version 1 as "4:memory:/docker/…" and 2 as "0::/docker/…".
func parseCgroups(b []byte) []string {
	var paths []string
	for line := range bytes.Lines(b) {
		_, rest, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(":"))
		_, path, found := bytes.Cut(rest, []byte(":"))
		if !ok || !found || len(path) == 0 || path[0] != '/' {
			continue
		}
		if p := WithoutDeleted(string(path)); !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	return paths
}

// ContainerOf reads the path of a cgroup. It is zero when the path names neither a container nor a pod.
func ContainerOf(path string) Container {
	c, _ := containerOfAll([]string{path})
	return c
}

// containerOfAll reads the paths of the cgroups of one process, of which some may be further out than others. They
// disagree when they name different containers.
func containerOfAll(paths []string) (c Container, agreed bool) {
	var longest chain
	for _, path := range paths {
		if found := chainOf(path); len(found.ids) > len(longest.ids) || longest.pod == "" && len(found.ids) == len(longest.ids) {
			longest = found
		}
	}
	for _, path := range paths {
		found := chainOf(path)
		if !slices.Equal(found.ids, longest.ids[:len(found.ids)]) {
			return Container{}, false
		}
	}
	c = Container{Runtime: longest.runtime, PodUID: longest.pod}
	if n := len(longest.ids); n > 0 {
		c.ID = longest.ids[n-1]
		if n > 1 {
			c.Outer = longest.ids[0]
		}
	}
	return c, true
}

// chain is the containers along a path, the outermost first, and the runtime and pod of the last.
type chain struct {
	ids     []string
	runtime Runtime
	pod     string
}

func chainOf(path string) chain {
	var c chain
	components := strings.Split(path, "/")
	kubernetes := false
	for i, component := range components {
		var before, after string
		if i > 0 {
			before = components[i-1]
		}
		if i+1 < len(components) {
			after = components[i+1]
		}
		kubernetes = kubernetes || strings.Contains(component, "kubepods")
		if pod := podOf(component); kubernetes && pod != "" {
			c.pod = pod
		}
		if id, runtime := containerOf(before, component, after); id != "" {
			c.ids, c.runtime = append(c.ids, id), runtime
		}
	}
	return c
}

// containerOf reads one component of a path.
func containerOf(before, component, after string) (id string, runtime Runtime) {
	if i := strings.LastIndexByte(component, ':'); i >= 0 { // <slice>:cri-containerd:<id>, of a driver that was not told of systemd
		if id := component[i+1:]; isHex(id, 64) {
			prefix := component[:i]
			return id, runtimes[prefix[strings.LastIndexByte(prefix, ':')+1:]]
		}
		return "", ""
	}
	unit, scope := strings.CutSuffix(component, ".scope")
	if isHex(unit, 64) {
		return unit, runtimes[before]
	}
	if i := strings.LastIndexByte(unit, '-'); i > 0 && isHex(unit[i+1:], 64) {
		prefix := unit[:i]
		if strings.HasSuffix(prefix, "conmon") { // the monitor of a container, which runs on the host
			return "", ""
		}
		return unit[i+1:], runtimes[prefix]
	}
	if after == "supervisor" { // systemd-nspawn itself
		return "", ""
	}
	if name, ok := strings.CutPrefix(component, "systemd-nspawn@"); ok {
		return machineName(strings.TrimSuffix(name, ".service")), Nspawn
	}
	if name, ok := strings.CutPrefix(unit, "machine-"); ok && scope && !strings.HasPrefix(name, `qemu\x2d`) { // a qemu is of the host
		return machineName(name), Nspawn
	}
	if name, ok := strings.CutPrefix(component, "lxc.payload."); ok {
		return name, LXC
	}
	if before == "lxc" {
		return component, LXC
	}
	return "", ""
}

// machineName undoes what systemd does to a - in the name of a unit.
func machineName(escaped string) string { return strings.ReplaceAll(escaped, `\x2d`, "-") }

// runtimes by what they put before an id.
var runtimes = map[string]Runtime{
	"docker": Docker, "cri-containerd": Containerd, "nerdctl": Containerd, "crio": CRIO, "libpod": Podman, "libpod_parent": Podman,
}

// podOf reads pod<uid>, or kubepods-burstable-pod<uid with _>.slice; :… may follow. Static pods have uids without dashes.
func podOf(component string) string {
	component, _, _ = strings.Cut(component, ":")
	unit, slice := strings.CutSuffix(component, ".slice")
	if slice {
		i := strings.LastIndexByte(unit, '-')
		unit = unit[i+1:]
	}
	uid, ok := strings.CutPrefix(unit, "pod")
	if !ok {
		return ""
	}
	if slice {
		uid = strings.ReplaceAll(uid, "_", "-")
	}
	if !isUUID(uid) && !isHex(uid, 32) {
		return ""
	}
	return uid
}

// isHostUnit reports whether a cgroup is of a unit of the host's systemd, and not of a machine.
func isHostUnit(path string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return top == "init.scope" || strings.HasSuffix(top, ".slice") && top != "machine.slice" && !strings.Contains(path, "kubepods")
}
