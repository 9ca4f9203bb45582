// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryMessageIsAnsweredInOrder(t *testing.T) {
	h := newEcho()
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		return &protobufs.ServerToAgent{InstanceUid: msg.GetInstanceUid(), Flags: msg.GetSequenceNum()}
	}
	r := newRig(t, Settings{}, h)
	p := r.connect()
	var all []byte
	for seq := range uint64(50) { // in one write: the server must not need one read a frame
		all = append(all, frame(true, opBinary, framed(t, message(seq)))...)
	}
	p.send(all)
	for seq := range uint64(50) {
		require.Equal(t, seq, p.reply().GetFlags())
	}
	stats := r.Stats()
	assert.Equal(t, int64(50), stats.WebSocketReceived.Messages)
	assert.Equal(t, int64(50), stats.WebSocketSent.Messages)
	assert.Positive(t, stats.WebSocketSent.Bytes)
	assert.Equal(t, int64(1), stats.Connections)
	from := h.peers()
	assert.Equal(t, from[0], from[49])
	assert.Equal(t, ConnInfo{ID: 1, Transport: TransportWebSocket, RemoteAddr: p.LocalAddr().String()}, from[0])
}

func TestNilReplyIsAnEmptyAnswer(t *testing.T) {
	h := newEcho()
	h.reply = func(*protobufs.AgentToServer) *protobufs.ServerToAgent { return nil }
	newRig(t, Settings{}, h).connect().requireAlive()
}

// Messages around every boundary of the two ways in which a payload is read.
func TestMessagesOfEverySize(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{MaxMessageSize: 300_000}, h)
	p := r.connect()
	sizes := []int{100, 124, 125, 126, 127, 497, 498, 499, 511, 512, 513, 4095, 4096, 4097, 65_534, 65_535, 65_536, 299_999, 300_000}
	for i, size := range sizes {
		want := sized(t, size)
		p.send(frame(true, opBinary, framed(t, want)))
		p.reply()
		assert.Equal(t, want.Health.LastError, h.messages()[i].GetHealth().GetLastError(), "%d bytes", size)
	}
	assert.Zero(t, r.budget.inUse(), "every buffer was released")
}

func TestFragmentsAreJoinedAndControlFramesMayComeBetween(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.connect()
	want := sized(t, 2000)
	payload := framed(t, want)
	p.send(frame(false, opBinary, nil))
	for i := 0; i < len(payload); i++ { // one byte a fragment
		p.send(frame(false, opContinuation, payload[i:i+1]))
		if i == 1000 {
			p.send(frame(true, opPing, []byte("still there")))
			p.send(frame(true, opPong, nil))
		}
	}
	p.send(frame(true, opContinuation, nil))
	op, pong, err := p.readFrame()
	require.NoError(t, err)
	assert.Equal(t, opPong, op)
	assert.Equal(t, "still there", string(pong))
	p.reply()
	assert.Equal(t, want.Health.LastError, h.messages()[0].GetHealth().GetLastError())
	p.requireAlive()
	assert.Zero(t, r.budget.inUse())
}

func TestPingFloodIsAnsweredAndHurtsNobodyElse(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	flooder, other := r.connect(), r.connect()
	go func() {
		flood := bytes.Repeat(frame(true, opPing, []byte("x")), 2000)
		_, _ = flooder.Write(flood)
	}()
	other.requireAlive()
	for range 2000 {
		op, payload, err := flooder.readFrame()
		require.NoError(t, err)
		require.Equal(t, opPong, op)
		require.Equal(t, "x", string(payload))
	}
	flooder.requireAlive()
}

func TestFramesThatCloseTheConnection(t *testing.T) {
	valid := frame(true, opBinary, framed(t, message(0)))
	with := func(i int, b byte) []byte { f := bytes.Clone(valid); f[i] = b; return f }
	tests := map[string]struct {
		in     []byte
		code   uint16
		reason Reason
	}{
		"text":                       {frame(true, opText, []byte("{}")), closeUnsupported, ReasonTextFrame},
		"unmasked":                   {with(1, valid[1]&0x7f), closeProtocol, ReasonProtocol},
		"rsv1 without deflate":       {with(0, valid[0]|0x40), closeProtocol, ReasonProtocol},
		"reserved opcode":            {with(0, 0x83), closeProtocol, ReasonProtocol},
		"continuation of nothing":    {frame(true, opContinuation, []byte{0}), closeProtocol, ReasonProtocol},
		"message within a message":   {append(frame(false, opBinary, []byte{0}), valid...), closeProtocol, ReasonProtocol},
		"ping in pieces":             {frame(false, opPing, nil), closeProtocol, ReasonProtocol},
		"close with code 1005":       {frame(true, opClose, binary.BigEndian.AppendUint16(nil, 1005)), closeProtocol, ReasonProtocol},
		"close with half a code":     {frame(true, opClose, []byte{3}), closeProtocol, ReasonProtocol},
		"close reason not UTF-8":     {frame(true, opClose, []byte{0x03, 0xe8, 0xff}), closeProtocol, ReasonProtocol},
		"length over the limit":      {[]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 1, 2, 3, 4}, closeTooBig, ReasonTooLarge},
		"length of 2^63":             {[]byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, closeProtocol, ReasonProtocol},
		"length of -256":             {[]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4}, closeProtocol, ReasonProtocol},
		"fragments over the limit":   {append(frame(false, opBinary, make([]byte, 60_000)), frame(false, opContinuation, make([]byte, 60_000))...), closeTooBig, ReasonTooLarge},
		"one byte over the limit":    {frame(true, opBinary, framed(t, sized(t, 100_001))), closeTooBig, ReasonTooLarge},
		"three malformed in a row":   {bytes.Repeat(frame(true, opBinary, []byte{0, 0xff}), 3), closeInvalidData, ReasonMalformedTooMany},
		"three without instance uid": {bytes.Repeat(frame(true, opBinary, []byte{0}), 3), closeInvalidData, ReasonMalformedTooMany},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newEcho()
			r := newRig(t, Settings{MaxMessageSize: 100_000}, h)
			other, p := r.connect(), r.connect()
			p.send(tt.in)
			p.requireClose(tt.code)
			assert.Equal(t, int64(1), r.Stats().Rejected[tt.reason])
			assert.Equal(t, uint64(2), (<-h.closed).ID)
			other.requireAlive()
			assert.Zero(t, r.budget.inUse())
		})
	}
}

// A peer that is still sending its 8 MiB when the 1009 leaves must be able to read it.
func TestCloseReachesAPeerInTheMiddleOfItsMessage(t *testing.T) {
	r := newRig(t, Settings{MaxMessageSize: 1000, CloseTimeout: patience}, newEcho())
	p := r.connect()
	go func() {
		_, _ = p.Write(frame(true, opBinary, make([]byte, 8<<20)))
		_ = p.Conn.(*net.TCPConn).CloseWrite()
	}()
	assert.Equal(t, "message of more than 1000 bytes", p.requireClose(closeTooBig))
}

func TestMalformedMessagesAreAnsweredWithWhatIsWrong(t *testing.T) {
	deep := &protobufs.ComponentHealth{}
	for range 3000 {
		deep = &protobufs.ComponentHealth{ComponentHealthMap: map[string]*protobufs.ComponentHealth{"c": deep}}
	}
	uid := func(b []byte) []byte { return framed(t, &protobufs.AgentToServer{InstanceUid: b}) }
	tests := map[string]struct {
		payload []byte
		want    string // in the error message; empty: accepted
		reason  Reason
	}{
		"no bytes":           {nil, "without a complete header", ReasonMalformed},
		"header one":         {[]byte{1}, "header is 1", ReasonMalformed},
		"unfinished header":  {[]byte{0x80}, "without a complete header", ReasonMalformed},
		"endless header":     {bytes.Repeat([]byte{0xff}, 10), "header", ReasonMalformed},
		"truncated":          {framed(t, message(1<<40))[:12], "malformed", ReasonMalformed},
		"garbage":            {[]byte("\x00hello"), "malformed", ReasonMalformed},
		"string not UTF-8":   {append(framed(t, message(0)), 0x1a, 5, 0x0a, 3, 0x0a, 1, 0xff), "malformed", ReasonMalformed},
		"uid absent":         {[]byte{0}, "instance", ReasonBadInstanceUID},
		"uid of 15 bytes":    {uid(make([]byte, 15)), "instance", ReasonBadInstanceUID},
		"uid of 17 bytes":    {uid(bytes.Repeat([]byte{1}, 17)), "instance", ReasonBadInstanceUID},
		"uid as ULID text":   {uid([]byte("01ARZ3NDEKTSV4RRFFQ69G5FAV")), "instance", ReasonBadInstanceUID},
		"uid all zero":       {uid(make([]byte, 16)), "instance", ReasonBadInstanceUID},
		"header of 2 bytes":  {append([]byte{0x80}, framed(t, message(0))...), "", ""},
		"unknown field":      {append(framed(t, message(0)), 0xfa, 0xff, 0x03, 1, 'x'), "", ""},
		"3000 levels deep":   {framed(t, &protobufs.AgentToServer{InstanceUid: agentUID.Bytes(), Health: deep}), "", ""},
		"seq of 2^64-1":      {framed(t, message(1<<64-1)), "", ""},
		"two uids, last one": {append(uid(bytes.Repeat([]byte{7}, 16)), encoded(t, message(0))...), "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Settings{}, newEcho())
			p := r.connect()
			p.send(frame(true, opBinary, tt.payload))
			reply := p.reply()
			if tt.want == "" {
				assert.Nil(t, reply.GetErrorResponse())
				assert.Equal(t, agentUID.Bytes(), reply.GetInstanceUid())
				return
			}
			assert.Contains(t, reply.GetErrorResponse().GetErrorMessage(), tt.want)
			assert.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest, reply.GetErrorResponse().GetType())
			assert.Zero(t, reply.GetCapabilities(), "nothing else beside an error")
			assert.Equal(t, int64(1), r.Stats().Rejected[tt.reason])
			p.requireAlive()
		})
	}
}

// What one agent behind a relay sends costs the others nothing, and the answer says whose it was.
func TestBadMessagesOfOneAgentOfManyCloseNothing(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	bad := append([]byte{0}, encoded(t, &protobufs.AgentToServer{InstanceUid: bytes.Repeat([]byte{9}, 16)})...)
	bad = append(bad, 0x1a, 5, 0x0a, 3, 0x0a, 1, 0xff)
	p := r.connect()
	p.requireAlive() // an agent
	for range 5 * maxMalformed {
		p.send(frame(true, opBinary, bad))
		reply := p.reply()
		require.Equal(t, bytes.Repeat([]byte{9}, 16), reply.GetInstanceUid())
		require.NotNil(t, reply.GetErrorResponse())
	}
	p.requireAlive()

	alone := r.connect()
	for range maxMalformed {
		alone.send(frame(true, opBinary, bad))
	}
	for range maxMalformed {
		require.NotNil(t, alone.reply().GetErrorResponse())
	}
	alone.requireClose(closeInvalidData)
}

func TestOneGoodMessageForgivesTheBadOnesBefore(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	p := r.connect()
	for range 4 {
		for range maxMalformed - 1 {
			p.send(frame(true, opBinary, []byte{0}))
			require.NotNil(t, p.reply().GetErrorResponse())
		}
		p.requireAlive()
	}
}

func TestCloseFramesAreAnsweredInKind(t *testing.T) {
	tests := map[string]struct{ sent, want []byte }{
		"normal":  {closePayload(1000, "done"), []byte{0x03, 0xe8}},
		"empty":   {nil, []byte{}},
		"private": {closePayload(4321, ""), []byte{0x10, 0xe1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newEcho()
			r := newRig(t, Settings{}, h)
			p := r.connect()
			p.send(frame(true, opClose, tt.sent))
			op, payload, err := p.readFrame()
			require.NoError(t, err)
			assert.Equal(t, opClose, op)
			assert.Equal(t, tt.want, payload)
			<-h.closed
			r.eventually(func() bool { return r.Stats().Connections == 0 }, "slot is free")
			for reason, n := range r.Stats().Rejected {
				assert.Zero(t, n, reason)
			}
		})
	}
}

func TestGoodbyeThenCloseReachesTheHandlerInThatOrder(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.connect()
	bye := message(9)
	bye.AgentDisconnect = &protobufs.AgentDisconnect{}
	p.send(append(frame(true, opBinary, framed(t, bye)), frame(true, opClose, closePayload(1000, ""))...))
	<-h.closed
	require.Len(t, h.messages(), 1)
	assert.NotNil(t, h.messages()[0].GetAgentDisconnect())
}

func TestResetEndsTheConnectionQuietly(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	for i := range 20 {
		p := r.connect()
		if i%2 == 0 {
			p.send(frame(true, opBinary, framed(t, message(0)))[:7]) // in the middle of a frame
		}
		require.NoError(t, p.Conn.(*net.TCPConn).SetLinger(0))
		require.NoError(t, p.Close())
		<-h.closed
	}
	r.eventually(func() bool { return r.Stats().Connections == 0 }, "slots are free")
	assert.Zero(t, r.budget.inUse())
}

func TestHeaderThatAnnouncesTheLimitCostsNothing(t *testing.T) {
	r := newRig(t, Settings{}, newEcho())
	for range 50 {
		p := r.connect()
		p.send([]byte{0x82, 0xff, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4}) // 64 MiB to come
		p.send(make([]byte, 10_000))
	}
	r.eventually(func() bool { return r.budget.inUse() >= 50*10_000 }, "all is read")
	assert.LessOrEqual(t, r.budget.inUse(), int64(50*2*10_000), "at most twice of what arrived")
}

func TestBytesInFlightAreBoundedOverAllConnections(t *testing.T) {
	r := newRig(t, Settings{MaxMessageSize: 1_000_000, MaxBufferedBytes: 1_600_000}, newEcho())
	holder := r.connect()
	whole := frame(true, opBinary, framed(t, sized(t, 900_000)))
	holder.send(whole[:len(whole)-1])
	r.eventually(func() bool { return r.budget.inUse() >= 890_000 }, "the first is buffered")
	late := r.connect()
	late.send(whole)
	late.requireClose(closeTryAgainLater)
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonMemory])
	r.connect().requireAlive() // small messages need no buffer
	holder.send(whole[len(whole)-1:])
	holder.reply()
	again := r.connect()
	again.send(whole)
	again.reply()
}

func TestConnectionsAreBoundedBeforeTheUpgrade(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{MaxConnections: 2}, h)
	first, _ := r.connect(), r.connect()
	resp := r.dial().request(handshakeRequest + "\r\n")
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, wait, 30)
	assert.Less(t, wait, 60)
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonMaxConnections])
	require.NoError(t, first.Close())
	<-h.closed
	r.eventually(func() bool { return r.Stats().Connections == 1 }, "slot is free")
	r.connect().requireAlive()
}

func TestHandshakesThatAreRefused(t *testing.T) {
	swap := func(old, with string) string { return strings.Replace(handshakeRequest, old, with, 1) }
	tests := map[string]struct {
		head   string
		status int
		reason Reason
	}{
		"plain GET":           {"GET / HTTP/1.1\r\nHost: x\r\n", http.StatusUpgradeRequired, ReasonUpgradeRequired},
		"upgrade to h2c":      {swap("Upgrade: websocket", "Upgrade: h2c"), http.StatusUpgradeRequired, ReasonUpgradeRequired},
		"version 8":           {swap("Version: 13", "Version: 8"), http.StatusUpgradeRequired, ReasonHandshake},
		"no key":              {swap("Sec-WebSocket-Key", "X-Key"), http.StatusBadRequest, ReasonHandshake},
		"short key":           {swap("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), http.StatusBadRequest, ReasonHandshake},
		"body that stays out": {handshakeRequest + "Content-Length: 2\r\n", http.StatusBadRequest, ReasonHandshake},
		"page of other host":  {handshakeRequest + "Origin: http://evil.test\r\n", http.StatusForbidden, ReasonOrigin},
		"opaque origin":       {handshakeRequest + "Origin: null\r\n", http.StatusForbidden, ReasonOrigin},
		"HTTP/1.0":            {swap("HTTP/1.1", "HTTP/1.0"), http.StatusSwitchingProtocols, ""},
		"own origin":          {handshakeRequest + "Origin: http://AGENTS.test\r\n", http.StatusSwitchingProtocols, ""},
		"any case":            {swap("Upgrade: websocket", "upgrade: WebSocket"), http.StatusSwitchingProtocols, ""},
		"offers deflate":      {handshakeRequest + "Sec-WebSocket-Extensions: permessage-deflate\r\n", http.StatusSwitchingProtocols, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Settings{}, newEcho())
			p := r.dial()
			resp := p.request(tt.head + "\r\n")
			assert.Equal(t, tt.status, resp.StatusCode)
			if tt.reason != "" {
				assert.Equal(t, int64(1), r.Stats().Rejected[tt.reason])
				return
			}
			assert.Empty(t, resp.Header.Get("Sec-WebSocket-Extensions"), "deflate would let a bomb past the limit")
			p.requireAlive()
		})
	}
}

func TestFramesBeforeTheAnswerToTheHandshakeAreRefused(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.dial()
	p.send(append([]byte(handshakeRequest+"\r\n"), frame(true, opBinary, framed(t, message(0)))...))
	_, _ = p.in.ReadByte() // closed, or reset
	r.waitRejected(ReasonEarlyData, 1)
	r.eventually(func() bool { return r.Stats().Connections == 0 }, "slot is free")
	assert.Empty(t, h.messages())
}

func TestHeadersOfAMiddlewareStandInTheHandshake(t *testing.T) {
	s := New(Settings{}, newEcho())
	front := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Served-By", "a\r\nb")
		s.ServeHTTP(w, req)
	})
	r := &rig{Server: s, t: t, addr: serve(t, s, front)}
	p := r.dial()
	resp := p.request(handshakeRequest + "\r\n")
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	assert.Equal(t, "a  b", resp.Header.Get("X-Served-By"), "and cannot split it")
	p.requireAlive()
}

func TestPeerThatNeverReadsIsClosedAndDelaysNobody(t *testing.T) {
	h := newEcho()
	big := make([]byte, 1<<20)
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		if msg.GetSequenceNum() != 1 { // not what requireAlive sends
			return &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Data: big}}
		}
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{WriteTimeout: 300 * time.Millisecond}, h)
	stuck, other := r.connect(), r.connect()
	one := frame(true, opBinary, framed(t, message(0)))
	go func() {
		for {
			if _, err := stuck.Write(one); err != nil {
				return
			}
		}
	}()
	r.eventually(func() bool { other.requireAlive(); return r.Stats().Rejected[ReasonWriteTimeout] > 0 }, "write deadline")
	assert.Equal(t, uint64(1), (<-h.closed).ID)
	other.requireAlive()
}

func TestUnsendableRepliesAreDroppedAndCounted(t *testing.T) {
	h := newEcho()
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		switch msg.GetSequenceNum() {
		case 10:
			return &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Data: make([]byte, 2000)}}
		case 11:
			return &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Type: "\xff"}}
		}
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{MaxMessageSize: 1000}, h)
	p := r.connect()
	p.report(10)
	p.report(11)
	p.requireAlive() // the next thing it reads is the answer to this one
	assert.Equal(t, int64(2), r.Stats().Rejected[ReasonReply])
}

func TestPanicCostsOneConnectionOnly(t *testing.T) {
	h := newEcho()
	h.reply = func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
		if msg.GetSequenceNum() == 13 {
			panic("unforeseen")
		}
		return acknowledgement(msg)
	}
	r := newRig(t, Settings{}, h)
	p, other := r.connect(), r.connect()
	p.report(13)
	p.requireClose(closeInternalError)
	assert.Equal(t, uint64(1), (<-h.closed).ID)
	assert.Equal(t, int64(1), r.Stats().Rejected[ReasonPanic])
	other.requireAlive()
}

// Thousands of uids on one connection are the Handler's concern; here they only have to pass.
func TestManyAgentsShareAConnection(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.connect()
	var all []byte
	for i := range uint64(5000) {
		var uid [16]byte
		binary.BigEndian.PutUint64(uid[8:], i+1)
		all = append(all, frame(true, opBinary, framed(t, &protobufs.AgentToServer{InstanceUid: uid[:]}))...)
	}
	go func() { _, _ = p.Write(all) }()
	for i := range uint64(5000) {
		require.Equal(t, i+1, binary.BigEndian.Uint64(p.reply().GetInstanceUid()[8:]))
	}
}

func TestStormOfConnectionsLeavesNothingBehind(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	const n = 300
	for i := range n {
		p := r.connect()
		if i%3 == 0 {
			p.report(1)
		}
		require.NoError(t, p.Close())
	}
	for range n {
		<-h.closed
	}
	r.eventually(func() bool { return r.Stats().Connections == 0 }, "slots are free")
}

// Some clients cut messages into frames of 4 KiB. Room is made for more than the next one.
func TestManyFragmentsAreNotCopiedForEachOther(t *testing.T) {
	h := newEcho()
	r := newRig(t, Settings{}, h)
	p := r.connect()
	payload := framed(t, sized(t, 8<<20))
	before := allocated()
	for op := opBinary; len(payload) > 0; op = opContinuation {
		n := min(4<<10, len(payload))
		p.send(frame(n == len(payload), op, payload[:n]))
		payload = payload[n:]
	}
	p.reply()
	require.Less(t, allocated()-before, uint64(200<<20), "bytes, both ends and the decoded message")
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
