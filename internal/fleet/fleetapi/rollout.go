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
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// rollout is the answer to GET /api/v1/rollout.
type rollout struct {
	Query         string          `json:"query"`
	Of            fleethistory.Of `json:"of"`
	Value         string          `json:"value"`
	Label         string          `json:"label"`
	Hash          string          `json:"hash"`
	From          time.Time       `json:"from"`
	Until         time.Time       `json:"until"`
	Selected      int             `json:"selected"`
	Done          int             `json:"done"`
	Before        int             `json:"before"`
	Steps         []rolloutStep   `json:"steps"`
	Series        []rolloutSeries `json:"series"`
	MissingCount  int             `json:"missing_count"`
	MissingQuery  string          `json:"missing_query"`
	Missing       []straggler     `json:"missing"`
	FailedCount   int             `json:"failed_count"`
	Failed        []failedAfter   `json:"failed"`
	Cut           bool            `json:"cut"`
	UnreadConfigs int             `json:"unread_configs"`
	Position      string          `json:"position"`
}

type rolloutStep struct {
	At    time.Time `json:"at"`
	Have  int       `json:"have"`
	Total int       `json:"total"`
}

type rolloutSeries struct {
	Value  string `json:"value"`
	Counts []int  `json:"counts"`
}

type straggler struct {
	agentRef
	Value     string          `json:"value"`
	Condition fleet.Condition `json:"condition"`
}

type failedAfter struct {
	agentRef
	Got       time.Time       `json:"got"`
	Went      time.Time       `json:"went"`
	Condition fleet.Condition `json:"condition"`
	Liveness  fleet.Liveness  `json:"liveness"`
	Component string          `json:"component"`
	Error     string          `json:"error"`
}

func (a *API) showRollout(w http.ResponseWriter, r *http.Request) {
	values, err := parametersOf(r, "of", "value", "q", "from", "until", "steps", "limit", "format")
	q, badQuestion := ParseRollout(values)
	asCSV, badFormat := wantsCSV(r, values)
	if err = errors.Join(err, badQuestion, badFormat); err != nil {
		badRequest(w, err)
		return
	}
	leave, ok := a.work.enter(w, r)
	if !ok {
		return
	}
	defer leave()
	q.Now = a.now()
	found, err := a.reader.Rollout(r.Context(), q)
	switch {
	case errors.Is(err, fleethistory.ErrNoValue) && a.stillReading(w, q.Value):
	case errors.Is(err, fleethistory.ErrNoValue):
		fail(w, http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, fleethistory.ErrBadOf), errors.Is(err, fleethistory.ErrBadSpan):
		badRequest(w, err)
	case err != nil:
		unreadable(w)
	case asCSV:
		writeCSV(w, "rollout", rolloutColumns, newRollout(found).Steps, found.Unread)
	default:
		answer(w, http.StatusOK, newRollout(found))
	}
}

// ParseRollout reads the parameters of a roll-out: of, value, q, from, until, steps and limit.
func ParseRollout(values url.Values) (q fleethistory.RolloutRequest, err error) {
	q.Of, q.Value = fleethistory.Of(values.Get("of")), values.Get("value")
	if q.Query, err = fleetquery.Parse(values.Get("q")); err != nil {
		return q, fmt.Errorf("q: %w", err)
	}
	if q.From, err = parseTime(values.Get("from")); err != nil {
		return q, fmt.Errorf("from: %w", err)
	}
	if q.Until, err = parseTime(values.Get("until")); err != nil {
		return q, fmt.Errorf("until: %w", err)
	}
	if q.Steps, err = parseNumber(values.Get("steps"), fleethistory.DefaultSteps, fleethistory.MaxSteps); err != nil {
		return q, fmt.Errorf("steps: %w", err)
	}
	if q.Limit, err = parseNumber(values.Get("limit"), 0, maxGroups); err != nil {
		return q, fmt.Errorf("limit: %w", err)
	}
	return q, nil
}

func newRollout(r fleethistory.Rollout) rollout {
	out := rollout{
		Query: r.Query.String(), Of: r.Of, Value: r.Value, Label: r.Label, Hash: r.Hash, From: r.From.UTC(), Until: r.Until.UTC(),
		Selected: r.Selected, Done: r.Done, Before: r.Before, MissingCount: r.MissingCount, MissingQuery: r.MissingQuery.String(),
		FailedCount: r.FailedCount, Cut: r.Cut, UnreadConfigs: r.Unread, Position: r.Position.String(),
		Steps: make([]rolloutStep, 0, len(r.At)), Series: make([]rolloutSeries, 0, len(r.Series)),
		Missing: make([]straggler, 0, len(r.Missing)), Failed: make([]failedAfter, 0, len(r.Failed)),
	}
	for i, at := range r.At {
		out.Steps = append(out.Steps, rolloutStep{At: at.UTC(), Have: r.Have[i], Total: r.Total[i]})
	}
	for _, s := range r.Series {
		out.Series = append(out.Series, rolloutSeries(s))
	}
	for _, m := range r.Missing {
		out.Missing = append(out.Missing, straggler{newAgentRef(m.Agent), m.Value, m.Agent.Condition()})
	}
	for _, f := range r.Failed {
		one := failedAfter{
			agentRef: newAgentRef(f.Agent), Got: f.Got.UTC(), Went: f.Went.UTC(), Condition: f.Agent.Condition(),
			Liveness: f.Agent.Liveness, Error: lastError(f.Agent),
		}
		if p := f.Agent.Problems; len(p) > 0 && len(p[0].Path) > 0 {
			one.Component = p[0].Path[len(p[0].Path)-1]
		}
		out.Failed = append(out.Failed, one)
	}
	return out
}

var rolloutColumns = []csvColumn[rolloutStep]{
	{"at", func(s rolloutStep) string { return csvTime(s.At) }},
	{"have", func(s rolloutStep) string { return strconv.Itoa(s.Have) }},
	{"total", func(s rolloutStep) string { return strconv.Itoa(s.Total) }},
}
