// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetindexer

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// work is an index whose configs take their time.
type work struct {
	each time.Duration // fixed at construction

	left, runs atomic.Int64
	busy       atomic.Int64 // in all, a [time.Duration]
}

func newWork(left int64, each time.Duration) *work {
	w := &work{each: each}
	w.left.Store(left)
	return w
}

func (w *work) Read(n int) int {
	read := min(int64(n), w.left.Load())
	took := time.Duration(read) * w.each
	time.Sleep(took)
	w.busy.Add(int64(took))
	w.runs.Add(1)
	return int(w.left.Add(-read))
}

// start runs it until the returned function is called.
func start(f *fleet.Fleet, x Index) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, f, x)
	}()
	return func() {
		cancel()
		<-done
	}
}

func report(t *testing.T, f *fleet.Fleet, n int) {
	t.Helper()
	uid := opampwire.InstanceUID{1, 14: byte(n >> 8), 15: byte(n)}
	body := fmt.Appendf(nil, "receivers:\n  otlp/%d:\n", n)
	conn := fleet.Conn{ID: 1, Transport: fleet.TransportWebSocket}
	require.Nil(t, f.Report(conn, &protobufs.AgentToServer{
		InstanceUid: uid.Bytes(), Capabilities: 1,
		EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: body}},
		}},
	}, time.Now()).GetErrorResponse())
}

func TestTheWorkTakesAQuarterOfACore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWork(5000, time.Millisecond)
		stop := start(fleet.New(fleet.Settings{}), x)
		time.Sleep(10 * time.Second)
		assert.InDelta(t, 2.5, time.Duration(x.busy.Load()).Seconds(), 0.1)
		time.Sleep(9 * time.Second)
		assert.Positive(t, x.left.Load())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Zero(t, x.left.Load())
		assert.Equal(t, 5*time.Second, time.Duration(x.busy.Load()))
		stop()
	})
}

// After a quiet time a change is taken in at once, and those that follow it together.
func TestChangesAreTakenIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		x := newWork(0, 0)
		stop := start(f, x)
		time.Sleep(time.Hour)
		assert.EqualValues(t, 1, x.runs.Load(), "nothing happens, so nothing is done")

		report(t, f, 1)
		synctest.Wait()
		assert.EqualValues(t, 2, x.runs.Load())
		for n := range 100 {
			report(t, f, n)
		}
		synctest.Wait()
		assert.EqualValues(t, 2, x.runs.Load())
		time.Sleep(pause)
		synctest.Wait()
		assert.EqualValues(t, 3, x.runs.Load())
		time.Sleep(time.Hour)
		assert.EqualValues(t, 3, x.runs.Load())
		stop()
	})
}

func TestAProcessThatWasFrozenGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWork(2*piece, time.Hour)
		stop := start(fleet.New(fleet.Settings{}), x)
		time.Sleep(piece*time.Hour + longest/2)
		assert.EqualValues(t, 1, x.runs.Load())
		time.Sleep(piece*time.Hour + longest)
		assert.EqualValues(t, 2, x.runs.Load())
		stop()
	})
}

func TestTheEndIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleet.New(fleet.Settings{})
		start(f, newWork(0, 0))()
		stop := start(f, newWork(1<<20, time.Second))
		time.Sleep(piece*time.Second + longest/2)
		began := time.Now()
		stop()
		assert.Equal(t, began, time.Now())
	})
}

func TestTheIndexIsRightBeforeAnybodyAsks(t *testing.T) {
	f := fleet.New(fleet.Settings{})
	for n := range 1000 {
		report(t, f, n)
	}
	x := fleetsearch.New(f)
	woken := f.Watch()
	defer woken.Close()
	first := x.Configs(fleetsearch.ConfigsRequest{})
	assert.Positive(t, first.Unread)
	stop := start(f, x)
	<-woken.C // for an answer was given before all was read
	stop()
	all := x.Configs(fleetsearch.ConfigsRequest{})
	assert.Zero(t, all.Unread)
	assert.Zero(t, all.UnreadAgents)
	assert.Equal(t, 1000, all.Configs)
}
