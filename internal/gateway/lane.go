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
	return &lane{seed: mix(uint64(number) + 0x9e3779b97f4a7c15), wanted: make(chan struct{}, 1)} //nolint:gosec // a small number
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

// choose is the lane of a UID among lanes; nil if there are none.
func choose(lanes []*lane, uid opampwire.InstanceUID) *lane { return chooseOf(lanes, uid, false) }

// chooseOf is choose, among those with a connection only if live.
func chooseOf(lanes []*lane, uid opampwire.InstanceUID, live bool) *lane {
	var best *lane
	var most uint64
	for _, l := range lanes {
		if live && l.carrier == nil {
			continue
		}
		if w := l.weight(uid); best == nil || w > most {
			best, most = l, w
		}
	}
	return best
}

// bound says whether the server has heard of a on a connection that it still has.
func (a *agent) bound() bool { return a.lane != nil && a.carrier != nil && a.carrier == a.lane.carrier }

// bindLocked makes sure that a has a lane with a connection. It stays on the one it has,
// unless another is its own by now and it has been at rest. Where its lane is at rest and
// it may wait, bindLocked has that connect, and returns what is closed when that is
// decided.
func (r *router) bindLocked(a *agent, now moment, wait bool) (ok bool, arrival <-chan struct{}) {
	if a.bound() {
		if a.choice == r.generation || now-a.sentAt < restful || a.pending > 0 && now-a.sentAt < forgotten {
			return true, nil
		}
		l := r.preferredLocked(a, !wait)
		if l != nil && l.carrier == nil {
			return false, l.wantLocked()
		}
		a.choice = r.generation
		if l != nil && l != a.lane {
			r.joinLocked(a, l)
			r.counts.moved++
		}
		return true, nil
	}
	l := r.preferredLocked(a, !wait)
	switch {
	case l == nil:
		return false, nil
	case l.carrier == nil:
		return false, l.wantLocked()
	}
	r.joinLocked(a, l)
	a.told, a.pending = false, 0
	return true, nil
}

// preferredLocked is the lane that a belongs on; nil if there is none now. It has a
// connection, or is at rest unless live.
func (r *router) preferredLocked(a *agent, live bool) *lane {
	if a.peer != nil && a.peer.own != nil {
		if a.peer.own.carrier == nil {
			return nil
		}
		return a.peer.own
	}
	return chooseOf(r.lanes, a.uid, live)
}

// wantLocked has a lane at rest connect. The channel is closed when it has, or cannot.
func (l *lane) wantLocked() <-chan struct{} {
	if l.arrival == nil {
		l.arrival = make(chan struct{})
		select {
		case l.wanted <- struct{}{}:
		default:
		}
	}
	return l.arrival
}

// decidedLocked wakes whoever waits for a connection of l.
func (l *lane) decidedLocked() {
	if l.arrival != nil {
		close(l.arrival)
		l.arrival = nil
	}
}

// restLocked lets l be without a connection until somebody needs one.
func (r *router) restLocked(l *lane) {
	l.carrier = nil
	select {
	case <-l.wanted: // by who has found it connected since
	default:
	}
	r.shareLocked(l)
}

// shareLocked makes l one of those that agents are shared out among.
func (r *router) shareLocked(l *lane) {
	if l.peer == nil && !slices.Contains(r.lanes, l) {
		r.lanes = append(r.lanes, l)
	}
	r.generation++
}

// unshareLocked takes l out of them.
func (r *router) unshareLocked(l *lane) {
	if i := slices.Index(r.lanes, l); i >= 0 {
		r.lanes = slices.Delete(r.lanes, i, i+1)
		r.generation++
	}
}

// laneRests is told of a lane that has no connection because nobody needs one.
func (r *router) laneRests(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restLocked(l)
}

// letGo puts l to rest if nobody is on it. Its connection c may end then.
func (r *router) letGo(l *lane, c carrier) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.carrier != c || l.agents > 0 {
		return false
	}
	r.restLocked(l)
	return true
}

// remove takes l out for good if it is at rest and nobody waits for it.
func (r *router) remove(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.carrier != nil || l.arrival != nil || !slices.Contains(r.lanes, l) {
		return false
	}
	r.unshareLocked(l)
	return true
}

// laneFailed is told when l could not get the connection that somebody needs. Until it
// has one its agents go elsewhere.
func (r *router) laneFailed(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unshareLocked(l)
	l.decidedLocked()
}

// open says whether there is a connection. Where there is none, but a lane at rest, it has
// that connect, and returns what is closed when that is decided.
func (r *router) open() (ok bool, arrival <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lanes {
		if l.carrier != nil {
			return true, nil
		}
	}
	for _, l := range r.lanes {
		if l.arrival != nil {
			return false, l.arrival
		}
	}
	if len(r.lanes) == 0 {
		return false, nil
	}
	return false, r.lanes[0].wantLocked()
}

// needed says whether an agent is on l.
func (r *router) needed(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return l.agents > 0
}

// resting says whether l is without a connection because nobody needs one.
func (r *router) resting(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return l.carrier == nil && slices.Contains(r.lanes, l)
}

// crowded says whether too many agents share lanes, of which there are n, all connected.
func (r *router) crowded(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	agents, live := 0, 0
	for _, l := range r.lanes {
		agents += l.agents
		if l.carrier != nil {
			live++
		}
	}
	return live == n && agents > n*crowd
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
	r.shareLocked(l)
	l.decidedLocked()
}

// laneDown is told when l's connection c has ended. Its agents are announced on others, or on
// the next one. A lane that had none is at rest.
func (r *router) laneDown(l *lane, c carrier) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.carrier != c {
		return
	}
	l.carrier = nil
	if l.peer != nil {
		for _, a := range l.peer.all() {
			r.strandLocked(a, c)
		}
		return
	}
	if l.agents == 0 {
		r.restLocked(l)
		return
	}
	r.unshareLocked(l)
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
	if !a.queued && (a.spoke || a.lost) {
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
	var kept []*agent // whose own lane is down, or has no room
	full := make(map[*lane]bool)
	i := 0
	for ; i < len(r.waiting) && announced < n; i++ {
		a := r.waiting[i]
		if !r.unheardLocked(a) {
			a.queued = false
			continue
		}
		l := a.lane
		if !a.bound() {
			l = r.preferredLocked(a, false)
		}
		switch {
		case l == nil, full[l]:
			kept = append(kept, a)
		case l.carrier == nil:
			l.wantLocked() // and is announced when it has come, or another one is its own
			kept = append(kept, a)
		case !l.carrier.offer(opampwire.AppendHeartbeat(nil, a.uid, a.announcement(now))):
			kept = append(kept, a)
			full[l] = true // others may have room
		default:
			if !a.bound() {
				a.told, a.pending = false, 0
			}
			a.queued, a.lost, a.spoke = false, false, true
			r.joinLocked(a, l)
			a.pending++
			a.sent, a.sentAt = a.seq, now
			announced++
		}
	}
	r.counts.announced += uint64(announced) //nolint:gosec // not negative
	more = i < len(r.waiting)
	r.waiting = append(kept, r.waiting[i:]...)
	if len(r.waiting) == 0 {
		r.waiting = nil
	}
	return announced, more
}

// unheardLocked says whether the server still has to hear of a. It need not of one that is gone or may be
// going, has said goodbye, or has spoken since.
func (r *router) unheardLocked(a *agent) bool {
	return r.agents[a.uid] == a && a.peer != nil && !a.goodbye && (a.lost || !a.bound())
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
	peer *peer  // nil: it goes nowhere
	why  Reason // because of that; empty: it answers one who has left, and nobody misses it
	bye  bool   // the agent has said goodbye: nobody misses it if it comes too late

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
		if r.excusedLocked(m.UID) {
			return delivery{}
		}
		return delivery{why: ReasonUnknownUID}
	case a.peer == nil && a.left && a.pending > 0:
		a.pending--
		return delivery{}
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
	d := delivery{peer: a.peer, bye: a.goodbye}
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
	if r.agents[to] != nil || len(r.agents) >= r.set.maxAgents || a.peer.len() >= 2*r.set.maxPerPeer {
		return // and who takes it all the same comes as somebody new
	}
	b := &agent{uid: to, former: a, heard: a.heard, seq: a.seq, sent: a.sent, sentAt: a.sentAt, told: a.told}
	r.agents[to] = b
	r.changes++
	a.peer.add(b)
	if l := r.preferredLocked(b, false); l != nil && l.carrier != nil {
		r.joinLocked(b, l)
	}
}
