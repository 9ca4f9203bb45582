// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

const reloads = 100

// TestReload reloads the configuration a hundred times: the agent stays the same one, says goodbye on
// each connection, never has two, and leaves no goroutine behind.
func TestReload(t *testing.T) {
	t.Parallel()
	server := opamptest.NewServer(t, opamptest.Script{})
	exporter, config := newExporter(t)
	c := startCollector(t, testDistribution(t), config+fmt.Sprintf(`
  extensions: [opamp]
extensions:
  opamp: {server: {ws: {endpoint: "%s"}}}
`, server.URL("ws")))
	c.waitReady(t, 1)
	first := server.NextWith(t, func(h opamptest.Heard) bool { return h.GetHealth().GetHealthy() })
	before, _ := exporter.goroutines(t)

	for n := range reloads {
		c.signal(t, syscall.SIGHUP)
		server.NextWith(t, func(h opamptest.Heard) bool { return h.Conn == n+1 && h.AgentDisconnect != nil })
		c.waitReady(t, n+2)
		again := server.NextWith(t, func(h opamptest.Heard) bool { return h.Conn == n+2 })
		require.Equal(t, first.GetInstanceUid(), again.GetInstanceUid(), "instance_uid")
		require.NotNil(t, again.GetAgentDescription(), "the first message of a connection describes the agent")
		require.NotNil(t, again.GetEffectiveConfig(), "the first message of a connection has the configuration")
	}

	after := settled(t, exporter, before)
	t.Logf("goroutines: %d before, %d after %d reloads", before, after, reloads)
	total, open, most := server.Connections()
	assert.Equal(t, reloads+1, total, "connections in all")
	assert.Equal(t, 1, open, "connections that are open")
	assert.Equal(t, 1, most, "connections at one time")
}

// settled is the number of goroutines once it is down to limit. What is just ending is given time.
func settled(t *testing.T, e exporter, limit int) (n int) {
	t.Helper()
	var where string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the goroutines:\n%s", where)
		}
	})
	eventually(t, fmt.Sprintf("no more than %d goroutines", limit), func() bool {
		n, where = e.goroutines(t)
		return n <= limit
	})
	return n
}
