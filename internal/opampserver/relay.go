// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Relay takes messages as they are encoded, and answers when it likes. It is called by
// many connections at a time.
type Relay interface {
	// Open is called once for each WebSocket, between its handshake and its first
	// message. The request must not be kept.
	Open(c Conn, r *http.Request) Session
	// Exchange answers one message over plain HTTP with an encoded ServerToAgent. The
	// message is the Relay's to keep. The context ends when the client has gone or the
	// server stops.
	Exchange(ctx context.Context, c ConnInfo, r *http.Request, message []byte) ([]byte, error)
}

// Session is what a Relay knows of one WebSocket. Its methods are called one after the
// other.
type Session interface {
	// Message takes one encoded AgentToServer, which is valid during the call only and
	// may be anything. An error that is opampwire.ErrMalformed or ErrBadInstanceUID is
	// answered as a bad request, a *Refusal does what it says, and any other ends the
	// connection.
	Message(message []byte) error
	// Closed is called once, last.
	Closed()
}

// PartsSession is a Session that takes a message of more than 256 KiB as it was received,
// without one more copy of it.
type PartsSession interface {
	Session
	// MessageParts is Message for what came in parts. They are valid, and may be written to,
	// during the call. None is empty but, possibly, the last.
	MessageParts(parts [][]byte) error
}

// Conn is one WebSocket as a Relay has it. Its methods are safe for concurrent use and may
// be called after the connection has ended.
type Conn interface {
	Info() ConnInfo
	// SendEncoded queues one encoded ServerToAgent: see [Server.SendEncoded].
	SendEncoded(message []byte) error
	// Share says how many agents the peer speaks for: as many times as much may wait for it.
	Share(agents int)
	// Ping asks the peer for a sign of life. It queues the ping and returns.
	Ping() error
	// Heard is how long after the server was made the last byte came from the peer. It
	// only grows.
	Heard() time.Duration
	// Left says whether the peer has ended the connection itself, with a Close frame.
	Left() bool
	// Dismiss ends the connection with a Close frame of this code and text. It returns at
	// once; whoever is first decides on the code.
	Dismiss(code uint16, text string)
}

// Refusal is what a Relay does not take. It is the Relay's to count.
type Refusal struct {
	// Code ends a WebSocket with a Close frame. 0 leaves it open and the message
	// unanswered: the Relay has answered, or will.
	Code uint16
	// Status answers an exchange of plain HTTP.
	Status int
	// Err is told to the peer.
	Err error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// NewRelay returns a Server that serves with r until Shutdown.
func NewRelay(s Settings, r Relay) *Server {
	server := newServer(s)
	server.relay = r
	return server
}

// pass gives one message to the session.
func (c *conn) pass(payload []byte) error {
	err := c.handOver(payload)
	c.dropMessage()
	var no *Refusal
	switch {
	case err == nil:
		c.malformed = 0
		return nil
	case errors.As(err, &no):
		if no.Code == 0 {
			return nil
		}
		return &closeError{code: no.Code, err: no.Err}
	default:
		if reason := badMessage(err); reason != "" {
			return c.refuse(reason, err)
		}
		return err
	}
}

// handOver gives one message to the session.
func (c *conn) handOver(payload []byte) error {
	if !c.inParts() {
		message, err := opampwire.Unframe(payload)
		if err != nil {
			return err
		}
		return c.session.Message(message)
	}
	full := c.message.full
	first, err := opampwire.Unframe(full[0])
	if err != nil {
		return err
	}
	parts := append([][]byte{first}, full[1:]...)
	return c.session.(PartsSession).MessageParts(append(parts, c.message.b))
}

// badMessage is the Reason of an error that says that something is no message, else
// empty.
func badMessage(err error) Reason {
	switch {
	case errors.Is(err, opampwire.ErrBadInstanceUID):
		return ReasonBadInstanceUID
	case errors.Is(err, opampwire.ErrMalformed):
		return ReasonMalformed
	default:
		return ""
	}
}

// passExchange gives the message of an exchange to the relay. An error without a Reason
// is for turnAway.
func (s *Server) passExchange(r *http.Request, info ConnInfo, message []byte) ([]byte, Reason, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	reply, err := s.relay.Exchange(ctx, info, r, message)
	if err == nil {
		return reply, "", nil
	}
	return nil, badMessage(err), err
}

// turnAway answers an exchange as the relay says.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusServiceUnavailable
	if no := new(Refusal); errors.As(err, &no) && no.Status != 0 {
		status = no.Status
	}
	s.TurnAway(w, r, status, err)
}

// TurnAway refuses a request like Deny, and leaves counting it to the caller.
func (s *Server) TurnAway(w http.ResponseWriter, r *http.Request, status int, err error) {
	s.deny(w, r, status, err)
}

// hear notes that the peer is there.
func (c *conn) hear() {
	if c.server.relay != nil {
		c.heard.Store(int64(time.Since(c.server.made)))
	}
}

// Info implements Conn.
func (c *conn) Info() ConnInfo { return c.info }

// Heard implements Conn.
func (c *conn) Heard() time.Duration { return time.Duration(c.heard.Load()) }

// Ping implements Conn.
func (c *conn) Ping() error {
	_, err := c.enqueue(make([]byte, maxOutHeader))
	return err
}

// SendEncoded implements Conn.
func (c *conn) SendEncoded(message []byte) error {
	return c.server.pushTo(c, len(message), func(room []byte) ([]byte, error) {
		return append(append(room, 0), message...), nil
	})
}

// Left implements Conn.
func (c *conn) Left() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// noteLeft notes that the peer has ended the connection.
func (c *conn) noteLeft() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
}

// Share implements Conn.
func (c *conn) Share(agents int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.agents = agents
}

// Dismiss implements Conn.
func (c *conn) Dismiss(code uint16, text string) {
	if c.dismissed.CompareAndSwap(nil, &closeError{code: code, err: errors.New(text)}) {
		c.goAway()
	}
}

// parting is why a connection that is told to leave does.
func (c *conn) parting() error {
	if why := c.dismissed.Load(); why != nil {
		return why
	}
	return errGoingAway()
}
