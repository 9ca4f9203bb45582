// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/stretchr/testify/require"

	"github.com/otel-fleetview/fleetview/internal/opamptest"
)

const pingCapability = "org.example.ping"

// pinging is the configuration of a collector with a processor that talks with the server,
// and says hello.
func pinging(transport, endpoint string, hellos int) string {
	return fmt.Sprintf(`
extensions:
  opamp:
    server: {%s: {endpoint: "%s"}}
processors:
  ping: {hellos: %d}
service:
  extensions: [opamp]
  pipelines:
    metrics: {receivers: [nop], processors: [ping], exporters: [nop]}
`, transport, endpoint, hellos)
}

// nextCustom is the next custom message that the server hears.
func nextCustom(t *testing.T, server *opamptest.Server) *protobufs.CustomMessage {
	t.Helper()
	heard := server.NextWith(t, func(h opamptest.Heard) bool { return h.GetCustomMessage() != nil })
	require.Equal(t, pingCapability, heard.GetCustomMessage().GetCapability())
	return heard.GetCustomMessage()
}

// TestPing has a component that knows the contract alone answer the server's pings.
func TestPing(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"ws", "http"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			pings := make(chan string, 1) // that the next answer is to carry
			server := opamptest.NewServer(t, opamptest.Script{Reply: func(msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
				reply := opamptest.Ack(msg)
				if data, ok := waitFor(msg.GetCustomMessage(), pings); ok {
					reply.CustomMessage = &protobufs.CustomMessage{Capability: pingCapability, Type: "ping", Data: []byte(data)}
				}
				return reply
			}})
			pings <- "0"
			c := startCollector(t, testDistribution(t), pinging(transport, server.URL(transport).String(), 1))
			require.Equal(t, "hello", nextCustom(t, server).GetType())
			for i := range 100 {
				pings <- strconv.Itoa(i + 1)
				pong := nextCustom(t, server)
				require.Equal(t, "pong", pong.GetType())
				require.Equal(t, strconv.Itoa(i), string(pong.GetData()))
			}
			require.Equal(t, "100", string(nextCustom(t, server).GetData()))
			close(pings)
			c.stop(t)
			require.Equal(t, "goodbye", nextCustom(t, server).GetType())
		})
	}
}

// waitFor is the next ping, where msg is to be answered with one.
func waitFor(msg *protobufs.CustomMessage, pings <-chan string) (data string, ok bool) {
	if msg == nil || msg.GetType() == "goodbye" {
		return "", false
	}
	data, ok = <-pings
	return data, ok
}

// TestCustomMessagesWaitForTheServer has a server that is not there while the collector
// runs, twice, and hears of all of it afterwards.
func TestCustomMessagesWaitForTheServer(t *testing.T) {
	t.Parallel()
	const hellos = 400
	address := freeAddress(t)
	endpoint := "ws://" + address + opamptest.Path
	more := writeFile(t, t.TempDir(), "storage.yaml", fmt.Sprintf(`
extensions:
  file_storage: {directory: "%s"}
  opamp: {custom_messages: {storage: file_storage}}
service:
  extensions: [file_storage, opamp]
`, t.TempDir()))
	run := func(hellos int) *collector {
		dir := t.TempDir()
		return startOn(t, testDistribution(t), writeFile(t, dir, "base.yaml", base),
			writeFile(t, dir, "config.yaml", pinging("ws", endpoint, hellos)), more)
	}
	for range 2 {
		c := run(hellos)
		c.waitText(t, "Cannot reach the OpAMP server")
		c.stop(t)
	}

	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	require.NoError(t, err)
	server := opamptest.Serve(t, listener, opamptest.Script{})
	c := run(0)
	for range 2 {
		for i := range hellos {
			require.Equal(t, strconv.Itoa(i), string(nextCustom(t, server).GetData()))
		}
		require.Equal(t, "goodbye", nextCustom(t, server).GetType())
	}
	c.stop(t)
}
