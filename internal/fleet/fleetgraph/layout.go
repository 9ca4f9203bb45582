// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetgraph

import "slices"

// Measures of a drawing.
const (
	nodeWidth  = 176
	nodeHeight = 44
	columnGap  = 48
	rowGap     = 12
	laneTitle  = 28
	lanePad    = 16
	laneGap    = 24
	perRow     = 6 // extensions side by side
)

// layOut gives everything its place: lanes one below the other, those that feed others first; in each the receivers in
// the first column, a column for each processor, the exporters in the last.
func (g *Graph) layOut() {
	y := 0
	for _, i := range g.laneOrder() {
		p := &g.Pipelines[i]
		rows := max(len(p.Receivers), len(p.Exporters), 1)
		p.Box = Box{X: 0, Y: y, Width: laneWidth(len(p.Processors)), Height: laneTitle + 2*lanePad + columnHeight(rows)}
		g.Width = max(g.Width, p.Width)
		middle := y + laneTitle + lanePad
		g.placeColumn(p.Receivers, 0, middle, rows)
		for c := range p.Processors {
			g.placeColumn(p.Processors[c:c+1], c+1, middle, rows)
		}
		g.placeColumn(p.Exporters, len(p.Processors)+1, middle, rows)
		y += p.Height + laneGap
	}
	y = g.placeExtensions(y)
	g.Height = max(y-laneGap, 0)
	for i := range g.Edges {
		e := &g.Edges[i]
		from, to := g.Nodes[e.From].Box, g.Nodes[e.To].Box
		e.X1, e.Y1 = from.X+from.Width, from.Y+from.Height/2
		e.X2, e.Y2 = to.X, to.Y+to.Height/2
	}
}

func laneWidth(processors int) int {
	columns := processors + 2
	return 2*lanePad + columns*nodeWidth + (columns-1)*columnGap
}

func columnHeight(rows int) int { return rows*nodeHeight + (rows-1)*rowGap }

// placeColumn centers nodes in a column of a lane.
func (g *Graph) placeColumn(nodes []int, column, y, rows int) {
	if len(nodes) == 0 {
		return
	}
	y += (columnHeight(rows) - columnHeight(len(nodes))) / 2
	for _, n := range nodes {
		g.Nodes[n].Box = Box{X: lanePad + column*(nodeWidth+columnGap), Y: y, Width: nodeWidth, Height: nodeHeight}
		y += nodeHeight + rowGap
	}
}

func (g *Graph) placeExtensions(y int) int {
	if len(g.Extensions) == 0 {
		return y
	}
	top := y + laneTitle
	for i := range g.Extensions {
		x := lanePad + i%perRow*(nodeWidth+rowGap)
		g.Extensions[i].Box = Box{X: x, Y: top + i/perRow*(nodeHeight+rowGap), Width: nodeWidth, Height: nodeHeight}
		g.Width = max(g.Width, x+nodeWidth+lanePad)
	}
	last := g.Extensions[len(g.Extensions)-1]
	return last.Y + last.Height + laneGap
}

// laneOrder lists the pipelines so that who feeds others comes before them. Where they feed each other in a ring, the
// order of the config decides.
func (g *Graph) laneOrder() []int {
	feeds := make([][]int, len(g.Pipelines))
	waiting := make([]int, len(g.Pipelines))
	for _, e := range g.Edges {
		from, to := g.Nodes[e.From].Pipeline, g.Nodes[e.To].Pipeline
		if e.Connector && from != to && !slices.Contains(feeds[from], to) {
			feeds[from] = append(feeds[from], to)
			waiting[to]++
		}
	}
	placed := make([]bool, len(g.Pipelines))
	order := make([]int, 0, len(g.Pipelines))
	for len(order) < len(g.Pipelines) {
		next := slices.Index(placed, false)
		for i := range g.Pipelines {
			if !placed[i] && waiting[i] == 0 {
				next = i
				break
			}
		}
		placed[next] = true
		order = append(order, next)
		for _, to := range feeds[next] {
			waiting[to]--
		}
	}
	return order
}
