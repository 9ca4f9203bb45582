// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func reportOf(name string, msg *protobufs.AgentToServer) *protobufs.AgentToServer {
	uid := scenarioUID(name)
	msg.InstanceUid = uid.Bytes()
	return msg
}

func TestHeartbeatMovesLastSeenAndNothingElse(t *testing.T) {
	f := New(Settings{})
	f.Report(testConn, reportOf("a", fullReport(0)), testNow)
	before, _ := f.Agent(scenarioUID("a"))
	position := f.Position()

	f.Report(testConn, reportOf("a", &protobufs.AgentToServer{SequenceNum: 1, Capabilities: before.capabilitiesForTest()}),
		testNow.Add(time.Minute))

	after, _ := f.Agent(scenarioUID("a"))
	assert.Equal(t, testNow.Add(time.Minute), after.LastSeen)
	assert.Equal(t, before.Version, after.Version)
	assert.Equal(t, position, f.Position())
	assert.True(t, f.Since(position).Empty())
	assert.Equal(t, testNow, before.LastSeen, "a snapshot never changes")
}

func (a *Agent) capabilitiesForTest() uint64 { return uint64(a.Capabilities) }

func TestWatcherHoldsOneWake(t *testing.T) {
	f := New(Settings{})
	w := f.Watch()
	defer w.Close()
	for i := range 5 {
		f.Report(testConn, reportOf(fmt.Sprint(i), fullReport(0)), testNow)
	}
	assert.Len(t, w.C, 1)
	<-w.C
	f.Report(testConn, reportOf("0", &protobufs.AgentToServer{SequenceNum: 1}), testNow)
	assert.Empty(t, w.C, "a heartbeat wakes nobody")
	w.Close()
	w.Close()
	f.Report(testConn, reportOf("6", fullReport(0)), testNow)
	assert.Empty(t, w.C)
}

func TestSinceTellsEachChangedAgentOnce(t *testing.T) {
	f := New(Settings{})
	for i := range 100 {
		f.Report(testConn, reportOf(fmt.Sprint(i), fullReport(0)), testNow)
	}
	p := f.Position()
	for seq := range uint64(3) {
		for _, name := range []string{"7", "3"} {
			f.Report(testConn, reportOf(name, &protobufs.AgentToServer{
				SequenceNum: seq + 1, EffectiveConfig: scenarioConfig(fmt.Sprint(seq)),
			}), testNow)
		}
	}
	d := f.Since(p)
	assert.False(t, d.Reset)
	require.Len(t, d.Agents, 2)
	assert.Equal(t, scenarioUID("7"), d.Agents[0].UID)
	assert.Equal(t, scenarioUID("3"), d.Agents[1].UID)
	assert.True(t, f.Since(d.Position).Empty())
}

func TestSinceStartsAnewFromAPositionItDoesNotKnow(t *testing.T) {
	f := New(Settings{MaxAgents: 1})
	f.Report(testConn, reportOf("a", fullReport(0)), testNow)
	p := f.Position()
	for name, p := range map[string]Position{
		"nothing yet":   {},
		"another epoch": {Epoch: "other", Version: 1},
		"the future":    {Epoch: p.Epoch, Version: 99},
	} {
		d := f.Since(p)
		assert.True(t, d.Reset, name)
		assert.Len(t, d.Agents, 1, name)
	}
	// More agents come and go than removals are remembered of.
	for i := range maxRemovals + 10 {
		conn := Conn{ID: uint64(i + 10), Transport: TransportWebSocket}
		f.Disconnected(testConn, testNow)
		f.Disconnected(Conn{ID: conn.ID - 1, Transport: TransportWebSocket}, testNow)
		f.Report(conn, reportOf(fmt.Sprint(i), fullReport(0)), testNow)
	}
	assert.True(t, f.Since(p).Reset)
	assert.LessOrEqual(t, len(f.removals.log), maxRemovals)
	recent := f.Position()
	assert.False(t, f.Since(recent).Reset)
}

func TestPositionText(t *testing.T) {
	p := New(Settings{}).Position()
	p.Version = 17
	back, err := ParsePosition(p.String())
	require.NoError(t, err)
	assert.Equal(t, p, back)
	for _, s := range []string{"", "x", "x-", "-3", "x-y", "x-99999999999999999999999", "x--1"} {
		_, err := ParsePosition(s)
		assert.ErrorIs(t, err, ErrBadPosition, s)
	}
}

func TestEqualContentIsKeptOnce(t *testing.T) {
	f := New(Settings{MaxAgents: 3})
	for i := range 3 {
		msg := fullReport(0)
		msg.AvailableComponents = scenarioComponents(words{"hash": "h", "list": "otlp"})
		f.Report(testConn, reportOf(fmt.Sprint(i), msg), testNow)
	}
	a, _ := f.Agent(scenarioUID("0"))
	b, _ := f.Agent(scenarioUID("1"))
	assert.Same(t, a.Config, b.Config)
	assert.Same(t, a.Components, b.Components)
	assert.Len(t, f.configs.entries, 1)

	f.Report(testConn, reportOf("0", &protobufs.AgentToServer{
		SequenceNum: 1, EffectiveConfig: scenarioConfig("other"),
	}), testNow)
	assert.Len(t, f.configs.entries, 2)
	f.Disconnected(testConn, testNow)
	for i := range 3 { // newcomers make the fleet forget the others
		f.Report(Conn{ID: 2, Transport: TransportWebSocket}, reportOf("new"+fmt.Sprint(i), fullReport(0)), testNow)
	}
	assert.Len(t, f.configs.entries, 1)
	assert.Empty(t, f.components.entries)
	assert.Len(t, f.agents, 3)
	assert.Len(t, f.conns, 1)
}

func TestStatsAddUp(t *testing.T) {
	f := New(Settings{})
	for i := range 4 {
		f.Report(Conn{ID: uint64(i), Transport: TransportWebSocket}, reportOf(fmt.Sprint(i), fullReport(0)), testNow)
	}
	f.Disconnected(Conn{ID: 0, Transport: TransportWebSocket}, testNow)
	f.Tick(testNow.Add(time.Hour))
	f.Report(testConn, reportOf("1", &protobufs.AgentToServer{SequenceNum: 1}), testNow.Add(time.Hour))
	s := f.Stats()
	assert.Equal(t, map[Liveness]int{LivenessConnected: 1, LivenessLost: 1, LivenessSilent: 2}, s.Agents)
	assert.Equal(t, map[Condition]int{ConditionHealthy: 1, ConditionGone: 3}, s.Conditions)
	s.Agents[LivenessLost] = 99
	assert.Equal(t, 1, f.Stats().Agents[LivenessLost], "figures are a copy")
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	f := New(Settings{MaxAgents: 50})
	var wg sync.WaitGroup
	for g := range 4 {
		conn := Conn{ID: uint64(g + 1), Transport: TransportWebSocket}
		wg.Go(func() {
			for i := range uint64(200) {
				f.Report(conn, reportOf(fmt.Sprint(i%70), fullReport(i)), testNow)
				if i%50 == 0 {
					f.Disconnected(conn, testNow)
				}
			}
		})
		wg.Go(func() {
			w := f.Watch()
			defer w.Close()
			var p Position
			for range 200 {
				p = f.Since(p).Position
				agents, _ := f.Agents()
				f.Latest(agents)
				f.Tick(testNow)
				f.Stats()
			}
		})
	}
	wg.Wait()
	agents, _ := f.Agents()
	assert.LessOrEqual(t, len(agents), 50)
	seen := map[opampwire.InstanceUID]bool{}
	for _, a := range agents {
		assert.False(t, seen[a.UID])
		seen[a.UID] = true
	}
	assert.Len(t, agents, len(f.agents))
}

func BenchmarkHeartbeat(b *testing.B) {
	for _, n := range []int{1_000, 15_000} {
		b.Run(fmt.Sprintf("agents=%d", n), func(b *testing.B) {
			f, msgs := benchFleet(b, n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				msg := msgs[i%n]
				msg.SequenceNum++
				f.Report(testConn, msg, testNow)
				i++
			}
		})
	}
}

func benchFleet(b *testing.B, n int) (*Fleet, []*protobufs.AgentToServer) {
	f := New(Settings{MaxAgentsPerConnection: n})
	msgs := make([]*protobufs.AgentToServer, n)
	for i := range msgs {
		name := fmt.Sprint(i)
		require.Nil(b, f.Report(testConn, reportOf(name, fullReport(0)), testNow).GetErrorResponse())
		msgs[i] = reportOf(name, &protobufs.AgentToServer{Capabilities: scenarioCapabilities("")})
	}
	return f, msgs
}

func BenchmarkFullReport(b *testing.B) {
	f := New(Settings{})
	msg := fullReport(0)
	var parts []string
	for p := range 5 {
		for c := range 10 {
			parts = append(parts, fmt.Sprintf("pipeline:traces%d/exporter:otlp%d=StatusOK", p, c))
		}
	}
	msg.Health = scenarioHealth(words{"full": "1"}, parts)
	reportOf("a", msg)
	b.ReportAllocs()
	for b.Loop() {
		f.Report(testConn, msg, testNow)
		msg.SequenceNum++
	}
}
