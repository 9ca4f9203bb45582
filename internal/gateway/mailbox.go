// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// mailbox is where an agent that polls over plain HTTP is reached. It lives between its
// exchanges, until the agent has been silent for Settings.HTTPSilence.
type mailbox struct {
	// Fixed at construction.
	gw   *Gateway
	uid  opampwire.InstanceUID
	peer peer
	own  *ownWay       // its own connection to the server; nil: it shares
	turn chan struct{} // size 1: who holds it makes an exchange

	users int    // guarded by the gateway's mu: exchanges that have it
	last  moment // guarded by the gateway's mu: the end of the last one

	mu      sync.Mutex
	letters []letter      // guarded by mu: in order
	bytes   int64         // guarded by mu: of letters
	came    uint64        // guarded by mu: how many ever did
	news    chan struct{} // guarded by mu: closed when the next one comes; nil while nobody waits
	bye     bool          // guarded by mu: the agent has said goodbye, and fetches nothing more
}

// letter is a message that waits for its agent.
type letter struct {
	message []byte
	bare    bool // it acknowledges and says nothing
}

// Exchange implements opampserver.Relay: it forwards the message of an agent that polls and
// answers with the oldest of what the server has for it.
func (g relay) Exchange(ctx context.Context, _ opampserver.ConnInfo, r *http.Request, message []byte) ([]byte, error) {
	m, err := opampwire.ScanAgentMessage(message)
	if err != nil {
		g.drop.note(ReasonMalformed, 1, err)
		return nil, err
	}
	if err := g.check(body{first: message}, m); err != nil {
		return nil, err
	}
	forwarded := g.forwardable(r.Header)
	box, err := g.openBox(m.UID, forwarded)
	if err != nil {
		return nil, err
	}
	defer g.closeBox(box)
	ctx, cancel := context.WithTimeout(ctx, g.set.HTTPAnswer+g.set.HandshakeTimeout)
	defer cancel()
	select { // the messages of one agent go on in the order in which they came
	case box.turn <- struct{}{}:
		defer func() { <-box.turn }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	return box.exchange(ctx, message, m, forwarded)
}

func unavailable(err error) error {
	return &opampserver.Refusal{Status: http.StatusServiceUnavailable, Err: err}
}

// openBox is the mailbox of an agent. Give it back with closeBox.
func (g *Gateway) openBox(uid opampwire.InstanceUID, forwarded http.Header) (*mailbox, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return nil, unavailable(errLeft)
	}
	box := g.boxes[uid]
	if box == nil {
		if len(g.boxes) >= g.set.MaxAgents {
			g.drop.note(ReasonMaxAgents, 1, errMaxAgents)
			return nil, unavailable(errMaxAgents)
		}
		box = &mailbox{gw: g, uid: uid, turn: make(chan struct{}, 1)}
		box.peer.owner = box
		if g.set.Multiplexing == MultiplexPerAgent {
			box.own = g.openOwn(&box.peer, uid, forwarded)
		}
		g.boxes[uid] = box
	}
	box.users++
	return box, nil
}

func (g *Gateway) closeBox(box *mailbox) {
	g.mu.Lock()
	defer g.mu.Unlock()
	box.users--
	box.last = g.now()
}

// expire ends the agents that have long not polled.
func (g *Gateway) expire() {
	for _, box := range g.silentBoxes() {
		g.router.ended(&box.peer, false, g.now())
		g.drop.note(ReasonAgentGone, box.empty(), errNoMorePolls)
		if box.own != nil {
			g.running.Go(box.own.close) // which takes a moment
		}
	}
}

var errNoMorePolls = errors.New("the agent has not polled for timeouts.http_silence")

// silentBoxes takes out the boxes that nobody has used for long.
func (g *Gateway) silentBoxes() []*mailbox {
	g.mu.Lock()
	defer g.mu.Unlock()
	var silent []*mailbox
	for uid, box := range g.boxes {
		if box.users == 0 && g.now()-box.last > g.set.HTTPSilence {
			delete(g.boxes, uid)
			silent = append(silent, box)
		}
	}
	return silent
}

// exchange forwards a message and waits for what the server says.
func (b *mailbox) exchange(ctx context.Context, message []byte, m opampwire.AgentMessage, forwarded http.Header) ([]byte, error) {
	g := b.gw
	seen := b.count()
	v := g.route(ctx, &b.peer, m)
	if v.why == ReasonNoUpstream && b.own.comes(ctx) {
		if b.own.slot.refused.Load() {
			return nil, &opampserver.Refusal{Status: http.StatusForbidden, Err: *b.own.slot.refusal.Load()}
		}
		v = g.route(ctx, &b.peer, m)
	}
	switch v.why {
	case "":
	case ReasonDuplicate:
		return b.contest(v, m)
	default:
		g.drop.note(v.why, 1, errors.New("an agent over plain HTTP is told to come back"))
		return nil, unavailable(fmt.Errorf("not forwarded: %s", v.why))
	}
	if err := g.carry(v, body{first: message}, m, forwarded); err != nil {
		return nil, err
	}
	if !b.wait(ctx, seen) {
		g.unanswered.Add(1)
	}
	if reply := b.collect(); reply != nil {
		return reply, nil
	}
	// Every message is answered. This one is on its way, and the server sees by its number
	// if it does not arrive.
	return opampwire.AppendAcknowledgement(nil, m.UID), nil
}

// contest answers an agent whose UID another connection has.
func (b *mailbox) contest(v verdict, m opampwire.AgentMessage) ([]byte, error) {
	uid := m.UID
	if v.conflict == DuplicatesReidentify && !m.Disconnect {
		b.gw.drop.note(ReasonReidentified, 1, fmt.Errorf("%w: %s is given another one", errDuplicate, uid))
		return proto.Marshal(renaming(uid))
	}
	b.gw.drop.note(ReasonDuplicate, 1, fmt.Errorf("%w: %s", errDuplicate, uid))
	if other, ok := v.old.owner.(*session); ok && v.conflict == DuplicatesReplace {
		_ = other.conn.Ping() // so that the agent's next exchange finds out
	}
	return nil, &opampserver.Refusal{Status: http.StatusConflict, Err: fmt.Errorf("%w: %s", errDuplicate, uid)}
}

func (b *mailbox) count() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.came
}

// wait waits until a letter has come after the first seen ones, for Settings.HTTPAnswer at
// most.
func (b *mailbox) wait(ctx context.Context, seen uint64) bool {
	timer := time.NewTimer(b.gw.set.HTTPAnswer)
	defer timer.Stop()
	for {
		news, came := b.listen()
		if came > seen {
			return true
		}
		select {
		case <-news:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (b *mailbox) listen() (<-chan struct{}, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.news == nil {
		b.news = make(chan struct{})
	}
	return b.news, b.came
}

// collect takes the oldest letter. Acknowledgements that are not the last one are left
// out: what comes after them acknowledges as well, and says more.
func (b *mailbox) collect() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.letters) > 1 && b.letters[0].bare {
		b.popLocked()
		b.gw.drop.note(ReasonSuperseded, 1, errSuperseded)
	}
	if len(b.letters) == 0 {
		return nil
	}
	return b.popLocked()
}

var errSuperseded = errors.New("a later message to an agent over plain HTTP says more than this acknowledgement")

func (b *mailbox) popLocked() []byte {
	first := b.letters[0].message
	b.letters[0] = letter{}
	b.letters = b.letters[1:]
	b.bytes -= int64(len(first))
	if len(b.letters) == 0 {
		b.letters = nil
	}
	return first
}

// receive implements recipient.
func (b *mailbox) receive(message []byte, m opampwire.ServerMessage, bye bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.came++
	b.bye = bye
	if b.news != nil {
		close(b.news)
		b.news = nil
	}
	set := b.gw.set
	if len(b.letters) >= set.MaxQueuedMessages || len(b.letters) > 0 && b.bytes+int64(len(message)) > set.MaxQueuedBytes {
		b.gw.drop.note(ReasonMailboxFull, 1, errMailboxFull)
		return
	}
	b.letters = append(b.letters, letter{message: bytes.Clone(message), bare: m.Bare})
	b.bytes += int64(len(message))
}

var errMailboxFull = errors.New("the server has more for an agent over plain HTTP than the agent fetches")

// empty drops what is left and says how much of that is missed.
func (b *mailbox) empty() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := int64(len(b.letters))
	b.letters, b.bytes = nil, 0
	if b.bye {
		return 0
	}
	return left
}
