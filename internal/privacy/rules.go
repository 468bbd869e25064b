package privacy

import (
	"bytes"
	"regexp"
	"strings"
)

// use says where a rule applies.
type use uint8

const (
	inText   use = 1 << iota // free text
	inName                   // names, versions, tags
	inPath                   // paths
	inProse                  // texts for people that speak of software: nothing that a word and a colon say
	inFact                   // build-ids, purls: nothing is replaced, they go as they are or not at all
	anywhere = inText | inName | inPath | inProse
	always   = anywhere | inFact
)

// A rule replaces what it matches. It is only tried where one of its hints is in the text: in lower case when fold is set.
type rule struct {
	use   use
	hints hints
	fold  bool
	// keyed rules are tried only where what they look for follows a word that means a secret.
	keyed keyUse
	// within bounds where the pattern is looked for: a command line.
	within  *regexp.Regexp
	pattern *regexp.Regexp
	with    string
	// unless keeps a match.
	unless func(match string) bool
}

// Patterns are put together from these. None of them matches a placeholder.
const (
	// keyword is the segment of a key that makes its value a secret.
	keyword = `(?:[a-z0-9]*(?:password|passwd|passwort|passphrase|passcode|secret|token|credential)s?\d*` +
		`|(?:db|user|smtp|root|admin|ldap|ftp|ssh|key|store)?pass|pwd?|[a-z]*_pwd|jwt|creds?|auth|otp|psk|cookie|sid|[a-z]*sess(?:ion)?[_-]?id` +
		`|[a-z0-9]*(?:api|access|secret|private|account|signing|encryption|auth|master|shared|ssh|session|license|deploy|hmac)[_-]?key(?:[_-]?id)?` +
		`|(?:shared)?access[_-]?signature|(?:amz|goog)[_.-]?(?:signature|credential|security[_-]?token)` +
		`|[a-z0-9]*(?-i:[a-z0-9](?:Pass|Pwd|Auth|Creds?|Cookie|Jwt|Sid)))`
	// key is a whole key, from what goes before it on.
	key = `(?:^|[^a-z0-9])(?:[a-z0-9]+[_.-])*` + keyword + `(?:[_.-][a-z0-9]+){0,3}`
	// upperKey is a key of an environment.
	upperKey = `(?-i:(?:^|[^A-Za-z0-9_])[A-Z0-9_]+_(?:KEY|PAT|PSK|DSN|SALT))`
	// quoted is a value in quotes; in JSON that is a text in JSON, the quotes are escaped.
	quoted = `"(?:[^"\\<]|\\.)*"?|\\"(?:[^"\\<]|\\\\\\"|\\\\|\\[^"\\<])*(?:\\")?|\\+"[^"<]*"?|\$?'(?:[^'\\<]|\\.)*'?`
	// plain is a value without quotes. A backslash takes what follows with it; what can end a value and is followed by more of
	// one does not end it.
	plain = `(?:\\[^"'n<]|[;,|)}\]]?[^\s"'&;,|<>)}\]\\])+`
	value = `(?:` + quoted + `|\[[^\]<]*\]?|\{[^}<]*\}?|` + plain + `)`
	// word is a value on a command line, no flag.
	word = `(?:` + quoted + `|(?:\\.|[^\s"'<|;\\-])(?:\\.|[^\s"'<|;\\])*)`
	// name is a user's in a path, with escaped spaces.
	name = `(?:\\ |[^/\\\s"'<>:;,)])+`
	// windowsName may have spaces where a backslash follows.
	windowsName = `(?:[^\\/"'<>|:*?\r\n]{1,40}(?P<end>[\\/])|[^\\/\s"'<>:;,)]+)`
	uuid        = `[0-9a-fA-F]{8}(?:[-_][0-9a-fA-F]{4}){3}[-_][0-9a-fA-F]{12}`
)

var keyHints = hintsOf(keyWords...)

// keyWords are in every key, in lower case.
var keyWords = []string{"pass", "pw", "secret", "token", "key", "cred", "auth", "sess", "sid", "cookie", "jwt", "otp", "psk", "signature", "_pat", "_dsn", "_salt"}

// keyUse is how a value follows the word that makes it a secret.
type keyUse uint8

const (
	assigned keyUse = 1 << iota // key = value
	named                       // key: value
	inQuotes                    // "key": value
	flagged                     // --key value
	tagged                      // <key>value
)

// keyed is how values may follow words that mean a secret in s, which is in lower case: a superset.
func keyed(s []byte, present byteSet) (found keyUse) {
	for i := range keyHints {
		if !keyHints[i].possible(present) {
			continue
		}
		for at := 0; ; {
			next := keyHints[i].index(s[at:])
			if next < 0 {
				break
			}
			start := at + next
			at = start + len(keyHints[i].text)
			end := at
			for end < len(s) && isKey(s[end]) {
				end++
			}
			for start > 0 && isKey(s[start-1]) {
				start--
			}
			if s[start] == '-' {
				found |= flagged
			}
			if start > 0 && s[start-1] == '<' {
				found |= tagged
			}
			for end < len(s) && end < at+8 && s[end] == ' ' {
				end++
			}
			if end == len(s) {
				continue
			}
			switch s[end] {
			case '=':
				found |= assigned
			case '"', '\'', '\\':
				found |= assigned | inQuotes
			case ':':
				if next := end + 1; next < len(s) && s[next] == '=' {
					found |= assigned
				} else if next == len(s) || !isWord(s[next]) || bytes.IndexByte(s[at:end], '.') < 0 { // but not token.go:12
					found |= named
				}
			case '-':
				if s[end-1] == ' ' {
					found |= assigned
				}
			}
		}
	}
	return found
}

func isKey(c byte) bool { return isWord(c) || c == '_' || c == '-' || c == '.' }

// command is a rule for the flags of a command, to its end.
func command(names string, flags string, hints ...string) rule {
	return rule{
		use: anywhere, hints: hintsOf(hints...),
		within:  regexp.MustCompile(`\b(?:` + names + `)\b[^|;\n]*`),
		pattern: regexp.MustCompile(`(` + flags + `)` + word), with: "${1}" + Secret,
	}
}

func re(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

// rules are tried in this order; all of them are linear (RE2).
var rules = []rule{
	// Secrets that are known by their form.
	{use: always, hints: hintsOf("-----BEGIN"), pattern: re(`-----BEGIN [A-Z0-9 ]{0,40}(?:KEY|CERTIFICATE)[A-Z ]{0,10}-----(?:[^-]|-[^-])*(?:-----END [A-Z0-9 ]{0,50}-----)?`), with: Secret},
	{use: always, hints: hintsOf("eyJ"), pattern: re(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*`), with: Secret},
	{use: always, hints: tokenHints, pattern: tokens, with: Secret},
	{use: anywhere, hints: hintsOf("bot"), pattern: re(`\bbot\d{8,10}:[A-Za-z0-9_-]{30,}|\b\d{8,10}:AA[A-Za-z0-9_-]{32,}`), with: Secret},
	{use: anywhere, hints: hintsOf("sig="), pattern: re(`([?&;]sig=)[A-Za-z0-9%+/=_-]{16,}`), with: "${1}" + Secret},

	// Credentials in URLs and connection strings.
	{use: always, hints: hintsOf("://"), pattern: re(`([A-Za-z][A-Za-z0-9+.-]{1,20}://)(?:[^\s/:@"'<>]*:\d*[^\d/\s@"'<>][^\s@"'<>]*(?:@[^\s/@"'<>.]+)*|[^\s/"'<>]+)@(?:sha\d+:)?`), with: "${1}" + Secret + "@", unless: isPinned},
	{use: anywhere, hints: hintsOf("@"), pattern: re(`((?:^|[\s"'=(])[\w.%+-]+:)[^\s/:@"'<>][^\s/@"'<>]*(@(?:(?:tcp|unix|udp)\(|localhost\b|\[|` + Net + `|[A-Za-z0-9.-]+:\d|[A-Za-z0-9.-]+/))`), with: "${1}" + Secret + "${2}", unless: isDigestReference},

	// Headers.
	{use: inText | inName | inPath, hints: hintsOf("authorization"), fold: true, pattern: re(`(?i)(\b(?:proxy-)?authorization\\*["']?\s?[:=]\s*\\*["']?(?:(?:bearer|basic|digest|token|negotiate|apikey|aws4-hmac-sha256)\s+)?)[^\s"'\\<][^"'\n\\<]*`), with: "${1}" + Secret, unless: isScheme},
	{use: anywhere, hints: hintsOf("bearer ", "basic "), fold: true, pattern: re(`(?i)\b(bearer|basic) +[A-Za-z0-9+/._~=-]{6,}`), with: "${1} " + Secret, unless: endsInWord},
	{use: inText | inName | inPath, hints: hintsOf("cookie"), fold: true, pattern: re(`(?i)(\b(?:set-)?cookie\\*["']?\s?:\s*\\*["']?)[^\s"'\\<][^"'\n\\<]*`), with: "${1}" + Secret},

	// Keys with values.
	{use: always, hints: keyHints, fold: true, keyed: assigned, pattern: re(`(?i)((?:` + key + `|` + upperKey + `)\\*["']?\s{0,3}(?:=>?|:=|->)\s{0,3})` + value), with: "${1}" + Secret, unless: isCount},
	{use: inText | inName | inPath, hints: keyHints, fold: true, keyed: named, pattern: re(`(?i)(` + key + `\s?:\s{1,3})` + value), with: "${1}" + Secret, unless: isCount},
	{use: anywhere, hints: keyHints, fold: true, keyed: inQuotes, pattern: re(`(?i)(` + key + `\\*["']\s?:\s{0,3})` + value), with: "${1}" + Secret, unless: isCount},
	{use: inText, hints: keyHints, fold: true, keyed: named, pattern: re(`(?i)((?:^|[\s"',;{(\[/-])(?:[a-z0-9]+[_-])*(?:[a-z0-9]*(?:password|passwd|passphrase|passcode|secret)|pwd|pass|(?:api|access|secret)[_-]?key|(?:access|auth|api)[_-]?token):)(?:` + quoted + `|[^\s:/"'<>&;,|)}\]][^\s"'&;,|<>)}\]]*)`), with: "${1}" + Secret},
	{use: anywhere, hints: keyHints, fold: true, keyed: inQuotes, pattern: re(`(?i)("(?:key|name)\\*"\s*:\s*\\*"(?:[a-z0-9]+[_.-])*` + keyword + `(?:[_.-][a-z0-9]+){0,3}\\*"\s*,\s*\\*"value\\*"\s*:\s*)(?:` + quoted + `)`), with: "${1}" + Secret},
	{use: anywhere, hints: keyHints, fold: true, keyed: flagged, pattern: re(`(?i)((?:^|[\s"'\[,(])--?(?:[a-z0-9]+[_-])*` + keyword + `(?:[_-][a-z0-9]+){0,2}(?:\s+|\\*["']\s*,\s*))` + word), with: "${1}" + Secret},
	{use: anywhere, hints: keyHints, fold: true, keyed: tagged, pattern: re(`(?i)(<[a-z_.:-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?)[a-z0-9_.-]*(?:\s[^<>]*)?>)[^<]+(</)`), with: "${1}" + Secret + "${2}"},
	{use: anywhere, hints: hintsOf("identified by", "password '", `password "`, "login "), fold: true, pattern: re(`(?i)(\b(?:identified\s+by|password)\s+)(?:'[^'<]*'?|"[^"<]*"?)`), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("login "), pattern: re(`(\blogin\s+\S+\s+password\s+)[^\s<]+`), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("aws_secret_access_key", "_authToken", "sudo"), pattern: re(`((?:aws_secret_access_key|_authToken)\s+|\becho\s+(?:-n\s+)?)` + word + `(\s*\|\s*sudo|\s|$)`), with: "${1}" + Secret + "${2}", unless: isNoSecretEcho},

	// Passwords of commands.
	command(`mysql\w*|mariadb\w*`, `\s-p\s?`, "mysql", "mariadb"),
	command(`sshpass|7z\w?|rar|unrar|mongo\w*|cqlsh|svn|rdesktop|evil-winrm`, `\s-h?p\s*`, "sshpass", "7z", "rar ", "mongo", "cqlsh", "svn ", "rdesktop", "evil-winrm"),
	command(`(?:docker|podman|nerdctl|buildah|skopeo|helm|oras|crane|az)\s[^|;\n]*\blogin`, `\s-p\s*`, " login "),
	command(`redis-cli`, `\s(?:-a|--pass)\s*`, "redis-cli"),
	command(`openssl`, `\s-(?:k|K|pass(?:in|out)?|passphrase|macopt)\s+`, "openssl"),
	command(`ldap\w+`, `\s-w\s*`, "ldap"),
	command(`zip|unzip|sqlcmd|bcp|isql|osql|tsql|ipmitool`, `\s-P\s*`, "zip ", "sqlcmd", "bcp ", "sql ", "ipmitool"),
	command(`snmp\w+`, `\s-[AXc]\s+`, "snmp"),
	command(`vault\s+login|(?:rabbitmqctl\s+(?:add_user|change_password)|htpasswd\s+-\w*b\w*(?:\s+\S+)?)\s+\S+`, `^\S+\s+login\s+|^rabbitmqctl\s+\S+\s+\S+\s+|^htpasswd\s+-\w+(?:\s+\S+)?\s+\S+\s+`, "vault ", "rabbitmqctl", "htpasswd"),
	command(`smbclient|rpcclient|smbmap|net|wmic|winexe`, `\s-U\s*["']?[^\s%<]+%`, " -U"),
	command(`xfreerdp\w*|wfreerdp|mstsc`, `\s/p:`, "freerdp", "mstsc"),
	{use: anywhere, hints: hintsOf(" -u", " --user", " --proxy-user"), pattern: re(`(\s(?:-u|--user|--proxy-user|-U)[ =]?)(?:'[^':<]+:[^'<]*'?|"[^":<]+:[^"<]*"?|[^\s:<"']+:[^\s<]+)`), with: "${1}" + Secret},

	// People and places.
	{use: inText | inName | inProse | inPath, hints: hintsOf("@", "%40"), pattern: re(`(?:[A-Za-z0-9._%+\x{80}-\x{10ffff}-]+|"[^"\s<>]+")(?:@|%40)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b`), with: Mail, unless: isVersioned},
	{use: inText, hints: hintsOf("USER=", "LOGNAME=", "USERNAME="), pattern: re(`((?:^|[^A-Za-z0-9])(?:SUDO_)?(?:USER|LOGNAME|USERNAME)=)[^\s"'<>&;,?]+`), with: "${1}" + User},
	{use: inText, hints: hintsOf("HOSTNAME="), pattern: re(`((?:^|[^A-Za-z0-9_])HOSTNAME=)[^\s"'<>&;,?]+`), with: "${1}<host>"},
	{use: inText, hints: hintsOf("ip-"), pattern: re(`\bip-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}\b`), with: Net},
	{use: inText | inName | inProse, hints: hintsOf("/root"), pattern: re(`(^|[\s"'=:(,])(?:/var)?/root(/|$|[\s"':;,)])`), with: "${1}/home/" + User + "${2}"},
	{use: inText | inName | inProse, hints: hintsOf("/home/", "/Users/", "/media/", "/homes/"), pattern: re(`(/(?:homes?|Users|media)/+)` + name), with: "${1}" + User},
	{use: inText | inName | inProse, hints: hintsOf("mail/", "/cron"), pattern: re(`(/var/(?:spool/)?mail/|/var/spool/cron/(?:(?:crontabs|tabs)/)?)` + name), with: "${1}" + User},
	{use: inText | inName | inProse, hints: hintsOf(`\users\`, "/users/", `\documents and settings\`, `\homes\`), fold: true, pattern: re(`(?i)((?:\b[a-z]:[\\/]+|/(?:mnt/|cygdrive/)?[a-z]/|\\)(?:users|documents and settings|homes)[\\/]+)` + windowsName), with: "${1}" + User + "${end}"},
	{use: inText | inName | inProse, hints: hintsOf("~"), pattern: re(`(^|[\s"'=]|[^:]:)~[A-Za-z_][A-Za-z0-9_.-]*`), with: "${1}~" + User},
	{use: always, hints: hintsOf("/user/"), pattern: re(`(/run/user/)\d+`), with: "${1}" + UID},
	{use: inText | inName | inProse | inPath, hints: hintsOf("user-", "user@"), pattern: re(`(\buser[-@])\d+(\.(?:slice|service))`), with: "${1}" + UID + "${2}"},
	{use: always, hints: hintsOf("/proc/"), pattern: re(`(/proc/)\d+(?:/task/\d+)?`), with: "${1}" + PID},

	// Names that mean something only for a moment or inside one process.
	{use: inText | inName | inProse, hints: hintsOf("/tmp/", "/dev/shm/", "/run/shm/", "/var/folders/"), pattern: re(`(?:/private)?(?:(?:/var|/usr)?/tmp/|/dev/shm/|/run/shm/|/var/folders/)` + name + `(?:/(?:` + name + `)?)*`), with: Temp},
	{use: inText | inName | inProse, hints: hintsOf(`temp\`, `tmp\`, "temp/", "tmp/"), fold: true, pattern: re(`(?i)\b[a-z]:[\\/](?:[^\s"'<>:;,)]*[\\/])?te?mp[\\/][^\s"'<>:;,)]+|(` + User + `[\\/]+appdata[\\/]+local)[\\/]+temp[\\/][^\s"'<>:;,)]+`), with: "${1}" + Temp},
	{use: inText | inName | inProse, hints: hintsOf("memfd:"), pattern: re(`/?memfd:(?:[^\n"'<>:]*? \(deleted\)|[^\s"'<>;,)]+)`), with: Memfd},

	// Pods and containers.
	{use: always, hints: hintsOf("pod"), pattern: re(`(\bpods?[/-]?|-pod)(?:` + uuid + `|[0-9a-f]{32}\b)`), with: "${1}" + UID},
	{use: inText | inName | inProse, hints: hintsOf("pod"), fold: true, pattern: re(`(?i)(\bpod[ _.-]?(?:u?id)?\\*["']?\s?[:=]?\s?\\*["']?)` + uuid), with: "${1}" + UID},
	{use: always, hints: hintsOf("docker", "containerd", "cri-o", "crio", "libpod", "cgroup"), pattern: re(`\b((?:cri-containerd|cri-o|docker|crio|crio-conmon|libpod(?:-conmon)?|containerd|cgroup)(?:[-:/]|://))[0-9a-f]{64}\b`), with: "${1}" + ID},
	{use: inText | inName | inProse, hints: hintsOf("container", "sandbox", "/cgroup/", "overlay", "k8s.io/", "moby/", "<uid>/"), fold: true, pattern: re(`(?i)((?:/(?:overlay-)?containers|/sandboxes|/overlay2?|/k8s\.io|/moby|pod<uid>|/cgroup/[^\s"'<>]{1,128})/|\b(?:container|sandbox)[ _.-]?(?:id)?\\*["']?\s?[:=]?\s?\\*["']?)(?:[0-9a-f]{64}|[0-9a-f]{12})\b`), with: "${1}" + ID},
}

// isScheme reports whether match is a header without more than the name of a scheme.
func isScheme(match string) bool {
	switch last := strings.ToLower(match[strings.LastIndexAny(strings.TrimRight(match, " "), " :=\"'")+1:]); strings.TrimRight(last, " ") {
	case "bearer", "basic", "digest", "token", "negotiate", "apikey", "aws4-hmac-sha256":
		return true
	}
	return false
}

// endsInWord reports whether match ends in a word of lower-case letters, the first aside: basic authentication.
func endsInWord(match string) bool {
	for i, c := range []byte(match[strings.LastIndexByte(match, ' ')+1:]) {
		if i > 0 && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// isPinned reports whether match is an image with a digest: docker-pullable://nginx:1.25@sha256:.
func isPinned(match string) bool { return strings.HasSuffix(match, ":") }

// isDigestReference reports whether match ends in what goes before a digest: image:tag@sha256:.
func isDigestReference(match string) bool {
	_, host, _ := strings.Cut(match, "@")
	return strings.HasPrefix(host, "sha")
}

// isVersioned reports whether match is a module or package with its version, no mail address: net@v0.17.0-rc.a.
func isVersioned(match string) bool {
	_, domain, found := strings.Cut(match, "@")
	if !found {
		return false
	}
	domain = strings.TrimPrefix(domain, "v")
	major, rest, _ := strings.Cut(domain, ".")
	return isDigits(major) && rest != "" && isDigit(rest[0])
}

// isCount reports whether match is a number of tokens: max_tokens=4096.
func isCount(match string) bool {
	at := strings.LastIndexAny(match, "=: \t")
	return isDigits(match[at+1:]) && len(match)-at-1 <= 7 && strings.Contains(strings.ToLower(match[:at+1]), "tokens")
}

// isNoSecretEcho reports whether match is an echo whose text goes to no sudo.
func isNoSecretEcho(match string) bool {
	return strings.HasPrefix(match, "echo") && !strings.HasSuffix(match, "sudo")
}

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// Tokens of services that are known by their form alone.
var (
	tokenHints = hintsOf(
		"gh", "github_pat_", "AKIA", "ASIA", "ABIA", "ACCA", "xox", "xapp-", "glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "dckr_", "npm_", "pypi-", "AIza",
		"ya29.", "k_live_", "k_test_", "whsec_", "sk-", "hf_", "SG.", "hvs.", "hvb.", "do", "shp", "lin_api_", "dapi", "hooks.slack.com", "discord",
		"GOCSPX-", "sq0", "rubygems_", "ATATT3", "ATCTT3", "dp.", "atlasv1.", "glsa_", "glc_", "NRAK-", "sntry", "PMAK-", "pscale_", "ntn_", "AGE-SECRET-KEY-1",
		"tskey-", "dt0c01.", "FlyV1", "EAACEdEose0cBA", "key-", "SK", "LTAI", "AKID",
	)
	tokens = re(`(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}|xox[abeoprs]-[A-Za-z0-9-]{8,}` +
		`|xapp-[A-Za-z0-9-]{8,}|gl(?:pat|dt|rt|ptt|cbt|soat)-[A-Za-z0-9_-]{16,}|dckr_(?:pat|oat)_[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}` +
		`|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{10,}|[psr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{20,}` +
		`|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hv[sb]\.[A-Za-z0-9_-]{16,}|do[por]_v1_[a-f0-9]{40,}|shp(?:at|ss|ca|pa)_[a-fA-F0-9]{20,}|lin_api_[A-Za-z0-9]{20,}` +
		`|\bdapi[a-f0-9]{32}\b|hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{10,}|discord(?:app)?\.com/api/webhooks/[A-Za-z0-9/_-]{10,}` +
		`|GOCSPX-[A-Za-z0-9_-]{20,}|sq0(?:atp|csp)-[A-Za-z0-9_-]{20,}|rubygems_[a-f0-9]{40,}|AT[AC]TT3[A-Za-z0-9_=-]{30,}|\bdp\.(?:pt|st|ct|sa)\.[A-Za-z0-9_.-]{30,}` +
		`|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,}|gl(?:sa|c)_[A-Za-z0-9_=+/]{30,}|NRAK-[A-Z0-9]{20,}|sntry[su]_[A-Za-z0-9_=+/]{30,}|PMAK-[a-f0-9-]{30,}` +
		`|pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{20,}|\bntn_[A-Za-z0-9]{30,}|AGE-SECRET-KEY-1[A-Z0-9]{30,}|tskey-[a-z]+-[A-Za-z0-9-]{10,}|dt0c01\.[A-Z0-9]{20,}\.[A-Z0-9]{30,}` +
		`|FlyV1 [A-Za-z0-9_,=+/-]{30,}|EAACEdEose0cBA[A-Za-z0-9]{10,}|\bkey-[a-f0-9]{32}\b|\bSK[a-f0-9]{32}\b|\bLTAI[A-Za-z0-9]{16,}|\bAKID[A-Za-z0-9]{30,})`)
)
