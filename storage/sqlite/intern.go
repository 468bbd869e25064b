package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sync/atomic"

	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// interning turns what repeats into row ids. It belongs to the writer's goroutine.
type interning struct {
	caches
	number                                        int64 // of the transaction under way: the received of its rows
	findText, addText                             *sql.Stmt
	findModule, addModule                         *sql.Stmt
	findFrame, addFrame                           *sql.Stmt
	findNode, addNode                             *sql.Stmt
	findWorkload, addWorkload                     *sql.Stmt
	findInstance, addInstance                     *sql.Stmt
	findSource, addSource                         *sql.Stmt
	findArtifact, addArtifact, addArtifactName    *sql.Stmt
	findComponent, addComponent, addComponentName *sql.Stmt
	findLink, addLink                             *sql.Stmt
	findSubject, addSubject                       *sql.Stmt
	findWitness, addWitness                       *sql.Stmt
}

// caches hold committed rows, and those of the transaction under way; they are cleared when it is undone.
type caches struct {
	texts      *cache[string, int64]
	modules    *cache[moduleKey, moduleRow]
	frames     *cache[[digestSize]byte, int64]
	nodes      *cache[[2]int64, int64]
	workloads  *cache[witness.Workload, int64]
	instances  *cache[witness.Instance, int64]
	sources    *cache[string, sourceRow]
	artifacts  *cache[artifactKey, int64]
	components *cache[string, int64]
	links      *cache[[2]int64, int64]
	witnesses  *cache[witnessKey, witnessRow]
	windows    *cache[int64, struct{}]
	active     *cache[activeKey, struct{}]
	heard      *cache[stage, *speaker]
	known      *cache[knownKey, fact]
	namesIn    *cache[nameKey, placeNames]
	books      map[bookKey]*book
	booked     int // rows in books
	speakers   int // sources in heard, or more
}

func newCaches(limit int, emptied *atomic.Uint64) caches {
	return caches{
		texts:      newCache[string, int64](limit, emptied),
		modules:    newCache[moduleKey, moduleRow](limit, emptied),
		frames:     newCache[[digestSize]byte, int64](limit, emptied),
		nodes:      newCache[[2]int64, int64](limit, emptied),
		workloads:  newCache[witness.Workload, int64](limit, emptied),
		instances:  newCache[witness.Instance, int64](limit, emptied),
		sources:    newCache[string, sourceRow](limit, emptied),
		artifacts:  newCache[artifactKey, int64](limit, emptied),
		components: newCache[string, int64](limit, emptied),
		links:      newCache[[2]int64, int64](limit, emptied),
		witnesses:  newCache[witnessKey, witnessRow](16*limit, emptied),
		windows:    newCache[int64, struct{}](limit, emptied),
		active:     newCache[activeKey, struct{}](limit, emptied),
		heard:      newCache[stage, *speaker](limit, emptied),
		known:      newCache[knownKey, fact](limit, emptied),
		namesIn:    newCache[nameKey, placeNames](limit, emptied),
		books:      map[bookKey]*book{},
	}
}

// forget empties all caches.
func (c *caches) forget() {
	for _, each := range []interface{ clear() }{
		c.texts, c.modules, c.frames, c.nodes, c.workloads, c.instances, c.sources, c.artifacts, c.components, c.links,
		c.witnesses, c.windows, c.active, c.heard, c.known, c.namesIn,
	} {
		each.clear()
	}
	clear(c.books)
	c.booked, c.speakers = 0, 0
}

type moduleKey struct {
	module witness.Module
	image  string // where it is part of the module's identity
}

func keyOf(module witness.Module, image string) moduleKey {
	if module.BuildID != "" || module.SHA256 != "" || module.Path == "" || module.Path == witness.KernelModule {
		image = ""
	}
	return moduleKey{module, image}
}

type moduleRow struct{ id, key int64 }

type artifactKey struct{ purl, digest, revision, repository, method, conflicts string }

type witnessKey struct {
	tenant int64
	id     witness.ID
}

const digestSize = 16

// row finds a row, or adds it.
func row(find *sql.Stmt, key []any, add *sql.Stmt, values []any) (id int64, created bool, err error) {
	err = find.QueryRowContext(context.Background(), key...).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, false, err
	}
	result, err := add.ExecContext(context.Background(), values...)
	if err != nil {
		return 0, false, err
	}
	id, err = result.LastInsertId()
	return id, true, err
}

func (n *interning) text(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if id, ok := n.texts.get(s); ok {
		return id, nil
	}
	id, _, err := row(n.findText, []any{s}, n.addText, []any{s})
	if err == nil {
		n.texts.put(s, id)
	}
	return id, err
}

func (n *interning) module(module witness.Module, image string) (moduleRow, error) {
	if module == (witness.Module{}) {
		return moduleRow{}, nil
	}
	cached := keyOf(module, image)
	if m, ok := n.modules.get(cached); ok {
		return m, nil
	}
	key, err := n.text(module.Key(image))
	if err != nil {
		return moduleRow{}, err
	}
	values := []any{key, module.BuildID, module.SHA256, module.Path}
	id, _, err := row(n.findModule, values, n.addModule, values)
	if err == nil {
		n.modules.put(cached, moduleRow{id, key})
	}
	return moduleRow{id, key}, err
}

// frameRow is an interned frame with the texts that a subject needs.
type frameRow struct {
	id, module, pkg, member, symbol int64 // module is the module's key
	flags                           string
}

func (n *interning) frame(f *witness.Frame, image string) (frameRow, error) {
	var r frameRow
	var err error
	if r.flags, err = encodeFlags(f.Flags); err != nil {
		return r, err
	}
	module, err := n.module(f.Module, image)
	if err != nil {
		return r, err
	}
	r.module = module.key
	var file int64
	for _, each := range []struct {
		into *int64
		text string
	}{{&r.pkg, f.Package}, {&r.member, f.Member}, {&r.symbol, f.Symbol}, {&file, f.File}} {
		if *each.into, err = n.text(each.text); err != nil {
			return r, err
		}
	}
	var offset []byte
	if f.HasOffset {
		offset = binary.BigEndian.AppendUint64(nil, f.Offset)
	}
	confidence := f.Confidence
	if math.IsNaN(confidence) { // SQLite would make it NULL
		confidence = 0
	}
	digest := digestOf([]string{r.flags, f.Language, f.SymbolSource, string(offset)}, module.id, r.pkg, r.member, r.symbol, file,
		int64(f.Line), bit(f.Inlined), int64(math.Float64bits(confidence))) //nolint:gosec // bits
	if id, ok := n.frames.get(digest); ok {
		r.id = id
		return r, nil
	}
	r.id, _, err = row(n.findFrame, []any{digest[:]}, n.addFrame, []any{digest[:], module.id, r.pkg, r.member, r.symbol, file, f.Line,
		f.Language, r.flags, offset, bit(f.Inlined), f.SymbolSource, confidence})
	if err == nil {
		n.frames.put(digest, r.id)
	}
	return r, err
}

// path returns the node of the innermost caller.
func (n *interning) path(frames []witness.Frame, image string) (int64, error) {
	var node int64
	for i := range slices.Backward(frames) {
		frame, err := n.frame(&frames[i], image)
		if err != nil {
			return 0, err
		}
		key := [2]int64{node, frame.id}
		id, ok := n.nodes.get(key)
		if !ok {
			values := []any{node, frame.id}
			if id, _, err = row(n.findNode, values, n.addNode, values); err != nil {
				return 0, err
			}
			n.nodes.put(key, id)
		}
		node = id
	}
	return node, nil
}

func (n *interning) workload(w witness.Workload) (int64, error) {
	if id, ok := n.workloads.get(w); ok {
		return id, nil
	}
	values := []any{w.Namespace, w.Controller, w.Container, w.Image}
	id, _, err := row(n.findWorkload, values, n.addWorkload, values)
	if err == nil {
		n.workloads.put(w, id)
	}
	return id, err
}

func (n *interning) instance(i witness.Instance) (int64, error) {
	if id, ok := n.instances.get(i); ok {
		return id, nil
	}
	values := []any{i.Host, i.Pod, i.Container}
	id, _, err := row(n.findInstance, values, n.addInstance, values)
	if err == nil {
		n.instances.put(i, id)
	}
	return id, err
}

// sourceRow is a row of source.
type sourceRow struct {
	id, receiver int64
	installation string
}

func (n *interning) source(source string) (int64, error) {
	row, err := n.sourceOf(source)
	return row.id, err
}

func (n *interning) sourceOf(source string) (sourceRow, error) {
	if known, ok := n.sources.get(source); ok {
		return known, nil
	}
	receiver, err := n.text(receiverOf(source))
	if err != nil {
		return sourceRow{}, err
	}
	id, _, err := row(n.findSource, []any{source}, n.addSource, []any{source, receiver})
	known := sourceRow{id, receiver, installationOf(source)}
	if err == nil {
		n.sources.put(source, known)
	}
	return known, err
}

// receiverOf is the receiver of a source, or nothing for posted traces.
func receiverOf(source string) string {
	switch receiver := storage.Receiver(source); receiver {
	case storage.PostSource:
		return ""
	case "":
		return source
	default:
		return receiver
	}
}

func (n *interning) artifact(a *witness.Artifact) (int64, error) {
	if a.IsZero() {
		return 0, nil
	}
	conflicts := "[]"
	if len(a.Conflicts) > 0 {
		encoded, err := json.Marshal(a.Conflicts)
		if err != nil {
			return 0, err
		}
		conflicts = string(encoded)
	}
	key := artifactKey{a.PURL, a.Digest, a.Revision, a.Repository, a.Method, conflicts}
	if id, ok := n.artifacts.get(key); ok {
		return id, nil
	}
	values := []any{a.PURL, a.Digest, a.Revision, a.Repository, a.Method, conflicts}
	id, created, err := row(n.findArtifact, values, n.addArtifact, values)
	if created {
		err = nameAll(n.addArtifactName, a.PURL, id)
	}
	if err == nil {
		n.artifacts.put(key, id)
	}
	return id, err
}

func (n *interning) component(purl string) (int64, error) {
	if purl == "" {
		return 0, nil
	}
	if id, ok := n.components.get(purl); ok {
		return id, nil
	}
	id, created, err := row(n.findComponent, []any{purl}, n.addComponent, []any{purl})
	if created {
		err = nameAll(n.addComponentName, purl, id)
	}
	if err == nil {
		n.components.put(purl, id)
	}
	return id, err
}

func nameAll(add *sql.Stmt, purl string, id int64) error {
	for _, name := range names(purl) {
		if err := execute(add, name, id); err != nil {
			return err
		}
	}
	return nil
}

func (n *interning) link(artifact, component int64) (int64, error) {
	if artifact == 0 && component == 0 {
		return 0, nil
	}
	key := [2]int64{artifact, component}
	if id, ok := n.links.get(key); ok {
		return id, nil
	}
	values := []any{artifact, component}
	id, _, err := row(n.findLink, values, n.addLink, values)
	if err == nil {
		n.links.put(key, id)
	}
	return id, err
}

// witness returns the row of a witness within a tenant, adding it, its subject and its path when it is new.
func (n *interning) witness(tenant int64, id witness.ID, w *witness.Witness) (found witnessRow, created bool, err error) {
	key := witnessKey{tenant, id}
	if found, ok := n.witnesses.get(key); ok {
		return found, false, nil
	}
	found.tenant, found.kind = tenant, kindCode(w.Kind)
	err = n.findWitness.QueryRowContext(context.Background(), tenant, id[:]).Scan(&found.id, &found.subject, &found.workload, &found.created)
	if errors.Is(err, sql.ErrNoRows) {
		created = true
		err = n.newWitness(&found, id, w)
	}
	if err == nil {
		n.witnesses.put(key, found)
	}
	return found, created, err
}

func (n *interning) newWitness(found *witnessRow, id witness.ID, w *witness.Witness) error {
	frame, err := n.frame(&w.Frame, w.Workload.Image)
	if err != nil {
		return err
	}
	if found.subject, err = n.subject(found.tenant, w, &frame); err != nil {
		return err
	}
	node, err := n.path(w.Path, w.Workload.Image)
	if err != nil {
		return err
	}
	if found.workload, err = n.workload(w.Workload); err != nil {
		return err
	}
	result, err := n.addWitness.ExecContext(context.Background(), found.tenant, id[:], found.subject, frame.id, node, found.workload, n.number)
	if err != nil {
		return err
	}
	found.created = n.number
	found.id, err = result.LastInsertId()
	return err
}

func (n *interning) subject(tenant int64, w *witness.Witness, frame *frameRow) (int64, error) {
	offset := ""
	if w.Frame.Symbol == "" && w.Frame.HasOffset {
		offset = witness.FormatOffset(w.Frame.Offset)
	}
	kind := kindCode(w.Kind)
	digest := digestOf([]string{frame.flags, offset}, tenant, kind, frame.module, frame.symbol)
	part := frame.pkg
	if frame.module == 0 {
		part = frame.symbol
	}
	id, _, err := row(n.findSubject, []any{digest[:]},
		n.addSubject, []any{digest[:], tenant, kind, frame.id, frame.module, part, frame.pkg, frame.member})
	return id, err
}

// digestOf is over texts, each with its length, and numbers.
func digestOf(texts []string, numbers ...int64) [digestSize]byte {
	b := make([]byte, 0, 256)
	for _, text := range texts {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(text))), text...)
	}
	for _, number := range numbers {
		b = binary.BigEndian.AppendUint64(b, uint64(number)) //nolint:gosec // bits
	}
	sum := sha256.Sum256(b)
	return [digestSize]byte(sum[:digestSize])
}

// encodeFlags sorts flags and drops repetitions, as the identity document does.
func encodeFlags(flags []string) (string, error) {
	if len(flags) == 0 {
		return "[]", nil
	}
	encoded, err := json.Marshal(slices.Compact(slices.Sorted(slices.Values(flags))))
	return string(encoded), err
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
