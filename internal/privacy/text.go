package privacy

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What stands in place of what was taken out.
const (
	Secret = "<secret>"
	Net    = "<ip>"
	Mail   = "<email>"
	ID     = "<id>"
	UID    = "<uid>"
	User   = "<user>"
	PID    = "<pid>"
	Temp   = "<tmp>"
	Memfd  = "<memfd>"
	FD     = "<fd>"
	// Redacted stands for a whole text.
	Redacted = "<text>"
)

// MaxText is how many bytes of a text are looked at; a longer one is Redacted.
const MaxText = 16 << 10

// use says where a rule applies.
type use uint8

const (
	inText use = 1 << iota // free text
	inName                 // names, versions, tags
	inPath                 // paths
	inFact                 // build-ids, purls: nothing is replaced, they go as they are or not at all
	always = inText | inName | inPath | inFact
)

// A rule replaces what it matches. It is only tried where one of its hints is in the text: in lower case when fold is set.
type rule struct {
	use     use
	hints   hints
	fold    bool
	pattern *regexp.Regexp
	with    string
}

// keyword is the segment of a key that makes its value a secret.
const keyword = `(?:pass|passwd|password|passwort|passphrase|pwd|secrets?|tokens?|jwt|apikey|api[_-]key|accesskey|access[_-]key|` +
	`secretkey|secret[_-]key|privatekey|private[_-]key|signing[_-]key|encryption[_-]key|accesstoken|authtoken|refreshtoken|idtoken|` +
	`clientsecret|credentials?|creds?|auth|sessionid|session[_-]id|sid|cookie|dbpass|userpass|pgpassword|mysql_pwd)`

// quoted is a value in quotes; in JSON that is a text in JSON, the quotes are escaped.
const quoted = `"(?:[^"\\<]|\\.)*"?|\\"(?:[^"\\<]|\\\\\\"|\\\\|\\[^"\\<])*(?:\\")?|\\+"[^"<]*"?`

// value is what follows a key; placeholders are no values.
const value = `(?:` + quoted + `|'[^'<]*'?|[^\s"'&;,|<>)}\]]+)`

var keyHints = hintsOf("pass", "pwd", "secret", "token", "key", "cred", "auth", "session", "sid", "cookie", "jwt")

// rules are tried in this order; all of them are linear (RE2).
var rules = []rule{
	{always, hintsOf("-----BEGIN"), false, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]{0,40}(?:KEY|CERTIFICATE)[A-Z ]{0,10}-----(?:[^-]|-[^-])*(?:-----END [A-Z0-9 ]{0,50}-----)?`), Secret},
	{always, hintsOf("eyJ"), false, regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?`), Secret},
	{always, tokenHints, false, tokens, Secret},
	{always, hintsOf("://"), false, regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]{1,20}://)[^\s/@"'<>]+@`), "${1}" + Secret + "@"},
	{inText | inName, hintsOf("bearer ", "basic ", "authorization"), true, regexp.MustCompile(`(?i)\b(bearer|basic|authorization: ?[a-z]+|x-[a-z-]*(?:key|token):) +[A-Za-z0-9+/._~=-]{6,}`), "${1} " + Secret},
	{always, keyHints, true, regexp.MustCompile(`(?i)((?:^|[^a-z0-9])(?:[a-z0-9]+[_.-])*` + keyword + `(?:[_.-][a-z0-9]+){0,3}\\*["']?\s?=\s?)` + value), "${1}" + Secret},
	{inText | inName, keyHints, true, regexp.MustCompile(`(?i)((?:^|[^a-z0-9])(?:[a-z0-9]+[_-])*` + keyword + `(?:[_-][a-z0-9]+){0,3}(?:\\*["']\s?:\s?|:\s))` + value), "${1}" + Secret},
	{inText | inName | inPath, keyHints, true, regexp.MustCompile(`(?i)("(?:key|name)\\*"\s*:\s*\\*"(?:[a-z0-9]+[_.-])*` + keyword + `(?:[_.-][a-z0-9]+){0,3}\\*"\s*,\s*\\*"value\\*"\s*:\s*)(?:` + quoted + `)`), "${1}" + Secret},
	{inText | inName, keyHints, true, regexp.MustCompile(`(?i)((?:^|\s)--?(?:[a-z0-9]+[_-])*` + keyword + `(?:[_-][a-z0-9]+){0,2}\s+)` + value), "${1}" + Secret},
	{inText, hintsOf("mysql", "mariadb", "sshpass", "redis-cli", "openssl", "ldap", "zip ", "7z "), false, regexp.MustCompile(`(\b(?:mysql\w*|mariadb\w*|sshpass|redis-cli|openssl|ldap\w+|zip|7z)\b[^|;\n<]*?\s-(?:[apkPwW]|pass[a-z]*))( ?)(?:[^\s<|;-][^\s<|;]*)`), "${1}${2}" + Secret},
	{inText, hintsOf(" -u", " --user", " --proxy-user"), false, regexp.MustCompile(`(\s(?:-u|--user|--proxy-user)[ =]?)[^\s:<]+:[^\s<]+`), "${1}" + Secret},
	{inText | inName, hintsOf("@"), false, regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b`), Mail},
	{inPath, hintsOf("@"), false, regexp.MustCompile(`[A-Za-z0-9._%+-]+@(?:[A-Za-uw-z]|v[A-Za-z-])[A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b`), Mail}, // but not module@v1.2.3-rc.a
	{inText | inName, hintsOf("/home/", "/Users/", "/media/"), false, regexp.MustCompile(`(/(?:home|Users|media)/)[^/\s"'<>:;,)]+`), "${1}" + User},
	{inText | inName, hintsOf(`\users\`, "/users/", `\documents and settings\`), true, regexp.MustCompile(`(?i)([a-z]:[\\/]+(?:users|documents and settings)[\\/]+)[^\\/\s"'<>:;,)]+`), "${1}" + User},
	{inText | inName, hintsOf("~"), false, regexp.MustCompile(`(^|[\s"'=])~[A-Za-z_][A-Za-z0-9_.-]*`), "${1}~" + User},
	{always, hintsOf("/user/"), false, regexp.MustCompile(`(/run/user/)\d+`), "${1}" + UID},
	{always, hintsOf("/proc/"), false, regexp.MustCompile(`(/proc/)\d+(?:/task/\d+)?`), "${1}" + PID},
	{inText | inName, hintsOf("/tmp/", "/dev/shm/", "/var/folders/"), false, regexp.MustCompile(`(?:/private)?(?:/var)?(?:/tmp/|/dev/shm/|/folders/)[^\s"'<>:;,)]+`), Temp},
	{inText | inName, hintsOf("memfd:"), false, regexp.MustCompile(`/?memfd:[^\s"'<>:;,)]+`), Memfd},
	{always, hintsOf("pod"), false, regexp.MustCompile(`(\bpods?[/-]?|-pod)[0-9a-fA-F]{8}(?:[-_][0-9a-fA-F]{4}){3}[-_][0-9a-fA-F]{12}`), "${1}" + UID},
	{always, hintsOf("docker", "containerd", "crio", "libpod", "cgroup"), false, regexp.MustCompile(`\b((?:cri-containerd|docker|crio|crio-conmon|libpod|containerd|cgroup)[-:/])[0-9a-f]{64}\b`), "${1}" + ID},
}

// Tokens of services that are known by their form alone.
var (
	tokenHints = hintsOf(
		"gh", "github_pat_", "AKIA", "ASIA", "ABIA", "ACCA", "xox", "xapp-", "glpat-", "gldt-", "glrt-", "dckr_", "npm_", "pypi-", "AIza",
		"ya29.", "sk_live_", "rk_live_", "sk_test_", "sk-", "hf_", "SG.", "hvs.", "dop_v1_", "shpat_", "lin_api_", "dapi", "hooks.slack.com",
	)
	tokens = regexp.MustCompile(`(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}|xox[abeoprs]-[A-Za-z0-9-]{8,}` +
		`|xapp-[A-Za-z0-9-]{8,}|gl(?:pat|dt|rt)-[A-Za-z0-9_-]{16,}|dckr_(?:pat|oat)_[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}` +
		`|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{10,}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|\bsk-[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{20,}` +
		`|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hvs\.[A-Za-z0-9_-]{16,}|dop_v1_[a-f0-9]{40,}|shpat_[a-fA-F0-9]{20,}|lin_api_[A-Za-z0-9]{20,}` +
		`|\bdapi[a-f0-9]{32}\b|hooks\.slack\.com/services/[A-Za-z0-9/_-]{10,})`)
)

// Text takes private data out of free text: addresses, secrets, mail and IP addresses, users, process and pod ids,
// temporary names. It is the last net: structured fields are removed, not scrubbed. Text(Text(s)) == Text(s).
func Text(s string) string { return scrub(s, inText) }

// Name does the same to a name, version or tag, where numbers with dots are no IP addresses, but those with colons are. Name(Name(s)) == Name(s).
func Name(s string) string { return scrub(s, inName) }

// HasToken reports whether s contains a secret that is known by its form alone.
func HasToken(s string) bool {
	return tokenHints.in(s, bytesOf(s)) && tokens.MatchString(s)
}

// IsClean reports whether no rule that holds for every text applies to s: it has no address, token, key or credentials.
func IsClean(s string) bool { return len(s) <= MaxText && once(s, inFact) == s }

// Addresses takes out addresses and nothing else. Addresses(Addresses(s)) == Addresses(s).
func Addresses(s string) string {
	for range 5 {
		before := s
		if s = addresses(s); s == before {
			return s
		}
	}
	return Redacted
}

// scrub applies the rules until nothing changes: what it returns, it leaves alone.
func scrub(s string, where use) string {
	if len(s) > MaxText {
		return Redacted
	}
	s = printable(s)
	for range 5 {
		before := s
		s = once(s, where)
		if s == before {
			return s
		}
	}
	return Redacted
}

func once(s string, where use) string {
	present, folded := bytesOf(s), ""
	foldedPresent := present.fold()
	for i := range rules {
		r := &rules[i]
		switch {
		case r.use&where == 0:
			continue
		case !r.fold:
			if !r.hints.in(s, present) {
				continue
			}
		case !r.hints.possible(foldedPresent):
			continue
		default:
			if folded == "" {
				folded = strings.ToLower(s)
			}
			if !r.hints.in(folded, foldedPresent) {
				continue
			}
		}
		if replaced := r.pattern.ReplaceAllString(s, r.with); replaced != s {
			s, folded = replaced, ""
			present = bytesOf(s)
			foldedPresent = present.fold()
		}
	}
	if where != inFact {
		s = network(s, where != inText)
	}
	return addresses(s)
}

// network replaces IP addresses, the loopback and unspecified ones apart, and hardware addresses. Where numbers with dots
// can be versions, only those with colons are.
func network(s string, versions bool) string {
	if colons := strings.Count(s, ":") >= 2; !colons && (versions || strings.Count(s, ".") < 3) {
		return s
	}
	var out []byte
	done := 0
	for i := 0; i < len(s); {
		if !isHex(s[i]) && !strings.HasPrefix(s[i:], "::") || i > 0 && isWord(s[i-1]) {
			i++
			continue
		}
		end := i
		for end < len(s) && (isHex(s[end]) || s[end] == ':' || s[end] == '.') {
			end++
		}
		token := strings.TrimRight(s[i:end], ".:")
		next := i + len(token)
		// 1.2.3.4-1ubuntu2 is a version, 1.2.3.4:80 and 10.0.0.1/8 are not.
		clean := next == len(s) || !isWord(s[next]) && s[next] != '-' && s[next] != '+' && s[next] != '~' && s[next] != '_'
		if clean && (i == 0 || strings.IndexByte("-_+~@.", s[i-1]) < 0 || s[i-1] == '@') && (!versions || strings.Count(token, ":") >= 2) && isNetwork(token) {
			out = append(append(out, s[done:i]...), Net...)
			done = next
		}
		i = max(end, i+1)
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

func isNetwork(token string) bool {
	if len(token) < 3 || !strings.ContainsAny(token, "0123456789") {
		return false
	}
	if strings.Count(token, ":") == 5 && len(token) == 17 && !strings.Contains(token, "::") {
		return true // a hardware address
	}
	host := token
	if strings.Count(token, ".") == 3 && strings.Count(token, ":") == 1 {
		host, _, _ = strings.Cut(token, ":")
	}
	address, err := netip.ParseAddr(host)
	return err == nil && !address.IsLoopback() && !address.IsUnspecified()
}

// printable makes s valid UTF-8 without control characters other than tab and newline.
func printable(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f || s[i] == '\t' || s[i] == '\n'
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r != '\t' && r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return '?'
		}
		return r
	}, s)
}
