// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Bounds of the events that are held in memory.
const (
	maxJournal      = 64 << 10
	maxJournalBytes = 32 << 20
)

// journal is the log of the last events. When it is full the oldest make room, whether or not somebody has kept them;
// those that nobody had are counted.
type journal struct {
	events []Event // a ring that is rotated when it has grown to twice its content
	start  int     // events[start:] are there
	next   uint64  // ID of the event after the last
	bytes  int
	kept   uint64 // events up to this ID were kept elsewhere
	keeper bool   // somebody keeps them
	lost   uint64 // events that were dropped before they were kept
}

func newJournal() journal { return journal{next: 1} }

func (j *journal) add(e Event) {
	e.ID = j.next
	j.next++
	j.events = append(j.events, e)
	j.bytes += e.bytes()
	for len(j.events)-j.start > maxJournal || j.bytes > maxJournalBytes {
		j.drop()
	}
	if j.start > len(j.events)/2 && j.start > 1024 {
		n := copy(j.events, j.events[j.start:])
		clear(j.events[n:])
		j.events, j.start = j.events[:n], 0
	}
}

func (j *journal) drop() {
	e := &j.events[j.start]
	j.bytes -= e.bytes()
	if j.keeper && e.ID > j.kept {
		j.lost++
	}
	*e = Event{}
	j.start++
}

// after returns at most limit events with a bigger ID, the oldest first.
func (j *journal) after(id uint64, limit int) []Event {
	live := j.events[j.start:]
	i, _ := slices.BinarySearchFunc(live, id+1, func(e Event, id uint64) int { return cmp.Compare(e.ID, id) })
	live = live[i:]
	return slices.Clone(live[:min(limit, len(live))])
}

// continueAfter renumbers what has happened so far to follow id.
func (j *journal) continueAfter(id uint64) {
	for i := j.start; i < len(j.events); i++ {
		j.events[i].ID += id
	}
	j.next += id
	j.kept += id
}

// EventQuery says which events are wanted. A zero field wants all.
type EventQuery struct {
	// UID or Logical wants the events of one agent: with both, those of the instance and of all others of the same
	// logical identity.
	UID     opampwire.InstanceUID
	Logical string
	Kinds   []EventKind
	// From and Until bound the time: From is included, Until is not.
	From, Until time.Time
	// Before is the ID of an event: only what came before it. 0 begins with the last.
	Before uint64
	// Limit is how many at most; 0 is [DefaultEvents], and more than [MaxEvents] is that.
	Limit int
}

// Bounds of [EventQuery.Limit].
const (
	DefaultEvents = 100
	MaxEvents     = 1000
)

// EventPage is an answer to an [EventQuery].
type EventPage struct {
	Events []Event // the last first
	// Next is the Before of the page after this one; 0 is the last page.
	Next uint64
}

// Bound is q with a Limit that a page can have.
func (q EventQuery) Bound() EventQuery {
	if q.Limit <= 0 {
		q.Limit = DefaultEvents
	}
	q.Limit = min(q.Limit, MaxEvents)
	return q
}

// Wants reports whether e is one of those that q wants, its page aside.
func (q EventQuery) Wants(e *Event) bool {
	switch {
	case q.Before != 0 && e.ID >= q.Before:
		return false
	case len(q.Kinds) > 0 && !slices.Contains(q.Kinds, e.Kind):
		return false
	case !q.From.IsZero() && e.At.Before(q.From), !q.Until.IsZero() && !e.At.Before(q.Until):
		return false
	case q.UID.IsZero() && q.Logical == "":
		return true
	default:
		return !q.UID.IsZero() && e.UID == q.UID || q.Logical != "" && e.Logical == q.Logical
	}
}

// Events answers q from memory, which goes back as far as it has room.
func (f *Fleet) Events(q EventQuery) EventPage {
	q = q.Bound()
	f.mu.Lock()
	defer f.mu.Unlock()
	var page EventPage
	live := f.journal.events[f.journal.start:]
	for i := len(live) - 1; i >= 0; i-- {
		if !q.Wants(&live[i]) {
			continue
		}
		if len(page.Events) == q.Limit {
			page.Next = page.Events[q.Limit-1].ID
			break
		}
		page.Events = append(page.Events, live[i])
	}
	return page
}

// recordLocked adds to the log and tells who keeps it.
func (f *Fleet) recordLocked(events ...Event) {
	if len(events) == 0 {
		return
	}
	for _, e := range events {
		f.journal.add(e)
	}
	f.wakeLocked()
}

// Note records what happened to the server itself.
func (f *Fleet) Note(to, detail string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recordLocked(Event{At: now, Kind: EventServer, To: to, Detail: detail})
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
