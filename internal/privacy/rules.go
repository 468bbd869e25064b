package privacy

import (
	"bytes"
	"regexp"
	"slices"
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
	// when says whether to look at a text that has a hint.
	when func(s string) bool
	// unless keeps a match.
	unless func(match string) bool
	// none keeps what the first group matches and what follows it.
	none func(key, value string) bool
}

// Patterns are put together from these. None of them matches a placeholder.
const (
	// keyword is the segment of a key that makes its value a secret.
	keyword = `(?:[a-z0-9]*(?:password|passwd|passwort|passphrase|passcode|secret|token|credential)s?\d*` +
		`|(?:db|user|smtp|root|admin|ldap|ftp|ssh|key|store|trust|require|pg|my|mail|login|auth|become|bind|proxy|wifi|app|enc|sql|old|new|http|rpc|vnc)?(?:pass|pwd)|pw|[a-z]*_pwd|jwt|creds?|auth|otp|psk|cookie|sid|[a-z]*sess(?:ion)?[_-]?id` +
		`|[a-z0-9]*(?:api|access|secret|private|account|signing|encryption|auth|master|shared|ssh|session|license|deploy|hmac|subscription|functions|webhook|storage|unseal|sse-c)[_ -]?key(?:[_-]?id)?` +
		`|(?:shared)?access[_-]?signature|(?:amz|goog)[_.-]?(?:signature|credential|security[_-]?token)` +
		`|[a-z0-9]*(?-i:[a-z0-9](?:Pass|Pwd|Auth|Creds?|Cookie|Jwt|Sid)))`
	// key is a whole key, from what goes before it on.
	key = `(?:^|[^a-z0-9])(?:[a-z0-9]+[_.-])*` + keyword + `(?:[_.-][a-z0-9]+){0,3}`
	// upperKey is a key of an environment.
	upperKey = `(?-i:(?:^|[^A-Za-z0-9_])[A-Z0-9_]+_(?:KEY|PAT|PSK|DSN|SALT))`
	// quoted is a value in quotes; in JSON that is a text in JSON, the quotes are escaped.
	quoted = `"""(?:[^"<]|"[^"]|""[^"])*(?:""")?|"(?:[^"\\<]|\\.)*"?|\\"(?:[^"\\<]|\\\\\\"|\\\\|\\[^"\\<])*(?:\\")?|\\+"[^"<]*"?|\$?'(?:[^'\\<]|\\.)*'|\$?'(?:[^'\\<]|\\.)+`
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
	called                      // key("value")
	typed                       // key type = value
	paired                      // name: key, value: value
)

// keyed is how values may follow words that mean a secret in s, which is in lower case: a superset.
func keyed(s []byte, present *pairSet) (found keyUse) {
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
			if start > 0 && (s[start-1] == '<' || s[start-1] == ':') {
				found |= tagged
			}
			if isTyped(s[end:]) {
				found |= typed
			}
			if isNamed(s[:start]) {
				found |= paired
			}
			for end < len(s) && end < at+8 && (s[end] == ' ' || s[end] == '\t') {
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
			case '(':
				found |= called
			}
		}
	}
	return found
}

// isTyped reports whether s goes on with a type and an equals sign.
func isTyped(s []byte) bool {
	i := 0
	for i < len(s) && i < 4 && (isSpace(s[i]) || s[i] == ':') {
		i++
	}
	from := i
	for i < len(s) && i < from+20 && (s[i] >= 'a' && s[i] <= 'z' || s[i] == '*' || s[i] == '&') {
		i++
	}
	if from == 0 || i == from {
		return false
	}
	if i+1 < len(s) && isSpace(s[i]) {
		i++
	}
	return i < len(s) && s[i] == '='
}

// isNamed reports whether s ends in what says that a name follows: "name": ".
func isNamed(s []byte) bool {
	name := bytes.TrimRight(s[max(0, len(s)-16):], " \t\n:=\\\"'")
	return bytes.HasSuffix(name, []byte("name")) || bytes.HasSuffix(name, []byte("key"))
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

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
	{use: always, hints: hintsOf("---BEGIN ", "--- BEGIN "), pattern: re(`-----?(?:BEGIN| BEGIN) [A-Z0-9 ]{0,40}(?:KEY|CERTIFICATE)[A-Z ]{0,10}-----?(?:[^-]|-[^-])*(?:-----? ?END [A-Z0-9 ]{0,50}-----?)?`), with: Secret},
	{use: always, hints: hintsOf("eyJ"), pattern: re(`eyJ[A-Za-z0-9_-]{8,}\.(?:\.[A-Za-z0-9_-]|[A-Za-z0-9_-]{4})[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)*`), with: Secret},
	{use: always, hints: tokenHints, pattern: tokens, with: Secret},
	{use: always, hints: hintsOf("."), when: hasDots, pattern: re(`\b(?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){5,6}[A-Za-z0-9]{0,4}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}\b`), with: Secret}, // Discord: digits in base64
	{use: anywhere, hints: hintsOf("bot"), pattern: re(`\bbot\d{8,10}:[A-Za-z0-9_-]{30,}|\b\d{8,10}:AA[A-Za-z0-9_-]{32,}`), with: Secret},
	{use: anywhere, hints: hintsOf("sig=", "ignature="), pattern: re(`([?&; ](?:sig|[Ss]ignature)=)[A-Za-z0-9%+/=_~-]{16,}`), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("code=", "ticket=", "assertion=", "SAMLRe", "verifier="), pattern: re(`([?&](?:code|ticket|assertion|SAMLResponse|SAMLRequest|code_verifier)=)[A-Za-z0-9%+/=_.~-]{10,}`), with: "${1}" + Secret, unless: hasNoDigit},
	{use: always, hints: hintsOf("$1$", "$2", "$5$", "$6$", "$y$", "$apr1$", "$argon2"), pattern: re(`(?:^|[^A-Za-z0-9_$])\$(?:(?:1|apr1)\$[A-Za-z0-9./]{0,8}\$[A-Za-z0-9./]{22}|2[abxy]?\$\d\d\$[A-Za-z0-9./]{50,}|[56]\$(?:rounds=\d+\$)?[^$\s]{0,16}\$[A-Za-z0-9./]{22,}|y\$[^$\s]{1,16}\$[^$\s]{1,64}\$[A-Za-z0-9./]{22,}|argon2i?d?\$[A-Za-z0-9$=,+/]{20,})`), with: Secret},

	// Credentials in URLs and connection strings.
	{use: always, hints: hintsOf("://"), pattern: re(`([A-Za-z][A-Za-z0-9+.-]{1,20}://)(?:(?:` + Secret + `|[^\s/:@"'<>]*):\d*[^\d/\s@"'<>][^\s@"'<>]*(?:@[^\s/@"'<>.]+)*|[^\s/"'<>]+)@(?:sha\d+:)?`), with: "${1}" + Secret + "@", unless: isPinned},
	{use: anywhere, hints: hintsOf("@"), pattern: re(`((?:^|[\s"'=(])[\w.%+-]+:)[^\s/:@"'<>][^\s/@"'<>]*(@(?:(?:tcp|unix|udp)?\(|localhost\b|\[|` + Net + `|[A-Za-z0-9.-]+:\d|[A-Za-z0-9.-]+/))`), with: "${1}" + Secret + "${2}", unless: isDigestReference},

	// Headers.
	{use: inText | inName | inPath, hints: hintsOf("authorization"), fold: true, pattern: re(`(?i)(\b(?:proxy-)?authorization\\*["']?\s?[:=]\s*\\*["']?(?:(?:bearer|basic|digest|token|negotiate|apikey|aws4-hmac-sha256)\s+)?)[^\s"'\\<][^"'\n\\<]*`), with: "${1}" + Secret, unless: isScheme},
	{use: anywhere, hints: hintsOf("bearer ", "basic "), fold: true, pattern: re(`(?i)\b(bearer|basic) +[A-Za-z0-9+/._~=-]{6,}`), with: "${1} " + Secret, unless: endsInWord},
	{use: inText | inName | inPath, hints: hintsOf("cookie"), fold: true, pattern: re(`(?i)(\b(?:set-)?cookie\\*["']?\s?:\s*\\*["']?)[^\s"'\\<][^"'\n\\<]*`), with: "${1}" + Secret},

	// Keys with values.
	{use: always, fold: true, keyed: assigned, pattern: re(`(?i)((?:` + key + `|` + upperKey + `)\\*["']?\s{0,3}(?:=>?|:=|->)\s{0,3}(?:convertto-securestring\s+(?:-string\s+)?)?)` + value), with: "${1}" + Secret, none: isNoSecret},
	{use: inText | inName | inPath, fold: true, keyed: typed, pattern: re(`(?i)(` + key + `\s?[\s:]\s?[&*a-z]{1,20}\s?=\s?)(?:` + quoted + `)`), with: "${1}" + Secret},
	{use: anywhere, fold: true, keyed: called, pattern: re(`(?i)((?:^|[^a-z0-9])(?:[a-z0-9]+[_.-])*(?:set|with|use)?[_-]?(?:password|passphrase|passwd|secret|token|api_?key)s?\s?\(\s*)(?:` + quoted + `)`), with: "${1}" + Secret},
	{use: inText | inName | inPath, fold: true, keyed: named, pattern: re(`(?i)(` + key + `\s?:(?:\s+[|>][+-]?\d?(?:[ \t]*\n[ \t]*|\s{1,12})|\s{1,3}|\s*\n\s{1,12}))` + value), with: "${1}" + Secret, none: isNoSecret},
	{use: inText | inName, hints: hintsOf(" is:"), fold: true, pattern: re(`(?i)(\b(?:password|passphrase|passcode|secret|token|key) is:\s*)` + word), with: "${1}" + Secret},
	{use: anywhere, fold: true, keyed: inQuotes, pattern: re(`(?i)(` + key + `\\*["']\s?:\s{0,3})` + value), with: "${1}" + Secret, none: isNoSecret},
	{use: inText, fold: true, keyed: named, pattern: re(`(?i)((?:^|[\s"',;{(\[/-])(?:[a-z0-9]+[_-])*(?:[a-z0-9]*(?:password|passwd|passphrase|passcode|secret)|pwd|pass|(?:api|access|secret)[_-]?key|(?:[a-z0-9]+[_-]|access|auth|api)token):)(?:` + quoted + `|[^\s:/"'<>&;,|)}\]][^\s"'&;,|<>)}\]]*)`), with: "${1}" + Secret},
	{use: inText, fold: true, keyed: named, pattern: re(`(?i)((?:^|[\s"',;{(\[/-])token:)[^\s:/"'<>&;,|)}\]][^\s"'&;,|<>)}\]]{7,}`), with: "${1}" + Secret, unless: hasNoDigit},
	{use: anywhere, hints: hintsOf("value"), fold: true, keyed: paired, pattern: re(`(?i)(\b(?:key|name)\\*["']?\s*[:=]\s*\\*["']?(?:[a-z0-9]+[_.-])*` + keyword + `(?:[_.-][a-z0-9]+){0,3}\\*["']?[\s,]+\\*["']?value\\*["']?\s*[:=]\s*)` + value), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("value"), fold: true, keyed: paired, pattern: re(`(?i)(\bvalue\\*["']?\s*[:=]\s*)(?:` + quoted + `)([\s,]+\\*["']?(?:key|name)\\*["']?\s*[:=]\s*\\*["']?(?:[a-z0-9]+[_.-])*` + keyword + `(?:[_.-][a-z0-9]+){0,3}\\*["'])`), with: "${1}" + Secret + "${2}"},
	{use: anywhere, fold: true, keyed: flagged, pattern: re(`(?i)((?:^|[\s"'\[,(])--?(?:[a-z0-9]+[_-])*` + keyword + `(?:[_-][a-z0-9]+){0,2}(?:\s+|\\*["']\s*,\s*))` + word), with: "${1}" + Secret},
	{use: anywhere, fold: true, keyed: tagged, pattern: re(`(?i)(<[a-z_.:-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?)[a-z0-9_.-]*(?:\s[^<>]*)?>)(?:<!\[cdata\[)?[^<]+(</)`), with: "${1}" + Secret + "${2}"},
	{use: anywhere, hints: hintsOf("</"), fold: true, keyed: inQuotes, pattern: re(`(?i)(<[a-z][^<>]*["'](?:[a-z0-9]+[_.-])*` + keyword + `["'][^<>]*>)(?:<!\[cdata\[)?[^<]+(</)`), with: "${1}" + Secret + "${2}"},
	{use: anywhere, hints: hintsOf("identified ", "password '", `password "`, "password for "), fold: true, pattern: re(`(?i)(\b(?:identified\s+(?:with\s+\S+\s+)?(?:by|as)(?:\s+password)?|password(?:\s+for\s+\S+\s*=)?)\s+)(?:'[^'<]+'?|"[^"<]+"?)`), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("login "), pattern: re(`(\blogin\s+\S+\s+password\s+)[^\s<]+`), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("aws_secret_access_key", "_authToken", "requirepass", "masterauth", "setx", "nmcli"), pattern: re(`((?:aws_secret_access_key|_authToken|requirepass|masterauth|\bsetx\s+\w*(?:KEY|TOKEN|SECRET|PASS\w*)|\bnmcli\s[^|;\n]*\spassword)\s+)` + word), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("echo ", "printf "), pattern: re(`(\b(?:echo|printf)\s+(?:-\w+\s+|["']?%s(?:\\\\?n)?["']?\s+)?)` + word + `(\s*\|\s*(?:sudo|(?:ch|smb)?passwd|kinit|cryptsetup|gpg2?)\b|\s*\|[^|\n]*\s--?(?:password-stdin|stdin|with-token|passphrase-fd)\b)`), with: "${1}" + Secret + "${2}"},
	{use: anywhere, hints: hintsOf("<<<"), pattern: re(`(\b(?:passwd|smbpasswd|chpasswd|kinit|cryptsetup|(?:password-)?stdin|with-token)\b[^|\n<]*<<<\s*)` + word), with: "${1}" + Secret},
	{use: anywhere, hints: hintsOf("sqlplus", "expdp", "impdp", "sqlldr", "rman ", "oracle:"), pattern: re(`((?:\b(?:sqlplus|expdp|impdp|sqlldr|rman)\s+(?:[-\w=]+\s+)*["']?|jdbc:oracle:\w+:)[\w$.]+/)[^\s@/"'<][^\s@"'<]*`), with: "${1}" + Secret},

	// Passwords of commands.
	command(`mysql\w*|mariadb\w*`, `\s-p\s?`, "mysql", "mariadb"),
	command(`sshpass|7z\w?|rar|unrar|mongo\w*|cqlsh|svn|rdesktop|evil-winrm|(?:user|group)(?:add|mod)|twine|psexec\w*|beeline|ncftp\w*|rabbitmqadmin`, `\s-h?p\s*`, "sshpass", "7z", "rar ", "mongo", "cqlsh", "svn ", "rdesktop", "evil-winrm", "useradd", "usermod", "groupadd", "groupmod", "twine", "sexec", "beeline", "ncftp", "rabbitmqadmin"),
	command(`(?:docker|podman|nerdctl|buildah|skopeo|helm|oras|crane|az)\s[^|;\n]*\blogin`, `\s-p\s*`, " login "),
	command(`redis-cli`, `\s(?:-a|--pass)\s*|\s(?:AUTH|auth)\s+(?:\S+\s+)?`, "redis-cli"),
	command(`curl`, `\s(?:-b|--cookie)\s*`, "curl"),
	command(`(?:aws\s+ssm|gh\s+secret)`, `\s(?:--value|--body|-b)[ =]`, "aws ssm", "gh secret"),
	command(`vault\s+(?:kv\s+)?(?:put|write|patch)|create\s+secret|secrets?\s+set|config:set`, `\s(?:--from-literal[= ])?\w[\w.-]*=`, "vault ", "create secret", "secret set", "secrets set", "config:set"),
	command(`net\s+use|lftp`, `\s/user:\S+\s+|\s-u\s*[^\s,]+,`, "net use", "lftp"),
	command(`net\s+user\s+\w+|cargo\s+login|wpa_passphrase\s+\S+`, `^net\s+user\s+\w+\s+|^cargo\s+login\s+|^wpa_passphrase\s+\S+\s+`, "net user", "cargo login", "wpa_passphrase"),
	command(`schtasks|signtool`, `\s/r?p\s+`, "schtasks", "signtool"),
	command(`iwconfig`, `\skey\s+`, "iwconfig"),
	command(`mvn|sonar-scanner|gradlew?`, `\s-Dsonar\.login=`, "sonar.login"),
	command(`openssl`, `\s-(?:k|K|pass(?:in|out)?|passphrase|macopt)\s+`, "openssl"),
	command(`ldap\w+`, `\s-w\s*`, "ldap"),
	command(`zip|unzip|sqlcmd|bcp|isql|osql|tsql|ipmitool|mosquit\w+`, `\s-P\s*`, "mosquit", "zip ", "sqlcmd", "bcp ", "sql ", "ipmitool"),
	command(`snmp\w+`, `\s-[AXc]\s+`, "snmp"),
	command(`vault\s+login|(?:rabbitmqctl\s+(?:add_user|change_password)|htpasswd\s+-\w*b\w*(?:\s+\S+)?)\s+\S+`, `^\S+\s+login\s+|^rabbitmqctl\s+\S+\s+\S+\s+|^htpasswd\s+-\w+(?:\s+\S+)?\s+\S+\s+`, "vault ", "rabbitmqctl", "htpasswd"),
	command(`smbclient|rpcclient|smbmap|net|wmic|winexe`, `\s-U\s*["']?[^\s%<]+%`, " -U"),
	command(`xfreerdp\w*|wfreerdp|mstsc`, `\s/p:`, "freerdp", "mstsc"),
	{use: anywhere, hints: hintsOf(" -u", " --user", " --proxy-user", " -U", " --auth", " --cert", " --creds"), pattern: re(`(\s(?:-u|--user|--proxy-user|-U|--auth|--cert|--creds)[ =]?)(?:'[^':<]+:[^'<]*'?|"[^":<]+:[^"<]*"?|[^\s:<"']+:[^\s<]+)`), with: "${1}" + Secret, unless: isNoLogin},
	{use: anywhere, hints: hintsOf("curl", "http ", "https ", "xh "), pattern: re(`(\b(?:curl|https?|xh)\s(?:[^|;\n]*\s)?-(?:[A-Za-z]{0,8}u|a|E)[ =]?)(?:'[^':<]+:[^'<]*'?|"[^":<]+:[^"<]*"?|[^\s:<"']+:[^\s<]+)`), with: "${1}" + Secret, unless: isNoLogin},

	// People and places.
	{use: inText | inName | inProse | inPath, hints: hintsOf("@", "%40"), pattern: re(`(?:[A-Za-z0-9._%+\x{80}-\x{10ffff}-]+|"[^"\s<>]+")(?:@|%40)[A-Za-z0-9\x{80}-\x{10ffff}-]+(?:\.[A-Za-z0-9\x{80}-\x{10ffff}-]+)*\.(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]+|[\x{80}-\x{10ffff}]{2,24})\b`), with: Mail, unless: isVersioned},
	{use: inText, hints: hintsOf("USER=", "LOGNAME=", "USERNAME="), pattern: re(`((?:^|[^A-Za-z0-9])(?:SUDO_)?(?:USER|LOGNAME|USERNAME)=)[^\s"'<>&;,?]+`), with: "${1}" + User},
	{use: inText, hints: hintsOf("HOSTNAME="), pattern: re(`((?:^|[^A-Za-z0-9_])HOSTNAME=)[^\s"'<>&;,?]+`), with: "${1}<host>"},
	{use: inText, hints: hintsOf("ip-", "ec2-"), pattern: re(`\b(?:ip|ec2)-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}\b`), with: Net},
	{use: inText, hints: hintsOf("mac", "ether", "hw", "address"), fold: true, pattern: re(`(?i)(\b(?:mac|hw|ether|address)[a-z_]*\b[\s.:="']{1,16})(?:[0-9a-f]{2}(?:-[0-9a-f]{2}){5}|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2})\b`), with: "${1}" + Net},
	{use: inText | inName | inProse, hints: hintsOf("/root"), pattern: re(`(^|[^A-Za-z0-9_/.<>~%$}-]|\s-[A-Z])(?:/var)?/root(/|$|[\s"':;,)\]>])`), with: "${1}/home/" + User + "${2}"},
	{use: inText | inName | inProse, hints: hintsOf("/home/", "/Users/", "/media/", "/homes/"), pattern: re(`(/(?:homes?|Users|media)/(?:\.?/)*)` + name + `(?:\\` + name + `)?`), with: "${1}" + User},
	{use: inText | inName | inProse, hints: hintsOf("mail/", "/cron"), pattern: re(`(/var/(?:spool/)?mail/|/var/spool/cron/(?:(?:crontabs|tabs)/)?)` + name), with: "${1}" + User},
	{use: inText | inName | inProse, hints: hintsOf(`\users\`, "/users/", `\documents and settings\`, `\home`), fold: true, pattern: re(`(?i)((?:\b[a-z]:[\\/]+|/(?:mnt/|cygdrive/)?[a-z]/|\\)(?:users|documents and settings|homes?\$?)[\\/]+)` + windowsName), with: "${1}" + User + "${end}"},
	{use: inText | inName | inProse, hints: hintsOf("~"), pattern: re(`(^|[\s"'=]|[^:]:)~[A-Za-z_][A-Za-z0-9_.-]*`), with: "${1}~" + User},
	{use: always, hints: hintsOf("/user/"), pattern: re(`(/run/user/)\d+`), with: "${1}" + UID},
	{use: inText | inName | inProse | inPath, hints: hintsOf("user-", "user@"), pattern: re(`(\buser[-@])\d+(\.(?:slice|service))`), with: "${1}" + UID + "${2}"},
	{use: always, hints: hintsOf("/proc/"), pattern: re(`(/proc/)\d+(?:/task/\d+)?`), with: "${1}" + PID},

	// Names that mean something only for a moment or inside one process.
	{use: inText | inName | inProse, hints: hintsOf("/tmp/", "/dev/shm/", "/run/shm/", "/var/folders/"), pattern: re(`(?:/private)?(?:(?:/var|/usr)?/tmp/|/dev/shm/|/run/shm/|/var/folders/)` + name + `(?:/(?:` + name + `)?)*`), with: Temp},
	{use: inText | inName | inProse, hints: hintsOf(`temp\`, `tmp\`, "temp/", "tmp/"), fold: true, pattern: re(`(?i)\b[a-z]:[\\/](?:[^\s"'<>:;,)]*[\\/])?te?mp[\\/][^\s"'<>:;,)]+|(` + User + `[\\/]+appdata[\\/]+local)[\\/]+temp[\\/][^\s"'<>:;,)]+`), with: "${1}" + Temp},
	{use: inText | inName | inProse, hints: hintsOf("memfd:"), pattern: re(`/?memfd:(?:[^\n"'<>:]*? \(deleted\)|[^\s"'<>;,)]+)`), with: Memfd},

	// Pods and containers.
	{use: always, hints: hintsOf("pod"), pattern: re(`(\bpods?[/-]?|-pod|/pods/[^/\s"'<>]*_)(?:` + uuid + `|[0-9a-f]{32}\b)`), with: "${1}" + UID},
	{use: inText | inName | inProse, hints: hintsOf("pod"), fold: true, pattern: re(`(?i)(\bpod[ _.-]?(?:u?id)?\\*["']?\s?[:=]?\s?\\*["']?)` + uuid), with: "${1}" + UID},
	{use: always, hints: hintsOf("docker", "containerd", "cri-o", "crio", "libpod", "cgroup"), pattern: re(`\b((?:cri-containerd|cri-o|docker|crio|crio-conmon|libpod(?:-conmon)?|containerd|cgroup)(?:[-:/]|://))[0-9a-f]{64}\b`), with: "${1}" + ID},
	{use: inText | inName | inProse, hints: hintsOf("container", "sandbox", "/cgroup/", "overlay", "k8s.io/", "moby/", "<uid>/", "<id>/", "/ecs/", "/actions_job/", "/lxc/", ".slice/", ".service/", ".scope/"), fold: true, pattern: re(`(?i)((?:/(?:overlay-)?containers|/sandboxes|/overlay2?|/k8s\.io|/moby|pod<uid>|/cgroup/[^\s"'<>]{1,128}|/ecs/[0-9a-f]{32}|/actions_job|/lxc|\.(?:slice|service|scope)|<id>)/|/containers/[^/\s"'<>]{1,256}-|\b(?:container|sandbox)[ _.-]?(?:id)?\\*["']?\s?[:=]?\s?\\*["']?)(?:[0-9a-f]{64}|[0-9a-f]{12})\b`), with: "${1}" + ID},
}

// hasDots reports whether six characters between two dots are in s.
func hasDots(s string) bool {
	for i := 0; i+7 < len(s); i++ {
		dot := strings.IndexByte(s[i:len(s)-7], '.')
		if dot < 0 {
			return false
		}
		if i += dot; i > 23 && s[i+7] == '.' {
			return true
		}
	}
	return false
}

// isScheme reports whether match is a header without more than the name of a scheme.
func isScheme(match string) bool {
	switch last := strings.ToLower(match[strings.LastIndexAny(strings.TrimRight(match, " "), " :=\"'")+1:]); strings.TrimRight(last, " ") {
	case "bearer", "basic", "digest", "token", "negotiate", "apikey", "aws4-hmac-sha256":
		return true
	}
	return false
}

// endsInWord reports whether match ends in a word of lower-case letters, the first aside: basic authentication, and
// Basic realm=.
func endsInWord(match string) bool {
	for i, c := range []byte(strings.TrimRight(match[strings.LastIndexByte(match, ' ')+1:], ".=")) {
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

// isNoSecret reports whether the value that a key has is none of a secret: a switch, a verb of printf, a number of
// tokens, the length of a password, the public key of an assembly.
func isNoSecret(key, value string) bool {
	key, value = strings.ToLower(key), strings.ToLower(strings.Trim(value, `"'`))
	if slices.Contains([]string{"true", "false", "null", "nil", "none", "undefined", "yes", "no", "on", "off", "%s", "%v", "%q", "%d", "%w", "%+v"}, value) {
		return true
	}
	if strings.Contains(key, "publickeytoken") {
		return len(value) <= 16
	}
	return len(value) <= 7 && isDigits(strings.TrimRight(value, "smhd")) && counted.MatchString(key)
}

// counted are keys whose value is a number about a secret.
var counted = re(`tokens|(?:count|limit|ttl|length|size|timeout|expiry|expires|expiration|budget|usage|rounds|max|min|age|port|version)\b`)

// isNoLogin reports whether match is no name with a password: two numbers of a user and a group, or a URL.
func isNoLogin(match string) bool {
	login := match[strings.LastIndexAny(match, " =\t")+1:]
	name, password, _ := strings.Cut(login, ":")
	return isDigits(name) && isDigits(password) || strings.HasPrefix(password, "//") || strings.HasPrefix(login, "jdbc:")
}

// hasNoDigit reports whether there is no digit in match.
func hasNoDigit(match string) bool { return !strings.ContainsAny(match, "0123456789") }

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
		"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "AKIA", "ASIA", "ABIA", "ACCA", "xox", "xapp-", "glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "dckr_", "npm_", "pypi-", "AIza",
		"ya29.", "k_live_", "k_test_", "whsec_", "sk-", "hf_", "SG.", "hvs.", "hvb.", "dop_v1_", "doo_v1_", "dor_v1_", "shpat_", "shpss_", "shpca_", "shppa_", "lin_api_", "dapi", "hooks.slack.com", "discord",
		"GOCSPX-", "sq0", "rubygems_", "ATATT3", "ATCTT3", "dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "atlasv1.", "glsa_", "glc_", "NRAK-", "sntry", "PMAK-", "pscale_", "ntn_", "AGE-SECRET-KEY-1",
		"sbp_", "nfp_", "xai-", "gsk_", "r8_", "figd_", "sl.", "tskey-", "dt0c01.", "FlyV1", "EAACEdEose0cBA", "key-", "SK", "LTAI", "AKID",
	)
	tokens = re(`(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}|xox[abeoprs]-[A-Za-z0-9-]{8,}` +
		`|xapp-[A-Za-z0-9-]{8,}|gl(?:pat|dt|rt|ptt|cbt|soat)-[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]+)*|dckr_(?:pat|oat)_[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}` +
		`|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{10,}|[psr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{20,}` +
		`|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hv[sb]\.[A-Za-z0-9_-]{16,}|do[por]_v1_[a-f0-9]{40,}|shp(?:at|ss|ca|pa)_[a-fA-F0-9]{20,}|lin_api_[A-Za-z0-9]{20,}` +
		`|\bdapi[a-f0-9]{32}\b|hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{10,}|discord(?:app)?\.com/api/webhooks/[A-Za-z0-9/_-]{10,}` +
		`|GOCSPX-[A-Za-z0-9_-]{20,}|sq0(?:atp|csp)-[A-Za-z0-9_-]{20,}|rubygems_[a-f0-9]{40,}|AT[AC]TT3[A-Za-z0-9_=-]{30,}|\bdp\.(?:pt|st|ct|sa)\.[A-Za-z0-9_.-]{30,}` +
		`|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,}|gl(?:sa|c)_[A-Za-z0-9_=+/]{30,}|NRAK-[A-Z0-9]{20,}|sntry[su]_[A-Za-z0-9_=+/]{30,}|PMAK-[a-f0-9-]{30,}` +
		`|pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{20,}|\bntn_[A-Za-z0-9]{30,}|AGE-SECRET-KEY-1[A-Z0-9]{30,}|tskey-[a-z]+-[A-Za-z0-9-]{10,}|dt0c01\.[A-Z0-9]{20,}\.[A-Z0-9]{30,}` +
		`|sbp_[a-f0-9]{40}|\b(?:nfp|gsk|r8)_[A-Za-z0-9]{30,}|\bfigd_[A-Za-z0-9_-]{30,}|\bxai-[A-Za-z0-9]{40,}|\bsl\.[A-Za-z0-9_-]{100,}|FlyV1 [A-Za-z0-9_,=+/-]{30,}|EAACEdEose0cBA[A-Za-z0-9]{10,}|\bkey-[a-f0-9]{32}\b|\bSK[a-f0-9]{32}\b|\bLTAI[A-Za-z0-9]{16,}|\bAKID[A-Za-z0-9]{30,})`)
)
