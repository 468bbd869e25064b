package privacy

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What stands in place of what was taken out.
const (
	Secret = "<secret>"
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

// maxPasses is how often the rules are applied: what one replaces may uncover what another does. A text that does not
// settle is Redacted.
const maxPasses = 8

// Text takes private data out of free text: addresses, secrets, mail and IP addresses, users, process and pod ids,
// temporary names. It is the last net: structured fields are removed, not scrubbed. Text(Text(s)) == Text(s), and
// len(Text(s)) <= 4*len(s)+16.
func Text(s string) string { return scrub(s, inText) }

// Name does the same to a name, version or tag, where numbers with dots are IP addresses only with a port or where
// no version looks like that. Name(Name(s)) == Name(s).
func Name(s string) string { return scrub(s, inName) }

// Prose does the same to a line that speaks of software, as the title of an advisory does: versions are no IP addresses, and
// "token: verify it" names no token. Prose(Prose(s)) == Prose(s).
func Prose(s string) string { return scrub(s, inProse) }

// Arguments is Text for the arguments of one command: what follows a flag that takes a secret is one. Where only all of them
// together say that there is one, the result is one text; more than MaxText of them are Redacted. Arguments(Arguments(a)) == Arguments(a).
func Arguments(arguments []string) []string {
	size := len(arguments)
	for _, argument := range arguments {
		size += len(argument)
	}
	if size > MaxText+1 {
		return []string{Redacted}
	}
	out := make([]string, len(arguments))
	tool := ""
	for i, argument := range arguments {
		out[i] = Text(argument)
		if i == 0 {
			tool = argument[strings.LastIndexByte(argument, '/')+1:] + " "
			continue
		}
		switch flag := arguments[i-1]; {
		case len(flag) > 1 && len(flag) <= 64 && flag[0] == '-' && !strings.HasPrefix(argument, "-") && strings.HasSuffix(Text(tool+flag+" value"), " "+Secret):
			out[i] = Secret
		case strings.HasPrefix(argument, "-"):
			if line := Text(tool + argument); strings.HasPrefix(line, tool) {
				out[i] = line[len(tool):]
			}
		}
	}
	if line := strings.Join(out, " "); Text(line) != line {
		return []string{Text(line)}
	}
	return out
}

// Tells reports whether the name of a value makes it a secret: password, but not for the value none.
func Tells(name, value string) bool {
	pair := name + "="
	return strings.HasSuffix(Text(pair+"x1"), Secret) && (value == "" || !isNoSecret(pair, value))
}

// TellTogether reports whether names say something private only together, as the words of a command line do.
func TellTogether(names []string) bool {
	plain := true
	for _, name := range names {
		plain = plain && isPlainWord(name)
	}
	if plain || len(names) < 2 {
		return false
	}
	line := strings.Join(names, " ")
	return len(line) <= MaxText && Name(line) != line
}

// isPlainWord reports whether no rule matches because of a word and what goes before or after it.
func isPlainWord(word string) bool {
	for i := range len(word) {
		if !isWord(word[i]) && word[i] != '_' && word[i] != '.' && (word[i] != '-' || i == 0) {
			return false
		}
	}
	return !strings.EqualFold(word, "bearer") && !strings.EqualFold(word, "basic")
}

// HasToken reports whether s contains a secret that is known by its form alone.
func HasToken(s string) bool {
	present := pairsOf(s)
	return tokenHints.in(s, &present) && tokens.MatchString(s)
}

// IsClean reports whether no rule that holds for every text applies to s: it has no address, token, key or credentials.
func IsClean(s string) bool { return len(s) <= MaxText && once(s, inFact) == s }

// Addresses takes out addresses and nothing else. Addresses(Addresses(s)) == Addresses(s).
func Addresses(s string) string { return settle(s, addresses) }

// scrub applies the rules until nothing changes: what it returns, it leaves alone.
func scrub(s string, where use) string {
	if len(s) > MaxText {
		return Redacted
	}
	return settle(printable(s), func(s string) string { return once(s, where) })
}

// settle applies rules until nothing changes. What is private only where escapes are undone leaves without them.
func settle(s string, apply func(string) string) string {
	for range maxPasses {
		before := s
		if s = apply(s); s != before {
			continue
		}
		plain := unescaped(s)
		if plain == s {
			return s
		}
		applied := apply(plain)
		if applied == plain {
			return s
		}
		s = applied
	}
	return Redacted
}

// once applies every rule once.
func once(s string, where use) string {
	var buffer [512]byte
	var lower []byte // s in lower case, once a rule asks for it
	var keys keyUse
	present := pairsOf(s)
	anyKey := keyHints.possible(&present)
	for i := range rules {
		r := &rules[i]
		if r.use&where == 0 {
			continue
		}
		if !r.fold {
			if !r.hints.in(s, &present) || r.when != nil && !r.when(s) {
				continue
			}
		} else {
			if r.keyed != 0 && !anyKey || r.hints != nil && !r.hints.possible(&present) {
				continue
			}
			if lower == nil {
				lower = appendLower(buffer[:0], s)
				keys = keyed(lower, &present)
			}
			if r.keyed != 0 && r.keyed&keys == 0 || r.hints != nil && !r.hints.inBytes(lower, &present) {
				continue
			}
		}
		if replaced := r.apply(s); replaced != s {
			s, lower, present = replaced, nil, pairsOf(replaced)
			anyKey = keyHints.possible(&present)
		}
	}
	if where != inFact {
		s = network(s, where)
	}
	return addresses(s)
}

// appendLower appends s to b, ASCII in lower case.
func appendLower(b []byte, s string) []byte {
	for i := range len(s) {
		b = append(b, lowers[s[i]])
	}
	return b
}

// apply replaces what the rule matches.
func (r *rule) apply(s string) string {
	if r.within == nil {
		return r.replace(s)
	}
	return r.within.ReplaceAllStringFunc(s, r.replace)
}

func (r *rule) replace(s string) string {
	if r.unless == nil && r.none == nil {
		return r.pattern.ReplaceAllString(s, r.with)
	}
	var out []byte
	done := 0
	for _, at := range r.pattern.FindAllStringSubmatchIndex(s, -1) {
		if (r.unless == nil || !r.unless(s[at[0]:at[1]])) && (r.none == nil || !r.none(s[at[2]:at[3]], s[at[3]:at[1]])) {
			out = r.pattern.ExpandString(append(out, s[done:at[0]]...), r.with, s, at)
			done = at[1]
		}
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

// unescaped undoes the escapes of URLs and of JSON, but not \" and \\. s has none of them: s itself.
func unescaped(s string) string {
	for range 3 {
		if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '\\') < 0 {
			return s
		}
		var out []byte
		done := 0
		for i := 0; i+1 < len(s); i++ {
			c, size := escaped(s[i:])
			if size > 0 {
				out = utf8.AppendRune(append(out, s[done:i]...), c)
				i += size - 1
				done = i + 1
			}
		}
		if done == 0 {
			return s
		}
		s = printable(string(append(out, s[done:]...)))
	}
	return s
}

// escaped is the character that s begins with an escape of, a space for control characters, and how long the escape is.
// Size 0: it begins with none.
func escaped(s string) (c rune, size int) {
	hex := func(from, to int) (rune, int) {
		if len(s) < to {
			return 0, 0
		}
		v, err := strconv.ParseUint(s[from:to], 16, 16)
		if err != nil {
			return 0, 0
		}
		return max(rune(v), ' '), to
	}
	switch {
	case s[0] == '%':
		return hex(1, 3)
	case s[0] != '\\':
		return 0, 0
	}
	switch s[1] {
	case 'n', 'r', 't':
		return ' ', 2
	case '/':
		return '/', 2
	case 'x':
		return hex(2, 4)
	case 'u':
		return hex(2, 6)
	}
	return 0, 0
}

// printable makes s valid UTF-8 in one line of text or more: a space for control characters, as between the arguments in
// /proc/<pid>/cmdline, and nothing for the colors of terminals and for what has no width, which would hide what they split.
func printable(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f || s[i] == '\t' || s[i] == '\n'
	}
	if clean {
		return s
	}
	if strings.Contains(s, "\x1b[") {
		s = colors.ReplaceAllString(s, "")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case r == '\t' || r == '\n':
			return r
		case unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

// colors are control sequences of terminals.
var colors = re(`\x1b\[[0-9;]*[A-Za-z]`)
