package elffile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goSource = `package main

import "fmt"

func main() { fmt.Println("hello") }
`

// note is a package note as distributions link it in.
const cSource = `__asm__(".section .note.package,\"a\",@note\n.balign 4\n.long 4, 2f-1f, 0xcafe1a7e\n.asciz \"FDO\"\n1: .asciz \"{\\\"type\\\":\\\"deb\\\",\\\"os\\\":\\\"Debian\\\",\\\"name\\\":\\\"openssl\\\",\\\"version\\\":\\\"3.0.19-1~deb12u2\\\"}\"\n2:\n.balign 4\n.previous\n");
int work(int x) { return x * 3; }
int main(void) { return work(0); }
`

func run(t testing.TB, dir, name string, arguments ...string) {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}

func buildGo(t testing.TB, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/hello\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(goSource), 0o600))
	run(t, dir, "go", append([]string{"build", "-o", "hello"}, flags...)...)
	b, err := os.ReadFile(filepath.Join(dir, "hello"))
	require.NoError(t, err)
	return b
}

func buildC(t testing.TB, flags ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "work.c"), []byte(cSource), 0o600))
	run(t, dir, "gcc", append([]string{"-o", "work", "work.c"}, flags...)...)
	b, err := os.ReadFile(filepath.Join(dir, "work"))
	require.NoError(t, err)
	return b
}

// withoutSections is the file as a stripper that also removes the section headers leaves it.
func withoutSections(b []byte) []byte {
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint64(b[40:], 0)
	clear(b[58:64])
	return b
}

func TestGoBinary(t *testing.T) {
	whole := buildGo(t, "-ldflags=-B 0x0102030405060708")
	stripped := buildGo(t, "-trimpath", "-ldflags=-s -w -B 0x0102030405060708")
	for name, b := range map[string][]byte{"with symbols": whole, "stripped": stripped, "without section headers": withoutSections(stripped)} {
		t.Run(name, func(t *testing.T) {
			info, err := Read(bytes.NewReader(b))
			require.NoError(t, err)
			if name == "without section headers" {
				assert.Empty(t, info.BuildID, "Go's linker covers its GNU build-id by no program header")
			} else {
				assert.Equal(t, "0102030405060708", info.BuildID)
			}
			assert.Regexp(t, `^[\w-]+/[\w-]+/[\w-]+/[\w-]+$`, info.GoBuildID)
			assert.Nil(t, info.Package)
			build, err := BuildInfo(bytes.NewReader(b))
			require.NoError(t, err)
			assert.Equal(t, "example.com/hello", build.Main.Path)
			assert.Contains(t, build.GoVersion, "go1.")
		})
	}
}

func TestCBinary(t *testing.T) {
	b := buildC(t, "-Wl,--build-id=0xABCDEF01")
	for name, b := range map[string][]byte{"with section headers": b, "without": withoutSections(b)} {
		t.Run(name, func(t *testing.T) {
			info, err := Read(bytes.NewReader(b))
			require.NoError(t, err)
			assert.Equal(t, "abcdef01", info.BuildID)
			assert.Empty(t, info.GoBuildID)
			assert.JSONEq(t, `{"type":"deb","os":"Debian","name":"openssl","version":"3.0.19-1~deb12u2"}`, string(info.Package))
			_, err = BuildInfo(bytes.NewReader(b))
			assert.Error(t, err)
		})
	}
	info, err := Read(bytes.NewReader(buildC(t, "-Wl,--build-id=none")))
	require.NoError(t, err)
	assert.Empty(t, info.BuildID)
}

func TestRefused(t *testing.T) {
	valid := buildC(t, "-Wl,--build-id=sha1")
	with := func(change func(b []byte)) []byte {
		b := bytes.Clone(valid)
		change(b)
		return b
	}
	shstrtab := func(b []byte) []byte {
		at := binary.LittleEndian.Uint64(b[40:]) + uint64(binary.LittleEndian.Uint16(b[62:]))*64
		return b[at:]
	}
	for name, c := range map[string]struct {
		file             []byte
		read, goBuilding error
	}{
		"empty":                      {nil, ErrNotELF, ErrNotELF},
		"text":                       {[]byte("#!/bin/sh\necho this is a script and not an ELF file at all"), ErrNotELF, ErrNotELF},
		"cut in the header":          {valid[:60], ErrNotELF, ErrNotELF},
		"cut in the program headers": {valid[:100], ErrNotELF, ErrNotELF},
		"unknown class":              {with(func(b []byte) { b[4] = 9 }), ErrNotELF, ErrNotELF},
		"unknown byte order":         {with(func(b []byte) { b[5] = 9 }), ErrNotELF, ErrNotELF},
		"65535 program headers":      {with(func(b []byte) { binary.LittleEndian.PutUint16(b[56:], 0xffff) }), ErrLimit, ErrLimit},
		"huge program headers":       {with(func(b []byte) { binary.LittleEndian.PutUint16(b[54:], 0xffff) }), ErrLimit, ErrLimit},
		"program headers far away":   {with(func(b []byte) { binary.LittleEndian.PutUint64(b[32:], 1<<63) }), ErrNotELF, nil},
		"section headers far away":   {with(func(b []byte) { binary.LittleEndian.PutUint64(b[40:], 1<<63) }), nil, ErrNotELF},
		"65535 sections":             {with(func(b []byte) { binary.LittleEndian.PutUint16(b[60:], 0xffff) }), nil, ErrLimit},
		"section count elsewhere":    {with(func(b []byte) { binary.LittleEndian.PutUint16(b[60:], 0) }), nil, ErrLimit},
		"compressed section names":   {with(func(b []byte) { binary.LittleEndian.PutUint64(shstrtab(b)[8:], 0x800) }), nil, ErrLimit},
		"names of 4 GiB":             {with(func(b []byte) { binary.LittleEndian.PutUint64(shstrtab(b)[32:], 1<<32) }), nil, ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(c.file))
			assert.ErrorIs(t, err, c.read)
			_, err = BuildInfo(bytes.NewReader(c.file))
			assert.Error(t, err)
			if c.goBuilding != nil {
				assert.ErrorIs(t, err, c.goBuilding)
			}
		})
	}
}

func TestABadNoteLosesNoNeighbour(t *testing.T) {
	b := buildC(t, "-Wl,--build-id=0xABCDEF01")
	for at := binary.LittleEndian.Uint64(b[32:]); ; at += 56 {
		if p := b[at:]; elf.ProgType(binary.LittleEndian.Uint32(p)) == elf.PT_NOTE {
			binary.LittleEndian.PutUint64(p[8:], 1<<40) // the first note is said to lie outside the file
			break
		}
	}
	info, err := Read(bytes.NewReader(b))
	require.NoError(t, err)
	assert.Equal(t, "abcdef01", info.BuildID)
}

func TestSHA256(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 60_000)
	sum := sha256.Sum256(content)
	size := int64(len(content))
	got, err := SHA256(t.Context(), bytes.NewReader(content), size, size)
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(sum[:]), got)

	_, err = SHA256(t.Context(), bytes.NewReader(content), size, size-1)
	assert.ErrorIs(t, err, ErrLimit)
	_, err = SHA256(t.Context(), bytes.NewReader(content), size+1, size+1)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "the file shrank")
	_, err = SHA256(t.Context(), bytes.NewReader(content), size-1, size)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "the file grew")
	ended, end := context.WithCancel(t.Context())
	end()
	_, err = SHA256(ended, bytes.NewReader(content), size, size)
	assert.ErrorIs(t, err, context.Canceled)
	got, err = SHA256(t.Context(), bytes.NewReader(nil), 0, 0)
	require.NoError(t, err)
	assert.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", got)
}

// FuzzRead checks that no file makes the readers panic or return more than their bounds.
func FuzzRead(f *testing.F) {
	// Small seeds: the fuzzer takes minutes to minimize large ones.
	small := buildC(f, "-s", "-nostdlib", "-static", "-Wl,--build-id=sha1", "-Wl,-z,noseparate-code", "-Wl,-e,main")
	f.Add(small)
	f.Add(withoutSections(small))
	f.Add(goSeed(f))
	f.Add([]byte(elf.ELFMAG))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Read(bytes.NewReader(b))
		if err == nil {
			assert.LessOrEqual(t, len(info.BuildID), 2*maxBuildID)
			assert.LessOrEqual(t, len(info.GoBuildID), maxGoBuildID)
			assert.LessOrEqual(t, len(info.Package), maxNote)
		}
		_, _ = BuildInfo(bytes.NewReader(b))
	})
}

// goSeed is a Go executable cut down to a header, one data segment and the build information in it.
func goSeed(t testing.TB) []byte {
	whole := buildGo(t, "-ldflags=-s -w")
	file, err := elf.NewFile(bytes.NewReader(whole))
	require.NoError(t, err)
	data, err := file.Section(".go.buildinfo").Data()
	require.NoError(t, err)
	seed := append(bytes.Clone(whole[:64]), make([]byte, 56)...)
	binary.LittleEndian.PutUint16(seed[56:], 1) // one program header, no section headers
	program := seed[64:]
	binary.LittleEndian.PutUint32(program, uint32(elf.PT_LOAD))
	binary.LittleEndian.PutUint32(program[4:], uint32(elf.PF_R|elf.PF_W))
	for at, value := range map[int]int{8: 128, 16: 4096, 32: len(data), 40: len(data)} {
		binary.LittleEndian.PutUint64(program[at:], uint64(value))
	}
	seed = append(withoutSections(append(seed, make([]byte, 8)...)), data...)
	build, err := BuildInfo(bytes.NewReader(seed))
	require.NoError(t, err)
	require.Equal(t, "example.com/hello", build.Main.Path)
	return seed
}

func BenchmarkRead(b *testing.B) {
	file := bytes.NewReader(buildGo(b, "-ldflags=-s -w"))
	b.Run("notes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Read(file); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go build information", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := BuildInfo(file); err != nil {
				b.Fatal(err)
			}
		}
	})
}
