package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"time"
)

//go:embed schema_1.sql
var schema1 string

//go:embed schema_2.sql
var schema2 string

//go:embed schema_3.sql
var schema3 string

//go:embed schema_4.sql
var schema4 string

//go:embed schema_5.sql
var schema5 string

//go:embed schema_6.sql
var schema6 string

//go:embed schema_7.sql
var schema7 string

//go:embed schema_8.sql
var schema8 string

//go:embed schema_9.sql
var schema9 string

// migrations lead from one schema version to the next; PRAGMA user_version is how many were applied. Those that were
// released are never changed.
var migrations = []string{schema1, schema2, schema3, schema4, schema5, schema6, schema7, schema8, schema9}

// steps are what SQL alone cannot do of a migration, by the version that it leads to.
var steps = map[int]func(context.Context, *sql.Tx) error{2: settleRows}

// migrate applies what is missing, each version in a transaction of its own.
func migrate(ctx context.Context, conn *sql.Conn, now time.Time) error {
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return ErrNewer
	}
	for ; version < len(migrations); version++ {
		if err := apply(ctx, conn, version+1, now); err != nil {
			return fmt.Errorf("schema %d: %w", version+1, err)
		}
	}
	return nil
}

func apply(ctx context.Context, conn *sql.Conn, version int, now time.Time) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing once committed
	if _, err := tx.ExecContext(ctx, migrations[version-1]); err != nil {
		return err
	}
	if step := steps[version]; step != nil {
		if err := step(ctx, tx); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO schema_version VALUES (?, ?)", version, now.UnixNano()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)); err != nil {
		return err
	}
	return tx.Commit()
}
