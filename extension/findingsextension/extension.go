package findingsextension

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-witness/otelcol-witness/extension/findingsextension/internal/metadata"
	"github.com/otelcol-witness/otelcol-witness/internal/finding"
	"github.com/otelcol-witness/otelcol-witness/internal/watchlist"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

const (
	// maxLogged bounds how many items at fault of a file are logged.
	maxLogged = 20
	// maxFiles bounds how many files a path stands for.
	maxFiles = 10000
)

// Why an item is no finding: the values of the metric's attribute reason.
const (
	reasonInvalid   = "invalid"
	reasonDuplicate = "duplicate"
	reasonWithdrawn = "withdrawn"
)

type findingsExtension struct {
	config    *Config
	id        component.ID
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	store     storage.Storage // since Start
}

var (
	_ extensioncapabilities.Dependent = (*findingsExtension)(nil)
	_ watchlist.Provider              = (*findingsExtension)(nil)
)

func newExtension(config *Config, settings extension.Settings) (*findingsExtension, error) {
	telemetry, err := metadata.NewTelemetryBuilder(settings.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &findingsExtension{config: config, id: settings.ID, logger: settings.Logger, telemetry: telemetry}, nil
}

// Dependencies has the storage started before.
func (e *findingsExtension) Dependencies() []component.ID { return []component.ID{e.config.Storage} }

// Start reads all files and makes the findings of this extension's scope exactly what they hold: a finding that is in no
// file any more is forgotten. Items and files that cannot be read are logged and counted. A storage that fails stops the
// start.
func (e *findingsExtension) Start(ctx context.Context, host component.Host) error {
	store, err := storage.Find(host, e.config.Storage)
	if err != nil {
		return err
	}
	e.store = store
	load := loading{extension: e, ctx: ctx, seen: map[string]string{}}
	for i, path := range e.config.Paths {
		if path == "" {
			continue
		}
		files, err := expand(path)
		switch {
		case err != nil:
			e.logger.Error("A path of findings cannot be read", zap.Int("index", i), zap.Error(plain(err)))
			load.refuse(1, reasonInvalid)
		case len(files) == 0:
			e.logger.Warn("A path of findings holds no file", zap.Int("index", i))
		}
		for _, file := range files {
			load.file(file)
		}
	}
	if err := store.ReplaceFindings(ctx, storage.Principal{}, e.scope(), load.findings); err != nil {
		return fmt.Errorf("findings: storing them: %w", err)
	}
	e.telemetry.FindingsLoaded.Record(ctx, int64(len(load.findings)))
	e.logger.Info("Findings loaded", zap.Int("findings", len(load.findings)), zap.Int("files", load.files))
	return nil
}

// WatchList implements watchlist.Provider, of all findings of the default tenant: those that came through the API too.
func (e *findingsExtension) WatchList(ctx context.Context) (*watchlist.List, error) {
	if e.store == nil {
		return nil, errors.New("findings: the extension has not started")
	}
	return storage.WatchList(ctx, e.store, "")
}

// Shutdown does nothing: the findings stay.
func (e *findingsExtension) Shutdown(context.Context) error {
	e.telemetry.Shutdown()
	return nil
}

// scope is one for the whole extension, so that the findings of a file that was removed go with it.
func (e *findingsExtension) scope() string { return "file:" + e.id.String() }

// loading is what one Start reads.
type loading struct {
	extension *findingsExtension
	ctx       context.Context //nolint:containedctx // lives as long as Start
	findings  []witness.Finding
	files     int
	read      []os.FileInfo
	seen      map[string]string // finding id to file
}

func (l *loading) refuse(n int, reason string) {
	if n > 0 {
		l.extension.telemetry.FindingsRefusedItems.Add(l.ctx, int64(n), metric.WithAttributes(attribute.String("reason", reason)))
	}
}

// file adds the findings of a file, once, however many paths lead to it.
func (l *loading) file(path string) {
	name := filepath.Base(path)
	logger := l.extension.logger.With(zap.String("file", name))
	findings, errs, err := l.parse(path, name)
	if err != nil {
		logger.Error("A file of findings cannot be read", zap.Error(plain(err)))
		l.refuse(1, reasonInvalid)
		return
	}
	withdrawn, invalid, twice := 0, 0, 0
	var problems []string
	tell := func(problem string) {
		if len(problems) < maxLogged {
			problems = append(problems, problem)
		}
	}
	for _, err := range errs {
		if errors.Is(err, finding.ErrWithdrawn) {
			withdrawn++
			continue
		}
		invalid++
		tell(err.Error())
	}
	for i := range findings {
		if other, ok := l.seen[findings[i].ID]; ok {
			twice++
			tell(fmt.Sprintf("%s: finding %d: id: is that of a finding in %s", name, i+1, other))
			continue
		}
		l.seen[findings[i].ID] = name
		l.findings = append(l.findings, findings[i])
	}
	l.refuse(withdrawn, reasonWithdrawn)
	l.refuse(invalid, reasonInvalid)
	l.refuse(twice, reasonDuplicate)
	counts := []zap.Field{zap.Int("withdrawn", withdrawn), zap.Int("invalid", invalid), zap.Int("duplicate", twice)}
	switch {
	case len(problems) > 0:
		// One line for all of them: the Collector samples lines that say the same.
		logger.Warn("Items of a file of findings were not loaded", append(counts, zap.Strings("problems", problems))...)
	case withdrawn > 0:
		logger.Info("Items of a file of findings were not loaded", counts...)
	}
}

func (l *loading) parse(path, name string) (findings []witness.Finding, errs []error, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, errors.New("it is not a regular file")
	case info.Size() > l.extension.config.MaxFileSize:
		return nil, nil, errors.New("it is larger than max_file_size")
	case slices.ContainsFunc(l.read, func(other os.FileInfo) bool { return os.SameFile(info, other) }):
		return nil, nil, nil
	}
	l.read = append(l.read, info)
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	l.files++
	findings, errs = finding.Parse(name, file)
	return findings, errs, file.Close()
}

// expand is the files that a path of the configuration stands for, sorted.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return []string{path}, nil
	case err == nil:
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		var files []string
		for _, entry := range entries {
			switch filepath.Ext(entry.Name()) {
			case ".json", ".yaml", ".yml":
				if !entry.IsDir() {
					files = append(files, filepath.Join(path, entry.Name()))
				}
			}
		}
		return bounded(files)
	}
	files, globErr := filepath.Glob(path)
	if globErr != nil || len(files) == 0 && !isPattern(path) {
		return nil, err
	}
	return bounded(slices.DeleteFunc(files, func(file string) bool {
		info, err := os.Stat(file)
		return err == nil && info.IsDir()
	}))
}

func isPattern(path string) bool {
	return slices.ContainsFunc([]rune(path), func(r rune) bool { return r == '*' || r == '?' || r == '[' })
}

func bounded(files []string) ([]string, error) {
	if len(files) > maxFiles {
		return nil, fmt.Errorf("it stands for more than %d files", maxFiles)
	}
	return files, nil
}

// plain is an error without the path, which may have a name in it.
func plain(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
