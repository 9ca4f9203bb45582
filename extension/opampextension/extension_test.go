// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampextension

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap/zapcore"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/extension/opampextension/internal/metadatatest"
	"github.com/otel-fleetview/fleetview/internal/opampendpoint"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// contrib's extension sends the last status's time as the start time, 0 while
// unhealthy, and none in children (fault B5).
func TestB5TheStartTimeIsOneAndTheSame(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	e := startExtension(t, configFor(server.URL("ws").String()), newSettings("b5"))
	first := nextFrom(t, server, server.Next(t), healthy).GetHealth()
	started := first.GetStartTimeUnixNano()
	require.NotZero(t, started)

	e.ComponentStatusChanged(someExporter, componentstatus.NewRecoverableErrorEvent(errors.New("refused")))
	for _, health := range []*protobufs.ComponentHealth{first, server.NextWith(t, unhealthy).GetHealth()} {
		require.Equal(t, started, health.GetStartTimeUnixNano())
		require.Equal(t, started, part(t, health, "pipeline:logs").GetStartTimeUnixNano())
		require.Equal(t, started, part(t, health, "pipeline:logs", "exporter:debug").GetStartTimeUnixNano())
	}
}

// contrib's extension (v0.149) sends each StatusOK that a component repeats
// (fault B7; opentelemetry-collector-contrib issue 50197).
func TestB7TheSameStatusAgainIsNotSent(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	e := startExtension(t, configFor(server.URL("ws").String()), newSettings("b7"))
	nextFrom(t, server, server.Next(t), healthy)

	for range 1000 {
		e.ComponentStatusChanged(someReceiver, componentstatus.NewEvent(componentstatus.StatusOK))
	}
	e.ComponentStatusChanged(someExporter, componentstatus.NewRecoverableErrorEvent(errors.New("refused")))
	require.Equal(t, "refused", server.Next(t).GetHealth().GetLastError(), "the next message is the first news")
}

// contrib's extension sends an empty message when it reconnects, so a server that
// was restarted knows nothing (fault B10; opamp-spec issue 271).
func TestB10AReconnectTellsEverything(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	startExtension(t, configFor(server.URL("ws").String()), newSettings("b10"))
	nextFrom(t, server, server.Next(t), healthy)

	server.HangUp()
	again := server.NextWith(t, func(h opamptest.Heard) bool { return h.Conn == 2 })
	require.NotEmpty(t, again.GetAgentDescription().GetIdentifyingAttributes())
	require.True(t, again.GetHealth().GetHealthy())
	require.Len(t, again.GetHealth().GetComponentHealthMap(), 2)
	require.Contains(t, string(again.GetEffectiveConfig().GetConfigMap().GetConfigMap()[""].GetBody()), "receivers")
	require.NotEmpty(t, again.GetAvailableComponents().GetHash())
}

// contrib's extension logs three lines for each attempt (fault B11).
func TestB11AnOutageIsOneLine(t *testing.T) {
	logger, logs := logged(zapcore.InfoLevel)
	telemetry := componenttest.NewTelemetry()
	set := newSettings("b11")
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	set.Logger = logger
	startExtension(t, configFor("ws://127.0.0.1:1/v1/opamp"), set)

	require.Eventually(t, func() bool { return counted(telemetry, "otelcol_opamp_connects", "result", "refused") >= 2 },
		patience, 10*time.Millisecond, "two attempts")
	warnings := logs.FilterLevelExact(zapcore.WarnLevel).All()
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].ContextMap()["error"], "refused", "the cause is named")
	require.Empty(t, logs.FilterLevelExact(zapcore.ErrorLevel).All())
}

// In contrib's extension a second Ready panics (fault B12).
func TestB12EveryCallbackMayComeTwiceAndInAnyOrder(t *testing.T) {
	for name, health := range map[string]bool{"with health": true, "without health": false} {
		t.Run(name, func(t *testing.T) {
			cfg := configFor("ws://127.0.0.1:1", func(c *Config) { c.Capabilities.ReportsHealth = health })
			e := newTestExtension(t, cfg, newSettings("b12"))
			event := componentstatus.NewEvent(componentstatus.StatusOK)

			for range 2 {
				e.ComponentStatusChanged(someReceiver, event)
				require.NoError(t, e.NotReady())
				require.NoError(t, e.Ready())
				require.NoError(t, e.NotifyConfigSnapshot(t.Context(), nil))
				require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshotOf(nil)))
			}
			for range 2 {
				require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
				require.NoError(t, e.Ready())
				require.NoError(t, e.NotifyConfigSnapshot(t.Context(), nil))
			}
			for range 2 {
				require.NoError(t, e.NotReady())
				require.NoError(t, e.Shutdown(t.Context()))
				e.ComponentStatusChanged(someReceiver, event)
				require.NoError(t, e.Ready())
				require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshotOf(nil)))
			}
			require.ErrorIs(t, e.Start(t.Context(), componenttest.NewNopHost()), errLifecycleOver)
		})
	}
}

func TestCallbacksAtOnce(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	e := newTestExtension(t, configFor(server.URL("ws").String()), newSettings("at-once"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				e.ComponentStatusChanged(someReceiver, componentstatus.NewRecoverableErrorEvent(errors.New("x")))
				e.ComponentStatusChanged(someReceiver, componentstatus.NewEvent(componentstatus.StatusOK))
			}
		})
	}
	wg.Go(func() { assert.NoError(t, e.Start(context.Background(), componenttest.NewNopHost())) })
	wg.Go(func() { assert.NoError(t, e.NotifyConfigSnapshot(context.Background(), snapshotOf(map[string]any{}))) })
	wg.Go(func() { assert.NoError(t, e.Ready()) })
	wg.Wait()
	wg.Go(func() { assert.NoError(t, e.NotReady()) })
	wg.Go(func() { assert.NoError(t, e.Shutdown(context.Background())) })
	wg.Go(func() { assert.NoError(t, e.Shutdown(context.Background())) })
	wg.Wait()
}

// A host that never tells the configuration delays the first message by a second,
// no more.
func TestWithoutAConfigurationItReportsAllTheSame(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	e := newTestExtension(t, configFor(server.URL("ws").String()), newSettings("no-config"))
	require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))
	first := server.Next(t)
	require.NotNil(t, first.GetAgentDescription())
	require.Nil(t, first.GetEffectiveConfig())

	require.NoError(t, e.NotifyConfigSnapshot(t.Context(), snapshotOf(map[string]any{"late": true})))
	late := server.NextWith(t, func(h opamptest.Heard) bool { return h.GetEffectiveConfig() != nil })
	require.Equal(t, "late: true\n", string(late.GetEffectiveConfig().GetConfigMap().GetConfigMap()[""].GetBody()))
}

func TestWhatIsNotToBeReportedIsNot(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	startExtension(t, configFor(server.URL("ws").String(), func(c *Config) { c.Capabilities = CapabilitiesConfig{} }), newSettings("quiet"))
	first := server.Next(t)
	require.Equal(t, uint64(protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus), first.GetCapabilities())
	require.NotNil(t, first.GetAgentDescription())
	require.Nil(t, first.GetHealth())
	require.Nil(t, first.GetEffectiveConfig())
	require.Nil(t, first.GetAvailableComponents())
}

func TestConfiguredInstanceUID(t *testing.T) {
	for name, tc := range map[string]struct {
		ppid int64
		want string // service.instance.id
	}{
		"alone, the resource's":      {0, "node-7"},
		"supervised, the UID itself": {1, "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90"},
	} {
		t.Run(name, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{})
			set := newSettings("configured")
			set.Resource.Attributes().PutStr("service.instance.id", "node-7")
			startExtension(t, configFor(server.URL("ws").String(), func(c *Config) {
				c.InstanceUID, c.PPID = "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90", tc.ppid
			}), set)
			first := server.Next(t)
			uid, err := opampwire.InstanceUIDFromBytes(first.GetInstanceUid())
			require.NoError(t, err)
			require.Equal(t, "019a9f4e-7c1d-7b62-a8f0-3d5e6c7b8a90", uid.String())
			require.Equal(t, tc.want, textOf(first.GetAgentDescription().GetIdentifyingAttributes(), "service.instance.id"))
		})
	}
}

// A server may assign another instance UID (AgentIdentification). The description
// follows where it shows the UID, and a reload keeps it.
func TestAnAssignedInstanceUIDIsKept(t *testing.T) {
	assigned := opampwire.NewInstanceUID()
	server := opamptest.NewServer(t, opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		reply := opamptest.Ack(msg)
		reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: assigned.Bytes()}
		return reply
	}})
	isNew := func(h opamptest.Heard) bool {
		return string(h.GetInstanceUid()) == string(assigned.Bytes()) &&
			textOf(h.GetAgentDescription().GetIdentifyingAttributes(), "service.instance.id") == assigned.String()
	}
	e := startExtension(t, configFor(server.URL("ws").String()), newSettings("assigned"))
	require.NotEqual(t, assigned.Bytes(), server.Next(t).GetInstanceUid())
	server.NextWith(t, isNew)
	require.NoError(t, e.Shutdown(t.Context()))
	server.Rest()

	startExtension(t, configFor(server.URL("ws").String()), newSettings("assigned"))
	require.True(t, isNew(server.Next(t)))
}

func TestTwoExtensionsAreTwoAgents(t *testing.T) {
	server := opamptest.NewServer(t, opamptest.Script{})
	startExtension(t, configFor(server.URL("ws").String()), newSettings("one"))
	one := server.Next(t).GetInstanceUid()
	startExtension(t, configFor(server.URL("ws").String()), newSettings("two"))
	server.NextWith(t, func(h opamptest.Heard) bool { return string(h.GetInstanceUid()) != string(one) })
}

// contrib's extension says Go-http-client/1.1 (fault B14).
func TestUserAgent(t *testing.T) {
	for _, scheme := range []string{"ws", "http"} {
		t.Run(scheme, func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{})
			startExtension(t, configFor(server.URL(scheme).String()), newSettings("ua"))
			require.Regexp(t, "^otelcol-test/1.2.3 \\([a-z0-9]+/[a-z0-9]+\\)$", server.Next(t).Header.Get("User-Agent"))
		})
		t.Run(scheme+" set by the user", func(t *testing.T) {
			server := opamptest.NewServer(t, opamptest.Script{})
			cfg := configFor(server.URL(scheme).String())
			cfg.Server.endpoint().Headers = map[string]configopaque.String{"User-Agent": "mine/1", "X-Tenant": "shop"}
			startExtension(t, cfg, newSettings("ua"))
			first := server.Next(t)
			require.Equal(t, []string{"mine/1"}, first.Header["User-Agent"])
			require.Equal(t, "shop", first.Header.Get("X-Tenant"))
		})
	}
	require.Regexp(t, "^otelcol \\(", opampendpoint.UserAgent(component.BuildInfo{}).Get("User-Agent"))
	require.Regexp(t, "^otelcol \\(", opampendpoint.UserAgent(component.BuildInfo{Command: "a\nb", Version: "1"}).Get("User-Agent"))
}

// A server that takes the connection and then does nothing, or never reads, holds
// contrib's extension for up to 43 seconds (fault B15).
func TestB15ShutdownDoesNotWaitForTheServer(t *testing.T) {
	for name, script := range map[string]opamptest.Script{
		"never answers the upgrade": {Refuse: func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}},
		"never reads": {Accepted: func(c *websocket.Conn) bool {
			<-c.CloseRead(context.Background()).Done()
			return false
		}},
		"refuses": {Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusUnauthorized)
			return true
		}},
		"never replies": {Reply: func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return nil }},
		"closes at once": {Accepted: func(c *websocket.Conn) bool {
			_ = c.CloseNow()
			return false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			reached := make(chan struct{}, 1000)
			refuse := script.Refuse
			script.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
				reached <- struct{}{}
				return refuse != nil && refuse(w, r)
			}
			server := opamptest.NewServer(t, script)
			e := startExtension(t, configFor(server.URL("ws").String()), newSettings("b15"))
			<-reached
			require.NoError(t, e.NotReady())
			require.NoError(t, e.Shutdown(t.Context()))
		})
	}
}

func TestShutdownWhileTheServerAcceptsNothing(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for _, scheme := range []string{"ws", "http", "wss", "https"} {
		t.Run(scheme, func(t *testing.T) {
			e := startExtension(t, configFor(fmt.Sprintf("%s://%s/v1/opamp", scheme, ln.Addr())), newSettings("deaf"))
			require.NoError(t, e.Shutdown(t.Context()))
		})
	}
}

// What the client and the recorder do shows in the Collector's own metrics.
func TestMetrics(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	server := opamptest.NewServer(t, opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		reply := opamptest.Ack(msg)
		reply.RemoteConfig = &protobufs.AgentRemoteConfig{}
		return reply
	}})
	set := newSettings("metrics")
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	e := startExtension(t, configFor(server.URL("ws").String()), set)
	nextFrom(t, server, server.Next(t), healthy)
	require.Eventually(t, func() bool { return counted(telemetry, "otelcol_opamp_refused_offers", "offer", "remote_config") >= 1 },
		patience, time.Millisecond)

	one := func(key, value string) []metricdata.DataPoint[int64] {
		return []metricdata.DataPoint[int64]{{Value: 1, Attributes: attribute.NewSet(attribute.String(key, value))}}
	}
	ignoreTime := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualOpampConnects(t, telemetry, one("result", "ok"), ignoreTime)
	metadatatest.AssertEqualOpampConnected(t, telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, ignoreTime)
	metadatatest.AssertEqualOpampStatusEvents(t, telemetry, []metricdata.DataPoint[int64]{{Value: 6}}, ignoreTime)
	metadatatest.AssertEqualOpampHealthReports(t, telemetry, []metricdata.DataPoint[int64]{{Value: 2}}, ignoreTime)
	metadatatest.AssertEqualOpampStatusEventsDropped(t, telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, ignoreTime)
	require.Positive(t, counted(telemetry, "otelcol_opamp_messages", "direction", "sent"))
	require.Positive(t, counted(telemetry, "otelcol_opamp_messages", "direction", "received"))
	require.Greater(t, counted(telemetry, "otelcol_opamp_message_bytes", "direction", "sent"), int64(200))
	require.Positive(t, counted(telemetry, "otelcol_opamp_parts", "part", "agent_description"))

	require.NoError(t, e.Shutdown(t.Context()))
	metadatatest.AssertEqualOpampConnected(t, telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, ignoreTime)
	metadatatest.AssertEqualOpampDisconnects(t, telemetry, one("reason", "shutdown"), ignoreTime)
}

// counted is the value of a counter for one attribute, 0 while there is none.
func counted(telemetry *componenttest.Telemetry, name, key, value string) int64 {
	m, err := telemetry.GetMetric(name)
	if err != nil {
		return 0
	}
	sum, ok := m.Data.(metricdata.Sum[int64])
	if !ok {
		return 0
	}
	for _, point := range sum.DataPoints {
		if got, ok := point.Attributes.Value(attribute.Key(key)); ok && got.AsString() == value {
			return point.Value
		}
	}
	return 0
}

func TestTheLogNamesTheServerButNoSecret(t *testing.T) {
	logger, logs := logged(zapcore.DebugLevel)
	server := opamptest.NewServer(t, opamptest.Script{Refuse: func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "no", http.StatusUnauthorized)
		return true
	}})
	set := newSettings("secret")
	telemetry := componenttest.NewTelemetry()
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	set.Logger = logger
	cfg := configFor(server.URL("ws").String() + "?token=hunter2")
	cfg.Server.endpoint().Headers = map[string]configopaque.String{"Authorization": "Bearer hunter2"}
	startExtension(t, cfg, set)

	require.Eventually(t, func() bool { return counted(telemetry, "otelcol_opamp_connects", "result", "unauthorized") >= 1 },
		patience, time.Millisecond)
	require.Eventually(t, func() bool { return logs.FilterLevelExact(zapcore.WarnLevel).Len() > 0 }, patience, time.Millisecond)
	for _, entry := range logs.All() {
		require.NotContains(t, entry.Message+fmt.Sprint(entry.ContextMap()), "hunter2")
	}
	require.Len(t, logs.Filter(func(e zapobserver.LoggedEntry) bool {
		return strings.Contains(fmt.Sprint(e.ContextMap()["endpoint"]), server.Addr())
	}).All(), 1)
}
