// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// coverage is the answer to GET /api/v1/coverage.
type coverage struct {
	Query         string      `json:"query"`
	Agents        int         `json:"agents"`
	Identities    coverageBy  `json:"identities"`
	Hosts         coverageBy  `json:"hosts"`
	Successions   int         `json:"successions"`
	Instances     int         `json:"instances"`
	Restarted     []restarted `json:"restarted"`
	Collisions    []collision `json:"collisions"`
	UnreadConfigs int         `json:"unread_configs"`
	Position      string      `json:"position"`
}

type coverageBy struct {
	Counts map[fleetsearch.Cover]int `json:"counts"`
	None   int                       `json:"none"`
	Spots  []spot                    `json:"spots"`
}

// spot is where a collector is to be.
type spot struct {
	Value    string            `json:"value"`
	Cover    fleetsearch.Cover `json:"cover"`
	Known    int               `json:"known"`
	Present  int               `json:"present"`
	Last     agentRef          `json:"last"`
	LastSeen time.Time         `json:"last_seen"`
	Liveness fleet.Liveness    `json:"liveness"`
	Since    time.Time         `json:"liveness_since"`
	Term     string            `json:"term"`
}

type restarted struct {
	agentRef
	Logical    string    `json:"logical"`
	Runs       int       `json:"runs"`
	Flaps      int       `json:"flaps"`
	KnownSince time.Time `json:"known_since"`
}

// collision is an instance UID that two agents used at a time.
type collision struct {
	InstanceUID string    `json:"instance_uid"`
	Times       int       `json:"times"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Logical     string    `json:"logical"`
	Given       []string  `json:"given"`
}

func (a *API) showCoverage(w http.ResponseWriter, r *http.Request) {
	q, leave, ok := a.question(w, r, "q", "limit", "format")
	if !ok {
		return
	}
	defer leave()
	found := a.index.Coverage(fleetsearch.CoverageRequest{Query: q.query, Limit: q.limit, Now: a.now()})
	if q.asCSV {
		writeCSV(w, "coverage", spotColumns, newSpots(found.Identities, fleetquery.FacetIdentity).Spots, found.Unread)
		return
	}
	collisions, err := a.collisions(r.Context())
	if err != nil {
		unreadable(w)
		return
	}
	out := coverage{
		Query: q.query.String(), Agents: found.Agents, Identities: newSpots(found.Identities, fleetquery.FacetIdentity),
		Hosts: newSpots(found.Hosts, fleetquery.FacetHost), Successions: found.Successions, Instances: found.Instances,
		Restarted: make([]restarted, 0, len(found.Restarted)), Collisions: collisions, UnreadConfigs: found.Unread, Position: found.Position.String(),
	}
	for _, agent := range found.Restarted {
		out.Restarted = append(out.Restarted, restarted{
			agentRef: newAgentRef(agent), Logical: agent.Logical, Runs: agent.Runs, Flaps: agent.Flaps(a.now()), KnownSince: agent.KnownSince.UTC(),
		})
	}
	answer(w, http.StatusOK, out)
}

func newSpots(c fleetsearch.CoverageBy, f fleetquery.Facet) coverageBy {
	out := coverageBy{Counts: c.Counts, None: c.None, Spots: make([]spot, 0, len(c.Spots))}
	for _, s := range c.Spots {
		out.Spots = append(out.Spots, spot{
			Value: s.Value, Cover: s.Cover, Known: s.Known, Present: s.Present, Last: newAgentRef(s.Last),
			LastSeen: s.Last.LastSeen.UTC(), Liveness: s.Last.Liveness, Since: s.Last.LivenessSince.UTC(),
			Term: fleetquery.Is(f, "", s.Value).String(),
		})
	}
	return out
}

// collisions are the last thousand that are kept, by instance UID, the last first.
func (a *API) collisions(ctx context.Context) ([]collision, error) {
	page, err := a.settings.History.Events(ctx, fleet.EventQuery{Kinds: []fleet.EventKind{fleet.EventDuplicate}, Limit: fleet.MaxEvents})
	if err != nil {
		return nil, err
	}
	out := []collision{}
	for _, e := range page.Events {
		i := slices.IndexFunc(out, func(c collision) bool { return c.InstanceUID == e.From })
		if i < 0 {
			i = len(out)
			out = append(out, collision{InstanceUID: e.From, Last: e.At.UTC(), Logical: e.Logical, Given: []string{}})
		}
		c := &out[i]
		c.Times++
		c.First = e.At.UTC()
		if e.To != "" {
			c.Given = append(c.Given, e.To)
		}
	}
	return out, nil
}

var spotColumns = []csvColumn[spot]{
	{"identity", func(s spot) string { return s.Value }},
	{"cover", func(s spot) string { return string(s.Cover) }},
	{"known", func(s spot) string { return strconv.Itoa(s.Known) }},
	{"present", func(s spot) string { return strconv.Itoa(s.Present) }},
	{"instance_uid", func(s spot) string { return s.Last.InstanceUID }},
	{"service_name", func(s spot) string { return s.Last.ServiceName }},
	{"host_name", func(s spot) string { return s.Last.HostName }},
	{"liveness", func(s spot) string { return string(s.Liveness) }},
	{"liveness_since", func(s spot) string { return csvTime(s.Since) }},
	{"last_seen", func(s spot) string { return csvTime(s.LastSeen) }},
}
