package sqlite

import (
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// rememberedLimit is how many rows of a table readers remember, about: a young generation of half of them, and the one
// before it, which is dropped when the young one is full.
const rememberedLimit = 1 << 15

// remembered are rows of a table by their id, for all readers. It is for interned rows only: they never change, and no id
// is ever used again (sweep leaves the highest of a table), so whatever snapshot a reader has, the row of an id that it
// met there is this one.
type remembered[V any] struct {
	lock       sync.RWMutex
	young, old map[int64]V
	limit      int // of a generation
	emptied    *atomic.Uint64
}

func newRemembered[V any](limit int, emptied *atomic.Uint64) *remembered[V] {
	return &remembered[V]{young: map[int64]V{}, limit: max(1, limit/2), emptied: emptied}
}

// find returns the rows that are remembered, and the ids of the others.
func (r *remembered[V]) find(ids []int64) (found map[int64]V, missing []int64) {
	found = make(map[int64]V, len(ids))
	var aged []int64
	r.lock.RLock()
	for _, id := range ids {
		if row, ok := r.young[id]; ok {
			found[id] = row
		} else if row, ok := r.old[id]; ok {
			found[id] = row
			aged = append(aged, id)
		} else {
			missing = append(missing, id)
		}
	}
	r.lock.RUnlock()
	if len(aged) > 0 {
		again := make(map[int64]V, len(aged))
		for _, id := range aged {
			again[id] = found[id]
		}
		r.add(again)
	}
	return found, missing
}

func (r *remembered[V]) add(rows map[int64]V) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for id, row := range rows {
		if len(r.young) >= r.limit {
			if r.old != nil {
				r.emptied.Add(1)
			}
			r.young, r.old = map[int64]V{}, r.young
		}
		r.young[id] = row
	}
}

// recollection is what readers remember. What is known of modules by now is no part of it.
type recollection struct {
	stacks     *remembered[stack]
	frames     *remembered[frameRead]
	subjects   *remembered[subjectPart]
	workloads  *remembered[witness.Workload]
	instances  *remembered[witness.Instance]
	links      *remembered[joined]
	artifacts  *remembered[witness.Artifact]
	components *remembered[string]
	emptied    atomic.Uint64 // how often a generation was dropped
}

func newRecollection(limit int) *recollection {
	r := &recollection{}
	r.stacks = newRemembered[stack](limit, &r.emptied)
	r.frames = newRemembered[frameRead](limit, &r.emptied)
	r.subjects = newRemembered[subjectPart](limit, &r.emptied)
	r.workloads = newRemembered[witness.Workload](limit, &r.emptied)
	r.instances = newRemembered[witness.Instance](limit, &r.emptied)
	r.links = newRemembered[joined](limit, &r.emptied)
	r.artifacts = newRemembered[witness.Artifact](limit, &r.emptied)
	r.components = newRemembered[string](limit, &r.emptied)
	return r
}

// recall returns the rows with the ids that are keys of a map: those that are remembered, and those that query finds,
// whose only argument is the ids. scan reads one of them into found.
func recall[V any](v *snapshot, r *remembered[V], ids []int64, query string, scan func(rows *sql.Rows, found map[int64]V) error) (map[int64]V, error) {
	found, missing := r.find(ids)
	if len(missing) == 0 {
		return found, nil
	}
	read := make(map[int64]V, len(missing))
	if err := v.each(query, []any{list(missing)}, func(rows *sql.Rows) error { return scan(rows, read) }); err != nil {
		return nil, err
	}
	r.add(read)
	maps.Copy(found, read)
	return found, nil
}

// workloads, instances, links, artifacts, components, subjectParts and stacks return the rows with the ids that are keys
// of a map.

func (v *snapshot) workloads(ids []int64) (map[int64]witness.Workload, error) {
	return recall(v, v.owner.recollection.workloads, ids,
		"SELECT w.id, w.namespace, w.controller, w.container, w.image FROM json_each(?) j CROSS JOIN workload w ON w.id = j.value",
		func(rows *sql.Rows, found map[int64]witness.Workload) error {
			var id int64
			var w witness.Workload
			err := rows.Scan(&id, &w.Namespace, &w.Controller, &w.Container, &w.Image)
			found[id] = w
			return err
		})
}

func (v *snapshot) instances(ids []int64) (map[int64]witness.Instance, error) {
	return recall(v, v.owner.recollection.instances, ids,
		"SELECT i.id, i.host, i.pod, i.container FROM json_each(?) j CROSS JOIN instance i ON i.id = j.value",
		func(rows *sql.Rows, found map[int64]witness.Instance) error {
			var id int64
			var i witness.Instance
			err := rows.Scan(&id, &i.Host, &i.Pod, &i.Container)
			found[id] = i
			return err
		})
}

// joined is what an observation or a subject is tied to: ids of artifact and component, 0 when unknown.
type joined struct{ artifact, component int64 }

// or fills in from what is known.
func (j joined) or(known joined) joined {
	if j.artifact == 0 {
		j.artifact = known.artifact
	}
	if j.component == 0 {
		j.component = known.component
	}
	return j
}

func (v *snapshot) links(ids []int64) (map[int64]joined, error) {
	return recall(v, v.owner.recollection.links, ids, "SELECT l.id, l.artifact, l.component FROM json_each(?) j CROSS JOIN link l ON l.id = j.value",
		func(rows *sql.Rows, found map[int64]joined) error {
			var id int64
			var j joined
			err := rows.Scan(&id, &j.artifact, &j.component)
			found[id] = j
			return err
		})
}

func (v *snapshot) artifacts(ids []int64) (map[int64]witness.Artifact, error) {
	found, err := recall(v, v.owner.recollection.artifacts, ids,
		"SELECT a.id, a.purl, a.digest, a.revision, a.repository, a.method, a.conflicts FROM json_each(?) j CROSS JOIN artifact a ON a.id = j.value",
		func(rows *sql.Rows, found map[int64]witness.Artifact) error {
			var id int64
			var a witness.Artifact
			var conflicts []byte
			if err := rows.Scan(&id, &a.PURL, &a.Digest, &a.Revision, &a.Repository, &a.Method, &conflicts); err != nil {
				return err
			}
			if string(conflicts) != "[]" {
				if err := json.Unmarshal(conflicts, &a.Conflicts); err != nil {
					return err
				}
			}
			found[id] = a
			return nil
		})
	for id, a := range found { // who asked may change it
		if len(a.Conflicts) > 0 {
			a.Conflicts = slices.Clone(a.Conflicts)
			found[id] = a
		}
	}
	return found, err
}

func (v *snapshot) components(ids []int64) (map[int64]string, error) {
	return recall(v, v.owner.recollection.components, ids, "SELECT c.id, c.purl FROM json_each(?) j CROSS JOIN component c ON c.id = j.value",
		func(rows *sql.Rows, found map[int64]string) error {
			var id int64
			var purl string
			err := rows.Scan(&id, &purl)
			found[id] = purl
			return err
		})
}

// part is what facts are known of: a module's key and a text, or 0.
type part struct{ module, text int64 }

// subjectPart is what facts are known of for a subject.
type subjectPart struct {
	tenant              int64
	artifact, component part
}

func (v *snapshot) subjectParts(ids []int64) (map[int64]subjectPart, error) {
	return recall(v, v.owner.recollection.subjects, ids, "SELECT s.id, s.tenant, s.module, s.part FROM json_each(?) j CROSS JOIN subject s ON s.id = j.value",
		func(rows *sql.Rows, found map[int64]subjectPart) error {
			var id int64
			var s subjectPart
			err := rows.Scan(&id, &s.tenant, &s.component.module, &s.component.text)
			if s.artifact = s.component; s.artifact.module != 0 {
				s.artifact.text = 0
			}
			found[id] = s
			return err
		})
}

// facts returns what is known now of parts: the ids in the column of the same name of known_artifact or known_component.
func (v *snapshot) facts(column string, parts map[part]struct{}) (map[part]int64, error) {
	found := make(map[part]int64, len(parts))
	if len(parts) == 0 {
		return found, nil
	}
	keys := make([][2]int64, 0, len(parts))
	for p := range parts {
		keys = append(keys, [2]int64{p.module, p.text})
	}
	err := v.each("SELECT k.module, k.part, k."+column+" FROM json_each(?) j CROSS JOIN known_"+column+
		" k ON k.tenant = ? AND k.module = j.value->>0 AND k.part = j.value->>1", []any{list(keys), v.tenant}, func(rows *sql.Rows) error {
		var p part
		var id int64
		err := rows.Scan(&p.module, &p.text, &id)
		found[p] = id
		return err
	})
	return found, err
}

// known is the newest that is known of subjects of the tenant.
func (v *snapshot) known(ids []int64) (map[int64]joined, error) {
	subjects, err := v.subjectParts(ids)
	if err != nil {
		return nil, err
	}
	ofArtifacts, ofComponents := map[part]struct{}{}, map[part]struct{}{}
	for _, s := range subjects {
		if s.tenant == v.tenant {
			ofArtifacts[s.artifact], ofComponents[s.component] = struct{}{}, struct{}{}
		}
	}
	artifacts, err := v.facts("artifact", ofArtifacts)
	if err != nil {
		return nil, err
	}
	components, err := v.facts("component", ofComponents)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]joined, len(subjects))
	for id, s := range subjects {
		if s.tenant == v.tenant {
			found[id] = joined{artifacts[s.artifact], components[s.component]}
		}
	}
	return found, nil
}

// frameRead is a frame without component, and what its component is known of.
type frameRead struct {
	frame     witness.Frame
	component part
}

// frames returns frames with the newest component that is known of each.
func (v *snapshot) frames(ids []int64) (map[int64]witness.Frame, error) {
	rows, err := recall(v, v.owner.recollection.frames, ids, `SELECT f.id, p.text, b.text, s.text, l.text, f.line, f.language, f.flags, f.offset, f.inlined,
  f.symbol_source, f.confidence, m.build_id, m.sha256, m.path, m.key, iif(m.key = 0, f.symbol, f.package)
FROM json_each(?) j CROSS JOIN frame f ON f.id = j.value
CROSS JOIN text p ON p.id = f.package CROSS JOIN text b ON b.id = f.member CROSS JOIN text s ON s.id = f.symbol CROSS JOIN text l ON l.id = f.file
CROSS JOIN module m ON m.id = f.module`, func(rows *sql.Rows, found map[int64]frameRead) error {
		var id int64
		var r frameRead
		f := &r.frame
		var flags, offset []byte
		if err := rows.Scan(&id, &f.Package, &f.Member, &f.Symbol, &f.File, &f.Line, &f.Language, &flags, &offset, &f.Inlined,
			&f.SymbolSource, &f.Confidence, &f.Module.BuildID, &f.Module.SHA256, &f.Module.Path, &r.component.module, &r.component.text); err != nil {
			return err
		}
		if string(flags) != "[]" {
			if err := json.Unmarshal(flags, &f.Flags); err != nil {
				return err
			}
		}
		for _, b := range offset {
			f.Offset, f.HasOffset = f.Offset<<8|uint64(b), true
		}
		found[id] = r
		return nil
	})
	if err != nil {
		return nil, err
	}
	parts := make(map[part]struct{}, len(rows))
	for _, r := range rows {
		parts[r.component] = struct{}{}
	}
	known, err := v.facts("component", parts)
	if err != nil {
		return nil, err
	}
	componentIDs := set{}
	for _, id := range known {
		componentIDs.add(id)
	}
	components, err := v.components(componentIDs.list())
	if err != nil {
		return nil, err
	}
	found := make(map[int64]witness.Frame, len(rows))
	for id, r := range rows {
		f := r.frame
		f.Component = components[known[r.component]]
		if len(f.Flags) > 0 { // who asked may change it
			f.Flags = slices.Clone(f.Flags)
		}
		found[id] = f
	}
	return found, nil
}

// stack is what of a witness never changes: frames innermost first.
type stack struct {
	kind, workload int64
	frames         []int64
}

// stacks returns the stacks of witnesses.
func (v *snapshot) stacks(ids []int64) (map[int64]stack, error) {
	return recall(v, v.owner.recollection.stacks, ids, `WITH RECURSIVE path (witness, depth, frame, node, workload, kind) AS (
  SELECT w.id, 0, w.frame, w.node, w.workload, s.kind FROM json_each(?) j CROSS JOIN witness w ON w.id = j.value CROSS JOIN subject s ON s.id = w.subject
  UNION ALL
  SELECT p.witness, p.depth + 1, n.frame, n.caller, p.workload, p.kind FROM path p CROSS JOIN node n ON n.id = p.node WHERE p.node <> 0)
SELECT witness, frame, workload, kind FROM path ORDER BY witness, depth`, func(rows *sql.Rows, found map[int64]stack) error {
		var id, frame int64
		var workload, kind int64
		err := rows.Scan(&id, &frame, &workload, &kind)
		s := found[id]
		s.workload, s.kind, s.frames = workload, kind, append(s.frames, frame)
		found[id] = s
		return err
	})
}
