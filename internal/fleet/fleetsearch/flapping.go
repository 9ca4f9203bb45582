// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetsearch

import (
	"cmp"
	"strings"
	"time"

	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// Flapping lists who flapped at least so many times of late, see [fleet.Agent.Flaps]: at most limit of them, those that
// did it most first. Total counts all of them.
func (x *Index) Flapping(least, limit int, now time.Time) (agents []*fleet.Agent, total int) {
	type flapping struct {
		times int
		place string
		agent *fleet.Agent
	}
	x.Refresh()
	x.mu.RLock()
	defer x.mu.RUnlock()
	best := newBest(limit, func(a, b flapping) int {
		return cmp.Or(cmp.Compare(b.times, a.times), strings.Compare(a.place, b.place))
	})
	for slot := range x.rows {
		r := &x.rows[slot]
		if r.agent == nil {
			continue
		}
		if n := r.agent.Flaps(now); n >= least {
			total++
			best.offer(flapping{n, r.place, r.agent})
		}
	}
	for _, f := range best.sorted() {
		agents = append(agents, f.agent)
	}
	return agents, total
}
