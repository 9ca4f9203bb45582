// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetconfig"
	"github.com/otel-fleetview/fleetview/internal/opampwire"
)

// Index finds agents. It is safe for concurrent use: questions are answered side by side, but while changes are taken
// in. Each distinct value is held once; an agent whose attributes and config are all its own costs 2 KiB.
type Index struct {
	// Fixed at construction.
	fleet   *fleet.Fleet
	examine func(*fleet.Config) fleetconfig.Facts
	share   share

	mu sync.RWMutex

	// Guarded by mu.
	position fleet.Position
	slots    map[opampwire.InstanceUID]int
	rows     []row // by slot; one without an agent is free
	free     []int
	columns  [sides]*column
	keyed    map[string]*keyed // by the key of an attribute, in small letters
	keys     map[string]int    // of attributes, as they are told; an agent that tells one twice counts twice
	facts    map[string]*facts // of configs, by hash
	before   map[string]*facts // the same before all was taken in anew, while that is done
	reading  reading
	variants map[kinship]int                        // how many agents run a variant of a family
	carriers []fleet.Carrier                        // gateways that are there, as sideGateway has them
	moved    bool                                   // they are others by now, or carry others
	tellers  map[opampwire.InstanceUID]*fleet.Agent // who tells of gateways, as it was when it last did

	// Guarded by mu, remembered to spare work.
	problemTexts map[rawProblem]string
	available    map[*fleet.Components][]string

	questions atomic.Uint64 // that asked for attributes
	answered  atomic.Bool   // before all configs were read, and nobody has been woken for that yet
	rounds    atomic.Uint64 // that they were woken
}

// row is what is known of an agent besides its columns.
type row struct {
	agent    *fleet.Agent // nil in a free slot
	fresh    bool         // nothing is in the columns yet
	rank     uint8        // of its condition
	bare     bool         // its health tells no parts, so its config does
	seat     int32        // in unread.slots, if its config is unread
	since    int64        // Unix nanoseconds
	place    string       // among agents that are otherwise equal
	facts    *facts       // of its config, or nil
	kin      kinship      // as counted in Index.variants
	problems []uint32     // the numbers of the first of agent.Problems
}

// kinship is a variant in its family.
type kinship struct{ family, variant string }

// New returns the index of a fleet. It takes the agents in when it is asked.
func New(f *fleet.Fleet) *Index {
	x := &Index{fleet: f, examine: fleetconfig.Examine, share: usualShare}
	x.clear()
	return x
}

func (x *Index) clear() {
	x.slots = map[opampwire.InstanceUID]int{}
	x.rows, x.free = nil, nil
	x.keyed, x.keys = map[string]*keyed{}, map[string]int{}
	x.facts, x.before = map[string]*facts{}, x.facts
	x.reading.restart()
	x.variants = map[kinship]int{}
	x.carriers, x.moved = nil, true
	x.tellers = map[opampwire.InstanceUID]*fleet.Agent{}
	x.problemTexts = map[rawProblem]string{}
	x.available = map[*fleet.Components][]string{}
	for s := range x.columns {
		x.columns[s] = newColumn()
	}
}

// Refresh takes in what changed since the last time, and reads some of the configs that are new. Every question does so
// by itself; calling [Index.Read] from time to time spares the first question after a long silence the wait.
func (x *Index) Refresh() {
	if !x.upToDate() {
		x.follow(false)
	}
}

// upToDate reports whether there is nothing to take in and nothing to read.
func (x *Index) upToDate() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.reading.unread == 0 && x.position == x.fleet.Position()
}

// follow takes in what changed, also when each agent was heard if that is wanted, and reads what is a question's share.
func (x *Index) follow(heard bool) {
	x.mu.Lock()
	x.refreshLocked()
	if heard {
		x.hearLocked()
	}
	mine, others := x.reading.forQuestion(x.share)
	x.mu.Unlock()
	x.readAndWait(mine, others)
}

// takeIn takes in what changed, and reads nothing.
func (x *Index) takeIn() {
	x.mu.RLock()
	same := x.position == x.fleet.Position()
	x.mu.RUnlock()
	if same {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.refreshLocked()
}

func (x *Index) refreshLocked() {
	d := x.fleet.Since(x.position)
	if d.Reset {
		x.clear()
	}
	for _, uid := range d.Removed {
		x.removeLocked(uid)
	}
	for _, a := range d.Agents {
		x.putLocked(a)
	}
	if x.moved {
		x.applyGateways()
	}
	x.position, x.before = d.Position, nil
	x.tellReadLocked()
}

func (x *Index) putLocked(a *fleet.Agent) {
	slot, ok := x.slots[a.UID]
	if !ok {
		slot = x.newSlotLocked()
		x.slots[a.UID] = slot
	}
	prev := x.rows[slot].agent
	x.rows[slot].agent = a
	x.hearTeller(a)
	if x.rows[slot].fresh && !x.moved {
		x.columns[sideGateway].put(slot, x.gatewaysOf(a.UID))
	}
	x.apply(slot, prev, a)
}

func (x *Index) newSlotLocked() int {
	if n := len(x.free); n > 0 {
		slot := x.free[n-1]
		x.free = x.free[:n-1]
		x.rows[slot] = row{fresh: true}
		return slot
	}
	x.rows = append(x.rows, row{fresh: true})
	slot := len(x.rows) - 1
	for _, c := range x.columns {
		c.put(slot, nil)
	}
	for _, k := range x.keyed {
		k.column.put(slot, nil)
	}
	return slot
}

func (x *Index) removeLocked(uid opampwire.InstanceUID) {
	slot, ok := x.slots[uid]
	if !ok {
		return
	}
	if x.tellers[uid] != nil {
		x.moved = true
		delete(x.tellers, uid)
	}
	delete(x.slots, uid)
	x.putAttributes(slot, nil)
	for _, c := range x.columns {
		c.put(slot, nil)
	}
	x.dropFacts(x.rows[slot].facts, x.rows[slot].seat)
	x.countVariant(slot, nil)
	x.rows[slot] = row{}
	x.free = append(x.free, slot)
}

// hearLocked takes in when each agent was heard last, which is no change of the fleet.
func (x *Index) hearLocked() {
	const chunk = 1024 // as many are looked up under one lock of the fleet
	agents := make([]*fleet.Agent, 0, chunk)
	slots := make([]int, 0, chunk)
	flush := func() {
		x.fleet.Latest(agents)
		for i, a := range agents {
			x.rows[slots[i]].agent = a
		}
		agents, slots = agents[:0], slots[:0]
	}
	for slot := range x.rows {
		if a := x.rows[slot].agent; a != nil {
			agents, slots = append(agents, a), append(slots, slot)
		}
		if len(agents) == chunk {
			flush()
		}
	}
	flush()
}

// countVariant says which variant the agent of a slot runs.
func (x *Index) countVariant(slot int, f *facts) {
	r := &x.rows[slot]
	if r.kin != (kinship{}) {
		if x.variants[r.kin]--; x.variants[r.kin] == 0 {
			delete(x.variants, r.kin)
		}
	}
	r.kin = kinship{}
	if f != nil {
		r.kin = kinship{f.Family, f.Variant}
		x.variants[r.kin]++
	}
}

// majorities are the variants that at least half of the agents of their family run, if the family has more than one
// agent, by family.
func (x *Index) majorities() map[string]string {
	size, best := map[string]int{}, map[string]string{}
	for k, n := range x.variants {
		size[k.family] += n
		b, ok := best[k.family]
		if m := x.variants[kinship{k.family, b}]; !ok || n > m || (n == m && k.variant < b) {
			best[k.family] = k.variant
		}
	}
	for family, variant := range best {
		if 2*x.variants[kinship{family, variant}] < size[family] {
			delete(best, family)
		}
	}
	return best
}

// driftWords says of a variant whether it is not the one of most of its family: "true" or "false".
func (x *Index) driftWords() func(variant string) string {
	major := x.majorities()
	drifted := map[string]bool{}
	for k := range x.variants {
		if m, ok := major[k.family]; ok && k.variant != m {
			drifted[k.variant] = true
		}
	}
	return func(variant string) string {
		if drifted[variant] {
			return "true"
		}
		return "false"
	}
}

// placeOf is where an agent stands among those that are otherwise equal: by name, then by instance UID.
func placeOf(a *fleet.Agent) string {
	return cutKey(strings.ToLower(a.ServiceName())) + "\x00" + a.UID.String()
}
