package storage

import (
	"context"

	"github.com/otelcol-witness/otelcol-witness/witness"
)

// FindingReader answers about many findings at once, for those who keep answers and want to know what became of them.
type FindingReader interface {
	// Changes tells what changed since an answer of it. What a write changed is told as soon as the write returned, and what
	// is read after Changes returned is as least as new as what it tells. Every write is told once or more often.
	Changes(ctx context.Context, tenant string, since uint64) (Changes, error)
	// NamedSubjects returns the subjects of witnesses that traces named outright for these findings, ordered by finding and
	// subject. It is made for thousands of findings. More than limit pairs of a finding and a witness are ErrTooMany.
	NamedSubjects(ctx context.Context, tenant string, findings []string, limit int) ([]NamedSubject, error)
	// SubjectWorkloads returns the workloads of the witnesses of each subject, in a stable order, but those of which nothing
	// is known. It is made for thousands of subjects.
	SubjectWorkloads(ctx context.Context, tenant string, subjects []string) (map[string][]witness.Workload, error)
}

// Changes are the ids of what changed, sorted.
type Changes struct {
	// Version is what to ask with the next time. It is never 0.
	Version uint64
	// Everything may have changed: the version asked with is none of this process, or too long ago. Nothing else is told.
	Everything bool
	// Findings were put, deleted or named by a trace.
	Findings []string
	// Described are subjects that are new, have a new witness, or of which something else is known now.
	Described []string
	// Counted are subjects with other totals.
	Counted []string
}

// NamedSubject is a subject some witnesses of which traces named outright for a finding.
type NamedSubject struct {
	Finding, Subject string
	// Total is that of the named witnesses alone, as a Summary with Filter.Finding has it.
	Total SubjectTotal
	// Workloads are those of the named witnesses, in a stable order.
	Workloads []witness.Workload
}
