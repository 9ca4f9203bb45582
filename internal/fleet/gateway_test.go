// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

func manyUIDs(from, n int) []opampwire.InstanceUID {
	out := make([]opampwire.InstanceUID, n)
	for i := range out {
		out[i][0] = 0x7f
		binary.BigEndian.PutUint32(out[i][12:], uint32(from+i))
	}
	return out
}

// tellAt lets an agent send a message of a gateway.
func tellAt(t *testing.T, f *Fleet, name, kind string, message any, now time.Time) {
	t.Helper()
	data, ok := message.([]byte)
	if !ok {
		var err error
		data, err = json.Marshal(message)
		require.NoError(t, err)
	}
	reply := f.Report(gatewayConn(name), reportOf(name, &protobufs.AgentToServer{
		CustomMessage: &protobufs.CustomMessage{Capability: gatewaystatus.Capability, Type: kind, Data: data},
	}), now)
	require.Nil(t, reply.GetErrorResponse())
}

func gatewayConn(name string) Conn {
	return Conn{ID: uint64(name[0])<<8 + uint64(name[len(name)-1]), Transport: TransportWebSocket}
}

func listAt(t *testing.T, f *Fleet, name string, version uint64, uids []opampwire.InstanceUID) {
	t.Helper()
	for _, part := range gatewaystatus.List("opamp_gateway", version, uids) {
		tellAt(t, f, name, gatewaystatus.TypeAgents, part, testNow)
	}
}

func gatewayOf(t *testing.T, f *Fleet, name string) *Gateway {
	t.Helper()
	a, ok := f.Agent(scenarioUID(name))
	require.True(t, ok)
	require.Len(t, a.Gateways, 1)
	return a.Gateways[0]
}

func TestAListingHoldsUntilTheNextIsWhole(t *testing.T) {
	f := New(Settings{})
	first, second := manyUIDs(1, 3*gatewaystatus.PartSize-1), manyUIDs(5*gatewaystatus.PartSize, 2*gatewaystatus.PartSize)
	parts := gatewaystatus.List("opamp_gateway", 1, first)
	for _, i := range []int{2, 0, 0, 1} { // in any order, and twice
		assert.False(t, i == 2 && len(f.Behind(first[0])) > 0)
		tellAt(t, f, "g", gatewaystatus.TypeAgents, parts[i], testNow)
	}
	g := gatewayOf(t, f, "g")
	assert.True(t, g.Listed)
	assert.False(t, g.Told)
	assert.Equal(t, len(first), g.Carried)
	for _, uid := range []opampwire.InstanceUID{first[0], first[len(first)-1]} {
		assert.True(t, g.Carries(uid))
	}
	assert.False(t, g.Carries(second[0]))

	next := gatewaystatus.List("opamp_gateway", 2, second)
	tellAt(t, f, "g", gatewaystatus.TypeAgents, next[0], testNow)
	assert.True(t, gatewayOf(t, f, "g").Carries(first[0]), "half of the next is nobody's word yet")
	tellAt(t, f, "g", gatewaystatus.TypeAgents, next[1], testNow)
	assert.True(t, gatewayOf(t, f, "g").Carries(second[0]))
	assert.False(t, gatewayOf(t, f, "g").Carries(first[0]))
	assert.True(t, g.Carries(first[0]), "what somebody holds never changes")
	assert.Equal(t, weigh(f), f.Stats().Memory)

	listAt(t, f, "g", 3, nil)
	assert.Zero(t, gatewayOf(t, f, "g").Carried)
	assert.True(t, gatewayOf(t, f, "g").Listed, "nobody is news as well")
}

func TestAStatusThatCameAgainIsOld(t *testing.T) {
	f := New(Settings{})
	status := func(updated time.Duration, agents int) gatewaystatus.Status {
		return gatewaystatus.Status{Gateway: "opamp_gateway", Updated: testNow.Add(updated).UnixNano(), Agents: agents}
	}
	tellAt(t, f, "g", gatewaystatus.TypeStatus, status(0, 5), testNow)
	tellAt(t, f, "g", gatewaystatus.TypeStatus, status(-time.Minute, 4), testNow)
	assert.Equal(t, 5, gatewayOf(t, f, "g").Agents)
	tellAt(t, f, "g", gatewaystatus.TypeStatus, status(-time.Hour, 3), testNow)
	assert.Equal(t, 3, gatewayOf(t, f, "g").Agents, "the clock was set back")
	assert.True(t, gatewayOf(t, f, "g").Told)
}

// Whoever says that it carries others changes nothing of them but that it says so.
func TestWhoClaimsTheAgentsOfOthersChangesNothingOfThem(t *testing.T) {
	f := New(Settings{})
	victims := []string{"v1", "v2"}
	var uids []opampwire.InstanceUID
	before := map[string]*Agent{}
	for _, v := range victims {
		msg := fullReport(1)
		uid := scenarioUID(v)
		msg.InstanceUid = uid.Bytes()
		require.Nil(t, f.Report(gatewayConn(v), msg, testNow).GetErrorResponse())
		before[v], _ = f.Agent(uid)
		uids = append(uids, uid)
	}
	listAt(t, f, "liar", 1, append(uids, scenarioUID("liar"), opampwire.InstanceUID{9}))
	tellAt(t, f, "liar", gatewaystatus.TypeStatus, gatewaystatus.Status{Gateway: "opamp_gateway", Agents: 1 << 30}, testNow)
	f.Tick(testNow.Add(2 * time.Second))
	for _, v := range victims {
		a, _ := f.Agent(scenarioUID(v))
		assert.Same(t, before[v], a)
		require.Len(t, f.Behind(a.UID), 1)
		assert.Equal(t, scenarioUID("liar"), f.Behind(a.UID)[0].Agent.UID)
	}
	assert.Empty(t, f.Behind(scenarioUID("liar")), "nobody is behind itself")
	assert.Len(t, f.agents, 3, "a claim makes nobody known")
	_, known := f.Agent(opampwire.InstanceUID{9})
	assert.False(t, known)

	f.Disconnected(gatewayConn("liar"), testNow)
	for _, v := range victims {
		a, _ := f.Agent(scenarioUID(v))
		assert.Same(t, before[v], a, "they are not lost with it")
		assert.Empty(t, f.Behind(a.UID))
	}
	top := f.Topology(10)
	assert.Zero(t, top.Behind)
	require.Len(t, top.Gateways, 1, "who is gone is still told of")
	assert.Equal(t, 3, top.Gateways[0].Known)
}

func TestTopologyOfTwoGateways(t *testing.T) {
	f := New(Settings{})
	for i := range 12 {
		uid := scenarioUID(fmt.Sprint("a", i))
		msg := &protobufs.AgentToServer{InstanceUid: uid.Bytes(), Health: &protobufs.ComponentHealth{Healthy: i > 2, Status: "StatusOK"}}
		if i <= 2 {
			msg.Health.Status, msg.Health.LastError = "StatusPermanentError", "refused"
		}
		f.Report(wsConn(100+i), msg, testNow)
	}
	uids := func(from, to int) (out []opampwire.InstanceUID) {
		for i := from; i < to; i++ {
			out = append(out, scenarioUID(fmt.Sprint("a", i)))
		}
		return out
	}
	listAt(t, f, "east", 1, append(uids(0, 8), scenarioUID("west")))
	listAt(t, f, "west", 1, uids(6, 10))
	f.Disconnected(wsConn(107), testNow)
	top := f.Topology(4)
	assert.Equal(t, 14, top.Agents)
	assert.Equal(t, 13, top.Connected)
	assert.Equal(t, 10, top.Behind, "whom two carry is counted once, and who is lost is not")
	require.Len(t, top.Gateways, 2)
	i := slices.IndexFunc(top.Gateways, func(b Branch) bool { return b.Agent.UID == scenarioUID("east") })
	east, west := top.Gateways[i], top.Gateways[1-i]
	assert.Equal(t, map[Condition]int{ConditionUnhealthy: 3, ConditionGone: 1, ConditionHealthy: 4, ConditionUnknown: 1}, east.Conditions)
	assert.Equal(t, 9, east.Known)
	require.Len(t, east.Members, 4)
	assert.Equal(t, ConditionUnhealthy, east.Members[2].Condition())
	assert.Equal(t, ConditionGone, east.Members[3].Condition())
	assert.Empty(t, east.Behind)
	require.Len(t, west.Behind, 1, "it is chained")
	assert.Equal(t, scenarioUID("east"), west.Behind[0].Agent.UID)
}

// chainAt lets agents tell of gateways that go over each other, each of which carries what the next one does and one more.
func chainAt(t *testing.T, f *Fleet, over map[string][]string, order ...string) {
	t.Helper()
	for i, who := range order {
		uid := scenarioUID("a-" + who)
		f.Report(wsConn(100+i), &protobufs.AgentToServer{InstanceUid: uid.Bytes(), Health: &protobufs.ComponentHealth{Healthy: true}}, testNow)
		var carried []opampwire.InstanceUID
		for _, further := range order[i:] {
			carried = append(carried, scenarioUID("a-"+further))
			if further != who {
				carried = append(carried, scenarioUID(further))
			}
		}
		tellAt(t, f, who, gatewaystatus.TypeStatus, gatewaystatus.Status{Gateway: "opamp_gateway", Name: "name-" + who, Over: over[who]}, testNow)
		listAt(t, f, who, 1, carried)
	}
}

func TestGatewaysBehindGateways(t *testing.T) {
	f := New(Settings{})
	chainAt(t, f, map[string][]string{"mid": {"name-top"}, "low": {"name-mid", "name-top"}}, "top", "mid", "low")
	listAt(t, f, "alone", 1, nil)
	top := f.Topology(10)
	at := map[string]Branch{}
	place := map[string]int{}
	for i, b := range top.Gateways {
		for _, who := range []string{"top", "mid", "low", "alone"} {
			if b.Agent.UID == scenarioUID(who) {
				at[who], place[who] = b, i
			}
		}
	}
	require.Len(t, at, 4)
	assert.Equal(t, []int{-1, place["top"], place["mid"], -1}, []int{at["top"].Parent, at["mid"].Parent, at["low"].Parent, at["alone"].Parent})
	assert.Equal(t, []int{0, 1, 2, 0}, []int{at["top"].Depth, at["mid"].Depth, at["low"].Depth, at["alone"].Depth})
	assert.Equal(t, []int{place["top"] + 1, place["top"] + 2}, []int{place["mid"], place["low"]}, "each follows the one that it goes over")
	for who, known := range map[string]int{"top": 5, "mid": 3, "low": 1} {
		assert.Equal(t, known, at[who].Known, who)
		assert.Equal(t, 1, at[who].Direct, "%s: the others are nearer to another, or are gateways", who)
		assert.Zero(t, at[who].DirectUnknown)
		require.Len(t, at[who].Members, 1)
		assert.Equal(t, scenarioUID("a-"+who), at[who].Members[0].UID)
	}
	assert.Equal(t, 5, top.Behind)

	f.Disconnected(gatewayConn("top"), testNow)
	for _, b := range f.Topology(1).Gateways {
		if b.Agent.UID == scenarioUID("mid") {
			assert.Equal(t, -1, b.Parent, "nobody is shown behind who is gone")
		}
	}
}

// Whatever gateways say of each other, each is shown once, and not too deep.
func TestGatewaysThatGoRoundInCircles(t *testing.T) {
	for name, over := range map[string]map[string][]string{
		"itself":       {"a": {"name-a"}},
		"each other":   {"a": {"name-b"}, "b": {"name-a"}},
		"all in a row": {"a": {"name-b"}, "b": {"name-c"}, "c": {"name-d"}, "d": {"name-a"}},
		"everybody":    {"a": {"name-b", "name-c"}, "b": {"name-a", "name-c"}, "c": {"name-a", "name-b"}, "d": {"name-a", "name-d"}},
		"nobody":       {"a": {"x"}, "b": {""}, "c": {"name-x"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := New(Settings{})
			chainAt(t, f, over, "a", "b", "c", "d")
			requireWhole(t, f.Topology(10), 4)
		})
	}
	t.Run("deep", func(t *testing.T) {
		f := New(Settings{})
		over, order := map[string][]string{}, []string{}
		for i := range 3 * maxDepth {
			who := fmt.Sprint("g", i)
			if i > 0 {
				over[who] = []string{fmt.Sprint("name-g", i-1)}
			}
			order = append(order, who)
		}
		chainAt(t, f, over, order...)
		requireWhole(t, f.Topology(10), 3*maxDepth)
	})
	t.Run("one name", func(t *testing.T) {
		f := New(Settings{})
		for _, who := range []string{"a", "b", "c"} {
			tellAt(t, f, who, gatewaystatus.TypeStatus, gatewaystatus.Status{Gateway: "g", Name: "same", Over: []string{"same"}}, testNow)
		}
		requireWhole(t, f.Topology(10), 3)
	})
}

func requireWhole(t *testing.T, top Topology, n int) {
	t.Helper()
	seen := map[opampwire.InstanceUID]bool{}
	for i, b := range top.Gateways {
		seen[b.Agent.UID] = true
		require.Less(t, b.Parent, i, "who it goes over comes before")
		require.LessOrEqual(t, b.Depth, maxDepth)
		if b.Parent >= 0 {
			require.Equal(t, top.Gateways[b.Parent].Depth+1, b.Depth)
		} else {
			require.Zero(t, b.Depth)
		}
	}
	require.Len(t, seen, n)
	require.Len(t, top.Gateways, n)
}

func TestWhatGatewaysTellIsBounded(t *testing.T) {
	const most = 16 << 20
	f := New(Settings{MaxMemory: most})
	for i := range 3 * maxGateways {
		tellAt(t, f, "g", gatewaystatus.TypeStatus, gatewaystatus.Status{Gateway: fmt.Sprint("g/", i)}, testNow.Add(time.Duration(i)*time.Second))
	}
	a, _ := f.Agent(scenarioUID("g"))
	require.Len(t, a.Gateways, maxGateways)
	for _, g := range a.Gateways {
		assert.Equal(t, testNow.Add(2*maxGateways*time.Second), minTime(g.Heard, testNow.Add(2*maxGateways*time.Second)))
	}
	many := manyUIDs(1, maxCarried+2500)
	listAt(t, f, "h", 1, many)
	g := gatewayOf(t, f, "h")
	assert.Equal(t, []int{maxCarried, 2500}, []int{g.Carried, g.Omitted})
	assert.Equal(t, weigh(f), f.Stats().Memory)

	for i := range 14 { // more than there is memory for
		listAt(t, f, fmt.Sprintf("x%c", rune('a'+i)), 1, many)
	}
	assert.LessOrEqual(t, f.Stats().Memory, int64(most+16*agentBytes*2), "rows remain")
	assert.Equal(t, weigh(f), f.Stats().Memory)
	assert.NotZero(t, f.Stats().Cuts[CutMemory])
	top := f.Topology(10)
	assert.LessOrEqual(t, len(top.Gateways), maxTopologyGateways)
	counted := 0
	for _, b := range top.Gateways {
		if b.Counted {
			counted += b.Known + b.Unknown
		}
	}
	assert.LessOrEqual(t, counted, maxTopologyUIDs)
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func TestMoreGatewaysThanATopologyTells(t *testing.T) {
	f := New(Settings{})
	first := scenarioUID("first")
	listAt(t, f, "first", 1, manyUIDs(1, 1))
	for i := range maxTopologyGateways + 10 {
		uid := manyUIDs(1000+i, 1)[0]
		f.Report(wsConn(1000+i), &protobufs.AgentToServer{InstanceUid: uid.Bytes(), CustomMessage: &protobufs.CustomMessage{
			Capability: gatewaystatus.Capability, Type: gatewaystatus.TypeStatus, Data: []byte(`{"gateway":"a"}`),
		}}, testNow.Add(time.Second))
	}
	top := f.Topology(1)
	assert.Len(t, top.Gateways, maxTopologyGateways)
	assert.Equal(t, 11, top.Omitted)
	assert.Equal(t, first, top.Gateways[0].Agent.UID, "who comes later pushes nobody out")
}

func TestWhatCannotBeReadOfAGatewayIsCounted(t *testing.T) {
	f := New(Settings{})
	for _, data := range []string{
		"", "{", "[]", `{"gateway":"` + strings.Repeat("x", 300) + `"}`, `{"messages_up":-1}`, `{"parts":0}`,
		`{"upstreams":[{"answer_time_seconds":1e400}]}`, strings.Repeat("[", 1<<20),
	} {
		for _, kind := range []string{gatewaystatus.TypeStatus, gatewaystatus.TypeAgents} {
			f.Report(testConn, messageReport(gatewaystatus.Capability, kind, []byte(data)), testNow)
		}
	}
	f.Report(testConn, messageReport(gatewaystatus.Capability, "Other", []byte("{}")), testNow)
	assert.NotZero(t, f.Stats().Cuts[CutGateway])
	for _, g := range theAgent(t, f).Gateways {
		assert.LessOrEqual(t, len(g.Gateway), gatewaystatus.MaxText)
	}
	tellAt(t, f, "h", gatewaystatus.TypeStatus, []byte(
		`{"gateway":"g","agents":-5,"connections":99999999999,"updated_unix_nano":-1,"upstreams":[{"queued_bytes":-9,"answer_time_seconds":-1}]}`), testNow)
	g := gatewayOf(t, f, "h")
	assert.Zero(t, g.Agents)
	assert.Zero(t, g.Updated)
	assert.Zero(t, g.QueuedBytes())
	assert.Zero(t, g.Upstreams[0].AnswerTime)
	assert.Equal(t, 1<<31-1, g.Connections)
}

// BenchmarkTopology is of a hundred thousand agents behind ten gateways.
func BenchmarkTopology(b *testing.B) {
	const gateways, each = 10, 10_000
	f := New(Settings{MaxAgents: 2 * gateways * each, MaxAgentsPerConnection: 2 * gateways * each})
	for g := range gateways {
		uids := manyUIDs(g*each+1, each)
		for _, uid := range uids {
			f.Report(testConn, &protobufs.AgentToServer{InstanceUid: uid.Bytes(), Health: &protobufs.ComponentHealth{Healthy: true}}, testNow)
		}
		carrier := scenarioUID(fmt.Sprint("gateway-", g))
		for _, part := range gatewaystatus.List("opamp_gateway", 1, uids) {
			data, err := json.Marshal(part)
			require.NoError(b, err)
			f.Report(testConn, &protobufs.AgentToServer{InstanceUid: carrier.Bytes(), CustomMessage: &protobufs.CustomMessage{
				Capability: gatewaystatus.Capability, Type: gatewaystatus.TypeAgents, Data: data,
			}}, testNow)
		}
	}
	some := manyUIDs(gateways*each/2, 1)[0]
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if t := f.Topology(50); t.Behind != gateways*each {
				b.Fatal(t.Behind)
			}
		}
	})
	b.Run("behind-of-one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if len(f.Behind(some)) != 1 {
				b.Fatal("it is behind one")
			}
		}
	})
}
