// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Agents that come, speak and go are what a server is for: that is worth no line, at any level.
func TestMessagesAreNotLogged(t *testing.T) {
	core, logged := observer.New(zapcore.DebugLevel)
	set := nopSettings()
	set.Logger = zap.New(core)
	s := newServer(configOf(t, ""), set)
	require.NoError(t, s.Start(context.Background(), nopHost))
	t.Cleanup(func() { require.NoError(t, s.Shutdown(context.Background())) })
	before := logged.Len()
	for range 20 {
		a := connect(t, s)
		a.say(described("quiet"))
		for i := range 50 {
			a.say(&protobufs.AgentToServer{Health: &protobufs.ComponentHealth{Healthy: i%2 == 0}})
			a.say(&protobufs.AgentToServer{})
		}
		require.NoError(t, a.ws.CloseNow())
	}
	for _, entry := range logged.All()[before:] {
		t.Errorf("%s: %s", entry.Level, entry.Message)
	}
}

// A switch that fails takes a thousand connections with it: each is reset, and nobody says why.
func TestAThousandConnectionsThatBreakAtOnceAreAllLost(t *testing.T) {
	const n, polite = 1_000, 100
	s := start(t, "", nopHost)
	raw := make([]*net.TCPConn, n)
	agents := make([]*agent, n)
	for i := range agents {
		agents[i], raw[i] = connectTCP(t, s)
		agents[i].say(described("crowd"))
		if i < polite {
			agents[i].say(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
		}
	}
	watcher := s.fleet.Watch()
	defer watcher.Close()
	var all sync.WaitGroup
	for _, conn := range raw {
		all.Go(func() {
			_ = conn.SetLinger(0)
			_ = conn.Close()
		})
	}
	all.Wait()
	for s.fleet.Stats().Agents[fleet.LivenessLost] < n-polite {
		<-watcher.C
	}
	assert.Equal(t, polite, s.fleet.Stats().Agents[fleet.LivenessGoodbye])
	assert.Zero(t, s.fleet.Stats().Agents[fleet.LivenessConnected])
	require.Eventually(t, func() bool { return s.load().Connections == 0 }, patience, patience/1000, "no place is held by who is gone")
}
