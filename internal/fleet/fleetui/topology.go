// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// topologyPage is the body of the page that shows who is behind which gateway.
type topologyPage struct {
	Endpoint string
	Facts    []fact
	Branches []branch
	Drawing  *treeDrawing
	Undrawn  int // gateways that are in the table only
	Omitted  int // gateways that are not shown at all
}

// branch is a gateway and who is behind it.
type branch struct {
	gatewayPart
	Agent, Host, URL string
	Who              string        // the list of those who are behind it
	Over             []gatewayLink // the gateway over which it reaches the server: one or none
	Behind           []gatewayLink
	Agents           string
	Counted          bool
	Known, Unknown   int
	Depth            int // gateways over which it reaches the server
	Direct           int // known who are behind no gateway behind this one
	DirectUnknown    int
	Segments         []segment
	Parts            []statePart
	Connected        string // upstreams
	Queue            string
	Lost             string // all that was dropped
	Members          []agentLine
	More             int // members that are not listed
}

// statePart is how many are in a state.
type statePart struct {
	State badge
	Count int
}

// Bounds of the page.
const (
	membersShown  = 50 // of each gateway, in its list
	membersDrawn  = 5
	branchesDrawn = 12
)

func (u *UI) topology(w http.ResponseWriter, r *http.Request) {
	t := u.fleet.Topology(membersShown)
	u.render(w, r, http.StatusOK, "topology.html", page{
		Title: "Topology", Here: "/topology", Events: events(t.Position, opampwire.InstanceUID{}, 0),
		Body: newTopologyPage(t, u.settings.OpAMPEndpoint, u.now()),
	})
}

func newTopologyPage(t fleet.Topology, endpoint string, now time.Time) topologyPage {
	out := topologyPage{Endpoint: endpoint, Omitted: t.Omitted, Facts: []fact{
		{Name: "Connected collectors", Word: countText(int64(t.Connected)), Help: "Of all that are known, those that are there."},
		{Name: "Behind gateways", Word: countText(int64(t.Behind)), Help: "Connected collectors that a gateway says it carries."},
		{Name: "Connected directly", Word: countText(int64(direct(t))), Help: "Or through something that does not tell."},
		{Name: "Gateways", Word: countText(int64(len(t.Gateways) + t.Omitted))},
	}}
	for _, b := range t.Gateways {
		shown := newBranch(b, now)
		if b.Parent >= 0 {
			over := t.Gateways[b.Parent].Carrier
			shown.Over = gatewayLinks([]fleet.Carrier{over})
			shown.Behind = gatewayLinks(slices.DeleteFunc(b.Behind, func(c fleet.Carrier) bool { return c.Gateway == over.Gateway }))
		}
		out.Branches = append(out.Branches, shown)
	}
	if len(out.Branches) > 0 {
		out.Undrawn = max(len(out.Branches)-branchesDrawn, 0)
		out.Drawing = drawTree(out.Branches[:len(out.Branches)-out.Undrawn], t)
	}
	return out
}

// gatewayTerms find who is behind a gateway.
func gatewayTerms(c fleet.Carrier) []fleetquery.Term {
	terms := []fleetquery.Term{is(fleetquery.FacetGateway, c.Agent.UID.String())}
	if len(c.Agent.Gateways) > 1 {
		terms = append(terms, is(fleetquery.FacetGateway, c.Gateway.Gateway))
	}
	return terms
}

func direct(t fleet.Topology) int { return max(t.Connected-t.Behind, 0) }

func newBranch(b fleet.Branch, now time.Time) branch {
	g := b.Gateway
	out := branch{
		gatewayPart: newGatewayPart(b.Carrier, now),
		Agent:       agentName(b.Agent), Host: clean(short(b.Agent.HostName(), 120)), URL: agentURL(b.Agent) + "#gateways",
		Who:    agentsWhere(gatewayTerms(b.Carrier)...),
		Behind: gatewayLinks(b.Behind), Counted: b.Counted, Known: b.Known, Unknown: b.Unknown,
		Depth: b.Depth, Direct: b.Direct, DirectUnknown: b.DirectUnknown,
		Agents: "–", Connected: "–", Queue: "–", Lost: "–", More: b.Direct - len(b.Members),
	}
	if g.Listed {
		out.Agents = countText(int64(g.Carried))
	}
	if g.Told {
		out.Agents, out.Connected = countText(int64(g.Agents)), upstreamsText(g)
		out.Queue, out.Lost = byteSize(float64(g.QueuedBytes())), thousands(sum(g.Drops))
	}
	x := 0
	for _, c := range fleet.Conditions() {
		if n := b.Conditions[c]; n > 0 {
			look := conditionBadges[c]
			out.Parts = append(out.Parts, statePart{State: look, Count: n})
			out.Segments = append(out.Segments, segment{Look: look.Look, X: x, Width: n})
			x += n
		}
	}
	for _, m := range b.Members {
		out.Members = append(out.Members, newAgentLine(out.ID, m, now))
	}
	return out
}

// sum stays at the largest number there is.
func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		if n+v < n {
			return ^uint64(0)
		}
		n += v
	}
	return n
}

// treeDrawing is the server, its gateways and some of their agents, from left to right.
type treeDrawing struct {
	Width, Height int
	Nodes         []treeNode
	Edges         []string // paths
	Summary       string

	size treeSize
}

type treeNode struct {
	X, Y, Width, Height int
	Name, Note, Title   string
	State               badge
	Group               bool // it stands for many
}

// Measures of the drawing.
const (
	treeRow    = 54 // from one node to the next below it
	treeHeight = 44
	treeGap    = 14 // between what is behind one gateway and the next
)

// treeSize is how wide things are.
type treeSize struct {
	server, node int
	gateways     int // where the first column of gateways is
	column       int // from a gateway to who is behind it
	name, note   int // letters that a node has room for
}

// With gateways behind gateways there is one column more on a page.
var (
	wideTree   = treeSize{server: 190, node: 320, gateways: 270, column: 400, name: 33, note: 42}
	narrowTree = treeSize{server: 150, node: 275, gateways: 200, column: 325, name: 27, note: 34}
)

func drawTree(branches []branch, t fleet.Topology) *treeDrawing {
	d := &treeDrawing{size: wideTree}
	if slices.ContainsFunc(branches, func(b branch) bool { return b.Depth > 0 }) {
		d.size = narrowTree
	}
	y := 0
	var middles []int
	for i, b := range branches {
		if b.Depth == 0 {
			var middle int
			middle, y = d.addBranch(branches, i, y)
			middles = append(middles, middle)
		}
	}
	d.add(treeNode{
		X: d.size.gateways, Y: y, Width: d.size.node, Name: countText(int64(direct(t))) + " connected directly", Note: "no gateway says it carries them",
		Title: "Connected collectors that no gateway says it carries", State: badge{Look: "all"}, Group: true,
	})
	middles = append(middles, y)
	d.Height = y + treeHeight
	server := (middles[0] + middles[len(middles)-1]) / 2
	d.add(treeNode{
		X: 0, Y: server, Width: d.size.server, Name: "This server", Note: countText(int64(t.Connected)) + " connected",
		Title: "This server", State: badge{Look: "ok"},
	})
	for _, m := range middles {
		d.connect(d.size.server, server, d.size.gateways, m)
	}
	d.Summary = fmt.Sprintf("The server, %d gateways and some of the %d collectors behind them. The table says the same and more.",
		len(branches), t.Behind)
	return d
}

// addBranch adds the gateway at i, and to its right who is behind it, from y down. It returns where the gateway is, and
// where there is room below.
func (d *treeDrawing) addBranch(branches []branch, i, y int) (middle, below int) {
	b := branches[i]
	x := d.size.gateways + b.Depth*d.size.column
	ends := d.addMembers(b, x+d.size.column, y)
	below = y + len(ends)*treeRow
	for j := i + 1; j < len(branches) && branches[j].Depth > b.Depth; j++ {
		if branches[j].Depth == b.Depth+1 {
			end, next := d.addBranch(branches, j, below)
			ends, below = append(ends, end), next
		}
	}
	middle = y
	if len(ends) > 0 {
		middle = (ends[0] + ends[len(ends)-1]) / 2
	}
	where := b.Host
	if where == "" {
		where = b.Agent
	}
	d.add(treeNode{
		X: x, Y: middle, Width: d.size.node, Name: short(nameOn(b.Name, where), d.size.name), State: b.State,
		Note:  short(b.State.Word+" · "+b.Agents+" agents · "+b.Connected+" up", d.size.note),
		Title: fmt.Sprintf("%s in %s: %s, %s agents", b.Name, nameOn(b.Agent, b.Host), b.State.Word, b.Agents),
	})
	for _, end := range ends {
		d.connect(x+d.size.node, middle, x+d.size.column, end)
	}
	return middle, max(below, y+treeRow) + treeGap
}

// addMembers adds those directly behind a gateway at x, from y down, and returns where they are.
func (d *treeDrawing) addMembers(b branch, x, y int) (at []int) {
	put := func(n treeNode) {
		n.X, n.Y, n.Width = x, y, d.size.node
		d.add(n)
		at = append(at, y)
		y += treeRow
	}
	shown := b.Members[:min(len(b.Members), membersDrawn)]
	if len(b.Members) == membersDrawn+1 && b.More == 0 && b.DirectUnknown == 0 {
		shown = b.Members // one more takes the room of the words that there is one
	}
	for _, m := range shown {
		name := nameOn(m.Name, m.Host)
		note := m.State.Word
		if m.What != "" {
			note += " · " + m.What
		}
		put(treeNode{Name: short(name, d.size.name), Note: short(note, d.size.note), Title: name + ": " + note, State: m.State})
	}
	if more := b.Direct + b.DirectUnknown - len(shown); more > 0 {
		word := countText(int64(more)) + " more"
		if len(shown) == 0 {
			word = countText(int64(more)) + " agents"
		}
		note := "see the table"
		if b.DirectUnknown > 0 {
			note = countText(int64(b.DirectUnknown)) + " of them not known to this server"
		}
		put(treeNode{Name: word, Note: note, Title: word + ", " + note, State: badge{Look: "all"}, Group: true})
	}
	return at
}

func (d *treeDrawing) add(n treeNode) {
	n.Height = treeHeight
	d.Width = max(d.Width, n.X+n.Width)
	d.Nodes = append(d.Nodes, n)
}

func (d *treeDrawing) connect(x1, y1, x2, y2 int) {
	y1, y2 = y1+treeHeight/2, y2+treeHeight/2
	bend := (x2 - x1) / 2
	d.Edges = append(d.Edges, fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2))
}

func nameOn(name, host string) string {
	if host == "" {
		return name
	}
	return name + " on " + host
}

// ViewWidth and ViewHeight are those of the drawing with room for its strokes.
func (d *treeDrawing) ViewWidth() int  { return d.Width + 4 }
func (d *treeDrawing) ViewHeight() int { return d.Height + 4 }
