// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"cmp"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// Cover says whether there is a collector where one was.
type Cover string

const (
	CoverNone   Cover = "none"   // all that were there are gone, and none came in their place
	CoverShared Cover = "shared" // there are several at a time
	CoverUnsure Cover = "unsure" // those that were there were not heard since the server was away
	CoverOne    Cover = "one"    // there is one
)

// Covers lists every cover, what needs attention first.
func Covers() []Cover { return []Cover{CoverNone, CoverShared, CoverUnsure, CoverOne} }

// CoverageRequest asks where there are collectors, and where there were.
type CoverageRequest struct {
	Query fleetquery.Query
	// Limit is how many spots a list has, what needs attention first. 0 is 50.
	Limit int
	Now   time.Time
}

// Coverage answers a [CoverageRequest].
type Coverage struct {
	// Identities are by the logical identities of the agents, Hosts by host.name.
	Identities, Hosts CoverageBy
	// Successions counts agents that took the place of others, Instances all that those were, they included.
	Successions, Instances int
	// Restarted are those that were started anew most often.
	Restarted []*fleet.Agent
	Agents    int
	Unread    int // configs that are not read yet, see [Index.Unread]
	Position  fleet.Position
}

// CoverageBy is the coverage by one side of the agents.
type CoverageBy struct {
	// Spots are values of the side, what needs attention first.
	Spots []Spot
	// Counts are those of all spots, also those that are not listed; None counts agents that have no value.
	Counts map[Cover]int
	None   int
}

// Spot is where a collector is to be.
type Spot struct {
	Value string
	Cover Cover
	// Known counts the agents that are known here, Present those that are there.
	Known, Present int
	// Last is the agent that was heard last.
	Last *fleet.Agent
}

const defaultSpots = 50

// Found answers [Index.Agents].
type Found struct {
	Agents   []*fleet.Agent
	Unread   int // configs that are not read yet, see [Index.Unread]
	Position fleet.Position
}

// Agents are all that a query finds, in no order.
func (x *Index) Agents(q fleetquery.Query, now time.Time) Found {
	slots, done := x.find(q, now)
	defer done()
	out := Found{Agents: make([]*fleet.Agent, 0, len(slots)), Unread: x.unreadLocked(), Position: x.position}
	for _, slot := range slots {
		out.Agents = append(out.Agents, x.rows[slot].agent)
	}
	return out
}

// Coverage answers r.
func (x *Index) Coverage(r CoverageRequest) Coverage {
	if r.Limit <= 0 {
		r.Limit = defaultSpots
	}
	slots, done := x.find(r.Query, r.Now)
	defer done()
	out := Coverage{Agents: len(slots), Unread: x.unreadLocked(), Position: x.position}
	identities, hosts := newSpots(x.columns[sideIdentity]), newSpots(x.columns[sideHost])
	restarted := newBest(r.Limit, func(a, b *fleet.Agent) int {
		return cmp.Or(cmp.Compare(b.Runs, a.Runs), strings.Compare(placeOf(a), placeOf(b)))
	})
	for _, slot := range slots {
		a := x.rows[slot].agent
		identities.add(slot, a)
		hosts.add(slot, a)
		if a.Runs > 1 {
			out.Successions++
			out.Instances += a.Runs
			restarted.offer(a)
		}
	}
	out.Identities, out.Hosts, out.Restarted = identities.conclude(r.Limit), hosts.conclude(r.Limit), restarted.sorted()
	x.fleet.Latest(out.Restarted)
	for _, list := range [][]Spot{out.Identities.Spots, out.Hosts.Spots} {
		for i := range list { // a heartbeat is no change of what the index knows
			latest := []*fleet.Agent{list[i].Last}
			x.fleet.Latest(latest)
			list[i].Last = latest[0]
		}
	}
	return out
}

// spots gathers agents by the values of a column that gives each one at most.
type spots struct {
	column *column
	of     []Spot // by set
	none   int
}

func newSpots(c *column) *spots { return &spots{column: c, of: make([]Spot, len(c.members))} }

func (s *spots) add(slot int, a *fleet.Agent) {
	set := s.column.of[slot]
	if set == 0 {
		s.none++
		return
	}
	spot := &s.of[set]
	if spot.Known == 0 {
		*spot = Spot{Value: s.column.text(slot), Last: a, Cover: CoverNone}
	}
	spot.Known++
	switch a.Liveness {
	case fleet.LivenessConnected:
		spot.Present++
		spot.Cover = CoverOne
		if spot.Present > 1 {
			spot.Cover = CoverShared
		}
	case fleet.LivenessUnknown:
		if spot.Cover == CoverNone {
			spot.Cover = CoverUnsure
		}
	}
	if a.LastSeen.After(spot.Last.LastSeen) {
		spot.Last = a
	}
}

func (s *spots) conclude(limit int) CoverageBy {
	out := CoverageBy{Counts: map[Cover]int{}, None: s.none}
	rank := map[Cover]int{}
	for i, c := range Covers() {
		rank[c], out.Counts[c] = i, 0
	}
	best := newBest(limit, func(a, b *Spot) int {
		return cmp.Or(cmp.Compare(rank[a.Cover], rank[b.Cover]), cmp.Compare(b.Known, a.Known), strings.Compare(a.Value, b.Value))
	})
	for i := range s.of {
		if s.of[i].Known > 0 {
			out.Counts[s.of[i].Cover]++
			best.offer(&s.of[i])
		}
	}
	for _, spot := range best.sorted() {
		out.Spots = append(out.Spots, *spot)
	}
	return out
}
