package sqlite

import "context"

// maintain runs a step of maintenance in the writer, in a transaction of its own: steps are short, and calls that wait
// come between them. All derived rows are in the file when step begins, so that it may read and change obs, rolled and
// the derived tables with SQL on w.conn, or through the prepared statements; it must leave the derived tables as the
// functions of obs and rolled that they are. What is in memory of them is dropped afterwards.
//
// Statements of the step run on the connection's open transaction: it must not begin or end one. Rows that are deleted
// can leave a totals' first and last too early and too late; w.markStale has them derived anew at the end of the step.
func (s *Storage) maintain(ctx context.Context, step func(w *writer) error) error {
	w := s.writer
	return w.submit(ctx, groupSize, func() error { // of that size, it is the last job of its transaction
		if err := w.rewrite(); err != nil {
			return err
		}
		return step(w)
	})
}

// moveHorizon makes windows that start before it refuse observations, within a step of maintenance.
func (w *writer) moveHorizon(horizon int64) error {
	w.newHorizon = max(w.horizon, horizon)
	return execute(w.setState, w.newHorizon, "horizon")
}

// markStale has everything derived anew, at the end of the step, that the rows of a witness add up to in an instance, an
// assurance and an hour.
func (w *writer) markStale(row witnessRow, instance, assurance, hour int64) {
	w.stale = append(w.stale, stale{row, placeKey{row.subject, row.workload, instance, assurance}, hour})
}
