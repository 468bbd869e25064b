package probepoint

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/pclntab"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func of(language, pkg, member string) Request {
	return Request{ID: language + " " + pkg + " " + member, Symbol: witness.SymbolRef{Language: language, Package: pkg, Member: member}}
}

// answer is what a request got, in short: of each point the raw symbol, distance from the entry, cost and flags; of each refusal the reason.
func answer(t testing.TB, path string, r Request, o Options) []string {
	t.Helper()
	f, size := open(t, path)
	points, refusals, err := Resolve(f, size, []Request{r}, o)
	require.NoError(t, err)
	var got []string
	for _, p := range points {
		same, err := Verify(f, &p)
		require.NoError(t, err)
		assert.True(t, same)
		text := fmt.Sprintf("%s %s %x", p.Raw, p.Cost, p.Bytes)
		if p.Recounts {
			text += " recounts"
		}
		if p.InlinedInto > 0 {
			text += " inlined"
		}
		if len(p.Shared) > 0 {
			text += fmt.Sprintf(" shared %v", p.Shared)
		}
		if len(p.Symbol.Flags) > 0 {
			text += fmt.Sprintf(" flags %v", p.Symbol.Flags)
		}
		got = append(got, text)
	}
	for _, r := range refusals {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s", r.Reason, strings.Join(r.Symbols, " "))))
	}
	return got
}

func TestGo(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the expectations are of the compiler for amd64")
	}
	requests := map[string]struct {
		r    Request
		want []string
	}{
		"function":            {of("go", "main", "entered"), []string{"main.entered emulated 55"}},
		"large frame":         {of("go", "main", "huge"), []string{"main.huge emulated 55"}},
		"jump table":          {of("go", "main", "choose"), []string{"main.choose emulated 55"}},
		"no frame, no branch": {of("go", "main", "leaf"), []string{"single_step main.leaf"}},
		"inlined everywhere":  {of("go", "main", "small"), []string{"inlined_everywhere main.small"}},
		"also inlined":        {of("go", "main", "sometimes"), []string{"main.sometimes emulated 7e01 inlined"}},
		"not there":           {of("go", "main", "absent"), []string{"not_found"}},
		"no such package":     {of("go", "example.com/absent", ""), []string{"not_found"}},
		"generic method": {of("go", "main", "list.each"), []string{
			"main.(*list[go.shape.int]).each emulated 55 flags [generic]", "main.(*list[go.shape.string]).each emulated 55 flags [generic]",
		}},
		"method without its wrapper": {of("go", "main", "square.visit"), []string{"main.square.visit emulated 55"}},
		"method and the wrapper that has it inlined": {of("go", "main", "circle.visit"), []string{
			"main.circle.visit emulated 90 inlined", "main.(*circle).visit emulated 55 flags [thunk]",
		}},
		"without its closure": {of("go", "main", "withClosure"), []string{"main.withClosure emulated 55"}},
		"with its closure": {Request{ID: "c", Symbol: witness.SymbolRef{Language: "go", Package: "main", Member: "withClosure"}, Closures: true}, []string{
			"main.withClosure emulated 55", "main.withClosure.func1 emulated 55 flags [closure]",
		}},
		"assembly without its wrapper": {of("go", "internal/cpu", "cpuid"), []string{"single_step internal/cpu.cpuid"}},
		"vendored by the distribution": {of("go", "golang.org/x/text/unicode/norm", ""), []string{"not_found"}},
		"any language":                 {of("", "main", "entered"), []string{"main.entered emulated 55"}},
		"pattern":                      {Request{ID: "p", Pattern: "main.enter?d"}, []string{"main.entered emulated 55"}},
		"raw":                          {Request{ID: "p", Pattern: "main.(*list[go.shape.int]).each"}, []string{"main.(*list[go.shape.int]).each emulated 55 flags [generic]"}},
		"other language":               {of("python", "main", "entered"), []string{"not_found"}},
		"nothing":                      {Request{ID: "empty"}, []string{"not_found"}},
	}
	for name, path := range map[string]string{
		"normal":       buildGo(t, nil),
		"stripped":     buildGo(t, nil, "-ldflags=-s -w"),
		"stripped pie": buildGo(t, nil, "-buildmode=pie", "-ldflags=-s -w"),
		"external":     buildExternal(t),
	} {
		if path == "" {
			continue
		}
		for request, c := range requests {
			t.Run(name+"/"+request, func(t *testing.T) {
				want := c.want
				if c.r.Symbol.Language == "" && strings.Contains(name, "stripped") && want[0] == "not_found" {
					want = []string{"stripped"} // it may be of C
				}
				assert.Equal(t, want, answer(t, path, c.r, Options{}))
			})
		}
		t.Run(name+"/single step", func(t *testing.T) {
			got := answer(t, path, of("go", "main", "leaf"), Options{SingleStep: true})
			require.Len(t, got, 1)
			assert.Contains(t, got[0], "main.leaf single_step 48")
		})
		t.Run(name+"/package", func(t *testing.T) {
			got := strings.Join(answer(t, path, of("go", "main", ""), Options{}), "\n")
			for _, want := range []string{"main.main emulated", "main.main.func1 emulated", "main.withClosure.func1", "inlined_everywhere main.small", "single_step main.leaf"} {
				assert.Contains(t, got, want)
			}
		})
		boundaries(t, path, Options{MaxFunctions: 1 << 20, MaxPoints: 1 << 20, SingleStep: true})
	}
}

func buildExternal(t *testing.T) string {
	if _, err := exec.LookPath("gcc"); err != nil {
		return ""
	}
	return buildGo(t, []string{"CGO_ENABLED=1"}, "-ldflags=-linkmode=external")
}

// TestVendored has a package that a program vendors under its own path.
func TestVendored(t *testing.T) {
	m := newMatcher([]Request{of("go", "golang.org/x/net/html", "Tokenizer.Next"), of("go", "golang.org/x/net/html", ""), of("go", "gopkg.in/yaml.v3", "Unmarshal")})
	v := resolver{m: m, requests: m.requests}
	for raw, want := range map[string][]int{
		"golang.org/x/net/html.(*Tokenizer).Next":                {0, 1},
		"k8s.io/app/vendor/golang.org/x/net/html.Tokenizer.Next": {0, 1},
		"golang.org/x/net/html.Parse":                            {1},
		"golang.org/x/net/html.(*Tokenizer).Next-fm":             nil,
		"vendor/golang.org/x/net/html.(*Tokenizer).Next":         nil,
		"cmd/vendor/golang.org/x/net/html.(*Tokenizer).Next":     nil,
		"golang.org/x/net/html.(*Tokenizer).Next.func1":          {1},
		"golang.org/x/net/html/atom.Lookup":                      nil,
		"gopkg.in/yaml%2ev3.Unmarshal":                           {2},
		"gopkg.in/yaml%2ev3.Marshal":                             nil,
		"example.com/x.F[golang.org/x/net/html.Node]":            nil,
	} {
		var got []int
		if m.mayBeGo([]byte(raw)) {
			_, got = v.wanted([]byte(raw), "go")
		}
		assert.Equal(t, want, got, raw)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		r         Request
		want      bool
	}{
		{"c", "png_read", of("c", "", "png_read"), true},
		{"c clone", "png_read.constprop.0", of("c", "", "png_read"), true},
		{"c rest", "png_read.cold", of("c", "", "png_read"), false},
		{"c other", "png_reader", of("c", "", "png_read"), false},
		{"c in c++", "png_read", of("cxx", "", "png_read"), true},
		{"c in rust", "png_read", of("rust", "", "png_read"), false},
		{"any language", "png_read", of("", "", "png_read"), true},
		{"c++", "_ZN4shop4Item5priceEi", of("cxx", "shop::Item", "price"), true},
		{"c++ otherwise split", "_ZN4shop4Item5priceEi", of("cxx", "shop", "Item::price"), true},
		{"c++ namespace", "_ZN4shop4Item5priceEi", of("cxx", "shop", ""), true},
		{"c++ other namespace", "_ZN4shop4Item5priceEi", of("cxx", "sho", ""), false},
		{"c++ by no language", "_ZN4shop4Item5priceEi", of("", "shop::Item", "price"), true},
		{"c++ destructor", "_ZN4shop4ItemD2Ev", of("cxx", "shop::Item", "~Item"), true},
		{"c++ operator", "_ZN4shop4ItempLERKS0_", of("cxx", "shop::Item", "operator+="), true},
		{"c++ thunk", "_ZThn8_N4shop4Item6weightEi", of("cxx", "shop::Item", "weight"), false},
		{"c++ of std", "_ZNSt6vectorIiSaIiEE9push_backERKi", of("cxx", "std", "vector::push_back"), true},
		{"all of std", "_ZNSt6vectorIiSaIiEE9push_backERKi", of("cxx", "std", ""), true},
		{"rust legacy", "_ZN4demo6Parser5parse17h80b8c218d7f7b05bE", of("rust", "demo", "Parser::parse"), true},
		{"rust public path", "_ZN4demo5inner6Parser5parse17h80b8c218d7f7b05bE", of("rust", "demo", "Parser::parse"), true},
		{"rust crate", "_ZN4demo6Parser5parse17h80b8c218d7f7b05bE", of("rust", "demo", ""), true},
		{"rust other crate", "_ZN4demo6Parser5parse17h80b8c218d7f7b05bE", of("rust", "dem", "Parser::parse"), false},
		{"rust trait", "_ZN44_$LT$demo..Parser$u20$as$u20$demo..Shape$GT$4area17h80b8c218d7f7b05bE", of("rust", "demo", "Parser::area"), true},
		{"rust trait by crate", "_ZN44_$LT$demo..Parser$u20$as$u20$demo..Shape$GT$4area17h80b8c218d7f7b05bE", of("rust", "demo", ""), true},
		{"rust v0", "_RNvMCsgStHSCytQ6I_4demoNtB2_6Parser5parse", of("rust", "demo", "Parser::parse"), true},
		{"rust std in alloc", "_ZN5alloc11collections9vec_deque8VecDeque7reserve17h80b8c218d7f7b05bE", of("rust", "std", "collections::vec_deque::VecDeque::reserve"), true},
		{"no symbol", "\x01\x02", Request{ID: "p", Pattern: "*"}, false},
		{"pattern of a language", "png_read", Request{ID: "p", Pattern: "png*", Symbol: witness.SymbolRef{Language: "c"}}, true},
		{"pattern of another", "png_read", Request{ID: "p", Pattern: "png*", Symbol: witness.SymbolRef{Language: "rust"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMatcher([]Request{c.r})
			v := resolver{m: m, requests: m.requests}
			s, got := v.wanted([]byte(c.raw), "")
			assert.Equal(t, c.want, len(got) == 1, "%+v", s)
			if c.want {
				assert.True(t, m.mayBeNative([]byte(c.raw)), "the quick look must not lose it")
			}
			if c.want && c.r.Pattern == "" {
				// What a probe of it sees must be evidence for who asked.
				f := &witness.Finding{ID: "X-1", Symbols: []witness.SymbolRef{c.r.Symbol}}
				frame := &witness.Frame{Language: s.Language, Package: s.Package, Member: s.Member, Symbol: s.Name, Flags: s.Flags, Confidence: s.Confidence}
				_, ok := finding.Of(f, witness.KindCall, frame, nil, false)
				assert.True(t, ok || c.r.Symbol.Member == "", "%+v", frame)
			}
		})
	}
}

func TestC(t *testing.T) {
	path := buildC(t)
	stripped := buildC(t, "-s")
	for name, c := range map[string]struct {
		member string
		o      Options
		want   []string
	}{
		"saves a register":       {"pushes", Options{}, []string{"pushes emulated 4154 shared [alias]"}},
		"not exported":           {"hidden", Options{}, []string{"hidden emulated 55"}},
		"leaves early":           {"early", Options{}, []string{"early emulated 75"}},
		"no cheap instruction":   {"leaf", Options{}, []string{"single_step leaf"}},
		"no cheap one allowed":   {"leaf", Options{SingleStep: true}, []string{"leaf single_step 8d"}},
		"one instruction":        {"tiny", Options{}, []string{"single_step tiny"}},
		"patchable":              {"patchable", Options{}, []string{"patchable emulated 90"}},
		"inlined":                {"inlined", Options{}, []string{"not_found"}},
		"chosen at start":        {"selected", Options{}, []string{"not_found"}},
		"not there":              {"absent", Options{}, []string{"not_found"}},
		"size unknown":           {"unsized", Options{}, []string{"unsized emulated 53"}},
		"nop of five on old":     {"five", Options{}, []string{"single_step five"}},
		"nop of five":            {"five", Options{Nop5: true}, []string{"five nop5 0f1f440000"}},
		"behind a vector":        {"avx", Options{}, []string{"avx emulated 53"}},
		"loops from its entry":   {"looped", Options{}, []string{"looped emulated 53 recounts"}},
		"loop with a jump table": {"machine", Options{}, []string{"single_step machine"}},
		"imported":               {"printf", Options{}, []string{"not_found"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := answer(t, path, of("c", "", c.member), c.o)
			require.Len(t, got, len(c.want))
			for i := range got {
				assert.True(t, strings.HasPrefix(got[i], c.want[i]), "%s: want %s", got[i], c.want[i])
			}
			assert.Equal(t, []string{"stripped"}, answer(t, stripped, of("c", "", c.member), c.o), "without a symbol table")
			assert.Equal(t, []string{"not_found"}, answer(t, stripped, of("go", "main", c.member), c.o), "it is not from Go")
		})
	}
	boundaries(t, path, Options{SingleStep: true, Nop5: true})
	boundaries(t, path, Options{})
}

// TestDebugFile has the symbols in another file, as distributions ship them, and the exported ones in the library.
func TestDebugFile(t *testing.T) {
	library := buildC(t, "-shared", "-fPIC", "-fno-semantic-interposition", "-g")
	debug := library + ".debug"
	run(t, filepath.Dir(library), nil, "objcopy", "--only-keep-debug", library, debug)
	run(t, filepath.Dir(library), nil, "strip", library)
	assert.Equal(t, []string{"pushes emulated 4154 shared [alias]"}, answer(t, library, of("c", "", "pushes"), Options{}), "it is exported")
	assert.Equal(t, []string{"stripped"}, answer(t, library, of("c", "", "hidden"), Options{}))
	f, size := open(t, debug)
	o := Options{Debug: f, DebugSize: size}
	assert.Equal(t, []string{"hidden emulated 55"}, answer(t, library, of("c", "", "hidden"), o))
	assert.Equal(t, []string{"pushes emulated 4154 shared [alias]"}, answer(t, library, of("c", "", "pushes"), o), "once, though two tables have it")
	assert.Equal(t, []string{"not_found"}, answer(t, library, of("c", "", "absent"), o))
	o = Options{Debug: strings.NewReader("no debug file"), DebugSize: 13}
	assert.Equal(t, []string{"stripped"}, answer(t, library, of("c", "", "hidden"), o))
}

func TestCxx(t *testing.T) {
	path := buildCxx(t)
	for _, c := range []struct {
		r    Request
		want []string
	}{
		{of("cxx", "shop::Item", "price"), []string{"_ZN4shop4Item5priceEi emulated"}},
		{of("cxx", "shop::Item", "weight"), []string{"_ZN4shop4Item6weightEi emulated"}}, // and not its thunk
		{of("cxx", "shop", "twice"), []string{"_ZN4shop5twiceIiEET_S1_ emulated", "_ZN4shop5twiceIdEET_S1_ emulated"}},
		{of("cxx", "shop::Item", "Item"), []string{"_ZN4shop4ItemC"}},
		{of("cxx", "shop::Item", "absent"), []string{"not_found"}},
	} {
		got := answer(t, path, c.r, Options{})
		require.Len(t, got, len(c.want), "%v", got)
		for _, want := range c.want {
			assert.True(t, slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }), "%v: want %s", got, want)
		}
	}
	boundaries(t, path, Options{SingleStep: true})
}

func TestRust(t *testing.T) {
	for name, flags := range map[string][]string{"default": nil, "v0": {"-C", "symbol-mangling-version=v0"}} {
		t.Run(name, func(t *testing.T) {
			path := buildRust(t, flags...)
			for _, c := range []struct {
				member string
				points int
			}{{"Parser::parse", 1}, {"Parser::area", 1}, {"twice", 2}} {
				got := answer(t, path, of("rust", "demo", c.member), Options{SingleStep: true})
				assert.Len(t, got, c.points, "%v", got)
				for _, text := range got {
					assert.Regexp(t, `^_(ZN|R)\S+ (emulated|single_step) `, text)
				}
			}
			assert.Equal(t, []string{"not_found"}, answer(t, path, of("rust", "demo", "Parser::absent"), Options{}))
		})
	}
}

func TestOtherProcessor(t *testing.T) {
	path := buildGo(t, []string{"GOARCH=arm64"})
	assert.Equal(t, []string{"unsupported_arch"}, answer(t, path, of("go", "main", "entered"), Options{}))
}

func TestLimits(t *testing.T) {
	path := buildGo(t, nil, "-ldflags=-s -w")
	r := of("go", "main", "")
	got := answer(t, path, r, Options{MaxPoints: 2})
	require.Greater(t, len(got), 3)
	assert.Contains(t, got[1], "emulated")
	assert.Contains(t, strings.Join(got[2:], "\n"), "over_budget")
	got = answer(t, path, r, Options{MaxFunctions: 3})
	assert.Contains(t, strings.Join(got, "\n"), "over_budget")
	assert.Equal(t, []string{"over_budget"}, answer(t, path, r, Options{MaxBytes: 100_000}))
	_, _, err := Resolve(strings.NewReader("#!/bin/sh\n"), 10, []Request{r}, Options{})
	require.ErrorIs(t, err, elffile.ErrNotELF)

	f, size := open(t, path)
	failing := errors.New("the disk is gone")
	_, _, err = Resolve(&broken{f, 100_000, failing}, size, []Request{r}, Options{})
	require.ErrorIs(t, err, failing)
}

type broken struct {
	io.ReaderAt
	after int64
	err   error
}

func (b *broken) ReadAt(p []byte, offset int64) (int, error) {
	if offset > b.after {
		return 0, b.err
	}
	return b.ReaderAt.ReadAt(p, offset)
}

func TestVerify(t *testing.T) {
	p := &Point{Offset: 2, Bytes: []byte{0x55}}
	for content, want := range map[string]bool{"..\x55": true, "..\x54": false, "..": false, "": false} {
		same, err := Verify(strings.NewReader(content), p)
		require.NoError(t, err)
		assert.Equal(t, want, same, "%q", content)
	}
}

// boundaries finds points for everything in a file and checks each against another disassembler and the bounds of functions.
func boundaries(t *testing.T, path string, o Options) {
	t.Helper()
	f, size := open(t, path)
	points, _, err := Resolve(f, size, []Request{{ID: "all", Pattern: "*", Closures: true}}, o)
	require.NoError(t, err)
	require.NotEmpty(t, points)
	layout, err := elffile.ReadLayout(f, size)
	require.NoError(t, err)
	table, tableErr := pclntab.Open(f, size)
	starts := disassembled(t, path)
	for _, p := range points {
		require.LessOrEqual(t, p.FunctionOffset, p.Offset)
		require.Less(t, p.Offset-p.FunctionOffset, uint64(window))
		vaddr, ok := layout.CodeAddress(p.Offset)
		require.True(t, ok)
		if starts != nil {
			length, ok := starts[vaddr]
			require.True(t, ok, "%s at %#x is not at an instruction", p.Raw, vaddr)
			require.Equal(t, length, len(p.Bytes), "%s at %#x", p.Raw, vaddr)
		}
		if p.Source == "pclntab" && tableErr == nil {
			function, ok, err := table.Lookup(vaddr + uint64(len(p.Bytes)) - 1)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, p.FunctionOffset, function.Offset)
			require.Equal(t, p.Raw, function.Name)
		}
	}
}

// disassembled has the length of each instruction by address, as objdump sees it; nil without objdump.
func disassembled(t *testing.T, path string) map[uint64]int {
	t.Helper()
	if _, err := exec.LookPath("objdump"); err != nil {
		return nil
	}
	output, err := exec.Command("objdump", "-d", "-w", path).Output()
	require.NoError(t, err)
	starts := map[uint64]int{}
	for lines := bufio.NewScanner(bytes.NewReader(output)); lines.Scan(); {
		address, rest, ok := strings.Cut(lines.Text(), ":\t")
		if !ok {
			continue
		}
		vaddr, err := strconv.ParseUint(strings.TrimSpace(address), 16, 64)
		if err != nil {
			continue
		}
		code, _, _ := strings.Cut(rest, "\t")
		starts[vaddr] = len(strings.Fields(code))
	}
	return starts
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"*", "", true}, {"*", "a/b.C", true}, {"a*c", "abc", true}, {"a*c", "abcd", false}, {"a*c*", "abcd", true},
		{"?", "", false}, {"?b", "ab", true}, {"*.Next", "html.Tokenizer.Next", true}, {"*Next", "NextNext", true}, {"**", "x", true},
	} {
		assert.Equal(t, c.want, glob(c.pattern, c.name), "%q %q", c.pattern, c.name)
	}
}

func TestChoose(t *testing.T) {
	type want struct {
		at       int
		cost     Cost
		recounts bool
		ok       bool
	}
	for name, c := range map[string]struct {
		code             string // hex
		goCode, nop5, ss bool
		want             want
	}{
		"push":                        {code: "55 4889e5 5d c3", want: want{0, Emulated, false, true}},
		"endbr64, push":               {code: "f30f1efa 55 5d c3", want: want{4, Emulated, false, true}},
		"return":                      {code: "c3", want: want{}},
		"return, stepped":             {code: "c3", ss: true, want: want{0, SingleStep, false, true}},
		"breakpoint, stepped":         {code: "cc 90", ss: true, want: want{}},
		"locked, stepped":             {code: "f0 48 ff 07 c3", ss: true, want: want{4, SingleStep, false, true}},
		"push behind a branch":        {code: "c3 55", want: want{}},
		"push behind a call":          {code: "ff d0 55", want: want{}},
		"branch into the prologue":    {code: "89f8 53 ffc8 75fb c3", want: want{5, Emulated, false, false}},
		"branch behind the push":      {code: "53 89f8 ffc8 75fc 5b c3", want: want{0, Emulated, false, true}},
		"branch to the entry":         {code: "53 5b ffc8 75fa c3", want: want{0, Emulated, true, true}},
		"jump table, mov, push":       {code: "89f8 53 ff24c500104000", want: want{2, Emulated, false, true}},
		"jump table, mov, push args":  {code: "89f8 56 ff24c500104000", want: want{}},
		"long nop":                    {code: "0f1f440000 c3", want: want{}},
		"long nop, fast":              {code: "0f1f440000 c3", nop5: true, want: want{0, Nop5, false, true}},
		"pause is no nop":             {code: "f390 c3", want: want{}},
		"prefixed nop":                {code: "6690 c3", want: want{}},
		"short jump":                  {code: "eb00 c3", want: want{0, Emulated, false, true}},
		"prefixed jump":               {code: "66e90000 c3", want: want{}},
		"unknown":                     {code: "06 55", want: want{}},
		"cut":                         {code: "48", ss: true, want: want{}},
		"empty":                       {code: "", ss: true, want: want{}},
		"go":                          {code: "493b6610 7606 55 4889e5 5d c3 e800000000 ebed", goCode: true, want: want{6, Emulated, false, true}},
		"go as c":                     {code: "493b6610 7606 55 4889e5 5d c3 e800000000 ebed", want: want{4, Emulated, true, true}},
		"go without frame pointer":    {code: "493b6610 7606 4883ec08 90 c3 e800000000 ebed", goCode: true, want: want{10, Emulated, false, true}},
		"go, nothing behind":          {code: "493b6610 7605 4883ec08 c3 e800000000 ebee", goCode: true, want: want{4, Emulated, true, true}},
		"go, nothing behind, stepped": {code: "493b6610 7605 4883ec08 c3 e800000000 ebee", goCode: true, ss: true, want: want{6, SingleStep, false, true}},
		"go, other comparison":        {code: "493b6620 7606 55 4889e5 5d c3 e800000000 90", goCode: true, want: want{4, Emulated, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var code []byte
			_, err := fmt.Sscanf(strings.ReplaceAll(c.code, " ", ""), "%x", &code)
			require.True(t, err == nil || c.code == "")
			got, ok := choose(code, true, c.goCode, c.nop5, c.ss)
			if !c.want.ok {
				assert.False(t, ok, "%+v", got)
				return
			}
			assert.Equal(t, c.want, want{got.at, got.cost, got.recounts, ok})
		})
	}
}

func FuzzChoose(f *testing.F) {
	f.Add([]byte{0x49, 0x3b, 0x66, 0x10, 0x76, 6, 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3, 0xe8, 0, 0, 0, 0, 0xeb, 0xed}, true, true)
	f.Add([]byte{0xc5, 0x30}, false, true) // a decoder of others looked behind its end
	f.Add([]byte{0x53, 0x5b, 0xff, 0xc8, 0x75, 0xfa, 0xc3}, false, false)
	f.Add([]byte{0xc5, 0xf9, 0xef, 0xc0, 0x62, 0xf1, 0xfd, 0x48, 0x6f, 0x47, 1}, false, true)
	f.Fuzz(func(t *testing.T, code []byte, goCode, singleStep bool) {
		code = code[:min(len(code), maxBody)]
		c, ok := choose(code, true, goCode, true, singleStep)
		if !ok {
			return
		}
		if c.at < 0 || c.at >= window || c.length <= 0 || c.at+c.length > len(code) || c.cost == SingleStep && !singleStep {
			t.Fatalf("%+v", c)
		}
		at := 0
		for at < c.at {
			i, ok := decodeAt(code, at)
			if !ok || i.jumps && i.target > 0 && i.target <= c.at {
				t.Fatalf("%+v is behind %d", c, at)
			}
			at += i.length
		}
		if at != c.at {
			t.Fatalf("%+v is not at an instruction", c)
		}
	})
}

func FuzzResolve(f *testing.F) {
	c, err := os.ReadFile(buildC(f))
	require.NoError(f, err)
	program, err := os.ReadFile(buildGo(f, nil, "-ldflags=-s -w"))
	require.NoError(f, err)
	headers, err := elf.NewFile(bytes.NewReader(c))
	require.NoError(f, err)
	for _, name := range []string{".symtab", ".strtab", ".text", ".dynsym"} {
		s := headers.Section(name)
		for i := range uint64(8) {
			f.Add(false, uint32(s.Offset+i*s.Size/8), []byte{0xff, 0xff, 0xff})
		}
	}
	f.Add(true, uint32(bytes.Index(program, []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8})), []byte{0xf0})
	f.Add(true, uint32(0x20), []byte{0xff})
	requests := []Request{{ID: "all", Pattern: "*main*"}, of("go", "main", ""), of("c", "", "pushes"), of("cxx", "std", ""), of("rust", "demo", "twice")}
	f.Fuzz(func(t *testing.T, second bool, place uint32, change []byte) {
		base := c
		if second {
			base = program
		}
		b := bytes.Clone(base)
		copy(b[int(place)%len(b):], change)
		points, refusals, err := Resolve(bytes.NewReader(b), int64(len(b)), requests, Options{SingleStep: place%2 == 0})
		if err != nil {
			return
		}
		answered := map[string]bool{}
		for _, p := range points {
			answered[p.Request] = true
			if same, err := Verify(bytes.NewReader(b), &p); err != nil || !same {
				t.Fatalf("%+v is not there", p)
			}
		}
		for _, r := range refusals {
			answered[r.Request] = true
		}
		for _, r := range requests {
			if !answered[r.ID] {
				t.Fatalf("%s has no answer", r.ID)
			}
		}
	})
}

func goTool(b testing.TB) (*os.File, int64) {
	path := filepath.Join(runtime.GOROOT(), "bin", "go") //nolint:staticcheck // the toolchain that runs the test
	if _, err := os.Stat(path); err != nil {
		b.Skip(err)
	}
	return open(b, path)
}

func BenchmarkResolve(b *testing.B) {
	f, size := goTool(b)
	many := make([]Request, 0, 2000)
	for i := range cap(many) {
		many = append(many, of("go", fmt.Sprintf("example.com/p%d", i%100), fmt.Sprintf("T%d.M", i)))
	}
	for name, requests := range map[string][]Request{
		"three":       {of("go", "net/http", "Client.Do"), of("go", "crypto/tls", "Conn.Handshake"), of("go", "encoding/asn1", "Unmarshal")},
		"2000 absent": many, "package": {of("go", "net/http", "")}, "pattern": {{ID: "p", Pattern: "net/http.*"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, refusals, err := Resolve(f, size, requests, Options{})
				require.NoError(b, err)
				_ = refusals
			}
		})
	}
}
