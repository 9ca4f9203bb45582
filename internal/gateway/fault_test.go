// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func TestUpstreamLossKeepsAgents(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	agents := make([]*testAgent, 40)
	for i := range agents {
		agents[i] = r.arrive()
	}
	p.kill()
	r.eventually(func() bool { return r.pool.connected.Load() == 0 }, "the loss goes unnoticed")

	_, resp, err := r.dial(nil)
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "newcomers are told to come back")
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	agents[0].send(&protobufs.AgentToServer{}) // into the void
	r.waitDropped(ReasonNoUpstream, 1)

	p.revive()
	for _, a := range agents {
		reply := a.receive()
		require.NotZero(t, reply.GetFlags()&uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState), "the server asks for everything")
		require.Equal(t, []string{"test.custom"}, reply.GetCustomCapabilities().GetCapabilities(), "it is another connection to the server")
		a.report()
		require.Zero(t, a.beat().GetFlags())
		p.push(a.uid, &protobufs.ServerToAgent{Flags: 4})
		require.Equal(t, uint64(4), a.receive().GetFlags())
	}
}

// An agent whose first message comes while there is no connection does not know that nobody has heard it.
func TestAgentThatCameDuringTheLossIsAnnounced(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	_ = r.arrive()
	a := r.connect(opampwire.NewInstanceUID())
	p.kill()
	r.eventually(func() bool { return r.pool.connected.Load() == 0 }, "the connection is there")
	a.send(described("agent"))
	r.waitDropped(ReasonNoUpstream, 1)
	p.revive()
	a.awaitFlags(uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState))
}

func TestLossOfOneUpstreamMovesItsAgents(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{MinConnections: 2}, p)
	agents := make([]*testAgent, 30)
	for i := range agents {
		agents[i] = r.arrive()
	}
	one := r.pool.all()[0]
	one.current.Load().end(io.ErrUnexpectedEOF)
	r.eventually(func() bool { return p.ever() == 3 && p.connections() == 2 }, "it does not come back")
	for _, a := range agents {
		r.eventually(func() bool { return p.connects(a.uid) }, "%s is not announced on the other one", a.uid)
		p.push(a.uid, &protobufs.ServerToAgent{Flags: 4})
		a.awaitFlags(4) // after the answer to the announcement
	}
}

func TestFrozenUpstreamIsFound(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := newPartner(t)
	frozen := make(chan struct{})
	through := make(chan net.Conn, 10)
	go func() { // a way to the partner that stops carrying anything
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", p.addr)
			if err != nil {
				return
			}
			through <- near
			through <- far
			go func() { _, _ = io.Copy(far, near) }()
			go func() { freeze(near, far, frozen) }()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		for len(through) > 0 {
			_ = (<-through).Close()
		}
	})
	set := Settings{UpstreamPing: time.Second}
	r := newRig(t, set, "ws://"+ln.Addr().String()+"/v1/opamp")
	r.eventually(func() bool { return r.pool.connected.Load() == 1 }, "no connection")
	l := r.pool.all()[0].current.Load()
	a := r.arrive()
	a.beat()
	close(frozen)
	<-l.gone
	require.ErrorIs(t, l.cause(), errSilent)
	require.LessOrEqual(t, time.Since(l.opened)-time.Duration(l.lastRead.Load()), patience)
}

// freeze copies until frozen, and reads nothing more then.
func freeze(to io.Writer, from net.Conn, frozen <-chan struct{}) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		select {
		case <-frozen:
			return
		default:
		}
		if err != nil {
			return
		}
		_, _ = to.Write(buf[:n])
	}
}

// stuckAgent connects, reports, and reads no more.
func stuckAgent(t *testing.T, r *rig) (opampwire.InstanceUID, *net.TCPConn) {
	t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	_, err = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	require.NoError(t, err)
	buf := make([]byte, 1000)
	_, err = nc.Read(buf)
	require.NoError(t, err)
	uid := opampwire.NewInstanceUID()
	_, err = nc.Write(clientFrame(opampwire.AppendHeartbeat(nil, uid, 1)))
	require.NoError(t, err)
	_, err = nc.Read(buf)
	require.NoError(t, err)
	return uid, nc.(*net.TCPConn)
}

// clientFrame is a masked binary frame.
func clientFrame(payload []byte) []byte {
	b := []byte{0x82, 0x80 | 126, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(len(payload)))
	return append(b, payload...)
}

func TestStuckAgentIsClosedAlone(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{WriteTimeout: patience, MaxQueuedBytes: 4 << 20}, p)
	other := r.arrive()
	uid, _ := stuckAgent(t, r)
	big := bytes.Repeat([]byte("x"), 1<<20)
	for range 20 {
		p.push(uid, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Data: big}})
		other.beat()
	}
	r.eventually(func() bool { return r.server.Stats().Connections == 1 }, "it is still there")
	r.waitDropped(ReasonAgentSlow, 1)
	other.beat()
	assert.Equal(t, 1, p.ever(), "the connection to the server is the same")
}

func TestHugeMessagesCostTheirSenderOnly(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MaxMessageSize: 1 << 20}, p)
	other := r.arrive()
	for name, frame := range map[string][]byte{
		"announced": {0x82, 0x80 | 127, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0}, // 512 MiB
		"endless":   {0x02, 0x80 | 127, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, nc := stuckAgent(t, r)
			_, err := nc.Write(frame)
			require.NoError(t, err)
			require.Equal(t, uint16(1009), readCloseCode(t, nc))
		})
	}
	other.beat()
	assert.Equal(t, 1, p.ever())
}

func readCloseCode(t *testing.T, nc net.Conn) uint16 {
	t.Helper()
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(patience)))
	all, err := io.ReadAll(nc)
	require.NoError(t, err)
	i := bytes.IndexByte(all, 0x88)
	require.GreaterOrEqual(t, i, 0)
	return binary.BigEndian.Uint16(all[i+2:])
}

// A server that closes the shared connection for one message is not given another like it.
func TestMessageThatCostAConnectionIsNotSentAgain(t *testing.T) {
	t.Parallel()
	p := newPartnerOf(t, 4<<20)
	r := connected(t, Settings{MaxMessageSize: 8 << 20}, p)
	other := r.arrive()
	send := func() *testAgent {
		a := r.arrive()
		frame := append(opampwire.AppendHeartbeat(nil, a.uid, 2), 0x3a, 0x80, 0x80, 0x80, 0x03) // remote_config_status of 6 MiB
		a.sendRaw(append(frame, make([]byte, 6<<20)...))
		return a
	}
	_ = send()
	r.eventually(func() bool { return r.pool.limit.Load() > 0 }, "the server takes 4 MiB")
	r.eventually(func() bool { return r.pool.connected.Load() == 1 }, "no connection")
	other.receive() // the announcement's answer
	other.report()
	ever := p.ever()
	send().requireClosed(websocket.StatusMessageTooBig)
	r.waitDropped(ReasonUpstreamLimit, 1)
	other.beat()
	assert.Equal(t, ever, p.ever())
}

func TestDeadAgentsAreSaidGoodbyeFor(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{Grace: 5 * time.Second}, p)
	var dead, quick, polite []*testAgent
	for range 20 {
		dead, quick, polite = append(dead, r.arrive()), append(quick, r.arrive()), append(polite, r.arrive())
	}
	for _, a := range dead {
		a.vanish()
	}
	for i, a := range quick {
		a.vanish()
		again := r.connect(a.uid)
		again.report()
		quick[i] = again
	}
	for _, a := range polite {
		a.say(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
		a.vanish()
	}
	for _, a := range dead {
		r.eventually(func() bool { return p.agent(a.uid).goodbyes == 1 }, "%s is not said goodbye for", a.uid)
		assert.Equal(t, uint64(2), p.agent(a.uid).seq, "its next number")
	}
	r.eventually(func() bool { n, _, _ := r.router.snapshot(); return n == len(quick) }, "who has gone is forgotten")
	for _, a := range quick {
		assert.Zero(t, p.agent(a.uid).goodbyes)
		a.beat()
	}
	for _, a := range polite {
		assert.Equal(t, 1, p.agent(a.uid).goodbyes, "its own")
	}
}

func TestShutdownSaysGoodbyeForNobody(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	a := r.arrive()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	a.requireClosed(websocket.StatusGoingAway)
	require.NoError(t, <-done)
	assert.Zero(t, p.agent(a.uid).goodbyes, "it comes back elsewhere")
}
