// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetapi

import (
	"net/http"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet/fleetgraph"
)

// graph is the answer to GET /api/v1/agents/{uid}/graph. Measures are in units of the drawing.
type graph struct {
	Width      int              `json:"width"`
	Height     int              `json:"height"`
	FromHealth bool             `json:"from_health"`
	Problem    string           `json:"problem"`
	Omitted    int              `json:"omitted"`
	Pipelines  []graphPipeline  `json:"pipelines"`
	Nodes      []graphNode      `json:"nodes"`
	Edges      []graphEdge      `json:"edges"`
	Extensions []graphExtension `json:"extensions"`
}

type graphBox struct {
	X      int `json:"x"`
	Y      int `json:"y"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

type graphHealth struct {
	State  fleetgraph.State `json:"state"`
	Status string           `json:"status"`
	Error  string           `json:"error"`
	Since  *time.Time       `json:"since"`
}

type graphPipeline struct {
	graphBox
	graphHealth
	Name       string `json:"name"`
	Receivers  []int  `json:"receivers"`
	Processors []int  `json:"processors"`
	Exporters  []int  `json:"exporters"`
}

type graphNode struct {
	graphBox
	graphHealth
	Pipeline   int             `json:"pipeline"`
	Role       fleetgraph.Role `json:"role"`
	Kind       string          `json:"kind"`
	Name       string          `json:"name"`
	Undeclared bool            `json:"undeclared"`
}

type graphEdge struct {
	From      int  `json:"from"`
	To        int  `json:"to"`
	Connector bool `json:"connector"`
	X1        int  `json:"x1"`
	Y1        int  `json:"y1"`
	X2        int  `json:"x2"`
	Y2        int  `json:"y2"`
}

type graphExtension struct {
	graphBox
	graphHealth
	Name       string `json:"name"`
	Undeclared bool   `json:"undeclared"`
}

func (a *API) showGraph(w http.ResponseWriter, r *http.Request) {
	_, leave, ok := a.question(w, r)
	if !ok {
		return
	}
	defer leave()
	agent, ok := a.find(w, r)
	if !ok {
		return
	}
	answer(w, http.StatusOK, newGraph(fleetgraph.Of(agent)))
}

func newGraph(g fleetgraph.Graph) graph {
	out := graph{
		Width: g.Width, Height: g.Height, FromHealth: g.FromHealth, Problem: g.Problem, Omitted: g.Omitted,
		Pipelines: make([]graphPipeline, 0, len(g.Pipelines)), Nodes: make([]graphNode, 0, len(g.Nodes)),
		Edges: make([]graphEdge, 0, len(g.Edges)), Extensions: make([]graphExtension, 0, len(g.Extensions)),
	}
	for _, p := range g.Pipelines {
		out.Pipelines = append(out.Pipelines, graphPipeline{
			graphBox(p.Box), newGraphHealth(p.Health), p.Name,
			append([]int{}, p.Receivers...), append([]int{}, p.Processors...), append([]int{}, p.Exporters...),
		})
	}
	for _, n := range g.Nodes {
		out.Nodes = append(out.Nodes, graphNode{
			graphBox(n.Box), newGraphHealth(n.Health), n.Pipeline, n.Role, n.Kind, n.Name, n.Undeclared,
		})
	}
	for _, e := range g.Edges {
		out.Edges = append(out.Edges, graphEdge(e))
	}
	for _, e := range g.Extensions {
		out.Extensions = append(out.Extensions, graphExtension{graphBox(e.Box), newGraphHealth(e.Health), e.Name, e.Undeclared})
	}
	return out
}

func newGraphHealth(h fleetgraph.Health) graphHealth {
	return graphHealth{State: h.State, Status: h.Status, Error: h.Error, Since: knownTime(h.Since)}
}
