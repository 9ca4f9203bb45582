// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetgraph

import (
	"github.com/otel-fleetview/fleetview/internal/fleet"
)

// healths finds the health of a component by its pipeline and name.
type healths struct {
	pipelines map[string]*fleet.Health
	inside    map[[2]string]*fleet.Health // pipeline, component
	anywhere  map[string]*fleet.Health    // components of no pipeline
}

func newHealths(root *fleet.Health) healths {
	hs := healths{
		pipelines: map[string]*fleet.Health{}, inside: map[[2]string]*fleet.Health{}, anywhere: map[string]*fleet.Health{},
	}
	if root != nil {
		hs.gather(root, "")
	}
	return hs
}

func (hs healths) gather(h *fleet.Health, pipeline string) {
	for _, c := range h.Children {
		kind, name := fleet.SplitComponentName(c.Name)
		below := pipeline
		switch {
		case kind == "pipeline":
			hs.pipelines[name] = c
			below = name
		case pipeline != "":
			hs.inside[[2]string{pipeline, c.Name}] = c
		case kind != "":
			hs.anywhere[c.Name] = c
		}
		hs.gather(c, below)
	}
}

func (hs healths) pipeline(name string) Health { return healthOf(hs.pipelines[name]) }

func (hs healths) component(pipeline, id string) Health {
	if h := hs.inside[[2]string{pipeline, id}]; h != nil {
		return healthOf(h)
	}
	return healthOf(hs.anywhere[id])
}

func healthOf(h *fleet.Health) Health {
	if h == nil {
		return Health{State: StateUnknown}
	}
	out := Health{State: StateFailing, Status: h.Status, Error: h.LastError, Since: h.Since}
	switch {
	case h.Healthy:
		out.State = StateHealthy
	case h.Status == "StatusStarting" || h.Status == "StatusNone":
		out.State = StateStarting
	case h.Status == "StatusStopping" || h.Status == "StatusStopped":
		out.State = StateStopping
	}
	return out
}
