package symbol

import (
	"strings"
)

// affixes cuts what tools add around a symbol: a kernel module in brackets, an offset in the function, an ELF version.
func (b *builder) affixes(raw string, kernel bool) string {
	text := raw
	if kernel {
		if name, module, ok := strings.Cut(text, " ["); ok && strings.HasSuffix(module, "]") {
			module, buildID, _ := strings.Cut(module[:len(module)-1], " ")
			if isIdentifier(module) && (buildID == "" || isLowerHex(buildID)) {
				text, b.pkg, b.language = name, module, Kernel
			}
		}
	}
	if last := text[len(text)-1]; last == ']' || last == ')' {
		text = b.cutClones(text)
	}
	text = cutOffset(text)
	if name, version, ok := strings.Cut(text, "@"); ok && name != "" {
		version = strings.TrimPrefix(version, "@")
		if version == "plt" {
			text = name
			b.flag(FlagThunk)
		} else if isVersion(version) {
			text = name
			b.flag(FlagVersioned)
		}
	}
	return text
}

// cutOffset cuts an offset in the function: +0x1a, +0x1a/0x2b or, as bpftrace writes it, +26.
func cutOffset(text string) string {
	if strings.IndexByte(text, '+') <= 0 {
		return text
	}
	if name, offset, ok := strings.Cut(text, "+0x"); ok && isOffset(offset) {
		return name
	}
	if name, offset := cutLast(text, "+"); name != "" && len(offset) <= 8 && isNumber(offset) {
		return name
	}
	return text
}

// cutClones cuts how demanglers and debuggers write the suffixes of compiler clones, [clone .isra.0] and (.isra.0), and flags them.
func (b *builder) cutClones(text string) string {
	for {
		at := strings.LastIndex(text, " [clone .")
		from := at + len(" [clone ")
		if at < 0 {
			at = strings.LastIndex(text, " (.")
			from = at + len(" (")
		}
		if at <= 0 || b.clones("f"+text[from:len(text)-1]) != "f" {
			return text
		}
		text = text[:at]
	}
}

// isOffset reports whether s is hex, or hex/0xhex, of at most 8 digits each.
func isOffset(s string) bool {
	offset, size, both := strings.Cut(s, "/0x")
	return isShortHex(offset) && (!both || isShortHex(size))
}

func isShortHex(s string) bool {
	if s == "" || len(s) > 8 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// isVersion reports whether s can be an ELF symbol version, and not a host: behind its last dot is a number.
func isVersion(s string) bool {
	if last := s[strings.LastIndexByte(s, '.')+1:]; s == "" || isIP(s) || len(s) > 64 || len(last) < len(s) && (last == "" || last[0] < '0' || last[0] > '9') {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return true
}

// cloneSuffixes are what compilers append to the name of a copy or part of a function; digits may follow.
var cloneSuffixes = map[string][]string{
	"isra": nil, "part": nil, "constprop": nil, "cold": {FlagCold}, "unlikely": {FlagCold}, "lto_priv": nil, "llvm": nil,
	"__uniq": nil, "localalias": nil, "clone": nil, "ifunc": nil, "resolver": nil, "default": nil, "specialized": nil,
	"warm": nil, "split": nil, "exit": nil, "startup": nil, "hot": nil, "extracted": nil, "outlined": nil, "local": nil,
	"_omp_fn": nil, "omp_outlined": nil, "omp_outlined_debug__": nil, "__part": nil, "eh": nil, "cfi": nil, "cfi_jt": {FlagThunk}, "simdclone": nil, "constant": nil, "alias": nil, "str": nil,
	"actor": nil, "destroy": nil, "resume": nil, "cleanup": nil, // of a coroutine
}

// clones cuts the suffixes of compiler clones, and flags them.
func (b *builder) clones(text string) string {
	base, rest, ok := strings.Cut(text, ".")
	if !ok || base == "" {
		return text
	}
	flags := []string{FlagCompilerClone}
	for part := range strings.SplitSeq(rest, ".") {
		if isNumber(part) {
			continue
		}
		more, known := cloneSuffixes[part]
		if !known && !isTarget(part) {
			return text
		}
		flags = append(flags, more...)
	}
	b.flag(flags...)
	return base
}

// initializer makes an identifier of the name of what initializes a C++ file, _GLOBAL__sub_I_<file>.
func (b *builder) initializer(text string) string {
	if !strings.HasPrefix(text, "_GLOBAL__sub_") {
		return text
	}
	b.flag(FlagInit)
	for _, extension := range []string{".cc", ".cpp", ".cxx", ".C"} {
		if file, clone, ok := strings.Cut(text+".", extension+"."); ok {
			return strings.TrimSuffix(strings.ReplaceAll(file, ".", "_")+"."+clone, ".")
		}
	}
	return text
}

// isTarget reports whether part is the suffix of a function that is compiled for several processors.
func isTarget(part string) bool {
	for _, prefix := range []string{"arch_", "avx", "sse", "bmi", "fma", "popcnt", "haswell", "skylake", "neon", "sve"} {
		if strings.HasPrefix(part, prefix) {
			return isIdentifier(part) && len(part) <= 32
		}
	}
	return false
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// c reads a symbol of C or of the kernel, without affixes and clone suffixes.
func (b *builder) c(text string) bool {
	if b.language == Kernel || strings.HasPrefix(text, "__pfx_") {
		for _, prefix := range []string{"__pfx_", "__cfi_"} {
			if name, ok := strings.CutPrefix(text, prefix); ok {
				text = name
				b.flag(FlagPadding)
			}
		}
	}
	text = b.cgo(text)
	if !isIdentifier(text) || len(text) == 2 && text[0] == '$' && strings.IndexByte("adtx", text[1]) >= 0 {
		return false // $x and its like mark code and data on ARM and RISC-V
	}
	b.member = text
	return true
}

// cgo cuts the hash of the source from what the go command makes to call between Go and C, _cgo_<hash>_Cfunc_f and _cgoexp_<hash>_f.
func (b *builder) cgo(text string) string {
	if !strings.HasPrefix(text, "_cgo") {
		return text
	}
	const size = len("0123456789ab")
	for _, prefix := range []string{"_cgo_", "_cgoexp_"} {
		if rest, ok := strings.CutPrefix(text, prefix); ok && len(rest) > size+1 && rest[size] == '_' && isLowerHex(rest[:size]) {
			b.flag(FlagThunk)
			return prefix + rest[size+1:]
		}
	}
	return text
}

// syscallPrefixes stand before the name of a system call that people know.
var syscallPrefixes = []string{"__x64_", "__ia32_", "__x32_", "__arm64_", "__riscv_", "__s390x_", "__s390_", "__powerpc_", "__se_", "__do_"}

// kernelAliases adds the name of a system call that people know.
func (b *builder) kernelAliases() {
	if !strings.HasPrefix(b.member, "__") {
		return
	}
	for _, prefix := range syscallPrefixes {
		if name, ok := strings.CutPrefix(b.member, prefix); ok && isSyscall(name) {
			b.aliases = append(b.aliases, name)
		}
	}
}

func isSyscall(name string) bool {
	return strings.HasPrefix(name, "sys_") || strings.HasPrefix(name, "compat_sys_")
}
