// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package awss3receiver

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/ingest"
	"github.com/otel-fleetview/fleetview/receiver/awss3receiver/internal/metadata"
)

// logInterval is how often at most what is tried again is worth a line, for each operation.
const logInterval = 10 * time.Second

// monitor is where everything that happens is seen: metrics, the component's status, the log. The
// rooms call it from their goroutines.
type monitor struct {
	// Fixed at construction.
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	signal    metric.MeasurementOption
	name      string // of the signal

	mu      sync.Mutex
	host    component.Host
	failing map[string]struct{}  // operations that are being tried again
	logged  map[string]time.Time // when there was a line about each
	ended   bool                 // nothing more is reported: it failed for good, or stopped
}

func newMonitor(logger *zap.Logger, telemetry *metadata.TelemetryBuilder, signal string) *monitor {
	return &monitor{
		logger: logger, telemetry: telemetry, name: signal,
		signal:  metric.WithAttributeSet(attribute.NewSet(attribute.String("signal", signal))),
		failing: map[string]struct{}{}, logged: map[string]time.Time{},
	}
}

func (m *monitor) attributes(key, value string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("signal", m.name), attribute.String(key, value)))
}

// Got is part of [ingest.Observer].
func (m *monitor) Got(bytes int64, took time.Duration) {
	m.telemetry.ReceiverAwss3Bytes.Add(context.Background(), bytes, m.signal)
	m.telemetry.ReceiverAwss3GetDuration.Record(context.Background(), took.Seconds(), m.signal)
}

// Accepted is part of [ingest.Observer].
func (m *monitor) Accepted(records int) {
	m.telemetry.ReceiverAwss3Records.Add(context.Background(), int64(records), m.signal)
}

// Retry is part of [ingest.Observer]. The component shows a recoverable error until all that failed
// goes well again.
func (m *monitor) Retry(operation string, err error) {
	m.telemetry.ReceiverAwss3Retries.Add(context.Background(), 1, m.attributes("operation", operation))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
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
	m.mu.Lock()
	defer m.mu.Unlock()
	_, failed := m.failing[operation]
	delete(m.failing, operation)
	if failed && len(m.failing) == 0 && !m.ended {
		m.report(componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// Failed says that the receiver reads nothing any more, and why.
func (m *monitor) Failed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		m.ended = true
		m.report(componentstatus.NewPermanentErrorEvent(err))
	}
}

// Dropped counts an object that was not delivered in whole.
func (m *monitor) Dropped(reason ingest.Reason) {
	m.telemetry.ReceiverAwss3ObjectsDropped.Add(context.Background(), 1, m.attributes("reason", string(reason)))
}

// report is called with the lock held, so that events come in order. The service takes them without
// calling back.
func (m *monitor) report(event *componentstatus.Event) {
	if m.host != nil {
		componentstatus.ReportStatus(m.host, event)
	}
}
