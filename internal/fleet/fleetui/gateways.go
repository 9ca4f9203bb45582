// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// gatewayPart shows what a collector tells of a gateway that runs in it.
type gatewayPart struct {
	ID, Name  string
	State     badge
	Heard     moment
	Started   moment
	Figures   []figure
	Upstreams []upstreamRow
	Drops     []count
	Refused   []count
}

type upstreamRow struct {
	Name, Endpoint        string
	State                 badge
	Agents, Queue, Answer string
}

// gatewayLink leads to the collector that a gateway runs in.
type gatewayLink struct{ Name, Host, URL string }

const (
	maxUpstreamRows = 32 // that a page shows
	maxReasonRows   = 12
)

func newGatewaysPart(a *fleet.Agent, now time.Time) (out []gatewayPart) {
	for _, g := range a.Gateways {
		out = append(out, newGatewayPart(fleet.Carrier{Agent: a, Gateway: g}, now))
	}
	return out
}

func newGatewayPart(c fleet.Carrier, now time.Time) gatewayPart {
	g := c.Gateway
	out := gatewayPart{
		ID: "gateway-" + shortSum(c.Agent.UID.String(), g.Gateway), Name: gatewayName(g), State: gatewayBadge(c),
		Heard: ago(g.Heard, now), Started: ago(unix(g.Started), now),
		Figures: gatewayFigures(g), Drops: reasons(g.Drops), Refused: reasons(g.Refused),
	}
	for _, u := range g.Upstreams[:min(len(g.Upstreams), maxUpstreamRows)] {
		row := upstreamRow{
			Name: clean(short(u.Name, 60)), Endpoint: clean(short(u.Endpoint, 160)), State: badge{Word: "Down", Look: "bad"},
			Agents: countText(int64(u.Agents)), Queue: byteSize(float64(u.QueuedBytes)), Answer: "–",
		}
		switch {
		case u.Connected:
			row.State = badge{Word: "Connected", Look: "ok"}
		case u.Idle:
			row.State = badge{Word: "Idle", Look: "none", Help: "No agent needs it."}
		}
		if u.AnswerTime > 0 {
			row.Answer = milliseconds(u.AnswerTime)
		}
		out.Upstreams = append(out.Upstreams, row)
	}
	return out
}

func gatewayFigures(g *fleet.Gateway) (out []figure) {
	add := func(name, value string) {
		if value != "" {
			out = append(out, figure{Name: name, Value: value})
		}
	}
	if g.Told {
		add("Agents that it carries", countText(int64(g.Agents)))
		add("Their WebSockets", countText(int64(g.Connections)))
		add("Polling over HTTP", unlessZero(uint64(g.Polling)))
		add("Upstream connections", upstreamsText(g))
		add("Waits for the server", byteSize(float64(g.QueuedBytes())))
		add("To the server", thousands(g.MessagesUp)+" messages, "+byteSize(float64(g.BytesUp)))
		add("To agents", thousands(g.MessagesDown)+" messages, "+byteSize(float64(g.BytesDown)))
		add("Instance UIDs used twice", unlessZero(g.Duplicates))
		add("Told to the server again", unlessZero(g.Announced))
		add("Goodbyes said for agents", unlessZero(g.Goodbyes))
	}
	if g.Listed {
		add("Named to this server", countText(int64(g.Carried)))
		add("Too many to be kept", unlessZero(uint64(g.Omitted)))
	}
	return out
}

// upstreamsText is how many upstreams are connected, of those that should be.
func upstreamsText(g *fleet.Gateway) string {
	idle := g.IdleUpstreams()
	switch needed := len(g.Upstreams) - idle; {
	case len(g.Upstreams) == 0:
		return "–"
	case idle == 0:
		return strconv.Itoa(g.ConnectedUpstreams()) + " of " + strconv.Itoa(needed)
	case needed == 0:
		return strconv.Itoa(idle) + " idle"
	default:
		return strconv.Itoa(g.ConnectedUpstreams()) + " of " + strconv.Itoa(needed) + ", " + strconv.Itoa(idle) + " idle"
	}
}

func milliseconds(s float64) string {
	if s >= 10 {
		return thousands(uint64(s)) + " s"
	}
	return strconv.FormatFloat(1000*s, 'f', 1, 64) + " ms"
}

// reasons lists counts, the largest first.
func reasons(m map[string]uint64) (out []count) {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	for _, name := range names[:min(len(names), maxReasonRows)] {
		if m[name] > 0 {
			out = append(out, count{Name: clean(short(name, 60)), N: thousands(m[name])})
		}
	}
	return out
}

func gatewayName(g *fleet.Gateway) string {
	if name := clean(short(oneLine(g.Gateway), 120)); name != "" {
		return name
	}
	return "Unnamed gateway"
}

func gatewayBadge(c fleet.Carrier) badge {
	switch g := c.Gateway; {
	case !c.Agent.Present():
		return livenessBadges[c.Agent.Liveness]
	case !g.Told:
		return badge{"Not told", "none", "It told who is behind it, and not how it is."}
	case len(g.Upstreams) == 0:
		return badge{"Carrying", "ok", "Each agent has its own way to the server."}
	case g.IdleUpstreams() == len(g.Upstreams):
		return badge{"Idle", "none", "No agent needs a connection to the server."}
	case g.ConnectedUpstreams() == 0:
		return badge{"Cut off", "bad", "None of its connections to the server is up."}
	case g.ConnectedUpstreams()+g.IdleUpstreams() < len(g.Upstreams):
		return badge{"Partly cut off", "warn", "Some of its connections to the server are down."}
	}
	return badge{"Carrying", "ok", "All connections to the server that its agents need are up."}
}

func gatewayLinks(list []fleet.Carrier) (out []gatewayLink) {
	for _, c := range list {
		out = append(out, gatewayLink{Name: gatewayName(c.Gateway), Host: clean(short(c.Agent.HostName(), 60)), URL: agentURL(c.Agent) + "#gateways"})
	}
	return out
}
