// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// twins is what speaks for two agents that use one instance UID (Duplicate WebSocket Connections; Duplicate
// instance_uid).
type twins struct {
	turns int // how often two live connections took turns since the later one came

	// Plain HTTP has no connections. There two counts that go on side by side tell two agents from one.
	left  uint64 // the sequence_num that was left for another count
	jumps int    // how often in a row a count went on where it had been left

	renamed time.Time // when one of them was last given another instance UID
}

const (
	// sureTurns and sureJumps are more than an agent makes that reconnects while what it had sent before is still on
	// its way, or whose requests overtake each other.
	sureTurns = 3
	sureJumps = 3
	// renameEvery is how long one of the two has to take the instance UID that it was given, before it is given
	// another one.
	renameEvery = 30 * time.Second
)

// noticeTwinsLocked gives one of two agents with one instance UID another one.
func (f *Fleet) noticeTwinsLocked(prev, next *Agent, seq uint64, reply *protobufs.ServerToAgent, now time.Time) {
	if prev == nil {
		return
	}
	t := &next.talk.twins
	later := true // whose turn it is came later than the other
	switch {
	case f.tookTurnsLocked(prev, next):
		f.stats.Duplicates++
		t.turns++
		later = next.talk.speaker.id > next.talk.previous.id
	case next.talk.speaker != prev.talk.speaker:
		t.turns, t.jumps = 0, 0
	case next.talk.speaker.transport == TransportHTTP && seq != prev.Seq && seq != prev.Seq+1:
		if prev.Seq != t.left && seq == t.left+1 {
			f.stats.Duplicates++
			t.jumps++
		} else {
			t.jumps = 0
		}
		t.left = prev.Seq
	}
	if t.turns < sureTurns && t.jumps < sureJumps || !later || within(t.renamed, renameEvery, now) {
		return
	}
	f.renameLocked(next, reply, now)
}

// renameLocked gives the one that is being answered another instance UID.
func (f *Fleet) renameLocked(a *Agent, reply *protobufs.ServerToAgent, now time.Time) {
	to := f.settings.NewUID()
	reply.AgentIdentification = &protobufs.AgentIdentification{NewInstanceUid: to.Bytes()}
	a.talk.twins = twins{renamed: now}
	a.talk.synced, a.talk.asked = false, false // what is known is a mixture of both
	f.stats.Reidentified++
	f.renamed.give(to, a.UID)
	f.recordLocked(Event{
		At: now, UID: a.UID, Logical: a.Logical, Kind: EventDuplicate, From: a.UID.String(), To: to.String(),
		Detail: "two live agents used it; the one at " + a.RemoteAddr + " was given another",
	})
}

// renames are the instance UIDs that were given, with the one that was used before. Bounded: who never takes what it
// was given must not fill it.
type renames map[opampwire.InstanceUID]opampwire.InstanceUID

const maxRenames = 4096

func (r renames) give(to, from opampwire.InstanceUID) {
	if len(r) >= maxRenames {
		clear(r)
	}
	r[to] = from
}

// take is what there is to record of somebody new: nothing, unless it was given its instance UID.
func (r renames) take(uid opampwire.InstanceUID, a *Agent, now time.Time) []Event {
	from, ok := r[uid]
	if !ok {
		return nil
	}
	delete(r, uid)
	return []Event{{
		At: now, UID: uid, Logical: a.Logical, Kind: EventInstanceUID, From: from.String(), To: uid.String(),
		Detail: "given by this server, because another agent used the one before",
	}}
}

// tookTurnsLocked tells two agents with one instance UID from one agent that reconnected: the speaker went back to a
// connection that had been left, while the one in between is still there.
func (f *Fleet) tookTurnsLocked(prev, next *Agent) bool {
	if prev == nil || next.talk.speaker == prev.talk.speaker || next.talk.speaker != prev.talk.previous {
		return false
	}
	if prev.talk.speaker.transport == TransportHTTP {
		return true
	}
	_, live := f.conns[prev.talk.speaker.id][prev.UID]
	return live
}
