// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.yaml.in/yaml/v3"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Tests of the extension inside a whole Collector.

// A Collector's life as a server hears it, over both transports: the first message
// is complete, a failure shows with its component, and the last word is goodbye.
func TestCollectorReportsItself(t *testing.T) {
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{})
			polling := ""
			if transport == "http" {
				polling = ", polling_interval: 50ms"
			}
			c := startCollector(t, collectorYAML(fmt.Sprintf(
				"    server: {%s: {endpoint: '%s', headers: {Authorization: Bearer hunter2}%s}}", transport, server.URL(transport), polling)))

			first := server.Next(t)
			requireCompleteFirstMessage(t, first)
			require.Equal(t, "Bearer hunter2", first.Header.Get("Authorization"))
			require.Contains(t, first.Header.Get("User-Agent"), "otelcol-test/1.2.3 (")

			// A Collector that starts fast is healthy in its first message.
			tree := nextFrom(t, server, first, healthy).GetHealth()
			require.True(t, part(t, tree, "pipeline:logs", "receiver:moody").GetHealthy())
			require.True(t, part(t, tree, "pipeline:traces", "receiver:nop").GetHealthy())
			require.True(t, part(t, tree, "extensions", "extension:opamp").GetHealthy())

			reporter := c.moody.reporter(t)
			reporter.Report(componentstatus.NewRecoverableErrorEvent(errors.New("connection refused")))
			sick := server.NextWith(t, unhealthy).GetHealth()
			require.Equal(t, "StatusRecoverableError", sick.GetStatus())
			require.Equal(t, "connection refused", sick.GetLastError())

			reporter.Report(componentstatus.NewEvent(componentstatus.StatusOK))
			server.NextWith(t, healthy)

			c.stop()
			last := server.NextWith(t, func(h opamptest.Heard) bool { return h.GetAgentDisconnect() != nil })
			require.Equal(t, first.GetInstanceUid(), last.GetInstanceUid())
			require.Empty(t, server.Rest(), "nothing after the goodbye")
		})
	}
}

func requireCompleteFirstMessage(t *testing.T, h opamptest.Heard) {
	t.Helper()
	all := CapabilitiesConfig{ReportsEffectiveConfig: true, ReportsHealth: true, ReportsAvailableComponents: true, ReportsHeartbeat: true}
	require.Equal(t, uint64(all.bits()), h.GetCapabilities())
	_, err := opampwire.InstanceUIDFromBytes(h.GetInstanceUid())
	require.NoError(t, err)

	identifying := h.GetAgentDescription().GetIdentifyingAttributes()
	require.Equal(t, "node-7", textOf(identifying, "service.instance.id"))
	require.Equal(t, "edge", textOf(identifying, "service.name"))
	require.Equal(t, "1.2.3", textOf(identifying, "service.version"))
	require.NotEmpty(t, textOf(h.GetAgentDescription().GetNonIdentifyingAttributes(), "os.type"))

	require.NotNil(t, h.GetHealth())
	require.NotZero(t, h.GetHealth().GetStartTimeUnixNano())
	require.Len(t, h.GetAvailableComponents().GetHash(), 32)
	require.Empty(t, h.GetAvailableComponents().GetComponents(), "the hash until the list is asked for")

	config := h.GetEffectiveConfig().GetConfigMap().GetConfigMap()[""]
	require.Equal(t, "text/yaml", config.GetContentType())
	require.NotContains(t, string(config.GetBody()), "hunter2")
	var parsed map[string]any
	require.NoError(t, yaml.Unmarshal(config.GetBody(), &parsed))
	require.Contains(t, parsed, "receivers")
	require.Contains(t, parsed["extensions"], "opamp")
}

func TestComponentListOnRequest(t *testing.T) {
	asked := false
	server := opamptest.NewServer(t, opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		reply := opamptest.Ack(msg)
		if !asked {
			asked = true
			reply.Flags = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents)
		}
		return reply
	}})
	startCollector(t, collectorYAML(fmt.Sprintf("    server: {ws: {endpoint: '%s'}}", server.URL("ws"))))

	list := server.NextWith(t, func(h opamptest.Heard) bool { return len(h.GetAvailableComponents().GetComponents()) > 0 })
	components := list.GetAvailableComponents().GetComponents()
	require.Equal(t, "example.test/moody v0.1.0",
		textOf(components["receivers"].GetSubComponentMap()["moody"].GetMetadata(), "code.namespace"))
	require.Equal(t, "github.com/otel-fleetview/fleetview v0.1.0",
		textOf(components["extensions"].GetSubComponentMap()["opamp"].GetMetadata(), "code.namespace"))
}

// contrib's extension hangs the Collector at start (fault B1: a send on a nil
// channel inside ComponentStatusChanged; opentelemetry-collector-contrib PR 49412).
func TestB1WithoutHealthTheCollectorStartsAndSaysNothingOfIt(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	c := startCollector(t, collectorYAML(fmt.Sprintf(
		"    server: {ws: {endpoint: '%s'}}\n    capabilities: {reports_health: false}", server.URL("ws"))))

	reporter := c.moody.reporter(t)
	reporter.Report(componentstatus.NewRecoverableErrorEvent(errors.New("connection refused")))
	first := server.Next(t)
	require.NotNil(t, first.GetAgentDescription())
	c.stop()

	for _, h := range append(server.Rest(), first) {
		require.Nil(t, h.GetHealth())
		require.Zero(t, h.GetCapabilities()&uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth))
	}
}

// contrib's extension (v0.149) refuses to start (fault B3;
// opentelemetry-collector-contrib PR 46495).
func TestB3AnyServiceInstanceIDIsAccepted(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	startCollector(t, collectorYAML(fmt.Sprintf("    server: {ws: {endpoint: '%s'}}", server.URL("ws"))))
	first := server.Next(t)
	require.Equal(t, "node-7", textOf(first.GetAgentDescription().GetIdentifyingAttributes(), "service.instance.id"))
	uid, err := opampwire.InstanceUIDFromBytes(first.GetInstanceUid())
	require.NoError(t, err)
	require.Equal(t, byte('7'), uid.String()[14], "a UUIDv7")
}

// A reload builds everything anew in the same process. contrib's extension then
// shows up as another agent (fault B4; opentelemetry-collector issue 6158).
func TestB4TheInstanceUIDOutlivesAReload(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	seen := map[string]bool{}
	for range 3 {
		c := startCollector(t, collectorYAML(fmt.Sprintf("    server: {ws: {endpoint: '%s'}}", server.URL("ws"))))
		seen[string(server.Next(t).GetInstanceUid())] = true
		c.stop()
		require.Eventually(t, func() bool { _, open, _ := server.Connections(); return open == 0 },
			patience, time.Millisecond, "the old connection is closed before anything is built anew")
		server.Rest()
	}
	require.Len(t, seen, 1)
}

// contrib's extension says healthy, empty; then Starting, unhealthy; then OK
// (fault B6).
func TestB6AStartDoesNotFlap(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	c := startCollector(t, collectorYAML(fmt.Sprintf("    server: {ws: {endpoint: '%s'}}", server.URL("ws"))))
	firstHealthy := server.NextWith(t, healthy)
	require.Len(t, firstHealthy.GetHealth().GetComponentHealthMap(), 3, "extensions and both pipelines")
	require.Equal(t, "StatusOK", firstHealthy.GetHealth().GetStatus())

	c.stop()
	for _, h := range server.Rest() {
		if h.GetHealth() != nil {
			require.Equal(t, "StatusStopping", h.GetHealth().GetStatus(), "nothing between healthy and the stop")
		}
	}
}

// contrib's newest compares only the whole's status and error, so a second
// failure and its end are never told (fault B7b).
func TestB7bASecondFailureIsToldWhileTheWholeLooksTheSame(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	c := startCollector(t, collectorYAML(fmt.Sprintf("    server: {ws: {endpoint: '%s'}}", server.URL("ws"))))
	server.NextWith(t, healthy)

	one, two := c.moody.reporter(t), c.moody.reporter(t)
	one.Report(componentstatus.NewRecoverableErrorEvent(errors.New("first")))
	before := server.NextWith(t, unhealthy).GetHealth()
	two.Report(componentstatus.NewRecoverableErrorEvent(errors.New("second")))
	after := server.NextWith(t, unhealthy).GetHealth()

	require.Equal(t, "first", after.GetLastError())
	require.Equal(t, before.GetStatusTimeUnixNano(), after.GetStatusTimeUnixNano())
	errorsOf := func(h *protobufs.ComponentHealth) []string {
		return []string{
			part(t, h, "pipeline:logs", "receiver:moody").GetLastError(),
			part(t, h, "pipeline:traces", "receiver:moody").GetLastError(),
		}
	}
	require.ElementsMatch(t, []string{"first", ""}, errorsOf(before))
	require.ElementsMatch(t, []string{"first", "second"}, errorsOf(after))
}

// Whatever the server is, the Collector starts and stops.
func TestCollectorWithoutAServer(t *testing.T) {
	for _, endpoint := range []string{"ws://127.0.0.1:1/v1/opamp", "http://127.0.0.1:1/v1/opamp", "ws://no-such-host.invalid/v1/opamp"} {
		t.Run(endpoint, func(t *testing.T) {
			transport := "ws"
			if endpoint[0] == 'h' {
				transport = "http"
			}
			c := startCollector(t, collectorYAML(fmt.Sprintf("    server: {%s: {endpoint: '%s'}}", transport, endpoint)))
			c.moody.reporter(t) // the pipelines run
			c.stop()
		})
	}
}
