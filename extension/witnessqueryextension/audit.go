package witnessqueryextension

import (
	"context"

	"go.uber.org/zap"
)

// entry is what a handler has to say in the audit log.
type entry struct {
	authenticated bool
	fields        []zap.Field
}

type entryKey struct{}

func entryOf(ctx context.Context) *entry {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		return e
	}
	return &entry{}
}

// audit adds to the line of a write in the log what was done and how much: counts and states, never whose or what.
func (a *api) audit(c *call, fields ...zap.Field) {
	c.entry.fields = append(c.entry.fields, fields...)
}

// logWrite logs a write, accepted or refused.
func (a *api) logWrite(method, route string, status int, e *entry) {
	a.logger.Info("write", append([]zap.Field{
		zap.String("method", method), zap.String("route", route), zap.Int("status", status), zap.Bool("authenticated", e.authenticated),
	}, e.fields...)...)
}
