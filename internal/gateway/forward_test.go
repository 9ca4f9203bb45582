// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"strings"
	"testing"

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
