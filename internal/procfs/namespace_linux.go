package procfs

import (
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// kinds are the namespaces that matter. The kernel gives the first namespace of most kinds the same number always, and
// those of mount and network namespaces only since 6.18; before, no namespace has these numbers.
var kinds = [...]struct {
	name    string
	signal  witness.SignalName
	initial uint64
	always  bool
}{
	{"mnt", witness.SignalMountNamespace, 0xEFFFFFF8, false},
	{"pid", witness.SignalPIDNamespace, 0xEFFFFFFC, true},
	{"net", witness.SignalNetworkNamespace, 0xEFFFFFF9, false},
	{"user", witness.SignalUserNamespace, 0xEFFFFFFD, true},
	{"ipc", witness.SignalIPCNamespace, 0xEFFFFFFF, true},
	{"uts", witness.SignalUTSNamespace, 0xEFFFFFFE, true},
	{"cgroup", witness.SignalCgroupNamespace, 0xEFFFFFFB, true},
}

// The places of some of kinds.
const (
	mountNamespace = iota
	pidNamespace
	_
	userNamespace
)

// Namespaces are the classes of a process's namespaces, in the order of kinds: witness.NamespaceHost,
// witness.NamespaceIsolated, or empty when unknown.
type Namespaces [len(kinds)]string

// host is what is known of the host itself.
type host struct {
	// init: the process 1 of this file system is that of the host, not of a container.
	init bool
	// self: the mount namespace of this process is that of the host.
	self bool
	// users: this process's user namespace maps no user, so that what it reads are the host's numbers.
	users bool
	// namespaces are the numbers of the host's, 0 when unknown. Where others is set, all other numbers are of namespaces
	// that are not the host's.
	namespaces [len(kinds)]uint64
	others     [len(kinds)]bool
}

func (f *FS) readHost() *host {
	var h host
	own, first := f.namespacesOf("self"), f.namespacesOf("1")
	// A process that sees itself here is of the pid namespace that is shown, or of one within: so is one of the first.
	h.init = first[pidNamespace] == kinds[pidNamespace].initial || own[pidNamespace] == kinds[pidNamespace].initial
	for i := range kinds {
		h.namespaces[i], h.others[i] = kinds[i].initial, kinds[i].always
		switch {
		case h.init && first[i] != 0:
			h.namespaces[i], h.others[i] = first[i], true
		case own[i] == kinds[i].initial: // then the kernel has the number
			h.others[i] = true
		}
	}
	h.self = h.class(mountNamespace, own[mountNamespace]) == witness.NamespaceHost
	if b, err := readFile(unix.AT_FDCWD, filepath.Join(f.root, "self/uid_map"), maxUserMap); err == nil {
		users, ok := parseUserMap(b)
		h.users = ok && users.identity()
	}
	return &h
}

// namespacesOf are the numbers of a process's namespaces, 0 for those that cannot be read.
func (f *FS) namespacesOf(process string) [len(kinds)]uint64 {
	dir, err := unix.Open(filepath.Join(f.root, process), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return [len(kinds)]uint64{}
	}
	defer closeFD(dir)
	return namespaceNumbers(dir)
}

func namespaceNumbers(dir int) (numbers [len(kinds)]uint64) {
	for i := range kinds {
		numbers[i] = namespaceNumber(dir, i)
	}
	return numbers
}

func namespaceNumber(dir, kind int) uint64 {
	link, err := readlink(dir, "ns/"+kinds[kind].name)
	if err != nil {
		return 0
	}
	return parseNamespace(link, kinds[kind].name)
}

// parseNamespace reads a link as mnt:[4026531832]; 0 if it is none.
func parseNamespace(link, kind string) uint64 {
	number, ok := strings.CutPrefix(link, kind+":[")
	if !ok {
		return 0
	}
	number, ok = strings.CutSuffix(number, "]")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return 0
	}
	return n
}

// class is empty when it is unknown.
func (h *host) class(kind int, number uint64) string {
	switch {
	case number == 0:
		return ""
	case number == h.namespaces[kind]:
		return witness.NamespaceHost
	case h.others[kind]:
		return witness.NamespaceIsolated
	default:
		return ""
	}
}

// NamespaceClass is the class of a namespace that was seen elsewhere, by its number: witness.NamespaceHost,
// witness.NamespaceIsolated, or empty when unknown. Signal is one of a namespace.
func (f *FS) NamespaceClass(signal witness.SignalName, number uint64) string {
	for i := range kinds {
		if kinds[i].signal == signal {
			return f.host().class(i, number)
		}
	}
	return ""
}

// Namespaces reads which of the host's namespaces the process shares.
func (p *Process) Namespaces() (classes Namespaces) {
	for i := range kinds {
		classes[i] = p.namespace(i)
	}
	return classes
}

func (p *Process) namespace(kind int) string { return p.fs.host().class(kind, p.namespaceNumber(kind)) }

func (p *Process) namespaceNumber(kind int) uint64 {
	if p.namespaces[kind] == 0 {
		p.namespaces[kind] = namespaceNumber(p.dir, kind)
	}
	return p.namespaces[kind]
}

// MountNamespace is the number of the process's mount namespace, 0 if it cannot be read. It is another one's once that
// is gone.
func (p *Process) MountNamespace() uint64 { return p.namespaceNumber(mountNamespace) }

// userMap are ranges of users: Inside the namespace, outside of it, and how many.
type userMap [][3]uint32

const (
	maxUserMap = 16 << 10 // 340 ranges
	everyUser  = 1<<32 - 1
)

func parseUserMap(b []byte) (users userMap, ok bool) {
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, false
		}
		var r [3]uint32
		for i, field := range fields {
			n, err := strconv.ParseUint(field, 10, 32)
			if err != nil {
				return nil, false
			}
			r[i] = uint32(n)
		}
		users = append(users, r)
	}
	return users, true
}

// identity: every user is itself.
func (u userMap) identity() bool { return len(u) == 1 && u[0] == [3]uint32{0, 0, everyUser} }

// inside is what the namespace calls a user.
func (u userMap) inside(outside uint32) (uint32, bool) {
	for _, r := range u {
		if outside >= r[1] && outside-r[1] < r[2] {
			return r[0] + (outside - r[1]), true
		}
	}
	return 0, false
}
