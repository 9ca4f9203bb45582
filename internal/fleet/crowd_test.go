// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// crowdOf has n agents report, each on a WebSocket of its own.
func crowdOf(t *testing.T, f *Fleet, n int) {
	t.Helper()
	for i := range n {
		require.Nil(t, f.Report(crowdConn(i), reportOf(fmt.Sprint(i), fullReport(0)), testNow).GetErrorResponse())
	}
}

func crowdConn(i int) Conn {
	return Conn{ID: uint64(i + 1), Transport: TransportWebSocket, RemoteAddr: "10.0.0.1:1"}
}

// Whoever copies all agents on a message, if only to count them, allocates eight bytes for each. The log of events may
// grow meanwhile.
func TestAMessageCostsTheSameHoweverManyAgentsThereAre(t *testing.T) {
	const messages, most = 1_000, 20_000
	bytes := func(agents int, message func(seq uint64) *protobufs.AgentToServer) uint64 {
		f := New(Settings{})
		w := f.Watch()
		defer w.Close()
		crowdOf(t, f, agents)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for seq := range uint64(messages) {
			f.Report(crowdConn(0), reportOf("0", message(seq+1)), testNow)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for name, message := range map[string]func(uint64) *protobufs.AgentToServer{
		"heartbeats": func(seq uint64) *protobufs.AgentToServer { return &protobufs.AgentToServer{SequenceNum: seq} },
		"changes": func(seq uint64) *protobufs.AgentToServer {
			return &protobufs.AgentToServer{SequenceNum: seq, Health: &protobufs.ComponentHealth{Healthy: seq%2 == 0}}
		},
	} {
		few, many := bytes(10, message), bytes(most, message)
		t.Logf("%s: %d bytes each among 10, %d among 20,000", name, few/messages, many/messages)
		assert.Less(t, many, few+messages*most, "%s: less than a byte an agent", name)
	}
}

func TestWhenThousandsOfConnectionsBreakAtOnceEachIsTakenIn(t *testing.T) {
	const n = 5_000
	f := New(Settings{})
	crowdOf(t, f, n)
	for i := range n / 10 { // some have said goodbye right before
		f.Report(crowdConn(i), reportOf(fmt.Sprint(i), &protobufs.AgentToServer{
			SequenceNum: 1, AgentDisconnect: &protobufs.AgentDisconnect{},
		}), testNow)
	}
	var all sync.WaitGroup
	for part := range 50 {
		all.Go(func() {
			for i := part; i < n; i += 50 {
				f.Disconnected(crowdConn(i), testNow.Add(time.Second))
			}
		})
	}
	all.Wait()
	assert.Equal(t, n/10, f.Stats().Agents[LivenessGoodbye])
	assert.Equal(t, n-n/10, f.Stats().Agents[LivenessLost])
	assert.Zero(t, f.Stats().Agents[LivenessConnected])
	assert.Empty(t, f.conns, "nothing is kept of them")
	lost := map[string]int{}
	q := EventQuery{Kinds: []EventKind{EventLost}, Limit: MaxEvents}
	for {
		page := f.Events(q)
		for _, e := range page.Events {
			lost[e.UID.String()]++
		}
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	assert.Len(t, lost, n-n/10, "each loss is told")
}

// A poll is neither a connection that comes nor one that goes.
func TestPollsAreNoConnections(t *testing.T) {
	f := New(Settings{})
	poll := Conn{Transport: TransportHTTP, RemoteAddr: "10.0.0.1:1"}
	f.Report(poll, reportOf("a", fullReport(0)), testNow)
	before := f.LastEvent()
	position := f.Position()
	for seq := range uint64(100) {
		poll.ID = seq // as if it came over another one each time
		at := testNow.Add(time.Duration(seq) * time.Second)
		f.Report(poll, reportOf("a", &protobufs.AgentToServer{SequenceNum: seq + 1}), at)
		f.Disconnected(poll, at)
	}
	assert.Equal(t, before, f.LastEvent(), "nothing happened")
	assert.Equal(t, position, f.Position())
	assert.Equal(t, 1, f.Stats().Agents[LivenessConnected])
}

// What an agent understands is its own, and may change as long as it is connected.
func TestCustomCapabilitiesAreEachAgentsOwnAndMayChange(t *testing.T) {
	f := New(Settings{})
	tell := func(i int, seq uint64, capabilities ...string) {
		msg := &protobufs.AgentToServer{SequenceNum: seq, CustomCapabilities: &protobufs.CustomCapabilities{Capabilities: capabilities}}
		require.Nil(t, f.Report(crowdConn(i), reportOf(fmt.Sprint(i), msg), testNow).GetErrorResponse())
	}
	crowdOf(t, f, 2)
	tell(0, 1, "com.example.a")
	tell(1, 1, "com.example.b")
	post := func(i int, capability string) error {
		_, err := f.Post(scenarioUID(fmt.Sprint(i)), Posting{Capability: capability}, testNow)
		return err
	}
	require.NoError(t, post(0, "com.example.a"))
	require.ErrorIs(t, post(1, "com.example.a"), ErrNotAnnounced)
	tell(0, 2, "com.example.b", "com.example.c")
	require.ErrorIs(t, post(0, "com.example.a"), ErrNotAnnounced)
	require.NoError(t, post(0, "com.example.c"))
	tell(0, 3)
	require.ErrorIs(t, post(0, "com.example.c"), ErrNotAnnounced)
	require.NoError(t, post(1, "com.example.b"), "of the other nothing changed")
}
