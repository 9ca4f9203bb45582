// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package fleetui

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otel-fleetview/fleetview/internal/fleet"
	"github.com/otel-fleetview/fleetview/internal/opamptest/plantedfleet"
)

// The figures of the pages are of everybody, not of those that a page lists.
func TestPagesCountEverybody(t *testing.T) {
	const crowd = 5_321
	f := fleet.New(fleet.Settings{SilentAfter: plantedfleet.SilentAfter})
	plantedfleet.Play(f, uiNow)
	plantedfleet.Crowd(f, uiNow, crowd-plantedfleet.Agents)
	u := New(f, Settings{})
	u.now = newPlantedUI(t).now
	s := f.Stats().Conditions
	for _, path := range []string{"/", "/agents"} {
		page, _ := shown(t, u, path)
		assert.Contains(t, page, fmt.Sprintf("%d All %d Unhealthy %d Gone", crowd, s[fleet.ConditionUnhealthy], s[fleet.ConditionGone]), path)
	}
}
