// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserverextension

import (
	"context"
	"testing"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// A heartbeat from the wire through the fleet and back: the listener of confighttp, the
// frame, the fleet's bookkeeping, the answer. The client's cost is in the figure.
func BenchmarkHeartbeatThroughTheFleet(b *testing.B) {
	cfg := createDefaultConfig().(*Config)
	cfg.Agents.NetAddr.Endpoint, cfg.Web.NetAddr.Endpoint = "127.0.0.1:0", "127.0.0.1:0"
	s := newServer(cfg, nopSettings())
	require.NoError(b, s.Start(context.Background(), nopHost))
	defer func() { require.NoError(b, s.Shutdown(context.Background())) }()
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, s.agentsURL(), nil)
	require.NoError(b, err)
	defer func() { _ = ws.CloseNow() }()
	uid, seq := opampwire.NewInstanceUID(), uint64(0)
	var frame []byte
	beat := func(msg *protobufs.AgentToServer) {
		msg.InstanceUid, msg.SequenceNum = uid.Bytes(), seq
		seq++
		if frame, err = opampwire.AppendFrame(frame[:0], msg); err != nil {
			b.Fatal(err)
		}
		if err := ws.Write(ctx, websocket.MessageBinary, frame); err != nil {
			b.Fatal(err)
		}
		if _, _, err := ws.Read(ctx); err != nil {
			b.Fatal(err)
		}
	}
	beat(described("bench"))
	b.ReportAllocs()
	for b.Loop() {
		beat(new(protobufs.AgentToServer))
	}
}
