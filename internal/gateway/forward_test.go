// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBothWaysThroughAnUnmodifiedServer(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MinConnections: 2}, p)
	agents := make([]*testAgent, 50)
	for i := range agents {
		agents[i] = r.arrive()
	}
	for _, a := range agents {
		got := p.agent(a.uid)
		require.Equal(t, "agent", got.lastMsg.GetAgentDescription().GetIdentifyingAttributes()[0].GetValue().GetStringValue())
		for range 3 {
			require.Zero(t, a.beat().GetFlags(), "nothing was missed")
		}
	}
	for _, a := range agents {
		large := strings.Repeat("x", 20_000) // opamp-go fragments what is larger than 4 KiB
		p.push(a.uid, &protobufs.ServerToAgent{CustomMessage: &protobufs.CustomMessage{Capability: "test.custom", Data: []byte(large)}})
		require.Len(t, a.receive().GetCustomMessage().GetData(), len(large))
	}
	assert.Equal(t, 2, p.connections())
	for _, a := range agents {
		assert.Len(t, p.agent(a.uid).conns, 1, "one agent, one upstream")
		assert.Zero(t, p.agent(a.uid).full)
	}
	assert.Zero(t, sum(r.drop.counts()))
}

func sum(counts map[Reason]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func TestFirstReplyCarriesWhatTheServerSaidOnce(t *testing.T) {
	p := newPartner(t)
	p.reply = func(msg *protobufs.AgentToServer, reply *protobufs.ServerToAgent) { // the first reply only
		if msg.GetSequenceNum() > 1 {
			reply.Capabilities = 0
		}
	}
	r := connected(t, Settings{}, p)
	for i := range 3 {
		a := r.connect(opamp(byte(i + 1)))
		reply := a.report()
		assert.Equal(t, []string{"test.custom"}, reply.GetCustomCapabilities().GetCapabilities(),
			"opamp-go's server says it once a connection, and agent %d is not the first on it", i)
		assert.NotZero(t, reply.GetCapabilities())
		assert.Nil(t, a.beat().GetCustomCapabilities(), "once")
	}
}

// The server's answers to what an agent said just before it left come too late for it. That is no
// loss, and happens whenever one leaves. One whose connection breaks has lost them.
func TestAnswersForOneWhoHasLeftAreNoLoss(t *testing.T) {
	goodbye := func(r *rig, a *testAgent) {
		a.send(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}})
		r.eventually(func() bool { return r.Stats().MessagesUp == 6 }, "the gateway has it")
	}
	hangUp := func(_ *rig, a *testAgent) { require.NoError(a.t, a.ws.Close(websocket.StatusNormalClosure, "")) }
	crash := func(_ *rig, a *testAgent) { a.vanish() }
	for name, tt := range map[string]struct {
		leave []func(*rig, *testAgent)
		lost  int64
	}{
		"goodbye":           {[]func(*rig, *testAgent){goodbye, hangUp}, 0},
		"goodbye and crash": {[]func(*rig, *testAgent){goodbye, crash}, 0},
		"without a word":    {[]func(*rig, *testAgent){hangUp}, 0},
		"crash":             {[]func(*rig, *testAgent){crash}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartner(t)
			r := connected(t, Settings{Grace: time.Hour}, p)
			a, other := r.arrive(), r.arrive()
			hold := make(chan struct{})
			p.mu.Lock()
			p.reply = func(*protobufs.AgentToServer, *protobufs.ServerToAgent) { <-hold }
			p.mu.Unlock()
			for range 3 {
				a.send(&protobufs.AgentToServer{})
			}
			r.eventually(func() bool { return r.Stats().MessagesUp == 5 }, "the gateway has them")
			for _, leave := range tt.leave {
				leave(r, a)
			}
			r.eventually(func() bool { return r.Stats().Connections == 1 }, "it has gone")
			close(hold)
			other.beat() // what the server says in order has come by then
			assert.Equal(t, tt.lost, sum(r.drop.counts()))
		})
	}
}
