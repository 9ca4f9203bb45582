// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// newLane is the lane of a number. The number alone decides which agents prefer it, so a
// connection that comes back gets its own agents, in every gateway.
func newLane(number int) *lane {
	return &lane{seed: mix(uint64(number) + 0x9e3779b97f4a7c15)} //nolint:gosec // a small number
}

// weight is how much an agent prefers l. The lane of the highest weight is its own, so
// when a lane goes only its agents move, and when one comes only those it takes
// (rendezvous hashing).
func (l *lane) weight(uid opampwire.InstanceUID) uint64 {
	return mix(l.seed ^ mix(binary.LittleEndian.Uint64(uid[:8])^mix(binary.LittleEndian.Uint64(uid[8:]))))
}

// mix scatters x: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// choose is the lane of a UID among those that have a connection; nil if none has.
func choose(lanes []*lane, uid opampwire.InstanceUID) *lane {
	var best *lane
	var most uint64
	for _, l := range lanes {
		if w := l.weight(uid); best == nil || w > most {
			best, most = l, w
		}
	}
	return best
}

// bound says whether the server has heard of a on a connection that it still has.
func (a *agent) bound() bool { return a.lane != nil && a.carrier != nil && a.carrier == a.lane.carrier }

// bindLocked makes sure that a has a lane with a connection. It stays on the one it has,
// unless another is its own by now and it has been at rest.
func (r *router) bindLocked(a *agent, now moment) bool {
	if a.bound() {
		if a.choice == r.generation || now-a.sentAt < restful || a.pending > 0 && now-a.sentAt < forgotten {
			return true
		}
		a.choice = r.generation
		if l := r.preferredLocked(a); l != nil && l != a.lane {
			r.joinLocked(a, l)
			r.counts.moved++
		}
		return true
	}
	l := r.preferredLocked(a)
	if l == nil {
		return false
	}
	r.joinLocked(a, l)
	a.told, a.pending = false, 0
	return true
}

// preferredLocked is the lane that a belongs on; nil if there is none now.
func (r *router) preferredLocked(a *agent) *lane {
	if a.peer != nil && a.peer.own != nil {
		if a.peer.own.carrier == nil {
			return nil
		}
		return a.peer.own
	}
	return choose(r.lanes, a.uid)
}

func (r *router) joinLocked(a *agent, l *lane) {
	if a.lane != nil {
		a.lane.agents--
	}
	l.agents++
	a.lane, a.carrier, a.choice = l, l.carrier, r.generation
}

// laneUp is told when l has got a connection.
func (r *router) laneUp(l *lane, c carrier) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.carrier, l.capabilities, l.offers = c, nil, nil
	if l.peer == nil {
		r.lanes = append(r.lanes, l)
		r.generation++
	}
}

// laneDown is told when l's connection c has ended. Its agents are announced on others, or on
// the next one.
func (r *router) laneDown(l *lane, c carrier) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.carrier != c {
		return
	}
	l.carrier = nil
	if i := slices.Index(r.lanes, l); i >= 0 {
		r.lanes = slices.Delete(r.lanes, i, i+1)
		r.generation++
	}
	if l.peer != nil {
		for _, a := range l.peer.all() {
			r.strandLocked(a, c)
		}
		return
	}
	before := len(r.waiting)
	for _, a := range r.agents {
		r.strandLocked(a, c)
	}
	slices.SortFunc(r.waiting[before:], func(a, b *agent) int { return bytes.Compare(a.uid[:], b.uid[:]) })
}

func (r *router) strandLocked(a *agent, c carrier) {
	if a.carrier == c {
		a.carrier = nil
		r.queueLocked(a)
	}
}

// queueLocked puts a among those that the server has to hear of.
func (r *router) queueLocked(a *agent) {
	if !a.queued && a.spoke {
		a.queued = true
		r.waiting = append(r.waiting, a)
	}
}

// announce makes up to n agents known on the connections that there are, with a message
// each that says nothing but a sequence number. It returns how many it announced and
// whether it could go on: it can't when nobody waits, no lane has a connection, or one
// has no room.
func (r *router) announce(n int, now moment) (announced int, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kept []*agent // whose own lane is down
	i := 0
	more = true
	for ; i < len(r.waiting) && announced < n && more; i++ {
		a := r.waiting[i]
		if r.agents[a.uid] != a || a.peer == nil || a.bound() {
			a.queued = false // it is gone, may be going, or has spoken since
			continue
		}
		switch l := r.preferredLocked(a); {
		case l == nil:
			kept = append(kept, a)
		case !l.carrier.offer(opampwire.AppendHeartbeat(nil, a.uid, a.announcement(now))):
			kept = append(kept, a)
			more = false
		default:
			a.queued, a.told, a.lost = false, false, false
			r.joinLocked(a, l)
			a.pending = 1
			a.sent, a.sentAt = a.seq, now
			announced++
		}
	}
	r.counts.announced += uint64(announced) //nolint:gosec // not negative
	more = more && i < len(r.waiting)
	r.waiting = append(kept, r.waiting[i:]...)
	if len(r.waiting) == 0 {
		r.waiting = nil
	}
	return announced, more
}

// announcement is the sequence number that makes a server ask for everything. It must not
// look like the next one of what the server has; and it should be the one before the
// agent's next, lest that be taken for a gap again. The agent's last number is both, if
// the server has had it: it repeats it. Where that is not certain, a gap ahead is.
func (a *agent) announcement(now moment) uint64 {
	if a.sent == a.seq && !a.lost && a.pending == 0 && now-a.sentAt >= restful {
		return a.seq
	}
	return a.seq + 2
}

// delivery is where a server's message goes.
type delivery struct {
	peer *peer
	why  Reason // where it goes nowhere

	// What the agent has not been told on this connection and the message does not say.
	// Fields as they travel, to be appended.
	capabilities, offers []byte
}

// fromServer decides on a message that l has brought. Any lane may answer for any agent:
// which connection a server answers on is its choice.
func (r *router) fromServer(l *lane, to *peer, m opampwire.ServerMessage) delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.learn(m)
	if m.UID.IsZero() {
		if to == nil {
			return delivery{why: ReasonNoUID}
		}
		return delivery{peer: to} // its own connection
	}
	a := r.agents[m.UID]
	switch {
	case a == nil:
		return delivery{why: ReasonUnknownUID}
	case a.peer == nil:
		return delivery{why: ReasonAgentGone}
	case to != nil && a.peer != to:
		return delivery{why: ReasonForeignUID} // a connection of another agent's own
	}
	if a.pending > 0 {
		a.pending--
	}
	if !m.NewUID.IsZero() && m.NewUID != m.UID {
		r.renameLocked(a, m.NewUID)
	}
	d := delivery{peer: a.peer}
	if !a.told && !m.Error { // beside an error nothing else may be set
		a.told = true
		if m.Capabilities == nil {
			d.capabilities = l.capabilities
		}
		if m.CustomOffers == nil {
			d.offers = l.offers
		}
	}
	return d
}

// learn keeps what the server says of itself. Guarded by the router's mu.
func (l *lane) learn(m opampwire.ServerMessage) {
	if m.Capabilities != nil && !bytes.Equal(m.Capabilities, l.capabilities) {
		l.capabilities = bytes.Clone(m.Capabilities)
	}
	if m.CustomOffers != nil && !bytes.Equal(m.CustomOffers, l.offers) {
		l.offers = bytes.Clone(m.CustomOffers)
	}
}

// renameLocked makes a reachable by the name that the server gives it, before it speaks
// by it. A name that somebody has is for the server to find out about: see conflictLocked.
func (r *router) renameLocked(a *agent, to opampwire.InstanceUID) {
	if r.agents[to] != nil || len(r.agents) >= r.set.maxAgents {
		return
	}
	b := &agent{uid: to, former: a, heard: a.heard, seq: a.seq, sent: a.sent, sentAt: a.sentAt, told: a.told}
	r.agents[to] = b
	r.changes++
	a.peer.add(b)
	if l := r.preferredLocked(b); l != nil {
		r.joinLocked(b, l)
	}
}
