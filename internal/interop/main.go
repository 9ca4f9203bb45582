// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// Interop is an agent that is made of opamp-go's own client. It reports to the endpoint of
// its only argument, says on its standard output what it hears, and leaves when its
// standard input ends.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/open-telemetry/opamp-go/client"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(endpoint string) error {
	var c client.OpAMPClient = client.NewWebSocket(nil)
	if strings.HasPrefix(endpoint, "http") {
		h := client.NewHTTP(nil)
		h.SetPollingInterval(100 * time.Millisecond)
		c = h
	}
	uid := types.InstanceUid{0: 1, 15: 7}
	if err := c.SetAgentDescription(&protobufs.AgentDescription{IdentifyingAttributes: []*protobufs.KeyValue{{
		Key: "service.name", Value: &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: "opamp-go"}},
	}}}); err != nil {
		return err
	}
	caps := protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus | protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth
	if err := c.SetCapabilities(&caps); err != nil {
		return err
	}
	if err := c.SetHealth(&protobufs.ComponentHealth{Healthy: true}); err != nil {
		return err
	}
	if err := c.SetCustomCapabilities(&protobufs.CustomCapabilities{Capabilities: []string{"test.custom"}}); err != nil {
		return err
	}
	if err := c.Start(context.Background(), types.StartSettings{
		OpAMPServerURL: endpoint,
		InstanceUid:    uid,
		Callbacks: types.Callbacks{
			OnConnect:       func(context.Context) { fmt.Println("connected") },
			OnConnectFailed: func(_ context.Context, err error) { fmt.Println("failed", err) },
			OnError: func(_ context.Context, err *protobufs.ServerErrorResponse) {
				fmt.Println("error", err.GetErrorMessage())
			},
			OnMessage: func(_ context.Context, msg *types.MessageData) {
				if msg.CustomMessage != nil {
					fmt.Println("custom", string(msg.CustomMessage.GetData()))
				}
			},
		},
	}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.Stop(ctx)
}
