package symbolize

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// goSource prints the return addresses of its stack as offsets in its file, as the kernel's mappings tell, and the names that its runtime has for them.
const goSource = `package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
)

func small(do func()) { do() } // inlined

//go:noinline
func large(do func()) {
	small(do)
	fmt.Fprintln(os.Stderr, "large")
}

func main() {
	var out struct {
		Offsets []uint64
		Names   []string
	}
	large(func() {
		pcs := make([]uintptr, 64)
		pcs = pcs[:runtime.Callers(1, pcs)]
		maps, _ := os.ReadFile("/proc/self/maps")
		for _, pc := range pcs {
			for _, line := range strings.Split(string(maps), "\n") {
				var from, to, offset uint64
				if n, _ := fmt.Sscanf(line, "%x-%x r-xp %x", &from, &to, &offset); n == 3 && uint64(pc) >= from && uint64(pc) < to {
					out.Offsets = append(out.Offsets, uint64(pc)-from+offset)
				}
			}
		}
		frames := runtime.CallersFrames(pcs)
		for {
			f, more := frames.Next()
			out.Names = append(out.Names, f.Function)
			if !more {
				break
			}
		}
	})
	json.NewEncoder(os.Stdout).Encode(out)
}
`

const cgoSource = `package main

// int answer(int n) { return n * 42 + 7; }
import "C"

func init() { _ = C.answer(1) }
`

const cSource = `
#include <stdio.h>
__attribute__((noinline)) int first(int n) { return printf("%d", n); }
__attribute__((noinline)) static int hidden(int n) { return printf("%d!", n) * 3; }
int same(int n) __attribute__((alias("first")));
int exported(int n) { return first(n) + hidden(n) + same(n); }
`

const rustSource = `
pub struct Parser { pub items: Vec<String> }
impl Parser {
    #[inline(never)]
    pub fn parse(&mut self, text: &str) -> usize { for part in text.split(',') { self.items.push(part.to_string()); } self.items.len() }
}
fn main() { let mut p = Parser { items: vec![] }; println!("{}", p.parse(&std::env::args().collect::<Vec<_>>().join(","))); }
`

func run(t testing.TB, dir string, environment []string, name string, arguments ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("no " + name)
	}
	command := exec.Command(name, arguments...)
	command.Dir = dir
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

func buildGo(t testing.TB, cgo bool, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "go.mod", "module example.com/program\n\ngo 1.26\n")
	write(t, dir, "main.go", goSource)
	environment := []string{"GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0"}
	if cgo {
		write(t, dir, "cgo.go", cgoSource)
		environment[2] = "CGO_ENABLED=1"
	}
	run(t, dir, environment, "go", append([]string{"build", "-o", "program"}, flags...)...)
	return filepath.Join(dir, "program")
}

func buildC(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "lib.c", cSource)
	run(t, dir, nil, "gcc", "-O2", "-shared", "-fPIC", "-fno-semantic-interposition", "-fno-ipa-icf", "-o", "lib.so", "lib.c")
	return filepath.Join(dir, "lib.so")
}

func opener(path string) func() (File, error) {
	return func() (File, error) { return os.Open(path) }
}

// symbols are the functions of a file's symbol table, with their offset in the file as value.
func symbols(t testing.TB, path string) map[string]elf.Symbol {
	t.Helper()
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	list, err := f.Symbols()
	if err != nil {
		list, err = f.DynamicSymbols()
	}
	require.NoError(t, err)
	found := map[string]elf.Symbol{}
	for _, s := range list {
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && s.Value >= p.Vaddr && s.Value < p.Vaddr+p.Filesz && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
				s.Value += p.Off - p.Vaddr
				found[s.Name] = s
				break
			}
		}
	}
	return found
}

func TestGo(t *testing.T) {
	for name, b := range map[string]struct {
		cgo   bool
		flags []string
	}{
		"normal": {}, "stripped": {flags: []string{"-ldflags=-s -w"}}, "pie": {flags: []string{"-buildmode=pie"}},
		"external": {true, []string{"-ldflags=-linkmode=external"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath("gcc"); b.cgo && err != nil {
				t.Skip("no gcc")
			}
			path := buildGo(t, b.cgo, b.flags...)
			output, err := exec.Command(path).Output()
			require.NoError(t, err)
			var own struct {
				Offsets []uint64
				Names   []string
			}
			require.NoError(t, json.Unmarshal(output, &own))
			c := New[string](Options{})
			defer c.Close()
			var names []string
			for skip, i := 0, 0; i < len(own.Offsets); i++ {
				// The runtime has expanded what is inlined: the places of the callers follow.
				if skip > 0 {
					skip--
					continue
				}
				frames, err := c.Frames(path, opener(path), own.Offsets[i], true)
				require.NoError(t, err)
				skip = len(frames) - 1
				for _, f := range frames {
					assert.Equal(t, "go", f.Language)
					assert.Equal(t, SourceGo, f.SymbolSource)
					assert.Equal(t, own.Offsets[i], f.Offset)
					assert.True(t, f.HasOffset)
					assert.NotEmpty(t, f.File)
					assert.Positive(t, f.Line)
					assert.Equal(t, f.Symbol == "main.small", f.Inlined)
					names = append(names, f.Symbol)
				}
			}
			assert.Equal(t, own.Names, names)
			assert.Contains(t, names, "main.small")
			if b.cgo {
				s, ok := symbols(t, path)["_cgo_sys_thread_start"]
				require.True(t, ok)
				frames, err := c.Frames(path, opener(path), s.Value+1, false)
				require.NoError(t, err)
				assert.Equal(t, []witness.Frame{{Symbol: "_cgo_sys_thread_start", Language: "c", SymbolSource: SourceSymtab, Offset: s.Value + 1, HasOffset: true}}, frames)
			}
		})
	}
}

func TestNative(t *testing.T) {
	path := buildC(t)
	functions := symbols(t, path)
	stripped := path + ".stripped"
	run(t, filepath.Dir(path), nil, "strip", "-o", stripped, path)
	c := New[string](Options{})
	defer c.Close()
	name := func(path string, offset uint64, returned bool) string {
		frames, err := c.Frames(path, opener(path), offset, returned)
		require.NoError(t, err)
		require.Len(t, frames, 1)
		assert.Equal(t, offset, frames[0].Offset)
		return strings.TrimSpace(frames[0].SymbolSource + " " + frames[0].Symbol)
	}
	hidden, exported, first := functions["hidden"], functions["exported"], functions["first"]
	assert.Equal(t, "symtab hidden", name(path, hidden.Value, false))
	assert.Equal(t, "symtab hidden", name(path, hidden.Value+hidden.Size-1, false))
	assert.Equal(t, "symtab hidden", name(path, hidden.Value+hidden.Size, true), "a call was its last instruction")
	assert.NotEqual(t, "symtab hidden", name(path, hidden.Value+hidden.Size, false))
	assert.Equal(t, "symtab exported", name(path, exported.Value+1, true))
	assert.Empty(t, name(path, exported.Value+exported.Size+64<<10, false))
	assert.Empty(t, name(path, 0, true))
	assert.Empty(t, name(path, 1<<40, false))
	assert.Equal(t, "symtab exported", name(stripped, exported.Value+1, false))
	assert.Empty(t, name(stripped, hidden.Value+1, false), "never the nearest symbol")
	frames, err := c.Frames(path, opener(path), first.Value, false)
	require.NoError(t, err)
	assert.Equal(t, []witness.Frame{{Symbol: "same", Language: "c", SymbolSource: SourceSymtab, Confidence: sharedConfidence, Offset: first.Value, HasOffset: true}}, frames, "two names for it")
}

func TestRust(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "demo.rs", rustSource)
	run(t, dir, nil, "rustc", "-O", "-o", "demo", "demo.rs")
	path := filepath.Join(dir, "demo")
	c := New[string](Options{})
	defer c.Close()
	for raw, s := range symbols(t, path) {
		if strings.Contains(raw, "Parser5parse") {
			frames, err := c.Frames(path, opener(path), s.Value+4, true)
			require.NoError(t, err)
			assert.Equal(t, raw, frames[0].Symbol)
			assert.Equal(t, "rust", frames[0].Language)
			return
		}
	}
	t.Fatal("no function")
}

func TestNotELF(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600))
	c := New[int](Options{})
	for range 2 {
		frames, err := c.Frames(1, opener(path), 5, false)
		require.NoError(t, err)
		assert.Equal(t, []witness.Frame{{Offset: 5, HasOffset: true}}, frames)
	}
	assert.Equal(t, Stats{Hits: 1, Misses: 1, Unknown: 2, Files: 1, Bytes: fileMemory}, c.Stats())
	_, err := c.Frames(2, opener(path+".absent"), 5, false)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, 1, c.Stats().Files, "what cannot be opened may be there the next time")
}

// closing counts open files.
type closing struct {
	*os.File
	open *int
}

func (c closing) Close() error {
	*c.open--
	return c.File.Close()
}

func TestEviction(t *testing.T) {
	path := buildC(t)
	at := symbols(t, path)["exported"].Value
	isOpen := 0
	opener := func() (File, error) {
		f, err := os.Open(path)
		isOpen++
		return closing{f, &isOpen}, err
	}
	ask := func(c *Cache[int], key int) {
		frames, err := c.Frames(key, opener, at, false)
		require.NoError(t, err)
		require.Equal(t, "exported", frames[0].Symbol)
	}
	c := New[int](Options{MaxFiles: 2})
	for _, key := range []int{1, 2, 1, 3, 1, 2} { // 3 evicts 2, 2 evicts 3
		ask(c, key)
	}
	s := c.Stats()
	assert.Equal(t, [4]uint64{2, 4, 2, 6}, [4]uint64{s.Hits, s.Misses, s.Evictions, s.Named})
	assert.Equal(t, 2, s.Files)
	assert.Equal(t, 2, isOpen)
	one := s.Bytes / 2
	c.Close()
	assert.Zero(t, isOpen)
	assert.Zero(t, c.Stats().Bytes)

	c = New[int](Options{MaxBytes: 2*one + one/2})
	for key := range 5 {
		ask(c, key)
		assert.LessOrEqual(t, c.Stats().Bytes, 2*one+one/2)
	}
	assert.Equal(t, 2, c.Stats().Files)
	c.Close()

	c = New[int](Options{MaxBytes: 1})
	ask(c, 1)
	ask(c, 1)
	assert.Equal(t, uint64(1), c.Stats().Hits, "the file in use stays")
	c.Close()
	assert.Zero(t, isOpen)
}

var errGone = errors.New("the disk is gone")

type broken struct{ *os.File }

func (b broken) ReadAt(p []byte, offset int64) (int, error) {
	if offset > 4096 {
		return 0, errGone
	}
	return b.File.ReadAt(p, offset)
}

func TestUnreadable(t *testing.T) {
	path := buildC(t)
	c := New[int](Options{})
	defer c.Close()
	frames, err := c.Frames(1, func() (File, error) {
		f, err := os.Open(path)
		return broken{f}, err
	}, symbols(t, path)["exported"].Value, false)
	require.ErrorIs(t, err, errGone)
	assert.Empty(t, frames[0].Symbol)
}

// memory is a file that is not on disk.
type memory struct{ *bytes.Reader }

func (memory) Close() error                 { return nil }
func (m memory) Stat() (fs.FileInfo, error) { return sized{size: m.Size()}, nil }

type sized struct {
	fs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }

func FuzzFrames(f *testing.F) {
	library, err := os.ReadFile(buildC(f))
	require.NoError(f, err)
	program, err := os.ReadFile(buildGo(f, false, "-ldflags=-s -w"))
	require.NoError(f, err)
	f.Add(false, uint32(0x20), []byte{1}, uint64(0x1100))
	f.Add(true, uint32(0x20), []byte{1}, uint64(0x1100))
	headers, err := elf.NewFile(bytes.NewReader(library))
	require.NoError(f, err)
	s := headers.Section(".symtab")
	for i := range uint64(8) {
		f.Add(false, uint32(s.Offset+i*s.Size/8), []byte{0xff, 0xff}, uint64(0x1130))
	}
	at := uint32(bytes.Index(program, []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8}))
	f.Add(true, at+8, []byte{0xff}, uint64(0x2000))
	f.Add(true, at+0x1000, []byte{0xff, 0xff, 0xff}, uint64(0x3000))
	f.Fuzz(func(t *testing.T, second bool, place uint32, change []byte, offset uint64) {
		b := bytes.Clone(library)
		if second {
			b = bytes.Clone(program)
		}
		copy(b[int(place)%len(b):], change)
		c := New[int](Options{})
		open := func() (File, error) { return memory{bytes.NewReader(b)}, nil }
		for i := range uint64(8) {
			frames, err := c.Frames(1, open, offset+i*97, i%2 == 0)
			if err != nil || len(frames) == 0 {
				t.Fatal(err, frames)
			}
			for _, frame := range frames {
				if !frame.HasOffset || (frame.Symbol == "") != (frame.SymbolSource == "") {
					t.Fatalf("%+v", frame)
				}
			}
		}
	})
}

func BenchmarkFrames(b *testing.B) {
	for name, path := range map[string]string{"go": buildGo(b, false, "-ldflags=-s -w"), "c": buildC(b)} {
		b.Run(name, func(b *testing.B) {
			f, err := elf.Open(path)
			require.NoError(b, err)
			text := f.Section(".text")
			f.Close()
			c := New[int](Options{})
			defer c.Close()
			for n := uint64(0); b.Loop(); n++ {
				_, err := c.Frames(1, opener(path), text.Offset+text.Size*(n%1024)/1024, true)
				require.NoError(b, err)
			}
		})
	}
}
