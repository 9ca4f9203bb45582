// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import "maps"

// Stats are the fleet's figures about itself.
type Stats struct {
	// How many agents there are, by liveness and by condition. One that there is none of may be absent.
	Agents     map[Liveness]int
	Conditions map[Condition]int

	// Memory is what is kept of all agents, in bytes: the counted size of their parts, what many share once.
	Memory int64

	// What happened since the start.
	Duplicates         uint64 // two live connections took turns in speaking for one instance UID
	ForeignGoodbyes    uint64 // a goodbye that came from another connection than the agent's, and was not believed
	Reidentified       uint64 // times that one of two agents with one instance UID was given another
	Evicted            uint64 // agents forgotten to make room
	Retired            uint64 // agents forgotten because they were gone for longer than Settings.RetireAfter
	Succeeded          uint64 // agents that another instance took the place of
	SharedComponents   uint64 // lists of components that were known by their verified hash and not asked for
	FullStateRequests  uint64
	ComponentsRequests uint64
	Refused            map[RefuseReason]uint64
	Cuts               map[CutReason]uint64 // messages, and agents, of which something was cut
	Messages           map[MessageFate]uint64
}

// Stats of now.
func (f *Fleet) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Agents = maps.Clone(s.Agents)
	s.Conditions = maps.Clone(s.Conditions)
	s.Refused = maps.Clone(s.Refused)
	s.Cuts = maps.Clone(s.Cuts)
	s.Messages = maps.Clone(s.Messages)
	return s
}

func newStats() Stats {
	return Stats{
		Agents:     map[Liveness]int{},
		Conditions: map[Condition]int{},
		Refused:    map[RefuseReason]uint64{},
		Cuts:       map[CutReason]uint64{},
		Messages:   map[MessageFate]uint64{},
	}
}

// tally counts a in or out.
func (s *Stats) tally(a *Agent, by int) {
	if a == nil {
		return
	}
	s.Agents[a.Liveness] += by
	s.Conditions[a.Condition()] += by
}
