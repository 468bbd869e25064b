package hotsymbolprocessor

import (
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// about is what many frames have in common: where they are from and how they were named.
type about struct {
	language, component, symbolSource string
	module                            witness.Module
	flags                             []string
	confidence                        float64
	hasOffset, inlined                bool
	number                            uint32
}

// aboutKey is an about as the key of a map.
type aboutKey struct {
	language, component, symbolSource, flags string
	module                                   witness.Module
	confidence                               float64
	hasOffset, inlined                       bool
}

// of reports whether f is of a; it may say no where a confidence is no number.
func (a *about) of(f *witness.Frame) bool {
	return a.module == f.Module && a.component == f.Component && a.language == f.Language && a.symbolSource == f.SymbolSource &&
		a.hasOffset == f.HasOffset && a.inlined == f.Inlined && a.confidence == f.Confidence && slices.Equal(a.flags, f.Flags)
}

// frame is a frame as far as an observation tells two of them apart. Where in a named function it is, its offset and
// line, does not: samples of one function would each be another. Those of the first that was seen are kept.
type frame struct {
	symbol, pkg, member, file string
	about                     *about
	offset                    uint64
	line                      int
	next                      *frame // with the same hash
}

// named reports whether f has the names of n, or the offset where there are none.
func (n *frame) named(f *witness.Frame) bool {
	return n.symbol == f.Symbol && n.pkg == f.Package && n.member == f.Member && (f.Symbol != "" || n.offset == f.Offset)
}

// frame spells a frame out.
func (n *frame) frame() witness.Frame {
	a := n.about
	return witness.Frame{
		Package: n.pkg, Member: n.member, Symbol: n.symbol, File: n.file, Line: n.line, Offset: n.offset,
		Language: a.language, Flags: a.flags, Module: a.module, HasOffset: a.hasOffset, Inlined: a.inlined,
		Component: a.component, SymbolSource: a.symbolSource, Confidence: a.confidence,
	}
}

// workload is a workload with the tree of its call paths.
type workload struct {
	witness.Workload
	number uint32
	callee *node // the outermost frame that was looked up last
}

// node is a place in the tree of call paths: a frame and the node of its caller, nil at the root. Stacks share nodes.
type node struct {
	frame     *frame
	caller    *node
	callee    *node       // the one that was looked up last: most often the next is the same
	witnesses *identified // one for each kind
	next      *node       // with the same hash
	workload  *workload
	number    uint32
}

// identified is a witness with its id, computed once.
type identified struct {
	id     witness.ID
	node   *node
	next   *identified // of the same node and another kind
	entry  *entry      // the one that was counted in last
	number uint32      // never given again
	kind   uint8       // index in witness.Kinds
}

// witness spells the witness out.
func (w *identified) witness() witness.Witness {
	out := witness.Witness{Kind: witness.Kinds[w.kind], Frame: w.node.frame.frame(), Workload: w.node.workload.Workload}
	depth := 0
	for n := w.node.caller; n != nil; n = n.caller {
		depth++
	}
	if depth > 0 {
		out.Path = make([]witness.Frame, 0, depth)
		for n := w.node.caller; n != nil; n = n.caller {
			out.Path = append(out.Path, n.frame.frame())
		}
	}
	return out
}

// identities finds the witnesses of events without hashing what was hashed before. It is a cache: what it returned
// stays valid when it is cleared. The maps lead from a hash, with a key of this process, to a chain of what has it.
type identities struct {
	seed      maphash.Seed
	workloads map[witness.Workload]*workload
	nodes     map[uint64]*node
	frames    map[uint64]*frame
	abouts    map[aboutKey]*about
	files     map[string]string
	last      *about
	witnesses uint32  // how many there were
	nodeCount uint32  // in the cache
	path      []*node // of the event in hand: path[i] is the node of frame i of its stack
}

func newIdentities() *identities {
	return &identities{
		seed:      maphash.MakeSeed(),
		workloads: map[witness.Workload]*workload{},
		nodes:     map[uint64]*node{},
		frames:    map[uint64]*frame{},
		abouts:    map[aboutKey]*about{},
		files:     map[string]string{},
	}
}

// size is how many things the cache holds.
func (c *identities) size() int {
	return len(c.workloads) + int(c.nodeCount) + len(c.abouts) + len(c.files)
}

func (c *identities) clear() {
	clear(c.workloads)
	clear(c.nodes)
	clear(c.frames)
	clear(c.abouts)
	clear(c.files)
	c.last, c.nodeCount = nil, 0
	clear(c.path[:cap(c.path)])
}

// workload finds a workload.
func (c *identities) workload(w witness.Workload) *workload {
	found, ok := c.workloads[w]
	if !ok {
		found = &workload{Workload: cloneWorkload(w), number: uint32(len(c.workloads))} //nolint:gosec // the cache is cleared long before 2^32
		c.workloads[found.Workload] = found
	}
	return found
}

// locate finds the nodes of a stack, each frame once.
func (c *identities) locate(w *workload, stack []witness.Frame) {
	c.path = slices.Grow(c.path[:0], len(stack))[:len(stack)]
	var n *node
	for i := len(stack) - 1; i >= 0; i-- {
		n = c.node(w, n, &stack[i])
		c.path[i] = n
	}
}

// identify finds the witness of a kind that frame i of the stack that was located is.
func (c *identities) identify(kind witness.Kind, stack []witness.Frame, i int) *identified {
	n, index := c.path[i], kindIndex(kind)
	for found := n.witnesses; found != nil; found = found.next {
		if found.kind == index {
			return found
		}
	}
	spelled := witness.Witness{Kind: kind, Frame: stack[i], Workload: n.workload.Workload, Path: stack[i+1:]}
	found := &identified{id: spelled.ID(), node: n, next: n.witnesses, number: c.witnesses, kind: index}
	c.witnesses++
	n.witnesses = found
	return found
}

// of finds a witness that is spelled out.
func (c *identities) of(w *witness.Witness) *identified {
	stack := append([]witness.Frame{w.Frame}, w.Path...)
	c.locate(c.workload(w.Workload), stack)
	return c.identify(w.Kind, stack, 0)
}

func (c *identities) node(w *workload, caller *node, f *witness.Frame) *node {
	last := &w.callee
	if caller != nil {
		last = &caller.callee
	}
	if n := *last; n != nil && n.frame.named(f) && n.frame.about.of(f) {
		return n
	}
	a := c.about(f)
	own := c.hash(f, a)
	parent := uint64(w.number) << 1
	if caller != nil {
		parent = uint64(caller.number)<<1 | 1
	}
	hash := mix(own ^ parent)
	for n := c.nodes[hash]; n != nil; n = n.next {
		if n.caller == caller && n.frame.about == a && n.workload == w && n.frame.named(f) {
			*last = n
			return n
		}
	}
	n := &node{frame: c.frame(own, f, a), caller: caller, next: c.nodes[hash], workload: w, number: c.nodeCount}
	c.nodeCount++
	c.nodes[hash] = n
	*last = n
	return n
}

// hash is that of a frame.
func (c *identities) hash(f *witness.Frame, a *about) uint64 {
	var hash uint64
	if f.Symbol == "" {
		hash = maphash.Comparable(c.seed, f.Offset)
	} else {
		hash = maphash.String(c.seed, f.Symbol)
	}
	// Where package and member are the ends of the symbol, their lengths are all there is to know.
	hash = mix(hash ^ uint64(len(f.Package))<<32 ^ uint64(len(f.Member)))
	if !strings.HasPrefix(f.Symbol, f.Package) || !strings.HasSuffix(f.Symbol, f.Member) {
		hash = mix(hash ^ maphash.String(c.seed, f.Package))
		hash = mix(hash ^ maphash.String(c.seed, f.Member))
	}
	return mix(hash ^ uint64(a.number))
}

// mix spreads the bits of a hash that something was added to: the finalizer of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// about finds what a frame has in common with others; most often it is that of the frame before.
func (c *identities) about(f *witness.Frame) *about {
	if c.last != nil && c.last.of(f) {
		return c.last
	}
	key := aboutKey{
		language: f.Language, component: f.Component, symbolSource: f.SymbolSource, flags: strings.Join(f.Flags, "\x00"),
		module: f.Module, confidence: f.Confidence, hasOffset: f.HasOffset, inlined: f.Inlined,
	}
	if math.IsNaN(key.confidence) { // NaN equals nothing, not even the key it is in
		key.confidence = 0
	}
	a, ok := c.abouts[key]
	if !ok {
		a = &about{
			language: strings.Clone(f.Language), component: strings.Clone(f.Component), symbolSource: strings.Clone(f.SymbolSource),
			flags: cloneStrings(f.Flags), confidence: key.confidence, hasOffset: f.HasOffset, inlined: f.Inlined,
			module: witness.Module{
				BuildID: strings.Clone(f.Module.BuildID), SHA256: strings.Clone(f.Module.SHA256), Path: strings.Clone(f.Module.Path),
			},
			number: uint32(len(c.abouts)), //nolint:gosec // as in workload
		}
		c.abouts[aboutKey{
			a.language, a.component, a.symbolSource, strings.Clone(key.flags), a.module, a.confidence, a.hasOffset, a.inlined,
		}] = a
	}
	c.last = a
	return a
}

// frame finds the frame with a hash, or keeps f.
func (c *identities) frame(hash uint64, f *witness.Frame, a *about) *frame {
	for n := c.frames[hash]; n != nil; n = n.next {
		if n.about == a && n.named(f) {
			return n
		}
	}
	n := &frame{symbol: strings.Clone(f.Symbol), file: c.file(f.File), about: a, offset: f.Offset, line: f.Line, next: c.frames[hash]}
	if strings.HasPrefix(n.symbol, f.Package) {
		n.pkg = n.symbol[:len(f.Package)]
	} else {
		n.pkg = strings.Clone(f.Package)
	}
	if strings.HasSuffix(n.symbol, f.Member) {
		n.member = n.symbol[len(n.symbol)-len(f.Member):]
	} else {
		n.member = strings.Clone(f.Member)
	}
	c.frames[hash] = n
	return n
}

// file keeps one copy of a name that many frames have.
func (c *identities) file(name string) string {
	kept, ok := c.files[name]
	if !ok {
		kept = strings.Clone(name)
		c.files[kept] = kept
	}
	return kept
}

func kindIndex(kind witness.Kind) uint8 {
	switch kind {
	case witness.KindExec:
		return 0
	case witness.KindLoad:
		return 1
	case witness.KindSample:
		return 2
	default:
		return 3
	}
}

func cloneWorkload(w witness.Workload) witness.Workload {
	return witness.Workload{
		Namespace: strings.Clone(w.Namespace), Controller: strings.Clone(w.Controller),
		Container: strings.Clone(w.Container), Image: strings.Clone(w.Image),
	}
}

func cloneStrings(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = strings.Clone(s)
	}
	return out
}
