// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package componenthealth

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// Each event is one that was told by itself, told together with a later one, needed no
// telling, or was of one component too many.
func TestEveryEventIsAccountedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness()
		h.start()
		h.running() // 12 events in the first tree
		time.Sleep(time.Second)
		h.report(componentstatus.StatusOK, otlp, otlp, batch) // the same again
		time.Sleep(time.Second)
		for i := range 10 { // a storm that leaves in one message, and its end in another
			h.ComponentStatusChanged(debug, failure(fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		h.report(componentstatus.StatusOK, debug)
		time.Sleep(time.Second)
		h.ComponentStatusChanged(backend, failure("x"))
		h.ComponentStatusChanged(backend, failure("x")) // another event, the same tree
		time.Sleep(2 * time.Second)
		h.ComponentStatusChanged(backend, failure("x"))
		time.Sleep(2 * time.Second)

		require.Equal(t, Stats{
			Events:     12 + 3 + 10 + 1 + 3,
			Reports:    1 + 1 + 1 + 1 + 1, // starting, the first tree, the storm, its end, x
			Suppressed: 3 + 1,
			Coalesced:  11 + 9 + 0 + 1,
		}, h.Stats())
		h.Stop()
	})
}
