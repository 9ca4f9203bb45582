// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// maxGroups bounds the problems and the families of one answer.
const maxGroups = 500

// listedProblems is the answer to GET /api/v1/problems.
type listedProblems struct {
	Query         string         `json:"query"`
	Problems      []problemGroup `json:"problems"`
	Distinct      int            `json:"distinct"`
	Agents        int            `json:"agents"`
	UnreadConfigs int            `json:"unread_configs"`
	Position      string         `json:"position"`
}

// problemGroup is what many agents have.
type problemGroup struct {
	ID              string       `json:"id"`
	Component       string       `json:"component"`
	NormalizedError string       `json:"normalized_error"`
	Error           string       `json:"error"`
	Status          string       `json:"status"`
	Agents          int          `json:"agents"`
	Occurrences     int          `json:"occurrences"`
	FirstSince      *time.Time   `json:"first_since"`
	LastSince       *time.Time   `json:"last_since"`
	Components      []valueCount `json:"components"`
	Pipelines       []valueCount `json:"pipelines"`
	ServiceNames    []valueCount `json:"service_names"`
	Versions        []share      `json:"versions"`
	ConfigVariants  []share      `json:"config_variants"`
	Sample          []agentRef   `json:"sample"`
	Term            string       `json:"term"`
}

// share is how many of the agents with a value have a problem.
type share struct {
	Value string `json:"value"`
	Count int    `json:"count"`
	Of    int    `json:"of"`
	Term  string `json:"term"`
}

// agentRef is enough of an agent to link to it.
type agentRef struct {
	InstanceUID string `json:"instance_uid"`
	ServiceName string `json:"service_name"`
	HostName    string `json:"host_name"`
}

func (a *API) listProblems(w http.ResponseWriter, r *http.Request) {
	q, leave, ok := a.question(w, r, "q", "limit", "format")
	if !ok {
		return
	}
	defer leave()
	found := a.index.Problems(fleetsearch.ProblemsRequest{Query: q.query, Limit: q.limit, Now: a.now()})
	if q.asCSV {
		writeCSV(w, "problems", problemColumns, found.Problems, found.Unread)
		return
	}
	out := listedProblems{
		Query: q.query.String(), Problems: make([]problemGroup, 0, len(found.Problems)), Distinct: found.Distinct, Agents: found.Agents,
		UnreadConfigs: found.Unread, Position: found.Position.String(),
	}
	for _, p := range found.Problems {
		out.Problems = append(out.Problems, newProblemGroup(p))
	}
	answer(w, http.StatusOK, out)
}

func newProblemGroup(p fleetsearch.Problem) problemGroup {
	return problemGroup{
		ID: p.ID, Component: p.Key.Component(), NormalizedError: p.Key.Error, Error: p.Error, Status: p.Status,
		Agents: p.Agents, Occurrences: p.Occurrences, FirstSince: knownTime(p.First), LastSince: knownTime(p.Last),
		Components:     newValueCounts(fleetsearch.Side{Facet: fleetquery.FacetFailing}, p.Components),
		Pipelines:      newValueCounts(fleetsearch.Side{Facet: fleetquery.FacetPipeline}, p.Pipelines),
		ServiceNames:   newValueCounts(fleetsearch.Side{Facet: fleetquery.FacetName}, p.Names),
		Versions:       newShares(fleetsearch.Side{Facet: fleetquery.FacetVersion}, p.Versions),
		ConfigVariants: newShares(fleetsearch.Side{Facet: fleetsearch.FacetVariant}, p.Variants),
		Sample:         agentRefs(p.Sample),
		Term:           fleetquery.Is(fleetquery.FacetProblem, "", p.ID).String(),
	}
}

func newShares(side fleetsearch.Side, list []fleetsearch.Share) []share {
	out := make([]share, 0, len(list))
	for _, s := range list {
		out = append(out, share{Value: s.Value, Count: s.Count, Of: s.Of, Term: termOf(side, s.Value)})
	}
	return out
}

func agentRefs(list []*fleet.Agent) []agentRef {
	out := make([]agentRef, 0, len(list))
	for _, a := range list {
		out = append(out, newAgentRef(a))
	}
	return out
}

func newAgentRef(a *fleet.Agent) agentRef {
	return agentRef{InstanceUID: a.UID.String(), ServiceName: a.ServiceName(), HostName: a.HostName()}
}

var problemColumns = []csvColumn[fleetsearch.Problem]{
	{"id", func(p fleetsearch.Problem) string { return p.ID }},
	{"component", func(p fleetsearch.Problem) string { return p.Key.Component() }},
	{"normalized_error", func(p fleetsearch.Problem) string { return p.Key.Error }},
	{"status", func(p fleetsearch.Problem) string { return p.Status }},
	{"agents", func(p fleetsearch.Problem) string { return strconv.Itoa(p.Agents) }},
	{"occurrences", func(p fleetsearch.Problem) string { return strconv.Itoa(p.Occurrences) }},
	{"first_since", func(p fleetsearch.Problem) string { return csvTime(p.First) }},
	{"last_since", func(p fleetsearch.Problem) string { return csvTime(p.Last) }},
	{"error", func(p fleetsearch.Problem) string { return p.Error }},
}
