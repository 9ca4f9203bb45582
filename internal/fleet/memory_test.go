// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/redact"
)

// bulkyReport tells a part of each kind that is large and like no other agent's.
func bulkyReport(n, size int) *protobufs.AgentToServer {
	text := func(s string) *protobufs.AnyValue {
		return &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: s}}
	}
	filler := strings.Repeat("x", size)
	return &protobufs.AgentToServer{
		Capabilities: 1 | 4 | 0x800 | 0x4000,
		AgentDescription: &protobufs.AgentDescription{
			IdentifyingAttributes: []*protobufs.KeyValue{
				{Key: "service.name", Value: text(fmt.Sprint("agent-", n))}, {Key: "more", Value: text(filler)},
			},
		},
		Health: &protobufs.ComponentHealth{
			Status: "StatusPermanentError",
			ComponentHealthMap: map[string]*protobufs.ComponentHealth{
				"pipeline:traces": {Status: "StatusPermanentError", LastError: filler},
			},
		},
		EffectiveConfig: &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
			ConfigMap: map[string]*protobufs.AgentConfigObject{"": {Body: []byte(fmt.Sprint(n, ": ", filler))}},
		}},
		AvailableComponents: &protobufs.AvailableComponents{
			Hash:       []byte{byte(n), byte(n >> 8)},
			Components: map[string]*protobufs.ComponentDetails{filler: {}},
		},
		CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: []string{filler}},
		CustomMessage:      &protobufs.CustomMessage{Capability: "com.example", Data: []byte(filler)},
	}
}

// weigh adds up what is held, the slow way.
func weigh(f *Fleet) (n int64) {
	configs, components := map[*Config]bool{}, map[*Components]bool{}
	for _, rec := range f.agents {
		n += rec.agent.ownBytes()
		if c := rec.agent.Config; c != nil && !configs[c] {
			configs[c] = true
			n += int64(c.bytes)
		}
		if c := rec.agent.Components; c != nil && !components[c] {
			components[c] = true
			n += int64(c.bytes)
		}
	}
	return n
}

func wsConn(id int) Conn { return Conn{ID: uint64(id), Transport: TransportWebSocket} }

func TestMemoryOfAllAgentsIsBounded(t *testing.T) {
	const most = 1 << 20
	f := New(Settings{MaxMemory: most})
	const rows = 500 * (agentBytes + maxSearchBytes)
	for i := range 500 {
		f.Report(wsConn(1), reportOf(fmt.Sprint(i), bulkyReport(i, 20_000)), testNow)
		require.Less(t, f.Stats().Memory, int64(most+rows))
		require.Equal(t, weigh(f), f.Stats().Memory)
	}
	first, _ := f.Agent(scenarioUID("0"))
	assert.NotNil(t, first.Config)
	assert.Zero(t, first.Dropped)
	last, _ := f.Agent(scenarioUID("499"))
	assert.Nil(t, last.Config)
	assert.Nil(t, last.Components)
	assert.Equal(t, allParts, last.Dropped)
	assert.Equal(t, "agent-499", last.ServiceName())
	assert.Equal(t, ConditionUnhealthy, last.Condition(), "how the whole is stays known")
	assert.Equal(t, 1, last.Health.Omitted)
	assert.Equal(t, []string{"pipeline:traces"}, last.Problems[0].Path)
	assert.LessOrEqual(t, len(last.Problems[0].Error), maxBriefError)
	assert.NotZero(t, f.Stats().Cuts[CutMemory])
	assert.Zero(t, f.Stats().Cuts[CutMemoryGone])

	for uid := range f.agents {
		f.forgetLocked(f.agents[uid])
	}
	assert.Zero(t, f.Stats().Memory, "what is forgotten weighs nothing")
}

// TestSecretsWeighWhatTheyTake though nobody is shown them: a small config that is all masks can have had a megabyte.
func TestSecretsWeighWhatTheyTake(t *testing.T) {
	f := redacting(t, Limits{})
	const most = 1 << 20
	f.settings.MaxMemory = most
	report := func(seq uint64, agent, size int) *protobufs.AgentToServer {
		var b strings.Builder
		for i := range 100 {
			fmt.Fprintf(&b, "password%d: %0*d\n", i, size, agent*1000+i)
		}
		msg := fullReport(seq)
		msg.EffectiveConfig = scenarioConfig(b.String())
		return msg
	}
	for i := range 50 {
		f.Report(wsConn(1), reportOf(fmt.Sprint(i), report(0, i, 20)), testNow)
		f.Report(wsConn(1), reportOf(fmt.Sprint(i), report(1, i, 3000)), testNow) // the same, once it is masked
		require.Less(t, f.Stats().Memory, int64(most+50*(agentBytes+maxSearchBytes)))
		require.Equal(t, weigh(f), f.Stats().Memory)
	}
	assert.NotZero(t, f.Stats().Cuts[CutMemory])
	secret := fmt.Sprintf("%03000d", 49_000)
	f.Report(wsConn(1), reportOf("49", &protobufs.AgentToServer{SequenceNum: 2, Health: failing("no: " + secret)}), testNow)
	assert.Equal(t, redact.Mask, errorOf(t, f, "49"), "what is not remembered can't be found")
	f.Report(wsConn(1), reportOf("0", &protobufs.AgentToServer{SequenceNum: 2, Health: failing(fmt.Sprintf("no: %03000d", 0))}), testNow)
	assert.Equal(t, "no: "+redact.Mask, errorOf(t, f, "0"))
}

func TestEqualContentIsCountedOnce(t *testing.T) {
	f := New(Settings{})
	f.Report(testConn, reportOf("a", bulkyReport(1, 20_000)), testNow)
	one := f.Stats().Memory
	f.Report(testConn, reportOf("b", bulkyReport(1, 20_000)), testNow)
	a, _ := f.Agent(scenarioUID("a"))
	assert.Equal(t, one+one-int64(a.Config.bytes+a.Components.bytes), f.Stats().Memory)
	assert.Equal(t, weigh(f), f.Stats().Memory)
}

func TestWhoIsGoneMakesRoomTheLongestGoneFirst(t *testing.T) {
	f := New(Settings{})
	for i := range 3 {
		f.Report(wsConn(i), reportOf(fmt.Sprint(i), bulkyReport(i, 20_000)), testNow)
	}
	f.Disconnected(wsConn(1), testNow)
	f.Disconnected(wsConn(0), testNow)
	f.settings.MaxMemory = f.Stats().Memory + 10_000
	before := f.Position()
	f.Report(wsConn(3), reportOf("3", bulkyReport(3, 20_000)), testNow)

	dropped := func(uid string) Parts {
		a, ok := f.Agent(scenarioUID(uid))
		require.True(t, ok)
		return a.Dropped
	}
	assert.Equal(t, allParts, dropped("1"), "it left first")
	for _, uid := range []string{"0", "2", "3"} {
		assert.Zero(t, dropped(uid), uid)
	}
	assert.Equal(t, uint64(1), f.Stats().Cuts[CutMemoryGone])
	assert.Len(t, f.Since(before).Agents, 2, "those who watch are told")
	assert.Equal(t, weigh(f), f.Stats().Memory)

	// Who returns is asked for everything, though nothing of what it sent was missed, and what it tells is kept again.
	back := &protobufs.AgentToServer{SequenceNum: 1}
	reply := f.Report(wsConn(4), reportOf("1", back), testNow.Add(askEvery))
	assert.NotZero(t, reply.GetFlags()&uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState))
	f.Disconnected(wsConn(2), testNow)
	full := bulkyReport(1, 20_000)
	full.SequenceNum = 2
	f.Report(wsConn(4), reportOf("1", full), testNow)
	assert.Zero(t, dropped("1"))
	assert.Equal(t, weigh(f), f.Stats().Memory)
}

// A message has its own cost, however many agents could make room for it.
func TestOneMessageStripsABoundedNumber(t *testing.T) {
	f := New(Settings{MaxMemory: 1 << 30})
	for i := range 3 * maxStripped {
		f.Report(wsConn(i), reportOf(fmt.Sprint(i), bulkyReport(i, 2_000)), testNow)
		f.Disconnected(wsConn(i), testNow)
	}
	f.settings.MaxMemory = 1
	for n := 1; n <= 4; n++ {
		f.Report(testConn, reportOf("new", bulkyReport(n, 2_000)), testNow)
		assert.Equal(t, uint64(min(n, 3)*maxStripped), f.Stats().Cuts[CutMemoryGone])
		assert.Equal(t, uint64(n), f.Stats().Cuts[CutMemory])
	}
}

func TestAGoodbyeThatTellsMuchCanBeGivenUp(t *testing.T) {
	f := New(Settings{})
	f.Report(wsConn(1), reportOf("a", bulkyReport(1, 10)), testNow)
	for i := range 3 {
		bye := bulkyReport(i+2, 20_000)
		bye.AgentDisconnect = &protobufs.AgentDisconnect{}
		f.Report(wsConn(1), reportOf("a", bye), testNow)
	}
	require.NotNil(t, f.laden.head)
	f.settings.MaxMemory = f.Stats().Memory + 10_000
	f.Report(wsConn(2), reportOf("b", bulkyReport(9, 20_000)), testNow)
	a, _ := f.Agent(scenarioUID("a"))
	assert.Equal(t, allParts, a.Dropped)
	b, _ := f.Agent(scenarioUID("b"))
	assert.Zero(t, b.Dropped)
	assert.Equal(t, weigh(f), f.Stats().Memory)
}
