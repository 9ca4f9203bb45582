// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// pipes is a server that answers every message, reached by pipes in place of a network, so
// that time can be made up.
type pipes struct {
	absent atomic.Bool  // nobody listens
	refuse atomic.Int64 // status of each handshake; 0: it is accepted
	frozen atomic.Bool  // it reads and answers nothing

	mu     sync.Mutex
	dialed []time.Time // guarded by mu
	open   int         // guarded by mu
	heard  int         // guarded by mu: messages
}

// RoundTrip implements http.RoundTripper.
func (p *pipes) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialed = append(p.dialed, time.Now())
	if p.absent.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if status := int(p.refuse.Load()); status != 0 {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	near, far := net.Pipe()
	p.open++
	go p.serve(far)
	return &http.Response{
		StatusCode: http.StatusSwitchingProtocols, Body: near, Request: r,
		Header: http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Accept": {opamptest.AcceptKey(r.Header.Get("Sec-WebSocket-Key"))}},
	}, nil
}

func (p *pipes) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	}()
	in := bufio.NewReader(c)
	for {
		var head wsframe.Header
		for want := 2; want > 0; {
			b, err := in.Peek(want)
			if err != nil {
				return
			}
			var size int
			if head, size, err = wsframe.ParseHeader(b, wsframe.FromClient); err != nil {
				return
			}
			if want = size; size <= len(b) {
				_, _ = in.Discard(size)
				want = 0
			}
		}
		payload := make([]byte, head.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		wsframe.Mask(payload, head.Mask)
		if p.frozen.Load() {
			continue
		}
		if !p.answer(c, head.Op, payload) {
			return
		}
	}
}

func (p *pipes) answer(c net.Conn, op wsframe.Opcode, payload []byte) bool {
	switch op {
	case wsframe.OpPing:
		_, _ = c.Write(serverFrame(0x8a, payload))
	case wsframe.OpClose:
		_, _ = c.Write(serverFrame(0x88, payload))
		return false
	case wsframe.OpBinary:
		m, err := opampwire.ScanAgentMessage(payload[1:])
		if err != nil {
			return false
		}
		p.mu.Lock()
		p.heard++
		p.mu.Unlock()
		_, _ = c.Write(serverFrame(0x82, append([]byte{0}, opampwire.AppendAcknowledgement(nil, m.UID)...)))
	}
	return true
}

func (p *pipes) counts() (dials, open, heard int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dialed), p.open, p.heard
}

// sleeper is a gateway in a bubble of made up time.
type sleeper struct {
	*Gateway
	t    *testing.T
	to   *pipes
	seen *observed
}

func asleep(t *testing.T, set Settings) *sleeper { return asleepBeside(t, new(pipes), set) }

// asleepBeside is asleep with a server that is as the test has it.
func asleepBeside(t *testing.T, to *pipes, set Settings) *sleeper {
	seen := new(observed)
	set.Endpoints = []Endpoint{{URL: &url.URL{Scheme: "ws", Host: "server"}, Client: &http.Client{Transport: to}}}
	set.Observer = seen
	if set.Drain == 0 {
		set.Drain = time.Millisecond
	}
	g, err := New(set)
	require.NoError(t, err)
	g.Start()
	return &sleeper{Gateway: g, t: t, to: to, seen: seen}
}

// end is what a test ends with: goroutines of a bubble must not outlive it.
func (s *sleeper) end() { require.NoError(s.t, s.Shutdown(context.Background())) }

// mouth is the downstream connection of an agent.
type mouth struct {
	mu      sync.Mutex
	answers int // guarded by mu
}

func (*mouth) Info() opampserver.ConnInfo { return opampserver.ConnInfo{} }
func (*mouth) Ping() error                { return nil }
func (*mouth) Heard() time.Duration       { return 0 }
func (*mouth) Left() bool                 { return false }
func (*mouth) Share(int)                  {}
func (*mouth) Dismiss(uint16, string)     {}

func (m *mouth) SendEncoded([]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers++
	return nil
}

// speaker is an agent as the gateway has it.
type speaker struct {
	opampserver.Session
	mouth *mouth
	uid   opampwire.InstanceUID
	seq   uint64
}

func (s *sleeper) agent(uid opampwire.InstanceUID) *speaker {
	m := new(mouth)
	return &speaker{Session: relay{s.Gateway}.Open(m, &http.Request{}), mouth: m, uid: uid}
}

// beat says something, and returns whether that was answered by the time that all is quiet.
func (a *speaker) beat() bool {
	a.seq++
	before := a.mouth.answers
	if err := a.Message(opampwire.AppendHeartbeat(nil, a.uid, a.seq)[1:]); err != nil {
		return false
	}
	synctest.Wait()
	a.mouth.mu.Lock()
	defer a.mouth.mu.Unlock()
	return a.mouth.answers == before+1
}

func (s *sleeper) states() (connected, idle int) {
	for _, u := range s.Stats().Upstreams {
		switch {
		case u.Connected:
			connected++
		case u.Idle:
			idle++
		}
	}
	return connected, idle
}

// A day in the life of a gateway that nobody uses much.
func TestConnectionsThatCarryNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asleep(t, Settings{MinConnections: 2})
		defer s.end()
		states := func(wantConnected, wantIdle int, format string, args ...any) {
			t.Helper()
			synctest.Wait()
			connected, idle := s.states()
			require.Equalf(t, []int{wantConnected, wantIdle}, []int{connected, idle}, format, args...)
		}
		states(1, 1, "one connection at start says whether the server can be reached")
		time.Sleep(unusedKeep + 2*poolTick)
		states(0, 2, "nothing was said on it, so it goes before a server takes it for a fault")
		dials, open, _ := s.to.counts()
		require.Equal(t, []int{1, 0}, []int{dials, open})
		time.Sleep(24 * time.Hour)
		dials, _, _ = s.to.counts()
		require.Equal(t, 1, dials, "and nobody connects for nobody")
		require.Equal(t, 1, s.seen.count("lost idle"))

		a := s.agent(opamp(1))
		require.True(t, a.beat(), "the first agent's first message arrives")
		states(1, 1, "on the lane that it prefers")
		time.Sleep(time.Hour)
		require.True(t, a.beat())
		dials, _, _ = s.to.counts()
		require.Equal(t, 2, dials, "who has an agent is kept, however silent that is")

		for range 20 { // an agent that comes and goes
			a.Closed()
			time.Sleep(s.set.Grace + s.set.UpstreamIdle/2)
			a = s.agent(opamp(1))
			require.True(t, a.beat())
		}
		dials, _, _ = s.to.counts()
		require.Equal(t, 2, dials, "does not make the connection come and go")
		a.Closed()
		time.Sleep(s.set.Grace + s.set.UpstreamIdle - poolTick)
		states(1, 1, "it is kept for a while")
		time.Sleep(3 * poolTick)
		states(0, 2, "and not for ever")
	})
}

// What the server says long after is no answer, and does not make the pool grow.
func TestNoAnswerIsNoSlowServer(t *testing.T) {
	s := new(slot)
	s.noteSent(opamp(1), time.Minute)
	s.noteAnswer(opamp(1), time.Minute+sampleLimit)
	require.Zero(t, s.wait.Load())
	require.Nil(t, s.sample.Load(), "the next message is measured anew")
	s.noteSent(opamp(1), 2*time.Minute)
	s.noteAnswer(opamp(1), 2*time.Minute+sampleLimit-1)
	require.Positive(t, s.wait.Load())
}

// Agents that come at once to a gateway at rest make a connection for each lane, not for
// each agent.
func TestManyWakeALaneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asleep(t, Settings{MinConnections: 3})
		defer s.end()
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		var ok atomic.Int64
		for i := range 100 {
			all.Go(func() {
				if s.reach(t.Context()) && s.agent(opamp(byte(i+1))).Message(opampwire.AppendHeartbeat(nil, opamp(byte(i+1)), 1)[1:]) == nil {
					ok.Add(1)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		assert.Equal(t, int64(100), ok.Load())
		dials, open, heard := s.to.counts()
		assert.Equal(t, []int{4, 3, 100}, []int{dials, open, heard}, "one at start, three for them")
		assert.Zero(t, sum(s.drop.counts()))
	})
}

// A server that refuses is known from the start, is tried on, and costs the agents that come
// no wait.
func TestServerThatRefusesIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asleep(t, Settings{})
		defer s.end()
		s.to.refuse.Store(http.StatusUnauthorized)
		time.Sleep(unusedKeep + 2*poolTick) // the first one let go
		began := time.Now()
		require.False(t, s.reach(t.Context()), "the agent that wakes the lane learns that there is none")
		require.Zero(t, time.Since(began))
		synctest.Wait()
		connected, idle := s.states()
		require.Equal(t, []int{0, 0}, []int{connected, idle}, "cut off, not idle")
		require.False(t, s.reach(t.Context()))
		s.to.refuse.Store(0)
		time.Sleep(backoffMax)
		require.True(t, s.reach(t.Context()), "it is tried on without an agent")
		require.Positive(t, s.seen.count("dialled unauthorized"))
	})
}

// A server that starts together with the gateway may listen a moment later. Agents that come
// meanwhile are not told to come back, which takes them half a minute.
func TestServerThatStartsAMomentLaterIsWaitedFor(t *testing.T) {
	for name, lanes := range map[string]int{"one lane": 1, "three lanes": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := new(pipes)
				to.absent.Store(true)
				s := asleepBeside(t, to, Settings{MinConnections: lanes})
				defer s.end()
				began := time.Now()
				var all sync.WaitGroup
				var ok atomic.Int64
				for i := range byte(10) {
					all.Go(func() {
						time.Sleep(time.Duration(i) * 150 * time.Millisecond)
						if s.reach(t.Context()) && s.agent(opamp(i+1)).Message(opampwire.AppendHeartbeat(nil, opamp(i+1), 1)[1:]) == nil {
							ok.Add(1)
						}
					})
				}
				time.Sleep(time.Second)
				synctest.Wait()
				_, idle := s.states()
				assert.Equal(t, lanes-1, idle, "what is tried is not idle")
				time.Sleep(500 * time.Millisecond)
				dials, _, _ := to.counts()
				assert.LessOrEqual(t, dials, int(1500*time.Millisecond/(settlePause/2))+1)
				to.absent.Store(false)
				all.Wait()
				assert.LessOrEqual(t, time.Since(began), 1500*time.Millisecond+settlePause)
				synctest.Wait()
				_, _, heard := to.counts()
				assert.Equal(t, []int64{10, 10}, []int64{ok.Load(), int64(heard)})
				assert.Zero(t, sum(s.drop.counts()))
			})
		})
	}
}

// A server that does not come is not waited for any longer, and once it was there never again.
func TestServerThatStaysAwayIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := new(pipes)
		to.absent.Store(true)
		s := asleepBeside(t, to, Settings{MinConnections: 2})
		defer s.end()
		reach := func(want bool, within time.Duration, text string) {
			t.Helper()
			began := time.Now()
			require.Equal(t, want, s.reach(t.Context()), text)
			require.LessOrEqual(t, time.Since(began), within, text)
		}
		reach(false, settleTime, "who comes at the start waits as long as the server may take")
		connected, idle := s.states()
		require.Equal(t, []int{0, 0}, []int{connected, idle}, "cut off, not idle")
		reach(false, 0, "who comes later does not")
		dials, _, _ := to.counts()
		time.Sleep(4 * backoffBase)
		later, _, _ := to.counts()
		require.LessOrEqual(t, later-dials, 2*5, "and the server is left in peace")

		to.absent.Store(false)
		time.Sleep(backoffMax)
		reach(true, 0, "it is found")
		a := s.agent(opamp(1))
		require.True(t, a.beat())
		to.absent.Store(true)
		for _, slot := range s.pool.all() {
			if l := slot.current.Load(); l != nil {
				l.end(io.ErrUnexpectedEOF)
			}
		}
		synctest.Wait()
		reach(false, 0, "who comes while it is away again is told so")
	})
}

// A server that is there and refuses is taken at its word, at the start as well; and a gateway
// that stops lets go who waits.
func TestWhoWaitsAtTheStartIsToldWhatIsKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*pipes)
		then    func(*sleeper)
	}{
		"unauthorized": {func(p *pipes) { p.refuse.Store(http.StatusUnauthorized) }, func(*sleeper) {}},
		"throttled":    {func(p *pipes) { p.refuse.Store(http.StatusServiceUnavailable) }, func(*sleeper) {}},
		"stops":        {func(p *pipes) { p.absent.Store(true) }, (*sleeper).end},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := new(pipes)
				tt.prepare(to)
				s := asleepBeside(t, to, Settings{})
				defer s.end()
				began, done := time.Now(), make(chan bool, 1)
				go func() { done <- s.reach(t.Context()) }()
				synctest.Wait()
				tt.then(s)
				require.False(t, <-done)
				require.Zero(t, time.Since(began))
			})
		})
	}
}

// Servers bound how many agents may share a connection: the pool grows before that.
func TestCrowdIsSharedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 2*crowd + 200
		s := asleep(t, Settings{})
		defer s.end()
		agents := make([]*speaker, 0, most)
		come := func(n int) {
			for range n {
				uid := opamp(1)
				uid[13], uid[14] = byte(len(agents)>>8), byte(len(agents))
				a := s.agent(uid)
				require.NoError(t, a.Message(opampwire.AppendHeartbeat(nil, uid, 1)[1:]))
				agents = append(agents, a)
			}
		}
		states := func(connected int) {
			t.Helper()
			time.Sleep(3 * poolTick)
			synctest.Wait()
			got, idle := s.states()
			require.Equal(t, []int{connected, 0}, []int{got, idle})
		}
		come(crowd)
		states(1)
		come(1)
		states(2)
		come(crowd - 1)
		states(2)
		come(200)
		states(3)
		for _, a := range agents { // a beat each, and those move that another connection is for
			require.NoError(t, a.Message(opampwire.AppendHeartbeat(nil, a.uid, 2)[1:]))
		}
		synctest.Wait()
		for _, u := range s.Stats().Upstreams {
			require.InDelta(t, most/3, u.Agents, most/10)
		}
		require.Zero(t, sum(s.drop.counts()))
	})
}

// What a pool has grown by it takes back when that is at rest.
func TestPoolShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asleep(t, Settings{})
		defer s.end()
		for range 3 {
			s.pool.run(s.hard, s.pool.add(), true)
		}
		agents := make([]*speaker, 50)
		for i := range agents {
			time.Sleep(100 * time.Millisecond)
			agents[i] = s.agent(opamp(byte(i + 1)))
			require.True(t, agents[i].beat())
		}
		connected, idle := s.states()
		require.Equal(t, []int{4, 0}, []int{connected, idle})
		for _, a := range agents {
			a.Closed()
		}
		time.Sleep(s.set.Grace + s.set.UpstreamIdle + 3*poolTick)
		connected, idle = s.states()
		require.Equal(t, []int{0, 1}, []int{connected, idle})
	})
}

// An agent that is sent away has gone to another gateway by the time that its grace is over:
// a goodbye for it would be wrong, however long the draining of the others takes.
func TestDrainLongerThanTheGraceSaysNoGoodbyes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asleep(t, Settings{Grace: time.Second, Drain: 10 * time.Second})
		agents := make([]*speaker, 100)
		for i := range agents {
			agents[i] = s.agent(opamp(byte(i + 1)))
			require.True(t, agents[i].beat())
		}
		done := make(chan struct{})
		go func() { defer close(done); s.end() }()
		synctest.Wait()
		for _, a := range agents {
			a.Closed()
		}
		<-done
		_, _, heard := s.to.counts()
		require.Equal(t, len(agents), heard, "nothing but their own messages")
	})
}

// A server that freezes is found after two ping intervals, whether anybody speaks or not.
func TestFrozenUpstreamIsFoundWithinTwoPings(t *testing.T) {
	for name, speaks := range map[string]bool{"silence": false, "traffic": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := asleep(t, Settings{UpstreamPing: 10 * time.Second})
				defer s.end()
				a := s.agent(opamp(1))
				require.True(t, a.beat())
				l := s.pool.all()[0].current.Load()
				time.Sleep(1234 * time.Millisecond) // somewhere between two pings
				if speaks {
					require.True(t, a.beat())
				}
				s.to.frozen.Store(true)
				since := time.Now()
				for range 100 {
					select {
					case <-l.gone:
					case <-time.After(time.Second):
						if speaks {
							_ = a.beat()
						}
						continue
					}
					break
				}
				require.ErrorIs(t, l.cause(), errSilent)
				require.LessOrEqual(t, time.Since(since), 2*s.set.UpstreamPing)
				s.to.frozen.Store(false)
			})
		})
	}
}

// Our own server closes a connection that stays silent. While the gateway has no agents
// neither of them says anything.
func TestOwnServerHasNothingToCloseWhileNobodyIsThere(t *testing.T) {
	t.Parallel()
	serverCore, serverLog := observer.New(zapcore.InfoLevel)
	server := opampserver.New(opampserver.Settings{Logger: zap.New(serverCore), FirstMessageTimeout: 3 * time.Second}, silentHandler{})
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx))
		web.Close()
	})
	core, log := observer.New(zapcore.InfoLevel)
	seen := new(observed)
	r := newRig(t, Settings{
		MinConnections: 2, UpstreamIdle: 200 * time.Millisecond, Grace: 100 * time.Millisecond, Observer: seen, Logger: zap.New(core),
	}, "ws://"+web.Listener.Addr().String()+"/v1/opamp")
	r.eventually(func() bool { return seen.count("dialled ok") == 1 }, "no connection")

	// A witness connects later and stays silent. When the server closes it, it would have
	// closed the gateway's before.
	witness := newRawWitness(t, web.Listener.Addr().String())
	require.Equal(t, uint16(wsframe.ClosePolicy), readCloseCode(t, witness))
	assert.Equal(t, []int{1, 1}, []int{seen.count("dialled ok"), seen.count("lost idle")}, "one connection, which has gone by itself")
	assert.Len(t, serverLog.FilterLevelExact(zapcore.WarnLevel).All(), 1, "the server speaks of the witness alone")
	assert.Empty(t, log.FilterLevelExact(zapcore.WarnLevel).All())

	a := r.arrive()
	r.eventually(func() bool { return seen.count("dialled ok") >= 2 }, "an agent makes the gateway connect")
	a.vanish()
	r.eventually(func() bool { return seen.count("lost idle") == seen.count("dialled ok") }, "and its end lets that go")
	assert.Zero(t, r.turnedAway.Load())
	assert.Len(t, serverLog.FilterLevelExact(zapcore.WarnLevel).All(), 1)
	assert.Empty(t, log.FilterLevelExact(zapcore.WarnLevel).All())
}

// silentHandler acknowledges what agents say.
type silentHandler struct{}

func (silentHandler) OnMessage(_ context.Context, _ opampserver.ConnInfo, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{InstanceUid: msg.GetInstanceUid(), Capabilities: 1}
}

func (silentHandler) OnClose(opampserver.ConnInfo) {}

// newRawWitness is a WebSocket on which nothing is sent.
func newRawWitness(t *testing.T, addr string) net.Conn {
	t.Helper()
	a, err := dialLean(addr, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a.Conn
}
