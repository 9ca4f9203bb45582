// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"

	"github.com/otel-fleetview/fleetview/internal/gatewaystatus"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// What is kept of what an agent tells of gateways.
const (
	maxGateways = 8       // the one that was not heard of for the longest time makes room
	maxCarried  = 100_000 // instance UIDs of each
)

// Gateway is what an agent told of a gateway that runs in it. It is the word of that agent and of nobody else: it
// changes nothing of the agents that it names. It never changes.
type Gateway struct {
	// Status is what was told last. Of a gateway whose status was not told it is only the name.
	gatewaystatus.Status
	// Told is whether the status was told, Listed whether all agents behind it were.
	Told, Listed bool
	// Carried is how many agents were listed that are kept, Omitted how many more were too many.
	Carried, Omitted int
	// Heard is when it was heard of last.
	Heard time.Time

	carried listing // the last that came whole
	coming  listing // the one that is being told
}

// listing is who is behind a gateway, in the parts in which it was told. One that waits for more parts is missing some.
type listing struct {
	version uint64
	parts   [][]opampwire.InstanceUID // each sorted; nil is one that did not come
	missing int
	kept    int // instance UIDs in parts
	omitted int
}

// gatewayNews is what a message tells of a gateway: one of the two.
type gatewayNews struct {
	status *gatewaystatus.Status
	agents *gatewaystatus.Agents
	uids   []opampwire.InstanceUID // of agents, sorted, each once
}

// decodeGateway reads what a message tells of a gateway, if it does. A message that can't be read is one like any other.
func decodeGateway(c *cutter, m *protobufs.CustomMessage) (news gatewayNews) {
	if m.GetCapability() != gatewaystatus.Capability {
		return gatewayNews{}
	}
	var err error
	switch m.GetType() {
	case gatewaystatus.TypeStatus:
		news.status, err = gatewaystatus.ParseStatus(m.GetData())
	case gatewaystatus.TypeAgents:
		if news.agents, err = gatewaystatus.ParseAgents(m.GetData()); err == nil {
			news.uids = sortedUIDs(news.agents)
		}
	}
	if err != nil {
		c.note(CutGateway)
		return gatewayNews{}
	}
	return news
}

// sortedUIDs is never nil.
func sortedUIDs(a *gatewaystatus.Agents) []opampwire.InstanceUID {
	out := make([]opampwire.InstanceUID, 0, len(a.UIDs)/len(opampwire.InstanceUID{}))
	a.Each(func(uid opampwire.InstanceUID) bool { out = append(out, uid); return true })
	slices.SortFunc(out, compareUIDs)
	return slices.Compact(out)
}

func compareUIDs(a, b opampwire.InstanceUID) int { return bytes.Compare(a[:], b[:]) }

func (a *Agent) foldGateway(news gatewayNews, now time.Time) {
	switch {
	case news.status != nil:
		next := a.gatewayCopy(news.status.Gateway, now)
		if behind := time.Duration(next.Updated - news.status.Updated); behind > 0 && behind < staleWithin {
			return // it came again
		}
		next.Status, next.Told = *news.status, true
		a.putGateway(next)
	case news.agents != nil:
		next := a.gatewayCopy(news.agents.Gateway, now)
		next.take(news)
		a.putGateway(next)
	}
}

// gatewayCopy is the gateway of that name, or a new one, for the caller to change and put.
func (a *Agent) gatewayCopy(name string, now time.Time) *Gateway {
	next := &Gateway{Status: gatewaystatus.Status{Gateway: name}}
	if i, ok := a.findGateway(name); ok {
		*next = *a.Gateways[i]
	}
	next.Heard = now
	return next
}

func (a *Agent) findGateway(name string) (int, bool) {
	return slices.BinarySearchFunc(a.Gateways, name, func(g *Gateway, name string) int { return cmp.Compare(g.Gateway, name) })
}

func (a *Agent) putGateway(g *Gateway) {
	a.Gateways = slices.Clone(a.Gateways) // the old ones are others' to look at
	i, ok := a.findGateway(g.Gateway)
	if ok {
		a.Gateways[i] = g
		return
	}
	if len(a.Gateways) >= maxGateways {
		quietest := slices.MinFunc(a.Gateways, func(x, y *Gateway) int { return x.Heard.Compare(y.Heard) })
		a.Gateways = slices.DeleteFunc(a.Gateways, func(g *Gateway) bool { return g == quietest })
		i, _ = a.findGateway(g.Gateway)
	}
	a.Gateways = slices.Insert(a.Gateways, i, g)
}

// take adds a part to the listing that is coming. What was listed before holds until all of the next is there.
func (g *Gateway) take(news gatewayNews) {
	next := g.coming
	if next.version != news.agents.Version || len(next.parts) != news.agents.Parts {
		next = listing{version: news.agents.Version, parts: make([][]opampwire.InstanceUID, news.agents.Parts), missing: news.agents.Parts}
	}
	next.parts = slices.Clone(next.parts)
	if next.parts[news.agents.Part] != nil {
		return // it came again
	}
	kept := news.uids[:min(len(news.uids), maxCarried-next.kept)]
	next.parts[news.agents.Part] = kept
	next.kept, next.omitted = next.kept+len(kept), next.omitted+len(news.uids)-len(kept)
	next.missing--
	g.coming = next
	if next.missing > 0 {
		return
	}
	g.carried, g.coming = next, listing{}
	g.Listed, g.Carried, g.Omitted = true, next.kept, next.omitted
}

// Carries reports whether the gateway was said to carry uid.
func (g *Gateway) Carries(uid opampwire.InstanceUID) bool {
	for _, part := range g.carried.parts {
		if _, ok := slices.BinarySearchFunc(part, uid, compareUIDs); ok {
			return true
		}
	}
	return false
}

// EachCarried calls yield with each agent that the gateway was said to carry.
func (g *Gateway) EachCarried(yield func(opampwire.InstanceUID)) {
	for _, part := range g.carried.parts {
		for _, uid := range part {
			yield(uid)
		}
	}
}

// SameCarried reports whether other has the list of agents that g has: not one that is equal, but the same.
func (g *Gateway) SameCarried(other *Gateway) bool {
	a, b := g.carried.parts, other.carried.parts
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// QueuedBytes is what waits for the server in all upstreams.
func (g *Gateway) QueuedBytes() (n int) {
	for _, u := range g.Upstreams {
		n += u.QueuedBytes
	}
	return n
}

// ConnectedUpstreams is how many of the upstreams are connected.
func (g *Gateway) ConnectedUpstreams() (n int) {
	for _, u := range g.Upstreams {
		if u.Connected {
			n++
		}
	}
	return n
}

// IdleUpstreams is how many of the upstreams have no connection because no agent needs one.
func (g *Gateway) IdleUpstreams() (n int) {
	for _, u := range g.Upstreams {
		if u.Idle && !u.Connected {
			n++
		}
	}
	return n
}

// gatewaysBytes is what the gateways take.
func (a *Agent) gatewaysBytes() (n int) {
	for _, g := range a.Gateways {
		n += gatewayBytes + len(g.Gateway) + len(g.Name) + g.carried.bytes() + g.coming.bytes()
		for _, name := range g.Over {
			n += len(name) + attributeBytes
		}
		for _, u := range g.Upstreams {
			n += upstreamBytes + len(u.Name) + len(u.Endpoint)
		}
		for _, counts := range []map[string]uint64{g.Drops, g.Refused} {
			for reason := range counts {
				n += len(reason) + attributeBytes
			}
		}
	}
	return n
}

func (l *listing) bytes() int {
	return upstreamBytes*len(l.parts) + l.kept*len(opampwire.InstanceUID{})
}

// Carrier is a gateway, and the agent that tells of it.
type Carrier struct {
	Agent   *Agent
	Gateway *Gateway
}

// compareCarriers puts who was known first before others: who comes later and makes claims pushes nobody out of a list.
func compareCarriers(a, b Carrier) int {
	return cmp.Or(
		present(b.Agent)-present(a.Agent), a.Agent.FirstSeen.Compare(b.Agent.FirstSeen),
		compareUIDs(a.Agent.UID, b.Agent.UID), strings.Compare(a.Gateway.Gateway, b.Gateway.Gateway),
	)
}

func present(a *Agent) int {
	if a.Present() {
		return 1
	}
	return 0
}

// fileGatewayLocked keeps track of who tells of gateways.
func (f *Fleet) fileGatewayLocked(rec *record) {
	if len(rec.agent.Gateways) > 0 {
		f.gateways[rec.agent.UID] = rec
	} else {
		delete(f.gateways, rec.agent.UID)
	}
}
