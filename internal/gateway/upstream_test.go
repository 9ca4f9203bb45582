// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// rawServer upgrades every connection and leaves it to behave.
func rawServer(t *testing.T, behave func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	opamptest.EachConn(t, ln, func(c net.Conn, _ *sync.WaitGroup) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
			opamptest.AcceptKey(req.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
		behave(c, r)
	})
	return "ws://" + ln.Addr().String() + "/v1/opamp"
}

// serverFrame is an unmasked frame.
func serverFrame(first byte, payload []byte) []byte {
	b := wsframe.Seal(append(make([]byte, wsframe.MaxHeader), payload...), wsframe.OpBinary)
	b[0] = first
	return b
}

// What a server may not send ends its connection, and nothing else.
func TestHostileServer(t *testing.T) {
	long := bytes.Repeat([]byte{1}, 100)
	for name, tt := range map[string]struct {
		bytes []byte
		lost  string
	}{
		"text":               {serverFrame(0x81, []byte("hello")), "protocol"},
		"masked":             {[]byte{0x82, 0x81, 0, 0, 0, 0, 0}, "protocol"},
		"reserved bit":       {serverFrame(0xc2, long), "protocol"},
		"opcode 3":           {serverFrame(0x83, long), "protocol"},
		"continues nothing":  {serverFrame(0x80, long), "protocol"},
		"begins twice":       {append(serverFrame(0x02, long), serverFrame(0x82, long)...), "protocol"},
		"too large":          {[]byte{0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0}, "too_large"},
		"too large in parts": {append(serverFrame(0x02, make([]byte, 1<<16)), 0x80, 127, 0, 0, 0, 0, 0, 0xff, 0, 0), "too_large"},
		"negative":           {[]byte{0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0}, "protocol"},
		"close":              {serverFrame(0x88, wsframe.ClosePayload(wsframe.CloseGoingAway, "bye")), "closed_by_server"},
		"close of one byte":  {serverFrame(0x88, []byte{3}), "protocol"},
		"hangs up":           {nil, "closed_by_server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			o := new(observed)
			r := newRig(t, Settings{Observer: o, MaxMessageSize: 1 << 20}, rawServer(t, func(c net.Conn, _ *bufio.Reader) {
				if sent.Add(1) == 1 {
					_, _ = c.Write(tt.bytes)
					if tt.bytes != nil {
						_, _ = io.Copy(io.Discard, c)
					}
					return
				}
				_, _ = io.Copy(io.Discard, c)
			}))
			r.eventually(func() bool { return o.count("lost "+tt.lost) == 1 }, "%v", tt.lost)
			ws, _, err := r.dial(nil)
			require.NoError(t, err, "an agent that comes makes it connect again")
			_ = ws.CloseNow()
			r.eventually(func() bool { return sent.Load() == 2 }, "connections")
		})
	}
}

func TestMessagesThatNobodyCanRead(t *testing.T) {
	beat := opampwire.AppendAcknowledgement(nil, opamp(1))
	r := newRig(t, Settings{}, rawServer(t, func(c net.Conn, _ *bufio.Reader) {
		for _, payload := range [][]byte{{}, {1}, {0, 0xff}, append([]byte{0}, append(beat, beat...)...), append([]byte{0}, beat[:9]...)} {
			_, _ = c.Write(serverFrame(0x82, payload))
		}
		for range 1000 {
			_, _ = c.Write(serverFrame(0x89, []byte("ping")))
		}
		_, _ = c.Write(append(serverFrame(0x02, []byte{0}), serverFrame(0x80, beat)...)) // in two fragments
		_, _ = io.Copy(io.Discard, c)
	}))
	r.waitDropped(ReasonServerMalformed, 5)
	r.waitDropped(ReasonUnknownUID, 1)
}

// A server that does not read holds back whoever has something to say, and nobody else.
func TestServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	defer close(hold)
	o := new(observed)
	r := newRig(t, Settings{MaxUpstreamQueue: 64 << 10, WriteTimeout: 500 * time.Millisecond, Observer: o},
		rawServer(t, func(c net.Conn, _ *bufio.Reader) {
			_ = c.(*net.TCPConn).SetReadBuffer(4096)
			<-hold
		}))
	r.eventually(func() bool { return r.pool.connected.Load() == 1 }, "")
	a := r.connect(opamp(1))
	frame := append(opampwire.AppendHeartbeat(nil, a.uid, 1), 0x3a, 0x80, 0x80, 0x40) // 1 MiB
	frame = append(frame, make([]byte, 1<<20)...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 40 {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			err := a.ws.Write(ctx, websocket.MessageBinary, frame)
			cancel()
			if err != nil {
				return
			}
		}
	}()
	r.eventually(func() bool { return o.count("lost stuck") >= 1 }, "a server that takes nothing is given up")
	a.vanish()
	<-done
	r.eventually(func() bool {
		counts := r.drop.counts()
		return counts[ReasonUpstreamLost]+counts[ReasonUpstreamQueue]+counts[ReasonNoUpstream] > 0
	}, "and what it did not take is counted")
}

func TestPoolGrowsWhileTheServerIsSlow(t *testing.T) {
	t.Parallel()
	p := newPartner(t)
	p.reply = func(*protobufs.AgentToServer, *protobufs.ServerToAgent) { time.Sleep(20 * time.Millisecond) } // a connection after the other
	r := connected(t, Settings{MaxConnections: 3, GrowAfter: 5 * time.Millisecond}, p)
	agents := make([]*testAgent, 8)
	for i := range agents {
		agents[i] = r.arrive()
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, a := range agents {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					a.beat()
				}
			}
		})
	}
	r.eventually(func() bool { return p.connections() >= 2 }, "there is still one connection")
	close(stop)
	all.Wait()
	assert.Positive(t, r.Stats().Upstreams[0].AnswerTime)
}

func TestServerThatWantsToBeLeftAlone(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	web := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = web.Serve(ln) }()
	t.Cleanup(func() { _ = web.Close(); <-served })
	o := new(observed)
	r := newRig(t, Settings{MaxRetryAfter: 300 * time.Millisecond, Observer: o}, "ws://"+ln.Addr().String()+"/v1/opamp")
	r.eventually(func() bool { return asked.Load() >= 2 }, "it comes back after max_retry_after")
	assert.GreaterOrEqual(t, o.count("dialled throttled"), 1)
	_, resp, err := r.dial(nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}

// One endpoint that wants to be left alone is, and for as long; the others are tried meanwhile.
func TestFailoverFromAnEndpointThatWantsToBeLeftAlone(t *testing.T) {
	var asked atomic.Int64
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(busy.Close)
	second := newPartner(t)
	r := newRig(t, Settings{MaxRetryAfter: time.Hour, Endpoints: []Endpoint{
		endpoint(t, "ws://"+busy.Listener.Addr().String()+"/v1/opamp"), endpoint(t, "ws://"+second.addr+"/v1/opamp"),
	}}, "")
	a := r.arrive()
	second.kill()
	r.eventually(func() bool { return r.pool.connected.Load() == 0 }, "the connection is lost")
	second.revive()
	r.eventually(func() bool { return second.connects(a.uid) }, "and there again")
	assert.EqualValues(t, 1, asked.Load())
}

func TestFailover(t *testing.T) {
	t.Parallel()
	first, second := newPartner(t), newPartner(t)
	first.kill()
	set := Settings{MinConnections: 2, Endpoints: []Endpoint{
		endpoint(t, "ws://"+first.addr+"/v1/opamp"), endpoint(t, "ws://"+second.addr+"/v1/opamp"),
	}}
	r := newRig(t, set, "")
	agents := make([]*testAgent, 20)
	for i := range agents {
		agents[i] = r.arrive() // the first one waits, it is not told to come back
		agents[i].beat()
	}
	assert.Equal(t, 2, second.connections(), "all connections go to the one that is there")
	second.kill()
	first.revive()
	r.eventually(func() bool { return first.connections() == 2 }, "and to the other when that is gone")
	for _, a := range agents {
		r.eventually(func() bool { return first.agent(a.uid).messages > 0 }, "an agent is not announced")
	}
	r.eventually(func() bool { return second.connections() == 0 }, "who was killed has connections")
}

// An agent that is told to leave has lost nothing that the server acknowledged: the
// gateway never acknowledges by itself.
func TestDrainLosesNothingThatWasAcknowledged(t *testing.T) {
	p := newPartner(t)
	r := connected(t, Settings{MinConnections: 2, Drain: 300 * time.Millisecond}, p)
	acknowledged := make([]int, 50)
	uids := make([]opampwire.InstanceUID, len(acknowledged))
	var all sync.WaitGroup
	for i := range acknowledged {
		a := r.connect(opampwire.NewInstanceUID())
		uids[i] = a.uid
		all.Go(func() {
			for {
				a.seq++
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				err := a.ws.Write(ctx, websocket.MessageBinary, opampwire.AppendHeartbeat(nil, a.uid, a.seq))
				cancel()
				if err != nil {
					return
				}
				if _, err := a.read(); err != nil {
					var closed websocket.CloseError
					assert.True(t, errors.As(err, &closed) && closed.Code == websocket.StatusGoingAway, "%v", err)
					return
				}
				acknowledged[i]++
			}
		})
	}
	r.eventually(func() bool { return r.up.messages.Load() > 500 }, "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, r.Shutdown(ctx))
	all.Wait()
	for i, uid := range uids {
		assert.GreaterOrEqual(t, p.agent(uid).messages, acknowledged[i])
		assert.Zero(t, p.agent(uid).goodbyes)
	}
}

// Whatever a server sends, the reader returns messages within the limit or an error.
func FuzzLinkReader(f *testing.F) {
	f.Add([]byte{0x82, 2, 0, 0})
	f.Add(append(serverFrame(0x02, []byte{0}), serverFrame(0x80, []byte("rest"))...))
	f.Add([]byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0x88, 2, 3, 0xe8})
	const limit = 1 << 10
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &slot{lane: newLane(0)}
		l := newLink(nopConn{bytes.NewReader(b)}, s, linkSettings{maxMessage: limit, maxQueue: 1 << 16, pingInterval: time.Hour, writeTimeout: time.Hour})
		r := &linkReader{link: l, in: bufio.NewReaderSize(l.conn, readBuffer)}
		for total := 0; ; {
			message, err := r.next()
			if err != nil {
				return
			}
			if len(message) > limit+1 {
				t.Fatalf("a message of %d bytes", len(message))
			}
			if total += len(message); total > len(b) {
				t.Fatalf("%d bytes out of %d", total, len(b))
			}
		}
	})
}

type nopConn struct{ io.Reader }

func (nopConn) Write(p []byte) (int, error) { return len(p), nil }
func (nopConn) Close() error                { return nil }
