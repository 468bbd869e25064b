package hotsymbolprocessor

import (
	"math"
	"slices"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// frameKey is a frame as far as an observation tells two of them apart. Where in a named function the frame is, its
// offset and line, is not part of it: samples of one function would each be another.
type frameKey struct {
	symbol, pkg, member, language, flags string
	buildID, sha256, path                string
	component, symbolSource              string
	offset                               uint64
	confidence                           float64
	hasOffset, inlined                   bool
}

func keyOf(f *witness.Frame) frameKey {
	k := frameKey{
		symbol: f.Symbol, pkg: f.Package, member: f.Member, language: f.Language,
		buildID: f.Module.BuildID, sha256: f.Module.SHA256, path: f.Module.Path,
		component: f.Component, symbolSource: f.SymbolSource,
		hasOffset: f.HasOffset, inlined: f.Inlined,
	}
	if f.Symbol == "" {
		k.offset = f.Offset
	}
	if !math.IsNaN(f.Confidence) { // NaN equals nothing, not even the key it is in
		k.confidence = f.Confidence
	}
	switch len(f.Flags) {
	case 0:
	case 1:
		k.flags = f.Flags[0]
	default:
		k.flags = strings.Join(f.Flags, "\x00")
	}
	return k
}

// alike reports whether two frames have the same key; it may say no where a confidence is no number.
func alike(a, b *witness.Frame) bool {
	return a.Symbol == b.Symbol && (a.Symbol != "" || a.Offset == b.Offset) && a.HasOffset == b.HasOffset &&
		a.Module == b.Module && a.Component == b.Component && a.Member == b.Member && a.Package == b.Package &&
		a.Language == b.Language && a.SymbolSource == b.SymbolSource && a.Inlined == b.Inlined && a.Confidence == b.Confidence &&
		slices.Equal(a.Flags, b.Flags)
}

// interned is a frame with a number.
type interned struct {
	frame  witness.Frame
	number uint32
}

// node is a place in the tree of call paths: a frame and the node of its caller, nil at the root. Stacks share nodes.
type node struct {
	frame  *interned
	caller *node
	number uint32 // from 1; 0 stands for no caller
	callee *node  // the one that was looked up last: most often the next is the same
	last   *identified
	lastAt uint32 // the workload of last
}

func (n *node) id() uint32 {
	if n == nil {
		return 0
	}
	return n.number
}

type nodeKey struct{ caller, frame uint32 }

// identified is a witness with its id, computed once.
type identified struct {
	id       witness.ID
	kind     witness.Kind
	node     *node
	workload witness.Workload
}

type identifiedKey struct{ node, workload, kind uint32 }

// witness spells the witness out.
func (w *identified) witness() witness.Witness {
	out := witness.Witness{Kind: w.kind, Frame: w.node.frame.frame, Workload: w.workload}
	depth := 0
	for n := w.node.caller; n != nil; n = n.caller {
		depth++
	}
	if depth > 0 {
		out.Path = make([]witness.Frame, 0, depth)
		for n := w.node.caller; n != nil; n = n.caller {
			out.Path = append(out.Path, n.frame.frame)
		}
	}
	return out
}

// identities finds the identity of sightings without hashing what was hashed before. It is a cache: what it returned
// stays valid when it is cleared.
type identities struct {
	frames     map[frameKey]*interned
	nodes      map[nodeKey]*node
	workloads  map[witness.Workload]uint32
	identified map[identifiedKey]*identified
	root       *node   // the outermost frame that was looked up last
	path       []*node // of the stack in hand: path[i] is the node of its i outermost frames
}

func newIdentities() *identities {
	return &identities{
		frames:     map[frameKey]*interned{},
		nodes:      map[nodeKey]*node{},
		workloads:  map[witness.Workload]uint32{},
		identified: map[identifiedKey]*identified{},
	}
}

func (c *identities) size() int {
	return len(c.frames) + len(c.nodes) + len(c.workloads) + len(c.identified)
}

func (c *identities) clear() {
	clear(c.frames)
	clear(c.nodes)
	clear(c.workloads)
	clear(c.identified)
	c.root = nil
	clear(c.path[:cap(c.path)])
}

// workload numbers a workload.
func (c *identities) workload(w witness.Workload) uint32 {
	number, ok := c.workloads[w]
	if !ok {
		number = uint32(len(c.workloads)) //nolint:gosec // the cache is cleared long before 2^32
		c.workloads[cloneWorkload(w)] = number
	}
	return number
}

// append appends the identity of each sighting of one event. The paths of an event's sightings are ends of one stack,
// the longest first; each frame of it is looked up once.
func (c *identities) append(dst []*identified, sightings []witness.Sighting, workload uint32) []*identified {
	if len(sightings) == 0 {
		return dst
	}
	stack := sightings[0].Witness.Path
	c.path = append(c.path[:0], nil)
	for i := len(stack) - 1; i >= 0; i-- {
		c.path = append(c.path, c.node(c.path[len(c.path)-1], &stack[i]))
	}
	for i := range sightings {
		w := &sightings[i].Witness
		depth := len(w.Path)
		var n *node
		switch {
		case depth > len(stack) || depth > 0 && &w.Path[depth-1] != &stack[len(stack)-1]:
			for j := depth - 1; j >= 0; j-- {
				n = c.node(n, &w.Path[j])
			}
			n = c.node(n, &w.Frame)
		case depth < len(stack) && same(&w.Frame, &stack[len(stack)-depth-1]):
			n = c.path[depth+1]
		default:
			n = c.node(c.path[depth], &w.Frame)
		}
		dst = append(dst, c.identify(n, w, workload))
	}
	return dst
}

// same reports whether two frames of one event are copies of each other; copies share their strings, so that this does
// not read them.
func same(a, b *witness.Frame) bool {
	return a.Symbol == b.Symbol && a.Offset == b.Offset && a.HasOffset == b.HasOffset && a.Module == b.Module &&
		a.Line == b.Line && a.Inlined == b.Inlined && a.Component == b.Component && len(a.Flags) == len(b.Flags) &&
		(len(a.Flags) == 0 || &a.Flags[0] == &b.Flags[0])
}

func (c *identities) node(caller *node, f *witness.Frame) *node {
	last := &c.root
	if caller != nil {
		last = &caller.callee
	}
	if n := *last; n != nil && alike(&n.frame.frame, f) {
		return n
	}
	key := keyOf(f)
	frame, ok := c.frames[key]
	if !ok {
		frame = &interned{frame: cloneFrame(f), number: uint32(len(c.frames))} //nolint:gosec // as in workload
		c.frames[keyOf(&frame.frame)] = frame
	}
	at := nodeKey{caller.id(), frame.number}
	n, ok := c.nodes[at]
	if !ok {
		n = &node{frame: frame, caller: caller, number: uint32(len(c.nodes)) + 1} //nolint:gosec // as in workload
		c.nodes[at] = n
	}
	*last = n
	return n
}

func (c *identities) identify(n *node, w *witness.Witness, workload uint32) *identified {
	if n.last != nil && n.last.kind == w.Kind && n.lastAt == workload {
		return n.last
	}
	key := identifiedKey{n.number, workload, uint32(kindIndex(w.Kind))} //nolint:gosec // small
	found, ok := c.identified[key]
	if !ok {
		found = &identified{id: w.ID(), kind: w.Kind, node: n, workload: cloneWorkload(w.Workload)}
		c.identified[key] = found
	}
	n.last, n.lastAt = found, workload
	return found
}

func kindIndex(kind witness.Kind) int {
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

func cloneFrame(f *witness.Frame) witness.Frame {
	out := *f
	for _, s := range []*string{
		&out.Package, &out.Member, &out.Symbol, &out.Language, &out.File, &out.Component, &out.SymbolSource,
		&out.Module.BuildID, &out.Module.SHA256, &out.Module.Path,
	} {
		*s = strings.Clone(*s)
	}
	out.Flags = cloneStrings(f.Flags)
	if math.IsNaN(out.Confidence) {
		out.Confidence = 0
	}
	return out
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
