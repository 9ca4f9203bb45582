// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pipeline"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	logs    = pipeline.NewID(pipeline.SignalLogs)
	traces  = pipeline.NewID(pipeline.SignalTraces)
	metrics = pipeline.NewIDWithName(pipeline.SignalMetrics, "host")

	otlp    = instance(component.KindReceiver, "otlp", logs, traces)
	batch   = instance(component.KindProcessor, "batch", traces)
	debug   = instance(component.KindExporter, "debug", logs)
	backend = instance(component.KindExporter, "otlp/backend", traces)
	opamp   = instance(component.KindExtension, "opamp")
	zpages  = instance(component.KindExtension, "zpages")
)

func instance(kind component.Kind, id string, pipelines ...pipeline.ID) *componentstatus.InstanceID {
	var cid component.ID
	if err := cid.UnmarshalText([]byte(id)); err != nil {
		panic(err)
	}
	return componentstatus.NewInstanceID(cid, kind, pipelines...)
}

func failure(text string) *componentstatus.Event {
	return componentstatus.NewRecoverableErrorEvent(errors.New(text))
}

func status(s componentstatus.Status) *componentstatus.Event { return componentstatus.NewEvent(s) }

// message is one that left, and when, counted from the harness's start.
type message struct {
	at     time.Duration
	health *protobufs.ComponentHealth
}

// harness is a Recorder whose messages are kept.
type harness struct {
	*Recorder
	started time.Time

	mu   sync.Mutex
	sent []message
}

func newHarness() *harness {
	now := time.Now()
	return &harness{Recorder: New(now), started: now}
}

func (h *harness) start() {
	h.Start(func(m *protobufs.ComponentHealth) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sent = append(h.sent, message{time.Since(h.started), m})
	})
}

// take returns the messages since the last take.
func (h *harness) take() []message {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := h.sent
	h.sent = nil
	return taken
}

func (h *harness) takeOne(t *testing.T) message {
	t.Helper()
	all := h.take()
	require.Len(t, all, 1)
	return all[0]
}

// report gives each instance the status, in order.
func (h *harness) report(s componentstatus.Status, ids ...*componentstatus.InstanceID) {
	for _, id := range ids {
		h.ComponentStatusChanged(id, status(s))
	}
}

// running brings a whole small Collector up, without waiting for its message.
func (h *harness) running() {
	all := []*componentstatus.InstanceID{opamp, zpages, debug, backend, batch, otlp}
	for _, id := range all {
		h.report(componentstatus.StatusStarting, id)
		h.report(componentstatus.StatusOK, id)
	}
	h.Ready()
}

// part finds a node by its path of names.
func part(t *testing.T, root *protobufs.ComponentHealth, path ...string) *protobufs.ComponentHealth {
	t.Helper()
	for _, name := range path {
		require.Contains(t, root.GetComponentHealthMap(), name)
		root = root.GetComponentHealthMap()[name]
	}
	return root
}
