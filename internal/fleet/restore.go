// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"
	"time"
)

// outage is how long a Fleet may go without Tick. After a longer time it was the server that was away, and what it
// did not hear is no fault of anybody else.
const outage = 10 * time.Second

// Restore takes in agents that are known from before and have not been heard yet: who was there is unknown until it
// speaks, or until it is overdue. Whoever is known already stays as it is. last is the ID of the last event that was
// kept; what happens from now on, and has happened so far, comes after it. The agents' are the Fleet's from now on.
func (f *Fleet) Restore(agents []*Agent, last uint64, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resumed = now
	f.journal.continueAfter(last)
	slices.SortStableFunc(agents, func(a, b *Agent) int { return cmp.Compare(a.LivenessSince.UnixNano(), b.LivenessSince.UnixNano()) })
	for _, a := range agents {
		if f.agents[a.UID] != nil || len(f.agents) >= f.settings.MaxAgents {
			continue
		}
		if a.Liveness == LivenessConnected {
			a.Liveness, a.LivenessSince = LivenessUnknown, now
		}
		rec := &record{}
		f.agents[a.UID] = rec
		f.publishLocked(rec, a, ChangedNew)
		f.economizeLocked(rec, 0)
	}
}

// Leave says that the server is about to close its connections. That they end says nothing of the agents.
func (f *Fleet) Leave(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaving = true
	f.showNewsLocked(now) // nobody ticks any more
	f.recordLocked(Event{At: now, Kind: EventServer, To: "stopped"})
}

// noticeOutageLocked finds out that the server itself stood still.
func (f *Fleet) noticeOutageLocked(now time.Time) {
	last := f.ticked
	f.ticked = now
	if last.IsZero() || now.Sub(last) <= outage {
		return
	}
	f.resumed, f.woke = now, now
	f.recordLocked(Event{
		At: now, Kind: EventServer, From: last.UTC().Format(time.RFC3339Nano), To: "resumed",
		Detail: "it stood still for " + now.Sub(last).Round(time.Second).String(),
	})
}

// ours reports whether a connection that breaks now breaks because of the server, which has just come back from
// standing still.
func (f *Fleet) ours(now time.Time) bool {
	return within(f.woke, outage, now)
}

// Keeping is what somebody who keeps the fleet elsewhere has not kept yet.
type Keeping struct {
	// Events, the oldest first, no more than were asked for.
	Events []Event
	// Lost counts events since the start that were dropped before they could be kept.
	Lost uint64
	// Delta of the agents since the position that was named.
	Delta
}

// Unkept returns what happened after the event with that ID and after p, at most so many events. From the first call
// on, events that are dropped before they were kept are counted; see [Fleet.Kept].
func (f *Fleet) Unkept(event uint64, p Position, limit int) Keeping {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journal.keeper = true
	return Keeping{Events: f.journal.after(event, limit), Lost: f.journal.lost, Delta: f.sinceLocked(p)}
}

// UnkeptEvents is Unkept for who is still busy with the agents of before: the events alone, and how many were lost.
func (f *Fleet) UnkeptEvents(event uint64, limit int) (events []Event, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.journal.after(event, limit), f.journal.lost
}

// Kept says that all events up to this ID are kept.
func (f *Fleet) Kept(event uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journal.kept = max(f.journal.kept, event)
}

// LastEvent is the ID of the last event.
func (f *Fleet) LastEvent() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.journal.next - 1
}

// HeardSince returns who spoke after t. Its cost is that of those who did.
func (f *Fleet) HeardSince(t time.Time) (out []Heard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range []*order{f.present, f.quiet} {
		for r := o.tail; r != nil && r.agent.LastSeen.After(t); r = r.time.prev {
			out = append(out, r.agent.Heard())
		}
	}
	return out
}
