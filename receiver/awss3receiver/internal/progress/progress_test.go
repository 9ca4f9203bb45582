// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/internal/ingestprogress"
)

// wire is the extension as a reporter sees it.
type wire struct {
	in chan *protobufs.CustomMessage

	mu     sync.Mutex
	sent   []sent
	closed bool
	// full is closed when there is room again; nil is room.
	full chan struct{}
	err  error
}

type sent struct {
	at   time.Time
	kind string
	data []byte
}

func newWire() *wire { return &wire{in: make(chan *protobufs.CustomMessage, 10)} }

func (w *wire) Message() <-chan *protobufs.CustomMessage { return w.in }

func (w *wire) Unregister() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *wire) all() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

func (w *wire) SendMessage(kind string, data []byte) (chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return nil, w.err
	case w.full != nil:
		select {
		case <-w.full:
		default:
			return w.full, types.ErrCustomMessagePending
		}
	}
	w.sent = append(w.sent, sent{time.Now(), kind, data})
	done := make(chan struct{})
	close(done)
	return done, nil
}

// of are the messages of one type.
func (w *wire) of(kind string) (all []sent) {
	for _, message := range w.all() {
		if message.kind == kind {
			all = append(all, message)
		}
	}
	return all
}

func progressOf(t *testing.T, s sent) (p ingestprogress.Progress) {
	t.Helper()
	require.NoError(t, json.Unmarshal(s.data, &p))
	return p
}

func statusOf(t *testing.T, s sent) string {
	t.Helper()
	logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(s.data)
	require.NoError(t, err)
	status, _ := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().Get("ingest_status")
	return status.Str()
}

func newTracker() *Tracker {
	t := NewTracker(ingestprogress.Progress{Receiver: "aws_s3", TelemetryType: "logs", Mode: "time_range"})
	start := time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)
	t.Range(start, start.Add(time.Hour))
	return t
}

func TestOneReportASecondTheFirstAndTheLastAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker, w := newTracker(), newWire()
		r := StartReporter(tracker, w, true, zap.NewNop())
		synctest.Wait()
		require.Len(t, w.all(), 2, "the first, in both messages")
		for range 10_000 { // ten seconds of an object a millisecond
			tracker.Listed(10)
			tracker.Begin("key")
			tracker.Delivered(10)
			time.Sleep(time.Millisecond)
		}
		tracker.Completed()
		synctest.Wait()
		r.Stop(t.Context())
		statuses := w.of(ingestprogress.TypeStatus)
		require.LessOrEqual(t, len(statuses), 13)
		require.GreaterOrEqual(t, len(statuses), 11)
		require.Len(t, w.of(ingestprogress.TypeProgress), len(statuses))
		require.Equal(t, "ingesting", statusOf(t, statuses[0]))
		require.Equal(t, "completed", statusOf(t, statuses[len(statuses)-1]))
		for i := 1; i < len(statuses)-2; i++ {
			require.GreaterOrEqual(t, statuses[i].at.Sub(statuses[i-1].at), time.Second)
		}
		require.True(t, w.closed)
		all := w.of(ingestprogress.TypeProgress)
		last := progressOf(t, all[len(all)-1])
		require.EqualValues(t, 10_000, last.ObjectsDone)
		require.InDelta(t, 100, last.Percent, 0)
	})
}

// With the server away nothing waits but the reporter, and what it tells then is the latest.
func TestAServerThatIsAwayDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker, w := newTracker(), newWire()
		w.full = make(chan struct{})
		r := StartReporter(tracker, w, true, zap.NewNop())
		began := time.Now()
		for range 1000 {
			tracker.Listed(1)
			tracker.Delivered(1)
		}
		tracker.Completed()
		require.Zero(t, time.Since(began))
		time.Sleep(time.Hour)
		require.Empty(t, w.all())
		close(w.full)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		all := w.of(ingestprogress.TypeProgress)
		require.Equal(t, ingestprogress.StateCompleted, progressOf(t, all[len(all)-1]).State)
		r.Stop(t.Context())
	})
}

func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.full = make(chan struct{})
		r := StartReporter(newTracker(), w, false, zap.NewNop())
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		r.Stop(ctx)
		require.Equal(t, 2*time.Second, time.Since(began))
		require.True(t, w.closed)
	})
}

// A server may ask for a report, and that is all that it may.
func TestReportNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		r := StartReporter(newTracker(), w, true, zap.NewNop())
		time.Sleep(10 * time.Second)
		before := len(w.all())
		for _, kind := range []string{"", "Stop", ingestprogress.TypeStatus, ingestprogress.TypeProgress} {
			w.in <- &protobufs.CustomMessage{Type: kind, Data: []byte("{}")}
		}
		w.in <- nil
		time.Sleep(10 * time.Second)
		require.Len(t, w.all(), before, "nothing else has an effect")
		asked := time.Now()
		w.in <- &protobufs.CustomMessage{Type: ingestprogress.TypeReport}
		synctest.Wait()
		require.Len(t, w.all(), before+2, "at once, in both messages")
		require.Equal(t, asked, w.all()[before].at)
		for range 1000 { // and a flood of it is answered a few times a second
			w.in <- &protobufs.CustomMessage{Type: ingestprogress.TypeReport}
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, len(w.all()), before+2+2*11)
		close(w.in) // as an extension does that goes away
		time.Sleep(time.Second)
		r.Stop(t.Context())
	})
}

func TestAnErrorOfTheExtensionIsNotTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker, w := newTracker(), newWire()
		w.fail(errors.New("not registered"))
		r := StartReporter(tracker, w, true, zap.NewNop())
		time.Sleep(time.Minute)
		w.fail(nil)
		tracker.Listed(1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.NotEmpty(t, w.all())
		r.Stop(t.Context())
	})
}

func TestTracker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker := newTracker()
		start := time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)
		p := tracker.Snapshot()
		require.Equal(t, ingestprogress.StateListing, p.State)
		require.Zero(t, p.Percent)
		require.InDelta(t, -1, p.ETASeconds, 0)

		for range 60 {
			tracker.Listed(100)
		}
		tracker.Begin("a/b")
		for i := range 15 {
			time.Sleep(2 * time.Second)
			tracker.Delivered(100)
			tracker.Accepted(7)
			tracker.Position(start.Add(time.Duration(i+1) * time.Minute))
			tracker.Snapshot()
		}
		p = tracker.Snapshot()
		require.Equal(t, ingestprogress.StateIngesting, p.State)
		require.InDelta(t, 25, p.Percent, 0.1, "by time")
		require.InDelta(t, 90, p.ETASeconds, 3)
		require.InDelta(t, 50, p.BytesPerSecond, 3)
		require.EqualValues(t, 105, p.Records)
		require.Equal(t, "a/b", p.Key)

		tracker.AllListed(true)
		require.InDelta(t, 25, tracker.Snapshot().Percent, 0.1, "by bytes")

		tracker.Retry("get", errors.New("503"))
		require.Equal(t, ingestprogress.StateRetrying, tracker.Snapshot().State)
		tracker.Recovered("get")
		require.Equal(t, ingestprogress.StateIngesting, tracker.Snapshot().State)

		tracker.Dropped(100, "decode_failed", true, errors.New("bad"))
		before := tracker.Snapshot()
		tracker.Dropped(100, "tagged", false, nil)
		require.Equal(t, map[string]uint64{"decode_failed": 1}, before.Failures, "a snapshot does not change")
		p = tracker.Snapshot()
		require.Equal(t, map[string]uint64{"decode_failed": 1, "tagged": 1}, p.Failures)
		require.EqualValues(t, 1, p.ObjectsFailed)
		require.EqualValues(t, 1, p.ObjectsSkipped)

		tracker.Waiting()
		require.Equal(t, ingestprogress.StateWaiting, tracker.Snapshot().State)
		tracker.Failed(errors.New("gone"))
		p = tracker.Snapshot()
		require.Equal(t, ingestprogress.StateFailed, p.State)
		require.Equal(t, "gone", p.Error)
		require.Zero(t, p.ETASeconds)
	})
}

func TestAnOpenRangeHasNoPercent(t *testing.T) {
	tracker := newTracker()
	tracker.Range(time.Now(), time.Time{})
	p := tracker.Snapshot()
	require.InDelta(t, -1, p.Percent, 0)
	require.InDelta(t, -1, p.ETASeconds, 0)
}
