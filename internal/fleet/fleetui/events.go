// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// eventsPage is the body of the page of events.
type eventsPage struct {
	Kinds       []facetValue
	All         string
	Filtered    bool
	Events      []eventRow
	First, Next string
	JSON        string
}

// eventRow is one transition.
type eventRow struct {
	ID       string
	When     moment
	Kind     badge
	Who, URL string // empty for the server itself
	Host     string
	Text     string
	Detail   string
	Diff     string // of a change of config, where both are known
}

var eventBadges = map[fleet.EventKind]badge{
	fleet.EventAppeared:    {"Appeared", "ok", "An instance that was not known spoke."},
	fleet.EventConnected:   {"Came back", "ok", "Who was gone speaks."},
	fleet.EventGoodbye:     {"Goodbye", "off", "It said that it leaves."},
	fleet.EventLost:        {"Lost", "warn", "Its connection broke without a word."},
	fleet.EventSilent:      {"Silent", "warn", "It said nothing for too long."},
	fleet.EventHealth:      {"Health", "none", "A part of it has another status."},
	fleet.EventConfig:      {"Config", "busy", "It runs another effective config."},
	fleet.EventVersion:     {"Version", "busy", "It is of another version."},
	fleet.EventComponents:  {"Components", "busy", "It is built of other components."},
	fleet.EventRestart:     {"Restart", "warn", "It started again."},
	fleet.EventInstanceUID: {"Instance UID", "busy", "It has another instance UID."},
	fleet.EventDuplicate:   {"Duplicate", "warn", "Two live agents used one instance UID."},
	fleet.EventRetired:     {"Forgotten", "off", "It was gone for long, or its place was needed."},
	fleet.EventServer:      {"Server", "none", "The server itself."},
	fleet.EventGap:         {"Gap", "warn", "Events that could not be kept."},
}

var (
	errBadBefore = errors.New("before: not the id of an event")
	errBadKind   = errors.New("kind: not a kind of event")
)

// timelineEvents is how many of its last events the page of a collector shows.
const timelineEvents = 20

func (u *UI) listEvents(w http.ResponseWriter, r *http.Request) {
	v := newView("/events", r.URL.Query(), "kind", "before")
	q, err := eventQuery(v.values)
	if err != nil {
		u.cannot(w, r, "Events", "This address asks for something that the page can't do", err)
		return
	}
	found, err := u.settings.History.Events(r.Context(), q)
	if err != nil {
		u.unreadable(w, r, "Events", err)
		return
	}
	body := eventsPage{All: "/events", Filtered: len(q.Kinds) > 0, Events: u.eventRows(r.Context(), found.Events), JSON: "/api/v1/history"}
	if len(q.Kinds) > 0 {
		body.JSON = address(body.JSON, url.Values{"kind": {v.values.Get("kind")}})
	}
	for _, k := range fleet.EventKinds() {
		body.Kinds = append(body.Kinds, kindFilter(v, q.Kinds, k))
	}
	if q.Before > 0 {
		body.First = v.with("before", "")
	}
	if found.Next > 0 {
		body.Next = v.with("before", strconv.FormatUint(found.Next, 10))
	}
	out := page{Title: "Events", Here: "/events", Body: body}
	if q.Before == 0 { // what is past does not change
		out.Events = events(u.fleet.Position(), opampwire.InstanceUID{}, 0)
	}
	u.render(w, r, http.StatusOK, "events.html", out)
}

// unreadable answers for a history that can't be read.
func (u *UI) unreadable(w http.ResponseWriter, r *http.Request, title string, err error) {
	u.render(w, r, http.StatusServiceUnavailable, "missing.html", page{
		Title: title, Here: "/events",
		Body: missing{Heading: "What happened can't be read now", Text: clean(short(err.Error(), 300))},
	})
}

func eventQuery(values url.Values) (q fleet.EventQuery, err error) {
	if before := values.Get("before"); before != "" {
		if q.Before, err = strconv.ParseUint(before, 10, 63); err != nil {
			return q, errBadBefore
		}
	}
	for name := range strings.SplitSeq(values.Get("kind"), ",") {
		kind := fleet.EventKind(name)
		if name == "" {
			continue
		}
		if !slices.Contains(fleet.EventKinds(), kind) {
			return q, errBadKind
		}
		q.Kinds = append(q.Kinds, kind)
	}
	return q, nil
}

// kindFilter is a link that adds a kind to those that are shown, or takes it out.
func kindFilter(v view, kinds []fleet.EventKind, k fleet.EventKind) facetValue {
	b := eventBadges[k]
	out := facetValue{ID: "kind-" + string(k), Word: b.Word, Look: b.Look, Active: slices.Contains(kinds, k)}
	var names []string
	for _, other := range kinds {
		if other != k {
			names = append(names, string(other))
		}
	}
	if !out.Active {
		names = append(names, string(k))
	}
	out.URL = v.without("before").with("kind", strings.Join(names, ","))
	return out
}

func (u *UI) eventRows(ctx context.Context, list []fleet.Event) (out []eventRow) {
	for i := range list {
		out = append(out, u.newEventRow(ctx, &list[i]))
	}
	return out
}

func (u *UI) newEventRow(ctx context.Context, e *fleet.Event) eventRow {
	out := eventRow{
		ID: "event-" + strconv.FormatUint(e.ID, 10), When: ago(e.At, u.now()), Kind: eventBadges[e.Kind],
		Text: eventText(e), Detail: clean(short(oneLine(e.Detail), 300)),
	}
	switch e.Kind {
	case fleet.EventHealth:
		out.Kind = statusBadge(e.To == "StatusOK", e.To)
	case fleet.EventConfig:
		if u.reader.Knows(ctx, e.From) && u.reader.Knows(ctx, e.To) {
			out.Diff = diffURL(e.From, e.To)
		}
	}
	if e.UID.IsZero() {
		return out
	}
	out.Who, out.URL = "Instance "+e.UID.String(), "/agents/"+e.UID.String()
	if a, ok := u.fleet.Agent(e.UID); ok {
		out.Who, out.Host = agentName(a), clean(short(a.HostName(), 120))
	} else {
		out.URL = ""
	}
	return out
}

// eventText says what changed, where the word of the kind does not say it all.
func eventText(e *fleet.Event) string {
	from, to := clean(short(oneLine(e.From), 120)), clean(short(oneLine(e.To), 120))
	switch e.Kind {
	case fleet.EventHealth:
		return clean(short(e.Subject, 200))
	case fleet.EventConfig, fleet.EventComponents:
		return short(from, 12) + " → " + short(to, 12)
	case fleet.EventConnected:
		if b, ok := livenessBadges[fleet.Liveness(e.From)]; ok {
			return "was " + lowerFirst(b.Word)
		}
		return ""
	case fleet.EventGoodbye, fleet.EventLost, fleet.EventSilent, fleet.EventAppeared:
		return ""
	case fleet.EventServer:
		return to
	}
	switch {
	case from == "":
		return to
	case to == "":
		return from
	}
	return from + " → " + to
}

// timeline is what happened to a collector last, and to those that it was before.
func (u *UI) timeline(ctx context.Context, a *fleet.Agent) []eventRow {
	found, err := u.settings.History.Events(ctx, fleet.EventQuery{UID: a.UID, Logical: a.Logical, Limit: timelineEvents})
	if err != nil {
		return nil // the rest of the page is true without it
	}
	return u.eventRows(ctx, found.Events)
}

// addFlapping lists who came back, started again or fell ill many times within the last hour.
func (u *UI) addFlapping(out *overviewPage) {
	now := u.now()
	agents, total := u.index.Flapping(fleet.FlapsMany, overviewShort, now)
	for _, a := range agents {
		word := agentName(a)
		if host := clean(short(a.HostName(), 60)); host != "" {
			word += " on " + host
		}
		out.Flapping = append(out.Flapping, rank{
			ID: "flap-" + a.UID.String(), Word: word, Count: a.Flaps(now), URL: agentURL(a) + "#timeline",
		})
	}
	out.MoreFlapping = total - len(agents)
}
