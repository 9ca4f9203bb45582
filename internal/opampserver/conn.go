// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// maxMalformed is how many refused messages in a row end a connection. Those of one agent
// among others on the connection, of a relay, do not count: the others are not to blame.
const maxMalformed = 3

// errPeerClosed ends a connection whose Close frame has been answered.
var errPeerClosed = errors.New("closed by the peer")

// closeError ends a connection with a Close frame of ours. An empty reason is not
// counted: it is no fault of the peer's.
type closeError struct {
	code   uint16
	reason Reason
	err    error // its text is the Close frame's reason
}

func (e *closeError) Error() string { return e.err.Error() }
func (e *closeError) Unwrap() error { return e.err }

func closing(code uint16, reason Reason, format string, args ...any) error {
	return &closeError{code: code, reason: reason, err: fmt.Errorf(format, args...)}
}

func errGoingAway() error { return closing(closeGoingAway, "", "server is shutting down") }

// errMute ends a connection on which no other frame may follow.
var errMute = errors.New("nothing more can be written to this connection")

// conn is one WebSocket. Who writes to the network has the turn: run, or the writer of what is
// sent unasked (send.go).
type conn struct {
	// Fixed at construction.
	server *Server
	info   ConnInfo
	net    net.Conn

	// Set once, by Shutdown or Dismiss.
	leaving   atomic.Bool
	dismissed atomic.Pointer[closeError] // why, if not because of a shutdown; set before leaving

	session Session      // fixed before run; nil: the messages are the Handler's
	heard   atomic.Int64 // with a session: nanoseconds since the server was made, of the last byte

	mu      sync.Mutex
	out     *outbox // guarded by mu: nil while nothing waits to be written
	agents  int     // guarded by mu: how many the peer speaks for; 0: one
	ended   bool    // guarded by mu: nothing is queued any more
	left    bool    // guarded by mu: the peer has sent a Close frame
	writing bool    // guarded by mu: somebody has the turn to write

	mute bool // owned by who has the turn: a Close frame, or a part of a frame, is out

	// Owned by run.
	firstBy    time.Time             // when the first message must have come
	pace       pace                  // of the message that is being read; zero until it has to be waited for
	start, end int                   // in[start:end] was read and not yet used
	malformed  int                   // refused messages since the last good one
	agent      opampwire.InstanceUID // of the last message that named one
	shared     bool                  // several agents have spoken
	pings      int                   // unanswered
	spoken     bool                  // a message has come
	busy       bool                  // a frame or a message has begun and is not complete
	message    *buffer               // what has come of a message that did not fit into in; nil otherwise
	in         [512]byte
}

// run serves the connection until it ends. It returns with the network closed and the
// Handler told.
//
// A connection spends its life waiting in await, so what is on the stack there is
// kept small: a stack that a message has made grow shrinks again only if little of it
// is in use. Hence no defer here, and a fresh descent for each message.
func (c *conn) run() {
	c.server.track(c)
	for {
		err := c.await()
		if err == nil {
			err = c.step()
		}
		if err != nil {
			c.finish(err)
			return
		}
	}
}

// await returns when there is something to read.
func (c *conn) await() error {
	if c.start < c.end {
		return nil
	}
	c.busy, c.pace = false, pace{}
	n, err := c.read(c.in[:])
	c.start, c.end = 0, n
	return err
}

// step deals with a message, or with a control frame. A panic ends the connection.
func (c *conn) step() (err error) {
	defer c.server.contain(c.info.RemoteAddr, &err)
	c.busy, c.pace = true, pace{}
	payload, complete, err := c.readMessage()
	if err != nil || !complete {
		return err
	}
	c.server.wsReceived.add(max(len(payload), c.arrived()))
	c.spoken = true
	return c.answer(payload)
}

// finish ends the connection because of err and tells the Handler.
func (c *conn) finish(err error) {
	c.dropMessage()
	c.endSending()
	c.part(err)
	c.awaitWriter()
	c.server.untrack(c)
	c.server.closed(c)
}

// answer hands one message to the Handler and sends its reply: every message is
// answered, a malformed one with what was wrong (ServerErrorResponse).
func (c *conn) answer(payload []byte) error {
	if c.session != nil {
		return c.pass(payload)
	}
	reply, reason, err := c.server.heed(c.info, payload, opampwire.ParseFrame, c.dropMessage)
	if err != nil {
		return c.refuse(reason, err)
	}
	c.malformed = 0
	if uid := reply.GetInstanceUid(); len(uid) == len(c.agent) {
		c.noteAgent(opampwire.InstanceUID(uid))
	}
	return c.send(reply)
}

// noteAgent notes whose a message is.
func (c *conn) noteAgent(uid opampwire.InstanceUID) {
	c.shared = c.shared || !c.agent.IsZero() && c.agent != uid
	c.agent = uid
}

// refuse answers a message that is none, and ends the connection of a peer that
// sends nothing else.
func (c *conn) refuse(reason Reason, err error) error {
	c.server.ledger.note(reason, c.info.RemoteAddr, err)
	refusal := badRequest(err)
	if sent := c.send(refusal); sent != nil {
		return sent
	}
	if uid := refusal.GetInstanceUid(); uid != nil {
		if c.noteAgent(opampwire.InstanceUID(uid)); c.shared {
			return nil
		}
	}
	if c.malformed++; c.malformed >= maxMalformed {
		return closing(closeInvalidData, ReasonMalformedTooMany, "%d refused messages in a row, the last: %w", c.malformed, err)
	}
	return nil
}

// send writes reply as one frame. One that cannot be sent is dropped and counted;
// the connection stays.
func (c *conn) send(reply *protobufs.ServerToAgent) error {
	var room [maxOutHeader]byte
	buf := c.server.budget.scratch()
	defer c.server.budget.put(buf)
	framed, err := opampwire.AppendFrame(append(buf.b, room[:]...), reply)
	if err == nil {
		buf.b = framed
		err = c.server.sendable(len(framed) - maxOutHeader - messageHeader)
	}
	if err != nil {
		c.server.ledger.note(ReasonReply, c.info.RemoteAddr, err)
		return nil
	}
	c.server.wsSent.add(len(framed) - maxOutHeader)
	return c.write(seal(framed, opBinary))
}

// control writes a control frame.
func (c *conn) control(op opcode, payload []byte) error {
	buf := make([]byte, maxOutHeader, maxOutHeader+maxControlPayload)
	return c.write(seal(append(buf, payload...), op))
}

// write sends one frame within the write deadline. A peer that does not read holds
// nobody but itself, and not for longer than that.
func (c *conn) write(frame []byte) error {
	c.takeTurn()
	defer c.passTurn()
	if c.mute {
		return errMute
	}
	c.mute = opcode(frame[0]&opcodeBits) == opClose
	if err := c.net.SetWriteDeadline(time.Now().Add(c.server.settings.WriteTimeout)); err != nil {
		return err
	}
	if c.leaving.Load() { // looked at after the deadline was set: see goAway
		if err := c.net.SetWriteDeadline(time.Now().Add(c.server.settings.CloseTimeout)); err != nil {
			return err
		}
	}
	_, err := c.net.Write(frame)
	c.mute = c.mute || err != nil
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.leaving.Load() {
		// Part of a frame may be out, so nothing more can be said to this peer.
		c.server.ledger.note(ReasonWriteTimeout, c.info.RemoteAddr, err)
	}
	return err
}

// goAway makes run say goodbye and return. It is called from outside run, hence by
// way of deadlines: run sets a deadline first and looks at leaving second, so either
// it sees leaving or its deadline is replaced by the one set here.
func (c *conn) goAway() {
	c.leaving.Store(true)
	now := time.Now()
	_ = c.net.SetReadDeadline(now)
	_ = c.net.SetWriteDeadline(now.Add(c.server.settings.CloseTimeout))
}

// cut closes the network under run.
func (c *conn) cut() { _ = c.net.Close() }

// part ends the connection: with a Close frame where the reason is ours.
func (c *conn) part(err error) {
	defer c.cut()
	var ours *closeError
	if !errors.As(err, &ours) {
		return // the peer has been answered, or is gone
	}
	if ours.reason != "" {
		c.server.ledger.note(ours.reason, c.info.RemoteAddr, ours.err)
	}
	if c.control(opClose, closePayload(ours.code, ours.Error())) == nil {
		c.linger()
	}
}

// linger reads what the peer was still sending, for a while. Closing on unread bytes
// resets the connection, and a reset may overtake the Close frame that says why.
func (c *conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	if c.net.SetReadDeadline(time.Now().Add(c.server.settings.CloseTimeout)) != nil {
		return
	}
	buf := c.server.budget.scratch()
	defer c.server.budget.put(buf)
	space := buf.b[:cap(buf.b)]
	for {
		if _, err := c.net.Read(space); err != nil {
			return
		}
	}
}

// readError is what a failed read means for the connection.
func (c *conn) readError(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err // gone: io.EOF, a reset, a TLS fault
	}
	settings := c.server.settings
	switch {
	case c.leaving.Load():
		return c.parting()
	case c.busy:
		return closing(closePolicy, ReasonSlowMessage, "message takes longer than %s, or comes slower than %d bytes/s", settings.MessageTimeout, leastRate)
	case !c.spoken:
		return closing(closePolicy, ReasonFirstMessage, "no message within %s", settings.FirstMessageTimeout)
	case c.pings > 0:
		return closing(closePolicy, ReasonSilent, "silent for %s", 2*settings.PingInterval)
	default:
		c.pings++
		return c.control(opPing, nil)
	}
}

// deadline is when the next byte is due.
func (c *conn) deadline() time.Time {
	settings := c.server.settings
	switch {
	case c.busy:
		return c.pace.due(int64(c.arrived()), settings.MessageTimeout)
	case !c.spoken:
		return c.firstBy
	default:
		return time.Now().Add(settings.PingInterval)
	}
}

// read reads some bytes, at least one. A deadline that passes in silence is where
// pings leave from.
func (c *conn) read(p []byte) (int, error) {
	for {
		if err := c.net.SetReadDeadline(c.deadline()); err != nil {
			return 0, err
		}
		if c.leaving.Load() { // looked at after the deadline was set: see goAway
			return 0, c.parting()
		}
		n, err := c.net.Read(p)
		if n > 0 {
			c.pings = 0
			c.hear()
			return n, nil
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		if err = c.readError(err); err != nil {
			return 0, err
		}
	}
}
