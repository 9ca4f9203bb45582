// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// requireUnharmed shows that an agent is served as before, on the connection to the server that there was.
func requireUnharmed(t *testing.T, p *partner, other *testAgent) {
	t.Helper()
	require.Zero(t, other.beat().GetFlags())
	require.Equal(t, 1, p.ever(), "the connection to the server is the same")
}

// agentFrame is a frame as an agent sends it, with any first byte.
func agentFrame(first byte, payload []byte) []byte {
	b := wsframe.AppendMasked(nil, wsframe.OpBinary, [4]byte{1, 2, 3, 4}, payload)
	b[0] = first
	return b
}

// What breaks the framing ends its own connection.
func TestHostileFrames(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MaxMessageSize: 1 << 20}, p)
	other := r.arrive()
	beat := opampwire.AppendHeartbeat(nil, opamp(1), 1)
	long := bytes.Repeat([]byte{'x'}, 100)
	for name, tt := range map[string]struct {
		bytes []byte
		code  uint16
	}{
		"text":                   {agentFrame(0x81, []byte("{}")), 1003},
		"unmasked":               {serverFrame(0x82, beat), 1002},
		"RSV1 without deflate":   {agentFrame(0xc2, beat), 1002},
		"reserved opcode":        {agentFrame(0x83, beat), 1002},
		"continues nothing":      {agentFrame(0x80, beat), 1002},
		"begins twice":           {append(agentFrame(0x02, beat), agentFrame(0x82, beat)...), 1002},
		"ping in pieces":         {agentFrame(0x09, nil), 1002},
		"ping of 126 bytes":      {agentFrame(0x89, make([]byte, 126)), 1002},
		"close with code 1005":   {agentFrame(0x88, []byte{3, 0xed}), 1002},
		"close with half a code": {agentFrame(0x88, []byte{3}), 1002},
		"reason is not UTF-8":    {agentFrame(0x88, []byte{3, 0xe8, 0xff}), 1002},
		"negative length":        {[]byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1002},
		"one more than may":      {agentFrame(0x82, make([]byte, 1<<20+2)), 1009},
		"too much in pieces":     {append(agentFrame(0x02, make([]byte, 1<<19)), agentFrame(0x80, make([]byte, 1<<19+2))...), 1009},
		"three malformed":        {bytes.Repeat(agentFrame(0x82, append([]byte{0, 0xff}, long...)), 3), 1007},
	} {
		t.Run(name, func(t *testing.T) {
			_, nc := stuckAgent(t, r)
			_, _ = nc.Write(tt.bytes) // which it need not read to the end
			require.Equal(t, tt.code, readCloseCode(t, nc))
			requireUnharmed(t, p, other)
		})
	}
	t.Run("pings without end, and a message of one-byte frames", func(t *testing.T) {
		_, nc := stuckAgent(t, r)
		go func() { _, _ = io.Copy(io.Discard, nc) }()
		uid := opampwire.NewInstanceUID()
		pieces := agentFrame(0x02, nil)
		for _, b := range opampwire.AppendHeartbeat(nil, uid, 1) {
			pieces = append(append(pieces, agentFrame(0x89, []byte("ping"))...), agentFrame(0x00, []byte{b})...)
		}
		_, err := nc.Write(append(bytes.Repeat(agentFrame(0x89, nil), 5000), append(pieces, agentFrame(0x80, nil)...)...))
		require.NoError(t, err)
		r.eventually(func() bool { return p.agent(uid).messages == 1 }, "its message does not arrive")
		requireUnharmed(t, p, other)
	})
}

// Whom a message is of can't be in doubt, and what else is in it does not matter.
func TestWhatIsForwardedAsItIs(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	a := r.arrive()
	a.beat()
	for _, seq := range []uint64{0, 0, 1, 1, 7, 3, math.MaxUint64, 0, math.MaxInt64} { // numbers are between agent and server
		a.seq = seq - 1
		a.beat()
		require.Equal(t, seq, p.agent(a.uid).seq)
	}
	odd := []*protobufs.AgentToServer{
		{Capabilities: math.MaxUint64},
		{AvailableComponents: &protobufs.AvailableComponents{Hash: make([]byte, 1<<16)}},
		{ConnectionSettingsRequest: &protobufs.ConnectionSettingsRequest{Opamp: &protobufs.OpAMPConnectionSettingsRequest{
			CertificateRequest: &protobufs.CertificateRequest{Csr: []byte("csr")},
		}}},
		{CustomMessage: &protobufs.CustomMessage{Capability: "nobody's", Data: make([]byte, 1<<16)}},
		{PackageStatuses: &protobufs.PackageStatuses{ErrorMessage: "<script>\x1b[2J\r\n\x00" + strings.Repeat("%s", 100)}},
	}
	for _, msg := range odd {
		a.say(msg)
		got := p.agent(a.uid).lastMsg
		require.True(t, proto.Equal(msg, got), "%.100s\n%.100s", msg, got)
	}
	unknown := append(opampwire.AppendHeartbeat(nil, a.uid, a.seq+1), 0xfa, 0xff, 0x03, 1, 'x') // field 8191
	a.sendRaw(unknown)
	a.receive()
	require.Equal(t, []byte{0xfa, 0xff, 0x03, 1, 'x'}, []byte(p.agent(a.uid).lastMsg.ProtoReflect().GetUnknown()))

	uids := map[opampwire.InstanceUID]bool{}
	for range r.set.MaxPerConnection - 1 { // its instance UID changes all the time
		a.uid = opampwire.NewInstanceUID()
		a.report()
		uids[a.uid] = true
	}
	for uid := range uids {
		require.Equal(t, 1, p.agent(uid).messages)
	}
	assert.Zero(t, sum(r.drop.counts()))
}

// However many instance UIDs one connection makes up, it has a few, and is closed when it does not read the answers as
// fast.
func TestConnectionThatMakesUpInstanceUIDs(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	other, a := r.arrive(), r.connect(opamp(1))
	a.attend()
	for i := range 5000 {
		if a.ws.Write(t.Context(), websocket.MessageBinary, opampwire.AppendHeartbeat(nil, opampwire.NewInstanceUID(), uint64(i))) != nil {
			break
		}
	}
	r.waitDropped(ReasonConnectionFull, 1)
	n, _, _ := r.router.snapshot()
	assert.LessOrEqual(t, n, r.set.MaxPerConnection+1)
	requireUnharmed(t, p, other)
}

// What is wrong with a request over plain HTTP is said by its status, and the rest go on.
func TestHostileRequests(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MaxMessageSize: 1 << 20}, p)
	other := r.arrive()
	good, err := proto.Marshal(&protobufs.AgentToServer{InstanceUid: opamp(1).Bytes()})
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		method, header, value string
		body                  []byte
		status                int
	}{
		"PUT":              {http.MethodPut, "Content-Type", mediaType, good, 405},
		"GET":              {http.MethodGet, "", "", nil, 426},
		"JSON":             {http.MethodPost, "Content-Type", "application/json", good, 415},
		"no type":          {http.MethodPost, "", "", good, 415},
		"brotli":           {http.MethodPost, "Content-Encoding", "br", good, 415},
		"gzip twice":       {http.MethodPost, "Content-Encoding", "gzip, gzip", good, 415},
		"not gzip":         {http.MethodPost, "Content-Encoding", "gzip", good, 400},
		"of another page":  {http.MethodPost, "Origin", "http://evil.test", good, 403},
		"too large":        {http.MethodPost, "Content-Type", mediaType, make([]byte, 1<<20+1), 413},
		"empty":            {http.MethodPost, "Content-Type", mediaType, nil, 400},
		"two UIDs":         {http.MethodPost, "Content-Type", mediaType, append(bytes.Clone(good), good...), 400},
		"of another agent": {http.MethodPost, "OpAMP-Instance-UID", opamp(2).String(), good, 200}, // a hint for balancers: the message says whose it is
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, "http://"+r.addr+"/v1/opamp", bytes.NewReader(tt.body))
			require.NoError(t, err)
			if tt.header != "Content-Type" && tt.header != "" {
				req.Header.Set("Content-Type", mediaType)
			}
			if tt.header != "" {
				req.Header.Set(tt.header, tt.value)
			}
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, tt.status, resp.StatusCode, string(text))
			requireUnharmed(t, p, other)
		})
	}
	assert.Zero(t, p.agent(opamp(2)).messages)
}

// Who connects and says nothing, or goes at once, leaves nothing behind.
func TestConnectionsWithoutAnAgent(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{FirstMessage: 3 * time.Second}, p)
	other := r.arrive()
	for i := range 50 {
		ws, _, err := r.dial(nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.CloseNow() })
		if i%2 == 0 {
			_ = ws.CloseNow()
		}
	}
	r.eventually(func() bool { return r.server.Stats().Connections == 1 }, "they stay")
	for range 50 { // and agents that are gone before they are answered
		uid := opampwire.NewInstanceUID()
		a := r.connect(uid)
		a.sendRaw(opampwire.AppendHeartbeat(nil, uid, 1))
		a.vanish()
	}
	r.eventually(func() bool { return r.server.Stats().Connections == 1 }, "they stay")
	requireUnharmed(t, p, other)
}

// A server that is not there yet, and one that comes and goes.
func TestServerThatIsNotThereAndFlips(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	p.kill()
	r := newRig(t, Settings{}, "ws://"+p.addr+"/v1/opamp")
	_, resp, err := r.dial(nil)
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, int64(1), r.Stats().TurnedAway)
	p.revive()
	r.eventually(func() bool { return r.pool.connected.Load() == 1 }, "it is not found")
	a := r.arrive()
	for range 3 {
		p.kill()
		r.eventually(func() bool { return r.pool.connected.Load() == 0 }, "")
		p.revive()
		require.NotZero(t, a.receive().GetFlags(), "the agent is announced")
		a.report()
	}
	require.Zero(t, a.beat().GetFlags())
	assert.Equal(t, int64(1), r.server.Stats().Connections)
	assert.Equal(t, uint64(3), r.Stats().Announced)
}

// An agent that says what nobody may gets a reason, whatever transport it uses.
func TestReservedCapabilityOverPlainHTTP(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	status, _ := (&poller{r: r, uid: opamp(1)}).post(&protobufs.AgentToServer{
		CustomMessage: &protobufs.CustomMessage{Capability: ConnectCapability, Type: connectType},
	})
	assert.Equal(t, http.StatusForbidden, status)
	assert.Zero(t, p.agent(opamp(1)).messages)
	r.waitDropped(ReasonReserved, 1)
}

// Answers to the gateway's own questions are nobody else's: an agent is not sent them, and can't give them.
func TestAnswersToTheGatewaysQuestions(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p) // it asks nothing
	a := r.arrive()
	p.push(a.uid, &protobufs.ServerToAgent{Flags: 4, CustomMessage: &protobufs.CustomMessage{
		Capability: ConnectCapability, Type: connectResultType, Data: []byte(`{"accept":true}`),
	}})
	a.awaitFlags(4) // which the server says to this agent; it is no answer to anybody
	a.send(&protobufs.AgentToServer{CustomMessage: &protobufs.CustomMessage{
		Capability: ConnectCapability, Type: connectResultType, Data: []byte(`{"accept":true}`),
	}})
	a.requireClosed(websocket.StatusPolicyViolation)
}

// What a peer says is quoted and bounded where it is logged.
func TestWhatAPeerSaysIsQuotedInTheLog(t *testing.T) {
	core, lines := observer.New(zap.WarnLevel)
	p := newPartner(t)
	r := connected(t, Settings{Logger: zap.New(core)}, p)
	a := r.arrive()
	evil := "wss://u:secret@server/\x1b[2J\n" + strings.Repeat("x", 10_000) + "?token=secret"
	p.push(a.uid, &protobufs.ServerToAgent{ConnectionSettings: &protobufs.ConnectionSettingsOffers{
		Opamp: &protobufs.OpAMPConnectionSettings{DestinationEndpoint: evil},
	}})
	a.receive()
	p.pushRaw(a.uid, &protobufs.ServerToAgent{InstanceUid: []byte("\x1b[2J\n")})
	r.waitDropped(ReasonServerMalformed, 1)
	b := r.connect(opamp(2))
	b.sendRaw([]byte("\x00\x1b[2J\n"))
	b.receive()
	r.eventually(func() bool { return lines.Len() >= 3 }, "nothing is said")
	for _, line := range lines.All() {
		for key, value := range line.ContextMap() {
			text := fmt.Sprint(value)
			assert.NotContains(t, text, "\x1b", key)
			assert.NotContains(t, text, "\n", key)
			assert.NotContains(t, text, "secret", key)
			assert.Less(t, len(text), 500, key)
		}
	}
}

// Agents go back to the connection on which the server expects them, and none has more than its share for long.
func TestAgentsAreBackWhereTheyBelong(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{MinConnections: 2}, p)
	agents := make([]*testAgent, 30)
	for i := range agents {
		agents[i] = r.arrive()
		agents[i].attend()
	}
	load := func() (out []int) {
		for _, u := range r.Stats().Upstreams {
			out = append(out, u.Agents)
		}
		return out
	}
	before := load()
	for range 2 {
		r.pool.all()[0].current.Load().end(io.ErrUnexpectedEOF)
		r.eventually(func() bool { return load()[1] == len(agents) }, "they do not go where a connection is")
		r.eventually(func() bool { return r.pool.connected.Load() == 2 }, "")
		said := r.now()
		r.eventually(func() bool {
			if r.now()-said > restful+restful/2 { // they have been at rest
				said = r.now()
				for _, a := range agents {
					a.send(&protobufs.AgentToServer{})
				}
			}
			return assert.ObjectsAreEqual(before, load())
		}, "they stay where they fled to, and not as %v", before)
	}
	assert.Positive(t, r.Stats().Moved)
}

// A group in a message is skipped by decoders. What stands behind it is seen all the same, or not passed on.
func TestWhatHidesBehindAGroup(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	group := []byte{0x0b, 0x0c}
	for _, size := range []int{1, 3 << 20} {
		a := r.arrive()
		custom, err := proto.Marshal(&protobufs.CustomMessage{Capability: ConnectCapability, Type: connectType, Data: make([]byte, size)})
		require.NoError(t, err)
		frame := protowire.AppendTag(opampwire.AppendHeartbeat(nil, a.uid, 2), 13, protowire.BytesType) // custom_message
		a.sendRaw(protowire.AppendBytes(frame, append(bytes.Clone(group), custom...)))
		a.requireClosed(websocket.StatusPolicyViolation)
		assert.Equal(t, 1, p.agent(a.uid).messages)
	}
	r.waitDropped(ReasonReserved, 2)

	a := r.arrive()
	settings := &protobufs.OpAMPConnectionSettings{DestinationEndpoint: "wss://server"}
	settings.ProtoReflect().SetUnknown(group)
	p.push(a.uid, &protobufs.ServerToAgent{ConnectionSettings: &protobufs.ConnectionSettingsOffers{Opamp: settings}})
	r.waitDropped(ReasonServerMalformed, 1)
	p.push(a.uid, &protobufs.ServerToAgent{Flags: 4})
	got := a.receive()
	assert.Equal(t, uint64(4), got.GetFlags())
	assert.Nil(t, got.GetConnectionSettings())
}
