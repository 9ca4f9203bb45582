// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/subtle"
	"sync"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// moment is how long after the gateway was made something is. The router has no clock, it
// is told.
type moment = time.Duration

// carrier takes messages to the server. Each upstream connection is one of its own.
type carrier interface {
	// offer queues the frame of an agent unless there is no room for it. It never waits.
	offer(frame []byte) bool
}

// lane is one place in the pool of upstream connections: connections come and go, the
// lane keeps its agents.
type lane struct {
	seed   uint64        // fixed at construction
	peer   *peer         // fixed: whom alone it serves; nil: it is one of those that agents are shared out among
	wanted chan struct{} // fixed, size 1: it is at rest, and somebody needs a connection

	carrier      carrier       // guarded by the router's mu: the connection; nil while there is none
	arrival      chan struct{} // guarded by mu: closed when it is decided whether one comes; nil while nobody waits
	capabilities []byte        // guarded by mu: the field as the server sent it on this connection
	offers       []byte        // guarded by mu: custom_capabilities, the same
	agents       int           // guarded by mu: how many are bound to it
}

// peer is where an agent is reached: a WebSocket, or the mailbox of an agent that polls.
type peer struct {
	owner     any                              // fixed at construction
	heard     func() (at moment, ok bool)      // fixed: the last sign of life; nil: that of each agent counts
	bond      string                           // fixed before its first message: peers with the same are one gateway's; empty: it is none's
	own       *lane                            // fixed before its first message: not nil if nobody shares its way to the server
	uids      map[opampwire.InstanceUID]*agent // guarded by the router's mu; nil while there is one at most
	only      *agent                           // guarded by mu: the one agent of most peers
	rival     *agent                           // guarded by mu: of another peer, whose UID it has spoken for last; nil: none
	contested moment                           // guarded by mu: since when it does, or since rival showed life
}

// agent is what the router knows of one instance UID. Guarded by the router's mu.
type agent struct {
	uid  opampwire.InstanceUID
	peer *peer // nil: its connection has ended, and it is in its grace

	lane    *lane
	carrier carrier // of lane, when it was last spoken for; the connection is another one if lane's is
	choice  uint64  // the router's generation when lane was chosen

	seq     uint64 // of the last message that came from the agent
	sent    uint64 // of the last one that was forwarded
	sentAt  moment
	pending uint32 // forwarded and not answered, as far as one can tell
	heard   moment // its last message
	leaveAt moment // end of the grace

	spoke    bool          // a message of it was forwarded, on whichever connection
	told     bool          // it has been told the server's capabilities on this carrier
	goodbye  bool          // its last message was agent_disconnect
	left     bool          // its connection has ended, and it was the agent who ended it, in order
	lost     bool          // a message of it was not forwarded since the last one that was
	queued   bool          // it waits to be announced
	former   *agent        // whom it replaces, once it speaks: new_instance_uid
	handover chan struct{} // closed when it leaves its peer; nil while nobody waits
}

// router knows where each agent is and which upstream speaks for it. It does no I/O.
// Safe for concurrent use.
type router struct {
	// Fixed at construction.
	set routerSettings

	mu         sync.Mutex
	agents     map[opampwire.InstanceUID]*agent // guarded by mu
	lanes      []*lane                          // guarded by mu: those with a connection, and those at rest
	generation uint64                           // guarded by mu: grows when lanes change
	waiting    []*agent                         // guarded by mu: to be announced, in order
	leaving    []departure                      // guarded by mu: by the end of their grace
	parted     map[opampwire.InstanceUID]parted // guarded by mu: the server has yet to answer what they said last
	counts     routerCounts                     // guarded by mu
	changes    uint64                           // guarded by mu: grows when agents come and go
}

// routerSettings bound and steer a router.
type routerSettings struct {
	maxAgents  int
	maxPerPeer int
	duplicates Duplicates
	silence    time.Duration // of an agent that another may replace
	grace      time.Duration // between the end of a connection and the agent's
}

// routerCounts only grow, except for waiting.
type routerCounts struct {
	waiting    int // agents to be announced, now
	duplicates map[Duplicates]uint64
	announced  uint64
	goodbyes   uint64 // said for agents that did not
	returned   uint64 // came back within their grace
	renamed    uint64 // took another UID that the server gave them
	moved      uint64 // changed the upstream while both lived
}

// parted is what the server has yet to answer of an agent that is not here any more.
type parted struct {
	answers uint32
	until   moment // it is not waited for any longer
}

// departure is an agent that may have to be said goodbye for.
type departure struct {
	agent *agent
	at    moment
}

const (
	// restful is how long an agent must have said nothing before its messages take another
	// way while the old one lives: the server has dealt with what went there by then.
	restful = time.Second
	// forgotten is how long for one whose last message the server has not answered.
	forgotten = 15 * time.Second
	// mostParted is how many agents may be in parted.
	mostParted = 20_000
)

func newRouter(set routerSettings) *router {
	return &router{
		set:    set,
		agents: make(map[opampwire.InstanceUID]*agent),
		parted: make(map[opampwire.InstanceUID]parted),
		counts: routerCounts{duplicates: make(map[Duplicates]uint64)},
	}
}

// verdict is what is to become of an agent's message.
type verdict struct {
	carrier carrier // takes it; nil: it is not forwarded, because of why
	agent   *agent
	shared  int // with a carrier: how many agents its peer has
	why     Reason
	arrival <-chan struct{} // with ReasonNoUpstream: closed when that may be different; nil: it will not be soon

	old      *peer           // who has the UID, where that is why
	handover <-chan struct{} // closed when old has it no more; only with old
	conflict Duplicates      // what to do about it: the policy
}

// fromAgent decides on a message that p has brought at now. Where it has to wait for a
// connection the verdict says so, and the caller comes again when that is decided, or has
// fromAgentAtOnce decide when it has waited long enough.
func (r *router) fromAgent(p *peer, m opampwire.AgentMessage, now moment) verdict {
	return r.decide(p, m, now, true)
}

// fromAgentAtOnce is fromAgent for a message that waits no longer.
func (r *router) fromAgentAtOnce(p *peer, m opampwire.AgentMessage, now moment) verdict {
	return r.decide(p, m, now, false)
}

func (r *router) decide(p *peer, m opampwire.AgentMessage, now moment, wait bool) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.agents[m.UID]
	switch {
	case a == nil:
		if why := r.roomLocked(p); why != "" {
			return verdict{why: why}
		}
		a = &agent{uid: m.UID}
		r.agents[m.UID] = a
		r.changes++
		p.add(a)
	case a.peer == nil:
		if p.len() >= r.set.maxPerPeer {
			return verdict{why: ReasonConnectionFull}
		}
		r.returnLocked(a, p)
	case a.peer != p:
		if v, free := r.conflictLocked(a, p, m.Disconnect, now); !free {
			return v
		}
	}
	if a.former != nil {
		r.retireLocked(a)
	}
	a.heard, a.seq, a.goodbye = now, m.SequenceNum, m.Disconnect
	if m.Disconnect {
		if a.leaveAt <= now { // once, however often it says so
			r.leaveLocked(a, now)
		}
		r.handOverLocked(a) // who waits for it may have it
	}
	if ok, arrival := r.bindLocked(a, now, wait); !ok {
		a.lost = a.lost || arrival == nil
		return verdict{agent: a, why: ReasonNoUpstream, arrival: arrival}
	}
	a.sent, a.sentAt, a.spoke, a.lost = m.SequenceNum, now, true, false
	a.pending++
	return verdict{agent: a, carrier: a.carrier, shared: p.len()}
}

// roomLocked says why p may not bring one agent more.
func (r *router) roomLocked(p *peer) Reason {
	switch {
	case len(r.agents) >= r.set.maxAgents:
		return ReasonMaxAgents
	case p.len() >= r.set.maxPerPeer:
		return ReasonConnectionFull
	default:
		return ""
	}
}

// returnLocked gives an agent in its grace to p. Nobody is told that it was away.
func (r *router) returnLocked(a *agent, p *peer) {
	p.take(a)
	a.leaveAt, a.left = 0, false
	r.counts.returned++
}

// conflictLocked decides on an agent that shows up at p while another peer has it. Nobody is taken from a peer that
// was not asked first and had its time to show life; and somebody else's goodbye is none.
func (r *router) conflictLocked(a *agent, p *peer, goodbye bool, now moment) (verdict, bool) {
	switch {
	case a.goodbye:
	case p.bonded(a.peer) && p.len() < r.set.maxPerPeer: // its gateway has moved it to another of its connections
		a.peer.remove(a)
		p.take(a)
		return verdict{}, true
	case a.former != nil && a.peer.heard == nil: // promised to an agent that polls, which has a peer for each name
		r.retireLocked(a)
		a.peer.remove(a)
		p.add(a)
		return verdict{}, true
	default:
		heard, mortal := r.heardLocked(a)
		if p.rival != a {
			p.rival, p.contested = a, now
			r.counts.duplicates[r.set.duplicates]++
		} else if heard > p.contested {
			p.contested = now
		}
		dead := mortal && now-p.contested >= r.set.silence
		if !dead || goodbye || r.set.duplicates != DuplicatesReplace {
			if a.handover == nil {
				a.handover = make(chan struct{})
			}
			return verdict{why: ReasonDuplicate, old: a.peer, handover: a.handover, conflict: r.set.duplicates}, false
		}
	}
	if p.len() >= r.set.maxPerPeer {
		return verdict{why: ReasonConnectionFull}, false
	}
	p.rival = nil
	a.peer.remove(a)
	r.handOverLocked(a)
	r.returnLocked(a, p)
	return verdict{}, true
}

// heardLocked is when a gave its last sign of life. It is mortal if it would give one when its peer is asked. A peer that
// polls can't be asked, and has gone when it has long not polled; one with many agents answers for itself, and says
// goodbye for those that have gone.
func (r *router) heardLocked(a *agent) (heard moment, mortal bool) {
	if a.peer.heard == nil || a.peer.len() > 1 {
		return a.heard, false
	}
	if at, ok := a.peer.heard(); ok {
		return max(at, a.heard), true
	}
	return a.heard, true
}

// handOverLocked wakes whoever waits for a's UID.
func (r *router) handOverLocked(a *agent) {
	if a.handover != nil {
		close(a.handover)
		a.handover = nil
	}
}

// retireLocked forgets the name that a had before.
func (r *router) retireLocked(a *agent) {
	former := a.former
	a.former = nil
	if r.agents[former.uid] == former && former.peer == a.peer {
		a.peer.remove(former)
		r.forgetLocked(former)
	}
	r.counts.renamed++
}

// forgetLocked removes an agent that no peer has.
func (r *router) forgetLocked(a *agent) {
	if a.lane != nil {
		a.lane.agents--
		a.lane = nil
	}
	r.handOverLocked(a)
	delete(r.agents, a.uid)
	r.changes++
}

// missed notes that a message of a, which had a carrier or waited for one, has gone nowhere. If it is to be told the server
// has to hear of a again, or for the first time.
func (r *router) missed(a *agent, told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.lost = true
	if told {
		r.queueLocked(a)
	}
}

// missedBy is missed, for whoever has a UID.
func (r *router) missedBy(uid opampwire.InstanceUID, told bool) {
	r.mu.Lock()
	a := r.agents[uid]
	r.mu.Unlock()
	if a != nil {
		r.missed(a, told)
	}
}

// ended is told when p has gone, and whether it has left in order. Its agents are left for those who
// said goodbye, and wait for their return otherwise.
func (r *router) ended(p *peer, left bool, now moment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range p.all() {
		p.remove(a)
		r.handOverLocked(a)
		if a.goodbye || !a.spoke || a.former != nil {
			if a.goodbye || left {
				r.partLocked(a, a.pending, now)
			}
			r.forgetLocked(a)
			continue
		}
		a.left = left
		r.leaveLocked(a, now)
	}
}

// leaveLocked begins a's grace: of an agent whose connection has ended, or which said
// goodbye and may think better of it.
func (r *router) leaveLocked(a *agent, now moment) {
	a.leaveAt = now + r.set.grace
	r.leaving = append(r.leaving, departure{agent: a, at: a.leaveAt})
}

// bury ends the agents whose grace is over at now: it says goodbye upstream for those
// whose connection ended without it, if the server has heard of them on the connection
// that there is. Where there is no room it is tried again later.
//
// The goodbye is queued under the lock that a returning agent's first message needs, so
// it never comes after that message.
func (r *router) bury(now moment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.leaving[:0]
	for i, d := range r.leaving {
		if d.at > now {
			kept = append(kept, r.leaving[i:]...)
			break
		}
		if a := d.agent; a.leaveAt == d.at && !r.endLocked(a, now) {
			kept = append(kept, d)
		}
	}
	clear(r.leaving[len(kept):])
	r.leaving = kept
	if len(kept) == 0 {
		r.leaving = nil
	}
	for uid, p := range r.parted {
		if p.until <= now {
			delete(r.parted, uid)
		}
	}
}

// endLocked ends an agent whose grace is over. It is false if that has to wait.
func (r *router) endLocked(a *agent, now moment) bool {
	switch {
	case a.goodbye:
		if a.peer != nil {
			a.peer.remove(a)
		}
		r.partLocked(a, a.pending, now)
	case a.peer != nil: // it is back
		return true
	case a.bound():
		if !a.carrier.offer(opampwire.AppendGoodbye(nil, a.uid, a.seq+1)) {
			return false
		}
		r.counts.goodbyes++
		answers := uint32(1) // the server answers everything, goodbyes too
		if a.left {
			answers += a.pending
		}
		r.partLocked(a, answers, now)
	}
	r.forgetLocked(a)
	return true
}

// partLocked remembers that the server has yet to answer a so many times: nobody misses that.
func (r *router) partLocked(a *agent, answers uint32, now moment) {
	if answers > 0 && len(r.parted) < mostParted {
		r.parted[a.uid] = parted{answers: answers + r.parted[a.uid].answers, until: now + forgotten}
	}
}

// excusedLocked says whether a message for a UID that nobody here has answers one who left.
func (r *router) excusedLocked(uid opampwire.InstanceUID) bool {
	p, ok := r.parted[uid]
	if !ok {
		return false
	}
	if p.answers--; p.answers == 0 {
		delete(r.parted, uid)
	} else {
		r.parted[uid] = p
	}
	return true
}

// snapshot is what there is now.
func (r *router) snapshot() (agents int, perLane map[*lane]int, counts routerCounts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	perLane = make(map[*lane]int, len(r.lanes))
	for _, l := range r.lanes {
		perLane[l] = l.agents
	}
	counts = r.counts
	counts.waiting = len(r.waiting)
	counts.duplicates = make(map[Duplicates]uint64, len(r.counts.duplicates))
	for k, v := range r.counts.duplicates {
		counts.duplicates[k] = v
	}
	return len(r.agents), perLane, counts
}

// list is who is there, and how often that has changed.
func (r *router) list() ([]opampwire.InstanceUID, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	uids := make([]opampwire.InstanceUID, 0, len(r.agents))
	for uid := range r.agents {
		uids = append(uids, uid)
	}
	return uids, r.changes
}

func (p *peer) len() int {
	if p.only != nil {
		return 1
	}
	return len(p.uids)
}

// add makes a one of p's agents.
func (p *peer) add(a *agent) {
	a.peer = p
	switch {
	case p.uids != nil:
		p.uids[a.uid] = a
	case p.only == nil:
		p.only = a
	default:
		p.uids = map[opampwire.InstanceUID]*agent{p.only.uid: p.only, a.uid: a}
		p.only = nil
	}
}

// take makes a, which another peer had, one of p's agents.
func (p *peer) take(a *agent) {
	p.add(a)
	a.told = false // it is another connection of the agent, maybe another process
	if a.lane != nil && a.lane.peer != nil && a.lane.peer != p {
		a.carrier = nil // that is the other one's own
	}
}

// bonded says whether p and another peer are connections of one gateway.
func (p *peer) bonded(other *peer) bool {
	return p.bond != "" && subtle.ConstantTimeCompare([]byte(p.bond), []byte(other.bond)) == 1
}

func (p *peer) remove(a *agent) {
	a.peer = nil
	if p.only == a {
		p.only = nil
	}
	delete(p.uids, a.uid)
}

// all are p's agents, in a slice of their own.
func (p *peer) all() []*agent {
	if p.only != nil {
		return []*agent{p.only}
	}
	all := make([]*agent, 0, len(p.uids))
	for _, a := range p.uids {
		all = append(all, a)
	}
	return all
}
