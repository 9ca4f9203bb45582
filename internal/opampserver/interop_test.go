// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"context"
	"testing"

	"github.com/coder/websocket"
	"github.com/lxzan/gws"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Two WebSocket clients that were written by others agree with our framing.

func TestInteropCoder(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	for name, mode := range map[string]websocket.CompressionMode{
		"plain": websocket.CompressionDisabled, "offers deflate": websocket.CompressionContextTakeover,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			ws, resp, err := websocket.Dial(ctx, "ws://"+r.addr+"/", &websocket.DialOptions{CompressionMode: mode})
			require.NoError(t, err)
			assert.Empty(t, resp.Header.Get("Sec-WebSocket-Extensions"))
			for _, size := range []int{100, 126, 5000, 70_000, 2 << 20} {
				require.NoError(t, ws.Write(ctx, websocket.MessageBinary, framed(t, sized(t, size))))
				kind, payload, err := ws.Read(ctx)
				require.NoError(t, err)
				assert.Equal(t, websocket.MessageBinary, kind)
				require.NoError(t, opampwire.ParseFrame(payload, new(protobufs.ServerToAgent)))
			}
			background := ws.CloseRead(ctx)
			require.NoError(t, ws.Ping(ctx))
			require.NoError(t, ws.Close(websocket.StatusNormalClosure, "done"))
			<-background.Done()
			<-h.closed
		})
	}
}

func TestInteropCoderIsToldGoingAway(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+r.addr+"/", nil)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	_, _, err = ws.Read(ctx)
	assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	require.NoError(t, <-done)
}

type gwsClient struct {
	gws.BuiltinEventHandler
	got    chan []byte
	closed chan error
}

func (c *gwsClient) OnMessage(_ *gws.Conn, m *gws.Message) {
	c.got <- append([]byte(nil), m.Bytes()...)
	_ = m.Close()
}

func (c *gwsClient) OnClose(_ *gws.Conn, err error) { c.closed <- err }

func TestInteropGWS(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	client := &gwsClient{got: make(chan []byte, 1), closed: make(chan error, 1)}
	ws, _, err := gws.NewClient(client, &gws.ClientOption{Addr: "ws://" + r.addr + "/", PermessageDeflate: gws.PermessageDeflate{Enabled: true}})
	require.NoError(t, err)
	go ws.ReadLoop()
	for _, size := range []int{100, 126, 5000, 70_000} {
		require.NoError(t, ws.WriteMessage(gws.OpcodeBinary, framed(t, sized(t, size))))
		require.NoError(t, opampwire.ParseFrame(<-client.got, new(protobufs.ServerToAgent)))
	}
	require.NoError(t, ws.WriteClose(1000, nil))
	<-client.closed
	<-h.closed
}
