// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Changes tell what a report changed. Zero means nothing that anybody could see.
type Changes uint16

const (
	ChangedNew Changes = 1 << iota // the agent was not known
	ChangedLiveness
	ChangedConnection // transport or address
	ChangedCapabilities
	ChangedDescription
	ChangedHealth
	ChangedConfig
	ChangedComponents
	ChangedMessages // what it said by custom messages, its ingests and gateways
	ChangedMail     // what is said to it by custom messages
	ChangedLineage  // it took the place of somebody who is gone
)

// Input of [Apply].
type Input struct {
	UID    opampwire.InstanceUID
	Conn   Conn
	Msg    *protobufs.AgentToServer
	Now    time.Time
	Limits Limits // a zero field takes its default
	// Identity is nil for the default.
	Identity Identity
}

// Apply folds one message into what is known of its agent. prev is nil for an agent not known yet, and next is nil
// where there is nothing to know: somebody unknown who says goodbye. The reply is never nil.
//
// Next is always another Agent than prev, even when only LastSeen moved; its Version is prev's.
func Apply(prev *Agent, in Input) (next *Agent, reply *protobufs.ServerToAgent, ch Changes) {
	identity := in.Identity
	if identity == nil {
		identity = DefaultIdentity()
	}
	r := decode(in.Msg, in.Limits.withDefaults(), masking{})
	r.logical = identity.of(r.description)
	return fold(prev, in.UID, in.Conn, r, in.Now)
}

func fold(prev *Agent, uid opampwire.InstanceUID, conn Conn, r report, now time.Time) (
	next *Agent, reply *protobufs.ServerToAgent, ch Changes,
) {
	reply = acknowledge(uid)
	if r.goodbye && (prev == nil || prev.spokenForBy(conn.speaker())) {
		return prev, reply, 0
	}
	if prev == nil {
		next = &Agent{UID: uid, FirstSeen: now, Lineage: Lineage{Runs: 1, KnownSince: now}}
		ch = ChangedNew
	} else {
		copied := *prev
		next = &copied
	}
	ch |= next.foldParts(prev, r, now)
	ch |= next.foldPresence(r, conn, now)
	reply.Flags = next.foldTalk(prev, r, conn.speaker(), now)
	ch |= next.takeLetter(reply, now)
	next.Seq = r.seq
	if next.troubled(prev, ch) {
		next.noteTrouble(now)
	}
	return next, reply, ch
}

// spokenForBy reports whether another connection than s speaks for the agent right now. Only who speaks for an agent
// may say goodbye for it.
func (a *Agent) spokenForBy(s speaker) bool {
	return a.Present() && a.talk.speaker != s
}

func (a *Agent) foldParts(prev *Agent, r report, now time.Time) (ch Changes) {
	if r.config != nil && !r.masks.equal(a.masks) {
		a.masks = r.masks
		ch |= ChangedConfig // of what is hidden in it
	}
	if r.capabilities != 0 && r.capabilities != a.Capabilities {
		a.Capabilities = r.capabilities
		ch |= ChangedCapabilities
	}
	if r.custom != nil {
		a.Dropped &^= PartCustomCapabilities
	}
	if r.custom != nil && !slices.Equal(*r.custom, a.CustomCapabilities) {
		a.CustomCapabilities = *r.custom
		ch |= ChangedCapabilities
	}
	if r.description != nil && !reflect.DeepEqual(r.description, a.Description) {
		a.Description = r.description
		a.Logical = r.logical
		a.Dropped &^= PartDescription
		ch |= ChangedDescription
	}
	if r.config != nil && (a.Config == nil || a.Config.sum != r.config.sum) {
		a.Config = r.config
		a.Dropped &^= PartConfig
		ch |= ChangedConfig
	}
	ch |= a.foldComponents(r.components)
	ch |= a.foldHealth(prev, r.health, now)
	ch |= a.foldMessage(r, now)
	if ch&(ChangedDescription|ChangedHealth) != 0 || prev == nil {
		a.search = a.searchText()
	}
	return ch
}

// foldComponents takes a list, or a hash. A hash that we have this agent's own list for changes nothing.
func (a *Agent) foldComponents(c *Components) Changes {
	if c == nil {
		return 0
	}
	if old := a.Components; old != nil {
		sameHash := slices.Equal(c.Hash, old.Hash)
		if (sameHash && !c.Listed) || c.sum == old.sum {
			return 0
		}
	}
	a.Components = c
	a.Dropped &^= PartComponents
	return ChangedComponents
}

func (a *Agent) foldHealth(prev *Agent, h *Health, now time.Time) Changes {
	if h == nil {
		return 0
	}
	was := a.Health
	if prev != nil && prev.Liveness == LivenessGoodbye {
		was = nil // another run: what it says now began now, even if it is what the last run said
	}
	h = h.settle(was, now)
	if h == a.Health {
		return 0
	}
	a.Health = h
	a.Dropped &^= PartHealth
	a.Problems = problems(h)
	return ChangedHealth
}

func (a *Agent) foldPresence(r report, conn Conn, now time.Time) (ch Changes) {
	if was := a.Liveness; was == LivenessConnected || was == LivenessSilent {
		a.talk.rhythm.learn(now.Sub(a.LastSeen))
	}
	live := LivenessConnected
	if r.goodbye {
		live = LivenessGoodbye
	}
	if a.Liveness != live {
		a.Liveness, a.LivenessSince = live, now
		ch |= ChangedLiveness
	}
	if a.Transport != conn.Transport || a.RemoteAddr != conn.RemoteAddr && host(a.RemoteAddr) != host(conn.RemoteAddr) {
		ch |= ChangedConnection
	}
	a.Transport, a.RemoteAddr = conn.Transport, conn.RemoteAddr
	if s := conn.speaker(); s != a.talk.speaker {
		a.talk.previous, a.talk.speaker = a.talk.speaker, s
	}
	if now.After(a.LastSeen) {
		a.LastSeen = now
	}
	return ch
}

// host is addr without its port, which differs from one HTTP request to the next.
func host(addr string) string {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return ap.Addr().String()
	}
	return addr
}

// askEvery is how often at most one agent is asked for the same thing, whatever it does.
const askEvery = time.Second

// foldTalk keeps track of what is missing, and returns the flags that ask for it.
func (a *Agent) foldTalk(prev *Agent, r report, s speaker, now time.Time) (flags uint64) {
	t := &a.talk
	repeat := prev != nil && r.seq == prev.Seq && s.transport == TransportHTTP && prev.talk.speaker == s
	gap := prev == nil || (r.seq != prev.Seq+1 && !repeat)
	if repeat {
		// An HTTP client sends a request again when the answer to it got lost, and with the answer what it asked for.
		t.asked, t.wantsList = false, nil
	}
	if gap {
		t.synced, t.asked = false, false
	}
	if r.complete(a.Capabilities) || (t.asked && r.description != nil) {
		t.synced = true // the second: an answer to our question, as full as the agent can make it
	}
	if r.goodbye {
		return 0
	}
	if t.wantsFullState(s, now) {
		t.asked, t.askedBy, t.askedAt = true, s, now
		flags |= uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)
	}
	if a.lacksList() && t.wantsListOf(a.Components.hash(), s, now) {
		t.wantsList, t.listBy, t.listAt = a.Components.hash(), s, now
		flags |= uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents)
	}
	return flags
}

// wantsFullState asks once for each gap, and again only on a new connection, where the first question may not have
// arrived.
func (t *talk) wantsFullState(s speaker, now time.Time) bool {
	if t.synced || (t.asked && t.askedBy == s) {
		return false
	}
	return !within(t.askedAt, askEvery, now)
}

// wantsListOf asks once for each hash and connection.
func (t *talk) wantsListOf(hash []byte, s speaker, now time.Time) bool {
	if t.wantsList != nil && t.listBy == s && slices.Equal(t.wantsList, hash) {
		return false
	}
	return !within(t.listAt, askEvery, now)
}

// within reports whether now is less than d after t. The zero time is long ago.
func within(t time.Time, d time.Duration, now time.Time) bool {
	return !t.IsZero() && now.Sub(t) < d
}

// lacksList reports whether the agent could tell what it is built of and has not.
func (a *Agent) lacksList() bool {
	if !a.Capabilities.has(protobufs.AgentCapabilities_AgentCapabilities_ReportsAvailableComponents) {
		return false
	}
	return a.Components == nil || !a.Components.Listed
}

// hash is never nil, so that it can tell "asked for the list of nothing" from "not asked".
func (c *Components) hash() []byte {
	if c == nil || c.Hash == nil {
		return []byte{}
	}
	return c.Hash
}

// maxSearchBytes bounds the text that a query looks into.
const maxSearchBytes = 8 << 10

func (a *Agent) searchText() string {
	var b strings.Builder
	add := func(s string) {
		if s = head(s, maxSearchBytes-b.Len()-1); s != "" {
			b.WriteString(strings.ToLower(s))
			b.WriteByte('\n')
		}
	}
	add(a.UID.String())
	add(a.ServiceName())
	add(a.ServiceVersion())
	add(a.HostName())
	for _, p := range a.Problems {
		add(strings.Join(p.Path, " "))
		add(p.Error)
	}
	if a.Description != nil {
		for _, at := range slices.Concat(a.Description.Identifying, a.Description.NonIdentifying) {
			add(at.Key + "=" + valueText(at.Value))
		}
	}
	return b.String()
}
