// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// EventKind says what happened.
type EventKind string

const (
	EventAppeared    EventKind = "appeared"     // an instance that was not known spoke; Detail is its name and version
	EventConnected   EventKind = "connected"    // who was gone speaks; From is how it had gone
	EventGoodbye     EventKind = "goodbye"      // it said that it leaves
	EventLost        EventKind = "lost"         // its connection broke without a word
	EventSilent      EventKind = "silent"       // it said nothing for too long
	EventHealth      EventKind = "health"       // Subject went From one status To another; Detail is its error
	EventConfig      EventKind = "config"       // another effective config; From and To are hashes
	EventVersion     EventKind = "version"      // another service.version
	EventComponents  EventKind = "components"   // built of other components; From and To are its own hashes
	EventRestart     EventKind = "restart"      // it started again; From and To are start times
	EventInstanceUID EventKind = "instance_uid" // From one instance UID To another; Detail says why
	EventDuplicate   EventKind = "duplicate"    // two live agents used one instance UID; To is what one of them was given
	EventRetired     EventKind = "retired"      // forgotten; Detail says why
	EventServer      EventKind = "server"       // the server itself; To is "started", "stopped" or "resumed", From the time at which it fell asleep
	EventGap         EventKind = "gap"          // To so many events before this one could not be kept
)

// EventKinds lists every kind.
func EventKinds() []EventKind {
	return []EventKind{
		EventAppeared, EventConnected, EventGoodbye, EventLost, EventSilent, EventHealth, EventConfig, EventVersion,
		EventComponents, EventRestart, EventInstanceUID, EventDuplicate, EventRetired, EventServer, EventGap,
	}
}

// Event is one transition. It never changes after it was recorded.
type Event struct {
	// ID is the place in the log: no two events share one, and who came later has the bigger one. It begins with 1.
	ID uint64
	At time.Time
	// UID is zero for what is the server's own.
	UID opampwire.InstanceUID
	// Logical is the agent's logical identity at that time, empty where it had none; see [Identity].
	Logical string
	Kind    EventKind
	// Subject is the path to a part of the agent, its names joined by " > "; empty for the whole.
	Subject  string
	From, To string
	Detail   string
}

// PathSeparator joins the names of a path in [Event.Subject]. No component's name has spaces.
const PathSeparator = " > "

// Bounds of what an event says, in bytes, and of how many events one message can make.
const (
	maxEventText   = 1 << 10
	maxEventDetail = 512
	maxHealthSteps = 64
)

// eventBytes is what an event takes besides its texts, in bytes.
const eventBytes = 192

func (e *Event) bytes() int {
	return eventBytes + len(e.Logical) + len(e.Subject) + len(e.From) + len(e.To) + len(e.Detail)
}

// transitions tell what happened between two states of an agent. prev is nil for one that was not known.
func transitions(prev, next *Agent, ch Changes, now time.Time) (out []Event) {
	add := func(kind EventKind, from, to, detail string) {
		out = append(out, Event{At: now, UID: next.UID, Logical: next.Logical, Kind: kind, From: from, To: to, Detail: detail})
	}
	if prev == nil {
		add(EventAppeared, "", "", strings.TrimSpace(next.ServiceName()+" "+next.ServiceVersion()))
		prev = &Agent{Liveness: LivenessConnected}
	} else {
		out = next.versionSteps(prev, ch, out, now)
	}
	if ch&ChangedLiveness != 0 && prev.Liveness != next.Liveness {
		if kind, ok := livenessStep(prev.Liveness, next.Liveness); ok {
			add(kind, string(prev.Liveness), string(next.Liveness), next.RemoteAddr)
		}
	}
	if ch&ChangedHealth != 0 {
		out = healthSteps(prev, next, out, now)
	}
	for i := range out {
		out[i].bound()
	}
	return out
}

// versionSteps are about what an agent runs. The first it tells is no transition.
func (a *Agent) versionSteps(prev *Agent, ch Changes, out []Event, now time.Time) []Event {
	add := func(kind EventKind, from, to string) {
		if from != "" && to != "" && from != to {
			out = append(out, Event{At: now, UID: a.UID, Logical: a.Logical, Kind: kind, From: from, To: to})
		}
	}
	if ch&ChangedDescription != 0 {
		add(EventVersion, prev.ServiceVersion(), a.ServiceVersion())
	}
	if ch&ChangedConfig != 0 && prev.Config != nil && a.Config != nil {
		add(EventConfig, prev.Config.Hash(), a.Config.Hash())
	}
	if ch&ChangedComponents != 0 && prev.Components != nil && a.Components != nil {
		add(EventComponents, prev.Components.HashText(), a.Components.HashText())
	}
	if ch&ChangedHealth != 0 {
		add(EventRestart, prev.startedText(), a.startedText())
	}
	return out
}

func (a *Agent) startedText() string {
	if a.Health == nil || a.Health.StartedAt.IsZero() {
		return ""
	}
	return a.Health.StartedAt.UTC().Format(time.RFC3339Nano)
}

// livenessStep is the event of a step between two livenesses. To be unknown, and to be heard again after that, says
// something of the server and nothing of the agent.
func livenessStep(from, to Liveness) (EventKind, bool) {
	switch {
	case to == LivenessUnknown, from == LivenessUnknown && to == LivenessConnected:
		return "", false
	case to == LivenessConnected:
		return EventConnected, true
	default:
		return EventKind(to), true
	}
}

// healthSteps compares two trees. Of a tree that is the first, or another run's, only what is not well is told.
func healthSteps(prev, next *Agent, out []Event, now time.Time) []Event {
	was := prev.Health
	if prev.Liveness == LivenessGoodbye {
		was = nil
	}
	s := steps{agent: next, now: now, room: maxHealthSteps, out: out}
	s.compare(was, next.Health, nil)
	if s.omitted > 0 {
		s.add(nil, "", "", plural(s.omitted, "more part of it changed", "more parts of it changed"))
	}
	return s.out
}

// steps gathers what changed in a tree of health.
type steps struct {
	agent   *Agent
	now     time.Time
	room    int // events that may yet be added
	omitted int
	out     []Event
}

func (s *steps) compare(was, is *Health, path []string) {
	if was == is || is == nil {
		return
	}
	if was == nil && !is.Healthy || was != nil && !is.saysTheSame(was) {
		s.step(was, is, path)
	}
	old := was.children()
	for _, child := range is.Children {
		var before *Health
		old, before = seek(old, child.Name)
		s.compare(before, child, append(path[:len(path):len(path)], child.Name))
	}
}

func (s *steps) step(was, is *Health, path []string) {
	if s.room == 0 {
		s.omitted++
		return
	}
	s.room--
	from := ""
	if was != nil {
		from = was.word()
	}
	s.add(path, from, is.word(), is.LastError)
}

func (s *steps) add(path []string, from, to, detail string) {
	s.out = append(s.out, Event{
		At: s.now, UID: s.agent.UID, Logical: s.agent.Logical, Kind: EventHealth,
		Subject: strings.Join(path, PathSeparator), From: from, To: to, Detail: detail,
	})
}

// word is the status, or what is known where an agent has no word for it.
func (h *Health) word() string {
	switch {
	case h.Status != "":
		return h.Status
	case h.Healthy:
		return "healthy"
	default:
		return "unhealthy"
	}
}

// bound cuts what the event says to size, in memory of its own.
func (e *Event) bound() {
	e.Subject = briefText(e.Subject, maxEventText)
	e.From, e.To = briefText(e.From, maxEventDetail), briefText(e.To, maxEventDetail)
	e.Detail = briefText(e.Detail, maxEventText)
}
