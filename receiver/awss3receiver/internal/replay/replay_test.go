// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/checkpoint"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/list"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/plan"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/progress"
)

// hung is a storage that does not answer until it is given up.
type hung struct {
	storage.Client

	mends time.Time
	kept  int
}

func (h *hung) Set(ctx context.Context, _ string, _ []byte) error {
	if time.Now().Before(h.mends) {
		<-ctx.Done()
		return ctx.Err()
	}
	h.kept++
	return nil
}

type silent struct{ Observer }

func (silent) Finished(ingest.Outcome) {}
func (silent) At(time.Time)            {}
func (silent) Retry(string, error)     {}
func (silent) Recovered(string)        {}

// A storage that hangs costs a replay a small part of its time, and is used again once it answers.
func TestAStorageThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		client := &hung{mends: began.Add(time.Hour)}
		r := New(Settings{
			Checkpoint: checkpoint.Store{Client: client}, Observer: silent{}, Logger: zap.NewNop(),
			Tracker: progress.NewTracker(ingestprogress.Progress{}),
		})
		r.tagger = &tagger{}
		const objects = 2 * 60 * 60
		for range objects {
			time.Sleep(time.Second) // an object
			require.NoError(t, r.finish(t.Context(), list.Item{Partition: &plan.Partition{}}, ingest.Outcome{Reason: ingest.Delivered}))
		}
		require.Less(t, time.Since(began), objects*time.Second*11/10)
		require.Greater(t, client.kept, 55*60)
	})
}
