// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// ring is gateways on addresses that are known before the gateways are made.
type ring struct {
	t     testing.TB
	webs  []*httptest.Server
	rigs  []*rig
	seen  []*observed
	lines *observer.ObservedLogs
}

func newRing(t testing.TB, n int) *ring {
	o := &ring{t: t, webs: make([]*httptest.Server, n), rigs: make([]*rig, n), seen: make([]*observed, n)}
	for i := range n {
		o.webs[i] = httptest.NewUnstartedServer(nil)
	}
	return o
}

func (o *ring) address(i int) string { return o.webs[i].Listener.Addr().String() }

func (o *ring) url(scheme string, i int) string { return scheme + "://" + o.address(i) + "/v1/opamp" }

// make makes gateway i, which goes to these endpoints.
func (o *ring) make(i int, set Settings, upstream ...string) *rig {
	o.t.Helper()
	core, lines := observer.New(zap.WarnLevel)
	o.lines, o.seen[i] = lines, new(observed)
	set.Logger, set.Observer = zap.New(core), o.seen[i]
	for _, address := range upstream {
		set.Endpoints = append(set.Endpoints, endpoint(o.t, address))
	}
	o.rigs[i] = newRigOn(o.t, set, o.webs[i])
	return o.rigs[i]
}

// requireTold has an agent of gateway i told what is wrong, and its operator.
func (o *ring) requireTold(i int) {
	o.t.Helper()
	r := o.rigs[i]
	r.eventually(func() bool { return o.seen[i].count("dialled loop") >= 1 }, "gateway %d does not find the loop", i)
	_, resp, err := r.dial(nil)
	require.Error(o.t, err)
	require.Equal(o.t, http.StatusServiceUnavailable, resp.StatusCode)
	text, err := io.ReadAll(resp.Body)
	require.NoError(o.t, err)
	require.Contains(o.t, string(text), errLooped.Error(), "the agent's operator reads what is wrong, and whose fault it is")
	require.Contains(o.t, string(text), "upstream.endpoint")
}

func TestLoopOfOneGateway(t *testing.T) {
	o := newRing(t, 1)
	r := o.make(0, Settings{}, o.url("ws", 0))
	o.requireTold(0)
	require.GreaterOrEqual(t, r.Stats().Looped, int64(1))
	var said []observer.LoggedEntry
	r.eventually(func() bool {
		said = o.lines.FilterMessage("no connection to the OpAMP server").All()
		return len(said) > 0
	}, "nothing is said")
	require.Contains(t, said[0].ContextMap()["error"], "upstream.endpoint leads back to this gateway")
}

// Nobody can connect first, for none has a server.
func TestLoopOfSeveralGateways(t *testing.T) {
	for _, n := range []int{2, 3, 4} {
		t.Run(string(rune('0'+n)), func(t *testing.T) {
			t.Parallel()
			o := newRing(t, n)
			for i := range n {
				o.make(i, Settings{}, o.url("ws", (i+1)%n))
			}
			for i := range n {
				o.requireTold(i)
			}
		})
	}
}

// Gateways that fall back on each other make no loop of it when their server is gone.
func TestGatewaysThatFallBackOnEachOther(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	o := newRing(t, 2)
	server := "ws://" + p.addr + "/v1/opamp"
	for i := range 2 {
		o.make(i, Settings{MaxPerConnection: 100}, server, o.url("ws", 1-i))
		o.rigs[i].eventually(func() bool { return o.rigs[i].pool.connected.Load() == 1 }, "")
	}
	a, b := o.rigs[0].arrive(), o.rigs[1].arrive()
	a.attend()
	b.attend()
	p.kill()
	o.rigs[0].eventually(func() bool { return o.seen[0].count("dialled loop")+o.seen[1].count("dialled loop") > 0 }, "")
	p.revive()
	for _, agent := range []*testAgent{a, b} {
		o.rigs[0].returns(func() bool { return p.connects(agent.uid) }, "%s does not come back", agent.uid)
	}
	assert.Zero(t, o.rigs[0].duplicates(DuplicatesReplace)+o.rigs[1].duplicates(DuplicatesReplace))
}

// Three in a row, and the last one, which loses its server, goes to the first: what the first was told when it connected
// is not so any more.
func TestLoopThatClosesLater(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	o := newRing(t, 3)
	last := o.make(2, Settings{MaxPerConnection: 100}, "ws://"+p.addr+"/v1/opamp", o.url("ws", 0))
	last.eventually(func() bool { return last.pool.connected.Load() == 1 }, "")
	middle := o.make(1, Settings{MaxPerConnection: 100}, o.url("ws", 2))
	middle.eventually(func() bool { return middle.pool.connected.Load() == 1 }, "")
	first := o.make(0, Settings{MaxPerConnection: 100}, o.url("ws", 1))
	first.eventually(func() bool { return first.pool.connected.Load() == 1 }, "")
	a := first.arrive()
	a.attend()
	// As if the middle one had found its way over the last one only after the first had come.
	first.kin.mu.Lock()
	for s := range first.kin.above {
		first.kin.above[s] = lineage{names: []string{middle.kin.name}, checked: time.Now()}
	}
	first.kin.mu.Unlock()

	p.kill()
	last.eventually(func() bool {
		return o.seen[0].count("dialled loop")+o.seen[1].count("dialled loop")+o.seen[2].count("dialled loop") > 0
	}, "nobody finds the loop")
	p.revive()
	for _, r := range []*rig{last, middle, first} { // each at its own pace
		r.returns(func() bool { return r.pool.connected.Load() == 1 }, "it does not come back")
	}
	first.returns(func() bool { return p.connects(a.uid) }, "the agent does not come back")
	assert.Less(t, last.up.messages.Load(), int64(1000), "nothing has gone round")
}

func TestLoopOfConnectionsOfOneAgentEach(t *testing.T) {
	o := newRing(t, 2)
	for i := range 2 {
		o.make(i, Settings{Multiplexing: MultiplexPerAgent, HandshakeTimeout: patience}, o.url("ws", 1-i))
	}
	a := o.rigs[0].connect(opamp(1))
	a.send(described("a"))
	o.rigs[1].eventually(func() bool { return o.seen[1].count("dialled loop") == 1 }, "")
	own := func() *slot {
		o.rigs[0].mu.Lock()
		defer o.rigs[0].mu.Unlock()
		for s := range o.rigs[0].sessions {
			return s.own.slot
		}
		return nil
	}
	o.rigs[0].eventually(func() bool { return own().refused.Load() }, "the other has no server for it")
	a.send(&protobufs.AgentToServer{})
	a.requireClosed(websocket.StatusPolicyViolation)
	assert.Equal(t, int64(1), o.rigs[0].up.messages.Load())
	assert.Zero(t, o.rigs[1].up.messages.Load())
}

func TestLoopOverPlainHTTP(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Run(string(rune('0'+n)), func(t *testing.T) {
			o := newRing(t, n)
			for i := range n {
				o.make(i, Settings{}, o.url("http", (i+1)%n))
			}
			agent := &poller{r: o.rigs[0], uid: opamp(1)}
			status, _ := agent.post(described("a"))
			require.Equal(t, http.StatusServiceUnavailable, status)
			status, _ = agent.post(described("a"))
			require.Equal(t, http.StatusServiceUnavailable, status)
			o.rigs[0].waitDropped(ReasonUpstreamFailed, 2)
			looped := 0
			for i := range n {
				looped += o.seen[i].count("dialled loop")
				assert.LessOrEqual(t, o.rigs[i].up.messages.Load(), int64(2))
			}
			assert.GreaterOrEqual(t, looped, 1)
		})
	}
}

// An agent that claims to be the gateway above has itself refused, and nobody else, though a connection is made for it.
func TestAgentThatClaimsToBeTheGatewayAbove(t *testing.T) {
	p := newPartner(t)
	upper := connected(t, Settings{MaxPerConnection: 100}, p)
	lower := newRig(t, Settings{Grace: 10 * time.Millisecond, UpstreamIdle: 10 * time.Millisecond}, "ws://"+upper.addr+"/v1/opamp")
	rest := func(a *testAgent) {
		t.Helper()
		a.send(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}}) // its answer may come after its grace
		a.vanish()
		lower.eventually(func() bool { return lower.pool.connected.Load() == 0 }, "its connection is not let go")
	}
	a := lower.arrive()
	for range 3 {
		rest(a)
		lower.kin.mu.Lock()
		clear(lower.kin.above) // as if it had not connected yet
		lower.kin.mu.Unlock()
		_, resp, err := lower.dial(http.Header{gatewaysHeader: {upper.kin.name}})
		require.Error(t, err)
		require.Equal(t, http.StatusLoopDetected, resp.StatusCode)
		a = lower.arrive() // who comes next is carried
		a.beat()
		require.NotErrorIs(t, lower.absence(), errLooped)
	}
}

// What was known of the way to the server while there was one keeps nobody away when there is none: the gateway that comes
// may be the only reason to find out that it is another by now.
func TestTheWayThatWasKeepsNobodyAway(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{Grace: 10 * time.Millisecond, UpstreamIdle: 10 * time.Millisecond}, p)
	a := r.arrive()
	r.kin.mu.Lock()
	r.kin.above[r.pool.all()[0]] = lineage{names: []string{"another"}} // as if the server had been reached over it
	r.kin.mu.Unlock()
	come := func() bool {
		ws, resp, err := r.dial(http.Header{gatewaysHeader: {"another"}})
		if err != nil {
			require.Equal(t, http.StatusLoopDetected, resp.StatusCode)
			return false
		}
		_ = ws.CloseNow()
		require.Equal(t, r.kin.name, resp.Header.Get(gatewaysHeader), "it is told what is so now")
		return true
	}
	require.False(t, come())
	a.send(&protobufs.AgentToServer{AgentDisconnect: &protobufs.AgentDisconnect{}}) // its answer may come after its grace
	a.vanish()
	r.eventually(come, "it is refused for what was")
}

// A way between that takes the header out leaves a loop unnamed, and bounded all the same: a UID has one connection.
func TestLoopOfWhichNothingTells(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	r := connected(t, Settings{Silence: 3 * time.Second}, p)
	a := r.arrive()
	alive := a.ws.CloseRead(t.Context()) // answers pings
	echo := r.connect(a.uid)             // as if it came back
	echo.send(described("agent"))
	echo.requireClosed(websocket.StatusPolicyViolation)
	require.Equal(t, 1, p.agent(a.uid).messages)
	require.NoError(t, alive.Err())
	r.waitDropped(ReasonDuplicate, 1)
}

func TestWhatTheHeaderOfGatewaysMayHold(t *testing.T) {
	long := strings.Repeat("x", maxNameSize+1)
	many := strings.Repeat("n, ", 1000)
	for _, tt := range []struct {
		lines []string
		want  int
	}{
		{nil, 0},
		{[]string{""}, 0},
		{[]string{", ,,"}, 0},
		{[]string{long}, 0},
		{[]string{long + ", a"}, 1},
		{[]string{"a", "b,c"}, 3},
		{[]string{many}, maxAbove},
		{[]string{many, many}, maxAbove},
	} {
		assert.Len(t, gatewaysIn(http.Header{gatewaysHeader: tt.lines}), tt.want)
	}
	// An agent that says it is a gateway is told a name that is of no use to it, and carried like any other.
	p := newPartner(t)
	r := connected(t, Settings{}, p)
	ws, resp, err := r.dial(http.Header{gatewaysHeader: {"me"}})
	require.NoError(t, err)
	assert.Equal(t, r.kin.name, resp.Header.Get(gatewaysHeader))
	a := &testAgent{t: t, ws: ws, uid: opampwire.NewInstanceUID()}
	a.report()
	_, resp, err = r.dial(http.Header{gatewaysHeader: {r.kin.name}})
	require.Error(t, err, "with the gateway's own it harms itself")
	assert.Equal(t, http.StatusLoopDetected, resp.StatusCode)
	_, resp, err = r.dial(nil)
	require.NoError(t, err)
	assert.Empty(t, resp.Header.Get(gatewaysHeader), "who does not ask is not told")
	assert.Zero(t, a.say(&protobufs.AgentToServer{}).GetFlags())
}
