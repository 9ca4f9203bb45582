// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampserver

import (
	"errors"
	"fmt"
	"sync"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

var (
	// ErrNotConnected says that there is no WebSocket of this ID, or not any more.
	ErrNotConnected = errors.New("no such connection")
	// ErrQueueFull says that as much waits to be written as may: the peer reads slower
	// than it is sent to, or all peers together do.
	ErrQueueFull = errors.New("too much waits to be written")
	// ErrMessageTooLarge says that a message is beyond Settings.MaxMessageSize.
	ErrMessageTooLarge = errors.New("message is larger than one may be")
)

// Send queues a message to the WebSocket of this ConnInfo.ID, which need not have asked for
// one. It returns at once: nil says that the message will be written while the
// connection lasts, not that the peer has read it. Messages of Send keep their order;
// where they come among the replies to the peer's own messages is not defined. The
// message is not kept. Safe for concurrent use, also from within a Handler.
//
// The error is ErrNotConnected, ErrQueueFull, ErrMessageTooLarge, or says that the message
// can't be encoded. Every one is counted, and so is what was still queued when its
// connection ended (ReasonUnsent).
func (s *Server) Send(id uint64, msg *protobufs.ServerToAgent) error {
	return s.push(id, proto.Size(msg), func(room []byte) ([]byte, error) {
		return opampwire.AppendFrame(room, msg)
	})
}

// SendEncoded is Send for a ServerToAgent that is encoded already: the body of an HTTP
// exchange, or the payload of a frame without its header. It is passed on as it is, with
// what it holds that this process doesn't know of.
func (s *Server) SendEncoded(id uint64, message []byte) error {
	return s.push(id, len(message), func(room []byte) ([]byte, error) {
		return append(append(room, 0), message...), nil
	})
}

// push makes a frame of a message of so many bytes and queues it. Who is not there, and what
// is too large, costs no encoding.
func (s *Server) push(id uint64, size int, encode func(room []byte) ([]byte, error)) error {
	c := s.connection(id)
	if c == nil {
		s.ledger.count(ReasonNotConnected)
		return fmt.Errorf("%w: %d", ErrNotConnected, id)
	}
	return s.pushTo(c, size, encode)
}

func (s *Server) pushTo(c *conn, size int, encode func(room []byte) ([]byte, error)) error {
	reason, err := s.queue(c, size, encode)
	switch {
	case err == nil:
		return nil
	case reason == ReasonNotConnected:
		s.ledger.count(reason)
	default:
		s.ledger.note(reason, c.info.RemoteAddr, err)
	}
	return err
}

func (s *Server) queue(c *conn, size int, encode func(room []byte) ([]byte, error)) (Reason, error) {
	if err := s.sendable(size); err != nil {
		return ReasonReply, err
	}
	if size > smallMessage { // which a peer that does not read is not worth to be copied for
		if reason, err := c.fits(int64(size)); err != nil {
			return reason, err
		}
	}
	buf, err := encode(make([]byte, maxOutHeader, maxOutHeader+messageHeader+size))
	if err != nil {
		return ReasonReply, err
	}
	return c.enqueue(buf)
}

func (s *Server) connection(id uint64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// maxShare is what part of what may wait for all peers may wait for one that has many agents.
const maxShare = 4

// outbox is what waits to be written to one WebSocket besides the replies. It is there only while
// its writer, the goroutine that runs deliver, is. Guarded by the connection's mu.
type outbox struct {
	frames   [][]byte // maxOutHeader bytes of room, then the payload
	bytes    int64    // of frames, and of the one that is being written
	inFlight int64    // of the one that is being written
	turn     sync.Cond
	waiting  bool   // somebody waits to be handed the turn
	handed   uint64 // how often it was
	room     [2][]byte
}

// enqueue adds a frame, and starts the writer where there is none.
func (c *conn) enqueue(buf []byte) (Reason, error) {
	n, settings := int64(len(buf)), c.server.settings
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason, err := c.fitsLocked(n); err != nil {
		return reason, err
	}
	o := c.out
	if all := c.server.unsent.Add(n); all > settings.MaxAllUnsentBytes {
		c.server.unsent.Add(-n)
		return ReasonQueueFull, fmt.Errorf("%w: %d bytes to all peers", ErrQueueFull, all-n)
	}
	if o == nil {
		o = &outbox{}
		o.turn.L, o.frames = &c.mu, o.room[:0]
		c.out = o
		go c.deliver()
	}
	o.frames = append(o.frames, buf)
	o.bytes += n
	return "", nil
}

// fits says whether n bytes more may wait for the peer, as far as it alone is concerned.
func (c *conn) fits(n int64) (Reason, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fitsLocked(n)
}

func (c *conn) fitsLocked(n int64) (Reason, error) {
	messages, bytes := c.allowanceLocked()
	switch o := c.out; {
	case c.ended:
		return ReasonNotConnected, fmt.Errorf("%w: %d", ErrNotConnected, c.info.ID)
	case o == nil:
	case len(o.frames) >= messages:
		return ReasonQueueFull, fmt.Errorf("%w: %d messages to this peer", ErrQueueFull, len(o.frames))
	case o.bytes > 0 && o.bytes+n > bytes: // but one message, of any size
		return ReasonQueueFull, fmt.Errorf("%w: %d bytes to this peer", ErrQueueFull, o.bytes)
	}
	return "", nil
}

// allowanceLocked is how much may wait for the peer: as many times what may for one agent as it has of
// them, and no more than a part of what may wait for all peers.
func (c *conn) allowanceLocked() (messages int, bytes int64) {
	settings, agents := c.server.settings, max(c.agents, 1)
	return settings.MaxUnsentMessages * agents,
		max(settings.MaxUnsentBytes, min(settings.MaxUnsentBytes*int64(agents), settings.MaxAllUnsentBytes/maxShare))
}

// deliver writes what is queued until nothing is. finish waits for it. A peer that does not read
// ends as it does when it doesn't read a reply.
func (c *conn) deliver() {
	for buf := c.advance(); buf != nil; buf = c.advance() {
		if err := c.writeQueued(buf); err != nil {
			c.server.ledger.count(ReasonUnsent)
			c.endSending()
			c.cut() // run notices
			continue
		}
		if !isPing(buf) {
			c.server.wsSent.add(len(buf) - maxOutHeader)
		}
	}
}

// isPing says whether a queued frame is a ping: a message is never empty, it has a header.
func isPing(buf []byte) bool { return len(buf) == maxOutHeader }

func (c *conn) writeQueued(buf []byte) (err error) {
	defer c.server.contain(c.info.RemoteAddr, &err)
	if isPing(buf) {
		return c.write(seal(buf, opPing))
	}
	return c.write(seal(buf, opBinary))
}

// advance takes the next frame off the queue. Where there is none the writer is over.
func (c *conn) advance() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.out
	o.release(c.server, o.inFlight)
	o.inFlight = 0
	if len(o.frames) == 0 {
		c.out = nil
		o.turn.Broadcast() // finish may wait for this
		return nil
	}
	buf := o.frames[0]
	o.frames[0] = nil
	o.frames = o.frames[1:]
	o.inFlight = int64(len(buf))
	return buf
}

func (o *outbox) release(s *Server, n int64) {
	o.bytes -= n
	s.unsent.Add(-n)
}

// endSending refuses what is sent from now on and drops what is queued.
func (c *conn) endSending() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	o := c.out
	if o == nil {
		return
	}
	for range o.frames {
		c.server.ledger.count(ReasonUnsent)
	}
	o.release(c.server, o.bytes-o.inFlight)
	o.frames = nil
}

// awaitWriter returns when there is no writer any more. There will be none after endSending,
// and after cut it doesn't take long.
func (c *conn) awaitWriter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for o := c.out; c.out != nil; {
		o.turn.Wait()
	}
}

// takeTurn returns when nobody else is writing: run and the writer are the only two who do. Who
// holds the turn hands it to the one who waits, so neither can keep the other out.
func (c *conn) takeTurn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writing {
		c.writing = true
		return
	}
	o := c.out // one of the two is the writer, so it is there; the other may outlive it
	o.waiting = true
	for before := o.handed; o.handed == before; {
		o.turn.Wait()
	}
}

func (c *conn) passTurn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.out; o != nil && o.waiting {
		o.waiting = false
		o.handed++
		o.turn.Broadcast()
		return
	}
	c.writing = false
}
