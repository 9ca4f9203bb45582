// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// overlap is how long before its predecessor's last word a successor may have been first seen: in a rolling restart
// the new one comes up before the old one leaves.
const overlap = 10 * time.Minute

// maxHeirsLooked bounds how many of one logical identity are looked at because of one message.
const maxHeirsLooked = 64

// departed is somebody who went without a word and may yet come back.
type departed struct {
	uid opampwire.InstanceUID
	due time.Time // when it won't be waited for any longer
}

// fileLocked keeps the agent under its logical identity.
func (f *Fleet) fileLocked(rec *record, prev *Agent) {
	if prev != nil && prev.Logical != rec.agent.Logical {
		f.unfileLocked(prev)
	}
	logical := rec.agent.Logical
	if logical == "" {
		return
	}
	if f.logical[logical] == nil {
		f.logical[logical] = bound{}
	}
	f.logical[logical][rec.agent.UID] = rec
}

func (f *Fleet) unfileLocked(a *Agent) {
	delete(f.logical[a.Logical], a.UID)
	if len(f.logical[a.Logical]) == 0 {
		delete(f.logical, a.Logical)
	}
}

// inheritLocked looks for those who are gone and whom rec came to replace: the last of them, and those who
// were there one after the other before that.
func (f *Fleet) inheritLocked(rec *record, now time.Time) {
	for range maxHeirsLooked {
		gone := f.nextOfKinLocked(rec, func(a *Agent) bool { return rec.agent.mayInherit(a) }, lastHeardFirst)
		if gone == nil || f.someoneBetweenLocked(gone, rec) {
			return
		}
		f.succeedLocked(rec, gone, now)
	}
}

// bequeathLocked looks for somebody who came to replace rec, and may be gone as well by now: of several the one who came
// first, whom those who came later may have replaced in turn.
func (f *Fleet) bequeathLocked(rec *record, now time.Time) {
	heir := f.nextOfKinLocked(rec, func(a *Agent) bool { return a.mayInherit(rec.agent) }, firstSeenFirst)
	switch {
	case heir == nil:
	case heir.agent.Before.IsZero():
		f.succeedLocked(heir, rec, now)
	default:
		f.inheritLocked(heir, now) // who came between them comes first
	}
}

// someoneBetweenLocked reports whether there is somebody else who came after gone and before rec, and may turn out to be
// what gone became.
func (f *Fleet) someoneBetweenLocked(gone, rec *record) bool {
	return f.nextOfKinLocked(rec, func(a *Agent) bool {
		return a.Present() && a.FirstSeen.After(gone.agent.LastSeen) && a.FirstSeen.Before(rec.agent.KnownSince) && a.mayInherit(gone.agent)
	}, firstSeenFirst) != nil
}

func lastHeardFirst(a, b *Agent) bool { return a.LastSeen.After(b.LastSeen) }
func firstSeenFirst(a, b *Agent) bool { return a.FirstSeen.Before(b.FirstSeen) }

// nextOfKinLocked is the first, in an order, of the others of rec's logical identity that suit; nil if none does.
func (f *Fleet) nextOfKinLocked(rec *record, suits func(*Agent) bool, sooner func(a, b *Agent) bool) (first *record) {
	looked := 0
	for _, other := range f.logical[rec.agent.Logical] {
		if looked++; looked > maxHeirsLooked {
			break
		}
		if other != rec && suits(other.agent) && (first == nil || sooner(other.agent, first.agent)) {
			first = other
		}
	}
	return first
}

// mayInherit reports whether a can have come in the place of gone, of the same logical identity. Who is there may have come
// before the other left. Besides that a may follow several, but not two that were there at the same time: those were two
// things.
func (a *Agent) mayInherit(gone *Agent) bool {
	if a.Logical == "" || a.Liveness == LivenessUnknown {
		return false
	}
	switch gone.Liveness {
	case LivenessGoodbye, LivenessLost, LivenessSilent:
	default:
		return false
	}
	if (!a.Present() || !a.Before.IsZero()) && gone.LastSeen.After(a.KnownSince) {
		return false
	}
	return a.FirstSeen.After(gone.FirstSeen) && a.FirstSeen.After(gone.LastSeen.Add(-overlap))
}

// succeedLocked makes one row of two: gone is forgotten, and rec has its past.
func (f *Fleet) succeedLocked(rec, gone *record, now time.Time) {
	next := *rec.agent
	next.succeed(gone.agent, now)
	f.recordLocked(Event{
		At: now, UID: next.UID, Logical: next.Logical, Kind: EventInstanceUID,
		From: gone.agent.UID.String(), To: next.UID.String(), Detail: "the same by its attributes, after another start",
	})
	f.recordLocked(next.turned(gone.agent, now)...)
	f.stats.Succeeded++
	f.forgetLocked(gone)
	f.publishLocked(rec, &next, ChangedLineage)
}

// turned tells what is another with a, which came in the place of gone. To the row that they are it is a change like any
// other: a roll-out to pods gives each of them a successor.
func (a *Agent) turned(gone *Agent, now time.Time) []Event {
	out := a.versionSteps(gone, ChangedDescription|ChangedConfig|ChangedComponents, nil, now)
	for i := range out {
		out[i].bound()
	}
	return out
}

// settleDepartedLocked gives up on those who have been gone for long enough.
func (f *Fleet) settleDepartedLocked(now time.Time) {
	for len(f.departed) > 0 && !now.Before(f.departed[0].due) {
		d := f.departed[0]
		f.departed = f.departed[1:]
		if rec := f.agents[d.uid]; rec != nil && !rec.agent.Present() {
			f.bequeathLocked(rec, now)
		}
	}
}

// retireLocked forgets who has been gone for longer than Settings.RetireAfter.
func (f *Fleet) retireLocked(now time.Time) {
	if f.settings.RetireAfter <= 0 {
		return
	}
	for range maxRetired {
		rec := f.gone.head
		if rec == nil || now.Sub(rec.agent.LivenessSince) <= f.settings.RetireAfter {
			return
		}
		a := rec.agent
		f.recordLocked(Event{
			At: now, UID: a.UID, Logical: a.Logical, Kind: EventRetired, From: string(a.Liveness),
			Detail: "gone for longer than " + f.settings.RetireAfter.String(),
		})
		f.stats.Retired++
		f.forgetLocked(rec)
	}
}

// maxRetired bounds how many are forgotten at a time.
const maxRetired = 256
