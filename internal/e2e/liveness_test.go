// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

func TestKilledCollectorIsLost(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	changes := f.watch(t)
	c, _ := f.startAgent(t, "ws")
	changes.until(t, "healthy", isHealthy)

	c.kill()

	lost := changes.until(t, "lost", is("lost"))
	assert.Equal(t, "gone", lost.Condition)
	listed := f.list(t)
	require.Len(t, listed, 1)
	assert.Equal(t, "lost", listed[0].Liveness)
}

func TestStoppedCollectorSaysGoodbye(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			changes := f.watch(t)
			c, _ := f.startAgent(t, transport)
			changes.until(t, "healthy", isHealthy)

			c.stop(t)

			left := changes.until(t, "gone", is("goodbye"))
			assert.Equal(t, "gone", left.Condition)
			assert.Nil(t, left.FirstProblem, "to leave is no failure")
		})
	}
}

// TestRestartedServerIsCurrent kills the server, whose memory is its only one, and starts it again.
func TestRestartedServerIsCurrent(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			before := startFleet(t)
			first := before.watch(t)
			_, e := before.startAgent(t, transport)
			first.until(t, "healthy", isHealthy)
			e.report(t, "StatusRecoverableError", "disk full")
			uid := first.until(t, "unhealthy", failsWith("disk full")).UID

			before.kill()
			after := startFleetAt(t, before.agents, before.web)

			a := after.watch(t).until(t, "known", failsWith("disk full"))
			assert.Equal(t, uid, a.UID)
			whole := after.show(t, uid)
			assert.NotNil(t, whole.Description)
			assert.NotNil(t, whole.Config)
			assert.NotNil(t, whole.Components)
			eventually(t, "the list of components is asked for", func() bool { return after.show(t, uid).Components.Listed })
		})
	}
}

// TestFirstMessageTellsAll is why a restarted server needs only one.
func TestFirstMessageTellsAll(t *testing.T) {
	t.Parallel()
	server := opamptest.NewServer(t, opamptest.Script{})
	e, config := newExporter(t)
	c := startCollector(t, testDistribution(t), config+`
  extensions: [opamp]
extensions:
  opamp: {server: {ws: {endpoint: "`+server.URL("ws").String()+`"}}}
`)
	c.waitReady(t, 1)
	e.report(t, "StatusRecoverableError", "disk full")
	server.NextWith(t, func(h opamptest.Heard) bool { return !h.GetHealth().GetHealthy() && h.GetHealth() != nil })

	server.HangUp()

	first := server.NextWith(t, func(h opamptest.Heard) bool { return h.Conn == 2 })
	assert.NotNil(t, first.GetAgentDescription())
	assert.NotNil(t, first.GetEffectiveConfig())
	assert.NotEmpty(t, first.GetAvailableComponents().GetHash())
	failing := first.GetHealth().GetComponentHealthMap()["pipeline:metrics"].GetComponentHealthMap()["exporter:status"]
	assert.Equal(t, "disk full", failing.GetLastError())
}
