package witnessqueryextension

import (
	"context"

	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// entry is what there is to say of a write in the audit log.
type entry struct {
	principal     storage.Principal
	authenticated bool
	finding       string // that the path names, as somebody chose to call it
	fields        []zap.Field
}

type entryKey struct{}

func entryOf(ctx context.Context) *entry {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		return e
	}
	return &entry{}
}

// audit adds to the line of a write in the log what was done and how much: counts, states and pseudonyms.
func (a *api) audit(c *call, fields ...zap.Field) {
	c.entry.fields = append(c.entry.fields, fields...)
}

// logWrite logs a write, accepted or refused: by whom and to which finding in pseudonyms, since names are of people, and
// findings are called as callers like.
func (a *api) logWrite(method, route string, status int, e *entry) {
	fields := []zap.Field{
		zap.String("method", method), zap.String("route", route), zap.Int("status", status), zap.Bool("authenticated", e.authenticated),
	}
	for _, named := range [][2]string{{"tenant", e.principal.Tenant}, {"principal", e.principal.Name}, {"finding", e.finding}} {
		fields = a.pseudonym(fields, named[0], named[1])
	}
	a.logger.Info("write", append(fields, e.fields...)...)
}

// pseudonym appends that of a text, if there is one.
func (a *api) pseudonym(fields []zap.Field, kind, text string) []zap.Field {
	if text == "" {
		return fields
	}
	return append(fields, zap.String(kind, a.maker.Canonicalizer.Pseudonym(kind, text)))
}
