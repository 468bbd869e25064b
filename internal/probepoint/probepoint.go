// Package probepoint finds the instructions to probe in a file, so that each call of a function is counted once and as cheaply as
// the kernel can. It says of every function that it was asked for and has no probe why that is: never just nothing.
//
// Functions come from Go's function table, also of stripped programs, from .symtab, .dynsym and a separate debug file. Names are compared in
// canonical form (package symbol), as findings compare them. Only x86-64 is done: on arm64 the kernel carries out other instructions
// itself, and what they cost has not been measured, so that files of it are ReasonUnsupportedArch.
package probepoint

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/elffile"
	"github.com/otelcol-witness/otelcol-witness/internal/pclntab"
	"github.com/otelcol-witness/otelcol-witness/internal/symbol"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// Request asks for the functions of a symbol, or of a pattern if that is not empty.
type Request struct {
	ID string
	// Symbol is canonical, as in the watch list. Without Member it is every function of the package, closures included.
	Symbol witness.SymbolRef
	// Pattern is a raw symbol, or a canonical name in which * stands for any text and ? for any byte. With it only the
	// Language of Symbol counts, if there is one.
	Pattern string
	// Closures asks for the closures of the function too. They are not the function: that one runs says that the function ran
	// before, perhaps long ago.
	Closures bool
}

// Options are what a resolution may do. Zero limits are the defaults.
type Options struct {
	// Debug is a file with the symbols of the file, of which the caller has checked that it belongs to it. May be nil.
	Debug     io.ReaderAt
	DebugSize int64
	// Nop5 says that the kernel replaces nops of five bytes.
	Nop5 bool
	// SingleStep allows instructions that are single-stepped, which cost some ten times as much.
	SingleStep bool

	MaxFunctions int   // that are looked at, of one file
	MaxPoints    int   // that are returned
	MaxBytes     int64 // read from the file and from Debug, together
}

// The default limits.
const (
	DefaultFunctions = 20_000
	DefaultPoints    = 1_000
	DefaultBytes     = 512 << 20
)

// Point is an instruction to probe: its Bytes were at Offset of the file.
type Point struct {
	Request string
	// Symbol is the function in canonical form; Raw its name in the file, and Source where that is: pclntab, symtab, dynsym or debug.
	Symbol symbol.Symbol
	Raw    string
	Source string
	// FunctionOffset is the offset in the file of the function's entry, Offset that of the instruction.
	FunctionOffset, Offset uint64
	Cost                   Cost
	Bytes                  []byte
	// Recounts is true when one call can come by the instruction more than once, as when the function loops from its entry,
	// or a Go function that has no better instruction grows its stack. Hits are then no count of calls, but one or more hits are one or more calls.
	Recounts bool
	// InlinedInto counts the functions that the function was inlined into as well: their calls are not seen. Only Go tells.
	InlinedInto int
	// Shared are the canonical names of other functions that have the same code, sorted: the linker folded them into one, or they are names of
	// one function. A hit does not tell which was called.
	Shared []string
}

// Reason says why a function has no point.
type Reason string

// The reasons. NotFound is certain for Go, where the table has every function; in other languages the function may be inlined. Stripped
// means that there is no table which could have the function.
const (
	ReasonNotFound          Reason = "not_found"
	ReasonInlinedEverywhere Reason = "inlined_everywhere"
	ReasonStripped          Reason = "stripped"
	ReasonUnsupportedArch   Reason = "unsupported_arch"
	ReasonOverBudget        Reason = "over_budget"
	ReasonSingleStep        Reason = "single_step"
)

// Refusal says that functions of a request have no point. There may be points for others of it.
type Refusal struct {
	Request string
	Reason  Reason
	Detail  string
	// Functions is how many have none; 0 where that is not known. Symbols are the canonical names of the first of them, sorted.
	Functions int
	Symbols   []string
}

const (
	maxRefused = 16 // names in a refusal
	maxShared  = 16 // names in a point
	maxName    = symbol.MaxRaw
	namesCache = 8 << 20 // bytes of a symbol table's names
)

var errBudget = errors.New("more bytes than are to be read")

// Resolve finds the points for the requests in a file of the given size. Points are ordered by request and offset, refusals by request and
// reason. The error is elffile.ErrNotELF, elffile.ErrLimit, or one of the reader; then there are neither points nor refusals.
func Resolve(r io.ReaderAt, size int64, requests []Request, o Options) ([]Point, []Refusal, error) {
	if o.MaxFunctions <= 0 {
		o.MaxFunctions = DefaultFunctions
	}
	if o.MaxPoints <= 0 {
		o.MaxPoints = DefaultPoints
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultBytes
	}
	left := o.MaxBytes
	v := resolver{
		r: &budget{r, &left}, size: size, o: o, requests: requests, m: newMatcher(requests),
		tallies: make([]map[Reason]*Refusal, len(requests)), answered: make([]bool, len(requests)),
	}
	var err error
	if v.layout, err = elffile.ReadLayout(v.r, size); err != nil {
		return nil, nil, err
	}
	if v.layout.Machine != elf.EM_X86_64 || !v.layout.Wide || v.layout.Order != binary.LittleEndian {
		for n := range requests {
			v.refuse(n, ReasonUnsupportedArch, "the file is for "+strings.TrimPrefix(v.layout.Machine.String(), "EM_"), "")
		}
		return nil, v.refusals(), nil
	}
	if o.Debug != nil {
		v.debug = &budget{o.Debug, &left}
	}
	switch err := v.resolve(); {
	case errors.Is(err, errBudget):
		v.points = nil
		for n := range requests {
			v.refuse(n, ReasonOverBudget, fmt.Sprintf("more than %d bytes would have to be read", o.MaxBytes), "")
		}
	case err != nil:
		return nil, nil, err
	}
	return v.points, v.refusals(), nil
}

// Verify reports whether the bytes of a point are where they were. Ask it of the very file that the probe is set in.
func Verify(r io.ReaderAt, p *Point) (bool, error) {
	b := make([]byte, len(p.Bytes))
	if n, err := r.ReadAt(b, int64(p.Offset)); n < len(b) { //nolint:gosec // inside the file
		if err == nil || errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, err
	}
	return len(b) > 0 && bytes.Equal(b, p.Bytes), nil
}

// budget bounds what is read of files together.
type budget struct {
	r    io.ReaderAt
	left *int64
}

func (b *budget) ReadAt(p []byte, offset int64) (int, error) {
	if *b.left < int64(len(p)) {
		*b.left = 0
		return 0, errBudget
	}
	*b.left -= int64(len(p))
	return b.r.ReadAt(p, offset)
}

// candidate is a function that answers requests.
type candidate struct {
	requests    []int
	symbol      symbol.Symbol
	raw, source string
	entry, end  uint64 // virtual addresses; end is 0 if unknown
	offset      uint64 // of the entry
	generated   bool
	inlinedInto int
	shared      []string
	next        uint64 // the next function's entry, 0 if unknown
}

type resolver struct {
	r, debug io.ReaderAt
	size     int64
	o        Options
	requests []Request
	m        *matcher
	layout   *elffile.Layout
	points   []Point
	tallies  []map[Reason]*Refusal
	answered []bool
	found    []candidate

	goTable  *pclntab.Table
	goError  error // why there is none, if the file may be from Go
	complete bool  // there is a table of all symbols
	cut      bool  // not all functions were looked at
	indirect map[int]bool
}

func (v *resolver) refuse(n int, reason Reason, detail, name string) {
	v.answered[n] = true
	if v.tallies[n] == nil {
		v.tallies[n] = map[Reason]*Refusal{}
	}
	r := v.tallies[n][reason]
	if r == nil {
		r = &Refusal{Request: v.requests[n].ID, Reason: reason, Detail: detail}
		v.tallies[n][reason] = r
	}
	if name == "" {
		return
	}
	r.Functions++
	if len(r.Symbols) < maxRefused && !slices.Contains(r.Symbols, name) {
		r.Symbols = append(r.Symbols, name)
	}
}

func (v *resolver) refusals() []Refusal {
	var all []Refusal
	for _, reasons := range v.tallies {
		first := len(all)
		for _, r := range reasons {
			slices.Sort(r.Symbols)
			all = append(all, *r)
		}
		slices.SortFunc(all[first:], func(a, b Refusal) int { return cmp.Compare(a.Reason, b.Reason) })
	}
	return all
}

func (v *resolver) resolve() error {
	if err := v.fromGo(); err != nil {
		return err
	}
	if err := v.fromTables(); err != nil {
		return err
	}
	v.drop()
	if err := v.choose(); err != nil {
		return err
	}
	v.unanswered()
	return nil
}

// wanted are the requests that a function answers, if it is the function and not what the compiler made around it.
func (v *resolver) wanted(raw []byte, language string) (symbol.Symbol, []int) {
	text := string(raw)
	s, ok := symbol.Canonical(text, language)
	if !ok {
		return symbol.Symbol{}, nil
	}
	for _, flag := range s.Flags {
		switch flag {
		case symbol.FlagThunk, symbol.FlagNonVirtualThunk, symbol.FlagVirtualThunk, symbol.FlagShim, symbol.FlagPadding,
			symbol.FlagCold, symbol.FlagInlinedClone:
			return symbol.Symbol{}, nil
		}
	}
	answers := v.m.answers(nil, text, &s)
	if slices.Contains(s.Flags, symbol.FlagClosure) {
		answers = slices.DeleteFunc(answers, func(n int) bool {
			r := &v.requests[n]
			return !r.Closures && (r.Pattern != "" || r.Symbol.Member != wholePackage)
		})
	}
	slices.Sort(answers)
	return s, slices.Compact(answers)
}

// fromGo takes the functions of Go's table, and notes which are inlined wherever they are called.
func (v *resolver) fromGo() error {
	table, err := pclntab.OpenLayout(v.r, v.size, v.layout)
	switch {
	case errors.Is(err, pclntab.ErrNotGo):
		return nil
	case errors.Is(err, pclntab.ErrUnsupported), errors.Is(err, pclntab.ErrMalformed), errors.Is(err, elffile.ErrNotELF):
		v.goError = err
		return nil
	case err != nil:
		return err
	}
	v.goTable = table
	type match struct {
		symbol   symbol.Symbol
		requests []int
	}
	matches := map[string]match{}
	named, err := table.Match(func(name []byte) bool {
		if !v.m.mayBeGo(name) {
			return false
		}
		s, requests := v.wanted(name, symbol.Go)
		if len(requests) > 0 {
			matches[string(name)] = match{s, requests}
		}
		return len(requests) > 0
	}, v.o.MaxFunctions)
	if errors.Is(err, pclntab.ErrLimit) {
		v.cut, err = true, nil
	}
	if err := v.malformed(err); err != nil || len(named) == 0 {
		return err
	}
	counts := make([]int, len(named))
	if table.Inlining() {
		if counts, err = table.Inlined(named); err != nil {
			counts = make([]int, len(named))
			if err := v.malformed(err); err != nil {
				return err
			}
		}
	}
	inlined := map[string][]int{}
	placed := map[string]bool{}
	for i, name := range named {
		m := matches[name.Name]
		if len(name.Functions) == 0 {
			inlined[m.symbol.Name] = append(inlined[m.symbol.Name], m.requests...)
		}
		for _, f := range name.Functions {
			c := candidate{
				requests: m.requests, symbol: m.symbol, raw: name.Name, source: "pclntab",
				entry: f.Entry, end: f.End, offset: f.Offset, inlinedInto: counts[i],
			}
			if c.generated, err = wraps(table, &f, &c.symbol); err != nil {
				return err
			}
			placed[m.symbol.Name] = placed[m.symbol.Name] || !c.generated
			v.found = append(v.found, c)
		}
	}
	for name, requests := range inlined {
		if placed[name] {
			continue // another instance of it
		}
		slices.Sort(requests)
		for _, n := range slices.Compact(requests) {
			v.refuse(n, ReasonInlinedEverywhere, "the function is part of those that call it and has no code of its own", name)
		}
	}
	return nil
}

// malformed swallows the error of a table that turns out to make no sense, and notes it.
func (v *resolver) malformed(err error) error {
	if errors.Is(err, pclntab.ErrMalformed) || errors.Is(err, elffile.ErrNotELF) {
		v.goTable, v.goError, err = nil, err, nil
	}
	return err
}

// wraps reports whether the compiler made a function only to call the one that it is named like. If it has that inlined it is as good
// as the function, but is flagged.
func wraps(table *pclntab.Table, f *pclntab.Function, s *symbol.Symbol) (bool, error) {
	generated, err := table.Generated(f)
	if err != nil || !generated {
		return false, ignoreMalformed(err)
	}
	s.Flags = slices.Clone(s.Flags)
	s.Flags = append(s.Flags, symbol.FlagThunk)
	slices.Sort(s.Flags)
	inside, err := table.InlinedInto(f)
	if err != nil {
		return false, ignoreMalformed(err)
	}
	for _, name := range inside {
		if in, ok := symbol.Canonical(name, symbol.Go); ok && in.Name == s.Name && !slices.Contains(in.Flags, symbol.FlagClosure) {
			return false, nil
		}
	}
	return true, nil
}

func ignoreMalformed(err error) error {
	if errors.Is(err, pclntab.ErrMalformed) || errors.Is(err, elffile.ErrNotELF) {
		return nil
	}
	return err
}

// fromTables takes the functions of the symbol tables: .symtab, else that of the debug file and .dynsym, else .dynsym.
func (v *resolver) fromTables() error {
	if table := v.layout.SymbolTable(v.r, elf.SHT_SYMTAB, namesCache); table != nil {
		v.complete = true
		return v.fromTable(table, "symtab")
	}
	if v.debug != nil {
		layout, err := elffile.ReadLayout(v.debug, v.o.DebugSize)
		if err != nil && !errors.Is(err, elffile.ErrNotELF) && !errors.Is(err, elffile.ErrLimit) {
			return err
		}
		if err == nil && layout.Machine == v.layout.Machine {
			if table := layout.SymbolTable(v.debug, elf.SHT_SYMTAB, namesCache); table != nil {
				v.complete = true
				if err := v.fromTable(table, "debug"); err != nil {
					return err
				}
			}
		}
	}
	if table := v.layout.SymbolTable(v.r, elf.SHT_DYNSYM, namesCache); table != nil {
		return v.fromTable(table, "dynsym")
	}
	return nil
}

func (v *resolver) fromTable(table *elffile.SymbolTable, source string) error {
	first := len(v.found)
	var failed error
	err := table.Each(func(s *elffile.Symbol) bool {
		indirect := s.Kind == elf.STT_GNU_IFUNC && s.Section != elf.SHN_UNDEF
		if !indirect && !s.Defined() {
			return true
		}
		name, err := table.Name(s, maxName+1)
		if err != nil {
			failed = err
			return false
		}
		if !v.m.mayBeNative(name) && (v.goTable != nil || !v.m.mayBeGo(name)) {
			return true
		}
		c, requests := v.wanted(name, "")
		if len(requests) == 0 || c.Language == symbol.Go && v.goTable != nil {
			return true
		}
		if indirect {
			for _, n := range requests {
				if v.indirect == nil {
					v.indirect = map[int]bool{}
				}
				v.indirect[n] = true
			}
			return true
		}
		offset, left, ok := v.layout.Code(s.Value)
		if !ok || s.Size > left {
			return true
		}
		if len(v.found) >= v.o.MaxFunctions {
			v.cut = true
			return false
		}
		end := uint64(0)
		if s.Size > 0 {
			end = s.Value + s.Size
		}
		v.found = append(v.found, candidate{requests: requests, symbol: c, raw: string(name), source: source, entry: s.Value, end: end, offset: offset})
		return true
	})
	if failed != nil {
		err = failed
	}
	if err = ignoreMalformed(err); err != nil {
		return err
	}
	return v.neighbours(table, v.found[first:])
}

// neighbours looks at the other functions of a symbol table: those that begin behind a candidate end it, those that begin at
// the same address share its code.
func (v *resolver) neighbours(table *elffile.SymbolTable, found []candidate) error {
	if len(found) == 0 {
		return nil
	}
	byEntry := make([]int, len(found))
	for i := range byEntry {
		byEntry[i] = i
	}
	slices.SortStableFunc(byEntry, func(a, b int) int { return cmp.Compare(found[a].entry, found[b].entry) })
	var failed error
	err := table.Each(func(s *elffile.Symbol) bool {
		if !s.Defined() {
			return true
		}
		// The candidates that begin there, or the last ones before it.
		at, same := slices.BinarySearchFunc(byEntry, s.Value, func(i int, value uint64) int { return cmp.Compare(found[i].entry, value) })
		if !same {
			if at--; at < 0 {
				return true
			}
			for entry := found[byEntry[at]].entry; at >= 0 && found[byEntry[at]].entry == entry; at-- {
				if c := &found[byEntry[at]]; c.next == 0 || s.Value < c.next {
					c.next = s.Value
				}
			}
			return true
		}
		name, err := table.Name(s, maxName+1)
		if err != nil {
			failed = err
			return false
		}
		other, ok := symbol.Canonical(string(name), "")
		for ; ok && at < len(byEntry) && found[byEntry[at]].entry == s.Value; at++ {
			if c := &found[byEntry[at]]; other.Name != c.symbol.Name && len(c.shared) < maxShared && !slices.Contains(c.shared, other.Name) {
				c.shared = append(c.shared, other.Name)
			}
		}
		return true
	})
	if failed != nil {
		err = failed
	}
	return ignoreMalformed(err)
}

// drop leaves out functions that only call another of the same name: what the Go compiler made for other ways to call it,
// and the rest of a function that C compilers split off.
func (v *resolver) drop() {
	whole := map[string]bool{}
	part := func(c *candidate) bool { return strings.Contains(c.raw, ".part.") }
	for i := range v.found {
		if c := &v.found[i]; !c.generated && !part(c) {
			whole[c.symbol.Name] = true
		}
	}
	v.found = slices.DeleteFunc(v.found, func(c candidate) bool { return (c.generated || part(&c)) && whole[c.symbol.Name] })
	slices.SortStableFunc(v.found, func(a, b candidate) int { // the plainest name of a function first
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(len(a.symbol.Flags), len(b.symbol.Flags)), cmp.Compare(len(a.raw), len(b.raw)), cmp.Compare(a.raw, b.raw))
	})
	for i := range v.found {
		slices.Sort(v.found[i].shared)
	}
}

// choose picks the instructions, and makes the points: those of the first requests if there are too many.
func (v *resolver) choose() error {
	byRequest := make([][]int, len(v.requests)) // of candidates
	for i := range v.found {
		for _, n := range v.found[i].requests {
			byRequest[n] = append(byRequest[n], i)
		}
	}
	picks := make([]*picked, len(v.found))
	for n, candidates := range byRequest {
		last := uint64(0)
		for _, i := range candidates {
			c := &v.found[i]
			if c.offset == last && last != 0 {
				continue // another name of it
			}
			last = c.offset
			if len(v.points) >= v.o.MaxPoints {
				v.refuse(n, ReasonOverBudget, fmt.Sprintf("more than %d points", v.o.MaxPoints), c.symbol.Name)
				continue
			}
			if picks[i] == nil {
				p, err := v.pick(c)
				if err != nil {
					return err
				}
				picks[i] = &p
			}
			p := picks[i]
			if !p.ok {
				v.refuse(n, ReasonSingleStep, "no instruction that the kernel carries out itself is run once in each call", c.symbol.Name)
				continue
			}
			v.answered[n] = true
			point := Point{
				Request: v.requests[n].ID, Symbol: c.symbol, Raw: c.raw, Source: c.source,
				FunctionOffset: c.offset, Offset: c.offset + uint64(p.at), Cost: p.cost, Bytes: p.bytes, //nolint:gosec // inside the window
				Recounts: p.recounts, InlinedInto: c.inlinedInto, Shared: c.shared,
			}
			same, err := Verify(v.r, &point)
			if err != nil {
				return err
			}
			if !same {
				return elffile.ErrNotELF // it was changed while it was read
			}
			v.points = append(v.points, point)
		}
	}
	return nil
}

// picked is what was chosen of a function.
type picked struct {
	choice
	bytes []byte
	ok    bool
}

// pick reads a function and chooses its instruction.
func (v *resolver) pick(c *candidate) (picked, error) {
	_, left, ok := v.layout.Code(c.entry)
	if !ok {
		return picked{}, nil
	}
	length := left
	if c.end > c.entry {
		length = min(length, c.end-c.entry)
	}
	if c.next > c.entry {
		length = min(length, c.next-c.entry)
	}
	whole := length <= maxBody && c.end > 0 && (c.next == 0 || c.next >= c.end)
	code := make([]byte, min(length, maxBody))
	n, err := v.r.ReadAt(code, int64(c.offset)) //nolint:gosec // inside the file
	if n < len(code) {
		if err == nil || errors.Is(err, io.EOF) {
			err = elffile.ErrNotELF // the file became shorter
		}
		return picked{}, err
	}
	goCode := c.source == "pclntab" || c.symbol.Language == symbol.Go
	p := picked{}
	if p.choice, p.ok = choose(code, whole, goCode, v.o.Nop5, v.o.SingleStep); p.ok {
		p.bytes = slices.Clone(code[p.at : p.at+p.length])
	}
	return p, nil
}

// unanswered says of the requests without points why there are none.
func (v *resolver) unanswered() {
	for n := range v.requests {
		if v.cut {
			v.refuse(n, ReasonOverBudget, fmt.Sprintf("more than %d functions were asked for; not all were looked at", v.o.MaxFunctions), "")
		}
		if v.answered[n] {
			continue
		}
		reason, detail := v.absent(&v.requests[n])
		if v.indirect[n] {
			reason, detail = ReasonNotFound, "only a function that chooses another one when the program starts has the name"
		}
		v.refuse(n, reason, detail, "")
	}
}

// absent is why nothing answers a request.
func (v *resolver) absent(r *Request) (Reason, string) {
	switch r.Symbol.Language {
	case "", symbol.C, symbol.Cxx, symbol.Rust:
	case symbol.Go:
		switch {
		case v.goTable != nil:
			return ReasonNotFound, "the Go function table has no such function"
		case v.goError != nil && !v.complete:
			return ReasonStripped, "no symbol table, and " + v.goError.Error()
		default:
			return ReasonNotFound, "no such function; the file has no Go function table"
		}
	default:
		return ReasonNotFound, "functions of " + r.Symbol.Language + " are not in files of machine code"
	}
	if !v.complete {
		return ReasonStripped, "no symbol table has the functions that are not exported"
	}
	return ReasonNotFound, "no such function in the symbol table; it may be inlined"
}
