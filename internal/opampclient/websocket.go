// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampdial"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var errNoAnswer = fmt.Errorf("no answer to a report within %s", answerLimit)

// incoming is a message that was read, or what was wrong with it.
type incoming struct {
	msg  *protobufs.ServerToAgent
	size int
	err  error
}

// socket is one WebSocket with its reader and its watchdog.
type socket struct {
	// Fixed at construction.
	conn     *websocket.Conn
	raw      *pacedConn // under conn: closing it ends whatever waits on conn
	opened   time.Time
	incoming chan incoming // never closed
	limit    int64         // of the bytes in it
	freed    chan struct{} // a level of size 1: there is room in it again
	gone     context.Context
	leave    context.CancelFunc
	work     sync.WaitGroup

	held     atomic.Int64 // bytes that were read and not yet taken
	lastRead atomic.Int64 // of the last whole message or pong: nanoseconds since opened, whatever the clock does

	reached atomic.Int64  // when the last ping that had its pong was sent, in the same way
	doubt   chan struct{} // size 1: a ping is wanted

	ended chan *failure // size 1: why reader or watchdog gave up; the first one counts

	// Owned by run.
	frame []byte // of the last write, used again
}

// converseWebSocket has one connection, from dial to close.
func (c *Client) converseWebSocket() *failure {
	s, f := c.dial()
	if f != nil {
		c.set.Observer.ConnectAttempt(string(f.reason))
		return f
	}
	c.set.Observer.ConnectAttempt("ok")
	c.board.opened()
	s.work.Go(func() { s.read() })
	s.work.Go(func() { s.watch() })

	f = c.serve(s)
	s.shut()
	if c.answered && time.Since(s.opened) >= proven {
		c.backoff.reset()
	}
	c.set.Observer.Disconnected(f.reason)
	return f
}

func (c *Client) dial() (*socket, *failure) {
	ctx, cancel := context.WithTimeout(c.soft, dialLimit)
	defer cancel()
	client, raw := c.upgradeClient()
	conn, resp, err := websocket.Dial(ctx, c.set.Endpoint.String(), &websocket.DialOptions{
		HTTPClient:      client,
		HTTPHeader:      c.header(),
		CompressionMode: websocket.CompressionDisabled, // a limit must count what is decompressed
	})
	if err != nil {
		if raw.conn != nil {
			_ = raw.conn.Close() // upgraded, but not to our liking
		}
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refusal(resp)
		}
		return nil, broken(err)
	}
	conn.SetReadLimit(c.set.MaxReceive)
	return newSocket(conn, raw.conn, c.set.MaxReceive), nil
}

func newSocket(conn *websocket.Conn, raw *pacedConn, limit int64) *socket {
	s := &socket{
		conn:     conn,
		raw:      raw,
		opened:   time.Now(),
		incoming: make(chan incoming, incomingSize),
		limit:    limit,
		freed:    make(chan struct{}, 1),
		doubt:    make(chan struct{}, 1),
		ended:    make(chan *failure, 1),
	}
	s.gone, s.leave = context.WithCancel(context.Background())
	return s
}

// header is what goes with each request. The UID lets a balancer keep one agent on one
// server (HTTP header OpAMP-Instance-UID).
func (c *Client) header() http.Header {
	h := c.set.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("OpAMP-Instance-UID", c.snapshot().uid.String())
	return h
}

// upgradeClient is a client for one dial, which keeps hold of the upgraded connection.
func (c *Client) upgradeClient() (*http.Client, *rawConn) {
	client := opampdial.NoRedirects(c.set.HTTPClient)
	raw := &rawConn{base: client.Transport}
	client.Transport = raw
	client.Timeout = 0 // of the whole connection, were it set
	return client, raw
}

// rawConn paces the connection under an upgrade and remembers it. The WebSocket library
// has no way to end a close handshake early; closing what is below it does.
type rawConn struct {
	base http.RoundTripper
	conn *pacedConn
}

func (t *rawConn) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	if conn, ok := resp.Body.(io.ReadWriteCloser); ok {
		t.conn = newPacedConn(conn)
		resp.Body = t.conn
	}
	return resp, nil
}

// serve runs the conversation on s until it ends.
func (c *Client) serve(s *socket) *failure {
	beat := time.NewTimer(c.interval)
	defer beat.Stop()
	early := time.NewTimer(time.Hour) // for what it is too early to do
	defer early.Stop()
	mute := time.NewTimer(answerLimit)
	defer mute.Stop()
	c.ledger = ledger{}
	for {
		wait, f := c.flush(s, beat)
		if f != nil {
			return f
		}
		more, later, f := c.flushCustom(s, beat)
		if f != nil {
			return f
		}
		if wait = sooner(wait, later); wait > 0 {
			early.Reset(wait)
		}
		select {
		case <-more:
		case <-c.soft.Done():
			c.farewell(s, beat)
			return &failure{reason: ReasonShutdown, err: errStopped}
		case f := <-s.ended:
			return f
		case in := <-s.incoming:
			if f := c.accept(s, in, beat); f != nil {
				return f
			}
		case <-c.wake:
		case <-early.C:
		case <-mute.C:
			c.noteMute()
		case <-beat.C:
			if f := c.beat(s, beat); f != nil {
				return f
			}
		}
	}
}

// flush sends all that the server needs now.
func (c *Client) flush(s *socket, beat *time.Timer) (time.Duration, *failure) {
	for {
		out, wait := c.session.next(c.snapshot(), time.Now())
		if out.msg == nil {
			return wait, nil
		}
		if f := c.send(s, out, beat); f != nil {
			return 0, f
		}
	}
}

// always is ready.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// flushCustom sends custom messages, until none is due or it is time to look at what
// else there is: more is then ready. wait is as in session.next.
func (c *Client) flushCustom(s *socket, beat *time.Timer) (more <-chan struct{}, wait time.Duration, f *failure) {
	for range customBurst {
		now := time.Now()
		overdue := c.expire(s, now)
		if !c.ledger.open() {
			return nil, overdue, nil
		}
		out, later := c.nextCustom(now)
		if out.msg == nil {
			return nil, sooner(overdue, later), nil
		}
		if f := c.send(s, out, beat); f != nil {
			return nil, 0, f
		}
	}
	return always, 0, nil
}

// expire lets go of what the server has left unanswered for too long, and says how long
// until the next may be; 0 is for good.
func (c *Client) expire(s *socket, now time.Time) time.Duration {
	for {
		d := c.ledger.overdue(now, s.opened.Add(time.Duration(s.reached.Load())))
		if d.custom {
			c.set.CustomMessages.Unanswered()
		}
		if d.doubt {
			s.pingNow()
		}
		if !d.expired {
			return d.wait
		}
	}
}

// beat sends a heartbeat, if the agent has said that it does.
func (c *Client) beat(s *socket, beat *time.Timer) *failure {
	st := c.snapshot()
	if st.capabilities&protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat == 0 {
		return nil // and the timer rests: the watchdog alone looks after the connection
	}
	return c.send(s, outgoing{msg: c.session.heartbeat(st)}, beat)
}

// send writes one message; the next heartbeat is due an interval later.
func (c *Client) send(s *socket, out outgoing, beat *time.Timer) *failure {
	ctx, cancel := context.WithTimeout(c.hard, writeLimit)
	defer cancel()
	if f := s.write(ctx, out.msg); f != nil {
		return f
	}
	c.ledger.wrote(out.custom, time.Now())
	c.noteSent(out, len(s.frame))
	beat.Reset(c.interval)
	return nil
}

// noteMute puts it into words that a server takes reports and answers none. It breaks
// the protocol (every message is answered), but may well show what it gets: so the
// connection stays.
func (c *Client) noteMute() {
	if c.answered {
		return
	}
	f := &failure{reason: ReasonNoAnswer, err: errNoAnswer, open: true}
	c.board.troubled(f, time.Now())
	c.outage.failed(f, time.Now())
}

// accept acts on what the reader brought. What can't be read is left out; a server that
// sends nothing else has not answered.
func (c *Client) accept(s *socket, in incoming, beat *time.Timer) *failure {
	s.took(in)
	if in.err != nil {
		c.set.Observer.Received(in.size)
		c.set.Observer.Dropped("message", ReasonMalformed)
		f := &failure{reason: ReasonMalformed, err: in.err, open: true}
		c.board.troubled(f, time.Now())
		c.ledger.spoke() // it may have been an answer
		if !c.answered {
			c.outage.failed(f, time.Now())
		}
		return nil
	}
	before := c.interval
	v, f := c.take(in.msg, in.size)
	if f != nil {
		c.closeGently(s, websocket.StatusNormalClosure)
		return f
	}
	c.pair(in.msg, v)
	if c.interval != before {
		beat.Reset(c.interval)
	}
	return nil
}

// pair says of a custom message what msg says of it, if it is the answer to one.
func (c *Client) pair(msg *protobufs.ServerToAgent, v verdict) {
	switch {
	case v.foreign:
	case saysMore(msg):
		c.ledger.spoke()
	case !c.ledger.answered():
	case v.rejected != "":
		c.set.CustomMessages.Rejected(ReasonRejected)
	default:
		c.set.CustomMessages.Answered()
	}
}

// farewell tells the server that the agent leaves, then closes (Closing Connection).
func (c *Client) farewell(s *socket, beat *time.Timer) {
	if c.answered && c.finish(s, beat) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.hard, goodbyeLimit)
	defer cancel()
	out := c.session.goodbye(c.snapshot())
	if f := s.write(ctx, out.msg); f != nil {
		return
	}
	c.noteSent(out, len(s.frame))
	c.closeGently(s, websocket.StatusNormalClosure)
}

// finish sends the custom messages that wait and has them answered, as far as that goes
// within customFlushLimit.
func (c *Client) finish(s *socket, beat *time.Timer) *failure {
	limit := time.NewTimer(customFlushLimit)
	defer limit.Stop()
	for {
		more, _, f := c.flushCustom(s, beat)
		if f != nil {
			return f
		}
		if more == nil && (c.ledger.custom == 0 || c.ledger.mute) {
			return nil
		}
		select {
		case <-more:
		case in := <-s.incoming:
			if f := c.accept(s, in, beat); f != nil {
				return f
			}
		case f := <-s.ended:
			return f
		case <-limit.C:
			return nil
		case <-c.hard.Done():
			return nil
		}
	}
}

// closeGently shakes hands on the close, for as long as closeLimit allows.
func (c *Client) closeGently(s *socket, code websocket.StatusCode) {
	limit := time.AfterFunc(closeLimit, s.breakOff)
	defer limit.Stop()
	defer context.AfterFunc(c.hard, s.breakOff)()
	_ = s.conn.Close(code, "") // it is over either way
}

// write sends msg as one frame.
func (s *socket) write(ctx context.Context, msg proto.Message) *failure {
	frame, err := opampwire.AppendFrame(s.frame[:0], msg)
	if err != nil {
		return &failure{reason: ReasonMalformed, err: err}
	}
	s.frame = frame
	if err := s.conn.Write(ctx, websocket.MessageBinary, frame); err != nil {
		return s.reasonForWrite(ctx, err)
	}
	return nil
}

// reasonForWrite prefers what the reader has found: a Close frame says more than the
// broken pipe after it. But where the write took too long, the connection that the reader
// finds broken is the one that was broken for it.
func (s *socket) reasonForWrite(ctx context.Context, err error) *failure {
	select {
	case f := <-s.ended:
		if ctx.Err() == nil || f.reason == ReasonClosed {
			return f
		}
	default:
	}
	if ctx.Err() != nil {
		return &failure{reason: ReasonStuck, err: fmt.Errorf("server does not read: %w", ctx.Err())}
	}
	return broken(err)
}

// read hands over what arrives, until the connection ends.
func (s *socket) read() {
	for {
		kind, data, err := s.conn.Read(s.gone)
		if err != nil {
			s.end(broken(err))
			return
		}
		s.heard()
		in := incoming{msg: new(protobufs.ServerToAgent), size: len(data)}
		if kind != websocket.MessageBinary {
			in.err = fmt.Errorf("%w: a text frame", opampwire.ErrMalformed)
		} else {
			in.err = opampwire.ParseFrame(data, in.msg)
		}
		if !s.handOver(in) {
			return
		}
	}
}

// handOver puts in where the client finds it, waiting for room, and reports whether to
// go on. There is room for the answers to all that the client may have written before it
// reads on: a server that does not read before it has answered is not one to wait for.
func (s *socket) handOver(in incoming) bool {
	began := time.Now()
	defer func() { s.raw.waited.Add(int64(time.Since(began))) }()
	for held := s.held.Load(); held > 0 && held+int64(in.size) > s.limit; held = s.held.Load() {
		select {
		case <-s.freed:
		case <-s.gone.Done():
			return false
		}
	}
	s.held.Add(int64(in.size))
	select {
	case s.incoming <- in:
		return true
	case <-s.gone.Done():
		return false
	}
}

// took notes that in has been taken.
func (s *socket) took(in incoming) {
	s.held.Add(-int64(in.size))
	select {
	case s.freed <- struct{}{}:
	default: // it will look anyway
	}
}

// heard notes that the server has shown life.
func (s *socket) heard() { s.lastRead.Store(int64(time.Since(s.opened))) }

// watch pings a server that has long said nothing, and ends the connection without a pong:
// a peer that vanished leaves no other trace.
func (s *socket) watch() {
	timer := time.NewTimer(silenceLimit)
	defer timer.Stop()
	for {
		select {
		case <-s.gone.Done():
			return
		case <-s.doubt:
			if !s.ping() {
				return
			}
			continue
		case <-timer.C:
		}
		if left := silenceLimit - (time.Since(s.opened) - time.Duration(s.lastRead.Load())); left > 0 {
			timer.Reset(left)
			continue
		}
		if !s.ping() {
			return
		}
		timer.Reset(silenceLimit)
	}
}

// pingNow has the watchdog ping, and does not wait for it.
func (s *socket) pingNow() {
	select {
	case s.doubt <- struct{}{}:
	default: // it will anyway
	}
}

func (s *socket) ping() bool {
	ctx, cancel := context.WithTimeout(s.gone, pingLimit)
	defer cancel()
	sent := time.Since(s.opened)
	if err := s.conn.Ping(ctx); err != nil {
		s.end(&failure{reason: ReasonSilent, err: errors.New("server is silent and does not answer a ping")})
		return false
	}
	s.heard()
	s.reached.Store(int64(sent))
	return true
}

// end notes why the connection is over and ends what waits on it.
func (s *socket) end(f *failure) {
	select {
	case s.ended <- f:
	default: // somebody was first
	}
	s.breakOff()
}

// breakOff closes the connection without ceremony.
func (s *socket) breakOff() { _ = s.raw.Close() }

// shut ends reader and watchdog and waits for them.
func (s *socket) shut() {
	s.leave()
	s.breakOff()
	_ = s.conn.CloseNow()
	s.work.Wait()
}
