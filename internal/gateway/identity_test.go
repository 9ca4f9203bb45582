// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func (r *rig) duplicates(d Duplicates) uint64 {
	_, _, counts := r.router.snapshot()
	return counts.duplicates[d]
}

func TestNoTakeoverWhileTheFirstLives(t *testing.T) {
	t.Parallel()
	for _, policy := range []Duplicates{DuplicatesRefuse, DuplicatesReplace} {
		t.Run(string(policy), func(t *testing.T) {
			p := newPartner(t)
			r := connected(t, Settings{Duplicates: policy, Silence: 3 * time.Second}, p)
			first := r.arrive()
			alive := first.ws.CloseRead(t.Context()) // answers pings
			thief := r.connect(first.uid)
			thief.send(described("thief"))
			thief.requireClosed(websocket.StatusPolicyViolation)
			r.waitDropped(ReasonDuplicate, 1)
			assert.Equal(t, uint64(1), r.duplicates(policy))
			require.NoError(t, alive.Err())
			assert.Equal(t, 1, p.agent(first.uid).messages, "the server has not heard of it")
		})
	}
}

func TestSilentConnectionIsReplaced(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{Silence: 200 * time.Millisecond}, p)
	uid, _ := stuckAgent(t, r)
	again := r.connect(uid)
	again.report()
	again.beat()
	r.eventually(func() bool { return r.server.Stats().Connections == 1 }, "the old connection is still there")
	assert.Zero(t, p.agent(uid).goodbyes)
	assert.Equal(t, uint64(1), r.duplicates(DuplicatesReplace))
}

func TestDuplicateIsReidentified(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{Duplicates: DuplicatesReidentify}, p)
	first := r.arrive()
	second := r.connect(first.uid)
	renamed := second.say(described("second"))
	require.Equal(t, first.uid.Bytes(), renamed.GetInstanceUid())
	second.uid = opampwire.InstanceUID(renamed.GetAgentIdentification().GetNewInstanceUid())
	second.report()
	first.beat()
	r.waitDropped(ReasonReidentified, 1)

	stubborn := r.connect(first.uid)
	for range maxReidentified {
		stubborn.say(described("third"))
	}
	stubborn.send(described("third"))
	stubborn.requireClosed(websocket.StatusPolicyViolation)
}

func TestServerRenamesAnAgent(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MinConnections: 2}, p)
	a := r.arrive()
	old, next := a.uid, opampwire.NewInstanceUID()
	p.push(old, &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: next.Bytes()}})
	p.pushRaw(old, &protobufs.ServerToAgent{InstanceUid: next.Bytes(), Flags: 4}) // before the agent has spoken by it
	require.Equal(t, next.Bytes(), a.receive().GetAgentIdentification().GetNewInstanceUid())
	require.Equal(t, uint64(4), a.receive().GetFlags())
	a.uid = next
	a.report()
	p.pushRaw(next, &protobufs.ServerToAgent{InstanceUid: old.Bytes()})
	r.waitDropped(ReasonUnknownUID, 1)
	a.vanish()
	r.eventually(func() bool { n, _, _ := r.router.snapshot(); return n <= 1 }, "")
	n, _, counts := r.router.snapshot()
	assert.Equal(t, 1, n, "the old name is gone, the new one in its grace")
	assert.Equal(t, uint64(1), counts.renamed)
}

// Two agents that made up the same instance UID until the server gives them one (RequestInstanceUid): one after the
// other, for on the way to the server nothing else tells them apart.
func TestTemporaryUIDsThatAreTheSame(t *testing.T) {
	p := newPartner(t)
	var given []opampwire.InstanceUID
	p.reply = func(msg *protobufs.AgentToServer, reply *protobufs.ServerToAgent) {
		if msg.GetFlags()&uint64(protobufs.AgentToServerFlags_AgentToServerFlags_RequestInstanceUid) != 0 {
			given = append(given, opampwire.NewInstanceUID())
			reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: given[len(given)-1].Bytes()}
		}
	}
	r := connected(t, Settings{Silence: patience}, p)
	temporary := opamp(1)
	ask := func() *protobufs.AgentToServer {
		msg := described("new")
		msg.Flags = uint64(protobufs.AgentToServerFlags_AgentToServerFlags_RequestInstanceUid)
		return msg
	}
	first, second := r.connect(temporary), r.connect(temporary)
	named := first.say(ask()).GetAgentIdentification().GetNewInstanceUid()
	require.Len(t, named, 16)
	second.send(ask())
	r.eventually(func() bool { return r.duplicates(DuplicatesReplace) == 1 }, "the second waits")
	require.Equal(t, 1, p.agent(temporary).messages)
	first.uid = opampwire.InstanceUID(named)
	first.report()
	answer := second.receive()
	require.Equal(t, temporary.Bytes(), answer.GetInstanceUid(), "its turn, as soon as the first has its name")
	second.uid = opampwire.InstanceUID(answer.GetAgentIdentification().GetNewInstanceUid())
	second.report()
	assert.NotEqual(t, first.uid, second.uid)
	for _, a := range []*testAgent{first, second} {
		a.beat()
		p.push(a.uid, &protobufs.ServerToAgent{Flags: 4})
		require.Equal(t, uint64(4), a.receive().GetFlags())
	}
	r.eventually(func() bool { n, _, _ := r.router.snapshot(); return n == 2 }, "nobody has the temporary one")
	assert.Equal(t, uint64(2), r.Stats().Renamed)
	assert.Zero(t, sum(r.drop.counts()))
}

// The server gives an agent an instance UID that another has.
func TestNewInstanceUIDThatSomebodyHas(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{Silence: 300 * time.Millisecond}, p)
	owner, other := r.arrive(), r.arrive()
	owner.attend()
	p.push(other.uid, &protobufs.ServerToAgent{AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: owner.uid.Bytes()}})
	require.NotNil(t, other.receive().GetAgentIdentification())
	other.uid = owner.uid
	refused := other.say(described("other"))
	require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable, refused.GetErrorResponse().GetType())
	assert.Equal(t, 1, p.agent(owner.uid).messages)
	r.waitDropped(ReasonDuplicate, 1)
}

// A server that gives another instance UID with each answer fills nothing.
func TestServerThatRenamesAllTheTime(t *testing.T) {
	p := newPartner(t)
	p.reply = func(_ *protobufs.AgentToServer, reply *protobufs.ServerToAgent) {
		reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()}
	}
	r := connected(t, Settings{MaxAgents: 100, MaxPerConnection: 4}, p)
	deaf := r.arrive()
	for range 200 {
		deaf.beat()
	}
	n, _, _ := r.router.snapshot()
	assert.LessOrEqual(t, n, 8)
	other := r.connect(opamp(3))
	for range 20 {
		reply := other.say(described("other"))
		other.uid = opampwire.InstanceUID(reply.GetAgentIdentification().GetNewInstanceUid())
	}
	assert.Zero(t, sum(r.drop.counts()))
}

// Nobody takes an agent's place by saying goodbye for it.
func TestGoodbyeForSomebodyElse(t *testing.T) {
	for _, policy := range []Duplicates{DuplicatesReplace, DuplicatesRefuse, DuplicatesReidentify} {
		t.Run(string(policy), func(t *testing.T) {
			p := newPartner(t)
			r := connected(t, Settings{Duplicates: policy, Silence: time.Millisecond}, p)
			a, liar := r.arrive(), r.arrive()
			mine := liar.uid
			for range 3 {
				liar.uid = a.uid
				liar.send(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
				liar.uid = mine
				require.Equal(t, mine.Bytes(), liar.beat().GetInstanceUid())
			}
			r.waitDropped(ReasonDuplicate, 3)
			assert.Zero(t, p.agent(a.uid).goodbyes)
			a.beat()
		})
	}
}

// An agent that said nothing for long is alive until it was asked and did not answer.
func TestNoTakeoverOfAnIdleAgent(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{Silence: 2 * time.Second}, p)
	a := r.arrive()
	a.attend()
	r.router.mu.Lock()
	idle := r.now()
	r.router.mu.Unlock()
	r.eventually(func() bool { return r.now()-idle > 2*r.set.Silence }, "")
	thief := r.connect(a.uid)
	thief.send(described("thief"))
	thief.requireClosed(websocket.StatusPolicyViolation)
	assert.Equal(t, 1, p.agent(a.uid).messages)
	r.eventually(func() bool { return r.server.Stats().Connections == 1 }, "the thief is still there")
}

// Over plain HTTP there is nobody to ask.
func TestNoTakeoverOfAnAgentThatPolls(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{Silence: 50 * time.Millisecond}, p)
	poll := &poller{r: r, uid: opamp(1)}
	poll.poll(described("poller"))
	thief := r.connect(poll.uid)
	thief.send(described("thief"))
	thief.requireClosed(websocket.StatusPolicyViolation)
	poll.poll(&protobufs.AgentToServer{})
	assert.Equal(t, 2, p.agent(poll.uid).messages)
}

func TestReservedCapabilityIsRefused(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	for name, msg := range map[string]*protobufs.AgentToServer{
		"message": {CustomMessage: &protobufs.CustomMessage{Capability: ConnectCapability, Type: "connect", Data: []byte(`{"request_uid":"x"}`)}},
		"offer":   {CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{"a", ConnectCapability}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.arrive()
			a.send(msg)
			a.requireClosed(websocket.StatusPolicyViolation)
			assert.Equal(t, 1, p.agent(a.uid).messages)
		})
	}
	r.waitDropped(ReasonReserved, 2)
}

func TestServersMessagesForNobody(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	a := r.arrive()
	p.pushRaw(a.uid, &protobufs.ServerToAgent{InstanceUid: opamp(9).Bytes()})
	r.waitDropped(ReasonUnknownUID, 1)
	p.pushRaw(a.uid, &protobufs.ServerToAgent{InstanceUid: []byte("short")})
	r.waitDropped(ReasonServerMalformed, 1)
	b := r.arrive()
	p.pushRaw(a.uid, &protobufs.ServerToAgent{InstanceUid: b.uid.Bytes(), Flags: 4})
	require.Equal(t, uint64(4), b.receive().GetFlags(), "whichever agent it answers, its UID says whom it is for")
	a.beat()
}

func TestHostileMessages(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MaxPerConnection: 4}, p)
	good := r.arrive()
	beat := opampwire.AppendHeartbeat(nil, opamp(7), 1)
	for name, frame := range map[string][]byte{
		"empty frame":     {},
		"header 1":        append([]byte{1}, beat[1:]...),
		"header of 10":    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"no uid":          {0},
		"garbage":         {0, 0xff, 0xff, 0xff},
		"group":           append(append([]byte{}, beat...), 0x0b, 0x0c),
		"two uids":        append(append([]byte{}, beat...), beat[1:]...),
		"truncated":       beat[:len(beat)-3],
		"ulid of 26":      append([]byte{0, 0x0a, 26}, make([]byte, 26)...),
		"all-zero uid":    append([]byte{0, 0x0a, 16}, make([]byte, 16)...),
		"uid as a number": {0, 0x08, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.connect(opamp(8))
			for range 2 {
				a.sendRaw(frame)
				require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_BadRequest, a.receive().GetErrorResponse().GetType())
			}
			a.sendRaw(frame)
			a.requireClosed(websocket.StatusInvalidFramePayloadData)
		})
	}
	t.Run("too many uids", func(t *testing.T) {
		a := r.connect(opamp(1))
		for i := range 4 {
			a.uid = opamp(byte(20 + i))
			a.report()
		}
		a.uid = opamp(30)
		got := a.say(described("one too many"))
		require.Equal(t, protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable, got.GetErrorResponse().GetType(),
			"told to the agent alone: the others on this connection stay")
		require.Equal(t, a.uid.Bytes(), got.GetInstanceUid())
		a.uid = opamp(20)
		a.beat()
	})
	good.beat()
	assert.Equal(t, 1, p.ever())
	assert.Zero(t, p.agent(opamp(7)).messages)
}

func TestTooManyAgents(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MaxAgents: 1}, p)
	a := r.arrive()
	b := r.connect(opamp(2))
	b.send(described("b"))
	b.requireClosed(websocket.StatusTryAgainLater)
	a.beat()
	r.waitDropped(ReasonMaxAgents, 1)
}

func TestOffersOfConnectionSettings(t *testing.T) {
	for policy, want := range map[Offers]string{
		OffersStrip: "", OffersForward: "wss://server", OffersRewrite: "wss://gateway",
	} {
		t.Run(string(policy), func(t *testing.T) {
			p := newPartner(t)
			r := connected(t, Settings{Offers: policy, OwnEndpoint: "wss://gateway"}, p)
			a := r.arrive()
			p.push(a.uid, &protobufs.ServerToAgent{ConnectionSettings: &protobufs.ConnectionSettingsOffers{
				Hash:  []byte("h"),
				Opamp: &protobufs.OpAMPConnectionSettings{DestinationEndpoint: "wss://server", HeartbeatIntervalSeconds: 30},
			}})
			got := a.receive().GetConnectionSettings()
			assert.Equal(t, want, got.GetOpamp().GetDestinationEndpoint())
			assert.Equal(t, uint64(30), got.GetOpamp().GetHeartbeatIntervalSeconds())
			assert.Equal(t, "h", string(got.GetHash()))
		})
	}
}

// A gateway below moves an agent from one of its connections to another when it has more of them, or one is back. That
// is no duplicate, and nobody else can do it.
func TestAgentThatItsGatewayMoves(t *testing.T) {
	p := newPartner(t)
	bonds := make(map[string]bool)
	p.refuse = func(r *http.Request) int { bonds[r.Header.Get(bondHeader)] = true; return 0 }
	upper := connected(t, Settings{Duplicates: DuplicatesRefuse}, p)
	lower := http.Header{bondHeader: {"made up"}}
	on := func(header http.Header, uid opampwire.InstanceUID) *testAgent {
		ws, _, err := upper.dial(header)
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.CloseNow() })
		return &testAgent{t: t, ws: ws, uid: uid, seq: 1}
	}
	first := on(lower, opamp(1))
	first.report()
	first.uid = opamp(2)
	first.report()
	second := on(lower, opamp(1))
	second.seq = 2
	reply := second.beat()
	assert.Equal(t, opamp(1).Bytes(), reply.GetInstanceUid())
	assert.NotZero(t, reply.GetCapabilities())
	p.push(opamp(1), &protobufs.ServerToAgent{Flags: 4})
	assert.Equal(t, uint64(4), second.receive().GetFlags(), "the server reaches it there")
	first.beat()

	for _, header := range []http.Header{nil, {bondHeader: {""}}, {bondHeader: {"another"}}, {bondHeader: {strings.Repeat("x", 100)}}} {
		thief := on(header, opamp(1))
		thief.send(&protobufs.AgentToServer{})
		thief.requireClosed(websocket.StatusPolicyViolation)
	}
	assert.Zero(t, p.agent(opamp(1)).goodbyes)
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Equal(t, map[string]bool{upper.kin.bond: true}, bonds)
}

func TestChainedGateways(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	upper := connected(t, Settings{MaxPerConnection: 1000, MaxQueuedMessages: 1, Grace: 300 * time.Millisecond}, p)
	lower := newRig(t, Settings{Grace: 200 * time.Millisecond}, "ws://"+upper.addr+"/v1/opamp")
	lower.eventually(func() bool { return lower.pool.connected.Load() == 1 }, "no connection")
	var agents []*testAgent
	for range 20 {
		agents = append(agents, lower.arrive())
	}
	for _, a := range agents {
		require.Zero(t, a.beat().GetFlags())
		p.push(a.uid, &protobufs.ServerToAgent{Flags: 4})
		require.Equal(t, uint64(4), a.receive().GetFlags())
	}
	for _, a := range agents { // for each of them a message may wait, though they share a connection
		p.push(a.uid, &protobufs.ServerToAgent{Flags: 4})
	}
	for _, a := range agents {
		require.Equal(t, uint64(4), a.receive().GetFlags())
	}
	agents[0].vanish()
	upper.eventually(func() bool { return p.agent(agents[0].uid).goodbyes == 1 }, "its goodbye is lost on the way")
	upper.eventually(func() bool { n, _, _ := upper.router.snapshot(); return n == 19 }, "it is not forgotten")
	assert.Equal(t, 1, p.connections())

	above, below := upper.Status("upper", time.Now()), lower.Status("lower", time.Now())
	assert.Empty(t, above.Over)
	assert.Equal(t, []string{above.Name}, below.Over, "so that it can be shown behind the other")
	assert.NotEqual(t, above.Name, below.Name)
}

func TestPerAgentConnections(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := newRig(t, Settings{Multiplexing: MultiplexPerAgent, ForwardHeaders: []string{"Authorization"}}, "ws://"+p.addr+"/v1/opamp")
	ws, _, err := r.dial(http.Header{"Authorization": {"Bearer a"}, "X-Other": {"x"}})
	require.NoError(t, err)
	a := &testAgent{t: t, ws: ws, uid: opamp(1)}
	a.report()
	b := r.arrive()
	assert.Equal(t, 2, p.connections(), "one each")
	p.mu.Lock()
	header := p.headers[0]
	p.mu.Unlock()
	assert.Equal(t, "Bearer a", header.Get("Authorization"))
	assert.Empty(t, header.Get("X-Other"))
	assert.Equal(t, a.uid.String(), header.Get("OpAMP-Instance-UID"))
	p.pushRaw(a.uid, &protobufs.ServerToAgent{Flags: 4}) // without a UID, as such servers may
	assert.Equal(t, uint64(4), a.receive().GetFlags())
	p.pushRaw(a.uid, &protobufs.ServerToAgent{InstanceUid: b.uid.Bytes()})
	r.waitDropped(ReasonForeignUID, 1)

	p.kill()
	p.revive()
	require.NotZero(t, a.receive().GetFlags(), "it is announced on its own connection")
	a.report()
	_ = a.ws.Close(websocket.StatusNormalClosure, "")
	r.eventually(func() bool { return p.connections() == 1 }, "its connection is still there")
}

func TestPerAgentConnectionThatTheServerRefuses(t *testing.T) {
	p := newPartner(t)
	p.refuse = func(r *http.Request) int {
		if r.Header.Get("Authorization") == "" {
			return http.StatusUnauthorized
		}
		return 0
	}
	r := newRig(t, Settings{Multiplexing: MultiplexPerAgent}, "ws://"+p.addr+"/v1/opamp")
	a := r.connect(opamp(1))
	a.send(described("a"))
	a.requireClosed(websocket.StatusPolicyViolation)
}
