// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// gauged is the value of a gauge, of the point with all of the attributes. ok is false
// while there is none.
func gauged[N int64 | float64](telemetry *componenttest.Telemetry, name string, attrs ...attribute.KeyValue) (value N, ok bool) {
	m, err := telemetry.GetMetric(name)
	if err != nil {
		return 0, false
	}
	gauge, isGauge := m.Data.(metricdata.Gauge[N])
	if !isGauge {
		return 0, false
	}
	want := attribute.NewSet(attrs...)
	for _, point := range gauge.DataPoints {
		if point.Attributes.Equals(&want) {
			return point.Value, true
		}
	}
	return 0, false
}

// pointWith is the value of a counter for all of the attributes, 0 while there is none.
func pointWith(telemetry *componenttest.Telemetry, name string, attrs ...attribute.KeyValue) int64 {
	m, err := telemetry.GetMetric(name)
	if err != nil {
		return 0
	}
	sum, _ := m.Data.(metricdata.Sum[int64])
	want := attribute.NewSet(attrs...)
	for _, point := range sum.DataPoints {
		if point.Attributes.Equals(&want) {
			return point.Value
		}
	}
	return 0
}

func TestMetricsOfPartsAndState(t *testing.T) {
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			var renamed atomic.Bool
			server := opamptest.NewServer(t, opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				if msg.GetHealth() != nil && !renamed.Swap(true) {
					reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()}
				}
				return reply
			}})
			telemetry := componenttest.NewTelemetry()
			set := newSettings("metrics-of-parts-" + transport)
			set.TelemetrySettings = telemetry.NewTelemetrySettings()
			e := newTestExtension(t, configFor(server.URL(transport).String()), set)
			require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
			_, heard := gauged[float64](telemetry, "otelcol_opamp_server_silence")
			require.False(t, heard, "nothing was heard yet")
			health := attribute.String("part", "health")
			waiting, ok := gauged[int64](telemetry, "otelcol_opamp_reports_pending", health)
			require.True(t, ok)
			require.EqualValues(t, 1, waiting)

			snapshot := snapshotOf(map[string]any{"receivers": map[string]any{"nop": nil}})
			require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshot))
			require.NoError(t, e.Ready())
			first := nextFrom(t, server, server.Next(t), healthy)
			size, ok := gauged[int64](telemetry, "otelcol_opamp_effective_config_size")
			require.True(t, ok)
			require.Greater(t, size, int64(20))
			require.Less(t, size, int64(200))
			require.NotNil(t, first.GetHealth())

			sentPart := func(name, part string) int64 {
				return pointWith(telemetry, name, attribute.String("direction", "sent"), attribute.String("part", part))
			}
			for _, part := range []string{"agent_description", "health", "effective_config", "available_components"} {
				require.Eventually(t, func() bool { return sentPart("otelcol_opamp_parts", part) >= 1 }, patience, time.Millisecond, part)
				require.Positive(t, sentPart("otelcol_opamp_part_bytes", part), part)
			}
			require.Eventually(t, func() bool { // it may be sent again meanwhile
				return size*sentPart("otelcol_opamp_parts", "effective_config") == sentPart("otelcol_opamp_part_bytes", "effective_config")
			}, patience, time.Millisecond)
			require.Eventually(t, func() bool { return pointWith(telemetry, "otelcol_opamp_instance_uid_changes") == 1 },
				patience, time.Millisecond)
			require.EqualValues(t, 18, pointWith(telemetry, "otelcol_opamp_part_bytes",
				attribute.String("direction", "received"), attribute.String("part", "agent_identification")), "a field of 16 bytes")
			silence, heard := gauged[float64](telemetry, "otelcol_opamp_server_silence")
			require.True(t, heard)
			require.GreaterOrEqual(t, silence, 0.0)
			require.Less(t, silence, patience.Seconds())
			require.Eventually(t, func() bool {
				waiting, ok := gauged[int64](telemetry, "otelcol_opamp_reports_pending", health)
				return ok && waiting == 0
			}, patience, time.Millisecond)

			suppressed := func(part string) int64 {
				return pointWith(telemetry, "otelcol_opamp_reports_suppressed", attribute.String("part", part))
			}
			before := suppressed("health")
			require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshot))
			require.EqualValues(t, 1, suppressed("effective_config"))
			e.ComponentStatusChanged(someReceiver, componentstatus.NewEvent(componentstatus.StatusOK))
			e.ComponentStatusChanged(someReceiver, componentstatus.NewEvent(componentstatus.StatusOK))
			require.Greater(t, suppressed("health"), before)
			require.Zero(t, pointWith(telemetry, "otelcol_opamp_reports_coalesced", attribute.String("part", "effective_config")))
		})
	}
}
