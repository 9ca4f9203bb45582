// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"errors"
	"time"

	"github.com/coder/websocket"
	"github.com/open-telemetry/opamp-go/protobufs"
	"go.uber.org/zap"
)

const (
	// customWindow is how many custom messages may be written and unanswered on a
	// WebSocket. At a round trip of 25 ms it is 20,000 a second.
	customWindow = 512
	// incomingSize is how many messages may be read and not yet taken: the answers to a
	// window, and what a server says besides.
	incomingSize = 2 * customWindow
	// customBurst is how many custom messages are written before the client looks again
	// at what has come in and at what has changed.
	customBurst = 16
	// customPaceBurst is how many may follow each other at once where there is a pace.
	customPaceBurst = 5
	// customFlushLimit bounds what Stop does for custom messages that still wait. With
	// exchangeGrace and goodbyeLimit it is within stopLimit.
	customFlushLimit = 300 * time.Millisecond
)

// CustomMessages is where custom messages come from and where they go to. The client
// calls it from its own goroutine and waits for no call for long, so none may block.
//
// What Next gives out is answered in that order: the client says of each what became of
// it, or says Again of all that are left.
type CustomMessages interface {
	// Next is the message to be written now, nil if there is none. wait then says how
	// long until there may be one without anybody calling [Client.Nudge]; 0 is for good.
	Next(now time.Time) (msg *protobufs.CustomMessage, wait time.Duration)
	// Answered says that the server has answered the oldest.
	Answered()
	// Unanswered says that the server, which is there, has long left it unanswered. It is
	// not written again.
	Unanswered()
	// Rejected says that the server could not read it, or never will take it. It is not
	// written again.
	Rejected(reason Reason)
	// Again says that the connection is over: whatever was given out and not said of is
	// to be given out once more. fault says whether one of those may be why.
	Again(now time.Time, fault Fault)
	// Dispatch hands over what the server sent, and reports whether anybody here takes
	// messages of that capability.
	Dispatch(msg *protobufs.CustomMessage) (known bool)
}

// Fault says whether a custom message may be why a connection or an exchange ended.
type Fault int

// The faults there are.
const (
	NoFault       Fault = iota
	MaybeFault          // the server was there, and then it failed
	FaultTooLarge       // the server said that a message is too large for it
)

// noCustomMessages stands where nobody sends or takes any.
type noCustomMessages struct{}

func (noCustomMessages) Next(time.Time) (*protobufs.CustomMessage, time.Duration) { return nil, 0 }
func (noCustomMessages) Answered()                                                {}
func (noCustomMessages) Unanswered()                                              {}
func (noCustomMessages) Rejected(Reason)                                          {}
func (noCustomMessages) Again(time.Time, Fault)                                   {}
func (noCustomMessages) Dispatch(*protobufs.CustomMessage) bool                   { return false }

// Nudge says that there may be a custom message to send. It does not block.
func (c *Client) Nudge() {
	select {
	case c.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// nextCustom is a message that carries the next custom message. Without one, wait says
// how long until there may be one; 0 is until the client is nudged.
func (c *Client) nextCustom(now time.Time) (out outgoing, wait time.Duration) {
	if wait = c.pace.early(now); wait > 0 {
		return outgoing{}, wait
	}
	msg, wait := c.set.CustomMessages.Next(now)
	if msg == nil {
		return outgoing{}, wait
	}
	c.pace.take()
	return outgoing{msg: c.session.carry(c.snapshot(), msg), custom: true}, 0
}

// dispatch hands a custom message to who takes it.
func (c *Client) dispatch(msg *protobufs.CustomMessage) {
	if c.set.CustomMessages.Dispatch(msg) {
		return
	}
	c.set.Observer.Dropped("custom_message", ReasonUnknownCapability)
	c.set.Logger.Debug("Left a custom message that no component takes",
		zap.String("capability", bounded(msg.GetCapability(), maxRejection)))
}

// resend puts back what was written and not answered before f.
func (c *Client) resend(f *failure) {
	fault := NoFault
	if c.answered {
		fault = faultOf(f)
	}
	c.set.CustomMessages.Again(time.Now(), fault)
}

// faultOf says whether a message that was just written can be why f came about. What a
// server says of itself is not the message's fault.
func faultOf(f *failure) Fault {
	var closed websocket.CloseError
	switch {
	case f.tooBig, errors.As(f.err, &closed) && closed.Code == websocket.StatusMessageTooBig:
		return FaultTooLarge
	case f.reason == ReasonStatus, f.reason == ReasonNetwork, f.reason == ReasonClosed, f.reason == ReasonMalformed,
		f.reason == ReasonTimeout, f.reason == ReasonStuck:
		return MaybeFault
	}
	return NoFault
}

// pace spaces custom messages for a receiver that drops what it cannot hold: a bucket
// of tokens. It is pure. The zero value is no pace.
type pace struct {
	every time.Duration // for one token

	spent time.Duration // of a full bucket
	last  time.Time
}

// early is how long it is too early to send.
func (p *pace) early(now time.Time) time.Duration {
	if p.every == 0 {
		return 0
	}
	if d := now.Sub(p.last); d > 0 {
		p.spent = max(0, p.spent-d)
	}
	p.last = now
	return max(0, p.spent+p.every-customPaceBurst*p.every)
}

func (p *pace) take() { p.spent += p.every }
