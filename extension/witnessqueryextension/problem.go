package witnessqueryextension

import (
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/evidence"
	"github.com/otelcol-witness/otelcol-witness/storage"
)

// problem is an RFC 9457 problem. Its detail names parameters and members, and repeats no value.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

func (p *problem) Error() string { return p.Title + ": " + p.Detail }

func newProblem(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

func badRequest(detail string) *problem { return newProblem(http.StatusBadRequest, detail) }

// problemOf is what a caller learns of an error. What storage says is logged and not told.
func (a *api) problemOf(err error, route string) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, storage.ErrNotFound):
		return newProblem(http.StatusNotFound, "there is no such finding")
	case errors.Is(err, storage.ErrConflict):
		return newProblem(http.StatusUnprocessableEntity, "the idempotency key was used before with another body")
	case errors.Is(err, storage.ErrTooMany):
		return newProblem(http.StatusUnprocessableEntity, fmt.Sprintf(
			"the finding is about more than %d functions and files that ran: its component, packages and functions select too many", evidence.MaxSubjects))
	default:
		a.logger.Error("storage does not answer", zap.String("route", route), zap.Error(err))
		return newProblem(http.StatusServiceUnavailable, "storage does not answer")
	}
}
