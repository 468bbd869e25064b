package procfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	maxMountinfo = 4 << 20
	// maxDevices is how many names in /dev are looked at.
	maxDevices = 1024
)

// mount is a line of mountinfo. Paths are those within the root of the process.
type mount struct {
	dev      uint64
	root     string // which directory or file of the file system
	point    string
	kind     string
	readOnly bool
}

// parseMountinfo reads lines as "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue". Ok is
// false when there is a line that it does not understand.
func parseMountinfo(b []byte) (mounts []mount, ok bool) {
	for line := range bytes.Lines(b) {
		fields := bytes.Split(bytes.TrimSuffix(line, []byte("\n")), space)
		end := slices.IndexFunc(fields, func(f []byte) bool { return string(f) == "-" })
		if end < 6 || len(fields) < end+4 {
			return nil, false
		}
		major, minor, found := bytes.Cut(fields[2], []byte(":"))
		a, err := strconv.ParseUint(string(major), 10, 32)
		c, err2 := strconv.ParseUint(string(minor), 10, 32)
		if !found || err != nil || err2 != nil || !bytes.HasPrefix(fields[4], []byte("/")) {
			return nil, false
		}
		mounts = append(mounts, mount{
			dev:  unix.Mkdev(uint32(a), uint32(c)),
			root: unescape(fields[3]), point: unescape(fields[4]), kind: string(fields[end+1]),
			readOnly: hasOption(fields[5], "ro") || hasOption(fields[end+3], "ro"),
		})
	}
	return mounts, len(mounts) > 0
}

// unescape undoes \040 and its like.
func unescape(field []byte) string {
	if bytes.IndexByte(field, '\\') < 0 {
		return string(field)
	}
	var b strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) {
			if n, err := strconv.ParseUint(string(field[i+1:i+4]), 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(field[i])
	}
	return b.String()
}

func hasOption(options []byte, option string) bool {
	for o := range bytes.SplitSeq(options, []byte(",")) {
		if string(o) == option {
			return true
		}
	}
	return false
}

// rootOf is the mount of the root directory: of several, each lies over the one before. There is none after a chroot to
// a directory on which nothing is mounted.
func rootOf(mounts []mount) (mount, bool) {
	for _, m := range slices.Backward(mounts) {
		if m.point == "/" {
			return m, true
		}
	}
	return mount{}, false
}

// hostMounts are the mounts of the host, read again when the kernel says that they changed. It says so once a descriptor,
// which must not be an os.File: then the Go runtime would be told.
type hostMounts struct {
	mu     sync.Mutex
	fd     int
	opened bool
	byDev  map[uint64][]mount
	failed bool
}

// at is where on the host a file lies that is mounted elsewhere: ok is false when it lies nowhere on the host.
func at(host map[uint64][]mount, m *mount) (path string, ok bool) {
	longest := -1
	for i := range host[m.dev] {
		h := &host[m.dev][i]
		if rest, below := under(m.root, h.root); below && len(h.root) > longest {
			longest, path, ok = len(h.root), filepath.Join(h.point, rest), true
		}
	}
	return path, ok
}

// under reports whether a path is a directory or below it, and the rest.
func under(path, directory string) (rest string, ok bool) {
	if directory == "/" {
		return path, strings.HasPrefix(path, "/")
	}
	rest, ok = strings.CutPrefix(path, directory)
	return rest, ok && (rest == "" || rest[0] == '/')
}

var errHostMounts = errors.New("the mounts of the host cannot be seen")

// hostMounts are by device.
func (f *FS) hostMounts() (map[uint64][]mount, error) {
	h := f.host()
	f.mounts.mu.Lock()
	defer f.mounts.mu.Unlock()
	if f.mounts.failed {
		return nil, errHostMounts
	}
	if !f.mounts.opened {
		name := "1/mountinfo"
		switch {
		case h.init:
		case h.self:
			name = "self/mountinfo"
		default:
			f.mounts.failed = true
			return nil, errHostMounts
		}
		fd, err := openFile(unix.AT_FDCWD, filepath.Join(f.root, name))
		if err != nil {
			f.mounts.failed = true
			return nil, err
		}
		f.mounts.fd, f.mounts.opened = fd, true
	} else if f.mounts.byDev != nil {
		poll := []unix.PollFd{{Fd: int32(f.mounts.fd), Events: unix.POLLPRI}} //nolint:gosec // a descriptor
		if n, err := unix.Poll(poll, 0); err == nil && (n == 0 || poll[0].Revents&(unix.POLLPRI|unix.POLLERR) == 0) {
			return f.mounts.byDev, nil
		}
	}
	f.mounts.byDev = nil
	if _, err := unix.Seek(f.mounts.fd, 0, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := readAll(f.mounts.fd, maxMountinfo)
	if err != nil {
		return nil, err
	}
	mounts, ok := parseMountinfo(b)
	if !ok {
		return nil, ErrMalformed
	}
	f.mounts.byDev = map[uint64][]mount{}
	for _, m := range mounts {
		f.mounts.byDev[m.dev] = append(f.mounts.byDev[m.dev], m)
	}
	return f.mounts.byDev, nil
}

// Close releases what is kept of the host.
func (f *FS) Close() error {
	f.mounts.mu.Lock()
	defer f.mounts.mu.Unlock()
	f.mounts.failed = true
	if !f.mounts.opened {
		return nil
	}
	f.mounts.opened, f.mounts.byDev = false, nil
	return unix.Close(f.mounts.fd)
}

// The values of witness.SignalSensitiveMounts.
const (
	runtimeSocket = "runtime_socket"
	accountToken  = "service_account_token"
	hostRoot      = "host_root"
	hostPath      = "host_path"
	device        = "device"
)

// sensitive says what is mounted that leads out. Exists tells whether a file is on the host. Without the mounts of the
// host, its root and directories are not found.
func sensitive(mounts []mount, host map[uint64][]mount, exists func(string) bool) []string {
	found := []string{}
	for i := range mounts {
		m := &mounts[i]
		if isToken(m) {
			found = append(found, accountToken)
			continue
		}
		if m.kind == "devtmpfs" {
			if m.root == "/" || !slices.Contains(harmlessDevices, strings.TrimPrefix(m.root, "/")) {
				found = append(found, device)
			}
			continue
		}
		if slices.Contains(socketNames, filepath.Base(m.root)) || slices.Contains(socketNames, filepath.Base(m.point)) {
			found = append(found, runtimeSocket)
			continue
		}
		path, ok := at(host, m)
		if !ok || madeByRuntime(m, path) {
			continue
		}
		if path == "/" {
			found = append(found, hostRoot)
			continue
		}
		found = append(found, hostPath)
		for _, socket := range sockets {
			if _, below := under(socket, path); below && exists(socket) {
				found = append(found, runtimeSocket)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// isToken: Kubernetes mounts the token of a service account at a directory of that name, or projects it.
func isToken(m *mount) bool {
	return strings.Contains(m.point, "/secrets/") && filepath.Base(m.point) == "serviceaccount" ||
		strings.Contains(m.root, "/kubernetes.io~projected/kube-api-access-")
}

// sockets of container runtimes on the host, and all names that they have.
var (
	sockets = []string{
		"/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/podman/podman.sock",
		"/run/cri-dockerd.sock", "/run/k3s/containerd/containerd.sock", "/run/buildkit/buildkitd.sock",
	}
	socketNames = func() (names []string) {
		for _, path := range sockets {
			names = append(names, filepath.Base(path))
		}
		return append(names, "dockershim.sock", "containerd.sock.ttrpc")
	}()
)

// harmlessDevices are those that every container has.
var harmlessDevices = []string{"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}

// runtimeFiles are where runtimes and Kubernetes mount files that they make for a container.
var runtimeFiles = []string{"/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log", "/run/.containerenv", "/run/secrets"}

// runtimeDirectories are where runtimes and Kubernetes keep on the host what they make for containers.
var runtimeDirectories = []string{
	"/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/run/containerd", "/run/containers", "/var/run/containers",
	"/run/docker", "/run/crio", "/run/k3s/containerd", "/var/lib/rancher", "/var/lib/kubelet/pods", "/var/lib/lxc", "/var/lib/machines",
}

// pseudo file systems are the same one wherever they are mounted in one namespace.
var pseudo = []string{"cgroup", "cgroup2", "devpts", "mqueue", "sysfs", "proc", "securityfs", "debugfs", "tracefs", "bpf", "binfmt_misc", "fusectl", "configfs", "pstore", "hugetlbfs", "efivarfs"}

// madeByRuntime reports whether a mount from a path of the host is one that every container has.
func madeByRuntime(m *mount, path string) bool {
	if path == "/" {
		return false
	}
	if slices.Contains(pseudo, m.kind) {
		place := strings.SplitN(m.point, "/", 3)
		return slices.Contains([]string{"proc", "sys", "dev"}, place[1])
	}
	if slices.Contains(runtimeFiles, m.point) {
		return true
	}
	for _, directory := range runtimeDirectories {
		if rest, below := under(path, directory); below && rest != "" {
			return true
		}
	}
	return strings.Contains(path, "/.local/share/containers/") || strings.Contains(path, "/.local/share/docker/")
}

// hasDevice reports whether the /dev of the process has devices that not every container has. One that is a file system
// of its own in memory is looked at.
func (p *Process) hasDevice(mounts []mount) (bool, error) {
	if !slices.ContainsFunc(mounts, func(m mount) bool { return m.point == "/dev" && m.kind == "tmpfs" }) {
		return false, nil
	}
	root, err := p.openRoot()
	if err != nil {
		return false, err
	}
	defer closeFD(root)
	fd, err := resolve(root, "dev", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		return false, err
	}
	dir := os.NewFile(uintptr(fd), "dev")
	defer dir.Close()
	entries, err := dir.ReadDir(maxDevices)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return e.Type()&os.ModeDevice != 0 && !slices.Contains(harmlessDevices, e.Name())
	}), err
}
