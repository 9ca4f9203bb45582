// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// happened is the answer to a question for history.
type happened struct {
	Events     []happening `json:"events"`
	NextCursor string      `json:"next_cursor,omitempty"`
}

type happening struct {
	ID          string          `json:"id"`
	At          time.Time       `json:"at"`
	InstanceUID string          `json:"instance_uid"`
	Logical     string          `json:"logical"`
	Kind        fleet.EventKind `json:"kind"`
	Subject     string          `json:"subject"`
	From        string          `json:"from"`
	To          string          `json:"to"`
	Detail      string          `json:"detail"`
}

func (a *API) listHistory(w http.ResponseWriter, r *http.Request) {
	a.answerHistory(w, r, fleet.EventQuery{})
}

// agentHistory answers for all instances that were the agent, unless the client wants this one alone. An instance
// that is forgotten has a history as long as events are kept.
func (a *API) agentHistory(w http.ResponseWriter, r *http.Request) {
	uid, err := opampwire.ParseInstanceUID(r.PathValue("uid"))
	if err != nil {
		badRequest(w, fmt.Errorf("instance_uid: %w", err))
		return
	}
	q := fleet.EventQuery{UID: uid}
	if agent, ok := a.fleet.Agent(uid); ok && agent.Runs > 1 {
		q.Logical = agent.Logical
	}
	a.answerHistory(w, r, q)
}

func (a *API) answerHistory(w http.ResponseWriter, r *http.Request, q fleet.EventQuery) {
	values, err := parameters(r)
	if err == nil {
		err = parseHistory(&q, values)
	}
	if err != nil {
		badRequest(w, err)
		return
	}
	page, err := a.settings.History.Events(r.Context(), q)
	if err != nil {
		unreadable(w)
		return
	}
	out := happened{Events: newHappenings(page.Events)}
	if page.Next != 0 {
		out.NextCursor = strconv.FormatUint(page.Next, 10)
	}
	answer(w, http.StatusOK, out)
}

func newHappenings(list []fleet.Event) []happening {
	out := make([]happening, 0, len(list))
	for i := range list {
		out = append(out, newHappening(&list[i]))
	}
	return out
}

func unreadable(w http.ResponseWriter) {
	fail(w, http.StatusServiceUnavailable, "unavailable", "the history can't be read now; see the server's log")
}

func newHappening(e *fleet.Event) happening {
	h := happening{
		ID: strconv.FormatUint(e.ID, 10), At: e.At.UTC(), Logical: e.Logical, Kind: e.Kind,
		Subject: e.Subject, From: e.From, To: e.To, Detail: e.Detail,
	}
	if !e.UID.IsZero() {
		h.InstanceUID = e.UID.String()
	}
	return h
}

// parseHistory reads kind, from, until, instances, limit and cursor. An unknown parameter, like a wrong value, is an
// error that names it.
func parseHistory(q *fleet.EventQuery, values url.Values) error {
	for name, vs := range values {
		if err := setHistoryParameter(q, name, vs); err != nil {
			return fmt.Errorf("%.64s: %w", name, err)
		}
	}
	return nil
}

var (
	errNotACursor  = errors.New("not a cursor of this list")
	errNotAnAgent  = errors.New("only the history of one agent has it")
	errNoInstances = errors.New("neither all nor this")
)

func setHistoryParameter(q *fleet.EventQuery, name string, values []string) (err error) {
	if name == "kind" {
		q.Kinds, err = parseWords(values, fleet.EventKinds())
		return err
	}
	value, err := only(values)
	if err != nil {
		return err
	}
	switch name {
	case "from":
		q.From, err = parseTime(value)
	case "until":
		q.Until, err = parseTime(value)
	case "limit":
		q.Limit, err = parseEventLimit(value)
	case "cursor":
		q.Before, err = parseEventCursor(value)
	case "instances":
		return setInstances(q, value)
	default:
		return errUnknownParameter
	}
	return err
}

// setInstances narrows the history of an agent down to this instance.
func setInstances(q *fleet.EventQuery, value string) error {
	switch {
	case q.UID.IsZero():
		return errNotAnAgent
	case value == "this":
		q.Logical = ""
	case value != "all" && value != "":
		return errNoInstances
	}
	return nil
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 1970 || t.Year() > 2200 {
		return time.Time{}, fmt.Errorf("%.64q is not a time like 2026-01-31T12:00:00Z", s)
	}
	return t, nil
}

func parseEventLimit(s string) (int, error) {
	if s == "" {
		return fleet.DefaultEvents, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > fleet.MaxEvents {
		return 0, fmt.Errorf("%.64q is not a number from 1 to %d", s, fleet.MaxEvents)
	}
	return n, nil
}

func parseEventCursor(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, errNotACursor
	}
	return uint64(n), nil
}
