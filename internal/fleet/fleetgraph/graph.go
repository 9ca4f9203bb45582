// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetgraph

import (
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
)

// Maxima of a drawing.
const (
	maxNodes     = 500
	maxPipelines = 100
	maxEdges     = 2_000
)

// Role of a node in its pipeline.
type Role string

const (
	RoleReceiver  Role = "receiver"
	RoleProcessor Role = "processor"
	RoleExporter  Role = "exporter"
)

// State of a node, in one word.
type State string

const (
	StateHealthy  State = "healthy"
	StateFailing  State = "failing"
	StateStarting State = "starting"
	StateStopping State = "stopping"
	StateUnknown  State = "unknown" // nothing is told of it
)

// Health of a component or a pipeline, as far as it is told.
type Health struct {
	State  State
	Status string // the agent's own word
	Error  string
	Since  time.Time // zero if it is not told
}

// Box is a place in a drawing.
type Box struct{ X, Y, Width, Height int }

// Node is a component in a pipeline. One that is in two pipelines is two nodes.
type Node struct {
	Box
	Health
	Role Role
	// Kind is that of the component: "connector" in the role of an exporter or a receiver.
	Kind string
	// Name is type/name, as in the config.
	Name string
	// Pipeline is the index of its pipeline.
	Pipeline int
	// Undeclared says that the config uses it and has no section for it.
	Undeclared bool
}

// ID is kind:type/name.
func (n Node) ID() string { return n.Kind + ":" + n.Name }

// Edge leads from one node to another.
type Edge struct {
	From, To int // indices of nodes
	// Connector says that it leads out of its pipeline.
	Connector      bool
	X1, Y1, X2, Y2 int
}

// Pipeline is a lane.
type Pipeline struct {
	Box
	Health
	// Name is signal/name.
	Name string
	// Receivers, Processors and Exporters are indices of nodes, in the order of the config.
	Receivers, Processors, Exporters []int
}

// Extension stands apart.
type Extension struct {
	Box
	Health
	Name       string
	Undeclared bool
}

// Graph of an agent.
type Graph struct {
	Pipelines     []Pipeline
	Nodes         []Node
	Edges         []Edge
	Extensions    []Extension
	Width, Height int
	// FromHealth says that there is no config, so that the order of processors is not known.
	FromHealth bool
	// Omitted counts components and pipelines that are more than are drawn.
	Omitted int
	// Problem says why there is less to see than there should be; empty is good.
	Problem string
}

// Of draws an agent.
func Of(a *fleet.Agent) Graph {
	b := builder{health: newHealths(a.Health), connectors: map[string]bool{}}
	b.fromConfig(fleetconfig.Main(a.Config))
	if len(b.graph.Pipelines) == 0 && a.Health != nil {
		problem := b.graph.Problem
		b = builder{health: b.health, connectors: map[string]bool{}}
		b.graph.Problem = problem
		b.fromHealth(a.Health)
	}
	b.graph.connect()
	b.graph.layOut()
	return b.graph
}

// builder gathers the nodes.
type builder struct {
	graph      Graph
	health     healths
	root       *fleetconfig.Node
	connectors map[string]bool
}

func (b *builder) fromConfig(f *fleet.ConfigFile) {
	if f == nil {
		b.graph.Problem = "it tells no config"
		return
	}
	root, err := fleetconfig.Parse(f.Body)
	if err != nil {
		b.graph.Problem = "its config can't be read: " + err.Error()
		if f.Truncated {
			b.graph.Problem = "only the beginning of its config is known"
		}
		return
	}
	b.root = root
	if c := root.Get("connectors"); c != nil {
		for _, name := range c.Keys {
			b.connectors[name] = true
		}
	}
	pipelines := root.Get("service", "pipelines")
	if pipelines == nil || len(pipelines.Keys) == 0 {
		b.graph.Problem = "its config has no pipelines"
		return
	}
	for i, name := range pipelines.Keys {
		p := pipelines.Values[i]
		b.pipeline(name, p.Get("receivers").Texts(), p.Get("processors").Texts(), p.Get("exporters").Texts())
	}
	for _, name := range root.Get("service", "extensions").Texts() {
		b.extension(name)
	}
}

// fromHealth takes the pipelines and components that the health tree names.
func (b *builder) fromHealth(root *fleet.Health) {
	b.graph.FromHealth = true
	for _, h := range root.Children {
		kind, name := fleet.SplitComponentName(h.Name)
		switch kind {
		case "pipeline":
			lists := map[string][]string{}
			for _, c := range h.Children {
				kind, id := fleet.SplitComponentName(c.Name)
				if kind == "connector" {
					b.connectors[id] = true
					kind = string(connectorRole(root, name))
				}
				lists[kind] = append(lists[kind], id)
			}
			b.pipeline(name, lists["receiver"], lists["processor"], lists["exporter"])
		case "extension":
			b.extension(name)
		default:
			for _, c := range h.Children {
				if kind, id := fleet.SplitComponentName(c.Name); kind == "extension" {
					b.extension(id)
				}
			}
		}
	}
}

// connectorRole guesses on which side of a pipeline a connector is: a health tree doesn't tell. It is the exporter of
// a pipeline that has no other one.
func connectorRole(root *fleet.Health, pipeline string) Role {
	for _, h := range root.Children {
		if h.Name != "pipeline:"+pipeline {
			continue
		}
		for _, c := range h.Children {
			if strings.HasPrefix(c.Name, "exporter:") {
				return RoleReceiver
			}
		}
	}
	return RoleExporter
}

func (b *builder) pipeline(name string, receivers, processors, exporters []string) {
	if len(b.graph.Pipelines) == maxPipelines {
		b.graph.Omitted += 1 + len(receivers) + len(processors) + len(exporters)
		return
	}
	index := len(b.graph.Pipelines)
	p := Pipeline{Name: name, Health: b.health.pipeline(name)}
	p.Receivers = b.nodes(index, name, RoleReceiver, receivers)
	p.Processors = b.nodes(index, name, RoleProcessor, processors)
	p.Exporters = b.nodes(index, name, RoleExporter, exporters)
	b.graph.Pipelines = append(b.graph.Pipelines, p)
}

func (b *builder) nodes(pipeline int, name string, role Role, list []string) (out []int) {
	for _, component := range list {
		if len(b.graph.Nodes) == maxNodes {
			b.graph.Omitted++
			continue
		}
		n := Node{Role: role, Kind: string(role), Name: component, Pipeline: pipeline}
		if b.connectors[component] && role != RoleProcessor {
			n.Kind = "connector"
		}
		n.Undeclared = b.root != nil && !b.declares(n.Kind, component)
		n.Health = b.health.component(name, n.ID())
		out = append(out, len(b.graph.Nodes))
		b.graph.Nodes = append(b.graph.Nodes, n)
	}
	return out
}

func (b *builder) declares(kind, name string) bool {
	section := b.root.Get(kind + "s")
	return section != nil && slices.Contains(section.Keys, name)
}

func (b *builder) extension(name string) {
	if len(b.graph.Extensions) == maxNodes {
		b.graph.Omitted++
		return
	}
	b.graph.Extensions = append(b.graph.Extensions, Extension{
		Name: name, Health: b.health.component("", "extension:"+name),
		Undeclared: b.root != nil && !b.declares("extension", name),
	})
}

// connect makes the edges.
func (g *Graph) connect() {
	for _, p := range g.Pipelines {
		before := p.Receivers
		for _, n := range p.Processors {
			g.join(before, []int{n}, false)
			before = []int{n}
		}
		g.join(before, p.Exporters, false)
	}
	for _, from := range g.Pipelines {
		for _, e := range from.Exporters {
			if g.Nodes[e].Kind != "connector" {
				continue
			}
			for _, to := range g.Pipelines {
				for _, r := range to.Receivers {
					if g.Nodes[r].Kind == "connector" && g.Nodes[r].Name == g.Nodes[e].Name {
						g.join([]int{e}, []int{r}, true)
					}
				}
			}
		}
	}
}

func (g *Graph) join(from, to []int, connector bool) {
	for _, f := range from {
		for _, t := range to {
			if len(g.Edges) < maxEdges {
				g.Edges = append(g.Edges, Edge{From: f, To: t, Connector: connector})
			}
		}
	}
}

// Row of the table that says the same as the drawing.
type Row struct {
	Pipeline string // empty for extensions
	Role     string
	Name     string
	// To names the pipelines that a connector leads to.
	To     []string
	Health Health
}

// Table lists what is drawn, pipeline by pipeline, in the order in which data passes.
func (g Graph) Table() []Row {
	leads := map[int][]string{}
	for _, e := range g.Edges {
		if e.Connector {
			leads[e.From] = append(leads[e.From], g.Pipelines[g.Nodes[e.To].Pipeline].Name)
		}
	}
	var out []Row
	for _, p := range g.Pipelines {
		for _, list := range [][]int{p.Receivers, p.Processors, p.Exporters} {
			for _, i := range list {
				n := g.Nodes[i]
				out = append(out, Row{Pipeline: p.Name, Role: string(n.Role), Name: n.Name, To: leads[i], Health: n.Health})
			}
		}
	}
	for _, e := range g.Extensions {
		out = append(out, Row{Role: "extension", Name: e.Name, Health: e.Health})
	}
	return out
}
