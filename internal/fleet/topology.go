// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"

	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// What a topology costs at most, whatever agents claim.
const (
	maxTopologyGateways = 256
	maxTopologyUIDs     = 1 << 20 // looked up
	maxBehind           = 8       // gateways that say of one agent that they carry it
	maxDepth            = 8       // gateways behind gateways
)

// Topology is who is behind which gateway, as the gateways tell it, and how those are as this server knows it.
type Topology struct {
	Position Position
	// Agents are all that are known, Connected those that are there.
	Agents, Connected int
	// Behind is how many of the connected a gateway says that it carries. The others have come directly, or through
	// what does not tell.
	Behind int
	// Gateways that are there come first, those known for longer before others, each followed by those that reach the
	// server over it; Omitted is how many more there are.
	Gateways []Branch
	Omitted  int
}

// Branch is a gateway and who is behind it.
type Branch struct {
	Carrier
	// Parent is the place in [Topology.Gateways] of the gateway over which this one reaches the server, -1 if it does so
	// by itself. It is what this one says, of another that says that it has this name. Depth is how many there are above.
	Parent, Depth int
	// Behind are the gateways that say that they carry this one's agent.
	Behind []Carrier
	// Known are those it carries that this server knows, by condition; Unknown is how many it does not know.
	// Counted is false where nobody was looked up, because there is too much to look up in all.
	Counted    bool
	Known      int
	Conditions map[Condition]int
	Unknown    int
	// Direct is how many of the known, and DirectUnknown of the others, are behind no gateway that follows with this one as
	// its Parent. Members are some of those known, in the order of [Conditions]. A gateway that follows is none of them.
	Direct, DirectUnknown int
	Members               []*Agent
}

// Topology lists up to members agents of each gateway. Its cost is that of the agents that gateways tell of; no lock is
// held for longer than a part of them.
func (f *Fleet) Topology(members int) Topology {
	carriers, t := f.carriers()
	if len(carriers) > maxTopologyGateways {
		t.Omitted = len(carriers) - maxTopologyGateways
		carriers = carriers[:maxTopologyGateways]
	}
	left := maxTopologyUIDs
	behind := map[opampwire.InstanceUID]struct{}{}
	t.Gateways = nested(carriers)
	for i := range t.Gateways {
		b := &t.Gateways[i]
		b.Behind = behindOf(carriers, b.Agent.UID)
		if b.Gateway.Listed && b.Gateway.Carried <= left {
			left -= b.Gateway.Carried
			f.count(b, members, behind, t.further(i))
		}
	}
	t.Behind = len(behind)
	return t
}

// nested puts gateways behind those that they go over. Loops are cut, and so is what is too deep.
func nested(carriers []Carrier) []Branch {
	parents := make([]int, len(carriers))
	children := make([][]int, len(carriers))
	for i, c := range carriers {
		if parents[i] = parentOf(carriers, c); parents[i] >= 0 {
			children[parents[i]] = append(children[parents[i]], i)
		}
	}
	out := make([]Branch, 0, len(carriers))
	placed := make([]bool, len(carriers))
	var place func(i, parent, depth int)
	place = func(i, parent, depth int) {
		if placed[i] || depth > maxDepth {
			return
		}
		placed[i] = true
		at := len(out)
		out = append(out, Branch{Carrier: carriers[i], Parent: parent, Depth: depth})
		for _, child := range children[i] {
			place(child, at, depth+1)
		}
	}
	for i := range carriers {
		if parents[i] < 0 {
			place(i, -1, 0)
		}
	}
	for i := range carriers { // who goes round in a circle, or is too deep
		place(i, -1, 0)
	}
	return out
}

// parentOf is the nearest of the gateways that c says it goes over: the one that goes over most itself. It is -1 if none
// of them is there.
func parentOf(carriers []Carrier, c Carrier) int {
	nearest, most := -1, -1
	for i, p := range carriers {
		if p.Gateway.Name == "" || p.Gateway.Name == c.Gateway.Name || !p.Agent.Present() || !slices.Contains(c.Gateway.Over, p.Gateway.Name) {
			continue
		}
		if len(p.Gateway.Over) > most {
			nearest, most = i, len(p.Gateway.Over)
		}
	}
	return nearest
}

// further are those who are behind the gateway at i by way of others, and these.
func (t *Topology) further(i int) map[opampwire.InstanceUID]struct{} {
	var out map[opampwire.InstanceUID]struct{}
	for j := i + 1; j < len(t.Gateways) && t.Gateways[j].Depth > t.Gateways[i].Depth; j++ {
		if t.Gateways[j].Parent != i {
			continue
		}
		if out == nil {
			out = map[opampwire.InstanceUID]struct{}{}
		}
		child := t.Gateways[j]
		out[child.Agent.UID] = struct{}{}
		for _, part := range child.Gateway.carried.parts {
			for _, uid := range part {
				out[uid] = struct{}{}
			}
		}
	}
	return out
}

// Behind are the gateways that are there and say that they carry uid, up to eight.
func (f *Fleet) Behind(uid opampwire.InstanceUID) []Carrier {
	carriers, _ := f.carriers()
	return behindOf(carriers[:min(len(carriers), maxTopologyGateways)], uid)
}

// Carriers are the gateways that are there, those known for longer first.
func (f *Fleet) Carriers() []Carrier {
	carriers, _ := f.carriers()
	carriers = carriers[:min(len(carriers), maxTopologyGateways)]
	return slices.DeleteFunc(carriers, func(c Carrier) bool { return !c.Agent.Present() })
}

// carriers are all gateways, and the figures of the server at that time.
func (f *Fleet) carriers() (list []Carrier, t Topology) {
	f.mu.Lock()
	for _, rec := range f.gateways {
		for _, g := range rec.agent.Gateways {
			list = append(list, Carrier{Agent: rec.agent, Gateway: g})
		}
	}
	t.Position, t.Agents, t.Connected = f.positionLocked(), len(f.agents), f.stats.Agents[LivenessConnected]
	f.mu.Unlock()
	slices.SortFunc(list, compareCarriers)
	return list, t
}

// behindOf leaves out gateways that are gone, and an agent's own: it is not behind itself.
func behindOf(carriers []Carrier, uid opampwire.InstanceUID) (out []Carrier) {
	for _, c := range carriers {
		if c.Agent.UID != uid && c.Agent.Present() && c.Gateway.Carries(uid) {
			if out = append(out, c); len(out) == maxBehind {
				break
			}
		}
	}
	return out
}

// count looks up who is behind a gateway. Those that are there it adds to behind, if the gateway is there too. Who is
// further away is behind another one as well.
func (f *Fleet) count(b *Branch, members int, behind, further map[opampwire.InstanceUID]struct{}) {
	b.Counted, b.Conditions = true, map[Condition]int{}
	some := map[Condition][]*Agent{}
	for _, part := range b.Gateway.carried.parts {
		known := f.known(part)
		b.Unknown += len(part) - len(known)
		b.Known += len(known)
		for _, uid := range part {
			if _, far := further[uid]; !far {
				b.DirectUnknown++ // less those that are known
			}
		}
		for _, a := range known {
			c := a.Condition()
			b.Conditions[c]++
			if _, far := further[a.UID]; !far {
				b.Direct++
				if len(some[c]) < members {
					some[c] = append(some[c], a)
				}
			}
			if a.Present() && b.Agent.Present() && a.UID != b.Agent.UID {
				behind[a.UID] = struct{}{}
			}
		}
	}
	b.DirectUnknown -= b.Direct
	for _, c := range Conditions() {
		b.Members = append(b.Members, some[c][:min(len(some[c]), members-len(b.Members))]...)
	}
}

// known are those of uids that are known, in their order.
func (f *Fleet) known(uids []opampwire.InstanceUID) []*Agent {
	out := make([]*Agent, 0, len(uids))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, uid := range uids {
		if rec, ok := f.agents[uid]; ok {
			out = append(out, rec.agent)
		}
	}
	return out
}
