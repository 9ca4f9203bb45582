// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"slices"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetproblem"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// Problem is what many agents have: a component of one type that fails with one error, but for what differs from one
// host to the next.
type Problem struct {
	ID  string
	Key fleetproblem.Key
	// Agents that have it, and Occurrences: a component may be in many pipelines.
	Agents, Occurrences int
	// First and Last are since when the agents that have had it for the longest and the shortest time have it.
	First, Last time.Time
	// Error is one of the errors as it was reported.
	Error string
	// Status is the gravest.
	Status string
	// Components, Pipelines and Names (of services) are who exactly fails where, the most frequent first.
	Components, Pipelines, Names []ValueCount
	// Versions and Variants (of configs) are what the agents that have it run.
	Versions, Variants []Share
	// Sample are some of the agents, who has had it for the longest time first.
	Sample []*fleet.Agent
}

// Share is how many of the agents with a value have the problem.
type Share struct {
	Value string
	// Count is how many have the problem, Of how many there are with that value in all.
	Count, Of int
}

// ProblemsRequest is a question for problems.
type ProblemsRequest struct {
	// Query says of which agents. If it says nothing of liveness and status, agents that are gone don't count: what
	// they said last is past.
	Query fleetquery.Query
	// Limit is how many problems are told in full, those of most agents first. 0 is 50.
	Limit int
	Now   time.Time
}

// Problems answers a [ProblemsRequest].
type Problems struct {
	Problems []Problem
	// Distinct counts all problems, Agents the agents that have one, and Known all agents of the fleet.
	Distinct, Agents, Known int
	// Unread counts configs that are not read yet, see [Index.Unread]: they are in no Variants.
	Unread   int
	Position fleet.Position
}

const (
	defaultProblems = 50
	maxSample       = 5
	maxShares       = 5
)

// Problems groups what is wrong.
func (x *Index) Problems(r ProblemsRequest) Problems {
	if r.Limit <= 0 {
		r.Limit = defaultProblems
	}
	slots, done := x.find(r.Query, r.Now)
	defer done()
	withGone := slices.ContainsFunc(r.Query.Terms, func(t fleetquery.Term) bool {
		return t.Facet == fleetquery.FacetLiveness || t.Facet == fleetquery.FacetStatus
	})
	groups := map[uint32]*problemGroup{}
	out := Problems{Known: len(x.slots), Unread: x.unreadLocked(), Position: x.position}
	for _, slot := range slots {
		r := &x.rows[slot]
		if len(r.problems) == 0 || (!withGone && !r.agent.Present()) {
			continue
		}
		out.Agents++
		for i, id := range r.problems {
			g := groups[id]
			if g == nil {
				g = newProblemGroup(id)
				groups[id] = g
			}
			g.add(slot, r.agent, r.agent.Problems[i])
		}
	}
	out.Distinct = len(groups)
	best := newBest(r.Limit, func(a, b *problemGroup) int {
		if a.agents != b.agents {
			return b.agents - a.agents
		}
		return strings.Compare(x.columns[sideProblem].values.texts[a.id], x.columns[sideProblem].values.texts[b.id])
	})
	for _, g := range groups {
		best.offer(g)
	}
	top := best.sorted()
	x.detail(top, groups, slots, withGone)
	for _, g := range top {
		out.Problems = append(out.Problems, x.newProblem(g))
	}
	return out
}

// find lists the slots that a query finds. The index stays as it is until done is called.
func (x *Index) find(q fleetquery.Query, now time.Time) (slots []int, done func()) {
	r := Request{Query: q}
	x.refreshFor(r)
	x.holdKeys(r)
	x.mu.RLock()
	f := x.compileLocked(q, now)
	if len(q.Terms) == 0 {
		slots = make([]int, 0, len(x.slots))
	}
	for slot := range x.rows {
		if x.rows[slot].agent == nil {
			continue
		}
		if ok, _ := f.judge(slot); ok && f.slowHolds(slot) {
			slots = append(slots, slot)
		}
	}
	return slots, x.mu.RUnlock
}

// problemGroup gathers a problem.
type problemGroup struct {
	id                  uint32
	agents, occurrences int
	last                int // slot counted last, so that an agent counts once
	first, latest       time.Time
	worst               fleet.Problem
	sample              *best[sampled]

	detailed                     bool // what follows is gathered
	components, pipelines, names map[string]int
	versions, variants           map[uint32]int // by set
}

type sampled struct {
	agent *fleet.Agent
	since time.Time
}

func newProblemGroup(id uint32) *problemGroup {
	return &problemGroup{id: id, last: -1, sample: newBest(maxSample, func(a, b sampled) int {
		if c := a.since.Compare(b.since); c != 0 {
			return c
		}
		return slices.Compare(a.agent.UID[:], b.agent.UID[:])
	})}
}

func (g *problemGroup) add(slot int, a *fleet.Agent, p fleet.Problem) {
	g.occurrences++
	if g.first.IsZero() || p.Since.Before(g.first) {
		g.first = p.Since
	}
	if p.Since.After(g.latest) {
		g.latest = p.Since
	}
	if g.occurrences == 1 || fleet.Graver(p.Status, g.worst.Status) {
		g.worst = p
	}
	if g.last == slot {
		return
	}
	g.last = slot
	g.agents++
	g.sample.offer(sampled{a, p.Since})
}

// detail gathers, for the problems that are told, who exactly has them.
func (x *Index) detail(top []*problemGroup, groups map[uint32]*problemGroup, slots []int, withGone bool) {
	for _, g := range top {
		g.detailed = true
		g.components, g.pipelines, g.names = map[string]int{}, map[string]int{}, map[string]int{}
		g.versions, g.variants = map[uint32]int{}, map[uint32]int{}
	}
	for _, slot := range slots {
		r := &x.rows[slot]
		if len(r.problems) == 0 || (!withGone && !r.agent.Present()) {
			continue
		}
		for i, id := range r.problems {
			g := groups[id]
			if !g.detailed {
				continue
			}
			p := r.agent.Problems[i]
			g.components[componentOf(p)]++
			if p.Pipeline != "" {
				g.pipelines[p.Pipeline]++
			}
			if slices.Contains(r.problems[:i], id) {
				continue
			}
			g.names[x.columns[sideName].text(slot)]++
			g.versions[x.columns[sideVersion].of[slot]]++
			g.variants[x.columns[sideVariant].of[slot]]++
		}
	}
}

// keyOf reads what stands behind the id in the column of problems.
func keyOf(rest string) fleetproblem.Key {
	kind, rest, _ := strings.Cut(rest, "\x00")
	typ, err, _ := strings.Cut(rest, "\x00")
	return fleetproblem.Key{Kind: kind, Type: typ, Error: err}
}

func (x *Index) newProblem(g *problemGroup) Problem {
	id, rest, _ := strings.Cut(x.columns[sideProblem].values.texts[g.id], "\x00")
	p := Problem{
		ID: id, Key: keyOf(rest), Agents: g.agents, Occurrences: g.occurrences, First: g.first, Last: g.latest,
		Error: g.worst.Error, Status: g.worst.Status,
		Components: topOf(g.components), Pipelines: topOf(g.pipelines), Names: topOf(g.names),
		Versions: x.shares(x.columns[sideVersion], g.versions), Variants: x.shares(x.columns[sideVariant], g.variants),
	}
	for _, s := range g.sample.sorted() {
		p.Sample = append(p.Sample, s.agent)
	}
	return p
}

func topOf(counts map[string]int) []ValueCount {
	best := newBest(maxShares, compareCounts)
	for v, n := range counts {
		best.offer(ValueCount{Value: v, Count: n})
	}
	return best.sorted()
}

func compareCounts(a, b ValueCount) int {
	if a.Count != b.Count {
		return b.Count - a.Count
	}
	return strings.Compare(a.Value, b.Value)
}

// shares of a column that has one value an agent: how many users a set has is how many agents there are with it.
func (x *Index) shares(c *column, counts map[uint32]int) []Share {
	best := newBest(maxShares, func(a, b Share) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Value, b.Value)
	})
	for set, n := range counts {
		if members := c.members[set]; len(members) > 0 {
			best.offer(Share{Value: c.values.texts[members[0]], Count: n, Of: int(c.sets.users[set])})
		}
	}
	return best.sorted()
}
