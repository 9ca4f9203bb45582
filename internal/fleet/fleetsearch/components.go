// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/fleet/fleetquery"
)

// ComponentType is how the agents use components of one type.
type ComponentType struct {
	Kind, Type string // the kind is empty for a part that is no Collector's
	// Running, Failing and Available count agents that run one, in which one fails, and that are built with it.
	Running, Failing, Available int
}

// Components answers [Index.Components].
type Components struct {
	Components []ComponentType
	Unread     int // configs that are not read yet, see [Index.Unread]
	Position   fleet.Position
}

// maxComponentTypes bounds an answer; a distribution with everything in it has some 400.
const maxComponentTypes = 5_000

// Components counts the types of components that the agents run and could run, the most used first. More is true if
// there are more types than are listed.
func (x *Index) Components(q fleetquery.Query, now time.Time) (out Components, more bool) {
	slots, done := x.find(q, now)
	defer done()
	types := map[string]*ComponentType{}
	more = x.countTypes(slots, sideComponent, types, func(c *ComponentType) *int { return &c.Running }) || more
	more = x.countTypes(slots, sideFailing, types, func(c *ComponentType) *int { return &c.Failing }) || more
	more = x.countTypes(slots, sideAvailable, types, func(c *ComponentType) *int { return &c.Available }) || more
	best := newBest(0, func(a, b ComponentType) int {
		if a.Running != b.Running {
			return b.Running - a.Running
		}
		if a.Available != b.Available {
			return b.Available - a.Available
		}
		return strings.Compare(a.Kind+":"+a.Type, b.Kind+":"+b.Type)
	})
	for _, c := range types {
		best.offer(*c)
	}
	out.Components, out.Unread, out.Position = best.sorted(), x.unreadLocked(), x.position
	return out, more
}

// countTypes counts agents, by the types of what one column holds of them.
func (x *Index) countTypes(slots []int, s side, types map[string]*ComponentType, of func(*ComponentType) *int) (more bool) {
	c := x.columns[s]
	counts := make([]int, len(c.members))
	for _, slot := range slots {
		counts[c.of[slot]]++
	}
	for set, n := range counts {
		if n == 0 {
			continue
		}
		seen := map[string]struct{}{}
		for _, v := range c.members[set] {
			name := c.values.texts[v]
			if name == whole {
				continue
			}
			kind, id := fleet.SplitComponentName(name)
			typ, _, _ := strings.Cut(id, "/")
			key := kind + ":" + typ
			if _, again := seen[key]; again {
				continue
			}
			seen[key] = struct{}{}
			t := types[key]
			if t == nil {
				if len(types) == maxComponentTypes {
					more = true
					continue
				}
				t = &ComponentType{Kind: kind, Type: typ}
				types[key] = t
			}
			*of(t) += n
		}
	}
	return more
}
