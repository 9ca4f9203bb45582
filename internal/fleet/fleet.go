// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Fleet holds what is known of each agent. It is safe for concurrent use. No call blocks longer than the others
// take, and none costs more the bigger the fleet is, but those that return all of it.
type Fleet struct {
	// Fixed at construction.
	settings Settings
	epoch    string
	redact   *redaction // nil where nothing is masked

	mu sync.Mutex

	// Guarded by mu.
	agents     map[opampwire.InstanceUID]*record
	conns      map[uint64]bound // WebSockets, by the agents that spoke last on them
	version    uint64
	news       *order    // whose messages have yet to change the version
	mailed     *order    // who has mail
	posts      allowance // of messages to all
	byVersion  *order    // everybody, the last changed last
	present    *order    // who is connected and speaks, the last heard last
	quiet      *order    // who is connected, or unknown, and may say nothing for longer than others
	unheard    *order    // who is unknown, since the same time
	dues       dues      // when to look again at some of quiet
	gone       *order    // who is not there, the last gone last
	laden      *order    // who is gone and has parts to give up, the last gone last
	removals   removals
	gateways   bound            // who told of gateways
	logical    map[string]bound // everybody who has a logical identity, by it
	departed   []departed       // who went without a word of late, the first first
	renamed    renames          // instance UIDs that were given
	journal    journal
	ticked     time.Time // the last Tick
	resumed    time.Time // since when the server hears, after it did not; zero if it always did
	woke       time.Time // when it last stood still until
	leaving    bool      // the server is about to close its connections
	configs    interned[Config]
	components interned[Components]
	verified   map[string]*Components // lists that are what their hash says, by it
	watchers   map[*Watcher]struct{}
	stats      Stats
}

type bound map[opampwire.InstanceUID]*record

// New returns an empty fleet.
func New(s Settings) *Fleet {
	s = s.withDefaults()
	byTime := func(r *record) *links { return &r.time }
	f := &Fleet{
		settings:  s,
		epoch:     rand.Text()[:10],
		agents:    map[opampwire.InstanceUID]*record{},
		conns:     map[uint64]bound{},
		byVersion: newOrder(func(r *record) *links { return &r.version }),
		present:   newOrder(byTime),
		quiet:     newOrder(byTime),
		unheard:   newOrder(byTime),
		gateways:  bound{},
		logical:   map[string]bound{},
		renamed:   renames{},
		journal:   newJournal(),
		verified:  map[string]*Components{},
		gone:      newOrder(byTime),
		laden:     newOrder(func(r *record) *links { return &r.weight }),
		news:      newOrder(func(r *record) *links { return &r.news }),
		mailed:    newOrder(func(r *record) *links { return &r.mail }),
		watchers:  map[*Watcher]struct{}{},
		stats:     newStats(),
	}
	if s.Redact != nil {
		f.redact = newRedaction(s.Redact, s.Limits)
	}
	f.configs = newInterned(
		func(c *Config) sum { return c.sum }, func(c *Config) int { return c.bytes }, &f.stats.Memory)
	f.components = newInterned(
		func(c *Components) sum { return c.sum }, func(c *Components) int { return c.bytes }, &f.stats.Memory)
	f.components.gone = func(c *Components) { delete(f.verified, string(c.Hash)) }
	return f
}

// Report folds a message in and returns the answer, which is never nil. The message is not kept, and changed: its
// secrets are taken out of it.
func (f *Fleet) Report(conn Conn, msg *protobufs.AgentToServer, now time.Time) *protobufs.ServerToAgent {
	uid, err := opampwire.InstanceUIDFromBytes(msg.GetInstanceUid())
	if err != nil {
		return f.refuse(RefuseBadUID, badRequest(msg.GetInstanceUid(), "instance_uid: "+err.Error()))
	}
	r := decode(msg, f.settings.Limits, f.mask(msg, uid))
	r.logical = f.settings.Identity.of(r.description)

	f.mu.Lock()
	defer f.mu.Unlock()
	for reason := range r.cuts {
		f.stats.Cuts[reason]++
	}
	rec := f.agents[uid]
	if rec == nil && r.goodbye {
		return acknowledge(uid)
	}
	if reply := f.admitLocked(uid, conn, rec, now); reply != nil {
		return reply
	}
	return f.foldLocked(rec, uid, conn, r, now)
}

// mask takes the secrets out of a message. A heartbeat has none.
func (f *Fleet) mask(msg *protobufs.AgentToServer, uid opampwire.InstanceUID) masking {
	if f.redact == nil || !tellsAnything(msg) {
		return masking{}
	}
	prev, _ := f.Agent(uid)
	return f.redact.clean(msg, prev)
}

// admitLocked makes room for the agent, on its connection and in the fleet, or says why there is none.
func (f *Fleet) admitLocked(uid opampwire.InstanceUID, conn Conn, rec *record, now time.Time) *protobufs.ServerToAgent {
	if conn.Transport != TransportHTTP {
		agents := f.conns[conn.ID]
		if _, known := agents[uid]; !known && len(agents) >= f.settings.MaxAgentsPerConnection {
			f.stats.Refused[RefuseConnectionFull]++
			return badRequest(uid.Bytes(), "too many agents on one connection")
		}
	}
	if rec != nil || len(f.agents) < f.settings.MaxAgents {
		return nil
	}
	if f.gone.head == nil {
		f.stats.Refused[RefuseFleetFull]++
		return unavailable(uid, "the server has as many agents as it may")
	}
	evicted := f.gone.head.agent
	f.recordLocked(Event{
		At: now, UID: evicted.UID, Logical: evicted.Logical, Kind: EventRetired, From: string(evicted.Liveness),
		Detail: "made room for another agent",
	})
	f.stats.Evicted++
	f.forgetLocked(f.gone.head)
	return nil
}

func (f *Fleet) refuse(r RefuseReason, reply *protobufs.ServerToAgent) *protobufs.ServerToAgent {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Refused[r]++
	return reply
}

func (f *Fleet) foldLocked(rec *record, uid opampwire.InstanceUID, conn Conn, r report, now time.Time,
) *protobufs.ServerToAgent {
	var prev *Agent
	if rec != nil {
		prev = rec.agent
	}
	if known := f.recallLocked(r.components); known != r.components {
		if prev == nil || prev.Components == nil || prev.Components.sum != known.sum {
			f.stats.SharedComponents++
		}
		r.components = known
	}
	next, reply, ch := fold(prev, uid, conn, r, now)
	f.countRequestsLocked(reply.GetFlags())
	f.countMailLocked(prev, next, reply)
	if r.message != nil {
		f.stats.Messages[MessageReceived]++
	}
	if next == prev {
		f.stats.ForeignGoodbyes++
		return reply
	}
	if rec == nil {
		rec = &record{}
		f.agents[uid] = rec
		f.recordLocked(f.renamed.take(uid, next, now)...)
	}
	f.recordLocked(transitions(prev, next, ch, now)...)
	f.noticeTwinsLocked(prev, next, r.seq, reply, now)
	f.publishLocked(rec, next, ch)
	f.bindLocked(rec, prev)
	if ch&(ChangedDescription|ChangedLiveness) != 0 {
		f.inheritLocked(rec, now)
		if next.Liveness == LivenessGoodbye {
			f.bequeathLocked(rec, now)
		}
	}
	if f.agents[uid] == rec {
		f.economizeLocked(rec, ch)
	}
	return reply
}

func (f *Fleet) countRequestsLocked(flags uint64) {
	if flags&uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState) != 0 {
		f.stats.FullStateRequests++
	}
	if flags&uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents) != 0 {
		f.stats.ComponentsRequests++
	}
}

// publishLocked makes next the agent that people see.
func (f *Fleet) publishLocked(rec *record, next *Agent, ch Changes) {
	prev := rec.agent
	rec.agent = next
	switch wasGone := prev != nil && rec.time.in == f.gone; {
	case next.Present():
		f.present.push(rec)
		f.laden.drop(rec)
	case next.Liveness == LivenessUnknown:
		if prev == nil || prev.Liveness != LivenessUnknown {
			f.unheard.push(rec)
		}
	case !wasGone: // who was gone keeps its place: it is gone since then
		f.gone.push(rec)
		f.laden.push(rec)
	}
	if ch == 0 {
		return
	}
	f.internLocked(prev, next)
	f.fileLocked(rec, prev)
	f.fileGatewayLocked(rec)
	f.stats.tally(prev, -1)
	f.stats.tally(next, +1)
	f.stats.Memory += next.own
	f.sortMailLocked(rec)
	if ch == ChangedMessages && !rec.newsAt.IsZero() && next.LastSeen.Sub(rec.newsAt) < newsEvery {
		f.news.push(rec) // Tick comes to it
		return
	}
	f.showLocked(rec, next, next.LastSeen)
}

// newsEvery is how often at most the messages of one agent change its version: a flood of them is no flood for those
// who watch.
const newsEvery = time.Second

// showLocked gives rec's agent, which nobody has seen yet, a version of its own.
func (f *Fleet) showLocked(rec *record, next *Agent, now time.Time) {
	f.news.drop(rec)
	rec.newsAt = now
	f.version++
	next.Version = f.version
	f.byVersion.push(rec)
	f.wakeLocked()
}

// showNewsLocked makes seen what came too fast.
func (f *Fleet) showNewsLocked(now time.Time) {
	for rec := f.news.head; rec != nil; rec = f.news.head {
		next := *rec.agent
		rec.agent = &next
		f.showLocked(rec, &next, now)
	}
}

func (f *Fleet) internLocked(prev, next *Agent) {
	next.own = next.ownBytes()
	if prev == nil {
		prev = &Agent{}
	}
	f.stats.Memory -= prev.own
	if next.Config != prev.Config {
		next.Config = f.configs.hold(next.Config)
		f.configs.drop(prev.Config)
	}
	if next.Components != prev.Components {
		next.Components = f.components.hold(next.Components)
		f.components.drop(prev.Components)
		if c := next.Components; c != nil && c.verified {
			f.verified[string(c.Hash)] = c
		}
	}
}

// bindLocked remembers on which WebSocket an agent speaks, so that we know whom we lose with it. Who said goodbye
// can't be lost.
func (f *Fleet) bindLocked(rec *record, prev *Agent) {
	a := rec.agent
	if prev != nil && (prev.talk.speaker != a.talk.speaker || !a.Present()) {
		f.unbindLocked(prev)
	}
	if a.Transport == TransportHTTP || !a.Present() {
		return
	}
	id := a.talk.speaker.id
	if f.conns[id] == nil {
		f.conns[id] = bound{}
	}
	f.conns[id][a.UID] = rec
}

func (f *Fleet) unbindLocked(a *Agent) {
	if a.talk.speaker.transport == TransportHTTP {
		return
	}
	id := a.talk.speaker.id
	delete(f.conns[id], a.UID)
	if len(f.conns[id]) == 0 {
		delete(f.conns, id)
	}
}

// Disconnected says that a WebSocket broke or was closed, after its last Report. Agents that spoke on it without
// saying goodbye are lost, unless they speak on another connection by now.
func (f *Fleet) Disconnected(conn Conn, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if conn.Transport == TransportHTTP {
		return
	}
	if f.leaving {
		delete(f.conns, conn.ID) // it is the server that ends; how things were is how they are kept
		return
	}
	how := LivenessLost
	if f.ours(now) {
		how = LivenessUnknown
	}
	for _, rec := range f.conns[conn.ID] {
		f.departLocked(rec, how, now, now)
	}
	delete(f.conns, conn.ID)
}

// Tick notices who has been silent for too long, which messages waited for too long, and makes seen what was said
// faster than once a second. Call it about once a second.
func (f *Fleet) Tick(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.showNewsLocked(now)
	f.expireMailLocked(now)
	f.noticeOutageLocked(now)
	for rec := f.present.head; rec != nil && now.Sub(f.lastHeard(rec.agent)) > f.settings.SilentAfter; rec = f.present.head {
		f.missLocked(rec, now)
	}
	for rec := f.unheard.head; rec != nil && now.Sub(f.unheardSince(rec.agent)) > unheardRounds*f.settings.SilentAfter; rec = f.unheard.head {
		f.missLocked(rec, now)
	}
	f.missQuietLocked(now)
	f.settleDepartedLocked(now)
	f.retireLocked(now)
}

func (f *Fleet) departLocked(rec *record, how Liveness, since, now time.Time) {
	next := *rec.agent
	next.Liveness, next.LivenessSince = how, since
	f.recordLocked(transitions(rec.agent, &next, ChangedLiveness, now)...)
	f.publishLocked(rec, &next, ChangedLiveness)
	if how != LivenessUnknown && next.Logical != "" {
		f.departed = append(f.departed, departed{uid: next.UID, due: now.Add(f.settings.SilentAfter)})
	}
}

func (f *Fleet) forgetLocked(rec *record) {
	a := rec.agent
	f.unbindLocked(a)
	f.configs.drop(a.Config)
	f.components.drop(a.Components)
	f.stats.tally(a, -1)
	f.stats.Memory -= a.own
	f.unfileLocked(a)
	delete(f.gateways, a.UID)
	f.laden.drop(rec)
	f.news.drop(rec)
	f.mailed.drop(rec)
	rec.time.in.remove(rec)
	f.byVersion.remove(rec)
	delete(f.agents, a.UID)
	f.version++
	f.removals.add(removal{version: f.version, uid: a.UID})
	f.wakeLocked()
}

// Agent returns what is known of uid.
func (f *Fleet) Agent(uid opampwire.InstanceUID) (*Agent, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rec, ok := f.agents[uid]
	if !ok {
		return nil, false
	}
	return rec.agent, true
}

// Agents returns everybody, the last changed last, and the position that this is true of.
func (f *Fleet) Agents() ([]*Agent, Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*Agent, 0, len(f.agents))
	for r := f.byVersion.head; r != nil; r = r.version.next {
		out = append(out, r.agent)
	}
	return out, f.positionLocked()
}

// Latest replaces each agent by what is known of it now, as long as nobody could see a difference but in when it was
// heard last. Its cost is that of the list, and no lock is held for longer than that.
func (f *Fleet) Latest(agents []*Agent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, a := range agents {
		if rec, ok := f.agents[a.UID]; ok && rec.agent.Version == a.Version {
			agents[i] = rec.agent
		}
	}
}

// Config returns the effective config of that sum, if an agent has it; else nil.
func (f *Fleet) Config(s Sum) *Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.configs.entries[s]; e != nil {
		return e.value
	}
	return nil
}
