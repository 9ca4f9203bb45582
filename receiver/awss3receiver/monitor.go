// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/list"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/progress"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/replay"
)

// logInterval is how often at most what is tried again is worth a line, for each operation.
const logInterval = 10 * time.Second

// operationRequest is a request that the SDK repeats by itself.
const operationRequest = "request"

// monitor is where everything that happens is seen: metrics, the component's status, the log, and
// the state that the server is told. The rooms call it from their goroutines.
type monitor struct {
	// Fixed at construction.
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	name      string // of the signal
	signal    metric.MeasurementOption
	tracker   *progress.Tracker

	objects, bytes, lagsFrom atomic.Int64 // in flight; Unix nanoseconds, 0 is not following

	mu      sync.Mutex
	host    component.Host
	failing map[string]struct{}  // operations that are being tried again
	logged  map[string]time.Time // when there was a line about each
	ended   bool                 // nothing more is reported: it failed for good
}

var (
	_ ingest.Observer = (*monitor)(nil)
	_ list.Observer   = (*monitor)(nil)
	_ replay.Observer = (*monitor)(nil)
)

func newMonitor(logger *zap.Logger, telemetry *metadata.TelemetryBuilder, signal string, tracker *progress.Tracker) (*monitor, error) {
	m := &monitor{
		logger: logger, telemetry: telemetry, name: signal, tracker: tracker,
		signal:  metric.WithAttributeSet(attribute.NewSet(attribute.String("signal", signal))),
		failing: map[string]struct{}{}, logged: map[string]time.Time{},
	}
	if err := telemetry.RegisterReceiverAwss3InFlightCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(m.objects.Load(), m.signal)
		return nil
	}); err != nil {
		return nil, err
	}
	if err := telemetry.RegisterReceiverAwss3InFlightBytesCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(m.bytes.Load(), m.signal)
		return nil
	}); err != nil {
		return nil, err
	}
	return m, telemetry.RegisterReceiverAwss3LagCallback(func(_ context.Context, o metric.Float64Observer) error {
		if from := m.lagsFrom.Load(); from != 0 {
			o.Observe(time.Since(time.Unix(0, from)).Seconds(), m.signal)
		}
		return nil
	})
}

func (m *monitor) attributes(key, value string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("signal", m.name), attribute.String(key, value)))
}

// Got is part of [ingest.Observer].
func (m *monitor) Got(bytes int64, took time.Duration) {
	m.telemetry.ReceiverAwss3Bytes.Add(context.Background(), bytes, m.signal)
	m.telemetry.ReceiverAwss3GetDuration.Record(context.Background(), took.Seconds(), m.signal)
}

// Listed is part of [list.Observer].
func (m *monitor) Listed(took time.Duration) {
	m.telemetry.ReceiverAwss3ListDuration.Record(context.Background(), took.Seconds(), m.signal)
}

// Found is part of [replay.Observer].
func (m *monitor) Found() {
	m.telemetry.ReceiverAwss3ObjectsListed.Add(context.Background(), 1, m.signal)
}

// Accepted is part of [ingest.Observer].
func (m *monitor) Accepted(records int) {
	m.tracker.Accepted(records)
	m.telemetry.ReceiverAwss3Records.Add(context.Background(), int64(records), m.signal)
}

// Finished is part of [replay.Observer].
func (m *monitor) Finished(out ingest.Outcome) {
	if out.Reason == ingest.Delivered {
		m.telemetry.ReceiverAwss3Objects.Add(context.Background(), 1, m.signal)
		return
	}
	m.Dropped(out.Reason)
}

// Dropped counts an object that was not delivered, or not in whole.
func (m *monitor) Dropped(reason ingest.Reason) {
	m.telemetry.ReceiverAwss3ObjectsDropped.Add(context.Background(), 1, m.attributes("reason", string(reason)))
}

// Untagged is part of [replay.Observer].
func (m *monitor) Untagged() {
	m.telemetry.ReceiverAwss3ObjectsUntagged.Add(context.Background(), 1, m.signal)
}

// Flight is part of [replay.Observer].
func (m *monitor) Flight(objects int, bytes int64) {
	m.objects.Store(int64(objects))
	m.bytes.Store(bytes)
}

// At is part of [replay.Observer]. Only who follows lags.
func (m *monitor) At(at time.Time) {
	if m.lagsFrom.Load() != 0 {
		m.lagsFrom.Store(at.UnixNano())
	}
}

// Follows has the lag shown.
func (m *monitor) Follows() { m.lagsFrom.Store(time.Now().UnixNano()) }

// Requested counts a request that the SDK repeats. Most such go well, and nobody need know.
func (m *monitor) Requested() {
	m.telemetry.ReceiverAwss3Retries.Add(context.Background(), 1, m.attributes("operation", operationRequest))
}

// Retry is part of [ingest.Observer]. The component shows a recoverable error until all that failed
// goes well again.
func (m *monitor) Retry(operation string, err error) {
	m.tracker.Retry(operation, err)
	m.telemetry.ReceiverAwss3Retries.Add(context.Background(), 1, m.attributes("operation", operation))
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.logged[operation]) >= logInterval {
		m.logged[operation] = now
		m.logger.Warn("Will be tried again", zap.String("operation", operation), zap.Error(err))
	}
	if len(m.failing) == 0 {
		m.report(componentstatus.NewRecoverableErrorEvent(err))
	}
	m.failing[operation] = struct{}{}
}

// Recovered is part of [ingest.Observer].
func (m *monitor) Recovered(operation string) {
	m.tracker.Recovered(operation)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, failed := m.failing[operation]
	delete(m.failing, operation)
	if failed && len(m.failing) == 0 {
		m.report(componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// Failed says that the receiver reads nothing any more, and why.
func (m *monitor) Failed(err error) {
	m.tracker.Failed(err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report(componentstatus.NewPermanentErrorEvent(err))
	m.ended = true
}

// begin has the component's status reported to a host.
func (m *monitor) begin(host component.Host) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host = host
}

// report is called with the lock held, so that events come in order. The service takes them without
// calling back.
func (m *monitor) report(event *componentstatus.Event) {
	if m.host != nil && !m.ended {
		componentstatus.ReportStatus(m.host, event)
	}
}
