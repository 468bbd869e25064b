package pclntab

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
)

// source is a program that prints its own stack: offsets from runtime.main's entry, and what runtime.CallersFrames makes
// of them.
const source = `package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
)

type stack struct {
	Anchor string
	Entry  uint64
	PCs    []uint64
	Frames []frame
}

type frame struct {
	Name, File string
	Line       int
}

type list[T any] struct{ items []T }

//go:noinline
func (l *list[T]) each(do func(T)) {
	for _, item := range l.items {
		do(item)
	}
}

func small(do func()) { do() }       // inlined wherever it is called

func middle(do func()) { small(do) } // and this

//go:noinline
func large(do func()) {
	middle(func() { do() })
	fmt.Fprintln(os.Stderr, "large")
}

type shape interface{ visit(do func()) }

type square struct{ side int }

//go:noinline
func (s square) visit(do func()) {
	if s.side > 0 {
		large(do)
	}
}

//go:noinline
func pick(n int) shape {
	if n > 100 {
		return nil
	}
	return &square{n}
}

//go:noinline
func entered(n int) int {
	var buffer [512]byte
	for i := range buffer {
		buffer[i] = byte(n)
	}
	return int(buffer[n%len(buffer)])
}

func main() {
	var out stack
	s := pick(len(os.Args))
	l := list[string]{os.Args[:1]}
	l.each(func(string) {
		s.visit(func() {
			pcs := make([]uintptr, 64)
			pcs = pcs[:runtime.Callers(1, pcs)]
			frames := runtime.CallersFrames(pcs)
			for {
				f, more := frames.Next()
				if strings.HasPrefix(f.Function, "runtime.main") {
					out.Anchor, out.Entry = f.Function, uint64(f.Entry)
				}
				out.Frames = append(out.Frames, frame{f.Function, f.File, f.Line})
				if !more {
					break
				}
			}
			for _, pc := range pcs {
				out.PCs = append(out.PCs, uint64(pc))
			}
		})
	})
	entered(len(os.Args))
	json.NewEncoder(os.Stdout).Encode(out)
}
`

const cgoSource = `package main

/*
int answer(int n) { return n + 42; }
*/
import "C"

func init() { _ = C.answer(1) }
`

type build struct {
	name  string
	flags []string
	cgo   bool
	arch  string
}

var builds = []build{
	{name: "normal"},
	{name: "stripped", flags: []string{"-ldflags=-s -w"}},
	{name: "pie", flags: []string{"-buildmode=pie"}},
	{name: "stripped pie", flags: []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{name: "external", flags: []string{"-ldflags=-linkmode=external"}, cgo: true},
	{name: "stripped external pie", flags: []string{"-buildmode=pie", "-ldflags=-linkmode=external -s -w"}, cgo: true},
	{name: "without optimization", flags: []string{"-gcflags=all=-N -l"}},
	{name: "arm64", arch: "arm64"},
	{name: "stripped arm64 pie", flags: []string{"-buildmode=pie", "-ldflags=-s -w"}, arch: "arm64"},
}

func compile(t testing.TB, b build) string {
	t.Helper()
	if b.cgo {
		if _, err := exec.LookPath("gcc"); err != nil {
			t.Skip("no gcc")
		}
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/program\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	if b.cgo {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cgo.go"), []byte(cgoSource), 0o600))
	}
	command := exec.Command("go", append([]string{"build", "-o", "program"}, b.flags...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux")
	if b.arch != "" {
		command.Env = append(command.Env, "GOARCH="+b.arch)
	}
	if b.cgo {
		command.Env = append(command.Env, "CGO_ENABLED=1")
	}
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	return filepath.Join(dir, "program")
}

func open(t testing.TB, path string) (*Table, *os.File) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	require.NoError(t, err)
	table, err := Open(f, info.Size())
	require.NoError(t, err)
	return table, f
}

func exactly(names ...string) func([]byte) bool {
	return func(name []byte) bool {
		for _, n := range names {
			if string(name) == n {
				return true
			}
		}
		return false
	}
}

func TestPrograms(t *testing.T) {
	for _, b := range builds {
		t.Run(b.name, func(t *testing.T) {
			path := compile(t, b)
			table, _ := open(t, path)
			assert.True(t, table.Inlining())

			symbols := map[string]elf.Symbol{}
			if f, err := elf.Open(path); err == nil {
				if list, err := f.Symbols(); err == nil {
					for _, s := range list {
						symbols[s.Name] = s
					}
				}
				f.Close()
			}
			if s, ok := symbols["runtime.text"]; ok {
				start, _ := table.Text()
				assert.Equal(t, s.Value, start)
			} else {
				assert.Contains(t, b.name, "stripped", "only stripped files have no symbols")
			}

			n, last := 0, uint64(0)
			for f, err := range table.Functions() {
				require.NoError(t, err)
				n++
				assert.NotEmpty(t, f.Name)
				assert.Less(t, f.Entry, f.End)
				assert.GreaterOrEqual(t, f.Entry, last)
				last = f.End
				if s, ok := symbols[f.Name]; ok && !strings.Contains(f.Name, "[") && s.Value != f.Entry {
					// An assembly function and the wrapper that calls it have one name.
					assert.True(t, symbols[f.Name+".abi0"].Value == f.Entry || elf.ST_TYPE(s.Info) != elf.STT_FUNC, "%s is at %#x, not %#x", f.Name, s.Value, f.Entry)
				}
			}
			assert.Equal(t, table.Len(), n)

			named, err := table.Match(exactly("main.entered", "main.small", "main.large", "main.square.visit", "main.(*square).visit", "main.absent"), 100)
			require.NoError(t, err)
			counts, err := table.Inlined(named)
			require.NoError(t, err)
			functions, inlined, generated := map[string]int{}, map[string]int{}, map[string]bool{}
			for i, name := range named {
				functions[name.Name], inlined[name.Name] = len(name.Functions), counts[i]
				for _, f := range name.Functions {
					again, ok, err := table.Lookup(f.Entry + 1)
					require.NoError(t, err)
					assert.True(t, ok)
					assert.Equal(t, f, again)
					vaddr, ok := table.Address(f.Offset)
					assert.True(t, ok)
					assert.Equal(t, f.Entry, vaddr)
					inside, err := table.InlinedInto(&f)
					require.NoError(t, err)
					if name.Name == "main.large" && b.name != "without optimization" {
						assert.Subset(t, inside, []string{"main.middle", "main.small"})
					}
					generated[name.Name], err = table.Generated(&f)
					require.NoError(t, err)
				}
			}
			want := map[string]int{"main.entered": 1, "main.small": 0, "main.large": 1, "main.square.visit": 1, "main.(*square).visit": 1}
			wantInlined := map[string]int{"main.entered": 0, "main.small": 1, "main.large": 0, "main.square.visit": 0, "main.(*square).visit": 0}
			if b.name == "without optimization" {
				want["main.small"], wantInlined["main.small"] = 1, 0
			}
			assert.Equal(t, want, functions)
			assert.Equal(t, wantInlined, inlined)
			assert.True(t, generated["main.(*square).visit"], "the wrapper of a method that values have")
			assert.False(t, generated["main.square.visit"])

			if b.arch == "" && runtime.GOARCH == "amd64" || b.arch == runtime.GOARCH {
				sameFrames(t, path, table)
			}
		})
	}
}

// sameFrames compares with what the runtime of the running program says.
func sameFrames(t *testing.T, path string, table *Table) {
	t.Helper()
	output, err := exec.Command(path).Output()
	require.NoError(t, err)
	var own struct {
		Anchor string
		Entry  uint64
		PCs    []uint64
		Frames []Frame
	}
	require.NoError(t, json.Unmarshal(output, &own))
	anchor, err := table.Match(exactly(own.Anchor), 1)
	require.NoError(t, err)
	require.Len(t, anchor, 1)
	slide := own.Entry - anchor[0].Functions[0].Entry
	// The runtime has already expanded the stack: a logical frame each, and of inlined functions the places that called.
	var frames []Frame
	for _, pc := range own.PCs {
		vaddr := pc - 1 - slide
		logical, err := table.Frames(vaddr)
		require.NoError(t, err)
		require.NotEmpty(t, logical)
		frames = append(frames, Frame{Name: logical[0].Name, File: logical[0].File, Line: logical[0].Line})
	}
	// Programs print type arguments as [...].
	printed := strings.NewReplacer("[go.shape.string]", "[...]")
	for i := range frames {
		frames[i].Name = printed.Replace(frames[i].Name)
	}
	assert.Equal(t, own.Frames, frames)
	// The innermost place of each function has all of them.
	var expanded []Frame
	skip := 0
	for _, pc := range own.PCs {
		if skip > 0 {
			skip--
			continue
		}
		logical, err := table.Frames(pc - 1 - slide)
		require.NoError(t, err)
		skip = len(logical) - 1
		for i, f := range logical {
			assert.Equal(t, i < len(logical)-1, f.Inlined)
			expanded = append(expanded, Frame{Name: printed.Replace(f.Name), File: f.File, Line: f.Line})
		}
	}
	assert.Equal(t, own.Frames, expanded)
}

// TestTextIsNotSection makes sure that the external link of the test has what made others go wrong.
func TestTextIsNotSection(t *testing.T) {
	path := compile(t, build{flags: []string{"-ldflags=-linkmode=external"}, cgo: true})
	table, _ := open(t, path)
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	start, _ := table.Text()
	assert.Greater(t, start, f.Section(".text").Addr)
}

func TestWithoutSections(t *testing.T) {
	for _, b := range []build{{name: "static", flags: []string{"-ldflags=-s -w"}}, {name: "pie", flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}} {
		t.Run(b.name, func(t *testing.T) {
			whole, err := os.ReadFile(compile(t, b))
			require.NoError(t, err)
			with, err := Open(bytes.NewReader(whole), int64(len(whole)))
			require.NoError(t, err)
			for name, bare := range map[string][]byte{"no headers": withoutSections(whole), "other name": renamed(whole)} {
				without, err := Open(bytes.NewReader(bare), int64(len(bare)))
				require.NoError(t, err, name)
				assert.Equal(t, with.text, without.text)
				assert.Equal(t, with.funcdata, without.funcdata)
				assert.Equal(t, with.count, without.count)
			}
		})
	}
}

func withoutSections(b []byte) []byte {
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint64(b[40:], 0)
	clear(b[58:64])
	return b
}

func renamed(b []byte) []byte {
	return bytes.Replace(b, []byte("\x00.gopclntab\x00"), []byte("\x00.gopclntax\x00"), 1)
}

func TestRefused(t *testing.T) {
	valid, err := os.ReadFile(compile(t, build{flags: []string{"-ldflags=-s -w"}}))
	require.NoError(t, err)
	at := bytes.Index(valid, []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8})
	require.Positive(t, at)
	with := func(change func(b []byte)) []byte {
		b := bytes.Clone(valid)
		change(b)
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"old":            {with(func(b []byte) { b[at] = 0xfb }), ErrUnsupported},
		"1.16":           {with(func(b []byte) { b[at] = 0xfa }), ErrUnsupported},
		"32 bit table":   {with(func(b []byte) { b[at+7] = 4 }), ErrUnsupported},
		"other magic":    {with(func(b []byte) { b[at] = 0x11 }), ErrMalformed},
		"many functions": {with(func(b []byte) { b[at+13] = 0xff }), ErrMalformed},
		"more functions": {with(func(b []byte) { b[at+8]++ }), ErrMalformed},
		"names behind":   {with(func(b []byte) { b[at+8+3*8+4] = 1 }), ErrMalformed},
		"other machine":  {with(func(b []byte) { b[18] = byte(elf.EM_RISCV) }), ErrUnsupported},
		"no table":       {with(func(b []byte) { b[at] = 0; copy(b, withoutSections(b)) }), ErrNotGo},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(bytes.NewReader(c.b), int64(len(c.b)))
			assert.ErrorIs(t, err, c.want)
		})
	}
	_, err = Open(bytes.NewReader(valid[:len(valid)/2]), int64(len(valid)/2))
	assert.Error(t, err)
	_, err = Open(strings.NewReader("#!/bin/sh\n"), 10)
	assert.Error(t, err)
}

func TestLimit(t *testing.T) {
	table, _ := open(t, compile(t, build{flags: []string{"-ldflags=-s -w"}}))
	named, err := table.Match(func([]byte) bool { return true }, 100)
	require.ErrorIs(t, err, ErrLimit)
	assert.NotEmpty(t, named)
	assert.LessOrEqual(t, len(named), 100)
}

// TestInstalled reads programs of other versions of Go, those that the patterns in WITNESS_TEST_PROGRAMS match.
func TestInstalled(t *testing.T) {
	if os.Getenv("WITNESS_TEST_PROGRAMS") == "" {
		t.Skip("WITNESS_TEST_PROGRAMS names no programs")
	}
	for _, dir := range strings.Fields(os.Getenv("WITNESS_TEST_PROGRAMS")) {
		paths, err := filepath.Glob(dir)
		require.NoError(t, err)
		for _, path := range paths {
			f, err := os.Open(path)
			if err != nil {
				continue
			}
			info, err := f.Stat()
			require.NoError(t, err)
			if info.IsDir() {
				continue
			}
			table, err := Open(f, info.Size())
			if err != nil {
				assert.True(t, errors.Is(err, ErrNotGo) || errors.Is(err, elffile.ErrNotELF), "%s: %v", path, err)
				continue
			}
			n, places, inlined := 0, 0, 0
			for f, err := range table.Functions() {
				require.NoError(t, err, path)
				if n++; n%50 != 0 {
					continue
				}
				for vaddr := f.Entry; vaddr < f.End; vaddr += 7 {
					frames, err := table.Frames(vaddr)
					require.NoError(t, err, "%s %#x", path, vaddr)
					places++
					inlined += len(frames) - 1
				}
			}
			t.Log(path, n, "functions", places, "places", inlined, "inlined")
			f.Close()
		}
	}
}

func FuzzOpen(f *testing.F) {
	whole, err := os.ReadFile(compile(f, build{flags: []string{"-ldflags=-s -w"}}))
	require.NoError(f, err)
	pie, err := os.ReadFile(compile(f, build{flags: []string{"-buildmode=pie", "-ldflags=-s -w"}}))
	require.NoError(f, err)
	at := bytes.Index(whole, []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8})
	// A fuzzed input is a change: which program, where, and what to write there; small ones go to the headers and the table.
	f.Add(false, uint32(0), []byte{})
	f.Add(true, uint32(0x18), []byte{1})
	for i := range uint32(16) {
		f.Add(false, uint32(at)+8*i, []byte{0xff, 0xff, 0xff, 0x7f})
		f.Add(true, 64+56*i, bytes.Repeat([]byte{0xff}, 56))
	}
	f.Add(false, uint32(len(whole)/2), []byte("cut"))
	f.Fuzz(func(t *testing.T, second bool, place uint32, change []byte) {
		base := whole
		if second {
			base = pie
		}
		r := io.ReaderAt(&changed{base, int64(place) % int64(len(base)), change})
		size := int64(len(base))
		if string(change) == "cut" {
			size = int64(place) % int64(len(base))
			r = bytes.NewReader(base[:size])
		}
		table, err := Open(r, size)
		if err != nil {
			return
		}
		start, end := table.Text()
		for i := range uint64(32) {
			_, _ = table.Frames(start + (end-start)*i/32)
		}
		named, _ := table.Match(func(name []byte) bool { return bytes.HasPrefix(name, []byte("main.")) }, 1000)
		for _, n := range named {
			for _, f := range n.Functions {
				if f.Entry >= f.End || f.Offset >= uint64(size) {
					t.Fatalf("%+v is outside", f)
				}
			}
		}
		if place%16 == 0 {
			_, _ = table.Inlined(named)
		}
	})
}

// changed is a file with some bytes replaced.
type changed struct {
	base   []byte
	place  int64
	change []byte
}

func (c *changed) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= int64(len(c.base)) {
		return 0, io.EOF
	}
	n := copy(b, c.base[offset:])
	for i := range c.change {
		if at := c.place + int64(i) - offset; at >= 0 && at < int64(n) {
			b[at] = c.change[i]
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func goTool(b testing.TB) (*os.File, int64) {
	f, err := os.Open(filepath.Join(runtime.GOROOT(), "bin", "go")) //nolint:staticcheck // the toolchain that runs the test
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	require.NoError(b, err)
	return f, info.Size()
}

func BenchmarkOpen(b *testing.B) {
	f, size := goTool(b)
	b.ReportAllocs()
	for b.Loop() {
		_, err := Open(f, size)
		require.NoError(b, err)
	}
}

func BenchmarkMatch(b *testing.B) {
	f, size := goTool(b)
	table, err := Open(f, size)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		named, err := table.Match(exactly("net/http.(*Client).Do", "crypto/tls.(*Conn).Handshake"), 10)
		require.NoError(b, err)
		require.NotEmpty(b, named)
	}
}

func BenchmarkInlined(b *testing.B) {
	f, size := goTool(b)
	table, err := Open(f, size)
	require.NoError(b, err)
	named, err := table.Match(exactly("net/http.(*Client).Do", "strings.Index"), 10)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := table.Inlined(named)
		require.NoError(b, err)
	}
}

func BenchmarkFrames(b *testing.B) {
	f, size := goTool(b)
	table, err := Open(f, size)
	require.NoError(b, err)
	start, end := table.Text()
	for _, spread := range []uint64{8, 4096} {
		b.Run(fmt.Sprint(spread, " places"), func(b *testing.B) {
			b.ReportAllocs()
			for n := uint64(0); b.Loop(); n++ {
				_, err := table.Frames(start + (end-start)*(n%spread)/spread)
				require.NoError(b, err)
			}
		})
	}
}
