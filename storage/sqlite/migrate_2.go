package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
)

// settleRows carries the observations of schema 1 over, with what law 9 counts of each, and leaves it to Open to derive
// the rest from them.
func settleRows(ctx context.Context, tx *sql.Tx) error {
	receivers, err := settleSources(ctx, tx)
	if err != nil {
		return err
	}
	var starts []int64
	if err := eachIn(ctx, tx, "SELECT start FROM window ORDER BY start", nil, func(rows *sql.Rows) error {
		var start int64
		err := rows.Scan(&start)
		starts = append(starts, start)
		return err
	}); err != nil {
		return err
	}
	copyRow, err := tx.PrepareContext(ctx, `INSERT INTO obs SELECT start, source, instance, witness, flush, length, hits, hits_error, ?, ?, first, last, received, assurance,
  origin, principal, link FROM obs_1 WHERE start = ? AND witness = ? AND source = ? AND instance = ? AND flush = ?`)
	if err != nil {
		return err
	}
	defer copyRow.Close() //nolint:errcheck // its errors are those of the transaction
	for _, start := range starts {
		if err := settleStart(ctx, tx, start, receivers, copyRow); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `DROP TABLE obs_1;
INSERT INTO heard SELECT DISTINCT instance, source FROM obs;
INSERT INTO active SELECT DISTINCT start / 3600000000000, instance, source FROM obs;
INSERT INTO unfolded SELECT start FROM window;
UPDATE state SET value = (SELECT coalesce(max(received), 0) FROM obs) WHERE name = 'commit';
CREATE TEMP TABLE born AS SELECT witness, min(received) AS created FROM obs GROUP BY witness;
UPDATE witness SET created = b.created FROM born b WHERE b.witness = id;
DROP TABLE born`)
	return err
}

func settleSources(ctx context.Context, tx *sql.Tx) (map[int64]int64, error) {
	texts := map[int64]string{}
	if err := eachIn(ctx, tx, "SELECT id, text FROM source", nil, func(rows *sql.Rows) error {
		var id int64
		var text string
		err := rows.Scan(&id, &text)
		texts[id] = text
		return err
	}); err != nil {
		return nil, err
	}
	receivers := make(map[int64]int64, len(texts))
	for id, text := range texts {
		receiver := receiverOf(text)
		if receiver == "" {
			continue
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO text (text) VALUES (?) ON CONFLICT DO NOTHING", receiver); err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE source SET receiver = (SELECT id FROM text WHERE text = ?) WHERE id = ?", receiver, id); err != nil {
			return nil, err
		}
		var row int64
		if err := tx.QueryRowContext(ctx, "SELECT receiver FROM source WHERE id = ?", id).Scan(&row); err != nil {
			return nil, err
		}
		receivers[id] = row
	}
	return receivers, nil
}

// settleStart carries over the rows of the windows of one start.
func settleStart(ctx context.Context, tx *sql.Tx, start int64, receivers map[int64]int64, copyRow *sql.Stmt) error {
	type oldRow struct {
		witness, source, instance, flush, hits, assurance, subject, workload int64
	}
	var all []oldRow
	if err := eachIn(ctx, tx, `SELECT o.witness, o.source, o.instance, o.flush, o.hits, o.assurance, w.subject, w.workload
FROM obs_1 o JOIN witness w ON w.id = o.witness WHERE o.start = ?`, []any{start}, func(rows *sql.Rows) error {
		var r oldRow
		err := rows.Scan(&r.witness, &r.source, &r.instance, &r.flush, &r.hits, &r.assurance, &r.subject, &r.workload)
		all = append(all, r)
		return err
	}); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b oldRow) int { // as the table is
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.instance, b.instance), cmp.Compare(a.witness, b.witness), cmp.Compare(a.flush, b.flush))
	})
	subjects, witnesses := map[placeKey]counts{}, map[[3]int64]counts{}
	for _, r := range all {
		subjectHits, witnessHits := r.hits, r.hits
		if receiver := receivers[r.source]; receiver != 0 {
			subject, witness := placeKey{r.subject, r.workload, r.instance, r.assurance}, [3]int64{r.witness, r.instance, r.assurance}
			before := subjects[subject].stands()
			subjects[subject] = subjects[subject].with(receiver, r.hits)
			subjectHits = subjects[subject].stands() - before
			before = witnesses[witness].stands()
			witnesses[witness] = witnesses[witness].with(receiver, r.hits)
			witnessHits = witnesses[witness].stands() - before
		}
		if _, err := copyRow.ExecContext(ctx, subjectHits, witnessHits, start, r.witness, r.source, r.instance, r.flush); err != nil {
			return err
		}
	}
	return nil
}

// eachIn calls row for every row of a query.
func eachIn(ctx context.Context, tx *sql.Tx, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
