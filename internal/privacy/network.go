package privacy

import (
	"net/netip"
	"strings"
)

// Net stands where an IP or hardware address was.
const Net = "<ip>"

// maxNetwork is how long a token is looked at, in bytes: no address is longer.
const maxNetwork = 64

// network replaces IP addresses, the loopback and unspecified ones apart, and hardware addresses. Where numbers with dots
// can be versions, only those with colons are, and in names what no version looks like.
func network(s string, where use) string {
	versions := where != inText
	if strings.Count(s, ":") < 2 && strings.Count(s, ".") < 3 {
		return s
	}
	var out []byte
	done := 0
	for i := 0; i < len(s); {
		if !startsNetwork(s, i) {
			i++
			continue
		}
		end := i
		for end < len(s) && end < i+maxNetwork && (isHex(s[end]) || s[end] == ':' || s[end] == '.') {
			end++
		}
		token := strings.TrimRight(s[i:end], ".:")
		if strings.HasPrefix(s[i+len(token):end], "::") {
			token += "::"
		}
		colon := strings.IndexByte(s[min(i+1, end):end], ':')
		switch {
		case token != "" && isNetwork(token) && (!versions || strings.Count(token, ":") >= 2 || where == inName && isHost(s, i, token)) && !isVersion(s, i, i+len(token)) && !isScoped(s, i, i+len(token)):
			out = append(append(out, s[done:i]...), Net...)
			done = i + len(token)
			i = done
		case colon >= 0: // the address may begin behind a word that could be hex
			i += colon + 1
		default:
			i = max(end, i+1)
		}
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

// startsNetwork reports whether an address can begin at i: at a hex digit that no word goes before, or at ::. The letter of
// a flag is no word: -h10.0.0.1.
func startsNetwork(s string, i int) bool {
	switch {
	case isHex(s[i]):
		return i == 0 || !isWord(s[i-1]) || s[i-1] >= 'A' && s[i-1] != 'v' && i > 1 && s[i-2] == '-' && (i == 2 || s[i-3] == ' ')
	case s[i] == ':' && i+1 < len(s) && s[i+1] == ':':
		return i == 0 || s[i-1] != ':'
	}
	return false
}

// isHost reports whether a token with dots, at s[from], is no version: it has a port, is a host in a URL, or of a network
// that everybody has at home.
func isHost(s string, from int, token string) bool {
	return strings.Contains(token, ":") || from > 0 && s[from-1] == '@' || from > 2 && s[from-3:from] == "://" ||
		strings.HasPrefix(token, "192.168.") || strings.HasPrefix(token, "172.16.")
}

// isVersion reports whether what is around s[from:to] says that it is a version or part of one: 1.2.3.4-1ubuntu2,
// version 1.2.3.4, section 1.2.3.4, 8.0.0.0, but not 1.2.3.4:80, 10.0.0.1-10.0.0.9, 10.0.0.1->10.0.0.9 or ip_10.0.0.1.
func isVersion(s string, from, to int) bool {
	if strings.Contains(s[from:to], ":") {
		return false
	}
	if to < len(s) && (isWord(s[to]) || strings.IndexByte("+~_", s[to]) >= 0 || s[to] == '-' && to+1 < len(s) && isWord(s[to+1]) && !continues(s[to+1:])) {
		return true
	}
	if strings.HasSuffix(s[from:to], ".0.0.0") && (to == len(s) || s[to] != '/') {
		return true // no host has it, and every assembly of .NET
	}
	if before := strings.ToLower(strings.TrimRight(s[max(0, from-10):from], " =:")); strings.HasSuffix(before, "version") {
		address, err := netip.ParseAddr(s[from:to])
		return err == nil && !address.IsPrivate()
	}
	if before := strings.ToLower(s[max(0, from-9):from]); strings.HasSuffix(before, "section ") {
		return true
	}
	if from == 0 || strings.IndexByte("-_+~.", s[from-1]) < 0 || strings.HasSuffix(strings.ToLower(s[max(0, from-3):from]), "ip_") {
		return false
	}
	return s[from-1] != '-' || !strings.HasSuffix(s[:from-1], Net) && !isDigitsBefore(s, from-1)
}

// continues reports whether what follows a dash after an address is an address or an arrow.
func continues(s string) bool {
	if strings.HasPrefix(s, ">") {
		return true
	}
	end := 0
	for end < len(s) && end < maxNetwork && (isDigit(s[end]) || s[end] == '.') {
		end++
	}
	return isNetwork(s[:end])
}

// isDigitsBefore reports whether an address with dots ends at i.
func isDigitsBefore(s string, i int) bool {
	from := i
	for from > 0 && i-from < maxNetwork && (isDigit(s[from-1]) || s[from-1] == '.' || s[from-1] == ':') {
		from--
	}
	return isNetwork(s[from:i])
}

// isScoped reports whether s[from:to] is part of a name in C++ or Rust: std::a1::b2, f64::consts.
func isScoped(s string, from, to int) bool {
	if strings.Contains(s[from:to], ".") {
		return false
	}
	if to < len(s) && (isWord(s[to]) || strings.IndexByte("_~*&(<", s[to]) >= 0) || from > 0 && s[from-1] == '_' {
		return true
	}
	if s[from] == ':' {
		return from > 0 && isWord(s[from-1])
	}
	return from > 2 && s[from-1] == ':' && s[from-2] == ':' && isWord(s[from-3])
}

// isNetwork reports whether token is an address, with a port or not.
func isNetwork(token string) bool {
	if len(token) < 3 || !strings.ContainsAny(token, "0123456789") {
		return false
	}
	colons, dots := strings.Count(token, ":"), strings.Count(token, ".")
	if isSocket(token) {
		return true
	}
	if colons < 2 && dots < 3 {
		return false
	}
	if colons == 5 && len(token) == 17 && !strings.Contains(token, "::") {
		return true // a hardware address
	}
	host := token
	switch {
	case dots == 3 && colons == 1:
		var port string
		if host, port, _ = strings.Cut(token, ":"); !isDigits(port) {
			return false
		}
	case dots == 4 && colons == 0: // tcpdump writes the port behind a dot
		host = token[:strings.LastIndexByte(token, '.')]
	}
	address, err := netip.ParseAddr(host)
	return err == nil && !address.IsLoopback() && !address.IsUnspecified()
}

// isSocket reports whether token is an address and a port as in /proc/net/tcp: 0200000A:1F90.
func isSocket(token string) bool {
	host, port, _ := strings.Cut(token, ":")
	if len(port) != 4 || len(host) != 8 && len(host) != 32 || token != strings.ToUpper(token) {
		return false
	}
	return strings.Trim(host, "0") != "" && host != "0100007F" && host != "00000000000000000000000001000000"
}
