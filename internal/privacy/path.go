package privacy

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// MaxPath is the longest path that is kept, in bytes.
const MaxPath = 4096

// Path is a path without what names a person, a process or an instance.
type Path struct {
	// Canonical is empty when the text cannot be a path.
	Canonical string
	// Deleted says that the path ended in " (deleted)".
	Deleted bool
	// Collapsed says that the name meant something only inside one process or for a moment (temporary files, memfd,
	// /dev/fd): two files that collapse to the same path need not be the same.
	Collapsed bool
}

// DeletedSuffix is what the kernel appends to the path of a file that has no name any more.
const DeletedSuffix = " (deleted)"

// CanonicalPath folds a path: home directories, temporary names, memfd, file descriptors, process, pod and container ids.
// What it returns it leaves alone, an instance's mark (Instance) included.
func CanonicalPath(raw string) Path {
	p := Path{Canonical: raw}
	for strings.HasSuffix(p.Canonical, DeletedSuffix) {
		p.Canonical, p.Deleted = strings.TrimSuffix(p.Canonical, DeletedSuffix), true
	}
	if len(p.Canonical) > MaxPath || !utf8.ValidString(p.Canonical) || strings.ContainsFunc(p.Canonical, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		p.Canonical = ""
		return p
	}
	if isInstance(p.Canonical) {
		return p
	}
	if plain := undone(p.Canonical); plain != p.Canonical {
		if folded, collapsed := fold(plain, 0); collapsed || folded != plain {
			p.Canonical = plain
		}
	}
	if strings.Contains(p.Canonical, "/../") || strings.Contains(p.Canonical, "/./") {
		p.Canonical = path.Clean(p.Canonical)
	}
	// A rule may uncover what folds again; a path that does not settle is none.
	folded, collapsed := p.Canonical, false
	for range 6 {
		before := folded
		again := false
		folded, again = fold(before, 0)
		if again {
			collapsed = true
			break
		}
		if folded = scrub(folded, inPath); folded == before {
			p.Canonical = folded
			return p
		}
	}
	if !collapsed {
		folded = ""
	}
	p.Canonical, p.Collapsed = folded, collapsed
	return p
}

// undone is a path without the escapes of URLs and of JSON.
func undone(p string) string {
	if strings.IndexByte(p, '%') >= 0 {
		if plain, err := url.PathUnescape(p); err == nil {
			p = printable(plain)
		}
	}
	return strings.ReplaceAll(p, `\/`, "/")
}

// Instance tells apart what collapsed: it appends to the collapsed path a keyed digest of the raw path and of what else
// identifies the file (the process that has it). CanonicalPath leaves the result alone.
func Instance(key []byte, collapsed, raw string, process ...string) string {
	return collapsed + "/#" + digest(key, 4, append([]string{"instance", raw}, process...)...)
}

// isInstance reports whether p is a collapsed path with a mark.
func isInstance(p string) bool {
	for _, collapsed := range []string{Temp, Memfd, FD} {
		if mark, ok := strings.CutPrefix(p, collapsed+"/#"); ok {
			return len(mark) == 8 && isLowerHex(mark)
		}
	}
	return false
}

var (
	// temporary directories: what is below them has a name of its own.
	temporary = regexp.MustCompile(`^(?:/private)?/(?:tmp|var/tmp|usr/tmp|dev/shm|run/shm|var/folders)(?:/+|$)|^(?i:[a-z]:[\\/]+(?:windows[\\/]+)?te?mp[\\/])`)
	// windowsTemporary is below a user's home.
	windowsTemporary = regexp.MustCompile(`(?i)[\\/]appdata[\\/]+local[\\/]+temp(?:[\\/]|$)`)
	memfd            = regexp.MustCompile(`^/*memfd:|^/SYSV[0-9a-fA-F]{8}$|^/dev/zero$|^/anon_hugepage$`)
	descriptor       = regexp.MustCompile(`^/dev/fd/|^/proc/(?:\d+|self|thread-self|<pid>)(?:/task/\d+)?/(?:fd|map_files)/`)
	// processRoot leads to the root of a process, containerRoot to that of a container: rules begin anew behind them.
	processRoot   = regexp.MustCompile(`^/proc/(?:\d+|<pid>)(?:/task/\d+)?/(?:root|cwd)/`)
	containerRoot = regexp.MustCompile(`^(/(?:[^/]+/)*?(?:docker/(?:overlay2|overlay|aufs/\w+)|storage/overlay|docker/rootfs/overlayfs|k8s\.io|moby|default|snapshots|containers|sandboxes)/)([0-9a-zA-Z<>_-]+)((?:/(?:merged|diff|fs|rootfs|root))/|/(?:merged|diff|fs|rootfs)$)`)
	// otherRoot is another way to write a root: that of the host in a container, a URL, the way up from somewhere, and how
	// Go names packages outside of modules.
	otherRoot = regexp.MustCompile(`^(?:/(?:host|hostfs|host-root|rootfs|sysroot|newroot|run/host|var/lib/snapd/hostfs)|file://|(?:\.\.?/)*\.\.?|_)/`)
	homes     = regexp.MustCompile(`^(/(?:usr/|(?:var|export|mnt|data|net|nfs|srv|vol|volumes?\d*|Volumes|private|storage|shared?|cluster|gpfs|lustre|scratch|nas|pool|tank|cygdrive|[a-z]` +
		`|System/Volumes/Data)/(?:[^/]+/){0,2})?(?:homes?|[Uu]sers)/+)[^/]+`)
	rootHome     = regexp.MustCompile(`^(?:/private)?(?:/var)?/root(/|$)`)
	spool        = regexp.MustCompile(`^(/var/(?:spool/)?mail/+|/var/spool/cron/+(?:(?:crontabs|tabs)/+)?)[^/]+`)
	media        = regexp.MustCompile(`^((?:/run)?/media/)[^/]+/`)
	windowsHomes = regexp.MustCompile(`(?i)^((?:(?:[\\/]{2}[?.][\\/])?[a-z]:|[\\/]{2}(?:[?.][\\/]unc[\\/]|wsl(?:\$|\.localhost)[\\/]+)?[^\\/]+)[\\/]+(?:users|documents and settings|homes?\$?)[\\/]+)[^\\/]+`)
	tilde        = regexp.MustCompile(`^~[^/\\]*`)
	share        = regexp.MustCompile(`^\\\\[^\\?.<][^\\]*\\`)
	podDirectory = regexp.MustCompile(`(/kubelet/pods/)[^/]+`)
	// foldHints are in every path that fold changes, but for long ones and those that do not begin with a slash.
	foldHints = hintsOf("//", "/tmp", "/private/", "/var/folders", "/dev/", "/run/", "memfd:", "/SYSV", "/anon_hugepage", "/proc/", "/home", "sers/",
		"/media/", "mail/", "/cron", "/pods/", "/merged", "/diff", "/fs", "/rootfs", "/root")
	longHex = regexp.MustCompile(`(?:sha256)?[/-][0-9a-f]{64}\b`)
)

// find is where the pattern matches p, which then has one of the hints. nil when it does not.
func find(pattern *regexp.Regexp, p string, hints ...string) []int {
	for _, hint := range hints {
		if strings.Contains(p, hint) {
			return pattern.FindStringSubmatchIndex(p)
		}
	}
	return nil
}

// fold applies the rules at the root that p begins at.
func fold(p string, depth int) (folded string, collapsed bool) {
	if p == "" || strings.IndexByte(`/\~m._`, p[0]) < 0 && !strings.HasPrefix(p, "file:") && (len(p) < 2 || p[1] != ':') {
		return p, false
	}
	if p[0] == '/' && len(p) <= 64 {
		if present := pairsOf(p); !foldHints.in(p, &present) {
			return p, false
		}
	}
	for strings.HasPrefix(p, "//") {
		p = p[1:]
	}
	if depth < 4 {
		if at := find(processRoot, p, "/proc/"); at != nil {
			rest, collapsed := fold(p[at[1]-1:], depth+1)
			if collapsed {
				return rest, true
			}
			kind := p[strings.LastIndexByte(p[:at[1]-1], '/') : at[1]-1]
			return "/proc/" + PID + kind + rest, false
		}
		if at := otherRoot.FindStringIndex(p); at != nil {
			rest, collapsed := fold(p[at[1]-1:], depth+1)
			if collapsed {
				return rest, true
			}
			return p[:at[1]-1] + rest, false
		}
		if at := find(containerRoot, p, "/merged", "/diff", "/fs", "/rootfs", "/root"); at != nil {
			end := at[1]
			if p[end-1] != '/' {
				return p[at[2]:at[3]] + ID + p[at[6]:at[7]], false
			}
			rest, collapsed := fold(p[end-1:], depth+1)
			if collapsed {
				return rest, true
			}
			return p[at[2]:at[3]] + ID + p[at[6]:end-1] + rest, false
		}
	}
	windows := strings.Contains(p, `\`) || strings.Contains(p, ":")
	switch {
	case find(temporary, p, "/tmp", "/dev/shm", "/run/shm", "/var/folders", ":") != nil || find(windowsTemporary, p, `\`, ":") != nil:
		return Temp, true
	case find(memfd, p, "memfd:", "/SYSV", "/dev/zero", "/anon_hugepage") != nil:
		return Memfd, true
	case find(descriptor, p, "/fd/", "/map_files/") != nil:
		return FD, true
	}
	if strings.Contains(p, "/home") || strings.Contains(p, "sers/") {
		p = homes.ReplaceAllString(p, "${1}"+User)
	}
	if strings.Contains(p, "/root") {
		p = rootHome.ReplaceAllString(p, "/home/"+User+"${1}")
	}
	if strings.HasPrefix(p, "/var/") {
		p = spool.ReplaceAllString(p, "${1}"+User)
	}
	if strings.Contains(p, "/media/") {
		p = media.ReplaceAllString(p, "${1}"+User+"/")
	}
	if windows {
		p = windowsHomes.ReplaceAllString(p, "${1}"+User)
		p = share.ReplaceAllString(p, `\\<host>\`)
	}
	if p[0] == '~' {
		p = tilde.ReplaceAllString(p, "~"+User)
	}
	if strings.Contains(p, "/pods/") {
		p = podDirectory.ReplaceAllString(p, "${1}"+UID)
	}
	if strings.Contains(p, "-") || len(p) > 64 {
		p = longHex.ReplaceAllStringFunc(p, func(m string) string {
			if strings.HasPrefix(m, "sha256") {
				return m // a digest
			}
			return m[:1] + ID
		})
	}
	return p, false
}
