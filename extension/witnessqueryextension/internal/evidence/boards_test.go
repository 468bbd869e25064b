package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-witness/otelcol-witness/internal/score"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// store is a storage in which every subject answers the question and has as many hits.
type store struct {
	none.Storage
	findings []witness.Finding
	subjects []storage.Subject
	hits     uint64
	changes  storage.Changes
	named    []storage.NamedSubject
	failing  error
	totals   func() // before totals are read
}

func (s *store) Changes(context.Context, string, uint64) (storage.Changes, error) {
	changes := s.changes
	changes.Version++
	s.changes = storage.Changes{Version: changes.Version}
	return changes, nil
}

func (s *store) Findings(_ context.Context, _ string, q storage.FindingQuery) (storage.FindingPage, error) {
	var page storage.FindingPage
	for _, f := range s.findings {
		if q.IDs == nil || slices.Contains(q.IDs, f.ID) {
			page.Findings, page.Changed = append(page.Findings, f), append(page.Changed, now)
		}
	}
	return page, s.failing
}

func (s *store) Subjects(_ context.Context, _ string, q storage.SubjectQuery) ([]storage.Subject, error) {
	if len(q.Components)+len(q.Packages)+len(q.Members) > 0 {
		return s.subjects, nil
	}
	var found []storage.Subject
	for _, subject := range s.subjects {
		if slices.Contains(q.IDs, subject.ID) {
			found = append(found, subject)
		}
	}
	return found, nil
}

func (s *store) NamedSubjects(context.Context, string, []string, int) ([]storage.NamedSubject, error) {
	return s.named, nil
}

func (s *store) Totals(_ context.Context, _ string, ids []string) (map[string]storage.SubjectTotal, error) {
	if s.totals != nil {
		s.totals()
	}
	totals := map[string]storage.SubjectTotal{}
	for _, id := range ids {
		totals[id] = storage.SubjectTotal{Hits: s.hits, Measured: s.hits, Hosts: 1, FirstSeen: ago(60), LastSeen: now, LastMeasured: now}
	}
	return totals, nil
}

// keep makes a keeper of a store with so many subjects, which nobody runs, and has it read them.
func keep(t *testing.T, subjects int) (*store, *keeper) {
	s := &store{findings: []witness.Finding{question.Finding}, hits: 1, changes: storage.Changes{Everything: true}}
	for i := range subjects {
		s.subjects = append(s.subjects, subject(fmt.Sprintf("%05d", i), "F", witness.KindCall, false))
	}
	weights := score.DefaultWeights()
	k := &keeper{board: newBoard("", &weights, s, 10, 10*subjects), asks: make(chan ask, 1), loaded: make(chan struct{})}
	require.NoError(t, k.look(t.Context()))
	return s, k
}

func (s *store) count(hits uint64) {
	s.hits, s.changes.Counted = hits, nil
	for i := range s.subjects {
		s.changes.Counted = append(s.changes.Counted, s.subjects[i].ID)
	}
}

func (k *keeper) hitsOf(t *testing.T, id string) uint64 {
	t.Helper()
	for _, f := range k.board.list(&FindingsQuery{Now: now}).Findings {
		if f.Finding.ID == id {
			return f.Hits
		}
	}
	require.Fail(t, "is not listed")
	return 0
}

func TestWhoeverAsksWaitsForFew(t *testing.T) {
	for _, test := range []struct {
		name     string
		subjects int
		exact    bool
		want     uint64
	}{
		{"few", boardFew, false, 2 * boardFew},
		{"many", boardFew + 1, false, boardFew + 1},
		{"many, exactly", boardFew + 1, true, 2 * (boardFew + 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, k := keep(t, test.subjects)
			before := k.current
			s.count(2)
			replies := make(chan reply, 1)
			k.waiting = []ask{{test.exact, replies}}
			k.answer(t.Context(), false)
			r := <-replies
			require.NoError(t, r.err)
			assert.Equal(t, test.want, k.hitsOf(t, "F"))
			assert.Equal(t, test.want == uint64(test.subjects), r.current.Equal(before), "the age is told")
			require.NoError(t, k.takeIn(t.Context(), true))
			assert.Equal(t, uint64(2*test.subjects), k.hitsOf(t, "F"), "by and by")
			assert.True(t, k.current.After(before))
		})
	}
}

func TestWhoeverAsksMeanwhileSeesTheFindingsOfNow(t *testing.T) {
	s, k := keep(t, 2*lockChunk)
	before := k.current
	s.count(2)
	require.NoError(t, k.look(t.Context()))
	replies, exact := make(chan reply, 1), make(chan reply, 1)
	calls := 0
	s.totals = func() {
		switch calls++; calls {
		case 1:
			added := question.Finding
			added.ID = "G"
			s.findings = append(s.findings, added)
			s.changes.Findings = []string{"G"}
			k.asks <- ask{false, replies}
		case 2: // those of the added one
			k.asks <- ask{true, exact}
		}
	}
	require.NoError(t, k.takeIn(t.Context(), true))
	r := <-replies
	assert.Equal(t, before, r.current)
	assert.Equal(t, k.hitsOf(t, "G"), k.hitsOf(t, "F"))
	assert.Empty(t, exact, "waits for all of it")
	k.answer(t.Context(), false)
	assert.True(t, (<-exact).current.After(before))
}

func TestFindingsThatAskTheSameKeepTheirEvidence(t *testing.T) {
	s, k := keep(t, 10)
	s.findings[0].Title = "told anew"
	s.changes.Findings = []string{"F"}
	s.totals = func() { assert.Fail(t, "nothing was counted anew") }
	require.NoError(t, k.look(t.Context()))
	assert.Equal(t, uint64(10), k.hitsOf(t, "F"))
	assert.Equal(t, "told anew", k.board.entries["F"].finding.Title)
	s.totals = nil
	s.findings[0].Affected = []witness.VersionRange{{Introduced: "2.0.0"}}
	s.changes.Findings = []string{"F"}
	require.NoError(t, k.look(t.Context()))
	assert.Zero(t, k.hitsOf(t, "F"))
	assert.Zero(t, k.board.pairs)
	assert.Empty(t, k.board.subjects)
	s.findings = nil
	s.changes.Findings = []string{"F"}
	require.NoError(t, k.look(t.Context()))
	assert.Empty(t, k.board.list(&FindingsQuery{Now: now}).Findings)
}

func TestAFailedKeeperBeginsAnew(t *testing.T) {
	s, k := keep(t, 10)
	s.failing = errors.New("broken")
	s.changes.Findings = []string{"F"}
	replies := make(chan reply, 1)
	k.waiting = []ask{{false, replies}}
	k.answer(t.Context(), false)
	require.ErrorIs(t, (<-replies).err, s.failing)
	assert.Zero(t, k.version)
	s.failing = nil
	s.changes.Everything = true
	require.NoError(t, k.look(t.Context()))
	assert.Equal(t, uint64(10), k.hitsOf(t, "F"))
}

func TestClosedBoards(t *testing.T) {
	weights := score.DefaultWeights()
	var boards Boards
	page, err := boards.Findings(t.Context(), none.Storage{}, "", &weights, FindingsQuery{Now: now}, false)
	require.NoError(t, err)
	assert.Empty(t, page.Findings)
	assert.Equal(t, now, page.AsOf)
	boards.Close()
	boards.Warm(none.Storage{}, "", &weights)
	_, err = boards.Findings(t.Context(), none.Storage{}, "", &weights, FindingsQuery{}, false)
	require.ErrorIs(t, err, storage.ErrClosed)
	assert.False(t, boards.Ready(""))
	ended, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	k := &keeper{asks: make(chan ask), ended: make(chan struct{})}
	<-ended.Done()
	_, err = k.ask(ended, false)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(k.ended)
	_, err = k.ask(context.Background(), false)
	require.ErrorIs(t, err, errForgotten)
}

// What traces named a finding for is held with its workloads, which are as many as whoever posts wants.
func TestNamedSubjectsCountAsPairs(t *testing.T) {
	s, k := keep(t, 2) // of twenty pairs at most
	s.named = []storage.NamedSubject{{Finding: "F", Subject: "elsewhere", Workloads: make([]witness.Workload, 17)}}
	s.changes.Findings = []string{"F"}
	require.NoError(t, k.look(t.Context()))
	s.changes.Findings = []string{"F"}
	require.NoError(t, k.look(t.Context()), "it is not counted twice")
	s.named[0].Workloads = append(s.named[0].Workloads, witness.Workload{})
	s.changes.Findings = []string{"F"}
	require.ErrorIs(t, k.look(t.Context()), ErrTooMany)
	k.fail(ErrTooMany)
	assert.Zero(t, k.board.named)
	s.named, s.changes.Findings = nil, []string{"F"}
	require.NoError(t, k.look(t.Context()), "it is less again")
	assert.Equal(t, uint64(2), k.hitsOf(t, "F"))
}
