// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package opampclient

import (
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"google.golang.org/protobuf/proto"
)

// session is what the server was told, and what it asked for. It is pure: time comes
// in, messages come out. One goroutine owns it.
//
// It lives as long as the client; begin forgets what the last connection was told.
type session struct {
	maxSend int // bytes

	seq      uint64            // of the next message
	greeted  bool              // this connection has had its first message
	told     [partCount]uint64 // version of each part that this connection was told
	server   uint64            // the server's capabilities as stated on this connection; 0 is no word
	wantFull bool              // the server asked for everything
	wantList bool              // the server asked for the list of components
	lastFull time.Time         // when everything was last told
	lastList time.Time         // when the list was last told
	gained   bool              // the server has come to accept a part
	lastGain time.Time         // when that last made one to be told

	uidChanges []time.Time // when a new instance UID was taken, within uidChangeWindow
}

// outgoing is a message to send and what went into it, or was left out of it.
type outgoing struct {
	msg      *protobufs.AgentToServer
	reported []part
	tooLarge []part
	custom   bool // it carries a custom message
}

// begin starts a connection: nothing has been told on it, and nothing was heard.
func (s *session) begin() {
	s.forget()
	s.server, s.gained = 0, false
}

// forget makes the next message tell everything.
func (s *session) forget() {
	s.greeted = false
	s.told = [partCount]uint64{}
	s.wantFull, s.wantList = false, false
}

// next is the message that the server needs now. Without one, wait says how long until
// a request that came too early may be answered; 0 is for good.
//
// What next returns counts as told. If it can't be delivered the connection is over,
// and begin makes the next one tell everything.
func (s *session) next(st state, now time.Time) (outgoing, time.Duration) {
	s.passOver(st)
	full, list, wait := s.due(now)
	wait = sooner(wait, s.regain(now))
	if !full && !list && !s.stale(st) {
		return outgoing{}, wait
	}
	s.greeted = true
	out := outgoing{msg: s.envelope(st)}
	s.put(&out, st, func(p part) bool {
		return full || (list && p == partComponents) || s.told[p] != st.parts[p].version
	}, list)
	s.fit(&out)
	s.seq++
	return out, wait
}

// due says whether everything, or the list of components, is to be told now, and how
// long a request that came too early has to wait. The greeting counts: a server that
// asks for everything in every answer gets it once a second, not twice.
func (s *session) due(now time.Time) (full, list bool, wait time.Duration) {
	if !s.greeted {
		s.lastFull = now
		return true, false, 0
	}
	if s.wantFull {
		if wait = early(s.lastFull, now); wait == 0 {
			s.wantFull, s.wantList = false, false
			s.lastFull, s.lastList = now, now
			return true, true, 0
		}
	}
	if s.wantList {
		w := early(s.lastList, now)
		if w == 0 {
			s.wantList = false
			s.lastList = now
			return false, true, wait
		}
		wait = sooner(wait, w)
	}
	return false, false, wait
}

// sooner is the shorter of two waits, where 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b > 0 && b < a) {
		return b
	}
	return a
}

// early is how long from now it is still too early to do again what was done at last.
func early(last, now time.Time) time.Duration {
	since := now.Sub(last)
	if since < 0 || since >= fullReportGap { // below 0 the clock went back
		return 0
	}
	return fullReportGap - since
}

// stale reports whether a part has changed since it was told.
func (s *session) stale(st state) bool {
	for p, h := range st.parts {
		if s.told[p] != h.version {
			return true
		}
	}
	return false
}

// heartbeat is the least that a message can be.
func (s *session) heartbeat(st state) *protobufs.AgentToServer {
	msg := s.envelope(st)
	s.seq++
	return msg
}

// carry is a message for a custom message alone, so that one which is lost or refused
// takes nothing of the report along.
func (s *session) carry(st state, custom *protobufs.CustomMessage) *protobufs.AgentToServer {
	msg := s.heartbeat(st)
	msg.CustomMessage = custom
	return msg
}

// goodbye is the last message of an agent (AgentDisconnect). It takes along what has
// not been told yet: the reason why the collector stops may be in it.
func (s *session) goodbye(st state) outgoing {
	s.passOver(st)
	out := outgoing{msg: s.envelope(st)}
	s.put(&out, st, func(p part) bool { return s.told[p] != st.parts[p].version }, false)
	s.fit(&out)
	out.msg.AgentDisconnect = &protobufs.AgentDisconnect{}
	s.seq++
	return out
}

// put adds the parts that are due to a message, and notes them as told.
func (s *session) put(out *outgoing, st state, due func(part) bool, list bool) {
	for i, h := range st.parts {
		p := part(i)
		if h.version == 0 || !s.accepts(p) || !due(p) {
			continue
		}
		parts[p].put(out.msg, h.value, list)
		s.told[p] = h.version
		out.reported = append(out.reported, p)
	}
}

func (s *session) envelope(st state) *protobufs.AgentToServer {
	return &protobufs.AgentToServer{
		InstanceUid:  st.uid.Bytes(),
		SequenceNum:  s.seq,
		Capabilities: uint64(st.capabilities),
	}
}

// fit leaves parts out until the message is within its limit, those first that grow
// without bound. What was left out stays told, so that it is not tried in a loop.
func (s *session) fit(out *outgoing) {
	for _, p := range []part{partEffectiveConfig, partComponents, partHealth, partDescription} {
		if proto.Size(out.msg) <= s.maxSend {
			return
		}
		if clearPart(out.msg, p) {
			out.tooLarge = append(out.tooLarge, p)
		}
	}
}

func clearPart(msg *protobufs.AgentToServer, p part) bool {
	before := proto.Size(msg)
	switch p {
	case partEffectiveConfig:
		msg.EffectiveConfig = nil
	case partComponents:
		msg.AvailableComponents = nil
	case partHealth:
		msg.Health = nil
	case partDescription:
		msg.AgentDescription = nil
	}
	return proto.Size(msg) < before
}
