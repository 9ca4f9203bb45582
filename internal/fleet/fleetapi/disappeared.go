// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"net/http"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleethistory"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetsearch"
)

// disappeared is the answer to GET /api/v1/disappeared.
type disappeared struct {
	Query         string      `json:"query"`
	Total         int         `json:"total"`
	Known         int         `json:"known"`
	Groups        []goneGroup `json:"groups"`
	Outages       []outage    `json:"outages"`
	UnreadConfigs int         `json:"unread_configs"`
	Position      string      `json:"position"`
}

// goneGroup is the agents that went in one way.
type goneGroup struct {
	Liveness     fleet.Liveness `json:"liveness"`
	Count        int            `json:"count"`
	DuringOutage int            `json:"during_outage"`
	Agents       []goneAgent    `json:"agents"`
	Term         string         `json:"term"`
}

type goneAgent struct {
	agentRef
	Logical      string    `json:"logical"`
	Since        time.Time `json:"since"`
	LastSeen     time.Time `json:"last_seen"`
	DuringOutage bool      `json:"during_outage"`
}

type outage struct {
	From    time.Time               `json:"from"`
	Until   time.Time               `json:"until"`
	Seconds float64                 `json:"seconds"`
	Why     fleethistory.OutageKind `json:"why"`
}

// outagesFor is how far back outages of the server are told.
const outagesFor = 30 * 24 * time.Hour

// defaultGone is how many agents of each way of going are listed.
const defaultGone = 50

func (a *API) listDisappeared(w http.ResponseWriter, r *http.Request) {
	q, leave, ok := a.question(w, r, "q", "limit", "format")
	if !ok {
		return
	}
	defer leave()
	outages, err := a.reader.Outages(r.Context(), a.now().Add(-outagesFor))
	if err != nil {
		unreadable(w)
		return
	}
	here := fleetquery.Is(fleetquery.FacetLiveness, "", string(fleet.LivenessConnected))
	here.Not = true
	q.query.Terms = append(q.query.Terms, here)
	found, err := a.index.Search(fleetsearch.Request{Query: q.query, Sort: fleetsearch.SortSince, Now: a.now()})
	if err != nil {
		badRequest(w, err)
		return
	}
	if q.asCSV {
		writeCSV(w, "disappeared", append(agentColumns(a.now()), outageColumn(outages)), found.Agents, found.Unread)
		return
	}
	limit := q.limit
	if limit == 0 {
		limit = defaultGone
	}
	out := disappeared{
		Query: q.query.String(), Total: found.Total, Known: found.Known, Groups: newGoneGroups(found.Agents, outages, limit),
		Outages: make([]outage, 0, len(outages)), UnreadConfigs: found.Unread, Position: found.Position.String(),
	}
	for _, o := range outages {
		out.Outages = append(out.Outages, outage{From: o.From.UTC(), Until: o.Until.UTC(), Seconds: o.Until.Sub(o.From).Seconds(), Why: o.Why})
	}
	answer(w, http.StatusOK, out)
}

// newGoneGroups tells every way of going, also those that nobody went.
func newGoneGroups(agents []*fleet.Agent, outages []fleethistory.Outage, limit int) []goneGroup {
	var out []goneGroup
	for _, l := range fleet.Livenesses() {
		if l == fleet.LivenessConnected {
			continue
		}
		g := goneGroup{Liveness: l, Agents: []goneAgent{}, Term: fleetquery.Is(fleetquery.FacetLiveness, "", string(l)).String()}
		for _, a := range agents {
			if a.Liveness != l {
				continue
			}
			g.Count++
			ours := duringOutage(a, outages)
			if ours {
				g.DuringOutage++
			}
			if len(g.Agents) < limit {
				g.Agents = append(g.Agents, goneAgent{
					agentRef: newAgentRef(a), Logical: a.Logical, Since: a.LivenessSince.UTC(), LastSeen: a.LastSeen.UTC(), DuringOutage: ours,
				})
			}
		}
		out = append(out, g)
	}
	return out
}

// missable is how long before an outage an agent may have been heard last, if it was to speak during it.
const missable = 2 * time.Minute

// duringOutage reports whether it went while the server was away, so that nobody saw how. Who is unknown was there
// before; who is silent spoke last right before, and not since.
func duringOutage(a *fleet.Agent, outages []fleethistory.Outage) bool {
	switch a.Liveness {
	case fleet.LivenessUnknown:
		return true
	case fleet.LivenessSilent:
		return fleethistory.During(outages, a.LastSeen, a.LastSeen.Add(missable)) != nil
	case fleet.LivenessLost:
		return fleethistory.During(outages, a.LivenessSince, a.LivenessSince) != nil
	default:
		return false
	}
}

func outageColumn(outages []fleethistory.Outage) csvColumn[*fleet.Agent] {
	return csvColumn[*fleet.Agent]{"during_outage", func(a *fleet.Agent) string {
		if duringOutage(a, outages) {
			return "true"
		}
		return "false"
	}}
}
