// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package loadtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/extension/opampserverextension"
	"github.com/otel-fleetview/fleetview/internal/opamptest/measured"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Roles of the processes that are measured.
const (
	roleFleetview = "fleetview"
	roleMemory    = "fleetview-without-database"
	roleOpAMPGo   = "opamp-go"
)

// What the processes are told by their environment.
const (
	agentsEnv   = "FLEETVIEW_LOADTEST_AGENTS"   // address for agents
	webEnv      = "FLEETVIEW_LOADTEST_WEB"      // address for people
	databaseEnv = "FLEETVIEW_LOADTEST_DATABASE" // path
)

// Counts that a server has beside what it costs.
const (
	countConnected  = "connected"   // agents that are there, by the server's own account
	countStatements = "statements"  // that wrote to the database
	countAsked      = "full_states" // that agents were asked for
)

func TestMain(m *testing.M) {
	switch measured.Role() {
	case roleFleetview, roleMemory:
		serveFleetview(measured.Role() == roleFleetview)
	case roleOpAMPGo:
		serveOpAMPGo()
	default:
		goleak.VerifyTestMain(m)
	}
}

// serveFleetview is the extension as the distribution runs it: of a configuration, with its database unless it has
// none, its listeners and its metrics.
func serveFleetview(database bool) {
	ctx := context.Background()
	telemetry := componenttest.NewTelemetry()
	factory := opampserverextension.NewFactory()
	cfg := factory.CreateDefaultConfig()
	text := map[string]any{
		"agents": map[string]any{"endpoint": os.Getenv(agentsEnv)},
		"web":    map[string]any{"endpoint": os.Getenv(webEnv)},
	}
	if database {
		text["database"] = map[string]any{"path": os.Getenv(databaseEnv)}
	}
	err := confmap.NewFromStringMap(text).Unmarshal(cfg)
	if err != nil {
		panic(err)
	}
	ext, err := factory.Create(ctx, extension.Settings{
		ID: component.NewID(factory.Type()), TelemetrySettings: telemetry.NewTelemetrySettings(),
	}, cfg)
	if err == nil {
		err = ext.Start(ctx, componenttest.NewNopHost())
	}
	if err != nil {
		panic(err)
	}
	measured.Serve(measured.Settings{
		Addr: os.Getenv(agentsEnv),
		Counts: func() map[string]int64 {
			counts := map[string]int64{
				countConnected: read(telemetry, "opamp_server_agents", "liveness", "connected"),
				countAsked:     read(telemetry, "opamp_server_full_state_requests", "", ""),
			}
			if database {
				counts[countStatements] = read(telemetry, "opamp_server_database_statements", "", "")
			}
			return counts
		},
	})
	if err := ext.Shutdown(ctx); err != nil {
		panic(err)
	}
}

// read is the value of a metric, with an attribute if there is a key.
func read(telemetry *componenttest.Telemetry, name, key, value string) int64 {
	m, err := telemetry.GetMetric("otelcol_" + name)
	if err != nil {
		panic(err)
	}
	var points []metricdata.DataPoint[int64]
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		points = data.DataPoints
	case metricdata.Gauge[int64]:
		points = data.DataPoints
	}
	for _, p := range points {
		for _, kv := range p.Attributes.ToSlice() {
			if key == string(kv.Key) && kv.Value.AsString() == value {
				return p.Value
			}
		}
		if key == "" {
			return p.Value
		}
	}
	panic(fmt.Sprintf("%s has no %s=%s", name, key, value))
}

// known is what a server of opamp-go's example keeps: of each agent the latest of each part of its reports, its config
// as a text, and its connection.
type known struct {
	mu     sync.Mutex
	agents map[opampwire.InstanceUID]*knownAgent      // guarded by mu
	conns  map[types.Connection]opampwire.InstanceUID // guarded by mu: who speaks there
	asked  atomic.Int64
}

type knownAgent struct {
	status *protobufs.AgentToServer
	config string
	conn   types.Connection
}

func (k *known) onMessage(_ context.Context, conn types.Connection, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	uid := opampwire.InstanceUID(msg.GetInstanceUid())
	reply := &protobufs.ServerToAgent{
		InstanceUid:  msg.GetInstanceUid(),
		Capabilities: uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus | protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.agents[uid]
	if a == nil {
		a = &knownAgent{status: &protobufs.AgentToServer{}}
		k.agents[uid] = a
	}
	a.conn = conn
	k.conns[conn] = uid
	if before := a.status; msg.GetSequenceNum() != before.GetSequenceNum()+1 && msg.GetAgentDescription() == nil {
		reply.Flags = uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)
		k.asked.Add(1)
	}
	a.take(msg)
	return reply
}

// take keeps what the message tells, and of the rest what was told before.
func (a *knownAgent) take(msg *protobufs.AgentToServer) {
	before := a.status
	if msg.AgentDescription == nil || proto.Equal(msg.AgentDescription, before.AgentDescription) {
		msg.AgentDescription = before.AgentDescription
	}
	if msg.Health == nil {
		msg.Health = before.Health
	}
	if msg.AvailableComponents == nil {
		msg.AvailableComponents = before.AvailableComponents
	}
	if msg.EffectiveConfig == nil {
		msg.EffectiveConfig = before.EffectiveConfig
	} else {
		var text strings.Builder
		for _, file := range msg.GetEffectiveConfig().GetConfigMap().GetConfigMap() {
			text.Write(file.GetBody())
		}
		a.config = text.String()
	}
	if msg.Capabilities == 0 {
		msg.Capabilities = before.Capabilities
	}
	a.status = msg
}

func (k *known) onClose(conn types.Connection) {
	k.mu.Lock()
	defer k.mu.Unlock()
	uid, spoke := k.conns[conn]
	delete(k.conns, conn)
	if a := k.agents[uid]; spoke && a.conn == conn {
		delete(k.agents, uid)
	}
}

func serveOpAMPGo() {
	k := &known{agents: map[opampwire.InstanceUID]*knownAgent{}, conns: map[types.Connection]opampwire.InstanceUID{}}
	opamp := server.New(nil)
	handler, connContext, err := opamp.Attach(server.Settings{Callbacks: types.Callbacks{
		OnConnecting: func(*http.Request) types.ConnectionResponse {
			return types.ConnectionResponse{Accept: true, ConnectionCallbacks: types.ConnectionCallbacks{
				OnMessage: k.onMessage, OnConnectionClose: k.onClose,
			}}
		},
	}})
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", os.Getenv(agentsEnv))
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/opamp", handler)
	front := &http.Server{Handler: mux, ConnContext: connContext} //nolint:gosec // agents of this benchmark alone connect
	go func() { _ = front.Serve(listener) }()
	measured.Serve(measured.Settings{
		Addr: listener.Addr().String(),
		Counts: func() map[string]int64 {
			k.mu.Lock()
			defer k.mu.Unlock()
			return map[string]int64{countConnected: int64(len(k.agents)), countAsked: k.asked.Load()}
		},
	})
	_ = front.Close()
}

// place is where a server runs, again and again.
type place struct {
	b                *testing.B
	role             string
	agents, web, dir string
}

func newPlace(b *testing.B, role string) *place {
	return &place{b: b, role: role, agents: freeAddr(b), web: freeAddr(b), dir: b.TempDir()}
}

func (p *place) start() *measured.Child {
	p.b.Helper()
	return measured.Start(p.b, p.role, agentsEnv+"="+p.agents, webEnv+"="+p.web, databaseEnv+"="+p.dir+"/fleet.db")
}

// freeAddr is an address of loopback that nobody listens on.
func freeAddr(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer func() { require.NoError(b, l.Close()) }()
	return l.Addr().String()
}
