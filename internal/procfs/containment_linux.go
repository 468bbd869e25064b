package procfs

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// maxLabel is how long the label of a security module may be.
const maxLabel = 4 << 10

// Confinement reads the classes of the process but those of Mounts, in no order. What cannot be read, or is not known for
// sure, has no signal. While the process executes another file, classes may be of before and after.
func (p *Process) Confinement(observed time.Time) []witness.Signal {
	c := contained{observed: observed, signals: make([]witness.Signal, 0, 16)}
	if exe, err := p.Executable(); err == nil {
		c.add(witness.SignalBinary, map[bool]string{false: "named", true: "unlinked"}[exe.Deleted])
	}
	namespaces := p.Namespaces()
	for i := range kinds {
		c.add(kinds[i].signal, namespaces[i])
	}
	c.add(witness.SignalLSM, p.label())
	if status, err := p.Status(); err == nil {
		if status.HasCapabilities {
			c.set(witness.SignalCapabilities, capabilities(status.Capabilities))
		}
		c.add(witness.SignalNoNewPrivs, choose(status.NoNewPrivs, "no", "yes"))
		c.add(witness.SignalSeccomp, choose(status.Seccomp, "disabled", "strict", "filter"))
		c.add(witness.SignalUser, p.user(&status, namespaces[userNamespace]))
		c.add(witness.SignalEntry, p.entry(&status, namespaces[pidNamespace]))
	}
	return c.signals
}

// contained collects signals.
type contained struct {
	observed time.Time
	signals  []witness.Signal
}

func (c *contained) set(name witness.SignalName, values []string) {
	c.signals = append(c.signals, witness.Signal{
		Name: name, Values: values, Source: witness.SourceProc, Assurance: witness.Measured, ObservedAt: c.observed,
	})
}

// add adds a value unless it is empty.
func (c *contained) add(name witness.SignalName, value string) {
	if value != "" {
		c.set(name, []string{value})
	}
}

// choose is the value of a number, empty when there is none.
func choose(number int, values ...string) string {
	if number < 0 || number >= len(values) {
		return ""
	}
	return values[number]
}

// capabilityNames are by number.
var capabilityNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
	"CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
	"CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// capabilities are the names of those held, sorted. What this version has no name for is left out: nothing is judged by
// it.
func capabilities(held uint64) []string {
	names := []string{}
	for number, name := range capabilityNames {
		if held&(1<<number) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// user is the class of the effective user: root of the host; root of a user namespace, be it by the host's number or the
// namespace's; another one. Of a reader in a user namespace of its own, the host's users cannot be told apart.
func (p *Process) user(s *Status, namespace string) string {
	if !p.fs.host().users {
		return ""
	}
	if s.EffectiveUser == 0 {
		switch namespace {
		case witness.NamespaceHost:
			return "root-host"
		case witness.NamespaceIsolated:
			return "root-userns"
		default:
			return "root"
		}
	}
	if namespace == witness.NamespaceHost {
		return "nonroot"
	}
	b, err := readFile(p.dir, "uid_map", maxUserMap)
	if err != nil {
		return ""
	}
	users, ok := parseUserMap(b)
	if !ok {
		return ""
	}
	if inside, mapped := users.inside(s.EffectiveUser); mapped && inside == 0 {
		return "root-userns"
	}
	return "nonroot"
}

// maxAncestors is how far up entry looks.
const maxAncestors = 32

// entry says how the process got into a pid namespace that was made on the host: it is its first one, or it or one of its
// ancestors was put there by a process of the host. For any other process it is not known: its parent may have ended, and
// the first process of the namespace taken its place.
func (p *Process) entry(s *Status, namespace string) string {
	if namespace != witness.NamespaceIsolated || len(s.PIDs) < 2 {
		return ""
	}
	first := func(s *Status) bool { return len(s.PIDs) > 0 && s.PIDs[len(s.PIDs)-1] == 1 }
	isFirst := first(s)
	child, parent := p.stat.start, p.stat.parent
	for range maxAncestors {
		if parent == 0 {
			return ""
		}
		ancestor, err := p.fs.Open(parent)
		if err != nil {
			return ""
		}
		class := ancestor.namespace(pidNamespace)
		status, err := ancestor.Status()
		started, next := ancestor.stat.start, ancestor.stat.parent
		ancestor.Close()
		switch {
		case err != nil, class == "", started > child:
			return ""
		case class == witness.NamespaceHost && isFirst:
			return "init_tree"
		case class == witness.NamespaceHost:
			return "injected"
		case isFirst, first(&status): // within another namespace, or from the first process on
			return ""
		}
		child, parent = started, next
	}
	return ""
}

// label is whether a profile of a security module confines the process.
func (p *Process) label() string {
	b, err := readFile(p.dir, "attr/apparmor/current", maxLabel)
	if err == nil {
		return appArmor(b)
	}
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // not in the kernel, or not in use
		return ""
	}
	if b, err = readFile(p.dir, "attr/current", maxLabel); err != nil {
		return ""
	}
	if class := appArmor(b); class != "" {
		return class
	}
	return seLinux(b, p.fs.enforcing)
}

// appArmor reads "unconfined", or "profile (mode)". A profile that only complains confines nothing; of several profiles
// with different modes it is not known which does what.
func appArmor(label []byte) string {
	text := string(bytes.TrimRight(label, "\n\x00"))
	if text == "unconfined" {
		return "unconfined"
	}
	i := strings.LastIndex(text, " (")
	if i <= 0 {
		return ""
	}
	switch text[i+2:] {
	case "enforce)", "kill)":
		return "confined"
	case "complain)", "unconfined)":
		return "unconfined"
	default:
		return ""
	}
}

// freeTypes are SELinux's types that may do as they please.
var freeTypes = []string{"unconfined_t", "unconfined_service_t", "spc_t", "kernel_t", "init_t", "initrc_t"}

// seLinux reads "user:role:type", or with ":level". Enforcing tells whether the host enforces types; that a single type
// is permissive does not show.
func seLinux(label []byte, enforcing func() (bool, error)) string {
	fields := strings.Split(string(bytes.TrimRight(label, "\n\x00")), ":")
	if len(fields) < 3 || !strings.HasSuffix(fields[2], "_t") {
		return ""
	}
	if slices.Contains(freeTypes, fields[2]) {
		return "unconfined"
	}
	switch enforced, err := enforcing(); {
	case err != nil:
		return ""
	case enforced:
		return "confined"
	default:
		return "unconfined"
	}
}

func (f *FS) enforcing() (bool, error) {
	root, err := f.openHostRoot()
	if err != nil {
		return false, err
	}
	defer closeFD(root)
	fd, err := resolve(root, "sys/fs/selinux/enforce", unix.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer closeFD(fd)
	b, err := readAll(fd, 16)
	return string(bytes.TrimSpace(b)) == "1", err
}

func (f *FS) openHostRoot() (int, error) {
	path, err := f.hostRootPath()
	if err != nil {
		return -1, err
	}
	return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// onHost reports whether a file is on the host.
func (f *FS) onHost(path string) bool {
	root, err := f.openHostRoot()
	if err != nil {
		return false
	}
	defer closeFD(root)
	fd, err := resolve(root, path, unix.O_PATH)
	if err != nil {
		return false
	}
	closeFD(fd)
	return true
}

// Mounts are the classes of the root file system and of mounts, which all processes with the same MountNamespace and Root
// have. In the mount namespace of the host there is nothing to look for: the root of the host is there.
func (p *Process) Mounts(observed time.Time) []witness.Signal {
	b, err := readFile(p.dir, "mountinfo", maxMountinfo)
	if err != nil {
		return nil
	}
	mounts, ok := parseMountinfo(b)
	if !ok {
		return nil
	}
	c := contained{observed: observed}
	if root, ok := rootOf(mounts); ok {
		c.add(witness.SignalRootFS, map[bool]string{false: "writable", true: "read_only"}[root.readOnly])
	}
	switch p.namespace(mountNamespace) {
	case witness.NamespaceHost:
		c.set(witness.SignalSensitiveMounts, []string{hostRoot})
	case witness.NamespaceIsolated:
		host, hostErr := p.fs.hostMounts()
		found := sensitive(mounts, host, p.fs.onHost)
		more, devErr := p.hasDevice(mounts)
		if more && !slices.Contains(found, device) {
			found = append(found, device)
			slices.Sort(found)
		}
		// Where not everything could be looked at, that nothing was found means nothing.
		if hostErr == nil && devErr == nil || len(found) > 0 {
			c.set(witness.SignalSensitiveMounts, found)
		}
	}
	return c.signals
}
