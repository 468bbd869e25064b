package probepoint

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const goSource = `package main

import (
	"fmt"
	"os"
)

type list[T any] struct{ items []T }

//go:noinline
func (l *list[T]) each(do func(T)) {
	for _, item := range l.items {
		do(item)
	}
}

func small(n int) int { return n + 1 } // inlined wherever it is called

type shape interface{ visit() int }

type square struct{ side int }

//go:noinline
func (s square) visit() int { return s.side * len(fmt.Sprint(s.side)) }

type wrapped struct{ *square }

type circle struct{ r int }

func (c circle) visit() int { return small(c.r) } // inlined into the wrapper of it

//go:noinline
func pick(n int) shape {
	switch {
	case n > 100:
		return nil
	case n > 90:
		return &circle{n}
	case n > 80:
		return wrapped{&square{n}}
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

//go:noinline
func huge(n int) byte {
	var buffer [1 << 16]byte
	copy(buffer[n:], fmt.Sprint(n))
	return buffer[n+1]
}

//go:noinline
//go:nosplit
func leaf(n int) int { return n*7 + 3 }

//go:noinline
func sum(values []int) (total int) { // no frame
	for _, v := range values {
		total += v
	}
	return total
}

//go:noinline
func withClosure(n int) func() int {
	return func() int { return entered(n) }
}

//go:noinline
func choose(n int) string { // a jump table
	switch n {
	case 0: return fmt.Sprint("a")
	case 1: return fmt.Sprint("b")
	case 2: return fmt.Sprint("c")
	case 3: return fmt.Sprint("d")
	case 4: return fmt.Sprint("e")
	case 5: return fmt.Sprint("f")
	case 6: return fmt.Sprint("g")
	case 7: return fmt.Sprint("h")
	case 8: return fmt.Sprint("i")
	}
	return fmt.Sprint("z")
}

func sometimes(n int) int { // inlined here, called there
	if n > 0 {
		return n
	}
	return -n
}

func main() {
	n := len(os.Args)
	l := list[string]{os.Args}
	l.each(func(s string) { fmt.Println(s) })
	k := list[int]{[]int{n}}
	k.each(func(i int) { fmt.Println(i) })
	f := sometimes
	if n > 70 {
		f = leaf
	}
	fmt.Println(pick(n).visit(), entered(n), huge(n), leaf(n), sum([]int{n}), withClosure(n)(), choose(n), small(n), sometimes(n), f(n))
}
`

const cSource = `
#include <stdio.h>
#include <stdlib.h>
__attribute__((noinline)) int pushes(int n) { int v[4]; for (int i = 0; i < 4; i++) v[i] = rand() + n; return printf("%d %d\n", v[0], v[3]); }
__attribute__((noinline)) int leaf(int a, int b) { return a * 7 + b; }
__attribute__((noinline)) int early(int a) { if (a) return 3; return pushes(a); }
__attribute__((noinline)) const char *scan(const char *s) { while (*s++ != 'x'); return s; }
static inline __attribute__((always_inline)) int inlined(int a) { return a ^ 5; }
__attribute__((noinline)) static int hidden(int n) { return printf("%d", n) + pushes(n); }
__attribute__((noinline, patchable_function_entry(5, 0))) int patchable(int a) { return a + 3; }
int tiny(void) { return 0; }
static int (*chosen(void))(int) { return early; }
int selected(int a) __attribute__((ifunc("chosen")));
int alias(int n) __attribute__((alias("pushes")));
__attribute__((noinline)) int machine(const unsigned char *p) { // a jump table whose loop begins early
	int n = 0;
	for (;;) switch (*p++) {
		case 0: return n; case 1: n += 3; break; case 2: n *= 5; break; case 3: n ^= 9; break; case 4: n -= 2; break;
		case 5: n = ~n; break; case 6: n <<= 2; break; case 7: n += *p; break; default: n++; }
}
__asm__(".text\n.globl unsized\n.type unsized,@function\nunsized:\n push %rbx\n pop %rbx\n ret\n");
__asm__(".globl five\n.type five,@function\nfive:\n .byte 0x0f,0x1f,0x44,0x00,0x00\n ret\n.size five,.-five\n");
__asm__(".globl avx\n.type avx,@function\navx:\n vpxor %xmm0,%xmm0,%xmm0\n push %rbx\n pop %rbx\n ret\n.size avx,.-avx\n");
__asm__(".globl looped\n.type looped,@function\nlooped:\n push %rbx\n pop %rbx\n dec %edi\n jne looped\n ret\n.size looped,.-looped\n");
int unsized(void), five(void), avx(void), looped(int);
int main(int argc, char **argv) {
	return pushes(argc) + leaf(argc, 3) + early(argc) + hidden(argc) + inlined(argc) + patchable(argc) + tiny() + selected(argc) + alias(argc)
		+ unsized() + five() + avx() + looped(argc) + machine((const unsigned char *)argv[0]) + (int)(scan("xx") - argv[0]);
}
`

const cxxSource = `
#include <cstdio>
#include <string>
#include <vector>
namespace shop {
struct Base { virtual ~Base(); virtual int price(int n) = 0; };
struct Other { virtual ~Other(); virtual int weight(int n) = 0; int w; };
Base::~Base() { std::puts("base"); }
Other::~Other() { std::puts("other"); }
struct Item : Base, Other {
	Item(int n);
	int price(int n) override;
	int weight(int n) override;
	std::vector<std::string> names;
};
__attribute__((noinline)) Item::Item(int n) { names.emplace_back(std::to_string(n)); }
__attribute__((noinline)) int Item::price(int n) { std::printf("%d\n", n); names.push_back("x"); return n + (int)names.size(); }
__attribute__((noinline)) int Item::weight(int n) { std::printf("%d\n", n); return n + (int)names.size(); }
template <class T> __attribute__((noinline)) T twice(T v) { std::printf("%zu\n", sizeof v); return v + v; }
}
int main(int argc, char **) {
	shop::Item item(argc);
	shop::Base *b = &item;
	shop::Other *o = &item;
	return b->price(argc) + o->weight(argc) + shop::twice(argc) + (int)shop::twice(2.5 * argc);
}
`

const rustSource = `
pub struct Parser { pub items: Vec<String> }
impl Parser {
    #[inline(never)]
    pub fn parse(&mut self, text: &str) -> usize { for part in text.split(',') { self.items.push(part.to_string()); } self.items.len() }
}
pub trait Shape { fn area(&self) -> String; }
impl Shape for Parser {
    #[inline(never)]
    fn area(&self) -> String { self.items.join("-") }
}
#[inline(never)]
pub fn twice<T: Clone + std::fmt::Debug>(v: T) -> String { format!("{:?}{:?}", v.clone(), v) }
fn main() {
    let mut p = Parser { items: vec![] };
    let n = p.parse(&std::env::args().collect::<Vec<_>>().join(","));
    println!("{} {} {} {}", n, p.area(), twice(n), twice("x".to_string()));
}
`

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

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

func buildGo(t testing.TB, environment []string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "go.mod", "module example.com/program\n\ngo 1.26\n")
	write(t, dir, "main.go", goSource)
	environment = append([]string{"GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"}, environment...)
	run(t, dir, environment, "go", append([]string{"build", "-o", "program"}, flags...)...)
	return filepath.Join(dir, "program")
}

func buildC(t testing.TB, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "main.c", cSource)
	run(t, dir, nil, "gcc", append([]string{"-O2", "-o", "program", "main.c"}, flags...)...)
	return filepath.Join(dir, "program")
}

func buildCxx(t testing.TB, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "main.cc", cxxSource)
	run(t, dir, nil, "g++", append([]string{"-O2", "-o", "program", "main.cc"}, flags...)...)
	return filepath.Join(dir, "program")
}

func buildRust(t testing.TB, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "demo.rs", rustSource)
	run(t, dir, nil, "rustc", append([]string{"-O", "-o", "program", "demo.rs"}, flags...)...)
	return filepath.Join(dir, "program")
}

func open(t testing.TB, path string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	require.NoError(t, err)
	return f, info.Size()
}
