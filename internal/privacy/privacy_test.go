package privacy

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestText reads testdata/privacy-cases.tsv: the first 45 cases were collected from what agents and command lines really
// write when the rules were designed, the others were made up against the rules.
func TestText(t *testing.T) {
	file, err := os.Open("testdata/privacy-cases.tsv")
	require.NoError(t, err)
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Scan()
	for n := 2; scanner.Scan(); n++ {
		fields := strings.Split(scanner.Text(), "\t")
		input, err := strconv.Unquote(fields[1])
		require.NoError(t, err, "line %d", n)
		t.Run(fields[0]+" "+input, func(t *testing.T) {
			scrubbed := Text(input)
			if fields[0] == "keep" {
				assert.Equal(t, input, scrubbed)
				return
			}
			canary, err := strconv.Unquote(fields[2])
			require.NoError(t, err, "line %d", n)
			assert.Contains(t, input, canary)
			assert.NotContains(t, scrubbed, canary)
			assert.Equal(t, scrubbed, Text(scrubbed), "twice")
		})
	}
	require.NoError(t, scanner.Err())
}

func TestTextMore(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"two addresses", "0x7ffd1c2b3a40 0x7ffd1c2b3a41", "<addr> <addr>"},
		{"tagged address", "0xb40000712345678a", "<addr>"},
		{"arm64 kernel", "ffff000012345678 is", "<addr> is"},
		{"39-bit address", "0x7f12345678", "<addr>"},
		{"decimal user address", "at 140498967885099.", "at <addr>."},
		{"decimal kernel address", "18446744072265074673", "<addr>"},
		{"signed kernel address", "x=-2130706432", "x=<addr>"},
		{"address behind a plus", "libc+0x7ffd1c2b3a40", "libc+<addr>"},
		{"address in brackets", "[0x7ffd1c2b3a40]", "[<addr>]"},
		{"16 digits in an identifier", "17hffffffff81a3c2f0E", "17hffffffff81a3c2f0E"},
		{"date", "20261122171345", "20261122171345"},
		{"nanoseconds", "1795353600000000000", "1795353600000000000"},
		{"JSON key", `{"password":"hunter2"}`, `{"password":<secret>}`},
		{"escaped quote in a value", `{"password":"hun\"ter2","x":1}`, `{"password":<secret>,"x":1}`},
		{"JSON in JSON", `{"arguments":"-d {\"password\":\"hunter2\",\"x\":1}"}`, `{"arguments":"-d {\"password\":<secret>,\"x\":1}"}`},
		{"JSON in JSON in JSON", `"{\\\"password\\\":\\\"hunter2\\\"}"`, `"{\\\"password\\\":<secret>}"`},
		{"escaped quote in JSON in JSON", `"{\"password\":\"hun\\\"ter2\"}"`, `"{\"password\":<secret>}"`},
		{"environment in JSON in JSON", `"{\"Key\":\"DB_PASSWORD\",\"Value\":\"hunter2\"}"`, `"{\"Key\":\"DB_PASSWORD\",\"Value\":<secret>}"`},
		{"quotes of a shell in JSON", `"export X_TOKEN=\"hun ter2\" y"`, `"export X_TOKEN=<secret> y"`},
		{"IPv6 behind a key", "addr:2001:db8::1", "addr:<ip>"},
		{"environment of Tetragon", `{"Key":"DB_PASSWORD","Value":"hun\"ter2"},{"Key":"HOME","Value":"/"}`, `{"Key":"DB_PASSWORD","Value":<secret>},{"Key":"HOME","Value":"/"}`},
		{"environment of Kubernetes", `{"name": "API_TOKEN", "value": "x"}`, `{"name": "API_TOKEN", "value": <secret>}`},
		{"YAML key", "db_password: hunter2", "db_password: <secret>"},
		{"camel case", "apiKey=abcdef", "apiKey=<secret>"},
		{"bearer", "Authorization: Bearer abcdef123456", "Authorization: Bearer <secret>"},
		{"JWT", "x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_def y", "x <secret> y"},
		{"PEM", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "<secret>"},
		{"PEM without an end", "a -----BEGIN PRIVATE KEY-----\nMIIE", "a <secret>"},
		{"AWS key", "AKIAIOSFODNN7EXAMPLE", "<secret>"},
		{"Slack", "xoxb-1234567890-abcdef", "<secret>"},
		{"Docker", "dckr_pat_abcdefghijklmnopqrst", "<secret>"},
		{"mysql -p", "mysql -uroot -phunter2 db", "mysql -uroot -p<secret> db"},
		{"redis-cli -a", "redis-cli -h x -a hunter2 ping", "redis-cli -h x -a <secret> ping"},
		{"openssl -k", "openssl enc -k hunter2", "openssl enc -k <secret>"},
		{"IPv4", "to 10.0.2.15:443", "to <ip>"},
		{"network", "10.0.0.0/8", "<ip>/8"},
		{"loopback", "127.0.0.1:8080", "127.0.0.1:8080"},
		{"IPv6 in brackets", "[2001:db8::1]:443", "[<ip>]:443"},
		{"hardware address", "52:54:00:12:34:56", "<ip>"},
		{"time", "at 12:34:56", "at 12:34:56"},
		{"home with a tilde", "ls ~alice/x", "ls ~<user>/x"},
		{"destructor", "std::vector::~vector", "std::vector::~vector"},
		{"macOS home", "/Users/alice/x", "/Users/<user>/x"},
		{"temporary file", "open /tmp/acme-report.xls: no", "open <tmp>: no"},
		{"memfd", "/memfd:secret-name", "<memfd>"},
		{"slice of a pod", "kubepods-besteffort-pod0f9e8d7c_6b5a_4d3c_2b1a_0f9e8d7c6b5a.slice", "kubepods-besteffort-pod<uid>.slice"},
		{"digest", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
		{"purl", "pkg:golang/golang.org/x/net@v0.17.0", "pkg:golang/golang.org/x/net@v0.17.0"},
		{"build-id", "build-id c0b9959017cf64b03131964573944fc729553ea7", "build-id c0b9959017cf64b03131964573944fc729553ea7"},
		{"kernel function", "__x64_sys_connect+0x14/0x20", "__x64_sys_connect+0x14/0x20"},
		{"Rust path", "tokio::runtime::Handle::block_on", "tokio::runtime::Handle::block_on"},
		{"key without a value", "password reset", "password reset"},
		{"tokens per second", "tokenizer=fast", "tokenizer=fast"},
		{"no UTF-8", "a\xff\x00b", "a? b"},
		{"too long", strings.Repeat("a", MaxText+1), Redacted},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, Text(c.text))
			assert.Equal(t, c.want, Text(c.want), "twice")
		})
	}
}

func TestName(t *testing.T) {
	for text, want := range map[string]string{
		"1.2.3.4":                            "1.2.3.4",
		"web-7d9c5b6f4-x2x9z":                "web-7d9c5b6f4-x2x9z",
		"CAP_SYS_ADMIN":                      "CAP_SYS_ADMIN",
		"0123456789abcdef/3/tetragon/prod":   "0123456789abcdef/3/tetragon/prod",
		"probe@0xffffffff81a3c2f0":           "probe@<addr>",
		"by alice@example.com":               "by <email>",
		"::ffff:192.0.2.7":                   "<ip>",
		"[2001:db8::1]:443":                  "[<ip>]:443",
		"ns::2":                              "ns::2",
		"10.0.2.15:5000/team/app":            "<ip>/team/app",
		"http://10.0.2.15/policy":            "http://<ip>/policy",
		"db@10.0.2.15":                       "db@<ip>",
		"node-192.168.7.9":                   "node-192.168.7.9",
		"node 192.168.7.9":                   "node <ip>",
		"10.0.19041.1 1.2.3.4:amd64":         "10.0.19041.1 1.2.3.4:amd64",
		"f64::consts::PI":                    "f64::consts::PI",
		"kprobe:2001:db8::1":                 "kprobe:<ip>",
		"10:20:30":                           "10:20:30",
		"/home/alice/policy.yaml":            "/home/<user>/policy.yaml",
		"https://u:p@example.com/policy":     "https://<secret>@example.com/policy",
		"sched/sched_process_exec":           "sched/sched_process_exec",
		"registry.example:5000/team/app":     "registry.example:5000/team/app",
		"glpat-abcdefghijklmnopqrst in name": "<secret> in name",
	} {
		assert.Equal(t, want, Name(text))
		assert.Equal(t, want, Name(want), "twice")
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct{ name, arguments, want string }{
		{"clean", "ls -l /usr/bin", "ls -l /usr/bin"},
		{"flag and value", "/usr/bin/tool --password hunter2 run", "/usr/bin/tool --password <secret> run"},
		{"flag of a tool", "/usr/bin/sshpass -p hunter2 ssh h", "/usr/bin/sshpass -p <secret> ssh h"},
		{"joined flag of a tool", "mysql -uroot -phunter2 db", "mysql -uroot -p<secret> db"},
		{"flag before a flag", "tool --password --verbose", "tool --password --verbose"},
		{"user and password", "curl -u bob:hunter2 http://x", "curl -u <secret> http://x"},
		{"header in parts", "curl -H Authorization: Bearer hunter2", "curl -H Authorization: Bearer <secret>"},
		{"assignment", "env API_TOKEN=hunter2", "env API_TOKEN=<secret>"},
		{"none", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Arguments(strings.Fields(c.arguments))
			assert.Equal(t, c.want, strings.Join(got, " "))
			assert.Equal(t, got, Arguments(got), "twice")
		})
	}
}

func TestTellTogether(t *testing.T) {
	for names, want := range map[string]bool{
		"execve clone inInitTree": false, "network lab.tcp": false, "v1.2.3 latest": false, "curl -H Authorization: Bearer hunter2": true,
		"Bearer hunter2hunter2": true, "mysql -p hunter2": true, "one": false, "": false,
	} {
		assert.Equal(t, want, TellTogether(strings.Fields(names)), names)
	}
}

func TestCanonicalPath(t *testing.T) {
	id := strings.Repeat("ab12", 16)
	for _, c := range []struct {
		raw  string
		want Path
	}{
		{"/usr/bin/curl", Path{Canonical: "/usr/bin/curl"}},
		{"/lib/x86_64-linux-gnu/libssl.so.3 (deleted)", Path{Canonical: "/lib/x86_64-linux-gnu/libssl.so.3", Deleted: true}},
		{"[kernel]", Path{Canonical: "[kernel]"}},
		{"[vdso]", Path{Canonical: "[vdso]"}},
		{"<kernel>", Path{Canonical: "<kernel>"}},
		{"curl", Path{Canonical: "curl"}},
		{"memfdtool", Path{Canonical: "memfdtool"}},
		{"/home/alice/bin/x", Path{Canonical: "/home/<user>/bin/x"}},
		{"/home/alice", Path{Canonical: "/home/<user>"}},
		{"/home/Ålice Smith/x", Path{Canonical: "/home/<user>/x"}},
		{"/var/home/alice/x", Path{Canonical: "/var/home/<user>/x"}},
		{"//home/alice/x", Path{Canonical: "/home/<user>/x"}},
		{"/usr/../home/alice/x", Path{Canonical: "/home/<user>/x"}},
		{"/home/./alice/x", Path{Canonical: "/home/<user>/x"}},
		{"%2Fhome%2Falice%2Fx", Path{Canonical: "/home/<user>/x"}},
		{`\/home\/alice\/x`, Path{Canonical: "/home/<user>/x"}},
		{"file:///home/alice%20smith/x", Path{Canonical: "file:///home/<user>/x"}},
		{"/opt/a%20b/x", Path{Canonical: "/opt/a%20b/x"}},
		{"/root/.cargo/bin/x", Path{Canonical: "/home/<user>/.cargo/bin/x"}},
		{"/root", Path{Canonical: "/home/<user>"}},
		{"/var/root/x", Path{Canonical: "/home/<user>/x"}},
		{"/rootfs/usr/bin/x", Path{Canonical: "/rootfs/usr/bin/x"}},
		{"/srv/nfs/home/alice/x", Path{Canonical: "/srv/nfs/home/<user>/x"}},
		{"/net/filer/homes/alice/x", Path{Canonical: "/net/filer/homes/<user>/x"}},
		{"/c/Users/alice/x", Path{Canonical: "/c/Users/<user>/x"}},
		{"/cygdrive/c/users/alice/x", Path{Canonical: "/cygdrive/c/users/<user>/x"}},
		{"/Volumes/Macintosh HD/Users/alice/x", Path{Canonical: "/Volumes/Macintosh HD/Users/<user>/x"}},
		{"/System/Volumes/Data/Users/alice/x", Path{Canonical: "/System/Volumes/Data/Users/<user>/x"}},
		{"/usr/lib/node_modules/home/views.js", Path{Canonical: "/usr/lib/node_modules/home/views.js"}},
		{"/opt/app/users/list.so", Path{Canonical: "/opt/app/users/list.so"}},
		{"/var/spool/cron/crontabs/alice", Path{Canonical: "/var/spool/cron/crontabs/<user>"}},
		{"/var/mail/alice", Path{Canonical: "/var/mail/<user>"}},
		{`C:\Users\Bob Smith\app.exe`, Path{Canonical: `C:\Users\<user>\app.exe`}},
		{`\\filer\Users\bob\app.exe`, Path{Canonical: `\\<host>\Users\<user>\app.exe`}},
		{`\\filer\home$\bob\app.exe`, Path{Canonical: `\\<host>\home$\<user>\app.exe`}},
		{"/sys/fs/cgroup/user.slice/user-1000.slice/x", Path{Canonical: "/sys/fs/cgroup/user.slice/user-<uid>.slice/x"}},
		{"../../home/alice/x.c", Path{Canonical: "../../home/<user>/x.c"}},
		{"./home/alice/x.c", Path{Canonical: "./home/<user>/x.c"}},
		{"../../tmp/x.c", Path{Canonical: Temp, Collapsed: true}},
		{"../src/home/server.go", Path{Canonical: "../src/home/server.go"}},
		{"file:///home/alice/x", Path{Canonical: "file:///home/<user>/x"}},
		{"_/home/alice/x", Path{Canonical: "_/home/<user>/x"}},
		{"/host/home/alice/x", Path{Canonical: "/host/home/<user>/x"}},
		{"/run/host/home/alice/x", Path{Canonical: "/run/host/home/<user>/x"}},
		{"/host/tmp/x", Path{Canonical: Temp, Collapsed: true}},
		{"/mnt/c/Users/alice/x", Path{Canonical: "/mnt/c/Users/<user>/x"}},
		{"/usr/tmp/x", Path{Canonical: Temp, Collapsed: true}},
		{"/opt/[2001:db8::1]/x", Path{Canonical: "/opt/[<ip>]/x"}},
		{"/opt/app/home/server", Path{Canonical: "/opt/app/home/server"}},
		{"/Users/alice/Library/x", Path{Canonical: "/Users/<user>/Library/x"}},
		{`C:\Users\alice\AppData\x.exe`, Path{Canonical: `C:\Users\<user>\AppData\x.exe`}},
		{`c:/users/alice/x`, Path{Canonical: `c:/users/<user>/x`}},
		{`C:\Users\alice\AppData\Local\Temp\x.exe`, Path{Canonical: Temp, Collapsed: true}},
		{`\\fileserver\share\x`, Path{Canonical: `\\<host>\share\x`}},
		{"~alice/x", Path{Canonical: "~<user>/x"}},
		{"/root/go/pkg/mod/golang.org/x/net@v0.17.0-rc.beta/html/token.go", Path{Canonical: "/home/<user>/go/pkg/mod/golang.org/x/net@v0.17.0-rc.beta/html/token.go"}},
		{"/run/user/1000/app", Path{Canonical: "/run/user/<uid>/app"}},
		{"/media/alice/usb/x", Path{Canonical: "/media/<user>/usb/x"}},
		{"/tmp/x", Path{Canonical: Temp, Collapsed: true}},
		{"/tmp/x (deleted)", Path{Canonical: Temp, Collapsed: true, Deleted: true}},
		{"/var/tmp/x/y", Path{Canonical: Temp, Collapsed: true}},
		{"/dev/shm/x", Path{Canonical: Temp, Collapsed: true}},
		{"/private/var/folders/ab/x", Path{Canonical: Temp, Collapsed: true}},
		{"/tmpfiles/x", Path{Canonical: "/tmpfiles/x"}},
		{"/memfd:runc_cloned:/proc/self/exe (deleted)", Path{Canonical: Memfd, Collapsed: true, Deleted: true}},
		{"memfd:x", Path{Canonical: Memfd, Collapsed: true}},
		{"/dev/fd/5", Path{Canonical: FD, Collapsed: true}},
		{"/proc/self/fd/5", Path{Canonical: FD, Collapsed: true}},
		{"/proc/12345/fd/5", Path{Canonical: FD, Collapsed: true}},
		{"/proc/12345/root/usr/bin/x", Path{Canonical: "/proc/<pid>/root/usr/bin/x"}},
		{"/proc/12345/root/home/alice/x", Path{Canonical: "/proc/<pid>/root/home/<user>/x"}},
		{"/proc/12345/root/tmp/x", Path{Canonical: Temp, Collapsed: true}},
		{"/proc/12345/task/12/exe", Path{Canonical: "/proc/<pid>/exe"}},
		{"/proc/self/exe", Path{Canonical: "/proc/self/exe"}},
		{"/var/lib/docker/overlay2/" + id + "/merged/usr/bin/x", Path{Canonical: "/var/lib/docker/overlay2/<id>/merged/usr/bin/x"}},
		{"/var/lib/docker/overlay2/" + id + "/merged/home/alice/x", Path{Canonical: "/var/lib/docker/overlay2/<id>/merged/home/<user>/x"}},
		{"/var/lib/docker/overlay2/" + id + "/merged/tmp/x", Path{Canonical: Temp, Collapsed: true}},
		{"/run/containerd/io.containerd.runtime.v2.task/k8s.io/" + id + "/rootfs/usr/bin/x", Path{Canonical: "/run/containerd/io.containerd.runtime.v2.task/k8s.io/<id>/rootfs/usr/bin/x"}},
		{"/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/123/fs/usr/bin/x", Path{Canonical: "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/<id>/fs/usr/bin/x"}},
		{"/var/lib/kubelet/pods/0f9e8d7c-6b5a-4d3c-2b1a-0f9e8d7c6b5a/volumes/x", Path{Canonical: "/var/lib/kubelet/pods/<uid>/volumes/x"}},
		{"/sys/fs/cgroup/kubepods.slice/cri-containerd-" + id + ".scope", Path{Canonical: "/sys/fs/cgroup/kubepods.slice/cri-containerd-<id>.scope"}},
		{"/blobs/sha256/" + id, Path{Canonical: "/blobs/sha256/" + id}},
		{"/srv/0x7ffd1c2b3a40/x", Path{Canonical: "/srv/<addr>/x"}},
		{"/srv/token=abcdef/x", Path{Canonical: "/srv/token=<secret>"}},
		{"/usr/bin/\x00x", Path{}},
		{"/usr/\xff", Path{}},
		{strings.Repeat("/a", MaxPath), Path{}},
		{"", Path{}},
		{"<tmp>/#0123abcd", Path{Canonical: "<tmp>/#0123abcd"}},
	} {
		t.Run(c.raw[:min(len(c.raw), 60)], func(t *testing.T) {
			got := CanonicalPath(c.raw)
			assert.Equal(t, c.want, got)
			assert.Equal(t, Path{Canonical: got.Canonical}, CanonicalPath(got.Canonical), "twice")
		})
	}
}

func TestInstance(t *testing.T) {
	key := []byte("key")
	a := Instance(key, Temp, "/tmp/a", "host", "1")
	assert.Regexp(t, "^<tmp>/#[0-9a-f]{8}$", a)
	assert.Equal(t, a, Instance(key, Temp, "/tmp/a", "host", "1"))
	for name, other := range map[string]string{
		"path":    Instance(key, Temp, "/tmp/b", "host", "1"),
		"process": Instance(key, Temp, "/tmp/a", "host", "2"),
		"key":     Instance([]byte("other"), Temp, "/tmp/a", "host", "1"),
		"parts":   Instance(key, Temp, "/tmp/a", "hos", "t1"),
	} {
		assert.NotEqual(t, a, other, name)
	}
	assert.Equal(t, Path{Canonical: a}, CanonicalPath(a))
}

func TestPseudonym(t *testing.T) {
	key := []byte("key")
	p := Pseudonym(key, "node-1")
	assert.Regexp(t, "^h:[0-9a-f]{16}$", p)
	assert.Equal(t, p, Pseudonym(key, "node-1"))
	assert.Equal(t, p, Pseudonym([]byte("other"), p), "a pseudonym stays")
	assert.NotEqual(t, p, Pseudonym(key, "node-2"))
	assert.NotEqual(t, p, Pseudonym([]byte("other"), "node-1"))
	assert.Empty(t, Pseudonym(key, ""))
	for _, forged := range []string{"h:ffff888100123400", "h:00007ffd1c2b3a40", "h:node-1", "h:ABCDEF0123456789", "h:0123456789abcdef0"} {
		assert.NotEqual(t, forged, Pseudonym(key, forged))
	}
}

func TestUserClass(t *testing.T) {
	for id, want := range map[int64]string{0: ClassRoot, 1: ClassNonroot, 65534: ClassNonroot, 1<<32 - 1: ClassUnknown, -1: ClassUnknown} {
		assert.Equal(t, want, UserClass(id), id)
	}
}

func TestIsAddressInt(t *testing.T) {
	for v, want := range map[int64]bool{
		0: false, -1: false, -4095: false, 1 << 40: false, 0x4015a0: false, 1795353600000000000: false,
		140498967885099: true, 0x5500_0000_0000: true, -2130706432: true, -131391635459072: true, -1 << 62: false,
	} {
		assert.Equal(t, want, IsAddressInt(v), v)
	}
}

func FuzzText(f *testing.F) {
	file, err := os.Open("testdata/privacy-cases.tsv")
	require.NoError(f, err)
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if input, err := strconv.Unquote(strings.Split(scanner.Text(), "\t")[1]); err == nil {
			f.Add(input)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, name, kept := Text(s), Name(s), Addresses(s)
		require.Equal(t, text, Text(text))
		require.Equal(t, name, Name(name))
		require.Equal(t, kept, Addresses(kept))
		p := CanonicalPath(s)
		require.Equal(t, Path{Canonical: p.Canonical}, CanonicalPath(p.Canonical))
		for _, out := range []string{text, name, kept, p.Canonical} {
			require.LessOrEqual(t, len(out), 4*len(s)+16)
		}
		arguments := Arguments(strings.Split(s, " "))
		require.Equal(t, arguments, Arguments(arguments))
	})
}

func BenchmarkText(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"clean", "GET /api/v1/things?page=3 took 12ms in golang.org/x/net/html.(*Tokenizer).Next (token.go:12) on worker 7, status 200, 14 rows"},
		{"secret", "mysql --password=hunter2 -h 10.0.2.15 at 0x7ffd1c2b3a40"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Text(c.text)
			}
		})
	}
}
