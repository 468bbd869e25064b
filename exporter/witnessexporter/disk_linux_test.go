package witnessexporter

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessstorageextension"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

// TestAFullDiskHoldsSendersBack fills the disk below the exporter: it neither acknowledges nor drops, its callers wait,
// and when there is room again all of it is stored once.
func TestAFullDiskHoldsSendersBack(t *testing.T) {
	directory := t.TempDir()
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=6m"); err != nil {
		t.Skip("a small file system takes the right to mount one: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(directory, syscall.MNT_DETACH)) })
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
	// The error of a full disk is one that is tried again.
	full := 0
	for ; ; full++ {
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
	assert.Empty(t, results, "nobody is answered while there is no room")

	require.NoError(t, syscall.Mount("tmpfs", directory, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	sending.Wait()
	for range senders {
		require.NoError(t, <-results)
	}
	require.NoError(t, exporter.ConsumeLogs(context.Background(), logsOf(batch(full+senders)...)), "sent again")
	require.NoError(t, exporter.ConsumeLogs(context.Background(), logsOf(batch(full)...)), "sent twice")
	assert.EqualValues(t, size*(full+senders+1), stored(t, database, "").Hits, "all of it, once")
}
