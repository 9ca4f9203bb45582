// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// patience is how long a test waits for what must come. It is no measure of anything.
const patience = time.Minute

var agentUID = opampwire.InstanceUID{0x01, 0x98, 15: 1}

// echo answers with the agent's uid and AcceptsStatus, and keeps what it was told.
type echo struct {
	mu     sync.Mutex
	got    []*protobufs.AgentToServer // guarded by mu
	from   []ConnInfo                 // guarded by mu
	closed chan ConnInfo
	reply  func(*protobufs.AgentToServer) *protobufs.ServerToAgent // nil: acknowledge
}

func newEcho() *echo { return &echo{closed: make(chan ConnInfo, 10_000)} }

func (e *echo) OnMessage(_ context.Context, c ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	e.mu.Lock()
	e.got = append(e.got, msg)
	e.from = append(e.from, c)
	e.mu.Unlock()
	if e.reply != nil {
		return e.reply(msg)
	}
	return acknowledgement(msg)
}

func (e *echo) OnClose(c ConnInfo) { e.closed <- c }

func (e *echo) messages() []*protobufs.AgentToServer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got
}

func (e *echo) peers() []ConnInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.from
}

func acknowledgement(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{
		InstanceUid:  msg.GetInstanceUid(),
		Capabilities: uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus),
	}
}

// rig is a Server behind an http.Server on loopback.
type rig struct {
	*Server
	t    *testing.T
	addr string
}

func newRig(t *testing.T, settings Settings, h Handler) *rig {
	t.Helper()
	s := New(settings, h)
	return &rig{Server: s, t: t, addr: serve(t, s, s)}
}

// waitRejected waits until reason has been counted n times.
func (r *rig) waitRejected(reason Reason, n int64) {
	r.t.Helper()
	r.eventually(func() bool { return r.Stats().Rejected[reason] >= n }, "%d × %s", n, reason)
}

func (r *rig) eventually(ok func() bool, format string, args ...any) {
	r.t.Helper()
	require.Eventuallyf(r.t, ok, patience, time.Millisecond, format, args...)
}

const handshakeRequest = "GET / HTTP/1.1\r\nHost: agents.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// peer is a WebSocket client that writes whatever bytes a test wants.
type peer struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// dial opens a TCP connection to the rig.
func (r *rig) dial() *peer {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = nc.Close() })
	require.NoError(r.t, nc.SetDeadline(time.Now().Add(patience)))
	return &peer{t: r.t, Conn: nc, in: bufio.NewReader(nc)}
}

// connect opens a WebSocket.
func (r *rig) connect() *peer {
	r.t.Helper()
	p := r.dial()
	resp := p.request(handshakeRequest + "\r\n")
	require.Equal(r.t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Equal(r.t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"), "the example of RFC 6455 section 1.3")
	require.Empty(r.t, resp.Header.Get("Sec-WebSocket-Extensions"))
	return p
}

// request writes raw bytes and reads a response's head.
func (p *peer) request(raw string) *http.Response {
	p.t.Helper()
	p.send([]byte(raw))
	return p.response()
}

func (p *peer) response() *http.Response {
	p.t.Helper()
	resp, err := http.ReadResponse(p.in, nil)
	require.NoError(p.t, err)
	return resp
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	_, err := p.Write(b)
	require.NoError(p.t, err)
}

// frame is a client's frame with a mask that is not all zero.
func frame(fin bool, op opcode, payload []byte) []byte {
	b := []byte{byte(op), 0}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n <= 125:
		b[1] = byte(n)
	case n <= 0xffff:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b[1] |= 0x80
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

func message(seq uint64) *protobufs.AgentToServer {
	return &protobufs.AgentToServer{InstanceUid: agentUID.Bytes(), SequenceNum: seq}
}

// sized is a message whose encoding has exactly size bytes.
func sized(t *testing.T, size int) *protobufs.AgentToServer {
	t.Helper()
	msg := message(0)
	msg.Health = &protobufs.ComponentHealth{}
	msg.Health.LastError = strings.Repeat("e", size-30)
	for len(encoded(t, msg)) < size {
		msg.Health.LastError += "e"
	}
	require.Len(t, encoded(t, msg), size)
	return msg
}

// encoded is the body of an HTTP exchange, framed the payload of a frame.
func encoded(t testing.TB, msg *protobufs.AgentToServer) []byte { return framed(t, msg)[1:] }

func framed(t testing.TB, msg *protobufs.AgentToServer) []byte {
	t.Helper()
	b, err := opampwire.AppendFrame(nil, msg)
	require.NoError(t, err)
	return b
}

func (p *peer) report(seq uint64) {
	p.t.Helper()
	p.send(frame(true, opBinary, framed(p.t, message(seq))))
}

// readFrame reads one frame of the server, which must not be masked.
func (p *peer) readFrame() (opcode, []byte, error) {
	head := make([]byte, 2, 10)
	if _, err := io.ReadFull(p.in, head); err != nil {
		return 0, nil, err
	}
	require.Equal(p.t, byte(0x80), head[0]&0xf0, "the server neither fragments nor uses extensions")
	require.Zero(p.t, head[1]&0x80, "a server does not mask")
	length := int(head[1])
	if extra := wsframe.ExtendedLength(head[1]); extra > 0 {
		rest := make([]byte, 8)
		if _, err := io.ReadFull(p.in, rest[8-extra:]); err != nil {
			return 0, nil, err
		}
		length = int(binary.BigEndian.Uint64(rest))
	}
	payload := make([]byte, length)
	_, err := io.ReadFull(p.in, payload)
	return opcode(head[0] & 0x0f), payload, err
}

// reply reads the answer to a message.
func (p *peer) reply() *protobufs.ServerToAgent {
	p.t.Helper()
	op, payload, err := p.readFrame()
	require.NoError(p.t, err)
	require.Equal(p.t, opBinary, op)
	msg := new(protobufs.ServerToAgent)
	require.NoError(p.t, opampwire.ParseFrame(payload, msg))
	return msg
}

// requireAlive proves that the connection still serves.
func (p *peer) requireAlive() {
	p.t.Helper()
	p.report(1)
	require.Equal(p.t, agentUID.Bytes(), p.reply().GetInstanceUid())
}

// requireClose reads up to the server's Close frame and the end of the connection.
func (p *peer) requireClose(code uint16) string {
	p.t.Helper()
	for {
		op, payload, err := p.readFrame()
		require.NoError(p.t, err, "the server must say why it closes")
		if op != opClose {
			continue
		}
		require.GreaterOrEqual(p.t, len(payload), 2)
		require.Equal(p.t, code, binary.BigEndian.Uint16(payload), string(payload[2:]))
		_, _, err = p.readFrame()
		require.ErrorIs(p.t, err, io.EOF)
		_ = p.Close()
		return string(payload[2:])
	}
}

// serve puts front on loopback for the length of the test and shuts s down after it.
func serve(t *testing.T, s *Server, front http.Handler) string {
	t.Helper()
	web := httptest.NewServer(front)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		web.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return web.Listener.Addr().String()
}
