package witnessstorageextension

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
)

// Files in the directory: the database, and what a collector locks while it uses it.
const (
	databaseFile = "witness.db"
	lockFile     = "witness.lock"
)

type storageExtension struct {
	config    *Config
	settings  component.TelemetrySettings
	telemetry *metadata.TelemetryBuilder
	storage   storage.Storage
	lock      *flock.Flock // held while the database is open
}

var _ storage.Extension = (*storageExtension)(nil)

func newExtension(config *Config, settings component.TelemetrySettings) *storageExtension {
	return &storageExtension{config: config, settings: settings}
}

// Start opens the storage.
func (e *storageExtension) Start(ctx context.Context, _ component.Host) error {
	if e.config.Backend == BackendNone {
		e.storage = none.Storage{}
		return nil
	}
	if err := os.MkdirAll(e.config.Embedded.Directory, 0o700); err != nil {
		return fmt.Errorf("embedded::directory: cannot be created: %w", pathless(err))
	}
	lock := flock.New(filepath.Join(e.config.Embedded.Directory, lockFile), flock.SetPermissions(0o600))
	if locked, err := lock.TryLock(); err != nil {
		return fmt.Errorf("embedded::directory: %s: %w", lockFile, pathless(err))
	} else if !locked {
		return errors.New("embedded::directory: another collector uses it")
	}
	e.lock = lock
	database, err := sqlite.Open(ctx, e.config.Embedded.options(filepath.Join(e.config.Embedded.Directory, databaseFile)))
	if err != nil {
		return errors.Join(fmt.Errorf("embedded::directory: %s: %w", databaseFile, err), e.Shutdown(ctx))
	}
	written := newChecked(database)
	e.storage = written
	if err := e.measure(written); err != nil {
		return errors.Join(err, e.Shutdown(ctx))
	}
	opening := database.Opening()
	if opening.SetAside != "" {
		e.settings.Logger.Error("The witness database is damaged. It was set aside and a new one begun: what it held is missing from every answer",
			zap.String("file", opening.SetAside))
	}
	if opening.Unchecked > 0 {
		e.settings.Logger.Warn("There was no time to check all of the witness database", zap.Int("tables", opening.Unchecked))
	}
	e.settings.Logger.Info("Opened the witness database", zap.Int64("bytes", database.Size()))
	return nil
}

// measure has the metrics read from the database.
func (e *storageExtension) measure(database *checked) error {
	var err error
	if e.telemetry, err = metadata.NewTelemetryBuilder(e.settings); err != nil {
		return err
	}
	counter := func(value func(sqlite.Stats) uint64, options ...metric.ObserveOption) metric.Int64Callback {
		return func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(int64(value(database.Stats())), options...) //nolint:gosec // a count
			return nil
		}
	}
	reason := func(value string) metric.ObserveOption {
		return metric.WithAttributes(attribute.String("reason", value))
	}
	outcome := func(value string) metric.ObserveOption {
		return metric.WithAttributes(attribute.String("outcome", value))
	}
	return errors.Join(
		e.telemetry.RegisterWitnessStorageStoredObservationsCallback(counter(func(s sqlite.Stats) uint64 { return s.Stored })),
		e.telemetry.RegisterWitnessStorageDuplicateObservationsCallback(counter(func(s sqlite.Stats) uint64 { return s.Duplicates })),
		e.telemetry.RegisterWitnessStorageRefusedObservationsCallback(func(ctx context.Context, observer metric.Int64Observer) error {
			return errors.Join(
				counter(func(s sqlite.Stats) uint64 { return s.RefusedAhead }, reason("ahead"))(ctx, observer),
				counter(func(s sqlite.Stats) uint64 { return s.RefusedBehind }, reason("behind"))(ctx, observer),
				counter(func(s sqlite.Stats) uint64 { return s.RefusedMalformed }, reason("malformed"))(ctx, observer),
			)
		}),
		e.telemetry.RegisterWitnessStorageUncanonicalValuesCallback(func(_ context.Context, observer metric.Int64Observer) error {
			for of, value := range database.uncanonical() {
				observer.Observe(value, metric.WithAttributes(attribute.String("of", of)))
			}
			return nil
		}),
		e.telemetry.RegisterWitnessStorageUncomparedObservationsCallback(counter(func(s sqlite.Stats) uint64 { return s.Uncompared })),
		e.telemetry.RegisterWitnessStorageBackupsCallback(func(ctx context.Context, observer metric.Int64Observer) error {
			return errors.Join(
				counter(func(s sqlite.Stats) uint64 { return s.Backups }, outcome("done"))(ctx, observer),
				counter(func(s sqlite.Stats) uint64 { return s.FailedBackups }, outcome("failed"))(ctx, observer),
			)
		}),
		e.telemetry.RegisterWitnessStorageSetAsideCallback(func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(int64(database.Opening().DamagedFiles))
			return nil
		}),
		e.telemetry.RegisterWitnessStorageUncheckedTablesCallback(func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(int64(database.Opening().Unchecked))
			return nil
		}),
		e.telemetry.RegisterWitnessStorageRolledRowsCallback(counter(func(s sqlite.Stats) uint64 { return s.Rolled })),
		e.telemetry.RegisterWitnessStorageDeletedRowsCallback(counter(func(s sqlite.Stats) uint64 { return s.Deleted })),
		e.telemetry.RegisterWitnessStorageFailedRoundsCallback(counter(func(s sqlite.Stats) uint64 { return s.FailedRounds })),
		e.telemetry.RegisterWitnessStorageCoverageRowsCallback(func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(int64(database.Stats().CoverageRows))
			return nil
		}),
		e.telemetry.RegisterWitnessStorageFreeCallback(func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(database.Stats().Free)
			return nil
		}),
		e.telemetry.RegisterWitnessStorageOldestCallback(func(_ context.Context, observer metric.Int64Observer) error {
			if oldest := database.Stats().Oldest; oldest.Unix() > 0 {
				observer.Observe(oldest.Unix())
			}
			return nil
		}),
		e.telemetry.RegisterWitnessStorageCacheResetsCallback(counter(func(s sqlite.Stats) uint64 { return s.Emptied })),
		e.telemetry.RegisterWitnessStorageCommitsCallback(counter(func(s sqlite.Stats) uint64 { return s.Commits })),
		e.telemetry.RegisterWitnessStorageCallsCallback(counter(func(s sqlite.Stats) uint64 { return s.Calls })),
		e.telemetry.RegisterWitnessStorageSizeCallback(func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(database.Size())
			return nil
		}),
	)
}

// Shutdown closes the storage after what is in flight.
func (e *storageExtension) Shutdown(context.Context) error {
	if e.telemetry != nil {
		e.telemetry.Shutdown()
		e.telemetry = nil
	}
	var errs error
	if e.storage != nil {
		errs = e.storage.Close()
	}
	if e.lock != nil {
		errs = errors.Join(errs, e.lock.Close())
	}
	return errs
}

// Storage implements storage.Extension.
func (e *storageExtension) Storage() storage.Storage { return e.storage }

// pathless is err without the path, which can name a person.
func pathless(err error) error {
	var failure *fs.PathError
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}
