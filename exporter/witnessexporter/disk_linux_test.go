package witnessexporter

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension"
	"github.com/otelcol-witness/otelcol-witness/internal/disktest"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// TestABrokenDiskHoldsSendersBack breaks the disk below the exporter: it neither acknowledges nor drops, its callers wait,
// and when the disk is well again all of it is stored once, without a restart.
func TestABrokenDiskHoldsSendersBack(t *testing.T) {
	for name, on := range map[string]func(t *testing.T) (directory string, toBreak, mend func()){
		"full": func(t *testing.T) (string, func(), func()) {
			directory, resize := disktest.Small(t, "6m")
			return directory, func() {}, func() { resize("64m") } // it fills up
		},
		"read-only": func(t *testing.T) (string, func(), func()) {
			directory := disktest.Ext4(t)
			file := filepath.Join(directory, "witness.db")
			var unlock func()
			return directory, func() { unlock = disktest.Lock(t, file, file+"-wal", directory) }, func() { unlock() }
		},
	} {
		t.Run(name, func(t *testing.T) { holdsSendersBack(t, on) })
	}
}

func holdsSendersBack(t *testing.T, on func(t *testing.T) (directory string, toBreak, mend func())) {
	directory, toBreak, mend := on(t)
	factory := witnessstorageextension.NewFactory()
	config := factory.CreateDefaultConfig().(*witnessstorageextension.Config)
	config.Embedded.Directory = directory
	made, err := factory.Create(context.Background(), extensiontest.NewNopSettings(storageType), config)
	require.NoError(t, err)
	require.NoError(t, made.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, made.Shutdown(context.Background())) })
	database := made.(storage.Extension).Storage()

	const size = 500
	now := observations(size)
	batch := func(minute int) []witness.Observation {
		all := slices.Clone(now)
		for i := range all {
			o := &all[i]
			start := o.WindowStart.Add(-time.Duration(minute) * time.Minute)
			o.WindowStart, o.WindowEnd, o.FirstSeen, o.LastSeen = start, start.Add(time.Minute), start, start
		}
		return all
	}
	// The error of such a disk is one that is tried again.
	full := 0
	for ; ; full++ {
		if full == 3 {
			toBreak()
		}
		_, err := database.WriteObservations(context.Background(), storage.Batch{Observations: batch(full)})
		if err != nil {
			assert.False(t, consumererror.IsPermanent(err))
			break
		}
		require.Less(t, full, 1000)
	}
	assert.EqualValues(t, size*full, stored(t, database, "").Hits, "what is stored is served")

	exporter := startExporter(t, exportertest.NewNopSettings(typ), host{storageID: made}, func(c *Config) {
		c.Retry.InitialInterval, c.Retry.MaxInterval = 10*time.Millisecond, 50*time.Millisecond
		c.Queue.Get().QueueSize, c.Queue.Get().NumConsumers = 2, 2 // batches; more senders than that block
	})
	const senders = 8
	var sending sync.WaitGroup
	results := make(chan error, senders)
	for i := range senders {
		sending.Go(func() { results <- exporter.ConsumeLogs(context.Background(), logsOf(batch(full+i)...)) })
	}
	// A sender that gives up is not told that it was stored.
	brief, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	require.Error(t, exporter.ConsumeLogs(brief, logsOf(batch(full+senders)...)))
	assert.Empty(t, results, "nobody is answered while it is broken")

	mend()
	sending.Wait()
	for range senders {
		require.NoError(t, <-results)
	}
	require.NoError(t, exporter.ConsumeLogs(context.Background(), logsOf(batch(full+senders)...)), "sent again")
	require.NoError(t, exporter.ConsumeLogs(context.Background(), logsOf(batch(full)...)), "sent twice")
	assert.EqualValues(t, size*(full+senders+1), stored(t, database, "").Hits, "all of it, once")
}
