package witnessqueryextension

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

var adminRoutes = []route{
	{http.MethodPost, "/api/v1/admin/backup", roleAdmin, nil, (*api).postBackup},
}

// backupTimeout is how long a backup may take: longer than the answers that http::write_timeout is made for.
const backupTimeout = time.Hour

// backup is a copy of the storage that was made.
type backup struct {
	Name string    `json:"name"`
	Size int64     `json:"size"` // bytes
	Time time.Time `json:"time"`
}

func (a *api) postBackup(c *call) (answer, error) {
	backups, ok := a.store.(storage.Backups)
	if !ok {
		return answer{}, newProblem(http.StatusConflict, "this storage has no backups")
	}
	if !a.backingUp.TryLock() {
		return answer{}, newProblem(http.StatusConflict, "a backup is being made")
	}
	defer a.backingUp.Unlock()
	c.allow(backupTimeout)
	made, err := backups.Backup(c.Context())
	if errors.Is(err, storage.ErrNotConfigured) {
		return answer{}, newProblem(http.StatusConflict, "the storage has no place for backups in its configuration")
	}
	if err != nil {
		return answer{}, err
	}
	a.audit(c, zap.Int64("size", made.Size))
	return answer{http.StatusCreated, backup{made.Name, made.Size, made.At.UTC()}}, nil
}
