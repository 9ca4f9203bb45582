// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"container/heap"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// rhythm is what is known of how often an agent speaks.
type rhythm struct {
	pause time.Duration // the longest pause of late
	last  time.Duration // the one before
	count int           // pauses that it was learnt from, at most steady
}

const (
	// steady is after how many pauses a rhythm is known.
	steady = 3
	// maxPause is the longest pause that is learnt: who speaks less often is asked for nothing and missed by nobody.
	maxPause = time.Hour
	// beats is how many of its own pauses an agent may miss.
	beats = 3
)

// learn takes in one more pause. A longer one counts when it is the second in a row, for one alone is a hiccup; a
// shorter one counts slowly, for one quick answer in between is no quicker rhythm.
func (r *rhythm) learn(pause time.Duration) {
	if pause <= 0 || pause > maxPause {
		return
	}
	if r.count < steady {
		r.count++
	}
	longer := min(pause, r.last)
	if r.count == 1 {
		longer = pause
	}
	switch {
	case longer > r.pause:
		r.pause = longer
	case pause < r.pause:
		r.pause -= (r.pause - pause) / 8
	}
	r.last = pause
}

// patience is how long the agent may say nothing. forever is true for one that never promised to speak, as long as
// its connection lives.
func (a *Agent) patience(least time.Duration) (d time.Duration, forever bool) {
	r := a.talk.rhythm
	promises := a.Capabilities.has(protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat)
	if a.Transport == TransportWebSocket && !promises && r.count < steady {
		return 0, true
	}
	return max(least, beats*r.pause), false
}

// due is when somebody is to be looked at again.
type due struct {
	at  time.Time
	rec *record
}

// dues is a heap, the next first.
type dues []due

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dues) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is for package heap.
func (d *dues) Push(x any) { *d = append(*d, x.(due)) }

// Pop is for package heap.
func (d *dues) Pop() any {
	old := *d
	x := old[len(old)-1]
	old[len(old)-1] = due{}
	*d = old[:len(old)-1]
	return x
}

// lastHeard is from when on the silence of an agent counts: while the server itself was away, nobody could be heard.
func (f *Fleet) lastHeard(a *Agent) time.Time {
	if a.LastSeen.Before(f.resumed) {
		return f.resumed
	}
	return a.LastSeen
}

// unheardRounds is how many times SilentAfter somebody has to be heard again after the server was away: longer, for
// agents wait before they try to connect again.
const unheardRounds = 2

// unheardSince is from when on the silence of an agent that is unknown counts.
func (f *Fleet) unheardSince(a *Agent) time.Time {
	if a.LivenessSince.Before(f.resumed) {
		return f.resumed
	}
	return a.LivenessSince
}

// missLocked looks at one who has said nothing for SilentAfter: it is silent, or slow.
func (f *Fleet) missLocked(rec *record, now time.Time) {
	a := rec.agent
	patience, forever := a.patience(f.settings.SilentAfter)
	if forever && a.Present() {
		f.quiet.push(rec)
		return
	}
	from := f.lastHeard(a)
	if a.Liveness == LivenessUnknown {
		from, patience = f.unheardSince(a), max(patience, unheardRounds*f.settings.SilentAfter)
	}
	if at := from.Add(patience); now.Before(at) {
		f.quiet.push(rec)
		heap.Push(&f.dues, due{at: at, rec: rec})
		return
	}
	f.departLocked(rec, LivenessSilent, a.LastSeen, now)
}

// missQuietLocked looks again at those who are slow.
func (f *Fleet) missQuietLocked(now time.Time) {
	for len(f.dues) > 0 && !now.Before(f.dues[0].at) {
		d := heap.Pop(&f.dues).(due)
		if d.rec.time.in == f.quiet {
			f.missLocked(d.rec, now)
		}
	}
}
