// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampclient"
	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// reception tells a fleet what agents say.
type reception struct{ *fleet.Fleet }

func (r reception) OnMessage(_ context.Context, c opampserver.ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	return r.Report(fleet.Conn(c), msg, time.Now())
}

func (r reception) OnClose(c opampserver.ConnInfo) { r.Disconnected(fleet.Conn(c), time.Now()) }

// Our own agent, over both transports, through the gateway to our own server.
func TestOwnAgentAndServer(t *testing.T) {
	f := fleet.New(fleet.Settings{})
	s := opampserver.New(opampserver.Settings{}, reception{f})
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		web.Close()
	})
	r := newRig(t, Settings{MinConnections: 2, Grace: 100 * time.Millisecond}, "ws://"+web.Listener.Addr().String()+"/v1/opamp")
	for _, scheme := range []string{"ws", "http"} {
		t.Run(scheme, func(*testing.T) {
			uid := opampwire.NewInstanceUID()
			c := opampclient.New(opampclient.Settings{
				Endpoint:        &url.URL{Scheme: scheme, Host: r.addr, Path: "/v1/opamp"},
				PollingInterval: 50 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond,
			}, opampclient.Report{
				InstanceUID: uid,
				Capabilities: protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
					protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat | protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth,
				Description: described("ours").GetAgentDescription(),
				Health:      &protobufs.ComponentHealth{Healthy: true},
			})
			c.Start()
			r.eventually(func() bool {
				a, known := f.Agent(uid)
				return known && a.Liveness == fleet.LivenessConnected
			}, "the server does not know it")
			before := r.up.messages.Load()
			r.eventually(func() bool { return r.up.messages.Load() > before+5 }, "it does not beat")
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c.Stop(ctx)
			r.eventually(func() bool { a, _ := f.Agent(uid); return a.Liveness == fleet.LivenessGoodbye }, "it is still there")
		})
	}
	assert.Zero(t, f.Stats().FullStateRequests, "nothing is lost on the way")
	assert.Zero(t, f.Stats().Duplicates)
}
