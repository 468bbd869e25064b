package symbol

import (
	"bufio"
	"debug/elf"
	"debug/gosym"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ianlancetaylor/demangle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// corpus are the symbols of one program or library, each raw name once.
type corpus struct {
	language string
	raws     []string
}

// measured is what canonicalization makes of a corpus.
type measured struct {
	groups  map[string][]string // raw names by canonical language, module and name
	refused []string
	low     int // of confidence below 1
}

// measure also logs a row of the table in README.md.
func (c *corpus) measure(t *testing.T) measured {
	t.Helper()
	m := measured{groups: map[string][]string{}}
	symbols := make([]Symbol, len(c.raws))
	start := time.Now()
	for i, raw := range c.raws {
		symbols[i], _ = Canonical(raw, c.language)
	}
	each := time.Since(start) / time.Duration(max(len(c.raws), 1))
	for i, raw := range c.raws {
		s := symbols[i]
		if s.Member == "" {
			m.refused = append(m.refused, raw)
			continue
		}
		if s.Confidence < 1 {
			m.low++
		}
		if again, ok := CanonicalFrame(s.Language, s.Package, s.Member); !ok || again.Name != s.Name {
			requireIdentity(t, s)
		}
		key := s.Language + " " + s.Package + " " + s.Member
		m.groups[key] = append(m.groups[key], raw)
	}
	t.Logf("| symbols | names | low confidence | refused | ns a symbol |\n| %d | %d | %d | %d | %d |", len(c.raws), len(m.groups), m.low, len(m.refused), each.Nanoseconds())
	return m
}

// requireExplained requires that each element is explained, and shows some that are not.
func requireExplained(t *testing.T, what string, unexplained []string) {
	t.Helper()
	if len(unexplained) > 0 {
		t.Fatalf("%d %s that no rule explains:\n%s", len(unexplained), what, strings.Join(unexplained[:min(len(unexplained), 40)], "\n"))
	}
}

// program finds a program, or skips.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	return path
}

func open(t *testing.T, path string) *elf.File {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Skipf("%s cannot be read here", filepath.Base(path))
	}
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	return file
}

// functions are the names of the functions that a file defines, with their versions.
func functions(t *testing.T, file *elf.File) []string {
	t.Helper()
	var raws []string
	dynamic, _ := file.DynamicSymbols()
	static, _ := file.Symbols()
	for _, s := range slices.Concat(dynamic, static) {
		kind := elf.ST_TYPE(s.Info)
		if s.Section == elf.SHN_UNDEF || s.Name == "" || kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC {
			continue
		}
		if s.Version != "" {
			s.Name += "@@" + s.Version
		}
		raws = append(raws, s.Name)
	}
	return sorted(raws)
}

// library is a shared library of this machine.
func library(t *testing.T, name string) *elf.File {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/*/" + name, "/lib/*/" + name, "/usr/lib64/" + name, "/usr/lib/" + name} {
		if paths, _ := filepath.Glob(pattern); len(paths) > 0 {
			return open(t, paths[0])
		}
	}
	t.Skip(name + " is not installed")
	return nil
}

// build compiles a program of testdata.
func build(t *testing.T, command ...string) *elf.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	out, err := exec.Command(program(t, command[0]), append(command[1:], "-o", path)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return open(t, path)
}

// position is where a Go function begins, "" for what the compiler made.
type position string

// goFunctions are the names that symbol table and line table have for each function of a Go program, and where it begins.
func goFunctions(t *testing.T, file *elf.File) map[string]position {
	t.Helper()
	data, err := file.Section(".gopclntab").Data()
	require.NoError(t, err)
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, file.Section(".text").Addr))
	require.NoError(t, err)
	positions := map[string]position{}
	at := map[uint64]position{}
	for i := range table.Funcs {
		name, line, _ := table.PCToLine(table.Funcs[i].Entry)
		p := position(fmt.Sprint(name, ":", line))
		if strings.HasPrefix(name, "<") {
			p = ""
		}
		at[table.Funcs[i].Entry] = p
		positions[table.Funcs[i].Name] = p
	}
	static, _ := file.Symbols()
	for _, s := range static {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF {
			positions[s.Name] = at[s.Value]
		}
	}
	return positions
}

// Names of Go code that has a function of its own in the line table, but is no function of the source: closures, bodies
// of loops, wrappers, and parts of package initialization. This is the rule against which merges are held: it knows
// nothing of how canonical names are made, only where functions begin.
var goPart = regexp.MustCompile(`(\.func\d+|\.gowrap\d+|\.deferwrap\d+|\.\d+|-range\d+|-fm)`)

func TestGoCorpus(t *testing.T) {
	out, err := exec.Command(program(t, "go"), "env", "GOROOT").Output()
	require.NoError(t, err)
	positions := goFunctions(t, open(t, filepath.Join(strings.TrimSpace(string(out)), "bin", "go")))
	c := corpus{language: Go}
	for raw := range positions {
		c.raws = append(c.raws, raw)
	}
	slices.Sort(c.raws)
	m := c.measure(t)
	requireExplained(t, "refused symbols", slices.DeleteFunc(m.refused, func(raw string) bool {
		return strings.HasPrefix(raw, "type:") || strings.HasPrefix(raw, "go:") || strings.HasPrefix(raw, "runtime.gcbits.")
	}))
	kinds := map[string]int{}
	var unexplained []string
	for name, raws := range m.groups {
		begins := map[position]string{}
		for _, raw := range raws {
			switch {
			case len(raws) == 1:
			case goPart.MatchString(raw):
				kinds["closure, loop body, wrapper, or part of init"]++
			case positions[raw] == "":
				kinds["made by the compiler"]++
			default:
				kinds["instance or name of the same function"]++
				begins[positions[raw]] = raw
			}
		}
		if len(begins) > 1 {
			unexplained = append(unexplained, fmt.Sprint(name, " ", begins))
		}
	}
	t.Log("merged: ", kinds)
	requireExplained(t, "merges", unexplained)
}

// cxxText is the name that c++filt, a demangler with another author, has for a symbol, without what is dropped on
// purpose. kinds are what that was.
func cxxText(text string) (name string, kinds []string) {
	cut := func(kind, short string) {
		if short != text {
			kinds = append(kinds, kind)
		}
		text = short
	}
	for _, c := range cxxCuts {
		cut(c.kind, c.pattern.ReplaceAllString(text, c.with))
	}
	text = cxxOperators(text)
	cut("template instance", strings.TrimRight(stripBalanced(text, '<', '>'), " "))
	cut("overload", stripBalanced(text, '(', ')'))
	cut("lambda", cxxLambda.ReplaceAllString(text, ""))
	cut("const", strings.ReplaceAll(strings.TrimSuffix(text, " const"), " const::", "::"))
	return text, kinds
}

var (
	cxxLambda   = regexp.MustCompile(`::(\{(lambda|unnamed type)#|\$_\d).*$`)
	cxxOperator = regexp.MustCompile(`operator(<<=|>>=|<=>|->\*|<<|>>|<=|>=|->|<|>|\(\)|\[\])`)
	// Both names of a class are in use, with and without its template arguments.
	cxxStreams = strings.NewReplacer("std::basic_string", "std::string", "std::basic_ostream", "std::ostream", "std::basic_istream", "std::istream", "std::basic_iostream", "std::iostream")
)

var cxxCuts = []struct {
	kind    string
	pattern *regexp.Regexp
	with    string
}{
	{"thunk", regexp.MustCompile(`^(non-virtual thunk|virtual thunk|covariant return thunk) to `), ""},
	{"initialization of a thread's variable", regexp.MustCompile(`^TLS (init|wrapper) function for `), ""},
	{"transaction clone", regexp.MustCompile(`^(non-)?transaction clone for `), ""},
	{"version", regexp.MustCompile(`@@?[A-Za-z0-9_.]+$`), ""},
	{"clone", regexp.MustCompile(`( \[clone [^]]*\])+$`), ""},
	{"ABI tag", regexp.MustCompile(`\[abi:\w+\]`), ""},
	{"library namespace", regexp.MustCompile(`\bstd::(__cxx11|__1)::`), "std::"},
	{"anonymous namespace", regexp.MustCompile(`\(anonymous namespace\)::`), ""},
}

// cxxOperators writes the brackets of operators, which enclose nothing, as numbers.
func cxxOperators(text string) string {
	return cxxOperator.ReplaceAllStringFunc(text, func(operator string) string {
		return fmt.Sprintf("operator%x", operator[len("operator"):])
	})
}

// inherited is a constructor that is the one of a base class: c++filt has its name, we have that of the class.
var inherited = regexp.MustCompile(`CI[12]`)

// cxxFilt demangles with c++filt, without parameters.
func cxxFilt(t *testing.T, raws []string) []string {
	t.Helper()
	if len(raws) == 0 {
		return nil
	}
	command := exec.Command(program(t, "c++filt"), "-p")
	command.Stdin = strings.NewReader(strings.Join(raws, "\n"))
	out, err := command.Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	require.Len(t, lines, len(raws))
	return lines
}

// requireCxxNames requires that each name is what c++filt has, but for what is dropped on purpose. So two functions that
// have one name differ in nothing else.
func requireCxxNames(t *testing.T, m *measured) {
	t.Helper()
	kinds := map[string]int{}
	var names, raws []string
	for name, merged := range m.groups {
		parts := strings.SplitN(name, " ", 3)
		if parts[0] != Cxx {
			continue
		}
		for _, raw := range merged {
			names, raws = append(names, joined(parts[1], parts[2], "::")), append(raws, raw)
		}
	}
	var unexplained []string
	for i, text := range cxxFilt(t, raws) {
		switch {
		case inherited.MatchString(raws[i]):
			kinds["inherited constructor"]++
			continue
		case strings.HasPrefix(text, "_Z"):
			kinds["not known to c++filt"]++
			continue
		}
		text, dropped := cxxText(text)
		for _, kind := range dropped {
			kinds[kind]++
		}
		if name := cxxOperators(names[i]); cxxStreams.Replace(name) != cxxStreams.Replace(text) {
			unexplained = append(unexplained, fmt.Sprint(raws[i], " is ", name, " and not ", text))
		}
	}
	t.Log("dropped: ", kinds)
	requireExplained(t, "names", unexplained)
}

func TestCxxCorpus(t *testing.T) {
	for _, name := range []string{"libstdc++.so.6", "libgcc_s.so.1"} {
		t.Run(name, func(t *testing.T) {
			c := corpus{raws: functions(t, library(t, name))}
			m := c.measure(t)
			requireExplained(t, "refused symbols", slices.DeleteFunc(m.refused, isConversionToFunction))
			requireCxxNames(t, &m)
		})
	}
	for _, options := range [][]string{{"-O0"}, {"-O2", "-static"}} {
		t.Run("program "+strings.Join(options, " "), func(t *testing.T) {
			c := corpus{raws: functions(t, build(t, append([]string{"g++", "testdata/program/program.cpp"}, options...)...))}
			m := c.measure(t)
			requireExplained(t, "refused symbols", slices.DeleteFunc(m.refused, isConversionToFunction))
			requireCxxNames(t, &m)
		})
	}
}

// TestLLVMCorpus has the largest C++ library that is often at hand, that of rustc, built by clang.
func TestLLVMCorpus(t *testing.T) {
	c := corpus{raws: functions(t, sysrootLibrary(t, "libLLVM.so.*"))}
	m := c.measure(t)
	requireExplained(t, "refused symbols", slices.DeleteFunc(m.refused, isConversionToFunction))
	requireCxxNames(t, &m)
}

// sysrootLibrary is a library of rustc.
func sysrootLibrary(t *testing.T, pattern string) *elf.File {
	t.Helper()
	out, err := exec.Command(program(t, "rustc"), "--print", "sysroot").Output()
	require.NoError(t, err)
	paths, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "lib", pattern))
	if len(paths) == 0 {
		t.Skip(pattern + " is not installed")
	}
	return open(t, paths[0])
}

// isConversionToFunction reports whether a name is of an operator that converts to a pointer to a function: it has no
// canonical form.
func isConversionToFunction(raw string) bool {
	return strings.Contains(raw, "cvPF") || strings.Contains(raw, "cvM")
}

func TestCCorpus(t *testing.T) {
	c := corpus{language: C, raws: functions(t, library(t, "libc.so.6"))}
	m := c.measure(t)
	requireExplained(t, "refused symbols", slices.DeleteFunc(m.refused, func(raw string) bool {
		return raw[0] == '.' // a label of assembly
	}))
}

func TestRustCorpus(t *testing.T) {
	for _, options := range [][]string{nil, {"-Csymbol-mangling-version=v0"}} {
		t.Run("program "+strings.Join(options, " "), func(t *testing.T) {
			c := corpus{raws: functions(t, build(t, append([]string{"rustc", "testdata/program/program.rs"}, options...)...))}
			m := c.measure(t)
			requireExplained(t, "refused symbols", m.refused)
		})
	}
	t.Run("librustc_driver", func(t *testing.T) {
		c := corpus{raws: functions(t, sysrootLibrary(t, "librustc_driver-*.so"))}
		m := c.measure(t)
		requireExplained(t, "refused symbols", m.refused)
	})
}

func TestKernelCorpus(t *testing.T) {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		t.Skip("there is no /proc/kallsyms")
	}
	defer func() { require.NoError(t, file.Close()) }()
	var c corpus
	c.language = Kernel
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 3 && strings.ContainsAny(fields[1], "tTwW") {
			c.raws = append(c.raws, strings.Join(fields[2:], " "))
		}
	}
	c.raws = sorted(c.raws)
	m := c.measure(t)
	requireExplained(t, "refused symbols", slices.DeleteFunc(m.refused, func(raw string) bool {
		return raw[0] == '.' // a label of assembly
	}))
}

// TestDemangled: a mangled name and what a demangler makes of it are the same function.
func TestDemangled(t *testing.T) {
	for _, file := range []string{"cxx.txt", "rust.txt"} {
		data, err := os.ReadFile("testdata/samples/" + file)
		require.NoError(t, err)
		for _, raw := range strings.Fields(string(data)) {
			s, ok := Canonical(raw, "")
			text, err := demangle.ToString(raw)
			if !ok || err != nil || strings.HasSuffix(text, "::") {
				continue
			}
			of, ok := Canonical(text, s.Language)
			assert.True(t, ok, text)
			assert.Equal(t, s.Name, of.Name, text)
			if of, ok = Canonical(text, ""); ok {
				assert.Equal(t, s.Language, of.Language, text)
			}
		}
	}
}
