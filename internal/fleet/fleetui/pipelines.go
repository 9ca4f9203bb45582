// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"fmt"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetgraph"
)

// graphPart shows what a collector does with data, as a drawing or as a table.
type graphPart struct {
	AsTable       bool
	Drawing       string // addresses of both
	Table         string
	Width, Height int
	Lanes         []graphLane
	Edges         []graphEdge
	Nodes         []graphNode
	Extensions    *graphLane
	Rows          []graphRow
	FromHealth    bool
	Omitted       int
	Problem       string
	Summary       string // what the drawing says as a whole
}

// ViewWidth and ViewHeight are those of the drawing with room around it, for what leads back.
func (p *graphPart) ViewWidth() int  { return p.Width + 48 }
func (p *graphPart) ViewHeight() int { return p.Height + 20 }

type graphLane struct {
	fleetgraph.Box
	Name  string
	State badge
	Told  bool
}

type graphEdge struct {
	Path      string
	Connector bool
}

type graphNode struct {
	fleetgraph.Box
	Name       string
	Note       string // its kind, or how it is where that matters more
	Title      string // all there is to say
	State      badge
	Undeclared bool
}

type graphRow struct {
	Pipeline, Role, Name string
	To                   string
	State                badge
	Told                 bool
	Error                string
	Since                moment
}

var graphBadges = map[fleetgraph.State]badge{
	fleetgraph.StateHealthy:  {Word: "OK", Look: "ok"},
	fleetgraph.StateFailing:  {Word: "Failing", Look: "bad"},
	fleetgraph.StateStarting: {Word: "Starting", Look: "busy"},
	fleetgraph.StateStopping: {Word: "Stopping", Look: "busy"},
	fleetgraph.StateUnknown:  {Word: "Not told", Look: "none"},
}

func graphBadge(h fleetgraph.Health) badge {
	b := graphBadges[h.State]
	if word := statusWord(h.Status); word != "" && h.State != fleetgraph.StateUnknown {
		b.Word = word
		if h.State == fleetgraph.StateFailing {
			b = statusBadge(false, h.Status)
		}
	}
	return b
}

// newGraphPart is nil where there is nothing to draw.
func (u *UI) newGraphPart(a *fleet.Agent, asTable bool) *graphPart {
	g := fleetgraph.Of(a)
	if len(g.Nodes) == 0 && len(g.Extensions) == 0 {
		return nil
	}
	now := u.now()
	out := &graphPart{
		AsTable: asTable, Drawing: agentURL(a) + "#pipelines", Table: agentURL(a) + "?pipelines=table#pipelines",
		Width: g.Width, Height: g.Height, FromHealth: g.FromHealth, Omitted: g.Omitted, Problem: clean(g.Problem),
		Summary: summaryOf(g),
	}
	if asTable {
		for _, r := range g.Table() {
			out.Rows = append(out.Rows, newGraphRow(r, now))
		}
		return out
	}
	for _, p := range g.Pipelines {
		out.Lanes = append(out.Lanes, graphLane{
			Box: p.Box, Name: clean(short(p.Name, 60)), State: graphBadge(p.Health), Told: p.State != fleetgraph.StateUnknown,
		})
	}
	for _, e := range g.Edges {
		out.Edges = append(out.Edges, graphEdge{Path: curve(e, g.Pipelines[g.Nodes[e.To].Pipeline].Box), Connector: e.Connector})
	}
	for _, n := range g.Nodes {
		out.Nodes = append(out.Nodes, newGraphNode(n.Box, n.Health, n.Kind, n.Name, n.Undeclared))
	}
	out.addExtensions(g)
	return out
}

func (p *graphPart) addExtensions(g fleetgraph.Graph) {
	if len(g.Extensions) == 0 {
		return
	}
	first := g.Extensions[0].Box
	lane := graphLane{Box: fleetgraph.Box{X: 0, Y: first.Y - 28, Width: g.Width, Height: 0}, Name: "Extensions"}
	for _, e := range g.Extensions {
		p.Nodes = append(p.Nodes, newGraphNode(e.Box, e.Health, "extension", e.Name, e.Undeclared))
		lane.Height = e.Y + e.Height + 2 - lane.Y
	}
	p.Extensions = &lane
}

func newGraphNode(box fleetgraph.Box, h fleetgraph.Health, kind, name string, undeclared bool) graphNode {
	out := graphNode{
		Box: box, Name: clean(short(name, 17)), Note: clean(kind), State: graphBadge(h), Undeclared: undeclared,
	}
	if h.State != fleetgraph.StateUnknown && h.State != fleetgraph.StateHealthy {
		out.Note = short(out.State.Word, 22)
	}
	out.Title = clean(kind) + " " + clean(short(name, 120)) + ": " + out.State.Word
	if undeclared {
		out.Title += ", not declared in the config"
	}
	if h.Error != "" {
		out.Title += ": " + clean(short(oneLine(h.Error), 300))
	}
	return out
}

// curve leads from one node to the next. Back to the left it goes through the gap above the lane that it leads to.
func curve(e fleetgraph.Edge, lane fleetgraph.Box) string {
	if e.X2 < e.X1 {
		gap := lane.Y - laneGap/2
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %dL%d %dC%d %d %d %d %d %d", e.X1, e.Y1,
			e.X1+backBend, e.Y1, e.X1+backBend, gap, e.X1, gap, e.X2, gap,
			e.X2-backBend, gap, e.X2-backBend, e.Y2, e.X2, e.Y2)
	}
	bend := max((e.X2-e.X1)/2, 24)
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", e.X1, e.Y1, e.X1+bend, e.Y1, e.X2-bend, e.Y2, e.X2, e.Y2)
}

// Measures of the drawing: half of the gap between two lanes is room for what leads back, and backBend beside them.
const (
	laneGap  = 24
	backBend = 36
)

func newGraphRow(r fleetgraph.Row, now time.Time) graphRow {
	out := graphRow{
		Pipeline: clean(short(r.Pipeline, 60)), Role: r.Role, Name: clean(short(r.Name, 120)), State: graphBadge(r.Health),
		Told: r.Health.State != fleetgraph.StateUnknown, Error: clean(short(oneLine(r.Health.Error), 300)), Since: ago(r.Health.Since, now),
		To: clean(short(strings.Join(r.To, ", "), 200)),
	}
	if out.Pipeline == "" {
		out.Pipeline = "–"
	}
	return out
}

// summaryOf says how many parts there are, and how many fail.
func summaryOf(g fleetgraph.Graph) string {
	failing := 0
	for _, n := range g.Nodes {
		if n.State == fleetgraph.StateFailing {
			failing++
		}
	}
	return fmt.Sprintf("%d pipelines with %d components, %d of them failing. The table says the same in rows.",
		len(g.Pipelines), len(g.Nodes), failing)
}
