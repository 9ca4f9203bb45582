// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"

	"github.com/otel-fleetview/fleetview/internal/opampserver"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
	"github.com/otel-fleetview/fleetview/internal/wsframe"
)

// maxReidentified is how many messages in a row of an agent that does not take another UID
// end its connection.
const maxReidentified = 3

// relay is the gateway as its downstream server has it.
type relay struct{ *Gateway }

// Open implements opampserver.Relay.
func (g relay) Open(c opampserver.Conn, r *http.Request) opampserver.Session {
	s := &session{gw: g.Gateway, conn: c}
	s.peer.owner, s.peer.bond = s, bondIn(r.Header)
	s.base = g.now() - c.Heard()
	s.peer.heard = func() (moment, bool) { return s.base + c.Heard(), true }
	if g.set.Multiplexing == MultiplexPerAgent || g.set.overHTTP() {
		s.forwarded = g.forwardable(r.Header)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions[s] = struct{}{}
	g.kin.join(s, r)
	if g.closing {
		c.Dismiss(wsframe.CloseGoingAway, "gateway is shutting down")
	}
	return s
}

// forwardable is what of an agent's header goes on to the server.
func (g *Gateway) forwardable(h http.Header) http.Header {
	out := pick(h, g.set.ForwardHeaders)
	if over := h.Values(gatewaysHeader); len(over) > 0 {
		out[gatewaysHeader] = over
	}
	return out
}

// pick copies the headers of these names.
func pick(h http.Header, names []string) http.Header {
	out := make(http.Header, len(names))
	for _, name := range names {
		if values := h.Values(name); len(values) > 0 {
			out[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
		}
	}
	return out
}

// session is one downstream WebSocket. Message and Closed are called by its reader.
type session struct {
	// Fixed at construction.
	gw        *Gateway
	conn      opampserver.Conn
	peer      peer
	base      moment      // the gateway's time at the beginning of the downstream server's
	forwarded http.Header // of the agent's handshake, for its own connection to the server

	// Owned by the reader.
	own          *ownWay // its own connection to the server; nil: it shares
	reidentified int     // messages in a row that were answered with another UID
	shared       int     // agents, as far as conn has been told
}

// Message implements opampserver.Session.
func (s *session) Message(message []byte) error {
	m, err := opampwire.ScanAgentMessage(message)
	if err != nil {
		s.gw.drop.note(ReasonMalformed, 1, err)
		return err
	}
	return s.take(body{first: message}, m)
}

// MessageParts implements opampserver.PartsSession.
func (s *session) MessageParts(parts [][]byte) error {
	m, err := opampwire.ScanAgentMessageParts(parts)
	if err != nil {
		s.gw.drop.note(ReasonMalformed, 1, err)
		return err
	}
	return s.take(body{first: parts[0], more: parts[1:]}, m)
}

// take deals with a message of an agent's.
func (s *session) take(message body, m opampwire.AgentMessage) error {
	if err := s.gw.check(message, m); err != nil {
		return err
	}
	if s.gw.set.Multiplexing == MultiplexPerAgent && s.own == nil {
		s.own = s.gw.openOwn(&s.peer, m.UID, s.forwarded)
	}
	return s.forward(message, m)
}

// forward sends a message on its way, once the router says which.
func (s *session) forward(message body, m opampwire.AgentMessage) error {
	g := s.gw
	v := g.route(g.soft, &s.peer, m)
	if v.why == ReasonNoUpstream && s.own.comes(g.soft) {
		if s.own.slot.refused.Load() {
			err := *s.own.slot.refusal.Load()
			g.drop.note(ReasonNoUpstream, 1, err)
			return &opampserver.Refusal{Code: wsframe.ClosePolicy, Err: err}
		}
		v = g.route(g.soft, &s.peer, m)
	}
	if v.why == ReasonDuplicate {
		v = s.contest(v, m)
	}
	switch v.why {
	case "":
		s.reidentified = 0
		if v.shared != s.shared {
			s.shared = v.shared
			s.conn.Share(v.shared)
		}
		return g.carry(v, message, m, s.forwarded)
	case ReasonNoUpstream:
		g.router.missed(v.agent, true)
		g.drop.note(v.why, 1, g.absence())
		return nil
	case ReasonReidentified:
		return s.reidentify(m.UID)
	case ReasonDuplicate:
		if m.Disconnect { // late, of a gateway behind this one, or a lie: nobody's connection is worth it
			err := fmt.Errorf("%w: %s; it is not said goodbye for", errDuplicate, m.UID)
			g.drop.note(v.why, 1, err)
			return &opampserver.Refusal{Err: err}
		}
		return s.refuse(v.why, wsframe.ClosePolicy, m.UID, fmt.Errorf("%w: %s", errDuplicate, m.UID))
	case ReasonMaxAgents:
		return s.refuse(v.why, wsframe.CloseTryAgainLater, m.UID, errMaxAgents)
	default: // ReasonConnectionFull
		return s.refuse(v.why, wsframe.ClosePolicy, m.UID, fmt.Errorf("%w: %d; limits.max_agents_per_connection permits more", errConnectionFull, g.set.MaxPerConnection))
	}
}

var (
	errDuplicate       = errors.New("another connection speaks for this instance UID")
	errMaxAgents       = errors.New("this gateway carries as many agents as it may")
	errConnectionFull  = errors.New("more agents on one connection than there may be")
	errReserved        = errors.New("this custom capability is the gateway's own")
	errUpstreamLimit   = errors.New("message is larger than the OpAMP server takes")
	errRefusedByServer = errors.New("the OpAMP server refuses this agent")
)

// refuse ends the connection and counts why. One that has other agents, of a gateway behind
// this one, stays: the agent alone is told to stay away (Throttling).
func (s *session) refuse(why Reason, code uint16, uid opampwire.InstanceUID, err error) error {
	s.gw.drop.note(why, 1, err)
	if !s.peer.busy(s.gw.router) {
		return &opampserver.Refusal{Code: code, Err: err}
	}
	reply, failed := proto.Marshal(unavailability(uid, err))
	if failed == nil {
		failed = s.conn.SendEncoded(reply)
	}
	if failed != nil {
		return failed
	}
	return &opampserver.Refusal{Err: err}
}

func unavailability(uid opampwire.InstanceUID, err error) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{
		InstanceUid: uid.Bytes(),
		ErrorResponse: &protobufs.ServerErrorResponse{
			Type:         protobufs.ServerErrorResponseType_ServerErrorResponseType_Unavailable,
			ErrorMessage: err.Error(),
			Details: &protobufs.ServerErrorResponse_RetryInfo{
				RetryInfo: &protobufs.RetryInfo{RetryAfterNanoseconds: uint64(30 * time.Second)},
			},
		},
	}
}

// check refuses what no agent may send.
func (g *Gateway) check(message body, m opampwire.AgentMessage) error {
	switch {
	case m.Custom && message.uses(ConnectCapability):
		g.drop.note(ReasonReserved, 1, errReserved)
		return &opampserver.Refusal{Code: wsframe.ClosePolicy, Status: http.StatusForbidden, Err: errReserved}
	case g.pool.tooLarge(message.len()):
		g.drop.note(ReasonUpstreamLimit, 1, errUpstreamLimit)
		return &opampserver.Refusal{Code: wsframe.CloseTooBig, Status: http.StatusRequestEntityTooLarge, Err: errUpstreamLimit}
	default:
		return nil
	}
}

// carry hands a message to the carrier that the router chose. While the server takes
// nothing its sender waits, and with it nobody but its own connection.
func (g *Gateway) carry(v verdict, message body, m opampwire.AgentMessage, forwarded http.Header) error {
	var err error
	told := true
	switch c := v.carrier.(type) {
	case *link:
		c.slot.noteSent(m.UID, g.now()) // before the answer can have come
		err = c.carry(g.hard, g.set.WriteTimeout, message)
	case *poster:
		err = c.carry(g.hard, m.UID, message.whole(), forwarded)
		told = c.mayTell(err)
	}
	if err == nil {
		g.up.add(message.len())
		return nil
	}
	g.router.missed(v.agent, told)
	why := ReasonUpstreamLost
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		why = ReasonUpstreamQueue
	case errors.Is(err, errPost):
		why = ReasonUpstreamFailed
	}
	g.drop.note(why, 1, err)
	return &opampserver.Refusal{Status: http.StatusServiceUnavailable, Err: err}
}

// contest is for the second connection that speaks for a UID: it waits until the first is
// known to be alive or dead. Only this connection waits; one that has other agents may
// not: the agent in question is told to come back.
func (s *session) contest(v verdict, m opampwire.AgentMessage) verdict {
	g := s.gw
	switch {
	case m.Disconnect || v.conflict == DuplicatesRefuse:
		return v
	case v.conflict == DuplicatesReidentify:
		return verdict{why: ReasonReidentified}
	}
	if other, ok := v.old.owner.(*session); ok {
		_ = other.conn.Ping() // for whom there is no room for a ping has not read for long
	}
	if s.peer.busy(g.router) {
		return v
	}
	timer := time.NewTimer(g.set.Silence)
	defer timer.Stop()
	select {
	case <-v.handover:
	case <-timer.C:
	case <-g.soft.Done():
	}
	old := v.old
	if v = g.route(g.soft, &s.peer, m); v.why == "" || v.why == ReasonNoUpstream {
		if other, ok := old.owner.(*session); ok && !old.busy(g.router) {
			other.conn.Dismiss(wsframe.ClosePolicy, "another connection took over this instance UID")
		}
	}
	return v
}

// busy says whether a peer has agents.
func (p *peer) busy(r *router) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.len() > 0
}

// reidentify gives an agent another UID (AgentIdentification).
func (s *session) reidentify(uid opampwire.InstanceUID) error {
	s.gw.drop.note(ReasonReidentified, 1, fmt.Errorf("%w: %s is given another one", errDuplicate, uid))
	if s.reidentified++; s.reidentified > maxReidentified {
		return s.refuse(ReasonDuplicate, wsframe.ClosePolicy, uid, fmt.Errorf("%w: %s", errDuplicate, uid))
	}
	reply, err := proto.Marshal(renaming(uid))
	if err != nil {
		return err
	}
	if err := s.conn.SendEncoded(reply); err != nil {
		return err
	}
	return &opampserver.Refusal{Err: errDuplicate}
}

func renaming(uid opampwire.InstanceUID) *protobufs.ServerToAgent {
	return &protobufs.ServerToAgent{
		InstanceUid:         uid.Bytes(),
		AgentIdentification: &protobufs.AgentIdentification{NewInstanceUid: opampwire.NewInstanceUID().Bytes()},
	}
}

// receive implements recipient. An agent that lets too much wait is closed alone.
func (s *session) receive(message []byte, _ opampwire.ServerMessage, bye bool) {
	err := s.conn.SendEncoded(message)
	switch {
	case err == nil:
	case errors.Is(err, opampserver.ErrNotConnected):
		if bye || s.conn.Left() {
			return
		}
		s.gw.drop.note(ReasonAgentGone, 1, err)
	default:
		s.gw.drop.note(ReasonAgentSlow, 1, err)
		s.conn.Dismiss(wsframe.ClosePolicy, "too many messages wait for this agent")
	}
}

// Closed implements opampserver.Session.
func (s *session) Closed() {
	g := s.gw
	g.mu.Lock()
	delete(g.sessions, s)
	g.mu.Unlock()
	g.kin.part(s)
	g.router.ended(&s.peer, s.conn.Left(), g.now())
	s.own.close()
}

// ownWay is the connection to the server that one peer has for itself.
type ownWay struct {
	slot *slot
	end  context.CancelFunc
	done chan struct{} // closed when it has ended
}

// openOwn begins to connect for p.
func (g *Gateway) openOwn(p *peer, uid opampwire.InstanceUID, header http.Header) *ownWay {
	l := newLane(0)
	l.peer = p
	p.own = l
	h := header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("OpAMP-Instance-UID", uid.String())
	ctx, cancel := context.WithCancel(g.hard)
	o := &ownWay{slot: g.pool.newSlot(uid.String(), l, h), end: cancel, done: make(chan struct{})}
	g.pool.work.Go(func() {
		defer close(o.done)
		o.slot.run(ctx, true)
	})
	return o
}

// comes waits for the first connection, while that may still come.
func (o *ownWay) comes(ctx context.Context) bool {
	if o == nil {
		return false
	}
	select {
	case <-o.slot.first:
		return true
	default:
	}
	timer := time.NewTimer(o.slot.pool.set.HandshakeTimeout)
	defer timer.Stop()
	select {
	case <-o.slot.first:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// close hangs up, once what is queued had a moment to leave.
func (o *ownWay) close() {
	if o == nil {
		return
	}
	o.end()
	<-o.done
}
