// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e && linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

const reloads = 100

// TestReload reloads the configuration a hundred times: the agent stays the same one, says goodbye
// each time, keeps no connection and leaves no goroutine behind.
func TestReload(t *testing.T) {
	for scheme, most := range map[string]int64{
		"ws":   1, // never two connections at once
		"http": 2, // net/http may dial twice for one request
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			testReload(t, scheme, most)
		})
	}
}

func testReload(t *testing.T, scheme string, most int64) {
	t.Helper()
	listener := &countingListener{Listener: listen(t, "127.0.0.1:0")}
	server := opamptest.Serve(t, listener, opamptest.Script{})
	exporter, config := newExporter(t)
	c := startCollector(t, testDistribution(t), config+fmt.Sprintf(`
  extensions: [opamp]
extensions:
  opamp: {server: {%s: {endpoint: "%s"}}}
`, scheme, server.URL(scheme)))
	c.waitReady(t, 1)
	first := server.NextWith(t, func(h opamptest.Heard) bool { return h.GetHealth().GetHealthy() })
	before, _ := exporter.goroutines(t)

	for n := range reloads {
		c.signal(t, syscall.SIGHUP)
		server.NextWith(t, func(h opamptest.Heard) bool { return h.AgentDisconnect != nil })
		c.waitReady(t, n+2)
		again := server.Next(t)
		require.Equal(t, first.GetInstanceUid(), again.GetInstanceUid(), "instance_uid")
		require.NotNil(t, again.GetAgentDescription(), "the first message of a connection describes the agent")
		require.NotNil(t, again.GetEffectiveConfig(), "the first message of a connection has the configuration")
	}

	after := settled(t, exporter, before)
	t.Logf("goroutines: %d before, %d after %d reloads", before, after, reloads)
	if scheme == "ws" {
		total, _, _ := server.Connections()
		assert.Equal(t, reloads+1, total, "connections in all")
	}
	assert.LessOrEqual(t, listener.most.Load(), most, "connections at one time")
	assert.LessOrEqual(t, openTo(listener.Addr()), int64(1), "connections in the end")
}

// TestReloadOfAllInOne has a server, a gateway before it and an agent that shows the gateway in one process, which the
// Collector starts in any order. An agent that comes as soon as the gateway listens is carried, whether or not the server
// listens by then: to be told to come back would cost it half a minute. And what the gateway has not told by the end,
// nobody is said to miss.
func TestReloadOfAllInOne(t *testing.T) {
	t.Parallel()
	const reloads = 20
	agents, web, gateway := freeAddress(t), freeAddress(t), freeAddress(t)
	c := startCollector(t, distribution(t), fmt.Sprintf(`
extensions:
  opamp_server:
    agents: {endpoint: '%s'}
    web: {endpoint: '%s'}
    database: {path: '%s'}
  opamp_gateway:
    listener: {endpoint: '%s'}
    upstream: {endpoint: 'ws://%s/v1/opamp'}
    timeouts: {drain: 1ms}
    report: {extension: opamp, interval: 1s}
  opamp:
    server: {ws: {endpoint: 'ws://%s/v1/opamp'}}
service:
  extensions: [opamp_server, opamp_gateway, opamp]
`, agents, web, filepath.Join(t.TempDir(), "fleet.db"), gateway, agents, gateway))
	through := &fleet{collector: c, agents: gateway, web: web}
	c.waitReady(t, 1)
	eventually(t, "the collector shows itself, so it minds signals", func() bool {
		return slices.ContainsFunc(through.list(t), func(a agent) bool { return a.Condition == "healthy" })
	})
	for n := range reloads + 1 {
		if n > 0 {
			c.signal(t, syscall.SIGHUP)
		}
		c.waitLines(t, n+1, "that the gateway listens", func(line logLine) bool { return line.Text == "carrying OpAMP agents" })
		a := through.scriptAgent(t, "otelcol-edge")
		a.waitAnswer(t)
		require.NoError(t, a.ws.Close(websocket.StatusNormalClosure, ""))
		c.waitReady(t, n+1)
	}
	c.stop(t)
	assert.Empty(t, c.matching(func(line logLine) bool { return strings.Contains(line.Text, "are lost") }))
}

// countingListener asks the kernel, at each connection, how many the other side has open. What the
// server knows would be too late: it may hear of a new connection before the end of the old one.
type countingListener struct {
	net.Listener
	most atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.most.Store(max(l.most.Load(), openTo(l.Addr())))
	}
	return conn, err
}

// openTo is how many sockets of this host are connected to an IPv4 address of it and not yet closed
// by who dialled. /proc/net/tcp has a line a socket: number, local, remote, state, ... It is no
// snapshot: a socket may come twice, while others come and go.
func openTo(addr net.Addr) int64 {
	const established, closedByPeerOnly = "01", "08"
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return -1
	}
	remote := fmt.Sprintf("0100007F:%04X", addr.(*net.TCPAddr).Port)
	open := map[string]struct{}{}
	for line := range strings.Lines(string(table)) {
		columns := strings.Fields(line)
		if len(columns) > 3 && columns[2] == remote && (columns[3] == established || columns[3] == closedByPeerOnly) {
			open[columns[1]] = struct{}{}
		}
	}
	return int64(len(open))
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
