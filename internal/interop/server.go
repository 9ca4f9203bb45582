// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
	"google.golang.org/protobuf/proto"
)

// told is a line of what a server says.
type told struct {
	Address string `json:"address,omitempty"` // where it listens
	Heard   string `json:"heard,omitempty"`   // an AgentToServer in base64
	Asked   bool   `json:"asked,omitempty"`   // its sender is asked for everything
	Closed  bool   `json:"closed,omitempty"`  // a connection has ended
}

// foreign is a server as people build them of opamp-go: it keeps the last sequence number of each
// agent, asks for everything after a gap, and for the components of a hash. Each line of its standard
// input is a ServerToAgent in base64 that it sends to the agent that is named there.
type foreign struct {
	server server.OpAMPServer

	mu     sync.Mutex
	out    *json.Encoder               // guarded by mu
	last   map[string]uint64           // guarded by mu: the sequence number of each instance UID
	agents map[string]types.Connection // guarded by mu: where each was heard last
}

func beServer(ctx context.Context, address string) error {
	f := &foreign{
		server: server.New(nil), out: json.NewEncoder(os.Stdout),
		last: map[string]uint64{}, agents: map[string]types.Connection{},
	}
	callbacks := types.ConnectionCallbacks{
		OnMessage:         f.hear,
		OnConnectionClose: func(types.Connection) { f.tell(told{Closed: true}) },
	}
	if err := f.server.Start(server.StartSettings{
		ListenEndpoint: address,
		Settings: server.Settings{
			CustomCapabilities: []string{"com.example.ping"},
			Callbacks: types.Callbacks{OnConnecting: func(*http.Request) types.ConnectionResponse {
				return types.ConnectionResponse{Accept: true, ConnectionCallbacks: callbacks}
			}},
		},
	}); err != nil {
		return err
	}
	f.tell(told{Address: f.server.Addr().String()})
	go f.push(ctx) // which ends with the process
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return f.server.Stop(ctx)
}

func (f *foreign) tell(line told) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.out.Encode(line) // who does not read is not told
}

func (f *foreign) hear(_ context.Context, conn types.Connection, msg *protobufs.AgentToServer) *protobufs.ServerToAgent {
	reply := &protobufs.ServerToAgent{InstanceUid: msg.GetInstanceUid(), Capabilities: can}
	if parts := msg.GetAvailableComponents(); parts != nil && len(parts.GetComponents()) == 0 {
		reply.Flags |= uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportAvailableComponents)
	}
	asked := f.missed(conn, msg)
	if asked {
		reply.Flags |= uint64(protobufs.ServerToAgentFlags_ServerToAgentFlags_ReportFullState)
	}
	raw, err := proto.Marshal(msg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return reply
	}
	f.tell(told{Heard: base64.StdEncoding.EncodeToString(raw), Asked: asked})
	return reply
}

const can = uint64(protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus |
	protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig)

// missed remembers a message, and says whether something before it was not heard.
func (f *foreign) missed(conn types.Connection, msg *protobufs.AgentToServer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	uid := string(msg.GetInstanceUid())
	last, known := f.last[uid]
	f.last[uid], f.agents[uid] = msg.GetSequenceNum(), conn
	whole := msg.GetAgentDescription() != nil
	return (!known || last+1 != msg.GetSequenceNum()) && !whole && msg.GetAgentDisconnect() == nil
}

func (f *foreign) push(ctx context.Context) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := f.send(ctx, lines.Text()); err != nil {
			fmt.Fprintln(os.Stderr, "not sent:", err)
		}
	}
}

func (f *foreign) send(ctx context.Context, line string) error {
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return err
	}
	msg := new(protobufs.ServerToAgent)
	if err := proto.Unmarshal(raw, msg); err != nil {
		return err
	}
	f.mu.Lock()
	conn := f.agents[string(msg.GetInstanceUid())]
	f.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("no agent %x is known", msg.GetInstanceUid())
	}
	return conn.Send(ctx, msg)
}
