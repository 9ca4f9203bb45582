// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
)

func observedSettings() (extension.Settings, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.InfoLevel)
	set := nopSettings()
	set.Logger = zap.New(core)
	return set, logs
}

// values are the points of a sum, by their attributes.
func values(t *testing.T, tel *componenttest.Telemetry, name string) map[attribute.Distinct]int64 {
	t.Helper()
	m, err := tel.GetMetric("otelcol_" + name)
	require.NoError(t, err)
	sum, ok := m.Data.(metricdata.Sum[int64])
	require.True(t, ok)
	points := map[attribute.Distinct]int64{}
	for _, p := range sum.DataPoints {
		points[p.Attributes.Equivalent()] = p.Value
	}
	return points
}

func of(pairs ...string) attribute.Distinct {
	var attrs []attribute.KeyValue
	for i := 0; i < len(pairs); i += 2 {
		attrs = append(attrs, attribute.String(pairs[i], pairs[i+1]))
	}
	set := attribute.NewSet(attrs...)
	return set.Equivalent()
}

func TestMetrics(t *testing.T) {
	tel := componenttest.NewTelemetry()
	set := nopSettings()
	set.TelemetrySettings = tel.NewTelemetrySettings()
	s := newServer(configOf(t, ""), set)
	require.NoError(t, s.Start(context.Background(), nopHost))
	a := connect(t, s)
	a.say(described("counted"))
	get(t, "http://"+s.agents.Addr().String()+"/elsewhere")

	assert.Equal(t, int64(1), values(t, tel, "opamp_server_connections")[of()])
	agents := values(t, tel, "opamp_server_agents")
	assert.Len(t, agents, len(fleet.Livenesses()))
	assert.Equal(t, int64(1), agents[of("liveness", "connected")])
	messages := values(t, tel, "opamp_server_messages")
	assert.Equal(t, int64(1), messages[of("direction", "received", "transport", "websocket")])
	assert.Equal(t, int64(1), messages[of("direction", "sent", "transport", "websocket")])
	assert.Contains(t, messages, of("direction", "sent", "transport", "http"))
	assert.Positive(t, values(t, tel, "opamp_server_message_bytes")[of("direction", "received")])
	rejected := values(t, tel, "opamp_server_rejected")
	assert.Equal(t, int64(1), rejected[of("reason", "path")])
	assert.Len(t, rejected, len(opampserver.Reasons())+len(fleet.RefuseReasons())-1, "bad_instance_uid is of both")
	assert.Len(t, values(t, tel, "opamp_server_cut"), len(fleet.CutReasons()))
	assert.Positive(t, values(t, tel, "opamp_server_memory")[of()])
	assert.Len(t, values(t, tel, "opamp_server_custom_messages"), len(fleet.MessageFates()))
	assert.Contains(t, values(t, tel, "opamp_server_unsent_bytes"), of())
	for _, name := range []string{"opamp_server_duplicates", "opamp_server_evicted", "opamp_server_full_state_requests"} {
		assert.Len(t, values(t, tel, name), 1, name)
	}
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoError(t, tel.Shutdown(context.Background()))
}
