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
)

// Topology is who is behind which gateway, as the gateways tell it, and how those are as this server knows it.
type Topology struct {
	Position Position
	// Agents are all that are known, Connected those that are there.
	Agents, Connected int
	// Behind is how many of the connected a gateway says that it carries. The others have come directly, or through
	// what does not tell.
	Behind int
	// Gateways that are there come first, those known for longer before others; Omitted is how many more there are.
	Gateways []Branch
	Omitted  int
}

// Branch is a gateway and who is behind it.
type Branch struct {
	Carrier
	// Behind are the gateways that say that they carry this one's agent.
	Behind []Carrier
	// Known are those it carries that this server knows, by condition; Unknown is how many it does not know.
	// Counted is false where nobody was looked up, because there is too much to look up in all.
	Counted    bool
	Known      int
	Conditions map[Condition]int
	Unknown    int
	// Members are some of the known, in the order of [Conditions].
	Members []*Agent
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
	for _, c := range carriers {
		b := Branch{Carrier: c, Behind: behindOf(carriers, c.Agent.UID)}
		if c.Gateway.Listed && c.Gateway.Carried <= left {
			left -= c.Gateway.Carried
			f.count(&b, members, behind)
		}
		t.Gateways = append(t.Gateways, b)
	}
	t.Behind = len(behind)
	return t
}

// Behind are the gateways that are there and say that they carry uid, up to eight.
func (f *Fleet) Behind(uid opampwire.InstanceUID) []Carrier {
	carriers, _ := f.carriers()
	return behindOf(carriers[:min(len(carriers), maxTopologyGateways)], uid)
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

// count looks up who is behind a gateway. Those that are there it adds to behind, if the gateway is there too.
func (f *Fleet) count(b *Branch, members int, behind map[opampwire.InstanceUID]struct{}) {
	b.Counted, b.Conditions = true, map[Condition]int{}
	some := map[Condition][]*Agent{}
	for _, part := range b.Gateway.carried.parts {
		known := f.known(part)
		b.Unknown += len(part) - len(known)
		b.Known += len(known)
		for _, a := range known {
			c := a.Condition()
			b.Conditions[c]++
			if len(some[c]) < members {
				some[c] = append(some[c], a)
			}
			if a.Present() && b.Agent.Present() && a.UID != b.Agent.UID {
				behind[a.UID] = struct{}{}
			}
		}
	}
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
