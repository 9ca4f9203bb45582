// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleethistory

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// TransitionRequest asks since when an agent, or a component of it, is as it is.
type TransitionRequest struct {
	Agent *fleet.Agent
	// Component is what is asked about, as in the query language: "exporter:otlp". Empty asks about the agent as a
	// whole: how it went if it is gone, else what is worst.
	Component string
	// Within is how long before the transition something may have changed that has to do with it. 0 is [Within].
	Within time.Duration
}

// Within is as long before a transition as is looked where nobody says how long.
const Within = time.Hour

// Transition is how something came to be as it is.
type Transition struct {
	// Since is when, as well as that is known; zero for what is not known at all.
	Since time.Time
	// Event is the step; nil where the log does not go back so far, or has none.
	Event *fleet.Event
	// Changes of config, version, components, instance and run before it, the nearest first.
	Changes []Change
	// Timeline is all that happened to the agent and to the server, from Within before the step up to it, the last
	// first. At most 200 of each.
	Timeline []fleet.Event
}

// Change is what was another before a transition.
type Change struct {
	fleet.Event
	// Before is how long before the transition.
	Before time.Duration
	// Same says of a config that it is of the same variant: only what has to differ between instances is another.
	Same bool
	// Both says of a config that the old and the new are known, and can be compared.
	Both bool
}

// changeKinds are what may have caused a step.
var changeKinds = []fleet.EventKind{
	fleet.EventConfig, fleet.EventVersion, fleet.EventComponents, fleet.EventRestart, fleet.EventInstanceUID,
}

const (
	// maxTimeline bounds what is listed before a transition.
	maxTimeline = 200
	// maxSteps bounds the pages of events among which a transition is looked for.
	maxSteps = 5
)

// Transition answers a [TransitionRequest].
func (r *Reader) Transition(ctx context.Context, q TransitionRequest) (Transition, error) {
	if q.Within <= 0 {
		q.Within = Within
	}
	out := Transition{Since: q.since()}
	step, err := r.step(ctx, q)
	if err != nil {
		return out, err
	}
	out.Event = step
	before := fleet.EventQuery{UID: q.Agent.UID, Limit: maxTimeline}
	switch {
	case step != nil:
		out.Since = step.At
		before.Before, before.From = step.ID+1, step.At.Add(-q.Within)
	case out.Since.IsZero():
		return out, nil
	default:
		before.Until, before.From = out.Since, out.Since.Add(-q.Within)
	}
	server := before
	server.UID, server.Kinds = [16]byte{}, []fleet.EventKind{fleet.EventServer, fleet.EventGap}
	before.Logical = kin(q.Agent)
	for _, page := range []fleet.EventQuery{before, server} {
		found, err := r.log.Events(ctx, page)
		if err != nil {
			return out, err
		}
		out.Timeline = append(out.Timeline, found.Events...)
	}
	slices.SortFunc(out.Timeline, func(a, b fleet.Event) int { return int(int64(b.ID) - int64(a.ID)) })
	r.addChanges(ctx, &out)
	return out, nil
}

// kin is the logical identity whose events are an agent's, empty where it has had no other instance: others of the
// same identity may be there beside it.
func kin(a *fleet.Agent) string {
	if a.Runs > 1 {
		return a.Logical
	}
	return ""
}

func (r *Reader) addChanges(ctx context.Context, t *Transition) {
	budget := 2 * maxTimeline
	for _, e := range t.Timeline {
		if !slices.Contains(changeKinds, e.Kind) || (t.Event != nil && e.ID >= t.Event.ID) {
			continue
		}
		c := Change{Event: e, Before: t.Since.Sub(e.At)}
		if e.Kind == fleet.EventConfig {
			from, to := r.kindOf(ctx, e.From, &budget), r.kindOf(ctx, e.To, &budget)
			c.Both = from.variant != "" && to.variant != ""
			c.Same = c.Both && from.variant == to.variant
		}
		t.Changes = append(t.Changes, c)
	}
}

// since is what the agent itself says of the time.
func (q TransitionRequest) since() time.Time {
	if q.Component == "" {
		return q.Agent.Since()
	}
	match := matcher(q.Component)
	for _, p := range q.Agent.Problems {
		if len(p.Path) > 0 && match(p.Path[len(p.Path)-1]) {
			return p.Since
		}
	}
	return time.Time{}
}

func matcher(component string) func(string) bool {
	t := fleetquery.Term{Facet: fleetquery.FacetComponent, Values: []fleetquery.Value{{Text: component}}}
	return t.Match()
}

// goneKinds are the ways of going.
var goneKinds = []fleet.EventKind{fleet.EventLost, fleet.EventSilent, fleet.EventGoodbye}

// step looks for the event by which what is asked about came to be as it is.
func (r *Reader) step(ctx context.Context, q TransitionRequest) (*fleet.Event, error) {
	a := q.Agent
	look := fleet.EventQuery{UID: a.UID, Logical: kin(a), Limit: fleet.MaxEvents}
	switch {
	case q.Component == "" && !a.Present():
		return r.last(ctx, fleet.EventQuery{UID: a.UID, Kinds: goneKinds, Limit: 1})
	case q.Component == "" && len(a.Problems) == 0:
		look.Kinds = []fleet.EventKind{fleet.EventHealth, fleet.EventConnected, fleet.EventRestart, fleet.EventAppeared}
		look.Limit = 1
		return r.last(ctx, look)
	}
	look.Kinds = []fleet.EventKind{fleet.EventHealth}
	falls := falls{match: q.subjects(), of: map[string]*fall{}}
	for range maxSteps {
		page, err := r.log.Events(ctx, look)
		if err != nil {
			return nil, err
		}
		for i := range page.Events {
			falls.look(&page.Events[i])
		}
		if page.Next == 0 || falls.done() {
			break
		}
		look.Before = page.Next
	}
	return falls.first(), nil
}

func (r *Reader) last(ctx context.Context, q fleet.EventQuery) (*fleet.Event, error) {
	page, err := r.log.Events(ctx, q)
	if err != nil || len(page.Events) == 0 {
		return nil, err
	}
	return &page.Events[0], nil
}

// subjects are the parts of the agent whose events count.
func (q TransitionRequest) subjects() func(subject string) bool {
	if q.Component == "" {
		whole := strings.Join(q.Agent.Problems[0].Path, fleet.PathSeparator)
		return func(subject string) bool { return subject == whole }
	}
	match := matcher(q.Component)
	return func(subject string) bool {
		names := strings.Split(subject, fleet.PathSeparator)
		return match(names[len(names)-1])
	}
}

// falls are the steps of some parts into the state in which each is, found from the last event back.
type falls struct {
	match func(subject string) bool
	of    map[string]*fall
}

type fall struct {
	event fleet.Event
	bad   bool // the part is not well
	done  bool
}

func (f *falls) look(e *fleet.Event) {
	if !f.match(e.Subject) {
		return
	}
	was := f.of[e.Subject]
	if was == nil {
		f.of[e.Subject] = &fall{event: *e, bad: isBad(e.To), done: isBad(e.To) != isBad(e.From)}
		return
	}
	if was.done {
		return
	}
	// Both ends of the step that was found are bad (or both are good): it began earlier.
	was.event, was.done = *e, isBad(e.To) != isBad(e.From)
}

func (f *falls) done() bool {
	for _, one := range f.of {
		if !one.done {
			return false
		}
	}
	return len(f.of) > 0
}

// first is the step of the part that fell ill first, or, where all are well, of the one that recovered last.
func (f *falls) first() *fleet.Event {
	var best *fall
	for _, one := range f.of {
		switch {
		case best == nil, one.bad && !best.bad,
			one.bad == best.bad && one.bad && one.event.ID < best.event.ID,
			one.bad == best.bad && !one.bad && one.event.ID > best.event.ID:
			best = one
		}
	}
	if best == nil {
		return nil
	}
	return &best.event
}

// isBad reports whether a status, in the agent's own word, is of something that fails.
func isBad(word string) bool {
	return word == "unhealthy" || strings.Contains(word, "Error")
}
