// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// transition is the answer to GET /api/v1/agents/{uid}/transition.
type transition struct {
	InstanceUID   string          `json:"instance_uid"`
	Logical       string          `json:"logical"`
	Component     string          `json:"component"`
	Condition     fleet.Condition `json:"condition"`
	Liveness      fleet.Liveness  `json:"liveness"`
	Since         *time.Time      `json:"since"`
	WithinSeconds float64         `json:"within_seconds"`
	Transition    *happening      `json:"transition"`
	Changes       []earlierChange `json:"changes"`
	Timeline      []happening     `json:"timeline"`
}

// earlierChange is what was another before a transition.
type earlierChange struct {
	happening
	SecondsBefore float64 `json:"seconds_before"`
	SameVariant   *bool   `json:"same_variant"`
	Diff          string  `json:"diff"`
}

// maxWithin bounds how long before a transition is looked.
const maxWithin = 30 * 24 * time.Hour

func (a *API) showTransition(w http.ResponseWriter, r *http.Request) {
	agent, ok := a.find(w, r)
	if !ok {
		return
	}
	values, err := parametersOf(r, "component", "within")
	q := fleethistory.TransitionRequest{Agent: agent, Component: values.Get("component")}
	if err == nil {
		q.Within, err = parseWithin(values.Get("within"))
	}
	if err != nil {
		badRequest(w, err)
		return
	}
	leave, ok := a.work.enter(w, r)
	if !ok {
		return
	}
	defer leave()
	found, err := a.reader.Transition(r.Context(), q)
	if err != nil {
		unreadable(w)
		return
	}
	answer(w, http.StatusOK, newTransition(q, found))
}

func newTransition(q fleethistory.TransitionRequest, t fleethistory.Transition) transition {
	out := transition{
		InstanceUID: q.Agent.UID.String(), Logical: q.Agent.Logical, Component: q.Component, Condition: q.Agent.Condition(),
		Liveness: q.Agent.Liveness, Since: knownTime(t.Since), WithinSeconds: q.Within.Seconds(),
		Changes: make([]earlierChange, 0, len(t.Changes)), Timeline: newHappenings(t.Timeline),
	}
	if t.Event != nil {
		h := newHappening(t.Event)
		out.Transition = &h
	}
	for _, c := range t.Changes {
		one := earlierChange{happening: newHappening(&c.Event), SecondsBefore: c.Before.Seconds()}
		if c.Both {
			one.SameVariant = &c.Same
			one.Diff = "/api/v1/configs/" + c.From + "/diff/" + c.To
		}
		out.Changes = append(out.Changes, one)
	}
	return out
}

func parseWithin(s string) (time.Duration, error) {
	if s == "" {
		return fleethistory.Within, nil
	}
	d, ok := fleetquery.ParseAge(s)
	if !ok || d <= 0 || d > maxWithin {
		return 0, fmt.Errorf("within: %.64q is not a duration such as 30m, 2h or 1d, of 30d at most", s)
	}
	return d, nil
}
