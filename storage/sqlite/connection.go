package sqlite

import (
	"context"
	"database/sql"
	"errors"
)

// statementLimit is how many prepared statements a connection keeps. Queries that vary in their text are few.
const statementLimit = 256

// connection reads. It keeps the statements that it has prepared.
type connection struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
	begun      bool
}

// connections are those that no call uses. The slots bound how many there are.
type connections struct {
	slots chan struct{}
	idle  chan *connection
}

func newConnections(n int) *connections {
	return &connections{slots: make(chan struct{}, n), idle: make(chan *connection, n)}
}

// take waits for a connection until the context ends.
func (p *connections) take(ctx context.Context, db *sql.DB) (*connection, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case c := <-p.idle:
		return c, nil
	default:
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return &connection{conn: conn, statements: map[string]*sql.Stmt{}}, nil
}

// put ends the transaction of a connection and takes it back. One that fails in this is closed.
func (p *connections) put(c *connection) {
	if err := c.end(); err != nil {
		_ = c.close()
	} else {
		p.idle <- c
	}
	<-p.slots
}

// close closes all connections. None may be in use.
func (p *connections) close() error {
	var errs error
	for {
		select {
		case c := <-p.idle:
			errs = errors.Join(errs, c.close())
		default:
			return errs
		}
	}
}

func (c *connection) close() error {
	var errs error
	for _, statement := range c.statements {
		errs = errors.Join(errs, statement.Close())
	}
	return errors.Join(errs, c.conn.Close())
}

func (c *connection) begin(ctx context.Context) error {
	c.begun = true
	return c.execute(ctx, "BEGIN")
}

func (c *connection) end() error {
	if !c.begun {
		return nil
	}
	c.begun = false
	return c.execute(context.Background(), "ROLLBACK")
}

func (c *connection) execute(ctx context.Context, query string) error {
	statement, err := c.prepare(ctx, query) //nolint:sqlclosecheck // it is kept
	if err != nil {
		return err
	}
	_, err = statement.ExecContext(ctx)
	return err
}

func (c *connection) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if statement, ok := c.statements[query]; ok {
		return statement, nil
	}
	if len(c.statements) >= statementLimit {
		for text, statement := range c.statements { // any one
			delete(c.statements, text)
			if err := statement.Close(); err != nil {
				return nil, err
			}
			break
		}
	}
	statement, err := c.conn.PrepareContext(ctx, query)
	if err == nil {
		c.statements[query] = statement
	}
	return statement, err
}

// QueryContext and QueryRowContext are those of database/sql.

func (c *connection) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := c.prepare(ctx, query) //nolint:sqlclosecheck // it is kept
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

func (c *connection) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	statement, err := c.prepare(ctx, query) //nolint:sqlclosecheck // it is kept
	if err != nil {
		return c.conn.QueryRowContext(ctx, query, args...) // tells the error
	}
	return statement.QueryRowContext(ctx, args...)
}
